"""Trades: round trips from the fills that open a position to those that close it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import polars as pl

from barloop.checks import require_choice
from barloop.enums import FillField, FillReason, FillTiming, OrderField
from barloop.errors import SimulationError
from barloop.holdings import steps
from barloop.labels import SIDES, fill_reasons, labels, order_reasons
from barloop.record import RunRecord, last_known
from barloop.typing import ByteVector, CodeVector, FloatVector, IntVector

if TYPE_CHECKING:
    from barloop._kernels.round_trips import Trades

MethodName = Literal["average", "fifo"]


def trades_frame(
    record: RunRecord,
    *,
    method: MethodName = "average",
    features: Sequence[str] = (),
) -> pl.DataFrame:
    """Build one row per trade.

    Parameters
    ----------
    record : RunRecord
        The run.
    method : {"average", "fifo"}, default "average"
        How openings and closings are matched.
    features : sequence of str, default ()
        Columns of the data to show at the decision of the entry.

    Returns
    -------
    DataFrame
        See `BacktestResult.round_trips`.

    Raises
    ------
    ConfigError
        If there is no such method.
    PanelError
        If there is no such feature, or if it is not numeric.
    SimulationError
        If a feature has the name of a column of trades.
    """
    from barloop._kernels import round_trips as rt

    require_choice("method", method, get_args(MethodName))
    made = _match(record, first_in_first_out=method == "fifo")
    entry, exit_ = made.codes[rt.ENTRY], made.codes[rt.EXIT]
    codes, n_bars = record.journal_codes, record.panel.n_bars
    is_open = exit_ < 0
    asset = codes[FillField.ASSET, entry]
    entry_bar = codes[FillField.BAR, entry]
    exit_bar = np.where(is_open, n_bars - 1, codes[FillField.BAR, exit_])
    values = made.values
    opened, paid = values[rt.OPENED], values[rt.PAID]
    closed, received = values[rt.CLOSED], values[rt.RECEIVED]
    last = last_known(
        record.panel.close,
        np.full(asset.size, n_bars - 1),
        asset,
        record.splits,
    )
    left = values[rt.OPEN]
    worth = np.where(left > 0.0, left * last, 0.0)
    pnl = values[rt.SIDE] * (received + worth - paid) - values[rt.COMMISSION]
    order = codes[FillField.ORDER, entry]
    reasons, _ = order_reasons(record.order_codes[OrderField.REASONS, order])
    exit_reason = np.where(is_open, -1, codes[FillField.REASON, exit_])
    time = record.panel.timestamp_name
    frame = pl.DataFrame(
        [
            record.assets(asset),
            labels("side", values[rt.SIDE] < 0.0, SIDES),
            record.timestamps(entry_bar).alias(f"entry_{time}"),
            record.timestamps(np.where(is_open, -1, exit_bar)).alias(f"exit_{time}"),
            pl.Series("quantity", opened),
            pl.Series("entry_price", paid / opened),
            pl.Series("exit_price", _ratio(received, closed)).fill_nan(None),
            pl.Series("pnl", pnl),
            pl.Series("return", _ratio(pnl, paid)).fill_nan(None),
            pl.Series("commission", values[rt.COMMISSION]),
            pl.Series("bars_held", (exit_bar - entry_bar).astype(np.int64)),
            pl.Series("mae", values[rt.WORST]),
            pl.Series("mfe", values[rt.BEST]),
            reasons.alias("entry_reason"),
            fill_reasons("exit_reason", exit_reason),
            pl.Series("is_open", is_open),
        ]
    )
    decided = record.order_codes[OrderField.BAR, order]
    return frame.with_columns(_features(record, frame, features, decided, asset))


def exit_reasons_frame(trades: pl.DataFrame) -> pl.DataFrame:
    """Sum closed trades up by the reason of their exit.

    Parameters
    ----------
    trades : DataFrame
        From `trades_frame`.

    Returns
    -------
    DataFrame
        See `BacktestResult.exit_reasons`.
    """
    pnl = pl.col("pnl")
    n_wins, n_moved = (pnl > 0.0).sum(), (pnl != 0.0).sum()
    return (
        trades.filter(~pl.col("is_open"))
        .group_by("exit_reason")
        .agg(
            n_trades=pl.len().cast(pl.Int64),
            pnl=pnl.sum(),
            mean_return=pl.col("return").mean(),
            hit_rate=(n_wins / n_moved).fill_nan(None),
        )
        .sort("exit_reason")
    )


def _match(record: RunRecord, *, first_in_first_out: bool) -> Trades:
    """Match the fills; trades sorted by entry, then exit, both as journal rows."""
    from barloop._kernels.round_trips import (
        ENTRY,
        EXIT,
        N_CODES,
        N_VALUES,
        Events,
        Ranges,
        Trades,
        match_fills,
    )

    made = steps(record)
    codes, values, panel = record.journal_codes, record.journal_values, record.panel
    moves = values[FillField.QUANTITY][made.row] != 0.0
    row = made.row[moves]
    events = Events(
        bar=made.bar[moves],
        asset=made.asset[moves],
        kind=_kinds(codes[FillField.REASON][row], record.timing),
        quantity=values[FillField.QUANTITY][row],
        price=values[FillField.PRICE][row],
        commission=values[FillField.COMMISSION][row],
    )
    close = panel.close
    ranges = Ranges(
        close if panel.open is None else panel.open,
        close if panel.high is None else panel.high,
        close if panel.low is None else panel.low,
        close,
    )
    trades = Trades(
        np.empty((N_CODES, 2 * row.size), dtype=np.int64),
        np.empty((N_VALUES, 2 * row.size)),
        np.empty(row.size, dtype=np.int64),
    )
    n = match_fills(events, ranges, first_in_first_out, trades)
    entry, exit_ = trades.codes[ENTRY, :n], trades.codes[EXIT, :n]
    entry = row[entry]
    exit_ = np.where(exit_ < 0, -1, row[exit_])
    last = np.where(exit_ < 0, codes.shape[1], exit_)
    order = np.lexsort((last, entry))
    return Trades(
        np.stack([entry[order], exit_[order]]), trades.values[:, order], trades.queue
    )


def _kinds(reason: CodeVector, timing: FillTiming) -> ByteVector:
    """Say when on its bar each event happens."""
    from barloop._kernels.round_trips import AT_CLOSE, AT_OPEN, INSIDE, SPLIT

    ordered = AT_OPEN if timing == FillTiming.NEXT_OPEN else AT_CLOSE
    kind = np.full(FillReason.SPLIT + 1, INSIDE, dtype=np.int8)
    kind[[FillReason.ORDER, FillReason.MAX_DRAWDOWN]] = ordered
    kind[[FillReason.MAX_BARS_HELD, FillReason.DELISTED]] = AT_OPEN
    kind[[FillReason.MARGIN_CALL, FillReason.RUINED]] = AT_CLOSE
    kind[FillReason.SPLIT] = SPLIT
    return kind[reason]


def _features(
    record: RunRecord,
    frame: pl.DataFrame,
    features: Sequence[str],
    bar: IntVector,
    asset: IntVector,
) -> list[pl.Series]:
    """Look features up on the bars that decided the entries."""
    names = [features] if isinstance(features, str) else list(features)
    for name in names:
        if name in frame.columns:
            msg = (
                f"the feature {name!r} has the name of a column of trades.\n"
                "Hint: rename it in the data."
            )
            raise SimulationError(msg)
    return [
        pl.Series(name, record.panel.feature(name)[bar, asset]).fill_nan(None)
        for name in names
    ]


def _ratio(numerator: FloatVector, denominator: FloatVector) -> FloatVector:
    """Divide; NaN by 0."""
    some = denominator != 0.0
    return np.where(some, numerator / np.where(some, denominator, 1.0), np.nan)
