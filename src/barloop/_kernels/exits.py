"""Exits: levels that follow a position, looked up on each bar."""

from __future__ import annotations

import math

import numpy as np

from barloop._jit import subkernel
from barloop._kernels.books import drop_closed, drop_waiting, trade
from barloop._kernels.buffers import (
    ATR,
    EXIT_BAR,
    EXTREME,
    HELD,
    REFUSED_AT,
    Book,
    CarryRules,
    ExitRules,
    Log,
    Market,
    OrderRules,
)
from barloop.enums import AssetField, Counter, FillReason, Option, Reason, TrailOn
from barloop.typing import FloatBlock, FloatVector, Index

ON_EXTREME = float(TrailOn.EXTREME)


@subkernel
def find_exit(
    side: float,  # +1 of a long, -1 of a short
    opened: float,  # currency per unit, NaN where null
    high: float,  # currency per unit
    low: float,  # currency per unit
    level: float,  # of the stop, NaN if there is none
    target: float,  # NaN if there is none
) -> tuple[float, bool]:
    """Return the price before slippage, NaN without an exit, and whether it stops."""
    # Seen from a long; of a short all is mirrored.  NaN fails every test.
    best, worst = high, low
    if side < 0.0:
        best, worst = low, high
    if side * opened <= side * level:
        return opened, True
    if side * opened >= side * target:
        return opened, False
    if side * worst <= side * level:
        return level if side * level < side * best else best, True
    if side * best >= side * target:
        return target if side * target > side * worst else worst, False
    return math.nan, False


@subkernel
def run_exits(
    t: Index,
    market: Market,
    options: FloatVector,
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
    orders: OrderRules | None,
    exits: ExitRules,
    carry: CarryRules | None,
) -> None:
    """Close what a level or the age of a position ends on t, then move the trails."""
    now = np.uint32(t)
    counters = state.counters
    held = state.lists[HELD]
    position = state.floats[AssetField.POSITION]
    entries = state.floats[AssetField.ENTRY_PRICE]
    entry_bar = state.floats[AssetField.ENTRY_BAR]
    extreme = state.floats[EXTREME]
    atr = state.floats[ATR]
    # Read once: the compiler cannot know that the books leave the options alone.
    stop_loss = options[Option.STOP_LOSS]
    take_profit = options[Option.TAKE_PROFIT]
    multiple = options[Option.ATR_MULTIPLE]
    trailing = options[Option.TRAILING_STOP]
    tighten = options[Option.TIGHTEN_PER_BAR]
    least = options[Option.TRAILING_FLOOR]
    longest = options[Option.MAX_BARS_HELD]
    on_entry = options[Option.ON_ENTRY_BAR] != 0.0
    trails = trailing > 0.0
    follows_extreme = options[Option.TRAIL_ON] == ON_EXTREME
    has_levels = trails | (stop_loss + take_profit + multiple > 0.0)
    changed = False
    for h in range(counters[Counter.N_HELD]):
        i = held[np.uint32(h)]
        close = market.close[now, i]
        if not close > 0.0:
            continue
        opened = market.open[now, i]
        side = 1.0 if position[i] > 0.0 else -1.0
        age = t - entry_bar[i]
        looks = on_entry | (age > 0.0)
        base = math.nan
        reason = FillReason.MAX_BARS_HELD
        high = low = close
        if has_levels:
            high, low = exits.high[now, i], exits.low[now, i]
            if not (high > 0.0 and low > 0.0):
                other = opened if opened > 0.0 else close
                if not high > 0.0:
                    high = other if other > close else close
                if not low > 0.0:
                    low = other if other < close else close
                if looks:
                    if counters[Counter.NULL_RANGES] == 0:
                        counters[Counter.FIRST_NULL_RANGE_BAR] = t
                        counters[Counter.FIRST_NULL_RANGE_ASSET] = i
                    counters[Counter.NULL_RANGES] += 1
        if looks and longest > 0.0 and age >= longest and opened > 0.0:
            base = opened
        elif looks and has_levels:
            entry = entries[i]
            level = math.nan
            reason = FillReason.STOP_LOSS
            if stop_loss > 0.0:
                level = entry * (1.0 - side * stop_loss)
            if multiple > 0.0 and atr[i] > 0.0:
                other = entry - side * multiple * atr[i]
                if not side * other <= side * level:
                    level = other
                    reason = FillReason.ATR_STOP
            if trails:
                share = trailing - tighten * age
                share = share if share > least else least
                other = extreme[i] * (1.0 - side * share)
                if not side * other <= side * level:
                    level = other
                    reason = FillReason.TRAILING_STOP
            target = math.nan
            if take_profit > 0.0:
                target = entry * (1.0 + side * take_profit)
            base, stops = find_exit(side, opened, high, low, level, target)
            if not stops:
                reason = FillReason.TAKE_PROFIT
        if base > 0.0:
            trade(
                now,
                i,
                -position[i],
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
            why = Reason.CANCELLED_BY_EXIT
            drop_waiting(i, why, state, log)
            state.codes[EXIT_BAR, i] = t
            state.codes[REFUSED_AT, i] = counters[Counter.N_COMPLETE]
            changed = True
        elif trails:
            reached = close
            if follows_extreme:
                reached = high if side > 0.0 else low
            if side * reached > side * extreme[i]:
                extreme[i] = reached
    if changed:
        drop_closed(state)
