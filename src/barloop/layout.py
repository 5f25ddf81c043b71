"""How the rows of a long frame map to the cells of a panel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from barloop.errors import PanelError, SchemaError
from barloop.schema import n_rows, show
from barloop.threads import run_each, split
from barloop.typing import CodeVector, FloatPanel, FloatVector, IntVector

Array = TypeVar("Array", bound=npt.NDArray[Any])

MAX_ROWS = 2**31 - 1
"""Row numbers are kept in 32 bits."""

MAX_EMPTY_CELLS = 2**28
"""Cells without a row above which a panel with next to nothing in it is refused."""


@dataclass(frozen=True, eq=False, slots=True)
class Layout:
    """Say where each cell ``(t, i)`` of a panel finds its row.

    Parameters
    ----------
    timestamps, assets : Series
        Sorted values of the bars and of the assets, in the user's name and dtype.
    row_of : ndarray of shape (n_bars * n_assets,), int32, or None
        Row of each cell, -1 for none; None when row and cell are the same number.
    in_order : bool
        The rows are in panel order already, gaps or not.
    """

    timestamps: pl.Series
    assets: pl.Series
    row_of: CodeVector | None
    in_order: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Number of bars, number of assets."""
        return len(self.timestamps), len(self.assets)

    def densify(self, columns: Sequence[FloatVector]) -> list[FloatPanel]:
        """Bring columns in the order of the rows into panel order.

        Parameters
        ----------
        columns : sequence of ndarray of shape (n_rows,)
            Read-only float64.

        Returns
        -------
        list of ndarray of shape (n_bars, n_assets)
            Read-only; NaN where there is no row.  Views when rows are cells.
        """
        return spread(columns, self.row_of, self.shape)

    def order(self) -> IntVector:
        """Return the rows sorted by timestamp, then asset."""
        if self.row_of is None:
            return np.arange(self.shape[0] * self.shape[1])
        return self.row_of[self.row_of >= 0].astype(np.int64)


def find_layout(time: pl.Series, asset: pl.Series) -> Layout:
    """Find the bars and assets of a long frame, and the row of each cell.

    Parameters
    ----------
    time, asset : Series of shape (n_rows,)
        The keys, without nulls, of an accepted dtype.

    Returns
    -------
    Layout
        Without a copy if the frame is sorted and complete.

    Raises
    ------
    SchemaError
        If a timestamp and asset occur together more than once.
    PanelError
        If the panel would be too large.
    """
    if len(time) > MAX_ROWS:
        msg = f"a panel takes at most {MAX_ROWS:,} rows, got {len(time):,}."
        raise PanelError(msg)
    time, asset = time.rechunk(), asset.rechunk()
    return _sorted_layout(time, asset) or _coded_layout(time, asset)


def _sorted_layout(time: pl.Series, asset: pl.Series) -> Layout | None:
    """Return the layout of a sorted complete frame, None for any other."""
    n = len(time)
    physical = time.to_physical().to_numpy()
    # On unsorted times the search ends anywhere; what follows proves the layout.
    n_assets = int(np.searchsorted(physical, physical[0], side="right"))
    if n_assets == 0 or n % n_assets:
        return None
    first = physical[::n_assets]
    if not (first[1:] > first[:-1]).all():
        return None
    bars = physical.reshape(-1, n_assets)
    if not (bars[:, 1:] == bars[:, :-1]).all():
        return None
    assets = asset.head(n_assets)
    if assets.n_unique() < n_assets or not assets.sort().equals(assets):
        return None
    if not _repeats(asset, n_assets):
        return None
    return Layout(time.gather_every(n_assets), assets, None, in_order=True)


def _repeats(values: pl.Series, period: int) -> bool:
    """Tell whether each value equals the one `period` rows before."""
    # The codes of Enum and Categorical, else the values: integers or text.
    values = values if values.dtype == pl.String else values.to_physical()

    def part(rows: tuple[int, int]) -> bool:
        start, stop = rows
        later = values.slice(start + period, stop - start)
        return bool((later == values.slice(start, stop - start)).all())

    parts = split(len(values) - period)
    return all(run_each(part, parts, len(values)))


def _coded_layout(time: pl.Series, asset: pl.Series) -> Layout:
    from barloop._kernels.scatter import locate

    (timestamps, time_code, bar_of_code), (assets, asset_code, asset_of_code) = (
        run_each(_ranked, [time, asset], 2 * len(time))
    )
    n_cells = len(timestamps) * len(assets)
    if n_cells > 100 * len(time) and n_cells - len(time) > MAX_EMPTY_CELLS:
        msg = (
            f"the panel would be nearly empty: {len(timestamps):,} timestamps x "
            f"{len(assets):,} assets for {n_rows(len(time))}.\n"
            "Hint: bring the assets onto common bars first, e.g. with "
            'pl.col("timestamp").dt.truncate("1m").'
        )
        raise PanelError(msg)
    row_of = np.full(n_cells, -1, dtype=np.int32)
    n_duplicates, cell, in_order = locate(
        time_code, asset_code, bar_of_code, asset_of_code, row_of
    )
    n_duplicates, cell = int(n_duplicates), int(cell)
    if n_duplicates:
        repeat = "repeats" if n_duplicates == 1 else "repeat"
        msg = (
            f"{time.name} and {asset.name} must be unique together: "
            f"{n_rows(n_duplicates)} {repeat} an earlier one, first at "
            f"{show(timestamps[cell // len(assets)])}, asset "
            f"{show(assets[cell % len(assets)])}.\n"
            "Hint: keep one row per bar and asset, e.g. "
            f"df.unique([{time.name!r}, {asset.name!r}], keep=..., "
            "maintain_order=True)."
        )
        raise SchemaError(msg)
    return Layout(timestamps, assets, frozen(row_of), in_order=bool(in_order))


