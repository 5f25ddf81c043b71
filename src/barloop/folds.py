"""Which bars to choose parameters on, and which to try them on: bar numbers only.

Ranges of bars are half open, as slices are.  A fold trains on bars before its test
only; a combinatorial split trains on bars on both sides of its tests.
"""

from __future__ import annotations

import itertools
import math
import numbers
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import polars as pl

from barloop.errors import ConfigError, SchemaError
from barloop.schema import are, check_time_dtype, is_index_integer, show
from barloop.typing import BoolVector

Window = int | str
"""A number of bars, or a duration such as ``"5y"``, ``"6mo"``, ``"12w"``, ``"30d"``."""

DAYS = {"y": 366.0, "q": 92.0, "mo": 31.0, "w": 7.0, "d": 1.0, "h": 1.0 / 24.0}
"""Units of a duration, and the most days that one has."""

MAX_SPLITS = 1_000_000


class Bars(NamedTuple):
    """A range of bars, half open."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True, order=True)
class Fold:
    """One training window and the test window after it, half open.

    Attributes
    ----------
    train_start, train_stop : int
        Bars to choose parameters on: ``train_start <= t < train_stop``.
    test_start, test_stop : int
        Bars to try them on.
    """

    train_start: int
    train_stop: int
    test_start: int
    test_stop: int

    @property
    def train(self) -> slice:
        """Training bars, to index arrays with."""
        return slice(self.train_start, self.train_stop)

    @property
    def test(self) -> slice:
        """Test bars, to index arrays with."""
        return slice(self.test_start, self.test_stop)


@dataclass(frozen=True, slots=True)
class CombinatorialSplit:
    """Some groups of bars to test on, and what is left to train on.

    Attributes
    ----------
    test_groups : tuple of int
        Numbers of the groups, ascending.
    test : tuple of (start, stop)
        Their bars, one range for each group.
    train : tuple of (start, stop)
        Training bars, ascending, as few ranges as possible.
    """

    test_groups: tuple[int, ...]
    test: tuple[Bars, ...]
    train: tuple[Bars, ...]

    def train_mask(self, n_bars: int) -> BoolVector:
        """Tell of each bar whether it is a training bar.

        Parameters
        ----------
        n_bars : int
            Length of the mask.
        """
        return _mask(self.train, n_bars)

    def test_mask(self, n_bars: int) -> BoolVector:
        """Tell of each bar whether it is a test bar.

        Parameters
        ----------
        n_bars : int
            Length of the mask.
        """
        return _mask(self.test, n_bars)


class Segment(NamedTuple):
    """A stretch of a path: these bars, from the test of this split."""

    split: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class CombinatorialFolds:
    """All ways to test on some of the groups of bars, and the paths they make.

    Attributes
    ----------
    n_bars : int
        Number of bars that are divided.
    groups : tuple of (start, stop)
        Groups of bars, in the order of time.
    splits : tuple of CombinatorialSplit
        One for each choice of test groups, in lexicographic order.
    paths : tuple of tuple of int
        ``paths[p][g]`` is the split whose test gives path p its group g.  On every path
        each bar is tested exactly once, and each test of a split is on one path.
    """

    n_bars: int
    groups: tuple[Bars, ...]
    splits: tuple[CombinatorialSplit, ...]
    paths: tuple[tuple[int, ...], ...]

    @property
    def n_paths(self) -> int:
        """Number of paths: ``n_test * C(n_groups, n_test) / n_groups``."""
        return len(self.paths)

    def segments(self, path: int) -> list[Segment]:
        """Return which split gives which bars of a path, in the order of time.

        Parameters
        ----------
        path : int
            Number of the path, from 0.

        Returns
        -------
        list of (split, start, stop)
            One for each group; together they cover every bar once.
        """
        pairs = zip(self.paths[path], self.groups, strict=True)
        return [Segment(split, *group) for split, group in pairs]


def walk_forward_folds(
    timestamps: pl.Series,
    *,
    train: Window,
    test: Window,
    step: Window | None = None,
    anchored: bool = False,
    purge: int = 0,
    embargo: int = 0,
) -> list[Fold]:
    """Divide the bars into training windows, each followed by a test window.

    Parameters
    ----------
    timestamps : Series of Date, Datetime or integers
        One value per bar, ascending, without nulls or repeats.
    train : int or str
        Bars before each test, or a duration: ``"5y"``, ``"6mo"``, ``"12w"``, ``"30d"``,
        also ``"q"`` and, for times within a day, ``"h"``.
    test : int or str
        Length of the test windows.
    step : int or str, optional
        From the start of one test to the next; `test` when not given.  A longer one
        leaves bars untested between the tests; a shorter one is refused.
    anchored : bool, default False
        Whether every training window starts with the first bar, and so grows.
    purge : int, default 0
        Bars dropped from the end of each training window, for outcomes that reach into
        the test, such as positions still held.
    embargo : int, default 0
        Further bars dropped there, for what is correlated over time.  A training
        window is never after its test here, so there is nothing else to drop.

    Returns
    -------
    list of Fold
        In the order of time; no bar is in two tests.

    Raises
    ------
    ConfigError
        If a window cannot be understood, nothing fits, or nothing is left to train on.
    SchemaError
        If the timestamps are not ascending.

    Notes
    -----
    The first test starts `train` after the first bar; test k starts k steps later.
    Durations are calendar time counted from the first bar, not from fold to fold, so
    nothing drifts; a window holds the bars from its start up to, without, its end, and
    a month after the 31st is the last day of a month.  A window of bars and one of time
    may be mixed.

    **The last test ends with the data, and may be shorter than the others**: the latest
    bars are the ones that matter most.  A test window without any bar gives no fold.

    Examples
    --------
    >>> import polars as pl
    >>> from barloop.folds import walk_forward_folds
    >>> bars = pl.Series(range(10))
    >>> for fold in walk_forward_folds(bars, train=4, test=3, purge=1):
    ...     print(fold)
    Fold(train_start=0, train_stop=3, test_start=4, test_stop=7)
    Fold(train_start=3, train_stop=6, test_start=7, test_stop=10)
    """
    bars = _Calendar(_checked_timestamps(timestamps))
    windows = {"train": train, "test": test, "step": test if step is None else step}
    of = {name: _checked_window(name, value, bars) for name, value in windows.items()}
    gap = _whole("purge", purge, least=0) + _whole("embargo", embargo, least=0)
    folds: list[Fold] = []
    first = bars.after(0, None, of["train"], 1)
    for k in itertools.count():
        start, moment = bars.after(*first, of["step"], k)
        if start >= bars.n_bars:
            break
        if step is None:
            # So that rounding to the ends of months leaves no gap between tests.
            stop = bars.after(*first, of["step"], k + 1)[0]
        else:
            stop = bars.after(start, moment, of["test"], 1)[0]
        stop = min(stop, bars.n_bars)
        if start == stop:
            continue
        if folds and start < folds[-1].test_stop:
            msg = (
                f"step={step!r} is shorter than test={test!r}: test windows would "
                "overlap, and a bar has one result only.\n"
                "Hint: leave step out, or make it at least as long as test."
            )
            raise ConfigError(msg)
        before = 0 if anchored else bars.after(start, moment, of["train"], -1)[0]
        if before >= start - gap:
            dropped = f"purge={purge} and embargo={embargo} drop {gap}"
            msg = (
                f"nothing is left to train on before bar {start} "
                f"({bars.shown(start)}): train={train!r} holds {start - before} bars, "
                f"{dropped}.\nHint: lengthen train."
            )
            raise ConfigError(msg)
        folds.append(Fold(before, start - gap, start, stop))
    if not folds:
        last = bars.n_bars - 1
        msg = (
            f"train={train!r} leaves no bar for a test: there are {bars.n_bars} bars, "
            f"from {bars.shown(0)} to {bars.shown(last)}.\nHint: shorten train."
        )
        raise ConfigError(msg)
    return folds


def combinatorial_folds(
    n_bars: int,
    *,
    n_groups: int = 10,
    n_test: int = 2,
    purge: int = 0,
    embargo: int = 0,
) -> CombinatorialFolds:
    """Divide the bars into groups and test on every choice of some of them.

    Parameters
    ----------
    n_bars : int
        Number of bars.
    n_groups : int, default 10
        Number of groups, contiguous; when `n_bars` is no multiple of it, the first
        groups have one bar more.
    n_test : int, default 2
        Groups in a test, less than `n_groups`.
    purge : int, default 0
        Bars dropped from training before each test, for outcomes that reach into it.
    embargo : int, default 0
        Bars dropped from training after each test, for signals that look back into it.

    Returns
    -------
    CombinatorialFolds
        ``C(n_groups, n_test)`` splits; ``n_test * C(n_groups, n_test) / n_groups``
        paths.

    Raises
    ------
    ConfigError
        If a number is out of range, or nothing is left to train on.

    Notes
    -----
    Path p takes from each group the p-th split that tests it.

    References
    ----------
    M. Lopez de Prado (2018), "Advances in financial machine learning", chapters 7 and
    12.

    Examples
    --------
    >>> from barloop.folds import combinatorial_folds
    >>> folds = combinatorial_folds(12, n_groups=4, n_test=2, purge=1, embargo=1)
    >>> len(folds.splits), folds.n_paths
    (6, 3)
    >>> print(*folds.splits[1].train)
    Bars(start=4, stop=5) Bars(start=10, stop=12)
    >>> print(*folds.segments(0)[:2])
    Segment(split=0, start=0, stop=3) Segment(split=0, start=3, stop=6)
    """
    n_bars = _whole("n_bars", n_bars, least=1)
    n_groups = _whole("n_groups", n_groups, least=2)
    n_test = _whole("n_test", n_test, least=1)
    before = _whole("purge", purge, least=0)
    after = _whole("embargo", embargo, least=0)
    if n_test >= n_groups:
        msg = f"n_test must be less than n_groups={n_groups}, got {n_test}."
        raise ConfigError(msg)
    if n_groups > n_bars:
        msg = f"n_groups must be at most n_bars={n_bars}, got {n_groups}."
        raise ConfigError(msg)
    n_splits = math.comb(n_groups, n_test)
    if n_splits > MAX_SPLITS:
        msg = (
            f"n_groups={n_groups} and n_test={n_test} have {n_splits:,} splits, more "
            f"than {MAX_SPLITS:,}.\nHint: take fewer groups."
        )
        raise ConfigError(msg)
    size, n_longer = divmod(n_bars, n_groups)
    edges = [g * size + min(g, n_longer) for g in range(n_groups + 1)]
    groups = tuple(itertools.starmap(Bars, itertools.pairwise(edges)))
    splits = []
    paths = [[-1] * n_groups for _ in range(n_splits * n_test // n_groups)]
    n_seen = [0] * n_groups
    for i, chosen in enumerate(itertools.combinations(range(n_groups), n_test)):
        test = tuple(groups[g] for g in chosen)
        training = _between(test, n_bars, before, after)
        if not training:
            msg = (
                f"nothing is left to train on when groups {chosen} of {n_bars} bars "
                f"are tested: purge={purge} and embargo={embargo} drop the rest.\n"
                "Hint: lower them, or n_groups."
            )
            raise ConfigError(msg)
        splits.append(CombinatorialSplit(chosen, test, training))
        for g in chosen:
            paths[n_seen[g]][g] = i
            n_seen[g] += 1
    return CombinatorialFolds(
        n_bars=n_bars,
        groups=groups,
        splits=tuple(splits),
        paths=tuple(map(tuple, paths)),
    )


def _between(
    tests: Sequence[Bars], n_bars: int, before: int, after: int
) -> tuple[Bars, ...]:
    """Return the bars outside of the tests, less some before and after each."""
    starts = [0, *(test.stop + after for test in tests)]
    stops = [*(test.start - before for test in tests), n_bars]
    pairs = zip(starts, stops, strict=True)
    return tuple(Bars(start, stop) for start, stop in pairs if start < stop)


def _mask(ranges: Sequence[Bars], n_bars: int) -> BoolVector:
    mask = np.zeros(n_bars, dtype=np.bool_)
    for start, stop in ranges:
        mask[start:stop] = True
    return mask


class _Calendar:
    """The bars, and what is so many windows after one of them."""

    def __init__(self, timestamps: pl.Series) -> None:
        dtype = timestamps.dtype
        if isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns":
            # Nanoseconds end in 2262; a window may reach beyond the data.
            timestamps = timestamps.cast(pl.Datetime("us", dtype.time_zone))
        self.timestamps = timestamps
        self.n_bars = timestamps.len()

    def after(
        self, start: int, moment: pl.Series | None, window: Window, count: int
    ) -> tuple[int, pl.Series | None]:
        """Return the bar so many windows after one, and the moment if they are time.

        The moment is the exact one at which a window of time ends; the bar is the first
        at or after it, or `n_bars`.  Without a moment, the time of the bar is meant.
        """
        if isinstance(window, int):
            bar = max(start + count * window, 0)
            return bar, moment if count == 0 else None
        if count == 0:
            return start, moment
        if moment is None:
            if start >= self.n_bars:
                return start, None
            moment = self.timestamps.slice(start, 1)
        number, unit = _parsed(window)
        reached = moment.dt.offset_by(f"{count * number}{unit}")
        bar = self.timestamps.search_sorted(reached, side="left")[0]
        return int(bar), reached

    def shown(self, bar: int) -> str:
        return show(self.timestamps[bar])


def _checked_timestamps(timestamps: pl.Series) -> pl.Series:
    if not isinstance(timestamps, pl.Series):
        msg = (
            f"timestamps must be a polars Series, got {type(timestamps).__name__}.\n"
            "Hint: panel.timestamps, or pl.Series(range(n_bars)) for bars alone."
        )
        raise SchemaError(msg)
    check_time_dtype(timestamps.name, timestamps.dtype, "timestamps")
    if timestamps.len() == 0:
        msg = "timestamps are empty: there is no bar to divide."
        raise SchemaError(msg)
    n_null = timestamps.null_count()
    if n_null:
        msg = f"timestamps must not be null, {n_null:,} {are(n_null)}."
        raise SchemaError(msg)
    values = timestamps.to_physical().to_numpy()
    late = np.flatnonzero(values[1:] <= values[:-1])
    if late.size:
        t = int(late[0])
        msg = (
            f"timestamps must be ascending without repeats: {late.size:,} "
            f"{are(late.size)} not, first "
            f"{show(timestamps[t + 1])} after {show(timestamps[t])}.\n"
            "Hint: one value per bar, as in panel.timestamps."
        )
        raise SchemaError(msg)
    return timestamps


def _checked_window(name: str, window: Window, bars: _Calendar) -> Window:
    if isinstance(window, bool) or not isinstance(window, (str, numbers.Integral)):
        msg = (
            f"{name} must be a number of bars or a duration such as '6mo', got "
            f"{window!r}."
        )
        raise ConfigError(msg)
    if not isinstance(window, str):
        return _whole(name, int(window), least=1)
    number, unit = _parsed(window, name)
    dtype = bars.timestamps.dtype
    if is_index_integer(dtype):
        msg = (
            f"{name}={window!r} needs dates, the times are {dtype}.\n"
            "Hint: give a number of bars."
        )
        raise ConfigError(msg)
    if unit == "h" and dtype == pl.Date:
        msg = (
            f"{name}={window!r} needs times within a day, the times are dates.\n"
            "Hint: give a number of bars or of days."
        )
        raise ConfigError(msg)
    first, last = bars.timestamps[0], bars.timestamps[-1]
    span = (last - first) / timedelta(days=1)
    # Longer than the data is longer than the data; the calendar has an end.
    return f"{min(number, math.ceil(span / DAYS[unit] * 2.0) + 2)}{unit}"


def _parsed(window: str, name: str = "window") -> tuple[int, str]:
    found = re.fullmatch(r"\s*(\d+)\s*([a-z]+)\s*", window)
    if found is None or found[2] not in DAYS or int(found[1]) == 0:
        is_month = found is not None and found[2] in ("m", "min", "month", "months")
        hint = (
            "months are 'mo'"
            if is_month
            else "a number from 1 and a unit, as '5y', '6mo', '12w' or '30d'"
        )
        msg = f"{name} is no duration: {window!r}.\nHint: {hint}."
        raise ConfigError(msg)
    return int(found[1]), found[2]


def _whole(name: str, value: int, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        msg = f"{name} must be a whole number of bars, got {value!r}."
        raise ConfigError(msg)
    if value < least:
        msg = f"{name} must be at least {least}, got {value!r}."
        raise ConfigError(msg)
    return int(value)
