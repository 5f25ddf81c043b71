"""A slow backtester in plain Python, written from ``docs/semantics.md`` alone.

It shares no code with the library and imports nothing from it.  Bars are numbered
``t = 0, 1, ...``, assets ``i = 0, 1, ...`` in the sorted order of their names.  All
state is one `Book`; only `book_fill` and `settle_ruin` move cash and positions.

Some rules have a threshold: a floor, a minimum, the sign of the equity.  When a number
lies so near to one that the order of additions alone may decide, the oracle notes it in
`OracleResult.edges`: another correct implementation may then differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# Numbers of the specification.
INTEGER_SNAP = 1e-6  # a share count this near to an integer is that integer
DUST = 1e-9  # relative size below which a target or an order is nothing
GROSS_SLACK = 1e-9
SCALED_BELOW = 1 - 1e-9  # a factor below this gives the reason scaled_to_cash
WEIGHT_DUST = 1e-12  # a weight of no more than this on either side of 0 is 0
NOTHING_BELOW = 1e-9  # a factor that is not above this is 0
BINDING_CUT = 1e-12  # taken off a factor that binds, as a share of itself
LOT_SLACK = 1e-12  # share of what was available by which one more lot may exceed it

# How near to a threshold a number is called undecided.
EDGE = 1e-9  # relative, where two different numbers happen to be alike
NOISE = 1e-13  # relative to the money that moved, where a difference should be zero

REASONS = (
    "not_listed",
    "no_bar",
    "rounded",
    "below_min_trade_value",
    "missing_bar",
    "scaled_to_cash",
    "replaced",
    "ruined",
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of a run, as plain values named like their config paths."""

    initial_cash: float = 1_000_000.0
    fill: str = "next_open"  # "next_open" | "next_close" | "same_close"
    rounding: str = "fractional"  # "fractional" | "whole_target"
    lot_size: float = 1.0
    commission_bps: float = 0.0
    commission_minimum: float = 0.0
    slippage_bps: float = 0.0
    allow_short: bool = False
    max_gross: float = 1.0
    max_borrowing: float = 0.0
    min_trade_value: float = 0.0
    missing_bar: str = "pending"  # "pending" | "cancel"
    at_decision: str = "use_last"  # "use_last" | "skip"


@dataclass(kw_only=True)
class Order:
    """One row of the order ledger."""

    t: int
    asset: int
    target_weight: float
    equity: float
    price: float | None
    position_before: float
    quantity: float = 0.0  # wanted, also when no order was made
    closing: bool = False
    made: bool = False
    waiting: bool = False
    filled: float = 0.0
    reasons: set[str] = field(default_factory=set)

    @property
    def status(self) -> str:
        if self.waiting:
            return "waiting"
        if self.filled == 0.0:
            return "none"
        missing = abs(self.quantity - self.filled)
        return "partial" if missing > DUST * abs(self.quantity) else "filled"

    @property
    def reason(self) -> str:
        return next((code for code in REASONS if code in self.reasons), "none")


@dataclass(frozen=True, kw_only=True)
class Fill:
    """One execution."""

    t: int
    asset: int
    quantity: float
    price: float
    base_price: float
    commission: float
    reason: str  # "order" | "ruined"
    order: Order | None


@dataclass(kw_only=True)
class OracleResult:
    """What a run gives; the lists over bars have one element per bar."""

    equity: list[float] = field(default_factory=list)
    cash: list[float] = field(default_factory=list)
    positions: list[dict[int, float]] = field(default_factory=list)
    last_close: list[dict[int, float]] = field(default_factory=list)
    factors: list[list[float]] = field(default_factory=list)  # each binding f
    fills: list[Fill] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    next_orders: list[Order] = field(default_factory=list)
    decided: list[tuple[int, str, dict[int, float]]] = field(default_factory=list)
    ruined_at: int | None = None
    edges: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Book:
    """The account: the only state that a run carries from bar to bar."""

    options: Options
    result: OracleResult
    cash: float
    position: dict[int, float] = field(default_factory=dict)  # held assets only
    waiting: dict[int, Order] = field(default_factory=dict)
    last_close: dict[int, float] = field(default_factory=dict)  # listed assets only
    ruined: bool = False

    def held(self, i: int) -> float:
        return self.position.get(i, 0.0)

    def undecided(self, what: str) -> None:
        self.result.edges.append(what)


