"""`SweepResult`: what is best, what it proves, and what is shown of it."""

from __future__ import annotations

import datetime as dt
import math
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

import barloop as bl
from barloop import bootstrap, overfitting
from barloop.errors import ConfigError, SimulationError
from barloop.numerics import risk_free_per_bar, starting_equity
from barloop.sets import SetList
from barloop.summary import summary
from barloop.sweep_measures import NEITHER_IS_BETTER, SMALLER_IS_BETTER
from barloop.sweep_result import SweepResult

CASH = 1_000.0


def walks(n_sets: int, n_bars: int, seed: int = 0) -> np.ndarray:
    """Equity curves (n_sets, n_bars); set 3 or the last has the highest drift."""
    rng = np.random.default_rng(seed)
    returns = rng.normal(0.0002, 0.01, (n_sets, n_bars))
    returns[min(3, n_sets - 1)] += 0.0012
    return CASH * np.cumprod(1 + returns, axis=1)


def runs_of(
    grid,
    equity: np.ndarray,
    *,
    errors: dict[int, str] | None = None,
    keep: str = "equity",
    initial_cash=CASH,
    deposits=None,
    risk_free=0.0,
    bars_per_year=252.0,
    metrics: list[str] | None = None,
    **options,
) -> SweepResult:
    """A sweep of made up equity curves, measured as runs are."""
    sets = SetList.of(grid)
    n_sets, n_bars = equity.shape
    assert len(sets) == n_sets
    columns = sets.columns()
    zeros = np.zeros(n_bars)
    equity = equity.copy()
    rows = []
    for k in range(n_sets):
        row = summary(
            equity[k],
            initial_cash=float(np.broadcast_to(initial_cash, n_sets)[k]),
            bars_per_year=bars_per_year,
            risk_free=risk_free,
            traded_value=zeros,
            gross_exposure=equity[k],
            commission=zeros,
            slippage=zeros,
            deposits=deposits,
            n_fills=k,
            n_rebalances=1,
        )
        if errors and k in errors:
            row = dict.fromkeys(row)
            equity[k] = np.nan
        rows.append(row)
    measured = pl.DataFrame(rows, infer_schema_length=None)
    error = [(errors or {}).get(k) for k in range(n_sets)]
    frame = pl.DataFrame({"set": range(n_sets)}).hstack(columns)
    frame = frame.hstack(measured.select(metrics or measured.columns))
    frame = frame.with_columns(pl.Series("error", error, dtype=pl.String))
    days = [dt.date(2020, 1, 1) + dt.timedelta(days=t) for t in range(n_bars)]
    return SweepResult(
        metrics=frame,
        parameter_names=sets.names,
        equity=equity if keep == "equity" else None,
        timestamps=pl.Series("day", days),
        initial_cash=initial_cash,
        deposits=deposits,
        bars_per_year=bars_per_year,
        risk_free=risk_free,
        rerun=lambda k: ("rerun", k),
        notices=sets.notices,
        **options,
    )


@pytest.fixture(scope="module")
def runs() -> SweepResult:
    """Six sets over 400 bars; set 1 failed."""
    return runs_of(
        {"lookback": [20, 60, 120], "n": [5, 10]},
        walks(6, 400),
        errors={1: 'WeightsError: n is too large\nat 2020-01-09, asset "XYZ".'},
        n_reused=2,
        seconds=0.5,
    )


def test_table_and_counts(runs):
    assert len(runs) == 6
    assert runs.n_failed == 1
    assert runs.parameter_names == ("lookback", "n")
    assert runs.metric_names[:4] == ("total_return", "cagr", "volatility", "sharpe")
    assert runs.metrics.columns[:3] == ["set", "lookback", "n"]
    assert runs.metrics.columns[-1] == "error"
    assert runs.frame.equals(runs.metrics)
    assert runs.parameters.equals(runs.metrics.select("lookback", "n"))
    assert runs.failed.rows() == [
        (1, 20, 10, 'WeightsError: n is too large\nat 2020-01-09, asset "XYZ".')
    ]


