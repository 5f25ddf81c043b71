"""Result frames: what is in them, under which names, and that they agree."""

from __future__ import annotations

import datetime as dt
import functools
import html
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.testing as npt
import polars as pl
import pytest

import barloop as bl
from barloop import run_notices
from barloop.enums import Reason
from barloop.errors import PanelError, SimulationError
from barloop.record import NO_SPLITS, Splits, last_known

DAYS = [dt.date(2024, 1, day) for day in (2, 3, 4, 5, 8, 9)]


def market(prices: Mapping[Any, list[Any]]) -> pl.DataFrame:
    """Make a frame of prices by asset: a number, a pair (open, close), or None."""
    rows = []
    for asset, path in prices.items():
        for day, price in zip(DAYS, path, strict=False):
            if price is not None:
                opens, close = price if isinstance(price, tuple) else (price, price)
                rows.append((day, asset, opens, close))
    schema = {"date": pl.Date, "symbol": None, "open": pl.Float64, "close": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("date", "symbol")


def run(prices: Any, decisions: Mapping[int, Any], **fields: Any) -> bl.BacktestResult:
    """Run with decisions by number of the bar."""
    df = market(prices) if isinstance(prices, Mapping) else prices
    fields = {"initial_cash": 1000.0} | fields
    return bl.run_backtest(df, lambda bar: decisions.get(bar.t), **fields)


# ------------------------------------------------------- columns, names and dtypes

FLOAT, INT = pl.Float64, pl.Int64
CODES = [
    "not_listed",
    "no_bar",
    "blocked_after_exit",
    "max_weight",
    "max_gross",
    "drift_band",
    "rounded",
    "below_min_trade_value",
    "max_drawdown",
    "max_turnover",
    "cancelled_by_margin_call",
    "missing_bar",
    "no_volume",
    "max_participation",
    "rejected_at_submission",
    "scaled_to_cash",
    "partial_cash",
    "rejected_for_cash",
    "cancelled_by_exit",
    "replaced",
    "ruined",
    "delisted",
]
FILL_REASONS = pl.Enum(
    [
        "order",
        "ruined",
        "stop_loss",
        "atr_stop",
        "trailing_stop",
        "take_profit",
        "max_bars_held",
        "max_drawdown",
        "margin_call",
        "delisted",
    ]
)
FLOW_KINDS = pl.Enum(
    ["deposit", "withdrawal", "interest", "borrow_cost", "dividend", "split"]
)
REASONS = pl.Enum(["none", *CODES])
FRAMES = (
    "equity",
    "returns",
    "fills",
    "orders",
    "positions",
    "weights",
    "rebalances",
    "next_orders",
    "cash_flows",
    "trades",
    "exit_reasons",
    "notices",
)


def schemas(time: str, when: Any, asset: str, what: Any) -> dict[str, dict[str, Any]]:
    """Columns and dtypes of all frames, in order."""
    return {
        "equity": {
            time: when,
            "cash": FLOAT,
            "equity": FLOAT,
            "return": FLOAT,
            "drawdown": FLOAT,
            "gross_exposure": FLOAT,
            "net_exposure": FLOAT,
            "leverage": FLOAT,
            "turnover": FLOAT,
            "commission": FLOAT,
            "slippage": FLOAT,
            "carry": FLOAT,
            "deposits": FLOAT,
            "n_positions": INT,
        },
        "returns": {time: when, "return": FLOAT},
        "fills": {
            "order_id": INT,
            time: when,
            asset: what,
            "quantity": FLOAT,
            "price": FLOAT,
            "base_price": FLOAT,
            "commission": FLOAT,
            "slippage": FLOAT,
            "reason": FILL_REASONS,
        },
        "orders": {
            "order_id": INT,
            time: when,
            asset: what,
            "position_before": FLOAT,
            "weight_before": FLOAT,
            "target_weight": FLOAT,
            "limited_weight": FLOAT,
            "equity": FLOAT,
            "price": FLOAT,
            "quantity": FLOAT,
            "filled": FLOAT,
            "missing": FLOAT,
            "status": pl.Enum(["filled", "partial", "none", "waiting"]),
            "reason": REASONS,
            "reasons": pl.List(REASONS),
            "position_after": FLOAT,
        },
        "positions": {
            time: when,
            asset: what,
            "position": FLOAT,
            "close": FLOAT,
            "position_value": FLOAT,
        },
        "weights": {time: when, asset: what, "weight": FLOAT},
        "rebalances": {
            time: when,
            "decision": pl.Enum(["none", "complete", "partial"]),
            "n_targets": INT,
            "target_gross": FLOAT,
            "n_orders": INT,
            "scale": FLOAT,
        },
        "next_orders": {
            "order_id": INT,
            time: when,
            asset: what,
            "quantity": FLOAT,
            "target_weight": FLOAT,
            "reason": REASONS,
        },
        "cash_flows": {
            time: when,
            asset: what,
            "kind": FLOW_KINDS,
            "amount": FLOAT,
            "quantity": FLOAT,
            "ratio": FLOAT,
        },
        "trades": {
            asset: what,
            "side": pl.Enum(["long", "short"]),
            f"entry_{time}": when,
            f"exit_{time}": when,
            "quantity": FLOAT,
            "entry_price": FLOAT,
            "exit_price": FLOAT,
            "pnl": FLOAT,
            "return": FLOAT,
            "commission": FLOAT,
            "bars_held": INT,
            "mae": FLOAT,
            "mfe": FLOAT,
            "entry_reason": REASONS,
            "exit_reason": FILL_REASONS,
            "is_open": pl.Boolean,
        },
        "exit_reasons": {
            "exit_reason": FILL_REASONS,
            "n_trades": INT,
            "pnl": FLOAT,
            "mean_return": FLOAT,
            "hit_rate": FLOAT,
        },
        "notices": {
            "notice": pl.String,
            "count": INT,
            f"first_{time}": when,
            f"first_{asset}": what,
            "message": pl.String,
        },
    }


def assert_schemas(
    result: bl.BacktestResult, expected: dict[str, dict[str, Any]]
) -> None:
    for name in FRAMES:
        assert list(getattr(result, name).schema.items()) == list(
            expected[name].items()
        ), name


UTC = pl.Datetime("us", "UTC")
TIMES = {
    "Date": pl.Series([dt.date(2024, 3, d) for d in (1, 4, 5)]),
    "ms": pl.Series(
        [dt.datetime(2024, 3, d, 16) for d in (1, 4, 5)], dtype=pl.Datetime("ms")
    ),
    "us": pl.Series(
        [dt.datetime(2024, 3, d, 16) for d in (1, 4, 5)], dtype=pl.Datetime("us")
    ),
    "ns": pl.Series(
        [
            1_700_000_000_000_000_001,
            1_700_000_000_000_000_002,
            1_700_000_000_000_000_003,
        ]
    ).cast(pl.Datetime("ns")),
    "us in New York": pl.Series(
        [dt.datetime(2024, 3, d, 21) for d in (8, 11, 12)], dtype=UTC
    ).dt.convert_time_zone("America/New_York"),
    "ns in UTC": pl.Series(
        [dt.datetime(2024, 3, d, 21) for d in (8, 11, 12)],
        dtype=pl.Datetime("ns", "UTC"),
    ),
    # The hour from 1 to 2 is there twice.
    "repeated hour": pl.Series(
        [dt.datetime(2024, 11, 3, h, 30) for h in (4, 5, 6)], dtype=UTC
    ).dt.convert_time_zone("America/New_York"),
    "Int32": pl.Series([3, 5, 9], dtype=pl.Int32),
    "UInt64": pl.Series([3, 5, 2**63 + 9], dtype=pl.UInt64),
}
ASSETS = {
    "String": pl.Series(["A", "B"]),
    "Enum": pl.Series(["B", "A"], dtype=pl.Enum(["unused", "B", "A"])),
    "Categorical": pl.Series(["A", "B"], dtype=pl.Categorical()),
    "Int16": pl.Series([3, 7], dtype=pl.Int16),
    "UInt64": pl.Series([3, 2**63 + 7], dtype=pl.UInt64),
}
NAMES = [
    ("date", "symbol"),
    ("timestamp", "asset"),
    ("datetime", "ticker"),
    ("time", "asset_id"),
]


def keyed(times: pl.Series, assets: pl.Series, time: str, asset: str) -> pl.DataFrame:
    """Two assets on three bars: the first rises from 10 to 12, the second stays."""
    return pl.DataFrame(
        [
            times.gather([0, 0, 1, 1, 2, 2]).alias(time),
            assets.gather([0, 1] * 3).alias(asset),
            pl.Series("open", [10.0, 20.0, 11.0, 20.0, 12.0, 20.0]),
            pl.Series("close", [10.0, 20.0, 11.0, 20.0, 12.0, 20.0]),
            pl.Series("weight", [0.5, 0.25] * 3),
        ]
    )


@pytest.mark.parametrize("when", TIMES)
@pytest.mark.parametrize("what", ASSETS)
def test_frames_have_the_users_names_and_dtypes(when, what):
    times, assets = TIMES[when], ASSETS[what]
    time, asset = NAMES[(list(TIMES).index(when) + list(ASSETS).index(what)) % 4]
    df = keyed(times, assets, time, asset)
    result = bl.run_backtest(
        df.sample(fraction=1.0, shuffle=True, seed=3),
        "weight",
        initial_cash=1000.0,
        bars_per_year=252,
    )
    assert_schemas(result, schemas(time, times.dtype, asset, assets.dtype))
    assert result.equity[time].equals(times.alias(time))
    # 0.5 * 1000 / 10 = 50 at 11 and 0.25 * 1000 / 20 = 12.5 at 20, then the targets of
    # bar 1: equity stays 1000, so 0.5 * 1000 / 11 and again 12.5
    fills = result.fills
    assert fills[time].equals(times.gather([1, 1, 2]).alias(time))
    assert fills[asset].equals(assets.gather([0, 1, 0]).alias(asset))
    npt.assert_allclose(fills["quantity"], [50.0, 12.5, 500 / 11 - 50], rtol=1e-13)
    assert result.positions[asset].equals(assets.gather([0, 1, 0, 1]).alias(asset))
    # at the end equity is 1000 + 45.45 * (12 - 11), so both targets have moved
    assert result.next_orders[asset].equals(assets.alias(asset))
    assert result.audit().n_bars == 3


def test_frames_without_any_fill_have_the_same_columns():
    result = run({"A": [10, 11, 12], "B": [5, 5, 5]}, {})
    assert_schemas(result, schemas("date", pl.Date, "symbol", pl.String))
    for name in ("fills", "orders", "positions", "weights", "rebalances"):
        assert getattr(result, name).height == 0
    assert result.next_orders.height == 0
    assert (
        result.equity.select("cash", "equity", "n_positions").rows()
        == [(1000.0, 1000.0, 0)] * 3
    )
    assert result.cash_flows.rows() == [(DAYS[0], None, "deposit", 1000.0, 0.0, None)]
    assert result.notices.select("notice", "count").rows() == [("no_decision", 3)]
    assert (result.n_rebalances, result.n_skipped) == (0, 3)
    assert result.final_equity == 1000.0
    assert result.total_return == 0.0
    assert str(result.audit()) == (
        "clean: 3 bars rebuilt from 0 fills and 1 cash flow, largest difference "
        "0.0e+00 of the account"
    )


def test_decisions_for_nothing_leave_rebalances_and_nothing_else():
    result = run({"A": [10, 11, 12]}, {0: {}, 1: {"A": 0.0}, 2: bl.partial({})})
    assert result.rebalances.rows() == [
        (DAYS[0], "complete", 0, 0.0, 0, 1.0),
        (DAYS[1], "complete", 0, 0.0, 0, 1.0),
        (DAYS[2], "partial", 0, 0.0, 0, None),
    ]
    assert result.orders.height == result.fills.height == result.notices.height == 0
    assert result.audit().n_fills == 0


def test_a_single_bar_has_orders_for_the_next_one():
    result = run({"A": [10]}, {0: {"A": 0.5}})
    assert result.equity.height == 1
    assert result.fills.height == 0
    assert result.next_orders.rows() == [(0, DAYS[0], "A", 50.0, 0.5, "none")]
    assert result.metrics["total_return"] == 0.0
    assert result.metrics["volatility"] is None


def test_writing_into_a_frame_does_not_reach_the_result():
    result = run({"A": [10, 11]}, {0: {"A": 0.5}})
    for name in FRAMES:
        before = getattr(result, name)
        mine = getattr(result, name)
        mine.insert_column(0, pl.Series("mine", [1] * mine.height))
        assert "mine" not in getattr(result, name).columns
        assert getattr(result, name).equals(before)
    curve = result.equity
    curve[0, "cash"] = -1.0
    assert result.equity["cash"][0] == 1000.0
    result.audit()


# ------------------------------------------------------------------------- keep


def test_keep_full_equity_and_metrics_agree_on_what_they_share():
    decisions = {0: {"A": 0.9}, 2: {"B": 0.9}, 4: {"A": 0.4, "B": 0.2}}
    prices = {"A": [10, 11, 9, 8, 9, 10], "B": [5, 5, 6, 7, 5, 5]}
    costs = {"commission": bl.Commission(bps=10), "slippage": bl.Slippage(bps=5)}
    full = run(prices, decisions, keep="full", **costs)
    curve = run(prices, decisions, keep="equity", **costs)
    least = run(prices, decisions, keep="metrics", **costs)
    assert full.metrics == curve.metrics == least.metrics
    assert full.metrics["n_fills"] == full.fills.height > 0
    for name in ("equity", "returns"):
        assert getattr(full, name).equals(getattr(curve, name))
    for name in ("final_equity", "total_return", "ruined_at", "n_rebalances"):
        assert getattr(full, name) == getattr(least, name)
    assert full.n_skipped == least.n_skipped == 3
    # All three print the same numbers; notices need what was not kept.
    head = str(full).split("Notices")[0].rstrip()
    assert str(least).startswith(head)
    assert str(curve).startswith(head)


NEED_LOGS = {
    "fills": lambda r: r.fills,
    "orders": lambda r: r.orders,
    "positions": lambda r: r.positions,
    "weights": lambda r: r.weights,
    "rebalances": lambda r: r.rebalances,
    "next_orders": lambda r: r.next_orders,
    "cash_flows": lambda r: r.cash_flows,
    "trades": lambda r: r.trades,
    "exit_reasons": lambda r: r.exit_reasons,
    "round_trips()": lambda r: r.round_trips(method="fifo"),
    "audit()": lambda r: r.audit(),
    "explain()": lambda r: r.explain("A", DAYS[0]),
}
NEED_BARS = {
    "equity": lambda r: r.equity,
    "notices": lambda r: r.notices,
}


@pytest.mark.parametrize("keep", ["equity", "metrics"])
@pytest.mark.parametrize("what", NEED_LOGS)
def test_what_needs_the_log_says_so_when_it_was_not_kept(what, keep):
    result = run({"A": [10, 11]}, {0: {"A": 0.5}}, keep=keep)
    message = (
        f"result.{what} was not kept: the run had keep='{keep}'.\n"
        "Hint: run it with keep='full'."
    )
    with pytest.raises(SimulationError, match=f"^{re.escape(message)}$"):
        NEED_LOGS[what](result)


@pytest.mark.parametrize("what", [*NEED_BARS, "returns"])
def test_what_needs_the_bars_says_so_with_metrics_only(what):
    result = run({"A": [10, 11]}, {0: {"A": 0.5}}, keep="metrics")
    with pytest.raises(SimulationError, match=r"not kept.*keep='metrics'.\nHint: run"):
        getattr(result, what)


def test_keep_metrics_and_equity_store_no_log():
    prices, decisions = {"A": [10, 11, 12]}, {0: {"A": 0.5}, 1: {}}
    full = run(prices, decisions)
    curve = run(prices, decisions, keep="equity")
    least = run(prices, decisions, keep="metrics")
    assert full._record.journal_codes.shape[1] == full._record.n_fills == 2
    assert curve._record.journal_codes.shape[1] == curve._record.n_orders == 0
    assert curve._record.n_fills == 2
    assert least._record is None


# -------------------------------------------------- frames agree with each other


def busy_market(*, seed: int, n_bars: int = 60, n_assets: int = 6) -> pl.DataFrame:
    """Seeded prices with gaps, one late listing and one asset that ends early."""
    rng = np.random.default_rng(seed)
    shape = (n_bars, n_assets)
    close = np.round(50.0 * np.exp(np.cumsum(rng.normal(0, 0.03, shape), axis=0)), 2)
    opens = np.round(close * (1.0 + rng.normal(0, 0.02, shape)), 2)
    is_row = rng.random(shape) < 0.9
    is_row[:15, 1] = False
    is_row[-20:, 2] = False
    is_null = rng.random(shape) < 0.03
    no_open = rng.random(shape) < 0.03
    bar, asset = np.nonzero(is_row)
    days = pl.Series(
        [dt.date(2024, 1, 1) + dt.timedelta(days=t) for t in range(n_bars)]
    )
    names = pl.Series(["AA", "B", "C", "Dee", "E", "F"][:n_assets])
    frame = pl.DataFrame(
        [
            days.gather(bar).alias("date"),
            names.gather(asset).alias("symbol"),
            pl.Series("open", np.where(no_open, np.nan, opens)[is_row]),
            pl.Series("close", np.where(is_null, np.nan, close)[is_row]).fill_nan(None),
        ]
    )
    return frame.sample(fraction=1.0, shuffle=True, seed=seed)


def busy_weights(*, seed: int, short: bool, gross: float) -> Any:
    """Nothing, a complete or a partial decision, drawn anew on each bar."""
    rng = np.random.default_rng(seed)
    n_bars, n_assets = 60, 6
    kind = rng.choice(["none", "complete", "partial"], n_bars, p=[0.4, 0.45, 0.15])
    chosen = rng.random((n_bars, n_assets)) < 0.6
    weight = rng.random((n_bars, n_assets)) * chosen
    weight *= gross / np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
    if short:
        weight *= rng.choice([-1.0, 1.0], weight.shape, p=[0.4, 0.6])

    def decide(bar: bl.Bar) -> Any:
        said = {a: float(w) for a, w in zip(bar.assets, weight[bar.t], strict=True)}
        if kind[bar.t] == "none":
            return None
        named = {a: w for a, w in said.items() if w != 0.0}
        if kind[bar.t] == "complete":
            return named
        # Half the names, at half their weight, so that the gross stays below its limit.
        return bl.partial({a: 0.5 * w for a, w in list(named.items())[::2]})

    return decide


COSTS = {
    "commission": bl.Commission(bps=10, minimum=1.0),
    "slippage": bl.Slippage(bps=5),
}
SHORTS = bl.Limits(allow_short=True, max_gross=2.0, max_borrowing=0.5)


def busy(
    *, short: bool = False, gross: float = 0.98, **fields: Any
) -> bl.BacktestResult:
    return bl.run_backtest(
        busy_market(seed=7),
        busy_weights(seed=8, short=short, gross=gross),
        initial_cash=100_000.0,
        **fields,
    )


def doomed() -> bl.BacktestResult:
    """A short position that is squeezed, with another position and a waiting order."""
    return run(
        {
            "A": [10, 10, 11, 40, 40],
            "B": [5, 5, 5, 5, 5],
            "C": [2, None, None, None, 2],
        },
        {0: {"A": -1.0, "B": 0.5, "C": 0.2}},
        limits=SHORTS,
        **COSTS,
    )


def execution(**members: Any) -> bl.Execution:
    return bl.Execution(**members)


RUNS = {
    "next_open": lambda: busy(**COSTS),
    "no costs": lambda: busy(gross=1.0),
    "next_close": lambda: busy(execution=execution(fill="next_close"), **COSTS),
    "same_close": lambda: busy(execution=execution(fill="same_close"), **COSTS),
    "shorts": lambda: busy(short=True, gross=1.8, limits=SHORTS, **COSTS),
    "shorts at the same close": lambda: busy(
        short=True,
        gross=1.8,
        limits=SHORTS,
        execution=execution(fill="same_close"),
        **COSTS,
    ),
    "whole shares": lambda: busy(execution=execution(rounding="whole_target"), **COSTS),
    "lots, short": lambda: busy(
        short=True,
        gross=1.8,
        limits=SHORTS,
        execution=execution(rounding="whole_target", lot_size=10.0),
    ),
    "cancel and skip": lambda: busy(
        missing_data=bl.MissingData(missing_bar="cancel", at_decision="skip"), **COSTS
    ),
    "minimum": lambda: busy(limits=bl.Limits(min_trade_value=9_000.0), **COSTS),
    "every fifth bar": lambda: busy(schedule=5, gross=1.0),
    "start in the middle": lambda: busy(start=dt.date(2024, 1, 20), **COSTS),
    "end before the last": lambda: busy(end=dt.date(2024, 2, 10), **COSTS),
    "ruined": doomed,
}


@functools.cache
def result_of(name: str) -> bl.BacktestResult:
    return RUNS[name]()


class Replay:
    """The account rebuilt fill by fill, in plain Python, beside each decision too."""

    def __init__(self, result: bl.BacktestResult) -> None:
        panel = result.panel
        self.fills = list(result.fills.iter_rows(named=True))
        decided = dict(result.orders.select("order_id", "date").iter_rows())
        closes = panel.frame.filter(pl.col("close").is_not_null()).sort("date")
        rows = list(closes.select("date", "symbol", "close").iter_rows())
        place = 0
        cash = float(result.config.initial_cash)
        position: dict[str, float] = {}
        self.last_close: dict[str, float] = {}
        # By day: (cash, positions, value) when the bar decides, and at its end.
        self.at_decision: dict[dt.date, tuple[float, dict[str, float], float]] = {}
        self.at_end: dict[dt.date, tuple[float, dict[str, float], float]] = {}
        self.after_fill: list[float] = []
        self.close_at: dict[tuple[dt.date, str], float] = {}
        pending = self.fills[::-1]
        for day in result.equity["date"]:
            while place < len(rows) and rows[place][0] <= day:
                self.last_close[rows[place][1]] = rows[place][2]
                place += 1
            self.close_at |= {(day, a): p for a, p in self.last_close.items()}
            recorded = False
            while pending and pending[-1]["date"] == day:
                fill = pending.pop()
                late = fill["reason"] == "order" and decided[fill["order_id"]] == day
                late |= fill["reason"] == "ruined"
                if late and not recorded:
                    self.at_decision[day] = self._state(cash, position)
                    recorded = True
                asset = fill["symbol"]
                position[asset] = position.get(asset, 0.0) + fill["quantity"]
                self.after_fill.append(position[asset])
                cash -= fill["quantity"] * fill["price"] + fill["commission"]
            if not recorded:
                self.at_decision[day] = self._state(cash, position)
            self.at_end[day] = self._state(cash, position)
        assert not pending

    def _state(
        self, cash: float, position: dict[str, float]
    ) -> tuple[float, dict[str, float], float]:
        held = {a: q for a, q in position.items() if q != 0.0}
        value = sum(held[a] * self.last_close[a] for a in sorted(held))
        return cash, held, value


@functools.cache
def replay_of(name: str) -> Replay:
    return Replay(result_of(name))


@pytest.mark.parametrize("name", RUNS)
def test_runs_are_as_busy_as_they_should_be(name):
    result = result_of(name)
    assert result.fills.height > 3
    assert set(result.orders["status"]) >= {"filled"}
    assert (result.ruined_at is None) == (name != "ruined")
    if name == "next_open":
        assert set(result.orders["status"]) == {"filled", "partial", "none", "waiting"}
        assert set(result.orders["reasons"].explode(empty_as_null=False)) == {
            "not_listed",
            "missing_bar",
            "scaled_to_cash",
            "replaced",
        }
    result.audit()


@pytest.mark.parametrize("name", RUNS)
def test_equity_follows_from_fills_and_closes(name):
    result, replay = result_of(name), replay_of(name)
    curve = result.equity
    states = [replay.at_end[day] for day in curve["date"]]
    cash = np.array([state[0] for state in states])
    value = np.array([state[2] for state in states])
    scale = {"rtol": 1e-12, "atol": 1e-9 * result.config.initial_cash}
    npt.assert_allclose(curve["cash"], cash, **scale)
    npt.assert_allclose(curve["equity"], cash + value, **scale)
    npt.assert_allclose(curve["net_exposure"], value, **scale)
    gross = [
        sum(abs(q * replay.close_at[day, a]) for a, q in state[1].items())
        for day, state in zip(curve["date"], states, strict=True)
    ]
    npt.assert_allclose(curve["gross_exposure"], gross, **scale)
    assert curve["n_positions"].to_list() == [len(state[1]) for state in states]
    assert curve["carry"].to_list() == [0.0] * curve.height


@pytest.mark.parametrize("name", RUNS)
def test_ratios_of_the_equity_curve_follow_from_its_columns(name):
    result = result_of(name)
    curve = result.equity
    equity = curve["equity"].to_numpy()
    start = result.config.initial_cash
    previous = np.concatenate([[start], equity[:-1]])
    peak = np.maximum(start, np.maximum.accumulate(equity))
    npt.assert_allclose(curve["drawdown"], equity / peak - 1.0, rtol=1e-14)
    returns = [
        e / p - 1.0 if p > 0 else None for e, p in zip(equity, previous, strict=True)
    ]
    assert curve["return"].to_list() == returns
    assert result.returns.equals(curve.select("date", "return"))
    solvent = [e > 0 for e in equity]
    for column, numerator, times in (
        ("leverage", "gross_exposure", 1.0),
        ("turnover", "traded", 2.0),
    ):
        traded = dict.fromkeys(curve["date"], 0.0)
        for fill in result.fills.iter_rows(named=True):
            traded[fill["date"]] += abs(fill["quantity"] * fill["price"])
        above = list(traded.values()) if numerator == "traded" else curve[numerator]
        wanted = [
            above[t] / (times * equity[t]) if solvent[t] else math.nan
            for t in range(curve.height)
        ]
        assert curve[column].is_null().to_list() == [not s for s in solvent]
        npt.assert_allclose(curve[column].fill_null(math.nan), wanted, rtol=1e-12)


@pytest.mark.parametrize("name", RUNS)
def test_costs_of_the_equity_curve_are_those_of_the_fills(name):
    result = result_of(name)
    costs = result.equity.select("date").join(
        result.fills.group_by("date").agg(pl.col("commission", "slippage").sum()),
        on="date",
        how="left",
        maintain_order="left",
    )
    for column in ("commission", "slippage"):
        npt.assert_allclose(
            result.equity[column], costs[column].fill_null(0.0), rtol=1e-13, atol=1e-12
        )
        total = result.metrics[f"total_{column}"]
        assert total == pytest.approx(result.fills[column].sum(), rel=1e-12)


@pytest.mark.parametrize("name", RUNS)
def test_costs_of_each_fill_follow_their_formula(name):
    result = result_of(name)
    config = result.config
    panel = result.panel
    for fill in result.fills.iter_rows(named=True):
        quantity, price, base = fill["quantity"], fill["price"], fill["base_price"]
        if fill["reason"] == "ruined":
            assert (price, fill["commission"], fill["slippage"]) == (base, 0.0, 0.0)
            continue
        t, i = panel.bar_of(fill["date"]), panel.require_asset(fill["symbol"])
        at_open = config.execution.fill == "next_open"
        assert base == (panel.open if at_open else panel.close)[t, i]
        worse = config.slippage.bps / 1e4 * (1 if quantity > 0 else -1)
        assert price == pytest.approx(base * (1 + worse), rel=1e-15)
        fee = max(config.commission.bps / 1e4 * abs(quantity * price), 0.0)
        assert fill["commission"] == pytest.approx(
            max(fee, config.commission.minimum), rel=1e-13
        )
        assert fill["slippage"] == pytest.approx(abs(quantity) * abs(price - base))


@pytest.mark.parametrize("name", RUNS)
def test_positions_and_weights_follow_from_the_fills(name):
    result, replay = result_of(name), replay_of(name)
    wanted = [
        (day, asset, state[1][asset], replay.close_at[day, asset])
        for day, state in replay.at_end.items()
        for asset in sorted(state[1])
    ]
    positions = result.positions
    assert positions.select("date", "symbol", "position", "close").rows() == wanted
    values = positions["position"] * positions["close"]
    assert positions["position_value"].equals(values.alias("position_value"))
    with_equity = positions.join(result.equity, on="date", maintain_order="left")
    weights = result.weights
    assert weights.select("date", "symbol").equals(positions.select("date", "symbol"))
    npt.assert_allclose(
        weights["weight"],
        with_equity["position_value"] / with_equity["equity"],
        rtol=1e-14,
    )
    if (weights["weight"] > 0).all():
        per_bar = weights.group_by("date").agg(pl.col("weight").sum())
        joined = result.equity.join(per_bar, on="date", how="left")
        npt.assert_allclose(joined["weight"].fill_null(0.0), joined["leverage"])
        assert joined["leverage"].max() > 0.5


def test_weights_of_long_only_runs_add_up_to_the_leverage():
    long_only = [n for n in RUNS if (result_of(n).weights["weight"] > 0).all()]
    assert len(long_only) > 5
    assert not {"shorts", "lots, short", "ruined"} & set(long_only)


@pytest.mark.parametrize("name", RUNS)
def test_orders_follow_from_the_fills(name):
    result, replay = result_of(name), replay_of(name)
    orders = result.orders
    assert orders["order_id"].to_list() == list(range(orders.height))
    assert orders.select("date", "symbol").is_unique().all()
    filled = dict.fromkeys(range(orders.height), 0.0)
    last: dict[int, float] = {}
    for fill, after in zip(replay.fills, replay.after_fill, strict=True):
        if fill["order_id"] is not None:
            filled[fill["order_id"]] += fill["quantity"]
            last[fill["order_id"]] = after
    assert orders["filled"].to_list() == list(filled.values())
    for order in orders.iter_rows(named=True):
        cash, held, value = replay.at_decision[order["date"]]
        before = held.get(order["symbol"], 0.0)
        assert order["position_before"] == before, order
        assert order["position_after"] == last.get(order["order_id"], before), order
        assert order["equity"] == pytest.approx(cash + value, rel=1e-12)
        if "not_listed" in order["reasons"]:
            assert order["price"] is None
        else:
            price = replay.close_at[order["date"], order["symbol"]]
            assert order["price"] == price
            weight = before * price / order["equity"]
            assert order["weight_before"] == pytest.approx(weight, rel=1e-14)


@pytest.mark.parametrize("name", RUNS)
def test_wanted_quantities_lead_from_the_position_to_the_target(name):
    result = result_of(name)
    rules = result.config.execution
    lot = rules.lot_size if rules.rounding == "whole_target" else None
    for order in result.orders.iter_rows(named=True):
        if {"not_listed", "no_bar"} & set(order["reasons"]):
            assert order["quantity"] is None
            assert order["missing"] is None
            continue
        exact = order["target_weight"] * order["equity"] / order["price"]
        target = order["position_before"] + order["quantity"]
        if lot is None:
            assert target == pytest.approx(exact, rel=1e-9, abs=1e-9)
        else:
            assert target / lot == pytest.approx(round(target / lot), abs=1e-6)
            assert -1e-6 <= (exact - target) * math.copysign(1, exact) < lot
        assert order["missing"] == order["quantity"] - order["filled"]


@pytest.mark.parametrize("name", RUNS)
def test_statuses_and_reasons_of_orders_fit_what_happened(name):
    result = result_of(name)
    waiting = set(result.next_orders["order_id"])
    filled_at = dict(
        result.fills.drop_nulls("order_id").select("order_id", "date").iter_rows()
    )
    days = result.equity["date"].to_list()
    delay = 0 if result.config.execution.fill == "same_close" else 1
    for order in result.orders.iter_rows(named=True):
        reasons = order["reasons"]
        assert order["reason"] == (reasons[0] if reasons else "none")
        assert reasons == [code for code in CODES if code in reasons]
        is_filled = order["filled"] != 0.0
        missing = order["missing"] is not None and abs(order["missing"]) > 1e-9 * abs(
            order["quantity"]
        )
        wanted = "partial" if is_filled and missing else "filled"
        if order["order_id"] in waiting:
            wanted = "waiting"
        elif not is_filled:
            wanted = "none"
        assert order["status"] == wanted, order
        if is_filled:
            assert order["order_id"] in filled_at
            bars = days.index(filled_at[order["order_id"]]) - days.index(order["date"])
            assert bars >= delay
            assert (bars > delay) == ("missing_bar" in reasons), order
        if wanted == "partial":
            assert "scaled_to_cash" in reasons
        if wanted == "none":
            assert reasons


@pytest.mark.parametrize("name", RUNS)
def test_fills_are_in_the_order_of_execution(name):
    result, replay = result_of(name), replay_of(name)
    assert result.fills["date"].is_sorted()
    decided = dict(result.orders.select("order_id", "date").iter_rows())
    keys = []
    for fill, after in zip(replay.fills, replay.after_fill, strict=True):
        before = after - fill["quantity"]
        if fill["reason"] == "ruined":
            step, kind = 2, 0
        else:
            # same_close: what waited fills before what the bar decides
            step = int(decided[fill["order_id"]] == fill["date"])
            is_cover = before < 0 and after <= 1e-9
            kind = 0 if fill["quantity"] < 0 else 1 if is_cover else 2
        keys.append((fill["date"], step, kind, fill["symbol"]))
    assert keys == sorted(keys)


@pytest.mark.parametrize("name", RUNS)
def test_rebalances_follow_from_the_orders(name):
    result = result_of(name)
    rebalances = result.rebalances
    assert rebalances.height == result.n_rebalances == result.metrics["n_rebalances"]
    assert rebalances["date"].is_sorted()
    n_orders = dict(result.orders.group_by("date").agg(pl.len()).iter_rows())
    assert rebalances["n_orders"].to_list() == [
        n_orders.pop(day, 0) for day in rebalances["date"]
    ]
    assert not n_orders
    targets = result.orders.filter(pl.col("target_weight") != 0.0)
    gross = dict(
        targets.group_by("date").agg(pl.col("target_weight").abs().sum()).iter_rows()
    )
    for row in rebalances.iter_rows(named=True):
        # A target without an order was already reached.
        assert row["target_gross"] >= gross.get(row["date"], 0.0) - 1e-12


@pytest.mark.parametrize("name", ["next_open", "no costs", "next_close", "same_close"])
def test_scale_of_a_rebalance_is_the_share_that_its_buys_got(name):
    result = result_of(name)
    days = result.equity["date"].to_list()
    delay = 0 if result.config.execution.fill == "same_close" else 1
    n_scaled = 0
    for row in result.rebalances.iter_rows(named=True):
        place = days.index(row["date"]) + delay
        if place >= len(days):
            assert row["scale"] is None
            continue
        filled = result.fills.filter(pl.col("date") == days[place])
        own = result.orders.filter(
            (pl.col("date") == row["date"])
            & pl.col("order_id").is_in(filled["order_id"].to_list())
            & (pl.col("quantity") > 0.0)
        )
        scaled = own.filter(pl.col("reasons").list.contains("scaled_to_cash"))
        assert scaled.height in (0, own.height)
        if own.height:
            wanted = (own["filled"] / own["quantity"]).to_list()
            assert wanted == pytest.approx([row["scale"]] * own.height, rel=1e-11)
        n_scaled += scaled.height
    assert n_scaled > 5


def test_n_targets_and_target_gross_count_what_was_named():
    result = run(
        {"A": [10, 10, 10], "B": [10, 10, 10], "C": [10, 10, 10]},
        {0: {"A": 0.5, "B": -0.25, "C": 0.0}, 2: bl.partial({"A": 0.3, "B": 0.0})},
        limits=SHORTS,
    )
    assert result.rebalances.rows() == [
        (DAYS[0], "complete", 2, 0.75, 2, 1.0),
        (DAYS[2], "partial", 1, 0.3, 2, None),
    ]


def test_scale_is_the_common_factor_of_the_bar_after():
    # wanted 50 * 12.5 + 25 * 20 = 1125 with 1000 in cash: f = 1000 / 1125 = 8 / 9
    prices = {"A": [10, (12.5, 10), 10], "B": [20, 20, 20]}
    result = run(prices, {0: {"A": 0.5, "B": 0.5}, 1: {}})
    assert result.rebalances["scale"].to_list() == pytest.approx(
        [8 / 9, 1.0], rel=1e-11
    )
    assert result.fills["quantity"].to_list()[:2] == pytest.approx([400 / 9, 200 / 9])
    first = result.orders.row(0, named=True)
    assert first["missing"] == pytest.approx(50 / 9)
    assert (first["status"], first["reasons"]) == ("partial", ["scaled_to_cash"])


# ---------------------------------------------------------------- single frames


def test_same_close_position_before_leaves_the_orders_own_fill_out():
    result = run(
        {"A": [10, 20, 40]},
        {0: {"A": 0.5}, 1: {"A": 0.5}, 2: {}},
        execution=bl.Execution(fill="same_close"),
    )
    # 50 for 500; at 20 equity is 1500, so 37.5; at 40 the rest goes
    assert result.orders.select(
        "date", "position_before", "quantity", "position_after", "weight_before"
    ).rows() == [
        (DAYS[0], 0.0, 50.0, 50.0, 0.0),
        (DAYS[1], 50.0, -12.5, 37.5, 1000 / 1500),
        (DAYS[2], 37.5, -37.5, 0.0, 1500 / 2250),
    ]
    assert result.fills["date"].to_list() == DAYS[:3]
    assert result.orders["equity"].to_list() == [1000.0, 1500.0, 2250.0]


def test_same_close_position_before_has_the_fill_of_what_waited():
    # The order of bar 1 waits for the close of bar 2, where the next one is decided.
    result = run(
        {"A": [10, None, 10], "B": [10, 10, 10]},
        {1: {"A": 0.5}, 2: bl.partial({"A": 0.2})},
        execution=bl.Execution(fill="same_close"),
    )
    assert result.orders.select(
        "order_id", "position_before", "position_after"
    ).rows() == [
        (0, 0.0, 50.0),
        (1, 50.0, 20.0),
    ]
    assert result.fills.select("order_id", "date", "quantity").rows() == [
        (0, DAYS[2], 50.0),
        (1, DAYS[2], -30.0),
    ]


def test_same_close_position_before_ignores_a_ruin_on_the_same_bar():
    # Sells are never scaled: both shorts are opened, the commissions ruin the account.
    result = run(
        {"A": [10] * 4, "B": [10] * 4},
        {0: {"A": 0.5, "B": 0.25}, 2: {"A": -0.5, "B": -0.25}},
        execution=bl.Execution(fill="same_close"),
        commission=bl.Commission(minimum=600),
        limits=SHORTS,
        initial_cash=2000.0,
    )
    assert result.ruined_at == DAYS[2]
    # Two commissions and no debt: of 2000 + 0.5 * 2000 borrowed, 1500 is wanted.
    bought = result.fills["quantity"].to_list()[:2]
    sold = result.orders.filter(pl.col("date") == DAYS[2])
    assert sold["position_before"].to_list() == bought
    assert all(quantity > 0 for quantity in bought)
    assert sold["position_after"].to_list() == [
        before + quantity
        for before, quantity in zip(bought, sold["quantity"], strict=True)
    ]
    assert (sold["position_after"] < 0).all()
    assert result.positions.filter(pl.col("date") >= DAYS[2]).height == 0


NEXT_PRICES = {"A": [10, 10, 10], "B": [10, 10, None], "C": [10, 10, 10]}


@pytest.mark.parametrize("fill", ["next_open", "next_close"])
def test_next_orders_are_those_of_the_last_bar_and_those_that_wait(fill):
    result = run(
        NEXT_PRICES,
        {
            0: {"A": 0.2},
            1: bl.partial({"B": 0.3}),
            2: bl.partial({"A": 0.0, "C": 0.4}),
        },
        execution=bl.Execution(fill=fill),
    )
    # B has no bar to fill on; A and C were decided on the last bar
    assert result.next_orders.rows() == [
        (2, DAYS[2], "A", -20.0, 0.0, "none"),
        (1, DAYS[1], "B", 30.0, 0.3, "missing_bar"),
        (3, DAYS[2], "C", 40.0, 0.4, "none"),
    ]
    assert result.orders["status"].to_list() == ["filled"] + ["waiting"] * 3


def test_next_orders_of_same_close_are_only_those_that_wait():
    result = run(
        NEXT_PRICES,
        {0: {"A": 0.2}, 2: bl.partial({"A": 0.0, "B": 0.3, "C": 0.4})},
        execution=bl.Execution(fill="same_close"),
    )
    assert result.next_orders.rows() == [(2, DAYS[2], "B", 30.0, 0.3, "missing_bar")]
    assert result.fills["date"].to_list() == [DAYS[0], DAYS[2], DAYS[2]]


def test_next_orders_are_empty_when_missing_bars_cancel():
    result = run(
        NEXT_PRICES,
        {1: {"B": 0.3}},
        missing_data=bl.MissingData(missing_bar="cancel"),
    )
    assert result.next_orders.height == 0
    assert result.orders.select("status", "reason").rows() == [("none", "missing_bar")]


def test_next_orders_leave_out_what_was_not_sent():
    result = run(
        NEXT_PRICES,
        {2: {"A": 0.001, "C": 0.4}},
        limits=bl.Limits(min_trade_value=50.0),
    )
    assert result.next_orders["symbol"].to_list() == ["C"]
    small = result.orders.row(0, named=True)
    # what would have been wanted: 0.001 * 1000 / 10
    assert small["quantity"] == pytest.approx(0.1)
    assert (small["status"], small["filled"]) == ("none", 0.0)


def test_an_asset_before_its_first_bar_gets_a_row_without_numbers():
    result = run({"A": [10, 10], "B": [None, 10]}, {0: {"A": 0.5, "B": 0.3}})
    order = result.orders.row(1, named=True)
    assert order == {
        "order_id": 1,
        "date": DAYS[0],
        "symbol": "B",
        "position_before": 0.0,
        "weight_before": 0.0,
        "target_weight": 0.3,
        "limited_weight": 0.3,
        "equity": 1000.0,
        "price": None,
        "quantity": None,
        "filled": 0.0,
        "missing": None,
        "status": "none",
        "reason": "not_listed",
        "reasons": ["not_listed"],
        "position_after": 0.0,
    }


def test_a_position_without_a_bar_is_shown_at_its_last_close():
    result = run({"A": [10, (10, 12), None, None, 15], "B": [5] * 5}, {0: {"A": 0.5}})
    held = result.positions.select("position", "close", "position_value")
    assert held.rows() == [
        (50.0, 12.0, 600.0),
        (50.0, 12.0, 600.0),
        (50.0, 12.0, 600.0),
        (50.0, 15.0, 750.0),
    ]
    assert result.weights["weight"].to_list() == [600 / 1100] * 3 + [750 / 1250]


def test_last_known_closes_are_looked_up_before_the_run_too():
    close = np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, 7.0]])
    bar, asset = np.array([0, 1, 2, 0, 1, 2]), np.array([0, 0, 0, 1, 1, 1])
    found = last_known(close, bar, asset)
    npt.assert_array_equal(found, [1.0, 1.0, 3.0, np.nan, np.nan, 7.0])


