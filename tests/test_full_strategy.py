"""The whole strategy of the engine before: the 25 best, with stops that tighten.

`simulate` below is that strategy and nothing else, in plain Python from
``docs/semantics.md``.  It shares no code with the library or with the oracle, and every
fill must be the same.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.testing as npt
import polars as pl
import pytest

import barloop as bl

N = 25


class Rules(NamedTuple):
    """The strategy; the defaults are those of the engine before, without costs."""

    multiple: float = 2.0
    trail: float = 0.05
    tighten: float = 0.001
    floor: float = 0.005
    most_bars: int = 60
    every: int = 1
    reentry: str | int = "after_target_zero"
    commission_bps: float = 0.0
    slippage_bps: float = 0.0


FULL = Rules()
CASES = {
    "the strategy": FULL,
    "with costs": Rules(commission_bps=10.0, slippage_bps=5.0),
    # The scores of this market change every day, and holdings with them.  Decided more
    # rarely, positions live long enough for every exit.
    "every 21 bars": Rules(every=21),
    "every 21 bars, costs": Rules(every=21, commission_bps=10.0, slippage_bps=5.0),
    "buy at once again": Rules(every=2, reentry="allowed", slippage_bps=5.0),
    "buy again after 9 bars": Rules(every=4, reentry=9, commission_bps=10.0),
    "wide stops": Rules(8.0, 0.25, 0.001, 0.1, 60, every=70, slippage_bps=5.0),
}


# ------------------------------------------------------------------- the plain strategy


class Fill(NamedTuple):
    t: int
    asset: str
    quantity: float
    price: float
    commission: float
    reason: str


class Trade(NamedTuple):
    """From flat to flat."""

    asset: str
    entry: int
    exit: int
    pnl: float
    reason: str


@dataclass
class Holding:
    units: float
    entry_price: float
    entry: int
    atr: float | None
    highest: float
    cash: float = 0.0  # what its fills brought and took


@dataclass
class Account:
    commission: float
    cash: float = 1_000_000.0
    held: dict[str, Holding] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    trades: list[Trade] = field(default_factory=list)

    def sell(self, t: int, asset: str, units: float, price: float, why: str) -> None:
        fee = self.commission * units * price
        holding = self.held[asset]
        self.cash += units * price - fee
        holding.cash += units * price - fee
        holding.units -= units
        self.fills.append(Fill(t, asset, -units, price, fee, why))
        if holding.units == 0.0:
            del self.held[asset]
            self.trades.append(Trade(asset, holding.entry, t, holding.cash, why))

    def buy(
        self, t: int, asset: str, units: float, price: float, atr: float | None
    ) -> None:
        fee = self.commission * units * price
        holding = self.held.get(asset)
        if holding is None:
            holding = self.held[asset] = Holding(0.0, 0.0, t, atr, price)
        total = holding.units + units
        value = holding.units * holding.entry_price + units * price
        holding.entry_price, holding.units = value / total, total
        self.cash -= units * price + fee
        holding.cash -= units * price + fee
        self.fills.append(Fill(t, asset, units, price, fee, "order"))


class Row(NamedTuple):
    open: float
    high: float
    low: float
    close: float
    score: float
    atr: float | None


def sessions() -> Iterator[tuple[dict[str, Row], float]]:
    """Yield the rows and the vix of each session."""
    bars, context = market()
    columns = ("open", "high", "low", "close", "ml_score", "atr")
    days = bars.partition_by("timestamp", maintain_order=True)
    for day, vix in zip(days, context["vix"], strict=True):
        rows = day.select("asset", *columns).iter_rows()
        yield {asset: Row(*values) for asset, *values in rows}, vix


def simulate(rules: Rules) -> tuple[Account, list[float]]:
    """Run the strategy; return its account and the equity of each session."""
    account = Account(rules.commission_bps / 1e4)
    held = account.held
    slip = rules.slippage_bps / 1e4
    waiting: dict[str, float | None] = {}  # units to trade, None = close
    left: dict[str, int] = {}  # session of the exit of what may not come back yet
    equity = []
    before: dict[str, Row] = {}
    for t, (rows, vix) in enumerate(sessions()):
        # The open: first what sells, by name, then what buys, scaled to the cash.
        sells = sorted(a for a, q in waiting.items() if q is None or q < 0.0)
        buys = {a: q for a, q in sorted(waiting.items()) if q is not None and q > 0.0}
        for asset in sells:
            units = waiting[asset]
            units = held[asset].units if units is None else -units
            price = rows[asset].open * (1.0 - slip)
            account.sell(t, asset, units, price, "order")
        paid = {asset: rows[asset].open * (1.0 + slip) for asset in buys}
        cost = sum(q * paid[a] * (1.0 + account.commission) for a, q in buys.items())
        share = account.cash / cost * (1.0 - 1e-12) if cost > account.cash else 1.0
        for asset, units in buys.items() if share > 1e-9 else ():
            atr = before[asset].atr
            account.buy(t, asset, units * share, paid[asset], atr)
        waiting = {}

        # Exits on the range of the session.
        for asset in sorted(held):
            holding, row = held[asset], rows[asset]
            age = t - holding.entry
            width = max(rules.trail - rules.tighten * age, rules.floor)
            stops = [(holding.highest * (1.0 - width), "trailing_stop")]
            if holding.atr is not None:
                level = holding.entry_price - rules.multiple * holding.atr
                stops.insert(0, (level, "atr_stop"))
            stop, why = max(stops, key=lambda one: one[0])
            if age >= rules.most_bars:
                price, why = row.open, "max_bars_held"
            elif row.open <= stop:
                price = row.open
            elif row.low <= stop:
                price = min(stop, row.high)
            else:
                holding.highest = max(holding.highest, row.high)
                continue
            account.sell(t, asset, holding.units, price * (1.0 - slip), why)
            left[asset] = t

        # The close: what it is worth, and what to do about it.
        value = account.cash
        for asset in sorted(held):
            value += held[asset].units * rows[asset].close
        equity.append(value)
        if vix <= 30.0 and t % rules.every == 0:
            ranked = sorted(
                (asset for asset in rows if rows[asset].atr is not None),
                key=lambda asset: (-rows[asset].score, asset),
            )
            wanted = set(ranked[:N])
            if rules.reentry == "after_target_zero":
                left = {asset: x for asset, x in left.items() if asset in wanted}
            elif rules.reentry == "allowed":
                left = {}
            else:
                left = {asset: x for asset, x in left.items() if t < x + rules.reentry}
            for asset in sorted(wanted | set(held)):
                if asset not in wanted:
                    waiting[asset] = None
                elif asset not in left:
                    target = value / N / rows[asset].close
                    units = held[asset].units if asset in held else 0.0
                    if abs(target - units) > 1e-9 * max(target, units):
                        waiting[asset] = target - units
        before = rows
    return account, equity


# ------------------------------------------------------------------------- the library


def best(bar: bl.Bar) -> np.ndarray | None:
    """Hold the best scores among the stocks with an average true range."""
    if bar.context.vix > 30.0:
        return None
    return bl.equal_weight(bl.top_n(bar.ml_score + 0.0 * bar.atr, N))


@functools.cache
def market() -> bl.datasets.Top25:
    return bl.datasets.top25()


@functools.cache
def run(rules: Rules = FULL) -> bl.BacktestResult:
    bars, context = market()
    return bl.run_backtest(
        bars,
        best,
        context=context,
        schedule=rules.every,
        exits=bl.Exits(
            atr_stop=(rules.multiple, "atr"),
            trailing_stop=rules.trail,
            tighten_per_bar=rules.tighten,
            trailing_floor=rules.floor,
            max_bars_held=rules.most_bars,
            reentry=rules.reentry,
        ),
        commission=bl.Commission(bps=rules.commission_bps),
        slippage=bl.Slippage(bps=rules.slippage_bps),
    )


@functools.cache
def plain(rules: Rules = FULL) -> tuple[Account, list[float]]:
    return simulate(rules)


@pytest.mark.parametrize("case", CASES)
def test_every_fill_is_that_of_the_plain_strategy(case):
    account, _ = plain(CASES[case])
    fills = run(CASES[case]).fills
    day = {day: t for t, day in enumerate(market().context["timestamp"])}
    made = [
        (day[row["timestamp"]], row["asset"], row["reason"])
        for row in fills.iter_rows(named=True)
    ]
    assert made == [(fill.t, fill.asset, fill.reason) for fill in account.fills]
    for name in ("quantity", "price", "commission"):
        expected = [getattr(fill, name) for fill in account.fills]
        npt.assert_allclose(fills[name], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_the_equity_is_that_of_the_plain_strategy(case):
    account, equity = plain(CASES[case])
    result = run(CASES[case])
    npt.assert_allclose(result.equity["equity"], equity, rtol=1e-10)
    assert result.equity["n_positions"][-1] == len(account.held)
    result.audit()


@pytest.mark.parametrize("case", CASES)
def test_the_profit_by_exit_reason_is_that_of_the_plain_strategy(case):
    account, _ = plain(CASES[case])
    pnl: dict[str, list[float]] = {}
    for trade in account.trades:
        pnl.setdefault(trade.reason, []).append(trade.pnl)
    frame = run(CASES[case]).exit_reasons
    found = {row["exit_reason"]: row for row in frame.iter_rows(named=True)}
    assert set(found) == set(pnl)
    for reason, each in pnl.items():
        row = found[reason]
        assert row["n_trades"] == len(each)
        assert row["pnl"] == pytest.approx(sum(each), rel=1e-9, abs=1e-6)
        # Bought and sold at one price is neither a gain nor a loss.
        moved = [one for one in each if abs(one) > 1e-6]
        gains = sum(one > 0.0 for one in moved)
        assert row["hit_rate"] == pytest.approx(gains / len(moved))


def test_the_cases_know_every_exit():
    reasons = {case: set() for case in CASES}
    for case, rules in CASES.items():
        reasons[case] = {fill.reason for fill in plain(rules)[0].fills}
    assert {"atr_stop", "trailing_stop"} <= reasons["the strategy"]
    assert "max_bars_held" in reasons["wide stops"]
    ages = [
        trade.exit - trade.entry for trade in plain(CASES["every 21 bars"])[0].trades
    ]
    # Entry day, and long after.
    assert min(ages) == 0
    assert max(ages) > 21


def test_what_the_strategy_of_the_engine_before_is_worth():
    # There, the same 25 stocks were bought again and again: +34,072 %, 121 positions.
    result = run()
    assert result.n_rebalances == 239
    assert result.n_skipped == 13
    assert result.equity["n_positions"].max() == N
    assert result.equity["leverage"].max() < 1.01
    assert result.equity["cash"].min() >= 0.0
    assert result.final_equity == pytest.approx(1_561_532.306840, rel=1e-9)


def test_a_stopped_stock_comes_back_only_after_its_target_was_zero():
    result = run()
    refused = result.orders.filter(pl.col("reason") == "blocked_after_exit")
    assert refused.height > 0
    assert (refused["filled"] == 0.0).all()
    # The latest fill before each refusal is an exit of that stock.
    latest = refused.select("asset", "timestamp").join_asof(
        result.fills.select("asset", "timestamp", why="reason"),
        on="timestamp",
        by="asset",
    )
    assert latest["why"].is_in(["atr_stop", "trailing_stop"]).all()


def test_the_ledger_and_the_fills_name_the_same_orders():
    result = run()
    is_order = pl.col("reason") == "order"
    ordered = result.fills.filter(is_order)["order_id"].sort()
    filled = result.orders.filter(pl.col("filled") != 0.0)["order_id"]
    assert ordered.to_list() == filled.to_list()
    exits = result.fills.filter(~is_order)
    assert exits.height == exits["order_id"].null_count() == 102
