"""ml4t-backtest on a parity workload: target weights through its executor.

``TargetWeightExecutor`` sizes every order at the close of the rebalance date.  Names
of weight 0 are left out of what it is given, so that it closes them as positions
without a target.  A target of 0.0 is sized as equity times the difference of weights,
which may miss the position by a rounding error; sold with fractional shares, this is
rejected as a reversal.

The account has no leverage.  It may sell short where the workload has a negative
weight, and must then hold the value of a new short position in cash.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import polars as pl
from ml4t.backtest import (
    BacktestConfig,
    Broker,
    CommissionType,
    DataFeed,
    Engine,
    ExecutionMode,
    OrderSide,
    RebalanceConfig,
    Strategy,
    TargetWeightExecutor,
)
from ml4t.backtest.config import ExecutionPrice, ShareType, SlippageType

if TYPE_CHECKING:
    from workloads import Workload

SETTINGS: dict[str, dict[str, Any]] = {
    "ml4t_fractional": {"share_type": ShareType.FRACTIONAL},
    "ml4t_fractional_partial": {
        "share_type": ShareType.FRACTIONAL,
        "partial_fills_allowed": True,
    },
    "ml4t_integer": {"share_type": ShareType.INTEGER},
    "ml4t_same_bar": {
        "share_type": ShareType.FRACTIONAL,
        "execution_mode": ExecutionMode.SAME_BAR,
        "execution_price": ExecutionPrice.CLOSE,
    },
}
VARIANTS = tuple(SETTINGS)
CHANGES = {name: {"whole": name == "ml4t_integer"} for name in VARIANTS}
FILL_SCHEMA = {
    "date": pl.Date,
    "symbol": pl.String,
    "quantity": pl.Float64,
    "price": pl.Float64,
    "commission": pl.Float64,
}


class TargetWeights(Strategy):
    """Hand the weights of each rebalance date to the executor."""

    def __init__(self, weights: dict[date, dict[str, float]], *, allow_short: bool):
        self.weights = weights
        self.executor = TargetWeightExecutor(RebalanceConfig(allow_short=allow_short))

    def on_data(
        self, timestamp: datetime, data: dict, context: dict, broker: Broker
    ) -> None:
        """Order after the open has been filled, with prices of the close."""
        del context
        weight = self.weights.get(timestamp.date())
        if weight is not None:
            self.executor.execute(weight, data, broker)


def run(workload: Workload, variant: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Run ml4t-backtest with its defaults but for shares, timing and partial fills.

    Parameters
    ----------
    workload : Workload
        Prices, weights and costs.
    variant : str
        ``"ml4t_fractional"`` and ``"ml4t_integer"`` fill at the next open;
        ``"ml4t_fractional_partial"`` also shrinks orders that cash cannot pay;
        ``"ml4t_same_bar"`` fills fractional shares at the close of the decision.

    Returns
    -------
    fills : DataFrame with ``date``, ``symbol``, ``quantity``, ``price``, ``commission``
        In order of execution; signed units, price after slippage.
    equity : DataFrame with ``date``, ``cash``, ``equity``
        After each close.
    """
    if variant not in SETTINGS:
        raise ValueError(f"variant must be one of {VARIANTS}, got {variant!r}")
    allow_short = workload.weights["weight"].min() < 0
    config = BacktestConfig(
        initial_cash=workload.initial_cash,
        calendar=None,
        allow_short_selling=allow_short,
        commission_type=CommissionType.PERCENTAGE,
        commission_rate=workload.commission_bps / 1e4,
        slippage_type=SlippageType.PERCENTAGE,
        slippage_rate=workload.slippage_bps / 1e4,
        **SETTINGS[variant],
    )
    feed = DataFeed(
        prices_df=workload.bars.with_columns(
            timestamp=pl.col("date").cast(pl.Datetime)
        ).drop("date"),
        calendar=None,
    )
    strategy = TargetWeights(_targets(workload), allow_short=allow_short)
    engine = Engine(feed, strategy, config)
    result = engine.run()
    fills = [
        (
            fill.timestamp.date(),
            fill.asset,
            fill.quantity if fill.side is OrderSide.BUY else -fill.quantity,
            fill.price,
            fill.commission,
        )
        for fill in engine.broker.get_fills()
    ]
    return (
        pl.DataFrame(fills, schema=FILL_SCHEMA, orient="row"),
        result.to_portfolio_state_dataframe().select(
            pl.col("timestamp").cast(pl.Date).alias("date"), "cash", "equity"
        ),
    )


def _targets(workload: Workload) -> dict[date, dict[str, float]]:
    targets: dict[date, dict[str, float]] = {}
    for day, symbol, weight in workload.weights.iter_rows():
        targets.setdefault(day, {})
        if weight != 0.0:
            targets[day][symbol] = weight
    return targets
