"""Returns of many sets in one block: checked, and walked a few sets at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from barloop.errors import ConfigError, SchemaError
from barloop.numerics import risk_free_per_bar
from barloop.typing import BoolVector, FloatBlock, FloatVector

ROUNDING = 16 * float(np.finfo(np.float64).eps)
"""Returns are differences from 1: this much of a difference may be rounding alone."""

ROOM = 1 << 17
"""Values in one work array, 1 MB: small enough for a processor's cache."""


def returns_block(
    returns: npt.ArrayLike,
    *,
    least_bars: int,
    least_sets: int = 1,
    hint: str = "one row per bar, one column per set",
) -> FloatBlock:
    """Return the returns of many sets as an array, or raise SchemaError.

    Parameters
    ----------
    returns : array of shape (n_bars, n_sets)
        Simple returns, one column per set.  A memory-mapped float64 array is not read
        into memory.
    least_bars, least_sets : int
        What the caller needs.
    hint : str
        What to do when there are fewer, without a full stop.

    Returns
    -------
    ndarray of shape (n_bars, n_sets)
        Finite; the array itself when it is float64 already.

    Raises
    ------
    SchemaError
        If the shape does not fit or a value is NaN or infinite.
    """
    block = np.asarray(returns, dtype=np.float64)
    if block.ndim != 2:
        msg = (
            "returns must have two dimensions, bars by sets, got an array of shape "
            f"{block.shape}.\nHint: returns[:, None] makes one series a block."
        )
        raise SchemaError(msg)
    n_bars, n_sets = block.shape
    if n_bars < least_bars or n_sets < least_sets:
        sets = "1 set" if least_sets == 1 else f"{least_sets} sets"
        msg = (
            f"returns must have at least {least_bars} bars and {sets}, got "
            f"an array of shape {block.shape}.\nHint: {hint}."
        )
        raise SchemaError(msg)
    step = max(1, ROOM // n_sets)
    for start in range(0, n_bars, step):
        is_finite = np.isfinite(block[start : start + step])
        if not is_finite.all():
            t, k = np.argwhere(~is_finite)[0]
            n_bad = sum(
                int(np.count_nonzero(~np.isfinite(block[at : at + step])))
                for at in range(start, n_bars, step)
            )
            is_or_are = "value is" if n_bad == 1 else "values are"
            msg = (
                f"returns must be finite: {n_bad:,} {is_or_are} not, first at bar "
                f"{start + t}, set {k}, value {float(block[start + t, k])!r}.\n"
                "Hint: leave out sets that failed, and bars before all sets trade."
            )
            raise SchemaError(msg)
    return block


def sets_by_row(
    block: FloatBlock, room: int = ROOM
) -> Iterator[tuple[slice, FloatBlock]]:
    """Walk over the sets, a few at a time, each as one contiguous row.

    Numpy sums a contiguous row pairwise, whatever the layout of the block and the
    number of its sets; so the last bits of a sum depend on nothing but the set.

    Parameters
    ----------
    block : array of shape (n_bars, n_sets)
        Any layout.
    room : int
        Number of values in a work array.

    Yields
    ------
    sets : slice
        Which sets.
    rows : ndarray of shape (number of these sets, n_bars)
        A copy, free to be written.
    """
    n_bars, n_sets = block.shape
    step = max(1, room // n_bars)
    for start in range(0, n_sets, step):
        sets = slice(start, min(start + step, n_sets))
        yield sets, np.array(block[:, sets].T, order="C")


def is_constant(rows: FloatBlock) -> BoolVector:
    """Tell of each row whether its values are equal but for rounding.

    Parameters
    ----------
    rows : array of shape (n_sets, n_bars)
        Returns.

    Notes
    -----
    The returns of an account that only earns interest differ in their last bits.  The
    ratio of their mean to their deviation is 1e13 and says nothing.
    """
    highest = np.maximum.reduce(rows, axis=1)
    lowest = np.minimum.reduce(rows, axis=1)
    scale = np.maximum(np.maximum(np.abs(highest), np.abs(lowest)), 1.0)
    constant: BoolVector = highest - lowest <= ROUNDING * scale
    return constant


def rate_per_bar(risk_free: float, bars_per_year: float | None) -> float:
    """Return what an annual rate earns in one bar; the rate 0 needs no year.

    Parameters
    ----------
    risk_free : float
        Annual rate, a fraction.
    bars_per_year : float or None
        Number of bars in a year.

    Raises
    ------
    ConfigError
        If the rate is not 0 and the number of bars is missing.
    """
    if bars_per_year is not None:
        return risk_free_per_bar(risk_free, bars_per_year)
    if risk_free == 0.0:
        return 0.0
    msg = (
        f"risk_free={risk_free!r} is an annual rate and needs bars_per_year.\n"
        "Hint: add bars_per_year=252 for daily bars."
    )
    raise ConfigError(msg)


def mean_of(values: FloatVector) -> float:
    """Return the mean, summed in ascending order so that the order does not matter."""
    return float(np.add.reduce(np.sort(values))) / values.size
