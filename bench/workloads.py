"""The frames that the benchmarks run on, and the budget of each.

Every frame is long, sorted by timestamp and asset, complete, and has its target weights
in a column.  The weights are equal weights of the top names by a score that follows an
AR(1) process, so a fifth to a third of the names change at each rebalance.  Returns
lean on the score just enough to earn back the costs: without that, years of daily
turnover at 15 bps end near zero, where no comparison of equity means anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMMISSION_BPS = 15.0
INITIAL_CASH = 1_000_000.0
NUMERIC_COLUMNS = ("open", "high", "low", "close", "volume", "weight")
SEED = 20_240_617


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One size of problem, the weights it trades, and its budget in seconds."""

    name: str
    n_assets: int
    n_bars: int
    n_long: int
    n_short: int = 0
    every: int = 1  # bars between two rebalances
    minutes: bool = False  # bars of a minute, 390 a day, instead of days
    persistence: float = 0.95  # of the score, from one rebalance to the next
    budget_end_to_end: float  # seconds
    budget_kernel: float  # seconds, `keep="metrics"`, every option off

    @property
    def gross(self) -> float:
        """Sum of the absolute target weights."""
        return 2.0 if self.n_short else 1.0

    @property
    def n_rows(self) -> int:
        """Rows of the long frame."""
        return self.n_bars * self.n_assets

    @property
    def title(self) -> str:
        """The shape in words."""
        bars = "minutes" if self.minutes else "days"
        names = f"{self.n_long} long"
        if self.n_short:
            names += f" and {self.n_short} short"
        when = "daily" if self.every == 1 else f"every {self.every} bars"
        return f"{self.n_assets:,} assets x {self.n_bars:,} {bars}, {names}, {when}"

    def cut(self, n_bars: int) -> Workload:
        """Give the same workload on its first bars."""
        return replace(self, n_bars=n_bars)


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            name="W1",
            n_assets=500,
            n_bars=252,
            n_long=25,
            budget_end_to_end=0.0035,
            budget_kernel=0.00014,
        ),
        Workload(
            name="W2",
            n_assets=500,
            n_bars=2_520,
            n_long=25,
            budget_end_to_end=0.030,
            budget_kernel=0.0020,
        ),
        Workload(
            name="W3",
            n_assets=250,
            n_bars=5_040,
            n_long=25,
            n_short=25,
            budget_end_to_end=0.060,
            budget_kernel=0.0064,
        ),
        Workload(
            name="W4",
            n_assets=3_000,
            n_bars=4_000,
            n_long=50,
            budget_end_to_end=0.225,
            budget_kernel=0.022,
        ),
        Workload(
            name="W5",
            n_assets=100,
            n_bars=97_500,
            n_long=25,
            every=390,
            minutes=True,
            persistence=0.9,
            budget_end_to_end=0.135,
            budget_kernel=0.0114,
        ),
    )
}

# Budgets of what is not an end-to-end run of a workload: number and unit.
BUDGET_SHUFFLED_W2_S = 0.120
BUDGET_STOPS_RATIO = 1.5
BUDGET_CALLBACK_US = 12.0
BUDGET_IMPORT_S = 0.35
BUDGET_FIRST_RESULT_WARM_S = 0.9
BUDGET_FIRST_RESULT_COLD_S = 6.0
BUDGET_MEMORY_MB = 100.0  # on top of the panel and the log


