"""Helpers of strategies on the rows of a long frame, group by group.

Groups are the rows of a timestamp, or those of an asset, in the order of the frame:
`order` lists the rows of the first group, then those of the second...
"""

from __future__ import annotations

from barloop._jit import kernel, subkernel
from barloop._kernels.ranking import keep_best, rank_values
from barloop._kernels.windows import fill_nan, rolling_mean, rolling_volatility
from barloop.typing import BoolVector, CodeVector, FloatVector, IntVector


@kernel
def order_groups(
    code: CodeVector,  # (n_rows,) number of the group of each row
    start_out: IntVector,  # (n_groups + 1,) 0 on entry; where each group begins
    place: IntVector,  # (n_groups,) work space
    order_out: IntVector,  # (n_rows,) rows by group, in their own order within each
) -> int:
    """Sort rows by group and return the size of the largest."""
    for row in range(code.size):
        start_out[code[row] + 1] += 1
    largest = 0
    for g in range(place.size):
        largest = max(largest, start_out[g + 1])
        start_out[g + 1] += start_out[g]
        place[g] = start_out[g]
    for row in range(code.size):
        g = code[row]
        order_out[place[g]] = row
        place[g] += 1
    return largest


@subkernel
def take(
    value: FloatVector,  # (n_rows,)
    order: IntVector,  # rows
    line_out: FloatVector,  # as many
) -> None:
    """Copy the values of some rows."""
    for k in range(line_out.size):
        line_out[k] = value[order[k]]


@subkernel
def put(
    line: FloatVector,
    order: IntVector,  # as many rows
    value_out: FloatVector,  # (n_rows,)
) -> None:
    """Copy values to some rows."""
    for k in range(line.size):
        value_out[order[k]] = line[k]


@kernel
def momentum_by_group(
    value: FloatVector,  # (n_rows,)
    order: IntVector,  # (n_rows,) by asset
    start: IntVector,  # (n_groups + 1,)
    lookback: int,
    skip: int,
    momentum_out: FloatVector,  # (n_rows,)
) -> None:
    """Compute momentum on every row."""
    fill_nan(momentum_out)
    for g in range(start.size - 1):
        for k in range(start[g] + lookback, start[g + 1]):
            later, earlier = value[order[k - skip]], value[order[k - lookback]]
            if value[order[k]] == value[order[k]]:
                momentum_out[order[k]] = later / earlier - 1.0


@kernel
def mean_by_group(
    value: FloatVector,  # (n_rows,)
    order: IntVector,  # (n_rows,) by asset
    start: IntVector,  # (n_groups + 1,)
    n_bars: int,
    line: FloatVector,  # (largest group,) work space
    mean: FloatVector,  # (largest group,) work space
    mean_out: FloatVector,  # (n_rows,)
) -> None:
    """Compute the mean of the last `n_bars` rows on every row."""
    for g in range(start.size - 1):
        n = start[g + 1] - start[g]
        rows = order[start[g] : start[g + 1]]
        take(value, rows, line[:n])
        rolling_mean(line[:n], n_bars, mean[:n])
        put(mean[:n], rows, mean_out)


@kernel
def volatility_by_group(
    value: FloatVector,  # (n_rows,)
    order: IntVector,  # (n_rows,) by asset
    start: IntVector,  # (n_groups + 1,)
    n_bars: int,
    line: FloatVector,  # (largest group,) work space
    mean: FloatVector,  # (largest group,) work space
    deviation: FloatVector,  # (largest group,) work space
    volatility_out: FloatVector,  # (n_rows,)
) -> None:
    """Compute the volatility of the last `n_bars` returns on every row."""
    for g in range(start.size - 1):
        n = start[g + 1] - start[g]
        rows = order[start[g] : start[g + 1]]
        take(value, rows, line[:n])
        rolling_volatility(line[:n], n_bars, mean[:n], deviation[:n])
        put(deviation[:n], rows, volatility_out)


@kernel
def choose_by_group(
    score: FloatVector,  # (n_rows,)
    order: IntVector,  # (n_rows,) by timestamp
    start: IntVector,  # (n_groups + 1,)
    n: int,
    sign: float,  # 1 for the highest, -1 for the lowest
    line: FloatVector,  # (largest group,) work space
    heap: IntVector,  # (n, or the largest group,) work space
    chosen_out: BoolVector,  # (n_rows,) False on entry
) -> None:
    """Mark the best `n` rows of each timestamp."""
    for g in range(start.size - 1):
        rows = order[start[g] : start[g + 1]]
        take(score, rows, line[: rows.size])
        kept = keep_best(line[: rows.size], sign, min(n, heap.size), heap)
        for k in range(kept):
            chosen_out[rows[heap[k]]] = True


@kernel
def rank_by_group(
    score: FloatVector,  # (n_rows,) NaN for rows that take no part
    order: IntVector,  # (n_rows,) by timestamp
    start: IntVector,  # (n_groups + 1,)
    gross: float,
    line: FloatVector,  # (largest group,) work space
    heap: IntVector,  # (largest group,) work space
    rank: FloatVector,  # (largest group,) work space
    weight_out: FloatVector,  # (n_rows,) NaN where the score is
) -> None:
    """Weigh the rows of each timestamp in proportion to the rank of their score."""
    for g in range(start.size - 1):
        n = 0
        for k in range(start[g], start[g + 1]):
            value = score[order[k]]
            if value == value:
                line[n] = value
                n += 1
        rank_values(line, n, heap, rank)
        p = 0
        for k in range(start[g], start[g + 1]):
            row = order[k]
            weight_out[row] = score[row]
            if score[row] == score[row]:
                weight_out[row] = gross * rank[p] / (n * (n + 1.0) / 2.0)
                p += 1
