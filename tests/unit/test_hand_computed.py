"""The rules of a bar on a handful of bars, every number worked out by hand.

The arithmetic stands in the comments.  Numbers are compared exactly where each step is
exact in binary, else with ``near``: a binding factor is cut by 1e-12 of itself.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping
from typing import Any

import polars as pl
import pytest

import barloop as bl

DAYS = [dt.date(2024, 1, 29) + dt.timedelta(days=k) for k in range(5)]  # Mon to Fri

near = functools.partial(pytest.approx, rel=1e-11)
NO_CASH = pytest.approx(0.0, abs=2e-9)

Quote = float | tuple[float | None, float | None] | None


def frame(**quotes: list[Quote]) -> pl.DataFrame:
    """Make a long frame: per asset and bar (open, close), one number for both, None."""
    rows = []
    for asset, of_asset in quotes.items():
        for day, quote in zip(DAYS, of_asset, strict=False):
            if quote is not None:
                pair = quote if isinstance(quote, tuple) else (quote, quote)
                rows.append((day, asset, *pair))
    schema = {
        "date": pl.Date,
        "symbol": pl.String,
        "open": pl.Float64,
        "close": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def run(df: pl.DataFrame, says: Mapping[int, Any], **settings: Any) -> Any:
    """Run with 1,000 of cash and the decisions of `says` by bar; audit the result."""
    settings.setdefault("initial_cash", 1_000.0)
    result = bl.run_backtest(df, lambda bar: says.get(bar.t), **settings)
    result.audit()
    return result


def bar_of(day: dt.date) -> int:
    return DAYS.index(day)


def fills(result: Any) -> list[tuple[Any, ...]]:
    """Return (bar, asset, quantity, price) of each fill, in order of execution."""
    return [
        (bar_of(day), *rest)
        for day, *rest in result.fills.select(
            "date", "symbol", "quantity", "price"
        ).iter_rows()
    ]


def column(result: Any, name: str) -> list[float]:
    return result.equity[name].to_list()


def orders(result: Any, *names: str) -> list[tuple[Any, ...]]:
    """Return columns of the ledger, one tuple per order."""
    return result.orders.select(*names).rows()


def held(result: Any, t: int) -> dict[str, float]:
    """Return the positions after bar t."""
    rows = result.positions.filter(pl.col("date") == DAYS[t])
    return dict(rows.select("symbol", "position").iter_rows())


def count_of(result: Any, notice: str) -> int:
    return result.notices.filter(pl.col("notice") == notice)["count"].sum()


SHORTS = bl.Limits(allow_short=True, max_gross=3.0)
WHOLE = bl.Execution(rounding="whole_target")


def closes(name: str) -> bl.Execution:
    return bl.Execution(fill=name)


# --- when an order fills --------------------------------------------------------------


def test_next_open_sizes_at_the_close_and_fills_at_the_next_open():
    result = run(frame(A=[(9.0, 10.0), (8.0, 11.0), 12.0]), {0: {"A": 1.0}})
    # Bar 0: target = 1.0 * 1000 / close 10 = 100.  Bar 1: 100 * open 8 = 800 is paid.
    assert fills(result) == [(1, "A", 100.0, 8.0)]
    assert column(result, "cash") == [1000.0, 200.0, 200.0]
    # Equity: 1000; 200 + 100 * 11; 200 + 100 * 12.
    assert column(result, "equity") == [1000.0, 1300.0, 1400.0]


def test_next_close_fills_at_the_next_close_and_needs_no_open():
    df = frame(A=[10.0, 8.0, 12.0]).drop("open")
    result = run(df, {0: {"A": 1.0}}, execution=closes("next_close"))
    # 100 units at close[1] = 8: cash 200, equity 200 + 100 * 8 = 1000, then 1400.
    assert fills(result) == [(1, "A", 100.0, 8.0)]
    assert column(result, "equity") == [1000.0, 1000.0, 1400.0]


def test_same_close_fills_at_the_close_it_was_decided_on_and_marks_again():
    result = run(
        frame(A=[(9.0, 10.0), (8.0, 11.0)]),
        {0: {"A": 0.5}},
        execution=closes("same_close"),
        commission=bl.Commission(minimum=4.0),
    )
    # Target = 0.5 * 1000 / 10 = 50 at 10 on bar 0: cash 1000 - 500 - 4 = 496.
    # Mark again: 496 + 50 * 10 = 996.  Bar 1: 496 + 50 * 11 = 1046.
    assert fills(result) == [(0, "A", 50.0, 10.0)]
    assert column(result, "cash") == [496.0, 496.0]
    assert column(result, "equity") == [996.0, 1046.0]
    # The decision was sized on the equity before its own fill.
    assert orders(result, "equity", "position_before", "position_after") == [
        (1000.0, 0.0, 50.0)
    ]


def test_same_close_order_without_a_bar_fills_at_the_next_close_before_the_mark():
    result = run(
        frame(A=[10.0, None, (7.0, 8.0)], B=[1.0, 1.0, 1.0]),
        {1: {"A": 0.5}},
        execution=closes("same_close"),
    )
    # Bar 1: sized on the last close: 0.5 * 1000 / 10 = 50.  Bar 2: 50 * close 8 = 400.
    assert fills(result) == [(2, "A", 50.0, 8.0)]
    assert column(result, "cash") == [1000.0, 1000.0, 600.0]
    assert orders(result, "status", "reason") == [("filled", "missing_bar")]


# --- order of execution ---------------------------------------------------------------


def test_sells_run_before_buys_and_fund_them():
    # Z is sold for the cash that buys A, although A comes first in asset order.
    result = run(frame(A=[20.0] * 3, Z=[10.0] * 3), {0: {"Z": 1.0}, 1: {"A": 1.0}})
    # 1000 / 10 = 100 Z; then 100 Z bring 1000 at 10, and 1000 / 20 = 50 A.
    assert fills(result) == [
        (1, "Z", near(100.0), 10.0),
        (2, "Z", near(-100.0), 10.0),
        (2, "A", near(50.0), 20.0),
    ]
    assert column(result, "cash") == [1000.0, NO_CASH, NO_CASH]
    assert orders(result, "reason") == [("none",)] * 3


def test_opening_shorts_fund_buys():
    result = run(
        frame(B=[10.0] * 2, Z=[10.0] * 2), {0: {"B": 1.4, "Z": -0.5}}, limits=SHORTS
    )
    # 50 Z are sold short first: cash 1500; then 140 B cost 1400: nothing is scaled.
    assert fills(result) == [(1, "Z", -50.0, 10.0), (1, "B", 140.0, 10.0)]
    assert column(result, "cash") == [1000.0, 100.0]


def test_covers_run_before_opening_buys():
    result = run(
        frame(A=[10.0] * 3, Z=[10.0] * 3),
        {0: {"Z": -0.5}, 1: {"A": 1.0}},
        limits=SHORTS,
    )
    # Short 50 Z: cash 1500.  Then Z is covered for 500, A bought for 1000.
    assert fills(result)[1:] == [(2, "Z", 50.0, 10.0), (2, "A", near(100.0), 10.0)]
    assert column(result, "cash") == [1000.0, 1500.0, NO_CASH]


# --- costs ----------------------------------------------------------------------------


def test_buys_pay_and_sells_get_the_slipped_price_and_commission_is_on_it():
    result = run(
        frame(A=[10.0, 10.0, 20.0]),
        {0: {"A": 0.5}, 1: {}},
        slippage=bl.Slippage(bps=100),
        commission=bl.Commission(bps=200),
    )
    # Buy 50 at 10 * 1.01 = 10.1: notional 505, commission 2 % = 10.1, slippage 5.
    # cash = 1000 - 505 - 10.1 = 484.9.
    # Sell 50 at 20 * 0.99 = 19.8: notional 990, commission 19.8, slippage 50 * 0.2.
    # cash = 484.9 + 990 - 19.8 = 1455.1.
    assert fills(result) == [(1, "A", 50.0, near(10.1)), (2, "A", -50.0, near(19.8))]
    costs = result.fills.select("base_price", "commission", "slippage").rows()
    assert costs == [(10.0, near(10.1), near(5.0)), (20.0, near(19.8), near(10.0))]
    assert column(result, "cash") == [1000.0, near(484.9), near(1455.1)]
    assert column(result, "commission") == [0.0, near(10.1), near(19.8)]
    assert column(result, "slippage") == [0.0, near(5.0), near(10.0)]
    assert result.metrics["total_commission"] == near(29.9)
    assert result.metrics["total_slippage"] == near(15.0)


def test_minimum_commission_may_exceed_the_proceeds_of_a_sell():
    result = run(
        frame(A=[10.0, 10.0, 0.125]),
        {0: {"A": 0.5}, 1: {}},
        commission=bl.Commission(minimum=20.0),
    )
    # Buy: 1000 - 500 - 20 = 480.  Sell 50 at 0.125 = 6.25 less 20: 466.25.
    assert column(result, "cash") == [1000.0, 480.0, 466.25]
    assert held(result, 2) == {}


def test_every_column_of_the_equity_curve():
    result = run(
        frame(A=[10.0, (10.0, 12.0), 9.0], B=[10.0, (10.0, 5.0), 5.0]),
        {0: {"A": 0.5, "B": -0.25}},
        limits=SHORTS,
        commission=bl.Commission(minimum=5.0),
    )
    # Bar 1: sell 25 B at 10 (+250), buy 50 A at 10 (-500), two commissions of 5:
    # cash = 1000 + 250 - 500 - 10 = 740.
    # Value of A 50 * 12 = 600, of B -25 * 5 = -125: net 475, gross 725, equity 1215.
    # Turnover = (250 + 500) / (2 * 1215).
    # Bar 2: A 450, B -125: net 325, gross 575, equity 1065.
    rows = result.equity.rows()
    assert rows[0] == (DAYS[0], 1000.0, 1000.0, *([0.0] * 10), 0)
    assert rows[1] == (
        DAYS[1],
        740.0,
        1215.0,
        near(0.215),
        0.0,
        725.0,
        475.0,
        near(725 / 1215),
        near(750 / 2430),
        10.0,
        0.0,
        0.0,
        0.0,
        2,
    )
    assert rows[2] == (
        DAYS[2],
        740.0,
        1065.0,
        near(1065 / 1215 - 1),
        near(1065 / 1215 - 1),
        575.0,
        325.0,
        near(575 / 1065),
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        2,
    )


# --- the cash rule --------------------------------------------------------------------


def test_common_factor_is_net_of_slippage_and_commission():
    result = run(
        frame(A=[10.0, 12.0], B=[20.0, 20.0]),
        {0: {"A": 0.5, "B": 0.5}},
        slippage=bl.Slippage(bps=100),
        commission=bl.Commission(bps=50),
    )
    # Wanted 50 A and 25 B.  Cost at the open: (50 * 12 + 25 * 20) * 1.01 * 1.005
    # = 1100 * 1.01505 = 1116.555, cash 1000: f = 1000 / 1116.555 for both.
    f = 1000 / 1116.555
    assert fills(result) == [
        (1, "A", near(50 * f), near(12.12)),
        (1, "B", near(25 * f), near(20.2)),
    ]
    # The factor is cut by 1e-12 of itself: 1e-9 of cash is left, never less than none.
    assert 0.0 <= column(result, "cash")[1] < 2e-9
    assert orders(result, "quantity", "missing", "status", "reason") == [
        (50.0, near(50 - 50 * f), "partial", "scaled_to_cash"),
        (25.0, near(25 - 25 * f), "partial", "scaled_to_cash"),
    ]
    assert result.rebalances["scale"].to_list() == [
        near(f),
    ]


def test_orders_that_cost_exactly_the_cash_are_not_called_scaled():
    result = run(frame(A=[10.0, 10.0], B=[20.0, 20.0]), {0: {"A": 0.5, "B": 0.5}})
    # 50 * 10 + 25 * 20 = 1000 = cash; the cut of 1e-12 is not a reason.
    assert orders(result, "filled", "status", "reason") == [
        (near(50.0), "filled", "none"),
        (near(25.0), "filled", "none"),
    ]
    assert column(result, "cash")[1] >= 0.0


def test_minimum_commission_is_paid_out_of_the_factor():
    result = run(
        frame(A=[10.0, 10.0], B=[20.0, 20.0]),
        {0: {"A": 0.5, "B": 0.5}},
        commission=bl.Commission(minimum=10.0),
    )
    # 500 f + 10 + 500 f + 10 = 1000: f = 0.98, so 49 A and 24.5 B.
    assert fills(result) == [(1, "A", near(49.0), 10.0), (1, "B", near(24.5), 20.0)]
    assert result.fills["commission"].to_list() == [10.0, 10.0]
    assert 0.0 <= column(result, "cash")[1] < 2e-9
    assert result.rebalances["scale"].to_list() == [near(0.98)]


def test_bisection_where_one_commission_is_the_minimum_and_one_is_not():
    result = run(
        frame(A=[10.0, 10.0], B=[10.0, 10.0]),
        {0: {"A": 0.8, "B": 0.2}},
        commission=bl.Commission(bps=100, minimum=6.0),
    )
    # Wanted 80 A and 20 B at 10.  Cost: 800 f + max(8 f, 6) + 200 f + max(2 f, 6).
    # With 8 f above 6 and 2 f below: 1008 f + 6 = 1000, f = 994 / 1008 = 0.98611.
    f = 994 / 1008
    assert fills(result) == [(1, "A", near(80 * f), 10.0), (1, "B", near(20 * f), 10.0)]
    assert result.fills["commission"].to_list() == [near(8 * f), 6.0]
    assert 0.0 <= column(result, "cash")[1] < 2e-9


def test_cash_below_the_minimum_commissions_buys_nothing():
    result = run(
        frame(A=[1.0, 1.0], B=[1.0, 1.0]),
        {0: {"A": 0.5, "B": 0.5}},
        initial_cash=15.0,
        commission=bl.Commission(minimum=10.0),
    )
    # Just above f = 0 two fills cost 2 * 10 = 20, more than 15: f = 0, which is free.
    assert fills(result) == []
    assert column(result, "cash") == [15.0, 15.0]
    assert (
        orders(result, "quantity", "filled", "missing", "status", "reason")
        == [(7.5, 0.0, 7.5, "none", "scaled_to_cash")] * 2
    )
    assert result.rebalances["scale"].to_list() == [0.0]


def test_what_scaling_took_away_does_not_wait():
    result = run(frame(A=[10.0, 20.0, 5.0]), {0: {"A": 1.0}})
    # 100 wanted, 1000 / 20 = 50 bought; on bar 2 cash is 0 anyway and nothing waits.
    assert fills(result) == [(1, "A", near(50.0), 20.0)]
    assert result.next_orders.height == 0


def test_borrowing_floor_is_a_share_of_equity_at_the_fill_prices():
    result = run(
        frame(A=[10.0, 10.0, 8.0]),
        {0: {"A": 1.0}, 1: {"A": 1.5}},
        limits=bl.Limits(max_gross=1.5, max_borrowing=0.25),
    )
    # Bar 1: 100 A for 1000.  Bar 1 decides 1.5 * 1000 / 10 = 150: buy 50 more.
    # Bar 2 opens at 8: E = 0 + 100 * 8 = 800, floor = -0.25 * 800 = -200.
    # 50 * 8 = 400 is needed, 200 available: f = 0.5, 25 bought, cash -200.
    assert fills(result) == [(1, "A", 100.0, 10.0), (2, "A", near(25.0), 8.0)]
    assert column(result, "cash")[2] == near(-200.0)
    assert column(result, "cash")[2] >= -200.0
    # Equity = -200 + 125 * 8 = 800, leverage = 1000 / 800.
    assert column(result, "leverage")[2] == near(1.25)


def test_borrowing_floor_values_an_asset_that_cannot_fill_at_its_last_close():
    result = run(
        frame(A=[10.0] * 3, B=[10.0, (10.0, 16.0), (None, 4.0)]),
        {0: {"A": 0.5, "B": 0.5}, 1: bl.partial({"A": 1.5})},
        limits=bl.Limits(max_gross=2.0, max_borrowing=0.5),
    )
    # Bar 1: 50 A and 50 B for 1000; close: 50 * 10 + 50 * 16 = 1300.
    # A wants 1.5 * 1300 / 10 = 195, so 145 more.  Bar 2: B has no open: E = 0 +
    # 50 * 10 + 50 * 16 = 1300 (the close 4 is not known at the open), floor -650.
    # 145 * 10 = 1450 needed, 650 available: 65 bought.
    assert fills(result)[2:] == [(2, "A", near(65.0), 10.0)]
    assert column(result, "cash")[2] == near(-650.0)


# --- shorts and flips -----------------------------------------------------------------


def test_short_position_gains_when_the_price_falls():
    result = run(
        frame(A=[10.0, 10.0, 12.0, 6.0]), {0: {"A": -0.5}, 2: {}}, limits=SHORTS
    )
    # Sell 50 at 10: cash 1500.  Bar 2: 1500 - 50 * 12 = 900.  Bar 3: covered at 6.
    assert fills(result) == [(1, "A", -50.0, 10.0), (3, "A", 50.0, 6.0)]
    assert column(result, "equity") == [1000.0, 1000.0, 900.0, 1200.0]
    assert column(result, "net_exposure") == [0.0, -500.0, -600.0, 0.0]
    assert column(result, "gross_exposure") == [0.0, 500.0, 600.0, 0.0]


def test_covers_are_not_scaled_and_may_leave_cash_below_the_floor():
    result = run(
        frame(A=[10.0, 10.0, 22.0], B=[10.0, 10.0, 25.0], C=[10.0, 10.0, 10.0]),
        {0: {"A": -1.0, "B": 1.0}, 1: bl.partial({"A": 0.0, "C": 0.5})},
        limits=SHORTS,
    )
    # Bar 1: +1000 - 1000, cash 1000.  Bar 2: covering 100 A at 22 takes 2200: cash
    # -1200, below the floor 0, so the opening buy of 50 C gets f = 0.
    assert fills(result)[2:] == [(2, "A", 100.0, 22.0)]
    assert column(result, "cash") == [1000.0, 1000.0, -1200.0]
    # Equity = -1200 + 100 * 25.
    assert column(result, "equity")[2] == 1300.0
    ledger = orders(result, "symbol", "filled", "status", "reason")
    assert ledger[2:] == [
        ("A", 100.0, "filled", "none"),
        ("C", 0.0, "none", "scaled_to_cash"),
    ]


def test_flip_from_long_to_short_is_one_sell_with_one_commission():
    result = run(
        frame(A=[10.0] * 3),
        {0: {"A": 0.5}, 1: {"A": -0.5}},
        limits=SHORTS,
        commission=bl.Commission(minimum=20.0),
    )
    # Buy 50: cash 1000 - 500 - 20 = 480, equity 980.  Target -0.5 * 980 / 10 = -49:
    # sell 99 at 10 for one 20: cash 480 + 990 - 20 = 1450.
    assert fills(result) == [(1, "A", 50.0, 10.0), (2, "A", -99.0, 10.0)]
    assert result.fills["commission"].to_list() == [20.0, 20.0]
    assert column(result, "cash") == [1000.0, 480.0, 1450.0]
    assert held(result, 2) == {"A": -49.0}


def test_flip_from_short_to_long_scales_only_what_opens():
    result = run(
        frame(A=[10.0, 10.0, 20.0]),
        {0: {"A": -0.5}, 1: {"A": 1.0}},
        limits=SHORTS,
        commission=bl.Commission(minimum=10.0),
    )
    # Sell 50 at 10 for 10: cash 1490, equity 990.  Target 99: buy 149 = 50 + 99.
    # At 20: cover 1000, one commission 10: 1490 - 1000 - 10 = 480 buys 24 of the 99.
    # One fill of 50 + 24 = 74 at 20: cash 1490 - 1480 - 10 = 0.
    assert fills(result) == [(1, "A", -50.0, 10.0), (2, "A", near(74.0), 20.0)]
    assert result.fills["commission"].to_list() == [10.0, 10.0]
    assert held(result, 2) == {"A": near(24.0)}
    assert column(result, "cash")[2] == NO_CASH
    assert orders(result, "quantity", "status", "reason")[1] == (
        149.0,
        "partial",
        "scaled_to_cash",
    )
    assert result.rebalances["scale"].to_list() == [1.0, near(24 / 99)]


def test_flip_covers_even_when_nothing_is_left_to_open_with():
    result = run(
        frame(A=[10.0, 10.0, 22.0], B=[10.0, 10.0, 25.0]),
        {0: {"A": -1.0, "B": 1.0}, 1: bl.partial({"A": 0.5})},
        limits=SHORTS,
    )
    # Cash 1000.  A flips from -100 to +50, but covering 100 at 22 takes 2200: the
    # opening part gets f = 0, the cover part is filled whole.
    assert fills(result)[2:] == [(2, "A", 100.0, 22.0)]
    assert held(result, 2) == {"B": 100.0}
    assert orders(result, "quantity", "filled", "missing", "position_after")[2] == (
        150.0,
        100.0,
        50.0,
        0.0,
    )


# --- whole shares ---------------------------------------------------------------------


def test_whole_targets_are_cut_toward_zero_for_longs_and_shorts():
    result = run(
        frame(A=[30.0] * 2, B=[30.0] * 2),
        {0: {"A": 0.5, "B": -0.5}},
        execution=WHOLE,
        limits=SHORTS,
    )
    # 500 / 30 = 16.67: 16 and -16.
    assert fills(result) == [(1, "B", -16.0, 30.0), (1, "A", 16.0, 30.0)]
    assert orders(result, "quantity", "missing", "status", "reason") == [
        (16.0, 0.0, "filled", "rounded"),
        (-16.0, 0.0, "filled", "rounded"),
    ]


def test_almost_an_integer_is_that_integer():
    result = run(
        frame(A=[1.0] * 2), {0: {"A": 0.29}}, initial_cash=100.0, execution=WHOLE
    )
    # 0.29 * 100 = 28.999999999999996 in binary: 29 shares, and nothing was rounded.
    assert 0.29 * 100.0 < 29.0
    assert fills(result) == [(1, "A", 29.0, 1.0)]
    assert orders(result, "reason") == [("none",)]


@pytest.mark.parametrize(
    ("lot_size", "bought"), [(1.0, 333.0), (10.0, 330.0), (100.0, 300.0)]
)
def test_targets_are_multiples_of_the_lot(lot_size: float, bought: float):
    execution = bl.Execution(rounding="whole_target", lot_size=lot_size)
    result = run(frame(A=[3.0] * 2), {0: {"A": 1.0}}, execution=execution)
    # 1000 / 3 = 333.33.
    assert fills(result) == [(1, "A", bought, 3.0)]
    assert column(result, "cash")[1] == 1000.0 - 3.0 * bought


def test_less_than_one_lot_is_no_order():
    execution = bl.Execution(rounding="whole_target", lot_size=100.0)
    result = run(frame(A=[30.0] * 2), {0: {"A": 1.0}}, execution=execution)
    # 1000 / 30 = 33.3 shares, the lot is 100.
    assert fills(result) == []
    assert orders(result, "quantity", "filled", "status", "reason") == [
        (0.0, 0.0, "none", "rounded")
    ]


def test_leftover_lot_goes_to_the_largest_remainder():
    result = run(
        frame(A=[10.0, 10.5], B=[10.0, 10.5], C=[10.0, 10.5]),
        {0: {"A": 0.3, "B": 0.2, "C": 0.5}},
        execution=WHOLE,
    )
    # Wanted 30, 20, 50 at 10.5 = 1050: f = 0.95238, so 28.571, 19.048, 47.619.
    # Floors cost (28 + 19 + 47) * 10.5 = 987; the 13 that are left buy one more C.
    assert fills(result) == [
        (1, "A", 28.0, 10.5),
        (1, "B", 19.0, 10.5),
        (1, "C", 48.0, 10.5),
    ]
    assert column(result, "cash")[1] == 2.5
    assert orders(result, "missing", "reasons") == [
        (2.0, ["scaled_to_cash"]),
        (1.0, ["scaled_to_cash"]),
        (2.0, ["scaled_to_cash"]),
    ]


def test_equal_remainders_are_served_in_asset_order():
    result = run(
        frame(A=[10.0, 10.5], B=[10.0, 10.5]),
        {0: {"B": 0.5, "A": 0.5}},
        execution=WHOLE,
    )
    # Both 50 * 0.95238 = 47.619; floors cost 987; 13 left buy one lot, of A.
    assert fills(result) == [(1, "A", 48.0, 10.5), (1, "B", 47.0, 10.5)]


def test_leftover_lot_that_does_not_fit_is_skipped_and_each_name_gets_one_at_most():
    result = run(
        frame(A=[200.0, 300.0], B=[10.0, 10.0]),
        {0: {"A": 0.6, "B": 0.4}},
        initial_cash=2_000.0,
        execution=WHOLE,
    )
    # Wanted 6 A and 80 B; at the open 1800 + 800 = 2600: f = 0.76923: 4.615 and 61.538.
    # Floors cost 1200 + 610 = 1810, left 190.  A has the larger remainder but costs
    # 300; B takes one lot for 10; the 180 after that stay in cash.
    assert fills(result) == [(1, "A", 4.0, 300.0), (1, "B", 62.0, 10.0)]
    assert column(result, "cash")[1] == 180.0


def test_leftover_lot_is_skipped_when_cash_would_end_a_hair_below_the_floor():
    result = run(
        frame(A=[50.0, 107.50005], B=[50.0, 70.99995]),
        {0: {"A": 0.5, "B": 0.5}},
        execution=WHOLE,
    )
    # Wanted 10 and 10, together 178.5 a pair: f = 1000 / 1785 = 0.56022, 5.602 each.
    # Floors cost 5 * 178.5 = 892.5, left 107.5.  A is first of the equal remainders
    # but costs 107.50005; B takes the lot: cash 107.5 - 70.99995 = 36.50005.
    assert fills(result) == [(1, "A", 5.0, 107.50005), (1, "B", 6.0, 70.99995)]
    assert column(result, "cash")[1] == pytest.approx(36.50005, abs=1e-9)


def test_leftover_lot_never_goes_above_the_wanted_quantity():
    cash = 1_000_004.99
    result = run(
        frame(A=[0.25, 0.5], B=[1.0, 1.0]),
        {0: {"A": 2.625 / cash, "B": 1_000_000.5 / cash}},
        initial_cash=cash,
        execution=WHOLE,
    )
    # Wanted 10 A (of 10.5) and 1,000,000 B.  At the open 5 + 1,000,000 is 0.01 more
    # than there is: f = 1 - 1e-8.  A: 9.9999999 is 10.  B: 999,999.99 is 999,999.
    # Left 0.99: B costs 1 and does not fit; A costs 0.5 but has all that it wanted.
    assert fills(result) == [(1, "A", 10.0, 0.5), (1, "B", 999_999.0, 1.0)]
    assert column(result, "cash")[1] == near(0.99)


def test_leftover_lots_of_ten():
    result = run(
        frame(A=[1.0, 1.05], B=[1.0, 1.05]),
        {0: {"A": 0.5, "B": 0.5}},
        execution=bl.Execution(rounding="whole_target", lot_size=10.0),
    )
    # Wanted 500 each at 1.05 = 1050: f = 0.95238: 476.19 each, 47 lots of 10.
    # 940 * 1.05 = 987; 13 left buy one lot of A for 10.5.
    assert fills(result) == [(1, "A", 480.0, 1.05), (1, "B", 470.0, 1.05)]
    assert column(result, "cash")[1] == near(2.5)


def test_first_lot_of_a_name_is_tried_with_its_minimum_commission():
    settings = {"execution": WHOLE, "commission": bl.Commission(minimum=5.0)}
    df = frame(A=[30.0, 60.0], B=[30.0, 60.0])
    says = {0: {"A": 0.5, "B": 0.5}}
    # Cash 100: one lot each wanted; 120 f + 10 = 100, f = 0.75: no whole lot.  100 are
    # left: A costs 60 + 5; the 35 after that do not buy B.
    result = run(df, says, initial_cash=100.0, **settings)
    assert fills(result) == [(1, "A", 1.0, 60.0)]
    assert column(result, "cash")[1] == 35.0
    # Cash 63: 60 would fit, 60 + 5 does not.
    result = run(df, says, initial_cash=63.0, **settings)
    assert fills(result) == []


# --- min_trade_value ------------------------------------------------------------------


def test_small_orders_are_not_sent_but_closing_is_exempt():
    result = run(
        frame(A=[10.0, 10.0, 6.0, 6.0], B=[10.0] * 4),
        {0: {"A": 0.1, "B": 0.05}, 2: {}},
        limits=bl.Limits(min_trade_value=100.0),
    )
    # A: 10 units, 100, is not below 100.  B: 5 units, 50: no order.
    # Closing 10 A at 6 is worth 60 and happens all the same.
    assert fills(result) == [(1, "A", 10.0, 10.0), (3, "A", -10.0, 6.0)]
    assert orders(result, "symbol", "quantity", "filled", "status", "reason")[:2] == [
        ("A", 10.0, 10.0, "filled", "none"),
        ("B", 5.0, 0.0, "none", "below_min_trade_value"),
    ]


def test_reducing_order_below_the_minimum_is_not_sent():
    result = run(
        frame(A=[10.0] * 3),
        {0: {"A": 0.5}, 1: {"A": 0.45}},
        limits=bl.Limits(min_trade_value=100.0),
    )
    # From 50 to 45 units is 50 of value: not sent, the position stays.
    assert fills(result) == [(1, "A", 50.0, 10.0)]
    assert orders(result, "quantity", "reason")[1] == (-5.0, "below_min_trade_value")


def test_minimum_is_looked_at_again_after_scaling_and_frees_no_cash():
    result = run(
        frame(A=[10.0, 20.0], B=[10.0, 10.0]),
        {0: {"A": 0.88, "B": 0.12}},
        limits=bl.Limits(min_trade_value=110.0),
    )
    # Wanted 88 A and 12 B, worth 120 at the decision.  At the open 1760 + 120 = 1880:
    # f = 1000 / 1880.  B: 12 f * 10 = 63.83 is below 110 and dropped; A keeps 88 f.
    f = 1000 / 1880
    assert fills(result) == [(1, "A", near(88 * f), 20.0)]
    assert column(result, "cash")[1] == pytest.approx(120 * f, abs=2e-9)
    assert orders(result, "symbol", "status", "reason", "reasons") == [
        ("A", "partial", "scaled_to_cash", ["scaled_to_cash"]),
        (
            "B",
            "none",
            "below_min_trade_value",
            ["below_min_trade_value", "scaled_to_cash"],
        ),
    ]


def test_flip_below_the_minimum_after_scaling_keeps_its_cover_part():
    result = run(
        frame(A=[10.0, 10.0, 0.95], B=[10.0, 10.0, 10.0]),
        {0: {"A": -0.5, "B": 1.45}, 1: bl.partial({"A": 0.05})},
        limits=bl.Limits(allow_short=True, max_gross=2.0, min_trade_value=500.0),
    )
    # Bar 1: +500 - 1450, cash 50.  A wants 5, so buys 55, worth 550 at the decision.
    # At 0.95: cover 47.5, opening 4.75, cash 50: f = 2.5 / 4.75.  All of the fill is
    # worth 50, below 500: the opening part is dropped, the cover part is not.
    assert fills(result)[2:] == [(2, "A", 50.0, 0.95)]
    assert column(result, "cash")[2] == 2.5
    assert held(result, 2) == {"B": 145.0}


# --- bars that an asset does not have -------------------------------------------------


def test_order_waits_for_the_next_bar():
    result = run(frame(A=[10.0, None, 8.0], B=[1.0] * 3), {0: {"A": 0.5}})
    assert fills(result) == [(2, "A", 50.0, 8.0)]
    assert orders(result, "status", "reason", "reasons") == [
        ("filled", "missing_bar", ["missing_bar"])
    ]


def test_order_is_cancelled_on_a_missing_bar():
    result = run(
        frame(A=[10.0, None, 8.0], B=[1.0] * 3),
        {0: {"A": 0.5}},
        missing_data=bl.MissingData(missing_bar="cancel"),
    )
    assert fills(result) == []
    assert orders(result, "quantity", "filled", "missing", "status", "reason") == [
        (50.0, 0.0, 50.0, "none", "missing_bar")
    ]
    assert result.next_orders.height == 0


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_bar_without_an_open_is_marked_but_does_not_fill(missing: float | None):
    result = run(
        frame(A=[10.0, (10.0, 10.0), (missing, 12.0), (9.0, 9.0)]),
        {0: {"A": 0.5}, 1: {}},
    )
    # 50 A; the sell of bar 1 waits over bar 2, which is marked at 12, and gets 9.
    assert fills(result) == [(1, "A", 50.0, 10.0), (3, "A", -50.0, 9.0)]
    assert column(result, "equity") == [1000.0, 1000.0, 1100.0, 950.0]


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_row_with_an_open_but_no_close_is_no_bar(missing: float | None):
    result = run(frame(A=[10.0, (8.0, missing), 9.0], B=[1.0] * 3), {0: {"A": 0.5}})
    # The open of bar 1 is not looked at.
    assert fills(result) == [(2, "A", 50.0, 9.0)]
    assert count_of(result, "null_close") == 1


def test_asset_that_is_not_listed_yet_leaves_its_weight_in_cash():
    result = run(
        frame(A=[10.0] * 3, B=[None, 20.0, 20.0]),
        {0: {"A": 0.5, "B": 0.5}, 1: {"A": 0.5, "B": 0.5}},
    )
    # Bar 0: B has no close, ever: only A is bought.  Bar 1: 500 / 20 = 25 B.
    assert fills(result) == [(1, "A", 50.0, 10.0), (2, "B", near(25.0), 20.0)]
    assert column(result, "cash") == [1000.0, 500.0, NO_CASH]
    names = ("symbol", "price", "quantity", "missing", "status", "reason")
    assert orders(result, *names)[1] == ("B", None, None, None, "none", "not_listed")


def test_decision_without_a_bar_is_sized_on_the_last_close():
    result = run(frame(A=[10.0, None, 8.0], B=[1.0] * 3), {1: {"A": 0.5}})
    # 0.5 * 1000 / close[0] 10 = 50, filled at open[2].
    assert fills(result) == [(2, "A", 50.0, 8.0)]
    assert orders(result, "price", "reason") == [(10.0, "none")]


def test_decision_without_a_bar_is_skipped_and_the_position_stays():
    result = run(
        frame(A=[10.0, 10.0, None, 10.0], B=[10.0] * 4, C=[10.0, 10.0, None, 10.0]),
        {0: {"A": 0.5}, 2: {"B": 0.25, "C": 0.1}},
        missing_data=bl.MissingData(at_decision="skip"),
    )
    # Bar 2: A is held and not named, but has no bar: it stays.  C has a target but no
    # bar.  B is bought.
    assert fills(result) == [(1, "A", 50.0, 10.0), (3, "B", 25.0, 10.0)]
    assert orders(result, "symbol", "quantity", "status", "reason")[1:] == [
        ("A", None, "none", "no_bar"),
        ("B", 25.0, "filled", "none"),
        ("C", None, "none", "no_bar"),
    ]
    assert held(result, 3) == {"A": 50.0, "B": 25.0}


def test_last_close_is_carried_forward_in_the_mark():
    result = run(
        frame(A=[10.0, (10.0, 12.0), None, None, 9.0], B=[1.0] * 5), {0: {"A": 0.5}}
    )
    # 500 + 50 * 12 while there is no bar, then 500 + 50 * 9.
    assert column(result, "equity") == [1000.0, 1100.0, 1100.0, 1100.0, 950.0]
    assert result.positions["close"].to_list() == [12.0, 12.0, 12.0, 9.0]
    assert count_of(result, "forward_filled") == 2


def test_carried_forward_mark_of_same_close_is_counted_once_per_bar():
    result = run(
        frame(A=[10.0, None, 10.0], B=[1.0] * 3),
        {0: {"A": 0.5}, 1: {"A": 0.5, "B": 0.5}},
        execution=closes("same_close"),
    )
    # A is valued at an earlier close on one bar, which is marked twice.
    assert count_of(result, "forward_filled") == 1


# --- what the weights say -------------------------------------------------------------


def test_partial_decision_keeps_the_others_and_their_waiting_orders():
    result = run(
        frame(A=[10.0] * 4, B=[10.0] * 4, C=[10.0, None, None, 10.0]),
        {0: {"A": 0.25, "C": 0.25}, 1: bl.partial({"B": 0.25})},
    )
    # A is held and not named: it stays.  The order for C of bar 0 goes on waiting.
    assert fills(result) == [
        (1, "A", 25.0, 10.0),
        (2, "B", 25.0, 10.0),
        (3, "C", 25.0, 10.0),
    ]
    assert orders(result, "symbol", "reasons") == [
        ("A", []),
        ("C", ["missing_bar"]),
        ("B", []),
    ]
    assert result.rebalances["decision"].to_list() == ["complete", "partial"]


def test_partial_decision_replaces_the_waiting_order_of_its_own_name():
    result = run(
        frame(A=[10.0, None, 10.0], B=[10.0] * 3),
        {0: {"A": 0.5}, 1: bl.partial({"A": 0.25})},
    )
    assert fills(result) == [(2, "A", 25.0, 10.0)]
    assert orders(result, "quantity", "status", "reasons") == [
        (50.0, "none", ["missing_bar", "replaced"]),
        (25.0, "filled", []),
    ]


def test_complete_decision_replaces_all_waiting_orders():
    result = run(
        frame(A=[10.0, None, 10.0], B=[10.0] * 3), {0: {"A": 0.5}, 1: {"B": 0.5}}
    )
    # The buy of A never happens: bar 1 does not name A.
    assert fills(result) == [(2, "B", 50.0, 10.0)]
    assert orders(result, "symbol", "status", "reason", "reasons") == [
        ("A", "none", "missing_bar", ["missing_bar", "replaced"]),
        ("B", "filled", "none", []),
    ]


def test_waiting_order_is_replaced_by_the_same_target_again():
    # The predecessor bought the same target again at each rebalance.
    says = {t: {"A": 0.5} for t in range(4)}
    result = run(frame(A=[10.0, None, None, 10.0], B=[1.0] * 4), says)
    assert fills(result) == [(3, "A", 50.0, 10.0)]
    assert held(result, 3) == {"A": 50.0}


@pytest.mark.parametrize("nothing", [{}, {"A": 0.0, "B": 0.0}, {"A": None, "B": 0.0}])
def test_empty_decision_closes_everything(nothing: dict[str, float | None]):
    result = run(
        frame(A=[10.0] * 3, B=[10.0] * 3, C=[10.0, None, 10.0]),
        {0: {"A": 0.5, "B": 0.25, "C": 0.25}, 1: nothing},
    )
    # A and B are sold, the waiting order for C is dropped.
    assert fills(result)[2:] == [(2, "A", -50.0, 10.0), (2, "B", -25.0, 10.0)]
    assert held(result, 2) == {}
    assert column(result, "cash")[2] == 1000.0


def test_none_keeps_positions_which_drift():
    result = run(
        frame(A=[10.0, 10.0, 30.0], B=[10.0] * 3), {0: {"A": 0.5, "B": 0.5}, 1: None}
    )
    assert len(fills(result)) == 2
    # 50 * 30 and 50 * 10 of 2000.
    last = result.weights.filter(pl.col("date") == DAYS[2])
    assert last["weight"].to_list() == [near(0.75), near(0.25)]
    assert result.rebalances.height == 1


def test_timestamp_with_null_weights_only_is_no_rebalance():
    df = frame(A=[10.0] * 4, B=[10.0] * 4).sort("date", "symbol")
    weight = [0.5, 0.5, None, None, None, 0.5, None, None]
    result = bl.run_backtest(
        df.with_columns(w=pl.Series(weight)), "w", initial_cash=1_000.0
    )
    # Bar 1 says nothing.  Bar 2 names only B: A is closed on bar 3, B is on target.
    assert fills(result) == [
        (1, "A", near(50.0), 10.0),
        (1, "B", near(50.0), 10.0),
        (3, "A", near(-50.0), 10.0),
    ]
    assert result.rebalances["date"].to_list() == [DAYS[0], DAYS[2]]
    assert result.n_skipped == 2


# --- dust -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "commission", [bl.Commission(), bl.Commission(bps=10), bl.Commission(minimum=7.0)]
)
def test_same_targets_at_constant_prices_make_one_order_per_name(
    commission: bl.Commission,
):
    third = {"A": 1 / 3, "B": 1 / 3, "C": 1 / 3}
    result = run(
        frame(A=[7.0] * 5, B=[11.0] * 5, C=[0.3] * 5),
        dict.fromkeys(range(5), third),
        commission=commission,
    )
    # All cash is spent on bar 1, costs included, so the weights are thirds of what is
    # left: every later target differs from its position by rounding only.
    assert [fill[:2] for fill in fills(result)] == [(1, "A"), (1, "B"), (1, "C")]
    assert result.orders.height == 3
    assert result.rebalances["n_orders"].to_list() == [3, 0, 0, 0, 0]


def test_target_that_is_dust_beside_the_position_closes_it():
    result = run(
        frame(A=[10.0] * 3),
        {0: {"A": 0.5}, 1: {"A": 1e-13}},
    )
    # 1e-13 * 1000 / 10 = 1e-11 units, below 1e-9 of the 50 that are held: target 0.
    assert fills(result) == [(1, "A", 50.0, 10.0), (2, "A", -50.0, 10.0)]
    assert held(result, 2) == {}


def test_closing_leaves_exactly_nothing():
    result = run(
        frame(A=[0.1, 0.3, 0.7, 0.9]),
        {0: {"A": 1 / 3}, 1: {"A": 0.77}, 2: {}},
        commission=bl.Commission(bps=7),
    )
    assert held(result, 3) == {}
    assert column(result, "net_exposure")[3] == 0.0
    assert column(result, "n_positions") == [0, 1, 1, 0]
    assert result.orders["position_after"][-1] == 0.0


# --- ruin -----------------------------------------------------------------------------


def test_short_squeeze_ruins_the_account():
    asked = []

    def squeezed(bar: bl.Bar) -> dict[str, float] | None:
        asked.append(bar.t)
        return {0: {"A": -1.0}, 1: {"A": -1.0, "B": 0.5}}.get(bar.t)

    result = bl.run_backtest(
        frame(A=[10.0, 10.0, 25.0, 5.0], B=[10.0, 10.0, None, 10.0]),
        squeezed,
        initial_cash=1_000.0,
        limits=SHORTS,
        commission=bl.Commission(minimum=3.0),
        slippage=bl.Slippage(bps=0),
    )
    result.audit()
    # Bar 1: 100 A sold at 10 for 3: cash 1997, equity 997, so the target of bar 1 is
    # -99.7 A; B wants 0.5 * 997 / 10 = 49.85.
    # Bar 2: 0.3 A are covered at the open for 7.5 + 3: cash 1986.5; B waits.  Close 25:
    # 1986.5 - 99.7 * 25 = -506: ruined.  99.7 A are bought back at 25, free of cost.
    assert fills(result) == [
        (1, "A", -100.0, 10.0),
        (2, "A", near(0.3), 25.0),
        (2, "A", near(99.7), 25.0),
    ]
    ruined = result.fills.row(2, named=True)
    assert ruined["order_id"] is None
    assert ruined["reason"] == "ruined"
    assert (ruined["base_price"], ruined["commission"], ruined["slippage"]) == (
        25.0,
        0.0,
        0.0,
    )
    assert column(result, "equity") == [1000.0, 997.0, near(-506.0), near(-506.0)]
    assert column(result, "equity")[2] == column(result, "equity")[3]
    assert column(result, "cash") == [1000.0, 1997.0, near(-506.0), near(-506.0)]
    assert result.ruined_at == DAYS[2]
    assert asked == [0, 1]
    # The waiting order is cancelled.
    assert orders(result, "symbol", "status", "reasons")[2] == (
        "B",
        "none",
        ["missing_bar", "ruined"],
    )
    assert result.next_orders.height == 0
    assert held(result, 2) == {}
    assert count_of(result, "ruined") >= 1


def test_ratios_of_a_ruined_account_are_undefined():
    result = run(
        frame(A=[10.0, 10.0, 25.0, 5.0]),
        {0: {"A": -1.0}},
        limits=SHORTS,
        bars_per_year=252,
    )
    # Cash 2000 - 100 * 25 = -500, which is -150 % of 1000.
    ratios = ("cagr", "volatility", "sharpe", "sortino", "calmar", "omega", "turnover")
    assert {name: result.metrics[name] for name in ratios} == dict.fromkeys(ratios)
    assert result.metrics["total_return"] == -1.5
    assert result.metrics["max_drawdown"] == -1.5
    assert result.final_equity == -500.0
    assert result.equity["return"].to_list()[:2] == [0.0, 0.0]
    assert result.equity["leverage"].to_list()[2:] == [None, None]
    assert result.equity["turnover"].to_list()[2:] == [None, None]


def test_equity_of_exactly_nothing_is_ruin():
    result = run(frame(A=[10.0, 10.0, 20.0, 5.0]), {0: {"A": -1.0}}, limits=SHORTS)
    # 2000 - 100 * 20 = 0.
    assert column(result, "equity") == [1000.0, 1000.0, 0.0, 0.0]
    assert result.ruined_at == DAYS[2]


def test_solvent_account_has_no_ruin():
    result = run(frame(A=[10.0, 10.0, 19.99]), {0: {"A": -1.0}}, limits=SHORTS)
    # 2000 - 100 * 19.99 = 1.
    assert result.ruined_at is None
    assert result.final_equity == near(1.0)


def test_same_close_can_be_ruined_by_its_own_commission():
    result = run(
        frame(A=[10.0, 10.0]),
        {0: {"A": -0.5}},
        execution=closes("same_close"),
        limits=SHORTS,
        commission=bl.Commission(minimum=1_200.0),
    )
    # Sell 50 at 10 for 1200: cash 1000 + 500 - 1200 = 300; equity 300 - 500 = -200.
    # The short is bought back at 10 for nothing: cash -200.
    assert fills(result) == [(0, "A", -50.0, 10.0), (0, "A", 50.0, 10.0)]
    assert column(result, "equity") == [-200.0, -200.0]
    assert result.ruined_at == DAYS[0]


# --- the window, the schedule, tomorrow -----------------------------------------------


def test_next_orders_are_what_was_decided_last_and_what_still_waits():
    result = run(
        frame(A=[10.0] * 3, B=[10.0, None, None]),
        {0: {"A": 0.25, "B": 0.25}, 2: bl.partial({"A": 0.5})},
    )
    # B waits since bar 0.  Bar 2: 0.5 * 1000 / 10 = 50, of which 25 are held.
    assert result.next_orders.rows() == [
        (2, DAYS[2], "A", 25.0, 0.5, "none"),
        (1, DAYS[0], "B", 25.0, 0.25, "missing_bar"),
    ]
    assert orders(result, "symbol", "status") == [
        ("A", "filled"),
        ("B", "waiting"),
        ("A", "waiting"),
    ]


def test_bars_before_start_are_history():
    seen = []

    def remember(bar: bl.Bar) -> dict[str, float]:
        seen.append((bar.t, bar.history.close[:, 0].tolist()))
        return {"A": 1.0}

    result = bl.run_backtest(
        frame(A=[5.0, 10.0, 8.0]), remember, initial_cash=1_000.0, start=DAYS[1]
    )
    # The first decision is on bar 1: 1000 / 10 = 100, at open[2] = 8.
    assert fills(result) == [(2, "A", 100.0, 8.0)]
    assert seen == [(1, [5.0, 10.0]), (2, [5.0, 10.0, 8.0])]
    assert result.equity["date"].to_list() == DAYS[1:3]
    assert result.cash_flows.rows() == [(DAYS[1], None, "deposit", 1000.0, 0.0, None)]


def test_last_close_before_start_is_known_at_the_start():
    result = run(
        frame(A=[10.0, None, 8.0], B=[1.0] * 3), {1: {"A": 0.5}}, start=DAYS[1]
    )
    # 0.5 * 1000 / close[0] 10, though bar 0 is history.
    assert fills(result) == [(2, "A", 50.0, 8.0)]


def test_end_is_the_last_bar_and_its_orders_are_next_orders():
    df = frame(A=[10.0, 10.0, 20.0, 40.0])
    says = {0: {"A": 0.5}, 1: {"A": 0.0}}
    result = run(df, says, end=DAYS[1])
    assert fills(result) == [(1, "A", 50.0, 10.0)]
    assert result.equity["date"].to_list() == DAYS[:2]
    assert result.next_orders.rows() == [(1, DAYS[1], "A", -50.0, 0.0, "none")]
    cut = run(df.filter(pl.col("date") <= DAYS[1]), says)
    assert result.equity.equals(cut.equity)
    assert result.orders.equals(cut.orders)


def test_schedule_of_every_second_bar_counts_from_the_start():
    result = run(
        frame(A=[10.0] * 5),
        {t: {"A": t / 10} for t in range(5)},
        schedule=2,
        start=DAYS[1],
    )
    # Bars 1 and 3: 0.1 and 0.3 of 1000 / 10.
    assert fills(result) == [(2, "A", 10.0, 10.0), (4, "A", 20.0, 10.0)]
    assert result.rebalances["date"].to_list() == [DAYS[1], DAYS[3]]


def test_month_end_is_the_bar_before_the_next_month_and_not_the_last_bar():
    result = run(
        frame(A=[10.0] * 5), {t: {"A": 0.5} for t in range(5)}, schedule="month_end"
    )
    # 29, 30, 31 January, 1, 2 February: only the 31st is known to end its month.
    assert result.rebalances["date"].to_list() == [dt.date(2024, 1, 31)]
    assert fills(result) == [(3, "A", 50.0, 10.0)]


# --- the ledger -----------------------------------------------------------------------


def test_every_column_of_the_ledger():
    result = run(
        frame(A=[10.0, 10.0, (9.0, 8.0), 8.0]), {0: {"A": 0.5}, 2: {"A": 0.25}}
    )
    # Bar 1: 50 at 10, cash 500.  Bar 2: equity 500 + 50 * 8 = 900, weight 400 / 900.
    # Target 0.25 * 900 / 8 = 28.125: sell 21.875.
    assert result.orders.columns == [
        "order_id",
        "date",
        "symbol",
        "position_before",
        "weight_before",
        "target_weight",
        "limited_weight",
        "equity",
        "price",
        "quantity",
        "filled",
        "missing",
        "status",
        "reason",
        "reasons",
        "position_after",
    ]
    assert result.orders.row(1) == (
        1,
        DAYS[2],
        "A",
        50.0,
        near(400 / 900),
        0.25,
        0.25,
        900.0,
        8.0,
        -21.875,
        -21.875,
        0.0,
        "filled",
        "none",
        [],
        28.125,
    )


def test_reasons_stand_in_the_order_of_the_pipeline():
    result = run(
        frame(A=[30.0, None, 60.0], B=[1.0] * 3), {0: {"A": 1.0}}, execution=WHOLE
    )
    # 1000 / 30 = 33.3: rounded to 33.  No bar 1.  33 * 60 = 1980: 16.67 affordable,
    # 16 whole ones for 960; the 40 left do not buy a 17th.
    assert fills(result) == [(2, "A", 16.0, 60.0)]
    assert orders(result, "quantity", "filled", "missing", "status") == [
        (33.0, 16.0, 17.0, "partial")
    ]
    assert orders(result, "reason", "reasons") == [
        ("rounded", ["rounded", "missing_bar", "scaled_to_cash"])
    ]


def test_rebalances_positions_and_weights():
    result = run(
        frame(A=[10.0, (10.0, 15.0)], B=[10.0, (10.0, 20.0)]),
        {0: {"A": 0.5, "B": -0.25}},
        limits=SHORTS,
    )
    # Bar 1: 50 A, -25 B, cash 1000 + 250 - 500 = 750; 750 + 750 - 500 = 1000.
    assert result.rebalances.rows() == [(DAYS[0], "complete", 2, 0.75, 2, 1.0)]
    assert result.positions.rows() == [
        (DAYS[1], "A", 50.0, 15.0, 750.0),
        (DAYS[1], "B", -25.0, 20.0, -500.0),
    ]
    assert result.weights.rows() == [(DAYS[1], "A", 0.75), (DAYS[1], "B", -0.5)]
