"""Trades: what opens a position and what closes it, against a slow matching."""

from __future__ import annotations

import datetime as dt
import math
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given

import barloop as bl
from barloop.errors import ConfigError, PanelError, SimulationError
from strategies import examples
from strategies_full import full_worlds

DAYS = [dt.date(2024, 1, day) for day in (2, 3, 4, 5, 8, 9, 10, 11)]
SHORTS = bl.Limits(allow_short=True, max_gross=2.0)
Bar = Mapping[str, float | None] | float | None


def market(prices: Mapping[str, list[Bar]]) -> pl.DataFrame:
    """Make rows by asset: all prices the same number, or by name; None is no row."""
    rows = []
    for asset, path in prices.items():
        for day, given_ in zip(DAYS, path, strict=False):
            if given_ is None:
                continue
            fields = dict(given_) if isinstance(given_, Mapping) else {"close": given_}
            close = fields["close"]
            row = {"date": day, "symbol": asset, "open": close} | fields
            rows.append(row)
    names = sorted({name for row in rows for name in row} - {"date", "symbol"})
    schema = {"date": pl.Date, "symbol": pl.String, **dict.fromkeys(names, pl.Float64)}
    return pl.DataFrame(rows, schema=schema)


def run(
    prices: Mapping[str, list[Bar]], decisions: Mapping[int, Any], **fields: Any
) -> bl.BacktestResult:
    """Run with decisions by number of the bar."""
    return bl.run_backtest(
        market(prices),
        lambda bar: decisions.get(bar.t),
        **{"initial_cash": 1000.0, **fields},
    )


def only(trades: pl.DataFrame) -> dict[str, Any]:
    assert trades.height == 1
    return trades.row(0, named=True)


def bars(*ranges: tuple[float, float, float, float]) -> list[Bar]:
    return [
        dict(zip(("open", "high", "low", "close"), one, strict=True)) for one in ranges
    ]


# ------------------------------------------------------------------- one round trip


def test_a_round_trip_with_costs():
    result = run(
        {"A": [10, 10, 12, 12]},
        {0: {"A": 0.5}, 1: {}},
        commission=bl.Commission(bps=10),
        slippage=bl.Slippage(bps=100),
    )
    # 50 bought at 10.10 and sold at 11.88; commission a thousandth of 505 and of 594
    commission = 0.505 + 0.594
    pnl = 50 * (11.88 - 10.10) - commission
    assert only(result.trades) == {
        "symbol": "A",
        "side": "long",
        "entry_date": DAYS[1],
        "exit_date": DAYS[2],
        "quantity": 50.0,
        "entry_price": pytest.approx(10.10, rel=1e-12),
        "exit_price": pytest.approx(11.88, rel=1e-12),
        "pnl": pytest.approx(pnl, rel=1e-12),
        "return": pytest.approx(pnl / 505, rel=1e-12),
        "commission": pytest.approx(commission, rel=1e-12),
        "bars_held": 1,
        # Without highs and lows: the close of bar 1, at 10, and the exit.
        "mae": pytest.approx(10 / 10.10 - 1, rel=1e-12),
        "mfe": pytest.approx(11.88 / 10.10 - 1, rel=1e-12),
        "entry_reason": "none",
        "exit_reason": "order",
        "is_open": False,
    }
    assert result.final_equity == pytest.approx(1000 + pnl)


def test_a_short_gains_when_the_price_falls():
    result = run({"A": [10, 10, 12, 8, 8]}, {0: {"A": -0.5}, 2: {}}, limits=SHORTS)
    trade = only(result.trades)
    assert (trade["side"], trade["quantity"]) == ("short", 50.0)
    assert (trade["entry_price"], trade["exit_price"]) == (10.0, 8.0)
    assert (trade["pnl"], trade["return"]) == (100.0, 0.2)
    assert trade["mae"] == pytest.approx(-0.2)
    assert trade["mfe"] == pytest.approx(0.2)
    assert trade["bars_held"] == 2


