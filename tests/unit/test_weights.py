"""What the weights say, form by form: the table of decisions, and identical bits."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import barloop as bl

DAYS = [dt.date(2024, 1, 29) + dt.timedelta(days=k) for k in range(6)]
ASSETS = ("A", "B", "C")

Row = dict[str, float | None] | None
"""Weights of one bar by asset; None for a bar without any."""


def prices(*, n_bars: int = 4) -> pl.DataFrame:
    """Three assets at a constant 10, so that fills show the decisions."""
    return pl.DataFrame(
        {
            "date": [day for day in DAYS[:n_bars] for _ in ASSETS],
            "symbol": list(ASSETS) * n_bars,
            "open": 10.0,
            "close": 10.0,
        }
    )


# --- one table of weights in every form -----------------------------------------------


def cell(row: Row, asset: str) -> float | None:
    return None if row is None else row.get(asset)


def as_series(rows: list[Row]) -> pl.Series:
    values = [cell(row, asset) for row in rows for asset in ASSETS]
    return pl.Series("w", values, dtype=pl.Float64)


def as_column(df: pl.DataFrame, rows: list[Row]) -> tuple[pl.DataFrame, Any]:
    return df.with_columns(as_series(rows)), "w"


def as_expression(df: pl.DataFrame, rows: list[Row]) -> tuple[pl.DataFrame, Any]:
    return df.with_columns(as_series(rows)), pl.col("w") * 1.0


def long_rows(df: pl.DataFrame, rows: list[Row]) -> pl.DataFrame:
    """One row per name that is in a dict, null where the dict says None."""
    days = df["date"].unique().sort().to_list()
    return pl.DataFrame(
        [
            (day, asset, weight)
            for day, row in zip(days, rows, strict=True)
            for asset, weight in (row or {}).items()
        ],
        schema={"date": pl.Date, "symbol": pl.String, "weight": pl.Float64},
        orient="row",
    )


def as_frame(df: pl.DataFrame, rows: list[Row]) -> tuple[pl.DataFrame, Any]:
    return df, long_rows(df, rows)


def as_lazy_frame(df: pl.DataFrame, rows: list[Row]) -> tuple[pl.DataFrame, Any]:
    return df, long_rows(df, rows).lazy()


def as_other_frame(df: pl.DataFrame, rows: list[Row]) -> tuple[pl.DataFrame, Any]:
    """Columns and rows in another order, a column of remarks besides."""
    made = long_rows(df, rows).with_columns(remark=pl.lit("x"))
    return df, made.select("weight", "remark", "symbol", "date").reverse()


def as_pandas_frame(df: pl.DataFrame, rows: list[Row]) -> tuple[pl.DataFrame, Any]:
    return df, long_rows(df, rows).to_pandas()


def as_mapping(df: pl.DataFrame, rows: list[Row]) -> tuple[pl.DataFrame, Any]:
    return df, lambda bar: rows[bar.t]


def as_reversed_mapping(df: pl.DataFrame, rows: list[Row]) -> tuple[pl.DataFrame, Any]:
    def weights(bar: bl.Bar) -> Row:
        row = rows[bar.t]
        return None if row is None else dict(reversed(row.items()))

    return df, weights


def as_array(df: pl.DataFrame, rows: list[Row]) -> tuple[pl.DataFrame, Any]:
    def weights(bar: bl.Bar) -> np.ndarray | None:
        row = rows[bar.t]
        if row is None:
            return None
        return np.array([row.get(asset) or 0.0 for asset in bar.assets])

    return df, weights


def as_polars_series(df: pl.DataFrame, rows: list[Row]) -> tuple[pl.DataFrame, Any]:
    return df, lambda bar: pl.Series(
        [cell(rows[bar.t], asset) for asset in bar.assets], dtype=pl.Float64
    )


def as_pandas_series(df: pl.DataFrame, rows: list[Row]) -> tuple[pl.DataFrame, Any]:
    def weights(bar: bl.Bar) -> pd.Series | None:
        row = rows[bar.t]
        return None if row is None else pd.Series(row, dtype=object)

    return df, weights


def as_factory_of_column(df: pl.DataFrame, rows: list[Row]) -> tuple[pl.DataFrame, Any]:
    return df.with_columns(as_series(rows)), lambda: "w"


def as_factory_of_expression(
    df: pl.DataFrame, rows: list[Row]
) -> tuple[pl.DataFrame, Any]:
    return df.with_columns(as_series(rows)), lambda: pl.col("w")


def as_factory_of_frame(df: pl.DataFrame, rows: list[Row]) -> tuple[pl.DataFrame, Any]:
    return df, lambda: long_rows(df, rows)


Form = Callable[[pl.DataFrame, list[Row]], tuple[pl.DataFrame, Any]]
FORMS: list[Form] = [
    as_column,
    as_expression,
    as_frame,
    as_lazy_frame,
    as_other_frame,
    as_pandas_frame,
    as_factory_of_column,
    as_factory_of_expression,
    as_factory_of_frame,
    as_mapping,
    as_reversed_mapping,
    as_array,
    as_polars_series,
    as_pandas_series,
]
every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)


def run(form: Form, df: pl.DataFrame, rows: list[Row], **settings: Any) -> Any:
    settings.setdefault("initial_cash", 1_000.0)
    data, weights = form(df, rows)
    result = bl.run_backtest(data, weights, **settings)
    result.audit()
    return result


def fills(result: Any) -> list[tuple[int, str, float]]:
    rows = result.fills.select("date", "symbol", "quantity").iter_rows()
    return [(DAYS.index(day), asset, quantity) for day, asset, quantity in rows]


# --- the table of decisions -----------------------------------------------------------


@every_form
def test_timestamp_without_weights_is_no_rebalance(form: Form):
    result = run(form, prices(), [{"A": 0.5, "B": 0.25}, None, None, None])
    assert fills(result) == [(1, "A", 50.0), (1, "B", 25.0)]
    assert result.rebalances["date"].to_list() == [DAYS[0]]
    assert result.n_skipped == 3


@every_form
def test_no_rebalance_keeps_waiting_orders(form: Form):
    # C has no bar on bar 1; its order waits through the silence and fills on bar 2.
    gap = (pl.col("date") == DAYS[1]) & (pl.col("symbol") == "C")
    df = prices().with_columns(close=pl.when(~gap).then("close"))
    result = run(form, df, [{"C": 0.5}, None, None, None])
    assert fills(result) == [(2, "C", 50.0)]


@every_form
def test_name_that_is_not_named_is_closed(form: Form):
    result = run(form, prices(), [{"A": 0.5, "B": 0.25}, {"B": 0.25}, None, None])
    assert fills(result) == [(1, "A", 50.0), (1, "B", 25.0), (2, "A", -50.0)]


@every_form
def test_null_among_numbers_is_closed(form: Form):
    rows: list[Row] = [{"A": 0.5, "B": 0.25}, {"A": None, "B": 0.25}, None, None]
    result = run(form, prices(), rows)
    assert fills(result) == [(1, "A", 50.0), (1, "B", 25.0), (2, "A", -50.0)]


@every_form
def test_zeros_close_everything(form: Form):
    zeros = dict.fromkeys(ASSETS, 0.0)
    result = run(form, prices(), [{"A": 0.5, "B": 0.25}, zeros, None, None])
    assert fills(result)[2:] == [(2, "A", -50.0), (2, "B", -25.0)]
    assert result.rebalances["n_targets"].to_list() == [2, 0]


@every_form
def test_one_zero_closes_everything(form: Form):
    result = run(form, prices(), [{"A": 0.5, "B": 0.25}, {"C": 0.0}, None, None])
    assert fills(result)[2:] == [(2, "A", -50.0), (2, "B", -25.0)]


@every_form
def test_negative_weights_go_short(form: Form):
    limits = bl.Limits(allow_short=True)
    result = run(
        form, prices(), [{"A": 0.5, "C": -0.5}, None, None, None], limits=limits
    )
    assert fills(result) == [(1, "C", -50.0), (1, "A", 50.0)]


@pytest.mark.parametrize("form", [as_mapping, as_pandas_series], ids=["dict", "pandas"])
def test_empty_mapping_closes_everything(form: Form):
    result = run(form, prices(), [{"A": 0.5, "B": 0.25}, {}, None, None])
    assert fills(result)[2:] == [(2, "A", -50.0), (2, "B", -25.0)]


@pytest.mark.parametrize("form", [as_frame, as_lazy_frame], ids=["eager", "lazy"])
def test_frame_without_any_row_never_rebalances(form: Form):
    result = run(form, prices(), [None] * 4)
    assert fills(result) == []
    assert result.rebalances.height == 0
    assert result.n_skipped == 4


def test_frame_with_null_weights_only_at_a_timestamp_is_no_rebalance():
    rows: list[Row] = [{"A": 0.5}, {"A": None, "B": None}, None, None]
    result = run(as_frame, prices(), rows)
    assert fills(result) == [(1, "A", 50.0)]
    assert result.rebalances.height == 1


def test_mapping_of_nulls_only_is_no_rebalance():
    # As in a column: one meaning in all forms.
    result = run(as_mapping, prices(), [{"A": 0.5}, {"A": None}, None, None])
    assert fills(result) == [(1, "A", 50.0)]
    assert result.rebalances.height == 1


def test_dust_in_weights_is_zero():
    # What an optimiser leaves behind: no position, no fee, no refused short.
    costs = {"commission": bl.Commission(minimum=1.0)}
    dusty = {"A": 0.5, "B": -1e-17}
    for form in FORMS:
        result = run(form, prices(), [dusty, None, None, None], **costs)
        assert [fill[1] for fill in fills(result)] == ["A"]


def test_asset_without_a_row_is_not_named_by_a_column():
    # A's row is missing on bar 1 while B is named: A is closed on its next bar.
    df, _ = as_column(prices(), [{"A": 0.5, "B": 0.25}] * 4)
    df = df.filter((pl.col("date") != DAYS[1]) | (pl.col("symbol") != "A"))
    for weights in ("w", pl.col("w")):
        result = bl.run_backtest(
            df,
            weights,
            initial_cash=1_000.0,
            schedule=DAYS[:2],
            execution=bl.Execution(fill="same_close"),
        )
        assert fills(result) == [(0, "A", 50.0), (0, "B", 25.0), (2, "A", -50.0)]


# --- partial decisions ----------------------------------------------------------------


def test_partial_decides_its_names_only():
    says = {0: {"A": 0.25, "B": 0.25}, 1: bl.partial({"B": 0.5, "C": 0.125})}
    result = bl.run_backtest(
        prices(), lambda bar: says.get(bar.t), initial_cash=1_000.0
    )
    assert fills(result) == [
        (1, "A", 25.0),
        (1, "B", 25.0),
        (2, "B", 25.0),
        (2, "C", 12.5),
    ]
    assert result.rebalances["decision"].to_list() == ["complete", "partial"]


@pytest.mark.parametrize("nothing", [0.0, None])
def test_partial_closes_the_names_it_sets_to_nothing(nothing: float | None):
    says = {0: {"A": 0.25, "B": 0.25}, 1: bl.partial({"B": nothing})}
    result = bl.run_backtest(
        prices(), lambda bar: says.get(bar.t), initial_cash=1_000.0
    )
    assert fills(result) == [(1, "A", 25.0), (1, "B", 25.0), (2, "B", -25.0)]


def test_empty_partial_changes_nothing():
    says = {0: {"A": 0.25}, 1: bl.partial({})}
    result = bl.run_backtest(
        prices(), lambda bar: says.get(bar.t), initial_cash=1_000.0
    )
    assert fills(result) == [(1, "A", 25.0)]


def test_partial_is_a_mapping_that_shows_itself():
    weights = bl.partial({"A": 0.25, "B": 0.0})
    assert dict(weights) == {"A": 0.25, "B": 0.0}
    assert len(weights) == 2
    assert repr(weights) == "partial({'A': 0.25, 'B': 0.0})"


def test_partial_is_a_copy():
    source = {"A": 0.25}
    weights = bl.partial(source)
    source["A"] = 0.75
    assert weights["A"] == 0.25


# --- identical bits -------------------------------------------------------------------


def world(seed: int) -> tuple[pl.DataFrame, list[Row]]:
    """Random walks with gaps and awkward weights of random names."""
    rng = np.random.default_rng(seed)
    n_bars = 40
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=k) for k in range(n_bars)]
    shape = (n_bars, len(ASSETS))
    close = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.03, shape), axis=0))
    df = pl.DataFrame(
        {
            "date": [day for day in days for _ in ASSETS],
            "symbol": list(ASSETS) * n_bars,
            "open": (close * (1.0 + rng.normal(0.0, 0.005, shape))).reshape(-1),
            "close": close.reshape(-1),
        }
    )
    has_bar = pl.Series(rng.random(df.height) > 0.1)
    df = df.with_columns(close=pl.when(has_bar).then("close"))
    rows: list[Row] = []
    for _ in range(n_bars):
        weight = rng.random(len(ASSETS))
        weight /= weight.sum() * (1.0 + rng.random())
        weight[rng.random(len(ASSETS)) < 0.2] = 0.0
        named = {a: float(w) for a, w in zip(ASSETS, weight, strict=True)}
        rows.append(named if rng.random() < 0.7 else None)
    return df, rows


SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "costs": {
        "commission": bl.Commission(bps=10, minimum=1.0),
        "slippage": bl.Slippage(bps=5),
        "execution": bl.Execution(rounding="whole_target"),
        "limits": bl.Limits(min_trade_value=20.0),
    },
    "same close": {"execution": bl.Execution(fill="same_close"), "schedule": 3},
}


@every_form
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("seed", [1, 2])
def test_every_form_gives_the_same_bits(form: Form, settings: dict, seed: int):
    df, rows = world(seed)
    result = run(form, df, rows, **settings)
    reference = run(as_column, df, rows, **settings)
    assert reference.fills.height > 10
    for name in ("equity", "fills", "orders", "rebalances", "positions", "next_orders"):
        left, right = getattr(result, name), getattr(reference, name)
        assert_frame_equal(left, right, check_exact=True)
    assert (
        result.equity["equity"].to_numpy().tobytes()
        == reference.equity["equity"].to_numpy().tobytes()
    )
    assert result.metrics == reference.metrics


@every_form
def test_rows_in_another_order_give_the_same_bits(form: Form):
    df, rows = world(3)
    data, weights = form(df, rows)
    sorted_run = bl.run_backtest(data, weights)
    shuffled = data.sample(fraction=1.0, shuffle=True, seed=7)
    shuffled_run = bl.run_backtest(shuffled, weights)
    assert_frame_equal(sorted_run.equity, shuffled_run.equity, check_exact=True)
    assert_frame_equal(sorted_run.fills, shuffled_run.fills, check_exact=True)


# --- columns, expressions and frames --------------------------------------------------


def test_expression_sees_rows_sorted_by_timestamp_and_asset():
    # Closes 1 2 3, 4 5 6, ...  Only A on bar 1 is more than three times the bar before:
    # 4 / 1.  On the rows as they are given, the latest first, nothing would be.
    df = prices().with_columns(close=pl.Series(range(1, 13), dtype=pl.Float64))
    rises = pl.col("close") > 3.0 * pl.col("close").shift(1).over("symbol")
    expression = pl.when(rises).then(0.5).otherwise(0.0)
    result = bl.run_backtest(
        df.reverse(), expression, execution=bl.Execution(fill="same_close")
    )
    assert fills(result) == [(1, "A", 125_000.0), (2, "A", -125_000.0)]


@pytest.mark.parametrize("dtype", [pl.Int64, pl.UInt8, pl.Int16, pl.Decimal(10, 2)])
def test_integer_and_decimal_weights(dtype: pl.DataType):
    rows: list[Row] = [{"A": 0.0, "B": 1.0, "C": 0.0}, {"A": 1.0}, None, None]
    reference = run(as_column, prices(), rows)
    weights = as_series(rows).cast(dtype)
    cast = bl.run_backtest(prices().with_columns(weights), "w", initial_cash=1_000.0)
    assert_frame_equal(cast.fills, reference.fills, check_exact=True)
    long = long_rows(prices(), rows).with_columns(pl.col("weight").cast(dtype))
    framed = bl.run_backtest(prices(), long, initial_cash=1_000.0)
    assert_frame_equal(framed.fills, reference.fills, check_exact=True)


@pytest.mark.parametrize(
    "said",
    [
        {"B": 1},
        {"B": np.float32(1.0)},
        {"B": np.int64(1)},
        np.array([0, 1, 0]),
        np.array([0.0, 1.0, 0.0], dtype=np.float32),
        np.array([0.0, 9.0, 1.0, 9.0, 0.0, 9.0])[::2],
        pl.Series([0, 1, 0]),
        pl.Series([None, 1, None], dtype=pl.Int64),
        pl.Series([None, Decimal("1.0"), None]),
        pl.Series([Decimal(0), Decimal(1), Decimal(0)]),
        pd.Series([1], index=["B"]),
    ],
    ids=repr,
)
def test_numbers_of_other_types_from_a_callback(said: Any):
    result = bl.run_backtest(
        prices(), lambda bar: said, initial_cash=1_000.0, schedule=DAYS[:1]
    )
    assert result.orders.select("symbol", "quantity").rows() == [("B", 100.0)]


def test_null_series_from_a_callback_is_no_rebalance():
    says = {
        0: {"A": 0.5},
        1: pl.Series([None] * 3),
        2: pl.Series([None] * 3, dtype=int),
    }
    result = bl.run_backtest(
        prices(), lambda bar: says.get(bar.t), initial_cash=1_000.0
    )
    assert fills(result) == [(1, "A", 50.0)]


def test_weights_frame_in_the_usual_names_or_in_those_of_the_data():
    df = prices().rename({"date": "day", "symbol": "name"})
    panel = bl.Panel.from_frame(df, timestamp="day", asset="name")
    weights = pl.DataFrame({"day": DAYS[:1], "name": ["B"], "w": [0.5]})
    usual = weights.rename({"day": "date", "name": "asset", "w": "weight"})
    for frame in (weights, usual):
        result = bl.run_backtest(panel, frame, initial_cash=1_000.0)
        assert result.orders.select("name", "quantity").rows() == [("B", 50.0)]


def test_weights_frame_of_datetimes_for_bars_of_dates():
    weights = pl.DataFrame(
        {"date": [dt.datetime(2024, 1, 29)], "symbol": ["B"], "weight": [0.5]}
    )
    result = bl.run_backtest(prices(), weights, initial_cash=1_000.0)
    assert fills(result) == [(1, "B", 50.0)]


def test_weights_frame_of_categories_for_assets_of_text():
    weights = pl.DataFrame(
        {"date": DAYS[:1], "symbol": ["B"], "weight": [0.5]}
    ).with_columns(pl.col("symbol").cast(pl.Categorical))
    result = bl.run_backtest(prices(), weights, initial_cash=1_000.0)
    assert fills(result) == [(1, "B", 50.0)]


def test_weights_are_not_modified():
    rows: list[Row] = [{"B": 0.5}, None, {"A": 0.25}, None]
    df, weights = as_other_frame(prices(), rows)
    before, copy = df.clone(), weights.clone()
    bl.run_backtest(df, weights)
    assert_frame_equal(df, before)
    assert_frame_equal(weights, copy)


# --- what is not read -----------------------------------------------------------------

some_forms = pytest.mark.parametrize(
    "form", [as_column, as_expression, as_frame], ids=lambda form: form.__name__
)


@some_forms
@pytest.mark.parametrize("bad", [7.0, -1.0, float("inf"), float("nan")])
def test_weights_off_the_schedule_are_not_read(form: Form, bad: float):
    rows: list[Row] = [{"A": 0.5}, {"A": bad}, {"A": 0.25}, {"A": bad}]
    result = run(form, prices(), rows, schedule=2)
    assert fills(result) == [(1, "A", 50.0), (3, "A", -25.0)]


@some_forms
@pytest.mark.parametrize("bad", [7.0, float("nan")])
def test_weights_before_start_are_not_read(form: Form, bad: float):
    rows: list[Row] = [{"A": bad}, {"A": 0.5}, None, None]
    result = run(form, prices(), rows, start=DAYS[1])
    assert fills(result) == [(2, "A", 50.0)]


@some_forms
@pytest.mark.parametrize("bad", [7.0, float("nan")])
def test_weights_after_end_are_not_read(form: Form, bad: float):
    rows: list[Row] = [{"A": 0.5}, None, {"A": bad}, {"A": bad}]
    result = run(form, prices(), rows, end=DAYS[1])
    assert fills(result) == [(1, "A", 50.0)]
    assert result.equity.height == 2


def test_callback_is_called_on_the_schedule_only():
    calls = []
    bl.run_backtest(
        prices(n_bars=6), lambda bar: calls.append(bar.t), schedule=2, start=DAYS[1]
    )
    assert calls == [1, 3, 5]


# --- functions and their parameters ---------------------------------------------------


def test_params_are_bound_to_a_callback():
    def weights(bar: bl.Bar, name: str, *, size: float = 0.25) -> dict[str, float]:
        return {name: size}

    for params, quantity in (({"name": "B"}, 25.0), ({"name": "B", "size": 0.5}, 50.0)):
        result = bl.run_backtest(
            prices(), weights, params=params, initial_cash=1_000.0, schedule=DAYS[:1]
        )
        assert fills(result) == [(1, "B", quantity)]


def test_params_are_bound_to_a_factory_which_is_called_once():
    calls = []

    def weights(size: float, name: str = "A") -> pl.Expr:
        calls.append((size, name))
        return pl.when(pl.col("symbol") == name).then(size).otherwise(0.0)

    result = bl.run_backtest(
        prices(), weights, params={"size": 0.5}, initial_cash=1_000.0
    )
    assert calls == [(0.5, "A")]
    assert fills(result) == [(1, "A", 50.0)]


def test_params_are_not_changed():
    params = {"size": 0.5}
    bl.run_backtest(prices(), lambda bar, size: {"A": size}, params=params)
    assert params == {"size": 0.5}


def test_callback_may_take_any_keyword():
    seen = []
    bl.run_backtest(
        prices(n_bars=1), lambda bar, **rest: seen.append(rest), params={"n": 3}
    )
    assert seen == [{"n": 3}]


def test_methods_partials_and_callable_objects_are_callbacks():
    class Strategy:
        def weights(self, bar: bl.Bar) -> dict[str, float]:
            return {"A": 0.5}

        def __call__(self, bar: bl.Bar) -> dict[str, float]:
            return {"A": 0.5}

    def sized(bar: bl.Bar, size: float) -> dict[str, float]:
        return {"A": size}

    for weights in (Strategy().weights, Strategy(), functools.partial(sized, size=0.5)):
        result = bl.run_backtest(prices(), weights, initial_cash=1_000.0)
        assert fills(result) == [(1, "A", 50.0)]


def test_frame_with_timestamps_off_the_schedule_is_counted():
    result = run(as_frame, prices(), [{"A": 0.5}] * 4, schedule=2)
    notices = result.notices.filter(pl.col("notice") == "weights_off_schedule")
    # Bars 1 and 3 of 0 to 3.
    assert notices["count"].to_list() == [2]
    assert notices["first_date"][0] == result.equity["date"][1]
