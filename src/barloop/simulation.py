"""One prepared run: market, decisions and options, ready to be driven."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from barloop.actions import ActionRows
from barloop.bar import Bar
from barloop.callbacks import DecisionRow
from barloop.compiled import CompiledCallback
from barloop.config import BacktestConfig
from barloop.context import AlignedContext
from barloop.enums import AssetField, BarField, Counter, SimStatus, WeightFault
from barloop.notices import Notice
from barloop.options import option_vector
from barloop.panel import Panel
from barloop.typing import BoolVector, FloatBlock, WeightsCallback
from barloop.weight_rows import WeightRows, pack
from barloop.weights import JittedWeights

if TYPE_CHECKING:
    from barloop._kernels.buffers import Book, Decisions, Extras, Log

# Plain numbers: these are looked up on every bar of a callback.
N_ACCOUNT = len(AssetField)
CASH = int(BarField.CASH)
EQUITY = int(BarField.EQUITY)
END_OF_HISTORY = (
    "Hint: an array ends before that place.  bar.history ends at this bar, number "
    "bar.t, and nothing after it can be read; other arrays have a place per asset."
)
WINDOW_CELLS = 20_000_000
"""Bars times assets that the loop runs through between two looks at an interrupt."""
LARGE_LOG = 1_000_000
"""Rows up to which a log is allocated for the worst case; above, it grows."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Stage:
    """Everything of a run but its weights: may serve many runs.

    Parameters
    ----------
    panel : Panel
        Prices.
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

    panel: Panel
    config: BacktestConfig
    context: AlignedContext | None
    is_rebalance: BoolVector
    first_bar: int
    bars_per_year: float
    extras: Extras
    actions: ActionRows | None = None


class Simulation:
    """A run that has been checked; `reset` and `run` it any number of times.

    Parameters
    ----------
    stage : Stage
        Market and settings.
    weights : WeightRows, callable or JittedWeights
        From `resolve_weights`.
    """

    def __init__(
        self, stage: Stage, weights: WeightRows | WeightsCallback | JittedWeights
    ) -> None:
        from barloop._kernels.buffers import Market

        panel = stage.panel
        self.stage = stage
        self.panel = panel
        self.config = stage.config
        self.first_bar = stage.first_bar
        self.bars_per_year = stage.bars_per_year
        self.is_rebalance = stage.is_rebalance
        self.context = stage.context
        self.extras = stage.extras
        self.actions = stage.actions
        self._callback: WeightsCallback | None = None
        self._compiled: CompiledCallback | None = None
        self._row: DecisionRow | None = None
        market_open = panel.close if panel.open is None else panel.open
        self.market = Market(market_open, panel.close)
        self.use(weights)
        self.options = option_vector(
            stage.config,
            asks=self._row is not None,
            first_bar=stage.first_bar,
            bars_per_year=stage.bars_per_year,
        )

    def use(self, weights: WeightRows | WeightsCallback | JittedWeights) -> None:
        """Take the decisions of the next run from other weights of the same form.

        Parameters
        ----------
        weights : WeightRows, callable or JittedWeights
            From `resolve_weights`, for the same stage.

        Raises
        ------
        WeightsError
            If a weight of a columnar form is not valid, or a compiled callback does
            not fit the data.
        """
        from barloop._kernels.buffers import Decisions

        context = self.context
        self.notices: list[Notice] = [] if context is None else list(context.gaps)
        if self.actions is not None:
            self.notices.extend(self.actions.notices)
        if isinstance(weights, WeightRows):
            self._decisions = self._pack(weights)
            return
        if not isinstance(weights, JittedWeights):
            self._callback = weights
        else:
            if self._compiled is None:
                make = weights.make or CompiledCallback
                self._compiled = make(weights, self.panel, context)
            self._compiled.decide_with(weights.params)
        if self._row is None:
            self._row = DecisionRow(self.panel, self.config.limits)
            self._decisions = Decisions(
                self.is_rebalance.astype(np.int8),
                self._row.start,
                self._row.asset,
                self._row.weight,
            )

    def _pack(self, weights: WeightRows) -> Decisions:
        from barloop._kernels.buffers import Decisions

        packed = pack(weights, self.panel, self.is_rebalance, self.config.limits)
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
        return Decisions(packed.kind, packed.start, packed.asset, packed.weight)

    def reset(self, *, keep_log: bool) -> None:
        """Stand before the first bar with cash only, in new arrays.

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
            n_pairs = 0 if self._row else len(self._decisions.asset)
            n_rows = min(2 * n_pairs + 8 * panel.n_assets, LARGE_LOG) + 64
            self.log = new_log(n_rows)

    def rewind(self) -> None:
        """Stand before the first bar again, in the same arrays, without a log."""
        from barloop._kernels.buffers import clear_book

        clear_book(self.state, self.config.initial_cash, self.first_bar)
        self.bars[:] = 0.0

    def take_over(self, other: Simulation) -> None:
        """Go on where another run of the same panel stands, in its arrays.

        Parameters
        ----------
        other : Simulation
            Not to be used any more.
        """
        self.state, self.bars, self.log = other.state, other.bars, other.log

    @property
    def decisions(self) -> Decisions:
        """Sparse decisions; of a callback, the one row it writes."""
        return self._decisions

    def run(self, stop_bar: int | None = None) -> None:
        """Drive the loop from where it stands.

        Parameters
        ----------
        stop_bar : int, optional
            Run the bars before this one; to the end when None.

        Raises
        ------
        WeightsError
            If a callback says something that is not a decision.

        Notes
        -----
        Python is back between windows of `WINDOW_CELLS`, so that an interrupt is heard.
        """
        end = self.panel.n_bars if stop_bar is None else stop_bar
        window = max(WINDOW_CELLS // self.panel.n_assets, 1)
        at = int(self.state.counters[Counter.BAR])
        while at < end:
            at = min(at + window, end)
            self._run_to(at)

    def _run_to(self, stop_bar: int) -> None:
        from barloop._kernels.buffers import grow_log
        from barloop._kernels.simulate import advance

        counters = self.state.counters
        while True:
            given = (
                stop_bar,
                self.market,
                self._decisions,
                self.options,
                self.state,
                self.log,
                self.bars,
                *self.extras,
            )
            status = self._drive(given) if self._compiled else advance(*given)
            if status == SimStatus.DONE:
                return
            if status == SimStatus.LOG_FULL:
                self.log = grow_log(self.log, counters, self.panel.n_assets)
            else:
                t = int(counters[Counter.BAR])
                counters[Counter.ANSWER] = self._ask(t)

    def _drive(self, given: tuple[Any, ...]) -> int:
        compiled, counters = self._compiled, self.state.counters
        if compiled is None:
            msg = "there is no compiled callback."
            raise AssertionError(msg)
        try:
            status, fault, asset = compiled.run(*given)
        except Exception as error:
            error.add_note(self._where(int(counters[Counter.BAR])))
            if isinstance(error, IndexError):
                error.add_note(END_OF_HISTORY)
            raise
        if fault != WeightFault.NONE:
            t = int(counters[Counter.BAR])
            raise compiled.fault(t, fault, asset, self.config.limits)
        return status

    def _where(self, t: int) -> str:
        return f"in the weights function at {self.panel.show_bar(t)}"

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
            error.add_note(self._where(t))
            raise
        return row.accept(said, t)
