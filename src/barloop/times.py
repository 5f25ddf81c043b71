"""Times from elsewhere in the dtype of the bars."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from barloop.errors import SchemaError
from barloop.schema import check_time_dtype, is_index_integer, show


def as_bar_times(values: pl.Series, bars: pl.Series, what: str) -> pl.Series:
    """Bring times to the dtype of the bars without changing what they mean.

    Parameters
    ----------
    values : Series
        Date, Datetime or integer; for a Date a Datetime at midnight is meant, and the
        other way round.
    bars : Series
        Timestamps of a panel.
    what : str
        Where `values` come from, for messages; the name of a column in quotes.

    Returns
    -------
    Series of the length of `values`
        In the dtype of `bars`; null where the value has no equal there, e.g. a time
        inside of a day among dates.

    Raises
    ------
    SchemaError
        If the two cannot be compared: integers with dates, or times with a time zone
        with times without one.
    """
    have, want = values.dtype, bars.dtype
    check_time_dtype(values.name, have)
    if have == want:
        return values
    if is_index_integer(have) and is_index_integer(want):
        return values.cast(want, strict=False)
    if is_index_integer(have) or is_index_integer(want):
        _refuse(what, have, want, "give both as dates or both as integers")
    if isinstance(have, pl.Datetime) and isinstance(want, pl.Datetime):
        if (have.time_zone is None) != (want.time_zone is None):
            how = "dt.replace_time_zone gives a time its zone, or takes it away"
            _refuse(what, have, want, how)
        if want.time_zone is not None:
            values = values.dt.convert_time_zone(want.time_zone)
        return _equal_only(values, values.cast(want, strict=False))
    if isinstance(want, pl.Datetime):
        # Nanoseconds end in 2262: a later date has no equal there.
        midnight = values.cast(pl.Datetime(want.time_unit), strict=False)
        if want.time_zone is None:
            return midnight
        return midnight.dt.replace_time_zone(
            want.time_zone, ambiguous="null", non_existent="null"
        )
    return _equal_only(values.dt.replace_time_zone(None), values.cast(want))


def _equal_only(values: pl.Series, cast: pl.Series) -> pl.Series:
    """Keep what is still the same after going back."""
    same = cast.cast(values.dtype) == values
    return pl.select(pl.when(same).then(cast)).to_series().alias(values.name)


def _refuse(what: str, have: pl.DataType, want: pl.DataType, how: str) -> None:
    msg = f"{what} has times of dtype {have}, the bars have {want}.\nHint: {how}."
    raise SchemaError(msg)


def parse_time(value: Any, bars: pl.Series) -> Any:
    """Read one time that a user typed.

    Parameters
    ----------
    value : str in ISO form, date, datetime, or int
        What the user gave; a datetime without a zone is in the zone of the bars.
    bars : Series
        Timestamps of a panel.

    Returns
    -------
    date, datetime or int
        A `date` only if no time of day was given; an int only if the bars are
        integers.

    Raises
    ------
    SchemaError
        If `value` cannot be compared with the bars.
    """
    moment = plain_moment(value)
    if is_index_integer(bars.dtype):
        if isinstance(moment, int):
            return moment
        msg = f"the bars are numbered: give an integer, got {show(value)}."
        raise SchemaError(msg)
    if isinstance(moment, datetime):
        return _in_zone(moment, bars.dtype)
    if isinstance(moment, date):
        return moment
    if isinstance(value, str):
        msg = (
            f"cannot read the time {show(value)}.\n"
            'Hint: write it as "2020-01-31" or "2020-01-31 16:00".'
        )
        raise SchemaError(msg)
    msg = f"a date, datetime or ISO text is needed, got {show(value)}."
    raise SchemaError(msg)


def plain_moment(value: Any) -> date | datetime | int | None:
    """Read a time as a plain Python value, without knowing the bars.

    Parameters
    ----------
    value : object
        A date, datetime, int, ISO text, or one of these from numpy or pandas.

    Returns
    -------
    date, datetime, int or None
        A `date` for text without a time of day; None if `value` is no time.
    """
    if hasattr(value, "to_pydatetime"):
        value = value.to_pydatetime()
    elif isinstance(value, np.datetime64):
        days = np.datetime_data(value)[0] == "D"
        value = value.item() if days else value.astype("datetime64[us]").item()
    elif isinstance(value, np.integer):
        value = int(value)
    elif isinstance(value, str):
        kind = date if len(value) <= len("2020-01-31") else datetime
        try:
            return kind.fromisoformat(value)
        except ValueError:
            return None
    is_time = isinstance(value, (date, int)) and not isinstance(value, bool)
    # NaT of pandas is a datetime that is not equal to itself.
    return value if is_time and value == value else None


def _in_zone(value: datetime, dtype: pl.DataType) -> datetime:
    zone = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
    if zone is None:
        if value.tzinfo is None:
            return value
        msg = (
            f"{show(value)} has a time zone, the bars have none.\n"
            "Hint: value.replace(tzinfo=None) takes it away."
        )
        raise SchemaError(msg)
    if value.tzinfo is None:
        return value.replace(tzinfo=ZoneInfo(zone))
    try:
        return value.astimezone(ZoneInfo(zone))
    except OverflowError:
        # The end of the calendar, given to mean no end, compares in any zone.
        return value


def day_start(value: date, bars: pl.Series) -> date | datetime:
    """Return the first moment of a day, in the kind of the bars.

    Parameters
    ----------
    value : date
        A day.
    bars : Series
        Timestamps of a panel, Date or Datetime.
    """
    if not isinstance(bars.dtype, pl.Datetime):
        return value
    return _in_zone(datetime.combine(value, time()), bars.dtype)