def test_writing_into_the_table_does_not_reach_the_result(runs):
    runs.metrics[0, "n"] = 99
    runs.metrics.drop_in_place("n")
    plateau = runs.plateau()
    plateau[0, "n"] = 99
    assert runs.metrics["n"][0] == 5
    assert 99 not in runs.plateau()["n"]


def test_best_is_the_highest_sharpe(runs):
    best = runs.best()
    assert best["set"] == 3
    assert (best["lookback"], best["n"], best["error"]) == (60, 10, None)
    assert best["sharpe"] == runs.metrics["sharpe"].max()


@pytest.mark.parametrize("metric", ["volatility", "max_drawdown_duration", "n_fills"])
def test_best_is_the_lowest_where_small_is_good(runs, metric):
    assert metric in SMALLER_IS_BETTER
    assert runs.best(metric)[metric] == runs.metrics[metric].min()
    assert runs.best(metric, minimize=False)[metric] == runs.metrics[metric].max()


def test_losses_are_negative_so_the_largest_is_best(runs):
    for metric in ("max_drawdown", "value_at_risk", "worst_return"):
        assert runs.best(metric)[metric] == runs.metrics[metric].max()


@pytest.mark.parametrize("metric", NEITHER_IS_BETTER)
def test_no_best_where_neither_end_is_good(runs, metric):
    with pytest.raises(ConfigError, match=f"{metric}.*\n.*minimize=True"):
        runs.best(metric)
    assert runs.best(metric, minimize=True)["set"] == 0


def test_every_measure_has_a_known_direction(runs):
    groups = (*SMALLER_IS_BETTER, *NEITHER_IS_BETTER)
    assert set(groups) <= set(runs.metric_names)
    assert len(set(groups)) == len(groups)


@pytest.mark.parametrize("call", ["best", "top", "plateau", "marginal", "heatmap"])
def test_unknown_measure_names_the_nearest(runs, call):
    arguments = ("lookback", "n") if call == "heatmap" else ()
    with pytest.raises(ConfigError, match=r"'sharp' is no measure.*'sharpe'"):
        getattr(runs, call)(*arguments, metric="sharp")


def test_parameter_is_no_measure(runs):
    with pytest.raises(ConfigError, match="'lookback' is a parameter of this sweep"):
        runs.best("lookback")


def test_failed_and_undefined_sets_are_never_best():
    equity = walks(4, 50)
    equity[2] = CASH  # never trades: no Sharpe ratio, but the lowest volatility
    runs = runs_of({"n": range(4)}, equity, errors={3: "ruined at 2020-01-09"})
    # A ruined set keeps some measures, as from a sweep.
    frame = runs.metrics.with_columns(
        total_return=pl.when(pl.col("set") == 3).then(9.0).otherwise("total_return")
    )
    ruined = SweepResult(
        metrics=frame,
        parameter_names=["n"],
        equity=None,
        timestamps=runs.timestamps,
        initial_cash=CASH,
        deposits=None,
        bars_per_year=252,
        risk_free=0.0,
        rerun=lambda k: None,
    )
    assert ruined.best("total_return")["set"] != 3
    assert ruined.best("sharpe")["set"] in (0, 1)
    assert ruined.best("volatility")["set"] == 2
    assert ruined.top("sharpe", 9)["set"].sort().to_list() == [0, 1]


def test_no_set_has_a_value():
    runs = runs_of({"n": [1, 2]}, walks(2, 50), errors={0: "broken", 1: "worse"})
    with pytest.raises(SimulationError, match="2 of 2 failed, the first with broken"):
        runs.best()
    shown = str(runs)
    assert "no set has a 'sharpe'" in shown
    assert "first set 0: n=1: broken" in shown


