"""Orders become fills, in their order of execution."""

from __future__ import annotations

import math

import numpy as np

from barloop._jit import subkernel
from barloop._kernels.books import book, move_waiting
from barloop._kernels.buffers import (
    BUYS,
    CASH,
    COVERS,
    FINAL_QUANTITY,
    HELD,
    SCRATCH,
    SCRATCH_QUANTITY,
    WAITING,
    WAITING_ORDER,
    WAITING_QUANTITY,
    Book,
    CarryRules,
    ExitRules,
    Log,
    Market,
    OrderRules,
)
from barloop._kernels.cash import payable, size_opening_buys
from barloop._kernels.costs import commission_of, slipped
from barloop._kernels.parity import check_submission, enter, inside_bar
from barloop._kernels.preparation import (
    has_volume,
    prepare_orders,
    put_in_sequence,
    use_volume,
)
from barloop.enums import (
    AssetField,
    CashRule,
    Compat,
    Counter,
    FillReason,
    FillTiming,
    MissingBar,
    Option,
    OrderField,
    Reason,
    Remainder,
    Sequence,
    SizeAt,
)
from barloop.typing import FloatBlock, FloatPanel, FloatVector, Index

NEXT_OPEN = float(FillTiming.NEXT_OPEN)
PENDING = float(MissingBar.PENDING)
SCALE = float(CashRule.SCALE)
REJECT = float(CashRule.REJECT)
ALLOW = float(CashRule.ALLOW)
SELLS_FIRST = float(Sequence.SELLS_FIRST)
VALUE_ASCENDING = float(Sequence.VALUE_ASCENDING)
AT_FILL = float(SizeAt.FILL)
KEEP = float(Remainder.PENDING)
BACKTRADER = float(Compat.BACKTRADER)
ML4T = float(Compat.ML4T)


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
def equity_at(
    t: Index,
    price: FloatPanel,  # (n_bars, n_assets) fill prices
    close: FloatPanel,  # (n_bars, n_assets)
    options: FloatVector,
    state: Book,
    orders: OrderRules | None,
) -> float:
    """Value the account at the fill prices, at last closes where nothing can fill."""
    value = 0.0
    for h in range(state.counters[Counter.N_HELD]):
        i = state.lists[HELD, h]
        base = price[t, i]
        if not (base > 0.0 and close[t, i] > 0.0):
            base = state.floats[AssetField.LAST_CLOSE, i]
        elif orders is not None:
            at_open = options[Option.FILL_TIMING] == NEXT_OPEN
            if at_open and not has_volume(t, i, options, orders):
                base = state.floats[AssetField.LAST_CLOSE, i]
        value += state.floats[AssetField.POSITION, i] * base
    return state.money[CASH] + value  # type: ignore[no-any-return]


