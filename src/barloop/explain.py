"""Tell in words how a target became a fill."""

from __future__ import annotations

from typing import Any

import polars as pl

from barloop._kernels.tolerances import DUST
from barloop.schema import show

WHY = {
    "not_listed": "the asset had no bar so far, so no price to size an order on",
    "no_bar": "the asset had no bar, and at_decision='skip' left it alone",
    "blocked_after_exit": "an exit still keeps the asset from being bought again",
    "max_weight": "the weight was cut to max_weight",
    "max_gross": "all weights of the decision were scaled to max_gross",
    "drift_band": "the position was within drift_band of its target",
    "rounded": "the target was cut to whole lots",
    "below_min_trade_value": "it was worth less than min_trade_value",
    "max_drawdown": "max_drawdown ended the run",
    "max_turnover": "what opens was scaled to max_turnover",
    "cancelled_by_margin_call": "a margin call cancelled the order while it waited",
    "missing_bar": "the asset had no fill price on a bar, so the order waited",
    "no_volume": "the asset had no volume on a bar, so the order waited",
    "max_participation": "it was above max_participation of the volume of a bar",
    "rejected_at_submission": "it was rejected when it was sent",
    "scaled_to_cash": "all opening buys of the bar were scaled to the cash there was",
    "partial_cash": "it got what cash could pay for when its turn came",
    "rejected_for_cash": "it was more than cash could pay for when its turn came",
    "cancelled_by_exit": "an exit of the asset cancelled the order while it waited",
    "replaced": "a later decision replaced the order while it waited",
    "ruined": "the account was ruined while the order waited",
    "delisted": "the asset was delisted while the order waited",
}
CANCELLED = {
    "missing_bar": "the asset had no fill price on the bar, so the order was cancelled",
    "no_volume": "the asset had no volume on the bar, so the order was cancelled",
}
"""Of these when nothing happened to the order afterwards."""
TOO_SMALL = "the cash there was would have bought less than min_trade_value"
"""Of ``below_min_trade_value`` when the order was scaled to cash."""
LEFT_SMALL = "what was left of it was worth less than min_trade_value"
"""Of ``below_min_trade_value`` when the order was scaled to max_turnover."""

FILLED_BY = {
    "order": "",
    "ruined": "the end of a ruined account",
    "stop_loss": "closed by its stop_loss",
    "atr_stop": "closed by its atr_stop",
    "trailing_stop": "closed by its trailing_stop",
    "take_profit": "closed by its take_profit",
    "max_bars_held": "closed after max_bars_held bars",
    "max_drawdown": "closed because of the account's max_drawdown",
    "margin_call": "reduced by a margin call",
    "delisted": "closed by its delisting",
}
SCALED = "all opening buys of the bar were scaled by {:.6g} to the cash there was"
"""Of ``scaled_to_cash`` when the bar of the scaling is known."""
CAPPED = "it was above max_participation, {} of the volume of a bar"
LEFT = 'without a return, the position is left as it was (delisted="hold")'
MAY_WAIT = {"missing_bar", "no_volume", "max_participation"}
"""With one of these the bar on which an order was scaled is not known."""

NOT_SENT = {
    "blocked_after_exit",
    "max_weight",
    "max_gross",
    "drift_band",
    "rounded",
    "below_min_trade_value",
    "max_turnover",
}
"""An order that has these reasons only, and is not filled, was never sent."""

WHEN = {
    "next_open": "at the next open",
    "next_close": "at the next close",
    "same_close": "at the same close",
}


