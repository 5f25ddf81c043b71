"""Small seeded workloads on which every fill of another engine is compared."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

SEED = 20240105
N_BARS = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Prices, target weights and costs of one comparison.

    Parameters
    ----------
    name : str
        Short name, also that of the stored references.
    bars : DataFrame with ``date``, ``symbol``, ``open``, ``high``, ``low``, ``close``
        Complete, sorted by date and symbol; prices in currency with four decimals.
    weights : DataFrame with ``date``, ``symbol``, ``weight``
        Rows on the rebalance dates only, one for every symbol.
    initial_cash : float
        Currency.
    commission_bps, slippage_bps : float
        Costs of a fill.
    whole : bool
        Whole shares only.
    """

    name: str
    bars: pl.DataFrame
    weights: pl.DataFrame
    initial_cash: float
    commission_bps: float
    slippage_bps: float
    whole: bool


def workloads() -> list[Workload]:
    """Make the seven workloads.

    Returns
    -------
    list of Workload
        Complete panels without costs; fully invested with costs; long and short;
        monthly; whole shares; whole shares, fully invested, so that cash is short;
        more long than cash pays for, so that covers and flips are short of it too.
    """
    return [
        _workload("complete", 1, every=1, n_long=4, gross=0.9),
        _workload("costs", 2, every=1, n_long=5, gross=1.0, commission=10, slippage=5),
        _workload(
            "long_short", 3, every=5, n_long=3, n_short=3, gross=0.9, commission=5
        ),
        _workload("monthly", 4, every=21, n_long=6, gross=0.95, commission=10),
        _workload(
            "whole",
            5,
            every=5,
            n_long=5,
            gross=0.98,
            commission=10,
            cash=100_000.0,
            whole=True,
        ),
        _workload(
            "tight",
            6,
            every=2,
            n_long=5,
            gross=1.0,
            commission=10,
            cash=100_000.0,
            whole=True,
        ),
        _workload(
            "flips",
            7,
            every=2,
            n_long=8,
            n_short=1,
            gross=1.6,
            commission=10,
            slippage=5,
        ),
    ]


def _workload(
    name: str,
    seed: int,
    *,
    every: int,
    n_long: int,
    gross: float,
    n_short: int = 0,
    n_assets: int = 12,
    commission: float = 0.0,
    slippage: float = 0.0,
    cash: float = 1_000_000.0,
    whole: bool = False,
) -> Workload:
    random = np.random.default_rng([SEED, seed])
    symbols = [f"S{i:02d}" for i in range(n_assets)]
    start = date(2024, 1, 2)
    days: list[date] = []
    while len(days) < N_BARS:
        if start.weekday() < 5:
            days.append(start)
        start += timedelta(days=1)
    moves = random.normal(0.0004, 0.02, (N_BARS, n_assets))
    close = 20.0 * np.exp(np.cumsum(moves, axis=0)) * random.uniform(0.5, 8.0, n_assets)
    previous = np.vstack([close[:1], close[:-1]])
    open_ = previous * np.exp(random.normal(0.0, 0.006, close.shape))
    high = np.maximum(open_, close) * (1 + random.uniform(0, 0.01, close.shape))
    low = np.minimum(open_, close) * (1 - random.uniform(0, 0.01, close.shape))
    prices = {"open": open_, "high": high, "low": low, "close": close}
    bars = pl.DataFrame(
        {
            "date": np.repeat(np.array(days, dtype="datetime64[D]"), n_assets),
            "symbol": symbols * N_BARS,
            **{column: values.round(4).ravel() for column, values in prices.items()},
            "volume": random.integers(500_000, 5_000_000, close.size).astype(float),
        }
    )
    score = random.normal(size=close.shape)
    rank = score.argsort(axis=1).argsort(axis=1)
    size = gross / (n_long + n_short)
    # Unequal sizes within a side, so that ties cannot hide an order of execution.
    tilt = 1.0 + 0.1 * np.sin(np.arange(n_assets))
    weight = np.where(rank >= n_assets - n_long, size * tilt, 0.0)
    weight = np.where(rank < n_short, -size * tilt, weight)
    weight *= gross / np.abs(weight).sum(axis=1, keepdims=True)
    table = bars.select("date", "symbol").with_columns(weight=pl.Series(weight.ravel()))
    rebalances = days[5:-1:every]
    return Workload(
        name=name,
        bars=bars,
        weights=table.filter(pl.col("date").is_in(rebalances)),
        initial_cash=cash,
        commission_bps=commission,
        slippage_bps=slippage,
        whole=whole,
    )
