"""Measures: equal to empyrical-reloaded, equal to arithmetic by hand, and the edges."""

from __future__ import annotations

import math
import statistics
from datetime import date, datetime, timedelta

import empyrical
import numpy as np
import polars as pl
import pytest

from barloop import metrics
from barloop.annualisation import infer_bars_per_year
from barloop.errors import ConfigError, SchemaError
from barloop.summary import summary

RTOL = 1e-10

NAMES = [
    "total_return",
    "cagr",
    "volatility",
    "sharpe",
    "sortino",
    "calmar",
    "max_drawdown",
    "max_drawdown_duration",
    "value_at_risk",
    "conditional_value_at_risk",
    "tail_ratio",
    "omega",
    "skew",
    "kurtosis",
    "hit_rate",
    "profit_factor",
    "best_return",
    "worst_return",
    "turnover",
    "mean_leverage",
    "time_in_market",
    "total_commission",
    "total_slippage",
    "total_carry",
    "total_deposits",
    "n_fills",
    "n_rebalances",
    "final_equity",
    "n_bars",
    "bars_per_year",
]

# Equity 100 -> 110 -> 104.5 -> 106.59 -> 95.931 -> 95.931 -> 115.1172
HAND = np.array([0.10, -0.05, 0.02, -0.10, 0.0, 0.20])


def draw(seed: int, n: int, kind: str) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if kind == "normal":
        return generator.normal(0.0005, 0.01, n)
    if kind == "heavy":
        return np.clip(0.01 * generator.standard_t(3, n), -0.5, 0.5)
    returns = generator.normal(0.0, 0.02, n)  # "sparse": flat on most bars
    returns[generator.random(n) < 0.6] = 0.0
    return returns


def summarise(equity, **changes):
    equity = np.asarray(equity, dtype=np.float64)
    zeros = np.zeros(equity.size)
    arguments = {
        "initial_cash": 100.0,
        "bars_per_year": 252,
        "traded_value": zeros,
        "gross_exposure": zeros,
        "commission": zeros,
        "slippage": zeros,
        "n_fills": 0,
        "n_rebalances": 0,
    }
    return summary(equity, **(arguments | changes))


# ------------------------------------------------------------------- against empyrical


@pytest.mark.parametrize("kind", ["normal", "heavy", "sparse"])
@pytest.mark.parametrize("n", [21, 22, 252, 1000, 2521])
@pytest.mark.parametrize(("bars_per_year", "risk_free"), [(252, 0.0), (12, 0.03)])
def test_measures_equal_empyrical(kind, n, bars_per_year, risk_free):
    returns = draw(n, n, kind)
    per_year = {"bars_per_year": bars_per_year}
    free = per_year | {"risk_free": risk_free}
    # empyrical wants the rate of a bar, but for omega the rate of a year.
    rate = (1.0 + risk_free) ** (1.0 / bars_per_year) - 1.0
    annual = {"annualization": bars_per_year}
    pairs = [
        (metrics.cagr(returns, **per_year), empyrical.annual_return(returns, **annual)),
        (
            metrics.volatility(returns, **per_year),
            empyrical.annual_volatility(returns, **annual),
        ),
        (
            metrics.sharpe(returns, **free),
            empyrical.sharpe_ratio(returns, risk_free=rate, **annual),
        ),
        (
            metrics.sortino(returns, **free),
            empyrical.sortino_ratio(returns, required_return=rate, **annual),
        ),
        (
            metrics.calmar(returns, **per_year),
            empyrical.calmar_ratio(returns, **annual),
        ),
        (metrics.max_drawdown(returns), empyrical.max_drawdown(returns)),
        (metrics.value_at_risk(returns), empyrical.value_at_risk(returns)),
        (
            metrics.conditional_value_at_risk(returns),
            empyrical.conditional_value_at_risk(returns),
        ),
        (metrics.tail_ratio(returns), empyrical.tail_ratio(returns)),
        (
            metrics.omega(returns, **free),
            empyrical.omega_ratio(returns, required_return=risk_free, **annual),
        ),
    ]
    for ours, theirs in pairs:
        assert ours == pytest.approx(theirs, rel=RTOL, abs=0.0)


