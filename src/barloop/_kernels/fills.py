"""Orders become fills: order of execution, the cash rule, and the books.

`book` is the only place that moves cash and positions.
"""

from __future__ import annotations

import math

import numpy as np

from barloop._jit import kernel
from barloop._kernels.buffers import (
    BUYS,
    COVERS,
    FINAL_QUANTITY,
    HELD,
    RANKS,
    SCRATCH,
    WAITING,
    WAITING_ORDER,
    WAITING_QUANTITY,
    Book,
    Log,
    Market,
)
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
    Rounding,
)
from barloop.typing import FloatBlock, FloatPanel, FloatVector, IntVector

CASH_MARGIN = 1e-12
"""A binding factor is reduced by this share of itself: thousands of additions, each
off by 1e-16 of the account, then never leave cash a hair below the floor."""
NOTICEABLE = 1e-9
"""A factor nearer to 1 than this is rounding, not a reason."""
INTEGER_TOLERANCE = 1e-6
"""A share count nearer to an integer than this is that integer."""
BISECTIONS = 64
"""Halvings of [0, 1]: more than the bits of a float64 fraction."""


@kernel
def book(
    t: int,
    i: int,
    quantity: float,  # signed units
    base: float,  # currency per unit, before slippage
    price: float,  # currency per unit, after slippage
    commission: float,  # currency
    order: int,  # row of the order log, -1 if there is none
    reason: int,  # FillReason
    track_entries: bool,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
) -> None:
    """Execute one fill.  Nothing else writes cash or positions."""
    position = state.assets[AssetField.POSITION]
    before = position[i]
    after = before + quantity
    position[i] = after
    traded = quantity * price
    state.cash[0] -= traded + commission
    bars[BarField.TRADED_VALUE, t] += abs(traded)
    bars[BarField.COMMISSION, t] += commission
    bars[BarField.SLIPPAGE, t] += abs(quantity * (price - base))
    if track_entries:
        entry_price = state.assets[AssetField.ENTRY_PRICE]
        entry_bar = state.assets[AssetField.ENTRY_BAR]
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
    if log.fill_codes.shape[1] > 0:
        log.fill_codes[FillField.BAR, n] = t
        log.fill_codes[FillField.ASSET, n] = i
        log.fill_codes[FillField.ORDER, n] = order
        log.fill_codes[FillField.REASON, n] = reason
        log.fill_values[FillField.QUANTITY, n] = quantity
        log.fill_values[FillField.PRICE, n] = price
        log.fill_values[FillField.COMMISSION, n] = commission
        if order >= 0:
            log.order_values[OrderField.FILLED, order] += quantity


@kernel
def note(order: int, reason: int, log: Log) -> None:
    """Add a reason to an order of the log."""
    if order >= 0:
        log.order_codes[OrderField.REASONS, order] |= 1 << reason


@kernel
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
    return value + max(commission, options[Option.COMMISSION_MINIMUM])


@kernel
def common_factor(
    t: int,
    available: float,  # currency above the floor, before the opening buys
    n_buys: int,
    price: FloatPanel,  # (n_bars, n_assets) fill prices
    options: FloatVector,
    state: Book,
) -> float:
    """Return the largest factor of the opening parts that cash can pay, in [0, 1].

    Reads ``lists[BUYS]`` (places in the waiting list) and ``lists[WAITING]``.
    """
    position = state.assets[AssetField.POSITION]
    waiting = state.lists[WAITING]
    wanted = state.quantities[WAITING_QUANTITY]
    buys = state.lists[BUYS]
    rate = options[Option.COMMISSION_RATE]
    unit = (1.0 + options[Option.SLIPPAGE_RATE]) * (1.0 + rate)
    needed = 0.0
    reserved = 0.0
    for b in range(n_buys):
        k = buys[b]
        i = waiting[k]
        base = price[t, i]
        cover = max(-position[i], 0.0)
        needed += (wanted[k] - cover) * base * unit
        reserved += cover * base * unit
    room = available - reserved
    factor = 1.0
    if needed > room * (1.0 - CASH_MARGIN):
        factor = max(room / needed, 0.0) * (1.0 - CASH_MARGIN)
    factor = min(factor, 1.0)
    if options[Option.COMMISSION_MINIMUM] == 0.0:
        return factor

    # A minimum makes the cost jump at 0 and bend above it: halve the interval.
    low, high = 0.0, factor
    for step in range(BISECTIONS + 1):
        middle = high if step == 0 else 0.5 * (low + high)
        cost = 0.0
        for b in range(n_buys):
            k = buys[b]
            i = waiting[k]
            cover = max(-position[i], 0.0)
            quantity = cover + middle * (wanted[k] - cover)
            cost += buy_cost(quantity, price[t, i], options)
        if cost <= available * (1.0 - CASH_MARGIN):
            low = middle
            if step == 0:
                break
        elif step > 0:
            high = middle
    return low


