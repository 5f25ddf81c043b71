"""Step 0 of a bar: interest, corporate actions, deposits, on what was held before."""

from __future__ import annotations

import math

import numpy as np

from barloop._jit import subkernel
from barloop._kernels.books import book, drop_closed, drop_waiting, settle
from barloop._kernels.buffers import (
    ATR,
    CASH,
    EXTREME,
    HELD,
    LAST_SEEN,
    PEAK,
    WAITING,
    WAITING_ORDER,
    WAITING_QUANTITY,
    Book,
    CarryRules,
    ExitRules,
    Log,
    OrderRules,
)
from barloop._kernels.costs import at
from barloop._kernels.sizing import known_close
from barloop.enums import (
    ActionKind,
    AssetField,
    BarField,
    Counter,
    Delisted,
    FillReason,
    Option,
    OrderField,
    Reason,
)
from barloop.typing import FloatBlock, FloatPanel, FloatVector, Index

HOLD = float(Delisted.HOLD)
WRITE_OFF = float(Delisted.WRITE_OFF)


@subkernel
def flow(
    t: Index,
    i: Index,
    units: float,  # signed units that come without a price
    amount: float,  # currency received
    reason: int,  # FillReason, from SPLIT on
    options: FloatVector,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
    orders: OrderRules | None,
    exits: ExitRules | None,
    carry: CarryRules,
) -> None:
    """Book what moves cash or units and is no fill."""
    free, no_order = 0.0, np.int64(-1)
    tracks = options[Option.TRACK_ENTRIES] != 0.0
    book(
        t,
        i,
        units,
        free,
        free,
        -amount,
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
def pay_interest(
    t: Index,
    options: FloatVector,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
    orders: OrderRules | None,
    exits: ExitRules | None,
    carry: CarryRules,
) -> None:
    """Interest on cash and the cost of shorts, from the mark of the bar before."""
    cash = state.money[CASH]
    rate = options[Option.CASH_RATE]
    if cash < 0.0:
        rate = options[Option.DEBIT_RATE]
    borrowed = 0.0
    for h in range(state.counters[Counter.N_HELD]):
        i = state.lists[HELD, h]
        units = state.floats[AssetField.POSITION, i]
        if units < 0.0:
            value = -units * state.floats[AssetField.LAST_CLOSE, i]
            borrowed += value * at(carry.borrow_rate, t - np.uint32(1), i)
    account = np.uint32(0)
    units = 0.0
    reason = FillReason.INTEREST
    if cash * rate != 0.0:
        amount = cash * rate
        flow(
            t,
            account,
            units,
            amount,
            reason,
            options,
            state,
            log,
            bars,
            orders,
            exits,
            carry,
        )
    if borrowed != 0.0:
        reason = FillReason.BORROW_COST
        amount = -borrowed
        flow(
            t,
            account,
            units,
            amount,
            reason,
            options,
            state,
            log,
            bars,
            orders,
            exits,
            carry,
        )


@subkernel
def delist(
    t: Index,
    i: Index,
    payout: float,  # delisting return, NaN: the policy decides
    options: FloatVector,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
    orders: OrderRules | None,
    exits: ExitRules | None,
    carry: CarryRules,
) -> None:
    """Cancel what waits for an asset and pay its position out, without costs."""
    why = Reason.DELISTED
    drop_waiting(i, why, state, log)
    units = state.floats[AssetField.POSITION, i]
    policy = options[Option.DELISTED]
    if units == 0.0 or (math.isnan(payout) and policy == HOLD):
        return
    price = state.floats[AssetField.LAST_CLOSE, i]
    if not math.isnan(payout):
        price *= 1.0 + payout
    elif policy == WRITE_OFF:
        price = 0.0
    reason = FillReason.DELISTED
    settle(t, i, price, reason, options, state, log, bars, orders, exits, carry)
    drop_closed(state)


@subkernel
def split(
    t: Index,  # bar of the run
    ex_bar: Index,  # bar of the split, not after t
    i: Index,
    ratio: float,  # new units for one
    close: FloatPanel,  # (n_bars, n_assets)
    options: FloatVector,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
    orders: OrderRules | None,
    exits: ExitRules | None,
    carry: CarryRules,
) -> None:
    """Multiply what is held and waits; divide every price that is remembered."""
    if ex_bar > 0:
        before = np.int64(ex_bar) - np.int64(1)
        known = known_close(before, i, close, state)
        state.floats[AssetField.LAST_CLOSE, i] = known / ratio
        state.codes[LAST_SEEN, i] = before
    state.floats[EXTREME, i] /= ratio
    state.floats[ATR, i] /= ratio
    # With exit rules alone only what `max_drawdown` closes keeps its price.
    has_price = state.counters[Counter.STOPPED_AT] >= 0
    if orders is not None:
        has_price = True
    before_split = state.floats[AssetField.POSITION, i]
    if before_split != 0.0:
        reason = FillReason.SPLIT
        amount = 0.0
        units = before_split * ratio - before_split
        flow(
            t, i, units, amount, reason, options, state, log, bars, orders, exits, carry
        )
    for k in range(state.counters[Counter.N_WAITING]):
        if state.lists[WAITING, k] == i:
            if state.floats[WAITING_QUANTITY, k] == -before_split:
                # An order that closes does so to the last unit, without dust.
                position = state.floats[AssetField.POSITION, i]
                state.floats[WAITING_QUANTITY, k] = -position
            else:
                state.floats[WAITING_QUANTITY, k] *= ratio
            order = state.codes[WAITING_ORDER, k]
            if order >= 0:
                log.values[OrderField.QUANTITY, order] *= ratio
                log.values[OrderField.FILLED, order] *= ratio
                if has_price:
                    log.values[OrderField.PRICE, order] /= ratio


@subkernel
def run_carry(
    t: int,
    close: FloatPanel,  # (n_bars, n_assets)
    options: FloatVector,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
    orders: OrderRules | None,
    exits: ExitRules | None,
    carry: CarryRules,
) -> None:
    """Run step 0 of bar t."""
    now = np.uint32(t)
    first_bar = np.int64(options[Option.FIRST_BAR])
    before = state.money[PEAK]
    actions = carry
    first_action = actions.start[t]
    if t > first_bar:
        before = bars[BarField.EQUITY, t - 1]
        if options[Option.FINANCING] != 0.0:
            pay_interest(now, options, state, log, bars, orders, exits, carry)
    else:
        first_action = actions.start[0]
    deposits = 0.0
    ex_bar = t if t > first_bar else 0
    for a in range(first_action, actions.start[t + 1]):
        while actions.start[ex_bar + 1] <= a:
            ex_bar += 1
        kind = actions.kind[a]
        value = actions.value[a]
        i = np.uint32(actions.asset[a] if actions.asset[a] >= 0 else 0)
        if kind == ActionKind.SPLIT:
            at_bar = np.uint32(ex_bar)
            split(
                now,
                at_bar,
                i,
                value,
                close,
                options,
                state,
                log,
                bars,
                orders,
                exits,
                carry,
            )
        elif kind == ActionKind.DIVIDEND:
            units = state.floats[AssetField.POSITION, i]
            if units != 0.0:
                amount = units * value
                none = 0.0
                why = FillReason.DIVIDEND
                flow(
                    now,
                    i,
                    none,
                    amount,
                    why,
                    options,
                    state,
                    log,
                    bars,
                    orders,
                    exits,
                    carry,
                )
        elif kind == ActionKind.DELISTING:
            delist(now, i, value, options, state, log, bars, orders, exits, carry)
        else:
            deposits += value
    if options[Option.DELIST_AFTER_BARS] > 0.0:
        delist_silent(t, close, options, state, log, bars, orders, exits, carry)
    first_action = actions.start[t]
    for a in range(first_action, actions.start[t + 1]):
        if actions.kind[a] == ActionKind.DEPOSIT:
            account, none = np.uint32(0), 0.0
            why = FillReason.DEPOSIT
            if actions.value[a] < 0.0:
                why = FillReason.WITHDRAWAL
            amount = actions.value[a]
            flow(
                now,
                account,
                none,
                amount,
                why,
                options,
                state,
                log,
                bars,
                orders,
                exits,
                carry,
            )
    if deposits != 0.0:
        # The peak moves with what is put in: a deposit is no new high.
        state.money[PEAK] *= (before + deposits) / before


@subkernel
def delist_silent(
    t: int,
    close: FloatPanel,  # (n_bars, n_assets)
    options: FloatVector,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
    orders: OrderRules | None,
    exits: ExitRules | None,
    carry: CarryRules,
) -> None:
    """Delist held and waiting assets that had no bar for `delist_after_bars` bars."""
    n_bars = np.int64(options[Option.DELIST_AFTER_BARS])
    now = np.uint32(t)
    policy = math.nan
    counters = state.counters
    h = k = 0
    while h < counters[Counter.N_HELD]:
        i = state.lists[HELD, h]
        n_held = counters[Counter.N_HELD]
        if is_silent(t, i, n_bars, close):
            delist(now, i, policy, options, state, log, bars, orders, exits, carry)
        # Delisting takes an element off the list.
        h += counters[Counter.N_HELD] == n_held
    while k < counters[Counter.N_WAITING]:
        i = state.lists[WAITING, k]
        n_waiting = counters[Counter.N_WAITING]
        if is_silent(t, i, n_bars, close):
            delist(now, i, policy, options, state, log, bars, orders, exits, carry)
        k += counters[Counter.N_WAITING] == n_waiting


@subkernel
def is_silent(t: int, i: Index, n_bars: Index, close: FloatPanel) -> bool:
    """Say whether an asset had no bar on t and the bars before, `n_bars` in all."""
    if t + 1 < n_bars:
        return False
    n_seen = 0
    for s in range(t - n_bars + 1, t + 1):
        n_seen += close[s, i] > 0.0
    return n_seen == 0
