"""What is timed on one workload: barloop, its kernel, a memory copy, the peers."""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

import barloop as bl
from barloop.engine import prepare
from peers import Outcome, missing, title
from workloads import COMMISSION_BPS, INITIAL_CASH, NUMERIC_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable

    from peers import Peer
    from workloads import Workload

WARM_UP_BARS = 40
SHORTEST_TURN_S = 0.03


@dataclass(slots=True)
class Contender:
    """A call to time, and the seconds it took."""

    name: str
    title: str
    call: Callable[[], Outcome | None] | None  # None when it cannot run
    peer: Peer | None = None
    before: Callable[[], object] | None = None  # run before each call, not timed
    why_not: str = ""
    seconds: list[float] = field(default_factory=list)
    outcome: Outcome | None = None

    @property
    def best(self) -> float | None:
        """Fastest run, seconds."""
        return min(self.seconds, default=None)

    @property
    def median(self) -> float | None:
        """Median run, seconds."""
        return statistics.median(self.seconds) if self.seconds else None


def settings(workload: Workload) -> dict[str, Any]:
    """Give the fields of `run_backtest` that every run of a workload uses."""
    return {
        "initial_cash": INITIAL_CASH,
        "commission": bl.Commission(bps=COMMISSION_BPS),
        "limits": bl.Limits(allow_short=workload.n_short > 0, max_gross=workload.gross),
    }


def run_barloop(workload: Workload, df: pl.DataFrame, **fields: Any) -> Outcome:
    """Run from the long frame, and build the metrics, the fills and the equity."""
    result = bl.run_backtest(df, "weight", **{**settings(workload), **fields})
    if not result.metrics:
        raise RuntimeError("a run without metrics is not what is timed here")
    n_fills = result.fills.height
    return Outcome(result.equity["equity"][-1] / INITIAL_CASH, n_fills)


def reference(workload: Workload, df: pl.DataFrame, peer: Peer) -> Outcome:
    """Run barloop the way `peer` runs; not timed."""
    if peer.timing == "next_open" and not peer.unit_gross:
        return run_barloop(workload, df)
    # Weights moved down one bar and filled at the close of the bar that reads them
    # are traded at the close of the next bar and sized there.  These peers size without
    # a look at cash, so barloop may borrow what the costs take.
    scale = workload.gross if peer.unit_gross else 1.0
    moved = df.with_columns(pl.col("weight").shift(workload.n_assets) / scale)
    limits = replace(settings(workload)["limits"], max_borrowing=0.01)
    same_close = bl.Execution(fill="same_close")
    return run_barloop(workload, moved, execution=same_close, limits=limits)


def memory_copy(df: pl.DataFrame) -> Callable[[], None]:
    """Make the yardstick: copy the numeric columns into arrays that exist."""
    columns = [df[name].to_numpy() for name in NUMERIC_COLUMNS]
    copies = [np.zeros_like(column) for column in columns]

    def copy() -> None:
        for column, into in zip(columns, copies, strict=True):
            np.copyto(into, column)

    return copy


def line_up(
    workload: Workload, df: pl.DataFrame, peers: list[Peer], *, slow_too: bool
) -> list[Contender]:
    """List what is timed on `workload`, warmed up where that is needed."""
    contenders = [
        Contender("barloop", "barloop", lambda: run_barloop(workload, df)),
        _kernel(workload, df),
        Contender("copy", "copy of the numeric columns", memory_copy(df)),
    ]
    run_barloop(workload, _head(workload, df))
    for peer in peers:
        contenders.append(_peer(workload, df, peer, slow_too=slow_too))
    return contenders


def time_in_turn(contenders: list[Contender], *, repeat: int, patience: float) -> None:
    """Time the contenders A B C A B C ...; one that used up `patience` seconds stops.

    Every contender runs at least once.  Short calls are repeated within a turn, each
    a measurement of its own.  Garbage is collected before each turn, outside the clock.
    """
    for _ in range(repeat):
        for contender in contenders:
            spent = sum(contender.seconds)
            if contender.seconds and spent + contender.seconds[-1] > patience:
                continue
            _take_turn(contender)


def _take_turn(contender: Contender) -> None:
    if contender.call is None:
        return
    gc.collect()
    turn = 0.0
    while turn < SHORTEST_TURN_S:
        if contender.before is not None:
            contender.before()
        started = time.perf_counter()
        outcome = contender.call()
        seconds = time.perf_counter() - started
        contender.seconds.append(seconds)
        contender.outcome = outcome
        turn += seconds


def _head(workload: Workload, df: pl.DataFrame) -> pl.DataFrame:
    """Cut the frame to the few bars that warm up compiled code."""
    return df.head(workload.n_assets * WARM_UP_BARS)


def _kernel(workload: Workload, df: pl.DataFrame) -> Contender:
    """Time the compiled loop alone: everything is prepared, nothing is logged."""
    config = bl.BacktestConfig(**settings(workload))
    simulation = prepare(df, "weight", config=config)
    return Contender(
        "kernel",
        "barloop, kernel alone",
        simulation.run,
        before=lambda: simulation.reset(keep_log=False),
    )


def _peer(
    workload: Workload, df: pl.DataFrame, peer: Peer, *, slow_too: bool
) -> Contender:
    contender = Contender(peer.name, title(peer), None, peer=peer)
    contender.why_not = missing(peer) or ""
    if not contender.why_not and workload.name in peer.only_with_all and not slow_too:
        contender.why_not = "slow, see --all"
    if contender.why_not:
        return contender
    few = workload.cut(WARM_UP_BARS)
    peer.run(few, peer.prepare(few, _head(workload, df)))
    data = peer.prepare(workload, df)
    contender.call = lambda: peer.run(workload, data)
    return contender
