"""Bad input through the front door: what is raised, and what the message says.

A message says what is wrong, where (column, count, first timestamp and asset), and what
to do.  Where only the decisive part of one is compared, it is cut by ``.split``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numba.core.registry import CPUDispatcher

import barloop as bl
from barloop.errors import (
    BarloopError,
    ConfigError,
    PanelError,
    SchemaError,
    SimulationError,
    UnknownNameError,
    WeightsError,
)

DAYS = [dt.date(2021, 3, 4), dt.date(2021, 3, 5), dt.date(2021, 3, 8)]
NAN, INF = float("nan"), float("inf")
COLUMNS = (
    "'date', 'symbol', 'open', 'high', 'low', 'close', 'volume', 'score', 'sector'"
)
SHUT = "but shorts are off.\nHint: limits=Limits(allow_short=True)."
SCALE = "Hint: scale them down, or raise limits=Limits(max_gross=...)."
MADE_OF = (
    "the weights function must return None, a mapping of asset to weight, an array or "
    "a Series"
)
FINITE = "Hint: give 0 to close a position, or leave the asset out."
SHARE = "Hint: equal_weight(...) gives the assets it marks equal weights."
NAMED_BAR = "Hint: name its first parameter 'bar' to have it called at each rebalance."
RUNS = "the data runs from 2021-03-04 to 2021-03-08."


def frame(**columns: Any) -> pl.DataFrame:
    """Three bars of two assets, with columns replaced."""
    data = {
        "date": [day for day in DAYS for _ in range(2)],
        "symbol": ["ABC", "XYZ"] * 3,
        "open": [10.0, 20.0, 11.0, 21.0, 12.0, 22.0],
        "high": [12.0, 22.0, 13.0, 23.0, 14.0, 24.0],
        "low": [9.0, 19.0, 10.0, 20.0, 11.0, 21.0],
        "close": [11.0, 21.0, 12.0, 22.0, 13.0, 23.0],
        "volume": [100.0] * 6,
        "score": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "sector": ["tech"] * 6,
    }
    return pl.DataFrame({**data, **columns})


def weights_column(*values: float | None) -> pl.DataFrame:
    """The frame with a column `w` that ends in nulls."""
    padded = [*values, *([None] * (6 - len(values)))]
    return frame().with_columns(w=pl.Series(padded, dtype=pl.Float64))


def weights_frame(**columns: Any) -> pl.DataFrame:
    """Two rows, on the first two bars, with columns replaced."""
    data = {"date": DAYS[:2], "symbol": ["ABC", "XYZ"], "weight": [0.5, 0.5]}
    return pl.DataFrame({**data, **columns})


def actions_frame(**values: Any) -> pl.DataFrame:
    """One split on the second bar, with values replaced."""
    data = {"date": DAYS[1], "symbol": "ABC", "kind": "split", "value": 2.0}
    return pl.DataFrame({name: [one] for name, one in {**data, **values}.items()})


def refused(error: type[BarloopError], df: Any, weights: Any, **settings: Any) -> str:
    """Return the message of a run that is refused with exactly this error."""
    with pytest.raises(error) as caught:
        bl.run_backtest(df, weights, **settings)
    assert type(caught.value) is error
    return str(caught.value)


class Recorder:
    """A callback that remembers the bars it was called on."""

    def __init__(self, says: Callable[[bl.Bar], Any] = lambda bar: None) -> None:
        self.calls: list[int] = []
        self.says = says

    def __call__(self, bar: bl.Bar) -> Any:
        self.calls.append(bar.t)
        return self.says(bar)


# --- the frame ------------------------------------------------------------------------

FRAMES: dict[str, tuple[Callable[[], Any], str]] = {
    "a dict": (
        lambda: {"close": [1.0]},
        "a frame is needed, got dict.\n"
        "Hint: accepted are a polars DataFrame or LazyFrame, a pandas DataFrame, a "
        "pyarrow Table, and any object with __arrow_c_stream__.",
    ),
    "nothing": (
        lambda: None,
        "a frame is needed, got NoneType.\n"
        "Hint: accepted are a polars DataFrame or LazyFrame, a pandas DataFrame, a "
        "pyarrow Table, and any object with __arrow_c_stream__.",
    ),
    "wide pandas": (
        lambda: frame().to_pandas().pivot(index="date", columns="symbol"),
        "the columns of the pandas frame have several levels, a long frame is "
        "needed.\nHint: df.stack(level=...).reset_index() gives one row per "
        "timestamp and asset.",
    ),
    "two time columns": (
        lambda: frame().with_columns(timestamp="date"),
        "more than one column could be the timestamp: 'date', 'timestamp'.\n"
        "Hint: say which one, Panel.from_frame(df, timestamp='date'), or drop the "
        "others.",
    ),
    "text times": (
        lambda: frame().with_columns(pl.col("date").cast(pl.String)),
        "time column 'date' must be Date, Datetime or an integer, got String.\n"
        "Hint: parse it, e.g. df.with_columns(pl.col('date').str.to_date()).",
    ),
    "null times": (
        lambda: frame(date=[DAYS[0], None, DAYS[1], None, DAYS[2], DAYS[2]]),
        'date must not be null: 2 rows are, first row 1, symbol "XYZ".\n'
        "Hint: every row needs a timestamp and an asset; drop these rows.",
    ),
    "a null asset": (
        lambda: frame(symbol=["ABC", "XYZ", None, "XYZ", "ABC", "XYZ"]),
        "symbol must not be null: 1 row is, first row 2, date 2021-03-05.\n"
        "Hint: every row needs a timestamp and an asset; drop these rows.",
    ),
    "boolean assets": (
        lambda: frame(symbol=[True, False] * 3),
        "asset column 'symbol' must be String, Enum, Categorical or an integer, got "
        "Boolean.\nHint: cast it, e.g. "
        "df.with_columns(pl.col('symbol').cast(pl.String)).",
    ),
    "repeated rows": (
        lambda: pl.concat([frame(), frame()[2:4]]),
        "date and symbol must be unique together: 2 rows repeat an earlier one, first "
        'at 2021-03-05, asset "ABC".\nHint: keep one row per bar and asset, e.g. '
        "df.unique(['date', 'symbol'], keep=..., maintain_order=True).",
    ),
    "zero closes": (
        lambda: frame(close=[11.0, 21.0, 12.0, 0.0, 0.0, 0.0]),
        "close must be positive: 3 rows are not, first at 2021-03-05, asset "
        '"XYZ", value 0.0.\n'
        "Hint: drop these rows, or set close to null where the asset did not trade.",
    ),
    "an infinite close": (
        lambda: frame(close=[11.0, INF, 12.0, 22.0, 13.0, 23.0]),
        "close must be finite: 1 row is not, first at 2021-03-04, asset "
        '"XYZ", value inf.\n'
        "Hint: drop these rows, or set close to null where the asset did not trade.",
    ),
    "a negative open": (
        lambda: frame(open=[10.0, -20.0, 11.0, 21.0, 12.0, 22.0]),
        "open must be positive: 1 row is not, first at 2021-03-04, asset "
        '"XYZ", value -20.0.\nHint: set open to null where it is not known.',
    ),
    "high below low": (
        lambda: frame(high=[12.0, 22.0, 9.0, 23.0, 14.0, 24.0]),
        "high must be at least low: 1 row is not, first at 2021-03-05, asset "
        '"ABC", high 9.0, low 10.0.\nHint: the two columns may be swapped; otherwise '
        "set both to null in these rows.",
    ),
    "a negative volume": (
        lambda: frame(volume=[100.0, 100.0, 100.0, -1.0, 100.0, 100.0]),
        "volume must be zero or positive: 1 row is not, first at 2021-03-05, asset "
        '"XYZ", value -1.0.\nHint: set volume to null where it is not known.',
    ),
    "text closes": (
        lambda: frame().with_columns(pl.col("close").cast(pl.String)),
        "close must be numeric, got String.\n"
        "Hint: cast it, e.g. df.with_columns(pl.col('close').cast(pl.Float64)).",
    ),
    "no close at all": (
        lambda: frame(close=[None, NAN] * 3),
        "close has no value: every row is null or NaN.\n"
        "Hint: a bar is a row with a close.",
    ),
}


@pytest.mark.parametrize("case", FRAMES)
def test_frame_is_refused_before_anything_runs(case: str):
    make, text = FRAMES[case]
    recorder, made = Recorder(), []
    assert refused(SchemaError, make(), recorder) == text
    assert refused(SchemaError, make(), lambda: made.append(1)) == text
    assert recorder.calls == made == []


@pytest.mark.parametrize(
    ("renamed", "decisive"),
    [
        ("close", f"no column is named close; the columns are {COLUMNS}."),
        ("date", f"no timestamp column found; the columns are {COLUMNS}."),
        ("symbol", f"no asset column found; the columns are {COLUMNS}."),
    ],
)
def test_frame_without_a_needed_column(renamed: str, decisive: str):
    recorder = Recorder()
    text = refused(SchemaError, frame().rename({renamed: "what"}), recorder)
    sentence, hint = text.split("\nHint: ")
    assert sentence == decisive.replace(f"'{renamed}'", "'what'")
    assert "rename" in hint
    assert recorder.calls == []


def test_frame_without_rows():
    recorder = Recorder()
    assert refused(SchemaError, frame().head(0), recorder) == (
        "the frame has no rows.\n"
        "Hint: a filter or a join may have removed them all; one row per timestamp and "
        "asset is needed."
    )
    assert recorder.calls == []


def test_open_is_needed_to_fill_at_the_open():
    recorder = Recorder()
    assert refused(ConfigError, frame().drop("open"), recorder) == (
        "fill='next_open' needs an 'open' column, and the data has none.\n"
        "Hint: add one, or use execution=Execution(fill='next_close')."
    )
    assert recorder.calls == []


def test_integer_times_need_bars_per_year_before_anything_runs():
    df = frame().with_columns(pl.col("date").to_physical())
    recorder = Recorder()
    assert refused(ConfigError, df, recorder) == (
        "bars_per_year cannot be inferred from timestamps of dtype Int32.\n"
        "Hint: pass it, as in bars_per_year=252."
    )
    assert recorder.calls == []


# --- weights in columns ---------------------------------------------------------------


def test_unknown_column_names_the_nearest():
    assert refused(WeightsError, frame(), "scor") == (
        f"no column is named 'scor'; the frame has {COLUMNS}. Did you mean 'score'?"
    )


@pytest.mark.parametrize(("name", "dtype"), [("sector", "String"), ("date", "Date")])
def test_column_that_is_not_numeric(name: str, dtype: str):
    assert refused(WeightsError, frame(), name) == (
        f"weights in column {name!r} must be numbers, got {dtype}."
    )


def test_boolean_column_hints_at_what_is_missing():
    df = frame().with_columns(chosen=pl.lit(value=True))
    assert refused(WeightsError, df, "chosen") == (
        "weights in column 'chosen' must be numbers, got Boolean.\n"
        "Hint: equal_weight(..., over='date') gives the assets it marks equal weights."
    )


NOT_NAN = (
    "weights must not be NaN: 1 row is, first at 2021-03-05, asset "
    '"XYZ".\nHint: use fill_nan(None); null closes a position, and a timestamp with '
    "nulls only is no rebalance."
)
INVALID: dict[str, tuple[float, str]] = {
    "NaN": (NAN, NOT_NAN),
    "inf": (INF, f'weights must be finite: inf at 2021-03-05, asset "XYZ".\n{FINITE}'),
    "-inf": (
        -INF,
        f'weights must be finite: -inf at 2021-03-05, asset "XYZ".\n{FINITE}',
    ),
    "negative": (-0.25, f'weight -0.25 is negative at 2021-03-05, asset "XYZ", {SHUT}'),
    "gross": (
        1.25,
        f"the absolute weights at 2021-03-05 sum to 1.25, above max_gross=1.\n{SCALE}",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_weight_in_a_column(case: str):
    value, text = INVALID[case]
    df = weights_column(0.5, 0.5, None, value, 0.5, 0.5)
    assert refused(WeightsError, df, "w") == text
    assert refused(WeightsError, df.reverse(), "w") == text


@pytest.mark.parametrize("case", INVALID)
def test_invalid_weight_of_an_expression(case: str):
    value, text = INVALID[case]
    df = weights_column(0.5, 0.5, None, value, 0.5, 0.5)
    assert refused(WeightsError, df, pl.col("w") * 1.0) == text
    assert refused(WeightsError, df, lambda: pl.col("w")) == text


@pytest.mark.parametrize("case", INVALID)
def test_invalid_weight_in_a_frame(case: str):
    value, text = INVALID[case]
    rows = weights_frame(weight=[0.5, value])
    assert refused(WeightsError, frame(), rows) == text
    assert refused(WeightsError, frame(), rows.reverse()) == text


@pytest.mark.parametrize("case", INVALID)
def test_first_of_several_invalid_weights_is_named(case: str):
    value, text = INVALID[case]
    df = weights_column(0.5, 0.5, None, value, value, value)
    text = text.replace("1 row is", "3 rows are")
    assert refused(WeightsError, df, "w") == text


def test_gross_of_longs_and_shorts_counts_both():
    df = weights_column(None, None, 1.5, -0.75)
    limits = bl.Limits(allow_short=True, max_gross=2.0)
    assert refused(WeightsError, df, "w", limits=limits) == (
        f"the absolute weights at 2021-03-05 sum to 2.25, above max_gross=2.\n{SCALE}"
    )


def test_expression_of_an_unknown_column():
    text = refused(WeightsError, frame(), pl.col("scor") / 10)
    assert text.startswith(
        'the weights expression failed: unable to find column "scor"; valid columns: '
    )
    assert 'Did you mean "score"?' in text


def test_expression_of_one_value():
    hint = "Hint: spread a value over the rows, e.g. with .over(...)."
    assert refused(WeightsError, frame(), pl.col("score").max()) == (
        "the weights expression gave 1 value for 6 rows; it must give one per row.\n"
        + hint
    )
    assert refused(WeightsError, frame(), pl.col("score").head(2)) == (
        "the weights expression gave 2 values for 6 rows; it must give one per row.\n"
        + hint
    )


def test_expression_that_is_not_numeric():
    assert refused(WeightsError, frame(), pl.col("score") > 3) == (
        "weights of the expression must be numbers, got Boolean.\n"
        "Hint: equal_weight(..., over='date') gives the assets it marks equal weights."
    )
    assert refused(WeightsError, frame(), pl.col("sector")) == (
        "weights of the expression must be numbers, got String."
    )


# --- weights in a frame ---------------------------------------------------------------

WEIGHT_FRAMES: dict[str, tuple[Callable[[], Any], str]] = {
    "an unknown asset": (
        lambda: weights_frame(symbol=["ABC", "XXX"]),
        "'symbol' of the weights must be an asset of the data: 1 row is not, first at "
        '2021-03-05, asset "XXX".\n'
        "Hint: drop these rows, e.g. weights.join(data, on='symbol', how='semi').",
    ),
    "an unknown asset in a column of another name": (
        lambda: weights_frame(symbol=["ABC", "XXX"]).rename({"symbol": "asset"}),
        "'asset' of the weights must be an asset of the data: 1 row is not, first at "
        '2021-03-05, asset "XXX".\n'
        "Hint: drop these rows, e.g. weights.join(data, left_on='asset', "
        "right_on='symbol', how='semi').",
    ),
    "an unknown timestamp": (
        lambda: weights_frame(date=[DAYS[0], dt.date(2021, 3, 6)]),
        "'date' of the weights must be a timestamp of the data: 1 row is not, first at "
        '2021-03-06, asset "XYZ".\n'
        "Hint: drop these rows, e.g. weights.join(data, on='date', how='semi').",
    ),
    "an asset twice": (
        lambda: weights_frame(date=DAYS[:1] * 2, symbol=["ABC"] * 2),
        "the weights must name an asset once per timestamp: 1 row is repeated, first "
        'at 2021-03-04, asset "ABC".\n'
        "Hint: add them up or keep one, e.g. with group_by.",
    ),
    "no weight": (
        lambda: weights_frame().rename({"weight": "x"}).with_columns(y=1.0),
        "a weights frame has a time column, an asset column and a column named "
        "'weight', got 'date', 'symbol', 'x', 'y'.",
    ),
    "text weights": (
        lambda: weights_frame(weight=["0.5", "0.5"]),
        "weights in column 'weight' must be numbers, got String.",
    ),
    "no time": (
        lambda: weights_frame().drop("date"),
        "a weights frame needs the columns 'date' and 'symbol' of the data and a "
        "weight; it has 'symbol', 'weight'.",
    ),
    "no asset": (
        lambda: weights_frame().drop("symbol"),
        "a weights frame needs the columns 'date' and 'symbol' of the data and a "
        "weight; it has 'date', 'weight'.",
    ),
}


@pytest.mark.parametrize("case", WEIGHT_FRAMES)
def test_weights_frame_is_refused(case: str):
    make, text = WEIGHT_FRAMES[case]
    for weights in (make(), make().lazy(), make):
        assert refused(WeightsError, frame(), weights) == text


@pytest.mark.parametrize(
    ("column", "values", "what", "where"),
    [
        ("symbol", ["ABC", None], "an asset", "2021-03-05, asset None"),
        ("date", [DAYS[0], None], "a timestamp", 'None, asset "XYZ"'),
    ],
)
def test_null_keys_in_a_weights_frame(
    column: str, values: list[Any], what: str, where: str
):
    assert refused(WeightsError, frame(), weights_frame(**{column: values})) == (
        f"{column!r} of the weights must be {what} of the data: 1 row is not, first at "
        f"{where}.\nHint: {column!r} is null there; drop these rows."
    )


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_null_times_in_a_weights_frame_of_datetimes(unit: str):
    times = pl.col("date").cast(pl.Datetime(unit))
    rows = weights_frame(date=[None, DAYS[0]]).with_columns(times)
    assert refused(WeightsError, frame().with_columns(times), rows) == (
        "'date' of the weights must be a timestamp of the data: 1 row is not, first at "
        "None, asset \"ABC\".\nHint: 'date' is null there; drop these rows."
    )


def test_weights_later_than_nanoseconds_reach():
    df = frame().with_columns(pl.col("date").cast(pl.Datetime("ns")))
    rows = weights_frame(date=[DAYS[0], dt.date(9999, 12, 31)])
    for weights in (rows, rows.with_columns(pl.col("date").cast(pl.Datetime("us")))):
        text = refused(WeightsError, df, weights)
        assert text.startswith(
            "'date' of the weights must be a timestamp of the data: 1 row is not, "
            "first at 9999-12-31"
        )


def test_weights_frame_with_text_times_names_the_column():
    rows = weights_frame().with_columns(pl.col("date").cast(pl.String))
    assert refused(WeightsError, frame(), rows) == (
        "the keys of the weights do not fit the data: time column 'date' must be Date, "
        "Datetime or an integer, got String.\n"
        "Hint: parse it, e.g. df.with_columns(pl.col('date').str.to_date())."
    )


def test_weights_frame_with_integer_times_for_bars_of_dates():
    assert refused(WeightsError, frame(), weights_frame(date=[1, 2])) == (
        "the keys of the weights do not fit the data: 'date' has times of dtype Int64, "
        "the bars have Date.\n"
        "Hint: give both as dates or both as integers."
    )


def test_weights_frame_with_integer_assets_for_assets_of_text():
    assert refused(WeightsError, frame(), weights_frame(symbol=[1, 2])) == (
        "the keys of the weights do not fit the data: 'symbol' has assets of dtype "
        "Int64, the panel has String.\n"
        "Hint: cast one of them, e.g. pl.col('symbol').cast(pl.String)."
    )


# --- what a callback says -------------------------------------------------------------

AT = "at 2021-03-05"
OF_SHAPE = "the shape must be (2,), one weight per asset of bar.assets."
BY_ASSET = "Hint: index the Series by asset, e.g. pd.Series(weights, index=bar.assets)."
SAID: dict[str, tuple[Any, str]] = {
    "NaN in a mapping": (
        {"XYZ": NAN},
        f'weights must be finite: nan {AT}, asset "XYZ".\n{FINITE}',
    ),
    "inf in a mapping": (
        {"ABC": 0.5, "XYZ": INF},
        f'weights must be finite: inf {AT}, asset "XYZ".\n{FINITE}',
    ),
    "negative in a mapping": (
        {"ABC": 0.5, "XYZ": -0.25},
        f'weight -0.25 is negative {AT}, asset "XYZ", {SHUT}',
    ),
    "gross of a mapping": (
        {"ABC": 0.75, "XYZ": 0.5},
        f"the absolute weights {AT} sum to 1.25, above max_gross=1.\n{SCALE}",
    ),
    "unknown asset": (
        {"ABD": 0.5},
        f"the weights {AT} name an unknown asset 'ABD'; the data has 2 assets. "
        "Did you mean 'ABC'?",
    ),
    "unknown asset of another type": (
        {3: 0.5},
        f"the weights {AT} name an unknown asset 3; the data has 2 assets.",
    ),
    "pandas Series without the assets": (
        pd.Series([0.5, 0.25]),
        f"the weights {AT} name an unknown asset 0; the data has 2 assets.\n{BY_ASSET}",
    ),
    "rows of a pandas Series without the assets": (
        pd.Series([0.25, 0.5]).nlargest(1),
        f"the weights {AT} name an unknown asset 1; the data has 2 assets.\n{BY_ASSET}",
    ),
    "pandas Series of an unknown asset": (
        pd.Series([0.5], index=["ABD"]),
        f"the weights {AT} name an unknown asset 'ABD'; the data has 2 assets. "
        "Did you mean 'ABC'?",
    ),
    "pandas frame": (
        pd.DataFrame({"ABC": [0.5]}),
        "of pandas, the weights function may return a Series by asset, got DataFrame "
        f"{AT}.",
    ),
    "pandas Series that names an asset twice": (
        pd.Series([0.5, 0.25], index=["ABC", "ABC"]),
        f"the weights must name an asset once: 'ABC' stands twice {AT}.\n"
        "Hint: add them up, e.g. weights.groupby(level=0).sum().",
    ),
    "asset that cannot be a key": (
        pd.Series([0.5], index=[("ABC",)]),
        f"the weights {AT} name an unknown asset ('ABC',); the data has 2 assets.",
    ),
    "text in a mapping": (
        {"ABC": "0.5"},
        f"weights must be numbers: '0.5' {AT}, asset \"ABC\".",
    ),
    "boolean in a mapping": (
        {"ABC": True},
        f'weights must be numbers: True {AT}, asset "ABC".',
    ),
    "array of another length": (
        np.zeros(3),
        f"the weights function returned an array of shape (3,) {AT}; {OF_SHAPE}",
    ),
    "array of two dimensions": (
        np.zeros((2, 1)),
        f"the weights function returned an array of shape (2, 1) {AT}; {OF_SHAPE}",
    ),
    "array of booleans": (
        np.array([True, False]),
        f"the weights function returned an array of bool {AT}; weights must be "
        f"numbers.\n{SHARE}",
    ),
    "array of objects": (
        np.array([0.5, None]),
        f"the weights function returned an array of object {AT}; weights must be "
        "numbers.",
    ),
    "NaN in an array": (
        np.array([0.5, NAN]),
        f'weights must be finite: nan {AT}, asset "XYZ".\n{FINITE}',
    ),
    "inf in an array": (
        np.array([0.5, INF]),
        f'weights must be finite: inf {AT}, asset "XYZ".\n{FINITE}',
    ),
    "negative in an array": (
        np.array([0.5, -0.25]),
        f'weight -0.25 is negative {AT}, asset "XYZ", {SHUT}',
    ),
    "gross of an array": (
        np.array([0.75, 0.5]),
        f"the absolute weights {AT} sum to 1.25, above max_gross=1.\n{SCALE}",
    ),
    "Series of text": (
        pl.Series(["a", "b"]),
        f"the weights function returned a Series of String {AT}; weights must be "
        "numbers.",
    ),
    "Series of booleans": (
        pl.Series([True, False]),
        f"the weights function returned a Series of Boolean {AT}; weights must be "
        f"numbers.\n{SHARE}",
    ),
    "NaN in a Series": (
        pl.Series([0.5, NAN]),
        f'weights must be finite: nan {AT}, asset "XYZ".\n{FINITE}',
    ),
    "NaN in a pandas Series": (
        pd.Series([0.5, NAN], index=["ABC", "XYZ"]),
        f'weights must be finite: nan {AT}, asset "XYZ".\n{FINITE}',
    ),
    "a list": (
        [0.5, 0.5],
        f"{MADE_OF}, got list {AT}.",
    ),
    "a number": (
        0.5,
        f"{MADE_OF}, got float {AT}.",
    ),
    "a frame": (
        weights_frame(),
        f"{MADE_OF}, got DataFrame {AT}.",
    ),
    "gross of a partial": (
        bl.partial({"ABC": 1.25}),
        f"the absolute weights {AT} sum to 1.25, above max_gross=1.\n{SCALE}",
    ),
    "unknown asset in a partial": (
        bl.partial({"XY": 0.0}),
        f"the weights {AT} name an unknown asset 'XY'; the data has 2 assets. "
        "Did you mean 'XYZ'?",
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_what_a_callback_says_is_refused_on_its_bar(case: str):
    said, text = SAID[case]
    recorder = Recorder(lambda bar: said if bar.t == 1 else None)
    assert refused(WeightsError, frame(), recorder) == text
    assert recorder.calls == [0, 1]


@pytest.mark.parametrize(
    "said", [pl.Series([0.5]), pl.Series([None] * 3, dtype=pl.Float64)]
)
def test_series_of_another_length(said: pl.Series):
    assert refused(WeightsError, frame(), lambda bar: said) == (
        f"the weights function returned a Series of shape ({len(said)},) at "
        f"2021-03-04; {OF_SHAPE}"
    )


def test_unknown_asset_among_one():
    df = frame().filter(pl.col("symbol") == "ABC")
    assert refused(WeightsError, df, lambda bar: {"ABD": 0.5}) == (
        "the weights at 2021-03-04 name an unknown asset 'ABD'; the data has 1 asset. "
        "Did you mean 'ABC'?"
    )


def test_partial_of_something_else():
    text = refused(WeightsError, frame(), lambda bar: bl.partial([0.5]))
    assert text == "partial takes a mapping of asset to weight, got [0.5]."


def test_errors_of_the_callback_itself_pass_through():
    problem = KeyError("mine")

    def weights(bar: bl.Bar) -> None:
        raise problem

    with pytest.raises(KeyError) as caught:
        bl.run_backtest(frame(), weights)
    assert caught.value is problem


def test_note_says_on_which_bar_the_callback_failed():
    def weights(bar: bl.Bar) -> dict[str, float]:
        return {"ABC": 1.0 / (1.0 - bar.t)}

    with pytest.raises(ZeroDivisionError) as caught:
        bl.run_backtest(frame(), weights)
    assert caught.value.__notes__ == ["in the weights function at 2021-03-05"]


def test_note_of_a_bar_inside_of_a_day_shows_its_time():
    at_four = pl.col("date").cast(pl.Datetime("us")) + pl.duration(hours=16)
    with pytest.raises(UnknownNameError) as caught:
        bl.run_backtest(frame().with_columns(at_four), lambda bar: bar.scor)
    assert caught.value.__notes__ == ["in the weights function at 2021-03-04 16:00:00"]


def test_errors_about_what_a_callback_said_need_no_note():
    with pytest.raises(WeightsError) as caught:
        bl.run_backtest(frame(), lambda bar: {"ABD": 0.5})
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("form", ["column", "frame", "mapping", "array"])
def test_gross_may_exceed_its_limit_by_rounding_only(form: str):
    def run(gross: float) -> bl.BacktestResult:
        pair = [gross - 0.5, 0.5]
        df = weights_column(*pair)
        weights = {
            "column": "w",
            "frame": weights_frame(date=DAYS[:1] * 2, weight=pair),
            "mapping": lambda bar: {"ABC": pair[0], "XYZ": pair[1]},
            "array": lambda bar: np.array(pair),
        }[form]
        return bl.run_backtest(df, weights, schedule=DAYS[:1])

    assert run(1.0 + 5e-10).fills.height == 2
    with pytest.raises(WeightsError, match=r"sum to 1\.000000002, above max_gross=1\."):
        run(1.0 + 2e-9)


# --- functions and parameters ---------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "kind"),
    [({"ABC": 0.5}, "dict"), (np.zeros(2), "ndarray"), (pl.Series([1.0]), "Series")],
    ids=["dict", "array", "series"],
)
def test_factory_that_returns_weights_of_one_bar(made: Any, kind: str):
    text = refused(WeightsError, frame(), lambda: made)
    assert text == (
        "a weights function whose first parameter is not named 'bar' is called once "
        "and must return a column name, a polars expression or a frame, got "
        f"{kind}.\n{NAMED_BAR}"
    )


def test_factory_that_returns_nothing():
    assert refused(WeightsError, frame(), lambda: None) == (
        "a weights function whose first parameter is not named 'bar' is called once "
        "and must return a column name, a polars expression or a frame, got "
        f"NoneType.\n{NAMED_BAR}"
    )


@pytest.mark.parametrize(
    ("weights", "kind"),
    [(5, "int"), (None, "NoneType"), ({"ABC": 0.5}, "dict"), (["w"], "list")],
)
def test_weights_of_no_known_form(weights: Any, kind: str):
    assert refused(WeightsError, frame(), weights) == (
        "weights_fn must be a column name, a polars expression, a frame of "
        f"(timestamp, asset, weight), or a function, got {kind}."
    )


def test_compiled_callback():
    # What numba.njit returns unless NUMBA_DISABLE_JIT is set.
    compiled = CPUDispatcher(lambda bar: None)
    assert refused(WeightsError, frame(), compiled) == (
        "a compiled weights function must be f(bar, params, weights_out) and return "
        "True or False; '<lambda>' takes (bar).\n"
        "Hint: parameters stand in params, as params.lookback, and weights are written "
        "to weights_out."
    )


def test_misspelt_parameter_names_the_nearest():
    calls = []

    def weights(bar: bl.Bar, lookback: int = 20) -> None:
        calls.append(bar.t)

    assert refused(WeightsError, frame(), weights, params={"lookbak": 5}) == (
        "params do not fit the weights function: it takes 'lookback', given are "
        "'lookbak' (got an unexpected keyword argument 'lookbak'). "
        "Did you mean 'lookback'?"
    )
    assert calls == []


def test_parameter_that_is_missing():
    recorder = Recorder()

    def weights(bar: bl.Bar, lookback: int) -> None:
        recorder(bar)

    assert refused(WeightsError, frame(), weights) == (
        "params do not fit the weights function: it takes 'lookback', given are none "
        "(missing a required argument: 'lookback')."
    )
    assert recorder.calls == []


def test_parameter_of_a_callback_that_takes_none():
    recorder = Recorder()

    def weights(bar: bl.Bar) -> None:
        recorder(bar)

    assert refused(WeightsError, frame(), weights, params={"n": 3}) == (
        "params do not fit the weights function: it takes none, given are 'n' "
        "(got an unexpected keyword argument 'n')."
    )
    assert recorder.calls == []


@pytest.mark.parametrize("params", [None, {}, {"n": 3}])
def test_callback_that_does_not_name_its_first_parameter_bar(params: Any):
    calls = []

    def weights(data: Any, n: int = 3) -> None:
        calls.append(data)

    given = "'n'" if params else "none"
    assert refused(WeightsError, frame(), weights, params=params) == (
        f"params do not fit the weights function: it takes 'data', 'n', given are "
        f"{given} (missing a required argument: 'data').\n{NAMED_BAR}"
    )
    assert calls == []


def test_parameters_of_weights_that_take_none():
    assert refused(WeightsError, frame(), "score", params={"n": 3, "m": 1}) == (
        "params ('n', 'm') have no effect on weights of type str.\n"
        "Hint: pass a function of these parameters that returns the weights."
    )


def test_parameters_that_are_no_mapping():
    with pytest.raises(BarloopError, match="params"):
        bl.run_backtest(frame(), Recorder(), params=3)


# --- settings, schedule, context, window ----------------------------------------------

MAY_NOT_RUN: dict[str, tuple[dict[str, Any], type[BarloopError], str]] = {
    "config of another type": (
        {"config": {"initial_cash": 1e5}},
        ConfigError,
        "config must be a BacktestConfig, got dict.",
    ),
    "value out of range": (
        {"initial_cash": -1.0},
        ConfigError,
        "initial_cash must be greater than 0, got -1.0.",
    ),
    "group of another type": (
        {"commission": 10},
        ConfigError,
        "commission must be of type Commission, got 10.\n"
        "Hint: use commission=Commission(...).",
    ),
    "scheduled timestamp that is no bar": (
        {"schedule": ["2021-03-04", "2021-03-06"]},
        ConfigError,
        "schedule lists a timestamp that is no bar: no bar at 2021-03-06; the nearest "
        "are 2021-03-05 and 2021-03-08.",
    ),
    "schedule of a number that is not Boolean": (
        {"schedule": pl.col("date").dt.day()},
        ConfigError,
        "the expression of the schedule must give Boolean, got Int8.",
    ),
    "schedule of one value": (
        {"schedule": (pl.col("date") == DAYS[0]).any()},
        ConfigError,
        "the expression of the schedule must give one value per bar: 3, got 1.",
    ),
    "schedule with nulls": (
        {
            "schedule": pl.col("vix") > 1,
            "context": pl.DataFrame({"date": DAYS[:1], "vix": [1.0]}),
        },
        ConfigError,
        "the expression of the schedule must not be null: 2 of 3 bars are, first at "
        "2021-03-05.\nHint: add .fill_null(False).",
    ),
    "context of one column": (
        {"context": pl.DataFrame({"date": DAYS})},
        SchemaError,
        "the context has no column besides 'date'.\n"
        "Hint: add the columns that bar.context is to have.",
    ),
    "context without rows": (
        {"context": pl.DataFrame({"date": DAYS, "vix": [1.0] * 3}).clear()},
        SchemaError,
        "the context has no rows.\n"
        "Hint: a filter may have removed them all; without values, leave context out.",
    ),
    "context of text times": (
        {"context": pl.DataFrame({"date": ["2021-03-04"], "vix": [1.0]})},
        SchemaError,
        "context column 'date' must be Date, Datetime or an integer, got String.\n"
        "Hint: parse it, e.g. df.with_columns(pl.col('date').str.to_date()).",
    ),
    "context of text": (
        {"context": pl.DataFrame({"date": DAYS, "regime": ["bull"] * 3})},
        SchemaError,
        "context column 'regime' must be numeric or Boolean, got String.\n"
        "Hint: drop it with context.drop('regime'), or cast it.",
    ),
    "context with a timestamp twice": (
        {"context": pl.DataFrame({"date": [*DAYS, DAYS[1]], "vix": [1.0] * 4})},
        SchemaError,
        "context timestamps must be unique: 1 row repeats an earlier one, first at "
        "2021-03-05.\nHint: keep one row per timestamp; per-asset columns belong into "
        "the panel's frame.",
    ),
    "context with a null timestamp": (
        {"context": pl.DataFrame({"date": [DAYS[0], None], "vix": [1.0] * 2})},
        SchemaError,
        "context column 'date' must not be null: 1 row is, first row 1.\n"
        "Hint: drop these rows.",
    ),
    "context of integer times": (
        {"context": pl.DataFrame({"date": [1, 2], "vix": [1.0] * 2})},
        SchemaError,
        "the context has times of dtype Int64, the bars have Date.\n"
        "Hint: give both as dates or both as integers.",
    ),
    "start after end": (
        {"start": "2021-03-08", "end": "2021-03-04"},
        PanelError,
        f"start=2021-03-08 lies after end=2021-03-04; {RUNS}",
    ),
    "start after end between two bars": (
        {"start": dt.date(2021, 3, 7), "end": dt.date(2021, 3, 6)},
        PanelError,
        f"start=2021-03-07 lies after end=2021-03-06; {RUNS}",
    ),
    "window between two bars": (
        {"start": "2021-03-06", "end": "2021-03-07"},
        PanelError,
        f"no bar lies between start=2021-03-06 and end=2021-03-07; {RUNS}",
    ),
    "window between two bars in other types": (
        {"start": dt.datetime(2021, 3, 5, 10), "end": np.datetime64("2021-03-07")},
        PanelError,
        f"no bar lies between start=2021-03-05 10:00:00 and end=2021-03-07; {RUNS}",
    ),
    "options that say nothing together": (
        {"limits": bl.Limits(maintenance=0.25)},
        ConfigError,
        "limits.maintenance=0.25 has no meaning without shorts or borrowing.\n"
        "Hint: set allow_short, max_borrowing or max_gross.",
    ),
    "costs of some assets only": (
        {"commission": bl.Commission(per_share={"ABC": 0.01})},
        ConfigError,
        "commission.per_share must name every asset of the data: 1 of 2 is missing, "
        'first "XYZ".\nHint: add it, 0 is a number too.',
    ),
    "costs in a column that is not there": (
        {"slippage": bl.Slippage(half_spread=("bid", "ask"))},
        ConfigError,
        f"slippage.half_spread names the column 'bid', and the data has {COLUMNS}.",
    ),
    "costs in a column of text": (
        {"commission": bl.Commission(bps="sector")},
        ConfigError,
        "commission.bps names the column 'sector', which must be numeric, got String.\n"
        "Hint: cast it, e.g. pl.col('sector').cast(pl.Float64).",
    ),
    "costs in a column above their bound": (
        {"slippage": bl.Slippage(half_spread="score"), "start": DAYS[1]},
        ConfigError,
        "slippage.half_spread='score' needs at least 0 and less than 1 on every bar "
        'of the run: 4 have none, first at 2021-03-05, asset "ABC", score 3.0.\n'
        "Hint: fill 'score' in these rows.",
    ),
    "average true range in a column that is not there": (
        {"exits": bl.Exits(atr_stop=(2.0, "scores"))},
        ConfigError,
        f"exits.atr_stop names the column 'scores', and the data has {COLUMNS}. "
        "Did you mean 'score'?",
    ),
    "actions that are no frame": (
        {"actions": {"split": 2.0}},
        SchemaError,
        "a frame is needed, got dict.\n"
        "Hint: accepted are a polars DataFrame or LazyFrame, a pandas DataFrame, a "
        "pyarrow Table, and any object with __arrow_c_stream__.",
    ),
    "actions without a kind": (
        {"actions": weights_frame()},
        SchemaError,
        "an actions frame needs the columns 'date' and 'symbol' of the data, 'kind' "
        "and 'value'; it has 'date', 'symbol', 'weight'.",
    ),
    "actions of an unknown asset": (
        {"actions": actions_frame(symbol="ABD")},
        SchemaError,
        "'symbol' of the actions must be an asset of the data: 1 row is not, first at "
        '2021-03-05, asset "ABD", split 2.0.\n'
        "Hint: drop these rows, e.g. filter by .is_in(df['symbol'].implode()).",
    ),
    "actions of an unknown kind": (
        {"actions": actions_frame(kind="spilt")},
        SchemaError,
        "'kind' of the actions must be one of 'split', 'dividend', 'delisting', "
        "'deposit', 'withdrawal': 1 row is not, first at 2021-03-05, asset \"ABC\", "
        "spilt 2.0.\nHint: Did you mean 'split'?",
    ),
    "split of a negative ratio": (
        {"actions": actions_frame(value=-2.0)},
        SchemaError,
        "'value' of a split must be a ratio above 0, new units for one: 1 row is not, "
        'first at 2021-03-05, asset "ABC", split -2.0.\n'
        "Hint: drop or correct these rows.",
    ),
    "misspelt keep": (
        {"keep": "ful"},
        ConfigError,
        "keep must be one of 'metrics', 'equity', 'full', got 'ful'. "
        "Did you mean 'full'?",
    ),
}


@pytest.mark.parametrize("case", MAY_NOT_RUN)
def test_setting_is_refused_before_anything_runs(case: str):
    settings, error, text = MAY_NOT_RUN[case]
    recorder = Recorder()
    assert refused(error, frame(), recorder, **settings) == text
    assert recorder.calls == []


@pytest.mark.parametrize(
    ("setting", "settings", "missing"),
    [
        ("exits.stop_loss", {"exits": bl.Exits(stop_loss=0.1)}, ["high", "low"]),
        ("exits.take_profit", {"exits": bl.Exits(take_profit=0.1)}, ["low"]),
        ("exits.trailing_stop", {"exits": bl.Exits(trailing_stop=0.1)}, ["high"]),
        (
            "limits.max_participation",
            {"limits": bl.Limits(max_participation=0.1)},
            ["volume"],
        ),
        (
            "slippage.volume_impact",
            {"slippage": bl.Slippage(volume_impact=0.1)},
            ["volume"],
        ),
    ],
)
def test_setting_without_its_columns_is_refused_before_anything_runs(
    setting: str, settings: dict[str, Any], missing: list[str]
):
    recorder = Recorder()
    text = refused(ConfigError, frame().drop(missing), recorder, **settings)
    some = "columns" if len(missing) > 1 else "a column"
    them = "them" if len(missing) > 1 else "it"
    assert text == (
        f"{setting} needs {some} {' and '.join(map(repr, missing))}, and the data has "
        f"none.\nHint: add {them}, or leave {setting.split('.')[1]} out."
    )
    assert recorder.calls == []


@pytest.mark.parametrize("form", ["column", "frame"])
def test_gross_counts_no_more_than_max_weight_of_each(form: str):
    df = weights_column(0.9, 0.4)
    weights: Any = "w"
    if form == "frame":
        weights = weights_frame(date=DAYS[:1] * 2, weight=[0.9, 0.4])

    def run(**limits: Any) -> bl.BacktestResult:
        days = DAYS[:1]
        return bl.run_backtest(df, weights, schedule=days, limits=bl.Limits(**limits))

    run(max_weight=0.6)
    run(on_excess="scale")
    with pytest.raises(WeightsError) as caught:
        run(max_weight=0.7)
    assert str(caught.value) == (
        "the absolute weights at 2021-03-04, each at most max_weight=0.7, sum to 1.1, "
        f"above max_gross=1.\n{SCALE}"
    )


def test_misspelt_setting_names_the_nearest():
    recorder = Recorder()
    text = refused(ConfigError, frame(), recorder, inital_cash=1e5)
    assert text.split("\n")[0] == (
        "unknown setting 'inital_cash'. Did you mean 'initial_cash'?"
    )
    assert recorder.calls == []


def test_misspelt_schedule_names_the_nearest():
    text = refused(ConfigError, frame(), Recorder(), schedule="monthend")
    assert text.startswith("schedule must be one of 'every_bar', ")
    assert text.endswith(", got 'monthend'. Did you mean 'month_end'?")


def test_schedule_of_a_column_that_is_not_there():
    text = refused(ConfigError, frame(), Recorder(), schedule=pl.col("vix") > 20)
    assert text.startswith("the expression of the schedule failed: ")
    assert text.endswith("Hint: it sees the columns 'date'.")


def test_schedule_of_periods_for_integer_times():
    df = frame().with_columns(pl.col("date").to_physical())
    text = refused(ConfigError, df, Recorder(), schedule="month_end", bars_per_year=252)
    assert text == (
        "schedule 'month_end' needs dates, the times are Int32.\n"
        'Hint: use "every_bar", a number of bars, or a list of timestamps.'
    )


def test_context_without_a_time_column():
    context = pl.DataFrame({"vix": [1.0]})
    text = refused(SchemaError, frame(), Recorder(), context=context)
    assert text == (
        "the context needs the time column 'date' of the data; it has the columns "
        "'vix'.\nHint: give its time column this name."
    )


def test_context_with_two_time_columns():
    context = pl.DataFrame({"time": DAYS, "timestamp": DAYS, "vix": [1.0] * 3})
    assert refused(SchemaError, frame(), Recorder(), context=context) == (
        "the context needs the time column 'date' of the data; it has the columns "
        "'time', 'timestamp', 'vix'.\nHint: give its time column this name."
    )


def test_context_later_than_nanoseconds_reach():
    df = frame().with_columns(pl.col("date").cast(pl.Datetime("ns")))
    context = pl.DataFrame({"date": [DAYS[0], dt.date(9999, 12, 31)], "vix": [1.0] * 2})
    assert refused(SchemaError, df, Recorder(), context=context).startswith(
        "context times must be Datetime(time_unit='ns', time_zone=None) like the bars: "
        "1 row cannot be, first at 9999-12-31.\n"
    )


def test_context_of_dates_for_bars_inside_of_days():
    at_four = pl.col("date").cast(pl.Datetime("us")) + pl.duration(hours=16)
    context = pl.DataFrame({"date": DAYS, "vix": [1.0] * 3})
    text = refused(
        SchemaError, frame().with_columns(at_four), Recorder(), context=context
    )
    assert text == (
        "context times are dates, but the bars have times of day, first 2021-03-04 "
        "16:00:00: a date does not say when its value is known.\n"
        "Hint: give the context the Datetime at which each value is known, e.g. "
        "pl.col('date').cast(pl.Datetime(\"us\")) + pl.duration(hours=16)."
    )


def test_unknown_join_of_a_context():
    with pytest.raises(ConfigError) as caught:
        bl.Context(pl.DataFrame({"date": DAYS, "vix": [1.0] * 3}), join="backward")
    assert str(caught.value) == (
        "context.join must be one of 'exact', 'asof', got 'backward'."
    )


@pytest.mark.parametrize("name", ["start", "end"])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            "March",
            'cannot read the time "March".\n'
            'Hint: write it as "2020-01-31" or "2020-01-31 16:00".',
        ),
        (20210304, "a date, datetime or ISO text is needed, got 20210304."),
        (True, "a date, datetime or ISO text is needed, got True."),
        (pd.NaT, "a date, datetime or ISO text is needed, got NaT."),
        (
            dt.datetime(2021, 3, 4, tzinfo=dt.UTC),
            "2021-03-04 00:00:00+00:00 has a time zone, the bars have none.\n"
            "Hint: value.replace(tzinfo=None) takes it away.",
        ),
    ],
    ids=["text", "integer", "boolean", "NaT", "time zone"],
)
def test_start_and_end_that_are_no_times(name: str, value: Any, text: str):
    df = frame().with_columns(pl.col("date").cast(pl.Datetime("us")))
    recorder = Recorder()
    assert refused(SchemaError, df, recorder, **{name: value}) == f"{name}: {text}"
    assert recorder.calls == []


@pytest.mark.parametrize(
    ("name", "day", "where"),
    [
        ("start", dt.date(2022, 1, 1), "after the last bar"),
        ("end", dt.date(2020, 1, 1), "before the first bar"),
        ("start", dt.date.max, "after the last bar"),
        ("end", dt.date.min, "before the first bar"),
    ],
)
@pytest.mark.parametrize("dtype", [pl.Date, *map(pl.Datetime, ("ms", "us", "ns"))])
def test_window_outside_of_the_data(
    name: str, day: dt.date, where: str, dtype: pl.DataType
):
    df = frame().with_columns(pl.col("date").cast(dtype))
    for value in (day, day.isoformat(), np.datetime64(day)):
        text = refused(PanelError, df, Recorder(), **{name: value})
        sentence, runs = text.split("; ")
        assert sentence == f"{name}={day} lies {where}"
        assert runs.replace(" 00:00:00", "") == RUNS


# --- asking the result for what it does not have --------------------------------------


@pytest.mark.parametrize(
    ("keep", "name"),
    [
        ("metrics", "equity"),
        ("metrics", "returns"),
        ("metrics", "notices"),
        ("metrics", "fills"),
        ("equity", "fills"),
        ("equity", "orders"),
        ("equity", "positions"),
        ("equity", "weights"),
        ("equity", "rebalances"),
        ("equity", "next_orders"),
    ],
)
def test_frame_that_was_not_kept(keep: str, name: str):
    result = bl.run_backtest(frame(), lambda bar: {"ABC": 0.5}, keep=keep)
    with pytest.raises(SimulationError) as caught:
        getattr(result, name)
    named = "equity" if name == "returns" else name
    assert str(caught.value) == (
        f"result.{named} was not kept: the run had keep={keep!r}.\n"
        "Hint: run it with keep='full'."
    )


def test_explaining_what_is_not_there():
    result = bl.run_backtest(frame(), lambda bar: {"ABC": 0.5}, start=DAYS[1])
    with pytest.raises(PanelError) as caught:
        result.explain("ABD", DAYS[1])
    assert str(caught.value) == (
        "no asset is 'ABD'; the data has 2. Did you mean 'ABC'?"
    )
    with pytest.raises(PanelError) as caught:
        result.explain("ABC", "2021-03-06")
    assert str(caught.value) == (
        "no bar at 2021-03-06; the nearest are 2021-03-05 and 2021-03-08."
    )
    with pytest.raises(SimulationError) as caught:
        result.explain("ABC", DAYS[0])
    assert str(caught.value) == ("2021-03-04 is history: the run starts at 2021-03-05.")
