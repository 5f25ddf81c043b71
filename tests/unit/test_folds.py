"""Folds: by hand, by calendar, equal to holdout, and what must always hold."""

from __future__ import annotations

import itertools
import math
from datetime import date, datetime, timedelta

import holdout
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from barloop.errors import ConfigError, SchemaError
from barloop.folds import Fold, combinatorial_folds, walk_forward_folds


def weekdays(start: date, stop: date) -> pl.Series:
    days = pl.date_range(start, stop, closed="left", eager=True)
    return days.filter(days.dt.weekday() <= 5)


DAYS = weekdays(date(2010, 1, 4), date(2020, 1, 1))


def first_at(timestamps: pl.Series, moment: date) -> int:
    return int((timestamps < moment).sum())


# --- walk forward, in bars ----------------------------------------------------------


def test_rolling_by_hand():
    # 20 bars: tests at 8-11, 12-15, 16-19; the 8 bars before each, without the last 2.
    folds = walk_forward_folds(pl.Series(range(20)), train=8, test=4, purge=2)
    assert folds == [Fold(0, 6, 8, 12), Fold(4, 10, 12, 16), Fold(8, 14, 16, 20)]
    assert folds[1].train == slice(4, 10)
    assert folds[1].test == slice(12, 16)


def test_anchored_by_hand():
    folds = walk_forward_folds(pl.Series(range(20)), train=8, test=6, anchored=True)
    assert folds == [Fold(0, 8, 8, 14), Fold(0, 14, 14, 20)]


def test_last_test_is_kept_though_shorter():
    folds = walk_forward_folds(pl.Series(range(17)), train=8, test=4)
    assert folds[-1] == Fold(8, 16, 16, 17)


def test_purge_and_embargo_add_up():
    bars = pl.Series(range(30))
    both = walk_forward_folds(bars, train=10, test=5, purge=2, embargo=3)
    assert both == walk_forward_folds(bars, train=10, test=5, purge=5)
    assert all(fold.test_start - fold.train_stop == 5 for fold in both)


def test_longer_step_leaves_bars_untested():
    folds = walk_forward_folds(pl.Series(range(20)), train=6, test=3, step=5)
    assert [(fold.test_start, fold.test_stop) for fold in folds] == [
        (6, 9),
        (11, 14),
        (16, 19),
    ]


@given(
    n_bars=st.integers(2, 200),
    train=st.integers(1, 60),
    test=st.integers(1, 30),
    extra=st.integers(0, 10),
    purge=st.integers(0, 5),
    embargo=st.integers(0, 5),
    anchored=st.booleans(),
)
def test_laws_of_walk_forward(n_bars, train, test, extra, purge, embargo, anchored):
    bars = pl.Series(range(100, 100 + n_bars))
    how = {
        "train": train,
        "test": test,
        "step": test + extra,
        "purge": purge,
        "embargo": embargo,
        "anchored": anchored,
    }
    if train >= n_bars or train <= purge + embargo:
        with pytest.raises(ConfigError):
            walk_forward_folds(bars, **how)
        return
    folds = walk_forward_folds(bars, **how)
    for k, fold in enumerate(folds):
        assert 0 <= fold.train_start < fold.train_stop
        assert fold.train_stop == fold.test_start - purge - embargo
        assert fold.test_start == train + k * (test + extra)
        assert fold.test_stop == min(fold.test_start + test, n_bars)
        assert fold.train_start == (0 if anchored else fold.test_start - train)
    for before, after in itertools.pairwise(folds):
        assert before.test_stop + extra == after.test_start
    # Bars added at the end change no fold but the last.
    longer = walk_forward_folds(pl.Series(range(n_bars + 1)), **how)
    assert longer[: len(folds) - 1] == folds[:-1]
    assert folds[-1].test_start + test + extra >= n_bars
    if extra == 0:
        assert folds[-1].test_stop == n_bars


@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize("step", [None, 25])
def test_walk_forward_equals_holdout(anchored, step):
    # holdout has its gap outside of the training window, and drops a shorter test.
    folds = walk_forward_folds(
        pl.Series(range(200)), train=63, test=20, step=step, anchored=anchored, purge=3
    )
    expected = holdout.walk_forward(
        200, train=60, test=20, step=step, expanding=anchored, gap=3
    )
    whole = [fold for fold in folds if fold.test_stop - fold.test_start == 20]
    assert len(whole) == len(expected)
    for fold, split in zip(whole, expected, strict=True):
        np.testing.assert_array_equal(np.arange(200)[fold.train], split.train)
        np.testing.assert_array_equal(np.arange(200)[fold.test], split.test)