def test_an_open_trade_is_worth_its_last_close():
    result = run({"A": [10, 10, 13, None], "B": [1] * 4}, {0: {"A": 0.5}})
    trade = only(result.trades)
    assert trade["is_open"]
    assert (trade["exit_date"], trade["exit_price"], trade["exit_reason"]) == (
        None,
        None,
        None,
    )
    assert (trade["pnl"], trade["return"]) == (150.0, 0.3)
    # From bar 1 to the last bar of the run, whether or not the asset has one.
    assert trade["bars_held"] == 2
    assert result.exit_reasons.height == 0


# 50 at 10 and 50 at 20, then 25 sold at 30 and 75 at 12
PATH = {"A": [10, 10, 20, 30, 12, 12]}
STEPS = {
    0: {"A": 0.5},  # 50 at 10 of 1000
    1: {"A": 1.0},  # 50 more at 20, but only 500 is left: 25
    2: {"A": 0.5},
    3: {},
}


def test_average_and_fifo_tell_the_same_fills_in_two_ways():
    result = run(PATH, STEPS)
    # Bar 2 buys 25 at 20 with the 500 that are left; it closes at 75 * 20 = 1500.
    # Bar 3 sells 37.5 of 75 at 30, bar 4 the other 37.5 at 12.
    quantities = [50.0, 25.0, -37.5, -37.5]
    assert result.fills["quantity"].to_list() == pytest.approx(quantities)
    average = only(result.trades)
    assert (average["entry_date"], average["exit_date"]) == (DAYS[1], DAYS[4])
    assert average["quantity"] == pytest.approx(75.0)
    assert average["entry_price"] == pytest.approx(1000 / 75)
    assert average["exit_price"] == pytest.approx((30 + 12) / 2)
    assert average["pnl"] == pytest.approx(37.5 * 42 - 1000)
    assert average["return"] == pytest.approx(0.575)
    assert average["entry_reason"] == "none"
    fifo = result.round_trips(method="fifo")
    columns = ("quantity", "entry_price", "exit_price", "pnl", "bars_held")
    wanted = [
        (37.5, 10.0, 30.0, 750.0, 2),  # of the first 50
        (12.5, 10.0, 12.0, 25.0, 3),  # the rest of them
        (25.0, 20.0, 12.0, -200.0, 2),
    ]
    for row, values in zip(fifo.select(columns).rows(), wanted, strict=True):
        assert row == pytest.approx(values)
    assert fifo["entry_date"].to_list() == [DAYS[1], DAYS[1], DAYS[2]]
    assert fifo["entry_reason"].to_list() == ["none", "none", "scaled_to_cash"]
    assert fifo["pnl"].sum() == pytest.approx(average["pnl"])


def test_moves_are_measured_from_the_average_of_what_is_open():
    trade = only(run(PATH, STEPS).trades)
    # Bar 1: 10 from 10.  Bar 2: 20 from 13.33.  Bar 3: 30.  Bar 4: 12.
    assert trade["mfe"] == pytest.approx(30 / (1000 / 75) - 1)
    assert trade["mae"] == pytest.approx(12 / (1000 / 75) - 1)


def test_an_order_that_flips_closes_one_trade_and_opens_another():
    result = run(
        {"A": [10, 10, 12, 11, 11]},
        {0: {"A": 0.5}, 1: {"A": -0.25}, 2: {}},
        commission=bl.Commission(per_order=3.0),
        limits=SHORTS,
    )
    # Equity 997 at a close of 10: from 50 to -24.925, so 74.925 sold at 12 for 3
    sold = 50 + 0.25 * 997 / 10
    assert result.fills["quantity"].to_list() == pytest.approx([50, -sold, sold - 50])
    long, short = result.trades.iter_rows(named=True)
    assert (long["side"], long["quantity"], long["exit_reason"]) == (
        "long",
        50.0,
        "order",
    )
    assert long["commission"] == pytest.approx(3 + 3 * 50 / sold)
    assert long["pnl"] == pytest.approx(100 - long["commission"])
    assert (short["side"], short["entry_date"]) == ("short", long["exit_date"])
    assert short["quantity"] == pytest.approx(sold - 50)
    assert short["commission"] == pytest.approx(3 * (sold - 50) / sold + 3)
    assert short["pnl"] == pytest.approx(sold - 50 - short["commission"])
    assert result.trades["commission"].sum() == pytest.approx(9.0)
    fifo = result.round_trips(method="fifo")
    assert (
        fifo.drop("symbol", "side").rows()
        == result.trades.drop("symbol", "side").rows()
    )


