"""Each rule beyond the first ones on a handful of bars, worked out by hand.

The arithmetic stands in the comments, and is what the oracle must give; then the engine
must give the same in every number.  Cash is 1000 and fills are at the next close where
nothing else is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparison import Comparison
from oracle import Action, Options, OracleResult, run_oracle
from strategies import World, examples

near = pytest.approx


def quotes(*assets: Iterable[Any]) -> dict[tuple[int, int], dict[str, Any]]:
    """Make bars by asset: a close, a pair (open, close), a dict of fields, or None.

    A dict says what differs from its close.
    """
    bars = {}
    for i, of_asset in enumerate(assets):
        for t, quote in enumerate(of_asset):
            if quote is None:
                continue
            if isinstance(quote, dict):
                row = quote
            else:
                opens, close = quote if isinstance(quote, tuple) else (quote, quote)
                row = {"open": opens, "close": close}
            ends = [row["close"], row.get("open") or row["close"]]
            usual = {"open": row["close"], "high": max(ends), "low": min(ends)}
            bars[t, i] = {"volume": 1000.0, **usual, **row}
    return bars


def world_of(
    bars: dict[tuple[int, int], dict[str, Any]],
    decisions: dict[int, Any],
    *,
    actions: Sequence[Action] = (),
    **options: Any,
) -> World:
    columns = {name for row in bars.values() for name in row} - {"open", "close"}
    return World(
        n_bars=1 + max(t for t, _ in bars),
        assets=("A", "B", "C", "D")[: 1 + max(i for _, i in bars)],
        rows=bars,
        decisions={
            t: ("complete", decision) if isinstance(decision, dict) else decision
            for t, decision in decisions.items()
        },
        options=Options(**{"initial_cash": 1000.0, "fill": "next_close"} | options),
        seed=0,
        columns=tuple(sorted(columns)),
        actions=tuple(actions),
    )


def play(
    bars: dict[tuple[int, int], dict[str, Any]],
    decisions: dict[int, Any],
    *,
    edges: bool = False,
    **options: Any,
) -> OracleResult:
    """Run the oracle, compare the engine with it, and return what the oracle says.

    With `edges` a threshold may be met exactly: the numbers are exact in binary.
    """
    world = world_of(bars, decisions, **options)
    expected = world.oracle()
    assert edges or expected.edges == []
    Comparison(world).check(world.run(), expected)
    return expected


def fills_of(result: OracleResult) -> list[tuple[Any, ...]]:
    """Return bar, asset, quantity and price before slippage."""
    return [(f.t, f.asset, near(f.quantity), near(f.base_price)) for f in result.fills]


def exits_of(result: OracleResult) -> list[tuple[Any, ...]]:
    """Return bar, reason and price of the fills that no order asked for."""
    return [(f.t, f.reason, near(f.price)) for f in result.fills if not f.order]


# ---------------------------------------------------------------- exits

LONG = {0: {0: 1.0}}
SHORT = {0: {0: -1.0}}


def held_at_ten(*later: Any) -> dict[tuple[int, int], dict[str, Any]]:
    """Make bars of one asset on which 100 units are bought at the open of bar 1."""
    return quotes([10, 10, *later])


@pytest.mark.parametrize(
    ("bar", "price"),
    [
        ({"open": 9.8, "high": 9.9, "low": 8.5, "close": 9.5}, 9.0),
        ({"open": 9.8, "high": 9.9, "low": 9.0, "close": 9.5}, 9.0),  # touched
        ({"open": 8.7, "high": 9.9, "low": 8.5, "close": 9.5}, 8.7),  # a gap
        ({"open": None, "high": 8.8, "low": 8.5, "close": 8.6}, 8.8),  # min(stop, high)
        ({"open": 9.8, "high": None, "low": None, "close": 8.5}, 9.0),
        ({"open": 9.8, "high": 9.9, "low": 9.01, "close": 9.5}, None),
    ],
)
def test_stop_loss_of_a_long(bar, price):
    # 10 * (1 - 0.1) = 9
    result = play(held_at_ten(bar), LONG, fill="next_open", stop_loss=0.1)
    assert exits_of(result) == ([] if price is None else [(2, "stop_loss", price)])
    assert result.cash[-1] == near(0 if price is None else 100 * price)


@pytest.mark.parametrize(
    ("bar", "price"),
    [
        ({"open": 10.4, "high": 11.5, "low": 10.1, "close": 10.2}, 11.0),
        ({"open": 11.3, "high": 11.5, "low": 10.1, "close": 10.2}, 11.3),
        ({"open": None, "high": 11.5, "low": 11.2, "close": 11.4}, 11.2),
        ({"open": 10.4, "high": 10.9, "low": 10.1, "close": 10.2}, None),
    ],
)
def test_stop_loss_of_a_short(bar, price):
    # 10 * (1 + 0.1) = 11
    options = {"fill": "next_open", "allow_short": True, "stop_loss": 0.1}
    result = play(held_at_ten(bar), SHORT, **options)
    assert exits_of(result) == ([] if price is None else [(2, "stop_loss", price)])
    assert result.cash[-1] == near(2000 - (0 if price is None else 100 * price))


@pytest.mark.parametrize(
    ("bar", "price"),
    [
        ({"open": 10.4, "high": 12.5, "low": 10.1, "close": 10.2}, 12.0),
        ({"open": 12.3, "high": 12.5, "low": 10.1, "close": 10.2}, 12.3),
        ({"open": None, "high": 12.5, "low": 12.2, "close": 12.4}, 12.2),
        ({"open": 10.4, "high": 11.9, "low": 10.1, "close": 10.2}, None),
    ],
)
def test_take_profit_of_a_long(bar, price):
    # 10 * (1 + 0.2) = 12
    result = play(held_at_ten(bar), LONG, fill="next_open", take_profit=0.2)
    assert exits_of(result) == ([] if price is None else [(2, "take_profit", price)])


@pytest.mark.parametrize(
    ("bar", "price"),
    [
        ({"open": 9.4, "high": 9.5, "low": 7.5, "close": 9.2}, 8.0),
        ({"open": 7.7, "high": 9.5, "low": 7.5, "close": 9.2}, 7.7),
        ({"open": None, "high": 7.9, "low": 7.5, "close": 7.6}, 7.9),
    ],
)
def test_take_profit_of_a_short(bar, price):
    # 10 * (1 - 0.2) = 8
    options = {"fill": "next_open", "allow_short": True, "take_profit": 0.2}
    result = play(held_at_ten(bar), SHORT, **options)
    assert exits_of(result) == [(2, "take_profit", price)]


@pytest.mark.parametrize(
    ("opens", "reason", "price"),
    [(10.4, "stop_loss", 9.0), (12.5, "take_profit", 12.5), (8.8, "stop_loss", 8.8)],
)
def test_a_bar_with_stop_and_target_stops_unless_it_opens_beyond_the_target(
    opens, reason, price
):
    bar = {"open": opens, "high": 12.6, "low": 8.7, "close": 10.2}
    levels = {"stop_loss": 0.1, "take_profit": 0.2}
    result = play(held_at_ten(bar), LONG, fill="next_open", **levels)
    assert exits_of(result) == [(2, reason, price)]


def test_a_position_opened_at_the_open_is_stopped_on_its_bar():
    bars = quotes([10, {"open": 10, "high": 10, "low": 8.5, "close": 9.5}, 9.5])
    options = {"fill": "next_open", "stop_loss": 0.1}
    assert exits_of(play(bars, LONG, **options)) == [(1, "stop_loss", 9.0)]
    later = play(bars, LONG, on_entry_bar=False, **options)
    # bar 2 lies between 9 and 10
    assert exits_of(later) == []


def test_a_position_opened_at_the_close_is_not_looked_at_on_its_bar():
    bars = quotes(
        [10, {"open": 8, "high": 12, "low": 8, "close": 10}, (9.5, 10), (8.8, 9)]
    )
    result = play(bars, LONG, stop_loss=0.1)
    assert exits_of(result) == [(3, "stop_loss", 8.8)]


def test_trailing_stop_follows_the_highs_of_earlier_bars():
    bars = held_at_ten(
        {"open": 10, "high": 12, "low": 9.5, "close": 11},
        {"open": 11.5, "high": 11.8, "low": 10.5, "close": 11},
    )
    result = play(bars, LONG, fill="next_open", trailing_stop=0.1)
    # On bar 2 the level is still 10 * 0.9 = 9; then 12 * 0.9 = 10.8.
    assert exits_of(result) == [(3, "trailing_stop", 10.8)]


def test_trailing_stop_of_a_short_follows_the_lows():
    bars = held_at_ten(
        {"open": 10, "high": 10.5, "low": 8, "close": 8.5},
        {"open": 8.5, "high": 9, "low": 8.4, "close": 8.9},
    )
    options = {"fill": "next_open", "allow_short": True, "trailing_stop": 0.1}
    # 10 * 1.1 = 11 on bar 2; then 8 * 1.1 = 8.8
    assert exits_of(play(bars, SHORT, **options)) == [(3, "trailing_stop", 8.8)]


def test_trailing_stop_takes_in_the_entry_bar_only_after_an_opening_at_the_open():
    first = {"open": 10, "high": 12, "low": 10, "close": 10}
    bars = quotes([10, first, {"open": 11, "high": 11, "low": 10.5, "close": 11}])
    at_open = play(bars, LONG, fill="next_open", trailing_stop=0.1)
    assert exits_of(at_open) == [(2, "trailing_stop", 10.8)]
    # Bought at the close of bar 1: the level is 10 * 0.9, later 11 * 0.9.
    assert exits_of(play(bars, LONG, trailing_stop=0.1)) == []


def test_trailing_stop_on_closes():
    bars = held_at_ten(
        {"open": 10, "high": 12, "low": 9.5, "close": 11},
        {"open": 11.5, "high": 11.8, "low": 9.8, "close": 11},
    )
    options = {"fill": "next_open", "trailing_stop": 0.1, "trail_on": "close"}
    # 11 * 0.9 = 9.9
    assert exits_of(play(bars, LONG, **options)) == [(3, "trailing_stop", 9.9)]


@pytest.mark.parametrize(("floor", "price"), [(0.0, 9.6), (0.05, 9.5)])
def test_trailing_stop_tightens_with_age_down_to_its_floor(floor, price):
    bars = held_at_ten(10, {"open": 10, "high": 10, "low": 9, "close": 9.2})
    options = {"trailing_stop": 0.1, "tighten_per_bar": 0.03, "trailing_floor": floor}
    # On bar 3 the age is 2: 0.1 - 2 * 0.03 = 0.04, at least the floor.
    result = play(bars, LONG, fill="next_open", **options)
    assert exits_of(result) == [(3, "trailing_stop", price)]


def test_atr_stop_keeps_the_atr_of_the_bar_before_an_opening_at_the_open():
    bars = quotes(
        [
            {"close": 10, "atr": 0.5},
            {"close": 10, "atr": 0.9},
            {"open": 9.5, "close": 9, "low": 8.9, "atr": 0.1},
        ]
    )
    result = play(bars, LONG, fill="next_open", atr_stop=(2.0, "atr"))
    assert exits_of(result) == [(2, "atr_stop", 9.0)]  # 10 - 2 * 0.5
    # Opened at the close of bar 1: 10 - 2 * 0.9 = 8.2
    assert exits_of(play(bars, LONG, atr_stop=(2.0, "atr"))) == []
    assert exits_of(play(bars, LONG, atr_stop=(1.0, "atr"))) == [(2, "atr_stop", 9.1)]


def test_a_position_without_an_atr_has_no_atr_stop():
    bars = quotes([{"close": 10, "atr": None}, {"close": 10, "atr": 0.5}, 5])
    result = play(bars, LONG, fill="next_open", atr_stop=(2.0, "atr"))
    assert exits_of(result) == []
    assert result.no_atr == 1


@pytest.mark.parametrize(
    ("stops", "reason", "price"),
    [
        ({"stop_loss": 0.1, "trailing_stop": 0.05}, "trailing_stop", 9.5),
        ({"stop_loss": 0.02, "trailing_stop": 0.05}, "stop_loss", 9.8),
        ({"stop_loss": 0.25, "trailing_stop": 0.25}, "stop_loss", 7.5),
        ({"atr_stop": (2.5, "atr"), "trailing_stop": 0.25}, "atr_stop", 7.5),
    ],
)
def test_the_nearest_stop_counts(stops, reason, price):
    bar = {"open": 10, "high": 10, "low": 7, "close": 8}
    bars = held_at_ten(bar)
    bars[0, 0]["atr"] = 1.0
    result = play(bars, LONG, fill="next_open", **stops)
    assert exits_of(result) == [(2, reason, price)]


def test_max_bars_held_waits_for_an_open():
    bars = held_at_ten(11, {"open": None, "close": 12}, (12.5, 13))
    result = play(bars, LONG, fill="next_open", max_bars_held=2)
    # The age of 2 is reached on bar 3, which has no open.
    assert exits_of(result) == [(4, "max_bars_held", 12.5)]


def test_averaging_in_averages_the_entry_price_and_keeps_the_age():
    bars = quotes([10, 10, 12, 12, {"open": 12, "high": 12, "low": 9, "close": 12}])
    # 50 at 10; at 12 equity is 1100 and the target 91.67 * 0.96 = 88: 38 more at 12.
    decisions = {0: {0: 0.5}, 2: {0: 0.96}}
    options = {"stop_loss": 0.1, "rounding": "whole_target", "max_bars_held": 4}
    result = play(bars, decisions, **options)
    entry = (50 * 10 + 38 * 12) / 88
    assert exits_of(result) == [(4, "stop_loss", 0.9 * entry)]


def test_a_flip_is_a_new_entry():
    bars = quotes([10, 10, 12, 12, {"open": 12, "high": 13.3, "low": 12, "close": 13}])
    decisions = {0: {0: 0.5}, 2: {0: -0.5}}
    result = play(bars, decisions, stop_loss=0.1, allow_short=True)
    assert exits_of(result) == [(4, "stop_loss", 13.2)]


def test_an_exit_pays_slippage_and_commission():
    costs = {"slippage_bps": 100, "commission_bps": 200, "commission_minimum": 1.0}
    bars = held_at_ten({"open": 8, "close": 8})
    decisions = {0: {0: 0.5}}
    result = play(bars, decisions, fill="next_open", stop_loss=0.1, **costs)
    # 50 bought at 10.1, the stop is 9.09; sold at 8 * 0.99 = 7.92 less 2 %
    assert exits_of(result) == [(2, "stop_loss", 7.92)]
    paid, got = 50 * 10.1 * 1.02, 50 * 7.92 * 0.98
    assert result.cash[-1] == near(1000 - paid + got)


def test_an_exit_without_volume_counts_as_all_of_it():
    bars = held_at_ten({"open": 8, "close": 8, "volume": 0.0})
    options = {"fill": "next_open", "stop_loss": 0.1, "volume_impact": 0.3}
    result = play(bars, {0: {0: 0.5}}, **options)
    # Bought: share 50 / 1000, price 10 * (1 + 0.3 * 0.0025); sold: 8 * (1 - 0.3)
    assert result.fills[0].price == near(10.0075)
    assert exits_of(result) == [(2, "stop_loss", 5.6)]


def test_an_exit_cancels_what_waits_for_the_asset():
    bars = quotes([10, 10, 10, (8.5, 8.5)])
    result = play(bars, {0: {0: 0.5}, 2: {0: 0.2}}, stop_loss=0.1)
    assert fills_of(result) == [(1, 0, 50, 10), (3, 0, -50, 8.5)]
    assert result.orders[1].reasons == {"cancelled_by_exit"}


@pytest.mark.parametrize(
    ("reentry", "bought", "refused"),
    [
        ("after_target_zero", [6], [2, 3]),
        ("allowed", [3, 6], []),
        (1, [4, 6], [2]),
        (3, [6], [2, 3]),
    ],
)
def test_reentry_after_an_exit_on_bar_2(reentry, bought, refused):
    # Decided at t, filled at t + 1.  The stop of bar 2 comes before the decision there,
    # and on bar 4 a complete decision does not name the asset: its weight is 0.
    bars = quotes([10, 10, 8, 8, 8, 8, 8], [10] * 7)
    decisions = {0: {0: 0.5}, 2: {0: 0.5}, 3: {0: 0.5}, 4: {1: 0.1}, 5: {0: 0.5}}
    result = play(bars, decisions, stop_loss=0.15, reentry=reentry)
    buys = [f.t for f in result.fills if f.asset == 0 and f.quantity > 0]
    assert buys == [1, *bought]
    stopped = [o.t for o in result.orders if o.reason == "blocked_after_exit"]
    assert stopped == refused


def test_a_partial_decision_frees_only_the_names_to_which_it_gives_0():
    bars = quotes([10, 10, 8, 8, 8, 8], [10] * 6)
    other, zero = ("partial", {1: 0.1}), ("partial", {0: 0.0})
    again = ("partial", {0: 0.5})
    options = {"stop_loss": 0.15}
    result = play(bars, {0: {0: 0.5}, 3: other, 4: again}, **options)
    assert result.orders[-1].reason == "blocked_after_exit"
    result = play(bars, {0: {0: 0.5}, 3: zero, 4: again}, **options)
    assert result.orders[-1].reason == "none"


def test_a_weight_of_0_on_the_bar_of_the_exit_frees_the_asset():
    bars = quotes([10, 10, 8, 8, 8])
    result = play(bars, {0: {0: 0.5}, 2: {}, 3: {0: 0.5}}, stop_loss=0.15)
    assert [f.t for f in result.fills] == [1, 2, 4]


# ---------------------------------------------------------------- drawdown


def test_max_drawdown_closes_everything_at_the_next_fill_and_decides_no_more():
    bars = quotes([10, 10, 12, 9.6, 9, 9], [10] * 6)
    decisions = {0: {0: 0.5, 1: 0.2}, 3: {0: 1.0}, 4: {0: 1.0}}
    result = play(bars, decisions, max_drawdown=0.1)
    # The peak is 500 + 50 * 12 = 1100; 500 + 50 * 9.6 = 980 is below 0.9 * 1100.
    assert result.stopped_at == 3
    assert [f.reason for f in result.fills] == ["order"] * 2 + ["max_drawdown"] * 2
    assert fills_of(result)[2:] == [(4, 0, -50, 9), (4, 1, -20, 10)]
    assert [o.reason for o in result.orders] == ["none"] * 2 + ["max_drawdown"] * 2
    assert result.cash[-1] == near(300 + 450 + 200)


def test_max_drawdown_waits_for_a_price_and_cancels_what_waits():
    bars = quotes([10, 10, 8, 8, (None, 8), 8], [10] * 6)
    decisions = {0: {0: 0.5}, 1: {0: 0.5, 1: 0.5}}
    options = {"fill": "next_open", "missing_bar": "cancel", "max_drawdown": 0.05}
    result = play(bars, {**decisions, 3: {0: 0.1}}, **options)
    # At the close of 2: 500 + 50 * 8 = 900.  Bar 2 has filled the order of 1 at its
    # open, 10, and the position of A is 50 as before.
    assert result.stopped_at == 2
    assert fills_of(result)[2:] == [(3, 0, -50, 8), (3, 1, -50, 10)]


def test_max_drawdown_fills_at_once_with_same_close():
    bars = quotes([10, 8, 8])
    options = {"fill": "same_close", "max_drawdown": 0.05, "slippage_bps": 100}
    result = play(bars, {0: {0: 0.5}}, **options)
    assert [(f.t, f.reason) for f in result.fills] == [
        (0, "order"),
        (1, "max_drawdown"),
    ]
    assert result.cash[-1] == near(1000 - 50 * 10.1 + 50 * 7.92)


def test_a_withdrawal_is_no_drawdown():
    bars = quotes([10, 10, 9.9, 9.5])
    out = [Action(t=2, kind="withdrawal", value=300.0)]
    result = play(bars, {0: {0: 0.5}}, actions=out, max_drawdown=0.03)
    # The peak becomes 1000 * 700 / 1000 = 700; 200 + 495 = 695 is above 679, and on
    # bar 3 200 + 475 = 675 is not.
    assert result.equity[2] == near(695)
    assert result.stopped_at == 3


# ---------------------------------------------------------------- rounding


@pytest.mark.parametrize(
    ("rounding", "weight", "quantity"),
    [
        ("fractional", 0.257, -24.3),
        ("whole_target", 0.257, -25),
        ("whole_delta_trunc", 0.257, -24),
        ("whole_delta_nearest", 0.257, -24),
        ("whole_delta_floor", 0.257, -25),
        ("whole_target", 0.757, 25),
        ("whole_delta_trunc", 0.757, 25),
        ("whole_delta_nearest", 0.757, 26),
        ("whole_delta_floor", 0.757, 25),
        ("whole_target", -0.257, -75),
        ("whole_delta_trunc", -0.257, -75),
        ("whole_delta_nearest", -0.257, -76),
        ("whole_delta_floor", -0.257, -76),
        ("whole_delta_floor", 0.0, -50),
    ],
)
def test_rounding(rounding, weight, quantity):
    # 50 units are held, and 1000 * weight / 10 = 25.7, 75.7 or -25.7 are wanted.
    result = play(
        quotes([10] * 4),
        {0: {0: 0.5}, 2: {0: weight}},
        rounding=rounding,
        allow_short=True,
    )
    assert fills_of(result) == [(1, 0, 50, 10), (3, 0, quantity, 10)]
    rounded = {"rounded"} if rounding != "fractional" and weight else set()
    assert result.orders[-1].reasons == rounded


@pytest.mark.parametrize(
    ("weight", "quantity"), [(0.1875, 19), (0.1975, 20), (0.1925, 19)]
)
def test_rounding_to_the_nearest_takes_halves_away_from_0(weight, quantity):
    # 1000 * weight / 10 = 18.75, 19.75 or 19.25; with lots of 2.5: 7.5, 7.9 and 7.7
    options = {"rounding": "whole_delta_nearest"}
    result = play(quotes([10, 10]), {0: {0: weight}}, edges=True, **options)
    assert fills_of(result) == [(1, 0, quantity, 10)]
    lots = play(quotes([10, 10]), {0: {0: weight}}, edges=True, lot_size=2.5, **options)
    assert fills_of(lots) == [(1, 0, 20, 10)]


def test_rounding_of_the_way_never_turns_a_position_around():
    # 20 units become 0.5 by a reverse split; 0.2 are wanted, floor(-0.3) = -1.
    split = [Action(t=2, kind="split", asset=0, value=0.025)]
    decisions = {0: {0: 0.2}, 2: {0: 0.1}}
    bars = quotes([10, 10, 400, 400])
    result = play(bars, decisions, actions=split, rounding="whole_delta_floor")
    assert fills_of(result) == [(1, 0, 20, 10), (3, 0, -0.5, 400)]
    assert result.positions[-1] == {}


def test_lots():
    # 33.7 units in lots of 5 are 30; 50 in lots of 0.5 are 50.
    options = {"rounding": "whole_target", "lot_size": 5.0}
    assert fills_of(play(quotes([10, 10]), {0: {0: 0.337}}, **options)) == [
        (1, 0, 30, 10)
    ]


# ---------------------------------------------------------------- limits of weights


def test_max_weight_leaves_the_excess_in_cash():
    bars = quotes([10, 10], [10, 10])
    result = play(bars, {0: {0: 0.6, 1: 0.3}}, max_weight=0.4)
    assert fills_of(result) == [(1, 0, 40, 10), (1, 1, 30, 10)]
    assert [o.reason for o in result.orders] == ["max_weight", "none"]


def test_max_gross_is_compared_with_the_weights_after_max_weight():
    bars = quotes([10, 10], [10, 10])
    result = play(bars, {0: {0: 5.0, 1: 0.3}}, max_weight=0.4)
    assert fills_of(result) == [(1, 0, 40, 10), (1, 1, 30, 10)]


def test_max_gross_scales_every_weight_alike():
    bars = quotes([10, 10], [10, 10])
    options = {"on_excess": "scale", "max_weight": 0.8, "allow_short": True}
    result = play(bars, {0: {0: 1.0, 1: -0.45}}, **options)
    # 0.8 and -0.45 have a gross of 1.25: 0.64 and -0.36
    assert fills_of(result) == [(1, 1, -36, 10), (1, 0, 64, 10)]
    assert [o.all_reasons for o in result.orders] == [
        ["max_weight", "max_gross"],
        ["max_gross"],
    ]


def test_drift_band_leaves_small_increases_alone_and_trades_to_the_target():
    bars = quotes([10] * 7)
    decisions = {0: {0: 0.5}, 1: {0: 0.52}, 2: {0: 0.56}, 3: {0: 0.54}, 4: {}}
    result = play(bars, decisions, drift_band=0.03)
    # 0.02 above: nothing; 0.06 above: to 0.56; 0.02 below: it reduces, at once.
    assert fills_of(result) == [
        (1, 0, 50, 10),
        (3, 0, 6, 10),
        (4, 0, -2, 10),
        (5, 0, -54, 10),
    ]
    assert result.orders[1].reason == "drift_band"
    assert result.orders[1].quantity == near(2)


def test_max_turnover_shrinks_what_opens():
    bars = quotes([10] * 4, [10] * 4, [10] * 4)
    decisions = {0: {0: 0.4}, 2: {0: 0.1, 1: 0.4, 2: 0.2}}
    result = play(bars, decisions, max_turnover=0.25)
    # First 400 / 2000 = 0.2.  Then 300 are sold and 600 bought: 0.45; 500 are allowed,
    # so that 200 of 600 are bought.
    assert fills_of(result)[1:] == [
        (3, 0, -30, 10),
        (3, 1, 40 / 3, 10),
        (3, 2, 20 / 3, 10),
    ]
    assert [o.reason for o in result.orders[1:]] == ["none"] + ["max_turnover"] * 2
    assert result.orders[2].quantity == near(40)


def test_max_turnover_shrinks_the_part_of_a_flip_that_opens():
    options = {"allow_short": True, "max_turnover": 0.3}
    result = play(quotes([10] * 4), {0: {0: 0.5}, 2: {0: -0.3}}, **options)
    # 500 are sold to 0, 300 beyond; 600 are allowed: 100 beyond.
    assert fills_of(result) == [(1, 0, 50, 10), (3, 0, -60, 10)]
    options["min_trade_value"] = 700
    result = play(quotes([10] * 4), {0: {0: 0.5}, 2: {0: -0.3}}, **options)
    assert fills_of(result) == []
    options["min_trade_value"] = 0.0
    options["rounding"] = "whole_target"
    options["lot_size"] = 25.0
    result = play(quotes([10] * 4), {0: {0: 0.5}, 2: {0: -0.5}}, **options)
    # 10 units beyond are no lot of 25.
    assert fills_of(result) == [(1, 0, 50, 10), (3, 0, -50, 10)]


def test_max_turnover_applies_the_minimum_again():
    bars = quotes([10, 10], [10, 10])
    options = {"max_turnover": 0.2, "min_trade_value": 100.0}
    result = play(bars, {0: {0: 0.8, 1: 0.15}}, **options)
    # 400 of 950 are allowed: 80 and 15 become 33.68 and 6.32; 63 is below 100.
    assert fills_of(result) == [(1, 0, 80 * 400 / 950, 10)]
    assert result.orders[1].all_reasons == ["below_min_trade_value", "max_turnover"]


# ---------------------------------------------------------------- participation


def test_participation_cancels_or_keeps_the_rest():
    bars = quotes([{"close": 10, "volume": 200.0}] * 4)
    cancelled = play(bars, {0: {0: 0.5}}, max_participation=0.1)
    assert fills_of(cancelled) == [(1, 0, 20, 10)]
    assert cancelled.orders[0].reason == "max_participation"
    kept = play(bars, {0: {0: 0.5}}, max_participation=0.1, remainder="pending")
    assert fills_of(kept) == [(1, 0, 20, 10), (2, 0, 20, 10), (3, 0, 10, 10)]
    assert kept.orders[0].status == "filled"


def test_participation_of_a_bar_is_shared_by_the_orders_of_an_asset():
    # With same_close what waits fills first: 20 of 50.  The new order of bar 1 gets no
    # more; that of bar 2 meets a null volume.
    bars = quotes([{"close": 10, "volume": v} for v in (200.0, 200.0, None, 1000.0)])
    options = {"max_participation": 0.1, "remainder": "pending", "fill": "same_close"}
    result = play(bars, {0: {0: 0.5}, 1: {0: 0.45}, 2: {0: 0.6}}, **options)
    assert fills_of(result) == [(0, 0, 20, 10), (1, 0, 20, 10), (3, 0, 20, 10)]


def test_a_remainder_gets_what_is_left_of_the_cap_when_cash_comes_back():
    # On bar 1, B is capped to 50 and cut to 20 by the 400 of cash.  Then A is sold, and
    # the 50 of B that wait get the 30 that are left of the cap at the same close.
    bars = quotes(
        [10, 10, 10],
        [{"close": 20, "volume": 0.0}] + [{"close": 20, "volume": 100.0}] * 2,
    )
    options = {"fill": "same_close", "remainder": "pending", "max_gross": 3.0}
    decisions = {0: {0: 0.6, 1: 2.0}, 1: ("partial", {0: 0.0})}
    result = play(bars, decisions, max_participation=0.5, **options)
    assert fills_of(result) == [
        (0, 0, 60, 10),
        (1, 1, 20, 20),
        (1, 0, -60, 10),
        (1, 1, 30, 20),
    ]
    # The last 20 of 100 find no cash on bar 2.
    assert result.next_orders == []


def test_participation_cuts_to_lots():
    bars = quotes([{"close": 10, "volume": 177.0}] * 2)
    options = {"rounding": "whole_target", "max_participation": 0.1}
    assert fills_of(play(bars, {0: {0: 0.5}}, **options)) == [(1, 0, 17, 10)]


def test_what_the_cash_rule_takes_away_does_not_wait():
    bars = quotes([{"close": 10, "volume": 400.0}, {"close": 20, "volume": 400.0}] * 2)
    options = {"max_participation": 0.2, "remainder": "pending"}
    result = play(bars, {0: {0: 1.0}}, **options)
    # 100 wanted, 80 by volume, 50 by cash at 20; the 20 that wait find no cash.
    assert fills_of(result) == [(1, 0, 50, 20)]
    assert result.orders[0].reasons == {"max_participation", "scaled_to_cash"}


# ---------------------------------------------------------------- sized at the fill


def test_sized_at_the_fill():
    bars = quotes([10, (12.5, 10), (8, 8)], [20, (20, 20), (25, 20)])
    decisions = {0: {0: 0.5, 1: 0.5}, 1: {0: 0.25}}
    result = play(bars, decisions, fill="next_open", size_at="fill")
    # 500 / 12.5 and 500 / 20; then E = 40 * 8 + 25 * 25 = 945, and 236.25 / 8 = 29.53
    assert fills_of(result) == [
        (1, 0, 40, 12.5),
        (1, 1, 25, 20),
        (2, 0, 29.53125 - 40, 8),
        (2, 1, -25, 25),
    ]
    assert [o.equity for o in result.orders] == [1000, 1000, near(945), near(945)]


def test_sized_at_the_fill_waits_with_its_weight():
    bars = quotes([10, None, (20, 20)], [10, (10, 10), (12, 12)])
    result = play(bars, {0: {0: 0.5, 1: 0.5}}, fill="next_open", size_at="fill")
    # E = 1000 - 500 + 50 * 12 = 1100 when A opens; 550 / 20, and cash is 500.
    assert fills_of(result) == [(1, 1, 50, 10), (2, 0, 25, 20)]
    assert result.orders[0].reasons == {"missing_bar", "scaled_to_cash"}
    assert result.orders[0].quantity == near(27.5)


def test_a_name_on_target_at_the_fill_keeps_its_row():
    result = play(quotes([10] * 4), {0: {0: 0.5}, 2: {0: 0.5}}, size_at="fill")
    assert fills_of(result) == [(1, 0, 50, 10)]
    assert [(o.status, o.quantity) for o in result.orders] == [
        ("filled", 50),
        ("filled", 0),
    ]


# ---------------------------------------------------------------- costs in the size


def test_costs_per_order():
    bars = quotes([10] * 4)
    costs = {"slippage_bps": 100, "commission_bps": 50, "commission_per_order": 2.0}
    decisions = {0: {0: 0.5}, 2: ("partial", {0: 0.2})}
    result = play(bars, decisions, costs_in_size="per_order", **costs)
    # q * 10.1 * 1.005 + 2 = 500
    bought = 498 / (10.1 * 1.005)
    # At 2: equity = 500 + bought * 10; value = 0.2 * equity - bought * 10 < 0, and
    # n * 9.9 * 0.995 - 2 = -value.
    equity = 500 + bought * 10
    value = 0.2 * equity - bought * 10
    sold = (2 - value) / (9.9 * 0.995)
    assert fills_of(result) == [(1, 0, bought, 10), (3, 0, -sold, 10)]
    assert result.cash == [1000, near(500), near(500), near(500 - value)]


def test_costs_per_order_of_a_short():
    costs = {"commission_bps": 100, "allow_short": True}
    result = play(quotes([10, 10]), {0: {0: -0.5}}, costs_in_size="per_order", **costs)
    # n * 10 * 0.99 = 500
    assert fills_of(result) == [(1, 0, -500 / 9.9, 10)]
    assert result.cash[-1] == near(1500)


def test_costs_per_order_never_flip_what_they_reduce():
    costs = {"commission_per_order": 60.0, "costs_in_size": "per_order"}
    decisions = {0: {0: 0.16}, 2: {0: 0.02}}
    result = play(quotes([10] * 4), decisions, **costs)
    # 10 units for 160; to bring 100 - 18.8 = 81.2, 14.12 units would have to go.
    assert fills_of(result) == [(1, 0, 10, 10), (3, 0, -10, 10)]


def test_costs_per_order_sell_what_brings_in_the_most_when_nothing_suffices():
    bars = quotes([{"close": 10, "volume": 100.0}] * 2)
    options = {"volume_impact": 0.3, "allow_short": True, "max_gross": 2.0}
    options["costs_in_size"] = "per_order"
    # The smallest of the two solutions of n * 10 * (1 - 0.3 * (n / 100) ** 2) = 500.
    result = play(bars, {0: {0: -0.5}}, **options)
    n = -result.fills[0].quantity
    assert n * 10 * (1 - 0.3 * (n / 100) ** 2) == near(500)
    assert n < 100
    # At most 702.73 come in, at 0.9 * (n / 100) ** 2 = 1.
    world = world_of(bars, {0: {0: -0.9}}, **options)
    assert -world.oracle().fills[0].quantity == near(100 / 0.9**0.5)
    # The top is flat, and so only as good as half of the digits.
    assert -world.run().fills["quantity"][0] == near(100 / 0.9**0.5)


def test_costs_in_the_size_of_a_portfolio():
    bars = quotes([10, 12], [20, 20])
    options = {"commission_bps": 100, "costs_in_size": "portfolio"}
    result = play(bars, {0: {0: 0.5, 1: 0.5}}, **options)
    # E' + 0.01 * E' = 1000
    after = 1000 / 1.01
    assert fills_of(result) == [(1, 0, after / 24, 12), (1, 1, after / 40, 20)]
    assert result.cash[-1] == near(0, abs=1e-8)
    assert result.equity[-1] == near(after)


@examples(300)
@given(data=st.data())
def test_weights_after_the_fills_are_the_targets_of_the_equity_after_costs(data):
    n = data.draw(st.integers(1, 4), label="assets")
    price = st.sampled_from([3.0, 10.0, 33.33, 250.0])
    weight = st.sampled_from([-0.3, -0.1, 0.0, 0.05, 0.2, 1 / 3])
    first, second = (
        {i: data.draw(weight, label=f"weight {i}") for i in range(n)} for _ in range(2)
    )
    bars = quotes(*[[data.draw(price) for _ in range(4)] for _ in range(n)])
    options = Options(
        initial_cash=10_000.0,
        fill="next_close",
        allow_short=True,
        max_gross=2.0,
        costs_in_size="portfolio",
        commission_bps=data.draw(st.sampled_from([0.0, 20.0, 150.0])),
        commission_per_share=data.draw(st.sampled_from([0.0, 0.02])),
        commission_per_order=data.draw(st.sampled_from([0.0, 1.37])),
        commission_minimum=data.draw(st.sampled_from([0.0, 5.0])),
        slippage_bps=data.draw(st.sampled_from([0.0, 30.0])),
        volume_impact=data.draw(st.sampled_from([0.0, 0.1])),
    )
    decisions = {0: ("complete", first), 2: ("complete", second)}
    result = run_oracle(4, n, bars, decisions, options)
    for t, weights in ((1, first), (3, second)):
        if result.factors[t] or result.ruined_at is not None:
            return
        for i, target in weights.items():
            value = result.positions[t].get(i, 0.0) * bars[t, i]["close"]
            assert abs(value / result.equity[t] - target) <= 1e-9
        before = result.equity[t - 1] + sum(
            quantity * (bars[t, i]["close"] - bars[t - 1, i]["close"])
            for i, quantity in result.positions[t - 1].items()
        )
        costs = sum(
            f.commission + abs(f.quantity) * abs(f.price - f.base_price)
            for f in result.fills
            if f.t == t
        )
        assert result.equity[t] + costs == near(before, rel=1e-12)


# ---------------------------------------------------------------- costs


def test_commission_is_the_sum_of_its_parts_between_minimum_and_maximum():
    fee = {"commission_bps": 10, "commission_per_share": 0.1, "commission_per_order": 1}
    bars = quotes([10] * 2, [10] * 2, [10] * 2)
    bounds = {"commission_minimum": 2.5, "commission_maximum": 5.0}
    result = play(bars, {0: {0: 0.1, 1: 0.3, 2: 0.5}}, **fee, **bounds)
    # 0.1 + 1 + 1 = 2.1, 0.3 + 3 + 1 = 4.3, 0.5 + 5 + 1 = 6.5
    assert [f.commission for f in result.fills] == [2.5, near(4.3), 5.0]


def test_costs_by_asset_and_by_column():
    bars = quotes(
        [{"close": 10, "fee": 100.0, "bid": 9.0, "ask": 11.0}] * 2,
        [{"close": 10, "fee": 0.0, "bid": 10.0, "ask": 10.0}] * 2,
    )
    result = play(
        bars,
        {0: {0: 0.25, 1: 0.25}},
        commission_bps="fee",
        commission_per_order={0: 0.0, 1: 3.0},
        half_spread=("bid", "ask"),
    )
    # The spread of A is (11 - 9) / 20 = 0.1, its fee 1 % of 275.
    assert [f.price for f in result.fills] == [near(11), 10]
    assert [f.commission for f in result.fills] == [near(2.75), 3]


def test_columns_of_costs_are_read_on_the_bar_of_the_fill():
    bars = quotes([{"close": 10, "fee": 100.0}, {"close": 10, "fee": 300.0}])
    result = play(bars, {0: {0: 0.5}}, commission_per_order="fee")
    assert result.fills[0].commission == 300


def test_impact_grows_with_the_share_of_the_volume():
    bars = quotes([{"close": 10, "volume": 200.0}] * 2)
    options = {"volume_impact": 0.2, "sqrt_impact": 0.5, "volatility": 0.04}
    result = play(bars, {0: {0: 0.5}}, **options)
    # The share is 50 / 200 = 0.25: 0.2 / 16 + 0.5 * 0.04 * 0.5 = 0.0225
    assert result.fills[0].price == near(10.225)


def test_impact_needs_a_volume():
    bars = quotes([{"close": 10, "volume": v} for v in (1.0, 0.0, None, 200.0)])
    result = play(bars, {0: {0: 0.5}}, volume_impact=0.2)
    assert fills_of(result) == [(3, 0, 50, 10)]
    assert result.orders[0].reasons == {"no_volume"}


def test_a_sell_gets_no_less_than_nothing():
    bars = quotes([{"close": 10, "volume": 10.0}] * 2)
    options = {"volume_impact": 1.0, "allow_short": True, "commission_bps": 100}
    result = play(bars, {0: {0: -0.5}}, **options)
    # The share is 5 and s = 25.
    assert result.fills[0].price == 0
    assert result.cash[-1] == 1000


# ---------------------------------------------------------------- sequence and cash


@pytest.mark.parametrize(
    ("sequence", "order"),
    [
        ("sells_first", [(1, -15), (3, -30), (0, 5), (2, 30)]),
        ("exits_first", [(0, 5), (1, -15), (3, -30), (2, 30)]),
        ("value_ascending", [(3, -30), (1, -15), (0, 5), (2, 30)]),
        ("asset_order", [(0, 5), (1, -15), (2, 30), (3, -30)]),
    ],
)
def test_sequence(sequence, order):
    # A covers 5 of 20, B sells 15 of 20, C buys 30, D opens a short of 30.
    bars = quotes(*[[10] * 4] * 4)
    first, second = {0: -0.2, 1: 0.2}, {0: -0.15, 1: 0.05, 2: 0.3, 3: -0.3}
    options = {"cash_rule": "allow", "allow_short": True, "sequence": sequence}
    result = play(bars, {0: first, 2: second}, **options)
    assert fills_of(result)[2:] == [(3, i, q, 10) for i, q in order]


def test_value_ascending_breaks_ties_by_asset():
    bars = quotes([10] * 2, [20] * 2, [10] * 2)
    options = {"cash_rule": "allow", "sequence": "value_ascending"}
    result = play(bars, {0: {0: 0.3, 1: 0.3, 2: 0.2}}, **options)
    assert [f.asset for f in result.fills] == [2, 0, 1]


@pytest.mark.parametrize(
    ("rule", "bought", "reasons"),
    [
        ("partial", [40, 28], [set(), {"partial_cash"}]),
        ("reject", [40], [set(), {"rejected_for_cash"}]),
        ("allow", [40, 50], [set(), set()]),
    ],
)
def test_cash_rules_one_by_one(rule, bought, reasons):
    bars = quotes([10, 11], [10, 20])
    result = play(bars, {0: {0: 0.4, 1: 0.5}}, cash_rule=rule)
    # 40 * 11 = 440; 560 are left for 50 * 20.
    assert [f.quantity for f in result.fills] == near(bought)
    assert [o.reasons for o in result.orders] == reasons


def test_partial_cash_pays_commission_and_buys_whole_lots():
    bars = quotes([10, 11], [10, 20])
    options = {"cash_rule": "partial", "rounding": "whole_target", "lot_size": 5.0}
    result = play(bars, {0: {0: 0.4, 1: 0.5}}, commission_per_order=3.0, **options)
    # 1000 - 443 = 557 are left: (557 - 3) / 20 = 27.7, in lots of 5: 25
    assert [f.quantity for f in result.fills] == [40, 25]


def test_reject_keeps_the_part_of_a_flip_that_covers():
    options = {"cash_rule": "reject", "allow_short": True}
    result = play(quotes([10, 10, 10, 18]), {0: {0: -0.5}, 2: {0: 1.0}}, **options)
    # 1500 of cash; 150 at 18 cost 2700, 50 cost 900.
    assert fills_of(result) == [(1, 0, -50, 10), (3, 0, 50, 18)]
    assert result.orders[-1].reason == "rejected_for_cash"


def test_borrowing_lowers_the_floor():
    bars = quotes([10, 10], [10, 10])
    options = {"cash_rule": "partial", "max_borrowing": 0.25, "max_gross": 2.0}
    result = play(bars, {0: {0: 0.8, 1: 0.8}}, **options)
    assert [f.quantity for f in result.fills] == near([80, 45])
    assert result.cash[-1] == near(-250)


# ---------------------------------------------------------------- carry


def test_interest_on_cash_and_debt():
    bars = quotes([10] * 4)
    rates = {"cash_rate": 0.12, "debit_rate": 0.24, "bars_per_year": 12.0}
    options = {"max_gross": 2.0, "max_borrowing": 1.0}
    result = play(bars, {0: {0: 2.0}}, **rates, **options)
    # 1 % of 1000 on bar 1, then 2 % of the debt of 990, and of 1009.80.
    amounts = [(f.t, f.kind, near(f.amount)) for f in result.flows]
    assert amounts == [
        (1, "interest", 10),
        (2, "interest", -19.8),
        (3, "interest", -0.02 * 1009.8),
    ]


def test_borrow_cost_of_shorts_is_that_of_the_bar_before():
    bars = quotes(
        [{"close": c, "rate": r} for c, r in ((10, 1.2), (10, 0.12), (20, 0.6))],
        [10, 10, 10],
    )
    for row in bars.values():
        row.setdefault("rate", 2.4)
    options = {"borrow_rate": "rate", "bars_per_year": 12.0, "allow_short": True}
    result = play(bars, {0: {0: -0.3, 1: 0.3}}, **options)
    # Short from bar 1: 30 * 10 * 0.12 / 12 on bar 2.
    assert [(f.t, f.kind, near(f.amount)) for f in result.flows] == [
        (2, "borrow_cost", -3)
    ]


def test_a_split_changes_units_and_what_belongs_to_them():
    actions = [Action(t=2, kind="split", asset=0, value=2.0)]
    bars = quotes([10, 10, (5, 5), {"open": 5, "high": 5, "low": 4.4, "close": 4.6}])
    result = play(bars, {0: {0: 0.5}}, actions=actions, stop_loss=0.1)
    # 50 at 10 are 100 at 5, with the stop at 4.5.
    assert result.equity == [1000, 1000, 1000, near(950)]
    assert exits_of(result) == [(3, "stop_loss", 4.5)]
    assert [(f.kind, f.quantity) for f in result.flows] == [("split", 50)]


def test_a_split_divides_the_last_close_and_multiplies_what_waits():
    actions = [Action(t=2, kind="split", asset=0, value=4.0)]
    bars = quotes([10, None, None, 2.5], [10] * 4)
    decisions = {0: {0: 0.4}}
    result = play(bars, decisions, actions=actions)
    assert fills_of(result) == [(3, 0, 160, 2.5)]
    assert result.orders[0].quantity == 160
    bars = quotes([10, 10, None, None, 2.5], [10] * 5)
    result = play(bars, {0: {0: 0.4}, 2: {0: 0.8}}, actions=actions)
    # On bar 2 the last known close is 2.5: 320 are wanted, 160 held.
    assert result.equity == [1000] * 5
    assert fills_of(result) == [(1, 0, 40, 10), (4, 0, 160, 2.5)]


def test_dividends_follow_splits_and_shorts_pay():
    actions = [
        Action(t=2, kind="dividend", asset=0, value=0.5),
        Action(t=2, kind="split", asset=0, value=2.0),
        Action(t=2, kind="dividend", asset=1, value=1.0),
        Action(t=2, kind="dividend", asset=2, value=1.0),
    ]
    bars = quotes([10, 10, 5], [10] * 3, [10] * 3)
    options = {"allow_short": True}
    result = play(bars, {0: {0: 0.5, 1: -0.2}}, actions=actions, **options)
    assert [(f.kind, f.asset, f.amount) for f in result.flows[1:]] == [
        ("dividend", 0, 50),
        ("dividend", 1, -20),
    ]
    assert result.cash[-1] == near(700 + 50 - 20)


@pytest.mark.parametrize(
    ("value", "delisted", "cash"),
    [
        (-0.3, "hold", 850),
        (-1.0, "cash_out", 500),
        (None, "hold", 500),
        (None, "cash_out", 1000),
        (None, "write_off", 500),
    ],
)
def test_a_delisting_closes_or_keeps(value, delisted, cash):
    actions = [Action(t=2, kind="delisting", asset=0, value=value)]
    costs = {"commission_per_order": 0.0, "slippage_bps": 0.0}
    bars = quotes([10, 10, None, None], [10] * 4)
    decisions = {0: {0: 0.5}, 1: {0: 0.2}}
    result = play(bars, decisions, actions=actions, delisted=delisted, **costs)
    assert result.cash[-1] == near(cash)
    assert result.orders[-1].reason == "delisted"
    closed = value is not None or delisted != "hold"
    assert [f.reason for f in result.fills] == ["order"] + ["delisted"] * closed


def test_an_asset_is_delisted_after_bars_without_data_and_may_come_back():
    bars = quotes([10, 10, None, None, None, 12, 12], [10] * 7)
    options = {"delisted": "cash_out", "delist_after_bars": 2}
    decisions = {0: {0: 0.5}, 2: ("partial", {0: 0.1}), 5: ("partial", {0: 0.6})}
    result = play(bars, decisions, **options)
    # Bars 2 and 3 have no data: closed at 10 at the beginning of bar 3.
    assert [(f.t, f.reason) for f in result.fills] == [
        (1, "order"),
        (3, "delisted"),
        (6, "order"),
    ]
    assert result.orders[1].reasons == {"delisted"}


def test_deposits_and_withdrawals_move_cash_before_the_fills():
    actions = [
        Action(t=0, kind="deposit", value=200.0),
        Action(t=1, kind="withdrawal", value=900.0),
    ]
    result = play(quotes([10, 10]), {0: {0: 0.5}}, actions=actions)
    # 60 are wanted of an equity of 1200; 300 are left for them.
    assert result.equity == [1200, 300]
    assert fills_of(result) == [(1, 0, 30, 10)]


# ---------------------------------------------------------------- margin


def test_a_margin_call_reduces_what_trades_by_one_factor():
    bars = quotes([10, 10, 16], [10, 10, 10], [10, 10, None])
    options = {"allow_short": True, "max_gross": 2.0, "maintenance": 0.4}
    decisions = {0: {0: -0.8, 1: 0.4, 2: 0.2}}
    result = play(bars, decisions, **options)
    # Equity 1000 - 80 * 6 = 520; gross 1280 + 400 + 200, of which 40 % are 752.
    # 520 = 0.4 * (200 + f * 1680), f = 1100 / 1680.
    f = 1100 / 1680
    assert fills_of(result)[3:] == [(2, 0, 80 * (1 - f), 16), (2, 1, -40 * (1 - f), 10)]
    assert {fill.reason for fill in result.fills[3:]} == {"margin_call"}
    assert result.equity[-1] == near(520)


def test_a_margin_call_pays_costs_out_of_the_margin():
    options = {"max_gross": 2.0, "max_borrowing": 1.0, "maintenance": 0.45}
    costs = {"commission_bps": 100}
    result = play(quotes([10, 10, 8]), {0: {0: 1.5}}, **options, **costs)
    # 150 at 10 cost 1515: cash -515, equity 685 of 1200.  At 0.57 there is no call.
    assert len(result.fills) == 1
    result = play(quotes([10, 10, 6]), {0: {0: 1.5}}, **options, **costs)
    # Equity 385 of 900: 385 - 0.01 * (1 - f) * 900 = 0.45 * f * 900
    f = (385 - 9) / (405 - 9)
    assert fills_of(result)[1:] == [(2, 0, -150 * (1 - f), 6)]


def test_a_margin_call_rounds_up_to_lots_and_cancels_what_waits():
    options = {"max_gross": 2.0, "max_borrowing": 1.0, "maintenance": 0.6}
    shares = {"rounding": "whole_target", "lot_size": 10.0}
    decisions = {0: {0: 1.5}, 1: {0: 1.4}}
    bars = quotes([10, 10, (None, 6), 6])
    result = play(bars, decisions, fill="next_open", **options, **shares)
    # 150 at 10: cash -500.  On bar 2 an order of -10 meets no open; equity is 400 of
    # 900, 400 = 0.6 * f * 900, and 150 * (1 - f) = 38.9 are 40 in lots of 10.
    assert fills_of(result) == [(1, 0, 150, 10), (2, 0, -40, 6)]
    assert result.orders[1].reasons == {"missing_bar", "cancelled_by_margin_call"}


def test_a_margin_call_sells_only_what_has_a_bar():
    bars = quotes([10, 10, 4], [10, 10, None])
    options = {"max_gross": 2.0, "max_borrowing": 1.0, "maintenance": 0.8}
    costs = {"commission_per_order": 30.0}
    result = play(bars, {0: {0: 0.6, 1: 0.5}}, **options, **costs)
    # Cash is 1000 - 1100 - 60.  Equity 240 + 500 - 160 = 580 is less than 0.8 * 740:
    # 580 - 30 = 0.8 * (500 + f * 240), f = 150 / 192.
    assert fills_of(result)[2:] == [(2, 0, -60 * (1 - 150 / 192), 4)]


def test_a_margin_call_of_everything():
    bars = quotes([10, 10, 4])
    options = {"max_gross": 2.0, "max_borrowing": 1.0, "maintenance": 0.25}
    costs = {"commission_per_order": 195.0}
    result = play(bars, {0: {0: 1.2}}, **options, **costs)
    # 120 at 10 and 195: cash -395, equity 85 of 480.  The commission ruins the account
    # whatever is sold: f is 0.
    assert [f.reason for f in result.fills] == ["order", "margin_call"]
    assert result.ruined_at == 2
    assert result.equity[-1] == near(-110)