@kernel
def sort_descending(key: IntVector, n: int) -> None:
    """Sort the first `n` elements in place, largest first (Shell, 1959)."""
    gap = n // 2
    while gap > 0:
        for a in range(gap, n):
            value = key[a]
            b = a
            while b >= gap and key[b - gap] < value:
                key[b] = key[b - gap]
                b -= gap
            key[b] = value
        gap //= 2


@kernel
def hand_out_lots(
    t: int,
    available: float,  # currency above the floor, before the opening buys
    factor: float,
    n_buys: int,
    price: FloatPanel,  # (n_bars, n_assets) fill prices
    options: FloatVector,
    state: Book,
) -> None:
    """Floor the scaled opening parts to lots; what is left buys a lot more per name.

    Reads and writes ``quantities[FINAL_QUANTITY]``, by place in the waiting list.
    """
    position = state.assets[AssetField.POSITION]
    waiting = state.lists[WAITING]
    wanted = state.quantities[WAITING_QUANTITY]
    final = state.quantities[FINAL_QUANTITY]
    buys = state.lists[BUYS]
    rank = state.codes[RANKS]
    lot = options[Option.LOT_SIZE]
    resolution = round(1.0 / INTEGER_TOLERANCE)
    left = available
    for b in range(n_buys):
        k = buys[b]
        i = waiting[k]
        cover = max(-position[i], 0.0)
        exact = factor * (wanted[k] - cover) / lot
        lots = math.floor(exact + INTEGER_TOLERANCE)
        final[k] = cover + lots * lot
        left -= buy_cost(final[k], price[t, i], options)
        # Remainders in millionths, so that rounding cannot break a tie; among
        # equals the earlier asset has the larger key.
        remainder = round(max(exact - lots, 0.0) * resolution)
        rank[b] = remainder * n_buys + (n_buys - 1 - b)
    sort_descending(rank, n_buys)
    for r in range(n_buys):
        k = buys[n_buys - 1 - rank[r] % n_buys]
        i = waiting[k]
        base = price[t, i]
        if final[k] + lot > wanted[k] + INTEGER_TOLERANCE * lot:
            continue
        more = buy_cost(final[k] + lot, base, options)
        more -= buy_cost(final[k], base, options)
        if more <= left + INTEGER_TOLERANCE * lot * base:
            final[k] += lot
            left -= more


@kernel
def size_opening_buys(
    t: int,
    floor: float,  # currency
    n_buys: int,
    price: FloatPanel,  # (n_bars, n_assets) fill prices
    options: FloatVector,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
) -> None:
    """Shrink the opening buys of the bar to what cash can pay, all alike.

    Writes ``quantities[FINAL_QUANTITY]`` for the places in ``lists[BUYS]``.
    """
    position = state.assets[AssetField.POSITION]
    waiting = state.lists[WAITING]
    order_of = state.codes[WAITING_ORDER]
    wanted = state.quantities[WAITING_QUANTITY]
    final = state.quantities[FINAL_QUANTITY]
    buys = state.lists[BUYS]
    available = state.cash[0] - floor
    factor = common_factor(t, available, n_buys, price, options, state)
    if factor == 1.0:
        return
    for b in range(n_buys):
        k = buys[b]
        cover = max(-position[waiting[k]], 0.0)
        final[k] = cover + factor * (wanted[k] - cover)
    if int(options[Option.ROUNDING]) != Rounding.FRACTIONAL:
        hand_out_lots(t, available, factor, n_buys, price, options, state)
    if factor >= 1.0 - NOTICEABLE:
        return
    bars[BarField.SCALE, t] = min(bars[BarField.SCALE, t], factor)
    least = options[Option.MIN_TRADE_VALUE]
    for b in range(n_buys):
        k = buys[b]
        i = waiting[k]
        note(order_of[k], Reason.SCALED_TO_CASH, log)
        if final[k] * price[t, i] < least:
            final[k] = max(-position[i], 0.0)
            note(order_of[k], Reason.BELOW_MIN_TRADE_VALUE, log)


