"""Weights of chosen assets, bar by bar; what a choice is, `ranking` says.

A bar that names assets but chooses none gets one weight of 0: close everything.
"""

from __future__ import annotations

from barloop._jit import kernel
from barloop._kernels.ranking import rank_values
from barloop.typing import BoolVector, FloatPanel, FloatVector, IndexVector, IntVector


@kernel
def weigh_equally(
    start: IntVector,  # (n_rows + 1,) a choice
    asset: IndexVector,
    others: BoolVector,  # (n_rows,)
    gross: float,
    start_out: IntVector,  # (n_rows + 1,) first weight of each bar
    asset_out: IndexVector,  # (n_chosen + n_rows,)
    weight_out: FloatVector,  # (n_chosen + n_rows,)
) -> None:
    """Give the chosen of each bar the same weight."""
    k = 0
    start_out[0] = 0
    for j in range(others.size):
        n = start[j + 1] - start[j]
        share = gross / n if n > 0 else 0.0
        for c in range(start[j], start[j + 1]):
            asset_out[k] = asset[c]
            weight_out[k] = share
            k += 1
        if n == 0 and others[j]:
            asset_out[k] = 0
            weight_out[k] = 0.0
            k += 1
        start_out[j + 1] = k


@kernel
def weigh_by_rank(
    start: IntVector,  # (n_rows + 1,) a choice
    asset: IndexVector,
    others: BoolVector,  # (n_rows,)
    score: FloatPanel,  # (n_rows, n_assets)
    gross: float,
    value: FloatVector,  # (n_assets,) work space
    heap: IntVector,  # (n_assets,) work space
    rank: FloatVector,  # (n_assets,) work space
    start_out: IntVector,  # (n_rows + 1,)
    asset_out: IndexVector,  # (n_chosen + n_rows,)
    weight_out: FloatVector,  # (n_chosen + n_rows,)
) -> None:
    """Weigh the chosen that have a score in proportion to their rank, lowest 1."""
    k = 0
    start_out[0] = 0
    for j in range(others.size):
        row = score[j]
        first = k
        for c in range(start[j], start[j + 1]):
            if row[asset[c]] == row[asset[c]]:
                asset_out[k] = asset[c]
                value[k - first] = row[asset[c]]
                k += 1
        n = k - first
        rank_values(value, n, heap, rank)
        for p in range(n):
            weight_out[first + p] = gross * rank[p] / (n * (n + 1.0) / 2.0)
        if n == 0 and others[j]:
            asset_out[k] = 0
            weight_out[k] = 0.0
            k += 1
        start_out[j + 1] = k


@kernel
def weigh_inversely(
    start: IntVector,  # (n_rows + 1,) a choice
    asset: IndexVector,
    others: BoolVector,  # (n_rows,)
    volatility: FloatPanel,  # (n_rows, n_assets)
    gross: float,
    start_out: IntVector,  # (n_rows + 1,)
    asset_out: IndexVector,  # (n_chosen + n_rows,)
    weight_out: FloatVector,  # (n_chosen + n_rows,)
) -> None:
    """Weigh the chosen by 1 / volatility, leaving out those without one."""
    k = 0
    start_out[0] = 0
    for j in range(others.size):
        row = volatility[j]
        first = k
        total = 0.0
        for c in range(start[j], start[j + 1]):
            inverse = 1.0 / row[asset[c]]
            if 0.0 < inverse < float("inf"):
                total += inverse
                asset_out[k] = asset[c]
                weight_out[k] = gross * inverse
                k += 1
        for p in range(first, k):
            weight_out[p] /= total
        if k == first and others[j]:
            asset_out[k] = 0
            weight_out[k] = 0.0
            k += 1
        start_out[j + 1] = k


@kernel
def subtract_weights(
    start: IntVector,  # (n_rows + 1,) weights to subtract from
    asset: IndexVector,
    weight: FloatVector,
    short_start: IntVector,  # (n_rows + 1,) weights to subtract
    short_asset: IndexVector,
    short_weight: FloatVector,
    start_out: IntVector,  # (n_rows + 1,)
    asset_out: IndexVector,  # (both together,)
    weight_out: FloatVector,
) -> None:
    """Subtract weights from weights, asset by asset."""
    k = 0
    start_out[0] = 0
    for j in range(start.size - 1):
        p, q = start[j], short_start[j]
        while p < start[j + 1] or q < short_start[j + 1]:
            take = p < start[j + 1] and (
                q == short_start[j + 1] or asset[p] <= short_asset[q]
            )
            value = weight[p] if take else 0.0
            chosen = asset[p] if take else short_asset[q]
            if q < short_start[j + 1] and short_asset[q] == chosen:
                value -= short_weight[q]
                q += 1
            if take:
                p += 1
            asset_out[k] = chosen
            weight_out[k] = value
            k += 1
        start_out[j + 1] = k


@kernel
def place_rows(
    start: IntVector,  # (n_rows + 1,)
    bars: IntVector,  # (n_rows,) ascending
    weight: FloatVector,
    row_start_out: IntVector,  # (n_bars + 1,)
) -> bool:
    """Spread rows over all bars; tell whether every weight is finite."""
    t = 0
    for j in range(bars.size):
        while t <= bars[j]:
            row_start_out[t] = start[j]
            t += 1
    while t < row_start_out.size:
        row_start_out[t] = start[bars.size]
        t += 1
    finite = True
    for k in range(start[bars.size]):
        finite &= abs(weight[k]) < float("inf")
    return finite