def test_trades_are_sorted_by_entry():
    result = run(
        {"A": [10] * 7, "B": [20] * 7},
        {0: {"B": 0.3}, 1: {"A": 0.2, "B": 0.3}, 3: {}, 4: {"A": 0.1}},
    )
    columns = ("symbol", "entry_date", "exit_date")
    assert result.trades.select(columns).rows() == [
        ("B", DAYS[1], DAYS[4]),
        ("A", DAYS[2], DAYS[4]),
        ("A", DAYS[5], None),
    ]


def test_a_run_without_fills_has_no_trades():
    result = run({"A": [10, 11]}, {})
    for trades in (result.trades, result.round_trips(method="fifo")):
        assert trades.height == 0
    assert result.round_trips(features=["close"]).columns[-1] == "close"
    assert result.exit_reasons.height == 0


# ----------------------------------------------------------- the prices that it meets

RANGES = {
    "A": bars(
        (10, 11, 9, 10),  # decides to buy
        (10, 10.5, 9.5, 10),
        (10, 13, 8, 11),  # decides to sell
        (11, 20, 5, 12),
        (12, 30, 1, 12),
    )
}


@pytest.mark.parametrize(
    ("fill", "mae", "mfe"),
    [
        # Bought at the open of bar 1 at 10, sold at the open of bar 3 at 11: the
        # ranges of bars 1 and 2.
        ("next_open", 8 / 10 - 1, 13 / 10 - 1),
        # Bought at the close of bar 1 at 10, sold at the close of bar 3 at 12: the
        # ranges of bars 2 and 3.
        ("next_close", 5 / 10 - 1, 20 / 10 - 1),
        # Bought at the close of bar 0 at 10, sold at the close of bar 2 at 11: the
        # ranges of bars 1 and 2.
        ("same_close", 8 / 10 - 1, 13 / 10 - 1),
    ],
)
def test_moves_are_those_of_the_bars_that_were_held(fill, mae, mfe):
    result = run(RANGES, {0: {"A": 0.5}, 2: {}}, execution=bl.Execution(fill=fill))
    trade = only(result.trades)
    assert trade["mae"] == pytest.approx(mae)
    assert trade["mfe"] == pytest.approx(mfe)


def test_a_null_low_or_high_is_that_of_open_and_close():
    path = bars((10, 11, 9, 10), (10, 12, 9.5, 11), (9, 9, 9, 9), (9, 9, 9, 9))
    path[1] = {"open": 10, "high": None, "low": None, "close": 12}
    path[2] = {"open": None, "high": None, "low": None, "close": 9}
    trade = only(run({"A": path}, {0: {"A": 0.5}}).trades)
    assert (trade["mae"], trade["mfe"]) == pytest.approx((-0.1, 0.2))


def test_before_a_stop_only_the_open_of_its_bar_was_met():
    path = bars(
        (10, 10, 10, 10), (10, 10.5, 9.8, 10), (10.2, 20, 8, 15), (15, 15, 15, 15)
    )
    result = run({"A": path}, {0: {"A": 0.5}}, exits=bl.Exits(stop_loss=0.1))
    trade = only(result.trades)
    # Stopped at 9 within bar 2; whether the high of 20 came before is not known.
    assert (trade["exit_reason"], trade["exit_price"]) == ("stop_loss", 9.0)
    assert (trade["mae"], trade["mfe"]) == pytest.approx((-0.1, 0.05))
    assert result.exit_reasons.rows() == [
        ("stop_loss", 1, pytest.approx(-50.0), pytest.approx(-0.1), 0.0)
    ]


