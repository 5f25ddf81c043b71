"""Compiled callbacks: the same bits as the other forms, and one clear error each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from datetime import date, timedelta

import numba
import numpy as np
import polars as pl
import pytest
from hypothesis import given

import barloop as bl
from barloop import jitted
from barloop.errors import WeightsError
from comparison import assert_same_runs
from strategies import examples, worlds

HELPERS = types.ModuleType("user_helpers")


@numba.njit
def as_written(bar, params, weights_out):
    """Decide what the column says; nulls only are no rebalance."""
    said = False
    for i in range(weights_out.size):
        if bar.weight[i] == bar.weight[i]:
            weights_out[i] = bar.weight[i]
            said = True
    return said


@numba.njit
def everything(bar, params, weights_out):
    """Read all that a bar has."""
    if bar.t < params.lookback:
        return False
    then = bar.history.close[bar.t - params.lookback]
    for i in range(weights_out.size):
        score = bar.close[i] / then[i] - 1.0 + 0.01 * bar.score[i]
        if params.use_volume:
            score += 1e-9 * bar.volume[i]
        if bar.positions[i] != 0.0:
            score += 0.01 * bar.unrealized_pnl[i] / bar.equity
            score += 0.001 * bar.bars_held[i] + 0.1 * bar.weights[i]
            score += bar.close[i] / bar.entry_price[i] - 1.0
        score += bar.open[i] / bar.high[i] - bar.history.low[bar.t, i] / bar.close[i]
        if score > params.threshold:
            weights_out[i] = (0.9 - 0.1 * bar.context.fear) / weights_out.size
    if bar.cash < 0.0:
        weights_out[0] = 0.0
    return True


def everything_in_python(bar, lookback, threshold, use_volume):
    """The same, as a Python callback."""
    weights = np.zeros(len(bar.assets))
    if bar.t < lookback:
        return None
    then = bar.history.close[bar.t - lookback]
    for i in range(weights.size):
        score = bar.close[i] / then[i] - 1.0 + 0.01 * bar.score[i]
        if use_volume:
            score += 1e-9 * bar.volume[i]
        if bar.positions[i] != 0.0:
            score += 0.01 * bar.unrealized_pnl[i] / bar.equity
            score += 0.001 * bar.bars_held[i] + 0.1 * bar.weights[i]
            score += bar.close[i] / bar.entry_price[i] - 1.0
        score += bar.open[i] / bar.high[i] - bar.history.low[bar.t, i] / bar.close[i]
        if score > threshold:
            weights[i] = (0.9 - 0.1 * bar.context.fear) / weights.size
    if bar.cash < 0.0:
        weights[0] = 0.0
    return weights


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    rng = np.random.default_rng(4)
    n_bars, n_assets = 80, 7
    close = 50.0 * np.exp(np.cumsum(rng.normal(0, 0.03, (n_bars, n_assets)), axis=0))
    open_ = close * np.exp(rng.normal(0, 0.01, close.shape))
    days = [date(2024, 1, 1) + timedelta(days=t) for t in range(n_bars)]
    return pl.DataFrame(
        {
            "date": [day for day in days for _ in range(n_assets)],
            "symbol": [f"S{i}" for i in range(n_assets)] * n_bars,
            "open": open_.ravel(),
            "high": np.maximum(open_, close).ravel() * 1.01,
            "low": np.minimum(open_, close).ravel() * 0.99,
            "close": close.ravel(),
            "volume": rng.integers(1_000, 9_000, close.size),
            "score": rng.normal(size=close.size),
        }
    )


@pytest.fixture(scope="module")
def fear(bars) -> pl.DataFrame:
    days = bars["date"].unique(maintain_order=True)
    return pl.DataFrame({"date": days, "fear": np.linspace(0.0, 1.0, len(days))})


@examples(40)
@given(world=worlds(partial=False))
def test_a_compiled_callback_has_the_bits_of_the_column(world):
    world = world.columnar()
    assert_same_runs(world.run(as_written), world.run())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"schedule": 5},
        {"execution": bl.Execution(fill="same_close")},
        {"exits": bl.Exits(stop_loss=0.04, trailing_stop=0.05)},
        {"commission": bl.Commission(per_share=0.01, minimum=1.0)},
        {"limits": bl.Limits(max_weight=0.1, on_excess="scale", max_gross=0.6)},
        {"financing": bl.Financing(cash_rate=0.02), "bars_per_year": 252},
    ],
)
@pytest.mark.parametrize("use_volume", [False, True])
def test_it_sees_what_a_python_callback_sees(bars, fear, settings, use_volume):
    params = {"lookback": 10, "threshold": 0.02, "use_volume": use_volume}
    given = {"params": params, "context": fear, **settings}
    compiled = bl.run_backtest(bars, everything, **given)
    python = bl.run_backtest(bars, everything_in_python, **given)
    assert compiled.metrics["n_fills"] > 20
    assert_same_runs(compiled, python)
    compiled.audit()


def test_start_and_end_and_a_prepared_panel(bars, fear):
    params = {"lookback": 10, "threshold": 0.02, "use_volume": False}
    given = {
        "params": params,
        "context": fear,
        "start": "2024-01-20",
        "end": "2024-03-01",
    }
    panel = bl.Panel.from_frame(bars)
    assert_same_runs(
        bl.run_backtest(panel, everything, **given),
        bl.run_backtest(bars, everything_in_python, **given),
    )


def test_true_with_zeros_closes_and_false_leaves(bars):
    @numba.njit
    def hold_ten_bars(bar, params, weights_out):
        if bar.t == 3:
            weights_out[2] = 1.0
            return True
        return bar.t == 13

    result = bl.run_backtest(bars, hold_ten_bars)
    assert result.fills["date"].to_list() == [date(2024, 1, 5), date(2024, 1, 15)]
    assert result.fills["symbol"].to_list() == ["S2", "S2"]
    assert result.n_rebalances == 2


def test_weights_out_is_zeroed_before_each_call(bars):
    @numba.njit
    def add_one(bar, params, weights_out):
        for i in range(weights_out.size):
            if weights_out[i] != 0.0:
                return False
        weights_out[bar.t % weights_out.size] = 1.0
        return True

    assert bl.run_backtest(bars, add_one).n_rebalances == 80


def test_the_compiled_code_is_made_once_and_the_loop_is_not_compiled_again(bars):
    from barloop import linking
    from barloop._kernels.simulate import advance

    @numba.njit
    def first(bar, params, weights_out):
        weights_out[params.asset] = 1.0
        return True

    @numba.njit
    def second(bar, params, weights_out):
        weights_out[0] = params.weight
        return bar.equity > 0.0

    bl.run_backtest(bars, first, params={"asset": 1})
    loops = len(getattr(advance, "signatures", ()))
    drivers = len(linking._drivers)
    made = len(linking._asks[first])
    bl.run_backtest(bars, first, params={"asset": 2})
    bl.run_backtest(bars, second, params={"weight": 0.5})
    assert len(linking._asks[first]) == made == 1
    assert len(getattr(advance, "signatures", ())) == loops
    assert len(linking._drivers) == drivers


@numba.njit
def tomorrow_in_history(bar, params, weights_out):
    return bar.history.close[bar.t + 1, 0] > 0.0


@numba.njit
def beyond(values, t):
    return values[t + 1, 0]


@numba.njit
def tomorrow_in_a_helper(bar, params, weights_out):
    return beyond(bar.history.close, bar.t) > 0.0


HELPERS.beyond = beyond


@numba.njit
def tomorrow_in_a_module(bar, params, weights_out):
    return HELPERS.beyond(bar.history.close, bar.t) > 0.0


@numba.njit
def beyond_itself(values, t, depth):
    if depth > 0:
        return beyond_itself(values, t, depth - 1)
    return values[t + 1, 0]


@numba.njit
def tomorrow_by_recursion(bar, params, weights_out):
    return beyond_itself(bar.history.close, bar.t, 2) > 0.0


INNER = types.ModuleType("inner")
INNER.beyond = beyond
HELPERS.inner = INNER


@numba.njit
def tomorrow_two_modules_deep(bar, params, weights_out):
    return HELPERS.inner.beyond(bar.history.close, bar.t) > 0.0


def of_closure(helper):
    @numba.njit
    def tomorrow_in_a_closure(bar, params, weights_out):
        return helper(bar.history.close, bar.t) > 0.0

    return tomorrow_in_a_closure


@pytest.mark.parametrize(
    "peeks",
    [
        tomorrow_in_history,
        tomorrow_in_a_helper,
        tomorrow_in_a_module,
        tomorrow_two_modules_deep,
        tomorrow_by_recursion,
        of_closure(beyond),
    ],
)
def test_reading_the_future_raises(bars, peeks):
    # The helper was compiled without bounds checks by the user himself.
    beyond(np.zeros((3, 2)), 1)
    beyond_itself(np.zeros((3, 2)), 1, 1)
    with pytest.raises(IndexError) as caught:
        bl.run_backtest(bars, peeks, start="2024-01-05")
    notes = " ".join(caught.value.__notes__)
    assert "2024-01-05" in notes
    assert "nothing after it can be read" in notes


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.nan, 'weights must be finite: nan at 2024-01-04, asset "S1"'),
        (np.inf, 'weights must be finite: inf at 2024-01-04, asset "S1"'),
        (-0.5, 'weight -0.5 is negative at 2024-01-04, asset "S1", but shorts are off'),
        (1.5, "the absolute weights at 2024-01-04 sum to 1.5, above max_gross=1"),
    ],
)
def test_weights_that_are_not_valid(bars, weight, message):
    @numba.njit
    def said(bar, params, weights_out):
        if bar.t == 3:
            weights_out[1] = params.weight
        return True

    with pytest.raises(WeightsError, match=message):
        bl.run_backtest(bars, said, params={"weight": float(weight)})


def test_helpers_refuse_arrays_of_another_length(bars):
    """They have no bounds checks of their own: a longer array would be written past."""
    scores = np.random.default_rng(1).normal(size=(80, 400))

    @numba.njit
    def of_another_panel(bar, params, weights_out):
        jitted.equal_weight(jitted.top_n(scores[bar.t], 5), weights_out)
        return True

    with pytest.raises(WeightsError, match="arrays must be of one length"):
        bl.run_backtest(bars, of_another_panel)

    chosen, weights = np.ones(3, dtype=np.bool_), np.zeros(2)
    score = np.ones(3)
    for call in (
        lambda: jitted.equal_weight(chosen, weights),
        lambda: jitted.rank_weights(score, chosen, weights),
        lambda: jitted.rank_weights(score, chosen[:2], np.zeros(3)),
        lambda: jitted.inverse_volatility(chosen, score, weights),
        lambda: jitted.inverse_volatility(chosen, score[:2], np.zeros(3)),
        lambda: jitted.long_short(chosen, chosen, weights),
        lambda: jitted.long_short(chosen, chosen[:2], np.zeros(3)),
    ):
        with pytest.raises(WeightsError, match="arrays must be of one length"):
            call()


def test_kinds_of_parameters(bars):
    @numba.njit
    def typed(bar, params, weights_out):
        if params.flag:
            weights_out[params.place] = params.share / 2
        return True

    result = bl.run_backtest(
        bars, typed, params={"flag": np.bool_(1), "place": np.int32(4), "share": 1.0}
    )
    assert result.orders["symbol"].unique().to_list() == ["S4"]
    assert result.orders["target_weight"][0] == 0.5


BAD = """
import json, sys
from datetime import date
import numba, numpy as np, polars as pl
import barloop as bl

