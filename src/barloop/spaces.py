"""What the parameters of a search may be: ranges, scales and lists of choices."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from barloop.checks import require_number
from barloop.errors import ConfigError
from barloop.parameters import choices
from barloop.typing import FloatVector, IntVector

_MAX_INTEGER = 2**53
_PLAIN = {bool, str, date, datetime, timedelta}


@dataclass(frozen=True, slots=True)
class Uniform:
    """Draw floats between two bounds.

    Parameters
    ----------
    low, high : float
        Bounds, `low` below `high`; `high` itself is never drawn.
    log : bool, default False
        Whether the logarithm is uniform, so that as many fall between 0.001 and 0.01 as
        between 0.01 and 0.1.  `low` must be positive then.

    Raises
    ------
    ConfigError
        If the bounds are no finite numbers in this order.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        low = require_number("low", self.low)
        high = require_number("high", self.high)
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        _check_bounds(low, high, self.log, may_be_equal=False)
        if not math.isfinite(high - low):
            msg = f"{high!r} - {low!r} is not finite: the bounds are too far apart."
            raise ConfigError(msg)

    @property
    def n_values(self) -> int | None:
        """None: floats have no number of values that matters."""
        return None

    def values(self, u: FloatVector) -> FloatVector:
        """Map numbers from [0, 1) to values.

        Parameters
        ----------
        u : array of shape (n,)
            Uniform numbers.

        Returns
        -------
        array of shape (n,)
            Floats from `low` up to, without, `high`.
        """
        if self.log:
            made = self.low * np.exp(u * math.log(self.high / self.low))
        else:
            made = self.low + u * (self.high - self.low)
        # Rounding may reach or leave the bounds.
        last = np.nextafter(self.high, self.low)
        clipped: FloatVector = np.clip(made, self.low, last)
        return clipped


