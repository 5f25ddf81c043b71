"""The cash rules: what becomes of buys that cash cannot pay."""

from __future__ import annotations

import math

from barloop._jit import subkernel
from barloop._kernels.buffers import (
    BUYS,
    CASH,
    FINAL_QUANTITY,
    RANKS,
    WAITING,
    WAITING_ORDER,
    WAITING_QUANTITY,
    Book,
    Log,
    OrderRules,
)
from barloop._kernels.costs import at, commission_of, outlay, slipped
from barloop._kernels.tolerances import (
    CASH_MARGIN,
    DUST,
    INTEGER_TOLERANCE,
    NOTICEABLE,
)
from barloop.enums import (
    AssetField,
    BarField,
    CashRule,
    Compat,
    Option,
    OrderField,
    Reason,
    Rounding,
)
from barloop.typing import FloatBlock, FloatPanel, FloatVector, Index

FRACTIONAL = float(Rounding.FRACTIONAL)
REJECT = float(CashRule.REJECT)
VECTORBT = float(Compat.VECTORBT)
BISECTIONS = 64
"""Halvings of [0, 1]: more than the bits of a float64 fraction."""


@subkernel
def affordable_factor(
    t: Index,
    available: float,  # currency above the floor, before the opening buys
    factor: float,  # an upper bound, not above 1
    n_buys: Index,
    price: FloatPanel,  # (n_bars, n_assets) fill prices
    options: FloatVector,
    state: Book,
    orders: OrderRules | None,
) -> float:
    """Return the largest factor that cash can pay where cost is not linear in it.

    A minimum makes the cost jump at 0 and bend above it, so halve the interval.
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
            cost += outlay(t, i, quantity, price[t, i], options, orders)
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
    orders: OrderRules | None,
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
        left -= outlay(t, i, final[k], price[t, i], options, orders)
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
        i = waiting[k]
        base = price[t, i]
        if final[k] + lot <= wanted[k] + INTEGER_TOLERANCE * lot:
            more = outlay(t, i, final[k] + lot, base, options, orders)
            more -= outlay(t, i, final[k], base, options, orders)
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
    orders: OrderRules | None,
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
    slip = 1.0 + options[Option.SLIPPAGE_RATE]
    minimum = options[Option.COMMISSION_MINIMUM]
    # Try the whole of it with the arithmetic of the books: what fits is not touched.
    left = state.money[CASH]
    needed = 0.0
    reserved = 0.0
    linear = minimum == 0.0
    over = False
    if orders is None:
        for b in range(n_buys):
            k = buys[b]
            i = waiting[k]
            paid = price[t, i] * slip
            traded = wanted[k] * paid
            commission = traded * rate
            left -= traded + (commission if commission > minimum else minimum)
            cover = -position[i] if position[i] < 0.0 else 0.0
            needed += (wanted[k] - cover) * paid
            reserved += cover * paid
    else:
        linear = options[Option.LINEAR_COSTS] != 0.0
        if math.isnan(rate):
            # Rates differ by asset or date.
            rate = 0.0
        over = options[Option.VOLUME_IMPACT] + options[Option.SQRT_IMPACT] > 0.0
        for b in range(n_buys):
            k = buys[b]
            i = waiting[k]
            if wanted[k] == 0.0:
                continue
            paid = slipped(t, i, wanted[k], price[t, i], options, orders)
            fee = commission_of(t, i, wanted[k], paid, options, orders)
            left -= wanted[k] * paid + fee
            over = over | (fee >= at(orders.costs.maximum, t, i))
            # Net of the common rate: with one rate for all the sums are those of the
            # lean loop, bit for bit.
            ratio = (1.0 + at(orders.costs.commission_rate, t, i)) / (1.0 + rate)
            unit = paid * ratio + at(orders.costs.per_share, t, i) / (1.0 + rate)
            cover = -position[i] if position[i] < 0.0 else 0.0
            needed += (wanted[k] - cover) * unit
            reserved += cover * unit
    if left >= floor or needed == 0.0:
        return

    available = state.money[CASH] - floor
    factor = (available / (1.0 + rate) - reserved) / needed
    factor = (factor if factor < 1.0 else 1.0) * (1.0 - CASH_MARGIN)
    factor = factor if factor > 0.0 else 0.0
    if not linear:
        if over:
            # With impact or a maximum the linear estimate is no upper bound.
            factor = 1.0 - CASH_MARGIN
        factor = affordable_factor(
            t, available, factor, n_buys, price, options, state, orders
        )
    if factor <= NOTICEABLE:
        # What an earlier cut left over buys no dust.
        factor = 0.0
    whole = options[Option.ROUNDING] != FRACTIONAL
    if whole:
        hand_out_lots(t, available, factor, n_buys, price, options, state, orders)
    least = options[Option.MIN_TRADE_VALUE]
    noticeable = factor < 1.0 - NOTICEABLE
    if noticeable and factor < bars[BarField.SCALE, t]:
        bars[BarField.SCALE, t] = factor
    for b in range(n_buys):
        k = buys[b]
        i = waiting[k]
        cover = -position[i] if position[i] < 0.0 else 0.0
        if orders is not None and wanted[k] == 0.0:
            continue
        if not whole:
            final[k] = cover + factor * (wanted[k] - cover)
        if noticeable:
            reasons = 1 << Reason.SCALED_TO_CASH
            if final[k] > cover and final[k] * price[t, i] < least:
                final[k] = cover
                reasons |= 1 << Reason.BELOW_MIN_TRADE_VALUE
            if order_of[k] >= 0:
                log.codes[OrderField.REASONS, order_of[k]] |= reasons


@subkernel
def payable(
    t: Index,
    i: Index,
    quantity: float,  # units wanted, > 0
    base: float,  # currency per unit
    floor: float,  # currency
    options: FloatVector,
    state: Book,
    orders: OrderRules,
) -> float:
    """Return what a buy gets under the cash rules `partial` and `reject`.

    Its part that covers a short always happens.
    """
    held = state.floats[AssetField.POSITION, i]
    cover = 0.0
    if held < 0.0 and options[Option.COMPAT] != VECTORBT:
        cover = -held if -held < quantity else quantity
    opening = quantity - cover
    cash = state.money[CASH]
    slack = CASH_MARGIN * abs(cash)
    available = cash - floor + slack
    if opening <= 0.0 or outlay(t, i, quantity, base, options, orders) <= available:
        return quantity
    if options[Option.CASH_RULE] == REJECT:
        return cover
    available -= slack
    low = 0.0
    if options[Option.LINEAR_COSTS] != 0.0:
        paid = slipped(t, i, quantity, base, options, orders)
        unit = paid * (1.0 + at(orders.costs.commission_rate, t, i))
        low = available / (unit + at(orders.costs.per_share, t, i)) - cover
        low = low if low > 0.0 else 0.0
        low = low if low < opening else opening
    else:
        high = opening
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            if outlay(t, i, cover + middle, base, options, orders) <= available:
                low = middle
            else:
                high = middle
    if low <= DUST * quantity:
        return cover
    if options[Option.ROUNDING] != FRACTIONAL:
        lot = options[Option.LOT_SIZE]
        lots = math.floor(low / lot + INTEGER_TOLERANCE)
        if outlay(t, i, cover + lots * lot, base, options, orders) > available + slack:
            lots -= 1.0
        low = lots * lot if lots > 0.0 else 0.0
    return cover + low
