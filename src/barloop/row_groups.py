"""Rows of a frame by the value of a key column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from barloop.layout import frozen, number_values
from barloop.typing import CodeVector, FloatVector, IntVector

KEYS = (
    *(pl.Int8, pl.Int16, pl.Int32, pl.Int64),
    *(pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64),
    *(pl.Date, pl.Datetime, pl.String, pl.Enum, pl.Categorical),
)
"""What `number_values` takes: the fast way."""


@dataclass(frozen=True, slots=True)
class RowGroups:
    """Rows by group, see `barloop._kernels.grouped`."""

    code: CodeVector
    """(n_rows,) number of the group of each row."""
    order: IntVector
    """(n_rows,) rows by group, in the order of the frame within each."""
    start: IntVector
    """(n_groups + 1,) where each group begins in `order`."""
    largest: int
    """Rows of the largest group."""


def group_rows(key: pl.Series) -> RowGroups:
    """Group rows by a column; nulls are a group of their own.

    Parameters
    ----------
    key : Series
        Timestamps, assets, or anything that polars can rank.

    Returns
    -------
    RowGroups
        In no promised order of groups.
    """
    from barloop._kernels.grouped import order_groups

    code: CodeVector
    if key.dtype in KEYS and key.null_count() == 0:
        code, first = number_values(key.rechunk())
        n_groups = first.size
    else:
        places = key.rank("dense").fill_null(0)
        code = places.cast(pl.Int32).to_numpy()
        n_groups = int(code.max(initial=0)) + 1
    order = np.empty(code.size, dtype=np.int64)
    start = np.zeros(n_groups + 1, dtype=np.int64)
    work = np.empty(n_groups, dtype=np.int64)
    code = frozen(code.view())
    largest = int(order_groups(code, start, work, order))
    return RowGroups(code, frozen(order), frozen(start), largest)


def by_group(
    function: Callable[[Sequence[pl.Series]], pl.Series],
    inputs: Sequence[str | pl.Expr],
    key: str,
    dtype: type[pl.DataType] = pl.Float64,
) -> pl.Expr:
    """Make an expression of whole columns and the key they are grouped by.

    Parameters
    ----------
    function : callable
        Takes the columns, the key last, and returns one value per row.
    inputs : sequence of str or Expr
        The columns.
    key : str
        Name of the key column.
    dtype : DataType
        Of what it returns.

    Returns
    -------
    Expr
        May be an input of another one.

    Notes
    -----
    With ``Expr.over`` that would go wrong: polars evaluates an ``over`` inside another
    one within the groups of the outer, so that ``shift(1).over("asset")`` inside of
    ``rank().over("timestamp")`` finds one row per group, and null everywhere.
    """
    return pl.map_batches([*inputs, pl.col(key)], function, return_dtype=dtype)


def per_row(column: pl.Series, key: pl.Series) -> pl.Series:
    """Repeat a single value, which is what a literal gives, on every row.

    Parameters
    ----------
    column : Series
        One value, or one per row.
    key : Series
        One per row.

    Returns
    -------
    Series
        One value per row.
    """
    if len(column) == 1 and len(key) != 1:
        return column.new_from_index(0, len(key))
    return column


def with_nulls(values: FloatVector, like: pl.Series) -> pl.Series:
    """Return numbers as a column, NaN as null.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Numbers.
    like : Series
        Gives the name.

    Returns
    -------
    Series
        Float64.
    """
    return pl.Series(like.name, values).fill_nan(None)
