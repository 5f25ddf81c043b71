"""What a user pays around the loop: callbacks, unsorted rows, start-up, memory."""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

import barloop as bl
import workloads as w
from barloop.engine import prepare
from contenders import run_barloop, settings

if TYPE_CHECKING:
    from collections.abc import Callable

BENCH = Path(__file__).parent
CALLBACK_NAMES = 25


@dataclass(frozen=True, slots=True)
class Measure:
    """One number, the budget it is held to, and how it was taken."""

    name: str
    what: str
    value: float
    unit: str
    budget: float | None = None
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Give the fields for JSON."""
        return asdict(self)


def shuffled_rows(df: pl.DataFrame, repeat: int) -> list[Measure]:
    """Time W2 with its rows in any order, beside the sorted frame in turn."""
    workload = w.WORKLOADS["W2"]
    shuffled = df.sample(fraction=1.0, shuffle=True, seed=w.SEED)
    assert run_barloop(workload, shuffled) == run_barloop(workload, df)
    best = _best_in_turn(
        {
            "sorted": lambda: run_barloop(workload, df),
            "shuffled": lambda: run_barloop(workload, shuffled),
        },
        repeat,
    )
    note = f"sorted rows in the same turn: {best['sorted'] * 1e3:.1f} ms"
    return [
        Measure(
            "shuffled",
            "W2 with shuffled rows",
            best["shuffled"] * 1e3,
            "ms",
            w.BUDGET_SHUFFLED_W2_S * 1e3,
            note,
        )
    ]


def callbacks(df: pl.DataFrame, repeat: int) -> list[Measure]:
    """Time Python callbacks on a prepared W2 panel, whole run over its bars."""
    workload = w.WORKLOADS["W2"]
    panel = bl.Panel.from_frame(df.drop("weight"))
    names = df["asset"].head(workload.n_assets).to_list()
    by_name = dict.fromkeys(names[:CALLBACK_NAMES], 1.0 / CALLBACK_NAMES)
    by_position = np.zeros(workload.n_assets)
    by_position[:CALLBACK_NAMES] = 1.0 / CALLBACK_NAMES

    def idle(bar: Any) -> None:
        del bar

    def array(bar: Any) -> np.ndarray:
        del bar
        return by_position

    def mapping(bar: Any) -> dict[str, float]:
        del bar
        return by_name

    fields = settings(workload)
    best = _best_in_turn(
        {
            callback.__name__: _run_callback(panel, callback, fields)
            for callback in (idle, array, mapping)
        },
        repeat,
    )
    per_bar = {name: best[name] / workload.n_bars * 1e6 for name in best}
    what = {
        "idle": "callback that returns None",
        "array": f"callback that returns an array, {CALLBACK_NAMES} names held",
        "mapping": f"callback that returns a dict of {CALLBACK_NAMES} names",
    }
    trading = f"{CALLBACK_NAMES} orders and fills a bar included"
    return [
        Measure(
            f"callback-{name}",
            f"{what[name]}, {workload.n_assets} assets",
            per_bar[name],
            "us per bar",
            w.BUDGET_CALLBACK_US,
            "" if name == "idle" else trading,
        )
        for name in what
    ]


def rules(repeat: int) -> list[Measure]:
    """Time the loop of W2 with groups of rules on, beside the lean loop in turn."""
    workload = w.WORKLOADS["W2"]
    shape = (workload.n_bars, workload.n_assets)
    rng = np.random.default_rng(w.SEED)
    rank = rng.random(shape).argsort(axis=1).argsort(axis=1)
    weight = np.where(rank < CALLBACK_NAMES, 1.0 / CALLBACK_NAMES, 0.0)
    bars = bl.datasets.simulate_bars(shape[1], shape[0], seed=w.SEED)
    bars = bars.with_columns(weight=pl.Series(weight.ravel()))
    panel = bl.Panel.from_frame(bars)
    fields = settings(workload)
    # So wide that nothing is stopped: both do the same trades.
    stops = bl.Exits(stop_loss=0.9, trailing_stop=0.9, reentry="allowed")
    interest = {"financing": bl.Financing(cash_rate=0.01), "bars_per_year": 252.0}
    changes: dict[str, dict[str, Any]] = {
        "lean": {},
        "stops": {"exits": stops},
        "costs": {"limits": bl.Limits(max_weight=0.5, drift_band=1e-9)},
        "carry": interest,
    }
    runs = {
        name: prepare(panel, "weight", config=bl.BacktestConfig(**{**fields, **more}))
        for name, more in changes.items()
    }

    def run(simulation: Any) -> Callable[[], None]:
        def call() -> None:
            simulation.reset(keep_log=True)
            simulation.run()

        call()  # warm
        return call

    best = _best_in_turn({name: run(one) for name, one in runs.items()}, 3 * repeat)
    what = {
        "stops": "stop-loss and trailing stop on",
        "costs": "rules of sizing and costs on",
        "carry": "interest on",
    }
    return [
        Measure(
            f"rules-{name}",
            f"loop of W2 with {what[name]}",
            best[name] / best["lean"],
            "x the lean loop",
            w.BUDGET_STOPS_RATIO if name == "stops" else None,
            f"lean loop in the same turn: {best['lean'] * 1e3:.2f} ms",
        )
        for name in what
    ]


def start_up(repeat: int) -> list[Measure]:
    """Time the import and the first result in fresh processes."""
    imports = [_probe("import") for _ in range(max(repeat, 3))]
    _probe("first-result")  # fills the cache
    warm = [_probe("first-result")["seconds"] for _ in range(max(repeat, 3))]
    with tempfile.TemporaryDirectory() as empty:
        cold = _probe("first-result", cache=empty)["seconds"]
    numba = any(one["imports_numba"] for one in imports)
    return [
        Measure(
            "import",
            "`import barloop`",
            statistics.median(one["seconds"] for one in imports),
            "s",
            w.BUDGET_IMPORT_S,
            "imports numba" if numba else "without numba",
        ),
        Measure(
            "first-warm",
            "first result in a new process, warm cache",
            statistics.median(warm),
            "s",
            w.BUDGET_FIRST_RESULT_WARM_S,
            "W1; import included",
        ),
        Measure(
            "first-cold",
            "first result in a new process, empty cache",
            cold,
            "s",
            w.BUDGET_FIRST_RESULT_COLD_S,
            "W1; import included",
        ),
    ]


def memory(df: pl.DataFrame, name: str) -> list[Measure]:
    """Measure the peak memory of one run above the loaded frame."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.arrow"
        df.write_ipc(path, record_batch_size=df.height)  # read back as one chunk
        got = _probe("memory", name, str(path))
    return [
        Measure(
            f"memory-{name}",
            f"peak memory of one run of {name}, above the frame",
            got["extra_mb"],
            "MB",
            got["panel_mb"] + got["log_mb"] + w.BUDGET_MEMORY_MB,
            f"frame {got['frame_mb']:.0f} MB, fills and equity {got['log_mb']:.1f} MB;"
            f" the budget is a copied panel ({got['panel_mb']:.0f} MB), the log and"
            f" {w.BUDGET_MEMORY_MB:.0f} MB",
        )
    ]


def _run_callback(
    panel: Any, callback: Callable[[Any], Any], fields: dict[str, Any]
) -> Callable[[], float]:
    def call() -> float:
        return bl.run_backtest(panel, callback, **fields).final_equity

    call()  # warm
    return call


def _best_in_turn(calls: dict[str, Callable[[], Any]], repeat: int) -> dict[str, float]:
    """Time the calls A B C A B C ... and give the best of each, seconds."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(repeat):
        for name, call in calls.items():
            gc.collect()
            started = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - started)
    return best


def _probe(*arguments: str, cache: str | None = None) -> dict[str, Any]:
    """Run ``probe.py`` in a fresh process and read what it prints."""
    environment = dict(os.environ)
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = cache
    done = subprocess.run(
        [sys.executable, str(BENCH / "probe.py"), *arguments],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])
