"""Walk-forward: folds, choices, one account over all tests, paths of a sweep."""

from __future__ import annotations

import numba
import numpy as np
import polars as pl
import pytest

import barloop as bl
from barloop import jitted
from barloop.errors import ConfigError, SimulationError
from barloop.metrics import sharpe
from comparison import assert_same_bits, assert_same_runs

GRID = {"lookback": [5, 20, 60], "n": [2, 5]}
WINDOWS = {"train": 80, "test": 40}


def factory(lookback, n):
    return bl.equal_weight(bl.top_n(bl.momentum("close", lookback), n))


@numba.njit
def compiled(bar, params, weights_out):
    if bar.t < params.lookback:
        return False
    score = jitted.momentum(bar.history.close, params.lookback)
    jitted.equal_weight(jitted.top_n(score, params.n), weights_out)
    return True


def callback(bar, lookback, n):
    if bar.t < lookback:
        return None
    score = bar.close / bar.history.close[bar.t - lookback] - 1.0
    return bl.equal_weight(bl.top_n(score, n))


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    return bl.datasets.simulate_bars(12, 260, seed=9)


def forward(bars, weights_fn, grid, **settings):
    settings = {"schedule": "week_end", **WINDOWS, **settings}
    return bl.walk_forward(bars, weights_fn, grid, progress=False, **settings)


def test_one_set_is_one_backtest_over_all_tests(bars):
    found = forward(bars, factory, {"lookback": [20], "n": [3]})
    days = bars["timestamp"].unique().sort()
    expected = bl.run_backtest(
        bars,
        factory,
        params={"lookback": 20, "n": 3},
        schedule="week_end",
        start=days[80],
    )
    assert_same_runs(found.result, expected)
    assert found.result.metrics == expected.metrics
    assert found.folds["test_start"].to_list() == [
        days[80],
        days[120],
        days[160],
        days[200],
        days[240],
    ]
    assert found.folds["test_end"][-1] == days[259]
    assert found.folds["train_start"][1] == days[40]
    assert found.folds["train_end"][1] == days[119]


@pytest.mark.parametrize("between", ["carry", "close"])
@pytest.mark.parametrize("weights_fn", [compiled, callback])
def test_forms_have_the_same_bits(bars, weights_fn, between):
    expected = forward(bars, factory, GRID, between=between)
    found = forward(bars, weights_fn, GRID, between=between)
    assert_same_bits(found.folds, expected.folds)
    assert_same_runs(found.result, expected.result)
    expected.result.audit()


def test_tests_are_the_runs_of_what_was_chosen(bars):
    """A callback that switches parameters itself is the oracle of the stitching."""
    found = forward(bars, callback, GRID, commission=bl.Commission(bps=10))
    assert found.folds["set"].n_unique() > 1
    starts = [80, 120, 160, 200, 240]
    chosen = found.folds.select("lookback", "n").rows()
    days = bars["timestamp"].unique().sort()

    def switching(bar):
        fold = np.searchsorted(starts, bar.t, side="right") - 1
        lookback, n = chosen[fold]
        return callback(bar, lookback, n)

    expected = bl.run_backtest(
        bars,
        switching,
        schedule="week_end",
        commission=bl.Commission(bps=10),
        start=days[80],
    )
    assert_same_runs(found.result, expected)


def test_choices_are_the_best_of_training_alone(bars):
    found = forward(bars, factory, GRID, select="calmar")
    days = bars["timestamp"].unique().sort()
    for k in range(3):
        runs = bl.sweep(
            bars.filter(pl.col("timestamp") < days[80 + 40 * k]),
            factory,
            GRID,
            schedule="week_end",
            start=days[40 * k],
            progress=False,
        )
        assert found.folds["set"][k] == runs.best("calmar")["set"]
        assert found.folds["train_calmar"][k] == runs.best("calmar")["calmar"]
        assert_same_bits(found.runs[k].metrics, runs.metrics)


def test_closing_between_tests(bars):
    found = forward(bars, factory, GRID, between="close")
    days = bars["timestamp"].unique().sort()
    held = found.result.equity.select("timestamp", "n_positions")
    # The close is decided on the last bar of a test and filled on the next open.
    for first in (120, 160, 200, 240):
        assert held.filter(pl.col("timestamp") == days[first - 1])["n_positions"][0] > 0
        assert held.filter(pl.col("timestamp") == days[first])["n_positions"][0] == 0
    orders = found.result.orders.filter(pl.col("timestamp") == days[119])
    assert set(orders["target_weight"]) == {0.0}
    assert found.result.n_rebalances > 4
    found.result.audit()


def test_settings_may_change_between_tests(bars):
    grid = {"exits.stop_loss": [None, 0.02], "commission.bps": [5.0, 0.0]}
    found = forward(bars, factory, grid, params={"lookback": 20, "n": 4})
    assert set(found.folds["commission.bps"]) == {0.0}
    found.result.audit()
    assert found.result.metrics["n_fills"] > 20


