"""Momentum, mean and volatility of each asset, as expressions and as arrays."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import polars as pl

from barloop.errors import WeightsError
from barloop.layout import floats
from barloop.recipes import Mean, Momentum, Volatility, part_of, with_recipe
from barloop.row_groups import by_group, group_rows, per_row, with_nulls
from barloop.typing import FloatPanel, FloatVector


@overload
def momentum(
    price: str | pl.Expr, lookback: int, *, skip: int = ..., by: str = ...
) -> pl.Expr: ...
@overload
def momentum(price: FloatPanel, lookback: int, *, skip: int = ...) -> FloatVector: ...
def momentum(price: Any, lookback: int, *, skip: int = 0, by: str = "asset") -> Any:
    """Compute the simple return of each asset from `lookback` to `skip` rows ago.

    Parameters
    ----------
    price : str, Expr, or ndarray of shape (n_known, n_assets)
        Usually ``"close"``.  An array is a history whose last row is now, as
        ``bar.history.close`` in a callback.
    lookback : int
        Rows back to the price at the start.
    skip : int, default 0
        Rows back to the price at the end; 252 and 21 make the return of eleven months
        that leaves out the last.
    by : str, default "asset"
        Name of the asset column; expressions only.

    Returns
    -------
    Expr or ndarray of shape (n_assets,)
        Null, in an array NaN, where one of the two prices, or that of now, is not
        known.

    Raises
    ------
    WeightsError
        If `lookback` is not a positive int, or `skip` not an int below it.

    See Also
    --------
    barloop.jitted.momentum : For compiled callbacks.

    Notes
    -----
    ``price[t - skip] / price[t - lookback] - 1``.  An expression counts the rows of the
    asset, an array counts bars; they are the same where each asset has a row on each
    bar between its first and its last, with a null close where it did not trade.

    Examples
    --------
    >>> momentum(np.array([[10.0, 8.0], [11.0, 8.0], [12.0, 6.0]]), 2)
    array([ 0.2 , -0.25])
    """
    lookback = whole("lookback", lookback, 1)
    skip = whole("skip", skip, 0)
    if skip >= lookback:
        msg = f"skip must be less than lookback={lookback}, got {skip}."
        raise WeightsError(msg)
    if isinstance(price, (str, pl.Expr)):
        function = functools.partial(_momentum, lookback=lookback, skip=skip)
        recipe = Momentum(part_of(price), lookback, skip, by)
        return with_recipe(by_group(function, [price], by), recipe)
    from barloop._kernels.windows import momentum_now

    history = _history(price)
    now = np.empty(history.shape[1])
    with np.errstate(all="ignore"):
        momentum_now(history, lookback, skip, now)
    return now


@overload
def mean(value: str | pl.Expr, n_bars: int, *, by: str = ...) -> pl.Expr: ...
@overload
def mean(value: FloatPanel, n_bars: int) -> FloatVector: ...
def mean(value: Any, n_bars: int, *, by: str = "asset") -> Any:
    """Compute the moving average of each asset over its last `n_bars` rows.

    Parameters
    ----------
    value : str, Expr, or ndarray of shape (n_known, n_assets)
        A price or any other number.  An array is a history whose last row is now.
    n_bars : int
        Rows in the average, this one included.
    by : str, default "asset"
        Name of the asset column; expressions only.

    Returns
    -------
    Expr or ndarray of shape (n_assets,)
        Null, in an array NaN, where one of the values is not known.

    Raises
    ------
    WeightsError
        If `n_bars` is not a positive int.

    See Also
    --------
    barloop.jitted.mean : For compiled callbacks.

    Notes
    -----
    The sum runs from the oldest row to the latest, in every form; so a value depends on
    its own window only.  Rows and bars: see `momentum`.

    Examples
    --------
    >>> mean(np.array([[10.0, 8.0], [11.0, 8.0], [12.0, 5.0]]), 3)
    array([11.,  7.])
    """
    n_bars = whole("n_bars", n_bars, 1)
    if isinstance(value, (str, pl.Expr)):
        function = functools.partial(_mean, n_bars=n_bars)
        recipe = Mean(part_of(value), n_bars, by)
        return with_recipe(by_group(function, [value], by), recipe)
    from barloop._kernels.windows import mean_now

    history = _history(value)
    now = np.empty(history.shape[1])
    with np.errstate(all="ignore"):
        mean_now(history, n_bars, now)
    return now


@overload
def volatility(price: str | pl.Expr, n_bars: int, *, by: str = ...) -> pl.Expr: ...
@overload
def volatility(price: FloatPanel, n_bars: int) -> FloatVector: ...
def volatility(price: Any, n_bars: int, *, by: str = "asset") -> Any:
    """Compute the standard deviation of the last `n_bars` simple returns.

    Parameters
    ----------
    price : str, Expr, or ndarray of shape (n_known, n_assets)
        Usually ``"close"``.  An array is a history whose last row is now.
    n_bars : int
        Returns in the window, so one price more.
    by : str, default "asset"
        Name of the asset column; expressions only.

    Returns
    -------
    Expr or ndarray of shape (n_assets,)
        Per bar, not annualised.  Null, in an array NaN, where one of the prices is not
        known.

    Raises
    ------
    WeightsError
        If `n_bars` is not an int of at least 2.

    See Also
    --------
    barloop.jitted.volatility : For compiled callbacks.

    Notes
    -----
    ``sqrt(sum((r - mean(r))**2) / (n_bars - 1))`` with ``r = price / before - 1``,
    summed from the oldest row to the latest, in every form.  Rows and bars: see
    `momentum`.

    Examples
    --------
    >>> volatility(np.array([[10.0], [11.0], [11.0]]), 2).round(4)
    array([0.0707])
    """
    n_bars = whole("n_bars", n_bars, 2)
    if isinstance(price, (str, pl.Expr)):
        function = functools.partial(_volatility, n_bars=n_bars)
        recipe = Volatility(part_of(price), n_bars, by)
        return with_recipe(by_group(function, [price], by), recipe)
    from barloop._kernels.windows import volatility_now

    history = _history(price)
    now, work = np.empty(history.shape[1]), np.empty(history.shape[1])
    with np.errstate(all="ignore"):
        volatility_now(history, n_bars, work, now)
    return now


def finite(name: str, value: Any) -> float:
    """Return a float, or raise WeightsError if it is no finite number.

    Parameters
    ----------
    name : str
        For the message.
    value : object
        What was given.

    Returns
    -------
    float
        `value`.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number):
        msg = f"{name} must be a finite number, got {value!r}."
        raise WeightsError(msg)
    return number