def test_a_position_may_be_stopped_on_its_first_bar():
    path = bars((10, 10, 10, 10), (10, 11, 8, 10.5), (10, 10, 10, 10))
    result = run({"A": path}, {0: {"A": 0.5}}, exits=bl.Exits(stop_loss=0.1))
    trade = only(result.trades)
    assert (trade["entry_date"], trade["exit_date"]) == (DAYS[1], DAYS[1])
    assert (trade["bars_held"], trade["exit_price"]) == (0, 9.0)
    assert (trade["mae"], trade["mfe"]) == pytest.approx((-0.1, 0.0))


def test_a_position_closed_by_age_does_not_meet_the_bar():
    path = bars((10, 10, 10, 10), (10, 11, 9, 10), (10.5, 30, 1, 10), (10, 10, 10, 10))
    result = run({"A": path}, {0: {"A": 0.5}}, exits=bl.Exits(max_bars_held=1))
    trade = only(result.trades)
    assert (trade["exit_reason"], trade["exit_date"]) == ("max_bars_held", DAYS[2])
    assert (trade["mae"], trade["mfe"]) == pytest.approx((-0.1, 0.1))


# ------------------------------------------------------------------- corporate actions


def actions(*rows: tuple[int, str | None, str, float | None]) -> pl.DataFrame:
    named = [(DAYS[t], asset, kind, value) for t, asset, kind, value in rows]
    schema = {
        "date": pl.Date,
        "symbol": pl.String,
        "kind": pl.String,
        "value": pl.Float64,
    }
    return pl.DataFrame(named, schema=schema, orient="row")


@pytest.mark.parametrize("method", ["average", "fifo"])
def test_a_split_changes_units_and_prices_but_no_value(method):
    result = run(
        {"A": [10, 10, 12, 6, 5, 5]},
        {0: {"A": 0.5}, 3: {}},
        actions=actions((3, "A", "split", 2.0)),
    )
    trade = only(result.round_trips(method=method))
    assert (trade["quantity"], trade["entry_price"]) == (100.0, 5.0)
    assert (trade["exit_price"], trade["pnl"], trade["return"]) == (5.0, 0.0, 0.0)
    # The close of 12 before the split was 20 % above 10.
    assert (trade["mae"], trade["mfe"]) == pytest.approx((0.0, 0.2))


def test_dividends_are_carry_and_no_profit_of_a_trade():
    result = run(
        {"A": [10, 10, 10, 10]},
        {0: {"A": 0.5}, 2: {}},
        actions=actions((2, "A", "dividend", 1.0)),
    )
    assert only(result.trades)["pnl"] == 0.0
    assert result.equity["carry"].to_list() == [0.0, 0.0, 50.0, 0.0]
    assert result.final_equity == 1050.0


def test_a_delisting_ends_a_trade():
    result = run(
        {"A": [10, 10, 8], "B": [1.0] * 5},
        {0: {"A": 0.5}},
        actions=actions((3, "A", "delisting", -0.5)),
    )
    trade = only(result.trades)
    assert (trade["exit_reason"], trade["exit_price"]) == ("delisted", 4.0)
    assert (trade["mae"], trade["mfe"]) == pytest.approx((-0.6, 0.0))


# --------------------------------------------------------------------------- features

SCORED = {
    "A": [{"close": 10.0, "score": float(t), "atr": 0.5 * t} for t in range(5)],
    "B": [{"close": 10.0, "score": None, "atr": 1.0} for _ in range(5)],
}


