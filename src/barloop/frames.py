"""Result frames by bar: the account, what it holds, what it decides."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from barloop.enums import BarField, Decision, OrderField
from barloop.holdings import daily_positions
from barloop.labels import DECISIONS, labels
from barloop.numerics import growth_path, starting_equity
from barloop.record import RunRecord, last_known
from barloop.typing import FloatVector


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
    deposits = record.bar_field(BarField.DEPOSITS)
    initial_cash = float(record.config.initial_cash)
    starting = starting_equity(equity, initial_cash, deposits)
    path, start = growth_path(equity, initial_cash, deposits)
    peak = np.maximum(np.maximum.accumulate(path), start)
    columns: dict[str, Any] = {
        "cash": cash,
        "equity": equity,
        "return": _ratio(equity, starting) - 1.0,
        "drawdown": path / peak - 1.0,
        "gross_exposure": gross,
        "net_exposure": equity - cash,
        "leverage": _ratio(gross, equity),
        "turnover": _ratio(traded, 2.0 * equity),
        "commission": record.bar_field(BarField.COMMISSION),
        "slippage": record.bar_field(BarField.SLIPPAGE),
        "carry": record.bar_field(BarField.CARRY),
        "deposits": deposits,
        "n_positions": record.bar_field(BarField.N_POSITIONS).astype(np.int64),
    }
    frame = pl.DataFrame(columns).with_columns(
        pl.col("return", "leverage", "turnover").fill_nan(None)
    )
    time = panel.timestamps.tail(record.n_bars)
    return frame.insert_column(0, time)


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
    close = last_known(record.panel.close, bar, asset, record.splits)
    return pl.DataFrame(
        [
            record.timestamps(bar),
            record.assets(asset),
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
    value = position * last_known(record.panel.close, bar, asset, record.splits)
    weight = value / record.bars[BarField.EQUITY, bar]
    return pl.DataFrame(
        [
            record.timestamps(bar),
            record.assets(asset),
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
            record.timestamps(bar),
            labels("decision", bars[BarField.DECISION, bar], DECISIONS),
            pl.Series("n_targets", bars[BarField.N_TARGETS, bar], dtype=pl.Int64),
            pl.Series("target_gross", bars[BarField.TARGET_GROSS, bar]),
            pl.Series("n_orders", counts[bar], dtype=pl.Int64),
            pl.Series("scale", np.where(past, np.nan, scale)).fill_nan(None),
        ]
    )


def _ratio(numerator: FloatVector, denominator: FloatVector) -> FloatVector:
    """Divide; NaN where the denominator is not positive, as after ruin."""
    solvent = denominator > 0.0
    safe = np.where(solvent, denominator, 1.0)
    return np.where(solvent, numerator / safe, np.nan)