df = pl.DataFrame({
    "date": [date(2024, 1, 1), date(2024, 1, 2)], "symbol": ["A", "A"],
    "open": [1.0, 1.0], "close": [1.0, 1.0], "score": [1.0, 2.0],
})

@numba.njit
def two(bar, weights_out): return True
@numba.njit
def not_a_bar(x, params, weights_out): return True
@numba.njit
def nothing(bar, params, weights_out): weights_out[0] = 1.0
@numba.njit
def sometimes(bar, params, weights_out):
    if bar.t > 0:
        return True
@numba.njit
def array(bar, params, weights_out): return weights_out
@numba.njit
def number(bar, params, weights_out): return 1
@numba.njit
def unknown_feature(bar, params, weights_out): return bar.scor[0] > 0
@numba.njit
def unknown_history(bar, params, weights_out): return bar.history.clos[0, 0] > 0
@numba.njit
def no_context(bar, params, weights_out): return bar.context.vix > 0
@numba.njit
def unknown_param(bar, params, weights_out): return params.lookbak > 0
@numba.njit
def unread_param(bar, params, weights_out): return True
@numba.njit
def timestamp(bar, params, weights_out): return bar.timestamp > 0
@numba.njit
def assets(bar, params, weights_out): return bar.assets[0] == 0
@numba.njit
def calls_history(bar, params, weights_out): return bar.history("close", 5)[0, 0] > 0
def plain(x): return x
@numba.njit
def calls_python(bar, params, weights_out): return plain(bar.t) > 0
@numba.njit
def writes_positions(bar, params, weights_out):
    bar.positions[0] = 5.0
    return True
