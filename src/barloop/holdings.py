"""Positions over time, derived from the journal and nothing else."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from barloop.enums import FillField, FillReason, OrderField
from barloop.record import RunRecord
from barloop.typing import FloatVector, IntVector


class Steps(NamedTuple):
    """What moves positions by asset, then in order, with the position each leaves."""

    row: IntVector  # row of the journal
    asset: IntVector  # column of the panel
    bar: IntVector  # row of the panel
    position: FloatVector  # signed units afterwards


def steps(record: RunRecord) -> Steps:
    """Add fills and splits of each asset up, in the order in which they happened.

    Parameters
    ----------
    record : RunRecord
        With its journal.

    Returns
    -------
    Steps
        One element per row of the journal that has an asset, dividends too.
    """
    codes = record.journal_codes
    row = np.argsort(codes[FillField.ASSET], kind="stable")
    # What belongs to the account has the asset -1 and comes first.
    row = row[np.count_nonzero(codes[FillField.ASSET] < 0) :]
    asset = codes[FillField.ASSET][row].astype(np.int64)
    bar = codes[FillField.BAR][row].astype(np.int64)
    quantity = record.journal_values[FillField.QUANTITY][row]
    frame = pl.DataFrame({"asset": asset, "quantity": quantity})
    # Within an asset the sum runs row by row, as in the loop: the same bits.
    position = frame.select(pl.col("quantity").cum_sum().over("asset")).to_series()
    return Steps(row, asset, bar, position.to_numpy())


def daily_positions(record: RunRecord) -> tuple[IntVector, IntVector, FloatVector]:
    """Return every asset held at the end of every bar.

    Parameters
    ----------
    record : RunRecord
        With its journal.

    Returns
    -------
    bar, asset : ndarray of int64
        Sorted by bar, then asset.
    position : ndarray
        Signed units, not 0.
    """
    made = steps(record)
    n = made.asset.size
    if n == 0:
        nothing = np.empty(0, dtype=np.int64)
        return nothing, nothing, np.empty(0)
    same_asset = made.asset[1:] == made.asset[:-1]
    # A position lasts from its bar to the next step of the asset, or to the end.
    until = np.full(n, record.panel.n_bars, dtype=np.int64)
    until[:-1][same_asset] = made.bar[1:][same_asset]
    length = np.where(made.position != 0.0, until - made.bar, 0)
    asset = np.repeat(made.asset, length)
    position = np.repeat(made.position, length)
    first = np.repeat(made.bar, length)
    before = np.cumsum(length) - length
    bar = first + (np.arange(asset.size) - np.repeat(before, length))
    by_bar = np.lexsort((asset, bar))
    return bar[by_bar], asset[by_bar], position[by_bar]


class AroundOrders(NamedTuple):
    """Positions and fills around the orders of the ledger."""

    before: FloatVector  # signed units at the decision
    after: FloatVector  # signed units after the order's last fill
    first_fill: IntVector  # row of the journal, -1 if nothing was filled
    last_fill: IntVector  # row of the journal, -1 if nothing was filled


def around_orders(record: RunRecord) -> AroundOrders:
    """Find the position before each order and after its last fill.

    Parameters
    ----------
    record : RunRecord
        With its journal and its orders.

    Returns
    -------
    AroundOrders
        One element per order.

    Notes
    -----
    At a decision on bar t everything of t has happened, except with ``same_close``,
    where the orders decided on t fill after it, and except for the end of a ruined
    account: after an earlier ruin there would be no decision.
    """
    made = steps(record)
    n_bars = record.panel.n_bars
    order_bar = record.order_codes[OrderField.BAR].astype(np.int64)
    order_asset = record.order_codes[OrderField.ASSET].astype(np.int64)
    order_of_row = record.journal_codes[FillField.ORDER].astype(np.int64)

    # One ascending key over the steps by asset: even = done when bar t decides.
    own = order_of_row[made.row]
    late = record.journal_codes[FillField.REASON][made.row] == FillReason.RUINED
    ordered = own >= 0
    late[ordered] = order_bar[own[ordered]] == made.bar[ordered]
    key = (made.asset * n_bars + made.bar) * 2 + late
    place = np.searchsorted(key, (order_asset * n_bars + order_bar) * 2, side="right")
    place -= 1
    known = place >= 0
    known[known] = made.asset[place[known]] == order_asset[known]
    before = np.zeros(order_bar.size)
    before[known] = made.position[place[known]]

    filled = np.flatnonzero(order_of_row >= 0)
    first_fill = np.full(order_bar.size, -1, dtype=np.int64)
    first_fill[order_of_row[filled[::-1]]] = filled[::-1]
    last_fill = np.full(order_bar.size, -1, dtype=np.int64)
    last_fill[order_of_row[filled]] = filled
    after_row = np.empty(order_of_row.size)
    after_row[made.row] = made.position
    after = before.copy()
    has_fill = last_fill >= 0
    after[has_fill] = after_row[last_fill[has_fill]]
    return AroundOrders(before, after, first_fill, last_fill)
