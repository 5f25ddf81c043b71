"""Step 0 of the oracle's bar, its exits, and the tests at the mark."""

from __future__ import annotations

import math
from collections.abc import Mapping

from oracle_book import (
    EDGE,
    HALVINGS,
    MARGIN_SLACK,
    NOISE,
    Action,
    Book,
    Entry,
    Order,
    equity_of,
    gross_of,
    is_price,
    raised_to_lots,
    size_of,
)
from oracle_costs import cost_value, terms_of
from oracle_fills import close_now, trade_now

KINDS = ("split", "dividend", "delisting")

# ---------------------------------------------------------------- carry


def carry(book: Book, actions: list[Action], *, is_first_bar: bool) -> None:
    """Pay and receive what a bar brings before anything trades."""
    if book.ruined:
        return
    if not is_first_bar:
        pay_interest(book)
    for action in sorted(
        (a for a in actions if a.kind in KINDS),
        key=lambda a: (KINDS.index(a.kind), a.asset),
    ):
        apply_action(book, action)
    if book.options.delist_after_bars is not None:
        delist_the_silent(book, book.options.delist_after_bars)
    move_deposits(book, actions)


def pay_interest(book: Book) -> None:
    o = book.options
    if o.bars_per_year is None:
        return
    rate = o.cash_rate if book.cash > 0 else o.debit_rate
    interest = book.cash * rate / o.bars_per_year
    borrowed = sum(
        abs(book.position[i])
        * book.last_close[i]
        * cost_value(book, o.borrow_rate, book.t - 1, i)
        for i in sorted(book.position)
        if book.position[i] < 0
    )
    book.flow("interest", interest)
    book.flow("borrow_cost", -borrowed / o.bars_per_year)


def apply_action(book: Book, action: Action) -> None:
    i, value = action.asset, action.value
    if action.kind == "split":
        book.split(i, value)
    elif action.kind == "dividend":
        book.flow("dividend", book.held(i) * value, i)
    else:
        delist(book, i, value)


def delist(book: Book, i: int, value: float | None = None) -> None:
    """Take an asset off the market, with a return on its last close or without."""
    if i in book.waiting:
        book.end(book.waiting[i], "delisted")
    if i not in book.position:
        return
    if value is not None:
        price = book.last_close[i] * (1 + value)
    elif book.options.delisted == "hold":
        return
    elif book.options.delisted == "cash_out":
        price = book.last_close[i]
    else:
        price = 0.0
    book.move(i, -book.position[i], price, reason="delisted")


def delist_the_silent(book: Book, n_bars: int) -> None:
    for i in sorted(set(book.position) | set(book.waiting)):
        # On this bar and the n - 1 before.
        if not book.has_bar(book.t, i) and book.t - book.last_bar[i] >= n_bars:
            delist(book, i)


def move_deposits(book: Book, actions: list[Action]) -> None:
    equity = book.result.equity
    before = equity[-1] if equity else book.options.initial_cash
    moved = 0.0
    for kind, sign in (("deposit", 1), ("withdrawal", -1)):
        amount = sign * sum(a.value for a in actions if a.kind == kind)
        book.flow(kind, amount)
        moved += amount
    book.peak *= (before + moved) / before


# ---------------------------------------------------------------- exits


def run_exits(book: Book) -> None:
    """Close what reached a level on this bar; then let the trailing stops follow."""
    if not book.options.has_exits:
        return
    for i in sorted(book.position):
        if not book.has_bar(book.t, i):
            continue
        if book.entry[i].t == book.t and not book.options.on_entry_bar:
            continue
        found = exit_of(book, i)
        if found is None:
            continue
        price, reason = found
        close_now(book, i, price, reason)
        if i in book.waiting:
            book.end(book.waiting[i], "cancelled_by_exit")
        book.exited[i] = book.t
    for i in sorted(book.position):
        if book.has_bar(book.t, i):
            follow(book, i)


def prices_of(book: Book, i: int) -> tuple[float | None, float, float]:
    """Return open, high and low of this bar; the open may be missing."""
    row = {name: book.number(book.t, i, name) for name in ("open", "high", "low")}
    opens, close = row["open"], book.bars[book.t, i]["close"]
    opens = opens if is_price(opens) else None
    ends = [close] if opens is None else [opens, close]
    high = max(ends) if row["high"] is None else row["high"]
    low = min(ends) if row["low"] is None else row["low"]
    return opens, high, low


def exit_of(book: Book, i: int) -> tuple[float, str] | None:
    """Return the price and the reason of an exit on this bar, None when there is none.

    A short is a long in a mirror: all prices with a minus sign.
    """
    o, entry = book.options, book.entry[i]
    side = 1 if book.position[i] > 0 else -1
    opens, high, low = prices_of(book, i)
    if o.uses_range:
        count_null_range(book, i)
    if (
        o.max_bars_held is not None
        and book.t - entry.t >= o.max_bars_held
        and opens is not None
    ):
        return opens, "max_bars_held"
    if not o.uses_range:
        return None
    stop, reason = nearest_stop(book, entry, side)
    target = math.inf
    if o.take_profit is not None:
        target = side * entry.price * (1 + side * o.take_profit)
    ahead, behind = (high, low) if side > 0 else (-low, -high)
    if opens is not None:
        at = side * opens
        if reaches(book, entry, stop, at):
            return opens, reason
        if reaches(book, entry, at, target):
            return opens, "take_profit"
    if reaches(book, entry, stop, behind):
        return side * min(stop, ahead), reason
    if reaches(book, entry, ahead, target):
        return side * max(target, behind), "take_profit"
    return None


