"""Orders and choices of cross-sections, bar by bar.

A *choice* is sparse: the chosen assets of each bar, ascending, and whether others are
marked as not chosen.  Equal scores are ordered by asset, the earlier one first; NaN
has no place in any order.
"""

from __future__ import annotations

import numpy as np

from barloop._jit import kernel, subkernel
from barloop.typing import (
    BoolVector,
    FloatPanel,
    FloatVector,
    IndexBlock,
    IndexVector,
    IntVector,
)

N_BINS = 256
"""Bins of scores from the lowest to the highest."""
CROWD = 4096
"""Comparisons in the bin at the edge of the choice up to which bins pay."""
FEW = 256
"""Values up to which comparing each with each is faster than sorting."""


@subkernel
def sift_down(
    heap: IntVector,  # assets; a parent stands behind its children in the order
    root: int,
    stop: int,
    score: FloatVector,  # (n_assets,)
    sign: float,  # 1 for the highest first, -1 for the lowest
) -> None:
    """Move the asset at `root` down to its place."""
    asset = heap[root]
    value = sign * score[asset]
    while True:
        child = 2 * root + 1
        if child >= stop:
            break
        worst = sign * score[heap[child]]
        if child + 1 < stop:
            other = sign * score[heap[child + 1]]
            if other < worst or (other == worst and heap[child + 1] > heap[child]):
                child += 1
                worst = other
        if not (worst < value or (worst == value and heap[child] > asset)):
            break
        heap[root] = heap[child]
        root = child
    heap[root] = asset