@pytest.mark.parametrize(
    ("fill", "entry"), [("next_open", 2), ("next_close", 2), ("same_close", 1)]
)
def test_features_are_those_of_the_decision_of_the_entry(fill, entry):
    result = run(SCORED, {1: {"A": 0.5, "B": 0.2}}, execution=bl.Execution(fill=fill))
    trades = result.round_trips(features=["score", "atr", "close"])
    assert trades["entry_date"].to_list() == [DAYS[entry]] * 2
    assert trades.select("score", "atr", "close").rows() == [
        (1.0, 0.5, 10.0),
        (None, 1.0, 10.0),
    ]
    assert trades.drop("score", "atr", "close").equals(result.trades)
    assert result.round_trips(features="score")["score"].to_list() == [1.0, None]


def test_features_of_an_order_that_waited_are_those_of_its_decision():
    path = [{"close": 10.0, "score": float(t)} for t in range(5)]
    path[2] = None
    path[3] = {"close": 10.0, "open": None, "score": 3.0}
    result = run({"A": path, "B": [1.0] * 5}, {1: {"A": 0.5}})
    trade = only(result.round_trips(features=["score"]))
    assert (trade["entry_date"], trade["score"]) == (DAYS[4], 1.0)
    assert trade["entry_reason"] == "missing_bar"


def test_unknown_features_and_methods_are_refused():
    result = run(SCORED, {1: {"A": 0.5}})
    with pytest.raises(PanelError, match=r"no feature is named 'scor'.*'score'"):
        result.round_trips(features=["scor"])
    with pytest.raises(
        ConfigError, match=r"method must be one of.*Did you mean 'fifo'"
    ):
        result.round_trips(method="fifi")
    message = (
        "the feature 'pnl' has the name of a column of trades.\n"
        "Hint: rename it in the data."
    )
    named = {"A": [{"close": 10.0, "pnl": 1.0}] * 3}
    with pytest.raises(SimulationError, match=f"^{re.escape(message)}$"):
        run(named, {0: {"A": 0.5}}).round_trips(features=["pnl"])


# ------------------------------------------------------------------------ exit reasons


def test_exit_reasons_sum_closed_trades_up():
    prices = {
        # bought at 10, stopped at 9; target at 12; sold at 10; never sold
        "A": bars((10, 10, 10, 10), (10, 10, 10, 10), (10, 10, 8, 9), (9, 9, 9, 9)),
        "B": bars((10, 10, 10, 10), (10, 10, 10, 10), (10, 13, 10, 13), (9, 9, 9, 9)),
        "C": bars((10, 10, 10, 10), (10, 10, 10, 10), (10, 10, 10, 10), (10,) * 4),
        "D": bars((10, 10, 10, 10), (10, 10, 10, 10), (10, 10, 10, 10), (11,) * 4),
    }
    result = run(
        prices,
        {0: dict.fromkeys("ABCD", 0.2), 2: bl.partial({"C": 0.0})},
        exits=bl.Exits(stop_loss=0.1, take_profit=0.2),
    )
    assert result.exit_reasons.rows() == [
        ("order", 1, 0.0, 0.0, None),
        ("stop_loss", 1, pytest.approx(-20.0), pytest.approx(-0.1), 0.0),
        ("take_profit", 1, pytest.approx(40.0), pytest.approx(0.2), 1.0),
    ]
    assert result.trades["is_open"].sum() == 1


# ------------------------------------------------------------- against a slow matching

AT_OPEN = {"max_bars_held", "delisted"}
AT_CLOSE = {"margin_call", "ruined"}


@dataclass
class Lot:
    """What is open of one trade, or of one opening fill with ``"fifo"``."""

    side: int
    entry: int
    reason: str
    left: float = 0.0
    average: float = 0.0
    opened: float = 0.0
    paid: float = 0.0
    closed: float = 0.0
    received: float = 0.0
    commission: float = 0.0
    mae: float = 0.0
    mfe: float = 0.0

    def meet(self, price: float | None) -> None:
        if price is not None and not math.isnan(price) and self.average > 0.0:
            move = self.side * (price / self.average - 1.0)
            self.mae, self.mfe = min(self.mae, move), max(self.mfe, move)

    def part(self, share: float) -> Lot:
        """Take a share of it out."""
        other = Lot(**self.__dict__)
        for name in ("left", "opened", "paid", "commission"):
            whole = getattr(self, name)
            setattr(other, name, share * whole)
            setattr(self, name, whole - share * whole)
        return other


