"""What the sets of a sweep have in common, checked before any of them runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from barloop.actions import ActionRows, action_rows
from barloop.batch import Job
from barloop.compiled import CompiledCallback, kind_of
from barloop.config import PATHS, BacktestConfig, resolve
from barloop.context import Context, align
from barloop.engine import run_panel
from barloop.enums import ActionKind
from barloop.errors import BarloopError, ConfigError, WeightsError, suggestion
from barloop.sets import SetList
from barloop.simulation import Stage
from barloop.typing import FloatVector, FrameLike, WeightsFn
from barloop.weights import (
    JittedWeights,
    check_weights,
    is_jitted,
    parameter_names,
)

N_TRIED = 20
"""Sets that are tried before a setting is called wrong in all of them."""
KINDS = {"Int64": "int", "Float64": "float", "Boolean": "bool"}
"""Kinds of parameters of a compiled callback by the dtype of their column."""


def job_of(
    df: FrameLike,
    weights_fn: WeightsFn,
    grid: Any,
    *,
    config: BacktestConfig | None,
    params: Mapping[str, Any] | None,
    context: FrameLike | Context | None,
    actions: FrameLike | None,
    start: Any,
    end: Any,
    fields: Mapping[str, Any],
) -> tuple[Job, SetList]:
    """Prepare what all sets have in common.

    Parameters
    ----------
    df, weights_fn, grid, config, params, context, actions, start, end, fields
        See `sweep`.

    Returns
    -------
    (Job, SetList)
        The configuration of the job is the one that sets change.
    """
    from barloop._kernels.statistics import MEASURES

    # A setting that is a measure too: one column tells both.
    sets = SetList.of(grid, reserved=set(MEASURES) - {"bars_per_year"})
    base = resolve(config, fields)
    shared = dict(params or {})
    panel, first_bar = run_panel(df, start, end)
    job = Job(
        panel=panel,
        weights_fn=weights_fn,
        config=base,
        config_names=_config_names(sets, weights_fn, shared),
        params=shared,
        kinds=_kinds(sets, weights_fn, shared),
        context=None
        if context is None
        else align(context, panel.timestamps, panel.timestamp_name),
        actions=None if actions is None else action_rows(actions, panel, first_bar),
        first=start,
    )
    return job, sets


SETTINGS_OF_MEASURES = ("initial_cash", "bars_per_year", "risk_free")
"""Settings that the statistics of a sweep read by the name of their column."""


def _config_names(
    sets: SetList, weights_fn: Any, shared: Mapping[str, Any]
) -> frozenset[str]:
    """Tell the names that reach into the configuration from the parameters."""
    parameters, takes_any = parameter_names(weights_fn)
    reach = set()
    for name in sets.names:
        if name in shared:
            msg = f"{name!r} stands in the grid and in params."
            raise ConfigError(msg)
        if name in parameters:
            if name in SETTINGS_OF_MEASURES:
                msg = (
                    f"the grid names {name!r}, a parameter of the weights and also a "
                    "setting that measures depend on.\n"
                    "Hint: name the parameter otherwise."
                )
                raise ConfigError(msg)
        elif name in PATHS:
            reach.add(name)
        elif "." in name or not takes_any:
            known = [*parameters, *PATHS]
            listed = ", ".join(map(repr, parameters)) or "none"
            msg = (
                f"the grid names {name!r}, which is neither a parameter of the weights "
                f"(they are: {listed}) nor a setting.{suggestion(name, known)}"
            )
            raise ConfigError(msg)
    return frozenset(reach)


def _kinds(
    sets: SetList, weights_fn: Any, shared: Mapping[str, Any]
) -> dict[str, str] | None:
    """Return the kind of each parameter of a compiled callback, over all sets."""
    if not is_jitted(weights_fn):
        return None
    names, _ = parameter_names(weights_fn)
    kinds = {name: kind_of(name, value) for name, value in shared.items()}
    for name, column in sets.columns().to_dict().items():
        if name not in names:
            continue
        kind = KINDS.get(str(column.dtype))
        if kind is None:
            # Values of several types: one of them may not be a number.
            found = {kind_of(name, one[name]) for one in sets}
            if "bool" in found and len(found) > 1:
                msg = (
                    f"{name} is a bool in some sets and a number in others; a compiled "
                    "callback needs one type.\nHint: write 0 and 1."
                )
                raise WeightsError(msg)
            kind = "float" if "float" in found else found.pop()
        kinds[name] = kind
    return kinds


def checked_stage(job: Job, sets: SetList) -> Stage:
    """Refuse what no set can do; a wrong value of some sets is their own error."""
    first = sets[0]
    check_weights(job.weights_fn, job.params_of(first))
    stage = _first_stage(job, sets)
    if job.kinds is not None:
        weights = JittedWeights(job.weights_fn, job.params_of(first), job.kinds)
        CompiledCallback(weights, job.panel, job.context)
    return stage


def _first_stage(job: Job, sets: SetList) -> Stage:
    """Return the stage of the first of some sets that has one."""
    refused: BarloopError | None = None
    for k in {0, len(sets) - 1, *range(min(len(sets), N_TRIED))}:
        try:
            return job.stage(job.config_of(sets[k]))
        except BarloopError as error:
            refused = refused or error
    if refused is None:
        msg = "a sweep has at least one set."
        raise AssertionError(msg)
    raise refused from None


def initial_cash_of(job: Job, sets: SetList) -> FloatVector | float:
    """Return the initial cash of all sets, or of each."""
    if "initial_cash" not in job.config_names:
        return float(job.config.initial_cash)
    values: FloatVector = (
        sets.columns()["initial_cash"].cast(pl.Float64, strict=False).to_numpy()
    )
    return values


def deposits_of(
    actions: ActionRows | None, n_bars: int, first_bar: int
) -> FloatVector | None:
    """Return deposits less withdrawals of each bar of the run, currency."""
    if actions is None:
        return None
    deposits = np.zeros(n_bars)
    bar = np.repeat(np.arange(n_bars), np.diff(actions.start))
    of_kind = actions.kind == ActionKind.DEPOSIT
    np.add.at(deposits, bar[of_kind], actions.value[of_kind])
    return deposits[first_bar:] if deposits.any() else None
