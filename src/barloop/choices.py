"""The best and the worst scores of each timestamp, as expressions and as arrays."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import polars as pl

from barloop.layout import floats
from barloop.recipes import Mean, Momentum, TopN, Volatility, part_of, with_recipe
from barloop.row_groups import by_group, group_rows, per_row
from barloop.scores import whole
from barloop.typing import BoolVector, FloatVector


@overload
def top_n(score: str | pl.Expr, n: int, *, over: str = ...) -> pl.Expr: ...
@overload
def top_n(score: FloatVector, n: int) -> BoolVector: ...
def top_n(score: Any, n: int, *, over: str = "timestamp") -> Any:
    """Choose the n best scores of each timestamp.

    Parameters
    ----------
    score : str, Expr, or ndarray of shape (n_assets,)
        Higher is better.  Null and NaN are never chosen.  An array is one
        cross-section, as in a callback: ``top_n(bar.ml_score, 25)``.
    n : int
        How many, at the most.
    over : str, default "timestamp"
        Name of the time column; expressions only.

    Returns
    -------
    Expr or ndarray of bool
        True for the chosen; an expression is null where the score is.

    Raises
    ------
    WeightsError
        If `n` is not a positive int.

    See Also
    --------
    bottom_n : The lowest.
    barloop.jitted.top_n : For compiled callbacks.

    Notes
    -----
    Ties go to the earlier asset, in sorted order.  Both forms choose the same.

    Examples
    --------
    >>> top_n(np.array([0.1, np.nan, 0.3, 0.3]), 2)
    array([False, False,  True,  True])
    """
    return _chosen(score, n, over, highest=True)


@overload
def bottom_n(score: str | pl.Expr, n: int, *, over: str = ...) -> pl.Expr: ...
@overload
def bottom_n(score: FloatVector, n: int) -> BoolVector: ...
def bottom_n(score: Any, n: int, *, over: str = "timestamp") -> Any:
    """Choose the n lowest scores of each timestamp.

    Parameters
    ----------
    score, n, over
        See `top_n`.

    Returns
    -------
    Expr or ndarray of bool
        True for the chosen; an expression is null where the score is.

    Raises
    ------
    WeightsError
        If `n` is not a positive int.

    Notes
    -----
    Ties go to the earlier asset, as in `top_n`.

    Examples
    --------
    >>> bottom_n(np.array([0.1, np.nan, 0.3, 0.3]), 2)
    array([ True, False,  True, False])
    """
    return _chosen(score, n, over, highest=False)


def _chosen(score: Any, n: int, over: str, *, highest: bool) -> Any:
    n = whole("n", n, 1)
    if isinstance(score, (str, pl.Expr)):
        function = functools.partial(_choose, n=n, highest=highest)
        made = by_group(function, [score], over, pl.Boolean)
        part = part_of(score, Momentum, Mean, Volatility)
        return with_recipe(made, TopN(part, n, over, highest))
    values = np.asarray(score, dtype=np.float64)
    # A stable sort puts NaN last and keeps the order of equals.
    best = np.argsort(-values if highest else values, kind="stable")[:n]
    chosen = np.zeros(values.shape, dtype=np.bool_)
    chosen[best] = True
    return chosen & ~np.isnan(values)


def _choose(columns: Sequence[pl.Series], n: int, *, highest: bool) -> pl.Series:
    from barloop._kernels.grouped import choose_by_group

    score, key = columns
    groups = group_rows(key)
    values = floats(per_row(score, key))
    chosen = np.zeros(len(key), dtype=np.bool_)
    choose_by_group(
        *(values, groups.order, groups.start, n, 1.0 if highest else -1.0),
        np.empty(groups.largest),
        np.empty(min(n, groups.largest), dtype=np.int64),
        chosen,
    )
    known = pl.Series(values == values)
    return pl.Series(score.name, chosen).set(~known, None)
