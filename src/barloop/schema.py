"""Frames at the door: what they are, and which of their columns mean what."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl

from barloop.errors import SchemaError, suggestion
from barloop.typing import FrameLike

TIME_NAMES = (
    "timestamp",
    "date",
    "datetime",
    "time",
    "ts",
    "trade_date",
    "trading_day",
    "session",
)
"""Names under which the time column is looked for, in any case."""

ASSET_NAMES = (
    "asset",
    "symbol",
    "ticker",
    "asset_id",
    "instrument",
    "security",
    "security_id",
    "permno",
    "isin",
    "cusip",
    "figi",
    "ric",
    "sid",
)
"""Names under which the asset column is looked for, in any case."""

PRICE_NAMES = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Name the columns of a frame by what they mean.

    Parameters
    ----------
    timestamp, asset, close : str
        Columns that every frame has.
    open, high, low, volume : str or None
        Columns that a frame may have.
    """

    timestamp: str
    asset: str
    close: str
    open: str | None = None
    high: str | None = None
    low: str | None = None
    volume: str | None = None

    def named(self) -> dict[str, str]:
        """Return the columns that exist, from meaning to name."""
        pairs = ((name, getattr(self, name)) for name in self.__slots__)
        return {meaning: name for meaning, name in pairs if name is not None}


def to_frame(df: FrameLike) -> pl.DataFrame:
    """Turn what the user has into a polars frame; never modify it.

    Parameters
    ----------
    df : polars DataFrame or LazyFrame, pandas DataFrame, or Arrow stream object
        A LazyFrame is collected.  The named index of a pandas frame, a DatetimeIndex
        and all levels of a MultiIndex become columns.

    Returns
    -------
    DataFrame
        `df` itself if it is one already.

    Raises
    ------
    SchemaError
        If `df` is none of these.
    """
    if isinstance(df, pl.DataFrame):
        return df
    if isinstance(df, pl.LazyFrame):
        # In memory: the streaming engine keeps neither row order nor float sums.
        return df.collect(engine="in-memory")
    pandas = sys.modules.get("pandas")
    try:
        if pandas is not None and isinstance(df, pandas.Series):
            df = df.to_frame("value" if df.name is None else df.name)
        if pandas is not None and isinstance(df, pandas.DataFrame):
            made = _from_pandas(df)
            # A copy: pandas frames are changed in place, and a result must not
            # change with them.
            return made[np.arange(made.height)]
        if hasattr(df, "__arrow_c_stream__"):
            return pl.DataFrame(df)
    except SchemaError:
        raise
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        msg = f"cannot read a table from {_type_name(df)}: {error}"
        raise SchemaError(msg) from error
    msg = (
        f"a frame is needed, got {_type_name(df)}.\n"
        "Hint: accepted are a polars DataFrame or LazyFrame, a pandas DataFrame, a "
        "pyarrow Table, and any object with __arrow_c_stream__."
    )
    raise SchemaError(msg)


def _from_pandas(df: Any) -> pl.DataFrame:
    if df.columns.nlevels > 1:
        msg = (
            "the columns of the pandas frame have several levels, a long frame is "
            "needed.\nHint: df.stack(level=...).reset_index() gives one row per "
            "timestamp and asset."
        )
        raise SchemaError(msg)
    index = df.index
    names = list(index.names)
    if names == [None] and type(index).__name__ != "DatetimeIndex":
        return pl.from_pandas(df)
    for level, name in enumerate(names):
        if name is None:
            kind = index.get_level_values(level).dtype.kind
            names[level] = "timestamp" if kind == "M" else "asset"
    taken = [str(name) for name in names if name in df.columns]
    if taken or len(set(names)) < len(names):
        return pl.from_pandas(df.reset_index(drop=bool(taken)))
    return pl.from_pandas(df.rename_axis(index=names).reset_index())