@pytest.mark.parametrize("probability", [0.0, 0.01, 0.1, 0.5])
@pytest.mark.parametrize("n", [1, 2, 3, 20, 21, 101])
def test_tails_equal_empyrical_at_other_probabilities(n, probability):
    returns = draw(n, n, "normal")
    low = metrics.value_at_risk(returns, probability=probability)
    mean_below = metrics.conditional_value_at_risk(returns, probability=probability)
    theirs = empyrical.value_at_risk(returns, cutoff=probability)
    # A quantile between two values of opposite sign loses digits, hence the abs.
    assert low == pytest.approx(theirs, rel=RTOL, abs=1e-16)
    theirs = empyrical.conditional_value_at_risk(returns, cutoff=probability)
    assert mean_below == pytest.approx(theirs, rel=RTOL, abs=1e-16)
    ratio = metrics.tail_ratio(returns)
    assert ratio == pytest.approx(empyrical.tail_ratio(returns), rel=RTOL)


# ---------------------------------------------------------------------------- by hand


def test_growth_by_hand():
    # 1.10 * 0.95 * 1.02 * 0.90 * 1 * 1.20 = 1.151172; six bars of a year of twelve are
    # half a year, so the year squares it: 1.151172 ** 2 - 1.
    assert metrics.cagr(HAND, bars_per_year=12) == pytest.approx(1.151172**2 - 1.0)


def test_volatility_and_sharpe_by_hand():
    # Sum 0.17, mean 0.17 / 6.  Squares: 0.01 + 0.0025 + 0.0004 + 0.01 + 0 + 0.04
    # = 0.0629; less 0.17 ** 2 / 6 = 0.00481667 leaves 0.05808333, over 5 = 0.01161667.
    deviation = math.sqrt((0.0629 - 0.17**2 / 6) / 5)
    volatility = metrics.volatility(HAND, bars_per_year=4)
    assert volatility == pytest.approx(2.0 * deviation)
    sharpe = metrics.sharpe(HAND, bars_per_year=4)
    assert sharpe == pytest.approx(2.0 * (0.17 / 6) / deviation)
    # A year of four bars at 8.243216 % is 2 % per bar: 1.02 ** 4 = 1.08243216.
    sharpe = metrics.sharpe(HAND, bars_per_year=4, risk_free=0.08243216)
    assert sharpe == pytest.approx(2.0 * (0.17 / 6 - 0.02) / deviation)


def test_sortino_by_hand_divides_by_all_bars():
    # Losses 0.05 and 0.10: (0.0025 + 0.01) / 6 bars, not / 2 losses.
    downside = math.sqrt(0.0125 / 6)
    sortino = metrics.sortino(HAND, bars_per_year=4)
    assert sortino == pytest.approx(2.0 * (0.17 / 6) / downside)
    # Below 2 %: -0.07, -0.12 and -0.02; the bar of exactly 2 % counts as 0.
    downside = math.sqrt((0.0049 + 0.0144 + 0.0004) / 6)
    sortino = metrics.sortino(HAND, bars_per_year=4, risk_free=0.08243216)
    assert sortino == pytest.approx(2.0 * (0.17 / 6 - 0.02) / downside)


def test_drawdown_by_hand():
    # Peak 110, trough 95.931: 95.931 / 110 - 1 = -0.1279.
    assert metrics.max_drawdown(HAND) == pytest.approx(-0.1279)
    # Bars 1 to 4 are below 110, bar 5 is above.
    assert metrics.max_drawdown_duration(HAND) == 4
    # Half a year: (1.151172 ** 2 - 1) / 0.1279
    calmar = metrics.calmar(HAND, bars_per_year=12)
    assert calmar == pytest.approx((1.151172**2 - 1.0) / 0.1279)


