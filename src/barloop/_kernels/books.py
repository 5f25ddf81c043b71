"""The books: the only place that moves cash and positions."""

from __future__ import annotations

import math

import numpy as np

from barloop._jit import subkernel
from barloop._kernels.buffers import (
    ATR,
    CASH,
    EXTREME,
    HELD,
    WAITING,
    WAITING_ORDER,
    WAITING_QUANTITY,
    WAITING_WEIGHT,
    Book,
    CarryRules,
    ExitRules,
    Log,
    OrderRules,
)
from barloop._kernels.costs import commission_of, slipped
from barloop.enums import (
    AssetField,
    BarField,
    Counter,
    FillField,
    FillReason,
    FillTiming,
    Option,
    OrderField,
)
from barloop.typing import FloatBlock, FloatVector, Index

NEXT_OPEN = float(FillTiming.NEXT_OPEN)


@subkernel
def start_exits(
    t: Index,
    i: Index,
    price: float,  # currency per unit, after slippage
    options: FloatVector,
    state: Book,
    exits: ExitRules,
) -> None:
    """Begin the trail of a position that opens now, and fix its `atr`."""
    state.floats[EXTREME, i] = price
    if options[Option.ATR_MULTIPLE] <= 0.0:
        return
    state.floats[ATR, i] = math.nan
    # What was known when the position opened: a bar's columns belong to its close.
    known = np.int64(t)
    if options[Option.FILL_TIMING] == NEXT_OPEN:
        known -= 1
    if known >= 0:
        state.floats[ATR, i] = exits.atr[known, i]
    if not state.floats[ATR, i] > 0.0:
        state.floats[ATR, i] = math.nan
        counters = state.counters
        if counters[Counter.NO_ATR] == 0:
            counters[Counter.FIRST_NO_ATR_BAR] = t
            counters[Counter.FIRST_NO_ATR_ASSET] = i
        counters[Counter.NO_ATR] += 1


@subkernel
def book(
    t: Index,
    i: Index,
    quantity: float,  # signed units
    base: float,  # currency per unit, before slippage
    price: float,  # currency per unit, after slippage
    commission: float,  # currency
    order: Index,  # row of the order log, -1 if there is none
    reason: int,  # FillReason
    tracks: bool,  # noqa: FBT001
    options: FloatVector,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
    orders: OrderRules | None,
    exits: ExitRules | None,
    carry: CarryRules | None,
) -> None:
    """Execute one fill or cash flow.  Nothing else writes cash or positions.

    Of a cash flow `commission` is what it takes, and base and price are 0.
    """
    before = state.floats[AssetField.POSITION, i]
    after = before + quantity
    traded = quantity * price
    state.floats[AssetField.POSITION, i] = after
    state.money[CASH] -= traded + commission
    is_flow = False
    asset = np.int64(i)
    if carry is not None:
        is_flow = reason >= FillReason.SPLIT
        if reason >= FillReason.INTEREST:
            asset = np.int64(-1)
    if exits is not None:
        if options[Option.HAS_EXITS] != 0.0 and after != 0.0 and before * after <= 0.0:
            start_exits(t, i, price, options, state, exits)
    if is_flow:
        moved = BarField.CARRY
        if reason >= FillReason.DEPOSIT:
            moved = BarField.DEPOSITS
        bars[moved, t] -= commission
        state.counters[Counter.N_FLOWS] += 1
    else:
        bars[BarField.TRADED_VALUE, t] += abs(traded)
        bars[BarField.COMMISSION, t] += commission
        bars[BarField.SLIPPAGE, t] += abs(quantity * (price - base))
    if tracks:
        entry_price = state.floats[AssetField.ENTRY_PRICE]
        entry_bar = state.floats[AssetField.ENTRY_BAR]
        if after == 0.0:
            entry_price[i] = math.nan
            entry_bar[i] = -1.0
        elif before * after <= 0.0:
            entry_price[i] = price
            entry_bar[i] = t
        elif abs(after) > abs(before):
            # Units that a split adds come at price 0: they dilute the average.
            entry_price[i] = (entry_price[i] * before + traded) / after
        elif is_flow and quantity != 0.0:
            entry_price[i] *= before / after
    n = state.counters[Counter.N_FILLS]
    state.counters[Counter.N_FILLS] = n + 1
    if log.codes.shape[1] > 0:
        row = np.uint32(n)
        log.codes[FillField.BAR, row] = t
        log.codes[FillField.ASSET, row] = asset
        log.codes[FillField.ORDER, row] = order
        log.codes[FillField.REASON, row] = reason
        log.values[FillField.QUANTITY, row] = quantity
        log.values[FillField.PRICE, row] = price
        log.values[FillField.COMMISSION, row] = commission
        if exits is not None:
            # An order fills at the open or the close: nothing to remember.
            if reason != FillReason.ORDER:
                log.values[FillField.BASE, row] = base
        if orders is not None:
            log.values[FillField.BASE, row] = base
        if order >= 0:
            log.values[OrderField.FILLED, np.uint32(order)] += quantity