def find_columns(
    frame: pl.DataFrame,
    timestamp: str | None = None,
    asset: str | None = None,
) -> Columns:
    """Find the time, asset, price and volume columns of a long frame.

    Parameters
    ----------
    frame : DataFrame
        One row per timestamp and asset.
    timestamp, asset : str, optional
        Names of the columns; without them the usual names are looked for, in any
        case (`TIME_NAMES`, `ASSET_NAMES`).

    Returns
    -------
    Columns
        The names found.

    Raises
    ------
    SchemaError
        If a needed column is missing, or if two columns could be meant.
    """
    time_name = find_time_column(frame, timestamp)
    asset_name = _find(frame, "asset", asset, ASSET_NAMES)
    prices = {name: _candidates(frame, (name,)) for name in PRICE_NAMES}
    for name, found in prices.items():
        if len(found) > 1:
            msg = (
                f"more than one column could be {name}: {listed(found)}.\n"
                "Hint: rename or drop all but one."
            )
            raise SchemaError(msg)
    if not prices["close"]:
        likely = (name for name in frame.columns if "clos" in name.lower())
        msg = (
            f"no column is named close; the columns are {listed(frame.columns)}.\n"
            "Hint: rename the column of prices, e.g. "
            f'df.rename({{"{next(likely, "price")}": "close"}}).'
        )
        raise SchemaError(msg)
    return Columns(
        timestamp=time_name,
        asset=asset_name,
        **{name: found[0] for name, found in prices.items() if found},
    )


def find_time_column(frame: pl.DataFrame, timestamp: str | None = None) -> str:
    """Find the time column of a frame.

    Parameters
    ----------
    frame : DataFrame
        Any frame.
    timestamp : str, optional
        The name, if it is known.

    Returns
    -------
    str
        Name of the column.

    Raises
    ------
    SchemaError
        If no column, or more than one, has a usual name.
    """
    return _find(frame, "timestamp", timestamp, TIME_NAMES)


def find_asset_column(frame: pl.DataFrame, asset: str | None = None) -> str:
    """Find the asset column of a frame.

    Parameters
    ----------
    frame : DataFrame
        Any frame.
    asset : str, optional
        The name, if it is known.

    Returns
    -------
    str
        Name of the column.

    Raises
    ------
    SchemaError
        If no column, or more than one, has a usual name.
    """
    return _find(frame, "asset", asset, ASSET_NAMES)


def _find(
    frame: pl.DataFrame, meaning: str, given: str | None, usual: Sequence[str]
) -> str:
    if given is not None:
        if given in frame.columns:
            return given
        msg = (
            f"the {meaning} column {given!r} does not exist; the columns are "
            f"{listed(frame.columns)}.{suggestion(str(given), frame.columns)}"
        )
        raise SchemaError(msg)
    found = _candidates(frame, usual)
    if len(found) == 1:
        return found[0]
    if found:
        msg = (
            f"more than one column could be the {meaning}: {listed(found)}.\n"
            f"Hint: say which one, Panel.from_frame(df, {meaning}={found[0]!r}), or "
            "drop the others."
        )
        raise SchemaError(msg)
    msg = (
        f"no {meaning} column found; the columns are {listed(frame.columns)}.\n"
        f"Hint: rename it, or use Panel.from_frame(df, {meaning}=...); found by "
        f"themselves are {', '.join(usual)}."
    )
    times = _candidates(frame, TIME_NAMES)
    prices = frame.drop(times)
    wide = all(dtype.is_numeric() for dtype in prices.dtypes)
    if meaning == "asset" and times and wide and not _candidates(frame, PRICE_NAMES):
        msg += (
            "\nA wide frame, one column per asset, becomes long by "
            f"df.unpivot(index={times[0]!r}, variable_name='asset', "
            "value_name='close')."
        )
    raise SchemaError(msg)


def _candidates(frame: pl.DataFrame, usual: Sequence[str]) -> list[str]:
    return [name for name in frame.columns if name.lower() in usual]