def test_equal_sets_keep_their_order():
    equity = np.repeat(walks(1, 60), 4, axis=0)
    runs = runs_of({"n": range(4)}, equity)
    assert runs.best()["set"] == 0
    assert runs.top(n=3)["set"].to_list() == [0, 1, 2]
    assert runs.top("volatility", 3)["set"].to_list() == [0, 1, 2]


def test_top_is_sorted_with_its_measure_first(runs):
    top = runs.top("calmar", 3)
    assert top.columns[:4] == ["set", "lookback", "n", "calmar"]
    assert sorted(top.columns) == sorted(runs.metrics.columns)
    expected = runs.metrics.sort("calmar", descending=True, nulls_last=True).head(3)
    assert top["set"].to_list() == expected["set"].to_list()


def test_rerun_checks_the_number(runs):
    assert runs.rerun(5) == ("rerun", 5)
    assert runs.rerun(np.int64(0)) == ("rerun", 0)
    for k in (-1, 6, 1.0, "3", None, True):
        with pytest.raises(ConfigError, match="numbered from 0 to 5"):
            runs.rerun(k)


def test_plateau_is_sorted_with_the_best_first(runs):
    found = runs.plateau()
    assert found.columns[:4] == ["set", "lookback", "n", "sharpe"]
    scores = found["plateau"].drop_nulls()
    assert scores.to_list() == sorted(scores, reverse=True)
    assert found["plateau"].null_count() == 1  # the failed set
    # Set 0 has the neighbours 1, which failed, and 2.
    sharpe = runs.metrics["sharpe"]
    row = found.row(by_predicate=pl.col("set") == 0, named=True)
    assert row["plateau"] == pytest.approx((sharpe[0] + sharpe[2]) / 2)
    assert (row["n_neighbours"], row["n_missing"]) == (1, 1)
    lowest = runs.plateau("volatility")["plateau"].drop_nulls()
    assert lowest.to_list() == sorted(lowest)


def test_marginal_effects_of_the_sweep(runs):
    found = runs.marginal()
    assert found["parameter"].to_list() == ["lookback"] * 3 + ["n"] * 2
    assert found["n_missing"].to_list() == [1, 0, 0, 0, 1]
    ten = runs.metrics.filter(pl.col("n") == 10)["sharpe"].mean()
    assert found["mean"][4] == pytest.approx(ten)


def test_returns_are_those_of_a_run():
    equity = walks(5, 80)
    deposits = np.zeros(80)
    deposits[[10, 40]] = 250.0, -30.0
    cash = np.array([1e3, 2e3, 3e3, 1e3, 5e2])
    runs = runs_of(
        {"n": range(5)},
        equity,
        errors={2: "broken"},
        initial_cash=cash,
        deposits=deposits,
    )
    found = runs.returns()
    assert found.shape == (80, 4)
    for column, k in enumerate((0, 1, 3, 4)):
        starting = starting_equity(equity[k], cash[k], deposits)
        np.testing.assert_array_equal(found[:, column], equity[k] / starting - 1.0)


def test_returns_are_computed_in_parts(monkeypatch):
    runs = runs_of({"n": range(7)}, walks(7, 30))
    whole = runs.returns()
    monkeypatch.setattr("barloop.sweep_trials._ROOM", 65)  # two sets at a time
    np.testing.assert_array_equal(runs.returns(), whole)


def test_returns_from_a_mapped_file(tmp_path, runs):
    path = tmp_path / "equity.npy"
    np.save(path, runs.equity)
    mapped = SweepResult(
        metrics=runs.metrics,
        parameter_names=runs.parameter_names,
        equity=np.load(path, mmap_mode="r"),
        timestamps=runs.timestamps,
        initial_cash=CASH,
        deposits=None,
        bars_per_year=252,
        risk_free=0.0,
        rerun=lambda k: None,
    )
    np.testing.assert_array_equal(mapped.returns(), runs.returns())
    assert mapped.equity_of(0).equals(runs.equity_of(0))