Bars = Mapping[tuple[int, int], Mapping[str, float | None]]
Decisions = Mapping[int, tuple[str, Mapping[int, float]]]


def run_oracle(
    n_bars: int,
    n_assets: int,
    bars: Bars,
    decisions: Decisions,
    options: Options,
    start: int = 0,
) -> OracleResult:
    """Run the bars ``start .. n_bars - 1``; earlier ones only set the last closes.

    `bars` maps (t, i) to ``{"open": ..., "close": ...}``; no key, or a close that is
    None or NaN, is no bar.  `decisions` maps t to a pair of ``"complete"`` or
    ``"partial"`` and the weights by asset.
    The lists over bars of the result begin at `start`.
    """
    result = OracleResult()
    book = Book(options=options, result=result, cash=options.initial_cash)
    for t in range(n_bars):
        opens, closes = prices_of_bar(t, n_assets, bars)
        if t < start:
            book.last_close.update(closes)
            continue
        result.factors.append([])
        run_bar(book, t, opens, closes, decisions.get(t))
        result.cash.append(book.cash)
        result.equity.append(equity_of(book))
        result.positions.append(dict(sorted(book.position.items())))
        result.last_close.append(dict(book.last_close))
    result.next_orders = list(in_asset_order(book.waiting))
    return result


def run_bar(
    book: Book,
    t: int,
    opens: dict[int, float],
    closes: dict[int, float],
    decision: tuple[str, Mapping[int, float]] | None,
) -> None:
    """Go through the five steps of one bar."""
    if book.options.fill == "next_open":
        # The last known closes are still those of the bar before: at the open nobody
        # knows the close of this bar.
        fill_waiting(book, t, opens)
    book.last_close.update(closes)
    if book.options.fill in ("next_close", "same_close"):
        fill_waiting(book, t, closes)
    mark(book, t)
    if decision is None or book.ruined:
        return
    decide(book, t, closes, *decision)
    if book.options.fill == "same_close":
        fill_waiting(book, t, closes, decided_at=t)
        mark(book, t)


# ---------------------------------------------------------------- bars and marks


def is_price(value: float | None) -> bool:
    return value is not None and not math.isnan(value) and value > 0


def prices_of_bar(
    t: int, n_assets: int, bars: Bars
) -> tuple[dict[int, float], dict[int, float]]:
    """Return the opens and closes by asset; a row without a close counts as none."""
    opens, closes = {}, {}
    for i in range(n_assets):
        bar = bars.get((t, i))
        if bar is None or not is_price(bar["close"]):
            continue
        closes[i] = bar["close"]
        if is_price(bar.get("open")):
            opens[i] = bar["open"]
    return opens, closes


def equity_of(book: Book) -> float:
    values = [book.position[i] * book.last_close[i] for i in sorted(book.position)]
    return book.cash + sum(values)


def size_of(book: Book) -> float:
    """Return the money in the account, however it is signed."""
    values = [abs(q) * book.last_close[i] for i, q in book.position.items()]
    return abs(book.cash) + sum(values)


def mark(book: Book, t: int) -> None:
    equity = equity_of(book)
    if not book.ruined and abs(equity) <= NOISE * size_of(book):
        book.undecided(f"{t}: sign of the equity")
    if equity <= 0 and not book.ruined:
        settle_ruin(book, t)


def settle_ruin(book: Book, t: int) -> None:
    """Cancel what waits, close every position at its last close without cost."""
    for order in in_asset_order(book.waiting):
        end_order(book, order, "ruined")
    for i in sorted(book.position):
        quantity, price = -book.position.pop(i), book.last_close[i]
        book.cash -= quantity * price
        book.result.fills.append(
            Fill(
                t=t,
                asset=i,
                quantity=quantity,
                price=price,
                base_price=price,
                commission=0.0,
                reason="ruined",
                order=None,
            )
        )
    book.ruined = True
    book.result.ruined_at = t


