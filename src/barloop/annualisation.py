"""How many bars a year has, read off the timestamps."""

from __future__ import annotations

import numpy as np
import polars as pl

from barloop.errors import ConfigError

_DAYS_PER_YEAR = 365.25
_WEEKDAYS_PER_YEAR = _DAYS_PER_YEAR * 5 / 7
_USUAL_BARS_PER_YEAR = (252, 365, 52, 12, 4, 1)
_SNAP = 0.05


def infer_bars_per_year(timestamps: pl.Series) -> int:
    """Infer how many bars a year has, for annualising.

    Parameters
    ----------
    timestamps : Series of Date or Datetime
        One value per bar, sorted, no nulls.

    Returns
    -------
    int
        252, 365, 52, 12, 4 or 1 where the count is within 5 % of it, else the count,
        rounded; for several bars a day, times the mean number of bars a day.

    Raises
    ------
    ConfigError
        When the timestamps are of another dtype or there are none.

    Notes
    -----
    The count is ``(n_days - 1) / span`` over the distinct days, with the span in years
    of 365.25 days.  When no day is a Saturday or Sunday, the span is measured in
    weekdays, of which a year has 260.9, so that five bars of one week also count as
    daily bars of an exchange.  A single day counts as one of 252, or of 365 if it is on
    a weekend.

    Days without a bar lower the count, as they should: with `n` bars in the data,
    ``n / bars_per_year`` is the time that went by.

    Examples
    --------
    >>> import datetime as dt
    >>> import polars as pl
    >>> from barloop.annualisation import infer_bars_per_year
    >>> month_ends = pl.Series([dt.date(2024, m, 28) for m in range(1, 13)])
    >>> infer_bars_per_year(month_ends)
    12
    """
    dtype = timestamps.dtype
    if not (dtype == pl.Date or isinstance(dtype, pl.Datetime)):
        msg = (
            f"bars_per_year cannot be inferred from timestamps of dtype {dtype}.\n"
            "Hint: pass it, as in bars_per_year=252."
        )
        raise ConfigError(msg)
    if timestamps.len() == 0:
        msg = (
            "bars_per_year cannot be inferred without timestamps.\n"
            "Hint: pass it, as in bars_per_year=252."
        )
        raise ConfigError(msg)
    days = timestamps.dt.date().to_physical().to_numpy()
    days = days[np.concatenate([[True], days[1:] != days[:-1]])]
    # Day 0, 1970-01-01, was a Thursday: (day + 3) % 7 is 0 on Mondays.
    has_weekends = bool(np.any((days + 3) % 7 >= 5))
    if days.size == 1:
        days_per_year = 365 if has_weekends else 252
    else:
        first, last = int(days[0]), int(days[-1])
        if has_weekends:
            count = (days.size - 1) / (last - first) * _DAYS_PER_YEAR
        else:
            n_weekdays = _weekdays_before(last) - _weekdays_before(first)
            count = (days.size - 1) / n_weekdays * _WEEKDAYS_PER_YEAR
        days_per_year = _snapped(count)
    bars_per_day: float = timestamps.len() / days.size
    return round(days_per_year * bars_per_day)


def _snapped(count: float) -> int:
    for usual in _USUAL_BARS_PER_YEAR:
        if abs(count - usual) <= _SNAP * usual:
            return usual
    return max(1, round(count))


def _weekdays_before(day: int) -> int:
    """Return the number of weekdays from a fixed Monday up to, without, this day."""
    weeks, weekday = divmod(day + 3, 7)
    return weeks * 5 + min(weekday, 5)
