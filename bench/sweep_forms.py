"""W6, the sweep that is timed: monthly momentum, in every form of weights.

50 lookbacks x 20 numbers of names, on prices of the shape of W2: at the end of each
month hold the n best of the last `lookback` bars with equal weights, 15 bps.  No form
decides before it knows `lookback` bars.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import polars as pl

import barloop as bl
from barloop import jitted
from workloads import COMMISSION_BPS, INITIAL_CASH, SEED

N_ASSETS, N_BARS = 500, 2_520
LOOKBACKS = tuple(range(5, 255, 5))
NUMBERS = tuple(range(5, 105, 5))
SCHEDULE = "month_end"

BUDGET_COMPILED_S = 1.0  # 1,000 sets on two threads
BUDGET_FACTORY_S = 2.0
BUDGET_SETS_PER_CORE = 1_000.0  # a second
BUDGET_OWN_SHARE_MS = 0.3  # of a set
BUDGET_TWO_THREADS = 1.8  # times one thread
BUDGET_COMPILE_S = 0.5
BUDGET_START_S = 2.0  # of processes, panel included
BUDGET_MEMORY_MB = 64.0  # above the panel


def frame() -> pl.DataFrame:
    """Make the long frame."""
    return bl.datasets.simulate_bars(N_ASSETS, N_BARS, seed=SEED)


def grid(every_lookback: int = 1, every_number: int = 1) -> dict[str, list[int]]:
    """Make the grid; with every 5th lookback and 2nd number one of 100 sets."""
    return {
        "lookback": list(LOOKBACKS[every_lookback - 1 :: every_lookback]),
        "n": list(NUMBERS[every_number - 1 :: every_number]),
    }


def settings() -> dict[str, Any]:
    """Give the fields of the configuration that every sweep uses."""
    return {
        "schedule": SCHEDULE,
        "commission": bl.Commission(bps=COMMISSION_BPS),
        "initial_cash": INITIAL_CASH,
    }


def decided_bars(timestamps: pl.Series) -> np.ndarray:
    """List the bars before another month begins, as the schedule does."""
    month = timestamps.dt.month().to_numpy()
    return np.flatnonzero(month[1:] != month[:-1])


@numba.njit
def compiled(bar, params, weights_out):
    """Decide in compiled code."""
    if bar.t < params.lookback:
        return False
    score = jitted.momentum(bar.history.close, params.lookback)
    jitted.equal_weight(jitted.top_n(score, params.n), weights_out)
    return True


def factory(lookback: int, n: int) -> pl.Expr:
    """Make an expression out of barloop's own parts, which sets share."""
    return bl.equal_weight(bl.top_n(bl.momentum("close", lookback), n))


def arithmetic(lookback: int, n: int) -> pl.Expr:
    """Make the same expression with the score written as plain polars."""
    close = pl.col("close")
    score = close / close.shift(lookback).over("asset") - 1.0
    return bl.equal_weight(bl.top_n(score, n))


def callback(bar: Any, lookback: int, n: int) -> np.ndarray | None:
    """Decide in Python."""
    if bar.t < lookback:
        return None
    return bl.equal_weight(bl.top_n(bl.momentum(bar.history.close, lookback), n))


@numba.njit(nogil=True)
def own_work(close, bars, lookback, n, weights):
    """Do what `compiled` does in a run, and nothing else."""
    for t in bars:
        weights[:] = 0.0
        if t >= lookback:
            score = jitted.momentum(close[: t + 1], lookback)
            jitted.equal_weight(jitted.top_n(score, n), weights)


@numba.njit
def buy_once(bar, params, weights_out):
    """Buy two assets at the first decision: as little work as a set can be."""
    if bar.t > 300:
        return False
    weights_out[params.first] += 0.5
    weights_out[params.second] += 0.5
    return True


def cheap_grid(n_sets: int) -> dict[str, list[int]]:
    """Make a grid for `buy_once`; `n_sets` is a multiple of 250."""
    return {"first": list(range(n_sets // 250)), "second": list(range(250))}


@numba.njit(nogil=True)
def spin(n_steps):
    """Keep one core busy without memory: draw numbers."""
    state = np.uint64(88172645463325252)
    for _ in range(n_steps):
        state ^= state << np.uint64(13)
        state ^= state >> np.uint64(7)
        state ^= state << np.uint64(17)
    return state
