"""Columnar weights as rows in panel codes, checked and packed for the loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from barloop.enums import WeightFault
from barloop.errors import WeightsError
from barloop.limits import Limits
from barloop.panel import Panel
from barloop.schema import are, n_rows
from barloop.typing import BoolVector, IndexVector, IntVector


@dataclass(frozen=True, slots=True)
class WeightRows:
    """Weights of a columnar form in panel codes, before they are checked."""

    row_start: IntVector
    """(n_bars + 1,) first row of each bar."""
    asset: IndexVector
    """(n_rows,) column of the panel, ascending within a bar; empty: dense rows."""
    weight: np.ndarray[Any, np.dtype[np.float64]]
    """(n_rows,) signed fraction of equity, NaN where null or absent."""
    nan_bar: IntVector
    """Bars of the weights that the user gave as NaN, which is an error if read."""
    nan_asset: IntVector
    """Columns of the panel beside `nan_bar`."""


@dataclass(frozen=True, slots=True)
class PackedDecisions:
    """Sparse decisions for the loop, one row per bar."""

    kind: np.ndarray[Any, np.dtype[np.int8]]
    start: IntVector
    asset: IndexVector
    weight: np.ndarray[Any, np.dtype[np.float64]]
    n_unread: int
    """Timestamps of a weights frame on which no decision is taken."""
    first_unread: int
    """The first bar of these, -1 if there is none."""


def pack(
    rows: WeightRows, panel: Panel, is_rebalance: BoolVector, limits: Limits
) -> PackedDecisions:
    """Check columnar weights and pack those that are not zero.

    Parameters
    ----------
    rows : WeightRows
        Weights in panel codes.
    panel : Panel
        For the names in messages.
    is_rebalance : ndarray of bool, shape (n_bars,)
        The schedule; weights of other bars are not read.
    limits : Limits
        Shorts, gross, largest weight.

    Returns
    -------
    PackedDecisions
        One row per bar.

    Raises
    ------
    WeightsError
        If a weight is NaN or infinite, negative without `allow_short`, or the gross
        of a bar is above `max_gross` and not to be scaled; names the first bar, asset
        and value.
    """
    from barloop._kernels.targets import pack_decisions

    read = np.flatnonzero(is_rebalance[rows.nan_bar] if rows.nan_bar.size else ())
    if read.size:
        first = read[np.lexsort((rows.nan_asset[read], rows.nan_bar[read]))[0]]
        msg = (
            f"weights must not be NaN: {n_rows(read.size)} {are(read.size)}, first at "
            f"{panel.show_bar(int(rows.nan_bar[first]))}, "
            f"asset {panel.show_asset(int(rows.nan_asset[first]))}.\n"
            "Hint: use fill_nan(None); null closes a position, and a timestamp with "
            "nulls only is no rebalance."
        )
        raise WeightsError(msg)
    most = np.inf if limits.max_weight is None else limits.max_weight
    n_bars = panel.n_bars
    kind = np.zeros(n_bars, dtype=np.int8)
    start = np.zeros(n_bars + 1, dtype=np.int64)
    # Pages that are never written are never paid for.
    asset = np.empty(max(rows.weight.size, 1), dtype=np.uint32)
    weight = np.empty(max(rows.weight.size, 1), dtype=np.float64)
    values = rows.weight.view()
    values.flags.writeable = False
    codes = rows.asset.view()
    codes.flags.writeable = False
    fault, bar, row = pack_decisions(
        rows.row_start,
        codes,
        values,
        is_rebalance,
        bool(limits.allow_short),
        float(most),
        float(np.inf if limits.on_excess == "scale" else limits.max_gross),
        kind,
        start,
        asset,
        weight,
    )
    if fault != WeightFault.NONE:
        dense = rows.asset.size == 0
        column = row - int(rows.row_start[bar]) if dense else int(rows.asset[row])
        if fault == WeightFault.GROSS:
            chosen = slice(int(rows.row_start[bar]), int(rows.row_start[bar + 1]))
            gross = float(np.nansum(np.minimum(np.abs(rows.weight[chosen]), most)))
            raise gross_error(panel, bar, gross, limits)
        raise weight_error(panel, bar, column, float(rows.weight[row]))
    n = max(int(start[-1]), 1)
    unread = np.empty(0, dtype=np.int64)
    if rows.asset.size:
        unread = np.flatnonzero((np.diff(rows.row_start) > 0) & ~is_rebalance)
    first = int(unread[0]) if unread.size else -1
    return PackedDecisions(kind, start, asset[:n], weight[:n], unread.size, first)


def weight_error(panel: Panel, bar: int, asset: int, value: float) -> WeightsError:
    """Describe one weight that is not valid.

    Parameters
    ----------
    panel : Panel
        For the names.
    bar, asset : int
        Where it stands.
    value : float
        The weight.

    Returns
    -------
    WeightsError
        To be raised by the caller.
    """
    where = f"at {panel.show_bar(bar)}, asset {panel.show_asset(asset)}"
    if value < 0.0 and np.isfinite(value):
        return WeightsError(
            f"weight {value!r} is negative {where}, but shorts are off.\n"
            "Hint: limits=Limits(allow_short=True)."
        )
    return WeightsError(
        f"weights must be finite: {value!r} {where}.\n"
        "Hint: give 0 to close a position, or leave the asset out."
    )


def gross_error(panel: Panel, bar: int, gross: float, limits: Limits) -> WeightsError:
    """Describe a decision whose gross is above the limit.

    Parameters
    ----------
    panel : Panel
        For the timestamp.
    bar : int
        The bar of the decision.
    gross : float
        Sum of absolute weights, each at most `max_weight`.
    limits : Limits
        The limit that it exceeds.

    Returns
    -------
    WeightsError
        To be raised by the caller.
    """
    capped = ""
    if limits.max_weight is not None:
        capped = f", each at most max_weight={limits.max_weight:.12g},"
    return WeightsError(
        f"the absolute weights at {panel.show_bar(bar)}{capped} sum to {gross:.12g}, "
        f"above max_gross={limits.max_gross:.12g}.\n"
        "Hint: scale them down, or raise limits=Limits(max_gross=...)."
    )
