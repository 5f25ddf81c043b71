"""Conducts a walk-forward: training sweeps, and one run over all tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from barloop.batch import Common, Job
from barloop.enums import Option
from barloop.errors import BarloopError, ConfigError, SimulationError, suggestion
from barloop.execution import Execution
from barloop.folds import Fold, walk_forward_folds
from barloop.record import record_of
from barloop.result import BacktestResult
from barloop.sets import SetList
from barloop.simulation import Simulation, Stage
from barloop.sweep_result import SweepResult
from barloop.sweep_run import run_sets
from barloop.typing import BoolVector
from barloop.walk_forward_result import WalkForwardResult
from barloop.weight_rows import WeightRows

Select = str | Callable[[SweepResult], int]


def run_folds(
    job: Job,
    sets: SetList,
    *,
    windows: Mapping[str, Any],
    select: Select,
    minimize: bool | None,
    between: str,
    executor: Any,
    n_workers: int | None,
    progress: bool,
) -> WalkForwardResult:
    """Train on each fold and run all tests as one account.

    Parameters
    ----------
    job : Job
        From `job_of`.
    sets : SetList
        Beside it.
    windows : mapping
        Arguments of `walk_forward_folds`.
    select, minimize, between, executor, n_workers, progress
        See `walk_forward`.

    Returns
    -------
    WalkForwardResult
        One run over all tests.
    """
    fixed = {"initial_cash", "bars_per_year", "risk_free"} & job.config_names
    if fixed:
        msg = (
            f"the grid of a walk-forward cannot change {min(fixed)!r}: all tests are "
            "one account.\nHint: leave it out of the grid."
        )
        raise ConfigError(msg)
    _require_names(sets, select)
    execution = _one_execution(job, sets)
    panel = job.panel
    first_bar, _ = panel.bar_range(job.first, None)
    folds = [
        _moved(fold, first_bar)
        for fold in walk_forward_folds(
            panel.timestamps.slice(first_bar),
            **windows,
        )
    ]
    times = panel.timestamps
    runs: list[SweepResult] = []
    chosen: list[int] = []
    for k, fold in enumerate(folds):
        trained = run_sets(
            _until(job, fold.train_stop, first=times[fold.train_start]),
            sets,
            executor=executor,
            metrics=None,
            keeps_equity=False,
            resume=None,
            version=None,
            progress=progress,
            n_workers=n_workers,
        )
        runs.append(trained)
        chosen.append(_choose(trained, select, f"fold {k}", minimize=minimize))
    result = _stitched(job, sets, folds, chosen, between, execution)
    return WalkForwardResult(
        result=result,
        runs=runs,
        folds=folds,
        chosen=chosen,
        select=select if isinstance(select, str) else "sharpe",
        between=between,
    )


COLUMNS = ("fold", "train_start", "train_end", "test_start", "test_end")
"""Columns of the table of folds, beside those of the parameters."""


def _require_names(sets: SetList, select: Select) -> None:
    from barloop._kernels.statistics import MEASURES

    if isinstance(select, str) and select not in MEASURES:
        msg = f"select names no measure: {select!r}.{suggestion(select, MEASURES)}"
        raise ConfigError(msg)
    taken = [name for name in sets.names if name in COLUMNS or "test_" in name[:5]]
    if taken:
        msg = (
            f"a parameter of a walk-forward cannot be named {taken[0]!r}, a column of "
            "its folds.\nHint: name it otherwise in the weights function."
        )
        raise ConfigError(msg)


def _one_execution(job: Job, sets: SetList) -> Execution:
    """Return how all sets fill and size; orders wait from one test to the next."""
    if not any(name.partition(".")[0] == "execution" for name in job.config_names):
        return job.config.execution
    known: dict[tuple[Any, ...], Execution] = {}
    for assignment in sets:
        try:
            one = job.config_of(assignment).execution
        except BarloopError:
            continue  # the error of its own row
        known.setdefault((one.fill, one.size_at, one.costs_in_size), one)
    if len(known) > 1:
        msg = (
            "the grid of a walk-forward cannot change execution.fill, size_at or "
            "costs_in_size: orders wait from one test to the next.\n"
            "Hint: run one walk-forward for each."
        )
        raise ConfigError(msg)
    return next(iter(known.values()), job.config.execution)


def _moved(fold: Fold, by: int) -> Fold:
    """Count the bars of a fold from the first of the panel."""
    return Fold(
        fold.train_start + by,
        fold.train_stop + by,
        fold.test_start + by,
        fold.test_stop + by,
    )


def _choose(
    runs: SweepResult, select: Select, where: str, *, minimize: bool | None
) -> int:
    if runs.n_failed == len(runs):
        first = runs.metrics["error"][0]
        msg = f"every set failed on the training window of {where}, the first: {first}"
        raise SimulationError(msg)
    if isinstance(select, str):
        try:
            return int(runs.best(select, minimize=minimize)["set"])
        except BarloopError as error:
            error.add_note(f"on the training window of {where}")
            raise
    number = select(runs)
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
        msg = f"select must return the number of a set, got {number!r} on {where}."
        raise ConfigError(msg)
    if not 0 <= number < len(runs):
        msg = f"select returned set {number} on {where}; there are {len(runs):,}."
        raise ConfigError(msg)
    return int(number)


def _stitched(
    job: Job,
    sets: SetList,
    folds: list[Fold],
    chosen: list[int],
    between: str,
    execution: Execution,
) -> BacktestResult:
    """Run all tests as one account, each with its own parameters."""
    times = job.panel.timestamps
    first_bar, n_bars = folds[0].test_start, folds[-1].test_stop
    one = _until(job, n_bars, first=times[first_bar])
    stages = [one.stage(one.config_of(sets[number])) for number in chosen]
    if len({tuple(part is None for part in stage.extras) for stage in stages}) > 1:
        # One log: rules that only some of the sets need are then in all of them.
        one = replace(one, full=True)
        stages = [one.stage(stage.config) for stage in stages]
    mask: BoolVector = np.zeros(n_bars, dtype=np.bool_)
    stops = [*(fold.test_start for fold in folds[1:]), n_bars]
    before: Simulation | None = None
    at = first_bar
    for k, stop in enumerate(stops):
        stage = stages[k]
        now = Simulation(stage, one.weights(stage, one.params_of(sets[chosen[k]])))
        if before is None:
            now.reset(keep_log=True)
        else:
            now.take_over(before)
        closes = between == "close" and stop < n_bars
        now.run(stop_bar=stop - 1 if closes else stop)
        mask[at:stop] = stage.is_rebalance[at:stop]
        if closes:
            mask[stop - 1] = True
            now = _closing(now, stage, stop)
        before, at = now, stop
    record = record_of(before)
    config = job.config.replace({"execution": execution})
    return BacktestResult(replace(record, config=config, is_rebalance=mask), "full")


def _until(job: Job, n_bars: int, *, first: Any) -> Job:
    """Return the job of the bars from `first` up to, without, bar `n_bars`."""
    context = job.context
    if context is not None:
        values = {name: column[:n_bars] for name, column in context.values.items()}
        context = replace(context, values=values)
    actions = job.actions
    if actions is not None:
        n = int(actions.start[n_bars])
        actions = replace(
            actions,
            start=actions.start[: n_bars + 1],
            kind=actions.kind[:n],
            asset=actions.asset[:n],
            value=actions.value[:n],
        )
    return replace(
        job,
        panel=job.panel.truncate(n_bars),
        context=context,
        actions=actions,
        first=first,
        common=Common(),
    )


def _closing(run: Simulation, stage: Stage, stop_bar: int) -> Simulation:
    """Go on to `stop_bar`, and decide on the bar before it to close everything."""
    only = np.zeros(stage.panel.n_bars, dtype=np.bool_)
    only[stop_bar - 1] = True
    start = np.zeros(stage.panel.n_bars + 1, dtype=np.int64)
    start[stop_bar:] = 1
    nothing = np.empty(0, dtype=np.int64)
    # One name at weight 0 is a decision; all others are not named.
    rows = WeightRows(start, np.zeros(1, np.uint32), np.zeros(1), nothing, nothing)
    closing = Simulation(replace(stage, is_rebalance=only), rows)
    asks = closing.options[Option.ASK_FOR_DECISIONS]
    closing.options = run.options.copy()
    closing.options[Option.ASK_FOR_DECISIONS] = asks
    closing.take_over(run)
    closing.run(stop_bar=stop_bar)
    return closing
