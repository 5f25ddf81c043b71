"""All measures of one run at once."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from barloop.errors import SchemaError
from barloop.numerics import (
    TAIL,
    drawdown,
    gain_loss_ratio,
    growth_path,
    growth_per_year,
    hits,
    moments_of,
    ratio,
    risk_free_per_bar,
    sortino_ratio,
    starting_equity,
    tails_of,
    vector,
)


def summary(
    equity: npt.ArrayLike,
    *,
    initial_cash: float,
    bars_per_year: float,
    risk_free: float = 0.0,
    traded_value: npt.ArrayLike,
    gross_exposure: npt.ArrayLike,
    commission: npt.ArrayLike,
    slippage: npt.ArrayLike,
    carry: npt.ArrayLike | None = None,
    deposits: npt.ArrayLike | None = None,
    n_fills: int,
    n_rebalances: int,
    ruined: bool = False,
) -> dict[str, float | int | None]:
    """Compute all measures of one run, each array walked as few times as possible.

    Parameters
    ----------
    equity : array of shape (n,)
        Equity at the close of each bar, currency.
    initial_cash : float
        Equity before the first bar, currency, positive.
    bars_per_year : float
        Number of bars in a year.
    risk_free : float, default 0.0
        Annual rate, a fraction.
    traded_value : array of shape (n,)
        Sum of ``abs(quantity * price)`` over the fills of each bar, currency.
    gross_exposure : array of shape (n,)
        Sum of the absolute position values at the close of each bar, currency.
    commission, slippage : arrays of shape (n,)
        Paid on each bar, currency.
    carry, deposits : arrays of shape (n,), optional
        Interest and dividends less borrow cost, and deposits less withdrawals, of each
        bar, currency; 0 when None.
    n_fills, n_rebalances : int
        Counted by the caller.
    ruined : bool, default False
        Whether equity fell to 0 or below.

    Returns
    -------
    dict
        In this order, None where undefined:

        - ``total_return``: ``final_equity / initial_cash - 1``, or with deposits
          ``prod(1 + returns) - 1``;
        - ``cagr``, ``volatility``, ``sharpe``, ``sortino``, ``calmar``,
          ``max_drawdown``, ``max_drawdown_duration``, ``value_at_risk``,
          ``conditional_value_at_risk``, ``tail_ratio``, ``omega``, ``skew``,
          ``kurtosis``, ``hit_rate``, ``profit_factor``: the functions of these names;
        - ``best_return``, ``worst_return``: of a single bar;
        - ``turnover``: one-way, per year; the mean over the bars of
          ``traded_value / (2 * equity)``, times `bars_per_year`;
        - ``mean_leverage``: mean of ``gross_exposure / equity``, so 1 is fully
          invested;
        - ``time_in_market``: share of the bars that end with a position;
        - ``total_commission``, ``total_slippage``, ``total_carry``,
          ``total_deposits``: currency, the last without the initial cash;
        - ``n_fills``, ``n_rebalances``;
        - ``final_equity``: currency;
        - ``n_bars``, ``bars_per_year``.

    Raises
    ------
    SchemaError
        When the arrays do not have one dimension and the same length.

    Notes
    -----
    There are n returns, each ``equity[t] / (equity[t - 1] + deposits[t]) - 1``; the
    first counts from `initial_cash`, and so is 0 unless the first bar trades.  With
    deposits, drawdowns are those of the product of the returns.  A ruined account has
    no returns after its ruin: everything derived from returns or divided by equity is
    None, while ``total_return``, ``max_drawdown`` and its duration, the costs and the
    counts stay.
    """
    values = vector(equity, "equity")
    n_bars = values.size
    arrays = {
        "traded_value": traded_value,
        "gross_exposure": gross_exposure,
        "commission": commission,
        "slippage": slippage,
        "carry": np.zeros(n_bars) if carry is None else carry,
        "deposits": np.zeros(n_bars) if deposits is None else deposits,
    }
    columns = {name: vector(array, name) for name, array in arrays.items()}
    for name, column in columns.items():
        if column.size != n_bars:
            msg = f"{name} has {column.size} values, equity has {n_bars}."
            raise SchemaError(msg)

    starting = starting_equity(values, initial_cash, columns["deposits"])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        returns = values / starting - 1.0
        turnover = np.add.reduce(columns["traded_value"] / values) / 2.0
        exposure = np.add.reduce(columns["gross_exposure"] / values)
    if ruined or not np.isfinite(returns).all():
        returns = returns[:0]
        turnover = exposure = math.nan

    growth = depth = math.nan
    duration: int | None = None
    if n_bars:
        path, start = growth_path(values, initial_cash, columns["deposits"])
        growth = float(path[-1]) / start
        depth, longest = drawdown(path, start)
        duration = None if math.isnan(depth) else longest

    n = returns.size
    moments = moments_of(returns)
    tails = tails_of(returns, TAIL)
    rate = risk_free_per_bar(risk_free, bars_per_year)
    losses = np.minimum(returns, 0.0)
    profit = gain_loss_ratio(returns, losses)
    if rate == 0.0:
        excess_losses, gains_to_losses = losses, profit
    else:
        excess = returns - rate
        excess_losses = np.minimum(excess, 0.0)
        gains_to_losses = gain_loss_ratio(excess, excess_losses)
    annual_growth = growth_per_year(growth, n, bars_per_year) if n else math.nan
    mean_excess = moments.mean - rate
    root = math.sqrt(bars_per_year)
    n_held = int(np.count_nonzero(columns["gross_exposure"]))

    measures: dict[str, float | int | None] = {
        "total_return": growth - 1.0,
        "cagr": annual_growth,
        "volatility": moments.deviation * root,
        "sharpe": ratio(mean_excess, moments.deviation) * root,
        "sortino": math.nan
        if n < 2
        else sortino_ratio(mean_excess, excess_losses, bars_per_year),
        "calmar": ratio(annual_growth, abs(depth)),
        "max_drawdown": depth,
        "max_drawdown_duration": duration,
        "value_at_risk": tails.low,
        "conditional_value_at_risk": tails.mean_below,
        "tail_ratio": ratio(abs(tails.high), abs(tails.low)),
        "omega": math.nan if n < 2 else gains_to_losses,
        "skew": moments.skew,
        "kurtosis": moments.kurtosis,
        "hit_rate": hits(returns),
        "profit_factor": profit,
        "best_return": moments.highest,
        "worst_return": moments.lowest,
        "turnover": ratio(float(turnover), n) * bars_per_year,
        "mean_leverage": ratio(float(exposure), n),
        "time_in_market": ratio(n_held, n_bars),
        "total_commission": float(np.add.reduce(columns["commission"])),
        "total_slippage": float(np.add.reduce(columns["slippage"])),
        "total_carry": float(np.add.reduce(columns["carry"])),
        "total_deposits": float(np.add.reduce(columns["deposits"])),
        "n_fills": int(n_fills),
        "n_rebalances": int(n_rebalances),
        "final_equity": float(values[-1]) if n_bars else math.nan,
        "n_bars": n_bars,
        "bars_per_year": bars_per_year,
    }
    return {
        name: value if value is not None and math.isfinite(value) else None
        for name, value in measures.items()
    }
