"""The time loop: fill, mark, decide, bar after bar, resumable at every step."""

from __future__ import annotations

from barloop._jit import kernel
from barloop._kernels.buffers import (
    HELD,
    LAST_SEEN,
    WAITING_ORDER,
    Book,
    Decisions,
    Log,
    Market,
)
from barloop._kernels.fills import book, fill_orders, note
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


@kernel
def mark(
    t: int,
    close: FloatPanel,  # (n_bars, n_assets) NaN where there is no bar
    state: Book,
    bars: FloatBlock,  # (BarField, n_bars), bar t is written
) -> float:
    """Value the account at the last known closes, from nothing, in asset order."""
    position = state.assets[AssetField.POSITION]
    last_close = state.assets[AssetField.LAST_CLOSE]
    held = state.lists[HELD]
    n_held = state.counters[Counter.N_HELD]
    value = 0.0
    gross = 0.0
    for h in range(n_held):
        i = held[h]
        price = close[t, i]
        if price > 0.0:
            last_close[i] = price
        else:
            price = last_close[i]
            if state.counters[Counter.FORWARD_FILLED] == 0:
                state.counters[Counter.FIRST_FORWARD_FILLED_BAR] = t
                state.counters[Counter.FIRST_FORWARD_FILLED_ASSET] = i
            state.counters[Counter.FORWARD_FILLED] += 1
        state.codes[LAST_SEEN, i] = t
        value += position[i] * price
        gross += abs(position[i] * price)
    equity = state.cash[0] + value
    bars[BarField.CASH, t] = state.cash[0]
    bars[BarField.EQUITY, t] = equity
    bars[BarField.GROSS_EXPOSURE, t] = gross
    bars[BarField.N_POSITIONS, t] = n_held
    return equity


@kernel
def close_the_books(
    t: int,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
) -> None:
    """End a ruined account: cancel what waits, close all at last closes, no cost."""
    for k in range(state.counters[Counter.N_WAITING]):
        note(state.codes[WAITING_ORDER, k], Reason.RUINED, log)
    state.counters[Counter.N_WAITING] = 0
    for h in range(state.counters[Counter.N_HELD]):
        i = state.lists[HELD, h]
        price = state.assets[AssetField.LAST_CLOSE, i]
        quantity = -state.assets[AssetField.POSITION, i]
        book(
            t,
            i,
            quantity,
            price,
            price,
            0.0,
            -1,
            FillReason.RUINED,
            True,
            state,
            log,
            bars,
        )
    state.counters[Counter.N_HELD] = 0
    state.counters[Counter.RUINED_AT] = t


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
    timing = int(options[Option.FILL_TIMING])
    asks = options[Option.ASK_FOR_DECISIONS] != 0.0
    fill_room = log.fill_codes.shape[1]
    order_room = log.order_codes.shape[1]
    t = counters[Counter.BAR]
    while t < stop_bar:
        if counters[Counter.PHASE] == Phase.FILL:
            rows = counters[Counter.N_WAITING] + counters[Counter.N_HELD]
            # A fill of each waiting order, then the end of each position.
            rows += counters[Counter.N_WAITING]
            if fill_room > 0 and counters[Counter.N_FILLS] + rows > fill_room:
                return SimStatus.LOG_FULL
            bars[BarField.SCALE, t] = 1.0
            fill_orders(t, market, options, state, log, bars)
            equity = mark(t, market.close, state, bars)
            if equity <= 0.0 and counters[Counter.RUINED_AT] < 0:
                close_the_books(t, state, log, bars)
                mark(t, market.close, state, bars)
            counters[Counter.PHASE] = Phase.DECIDE

        if decisions.kind[t] != Decision.NONE and counters[Counter.RUINED_AT] < 0:
            row = 0 if asks else t
            kind = int(decisions.kind[t])
            if asks:
                kind = counters[Counter.ANSWER]
                if kind < 0:
                    return SimStatus.NEEDS_DECISION
            first, stop = decisions.start[row], decisions.start[row + 1]
            if kind != Decision.NONE:
                rows = counters[Counter.N_HELD] + stop - first
                if order_room > 0:
                    if counters[Counter.N_ORDERS] + rows > order_room:
                        return SimStatus.LOG_FULL
                    # same_close: a fill of each order, then the end of each position.
                    rows = 2 * (rows + counters[Counter.N_WAITING])
                    rows += counters[Counter.N_HELD]
                    if counters[Counter.N_FILLS] + rows > fill_room:
                        return SimStatus.LOG_FULL
                decide(
                    t,
                    kind,
                    first,
                    stop,
                    market.close,
                    decisions,
                    options,
                    state,
                    log,
                    bars,
                )
                if timing == FillTiming.SAME_CLOSE:
                    fill_orders(t, market, options, state, log, bars)
                    equity = mark(t, market.close, state, bars)
                    if equity <= 0.0:
                        close_the_books(t, state, log, bars)
                        mark(t, market.close, state, bars)
            counters[Counter.ANSWER] = -1
        counters[Counter.PHASE] = Phase.FILL
        t += 1
        counters[Counter.BAR] = t
    return SimStatus.DONE
