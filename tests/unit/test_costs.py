"""Costs as panels: numbers, mappings, columns, a bid and an ask."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest

import barloop as bl
from barloop import BacktestConfig, Commission, Financing, Limits, Panel, Slippage
from barloop.cost_panels import borrow_rates, costs_of, quantity_panel, spread_panel
from barloop.errors import ConfigError

DAYS = [dt.date(2021, 3, 4) + dt.timedelta(days=k) for k in range(4)]
NAN = float("nan")


def frame(**columns: Any) -> pl.DataFrame:
    """Four bars of B and A; A begins on the second bar and misses the last."""
    close = [20.0, None, 21.0, 11.0, 22.0, 12.0, 23.0, None]
    data = {
        "date": [day for day in DAYS for _ in range(2)],
        "symbol": ["B", "A"] * 4,
        "close": close,
        "fee": [1.0, 9.0, 2.0, 3.0, 4.0, 5.0, 6.0, NAN],
        "bid": [19.0, None, 20.0, 9.0, 21.0, 11.0, 22.0, None],
        "ask": [21.0, None, 20.0, 11.0, 21.0, 11.0, 22.0, None],
    }
    return pl.DataFrame({**data, **columns})


def panel(**columns: Any) -> Panel:
    return Panel.from_frame(frame(**columns))


def quantity(value: Any, first_bar: int = 0, **columns: Any) -> Any:
    return quantity_panel(panel(**columns), value, "commission.bps", first_bar)


def refused(value: Any, first_bar: int = 0, **columns: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        quantity(value, first_bar, **columns)
    return str(caught.value)


# --- values ---------------------------------------------------------------------------


def test_number_is_one_row():
    assert quantity(2.5).tolist() == [[2.5, 2.5]]


def test_mapping_is_one_row_in_the_order_of_the_assets():
    given = Commission(bps={"B": 2.0, "A": 1.0, "not in the data": 3.0}).bps
    assert quantity(given).tolist() == [[1.0, 2.0]]


def test_mapping_of_integer_assets():
    df = frame().with_columns(symbol=pl.Series([7, 3] * 4))
    given = Commission(bps={7: 2.0, 3: 1.0}).bps
    made = quantity_panel(Panel.from_frame(df), given, "commission.bps", 0)
    assert made.tolist() == [[1.0, 2.0]]


def test_column_holds_where_the_asset_has_no_bar():
    # A has rows without a bar on the first and the last day: what stands there, 9.0
    # and NaN, is not read.  Before its first bar the cost is 0.
    assert quantity("fee").tolist() == [[0.0, 1.0], [3.0, 2.0], [5.0, 4.0], [5.0, 6.0]]


def test_column_of_rows_that_are_not_there():
    df = frame().filter(pl.col("close").is_not_null())
    made = quantity_panel(Panel.from_frame(df), "fee", "commission.bps", 0)
    assert made.tolist() == [[0.0, 1.0], [3.0, 2.0], [5.0, 4.0], [5.0, 6.0]]


def test_complete_column_is_not_copied():
    df = frame(close=[10.0] * 8, fee=[1.0] * 8)
    data = Panel.from_frame(df.sort("date", "symbol"))
    made = quantity_panel(data, "fee", "commission.bps", 0)
    assert np.shares_memory(made, data.feature("fee"))


def test_column_of_integers():
    assert quantity("fee", fee=[1, 9, 2, 3, 4, 5, 6, 0]).tolist()[1] == [3.0, 2.0]


def test_history_is_not_checked_and_holds_what_was_valid():
    fee = [1.0, None, -1.0, None, 4.0, 5.0, 6.0, None]
    made = quantity("fee", first_bar=2, fee=fee)
    assert made.tolist() == [[0.0, 1.0], [0.0, 1.0], [5.0, 4.0], [5.0, 6.0]]


def test_half_spread_of_bid_and_ask():
    # (21 - 19) / (21 + 19) = 0.05; (11 - 9) / (11 + 9) = 0.1; equal prices: 0.
    made = spread_panel(panel(), ("bid", "ask"), 0)
    assert made.tolist() == [[0.0, 0.05], [0.1, 0.0], [0.0, 0.0], [0.0, 0.0]]


def test_half_spread_as_a_number_a_mapping_or_a_column():
    assert spread_panel(panel(), 0.01, 0).tolist() == [[0.01, 0.01]]
    given = Slippage(half_spread={"A": 0.01, "B": 0.02}).half_spread
    assert spread_panel(panel(), given, 0).tolist() == [[0.01, 0.02]]
    assert spread_panel(panel(fee=[0.5] * 8), "fee", 0)[1].tolist() == [0.5, 0.5]


def test_units_and_shapes_of_all_costs():
    config = BacktestConfig(
        bars_per_year=250.0,
        commission=Commission(bps="fee", per_share={"A": 0.5, "B": 0.25}, maximum=9.0),
        slippage=Slippage(
            bps={"A": 1.0, "B": 2.0},
            half_spread=("bid", "ask"),
            sqrt_impact=1.0,
            volatility=0.02,
        ),
        limits=Limits(allow_short=True),
        financing=Financing(borrow_rate={"A": 0.25, "B": 0.5}),
    )
    costs = costs_of(panel(), config, 0)
    borrow_rate = borrow_rates(panel(), config, 0, 250.0)
    assert costs.commission_rate[1].tolist() == [3.0 / 1e4, 2.0 / 1e4]
    assert costs.per_share.tolist() == [[0.5, 0.25]]
    assert costs.per_order.tolist() == costs.minimum.tolist() == [[0.0, 0.0]]
    assert costs.maximum.tolist() == [[9.0, 9.0]]
    assert costs.slippage_rate[1].tolist() == [1.0 / 1e4 + 0.1, 2.0 / 1e4]
    assert costs.volatility.tolist() == [[0.02, 0.02]]
    assert borrow_rate.tolist() == [[0.25 / 250.0, 0.5 / 250.0]]
    for one in (*costs, borrow_rate):
        assert one.dtype == np.float64
        assert one.flags.c_contiguous
        assert not one.flags.writeable
        assert len(one) in (1, 4)


def test_costs_of_the_defaults():
    costs = costs_of(panel(), BacktestConfig(), 0)
    assert costs.maximum.tolist() == [[np.inf, np.inf]]
    for one in costs._replace(maximum=costs.minimum):
        assert one.tolist() == [[0.0, 0.0]]


def test_rates_have_the_bits_of_the_vector_of_options():
    config = BacktestConfig(commission=Commission(bps=3), slippage=Slippage(bps=7))
    costs = costs_of(panel(), config, 0)
    assert costs.commission_rate[0, 0] == 3.0 / 1e4
    assert costs.slippage_rate[0, 0] == 7.0 / 1e4


# --- refusals -------------------------------------------------------------------------


def test_mapping_that_misses_assets():
    assert refused({"A": 1.0}) == (
        'commission.bps must name every asset of the data: 1 of 2 is missing, first "B"'
        ".\nHint: add it, 0 is a number too."
    )
    assert refused({"C": 1.0, "D": 1.0}) == (
        "commission.bps must name every asset of the data: 2 of 2 are missing, first "
        '"A".\nHint: add them, 0 is a number too.'
    )


def test_mapping_that_misspells_an_asset():
    df = frame().with_columns(symbol=pl.col("symbol") + "BCD")
    with pytest.raises(ConfigError) as caught:
        quantity_panel(Panel.from_frame(df), {"ABC": 1.0, "BBCD": 1.0}, "here", 0)
    assert str(caught.value) == (
        'here must name every asset of the data: 1 of 2 is missing, first "ABCD". '
        "Did you mean 'ABC'?\nHint: add it, 0 is a number too."
    )


def test_mapping_of_text_for_integer_assets():
    df = frame().with_columns(symbol=pl.Series([7, 3] * 4))
    with pytest.raises(ConfigError) as caught:
        quantity_panel(Panel.from_frame(df), {"7": 1.0, "3": 1.0}, "here", 0)
    assert "first 3. The assets of the data are Int64.\n" in str(caught.value)


def test_column_that_is_not_there():
    text = refused("fees")
    assert text == (
        "commission.bps names the column 'fees', and the data has 'date', 'symbol', "
        "'close', 'fee', 'bid', 'ask'. Did you mean 'fee'?"
    )


def test_column_of_text():
    assert refused("fee", fee=["high"] * 8) == (
        "commission.bps names the column 'fee', which must be numeric, got String.\n"
        "Hint: cast it, e.g. pl.col('fee').cast(pl.Float64)."
    )


@pytest.mark.parametrize("value", [None, NAN, float("inf"), -0.5])
def test_column_with_a_value_that_is_no_cost(value: float | None):
    fee = [1.0, 9.0, 2.0, value, 4.0, value, 6.0, NAN]
    shown = "nan" if value is None else value
    assert refused("fee", fee=fee) == (
        "commission.bps='fee' needs a finite number from 0 on every bar of the run: 2 "
        f'have none, first at 2021-03-05, asset "A", fee {shown}.\n'
        "Hint: fill 'fee' in these rows."
    )


def test_column_above_its_bound():
    data = panel(fee=[20_000.0] * 8)
    with pytest.raises(ConfigError) as caught:
        quantity_panel(data, "fee", "slippage.bps", 3, below=10_000.0)
    assert str(caught.value) == (
        "slippage.bps='fee' needs at least 0 and less than 10000 on every bar of the "
        'run: 1 has none, first at 2021-03-07, asset "B", fee 20000.0.\n'
        "Hint: fill 'fee' in these rows."
    )


@pytest.mark.parametrize(
    ("bid", "ask"), [(12.0, 11.0), (0.0, 11.0), (9.0, None), (NAN, 11.0)]
)
def test_bid_and_ask_that_are_no_spread(bid: float | None, ask: float | None):
    data = frame()
    second = pl.int_range(pl.len()) == 3
    data = data.with_columns(
        bid=pl.when(second).then(pl.lit(bid, pl.Float64)).otherwise("bid"),
        ask=pl.when(second).then(pl.lit(ask, pl.Float64)).otherwise("ask"),
    )
    with pytest.raises(ConfigError) as caught:
        spread_panel(Panel.from_frame(data), ("bid", "ask"), 0)
    shown = "nan" if ask is None else ask
    assert str(caught.value) == (
        "slippage.half_spread=('bid', 'ask') needs a positive bid and an ask that is "
        "no lower on every bar of the run: 1 has none, first at 2021-03-05, asset "
        f"\"A\", bid {bid}, ask {shown}.\nHint: fill 'bid' and 'ask' in these rows."
    )


def test_minimum_above_maximum_in_the_data():
    config = BacktestConfig(
        commission=Commission(minimum="fee", maximum={"A": 4.0, "B": 5.5})
    )
    with pytest.raises(ConfigError) as caught:
        costs_of(panel(), config, 0)
    assert str(caught.value) == (
        "commission.minimum must be at most commission.maximum: 2 are not, first at "
        '2021-03-06, asset "A", minimum 5.0, maximum 4.0.'
    )
    config = BacktestConfig(
        commission=Commission(minimum={"A": 1.0, "B": 3.0}, maximum=2)
    )
    with pytest.raises(ConfigError) as caught:
        costs_of(panel(), config, 0)
    assert str(caught.value) == (
        "commission.minimum must be at most commission.maximum: 1 is not, first asset "
        '"B", minimum 3.0, maximum 2.0.'
    )


# --- what a fill costs in the end -----------------------------------------------------


def run(**members: Any) -> bl.BacktestResult:
    """Buy 100 units of A at 10 on the second bar, with 1,000 of 2,000 in cash."""
    df = pl.DataFrame(
        {
            "date": DAYS,
            "symbol": ["A"] * 4,
            "open": [10.0] * 4,
            "close": [10.0] * 4,
            "volume": [1_000.0] * 4,
            "fee": [1.0, 20.0, 3.0, 4.0],
            "bid": [9.9] * 4,
            "ask": [10.1] * 4,
            "weight": [0.5, None, None, None],
        }
    )
    return bl.run_backtest(df, "weight", initial_cash=2_000.0, **members)


@pytest.mark.parametrize(
    ("commission", "paid"),
    [
        (Commission(bps=10), 1.0),
        (Commission(bps="fee"), 2.0),  # 20 bps on the bar of the fill
        (Commission(per_share=0.05), 5.0),
        (Commission(per_share={"A": 0.05}, per_order=2), 7.0),
        (Commission(bps=10, minimum=3), 3.0),
        (Commission(bps=100, maximum=4), 4.0),
        (Commission(per_order="fee"), 20.0),
    ],
)
def test_commission_of_a_fill(commission: Commission, paid: float):
    result = run(commission=commission)
    assert result.fills["commission"].to_list() == pytest.approx([paid], rel=1e-12)
    assert result.final_equity == pytest.approx(2_000.0 - paid, rel=1e-12)


@pytest.mark.parametrize(
    ("slippage", "price"),
    [
        (Slippage(bps=10), 10.01),
        (Slippage(bps="fee"), 10.02),
        (Slippage(half_spread=0.01), 10.1),
        (Slippage(half_spread=("bid", "ask")), 10.1),
        # 100 of 1,000 units: 2 * 0.1 ** 2 = 0.02.
        (Slippage(volume_impact=2.0), 10.2),
        # 0.5 * 0.04 * sqrt(0.1).
        (Slippage(sqrt_impact=0.5, volatility=0.04), 10 * (1 + 0.02 * 0.1**0.5)),
        (Slippage(bps={"A": 10.0}, half_spread=0.01, volume_impact=2.0), 10.31),
    ],
)
def test_price_of_a_fill(slippage: Slippage, price: float):
    result = run(slippage=slippage)
    assert result.fills["price"].to_list() == pytest.approx([price], rel=1e-12)
