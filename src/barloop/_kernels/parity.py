"""What other engines do and no option of ours expresses; only for their profiles."""

from __future__ import annotations

import math

import numpy as np

from barloop._jit import subkernel
from barloop._kernels.buffers import (
    CASH,
    FINAL_QUANTITY,
    WAITING,
    WAITING_ORDER,
    Book,
    Log,
    OrderRules,
)
from barloop._kernels.costs import at, slipped
from barloop._kernels.tolerances import CENT
from barloop.enums import AssetField, CashRule, Option, OrderField, Reason, Rounding
from barloop.typing import FloatPanel, FloatVector, Index, IndexVector

FRACTIONAL = float(Rounding.FRACTIONAL)
PARTIAL = float(CashRule.PARTIAL)
HALVINGS = 64


@subkernel
def check_submission(
    t: Index,
    places: IndexVector,  # places in the waiting list, in sequence
    n: Index,
    pseudo: float,  # currency: cash as it would be after the orders before these
    close: FloatPanel,  # (n_bars, n_assets)
    state: Book,
    log: Log,
    orders: OrderRules,
) -> float:
    """Refuse orders as backtrader does when it accepts them; return the pseudo cash.

    At the close before the fill, without slippage, and never giving back what a
    refused order would have taken.
    """
    waiting = state.lists[WAITING]
    final = state.floats[FINAL_QUANTITY]
    order_of = state.codes[WAITING_ORDER]
    for p in range(n):
        k = places[p]
        i = waiting[k]
        price = state.floats[AssetField.LAST_CLOSE, i]
        if t > 0 and close[t - np.int64(1), i] > 0.0:
            price = close[t - np.int64(1), i]
        value = final[k] * price
        pseudo -= value + abs(value) * at(orders.costs.commission_rate, t, i)
        if pseudo < 0.0:
            final[k] = 0.0
            if order_of[k] >= 0:
                log.codes[OrderField.REASONS, order_of[k]] |= (
                    1 << Reason.REJECTED_AT_SUBMISSION
                )
    return pseudo


@subkernel
def inside_bar(
    price: float,
    is_buy: bool,  # noqa: FBT001
    high: float,
    low: float,
) -> float:
    """Keep a slipped price inside the bar, as backtrader does."""
    if is_buy and price > high:
        return high
    if not is_buy and price < low:
        return low
    return price


@subkernel
def can_enter(
    quantity: float,  # signed units
    held: float,  # signed units
    price: float,  # currency per unit
    rate: float,  # commission, fraction of the value
    cash: float,  # currency
    allows_short: bool,  # noqa: FBT001
) -> bool:
    """Say whether ml4t-backtest lets an entry happen."""
    fee = abs(quantity * price * rate)
    after = held + quantity
    if held * quantity < 0.0 and held * after >= 0.0:
        # What a cut flip may always do: cover.
        return True
    if held * after < 0.0:
        return allows_short and abs(after * price) <= cash + held * price - fee + CENT
    if after < 0.0 and not allows_short:
        return False
    return abs(quantity * price) <= cash - fee + CENT


@subkernel
def shrink_entry(
    quantity: float,
    held: float,
    price: float,
    margin: float,  # currency
    rate: float,
    cash: float,
    allows_short: bool,  # noqa: FBT001
    whole: bool,  # noqa: FBT001
) -> float:
    """Return the largest part of an entry that ml4t-backtest lets happen."""
    low, high = 0.0, abs(quantity)
    side = 1.0 if quantity > 0.0 else -1.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        if can_enter(side * middle, held, price, rate, cash, allows_short):
            low = middle
        else:
            high = middle
    if whole:
        units = float(math.floor(high))
        if not can_enter(side * units, held, price, rate, cash, allows_short):
            units -= 1.0
        return side * units if units > 0.0 else 0.0
    low -= margin / price
    return side * low if low > 0.0 else 0.0


@subkernel
def enter(
    t: Index,
    i: Index,
    quantity: float,  # signed units wanted
    base: float,  # currency per unit
    options: FloatVector,
    state: Book,
    orders: OrderRules,
) -> float:
    """Return what ml4t-backtest fills of an order, signed units.

    Reductions always fill.  Entries are checked at the price before slippage, shrunk
    where the rule or whole shares allow it, and checked again at the slipped price.
    """
    held = state.floats[AssetField.POSITION, i]
    after = held + quantity
    if held * quantity < 0.0 and after * held >= 0.0:
        return quantity
    cash = state.money[CASH]
    rate = at(orders.costs.commission_rate, t, i)
    shorts = options[Option.ALLOW_SHORT] != 0.0
    partial = options[Option.CASH_RULE] == PARTIAL
    whole = options[Option.ROUNDING] != FRACTIONAL
    price = slipped(t, i, quantity, base, options, orders)
    if not can_enter(quantity, held, base, rate, cash, shorts):
        reverses = held * after < 0.0
        if not (partial or whole) or (reverses and not shorts):
            return 0.0
        quantity = shrink_entry(quantity, held, base, CENT, rate, cash, shorts, whole)
    if quantity == 0.0 or price == base:
        return quantity
    if not can_enter(quantity, held, price, rate, cash, shorts):
        if not partial or whole:
            return 0.0
        quantity = shrink_entry(
            quantity, held, price, CENT + 1e-8, rate, cash, shorts, whole
        )
    return quantity