@subkernel
def trade(
    t: Index,
    i: Index,
    quantity: float,  # signed units
    base: float,  # currency per unit, before slippage
    reason: int,  # FillReason
    options: FloatVector,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
    orders: OrderRules | None,
    exits: ExitRules | None,
    carry: CarryRules | None,
) -> None:
    """Execute what no order asked for, with slippage and commission."""
    price = slipped(t, i, quantity, base, options, orders)
    commission = commission_of(t, i, quantity, price, options, orders)
    no_order = np.int64(-1)
    tracks = options[Option.TRACK_ENTRIES] != 0.0
    book(
        t,
        i,
        quantity,
        base,
        price,
        commission,
        no_order,
        reason,
        tracks,
        options,
        state,
        log,
        bars,
        orders,
        exits,
        carry,
    )


@subkernel
def settle(
    t: Index,
    i: Index,
    price: float,  # currency per unit
    reason: int,  # FillReason
    options: FloatVector,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
    orders: OrderRules | None,
    exits: ExitRules | None,
    carry: CarryRules | None,
) -> None:
    """End a position at a price, free of costs."""
    free, no_order = 0.0, np.int64(-1)
    tracks = options[Option.TRACK_ENTRIES] != 0.0
    book(
        t,
        i,
        -state.floats[AssetField.POSITION, i],
        price,
        price,
        free,
        no_order,
        reason,
        tracks,
        options,
        state,
        log,
        bars,
        orders,
        exits,
        carry,
    )


@subkernel
def move_waiting(source: Index, place: Index, state: Book) -> None:
    """Copy a waiting order, all that is known of it, to an earlier place."""
    state.lists[WAITING, place] = state.lists[WAITING, source]
    state.codes[WAITING_ORDER, place] = state.codes[WAITING_ORDER, source]
    floats = state.floats
    floats[WAITING_QUANTITY, place] = floats[WAITING_QUANTITY, source]
    floats[WAITING_WEIGHT, place] = floats[WAITING_WEIGHT, source]


@subkernel
def drop_waiting(
    i: Index,
    reason: int,  # bit number, Reason
    state: Book,
    log: Log,
) -> None:
    """Cancel what waits for an asset."""
    waiting = state.lists[WAITING]
    order_of = state.codes[WAITING_ORDER]
    n_waiting = state.counters[Counter.N_WAITING]
    n = 0
    for k in range(n_waiting):
        if waiting[k] == i:
            if order_of[k] >= 0:
                log.codes[OrderField.REASONS, order_of[k]] |= 1 << reason
            continue
        move_waiting(k, n, state)
        n += 1
    state.counters[Counter.N_WAITING] = n


@subkernel
def drop_all_waiting(reason: int, state: Book, log: Log) -> None:
    """Cancel everything that waits."""
    for k in range(state.counters[Counter.N_WAITING]):
        order = state.codes[WAITING_ORDER, k]
        if order >= 0:
            log.codes[OrderField.REASONS, order] |= 1 << reason
    state.counters[Counter.N_WAITING] = 0


@subkernel
def drop_closed(state: Book) -> None:
    """Take assets that are no longer held off the sorted list."""
    held = state.lists[HELD]
    n = 0
    for h in range(state.counters[Counter.N_HELD]):
        held[n] = held[h]
        n += state.floats[AssetField.POSITION, held[h]] != 0.0
    state.counters[Counter.N_HELD] = n