class Matching:
    """Match the fills of a result bar by bar, in plain Python."""

    def __init__(self, result: bl.BacktestResult, method: str) -> None:
        self.fifo = method == "fifo"
        self.rows: list[dict[str, Any]] = []
        panel = result.panel
        self.bars = list(result.equity[panel.timestamp_name])
        self.panel = {
            (row[panel.timestamp_name], row[panel.asset_name]): row
            for row in panel.frame.iter_rows(named=True)
            if row["close"] is not None and not math.isnan(row["close"])
        }
        self.closes_orders = result.config.execution.fill != "next_open"
        reasons = dict(result.orders.select("order_id", "reason").iter_rows())
        events = defaultdict(list)
        for flow in result.cash_flows.iter_rows(named=True):
            if flow["kind"] == "split":
                events[self.key(flow, panel)].append(("split", flow))
        for fill in result.fills.iter_rows(named=True):
            fill["entry_reason"] = reasons.get(fill["order_id"])
            events[self.key(fill, panel)].append((self.moment(fill), fill))
        for asset in panel.assets:
            self.match(asset, events)

    def key(self, row: dict[str, Any], panel: bl.Panel) -> tuple[int, Any]:
        return self.bars.index(row[panel.timestamp_name]), row[panel.asset_name]

    def moment(self, fill: dict[str, Any]) -> str:
        if fill["reason"] in AT_OPEN:
            return "open"
        if fill["reason"] in AT_CLOSE:
            return "close"
        if fill["reason"] in ("order", "max_drawdown"):
            return "close" if self.closes_orders else "open"
        return "inside"

    def match(self, asset: Any, events: Any) -> None:
        lots: list[Lot] = []
        last = None
        for t, day in enumerate(self.bars):
            today = events[t, asset]
            bar = self.panel.get((day, asset))
            for moment, event in today:
                if moment == "split":
                    for lot in lots:
                        lot.left *= event["ratio"]
                        lot.opened *= event["ratio"]
                        lot.closed *= event["ratio"]
                        lot.average /= event["ratio"]
                    last = None if last is None else last / event["ratio"]
                elif moment == "open":
                    self.fill(asset, t, lots, event)
            inside = [event for moment, event in today if moment == "inside"]
            if bar is not None:
                for price in prices_of(bar, stopped=bool(inside)):
                    for lot in lots:
                        lot.meet(price)
                last = bar["close"]
            for event in inside:
                self.fill(asset, t, lots, event)
            for moment, event in today:
                if moment == "close":
                    self.fill(asset, t, lots, event)
        for lot in lots:
            self.close(asset, lot, None, None, last)

    def fill(self, asset: Any, t: int, lots: list[Lot], fill: dict[str, Any]) -> None:
        size, price = abs(fill["quantity"]), fill["price"]
        side = 1 if fill["quantity"] > 0 else -1
        left = size
        while lots and lots[0].side != side and left > 1e-9 * size:
            lot = lots[0]
            whole = left >= lot.left * (1 - 1e-9)
            if self.fifo and not whole:
                lot = lots[0].part(left / lots[0].left)
            part = lot.left if whole else left
            lot.meet(price)
            lot.closed += part
            lot.received += part * price
            lot.commission += fill["commission"] * part / size
            lot.left -= part
            left -= part
            if whole:
                lots.pop(0)
            if whole or self.fifo:
                self.close(asset, lot, t, fill["reason"], price)
        if left <= 1e-9 * size:
            return
        if not lots or self.fifo:
            lots.append(Lot(side, t, fill["entry_reason"]))
        lot = lots[-1]
        lot.average = (lot.average * lot.left + left * price) / (lot.left + left)
        lot.left += left
        lot.opened += left
        lot.paid += left * price
        lot.commission += fill["commission"] * left / size

    def close(
        self, asset: Any, lot: Lot, t: int | None, reason: Any, price: float | None
    ) -> None:
        worth = lot.left * price if t is None else 0.0
        pnl = lot.side * (lot.received + worth - lot.paid) - lot.commission
        row = {
            "asset": asset,
            "side": "long" if lot.side > 0 else "short",
            "entry": self.bars[lot.entry],
            "exit": None if t is None else self.bars[t],
            "quantity": lot.opened,
            "entry_price": lot.paid / lot.opened,
            "exit_price": lot.received / lot.closed if lot.closed else None,
            "pnl": pnl,
            "return": pnl / lot.paid if lot.paid else None,
            "commission": lot.commission,
            "bars_held": (len(self.bars) - 1 if t is None else t) - lot.entry,
            "mae": lot.mae,
            "mfe": lot.mfe,
            "entry_reason": lot.reason,
            "exit_reason": reason,
            "is_open": t is None,
        }
        self.rows.append(row)


