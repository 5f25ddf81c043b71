"""The cash rule: all opening buys of a bar shrink by one common factor."""

from __future__ import annotations

import math

from barloop._jit import subkernel
from barloop._kernels.buffers import (
    BUYS,
    FINAL_QUANTITY,
    RANKS,
    WAITING,
    WAITING_ORDER,
    WAITING_QUANTITY,
    Book,
    Log,
)
from barloop._kernels.tolerances import CASH_MARGIN, INTEGER_TOLERANCE, NOTICEABLE
from barloop.enums import AssetField, BarField, Option, OrderField, Reason, Rounding
from barloop.typing import FloatBlock, FloatPanel, FloatVector, Index

FRACTIONAL = float(Rounding.FRACTIONAL)
BISECTIONS = 64
"""Halvings of [0, 1]: more than the bits of a float64 fraction."""


@subkernel
def buy_cost(
    quantity: float,  # units, >= 0
    base: float,  # currency per unit
    options: FloatVector,
) -> float:
    """Return the cash that a buy takes, slippage and commission included."""
    if quantity == 0.0:
        return 0.0
    value = quantity * (base * (1.0 + options[Option.SLIPPAGE_RATE]))
    commission = value * options[Option.COMMISSION_RATE]
    minimum = options[Option.COMMISSION_MINIMUM]
    total: float = value + (commission if commission > minimum else minimum)
    return total


@subkernel
def affordable_factor(
    t: Index,
    available: float,  # currency above the floor, before the opening buys
    factor: float,  # an upper bound, not above 1
    n_buys: Index,
    price: FloatPanel,  # (n_bars, n_assets) fill prices
    options: FloatVector,
    state: Book,
) -> float:
    """Return the largest factor that cash can pay with a minimum commission.

    The minimum makes the cost jump at 0 and bend above it, so halve the interval.
    """
    position = state.floats[AssetField.POSITION]
    waiting = state.lists[WAITING]
    wanted = state.floats[WAITING_QUANTITY]
    buys = state.lists[BUYS]
    low, high = 0.0, factor
    for step in range(BISECTIONS + 1):
        middle = high if step == 0 else 0.5 * (low + high)
        cost = 0.0
        for b in range(n_buys):
            k = buys[b]
            i = waiting[k]
            cover = -position[i] if position[i] < 0.0 else 0.0
            quantity = cover + middle * (wanted[k] - cover)
            cost += buy_cost(quantity, price[t, i], options)
        if cost <= available * (1.0 - CASH_MARGIN):
            low = middle
            if step == 0:
                break
        elif step > 0:
            high = middle
    return low


@subkernel
def hand_out_lots(
    t: Index,
    available: float,  # currency above the floor, before the opening buys
    factor: float,
    n_buys: Index,
    price: FloatPanel,  # (n_bars, n_assets) fill prices
    options: FloatVector,
    state: Book,
) -> None:
    """Floor the scaled opening parts to lots; what is left buys a lot more per name.

    Writes the row FINAL_QUANTITY, by place in the waiting list.
    """
    position = state.floats[AssetField.POSITION]
    waiting = state.lists[WAITING]
    wanted = state.floats[WAITING_QUANTITY]
    final = state.floats[FINAL_QUANTITY]
    buys = state.lists[BUYS]
    rank = state.codes[RANKS]
    lot = options[Option.LOT_SIZE]
    left = available + CASH_MARGIN * abs(available)
    for b in range(n_buys):
        k = buys[b]
        i = waiting[k]
        cover = -position[i] if position[i] < 0.0 else 0.0
        exact = factor * (wanted[k] - cover) / lot
        lots = math.floor(exact)
        final[k] = cover + lots * lot
        left -= buy_cost(final[k], price[t, i], options)
        # Remainders in millionths, so that rounding cannot break a tie; among
        # equals the earlier asset has the larger key.
        remainder = math.floor((exact - lots) / INTEGER_TOLERANCE + 0.5)
        rank[b] = remainder * n_buys + (n_buys - 1 - b)

    # Largest first (Shell, 1959): numpy's sorts cost seconds of compile time.
    gap = n_buys // 2
    while gap > 0:
        for a in range(gap, n_buys):
            value = rank[a]
            b = a
            while b >= gap and rank[b - gap] < value:
                rank[b] = rank[b - gap]
                b -= gap
            rank[b] = value
        gap //= 2

    for r in range(n_buys):
        k = buys[n_buys - 1 - rank[r] % n_buys]
        base = price[t, waiting[k]]
        if final[k] + lot <= wanted[k] + INTEGER_TOLERANCE * lot:
            more = buy_cost(final[k] + lot, base, options)
            more -= buy_cost(final[k], base, options)
            if more <= left:
                final[k] += lot
                left -= more


@subkernel
def size_opening_buys(
    t: Index,
    floor: float,  # currency
    n_buys: Index,
    price: FloatPanel,  # (n_bars, n_assets) fill prices
    options: FloatVector,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
) -> None:
    """Shrink the opening buys of the bar to what cash can pay, all alike.

    Reads the places in ``lists[BUYS]``, writes their row FINAL_QUANTITY.
    """
    position = state.floats[AssetField.POSITION]
    waiting = state.lists[WAITING]
    order_of = state.codes[WAITING_ORDER]
    wanted = state.floats[WAITING_QUANTITY]
    final = state.floats[FINAL_QUANTITY]
    buys = state.lists[BUYS]
    rate = options[Option.COMMISSION_RATE]
    slipped = 1.0 + options[Option.SLIPPAGE_RATE]
    minimum = options[Option.COMMISSION_MINIMUM]
    # Try the whole of it with the arithmetic of the books: what fits is not touched.
    left = state.cash[0]
    needed = 0.0
    reserved = 0.0
    for b in range(n_buys):
        k = buys[b]
        i = waiting[k]
        paid = price[t, i] * slipped
        traded = wanted[k] * paid
        commission = traded * rate
        left -= traded + (commission if commission > minimum else minimum)
        cover = -position[i] if position[i] < 0.0 else 0.0
        needed += (wanted[k] - cover) * paid
        reserved += cover * paid
    if left >= floor:
        return

    available = state.cash[0] - floor
    factor = (available / (1.0 + rate) - reserved) / needed
    factor = (factor if factor < 1.0 else 1.0) * (1.0 - CASH_MARGIN)
    factor = factor if factor > 0.0 else 0.0
    if minimum > 0.0:
        factor = affordable_factor(t, available, factor, n_buys, price, options, state)
    if factor <= NOTICEABLE:
        # What an earlier cut left over buys no dust.
        factor = 0.0
    whole = options[Option.ROUNDING] != FRACTIONAL
    if whole:
        hand_out_lots(t, available, factor, n_buys, price, options, state)
    least = options[Option.MIN_TRADE_VALUE]
    noticeable = factor < 1.0 - NOTICEABLE
    if noticeable and factor < bars[BarField.SCALE, t]:
        bars[BarField.SCALE, t] = factor
    for b in range(n_buys):
        k = buys[b]
        i = waiting[k]
        cover = -position[i] if position[i] < 0.0 else 0.0
        if not whole:
            final[k] = cover + factor * (wanted[k] - cover)
        if noticeable:
            reasons = 1 << Reason.SCALED_TO_CASH
            if final[k] > cover and final[k] * price[t, i] < least:
                final[k] = cover
                reasons |= 1 << Reason.BELOW_MIN_TRADE_VALUE
            if order_of[k] >= 0:
                log.codes[OrderField.REASONS, order_of[k]] |= reasons
