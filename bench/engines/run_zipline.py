"""zipline-reloaded on a parity workload: whole shares, filled at the next close.

A daily bundle is written into a temporary folder, on a calendar of all weekdays.  It
is registered here: on ``24/5``, whose sessions end at midnight, zipline reads the
prices of the session before.

The bundle stores prices as whole thousandths, ``round(1000 * price)``, half to even,
and reads them as that integer times 0.001: the fourth decimal of a workload is lost.
Volumes are whole numbers; the limit on them is set so high that it never binds.
"""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, date, time
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
from exchange_calendars import ExchangeCalendar, register_calendar_type
from zipline import run_algorithm
from zipline.api import (
    order_target_percent,
    set_commission,
    set_slippage,
    symbol,
)
from zipline.data.bundles import ingest, register, unregister
from zipline.finance.commission import PerDollar
from zipline.finance.slippage import FixedBasisPointsSlippage
from zipline.utils.calendar_utils import get_calendar

if TYPE_CHECKING:
    from workloads import Workload

VARIANTS = ("zipline",)
CHANGES = {"zipline": {"whole": True, "price_decimals": 3}}
VOLUME_LIMIT = 1e6  # times the volume of the bar: never reached
FILL_SCHEMA = {
    "date": pl.Date,
    "symbol": pl.String,
    "quantity": pl.Float64,
    "price": pl.Float64,
    "commission": pl.Float64,
}


class Weekdays(ExchangeCalendar):
    """Sessions on every weekday, holidays too, that touch no midnight."""

    name = "weekdays"
    tz = UTC
    open_times = ((None, time(9, 30)),)
    close_times = ((None, time(16)),)


register_calendar_type(Weekdays.name, Weekdays, force=True)


def run(workload: Workload, variant: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Run zipline on daily bars: orders of one close fill at the next.

    Parameters
    ----------
    workload : Workload
        Prices, weights and costs.
    variant : {"zipline"}
        There is one only.

    Returns
    -------
    fills : DataFrame with ``date``, ``symbol``, ``quantity``, ``price``, ``commission``
        In order of execution; signed whole shares, price after slippage.
    equity : DataFrame with ``date``, ``cash``, ``equity``
        After each close.

    Notes
    -----
    On a rebalance date ``order_target_percent`` is called for every name in symbol
    order.  zipline does not look at cash, so that this order changes no fill.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {VARIANTS}, got {variant!r}")
    sessions = pd.DatetimeIndex(workload.bars["date"].unique().sort().to_list())
    with tempfile.TemporaryDirectory() as root:
        environ = {**os.environ, "ZIPLINE_ROOT": root}
        _register_bundle(workload, sessions)
        try:
            ingest(workload.name, environ=environ)
            days = _simulate(workload, sessions, environ)
        finally:
            unregister(workload.name)
    if len(days) != len(sessions):
        raise RuntimeError(f"{len(days)} days came back, not {len(sessions)}")
    fills = []
    for session, day in zip(sessions, days.to_dict("records"), strict=True):
        commission = {order["id"]: order["commission"] for order in day["orders"]}
        fills.extend(
            (
                session.date(),
                transaction["sid"].symbol,
                float(transaction["amount"]),
                float(transaction["price"]),
                float(commission[transaction["order_id"]]),
            )
            for transaction in day["transactions"]
        )
    equity = pl.DataFrame(
        {
            "date": [session.date() for session in sessions],
            "cash": days["ending_cash"].to_numpy(),
            "equity": days["portfolio_value"].to_numpy(),
        }
    )
    return pl.DataFrame(fills, schema=FILL_SCHEMA, orient="row"), equity


def _simulate(
    workload: Workload, sessions: pd.DatetimeIndex, environ: dict[str, str]
) -> pd.DataFrame:
    """Run the algorithm; one row a session."""
    targets: dict[date, dict[str, float]] = {}
    for day, name, weight in workload.weights.iter_rows():
        targets.setdefault(day, {})[name] = weight

    def initialize(context: Any) -> None:
        set_commission(PerDollar(cost=workload.commission_bps / 1e4))
        set_slippage(
            FixedBasisPointsSlippage(
                basis_points=workload.slippage_bps, volume_limit=VOLUME_LIMIT
            )
        )
        context.assets = {name: symbol(name) for name in _symbols(workload)}
        context.session = iter(sessions)

    def handle_data(context: Any, data: Any) -> None:
        del data
        weight = targets.get(next(context.session).date(), {})
        for name, target in weight.items():
            order_target_percent(context.assets[name], target)

    return run_algorithm(
        start=sessions[0],
        end=sessions[-1],
        initialize=initialize,
        handle_data=handle_data,
        capital_base=workload.initial_cash,
        bundle=workload.name,
        trading_calendar=get_calendar(Weekdays.name),
        benchmark_returns=pd.Series(0.0, index=sessions),
        default_extension=False,
        environ=environ,
    )


def _register_bundle(workload: Workload, sessions: pd.DatetimeIndex) -> None:
    """Register a bundle, under the name of the workload, of its bars."""

    def write(
        _environ: Any,
        asset_db_writer: Any,
        _minute_bar_writer: Any,
        daily_bar_writer: Any,
        adjustment_writer: Any,
        *_rest: Any,
    ) -> None:
        symbols = _symbols(workload)
        asset_db_writer.write(
            equities=pd.DataFrame(
                {
                    "symbol": symbols,
                    "asset_name": symbols,
                    "start_date": sessions[0],
                    "end_date": sessions[-1],
                    "auto_close_date": sessions[-1] + pd.Timedelta(days=30),
                    "exchange": "X",
                }
            ),
            exchanges=pd.DataFrame(
                {
                    "exchange": ["X"],
                    "canonical_name": ["X"],
                    "country_code": ["US"],
                }
            ),
        )
        daily_bar_writer.write(
            (sid, _bars(workload, name)) for sid, name in enumerate(symbols)
        )
        adjustment_writer.write()

    register(
        workload.name,
        write,
        calendar_name=Weekdays.name,
        start_session=sessions[0],
        end_session=sessions[-1],
    )


def _symbols(workload: Workload) -> list[str]:
    return workload.bars["symbol"].unique().sort().to_list()


def _bars(workload: Workload, name: str) -> pd.DataFrame:
    bars = workload.bars.filter(pl.col("symbol") == name).sort("date")
    prices = bars.select("open", "high", "low", "close", "volume").to_dict(
        as_series=False
    )
    return pd.DataFrame(prices, index=pd.DatetimeIndex(bars["date"].to_list()))
