"""Checks of single settings, with the message a user needs."""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, NoReturn, TypeVar

from barloop.errors import ConfigError, suggestion

Settings = TypeVar("Settings")


def require_number(
    name: str,
    value: object,
    *,
    low: float = -math.inf,
    below: float = math.inf,
    above: float = -math.inf,
) -> float:
    """Return `value` as a float if it is finite and ``low <= value < below``.

    Parameters
    ----------
    name : str
        Path of the setting, for the message.
    value : object
        What the user gave.
    low, below, above : float, optional
        Inclusive lower bound, exclusive upper bound, exclusive lower bound.

    Returns
    -------
    float
        The number; numpy numbers are numbers, booleans are not.

    Raises
    ------
    ConfigError
        If `value` is not a number, not finite, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        msg = f"{name} must be a number, got {value!r}."
        raise ConfigError(msg)
    number = float(value)
    if not math.isfinite(number):
        msg = f"{name} must be finite, got {value!r}."
        raise ConfigError(msg)
    if number < low:
        msg = f"{name} must be at least {low:g}, got {value!r}."
        raise ConfigError(msg)
    if number <= above:
        msg = f"{name} must be greater than {above:g}, got {value!r}."
        raise ConfigError(msg)
    if number >= below:
        msg = f"{name} must be less than {below:g}, got {value!r}."
        raise ConfigError(msg)
    return number


def set_number(
    settings: object,
    group: str,
    name: str,
    *,
    low: float = -math.inf,
    below: float = math.inf,
    above: float = -math.inf,
) -> None:
    """Check a number of a frozen object of settings and keep it as a float.

    Parameters
    ----------
    settings : dataclass
        The object that is being made.
    group, name : str
        Path of the setting; `group` is empty for a member of the top.
    low, below, above : float, optional
        See `require_number`.
    """
    path = f"{group}.{name}" if group else name
    number = require_number(
        path, getattr(settings, name), low=low, below=below, above=above
    )
    object.__setattr__(settings, name, number)


def refuse_unknown(group: str) -> Callable[[type[Settings]], type[Settings]]:
    """Make a dataclass of settings name the nearest field when one is misspelt.

    Parameters
    ----------
    group : str
        Path of the settings, empty for the top.

    Returns
    -------
    decorator of a dataclass
        Unknown keyword arguments raise ConfigError instead of TypeError.
    """

    def decorate(settings: type[Settings]) -> type[Settings]:
        made: Any = settings
        known = [field.name for field in fields(made)]
        original = made.__init__

        @functools.wraps(original)
        def __init__(self: Any, **members: Any) -> None:
            for name in members:
                if name not in known:
                    path = f"{group}.{name}" if group else name
                    msg = (
                        f"unknown setting {path!r}.{suggestion(name, known)}\n"
                        f"{made.__name__} has {', '.join(known)}."
                    )
                    raise ConfigError(msg)
            original(self, **members)

        made.__init__ = __init__
        return settings

    return decorate


def require_bool(name: str, value: object) -> None:
    """Raise ConfigError unless `value` is True or False.

    Parameters
    ----------
    name : str
        Path of the setting, for the message.
    value : object
        What the user gave.
    """
    if not isinstance(value, bool):
        msg = f"{name} must be True or False, got {value!r}."
        raise ConfigError(msg)


def set_optional_number(
    settings: object,
    group: str,
    name: str,
    *,
    below: float = math.inf,
    at_most: float = math.inf,
) -> None:
    """Check a number above 0 of a frozen object of settings unless it is None.

    Parameters
    ----------
    settings : dataclass
        The object that is being made.
    group, name : str
        Path of the setting.
    below, at_most : float, optional
        Exclusive and inclusive upper bound.
    """
    value = getattr(settings, name)
    if value is None:
        return
    set_number(settings, group, name, above=0.0, below=below)
    if value > at_most:
        msg = f"{group}.{name} must be at most {at_most:g}, got {value!r}."
        raise ConfigError(msg)


def set_count(settings: object, group: str, name: str) -> None:
    """Check a whole number from 1 of a frozen object of settings and keep it as int.

    Parameters
    ----------
    settings : dataclass
        The object that is being made.
    group, name : str
        Path of the setting; None is accepted.
    """
    value = getattr(settings, name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        msg = f"{group}.{name} must be a whole number, got {value!r}."
        raise ConfigError(msg)
    if value < 1:
        msg = f"{group}.{name} must be at least 1, got {value!r}."
        raise ConfigError(msg)
    object.__setattr__(settings, name, int(value))


def refuse_meaningless(setting: str, why: str, hint: str) -> NoReturn:
    """Raise ConfigError for a setting that says nothing beside another one.

    Parameters
    ----------
    setting : str
        The setting and its value, as ``"execution.lot_size=10.0"``.
    why : str
        ``"with ..."`` or ``"without ..."``.
    hint : str
        What to do instead, without a full stop.
    """
    msg = f"{setting} has no meaning {why}.\nHint: {hint}."
    raise ConfigError(msg)


def require_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise ConfigError unless `value` is one of `choices`.

    Parameters
    ----------
    name : str
        Path of the setting, for the message.
    value : object
        What the user gave.
    choices : sequence of str
        What is accepted.
    """
    if value not in choices:
        near = suggestion(value, choices) if isinstance(value, str) else ""
        known = ", ".join(repr(choice) for choice in choices)
        msg = f"{name} must be one of {known}, got {value!r}.{near}"
        raise ConfigError(msg)
