"""The exact net-of-cost target: after the fills every weight is what was asked for.

With E the equity at the fill prices before the fills, E' the one after them and
``cost(q)`` what a fill takes away from equity at those prices::

    E' + sum(cost(weight * E' / price - position)) = E
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import barloop as bl

COSTS = {
    "bps": bl.Commission(bps=25),
    "per_share": bl.Commission(bps=5, per_share=0.02),
    "per_order": bl.Commission(per_order=7.5),
    "minimum": bl.Commission(bps=10, minimum=20.0),
    "maximum": bl.Commission(bps=50, minimum=1.0, maximum=40.0),
}
CASH = 1_000_000.0
DAYS = np.arange("2024-01-01", "2024-01-21", dtype="datetime64[D]")


def frame(rng: np.random.Generator, n_bars: int, n_assets: int) -> pl.DataFrame:
    """Random prices and long and short weights, fully invested on most bars."""
    shape = (n_bars, n_assets)
    close = rng.uniform(5, 200, n_assets) * np.exp(
        np.cumsum(rng.normal(0, 0.03, shape), axis=0)
    )
    weight = rng.dirichlet(np.ones(n_assets), n_bars)
    weight *= np.where(rng.random(shape) < 0.3, -1.0, 1.0)
    weight[rng.random(shape) < 0.2] = 0.0
    return pl.DataFrame(
        {
            "time": np.repeat(DAYS[:n_bars], n_assets),
            "asset": [f"A{i}" for i in range(n_assets)] * n_bars,
            "open": (close * np.exp(rng.normal(0, 0.01, shape))).ravel(),
            "close": close.ravel(),
            "weight": weight.ravel(),
        }
    )


def run(
    bars: pl.DataFrame, commission: bl.Commission, **execution
) -> bl.BacktestResult:
    return bl.run_backtest(
        bars,
        "weight",
        initial_cash=CASH,
        execution=bl.Execution(costs_in_size="portfolio", **execution),
        commission=commission,
        slippage=bl.Slippage(bps=8),
        limits=bl.Limits(allow_short=True),
    )


def after_fills(result: bl.BacktestResult, bars: pl.DataFrame) -> pl.DataFrame:
    """Weights at the fill prices after the fills of each bar, and the wanted ones."""
    wanted = bars.select(
        "asset", time=pl.col("time").dt.offset_by("1d"), wanted=pl.col("weight")
    )
    held = bars.select("time", "asset", "open").join(
        result.positions.select("time", "asset", "position"),
        on=["time", "asset"],
        how="left",
        maintain_order="left",
    )
    return (
        held.join(wanted, on=["time", "asset"], maintain_order="left")
        .join(result.equity.select("time", "cash"), on="time", maintain_order="left")
        .with_columns(value=pl.col("position").fill_null(0.0) * pl.col("open"))
        .with_columns(
            post_cost=pl.col("cash") + pl.col("value").sum().over("time"),
        )
    )


@pytest.mark.parametrize("name", COSTS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_weights_after_the_fills_are_the_targets_to_the_cent(name, seed):
    bars = frame(np.random.default_rng(seed), 6, 7)
    result = run(bars, COSTS[name])
    made = after_fills(result, bars)
    missed = (made["value"] - made["wanted"] * made["post_cost"]).abs()
    assert missed.max() < 0.01
    # The costs that were charged are the ones that the equation reckoned with.
    assert result.equity["commission"].sum() > 0.0
    result.audit()


def test_the_equation_by_hand():
    # One asset at 100, weight 1, commission 1 %: E' + 0.01 * E' = 1010, so E' = 1000:
    # 10 units, 10 of commission, and nothing is left over or short.
    bars = pl.DataFrame(
        {
            "time": DAYS[:2],
            "asset": ["A", "A"],
            "open": [100.0, 100.0],
            "close": [100.0, 100.0],
            "weight": [1.0, 1.0],
        }
    )
    result = bl.run_backtest(
        bars,
        "weight",
        initial_cash=1010.0,
        execution=bl.Execution(costs_in_size="portfolio"),
        commission=bl.Commission(bps=100),
    )
    assert result.fills["quantity"].to_list() == pytest.approx([10.0], rel=1e-12)
    assert result.equity["cash"][1] == pytest.approx(0.0, abs=1e-9)
    assert result.orders["status"].to_list() == ["filled", "waiting"]


def test_per_order_commissions_by_hand():
    # Two assets at 10 and 20, halves, 5 a fill: E' = 1000 - 10 = 990, 495 in each.
    bars = pl.DataFrame(
        {
            "time": DAYS[[0, 0, 1, 1]],
            "asset": ["A", "B"] * 2,
            "open": [10.0, 20.0] * 2,
            "close": [10.0, 20.0] * 2,
            "weight": [0.5] * 4,
        }
    )
    result = bl.run_backtest(
        bars,
        "weight",
        initial_cash=1000.0,
        execution=bl.Execution(costs_in_size="portfolio"),
        commission=bl.Commission(per_order=5.0),
    )
    assert result.fills["quantity"].to_list() == pytest.approx([49.5, 24.75], rel=1e-12)


@pytest.mark.parametrize("name", COSTS)
def test_no_result_depends_on_the_order_of_the_assets(name):
    bars = frame(np.random.default_rng(3), 8, 9)
    names = [f"A{i}" for i in range(9)]
    turned = dict(zip(names, names[::-1], strict=True))
    other = bars.with_columns(pl.col("asset").replace(turned))
    one, two = run(bars, COSTS[name]), run(other, COSTS[name])
    np.testing.assert_allclose(one.equity["equity"], two.equity["equity"], rtol=1e-12)
    back = two.positions.with_columns(pl.col("asset").replace(turned))
    both = one.positions.join(back, on=["time", "asset"], how="full", suffix="_two")
    assert both.null_count().sum_horizontal()[0] == 0
    np.testing.assert_allclose(both["position"], both["position_two"], rtol=1e-9)


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("rounding", ["whole_target", "whole_delta_nearest"])
def test_whole_shares_are_within_one_lot_of_the_exact_target(name, rounding):
    bars = frame(np.random.default_rng(11), 8, 6)
    result = run(bars, COSTS[name], rounding=rounding, cash_rule="allow")
    made = after_fills(result, bars)
    # The equity that cost takes away differs by what rounding leaves: well below 1.
    missed = (made["value"] - made["wanted"] * made["post_cost"]).abs() / made["open"]
    assert missed.max() < 1.0 + 1e-3
    units = made["position"].fill_null(0.0)
    assert (units - units.round()).abs().max() == 0.0


def test_costs_in_size_none_misses_the_targets():
    # The same market without the equation: the tests above can fail.
    bars = frame(np.random.default_rng(3), 8, 9)
    result = bl.run_backtest(
        bars,
        "weight",
        initial_cash=CASH,
        commission=COSTS["bps"],
        slippage=bl.Slippage(bps=8),
        limits=bl.Limits(allow_short=True),
    )
    made = after_fills(result, bars)
    missed = (made["value"] - made["wanted"] * made["post_cost"]).abs()
    assert missed.max() > 100.0