@subkernel
def fill_orders(
    t: Index,
    market: Market,
    options: FloatVector,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
    orders: OrderRules | None,
    exits: ExitRules | None,
    carry: CarryRules | None,
) -> None:
    """Fill what waits, in sequence: by default sells, then covers, then buys."""
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
    tracks = options[Option.TRACK_ENTRIES] != 0.0

    floor = 0.0
    reason = FillReason.ORDER
    forced = False
    equity = 0.0
    if exits is not None:
        # What `max_drawdown` closes ignores caps and cash.
        forced = state.counters[Counter.STOPPED_AT] >= 0
        if forced:
            reason = FillReason.MAX_DRAWDOWN
            for k in range(n_waiting):
                # All of the position, whatever it is by then.
                wanted[k] = -position[waiting[k]]
    if orders is not None:
        looks = options[Option.SIZE_AT] == AT_FILL
        looks = looks | (options[Option.SEQUENCE] == VALUE_ASCENDING)
        if looks:
            equity = equity_at(now, price, close, options, state, orders)
    if options[Option.MAX_BORROWING] > 0.0:
        equity = equity_at(now, price, close, options, state, orders)
        floor = -options[Option.MAX_BORROWING] * equity
    if orders is not None:
        if not forced:
            prepare_orders(now, equity, price, market, options, state, log, orders)

    # Sort the orders into three classes, without branches that nobody can predict.
    sells = state.lists[SCRATCH]
    covers = state.lists[COVERS]
    buys = state.lists[BUYS]
    # Typed zeros: a literal 0 would compile every callee twice.
    n_sells: Index = np.int64(0)
    n_covers: Index = np.int64(0)
    n_buys: Index = np.int64(0)
    n_missing = np.int64(0)
    for k in range(n_waiting):
        i = waiting[k]
        quantity = wanted[k]
        final[k] = quantity
        # NaN fails both tests.  A row without a close is no bar, whatever its open.
        missing = not (price[now, i] > 0.0 and close[now, i] > 0.0)
        lacks = Reason.MISSING_BAR
        if orders is not None:
            if not missing:
                missing = not has_volume(now, i, options, orders)
                lacks = Reason.NO_VOLUME
        if missing:
            final[k] = math.nan
            n_missing += 1
            if order_of[k] >= 0:
                log.codes[OrderField.REASONS, order_of[k]] |= 1 << lacks
            continue
        is_sell = quantity < 0.0
        is_cover = (position[i] < 0.0) & (position[i] + quantity <= 0.0) & ~is_sell
        if orders is not None:
            is_cover = is_cover & (options[Option.COMPAT] != BACKTRADER)
        sells[np.uint32(n_sells)] = k
        covers[np.uint32(n_covers)] = k
        buys[np.uint32(n_buys)] = k
        n_sells += is_sell
        n_covers += is_cover
        n_buys += not (is_sell | is_cover)

    scales = True
    if orders is not None:
        scales = (options[Option.CASH_RULE] == SCALE) & (not forced)
        if options[Option.SEQUENCE] != SELLS_FIRST:
            n_sells, n_covers, n_buys = put_in_sequence(
                now, equity, price, options, state
            )
        if options[Option.COMPAT] == BACKTRADER and not forced:
            pseudo = state.money[CASH]
            for step in range(3):
                places, n = sells, n_sells
                if step == 1:
                    places, n = covers, n_covers
                elif step == 2:
                    places, n = buys, n_buys
                pseudo = check_submission(
                    now, places, n, pseudo, close, state, log, orders
                )

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
            if n > 0 and scales:
                size_opening_buys(
                    now, floor, n, price, options, state, log, bars, orders
                )
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
            commission = commission if commission > minimum else minimum
            if orders is not None:
                if not scales and not forced:
                    quantity = affordable(
                        now, k, quantity, base, floor, options, state, log, orders
                    )
                    final[k] = quantity
                    if quantity == 0.0:
                        continue
                filled_at = slipped(now, i, quantity, base, options, orders)
                if options[Option.COMPAT] == BACKTRADER:
                    high, low = orders.high[now, i], orders.low[now, i]
                    filled_at = inside_bar(filled_at, quantity > 0.0, high, low)
                commission = commission_of(now, i, quantity, filled_at, options, orders)
                if options[Option.MAX_PARTICIPATION] < math.inf:
                    use_volume(now, i, quantity, state)
            book(
                now,
                i,
                quantity,
                base,
                filled_at,
                commission,
                order_of[k],
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
            changed = changed | (before == 0.0) | (before + quantity == 0.0)
    if changed:
        merge_held(n_waiting, state)

    n_left = 0
    waits = (options[Option.MISSING_BAR] == PENDING) | forced
    if orders is not None:
        keeps = (options[Option.REMAINDER] == KEEP) & (not forced)
        above = state.floats[SCRATCH_QUANTITY]
        for k in range(n_waiting):
            is_missing = math.isnan(final[k])
            if (is_missing and waits) or (keeps and above[k] != 0.0):
                left = wanted[k] if is_missing else above[k]
                move_waiting(k, n_left, state)
                wanted[n_left] = left
                n_left += 1
    elif n_missing > 0 and waits:
        for k in range(n_waiting):
            if math.isnan(final[k]):
                waiting[n_left] = waiting[k]
                order_of[n_left] = order_of[k]
                wanted[n_left] = wanted[k]
                n_left += 1
    state.counters[Counter.N_WAITING] = n_left


@subkernel
def affordable(
    t: Index,
    k: Index,  # place in the waiting list
    quantity: float,  # signed units wanted
    base: float,  # currency per unit
    floor: float,  # currency
    options: FloatVector,
    state: Book,
    log: Log,
    orders: OrderRules,
) -> float:
    """Apply the cash rules that look at one order after the other, signed units."""
    if options[Option.CASH_RULE] == ALLOW:
        return quantity
    i = state.lists[WAITING, k]
    got = quantity
    if options[Option.COMPAT] == ML4T:
        got = enter(t, i, quantity, base, options, state, orders)
    elif quantity > 0.0:
        got = payable(t, i, quantity, base, floor, options, state, orders)
    order = state.codes[WAITING_ORDER, k]
    if got != quantity and order >= 0:
        reasons = 1 << Reason.PARTIAL_CASH
        if options[Option.CASH_RULE] == REJECT:
            reasons = 1 << Reason.REJECTED_FOR_CASH
        log.codes[OrderField.REASONS, order] |= reasons
    return got
