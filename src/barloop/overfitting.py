"""How much of a Sharpe ratio is left when the trials behind it are counted.

Conventions of every function here:

- `returns` are simple returns of successive bars, after costs, a fraction.
- **A Sharpe ratio has a unit.**  With ``bars_per_year=252`` every ratio that goes in or
  comes out is annual, as `barloop.metrics.sharpe` and the metrics of a sweep give it;
  with ``bars_per_year=1`` every ratio is per bar.  Where a ratio is passed,
  `bars_per_year` has no default: an annual ratio taken for one per bar would turn any
  result into certainty.  The variance of annual ratios is annual too.
- `n_bars` and all lengths are numbers of bars, never years.
- `kurtosis` is Pearson's, 3 for a normal distribution.  `barloop.metrics.kurtosis` is
  the excess over that: add 3.  A pair of skew and kurtosis that no series can have is
  refused.
- `risk_free` is an annual rate, a fraction, taken off the returns.
- NaN rule: the functions that return a number give NaN where it is undefined: for
  returns with a NaN or an infinite value, fewer than two of them, or none that differ
  by more than rounding, and for a NaN among the moments.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from barloop.checks import require_number
from barloop.errors import ConfigError
from barloop.numerics import check_bars_per_year, finite, moments_of, ratio, vector
from barloop.overfitting_probability import (
    PBOResult,
    probability_of_backtest_overfitting,
)
from barloop.returns_block import is_constant, rate_per_bar, returns_block, sets_by_row
from barloop.typing import FloatBlock, FloatVector

__all__ = [
    "PBOResult",
    "deflated_sharpe_ratio",
    "expected_maximum_sharpe",
    "minimum_backtest_length",
    "minimum_track_record_length",
    "probabilistic_sharpe_ratio",
    "probability_of_backtest_overfitting",
]

EULER_MASCHERONI = 0.5772156649015329
_NORMAL = NormalDist()


class _Record(NamedTuple):
    """What is known of a track record; ratios per bar."""

    sharpe: float
    n_bars: float
    skew: float
    kurtosis: float  # Pearson's

    def spread(self) -> float:
        """Return the variance of the estimated ratio, times ``n_bars - 1``."""
        s = self.sharpe
        # Not below 0 for moments that a series can have, but for rounding.
        return max(1.0 - self.skew * s + (self.kurtosis - 1.0) / 4.0 * s * s, 0.0)


def probabilistic_sharpe_ratio(
    returns: npt.ArrayLike | None = None,
    *,
    sharpe: float | None = None,
    n_bars: int | None = None,
    skew: float | None = None,
    kurtosis: float | None = None,
    benchmark_sharpe: float = 0.0,
    risk_free: float = 0.0,
    bars_per_year: float | None = None,
) -> float:
    """Compute the probability that the true Sharpe ratio is above a benchmark.

    Parameters
    ----------
    returns : array of shape (n,), optional
        Simple returns.  Either these, or the four numbers that follow.
    sharpe : float, optional
        Sharpe ratio that was measured, annual or per bar as `bars_per_year` says.
    n_bars : int, optional
        Number of returns behind it.
    skew, kurtosis : float, optional
        Of the returns per bar; those of a normal distribution, 0 and 3, when not given.
    benchmark_sharpe : float, default 0.0
        Ratio to be above, in the unit of `sharpe`.
    risk_free : float, default 0.0
        Annual rate that is taken off the returns.
    bars_per_year : float, optional
        252 when the ratios are annual, of daily bars; 1 when they are per bar.  Needed
        with `sharpe`, with a `benchmark_sharpe` or `risk_free` other than 0.

    Returns
    -------
    float
        A probability from 0 to 1.

    Raises
    ------
    ConfigError
        If the arguments do not fit together.

    See Also
    --------
    deflated_sharpe_ratio : The same against the best of many trials.

    Notes
    -----
    ``N((s - b) * sqrt(n - 1) / sqrt(1 - skew * s + (kurtosis - 1) / 4 * s ** 2))``
    with ``s`` and ``b`` the ratios per bar and ``N`` the normal distribution function.
    The deviation in ``s`` has ``ddof=1``; skew and kurtosis are moments of the sample.
    Returns are taken for independent of each other in time.

    References
    ----------
    D. H. Bailey and M. Lopez de Prado (2012), "The Sharpe ratio efficient frontier",
    Journal of Risk 15(2).

    Examples
    --------
    >>> from barloop.overfitting import probabilistic_sharpe_ratio
    >>> p = probabilistic_sharpe_ratio(sharpe=1.0, n_bars=1260, bars_per_year=252)
    >>> round(p, 3)
    0.987
    """
    record = _record(
        returns,
        sharpe=sharpe,
        n_bars=n_bars,
        skew=skew,
        kurtosis=kurtosis,
        risk_free=risk_free,
        bars_per_year=bars_per_year,
    )
    return _probability(record, _per_bar(benchmark_sharpe, bars_per_year))


def expected_maximum_sharpe(n_trials: float, variance: float) -> float:
    """Compute the best Sharpe ratio to expect of trials without any skill.

    Parameters
    ----------
    n_trials : float
        Number of independent trials, from 1; need not be whole.
    variance : float
        Variance of the Sharpe ratios over the trials.

    Returns
    -------
    float
        A ratio in the unit of the square root of `variance`: annual ratios have an
        annual variance and give an annual result.

    Raises
    ------
    ConfigError
        If a number is out of range.

    Notes
    -----
    ``sqrt(variance) * ((1 - g) * Q(1 - 1 / n) + g * Q(1 - 1 / (n * e)))`` with ``Q``
    the quantile of the normal distribution and ``g`` the constant of Euler and
    Mascheroni; 0 for one trial, and never less.  It is 0.9 % above the exact
    expectation for 100 trials and 8 % below it for 2.

    References
    ----------
    D. H. Bailey and M. Lopez de Prado (2014), "The deflated Sharpe ratio", Journal of
    Portfolio Management 40(5).

    Examples
    --------
    >>> from barloop.overfitting import expected_maximum_sharpe
    >>> round(expected_maximum_sharpe(100, 0.5), 3)
    1.789
    """
    n = require_number("n_trials", n_trials, low=1.0)
    if n == 1.0:
        return 0.0
    if math.isnan(variance):
        return math.nan
    require_number("variance", variance, low=0.0)
    # -Q(p) is Q(1 - p), and exact where 1 - p would round to 1.
    high = -_NORMAL.inv_cdf(1.0 / n)
    higher = -_NORMAL.inv_cdf(1.0 / (n * math.e))
    scale = (1.0 - EULER_MASCHERONI) * high + EULER_MASCHERONI * higher
    return math.sqrt(variance) * max(scale, 0.0)


def deflated_sharpe_ratio(
    returns: npt.ArrayLike | None = None,
    *,
    trial_sharpes: npt.ArrayLike | None = None,
    n_trials: float | None = None,
    trials_variance: float | None = None,
    sharpe: float | None = None,
    n_bars: int | None = None,
    skew: float | None = None,
    kurtosis: float | None = None,
    risk_free: float = 0.0,
    bars_per_year: float | None = None,
) -> float:
    """Compute the probability that the best of many trials has any skill at all.

    Parameters
    ----------
    returns : array of shape (n,) or (n_bars, n_sets), optional
        Simple returns of the set that was chosen.  Or of all sets: then the one with
        the highest Sharpe ratio is the chosen one and each is a trial.  Or None, and
        the moments of the chosen set.
    trial_sharpes : array of shape (n_trials,), optional
        Sharpe ratios of all trials, the chosen one included.  NaN, as of a set that
        failed or never traded, is no trial.
    n_trials : float, optional
        Number of independent trials; the number of ratios when not given.  Count what
        was tried earlier, too.
    trials_variance : float, optional
        Variance of the trials' Sharpe ratios, instead of the ratios themselves.
    sharpe, n_bars, skew, kurtosis : optional
        As in `probabilistic_sharpe_ratio`, of the chosen set.
    risk_free : float, default 0.0
        Annual rate that is taken off the returns.
    bars_per_year : float, optional
        252 when the ratios are annual, of daily bars; 1 when they are per bar.  Only
        returns of all sets do not need it.

    Returns
    -------
    float
        A probability from 0 to 1.

    Raises
    ------
    ConfigError
        If the arguments do not fit together.
    SchemaError
        If the returns of all sets are not finite.

    Notes
    -----
    The `probabilistic_sharpe_ratio` above `expected_maximum_sharpe` of the trials.  The
    variance over the trials has ``ddof=1``.  Sets that resemble each other are fewer
    independent trials than there are sets: their number is then an upper bound, and
    the result a lower one.

    References
    ----------
    D. H. Bailey and M. Lopez de Prado (2014), "The deflated Sharpe ratio", Journal of
    Portfolio Management 40(5).

    Examples
    --------
    The example of the article, all ratios annual, 250 bars a year:

    >>> from barloop.overfitting import deflated_sharpe_ratio
    >>> p = deflated_sharpe_ratio(
    ...     sharpe=2.5, n_bars=1250, skew=-3, kurtosis=10,
    ...     n_trials=100, trials_variance=0.5, bars_per_year=250,
    ... )
    >>> round(p, 4)
    0.9004
    """
    if returns is not None and np.ndim(returns) == 2:
        if trial_sharpes is not None or trials_variance is not None:
            msg = (
                "returns of all sets have the trials in them, trial_sharpes and "
                "trials_variance say them again.\n"
                "Hint: pass the returns of the chosen set alone, shape (n,)."
            )
            raise ConfigError(msg)
        rate = rate_per_bar(risk_free, bars_per_year)
        block = returns_block(returns, least_bars=2)
        trials = _sharpes(block, rate)
        if np.isnan(trials).all():
            return math.nan
        returns = block[:, int(np.nanargmax(trials))]
        unit = 1.0
    else:
        if bars_per_year is None:
            msg = (
                "the Sharpe ratios of the trials have a unit, and bars_per_year is "
                f"missing.\n{_UNIT_HINT}"
            )
            raise ConfigError(msg)
        check_bars_per_year(bars_per_year)
        has_both = n_trials is not None and trials_variance is not None
        if (trial_sharpes is None) != has_both or (
            trial_sharpes is not None and trials_variance is not None
        ):
            msg = (
                "the trials need either trial_sharpes, or n_trials and "
                "trials_variance.\n"
                'Hint: trial_sharpes=runs.metrics["sharpe"] of a sweep.'
            )
            raise ConfigError(msg)
        trials = vector([] if trial_sharpes is None else trial_sharpes, "trial_sharpes")
        unit = bars_per_year
    record = _record(
        returns,
        sharpe=sharpe,
        n_bars=n_bars,
        skew=skew,
        kurtosis=kurtosis,
        risk_free=risk_free,
        bars_per_year=bars_per_year,
    )
    trials = trials[~np.isnan(trials)]
    n = float(trials.size) if n_trials is None else n_trials
    if n == 0.0 and n_trials is None:
        return math.nan
    if trials_variance is None:
        trials_variance = moments_of(trials).deviation ** 2
    benchmark = expected_maximum_sharpe(n, trials_variance) / math.sqrt(unit)
    return _probability(record, benchmark)


def minimum_track_record_length(
    returns: npt.ArrayLike | None = None,
    *,
    sharpe: float | None = None,
    skew: float | None = None,
    kurtosis: float | None = None,
    benchmark_sharpe: float = 0.0,
    probability: float = 0.95,
    risk_free: float = 0.0,
    bars_per_year: float | None = None,
) -> float:
    """Compute how many bars prove that a Sharpe ratio is above a benchmark.

    Parameters
    ----------
    returns : array of shape (n,), optional
        Simple returns.  Either these, or the numbers that follow.
    sharpe, skew, kurtosis, benchmark_sharpe, risk_free, bars_per_year : optional
        As in `probabilistic_sharpe_ratio`.
    probability : float, default 0.95
        What counts as proof, from 0.5 and below 1.

    Returns
    -------
    float
        A number of bars, not rounded; divide by `bars_per_year` for years.  Infinite
        when the ratio is not above the benchmark: then no length is enough.

    Raises
    ------
    ConfigError
        If the arguments do not fit together.

    Notes
    -----
    ``1 + (1 - skew * s + (kurtosis - 1) / 4 * s ** 2) * (Q(probability) / (s - b)) **
    2``, the inverse of `probabilistic_sharpe_ratio`.

    References
    ----------
    D. H. Bailey and M. Lopez de Prado (2012), "The Sharpe ratio efficient frontier",
    Journal of Risk 15(2).

    Examples
    --------
    An annual ratio of 2, of normal daily returns, takes 0.7 years:

    >>> from barloop.overfitting import minimum_track_record_length
    >>> round(minimum_track_record_length(sharpe=2.0, bars_per_year=252))
    173
    """
    record = _record(
        returns,
        sharpe=sharpe,
        n_bars=2 if returns is None else None,
        skew=skew,
        kurtosis=kurtosis,
        risk_free=risk_free,
        bars_per_year=bars_per_year,
    )
    share = require_number("probability", probability, low=0.5, below=1.0)
    excess = record.sharpe - _per_bar(benchmark_sharpe, bars_per_year)
    if math.isnan(excess):
        return math.nan
    if excess <= 0.0:
        return math.inf
    quantile = _NORMAL.inv_cdf(share)
    return 1.0 + record.spread() * (quantile / excess) ** 2


def minimum_backtest_length(
    n_trials: float, *, sharpe: float, bars_per_year: float
) -> float:
    """Compute how many bars keep the best of skilless trials from looking good.

    Parameters
    ----------
    n_trials : float
        Number of independent trials, from 1.
    sharpe : float
        Ratio that the best of the trials is not expected to reach by luck; annual or
        per bar as `bars_per_year` says.
    bars_per_year : float
        252 when `sharpe` is annual, of daily bars; 1 when it is per bar.

    Returns
    -------
    float
        A number of bars, not rounded; divide by `bars_per_year` for years.

    Raises
    ------
    ConfigError
        If a number is out of range.

    Notes
    -----
    ``bars_per_year * (expected_maximum_sharpe(n_trials, 1) / sharpe) ** 2``: without
    skill, the variance of an annual ratio that was measured over y years is 1 / y.

    References
    ----------
    D. H. Bailey, J. M. Borwein, M. Lopez de Prado and Q. J. Zhu (2014),
    "Pseudo-mathematics and financial charlatanism", Notices of the AMS 61(5).

    Examples
    --------
    Of 45 variants on five years, one is expected to show a ratio of 1 by luck:

    >>> from barloop.overfitting import minimum_backtest_length
    >>> round(minimum_backtest_length(45, sharpe=1.0, bars_per_year=252) / 252, 1)
    5.0
    """
    check_bars_per_year(bars_per_year)
    target = require_number("sharpe", sharpe, above=0.0)
    return bars_per_year * (expected_maximum_sharpe(n_trials, 1.0) / target) ** 2


_UNIT_HINT = (
    "Hint: bars_per_year=252 if ratios are annual, of daily bars, as in the metrics of "
    "a run; bars_per_year=1 if they are per bar."
)


def _per_bar(sharpe: float, bars_per_year: float | None) -> float:
    """Return the benchmark per bar; 0 has no unit."""
    value = require_number("benchmark_sharpe", sharpe)
    if value == 0.0:
        return 0.0
    if bars_per_year is None:
        msg = f"benchmark_sharpe={sharpe!r} needs bars_per_year.\n{_UNIT_HINT}"
        raise ConfigError(msg)
    check_bars_per_year(bars_per_year)
    return value / math.sqrt(bars_per_year)


def _record(
    returns: npt.ArrayLike | None,
    *,
    sharpe: float | None,
    n_bars: int | None,
    skew: float | None,
    kurtosis: float | None,
    risk_free: float,
    bars_per_year: float | None,
) -> _Record:
    """Return what is known of a track record, from returns or from the moments."""
    if returns is not None:
        given = (sharpe, n_bars, skew, kurtosis)
        if any(value is not None for value in given):
            msg = (
                "sharpe, n_bars, skew and kurtosis follow from the returns.\n"
                "Hint: pass the returns, or the numbers."
            )
            raise ConfigError(msg)
        return _record_of(finite(returns), rate_per_bar(risk_free, bars_per_year))
    if sharpe is None or n_bars is None:
        msg = "either returns, or sharpe and n_bars are needed."
        raise ConfigError(msg)
    if bars_per_year is None:
        msg = f"sharpe={sharpe!r} needs bars_per_year.\n{_UNIT_HINT}"
        raise ConfigError(msg)
    check_bars_per_year(bars_per_year)
    if risk_free != 0.0:
        msg = (
            "risk_free is taken off returns; a sharpe that is given is already in "
            "excess of it.\nHint: leave risk_free out."
        )
        raise ConfigError(msg)
    require_number("n_bars", n_bars, low=2.0)
    third = 0.0 if skew is None else float(skew)
    fourth = 3.0 if kurtosis is None else float(kurtosis)
    least = 1.0 + third * third
    if fourth < least * (1.0 - 1e-9):
        msg = (
            f"kurtosis must be at least 1 + skew ** 2 = {least:g}, got {kurtosis!r}.\n"
            "Hint: kurtosis is 3 for a normal distribution here; add 3 to the excess "
            "kurtosis of barloop.metrics."
        )
        raise ConfigError(msg)
    return _Record(float(sharpe) / math.sqrt(bars_per_year), n_bars, third, fourth)


def _record_of(values: FloatVector, rate: float) -> _Record:
    if values.size < 2 or is_constant(values[None, :])[0]:
        return _Record(math.nan, values.size, math.nan, math.nan)
    moments = moments_of(values)
    sharpe = ratio(moments.mean - rate, moments.deviation)
    return _Record(sharpe, values.size, moments.skew, moments.kurtosis + 3.0)


def _sharpes(block: FloatBlock, rate: float) -> FloatVector:
    """Return the Sharpe ratio of each set, per bar; NaN where undefined."""
    sharpes = np.empty(block.shape[1])
    for sets, rows in sets_by_row(block):
        sharpes[sets] = [_record_of(row, rate).sharpe for row in rows]
    return sharpes


def _probability(record: _Record, benchmark: float) -> float:
    excess = record.sharpe - benchmark
    spread = record.spread()
    if math.isnan(excess) or math.isnan(spread):
        return math.nan
    if spread == 0.0:
        # Two values only, in a certain proportion: the ratio has no error.
        return 0.5 if excess == 0.0 else float(excess > 0.0)
    return _NORMAL.cdf(excess * math.sqrt(record.n_bars - 1.0) / math.sqrt(spread))
