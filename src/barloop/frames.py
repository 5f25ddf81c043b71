"""Result frames: arrays of a run under the user's own names and dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from barloop._kernels.tolerances import DUST
from barloop.enums import BarField, Decision, FillField, FillReason, OrderField, Reason
from barloop.holdings import around_orders, daily_positions
from barloop.record import RunRecord, last_known
from barloop.typing import FloatVector, IntVector

FILL_REASONS = pl.Enum([reason.name.lower() for reason in FillReason])
REASONS = pl.Enum(["none", *[reason.name.lower() for reason in Reason]])
STATUSES = pl.Enum(["filled", "partial", "none", "waiting"])
DECISIONS = pl.Enum([kind.name.lower() for kind in Decision])
CASH_FLOWS = pl.Enum(["deposit"])


def timestamps(record: RunRecord, bar: IntVector) -> pl.Series:
    """Return the user's timestamps of panel rows.

    Parameters
    ----------
    record : RunRecord
        The run.
    bar : ndarray of int
        Panel rows.

    Returns
    -------
    Series
        In the user's name and dtype.
    """
    return record.panel.timestamps.gather(bar)


def assets(record: RunRecord, asset: IntVector) -> pl.Series:
    """Return the user's assets of panel columns.

    Parameters
    ----------
    record : RunRecord
        The run.
    asset : ndarray of int
        Panel columns.

    Returns
    -------
    Series
        In the user's name and dtype.
    """
    return record.panel.assets.gather(asset)


def equity_frame(record: RunRecord) -> pl.DataFrame:
    """Build the equity curve, one row per bar.

    Parameters
    ----------
    record : RunRecord
        The run.

    Returns
    -------
    DataFrame
        See `BacktestResult.equity`.
    """
    panel = record.panel
    equity = record.bar_field(BarField.EQUITY)
    cash = record.bar_field(BarField.CASH)
    gross = record.bar_field(BarField.GROSS_EXPOSURE)
    traded = record.bar_field(BarField.TRADED_VALUE)
    start = float(record.config.initial_cash)
    previous = np.concatenate([[start], equity[:-1]])
    peak = np.maximum(np.maximum.accumulate(equity), start)
    columns: dict[str, Any] = {
        "cash": cash,
        "equity": equity,
        "return": _ratio(equity, previous) - 1.0,
        "drawdown": equity / peak - 1.0,
        "gross_exposure": gross,
        "net_exposure": equity - cash,
        "leverage": _ratio(gross, equity),
        "turnover": _ratio(traded, 2.0 * equity),
        "commission": record.bar_field(BarField.COMMISSION),
        "slippage": record.bar_field(BarField.SLIPPAGE),
        "carry": np.zeros(equity.size),
        "n_positions": record.bar_field(BarField.N_POSITIONS).astype(np.int64),
    }
    frame = pl.DataFrame(columns).with_columns(
        pl.col("return", "leverage", "turnover").fill_nan(None)
    )
    time = panel.timestamps.tail(record.n_bars)
    return frame.insert_column(0, time)


def fills_frame(record: RunRecord) -> pl.DataFrame:
    """Build the trade log, one row per execution.

    Parameters
    ----------
    record : RunRecord
        The run.

    Returns
    -------
    DataFrame
        See `BacktestResult.fills`.
    """
    codes, values = record.fill_codes, record.fill_values
    bar, asset = codes[FillField.BAR], codes[FillField.ASSET]
    quantity = values[FillField.QUANTITY]
    price = values[FillField.PRICE]
    reason = codes[FillField.REASON]
    base = record.fill_prices[bar, asset]
    base = np.where(reason == FillReason.ORDER, base, price)
    order = pl.Series("order_id", codes[FillField.ORDER], dtype=pl.Int64)
    return pl.DataFrame(
        [
            order.set(order < 0, None),
            timestamps(record, bar),
            assets(record, asset),
            pl.Series("quantity", quantity),
            pl.Series("price", price),
            pl.Series("base_price", base),
            pl.Series("commission", values[FillField.COMMISSION]),
            pl.Series("slippage", np.abs(quantity * (price - base))),
            _labels("reason", reason, FILL_REASONS),
        ]
    )


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
    equity = record.bars[BarField.SIZING_EQUITY, bar]
    price = last_known(record.panel.close, bar, asset)
    around = around_orders(record)
    missing = quantity - filled
    done = np.abs(missing) <= DUST * np.abs(quantity)
    status = np.where(filled == 0.0, 2, np.where(done, 0, 1))
    status[record.waiting_order] = 3
    reason, reasons = reason_columns(codes[OrderField.REASONS])
    weight_before = np.where(around.before != 0.0, around.before * price / equity, 0.0)
    return pl.DataFrame(
        [
            pl.Series("order_id", np.arange(bar.size), dtype=pl.Int64),
            timestamps(record, bar),
            assets(record, asset),
            pl.Series("position_before", around.before),
            pl.Series("weight_before", weight_before),
            pl.Series("target_weight", values[OrderField.WEIGHT]),
            pl.Series("equity", equity),
            pl.Series("price", price).fill_nan(None),
            pl.Series("quantity", quantity).fill_nan(None),
            pl.Series("filled", filled),
            pl.Series("missing", missing).fill_nan(None),
            _labels("status", status, STATUSES),
            reason,
            reasons,
            pl.Series("position_after", around.after),
        ]
    )


def reason_columns(masks: np.ndarray[Any, Any]) -> tuple[pl.Series, pl.Series]:
    """Turn bit masks of reasons into the primary reason and the list of all.

    Parameters
    ----------
    masks : ndarray of int
        One bit per `Reason`; the lowest bit is the first in the pipeline.

    Returns
    -------
    reason : Series of Enum
        The first that bound, ``"none"`` if nothing did.
    reasons : Series of lists
        All that bound, in pipeline order.
    """
    distinct, inverse = np.unique(masks, return_inverse=True)
    names = [
        [reason.name.lower() for reason in Reason if int(mask) >> reason & 1]
        for mask in distinct
    ]
    lists = pl.Series("reasons", names, dtype=pl.List(REASONS))
    first = [listed[0] if listed else "none" for listed in names]
    firsts = pl.Series("reason", first, dtype=REASONS)
    return firsts.gather(inverse), lists.gather(inverse)


def positions_frame(record: RunRecord) -> pl.DataFrame:
    """Build the positions after each bar, rows only where they are not 0.

    Parameters
    ----------
    record : RunRecord
        The run.

    Returns
    -------
    DataFrame
        See `BacktestResult.positions`.
    """
    bar, asset, position = daily_positions(record)
    close = last_known(record.panel.close, bar, asset)
    return pl.DataFrame(
        [
            timestamps(record, bar),
            assets(record, asset),
            pl.Series("position", position),
            pl.Series("close", close),
            pl.Series("position_value", position * close),
        ]
    )


def weights_frame(record: RunRecord) -> pl.DataFrame:
    """Build the weights held after each bar, rows only where they are not 0.

    Parameters
    ----------
    record : RunRecord
        The run.

    Returns
    -------
    DataFrame
        See `BacktestResult.weights`.
    """
    bar, asset, position = daily_positions(record)
    value = position * last_known(record.panel.close, bar, asset)
    weight = value / record.bars[BarField.EQUITY, bar]
    return pl.DataFrame(
        [
            timestamps(record, bar),
            assets(record, asset),
            pl.Series("weight", weight),
        ]
    )


def rebalances_frame(record: RunRecord) -> pl.DataFrame:
    """Build one row per decision.

    Parameters
    ----------
    record : RunRecord
        The run.

    Returns
    -------
    DataFrame
        See `BacktestResult.rebalances`.
    """
    bars = record.bars
    bar = np.flatnonzero(bars[BarField.DECISION] != Decision.NONE)
    counts = np.bincount(
        record.order_codes[OrderField.BAR], minlength=record.panel.n_bars
    )
    same_bar = record.config.execution.fill == "same_close"
    fill_bar = bar if same_bar else bar + 1
    past = fill_bar >= record.panel.n_bars
    scale = bars[BarField.SCALE, np.where(past, bar, fill_bar)]
    return pl.DataFrame(
        [
            timestamps(record, bar),
            _labels("decision", bars[BarField.DECISION, bar], DECISIONS),
            pl.Series("n_targets", bars[BarField.N_TARGETS, bar], dtype=pl.Int64),
            pl.Series("target_gross", bars[BarField.TARGET_GROSS, bar]),
            pl.Series("n_orders", counts[bar], dtype=pl.Int64),
            pl.Series("scale", np.where(past, np.nan, scale)).fill_nan(None),
        ]
    )


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
    reason, _ = reason_columns(codes[OrderField.REASONS, order])
    return pl.DataFrame(
        [
            pl.Series("order_id", order, dtype=pl.Int64),
            timestamps(record, codes[OrderField.BAR, order]),
            assets(record, record.waiting_asset),
            pl.Series("quantity", record.waiting_quantity),
            pl.Series("target_weight", values[OrderField.WEIGHT, order]),
            reason,
        ]
    )


def cash_flows_frame(record: RunRecord) -> pl.DataFrame:
    """Build the cash that moved without a fill.

    Parameters
    ----------
    record : RunRecord
        The run.

    Returns
    -------
    DataFrame
        See `BacktestResult.cash_flows`.
    """
    panel = record.panel
    nobody = pl.Series(panel.asset_name, [None], dtype=panel.assets.dtype)
    return pl.DataFrame(
        [
            timestamps(record, np.array([record.first_bar])),
            nobody,
            pl.Series("kind", ["deposit"], dtype=CASH_FLOWS),
            pl.Series("amount", [float(record.config.initial_cash)]),
        ]
    )


def _labels(name: str, codes: np.ndarray[Any, Any], labels: pl.Enum) -> pl.Series:
    return pl.Series(name, labels.categories).cast(labels).gather(codes.astype(int))


def _ratio(numerator: FloatVector, denominator: FloatVector) -> FloatVector:
    """Divide; NaN where the denominator is not positive, as after ruin."""
    solvent = denominator > 0.0
    safe = np.where(solvent, denominator, 1.0)
    return np.where(solvent, numerator / safe, np.nan)