# --- walk forward, in time ----------------------------------------------------------


def test_years_and_months():
    folds = walk_forward_folds(DAYS, train="5y", test="6mo")
    assert len(folds) == 10
    starts = [date(2015, 1, 4), date(2015, 7, 4), date(2016, 1, 4), date(2016, 7, 4)]
    for fold, start in zip(folds, starts, strict=False):
        assert fold.test_start == first_at(DAYS, start)
        assert fold.train_start == first_at(DAYS, start.replace(year=start.year - 5))
        assert fold.train_stop == fold.test_start
    for before, after in itertools.pairwise(folds):
        assert before.test_stop == after.test_start
    assert folds[-1].test_stop == DAYS.len()


@pytest.mark.parametrize(
    ("window", "days"), [("12w", 84), ("30d", 30), ("1w", 7), ("720h", 30)]
)
def test_weeks_days_and_hours(window, days):
    times = DAYS.cast(pl.Datetime("us"))
    folds = walk_forward_folds(times, train="1y", test=window, purge=1)
    start = datetime(2011, 1, 4)
    for k, fold in enumerate(folds[:40]):
        begin = start + timedelta(days=days * k)
        assert fold.test_start == first_at(times, begin)
        assert fold.test_stop == first_at(times, begin + timedelta(days=days))
        assert fold.train_stop == fold.test_start - 1


def test_months_do_not_drift_and_leave_no_gap():
    # Starting on a 31st: a month later is the last day of a month, not fewer and fewer.
    days = pl.date_range(date(2019, 1, 31), date(2021, 1, 1), eager=True)
    folds = walk_forward_folds(days, train="2mo", test="1mo")
    starts = [days[fold.test_start] for fold in folds[:4]]
    assert starts == [
        date(2019, 3, 31),
        date(2019, 4, 30),
        date(2019, 5, 31),
        date(2019, 6, 30),
    ]
    for before, after in itertools.pairwise(folds):
        assert before.test_stop == after.test_start


def test_bars_and_time_mixed():
    folds = walk_forward_folds(DAYS, train=500, test="1y")
    assert folds[0].test_start == 500
    start = DAYS[500]
    assert folds[1].test_start == first_at(DAYS, start.replace(year=start.year + 1))
    assert all(fold.test_start - fold.train_start == 500 for fold in folds)
    folds = walk_forward_folds(DAYS, train="2y", test=100)
    assert folds[0] == Fold(0, first_at(DAYS, date(2012, 1, 4)), 522, 622)
    start = DAYS[722]
    assert folds[2].train_start == first_at(DAYS, start.replace(year=start.year - 2))
    folds = walk_forward_folds(DAYS, train="2y", test=100, step="1y")
    assert {fold.test_stop - fold.test_start for fold in folds} == {100}
    assert folds[1].test_start == first_at(DAYS, date(2013, 1, 4))


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_zones_and_units_of_time(zone, unit):
    times = DAYS.cast(pl.Datetime(unit)).dt.replace_time_zone(zone)
    expected = walk_forward_folds(DAYS, train="3y", test="3mo", purge=2)
    assert walk_forward_folds(times, train="3y", test="3mo", purge=2) == expected
    # Bars within a day, over the change to summer time.
    hours = pl.datetime_range(
        datetime(2021, 3, 1), datetime(2021, 4, 1), "1h", time_zone=zone, eager=True
    )
    folds = walk_forward_folds(hours, train="1w", test="1d")
    assert len(folds) == 25
    midnights = [hours[fold.test_start].hour for fold in folds]
    assert set(midnights) == {0}


def test_windows_without_bars_give_no_fold():
    days = pl.concat(
        [
            weekdays(date(2020, 1, 1), date(2020, 7, 1)),
            weekdays(date(2020, 9, 14), date(2021, 1, 1)),
        ]
    )
    folds = walk_forward_folds(days, train="3mo", test="2w")
    for before, after in itertools.pairwise(folds):
        assert before.test_stop == after.test_start
    assert folds[-1].test_stop == days.len()
    assert all(fold.test_start < fold.test_stop for fold in folds)


