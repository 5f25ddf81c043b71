"""`result.explain` says in words what an asset did around a bar, and why."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import polars as pl
import pytest
from hypothesis import given

import barloop as bl
from barloop.enums import FillReason, Reason
from barloop.errors import PanelError
from barloop.explain import (
    CANCELLED,
    FILLED_BY,
    LEFT_SMALL,
    NOT_SENT,
    TOO_SMALL,
    WHEN,
    WHY,
)
from barloop.labels import FILL_REASONS, FLOW_KINDS, REASONS, STATUSES
from strategies import World, examples
from strategies_full import full_worlds

DAYS = [dt.date(2024, 1, day) for day in (2, 3, 4, 5, 8, 9)]
SHORTS = bl.Limits(allow_short=True, max_gross=2.0)


def run(
    prices: Mapping[Any, list[Any]], decisions: Mapping[int, Any], **fields: Any
) -> bl.BacktestResult:
    """Run on prices by asset and decisions by number of the bar."""
    rows = [
        (day, asset, *(price if isinstance(price, tuple) else (price, price)))
        for asset, path in prices.items()
        for day, price in zip(DAYS, path, strict=False)
        if price is not None
    ]
    schema = {"date": pl.Date, "symbol": None, "open": pl.Float64, "close": pl.Float64}
    return bl.run_backtest(
        pl.DataFrame(rows, schema=schema, orient="row"),
        lambda bar: decisions.get(bar.t),
        **{"initial_cash": 1000.0, **fields},
    )


def text(*lines: str) -> str:
    return "\n".join(lines)


# ------------------------------------------------------------------- exact texts


def test_an_order_that_filled():
    result = run(
        {"A": [10, (10, 12), 12], "B": [5, 5, 5]},
        {0: {"A": 0.5}},
        commission=bl.Commission(bps=10),
        slippage=bl.Slippage(bps=100),
    )
    # 50 at 10.10, commission 0.505, slippage 5; at 12 worth 600 of 1094.495
    assert result.explain("A", DAYS[0]) == text(
        '"A" at 2024-01-02',
        "  holding:   nothing at the end of this bar",
        "  decision:  complete",
        "  target:    50% of equity 1,000.00 at close 10 = 50 units",
        "  held then: nothing",
        "  order:     buy 50 at the next open: filled",
        "  fill:      bought 50 at 10.1 (base 10), commission 0.51, slippage 5.00, "
        "at 2024-01-03",
    )
    assert result.explain("A", DAYS[1]) == text(
        '"A" at 2024-01-03',
        "  holding:   50 units at 12 = 600.00, 54.82% of equity",
        "  fill:      bought 50 at 10.1 (base 10), commission 0.51, slippage 5.00",
        "  decision:  none on this bar, the weights asked for no rebalance",
        "  latest order of this asset, decided at 2024-01-02:",
        "  target:    50% of equity 1,000.00 at close 10 = 50 units",
        "  held then: nothing",
        "  order:     buy 50 at the next open: filled",
    )


def test_an_order_that_reduces_a_position():
    result = run({"A": [10, 10, (20, 20), 20]}, {0: {"A": 0.5}, 2: {"A": 0.25}})
    # 50 at 20 is 1000 of 1500; a quarter of 1500 is 18.75 units
    assert result.explain("A", DAYS[2]) == text(
        '"A" at 2024-01-04',
        "  holding:   50 units at 20 = 1,000.00, 66.67% of equity",
        "  decision:  complete",
        "  target:    25% of equity 1,500.00 at close 20 = 18.75 units",
        "  held then: 50 units, 66.67% of equity",
        "  order:     sell 31.25 at the next open: filled",
        "  fill:      sold 31.25 at 20 (base 20), commission 0.00, slippage 0.00, "
        "at 2024-01-05",
    )


def test_an_order_that_was_scaled():
    # 50 at 12.5 and 25 at 20 cost 1125: both get 8 / 9
    result = run({"A": [10, 12.5], "B": [20, 20]}, {0: {"A": 0.5, "B": 0.5}})
    assert result.explain("A", DAYS[0]) == text(
        '"A" at 2024-01-02',
        "  holding:   nothing at the end of this bar",
        "  decision:  complete",
        "  target:    50% of equity 1,000.00 at close 10 = 50 units",
        "  held then: nothing",
        "  order:     buy 50 at the next open: partly filled, 44.4444; "
        "the rest is gone",
        "  fill:      bought 44.4444 at 12.5 (base 12.5), commission 0.00, "
        "slippage 0.00, at 2024-01-03",
        "  because:   all opening buys of the bar were scaled by 0.888889 to the cash "
        "there was (scaled_to_cash)",
    )


def test_an_order_below_the_minimum():
    result = run(
        {"A": [10, 10], "B": [10, 10]},
        {0: {"A": 0.5, "B": 0.02}},
        limits=bl.Limits(min_trade_value=50.0),
    )
    assert result.explain("B", DAYS[0]) == text(
        '"B" at 2024-01-02',
        "  holding:   nothing at the end of this bar",
        "  decision:  complete",
        "  target:    2% of equity 1,000.00 at close 10 = 2 units",
        "  held then: nothing",
        "  order:     none, to buy 2 was wanted",
        "  because:   it was worth less than min_trade_value (below_min_trade_value)",
    )


def test_an_asset_that_is_not_listed_yet():
    result = run({"A": [10, 10], "B": [None, 10]}, {0: {"A": 0.5, "B": 0.3}})
    assert result.explain("B", DAYS[0]) == text(
        '"B" at 2024-01-02',
        "  bar:       none, the asset has no close here",
        "  holding:   nothing at the end of this bar",
        "  decision:  complete",
        "  target:    30% of equity 1,000.00",
        "  held then: nothing",
        "  order:     none",
        "  because:   the asset had no bar so far, so no price to size an order on "
        "(not_listed)",
    )


def test_an_order_that_met_a_missing_bar_and_filled_later():
    result = run({"A": [10, None, 11], "B": [5, 5, 5]}, {0: {"A": 0.5}})
    assert result.explain("A", DAYS[0]) == text(
        '"A" at 2024-01-02',
        "  holding:   nothing at the end of this bar",
        "  decision:  complete",
        "  target:    50% of equity 1,000.00 at close 10 = 50 units",
        "  held then: nothing",
        "  order:     buy 50 at the next open: filled",
        "  fill:      bought 50 at 11 (base 11), commission 0.00, slippage 0.00, "
        "at 2024-01-04",
        "  because:   the asset had no fill price on a bar, so the order waited "
        "(missing_bar)",
    )


def test_nothing_decided_and_an_asset_that_was_never_touched():
    result = run({"A": [10] * 3, "B": [5] * 3}, {0: {"A": 0.5}})
    assert result.explain("B", DAYS[0]) == text(
        '"B" at 2024-01-02',
        "  holding:   nothing at the end of this bar",
        "  decision:  complete, no order: this asset had no weight and no position",
        "  orders:    none for this asset so far",
    )
    assert result.explain("B", DAYS[1]) == text(
        '"B" at 2024-01-03',
        "  holding:   nothing at the end of this bar",
        "  decision:  none on this bar, the weights asked for no rebalance",
        "  orders:    none for this asset so far",
    )


def test_the_end_of_a_ruined_account():
    result = run({"A": [10, 10, 30, 10]}, {0: {"A": -1.0}}, limits=SHORTS)
    assert result.explain("A", DAYS[2]) == text(
        '"A" at 2024-01-04',
        "  holding:   nothing at the end of this bar",
        "  fill:      bought 100 at 30 (base 30), commission 0.00, slippage 0.00, "
        "the end of a ruined account",
        "  decision:  none on this bar, the account was ruined at 2024-01-04",
        "  latest order of this asset, decided at 2024-01-02:",
        "  target:    -100% of equity 1,000.00 at close 10 = -100 units",
        "  held then: nothing",
        "  order:     sell 100 at the next open: filled",
        "  fill:      sold 100 at 10 (base 10), commission 0.00, slippage 0.00, "
        "at 2024-01-03",
    )
    assert "  decision:  none on this bar, the account was ruined at 2024-01-04" in (
        result.explain("A", DAYS[3]).splitlines()
    )
    # Before the ruin nothing is said about it.
    assert "ruined" not in result.explain("A", DAYS[1])


# --------------------------------------------------------------------- decisions


def line(result: bl.BacktestResult, asset: Any, bar: int, word: str) -> list[str]:
    """What follows a word at the beginning of lines."""
    found = result.explain(asset, DAYS[bar]).splitlines()
    return [
        one.removeprefix(word + ":").strip()
        for one in map(str.strip, found)
        if one.startswith(word + ":")
    ]


def test_a_held_asset_on_target_needs_no_order():
    result = run({"A": [10] * 3, "B": [5] * 3}, {0: {"A": 0.5}, 2: {"A": 0.5}})
    assert line(result, "A", 2, "decision") == [
        "complete, no order: the position was on target"
    ]
    assert line(result, "B", 2, "decision") == [
        "complete, no order: this asset had no weight and no position"
    ]


def test_a_partial_decision_tells_held_and_untouched_assets_apart():
    result = run(
        {"A": [10] * 3, "B": [5] * 3, "C": [2] * 3},
        {0: {"A": 0.5}, 2: bl.partial({"C": 0.1})},
    )
    assert line(result, "C", 2, "decision") == ["partial"]
    assert line(result, "C", 2, "order") == [
        "buy 50 at the next open: not filled yet, it waits"
    ]
    assert line(result, "A", 2, "decision") == [
        "partial, no order: this asset was not named, or it was on target"
    ]
    assert line(result, "B", 2, "decision") == [
        "partial, no order: this asset was not named, or it had no weight and no "
        "position"
    ]


def test_an_asset_that_was_never_held_is_not_told_that_its_position_fits():
    bars, context = bl.datasets.top25()
    weights = pl.when(pl.col("asset") == "STOCK001").then(1.0).otherwise(0.0)
    two = bars.filter(pl.col("asset").is_in(["STOCK000", "STOCK001"]))
    result = bl.run_backtest(two, weights, context=context)
    for day in result.rebalances["timestamp"]:
        words = result.explain("STOCK000", day)
        assert "on target" not in words
        assert "had no weight and no position" in words


def test_a_position_that_ends_in_a_ruin_after_the_decision_was_held_at_it():
    # The commission takes 600 of 1000, and 40 units are bought with the rest; the
    # commission of B's short then ruins the account.  A was held when that was decided.
    result = run(
        {"A": [10] * 2, "B": [10] * 2},
        {0: {"A": 0.5}, 1: bl.partial({"B": -1.0})},
        execution=bl.Execution(fill="same_close"),
        commission=bl.Commission(minimum=600.0),
        limits=SHORTS,
    )
    assert result.ruined_at == DAYS[1]
    assert line(result, "A", 1, "decision") == [
        "partial, no order: this asset was not named, or it was on target"
    ]
    assert line(result, "A", 1, "holding") == ["nothing at the end of this bar"]


# ------------------------------------------------------------------------- orders


def test_an_order_that_waits():
    result = run({"A": [10, None, None], "B": [5] * 3}, {0: {"A": 0.5}})
    for bar in range(3):
        assert line(result, "A", bar, "order") == [
            "buy 50 at the next open: not filled yet, it waits"
        ]
        assert line(result, "A", bar, "because") == [
            "the asset had no fill price on a bar, so the order waited (missing_bar)"
        ]
        assert line(result, "A", bar, "fill") == []


def test_an_order_of_the_last_bar_waits_for_no_reason():
    result = run({"A": [10, 10]}, {1: {"A": 0.5}})
    assert line(result, "A", 1, "order") == [
        "buy 50 at the next open: not filled yet, it waits"
    ]
    assert line(result, "A", 1, "because") == []


def test_an_order_that_was_cancelled_for_a_missing_bar():
    result = run(
        {"A": [10, None, 10], "B": [5] * 3},
        {0: {"A": 0.5}},
        missing_data=bl.MissingData(missing_bar="cancel"),
    )
    assert line(result, "A", 0, "order") == ["buy 50 at the next open: not filled"]
    assert line(result, "A", 0, "because") == [
        CANCELLED["missing_bar"] + " (missing_bar)"
    ]


def test_an_order_that_was_replaced():
    result = run(
        {"A": [10, None, None, 10], "B": [5] * 4}, {0: {"A": 0.5}, 2: {"A": 0.2}}
    )
    assert line(result, "A", 0, "order") == ["buy 50 at the next open: not filled"]
    assert line(result, "A", 0, "because") == [
        "the asset had no fill price on a bar, so the order waited (missing_bar)",
        "a later decision replaced the order while it waited (replaced)",
    ]
    assert line(result, "A", 2, "order") == ["buy 20 at the next open: filled"]


def test_an_order_that_waited_when_the_account_was_ruined():
    result = run(
        {"A": [10, 10, 30, 30], "B": [10, None, None, None]},
        {0: {"A": -1.0, "B": 0.2}},
        limits=SHORTS,
    )
    assert line(result, "B", 0, "order") == ["buy 20 at the next open: not filled"]
    assert line(result, "B", 0, "because")[-1] == (
        "the account was ruined while the order waited (ruined)"
    )


def test_an_asset_without_a_bar_that_is_left_alone():
    result = run(
        {"A": [10, 10, None, 10], "B": [5] * 4},
        {0: {"A": 0.5}, 2: {"B": 0.5}},
        missing_data=bl.MissingData(at_decision="skip"),
    )
    assert result.explain("A", DAYS[2]).splitlines()[3:] == [
        "  decision:  complete",
        "  target:    0% of equity 1,000.00 at close 10",
        "  held then: 50 units, 50% of equity",
        "  order:     none",
        "  because:   the asset had no bar, and at_decision='skip' left it alone "
        "(no_bar)",
    ]


def test_whole_shares_say_what_was_cut():
    result = run(
        {"A": [30, 30], "B": [900, 900]},
        {0: {"A": 0.5, "B": 0.5}},
        execution=bl.Execution(rounding="whole_target"),
    )
    # 500 / 30 = 16.67 and 500 / 900 = 0.56
    assert line(result, "A", 0, "target") == [
        "50% of equity 1,000.00 at close 30 = 16 units"
    ]
    assert line(result, "A", 0, "order") == ["buy 16 at the next open: filled"]
    assert line(result, "B", 0, "order") == ["none"]
    for asset in "AB":
        assert line(result, asset, 0, "because") == [
            "the target was cut to whole lots (rounded)"
        ]


def test_a_buy_that_was_scaled_below_the_minimum():
    result = run(
        {"A": [10, 12], "B": [10, 9]},
        {0: {"A": 0.95, "B": 0.05}},
        limits=bl.Limits(min_trade_value=45.0),
    )
    # 95 * 12 + 5 * 9 = 1185: B gets 5 * 0.8439 at 9 = 37.97, less than 45
    assert line(result, "B", 0, "order") == ["buy 5 at the next open: not filled"]
    assert line(result, "B", 0, "because") == [
        f"{TOO_SMALL} (below_min_trade_value)",
        # 95 at 12 and 5 at 9 cost 1185: both get 1000 / 1185
        "all opening buys of the bar were scaled by 0.843882 to the cash there was "
        "(scaled_to_cash)",
    ]


@pytest.mark.parametrize(
    ("fill", "words", "day"),
    [
        ("next_open", "at the next open", DAYS[1]),
        ("next_close", "at the next close", DAYS[1]),
        ("same_close", "at the same close", DAYS[0]),
    ],
)
def test_the_time_of_the_fill_is_told(fill, words, day):
    result = run({"A": [10, 10]}, {0: {"A": 0.5}}, execution=bl.Execution(fill=fill))
    assert line(result, "A", 0, "order") == [f"buy 50 {words}: filled"]
    found = line(result, "A", 0, "fill")
    at = "" if day == DAYS[0] else f", at {day}"
    assert found == [f"bought 50 at 10 (base 10), commission 0.00, slippage 0.00{at}"]


def test_of_several_orders_the_latest_is_told():
    result = run({"A": [10] * 5}, {0: {"A": 0.5}, 1: {"A": 0.2}, 4: {"A": 0.1}})
    assert result.explain("A", DAYS[3]).splitlines()[2:] == [
        "  decision:  none on this bar, the weights asked for no rebalance",
        "  latest order of this asset, decided at 2024-01-03:",
        "  target:    20% of equity 1,000.00 at close 10 = 20 units",
        "  held then: 50 units, 50% of equity",
        "  order:     sell 30 at the next open: filled",
        "  fill:      sold 30 at 10 (base 10), commission 0.00, slippage 0.00, "
        "at 2024-01-04",
    ]


def test_a_fill_is_told_once():
    result = run({"A": [10] * 3}, {0: {"A": 0.5}, 1: {"A": 0.2}})
    # The fill of the first order, then the order of this bar with its own.
    assert line(result, "A", 1, "fill") == [
        "bought 50 at 10 (base 10), commission 0.00, slippage 0.00",
        "sold 30 at 10 (base 10), commission 0.00, slippage 0.00, at 2024-01-04",
    ]


# ------------------------------------------------------------------ keys, numbers


def test_large_and_small_numbers_are_readable():
    result = run(
        {"A": [0.0625, 0.0625], "B": [60_000, 60_000]},
        {0: {"A": 0.75, "B": 0.2}},
        initial_cash=1_234_567.0,
    )
    # 0.75 * 1,234,567 / 0.0625 and 0.2 * 1,234,567 / 60,000
    assert line(result, "A", 1, "holding") == [
        "14,814,804 units at 0.0625 = 925,925.25, 75% of equity"
    ]
    assert line(result, "B", 1, "holding") == [
        "4.11522 units at 60,000 = 246,913.40, 20% of equity"
    ]


# ------------------------------------------------------- exits, events, the limits


def bars(*ranges: tuple[float | None, float, float, float]) -> pl.DataFrame:
    """One asset with open, high, low and close."""
    rows = [(day, "A", *one) for day, one in zip(DAYS, ranges, strict=False)]
    names = ["date", "symbol", "open", "high", "low", "close"]
    return pl.DataFrame(rows, schema=names, orient="row")


def run_bars(
    df: pl.DataFrame, decisions: Mapping[int, Any], **fields: Any
) -> bl.BacktestResult:
    return bl.run_backtest(
        df, lambda bar: decisions.get(bar.t), **{"initial_cash": 1000.0, **fields}
    )


def actions(*rows: tuple[int, str | None, str, float | None]) -> pl.DataFrame:
    named = [(DAYS[t], asset, kind, value) for t, asset, kind, value in rows]
    schema = {
        "date": pl.Date,
        "symbol": pl.String,
        "kind": pl.String,
        "value": pl.Float64,
    }
    return pl.DataFrame(named, schema=schema, orient="row")


FALLING = bars((10, 10, 10, 10), (10, 10, 10, 10), (10, 10, 8, 8), (8, 8, 8, 8))


def test_a_position_that_was_stopped_and_is_blocked():
    result = run_bars(
        FALLING, {0: {"A": 0.5}, 2: {"A": 0.5}}, exits=bl.Exits(stop_loss=0.1)
    )
    assert result.explain("A", DAYS[2]) == text(
        '"A" at 2024-01-04',
        "  holding:   nothing at the end of this bar",
        "  fill:      sold 50 at 9 (base 9), commission 0.00, slippage 0.00, "
        "closed by its stop_loss",
        "  decision:  complete",
        "  target:    50% of equity 950.00 at close 8 = 59.375 units",
        "  held then: nothing",
        "  order:     none, to buy 59.375 was wanted",
        "  because:   an exit still keeps the asset from being bought again "
        "(blocked_after_exit)",
    )


@pytest.mark.parametrize(
    ("exits", "words"),
    [
        ({"atr_stop": (2.0, "low")}, "closed by its atr_stop"),
        ({"trailing_stop": 0.1}, "closed by its trailing_stop"),
        ({"max_bars_held": 1}, "closed after max_bars_held bars"),
        ({"stop_loss": 0.9, "take_profit": 0.05}, "closed by its take_profit"),
    ],
)
def test_each_exit_has_its_words(exits, words):
    df = FALLING
    if "atr_stop" in exits:
        exits = {"atr_stop": (0.1, "low")}
    if "take_profit" in exits:
        df = df.with_columns(high=pl.when(pl.col("date") == DAYS[2]).then(11.0))
        df = df.with_columns(pl.col("high").fill_null(pl.col("close")))
    result = run_bars(df, {0: {"A": 0.5}}, exits=bl.Exits(**exits))
    assert line(result, "A", 2, "fill")[0].endswith(words)


def test_the_end_of_a_run_by_its_drawdown():
    result = run_bars(FALLING, {0: {"A": 0.5}}, exits=bl.Exits(max_drawdown=0.05))
    assert line(result, "A", 2, "decision") == [
        "none on this bar, max_drawdown ended the run"
    ]
    assert result.explain("A", DAYS[3]) == text(
        '"A" at 2024-01-05',
        "  holding:   nothing at the end of this bar",
        "  fill:      sold 50 at 8 (base 8), commission 0.00, slippage 0.00, "
        "closed because of the account's max_drawdown",
        "  decision:  none on this bar, max_drawdown ended the run at 2024-01-04",
        "  latest order of this asset, decided at 2024-01-04:",
        "  target:    0% of equity 900.00 at close 8 = 0 units",
        "  held then: 50 units, 44.44% of equity",
        "  order:     sell 50 at the next open: filled",
        "  because:   max_drawdown ended the run (max_drawdown)",
    )


def test_splits_and_dividends_of_a_bar_are_told():
    result = run(
        {"A": [10, 10, 5, 50], "B": [1] * 4},
        {0: {"A": 0.5}},
        actions=actions(
            (2, "A", "split", 2.0), (2, "A", "dividend", 0.5), (3, "A", "split", 0.1)
        ),
    )
    assert result.explain("A", DAYS[2]).splitlines()[1:4] == [
        "  holding:   100 units at 5 = 500.00, 47.62% of equity",
        "  split:     2 for 1, 50 units more",
        "  dividend:  received 50.00, 0.5 for each of 100 units",
    ]
    assert line(result, "A", 3, "split") == ["0.1 for 1, 90 units fewer"]
    assert line(result, "B", 2, "split") == []
    short = run(
        {"A": [10, 10, 10]},
        {0: {"A": -0.5}},
        limits=SHORTS,
        actions=actions((2, "A", "dividend", 0.5)),
    )
    assert line(short, "A", 2, "dividend") == ["paid 25.00, 0.5 for each of 50 units"]


def capped(
    prices: list[float],
    decisions: Mapping[int, Any],
    *splits: tuple[int, str, str, float],
) -> bl.BacktestResult:
    """Get at most 20 units a bar, what is left waits."""
    return run_bars(
        bars(*[(price,) * 4 for price in prices]).with_columns(volume=pl.lit(200.0)),
        decisions,
        limits=bl.Limits(max_participation=0.1, remainder="pending"),
        actions=actions(*splits),
    )


def test_an_order_that_filled_before_and_after_a_split():
    result = capped([10, 10, 5, 5, 5, 5], {0: {"A": 0.4}}, (2, "A", "split", 2.0))
    # 40 units, 20 of them filled; the other 20 are 40 after the split.
    assert result.explain("A", DAYS[1]) == text(
        '"A" at 2024-01-03',
        "  holding:   20 units at 10 = 200.00, 20% of equity",
        "  fill:      bought 20 at 10 (base 10), commission 0.00, slippage 0.00",
        "  decision:  none on this bar, the weights asked for no rebalance",
        "  latest order of this asset, decided at 2024-01-02:",
        "  target:    40% of equity 1,000.00 at close 5 = 80 units",
        "  held then: nothing",
        "  order:     buy 80 at the next open: filled",
        "  units:     target, held then and order are in units after the split of "
        "2 for 1 at 2024-01-04; what filled before it, in units of its bar, makes 40 "
        "of them",
        "  fill:      bought 20 at 5 (base 5), commission 0.00, slippage 0.00, "
        "at 2024-01-04",
        "  fill:      bought 20 at 5 (base 5), commission 0.00, slippage 0.00, "
        "at 2024-01-05",
        "  because:   it was above max_participation, 10% of the volume of a bar "
        "(max_participation)",
    )


def test_an_order_that_waits_over_two_splits():
    result = capped(
        [10, 10, 5, 10, 10],
        {0: {"A": 0.9}},
        (2, "A", "split", 2.0),
        (3, "A", "split", 0.5),
    )
    # 20 of 90; 40 and 20 of 180; 30 and 20 of 90
    assert line(result, "A", 0, "order") == [
        "buy 90 at the next open: partly filled, 70; the rest waits"
    ]
    assert line(result, "A", 0, "units") == [
        "target, held then and order are in units after the splits of 2 for 1 at "
        "2024-01-04 and 0.5 for 1 at 2024-01-05; what filled before the last, in "
        "units of its bar, makes 30 of them"
    ]


def test_a_rest_that_was_replaced_after_a_split():
    result = capped(
        [10, 10, 5, 2.5], {0: {"A": 0.5}, 1: {"A": 0.2}}, (2, "A", "split", 2.0)
    )
    # Replaced before the split: the units are those of the decision.
    assert line(result, "A", 0, "order") == [
        "buy 50 at the next open: partly filled, 20; the rest is gone"
    ]
    assert line(result, "A", 0, "units") == []
    opens = pl.when(pl.col("date") != DAYS[2]).then("open")
    late = run_bars(
        bars(*[(price,) * 4 for price in (10, 10, 5, 5)]).with_columns(
            open=opens, volume=pl.lit(200.0)
        ),
        {0: {"A": 0.5}, 2: {"A": 0.2}},
        limits=bl.Limits(max_participation=0.1, remainder="pending"),
        actions=actions((2, "A", "split", 2.0)),
    )
    # It met no open on the bar of the split, and was replaced at its close.
    assert line(late, "A", 0, "order") == [
        "buy 100 at the next open: partly filled, 40; the rest is gone"
    ]
    assert line(late, "A", 0, "units") == [
        "target, held then and order are in units after the split of 2 for 1 at "
        "2024-01-04; what filled before it, in units of its bar, makes 40 of them"
    ]


def test_an_order_that_never_filled_and_waited_over_a_split():
    opens = pl.when(pl.col("date") < DAYS[2]).then("open")
    result = run_bars(
        bars(*[(price,) * 4 for price in (10, 10, 5, 5)]).with_columns(
            open=opens, volume=pl.lit(200.0)
        ),
        {0: {"A": 0.2}, 1: {"A": 0.1}, 2: {"A": 0.4}},
        limits=bl.Limits(max_participation=0.1, remainder="pending"),
        actions=actions((2, "A", "split", 2.0)),
    )
    assert line(result, "A", 1, "held then") == ["40 units, 20% of equity"]
    assert line(result, "A", 1, "order") == ["sell 20 at the next open: not filled"]
    assert line(result, "A", 1, "units") == [
        "target, held then and order are in units after the split of 2 for 1 at "
        "2024-01-04"
    ]


def test_the_scaling_of_an_order_that_waited_is_told_without_its_factor():
    result = run(
        {"A": [10, None, 10], "B": [10, 10, 10]},
        {0: {"A": 0.5, "B": 0.5}, 1: bl.partial({"B": 0.9})},
    )
    assert line(result, "A", 0, "because")[-1] == (
        WHY["scaled_to_cash"] + " (scaled_to_cash)"
    )
    assert line(result, "B", 1, "because") == [
        "all opening buys of the bar were scaled by 0.555556 to the cash there was "
        "(scaled_to_cash)"
    ]


def test_a_split_is_told_of_an_asset_that_was_not_held():
    result = run(
        {"A": [10, None, 5, 5], "B": [5] * 4},
        {0: {"A": 0.5}},
        actions=actions((2, "A", "split", 2.0)),
    )
    assert line(result, "A", 0, "target") == [
        "50% of equity 1,000.00 at close 5 = 100 units"
    ]
    assert line(result, "A", 0, "units") == [
        "target, held then and order are in units after the split of 2 for 1 at "
        "2024-01-04"
    ]


def test_a_delisting_that_leaves_the_position():
    prices = {"A": [10, 10, None, None], "B": [1] * 4}
    ends = actions((2, "A", "delisting", None), (2, "B", "delisting", None))
    result = run(prices, {0: {"A": 0.5}}, actions=ends)
    assert result.explain("A", DAYS[2]).splitlines()[:5] == [
        '"A" at 2024-01-04',
        "  bar:       none, the asset has no close here",
        "  holding:   50 units at 10 = 500.00, 50% of equity",
        "  delisting: without a return, the position is left as it was "
        '(delisted="hold")',
        "  decision:  none on this bar, the weights asked for no rebalance",
    ]
    # On other bars, without a position and with another policy there is no such line.
    assert line(result, "A", 1, "delisting") == []
    assert line(result, "A", 3, "delisting") == []
    assert line(result, "B", 2, "delisting") == []
    paid = bl.MissingData(delisted="cash_out")
    result = run(prices, {0: {"A": 0.5}}, actions=ends, missing_data=paid)
    assert line(result, "A", 2, "delisting") == []


def test_a_bar_off_the_schedule_is_told_from_one_without_a_rebalance():
    result = run({"A": [10] * 4}, {0: {"A": 0.5}}, schedule=[DAYS[0], DAYS[2]])
    assert [line(result, "A", bar, "decision")[0] for bar in range(4)] == [
        "complete",
        "none on this bar, it is not on the schedule",
        "none on this bar, the weights asked for no rebalance",
        "none on this bar, it is not on the schedule",
    ]


def test_a_delisted_position():
    result = run(
        {"A": [10, 10], "B": [1] * 4},
        {0: {"A": 0.5}},
        actions=actions((2, "A", "delisting", -0.5)),
    )
    assert line(result, "A", 2, "fill")[0] == (
        "sold 50 at 5 (base 5), commission 0.00, slippage 0.00, closed by its delisting"
    )


def test_an_order_that_was_limited():
    result = run(
        {"A": [10] * 3},
        {0: {"A": 0.9}},
        limits=bl.Limits(max_weight=0.5, max_turnover=0.1),
    )
    assert result.explain("A", DAYS[0]).splitlines()[3:] == [
        "  target:    90%, limited to 50%, of equity 1,000.00 at close 10 = 50 units",
        "  held then: nothing",
        "  order:     buy 50 at the next open: partly filled, 20; the rest is gone",
        "  fill:      bought 20 at 10 (base 10), commission 0.00, slippage 0.00, "
        "at 2024-01-03",
        "  because:   the weight was cut to max_weight (max_weight)",
        "  because:   what opens was scaled to max_turnover (max_turnover)",
    ]


def test_a_position_within_the_drift_band():
    result = run(
        {"A": [10] * 4},
        {0: {"A": 0.5}, 2: {"A": 0.51}},
        limits=bl.Limits(drift_band=0.02),
    )
    assert line(result, "A", 2, "order") == ["none, to buy 1 was wanted"]
    assert line(result, "A", 2, "because") == [WHY["drift_band"] + " (drift_band)"]


def test_what_max_turnover_left_was_too_small():
    result = run(
        {"A": [10] * 3},
        {0: {"A": 0.5}},
        limits=bl.Limits(max_turnover=0.01, min_trade_value=100.0),
    )
    assert line(result, "A", 0, "order") == ["none, to buy 50 was wanted"]
    assert LEFT_SMALL + " (below_min_trade_value)" in line(result, "A", 0, "because")


def test_orders_that_are_sized_at_the_fill():
    at_fill = bl.Execution(size_at="fill")
    prices = {"A": [10, (20, 20), 20, 20], "B": [10, None, None, None]}
    result = run(
        prices, {0: {"A": 0.5, "B": 0.1}, 2: bl.partial({"A": 0.5})}, execution=at_fill
    )
    assert line(result, "A", 0, "target") == [
        "50% of equity 1,000.00 at the fill price 20 = 25 units"
    ]
    assert line(result, "B", 0, "target") == ["10% of the equity at the fill"]
    assert line(result, "B", 0, "order") == ["to be sized at the next open: it waits"]
    assert line(result, "A", 2, "order") == ["none, on target"]


def test_a_part_that_waits_and_one_without_volume():
    df = FALLING.with_columns(volume=pl.Series([100.0, None, 100.0, 100.0]))
    limits = bl.Limits(max_participation=0.1, remainder="pending")
    result = run_bars(df, {0: {"A": 0.5}}, limits=limits)
    assert line(result, "A", 0, "order") == [
        "buy 50 at the next open: partly filled, 20; the rest waits"
    ]
    cancelled = run_bars(
        df,
        {0: {"A": 0.5}},
        slippage=bl.Slippage(volume_impact=0.1),
        missing_data=bl.MissingData(missing_bar="cancel"),
    )
    assert line(cancelled, "A", 0, "because") == [
        CANCELLED["no_volume"] + " (no_volume)"
    ]


@examples(40)
@given(world=full_worlds())
def test_every_bar_of_every_asset_can_be_told(world):
    tell_everything(world)


@examples(40)
@given(world=full_worlds(on=("drawdown", "short", "actions"), max_bars=8))
def test_every_bar_around_the_end_of_a_run_can_be_told(world):
    tell_everything(world)


def tell_everything(world: World) -> None:
    result = world.run()
    for asset in world.assets:
        told = [
            one.strip()
            for day in world.timestamps
            for one in result.explain(asset, day).splitlines()
        ]
        fills = result.fills.filter(asset=asset).height
        # Each fill once on its bar, and again with its order seen from elsewhere.
        assert sum(one.startswith("fill:") for one in told) >= fills


def test_every_code_has_its_words():
    assert list(WHY) == [reason.name.lower() for reason in Reason]
    assert list(REASONS.categories) == ["none", *WHY]
    assert set(WHEN) == {"next_open", "next_close", "same_close"}
    assert list(STATUSES.categories) == ["filled", "partial", "none", "waiting"]
    assert list(FILL_REASONS.categories) == list(FILLED_BY)
    assert [*FILLED_BY, *sorted(FLOW_KINDS.categories)] == [
        *(code.name.lower() for code in FillReason if code < FillReason.SPLIT),
        *sorted(code.name.lower() for code in FillReason if code >= FillReason.SPLIT),
    ]
    assert set(WHY) > NOT_SENT | set(CANCELLED)


@pytest.mark.parametrize(
    "timestamp", [DAYS[1], "2024-01-03", dt.datetime(2024, 1, 3)], ids=repr
)
def test_the_bar_can_be_named_in_several_ways(timestamp):
    result = run({"A": [10] * 3}, {0: {"A": 0.5}})
    lines = result.explain("A", timestamp).splitlines()
    assert lines[0] == '"A" at 2024-01-03'
    assert lines[1].startswith("  holding:   50 units")


def test_unknown_assets_and_bars_are_refused():
    result = run({"AAPL": [10] * 3}, {0: {"AAPL": 0.5}})
    with pytest.raises(PanelError, match=r"no asset is 'AAPLE'.*Did you mean 'AAPL'"):
        result.explain("AAPLE", DAYS[0])
    with pytest.raises(PanelError, match="no bar at 2024-01-06"):
        result.explain("AAPL", "2024-01-06")


@pytest.mark.parametrize(
    ("assets", "named"),
    [
        (pl.Series([7, 3], dtype=pl.UInt16), 7),
        (pl.Series(["B", "A"], dtype=pl.Enum(["B", "A"])), "B"),
        (pl.Series(["A", "B"], dtype=pl.Categorical()), "A"),
    ],
    ids=["UInt16", "Enum", "Categorical"],
)
def test_assets_of_any_dtype_are_found(assets, named):
    df = pl.DataFrame(
        [
            pl.Series("date", DAYS[:3]).gather([0, 0, 1, 1, 2, 2]),
            assets.gather([0, 1] * 3).alias("symbol"),
            pl.Series("open", [10.0] * 6),
            pl.Series("close", [10.0] * 6),
            pl.Series("weight", [0.5, 0.0] * 3),
        ]
    )
    result = bl.run_backtest(df, "weight", initial_cash=1000.0)
    shown = '"' + named + '"' if isinstance(named, str) else str(named)
    assert result.explain(named, DAYS[1]) == text(
        f"{shown} at 2024-01-03",
        "  holding:   50 units at 10 = 500.00, 50% of equity",
        "  fill:      bought 50 at 10 (base 10), commission 0.00, slippage 0.00",
        "  decision:  complete, no order: the position was on target",
        "  latest order of this asset, decided at 2024-01-02:",
        "  target:    50% of equity 1,000.00 at close 10 = 50 units",
        "  held then: nothing",
        "  order:     buy 50 at the next open: filled",
    )


def test_a_repeated_hour_is_told_apart():
    # 01:30 comes twice on the day when the clocks go back.
    times = pl.Series(
        [dt.datetime(2024, 11, 3, h, 30) for h in (4, 5, 6, 7)],
        dtype=pl.Datetime("us", "UTC"),
    ).dt.convert_time_zone("America/New_York")
    df = pl.DataFrame(
        {
            "time": times,
            "symbol": ["A"] * 4,
            "open": [10.0, 10.0, 11.0, 12.0],
            "close": [10.0, 10.0, 11.0, 12.0],
            "weight": [0.5, None, None, None],
        }
    )
    result = bl.run_backtest(df, "weight", initial_cash=1000.0, bars_per_year=252)
    assert times[1].replace(tzinfo=None) == times[2].replace(tzinfo=None)
    assert "holding:   50 units at 10 = 500.00" in result.explain("A", times[1])
    assert "holding:   50 units at 11 = 550.00" in result.explain("A", times[2])
    # The fill was an hour before: it is no fill of this bar, and it has its time.
    assert result.explain("A", times[2]).splitlines()[-1] == (
        "  fill:      bought 50 at 10 (base 10), commission 0.00, slippage 0.00, "
        "at 2024-11-03 01:30:00-04:00"
    )
