"""Context: one value per bar, never from the future, gaps counted."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pytest

from barloop.context import Context, align
from barloop.errors import ConfigError, SchemaError

BARS = pl.Series("date", [dt.date(2021, 3, d) for d in (4, 5, 8, 9)])
NAN = np.nan


def context(days: list[int], **columns: list[object]) -> pl.DataFrame:
    columns = columns or {"vix": [float(day) for day in days]}
    return pl.DataFrame({"date": [dt.date(2021, 3, day) for day in days], **columns})


def refusal(frame: object, bars: pl.Series = BARS, join: str = "exact") -> str:
    with pytest.raises(SchemaError) as caught:
        align(Context(frame, join), bars, bars.name)
    return str(caught.value)


def test_exact_join_of_a_plain_frame():
    aligned = align(context([4, 5, 8, 9]), BARS, "date")
    assert list(aligned.values) == ["vix"]
    assert aligned.values["vix"].tolist() == [4.0, 5.0, 8.0, 9.0]
    assert aligned.gaps == ()


def test_values_are_read_only_float64():
    value = align(context([4, 5, 8, 9], n=[1, 2, 3, 4]), BARS, "date").values["n"]
    assert value.dtype == np.float64
    assert not value.flags.writeable


def test_exact_join_counts_gaps_by_column():
    frame = context([3, 4, 6, 9], vix=[3.0, 4, 6, 9], rate=[0.3, None, 0.6, 0.9])
    aligned = align(frame, BARS, "date")
    np.testing.assert_array_equal(aligned.values["vix"], [4, NAN, NAN, 9])
    np.testing.assert_array_equal(aligned.values["rate"], [NAN, NAN, NAN, 0.9])
    vix, rate = aligned.gaps
    assert (vix.notice, vix.count, vix.bar, vix.asset) == ("context_gap", 2, 1, None)
    assert vix.message == (
        "context column 'vix' has no value on 2 of 4 bars, first at 2021-03-05."
    )
    assert (rate.count, rate.bar) == (3, 0)


def test_asof_join_looks_back_only():
    aligned = align(Context(context([5, 7, 10]), join="asof"), BARS, "date")
    # Bars 4, 5, 8, 9: nothing is known on the 4th; the 10th lies in the future of all.
    np.testing.assert_array_equal(aligned.values["vix"], [NAN, 5, 7, 7])
    assert [(gap.count, gap.bar) for gap in aligned.gaps] == [(1, 0)]


def test_asof_join_takes_a_row_as_it_is():
    frame = context([4, 5], vix=[4.0, None])
    aligned = align(Context(frame, join="asof"), BARS, "date")
    np.testing.assert_array_equal(aligned.values["vix"], [4, NAN, NAN, NAN])


@pytest.mark.parametrize("join", ["exact", "asof"])
def test_order_of_rows_does_not_matter(join: str):
    frame = context([9, 4, 8, 5])
    aligned = align(Context(frame, join), BARS, "date")
    assert aligned.values["vix"].tolist() == [4.0, 5.0, 8.0, 9.0]
    assert frame.equals(context([9, 4, 8, 5]))


@pytest.mark.parametrize("join", ["exact", "asof"])
def test_a_shorter_context_gives_the_same_past(join: str):
    long = align(Context(context([4, 5, 6, 8, 9]), join), BARS, "date").values["vix"]
    short = align(Context(context([4, 5, 6]), join), BARS, "date").values["vix"]
    np.testing.assert_array_equal(short[:2], long[:2])


def test_time_column_by_the_name_of_the_panel_first():
    frame = context([4, 5]).with_columns(timestamp=pl.lit(1))
    assert list(align(frame, BARS, "date").values) == ["vix", "timestamp"]
    renamed = context([4, 5, 8, 9]).rename({"date": "Time"})
    assert align(renamed, BARS, "when").gaps == ()


def test_lazy_and_pandas_frames():
    frame = context([4, 5, 8, 9])
    by_index = pd.DataFrame({"vix": frame["vix"]}, index=pd.DatetimeIndex(BARS))
    for given in (frame.lazy(), frame.to_pandas(), by_index):
        assert align(given, BARS, "date").values["vix"].tolist() == [4.0, 5.0, 8.0, 9.0]


def test_booleans_and_integers_become_numbers():
    frame = context([4, 5, 8, 9], up=[True, False, None, True], n=[1, 2, 3, 4])
    values = align(frame, BARS, "date").values
    np.testing.assert_array_equal(values["up"], [1, 0, NAN, 1])
    assert values["n"].tolist() == [1, 2, 3, 4]


def test_datetimes_at_midnight_are_dates():
    frame = context([4, 5, 8, 9]).with_columns(pl.col("date").cast(pl.Datetime("ns")))
    assert align(frame, BARS, "date").gaps == ()


def test_dates_among_midnight_datetimes():
    bars = BARS.cast(pl.Datetime("ms"))
    assert align(context([4, 5, 8, 9]), bars, "date").gaps == ()


def test_dates_among_midnights_of_a_zone():
    bars = BARS.cast(pl.Datetime("us")).dt.replace_time_zone("Europe/Paris")
    assert align(context([4, 5, 8, 9]), bars, "date").gaps == ()


def test_integer_times():
    bars = pl.Series("t", [1, 2, 3])
    frame = pl.DataFrame({"t": pl.Series([3, 1], dtype=pl.Int8), "vix": [30, 10]})
    np.testing.assert_array_equal(align(frame, bars, "t").values["vix"], [10, NAN, 30])


def test_dates_among_times_of_day_would_be_early():
    bars = pl.Series("ts", [dt.datetime(2021, 3, 4, 9, 30)])
    assert refusal(context([4]), bars, "asof") == (
        "context times are dates, but the bars have times of day, first "
        "2021-03-04 09:30:00: a date does not say when its value is known.\n"
        "Hint: give the context the Datetime at which each value is known, e.g. "
        "pl.col('date').cast(pl.Datetime(\"us\")) + pl.duration(hours=16)."
    )


def test_times_inside_of_a_day_among_dates():
    frame = context([4, 5]).with_columns(
        pl.col("date").cast(pl.Datetime("us")) + dt.timedelta(hours=16)
    )
    assert refusal(frame) == (
        "context times must be Date like the bars: 2 rows cannot be, first at "
        "2021-03-04 16:00:00.\n"
        "Hint: decide on which bar each value is known, and cast to its timestamp."
    )


def test_duplicate_timestamps():
    assert refusal(context([9, 5, 4, 5, 5])) == (
        "context timestamps must be unique: 2 rows repeat an earlier one, first at "
        "2021-03-05.\nHint: keep one row per timestamp; per-asset columns belong into "
        "the panel's frame."
    )


def test_null_timestamps():
    frame = pl.concat([context([4]), context([5]).with_columns(date=None)])
    assert refusal(frame) == (
        "context column 'date' must not be null: 1 row is, first row 1.\n"
        "Hint: drop these rows."
    )


def test_text_columns():
    assert refusal(context([4], regime=["calm"])) == (
        "context column 'regime' must be numeric or Boolean, got String.\n"
        "Hint: drop it with context.drop('regime'), or cast it."
    )


def test_text_times():
    frame = pl.DataFrame({"date": ["2021-03-04"], "vix": [1.0]})
    assert refusal(frame) == (
        "context column 'date' must be Date, Datetime or an integer, got String.\n"
        "Hint: parse it, e.g. df.with_columns(pl.col('date').str.to_date())."
    )


def test_integers_among_dates():
    frame = pl.DataFrame({"date": [1], "vix": [1.0]})
    assert refusal(frame) == (
        "the context has times of dtype Int64, the bars have Date.\n"
        "Hint: give both as dates or both as integers."
    )


def test_no_time_column():
    assert refusal(pl.DataFrame({"vix": [1.0]})) == (
        "the context needs the time column 'date' of the data; it has the columns "
        "'vix'.\nHint: give its time column this name."
    )


def test_no_rows_and_no_columns():
    assert refusal(context([4]).clear()) == (
        "the context has no rows.\n"
        "Hint: a filter may have removed them all; without values, leave context out."
    )
    assert refusal(context([4]).select("date")) == (
        "the context has no column besides 'date'.\n"
        "Hint: add the columns that bar.context is to have."
    )


def test_unknown_join():
    with pytest.raises(ConfigError) as caught:
        Context(context([4]), "as_of")
    assert str(caught.value) == (
        "context.join must be one of 'exact', 'asof', got 'as_of'. Did you mean 'asof'?"
    )


def test_what_is_no_frame():
    with pytest.raises(SchemaError, match="a frame is needed, got int"):
        Context(3)
