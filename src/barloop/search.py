"""Sets drawn from a space of parameters: at random, or as a Latin hypercube."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from barloop.errors import ConfigError
from barloop.spaces import Axis, Choices, Integers, Uniform, read_space, sets_frame
from barloop.typing import BoolVector, FloatBlock, FloatVector, IntBlock, IntVector

__all__ = ["Integers", "Uniform", "latin_hypercube", "random_search"]

_ENUMERABLE = 65_536
"""A space of at most this many sets is drawn from a list of all of them."""

_ROUNDS = 100
_EXCHANGES = 20_000


def random_search(space: Mapping[str, Any], n: int, *, seed: int) -> pl.DataFrame:
    """Draw sets at random, no two of them equal.

    Parameters
    ----------
    space : dict
        What each parameter may be; dotted names reach into the configuration:

        - a list, range or array: one of these values, of any type;
        - ``(low, high)``, two integers: as `Integers`, both bounds included;
        - ``(low, high)`` with a float: as `Uniform`;
        - an `Integers` or a `Uniform`, which know a logarithmic scale.
    n : int
        How many sets.
    seed : int
        The same seed gives the same sets.

    Returns
    -------
    DataFrame
        One row per set and one column per parameter, as `sweep` accepts it.  A list of
        values that polars has no common type for, or with a None, is a column of
        objects.

    Raises
    ------
    ConfigError
        If the space is not one, or has fewer than `n` different sets.

    See Also
    --------
    latin_hypercube : Covers the range of each parameter evenly.

    Notes
    -----
    Parameters are independent.  A set that was drawn before is drawn again, so the sets
    are a sample without replacement.  More sets with the same space and seed begin with
    those of fewer: a search can go on where it stopped.

    Examples
    --------
    >>> space = {"lookback": (20, 250), "commission.bps": Uniform(1, 100, log=True)}
    >>> sets = random_search(space, 50, seed=1)
    >>> sets.shape, sets.head(20).equals(random_search(space, 20, seed=1))
    ((50, 2), True)
    """
    axes = read_space(space)
    n, rng = _number_of_sets(n, axes), _generator(seed)
    n_all = _n_all(axes)
    if n_all is not None and n_all <= _ENUMERABLE:
        counted = [axis for axis in axes if not isinstance(axis, Uniform)]
        return sets_frame(space, axes, _shuffled(counted, n_all, rng)[:, :n])
    return sets_frame(space, axes, _first_distinct(axes, n, rng))


def latin_hypercube(space: Mapping[str, Any], n: int, *, seed: int) -> pl.DataFrame:
    """Draw sets that cover the range of every parameter evenly.

    Parameters
    ----------
    space : dict
        As for `random_search`.
    n : int
        How many sets.
    seed : int
        The same seed gives the same sets.

    Returns
    -------
    DataFrame
        As from `random_search`.

    Raises
    ------
    ConfigError
        If the space is not one, or has fewer than `n` different sets.

    Notes
    -----
    The range of each parameter is cut into `n` strata of equal probability, and each
    stratum holds exactly one set; which strata meet in a set is random.  Of a list or
    of integers each value comes ``n`` times its probability, rounded up or down where
    that is not whole.

    Where values are few, sets may coincide; exchanging values between sets, which
    leaves the strata as they are, makes them distinct then, as far as some thousand
    trials can.  What is left is told by `sweep`.  More sets are other sets.

    References
    ----------
    M. D. McKay, R. J. Beckman and W. J. Conover, "A comparison of three methods for
    selecting values of input variables in the analysis of output from a computer code",
    Technometrics 21 (1979).

    Examples
    --------
    >>> sets = latin_hypercube({"n": [5, 10], "threshold": (0.0, 1.0)}, 4, seed=1)
    >>> sorted(sets["n"].to_list()), sorted((sets["threshold"] * 4).floor().to_list())
    ([5, 5, 10, 10], [0.0, 1.0, 2.0, 3.0])
    """
    axes = read_space(space)
    n, rng = _number_of_sets(n, axes), _generator(seed)
    values = []
    for axis in axes:
        # Values that can be counted share one offset: then how often each of them
        # comes is n times its probability, rounded up or down.
        within = rng.random(n if axis.n_values is None else 1)
        u = (rng.permutation(n) + within) / n
        # The last stratum may round up to 1.
        values.append(axis.values(np.minimum(u, np.nextafter(1.0, 0.0))))
    n_all = _n_all(axes)
    if n_all is not None:
        _part_equal_sets(values, rng)
        if n_all <= _ENUMERABLE:
            numbers = [axis.n_values or 0 for axis in axes]
            _part_in_full_space(values, numbers, rng)
    return sets_frame(space, axes, values)


def _number_of_sets(n: Any, axes: list[Axis]) -> int:
    if isinstance(n, bool) or not hasattr(n, "__index__") or operator.index(n) < 1:
        msg = f"n must be a positive number of sets, got {n!r}."
        raise ConfigError(msg)
    n_all = _n_all(axes)
    if n_all is not None and n > n_all:
        msg = (
            f"the space has {n_all:,} different sets, n={n:,} were asked for.\n"
            "Hint: lower n, or sweep the whole grid."
        )
        raise ConfigError(msg)
    return operator.index(n)


def _generator(seed: Any) -> np.random.Generator:
    if isinstance(seed, bool) or not hasattr(seed, "__index__") or seed < 0:
        msg = f"seed must be an integer, 0 or above, got {seed!r}."
        raise ConfigError(msg)
    return np.random.default_rng(operator.index(seed))


def _n_all(axes: list[Axis]) -> int | None:
    """Return how many different sets there are; None if a parameter is a float."""
    numbers = [axis.n_values for axis in axes]
    if None in numbers:
        return None
    return math.prod(number or 0 for number in numbers)


def _shuffled(
    axes: list[Integers | Choices], n_all: int, rng: np.random.Generator
) -> IntBlock:
    """Return all sets in the order in which they would be drawn.

    Exponential waiting times divided by the probabilities, sorted, are the order of
    draws without replacement (Efraimidis and Spirakis, 2006).
    """
    blocks, weight, n_inside = [], np.ones(n_all), n_all
    for axis in axes:
        n_inside //= axis.n_values
        place = np.arange(n_all) // n_inside % axis.n_values
        weight *= axis.probabilities()[place]
        blocks.append(place + (axis.low if isinstance(axis, Integers) else 0))
    order = np.argsort(rng.standard_exponential(n_all) / weight, kind="stable")
    return np.stack(blocks)[:, order]


def _draws(
    axes: list[Axis], n: int, rng: np.random.Generator
) -> Iterator[list[FloatVector | IntVector]]:
    while True:
        u: FloatBlock = rng.random((n, len(axes)))
        yield [axis.values(u[:, j]) for j, axis in enumerate(axes)]


def _first_distinct(
    axes: list[Axis], n: int, rng: np.random.Generator
) -> list[FloatVector | IntVector]:
    drawn: list[Any] = []
    for more in _draws(axes, max(n, 1_024), rng):
        if drawn:
            more = [np.concatenate(pair) for pair in zip(drawn, more, strict=True)]
        kept = np.flatnonzero(~_repeats(more))
        drawn = [values[kept] for values in more]
        if kept.size >= n:
            break
    return [values[:n] for values in drawn]


def _repeats(values: list[Any]) -> BoolVector:
    """Mark the sets that repeat an earlier one."""
    order = np.lexsort(values)  # stable: of equal sets, the earliest comes first
    same = np.ones(order.size, dtype=np.bool_)
    same[:1] = False
    for one in values:
        ordered = one[order]
        same[1:] &= ordered[1:] == ordered[:-1]
    marks = np.empty_like(same)
    marks[order] = same
    return marks


def _part_equal_sets(values: list[Any], rng: np.random.Generator) -> None:
    """Exchange values of one parameter between sets, some hundred times at random."""
    n = values[0].size
    marks = _repeats(values)
    for _ in range(_ROUNDS):
        repeated = np.flatnonzero(marks)
        if repeated.size == 0:
            return
        one = values[rng.integers(len(values))]
        before = one.copy()
        # Each repeated set meets a set of its own: the exchange is a permutation.
        partners = rng.permutation(n)[: repeated.size]
        partners = partners[~marks[partners]]
        mine = repeated[: partners.size]
        one[mine], one[partners] = one[partners], one[mine]
        now = _repeats(values)
        if np.count_nonzero(now) <= repeated.size:
            marks = now
        else:
            one[:] = before


def _part_in_full_space(
    values: list[Any], numbers: list[int], rng: np.random.Generator
) -> None:
    """Exchange values so that each exchange parts two equal sets, where one can.

    For a space with few free places, where exchanges at random do not find them.
    """
    n = values[0].size
    strides = [math.prod(numbers[j + 1 :]) for j in range(len(numbers))]
    places = [one - one.min() for one in values]
    code = sum(place * stride for place, stride in zip(places, strides, strict=True))
    counts = np.bincount(code, minlength=math.prod(numbers))
    for _ in range(min(_EXCHANGES, _EXCHANGES * 1_000 // n)):
        repeated = np.flatnonzero(counts[code] > 1)
        if repeated.size == 0:
            return
        i = rng.choice(repeated)
        j = rng.integers(len(values))
        step = (values[j] - values[j][i]) * strides[j]
        free = (step != 0) & (counts[code[i] + step] == 0)
        both = free & (counts[code - step] == 0)
        # If no exchange makes both new sets distinct, one that moves the repetition
        # to another place may open a way.
        partners = np.flatnonzero(both if both.any() else free)
        if partners.size == 0:
            continue
        q = rng.choice(partners)
        np.subtract.at(counts, code[[i, q]], 1)
        values[j][[i, q]] = values[j][[q, i]]
        code[i] += step[q]
        code[q] -= step[q]
        np.add.at(counts, code[[i, q]], 1)
