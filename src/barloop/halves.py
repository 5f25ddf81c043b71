"""Every way to split the bars in two halves, and how the best of one does in the other.

The engine of `barloop.overfitting.probability_of_backtest_overfitting`.  A ratio of a
half needs only the sums of its blocks, and a sum over any of 16 blocks is one of four
tables of 16 sums, one for each four blocks: nothing is sliced.  All additions are
element by element and in one order, so no bit depends on the place of a set or on the
number of threads, as it may with a matrix product.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from barloop.errors import ConfigError, SchemaError
from barloop.returns_block import ROOM, is_constant, sets_by_row
from barloop.typing import BoolVector, FloatBlock, FloatVector, IntBlock, IntVector

HalfMetric = Callable[[FloatBlock], npt.ArrayLike]
"""From returns (n_bars of a half, n_sets) to one number per set, higher is better."""

GROUP = 4
"""Blocks in one table of sums."""

FLAT = 1e-12
"""Share of the squares below which a variance is rounding: test_half_without_trades."""


class Winners(NamedTuple):
    """What became of the best set of each half, one value per partition."""

    logits: FloatVector
    selected: IntVector
    in_sample: FloatVector
    out_of_sample: FloatVector


class Pair(NamedTuple):
    """Some partitions; their mirror images swap the halves."""

    at: IntVector  # (n,) partitions
    mirror_at: IntVector  # (n,)
    chosen: FloatBlock  # (n, n_sets) ratio of the chosen half
    rest: FloatBlock  # (n, n_sets) ratio of the other half


def block_edges(n_bars: int, n_blocks: int) -> IntVector:
    """Return where blocks begin and end.

    Parameters
    ----------
    n_bars, n_blocks : int
        What is divided, and into how many.

    Returns
    -------
    ndarray of shape (n_blocks + 1,), int64
        Every bar lies in one block; the first ``n_bars % n_blocks`` have one bar more.
    """
    sizes = np.full(n_blocks, n_bars // n_blocks, dtype=np.int64)
    sizes[: n_bars % n_blocks] += 1
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


def partitions(n_blocks: int) -> IntBlock:
    """Return the blocks of the chosen half of each partition.

    Parameters
    ----------
    n_blocks : int
        Even.

    Returns
    -------
    ndarray of shape (n_partitions, n_blocks / 2), int64
        In lexicographic order, in which partition i and partition -1 - i are mirror
        images of each other.
    """
    half = n_blocks // 2
    flat = itertools.chain.from_iterable(itertools.combinations(range(n_blocks), half))
    return np.fromiter(flat, dtype=np.int64).reshape(-1, half)


def winners(
    returns: FloatBlock, n_blocks: int, metric: str | HalfMetric, rate: float
) -> Winners:
    """Find the best set of every half and its rank in the other half.

    Parameters
    ----------
    returns : array of shape (n_bars, n_sets)
        Simple returns, finite.
    n_blocks : int
        Even.
    metric : "sharpe", "mean" or callable
        What is best.
    rate : float
        Return per bar to be beaten.

    Returns
    -------
    Winners
        One value per partition, in the order of `partitions`; per bar.
    """
    if callable(metric):
        pairs = _pairs_of_callable(returns, n_blocks, metric)
    else:
        pairs = _pairs_of_sums(returns, n_blocks, metric, rate)
    n_partitions = math.comb(n_blocks, n_blocks // 2)
    found = Winners(
        logits=np.empty(n_partitions),
        selected=np.empty(n_partitions, np.int64),
        in_sample=np.empty(n_partitions),
        out_of_sample=np.empty(n_partitions),
    )
    for pair in pairs:
        _rank(found, pair.at, pair.chosen, pair.rest)
        _rank(found, pair.mirror_at, pair.rest, pair.chosen)
    return found


def _rank(found: Winners, at: IntVector, inside: FloatBlock, out: FloatBlock) -> None:
    n_sets = inside.shape[1]
    best = np.maximum.reduce(inside, axis=1)
    is_best = inside == best[:, None]
    # Of several that are best, the one that does worst outside: the order of the sets
    # must not matter.
    value = np.minimum.reduce(out, axis=1, where=is_best, initial=np.inf)
    is_equal = out == value[:, None]
    n_equal = np.count_nonzero(is_equal, axis=1)
    n_below = np.count_nonzero(out < value[:, None], axis=1)
    rank = n_below + (n_equal + 1) / 2.0  # 1 is the worst; equals share their ranks
    found.logits[at] = np.log(rank / (n_sets + 1 - rank))
    found.selected[at] = np.argmax(is_best & is_equal, axis=1)
    found.in_sample[at] = best
    found.out_of_sample[at] = value


def _pairs_of_sums(
    returns: FloatBlock, n_blocks: int, metric: str, rate: float
) -> Iterator[Pair]:
    n_bars, n_sets = returns.shape
    edges = block_edges(n_bars, n_blocks)
    centre, sums, squares = _block_sums(returns, edges)
    centre -= rate
    n_groups = -(-n_blocks // GROUP)
    sum_tables = _tables(sums)
    square_tables = _tables(squares)
    sizes = np.diff(edges).astype(np.float64)

    chosen = partitions(n_blocks)
    n_partitions = len(chosen)
    is_in = np.zeros((n_partitions // 2, n_blocks), dtype=np.int64)
    np.put_along_axis(is_in, chosen[: n_partitions // 2], 1, axis=1)
    n_in = np.add.reduce(is_in * sizes, axis=1)
    padded = np.zeros((len(is_in), n_groups * GROUP), dtype=np.int64)
    padded[:, :n_blocks] = is_in
    bits = 1 << np.arange(GROUP)
    codes = np.add.reduce(padded.reshape(-1, n_groups, GROUP) * bits, axis=2)
    padded[:, :n_blocks] = 1 - is_in
    codes_out = np.add.reduce(padded.reshape(-1, n_groups, GROUP) * bits, axis=2)

    step = max(1, ROOM // n_sets)
    work = np.empty((4, min(step, len(is_in)), n_sets))
    for start in range(0, len(is_in), step):
        at = np.arange(start, min(start + step, len(is_in)))
        total, square, inside, outside = work[:, : at.size]
        for group_codes, counts, ratios in (
            (codes[at], n_in[at], inside),
            (codes_out[at], n_bars - n_in[at], outside),
        ):
            _add_up(sum_tables, group_codes, total, ratios)
            if metric == "mean":
                np.divide(total, counts[:, None], out=ratios)
                np.add(ratios, centre, out=ratios)
            else:
                _add_up(square_tables, group_codes, square, ratios)
                _sharpe(total, square, counts[:, None], centre, ratios)
        yield Pair(at, n_partitions - 1 - at, inside, outside)


def _block_sums(
    returns: FloatBlock, edges: IntVector
) -> tuple[FloatVector, FloatBlock, FloatBlock]:
    """Return the mean of each set, and sums and squares of what is left, by block."""
    n_bars, n_sets = returns.shape
    n_blocks = edges.size - 1
    centre = np.empty(n_sets)
    sums = np.empty((n_blocks, n_sets))
    squares = np.empty((n_blocks, n_sets))
    for sets, rows in sets_by_row(returns):
        centre[sets] = np.add.reduce(rows, axis=1) / n_bars
        constant = is_constant(rows)
        rows -= centre[sets, None]
        rows[constant] = 0.0
        for b in range(n_blocks):
            part = rows[:, edges[b] : edges[b + 1]]
            sums[b, sets] = np.add.reduce(part, axis=1)
            squares[b, sets] = np.add.reduce(part * part, axis=1)
    return centre, sums, squares


def _tables(sums: FloatBlock) -> list[FloatBlock]:
    """Return, for each group of blocks, the sums over all of its subsets."""
    n_blocks, n_sets = sums.shape
    tables = []
    for first in range(0, n_blocks, GROUP):
        group = sums[first : first + GROUP]
        table = np.zeros((1 << len(group), n_sets))
        for j, of_block in enumerate(group):
            np.add(table[: 1 << j], of_block, out=table[1 << j : 2 << j])
        tables.append(table)
    return tables


def _add_up(
    tables: list[FloatBlock], codes: IntBlock, out: FloatBlock, work: FloatBlock
) -> None:
    np.take(tables[0], codes[:, 0], axis=0, out=out, mode="clip")
    for g in range(1, len(tables)):
        np.take(tables[g], codes[:, g], axis=0, out=work, mode="clip")
        np.add(out, work, out=out)


def _sharpe(
    total: FloatBlock,
    square: FloatBlock,
    count: FloatBlock,
    centre: FloatVector,
    out: FloatBlock,
) -> None:
    """Write mean over deviation, 0 where nothing varies; destroys its input."""
    np.divide(total, count, out=out)
    np.multiply(total, out, out=total)
    np.add(out, centre, out=out)
    np.subtract(square, total, out=total)  # sum of squares around the mean of the half
    np.multiply(square, FLAT, out=square)
    flat: BoolVector = total <= square
    has_flat = bool(flat.any())
    if has_flat:
        total[flat] = 1.0
    np.divide(total, count - 1.0, out=total)
    np.sqrt(total, out=total)
    np.divide(out, total, out=out)
    if has_flat:
        out[flat] = 0.0


def _pairs_of_callable(
    returns: FloatBlock, n_blocks: int, metric: HalfMetric
) -> Iterator[Pair]:
    n_bars = returns.shape[0]
    edges = block_edges(n_bars, n_blocks)
    block_of = np.repeat(np.arange(n_blocks), np.diff(edges))
    chosen = partitions(n_blocks)
    for i in range(len(chosen) // 2):
        is_in = np.isin(block_of, chosen[i])
        at = np.array([i])
        yield Pair(
            at,
            len(chosen) - 1 - at,
            _measured(metric, returns[is_in], i),
            _measured(metric, returns[~is_in], i),
        )


def _measured(metric: HalfMetric, half: FloatBlock, i: int) -> FloatBlock:
    n_sets = half.shape[1]
    values = np.asarray(metric(half), dtype=np.float64)
    if values.shape != (n_sets,):
        msg = (
            f"metric must return one number per set, shape ({n_sets},), for returns of "
            f"shape {half.shape}, got shape {values.shape}."
        )
        raise ConfigError(msg)
    if not np.isfinite(values).all():
        k = int(np.flatnonzero(~np.isfinite(values))[0])
        msg = (
            f"metric must be finite: it is {float(values[k])!r} for set {k} in a half "
            f"of partition {i}.\n"
            "Hint: return 0.0 where it is undefined."
        )
        raise SchemaError(msg)
    return values[None, :]