def test_equity_of_one_set(runs):
    found = runs.equity_of(2)
    assert found.columns == ["day", "equity"]
    np.testing.assert_array_equal(found["equity"], runs.equity[2])
    assert runs.equity_of(1)["equity"].null_count() == 400
    with pytest.raises(ConfigError, match="no set 6"):
        runs.equity_of(6)


def test_without_equity_the_message_says_what_to_do():
    runs = runs_of({"n": [1, 2]}, walks(2, 50), keep="metrics")
    for call in (
        runs.returns,
        runs.pbo,
        runs.reality_check,
        runs.superior_predictive_ability,
        lambda: runs.equity_of(0),
        lambda: runs.reality_check(np.zeros(50)),
    ):
        with pytest.raises(
            SimulationError, match=r"(?s)needs the equity.*keep='equity'"
        ):
            call()


def deflated_by_hand(runs: SweepResult, k: int, n_trials: float) -> float:
    """The formula of Bailey and Lopez de Prado, of the returns of one set."""
    from statistics import NormalDist

    normal, euler = NormalDist(), 0.5772156649015329
    ok = runs.metrics.filter(pl.col("error").is_null())["set"].to_list()
    per_bar = [
        returns.mean() / returns.std(ddof=1)
        for returns in runs.returns().T
        if np.ptp(returns) > 0
    ]
    deviation = np.std(per_bar, ddof=1)
    luck = deviation * (
        (1 - euler) * normal.inv_cdf(1 - 1 / n_trials)
        + euler * normal.inv_cdf(1 - 1 / (n_trials * math.e))
    )
    returns = runs.returns()[:, ok.index(k)]
    centred = returns - returns.mean()
    sharpe = returns.mean() / returns.std(ddof=1)
    skew = (centred**3).mean() / (centred**2).mean() ** 1.5
    kurtosis = (centred**4).mean() / (centred**2).mean() ** 2  # 3 for a normal one
    spread = 1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2
    return normal.cdf((sharpe - luck) * math.sqrt(returns.size - 1) / math.sqrt(spread))


def test_deflated_sharpe_follows_from_the_metrics(runs):
    # Six trials, the failed one included; the variance is that of five.
    expected = deflated_by_hand(runs, 3, 6)
    assert 0.01 < expected < 0.99
    assert runs.deflated_sharpe() == pytest.approx(expected, rel=1e-9)
    assert runs.deflated_sharpe(4) == pytest.approx(deflated_by_hand(runs, 4, 6))
    more = runs.deflated_sharpe(n_trials=500)
    assert more == pytest.approx(deflated_by_hand(runs, 3, 500))
    assert more < runs.deflated_sharpe() < runs.deflated_sharpe(n_trials=2)


def test_deflated_sharpe_needs_no_equity(runs):
    lean = runs_of(
        {"lookback": [20, 60, 120], "n": [5, 10]},
        walks(6, 400),
        errors={1: "broken"},
        keep="metrics",
    )
    assert lean.deflated_sharpe() == runs.deflated_sharpe()
    assert lean.minimum_track_record() == runs.minimum_track_record()


def test_deflated_sharpe_of_the_published_example():
    # SR 2.5 a year of 250 bars, T 1250, skew -3, kurtosis 10, N 100, variance 0.5.
    frame = pl.DataFrame(
        {
            "set": [0, 1, 2],
            "n": [1, 2, 3],
            # The variance of the annual ratios is 0.5: 2.5, and 2.5 - 1.5 +- a.
            "sharpe": [2.5, 2.5 - 1.0, 2.5 - math.sqrt(0.75) - 0.5],
            "skew": [-3.0] * 3,
            "kurtosis": [7.0] * 3,  # the excess
            "n_bars": [1250] * 3,
            "error": pl.Series([None] * 3, dtype=pl.String),
        }
    )
    a = math.sqrt(0.5)
    frame = frame.with_columns(sharpe=pl.Series([2.5, 2.5 - a, 2.5 - 2 * a]))
    assert frame["sharpe"].var() == pytest.approx(0.5)
    runs = SweepResult(
        metrics=frame,
        parameter_names=("n",),
        equity=None,
        timestamps=pl.Series("t", range(1250)),
        initial_cash=1.0,
        deposits=None,
        bars_per_year=250,
        risk_free=0.0,
        rerun=lambda k: None,
    )
    assert runs.deflated_sharpe(n_trials=100) == pytest.approx(0.9004, abs=5e-5)


