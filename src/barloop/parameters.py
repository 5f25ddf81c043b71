"""Values of parameters: lists of them, and how they stand in a frame."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, KeysView, ValuesView
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import date, time, timedelta
from typing import Any

import numpy as np
import polars as pl

from barloop.errors import ConfigError

_TEXT_LENGTH = 200
_INT64 = 2**63


def choices(name: str, values: Any) -> tuple[Any, ...]:
    """Return the values of one parameter of a grid.

    Parameters
    ----------
    name : str
        The parameter, for messages.
    values : list, range, array of one dimension, Series, or iterator
        What the user gave.

    Returns
    -------
    tuple
        At least one value; numpy numbers as Python numbers.

    Raises
    ------
    ConfigError
        If it is something else, or empty.
    """
    if isinstance(values, (set, frozenset)):
        msg = (
            f"{name}: a set has no order.\nHint: use sorted(...) to make a list of it."
        )
        raise ConfigError(msg)
    if isinstance(values, tuple):
        msg = (
            f"{name}: {values!r} may mean several values or one.\n"
            f"Hint: use {list(values)!r} for these values, or [{values!r}] for the one "
            "value that is a tuple."
        )
        raise ConfigError(msg)
    items = _items(values)
    if items is None:
        values = plain(values)
        shown = repr(values) if isinstance(values, str) else text(values)
        msg = (
            f"{name} must be a list of values, got {shown}.\n"
            f"Hint: use [{shown}] for a single value."
        )
        raise ConfigError(msg)
    made = tuple(plain(value) for value in items)
    if not made:
        msg = f"{name} has no values.\nHint: list at least one, or leave {name!r} out."
        raise ConfigError(msg)
    return made


def plain(value: Any) -> Any:
    """Return a numpy number as a Python number, and all else as it is."""
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        return value.item()
    return value


def column(name: str, values: Collection[Any]) -> pl.Series:
    """Make a column of a parameter; see `SetList.columns`.

    Parameters
    ----------
    name : str
        Its name.
    values : collection
        One value per row.

    Returns
    -------
    Series of Boolean, Int64, Float64 or String
        Null where a value is None.
    """
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pl.Series(name, values, dtype=pl.Boolean)
    if kinds == {int} and all(
        value is None or -_INT64 <= value < _INT64 for value in values
    ):
        return pl.Series(name, values, dtype=pl.Int64)
    if float in kinds and kinds <= {int, float}:
        floats = [None if value is None else float(value) for value in values]
        return pl.Series(name, floats, dtype=pl.Float64)
    texts = [None if value is None else text(value) for value in values]
    return pl.Series(name, texts, dtype=pl.String)


def text(value: Any) -> str:
    """Return how a value of a parameter is shown in a frame.

    Parameters
    ----------
    value : object
        Any value.

    Returns
    -------
    str
        See `SetList.columns`.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (list, tuple, dict)):
        try:
            shown = json.dumps(value, default=text)
        except (TypeError, ValueError):
            shown = repr(value)
    elif isinstance(value, (pl.Expr, timedelta)):
        shown = str(value)
    elif isinstance(value, pl.DataFrame):
        shown = f"DataFrame of shape {value.shape}"
    elif is_dataclass(value) and not isinstance(value, type):
        members = ", ".join(
            f"{one.name}={getattr(value, one.name)!r}"
            for one in fields(value)
            if one.repr and not _is_default(one, getattr(value, one.name))
        )
        shown = f"{type(value).__name__}({members})"
    elif hasattr(value, "__qualname__"):
        shown = f"{value.__module__}.{value.__qualname__}"
    else:
        shown = repr(value)
    shown = " ".join(shown.split())
    too_long = len(shown) > _TEXT_LENGTH
    return shown[: _TEXT_LENGTH - 3] + "..." if too_long else shown


def mark(value: Any) -> Any:
    """Return something hashable that tells whether two values are the same.

    Parameters
    ----------
    value : object
        A value of a parameter.

    Returns
    -------
    object
        Equal for equal values of one type; what cannot be hashed, such as a frame, is
        equal to itself only.
    """
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(mark, value))
    if isinstance(value, dict):
        return dict, tuple((mark(key), mark(one)) for key, one in value.items())
    if isinstance(value, pl.Expr):
        return pl.Expr, str(value)
    try:
        hash(value)
    except TypeError:
        return object, id(value)
    return type(value), value


def _is_default(member: Field[Any], value: Any) -> bool:
    if member.default is MISSING:
        return False
    return bool(mark(member.default) == mark(value))


def _items(values: Any) -> Iterable[Any] | None:
    if isinstance(values, (list, range, Iterator, KeysView, ValuesView)):
        return values
    if isinstance(values, pl.Series):
        return values.to_list()
    if isinstance(values, np.ndarray) and values.ndim == 1:
        is_time = values.dtype.kind in "mM"
        made: list[Any] = pl.Series(values).to_list() if is_time else values.tolist()
        return made
    # Series and indices of pandas; numpy's own numbers have a tolist() too.
    if hasattr(values, "to_list") and hasattr(values, "__len__"):
        return list(values.to_list())
    return None
