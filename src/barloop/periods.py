"""Where days, weeks, months, quarters and years begin and end among the bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

import numpy as np
import polars as pl

from barloop.errors import ConfigError
from barloop.schema import is_index_integer
from barloop.typing import BoolVector

UNITS: dict[str, Callable[[pl.Series], pl.Series]] = {
    "day": lambda days: days,
    "week": lambda days: days.dt.truncate("1w"),
    "month": lambda days: days.dt.truncate("1mo"),
    "quarter": lambda days: days.dt.truncate("1q"),
    "year": lambda days: days.dt.truncate("1y"),
}
"""First day of the period that a day lies in; weeks begin on Monday."""

PERIOD_RULES = tuple(f"{unit}_{edge}" for unit in UNITS for edge in ("start", "end"))


def period_edges(
    rule: str, timestamps: pl.Series, sessions: Sequence[date] | None
) -> BoolVector:
    """Find the bars that start or end a period.

    Parameters
    ----------
    rule : str
        One of `PERIOD_RULES`.
    timestamps : Series of shape (n_bars,)
        Date or Datetime, ascending; days are those of its time zone.
    sessions : sequence of date, ascending, or None
        Days on which the exchange trades.

    Returns
    -------
    ndarray of shape (n_bars,), bool
        A bar starts a period when the one before lies in another; the first bar does
        too, unless the session before it lies in the same period.  A bar ends a
        period when the next lies in another; the last bar only when the session
        after it does, or when it is a date and the period a day.

    Raises
    ------
    ConfigError
        If the timestamps are integers.
    """
    unit, _, edge = rule.partition("_")
    if is_index_integer(timestamps.dtype):
        msg = (
            f"schedule {rule!r} needs dates, the times are {timestamps.dtype}.\n"
            'Hint: use "every_bar", a number of bars, or a list of timestamps.'
        )
        raise ConfigError(msg)
    days = timestamps.dt.date() if timestamps.dtype != pl.Date else timestamps
    start_of = UNITS[unit]
    period = start_of(days).to_physical().to_numpy()
    changes = period[1:] != period[:-1]
    if edge == "start":
        before = [day for day in sessions or () if day < days[0]]
        return np.append(not _share_period(start_of, before[-1:], days[0]), changes)
    if unit == "day" and timestamps.dtype == pl.Date:
        return np.append(changes, True)
    after = [day for day in sessions or () if day > days[-1]]
    ends = bool(after) and not _share_period(start_of, after[:1], days[-1])
    return np.append(changes, ends)


def _share_period(
    start_of: Callable[[pl.Series], pl.Series], session: Sequence[date], bar: date
) -> bool:
    if not session:
        return False
    return bool(start_of(pl.Series([session[0], bar], dtype=pl.Date)).n_unique() == 1)
