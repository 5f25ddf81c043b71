"""What a polars expression says, and the Python functions inside it."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import polars as pl

from barloop.errors import ConfigError

# How polars begins the bytes of a Python function inside an expression.
_MARK = b"PLPY"
# How a pickle of protocol 4 or 5 begins.
_PICKLE = re.compile(rb"\x80[\x04\x05]\x95")


class Callback(NamedTuple):
    """A Python function inside an expression, as ``map_elements`` leaves it."""

    function: Any


def expression_parts(expr: pl.Expr) -> Iterator[bytes | Callback]:
    """Say what an expression is made of.

    Parameters
    ----------
    expr : Expr
        Not evaluated.

    Returns
    -------
    iterator of bytes and Callback
        The expression as polars writes it down, with its Python functions apart.

    Raises
    ------
    ConfigError
        If polars cannot write it down.

    Notes
    -----
    Polars writes a Python function down together with its file and line, so that the
    bytes change when a comment is put above it.
    """
    try:
        written = expr.meta.serialize()
        if _MARK not in written:
            yield written
            return
        callbacks: list[Callback] = []
        tree = json.loads(expr.meta.serialize(format="json"))
        apart = _without_callbacks(tree, callbacks)
    except Exception as error:
        msg = (
            f"polars cannot write down the expression {expr}, so its changes would go "
            f"unseen: {error}\n"
            "Hint: a Python function inside it must be one that cloudpickle can write "
            "(pip install cloudpickle), without locks, files or connections; or move "
            "it out of the expression."
        )
        raise ConfigError(msg) from error
    yield json.dumps(apart).encode()
    # JSON knows no NaN.
    yield str(expr).encode()
    yield from callbacks


def _without_callbacks(tree: Any, callbacks: list[Callback]) -> Any:
    if isinstance(tree, dict):
        return {k: _without_callbacks(v, callbacks) for k, v in tree.items()}
    if not isinstance(tree, list):
        return tree
    if tree[: len(_MARK)] != list(_MARK):
        return [_without_callbacks(one, callbacks) for one in tree]
    written = bytes(tree)
    found = _PICKLE.search(written)
    if found is None:
        return tree
    # Polars made these bytes just now, in this process.
    callbacks.append(Callback(pickle.loads(written[found.start() :])))
    return {"callback": len(callbacks), "of": tree[: found.start()]}
