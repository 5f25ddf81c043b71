"""Names for what a sweep was made of: its function, its data and its settings."""

from __future__ import annotations

import hashlib
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from barloop.column_digest import column_digest, dtype_text
from barloop.compiled_shapes import compiled_from
from barloop.function_shapes import function_parts
from barloop.object_graph import Child, Shape, graph_digest
from barloop.object_shapes import shape
from barloop.panel import Panel
from barloop.threads import run_each
from barloop.tokens import framed, token
from barloop.typing import CodeVector, IntVector


def function_digest(function: Any) -> str:
    """Name a weights function by all that its result can depend on.

    Parameters
    ----------
    function : str, Expr, frame or callable
        Any form of weights: the name of a column, an expression, a frame, a Python
        function, a function compiled by numba, a ``functools.partial``, a method or a
        callable object.

    Returns
    -------
    str
        64 hexadecimal digits; the same in every process of one Python version.

    Raises
    ------
    ConfigError
        If an expression holds a Python function that cannot be written down.

    Notes
    -----
    Part of a function are its instructions and constants, the values of its defaults,
    of the variables of enclosing functions and of the globals that it reads
    (``module.CONSTANT`` too, where the module is the user's), its own attributes, the
    functions, methods and classes that it uses, down to those of installed packages,
    which count by name and version.  Objects count by their class and attributes,
    arrays and frames by their values, a dict by its order too.

    No part are comments, blank lines, line breaks, docstrings, annotations, names of
    files and functions, and where in a file the function stands; so a function that is
    defined again in a notebook cell is the same function.

    Not seen are: files, databases and environment variables that it reads while it
    runs; what only an extension module of the user's refers to; names that it makes up
    at run time (``globals()[name]``, ``getattr``, ``eval``); locks, connections and
    generators, which count by their class; what changes after the digest was taken.
    An installed package that was edited in place has the same version.  ``version=``
    of a sweep stands for all that.

    An object that the function changes while it runs, such as a list of results in a
    global, is another object afterwards: `function_digests` says which.
    """
    return value_digest(function)


def function_digests(function: Any) -> dict[str, str]:
    """Name each thing that a weights function is made of.

    Parameters
    ----------
    function : str, Expr, frame or callable
        See `function_digest`.

    Returns
    -------
    dict from str to str
        Digests under ``"code"``, ``"default n"``, ``"closure n"``,
        ``"attribute n"``, ``"global N"``; of what is no Python function, one under
        ``"value"``.  To say what changed: two functions are the same if and only if
        `function_digest` says so.

    Notes
    -----
    Of ``lambda bar, top=N: {0: 1.0 / top / N}`` the names are ``"code"``,
    ``"default top"`` and ``"global N"``.
    """
    inside = compiled_from(function) or function
    if not isinstance(inside, types.FunctionType):
        return {"value": value_digest(function)}
    return {
        name: value_digest(part.value if isinstance(part, Child) else part)
        for name, part in function_parts(inside)
    }


def value_digest(value: Any) -> str:
    """Name a value by what it is made of.

    Parameters
    ----------
    value : object
        Numbers, text, dates, lists, dicts, arrays, frames, expressions, settings,
        functions; any object, see `function_digest`.

    Returns
    -------
    str
        64 hexadecimal digits.  1, 1.0 and True differ; numbers of numpy that are as
        wide as those of Python count as these.

    Examples
    --------
    >>> value_digest([1, 2]) == value_digest([1, np.int64(2)])
    True
    >>> value_digest([1, 2]) == value_digest((1, 2))
    False
    """
    return graph_digest(value, token=token, shape=_shape)


def set_key(base: str, assignment: Mapping[str, Any]) -> str:
    """Name one parameter set of a sweep.

    Parameters
    ----------
    base : str
        Digest of all that the sets have in common.
    assignment : mapping of name to value
        The parameters, in any order.

    Returns
    -------
    str
        32 hexadecimal digits.

    Examples
    --------
    >>> set_key("base", {"n": 3, "lookback": 20}) == set_key(
    ...     "base", {"lookback": np.int64(20), "n": 3}
    ... )
    True
    """
    parts = [base.encode()]
    for name in sorted(assignment):
        said = token(assignment[name])
        if said is None:
            said = value_digest(assignment[name]).encode()
        parts += (name.encode(), said)
    return hashlib.sha256(framed(parts)).hexdigest()[:32]


def panel_digest(panel: Panel) -> str:
    """Name the data of a panel by its values.

    Parameters
    ----------
    panel : Panel
        All columns of its frame count, those that are no features too.

    Returns
    -------
    str
        64 hexadecimal digits.  The order of the rows and of the columns is no part of
        it; names and dtypes are, and so are the bars that `Panel.truncate` cut off,
        by their timestamps.

    Notes
    -----
    A null and a NaN differ.  About 50 ms for 500 assets, 2,520 bars and 6 columns.
    """
    frame, layout = panel.frame, panel._layout
    columns = {name: key for key, name in panel._columns.named().items()}
    keys = (panel.timestamp_name, panel.asset_name)
    rows = _panel_rows(panel)
    n_rows = frame.height if rows is None else len(rows)

    def of_objects(values: list[Any]) -> bytes:
        return value_digest(values).encode()

    def of_column(name: str) -> bytes:
        series, key = frame[name], columns.get(name, "")
        dense = panel._panels.get(key)
        if (
            dense is not None
            and series.dtype == pl.Float64
            and series.null_count() == 0
            and dense.flags.c_contiguous
        ):
            # It is in the order of the panel already.
            said = hashlib.sha256(dense.data).digest()
        else:
            said = column_digest(series, rows, of_objects=of_objects)
        return framed([name.encode(), key.encode(), said])

    names = sorted(name for name in frame.columns if name not in keys)
    parts = [f"panel {panel.n_bars} {panel.n_assets} {n_rows}".encode()]
    for series in (panel.timestamps, panel.all_timestamps, panel.assets):
        parts += (series.name.encode(), dtype_text(series.dtype).encode())
        parts.append(column_digest(series, of_objects=of_objects))
    if layout.row_of is not None and n_rows < layout.row_of.size:
        parts.append(np.packbits(layout.row_of >= 0).tobytes())
    parts += run_each(of_column, names, n_rows * len(names))
    return hashlib.sha256(framed(parts)).hexdigest()


def _panel_rows(panel: Panel) -> IntVector | CodeVector | None:
    """Return the rows of a panel in its order, None for all as they stand."""
    layout, height = panel._layout, panel.frame.height
    row_of = layout.row_of
    if row_of is None:
        n_rows = panel.n_bars * panel.n_assets
        return None if n_rows == height else np.arange(n_rows)
    has_row = row_of >= 0
    n_rows = int(np.count_nonzero(has_row))
    if layout.in_order and n_rows == height:
        return None
    return row_of if n_rows == row_of.size else row_of[has_row]


def _shape(value: Any) -> Shape:
    if isinstance(value, Panel):
        return Shape([b"panel", panel_digest(value).encode()])
    return shape(value)
