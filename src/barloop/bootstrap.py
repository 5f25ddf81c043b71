"""Tests of whether the best of many sets beats a benchmark by more than luck.

White's reality check and Hansen's test of superior predictive ability, over resamples
of the bars by the stationary bootstrap.  Returns are per bar, and nothing in here is
annual but `risk_free`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from barloop.resampling import (
    Resampler,
    automatic_block_length,
    stationary_bootstrap_indices,
)

__all__ = [
    "RealityCheck",
    "SuperiorPredictiveAbility",
    "automatic_block_length",
    "reality_check",
    "stationary_bootstrap_indices",
    "superior_predictive_ability",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RealityCheck:
    """Result of White's reality check.

    Attributes
    ----------
    p_value : float
        Share of the resamples in which the best set does as well by luck; NaN when no
        set can be tested.
    statistic : float
        ``sqrt(n_bars)`` times the mean difference of the best set, per bar.
    best : int
        Number of the set with the highest mean difference; -1 when there is none.
    best_mean : float
        Its mean difference from the benchmark, per bar.
    n_bars, n_sets, n_constant, n_bootstrap : int
        Bars; sets; sets left out because their difference never varies; resamples.
    mean_block_length : float
        Bars in a block, on average.
    """

    p_value: float
    statistic: float
    best: int
    best_mean: float
    n_bars: int
    n_sets: int
    n_constant: int
    n_bootstrap: int
    mean_block_length: float

    def __str__(self) -> str:
        p_value = _shown(self.p_value, self.n_bootstrap)
        return f"Reality check: p = {p_value}, {_finding(self)}.\n{_how(self)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperiorPredictiveAbility:
    """Result of Hansen's test of superior predictive ability.

    Attributes
    ----------
    lower, consistent, upper : float
        P-values.  The consistent one is to be reported; the lower one forgets all sets
        that are worse than the benchmark, the upper one takes every set to be as good
        as the benchmark.  NaN when no set can be tested.
    statistic : float
        Largest mean difference over its standard error, at least 0.
    best : int
        Number of the set that has it; -1 when there is none.
    best_mean : float
        Its mean difference from the benchmark, per bar.
    n_bars, n_sets, n_constant, n_bootstrap : int
        Bars; sets; sets left out because their difference never varies; resamples.
    mean_block_length : float
        Bars in a block, on average.
    """

    lower: float
    consistent: float
    upper: float
    statistic: float
    best: int
    best_mean: float
    n_bars: int
    n_sets: int
    n_constant: int
    n_bootstrap: int
    mean_block_length: float

    @property
    def p_value(self) -> float:
        """The consistent p-value."""
        return self.consistent

    def __str__(self) -> str:
        p, low, high = (
            _shown(value, self.n_bootstrap)
            for value in (self.consistent, self.lower, self.upper)
        )
        return (
            f"Superior predictive ability: p = {p} (lower {low}, upper {high}), "
            f"{_finding(self)}, {self.statistic:.2f} standard errors.\n{_how(self)}"
        )


def reality_check(
    returns: npt.ArrayLike,
    benchmark: npt.ArrayLike | None = None,
    *,
    n_bootstrap: int = 1000,
    mean_block_length: float | None = None,
    risk_free: float = 0.0,
    bars_per_year: float | None = None,
    seed: int | np.random.Generator = 0,
) -> RealityCheck:
    """Test whether the best of many sets beats a benchmark, after White (2000).

    Parameters
    ----------
    returns : array of shape (n_bars, n_sets)
        Simple returns of all sets that were tried, good and bad, all finite; at least
        16 bars.
    benchmark : array of shape (n_bars,), optional
        Returns of the benchmark on the same bars.  None stands for cash that earns
        `risk_free`.
    n_bootstrap : int, default 1000
        Number of resamples; the p-value is a multiple of ``1 / n_bootstrap``.
    mean_block_length : float, optional
        Bars in a block, on average, from 1; when not given, the mean over the sets of
        `automatic_block_length`.
    risk_free : float, default 0.0
        Annual rate of cash, a fraction; only without a benchmark.
    bars_per_year : float, optional
        Number of bars in a year; needed with a `risk_free` other than 0.
    seed : int or numpy Generator, default 0
        Where the draws come from.

    Returns
    -------
    RealityCheck
        ``print`` explains it in two lines.

    Raises
    ------
    SchemaError
        If there are too few bars, or a return is not finite.
    ConfigError
        If a setting is out of range.

    See Also
    --------
    superior_predictive_ability : The same with standard errors, and more powerful.

    Notes
    -----
    With ``d`` the returns less the benchmark and ``d*`` their resample, the share of
    the resamples in which ``max(mean(d*) - mean(d))`` over the sets is at least
    ``max(mean(d))``.  An equal one counts against the sets.

    A set whose difference varies by no more than rounding, such as one that never
    trades, says nothing about skill: it is left out and counted in ``n_constant``.

    References
    ----------
    H. White (2000), "A reality check for data snooping", Econometrica 68(5).
    D. N. Politis and J. P. Romano (1994), "The stationary bootstrap", Journal of the
    American Statistical Association 89(428).

    Examples
    --------
    >>> import numpy as np
    >>> from barloop.bootstrap import reality_check
    >>> noise = np.random.default_rng(7).normal(0.0, 0.01, (500, 20))
    >>> reality_check(noise).p_value > 0.05
    True
    """
    resampler = Resampler.prepare(
        returns,
        benchmark,
        n_bootstrap=n_bootstrap,
        mean_block_length=mean_block_length,
        risk_free=risk_free,
        bars_per_year=bars_per_year,
        seed=seed,
    )
    tested = resampler.tested
    mean = resampler.total * resampler.unit / resampler.n_bars
    statistic = p_value = best_mean = math.nan
    best = -1
    if tested.any():
        best = int(np.argmax(np.where(tested, mean, -np.inf)))
        best_mean = float(mean[best])
        # In the units of the sums, as the resamples are, so that equal is equal.
        value = float(np.maximum.reduce((resampler.total * resampler.unit)[tested]))
        statistic = value / math.sqrt(resampler.n_bars)
        luck = resampler.maxima(resampler.unit, [resampler.total])[0]
        p_value = int(np.count_nonzero(luck >= value)) / luck.size
    return RealityCheck(
        p_value=p_value,
        statistic=statistic,
        best=best,
        best_mean=best_mean,
        n_bars=resampler.n_bars,
        n_sets=tested.size,
        n_constant=int(np.count_nonzero(~tested)),
        n_bootstrap=resampler.n_bootstrap,
        mean_block_length=resampler.mean_block_length,
    )


def superior_predictive_ability(
    returns: npt.ArrayLike,
    benchmark: npt.ArrayLike | None = None,
    *,
    n_bootstrap: int = 1000,
    mean_block_length: float | None = None,
    risk_free: float = 0.0,
    bars_per_year: float | None = None,
    seed: int | np.random.Generator = 0,
) -> SuperiorPredictiveAbility:
    """Test whether the best of many sets beats a benchmark, after Hansen (2005).

    Parameters
    ----------
    returns, benchmark, n_bootstrap, mean_block_length, risk_free, bars_per_year, seed
        As in `reality_check`.

    Returns
    -------
    SuperiorPredictiveAbility
        ``print`` explains it in two lines.

    Raises
    ------
    SchemaError
        If there are too few bars, or a return is not finite.
    ConfigError
        If a setting is out of range.

    Notes
    -----
    The statistic is ``max(t)`` over the sets, at least 0, with ``t = sqrt(n) * mean(d)
    / omega``.  ``omega ** 2`` is the variance of ``sqrt(n) * mean(d*)`` over all
    resamples there could be, in closed form: the autocovariances of ``d`` at lag i
    weighted by ``(1 - i/n) * (1 - p) ** i + i/n * (1 - p) ** (n - i)``, with ``p = 1 /
    mean_block_length``.  A resample has ``max(sqrt(n) * (mean(d*) - g) / omega)``, at
    least 0, with ``g`` the mean of a set:

    - lower: where it is above 0, else 0;
    - consistent: where ``t >= -sqrt(2 * log(log(n)))``, else 0;
    - upper: always.

    The p-values are the shares of the resamples that are at least the statistic.  A set
    whose difference varies by no more than rounding is left out and counted in
    ``n_constant``.

    References
    ----------
    P. R. Hansen (2005), "A test for superior predictive ability", Journal of Business
    and Economic Statistics 23(4).

    Examples
    --------
    >>> import numpy as np
    >>> from barloop.bootstrap import superior_predictive_ability
    >>> noise = np.random.default_rng(7).normal(0.0, 0.01, (500, 20))
    >>> noise[:, 3] += 0.002
    >>> spa = superior_predictive_ability(noise)
    >>> spa.best, spa.consistent < 0.05
    (3, True)
    """
    resampler = Resampler.prepare(
        returns,
        benchmark,
        n_bootstrap=n_bootstrap,
        mean_block_length=mean_block_length,
        risk_free=risk_free,
        bars_per_year=bars_per_year,
        seed=seed,
    )
    n_bars = resampler.n_bars
    tested = resampler.tested
    statistic = best_mean = math.nan
    p_values = [math.nan] * 3
    best = -1
    if tested.any():
        total = resampler.total
        omega = np.where(tested, resampler.omega, 1.0)
        scale = resampler.unit / (math.sqrt(n_bars) * omega)
        t = total * scale
        best = int(np.argmax(np.where(tested, t, -np.inf)))
        best_mean = float(total[best] * resampler.unit[best]) / n_bars
        statistic = max(float(t[best]), 0.0)
        is_near = t >= -math.sqrt(2.0 * math.log(math.log(n_bars)))
        centres = [np.maximum(total, 0.0), np.where(is_near, total, 0.0), total]
        p_values = [
            int(np.count_nonzero(np.maximum(luck, 0.0) >= statistic)) / luck.size
            for luck in resampler.maxima(scale, centres)
        ]
    return SuperiorPredictiveAbility(
        lower=p_values[0],
        consistent=p_values[1],
        upper=p_values[2],
        statistic=statistic,
        best=best,
        best_mean=best_mean,
        n_bars=n_bars,
        n_sets=tested.size,
        n_constant=int(np.count_nonzero(~tested)),
        n_bootstrap=resampler.n_bootstrap,
        mean_block_length=resampler.mean_block_length,
    )


def _shown(p_value: float, n_bootstrap: int) -> str:
    """Write a p-value with the digits that the resamples give it."""
    if p_value == 0.0:
        return f"below {1.0 / n_bootstrap:.2g}"
    return f"{p_value:.{max(2, math.ceil(math.log10(n_bootstrap)))}f}"


def _finding(result: RealityCheck | SuperiorPredictiveAbility) -> str:
    n_tested = result.n_sets - result.n_constant
    if n_tested == 0:
        return "no set varies against the benchmark, so there is nothing to test"
    return (
        f"the probability that the best of {_sets(n_tested)} without any edge does as "
        f"well as set {result.best}, which beats the benchmark by "
        f"{result.best_mean:.4%} a bar"
    )


def _how(result: RealityCheck | SuperiorPredictiveAbility) -> str:
    text = (
        f"{result.n_bootstrap:,} resamples of {result.n_bars:,} bars in blocks of "
        f"{result.mean_block_length:.1f} on average"
    )
    if result.n_constant:
        text += f"; {_sets(result.n_constant)} without any variation left out"
    return f"{text}."


def _sets(n: int) -> str:
    return f"{n:,} set" if n == 1 else f"{n:,} sets"
