"""The measures of a sweep as numbers, and which end of them is the good one."""

from __future__ import annotations

import math
import operator
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from barloop.errors import ConfigError, SimulationError, suggestion
from barloop.typing import BoolVector, FloatVector

SMALLER_IS_BETTER = (
    "volatility",
    "max_drawdown_duration",
    "kurtosis",
    "turnover",
    "total_commission",
    "total_slippage",
    "n_fills",
)
"""Measures of which the smallest is best.  Losses are negative: the largest is best."""

NEITHER_IS_BETTER = (
    "mean_leverage",
    "time_in_market",
    "total_deposits",
    "n_rebalances",
    "n_bars",
    "bars_per_year",
)
"""Measures of which no end is the good one; ``minimize=`` says which is meant."""


class SweepMeasures:
    """Give out the measures of all sets of a sweep.

    Parameters
    ----------
    frame : DataFrame
        See `SweepResult`.
    parameter_names : tuple of str
        Which columns are parameters.

    Attributes
    ----------
    frame, parameter_names
        As given.
    metric_names : tuple of str
        Which columns are measures.
    """

    def __init__(self, frame: pl.DataFrame, parameter_names: tuple[str, ...]) -> None:
        self.frame = frame
        self.parameter_names = parameter_names
        known = {"set", "error", *parameter_names}
        self.metric_names = tuple(name for name in frame.columns if name not in known)

    def __len__(self) -> int:
        return self.frame.height

    @cached_property
    def is_ok(self) -> BoolVector:
        """Whether each set has no error."""
        return self.frame["error"].is_null().to_numpy()

    @property
    def parameters(self) -> pl.DataFrame:
        """The parameters alone."""
        if not self.parameter_names:
            return pl.DataFrame(height=len(self))
        return self.frame.select(self.parameter_names)

    def number(self, k: Any) -> int:
        """Return the number of a set, or raise ConfigError if there is none."""
        is_index = hasattr(k, "__index__") and not isinstance(k, bool)
        if not is_index or not 0 <= operator.index(k) < len(self):
            msg = (
                f"there is no set {k!r}: sets are numbered from 0 to {len(self) - 1:,}."
                "\nHint: runs.best()['set'] is the number of the best."
            )
            raise ConfigError(msg)
        return operator.index(k)

    def values(self, metric: str) -> FloatVector:
        """Return a measure of each set.

        Parameters
        ----------
        metric : str
            Its name.

        Returns
        -------
        array of shape (n_sets,)
            NaN where it is undefined, and for sets with an error.

        Raises
        ------
        ConfigError
            If there is no such measure.
        """
        self.require(metric)
        column = self.frame[metric].cast(pl.Float64).fill_null(math.nan)
        values = column.to_numpy()
        return np.where(self.is_ok & np.isfinite(values), values, math.nan)

    def require(self, metric: str) -> None:
        """Raise ConfigError unless there is such a measure; name the nearest.

        Parameters
        ----------
        metric : str
            Its name.
        """
        if metric not in self.metric_names:
            is_parameter = metric in self.parameter_names
            msg = (
                f"{metric!r} is {'a parameter' if is_parameter else 'no measure'} of "
                f"this sweep.{suggestion(str(metric), self.metric_names)}\n"
                f"It has {', '.join(self.metric_names)}."
            )
            raise ConfigError(msg)
        dtype = self.frame[metric].dtype
        if not (dtype.is_numeric() or dtype == pl.Null):
            msg = f"{metric!r} is no number, its dtype is {dtype}."
            raise ConfigError(msg)

    def is_minimized(self, metric: str, *, minimize: bool | None) -> bool:
        """Tell whether small values of a measure are the good ones.

        Parameters
        ----------
        metric : str
            Its name.
        minimize : bool or None
            What the user said.

        Returns
        -------
        bool
            `minimize` if it was said.

        Raises
        ------
        ConfigError
            If there is no such measure, or neither end of it is the good one.
        """
        self.require(metric)
        if minimize is not None:
            return bool(minimize)
        if metric in NEITHER_IS_BETTER:
            msg = (
                f"neither a large nor a small {metric!r} is better in itself.\n"
                "Hint: say which is meant, by minimize=True or minimize=False."
            )
            raise ConfigError(msg)
        return metric in SMALLER_IS_BETTER

    def best(self, metric: str, *, minimize: bool | None = None) -> int:
        """Return the number of the best set, of equal ones the first.

        Parameters
        ----------
        metric : str
            A measure.
        minimize : bool, optional
            See `is_minimized`.

        Returns
        -------
        int
            A set without an error.

        Raises
        ------
        ConfigError
            As from `is_minimized`.
        SimulationError
            If no set has a value.
        """
        minimized = self.is_minimized(metric, minimize=minimize)
        values = self.values(metric)
        if np.isnan(values).all():
            errors = self.frame["error"].drop_nulls()
            msg = f"no set has a {metric!r}: {len(errors):,} of {len(self):,} failed"
            msg += f", the first with {errors[0]}" if len(errors) else "."
            raise SimulationError(msg)
        return int(np.nanargmin(values) if minimized else np.nanargmax(values))

    def setting(self, name: str, shared: float) -> FloatVector:
        """Return a setting of each set.

        Parameters
        ----------
        name : str
            A column, if the setting was swept.
        shared : float
            What all sets have otherwise, and sets where the column is null.

        Returns
        -------
        array of shape (n_sets,)
            Numbers.
        """
        if name not in self.frame.columns:
            return np.full(len(self), float(shared))
        return self.frame[name].cast(pl.Float64).fill_null(shared).to_numpy()
