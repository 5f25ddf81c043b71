"""From a weight to the quantity of an order, one asset at a time."""

from __future__ import annotations

import math

from barloop._jit import subkernel
from barloop._kernels.buffers import OrderRules
from barloop._kernels.costs import at, outlay, slipped
from barloop._kernels.tolerances import (
    DUST,
    INTEGER_TOLERANCE,
    ML4T_SMALLEST,
    ZIPLINE_SNAP,
)
from barloop.enums import Compat, CostsInSize, Option, Reason, Rounding
from barloop.typing import FloatVector, Index

FRACTIONAL = float(Rounding.FRACTIONAL)
WHOLE_TARGET = float(Rounding.WHOLE_TARGET)
WHOLE_DELTA_NEAREST = float(Rounding.WHOLE_DELTA_NEAREST)
WHOLE_DELTA_FLOOR = float(Rounding.WHOLE_DELTA_FLOOR)
PER_ORDER = float(CostsInSize.PER_ORDER)
ZIPLINE = float(Compat.ZIPLINE)
ML4T = float(Compat.ML4T)
BT = float(Compat.BT)
HALVINGS = 100


@subkernel
def whole_lots(quantity: float, lot: float) -> float:
    """Cut toward zero to a multiple of `lot`; almost an integer is that integer."""
    lots = quantity / lot
    nearest = round(lots)
    if abs(lots - nearest) <= INTEGER_TOLERANCE:
        return nearest * lot
    return math.trunc(lots) * lot


@subkernel
def whole_delta(delta: float, options: FloatVector) -> float:
    """Round a change of position to lots, by the rule of the options."""
    lot: float = options[Option.LOT_SIZE]
    lots = delta / lot
    nearest = math.floor(abs(lots) + 0.5)
    if lots < 0.0:
        nearest = -nearest
    snap = INTEGER_TOLERANCE
    if options[Option.COMPAT] == ZIPLINE:
        snap = ZIPLINE_SNAP
    rounding = options[Option.ROUNDING]
    if abs(lots - nearest) <= snap or rounding == WHOLE_DELTA_NEAREST:
        return nearest * lot
    if rounding == WHOLE_DELTA_FLOOR:
        return math.floor(lots) * lot
    return math.trunc(lots) * lot


@subkernel
def bring_in(
    t: Index,
    i: Index,
    quantity: float,  # units to sell, > 0
    price: float,  # currency per unit, before slippage
    options: FloatVector,
    orders: OrderRules,
) -> float:
    """Return what a sale brings in after costs, currency."""
    return -outlay(t, i, -quantity, price, options, orders)


@subkernel
def net_of_costs(
    t: Index,
    i: Index,
    value: float,  # currency: the wanted change, signed
    most: float,  # units: a sale is not larger than this
    price: float,  # currency per unit, before slippage
    options: FloatVector,
    orders: OrderRules,
) -> float:
    """Return the signed quantity whose cash flow, costs included, is `value`."""
    linear = options[Option.LINEAR_COSTS] != 0.0
    rate = at(orders.costs.commission_rate, t, i)
    share = at(orders.costs.per_share, t, i)
    if value > 0.0:
        paid = slipped(t, i, value / price, price, options, orders)
        if linear:
            return value / (paid * (1.0 + rate) + share)
        low, high = 0.0, value / price
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            if outlay(t, i, middle, price, options, orders) <= value:
                low = middle
            else:
                high = middle
        return low
    wanted = -value
    if linear:
        paid = slipped(t, i, value / price, price, options, orders)
        unit = paid * (1.0 - rate) - share
        units = wanted / unit if unit > 0.0 else most
        return -(units if units < most else most)
    # Impact makes what a sale brings in rise to a peak and fall: look on its near side.
    high = most_that_sells(t, i, wanted, most, price, options, orders)
    if not bring_in(t, i, high, price, options, orders) >= wanted:
        return -most if most < math.inf else -high
    low = 0.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        if bring_in(t, i, middle, price, options, orders) >= wanted:
            high = middle
        else:
            low = middle
    return -high


