"""A decision becomes waiting orders: target weights against positions."""

from __future__ import annotations

import math

import numpy as np

from barloop._jit import subkernel
from barloop._kernels.books import move_waiting
from barloop._kernels.buffers import (
    EXIT_BAR,
    FINAL_QUANTITY,
    HELD,
    LAST_SEEN,
    REFUSED_AT,
    SCRATCH,
    SCRATCH_ORDER,
    SCRATCH_QUANTITY,
    SCRATCH_WEIGHT,
    WAITING,
    WAITING_ORDER,
    WAITING_QUANTITY,
    WAITING_WEIGHT,
    Book,
    Decisions,
    ExitRules,
    Log,
    OrderRules,
)
from barloop._kernels.quantity import size_order, whole_lots
from barloop._kernels.tolerances import GROSS_TOLERANCE, TURNOVER_TOLERANCE
from barloop.enums import (
    AssetField,
    AtDecision,
    BarField,
    Counter,
    Decision,
    OnExcess,
    Option,
    OrderField,
    Reason,
    Rounding,
    SizeAt,
)
from barloop.typing import FloatBlock, FloatPanel, FloatVector, Index

FRACTIONAL = float(Rounding.FRACTIONAL)
SKIP = float(AtDecision.SKIP)
SCALE = float(OnExcess.SCALE)
AT_FILL = float(SizeAt.FILL)


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
def gross_scale(
    first: int,  # first pair of the decision
    stop: int,  # one past its last pair
    decisions: Decisions,
    options: FloatVector,
) -> float:
    """Return the factor that brings capped weights to `max_gross`; 1 if they fit."""
    most = options[Option.MAX_WEIGHT]
    gross = 0.0
    for j in range(first, stop):
        size = abs(decisions.weight[j])
        gross += size if size < most else most
    limit = options[Option.MAX_GROSS]
    if options[Option.ON_EXCESS] == SCALE and gross > limit + GROSS_TOLERANCE:
        return limit / gross  # type: ignore[no-any-return]
    return 1.0


@subkernel
def is_blocked(
    t: Index,
    i: Index,
    weight: float,
    complete: bool,  # noqa: FBT001
    options: FloatVector,
    state: Book,
) -> bool:
    """Say whether an exit still keeps an asset from being bought again."""
    exit_bar = state.codes[EXIT_BAR]
    refused_at = state.codes[REFUSED_AT]
    if exit_bar[i] < 0:
        return False
    bars = options[Option.REENTRY_BARS]
    if bars >= 0.0:
        return t < exit_bar[i] + bars  # type: ignore[no-any-return]
    # Blocked as long as every complete decision since the exit named it.
    n_complete = state.counters[Counter.N_COMPLETE]
    named = refused_at[i] == n_complete - (1 if complete else 0)
    if named and weight != 0.0:
        refused_at[i] = n_complete
        return True
    exit_bar[i] = -1
    return False


@subkernel
def limit_turnover(
    equity: float,  # currency
    options: FloatVector,
    state: Book,
    log: Log,
) -> None:
    """Scale the opening parts of the orders of one decision to `max_turnover`.

    FINAL_QUANTITY holds the price of each waiting order that takes part, else NaN.
    """
    waiting = state.lists[WAITING]
    order_of = state.codes[WAITING_ORDER]
    wanted = state.floats[WAITING_QUANTITY]
    price = state.floats[FINAL_QUANTITY]
    position = state.floats[AssetField.POSITION]
    n_waiting = state.counters[Counter.N_WAITING]
    closing = opening = 0.0
    for k in range(n_waiting):
        if price[k] > 0.0:
            open_part, close_part = parts(wanted[k], position[waiting[k]])
            opening += abs(open_part) * price[k]
            closing += abs(close_part) * price[k]
    room = options[Option.MAX_TURNOVER] * 2.0 * equity
    if closing + opening <= room * (1.0 + TURNOVER_TOLERANCE) or opening == 0.0:
        return
    factor = (room - closing) / opening
    factor = factor if factor > 0.0 else 0.0
    whole = options[Option.ROUNDING] != FRACTIONAL
    for k in range(n_waiting):
        if not price[k] > 0.0:
            continue
        open_part, close_part = parts(wanted[k], position[waiting[k]])
        if open_part == 0.0:
            continue
        reasons = 1 << Reason.MAX_TURNOVER
        scaled = factor * open_part
        if whole:
            scaled = whole_lots(scaled, options[Option.LOT_SIZE])
        value = abs(close_part + scaled) * price[k]
        if scaled != 0.0 and value < options[Option.MIN_TRADE_VALUE]:
            scaled = 0.0
            reasons |= 1 << Reason.BELOW_MIN_TRADE_VALUE
        wanted[k] = close_part + scaled
        if order_of[k] >= 0:
            log.codes[OrderField.REASONS, order_of[k]] |= reasons


