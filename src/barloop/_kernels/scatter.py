"""Rows of a long frame to cells of a panel."""

from __future__ import annotations

import numpy as np

from barloop._jit import kernel
from barloop.typing import CodeVector, FloatVector, IntVector


@kernel
def encode(
    keys: IntVector,  # (n_rows,)
    table_out: CodeVector,  # (a power of 2,) hash table of codes, -1 where empty
    unique_out: IntVector,  # (half of the table,) key of each code
    first_row_out: IntVector,  # (half of the table,) where each key occurs first
    code_out: CodeVector,  # (n_rows,)
    shift: int,  # 31 minus the binary logarithm of the size of the table
    row: int,  # the row to begin with
    n_unique: int,  # codes given so far
) -> tuple[int, int]:
    """Give numbers to keys in order of first appearance.

    Return ``(row, n_unique)``; a `row` before the end says that the table is full.
    """
    mask = table_out.size - 1
    # Before the first row there is no previous key: any other value will do.
    previous = ~keys[row] if row < keys.size else 0
    code = 0
    while row < keys.size:
        key = keys[row]
        if key != previous:
            # Fibonacci hashing on 31 bits: no product overflows, compiled or not.
            folded = (key ^ (key >> 31) ^ (key >> 62)) & 0x7FFFFFFF
            slot = ((folded * 0x4F1BBCDD) & 0x7FFFFFFF) >> shift
            while table_out[slot] >= 0 and unique_out[table_out[slot]] != key:
                slot = (slot + 1) & mask
            if table_out[slot] < 0:
                if n_unique == unique_out.size:
                    return row, n_unique
                table_out[slot] = n_unique
                unique_out[n_unique] = key
                first_row_out[n_unique] = row
                n_unique += 1
            code = table_out[slot]
            previous = key
        code_out[row] = code
        row += 1
    return row, n_unique


@kernel
def locate(
    time_code: CodeVector,  # (n_rows,)
    asset_code: CodeVector,  # (n_rows,)
    bar_of_code: IntVector,  # (number of time codes,)
    asset_of_code: IntVector,  # (number of asset codes,)
    row_of_out: CodeVector,  # (n_bars * n_assets,) -1 on entry; the row of each cell
) -> tuple[int, int, bool]:
    """Find the row of each cell.

    Return ``(n_duplicates, first duplicate cell, rows are in panel order)``.
    """
    n_assets = asset_of_code.size
    n_duplicates = 0
    first = row_of_out.size
    ascending = True
    previous = -1
    for row in range(time_code.size):
        cell = bar_of_code[time_code[row]] * n_assets + asset_of_code[asset_code[row]]
        if row_of_out[cell] >= 0:
            n_duplicates += 1
            first = min(first, cell)
        else:
            row_of_out[cell] = row
        ascending = ascending and cell > previous
        previous = cell
    return n_duplicates, first, ascending


@kernel
def gather(
    value: FloatVector,  # (n_rows,)
    row_of: CodeVector,  # (n_bars * n_assets,) the row of each cell, -1 for none
    cell_out: FloatVector,  # (n_bars * n_assets,) NaN where there is no row
) -> None:
    """Bring a column into panel order."""
    for cell in range(row_of.size):
        row = row_of[cell]
        cell_out[cell] = value[row] if row >= 0 else np.nan
