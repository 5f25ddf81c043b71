"""Scores, choices and weights, as expressions and as arrays."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

import barloop as bl
from barloop.errors import WeightsError


@pytest.fixture
def scores() -> pl.DataFrame:
    rng = np.random.default_rng(7)
    n_bars, n_assets = 30, 9
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=t) for t in range(n_bars)]
    # One digit: many ties.
    score = rng.integers(0, 5, n_bars * n_assets) / 10
    score[rng.random(score.size) < 0.2] = np.nan
    return pl.DataFrame(
        {
            "date": [day for day in days for _ in range(n_assets)],
            "symbol": [f"S{i}" for i in range(n_assets)] * n_bars,
            "open": rng.uniform(9, 11, n_bars * n_assets),
            "close": rng.uniform(9, 11, n_bars * n_assets),
            "score": score,
        }
    ).with_columns(pl.col("score").fill_nan(None))


def test_ties_go_to_the_earlier_asset():
    frame = pl.DataFrame({"t": [1] * 4, "s": [2.0, 3.0, 3.0, 3.0]})
    chosen = frame.select(bl.top_n("s", 2, over="t")).to_series()
    assert chosen.to_list() == [False, True, True, False]
    array = bl.top_n(np.array([2.0, 3.0, 3.0, 3.0]), 2)
    assert array.tolist() == [False, True, True, False]


def test_null_and_nan_are_never_chosen():
    frame = pl.DataFrame({"t": [1, 1, 1], "s": [None, float("nan"), -5.0]})
    chosen = frame.select(bl.top_n("s", 3, over="t")).to_series()
    assert chosen.to_list() == [None, None, True]
    assert bl.top_n(np.array([np.nan, -5.0]), 3).tolist() == [False, True]


def test_weights_sum_to_gross_per_timestamp():
    frame = pl.DataFrame({"t": [1, 1, 1, 2], "s": [1.0, 2.0, 3.0, 9.0]})
    chosen = bl.top_n("s", 2, over="t")
    weights = frame.select(bl.equal_weight(chosen, gross=0.5, over="t")).to_series()
    # Two of three at t=1: 0.5 / 2 each; the only one at t=2: 0.5.
    assert weights.to_list() == [0.0, 0.25, 0.25, 0.5]


def test_timestamp_without_any_score_is_null_and_so_no_rebalance(scores):
    blank = scores.with_columns(
        score=pl.when(pl.col("date") == dt.date(2024, 1, 5)).then(None).otherwise(0.5)
    )
    weights = bl.equal_weight(bl.top_n("score", 3, over="date"), over="date")
    result = bl.run_backtest(blank, weights)
    assert dt.date(2024, 1, 5) not in result.rebalances["date"].to_list()
    assert result.n_skipped == 1


def test_nothing_chosen_is_all_zeros():
    assert bl.equal_weight(np.zeros(3, dtype=bool)).tolist() == [0.0, 0.0, 0.0]


def test_expression_and_callback_give_the_same_bits(scores):
    expression = bl.equal_weight(bl.top_n("score", 4, over="date"), over="date")

    def callback(bar):
        return bl.equal_weight(bl.top_n(bar.score, 4))

    one = bl.run_backtest(scores, expression, commission=bl.Commission(bps=10))
    two = bl.run_backtest(scores, callback, commission=bl.Commission(bps=10))
    assert one.n_skipped == 0
    assert one.equity.equals(two.equity)
    assert one.fills.equals(two.fills)


@pytest.mark.parametrize("n", [0, -1, 2.5, True])
def test_n_must_be_a_positive_int(n):
    with pytest.raises(WeightsError, match="n must be a positive int, got"):
        bl.top_n("score", n)


def test_chosen_array_must_be_booleans():
    with pytest.raises(WeightsError, match="chosen must be booleans, got an array of"):
        bl.equal_weight(np.array([0.5, 0.5]))


def test_bottom_n_chooses_the_lowest_and_the_earlier_of_equals():
    frame = pl.DataFrame({"t": [1] * 5, "s": [2.0, None, 1.0, 1.0, float("-inf")]})
    chosen = frame.select(bl.bottom_n("s", 2, over="t")).to_series()
    assert chosen.to_list() == [False, None, True, False, True]
    array = bl.bottom_n(np.array([2.0, np.nan, 1.0, 1.0, -np.inf]), 2)
    assert array.tolist() == [False, False, True, False, True]


def test_momentum_of_rows_and_of_a_history():
    frame = pl.DataFrame(
        {"asset": ["A", "B"] * 4, "close": [10.0, 1, 11, 2, None, 4, 22, 3]}
    )
    # A: 10, 11, null, 22; B: 1, 2, 4, 3.
    assert frame.select(bl.momentum("close", 1)).to_series().round(9).to_list() == [
        None, None, 0.1, 1.0, None, 1.0, None, -0.25
    ]  # fmt: skip
    # B: 2 / 1 and 4 / 2.  A: no price now, then none one row ago.
    skipped = frame.select(bl.momentum("close", 2, skip=1)).to_series().round(9)
    assert skipped.to_list() == [None] * 5 + [1.0, None, 1.0]
    history = frame["close"].to_numpy().reshape(4, 2)
    assert bl.momentum(history, 3).tolist() == [22 / 10 - 1, 3 / 1 - 1]
    assert np.isnan(bl.momentum(history, 4)).all()


def test_mean_and_volatility_need_the_whole_window():
    frame = pl.DataFrame({"asset": ["A"] * 6, "close": [10.0, 11, 9.9, None, 10, 11]})
    means = frame.select(bl.mean("close", 2)).to_series()
    assert means.to_list() == [None, 10.5, 10.45, None, None, 10.5]
    # Returns 0.1 and -0.1 about a mean of 0: sqrt(0.02 / 1).
    deviations = frame.select(bl.volatility("close", 2)).to_series()
    assert deviations.round(9).to_list() == [None, None, 0.141421356, None, None, None]
    assert frame.select(bl.mean("close", 7)).to_series().to_list() == [None] * 6


def test_rank_weights_by_hand():
    frame = pl.DataFrame(
        {
            "t": [1] * 4 + [2] * 2,
            "s": [3.0, 1.0, None, 2.0, 5.0, 5.0],
            "hold": [True, True, True, False, True, True],
        }
    )
    # Ranks 3, 1, -, 2 of 6; equals share 1.5 of 3 each.
    weights = frame.select(bl.rank_weights("s", gross=0.6, over="t")).to_series()
    assert weights.round(9).to_list() == [0.3, 0.1, None, 0.2, 0.3, 0.3]
    # Ranks 2 and 1 of 3 among those to hold that have a score.
    chosen = bl.rank_weights("s", chosen="hold", over="t")
    weights = frame.select(chosen).to_series().round(3)
    assert weights.to_list() == [0.667, 0.333, None, 0.0, 0.5, 0.5]
    score, hold = np.array([3.0, 1.0, np.nan, 2.0]), np.array([True, True, True, False])
    made = bl.rank_weights(score, chosen=hold).round(3)
    assert made.tolist() == [0.667, 0.333, 0.0, 0.0]
    assert bl.rank_weights(np.array([np.nan])).tolist() == [0.0]


def test_inverse_volatility_leaves_out_what_has_none():
    frame = pl.DataFrame(
        {
            "t": [1] * 7,
            "v": [0.1, 0.3, 0.0, None, float("inf"), -0.1, 0.2],
            "hold": [True] * 6 + [False],
        }
    )
    weights = frame.select(bl.inverse_volatility("hold", "v", over="t")).to_series()
    # 10 and 3.33 of 13.33.
    assert weights.round(9).to_list() == [0.75, 0.25, None, None, None, None, 0.0]
    array = bl.inverse_volatility(frame["hold"].to_numpy(), frame["v"].to_numpy())
    assert array.round(9).tolist() == [0.75, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0]
    nobody = bl.inverse_volatility(np.array([True]), np.array([np.nan]))
    assert nobody.tolist() == [0.0]


def test_long_short_nets_an_asset_of_both_sides():
    frame = pl.DataFrame({"t": [1] * 4, "s": [4.0, 3.0, 1.0, None]})
    weights = bl.long_short(
        bl.top_n("s", 2, over="t"),
        bl.bottom_n("s", 2, over="t"),
        long_gross=1.0,
        short_gross=0.6,
        over="t",
    )
    # Half of 1 each for the first two, 0.3 each off the last two.
    made = frame.select(weights).to_series().round(9).to_list()
    assert made == [0.5, 0.2, -0.3, None]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bl.momentum("close", 0), "lookback must be a positive int, got 0"),
        (lambda: bl.momentum("close", 2.0), "lookback must be a positive int, got 2"),
        (lambda: bl.momentum("close", 5, skip=-1), "skip must be an int of at least 0"),
        (lambda: bl.momentum("close", 5, skip=5), "skip must be less than lookback=5"),
        (lambda: bl.mean("close", 0), "n_bars must be a positive int"),
        (lambda: bl.volatility("close", 1), "n_bars must be an int of at least 2"),
        (lambda: bl.bottom_n("s", True), "n must be a positive int, got True"),
        (lambda: bl.equal_weight("x", gross=np.nan), "gross must be a finite number"),
        (lambda: bl.long_short("x", "y", long_gross="1a"), "long_gross must be a fin"),
        (lambda: bl.momentum(np.ones(3), 1), "history of shape .* got shape"),
        (lambda: bl.inverse_volatility(np.ones(3), np.ones(3)), "must be booleans"),
    ],
)
def test_arguments_without_a_meaning_are_refused(call, message):
    with pytest.raises(WeightsError, match=message):
        call()


def test_chosen_column_must_be_booleans(scores):
    for weights in (
        bl.equal_weight("score", over="date"),
        bl.rank_weights("close", chosen="score", over="date"),
        bl.inverse_volatility(pl.col("score") * 2, "close", over="date"),
    ):
        with pytest.raises(WeightsError, match="chosen must be booleans, got Float64"):
            bl.run_backtest(scores, weights)


def test_an_over_inside_of_an_over_sees_the_whole_frame(scores):
    # Polars evaluates an inner `over` within the groups of an outer one, where each
    # asset has one row: all null, and so never a rebalance.
    before = pl.col("score").shift(1).over("symbol")
    weights = bl.equal_weight(bl.top_n(before, 2, over="date"), over="date")
    first = scores.with_columns(before=before)
    column = bl.equal_weight(bl.top_n("before", 2, over="date"), over="date")
    expected = first.select(x=column).to_series()
    assert expected.null_count() < scores.height
    assert scores.select(x=weights).to_series().equals(expected)
    assert scores.lazy().select(x=weights).collect().to_series().equals(expected)


def test_rows_in_any_order_and_keys_of_any_kind():
    frame = pl.DataFrame(
        {"t": [2, 1, 2, 1, 2], "s": [5.0, 1.0, 7.0, 3.0, 6.0]}
    ).with_columns(asset=pl.Series(["A", "A", "B", "B", "C"]))
    expected = [0.0, 0.0, 0.5, 1.0, 0.5]
    keys = [pl.col("t").cast(kind) for kind in (pl.Int8, pl.UInt64, pl.Float64)]
    keys += [
        pl.col("t").cast(pl.String),
        pl.col("t").cast(pl.String).cast(pl.Categorical),
        pl.when(pl.col("t") == 1).then(1),
        pl.col("t") == 1,
        pl.col("t").cast(pl.Date),
    ]
    for key in keys:
        data = frame.with_columns(t=key)
        # The two best of bar 2, and the best of bar 1 counts half.
        best = bl.top_n(pl.col("s"), 2, over="t") & (pl.col("s") > 1.0)
        made = data.select(bl.equal_weight(best, over="t")).to_series()
        assert made.to_list() == expected
    empty = frame.clear().select(bl.equal_weight(bl.top_n("s", 2, over="t"), over="t"))
    assert empty.to_series().to_list() == []


def test_one_value_stands_for_all_rows(scores):
    frame = scores.head(18)
    same = bl.top_n(pl.lit(1.0), 2, over="date")
    made = frame.select("date", x=same)["x"]
    assert made.to_list() == ([True] * 2 + [False] * 7) * 2
    everyone = bl.equal_weight(pl.lit(value=True), over="date")
    assert frame.select("date", x=everyone)["x"].unique().to_list() == [1 / 9]


def test_the_column_that_is_not_there_is_named(scores):
    for weights in (
        bl.equal_weight(bl.top_n("score", 2)),
        bl.equal_weight(bl.top_n("score", 2, over="date")),
    ):
        with pytest.raises(WeightsError, match=r"(?s)timestamp.*over='date'"):
            bl.run_backtest(scores, weights)
    momentum = bl.momentum("close", 5)
    weights = bl.equal_weight(bl.top_n(momentum, 2, over="date"), over="date")
    with pytest.raises(WeightsError, match='unable to find column "asset"'):
        bl.run_backtest(scores, weights)


@pytest.mark.once
def test_each_kernel_compiles_once_whatever_is_asked():
    code = """
