"""What a run skipped, scaled, refused or carried forward, counted."""

from __future__ import annotations

import numpy as np
import polars as pl

from barloop.enums import (
    BarField,
    Counter,
    FillField,
    FillReason,
    OrderField,
    Reason,
)
from barloop.holdings import steps
from barloop.notices import Notice
from barloop.record import Delistings, RunRecord
from barloop.typing import BoolVector, CodeVector, IntVector

# With a count and its name, a message stays within 79 characters.
MESSAGES = {
    Reason.NOT_LISTED: "targets named an asset before its first bar",
    Reason.NO_BAR: "decisions left an asset without a bar alone",
    Reason.BLOCKED_AFTER_EXIT: "orders were refused after an exit",
    Reason.MAX_WEIGHT: "weights were cut to max_weight",
    Reason.MAX_GROSS: "weights were scaled to max_gross",
    Reason.DRIFT_BAND: "positions were within drift_band of their target",
    Reason.ROUNDED: "targets were cut to whole lots",
    Reason.BELOW_MIN_TRADE_VALUE: "orders below min_trade_value were dropped",
    Reason.MAX_DRAWDOWN: "waiting orders were cancelled",
    Reason.MAX_TURNOVER: "orders were scaled to max_turnover",
    Reason.CANCELLED_BY_MARGIN_CALL: "waiting orders were cancelled",
    Reason.MISSING_BAR: "orders met a bar without a fill price",
    Reason.NO_VOLUME: "orders met a bar without volume",
    Reason.MAX_PARTICIPATION: "orders were above their share of volume",
    Reason.REJECTED_AT_SUBMISSION: "orders were rejected when sent",
    Reason.SCALED_TO_CASH: "opening buys were scaled to the cash there was",
    Reason.PARTIAL_CASH: "buys got what cash could pay for",
    Reason.REJECTED_FOR_CASH: "buys were more than cash could pay for",
    Reason.CANCELLED_BY_EXIT: "waiting orders were cancelled by an exit",
    Reason.REPLACED: "waiting orders were replaced by a later decision",
    Reason.RUINED: "waiting orders were cancelled by the ruin",
    Reason.DELISTED: "waiting orders were cancelled",
}
NAMES = {
    Reason.MAX_DRAWDOWN: "cancelled_by_max_drawdown",
    Reason.RUINED: "cancelled_by_ruin",
    Reason.DELISTED: "cancelled_by_delisting",
}
"""Notices that are not named after their reason: that is the name of a fill's."""

EXITS = {
    FillReason.STOP_LOSS: "positions were closed by their stop_loss",
    FillReason.ATR_STOP: "positions were closed by their atr_stop",
    FillReason.TRAILING_STOP: "positions were closed by their trailing_stop",
    FillReason.TAKE_PROFIT: "positions were closed by their take_profit",
    FillReason.MAX_BARS_HELD: "positions were closed after max_bars_held",
    FillReason.MARGIN_CALL: "positions were reduced by a margin call",
    FillReason.DELISTED: "positions were closed by a delisting",
}
"""Fills that no order asked for; those of the account's end are one notice."""

COUNTED = {
    Counter.FORWARD_FILLED: "position values rest on an earlier close",
    Counter.NULL_RANGES: "bars of exits had a null high or low",
    Counter.NO_ATR: "positions have no atr_stop, its column was null",
}
"""Counters, each followed by the bar and the asset of the first."""
COUNTER_NAMES = {Counter.NULL_RANGES: "null_range"}

DELISTED_HELD = (
    "delistings without a return left a position as it was; set "
    'missing_data=MissingData(delisted="cash_out") or "write_off", or give them a '
    "return"
)


def held_delistings(record: RunRecord) -> Delistings:
    """Find the delistings of the actions that left a position as it was.

    Parameters
    ----------
    record : RunRecord
        The run; without its journal no position is known.

    Returns
    -------
    Delistings
        Those with ``delisted="hold"`` and a position, by bar, then asset.
    """
    bar, asset = record.delistings
    if record.config.missing_data.delisted != "hold" or not bar.size:
        return Delistings(bar[:0], asset[:0])
    made, n_bars = steps(record), record.panel.n_bars
    key = made.asset * n_bars + made.bar
    # A delisting is part of step 0: what fills on its bar comes later.
    place = np.searchsorted(key, asset * n_bars + bar) - 1
    held = place >= 0
    held[held] = (made.asset[place[held]] == asset[held]) & (
        made.position[place[held]] != 0.0
    )
    return Delistings(bar[held], asset[held])