def test_sets_without_a_sharpe_are_trials():
    equity = walks(6, 300)
    alone = runs_of({"n": range(5)}, equity[:5])
    equity[5] = CASH  # never trades
    joined = runs_of({"n": range(6)}, equity)
    assert joined.metrics["sharpe"][5] is None
    assert joined.deflated_sharpe() == alone.deflated_sharpe(n_trials=6)
    assert joined.deflated_sharpe() < alone.deflated_sharpe()


def test_one_set_is_no_selection():
    runs = runs_of({"n": [7]}, walks(1, 300))
    returns = runs.returns()[:, 0]
    expected = overfitting.probabilistic_sharpe_ratio(returns)
    assert runs.deflated_sharpe() == pytest.approx(expected, rel=1e-9)
    assert math.isnan(runs.deflated_sharpe(n_trials=10))
    assert "it was the only trial" in " ".join(str(runs).split())


def test_years_of_several_lengths():
    equity = walks(4, 200)
    one = runs_of({"n": range(4)}, equity)
    years = pl.Series("bars_per_year", [252.0, 365.0, 52.0, 252.0])
    scaled = one.metrics.with_columns(
        years, sharpe=pl.col("sharpe") * (years / 252.0).sqrt()
    )
    two = SweepResult(
        metrics=scaled,
        parameter_names=("n",),
        equity=None,
        timestamps=one.timestamps,
        initial_cash=CASH,
        deposits=None,
        bars_per_year=252,
        risk_free=0.0,
        rerun=lambda k: None,
    )
    for k in range(4):
        expected = one.deflated_sharpe(k)
        assert two.deflated_sharpe(k) == pytest.approx(expected, rel=1e-9)
        annual = 0.3 * math.sqrt(years[k] / 252)
        assert two.minimum_track_record(k, benchmark_sharpe=annual) == pytest.approx(
            one.minimum_track_record(k, benchmark_sharpe=0.3), rel=1e-9
        )


def test_deflated_sharpe_refuses(runs):
    with pytest.raises(SimulationError, match="set 1 has no Sharpe ratio: Weights"):
        runs.deflated_sharpe(1)
    with pytest.raises(ConfigError, match="no set 99"):
        runs.deflated_sharpe(99)
    with pytest.raises(ConfigError, match="n_trials must be at least 1"):
        runs.deflated_sharpe(n_trials=0)
    few = runs_of({"n": [1, 2]}, walks(2, 50), metrics=["sharpe", "skew"])
    with pytest.raises(ConfigError, match=r"needs the measures 'kurtosis'.*\n.*None"):
        few.deflated_sharpe()


def test_minimum_track_record_is_that_of_the_returns(runs):
    returns = runs.returns()[:, 2]  # set 3: set 1 failed
    expected = overfitting.minimum_track_record_length(
        returns, benchmark_sharpe=0.5, probability=0.9, bars_per_year=252
    )
    found = runs.minimum_track_record(3, benchmark_sharpe=0.5, probability=0.9)
    assert found == pytest.approx(expected, rel=1e-9)
    default = overfitting.minimum_track_record_length(returns)
    assert runs.minimum_track_record() == pytest.approx(default, rel=1e-9)


