"""From scores to weights: the two steps of most cross-sectional strategies."""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import polars as pl

from barloop.errors import WeightsError
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

    Notes
    -----
    Ties go to the earlier asset, in sorted order.  Both forms choose the same.

    Examples
    --------
    >>> top_n(np.array([0.1, np.nan, 0.3, 0.3]), 2)
    array([False, False,  True,  True])
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        msg = f"n must be a positive int, got {n!r}."
        raise WeightsError(msg)
    if isinstance(score, (str, pl.Expr)):
        value = pl.col(score) if isinstance(score, str) else score
        value = value.cast(pl.Float64).fill_nan(None)
        # Ascending rank of the negative: among equals the earlier row is first.
        return (-value).rank("ordinal").over(over) <= int(n)
    values = np.asarray(score, dtype=np.float64)
    # A stable sort puts NaN last and keeps the order of equals.
    best = np.argsort(-values, kind="stable")[:n]
    chosen = np.zeros(values.shape, dtype=np.bool_)
    chosen[best] = True
    return chosen & ~np.isnan(values)


@overload
def equal_weight(
    chosen: str | pl.Expr, *, gross: float = ..., over: str = ...
) -> pl.Expr: ...
@overload
def equal_weight(chosen: BoolVector, *, gross: float = ...) -> FloatVector: ...
def equal_weight(chosen: Any, *, gross: float = 1.0, over: str = "timestamp") -> Any:
    """Give each chosen asset of a timestamp the same weight.

    Parameters
    ----------
    chosen : str, Expr, or ndarray of bool, shape (n_assets,)
        True for the assets to hold.
    gross : float, default 1.0
        Sum of the weights.
    over : str, default "timestamp"
        Name of the time column; expressions only.

    Returns
    -------
    Expr or ndarray of float
        ``gross / number chosen`` for the chosen, 0 for the others.  An expression is
        null where `chosen` is, so that a timestamp without any score is no rebalance;
        an array of a bar on which nothing is chosen closes everything.

    Examples
    --------
    >>> equal_weight(np.array([True, False, True]))
    array([0.5, 0. , 0.5])
    """
    if isinstance(chosen, (str, pl.Expr)):
        marked = pl.col(chosen) if isinstance(chosen, str) else chosen
        share = pl.lit(float(gross)) / marked.sum().over(over)
        return pl.when(marked).then(share).when(marked.not_()).then(0.0)
    mask = np.asarray(chosen)
    if mask.dtype != np.bool_:
        msg = f"chosen must be booleans, got an array of {mask.dtype}."
        raise WeightsError(msg)
    n_chosen = int(np.count_nonzero(mask))
    return np.where(mask, float(gross) / max(n_chosen, 1), 0.0)