def test_cash_flows_are_the_initial_cash_on_the_first_bar_of_the_run():
    result = run({"A": [10] * 5}, {}, start=DAYS[2], initial_cash=12_345.0)
    assert result.cash_flows.rows() == [(DAYS[2], None, "deposit", 12_345.0, 0.0, None)]


def test_last_known_closes_are_divided_by_later_splits():
    close = np.array([[8.0], [np.nan], [np.nan], [3.0], [np.nan]])
    bar, asset = np.arange(5), np.zeros(5, dtype=int)
    # That of bar 3 precedes its close, that of bar 2 follows the close of bar 0.
    splits = Splits(np.array([2, 3, 4]), np.array([0, 0, 0]), np.array([2.0, 5.0, 0.5]))
    npt.assert_array_equal(last_known(close, bar, asset, splits), [8, 8, 4, 3, 6])
    npt.assert_array_equal(last_known(close, bar, asset, NO_SPLITS), [8, 8, 8, 3, 3])
    other = Splits(np.array([2]), np.array([7]), np.array([2.0]))
    npt.assert_array_equal(last_known(close, bar, asset, other), [8, 8, 8, 3, 3])


EVENTS = (
    (0, None, "deposit", 250.0),
    (2, "A", "split", 2.0),
    (2, "A", "dividend", 0.5),
    (3, None, "withdrawal", 100.0),
    (4, "B", "delisting", -0.25),
    (5, "A", "split", 0.1),
)


