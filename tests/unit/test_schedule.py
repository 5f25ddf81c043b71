"""Schedules: which bars rebalance, checked without data and with it."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pandas as pd
import polars as pl
import pytest

from barloop.context import AlignedContext
from barloop.errors import ConfigError
from barloop.schedule import (
    RULES,
    Schedule,
    check_schedule,
    rebalance_mask,
    schedule_from_json,
    schedule_json,
)


def days(*texts: str) -> pl.Series:
    return pl.Series("date", [dt.date.fromisoformat(text) for text in texts])


# Thursday, Friday, Monday, Wednesday (first of a quarter), Thursday, Monday.
BARS = days(
    "2020-03-26", "2020-03-27", "2020-03-30", "2020-04-01", "2020-04-02", "2020-04-06"
)


def hits(
    schedule: object,
    bars: pl.Series = BARS,
    first_bar: int = 0,
    context: AlignedContext | None = None,
) -> list[int]:
    mask = rebalance_mask(schedule, bars, context, first_bar)
    assert mask.dtype == np.bool_
    assert mask.shape == (len(bars),)
    return np.flatnonzero(mask).tolist()


def refusal(schedule: object, bars: pl.Series = BARS, **more: object) -> str:
    with pytest.raises(ConfigError) as caught:
        hits(schedule, bars, **more)
    return str(caught.value)


# --- bars by number ------------------------------------------------------------------


def test_every_bar():
    assert hits("every_bar") == [0, 1, 2, 3, 4, 5]
    assert hits("every_bar", first_bar=4) == [4, 5]


def test_every_n_bars_from_the_first_traded_one():
    assert hits(2) == [0, 2, 4]
    assert hits(2, first_bar=1) == [1, 3, 5]
    assert hits(np.int64(3), first_bar=1) == [1, 4]
    assert hits(100, first_bar=2) == [2]


# --- periods -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("day_start", [0, 1, 2, 3, 4, 5]),
        ("day_end", [0, 1, 2, 3, 4, 5]),
        ("week_start", [0, 2, 5]),
        ("week_end", [1, 4]),
        ("month_start", [0, 3]),
        ("month_end", [2]),
        ("quarter_start", [0, 3]),
        ("quarter_end", [2]),
        ("year_start", [0]),
        ("year_end", []),
    ],
)
def test_periods_of_dates(rule: str, expected: list[int]):
    assert hits(rule) == expected
    assert hits(Schedule(rule)) == expected
    assert hits(rule, BARS.cast(pl.Datetime("us"))) == [
        # The last bar of a day is known to be it only when the bars are dates.
        bar
        for bar in expected
        if not (rule == "day_end" and bar == 5)
    ]


def test_every_period_rule_is_known():
    assert len(RULES) == 11
    for rule in RULES:
        hits(rule)


def test_bars_before_the_first_traded_one_still_count():
    # Bar 1 is the second of its week: no start, although trading begins with it.
    assert hits("week_start", first_bar=1) == [2, 5]
    assert hits("month_start", first_bar=1) == [3]


def test_weeks_begin_on_monday_across_the_year():
    bars = days("2020-12-31", "2021-01-01", "2021-01-04")
    assert hits("week_end", bars) == [1]
    assert hits("week_start", bars) == [0, 2]
    assert hits("year_end", bars) == [0]


def test_a_week_apart_in_another_year_is_another_week():
    assert hits("week_start", days("2020-01-06", "2021-01-04")) == [0, 1]


def test_days_of_times():
    hour = dt.timedelta(hours=1)
    start = dt.datetime(2021, 3, 4, 21)
    bars = pl.datetime_range(start, start + 5 * hour, "1h", eager=True)
    assert hits("day_end", bars) == [2]
    assert hits("day_start", bars) == [0, 3]
    # 21:00 in New York is 02:00 in UTC: there the day changed already.
    zoned = bars.dt.replace_time_zone("America/New_York")
    assert hits("day_end", zoned) == [2]
    assert hits("day_end", zoned.dt.convert_time_zone("UTC")) == []


def test_one_bar():
    assert hits("month_start", BARS.head(1)) == [0]
    assert hits("month_end", BARS.head(1)) == []
    assert hits("day_end", BARS.head(1)) == [0]


def test_sessions_decide_about_the_last_bar():
    march = BARS.head(3)
    assert hits("month_end", march) == []
    ends = Schedule("month_end", sessions=["2020-03-30", "2020-04-01"])
    goes_on = Schedule("month_end", sessions=["2020-03-31", "2020-04-01"])
    silent = Schedule("month_end", sessions=["2020-03-27", "2020-03-30"])
    assert hits(ends, march) == [2]
    assert hits(goes_on, march) == []
    assert hits(silent, march) == []


def test_sessions_decide_about_the_first_bar():
    before = Schedule("month_start", sessions=["2020-03-25"])
    other = Schedule("month_start", sessions=["2020-02-28"])
    assert hits(before) == [3]
    assert hits(other) == [0, 3]


@pytest.mark.parametrize("kind", ["list", "series", "numpy", "pandas", "datetimes"])
def test_kinds_of_sessions(kind: str):
    series = days("2020-04-01", "2020-03-30")
    sessions = {
        "list": series.to_list(),
        "series": series,
        "numpy": series.to_numpy(),
        "pandas": pd.DatetimeIndex(series.to_list()),
        "datetimes": [dt.datetime(2020, 4, 1, 16), dt.datetime(2020, 3, 30, 16)],
    }[kind]
    assert Schedule("month_end", sessions).sessions == (
        dt.date(2020, 3, 30),
        dt.date(2020, 4, 1),
    )


def test_periods_need_dates():
    assert refusal("month_end", pl.Series("t", [1, 2, 3])) == (
        "schedule 'month_end' needs dates, the times are Int64.\n"
        'Hint: use "every_bar", a number of bars, or a list of timestamps.'
    )


# --- lists ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "moments",
    [
        [dt.date(2020, 3, 30), dt.date(2020, 3, 26)],
        (dt.datetime(2020, 3, 30), dt.date(2020, 3, 26)),
        ["2020-03-30", "2020-03-26 00:00"],
        BARS.gather([2, 0]),
        BARS.gather([2, 0]).cast(pl.Datetime("ns")),
        BARS.gather([2, 0]).to_numpy(),
        pd.DatetimeIndex(["2020-03-30", "2020-03-26"]),
        [np.datetime64("2020-03-30"), np.datetime64("2020-03-26T00:00:00", "ns")],
    ],
    ids=str,
)
def test_lists_of_timestamps(moments: object):
    assert hits(moments) == [0, 2]
    assert hits(moments, first_bar=1) == [2]
    assert hits(moments, BARS.cast(pl.Datetime("ms"))) == [0, 2]


def test_lists_of_numbers():
    assert hits([30, 10], pl.Series("t", [10, 20, 30], dtype=pl.UInt8)) == [0, 2]


def test_listed_dates_find_the_only_bar_of_the_day():
    closes = BARS.cast(pl.Datetime("us")) + dt.timedelta(hours=16)
    assert hits(["2020-03-30"], closes) == [2]
    zoned = closes.dt.replace_time_zone("America/New_York")
    assert hits(["2020-03-30", "2020-04-01 16:00"], zoned) == [2, 3]


def test_listed_timestamp_that_is_no_bar():
    assert refusal([BARS[0], dt.date(2020, 3, 29), dt.date(2020, 3, 28)]) == (
        "schedule lists a timestamp that is no bar: no bar at 2020-03-29; the nearest "
        "are 2020-03-27 and 2020-03-30."
    )


def test_listed_numbers_among_dates():
    assert refusal([1, 2]) == (
        "schedule lists a timestamp that is no bar: a date, datetime or ISO text is "
        "needed, got 1."
    )


# --- expressions ---------------------------------------------------------------------

VIX = AlignedContext({"vix": np.array([10.0, 20, np.nan, 40, 50, 60])}, ())


def test_expression_over_times_and_context():
    assert hits(pl.col("date").dt.weekday() == 1) == [2, 5]
    rule = (pl.col("vix") > 15).fill_null(value=False)
    # The gap on bar 2 is null, not NaN: NaN > 15 would be true in polars.
    assert hits(rule, context=VIX) == [1, 3, 4, 5]
    assert hits(rule, context=VIX, first_bar=2) == [3, 4, 5]


def test_expression_with_nulls():
    assert refusal(pl.col("vix") > 15, context=VIX) == (
        "the expression of the schedule must not be null: 1 of 6 bars are, first at "
        "2020-03-30.\nHint: add .fill_null(False)."
    )


def test_expression_that_is_not_boolean():
    assert refusal(pl.col("date").dt.day()) == (
        "the expression of the schedule must give Boolean, got Int8."
    )


def test_expression_of_another_length():
    assert refusal(pl.col("date").max() > dt.date(2020, 1, 1)) == (
        "the expression of the schedule must give one value per bar: 6, got 1."
    )


def test_expression_over_an_unknown_column():
    message = refusal(pl.col("vxi") > 15, context=VIX)
    assert message.startswith("the expression of the schedule failed: ")
    assert message.endswith("Hint: it sees the columns 'date', 'vix'.")


# --- the rule itself -----------------------------------------------------------------


def refused(rule: object, sessions: object = None) -> str:
    with pytest.raises(ConfigError) as caught:
        Schedule(rule, sessions)
    return str(caught.value)


def test_unknown_name():
    assert refused("month_ned") == (
        "schedule must be one of 'every_bar', 'day_start', 'day_end', 'week_start', "
        "'week_end', 'month_start', 'month_end', 'quarter_start', 'quarter_end', "
        "'year_start', 'year_end', an int, timestamps or an expression, got "
        "'month_ned'. Did you mean 'month_end'?"
    )


def test_numbers_of_bars():
    assert refused(0) == "schedule must be at least 1 bar, got 0."
    for rule in (True, 2.5, None, {"n": 2}):
        assert refused(rule) == (
            "schedule must be a name, an int, timestamps, a polars expression or a "
            f"Schedule, got {rule!r}."
        )


def test_lists_that_are_none():
    assert refused([]) == (
        "schedule names no timestamp: an empty list never rebalances."
    )
    for value in ("soon", 1.5, None, True, np.datetime64("NaT"), pd.NaT):
        assert refused([value]) == (
            f"schedule must list dates, datetimes or integers, got {value!r}."
        )


def test_sessions_without_a_period():
    dates = [dt.date(2020, 1, 1)]
    assert refused("every_bar", dates) == (
        "schedule.sessions say when a period ends; the rule 'every_bar' has no periods."
    )
    assert "the rule of a list has no periods" in refused(dates, dates)
    assert "the rule of an expression has no periods" in refused(pl.col("x"), dates)


def test_sessions_that_are_none():
    assert refused("month_end", [1]) == "schedule.sessions must be dates, got 1."
    assert refused("month_end", "XNYS") == (
        "schedule.sessions must be a list of dates, got 'XNYS'."
    )


def test_check_schedule_needs_no_data():
    for schedule in ("every_bar", 5, BARS, pl.col("x") > 1, Schedule("week_end")):
        check_schedule(schedule)
    with pytest.raises(ConfigError, match="Did you mean 'week_end'"):
        check_schedule("weekend")


@pytest.mark.parametrize(
    "schedule",
    [
        "every_bar",
        21,
        Schedule("month_end", BARS),
        Schedule([dt.date(2020, 3, 26), dt.datetime(2020, 3, 27, 9, 30)]),
        Schedule([dt.datetime(2020, 3, 27, 9, 30, tzinfo=dt.UTC)]),
        Schedule([1, 2, 3]),
        Schedule(pl.col("vix").fill_null(0.0) > 30),
    ],
    ids=["name", "int", "sessions", "mixed", "zoned", "integers", "expression"],
)
def test_json_and_back(schedule: object):
    text = json.dumps(schedule_json(schedule))
    back = schedule_from_json(json.loads(text))
    assert back == schedule
    assert hash(back) == hash(schedule)
    assert json.dumps(schedule_json(back)) == text


def test_json_with_an_unknown_entry():
    with pytest.raises(ConfigError) as caught:
        schedule_from_json({"rul": "month_end"})
    assert str(caught.value) == "unknown entry 'rul' of schedule. Did you mean 'rule'?"


def test_equality():
    assert Schedule("month_end", BARS) == Schedule("month_end", BARS.reverse())
    assert Schedule("month_end") != Schedule("month_start")
    assert Schedule(pl.col("x") > 1) == Schedule(pl.col("x") > 1)
    assert Schedule(pl.col("x") > 1) != Schedule(pl.col("x") > 2)
    assert Schedule("month_end") != "month_end"
    assert Schedule() == Schedule("every_bar")
