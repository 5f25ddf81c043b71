"""Fills become trades: each opening matched with what closes it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from barloop._jit import kernel, subkernel
from barloop.typing import (
    ByteVector,
    FloatBlock,
    FloatPanel,
    FloatVector,
    Index,
    IntBlock,
    IntVector,
)

SPLIT = 0
"""Kind of an event: it adds units and divides prices, before anything trades."""
AT_OPEN = 1
"""Kind of an event: a fill at the open or before it."""
INSIDE = 2
"""Kind of an event: a fill after the open; what came later on the bar is not held."""
AT_CLOSE = 3
"""Kind of an event: a fill at the close, with the whole range of the bar before it."""

ENTRY = 0
"""Row of the codes of trades: the event that opened it."""
EXIT = 1
"""Row of the codes of trades: the event that closed the last of it, -1 if none."""
N_CODES = 2

SIDE = 0
"""Row of the values of trades: 1 for long, -1 for short."""
OPENED = 1
"""Row of the values of trades: units opened, in units of the last split."""
PAID = 2
"""Row of the values of trades: their value, currency."""
CLOSED = 3
RECEIVED = 4
COMMISSION = 5
OPEN = 6
"""Row of the values of trades: units still open."""
AVERAGE = 7
"""Row of the values of trades: average entry price of the open units."""
WORST = 8
"""Row of the values of trades: worst move from `AVERAGE`, a fraction, at most 0."""
BEST = 9
N_VALUES = 10

NOISE = 1e-12
"""What is left of a lot or of a closing below this share of it is rounding."""


class Events(NamedTuple):
    """Fills and splits by asset, then in the order in which they happened."""

    bar: IntVector  # (n_events,)
    asset: IntVector  # (n_events,) column of the panel
    kind: ByteVector  # (n_events,) see the names above
    quantity: FloatVector  # (n_events,) signed units
    price: FloatVector  # (n_events,) currency per unit, after slippage
    commission: FloatVector  # (n_events,) currency


class Ranges(NamedTuple):
    """Prices that a position meets, (n_bars, n_assets); `close` for missing panels."""

    open: FloatPanel
    high: FloatPanel
    low: FloatPanel
    close: FloatPanel


class Trades(NamedTuple):
    """What is written: a row for each trade, and the rows that are open."""

    codes: IntBlock  # (N_CODES, 2 * n_events)
    values: FloatBlock  # (N_VALUES, 2 * n_events)
    queue: IntVector  # (n_events,) rows of the open lots of an asset, oldest first


@subkernel
def meet(row: Index, price: float, values: FloatBlock) -> None:
    """Take a price into the worst and the best move of a trade; NaN is none."""
    entry = values[AVERAGE, row]
    if entry > 0.0:
        move = values[SIDE, row] * (price / entry - 1.0)
        if move < values[WORST, row]:
            values[WORST, row] = move
        if move > values[BEST, row]:
            values[BEST, row] = move


@subkernel
def meet_range(
    t: Index,
    i: Index,
    head: Index,
    tail: Index,
    ranges: Ranges,
    trades: Trades,
) -> None:
    """Take the low and the high of a bar into all open lots of an asset."""
    close = ranges.close[t, i]
    if not close > 0.0:
        return
    first, high, low = ranges.open[t, i], ranges.high[t, i], ranges.low[t, i]
    if not high > 0.0:
        high = first if first > close else close
    if not low > 0.0:
        low = first if first < close else close
    for k in range(head, tail):
        meet(trades.queue[k], low, trades.values)
        meet(trades.queue[k], high, trades.values)


@subkernel
def part_lot(row: Index, part: float, rest: float, n: Index, trades: Trades) -> None:
    """Leave `part` units of a lot in its row and put `rest` of it into row n."""
    codes, values = trades.codes, trades.values
    share = part / (part + rest)
    codes[ENTRY, n] = codes[ENTRY, row]
    codes[EXIT, n] = -1
    for name in range(N_VALUES):
        values[name, n] = values[name, row]
    values[OPENED, n] = values[OPEN, n] = rest
    values[PAID, n] = (1.0 - share) * values[PAID, row]
    values[COMMISSION, n] = (1.0 - share) * values[COMMISSION, row]
    values[OPENED, row] = values[OPEN, row] = part
    values[PAID, row] *= share
    values[COMMISSION, row] *= share


@kernel
def match_fills(
    events: Events,
    ranges: Ranges,
    first_in_first_out: bool,  # noqa: FBT001
    trades: Trades,  # written
) -> int:
    """Match openings with closings; return the number of trades.

    With `first_in_first_out` each opening is a lot of its own, and a trade is a lot,
    or a part of it, with the fill that closed it.  Otherwise everything from flat to
    flat, or to the other side, is one trade at its average price.
    """
    codes, values, queue = trades.codes, trades.values, trades.queue
    n_bars = ranges.close.shape[0]
    n_events = events.bar.size
    # Typed zeros: a literal 0 would compile every callee twice.
    n = head = tail = seen = np.int64(0)
    position = 0.0
    for k in range(n_events):
        t, i, kind = events.bar[k], events.asset[k], events.kind[k]
        quantity, price = events.quantity[k], events.price[k]
        if k == 0 or events.asset[k - 1] != i:
            head = tail = seen = np.int64(0)
            position = 0.0

        # What the open lots met since the event before.
        stop = t + 1 if kind == AT_CLOSE else t
        if head < tail:
            for s in range(seen, stop):
                meet_range(s, i, head, tail, ranges, trades)
            if kind == INSIDE and seen <= t:
                for j in range(head, tail):
                    meet(queue[j], ranges.open[t, i], values)
        if kind == INSIDE:
            stop = t + 1
        seen = stop if stop > seen else seen

        after = position + quantity
        size = abs(quantity)
        if kind == SPLIT:
            ratio = after / position
            for j in range(head, tail):
                row = queue[j]
                values[OPENED, row] *= ratio
                values[CLOSED, row] *= ratio
                values[OPEN, row] *= ratio
                values[AVERAGE, row] /= ratio
            position = after
            size = 0.0

        closing = 0.0
        if size > 0.0 and position * quantity < 0.0:
            through = after == 0.0 or after * position < 0.0
            closing = abs(position) if through else size
            left = closing
            while head < tail and (through or left > NOISE * size):
                row = queue[head]
                part = values[OPEN, row]
                rest = 0.0
                if not through:
                    if head + 1 == tail:
                        # The last lot is what the position is, without rounding.
                        part, rest = left, abs(after)
                    elif left < part * (1.0 - NOISE):
                        part, rest = left, part - left
                left -= part
                if rest > 0.0 and first_in_first_out:
                    part_lot(row, part, rest, n, trades)
                    queue[head] = n
                    n += 1
                    rest = 0.0
                elif rest == 0.0:
                    head += 1
                meet(row, price, values)
                values[CLOSED, row] += part
                values[RECEIVED, row] += part * price
                values[COMMISSION, row] += events.commission[k] * (part / size)
                values[OPEN, row] = rest
                if rest == 0.0:
                    codes[EXIT, row] = k
                else:
                    break

        opening = size - closing
        if opening > 0.0 and (closing == 0.0 or after * position < 0.0):
            if closing > 0.0:
                opening = abs(after)
            if head < tail and not first_in_first_out:
                row = queue[head]
                paid = values[AVERAGE, row] * values[OPEN, row] + opening * price
                values[AVERAGE, row] = paid / abs(after)
            else:
                row = n
                n += 1
                queue[tail] = row
                tail += 1
                codes[ENTRY, row] = k
                codes[EXIT, row] = -1
                for name in range(N_VALUES):
                    values[name, row] = 0.0
                values[SIDE, row] = 1.0 if quantity > 0.0 else -1.0
                values[AVERAGE, row] = price
            values[OPENED, row] += opening
            values[PAID, row] += opening * price
            values[OPEN, row] = opening if first_in_first_out else abs(after)
            values[COMMISSION, row] += events.commission[k] * (opening / size)
        position = after

        if k + 1 == n_events or events.asset[k + 1] != i:
            for s in range(seen, n_bars):
                meet_range(s, i, head, tail, ranges, trades)
    return n  # type: ignore[return-value]
