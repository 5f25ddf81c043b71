"""The time loop: fill, mark, decide, bar after bar, resumable at every step."""

from __future__ import annotations

import numpy as np

from barloop._jit import kernel, subkernel
from barloop._kernels.books import drop_all_waiting, settle
from barloop._kernels.buffers import (
    CASH,
    HELD,
    Book,
    CarryRules,
    Decisions,
    ExitRules,
    Log,
    Market,
    OrderRules,
)
from barloop._kernels.carry import run_carry
from barloop._kernels.exits import run_exits
from barloop._kernels.fills import fill_orders
from barloop._kernels.margin import call_margin, stop_at_drawdown
from barloop._kernels.sizing import decide
from barloop.enums import (
    AssetField,
    BarField,
    Counter,
    Decision,
    FillReason,
    FillTiming,
    Option,
    Phase,
    Reason,
    SimStatus,
)
from barloop.typing import FloatBlock, FloatPanel, FloatVector

NEXT_OPEN = float(FillTiming.NEXT_OPEN)
SAME_CLOSE = float(FillTiming.SAME_CLOSE)


@subkernel
def mark(
    t: int,
    close: FloatPanel,  # (n_bars, n_assets) NaN where there is no bar
    state: Book,
    bars: FloatBlock,  # (BarField, n_bars), bar t is written
) -> float:
    """Value the account at the last known closes, from nothing, in asset order."""
    position = state.floats[AssetField.POSITION]
    last_close = state.floats[AssetField.LAST_CLOSE]
    held = state.lists[HELD]
    n_held = state.counters[Counter.N_HELD]
    now = np.uint32(t)
    value = 0.0
    gross = 0.0
    for h in range(n_held):
        i = held[h]
        price = close[now, i]
        if not price > 0.0:
            price = last_close[i]
            # Counted once a bar, not again when the mark is redone.
            if state.counters[Counter.PHASE] == Phase.FILL:
                if state.counters[Counter.FORWARD_FILLED] == 0:
                    state.counters[Counter.FIRST_FORWARD_FILLED_BAR] = t
                    state.counters[Counter.FIRST_FORWARD_FILLED_ASSET] = i
                state.counters[Counter.FORWARD_FILLED] += 1
        last_close[i] = price
        value += position[i] * price
        gross += abs(position[i] * price)
    equity = state.money[CASH] + value
    bars[BarField.CASH, t] = state.money[CASH]
    bars[BarField.EQUITY, t] = equity
    bars[BarField.GROSS_EXPOSURE, t] = gross
    bars[BarField.N_POSITIONS, t] = n_held
    return equity  # type: ignore[no-any-return]


@subkernel
def close_the_books(
    t: int,
    options: FloatVector,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
    orders: OrderRules | None,
    exits: ExitRules | None,
    carry: CarryRules | None,
) -> None:
    """End a ruined account: cancel what waits, close all at last closes, no cost."""
    why = Reason.RUINED
    drop_all_waiting(why, state, log)
    now = np.uint32(t)
    reason = FillReason.RUINED
    for h in range(state.counters[Counter.N_HELD]):
        i = state.lists[HELD, h]
        price = state.floats[AssetField.LAST_CLOSE, i]
        settle(now, i, price, reason, options, state, log, bars, orders, exits, carry)
    state.counters[Counter.N_HELD] = 0
    state.counters[Counter.RUINED_AT] = t
    bars[BarField.CASH, t] = state.money[CASH]
    bars[BarField.EQUITY, t] = state.money[CASH]
    bars[BarField.GROSS_EXPOSURE, t] = 0.0
    bars[BarField.N_POSITIONS, t] = 0.0


@subkernel
def rows_needed(
    t: int, state: Book, exits: ExitRules | None, carry: CarryRules | None
) -> int:
    """Return how many rows of the journal the fills and flows of a bar may take."""
    n_held = state.counters[Counter.N_HELD]
    n_waiting = state.counters[Counter.N_WAITING]
    # A fill of each waiting order, then the end of each position.
    rows = 2 * n_waiting + n_held
    if exits is not None:
        # Exits, margin calls.
        rows += 2 * (n_held + n_waiting)
    if carry is not None:
        # Delistings, interest, borrowing and the actions of the bar.
        rows += n_held + 2 + carry.start[t + 1] - carry.start[t]
    return rows  # type: ignore[no-any-return]


