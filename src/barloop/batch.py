"""One set of a sweep after another, on whatever the sets have in common."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from barloop.actions import ActionRows
from barloop.annualisation import infer_bars_per_year
from barloop.compiled import CompiledCallback
from barloop.config import BacktestConfig
from barloop.context import AlignedContext
from barloop.engine import stage_of
from barloop.enums import BarField, Counter
from barloop.measures import Measurer
from barloop.panel import Panel
from barloop.result import BacktestResult, result_of
from barloop.simulation import Simulation, Stage
from barloop.typing import FloatVector
from barloop.weight_rows import WeightRows
from barloop.weights import (
    JittedWeights,
    factory_rows,
    is_factory,
    resolve_weights,
)
from barloop.work_memory import SharedWork

if TYPE_CHECKING:
    from barloop.sweep_store import Row, SetWriter

WORK_BYTES = 24 * 2**20
"""Bytes of scores and rankings that sets share; a sweep needs no more than its panel
and 64 MB, 100,000 rows of results included."""
N_KEPT = 4
"""Prepared runs, one per configuration, that a worker keeps."""


class Outcome(NamedTuple):
    """What a set comes to."""

    number: int
    """Of the set."""
    measures: FloatVector
    """(len(MEASURES),) NaN where undefined, and everywhere if it raised."""
    error: str | None
    """What went wrong, in words; None if nothing did."""
    equity: FloatVector | None
    """(bars of the run,) equity at each close, currency, if it is to be kept."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """Everything that the sets of a sweep have in common.

    Parameters
    ----------
    panel : Panel
        The data, cut at the end of the run.
    weights_fn : object
        See `run_backtest`.
    config : BacktestConfig
        The base that a set may change.
    config_names : frozenset of str
        Names of a set that reach into the configuration; the others are parameters.
    params : mapping
        Parameters that all sets share.
    kinds : mapping, optional
        Kind of each parameter of a compiled callback.
    context : AlignedContext or None
        Market-wide values.
    actions : ActionRows or None
        Corporate actions.
    first : object
        First bar of the run.
    full : bool
        Run the full loop even where the lean one would do.
    keep_equity : bool
        Hand out the equity of each bar.
    base : str
        Digest of all of this; names the sets in a store.
    writer : SetWriter or None
        Where a finished set is written at once.
    """

    panel: Panel
    weights_fn: Any
    config: BacktestConfig
    config_names: frozenset[str]
    params: Mapping[str, Any]
    kinds: Mapping[str, str] | None = None
    context: AlignedContext | None = None
    actions: ActionRows | None = None
    first: Any = None
    full: bool = False
    keep_equity: bool = False
    base: str = ""
    writer: SetWriter | None = None
    common: Common = field(default_factory=lambda: Common())

    def start(self) -> Callable[[int, dict[str, Any]], Outcome]:
        """Return a function that runs sets, for one thread or process."""
        return Worker(self).run

    def config_of(self, assignment: Mapping[str, Any]) -> BacktestConfig:
        """Return the configuration of a set."""
        changes = {k: v for k, v in assignment.items() if k in self.config_names}
        return self.config.replace(changes) if changes else self.config

    def params_of(self, assignment: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of a set."""
        own = {k: v for k, v in assignment.items() if k not in self.config_names}
        return {**self.params, **own}

    def stage(self, config: BacktestConfig) -> Stage:
        """Check a configuration against the data."""
        first_bar, _ = self.panel.bar_range(self.first)
        run = self.panel.timestamps.slice(first_bar)
        return stage_of(
            self.panel,
            config,
            usual_bars_per_year=self.common.block(
                "bars_per_year", lambda: float(infer_bars_per_year(run))
            )
            if config.bars_per_year is None
            else None,
            context=self.context,
            actions=self.actions,
            start=self.first,
            full=self.full,
        )

    def weights(
        self, stage: Stage, params: Mapping[str, Any]
    ) -> WeightRows | Callable[..., Any] | JittedWeights:
        """Resolve the weights of a set."""
        if self.kinds is not None:
            return JittedWeights(self.weights_fn, params, self.kinds)
        panel, mask = stage.panel, stage.is_rebalance
        work = self.common.work(panel)
        if self.common.is_factory(self.weights_fn):
            # The names of the parameters are those of the set that was checked.
            return factory_rows(self.weights_fn, panel, params, mask, work)
        return resolve_weights(self.weights_fn, panel, params, mask, work)

    def result(self, assignment: Mapping[str, Any]) -> BacktestResult:
        """Run one set and keep everything.

        Parameters
        ----------
        assignment : mapping
            The set.

        Returns
        -------
        BacktestResult
            With ``keep="full"``.
        """
        stage = self.stage(self.config_of(assignment))
        simulation = Simulation(stage, self.weights(stage, self.params_of(assignment)))
        simulation.reset(keep_log=True)
        simulation.run()
        return result_of(simulation, "full")


