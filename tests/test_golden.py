"""Results on the bundled sample stay what they were.

Monthly momentum on five stocks: each month end the two best of the last 126 bars, in
equal parts.  Run ``python tests/test_golden.py --write`` to freeze the results anew; a
change of them is a change for users and belongs into the changelog.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.testing as npt
import polars as pl
import pytest

import barloop as bl
from oracle import Options, OracleResult, run_oracle

FROZEN = Path(__file__).parent / "golden" / "us_equities.json"
LOOKBACK = 126
COMMISSION_BPS, SLIPPAGE_BPS = 10.0, 5.0
CASH = 1_000_000.0


@functools.cache
def sample() -> pl.DataFrame:
    """The sample, adjusted for splits and dividends, and its momentum."""
    factor = pl.col("adj_close") / pl.col("close")
    adjusted = bl.datasets.us_equities().select(
        "date", "symbol", open=pl.col("open") * factor, close="adj_close"
    )
    past = pl.col("close").shift(LOOKBACK).over("symbol", order_by="date")
    return adjusted.with_columns(momentum=pl.col("close") / past - 1.0)


def rank(*, descending: bool) -> pl.Expr:
    return pl.col("momentum").rank("ordinal", descending=descending).over("date")


BEST_TWO = pl.when(rank(descending=True) <= 2).then(0.5)
"""Null for the others; all null, and so no decision, until there is a momentum."""
LONG_SHORT = (
    pl.when(rank(descending=True) <= 2)
    .then(0.5)
    .when(rank(descending=False) <= 1)
    .then(-0.5)
)
"""The two best against the worst."""

VARIANTS: dict[str, dict[str, Any]] = {
    "next_open": {"weights": BEST_TWO},
    "whole_shares": {"weights": BEST_TWO, "rounding": "whole_target"},
    "same_close": {"weights": BEST_TWO, "fill": "same_close"},
    "next_close_with_shorts": {
        "weights": LONG_SHORT,
        "fill": "next_close",
        "limits": bl.Limits(allow_short=True, max_gross=1.5),
    },
}


@functools.cache
def result_of(variant: str) -> bl.BacktestResult:
    members = VARIANTS[variant]
    execution = {k: members[k] for k in ("fill", "rounding") if k in members}
    return bl.run_backtest(
        sample(),
        members["weights"],
        initial_cash=CASH,
        schedule="month_end",
        execution=bl.Execution(**execution),
        commission=bl.Commission(bps=COMMISSION_BPS),
        slippage=bl.Slippage(bps=SLIPPAGE_BPS),
        limits=members.get("limits", bl.Limits()),
    )


def summary(result: bl.BacktestResult) -> dict[str, Any]:
    """What is frozen of a result: plain values, ready for JSON."""
    curve = result.equity
    rows = [*range(0, curve.height, 400), curve.height - 1]
    points = curve[rows]
    lines = [
        f"{date} {symbol} {quantity:.8g} {price:.8g} {commission:.8g}"
        for date, symbol, quantity, price, commission in result.fills.select(
            "date", "symbol", "quantity", "price", "commission"
        ).iter_rows()
    ]
    reasons = result.orders["reasons"].explode(empty_as_null=False).cast(pl.String)
    counts = dict(reasons.value_counts().sort("reasons").iter_rows())
    return {
        "final_equity": result.final_equity,
        "equity": {
            str(day): value
            for day, value in points.select("date", "equity").iter_rows()
        },
        "total_commission": curve["commission"].sum(),
        "total_slippage": curve["slippage"].sum(),
        "n_rebalances": result.n_rebalances,
        "n_orders": result.orders.height,
        "n_fills": result.fills.height,
        "reasons": counts,
        "fills_sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }


def frozen() -> dict[str, dict[str, Any]]:
    return json.loads(FROZEN.read_text(encoding="utf-8"))


def test_every_variant_is_frozen_and_nothing_else():
    assert list(frozen()) == list(VARIANTS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_results_are_the_frozen_ones(variant):
    now, then = summary(result_of(variant)), frozen()[variant]
    assert list(now) == list(then)
    assert list(now["equity"]) == list(then["equity"])
    assert len(then["equity"]) == 10
    for key in ("final_equity", "total_commission", "total_slippage"):
        npt.assert_allclose(now.pop(key), then.pop(key), rtol=1e-12, err_msg=key)
    npt.assert_allclose(
        list(now.pop("equity").values()), list(then.pop("equity").values()), rtol=1e-12
    )
    assert now == then


# ---------------------------------------------- the frozen numbers are the right ones


@functools.cache
def panels() -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Any]]:
    """Opens, closes (NaN before the listing), month ends, dates."""
    wide = {
        name: sample().pivot("symbol", index="date", values=name).sort("date")
        for name in ("open", "close")
    }
    dates = wide["close"]["date"].to_list()
    names = sorted(set(wide["close"].columns) - {"date"})
    opens, closes = (
        wide[name].select(names).to_numpy().astype(float) for name in ("open", "close")
    )
    months = np.array([day.year * 12 + day.month for day in dates])
    return opens, closes, np.append(months[1:] != months[:-1], [False]), dates


def targets_at(t: int, *, short: bool) -> dict[int, float]:
    """The decision of bar t by number of the asset; empty without a momentum."""
    _, closes, _, _ = panels()
    if t < LOOKBACK:
        return {}
    momentum = closes[t] / closes[t - LOOKBACK] - 1.0
    known = [i for i in np.argsort(-momentum) if not np.isnan(momentum[i])]
    weights = dict.fromkeys(known[:2], 0.5)
    if short and known[-1] not in weights:
        weights[known[-1]] = -0.5
    return {int(i): weight for i, weight in weights.items()}


def equity_in_numpy(*, fill: str, short: bool) -> np.ndarray:
    """All assets at once; costs are linear, so one division gives the cash factor."""
    opens, closes, is_month_end, _ = panels()
    fee, slip = COMMISSION_BPS / 1e4, SLIPPAGE_BPS / 1e4
    cash, units = CASH, np.zeros(closes.shape[1])
    change = np.zeros_like(units)
    equity = np.empty(len(closes))

    def trade(price: np.ndarray) -> None:
        nonlocal cash, units, change
        price = np.where(change == 0.0, 1.0, price)
        sold = np.maximum(-change, 0.0)
        cash += np.sum(sold * price * (1 - slip)) * (1 - fee)
        bought = np.maximum(change, 0.0)
        cover = np.minimum(bought, np.maximum(-units, 0.0))
        unit = price * (1 + slip) * (1 + fee)
        cash -= np.sum(cover * unit)
        cost = np.sum((bought - cover) * unit)
        share = min(1.0, cash / cost) if cost > 0.0 else 1.0
        cash -= share * cost
        units = units - sold + cover + share * (bought - cover)
        units[np.abs(units) < 1e-6] = 0.0
        change = np.zeros_like(units)

    for t, close in enumerate(closes):
        if fill != "same_close":
            trade(opens[t] if fill == "next_open" else close)
        equity[t] = cash + np.sum(units * np.where(units == 0.0, 0.0, close))
        decided = targets_at(t, short=short) if is_month_end[t] else {}
        if decided:
            weight = np.zeros_like(units)
            weight[list(decided)] = list(decided.values())
            safe = np.where(np.isnan(close), 1.0, close)
            change = weight * equity[t] / safe - units
            if fill == "same_close":
                trade(close)
                equity[t] = cash + np.sum(units * np.where(units == 0.0, 0.0, close))
    return equity


@pytest.mark.parametrize(
    "variant", ["next_open", "same_close", "next_close_with_shorts"]
)
def test_fractional_variants_are_what_numpy_says(variant):
    fill = VARIANTS[variant].get("fill", "next_open")
    short = variant == "next_close_with_shorts"
    wanted = equity_in_numpy(fill=fill, short=short)
    npt.assert_allclose(result_of(variant).equity["equity"], wanted, rtol=1e-9)
    shorts = result_of(variant).positions.filter(pl.col("position") < 0.0)
    assert (shorts.height > 1000) == short


def slow_result(variant: str) -> OracleResult:
    opens, closes, is_month_end, _ = panels()
    members = VARIANTS[variant]
    bars = {
        (t, i): {"open": float(opens[t, i]), "close": float(closes[t, i])}
        for t, i in zip(*np.nonzero(~np.isnan(closes)), strict=True)
    }
    short = variant == "next_close_with_shorts"
    decided = {
        int(t): targets_at(int(t), short=short) for t in np.flatnonzero(is_month_end)
    }
    options = Options(
        initial_cash=CASH,
        fill=members.get("fill", "next_open"),
        rounding=members.get("rounding", "fractional"),
        commission_bps=COMMISSION_BPS,
        slippage_bps=SLIPPAGE_BPS,
        allow_short=short,
        max_gross=1.5 if short else 1.0,
    )
    decisions = {t: ("complete", weights) for t, weights in decided.items() if weights}
    return run_oracle(*closes.shape, bars, decisions, options)


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_variants_are_what_the_oracle_says(variant):
    result, slow = result_of(variant), slow_result(variant)
    npt.assert_allclose(result.equity["equity"], slow.equity, rtol=1e-10)
    assert result.fills.height == len(slow.fills)
    npt.assert_allclose(
        result.fills["quantity"], [fill.quantity for fill in slow.fills], rtol=1e-9
    )
    assert [order.reason for order in slow.orders] == result.orders["reason"].to_list()


@pytest.mark.parametrize("variant", VARIANTS)
def test_frozen_results_are_plausible(variant):
    result = result_of(variant)
    result.audit()
    # March 2000 to February 2013 has 156 month ends, the first five without 126 bars
    # before them; the last bar, 2013-03-01, ends no month yet.
    assert (result.n_rebalances, result.n_skipped) == (151, 5)
    held = result.equity.filter(pl.col("n_positions") > 0)["n_positions"]
    assert held.max() == (3 if variant == "next_close_with_shorts" else 2)
    fills = result.fills
    notional = (fills["quantity"] * fills["price"]).abs()
    npt.assert_allclose(fills["commission"], 1e-3 * notional, rtol=1e-13)
    # 5 basis points of the price before slippage against 10 of the price after it.
    assert result.metrics["total_slippage"] == pytest.approx(
        0.5 * result.metrics["total_commission"], rel=2e-3
    )
    if variant == "whole_shares":
        units = result.positions["position"]
        assert (units == units.round()).all()
        assert result.final_equity == pytest.approx(
            result_of("next_open").final_equity, rel=5e-3
        )
        assert result.final_equity != result_of("next_open").final_equity
    if variant != "next_close_with_shorts":
        assert result.equity["cash"].min() >= 0.0


def write() -> None:
    """Freeze what the engine gives now."""
    results = {variant: summary(result_of(variant)) for variant in VARIANTS}
    FROZEN.parent.mkdir(exist_ok=True)
    FROZEN.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/test_golden.py --write")
    write()
