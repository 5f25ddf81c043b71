"""A decision becomes waiting orders: target weights against positions."""

from __future__ import annotations

import math

import numpy as np

from barloop._jit import subkernel
from barloop._kernels.buffers import (
    HELD,
    LAST_SEEN,
    SCRATCH,
    SCRATCH_ORDER,
    SCRATCH_QUANTITY,
    WAITING,
    WAITING_ORDER,
    WAITING_QUANTITY,
    Book,
    Decisions,
    Log,
)
from barloop._kernels.tolerances import DUST, INTEGER_TOLERANCE
from barloop.enums import (
    AssetField,
    AtDecision,
    BarField,
    Counter,
    Decision,
    Option,
    OrderField,
    Reason,
    Rounding,
)
from barloop.typing import FloatBlock, FloatPanel, FloatVector, Index

WHOLE_TARGET = float(Rounding.WHOLE_TARGET)
SKIP = float(AtDecision.SKIP)


@subkernel
def known_close(
    t: Index,
    i: Index,
    close: FloatPanel,  # (n_bars, n_assets) NaN where there is no bar
    state: Book,
) -> float:
    """Return the latest close at or before t, NaN if the asset is not listed yet."""
    price: float = close[t, i]
    if price > 0.0:
        return price
    last_close = state.floats[AssetField.LAST_CLOSE]
    seen = state.codes[LAST_SEEN]
    # Look back only as far as the last look: each bar is read once per gap.
    for s in range(t - 1, seen[i], -1):
        if close[s, i] > 0.0:
            last_close[i] = close[s, i]
            break
    seen[i] = t
    return last_close[i]  # type: ignore[no-any-return]


@subkernel
def whole_lots(quantity: float, lot: float) -> float:
    """Cut toward zero to a multiple of `lot`; almost an integer is that integer."""
    lots = quantity / lot
    nearest = round(lots)
    if abs(lots - nearest) <= INTEGER_TOLERANCE:
        return nearest * lot
    return math.trunc(lots) * lot


@subkernel
def decide(
    t: Index,
    kind: int,  # Decision.COMPLETE or Decision.PARTIAL
    first: int,  # first pair of the decision
    stop: int,  # one past its last pair
    close: FloatPanel,  # (n_bars, n_assets)
    decisions: Decisions,
    options: FloatVector,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
) -> None:
    """Turn one decision into waiting orders, asset by asset.

    Walks the held assets, the targets and the waiting orders together, all sorted,
    so that the cost follows what is held and named, never the universe.
    """
    position = state.floats[AssetField.POSITION]
    n_assets = position.shape[0]
    held = state.lists[HELD]
    waiting = state.lists[WAITING]
    order_of = state.codes[WAITING_ORDER]
    wanted = state.floats[WAITING_QUANTITY]
    complete = kind == Decision.COMPLETE
    n_held = state.counters[Counter.N_HELD] if complete else 0
    n_waiting = state.counters[Counter.N_WAITING]
    new_waiting = state.lists[SCRATCH]
    new_order = state.codes[SCRATCH_ORDER]
    new_wanted = state.floats[SCRATCH_QUANTITY]
    equity = bars[BarField.EQUITY, t]
    whole = options[Option.ROUNDING] == WHOLE_TARGET
    skips = options[Option.AT_DECISION] == SKIP
    least = options[Option.MIN_TRADE_VALUE]
    lot = options[Option.LOT_SIZE]
    replaced = Reason.REPLACED
    logging = log.codes.shape[1] > 0

    if n_waiting == 0:
        # Nothing to keep: write the new list in place.
        new_waiting, new_order, new_wanted = waiting, order_of, wanted

    n_targets = 0
    gross = 0.0
    h = w = n = 0
    j = first
    while h < n_held or w < n_waiting or j < stop:
        # Unsigned, because numba tests every signed index for "from the end".
        of_held = held[np.uint32(h)] if h < n_held else n_assets
        of_target = decisions.asset[np.uint32(j)] if j < stop else n_assets
        nearest = of_held if of_held < of_target else of_target
        i = np.uint32(nearest)
        place = np.uint32(n)
        if w < n_waiting and waiting[w] <= i:
            i = waiting[w]
            if complete or of_target == i:
                if order_of[w] >= 0:
                    log.codes[OrderField.REASONS, order_of[w]] |= 1 << replaced
            else:
                new_waiting[place] = i
                new_order[place] = order_of[w]
                new_wanted[place] = wanted[w]
                n += 1
            w += 1
            if nearest != i:
                continue
            place = np.uint32(n)
        # Which list names the asset is a coin toss: count, do not branch.
        named = of_target == i
        weight = decisions.weight[np.uint32(j)] if named else 0.0
        h += of_held == i
        j += named
        n_targets += weight != 0.0
        gross += abs(weight)

        # From weight to order; each step that binds leaves its reason.
        current = position[i]
        price = known_close(t, i, close, state)
        target = weight * equity / price
        reasons = 0
        blocked = False
        if whole and price > 0.0:
            lots = whole_lots(target, lot)
            if abs(lots - target) > INTEGER_TOLERANCE * lot:
                reasons |= 1 << Reason.ROUNDED
            target = lots
        if abs(target) <= DUST * abs(current):
            target = 0.0
        quantity = target - current
        size = abs(target) if abs(target) > abs(current) else abs(current)
        if abs(quantity) <= DUST * size:
            quantity = 0.0
            blocked = (reasons != 0) & (current == 0.0)
        elif abs(quantity) * price < least and target != 0.0:
            reasons |= 1 << Reason.BELOW_MIN_TRADE_VALUE
            blocked = True
        if math.isnan(price):
            reasons = 1 << Reason.NOT_LISTED
            blocked = weight != 0.0
            quantity = math.nan if blocked else 0.0
        elif skips and not close[t, i] > 0.0:
            reasons = 1 << Reason.NO_BAR
            blocked = (weight != 0.0) | (current != 0.0)
            quantity = math.nan if blocked else 0.0
        if quantity == 0.0 and not blocked:
            continue

        order = -1
        if logging:
            order = state.counters[Counter.N_ORDERS]
            state.counters[Counter.N_ORDERS] = order + 1
            row = np.uint32(order)
            log.codes[OrderField.BAR, row] = t
            log.codes[OrderField.ASSET, row] = i
            log.codes[OrderField.REASONS, row] = reasons
            log.values[OrderField.WEIGHT, row] = weight
            log.values[OrderField.QUANTITY, row] = quantity
            log.values[OrderField.FILLED, row] = 0.0
        if not blocked:
            new_waiting[place] = i
            new_order[place] = order
            new_wanted[place] = quantity
            n += 1
    if n_waiting > 0:
        for k in range(n):
            waiting[k] = new_waiting[k]
            order_of[k] = new_order[k]
            wanted[k] = new_wanted[k]
    state.counters[Counter.N_WAITING] = n
    bars[BarField.DECISION, t] = kind
    bars[BarField.N_TARGETS, t] = n_targets
    bars[BarField.TARGET_GROSS, t] = gross
    bars[BarField.SIZING_EQUITY, t] = equity
