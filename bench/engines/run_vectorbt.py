"""vectorbt on a parity workload: fills and equity of ``Portfolio.from_orders``.

Both variants pass the weights as target percentages of one group that shares its cash,
with ``call_seq="auto"``, which puts the order of smallest signed value, so the largest
sale, first.  Every option that is not named below keeps its default:

- orders are sized on the price at which they fill, before slippage, and on the value
  of the group at these prices before the first order of the bar;
- a buy that cash cannot pay shrinks to what cash pays for; a sale opens a short freely;
- orders smaller than 1e-8 units are dropped.

``vectorbt_close`` fills at the close of the bar that decides.  ``vectorbt_next_open``
moves the weights down one bar and fills at the open.  With whole shares,
``size_granularity=1`` cuts the quantity of each order toward zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    import pandas as pd

    from workloads import Workload

VARIANTS = ("vectorbt_close", "vectorbt_next_open")


def run(workload: Workload, variant: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Run one workload through vectorbt's compiled loop.

    Parameters
    ----------
    workload : Workload
        Prices, target weights and costs.
    variant : str
        ``"vectorbt_close"`` or ``"vectorbt_next_open"``.

    Returns
    -------
    fills : DataFrame with ``date``, ``symbol``, ``quantity``, ``price``, ``commission``
        In order of execution; signed units, price after slippage, currency.
    equity : DataFrame with ``date``, ``cash``, ``equity``
        Every bar, at the close, after costs; currency.

    Raises
    ------
    ValueError
        The variant is none of these two.

    Notes
    -----
    vectorbt adds cash up again from the order records.  Where its loop leaves exactly
    no cash, the curve may show a rounding error of either sign.
    """
    import vectorbt

    if variant not in VARIANTS:
        raise ValueError(f"no variant {variant!r} here; there are {VARIANTS}")
    close = _wide(workload.bars, "close")
    size = _wide(workload.weights, "weight").reindex(close.index)
    price = close
    if variant == "vectorbt_next_open":
        size = size.shift(1)
        price = _wide(workload.bars, "open")
    portfolio = vectorbt.Portfolio.from_orders(
        close,
        size=size,
        size_type="targetpercent",
        price=price,
        fees=workload.commission_bps / 1e4,
        slippage=workload.slippage_bps / 1e4,
        size_granularity=1.0 if workload.whole else np.nan,
        init_cash=workload.initial_cash,
        cash_sharing=True,
        group_by=True,
        call_seq="auto",
        freq="1D",
        engine="numba",
    )
    dates = close.index.to_numpy().astype("datetime64[D]")
    symbols = close.columns.to_numpy()
    records = np.sort(portfolio.order_records, order="id")
    # Side 0 is a buy, side 1 a sale.
    fills = pl.DataFrame(
        {
            "date": dates[records["idx"]],
            "symbol": symbols[records["col"]].tolist(),
            "quantity": np.where(records["side"] == 0, 1.0, -1.0) * records["size"],
            "price": records["price"],
            "commission": records["fees"],
        },
        schema_overrides={"symbol": pl.String},
    )
    equity = pl.DataFrame(
        {
            "date": dates,
            "cash": portfolio.cash().to_numpy(),
            "equity": portfolio.value().to_numpy(),
        }
    )
    return fills, equity


def _wide(frame: pl.DataFrame, column: str) -> pd.DataFrame:
    """Turn one column into a pandas frame with a row per date."""
    import pandas as pd

    wide = frame.pivot(on="symbol", index="date", values=column)
    index = pd.DatetimeIndex(wide["date"].to_numpy().astype("datetime64[ns]"))
    values = wide.drop("date")
    return pd.DataFrame(values.to_numpy(), index=index, columns=values.columns)
