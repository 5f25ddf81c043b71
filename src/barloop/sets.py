"""The parameter sets of a sweep: numbered, and made when asked for."""

from __future__ import annotations

import math
from collections.abc import (
    Collection,
    Iterable,
    Iterator,
    Mapping,
)
from typing import Any, Protocol

import numpy as np
import polars as pl

from barloop.errors import ConfigError
from barloop.parameters import choices, column, mark, plain
from barloop.schema import to_frame

RESERVED = ("set", "error")
"""Columns of the results of a sweep that no parameter can be named after."""


class _Source(Protocol):
    """Where the sets come from."""

    names: tuple[str, ...]

    def __len__(self) -> int: ...

    def row(self, k: int) -> tuple[Any, ...]: ...

    def rows(self) -> Iterator[tuple[Any, ...]]: ...

    def columns(self) -> pl.DataFrame: ...

    def n_distinct(self) -> int: ...


class SetList:
    """Hold the sets of a sweep: parameter assignments, numbered from 0.

    Made by `SetList.of`.  A grid keeps its lists of values and nothing per set, so
    that 100,000 sets cost as much memory as ten.

    Attributes
    ----------
    names : tuple of str
        The parameters, in the order in which they were given.
    notices : list of str
        What was met and left as it is, such as sets that occur twice.

    Examples
    --------
    >>> sets = SetList.of({"lookback": [20, 60], "n": [5, 10, 25]})
    >>> len(sets)
    6
    >>> sets[0], sets[1], sets[3]
    ({'lookback': 20, 'n': 5}, {'lookback': 20, 'n': 10}, {'lookback': 60, 'n': 5})
    """

    def __init__(self, source: _Source) -> None:
        self._source = source
        self.names = source.names
        n_twice = len(source) - source.n_distinct()
        self.notices: list[str] = []
        if n_twice:
            self.notices.append(
                f"{n_twice:,} of {len(source):,} sets repeat an earlier one; they run "
                "again and count as trials"
            )

    @classmethod
    def of(cls, grid: Any, *, reserved: Collection[str] = ()) -> SetList:
        """Read the parameter sets that a user gives to a sweep.

        Parameters
        ----------
        grid : dict of lists, list of dicts, frame, or SetList
            A dict of lists stands for all combinations, the last key varying fastest.
            A list of dicts or a frame with one column per parameter names each set.
            Dotted names reach into the configuration (``"commission.bps"``).  Values
            may be of any type; numpy numbers become Python numbers.
        reserved : collection of str, default ()
            Names that a parameter cannot have, beside `RESERVED`.

        Returns
        -------
        SetList
            The sets in order.

        Raises
        ------
        ConfigError
            If there are no sets, a name is no text or reserved, a value of a dict is
            not a list, a dict of a list lacks a key of the others, or a frame has a
            null.
        """
        if isinstance(grid, SetList):
            made = grid
        elif isinstance(grid, Mapping):
            made = cls(_Grid(grid))
        elif isinstance(grid, (list, tuple)):
            made = cls(_Listed(grid))
        elif isinstance(grid, (pl.DataFrame, pl.LazyFrame)) or hasattr(
            grid, "__arrow_c_stream__"
        ):
            framed = _Framed(to_frame(grid))
            made = cls(framed if framed.is_plain else framed.listed())
        else:
            msg = (
                "the grid must be a dict of lists, a list of dicts or a frame, got "
                f"{type(grid).__name__}.\n"
                "Hint: {'lookback': [20, 60], 'n': [10, 25]} makes 4 sets."
            )
            raise ConfigError(msg)
        for name in made.names:
            if name in RESERVED or name in reserved:
                msg = (
                    f"a parameter cannot be named {name!r}: the results of a sweep "
                    "have a column of this name.\nHint: name it otherwise, e.g. "
                    f"'{name}_parameter'."
                )
                raise ConfigError(msg)
        return made

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, k: int) -> dict[str, Any]:
        n_sets = len(self._source)
        if not -n_sets <= k < n_sets:
            msg = f"there are {n_sets:,} sets, numbered from 0; there is no set {k}"
            raise IndexError(msg)
        return dict(zip(self.names, self._source.row(int(k) % n_sets), strict=True))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self._source.rows():
            yield dict(zip(self.names, row, strict=True))

    def __repr__(self) -> str:
        names = ", ".join(self.names)
        return f"SetList of {len(self):,} sets ({names or 'no parameters'})"

    def columns(self) -> pl.DataFrame:
        """Return the parameters as a frame, one row per set.

        Returns
        -------
        DataFrame
            One column per parameter: Boolean, Int64, Float64 or String where all values
            are such (integers among floats become floats), else String: lists, tuples
            and dicts as JSON, dates in ISO form, functions by name, settings such as
            `Exits` by what differs from their defaults, all else by its ``repr``, cut
            at 200 characters.  None is null.
        """
        return self._source.columns()