@subkernel
def parts(quantity: float, position: float) -> tuple[float, float]:
    """Split an order into what opens and what closes, signed units."""
    if quantity * position >= 0.0:
        return quantity, 0.0
    beyond = position + quantity
    if beyond * position < 0.0:
        return beyond, -position
    return 0.0, quantity


@subkernel
def drop_empty(state: Book) -> None:
    """Take orders whose quantity was scaled to 0 off the waiting list."""
    n = 0
    for k in range(state.counters[Counter.N_WAITING]):
        move_waiting(k, n, state)
        n += state.floats[WAITING_QUANTITY, n] != 0.0
    state.counters[Counter.N_WAITING] = n


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
    orders: OrderRules | None,
    exits: ExitRules | None,
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
    skips = options[Option.AT_DECISION] == SKIP
    rounding = options[Option.ROUNDING]
    least = options[Option.MIN_TRADE_VALUE]
    replaced = Reason.REPLACED
    logging = log.codes.shape[1] > 0
    new_weight = state.floats[SCRATCH_WEIGHT]

    if n_waiting == 0:
        # Nothing to keep: write the new list in place.
        new_waiting, new_order, new_wanted = waiting, order_of, wanted
        new_weight = state.floats[WAITING_WEIGHT]
    now = np.uint32(t)
    scale = 1.0
    prices = state.floats[FINAL_QUANTITY]
    if orders is not None:
        scale = gross_scale(first, stop, decisions, options)
    if exits is not None:
        if complete:
            state.counters[Counter.N_COMPLETE] += 1

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
                if orders is not None:
                    new_weight[place] = state.floats[WAITING_WEIGHT, w]
                    prices[place] = math.nan
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
        limited = weight
        limits = 0
        refused = False
        if exits is not None:
            if options[Option.HAS_EXITS] != 0.0:
                refused = is_blocked(t, i, weight, complete, options, state)
                refused = refused & (weight != 0.0)
        if orders is not None:
            most = options[Option.MAX_WEIGHT]
            if abs(weight) > most and not refused:
                limited = most if weight > 0.0 else -most
                limits |= 1 << Reason.MAX_WEIGHT
            if scale != 1.0 and weight != 0.0 and not refused:
                limited *= scale
                limits |= 1 << Reason.MAX_GROSS
        quantity, reasons, blocked = size_order(
            now,
            i,
            limited,
            equity,
            price,
            current,
            rounding,
            least,
            options,
            orders,
        )
        reasons |= limits
        if orders is not None:
            if options[Option.SIZE_AT] == AT_FILL:
                quantity = math.nan
                reasons = limits
                blocked = False
                if limited == 0.0 and current == 0.0:
                    quantity = 0.0
        if math.isnan(price):
            reasons = limits | 1 << Reason.NOT_LISTED
            blocked = weight != 0.0
            quantity = math.nan if blocked else 0.0
        elif skips and not close[t, i] > 0.0:
            reasons = limits | 1 << Reason.NO_BAR
            blocked = (weight != 0.0) | (current != 0.0)
            quantity = math.nan if blocked else 0.0
        if exits is not None:
            if refused:
                reasons = 1 << Reason.BLOCKED_AFTER_EXIT
                blocked = True
                quantity = limited * equity / price - current
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
            if orders is not None:
                log.values[OrderField.LIMITED_WEIGHT, row] = limited
                log.values[OrderField.EQUITY, row] = equity
                log.values[OrderField.PRICE, row] = price
                if options[Option.SIZE_AT] == AT_FILL and not blocked:
                    log.values[OrderField.EQUITY, row] = math.nan
                    log.values[OrderField.PRICE, row] = math.nan
        if not blocked:
            new_waiting[place] = i
            new_order[place] = order
            new_wanted[place] = quantity
            if orders is not None:
                new_weight[place] = limited
                prices[place] = price
            n += 1
    if n_waiting > 0:
        for k in range(n):
            waiting[k] = new_waiting[k]
            order_of[k] = new_order[k]
            wanted[k] = new_wanted[k]
            if orders is not None:
                state.floats[WAITING_WEIGHT, k] = new_weight[k]
    state.counters[Counter.N_WAITING] = n
    if orders is not None:
        at_fill = options[Option.SIZE_AT] == AT_FILL
        if options[Option.MAX_TURNOVER] < math.inf and not at_fill:
            limit_turnover(equity, options, state, log)
            drop_empty(state)
    bars[BarField.DECISION, t] = kind
    bars[BarField.N_TARGETS, t] = n_targets
    bars[BarField.TARGET_GROSS, t] = gross
    bars[BarField.SIZING_EQUITY, t] = equity
