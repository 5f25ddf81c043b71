"""Positions over time, derived from the fills and nothing else."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from barloop.enums import FillField, OrderField
from barloop.record import RunRecord
from barloop.typing import FloatVector, IntVector


class Steps(NamedTuple):
    """Fills sorted by asset, then execution, with the position each one left."""

    fill: IntVector  # row of the fill log
    asset: IntVector  # column of the panel
    bar: IntVector  # row of the panel
    position: FloatVector  # signed units after the fill


def steps(record: RunRecord) -> Steps:
    """Add the fills of each asset up, in the order of execution.

    Parameters
    ----------
    record : RunRecord
        With its fill log.

    Returns
    -------
    Steps
        One element per fill.
    """
    asset = record.fill_codes[FillField.ASSET].astype(np.int64)
    bar = record.fill_codes[FillField.BAR].astype(np.int64)
    order = np.argsort(asset, kind="stable")
    frame = pl.DataFrame(
        {
            "asset": asset[order],
            "quantity": record.fill_values[FillField.QUANTITY][order],
        }
    )
    # Within an asset the sum runs fill by fill, as in the loop: the same bits.
    position = frame.select(pl.col("quantity").cum_sum().over("asset")).to_series()
    return Steps(order, asset[order], bar[order], position.to_numpy())


def daily_positions(record: RunRecord) -> tuple[IntVector, IntVector, FloatVector]:
    """Return every asset held at the end of every bar.

    Parameters
    ----------
    record : RunRecord
        With its fill log.

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
    # A position lasts from its bar to the next fill of the asset, or to the end.
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
    """Positions around the orders of the ledger."""

    before: FloatVector  # signed units at the decision
    after: FloatVector  # signed units after the order's last fill
    last_fill: IntVector  # row of the fill log, -1 if nothing was filled


def around_orders(record: RunRecord) -> AroundOrders:
    """Find the position before each order and after its last fill.

    Parameters
    ----------
    record : RunRecord
        With both logs.

    Returns
    -------
    AroundOrders
        One element per order.

    Notes
    -----
    At a decision on bar t the fills of t are done, except with ``same_close``, where
    the orders decided on t fill after it.  A ruin on a bar of a decision is always
    later than the decision: after an earlier one there would be none.
    """
    made = steps(record)
    n_bars = record.panel.n_bars
    order_bar = record.order_codes[OrderField.BAR].astype(np.int64)
    order_asset = record.order_codes[OrderField.ASSET].astype(np.int64)
    order_of_fill = record.fill_codes[FillField.ORDER].astype(np.int64)

    # One ascending key over the fills by asset: even = done when bar t decides.  The
    # closing of a ruined account (no order) comes last on its bar, so it is late too.
    own = order_of_fill[made.fill]
    decided_at = np.where(own >= 0, order_bar[own], made.bar) if own.size else own
    late = (decided_at == made.bar).astype(np.int64)
    key = (made.asset * n_bars + made.bar) * 2 + late
    place = np.searchsorted(key, (order_asset * n_bars + order_bar) * 2, side="right")
    place -= 1
    known = place >= 0
    known[known] = made.asset[place[known]] == order_asset[known]
    before = np.zeros(order_bar.size)
    before[known] = made.position[place[known]]

    last_fill = np.full(order_bar.size, -1, dtype=np.int64)
    filled = np.flatnonzero(order_of_fill >= 0)
    last_fill[order_of_fill[filled]] = filled
    after_fill = np.empty(order_of_fill.size)
    after_fill[made.fill] = made.position
    after = before.copy()
    has_fill = last_fill >= 0
    after[has_fill] = after_fill[last_fill[has_fill]]
    return AroundOrders(before, after, last_fill)