def eventful(**fields: Any) -> bl.BacktestResult:
    """Half of A, which splits, and a quarter of B, which is delisted."""
    prices = {"A": [10, 10, 5, 5, 5, 50], "B": [10, 10, 12, None, None, None]}
    return run(prices, {0: {"A": 0.5, "B": 0.25}}, actions=actions(*EVENTS), **fields)


def test_cash_flows_are_what_moved_without_a_fill():
    # On 1250: 62.5 of A become 125 and then 12.5, 31.25 of B are paid out at 9.
    result = eventful()
    assert result.cash_flows.rows() == [
        (DAYS[0], None, "deposit", 1000.0, 0.0, None),
        (DAYS[0], None, "deposit", 250.0, 0.0, None),
        (DAYS[2], "A", "split", 0.0, 62.5, 2.0),
        (DAYS[2], "A", "dividend", 62.5, 0.0, None),
        (DAYS[3], None, "withdrawal", -100.0, 0.0, None),
        (DAYS[5], "A", "split", 0.0, -112.5, 0.1),
    ]
    assert math.copysign(1.0, result.cash_flows["amount"][2]) == 1.0
    assert result.positions.select("symbol", "position", "close").rows() == [
        ("A", 62.5, 10.0),
        ("B", 31.25, 10.0),
        ("A", 125.0, 5.0),
        ("B", 31.25, 12.0),
        ("A", 125.0, 5.0),
        ("B", 31.25, 12.0),
        ("A", 125.0, 5.0),
        ("A", 12.5, 50.0),
    ]
    fills = result.fills
    assert fills.height == result.metrics["n_fills"] == 3
    assert fills.row(2, named=True) == {
        "order_id": None,
        "date": DAYS[4],
        "symbol": "B",
        "quantity": -31.25,
        "price": 9.0,
        "base_price": 9.0,
        "commission": 0.0,
        "slippage": 0.0,
        "reason": "delisted",
    }
    assert result.audit().n_cash_flows == 6