@pytest.mark.parametrize("train", ["1mo", "1y", "20w"])
def test_windows_of_any_length_stay_inside_the_calendar(train):
    ends = pl.Series([date(9999, 1, 1) + timedelta(days=k) for k in range(360)])
    folds = walk_forward_folds(ends, train="1mo", test="200y")
    assert folds == [Fold(0, 31, 31, 360)]
    nanoseconds = pl.datetime_range(
        datetime(2261, 6, 1), datetime(2262, 4, 1), "1d", time_unit="ns", eager=True
    )
    folds = walk_forward_folds(nanoseconds, train="3mo", test="1y")
    assert len(folds) == 1
    with pytest.raises(ConfigError, match="leaves no bar"):
        walk_forward_folds(DAYS, train="99999999y", test=train)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"train": 500, "test": 10},
            "leaves no bar for a test: there are 26",
        ),
        ({"train": "2mo", "test": 10}, "from 2010-01-04 to 2010-02-08"),
        ({"train": 5, "test": 5, "purge": 5}, "nothing is left to train on before bar"),
        (
            {"train": 5, "test": 5, "purge": 2, "embargo": 4},
            "holds 5 bars, purge=2 and embargo=4 drop 6",
        ),
        ({"train": 5, "test": 5, "step": 4}, "test windows would overlap"),
        ({"train": 5, "test": "1w", "step": "3d"}, "test windows would overlap"),
        ({"train": 0, "test": 5}, "train must be at least 1"),
        ({"train": 5, "test": -5}, "test must be at least 1"),
        ({"train": 5, "test": 5, "step": 0}, "step must be at least 1"),
        ({"train": 5.5, "test": 5}, "train must be a number of bars or a duration"),
        ({"train": True, "test": 5}, "train must be a number of bars or a duration"),
        ({"train": 5, "test": 5, "purge": -1}, "purge must be at least 0"),
        ({"train": 5, "test": 5, "purge": "1d"}, "purge must be a whole number"),
        ({"train": 5, "test": 5, "embargo": 1.5}, "embargo must be a whole number"),
        ({"train": "6m", "test": 5}, "train is no duration: '6m'.\nHint: months are"),
        ({"train": 5, "test": "6 months"}, "months are 'mo'"),
        ({"train": "1.5y", "test": 5}, "train is no duration: '1.5y'"),
        ({"train": "0d", "test": 5}, "a number from 1 and a unit"),
        ({"train": "-1y", "test": 5}, "train is no duration"),
        ({"train": "5h", "test": 5}, "needs times within a day"),
    ],
    ids=itertools.count(),
)
def test_windows_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        walk_forward_folds(DAYS[:26], **arguments)


@pytest.mark.parametrize(
    ("timestamps", "error", "message"),
    [
        (DAYS.reverse(), SchemaError, "2,606 are not, first 2019-12-30 after"),
        (pl.concat([DAYS[:3], DAYS[:3]]), SchemaError, "ascending without repeats: 1"),
        (pl.Series([1, None, 3]), SchemaError, "must not be null, 1 is"),
        (pl.Series([], dtype=pl.Date), SchemaError, "timestamps are empty"),
        (pl.Series([1.0, 2.0]), SchemaError, "must be Date, Datetime or an integer"),
        ([1, 2, 3], SchemaError, "must be a polars Series, got list"),
    ],
    ids=itertools.count(),
)
def test_timestamps_that_do_not_fit_are_refused(timestamps, error, message):
    with pytest.raises(error, match=message):
        walk_forward_folds(timestamps, train=1, test=1)


def test_integers_have_no_calendar():
    with pytest.raises(ConfigError, match="needs dates, the times are Int64"):
        walk_forward_folds(pl.Series(range(10)), train="1y", test=1)


# --- combinatorial ------------------------------------------------------------------


def test_combinatorial_by_hand():
    # 4 groups of 3 bars, 2 in a test: 6 splits, 3 paths.
    folds = combinatorial_folds(12, n_groups=4, n_test=2, purge=1, embargo=1)
    assert folds.groups == ((0, 3), (3, 6), (6, 9), (9, 12))
    assert [split.test_groups for split in folds.splits] == [
        (0, 1),
        (0, 2),
        (0, 3),
        (1, 2),
        (1, 3),
        (2, 3),
    ]
    # purge takes the bar before a test, embargo the one after
    assert [split.train for split in folds.splits] == [
        ((7, 12),),
        ((4, 5), (10, 12)),
        ((4, 8),),
        ((0, 2), (10, 12)),
        ((0, 2), (7, 8)),
        ((0, 5),),
    ]
    # group 0 is tested by splits 0 1 2, group 1 by 0 3 4, 2 by 1 3 5, 3 by 2 4 5
    assert folds.paths == ((0, 0, 1, 2), (1, 3, 3, 4), (2, 4, 5, 5))
    assert folds.n_paths == 3
    assert folds.segments(1) == [(1, 0, 3), (3, 3, 6), (3, 6, 9), (4, 9, 12)]


