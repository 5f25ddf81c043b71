"""Adapters that give the target weights of a workload to other backtesters.

Each adapter starts from the long frame, asks for the settings nearest to barloop's, and
touches the equity curve and the number of fills where the peer has them.  What cannot
be made equal is written down beside the adapter and in ``bench/README.md``.  The peers
are called, nothing of them is copied; each has a licence of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import polars as pl

from workloads import COMMISSION_BPS, INITIAL_CASH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workloads import Workload

RATE = COMMISSION_BPS / 1e4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to, for the check that all contenders did the same work."""

    growth: float  # final equity / initial cash
    n_fills: int | None = None  # None where the contender does not tell


class Peer(Protocol):
    """One way of running one other backtester."""

    name: str
    distribution: str  # what pip installs
    requires: tuple[str, ...]  # further distributions this way of running needs
    timing: Literal["next_open", "next_close"]  # of the fills, for the check
    unit_gross: bool  # scales targets down to a gross of 1
    only_with_all: frozenset[str]  # workloads it is slow on

    def prepare(self, workload: Workload, df: pl.DataFrame) -> Any:
        """Bring the frame into the form the peer takes; not timed."""

    def run(self, workload: Workload, data: Any) -> Outcome:
        """Run one backtest from `data`; timed."""


class PolarsBacktest:
    """polars-backtest: returns from weights in Rust, without shares or cash.

    Weights of bar t are traded at the close of bar t + 1, sized at that close; costs
    come out of the position.  Targets are scaled down to a gross of 1, so on a
    long-short workload it trades half the book.  A null weight means 0, so the weights
    of a workload that decides on few bars are repeated up to the next decision, and
    ``resample=None`` then trades only when they change.  It knows days only: minutes
    are given as so many consecutive days, else it would run one bar per day.
    """

    name = "polars-backtest"
    distribution = "polars-backtest"
    requires = ()
    timing: Literal["next_open", "next_close"] = "next_close"
    unit_gross = True
    only_with_all: frozenset[str] = frozenset()

    def prepare(self, workload: Workload, df: pl.DataFrame) -> pl.DataFrame:
        """Fill weights forward and number minutes as days, where that is needed."""
        if workload.every > 1:
            decided = wide(workload, df, "weight")[:: workload.every]
            weight = np.repeat(decided, workload.every, axis=0)[: workload.n_bars]
            df = df.with_columns(weight=pl.Series(weight.ravel()))
        if workload.minutes:
            day = np.arange(workload.n_bars, dtype=np.int32) - workload.n_bars // 2
            days = pl.Series(np.repeat(day, workload.n_assets)).cast(pl.Date)
            df = df.with_columns(timestamp=days)
        return df

    def run(self, workload: Workload, data: pl.DataFrame) -> Outcome:
        """Take the equity curve only: the form that lists trades is slower."""
        import polars_backtest

        curve = polars_backtest.backtest(
            data,
            trade_at_price="close",
            position="weight",
            date="timestamp",
            symbol="asset",
            resample="D" if workload.every == 1 else None,
            fee_ratio=RATE,
            tax_ratio=0.0,
        )
        return Outcome(growth=float(curve["creturn"][-1]))