def reaches(book: Book, entry: Entry, high: float, low: float) -> bool:
    """Say whether `low <= high`; equal numbers count unless rounding made them."""
    if math.isinf(low) or math.isinf(high):
        return low <= high
    if abs(high - low) <= 1e-12 * abs(low) and (entry.averaged or high != low):
        book.undecided("is the level reached?")
    return low <= high


def nearest_stop(book: Book, entry: Entry, side: int) -> tuple[float, str]:
    """Return the stop nearest to the market, times `side`, and its name."""
    o = book.options
    stops = []
    if o.stop_loss is not None:
        stops.append((entry.price * (1 - side * o.stop_loss), "stop_loss"))
    if o.atr_stop is not None and entry.atr is not None:
        multiple, _ = o.atr_stop
        stops.append((entry.price - side * multiple * entry.atr, "atr_stop"))
    if o.trailing_stop is not None:
        age = book.t - entry.t
        width = max(o.trailing_stop - o.tighten_per_bar * age, o.trailing_floor)
        stops.append((entry.extreme * (1 - side * width), "trailing_stop"))
    best, name = -math.inf, ""
    for level, reason in stops:
        if side * level > best:
            best, name = side * level, reason
    for level, reason in stops:
        alike = abs(side * level - best) <= 1e-12 * abs(best)
        if alike and reason != name and (entry.averaged or side * level != best):
            book.undecided("which stop is nearer?")
    return best, name


def count_null_range(book: Book, i: int) -> None:
    row = (book.number(book.t, i, "high"), book.number(book.t, i, "low"))
    book.result.null_ranges += None in row


def follow(book: Book, i: int) -> None:
    """Take this bar into the extreme of a trailing stop."""
    entry, long = book.entry[i], book.position[i] > 0
    _, high, low = prices_of(book, i)
    price = high if long else low
    if book.options.trail_on == "close":
        price = book.bars[book.t, i]["close"]
    entry.extreme = max(entry.extreme, price) if long else min(entry.extreme, price)


# ---------------------------------------------------------------- the mark


def mark(book: Book, closes: Mapping[int, float], *, tests: bool) -> None:
    """Value the book; settle it when it is ruined, else look at its limits."""
    if book.ruined:
        return
    if settle_when_ruined(book) or not tests:
        return
    if is_short_of_margin(book):
        reduce_to_margin(book, closes)
        if settle_when_ruined(book):
            return
    look_at_drawdown(book)


def settle_when_ruined(book: Book) -> bool:
    """Cancel what waits, close every position at its last close without cost."""
    equity = equity_of(book)
    if abs(equity) <= NOISE * (size_of(book) + 1e3 * book.peak):
        book.undecided("sign of the equity")
    if equity > 0:
        return False
    for order in book.waiting_orders():
        book.end(order, "ruined")
    for i in sorted(book.position):
        book.move(i, -book.position[i], book.last_close[i], reason="ruined")
    book.ruined = True
    book.result.ruined_at = book.t
    return True


def is_short_of_margin(book: Book) -> bool:
    ratio = book.options.maintenance
    if ratio is None:
        return False
    equity = equity_of(book)
    needed = ratio * gross_of(book) * (1 - MARGIN_SLACK)
    book.undecided_near(equity, needed, 10 * NOISE * size_of(book), "enough margin?")
    return equity < needed


def reduce_to_margin(book: Book, closes: Mapping[int, float]) -> None:
    """Sell one share of everything that trades, the smallest that suffices."""
    ratio, equity = book.options.maintenance, equity_of(book)
    here = {i: book.position[i] for i in sorted(book.position) if i in closes}
    moving = sum(abs(quantity) * closes[i] for i, quantity in here.items())
    fixed = gross_of(book) - moving
    terms = {i: terms_of(book, i) for i in here}

    def suffices(kept: float) -> bool:
        cost = sum(
            terms[i].cost(closes[i], -(1 - kept) * quantity)
            for i, quantity in here.items()
        )
        return equity - cost >= ratio * (fixed + kept * moving)

    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if suffices(middle) else (low, middle)
    note_undecided_margin(book, suffices, low)
    for i, quantity in here.items():
        size = (1 - low) * abs(quantity)
        if book.options.whole_shares:
            size = min(raised_to_lots(book, size), abs(quantity))
        trade_now(book, i, math.copysign(size, -quantity), closes[i], "margin_call")
        if i in book.waiting and not book.stopped:
            book.end(book.waiting[i], "cancelled_by_margin_call")


def note_undecided_margin(book: Book, suffices: object, found: float) -> None:
    """Note a factor that is 0 or next to it by rounding alone."""
    if 0 < found < EDGE or (found == 0 and suffices(EDGE) != suffices(0.0)):
        book.undecided("does anything suffice?")


def look_at_drawdown(book: Book) -> None:
    limit, equity = book.options.max_drawdown, equity_of(book)
    book.peak = max(book.peak, equity)
    if limit is None or book.stopped:
        return
    level = book.peak * (1 - limit)
    book.undecided_near(equity, level, 10 * NOISE * size_of(book), "drawdown?")
    if equity > level:
        return
    book.stopped = True
    book.result.stopped_at = book.t
    for order in book.waiting_orders():
        book.end(order, "max_drawdown")
    for i in sorted(book.position):
        order = Order(
            t=book.t,
            asset=i,
            target_weight=0.0,
            equity=equity,
            price=book.last_close[i],
            position_before=book.position[i],
            quantity=-book.position[i],
            waits=-book.position[i],
            sized=True,
            closing=True,
            made=True,
            cause="max_drawdown",
            reasons={"max_drawdown"},
        )
        book.result.orders.append(order)
        book.enter(order)
