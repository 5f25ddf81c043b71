"""What a run skipped, scaled, refused or carried forward, counted."""

from __future__ import annotations

import numpy as np
import polars as pl

from barloop.enums import BarField, Counter, Decision, OrderField, Reason
from barloop.notices import Notice
from barloop.record import RunRecord
from barloop.typing import IntVector

# With a count and its name, a message stays within 79 characters.
MESSAGES = {
    Reason.NOT_LISTED: "targets named an asset before its first bar",
    Reason.NO_BAR: "decisions left an asset without a bar alone",
    Reason.ROUNDED: "targets were cut to whole lots",
    Reason.BELOW_MIN_TRADE_VALUE: "orders below min_trade_value were dropped",
    Reason.MISSING_BAR: "orders met a bar without a fill price",
    Reason.SCALED_TO_CASH: "opening buys were scaled to the cash there was",
    Reason.REPLACED: "waiting orders were replaced by a later decision",
    Reason.RUINED: "waiting orders were cancelled by the ruin",
}
NAMES = {Reason.RUINED: "cancelled_by_ruin"}
"""Notices that are not named after their reason: ``ruined`` is the account's own."""


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
    bars, counters = record.bars, record.counters
    scheduled = record.is_rebalance.copy()
    if record.ruined_bar >= 0:
        scheduled[record.ruined_bar :] = False
    skipped = np.flatnonzero(scheduled & (bars[BarField.DECISION] == Decision.NONE))
    _add(found, "no_decision", skipped, "bars of the schedule had no decision")
    n_carried = int(counters[Counter.FORWARD_FILLED])
    if n_carried:
        found.append(
            Notice(
                "forward_filled",
                n_carried,
                int(counters[Counter.FIRST_FORWARD_FILLED_BAR]),
                int(counters[Counter.FIRST_FORWARD_FILLED_ASSET]),
                "position values rest on an earlier close",
            )
        )
    if record.n_orders:
        masks = record.order_codes[OrderField.REASONS]
        for reason, message in MESSAGES.items():
            rows = np.flatnonzero(masks >> reason & 1)
            if rows.size:
                first = rows[0]
                found.append(
                    Notice(
                        NAMES.get(reason, reason.name.lower()),
                        int(rows.size),
                        int(record.order_codes[OrderField.BAR, first]),
                        int(record.order_codes[OrderField.ASSET, first]),
                        message,
                    )
                )
    else:
        scaled = np.flatnonzero(bars[BarField.SCALE, record.first_bar :] < 1.0)
        _add(
            found,
            Reason.SCALED_TO_CASH.name.lower(),
            scaled + record.first_bar,
            "bars scaled their buys to the cash there was",
        )
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
    if record.ruined_bar >= 0:
        found.append(
            Notice("ruined", 1, record.ruined_bar, None, "equity fell to 0 or below")
        )
    return tuple(found)


def _add(found: list[Notice], name: str, bar: IntVector, message: str) -> None:
    if bar.size:
        found.append(Notice(name, int(bar.size), int(bar[0]), None, message))


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