@numba.njit
def writes_close(bar, params, weights_out):
    bar.history.close[0, 0] = 5.0
    return True
@numba.njit
def sets_close(bar, params, weights_out):
    bar.close = weights_out
    return True
@numba.njit
def uses_polars(bar, params, weights_out): return pl.DataFrame({"a": [1]}).height > 0
@numba.njit
def alias(bar, params, weights_out):
    b = bar
    return b.nonsense > 0
def not_compiled(bar, params, weights_out): return True

cases = {
    "two": (two, {}), "not_a_bar": (not_a_bar, {}), "nothing": (nothing, {}),
    "sometimes": (sometimes, {}), "array": (array, {}), "number": (number, {}),
    "unknown_feature": (unknown_feature, {}), "unknown_history": (unknown_history, {}),
    "no_context": (no_context, {}), "unknown_param": (unknown_param, {"lookback": 3}),
    "unread_param": (unread_param, {"n": 3}), "timestamp": (timestamp, {}),
    "assets": (assets, {}), "calls_history": (calls_history, {}),
    "calls_python": (calls_python, {}), "writes_positions": (writes_positions, {}),
    "writes_close": (writes_close, {}), "sets_close": (sets_close, {}),
    "uses_polars": (uses_polars, {}),
    "alias": (alias, {}), "not_compiled": (not_compiled, {}),
    "text_param": (unread_param, {"n": "x"}), "array_param": (unread_param, {"n": [1]}),
}
out = {}
for name, (function, params) in cases.items():
    try:
        bl.run_backtest(df, function, params=params)
    except Exception as error:
        hidden = error.__suppress_context__ or error.__context__ is None
        out[name] = [type(error).__name__, str(error), hidden and not error.__cause__]
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def told() -> dict[str, list]:
    """What each bad function raises, in a process that compiles."""
    inherited = {k: v for k, v in os.environ.items() if k != "NUMBA_DISABLE_JIT"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BAD],
        env=inherited,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("two", ["f(bar, params, weights_out)", "'two' takes (bar, weights_out)"]),
        ("not_a_bar", ["f(bar, params, weights_out)", "(x, params, weights_out)"]),
        ("nothing", ["'nothing'", "True to rebalance and False"]),
        ("sometimes", ["'sometimes'", "True to rebalance and False"]),
        ("array", ["'array'", "True to rebalance and False"]),
        ("number", ["'number'", "True to rebalance and False", "a number"]),
        ("unknown_feature", ["bar has no 'scor'", "Did you mean 'score'?", "line 27"]),
        ("unknown_history", ["bar.history has no 'clos'", "Did you mean 'close'?"]),
        ("no_context", ["no context was given"]),
        ("unknown_param", ["params has no 'lookbak'", "Did you mean 'lookback'?"]),
        ("unread_param", ["never reads params.n"]),
        ("timestamp", ["no 'timestamp' in compiled code", "Hint"]),
        ("assets", ["no 'assets' in compiled code"]),
        ("calls_history", ["bar.history(...)", "bar.history.close[bar.t - 19 :]"]),
        ("calls_python", ["'plain'", "is not compiled", "@numba.njit"]),
        ("writes_positions", ["the bar or to params, which are read-only"]),
        ("writes_close", ["the bar or to params, which are read-only"]),
        ("sets_close", ["'sets_close'", "read-only"]),
        ("uses_polars", ["'uses_polars'", "cannot be compiled", "Hint"]),
        ("alias", ["bar has no 'nonsense'", "line"]),
        ("not_compiled", ["'not_compiled' is not compiled", "@numba.njit"]),
        ("text_param", ["n is str", "number or a bool"]),
        ("array_param", ["n is list", "column"]),
    ],
)
def test_one_clear_error_of_ours(told, name, parts):
    kind, message, alone = told[name]
    assert kind == "WeightsError", message
    for part in parts:
        assert part in message
    assert len(message) < 400
    assert "numba.core" not in message
    assert "Failed in" not in message
    assert alone or name == "not_compiled"
