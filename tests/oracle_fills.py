"""Fills of the oracle: what can fill, participation, the sequence, the cash rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from oracle_book import (
    BINDING_CUT,
    CASH_SLACK,
    DUST,
    EDGE,
    HALVINGS,
    INTEGER_SNAP,
    LOT_SLACK,
    NOISE,
    NOTHING_BELOW,
    SCALED_BELOW,
    Book,
    Order,
    cut_to_lots,
    equity_at,
    is_price,
    size_of,
)
from oracle_costs import Terms, terms_of
from oracle_sizing import below_minimum, size_orders


def fill_waiting(book: Book, prices: Mapping[int, float]) -> None:
    """Fill what waits at these base prices, of all assets that can trade at one."""
    can_fill = {i: price for i, price in prices.items() if has_volume(book, i)}
    ready = []
    for order in book.waiting_orders():
        if order.asset in can_fill:
            ready.append(order)
            continue
        order.reasons.add("no_volume" if order.asset in prices else "missing_bar")
        if book.options.missing_bar == "cancel" and order.cause != "max_drawdown":
            book.end(order)
    if ready:
        execute(book, ready, can_fill)


def has_volume(book: Book, i: int) -> bool:
    """Say whether the bar has the volume that an impact model needs."""
    if not book.options.needs_volume:
        return True
    return is_price(book.number(book.t, i, "volume"))


def execute(book: Book, orders: list[Order], prices: Mapping[int, float]) -> None:
    """Size these orders if they are not yet, and fill them in sequence."""
    equity = equity_at(book, prices)
    if book.options.sized_at_fill:
        if abs(equity) <= NOISE * size_of(book):
            book.undecided("sign of the equity at the fill")
        size_orders(book, orders, prices, equity)
    wanted = {}
    for order in orders:
        if order.closing:
            order.waits = -book.held(order.asset)
        if order.sized and not order.made:
            order.waits = 0.0
        wanted[order.asset] = within_participation(book, order)
    steps = [
        Step(
            order=order,
            base=prices[order.asset],
            quantity=wanted[order.asset],
            held=book.held(order.asset),
            terms=terms_of(book, order.asset),
        )
        for order in orders
    ]
    floor = -book.options.max_borrowing * equity
    run_steps(book, in_sequence(book, steps, equity), floor)
    for step in steps:
        rest = step.order.waits - step.quantity
        if book.options.remainder == "pending" and rest != 0:
            step.order.waits = rest
        else:
            book.end(step.order)


def within_participation(book: Book, order: Order) -> float:
    """Return how much of an order the volume of the bar allows."""
    share = book.options.max_participation
    quantity = order.waits
    if share is None or order.cause == "max_drawdown" or quantity == 0:
        return quantity
    volume = book.number(book.t, order.asset, "volume") or 0.0
    room = max(0.0, share * volume - book.used_volume.get(order.asset, 0.0))
    if room > 0:
        book.undecided_near(room, abs(quantity), EDGE * room, "is there volume?")
    if abs(quantity) <= room:
        return quantity
    if book.options.whole_shares:
        room, _ = cut_to_lots(book, room)
    order.reasons.add("max_participation")
    return math.copysign(min(room, abs(quantity)), quantity) if room else 0.0


# ---------------------------------------------------------------- the sequence


@dataclass(kw_only=True)
class Step:
    """One order on the point of filling."""

    order: Order
    base: float
    quantity: float
    held: float
    terms: Terms

    @property
    def cover(self) -> float:
        """The part of a buy that brings a short to 0."""
        return min(self.quantity, max(0.0, -self.held))

    @property
    def opens(self) -> bool:
        """Say whether this is a buy with an opening part."""
        return self.quantity > 0 and self.held + self.quantity > 0

    @property
    def reduces(self) -> bool:
        against = self.held * self.quantity < 0
        return against and abs(self.quantity) <= abs(self.held)


def in_sequence(book: Book, steps: list[Step], equity: float) -> list[Step]:
    """Put the steps, which are in asset order, into the order of execution."""
    sequence = book.options.sequence
    if sequence == "sells_first":
        return sorted(steps, key=lambda s: 0 if s.quantity < 0 else 1 + s.opens)
    if sequence == "exits_first":
        return sorted(steps, key=lambda s: 0 if s.reduces else 1 + (s.quantity > 0))
    if sequence == "value_ascending":
        unit = 1e-9 * abs(equity)
        if unit == 0:
            book.undecided("order of the values")
            return steps
        values = [step.quantity * step.base / unit for step in steps]
        note_undecided_order(book, values)
        return [
            steps[k] for k in sorted(range(len(steps)), key=lambda k: round(values[k]))
        ]
    return steps


def note_undecided_order(book: Book, values: list[float]) -> None:
    """Note values that round up or down by noise, where that changes the order."""
    for k, value in enumerate(values):
        others = values[:k] + values[k + 1 :]
        near_half = abs(value - math.floor(value) - 0.5) <= 1e-2
        if near_half and any(abs(value - other) <= 2 for other in others):
            book.undecided("which value is larger?")


def run_steps(book: Book, steps: list[Step], floor: float) -> None:
    if book.options.cash_rule == "scale":
        openers = [step for step in steps if step.opens]
        for step in steps:
            if not step.opens:
                book_step(book, step, step.quantity)
        buys = [opening_buy(step) for step in openers]
        if buys:
            scale_to_cash(book, buys, book.cash - floor)
        for step, buy in zip(openers, buys, strict=True):
            book_step(book, step, buy.cover + buy.opening)
        return
    for step in steps:
        quantity = step.quantity
        if step.opens and book.options.cash_rule != "allow":
            quantity = affordable(book, step, floor)
        book_step(book, step, quantity)


def book_step(book: Book, step: Step, quantity: float) -> None:
    """Move cash and position; a quantity of 0 is no fill."""
    if quantity == 0:
        return
    order, i = step.order, step.order.asset
    price = step.terms.paid(step.base, quantity)
    book.move(
        i,
        quantity,
        price,
        reason=order.cause,
        base=step.base,
        commission=step.terms.commission(quantity, price),
        order=order,
    )
    order.filled += quantity
    book.used_volume[i] = book.used_volume.get(i, 0.0) + abs(quantity)


def close_now(book: Book, i: int, base: float, reason: str) -> None:
    """Sell or cover a whole position without an order, with costs."""
    trade_now(book, i, -book.held(i), base, reason)


def trade_now(book: Book, i: int, quantity: float, base: float, reason: str) -> None:
    terms = terms_of(book, i)
    price = terms.paid(base, quantity)
    commission = terms.commission(quantity, price)
    book.move(i, quantity, price, reason=reason, base=base, commission=commission)


# ---------------------------------------------------------------- one by one


def affordable(book: Book, step: Step, floor: float) -> float:
    """Return what "partial" or "reject" leaves of a buy with an opening part."""
    cash, wanted = book.cash, step.quantity - step.cover

    def left(opening: float) -> float:
        return cash - step.terms.outlay(step.base, step.cover + opening) - floor

    shortage = -left(wanted)
    slack = CASH_SLACK * abs(cash)
    noise = NOISE * (abs(cash) + abs(floor) + step.quantity * step.base)
    if slack or abs(shortage) > 0:
        book.undecided_near(shortage, slack, noise, "can cash pay for it?")
    if shortage <= slack:
        return step.quantity
    if book.options.cash_rule == "reject":
        step.order.reasons.add("rejected_for_cash")
        return step.cover
    step.order.reasons.add("partial_cash")
    low, high = 0.0, wanted
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if left(middle) >= 0 else (low, middle)
    if low > 0:
        book.undecided_near(low / wanted, DUST, 1e-2 * DUST, "anything to buy?")
    if low <= DUST * wanted:
        return step.cover
    if book.options.whole_shares:
        low, _ = cut_to_lots(book, low)
    return step.cover + low


# ---------------------------------------------------------------- one common factor


@dataclass(kw_only=True)
class Buy:
    """A buy with an opening part; what it covers first is never scaled."""

    order: Order | None
    base: float
    terms: Terms
    cover: float  # brings a short to 0; 0 for a plain buy
    wanted: float  # the opening part before scaling
    opening: float  # the opening part that fills


def opening_buy(step: Step) -> Buy:
    opening = step.quantity - step.cover
    return Buy(
        order=step.order,
        base=step.base,
        terms=step.terms,
        cover=step.cover,
        wanted=opening,
        opening=opening,
    )


def cost_of(buy: Buy, opening: float) -> float:
    """Return the cash that a buy takes when its opening part is `opening`."""
    return buy.terms.outlay(buy.base, buy.cover + opening)


def scale_to_cash(book: Book, buys: list[Buy], available: float) -> None:
    """Shrink the opening parts so that the buys cost no more than `available`."""
    factor = cash_factor(book, buys, available)
    if factor == 1:
        return
    factor *= 1 - BINDING_CUT
    book.result.factors[-1].append(factor)
    for buy in buys:
        buy.opening = factor * buy.wanted
        if factor < SCALED_BELOW:
            buy.order.reasons.add("scaled_to_cash")
    if book.options.whole_shares:
        floor_to_lots(book, buys)
        hand_out_lots(book, buys, factor, available)
    for buy in buys:
        # A flip is one order: the minimum looks at all of it, and takes the part
        # that opens.
        value = (buy.cover + buy.opening) * buy.base
        if buy.opening > 0 and below_minimum(book, value):
            buy.opening = 0.0
            buy.order.reasons.add("below_min_trade_value")


def cash_factor(book: Book, buys: list[Buy], available: float) -> float:
    """Return the largest factor in [0, 1] whose cost is at most `available`.

    The cost rises with the factor, and jumps at 0, where a fill comes into being and
    owes a commission.
    """

    def cost(factor: float) -> float:
        return sum(cost_of(buy, factor * buy.wanted) for buy in buys)

    whole = cost(1.0)
    noise = NOISE * (whole + abs(book.cash) + abs(available))
    if abs(whole - available) <= 10 * noise:
        note_undecided_binding(book, buys)
    if whole <= available:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if cost(middle) <= available:
            low = middle
        else:
            high = middle
    if abs(low - SCALED_BELOW) <= 1e-12:
        book.undecided("scaled enough to say so?")
    if 0.1 * NOTHING_BELOW <= low <= 100 * NOTHING_BELOW:
        # All there is to spend may be what an earlier cut left over.
        book.undecided("worth buying at all?")
    return low if low > NOTHING_BELOW else 0.0


def note_undecided_binding(book: Book, buys: list[Buy]) -> None:
    """Note a factor that is 1 or a hair below, where that makes a difference.

    It does when the minimum is looked at again, which happens after a binding factor
    only.
    """
    for buy in buys:
        value = (buy.cover + buy.wanted) * buy.base
        if value < book.options.min_trade_value * (1 + EDGE):
            book.undecided("does the factor bind?")


def floor_to_lots(book: Book, buys: list[Buy]) -> None:
    # A count that should be an integer lies below it by the cut of the factor, which
    # rounding errors do not reach; `hand_out_lots` gives it back.
    lot_size = book.options.lot_size
    for buy in buys:
        buy.opening = math.floor(buy.opening / lot_size) * lot_size


def hand_out_lots(book: Book, buys: list[Buy], factor: float, available: float) -> None:
    """Spend what is left on at most one more lot per name, largest remainder first."""
    lot_size = book.options.lot_size
    remainders = [
        (factor * buy.wanted / lot_size - buy.opening / lot_size) for buy in buys
    ]
    note_undecided_ties(book, remainders)
    order = sorted(range(len(buys)), key=lambda k: -round(remainders[k], 6))
    spent = sum(cost_of(buy, buy.opening) for buy in buys)
    for k in order:
        buy = buys[k]
        larger = buy.opening + lot_size
        if larger > buy.wanted + INTEGER_SNAP * lot_size:
            continue
        added = cost_of(buy, larger) - cost_of(buy, buy.opening)
        left = available + LOT_SLACK * abs(available) - spent - added
        if abs(left) <= NOISE * (abs(book.cash) + spent + added):
            book.undecided("does one more lot fit?")
        if left >= 0:
            buy.opening = larger
            spent += added


def note_undecided_ties(book: Book, remainders: list[float]) -> None:
    """Note remainders that round up or down by noise, where that changes the order."""
    millionths = [remainder * 1e6 for remainder in remainders]
    for k, value in enumerate(millionths):
        distance = abs(value - math.floor(value) - 0.5)
        others = millionths[:k] + millionths[k + 1 :]
        if distance <= 0.05 and any(abs(value - other) <= 2 for other in others):
            book.undecided("which remainder is larger?")
