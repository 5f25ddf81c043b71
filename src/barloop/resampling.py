"""Resamples of the bars of many sets, by the stationary bootstrap.

All sets are drawn on the same bars, in blocks of random length, so that what they share
over time and among each other is kept.  A resample is no more than the number of times
that each bar was drawn, and its sums are one product of these counts with the returns.
The returns are rounded to whole multiples of about 1e-12 of a set's largest one (fewer
digits beyond 8,192 bars), so that every product and sum is exact: the bits of a result
do not depend on the number of threads, on the order of the sets or on how they are cut
into chunks.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from barloop.checks import require_number
from barloop.errors import ConfigError, SchemaError
from barloop.numerics import vector
from barloop.returns_block import (
    ROOM,
    is_constant,
    mean_of,
    rate_per_bar,
    returns_block,
    sets_by_row,
)
from barloop.typing import BoolVector, FloatBlock, FloatVector, IntBlock, IntVector

LEAST_BARS = 16
"""Fewer bars have no autocorrelation to speak of."""

WORK = 8 * ROOM
"""Values in the largest work arrays, 8 MB each."""

EXACT_BITS = 53
"""Whole numbers up to 2 ** 53 are exact in float64."""


def automatic_block_length(returns: npt.ArrayLike) -> FloatVector:
    """Choose the mean block length of the stationary bootstrap for each series.

    Parameters
    ----------
    returns : array of shape (n_bars, n_sets)
        Finite; at least 16 bars.

    Returns
    -------
    ndarray of shape (n_sets,)
        A number of bars, at least 1 and at most ``min(3 * sqrt(n), n / 3)``, rounded
        up; NaN for a series that does not vary.

    Raises
    ------
    SchemaError
        If there are too few bars, or a value is not finite.

    Notes
    -----
    ``(G / g) ** (2 / 3) * n ** (1 / 3)`` with ``g`` the sum of the autocovariances over
    all lags, ``G`` that of the same times the lag, both weighted by ``min(1, 2 * (1 -
    lag / M))`` up to ``M``.  ``M`` is twice the first lag from which on 5 (for 1e6 bars
    and more, ``log10(n)``) autocorrelations in a row are inside ``2 * sqrt(log10(n) /
    n)``, and at most ``ceil(sqrt(n)) + 5``.  As in the program of Patton for the
    correction of 2009; the article counts from the lag before.

    References
    ----------
    D. N. Politis and H. White (2004), "Automatic block-length selection for the
    dependent bootstrap", Econometric Reviews 23(1); A. Patton, D. N. Politis and H.
    White (2009), the correction, Econometric Reviews 28(4).
    """
    block = returns_block(returns, least_bars=LEAST_BARS)
    return _block_lengths(block, np.zeros(block.shape[0]))


def stationary_bootstrap_indices(
    n_bars: int,
    *,
    mean_block_length: float,
    n_bootstrap: int = 1,
    seed: int | np.random.Generator = 0,
) -> IntBlock:
    """Draw bars in blocks of random length, after Politis and Romano (1994).

    Parameters
    ----------
    n_bars : int
        Number of bars to draw from, and to draw.
    mean_block_length : float
        Bars in a block, on average: from 1, which draws every bar alone, to `n_bars`.
    n_bootstrap : int, default 1
        Number of resamples.
    seed : int or numpy Generator, default 0
        Where the draws come from.

    Returns
    -------
    ndarray of shape (n_bootstrap, n_bars), int64
        Bars; the first follows the last.

    Raises
    ------
    ConfigError
        If a number is out of range.

    Examples
    --------
    >>> from barloop.resampling import stationary_bootstrap_indices
    >>> stationary_bootstrap_indices(8, mean_block_length=4, seed=1)
    array([[3, 4, 5, 6, 7, 1, 2, 3]])
    """
    n = _count("n_bars", n_bars)
    length = _checked_length(mean_block_length, n)
    draws = _draws(n, length, _generator(seed))
    return np.stack([next(draws) for _ in range(_count("n_bootstrap", n_bootstrap))])


def _draws(
    n_bars: int, mean_block_length: float, generator: np.random.Generator
) -> Iterator[IntVector]:
    """Yield one resample after another, whatever is done with them."""
    p = 1.0 / mean_block_length
    at = np.arange(n_bars)
    while True:
        fresh = generator.integers(n_bars, size=n_bars)
        starts = generator.random(n_bars) <= p
        # The first bar of all starts a block either way: its place is 0.
        last_start = np.maximum.accumulate(np.where(starts, at, 0))
        yield (fresh[last_start] + (at - last_start)) % n_bars


class Resampler(NamedTuple):
    """Differences from the benchmark, what is known of each set, and the draws."""

    block: FloatBlock  # (n_bars, n_sets)
    benchmark: FloatVector  # (n_bars,)
    n_bootstrap: int
    mean_block_length: float
    generator: np.random.Generator
    tested: BoolVector  # (n_sets,) the difference varies
    total: FloatVector  # (n_sets,) sum of the difference, in units
    unit: FloatVector  # (n_sets,) what a whole number stands for, a power of 2
    omega: FloatVector  # (n_sets,) deviation of sqrt(n) times a resampled mean

    @property
    def n_bars(self) -> int:
        """Number of bars, of the returns and of a resample."""
        return self.benchmark.size

    @classmethod
    def prepare(
        cls,
        returns: npt.ArrayLike,
        benchmark: npt.ArrayLike | None,
        *,
        n_bootstrap: int,
        mean_block_length: float | None,
        risk_free: float,
        bars_per_year: float | None,
        seed: int | np.random.Generator,
    ) -> Resampler:
        """Check the arguments of a test and measure each set.

        Parameters
        ----------
        returns, benchmark, n_bootstrap, mean_block_length : optional
            As in `barloop.bootstrap.reality_check`.
        risk_free, bars_per_year, seed : optional
            As in `barloop.bootstrap.reality_check`.

        Raises
        ------
        SchemaError, ConfigError
            If they do not fit.
        """
        count = _count("n_bootstrap", n_bootstrap)
        generator = _generator(seed)
        block = returns_block(returns, least_bars=LEAST_BARS)
        n_bars, n_sets = block.shape
        series = _benchmark(benchmark, n_bars, risk_free, bars_per_year)
        if mean_block_length is None:
            lengths = _block_lengths(block, series)
            lengths = lengths[~np.isnan(lengths)]
            length = mean_of(lengths) if lengths.size else math.nan
        else:
            length = _checked_length(mean_block_length, n_bars)
        tested = np.zeros(n_sets, dtype=np.bool_)
        total, unit, omega = np.zeros(n_sets), np.ones(n_sets), np.ones(n_sets)
        if not math.isnan(length):
            weights = _lag_weights(n_bars, length)
            for sets, rows in sets_by_row(block):
                rows -= series
                constant = is_constant(rows)
                gamma = _autocovariances(rows, n_bars)
                variance = np.add.reduce(gamma * weights, axis=1)
                tested[sets] = ~constant & (variance > 1e-12 * gamma[:, 0])
                omega[sets] = np.sqrt(np.maximum(variance, 0.0))
                whole, unit[sets] = _whole_numbers(rows)
                total[sets] = np.add.reduce(whole, axis=1)
        return cls(
            block=block,
            benchmark=series,
            n_bootstrap=count,
            mean_block_length=length,
            generator=generator,
            tested=tested,
            total=total,
            unit=unit,
            omega=omega,
        )

    def maxima(
        self, scale: FloatVector, centres: list[FloatVector]
    ) -> list[FloatVector]:
        """Return ``max((sum - centre) * scale)`` over the tested sets.

        Parameters
        ----------
        scale : array of shape (n_sets,)
            Not negative.
        centres : list of arrays of shape (n_sets,)
            In the units of the sums.

        Returns
        -------
        list of ndarray of shape (n_bootstrap,)
            One maximum per resample, for each of `centres`.
        """
        n_bars = self.n_bars
        found = [np.full(self.n_bootstrap, -np.inf) for _ in centres]
        draws = _draws(n_bars, self.mean_block_length, self.generator)
        step = max(1, min(self.n_bootstrap, WORK // n_bars))
        counts = np.empty((step, n_bars))
        for start in range(0, self.n_bootstrap, step):
            n = min(step, self.n_bootstrap - start)
            for b in range(n):
                counts[b] = np.bincount(next(draws), minlength=n_bars)
            for sets, rows in sets_by_row(self.block, WORK):
                rows -= self.benchmark
                whole, _ = _whole_numbers(rows)
                tested = self.tested[sets]
                if not tested.any():
                    continue
                sums = counts[:n] @ whole[tested].T  # exact, see `_whole_numbers`
                of_sets = scale[sets][tested]
                for best, centre in zip(found, centres, strict=True):
                    luck = (sums - centre[sets][tested]) * of_sets
                    of_draws = best[start : start + n]
                    np.maximum(of_draws, np.maximum.reduce(luck, axis=1), out=of_draws)
        return found


def _whole_numbers(rows: FloatBlock) -> tuple[FloatBlock, FloatVector]:
    """Round each row to multiples of a power of 2, such that no sum can be inexact.

    The bars drawn are n, so a sum of multiples is below n times the largest: there are
    ``53 - log2(n)`` bits for each.  Overwrites `rows`.
    """
    n_bars = rows.shape[1]
    bits = EXACT_BITS - math.ceil(math.log2(n_bars))
    largest = np.maximum.reduce(np.abs(rows), axis=1)
    exponents = np.frexp(largest)[1] - bits
    np.ldexp(rows, -exponents[:, None], out=rows)
    np.rint(rows, out=rows)
    return rows, np.ldexp(np.ones(len(rows)), exponents)


def _autocovariances(rows: FloatBlock, n_lags: int) -> FloatBlock:
    """Return the autocovariances of each row at lags 0 to ``n_lags - 1``."""
    n_bars = rows.shape[1]
    centred = rows - (np.add.reduce(rows, axis=1) / n_bars)[:, None]
    size = 1 << (n_bars + n_lags - 1).bit_length()  # zeros, so that nothing wraps
    spectrum = np.fft.rfft(centred, size, axis=1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    gamma: FloatBlock = np.fft.irfft(power, size, axis=1)[:, :n_lags] / n_bars
    return gamma


def _lag_weights(n_bars: int, mean_block_length: float) -> FloatVector:
    """Return what each autocovariance adds to the variance of a resampled mean."""
    share = np.arange(n_bars) / n_bars
    stay = 1.0 - 1.0 / mean_block_length
    decay = stay ** np.arange(n_bars)
    weights = np.empty(n_bars)
    weights[0] = 1.0
    weights[1:] = 2.0 * ((1.0 - share[1:]) * decay[1:] + share[1:] * decay[:0:-1])
    return weights


def _block_lengths(block: FloatBlock, benchmark: FloatVector) -> FloatVector:
    n_bars, n_sets = block.shape
    run = max(5, int(math.log10(n_bars)))
    last = math.ceil(math.sqrt(n_bars)) + run
    band = 2.0 * math.sqrt(math.log10(n_bars) / n_bars)
    longest = float(math.ceil(min(3.0 * math.sqrt(n_bars), n_bars / 3.0)))
    lags = np.arange(1, last + 1)
    lengths = np.empty(n_sets)
    for sets, rows in sets_by_row(block):
        rows -= benchmark
        constant = is_constant(rows)
        rows[constant] = 0.0
        gamma = _autocovariances(rows, min(last + 1, n_bars))
        if gamma.shape[1] <= last:
            gamma = np.pad(gamma, ((0, 0), (0, last + 1 - gamma.shape[1])))
        small = np.abs(gamma[:, 1:last]) < band * gamma[:, :1]
        windows = np.lib.stride_tricks.sliding_window_view(small, run, axis=1)
        is_run = np.logical_and.reduce(windows, axis=2)
        has_run = np.logical_or.reduce(is_run, axis=1)
        first = np.where(has_run, np.argmax(is_run, axis=1) + 1, last)
        bandwidth = np.minimum(2 * first, last)[:, None]
        window = np.clip(2.0 * (1.0 - lags / bandwidth), 0.0, 1.0)
        weighted = 2.0 * window * gamma[:, 1:]
        slope = np.add.reduce(weighted * lags, axis=1)
        level = gamma[:, 0] + np.add.reduce(weighted, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            best = np.cbrt(np.square(slope / level) * n_bars)
        lengths[sets] = np.clip(best, 1.0, longest)
        lengths[sets][constant] = math.nan
    return lengths


def _benchmark(
    benchmark: npt.ArrayLike | None,
    n_bars: int,
    risk_free: float,
    bars_per_year: float | None,
) -> FloatVector:
    if benchmark is None:
        return np.full(n_bars, rate_per_bar(risk_free, bars_per_year))
    if np.ndim(benchmark) == 0:
        msg = (
            f"benchmark must be a series of returns, got {benchmark!r}.\n"
            "Hint: for an annual rate, risk_free=0.02 and bars_per_year=252."
        )
        raise ConfigError(msg)
    if risk_free != 0.0:
        msg = (
            "risk_free is the benchmark when there is no other; with a benchmark it "
            "has no meaning.\nHint: leave one of them out."
        )
        raise ConfigError(msg)
    series = vector(benchmark, "benchmark")
    if series.size != n_bars:
        msg = f"benchmark has {series.size} values, returns have {n_bars} bars."
        raise SchemaError(msg)
    if not np.isfinite(series).all():
        t = int(np.flatnonzero(~np.isfinite(series))[0])
        msg = f"benchmark must be finite, it is {float(series[t])!r} at bar {t}."
        raise SchemaError(msg)
    return series


def _count(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        msg = f"{name} must be a whole number from 1, got {value!r}."
        raise ConfigError(msg)
    return int(value)


def _checked_length(mean_block_length: float, n_bars: int) -> float:
    length = require_number("mean_block_length", mean_block_length, low=1.0)
    if length > n_bars:
        msg = (
            f"mean_block_length must be at most the number of bars, {n_bars}, got "
            f"{mean_block_length!r}."
        )
        raise ConfigError(msg)
    return length


def _generator(seed: int | np.random.Generator) -> np.random.Generator:
    if isinstance(seed, np.random.Generator):
        return seed
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or seed < 0:
        msg = f"seed must be a whole number from 0 or a numpy Generator, got {seed!r}."
        raise ConfigError(msg)
    return np.random.default_rng(int(seed))