@kernel
def advance(
    stop_bar: int,  # run the bars before this one
    market: Market,
    decisions: Decisions,
    options: FloatVector,  # (Option,)
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars), written for each bar that runs
    orders: OrderRules | None,  # None where not needed: see `Extras`
    exits: ExitRules | None,
    carry: CarryRules | None,
) -> int:
    """Run bars from where the state stands; return a SimStatus and stand there.

    One bar at a time, a window or everything: the same code and the same bits.  It
    returns early when a decision is asked for from outside or when the log may be
    too small for the next step; call it again after answering or growing the log.
    """
    counters = state.counters
    at_open = options[Option.FILL_TIMING] == NEXT_OPEN
    same_close = options[Option.FILL_TIMING] == SAME_CLOSE
    asks = options[Option.ASK_FOR_DECISIONS] != 0.0
    room = log.codes.shape[1]
    t = counters[Counter.BAR]
    while t < stop_bar:
        if counters[Counter.PHASE] != Phase.DECIDE:
            if room > 0:
                rows = rows_needed(t, state, exits, carry)
                if counters[Counter.N_FILLS] + rows > room:
                    return SimStatus.LOG_FULL
            is_fill = counters[Counter.PHASE] == Phase.FILL
            if is_fill:
                bars[BarField.SCALE, t] = 1.0
            close = market.close
            exits_now = False
            if exits is not None:
                rows = counters[Counter.N_HELD] + counters[Counter.N_WAITING]
                if room > 0 and counters[Counter.N_ORDERS] + rows > room:
                    return SimStatus.LOG_FULL
                exits_now = is_fill & (options[Option.HAS_EXITS] != 0.0)
            if carry is not None:
                if is_fill and counters[Counter.RUINED_AT] < 0:
                    run_carry(t, close, options, state, log, bars, orders, exits, carry)
            if exits is None:
                if counters[Counter.N_WAITING] > 0:
                    fill_orders(
                        t, market, options, state, log, bars, orders, exits, carry
                    )
            else:
                # Exits come after the fills at the open and before those at the close.
                for step in range(2):
                    if (step == 0) != at_open:
                        if exits_now:
                            run_exits(
                                t,
                                market,
                                options,
                                state,
                                log,
                                bars,
                                orders,
                                exits,
                                carry,
                            )
                    elif counters[Counter.N_WAITING] > 0:
                        fill_orders(
                            t, market, options, state, log, bars, orders, exits, carry
                        )
            equity = mark(t, close, state, bars)
            if exits is not None:
                if is_fill and equity > 0.0:
                    called = call_margin(
                        t, close, options, state, log, bars, orders, exits, carry
                    )
                    if called:
                        n_carried = counters[Counter.FORWARD_FILLED]
                        equity = mark(t, close, state, bars)
                        counters[Counter.FORWARD_FILLED] = n_carried
                    stop_at_drawdown(t, equity, options, state, log)
            if equity <= 0.0 and counters[Counter.RUINED_AT] < 0:
                close_the_books(t, options, state, log, bars, orders, exits, carry)
            if not is_fill:
                counters[Counter.PHASE] = Phase.FILL
                t += 1
                counters[Counter.BAR] = t
                continue
            counters[Counter.PHASE] = Phase.DECIDE

        close = market.close
        kind = decisions.kind[t]
        stops = False
        if counters[Counter.RUINED_AT] >= 0:
            kind = 0  # Decision.NONE
        if exits is not None:
            if counters[Counter.STOPPED_AT] >= 0:
                kind = 0
                stops = counters[Counter.STOPPED_AT] == t
        row = t
        if asks and kind != Decision.NONE:
            kind = counters[Counter.ANSWER]
            if kind < 0:
                return SimStatus.NEEDS_DECISION
            row = 0
        if kind != Decision.NONE:
            first, stop = decisions.start[row], decisions.start[row + 1]
            if room > 0:
                rows = counters[Counter.N_HELD] + stop - first
                if counters[Counter.N_ORDERS] + rows > room:
                    return SimStatus.LOG_FULL
            decide(
                t,
                kind,
                first,
                stop,
                close,
                decisions,
                options,
                state,
                log,
                bars,
                orders,
                exits,
            )
        counters[Counter.ANSWER] = -1
        if same_close and (kind != Decision.NONE or stops):
            counters[Counter.PHASE] = Phase.REFILL
            continue
        counters[Counter.PHASE] = Phase.FILL
        t += 1
        counters[Counter.BAR] = t
    return SimStatus.DONE
