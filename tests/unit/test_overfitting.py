"""Sharpe ratios after counting the trials: published numbers, oracles, laws, edges."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from statistics import NormalDist

import holdout
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barloop import metrics
from barloop.errors import ConfigError, SchemaError
from barloop.halves import block_edges, partitions
from barloop.overfitting import (
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    minimum_backtest_length,
    minimum_track_record_length,
    probabilistic_sharpe_ratio,
    probability_of_backtest_overfitting,
)

RTOL = 1e-12

PUBLISHED = {
    "sharpe": 2.5,
    "n_bars": 1250,
    "skew": -3,
    "kurtosis": 10,
    "bars_per_year": 250,
}


INTEREST = 0.0001 + np.random.default_rng(3).integers(-2, 3, 300) * 2.0**-52
"""Returns of cash: equal but for their last bits, as quotients of equities are."""


def noise(seed: int, n_bars: int = 500, n_sets: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.01, (n_bars, n_sets))


def skewed(seed: int, n_bars: int = 400) -> np.ndarray:
    """Returns with a mean, a skew of about -1.5 and fat tails."""
    generator = np.random.default_rng(seed)
    return 0.0008 + 0.01 * (1.0 - generator.gamma(1.8, 1.0, n_bars) / 1.8)


# --- the published example (Bailey and Lopez de Prado 2014) ------------------------


def test_published_expected_maximum_per_bar():
    # 100 trials, variance of the annual ratios 0.5, 250 bars a year.
    assert expected_maximum_sharpe(100, 0.5 / 250) == pytest.approx(0.1132, abs=5e-5)
    annual = expected_maximum_sharpe(100, 0.5)
    assert annual / math.sqrt(250) == pytest.approx(0.1132, abs=5e-5)


def test_published_deflated_sharpe_ratio():
    p = deflated_sharpe_ratio(**PUBLISHED, n_trials=100, trials_variance=0.5)
    assert p == pytest.approx(0.9004, abs=5e-5)


def test_published_example_per_bar_is_the_same():
    per_bar = PUBLISHED | {"sharpe": 2.5 / math.sqrt(250), "bars_per_year": 1}
    p = deflated_sharpe_ratio(**per_bar, n_trials=100, trials_variance=0.5 / 250)
    assert p == pytest.approx(0.9004, abs=5e-5)


def test_published_number_of_trials_that_is_still_significant():
    # The article: with 46 trials instead of 100 the result passes at 95 %.
    p = deflated_sharpe_ratio(**PUBLISHED, n_trials=46, trials_variance=0.5)
    assert p == pytest.approx(0.9505, abs=5e-4)


def test_published_minimum_backtest_length():
    # "If only 5 years of data are available, no more than 45 independent model
    # configurations should be tried" (Bailey and others 2014).
    years = minimum_backtest_length(45, sharpe=1.0, bars_per_year=252) / 252
    assert years == pytest.approx(5.0, abs=0.05)
    assert years < 2 * math.log(45)  # the bound of the article


# --- probabilistic Sharpe ratio ----------------------------------------------------


def test_probability_by_hand():
    # mean 0.01; deviations .02 -.02 .01 -.01, squares 4 4 1 1 e-4, sum 1e-3
    # variance (ddof=1) 1e-3 / 3, so the ratio is 0.01 / 0.0182574 = 0.5477226
    # skew 0; kurtosis ((16 + 16 + 1 + 1) e-8 / 4) / (2.5e-4) ** 2 = 8.5 / 6.25 = 1.36
    # spread 1 + 0.36 / 4 * 0.3 = 1.027; z = 0.5477226 * sqrt(3 / 1.027) = 0.936130
    p = probabilistic_sharpe_ratio([0.03, -0.01, 0.02, 0.0])
    assert p == pytest.approx(NormalDist().cdf(0.936130), abs=1e-6)


def test_probability_of_a_benchmark_by_hand():
    # 0.1 a bar against 0.05: z = 0.05 * sqrt(100) / sqrt(1 + 0.5 * 0.01) = 0.498755
    p = probabilistic_sharpe_ratio(
        sharpe=0.1, n_bars=101, benchmark_sharpe=0.05, bars_per_year=1
    )
    assert p == pytest.approx(NormalDist().cdf(0.498755), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("least", [0.0, 0.5, -1.0])
def test_probability_equals_holdout(seed, least):
    returns = skewed(seed)
    estimate = holdout.estimate_sharpe(returns)
    expected = holdout.probabilistic_sharpe_ratio(
        estimate.value,
        estimate.n,
        benchmark=least / math.sqrt(252),
        skewness=estimate.skewness,
        kurtosis=estimate.kurtosis,
    )
    p = probabilistic_sharpe_ratio(returns, benchmark_sharpe=least, bars_per_year=252)
    assert p == pytest.approx(expected, rel=1e-10)


def test_returns_and_their_metrics_give_the_same():
    returns = skewed(3)
    from_numbers = probabilistic_sharpe_ratio(
        sharpe=metrics.sharpe(returns, bars_per_year=252, risk_free=0.02),
        n_bars=returns.size,
        skew=metrics.skew(returns),
        kurtosis=metrics.kurtosis(returns) + 3,
        bars_per_year=252,
    )
    from_returns = probabilistic_sharpe_ratio(
        returns, risk_free=0.02, bars_per_year=252
    )
    assert from_numbers == pytest.approx(from_returns, rel=RTOL)


@given(
    sharpe=st.floats(-3, 3),
    n_bars=st.integers(2, 5000),
    skew=st.floats(-2, 2),
    extra=st.floats(0, 20),
    bars_per_year=st.sampled_from([1, 12, 52, 252, 98280]),
)
def test_probability_equals_holdout_whatever_the_moments(
    sharpe, n_bars, skew, extra, bars_per_year
):
    kurtosis = 1 + skew * skew + extra
    expected = holdout.probabilistic_sharpe_ratio(
        sharpe / math.sqrt(bars_per_year), n_bars, skewness=skew, kurtosis=kurtosis
    )
    p = probabilistic_sharpe_ratio(
        sharpe=sharpe,
        n_bars=n_bars,
        skew=skew,
        kurtosis=kurtosis,
        bars_per_year=bars_per_year,
    )
    assert 0.0 <= p <= 1.0
    assert p == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kind", ["normal", "skewed"])
def test_probability_of_returns_without_edge_is_uniform(kind):
    generator = np.random.default_rng(20)
    n, n_bars = 500, 400
    draws = generator.normal(0.0, 0.01, (n, n_bars))
    if kind == "skewed":
        draws = 0.01 * (1.0 - generator.gamma(4.0, 1.0, (n, n_bars)) / 4.0)
    values = np.sort([probabilistic_sharpe_ratio(row) for row in draws])
    distance = np.max(np.abs(values - (np.arange(n) + 0.5) / n))
    assert distance < 1.63 / math.sqrt(n)  # Kolmogorov-Smirnov at 1 %


def test_two_valued_returns_at_the_edge_of_possible_moments():
    # p = 0.8 of value a, else b: skew = -1.5, kurtosis = 1 + skew ** 2 = 3.25
    sure = {"skew": -1.5, "kurtosis": 3.25, "n_bars": 10, "bars_per_year": 1}
    # spread = (1 + 0.75 * s) ** 2, which is 0 for s = -4 / 3
    zero = -4 / 3
    for benchmark, expected in ((0.0, 0.0), (zero, 0.5), (2 * zero, 1.0)):
        p = probabilistic_sharpe_ratio(sharpe=zero, benchmark_sharpe=benchmark, **sure)
        assert p == pytest.approx(expected, abs=1e-6)


# --- units --------------------------------------------------------------------------


def test_annual_and_per_bar_ratios_agree():
    annual = probabilistic_sharpe_ratio(
        sharpe=1.2, benchmark_sharpe=0.3, n_bars=900, bars_per_year=252
    )
    root = math.sqrt(252)
    per_bar = probabilistic_sharpe_ratio(
        sharpe=1.2 / root, benchmark_sharpe=0.3 / root, n_bars=900, bars_per_year=1
    )
    assert annual == pytest.approx(per_bar, rel=RTOL)


@pytest.mark.parametrize(
    "call",
    [
        lambda: probabilistic_sharpe_ratio(sharpe=1.2, n_bars=900),
        lambda: probabilistic_sharpe_ratio(skewed(0), benchmark_sharpe=1.0),
        lambda: probabilistic_sharpe_ratio(skewed(0), risk_free=0.02),
        lambda: minimum_track_record_length(sharpe=1.2),
        lambda: deflated_sharpe_ratio(skewed(0), trial_sharpes=[1.0, 2.0]),
        lambda: deflated_sharpe_ratio(noise(0), risk_free=0.02),
        lambda: probability_of_backtest_overfitting(noise(0), risk_free=0.02),
    ],
    ids=["psr", "benchmark", "rate", "length", "trials", "block_rate", "pbo_rate"],
)
def test_a_ratio_or_rate_without_its_unit_is_refused(call):
    with pytest.raises(ConfigError, match="bars_per_year"):
        call()


def test_lengths_are_bars():
    years = minimum_track_record_length(sharpe=2.0, bars_per_year=252) / 252
    weekly = minimum_track_record_length(sharpe=2.0, bars_per_year=52) / 52
    assert years == pytest.approx(weekly, rel=0.06)  # one and a half bars more
    assert years == pytest.approx((NormalDist().inv_cdf(0.95) / 2) ** 2, rel=0.02)


# --- deflated Sharpe ratio ----------------------------------------------------------


@given(n_trials=st.integers(2, 10**7), variance=st.floats(0, 10))
def test_expected_maximum_equals_holdout(n_trials, variance):
    expected = holdout.expected_maximum_sharpe(n_trials, variance)
    assert expected_maximum_sharpe(n_trials, variance) == pytest.approx(
        expected, rel=1e-8, abs=1e-12
    )


def test_expected_maximum_by_simulation():
    maxima = np.random.default_rng(1).normal(0, 2.0, (20_000, 50)).max(axis=1)
    assert expected_maximum_sharpe(50, 4.0) == pytest.approx(maxima.mean(), rel=0.02)


def test_expected_maximum_grows_and_starts_at_zero():
    values = [expected_maximum_sharpe(n, 1.0) for n in (1, 1.05, 1.5, 2, 3, 10, 1e9)]
    assert values == sorted(values)
    assert values[:2] == [0.0, 0.0]
    assert math.isfinite(expected_maximum_sharpe(1e300, 1.0))


@pytest.mark.parametrize("seed", range(4))
def test_deflated_block_equals_holdout(seed):
    returns = noise(seed, 300, 17) + 0.0003
    expected = holdout.deflate_trials(returns)
    assert deflated_sharpe_ratio(returns) == pytest.approx(expected.deflated, rel=1e-9)


def test_three_ways_to_say_the_same():
    returns = noise(5, 300, 12)
    sharpes = [metrics.sharpe(column, bars_per_year=252) for column in returns.T]
    best = returns[:, int(np.argmax(sharpes))]
    of_block = deflated_sharpe_ratio(returns)
    of_best = deflated_sharpe_ratio(best, trial_sharpes=sharpes, bars_per_year=252)
    of_moments = deflated_sharpe_ratio(
        sharpe=max(sharpes),
        n_bars=300,
        skew=metrics.skew(best),
        kurtosis=metrics.kurtosis(best) + 3,
        n_trials=12,
        trials_variance=float(np.var(sharpes, ddof=1)),
        bars_per_year=252,
    )
    assert of_best == pytest.approx(of_block, rel=1e-10)
    assert of_moments == pytest.approx(of_block, rel=1e-10)


def test_failed_sets_are_no_trials():
    sharpes = [0.3, 1.4, 0.9, 1.1]
    returns = skewed(2)
    clean = deflated_sharpe_ratio(returns, trial_sharpes=sharpes, bars_per_year=252)
    series = pl.Series([*sharpes, None])  # a failed set in the metrics of a sweep
    failed = deflated_sharpe_ratio(returns, trial_sharpes=series, bars_per_year=252)
    assert failed == clean
    more = deflated_sharpe_ratio(
        returns, trial_sharpes=sharpes, n_trials=400, bars_per_year=252
    )
    assert more < clean


def test_one_trial_deflates_nothing():
    returns = skewed(2)
    one = deflated_sharpe_ratio(returns, trial_sharpes=[1.3], bars_per_year=252)
    assert one == probabilistic_sharpe_ratio(returns)
    assert deflated_sharpe_ratio(returns[:, None]) == one


def test_many_trials_without_skill_are_not_significant():
    # The best of 100 looks like skill almost always; deflated, hardly ever.
    raw, deflated = [], []
    for seed in range(30):
        returns = noise(seed, 500, 100)
        sharpes = [metrics.sharpe(column, bars_per_year=1) for column in returns.T]
        raw.append(probabilistic_sharpe_ratio(returns[:, int(np.argmax(sharpes))]))
        deflated.append(deflated_sharpe_ratio(returns))
    assert np.mean(np.array(raw) > 0.95) > 0.9
    assert np.mean(np.array(deflated) > 0.95) < 0.1


# --- minimum track record -----------------------------------------------------------


@given(
    sharpe=st.floats(0.3, 4),
    least=st.floats(-1, 0.2),
    skew=st.floats(-2, 2),
    extra=st.floats(0, 20),
    probability=st.floats(0.5, 0.999),
)
def test_track_record_is_the_inverse_of_the_probability(
    sharpe, least, skew, extra, probability
):
    moments = {"skew": skew, "kurtosis": 1.5 + skew * skew + extra}
    ratios = {"sharpe": sharpe, "benchmark_sharpe": least, "bars_per_year": 252}
    n_bars = minimum_track_record_length(**moments, **ratios, probability=probability)
    expected = holdout.minimum_track_record_length(
        sharpe / math.sqrt(252),
        benchmark=least / math.sqrt(252),
        confidence=probability,
        skewness=moments["skew"],
        kurtosis=moments["kurtosis"],
    )
    assert n_bars == pytest.approx(expected, rel=1e-9)
    if n_bars >= 2:
        p = probabilistic_sharpe_ratio(**moments, **ratios, n_bars=n_bars)
        assert p == pytest.approx(probability, rel=1e-9)


def test_track_record_from_returns_and_when_no_length_is_enough():
    returns = skewed(1)
    n_bars = minimum_track_record_length(returns)
    estimate = holdout.estimate_sharpe(returns)
    expected = holdout.minimum_track_record_length(
        estimate.value, skewness=estimate.skewness, kurtosis=estimate.kurtosis
    )
    assert n_bars == pytest.approx(expected, rel=1e-9)
    assert minimum_track_record_length(-returns) == math.inf
    assert (
        minimum_track_record_length(sharpe=1, benchmark_sharpe=1, bars_per_year=252)
        == math.inf
    )


# --- where nothing is defined -------------------------------------------------------


@pytest.mark.parametrize(
    "returns",
    [
        [],
        [0.01],
        [0.01, 0.01, 0.01],
        [0.0, 0.0, 0.0],
        [0.01, math.nan, 0.02],
        [0.01, math.inf, 0.02],
        INTEREST,
    ],
    ids=["none", "one", "equal", "zero", "nan", "infinite", "interest"],
)
def test_undefined_is_nan(returns):
    assert math.isnan(probabilistic_sharpe_ratio(returns))
    assert math.isnan(minimum_track_record_length(returns))
    assert math.isnan(
        deflated_sharpe_ratio(returns, trial_sharpes=[1.0, 2.0], bars_per_year=252)
    )


def test_undefined_moments_and_trials_are_nan():
    nan = math.nan
    numbers = {"n_bars": 100, "bars_per_year": 252}
    assert math.isnan(probabilistic_sharpe_ratio(sharpe=nan, **numbers))
    assert math.isnan(probabilistic_sharpe_ratio(sharpe=1.0, kurtosis=nan, **numbers))
    assert math.isnan(minimum_track_record_length(sharpe=nan, bars_per_year=252))
    returns = skewed(0)
    for trials in ([], [nan, nan]):
        p = deflated_sharpe_ratio(returns, trial_sharpes=trials, bars_per_year=252)
        assert math.isnan(p)
    assert math.isnan(
        deflated_sharpe_ratio(
            returns, trial_sharpes=[1.0], n_trials=10, bars_per_year=252
        )
    )
    assert math.isnan(deflated_sharpe_ratio(np.zeros((50, 3))))
    assert math.isnan(expected_maximum_sharpe(10, nan))


# --- refusals -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: probabilistic_sharpe_ratio(), "either returns, or sharpe and n_bars"),
        (
            lambda: probabilistic_sharpe_ratio(sharpe=1.0, bars_per_year=252),
            "sharpe and n_bars",
        ),
        (
            lambda: probabilistic_sharpe_ratio(skewed(0), sharpe=1.0),
            "follow from the returns",
        ),
        (
            lambda: probabilistic_sharpe_ratio(skewed(0), n_bars=400),
            "follow from the returns",
        ),
        (
            lambda: probabilistic_sharpe_ratio(sharpe=1, n_bars=1, bars_per_year=1),
            "n_bars must be at least 2",
        ),
        (
            lambda: probabilistic_sharpe_ratio(sharpe=1, n_bars=99, bars_per_year=0),
            "bars_per_year must be positive",
        ),
        (
            lambda: probabilistic_sharpe_ratio(
                sharpe=1, n_bars=99, bars_per_year=252, risk_free=0.02
            ),
            "already in excess",
        ),
        (
            # The excess kurtosis of normal returns, from `metrics.kurtosis`.
            lambda: probabilistic_sharpe_ratio(
                sharpe=1, n_bars=99, bars_per_year=252, kurtosis=0.1
            ),
            r"at least 1 \+ skew \*\* 2 = 1, got 0.1.\nHint: .*add 3 to the excess",
        ),
        (
            lambda: minimum_track_record_length(skewed(0), probability=0.4),
            "probability must be at least 0.5",
        ),
        (
            lambda: minimum_track_record_length(skewed(0), probability=1.0),
            "probability must be less than 1",
        ),
        (
            lambda: minimum_backtest_length(10, sharpe=0.0, bars_per_year=252),
            "sharpe must be greater than 0",
        ),
        (lambda: expected_maximum_sharpe(0, 1.0), "n_trials must be at least 1"),
        (lambda: expected_maximum_sharpe(5, -1.0), "variance must be at least 0"),
        (
            lambda: deflated_sharpe_ratio(skewed(0), bars_per_year=252),
            "either trial_sharpes, or n_trials and",
        ),
        (
            lambda: deflated_sharpe_ratio(skewed(0), n_trials=9, bars_per_year=252),
            "either trial_sharpes, or n_trials and",
        ),
        (
            lambda: deflated_sharpe_ratio(
                skewed(0), trials_variance=9, bars_per_year=252
            ),
            "either trial_sharpes, or n_trials and",
        ),
        (
            lambda: deflated_sharpe_ratio(
                skewed(0),
                trial_sharpes=[1, 2],
                trials_variance=9,
                n_trials=3,
                bars_per_year=252,
            ),
            "either trial_sharpes, or n_trials and",
        ),
        (
            lambda: deflated_sharpe_ratio(noise(0), trial_sharpes=[1.0, 2.0]),
            "have the trials in them",
        ),
        (
            lambda: probability_of_backtest_overfitting(noise(0), n_blocks=7),
            "n_blocks must be an even number from 2 to 22, got 7",
        ),
        (
            lambda: probability_of_backtest_overfitting(noise(0), n_blocks=24),
            "n_blocks must be an even number",
        ),
        (
            lambda: probability_of_backtest_overfitting(noise(0), metric="sharp"),
            "Did you mean 'sharpe'",
        ),
        (
            lambda: probability_of_backtest_overfitting(
                noise(0), metric=lambda half: half.sum(axis=0), risk_free=0.02
            ),
            "no meaning with a callable",
        ),
        (
            lambda: probability_of_backtest_overfitting(
                noise(0), metric=lambda half: half.sum(axis=1)
            ),
            r"one number per set, shape \(20,\)",
        ),
    ],
    ids=itertools.count(),
)
def test_settings_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_blocks_that_do_not_fit_are_refused():
    pbo = probability_of_backtest_overfitting
    with pytest.raises(SchemaError, match="two dimensions, bars by sets"):
        pbo(skewed(0))
    with pytest.raises(
        SchemaError, match=r"at least 32 bars and 2 sets(.|\n)*n_blocks"
    ):
        pbo(noise(0, 31, 4))
    with pytest.raises(SchemaError, match="at least 32 bars and 2 sets"):
        pbo(noise(0, 100, 1))
    holes = noise(0, 100, 5)
    holes[17, 3] = math.nan
    holes[20, 1] = math.inf
    with pytest.raises(
        SchemaError, match=r"2 values are not, first at bar 17, set 3, value nan"
    ):
        pbo(holes)
    with pytest.raises(SchemaError, match="1 value is not"):
        deflated_sharpe_ratio(holes[:20])
    with pytest.raises(SchemaError, match="metric must be finite: it is nan for set 0"):
        pbo(noise(0, 100, 3), metric=lambda half: np.full(3, math.nan))


# --- probability of backtest overfitting --------------------------------------------


def slow_pbo(returns: np.ndarray, n_blocks: int) -> tuple[float, list[float]]:
    """Count in plain Python, from the words of the article."""
    n_bars, n_sets = returns.shape
    edges = block_edges(n_bars, n_blocks)
    logits = []
    for chosen in itertools.combinations(range(n_blocks), n_blocks // 2):
        inside, outside = [], []
        for b in range(n_blocks):
            (inside if b in chosen else outside).extend(range(edges[b], edges[b + 1]))
        ratios = [
            [metrics.sharpe(returns[half, k], bars_per_year=1) for k in range(n_sets)]
            for half in (inside, outside)
        ]
        best = int(np.argmax(ratios[0]))
        rank = 1 + sum(value < ratios[1][best] for value in ratios[1])
        share = rank / (n_sets + 1)
        logits.append(math.log(share / (1 - share)))
    return sum(value <= 0 for value in logits) / len(logits), logits


@pytest.mark.parametrize("n_bars", [48, 53])
def test_overfitting_equals_plain_counting(n_bars):
    returns = noise(11, n_bars, 7)
    result = probability_of_backtest_overfitting(returns, n_blocks=6)
    expected, logits = slow_pbo(returns, 6)
    assert result.pbo == expected
    np.testing.assert_allclose(result.logits, logits, rtol=RTOL, atol=1e-15)


@pytest.mark.parametrize(
    ("n_bars", "n_sets", "n_blocks"),
    [(320, 30, 16), (333, 100, 16), (100, 2, 8), (47, 13, 10), (61, 9, 2)],
)
@pytest.mark.parametrize("metric", ["sharpe", "mean"])
def test_overfitting_equals_holdout(n_bars, n_sets, n_blocks, metric):
    returns = noise(n_bars, n_bars, n_sets) + 0.0004
    expected = holdout.probability_of_backtest_overfitting(
        returns, n_blocks=n_blocks, metric=metric
    )
    result = probability_of_backtest_overfitting(
        returns, n_blocks=n_blocks, metric=metric
    )
    assert result.pbo == expected.pbo
    assert result.probability_of_loss == expected.probability_of_loss
    assert result.n_partitions == expected.n_partitions
    np.testing.assert_array_equal(result.selected, expected.selected)
    np.testing.assert_allclose(result.logits, expected.logits, rtol=RTOL, atol=1e-14)
    np.testing.assert_allclose(result.in_sample, expected.in_sample, rtol=1e-9)
    np.testing.assert_allclose(
        result.out_of_sample, expected.out_of_sample, rtol=1e-8, atol=1e-15
    )
    slope, intercept, r_squared = expected.degradation
    assert result.slope == pytest.approx(slope, rel=1e-8)
    assert result.intercept == pytest.approx(intercept, rel=1e-8)
    assert result.r_squared == pytest.approx(r_squared, rel=1e-6, abs=1e-12)


def test_callable_metric_equals_the_named_one():
    returns = noise(4, 90, 6)

    def sharpe(half):
        return half.mean(axis=0) / half.std(axis=0, ddof=1)

    named = probability_of_backtest_overfitting(returns, n_blocks=8)
    called = probability_of_backtest_overfitting(returns, n_blocks=8, metric=sharpe)
    assert called.pbo == named.pbo
    assert called.metric == "sharpe"
    np.testing.assert_array_equal(called.selected, named.selected)
    np.testing.assert_allclose(called.in_sample, named.in_sample, rtol=1e-10)
    # Its unit is its own.
    annual = probability_of_backtest_overfitting(
        returns, n_blocks=8, metric=sharpe, bars_per_year=252
    )
    np.testing.assert_array_equal(annual.in_sample, called.in_sample)


def test_overfitting_by_hand():
    # Two blocks of two bars, means: set 0 has 3 and 0, set 1 has 1 and 2, set 2: 2, 1.
    # Chosen block 0: set 0 is best, worst outside: rank 1 of 3, logit log(1/3).
    # Chosen block 1: set 1 is best (2), outside 1 is the worst of 3, 1, 2: log(1/3).
    returns = np.array([[2, 0, 2], [4, 2, 2], [1, 1, 1], [-1, 3, 1]]) / 100
    result = probability_of_backtest_overfitting(returns, n_blocks=2, metric="mean")
    assert result.pbo == 1.0
    np.testing.assert_allclose(result.logits, math.log(1 / 3))
    np.testing.assert_allclose(result.in_sample, [0.03, 0.02])
    np.testing.assert_allclose(result.out_of_sample, [0.0, 0.01], atol=1e-17)
    assert result.selected.tolist() == [0, 1]
    # the line through (0.03, 0) and (0.02, 0.01)
    assert result.slope == pytest.approx(-1.0)
    assert result.intercept == pytest.approx(0.03)
    assert result.r_squared == pytest.approx(1.0)
    assert result.probability_of_loss == 0.0


def test_equal_ranks_share_and_the_worst_of_equal_winners_counts():
    # Block 0: sets 0 and 1 are equally best; outside they have 1 and 3, set 2 has 2,
    # set 3 has 1: the worst winner, set 0, shares ranks 1 and 2: 1.5 / 5.
    # Block 1: set 1 is best, outside it shares ranks 3 and 4: 3.5 / 5.
    means = np.array([[4, 4, 2, 1], [1, 3, 2, 1]]) / 100
    returns = np.repeat(means, 2, axis=0)
    for order in itertools.permutations(range(4)):
        result = probability_of_backtest_overfitting(
            returns[:, order], n_blocks=2, metric="mean"
        )
        expected = [math.log(1.5 / 3.5), math.log(3.5 / 1.5)]
        np.testing.assert_allclose(result.logits, expected, rtol=RTOL)
        assert result.pbo == 0.5
        assert result.selected.tolist() == [order.index(0), order.index(1)]


def test_half_without_trades():
    # Set 0 trades in the second half only, and earns interest before: its first half
    # has a ratio of 0, not one of 1e7 made of rounding.  Sets 2 and 3 never trade.
    for seed in range(10):
        returns = noise(seed, 80, 4) - 0.003
        returns[:40, 0] = INTEREST[:40] * (1 + seed)
        returns[:, 2] = INTEREST[:80]
        returns[:, 3] = 0.0001
        result = probability_of_backtest_overfitting(returns, n_blocks=4)
        assert np.abs(result.in_sample).max() < 1.0
        assert np.abs(result.out_of_sample).max() < 1.0
        assert result.in_sample[0] == 0.0  # blocks 0 and 1
        returns[:40, 0] = 0.0
        returns[:, 2:] = 0.0
        nothing = probability_of_backtest_overfitting(returns, n_blocks=4)
        np.testing.assert_allclose(nothing.in_sample[0], 0.0)


def test_sets_that_all_never_trade():
    result = probability_of_backtest_overfitting(np.zeros((40, 3)), n_blocks=4)
    # All share the middle rank, so every logit is 0, "no better than the median".
    assert result.pbo == 1.0
    assert math.isnan(result.slope)
    assert math.isnan(result.intercept)
    assert "40" not in str(result)


def test_skill_lowers_and_luck_does_not():
    luck = [
        probability_of_backtest_overfitting(noise(seed, 400, 30), n_blocks=8).pbo
        for seed in range(40)
    ]
    assert 0.4 < np.mean(luck) < 0.6
    skilled = noise(1, 400, 30)
    skilled[:, 4] += 0.004
    result = probability_of_backtest_overfitting(skilled)
    assert result.pbo == 0.0
    assert set(result.selected) == {4}


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    n_sets=st.integers(2, 40),
    n_bars=st.integers(32, 90),
    n_blocks=st.sampled_from([2, 4, 6, 8]),
    kind=st.sampled_from(["plain", "duplicates", "flat"]),
)
def test_order_and_layout_of_the_sets_do_not_matter(
    seed, n_sets, n_bars, n_blocks, kind
):
    generator = np.random.default_rng(seed)
    returns = generator.normal(0.0, 0.01, (n_bars, n_sets))
    if kind == "duplicates":
        returns = returns[:, generator.integers(0, n_sets, n_sets)]
    if kind == "flat":
        returns[: n_bars // 2, : n_sets // 2] = 0.0
    order = generator.permutation(n_sets)
    base = probability_of_backtest_overfitting(returns, n_blocks=n_blocks)
    for other in (returns[:, order], np.asfortranarray(returns), returns[:, ::-1]):
        result = probability_of_backtest_overfitting(other, n_blocks=n_blocks)
        assert result.pbo == base.pbo
        for name in ("logits", "in_sample", "out_of_sample"):
            np.testing.assert_array_equal(getattr(result, name), getattr(base, name))
    assert 0.0 <= base.pbo <= 1.0
    # Every partition has its mirror image, where the halves are swapped.
    assert base.n_partitions == math.comb(n_blocks, n_blocks // 2)


def test_rates_and_years():
    returns = noise(9, 300, 8)
    rate = 1.05 ** (1 / 252) - 1
    base = probability_of_backtest_overfitting(returns - rate, n_blocks=8)
    annual = probability_of_backtest_overfitting(
        returns, n_blocks=8, risk_free=0.05, bars_per_year=252
    )
    assert annual.pbo == base.pbo
    np.testing.assert_allclose(
        annual.in_sample, base.in_sample * math.sqrt(252), rtol=1e-9
    )
    assert annual.slope == pytest.approx(base.slope, rel=1e-6)
    assert annual.metric == "Sharpe ratio per year"
    mean = probability_of_backtest_overfitting(
        returns, n_blocks=8, metric="mean", bars_per_year=252
    )
    assert mean.metric == "mean return per year"
    assert mean.in_sample.max() > 0.05
    best = deflated_sharpe_ratio(returns, risk_free=0.05, bars_per_year=252)
    assert best == pytest.approx(deflated_sharpe_ratio(returns - rate), rel=1e-9)


def test_result_explains_itself_in_two_lines():
    result = probability_of_backtest_overfitting(noise(2, 333, 50), bars_per_year=252)
    first, second = str(result).split("\n")
    assert first.startswith(f"Probability of backtest overfitting {result.pbo:.1%}: in")
    assert "of 12,870 splits in halves, the best of 50 sets" in first
    assert "Sharpe ratio per year fell from" in second
    assert "logits" not in repr(result)


def test_blocks_cover_every_bar_once():
    for n_bars, n_blocks in ((100, 16), (32, 16), (33, 16), (17, 2)):
        edges = block_edges(n_bars, n_blocks)
        sizes = np.diff(edges)
        assert edges[0] == 0
        assert edges[-1] == n_bars
        assert sizes.max() - sizes.min() <= 1
        assert (np.diff(sizes) <= 0).all()  # the longer ones come first
    chosen = partitions(16)
    assert chosen.shape == (12_870, 8)
    everything = np.concatenate([chosen, chosen[::-1]], axis=1)
    assert (np.sort(everything, axis=1) == np.arange(16)).all()


def test_memory_of_a_thousand_sets(tmp_path):
    path = tmp_path / "returns.npy"
    np.save(path, noise(0, 640, 1000))
    returns = np.load(path, mmap_mode="r")
    tracemalloc.start()
    result = probability_of_backtest_overfitting(returns)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.n_partitions == 12_870
    assert peak < 24 * 2**20
