"""Sweeps: the same rows from every form and executor, faults as rows, resumption."""

from __future__ import annotations

import math
import sys

import cloudpickle
import numba
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import barloop as bl
from barloop import jitted
from barloop.errors import ConfigError, SchemaError, WeightsError

# Workers cannot import a test module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

GRID = {"lookback": [5, 20, 60], "n": [2, 5], "commission.bps": [0.0, 20.0]}


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


FORMS = {"factory": factory, "compiled": compiled, "callback": callback}


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    return bl.datasets.simulate_bars(12, 150, seed=3)


@pytest.fixture(scope="module")
def runs(bars):
    return sweep(bars, factory, GRID, keep="equity")


def sweep(bars, weights_fn, grid, **settings):
    settings.setdefault("schedule", "week_end")
    return bl.sweep(bars, weights_fn, grid, progress=False, **settings)


def bits(runs) -> list:
    """All that a sweep holds, comparable to the last bit."""
    frame = runs.metrics
    columns = [
        frame[name].to_list()
        if not frame[name].dtype.is_float()
        else [None if one is None else one.hex() for one in frame[name]]
        for name in frame.columns
    ]
    equity = None if runs.equity is None else np.asarray(runs.equity).tobytes()
    return [frame.columns, columns, equity]


def test_one_row_per_set_in_grid_order(runs):
    frame = runs.metrics
    assert frame["set"].to_list() == list(range(12))
    assert frame["lookback"].to_list() == [5] * 4 + [20] * 4 + [60] * 4
    assert frame["n"].to_list() == [2, 2, 5, 5] * 3
    assert frame["commission.bps"].to_list() == [0.0, 20.0] * 6
    assert frame["error"].null_count() == 12
    assert frame["n_fills"].min() > 10
    assert runs.equity.shape == (12, 150)


def test_each_row_is_the_backtest_of_its_set(bars, runs):
    for k, row in enumerate(runs.metrics.iter_rows(named=True)):
        result = bl.run_backtest(
            bars,
            factory,
            params={"lookback": row["lookback"], "n": row["n"]},
            schedule="week_end",
            commission=bl.Commission(bps=row["commission.bps"]),
        )
        assert {name: row[name] for name in result.metrics} == result.metrics
        assert runs.equity[k].tolist() == result.equity["equity"].to_list()
    again = runs.rerun(11)
    assert_frame_equal(again.equity, result.equity, check_exact=True)
    assert_frame_equal(again.fills, result.fills, check_exact=True)
    again.audit()


@pytest.mark.parametrize("form", ["compiled", "callback"])
def test_forms_have_the_same_bits(bars, runs, form):
    assert bits(sweep(bars, FORMS[form], GRID, keep="equity")) == bits(runs)