def prices_of(bar: dict[str, Any], *, stopped: bool) -> Iterator[float | None]:
    """What a position met on a bar, before a stop or a target only its open."""
    if stopped:
        yield bar["open"]
        return
    opened = bar["open"] if number(bar["open"]) else bar["close"]
    low, high = bar.get("low"), bar.get("high")
    yield low if number(low) else min(opened, bar["close"])
    yield high if number(high) else max(opened, bar["close"])


def number(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    last = row["exit"] or dt.date.max
    return row["asset"], row["entry"], last, row["quantity"]


@examples(80)
@given(world=full_worlds())
def test_trades_equal_a_slow_matching(world):
    result = world.run()
    for method in ("average", "fifo"):
        assert_equals_slow(result, method)


def assert_equals_slow(result: bl.BacktestResult, method: Any) -> None:
    """Raise unless trades equal those of the slow matching, in any order."""
    moved = (result.fills["quantity"] * result.fills["price"]).abs().sum()
    found = result.round_trips(method=method).rename(
        {"entry_timestamp": "entry", "exit_timestamp": "exit"}
    )
    rows = sorted(found.iter_rows(named=True), key=key_of)
    wanted = sorted(Matching(result, method).rows, key=key_of)
    assert len(rows) == len(wanted)
    for row, slow in zip(rows, wanted, strict=True):
        for name, value in slow.items():
            if isinstance(value, float):
                money = moved if name in ("pnl", "commission") else 1.0
                assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-11 * money), (
                    method,
                    name,
                    row,
                    slow,
                )
            else:
                assert row[name] == value, (method, name, row, slow)


# -------------------------------------------------------------------------------- laws


@examples(80)
@given(world=full_worlds())
def test_profit_carry_and_deposits_are_the_change_of_equity(world):
    result = world.run()
    curve = result.equity
    change = result.final_equity - result.config.initial_cash
    scale = max(
        result.config.initial_cash,
        curve["cash"].abs().max(),
        (result.fills["quantity"] * result.fills["price"]).abs().sum(),
    )
    put_in = curve["carry"].sum() + curve["deposits"].sum()
    for method in ("average", "fifo"):
        trades = result.round_trips(method=method)
        assert trades["pnl"].sum() + put_in == pytest.approx(
            change, rel=0, abs=1e-9 * scale
        )
        assert trades["commission"].sum() == pytest.approx(
            curve["commission"].sum(), rel=1e-9, abs=1e-9
        )
        open_now = trades.filter("is_open")
        held = result.positions.filter(pl.col("timestamp") == curve["timestamp"][-1])
        assert set(open_now["asset"]) == set(held["asset"])


@examples(80)
@given(world=full_worlds())
def test_the_return_of_the_prices_lies_between_the_worst_and_the_best_move(world):
    result = world.run()
    for method in ("average", "fifo"):
        trades = result.round_trips(method=method)
        for row in trades.filter(~pl.col("is_open")).iter_rows(named=True):
            assert row["mae"] <= 0.0 <= row["mfe"]
            if row["entry_price"]:
                side = 1 if row["side"] == "long" else -1
                move = side * (row["exit_price"] / row["entry_price"] - 1)
                assert row["mae"] - 1e-9 <= move <= row["mfe"] + 1e-9


