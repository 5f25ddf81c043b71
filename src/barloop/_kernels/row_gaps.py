"""Bars between the first and the last row of an asset that have none."""

from __future__ import annotations

from barloop._jit import kernel, subkernel
from barloop.typing import CodeVector, FloatPanel, IntVector


@kernel
def find_ends(
    row_of: CodeVector,  # (n_bars * n_assets,) the row of each cell, -1 for none
    first_out: IntVector,  # (n_assets,) first bar with a row, n_bars for none
    last_out: IntVector,  # (n_assets,) last bar with a row, -1 for none
    gap_start_out: IntVector,  # (n_assets + 1,) place of the gaps of each asset
) -> None:
    """Find where the rows of each asset begin and end, and count gaps between."""
    n_assets = first_out.size
    n_bars = row_of.size // n_assets
    for i in range(n_assets):
        first_out[i] = n_bars
        last_out[i] = -1
        gap_start_out[i + 1] = 0
    for t in range(n_bars):
        for i in range(n_assets):
            if row_of[t * n_assets + i] >= 0:
                first_out[i] = min(first_out[i], t)
                last_out[i] = t
                gap_start_out[i + 1] += 1
    gap_start_out[0] = 0
    for i in range(n_assets):
        n_rows = gap_start_out[i + 1]
        n_gaps = last_out[i] - first_out[i] + 1 - n_rows if n_rows > 0 else 0
        gap_start_out[i + 1] = gap_start_out[i] + n_gaps


@kernel
def list_gaps(
    row_of: CodeVector,  # (n_bars * n_assets,)
    first: IntVector,  # (n_assets,)
    last: IntVector,  # (n_assets,)
    place: IntVector,  # (n_assets,) first places of the gaps on entry; work space
    gap_out: CodeVector,  # (number of gaps,) bars, ascending for each asset
) -> None:
    """List the bars between the first and the last row of an asset without a row."""
    n_assets = first.size
    for t in range(row_of.size // n_assets):
        for i in range(n_assets):
            if row_of[t * n_assets + i] < 0 and first[i] < t < last[i]:
                gap_out[place[i]] = t
                place[i] += 1


@subkernel
def row_before(
    t: int,
    n_rows: int,
    gap: CodeVector,  # bars without a row, see `list_gaps`
    start: int,  # the first gap of the asset
    stop: int,  # one after its last
) -> int:
    """Find the bar `n_rows` rows before bar `t`, which has a row.

    It may lie before the first row of the asset.
    """
    low, high = start, stop
    while low < high:
        middle = (low + high) >> 1
        if gap[middle] <= t:
            low = middle + 1
        else:
            high = middle
    bar = t - n_rows
    while low > start and gap[low - 1] >= bar:
        low -= 1
        bar -= 1
    return bar


@subkernel
def gather_rows(
    value: FloatPanel,
    i: int,
    bar: int,  # the first row
    t: int,  # the last row
    gap: CodeVector,
    start: int,  # the first gap of the asset
    stop: int,  # one after its last
    line_out: FloatPanel,  # (number of rows, 1)
) -> None:
    """Copy the rows of one asset from `bar` to `t` without the gaps between."""
    place = start
    while place < stop and gap[place] < bar:
        place += 1
    k = 0
    for b in range(bar, t + 1):
        if place < stop and gap[place] == b:
            place += 1
        else:
            line_out[k, 0] = value[b, i]
            k += 1
