"""The measures of `barloop.summary` in compiled code, for many runs without Python.

The same bits as numpy gives there, for the same orders of operations: sums are numpy's
pairwise ones.  `test_measures.py` proves it.
"""

from __future__ import annotations

import math

import numpy as np

from barloop._jit import kernel, subkernel
from barloop.enums import BarField
from barloop.typing import FloatBlock, FloatVector

BLOCK = 128
"""Values that numpy sums in one go, eight partial sums side by side."""
MEASURES = (
    "total_return",
    "cagr",
    "volatility",
    "sharpe",
    "sortino",
    "calmar",
    "max_drawdown",
    "max_drawdown_duration",
    "value_at_risk",
    "conditional_value_at_risk",
    "tail_ratio",
    "omega",
    "skew",
    "kurtosis",
    "hit_rate",
    "profit_factor",
    "best_return",
    "worst_return",
    "turnover",
    "mean_leverage",
    "time_in_market",
    "total_commission",
    "total_slippage",
    "total_carry",
    "total_deposits",
    "n_fills",
    "n_rebalances",
    "final_equity",
    "n_bars",
    "bars_per_year",
)
"""Names of the numbers that `measure` writes, in order."""
N_WORK = 5
"""Rows of work space that `measure` needs."""


@subkernel
def add_block(values: FloatVector, first: int, n: int) -> float:
    """Sum at most BLOCK values from `first` on in the order of numpy."""
    if n < 8:
        total = -0.0
        for k in range(n):
            total += values[first + k]
        return total
    a, b = values[first], values[first + 1]
    c, d = values[first + 2], values[first + 3]
    e, f = values[first + 4], values[first + 5]
    g, h = values[first + 6], values[first + 7]
    k = 8
    while k < n - n % 8:
        a += values[first + k]
        b += values[first + k + 1]
        c += values[first + k + 2]
        d += values[first + k + 3]
        e += values[first + k + 4]
        f += values[first + k + 5]
        g += values[first + k + 6]
        h += values[first + k + 7]
        k += 8
    total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    while k < n:
        total += values[first + k]
        k += 1
    return total  # type: ignore[no-any-return]


@subkernel
def add_up(values: FloatVector, first: int, n: int, stack: FloatVector) -> float:
    """Sum `n` values from `first` on, pairwise in the order of numpy.

    The halves wait on `stack`, four numbers each: a function that calls itself crashes
    when numba 0.68 loads it from its cache (`test_measures_from_a_warm_cache`).
    """
    if n <= BLOCK:
        return add_block(values, first, n)
    total = 0.0
    top = 0
    stack[0], stack[1], stack[2] = first, n, 0.0
    while top >= 0:
        at, size = int(stack[top]), int(stack[top + 1])
        half = size // 2
        half -= half % 8
        if size <= BLOCK:
            total = add_block(values, at, size)
            top -= 4
        elif stack[top + 2] == 0.0:
            stack[top + 2] = 1.0
            top += 4
            stack[top], stack[top + 1], stack[top + 2] = at, half, 0.0
        elif stack[top + 2] == 1.0:
            stack[top + 2] = 2.0
            stack[top + 3] = total
            top += 4
            stack[top], stack[top + 1] = at + half, size - half
            stack[top + 2] = 0.0
        else:
            total = stack[top + 3] + total
            top -= 4
    return total


@subkernel
def over(numerator: float, denominator: float) -> float:
    """Divide; NaN by 0."""
    return numerator / denominator if denominator != 0.0 else math.nan


@subkernel
def select(values: FloatVector, first: int, stop: int, k: int) -> None:
    """Reorder ``values[first:stop]`` so that place k is as in sorted order."""
    low, high = first, stop - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            return


