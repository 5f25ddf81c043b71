"""Raw prices with their splits and dividends against adjusted prices without.

An adjusted close puts each dividend into its own share at the close of the ex-date
(see `us_equities_actions`).  Where the portfolio does the same, raw and adjusted prices
must give the same equity; `adj_close` has 14 digits, and the amounts of the dividends
are exact, so ``RTOL`` is all that rounding may take.  Where cash waits for a month, the
difference has a formula, and the test follows it.
"""

from __future__ import annotations

import datetime as dt
import functools
from typing import Any

import numpy as np
import numpy.testing as npt
import polars as pl
import pytest

import barloop as bl

RTOL = 1e-11
SAME_CLOSE = bl.Execution(fill="same_close")
SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")


@functools.cache
def actions() -> pl.DataFrame:
    return bl.datasets.us_equities_actions()


@functools.cache
def raw() -> pl.DataFrame:
    """Prices as traded, with the dividend of the date and the momentum as features.

    The momentum is that of adjusted closes: the same signal for both runs.
    """
    dividends = actions().filter(kind="dividend").drop("kind")
    return (
        bl.datasets.us_equities()
        .join(dividends, on=["date", "symbol"], how="left", maintain_order="left")
        .with_columns(
            dividend=pl.col("value").fill_null(0.0),
            momentum=pl.col("adj_close") / pl.col("adj_close").shift(126).over("symbol")
            - 1.0,
            last_of_month=pl.col("date").dt.truncate("1mo")
            != pl.col("date").shift(-1).over("symbol").dt.truncate("1mo"),
        )
        .drop("value")
    )


@functools.cache
def adjusted() -> pl.DataFrame:
    return bl.datasets.adjusted(raw())


def on_raw(weights: Any, **fields: Any) -> bl.BacktestResult:
    """Run on prices as traded, with splits and dividends, and audit."""
    fields = {"execution": SAME_CLOSE, **fields}
    frame = raw().drop("adj_close")
    result = bl.run_backtest(frame, weights, actions=actions(), **fields)
    result.audit()
    return result


def on_adjusted(weights: Any, **fields: Any) -> bl.BacktestResult:
    fields = {"execution": SAME_CLOSE, **fields}
    return bl.run_backtest(adjusted(), weights, **fields)


def equity(result: bl.BacktestResult) -> np.ndarray:
    return result.equity["equity"].to_numpy()


def closes(symbol: str, column: str = "close") -> np.ndarray:
    return raw().filter(symbol=symbol)[column].to_numpy()


def only(symbol: str, weight: float = 1.0) -> pl.Expr:
    return pl.when(symbol=symbol).then(weight)


# ------------------------------------------------- dividends reinvested at once: equal


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_one_asset_reinvested_at_each_close(symbol):
    one, two = (run(only(symbol)) for run in (on_raw, on_adjusted))
    npt.assert_allclose(equity(one), equity(two), rtol=RTOL)
    # And both are the ratio of adjusted closes, from the first bar of the symbol on.
    growth = closes(symbol, "adj_close") / closes(symbol, "adj_close")[0]
    npt.assert_allclose(equity(one)[-len(growth) :], 1e6 * growth, rtol=RTOL)


@pytest.mark.parametrize("gross", [1.0, 0.6])
def test_equal_weights_of_a_growing_universe_at_each_close(gross):
    weights = pl.lit(gross) / pl.len().over("date")
    one, two = (run(weights) for run in (on_raw, on_adjusted))
    npt.assert_allclose(equity(one), equity(two), rtol=RTOL)


def test_shorts_pay_dividends_and_splits_do_not_touch_them():
    weights = (
        pl.when(symbol="IBM").then(0.8).when(symbol="MSFT").then(-0.7).otherwise(None)
    )
    limits = bl.Limits(allow_short=True, max_gross=2.0)
    one, two = (run(weights, limits=limits) for run in (on_raw, on_adjusted))
    npt.assert_allclose(equity(one), equity(two), rtol=RTOL)


def best_two(bar: bl.Bar) -> Any:
    """Decide at the end of each month."""
    if not (bar.last_of_month == 1.0).any():
        return None
    return bl.equal_weight(bl.top_n(bar.momentum, 2))


def best_two_reinvesting(bar: bl.Bar) -> Any:
    """On other ex-dates put the cash of a dividend into its asset."""
    decision = best_two(bar)
    if decision is not None:
        return decision
    for i in np.flatnonzero((bar.dividend > 0.0) & (bar.positions > 0.0)):
        received = bar.positions[i] * bar.dividend[i]
        bar.order_target_percent(bar.assets[i], bar.weights[i] + received / bar.equity)
    return None


def test_monthly_momentum_with_dividends_reinvested_at_once():
    one, two = on_raw(best_two_reinvesting), on_adjusted(best_two)
    npt.assert_allclose(equity(one), equity(two), rtol=RTOL)
    assert 150 < two.n_rebalances < one.n_rebalances
    for name in ("AAPL", "GOOG", "IBM", "MSFT"):
        assert one.fills.filter(symbol=name).height > 0


# ----------------------------------------- dividends wait in cash: a known difference


