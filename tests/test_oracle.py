"""The engine gives what the oracle gives, on worlds drawn by hypothesis.

The first part checks the oracle itself on cases worked out by hand; there are more of
them in ``test_oracle_rules.py``.  In the second part, defaults with a few options, and
in the third, every option, BARLOOP_EXAMPLES sets the number of worlds.  A world in
which the oracle meets a threshold nearer than rounding errors reach
(`OracleResult.edges`, about four in a hundred) is passed over: there two correct
programs may differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from comparison import Comparison, check_world
from oracle import (
    Bars,
    Book,
    Buy,
    Options,
    OracleResult,
    Terms,
    cash_factor,
    cost_of,
    run_oracle,
)
from strategies import World, examples, worlds
from strategies_full import full_worlds

# ---------------------------------------------------------------- the oracle by hand


def market(*assets: Iterable[Any]) -> Bars:
    """Make bars of prices by asset: a number, a pair (open, close), or None."""
    bars = {}
    for i, prices in enumerate(assets):
        for t, price in enumerate(prices):
            if price is not None:
                opens, close = price if isinstance(price, tuple) else (price, price)
                bars[t, i] = {"open": opens, "close": close}
    return bars


def by_hand(bars: Bars, decisions: dict[int, Any], **options: Any) -> OracleResult:
    n_bars = 1 + max(t for t, _ in bars)
    n_assets = 1 + max(i for _, i in bars)
    options = {"initial_cash": 1000.0, "fill": "next_close"} | options
    full = {
        t: ("complete", decision) if isinstance(decision, dict) else decision
        for t, decision in decisions.items()
    }
    return run_oracle(n_bars, n_assets, bars, full, Options(**options))


def fills_of(result: OracleResult) -> list[tuple[int, int, float]]:
    return [(f.t, f.asset, pytest.approx(f.quantity)) for f in result.fills]


def test_oracle_fills_at_the_open_and_marks_at_the_close():
    result = by_hand(market([10, (12.5, 15)]), {0: {0: 0.5}}, fill="next_open")
    # 0.5 * 1000 / 10 = 50 shares for 625, worth 750 at the close
    assert fills_of(result) == [(1, 0, 50)]
    assert result.cash == [1000, 375]
    assert result.equity == [1000, 1125]


def test_oracle_scales_all_opening_buys_by_one_factor():
    bars = market([10, 11], [20, 20])
    result = by_hand(bars, {0: {0: 0.5, 1: 0.5}})
    # wanted 50 * 11 + 25 * 20 = 1050, so f = 1000 / 1050
    assert fills_of(result) == [(1, 0, 50 / 1.05), (1, 1, 25 / 1.05)]
    assert result.cash[1] == pytest.approx(0, abs=1e-8)
    assert result.cash[1] > 0
    assert [order.status for order in result.orders] == ["partial"] * 2


def test_oracle_hands_one_more_share_to_the_largest_remainder():
    bars = market([10, 11], [20, 20])
    result = by_hand(bars, {0: {0: 0.5, 1: 0.5}}, rounding="whole_target")
    # f * 50 = 47.62, f * 25 = 23.81: 47 and 23 leave 23; asset 1 is first and takes 20
    assert fills_of(result) == [(1, 0, 47), (1, 1, 24)]
    assert result.cash[1] == 3


def test_oracle_solves_for_the_factor_with_a_minimum_commission():
    bars = market([10, 11], [20, 20])
    costs = {"commission_bps": 100, "commission_minimum": 5}
    result = by_hand(bars, {0: {0: 0.5, 1: 0.5}}, **costs)
    # 550 f * 1.01 + 500 f + 5 = 1000: the second fill is below 500 and pays 5
    factor = 995 / (550 * 1.01 + 500)
    assert fills_of(result) == [(1, 0, 50 * factor), (1, 1, 25 * factor)]
    assert [f.commission for f in result.fills] == pytest.approx([5.5 * factor, 5])


def test_oracle_has_no_cash_for_two_minimum_commissions():
    bars = market([10, 10], [10, 10])
    result = by_hand(bars, {0: {0: 0.5, 1: 0.5}}, commission_minimum=500)
    # the two minimums alone take all of the 1000, so no factor above 0 is possible
    assert result.fills == []
    assert {order.status for order in result.orders} == {"none"}
    assert {order.reason for order in result.orders} == {"scaled_to_cash"}


def test_oracle_scales_only_the_opening_part_of_a_flip():
    decisions = {0: {0: -1.0}, 1: {0: 1.0}}
    result = by_hand(market([10, 10, 12]), decisions, allow_short=True)
    # short 100 at 10, cash 2000; target +100, so 200 are wanted at 12
    # 100 cover for 1200, 800 are left for 1200: f = 2/3
    assert fills_of(result) == [(1, 0, -100), (2, 0, 100 + 100 * 2 / 3)]


def test_oracle_sells_first_then_covers_then_opens():
    bars = market([10, 10, 10], [10, 10, 10], [10, 10, 10])
    decisions = {0: {1: -0.25, 2: 0.25}, 1: {0: 0.5}}
    result = by_hand(bars, decisions, allow_short=True)
    assert fills_of(result) == [
        (1, 1, -25),
        (1, 2, 25),
        (2, 2, -25),
        (2, 1, 25),
        (2, 0, 50),
    ]


def test_oracle_keeps_an_order_waiting_for_a_bar_until_it_is_replaced():
    bars = market([10, None, None, 10], [10, 10, 10, 10])
    result = by_hand(bars, {0: {0: 0.5}, 2: ("partial", {0: 0.2})})
    first, second = result.orders
    assert (first.reasons, first.status) == ({"missing_bar", "replaced"}, "none")
    assert (second.reasons, second.status) == (set(), "filled")
    assert fills_of(result) == [(3, 0, 20)]


def test_oracle_closes_a_ruined_account_at_the_last_close_without_cost():
    costs = {"slippage_bps": 100, "commission_minimum": 1.0}
    bars = market([10, 10, 25, 50])
    result = by_hand(bars, {0: {0: -1.0}, 3: {0: -1.0}}, allow_short=True, **costs)
    # sells 100 at 9.90 less 1: cash 1989; at 25 the short is worth -2500
    assert result.equity == [1000, pytest.approx(989), -511, -511]
    assert result.ruined_at == 2
    assert result.fills[-1].reason == "ruined"
    assert result.fills[-1].commission == 0
    assert len(result.orders) == 1


def test_oracle_leaves_what_is_below_the_minimum_alone_but_closes():
    bars = market([10, 10, 11, 11, 11])
    decisions = {0: {0: 0.5}, 2: {0: 0.5}, 3: {}}
    result = by_hand(bars, decisions, min_trade_value=600)
    assert result.fills == []
    result = by_hand(bars, decisions, min_trade_value=400)
    # at 2: equity 1050, target 47.73, 2.27 * 11 = 25 is below the minimum
    assert fills_of(result) == [(1, 0, 50), (4, 0, -50)]
    assert result.orders[1].reason == "below_min_trade_value"


@examples(300)
@given(
    quantities=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    covers=st.lists(st.integers(0, 20), min_size=5, max_size=5),
    available=st.floats(-50, 1500),
    bps=st.sampled_from([0.0, 10.0, 150.0]),
    minimum=st.sampled_from([0.0, 1.01, 23.17]),
)
def test_oracle_factor_is_the_largest_that_cash_allows(
    quantities, covers, available, bps, minimum
):
    terms = Terms(bps=bps, minimum=minimum)
    book = Book(options=Options(), result=OracleResult(), cash=0.0)
    buys = [
        Buy(order=None, base=p, terms=terms, cover=cover, wanted=wanted, opening=wanted)
        for wanted, cover, p in zip(
            quantities, covers, (7, 10, 3, 25, 10), strict=False
        )
    ]

    def cost(factor):
        return sum(cost_of(buy, factor * buy.wanted) for buy in buys)

    factor = cash_factor(book, buys, available)
    if factor > 0:
        assert cost(factor) <= available + 1e-9
    if factor < 1:
        assert cost(factor + 1e-9) > available - 1e-9


# ---------------------------------------------------------------- engine == oracle


@examples(300)
@given(world=worlds())
def test_engine_equals_oracle(world):
    check_world(world)


@examples(100)
@given(world=worlds(max_bars=25, max_assets=8, rounding="whole_target"))
def test_engine_equals_oracle_with_whole_lots(world):
    check_world(world)


@examples(100)
@given(
    world=worlds(
        tempers=("doomed", "doomed", "broken"),
        allow_short=True,
        max_gross=2.0,
        max_borrowing=1.0,
    )
)
def test_engine_equals_oracle_with_leverage_that_ruins(world):
    check_world(world)


@examples(100)
@given(world=worlds(tempers=("lively",), allow_short=True, commission_minimum=23.17))
def test_engine_equals_oracle_with_flips_and_a_minimum_commission(world):
    check_world(world)


@examples(60)
@given(world=worlds(tempers=("constant", "constant with gaps")))
def test_engine_equals_oracle_where_prices_repeat(world):
    check_world(world)


@examples(60)
@given(
    world=worlds(
        max_bars=6,
        tempers=("constant", "quiet"),
        first_prices=(10.0, 20.0),
        rounding="whole_target",
        lot_size=1.0,
        initial_cash=1234.56,
        commission_bps=150.0,
        max_gross=1.0,
        max_borrowing=0.0,
        min_trade_value=0.0,
    )
)
def test_engine_equals_oracle_where_remainders_are_equal(world):
    check_world(world)


@examples(60)
@given(
    world=worlds(
        tempers=("no opens", "broken"),
        fill="next_open",
        allow_short=True,
        max_gross=2.0,
        max_borrowing=0.5,
    )
)
def test_engine_equals_oracle_where_opens_are_missing(world):
    check_world(world)


def test_engine_equals_oracle_where_a_step_begins_with_negative_equity():
    # Long 60 A, short 100 B at 10; cash 1400.  At the next open B costs 25: equity is
    # 1400 + 600 - 2500 = -500 there, so with max_borrowing=0.5 the floor is +250, and
    # C, wanted for 100 * 12, gets the 1150 above it.  At the close B is back at 10.
    bars = market([10, 10, 10, 10], [10, 10, (25, 10), 10], [10, 10, 12, 10])
    decisions = {
        0: ("complete", {0: 0.6, 1: -1.0}),
        1: ("partial", {2: 1.0}),
        2: ("partial", {2: 1.5}),
    }
    options = {"allow_short": True, "max_gross": 2.0, "max_borrowing": 0.5}
    world = small_world(bars, decisions, **options)
    expected = world.oracle()
    assert expected.factors[2] == pytest.approx([(1400 - 250) / 1200])
    Comparison(world).check(world.run(), expected)


def test_engine_equals_oracle_where_three_names_tie_for_two_lots():
    # A third of 1000 each at 10 is 33 shares; with 1.5 % all cost 1004.85, f = 0.995.
    # 32 each cost 974.40; 25.60 are left for two lots of 10.15: the first two names.
    bars = market([10, 10], [10, 10], [10, 10])
    decisions = {0: ("complete", dict.fromkeys(range(3), 1 / 3))}
    options = {"rounding": "whole_target", "commission_bps": 150.0}
    world = small_world(bars, decisions, **options)
    expected = world.oracle()
    assert [fill.quantity for fill in expected.fills] == [33, 33, 32]
    Comparison(world).check(world.run(), expected)


def small_world(bars: Bars, decisions: dict[int, Any], **options: Any) -> World:
    return World(
        n_bars=1 + max(t for t, _ in bars),
        assets=("A", "B", "C")[: 1 + max(i for _, i in bars)],
        rows={key: dict(bar) for key, bar in bars.items()},
        decisions=decisions,
        options=Options(initial_cash=1000.0, **options),
        seed=0,
    )


@examples(60)
@given(world=worlds(partial=False), data=st.data())
def test_engine_equals_oracle_for_each_columnar_form(world, data):
    check_columnar(world, data)


def check_columnar(world: World, data: Any) -> None:
    form = data.draw(st.sampled_from(["frame", "column", "expression"]), label="form")
    world = world if form == "frame" else world.columnar()
    forms = {
        "frame": world.weights_frame(),
        "column": "weight",
        "expression": pl.col("weight"),
    }
    check_world(world, forms[form])


@examples(60)
@given(world=worlds(), n=st.integers(1, 4))
def test_engine_equals_oracle_on_a_schedule_of_every_nth_bar(world, n):
    decisions = {t: d for t, d in world.decisions.items() if t % n == 0}
    expected = world.with_decisions(decisions).oracle()
    assume(not expected.edges)
    Comparison(world).check(world.run(schedule=n), expected)


@examples(60)
@given(world=worlds(min_bars=3), data=st.data())
def test_engine_equals_oracle_between_start_and_end(world, data):
    check_between(world, data)


def check_between(world: World, data: Any) -> None:
    """Compare a run with a start and an end with the oracle on what they leave."""
    start = data.draw(st.integers(0, world.n_bars - 1), label="start")
    end = data.draw(st.integers(start, world.n_bars - 1), label="end")
    decisions = {t: d for t, d in world.decisions.items() if start <= t <= end}
    world = world.anchored()
    cut = world.with_decisions(decisions).prefix(end + 1)
    expected = cut.oracle(start=start)
    assume(not expected.edges)
    timestamps = world.timestamps
    result = world.run(start=timestamps[start], end=timestamps[end])
    Comparison(cut, start=start).check(result, expected)


# ---------------------------------------------------------------- every option


@examples(500)
@given(world=full_worlds())
def test_engine_equals_oracle_with_every_option(world):
    check_world(world)


@examples(100)
@given(world=full_worlds(on=("exits",), tempers=("lively", "broken", "quiet")))
def test_engine_equals_oracle_with_exits(world):
    check_world(world)


@examples(60)
@given(
    world=full_worlds(
        on=("exits", "short", "actions"), fill="next_open", tempers=("lively", "wild")
    )
)
def test_engine_equals_oracle_with_exits_at_the_open(world):
    check_world(world)


@examples(100)
@given(world=full_worlds(on=("size", "commission", "slippage")))
def test_engine_equals_oracle_with_costs_in_the_size(world):
    check_world(world)


@examples(60)
@given(world=full_worlds(on=("size", "short"), costs_in_size="portfolio"))
def test_engine_equals_oracle_with_exact_portfolios(world):
    check_world(world)


@examples(100)
@given(world=full_worlds(on=("rounding", "cash"), max_gross=2.0))
def test_engine_equals_oracle_with_each_rounding_and_cash_rule(world):
    check_world(world)


@examples(60)
@given(world=full_worlds(on=("participation", "impact")))
def test_engine_equals_oracle_with_volumes(world):
    check_world(world)


@examples(60)
@given(world=full_worlds(on=("weights", "orders", "turnover", "short")))
def test_engine_equals_oracle_with_limits(world):
    check_world(world)


@examples(60)
@given(
    world=full_worlds(
        on=("margin", "short", "drawdown"),
        max_gross=2.0,
        tempers=("lively", "wild", "doomed"),
    )
)
def test_engine_equals_oracle_with_margin_calls(world):
    check_world(world)


@examples(60)
@given(world=full_worlds(on=("actions", "financing", "silence", "short")))
def test_engine_equals_oracle_with_carry(world):
    check_world(world)


@examples(60)
@given(world=full_worlds(min_bars=4), data=st.data())
def test_engine_equals_oracle_with_every_option_between_start_and_end(world, data):
    check_between(world, data)


@examples(60)
@given(world=full_worlds(partial=False), data=st.data())
def test_engine_equals_oracle_with_every_option_for_each_columnar_form(world, data):
    check_columnar(world, data)
