"""Orders become fills: order of execution and the books.

`book` is the only place that moves cash and positions.
"""

from __future__ import annotations

import math

import numpy as np

from barloop._jit import subkernel
from barloop._kernels.buffers import (
    BUYS,
    COVERS,
    FINAL_QUANTITY,
    HELD,
    SCRATCH,
    WAITING,
    WAITING_ORDER,
    WAITING_QUANTITY,
    Book,
    Log,
    Market,
)
from barloop._kernels.cash import size_opening_buys
from barloop.enums import (
    AssetField,
    BarField,
    Counter,
    FillField,
    FillReason,
    FillTiming,
    MissingBar,
    Option,
    OrderField,
    Reason,
)
from barloop.typing import FloatBlock, FloatVector, Index

NEXT_OPEN = float(FillTiming.NEXT_OPEN)
PENDING = float(MissingBar.PENDING)


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
    track_entries: bool,  # noqa: FBT001
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
) -> None:
    """Execute one fill.  Nothing else writes cash or positions."""
    before = state.floats[AssetField.POSITION, i]
    after = before + quantity
    traded = quantity * price
    state.floats[AssetField.POSITION, i] = after
    state.cash[0] -= traded + commission
    bars[BarField.TRADED_VALUE, t] += abs(traded)
    bars[BarField.COMMISSION, t] += commission
    bars[BarField.SLIPPAGE, t] += abs(quantity * (price - base))
    if track_entries:
        entry_price = state.floats[AssetField.ENTRY_PRICE]
        entry_bar = state.floats[AssetField.ENTRY_BAR]
        if after == 0.0:
            entry_price[i] = math.nan
            entry_bar[i] = -1.0
        elif before * after <= 0.0:
            entry_price[i] = price
            entry_bar[i] = t
        elif abs(after) > abs(before):
            entry_price[i] = (entry_price[i] * before + traded) / after
    n = state.counters[Counter.N_FILLS]
    state.counters[Counter.N_FILLS] = n + 1
    if log.codes.shape[1] > 0:
        row = np.uint32(n)
        log.codes[FillField.BAR, row] = t
        log.codes[FillField.ASSET, row] = i
        log.codes[FillField.ORDER, row] = order
        log.codes[FillField.REASON, row] = reason
        log.values[FillField.QUANTITY, row] = quantity
        log.values[FillField.PRICE, row] = price
        log.values[FillField.COMMISSION, row] = commission
        if order >= 0:
            log.values[OrderField.FILLED, np.uint32(order)] += quantity


@subkernel
def merge_held(n_waiting: int, state: Book) -> None:
    """Bring the sorted list of held assets up to date after the fills of a step.

    Only assets of the old list and of the waiting orders can be held now.
    """
    position = state.floats[AssetField.POSITION]
    held = state.lists[HELD]
    waiting = state.lists[WAITING]
    merged = state.lists[SCRATCH]
    n_held = state.counters[Counter.N_HELD]
    n_assets = position.shape[0]
    h = w = n = 0
    while h < n_held or w < n_waiting:
        of_held = held[np.uint32(h)] if h < n_held else n_assets
        of_waiting = waiting[np.uint32(w)] if w < n_waiting else n_assets
        i = np.uint32(of_held if of_held < of_waiting else of_waiting)
        h += of_held == i
        w += of_waiting == i
        merged[np.uint32(n)] = i
        n += position[i] != 0.0
    for h in range(n):
        held[h] = merged[h]
    state.counters[Counter.N_HELD] = n


@subkernel
def fill_orders(
    t: Index,
    market: Market,
    options: FloatVector,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
) -> None:
    """Fill what waits: sells, then covers, then opening buys, each in asset order."""
    n_waiting = state.counters[Counter.N_WAITING]
    # Unsigned, because numba tests every signed index for "from the end".
    now = np.uint32(t)
    close = market.close
    price = close
    if options[Option.FILL_TIMING] == NEXT_OPEN:
        price = market.open
    position = state.floats[AssetField.POSITION]
    waiting = state.lists[WAITING]
    order_of = state.codes[WAITING_ORDER]
    wanted = state.floats[WAITING_QUANTITY]
    final = state.floats[FINAL_QUANTITY]
    slippage = options[Option.SLIPPAGE_RATE]
    rate = options[Option.COMMISSION_RATE]
    minimum = options[Option.COMMISSION_MINIMUM]
    track_entries = options[Option.TRACK_ENTRIES] != 0.0

    floor = 0.0
    if options[Option.MAX_BORROWING] > 0.0:
        # The account at the fill prices, at last closes where there is none.
        value = 0.0
        for h in range(state.counters[Counter.N_HELD]):
            i = state.lists[HELD, h]
            base = price[now, i]
            if not (base > 0.0 and close[now, i] > 0.0):
                base = state.floats[AssetField.LAST_CLOSE, i]
            value += position[i] * base
        floor = -options[Option.MAX_BORROWING] * (state.cash[0] + value)

    # Sort the orders into three classes, without branches that nobody can predict.
    sells = state.lists[SCRATCH]
    covers = state.lists[COVERS]
    buys = state.lists[BUYS]
    # Typed zeros: a literal 0 would compile every callee twice.
    n_sells = n_covers = n_buys = n_missing = np.int64(0)
    for k in range(n_waiting):
        i = waiting[k]
        quantity = wanted[k]
        final[k] = quantity
        # NaN fails both tests.  A row without a close is no bar, whatever its open.
        if not (price[now, i] > 0.0 and close[now, i] > 0.0):
            final[k] = math.nan
            n_missing += 1
            if order_of[k] >= 0:
                log.codes[OrderField.REASONS, order_of[k]] |= 1 << Reason.MISSING_BAR
            continue
        is_sell = quantity < 0.0
        is_cover = (position[i] < 0.0) & (position[i] + quantity <= 0.0) & ~is_sell
        sells[np.uint32(n_sells)] = k
        covers[np.uint32(n_covers)] = k
        buys[np.uint32(n_buys)] = k
        n_sells += is_sell
        n_covers += is_cover
        n_buys += not (is_sell | is_cover)

    changed = False
    for step in range(3):
        places, n = sells, n_sells
        side = -slippage
        if step == 1:
            places, n = covers, n_covers
            side = slippage
        elif step == 2:
            places, n = buys, n_buys
            side = slippage
            if n > 0:
                size_opening_buys(now, floor, n, price, options, state, log, bars)
        for p in range(n):
            k = places[p]
            i = waiting[k]
            quantity = final[k]
            if quantity == 0.0:
                continue
            base = price[now, i]
            filled_at = base * (1.0 + side)
            before = position[i]
            commission = abs(quantity * filled_at) * rate
            book(
                now,
                i,
                quantity,
                base,
                filled_at,
                commission if commission > minimum else minimum,
                order_of[k],
                FillReason.ORDER,
                track_entries,
                state,
                log,
                bars,
            )
            changed = changed | (before == 0.0) | (before + quantity == 0.0)
    if changed:
        merge_held(n_waiting, state)

    n_left = 0
    if n_missing > 0 and options[Option.MISSING_BAR] == PENDING:
        for k in range(n_waiting):
            if math.isnan(final[k]):
                waiting[n_left] = waiting[k]
                order_of[n_left] = order_of[k]
                wanted[n_left] = wanted[k]
                n_left += 1
    state.counters[Counter.N_WAITING] = n_left
