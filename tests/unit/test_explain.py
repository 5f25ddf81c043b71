"""`result.explain` says in words what an asset did around a bar, and why."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import polars as pl
import pytest

import barloop as bl
from barloop.enums import Reason
from barloop.errors import PanelError
from barloop.explain import CANCELLED, TOO_SMALL, WHEN, WHY
from barloop.frames import FILL_REASONS, REASONS, STATUSES

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
        "  decision:  none on this bar",
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
        "  because:   all opening buys of the bar were scaled to the cash there was "
        "(scaled_to_cash)",
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
        "  decision:  none on this bar",
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
    assert line(result, "A", 0, "because") == [f"{CANCELLED} (missing_bar)"]


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
    assert result.explain("A", DAYS[2]).splitlines()[2:] == [
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
        f"{WHY['scaled_to_cash']} (scaled_to_cash)",
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
        "  decision:  none on this bar",
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


def test_every_code_has_its_words():
    assert list(WHY) == [reason.name.lower() for reason in Reason]
    assert list(REASONS.categories) == ["none", *WHY]
    assert set(WHEN) == {"next_open", "next_close", "same_close"}
    assert list(STATUSES.categories) == ["filled", "partial", "none", "waiting"]
    assert list(FILL_REASONS.categories) == ["order", "ruined"]


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
