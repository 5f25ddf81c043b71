"""Compares a result of barloop with that of the oracle."""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import assume
from polars.testing import assert_frame_equal

from oracle import Flow, OracleResult
from strategies import World

FRAMES = ("equity", "fills", "orders", "positions", "rebalances", "next_orders")
CARRIED = ("interest", "borrow_cost", "dividend")


def assert_same_bits(left: pl.DataFrame, right: pl.DataFrame) -> None:
    """Raise unless the frames are equal, the sign of a zero included."""
    assert_frame_equal(left, right, check_exact=True)
    floats = [name for name, dtype in left.schema.items() if dtype == pl.Float64]
    for name in floats:
        bits = [
            frame[name].fill_null(0.5).to_numpy().tobytes() for frame in (left, right)
        ]
        assert bits[0] == bits[1], f"{name} differs in bits"


def assert_same_runs(left: Any, right: Any, frames: tuple[str, ...] = FRAMES) -> None:
    for name in frames:
        assert_same_bits(getattr(left, name), getattr(right, name))
    assert left.ruined_at == right.ruined_at


class Comparison:
    """Compares a result with the oracle's, with tolerances of the account's size."""

    def __init__(self, world: World, start: int = 0) -> None:
        self.world = world
        self.start = start
        self.money = 1e-9 * world.options.initial_cash
        self.bar = {timestamp: t for t, timestamp in enumerate(world.timestamps)}
        self.number = {name: i for i, name in enumerate(world.assets)}

    def check(self, result: Any, expected: OracleResult) -> None:
        self.check_bars(result, expected)
        self.check_positions(result.positions, expected)
        self.check_fills(result, expected)
        self.check_flows(result.cash_flows, expected)
        self.check_orders(result.orders, expected)
        self.check_next_orders(result.next_orders, expected)
        self.check_rebalances(result.rebalances, expected)
        self.check_counters(result.notices, expected)
        ruined_at = expected.ruined_at
        timestamps = self.world.timestamps
        assert result.ruined_at == (
            None if ruined_at is None else timestamps[ruined_at]
        )
        result.audit()

    def same_money(self, value: float, expected: float) -> None:
        # pytest.approx says the same and takes most of the time of a comparison.
        assert abs(value - expected) <= max(self.money, 1e-9 * abs(expected))

    def same_quantity(self, value: float, expected: float, price: float) -> None:
        self.same_money(value * price, expected * price)

    def same_price(self, value: float, expected: float, quantity: float) -> None:
        if abs(value - expected) > 1e-10 * expected:
            assert abs(value - expected) <= 1e-6 * expected
            self.same_money(value * quantity, expected * quantity)

    def keys(self, frame: pl.DataFrame) -> list[tuple[int, int]]:
        """Return bar and asset of each row as numbers."""
        return [
            (self.bar[timestamp], self.number[asset])
            for timestamp, asset in frame.select("timestamp", "asset").iter_rows()
        ]

    def check_bars(self, result: Any, expected: OracleResult) -> None:
        frame = result.equity
        assert frame["timestamp"].to_list() == self.world.timestamps[self.start :]
        for k, row in enumerate(frame.iter_rows(named=True)):
            t = self.start + k
            values = [
                quantity * expected.last_close[k][i]
                for i, quantity in expected.positions[k].items()
            ]
            fills = [fill for fill in expected.fills if fill.t == t]
            self.same_money(row["equity"], expected.equity[k])
            self.same_money(row["cash"], expected.cash[k])
            self.same_money(row["gross_exposure"], sum(map(abs, values)))
            self.same_money(row["net_exposure"], sum(values))
            self.same_money(row["commission"], sum(f.commission for f in fills))
            self.same_money(row["slippage"], sum(map(slippage_of, fills)))
            assert row["n_positions"] == len(values)
            self.check_return(row, k, expected)
        self.same_money(result.final_equity, expected.equity[-1])

    def check_return(self, row: dict[str, Any], k: int, expected: OracleResult) -> None:
        t = self.start + k
        carried = [f.amount for f in expected.flows if f.t == t and f.kind in CARRIED]
        deposits = expected.deposits(t)
        self.same_money(row["carry"], sum(carried))
        self.same_money(row["deposits"], deposits)
        before = expected.equity[k - 1] if k else self.world.options.initial_cash
        started = before + deposits
        if started > 1e-3 * self.world.options.initial_cash:
            wanted = expected.equity[k] / started - 1
            assert abs(row["return"] - wanted) <= 1e-6 * max(1.0, abs(wanted))

    def check_counters(self, notices: pl.DataFrame, expected: OracleResult) -> None:
        counted = dict(notices.select("notice", "count").iter_rows())
        assert counted.get("null_range", 0) == expected.null_ranges
        assert counted.get("no_atr", 0) == expected.no_atr
        first = dict(notices.select("notice", "first_timestamp").iter_rows())
        stopped, at = first.get("max_drawdown"), expected.stopped_at
        assert stopped == (None if at is None else self.world.timestamps[at])

    def check_positions(self, frame: pl.DataFrame, expected: OracleResult) -> None:
        wanted = {
            (self.start + k, i): (quantity, expected.last_close[k][i])
            for k, positions in enumerate(expected.positions)
            for i, quantity in positions.items()
        }
        assert self.keys(frame) == list(wanted)
        rows = frame.select("position", "close", "position_value").iter_rows()
        for row, (quantity, close) in zip(rows, wanted.values(), strict=True):
            assert abs(row[1] - close) <= 1e-12 * close
            self.same_quantity(row[0], quantity, close)
            self.same_money(row[2], quantity * close)

    def check_fills(self, result: Any, expected: OracleResult) -> None:
        frame = result.fills
        assert self.keys(frame) == [(fill.t, fill.asset) for fill in expected.fills]
        decided = dict(
            zip(result.orders["order_id"], self.keys(result.orders), strict=True)
        )
        for row, fill in zip(frame.iter_rows(named=True), expected.fills, strict=True):
            self.same_quantity(row["quantity"], fill.quantity, fill.price)
            # Impact rests on the quantity, and a level of an exit on an earlier price.
            self.same_price(row["price"], fill.price, fill.quantity)
            self.same_price(row["base_price"], fill.base_price, fill.quantity)
            self.same_money(row["commission"], fill.commission)
            self.same_money(row["slippage"], slippage_of(fill))
            assert row["reason"] == fill.reason
            if fill.order is None:
                assert row["order_id"] is None
            else:
                assert decided[row["order_id"]] == (fill.order.t, fill.asset)

    def check_flows(self, frame: pl.DataFrame, expected: OracleResult) -> None:
        first, *rows = frame.drop("ratio").rows()
        money = self.world.options.initial_cash
        assert first == (self.world.timestamps[self.start], None, "deposit", money, 0.0)
        # Where cash is 0 but for rounding errors, so is the interest on it.
        rows = [row for row in rows if abs(row[3]) > self.money or row[4]]
        flows = [f for f in expected.flows if abs(f.amount) > self.money or f.quantity]
        assert [(self.bar[row[0]], row[1], row[2]) for row in rows] == [
            (f.t, None if f.asset is None else self.world.assets[f.asset], f.kind)
            for f in flows
        ]
        for row, flow in zip(rows, flows, strict=True):
            self.same_money(row[3], flow.amount)
            close = 1.0 if flow.asset is None else self.close_before(flow, expected)
            self.same_quantity(row[4], flow.quantity, close)

    def close_before(self, flow: Flow, expected: OracleResult) -> float:
        return expected.last_close[flow.t - self.start - 1][flow.asset]

    def check_orders(self, frame: pl.DataFrame, expected: OracleResult) -> None:
        assert self.keys(frame) == [(order.t, order.asset) for order in expected.orders]
        sized_at_fill = self.world.options.sized_at_fill
        for row, order in zip(
            frame.iter_rows(named=True), expected.orders, strict=True
        ):
            assert row["reasons"] == order.all_reasons
            assert row["reason"] == order.reason
            assert row["status"] == order.status
            assert row["target_weight"] == order.target_weight
            if order.reason != "blocked_after_exit":
                assert abs(row["limited_weight"] - order.limited_weight) <= 1e-12
            if order.price is None:
                continue  # not listed: there is nothing to count
            self.same_quantity(row["filled"], order.filled, order.price)
            if order.sized:
                self.same_quantity(row["quantity"], order.quantity, order.price)
            if order.sized or not sized_at_fill:
                self.same_money(row["equity"], order.equity)
            if order.sized and not order.split:
                before = order.position_before
                self.same_quantity(row["position_before"], before, order.price)
                assert abs(row["price"] - order.price) <= 1e-12 * order.price

    def check_next_orders(self, frame: pl.DataFrame, expected: OracleResult) -> None:
        orders = expected.next_orders
        assert self.keys(frame) == [(order.t, order.asset) for order in orders]
        for row, order in zip(frame.iter_rows(named=True), orders, strict=True):
            if order.sized:
                self.same_quantity(row["quantity"], order.waits, order.price)
            elif order.target_weight != 0:
                assert row["quantity"] is None
            assert row["target_weight"] == order.target_weight
            assert row["reason"] == order.reason

    def check_rebalances(self, frame: pl.DataFrame, expected: OracleResult) -> None:
        decided = expected.decided
        bars = [self.bar[timestamp] for timestamp in frame["timestamp"]]
        assert bars == [t for t, _, _ in decided]
        for row, (t, kind, weights) in zip(
            frame.iter_rows(named=True), decided, strict=True
        ):
            assert row["decision"] == kind
            assert row["n_targets"] == sum(1 for weight in weights.values() if weight)
            gross = sum(map(abs, weights.values()))
            assert abs(row["target_gross"] - gross) <= 1e-12
            assert row["n_orders"] == sum(1 for o in expected.orders if o.t == t)
            self.check_scale(row["scale"], t, expected)

    def check_scale(
        self, scale: float | None, decided: int, expected: OracleResult
    ) -> None:
        """Compare with the smallest factor of the bar where the orders may fill."""
        filled = decided + (self.world.options.fill != "same_close") - self.start
        if filled >= len(expected.factors):
            assert scale is None
        else:
            assert abs(scale - min(expected.factors[filled], default=1.0)) <= 1e-9


def slippage_of(fill: Any) -> float:
    return abs(fill.quantity) * abs(fill.price - fill.base_price)


def check_world(world: World, weights: Any = None) -> None:
    expected = world.oracle()
    assume(not expected.edges)
    Comparison(world).check(world.run(weights), expected)
