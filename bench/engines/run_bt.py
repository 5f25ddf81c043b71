"""bt on a parity workload: fills and equity of ``WeighTarget`` and ``Rebalance``.

bt has one price per bar and trades at it: weights are decided, sized and filled at the
close of the same bar.  ``bt_fractional`` passes ``integer_positions=False``,
``bt_integer`` passes True; whether a workload asks for whole shares changes nothing.

bt has no slippage in proportion to the price.  Its bid-offer frame, a spread in
currency per unit, is not used either, so both variants run every workload with
``slippage_bps`` 0.  Its commission function is ``abs(quantity) * price`` times the
rate, and is paid out of the amount allotted to a name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import pandas as pd

    from workloads import Workload

VARIANTS = ("bt_fractional", "bt_integer")
CHANGES = {
    "bt_fractional": {"slippage_bps": 0.0, "whole": False},
    "bt_integer": {"slippage_bps": 0.0, "whole": True},
}


def run(workload: Workload, variant: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Run one workload through bt, without its slippage.

    Parameters
    ----------
    workload : Workload
        Prices, target weights and costs.
    variant : str
        ``"bt_fractional"`` or ``"bt_integer"``.

    Returns
    -------
    fills : DataFrame with ``date``, ``symbol``, ``quantity``, ``price``, ``commission``
        In order of execution; signed units, the close, currency.
    equity : DataFrame with ``date``, ``cash``, ``equity``
        Every bar, at the close, after costs; currency.

    Raises
    ------
    ValueError
        The variant is none of these two.

    Notes
    -----
    bt keeps positions, not fills.  The securities note each quantity on its way into
    the position, because differences of positions would round it.
    """
    import bt

    if variant not in VARIANTS:
        raise ValueError(f"no variant {variant!r} here; there are {VARIANTS}")
    close = _wide(workload.bars, "close")
    rate = workload.commission_bps / 1e4
    fills: list[tuple[pd.Timestamp, str, float, float, float]] = []

    class NotingSecurity(bt.Security):
        def transact(self, q, update=True, update_self=True, price=None):
            before = self.position
            super().transact(q, update, update_self, price)
            if self.position != before:
                commission = self.commission(q, self.price)
                fills.append((self.now, self.name, q, self.price, commission))

    strategy = bt.Strategy(
        "weights",
        [bt.algos.WeighTarget(_wide(workload.weights, "weight")), bt.algos.Rebalance()],
        children=[NotingSecurity(name, lazy_add=True) for name in close.columns],
    )
    backtest = bt.Backtest(
        strategy,
        close,
        initial_capital=workload.initial_cash,
        commissions=lambda quantity, price: abs(quantity) * price * rate,
        integer_positions=variant == "bt_integer",
    )
    backtest.run()
    # The first row is the one bt puts before the data.
    cash = backtest.strategy.cash.iloc[1:]
    values = backtest.strategy.values.iloc[1:]
    return (
        pl.DataFrame(
            [(stamp.date(), *fill) for stamp, *fill in fills],
            schema={
                "date": pl.Date,
                "symbol": pl.String,
                "quantity": pl.Float64,
                "price": pl.Float64,
                "commission": pl.Float64,
            },
            orient="row",
        ),
        pl.DataFrame(
            {
                "date": close.index.to_numpy().astype("datetime64[D]"),
                "cash": cash.to_numpy(),
                "equity": values.to_numpy(),
            }
        ),
    )


def _wide(frame: pl.DataFrame, column: str) -> pd.DataFrame:
    """Turn one column into a pandas frame with a row per date."""
    import pandas as pd

    wide = frame.pivot(on="symbol", index="date", values=column)
    index = pd.DatetimeIndex(wide["date"].to_numpy().astype("datetime64[ns]"))
    values = wide.drop("date")
    return pd.DataFrame(values.to_numpy(), index=index, columns=values.columns)