def whole(name: str, value: Any, least: int) -> int:
    """Return an int, or raise WeightsError if it is none or below `least`.

    Parameters
    ----------
    name : str
        For the message.
    value : object
        What was given.
    least : int
        The smallest that has a meaning.

    Returns
    -------
    int
        `value`.
    """
    right = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not right or value < least:
        what = "a positive int" if least == 1 else f"an int of at least {least}"
        msg = f"{name} must be {what}, got {value!r}."
        raise WeightsError(msg)
    return int(value)


def _history(values: Any) -> FloatPanel:
    history = np.ascontiguousarray(values, dtype=np.float64)
    if history.ndim != 2:
        msg = (
            "an array of prices must be a history of shape (n_known, n_assets), got "
            f"shape {history.shape}.\n"
            "Hint: pass bar.history.close, not bar.close."
        )
        raise WeightsError(msg)
    history = history.view()
    history.flags.writeable = False
    return history


def _momentum(columns: Sequence[pl.Series], lookback: int, skip: int) -> pl.Series:
    from barloop._kernels.grouped import momentum_by_group

    price, key = columns
    groups = group_rows(key)
    values, out = floats(per_row(price, key)), np.empty(len(key))
    with np.errstate(all="ignore"):
        momentum_by_group(values, groups.order, groups.start, lookback, skip, out)
    return with_nulls(out, price)


def _mean(columns: Sequence[pl.Series], n_bars: int) -> pl.Series:
    from barloop._kernels.grouped import mean_by_group

    value, key = columns
    groups = group_rows(key)
    values, out = floats(per_row(value, key)), np.empty(len(key))
    work = (np.empty(groups.largest), np.empty(groups.largest))
    with np.errstate(all="ignore"):
        mean_by_group(values, groups.order, groups.start, n_bars, *work, out)
    return with_nulls(out, value)


def _volatility(columns: Sequence[pl.Series], n_bars: int) -> pl.Series:
    from barloop._kernels.grouped import volatility_by_group

    price, key = columns
    groups = group_rows(key)
    n = groups.largest
    values, out = floats(per_row(price, key)), np.empty(len(key))
    work = (np.empty(n), np.empty(n), np.empty(n))
    with np.errstate(all="ignore"):
        volatility_by_group(values, groups.order, groups.start, n_bars, *work, out)
    return with_nulls(out, price)
