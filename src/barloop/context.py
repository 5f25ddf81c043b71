"""Series that belong to no asset: an index, a rate, a regime."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time
from typing import Literal, get_args

import numpy as np
import polars as pl

from barloop.checks import require_choice
from barloop.errors import SchemaError
from barloop.layout import floats, frozen
from barloop.lookup import timestamp_codes
from barloop.notices import Notice
from barloop.schema import (
    are,
    check_time_dtype,
    find_time_column,
    listed,
    n_rows,
    show,
    to_frame,
)
from barloop.times import as_bar_times
from barloop.typing import FloatVector, FrameLike, IntVector

JoinName = Literal["exact", "asof"]


@dataclass(frozen=True, eq=False, slots=True)
class Context:
    """Hold a frame of one row per timestamp, and how it joins the bars.

    Parameters
    ----------
    frame : DataFrame, LazyFrame, pandas DataFrame or Arrow stream object
        A time column and numeric or boolean columns.  Not modified.
    join : {"exact", "asof"}, default "exact"
        ``"exact"``: a bar sees the row of its own timestamp.  ``"asof"``: a bar sees
        the latest row at or before its timestamp, never a later one.

    Notes
    -----
    A timestamp says when the row is known.  NaN stands on a bar without a value; such
    bars are counted.  A null in the row that a bar sees stays one: fill the frame
    forward first if an older value shall do.
    """

    frame: FrameLike
    join: JoinName = "exact"

    def __post_init__(self) -> None:
        require_choice("context.join", self.join, get_args(JoinName))
        object.__setattr__(self, "frame", to_frame(self.frame))


@dataclass(frozen=True, eq=False, slots=True)
class AlignedContext:
    """Hold the context as one value per bar.

    Parameters
    ----------
    values : dict from str to ndarray of shape (n_bars,)
        Read-only float64 by column; NaN on bars without a value.
    gaps : tuple of Notice
        ``context_gap`` per column with bars without a value.
    """

    values: dict[str, FloatVector]
    gaps: tuple[Notice, ...]


def align(
    context: Context | FrameLike, panel_timestamps: pl.Series, timestamp_name: str
) -> AlignedContext:
    """Bring context columns to the bars of a panel.

    Parameters
    ----------
    context : Context or frame
        A plain frame joins exactly.
    panel_timestamps : Series
        Timestamps of the bars, ascending.
    timestamp_name : str
        The panel's name of the time column; looked for in the context first.

    Returns
    -------
    AlignedContext
        One value per bar and column.

    Raises
    ------
    SchemaError
        If there is no time column, a timestamp is null or occurs twice, the times
        cannot be compared with the bars, or a column is not numeric.
    """
    if not isinstance(context, Context):
        context = Context(context)
    frame: pl.DataFrame = context.frame
    name = _time_column(frame, timestamp_name)
    _check_values(frame, name)
    times = _bar_times(frame[name], panel_timestamps)
    if context.join == "exact":
        rows = timestamp_codes(times, panel_timestamps, "the bars")
    else:
        order = times.arg_sort()
        frame, times = frame[order], times.gather(order)
        latest = times.search_sorted(panel_timestamps, side="right")
        rows = latest.cast(pl.Int64).to_numpy() - 1
    values = {
        column: _take(floats(frame[column]), rows)
        for column in frame.columns
        if column != name
    }
    gaps = (_gap(column, value, panel_timestamps) for column, value in values.items())
    return AlignedContext(values, tuple(gap for gap in gaps if gap is not None))


def _time_column(frame: pl.DataFrame, timestamp_name: str) -> str:
    if timestamp_name in frame.columns:
        return timestamp_name
    try:
        return find_time_column(frame)
    except SchemaError as error:
        msg = (
            f"the context needs the time column {timestamp_name!r} of the data; it has "
            f"the columns {listed(frame.columns)}.\n"
            "Hint: give its time column this name."
        )
        raise SchemaError(msg) from error


def _check_values(frame: pl.DataFrame, time_name: str) -> None:
    if frame.height == 0:
        msg = (
            "the context has no rows.\n"
            "Hint: a filter may have removed them all; without values, leave context "
            "out."
        )
        raise SchemaError(msg)
    if frame.width == 1:
        msg = (
            f"the context has no column besides {time_name!r}.\n"
            "Hint: add the columns that bar.context is to have."
        )
        raise SchemaError(msg)
    for name, dtype in frame.schema.items():
        if name == time_name or dtype.is_numeric() or dtype in (pl.Boolean, pl.Null):
            continue
        msg = (
            f"context column {name!r} must be numeric or Boolean, got {dtype}.\n"
            f"Hint: drop it with context.drop({name!r}), or cast it."
        )
        raise SchemaError(msg)


def _bar_times(times: pl.Series, bars: pl.Series) -> pl.Series:
    """Return the context's times in the dtype of the bars, checked."""
    name = times.name
    check_time_dtype(name, times.dtype, "context column")
    n_null = times.null_count()
    if n_null:
        msg = (
            f"context column {name!r} must not be null: {n_rows(n_null)} "
            f"{are(n_null)}, first row {times.is_null().arg_max()}.\n"
            "Hint: drop these rows."
        )
        raise SchemaError(msg)
    repeated = times.filter(times.is_duplicated())
    if len(repeated):
        n = len(repeated) - repeated.n_unique()
        msg = (
            f"context timestamps must be unique: {n_rows(n)} "
            f"{'repeats' if n == 1 else 'repeat'} an earlier one, first at "
            f"{show(repeated.min())}.\nHint: keep one row per timestamp; per-asset "
            "columns belong into the panel's frame."
        )
        raise SchemaError(msg)
    _check_days(times, bars)
    converted = as_bar_times(times, bars, "the context")
    lost = converted.null_count()
    if lost:
        first = times.filter(converted.is_null()).min()
        msg = (
            f"context times must be {bars.dtype} like the bars: {n_rows(lost)} cannot "
            f"be, first at {show(first)}.\n"
            "Hint: decide on which bar each value is known, and cast to its timestamp."
        )
        raise SchemaError(msg)
    return converted


def _check_days(times: pl.Series, bars: pl.Series) -> None:
    """Refuse dates among bars inside of days: they would be seen before they end."""
    if times.dtype != pl.Date or not isinstance(bars.dtype, pl.Datetime):
        return
    inside = bars.filter(bars.dt.time() != time())
    if len(inside):
        msg = (
            "context times are dates, but the bars have times of day, first "
            f"{show(inside[0])}: a date does not say when its value is known.\n"
            "Hint: give the context the Datetime at which each value is known, e.g. "
            f'pl.col({times.name!r}).cast(pl.Datetime("us")) + pl.duration(hours=16).'
        )
        raise SchemaError(msg)


def _take(values: FloatVector, rows: IntVector) -> FloatVector:
    """Return the value of each row number, NaN for -1, read-only."""
    return frozen(np.where(rows >= 0, values[rows], np.nan))


def _gap(name: str, values: FloatVector, bars: pl.Series) -> Notice | None:
    missing = np.isnan(values)
    count = int(np.count_nonzero(missing))
    if not count:
        return None
    bar = int(missing.argmax())
    message = (
        f"context column {name!r} has no value on {count:,} of {len(bars):,} bars, "
        f"first at {show(bars[bar])}."
    )
    return Notice("context_gap", count, bar, None, message)
