"""What the measures are made of: moments, quantiles, drawdowns, ratios.

Sums are numpy's own pairwise sums, never a dot product: a BLAS may split a dot product
over threads, and the last bits would depend on their number.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from barloop.errors import ConfigError, SchemaError
from barloop.typing import FloatVector

TAIL = 0.05
"""Probability of the tails, unless said otherwise."""


class Moments(NamedTuple):
    """Moments and extremes of one series; NaN where undefined."""

    mean: float
    deviation: float  # of the sample, ddof=1; exactly 0 for equal values
    skew: float
    kurtosis: float
    lowest: float
    highest: float


class Tails(NamedTuple):
    """Quantiles of one series; NaN where undefined."""

    low: float
    mean_below: float
    high: float


def moments_of(values: FloatVector) -> Moments:
    """Return the moments and extremes of a series."""
    n = values.size
    if n == 0:
        return Moments(*[math.nan] * 6)
    lowest = float(np.minimum.reduce(values))
    highest = float(np.maximum.reduce(values))
    mean = float(np.add.reduce(values)) / n
    if lowest == highest:
        # The mean of equal values may differ from them in the last bit; dividing by
        # what that leaves makes a Sharpe ratio of 1e15: test_equal_returns.
        deviation = 0.0 if n > 1 else math.nan
        return Moments(mean, deviation, math.nan, math.nan, lowest, highest)
    centred = values - mean
    squared = centred * centred
    sum_2 = float(np.add.reduce(squared))
    centred *= squared
    sum_3 = float(np.add.reduce(centred))
    squared *= squared
    sum_4 = float(np.add.reduce(squared))
    variance = sum_2 / n
    # The square of a variance below 1e-162 is 0: the result is NaN, not an error.
    skewness = ratio(sum_3 / n, variance * math.sqrt(variance))
    kurt = ratio(sum_4 / n, variance * variance) - 3.0
    deviation = math.sqrt(sum_2 / (n - 1))
    return Moments(mean, deviation, skewness, kurt, lowest, highest)


def tails_of(values: FloatVector, probability: float) -> Tails:
    """Return the quantiles at both ends and the mean below the lower one."""
    if not 0.0 <= probability <= 0.5:
        msg = f"probability must be between 0 and 0.5, got {probability!r}."
        raise ConfigError(msg)
    n = values.size
    if n == 0:
        return Tails(math.nan, math.nan, math.nan)
    low_at, high_at = (n - 1) * probability, (n - 1) * (1.0 - probability)
    i, j = int(low_at), int(high_at)
    ordered = np.partition(values, i)
    low, above_low = float(ordered[i]), ordered[i + 1 :]
    low_next = least(above_low, low)
    high, high_next = low, low_next
    if j > i:
        above_low.partition(j - i - 1)  # in place, so the tail of `ordered` too
        high = float(ordered[j])
        high_next = least(ordered[j + 1 :], high)
    # Sorted, because a partition may leave the values below it in any order, and the
    # last bits of a sum depend on the order.
    worst = np.sort(ordered[: i + 1])
    return Tails(
        low=low + (low_next - low) * (low_at - i),
        mean_below=float(np.add.reduce(worst)) / worst.size,
        high=high + (high_next - high) * (high_at - j),
    )


def least(values: FloatVector, otherwise: float) -> float:
    """Return the least value, or `otherwise` of an empty series."""
    return float(np.minimum.reduce(values)) if values.size else otherwise


def drawdown(equity: FloatVector, start: float) -> tuple[float, int]:
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


def starting_equity(
    equity: FloatVector, initial_cash: float, deposits: FloatVector
) -> FloatVector:
    """Return what each bar starts from: the equity before it and what is put in."""
    starting = np.empty(equity.size)
    starting[:1] = initial_cash
    starting[1:] = equity[:-1]
    starting += deposits
    return starting


def growth_path(
    equity: FloatVector, initial_cash: float, deposits: FloatVector
) -> tuple[FloatVector, float]:
    """Return an equity that deposits do not move, and where it starts.

    Without deposits it is the equity itself, else the product of the growth of all
    bars.  A bar that starts from nothing, as after a ruin, leaves it as it is.
    """
    if not deposits.any():
        return equity, initial_cash
    starting = starting_equity(equity, initial_cash, deposits)
    solvent = starting > 0.0
    growth = np.where(solvent, equity / np.where(solvent, starting, 1.0), 1.0)
    return np.multiply.accumulate(growth), 1.0


def growth_per_year(growth: float, n_bars: int, bars_per_year: float) -> float:
    """Annualise a growth factor over `n_bars`; NaN below 0."""
    check_bars_per_year(bars_per_year)
    if growth < 0.0:
        return math.nan
    try:
        return float(growth ** (bars_per_year / n_bars)) - 1.0
    except OverflowError:
        return math.inf


def sortino_ratio(
    mean_excess: float, losses: FloatVector, bars_per_year: float
) -> float:
    """Return the annualised mean excess over the root mean square of the losses."""
    mean_square = float(np.add.reduce(losses * losses)) / losses.size
    return ratio(mean_excess, math.sqrt(mean_square)) * math.sqrt(bars_per_year)


def gain_loss_ratio(values: FloatVector, losses: FloatVector) -> float:
    """Return the sum of gains over the sum of losses."""
    gains = float(np.add.reduce(np.maximum(values, 0.0)))
    return ratio(gains, -float(np.add.reduce(losses)))


def hits(values: FloatVector) -> float:
    """Return the share of gains among the returns that are not 0."""
    n_wins = int(np.count_nonzero(values > 0.0))
    return ratio(n_wins, int(np.count_nonzero(values)))


def check_bars_per_year(bars_per_year: float) -> None:
    """Raise ConfigError unless the number is positive."""
    if not bars_per_year > 0.0:
        msg = f"bars_per_year must be positive, got {bars_per_year!r}."
        raise ConfigError(msg)


def risk_free_per_bar(risk_free: float, bars_per_year: float) -> float:
    """Return what an annual rate earns in one bar."""
    check_bars_per_year(bars_per_year)
    if not risk_free > -1.0:
        msg = f"risk_free must be above -1, got {risk_free!r}."
        raise ConfigError(msg)
    if risk_free == 0.0:
        return 0.0
    return float((1.0 + risk_free) ** (1.0 / bars_per_year)) - 1.0


def ratio(numerator: float, denominator: float) -> float:
    """Divide; NaN by 0."""
    return numerator / denominator if denominator != 0.0 else math.nan


def vector(values: npt.ArrayLike, name: str) -> FloatVector:
    """Return an array of one dimension, or raise SchemaError."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        msg = f"{name} must have one dimension, got an array of shape {array.shape}."
        raise SchemaError(msg)
    return array


def finite(returns: npt.ArrayLike) -> FloatVector:
    """Return the returns as an array, empty when one of them is NaN or infinite."""
    array = vector(returns, "returns")
    return array if np.isfinite(array).all() else array[:0]