import numpy as np
import polars as pl
import barloop as bl
from barloop._kernels import grouped, ranking, row_gaps, weighing, windows

bars = bl.datasets.simulate_bars(20, 40, seed=2).with_columns(
    flag=pl.col("close") > 10, whole=pl.col("close").cast(pl.Int64)
)
short = bl.Limits(allow_short=True)
for frame in (bars, bars.filter(pl.int_range(pl.len()) % 9 > 0), bars.reverse()):
    panel = bl.Panel.from_frame(frame)
    for price in ("close", "whole", pl.col("open") * 2, pl.col("whole")):
        for score in (
            bl.momentum(price, 5),
            bl.momentum(price, 5, skip=2),
            bl.mean(price, 5),
            bl.volatility(price, 5),
            price,
        ):
            for chosen in (
                bl.top_n(score, 3), bl.bottom_n(score, 9), "flag", ~pl.col("flag")
            ):
                for weights in (
                    bl.equal_weight(chosen),
                    bl.rank_weights(score),
                    bl.rank_weights(score, chosen=chosen),
                    bl.inverse_volatility(chosen, score),
                    bl.long_short(chosen, "flag"),
                ):
                    for form in (weights, weights.alias("x")):
                        bl.run_backtest(
                            panel, form, schedule=7, limits=short, keep="metrics"
                        )
for history in (np.ones((9, 3)), np.ones((3, 9)).T, [[1.0, 2.0], [2.0, 1.0]]):
    bl.momentum(history, 1), bl.mean(history, 2), bl.volatility(history, 2)
for module in (grouped, ranking, row_gaps, weighing, windows):
    for name, kernel in vars(module).items():
        own = getattr(getattr(kernel, "py_func", None), "__module__", "")
        part = own and kernel.targetoptions.get("no_cpython_wrapper")
        if own == module.__name__ and not part:
            print(name, len(kernel.signatures))
"""
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_DISABLE_JIT"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    counts = dict(line.split() for line in done.stdout.splitlines())
    assert len(counts) > 15
    assert set(counts.values()) == {"1"}, counts