def test_a_position_without_a_bar_is_shown_at_its_last_close_after_splits():
    result = run(
        {"A": [10, 10, None, None], "B": [1, 1, 1, 1]},
        {0: {"A": 0.5}},
        actions=actions((2, "A", "split", 4.0)),
    )
    assert result.positions.select("position", "close", "position_value").rows() == [
        (50.0, 10.0, 500.0),
        (200.0, 2.5, 500.0),
        (200.0, 2.5, 500.0),
    ]
    assert result.equity["equity"].to_list() == [1000.0] * 4
    result.audit()


def test_deposits_are_no_profit():
    result = eventful()
    curve = result.equity
    # Bar 2: a dividend of 62.5 and 31.25 * 2 on B; bar 4: 31.25 * 3 less.
    equity = [1250.0, 1250.0, 1375.0, 1275.0, 1181.25, 1181.25]
    assert curve["equity"].to_list() == equity
    assert curve["deposits"].to_list() == [250.0, 0.0, 0.0, -100.0, 0.0, 0.0]
    assert curve["carry"].to_list() == [0.0, 0.0, 62.5, 0.0, 0.0, 0.0]
    returns = [0.0, 0.0, 0.1, 0.0, 1181.25 / 1275 - 1, 0.0]
    assert curve["return"].to_list() == pytest.approx(returns, abs=1e-15)
    growth = 1.1 * 1181.25 / 1275
    drawdown = growth / 1.1 - 1
    assert curve["drawdown"].to_list() == pytest.approx(
        [0.0, 0.0, 0.0, 0.0, drawdown, drawdown], abs=1e-15
    )
    metrics = result.metrics
    assert metrics["total_return"] == pytest.approx(growth - 1, rel=1e-14)
    assert result.total_return == metrics["total_return"]
    assert metrics["max_drawdown"] == pytest.approx(drawdown, rel=1e-14)
    assert (metrics["total_carry"], metrics["total_deposits"]) == (62.5, 150.0)
    per_year = metrics["bars_per_year"]
    assert metrics["cagr"] == pytest.approx(growth ** (per_year / 6) - 1)