# ---------------------------------------------------------------- decisions


def decide(
    book: Book,
    t: int,
    closes: dict[int, float],
    kind: str,
    weights: Mapping[int, float],
) -> None:
    """Turn target weights into waiting orders."""
    weights = {i: 0.0 if abs(w) <= WEIGHT_DUST else w for i, w in weights.items()}
    check_weights(weights, book.options)
    book.result.decided.append((t, kind, dict(weights)))
    equity = equity_of(book)
    if kind == "complete":
        replaced = list(book.waiting)
        names = set(weights) | set(book.position)
    else:
        replaced = [i for i in book.waiting if i in weights]
        names = set(weights)
    for i in sorted(replaced):
        end_order(book, book.waiting[i], "replaced")
    for i in sorted(names):
        decide_asset(book, t, i, weights.get(i, 0.0), equity, has_bar=i in closes)


def check_weights(weights: Mapping[int, float], options: Options) -> None:
    if not all(math.isfinite(weight) for weight in weights.values()):
        raise ValueError("a weight is not finite")
    if not options.allow_short and any(weight < 0 for weight in weights.values()):
        raise ValueError("a weight is negative")
    if sum(abs(w) for w in weights.values()) > options.max_gross + GROSS_SLACK:
        raise ValueError("the weights exceed max_gross")


def decide_asset(
    book: Book, t: int, i: int, weight: float, equity: float, *, has_bar: bool
) -> None:
    """Size one name; enter the order, or why there is none, in the ledger."""
    position = book.held(i)
    if weight == 0 and position == 0:
        return  # neither a target nor a position
    order = Order(
        t=t,
        asset=i,
        target_weight=weight,
        equity=equity,
        price=book.last_close.get(i),
        position_before=position,
    )
    if order.price is None:
        order.reasons.add("not_listed")
    else:
        target = target_of(book, order)
        order.quantity = target - position
        if not has_bar and book.options.at_decision == "skip":
            order.reasons = {"no_bar"}
        elif is_dust(book, order, target):
            order.quantity = 0.0
            if position != 0:
                return  # the position is what it should be, rounded or not
        elif is_below_minimum(book, order, target):
            order.reasons.add("below_min_trade_value")
        else:
            order.closing = target == 0
            order.made = True
    if not order.made and not order.reasons:
        return
    book.result.orders.append(order)
    if order.made:
        order.waiting = True
        book.waiting[i] = order


def target_of(book: Book, order: Order) -> float:
    """Return the wanted position: weight to units, rounding, dust."""
    if order.target_weight == 0:
        return 0.0
    target = order.target_weight * order.equity / order.price
    if book.options.rounding == "whole_target":
        whole, was_cut = cut_to_lots(book, target, book.options.lot_size)
        target = whole * book.options.lot_size
        if was_cut:
            order.reasons.add("rounded")
    if abs(target) <= DUST * abs(order.position_before):
        return 0.0
    return target


def cut_to_lots(book: Book, quantity: float, lot_size: float) -> tuple[int, bool]:
    """Cut toward zero to whole lots; return them and whether that took something."""
    lots = quantity / lot_size
    nearest = round(lots)
    distance = abs(lots - nearest)
    if abs(distance - INTEGER_SNAP) <= EDGE + 1e-14 * abs(lots):
        book.undecided("is it an integer?")
    if distance <= INTEGER_SNAP:
        return nearest, False
    return math.trunc(lots), True


def is_dust(book: Book, order: Order, target: float) -> bool:
    size = max(abs(target), abs(order.position_before))
    if size == 0:
        return True
    ratio = abs(order.quantity) / size
    if abs(ratio - DUST) <= 1e-3 * DUST:
        book.undecided("is the order dust?")
    return ratio <= DUST