@subkernel
def keep_best(
    score: FloatVector,  # (n_assets,)
    sign: float,  # 1 for the highest, -1 for the lowest
    n: int,
    heap: IntVector,  # (n,) or more; the last of the chosen comes first
) -> int:
    """Put the best `n` assets into a heap and return how many there are."""
    kept = 0
    for i in range(score.size):
        value = sign * score[i]
        if value != value:
            continue
        if kept < n:
            heap[kept] = i
            kept += 1
            if kept == n:
                for root in range(n // 2 - 1, -1, -1):
                    sift_down(heap, root, n, score, sign)
        elif value > sign * score[heap[0]]:
            heap[0] = i
            sift_down(heap, 0, n, score, sign)
    if kept < n:
        for root in range(kept // 2 - 1, -1, -1):
            sift_down(heap, root, kept, score, sign)
    return kept


@subkernel
def choose_by_bins(
    score: FloatVector,  # (n_assets,)
    sign: float,  # 1 for the highest, -1 for the lowest
    n: int,
    place: IntVector,  # (n_assets,) work: the bin of each asset, -1 for NaN
    inside: IntVector,  # (n_assets,) work: assets of the bin at the edge
    count: IntVector,  # (N_BINS,) zeros; work: assets of each bin
    chosen_out: BoolVector,  # (n_assets,) False; True where chosen
) -> bool:
    """Choose the best `n` assets by equal bins of their scores, in linear time.

    Return False, with nothing chosen, where bins do not tell enough scores apart: most
    are equal, or one is far from the others.  `keep_best` then chooses the same.
    """
    low, high, known = np.inf, -np.inf, 0
    for i in range(score.size):
        value = sign * score[i]
        if value == value:
            known += 1
            low = value if value < low else low
            high = value if value > high else high
    if known <= n:
        for i in range(score.size):
            chosen_out[i] = score[i] == score[i]
        return True
    scale = (N_BINS - 1) / (high - low)
    if not 0.0 < scale < np.inf:
        return False
    for i in range(score.size):
        value = sign * score[i]
        place[i] = -1
        if value == value:
            # A higher bin is a higher score: rounding keeps the order of products.
            place[i] = np.int64((value - low) * scale)
            count[place[i]] += 1
    edge = N_BINS - 1
    missing = n
    while count[edge] < missing:
        missing -= count[edge]
        edge -= 1
    if count[edge] * missing > CROWD:
        return False
    n_inside = 0
    for i in range(score.size):
        chosen_out[i] = place[i] > edge
        if place[i] == edge:
            inside[n_inside] = i
            n_inside += 1
    for _ in range(missing):
        best = -1
        for k in range(n_inside):
            i = inside[k]
            if not chosen_out[i]:
                if best < 0 or sign * score[i] > sign * score[best]:
                    best = i
        chosen_out[best] = True
    return True


@subkernel
def sort_heap(
    heap: IntVector,  # from `keep_best`; best first on return
    n: int,
    score: FloatVector,  # (n_assets,)
    sign: float,
) -> None:
    """Sort the assets of a heap."""
    for last in range(n - 1, 0, -1):
        asset = heap[0]
        heap[0] = heap[last]
        sift_down(heap, 0, last, score, sign)
        heap[last] = asset


@subkernel
def nth_highest(
    value: FloatVector,  # (n,) or more, no NaN; put into another order
    n: int,
    k: int,  # 0 for the highest
) -> float:
    """Find the value that would stand at place `k` if they were sorted."""
    low, high = 0, n - 1
    while low < high:
        pivot = value[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while value[i] > pivot:
                i += 1
            while value[j] < pivot:
                j -= 1
            if i <= j:
                value[i], value[j] = value[j], value[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    found: float = value[k]
    return found


@subkernel
def count_ranks(
    value: FloatVector,  # (n,)
    rank_out: IndexVector,  # (n,) or more, 0 for the highest
) -> None:
    """Rank values by comparing each with each, which runs on vector registers."""
    for p in range(value.size):
        own = value[p]
        before, after = value[:p], value[p:]
        rank = 0
        for q in range(before.size):
            rank += before[q] >= own
        for q in range(after.size):
            rank += after[q] > own
        rank_out[p] = rank


@subkernel
def average_ranks(
    order: IntVector,  # (n,) or more, positions from the highest value to the lowest
    n: int,
    value: FloatVector,  # value of each position
    rank_out: FloatVector,  # by position, 1 for the lowest; equals share their mean
) -> None:
    """Rank sorted values."""
    first = 0
    while first < n:
        stop = first + 1
        while stop < n and value[order[stop]] == value[order[first]]:
            stop += 1
        # Places first + 1 to stop from the top are ranks n - stop + 1 to n - first.
        shared = (2 * n - first - stop + 1) / 2.0
        for place in range(first, stop):
            rank_out[order[place]] = shared
        first = stop


@subkernel
def rank_values(
    value: FloatVector,  # (n,) or more, no NaN
    n: int,
    heap: IntVector,  # (n,) or more, work space
    rank_out: FloatVector,  # (n,) or more, 1 for the lowest; equals share their mean
) -> None:
    """Rank the first `n` values."""
    sort_heap(heap, keep_best(value[:n], 1.0, n, heap), value, 1.0)
    average_ranks(heap, n, value, rank_out)


@kernel
def order_assets(
    score: FloatPanel,  # (n_rows, n_assets) one row per bar
    sign: float,  # 1 for the highest first, -1 for the lowest
    value: FloatVector,  # (n_assets,) work space
    heap: IntVector,  # (depth,) work space
    n_scored_out: IntVector,  # (n_rows,) assets with a score
    asset_out: IndexBlock,  # (n_rows, depth) the first in the order, by asset
    rank_out: IndexBlock,  # (n_rows, depth) their ranks, 0 for the first
) -> None:
    """Find the first `depth` assets of each bar and their ranks."""
    depth = heap.size
    for j in range(score.shape[0]):
        row = score[j]
        assets, ranks = asset_out[j], rank_out[j]
        n = 0
        for i in range(row.size):
            if row[i] == row[i]:
                value[n] = sign * row[i]
                n += 1
        n_scored_out[j] = n
        least, n_equal = -np.inf, n
        if n > depth:
            least, n_equal = nth_highest(value, n, depth - 1), depth
            for k in range(n):
                n_equal -= value[k] > least
        k = 0
        for i in range(row.size):
            own = sign * row[i]
            if own > least or (own == least and n_equal > 0):
                n_equal -= own == least
                assets[k] = i
                value[k] = own
                k += 1
        if k <= FEW:
            count_ranks(value[:k], ranks)
        else:
            sort_heap(heap, keep_best(value[:k], 1.0, k, heap), value, 1.0)
            for r in range(k):
                ranks[heap[r]] = r


@kernel
def choose_first(
    n: int,
    n_scored: IntVector,  # (n_rows,) see `order_assets`
    asset: IndexBlock,  # (n_rows, depth), n <= depth unless all assets are there
    rank: IndexBlock,  # (n_rows, depth)
    start_out: IntVector,  # (n_rows + 1,) first chosen of each bar
    asset_out: IndexVector,  # (n_rows * n + 1,)
    others_out: BoolVector,  # (n_rows,) assets with a score are not chosen
) -> None:
    """Choose the first `n` of each bar."""
    k = 0
    start_out[0] = 0
    for j in range(n_scored.size):
        assets, ranks = asset[j], rank[j]
        for p in range(min(assets.size, n_scored[j])):
            # No branch, which could not be foreseen.
            asset_out[k] = assets[p]
            k += ranks[p] < n
        start_out[j + 1] = k
        others_out[j] = n_scored[j] > n


@kernel
def choose_marked(
    mark: FloatPanel,  # (n_rows, n_assets) 0 for no, NaN for neither
    start_out: IntVector,  # (n_rows + 1,)
    asset_out: IndexVector,  # (n_rows * n_assets,)
    others_out: BoolVector,  # (n_rows,)
) -> None:
    """Choose what a panel of booleans marks."""
    k = 0
    start_out[0] = 0
    for j in range(mark.shape[0]):
        others_out[j] = False
        for i in range(mark.shape[1]):
            value = mark[j, i]
            if value == 0.0:
                others_out[j] = True
            elif value == value:
                asset_out[k] = i
                k += 1
        start_out[j + 1] = k
