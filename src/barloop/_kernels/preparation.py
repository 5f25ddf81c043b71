"""Before orders fill: size them at the fill, cap their volume, put them in sequence."""

from __future__ import annotations

import math

import numpy as np

from barloop._jit import subkernel
from barloop._kernels.buffers import (
    BUYS,
    COVERS,
    FINAL_QUANTITY,
    SCRATCH,
    SCRATCH_QUANTITY,
    SCRATCH_WEIGHT,
    USED_BAR,
    USED_VOLUME,
    WAITING,
    WAITING_ORDER,
    WAITING_QUANTITY,
    WAITING_WEIGHT,
    Book,
    Log,
    Market,
    OrderRules,
)
from barloop._kernels.costs import cost_of
from barloop._kernels.quantity import HALVINGS, size_order, whole_lots
from barloop._kernels.sizing import limit_turnover
from barloop._kernels.tolerances import DUST, VALUE_TIE
from barloop.enums import (
    AssetField,
    Compat,
    CostsInSize,
    Counter,
    Option,
    OrderField,
    Reason,
    Remainder,
    Rounding,
    Sequence,
    SizeAt,
)
from barloop.typing import FloatPanel, FloatVector, Index

AT_FILL = float(SizeAt.FILL)
PORTFOLIO = float(CostsInSize.PORTFOLIO)
FRACTIONAL = float(Rounding.FRACTIONAL)
PENDING = float(Remainder.PENDING)
EXITS_FIRST = float(Sequence.EXITS_FIRST)
VALUE_ASCENDING = float(Sequence.VALUE_ASCENDING)
VECTORBT = float(Compat.VECTORBT)


@subkernel
def has_volume(t: Index, i: Index, options: FloatVector, orders: OrderRules) -> bool:
    """Say whether an impact model knows the volume of a bar, if there is a model."""
    if options[Option.VOLUME_IMPACT] + options[Option.SQRT_IMPACT] <= 0.0:
        return True
    return orders.volume[t, i] > 0.0  # type: ignore[no-any-return]


@subkernel
def prepare_orders(
    t: Index,
    equity: float,  # currency, at the fill prices before the fills
    price: FloatPanel,  # (n_bars, n_assets) fill prices
    market: Market,
    options: FloatVector,
    state: Book,
    log: Log,
    orders: OrderRules,
) -> None:
    """Size what is sized at the fill, then cap every order that can fill.

    What is above the cap goes to the row SCRATCH_QUANTITY, by place.
    """
    waiting = state.lists[WAITING]
    wanted = state.floats[WAITING_QUANTITY]
    position = state.floats[AssetField.POSITION]
    weight = state.floats[WAITING_WEIGHT]
    above = state.floats[SCRATCH_QUANTITY]
    fill_price = state.floats[FINAL_QUANTITY]
    n_waiting = state.counters[Counter.N_WAITING]
    for k in range(n_waiting):
        i = waiting[k]
        above[k] = 0.0
        fill_price[k] = math.nan
        if weight[k] == 0.0:
            # Whatever happened since the decision: a closing order ends at 0.
            wanted[k] = -position[i]
        if price[t, i] > 0.0 and market.close[t, i] > 0.0:
            if has_volume(t, i, options, orders):
                fill_price[k] = price[t, i]
    if options[Option.SIZE_AT] == AT_FILL:
        size_at_fill(t, equity, options, state, log, orders)
    if options[Option.MAX_PARTICIPATION] < math.inf:
        cap_volume(t, options, state, log, orders)


@subkernel
def size_at_fill(
    t: Index,
    equity: float,  # currency
    options: FloatVector,
    state: Book,
    log: Log,
    orders: OrderRules,
) -> None:
    """Turn the weights of the orders that can fill now into quantities."""
    position = state.floats[AssetField.POSITION]
    waiting = state.lists[WAITING]
    order_of = state.codes[WAITING_ORDER]
    weight = state.floats[WAITING_WEIGHT]
    wanted = state.floats[WAITING_QUANTITY]
    price = state.floats[FINAL_QUANTITY]
    rounding = options[Option.ROUNDING]
    least = options[Option.MIN_TRADE_VALUE]
    base = equity if equity > 0.0 else 0.0
    if options[Option.COSTS_IN_SIZE] == PORTFOLIO:
        base = post_cost_equity(t, base, options, state, orders)
    for k in range(state.counters[Counter.N_WAITING]):
        if not price[k] > 0.0:
            continue
        i = waiting[k]
        quantity, reasons, blocked = size_order(
            t,
            i,
            weight[k],
            base,
            price[k],
            position[i],
            rounding,
            least,
            options,
            orders,
        )
        wanted[k] = 0.0 if blocked else quantity
        if order_of[k] >= 0:
            log.codes[OrderField.REASONS, order_of[k]] |= reasons
            log.values[OrderField.QUANTITY, order_of[k]] = quantity
            log.values[OrderField.EQUITY, order_of[k]] = equity
            log.values[OrderField.PRICE, order_of[k]] = price[k]
    if options[Option.MAX_TURNOVER] < math.inf:
        limit_turnover(base, options, state, log)


