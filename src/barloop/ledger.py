"""Frames of the orders: the ledger, and what is still open at the end."""

from __future__ import annotations

import numpy as np
import polars as pl

from barloop._kernels.tolerances import DUST
from barloop.enums import BarField, FillField, OrderField
from barloop.holdings import AroundOrders, around_orders
from barloop.labels import STATUSES, labels, order_reasons
from barloop.record import RunRecord, last_known
from barloop.typing import FloatVector


def orders_frame(record: RunRecord) -> pl.DataFrame:
    """Build the ledger, one row per decided order.

    Parameters
    ----------
    record : RunRecord
        The run.

    Returns
    -------
    DataFrame
        See `BacktestResult.orders`.
    """
    codes, values = record.order_codes, record.order_values
    bar, asset = codes[OrderField.BAR], codes[OrderField.ASSET]
    quantity = values[OrderField.QUANTITY]
    filled = values[OrderField.FILLED]
    weight = values[OrderField.WEIGHT]
    around = around_orders(record)
    before, after = around.before.copy(), around.after.copy()
    # What `max_drawdown` closes belongs to no decision.
    stopped = bar == record.stopped_bar
    decided = record.bars[BarField.SIZING_EQUITY, bar]
    equity = np.where(stopped, values[OrderField.EQUITY], decided)
    price = last_known(record.panel.close, bar, asset, record.splits)
    weight_before = np.where(before != 0.0, before * price / equity, 0.0)
    units = _units_since(record, around, price)
    before *= units
    price /= units
    after[around.last_fill < 0] *= units[around.last_fill < 0]
    kept = record.has_sizing | stopped
    equity = np.where(kept, values[OrderField.EQUITY], equity)
    price = np.where(kept, values[OrderField.PRICE], price)
    missing = quantity - filled
    done = np.abs(missing) <= DUST * np.abs(quantity)
    # On target when it was sized at the fill is filled; cut to nothing is not.
    on_target = (quantity == 0.0) & (codes[OrderField.REASONS] == 0)
    nothing = (filled == 0.0) & ~on_target
    status = np.where(nothing, 2, np.where(done, 0, 1))
    status[record.waiting_order] = 3
    reason, reasons = order_reasons(codes[OrderField.REASONS])
    limited = values[OrderField.LIMITED_WEIGHT] if record.has_limited_weight else weight
    return pl.DataFrame(
        [
            pl.Series("order_id", np.arange(bar.size), dtype=pl.Int64),
            record.timestamps(bar),
            record.assets(asset),
            pl.Series("position_before", before),
            pl.Series("weight_before", weight_before),
            pl.Series("target_weight", weight),
            pl.Series("limited_weight", limited),
            pl.Series("equity", equity).fill_nan(None),
            pl.Series("price", price).fill_nan(None),
            pl.Series("quantity", quantity).fill_nan(None),
            pl.Series("filled", filled),
            pl.Series("missing", missing).fill_nan(None),
            labels("status", status, STATUSES),
            reason,
            reasons,
            pl.Series("position_after", after),
        ]
    )


def _units_since(
    record: RunRecord, around: AroundOrders, price: FloatVector
) -> FloatVector:
    """Return what one unit of each decision became by splits while its order waited.

    The price that sized an order follows them in the log; without it, the fills and
    the orders that still wait tell how long an order waited.
    """
    splits, n_bars = record.splits, record.panel.n_bars
    bar = record.order_codes[OrderField.BAR].astype(np.int64)
    units = np.ones(bar.size)
    if splits.bar.size == 0:
        return units
    if record.has_sizing and record.config.execution.size_at == "decision":
        ratio = price / record.order_values[OrderField.PRICE]
        moved = np.abs(ratio - 1.0) > DUST
        units[moved] = ratio[moved]
        return units
    asset = record.order_codes[OrderField.ASSET].astype(np.int64)
    until = bar.copy()
    until[record.waiting_order] = n_bars - 1
    filled = around.last_fill >= 0
    until[filled] = record.journal_codes[FillField.BAR, around.last_fill[filled]]
    cell = splits.asset * n_bars + splits.bar
    order = np.argsort(cell)
    first = np.searchsorted(cell, asset * n_bars + bar, side="right", sorter=order)
    stop = np.searchsorted(cell, asset * n_bars + until, side="right", sorter=order)
    for row in np.flatnonzero(stop > first):
        units[row] = np.prod(splits.ratio[order[first[row] : stop[row]]])
    return units


def next_orders_frame(record: RunRecord) -> pl.DataFrame:
    """Build the orders that are still open after the last bar.

    Parameters
    ----------
    record : RunRecord
        The run.

    Returns
    -------
    DataFrame
        See `BacktestResult.next_orders`.
    """
    order = record.waiting_order
    codes, values = record.order_codes, record.order_values
    reason, _ = order_reasons(codes[OrderField.REASONS, order])
    return pl.DataFrame(
        [
            pl.Series("order_id", order, dtype=pl.Int64),
            record.timestamps(codes[OrderField.BAR, order]),
            record.assets(record.waiting_asset),
            pl.Series("quantity", record.waiting_quantity).fill_nan(None),
            pl.Series("target_weight", values[OrderField.WEIGHT, order]),
            reason,
        ]
    )
