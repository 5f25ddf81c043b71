"""Digests of polars columns by their values, not by how memory holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import polars as pl

from barloop.typing import CodeVector, IntVector

Bytes = Any
"""Anything with the buffer protocol."""

_PIECE = 2**15


def column_digest(
    series: pl.Series,
    rows: IntVector | CodeVector | None = None,
    *,
    of_objects: Callable[[list[Any]], bytes],
) -> bytes:
    """Hash the dtype, the length and the values of a column.

    Parameters
    ----------
    series : Series
        Of any dtype; its name is not hashed.
    rows : ndarray of int, optional
        The rows to take, in their order; all when None.
    of_objects : callable
        Hashes the Python values of a column of objects.

    Returns
    -------
    bytes
        32 bytes, the same for any chunks, buffers and order of categories; null, NaN
        and 0.0 differ.
    """
    n_rows = len(series) if rows is None else len(rows)
    digest = hashlib.sha256(f"{dtype_text(series.dtype)} {n_rows}\0".encode())
    for chunk in _chunks(series, rows, of_objects):
        digest.update(chunk)
    return digest.digest()


def dtype_text(dtype: pl.DataType) -> str:
    """Return a dtype with all that belongs to it.

    Parameters
    ----------
    dtype : DataType
        Of a column.

    Returns
    -------
    str
        ``"Float64"``, ``"Enum['a', 'b']"``, ``"List[Int64]"``.
    """
    if isinstance(dtype, pl.Enum):
        return f"Enum{dtype.categories.to_list()!r}"
    if isinstance(dtype, pl.Struct):
        fields = [f"{one.name!r}: {_inner(one.dtype)}" for one in dtype.fields]
        return f"Struct[{', '.join(fields)}]"
    if isinstance(dtype, pl.List):
        return f"List[{_inner(dtype.inner)}]"
    if isinstance(dtype, pl.Array):
        return f"Array[{_inner(dtype.inner)}, {dtype.size}]"
    if isinstance(dtype, pl.Categorical):
        return "Categorical"
    return repr(dtype)


def _inner(dtype: Any) -> str:
    return dtype_text(dtype() if isinstance(dtype, type) else dtype)


def _chunks(
    series: pl.Series,
    rows: IntVector | CodeVector | None,
    of_objects: Callable[[list[Any]], bytes],
) -> Iterator[Bytes]:
    dtype = series.dtype
    if dtype.is_numeric() or dtype.is_temporal() or dtype == pl.Boolean:
        yield from _numbers(series, rows)
        return
    if rows is not None:
        series = series.gather(rows)
    if dtype == pl.Null:
        return
    if dtype == pl.Object:
        yield of_objects(series.to_list())
        return
    if series.null_count():
        yield np.packbits(series.is_null().to_numpy())
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        texts = series.cast(pl.String).fill_null("")
        yield texts.str.len_bytes().to_numpy()
        yield texts.str.join("").item().encode()
    elif dtype == pl.Binary:
        blobs = [b"" if one is None else one for one in series.to_list()]
        yield np.array([len(one) for one in blobs], dtype=np.int64)
        yield b"".join(blobs)
    elif isinstance(dtype, pl.Struct):
        for name in series.struct.fields:
            field = series.struct.field(name)
            yield column_digest(field, of_objects=of_objects)
    elif isinstance(dtype, (pl.List, pl.Array)):
        lists = series.cast(pl.List(dtype.inner)) if dtype == pl.Array else series
        lengths = lists.list.len().fill_null(0)
        yield lengths.to_numpy()
        inner = lists.filter(lengths > 0).explode()
        yield column_digest(inner, of_objects=of_objects)
    else:
        yield of_objects(series.to_list())


def _numbers(series: pl.Series, rows: IntVector | CodeVector | None) -> Iterator[Bytes]:
    if series.null_count():
        missing = series.is_null().to_numpy()
        yield np.packbits(missing if rows is None else missing[rows])
    if series.dtype in (pl.Decimal, pl.Int128, pl.UInt128):
        texts = series.cast(pl.String)
        texts = texts if rows is None else texts.gather(rows)
        yield ",".join(one or "" for one in texts.to_list()).encode()
        return
    physical = series.to_physical()
    if physical.dtype == pl.Boolean:
        physical = physical.cast(pl.UInt8)
    if physical.null_count():
        physical = physical.fill_null(0)
    values = physical.rechunk().to_numpy()
    if rows is None:
        yield values
        return
    # Piece by piece, so that what is gathered is hashed from the processor's cache.
    piece = np.empty(_PIECE, dtype=values.dtype)
    for start in range(0, len(rows), _PIECE):
        some = rows[start : start + _PIECE]
        # Clipping spares numpy a check of every index, and a copy.
        yield np.take(values, some, out=piece[: len(some)], mode="clip")