@dataclass(frozen=True, slots=True)
class Integers:
    """Draw integers between two bounds, both of which may be drawn.

    Parameters
    ----------
    low, high : int
        Bounds, `low` not above `high`.
    log : bool, default False
        Whether small ones come more often: k has the probability
        ``log((k + 1) / k) / log((high + 1) / low)``.  `low` must be positive then.

    Raises
    ------
    ConfigError
        If the bounds are no integers in this order.
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        for name in self.__slots__[:2]:
            value = getattr(self, name)
            if isinstance(value, bool) or not hasattr(value, "__index__"):
                msg = f"{name} must be an integer, got {value!r}."
                raise ConfigError(msg)
            integer = operator.index(value)
            object.__setattr__(self, name, integer)
            if abs(integer) > _MAX_INTEGER:
                msg = f"{name} must lie within 2**53, got {integer}."
                raise ConfigError(msg)
        _check_bounds(self.low, self.high, self.log, may_be_equal=True)

    @property
    def n_values(self) -> int:
        """How many integers there are."""
        return self.high - self.low + 1

    def values(self, u: FloatVector) -> IntVector:
        """Map numbers from [0, 1) to values.

        Parameters
        ----------
        u : array of shape (n,)
            Uniform numbers.

        Returns
        -------
        array of shape (n,), int64
            Integers from `low` to `high`.
        """
        if self.log:
            reach = math.log((self.high + 1) / self.low)
            made = np.floor(self.low * np.exp(u * reach))
        else:
            made = self.low + np.floor(u * self.n_values)
        integers: IntVector = np.clip(made, self.low, self.high).astype(np.int64)
        return integers

    def probabilities(self) -> FloatVector:
        """Return the probability of each integer, from `low` to `high`.

        Returns
        -------
        array of shape (n_values,)
            Sums to 1.
        """
        edges = np.arange(self.low, self.high + 2, dtype=np.float64)
        shares = np.diff(np.log(edges)) if self.log else np.ones(self.n_values)
        return np.asarray(shares / shares.sum())


class Choices:
    """Draw one of some values, each as probable as the others.

    Parameters
    ----------
    given : tuple
        The values, of any type.
    """

    def __init__(self, given: tuple[Any, ...]) -> None:
        self.given = given
        self.n_values = len(given)

    def values(self, u: FloatVector) -> IntVector:
        """Map numbers from [0, 1) to places in `given`.

        Parameters
        ----------
        u : array of shape (n,)
            Uniform numbers.

        Returns
        -------
        array of shape (n,), int64
            Places from 0.
        """
        places = np.floor(u * self.n_values).astype(np.int64)
        return np.minimum(places, self.n_values - 1)

    def probabilities(self) -> FloatVector:
        """Return the probability of each value.

        Returns
        -------
        array of shape (n_values,)
            All equal.
        """
        return np.full(self.n_values, 1.0 / self.n_values)


Axis = Uniform | Integers | Choices


def read_space(space: object) -> list[Axis]:
    """Read what each parameter may be; see `barloop.search.random_search`.

    Parameters
    ----------
    space : dict of name to list, range, tuple, Uniform or Integers
        What the user gave.

    Returns
    -------
    list
        One axis per parameter.

    Raises
    ------
    ConfigError
        If it is something else; names the parameter.
    """
    if not isinstance(space, Mapping) or not space:
        msg = (
            f"a space must be a dict with at least one parameter, got {space!r}.\n"
            "Hint: {'n': [10, 25], 'lookback': (20, 250), 'threshold': (0.0, 1.0)}."
        )
        raise ConfigError(msg)
    axes = []
    for name, given in space.items():
        if not isinstance(name, str) or not name:
            msg = f"the name of a parameter must be text, got {name!r}."
            raise ConfigError(msg)
        axes.append(_axis(name, given))
    return axes


def sets_frame(space: Mapping[str, Any], axes: list[Axis], values: Any) -> pl.DataFrame:
    """Make the frame of the sets that were drawn.

    Parameters
    ----------
    space : dict
        For the names.
    axes : list
        From `read_space`.
    values : sequence of arrays
        What was drawn from each axis, places in the case of choices.

    Returns
    -------
    DataFrame
        One row per set.
    """
    columns = []
    for name, axis, drawn in zip(space, axes, values, strict=True):
        if isinstance(axis, Choices):
            columns.append(_chosen(name, axis.given, drawn))
        else:
            columns.append(pl.Series(name, drawn))
    return pl.DataFrame(columns)


def _check_bounds(low: float, high: float, log: object, *, may_be_equal: bool) -> None:
    if not isinstance(log, bool):
        msg = f"log must be True or False, got {log!r}."
        raise ConfigError(msg)
    if low > high or (low == high and not may_be_equal):
        msg = f"low must be below high, got {low!r} and {high!r}."
        raise ConfigError(msg)
    if log and low <= 0:
        msg = f"a logarithmic scale needs low above 0, got {low!r}."
        raise ConfigError(msg)


def _axis(name: str, given: Any) -> Axis:
    if isinstance(given, (Uniform, Integers)):
        return given
    if not isinstance(given, tuple):
        return Choices(choices(name, given))
    try:
        low, high = given
        integers = all(hasattr(bound, "__index__") for bound in given)
        return Integers(low, high) if integers else Uniform(low, high)
    except ValueError as error:  # ConfigError is one
        why = error if isinstance(error, ConfigError) else "a range has two bounds."
        msg = (
            f"{name}: {given!r} is no range: {why}\nHint: a tuple is (low, high); "
            "put single values into a list."
        )
        raise ConfigError(msg) from error


def _chosen(name: str, given: tuple[Any, ...], places: IntVector) -> pl.Series:
    kinds = {type(value) for value in given}
    if kinds <= {int, float} or (len(kinds) == 1 and kinds <= _PLAIN):
        return pl.Series(name, given, strict=False)[places]
    return pl.Series(name, [given[place] for place in places], dtype=pl.Object)