class VectorbtNumba:
    """vectorbt: shares and cash in one group, orders from target percentages.

    Weights are moved down one bar, filled at the open and sized on the close before
    (``val_price=-inf``), which is what barloop does.  Short of cash, orders are filled
    one by one, sells first, until cash runs out; barloop shrinks all opening buys by
    one factor.  The frame is reshaped, not pivoted: a sorted complete frame allows it,
    and a pivot takes several times as long.
    """

    name = "vectorbt, numba engine"
    distribution = "vectorbt"
    requires: tuple[str, ...] = ()
    timing: Literal["next_open", "next_close"] = "next_open"
    unit_gross = False
    only_with_all = frozenset({"W4"})
    engine = "numba"

    def prepare(self, workload: Workload, df: pl.DataFrame) -> pl.DataFrame:
        """Take the frame as it is."""
        del workload
        return df

    def run(self, workload: Workload, data: pl.DataFrame) -> Outcome:
        """Touch the order records and the equity curve; no statistics."""
        import pandas as pd
        import vectorbt

        decided = wide(workload, data, "weight")
        size = np.empty_like(decided)
        size[0] = np.nan
        size[1:] = decided[:-1]
        portfolio = vectorbt.Portfolio.from_orders(
            pd.DataFrame(wide(workload, data, "close"), *labels(workload, data)),
            size=size,
            size_type="targetpercent",
            price=wide(workload, data, "open"),
            val_price=-np.inf,
            fees=RATE,
            init_cash=INITIAL_CASH,
            group_by=True,
            cash_sharing=True,
            call_seq="auto",
            engine=self.engine,
        )
        n_fills = int(portfolio.orders.count())
        growth = float(portfolio.value().iloc[-1]) / INITIAL_CASH
        return Outcome(growth=growth, n_fills=n_fills)


class VectorbtRust(VectorbtNumba):
    """vectorbt with its optional Rust engine; the same call."""

    name = "vectorbt, rust engine"
    requires = ("vectorbt-rust",)
    engine = "rust"


class Bt:
    """bt: a tree of Python objects, one rebalance per bar.

    It fills at the close of the bar that decides, so the weights are moved down one
    bar: traded at the close of bar t + 1 and sized there.  A commission comes out of
    the amount allotted to a name, and shares are fractional.  The statistics that
    ``bt.run`` adds are left out.
    """

    name = "bt"
    distribution = "bt"
    requires = ()
    timing: Literal["next_open", "next_close"] = "next_close"
    unit_gross = False
    only_with_all = frozenset({"W2", "W3", "W4", "W5"})

    def prepare(self, workload: Workload, df: pl.DataFrame) -> pl.DataFrame:
        """Take the frame as it is."""
        del workload
        return df

    def run(self, workload: Workload, data: pl.DataFrame) -> Outcome:
        """Run the strategy and take its values."""
        import bt
        import pandas as pd

        index, columns = labels(workload, data)
        close = pd.DataFrame(wide(workload, data, "close"), index, columns)
        weight = pd.DataFrame(wide(workload, data, "weight"), index, columns)
        steps = [
            bt.algos.WeighTarget(weight.shift(1).dropna(how="all")),
            bt.algos.Rebalance(),
        ]
        backtest = bt.Backtest(
            bt.Strategy("weights", steps),
            close,
            initial_capital=INITIAL_CASH,
            commissions=lambda quantity, price: abs(quantity) * price * RATE,
            integer_positions=False,
        )
        backtest.run()
        return Outcome(growth=float(backtest.strategy.values.iloc[-1]) / INITIAL_CASH)


PEERS: dict[str, Peer] = {
    "polars-backtest": PolarsBacktest(),
    "vectorbt": VectorbtNumba(),
    "vectorbt-rust": VectorbtRust(),
    "bt": Bt(),
}


def missing(peer: Peer) -> str | None:
    """Say what stops `peer` from running, or None."""
    for distribution in (peer.distribution, *peer.requires):
        try:
            version(distribution)
        except PackageNotFoundError:
            return "not installed"
    return None


def title(peer: Peer) -> str:
    """Name the peer with its version."""
    if missing(peer):
        return peer.name
    product, _, way = peer.name.partition(", ")
    return f"{product} {version(peer.distribution)}" + (f", {way}" if way else "")


def wide(workload: Workload, df: pl.DataFrame, column: str) -> NDArray[np.float64]:
    """Reshape a column to (n_bars, n_assets), without a copy where it has no nulls."""
    return df[column].to_numpy().reshape(workload.n_bars, workload.n_assets)


def labels(workload: Workload, df: pl.DataFrame) -> tuple[Any, list[str]]:
    """Take the timestamps and the assets of a reshaped column, as pandas wants them."""
    import pandas as pd

    timestamps = df["timestamp"].gather_every(workload.n_assets).to_numpy()
    return pd.DatetimeIndex(timestamps), df["asset"].head(workload.n_assets).to_list()
