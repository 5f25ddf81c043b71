"""Settings that may differ by asset, or by asset and bar."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from barloop.checks import require_number, set_number
from barloop.errors import ConfigError

Quantity: TypeAlias = float | Mapping[Any, float] | str
"""A number for all, a mapping of asset to number, or the name of a column."""


class PerAsset(Mapping[Any, float]):
    """One number per asset, which cannot be changed.

    Parameters
    ----------
    values : mapping of asset to number
        Copied; kept in the order of the assets.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[Any, float]) -> None:
        keys = sorted(values, key=lambda key: (isinstance(key, str), key))
        self._values = {key: values[key] for key in keys}

    def __getitem__(self, asset: Any) -> float:
        return self._values[asset]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(tuple(self._values.items()))

    def __repr__(self) -> str:
        return repr(self._values)

    def plain(self) -> dict[str, float] | list[list[Any]]:
        """Return the values for JSON: by text, else as pairs."""
        if all(isinstance(key, str) for key in self._values):
            return dict(self._values)
        return [[key, value] for key, value in self._values.items()]


def set_quantity(
    settings: object,
    group: str,
    name: str,
    *,
    low: float = 0.0,
    below: float = math.inf,
) -> None:
    """Check a number, mapping or column name of a frozen object and keep it.

    Parameters
    ----------
    settings : dataclass
        The object that is being made.
    group, name : str
        Path of the setting.
    low, below : float, optional
        Inclusive lower and exclusive upper bound of every number; the values of a
        column are checked when the data is there.

    Raises
    ------
    ConfigError
        If it is none of these, or a number is out of range.
    """
    path = f"{group}.{name}"
    value = getattr(settings, name)
    if isinstance(value, Mapping):
        checked = _checked(path, value, low, below)
        object.__setattr__(settings, name, PerAsset(checked))
    elif isinstance(value, str):
        require_column_name(path, value)
    elif isinstance(value, numbers.Real) and not isinstance(value, bool):
        set_number(settings, group, name, low=low, below=below)
    else:
        msg = (
            f"{path} must be a number, a mapping of asset to number, or the name of a "
            f"column, got {value!r}."
        )
        raise ConfigError(msg)


def require_column_name(path: str, value: object) -> None:
    """Raise ConfigError unless `value` can be the name of a column.

    Parameters
    ----------
    path : str
        Path of the setting, for the message.
    value : object
        What the user gave.
    """
    if not (isinstance(value, str) and value):
        msg = f"{path} must be the name of a column, got {value!r}."
        raise ConfigError(msg)


def is_zero(value: Quantity) -> bool:
    """Tell whether a quantity is 0 for every asset; a column is taken not to be."""
    if isinstance(value, Mapping):
        return not any(value.values())
    return not isinstance(value, str) and value == 0.0


def _checked(
    path: str, values: Mapping[Any, Any], low: float, below: float
) -> dict[Any, float]:
    if not values:
        msg = f"{path} is a mapping that names no asset.\nHint: give a number for all."
        raise ConfigError(msg)
    made: dict[Any, float] = {}
    for key, value in values.items():
        asset = int(key) if isinstance(key, np.integer) else key
        if not isinstance(asset, (str, int)) or isinstance(asset, bool):
            msg = f"{path} must name assets by text or integers, got {key!r}."
            raise ConfigError(msg)
        made[asset] = require_number(f"{path}[{asset!r}]", value, low=low, below=below)
    return made
