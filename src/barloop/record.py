"""What a run leaves behind, as arrays: the source of every result frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from barloop.config import BacktestConfig
from barloop.enums import (
    ActionKind,
    AssetField,
    BarField,
    Counter,
    Decision,
    FillField,
    FillReason,
    FillTiming,
)
from barloop.notices import Notice
from barloop.panel import Panel
from barloop.typing import (
    BoolVector,
    CodeBlock,
    CodeVector,
    FloatBlock,
    FloatPanel,
    FloatVector,
    IntVector,
)


class Splits(NamedTuple):
    """Splits of all assets, held or not, by bar."""

    bar: IntVector  # row of the panel
    asset: IntVector  # column of the panel
    ratio: FloatVector  # new units for one old unit


NO_SPLITS = Splits(
    np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0)
)


class Delistings(NamedTuple):
    """Delistings of the actions without a return, of all assets, by bar."""

    bar: IntVector  # row of the panel
    asset: IntVector  # column of the panel


NO_DELISTINGS = Delistings(NO_SPLITS.bar, NO_SPLITS.asset)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """Hold the arrays of a finished run.

    Parameters
    ----------
    panel : Panel
        Prices and the user's names.
    config : BacktestConfig
        Settings of the run.
    first_bar : int
        First bar of the run, a row of the panel.
    bars : ndarray of shape (len(BarField), n_bars of the panel)
        Per-bar outputs; columns before `first_bar` are not used.
    journal_codes, journal_values : ndarray
        Fills and cash flows in the order in which they happened, rows named by
        `FillField`.
    order_codes, order_values : ndarray
        Order log, rows named by `OrderField`.
    position : ndarray of shape (n_assets,)
        Signed units at the end.
    waiting_asset, waiting_order, waiting_quantity : ndarray
        Orders still open at the end.
    counters : ndarray
        Integer state at the end, elements named by `Counter`.
    is_rebalance : ndarray of bool, shape (n_bars of the panel,)
        The schedule.
    bars_per_year : float
        Annualisation number of the metrics.
    input_notices : tuple of Notice
        Gaps of the context, weights off the schedule.
    has_base : bool, default False
        Whether the journal holds the price before slippage of every fill.
    has_exit_base : bool, default False
        Whether it holds that of the fills that no order asked for.
    has_limited_weight : bool, default False
        Whether the ledger holds weights after the limits.
    has_sizing : bool, default False
        Whether the ledger holds the equity and the price that sized each order; those
        of what `max_drawdown` closes it always holds.
    splits : Splits
        From the actions.
    delistings : Delistings
        From the actions.
    """

    panel: Panel
    config: BacktestConfig
    first_bar: int
    bars: FloatBlock
    journal_codes: CodeBlock
    journal_values: FloatBlock
    order_codes: CodeBlock
    order_values: FloatBlock
    position: FloatVector
    waiting_asset: IntVector
    waiting_order: IntVector
    waiting_quantity: FloatVector
    counters: IntVector
    is_rebalance: BoolVector
    bars_per_year: float
    input_notices: tuple[Notice, ...]
    has_base: bool = False
    has_exit_base: bool = False
    has_limited_weight: bool = False
    has_sizing: bool = False
    splits: Splits = NO_SPLITS
    delistings: Delistings = NO_DELISTINGS

    @property
    def n_bars(self) -> int:
        """Bars of the run."""
        return self.panel.n_bars - self.first_bar

    @property
    def n_fills(self) -> int:
        """Fills of the run, also when its journal was not kept."""
        return int(self.counters[Counter.N_FILLS] - self.counters[Counter.N_FLOWS])

    @property
    def n_orders(self) -> int:
        """Rows of the order log."""
        return int(self.order_codes.shape[1])

    @property
    def timing(self) -> FillTiming:
        """When orders fill."""
        return FillTiming[self.config.execution.fill.upper()]

    @property
    def fill_prices(self) -> FloatPanel:
        """The panel of base prices, (n_bars of the panel, n_assets)."""
        panel = self.panel
        if self.timing == FillTiming.NEXT_OPEN and panel.open is not None:
            return panel.open
        return panel.close

    @property
    def fill_rows(self) -> IntVector | slice:
        """Rows of the journal that are fills; a slice copies nothing."""
        if self.counters[Counter.N_FLOWS] == 0:
            return slice(None)
        return np.flatnonzero(self.journal_codes[FillField.REASON] < FillReason.SPLIT)

    @property
    def flow_rows(self) -> IntVector:
        """Rows of the journal that are cash flows."""
        return np.flatnonzero(self.journal_codes[FillField.REASON] >= FillReason.SPLIT)

    @property
    def ruined_bar(self) -> int:
        """Bar of ruin, a row of the panel; -1 while solvent."""
        return int(self.counters[Counter.RUINED_AT])

    @property
    def stopped_bar(self) -> int:
        """Bar at which `max_drawdown` ended the run; -1 if it did not."""
        return int(self.counters[Counter.STOPPED_AT])

    @property
    def is_skipped(self) -> BoolVector:
        """Bars of the schedule that could have had a decision and had none."""
        decided = self.bars[BarField.DECISION] != Decision.NONE
        skipped: BoolVector = self.is_rebalance & ~decided
        for end in (self.ruined_bar, self.stopped_bar):
            if end >= 0:
                skipped[end:] = False
        return skipped

    def bar_field(self, field: BarField) -> FloatVector:
        """Return one per-bar output over the bars of the run.

        Parameters
        ----------
        field : BarField
            Which one.

        Returns
        -------
        ndarray of shape (n_bars,)
            A view.
        """
        return self.bars[field, self.first_bar :]

    def timestamps(self, bar: IntVector | CodeVector) -> pl.Series:
        """Return the user's timestamps of panel rows, in his name and dtype.

        Parameters
        ----------
        bar : ndarray of int
            Panel rows; null for one below 0.

        Returns
        -------
        Series
            One value per row.
        """
        return _gather(self.panel.timestamps, bar)

    def assets(self, asset: IntVector | CodeVector) -> pl.Series:
        """Return the user's assets of panel columns, in his name and dtype.

        Parameters
        ----------
        asset : ndarray of int
            Panel columns; null for one below 0.

        Returns
        -------
        Series
            One value per column.
        """
        return _gather(self.panel.assets, asset)


def _gather(values: pl.Series, place: IntVector | CodeVector) -> pl.Series:
    if not (place < 0).any():
        return values.gather(place)
    return values.gather(pl.Series(place).set(pl.Series(place < 0), None))


def record_of(simulation: Any) -> RunRecord:
    """Collect what a finished simulation leaves behind.

    Parameters
    ----------
    simulation : Simulation
        After `run`.

    Returns
    -------
    RunRecord
        Views of its arrays; the log is cut to the rows in use.
    """
    from barloop._kernels.buffers import (
        WAITING,
        WAITING_ORDER,
        WAITING_QUANTITY,
    )

    state, log, counters = simulation.state, simulation.log, simulation.state.counters
    extras = simulation.extras
    n_waiting = int(counters[Counter.N_WAITING])
    has_log = log.codes.shape[1] > 0
    n_journal = int(counters[Counter.N_FILLS]) if has_log else 0
    n_orders = int(counters[Counter.N_ORDERS]) if has_log else 0
    actions = extras.carry
    return RunRecord(
        panel=simulation.panel,
        config=simulation.config,
        first_bar=simulation.first_bar,
        bars=simulation.bars,
        journal_codes=log.codes[:, :n_journal],
        journal_values=log.values[:, :n_journal],
        order_codes=log.codes[:, :n_orders],
        order_values=log.values[:, :n_orders],
        position=state.floats[AssetField.POSITION].copy(),
        waiting_asset=state.lists[WAITING, :n_waiting].astype(np.int64),
        waiting_order=state.codes[WAITING_ORDER, :n_waiting].copy(),
        waiting_quantity=state.floats[WAITING_QUANTITY, :n_waiting].copy(),
        counters=counters.copy(),
        is_rebalance=simulation.is_rebalance,
        bars_per_year=simulation.bars_per_year,
        input_notices=tuple(simulation.notices),
        has_base=extras.orders is not None,
        has_exit_base=extras.exits is not None,
        has_limited_weight=extras.orders is not None,
        has_sizing=extras.orders is not None,
        splits=NO_SPLITS if actions is None else _splits_of(actions),
        delistings=NO_DELISTINGS if actions is None else _delistings_of(actions),
    )


def _splits_of(actions: Any) -> Splits:
    rows = np.flatnonzero(actions.kind == ActionKind.SPLIT)
    return Splits(_bars_of(actions, rows), actions.asset[rows], actions.value[rows])


def _delistings_of(actions: Any) -> Delistings:
    is_delisting = actions.kind == ActionKind.DELISTING
    rows = np.flatnonzero(is_delisting & np.isnan(actions.value))
    return Delistings(_bars_of(actions, rows), actions.asset[rows])


def _bars_of(actions: Any, rows: IntVector) -> IntVector:
    return np.searchsorted(actions.start, rows, side="right") - 1


def last_known(
    close: FloatPanel,
    bar: CodeVector | IntVector,
    asset: CodeVector | IntVector,
    splits: Splits = NO_SPLITS,
) -> FloatVector:
    """Return the latest close at or before each (bar, asset).

    Parameters
    ----------
    close : ndarray of shape (n_bars, n_assets)
        NaN where there is no bar.
    bar, asset : ndarray of shape (n,)
        Where to look.
    splits : Splits
        Those after the close divide it.

    Returns
    -------
    ndarray of shape (n,)
        Currency per unit; NaN for an asset that is not listed yet.
    """
    price: FloatVector = close[bar, asset]
    for i in np.unique(asset[np.isnan(price)]):
        column = close[:, i]
        seen = np.where(np.isnan(column), -1, np.arange(column.size))
        latest = np.maximum.accumulate(seen)
        rows = np.flatnonzero((asset == i) & np.isnan(price))
        at = latest[bar[rows]]
        price[rows] = np.where(at >= 0, column[at], np.nan)
        for k in np.flatnonzero(splits.asset == i):
            after = (at < splits.bar[k]) & (splits.bar[k] <= bar[rows])
            price[rows[after]] /= splits.ratio[k]
    return price
