"""Frames of the journal: fills, and cash that moved without one."""

from __future__ import annotations

import numpy as np
import polars as pl

from barloop.enums import FillField, FillReason
from barloop.labels import FLOW_CODES, fill_reasons, flow_kinds
from barloop.record import RunRecord
from barloop.typing import FloatVector, IntVector


def base_prices(record: RunRecord, rows: IntVector | slice) -> FloatVector:
    """Return the prices of fills before slippage.

    Parameters
    ----------
    record : RunRecord
        The run.
    rows : ndarray of int, or slice
        Rows of the journal that are fills.

    Returns
    -------
    ndarray of shape (n_rows,)
        Currency per unit.
    """
    codes, values = record.journal_codes[:, rows], record.journal_values
    base: FloatVector
    if record.has_base:
        base = values[FillField.BASE, rows]
        return base
    panel = record.fill_prices[codes[FillField.BAR], codes[FillField.ASSET]]
    ordered = codes[FillField.REASON] == FillReason.ORDER
    if ordered.all():
        base = panel
        return base
    other = FillField.BASE if record.has_exit_base else FillField.PRICE
    base = np.where(ordered, panel, values[other, rows])
    return base


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
    rows = record.fill_rows
    codes, values = record.journal_codes[:, rows], record.journal_values[:, rows]
    quantity = values[FillField.QUANTITY]
    price = values[FillField.PRICE]
    base = base_prices(record, rows)
    order = pl.Series("order_id", codes[FillField.ORDER], dtype=pl.Int64)
    return pl.DataFrame(
        [
            order.set(order < 0, None),
            record.timestamps(codes[FillField.BAR]),
            record.assets(codes[FillField.ASSET]),
            pl.Series("quantity", quantity),
            pl.Series("price", price),
            pl.Series("base_price", base),
            pl.Series("commission", values[FillField.COMMISSION]),
            pl.Series("slippage", np.abs(quantity * (price - base))),
            fill_reasons("reason", codes[FillField.REASON]),
        ]
    )


def cash_flows_frame(record: RunRecord) -> pl.DataFrame:
    """Build the cash and units that moved without a fill.

    Parameters
    ----------
    record : RunRecord
        The run.

    Returns
    -------
    DataFrame
        See `BacktestResult.cash_flows`.
    """
    rows = record.flow_rows
    codes, values = record.journal_codes[:, rows], record.journal_values[:, rows]
    # The initial cash is no row of the journal.
    bar = np.append(record.first_bar, codes[FillField.BAR])
    asset = np.append(-1, codes[FillField.ASSET])
    kind = np.append(FLOW_CODES[0], codes[FillField.REASON])
    # A commission is paid and an amount received; 0 - 0 is no negative zero.
    amount = np.append(
        float(record.config.initial_cash), 0.0 - values[FillField.COMMISSION]
    )
    quantity = np.append(0.0, values[FillField.QUANTITY])
    return pl.DataFrame(
        [
            record.timestamps(bar),
            record.assets(asset),
            flow_kinds("kind", kind),
            pl.Series("amount", amount),
            pl.Series("quantity", quantity),
            pl.Series("ratio", _ratios(record, bar, asset, kind)).fill_nan(None),
        ]
    )


def _ratios(
    record: RunRecord, bar: IntVector, asset: IntVector, kind: IntVector
) -> FloatVector:
    """Return the ratio of each split, NaN for other flows."""
    splits, n_assets = record.splits, record.panel.n_assets
    cell = splits.bar * n_assets + splits.asset
    order = np.argsort(cell)
    is_split = np.flatnonzero(kind == FillReason.SPLIT)
    wanted = bar[is_split] * n_assets + asset[is_split]
    ratio = np.full(bar.size, np.nan)
    place = order[np.searchsorted(cell, wanted, sorter=order)]
    ratio[is_split] = splits.ratio[place]
    return ratio
