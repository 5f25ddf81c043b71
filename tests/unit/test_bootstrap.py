"""Reality check and superior predictive ability: equal to arch, laws, edges."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from fractions import Fraction

import holdout
import holdout.bootstrap
import numpy as np
import pytest
from arch.bootstrap import SPA, StationaryBootstrap, optimal_block_length
from arch.bootstrap import RealityCheck as ArchRealityCheck
from hypothesis import given, settings
from hypothesis import strategies as st

from barloop import resampling
from barloop.bootstrap import (
    automatic_block_length,
    reality_check,
    stationary_bootstrap_indices,
    superior_predictive_ability,
)
from barloop.errors import ConfigError, SchemaError
from barloop.resampling import Resampler

TESTS = [reality_check, superior_predictive_ability]
NAMES = ["reality_check", "spa"]


def noise(seed: int, n_bars: int = 300, n_sets: int = 12) -> np.ndarray:
    """Returns of different size that are related over time and among each other."""
    generator = np.random.default_rng(seed)
    common = generator.normal(0.0, 0.007, (n_bars + 1, 1))
    own = generator.normal(0.0, 0.01, (n_bars + 1, n_sets))
    both = common + own * generator.uniform(0.3, 2.0, n_sets)
    return both[1:] + 0.3 * both[:-1]


def edged(seed: int, edge: float = 0.004) -> np.ndarray:
    returns = noise(seed)
    returns[:, 5] += edge
    return returns


# --- resamples ----------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 4, 25])
def test_indices_equal_arch(length):
    drawn = stationary_bootstrap_indices(
        137, mean_block_length=length, n_bootstrap=20, seed=3
    )
    bars = np.arange(137)
    arch = StationaryBootstrap(length, bars, seed=3)
    expected = [data[0][0] for data in arch.bootstrap(20)]
    np.testing.assert_array_equal(drawn, expected)


def test_blocks_have_the_mean_length_and_every_bar_the_same_chance():
    n_bars, length = 200, 8.0
    drawn = stationary_bootstrap_indices(
        n_bars, mean_block_length=length, n_bootstrap=2000, seed=1
    )
    assert drawn.min() == 0
    assert drawn.max() == n_bars - 1
    goes_on = (drawn[:, 1:] - drawn[:, :-1]) % n_bars == 1
    # A new block follows the last bar by chance once in n_bars.
    stays = 1 - 1 / length
    assert goes_on.mean() == pytest.approx(stays + (1 - stays) / n_bars, abs=2e-3)
    counts = np.bincount(drawn.ravel(), minlength=n_bars)
    assert counts.mean() == 2000
    assert np.abs(counts / 2000 - 1).max() < 0.35  # blocks of 8: 4 deviations


def test_one_generator_goes_on_and_a_seed_starts_again():
    generator = np.random.default_rng(5)
    first = stationary_bootstrap_indices(50, mean_block_length=3, seed=generator)
    second = stationary_bootstrap_indices(50, mean_block_length=3, seed=generator)
    both = stationary_bootstrap_indices(50, mean_block_length=3, n_bootstrap=2, seed=5)
    np.testing.assert_array_equal(np.concatenate([first, second]), both)
    assert (first != second).any()


# --- block length -------------------------------------------------------------------


def autoregressive(seed: int, n_bars: int, phi: float) -> np.ndarray:
    shocks = np.random.default_rng(seed).normal(0.0, 0.01, n_bars + 200)
    values = list(itertools.accumulate(shocks, lambda last, new: phi * last + new))
    return np.array(values[200:])


def slow_block_length(series: np.ndarray) -> float:
    """Choose in plain Python, from the words of the docstring."""
    n = len(series)
    d = [float(x) for x in series - series.mean()]
    n_lags = math.ceil(math.sqrt(n)) + 5
    gamma = [sum(d[t] * d[t + k] for t in range(n - k)) / n for k in range(n_lags + 1)]
    small = [abs(g) < 2 * math.sqrt(math.log10(n) / n) * gamma[0] for g in gamma]
    runs = [k for k in range(1, n_lags - 4) if all(small[k : k + 5])]
    bandwidth = min(2 * runs[0], n_lags) if runs else n_lags
    lags = range(1, bandwidth + 1)
    window = [min(1.0, 2 * (1 - k / bandwidth)) for k in lags]
    level = gamma[0] + 2 * sum(w * gamma[k] for k, w in zip(lags, window, strict=True))
    slope = 2 * sum(w * k * gamma[k] for k, w in zip(lags, window, strict=True))
    length = ((slope / level) ** 2) ** (1 / 3) * n ** (1 / 3)
    return min(max(length, 1.0), math.ceil(min(3 * math.sqrt(n), n / 3)))


@pytest.mark.parametrize("phi", [-0.4, 0.0, 0.3, 0.8, 0.97])
@pytest.mark.parametrize("n_bars", [16, 40, 499])
def test_block_length_equals_plain_counting(phi, n_bars):
    returns = np.stack([autoregressive(s, n_bars, phi) for s in range(8)], axis=1)
    expected = [slow_block_length(column) for column in returns.T]
    np.testing.assert_allclose(automatic_block_length(returns), expected, rtol=1e-8)


@pytest.mark.parametrize("phi", [-0.4, 0.0, 0.3, 0.8, 0.97])
@pytest.mark.parametrize("n_bars", [499, 2520])
def test_block_length_equals_arch(phi, n_bars):
    # arch divides an autocovariance by the squares of the bars that enter it, the
    # articles by those of all bars; where one is just at the bound, that decides about
    # one lag more or less.  So most are equal, and nearly all for many bars.
    returns = np.stack([autoregressive(s, n_bars, phi) for s in range(20)], axis=1)
    expected = np.maximum(optimal_block_length(returns)["stationary"].to_numpy(), 1.0)
    lengths = automatic_block_length(returns)
    assert np.count_nonzero(np.isclose(lengths, expected, rtol=1e-8)) >= 18


def test_block_length_of_a_long_autoregressive_series():
    # In closed form (2 phi / (1 - phi ** 2)) ** (2 / 3) * n ** (1 / 3) = 69.6.
    phi, n_bars = 0.5, 100_000
    returns = np.stack([autoregressive(s, n_bars, phi) for s in range(6)], axis=1)
    expected = (2 * phi / (1 - phi**2)) ** (2 / 3) * n_bars ** (1 / 3)
    lengths = automatic_block_length(returns)
    assert np.median(lengths) == pytest.approx(expected, rel=0.1)


def test_block_length_of_what_does_not_vary_is_nan():
    returns = noise(1, 100, 3)
    returns[:, 1] = 0.001
    lengths = automatic_block_length(returns)
    assert np.isnan(lengths).tolist() == [False, True, False]
    # The others do not mind.
    np.testing.assert_array_equal(
        lengths[[0, 2]], automatic_block_length(returns[:, [0, 2]])
    )


def test_block_length_is_the_mean_over_the_sets():
    returns = edged(2)
    result = reality_check(returns, n_bootstrap=1)
    expected = automatic_block_length(returns).mean()
    assert result.mean_block_length == pytest.approx(expected, rel=1e-12)


# --- equal to other libraries -------------------------------------------------------


@pytest.mark.parametrize("length", [1, 6])
@pytest.mark.parametrize("edge", [0.0, 0.001, 0.002])
def test_reality_check_equals_arch(edge, length):
    returns = edged(7, edge)
    arch = ArchRealityCheck(
        np.zeros(len(returns)), -returns, block_size=length, reps=300, seed=11
    )
    arch.compute()
    result = reality_check(returns, n_bootstrap=300, mean_block_length=length, seed=11)
    assert result.p_value == arch.pvalues["upper"]
    assert result.best == int(np.argmax(returns.mean(axis=0)))
    assert result.best_mean == pytest.approx(returns.mean(axis=0).max(), rel=1e-9)
    assert result.statistic == pytest.approx(
        math.sqrt(300) * returns.mean(axis=0).max(), rel=1e-9
    )


@pytest.mark.parametrize("length", [1, 6])
@pytest.mark.parametrize(("edge", "loser"), [(0.0, -0.003), (0.0015, 0.0), (0.003, 0)])
def test_superior_predictive_ability_equals_arch(edge, loser, length):
    """The resamples, standard errors and centres of arch; the maximum as in Hansen.

    (arch takes the maximum without dividing by the standard errors.)
    """
    returns = edged(3, edge)
    returns[:, :3] += loser
    n_bars = len(returns)
    arch = SPA(np.zeros(n_bars), -returns, block_size=length, reps=300, seed=4)
    arch.compute()
    omega = np.sqrt(arch._loss_diff_var)
    t = math.sqrt(n_bars) * returns.mean(axis=0) / omega
    luck = math.sqrt(n_bars) * arch._simulated_vals / omega[:, None, None]
    statistic = max(t.max(), 0.0)
    expected = (np.maximum(luck.max(axis=0), 0.0) >= statistic).mean(axis=0)
    result = superior_predictive_ability(
        returns, n_bootstrap=300, mean_block_length=length, seed=4
    )
    assert [result.lower, result.consistent, result.upper] == expected.tolist()
    assert result.statistic == pytest.approx(statistic, rel=1e-9)
    assert result.best == int(np.argmax(t))


def test_one_set_equals_arch_as_it_is():
    # With one set that has a positive mean, standard errors make no difference.
    returns = np.abs(noise(3)[:, :1].mean()) + noise(3)[:, :1] - noise(3)[:, :1].mean()
    arch = SPA(np.zeros(300), -returns, block_size=5, reps=400, seed=9)
    arch.compute()
    result = superior_predictive_ability(
        returns, n_bootstrap=400, mean_block_length=5, seed=9
    )
    assert [result.lower, result.consistent, result.upper] == list(arch.pvalues)


@pytest.mark.parametrize("seed", range(3))
def test_tests_equal_holdout_on_the_same_resamples(seed, monkeypatch):
    def same_indices(n, block_length, n_samples, *, seed):
        return stationary_bootstrap_indices(
            n, mean_block_length=block_length, n_bootstrap=n_samples, seed=seed
        )

    monkeypatch.setattr(holdout.bootstrap, "stationary_bootstrap_indices", same_indices)
    returns = edged(seed, 0.0015)
    how = {"n_bootstrap": 1000, "seed": 8}
    check = holdout.reality_check(returns, block_length=4.5, **how)
    result = reality_check(returns, mean_block_length=4.5, **how)
    assert result.p_value == check.pvalue
    assert result.statistic == pytest.approx(check.statistic, rel=1e-9)
    # holdout's standard errors are those of the 1,000 resamples, ours those of all
    # there could be: 1 / sqrt(2 * 1,000) = 2.2 % apart, so the p-values nearly agree.
    theirs = holdout.superior_predictive_ability(returns, block_length=4.5, **how)
    ours = superior_predictive_ability(returns, mean_block_length=4.5, **how)
    assert ours.statistic == pytest.approx(theirs.statistic, rel=0.1)
    for name in ("lower", "consistent", "upper"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), abs=0.04)


@pytest.mark.parametrize("n_bars", [16, 97, 300])
@pytest.mark.parametrize("length", [1.0, 3.7, 16.0])
def test_standard_errors_are_those_of_the_resamples(n_bars, length):
    returns = noise(6, n_bars, 3)
    how = {"risk_free": 0.0, "bars_per_year": None, "seed": 0, "n_bootstrap": 1}
    omega = Resampler.prepare(returns, None, mean_block_length=length, **how).omega
    drawn = stationary_bootstrap_indices(
        n_bars, mean_block_length=length, n_bootstrap=4000, seed=2
    )
    means = np.stack([returns[row].mean(axis=0) for row in drawn])
    # A deviation of 4,000 draws has an error of 1.1 %.
    np.testing.assert_allclose(omega, math.sqrt(n_bars) * means.std(axis=0), rtol=0.05)


# --- by hand ------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1.0, 2.5])
def test_p_values_by_hand(length):
    """The definitions, in plain Python on exact fractions."""
    returns = np.round(noise(13, 16, 3), 3)
    drawn = stationary_bootstrap_indices(
        16, mean_block_length=length, n_bootstrap=60, seed=21
    )
    exact = [[Fraction(round(x * 1000)) for x in column] for column in returns.T]
    means = [sum(column) / 16 for column in exact]
    resampled = [
        [sum(column[t] for t in row) / 16 for column in exact] for row in drawn
    ]
    best = max(means)
    luck = [max(m - mu for m, mu in zip(row, means, strict=True)) for row in resampled]
    result = reality_check(returns, n_bootstrap=60, mean_block_length=length, seed=21)
    assert result.p_value == sum(value >= best for value in luck) / 60

    p = 1 / length
    omegas = []
    for column, mean in zip(exact, means, strict=True):
        d = [float(x - mean) for x in column]
        gamma = [sum(d[t] * d[t + i] for t in range(16 - i)) / 16 for i in range(16)]
        weights = [
            (1 - i / 16) * (1 - p) ** i + i / 16 * (1 - p) ** (16 - i)
            for i in range(16)
        ]
        pairs = list(zip(gamma, weights, strict=True))[1:]
        omegas.append(math.sqrt(gamma[0] + 2 * sum(g * w for g, w in pairs)))
    t = [4 * float(m) / w for m, w in zip(means, omegas, strict=True)]
    bound = -math.sqrt(2 * math.log(math.log(16)))
    centres = {
        "lower": [max(m, 0) for m in means],
        "consistent": [m if x >= bound else 0 for m, x in zip(means, t, strict=True)],
        "upper": means,
    }
    result = superior_predictive_ability(
        returns, n_bootstrap=60, mean_block_length=length, seed=21
    )
    assert result.statistic == pytest.approx(max(0.0, *t), rel=1e-9)
    for name, centre in centres.items():
        maxima = [
            max(
                4 * float(m - c) / w
                for m, c, w in zip(row, centre, omegas, strict=True)
            )
            for row in resampled
        ]
        n_above = sum(max(value, 0.0) >= max(0.0, *t) for value in maxima)
        assert getattr(result, name) == n_above / 60


def test_equal_resamples_count_against_the_set():
    # A mean of 0: a resample with a mean of 0 does as well.
    returns = np.tile([0.01, -0.01], 10)[:, None]
    drawn = stationary_bootstrap_indices(
        20, mean_block_length=1, n_bootstrap=200, seed=0
    )
    sums = np.where(drawn % 2 == 0, 1, -1).sum(axis=1)
    assert (sums == 0).sum() > 10
    for test in TESTS:
        result = test(returns, n_bootstrap=200, mean_block_length=1)
        assert result.statistic == 0.0
    assert reality_check(returns, n_bootstrap=200, mean_block_length=1).p_value == (
        (sums >= 0).mean()
    )


# --- laws ---------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    n_bars=st.integers(16, 60),
    n_sets=st.integers(1, 30),
    shift=st.sampled_from([-0.005, 0.0, 0.005]),
    duplicates=st.booleans(),
)
def test_order_and_layout_of_the_sets_do_not_matter(
    seed, n_bars, n_sets, shift, duplicates
):
    generator = np.random.default_rng(seed)
    returns = noise(seed, n_bars, n_sets) + shift
    if duplicates:
        returns = returns[:, generator.integers(0, n_sets, n_sets)]
    order = generator.permutation(n_sets)
    for test in TESTS:
        base = test(returns, n_bootstrap=50, seed=seed)
        for other in (returns[:, order], np.asfortranarray(returns)):
            result = test(other, n_bootstrap=50, seed=seed)
            assert result.statistic == base.statistic
            assert result.p_value == base.p_value
            assert result.best_mean == base.best_mean
            assert result.mean_block_length == base.mean_block_length
        assert 0.0 <= base.p_value <= 1.0
    assert base.lower <= base.consistent <= base.upper


@pytest.mark.parametrize("test", TESTS, ids=NAMES)
def test_chunks_do_not_matter(test, monkeypatch):
    returns = edged(4, 0.0015)
    base = test(returns, n_bootstrap=60)
    for room in (1, 300, 2000):
        monkeypatch.setattr(resampling, "WORK", room)
        assert test(returns, n_bootstrap=60) == base


@pytest.mark.parametrize("test", TESTS, ids=NAMES)
@pytest.mark.parametrize("scale", [100.0, 1e-4, 0.5, -1.0])
def test_scale_does_not_matter_but_its_sign_does(test, scale):
    returns = edged(5, 0.003)
    base = test(returns, n_bootstrap=100, mean_block_length=3)
    result = test(returns * scale, n_bootstrap=100, mean_block_length=3)
    assert (result.p_value == base.p_value) is (scale > 0)


def test_sums_of_resamples_are_exact():
    rows = noise(1, 1000, 5).T * np.array([[1.0], [1e-9], [1e7], [1.0], [1.0]])
    original = rows.copy()
    whole, unit = resampling._whole_numbers(rows)
    assert (whole == np.rint(whole)).all()
    assert np.abs(whole).max() <= 2**43
    np.testing.assert_allclose(
        whole * unit[:, None], original, atol=2.0**-43 * np.abs(original).max()
    )
    counts = np.bincount(np.random.default_rng(2).integers(0, 1000, 1000))
    counts = np.pad(counts, (0, 1000 - counts.size)).astype(float)
    totals = (counts[None] @ whole.T)[0]
    for row, total in zip(whole, totals, strict=True):
        pairs = zip(counts, row, strict=True)
        assert int(total) == sum(int(c) * int(x) for c, x in pairs)


def test_p_values_without_edge_are_about_uniform():
    n = 120
    values = {test: np.empty(n) for test in TESTS}
    for seed in range(n):
        generator = np.random.default_rng(seed)
        returns = generator.normal(0.0, 0.01, (200, 8))
        for test in TESTS:
            result = test(returns, n_bootstrap=150, mean_block_length=1)
            values[test][seed] = result.p_value
    for found in values.values():
        distance = np.abs(np.sort(found) - (np.arange(n) + 0.5) / n).max()
        assert distance < 1.63 / math.sqrt(n)  # Kolmogorov-Smirnov at 1 %


@pytest.mark.parametrize("test", TESTS, ids=NAMES)
def test_edge_has_a_small_p_value(test):
    results = [test(edged(seed, 0.01), n_bootstrap=200) for seed in range(5)]
    assert all(result.p_value < 0.05 for result in results)
    assert all(result.best == 5 for result in results)
    # The more was tried, the less one success proves.
    alone = test(edged(0, 0.005)[:, 5:6], n_bootstrap=500).p_value
    among = test(edged(0, 0.005), n_bootstrap=500).p_value
    assert alone < among


def test_hopeless_sets_weaken_the_reality_check_only():
    returns = edged(1, 0.002)
    hopeless = np.random.default_rng(2).normal(-0.05, 0.06, (300, 200))
    more = np.concatenate([returns, hopeless], axis=1)
    how = {"n_bootstrap": 300, "mean_block_length": 3}
    assert reality_check(more, **how).p_value > 0.5
    spa = superior_predictive_ability(more, **how)
    assert spa.consistent == superior_predictive_ability(returns, **how).consistent
    assert spa.upper > spa.consistent


# --- benchmarks ---------------------------------------------------------------------


@pytest.mark.parametrize("test", TESTS, ids=NAMES)
def test_benchmarks(test):
    returns = edged(6, 0.003)
    market = noise(30)[:, 0]
    how = {"n_bootstrap": 100}
    assert test(returns, market, **how) == test(returns - market[:, None], **how)
    rate = 1.04 ** (1 / 252) - 1
    cash = test(returns, risk_free=0.04, bars_per_year=252, **how)
    assert cash == test(returns, np.full(300, rate), **how)
    # A set against itself: nothing to test.
    itself = test(returns, returns[:, 5], **how)
    assert itself.n_constant == 1


# --- edges --------------------------------------------------------------------------


@pytest.mark.parametrize("test", TESTS, ids=NAMES)
def test_sets_that_never_trade_are_left_out(test):
    returns = edged(2, 0.002)
    last_bits = np.random.default_rng(3).integers(-2, 3, 300) * 2.0**-52
    idle = np.zeros((300, 3))
    idle[:, 1] = 0.0004
    idle[:, 2] = 0.0004 + last_bits
    both = np.concatenate([idle, returns], axis=1)
    base, result = test(returns, n_bootstrap=100), test(both, n_bootstrap=100)
    assert result.n_constant == 3
    assert result.n_sets == 15
    assert result.p_value == base.p_value
    assert result.statistic == base.statistic
    assert result.best == base.best + 3
    nothing = test(idle, n_bootstrap=100)
    assert math.isnan(nothing.p_value)
    assert math.isnan(nothing.statistic)
    assert nothing.best == -1
    assert "no set varies" in str(nothing)


@pytest.mark.parametrize("test", TESTS, ids=NAMES)
def test_all_worse_than_the_benchmark(test):
    result = test(noise(3) - 0.01, n_bootstrap=100)
    assert result.p_value > 0.99
    assert result.best_mean < 0


def test_losers_have_a_statistic_of_zero_and_a_p_value_of_one():
    result = superior_predictive_ability(noise(3) - 0.01, n_bootstrap=100)
    assert result.statistic == 0.0
    assert [result.lower, result.consistent, result.upper] == [1.0] * 3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"benchmark": 0.02}, ConfigError, "risk_free=0.02 and bars_per_year=252"),
        ({"risk_free": 0.02}, ConfigError, "needs bars_per_year"),
        (
            {"benchmark": np.zeros(300), "risk_free": 0.02, "bars_per_year": 252},
            ConfigError,
            "leave one of them out",
        ),
        ({"benchmark": np.zeros(299)}, SchemaError, "299 values, returns have 300"),
        (
            {"benchmark": np.full(300, np.nan)},
            SchemaError,
            "benchmark must be finite, it is nan at bar 0",
        ),
        ({"n_bootstrap": 0}, ConfigError, "n_bootstrap must be a whole number from 1"),
        ({"n_bootstrap": 1e3}, ConfigError, "n_bootstrap must be a whole number"),
        ({"mean_block_length": 0.5}, ConfigError, "mean_block_length must be at least"),
        ({"mean_block_length": 301}, ConfigError, "at most the number of bars, 300"),
        ({"seed": None}, ConfigError, "seed must be a whole number from 0"),
        ({"seed": -1}, ConfigError, "seed must be a whole number from 0"),
        ({"returns": np.zeros((15, 3))}, SchemaError, "at least 16 bars and 1 set"),
        ({"returns": np.zeros(300)}, SchemaError, "two dimensions"),
        ({"returns": np.full((300, 2), np.nan)}, SchemaError, "600 values are not"),
    ],
    ids=itertools.count(),
)
@pytest.mark.parametrize("test", TESTS, ids=NAMES)
def test_arguments_that_do_not_fit_are_refused(test, arguments, error, message):
    with pytest.raises(error, match=message):
        test(**({"returns": noise(1)} | arguments))


def test_results_explain_themselves():
    check = reality_check(edged(0, 0.002), n_bootstrap=200)
    first, second = str(check).split("\n")
    assert first.startswith(f"Reality check: p = {check.p_value:.3f}, the probability")
    assert "12 sets" in first
    assert f"set {check.best}, which beats the benchmark by 0.1" in first
    assert second.startswith("200 resamples of 300 bars in blocks of ")
    sure = edged(0, 0.02)
    sure[:, 0] = 0.0
    spa = superior_predictive_ability(sure, n_bootstrap=200)
    assert spa.p_value == spa.consistent == 0.0
    assert "p = below 0.005 (lower below 0.005" in str(spa)
    assert str(spa).endswith("1 set without any variation left out.")


def test_memory_of_a_thousand_sets(tmp_path):
    path = tmp_path / "returns.npy"
    np.save(path, np.random.default_rng(0).normal(0.0, 0.01, (1260, 1000)))
    returns = np.load(path, mmap_mode="r")
    tracemalloc.start()
    result = superior_predictive_ability(returns, n_bootstrap=200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.n_sets == 1000
    assert peak < 48 * 2**20