def is_below_minimum(book: Book, order: Order, target: float) -> bool:
    if target == 0:
        return False
    return below_minimum(book, abs(order.quantity) * order.price)


def below_minimum(book: Book, value: float) -> bool:
    minimum = book.options.min_trade_value
    if minimum > 0 and abs(value - minimum) <= EDGE * minimum:
        book.undecided("below the minimum?")
    return value < minimum


# ---------------------------------------------------------------- orders


def in_asset_order(orders: dict[int, Order]) -> Iterable[Order]:
    return [orders[i] for i in sorted(orders)]


def end_order(book: Book, order: Order, reason: str | None = None) -> None:
    """Take an order off the waiting list."""
    if reason is not None:
        order.reasons.add(reason)
    order.waiting = False
    del book.waiting[order.asset]


def fill_waiting(
    book: Book, t: int, prices: dict[int, float], decided_at: int | None = None
) -> None:
    """Fill what waits at these base prices, of all assets that have one.

    With `decided_at` only the orders of that bar take part: they fill at the close
    they were decided on, after the older ones already had their turn at it.
    """
    ready = []
    for order in in_asset_order(book.waiting):
        if decided_at is not None and order.t != decided_at:
            continue
        if order.asset in prices:
            ready.append(order)
            continue
        order.reasons.add("missing_bar")
        if book.options.missing_bar == "cancel":
            end_order(book, order)
    if ready:
        execute(book, t, ready, prices)
    for order in ready:
        end_order(book, order)


# ---------------------------------------------------------------- execution


def fill_price(base: float, quantity: float, options: Options) -> float:
    side = 1 if quantity > 0 else -1
    return base * (1 + side * options.slippage_bps / 1e4)


def commission_of(notional: float, options: Options) -> float:
    return max(options.commission_bps / 1e4 * notional, options.commission_minimum)


def book_fill(book: Book, t: int, order: Order, quantity: float, base: float) -> None:
    """Move cash and position; a quantity of 0 is no fill."""
    if quantity == 0:
        return
    price = fill_price(base, quantity, book.options)
    commission = commission_of(abs(quantity) * price, book.options)
    book.cash -= quantity * price + commission
    after = book.held(order.asset) + quantity
    if quantity == -book.held(order.asset):
        after = 0.0
    if after == 0:
        book.position.pop(order.asset, None)
    else:
        book.position[order.asset] = after
    order.filled = quantity
    book.result.fills.append(
        Fill(
            t=t,
            asset=order.asset,
            quantity=quantity,
            price=price,
            base_price=base,
            commission=commission,
            reason="order",
            order=order,
        )
    )


def execute(book: Book, t: int, orders: list[Order], prices: dict[int, float]) -> None:
    """Fill these orders: sells, then covers, then opening buys scaled to cash."""
    floor = -book.options.max_borrowing * equity_at(book, prices)
    wanted = {order.asset: quantity_to_fill(book, order) for order in orders}
    sells, covers, openers = [], [], []
    for order in orders:
        quantity = wanted[order.asset]
        if quantity < 0:
            sells.append(order)
        elif book.held(order.asset) < 0 and order_only_covers(book, order, quantity):
            covers.append(order)
        else:
            openers.append(order)
    for order in sells + covers:
        book_fill(book, t, order, wanted[order.asset], prices[order.asset])
    if openers:
        buys = [opening_buy(book, o, wanted[o.asset], prices) for o in openers]
        scale_to_cash(book, buys, book.cash - floor)
        for buy in buys:
            book_fill(book, t, buy.order, buy.cover + buy.opening, buy.base)


def order_only_covers(book: Book, order: Order, quantity: float) -> bool:
    return book.held(order.asset) + quantity <= 0


def quantity_to_fill(book: Book, order: Order) -> float:
    return -book.held(order.asset) if order.closing else order.quantity


def equity_at(book: Book, prices: dict[int, float]) -> float:
    """Value the book at this step's fill prices, else at the last known closes."""
    value = book.cash
    for i in sorted(book.position):
        value += book.position[i] * prices.get(i, book.last_close[i])
    return value


