"""A small function, compiled with the user's, that gives it a named bar and params.

The loop calls every compiled callback through one fixed signature, so a new callback
never recompiles the loop.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np

from barloop.code_names import USER_OPTIONS
from barloop.compile_errors import SHIM_FILE
from barloop.enums import AssetField
from barloop.typing import FloatBlock, FloatVector, IntVector

PANELS = ("open", "close")
"""Prices that the loop holds anyway; the others travel as features."""

POSITION, LAST_CLOSE = int(AssetField.POSITION), int(AssetField.LAST_CLOSE)
ENTRY_PRICE, ENTRY_BAR = int(AssetField.ENTRY_PRICE), int(AssetField.ENTRY_BAR)


class Layout(NamedTuple):
    """What the bar and the params of one callback are made of; names in order."""

    prices: tuple[str, ...]
    """Those of `PANELS` that the data has."""
    features: tuple[str, ...]
    """Rows of the feature block: other prices, and columns of the data."""
    context: tuple[str, ...]
    """Rows of the context block."""
    params: tuple[tuple[str, str], ...]
    """Name and kind ("int", "float", "bool") of each element of the vector."""
    account: tuple[str, ...]
    """Those of `ACCOUNT` that the code names."""


@numba.njit(**USER_OPTIONS)  # type: ignore[untyped-decorator]
def _weights(account: FloatBlock, equity: float) -> FloatVector:
    weights = np.zeros(account.shape[1])
    for i in range(weights.size):
        if account[POSITION, i] != 0.0:
            weights[i] = account[POSITION, i] * account[LAST_CLOSE, i]
        weights[i] /= equity
    return weights


@numba.njit(**USER_OPTIONS)  # type: ignore[untyped-decorator]
def _bars_held(account: FloatBlock, t: int) -> IntVector:
    held = np.zeros(account.shape[1], dtype=np.int64)
    for i in range(held.size):
        if account[POSITION, i] != 0.0:
            held[i] = np.int64(t - account[ENTRY_BAR, i])
    return held


@numba.njit(**USER_OPTIONS)  # type: ignore[untyped-decorator]
def _unrealized_pnl(account: FloatBlock) -> FloatVector:
    pnl = np.zeros(account.shape[1])
    for i in range(pnl.size):
        if account[POSITION, i] != 0.0:
            gain = account[LAST_CLOSE, i] - account[ENTRY_PRICE, i]
            pnl[i] = account[POSITION, i] * gain
    return pnl


ACCOUNT = {
    "positions": f"account[{POSITION}]",
    "entry_price": f"account[{ENTRY_PRICE}]",
    "cash": "cash",
    "equity": "equity",
    "weights": "weights_of(account, equity)",
    "bars_held": "bars_held_of(account, t)",
    "unrealized_pnl": "unrealized_pnl_of(account)",
}
"""What a bar tells of the account, as the shim writes it."""


@cache
def _record(name: str, fields: tuple[str, ...]) -> Any:
    # Fields may begin with an underscore, as columns do.
    return namedtuple(name, fields)


def make_shim(user: Callable[..., Any], layout: Layout) -> Callable[..., bool]:
    """Write the function that the loop calls.

    Parameters
    ----------
    user : callable
        ``f(bar, params, weights_out)``, compiled or not.
    layout : Layout
        What to hand to it.

    Returns
    -------
    callable
        Plain Python, to be compiled for the fixed signature.
    """
    now = {name: f"market.{name}[t]" for name in layout.prices}
    past = {name: f"market.{name}[: t + 1]" for name in layout.prices}
    for row, name in enumerate(layout.features):
        now[name] = f"features[{row}][t]"
        past[name] = f"features[{row}][: t + 1]"
    bar = {**now, **{name: ACCOUNT[name] for name in layout.account}, "t": "t"}
    bar["history"] = f"History({', '.join(past.values())})"
    if layout.context:
        values = [f"context[{row}, t]" for row in range(len(layout.context))]
        bar["context"] = f"Context({', '.join(values)})"
    casts = {"int": "int64(params[{0}])", "bool": "params[{0}] != 0.0"}
    given = [
        casts.get(kind, "params[{0}]").format(row)
        for row, (_, kind) in enumerate(layout.params)
    ]
    source = (
        "def shim(t, market, features, context, params, account, cash, equity, "
        "weights_out):\n"
        f"    bar = Bar({', '.join(bar.values())})\n"
        f"    return user(bar, Params({', '.join(given) or 't'}), weights_out)\n"
    )
    names = tuple(name for name, _ in layout.params) or ("nothing",)
    scope: dict[str, Any] = {
        "Bar": _record("Bar", tuple(bar)),
        "History": _record("History", tuple(past)),
        "Context": _record("Context", layout.context),
        "Params": _record("Params", names),
        "user": user,
        "int64": np.int64,
        "weights_of": _weights,
        "bars_held_of": _bars_held,
        "unrealized_pnl_of": _unrealized_pnl,
    }
    exec(compile(source, SHIM_FILE, "exec"), scope)
    shim: Callable[..., bool] = scope["shim"]
    return shim