def test_anchored_durations_and_a_choice_of_ones_own(bars):
    found = forward(
        bars,
        factory,
        GRID,
        train="4mo",
        test="2mo",
        anchored=True,
        purge=3,
        select=lambda runs: int(runs.plateau()["set"][0]),
    )
    assert found.folds["train_start"].n_unique() == 1
    assert found.n_trials == 6 * len(found.folds)
    assert "out of sample" in str(found)
    assert "<table>" in found._repr_html_()


def test_later_data_change_no_earlier_test(bars):
    days = bars["timestamp"].unique().sort()
    changed = bars.with_columns(
        pl.when(pl.col("timestamp") > days[200])
        .then(pl.col(name) * 3.0)
        .otherwise(name)
        .alias(name)
        for name in ("open", "high", "low", "close")
    )
    before = forward(bars, factory, GRID).result.equity
    after = forward(changed, factory, GRID).result.equity
    early = pl.col("timestamp") <= days[200]
    assert_same_bits(before.filter(early), after.filter(early))
    assert not before.equals(after)


def test_actions_and_a_risk_free_rate(bars):
    days = bars["timestamp"].unique().sort()
    actions = pl.DataFrame(
        {
            "timestamp": [days[30], days[100], days[130], days[150]],
            "kind": ["dividend", "deposit", "dividend", "split"],
            "value": [0.5, 1e5, 0.7, 2.0],
        }
    ).with_columns(
        asset=pl.when(pl.col("kind") != "deposit").then(pl.lit(bars["asset"][3]))
    )
    settings = {"actions": actions, "risk_free": 0.05}
    found = forward(bars, factory, {"lookback": [20], "n": [3]}, **settings)
    expected = bl.run_backtest(
        bars,
        factory,
        params={"lookback": 20, "n": 3},
        schedule="week_end",
        start=days[80],
        **settings,
    )
    assert_same_runs(found.result, expected)
    found.result.audit()
    whole = forward(bars, factory, {"lookback": [20], "n": [3]}, test=180, **settings)
    assert whole.folds["test_sharpe"][0] == whole.metrics["sharpe"]


@pytest.mark.parametrize(
    "grid",
    [
        {"execution.size_at": ["decision", "fill"]},
        {"execution.fill": ["next_open", "same_close"]},
        {"execution.costs_in_size": ["none", "portfolio"]},
    ],
)
def test_orders_that_wait_cannot_change_their_kind(bars, grid):
    with pytest.raises(ConfigError, match="orders wait from one test to the next"):
        forward(bars, factory, {**GRID, **grid})


def test_an_execution_of_the_grid_is_that_of_the_result(bars):
    grid = {"execution.fill": ["same_close"], "lookback": [20], "n": [3]}
    found = forward(bars, factory, grid).result
    assert found.config.execution.fill == "same_close"
    assert found.fills["slippage"].sum() == found.metrics["total_slippage"] == 0.0
    found.audit()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"train": 300}, ConfigError, "shorten train"),
        ({"between": "sell"}, ConfigError, "between"),
        ({"select": "sharp"}, ConfigError, "sharpe"),
        ({"select": lambda runs: 99}, ConfigError, "99"),
        ({"select": lambda runs: "best"}, ConfigError, "number of a set"),
        ({"step": 20}, ConfigError, "overlap"),
    ],
)
def test_what_is_refused(bars, settings, error, message):
    with pytest.raises(error, match=message):
        forward(bars, factory, GRID, **settings)


def test_an_account_cannot_change_its_cash_on_the_way(bars):
    with pytest.raises(ConfigError, match="initial_cash"):
        forward(bars, factory, {**GRID, "initial_cash": [1e5, 1e6]})


def test_a_fold_on_which_every_set_fails(bars):
    def fails(bar, n):
        msg = "never"
        raise RuntimeError(msg)

    with pytest.raises(SimulationError, match=r"fold 0.*never"):
        forward(bars, fails, {"n": [1, 2]})


# ---------------------------------------------------------------- combinatorial


def test_paths_are_made_of_the_runs_of_the_sweep(bars):
    runs = bl.sweep(
        bars, factory, GRID, schedule="week_end", keep="equity", progress=False
    )
    found = bl.combinatorial(runs, n_groups=6, n_test=2, purge=5, embargo=5)
    assert found.returns.shape == (260, 5)
    assert len(found.splits) == 15
    returns = runs.returns()
    # Every return of a path is that of the set chosen by a split that tests its bar.
    for row in found.splits.iter_rows(named=True):
        train = np.ones(260, dtype=bool)
        for group in row["test_groups"]:
            first = 44 * min(group, 2) + 43 * max(group - 2, 0)
            stop = first + (44 if group < 2 else 43)
            train[max(first - 5, 0) : stop + 5] = False
        ratios = [sharpe(returns[train, k], bars_per_year=252) for k in range(6)]
        assert row["set"] == int(np.nanargmax(ratios))
    for p in range(5):
        for t in range(260):
            assert found.returns[t, p] in returns[t]
    assert found.paths["sharpe"][0] == pytest.approx(
        sharpe(found.returns[:, 0], bars_per_year=252), rel=1e-12
    )
    assert "worst path" in str(found)


def test_paths_need_the_equity(bars):
    runs = bl.sweep(bars, factory, GRID, progress=False)
    with pytest.raises(SimulationError, match="keep='equity'"):
        bl.combinatorial(runs)