@subkernel
def sort_first(values: FloatVector, n: int) -> None:
    """Sort the first n values, ascending, by heaps."""
    for build in range(2 * n):
        # The first n turns make the heap, the next n take its top off.
        if build < n:
            root, last = n - 1 - build, n
        else:
            root, last = 0, 2 * n - 1 - build
            values[0], values[last] = values[last], values[0]
        moved = values[root]
        child = 2 * root + 1
        while child < last:
            if child + 1 < last and values[child + 1] > values[child]:
                child += 1
            if values[child] <= moved:
                break
            values[root] = values[child]
            root = child
            child = 2 * root + 1
        values[root] = moved


@subkernel
def least_of(values: FloatVector, first: int, stop: int, otherwise: float) -> float:
    """Return the least of some values, or `otherwise` of none."""
    if first >= stop:
        return otherwise
    least = values[first]
    for k in range(first + 1, stop):
        least = min(least, values[k])
    return least  # type: ignore[no-any-return]


@kernel
def measure(
    bars: FloatBlock,  # (BarField, n_bars of the panel)
    first_bar: int,  # bars before are history
    initial_cash: float,
    bars_per_year: float,
    rate: float,  # risk-free return of one bar
    tail: float,  # probability of the tails
    n_fills: int,
    ruined: bool,  # noqa: FBT001
    work: FloatBlock,  # (N_WORK, n_bars of the panel) overwritten
    measures_out: FloatVector,  # (MEASURES,) NaN where undefined
) -> None:
    """Measure one run as `barloop.summary.summary` does."""
    equity = bars[BarField.EQUITY, first_bar:]
    deposits = bars[BarField.DEPOSITS, first_bar:]
    traded = bars[BarField.TRADED_VALUE, first_bar:]
    gross = bars[BarField.GROSS_EXPOSURE, first_bar:]
    decision = bars[BarField.DECISION, first_bar:]
    n_bars = equity.size
    returns, spare, cubes, path = work[0], work[1], work[2], work[3]
    stack = work[4]

    valid = not ruined
    n_held = 0
    n_decisions = 0
    has_deposits = False
    for t in range(n_bars):
        before = initial_cash if t == 0 else equity[t - 1]
        returns[t] = equity[t] / (before + deposits[t]) - 1.0
        if not abs(returns[t]) < math.inf:
            valid = False
        if gross[t] != 0.0:
            n_held += 1
        if deposits[t] != 0.0:
            has_deposits = True
        if decision[t] != 0.0:
            n_decisions += 1
    n = n_bars if valid else 0

    # Growth: the equity itself, or with deposits the product of the returns.
    start = initial_cash
    if has_deposits:
        start = 1.0
        growth = 1.0
        for t in range(n_bars):
            before = (initial_cash if t == 0 else equity[t - 1]) + deposits[t]
            if before > 0.0:
                growth *= equity[t] / before
            path[t] = growth
    else:
        for t in range(n_bars):
            path[t] = equity[t]
    growth = path[n_bars - 1] / start
    peak = start
    lowest_ratio = math.inf
    longest = 0
    below = 0
    for t in range(n_bars):
        peak = max(peak, path[t])
        lowest_ratio = min(lowest_ratio, path[t] / peak)
        below = 0 if path[t] >= peak else below + 1
        longest = max(longest, below)
    depth = min(lowest_ratio - 1.0, 0.0)

    nan = math.nan
    mean, deviation, skew, kurtosis, lowest, highest = nan, nan, nan, nan, nan, nan
    low, mean_below, high = nan, nan, nan
    profit, omega, sortino, hit_rate = nan, nan, nan, nan
    turnover, leverage, annual_growth = nan, nan, nan
    if n > 0:
        lowest, highest = returns[0], returns[0]
        n_wins, n_moves = 0, 0
        for t in range(n):
            lowest = min(lowest, returns[t])
            highest = max(highest, returns[t])
            n_wins += returns[t] > 0.0
            n_moves += returns[t] != 0.0
        hit_rate = over(float(n_wins), float(n_moves))
        mean = add_up(returns, 0, n, stack) / n
        if lowest == highest:
            deviation = 0.0 if n > 1 else nan
        else:
            for t in range(n):
                centred = returns[t] - mean
                spare[t] = centred * centred
                cubes[t] = centred * spare[t]
            sum_2 = add_up(spare, 0, n, stack)
            sum_3 = add_up(cubes, 0, n, stack)
            for t in range(n):
                spare[t] *= spare[t]
            sum_4 = add_up(spare, 0, n, stack)
            variance = sum_2 / n
            skew = over(sum_3 / n, variance * math.sqrt(variance))
            kurtosis = over(sum_4 / n, variance * variance) - 3.0
            deviation = math.sqrt(sum_2 / (n - 1))

        for t in range(n):
            spare[t] = max(returns[t], 0.0)
            cubes[t] = min(returns[t], 0.0)
        gains = add_up(spare, 0, n, stack)
        profit = over(gains, -add_up(cubes, 0, n, stack))
        gains_to_losses = profit
        if rate != 0.0:
            for t in range(n):
                excess = returns[t] - rate
                spare[t] = max(excess, 0.0)
                cubes[t] = min(excess, 0.0)
            gains_to_losses = over(
                add_up(spare, 0, n, stack), -add_up(cubes, 0, n, stack)
            )
        if n >= 2:
            omega = gains_to_losses
            for t in range(n):
                cubes[t] *= cubes[t]
            root = math.sqrt(add_up(cubes, 0, n, stack) / n)
            sortino = over(mean - rate, root) * math.sqrt(bars_per_year)
        if growth >= 0.0:
            annual_growth = growth ** (bars_per_year / n) - 1.0

        for t in range(n):
            spare[t] = traded[t] / equity[t]
            cubes[t] = gross[t] / equity[t]
        turnover = over(add_up(spare, 0, n, stack) / 2.0, float(n)) * bars_per_year
        leverage = over(add_up(cubes, 0, n, stack), float(n))

        for t in range(n):
            spare[t] = returns[t]
        low_at, high_at = (n - 1) * tail, (n - 1) * (1.0 - tail)
        i, j = int(low_at), int(high_at)
        select(spare, 0, n, i)
        low = spare[i]
        low_next = least_of(spare, i + 1, n, low)
        high, high_next = low, low_next
        if j > i:
            select(spare, i + 1, n, j)
            high = spare[j]
            high_next = least_of(spare, j + 1, n, high)
        sort_first(spare, i + 1)
        mean_below = add_up(spare, 0, i + 1, stack) / (i + 1)
        low += (low_next - low) * (low_at - i)
        high += (high_next - high) * (high_at - j)

    root = math.sqrt(bars_per_year)
    out = measures_out
    out[0] = growth - 1.0
    out[1] = annual_growth
    out[2] = deviation * root
    out[3] = over(mean - rate, deviation) * root
    out[4] = sortino
    out[5] = over(annual_growth, abs(depth))
    out[6] = depth
    out[7] = longest if depth == depth else nan
    out[8] = low
    out[9] = mean_below
    out[10] = over(abs(high), abs(low))
    out[11] = omega
    out[12] = skew
    out[13] = kurtosis
    out[14] = hit_rate
    out[15] = profit
    out[16] = highest
    out[17] = lowest
    out[18] = turnover
    out[19] = leverage
    out[20] = over(float(n_held), float(n_bars))
    for k in range(4):
        field = BarField.COMMISSION if k == 0 else BarField.SLIPPAGE
        if k >= 2:
            field = BarField.CARRY if k == 2 else BarField.DEPOSITS
        out[21 + k] = add_up(bars[field], first_bar, n_bars, stack)
    out[25] = n_fills
    out[26] = n_decisions
    out[27] = equity[n_bars - 1]
    out[28] = n_bars
    out[29] = bars_per_year
    for k in range(out.size):
        if not abs(out[k]) < math.inf:
            out[k] = np.nan