def test_print_shows_carry_and_deposits_only_where_there_are_any():
    lines = str(eventful()).splitlines()
    assert "  carry                                    62.50" in lines
    assert "  deposits                                150.00" in lines
    plain = str(tiny())
    assert "carry" not in plain
    assert "deposits" not in plain


def test_orders_that_wait_over_a_split_are_in_new_units():
    prices = {"A": [10, 10, None, 5, 5], "B": [1] * 5}
    decisions = {0: {"A": 0.3}, 1: {"A": 0.5}}
    # Bar 1 decides 20 more; the split of bar 2 makes them 40, bought on bar 3.
    for fields in ({}, {"exits": bl.Exits(max_bars_held=99)}):
        result = run(
            prices, decisions, actions=actions((2, "A", "split", 2.0)), **fields
        )
        order = result.orders.row(1, named=True)
        assert (order["position_before"], order["weight_before"]) == (60.0, 0.3)
        assert (order["price"], order["equity"]) == (5.0, 1000.0)
        assert order["quantity"] == order["filled"] == pytest.approx(40.0)
        assert order["position_after"] == pytest.approx(100.0)
        waiting = run(
            {"A": [10, 10, None, None], "B": [1] * 4},
            decisions,
            actions=actions((2, "A", "split", 2.0)),
            **fields,
        )
        order = waiting.orders.row(1, named=True)
        assert (order["position_before"], order["price"]) == (60.0, 5.0)
        assert order["position_after"] == 60.0
        assert waiting.next_orders["quantity"].to_list() == pytest.approx([40.0])


def test_limited_weights_stand_beside_those_that_were_wanted():
    result = run(
        {"A": [10] * 3, "B": [10] * 3, "C": [10] * 3},
        {0: {"A": 0.9, "B": 0.3, "C": 0.1}},
        limits=bl.Limits(max_weight=0.5, max_gross=0.6, on_excess="scale"),
    )
    # 0.5, 0.3 and 0.1, times 0.6 / 0.9
    orders = result.orders
    assert orders["target_weight"].to_list() == [0.9, 0.3, 0.1]
    wanted = [0.5 / 1.5, 0.3 / 1.5, 0.1 / 1.5]
    assert orders["limited_weight"].to_list() == pytest.approx(wanted)
    assert orders["reasons"].to_list() == [
        ["max_weight", "max_gross"],
        ["max_gross"],
        ["max_gross"],
    ]
    plain = run({"A": [10] * 3}, HALF).orders
    assert plain["limited_weight"].equals(
        plain["target_weight"].alias("limited_weight")
    )


def test_orders_sized_at_the_fill_show_equity_and_price_of_the_fill():
    prices = {
        "A": [10, (12, 10), 10, 10],
        "B": [10, (20, 10), None, (5, 10)],
        "C": [10, None, None, None],
    }
    decisions = {0: {"A": 0.5, "C": 0.1}, 1: bl.partial({"B": 0.25})}
    result = run(
        prices, decisions, execution=bl.Execution(size_at="fill", fill="next_open")
    )
    # A: 0.5 * 1000 / 12.  B waits for bar 3: 0.25 * (1000 - 2 * 41.67) / 5.
    columns = ("symbol", "equity", "price", "quantity", "status")
    rows = {row[0]: row[1:] for row in result.orders.select(columns).iter_rows()}
    equity = 1000 - 2 * 500 / 12
    assert rows == {
        "A": (1000.0, 12.0, pytest.approx(500 / 12), "filled"),
        "B": (pytest.approx(equity), 5.0, pytest.approx(equity / 20), "filled"),
        "C": (None, None, None, "waiting"),
    }
    assert result.next_orders.select("symbol", "quantity", "target_weight").rows() == [
        ("C", None, 0.1)
    ]
    assert result.orders["missing"].to_list()[1] is None


@pytest.mark.parametrize("fill", ["next_close", "same_close"])
def test_what_max_drawdown_closes_was_sized_before_its_costs(fill):
    result = run(
        {"A": [10, 10, 8, 8]},
        HALF,
        exits=bl.Exits(max_drawdown=0.05),
        commission=bl.Commission(per_order=10.0),
        execution=bl.Execution(fill=fill),
    )
    # 50 at 8 and 490 in cash; with same_close the fill costs 10 on the same bar.
    closing = result.orders.row(1, named=True)
    assert (closing["equity"], closing["price"]) == (890.0, 8.0)
    assert closing["weight_before"] == pytest.approx(400 / 890)
    assert result.equity["equity"][2] == (880.0 if fill == "same_close" else 890.0)


def test_a_name_on_target_at_the_fill_is_filled():
    result = run(
        {"A": [10] * 4},
        {0: {"A": 0.5}, 2: {"A": 0.5}},
        execution=bl.Execution(size_at="fill"),
    )
    columns = ("quantity", "filled", "status", "reason", "position_after")
    assert result.orders.select(columns).row(1) == (0.0, 0.0, "filled", "none", 50.0)


# ---------------------------------------------------------------- exits and the end


def test_the_base_price_of_an_exit_is_that_before_slippage():
    result = run(
        ranged({"A": [10, 10, (10, 8), 8]}),
        HALF,
        exits=bl.Exits(stop_loss=0.15),
        slippage=bl.Slippage(bps=100),
        commission=bl.Commission(per_order=2.0),
    )
    # Bought at 10.10, so stopped at 8.585, which sells at 8.49915.
    fill = result.fills.row(1, named=True)
    assert (fill["reason"], fill["order_id"]) == ("stop_loss", None)
    assert fill["base_price"] == pytest.approx(8.585)
    assert fill["price"] == pytest.approx(8.585 * 0.99)
    assert fill["slippage"] == pytest.approx(50 * 0.08585)
    assert fill["commission"] == 2.0
    assert result.equity["slippage"][2] == fill["slippage"]


