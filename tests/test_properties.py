"""Laws that every run obeys, on worlds drawn by hypothesis.

Where a law says that two runs are the same, they are the same bit for bit.
BARLOOP_EXAMPLES sets the number of worlds.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import barloop as bl
from comparison import assert_same_bits, assert_same_runs
from strategies import World, examples, worlds

DECIDED = [  # what an order is, known when it is decided
    "order_id",
    "timestamp",
    "asset",
    "position_before",
    "weight_before",
    "target_weight",
    "equity",
    "price",
    "quantity",
]


def rows_by_bar(world: World, frame: pl.DataFrame) -> dict[int, list[dict[str, Any]]]:
    """Return the rows of a result frame by bar number."""
    bar = {timestamp: t for t, timestamp in enumerate(world.timestamps)}
    rows = defaultdict(list)
    for row in frame.iter_rows(named=True):
        rows[bar[row["timestamp"]]].append(row)
    return rows


def positions_by_bar(world: World, result: Any) -> dict[int, dict[str, float]]:
    rows = rows_by_bar(world, result.positions)
    return {
        t: {row["asset"]: row["position"] for row in rows[t]}
        for t in range(world.n_bars)
    }


# ---------------------------------------------------------------- money


@examples(100)
@given(world=worlds())
def test_equity_is_cash_plus_position_values(world):
    result = world.run()
    values = rows_by_bar(world, result.positions)
    for t, row in enumerate(result.equity.iter_rows(named=True)):
        total = row["cash"] + sum(position["position_value"] for position in values[t])
        size = abs(row["cash"]) + row["gross_exposure"]
        assert row["equity"] == pytest.approx(total, rel=0, abs=1e-14 * size)


@examples(100)
@given(world=worlds())
def test_closed_and_open_pnl_are_the_change_of_equity(world):
    result = world.run()
    position, entry = defaultdict(float), defaultdict(float)
    closed = 0.0
    moved = world.options.initial_cash
    for fill in result.fills.iter_rows(named=True):
        asset, quantity, price = fill["asset"], fill["quantity"], fill["price"]
        moved += abs(quantity * price)
        closed -= fill["commission"]
        reduced = 0.0
        if position[asset] * quantity < 0:
            reduced = math.copysign(min(abs(quantity), abs(position[asset])), quantity)
            closed -= reduced * (price - entry[asset])
        after = position[asset] + quantity
        opened = quantity - reduced
        if opened and after:
            kept = after - opened
            entry[asset] = (kept * entry[asset] + opened * price) / after
        position[asset] = after
    last_close = last_closes(world)
    open_pnl = sum(
        quantity * (last_close[asset] - entry[asset])
        for asset, quantity in position.items()
        if quantity
    )
    change = result.final_equity - world.options.initial_cash
    assert closed + open_pnl == pytest.approx(change, rel=0, abs=1e-11 * moved)


def last_closes(world: World) -> dict[str, float]:
    return {
        world.assets[i]: world.rows[t, i]["close"]
        for t, i in sorted(world.rows)
        if world.has_bar(t, i)
    }


@examples(60)
@given(world=worlds())
def test_zero_weights_keep_cash(world):
    nothing = {
        t: (kind, dict.fromkeys(weights, 0.0))
        for t, (kind, weights) in world.decisions.items()
    }
    result = world.with_decisions(nothing).run()
    assert result.equity["cash"].unique().to_list() == [world.options.initial_cash]
    assert result.equity["equity"].unique().to_list() == [world.options.initial_cash]
    assert result.fills.is_empty()
    assert result.orders.is_empty()
    assert result.positions.is_empty()


@examples(100)
@given(world=worlds())
def test_costs_never_raise_equity_on_a_fixed_path_of_positions(world):
    result = world.run()
    fills = rows_by_bar(world, result.fills)
    paid, moved = 0.0, world.options.initial_cash
    free_cash = world.options.initial_cash
    for t, row in enumerate(result.equity.iter_rows(named=True)):
        for fill in fills[t]:
            side = math.copysign(1, fill["quantity"])
            assert fill["commission"] >= 0
            assert side * (fill["price"] - fill["base_price"]) >= 0
            free_cash -= fill["quantity"] * fill["base_price"]
            paid += fill["commission"] + fill["slippage"]
            moved += abs(fill["quantity"] * fill["price"])
        free_equity = free_cash + (row["equity"] - row["cash"])
        assert row["equity"] <= free_equity + 1e-11 * moved
        assert free_equity - row["equity"] == pytest.approx(paid, abs=1e-11 * moved)


@examples(60)
@given(world=worlds(rounding="fractional"))
def test_doubling_the_account_doubles_everything(world):
    o = world.options
    doubled = world.with_options(
        initial_cash=2 * o.initial_cash,
        commission_minimum=2 * o.commission_minimum,
        min_trade_value=2 * o.min_trade_value,
    )
    once, twice = world.run(), doubled.run()
    for column in ("cash", "equity", "commission", "slippage"):
        assert (2 * once.equity[column]).to_list() == twice.equity[column].to_list()
    assert (2 * once.fills["quantity"]).to_list() == twice.fills["quantity"].to_list()
    assert once.orders["reasons"].to_list() == twice.orders["reasons"].to_list()


# ---------------------------------------------------------------- order of the input


@examples(60)
@given(world=worlds(), data=st.data())
def test_permuting_rows_and_columns_changes_nothing(world, data):
    names = data.draw(st.permutations(world.frame().columns))
    weights, config = world.callback(), world.config()
    expected = world.run(order="sorted")
    for order in ("shuffled", "by_asset"):
        assert_same_runs(world.run(order=order), expected)
    frame = world.frame().select(names)
    assert_same_runs(bl.run_backtest(frame, weights, config=config), expected)
    panel = bl.Panel.from_frame(frame)
    assert_same_runs(bl.run_backtest(panel, weights, config=config), expected)


@examples(60)
@given(world=worlds(rounding="fractional"), seed=st.integers(0, 1000))
def test_renaming_assets_changes_only_the_order_of_additions(world, seed):
    renamed, places = world.permuted(seed)
    assume(not world.oracle().edges)
    assume(not renamed.oracle().edges)
    result, other = world.run(), renamed.run()
    cash = world.options.initial_cash
    assert_frame_equal(
        result.equity.select("cash", "equity", "commission"),
        other.equity.select("cash", "equity", "commission"),
        rel_tol=1e-9,
        abs_tol=1e-9 * cash,
    )
    new_name = {world.assets[i]: world.assets[k] for i, k in enumerate(places)}
    named = result.orders.with_columns(pl.col("asset").replace_strict(new_name))
    columns = ["timestamp", "asset", "status", "reason", "reasons"]
    assert_frame_equal(
        named.select(columns), other.orders.select(columns), check_row_order=False
    )


@examples(60)
@given(world=worlds())
def test_the_input_is_not_modified(world):
    frame, copy = world.frame(), world.frame()
    bl.run_backtest(frame, world.callback(), config=world.config())
    assert_same_bits(frame, copy)


@examples(60)
@given(world=worlds())
def test_two_runs_have_identical_bits(world):
    assert_same_runs(world.run(), world.run())


@examples(60)
@given(world=worlds(partial=False))
def test_all_forms_of_weights_have_identical_bits(world):
    world = world.columnar()
    expected = world.run()
    forms = [
        world.array_callback(),
        world.array_callback(series=True),
        world.weights_frame(),
        "weight",
        pl.col("weight"),
        pl.col("weight") * pl.lit(1.0),
        lambda: "weight",
        lambda: pl.col("weight"),
        lambda: world.weights_frame(),
    ]
    for form in forms:
        assert_same_runs(world.run(form), expected)


@examples(60)
@given(world=worlds(partial=False))
def test_frame_and_callback_have_identical_bits_on_names_without_a_bar(world):
    assert_same_runs(world.run(world.weights_frame()), world.run())


@examples(60)
@given(world=worlds(min_bars=3))
def test_what_is_kept_does_not_change_what_is_computed(world):
    full = world.run(keep="full")
    equity = world.run(keep="equity")
    metrics = world.run(keep="metrics")
    assert_same_bits(full.equity, equity.equity)
    assert_same_bits(full.returns, equity.returns)
    assert full.metrics == equity.metrics == metrics.metrics
    assert full.final_equity == equity.final_equity == metrics.final_equity
    assert full.ruined_at == equity.ruined_at == metrics.ruined_at


# ---------------------------------------------------------------- time


def assert_same_until(world: World, shorter: Any, longer: Any, n_bars: int) -> None:
    """Raise unless the runs agree on the bars before `n_bars`.

    `shorter` may have ended there.  An order that still waits after those bars may
    end in any way later; all others have ended in the same way in both.
    """
    before = pl.col("timestamp") <= world.timestamps[n_bars - 1]
    for name in ("equity", "fills", "positions"):
        left, right = (getattr(run, name).filter(before) for run in (shorter, longer))
        assert_same_bits(left, right)
    left, right = (run.orders.filter(before) for run in (shorter, longer))
    # A later split restates the units of an order that still waits; `size_at="fill"`
    # sizes it later.
    waits = left["status"] == "waiting"
    asked = ["order_id", "timestamp", "asset", "target_weight", "limited_weight"]
    assert_same_bits(left.select(asked), right.select(asked))
    left_done, right_done = left.filter(~waits), right.filter(~waits)
    assert_same_bits(left_done.select(DECIDED), right_done.select(DECIDED))
    for row, later in zip(
        left.iter_rows(named=True), right.iter_rows(named=True), strict=True
    ):
        if row["status"] == "waiting":
            assert set(row["reasons"]) <= set(later["reasons"])
        else:
            assert row == later


@examples(100)
@given(world=worlds(min_bars=3), data=st.data())
def test_a_shorter_input_gives_a_prefix_of_the_longer_result(world, data):
    n_bars = data.draw(st.integers(1, world.n_bars - 1), label="bars kept")
    world = world.anchored()
    longer, shorter = world.run(), world.prefix(n_bars).run()
    assert_same_until(world, shorter, longer, n_bars)
    waiting = shorter.orders.filter(status="waiting")
    assert set(waiting["order_id"]) == set(shorter.next_orders["order_id"])


@examples(60)
@given(world=worlds(min_bars=3), data=st.data())
def test_end_is_the_same_as_a_frame_cut_there(world, data):
    n_bars = data.draw(st.integers(1, world.n_bars - 1), label="bars kept")
    world = world.anchored()
    ended = world.run(end=world.timestamps[n_bars - 1])
    assert_same_runs(ended, world.prefix(n_bars).run())


@examples(100)
@given(world=worlds(min_bars=3), data=st.data())
def test_a_poisoned_future_changes_nothing_before_it(world, data):
    n_bars = data.draw(st.integers(1, world.n_bars - 1), label="bars kept")
    world = world.anchored()
    shorter, poisoned = world.prefix(n_bars).run(), world.poisoned(n_bars).run()
    assert_same_until(world, shorter, poisoned, n_bars)


# ---------------------------------------------------------------- the cash rule


@examples(100)
@given(world=worlds(max_borrowing=0.0))
def test_buys_alone_never_take_cash_below_the_floor(world):
    result = world.run()
    fills, held = rows_by_bar(world, result.fills), positions_by_bar(world, result)
    # One more lot is bought when it exceeds what was available by 1e-12 of that.
    slack = 1e-11 if world.options.rounding == "whole_target" else 0.0
    before, cash_before = {}, world.options.initial_cash
    for t, cash in enumerate(result.equity["cash"]):
        only_opening_buys = all(
            fill["quantity"] > 0 and before.get(fill["asset"], 0.0) >= 0
            for fill in fills[t]
        )
        if only_opening_buys and cash_before >= 0:
            assert cash >= -slack * cash_before
        before, cash_before = held[t], cash


@examples(100)
@given(
    world=worlds(
        rounding="fractional",
        min_trade_value=0.0,
        max_gross=2.0,
        tempers=("lively", "broken"),
    )
)
def test_one_factor_scales_all_opening_buys_of_a_step(world):
    assume(world.options.fill != "same_close")  # it has two steps on a bar
    result = world.run()
    orders = {row["order_id"]: row for row in result.orders.iter_rows(named=True)}
    for fills in rows_by_bar(world, result.fills).values():
        factors = []
        for fill in fills:
            if fill["reason"] != "order":
                continue
            order = orders[fill["order_id"]]
            cover = max(0.0, -order["position_before"])
            wanted = order["quantity"] - cover
            if order["quantity"] > 0 and wanted > 1e-6 * cover:
                factors.append((fill["quantity"] - cover) / wanted)
                says_so = "scaled_to_cash" in order["reasons"]
                assert says_so == (factors[-1] < 1 - 1e-9)
        assert all(0 <= factor <= 1 + 1e-9 for factor in factors)
        assert factors == pytest.approx(factors[:1] * len(factors), rel=1e-6, abs=1e-9)


# ---------------------------------------------------------------- orders and positions


@examples(100)
@given(world=worlds(partial=False, missing_bar="pending", at_decision="use_last"))
def test_no_name_is_held_that_is_neither_a_target_nor_waiting(world):
    result = world.run()
    held = positions_by_bar(world, result)
    orders = rows_by_bar(world, result.orders)
    filled_at = {
        row["order_id"]: t
        for t, rows in rows_by_bar(world, result.fills).items()
        for row in rows
        if row["order_id"] is not None
    }
    last_decision = None
    for t in range(world.n_bars):
        if world.options.fill == "same_close" and t in world.decisions:
            last_decision = t
        if last_decision is not None:
            _, weights = world.decisions[last_decision]
            targets = {world.assets[i] for i, weight in weights.items() if weight}
            waiting = {
                order["asset"]
                for order in orders[last_decision]
                if filled_at.get(order["order_id"], math.inf) > t
                and "missing_bar" in order["reasons"]
            }
            assert set(held[t]) <= targets | waiting
        if t in world.decisions:
            last_decision = t


@examples(100)
@given(world=worlds())
def test_orders_add_up_to_fills_and_fills_to_positions(world):
    result = world.run()
    filled = defaultdict(float)
    position, largest = defaultdict(float), defaultdict(float)
    held = positions_by_bar(world, result)
    fills = rows_by_bar(world, result.fills)
    for t in range(world.n_bars):
        for fill in fills[t]:
            assert fill["quantity"] != 0
            if fill["order_id"] is not None:
                filled[fill["order_id"]] += fill["quantity"]
            asset = fill["asset"]
            position[asset] += fill["quantity"]
            largest[asset] = max(largest[asset], abs(fill["quantity"]))
        for asset, quantity in position.items():
            assert held[t].get(asset, 0.0) == pytest.approx(
                quantity, rel=0, abs=1e-12 * largest[asset]
            )
    for order in result.orders.iter_rows(named=True):
        assert order["filled"] == filled[order["order_id"]]
        if order["status"] == "filled":
            assert order["filled"] == pytest.approx(order["quantity"], rel=1e-9)
        elif order["status"] == "partial":
            assert 0 < order["filled"] / order["quantity"] < 1
        else:
            assert order["filled"] == 0
        if order["filled"] and order["target_weight"] == 0:
            assert order["position_after"] == 0


@examples(100)
@given(world=worlds(rounding="whole_target"))
def test_whole_targets_hold_whole_lots(world):
    lot_size = world.options.lot_size
    for position in world.run().positions["position"]:
        assert position / lot_size == round(position / lot_size)


@examples(100)
@given(world=worlds())
def test_every_order_that_is_not_filled_says_why(world):
    for order in world.run().orders.iter_rows(named=True):
        if order["status"] in ("none", "partial"):
            assert order["reason"] != "none"
        assert order["reason"] == (order["reasons"] or ["none"])[0]
