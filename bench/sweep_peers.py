"""Adapters that run a few sets of W6 by other backtesters.

Each starts from the long frame.  What all sets share (arrays, labels) is prepared once;
the clock of a set covers the making of its weights, by numpy and on the decided bars
only, the backtest, and its final equity.  No measures: barloop's time has 30 of them.
Sets run one by one; many sets in one call of vectorbt took longer per set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import polars as pl

import barloop as bl
from peers import RATE
from sweep_forms import N_ASSETS, decided_bars, settings
from workloads import INITIAL_CASH

if TYPE_CHECKING:
    from numpy.typing import NDArray

SETS = ((50, 20), (100, 40), (175, 60), (225, 80))
"""Lookback and n of the sets that peers run: 50 names on average, in W6 it is 52.5."""


@dataclass(frozen=True)
class Shared:
    """What is made of the frame once."""

    frame: pl.DataFrame
    close: NDArray[np.float64]
    open: NDArray[np.float64]
    timestamps: pl.Series
    bars: NDArray[np.int64]  # that decide


def share(df: pl.DataFrame) -> Shared:
    """Reshape the sorted complete frame; a pivot would take several times as long."""
    timestamps = df["timestamp"].gather_every(N_ASSETS)
    return Shared(
        df,
        df["close"].to_numpy().reshape(-1, N_ASSETS),
        df["open"].to_numpy().reshape(-1, N_ASSETS),
        timestamps,
        decided_bars(timestamps),
    )


def decisions(
    shared: Shared, lookback: int, n: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Weigh the n best equally; give the bars and one row of weights for each."""
    bars = shared.bars[shared.bars >= lookback]
    score = shared.close[bars] / shared.close[bars - lookback] - 1.0
    best = np.argpartition(-score, n - 1, axis=1)[:, :n]
    weights = np.zeros_like(score)
    np.put_along_axis(weights, best, 1.0 / n, axis=1)
    return bars, weights


class SweepPeer(Protocol):
    """One way of running a set by one other backtester."""

    name: str
    distribution: str
    requires: tuple[str, ...]
    timing: Literal["next_open", "next_close"]

    def prepare(self, df: pl.DataFrame) -> Any:
        """Make what sets share; timed, once."""

    def run(self, shared: Any, lookback: int, n: int) -> float:
        """Run a set and give its growth; timed."""


class VectorbtNumba:
    """vectorbt, see `peers.VectorbtNumba`: one group, orders from target percentages.

    Bars without a decision have a size of NaN, which is no order.
    """

    name = "vectorbt, numba engine"
    distribution = "vectorbt"
    requires: tuple[str, ...] = ()
    timing: Literal["next_open", "next_close"] = "next_open"
    engine = "numba"

    def prepare(self, df: pl.DataFrame) -> tuple[Shared, Any]:
        """Make the frame of closes."""
        import pandas as pd

        shared = share(df)
        index = pd.DatetimeIndex(shared.timestamps.to_numpy())
        return shared, pd.DataFrame(shared.close, index)

    def run(self, shared: Any, lookback: int, n: int) -> float:
        """Touch the equity curve."""
        import vectorbt

        arrays, close = shared
        bars, weights = decisions(arrays, lookback, n)
        size = np.full(arrays.close.shape, np.nan)
        size[bars + 1] = weights
        portfolio = vectorbt.Portfolio.from_orders(
            close,
            size=size,
            size_type="targetpercent",
            price=arrays.open,
            val_price=-np.inf,
            fees=RATE,
            init_cash=INITIAL_CASH,
            group_by=True,
            cash_sharing=True,
            call_seq="auto",
            engine=self.engine,
        )
        return float(portfolio.value().iloc[-1]) / INITIAL_CASH


class VectorbtRust(VectorbtNumba):
    """vectorbt with its optional Rust engine; the same call."""

    name = "vectorbt, rust engine"
    requires = ("vectorbt-rust",)
    engine = "rust"


class PolarsBacktest:
    """polars-backtest, see `peers.PolarsBacktest`: returns, no shares or cash.

    A null weight is 0 there, so weights are repeated up to the next decision;
    ``resample=None`` trades when they change.
    """

    name = "polars-backtest"
    distribution = "polars-backtest"
    requires: tuple[str, ...] = ()
    timing: Literal["next_open", "next_close"] = "next_close"

    def prepare(self, df: pl.DataFrame) -> Shared:
        """Take the three columns that it reads."""
        return share(df)

    def run(self, shared: Shared, lookback: int, n: int) -> float:
        """Take the equity curve only: the form that lists trades is slower."""
        import polars_backtest

        bars, weights = decisions(shared, lookback, n)
        decided = np.zeros((len(bars) + 1, weights.shape[1]))
        decided[1:] = weights
        latest = np.searchsorted(bars, np.arange(len(shared.close)), side="right")
        frame = shared.frame.select("timestamp", "asset", "close").with_columns(
            weight=pl.Series(decided[latest].reshape(-1))
        )
        curve = polars_backtest.backtest(
            frame,
            trade_at_price="close",
            position="weight",
            date="timestamp",
            symbol="asset",
            resample=None,
            fee_ratio=RATE,
            tax_ratio=0.0,
        )
        return float(curve["creturn"][-1])


SWEEP_PEERS: dict[str, SweepPeer] = {
    "polars-backtest": PolarsBacktest(),
    "vectorbt": VectorbtNumba(),
    "vectorbt-rust": VectorbtRust(),
}


def next_close_growth(df: pl.DataFrame, lookback: int, n: int) -> float:
    """Run a set by barloop with the timing of polars-backtest; not timed.

    Weights moved down one bar and filled at the close of the bar that reads them are
    traded at the close of the next bar and sized there.  The peer sizes without a look
    at cash, so barloop may borrow what the costs take.
    """
    shared = share(df)
    bars, weights = decisions(shared, lookback, n)
    wide = np.full(shared.close.shape, np.nan)
    wide[bars + 1] = weights
    weight = pl.Series("weight", wide.reshape(-1), nan_to_null=True)
    fields = {
        **settings(),
        "schedule": "every_bar",
        "execution": bl.Execution(fill="same_close"),
        "limits": bl.Limits(max_borrowing=0.01),
    }
    moved = df.with_columns(weight)
    result = bl.run_backtest(moved, "weight", keep="metrics", **fields)
    return float(result.final_equity) / INITIAL_CASH