def test_an_account_that_max_drawdown_ended():
    result = stopped()
    assert result.stopped_at == DAYS[2]
    assert result.ruined_at is None
    assert result.rebalances["date"].to_list() == [DAYS[0]]
    assert result.n_skipped == 1  # bar 1; there was nothing to decide from bar 2 on
    orders = result.orders.select("date", "symbol", "quantity", "status", "reasons")
    assert orders.rows() == [
        (DAYS[0], "A", 90.0, "filled", []),
        (DAYS[0], "B", 10.0, "none", ["max_drawdown", "missing_bar"]),
        (DAYS[2], "A", -90.0, "filled", ["max_drawdown"]),
    ]
    closing = result.orders.row(2, named=True)
    assert (closing["equity"], closing["price"]) == (820.0, 8.0)
    assert closing["weight_before"] == pytest.approx(720 / 820)
    fill = result.fills.row(1, named=True)
    assert (fill["order_id"], fill["date"]) == (2, DAYS[3])
    assert (fill["reason"], fill["price"]) == ("max_drawdown", 8.0)
    assert result.exit_reasons["exit_reason"].to_list() == ["max_drawdown"]
    assert (
        "  stopped at                          2024-01-04" in str(result).splitlines()
    )
    assert result.audit().n_fills == 2
    assert stopped_like("metrics").stopped_at == DAYS[2]
    assert tiny().stopped_at is None


def stopped_like(keep: str) -> bl.BacktestResult:
    return run(
        {"A": [10, 10, 8, 8]}, HALF, exits=bl.Exits(max_drawdown=0.05), keep=keep
    )


@pytest.mark.parametrize("fill", ["next_open", "next_close", "same_close"])
def test_bars_skipped_are_those_that_could_have_decided(fill):
    # The short is ruined on bar 2, with same_close at the mark after the decision too.
    result = run(
        {"A": [10, 10, 30, 30, 30]},
        {0: {"A": -1.0}},
        limits=SHORTS,
        execution=bl.Execution(fill=fill),
    )
    assert result.ruined_at == DAYS[2]
    assert (result.n_rebalances, result.n_skipped) == (1, 1)


def test_a_ruin_by_the_costs_of_a_decision_leaves_no_negative_count():
    result = run(
        {"A": [10, 10]},
        {0: {"A": -0.5}},
        execution=bl.Execution(fill="same_close"),
        commission=bl.Commission(minimum=1500.0),
        limits=SHORTS,
    )
    assert result.ruined_at == DAYS[0]
    assert (result.n_rebalances, result.n_skipped) == (1, 0)


# ---------------------------------------------------------------- start and end


def test_start_makes_earlier_bars_history_only():
    seen = []

    def decide(bar: bl.Bar) -> Any:
        seen.append((bar.t, bar.history.close.shape[0]))
        return {"A": 0.4}

    prices = {"A": [10, 20, 10, 20, 11, 20]}
    result = bl.run_backtest(market(prices), decide, start=DAYS[2], end=DAYS[4])
    assert seen == [(2, 3), (3, 4), (4, 5)]
    for name in ("equity", "returns"):
        assert getattr(result, name)["date"].to_list() == DAYS[2:5]
    assert result.fills["date"].min() == DAYS[3]
    assert result.metrics["n_bars"] == 3
    assert result.rebalances["date"].to_list() == DAYS[2:5]
    assert result.next_orders["date"].to_list() == [DAYS[4]]
    assert result.audit().n_bars == 3
    message = "2024-01-03 is history: the run starts at 2024-01-04."
    with pytest.raises(SimulationError, match=f"^{re.escape(message)}$"):
        result.explain("A", DAYS[1])
    with pytest.raises(PanelError, match="no bar at 2024-01-09"):
        result.explain("A", DAYS[5])


def test_end_gives_what_a_frame_cut_after_it_gives():
    df = busy_market(seed=7)
    end = dt.date(2024, 2, 10)
    decide = busy_weights(seed=8, short=False, gross=0.98)
    ended = bl.run_backtest(df, decide, end=end, **COSTS)
    cut = bl.run_backtest(df.filter(pl.col("date") <= end), decide, **COSTS)
    assert ended.fills.height > 20
    for name in FRAMES:
        left, right = getattr(ended, name), getattr(cut, name)
        assert left.equals(right), name
    assert ended.metrics == cut.metrics


def test_start_without_need_of_history_gives_what_a_later_frame_gives():
    weights = pl.when(pl.col("close") > 45).then(0.19).otherwise(0.0)
    start = dt.date(2024, 1, 20)
    has_bar = pl.col("close").is_not_null() & (pl.col("date") == start)
    df = busy_market(seed=9)
    # Of the others an earlier close is known.
    df = df.filter(has_bar.any().over("symbol"))
    assert df["symbol"].n_unique() >= 3
    with_start = bl.run_backtest(df, weights, start=start)
    without = bl.run_backtest(df.filter(pl.col("date") >= start), weights)
    assert without.fills.height > 20
    for name in ("equity", "fills", "orders", "positions", "rebalances", "next_orders"):
        assert getattr(with_start, name).equals(getattr(without, name)), name


# ---------------------------------------------------------------------- metrics


@pytest.mark.parametrize("name", [name for name in RUNS if name != "ruined"])
def test_metrics_are_those_of_the_equity_frame(name):
    result = result_of(name)
    curve, metrics = result.equity, result.metrics
    equity = curve["equity"].to_numpy()
    start, n = result.config.initial_cash, curve.height
    per_year = metrics["bars_per_year"]
    assert per_year == 365.0
    returns = equity / np.concatenate([[start], equity[:-1]]) - 1.0
    below = np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2))
    growth = equity[-1] / start
    mean, deviation = returns.mean(), returns.std(ddof=1)
    wanted = {
        "n_bars": n,
        "n_fills": result.fills.height,
        "n_rebalances": result.rebalances.height,
        "final_equity": equity[-1],
        "total_return": growth - 1.0,
        "cagr": growth ** (per_year / n) - 1.0,
        "volatility": deviation * math.sqrt(per_year),
        "sharpe": mean / deviation * math.sqrt(per_year),
        "sortino": mean / below * math.sqrt(per_year),
        "max_drawdown": curve["drawdown"].min(),
        "best_return": returns.max(),
        "worst_return": returns.min(),
        "hit_rate": (returns > 0).sum() / (returns != 0).sum(),
        "turnover": curve["turnover"].mean() * per_year,
        "mean_leverage": curve["leverage"].mean(),
        "time_in_market": (curve["n_positions"] > 0).mean(),
        "total_commission": curve["commission"].sum(),
        "total_slippage": curve["slippage"].sum(),
    }
    for measure, value in wanted.items():
        assert metrics[measure] == pytest.approx(value, rel=1e-9, abs=1e-12), measure
    assert result.final_equity == metrics["final_equity"] == equity[-1]
    assert result.total_return == pytest.approx(metrics["total_return"], abs=1e-15)
    assert {type(value) for value in metrics.values()} <= {float, int, type(None)}


def test_metrics_use_the_settings_for_a_year_and_the_risk_free_rate():
    prices, decisions = {"A": [10, 11, 9, 12, 10, 13]}, {0: {"A": 0.9}}
    plain = run(prices, decisions, bars_per_year=100)
    rated = run(prices, decisions, bars_per_year=100, risk_free=0.05)
    assert plain.metrics["bars_per_year"] == rated.metrics["bars_per_year"] == 100.0
    returns = plain.returns["return"].to_numpy()
    rate = 1.05 ** (1 / 100) - 1
    ratio = (returns.mean() - rate) / returns.std(ddof=1) * 10
    assert rated.metrics["sharpe"] == pytest.approx(ratio)
    assert rated.metrics["sharpe"] < plain.metrics["sharpe"]
    assert rated.metrics["volatility"] == plain.metrics["volatility"]


# ---------------------------------------------------------------------- ruined


def test_a_ruined_account_is_closed_and_stays_as_it_is():
    result = result_of("ruined")
    assert result.ruined_at == DAYS[3]
    curve = result.equity
    # Short 100 at 9.995, long 100 at 5.0025, 1 commission each; at 40 and 5:
    # 1000 + 999.5 - 1 - 500.25 - 1 - 4000 + 500
    end = 1000 + 999.5 - 1 - 500.25 - 1 - 4000 + 500
    assert curve["equity"].to_list()[3:] == pytest.approx([end, end])
    assert curve["cash"].to_list()[3:] == curve["equity"].to_list()[3:]
    assert curve["n_positions"].to_list() == [0, 2, 2, 0, 0]
    assert curve["gross_exposure"].to_list()[3:] == [0.0, 0.0]
    assert curve["commission"].to_list() == [0.0, 2.0, 0.0, 0.0, 0.0]
    previous = curve["equity"][2]
    assert curve["return"].to_list()[3:] == [pytest.approx(end / previous - 1), None]
    assert curve["leverage"].to_list()[3:] == [None, None]
    assert curve["turnover"].to_list()[3:] == [None, None]
    assert curve["drawdown"][4] == pytest.approx(end / 1000 - 1)
    assert result.fills.filter(pl.col("reason") == "ruined").rows() == [
        (None, DAYS[3], "A", 100.0, 40.0, 40.0, 0.0, 0.0, "ruined"),
        (None, DAYS[3], "B", -100.0, 5.0, 5.0, 0.0, 0.0, "ruined"),
    ]
    waited = result.orders.filter(pl.col("symbol") == "C").row(0, named=True)
    assert (waited["status"], waited["reasons"]) == ("none", ["missing_bar", "ruined"])
    assert result.next_orders.height == 0
    assert result.final_equity == curve["equity"][4]
    assert result.total_return < -1


def test_a_ruined_account_has_no_ratios_but_its_totals():
    metrics = result_of("ruined").metrics
    known = {name for name, value in metrics.items() if value is not None}
    assert known >= {
        "total_return",
        "final_equity",
        "max_drawdown",
        "total_commission",
        "total_slippage",
        "n_fills",
        "n_rebalances",
        "n_bars",
        "bars_per_year",
    }
    for name in ("cagr", "volatility", "sharpe", "sortino", "turnover", "hit_rate"):
        assert metrics[name] is None
    assert metrics["n_fills"] == 4


