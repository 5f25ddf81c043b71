"""What one fill costs: slippage and commission."""

from __future__ import annotations

import math

from barloop._jit import subkernel
from barloop._kernels.buffers import OrderRules
from barloop.enums import Option
from barloop.typing import FloatPanel, FloatVector, Index


@subkernel
def at(panel: FloatPanel, t: Index, i: Index) -> float:
    """Read a panel of one row as the same on every bar."""
    if panel.shape[0] == 1:
        return panel[0, i]  # type: ignore[no-any-return]
    return panel[t, i]  # type: ignore[no-any-return]


@subkernel
def slipped(
    t: Index,
    i: Index,
    quantity: float,  # signed units
    base: float,  # currency per unit
    options: FloatVector,
    orders: OrderRules | None,
) -> float:
    """Return the price after slippage of a fill, currency per unit."""
    if orders is None:
        side = options[Option.SLIPPAGE_RATE]
        return base * (1.0 + (side if quantity > 0.0 else -side))  # type: ignore[no-any-return]
    rate = at(orders.costs.slippage_rate, t, i)
    squared, root = options[Option.VOLUME_IMPACT], options[Option.SQRT_IMPACT]
    if squared > 0.0 or root > 0.0:
        volume = orders.volume[t, i]
        # Only an exit can fill without volume: it counts as all of it.
        share = abs(quantity) / volume if volume > 0.0 else 1.0
        rate += squared * share * share
        if root > 0.0:
            rate += root * at(orders.costs.volatility, t, i) * math.sqrt(share)
    if quantity > 0.0:
        return base * (1.0 + rate)
    price = base * (1.0 - rate)
    return price if price > 0.0 else 0.0


@subkernel
def commission_of(
    t: Index,
    i: Index,
    quantity: float,  # signed units, not 0
    price: float,  # currency per unit, after slippage
    options: FloatVector,
    orders: OrderRules | None,
) -> float:
    """Return the commission of a fill, currency."""
    if orders is None:
        least: float = options[Option.COMMISSION_MINIMUM]
        fee: float = abs(quantity * price) * options[Option.COMMISSION_RATE]
        return fee if fee > least else least
    costs = orders.costs
    fee = abs(quantity * price) * at(costs.commission_rate, t, i)
    fee += at(costs.per_share, t, i) * abs(quantity)
    fee += at(costs.per_order, t, i)
    least = at(costs.minimum, t, i)
    most = at(costs.maximum, t, i)
    fee = fee if fee > least else least
    return fee if fee < most else most


@subkernel
def outlay(
    t: Index,
    i: Index,
    quantity: float,  # signed units
    base: float,  # currency per unit
    options: FloatVector,
    orders: OrderRules | None,
) -> float:
    """Return the cash that a fill takes, costs included; negative: it brings cash."""
    if quantity == 0.0:
        return 0.0
    price = slipped(t, i, quantity, base, options, orders)
    return quantity * price + commission_of(t, i, quantity, price, options, orders)


@subkernel
def cost_of(
    t: Index,
    i: Index,
    quantity: float,  # signed units
    base: float,  # currency per unit
    options: FloatVector,
    orders: OrderRules | None,
) -> float:
    """Return what a fill takes away from equity at the base price, currency."""
    if quantity == 0.0:
        return 0.0
    price = slipped(t, i, quantity, base, options, orders)
    fee = commission_of(t, i, quantity, price, options, orders)
    return abs(quantity) * abs(price - base) + fee