def run_notices(record: RunRecord) -> tuple[Notice, ...]:
    """Count what happened in a run besides plain fills.

    Parameters
    ----------
    record : RunRecord
        The run; order reasons are counted only if it kept its log.

    Returns
    -------
    tuple of Notice
        Notices of the data first, then of the context, then of the run.
    """
    found = [*record.panel.notices, *record.input_notices]
    _add(
        found,
        "no_decision",
        np.flatnonzero(record.is_skipped),
        "bars of the schedule had no decision",
    )
    for counter, message in COUNTED.items():
        count, bar, asset = map(int, record.counters[counter : counter + 3])
        if count:
            name = COUNTER_NAMES.get(counter, counter.name.lower())
            found.append(Notice(name, count, bar, asset, message))
    if record.n_orders:
        masks = record.order_codes[OrderField.REASONS]
        bar, asset = record.order_codes[[OrderField.BAR, OrderField.ASSET]]
        for reason, message in MESSAGES.items():
            name = NAMES.get(reason, reason.name.lower())
            chosen = masks >> reason & 1 != 0
            if reason == Reason.MAX_DRAWDOWN:
                # Those decided on the bar itself close the positions.
                chosen &= bar != record.stopped_bar
            _first(found, name, chosen, bar, asset, message)
    else:
        scaled = np.flatnonzero(record.bar_field(BarField.SCALE) < 1.0)
        _add(
            found,
            Reason.SCALED_TO_CASH.name.lower(),
            scaled + record.first_bar,
            "bars scaled their buys to the cash there was",
        )
    codes = record.journal_codes
    bar, asset = codes[FillField.BAR], codes[FillField.ASSET]
    for why, message in EXITS.items():
        chosen = codes[FillField.REASON] == why
        _first(found, why.name.lower(), chosen, bar, asset, message)
    left = held_delistings(record)
    every = np.ones(left.bar.size, dtype=np.bool_)
    _first(found, "delisted_held", every, left.bar, left.asset, DELISTED_HELD)
    if record.config.execution.fill == "same_close":
        found.append(
            Notice(
                "same_close",
                1,
                None,
                None,
                "decisions traded at the close they were decided on",
            )
        )
    if record.stopped_bar >= 0:
        message = "the drawdown limit was reached, all positions were closed"
        found.append(Notice("max_drawdown", 1, record.stopped_bar, None, message))
    if record.ruined_bar >= 0:
        found.append(
            Notice("ruined", 1, record.ruined_bar, None, "equity fell to 0 or below")
        )
    return tuple(found)


def _add(found: list[Notice], name: str, bar: IntVector, message: str) -> None:
    if bar.size:
        found.append(Notice(name, int(bar.size), int(bar[0]), None, message))


def _first(
    found: list[Notice],
    name: str,
    chosen: BoolVector,
    bar: CodeVector | IntVector,
    asset: CodeVector | IntVector,
    message: str,
) -> None:
    """Count rows of a log, with the bar and the asset of the first."""
    rows = np.flatnonzero(chosen)
    if rows.size:
        first = rows[0]
        found.append(
            Notice(name, int(rows.size), int(bar[first]), int(asset[first]), message)
        )


def notices_frame(record: RunRecord) -> pl.DataFrame:
    """Build one row per notice.

    Parameters
    ----------
    record : RunRecord
        The run.

    Returns
    -------
    DataFrame
        See `BacktestResult.notices`.
    """
    panel = record.panel
    found = run_notices(record)
    bars = pl.Series([one.bar for one in found], dtype=pl.Int64)
    assets = pl.Series([one.asset for one in found], dtype=pl.Int64)
    return pl.DataFrame(
        [
            pl.Series("notice", [one.notice for one in found], dtype=pl.String),
            pl.Series("count", [one.count for one in found], dtype=pl.Int64),
            panel.timestamps.gather(bars).alias(f"first_{panel.timestamp_name}"),
            panel.assets.gather(assets).alias(f"first_{panel.asset_name}"),
            pl.Series("message", [one.message for one in found], dtype=pl.String),
        ]
    )