@examples(60)
@given(world=full_worlds())
def test_exit_reasons_are_those_of_the_closed_trades(world):
    result = world.run()
    closed = result.trades.filter(~pl.col("is_open"))
    reasons = result.exit_reasons
    assert reasons["n_trades"].sum() == closed.height
    assert reasons["pnl"].sum() == pytest.approx(closed["pnl"].sum(), abs=1e-6)
    for row in reasons.iter_rows(named=True):
        own = closed.filter(exit_reason=row["exit_reason"])
        moved = own.filter(pl.col("pnl") != 0.0)
        wins = own.filter(pl.col("pnl") > 0.0).height
        assert row["n_trades"] == own.height
        wanted = wins / moved.height if moved.height else None
        assert row["hit_rate"] == pytest.approx(wanted)


# ------------------------------------------------------------------------- the kernel

SPECIALISATIONS = """
import polars as pl
import barloop as bl
from barloop._kernels import round_trips

bars = bl.datasets.simulate_bars(6, 40, seed=1).with_columns(w=pl.lit(0.15))
frames = [
    bars,
    bars.drop("high", "low", "volume"),
    bars.filter(pl.int_range(pl.len()) % 7 != 0),
    bars.sample(fraction=1.0, shuffle=True, seed=2),
]
for frame in frames:
    for exits in (bl.Exits(), bl.Exits(max_bars_held=3)):
        for keep in ({}, {"end": bars["timestamp"][200]}):
            result = bl.run_backtest(frame, "w", exits=exits, **keep)
            for method in ("average", "fifo"):
                assert result.round_trips(method=method).height > 5
print(len(round_trips.match_fills.nopython_signatures))
for name in ("meet", "meet_range", "part_lot"):
    print(len(getattr(round_trips, name).nopython_signatures))
"""


def test_the_matching_has_one_specialisation():
    made = subprocess.run(
        [sys.executable, "-c", SPECIALISATIONS],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NUMBA_DISABLE_JIT": "0"},
    )
    assert made.returncode == 0, made.stderr[-2000:]
    loop, *parts = map(int, made.stdout.split())
    assert loop == 1
    assert max(parts) <= 1


def test_many_lots_are_matched_as_by_hand():
    # Bought on every bar and sold in parts: 400 bars, a dozen assets.
    rng = np.random.default_rng(4)
    n_bars, names = 400, [f"A{i}" for i in range(12)]
    days = [dt.date(2020, 1, 1) + dt.timedelta(days=t) for t in range(n_bars)]
    close = 20 * np.exp(np.cumsum(rng.normal(0, 0.02, (n_bars, 12)), axis=0))
    spread = 1 + 0.02 * rng.random((n_bars, 12))
    df = pl.DataFrame(
        {
            "timestamp": pl.Series(days).gather(np.repeat(np.arange(n_bars), 12)),
            "asset": names * n_bars,
            "open": (close * (1 + rng.normal(0, 0.01, (n_bars, 12)))).ravel(),
            "close": close.ravel(),
            "w": rng.uniform(-0.02, 0.06, n_bars * 12),
        }
    ).with_columns(
        high=pl.max_horizontal("open", "close") * pl.Series(spread.ravel()),
        low=pl.min_horizontal("open", "close") / pl.Series(spread.ravel()),
    )
    result = bl.run_backtest(
        df,
        "w",
        limits=bl.Limits(allow_short=True, max_gross=2.0, drift_band=0.01),
        commission=bl.Commission(bps=5, minimum=1.0),
        slippage=bl.Slippage(bps=5),
    )
    assert result.round_trips(method="fifo").height > 2 * result.trades.height > 400
    for method in ("average", "fifo"):
        assert_equals_slow(result, method)