def build(workload: Workload, seed: int = SEED) -> pl.DataFrame:
    """Build the long frame of a workload; the same seed gives the same frame."""
    rng = np.random.default_rng([seed, workload.n_assets, workload.n_bars])
    n_bars, n_assets = workload.n_bars, workload.n_assets
    score = _score(rng, workload)
    weight = _weights(score, workload)

    scale = 1.0 / np.sqrt(390.0) if workload.minutes else 1.0
    log_return = rng.standard_normal((n_bars, n_assets))
    log_return *= 0.015 * scale
    _lean_on_score(log_return, score, workload)
    log_close = np.cumsum(log_return, axis=0, out=log_return)
    log_close += np.log(rng.uniform(20.0, 200.0, n_assets))
    close = np.exp(log_close, out=log_close)
    gap = rng.standard_normal((n_bars, n_assets))
    gap *= 0.003 * scale
    open_ = np.exp(gap, out=gap)
    open_[1:] *= close[:-1]
    open_[0] *= close[0]
    wick = rng.random((n_bars, n_assets))
    wick *= 0.004 * scale
    high = np.maximum(open_, close) * (1.0 + wick)
    low = np.minimum(open_, close) * (1.0 - wick)
    volume = wick
    volume *= 1e8 / scale
    volume += 1e5
    np.floor(volume, out=volume)

    assets = pl.Series("asset", [f"A{i:05d}" for i in range(n_assets)])
    codes = np.tile(np.arange(n_assets, dtype=np.uint32), n_bars)
    timestamps = _timestamps(workload)
    rows = np.repeat(np.arange(n_bars, dtype=np.uint32), n_assets)
    frame = pl.DataFrame(
        {
            "timestamp": timestamps.gather(rows),
            "asset": assets.gather(codes),
            "open": open_.ravel(),
            "high": high.ravel(),
            "low": low.ravel(),
            "close": close.ravel(),
            "volume": volume.ravel(),
            "weight": weight.ravel(),
        }
    )
    if workload.every > 1:
        frame = frame.with_columns(pl.col("weight").fill_nan(None))
    return frame.rechunk()


def n_rebalances(workload: Workload) -> int:
    """Count the bars that decide."""
    return -(-workload.n_bars // workload.every)


def _score(rng: np.random.Generator, workload: Workload) -> NDArray[np.float64]:
    """Draw the AR(1) score of every asset at every rebalance, unit variance."""
    score = rng.standard_normal((n_rebalances(workload), workload.n_assets))
    rho = workload.persistence
    score[1:] *= np.sqrt(1.0 - rho * rho)
    for k in range(1, len(score)):
        score[k] += rho * score[k - 1]
    return score


def _weights(score: NDArray[np.float64], workload: Workload) -> NDArray[np.float64]:
    """Put the equal weights on the extremes of the score; NaN between rebalances."""
    decided = np.zeros_like(score)
    top = np.argpartition(-score, workload.n_long, axis=1)[:, : workload.n_long]
    np.put_along_axis(decided, top, 1.0 / workload.n_long, axis=1)
    if workload.n_short:
        bottom = np.argpartition(score, workload.n_short, axis=1)
        bottom = bottom[:, : workload.n_short]
        np.put_along_axis(decided, bottom, -1.0 / workload.n_short, axis=1)
    if workload.every == 1:
        return decided
    weight = np.full((workload.n_bars, workload.n_assets), np.nan)
    weight[:: workload.every] = decided
    return weight


def _lean_on_score(
    log_return: NDArray[np.float64], score: NDArray[np.float64], workload: Workload
) -> None:
    """Add 5 bps a day and unit of score to the returns after each rebalance."""
    lean = 5e-4 / (390.0 if workload.minutes else 1.0)
    if workload.every == 1:
        log_return[1:] += lean * score[:-1]
        return
    for k, decided in enumerate(score):
        first = k * workload.every + 1
        log_return[first : first + workload.every] += lean * decided


def _timestamps(workload: Workload) -> pl.Series:
    """List the bars: week days, or 390 minutes of each week day from 09:30."""
    n_days = -(-workload.n_bars // 390) if workload.minutes else workload.n_bars
    start = date(2005, 1, 3)
    end = start + timedelta(days=n_days * 7 // 5 + 7)
    days = pl.date_range(start, end, eager=True)
    days = days.filter(days.dt.weekday() <= 5).head(n_days)
    if not workload.minutes:
        return days.alias("timestamp")
    midnight = days.cast(pl.Datetime("us"))
    day = midnight.gather(np.repeat(np.arange(n_days, dtype=np.uint32), 390))
    since_midnight = np.tile(9 * 60 + 30 + np.arange(390), n_days) * 60_000_000
    clock = pl.Series(since_midnight, dtype=pl.Int64).cast(pl.Duration("us"))
    return (day + clock).head(workload.n_bars).alias("timestamp")