@pytest.mark.parametrize(
    ("returns", "depth", "duration"),
    [
        ([0.1, 0.1], 0.0, 0),
        ([0.0, 0.0], 0.0, 0),
        ([-0.5, 0.1], -0.5, 2),  # from the start, below the initial 1, still open
        ([0.5, -0.5], -0.5, 1),  # still open on the last bar
        ([-0.5, 1.0, -0.1], -0.5, 1),  # back at exactly 1 is a recovery
        ([-0.5, 1.5, -0.1, -0.1, 0.1], -0.5, 3),  # the longest is not the deepest
        ([-1.0, 0.0, 0.0], -1.0, 3),
        ([-1.5], -1.5, 1),
    ],
)
def test_drawdown_cases(returns, depth, duration):
    assert metrics.max_drawdown(returns) == pytest.approx(depth, rel=1e-14)
    assert metrics.max_drawdown_duration(returns) == duration


@pytest.mark.parametrize("seed", range(5))
def test_drawdown_duration_equals_a_loop(seed):
    returns = draw(seed, 300, "sparse")
    equity = peak = 1.0
    longest = current = 0
    for r in returns:
        equity *= 1.0 + r
        current = current + 1 if equity < peak else 0
        peak = max(peak, equity)
        longest = max(longest, current)
    assert metrics.max_drawdown_duration(returns) == longest


def test_tails_by_hand():
    # Sorted -0.10, -0.05, 0, 0.02, 0.10, 0.20.  Position 0.05 * 5 = 0.25:
    # -0.10 + 0.25 * 0.05 = -0.0875.  Position 4.75: 0.10 + 0.75 * 0.10 = 0.175.
    assert metrics.value_at_risk(HAND) == pytest.approx(-0.0875)
    assert metrics.conditional_value_at_risk(HAND) == pytest.approx(-0.10)
    assert metrics.tail_ratio(HAND) == pytest.approx(0.175 / 0.0875)
    # Position 0.4 * 5 = 2: the third value, and the mean of three.
    assert metrics.value_at_risk(HAND, probability=0.4) == pytest.approx(0.0)
    mean_below = metrics.conditional_value_at_risk(HAND, probability=0.4)
    assert mean_below == pytest.approx(-0.05)


def test_omega_and_profit_factor_by_hand():
    # Gains 0.10 + 0.02 + 0.20 = 0.32, losses 0.05 + 0.10 = 0.15.
    assert metrics.omega(HAND, bars_per_year=4) == pytest.approx(0.32 / 0.15)
    assert metrics.profit_factor(HAND) == pytest.approx(0.32 / 0.15)
    # Less 2 % per bar: gains 0.08 + 0.18, losses 0.07 + 0.12 + 0.02.
    omega = metrics.omega(HAND, bars_per_year=4, risk_free=0.08243216)
    assert omega == pytest.approx(0.26 / 0.21)


def test_hit_rate_leaves_out_bars_without_a_move():
    # Three gains, two losses, one bar of 0.
    assert metrics.hit_rate(HAND) == 0.6


def test_skew_and_kurtosis_by_hand():
    # Mean 1; deviations -1, -1, -1, 3: squares sum 12, cubes 24, fourth powers 84.
    # 24/4 / (12/4) ** 1.5 = 6 / 5.19615 = 2 / sqrt(3);  84/4 / 9 - 3 = -2 / 3.
    returns = [0.0, 0.0, 0.0, 4.0]
    assert metrics.skew(returns) == pytest.approx(2.0 / math.sqrt(3.0))
    assert metrics.kurtosis(returns) == pytest.approx(-2.0 / 3.0)


@pytest.mark.parametrize("kind", ["normal", "heavy", "sparse"])
def test_skew_and_kurtosis_equal_sums_without_rounding(kind):
    returns = draw(11, 500, kind).tolist()
    mean = statistics.fmean(returns)
    second, third, fourth = (
        math.fsum((r - mean) ** k for r in returns) / 500 for k in (2, 3, 4)
    )
    assert metrics.skew(returns) == pytest.approx(third / second**1.5, rel=1e-9)
    assert metrics.kurtosis(returns) == pytest.approx(fourth / second**2 - 3, rel=1e-9)


# ------------------------------------------------------------------------------ edges

