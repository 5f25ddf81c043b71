"""Where values of a parameter lie on an axis of a chart, and how they are labelled."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from barloop.errors import ConfigError
from barloop.typing import FloatVector, IntVector

MAX_VALUES = 60
"""Values on one axis of a heatmap, at most: 3,600 cells."""

_FEW_VALUES = 12
_LOG_RATIO = 100.0
_NULL_AT = -0.1


@dataclass(frozen=True, kw_only=True)
class Places:
    """Hold the evenly spaced places of the values of one parameter.

    Attributes
    ----------
    labels : list of str
        One per place, ascending; all different.  The least value of a bin.
    place : array of shape (n_sets,), int64
        Place of each set.
    n_bins : int
        0 if every value has its own place.
    """

    labels: list[str]
    place: IntVector
    n_bins: int

    @property
    def equals(self) -> str:
        """What stands between the name and a label."""
        return " from " if self.n_bins else "="

    @classmethod
    def binned(cls, frame: pl.DataFrame, x: str, y: str) -> tuple[Places, Places]:
        """Place the values of two parameters, in bins where there are too many.

        Parameters
        ----------
        frame : DataFrame
            One row per set.
        x, y : str
            Two columns.

        Returns
        -------
        (Places, Places)
            Of `x` and `y`.

        Raises
        ------
        ConfigError
            If text has more than `MAX_VALUES` values.
        """
        n_sets = frame.height
        counts = [frame[name].n_unique() for name in (x, y)]
        is_sparse = n_sets < 0.3 * counts[0] * counts[1]
        n_bins = int(np.clip(math.sqrt(n_sets / 8), 4, 30))
        made = []
        for name, count in zip((x, y), counts, strict=True):
            too_many = count > MAX_VALUES or (is_sparse and count > n_bins)
            made.append(cls._of(frame[name], n_bins if too_many else None))
        return made[0], made[1]

    @classmethod
    def _of(cls, series: pl.Series, n_bins: int | None) -> Places:
        if series.dtype.is_float():
            series = series.fill_nan(None)
        distinct = series.drop_nulls().unique().sort()
        code = (series.rank("dense").cast(pl.Int64) - 1).fill_null(-1).to_numpy()
        in_bins = 0
        if n_bins is not None and series.dtype.is_numeric() and len(distinct) > n_bins:
            n_each = np.bincount(code[code >= 0])
            n_before = np.cumsum(n_each) - n_each
            bin_of = n_before * n_bins // n_each.sum()
            bin_of = np.unique(bin_of, return_inverse=True)[1]
            first = np.searchsorted(bin_of, np.arange(bin_of[-1] + 1))
            in_bins = first.size
            labels = [_short(value) for value in distinct[first]]
            code = np.where(code >= 0, bin_of[code], -1)
        else:
            labels = [_short(value) for value in distinct]
        if len(labels) > MAX_VALUES:
            msg = (
                f"{series.name!r} has {len(labels):,} values, a heatmap shows at most "
                f"{MAX_VALUES}.\nHint: choose another parameter."
            )
            raise ConfigError(msg)
        if series.null_count():
            labels.append("None")
            code = np.where(code < 0, len(labels) - 1, code)
        return cls(labels=_different(labels), place=code, n_bins=in_bins)


@dataclass(frozen=True, kw_only=True)
class Ticks:
    """Hold the positions of the values of one parameter on an axis from 0 to 1.

    Attributes
    ----------
    position : array of shape (n_sets,)
        Position of each set; below 0 for null.
    ticks : list of (float, str)
        Positions with a label.
    """

    position: FloatVector
    ticks: list[tuple[float, str]]


def ticks_of(series: pl.Series, *, to_scale: bool = False) -> Ticks:
    """Place values on an axis.

    Parameters
    ----------
    series : Series
        Numbers, text or flags.
    to_scale : bool, default False
        Draw numbers to scale however few they are, as those of a measure.

    Returns
    -------
    Ticks
        Text, and up to 12 numbers, evenly spaced; more numbers to scale, which is
        logarithmic if they are positive and the largest is 100 times the smallest.
    """
    if series.dtype.is_float():
        series = series.fill_nan(None)
    distinct = series.drop_nulls().unique().sort()
    ticks: list[tuple[float, str]]
    n_even = 1 if to_scale else _FEW_VALUES
    if series.dtype.is_numeric() and len(distinct) > n_even:
        values = series.cast(pl.Float64).fill_null(math.nan).to_numpy()
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        is_log = low > 0.0 and high >= _LOG_RATIO * low
        if is_log:
            marks = _log_marks(low, high)
            reach = math.log(high / low)
            position = np.log(values / low) / reach
            ticks = [(math.log(one / low) / reach, _short(one)) for one in marks]
        else:
            marks = _linear_marks(low, high)
            position = (values - low) / (high - low)
            ticks = [((one - low) / (high - low), _short(one)) for one in marks]
    else:
        code = (series.rank("dense").cast(pl.Float64) - 1.0).fill_null(math.nan)
        n = len(distinct)
        position = np.array(code) / max(n - 1, 1)
        step = 1 + (n - 1) // 25
        ticks = [(k / max(n - 1, 1), _short(distinct[k])) for k in range(0, n, step)]
    is_null = np.isnan(position)
    if is_null.any():
        position = np.where(is_null, _NULL_AT, position)
        ticks.append((_NULL_AT, "None"))
    return Ticks(position=position, ticks=ticks)


def _short(value: object) -> str:
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    return shown if len(shown) <= 24 else shown[:21] + "..."


def _different(labels: list[str]) -> list[str]:
    """Return labels with numbers behind those that would be equal."""
    seen: dict[str, int] = {}
    made = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        n = seen[label]
        made.append(label if n == 1 else f"{label} ({n})")
    return made


def _linear_marks(low: float, high: float) -> list[float]:
    """Return the ends and round numbers between them that leave them room."""
    span = high - low
    raw = span / 5
    unit = 10.0 ** math.floor(math.log10(raw))
    step = unit * min((1, 2, 5, 10), key=lambda one: abs(one * unit - raw))
    first, last = math.ceil(low / step), math.floor(high / step)
    inner = [float(k * step) for k in range(first, last + 1)]
    room = 0.06 * span
    return [low, *(one for one in inner if low + room < one < high - room), high]


def _log_marks(low: float, high: float) -> list[float]:
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    inner = [10.0**k for k in range(first, last + 1)]
    room = 0.06 * math.log(high / low)
    return [
        low,
        *(
            one
            for one in inner
            if math.log(one / low) > room and math.log(high / one) > room
        ),
        high,
    ]
