"""Values of a user to rows and columns of a panel."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from barloop.errors import PanelError, SchemaError
from barloop.layout import number_values
from barloop.schema import TEXT_TYPES, is_index_integer, show
from barloop.times import as_bar_times, day_start, parse_time
from barloop.typing import IntVector


def codes_among(known: pl.Series, values: pl.Series) -> IntVector:
    """Find values in a series of distinct ones.

    Parameters
    ----------
    known : Series without nulls
        Distinct keys.
    values : Series of the same dtype
        Keys to look up.

    Returns
    -------
    ndarray of shape (n,), int64
        Place in `known`, -1 where there is none and for null.
    """
    if values.null_count():
        place = np.full(len(values), -1, dtype=np.int64)
        place[values.is_not_null().to_numpy()] = codes_among(known, values.drop_nulls())
        return place
    code, first = number_values(pl.concat([known, values], rechunk=True))
    place = first[code[len(known) :]]
    place[place >= len(known)] = -1
    return place


def asset_codes(known: pl.Series, values: pl.Series) -> IntVector:
    """Find assets in the sorted assets of a panel; see `Panel.asset_codes`.

    Parameters
    ----------
    known : Series
        Assets of the panel.
    values : Series
        Assets to look up, as text of any dtype if the panel's are text.

    Returns
    -------
    ndarray of shape (n,), int64
        Panel columns, -1 for an unknown or null asset.

    Raises
    ------
    PanelError
        If one is text and the other integers.
    """
    if values.dtype != known.dtype:
        text = isinstance(known.dtype, TEXT_TYPES)
        same = TEXT_TYPES if text else ()
        if not (
            isinstance(values.dtype, same)
            or (not text and is_index_integer(values.dtype))
        ):
            msg = (
                f"{values.name!r} has assets of dtype {values.dtype}, the panel has "
                f"{known.dtype}.\nHint: cast one of them, e.g. "
                f"pl.col({values.name!r}).cast({'pl.String' if text else 'pl.Int64'})."
            )
            raise PanelError(msg)
        known = known.cast(pl.String) if text else known
        values = values.cast(known.dtype, strict=False)
    return codes_among(known, values.alias(known.name))


def timestamp_codes(known: pl.Series, values: pl.Series, what: str) -> IntVector:
    """Find timestamps among the bars; see `Panel.timestamp_codes`.

    Parameters
    ----------
    known : Series
        Timestamps of the panel.
    values : Series
        Dates, datetimes or integers to look up.
    what : str
        Where they come from, for messages; the name of a column in quotes.

    Returns
    -------
    ndarray of shape (n,), int64
        Panel rows, -1 for a timestamp without a bar and for null.
    """
    return codes_among(known, as_bar_times(values, known, what).alias(known.name))


def find_bar(bars: pl.Series, value: Any) -> int:
    """Find the bar of a timestamp; see `Panel.bar_of`.

    Parameters
    ----------
    bars : Series
        Timestamps of the panel.
    value : date, datetime, str in ISO form, or int
        What the user gave.

    Returns
    -------
    int
        Panel row.

    Raises
    ------
    PanelError
        If there is no such bar, or more than one on the day.
    """
    moment = parse_time(value, bars)
    first, end = _span(bars, moment)
    if end - first == 1:
        return first
    if end > first:
        msg = (
            f"{end - first:,} bars lie on {show(moment)}, the first at "
            f"{show(bars[first])}.\nHint: give the time of day."
        )
        raise PanelError(msg)
    near = [show(bars[t]) for t in (first - 1, first) if 0 <= t < len(bars)]
    nearest = f"the nearest {'is' if len(near) == 1 else 'are'} {' and '.join(near)}"
    msg = f"no bar at {show(moment)}; {nearest}."
    raise PanelError(msg)


def bar_range(bars: pl.Series, start: Any, end: Any) -> tuple[int, int]:
    """Find the bars from `start` to `end`, both included.

    Parameters
    ----------
    bars : Series
        Timestamps of the panel.
    start, end : date, datetime, str in ISO form, int, or None
        Need not be bars; a date as `end` includes the whole day; None is the first
        or the last bar.

    Returns
    -------
    (int, int)
        First bar, and one after the last bar; the same when no bar lies between.

    Raises
    ------
    SchemaError
        If one of them is no time, or cannot be compared with the bars; names it.
    """
    first = 0 if start is None else _span(bars, _parsed("start", start, bars))[0]
    stop = len(bars) if end is None else _span(bars, _parsed("end", end, bars))[1]
    return first, max(first, stop)


def empty_range(bars: pl.Series, start: Any, end: Any) -> PanelError:
    """Describe a `start` and an `end` between which no bar lies.

    Parameters
    ----------
    bars : Series
        Timestamps of the panel.
    start, end : date, datetime, str in ISO form, int, or None
        As given to `bar_range`, which accepted them.

    Returns
    -------
    PanelError
        To be raised by the caller; says which of the two is wrong.
    """
    low: Any = None if start is None else parse_time(start, bars)
    high: Any = None if end is None else parse_time(end, bars)
    first = 0 if start is None else _span(bars, low)[0]
    stop = len(bars) if end is None else _span(bars, high)[1]
    if first == len(bars):
        what = f"start={show(low)} lies after the last bar"
    elif stop == 0:
        what = f"end={show(high)} lies before the first bar"
    elif first > stop or (type(low) is type(high) and low > high):
        what = f"start={show(low)} lies after end={show(high)}"
    else:
        what = f"no bar lies between start={show(low)} and end={show(high)}"
    runs = f"the data runs from {show(bars[0])} to {show(bars[-1])}"
    return PanelError(f"{what}; {runs}.")


def _parsed(name: str, value: Any, bars: pl.Series) -> Any:
    try:
        return parse_time(value, bars)
    except SchemaError as error:
        msg = f"{name}: {error}"
        raise SchemaError(msg) from error


def _span(bars: pl.Series, moment: Any) -> tuple[int, int]:
    """Return the first bar at or after `moment`, and the first one after it."""
    if isinstance(bars.dtype, pl.Datetime) and not isinstance(moment, datetime):
        low = _search(bars, day_start(moment, bars), "left")
        if moment == date.max:
            return low, len(bars)
        return low, _search(bars, day_start(moment + timedelta(days=1), bars), "left")
    if bars.dtype == pl.Date and isinstance(moment, datetime):
        # A bar of a date lies at its midnight, as everywhere else.
        moment, inside = moment.date(), moment.time().isoformat() != "00:00:00"
        if inside:
            low = _search(bars, moment, "right")
            return low, low
    return _search(bars, moment, "left"), _search(bars, moment, "right")


def _search(bars: pl.Series, moment: Any, side: Any) -> int:
    try:
        key = pl.Series([moment], dtype=bars.dtype)
    except (TypeError, OverflowError, pl.exceptions.InvalidOperationError):
        # The dtype does not reach so far: nanoseconds end in 2262, UInt8 at 255.
        return 0 if moment < bars[0] else len(bars)
    return int(bars.search_sorted(key, side)[0])
