"""Rebuild a result from its fills and cash flows alone, in polars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
        Of cash and equity on any bar, as a share of the account.
    """

    n_bars: int
    n_fills: int
    n_cash_flows: int
    largest_difference: float

    def __str__(self) -> str:
        return (
            f"clean: {self.n_bars:,} bars rebuilt from {self.n_fills:,} fills and "
            f"{self.n_cash_flows:,} cash flows, largest difference "
            f"{self.largest_difference:.1e} of the account"
        )


def audit(
    *,
    bars: pl.DataFrame,
    equity: pl.DataFrame,
    fills: pl.DataFrame,
    cash_flows: pl.DataFrame,
    positions: pl.DataFrame,
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
    time, asset, close : str
        Names of the user's columns.

    Returns
    -------
    AuditReport
        When all bars agree.

    Raises
    ------
    AuditError
        With the first bar on which cash, equity, a position, the commission or the
        number of positions differs.

    Notes
    -----
    Nothing of the compiled loop is used: positions are running sums of the fills,
    cash is the running sum of ``-(quantity * price + commission)`` and the cash
    flows, closes are the user's own, carried forward.
    """
    held = _rebuilt_positions(bars, equity, fills, time, asset, close)
    per_bar = (
        equity.select(time)
        .join(_cash_moves(fills, cash_flows, time), on=time, how="left")
        .join(_values(held, time), on=time, how="left")
        .sort(time)
        .with_columns(pl.col("moved", "paid", "value").fill_null(0.0))
        .with_columns(
            pl.col("n_held").fill_null(0), rebuilt_cash=pl.col("moved").cum_sum()
        )
        .with_columns(rebuilt_equity=pl.col("rebuilt_cash") + pl.col("value"))
        .join(equity, on=time, how="left", maintain_order="left")
    )
    scale = pl.max_horizontal(
        pl.col("rebuilt_equity").abs().cum_max(),
        pl.col("rebuilt_cash").abs().cum_max(),
        pl.col("paid").cum_sum(),
    )
    checks = {
        "cash": ("rebuilt_cash", "cash"),
        "equity": ("rebuilt_equity", "equity"),
        "commission": ("paid", "commission"),
        "n_positions": ("n_held", "n_positions"),
    }
    worst = 0.0
    for what, (rebuilt, stated) in checks.items():
        off = per_bar.with_columns(off=(pl.col(rebuilt) - pl.col(stated)).abs() / scale)
        # A NaN difference is a difference.
        bad = off.filter(~(pl.col("off") <= TOLERANCE))
        if bad.height:
            row = bad.row(0, named=True)
            msg = (
                f"{what} does not follow from the fills: first at {show(row[time])}, "
                f"stated {row[stated]!r}, rebuilt {row[rebuilt]!r}."
            )
            raise AuditError(msg)
        worst = max(worst, float(off["off"].max() or 0.0))  # type: ignore[arg-type]
    _compare_positions(held, positions, time, asset)
    return AuditReport(
        n_bars=equity.height,
        n_fills=fills.height,
        n_cash_flows=cash_flows.height,
        largest_difference=worst,
    )


def _rebuilt_positions(
    bars: pl.DataFrame,
    equity: pl.DataFrame,
    fills: pl.DataFrame,
    time: str,
    asset: str,
    close: str,
) -> pl.DataFrame:
    """One row per bar and traded asset with a position that is not 0."""
    traded = fills.select(asset).unique()
    if traded.height == 0:
        return pl.DataFrame(
            schema={
                time: equity.schema[time],
                asset: fills.schema[asset],
                "position": pl.Float64,
                "close": pl.Float64,
            }
        )
    closes = (
        bars.select(time, asset, pl.col(close).cast(pl.Float64).alias("close"))
        .filter(pl.col("close").is_not_null() & pl.col("close").is_not_nan())
        .join(traded, on=asset, how="semi")
    )
    after = (
        fills.with_row_index("row")
        .sort("row")
        .with_columns(position=pl.col("quantity").cum_sum().over(asset))
        .group_by(time, asset, maintain_order=True)
        .agg(pl.col("position").last())
    )
    last_bar: Any = equity[time].max()
    times = pl.concat([equity[time], closes[time]]).unique().sort()
    grid = pl.DataFrame([times.filter(times <= last_bar)]).join(traded, how="cross")
    return (
        grid.join(closes, on=[time, asset], how="left")
        .join(after, on=[time, asset], how="left")
        .sort(asset, time)
        .with_columns(pl.col("close", "position").forward_fill().over(asset))
        .filter(pl.col("position") != 0.0)
    )


def _cash_moves(
    fills: pl.DataFrame, cash_flows: pl.DataFrame, time: str
) -> pl.DataFrame:
    paid = fills.select(
        time,
        (-(pl.col("quantity") * pl.col("price") + pl.col("commission"))).alias("moved"),
        pl.col("commission").alias("paid"),
    )
    flows = cash_flows.select(
        time, pl.col("amount").alias("moved"), pl.lit(0.0).alias("paid")
    )
    both = pl.concat([flows, paid])
    return both.group_by(time, maintain_order=True).agg(pl.col("moved", "paid").sum())


def _values(held: pl.DataFrame, time: str) -> pl.DataFrame:
    return held.group_by(time, maintain_order=True).agg(
        value=(pl.col("position") * pl.col("close")).sum(),
        n_held=pl.len().cast(pl.Int64),
    )


def _compare_positions(
    held: pl.DataFrame, positions: pl.DataFrame, time: str, asset: str
) -> None:
    both = held.select(time, asset, "position").join(
        positions.select(time, asset, pl.col("position").alias("stated")),
        on=[time, asset],
        how="full",
        coalesce=True,
    )
    differ = pl.col("position").ne_missing(pl.col("stated"))
    bad = both.filter(differ).sort(time, asset)
    if bad.height:
        row = bad.row(0, named=True)
        msg = (
            f"positions do not follow from the fills: first at {show(row[time])}, "
            f"asset {show(row[asset])}, stated {row['stated']!r}, "
            f"rebuilt {row['position']!r}."
        )
        raise AuditError(msg)