PER_YEAR = [metrics.cagr, metrics.volatility, metrics.sharpe, metrics.sortino]
PER_YEAR += [metrics.calmar, metrics.omega]
PER_BAR = [metrics.max_drawdown, metrics.max_drawdown_duration, metrics.value_at_risk]
PER_BAR += [metrics.conditional_value_at_risk, metrics.tail_ratio, metrics.skew]
PER_BAR += [metrics.kurtosis, metrics.hit_rate, metrics.profit_factor]


def name_of(measure):
    return measure.__name__


def value_of(measure, returns):
    if measure in PER_YEAR:
        return measure(returns, bars_per_year=252)
    return measure(returns)


@pytest.mark.parametrize("measure", PER_YEAR + PER_BAR, ids=name_of)
@pytest.mark.parametrize(
    "returns", [[], [0.1, math.nan, 0.2], [0.1, math.inf]], ids=["empty", "nan", "inf"]
)
def test_undefined_input_gives_nan(measure, returns):
    assert math.isnan(value_of(measure, returns))


@pytest.mark.parametrize("measure", PER_YEAR + PER_BAR, ids=name_of)
def test_measures_do_not_change_their_input(measure):
    returns = draw(1, 300, "normal")
    before = returns.copy()
    returns.flags.writeable = False
    assert isinstance(value_of(measure, returns), float)
    assert (returns == before).all()


@pytest.mark.parametrize("measure", PER_YEAR + PER_BAR, ids=name_of)
def test_two_dimensions_are_refused(measure):
    with pytest.raises(SchemaError, match=r"returns must have one .* shape \(2, 2\)"):
        value_of(measure, np.zeros((2, 2)))


@pytest.mark.parametrize("value", [0.0, 0.1, -0.003])
def test_equal_returns(value):
    # The mean of seven times 0.1 is not 0.1 in floating point.
    returns = np.full(7, value)
    assert metrics.volatility(returns, bars_per_year=252) == 0.0
    assert math.isnan(metrics.sharpe(returns, bars_per_year=252))
    assert math.isnan(metrics.skew(returns))
    assert math.isnan(metrics.kurtosis(returns))


def test_one_return():
    assert metrics.cagr([0.1], bars_per_year=2) == pytest.approx(1.1**2 - 1.0)
    assert metrics.max_drawdown([-0.1]) == pytest.approx(-0.1)
    assert metrics.value_at_risk([-0.1]) == -0.1
    assert metrics.conditional_value_at_risk([-0.1]) == -0.1
    for measure in (metrics.volatility, metrics.sharpe, metrics.sortino, metrics.omega):
        assert math.isnan(measure([-0.1], bars_per_year=252))


def test_ratios_without_a_loss_are_nan():
    gains = [0.1, 0.2, 0.0]
    assert math.isnan(metrics.sortino(gains, bars_per_year=252))
    assert math.isnan(metrics.calmar(gains, bars_per_year=252))
    assert math.isnan(metrics.omega(gains, bars_per_year=252))
    assert math.isnan(metrics.profit_factor(gains))
    assert metrics.hit_rate(gains) == 1.0
    assert math.isnan(metrics.hit_rate([0.0, 0.0]))
    assert math.isnan(metrics.tail_ratio([0.0, 0.0]))


def test_growth_of_a_total_loss():
    assert metrics.cagr([0.1, -1.0], bars_per_year=252) == -1.0
    assert math.isnan(metrics.cagr([0.1, -1.5], bars_per_year=252))


def test_growth_too_large_for_a_float_is_infinite_and_none_in_the_summary():
    assert metrics.cagr([9.0], bars_per_year=98_280) == math.inf
    assert summarise([1000.0], bars_per_year=98_280)["cagr"] is None


def test_tiny_returns_do_not_raise():
    assert math.isnan(metrics.kurtosis([1e-160, -1e-160, 0.0]))


@pytest.mark.parametrize("measure", PER_YEAR, ids=name_of)
@pytest.mark.parametrize("bars_per_year", [0, -252, math.nan])
def test_bars_per_year_must_be_positive(measure, bars_per_year):
    with pytest.raises(ConfigError, match="bars_per_year must be positive"):
        measure(HAND, bars_per_year=bars_per_year)