# ---------------------------------------------------------------- the cash rule


@dataclass(kw_only=True)
class Buy:
    """A buy with an opening part; what it covers first is never scaled."""

    order: Order
    base: float
    price: float
    cover: float  # brings a short to 0; 0 for a plain buy
    wanted: float  # the opening part before scaling
    opening: float  # the opening part that fills


def opening_buy(
    book: Book, order: Order, quantity: float, prices: dict[int, float]
) -> Buy:
    base = prices[order.asset]
    cover = max(0.0, -book.held(order.asset))
    opening = quantity - cover
    return Buy(
        order=order,
        base=base,
        price=fill_price(base, quantity, book.options),
        cover=cover,
        wanted=opening,
        opening=opening,
    )


def cost_of(buy: Buy, opening: float, options: Options) -> float:
    """Return the cash that a buy takes when its opening part is `opening`."""
    quantity = buy.cover + opening
    if quantity == 0:
        return 0.0
    return quantity * buy.price + commission_of(quantity * buy.price, options)


def scale_to_cash(book: Book, buys: list[Buy], available: float) -> None:
    """Shrink the opening parts so that the buys cost no more than `available`."""
    options = book.options
    factor = cash_factor(book, buys, available)
    if factor == 1:
        return
    factor *= 1 - BINDING_CUT
    book.result.factors[-1].append(factor)
    for buy in buys:
        buy.opening = factor * buy.wanted
        if factor < SCALED_BELOW:
            buy.order.reasons.add("scaled_to_cash")
    if options.rounding == "whole_target":
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

    The cost is piecewise linear in the factor.  It bends where a commission leaves
    its minimum, and jumps at 0, where a fill comes into being and owes the minimum.
    """
    options = book.options

    def cost(factor: float) -> float:
        return sum(cost_of(buy, factor * buy.wanted, options) for buy in buys)

    def cost_just_above_zero() -> float:
        at_zero = cost(0.0)
        born = sum(1 for buy in buys if buy.cover == 0)
        return at_zero + born * options.commission_minimum

    whole = cost(1.0)
    noise = NOISE * (whole + abs(book.cash) + abs(available))
    if abs(whole - available) <= 10 * noise:
        note_undecided_binding(book, buys)
    if whole <= available:
        return 1.0
    lowest = cost_just_above_zero()
    if available <= lowest:
        return 0.0
    left, cost_left = 0.0, lowest
    for right in [*bends(buys, options), 1.0]:
        cost_right = cost(right)
        if cost_right > available:
            break
        left, cost_left = right, cost_right
    slope = (cost_right - cost_left) / (right - left)
    factor = left + (available - cost_left) / slope
    if abs(factor - SCALED_BELOW) <= 1e-12:
        book.undecided("scaled enough to say so?")
    if abs(factor - NOTHING_BELOW) <= 1e-11:
        book.undecided("worth buying at all?")
    return factor if factor > NOTHING_BELOW else 0.0


def bends(buys: list[Buy], options: Options) -> list[float]:
    """Return the factors, rising, at which a commission leaves its minimum."""
    rate = options.commission_bps / 1e4
    if rate == 0:
        return []
    found = []
    for buy in buys:
        quantity = options.commission_minimum / (rate * buy.price)
        factor = (quantity - buy.cover) / buy.wanted
        if 0 < factor < 1:
            found.append(factor)
    return sorted(found)


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
    options, lot_size = book.options, book.options.lot_size
    remainders = [
        (factor * buy.wanted / lot_size - buy.opening / lot_size) for buy in buys
    ]
    note_undecided_ties(book, remainders)
    order = sorted(range(len(buys)), key=lambda k: -round(remainders[k], 6))
    spent = sum(cost_of(buy, buy.opening, options) for buy in buys)
    for k in order:
        buy = buys[k]
        larger = buy.opening + lot_size
        if larger > buy.wanted + INTEGER_SNAP * lot_size:
            continue
        added = cost_of(buy, larger, options) - cost_of(buy, buy.opening, options)
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
