"""Measure one thing of sweeps in a process of its own and print it as JSON.

``sweep.py`` starts this file, as ``run.py`` does ``probe.py``.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from contextlib import closing
from typing import Any

import polars as pl

import barloop as bl
import sweep_forms as w6
from probe import _forget_peak, _max_rss_kb, _status_kb


def measure_compile(first: str) -> dict[str, Any]:
    """Time a new compiled callback where the engine and the helpers are loaded.

    What a second call of the same callback takes is subtracted.  The first callback of
    a process also loads what numba needs to compile anything, so a second one follows.
    """
    import numba

    from barloop import jitted
    from barloop._kernels.simulate import advance

    @numba.njit
    def light(bar, params, weights_out):
        if bar.t < params.lookback:
            return False
        weights_out[params.n] = 1.0
        return True

    @numba.njit
    def momentum(bar, params, weights_out):
        if bar.t < params.lookback:
            return False
        score = jitted.momentum(bar.history.close, params.lookback)
        jitted.equal_weight(jitted.top_n(score, params.n), weights_out)
        return True

    functions = {"light": light, "momentum": momentum}
    df = bl.datasets.simulate_bars(50, 60, seed=1)
    panel = bl.Panel.from_frame(df.with_columns(weight=pl.lit(0.01)))
    run(panel, "weight")
    helpers = (jitted.momentum, jitted.top_n, jitted.equal_weight)
    n_signatures = len(advance.signatures)
    found = {}
    order = sorted(functions, key=lambda name: name != first)
    for place, name in zip(("first", "next"), order, strict=True):
        cost = {}
        for turn in ("new", "again"):
            started, used = time.perf_counter(), time.process_time()
            run(panel, functions[name], {"lookback": 20, "n": 5})
            cost[turn] = (time.perf_counter() - started, time.process_time() - used)
        wall, cpu = (a - b for a, b in zip(cost["new"], cost["again"], strict=True))
        found[place] = {"name": name, "wall": wall, "cpu": cpu}
    return {
        **found,
        "new_signatures": len(advance.signatures) - n_signatures,
        "n_helpers": len(helpers),
    }


def run(panel: Any, weights_fn: Any, params: dict[str, Any] | None = None) -> None:
    """Run one backtest."""
    bl.run_backtest(panel, weights_fn, params=params, keep="metrics", **w6.settings())


def measure_processes(path: str) -> dict[str, float]:
    """Time the first outcome of two worker processes, from the long frame on.

    The same again follows with the processes that wait, and one set here, which is no
    part of the cost of a start.
    """
    from barloop.executors import execute
    from barloop.sweep_job import job_of

    df = pl.read_ipc(path)
    given = {"lookback": [60], "n": [5, 25, 50, 75]}
    nothing = dict.fromkeys(("config", "params", "context", "actions", "start", "end"))
    found = {}
    for name in ("fresh", "resting"):
        started = time.perf_counter()
        job, sets = job_of(df, w6.callback, given, **nothing, fields=w6.settings())
        outcomes = execute(
            "processes", job, enumerate(sets), n_sets=len(sets), n_workers=2
        )
        with closing(outcomes):
            first = next(outcomes)
            found[name] = time.perf_counter() - started
            rest = list(outcomes)
        if any(one.error for one in (first, *rest)):
            raise RuntimeError("a set failed, which is not what is timed here")
    once = job.start()
    once(0, sets[0])
    started = time.perf_counter()
    once(0, sets[0])
    found["set"] = time.perf_counter() - started
    return found


def measure_memory(kind: str, path: str, n_sets: str) -> dict[str, float]:
    """Measure how far a sweep lifts the peak memory above the frame and the panel.

    The frame is read, not mapped, and a sweep of a few sets has run before: all pages
    of the panel, and all code, are in memory already.
    """
    df = pl.read_ipc(path)
    panel = bl.Panel.from_frame(df)
    how: dict[str, Any] = {"executor": "threads", "n_workers": 2, "progress": False}
    how |= w6.settings()
    if kind == "factory":
        weights_fn, grid = w6.factory, w6.grid()
    else:
        weights_fn, grid = w6.buy_once, w6.cheap_grid(int(n_sets))
        how |= {"schedule": "year_end"}
        how |= {"keep": "equity"} if kind == "equity" else {}
    bl.sweep(panel, weights_fn, {name: grid[name][:2] for name in grid}, **how)
    gc.collect()
    exact = _forget_peak()
    before = _status_kb("VmRSS")
    started = time.perf_counter()
    runs = bl.sweep(panel, weights_fn, grid, **how)
    seconds = time.perf_counter() - started
    peak = _status_kb("VmHWM") if exact else _max_rss_kb()
    if runs.n_failed:
        raise RuntimeError(f"sets failed, which is not what is timed here:\n{runs}")
    found = {
        "extra_mb": (peak - before) / 1024.0,
        "n_sets": len(runs),
        "seconds": seconds,
        "rows_mb": runs.metrics.estimated_size() / 2**20,
        "before_mb": before / 1024.0,
    }
    if kind == "equity":
        found["equity_mb"] = runs.equity.nbytes / 2**20
        found["last"] = float(runs.equity[-1, -1])
    return found


MEASURES = {
    "compile": measure_compile,
    "processes": measure_processes,
    "memory": measure_memory,
}

if __name__ == "__main__":
    print(json.dumps(MEASURES[sys.argv[1]](*sys.argv[2:])))