def test_other_numbers_out_of_range():
    with pytest.raises(ConfigError, match=r"risk_free must be above -1, got -1.0"):
        metrics.sharpe(HAND, bars_per_year=252, risk_free=-1.0)
    with pytest.raises(ConfigError, match=r"probability must be .* got 0.95"):
        metrics.value_at_risk(HAND, probability=0.95)


# ------------------------------------------------------------------ infer_bars_per_year


def days(first: date, n: int, step: int = 1) -> pl.Series:
    return pl.Series([first + timedelta(days=step * k) for k in range(n)])


def weekdays(first: date, n: int) -> pl.Series:
    found = days(first, 2 * n + 7)
    return found.filter(found.dt.weekday() <= 5).head(n)


def ends(n: int, every: str) -> pl.Series:
    months = pl.date_range(
        date(2010, 1, 1), date(2030, 1, 1), every, closed="left", eager=True
    )
    return months.dt.month_end().head(n)


MONDAY = date(2024, 1, 1)


@pytest.mark.parametrize(
    ("timestamps", "expected"),
    [
        (weekdays(MONDAY, 5), 252),
        (weekdays(MONDAY, 252), 252),
        (weekdays(MONDAY, 2520), 252),
        (weekdays(date(2024, 1, 5), 2), 252),  # Friday and Monday
        (days(MONDAY, 10), 365),
        (days(MONDAY, 1000), 365),
        (days(MONDAY, 6), 365),
        (days(MONDAY, 60, step=7), 52),
        (days(date(2024, 1, 6), 60, step=7), 52),  # Saturdays
        (ends(36, "1mo"), 12),
        (ends(20, "1q"), 4),
        (ends(10, "1y"), 1),
        (weekdays(MONDAY, 2000).gather_every(2), 130),  # 260.9 / 2
        (days(MONDAY, 400, step=3), 122),  # 365.25 / 3 = 121.75
        (days(MONDAY, 1), 252),
        (days(date(2024, 1, 6), 1), 365),
    ],
)
def test_infer_bars_per_year_of_days(timestamps, expected):
    assert infer_bars_per_year(timestamps) == expected
    for unit in ("ms", "us", "ns"):
        stamps = timestamps.cast(pl.Datetime(unit))
        assert infer_bars_per_year(stamps) == expected


def test_infer_bars_per_year_counts_the_bars_of_a_day():
    minutes = pl.Series(
        [
            datetime(2024, 1, 1, 9, 31) + timedelta(days=d, minutes=m)
            for d in (0, 1, 2, 3, 4, 7)
            for m in range(390)
        ]
    )
    assert infer_bars_per_year(minutes) == 252 * 390
    assert infer_bars_per_year(minutes.head(390)) == 252 * 390
    hours = pl.Series([datetime(2024, 1, 1) + timedelta(hours=h) for h in range(2400)])
    assert infer_bars_per_year(hours) == 365 * 24


def test_infer_bars_per_year_uses_local_days():
    # 20:00 in New York is the next day in UTC.
    evenings = weekdays(MONDAY, 10).cast(pl.Datetime("us")) + timedelta(hours=20)
    local = evenings.dt.replace_time_zone("America/New_York")
    assert infer_bars_per_year(local) == 252


@pytest.mark.parametrize(
    "timestamps",
    [pl.Series([1, 2, 3]), pl.Series(["2024-01-01"]), pl.Series([], dtype=pl.Date)],
    ids=["integers", "text", "empty"],
)
def test_infer_bars_per_year_asks_when_it_cannot_know(timestamps):
    with pytest.raises(ConfigError, match=r"(?s)cannot be inferred.*bars_per_year=252"):
        infer_bars_per_year(timestamps)


# ---------------------------------------------------------------------------- summary


def test_summary_has_a_stable_order():
    assert list(summarise([101.0, 100.0])) == NAMES


@pytest.mark.parametrize("risk_free", [0.0, 0.03])
@pytest.mark.parametrize("kind", ["normal", "heavy", "sparse"])
def test_summary_equals_the_functions(kind, risk_free):
    returns = draw(3, 700, kind)
    equity = 100.0 * np.cumprod(1.0 + returns)
    measures = summarise(equity, risk_free=risk_free)
    for measure in PER_YEAR + PER_BAR:
        options = {"bars_per_year": 252} if measure in PER_YEAR else {}
        if measure in (metrics.sharpe, metrics.sortino, metrics.omega):
            options["risk_free"] = risk_free
        # The equity carries its own rounding, of 1e-16 per bar.
        assert measures[name_of(measure)] == pytest.approx(
            measure(returns, **options), rel=1e-9
        )


