"""Frames at the door: conversions, names, and each refusal word for word."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from barloop.errors import PanelError, SchemaError
from barloop.panel import Panel
from barloop.schema import Columns, find_columns, to_frame

D1, D2, D3 = dt.date(2021, 3, 4), dt.date(2021, 3, 5), dt.date(2021, 3, 8)


def frame(**columns: object) -> pl.DataFrame:
    """Two bars of two assets, with columns replaced or, for None, dropped."""
    data: dict[str, object] = {
        "date": [D1, D1, D2, D2],
        "symbol": ["ABC", "XYZ", "ABC", "XYZ"],
        "open": [10.0, 20.0, 11.0, 21.0],
        "high": [12.0, 22.0, 13.0, 23.0],
        "low": [9.0, 19.0, 10.0, 20.0],
        "close": [11.0, 21.0, 12.0, 22.0],
        "volume": [100.0, 200.0, 300.0, 400.0],
    }
    data.update(columns)
    return pl.DataFrame({name: v for name, v in data.items() if v is not None})


def refusal(df: object, **names: str) -> str:
    with pytest.raises(SchemaError) as caught:
        Panel.from_frame(df, **names)
    return str(caught.value)


# --- conversions ---------------------------------------------------------------------


def test_polars_frame_is_taken_as_it_is():
    df = frame()
    assert to_frame(df) is df


def test_lazy_frame_is_collected():
    assert to_frame(frame().lazy()).equals(frame())


def test_million_row_lazy_frame():
    n = 1_000_000
    lazy = pl.LazyFrame({"t": pl.int_range(n, eager=True)}).select(
        timestamp=pl.col("t") // 1000,
        asset=pl.col("t") % 1000,
        close=pl.lit(1.0),
    )
    panel = Panel.from_frame(lazy)
    assert (panel.n_bars, panel.n_assets) == (1000, 1000)


def test_pandas_columns():
    assert to_frame(frame().to_pandas())["close"].to_list() == [11.0, 21.0, 12.0, 22.0]


def test_pandas_index_without_a_name_is_dropped():
    df = frame().to_pandas()
    df.index = [7, 8, 9, 10]
    assert to_frame(df).columns == frame().columns


def test_pandas_multi_index_becomes_columns():
    df = frame().to_pandas().set_index(["date", "symbol"])
    assert to_frame(df).columns == frame().columns
    assert list(df.index.names) == ["date", "symbol"]


def test_pandas_multi_index_without_names():
    index = pd.MultiIndex.from_product([pd.to_datetime([D1, D2]), ["ABC", "XYZ"]])
    df = pd.DataFrame({"close": [11.0, 21.0, 12.0, 22.0]}, index=index)
    assert to_frame(df).columns == ["timestamp", "asset", "close"]
    assert Panel.from_frame(df).close.tolist() == [[11.0, 21.0], [12.0, 22.0]]


def test_pandas_datetime_index_without_a_name():
    index = pd.DatetimeIndex([D1, D1, D2, D2])
    df = pd.DataFrame({"symbol": list("ABAB"), "close": [1.0, 2, 3, 4]}, index=index)
    assert to_frame(df).columns == ["timestamp", "symbol", "close"]


def test_pandas_named_index():
    df = frame().to_pandas().set_index("date")
    assert to_frame(df).columns[0] == "date"


def test_pandas_index_that_repeats_a_column_is_dropped():
    df = frame().to_pandas()
    df.index = pd.Index(df["date"], name="date")
    assert to_frame(df).columns == frame().columns


def test_pandas_column_levels_are_refused():
    df = pd.DataFrame([[1.0]], columns=pd.MultiIndex.from_tuples([("Close", "A")]))
    assert refusal(df) == (
        "the columns of the pandas frame have several levels, a long frame is needed.\n"
        "Hint: df.stack(level=...).reset_index() gives one row per timestamp and asset."
    )


def test_pandas_columns_that_polars_cannot_read():
    df = pd.DataFrame({"date": [D1], "asset": ["A"], "close": [1.0], "x": [object()]})
    assert refusal(df).startswith("cannot read a table from pandas.")


def test_pyarrow_table():
    table = pa.table({"date": [D1, D2], "asset": ["A", "A"], "close": [1.0, 2.0]})
    assert Panel.from_frame(table).close.tolist() == [[1.0], [2.0]]


def test_arrow_stream_object():
    class Stream:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return frame().__arrow_c_stream__(requested_schema)

    assert to_frame(Stream()).equals(frame())


def test_broken_arrow_stream_is_a_schema_error():
    class Stream:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            raise ValueError("gone")

    assert refusal(Stream()).startswith("cannot read a table from ")


def test_other_objects_are_refused():
    assert refusal({"close": [1.0]}) == (
        "a frame is needed, got dict.\n"
        "Hint: accepted are a polars DataFrame or LazyFrame, a pandas DataFrame, a "
        "pyarrow Table, and any object with __arrow_c_stream__."
    )


# --- columns by name -----------------------------------------------------------------


def test_usual_names_in_any_case():
    df = pl.DataFrame(
        schema=["Date", "Ticker", "Open", "High", "Low", "Close", "Volume"]
    )
    assert find_columns(df) == Columns(
        timestamp="Date",
        asset="Ticker",
        close="Close",
        open="Open",
        high="High",
        low="Low",
        volume="Volume",
    )


def test_given_names_win():
    df = pl.DataFrame(schema=["date", "when", "symbol", "who", "close"])
    columns = find_columns(df, timestamp="when", asset="who")
    assert (columns.timestamp, columns.asset) == ("when", "who")
    assert columns.named() == {"timestamp": "when", "asset": "who", "close": "close"}


def test_given_name_that_does_not_exist():
    assert refusal(frame(), timestamp="dat") == (
        "the timestamp column 'dat' does not exist; the columns are 'date', 'symbol', "
        "'open', 'high', 'low', 'close', 'volume'. Did you mean 'date'?"
    )


def test_no_time_column():
    df = pl.DataFrame(schema=["when", "symbol", "close"])
    assert refusal(df) == (
        "no timestamp column found; the columns are 'when', 'symbol', 'close'.\n"
        "Hint: rename it, or use Panel.from_frame(df, timestamp=...); found by "
        "themselves are timestamp, date, datetime, time, ts, trade_date, trading_day, "
        "session."
    )


def test_no_asset_column():
    df = pl.DataFrame(schema=["date", "who", "close"])
    assert refusal(df) == (
        "no asset column found; the columns are 'date', 'who', 'close'.\n"
        "Hint: rename it, or use Panel.from_frame(df, asset=...); found by themselves "
        "are asset, symbol, ticker, asset_id, instrument, security, security_id, "
        "permno, isin, cusip, figi, ric, sid."
    )


def test_many_columns_are_cut_short():
    df = pl.DataFrame(schema=["date", "symbol", *(f"x{k}" for k in range(1_020))])
    names = ", ".join(f"'x{k}'" for k in range(18))
    assert refusal(df).split("\n")[0] == (
        "no column is named close; the columns are 'date', 'symbol', "
        f"{names} and 1,002 more."
    )


def test_two_asset_columns():
    df = pl.DataFrame(schema=["date", "permno", "ticker", "close"])
    assert refusal(df) == (
        "more than one column could be the asset: 'permno', 'ticker'.\n"
        "Hint: say which one, Panel.from_frame(df, asset='permno'), or drop the others."
    )


def test_two_close_columns():
    df = pl.DataFrame(schema=["date", "symbol", "close", "Close"])
    assert refusal(df) == (
        "more than one column could be close: 'close', 'Close'.\n"
        "Hint: rename or drop all but one."
    )


def test_no_close():
    df = pl.DataFrame(schema=["date", "symbol", "Adj Close"])
    assert refusal(df) == (
        "no column is named close; the columns are 'date', 'symbol', 'Adj Close'.\n"
        'Hint: rename the column of prices, e.g. df.rename({"Adj Close": "close"}).'
    )


# --- keys ----------------------------------------------------------------------------


def test_empty_frame():
    assert refusal(frame().clear()) == (
        "the frame has no rows.\n"
        "Hint: a filter or a join may have removed them all; one row per timestamp and "
        "asset is needed."
    )


def test_text_times():
    df = frame(date=["2021-03-04", "2021-03-04", "2021-03-05", "2021-03-05"])
    assert refusal(df) == (
        "time column 'date' must be Date, Datetime or an integer, got String.\n"
        "Hint: parse it, e.g. df.with_columns(pl.col('date').str.to_date())."
    )


def test_float_times():
    assert refusal(frame(date=[1.0, 1.0, 2.0, 2.0])) == (
        "time column 'date' must be Date, Datetime or an integer, got Float64.\n"
        "Hint: cast it to pl.Date or pl.Datetime."
    )


def test_times_of_day():
    assert refusal(frame(date=[dt.time(9), dt.time(9), dt.time(10), dt.time(10)])) == (
        "time column 'date' must be Date, Datetime or an integer, got Time.\n"
        "Hint: a time of day names no bar; join it with the date."
    )


def test_boolean_assets():
    assert refusal(frame(symbol=[False, True, False, True])) == (
        "asset column 'symbol' must be String, Enum, Categorical or an integer, got "
        "Boolean.\nHint: cast it, e.g. "
        "df.with_columns(pl.col('symbol').cast(pl.String))."
    )


def test_null_times():
    assert refusal(frame(date=[D1, None, D2, None])) == (
        'date must not be null: 2 rows are, first row 1, symbol "XYZ".\n'
        "Hint: every row needs a timestamp and an asset; drop these rows."
    )


def test_null_assets():
    assert refusal(frame(symbol=["ABC", "XYZ", None, "XYZ"])) == (
        "symbol must not be null: 1 row is, first row 2, date 2021-03-05.\n"
        "Hint: every row needs a timestamp and an asset; drop these rows."
    )


def test_duplicates():
    df = pl.concat([frame(), frame().tail(1), frame().slice(1, 1), frame().tail(1)])
    assert refusal(df) == (
        "date and symbol must be unique together: 3 rows repeat an earlier one, first "
        'at 2021-03-04, asset "XYZ".\nHint: keep one row per bar and asset, e.g. '
        "df.unique(['date', 'symbol'], keep=..., maintain_order=True)."
    )


def test_one_duplicate_among_sorted_complete_rows():
    # Four rows, two bars: complete by count, but ABC stands twice on each bar's place.
    df = frame(symbol=["ABC", "ABC", "ABC", "XYZ"])
    assert refusal(df).startswith(
        "date and symbol must be unique together: 1 row repeats an earlier one, first "
        'at 2021-03-04, asset "ABC".'
    )


def test_duplicate_with_a_null_close_is_still_one():
    df = frame(symbol=["ABC", "ABC", "ABC", "XYZ"], close=[None, 21.0, 12.0, 22.0])
    assert "must be unique together" in refusal(df)


def test_nearly_empty_panel(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("barloop.layout.MAX_EMPTY_CELLS", 1000)
    n = 300
    df = pl.DataFrame({"ts": range(n), "asset": range(n), "close": [1.0] * n})
    with pytest.raises(PanelError) as caught:
        Panel.from_frame(df)
    assert str(caught.value) == (
        "the panel would be nearly empty: 300 timestamps x 300 assets for 300 rows.\n"
        "Hint: bring the assets onto common bars first, e.g. with "
        'pl.col("timestamp").dt.truncate("1m").'
    )


def test_too_many_rows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("barloop.layout.MAX_ROWS", 3)
    with pytest.raises(PanelError, match="a panel takes at most 3 rows, got 4"):
        Panel.from_frame(frame())


# --- prices --------------------------------------------------------------------------


def test_text_prices():
    assert refusal(frame(close=["11", "21", "12", "22"])) == (
        "close must be numeric, got String.\nHint: cast it, e.g. "
        "df.with_columns(pl.col('close').cast(pl.Float64))."
    )


def test_boolean_volume():
    assert refusal(frame(volume=[True] * 4)).startswith(
        "volume must be numeric, got Boolean."
    )


def test_zero_close():
    assert refusal(frame(close=[11.0, 0.0, 12.0, -1.0])) == (
        "close must be positive: 2 rows are not, first at 2021-03-04, asset "
        '"XYZ", value 0.0.\n'
        "Hint: drop these rows, or set close to null where the asset did not trade."
    )


def test_infinite_close():
    assert refusal(frame(close=[11.0, 21.0, np.inf, 22.0])) == (
        "close must be finite: 1 row is not, first at 2021-03-05, asset "
        '"ABC", value inf.\n'
        "Hint: drop these rows, or set close to null where the asset did not trade."
    )


def test_negative_infinite_close():
    assert refusal(frame(close=[11.0, -np.inf, 12.0, 22.0])).startswith(
        'close must be finite: 1 row is not, first at 2021-03-04, asset "XYZ", '
        "value -inf."
    )


@pytest.mark.parametrize("name", ["open", "high", "low"])
def test_negative_price(name: str):
    assert refusal(frame(**{name: [10.0, -20.0, 10.0, 20.0]})) == (
        f"{name} must be positive: 1 row is not, first at 2021-03-04, asset "
        f'"XYZ", value -20.0.\nHint: set {name} to null where it is not known.'
    )


@pytest.mark.parametrize("name", ["open", "high", "low", "volume"])
def test_infinite_price(name: str):
    assert refusal(frame(**{name: [10.0, 20.0, 10.0, np.inf]})) == (
        f"{name} must be finite: 1 row is not, first at 2021-03-05, asset "
        f'"XYZ", value inf.\nHint: set {name} to null where it is not known.'
    )


def test_high_below_low():
    df = frame(high=[12.0, 18.0, 9.0, 23.0])
    assert refusal(df.rename({"high": "High", "low": "Low"})) == (
        "High must be at least Low: 2 rows are not, first at 2021-03-04, asset "
        '"XYZ", High 18.0, Low 19.0.\n'
        "Hint: the two columns may be swapped; otherwise set both to null in these "
        "rows."
    )


def test_negative_volume():
    assert refusal(frame(volume=[100, 200, 300, -400])) == (
        "volume must be zero or positive: 1 row is not, first at 2021-03-05, asset "
        '"XYZ", value -400.0.\nHint: set volume to null where it is not known.'
    )


def test_no_close_at_all():
    assert refusal(frame(close=[None, None, np.nan, None])) == (
        "close has no value: every row is null or NaN.\n"
        "Hint: a bar is a row with a close."
    )


def test_integer_assets_and_times_in_a_message():
    df = pl.DataFrame({"ts": [1, 1, 2], "permno": [7, 9, 9], "close": [1.0, 1.0, 0.0]})
    assert refusal(df).startswith(
        "close must be positive: 1 row is not, first at 2, asset 9, value 0.0."
    )


def test_datetimes_in_a_message():
    times = [dt.datetime(2021, 3, 4, 9, 30), dt.datetime(2021, 3, 4, 9, 31)]
    df = pl.DataFrame({"ts": times, "asset": ["A", "A"], "close": [1.0, 0.0]})
    assert "first at 2021-03-04 09:31:00, asset" in refusal(df)


def test_first_offender_is_the_same_in_any_order_of_rows():
    df = frame(close=[11.0, -1.0, 12.0, -2.0])
    assert refusal(df.reverse()) == refusal(df)


def test_prices_of_a_row_without_a_close_are_not_looked_at():
    df = frame(
        close=[None, 21.0, 12.0, np.nan],
        open=[-1.0, 20.0, 11.0, np.inf],
        volume=[-1.0, 1.0, 1.0, -1.0],
        high=[1.0, 22.0, 13.0, 1.0],
    )
    assert Panel.from_frame(df).n_bars == 2


def test_null_open_high_low_and_volume_are_no_errors():
    df = frame(
        open=[None, 20.0, 11.0, 21.0],
        high=[12.0, np.nan, 13.0, 23.0],
        low=[9.0, 19.0, None, 20.0],
        volume=[None] * 4,
    )
    panel = Panel.from_frame(df)
    assert panel.notices == ()
    assert np.isnan(panel.volume).all()


def test_zero_volume_is_no_error():
    assert Panel.from_frame(frame(volume=[0, 0, 0, 0])).volume.sum() == 0


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (pl.Int32, [11, 21, 12, 22]),
        (pl.UInt64, [11, 21, 12, 22]),
        (pl.Float32, [11.5, 21.5, 12.5, 22.5]),
        (
            pl.Decimal(10, 2),
            [Decimal("11.25"), Decimal("21.5"), Decimal(12), Decimal(22)],
        ),
    ],
)
def test_other_numeric_prices_are_cast(dtype: pl.DataType, values: list[object]):
    df = frame(close=pl.Series(values, dtype=dtype))
    panel = Panel.from_frame(df)
    assert panel.close.dtype == np.float64
    assert panel.close.ravel().tolist() == [float(v) for v in values]


# --- what is only counted ------------------------------------------------------------


def test_close_outside_of_high_and_low_is_counted():
    panel = Panel.from_frame(frame(close=[11.0, 21.0, 14.0, 19.5]))
    (notice,) = panel.notices
    assert (notice.notice, notice.count) == ("price_outside_range", 2)
    assert (notice.bar, notice.asset) == (1, 0)
    assert notice.message == (
        "open or close lies outside of low and high in 2 rows, first at 2021-03-05, "
        'asset "ABC"; used as they are.'
    )


def test_null_close_is_counted():
    panel = Panel.from_frame(frame(close=[11.0, None, np.nan, 22.0]))
    (notice,) = panel.notices
    assert (notice.notice, notice.count) == ("null_close", 2)
    assert (notice.bar, notice.asset) == (0, 1)
    assert notice.message == (
        'close is null or NaN in 2 rows, first at 2021-03-04, asset "XYZ"; the asset '
        "has no bar there."
    )


def test_absent_rows_are_not_null_closes():
    df = frame(close=[11.0, 21.0, 12.0, None])[[3, 0, 2]]
    (notice,) = Panel.from_frame(df).notices
    assert (notice.count, notice.bar, notice.asset) == (1, 1, 1)