def _ranked(values: pl.Series) -> tuple[pl.Series, CodeVector, IntVector]:
    """Return the sorted distinct values, a code per row, and the rank of each code."""
    code, first = number_values(values)
    distinct = values.gather(first)
    order = distinct.arg_sort().to_numpy()
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size)
    return distinct.gather(order), code, rank


def number_values(values: pl.Series) -> tuple[CodeVector, IntVector]:
    """Give numbers to the values of a key column in order of first appearance.

    Parameters
    ----------
    values : Series without nulls, in one chunk
        A key column of an accepted dtype.

    Returns
    -------
    code : ndarray of shape (n,)
        Number of each value, int32.
    first : ndarray of shape (n_distinct,)
        Row where each number occurs first.
    """
    if values.dtype != pl.String:
        return number_keys(int_keys(values))
    # Codes by 64-bit hash, then the proof; a true collision takes the slow way.
    code, first = number_keys(int_keys(values.hash()))
    if not (
        values.gather(first).gather(pl.Series(code.view(np.uint32))) == values
    ).all():
        code, first = number_keys(int_keys(values.cast(pl.Categorical)))
    return code, first


def int_keys(values: pl.Series) -> IntVector:
    """Return one int64 per value, equal where the values are equal.

    Parameters
    ----------
    values : Series without nulls
        Date, Datetime, Enum, Categorical or an integer of up to 64 bits.

    Returns
    -------
    ndarray of shape (n,)
        Read-only.
    """
    physical = values.to_physical()
    if physical.dtype == pl.UInt64:
        physical = physical.reinterpret(signed=True)
    return frozen(physical.cast(pl.Int64).rechunk().to_numpy())


def number_keys(keys: IntVector) -> tuple[CodeVector, IntVector]:
    """Give numbers to keys in order of first appearance.

    Parameters
    ----------
    keys : ndarray of shape (n,)
        Read-only int64.

    Returns
    -------
    code : ndarray of shape (n,)
        Number of each key, int32.
    first : ndarray of shape (n_unique,)
        Where each number occurs first.
    """
    from barloop._kernels.scatter import encode

    code = np.empty(keys.size, dtype=np.int32)
    bits = 13
    table, unique, first = _hash_table(bits)
    row, n = encode(keys, table, unique, first, code, 31 - bits, 0, 0)
    while row < keys.size:
        # The table is full: enter the keys so far, in order, into a larger one.
        bits += 2
        known, known_first = frozen(unique[:n].copy()), first[:n]
        table, unique, first = _hash_table(bits)
        scratch = np.empty(n, dtype=np.int32)
        encode(known, table, unique, first, scratch, 31 - bits, 0, 0)
        first[:n] = known_first
        row, n = encode(keys, table, unique, first, code, 31 - bits, row, n)
    return code, first[:n]


def _hash_table(bits: int) -> tuple[CodeVector, IntVector, IntVector]:
    return (
        np.full(2**bits, -1, dtype=np.int32),
        np.empty(2 ** (bits - 1), dtype=np.int64),
        np.empty(2 ** (bits - 1), dtype=np.int64),
    )


def spread(
    columns: Sequence[FloatVector], row_of: CodeVector | None, shape: tuple[int, int]
) -> list[FloatPanel]:
    """Bring columns into panel order; see `Layout.densify`.

    Parameters
    ----------
    columns : sequence of ndarray of shape (n_rows,)
        Read-only float64.
    row_of : ndarray of shape (n_bars * n_assets,), or None
        Row of each cell, -1 for none; None when row and cell are the same number.
    shape : (int, int)
        Number of bars, number of assets.

    Returns
    -------
    list of ndarray of shape `shape`
        Read-only.
    """
    n_cells = shape[0] * shape[1]
    if row_of is None:
        return [column[:n_cells].reshape(shape) for column in columns]
    from barloop._kernels.scatter import gather

    cells = [np.empty(n_cells) for _ in columns]
    jobs = list(zip(columns, cells, strict=True))
    run_each(lambda job: gather(job[0], row_of, job[1]), jobs, n_cells * len(jobs))
    return [frozen(out.reshape(shape)) for out in cells]


def floats(values: pl.Series) -> FloatVector:
    """Return a numeric or boolean series as read-only float64, null as NaN.

    Parameters
    ----------
    values : Series
        Any numeric, Boolean or Null dtype.

    Returns
    -------
    ndarray of shape (n,)
        C order; shares memory with a Float64 series of one chunk without nulls.
    """
    if values.dtype != pl.Float64:
        values = values.cast(pl.Float64)
    if values.null_count():
        values = values.fill_null(float("nan"))
    return frozen(values.rechunk().to_numpy())


def frozen(array: Array) -> Array:
    """Make an array read-only in place and return it."""
    array.setflags(write=False)
    return array
