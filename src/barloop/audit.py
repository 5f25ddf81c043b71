"""Rebuild a result from its fills and cash flows alone, in polars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from barloop.errors import AuditError
from barloop.schema import show

TOLERANCE = 1e-9
"""Largest difference, as a share of the account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What an audit compared, when everything agreed.

    Parameters
    ----------
    n_bars, n_fills, n_cash_flows : int
        Rows that were rebuilt from.
    largest_difference : float
        Of cash, equity, commission, carry and deposits on any bar, as a share of the
        account.
    """

    n_bars: int
    n_fills: int
    n_cash_flows: int
    largest_difference: float

    def __str__(self) -> str:
        return (
            f"clean: {_count(self.n_bars, 'bar')} rebuilt from "
            f"{_count(self.n_fills, 'fill')} and "
            f"{_count(self.n_cash_flows, 'cash flow')}, largest difference "
            f"{self.largest_difference:.1e} of the account"
        )


def audit(
    *,
    bars: pl.DataFrame,
    equity: pl.DataFrame,
    fills: pl.DataFrame,
    cash_flows: pl.DataFrame,
    positions: pl.DataFrame,
    initial_cash: float,
    time: str,
    asset: str,
    close: str,
) -> AuditReport:
    """Rebuild positions, cash and equity of every bar and compare.

    Parameters
    ----------
    bars : DataFrame
        The user's rows, in any order.
    equity, fills, cash_flows, positions : DataFrame
        Frames of the result.
    initial_cash : float
        Deposited on the first bar, currency; no other deposit counts as it.
    time, asset, close : str
        Names of the user's columns.

    Returns
    -------
    AuditReport
        When all bars agree.

    Raises
    ------
    AuditError
        With the first bar on which cash, equity, the commission, carry, deposits, the
        number of positions, a position, its value or the units of a split differ; or
        if a row lies on no bar of the equity curve, or is there twice.

    Notes
    -----
    Nothing of the compiled loop is used: positions are running sums of the fills and
    of the units that splits add, which come first on their bar; cash is the running
    sum of ``-(quantity * price + commission)`` and the cash flows; closes are the
    user's own, carried forward and divided by the splits since then.  A split must add
    ``position * (ratio - 1)``.  Positions and their number must agree exactly, units
    of a split to `TOLERANCE` of the position, money to `TOLERANCE` of the account: of
    the largest equity or cash so far, or of the commission paid so far.
    """
    named = {"fills": fills, "cash_flows": cash_flows, "positions": positions}
    for name, frame in named.items():
        _require_bars(name, frame, equity, time)
    _require_once("equity", equity, [time])
    _require_once("positions", positions, [time, asset])

    moves = _moves(fills, cash_flows, time, asset)
    held = _rebuilt_positions(bars, equity, moves, time, asset, close)
    per_bar = _per_bar(held, equity, fills, cash_flows, initial_cash, time)
    per_asset = _per_asset(held, positions, per_bar, time, asset)
    splits = _splits(moves, per_bar, time)
    money = [
        _compare(name, per_bar, name, f"rebuilt_{name}", time)
        for name in ("cash", "equity", "commission", "carry", "deposits")
    ]
    counts = [
        _compare("n_positions", per_bar, "n_positions", "n_held", time, exact=True),
        _compare("position", per_asset, "stated", "position", time, asset, exact=True),
        _compare("position_value", per_asset, "stated_value", "value", time, asset),
        _compare("split", splits, "quantity", "units", time, asset),
    ]
    wrong = [one for one in money + counts if one.message]
    if wrong:
        # Of several on the same bar, the first in the order above.
        raise AuditError(min(wrong, key=lambda one: one.bar).message)
    return AuditReport(
        n_bars=equity.height,
        n_fills=fills.height,
        n_cash_flows=cash_flows.height,
        largest_difference=max(one.largest for one in money),
    )


class _Comparison(NamedTuple):
    """One quantity on all bars."""

    largest: float  # difference as a share of the account
    bar: int  # the first that differs, -1 if none does
    message: str  # empty if none does


def _compare(
    what: str,
    frame: pl.DataFrame,
    stated: str,
    rebuilt: str,
    time: str,
    asset: str | None = None,
    *,
    exact: bool = False,
) -> _Comparison:
    share = (pl.col(rebuilt) - pl.col(stated)).abs() / pl.col("scale")
    # Null and NaN are differences too.
    agrees = pl.col("share").le(TOLERANCE).fill_null(value=False)
    if exact:
        agrees = pl.col(rebuilt).eq_missing(pl.col(stated))
    compared = frame.with_columns(share=share).with_columns(agrees=agrees)
    bad = compared.filter(~pl.col("agrees")).head(1)
    if bad.is_empty():
        shares = compared["share"].to_numpy()
        return _Comparison(float(shares.max(initial=0.0)), -1, "")
    row = bad.row(0, named=True)
    of_asset = "" if asset is None else f", asset {show(row[asset])}"
    return _Comparison(
        float("nan"),
        row["bar"],
        f"{what} does not follow from the fills: first at {show(row[time])}{of_asset}, "
        f"stated {row[stated]!r}, rebuilt {row[rebuilt]!r}.",
    )


def _require_bars(
    name: str, frame: pl.DataFrame, equity: pl.DataFrame, time: str
) -> None:
    """Refuse rows that no bar would count."""
    stray = frame.join(equity, on=time, how="anti", maintain_order="left")
    if stray.height:
        msg = (
            f"{name} lie outside of the run: {_count(stray.height, 'row')}, first at "
            f"{show(stray[time][0])}, which is no bar of the equity curve."
        )
        raise AuditError(msg)


def _require_once(name: str, frame: pl.DataFrame, keys: list[str]) -> None:
    repeated = frame.select(keys).is_duplicated()
    if repeated.any():
        row = frame.select(keys).filter(repeated).row(0)
        where = ", asset ".join(show(value) for value in row)
        msg = f"{name} has the same row twice: first at {where}."
        raise AuditError(msg)


def _moves(
    fills: pl.DataFrame, cash_flows: pl.DataFrame, time: str, asset: str
) -> pl.DataFrame:
    """One row per fill and split, in order, with the position that each leaves."""
    split = pl.col("kind") == "split"
    units = [
        cash_flows.filter(split).select(time, asset, "quantity", "ratio"),
        fills.select(time, asset, "quantity", ratio=pl.lit(None, pl.Float64)),
    ]
    return (
        pl.concat(units)
        # Stable: splits stay before the fills of their bar, fills in their order.
        .sort(time, maintain_order=True)
        .with_columns(position=pl.col("quantity").cum_sum().over(asset))
    )


def _rebuilt_positions(
    bars: pl.DataFrame,
    equity: pl.DataFrame,
    moves: pl.DataFrame,
    time: str,
    asset: str,
    close: str,
) -> pl.DataFrame:
    """One row per bar and traded asset with a position that is not 0."""
    traded = moves.select(asset).unique()
    closes = (
        bars.select(time, asset, pl.col(close).cast(pl.Float64).alias("close"))
        .filter(pl.col("close").is_not_null() & pl.col("close").is_not_nan())
        .join(traded, on=asset, how="semi")
    )
    after = moves.group_by(time, asset, maintain_order=True).agg(
        pl.col("position").last(), pl.col("ratio").drop_nulls().product()
    )
    # Closes before the run are known on its first bar.  The last bar stays a column:
    # as a Python value it would lose the nanoseconds.
    times = pl.concat([equity.select(time), closes.select(time)]).unique()
    last = equity.select(last=pl.col(time).max())
    grid = (
        times.join(last, how="cross")
        .filter(pl.col(time) <= pl.col("last"))
        .select(time)
        .join(traded, how="cross")
    )
    # Units that one unit of the beginning has become: a close times them is carried.
    growth = pl.col("ratio").fill_null(1.0).cum_prod().over(asset)
    return (
        grid.join(closes, on=[time, asset], how="left")
        .join(after, on=[time, asset], how="left")
        .sort(asset, time)
        .with_columns(growth=growth)
        .with_columns(close=pl.col("close") * pl.col("growth"))
        .with_columns(pl.col("close", "position").forward_fill().over(asset))
        .with_columns(close=pl.col("close") / pl.col("growth"))
        .filter(pl.col("position") != 0.0)
        .with_columns(value=pl.col("position") * pl.col("close"))
    )


def _per_bar(
    held: pl.DataFrame,
    equity: pl.DataFrame,
    fills: pl.DataFrame,
    cash_flows: pl.DataFrame,
    initial_cash: float,
    time: str,
) -> pl.DataFrame:
    """Money of every bar, stated and rebuilt, and the scale of the account."""
    nothing = pl.lit(0.0)
    paid = fills.select(
        time,
        moved=-(pl.col("quantity") * pl.col("price") + pl.col("commission")),
        rebuilt_commission=pl.col("commission"),
        rebuilt_deposits=nothing,
        rebuilt_carry=nothing,
    )
    deposited = pl.col("kind").is_in(["deposit", "withdrawal"])
    amount = pl.col("amount")
    flows = cash_flows.select(
        time,
        moved=amount,
        rebuilt_commission=nothing,
        rebuilt_deposits=pl.when(deposited).then(amount).otherwise(nothing),
        rebuilt_carry=pl.when(deposited).then(nothing).otherwise(amount),
    )
    moves = pl.concat([flows, paid]).group_by(time, maintain_order=True)
    values = held.group_by(time, maintain_order=True).agg(
        pl.col("value").sum(), n_held=pl.len().cast(pl.Int64)
    )
    first = pl.when(pl.col("bar") == 0).then(initial_cash).otherwise(nothing)
    return (
        equity.select(time)
        .join(moves.agg(pl.exclude(time).sum()), on=time, how="left")
        .join(values, on=time, how="left")
        .sort(time)
        .with_row_index("bar")
        .with_columns(pl.exclude(time, "bar").fill_null(0))
        .with_columns(
            rebuilt_deposits=pl.col("rebuilt_deposits") - first,
            rebuilt_cash=pl.col("moved").cum_sum(),
        )
        .with_columns(rebuilt_equity=pl.col("rebuilt_cash") + pl.col("value"))
        .with_columns(
            scale=pl.max_horizontal(
                pl.col("rebuilt_equity").abs().cum_max(),
                pl.col("rebuilt_cash").abs().cum_max(),
                pl.col("rebuilt_commission").cum_sum(),
            )
        )
        .join(equity, on=time, how="left", maintain_order="left")
    )


def _splits(moves: pl.DataFrame, per_bar: pl.DataFrame, time: str) -> pl.DataFrame:
    """Units that splits added, stated and rebuilt."""
    before = pl.col("position") - pl.col("quantity")
    return (
        moves.filter(pl.col("ratio").is_not_null())
        .with_columns(
            units=before * (pl.col("ratio") - 1.0), scale=pl.col("position").abs()
        )
        .join(per_bar.select(time, "bar"), on=time, how="left", maintain_order="left")
    )


def _per_asset(
    held: pl.DataFrame,
    positions: pl.DataFrame,
    per_bar: pl.DataFrame,
    time: str,
    asset: str,
) -> pl.DataFrame:
    """Positions and their values, stated and rebuilt."""
    stated = positions.select(
        time, asset, stated=pl.col("position"), stated_value=pl.col("position_value")
    )
    return (
        held.join(stated, on=[time, asset], how="full", coalesce=True)
        .join(per_bar.select(time, "bar", "scale"), on=time, how="left")
        .sort("bar", asset)
    )


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