@subkernel
def most_that_sells(
    t: Index,
    i: Index,
    wanted: float,  # currency
    most: float,  # units, infinite when there is no bound
    price: float,  # currency per unit, before slippage
    options: FloatVector,
    orders: OrderRules,
) -> float:
    """Return units that bring in `wanted`, or else those that bring in the most."""
    low, high = 0.0, wanted / price
    high = high if high < most else most
    for _ in range(HALVINGS):
        if bring_in(t, i, high, price, options, orders) >= wanted or high >= most:
            break
        further = 2.0 * high if 2.0 * high < most else most
        gained = bring_in(t, i, further, price, options, orders)
        if gained <= bring_in(t, i, high, price, options, orders):
            high = further
            break
        low = high
        high = further
    if bring_in(t, i, high, price, options, orders) >= wanted:
        return high
    for _ in range(HALVINGS):
        left = low + (high - low) / 3.0
        right = high - (high - low) / 3.0
        gained = bring_in(t, i, right, price, options, orders)
        if gained >= wanted:
            return right
        if bring_in(t, i, left, price, options, orders) >= gained:
            high = right
        else:
            low = left
    return high


@subkernel
def whole_before_costs(shares: float, current: float) -> float:
    """Return the whole number from which bt starts to look for one net of costs."""
    if current > 0.0 or (current == 0.0 and shares > 0.0):
        return float(math.floor(shares))
    return float(math.ceil(shares))


@subkernel
def size_order(
    t: Index,
    i: Index,
    weight: float,  # signed fraction of equity, after the limits
    equity: float,  # currency
    price: float,  # currency per unit, > 0, or NaN of an asset that is not listed
    current: float,  # signed units held
    rounding: float,  # Rounding
    least: float,  # currency, smallest order
    options: FloatVector,
    orders: OrderRules | None,
) -> tuple[float, int, bool]:
    """Return ``(quantity, reasons, blocked)`` of the order that a weight asks for.

    Quantity 0 and not blocked: there is nothing to do, and nothing to report.
    """
    target = weight * equity / price
    reasons = 0
    blocked = False
    is_delta = False
    whole = 0.0
    if orders is not None:
        band = options[Option.DRIFT_BAND]
        if band > 0.0 and weight * current > 0.0:
            held = current * price / equity
            change = target - current
            size = abs(target) if abs(target) > abs(current) else abs(current)
            grows = abs(weight) > abs(held) and abs(change) > DUST * size
            if grows and abs(weight - held) <= band:
                return change, 1 << Reason.DRIFT_BAND, True
        sized = (weight != 0.0) & (equity > 0.0) & (price > 0.0)
        if options[Option.COSTS_IN_SIZE] == PER_ORDER and sized:
            value = weight * equity - current * price
            most = math.inf
            if current > 0.0 and weight > 0.0 and options[Option.COMPAT] != BT:
                most = current
            target = current
            first = math.nan
            if options[Option.COMPAT] == BT and rounding != FRACTIONAL:
                first = whole_before_costs(value / price, current)
                value = 0.0 if first == 0.0 else value
            if first == -current:
                target = 0.0
            elif value != 0.0:
                target += net_of_costs(t, i, value, most, price, options, orders)
        is_delta = (rounding != FRACTIONAL) & (rounding != WHOLE_TARGET)
        is_delta = is_delta & (weight != 0.0) & (price > 0.0)
        if is_delta:
            delta = target - current
            whole = whole_delta(delta, options)
            if abs(whole - delta) > INTEGER_TOLERANCE * options[Option.LOT_SIZE]:
                reasons |= 1 << Reason.ROUNDED
            target = current + whole
            turns = weight * current > 0.0 and target * current < 0.0
            if turns and options[Option.COMPAT] != BT:
                # Rounding a reduction away from 0 must not turn the position around.
                target = 0.0
    if rounding == WHOLE_TARGET and price > 0.0:
        lot = options[Option.LOT_SIZE]
        lots = whole_lots(target, lot)
        if abs(lots - target) > INTEGER_TOLERANCE * lot:
            reasons |= 1 << Reason.ROUNDED
        target = lots
    if abs(target) <= DUST * abs(current):
        target = 0.0
    quantity = target - current
    if is_delta and target != 0.0:
        quantity = whole
    size = abs(target) if abs(target) > abs(current) else abs(current)
    dust = DUST * size
    if orders is not None:
        if options[Option.COMPAT] == ML4T and dust < ML4T_SMALLEST:
            dust = ML4T_SMALLEST
    if abs(quantity) <= dust:
        quantity = 0.0
        blocked = (reasons != 0) & (current == 0.0)
    elif abs(quantity) * price < least and target != 0.0:
        reasons |= 1 << Reason.BELOW_MIN_TRADE_VALUE
        blocked = True
    return quantity, reasons, blocked