def test_an_account_may_be_ruined_on_its_first_bar():
    # A short is never scaled; its commission is more than all the money.
    result = run(
        {"A": [10, 10, 10]},
        {0: {"A": -0.5}},
        execution=bl.Execution(fill="same_close"),
        commission=bl.Commission(minimum=1500.0),
        limits=SHORTS,
    )
    assert result.ruined_at == DAYS[0]
    assert result.equity["equity"].to_list() == [-500.0] * 3
    assert result.equity["return"].to_list() == [-1.5, None, None]
    assert result.fills["reason"].to_list() == ["order", "ruined"]
    assert result.notices.select("notice", "first_date").rows() == [
        ("same_close", None),
        ("ruined", DAYS[0]),
    ]
    assert result.metrics["sharpe"] is None
    result.audit()


def test_no_decision_follows_a_ruin():
    asked = []

    def decide(bar: bl.Bar) -> Any:
        asked.append(bar.t)
        return {"A": -1.0} if bar.t == 0 else None

    prices = {"A": [10, 10, 30, 10, 10]}
    result = bl.run_backtest(market(prices), decide, limits=SHORTS, initial_cash=1000.0)
    assert result.ruined_at == DAYS[2]
    assert asked == [0, 1]
    assert result.notices.select("notice", "count", "first_date").rows() == [
        ("no_decision", 1, DAYS[1]),
        ("ruined", 1, DAYS[2]),
    ]


# ---------------------------------------------------------------------- notices

LONG_CONTEXT = pl.DataFrame({"date": DAYS[:3], "vix": [20.0, None, None]})
OUTSIDE = market({"A": [10, 10, 10]}).with_columns(
    high=pl.Series([10.5, 9.5, 9.5]), low=pl.Series([9.0, 9.0, 9.0])
)
NULL_CLOSE = market({"A": [10, 10, 10], "B": [10, 10, 10]}).with_columns(
    close=pl.when((pl.col("date") > DAYS[0]) & (pl.col("symbol") == "B"))
    .then(None)
    .otherwise("close")
)
WHOLE = bl.Execution(rounding="whole_target")
HALVES = {0: {"A": 0.5, "B": 0.5}}
HALF = {0: {"A": 0.5}}


def ranged(prices: Mapping[Any, list[Any]], **columns: list[Any]) -> pl.DataFrame:
    """Add high and low, a tenth of the close away, and columns in order of the rows."""
    df = market(prices).with_columns(
        high=pl.max_horizontal("open", "close") * 1.1,
        low=pl.min_horizontal("open", "close") * 0.9,
        volume=pl.lit(100.0),
    )
    return df.with_columns(pl.Series(name, values) for name, values in columns.items())


def no_open(prices: Mapping[Any, list[Any]], bar: int, asset: str) -> pl.DataFrame:
    """Take the open of one row away, so that orders for it wait."""
    here = (pl.col("date") == DAYS[bar]) & (pl.col("symbol") == asset)
    return ranged(prices).with_columns(open=pl.when(~here).then("open"))


def actions(*rows: tuple[int, str | None, str, float | None]) -> pl.DataFrame:
    named = [(DAYS[t], asset, kind, value) for t, asset, kind, value in rows]
    schema = {
        "date": pl.Date,
        "symbol": pl.String,
        "kind": pl.String,
        "value": pl.Float64,
    }
    return pl.DataFrame(named, schema=schema, orient="row")


def exit_by(**exits: Any) -> Any:
    """Hold A, which falls, and B, which rises, each 5 % a bar."""
    prices = {
        "A": [10.0, 10.0, 9.5, 9.025, 8.57, 8.15],
        "B": [10.0, 10.0, 10.5, 11.03, 11.58, 12.16],
    }
    df = market(prices).with_columns(
        high=pl.col("close"), low=pl.col("close"), atr=pl.col("close") * 0.02
    )
    return lambda: run(df, {0: HALVES[0]}, exits=bl.Exits(**exits))


def called() -> bl.BacktestResult:
    """A is short and doubles; an order for it waits; B has no part in it."""
    prices = {"A": [10, 10, 10, 16, 16], "B": [10] * 5}
    return run(
        no_open(prices, 3, "A"),
        {0: {"A": -1.0}, 2: bl.partial({"A": -0.9})},
        limits=bl.Limits(allow_short=True, max_gross=2.0, maintenance=0.4),
    )


def stopped() -> bl.BacktestResult:
    """A falls by a fifth on bar 2, while an order for B waits."""
    return run(
        {"A": [10, 10, 8, 8, 8, 9], "B": [10, None, None, None, 10, 10]},
        {0: {"A": 0.9, "B": 0.1}, 3: HALVES[0]},
        exits=bl.Exits(max_drawdown=0.15),
    )


def left_by_delistings(delisted: str = "hold", **fields: Any) -> bl.BacktestResult:
    """A and C are held when they are delisted, A and B without a return."""
    return run(
        {"A": [10, 10, 10, None], "B": [10] * 4, "C": [10] * 4},
        {0: {"A": 0.5, "C": 0.2}},
        actions=actions(
            (0, "A", "delisting", None),
            (2, "A", "split", 2.0),
            (2, "B", "delisting", None),
            (2, "C", "delisting", -0.5),
            (3, "A", "delisting", None),
        ),
        missing_data=bl.MissingData(delisted=delisted),
        **fields,
    )


NOTICES: dict[str, tuple[Any, tuple[int, Any, Any]]] = {
    "delisted_held": (left_by_delistings, (1, DAYS[3], "A")),
    "price_outside_range": (lambda: run(OUTSIDE, {}), (2, DAYS[1], "A")),
    "null_close": (lambda: run(NULL_CLOSE, {}), (2, DAYS[1], "B")),
    "context_gap": (
        lambda: run({"A": [10] * 3}, {}, context=LONG_CONTEXT),
        (2, DAYS[1], None),
    ),
    "no_decision": (
        lambda: run({"A": [10] * 4}, {0: {"A": 0.5}, 2: {}}),
        (2, DAYS[1], None),
    ),
    "forward_filled": (
        lambda: run(
            {"A": [10, 10, 10, None, None], "B": [10] * 5}, {1: {"A": 0.5, "B": 0.5}}
        ),
        (2, DAYS[3], "A"),
    ),
    "not_listed": (
        lambda: run(
            {"A": [10] * 4, "B": [None, None, 10, 10]},
            {0: {"A": 0.5}, 1: {"A": 0.5, "B": 0.5}},
        ),
        (1, DAYS[1], "B"),
    ),
    "no_bar": (
        lambda: run(
            {"A": [10] * 4, "B": [10, 10, None, 10]},
            {0: HALVES[0], 2: HALVES[0]},
            missing_data=bl.MissingData(at_decision="skip"),
        ),
        (1, DAYS[2], "B"),
    ),
    "rounded": (
        lambda: run(
            {"A": [10] * 3, "B": [30] * 3}, {1: {"A": 0.5, "B": 0.5}}, execution=WHOLE
        ),
        (1, DAYS[1], "B"),
    ),
    "below_min_trade_value": (
        lambda: run(
            {"A": [10] * 3, "B": [10] * 3},
            {1: {"A": 0.5, "B": 0.01}},
            limits=bl.Limits(min_trade_value=50.0),
        ),
        (1, DAYS[1], "B"),
    ),
    "missing_bar": (
        lambda: run({"A": [10, None, None, 10], "B": [10] * 4}, HALVES),
        (1, DAYS[0], "A"),
    ),
    "scaled_to_cash": (
        lambda: run({"A": [10, 12, 12], "B": [10] * 3}, HALVES),
        (2, DAYS[0], "A"),
    ),
    "replaced": (
        lambda: run(
            {"A": [10] * 4, "B": [10, None, None, 10]}, {0: HALVES[0], 2: {"A": 0.5}}
        ),
        (1, DAYS[0], "B"),
    ),
    "cancelled_by_ruin": (lambda: result_of("ruined"), (1, DAYS[0], "C")),
    "same_close": (
        lambda: run(
            {"A": [10] * 3}, {0: {}}, execution=bl.Execution(fill="same_close")
        ),
        (1, None, None),
    ),
    "ruined": (lambda: result_of("ruined"), (1, DAYS[3], None)),
    "blocked_after_exit": (
        lambda: run(
            ranged({"A": [10, 10, 10, 8, 8, 8]}),
            {t: {"A": 0.5} for t in range(6)},
            exits=bl.Exits(stop_loss=0.15),
        ),
        # Stopped on bar 3: no order on that bar and the bars after it.
        (3, DAYS[3], "A"),
    ),
    "max_weight": (
        lambda: run({"A": [10] * 3}, HALF, limits=bl.Limits(max_weight=0.3)),
        (1, DAYS[0], "A"),
    ),
    "max_gross": (
        lambda: run(
            {"A": [10] * 3, "B": [10] * 3},
            {1: {"A": 0.8, "B": 0.8}},
            limits=bl.Limits(on_excess="scale"),
        ),
        (2, DAYS[1], "A"),
    ),
    "drift_band": (
        lambda: run(
            {"A": [10] * 4},
            {0: {"A": 0.5}, 2: {"A": 0.51}},
            limits=bl.Limits(drift_band=0.02),
        ),
        (1, DAYS[2], "A"),
    ),
    "max_turnover": (
        lambda: run({"A": [10] * 3}, HALF, limits=bl.Limits(max_turnover=0.1)),
        (1, DAYS[0], "A"),
    ),
    "no_volume": (
        lambda: run(
            ranged({"A": [10] * 4}, volume=[100.0, None, 100.0, 100.0]),
            HALF,
            slippage=bl.Slippage(volume_impact=0.1),
        ),
        (1, DAYS[0], "A"),
    ),
    "max_participation": (
        lambda: run(
            ranged({"A": [10] * 3}), HALF, limits=bl.Limits(max_participation=0.1)
        ),
        (1, DAYS[0], "A"),
    ),
    "rejected_at_submission": (
        lambda: run(
            ranged({"A": [10] * 3, "B": [10] * 3}),
            HALVES,
            commission=bl.Commission(bps=100),
            execution=bl.Execution(
                compat="backtrader", cash_rule="reject", sequence="asset_order"
            ),
        ),
        (1, DAYS[0], "B"),
    ),
    "partial_cash": (
        lambda: run(
            {"A": [10, 15, 15], "B": [10] * 3},
            HALVES,
            execution=bl.Execution(cash_rule="partial"),
        ),
        (1, DAYS[0], "B"),
    ),
    "rejected_for_cash": (
        lambda: run(
            {"A": [10, 15, 15], "B": [10] * 3},
            HALVES,
            execution=bl.Execution(cash_rule="reject"),
        ),
        (1, DAYS[0], "B"),
    ),
    "cancelled_by_exit": (
        lambda: run(
            no_open({"A": [10, 10, 8, 8]}, 2, "A"),
            {0: {"A": 0.5}, 1: {"A": 0.9}},
            exits=bl.Exits(stop_loss=0.15),
        ),
        (1, DAYS[1], "A"),
    ),
    "cancelled_by_margin_call": (called, (1, DAYS[2], "A")),
    "cancelled_by_max_drawdown": (stopped, (1, DAYS[0], "B")),
    "cancelled_by_delisting": (
        lambda: run(
            {"A": [10] * 4, "B": [10, None, None, None]},
            HALVES,
            actions=actions((2, "B", "delisting", None)),
        ),
        (1, DAYS[0], "B"),
    ),
    "stop_loss": (exit_by(stop_loss=0.1), (1, DAYS[4], "A")),
    "atr_stop": (exit_by(atr_stop=(2.0, "atr")), (1, DAYS[2], "A")),
    "trailing_stop": (exit_by(trailing_stop=0.09), (1, DAYS[3], "A")),
    "take_profit": (exit_by(take_profit=0.1), (1, DAYS[3], "B")),
    "max_bars_held": (exit_by(max_bars_held=2), (2, DAYS[3], "A")),
    "margin_call": (called, (1, DAYS[3], "A")),
    "delisted": (
        lambda: run(
            {"A": [10] * 3, "B": [10, 10]},
            HALVES,
            actions=actions((2, "B", "delisting", -0.5)),
        ),
        (1, DAYS[2], "B"),
    ),
    "max_drawdown": (stopped, (1, DAYS[2], None)),
    "null_range": (
        lambda: run(
            ranged({"A": [10] * 4}, low=[9.0, 9.0, None, None]),
            HALF,
            exits=bl.Exits(stop_loss=0.5),
        ),
        (2, DAYS[2], "A"),
    ),
    "no_atr": (
        lambda: run(
            ranged({"A": [10] * 3}, atr=[None, 1.0, 1.0]),
            HALF,
            exits=bl.Exits(atr_stop=(2.0, "atr")),
        ),
        (1, DAYS[1], "A"),
    ),
}