@given(
    n_bars=st.integers(2, 120),
    n_groups=st.integers(2, 8),
    n_test=st.integers(1, 7),
    purge=st.integers(0, 12),
    embargo=st.integers(0, 12),
)
def test_laws_of_combinatorial_folds(n_bars, n_groups, n_test, purge, embargo):
    how = {"n_groups": n_groups, "n_test": n_test, "purge": purge, "embargo": embargo}
    try:
        folds = combinatorial_folds(n_bars, **how)
    except ConfigError:
        assert n_test >= n_groups or n_groups > n_bars or purge + embargo > 0
        return
    assert len(folds.splits) == math.comb(n_groups, n_test)
    assert folds.n_paths == n_test * math.comb(n_groups, n_test) / n_groups
    for split in folds.splits:
        is_test = split.test_mask(n_bars)
        is_train = split.train_mask(n_bars)
        # In words: a bar trains unless it is tested, or a test begins within `purge`
        # bars after it or ended within `embargo` bars before it.
        for t in range(n_bars):
            near = is_test[max(t - embargo, 0) : t + purge + 1].any()
            assert is_train[t] == (not near)
        starts = [start for start, _ in split.train]
        assert starts == sorted(starts)
        assert all(start < stop for start, stop in split.train)
    used = set()
    for path in range(folds.n_paths):
        covered = np.zeros(n_bars, dtype=int)
        for segment in folds.segments(path):
            covered[segment.start : segment.stop] += 1
            assert (segment.start, segment.stop) in folds.splits[segment.split].test
            used.add((segment.split, segment.start))
        assert (covered == 1).all()
    assert len(used) == len(folds.splits) * n_test  # each test on exactly one path


@pytest.mark.parametrize(("n_groups", "n_test"), [(10, 2), (6, 3), (5, 1), (7, 6)])
@pytest.mark.parametrize("n_bars", [100, 107])
def test_combinatorial_equals_holdout(n_groups, n_test, n_bars):
    # A label that spans 3 bars: 3 bars before and 3 bars after a test are purged.
    start = np.arange(n_bars)
    expected = holdout.combinatorial_purged_cv(
        n_groups, n_test, start=start, end=start + 3
    )
    folds = combinatorial_folds(
        n_bars, n_groups=n_groups, n_test=n_test, purge=3, embargo=3
    )
    assert folds.n_paths == expected.n_paths
    assert [list(path) for path in folds.paths] == expected.path_assignment()
    for split, theirs in zip(folds.splits, expected.splits, strict=True):
        assert split.test_groups == theirs.test_groups
        np.testing.assert_array_equal(
            np.flatnonzero(split.test_mask(n_bars)), theirs.test
        )
        np.testing.assert_array_equal(
            np.flatnonzero(split.train_mask(n_bars)), theirs.train
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_bars": 0}, "n_bars must be at least 1"),
        ({"n_bars": 9}, "n_groups must be at most n_bars=9, got 10"),
        ({"n_bars": 100, "n_groups": 1}, "n_groups must be at least 2"),
        ({"n_bars": 100, "n_test": 0}, "n_test must be at least 1"),
        ({"n_bars": 100, "n_test": 10}, "n_test must be less than n_groups=10"),
        ({"n_bars": 100, "n_test": 2.0}, "n_test must be a whole number"),
        ({"n_bars": 100, "purge": -1}, "purge must be at least 0"),
        ({"n_bars": 100, "embargo": -1}, "embargo must be at least 0"),
        ({"n_bars": 100, "n_groups": 50, "n_test": 25}, "take fewer groups"),
        (
            {"n_bars": 100, "purge": 60, "embargo": 60},
            r"nothing is left to train on when groups \(",
        ),
    ],
    ids=itertools.count(),
)
def test_groups_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        combinatorial_folds(**arguments)