def test_summary_by_hand():
    # The account starts with 100.  Bar 1 trades 110 at an equity of 110, bar 2 trades
    # 22 at 88.  Drawdown 88 / 110 - 1; bars 2 and 3 are below the peak, to the end.
    measures = summarise(
        [110.0, 110.0, 88.0, 99.0],
        bars_per_year=4,
        traded_value=[0.0, 110.0, 22.0, 0.0],
        gross_exposure=[0.0, 55.0, 88.0, 49.5],
        commission=[0.0, 1.0, 0.25, 0.0],
        slippage=[0.0, 0.5, 0.5, 0.0],
        n_fills=3,
        n_rebalances=2,
    )
    expected = {
        "total_return": -0.01,
        "cagr": -0.01,  # four bars of a year of four
        "max_drawdown": -0.2,
        "max_drawdown_duration": 2,
        "calmar": -0.05,
        "hit_rate": 2 / 3,  # +10 %, 0, -20 %, +12.5 %
        "profit_factor": 0.225 / 0.2,
        "omega": 0.225 / 0.2,
        "best_return": 0.125,
        "worst_return": -0.2,
        # (110 / 110 + 22 / 88) / 2 = 0.625 in four bars, which are one year
        "turnover": 0.625,
        "mean_leverage": (0.0 + 0.5 + 1.0 + 0.5) / 4,
        "time_in_market": 0.75,
        "total_commission": 1.25,
        "total_slippage": 1.0,
        "n_fills": 3,
        "n_rebalances": 2,
        "final_equity": 99.0,
        "n_bars": 4,
        "bars_per_year": 4,
    }
    for name, value in expected.items():
        assert measures[name] == pytest.approx(value, rel=1e-12), name


def test_summary_with_deposits_counts_the_growth_of_each_bar():
    # 100 grows to 110; 90 put in and 10 lost: 190 of 200; half is taken out.
    measures = summarise(
        [110.0, 190.0, 95.0, 104.5],
        bars_per_year=4,
        carry=[1.5, 0.0, -0.5, 2.0],
        deposits=[0.0, 90.0, -95.0, 0.0],
    )
    growth = 1.1 * 0.95 * 1.0 * 1.1
    assert measures["total_return"] == pytest.approx(growth - 1, rel=1e-14)
    assert measures["cagr"] == pytest.approx(growth - 1, rel=1e-14)
    assert measures["max_drawdown"] == pytest.approx(-0.05, rel=1e-13)
    assert measures["max_drawdown_duration"] == 2
    assert measures["best_return"] == pytest.approx(0.1)
    assert measures["worst_return"] == pytest.approx(-0.05)
    assert measures["hit_rate"] == pytest.approx(2 / 3)
    assert (measures["total_carry"], measures["total_deposits"]) == (3.0, -5.0)
    assert measures["final_equity"] == 104.5
    returns = np.array([0.1, -0.05, 0.0, 0.1])
    for measure in (metrics.sharpe, metrics.sortino, metrics.calmar):
        assert measures[name_of(measure)] == pytest.approx(
            measure(returns, bars_per_year=4), rel=1e-9
        )


def test_summary_without_deposits_is_that_of_the_equity():
    equity = 100.0 * np.cumprod(1.0 + draw(3, 300, "normal"))
    zeros = np.zeros(equity.size)
    assert summarise(equity, deposits=zeros, carry=zeros) == summarise(equity)
    # Twice the money on both sides of a deposit: the same returns, up to rounding.
    scaled = equity * np.where(np.arange(equity.size) >= 100, 2.0, 1.0)
    deposits = np.where(np.arange(equity.size) == 100, equity[99], 0.0)
    there = summarise(scaled, deposits=deposits)
    here = summarise(equity)
    for name in ("final_equity", "total_deposits"):
        del there[name], here[name]
    assert there == pytest.approx(here, rel=1e-9)


