"""From weights to quantities: limits, costs in the size, rounding, minimum, turnover.

The same steps run at the decision, with its last closes, or at the fill.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from oracle_book import (
    DUST,
    EDGE,
    GROSS_SLACK,
    HALVINGS,
    NOISE,
    TURNOVER_SLACK,
    Book,
    Options,
    Order,
    cut_to_lots,
    nearest_integer,
    size_of,
)
from oracle_costs import Terms, terms_of

# ---------------------------------------------------------------- weights


def check_weights(weights: Mapping[int, float], options: Options) -> None:
    if not all(math.isfinite(weight) for weight in weights.values()):
        raise ValueError("a weight is not finite")
    if not options.allow_short and any(weight < 0 for weight in weights.values()):
        raise ValueError("a weight is negative")
    gross = sum(abs(bounded(w, options)) for w in weights.values())
    if options.on_excess == "raise" and gross > options.max_gross + GROSS_SLACK:
        raise ValueError("the weights exceed max_gross")


def bounded(weight: float, options: Options) -> float:
    limit = math.inf if options.max_weight is None else options.max_weight
    return math.copysign(min(abs(weight), limit), weight)


def limit_weights(
    weights: Mapping[int, float], options: Options
) -> dict[int, tuple[float, set[str]]]:
    """Apply max_weight and max_gross; return the weights and what bound them."""
    limited = {i: bounded(weight, options) for i, weight in weights.items()}
    gross = sum(abs(limited[i]) for i in sorted(limited))
    # Without "scale" an excess is an error, raised before.
    scaled = gross > options.max_gross + GROSS_SLACK
    result = {}
    for i, weight in limited.items():
        reasons = {"max_weight"} if weight != weights[i] else set()
        if scaled and weight != 0:
            reasons.add("max_gross")
            weight *= options.max_gross / gross
        result[i] = (weight, reasons)
    return result


# ---------------------------------------------------------------- orders together


def size_orders(
    book: Book, orders: list[Order], prices: Mapping[int, float], equity: float
) -> None:
    """Give each order its quantity, or take `made` from it."""
    if book.options.costs_in_size == "portfolio":
        sized_on = post_cost_equity(book, orders, prices, equity)
    else:
        sized_on = equity
    for order in orders:
        if order.cause == "order":
            order.price, order.equity = prices[order.asset], equity
        order.sized = True
        size_order(book, order, sized_on)
    limit_turnover(book, [order for order in orders if order.made], equity)


def size_order(book: Book, order: Order, equity: float) -> None:
    """Go from the weight to the quantity of one order."""
    position = book.held(order.asset)
    order.made = False
    if is_within_band(book, order, equity):
        order.reasons.add("drift_band")
        return
    target = target_of(book, order, equity)
    order.quantity = target - position
    if is_dust(book, order.quantity, target, position):
        order.quantity = 0.0
    elif is_below_minimum(book, order, target):
        order.reasons.add("below_min_trade_value")
    else:
        order.closing = order.limited_weight == 0
        order.waits = order.quantity
        order.made = True


def is_within_band(book: Book, order: Order, equity: float) -> bool:
    """Say whether the order only follows a drift of the weight; if so, note it."""
    band, weight = book.options.drift_band, order.limited_weight
    position = book.held(order.asset)
    if band == 0 or equity <= 0 or weight == 0 or position == 0:
        return False
    now = position * order.price / equity
    if now * weight <= 0:
        return False
    grows = abs(weight) - abs(now)
    book.undecided_near(grows, DUST * abs(weight), 1e-3 * DUST, "is the order dust?")
    if grows <= DUST * abs(weight):
        # It reduces the position, or is on target and no order anyway.
        return False
    book.undecided_near(abs(weight - now), band, EDGE * band, "beyond the band?")
    if abs(weight - now) > band:
        return False
    order.quantity = weight * equity / order.price - position
    return True


def target_of(book: Book, order: Order, equity: float) -> float:
    """Return the wanted position: weight to units, costs, rounding, dust."""
    position = book.held(order.asset)
    if equity <= 0 or order.limited_weight == 0:
        return 0.0
    if book.options.costs_in_size == "per_order":
        target = position + quantity_with_costs(book, order, equity)
    else:
        target = order.limited_weight * equity / order.price
    target, was_cut = rounded(book, target, position)
    if was_cut:
        order.reasons.add("rounded")
    if book.options.rounding in DELTA_MODES and turns_around(order, target, position):
        return 0.0
    if abs(target) <= DUST * abs(position):
        return 0.0
    return target


def is_dust(book: Book, quantity: float, target: float, position: float) -> bool:
    size = max(abs(target), abs(position))
    if size == 0:
        return True
    ratio = abs(quantity) / size
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


# ---------------------------------------------------------------- rounding


def rounded(book: Book, target: float, position: float) -> tuple[float, bool]:
    """Round the target, or the way to it; return it and whether that took something."""
    rounding = book.options.rounding
    if rounding == "fractional":
        return target, False
    if rounding == "whole_target":
        return cut_to_lots(book, target)
    lots = (target - position) / book.options.lot_size
    whole = nearest_integer(book, lots)
    if whole is not None:
        # It takes less than a millionth of a lot: not worth a word.
        return position + whole * book.options.lot_size, False
    if rounding == "whole_delta_nearest":
        book.undecided_near(lots % 1, 0.5, 1e-9 * (1 + abs(lots)), "which lot?")
    return position + DELTA_MODES[rounding](lots) * book.options.lot_size, True


def half_away_from_zero(lots: float) -> float:
    return math.copysign(math.floor(abs(lots) + 0.5), lots)


DELTA_MODES = {
    "whole_delta_trunc": math.trunc,
    "whole_delta_nearest": half_away_from_zero,
    "whole_delta_floor": math.floor,
}


def turns_around(order: Order, target: float, position: float) -> bool:
    """Say whether rounding alone makes a short of a long, or a long of a short."""
    return target * position < 0 and order.limited_weight * position > 0


# ---------------------------------------------------------------- costs in the size


def quantity_with_costs(book: Book, order: Order, equity: float) -> float:
    """Return the quantity whose cash flow is the wanted change of value."""
    position = book.held(order.asset)
    price, terms = order.price, terms_of(book, order.asset)
    value = order.limited_weight * equity - position * price
    size = abs(order.limited_weight) * equity + abs(position) * price
    if abs(value) <= NOISE * size and (value != 0 or book.options.whole_shares):
        book.undecided("is there a change of value?")
    if value > 0:
        return largest_purchase(book, terms, price, value)
    if value == 0:
        return 0.0
    most = math.inf
    if position > 0 and order.limited_weight >= 0:
        most = position
    units = smallest_sale(terms, price, -value, most)
    if units is None:
        if most < math.inf:
            return -most
        # The top is flat: nobody finds it to the last digit.
        book.undecided("which quantity sells for the most?")
        return -best_sale(terms, price)
    if units < most and slope_of_sale(terms, price, units) < 1e-3 * price:
        book.undecided("how much more does another unit bring?")
    return -units


def largest_purchase(book: Book, terms: Terms, price: float, value: float) -> float:
    """Return the largest quantity that costs no more than `value`."""

    def fits(quantity: float) -> bool:
        return terms.outlay(price, quantity) <= value

    low, high = 0.0, value / price
    if fits(high):
        return high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    if 0 < low <= 1e-6 * value / price:
        book.undecided("is anything left to buy for?")
    return low


def proceeds(terms: Terms, price: float, units: float) -> float:
    return -terms.outlay(price, -units)


def slope_of_sale(terms: Terms, price: float, units: float) -> float:
    step = 1e-6 * units
    more, less = (proceeds(terms, price, units + s) for s in (step, -step))
    return (more - less) / (2 * step)


def smallest_sale(
    terms: Terms, price: float, wanted: float, most: float
) -> float | None:
    """Return the smallest quantity that sells for `wanted` after costs, at most `most`.

    No unit brings more than `price`, so that a step of what is missing over the price
    never goes too far: the steps reach the smallest solution from below.
    """
    units = wanted / price
    for _ in range(20_000):
        if units >= most:
            return most
        missing = wanted - proceeds(terms, price, units)
        if missing <= 1e-15 * wanted:
            return units
        units += missing / price
        if units > 1e6 * wanted / price:
            break
    return None


def best_sale(terms: Terms, price: float) -> float:
    """Return the quantity that sells for the most, 0 when each costs more."""
    high = 1e-3
    while proceeds(terms, price, 2 * high) > proceeds(terms, price, high):
        high *= 2
    low, high = 0.0, 2 * high
    for _ in range(2 * HALVINGS):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if proceeds(terms, price, left) < proceeds(terms, price, right):
            low = left
        else:
            high = right
    return low if proceeds(terms, price, low) > 0 else 0.0


def post_cost_equity(
    book: Book, orders: list[Order], prices: Mapping[int, float], equity: float
) -> float:
    """Return the equity that is left when every name has its weight of it."""
    if equity <= 0:
        return 0.0
    terms = {order.asset: terms_of(book, order.asset) for order in orders}

    def cost(order: Order, after: float) -> float:
        price, position = prices[order.asset], book.held(order.asset)
        target = order.limited_weight * after / price
        if abs(target - position) <= DUST * max(abs(target), abs(position)):
            return 0.0
        return terms[order.asset].cost(price, target - position)

    def fits(after: float) -> bool:
        return after + sum(cost(order, after) for order in orders) <= equity

    for order in orders:
        price, position = prices[order.asset], book.held(order.asset)
        target = order.limited_weight * equity / price
        drift = abs(target - position)
        fixed = terms[order.asset].is_fixed
        if fixed and 0 < drift <= 2 * DUST * max(abs(target), abs(position)):
            book.undecided("does the name trade?")
    if fits(equity):
        return equity
    low, high = 0.0, equity
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    if low < 1e-9 * equity:
        book.undecided("is there any equity after costs?")
    return low


# ---------------------------------------------------------------- turnover


def opening_part(position: float, quantity: float) -> float:
    """Return the part of a quantity that takes the position away from 0."""
    if position * quantity >= 0:
        return quantity
    after = position + quantity
    return after if after * position < 0 else 0.0


def limit_turnover(book: Book, orders: list[Order], equity: float) -> None:
    """Shrink the opening parts of a decision so that it trades no more than allowed."""
    limit = book.options.max_turnover
    if limit is None or equity <= 0:
        return
    opening = {o.asset: opening_part(book.held(o.asset), o.waits) for o in orders}
    opened = sum(abs(opening[o.asset]) * o.price for o in orders)
    rest = sum(abs(o.waits - opening[o.asset]) * o.price for o in orders)
    if opened == 0:
        return
    allowed = limit * 2 * equity
    scale = EDGE * 1e-3 * allowed + NOISE * size_of(book)
    book.undecided_near(
        opened + rest, allowed * (1 + TURNOVER_SLACK), scale, "too much turnover?"
    )
    if (opened + rest) / (2 * equity) <= limit * (1 + TURNOVER_SLACK):
        return
    book.undecided_near(rest, allowed, 1e-9 * allowed, "any room for openings?")
    factor = max(0.0, allowed - rest) / opened
    for order in orders:
        wanted = opening[order.asset]
        if wanted != 0:
            order.reasons.add("max_turnover")
            shrink(book, order, wanted, factor * wanted)


def shrink(book: Book, order: Order, wanted: float, opening: float) -> None:
    """Let an order open less than wanted."""
    if book.options.whole_shares:
        opening, _ = cut_to_lots(book, opening)
    position = book.held(order.asset)
    flips = position != 0 and wanted != order.waits
    closing = -position if flips else 0.0
    if opening != 0 and below_minimum(book, abs(closing + opening) * order.price):
        opening = 0.0
        order.reasons.add("below_min_trade_value")
    order.waits = closing + opening
    if order.waits == 0:
        order.made = False
