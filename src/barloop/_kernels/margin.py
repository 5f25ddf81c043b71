"""What is enforced at the mark: maintenance margin and maximum drawdown."""

from __future__ import annotations

import math

import numpy as np

from barloop._jit import subkernel
from barloop._kernels.books import drop_all_waiting, drop_closed, drop_waiting, trade
from barloop._kernels.buffers import (
    HELD,
    PEAK,
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
from barloop._kernels.costs import cost_of
from barloop._kernels.quantity import HALVINGS
from barloop._kernels.tolerances import INTEGER_TOLERANCE, MARGIN_TOLERANCE
from barloop.enums import (
    AssetField,
    BarField,
    Counter,
    FillReason,
    Option,
    OrderField,
    Reason,
    Rounding,
)
from barloop.typing import FloatBlock, FloatPanel, FloatVector

FRACTIONAL = float(Rounding.FRACTIONAL)


@subkernel
def call_margin(
    t: int,
    close: FloatPanel,  # (n_bars, n_assets)
    options: FloatVector,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
    orders: OrderRules | None,
    exits: ExitRules | None,
    carry: CarryRules | None,
) -> bool:
    """Reduce all positions by one common factor when equity is below maintenance."""
    ratio = options[Option.MAINTENANCE]
    equity = bars[BarField.EQUITY, t]
    needed = ratio * bars[BarField.GROSS_EXPOSURE, t]
    if not ratio > 0.0 or equity >= needed * (1.0 - MARGIN_TOLERANCE):
        return False
    now = np.uint32(t)
    held = state.lists[HELD]
    position = state.floats[AssetField.POSITION]
    n_held = state.counters[Counter.N_HELD]
    fixed = movable = 0.0
    for h in range(n_held):
        i = held[h]
        value = abs(position[i] * state.floats[AssetField.LAST_CLOSE, i])
        if close[now, i] > 0.0:
            movable += value
        else:
            fixed += value
    if movable == 0.0:
        return False
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        cost = 0.0
        for h in range(n_held):
            i = held[h]
            if close[now, i] > 0.0:
                quantity = -(1.0 - middle) * position[i]
                cost += cost_of(now, i, quantity, close[now, i], options, orders)
        if equity - cost >= ratio * (fixed + middle * movable):
            low = middle
        else:
            high = middle
    lot = options[Option.LOT_SIZE]
    reason = FillReason.MARGIN_CALL
    why = Reason.CANCELLED_BY_MARGIN_CALL
    for h in range(n_held):
        i = held[h]
        if not close[now, i] > 0.0:
            continue
        units = (1.0 - low) * abs(position[i])
        if options[Option.ROUNDING] != FRACTIONAL:
            units = math.ceil(units / lot - INTEGER_TOLERANCE) * lot
        if units >= abs(position[i]):
            units = abs(position[i])
        if units == 0.0:
            continue
        quantity = -units if position[i] > 0.0 else units
        if state.counters[Counter.STOPPED_AT] < 0:
            # What `max_drawdown` closes stays to be closed.
            drop_waiting(i, why, state, log)
        base = close[now, i]
        trade(
            now,
            i,
            quantity,
            base,
            reason,
            options,
            state,
            log,
            bars,
            orders,
            exits,
            carry,
        )
    drop_closed(state)
    return True


@subkernel
def stop_at_drawdown(
    t: int,
    equity: float,  # currency, at the mark
    options: FloatVector,
    state: Book,
    log: Log,
) -> None:
    """Close everything for good when equity has fallen too far below its peak."""
    share = options[Option.MAX_DRAWDOWN]
    counters = state.counters
    if not share > 0.0 or counters[Counter.STOPPED_AT] >= 0 or equity <= 0.0:
        return
    if equity > state.money[PEAK]:
        state.money[PEAK] = equity
    if equity > state.money[PEAK] * (1.0 - share):
        return
    counters[Counter.STOPPED_AT] = t
    why = Reason.MAX_DRAWDOWN
    drop_all_waiting(why, state, log)
    n_held = counters[Counter.N_HELD]
    for h in range(n_held):
        i = state.lists[HELD, h]
        quantity = -state.floats[AssetField.POSITION, i]
        order = np.int64(-1)
        if log.codes.shape[1] > 0:
            order = counters[Counter.N_ORDERS]
            row = np.uint32(order)
            counters[Counter.N_ORDERS] = order + 1
            log.codes[OrderField.BAR, row] = t
            log.codes[OrderField.ASSET, row] = i
            log.codes[OrderField.REASONS, row] = 1 << Reason.MAX_DRAWDOWN
            log.values[OrderField.EQUITY, row] = equity
            log.values[OrderField.PRICE, row] = state.floats[AssetField.LAST_CLOSE, i]
            log.values[OrderField.WEIGHT, row] = 0.0
            log.values[OrderField.LIMITED_WEIGHT, row] = 0.0
            log.values[OrderField.QUANTITY, row] = quantity
            log.values[OrderField.FILLED, row] = 0.0
        state.lists[WAITING, h] = i
        state.codes[WAITING_ORDER, h] = order
        state.floats[WAITING_QUANTITY, h] = quantity
        state.floats[WAITING_WEIGHT, h] = 0.0
    counters[Counter.N_WAITING] = n_held
