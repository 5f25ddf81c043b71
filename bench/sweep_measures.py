"""What is timed in this process: W6 by all contenders, and where its time goes."""

from __future__ import annotations

import gc
import importlib.util
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

import barloop as bl
import sweep_forms as w6
from contenders import Contender, time_in_turn
from overheads import Measure
from peers import missing, title
from sweep_peers import SETS, next_close_growth
from workloads import INITIAL_CASH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sweep_peers import SweepPeer

THOUSAND = 1_000
N_STEPS = 100_000_000  # of `spin`: a few tenths of a second
BASE = "compiled-2"
"""The contender whose time the others are ratios of."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done; `--quick` does less."""

    grid: dict[str, list[int]]  # of W6
    python_grid: dict[str, list[int]]  # of the Python callback
    n_peer_sets: int
    n_metrics_sets: int  # of the test of memory
    n_equity_sets: int

    @property
    def n_sets(self) -> int:
        """Sets of W6."""
        return n_sets(self.grid)


FULL = Sizes(w6.grid(), w6.grid(5, 2), len(SETS), 100_000, 20_000)
QUICK = Sizes(w6.grid(5, 4), w6.grid(5, 12), 1, 2_000, 2_000)


def n_sets(grid: dict[str, list[int]]) -> int:
    """Count the combinations."""
    return int(np.prod([len(values) for values in grid.values()]))


@dataclass(slots=True)
class Entry:
    """One contender of W6: what it runs, and what its sets came to."""

    name: str
    title: str
    n_sets: int  # that one call runs
    call: Callable[[], Any] | None
    budget: float | None = None  # seconds for 1,000 sets
    timing: str = ""  # of a peer's fills
    why_not: str = ""
    before: Callable[[], Any] | None = None  # run before each call, not timed
    once: float = 0.0  # seconds of what a peer prepares for all sets
    seconds: list[float] = field(default_factory=list)
    answer: Any = None
    check: str = ""  # how its numbers compare with those of the compiled form

    @property
    def best(self) -> float | None:
        """Fastest call, seconds."""
        return min(self.seconds, default=None)

    @property
    def thousand(self) -> float | None:
        """Seconds of 1,000 sets: measured, or scaled by the number of sets."""
        if self.best is None:
            return None
        return self.once + self.best * THOUSAND / self.n_sets

    def as_dict(self) -> dict[str, Any]:
        """Give what is written down."""
        names = ("name", "title", "n_sets", "budget", "timing", "why_not", "once")
        more = ("seconds", "check", "best", "thousand")
        median = statistics.median(self.seconds) if self.seconds else None
        return {name: getattr(self, name) for name in (*names, *more)} | {
            "median": median
        }


def time_w6(
    df: pl.DataFrame,
    sizes: Sizes,
    peers: Iterable[SweepPeer],
    *,
    repeat: int,
    patience: float,
) -> list[Entry]:
    """Time all contenders in turn, from the long frame to their rows of numbers."""
    entries = [*_forms(df, sizes), *(_peer(df, peer, sizes) for peer in peers)]
    contenders = [
        Contender(one.name, one.title, one.call, before=one.before) for one in entries
    ]
    time_in_turn(contenders, repeat=repeat, patience=patience)
    for entry, contender in zip(entries, contenders, strict=True):
        entry.seconds, entry.answer = contender.seconds, contender.outcome
    known = next(one.answer.metrics for one in entries if one.name == BASE)
    for entry in entries:
        if entry.timing and entry.answer is not None:
            entry.check = _largest_difference(df, entry, known)
        elif entry.answer is not None:
            entry.check = _rows_that_differ(entry.answer.metrics, known)
    return entries


def _forms(df: pl.DataFrame, sizes: Sizes) -> list[Entry]:
    def entry(
        name: str, title: str, weights_fn: Any, budget: float | None = None, **how: Any
    ) -> Entry:
        grid = sizes.python_grid if weights_fn is w6.callback else sizes.grid
        few = {key: values[:2] for key, values in grid.items()}
        made = Entry(name, f"barloop, {title}", n_sets(grid), None, budget)
        if how.get("executor") == "processes":
            if importlib.util.find_spec("loky") is None:
                made.why_not = "loky is not installed"
                return made
            # Processes that wait end after a while.
            made.before = lambda: sweep(df, weights_fn, few, **how)
        sweep(df, weights_fn, few, **how)  # compiles
        made.call = lambda: sweep(df, weights_fn, grid, **how)
        return made

    two = {"executor": "threads", "n_workers": 2}
    processes = {"executor": "processes", "n_workers": 2}
    compiled, factory = w6.BUDGET_COMPILED_S, w6.BUDGET_FACTORY_S
    return [
        entry("compiled-1", "compiled callback", w6.compiled),
        entry(BASE, "compiled callback, 2 threads", w6.compiled, compiled, **two),
        entry("factory-1", "expression factory", w6.factory, factory),
        entry("factory-2", "expression factory, 2 threads", w6.factory, factory, **two),
        entry("arithmetic", "factory, score in plain polars", w6.arithmetic),
        entry("python-1", "Python callback", w6.callback),
        entry("python-2", "Python callback, 2 processes", w6.callback, **processes),
    ]