class Common:
    """Hold what sets make once for all; another process begins with nothing."""

    def __init__(self) -> None:
        self._work: SharedWork | None = None
        self._is_factory: bool | None = None
        self._lock = Lock()
        self._blocks: dict[Any, Any] = {}

    def __reduce__(self) -> Any:
        return Common, ()

    def is_factory(self, weights_fn: Any) -> bool:
        """Tell whether the weights of the job are a factory."""
        if self._is_factory is None:
            self._is_factory = is_factory(weights_fn)
        return self._is_factory

    def block(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what was made under a key, by one thread for all."""
        with self._lock:
            if key not in self._blocks:
                self._blocks[key] = make()
            return self._blocks[key]

    def work(self, panel: Panel) -> SharedWork:
        """Return what was made of a panel."""
        work = self._work
        if work is None or work.panel is not panel:
            work = self._work = SharedWork(panel, WORK_BYTES)
        return work


class Worker:
    """Run sets one after another and reuse what the last ones made.

    Parameters
    ----------
    job : Job
        What they have in common.
    """

    def __init__(self, job: Job) -> None:
        from barloop._kernels.statistics import MEASURES

        self._job = job
        self._measurer = Measurer(job.panel.n_bars)
        self._nothing = np.full(len(MEASURES), np.nan)
        self._kept: OrderedDict[Any, Simulation] = OrderedDict()
        self._last: tuple[Any, WeightRows] | None = None
        self._compiled: CompiledCallback | None = None

    def run(self, index: int, assignment: dict[str, Any]) -> Outcome:
        """Run one set.

        Parameters
        ----------
        index : int
            Its number.
        assignment : dict
            Values by name.

        Returns
        -------
        Outcome
            Also when the set raises.
        """
        outcome = self._run(index, assignment)
        job = self._job
        if job.writer is not None:
            job.writer.append(row_of(job.base, assignment, outcome))
        return outcome

    def _run(self, index: int, assignment: dict[str, Any]) -> Outcome:
        job = self._job
        changes = {k: v for k, v in assignment.items() if k in job.config_names}
        key = _key(changes)
        try:
            simulation = self._simulation(key, assignment)
            simulation.run()
        except Exception as error:
            # What it left half done is not to reach the next set.
            self._kept.pop(key, None)
            return Outcome(index, self._nothing, told(error), None)
        equity = None
        if job.keep_equity:
            equity = simulation.bars[BarField.EQUITY, simulation.first_bar :].copy()
        measures = self._measurer.measure(simulation).copy()
        ruined = int(simulation.state.counters[Counter.RUINED_AT])
        error_text = None
        if ruined >= 0:
            error_text = f"ruined at {simulation.panel.show_bar(ruined)}"
        return Outcome(index, measures, error_text, equity)

    def _simulation(self, key: Any, assignment: Mapping[str, Any]) -> Simulation:
        """Return the run of a set, before its first bar."""
        job, kept = self._job, self._kept
        params = job.params_of(assignment)
        if key is not None and key in kept:
            kept.move_to_end(key)
            simulation = kept[key]
            simulation.use(self._weights(simulation.stage, params))
            simulation.rewind()
            return simulation
        stage = job.stage(job.config_of(assignment))
        simulation = Simulation(stage, self._weights(stage, params))
        simulation.reset(keep_log=False)
        if key is not None:
            kept[key] = simulation
            if len(kept) > N_KEPT:
                kept.popitem(last=False)
        return simulation

    def _callback(
        self, weights: JittedWeights, panel: Panel, context: AlignedContext | None
    ) -> CompiledCallback:
        """Return the compiled callback of all runs of this worker."""
        if self._compiled is None:
            keep = self._job.common.block
            self._compiled = CompiledCallback(weights, panel, context, keep)
        return self._compiled

    def _weights(
        self, stage: Stage, params: Mapping[str, Any]
    ) -> WeightRows | Callable[..., Any] | JittedWeights:
        """Resolve the weights of a set, or take those of one with its parameters."""
        job = self._job
        if job.kinds is not None:
            return JittedWeights(job.weights_fn, params, job.kinds, self._callback)
        key = _key(params, stage.is_rebalance.tobytes())
        if key is not None and self._last is not None and self._last[0] == key:
            return self._last[1]
        weights = job.weights(stage, params)
        if isinstance(weights, WeightRows):
            self._last = (key, weights)
        return weights


def row_of(base: str, assignment: Mapping[str, Any], outcome: Outcome) -> Row:
    """Return an outcome as a store keeps it."""
    from barloop.digest import set_key
    from barloop.sweep_store import Row

    return Row(
        set_key(base, assignment),
        dict(assignment),
        outcome.measures,
        outcome.error,
        outcome.equity,
    )


def told(error: BaseException) -> str:
    """Return an error as one text: its type, what it says and where.

    Parameters
    ----------
    error : BaseException
        What a set raised.

    Returns
    -------
    str
        For the column ``error``.
    """
    notes = getattr(error, "__notes__", ())
    return " ".join([f"{type(error).__name__}: {error}", *notes])


def _key(values: Mapping[str, Any], *more: Any) -> Any:
    """Return a hashable name of some values, None if there is none."""
    key = (tuple((name, type(one), one) for name, one in values.items()), *more)
    try:
        hash(key)
    except TypeError:
        return None
    return key
