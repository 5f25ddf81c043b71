"""Exceptions raised by barloop.

::

    BarloopError (ValueError)
    ├── SchemaError       a frame has the wrong columns, dtypes or values
    ├── PanelError        an aligned panel cannot be made or used as asked
    ├── WeightsError      a weights function or weights frame says something invalid
    │   └── LookaheadError  weights, or the bars that decide, depend on later data
    ├── ConfigError       a setting is unknown, out of range or without a meaning
    ├── UnknownNameError  a bar, its history or its context has no such name
    └── SimulationError   a run cannot go on, or its result does not hold what is asked
        └── AuditError    a result does not follow from its own fills and cash flows
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class BarloopError(ValueError):
    """Base of every error that barloop raises on purpose."""


class SchemaError(BarloopError):
    """A frame has the wrong columns, dtypes or values."""


class PanelError(BarloopError):
    """An aligned panel cannot be made or used as asked."""


class WeightsError(BarloopError):
    """A weights function or weights frame says something invalid."""


class LookaheadError(WeightsError):
    """Weights, or the bars on which they are decided, depend on later data.

    Attributes
    ----------
    finding : Leak
        The bar, the asset, both weights and the columns, see `check_lookahead`.
    """

    finding: Any = None


class ConfigError(BarloopError):
    """A setting is unknown, out of range or without a meaning."""


class UnknownNameError(BarloopError, AttributeError):
    """A bar, its history or its context has no such name.

    An AttributeError too, so that ``hasattr`` and ``getattr`` with a default work.
    """


class SimulationError(BarloopError):
    """A run cannot go on, or its result does not hold what is asked."""


class AuditError(SimulationError):
    """A result does not follow from its own fills and cash flows."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known name, or nothing.

    Parameters
    ----------
    name : str
        What was given.
    known : iterable of str
        What would have been accepted.

    Returns
    -------
    str
        A sentence with a leading space, or an empty string.
    """
    # Here, because `import barloop` is to stay light.
    import difflib

    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