@kernel
def merge_held(n_waiting: int, state: Book) -> None:
    """Bring the sorted list of held assets up to date after the fills of a step.

    Only assets of the old list and of the waiting orders can be held now.
    """
    position = state.assets[AssetField.POSITION]
    held = state.lists[HELD]
    waiting = state.lists[WAITING]
    merged = state.lists[SCRATCH]
    n_held = state.counters[Counter.N_HELD]
    n_assets = position.shape[0]
    h = w = n = 0
    while h < n_held or w < n_waiting:
        of_held = held[h] if h < n_held else n_assets
        of_waiting = waiting[w] if w < n_waiting else n_assets
        i = min(of_held, of_waiting)
        h += int(of_held == i)
        w += int(of_waiting == i)
        merged[n] = i
        n += int(position[i] != 0.0)
    for h in range(n):
        held[h] = merged[h]
    state.counters[Counter.N_HELD] = n


@kernel
def equity_before_fills(
    t: int,
    price: FloatPanel,  # (n_bars, n_assets) fill prices
    close: FloatPanel,  # (n_bars, n_assets)
    state: Book,
) -> float:
    """Value the account at the fill prices, at last closes where there is none."""
    position = state.assets[AssetField.POSITION]
    last_close = state.assets[AssetField.LAST_CLOSE]
    value = 0.0
    for h in range(state.counters[Counter.N_HELD]):
        i = state.lists[HELD, h]
        base = price[t, i]
        if not (base > 0.0 and close[t, i] > 0.0):
            base = last_close[i]
        value += position[i] * base
    return state.cash[0] + value


@kernel
def fill_orders(
    t: int,
    market: Market,
    options: FloatVector,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
) -> None:
    """Fill what waits: sells, then covers, then opening buys, each in asset order."""
    n_waiting = state.counters[Counter.N_WAITING]
    if n_waiting == 0:
        return
    close = market.close
    price = close
    if int(options[Option.FILL_TIMING]) == FillTiming.NEXT_OPEN:
        price = market.open
    position = state.assets[AssetField.POSITION]
    waiting = state.lists[WAITING]
    order_of = state.codes[WAITING_ORDER]
    wanted = state.quantities[WAITING_QUANTITY]
    final = state.quantities[FINAL_QUANTITY]
    slippage = options[Option.SLIPPAGE_RATE]
    rate = options[Option.COMMISSION_RATE]
    minimum = options[Option.COMMISSION_MINIMUM]
    track_entries = options[Option.TRACK_ENTRIES] != 0.0
    keeps_waiting = int(options[Option.MISSING_BAR]) == MissingBar.PENDING

    floor = 0.0
    if options[Option.MAX_BORROWING] > 0.0:
        equity = equity_before_fills(t, price, close, state)
        floor = -options[Option.MAX_BORROWING] * equity

    # Sort the orders into three classes, without branches that nobody can predict.
    sells = state.lists[SCRATCH]
    covers = state.lists[COVERS]
    buys = state.lists[BUYS]
    n_sells = n_covers = n_buys = n_missing = np.int64(0)
    for k in range(n_waiting):
        i = waiting[k]
        quantity = wanted[k]
        final[k] = quantity
        # NaN fails both tests.  A row without a close is no bar, whatever its open.
        if not (price[t, i] > 0.0 and close[t, i] > 0.0):
            final[k] = math.nan
            n_missing += 1
            note(order_of[k], Reason.MISSING_BAR, log)
            continue
        is_sell = quantity < 0.0
        is_cover = (position[i] < 0.0) & (position[i] + quantity <= 0.0) & ~is_sell
        sells[n_sells] = k
        covers[n_covers] = k
        buys[n_buys] = k
        n_sells += int(is_sell)
        n_covers += int(is_cover)
        n_buys += int(not (is_sell | is_cover))

    changed = False
    for step in range(3):
        if step == 0:
            places, n = sells, n_sells
        elif step == 1:
            places, n = covers, n_covers
        else:
            places, n = buys, n_buys
            if n > 0:
                size_opening_buys(t, floor, n, price, options, state, log, bars)
        for p in range(n):
            k = places[p]
            i = waiting[k]
            quantity = final[k]
            if quantity == 0.0:
                continue
            base = price[t, i]
            filled_at = base * (1.0 + (slippage if quantity > 0.0 else -slippage))
            commission = max(abs(quantity * filled_at) * rate, minimum)
            before = position[i]
            book(
                t,
                i,
                quantity,
                base,
                filled_at,
                commission,
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
    if n_missing > 0 and keeps_waiting:
        for k in range(n_waiting):
            if math.isnan(final[k]):
                waiting[n_left] = waiting[k]
                order_of[n_left] = order_of[k]
                wanted[n_left] = wanted[k]
                n_left += 1
    state.counters[Counter.N_WAITING] = n_left
