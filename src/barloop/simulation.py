"""One prepared run: market, decisions and options, ready to be driven."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from barloop.actions import ActionRows
from barloop.bar import Bar
from barloop.callbacks import DecisionRow
from barloop.config import BacktestConfig
from barloop.context import AlignedContext
from barloop.enums import AssetField, BarField, Counter, SimStatus
from barloop.notices import Notice
from barloop.options import option_vector
from barloop.panel import Panel
from barloop.typing import BoolVector, FloatBlock, WeightsCallback
from barloop.weights import WeightRows, pack

if TYPE_CHECKING:
    from barloop._kernels.buffers import Book, Decisions, Extras, Log

# Plain numbers: these are looked up on every bar of a callback.
N_ACCOUNT = len(AssetField)
CASH = int(BarField.CASH)
EQUITY = int(BarField.EQUITY)
LARGE_LOG = 1_000_000
"""Rows up to which a log is allocated for the worst case; above, it grows."""


class Simulation:
    """A run that has been checked; `reset` and `run` it any number of times.

    Parameters
    ----------
    panel : Panel
        Prices.
    weights : WeightRows or callable
        From `resolve_weights`.
    config : BacktestConfig
        Settings.
    context : AlignedContext or None
        For a callback.
    is_rebalance : ndarray of bool, shape (n_bars,)
        The schedule.
    first_bar : int
        Where the run starts; bars before are history.
    bars_per_year : float
        Annualisation number of the metrics, and of the rates of financing.
    extras : Extras
        From `extras_of`.
    actions : ActionRows or None
        What was left out of the actions becomes notices.
    """

    def __init__(
        self,
        panel: Panel,
        weights: WeightRows | WeightsCallback,
        config: BacktestConfig,
        context: AlignedContext | None,
        is_rebalance: BoolVector,
        first_bar: int,
        bars_per_year: float,
        extras: Extras,
        actions: ActionRows | None = None,
    ) -> None:
        from barloop._kernels.buffers import Decisions, Market

        self.panel = panel
        self.config = config
        self.first_bar = first_bar
        self.bars_per_year = bars_per_year
        self.is_rebalance = is_rebalance
        self.context = context
        self.extras = extras
        self.actions = actions
        self.notices: list[Notice] = [] if context is None else list(context.gaps)
        if actions is not None:
            self.notices.extend(actions.notices)
        self._callback: WeightsCallback | None = None
        self._row: DecisionRow | None = None
        market_open = panel.close if panel.open is None else panel.open
        self.market = Market(market_open, panel.close)
        if isinstance(weights, WeightRows):
            packed = pack(weights, panel, is_rebalance, config.limits)
            if packed.n_unread:
                message = "timestamps of the weights frame are not on the schedule"
                self.notices.append(
                    Notice(
                        "weights_off_schedule",
                        packed.n_unread,
                        packed.first_unread,
                        None,
                        message,
                    )
                )
            self._decisions = Decisions(
                packed.kind, packed.start, packed.asset, packed.weight
            )
        else:
            self._callback = weights
            self._row = DecisionRow(panel, config.limits)
            self._decisions = Decisions(
                is_rebalance.astype(np.int8),
                self._row.start,
                self._row.asset,
                self._row.weight,
            )
        self.options = option_vector(
            config,
            asks=self._callback is not None,
            first_bar=first_bar,
            bars_per_year=bars_per_year,
        )

    def reset(self, *, keep_log: bool) -> None:
        """Stand before the first bar with cash only.

        Parameters
        ----------
        keep_log : bool
            Record fills and orders.
        """
        from barloop._kernels.buffers import new_bars, new_book, new_log

        panel = self.panel
        self.state: Book = new_book(
            panel.n_assets, self.config.initial_cash, self.first_bar
        )
        self.bars: FloatBlock = new_bars(panel.n_bars)
        self.log: Log = new_log(0)
        if keep_log:
            # Each target is bought and each holding sold at most once per decision;
            # waiting orders and rare events grow the log.
            n_pairs = 0 if self._callback else len(self._decisions.asset)
            n_rows = min(2 * n_pairs + 8 * panel.n_assets, LARGE_LOG) + 64
            self.log = new_log(n_rows)

    @property
    def decisions(self) -> Decisions:
        """Sparse decisions; of a callback, the one row it writes."""
        return self._decisions

    @property
    def asks(self) -> bool:
        """Whether a Python callback decides."""
        return self._callback is not None

    def run(self) -> None:
        """Drive the loop from where it stands to the last bar.

        Raises
        ------
        WeightsError
            If a callback says something that is not a decision.
        """
        from barloop._kernels.buffers import grow_log
        from barloop._kernels.simulate import advance

        n_bars, n_assets = self.panel.n_bars, self.panel.n_assets
        counters = self.state.counters
        while True:
            status = advance(
                n_bars,
                self.market,
                self._decisions,
                self.options,
                self.state,
                self.log,
                self.bars,
                *self.extras,
            )
            if status == SimStatus.DONE:
                return
            if status == SimStatus.LOG_FULL:
                self.log = grow_log(self.log, counters, n_assets)
            else:
                t = int(counters[Counter.BAR])
                counters[Counter.ANSWER] = self._ask(t)

    def _ask(self, t: int) -> int:
        callback, row = self._callback, self._row
        if callback is None or row is None:
            msg = "the loop asked for a decision, but no callback was given."
            raise AssertionError(msg)
        bar = Bar(
            self.panel,
            self.context,
            t,
            self.state.floats[:N_ACCOUNT].copy(),
            float(self.bars[CASH, t]),
            float(self.bars[EQUITY, t]),
            row.orders.at(t),
        )
        try:
            said: Any = callback(bar)
        except Exception as error:
            error.add_note(f"in the weights function at {self.panel.show_bar(t)}")
            raise
        return row.accept(said, t)