def check_keys(frame: pl.DataFrame, columns: Columns) -> None:
    """Raise unless the time and asset columns can index a panel.

    Parameters
    ----------
    frame : DataFrame
        One row per timestamp and asset.
    columns : Columns
        As found by `find_columns`.

    Raises
    ------
    SchemaError
        If the frame is empty, or a key has another dtype or is null.
    """
    if frame.height == 0:
        msg = (
            "the frame has no rows.\n"
            "Hint: a filter or a join may have removed them all; one row per timestamp "
            "and asset is needed."
        )
        raise SchemaError(msg)
    check_time_dtype(columns.timestamp, frame.schema[columns.timestamp])
    dtype = frame.schema[columns.asset]
    if not (is_index_integer(dtype) or isinstance(dtype, TEXT_TYPES)):
        msg = (
            f"asset column {columns.asset!r} must be String, Enum, Categorical or an "
            f"integer, got {dtype}.\nHint: cast it, e.g. "
            f"df.with_columns(pl.col({columns.asset!r}).cast(pl.String))."
        )
        raise SchemaError(msg)
    for name, other in (
        (columns.timestamp, columns.asset),
        (columns.asset, columns.timestamp),
    ):
        n_null = frame[name].null_count()
        if n_null:
            row = int(frame[name].is_null().arg_max() or 0)
            msg = (
                f"{name} must not be null: {n_rows(n_null)} {are(n_null)}, first row "
                f"{row}, {other} {show(frame[other][row])}.\n"
                "Hint: every row needs a timestamp and an asset; drop these rows."
            )
            raise SchemaError(msg)


TEXT_TYPES = (pl.String, pl.Enum, pl.Categorical)

INDEX_INTEGERS = (
    pl.Int8,
    pl.Int16,
    pl.Int32,
    pl.Int64,
    pl.UInt8,
    pl.UInt16,
    pl.UInt32,
    pl.UInt64,
)


def is_index_integer(dtype: pl.DataType) -> bool:
    """Tell whether `dtype` is an integer of up to 64 bits."""
    return dtype in INDEX_INTEGERS


def check_time_dtype(name: str, dtype: pl.DataType, what: str = "time column") -> None:
    """Raise SchemaError unless `dtype` can be the time of bars.

    Parameters
    ----------
    name : str
        Column, for the message.
    dtype : DataType
        Its dtype; accepted are Date, Datetime and integers of up to 64 bits.
    what : str, default "time column"
        What the column is, for the message.
    """
    if dtype == pl.Date or isinstance(dtype, pl.Datetime) or is_index_integer(dtype):
        return
    how = {
        pl.String: f"parse it, e.g. df.with_columns(pl.col({name!r}).str.to_date())",
        pl.Time: "a time of day names no bar; join it with the date",
    }.get(dtype.base_type(), "cast it to pl.Date or pl.Datetime")
    msg = (
        f"{what} {name!r} must be Date, Datetime or an integer, got {dtype}.\n"
        f"Hint: {how}."
    )
    raise SchemaError(msg)


def check_numeric(name: str, dtype: pl.DataType) -> None:
    """Raise SchemaError unless a price column is numeric.

    Parameters
    ----------
    name : str
        Column, for the message.
    dtype : DataType
        Its dtype; accepted are integers, floats, Decimal and Null.
    """
    if not (dtype.is_numeric() or dtype == pl.Null):
        msg = (
            f"{name} must be numeric, got {dtype}.\nHint: cast it, e.g. "
            f"df.with_columns(pl.col({name!r}).cast(pl.Float64))."
        )
        raise SchemaError(msg)


def show(value: object) -> str:
    """Write a timestamp, asset or number as messages show it.

    Parameters
    ----------
    value : object
        A Python value of a frame.

    Returns
    -------
    str
        Text in double quotes, times in ISO form with a space, numbers plain.
    """
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (date, datetime)):
        return str(value)
    return repr(value)


def n_rows(count: int) -> str:
    """Return ``"1 row"`` or ``"3 rows"``."""
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def are(count: int) -> str:
    """Return ``"is"`` for one and ``"are"`` for more."""
    return "is" if count == 1 else "are"


def listed(names: Iterable[str]) -> str:
    """Write names as messages list them.

    Parameters
    ----------
    names : iterable of str
        Names of columns.

    Returns
    -------
    str
        Quoted, with commas between; of many the first 20 and how many more.
    """
    names = list(names)
    shown = ", ".join(repr(name) for name in names[:20])
    return f"{shown} and {len(names) - 20:,} more" if len(names) > 20 else shown


def _type_name(value: object) -> str:
    kind = type(value)
    return (
        kind.__name__
        if kind.__module__ == "builtins"
        else (f"{kind.__module__}.{kind.__name__}")
    )