def test_tests_name_sets_not_columns(runs):
    # Set 3 is the third column, because set 1 failed.
    excess = runs.returns()
    pbo = runs.pbo(n_blocks=8)
    expected = overfitting.probability_of_backtest_overfitting(
        excess, n_blocks=8, bars_per_year=252
    )
    assert pbo.pbo == expected.pbo
    assert set(pbo.selected) <= {0, 2, 3, 4, 5}
    np.testing.assert_array_equal(
        pbo.selected, np.array([0, 2, 3, 4, 5])[expected.selected]
    )
    check = runs.reality_check(n_bootstrap=200)
    assert check.best == 3
    assert check.p_value == bootstrap.reality_check(excess, n_bootstrap=200).p_value
    spa = runs.superior_predictive_ability(n_bootstrap=200, seed=4)
    same = bootstrap.superior_predictive_ability(excess, n_bootstrap=200, seed=4)
    assert (spa.best, spa.consistent) == (3, same.consistent)


def test_tests_count_from_the_risk_free_rate():
    plain = runs_of({"n": range(4)}, walks(4, 100))
    runs = runs_of({"n": range(4)}, walks(4, 100), risk_free=0.05)
    rate = risk_free_per_bar(0.05, 252)
    found = runs.reality_check(n_bootstrap=100)
    expected = bootstrap.reality_check(plain.returns() - rate, n_bootstrap=100)
    assert (found.p_value, found.best_mean) == (expected.p_value, expected.best_mean)
    assert found.best_mean < plain.reality_check(n_bootstrap=100).best_mean


def test_tests_against_a_benchmark(runs):
    benchmark = np.random.default_rng(3).normal(0, 0.01, 400)
    found = runs.reality_check(pl.Series(benchmark), n_bootstrap=100)
    expected = bootstrap.reality_check(runs.returns(), benchmark, n_bootstrap=100)
    assert found.p_value == expected.p_value
    with pytest.raises(ConfigError, match=r"shape \(399,\), the run has 400 bars"):
        runs.reality_check(benchmark[1:])


def test_report_of_all_statistics(runs):
    report = runs.overfitting()
    values = dict(report.frame.select("statistic", "value").iter_rows())
    assert values["trials"] == 6
    assert values["best Sharpe"] == runs.best()["sharpe"]
    assert values["deflated Sharpe"] == runs.deflated_sharpe()
    assert values["bars for proof"] == runs.minimum_track_record()
    assert values["probability of overfitting"] == report.pbo.pbo == runs.pbo().pbo
    assert values["p-value of the best"] == report.test.consistent
    sharpes = runs.metrics["sharpe"].drop_nulls()
    assert values["luckiest Sharpe"] == pytest.approx(
        overfitting.expected_maximum_sharpe(6, sharpes.var())
    )
    assert runs.overfitting(n_trials=99).frame["value"][0] == 99
    shown = str(report)
    assert "luckiest of 6 trials without skill" in shown
    assert max(map(len, shown.splitlines())) <= 79
    assert repr(report) == shown
    parse(report._repr_html_())


def test_report_without_equity_says_so():
    report = runs_of({"n": [1, 2, 3]}, walks(3, 50), keep="metrics").overfitting()
    assert report.pbo is None
    assert report.test is None
    assert "need keep='equity'" in str(report)


def test_report_of_few_bars_says_what_cannot_be_computed():
    equity = walks(2, 12)
    equity[:] = CASH * np.cumprod(np.linspace([0.99, 0.98], [1, 0.99], 12), axis=0).T
    report = runs_of({"n": [1, 2]}, equity).overfitting()
    values = dict(report.frame.select("statistic", "value").iter_rows())
    assert values["probability of overfitting"] is None
    assert values["bars against luck"] is None  # no luck in losing
    assert values["bars for proof"] == math.inf
    assert "never" in str(report)


def parse(text: str) -> str:
    """Return the text of HTML whose tags are all closed."""
    opened, said = [], []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            opened.append(tag)

        def handle_endtag(self, tag):
            assert opened.pop() == tag

        def handle_data(self, data):
            said.append(data)

    Parser().feed(text)
    assert opened == []
    return " ".join(said)


