"""Tell in words how a target became a fill."""

from __future__ import annotations

from typing import Any

import polars as pl

from barloop.schema import show

WHY = {
    "not_listed": "the asset had no bar so far, so no price to size an order on",
    "no_bar": "the asset had no bar, and at_decision='skip' left it alone",
    "rounded": "the target was cut to whole lots",
    "below_min_trade_value": "it was worth less than min_trade_value",
    "missing_bar": "the asset had no fill price on a bar, so the order waited",
    "scaled_to_cash": "all opening buys of the bar were scaled to the cash there was",
    "replaced": "a later decision replaced the order while it waited",
    "ruined": "the account was ruined while the order waited",
}
CANCELLED = "the asset had no fill price on the bar, so the order was cancelled"
"""Of ``missing_bar`` when nothing happened to the order afterwards."""
TOO_SMALL = "the cash there was would have bought less than min_trade_value"
"""Of ``below_min_trade_value`` when the order was scaled."""

WHEN = {
    "next_open": "at the next open",
    "next_close": "at the next close",
    "same_close": "at the same close",
}


def explain(
    *,
    orders: pl.DataFrame,
    fills: pl.DataFrame,
    positions: pl.DataFrame,
    weights: pl.DataFrame,
    rebalances: pl.DataFrame,
    asset: Any,
    timestamp: Any,
    time_name: str,
    asset_name: str,
    fill: str,
) -> str:
    """Describe what one asset did around one bar.

    Parameters
    ----------
    orders, fills, positions, weights, rebalances : DataFrame
        Frames of the result.
    asset, timestamp : object
        Python values, known to be in the data.
    time_name, asset_name : str
        Names of the user's columns.
    fill : str
        The fill timing of the run.

    Returns
    -------
    str
        Several lines: the holding, the fills of the bar, its decision, and the order
        that the asset got there or else its latest order, with fill and reasons.

    Notes
    -----
    An order is described by what became of it in the end, also after the bar.
    """
    of_asset = pl.col(asset_name) == pl.lit(asset, dtype=orders.schema[asset_name])
    now = pl.col(time_name) == timestamp
    own_fills = fills.filter(of_asset)
    filled_now = _rows(own_fills.filter(now))
    held = positions.filter(of_asset & now)
    lines = [f"{show(asset)} at {show(timestamp)}"]
    if held.height:
        row = held.row(0, named=True)
        weight = weights.filter(of_asset & now)["weight"][0]
        lines.append(
            f"  holding:   {_units(row['position'])} units at {_price(row['close'])} = "
            f"{row['position_value']:,.2f}, {_percent(weight)} of equity"
        )
    else:
        lines.append("  holding:   nothing at the end of this bar")
    lines += [f"  fill:      {_fill(row)}" for row in filled_now]

    own = orders.filter(of_asset & now)
    decided = rebalances.filter(now)
    if own.height:
        lines.append(f"  decision:  {decided['decision'][0]}")
        lines += _order(own.row(0, named=True), own_fills, time_name, timestamp, fill)
        return "\n".join(lines)
    if decided.height:
        ends_here = any(row["reason"] == "ruined" for row in filled_now)
        has_position = held.height > 0 or ends_here
        words = _without_order(decided, has_position=has_position)
        lines.append(f"  decision:  {words}")
    else:
        ruin = fills.filter(pl.col("reason") == "ruined")[time_name]
        over = ruin.head(1).to_list() if (ruin <= timestamp).any() else []
        words = f", the account was ruined at {show(over[0])}" if over else ""
        lines.append(f"  decision:  none on this bar{words}")
    earlier = orders.filter(of_asset & (pl.col(time_name) < timestamp)).tail(1)
    if earlier.height:
        row = earlier.row(0, named=True)
        lines.append(
            f"  latest order of this asset, decided at {show(row[time_name])}:"
        )
        lines += _order(row, own_fills, time_name, timestamp, fill)
    else:
        lines.append("  orders:    none for this asset so far")
    return "\n".join(lines)


def _without_order(decided: pl.DataFrame, *, has_position: bool) -> str:
    kind = decided["decision"][0]
    if kind == "partial":
        rest = "was on target" if has_position else "had no weight and no position"
        return f"partial, no order: this asset was not named, or it {rest}"
    if has_position:
        return "complete, no order: the position was on target"
    return "complete, no order: this asset had no weight and no position"


def _order(
    row: dict[str, Any],
    fills: pl.DataFrame,
    time_name: str,
    timestamp: Any,
    fill: str,
) -> list[str]:
    """Describe one order of the ledger, from its target to its fill."""
    reasons = row["reasons"]
    target = f"{_percent(row['target_weight'])} of equity {row['equity']:,.2f}"
    if row["price"] is not None:
        target += f" at close {_price(row['price'])}"
    if row["quantity"] is not None:
        target += f" = {_units(row['position_before'] + row['quantity'])} units"
    before = "nothing"
    if row["position_before"] != 0.0:
        before = f"{_units(row['position_before'])} units, "
        before += f"{_percent(row['weight_before'])} of equity"
    lines = [
        f"  target:    {target}",
        f"  held then: {before}",
        f"  order:     {_outcome(row, fill)}",
    ]
    # The fill on this bar, if that is where it was, stands above.
    of_order = pl.col("order_id") == row["order_id"]
    elsewhere = fills.filter(of_order & (pl.col(time_name) != timestamp))
    lines += [
        f"  fill:      {_fill(one)}, at {show(one[time_name])}"
        for one in _rows(elsewhere)
    ]
    why = dict(WHY)
    if row["status"] == "none" and reasons[-1:] == ["missing_bar"]:
        why["missing_bar"] = CANCELLED
    if "scaled_to_cash" in reasons:
        why["below_min_trade_value"] = TOO_SMALL
    return lines + [f"  because:   {why[reason]} ({reason})" for reason in reasons]


def _outcome(row: dict[str, Any], fill: str) -> str:
    quantity, status = row["quantity"], row["status"]
    if not quantity:
        # It could not be sized, or whole lots made it 0.
        return "none"
    side = "buy" if quantity > 0 else "sell"
    wanted = f"{side} {_units(abs(quantity))}"
    sent = set(row["reasons"]) - {"rounded", "below_min_trade_value"}
    if status == "none" and "below_min_trade_value" in row["reasons"] and not sent:
        return f"none, to {wanted} was wanted"
    words = {
        "filled": "filled",
        "partial": f"partly filled, {_units(abs(row['filled']))}; the rest is gone",
        "none": "not filled",
        "waiting": "not filled yet, it waits",
    }
    return f"{wanted} {WHEN[fill]}: {words[status]}"


def _fill(row: dict[str, Any]) -> str:
    side = "bought" if row["quantity"] > 0 else "sold"
    words = (
        f"{side} {_units(abs(row['quantity']))} at {_price(row['price'])} "
        f"(base {_price(row['base_price'])}), commission {row['commission']:,.2f}, "
        f"slippage {row['slippage']:,.2f}"
    )
    return words + (
        ", the end of a ruined account" if row["reason"] == "ruined" else ""
    )


def _rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return list(frame.iter_rows(named=True))


def _units(quantity: float) -> str:
    """Two decimals for large numbers, six digits for small ones."""
    text = f"{quantity:,.2f}" if abs(quantity) >= 10_000 else f"{quantity:,.6g}"
    return text.removesuffix(".00")


def _price(price: float) -> str:
    return f"{price:,.6g}" if price < 10_000 else f"{price:,.2f}".removesuffix(".00")


def _percent(share: float) -> str:
    return f"{100.0 * share:.4g}%"