LOCAL = ["threads", pytest.param("processes", marks=pytest.mark.once)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("executor", LOCAL)
def test_executors_have_the_same_bits(bars, runs, form, executor):
    other = sweep(
        bars, FORMS[form], GRID, keep="equity", executor=executor, n_workers=2
    )
    assert bits(other) == bits(runs)


@pytest.fixture(scope="module")
def dask_client():
    from distributed import Client, LocalCluster

    local = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with local as cluster, Client(cluster) as client:
        yield client


@pytest.mark.once
@pytest.mark.parametrize("form", FORMS)
def test_dask_has_the_same_bits(bars, runs, form, dask_client):
    other = sweep(bars, FORMS[form], GRID, keep="equity", executor=dask_client)
    assert bits(other) == bits(runs)


@pytest.mark.once
def test_ray_has_the_same_bits(bars, runs):
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        for form in FORMS.values():
            other = sweep(bars, form, GRID, keep="equity", executor="ray")
            assert bits(other) == bits(runs)
    finally:
        ray.shutdown()


def test_settings_are_swept_too(bars):
    grid = {
        "schedule": ["week_end", 7],
        "exits.stop_loss": [None, 0.03],
        "limits": [bl.Limits(), bl.Limits(max_weight=0.1)],
    }
    runs = bl.sweep(
        bars, factory, grid, params={"lookback": 10, "n": 4}, progress=False
    )
    assert runs.metrics["error"].null_count() == 8
    for k, values in enumerate(
        (a, b, c)
        for a in grid["schedule"]
        for b in (None, 0.03)
        for c in grid["limits"]
    ):
        schedule, stop_loss, limits = values
        expected = bl.run_backtest(
            bars,
            factory,
            params={"lookback": 10, "n": 4},
            schedule=schedule,
            exits=bl.Exits(stop_loss=stop_loss),
            limits=limits,
        )
        row = runs.metrics.row(k, named=True)
        assert {name: row[name] for name in expected.metrics} == expected.metrics


@pytest.mark.parametrize("weights", ["weight", pl.col("weight") * 1.0])
def test_settings_over_fixed_weights(bars, weights):
    weighted = bars.with_columns(weight=pl.lit(1 / 12))
    grid = {"commission.bps": [0.0, 10.0, 30.0]}
    runs = bl.sweep(weighted, weights, grid, progress=False)
    paid = runs.metrics["total_commission"].to_list()
    assert paid[0] == 0.0
    assert paid[1] < paid[2]


@pytest.mark.parametrize(
    "grid",
    [
        [{"lookback": 5, "n": 2}, {"lookback": 20, "n": 5}],
        pl.DataFrame({"lookback": [5, 20], "n": [2, 5]}),
    ],
)
def test_lists_and_frames_of_sets(bars, grid):
    runs = sweep(bars, factory, grid)
    assert runs.metrics["n"].to_list() == [2, 5]
    assert runs.metrics["error"].null_count() == 2


def test_context_actions_start_and_end(bars):
    days = bars["timestamp"].unique(maintain_order=True)
    fear = pl.DataFrame({"timestamp": days, "fear": np.arange(float(len(days)))})
    deposits = pl.DataFrame(
        {
            "timestamp": [days[80]],
            "asset": pl.Series([None], dtype=bars["asset"].dtype),
            "kind": ["deposit"],
            "value": [5e5],
        }
    )

    def calm(bar, limit):
        return {} if bar.context.fear > limit else {bar.assets[1]: 0.5}

    shared = {
        "context": fear,
        "actions": deposits,
        "start": days[40],
        "end": days[120],
    }
    runs = sweep(bars, calm, {"limit": [0.0, 70.0, 500.0]}, keep="equity", **shared)
    for k, limit in enumerate([0.0, 70.0, 500.0]):
        expected = bl.run_backtest(
            bars, calm, params={"limit": limit}, schedule="week_end", **shared
        )
        row = runs.metrics.row(k, named=True)
        assert {name: row[name] for name in expected.metrics} == expected.metrics
        assert expected.metrics["n_bars"] == 81
    returns = runs.returns()
    assert returns[:, 2].tolist() == expected.returns["return"].to_list()


# ---------------------------------------------------------------- faults


def test_a_set_that_raises_is_a_row(bars):
    def fails(bar, at):
        if bar.t == at:
            msg = f"no more at {at}"
            raise RuntimeError(msg)
        return {bar.assets[0]: 1.0}

    runs = sweep(bars, fails, {"at": [10**6, 4, 10**7, 9]})
    errors = runs.metrics["error"].to_list()
    assert errors[0] is None
    assert errors[2] is None
    assert "RuntimeError: no more at 4" in errors[1]
    assert str(bars["timestamp"].unique().sort()[4]) in errors[1]
    assert "RuntimeError: no more at 9" in errors[3]
    frame = runs.metrics
    assert frame["sharpe"][1] is None
    rows = frame.drop("set", "at").rows()
    assert rows[0] == rows[2]
    assert runs.n_failed == 2


def test_wrong_values_of_some_sets_are_their_errors(bars):
    runs = sweep(
        bars,
        factory,
        {"lookback": [5, -1], "n": [2, 0], "commission.bps": [0.0, -3.0]},
    )
    errors = runs.metrics["error"].to_list()
    assert [one is None for one in errors] == [True] + [False] * 7
    assert "commission.bps" in errors[1]


def test_a_ruined_set_is_a_row_with_its_error():
    bars = pl.DataFrame(
        {
            "timestamp": list(range(4)),
            "asset": ["A"] * 4,
            "open": [100.0, 100.0, 400.0, 400.0],
            "close": [100.0, 100.0, 400.0, 400.0],
        }
    )

    def short(bar, weight):
        return {"A": weight} if bar.t == 0 else None

    runs = bl.sweep(
        bars,
        short,
        {"weight": [-0.9, -0.1]},
        limits=bl.Limits(allow_short=True),
        bars_per_year=252,
        progress=False,
    )
    assert runs.metrics["error"].to_list() == ["ruined at 2", None]
    assert runs.metrics["sharpe"][0] is None
    assert runs.metrics["total_return"][0] < -1.0


@pytest.mark.parametrize(
    ("grid", "settings", "error", "message"),
    [
        ({"lookbak": [5], "n": [2]}, {}, ConfigError, "Did you mean 'lookback'"),
        ({"lookback": [5], "n": [2], "commission.bp": [1]}, {}, ConfigError, "bps"),
        ({"lookback": [5]}, {}, WeightsError, "n"),
        ({"lookback": [5], "n": [2]}, {"params": {"n": 3}}, ConfigError, "'n'"),
        ({"lookback": 5, "n": [2]}, {}, ConfigError, r"\[5\]"),
        ({}, {}, ConfigError, "grid"),
        ({"lookback": [5], "n": [2]}, {"executor": "thread"}, ConfigError, "threads"),
        ({"lookback": [5], "n": [2]}, {"keep": "full"}, ConfigError, "equity"),
        ({"lookback": [5], "n": [2]}, {"metrics": ["sharp"]}, ConfigError, "sharpe"),
        ({"lookback": [5], "n": [2]}, {"start": "2099-01-01"}, ValueError, "2099"),
    ],
)
def test_what_no_set_can_do_is_refused_before_anything_runs(
    bars, grid, settings, error, message
):
    with pytest.raises(error, match=message):
        sweep(bars, factory, grid, **settings)


def test_data_that_cannot_be_used_is_refused(bars):
    with pytest.raises(SchemaError, match="close must be positive"):
        sweep(bars.with_columns(close=-pl.col("close")), factory, GRID)


def test_a_compiled_callback_is_checked_once_before_anything_runs(bars):
    with pytest.raises(WeightsError, match="number or a bool"):
        sweep(bars, compiled, {"lookback": [5], "n": ["2", "3"]})


def test_integers_and_floats_of_one_parameter_are_floats(bars):
    @numba.njit
    def half(bar, params, weights_out):
        weights_out[0] = params.share / 2
        return True

    runs = sweep(bars, half, {"share": [1, 0.5]})
    leverage = runs.metrics["mean_leverage"].to_list()
    assert math.isclose(leverage[0] / leverage[1], 2.0, rel_tol=0.05)


def test_a_bool_among_numbers_is_refused(bars):
    @numba.njit
    def share(bar, params, weights_out):
        weights_out[0] = params.share
        return True

    with pytest.raises(WeightsError, match="bool in some sets"):
        sweep(bars, share, [{"share": True}, {"share": 0.5}])


def test_a_wrong_value_of_the_first_set_is_its_error(bars):
    grid = {"lookback": [5], "n": [2], "commission.bps": [-1.0, 5.0, -2.0]}
    errors = sweep(bars, factory, grid).metrics["error"].to_list()
    assert [one is None for one in errors] == [False, True, False]


@pytest.mark.parametrize("name", ["initial_cash", "risk_free", "bars_per_year"])
def test_a_parameter_named_like_a_setting_of_the_measures(bars, name):
    scope = {"factory": factory}
    exec(f"def rule({name}): return factory(5, {name})", scope)
    with pytest.raises(ConfigError, match="name the parameter otherwise"):
        sweep(bars, scope["rule"], {name: [2, 3]})


def test_a_name_that_only_the_context_has_is_a_setting(bars):
    days = bars["timestamp"].unique(maintain_order=True)
    context = pl.DataFrame({"timestamp": days, "risk_free": [0.0] * len(days)})

    @numba.njit
    def calm(bar, params, weights_out):
        weights_out[0] = 1.0 - bar.context.risk_free
        return True

    runs = sweep(bars, calm, {"risk_free": [0.0, 0.2]}, context=context)
    assert runs.metrics["sharpe"].n_unique() == 2


def test_settings_swept_over_a_compiled_callback(bars):
    @numba.njit
    def ranged(bar, params, weights_out):
        for i in range(weights_out.size):
            if bar.high[i] / bar.low[i] > params.width and bar.volume[i] > 0.0:
                weights_out[i] = 1.0 / weights_out.size
        return True

    grid = {"width": [1.01, 1.02], "commission.bps": [float(k) for k in range(6)]}
    runs = sweep(bars, ranged, grid, executor="threads", n_workers=2)
    assert runs.n_failed == 0
    for k in (0, 5, 11):
        expected = runs.rerun(k).metrics
        row = runs.metrics.row(k, named=True)
        assert {name: row[name] for name in expected} == expected


def test_what_is_stored_is_of_the_globals_that_it_says(bars, tmp_path):
    scope = {"numba": numba, "SHARE": 0.5}
    code = (
        "def rule(bar, params, weights_out):\n"
        "    weights_out[params.place] = SHARE\n"
        "    return True\n"
    )
    exec(code, scope)
    rule = numba.njit(scope["rule"])
    folder = tmp_path / "runs"
    first = sweep(bars, rule, {"place": [0]}, resume=folder).metrics["mean_leverage"]
    scope["SHARE"] = 0.1
    again = sweep(bars, rule, {"place": [0]}, resume=folder)
    assert again.n_reused == 0
    assert again.metrics["mean_leverage"][0] < first[0] / 4


def test_chosen_metrics(bars):
    runs = sweep(bars, factory, GRID, metrics=["cagr", "sharpe"])
    assert runs.metrics.columns == ["set", *GRID, "cagr", "sharpe", "error"]


def test_shared_rankings_are_made_once(bars, monkeypatch):
    from barloop import batch

    made = []
    original = batch.Common.work

    def watched(self, panel):
        work = original(self, panel)
        made.append(work)
        return work

    monkeypatch.setattr(batch.Common, "work", watched)
    grid = {"lookback": [5, 20], "n": list(range(1, 13))}
    sweep(bars, factory, grid)
    assert len({id(one) for one in made}) == 1
    # All but the first set of each lookback find the ranking.
    assert made[0].n_found >= 22


# ---------------------------------------------------------------- resumption


def test_finished_sets_are_not_run_again(bars, tmp_path):
    log = tmp_path / "calls"
    log.touch()

    def counted(bar, n):
        if bar.t == 4:
            with log.open("a") as file:
                file.write(f"{n} ")
        return dict.fromkeys(bar.assets[:n], 1.0 / n)

    def ran(grid, **settings):
        log.write_text("")
        runs = sweep(bars, counted, grid, resume=tmp_path / "runs", **settings)
        return runs, sorted(map(int, log.read_text().split()))

    first, calls = ran({"n": [2, 3]}, version="1")
    assert (first.n_reused, calls) == (0, [2, 3])
    second, calls = ran({"n": [4, 2, 3]}, version="1")
    assert (second.n_reused, calls) == (2, [4])
    assert bits(second) == bits(sweep(bars, counted, {"n": [4, 2, 3]}))
    # Another version, other settings, another period: all again.
    for changes in (
        {"version": "2"},
        {"version": "1", "commission": bl.Commission(bps=1)},
        {"version": "1", "start": "2000-01-04"},
    ):
        third, calls = ran({"n": [4, 2, 3]}, **changes)
        assert (third.n_reused, calls) == (0, [2, 3, 4])
        assert third.notices


def test_changed_data_are_noticed(bars, tmp_path):
    folder = tmp_path / "runs"
    sweep(bars, factory, GRID, resume=folder)
    assert (
        sweep(
            bars.sample(fraction=1.0, shuffle=True, seed=1),
            factory,
            GRID,
            resume=folder,
        ).n_reused
        == 12
    )
    dearer = bars.with_columns(
        close=pl.when(pl.int_range(pl.len()) == 700)
        .then(pl.col("close") * 1.001)
        .otherwise("close")
    )
    changed = sweep(dearer, factory, GRID, resume=folder)
    assert changed.n_reused == 0
    assert any("data" in one for one in changed.notices)


def test_a_changed_function_is_noticed(bars, tmp_path):
    def of(bound):
        def weights_fn(bar, n):
            return dict.fromkeys(bar.assets[:n], bound / n)

        return weights_fn

    folder = tmp_path / "runs"
    sweep(bars, of(1.0), {"n": [2, 3]}, resume=folder)
    again = sweep(bars, of(1.0), {"n": [2, 3]}, resume=folder)
    assert again.n_reused == 2
    changed = sweep(bars, of(0.5), {"n": [2, 3]}, resume=folder)
    assert changed.n_reused == 0
    assert any("function" in one for one in changed.notices)


@pytest.mark.parametrize("executor", [None, *LOCAL])
def test_a_resumed_sweep_is_the_whole_one(bars, runs, tmp_path, executor):
    folder = tmp_path / "runs"
    part = {**GRID, "lookback": [5, 60]}
    sweep(bars, factory, part, resume=folder, keep="equity", executor=executor)
    whole = sweep(bars, factory, GRID, resume=folder, keep="equity", executor=executor)
    assert whole.n_reused == 8
    assert bits(whole) == bits(runs)
    stored = pl.read_parquet(folder / "parts" / "*.parquet")
    assert stored.height == 12
    assert set(stored["n"]) == {2, 5}


def test_failed_sets_are_kept_as_failed(bars, tmp_path):
    def fails(bar, at):
        if bar.t == at:
            msg = "no more"
            raise RuntimeError(msg)
        return

    first = sweep(bars, fails, {"at": [4, 999]}, resume=tmp_path / "runs")
    second = sweep(bars, fails, {"at": [4, 999]}, resume=tmp_path / "runs")
    assert second.n_reused == 2
    assert second.metrics["error"].to_list() == first.metrics["error"].to_list()
    assert "no more" in second.metrics["error"][0]


def test_a_grid_of_many_sets_is_lazy(bars):
    names = {"lookback": list(range(1, 101)), "n": list(range(1, 101))}
    from barloop.sets import SetList

    sets = SetList.of({**names, "commission.bps": [float(k) for k in range(100)]})
    assert len(sets) == 1_000_000
    assert sets[999_999] == {"lookback": 100, "n": 100, "commission.bps": 99.0}
