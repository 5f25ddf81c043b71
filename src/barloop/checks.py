"""Checks of single settings, with the message a user needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from barloop.errors import ConfigError, suggestion


def require_number(
    name: str,
    value: object,
    *,
    low: float = -math.inf,
    below: float = math.inf,
    above: float = -math.inf,
) -> None:
    """Raise unless `value` is a finite number with ``low <= value < below``.

    Parameters
    ----------
    name : str
        Path of the setting, for the message.
    value : object
        What the user gave.
    low, below, above : float, optional
        Inclusive lower bound, exclusive upper bound, exclusive lower bound.

    Raises
    ------
    ConfigError
        If `value` is not a number, not finite, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        msg = f"{name} must be a number, got {value!r}."
        raise ConfigError(msg)
    if not math.isfinite(value):
        msg = f"{name} must be finite, got {value!r}."
        raise ConfigError(msg)
    if value < low:
        msg = f"{name} must be at least {low:g}, got {value!r}."
        raise ConfigError(msg)
    if value <= above:
        msg = f"{name} must be greater than {above:g}, got {value!r}."
        raise ConfigError(msg)
    if value >= below:
        msg = f"{name} must be less than {below:g}, got {value!r}."
        raise ConfigError(msg)


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
