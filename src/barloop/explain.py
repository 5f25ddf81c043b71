"""Tell in words how a target became a fill."""

from __future__ import annotations

from typing import Any

import polars as pl

from barloop.schema import show

WHY = {
    "not_listed": "the asset had no bar yet, so no order was made",
    "no_bar": "the asset had no bar and at_decision='skip', so no order was made",
    "rounded": "the target was cut to whole lots",
    "below_min_trade_value": "the order was worth less than min_trade_value",
    "missing_bar": "its asset had no fill price on a bar",
    "scaled_to_cash": "opening buys were scaled to the cash there was",
    "replaced": "a later decision replaced what was still waiting",
    "ruined": "the account was ruined",
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
        Several lines: the holding, the order in force, its fills and its reasons.
    """
    of_asset = pl.col(asset_name) == pl.lit(asset, dtype=orders.schema[asset_name])
    now = pl.col(time_name) == timestamp
    lines = [f"{show(asset)} at {show(timestamp)}"]

    held = positions.filter(of_asset & now)
    if held.height:
        row = held.row(0, named=True)
        weight = weights.filter(of_asset & now)["weight"][0]
        lines.append(
            f"  holding:   {row['position']:,.6g} units at {row['close']:,.6g} = "
            f"{row['position_value']:,.2f}, {weight:.2%} of equity"
        )
    else:
        lines.append("  holding:   nothing after the fills of this bar")

    lines += [_fill_line(row) for row in _rows(fills.filter(of_asset & now))]
    decided = rebalances.filter(now)
    own = orders.filter(of_asset & now)
    if own.height:
        lines += _order_lines(own.row(0, named=True), fills, time_name, fill)
    elif decided.height:
        kind = decided["decision"][0]
        lines.append(
            f"  decision:  {kind}, with no order for this asset: "
            + (
                "it was not named, or its position was on target"
                if kind == "partial"
                else "its position was on target"
            )
        )
    else:
        lines.append("  decision:  none on this bar")
    if not own.height:
        earlier = orders.filter(of_asset & (pl.col(time_name) < timestamp)).tail(1)
        if earlier.height:
            row = earlier.row(0, named=True)
            lines.append(f"  latest order, decided at {show(row[time_name])}:")
            lines += _order_lines(row, fills, time_name, fill)
        else:
            lines.append("  orders:    none before this bar")
    return "\n".join(lines)


def _rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return list(frame.iter_rows(named=True))


def _fill_line(row: dict[str, Any], indent: str = "  filled:    ") -> str:
    side = "bought" if row["quantity"] > 0 else "sold"
    words = (
        f"{indent}{side} {abs(row['quantity']):,.6g} at {row['price']:,.6g} "
        f"(base {row['base_price']:,.6g}), commission {row['commission']:,.2f}, "
        f"slippage {row['slippage']:,.2f}"
    )
    return words + (" to close the ruined account" if row["reason"] == "ruined" else "")


def _order_lines(
    row: dict[str, Any], fills: pl.DataFrame, time_name: str, fill: str
) -> list[str]:
    lines = []
    price = "no known close" if row["price"] is None else f"close {row['price']:,.6g}"
    lines.append(
        f"  target:    {row['target_weight']:.4%} of equity {row['equity']:,.2f} at "
        f"{price}; held {row['position_before']:,.6g} ({row['weight_before']:.4%})"
    )
    if row["quantity"] is None:
        lines.append("  order:     none")
    else:
        side = "buy" if row["quantity"] > 0 else "sell"
        lines.append(
            f"  order:     {side} {abs(row['quantity']):,.6g}, {fill}: {row['status']}"
            f", filled {abs(row['filled']):,.6g}, missing {abs(row['missing']):,.6g}; "
            f"position after {row['position_after']:,.6g}"
        )
    lines += [
        _fill_line(one, f"  at {show(one[time_name])}: ")
        for one in _rows(fills.filter(pl.col("order_id") == row["order_id"]))
    ]
    lines += [f"  because:   {WHY[reason]} ({reason})" for reason in row["reasons"]]
    return lines