@pytest.mark.parametrize("kind", NOTICES)
def test_each_kind_of_notice_is_counted_with_its_first_place(kind):
    make, (count, first, asset) = NOTICES[kind]
    found = make().notices.filter(pl.col("notice") == kind)
    assert found.select("count", "first_date", "first_symbol").rows() == [
        (count, first, asset)
    ]
    assert len(found["message"][0]) > 20


def test_there_is_an_example_of_every_reason():
    names = run_notices.NAMES
    renamed = {names.get(code, code.name.lower()) for code in Reason}
    assert renamed | {code.name.lower() for code in run_notices.EXITS} <= set(NOTICES)


def test_a_plain_run_has_no_notices():
    result = run({"A": [10, 11, 12]}, {t: {"A": 0.5} for t in range(3)})
    assert result.fills.height > 0
    assert result.notices.height == 0
    assert "Notices" not in str(result)
    assert "Notices" not in result._repr_html_()


def test_notices_of_an_equity_curve_count_scaled_bars():
    result = run({"A": [10, 12, 12], "B": [10] * 3}, HALVES, keep="equity")
    assert result.notices.select("notice", "count", "first_date").rows() == [
        ("no_decision", 2, DAYS[1]),
        ("scaled_to_cash", 1, DAYS[1]),
    ]


@pytest.mark.parametrize("fill", ["next_close", "same_close"])
def test_an_earlier_close_is_counted_once_per_bar(fill):
    # With same_close the account is valued twice on a bar of a decision.
    result = run(
        {"A": [10, 10, None, 10], "B": [10] * 4},
        {0: HALVES[0], 2: {"A": 0.5, "B": 0.4}},
        execution=bl.Execution(fill=fill),
    )
    found = result.notices.filter(pl.col("notice") == "forward_filled")
    assert found.select("count", "first_date", "first_symbol").rows() == [
        (1, DAYS[2], "A")
    ]


def test_a_delisting_that_leaves_a_position_says_what_to_set():
    found = left_by_delistings().notices.filter(notice="delisted_held")
    assert found["message"].to_list() == [
        "delistings without a return left a position as it was; set "
        'missing_data=MissingData(delisted="cash_out") or "write_off", or give them a '
        "return"
    ]


def test_only_a_position_that_stays_is_counted_as_left():
    sold = run(
        {"A": [10] * 5, "B": [10] * 5},
        {1: {"A": 0.5}, 2: {"B": 0.5}},
        execution=bl.Execution(fill="same_close"),
        actions=actions(
            # Bought on the bar of the first, after it; sold on that of the second.
            (1, "A", "delisting", None),
            (2, "A", "delisting", None),
            (3, "A", "delisting", None),
            (4, "B", "delisting", None),
        ),
    )
    found = sold.notices.filter(notice="delisted_held")
    assert found.select("count", "first_date", "first_symbol").rows() == [
        (2, DAYS[2], "A")
    ]
    for other in (
        left_by_delistings("cash_out"),
        left_by_delistings("write_off"),
        left_by_delistings(keep="equity"),
    ):
        assert "delisted_held" not in other.notices["notice"].to_list()


def test_notices_name_each_kind_once():
    result = result_of("ruined")
    assert result.notices["notice"].is_unique().all()
    # Notices of the data come first, then of the context, then of the run.
    wanted = [
        "no_decision",
        "forward_filled",
        "missing_bar",
        "cancelled_by_ruin",
        "ruined",
    ]
    assert [n for n in result.notices["notice"] if n in wanted] == [
        n for n in wanted if n in set(result.notices["notice"])
    ]


# ------------------------------------------------------------------------ print

TINY = {"A": [10, 10, 12, 9, 9, 10], "B": [20, 20, 20, 20, 20, 20]}
TINY_DECISIONS = {0: {"A": 0.5}, 2: {"A": 0.5, "B": 0.5}, 4: {}}


def tiny() -> bl.BacktestResult:
    return run(
        TINY,
        TINY_DECISIONS,
        commission=bl.Commission(bps=10),
        slippage=bl.Slippage(bps=50),
    )


# Bar 1 buys 50 A at 10.05: cash 1000 - 502.50 - 0.5025 = 496.9975.
# Bar 3 sells 4.2918 A at 8.955, which leaves 45.7082, and buys B for all the cash
# there is, 535.3918 / (20.1 * 1.001) = 26.6098.
# Bar 5 sells both: (45.7082 * 9.95 + 26.6098 * 19.9) * 0.999 = 983.3476.
# CAGR: 0.98335 ** (252 / 6) - 1 = -0.506.
TINY_TEXT = """\
BacktestResult
  period                2024-01-02 to 2024-01-09
  bars, assets                              6, 2
  final equity                            983.35
  total return                            -1.67%
  CAGR                                   -50.60%
  volatility                             125.82%
  Sharpe                                   -0.01
  max drawdown                           -13.99%
  turnover per year                        44.36
  commission                                2.06
  slippage                                 10.30
  fills                                        5
  rebalances, skipped                       3, 3
  positions at the end                         0
Notices
  3 x bars of the schedule had no decision (no_decision)
  1 x opening buys were scaled to the cash there was (scaled_to_cash)"""


def test_print_shows_the_run_on_one_narrow_page():
    assert str(tiny()) == TINY_TEXT
    assert repr(tiny()) == TINY_TEXT


def test_the_numbers_that_print_shows_are_right():
    result = tiny()
    quantities = [50.0, -4.291771, 26.609802, -45.708229, -26.609802]
    assert result.fills["quantity"].to_list() == pytest.approx(quantities, rel=1e-6)
    assert result.final_equity == pytest.approx(983.3476, rel=1e-6)
    equity = [1000.0, 996.9975, 1096.9975, 943.5701, 943.5701, 983.3476]
    assert result.equity["equity"].to_list() == pytest.approx(equity, rel=1e-6)


def test_print_shows_a_ruin_and_no_ratios():
    lines = str(result_of("ruined")).splitlines()
    assert "  ruined at                           2024-01-05" in lines
    assert "  CAGR                                         -" in lines
    assert "  total return                          -300.27%" in lines
    assert lines[-3:] == [
        "  1 x orders met a bar without a fill price (missing_bar)",
        "  1 x waiting orders were cancelled by the ruin (cancelled_by_ruin)",
        "  1 x equity fell to 0 or below (ruined)",
    ]


DATA_NOTICES = {"price_outside_range", "null_close", "context_gap"}


@pytest.mark.parametrize("kind", sorted(set(NOTICES) - DATA_NOTICES))
def test_print_stays_within_79_characters(kind):
    assert max(len(line) for line in str(NOTICES[kind][0]()).splitlines()) <= 79


def test_messages_leave_room_for_large_counts():
    names = run_notices.NAMES | run_notices.COUNTER_NAMES
    for codes in (run_notices.MESSAGES, run_notices.EXITS, run_notices.COUNTED):
        for code, message in codes.items():
            name = names.get(code, code.name.lower())
            assert len(f"  1,234,567 x {message} ({name})") <= 79


def test_html_has_the_same_rows_as_print_and_is_escaped():
    result = run(
        {"<b>": [10, 12, 12], "B": [10] * 3}, {0: {"<b>": 0.5, "B": 0.5}, 1: {}, 2: {}}
    )
    text = result._repr_html_()
    rows = re.findall(r"<tr><td [^>]*>([^<]*)</td><td [^>]*>([^<]*)</td></tr>", text)
    printed = str(result).split("\nNotices\n")
    assert [f"  {name:<20}  {value:>24}" for name, value in rows] == printed[
        0
    ].splitlines()[1:]
    items = [html.unescape(one) for one in re.findall(r"<li>([^<]*)</li>", text)]
    assert ["  " + item for item in items] == printed[1].splitlines()
    assert items == [
        "2 x opening buys were scaled to the cash there was (scaled_to_cash)"
    ]
    assert text.startswith("<div><table>")
    assert text.count("<details>") == text.count("</details>") == 1
    assert text.endswith("</div>")


def stale(n_bars_without: int) -> bl.BacktestResult:
    """Hold <b> for the last bars, on which it has no bar."""
    n_bars = n_bars_without + 3
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=t) for t in range(n_bars)]
    df = pl.DataFrame(
        {
            "date": days[:3] + days,
            "symbol": ["<b>"] * 3 + ["other"] * n_bars,
            "open": [10.0] * (n_bars + 3),
            "close": [10.0] * (n_bars + 3),
        }
    )
    return run(df, {0: {"<b>": 0.5}})


def test_print_names_a_held_asset_without_a_bar_for_more_than_20_bars():
    remark = '  "<b>" is held without a bar since 2024-01-03'
    assert remark not in str(stale(20)).splitlines()
    assert remark in str(stale(21)).splitlines()
    in_html = "<li>&quot;&lt;b&gt;&quot; is held without a bar since 2024-01-03</li>"
    assert in_html in stale(21)._repr_html_()
    assert stale(21).notices["notice"].to_list() == ["no_decision", "forward_filled"]


def test_print_says_what_was_not_counted():
    least = str(run(TINY, TINY_DECISIONS, keep="metrics"))
    assert least.endswith("Notices\n  not counted with keep='metrics'")
    curve = str(run(TINY, TINY_DECISIONS, keep="equity"))
    assert curve.endswith("what bound on single orders is counted with keep='full'")
    assert "keep=" not in str(run(TINY, TINY_DECISIONS))
