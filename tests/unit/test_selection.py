"""Top-n and equal weights, as expressions and as arrays."""

from __future__ import annotations

import datetime as dt

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