def explain(
    *,
    orders: pl.DataFrame,
    fills: pl.DataFrame,
    cash_flows: pl.DataFrame,
    positions: pl.DataFrame,
    weights: pl.DataFrame,
    rebalances: pl.DataFrame,
    splits: pl.DataFrame,
    asset: Any,
    timestamp: Any,
    time_name: str,
    asset_name: str,
    fill: str,
    size_at: str,
    max_participation: float | None,
    stopped_at: Any,
    has_bar: bool,
    is_scheduled: bool,
    is_left: bool,
) -> str:
    """Describe what one asset did around one bar.

    Parameters
    ----------
    orders, fills, cash_flows, positions, weights, rebalances : DataFrame
        Frames of the result.
    splits : DataFrame with the time column and ``ratio``
        Those of the asset, held or not, by bar.
    asset, timestamp : object
        Python values, known to be in the data.
    time_name, asset_name : str
        Names of the user's columns.
    fill, size_at : str
        The fill timing of the run, and when its orders are sized.
    max_participation : float or None
        Largest share of a bar's volume.
    stopped_at : object
        Timestamp at which `max_drawdown` ended the run, or None.
    has_bar : bool
        Whether the asset has a bar at `timestamp`.
    is_scheduled : bool
        Whether the schedule names the bar.
    is_left : bool
        Whether a delisting of the bar left the position as it was.

    Returns
    -------
    str
        Several lines: the holding, the splits, dividends, delistings and fills of the
        bar, its decision, and the order that the asset got there or else its latest
        order, with fill and reasons.

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
    if not has_bar:
        lines.append("  bar:       none, the asset has no close here")
    if held.height:
        row = held.row(0, named=True)
        weight = weights.filter(of_asset & now)["weight"][0]
        lines.append(
            f"  holding:   {_units(row['position'])} units at {_price(row['close'])} = "
            f"{row['position_value']:,.2f}, {_percent(weight)} of equity"
        )
    else:
        lines.append("  holding:   nothing at the end of this bar")
    flows = cash_flows.filter(of_asset)
    own_positions = positions.filter(of_asset)
    before = own_positions.filter(pl.col(time_name) < timestamp).tail(1)
    units = before["position"].sum()
    for row in _rows(flows.filter(now)):
        units += row["quantity"]
        lines.append(_flow(row, units))
    if is_left:
        lines.append(f"  delisting: {LEFT}")
    lines += [f"  fill:      {_fill(row)}" for row in filled_now]

    histories = (own_fills, splits, own_positions, rebalances)
    of_order = (*histories, time_name, timestamp, fill, size_at, max_participation)
    own = orders.filter(of_asset & now)
    decided = rebalances.filter(now)
    if own.height:
        # Without a decision only `max_drawdown` makes orders.
        words = "none on this bar, max_drawdown ended the run"
        if decided.height:
            words = decided["decision"][0]
        lines.append(f"  decision:  {words}")
        lines += _order(own.row(0, named=True), *of_order)
        return "\n".join(lines)
    if decided.height:
        ends_here = any(row["reason"] == "ruined" for row in filled_now)
        has_position = held.height > 0 or ends_here
        words = _without_order(decided, has_position=has_position)
        lines.append(f"  decision:  {words}")
    else:
        ruin = fills.filter(pl.col("reason") == "ruined")[time_name]
        over = ruin.head(1).to_list() if (ruin <= timestamp).any() else []
        words = ", it is not on the schedule"
        if is_scheduled:
            words = ", the weights asked for no rebalance"
        if over:
            words = f", the account was ruined at {show(over[0])}"
        if stopped_at is not None and stopped_at <= timestamp and not over:
            words = f", max_drawdown ended the run at {show(stopped_at)}"
        lines.append(f"  decision:  none on this bar{words}")
    earlier = orders.filter(of_asset & (pl.col(time_name) < timestamp)).tail(1)
    if earlier.height:
        row = earlier.row(0, named=True)
        lines.append(
            f"  latest order of this asset, decided at {show(row[time_name])}:"
        )
        lines += _order(row, *of_order)
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
    splits: pl.DataFrame,
    positions: pl.DataFrame,
    rebalances: pl.DataFrame,
    time_name: str,
    timestamp: Any,
    fill: str,
    size_at: str,
    max_participation: float | None,
) -> list[str]:
    """Describe one order of the ledger, from its target to its fill."""
    sized_on = "close" if size_at == "decision" else "the fill price"
    reasons = row["reasons"]
    target = _percent(row["target_weight"])
    if row["limited_weight"] != row["target_weight"]:
        target += f", limited to {_percent(row['limited_weight'])},"
    if row["equity"] is None:
        target += " of the equity at the fill"
    else:
        target += f" of equity {row['equity']:,.2f}"
    if row["price"] is not None:
        target += f" at {sized_on} {_price(row['price'])}"
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
    own = fills.filter(pl.col("order_id") == row["order_id"])
    lines += _restated(row, own, splits, positions, time_name)
    # The fill on this bar, if that is where it was, stands above.
    elsewhere = own.filter(pl.col(time_name) != timestamp)
    lines += [
        f"  fill:      {_fill(one)}, at {show(one[time_name])}"
        for one in _rows(elsewhere)
    ]
    why = dict(WHY)
    if max_participation is not None:
        why["max_participation"] = CAPPED.format(_percent(max_participation))
    last = reasons[-1] if reasons else ""
    if row["status"] == "none" and last in CANCELLED:
        why[last] = CANCELLED[last]
    if "max_turnover" in reasons:
        why["below_min_trade_value"] = LEFT_SMALL
    if "scaled_to_cash" in reasons:
        decided = rebalances.filter(pl.col(time_name) == row[time_name])
        if decided.height and MAY_WAIT.isdisjoint(reasons):
            why["scaled_to_cash"] = SCALED.format(decided["scale"][0])
        why["below_min_trade_value"] = TOO_SMALL
    return lines + [f"  because:   {why[reason]} ({reason})" for reason in reasons]


def _restated(
    row: dict[str, Any],
    fills: pl.DataFrame,
    splits: pl.DataFrame,
    positions: pl.DataFrame,
    time_name: str,
) -> list[str]:
    """Name the splits an order waited over: the ledger has the units after them."""
    time = pl.col(time_name)
    splits = splits.filter(time > row[time_name])
    if row["status"] != "waiting":
        splits = splits.head(_n_splits(row, fills, splits, positions, time_name))
    if splits.height == 0:
        return []
    each = [
        f"{_ratio(one['ratio'])} at {show(one[time_name])}" for one in _rows(splits)
    ]
    named, before = f"the split of {each[0]}", "before it"
    if len(each) > 1:
        before = "before the last"
        named = f"the splits of {', '.join(each[:-1])} and {each[-1]}"
    words = f"target, held then and order are in units after {named}"
    later = fills.filter(time >= splits[time_name][-1])
    if later.height < fills.height:
        count = _units(abs(row["filled"] - later["quantity"].sum()))
        words += f"; what filled {before}, in units of its bar, makes {count} of them"
    return [f"  units:     {words}"]


def _n_splits(
    row: dict[str, Any],
    fills: pl.DataFrame,
    splits: pl.DataFrame,
    positions: pl.DataFrame,
    time_name: str,
) -> int:
    """Count the splits after a decision that came before its order ended."""
    time, told = pl.col(time_name), row["filled"]
    units = fills.select(time_name, "quantity")
    if fills.height == 0:
        told = row["position_before"]
        units = positions.filter(time == row[time_name])
        units = units.select(time_name, quantity="position")
    if units.height == 0 or splits.height == 0:
        return 0
    certain = splits.filter(time <= units[time_name].max()).height
    # What was left may have waited for longer: then the ledger says so.
    for n in range(splits.height + 1):
        if n >= certain and abs(units["quantity"].sum() - told) <= DUST * abs(told):
            return n
        for one in _rows(splits[n : n + 1]):
            ratio = pl.when(time < one[time_name]).then(one["ratio"]).otherwise(1.0)
            units = units.with_columns(pl.col("quantity") * ratio)
    return certain


def _outcome(row: dict[str, Any], fill: str) -> str:
    quantity, status = row["quantity"], row["status"]
    if quantity is None and status == "waiting":
        return f"to be sized {WHEN[fill]}: it waits"
    if not quantity:
        # It could not be sized, whole lots made it 0, or it was on target.
        return "none, on target" if status == "filled" else "none"
    side = "buy" if quantity > 0 else "sell"
    wanted = f"{side} {_units(abs(quantity))}"
    if status == "none" and set(row["reasons"]) <= NOT_SENT:
        return f"none, to {wanted} was wanted"
    part = f"partly filled, {_units(abs(row['filled']))}; the rest"
    words = {
        "filled": "filled",
        "partial": f"{part} is gone",
        "none": "not filled",
        "waiting": f"{part} waits" if row["filled"] else "not filled yet, it waits",
    }
    return f"{wanted} {WHEN[fill]}: {words[status]}"


def _fill(row: dict[str, Any]) -> str:
    side = "bought" if row["quantity"] > 0 else "sold"
    words = (
        f"{side} {_units(abs(row['quantity']))} at {_price(row['price'])} "
        f"(base {_price(row['base_price'])}), commission {row['commission']:,.2f}, "
        f"slippage {row['slippage']:,.2f}"
    )
    by = FILLED_BY[row["reason"]]
    return f"{words}, {by}" if by else words


def _flow(row: dict[str, Any], units: float) -> str:
    """Tell a split or a dividend; `units` are those held after it."""
    if row["kind"] == "split":
        added = f"{_units(abs(row['quantity']))} units"
        moved = "more" if row["ratio"] > 1.0 else "fewer"
        return f"  split:     {_ratio(row['ratio'])}, {added} {moved}"
    verb = "received" if row["amount"] >= 0.0 else "paid"
    each = (
        f"{_price(abs(row['amount'] / units))} for each of {_units(abs(units))} units"
    )
    return f"  {row['kind'] + ':':<10} {verb} {abs(row['amount']):,.2f}, {each}"


def _ratio(ratio: float) -> str:
    return f"{ratio:.6g} for 1"


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