@subkernel
def post_cost_equity(
    t: Index,
    equity: float,  # currency, at the fill prices before the fills, >= 0
    options: FloatVector,
    state: Book,
    orders: OrderRules,
) -> float:
    """Solve ``E' + cost of trading to weight * E' = equity`` for E', currency.

    The cost is that of all orders together, so one number serves every name and no
    result depends on their order.  The largest solution in [0, equity] is found by
    halving; cost rises more slowly than E' itself, so there is one.
    """
    position = state.floats[AssetField.POSITION]
    waiting = state.lists[WAITING]
    weight = state.floats[WAITING_WEIGHT]
    price = state.floats[FINAL_QUANTITY]
    low, high = 0.0, equity
    for step in range(HALVINGS + 1):
        middle = high if step == 0 else 0.5 * (low + high)
        cost = 0.0
        for k in range(state.counters[Counter.N_WAITING]):
            if price[k] > 0.0:
                current = position[waiting[k]]
                target = weight[k] * middle / price[k]
                change = target - current
                size = abs(target) if abs(target) > abs(current) else abs(current)
                if abs(change) > DUST * size:
                    cost += cost_of(t, waiting[k], change, price[k], options, orders)
        if middle + cost <= equity:
            low = middle
            if step == 0:
                break
        elif step > 0:
            high = middle
    return low


@subkernel
def cap_volume(
    t: Index,
    options: FloatVector,
    state: Book,
    log: Log,
    orders: OrderRules,
) -> None:
    """Cut orders to their share of the volume of the bar."""
    waiting = state.lists[WAITING]
    order_of = state.codes[WAITING_ORDER]
    wanted = state.floats[WAITING_QUANTITY]
    above = state.floats[SCRATCH_QUANTITY]
    price = state.floats[FINAL_QUANTITY]
    keeps = options[Option.REMAINDER] == PENDING
    for k in range(state.counters[Counter.N_WAITING]):
        if not price[k] > 0.0:
            continue
        i = waiting[k]
        volume = orders.volume[t, i]
        most = options[Option.MAX_PARTICIPATION] * volume if volume > 0.0 else 0.0
        if state.codes[USED_BAR, i] == t:
            most -= state.floats[USED_VOLUME, i]
        most = most if most > 0.0 else 0.0
        if abs(wanted[k]) <= most * (1.0 + DUST):
            continue
        if options[Option.ROUNDING] != FRACTIONAL:
            most = whole_lots(most, options[Option.LOT_SIZE])
        capped = most if wanted[k] > 0.0 else -most
        if keeps:
            above[k] = wanted[k] - capped
        wanted[k] = capped
        if order_of[k] >= 0:
            log.codes[OrderField.REASONS, order_of[k]] |= 1 << Reason.MAX_PARTICIPATION


@subkernel
def use_volume(t: Index, i: Index, quantity: float, state: Book) -> None:
    """Remember what orders of an asset have filled on the bar."""
    if state.codes[USED_BAR, i] != t:
        state.codes[USED_BAR, i] = t
        state.floats[USED_VOLUME, i] = 0.0
    state.floats[USED_VOLUME, i] += abs(quantity)


@subkernel
def put_in_sequence(
    t: Index,
    equity: float,  # currency
    price: FloatPanel,  # (n_bars, n_assets) fill prices
    options: FloatVector,
    state: Book,
) -> tuple[Index, Index, Index]:
    """List the places of the orders that can fill in three lists, in sequence.

    For every sequence but `sells_first`.  FINAL_QUANTITY is NaN where there is no fill.
    """
    position = state.floats[AssetField.POSITION]
    waiting = state.lists[WAITING]
    final = state.floats[FINAL_QUANTITY]
    first = state.lists[SCRATCH]
    second = state.lists[COVERS]
    third = state.lists[BUYS]
    sequence = options[Option.SEQUENCE]
    n_first: Index = np.int64(0)
    n_second: Index = np.int64(0)
    n_third: Index = np.int64(0)
    for k in range(state.counters[Counter.N_WAITING]):
        if math.isnan(final[k]):
            continue
        after = position[waiting[k]] + final[k]
        reduces = (final[k] * position[waiting[k]] < 0.0) & (
            after * position[waiting[k]] >= 0.0
        )
        if sequence != EXITS_FIRST or reduces:
            first[n_first] = k
            n_first += 1
        elif final[k] < 0.0:
            second[n_second] = k
            n_second += 1
        else:
            third[n_third] = k
            n_third += 1
    if sequence == VALUE_ASCENDING:
        key = state.floats[SCRATCH_WEIGHT]
        unit = VALUE_TIE * abs(equity)
        for p in range(n_first):
            k = first[p]
            value = final[k] * price[t, waiting[k]]
            if options[Option.COMPAT] == VECTORBT:
                # Before whole shares round it.
                i = waiting[k]
                value = state.floats[WAITING_WEIGHT, k] * equity
                value -= position[i] * price[t, i]
            key[k] = math.floor(value / unit + 0.5) if unit > 0.0 else value
        gap = n_first // 2
        while gap > 0:
            for a in range(gap, n_first):
                k = first[a]
                b = a
                while b >= gap:
                    other = first[b - gap]
                    later = (key[other] > key[k]) | (
                        (key[other] == key[k]) & (other > k)
                    )
                    if not later:
                        break
                    first[b] = other
                    b -= gap
                first[b] = k
            gap //= 2
    return n_first, n_second, n_third