class _Grid:
    """All combinations of some lists; the last varies fastest."""

    def __init__(self, grid: Mapping[Any, Any]) -> None:
        if not grid:
            msg = (
                "the grid is empty.\nHint: name at least one parameter, or use [{}] "
                "for a single set without parameters."
            )
            raise ConfigError(msg)
        self.names = _names(grid)
        self._axes = [choices(name, values) for name, values in grid.items()]
        self._n_sets = math.prod(map(len, self._axes))

    def __len__(self) -> int:
        return self._n_sets

    def row(self, k: int) -> tuple[Any, ...]:
        values = []
        for axis in reversed(self._axes):
            k, place = divmod(k, len(axis))
            values.append(axis[place])
        return tuple(reversed(values))

    def rows(self) -> Iterator[tuple[Any, ...]]:
        return map(self.row, range(self._n_sets))

    def columns(self) -> pl.DataFrame:
        columns, n_inside = [], self._n_sets
        places = np.arange(self._n_sets)
        for name, axis in zip(self.names, self._axes, strict=True):
            n_inside //= len(axis)
            columns.append(column(name, axis)[places // n_inside % len(axis)])
        return pl.DataFrame(columns)

    def n_distinct(self) -> int:
        return math.prod(len({mark(value) for value in axis}) for axis in self._axes)


class _Listed:
    """Sets that were named one by one."""

    def __init__(self, sets: Collection[Any]) -> None:
        if not sets:
            msg = "the list of sets is empty.\nHint: [{}] is one set, of no parameters."
            raise ConfigError(msg)
        for k, one in enumerate(sets):
            if not isinstance(one, Mapping):
                msg = (
                    f"set {k} must be a dict, got {one!r}.\nHint: a list holds one "
                    "dict per set, [{'n': 10}, {'n': 25}]; a dict of lists holds the "
                    "values of each parameter, {'n': [10, 25]}."
                )
                raise ConfigError(msg)
        first = next(iter(sets))
        owner: dict[Any, int] = {}
        for k, one in enumerate(sets):
            for name in one:
                owner.setdefault(name, k)
        self.names = _names(owner)
        self._rows: list[tuple[Any, ...]] = []
        for k, one in enumerate(sets):
            for name in self.names if len(one) < len(owner) else ():
                if name not in one:
                    has = 0 if name in first else owner[name]
                    msg = (
                        f"set {k} has no {name!r}, which set {has} has.\n"
                        "Hint: give every set the same parameters."
                    )
                    raise ConfigError(msg)
            self._rows.append(tuple(plain(one[name]) for name in self.names))

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, k: int) -> tuple[Any, ...]:
        return self._rows[k]

    def rows(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._rows)

    def columns(self) -> pl.DataFrame:
        if not self.names:
            return pl.DataFrame(height=len(self._rows))
        return pl.DataFrame(
            [
                column(name, [row[place] for row in self._rows])
                for place, name in enumerate(self.names)
            ]
        )

    def n_distinct(self) -> int:
        return len({tuple(map(mark, row)) for row in self._rows})


class _Framed:
    """Sets that are the rows of a frame."""

    def __init__(self, frame: pl.DataFrame) -> None:
        if frame.width == 0 or frame.height == 0:
            msg = f"the frame of sets is empty: its shape is {frame.shape}."
            raise ConfigError(msg)
        self.names = _names(frame.columns)
        for series in frame.iter_columns():
            # Objects are what a user put there one by one, and None may be meant.
            missing = series.is_null() if series.dtype != pl.Object else None
            if series.dtype.is_float() and missing is not None:
                missing |= series.is_nan().fill_null(value=False)
            if missing is not None and missing.any():
                k, n_missing = missing.arg_max(), missing.sum()
                msg = (
                    f"{series.name!r} has {n_missing:,} null or NaN, first in set {k}."
                    "\nHint: fill it; or, where None is meant, give a list of dicts: "
                    "frame.to_dicts()."
                )
                raise ConfigError(msg)
        self._frame = frame

    @property
    def is_plain(self) -> bool:
        """Whether polars knows the types of all values."""
        return pl.Object not in self._frame.dtypes

    def listed(self) -> _Listed:
        """Return the sets as a list: a frame of objects does not travel to workers."""
        return _Listed(self._frame.to_dicts())

    def __len__(self) -> int:
        return self._frame.height

    def row(self, k: int) -> tuple[Any, ...]:
        return self._frame.row(k)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        return self._frame.iter_rows()

    def columns(self) -> pl.DataFrame:
        return self._frame.select(
            [_framed_column(series) for series in self._frame.iter_columns()]
        )

    def n_distinct(self) -> int:
        return self._frame.n_unique()


def _framed_column(series: pl.Series) -> pl.Series:
    dtype = series.dtype
    if dtype == pl.Boolean:
        return series
    if dtype.is_integer():
        cast = series.cast(pl.Int64, strict=False)
        return cast if cast.null_count() == 0 else series.cast(pl.String)
    if dtype.is_float():
        return series.cast(pl.Float64)
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return series.cast(pl.String)
    return column(series.name, series.to_list())


def _names(names: Iterable[Any]) -> tuple[str, ...]:
    made = tuple(names)
    for name in made:
        if not isinstance(name, str) or not name:
            msg = (
                f"the name of a parameter must be text, got {name!r}.\n"
                "Hint: a grid is {'name': [values], ...}."
            )
            raise ConfigError(msg)
    return made