def test_summary_of_an_account_that_is_emptied_and_ruined():
    # All is taken out, so that the next bar starts from nothing.
    emptied = summarise([110.0, 0.0, 0.0], deposits=[0.0, -110.0, 0.0])
    assert emptied["total_return"] == pytest.approx(0.1)
    assert emptied["max_drawdown"] == 0.0
    assert emptied["sharpe"] is None
    ruined = summarise([110.0, -22.0, -22.0], deposits=[0.0, 110.0, 0.0], ruined=True)
    assert ruined["total_return"] == pytest.approx(1.1 * -0.1 - 1)
    assert ruined["max_drawdown"] == pytest.approx(-1.1)
    assert ruined["max_drawdown_duration"] == 2


def test_summary_values_are_plain_python_numbers():
    equity = 100.0 * np.cumprod(1.0 + draw(3, 100, "normal"))
    measures = summarise(equity, n_fills=np.int64(3), n_rebalances=np.int64(2))
    counts = ("max_drawdown_duration", "n_fills", "n_rebalances", "n_bars")
    for name, value in measures.items():
        if value is not None:
            expected = int if name in (*counts, "bars_per_year") else float
            assert type(value) is expected, name


def test_summary_of_an_account_that_never_trades():
    measures = summarise([100.0, 100.0, 100.0])
    undefined = {"sharpe", "sortino", "calmar", "tail_ratio", "omega", "skew"}
    undefined |= {"kurtosis", "hit_rate", "profit_factor"}
    assert {name for name, value in measures.items() if value is None} == undefined
    assert measures["total_return"] == 0.0
    assert measures["volatility"] == 0.0
    assert measures["time_in_market"] == 0.0


def test_summary_of_a_ruined_account_has_no_ratios():
    measures = summarise(
        [50.0, -10.0, -10.0],
        traded_value=[100.0, 0.0, 60.0],
        gross_exposure=[150.0, 60.0, 0.0],
        commission=[1.0, 0.0, 0.0],
        n_fills=2,
        n_rebalances=1,
        ruined=True,
    )
    left = {name: value for name, value in measures.items() if value is not None}
    assert left == {
        "total_return": -10.0 / 100.0 - 1.0,
        "max_drawdown": -10.0 / 100.0 - 1.0,
        "max_drawdown_duration": 3,
        "time_in_market": 2 / 3,
        "total_commission": 1.0,
        "total_slippage": 0.0,
        "total_carry": 0.0,
        "total_deposits": 0.0,
        "n_fills": 2,
        "n_rebalances": 1,
        "final_equity": -10.0,
        "n_bars": 3,
        "bars_per_year": 252,
    }


@pytest.mark.parametrize("ruined", [False, True])
def test_summary_of_an_equity_of_exactly_zero(ruined):
    # Without the flag it is recognised by the return that cannot be computed.
    measures = summarise([50.0, 0.0, 0.0], ruined=ruined)
    assert measures["total_return"] == -1.0
    assert measures["sharpe"] is None
    assert measures["turnover"] is None
    assert measures["max_drawdown"] == -1.0


def test_summary_of_no_bars():
    measures = summarise([])
    left = {name: value for name, value in measures.items() if value is not None}
    assert left == {
        "total_commission": 0.0,
        "total_slippage": 0.0,
        "total_carry": 0.0,
        "total_deposits": 0.0,
        "n_fills": 0,
        "n_rebalances": 0,
        "n_bars": 0,
        "bars_per_year": 252,
    }


def test_summary_does_not_change_its_input():
    equity = 100.0 * np.cumprod(1.0 + draw(3, 100, "normal"))
    before = equity.copy()
    equity.flags.writeable = False
    summarise(equity)
    assert (equity == before).all()


def test_summary_refuses_arrays_of_other_lengths():
    with pytest.raises(SchemaError, match="commission has 1 values, equity has 2"):
        summarise([100.0, 101.0], commission=[0.0])
    with pytest.raises(SchemaError, match=r"equity must have one dimension"):
        summarise([[100.0, 101.0]])
