"""Measures of a series of returns, one function each.

Conventions of every function here:

- `returns` are simple returns of successive bars, shape (n,), a fraction: 0.01 is 1 %.
- `bars_per_year` annualises; `barloop.annualisation` reads it off
  the timestamps.
- `risk_free` is an annual rate, a fraction; a bar earns
  ``(1 + risk_free) ** (1 / bars_per_year) - 1``.
- NaN rule: where a measure is undefined, the result is NaN.  That is so for an empty
  array, for an array with a NaN or an infinite value in it, and where the formula
  divides by zero.  `barloop.summary` says None instead.
- Losses are negative: a drawdown of 20 % is -0.2, and so is a value at risk of 20 %.
- An array that has not one dimension is a `SchemaError`, a number out of range a
  `ConfigError`.

The numbers are those of ``empyrical-reloaded`` where it has the measure, but NaN stands
where that gives an infinite ratio, and a NaN among the returns is never skipped.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from barloop.numerics import (
    TAIL,
    check_bars_per_year,
    drawdown,
    finite,
    gain_loss_ratio,
    growth_per_year,
    hits,
    moments_of,
    ratio,
    risk_free_per_bar,
    sortino_ratio,
    tails_of,
)


def cagr(returns: npt.ArrayLike, *, bars_per_year: float) -> float:
    """Compute the compound annual growth rate.

    Parameters
    ----------
    returns : array of shape (n,)
        Simple returns.
    bars_per_year : float
        Number of bars in a year.

    Returns
    -------
    float
        A fraction per year; NaN when more than everything was lost.

    Notes
    -----
    ``prod(1 + returns) ** (bars_per_year / n) - 1``.
    """
    values = finite(returns)
    if values.size == 0:
        return math.nan
    growth = float(np.multiply.reduce(1.0 + values))
    return growth_per_year(growth, values.size, bars_per_year)


def volatility(returns: npt.ArrayLike, *, bars_per_year: float) -> float:
    """Compute the annual volatility.

    Parameters
    ----------
    returns : array of shape (n,)
        Simple returns.
    bars_per_year : float
        Number of bars in a year.

    Returns
    -------
    float
        A fraction per square root of a year; exactly 0 when all returns are equal, NaN
        for fewer than two.

    Notes
    -----
    ``std(returns, ddof=1) * sqrt(bars_per_year)``.
    """
    check_bars_per_year(bars_per_year)
    return moments_of(finite(returns)).deviation * math.sqrt(bars_per_year)


def sharpe(
    returns: npt.ArrayLike, *, bars_per_year: float, risk_free: float = 0.0
) -> float:
    """Compute the annual Sharpe ratio.

    Parameters
    ----------
    returns : array of shape (n,)
        Simple returns.
    bars_per_year : float
        Number of bars in a year.
    risk_free : float, default 0.0
        Annual rate, a fraction.

    Returns
    -------
    float
        A ratio; NaN when the volatility is 0 and for fewer than two returns.

    Notes
    -----
    ``mean(returns - r) / std(returns, ddof=1) * sqrt(bars_per_year)`` with
    ``r = (1 + risk_free) ** (1 / bars_per_year) - 1``.
    """
    moments = moments_of(finite(returns))
    excess = moments.mean - risk_free_per_bar(risk_free, bars_per_year)
    return ratio(excess, moments.deviation) * math.sqrt(bars_per_year)


def sortino(
    returns: npt.ArrayLike, *, bars_per_year: float, risk_free: float = 0.0
) -> float:
    """Compute the annual Sortino ratio.

    Parameters
    ----------
    returns : array of shape (n,)
        Simple returns.
    bars_per_year : float
        Number of bars in a year.
    risk_free : float, default 0.0
        Annual rate, a fraction; also what a bar must earn not to count as a loss.

    Returns
    -------
    float
        A ratio; NaN when no return is below the rate and for fewer than two returns.

    Notes
    -----
    ``mean(e) / sqrt(mean(minimum(e, 0) ** 2)) * sqrt(bars_per_year)`` with
    ``e = returns - r`` and ``r = (1 + risk_free) ** (1 / bars_per_year) - 1``.  The
    mean under the root is over all n returns, not over the losses alone.
    """
    values = finite(returns)
    if values.size < 2:
        return math.nan
    rate = risk_free_per_bar(risk_free, bars_per_year)
    excess = values - rate if rate != 0.0 else values
    mean = float(np.add.reduce(values)) / values.size - rate
    return sortino_ratio(mean, np.minimum(excess, 0.0), bars_per_year)


def calmar(returns: npt.ArrayLike, *, bars_per_year: float) -> float:
    """Compute the Calmar ratio.

    Parameters
    ----------
    returns : array of shape (n,)
        Simple returns.
    bars_per_year : float
        Number of bars in a year.

    Returns
    -------
    float
        A ratio per year; NaN without a drawdown.

    Notes
    -----
    ``cagr / abs(max_drawdown)``, both over all of `returns`.
    """
    growth = cagr(returns, bars_per_year=bars_per_year)
    return ratio(growth, abs(max_drawdown(returns)))


def max_drawdown(returns: npt.ArrayLike) -> float:
    """Compute the deepest drawdown.

    Parameters
    ----------
    returns : array of shape (n,)
        Simple returns.

    Returns
    -------
    float
        A fraction, 0 or negative.

    Notes
    -----
    ``min(equity / maximum - 1)`` with ``equity = cumprod(1 + returns)`` and ``maximum``
    its running maximum, which starts at 1, the equity before the first bar.
    """
    values = finite(returns)
    if values.size == 0:
        return math.nan
    return drawdown(np.multiply.accumulate(1.0 + values), 1.0)[0]


def max_drawdown_duration(returns: npt.ArrayLike) -> float:
    """Compute the length of the longest drawdown, which need not be the deepest.

    Parameters
    ----------
    returns : array of shape (n,)
        Simple returns.

    Returns
    -------
    float
        A whole number of bars; 0 without a drawdown.

    Notes
    -----
    The largest number of successive bars whose equity is below its running maximum,
    where ``equity = cumprod(1 + returns)`` and the running maximum starts at 1.  The
    bar of the peak and the bar of the recovery do not count.  A drawdown that is still
    open on the last bar counts with its bars so far, so the number may grow with time.
    """
    values = finite(returns)
    if values.size == 0:
        return math.nan
    return float(drawdown(np.multiply.accumulate(1.0 + values), 1.0)[1])


def value_at_risk(returns: npt.ArrayLike, *, probability: float = TAIL) -> float:
    """Compute the historical value at risk of one bar.

    Parameters
    ----------
    returns : array of shape (n,)
        Simple returns.
    probability : float, default 0.05
        Share of the returns that are worse, between 0 and 0.5.

    Returns
    -------
    float
        A return, negative when it is a loss.

    Notes
    -----
    The quantile `probability` of the returns, linear between the two nearest: with the
    returns sorted, the value at position ``probability * (n - 1)``, counted from 0.
    """
    return tails_of(finite(returns), probability).low


def conditional_value_at_risk(
    returns: npt.ArrayLike, *, probability: float = TAIL
) -> float:
    """Compute the mean of the worst returns, also known as expected shortfall.

    Parameters
    ----------
    returns : array of shape (n,)
        Simple returns.
    probability : float, default 0.05
        Share of the returns to average, between 0 and 0.5.

    Returns
    -------
    float
        A return, negative when it is a loss.

    Notes
    -----
    The mean of the ``floor(probability * (n - 1)) + 1`` smallest returns, which are
    those not above the `value_at_risk` (but for ties).
    """
    return tails_of(finite(returns), probability).mean_below


def tail_ratio(returns: npt.ArrayLike) -> float:
    """Compute how large good bars are against bad ones.

    Parameters
    ----------
    returns : array of shape (n,)
        Simple returns.

    Returns
    -------
    float
        A ratio; NaN when the lower quantile is 0.

    Notes
    -----
    ``abs(quantile(returns, 0.95)) / abs(quantile(returns, 0.05))``, both linear as in
    `value_at_risk`.
    """
    tails = tails_of(finite(returns), TAIL)
    return ratio(abs(tails.high), abs(tails.low))


def omega(
    returns: npt.ArrayLike, *, bars_per_year: float, risk_free: float = 0.0
) -> float:
    """Compute the omega ratio.

    Parameters
    ----------
    returns : array of shape (n,)
        Simple returns.
    bars_per_year : float
        Number of bars in a year.
    risk_free : float, default 0.0
        Annual rate, a fraction, that divides gains from losses.

    Returns
    -------
    float
        A ratio; NaN when no return is below the rate and for fewer than two returns.

    Notes
    -----
    ``sum(maximum(e, 0)) / -sum(minimum(e, 0))`` with ``e = returns - r`` and
    ``r = (1 + risk_free) ** (1 / bars_per_year) - 1``.  With a rate of 0 it equals
    `profit_factor`.
    """
    values = finite(returns)
    if values.size < 2:
        return math.nan
    excess = values - risk_free_per_bar(risk_free, bars_per_year)
    return gain_loss_ratio(excess, np.minimum(excess, 0.0))


def skew(returns: npt.ArrayLike) -> float:
    """Compute the skewness.

    Parameters
    ----------
    returns : array of shape (n,)
        Simple returns.

    Returns
    -------
    float
        A number without unit, 0 for a symmetric series; NaN when all returns are equal.

    Notes
    -----
    ``mean(d ** 3) / mean(d ** 2) ** 1.5`` with ``d = returns - mean(returns)``: the
    moment of the sample, without a correction for its size.
    """
    return moments_of(finite(returns)).skew


def kurtosis(returns: npt.ArrayLike) -> float:
    """Compute the excess kurtosis.

    Parameters
    ----------
    returns : array of shape (n,)
        Simple returns.

    Returns
    -------
    float
        A number without unit, 0 for a normal distribution; NaN when all returns are
        equal.

    Notes
    -----
    ``mean(d ** 4) / mean(d ** 2) ** 2 - 3`` with ``d = returns - mean(returns)``: the
    moment of the sample, without a correction for its size.
    """
    return moments_of(finite(returns)).kurtosis


def hit_rate(returns: npt.ArrayLike) -> float:
    """Compute the share of winning bars among those with a gain or a loss.

    Parameters
    ----------
    returns : array of shape (n,)
        Simple returns.

    Returns
    -------
    float
        A fraction from 0 to 1; NaN when all returns are 0.

    Notes
    -----
    ``count(returns > 0) / count(returns != 0)``.  Bars of exactly 0, as before the
    first position, are left out.
    """
    return hits(finite(returns))


def profit_factor(returns: npt.ArrayLike) -> float:
    """Compute the sum of the gains over the sum of the losses, bar by bar.

    Parameters
    ----------
    returns : array of shape (n,)
        Simple returns.

    Returns
    -------
    float
        A ratio; NaN without a loss.

    Notes
    -----
    ``sum(maximum(returns, 0)) / -sum(minimum(returns, 0))``.  This is over bars; over
    trades the number is another one.
    """
    values = finite(returns)
    return gain_loss_ratio(values, np.minimum(values, 0.0))
