"""Finished sets as one parquet dataset, with their equity beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl

from barloop.parameters import column, text
from barloop.set_journal import Keys
from barloop.set_records import Kind
from barloop.typing import FloatBlock, IntVector

OWN_COLUMNS = ("key", "identity", "error", "equity_file", "equity_row", "assignment")
ROWS_PER_PART = 5_000
"""So many rows are in memory at once."""


def stage(path: Path, write: Callable[[IO[bytes]], Any]) -> Path:
    """Write a file under another name, and bring it to the disk.

    Parameters
    ----------
    path : path
        What it is to be called.
    write : callable
        Gets the open file.

    Returns
    -------
    path
        A hidden file in the same folder, for `publish`.
    """
    hidden = path.with_name(f".{path.name}.tmp")
    with open(hidden, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    return hidden


def publish(hidden: Path, path: Path) -> None:
    """Give a staged file its name, at once and for good.

    Parameters
    ----------
    hidden : path
        From `stage`.
    path : path
        Replaced if it is there.
    """
    os.replace(hidden, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can.

    Parameters
    ----------
    folder : path
        An existing folder.
    """
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def pack_keys(keys: Iterable[str]) -> Keys:
    """Return keys as an array.

    Parameters
    ----------
    keys : iterable of str
        32 hexadecimal digits each.

    Returns
    -------
    ndarray of shape (n_keys,)
        Of 16 bytes each.
    """
    packed = bytearray()
    for key in keys:
        packed += bytes.fromhex(key)
    return np.frombuffer(bytes(packed), "S16")


def unpack_keys(keys: Keys) -> pl.Series:
    """Return keys as hexadecimal digits.

    Parameters
    ----------
    keys : ndarray of shape (n_keys,)
        Of 16 bytes each.

    Returns
    -------
    Series of String
        ``key``.
    """
    joined = keys.tobytes().hex()
    digits = [joined[k : k + 32] for k in range(0, len(joined), 32)]
    return pl.Series("key", digits, dtype=pl.String)


def part_frame(
    keys: Keys,
    kind: Kind,
    texts: Sequence[tuple[str, str | None]],
    metrics: FloatBlock,
    equity_file: str | None,
    first_equity_row: int,
) -> pl.DataFrame:
    """Build the rows of a part.

    Parameters
    ----------
    keys : ndarray of shape (n_rows,)
        Of the sets.
    kind : Kind
        What they have in common.
    texts : sequence of (str, str or None)
        Parameters as JSON, and error, of each set.
    metrics : ndarray of shape (n_rows, n_metrics)
        NaN for null.
    equity_file : str or None
        Name of the file with their equity.
    first_equity_row : int
        Row of the first of them there.

    Returns
    -------
    DataFrame
        ``key``, ``identity``, the parameters, the metrics, ``error``,
        ``equity_file``, ``equity_row``, ``assignment``.
    """
    n_rows = len(keys)
    written = [assignment for assignment, _ in texts]
    has_equity = equity_file is not None
    rows = np.arange(first_equity_row, first_equity_row + n_rows)
    return pl.DataFrame(
        [
            unpack_keys(keys),
            pl.Series("identity", [kind.identity]).new_from_index(0, n_rows),
            *parameter_columns(written, kind.metric_names),
            *(
                pl.Series(name, metrics[:, k], nan_to_null=True)
                for k, name in enumerate(kind.metric_names)
            ),
            pl.Series("error", [error for _, error in texts], dtype=pl.String),
            pl.Series("equity_file", [equity_file], dtype=pl.String).new_from_index(
                0, n_rows
            ),
            pl.Series("equity_row", rows if has_equity else [None] * n_rows, pl.Int64),
            pl.Series("assignment", written),
        ]
    )


def parameter_columns(
    written: Sequence[str], metric_names: Sequence[str]
) -> list[pl.Series]:
    """Make the columns of the parameters.

    Parameters
    ----------
    written : sequence of str
        JSON objects, one per row.
    metric_names : sequence of str
        Names that are taken, beside `OWN_COLUMNS`.

    Returns
    -------
    list of Series
        See `barloop.parameters.column`; null where a row has no such parameter, and
        of dtype Null where none has.
    """
    assignments = [json.loads(one) for one in written]
    names = dict.fromkeys(name for one in assignments for name in one)
    taken = {*metric_names, *OWN_COLUMNS}
    columns = []
    for name in names:
        values = [one.get(name) for one in assignments]
        free = f"{name} (parameter)" if name in taken else name
        if all(value is None for value in values):
            # Another part may say of which type it is.
            columns.append(pl.Series(free, values, dtype=pl.Null))
        else:
            columns.append(column(free, values))
    return columns


def fitting(frame: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Bring a part to the columns of the dataset.

    Parameters
    ----------
    frame : DataFrame
        A part.
    schema : mapping of name to dtype
        Of the dataset, see `common_schema`.

    Returns
    -------
    DataFrame
        Null in the columns that it did not have.
    """
    return frame.select(
        _cast(frame[name], dtype)
        if name in frame.columns
        else pl.lit(None, dtype).alias(name)
        for name, dtype in schema.items()
    )


def _cast(series: pl.Series, dtype: pl.DataType) -> pl.Series:
    if dtype == pl.String and series.dtype not in (pl.String, pl.Null):
        texts = [None if value is None else text(value) for value in series.to_list()]
        return pl.Series(series.name, texts, dtype=pl.String)
    return series.cast(dtype)


def common_schema(
    schemas: Iterable[Mapping[str, pl.DataType]],
) -> dict[str, pl.DataType]:
    """Find columns that the rows of all parts fit in.

    Parameters
    ----------
    schemas : iterable of mapping of name to dtype
        Of the parts.

    Returns
    -------
    dict from str to DataType
        Float64 for integers and floats, String for all other mixtures; Null only if
        there is no value at all.
    """
    found: dict[str, pl.DataType] = {}
    for schema in schemas:
        for name, dtype in schema.items():
            known = found.setdefault(name, dtype)
            if known == pl.Null:
                found[name] = dtype
            elif dtype not in (known, pl.Null):
                numbers = known.is_numeric() and dtype.is_numeric()
                found[name] = pl.Float64() if numbers else pl.String()
    last = [name for name in OWN_COLUMNS[2:] if name in found]
    return {
        **{name: dtype for name, dtype in found.items() if name not in last},
        **{name: found[name] for name in last},
    }


def find(known: Keys, wanted: Keys) -> IntVector:
    """Find the places of keys.

    Parameters
    ----------
    known : ndarray of shape (n_known,)
        Where to look; of equal ones the first is found.
    wanted : ndarray of shape (n_wanted,)
        What to look for.

    Returns
    -------
    ndarray of shape (n_wanted,)
        ``len(known)`` where there is none.
    """
    by_key = np.argsort(known, kind="stable")
    ordered = known[by_key]
    place = np.searchsorted(ordered, wanted)
    inside = np.minimum(place, max(len(known) - 1, 0))
    is_there = np.zeros(len(wanted), dtype=np.bool_)
    if len(known):
        is_there = ordered[inside] == wanted
    found = np.full(len(wanted), len(known), dtype=np.int64)
    found[is_there] = by_key[inside[is_there]]
    return found