def lines_of(runs: SweepResult) -> dict[str, str]:
    """What is printed, by the name of the line, remarks joined."""
    made: dict[str, str] = {}
    name = ""
    for line in str(runs).splitlines()[1:]:
        head = line[2:18].strip() if line[2:3] != " " else ""
        name = head or name
        made[name] = f"{made.get(name, '')} {line[18:].strip()}".strip()
    return made


def test_print_shows_the_trials_beside_the_best(runs):
    shown = str(runs)
    assert shown == repr(runs)
    lines = shown.splitlines()
    assert lines[0] == "SweepResult"
    names = [line[2:18].strip() for line in lines[1:] if line[2] != " "]
    assert names == [
        "trials",
        "best Sharpe",
        "deflated Sharpe",
        "median Sharpe",
        "best by plateau",
        "failed",
        "reused",
        "seconds",
        "bars",
    ]
    assert max(map(len, lines)) <= 79
    said = " ".join(shown.split())
    best, sharpe = runs.best(), runs.metrics["sharpe"].drop_nulls()
    assert "trials 6 3 lookback x 2 n" in said
    assert f"best Sharpe {best['sharpe']:.2f} set 3: lookback=60, n=10; its" in said
    assert (
        f"deflated Sharpe {runs.deflated_sharpe():.1%} probability that the best is "
        "better than the luckiest of 6 trials without skill" in said
    )
    assert f"median Sharpe {sharpe.median():.2f} of 5 sets" in said
    plateau = runs.plateau().row(0, named=True)
    assert f"best by plateau {plateau['plateau']:.2f} set {plateau['set']}:" in said
    assert (
        "failed 1 first set 1: lookback=20, n=10: WeightsError: n is too large at "
        '2020-01-09, asset "XYZ".' in said
    )
    assert "reused 2 finished earlier" in said
    # Four sets were run in half a second.
    assert "seconds 0.50 8 sets per second" in said
    assert "bars 400 2020-01-01 to 2021-02-03" in said


def test_notebook_shows_what_print_shows(runs):
    said = parse(runs._repr_html_())
    for name in ("best Sharpe", "deflated Sharpe", "best by plateau"):
        assert name in said
    assert "luckiest of 6 trials without skill" in said
    marked = runs_of({"rule": ["<b>", "&"]}, walks(2, 50))
    assert "<b>" not in marked._repr_html_()
    parse(marked._repr_html_())


def test_weak_and_strong_proof_are_told_apart():
    weak = runs_of({"n": range(20)}, walks(20, 60))
    assert "95% is the usual proof" in " ".join(str(weak).split())
    equity = CASH * np.cumprod(
        1 + np.random.default_rng(1).normal(0.002, 0.005, (3, 2_000)), axis=1
    )
    strong = " ".join(str(runs_of({"n": range(3)}, equity)).split())
    assert "usual proof" not in strong
    assert "> 99.9 %" in strong


def test_notices_are_listed():
    runs = runs_of([{"n": 1}, {"n": 1}], walks(2, 50))
    shown = str(runs)
    assert "Notices\n  1 of 2 sets repeat an earlier one" in shown
    assert "repeat an earlier one" in parse(runs._repr_html_())


def test_many_long_parameters_stay_narrow():
    grid = {
        "commission.bps": [0.123456789, 1.5],
        "schedule": [bl.Schedule("month_end"), "week_end"],
        "x" * 60: ["a" * 100],
        "exits": [bl.Exits(stop_loss=0.1, max_bars_held=20)],
    }
    shown = str(runs_of(grid, walks(4, 50)))
    assert max(map(len, shown.splitlines())) <= 79
    assert "commission.bps=0.123457" in shown or "commission.bps=1.5" in shown


def test_lists_of_sets_tell_their_values():
    frame = pl.DataFrame({"n": [1, 2, 5], "x": [0.1, 0.2, 0.1]})
    assert "values: 3 of n, 2 of x" in str(runs_of(frame, walks(3, 50)))
    assert "no parameters" in str(runs_of([{}], walks(1, 50)))


