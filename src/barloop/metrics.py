"""Measures of a series of returns, one function each, and their summary.

Conventions of every function here:

- `returns` are simple returns of successive bars, shape (n,), a fraction: 0.01 is 1 %.
- `bars_per_year` annualises; `infer_bars_per_year` reads it off the timestamps.
- `risk_free` is an annual rate, a fraction; a bar earns
  ``(1 + risk_free) ** (1 / bars_per_year) - 1``.
- NaN rule: where a measure is undefined, the result is NaN.  That is so for an empty
  array, for an array with a NaN or an infinite value in it, and where the formula
  divides by zero.  `summary` says None instead.
- Losses are negative: a drawdown of 20 % is -0.2, and so is a value at risk of 20 %.
- An array that has not one dimension is a `SchemaError`, a number out of range a
  `ConfigError`.

The numbers are those of ``empyrical-reloaded`` where it has the measure, but NaN stands
where that gives an infinite ratio, and a NaN among the returns is never skipped.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from barloop.errors import ConfigError, SchemaError
from barloop.typing import FloatVector

# Sums here are numpy's own pairwise sums, never a dot product: a BLAS may split a dot
# product over threads, and the last bits would depend on their number.

_TAIL = 0.05
_DAYS_PER_YEAR = 365.25
_WEEKDAYS_PER_YEAR = _DAYS_PER_YEAR * 5 / 7
_USUAL_BARS_PER_YEAR = (252, 365, 52, 12, 4, 1)
_SNAP = 0.05


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
    values = _finite(returns)
    if values.size == 0:
        return math.nan
    growth = float(np.multiply.reduce(1.0 + values))
    return _annual_growth(growth, values.size, bars_per_year)


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
    _check_bars_per_year(bars_per_year)
    return _moments(_finite(returns)).deviation * math.sqrt(bars_per_year)


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
    moments = _moments(_finite(returns))
    excess = moments.mean - _risk_free_per_bar(risk_free, bars_per_year)
    return _ratio(excess, moments.deviation) * math.sqrt(bars_per_year)


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
    values = _finite(returns)
    if values.size < 2:
        return math.nan
    rate = _risk_free_per_bar(risk_free, bars_per_year)
    excess = values - rate if rate != 0.0 else values
    mean = float(np.add.reduce(values)) / values.size - rate
    return _sortino(mean, np.minimum(excess, 0.0), bars_per_year)


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
    return _ratio(growth, abs(max_drawdown(returns)))


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
    values = _finite(returns)
    if values.size == 0:
        return math.nan
    return _drawdown(np.multiply.accumulate(1.0 + values), 1.0)[0]


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
    values = _finite(returns)
    if values.size == 0:
        return math.nan
    return float(_drawdown(np.multiply.accumulate(1.0 + values), 1.0)[1])


def value_at_risk(returns: npt.ArrayLike, *, probability: float = _TAIL) -> float:
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
    return _tails(_finite(returns), probability).low


def conditional_value_at_risk(
    returns: npt.ArrayLike, *, probability: float = _TAIL
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
    return _tails(_finite(returns), probability).mean_below


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
    tails = _tails(_finite(returns), _TAIL)
    return _ratio(abs(tails.high), abs(tails.low))


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
    values = _finite(returns)
    if values.size < 2:
        return math.nan
    excess = values - _risk_free_per_bar(risk_free, bars_per_year)
    return _gains_to_losses(excess, np.minimum(excess, 0.0))


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
    return _moments(_finite(returns)).skew


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
    return _moments(_finite(returns)).kurtosis


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
    return _hits(_finite(returns))


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
    values = _finite(returns)
    return _gains_to_losses(values, np.minimum(values, 0.0))


def infer_bars_per_year(timestamps: pl.Series) -> int:
    """Infer how many bars a year has, for annualising.

    Parameters
    ----------
    timestamps : Series of Date or Datetime
        One value per bar, sorted, no nulls.

    Returns
    -------
    int
        252, 365, 52, 12, 4 or 1 where the count is within 5 % of it, else the count,
        rounded; for several bars a day, times the mean number of bars a day.

    Raises
    ------
    ConfigError
        When the timestamps are of another dtype or there are none.

    Notes
    -----
    The count is ``(n_days - 1) / span`` over the distinct days, with the span in years
    of 365.25 days.  When no day is a Saturday or Sunday, the span is measured in
    weekdays, of which a year has 260.9, so that five bars of one week also count as
    daily bars of an exchange.  A single day counts as one of 252, or of 365 if it is on
    a weekend.

    Days without a bar lower the count, as they should: with `n` bars in the data,
    ``n / bars_per_year`` is the time that went by.

    Examples
    --------
    >>> import datetime as dt
    >>> import polars as pl
    >>> from barloop.metrics import infer_bars_per_year
    >>> month_ends = pl.Series([dt.date(2024, m, 28) for m in range(1, 13)])
    >>> infer_bars_per_year(month_ends)
    12
    """
    dtype = timestamps.dtype
    if not (dtype == pl.Date or isinstance(dtype, pl.Datetime)):
        msg = (
            f"bars_per_year cannot be inferred from timestamps of dtype {dtype}.\n"
            "Hint: pass it, as in bars_per_year=252."
        )
        raise ConfigError(msg)
    if timestamps.len() == 0:
        msg = (
            "bars_per_year cannot be inferred without timestamps.\n"
            "Hint: pass it, as in bars_per_year=252."
        )
        raise ConfigError(msg)
    days = timestamps.dt.date().to_physical().to_numpy()
    days = days[np.concatenate([[True], days[1:] != days[:-1]])]
    # Day 0, 1970-01-01, was a Thursday: (day + 3) % 7 is 0 on Mondays.
    has_weekends = bool(np.any((days + 3) % 7 >= 5))
    if days.size == 1:
        days_per_year = 365 if has_weekends else 252
    else:
        first, last = int(days[0]), int(days[-1])
        if has_weekends:
            count = (days.size - 1) / (last - first) * _DAYS_PER_YEAR
        else:
            n_weekdays = _weekdays_before(last) - _weekdays_before(first)
            count = (days.size - 1) / n_weekdays * _WEEKDAYS_PER_YEAR
        days_per_year = _snapped(count)
    bars_per_day: float = timestamps.len() / days.size
    return round(days_per_year * bars_per_day)


def summary(
    equity: npt.ArrayLike,
    *,
    initial_cash: float,
    bars_per_year: float,
    risk_free: float = 0.0,
    traded_value: npt.ArrayLike,
    gross_exposure: npt.ArrayLike,
    commission: npt.ArrayLike,
    slippage: npt.ArrayLike,
    n_fills: int,
    n_rebalances: int,
    ruined: bool = False,
) -> dict[str, float | int | None]:
    """Compute all measures of one run, each array walked as few times as possible.

    Parameters
    ----------
    equity : array of shape (n,)
        Equity at the close of each bar, currency.
    initial_cash : float
        Equity before the first bar, currency, positive.
    bars_per_year : float
        Number of bars in a year.
    risk_free : float, default 0.0
        Annual rate, a fraction.
    traded_value : array of shape (n,)
        Sum of ``abs(quantity * price)`` over the fills of each bar, currency.
    gross_exposure : array of shape (n,)
        Sum of the absolute position values at the close of each bar, currency.
    commission, slippage : arrays of shape (n,)
        Paid on each bar, currency.
    n_fills, n_rebalances : int
        Counted by the caller.
    ruined : bool, default False
        Whether equity fell to 0 or below.

    Returns
    -------
    dict
        In this order, None where undefined:

        - ``total_return``: ``final_equity / initial_cash - 1``;
        - ``cagr``, ``volatility``, ``sharpe``, ``sortino``, ``calmar``,
          ``max_drawdown``, ``max_drawdown_duration``, ``value_at_risk``,
          ``conditional_value_at_risk``, ``tail_ratio``, ``omega``, ``skew``,
          ``kurtosis``, ``hit_rate``, ``profit_factor``: the functions of these names;
        - ``best_return``, ``worst_return``: of a single bar;
        - ``turnover``: one-way, per year; the mean over the bars of
          ``traded_value / (2 * equity)``, times `bars_per_year`;
        - ``mean_gross_exposure``: mean of ``gross_exposure / equity``, so 1 is fully
          invested;
        - ``time_in_market``: share of the bars that end with a position;
        - ``total_commission``, ``total_slippage``: currency;
        - ``n_fills``, ``n_rebalances``;
        - ``final_equity``: currency;
        - ``n_bars``, ``bars_per_year``.

    Raises
    ------
    SchemaError
        When the arrays do not have one dimension and the same length.

    Notes
    -----
    There are n returns: the first is ``equity[0] / initial_cash - 1``, and so 0 unless
    the first bar trades.  A ruined account has no returns after its ruin: everything
    derived from returns or divided by equity is None, while ``total_return``,
    ``max_drawdown`` and its duration, the costs and the counts stay.
    """
    values = _vector(equity, "equity")
    n_bars = values.size
    arrays = {
        "traded_value": traded_value,
        "gross_exposure": gross_exposure,
        "commission": commission,
        "slippage": slippage,
    }
    columns = {name: _vector(array, name) for name, array in arrays.items()}
    for name, column in columns.items():
        if column.size != n_bars:
            msg = f"{name} has {column.size} values, equity has {n_bars}."
            raise SchemaError(msg)

    previous = np.empty(n_bars)
    previous[:1] = initial_cash
    previous[1:] = values[:-1]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        returns = values / previous - 1.0
        turnover = np.add.reduce(columns["traded_value"] / values) / 2.0
        exposure = np.add.reduce(columns["gross_exposure"] / values)
    if ruined or not np.isfinite(returns).all():
        returns = returns[:0]
        turnover = exposure = math.nan

    growth = depth = math.nan
    duration: int | None = None
    if n_bars:
        growth = float(values[-1]) / initial_cash
        depth, longest = _drawdown(values, initial_cash)
        duration = None if math.isnan(depth) else longest

    n = returns.size
    moments = _moments(returns)
    tails = _tails(returns, _TAIL)
    rate = _risk_free_per_bar(risk_free, bars_per_year)
    losses = np.minimum(returns, 0.0)
    profit = _gains_to_losses(returns, losses)
    if rate == 0.0:
        excess_losses, gains_to_losses = losses, profit
    else:
        excess = returns - rate
        excess_losses = np.minimum(excess, 0.0)
        gains_to_losses = _gains_to_losses(excess, excess_losses)
    annual_growth = _annual_growth(growth, n, bars_per_year) if n else math.nan
    mean_excess = moments.mean - rate
    root = math.sqrt(bars_per_year)
    n_held = int(np.count_nonzero(columns["gross_exposure"]))

    measures: dict[str, float | int | None] = {
        "total_return": growth - 1.0,
        "cagr": annual_growth,
        "volatility": moments.deviation * root,
        "sharpe": _ratio(mean_excess, moments.deviation) * root,
        "sortino": math.nan
        if n < 2
        else _sortino(mean_excess, excess_losses, bars_per_year),
        "calmar": _ratio(annual_growth, abs(depth)),
        "max_drawdown": depth,
        "max_drawdown_duration": duration,
        "value_at_risk": tails.low,
        "conditional_value_at_risk": tails.mean_below,
        "tail_ratio": _ratio(abs(tails.high), abs(tails.low)),
        "omega": math.nan if n < 2 else gains_to_losses,
        "skew": moments.skew,
        "kurtosis": moments.kurtosis,
        "hit_rate": _hits(returns),
        "profit_factor": profit,
        "best_return": moments.highest,
        "worst_return": moments.lowest,
        "turnover": _ratio(float(turnover), n) * bars_per_year,
        "mean_gross_exposure": _ratio(float(exposure), n),
        "time_in_market": _ratio(n_held, n_bars),
        "total_commission": float(np.add.reduce(columns["commission"])),
        "total_slippage": float(np.add.reduce(columns["slippage"])),
        "n_fills": int(n_fills),
        "n_rebalances": int(n_rebalances),
        "final_equity": float(values[-1]) if n_bars else math.nan,
        "n_bars": n_bars,
        "bars_per_year": bars_per_year,
    }
    return {
        name: value if value is not None and math.isfinite(value) else None
        for name, value in measures.items()
    }


class _Moments(NamedTuple):
    """Moments and extremes of one series; NaN where undefined."""

    mean: float
    deviation: float  # of the sample, ddof=1; exactly 0 for equal values
    skew: float
    kurtosis: float
    lowest: float
    highest: float


class _Tails(NamedTuple):
    """Quantiles of one series; NaN where undefined."""

    low: float
    mean_below: float
    high: float


def _moments(values: FloatVector) -> _Moments:
    n = values.size
    if n == 0:
        return _Moments(*[math.nan] * 6)
    lowest = float(np.minimum.reduce(values))
    highest = float(np.maximum.reduce(values))
    mean = float(np.add.reduce(values)) / n
    if lowest == highest:
        # The mean of equal values may differ from them in the last bit; dividing by
        # what that leaves makes a Sharpe ratio of 1e15: test_equal_returns.
        deviation = 0.0 if n > 1 else math.nan
        return _Moments(mean, deviation, math.nan, math.nan, lowest, highest)
    centred = values - mean
    squared = centred * centred
    sum_2 = float(np.add.reduce(squared))
    centred *= squared
    sum_3 = float(np.add.reduce(centred))
    squared *= squared
    sum_4 = float(np.add.reduce(squared))
    variance = sum_2 / n
    # The square of a variance below 1e-162 is 0: the result is NaN, not an error.
    skewness = _ratio(sum_3 / n, variance * math.sqrt(variance))
    kurt = _ratio(sum_4 / n, variance * variance) - 3.0
    deviation = math.sqrt(sum_2 / (n - 1))
    return _Moments(mean, deviation, skewness, kurt, lowest, highest)


def _tails(values: FloatVector, probability: float) -> _Tails:
    if not 0.0 <= probability <= 0.5:
        msg = f"probability must be between 0 and 0.5, got {probability!r}."
        raise ConfigError(msg)
    n = values.size
    if n == 0:
        return _Tails(math.nan, math.nan, math.nan)
    low_at, high_at = (n - 1) * probability, (n - 1) * (1.0 - probability)
    i, j = int(low_at), int(high_at)
    ordered = np.partition(values, i)
    low, above_low = float(ordered[i]), ordered[i + 1 :]
    low_next = _least(above_low, low)
    high, high_next = low, low_next
    if j > i:
        above_low.partition(j - i - 1)  # in place, so the tail of `ordered` too
        high = float(ordered[j])
        high_next = _least(ordered[j + 1 :], high)
    # Sorted, because a partition may leave the values below it in any order, and the
    # last bits of a sum depend on the order.
    worst = np.sort(ordered[: i + 1])
    return _Tails(
        low=low + (low_next - low) * (low_at - i),
        mean_below=float(np.add.reduce(worst)) / worst.size,
        high=high + (high_next - high) * (high_at - j),
    )


def _least(values: FloatVector, otherwise: float) -> float:
    return float(np.minimum.reduce(values)) if values.size else otherwise


def _drawdown(equity: FloatVector, start: float) -> tuple[float, int]:
    """Return the deepest drawdown and the longest run of bars below the maximum."""
    peak = np.maximum.accumulate(equity)
    np.maximum(peak, start, out=peak)
    at_peak = np.flatnonzero(equity >= peak)
    np.divide(equity, peak, out=peak)
    depth = min(float(np.minimum.reduce(peak)) - 1.0, 0.0)
    if at_peak.size == 0:
        return depth, equity.size
    between = int(np.maximum.reduce(np.diff(at_peak))) - 1 if at_peak.size > 1 else 0
    return depth, max(int(at_peak[0]), between, equity.size - 1 - int(at_peak[-1]))


def _annual_growth(growth: float, n_bars: int, bars_per_year: float) -> float:
    _check_bars_per_year(bars_per_year)
    if growth < 0.0:
        return math.nan
    try:
        return float(growth ** (bars_per_year / n_bars)) - 1.0
    except OverflowError:
        return math.inf


def _sortino(mean_excess: float, losses: FloatVector, bars_per_year: float) -> float:
    mean_square = float(np.add.reduce(losses * losses)) / losses.size
    return _ratio(mean_excess, math.sqrt(mean_square)) * math.sqrt(bars_per_year)


def _gains_to_losses(values: FloatVector, losses: FloatVector) -> float:
    gains = float(np.add.reduce(np.maximum(values, 0.0)))
    return _ratio(gains, -float(np.add.reduce(losses)))


def _hits(values: FloatVector) -> float:
    n_wins = int(np.count_nonzero(values > 0.0))
    return _ratio(n_wins, int(np.count_nonzero(values)))


def _check_bars_per_year(bars_per_year: float) -> None:
    if not bars_per_year > 0.0:
        msg = f"bars_per_year must be positive, got {bars_per_year!r}."
        raise ConfigError(msg)


def _risk_free_per_bar(risk_free: float, bars_per_year: float) -> float:
    _check_bars_per_year(bars_per_year)
    if not risk_free > -1.0:
        msg = f"risk_free must be above -1, got {risk_free!r}."
        raise ConfigError(msg)
    if risk_free == 0.0:
        return 0.0
    return float((1.0 + risk_free) ** (1.0 / bars_per_year)) - 1.0


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator != 0.0 else math.nan


def _vector(values: npt.ArrayLike, name: str) -> FloatVector:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        msg = f"{name} must have one dimension, got an array of shape {array.shape}."
        raise SchemaError(msg)
    return array


def _finite(returns: npt.ArrayLike) -> FloatVector:
    """Return the returns as an array, empty when one of them is NaN or infinite."""
    array = _vector(returns, "returns")
    return array if np.isfinite(array).all() else array[:0]


def _snapped(count: float) -> int:
    for usual in _USUAL_BARS_PER_YEAR:
        if abs(count - usual) <= _SNAP * usual:
            return usual
    return max(1, round(count))


def _weekdays_before(day: int) -> int:
    """Return the number of weekdays from a fixed Monday up to, without, this day."""
    weeks, weekday = divmod(day + 3, 7)
    return weeks * 5 + min(weekday, 5)
