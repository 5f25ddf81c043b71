"""Backtrader on a parity workload: whole shares, filled at the next open."""

from __future__ import annotations

import math
from datetime import date
from typing import TYPE_CHECKING, Any

import backtrader as bt
import polars as pl

if TYPE_CHECKING:
    from workloads import Workload

VARIANTS = ("backtrader",)
CHANGES = {"backtrader": {"whole": True}}
FILL_SCHEMA = {
    "date": pl.Date,
    "symbol": pl.String,
    "quantity": pl.Float64,
    "price": pl.Float64,
    "commission": pl.Float64,
}
EQUITY_SCHEMA = {"date": pl.Date, "cash": pl.Float64, "equity": pl.Float64}


class TargetPercents(bt.Strategy):
    """Order the weights of each rebalance date, lowered names first."""

    params = (("weights", None),)

    def __init__(self):
        self.fills = []
        self.equity = []

    def notify_order(self, order):
        """Record what each notification newly executed, in order of execution."""
        for part in order.executed.iterpending():
            self.fills.append(
                (
                    bt.num2date(part.dt).date(),
                    order.data._name,
                    float(part.size),
                    float(part.price),
                    float(part.comm),
                )
            )

    def next(self):
        """Record the account at the close, then order."""
        today = self.data.datetime.date(0)
        account = self.broker.getvalue()
        self.equity.append((today, float(self.broker.getcash()), float(account)))
        weight = self.p.weights.get(today)
        if weight is None:
            return
        raised = []
        for data in self.datas:
            target = weight[data._name]
            if target * account < self.broker.getvalue([data]):
                self.order_target_percent(data, target)
            else:
                raised.append((data, target))
        for data, target in raised:
            self.order_target_percent(data, target)


def run(workload: Workload, variant: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Run backtrader with its defaults: market orders, filled at the next open.

    Parameters
    ----------
    workload : Workload
        Prices, weights and costs.
    variant : {"backtrader"}
        There is one only.

    Returns
    -------
    fills : DataFrame with ``date``, ``symbol``, ``quantity``, ``price``, ``commission``
        In order of execution; signed whole shares, price after slippage.
    equity : DataFrame with ``date``, ``cash``, ``equity``
        After each close.

    Notes
    -----
    On a rebalance date ``order_target_percent`` is called for the names whose target
    value is below their position value, in symbol order, then for the others.  The
    slippage of ``set_slippage_perc`` leaves no price above the high or below the low.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {VARIANTS}, got {variant!r}")
    cerebro = bt.Cerebro(stdstats=False)
    for symbol, bars in _by_symbol(workload):
        cerebro.adddata(bt.feeds.PandasData(dataname=bars), name=symbol)
    cerebro.broker.setcash(workload.initial_cash)
    cerebro.broker.setcommission(commission=workload.commission_bps / 1e4)
    cerebro.broker.set_slippage_perc(workload.slippage_bps / 1e4)
    cerebro.addstrategy(TargetPercents, weights=_targets(workload))
    (strategy,) = cerebro.run()
    fills = pl.DataFrame(strategy.fills, schema=FILL_SCHEMA, orient="row")
    equity = pl.DataFrame(strategy.equity, schema=EQUITY_SCHEMA, orient="row")
    if not math.isclose(
        equity["cash"][-1], workload.initial_cash - _spent(fills), rel_tol=1e-9
    ):
        raise RuntimeError("the recorded fills do not explain the cash")
    return fills, equity


def _spent(fills: pl.DataFrame) -> float:
    paid = pl.col("quantity") * pl.col("price") + pl.col("commission")
    return float(fills.select(paid.sum()).item())


def _targets(workload: Workload) -> dict[date, dict[str, float]]:
    targets: dict[date, dict[str, float]] = {}
    for day, symbol, weight in workload.weights.iter_rows():
        targets.setdefault(day, {})[symbol] = weight
    return targets


def _by_symbol(workload: Workload) -> list[tuple[str, Any]]:
    """Make one pandas frame a symbol, indexed by date, in symbol order."""
    columns = ["date", "open", "high", "low", "close", "volume"]
    groups = workload.bars.sort("symbol", "date").partition_by("symbol", as_dict=True)
    return [
        (str(symbol), bars.select(columns).to_pandas().set_index("date"))
        for (symbol,), bars in groups.items()
    ]