def test_other_measures_alone():
    runs = runs_of({"n": range(3)}, walks(3, 50), metrics=["volatility", "cagr"])
    shown = str(runs)
    assert "best volatility" in shown
    assert "deflated" not in shown
    assert runs.best("volatility")["set"] == runs.metrics["volatility"].arg_min()
    none = runs_of({"n": range(3)}, walks(3, 50), metrics=["n_bars"])
    assert "neither a large nor a small 'n_bars' is better" in str(none)


def test_sweep_of_real_runs():
    bars = bl.datasets.simulate_bars(8, 120, seed=1)
    time, asset = bars.columns[:2]
    actions = pl.DataFrame(
        {time: [bars[time].unique().sort()[50]], "kind": ["deposit"], "value": [1e5]}
    ).with_columns(pl.lit(None, bars[asset].dtype).alias(asset))

    def run(weight: float) -> bl.BacktestResult:
        expression = pl.when(pl.col(asset) == bars[asset][0]).then(weight).otherwise(0)
        return bl.run_backtest(bars, expression, actions=actions, schedule=20)

    results = [run(weight) for weight in (0.2, 0.5, 0.9)]
    deposits = results[0].equity["deposits"].to_numpy()
    assert deposits.sum() == 1e5
    frame = pl.DataFrame(
        [{"set": k, "weight": w, **results[k].metrics, "error": None}
         for k, w in enumerate((0.2, 0.5, 0.9))],
        schema_overrides={"error": pl.String},
    )  # fmt: skip
    runs = SweepResult(
        metrics=frame,
        parameter_names=["weight"],
        equity=np.stack([result.equity["equity"].to_numpy() for result in results]),
        timestamps=results[0].equity[time],
        initial_cash=1_000_000.0,
        deposits=deposits,
        bars_per_year=252,
        risk_free=0.0,
        rerun=lambda k: results[k],
    )
    for k, result in enumerate(results):
        np.testing.assert_array_equal(
            runs.returns()[:, k], result.returns["return"].to_numpy()
        )
    assert runs.rerun(2) is results[2]
    assert "luckiest of 3 trials" in " ".join(str(runs).split())


def test_hundred_thousand_sets_print_in_seconds():
    sets = SetList.of({"a": range(200), "b": range(100), "c": range(5)})
    rng = np.random.default_rng(0)
    frame = (
        pl.DataFrame({"set": range(len(sets))})
        .hstack(sets.columns())
        .with_columns(
            sharpe=pl.Series(rng.normal(size=len(sets))),
            skew=0.0,
            kurtosis=0.0,
            error=pl.lit(None, pl.String),
        )
    )
    runs = SweepResult(
        metrics=frame,
        parameter_names=sets.names,
        equity=None,
        timestamps=pl.Series("t", range(1000)),
        initial_cash=1.0,
        deposits=None,
        bars_per_year=252,
        risk_free=0.0,
        rerun=lambda k: None,
        seconds=100.0,
    )
    said = " ".join(str(runs).split())
    assert "100,000 200 a x 100 b x 5 c" in said
    assert "luckiest of 100,000 trials" in said
    assert "1,000 sets per second" in said


def test_charts_leave_failed_sets_out(runs):
    ring = runs.heatmap().to_dict()["title"]["subtitle"]
    assert "set 3" in ring[0]
    assert ring[1].startswith("1 set without a value")
    low = runs.heatmap("n", "lookback", "volatility").to_dict()["title"]["subtitle"]
    assert f"set {runs.best('volatility')['set']}" in low[0]
    assert runs.parallel().to_dict()["title"]["text"] == "sharpe of 5 sets"
    panels = runs.marginal_chart(units={"n": "stocks"}).to_dict()["concat"]
    assert [one["title"]["text"].partition(":")[0] for one in panels] == [
        "lookback",
        "n",
    ]
    assert "n (stocks)" in str(panels[1])
    with pytest.raises(ConfigError, match="neither a large nor a small"):
        runs.parallel("time_in_market")
    runs.parallel("time_in_market", minimize=True)