def sweep(data: Any, weights_fn: Any, grid: dict[str, list[int]], **how: Any) -> Any:
    """Run a sweep of W6; a set that fails is no work, so it ends this run."""
    runs = bl.sweep(data, weights_fn, grid, progress=False, **how, **w6.settings())
    if runs.n_failed:
        raise RuntimeError(f"sets failed, which is not what is timed here:\n{runs}")
    return runs


def _peer(df: pl.DataFrame, peer: SweepPeer, sizes: Sizes) -> Entry:
    sets = SETS[: sizes.n_peer_sets]
    entry = Entry(peer.name, title(peer), len(sets), None, timing=peer.timing)
    entry.why_not = missing(peer) or ""
    if entry.why_not:
        return entry
    peer.prepare(df)  # imports
    started = time.perf_counter()
    shared = peer.prepare(df)
    entry.once = time.perf_counter() - started
    peer.run(shared, *sets[0])  # compiles
    entry.call = lambda: [peer.run(shared, *one) for one in sets]
    return entry


def _rows_that_differ(metrics: pl.DataFrame, known: pl.DataFrame) -> str:
    """Count the sets whose row is not that of the compiled form, bit for bit."""
    mine = metrics.drop("set")
    of_known = known.drop("set").join(
        mine.select("lookback", "n"), on=["lookback", "n"], how="semi"
    )
    same = mine.join(of_known, on=mine.columns, how="semi", nulls_equal=True).height
    return f"{mine.height - same} of {mine.height:,} rows differ"


def _largest_difference(df: pl.DataFrame, entry: Entry, known: pl.DataFrame) -> str:
    """Tell how far the growth of the sets lies from barloop's, at most."""
    away = []
    for (lookback, n), growth in zip(SETS, entry.answer, strict=False):
        if entry.timing == "next_close":
            expected = next_close_growth(df, lookback, n)
        else:
            row = known.filter(pl.col("lookback") == lookback, pl.col("n") == n)
            expected = row["final_equity"][0] / INITIAL_CASH
        away.append(growth / expected - 1.0)
    return f"equity {max(away, key=abs):+.1e}"


def rates(df: pl.DataFrame, sizes: Sizes, repeat: int) -> list[Measure]:
    """Measure sets a second and core, two threads beside one, and the own share."""
    panel = bl.Panel.from_frame(df)
    bars = w6.decided_bars(panel.timestamps)
    weights = np.zeros(panel.n_assets)

    def run(n_workers: int) -> Callable[[], Any]:
        return lambda: sweep(
            panel, w6.compiled, sizes.grid, executor="threads", n_workers=n_workers
        )

    def own_work() -> None:
        for lookback in sizes.grid["lookback"]:
            for n in sizes.grid["n"]:
                w6.own_work(panel.close, bars, lookback, n, weights)

    with ThreadPoolExecutor(2) as pool:

        def spin(n_threads: int) -> Callable[[], Any]:
            return lambda: list(pool.map(w6.spin, [N_STEPS] * n_threads))

        calls = {
            "serial": lambda: sweep(panel, w6.compiled, sizes.grid),
            "own_work": own_work,
            "threads-1": run(1),
            "threads-2": run(2),
            "spin-1": spin(1),
            "spin-2": spin(2),
        }
        wall, cpu = _best_in_turn(calls, repeat)

    sets = sizes.n_sets
    threads = wall["threads-1"] / wall["threads-2"]
    machine = 2.0 * wall["spin-1"] / wall["spin-2"]
    in_set = {name: cpu[name] / sets * 1e3 for name in ("serial", "own_work")}
    share = in_set["serial"] - in_set["own_work"]
    return [
        Measure(
            "rate-wall",
            "compiled sets a second, one thread (at least)",
            sets / wall["serial"],
            "a second",
            w6.BUDGET_SETS_PER_CORE,
            "a prepared panel",
        ),
        Measure(
            "rate-cpu",
            "compiled sets per second of processor time (at least)",
            sets / cpu["serial"],
            "a second",
            w6.BUDGET_SETS_PER_CORE,
            "the same runs",
        ),
        Measure(
            "threads",
            "compiled sweep, two threads over one (at least)",
            threads,
            "x",
            w6.BUDGET_TWO_THREADS,
            f"two loops without memory in the same turns: {machine:.2f}x, so "
            f"{threads / machine:.0%} of what the machine gave",
        ),
        Measure(
            "own-share",
            "barloop's own share of a compiled set",
            share,
            "ms",
            w6.BUDGET_OWN_SHARE_MS,
            f"a set {in_set['serial']:.3f} ms, the work of the callback alone "
            f"{in_set['own_work']:.3f} ms; processor time",
        ),
    ]


def _best_in_turn(
    calls: dict[str, Callable[[], Any]], repeat: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Time the calls A B C A B C ...; give the best wall and processor time of each."""
    wall = dict.fromkeys(calls, float("inf"))
    cpu = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call()  # warm
    for _ in range(repeat):
        for name, call in calls.items():
            gc.collect()
            started, used = time.perf_counter(), time.process_time()
            call()
            cpu[name] = min(cpu[name], time.process_time() - used)
            wall[name] = min(wall[name], time.perf_counter() - started)
    return wall, cpu