def month_ends() -> np.ndarray:
    """Numbers of the bars on which a month ends; the last bar ends none."""
    return np.flatnonzero(raw().filter(symbol="IBM")["last_of_month"].fill_null(False))


@pytest.mark.parametrize("symbol", ["AAPL", "IBM", "MSFT"])
def test_buy_and_hold_reinvested_monthly_differs_by_what_cash_missed(symbol):
    one, two = (
        run(only(symbol), schedule="month_end") for run in (on_raw, on_adjusted)
    )
    assert one.n_rebalances == two.n_rebalances == len(month_ends())
    # From one month end s to the next r, a position of 1 in raw shares becomes
    # close[r] + dividend with the cash, close[r] * (1 + dividend / close[d]) without;
    # splits are the same in both.
    close, paid = closes(symbol), closes(symbol, "dividend")
    ratio = np.ones(len(close))
    ends = month_ends()
    for s, r in zip(ends, [*ends[1:], len(close) - 1], strict=True):
        month = slice(s + 1, r + 1)
        with_cash = close[r] + paid[month].sum()
        ratio[r] = with_cash / (close[r] * np.prod(1.0 + paid[month] / close[month]))
    expected = equity(two)[ends] * np.cumprod(ratio)[ends]
    npt.assert_allclose(equity(one)[ends], expected, rtol=RTOL)
    assert equity(one)[-1] == pytest.approx(equity(two)[-1] * np.prod(ratio), rel=RTOL)
    # In all, 13 years of waiting for at most a month move the equity by this much.
    assert abs(np.prod(ratio) - 1.0) < 0.005


def largest_difference() -> float:
    """Bound what waiting for the end of the month can do to a long portfolio.

    A dividend of the share ``y`` of its asset misses the move from its ex-date to the
    end of the month; an asset is at most the whole portfolio.
    """
    ends = month_ends()
    bound = 0.0
    for symbol in ("AAPL", "IBM", "MSFT"):
        close, paid = closes(symbol), closes(symbol, "dividend")
        for d in np.flatnonzero(paid):
            r = ends[np.searchsorted(ends, d)] if d <= ends[-1] else len(close) - 1
            bound += paid[d] / close[d] * abs(close[r] / close[d] - 1.0)
    return bound


def test_monthly_momentum_with_dividends_in_cash_stays_within_the_bound():
    one, two = (run(best_two) for run in (on_raw, on_adjusted))
    difference = np.log(equity(one) / equity(two))
    assert abs(difference[-1]) > 1e-6
    # Within a month the cash of a dividend lags by the largest move so far; at month
    # ends the bound is that of all dividends before.
    assert np.abs(difference[month_ends()]).max() <= largest_difference()
    assert largest_difference() < 0.015


@pytest.mark.parametrize("fill", ["next_open", "next_close"])
def test_later_fills_with_costs_differ_little(fill):
    fields = {
        "execution": bl.Execution(fill=fill),
        "commission": bl.Commission(bps=10),
        "slippage": bl.Slippage(bps=5),
    }
    one, two = (run(best_two, **fields) for run in (on_raw, on_adjusted))
    # The cash that waits as above, and orders that fill on an ex-date: they differ by
    # the dividend times the move of that bar.
    assert abs(np.log(one.final_equity / two.final_equity)) < 0.003


# ------------------------------------------------------------------ splits, by the unit


def test_a_position_follows_both_splits_and_collects_the_dividends():
    result = on_raw(lambda bar: {"AAPL": 1.0} if bar.t == 0 else None)
    close, paid = closes("AAPL"), closes("AAPL", "dividend")
    units = result.positions.filter(symbol="AAPL")["position"].to_numpy()
    bought = 1e6 / close[0]
    dates = raw().filter(symbol="AAPL")["date"].to_numpy()
    n_splits = (dates >= np.datetime64("2000-06-21")).astype(int)
    n_splits += dates >= np.datetime64("2005-02-28")
    npt.assert_allclose(units, bought * 2.0**n_splits, rtol=1e-15)
    cash = np.cumsum(units * paid)
    npt.assert_allclose(result.equity["cash"], cash, rtol=1e-12, atol=1e-6)
    npt.assert_allclose(equity(result), units * close + cash, rtol=1e-12)


def test_an_order_that_waits_over_a_split_is_multiplied():
    before = dt.date(2000, 6, 20)
    result = on_raw(
        lambda bar: {"AAPL": 0.5} if bar.timestamp == before else None,
        execution=bl.Execution(),
    )
    (fill,) = result.fills.to_dicts()
    # Sized at 101.25, filled at the open of the day of the split.
    assert fill["date"] == dt.date(2000, 6, 21)
    assert fill["quantity"] == pytest.approx(2 * 0.5 * 1e6 / 101.25, rel=1e-12)
    assert fill["price"] == raw().filter(date=fill["date"], symbol="AAPL")["open"][0]


def test_raw_prices_without_actions_are_wrong_by_half_a_position():
    wrong = bl.run_backtest(raw().drop("adj_close"), only("AAPL"), execution=SAME_CLOSE)
    right = on_raw(only("AAPL"))
    # Two splits of two for one, and three dividends.
    assert right.final_equity / wrong.final_equity == pytest.approx(4.0, rel=0.02)
