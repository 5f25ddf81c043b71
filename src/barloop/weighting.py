"""Weights of the chosen assets, as expressions and as arrays."""

from __future__ import annotations

import functools
from typing import Any, overload

import numpy as np
import polars as pl

from barloop import row_weights
from barloop.errors import WeightsError
from barloop.recipes import (
    EqualWeight,
    InverseVolatility,
    LongShort,
    Mean,
    Momentum,
    RankWeights,
    TopN,
    Volatility,
    part_of,
    with_recipe,
)
from barloop.row_groups import by_group
from barloop.scores import finite
from barloop.typing import BoolVector, FloatVector

SCORES = (Momentum, Mean, Volatility)


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

    See Also
    --------
    barloop.jitted.equal_weight : For compiled callbacks.

    Examples
    --------
    >>> equal_weight(np.array([True, False, True]))
    array([0.5, 0. , 0.5])
    """
    gross = finite("gross", gross)
    if isinstance(chosen, (str, pl.Expr)):
        made = by_group(
            functools.partial(row_weights.equally, gross=gross), [chosen], over
        )
        return with_recipe(made, EqualWeight(part_of(chosen, TopN), gross, over))
    mask = _mask(chosen)
    n_chosen = int(np.count_nonzero(mask))
    return np.where(mask, gross / max(n_chosen, 1), 0.0)


@overload
def rank_weights(
    score: str | pl.Expr,
    *,
    chosen: str | pl.Expr | None = ...,
    gross: float = ...,
    over: str = ...,
) -> pl.Expr: ...
@overload
def rank_weights(
    score: FloatVector, *, chosen: BoolVector | None = ..., gross: float = ...
) -> FloatVector: ...
def rank_weights(
    score: Any, *, chosen: Any = None, gross: float = 1.0, over: str = "timestamp"
) -> Any:
    """Weigh assets in proportion to the rank of their score: the best has the most.

    Parameters
    ----------
    score : str, Expr, or ndarray of shape (n_assets,)
        Higher is better.
    chosen : str, Expr, or ndarray of bool, shape (n_assets,), optional
        True for the assets to hold, e.g. ``top_n(score, 25)``; all when None.
    gross : float, default 1.0
        Sum of the weights.
    over : str, default "timestamp"
        Name of the time column; expressions only.

    Returns
    -------
    Expr or ndarray of float
        0 for those not chosen.  An expression is null where `chosen` is null, and where
        an asset to hold has no score; an array is 0 there.

    See Also
    --------
    barloop.jitted.rank_weights : For compiled callbacks.

    Notes
    -----
    ``gross * rank / (n * (n + 1) / 2)`` among the n chosen that have a score, rank 1
    for the lowest.  Equal scores share the mean of their ranks, so names do not matter.

    Examples
    --------
    >>> rank_weights(np.array([0.3, 0.1, np.nan, 0.2])).round(3)
    array([0.5  , 0.167, 0.   , 0.333])
    """
    gross = finite("gross", gross)
    if isinstance(score, (str, pl.Expr)):
        part = None if chosen is None else part_of(chosen, TopN)
        recipe = RankWeights(part_of(score, *SCORES), part, gross, over)
        inputs = [score] if chosen is None else [score, chosen]
        made = by_group(
            functools.partial(row_weights.by_rank, gross=gross), inputs, over
        )
        return with_recipe(made, recipe)
    values = np.asarray(score, dtype=np.float64)
    held = ~np.isnan(values)
    if chosen is not None:
        held &= _mask(chosen)
    _, place, counts = np.unique(values[held], return_inverse=True, return_counts=True)
    ranks = (2 * np.cumsum(counts) - counts + 1) / 2.0
    weights = np.zeros(values.shape)
    n_held = int(np.count_nonzero(held))
    weights[held] = gross * ranks[place] / (max(n_held, 1) * (n_held + 1.0) / 2.0)
    return weights


@overload
def inverse_volatility(
    chosen: str | pl.Expr,
    volatility: str | pl.Expr,
    *,
    gross: float = ...,
    over: str = ...,
) -> pl.Expr: ...
@overload
def inverse_volatility(
    chosen: BoolVector, volatility: FloatVector, *, gross: float = ...
) -> FloatVector: ...
def inverse_volatility(
    chosen: Any, volatility: Any, *, gross: float = 1.0, over: str = "timestamp"
) -> Any:
    """Weigh the chosen assets of a timestamp in proportion to 1 / volatility.

    Parameters
    ----------
    chosen : str, Expr, or ndarray of bool, shape (n_assets,)
        True for the assets to hold.
    volatility : str, Expr, or ndarray of shape (n_assets,)
        Positive, e.g. ``volatility("close", 63)``.
    gross : float, default 1.0
        Sum of the weights.
    over : str, default "timestamp"
        Name of the time column; expressions only.

    Returns
    -------
    Expr or ndarray of float
        0 for those not chosen.  A chosen asset whose volatility is null, NaN, zero,
        negative or infinite gets no weight: null in an expression, 0 in an array; the
        others share all of `gross`.

    See Also
    --------
    barloop.jitted.inverse_volatility : For compiled callbacks.

    Notes
    -----
    ``gross * (1 / volatility) / sum(1 / volatility)``, the sum over the chosen in asset
    order.

    Examples
    --------
    >>> chosen = np.array([True, True, False])
    >>> inverse_volatility(chosen, np.array([0.01, 0.03, 0.02]))
    array([0.75, 0.25, 0.  ])
    """
    gross = finite("gross", gross)
    if isinstance(chosen, (str, pl.Expr)):
        recipe = InverseVolatility(
            part_of(chosen, TopN), part_of(volatility, *SCORES), gross, over
        )
        function = functools.partial(row_weights.inversely, gross=gross)
        return with_recipe(by_group(function, [chosen, volatility], over), recipe)
    mask = _mask(chosen)
    with np.errstate(all="ignore"):
        inverses: FloatVector = 1.0 / np.asarray(volatility, dtype=np.float64)
        mask = mask & (inverses > 0.0) & np.isfinite(inverses)
        weights = np.zeros(mask.shape)
        if mask.any():
            # The last of the running sum: `sum` adds in pairs.
            held = inverses[mask]
            weights[mask] = gross * held / np.cumsum(held)[-1]
    return weights


@overload
def long_short(
    long: str | pl.Expr,
    short: str | pl.Expr,
    *,
    long_gross: float = ...,
    short_gross: float = ...,
    over: str = ...,
) -> pl.Expr: ...
@overload
def long_short(
    long: BoolVector,
    short: BoolVector,
    *,
    long_gross: float = ...,
    short_gross: float = ...,
) -> FloatVector: ...
def long_short(
    long: Any,
    short: Any,
    *,
    long_gross: float = 0.5,
    short_gross: float = 0.5,
    over: str = "timestamp",
) -> Any:
    """Hold one choice of assets with equal weights and sell another one short.

    Parameters
    ----------
    long, short : str, Expr, or ndarray of bool, shape (n_assets,)
        True for the assets of each side, e.g. ``top_n(score, 25)`` and
        ``bottom_n(score, 25)``.
    long_gross, short_gross : float, default 0.5
        Sum of the weights of each side, both positive.
    over : str, default "timestamp"
        Name of the time column; expressions only.

    Returns
    -------
    Expr or ndarray of float
        ``equal_weight(long, gross=long_gross) - equal_weight(short,
        gross=short_gross)``, null counting as 0; an expression is null where both are.

    See Also
    --------
    barloop.jitted.long_short : For compiled callbacks.

    Notes
    -----
    Needs ``limits=Limits(allow_short=True)``.

    Examples
    --------
    >>> long_short(np.array([True, False, False]), np.array([False, False, True]))
    array([ 0.5,  0. , -0.5])
    """
    long_gross = finite("long_gross", long_gross)
    short_gross = finite("short_gross", short_gross)
    if isinstance(long, (str, pl.Expr)):
        function = functools.partial(
            row_weights.long_short, long_gross=long_gross, short_gross=short_gross
        )
        made = by_group(function, [long, short], over)
        recipe = LongShort(
            EqualWeight(part_of(long, TopN), long_gross, over),
            EqualWeight(part_of(short, TopN), short_gross, over),
        )
        return with_recipe(made, recipe)
    bought = equal_weight(long, gross=long_gross)
    return bought - equal_weight(short, gross=short_gross)


def _mask(chosen: Any) -> BoolVector:
    mask = np.asarray(chosen)
    if mask.dtype != np.bool_:
        msg = f"chosen must be booleans, got an array of {mask.dtype}."
        raise WeightsError(msg)
    return mask
