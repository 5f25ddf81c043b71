"""What a run leaves behind, as arrays: the source of every result frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from barloop.config import BacktestConfig
from barloop.enums import AssetField, BarField, Counter, FillTiming
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
    fill_codes, fill_values : ndarray
        Fill log, rows named by `FillField`.
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
    """

    panel: Panel
    config: BacktestConfig
    first_bar: int
    bars: FloatBlock
    fill_codes: CodeBlock
    fill_values: FloatBlock
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

    @property
    def n_bars(self) -> int:
        """Bars of the run."""
        return self.panel.n_bars - self.first_bar

    @property
    def n_fills(self) -> int:
        """Rows of the fill log."""
        return int(self.fill_codes.shape[1])

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
    def ruined_bar(self) -> int:
        """Bar of ruin, a row of the panel; -1 while solvent."""
        return int(self.counters[Counter.RUINED_AT])

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
    n_waiting = int(counters[Counter.N_WAITING])
    has_log = log.codes.shape[1] > 0
    n_fills = int(counters[Counter.N_FILLS]) if has_log else 0
    n_orders = int(counters[Counter.N_ORDERS]) if has_log else 0
    return RunRecord(
        panel=simulation.panel,
        config=simulation.config,
        first_bar=simulation.first_bar,
        bars=simulation.bars,
        fill_codes=log.codes[:, :n_fills],
        fill_values=log.values[:, :n_fills],
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
    )


def last_known(
    close: FloatPanel, bar: CodeVector | IntVector, asset: CodeVector | IntVector
) -> FloatVector:
    """Return the latest close at or before each (bar, asset).

    Parameters
    ----------
    close : ndarray of shape (n_bars, n_assets)
        NaN where there is no bar.
    bar, asset : ndarray of shape (n,)
        Where to look.

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
    return price
