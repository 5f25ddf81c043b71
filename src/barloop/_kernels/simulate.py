"""The time loop: fill, mark, decide, bar after bar, resumable at every step."""

from __future__ import annotations

import numpy as np

from barloop._jit import kernel, subkernel
from barloop._kernels.buffers import (
    HELD,
    WAITING_ORDER,
    Book,
    Decisions,
    Log,
    Market,
)
from barloop._kernels.fills import book, fill_orders
from barloop._kernels.sizing import decide
from barloop.enums import (
    AssetField,
    BarField,
    Counter,
    Decision,
    FillReason,
    FillTiming,
    Option,
    OrderField,
    Phase,
    Reason,
    SimStatus,
)
from barloop.typing import FloatBlock, FloatPanel, FloatVector

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
    equity = state.cash[0] + value
    bars[BarField.CASH, t] = state.cash[0]
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
) -> None:
    """End a ruined account: cancel what waits, close all at last closes, no cost."""
    for k in range(state.counters[Counter.N_WAITING]):
        order = state.codes[WAITING_ORDER, k]
        if order >= 0:
            log.codes[OrderField.REASONS, order] |= 1 << Reason.RUINED
    state.counters[Counter.N_WAITING] = 0
    free = 0.0
    no_order = np.int64(-1)
    now = np.uint32(t)
    tracks = options[Option.TRACK_ENTRIES] != 0.0
    for h in range(state.counters[Counter.N_HELD]):
        i = state.lists[HELD, h]
        price = state.floats[AssetField.LAST_CLOSE, i]
        quantity = -state.floats[AssetField.POSITION, i]
        reason = FillReason.RUINED
        book(
            now,
            i,
            quantity,
            price,
            price,
            free,
            no_order,
            reason,
            tracks,
            state,
            log,
            bars,
        )
    state.counters[Counter.N_HELD] = 0
    state.counters[Counter.RUINED_AT] = t
    bars[BarField.CASH, t] = state.cash[0]
    bars[BarField.EQUITY, t] = state.cash[0]
    bars[BarField.GROSS_EXPOSURE, t] = 0.0
    bars[BarField.N_POSITIONS, t] = 0.0


@kernel
def advance(
    stop_bar: int,  # run the bars before this one
    market: Market,
    decisions: Decisions,
    options: FloatVector,  # (Option,)
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars), written for each bar that runs
) -> int:
    """Run bars from where the state stands; return a SimStatus and stand there.

    One bar at a time, a window or everything: the same code and the same bits.  It
    returns early when a decision is asked for from outside or when the log may be
    too small for the next step; call it again after answering or growing the log.
    """
    counters = state.counters
    same_close = options[Option.FILL_TIMING] == SAME_CLOSE
    asks = options[Option.ASK_FOR_DECISIONS] != 0.0
    room = log.codes.shape[1]
    t = counters[Counter.BAR]
    while t < stop_bar:
        if counters[Counter.PHASE] != Phase.DECIDE:
            if room > 0:
                # A fill of each waiting order, then the end of each position.
                rows = 2 * counters[Counter.N_WAITING] + counters[Counter.N_HELD]
                if counters[Counter.N_FILLS] + rows > room:
                    return SimStatus.LOG_FULL
            if counters[Counter.PHASE] == Phase.FILL:
                bars[BarField.SCALE, t] = 1.0
            if counters[Counter.N_WAITING] > 0:
                fill_orders(t, market, options, state, log, bars)
            equity = mark(t, market.close, state, bars)
            if equity <= 0.0 and counters[Counter.RUINED_AT] < 0:
                close_the_books(t, options, state, log, bars)
            if counters[Counter.PHASE] == Phase.REFILL:
                counters[Counter.PHASE] = Phase.FILL
                t += 1
                counters[Counter.BAR] = t
                continue
            counters[Counter.PHASE] = Phase.DECIDE

        kind = decisions.kind[t]
        if counters[Counter.RUINED_AT] >= 0:
            kind = 0  # Decision.NONE
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
            close = market.close
            decide(t, kind, first, stop, close, decisions, options, state, log, bars)
        counters[Counter.ANSWER] = -1
        if same_close and kind != Decision.NONE:
            counters[Counter.PHASE] = Phase.REFILL
            continue
        counters[Counter.PHASE] = Phase.FILL
        t += 1
        counters[Counter.BAR] = t
    return SimStatus.DONE
