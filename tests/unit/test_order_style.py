"""Orders by name in a callback: `order_target_percent` and `close_position`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

import barloop as bl
from barloop.errors import WeightsError

FRAMES = ("equity", "fills", "orders", "positions", "next_orders")
SHORTS = bl.Limits(allow_short=True, max_gross=2.0)


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    """Six assets, 80 bars, a tenth of the rows missing."""
    frame = bl.datasets.simulate_bars(6, 80, seed=8)
    rng = np.random.default_rng(8)
    return frame.filter(pl.Series(rng.random(frame.height) < 0.9))


def same(one: bl.BacktestResult, two: bl.BacktestResult) -> None:
    assert one.fills.height > 0
    for name in FRAMES:
        assert getattr(one, name).equals(getattr(two, name)), name


def quiet(n_bars: int = 4, assets: str = "ABC") -> pl.DataFrame:
    """Assets at 10 on each of the first days of 2000."""
    days = [dt.date(2000, 1, 3) + dt.timedelta(days=t) for t in range(n_bars)]
    return pl.DataFrame({"date": days}).join(
        pl.DataFrame({"symbol": list(assets), "open": 10.0, "close": 10.0}), how="cross"
    )


def run(
    decide: Callable[[bl.Bar], Any], df: pl.DataFrame | None = None, **fields: Any
) -> bl.BacktestResult:
    fields.setdefault("initial_cash", 1_000.0)
    return bl.run_backtest(
        quiet() if df is None else df, lambda bar: decide(bar), **fields
    )


def message(decide: Callable[[bl.Bar], Any], **fields: Any) -> str:
    with pytest.raises(WeightsError) as caught:
        run(decide, **fields)
    return str(caught.value)


# --- what orders mean -----------------------------------------------------------------


def test_one_order_moves_one_asset_and_the_others_stay():
    def decide(bar: bl.Bar) -> None:
        if bar.t == 0:
            bar.order_target_percent("A", 0.5)
            bar.order_target_percent("B", 0.25)
        elif bar.t == 1:
            bar.order_target_percent("B", 0.3)

    result = run(decide)
    # 500 and 250 of 1000 at 10; then 5 more of B only.
    assert result.fills.select("symbol", "quantity").rows() == [
        ("A", 50.0),
        ("B", 25.0),
        ("B", 5.0),
    ]
    assert result.equity["n_positions"].to_list() == [0, 2, 2, 2]


def test_close_position_sells_all_of_one_asset():
    def decide(bar: bl.Bar) -> None:
        if bar.t == 0:
            bar.order_target_percent("A", 0.5)
            bar.order_target_percent("B", 0.25)
        elif bar.t == 1:
            bar.close_position("A")
            bar.close_position("C")  # not held: nothing to do

    result = run(decide)
    assert result.fills["quantity"].to_list() == [50.0, 25.0, -50.0]
    assert result.positions.filter(pl.col("date") == dt.date(2000, 1, 5)).select(
        "symbol", "position"
    ).rows() == [("B", 25.0)]


def test_orders_fill_after_the_callback_has_returned():
    seen = []

    def decide(bar: bl.Bar) -> None:
        bar.order_target_percent("A", 0.5)
        seen.append((bar.cash, bar.positions.tolist()))

    run(decide, execution=bl.Execution(fill="same_close"))
    assert seen[0] == (1000.0, [0.0, 0.0, 0.0])
    assert seen[1] == (500.0, [50.0, 0.0, 0.0])


def test_no_order_and_none_is_no_rebalance():
    result = run(lambda bar: bar.close_position("A") if bar.t == 2 else None)
    assert (result.n_rebalances, result.n_skipped) == (1, 3)
    assert result.fills.height == 0


def test_orders_of_a_bar_do_not_reach_the_next():
    def decide(bar: bl.Bar) -> Any:
        if bar.t == 0:
            bar.order_target_percent("A", 0.5)
            return None
        return {"A": 0.5, "B": 0.1} if bar.t == 1 else None

    assert run(decide).fills["quantity"].to_list() == [50.0, 10.0]


def test_dust_is_zero():
    def decide(bar: bl.Bar) -> None:
        bar.order_target_percent("A", 0.5 if bar.t == 0 else -1e-17)

    assert run(decide).fills["quantity"].to_list() == [50.0, -50.0]


def test_numbers_of_numpy_are_numbers():
    def decide(bar: bl.Bar) -> None:
        bar.order_target_percent("A", np.float32(0.5))
        bar.order_target_percent(bar.assets[1], np.int64(0))

    assert run(decide).fills["quantity"].to_list() == [50.0]


def test_same_weight_twice_is_one_order():
    def decide(bar: bl.Bar) -> None:
        bar.order_target_percent("A", 0.5)
        bar.order_target_percent("A", 0.5)
        bar.close_position("B")
        bar.order_target_percent("B", 0.0)

    assert run(decide).fills["quantity"].to_list() == [50.0]


# --- the same bits --------------------------------------------------------------------


def wanted(bar: bl.Bar) -> dict[str, float]:
    """Weights of some names, other names on each bar, zeros among them."""
    rng = np.random.default_rng(bar.t)
    names = [asset for asset in bar.assets if rng.random() < 0.5]
    return {name: round(float(rng.normal(0, 0.2)), 2) for name in reversed(names)}


def by_orders(bar: bl.Bar) -> None:
    for asset, weight in wanted(bar).items():
        bar.order_target_percent(asset, weight)


def by_partial(bar: bl.Bar) -> Any:
    return bl.partial(wanted(bar)) or None


def whole(bar: bl.Bar) -> dict[str, float]:
    return {asset: weight for asset, weight in wanted(bar).items() if weight != 0.0}


def all_names(bar: bl.Bar) -> None:
    """Say a complete decision order by order: what is not named is closed."""
    weights = whole(bar)
    for asset in bar.assets:
        if asset in weights:
            bar.order_target_percent(asset, weights[asset])
        else:
            bar.close_position(asset)


SETTINGS = {
    "next open": {},
    "next close": {"execution": bl.Execution(fill="next_close")},
    "same close": {"execution": bl.Execution(fill="same_close")},
    "costs": {"commission": bl.Commission(bps=10, minimum=1), "initial_cash": 1e4},
    "cancel": {"missing_data": bl.MissingData(missing_bar="cancel")},
}


@pytest.mark.parametrize("case", SETTINGS)
def test_orders_and_partial_give_the_same_bits(bars, case):
    one, two = (
        bl.run_backtest(bars, form, **{"limits": SHORTS, **SETTINGS[case]})
        for form in (by_orders, by_partial)
    )
    same(one, two)
    assert one.rebalances.equals(two.rebalances)
    assert one.metrics == two.metrics


@pytest.mark.parametrize("case", SETTINGS)
def test_orders_of_all_names_and_a_complete_decision_give_the_same_bits(bars, case):
    one, two = (
        bl.run_backtest(bars, form, **{"limits": SHORTS, **SETTINGS[case]})
        for form in (all_names, whole)
    )
    same(one, two)


def test_the_order_of_the_calls_changes_nothing(bars):
    def forwards(bar: bl.Bar) -> None:
        for asset, weight in sorted(wanted(bar).items()):
            bar.order_target_percent(asset, weight)

    one, two = (
        bl.run_backtest(bars, form, limits=SHORTS) for form in (by_orders, forwards)
    )
    same(one, two)


# --- after an exit --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asset", "is_bought_again"), [("A", True), ("B", False), (None, False)]
)
def test_a_stopped_asset_is_bought_again_after_close_position_only(
    asset, is_bought_again
):
    df = quiet(7).with_columns(high=pl.col("open"), low=pl.col("open"))
    is_crash = (pl.col("symbol") == "A") & (pl.col("date") == dt.date(2000, 1, 5))
    df = df.with_columns(low=pl.when(is_crash).then(8.0).otherwise("low"))

    def decide(bar: bl.Bar) -> None:
        if bar.t == 3 and asset is not None:
            bar.close_position(asset)
        elif bar.t in (0, 2, 4):
            bar.order_target_percent("A", 0.5)

    result = run(decide, df, exits=bl.Exits(stop_loss=0.1))
    # Bought on bar 1, stopped at 9 on bar 2, on which the order comes too early.
    made = result.fills.select("date", "quantity", "price", "reason").rows()
    assert made[:2] == [
        (dt.date(2000, 1, 4), 50.0, 10.0, "order"),
        (dt.date(2000, 1, 5), -50.0, 9.0, "stop_loss"),
    ]
    refused = result.orders.filter(pl.col("reason") == "blocked_after_exit")
    assert refused["date"][0] == dt.date(2000, 1, 5)
    # Equity 950: 0.5 * 950 / 10 on bar 5, if the block was lifted on bar 3.
    assert made[2:] == (
        [(dt.date(2000, 1, 8), 47.5, 10.0, "order")] if is_bought_again else []
    )
    assert refused.height == (1 if is_bought_again else 2)


# --- what is refused ------------------------------------------------------------------


def order(asset: Any, weight: Any) -> Callable[[bl.Bar], None]:
    return lambda bar: bar.order_target_percent(asset, weight)


WRONG = {
    "unknown asset": (
        order("D", 0.1),
        "the weights at 2000-01-03 name an unknown asset 'D'; the data has 3 assets.",
    ),
    "asset that is no name": (
        order(["A"], 0.1),
        "the weights at 2000-01-03 name an unknown asset ['A']; the data has 3 assets.",
    ),
    "closing an unknown asset": (
        lambda bar: bar.close_position("D"),
        "the weights at 2000-01-03 name an unknown asset 'D'; the data has 3 assets.",
    ),
    "negative": (
        order("A", -0.1),
        'weight -0.1 is negative at 2000-01-03, asset "A", but shorts are off.\n'
        "Hint: limits=Limits(allow_short=True).",
    ),
    "NaN": (
        order("B", float("nan")),
        'weights must be finite: nan at 2000-01-03, asset "B".\n'
        "Hint: give 0 to close a position, or leave the asset out.",
    ),
    "infinite": (
        order("B", -float("inf")),
        'weights must be finite: -inf at 2000-01-03, asset "B".\n'
        "Hint: give 0 to close a position, or leave the asset out.",
    ),
    "no number": (
        order("A", "0.1"),
        "weights must be numbers: '0.1' at 2000-01-03, asset \"A\".",
    ),
    "nothing": (
        order("A", None),
        'weights must be numbers: None at 2000-01-03, asset "A".',
    ),
    "truth": (
        order("A", True),
        'weights must be numbers: True at 2000-01-03, asset "A".',
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_order_is_refused_at_its_line(case):
    decide, text = WRONG[case]
    reached = []

    def watched(bar: bl.Bar) -> None:
        decide(bar)
        reached.append(bar.t)

    assert message(watched) == text
    assert reached == []


def test_messages_are_those_of_a_returned_decision():
    for asset, weight in (("D", 0.1), ("A", -0.1), ("A", float("nan")), ("A", "x")):
        returned = message(lambda bar, a=asset, w=weight: bl.partial({a: w}))
        assert message(order(asset, weight)) == returned


def test_two_weights_for_one_asset_are_refused():
    def decide(bar: bl.Bar) -> None:
        bar.order_target_percent("A", 0.1)
        if bar.t == 1:
            bar.order_target_percent("A", 0.2)

    assert message(decide) == (
        'asset "A" is ordered twice at 2000-01-04, first to 0.1, then to 0.2.\n'
        "Hint: order each asset once per bar, with its final weight."
    )


def test_gross_of_the_orders_is_checked_after_the_call():
    reached = []

    def decide(bar: bl.Bar) -> None:
        bar.order_target_percent("A", 0.75)
        bar.order_target_percent("B", 0.5)
        reached.append(bar.t)

    assert message(decide) == (
        "the absolute weights at 2000-01-03 sum to 1.25, above max_gross=1.\n"
        "Hint: scale them down, or raise limits=Limits(max_gross=...)."
    )
    assert reached == [0]


@pytest.mark.parametrize("said", [{}, {"A": 0.1}, bl.partial({}), np.zeros(3)])
def test_orders_and_a_returned_decision_are_refused(said):
    def decide(bar: bl.Bar) -> Any:
        if bar.t == 1:
            bar.order_target_percent("B", 0.1)
            bar.close_position("A")
        return said if bar.t == 1 else None

    assert message(decide) == (
        'the weights function ordered 2 assets, first "B", and returned '
        f"{type(said).__name__} as well, at 2000-01-04.\n"
        "Hint: return None after ordering, or return all of the decision."
    )


def test_an_order_on_a_bar_that_is_over_is_refused():
    kept = []

    def decide(bar: bl.Bar) -> None:
        kept.append(bar)
        kept[0].order_target_percent("A", 0.1)

    assert message(decide) == (
        "an order for asset 'A' came after its bar, 2000-01-03, was decided.\n"
        "Hint: order on the bar that the weights function is called with."
    )


def test_an_order_after_the_run_is_refused():
    kept = []
    run(kept.append)
    with pytest.raises(WeightsError, match="came after its bar, 2000-01-06"):
        kept[-1].close_position("A")


def test_a_callback_may_catch_the_error_and_go_on():
    def decide(bar: bl.Bar) -> None:
        for asset in ("A", "gone"):
            try:
                bar.order_target_percent(asset, 0.5)
            except WeightsError:
                continue

    assert run(decide).fills["quantity"].to_list() == [50.0]


def test_orders_of_a_call_that_failed_do_not_reach_another_run():
    df = quiet()
    fails = [True]

    def decide(bar: bl.Bar) -> None:
        if fails[0]:
            bar.order_target_percent("A", 0.5)
            raise KeyError("first time")

    with pytest.raises(KeyError):
        run(decide, df)
    fails[0] = False
    assert run(decide, df).fills.height == 0


# --- max_weight and on_excess ---------------------------------------------------------

FORMS: dict[str, Callable[[dict[str, float]], Callable[[bl.Bar], Any]]] = {
    "mapping": lambda weights: lambda bar: weights,
    "partial": lambda weights: lambda bar: bl.partial(weights),
    "array": lambda weights: (
        lambda bar: np.array([weights.get(asset, 0.0) for asset in bar.assets])
    ),
    "orders": lambda weights: (
        lambda bar: (
            [bar.order_target_percent(*pair) for pair in weights.items()] and None
        )
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_gross_counts_each_weight_up_to_max_weight(form):
    limits = bl.Limits(max_weight=0.4)
    # min(0.9, 0.4) + 0.3 = 0.7: fine.
    result = run(FORMS[form]({"A": 0.9, "B": 0.3}), limits=limits)
    assert result.fills["quantity"].to_list() == [40.0, 30.0]
    # min(0.9, 0.4) + 0.4 + 0.3 = 1.1: too much.
    text = message(FORMS[form]({"A": 0.9, "B": 0.4, "C": 0.3}), limits=limits)
    assert text.startswith(
        "the absolute weights at 2000-01-03, each at most max_weight=0.4, sum to 1.1, "
        "above max_gross=1."
    )


@pytest.mark.parametrize("form", FORMS)
def test_gross_above_the_limit_is_scaled_when_asked(form):
    limits = bl.Limits(on_excess="scale")
    result = run(FORMS[form]({"A": 1.5, "B": 0.5}), limits=limits)
    # 2.0 to 1.0: half of each.
    assert result.fills["quantity"].to_list() == pytest.approx([75.0, 25.0])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.5])
def test_scaling_hides_no_wrong_weight(form, value):
    limits = bl.Limits(on_excess="scale", max_weight=0.5)
    text = message(FORMS[form]({"A": 0.5, "B": value}), limits=limits)
    assert '2000-01-03, asset "B"' in text


# --- a strategy of another engine, line by line ---------------------------------------


def test_a_strategy_of_zipline_line_by_line(bars):
    """A moving-average crossover as it stands in the handle_data of zipline.

    There, ``context.stocks``, ``data.can_trade`` and ``order_target_percent``; here
    the same lines with ``bar``.
    """
    calls = []

    def rebalance(bar: bl.Bar, short: int, long: int) -> None:
        # if context.i < 20: return
        if bar.t + 1 < long:
            return
        # prices = data.history(context.stocks, "price", 20, "1d")
        prices = bar.history("close", long)
        for i, stock in enumerate(bar.assets):
            # if not data.can_trade(stock): continue
            if np.isnan(bar.close[i]):
                continue
            short_mean = np.nanmean(prices[-short:, i])
            long_mean = np.nanmean(prices[:, i])
            holds = bar.positions[i] != 0.0
            if short_mean > long_mean and not holds:
                # order_target_percent(stock, 0.15)
                bar.order_target_percent(stock, 0.15)
                calls.append((bar.timestamp, stock, 0.15))
            elif short_mean < long_mean and holds:
                # order_target_percent(stock, 0)
                bar.close_position(stock)
                calls.append((bar.timestamp, stock, 0.0))

    result = bl.run_backtest(
        bars, rebalance, params={"short": 5, "long": 20}, initial_cash=100_000.0
    )
    result.audit()
    assert len(calls) > 20
    # Each line that orders is one order of the ledger, none comes from anywhere else.
    made = result.orders.select("timestamp", "asset", "target_weight")
    assert set(made.rows()) == set(calls)
    # No name is held that was not bought, none bought twice: the predecessor did both.
    assert result.equity["leverage"].max() < 1.05
    bought = result.fills.filter(pl.col("quantity") > 0.0)
    sold = result.fills.filter(pl.col("quantity") < 0.0)
    assert bought.height - sold.height == result.equity["n_positions"][-1]
