"""Panels: the same whatever the order of rows, without a copy where possible."""

from __future__ import annotations

import datetime as dt
import itertools

import numpy as np
import polars as pl
import pytest

from barloop import layout, threads
from barloop.errors import PanelError, SchemaError
from barloop.panel import Panel

FIELDS = ("open", "high", "low", "close", "volume")
DAYS = [dt.date(2021, 3, 4), dt.date(2021, 3, 5), dt.date(2021, 3, 8)]


def small() -> pl.DataFrame:
    """Three days, assets B and A; A is not there on the second day."""
    return pl.DataFrame(
        {
            "date": [DAYS[0], DAYS[0], DAYS[1], DAYS[2], DAYS[2]],
            "ticker": ["B", "A", "B", "A", "B"],
            "close": [20.0, 10.0, 21.0, 12.0, 22.0],
            "score": [5, None, 7, 8, 9],
            "flag": [True, False, None, True, True],
            "note": ["x"] * 5,
        }
    )


def random_frame(n_bars: int, n_assets: int, *, seed: int = 0) -> pl.DataFrame:
    """A sorted complete frame of seeded prices."""
    rng = np.random.default_rng(seed)
    n = n_bars * n_assets
    close = 50.0 + rng.random(n)
    start = dt.datetime(2020, 1, 1)
    times = pl.datetime_range(
        start, start + dt.timedelta(hours=n_bars - 1), "1h", eager=True
    )
    names = pl.Series([f"asset {i:04d}" for i in range(n_assets)])
    return pl.DataFrame(
        {
            "timestamp": times.gather(np.repeat(np.arange(n_bars), n_assets)),
            "symbol": names.gather(np.tile(np.arange(n_assets), n_bars)),
            "open": close + 0.1,
            "high": close + 0.2,
            "low": close - 0.2,
            "close": close,
            "volume": rng.random(n),
            "feature": rng.random(n),
        }
    )


def shuffled(df: pl.DataFrame, *, seed: int = 1, fraction: float = 1.0) -> pl.DataFrame:
    return df.sample(fraction=fraction, shuffle=True, seed=seed)


def same_bits(a: Panel, b: Panel) -> bool:
    arrays = [(getattr(a, name), getattr(b, name)) for name in FIELDS]
    return (
        all((x is None and y is None) or x.tobytes() == y.tobytes() for x, y in arrays)
        and a.timestamps.equals(b.timestamps, check_names=True)
        and a.assets.equals(b.assets, check_names=True)
    )


# --- cells ---------------------------------------------------------------------------


def test_rows_go_to_their_cells():
    panel = Panel.from_frame(small())
    assert panel.timestamps.to_list() == DAYS
    assert panel.assets.to_list() == ["A", "B"]
    assert (panel.timestamp_name, panel.asset_name) == ("date", "ticker")
    assert (panel.timestamps.name, panel.assets.name) == ("date", "ticker")
    np.testing.assert_array_equal(
        panel.close, [[10.0, 20.0], [np.nan, 21.0], [12.0, 22.0]]
    )
    assert (panel.open, panel.high, panel.low, panel.volume) == (None,) * 4
    assert not panel.is_view
    assert repr(panel) == "Panel(3 bars x 2 assets, 2021-03-04 to 2021-03-08)"


def test_shuffled_rows_give_the_same_bits():
    df = random_frame(60, 17)
    panel = Panel.from_frame(df)
    assert panel.is_view
    for seed in range(3):
        other = Panel.from_frame(shuffled(df, seed=seed))
        assert not other.is_view
        assert same_bits(other, panel)
    assert same_bits(Panel.from_frame(df.sort("symbol", "timestamp")), panel)
    assert same_bits(Panel.from_frame(df.reverse()), panel)


def test_shuffled_ragged_rows_give_the_same_bits():
    df = shuffled(random_frame(60, 17), fraction=0.8).sort("timestamp", "symbol")
    assert same_bits(Panel.from_frame(shuffled(df)), Panel.from_frame(df))


def test_every_order_of_a_small_frame():
    df = small()
    panel = Panel.from_frame(df)
    for order in itertools.permutations(range(df.height)):
        assert same_bits(Panel.from_frame(df[list(order)]), panel)


def test_order_of_columns_does_not_matter():
    df = random_frame(5, 4)
    assert same_bits(Panel.from_frame(df[df.columns[::-1]]), Panel.from_frame(df))


def test_many_chunks_give_the_same_bits():
    df = random_frame(40, 5)
    parts = [df.slice(start, 37) for start in range(0, df.height, 37)]
    chunked = pl.concat(parts, rechunk=False)
    assert chunked.n_chunks() > 1
    assert same_bits(Panel.from_frame(chunked), Panel.from_frame(df))
    assert chunked.n_chunks() > 1


def test_more_timestamps_than_the_first_hash_table_holds():
    # 4,096 keys fill the first table: 20,000 make it grow, twice.
    df = random_frame(20_000, 2)
    assert same_bits(Panel.from_frame(shuffled(df)), Panel.from_frame(df))


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch):
    df = random_frame(300, 11)
    odd = df.with_columns(close=pl.col("close") + 5 * (pl.col("feature") > 0.9))
    one = [Panel.from_frame(odd), Panel.from_frame(shuffled(odd))]
    monkeypatch.setattr(threads, "PARALLEL_FROM", 10)
    monkeypatch.setattr(threads, "N_THREADS", 4)
    four = [Panel.from_frame(odd), Panel.from_frame(shuffled(odd))]
    for a, b in zip(one, four, strict=True):
        assert same_bits(a, b)
        assert a.notices == b.notices
        assert a.notices[0].count > 0
    assert four[0].is_view


def test_one_asset():
    df = random_frame(50, 1)
    panel = Panel.from_frame(df)
    assert panel.is_view
    assert panel.close.shape == (50, 1)
    assert same_bits(Panel.from_frame(shuffled(df)), panel)


def test_one_row():
    panel = Panel.from_frame(small().head(1))
    assert panel.is_view
    assert panel.close.tolist() == [[20.0]]


def test_hash_collisions_are_found_and_survived(monkeypatch: pytest.MonkeyPatch):
    df = shuffled(random_frame(10, 6))
    expected = Panel.from_frame(df)
    monkeypatch.setattr(
        pl.Series, "hash", lambda s: s.str.len_chars().cast(pl.UInt64) // 100
    )
    assert same_bits(Panel.from_frame(df), expected)
    codes = expected.asset_codes(pl.Series(["asset 0003", "none", "asset 0000"]))
    assert codes.tolist() == [3, -1, 0]


@pytest.mark.parametrize(
    "break_it",
    [
        lambda df: df.with_columns(pl.col("timestamp").reverse()),
        # The number of rows fits, the assets of the second bar do not.
        lambda df: df.with_columns(
            symbol=pl.when(pl.int_range(pl.len()) == 4)
            .then(pl.lit("asset 0009"))
            .otherwise("symbol")
        ),
        lambda df: df.head(11),
        lambda df: df[[1, 0, 2, 3, *range(4, 12)]],
        lambda df: df[[*range(8), 9, 8, 10, 11]],
        lambda df: df[[0, 1, 2, 4, 3, *range(5, 12)]],
    ],
    ids=["times", "one asset", "one row less", "first bar", "last bar", "two bars"],
)
def test_frames_that_only_look_sorted_and_complete(break_it):
    df = break_it(random_frame(3, 4))
    panel = Panel.from_frame(df)
    assert not panel.is_view
    for row in df.iter_rows(named=True):
        t, i = panel.bar_of(row["timestamp"]), panel.asset_index[row["symbol"]]
        assert panel.close[t, i] == row["close"]
    assert np.count_nonzero(~np.isnan(panel.close)) == df.height


# --- memory --------------------------------------------------------------------------


def test_sorted_complete_frame_is_not_copied():
    df = random_frame(30, 7)
    panel = Panel.from_frame(df)
    for name in FIELDS:
        assert np.shares_memory(getattr(panel, name), df[name].to_numpy())
    assert np.shares_memory(panel.feature("feature"), df["feature"].to_numpy())


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_panels_are_read_only_c_order_float64(order: str):
    df = random_frame(30, 7).with_columns(pl.col("volume").cast(pl.Int64))
    panel = Panel.from_frame(df if order == "sorted" else shuffled(df))
    for array in (
        *(getattr(panel, name) for name in FIELDS),
        panel.feature("feature"),
        panel.truncate(3).close,
        panel.sorted_column(panel.sorted_frame()["feature"]),
    ):
        assert array.dtype == np.float64
        assert array.flags.c_contiguous
        assert not array.flags.writeable


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_input_is_not_modified(order: str):
    df = random_frame(30, 7)
    df = df if order == "sorted" else shuffled(df)
    before = df.clone()
    panel = Panel.from_frame(df)
    panel.sorted_frame()
    panel.feature("feature")
    assert df.equals(before)
    assert df.columns == before.columns


# --- dtypes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype",
    [
        pl.Date,
        pl.Datetime("ms"),
        pl.Datetime("us"),
        pl.Datetime("ns"),
        pl.Datetime("us", "America/New_York"),
        pl.Int8,
        pl.Int64,
        pl.UInt16,
        pl.UInt64,
    ],
)
@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_dtype_of_times_comes_back(dtype: pl.DataType, order: str):
    values = (
        pl.Series("when", [10, 20, 30], dtype=dtype)
        if dtype.is_integer()
        else pl.Series("when", DAYS, dtype=pl.Date).cast(dtype)
    )
    df = pl.DataFrame(
        {
            "when": values.gather([0, 0, 1, 1, 2, 2]),
            "asset": ["A", "B"] * 3,
            "close": [1.0, 2, 3, 4, 5, 6],
        }
    )
    panel = Panel.from_frame(
        df if order == "sorted" else df.reverse(), timestamp="when"
    )
    assert panel.is_view == (order == "sorted")
    assert panel.timestamps.dtype == dtype
    assert panel.timestamps.equals(values, check_names=True)
    assert panel.close.tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert panel.timestamp_codes(values.reverse()).tolist() == [2, 1, 0]
    assert panel.bar_of(panel.timestamp_at(1)) == 1


@pytest.mark.parametrize(
    ("dtype", "names"),
    [
        (pl.String, ["a", "b", "é"]),
        (pl.Categorical, ["a", "b", "c"]),
        (pl.Enum(["z", "b", "a"]), ["z", "b", "a"]),
        (pl.Int32, [-5, 3, 10]),
        (pl.UInt64, [1, 2, 2**64 - 1]),
    ],
)
@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_dtype_and_order_of_assets(dtype: pl.DataType, names: list, order: str):
    assets = pl.Series("id", names, dtype=dtype)
    if dtype == pl.Categorical:
        # Codes in another order than the text.
        pl.Series(["c", "b", "a"], dtype=dtype)
    df = pl.DataFrame(
        {
            "date": [DAYS[0]] * 3 + [DAYS[1]] * 3,
            "id": assets.gather([0, 1, 2, 0, 1, 2]),
            "close": [1.0, 2, 3, 4, 5, 6],
        }
    )
    panel = Panel.from_frame(df if order == "sorted" else df.reverse(), asset="id")
    assert panel.is_view == (order == "sorted")
    assert panel.assets.dtype == dtype
    assert panel.assets.name == "id"
    assert panel.assets.to_list() == names
    assert panel.close.tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert panel.asset_codes(assets.reverse()).tolist() == [2, 1, 0]
    assert panel.asset_codes([*names, "none"]).tolist() == [0, 1, 2, -1]


def test_enum_categories_that_do_not_occur_are_no_assets():
    df = small().with_columns(pl.col("ticker").cast(pl.Enum(["C", "B", "A"])))
    panel = Panel.from_frame(df)
    assert panel.assets.to_list() == ["B", "A"]


# --- features and columns ------------------------------------------------------------


def test_features_are_numeric_and_boolean_columns():
    panel = Panel.from_frame(small())
    assert panel.feature_names == ("score", "flag")
    np.testing.assert_array_equal(
        panel.feature("score"), [[np.nan, 5], [np.nan, 7], [8, 9]]
    )
    np.testing.assert_array_equal(
        panel.feature("flag"), [[0, 1], [np.nan, np.nan], [1, 1]]
    )
    assert panel.feature("score") is panel.feature("score")
    np.testing.assert_array_equal(panel.feature("close"), panel.close)


def test_unknown_feature():
    with pytest.raises(PanelError) as caught:
        Panel.from_frame(small()).feature("scor")
    assert str(caught.value) == (
        "no feature is named 'scor'; features are 'score', 'flag'. Did you mean "
        "'score'?"
    )


def test_text_feature():
    with pytest.raises(PanelError) as caught:
        Panel.from_frame(small()).feature("note")
    assert str(caught.value) == (
        "feature 'note' must be numeric or Boolean, got String.\n"
        "Hint: cast it, e.g. pl.col('note').cast(pl.Float64)."
    )


@pytest.mark.parametrize("fraction", [1.0, 0.7])
@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_columns_in_both_orders_of_rows(fraction: float, order: str):
    df = shuffled(random_frame(20, 6), fraction=fraction)
    if order == "sorted":
        df = df.sort("timestamp", "symbol")
    panel = Panel.from_frame(df)
    expected = panel.feature("feature")
    assert panel.column(df["feature"]).tobytes() == expected.tobytes()
    rows = panel.sorted_frame()
    assert rows.equals(df.sort("timestamp", "symbol"))
    assert panel.sorted_column(rows["feature"]).tobytes() == expected.tobytes()
    # Twice: what is kept between the calls changes nothing.
    assert panel.sorted_column(rows["feature"]).tobytes() == expected.tobytes()
    if order == "sorted":
        assert np.shares_memory(rows["close"].to_numpy(), df["close"].to_numpy())


def test_sorted_frame_keeps_rows_without_a_close():
    df = small().with_columns(close=pl.Series([20.0, None, 21.0, 12.0, 22.0]))
    panel = Panel.from_frame(df)
    assert panel.sorted_frame().height == 5
    np.testing.assert_array_equal(
        panel.sorted_column(panel.sorted_frame()["score"]), panel.feature("score")
    )


def test_column_of_another_length():
    panel = Panel.from_frame(small())
    with pytest.raises(PanelError) as caught:
        panel.column(pl.Series("w", [1.0, 2.0]))
    assert str(caught.value) == (
        "one value per row of the frame is needed: 5, got 2 in 'w'."
    )
    with pytest.raises(PanelError, match=r"per row of sorted_frame\(\) is needed: 5"):
        panel.sorted_column(pl.Series("w", [1.0, 2.0]))


# --- looking up ----------------------------------------------------------------------


def test_asset_codes():
    panel = Panel.from_frame(small())
    assert panel.asset_codes(["B", "Z", None, "A"]).tolist() == [1, -1, -1, 0]
    series = pl.Series("who", ["B", "Z", None, "A", "B"])
    for dtype in (pl.String, pl.Categorical, pl.Enum(["Z", "B", "A"])):
        codes = panel.asset_codes(series.cast(dtype))
        assert codes.dtype == np.int64
        assert codes.tolist() == [1, -1, -1, 0, 1]
    assert panel.asset_codes(pl.Series([], dtype=pl.String)).tolist() == []


def test_asset_codes_of_an_enum_panel_from_text():
    df = small().with_columns(pl.col("ticker").cast(pl.Enum(["C", "B", "A"])))
    codes = Panel.from_frame(df).asset_codes(pl.Series(["A", "C", "B", "D"]))
    assert codes.tolist() == [1, -1, 0, -1]


def test_asset_codes_of_integers():
    df = small().with_columns(ticker=pl.Series([2, 1, 2, 1, 2], dtype=pl.Int16))
    panel = Panel.from_frame(df)
    assert panel.asset_codes(pl.Series([2, 70_000, 1])).tolist() == [1, -1, 0]


def test_asset_codes_of_another_kind():
    with pytest.raises(PanelError) as caught:
        Panel.from_frame(small()).asset_codes(pl.Series("id", [1, 2]))
    assert str(caught.value) == (
        "'id' has assets of dtype Int64, the panel has String.\n"
        "Hint: cast one of them, e.g. pl.col('id').cast(pl.String)."
    )


def test_assets_as_python_values():
    panel = Panel.from_frame(small())
    assert panel.asset_values == ("A", "B")
    assert panel.asset_index == {"A": 0, "B": 1}
    assert panel.require_asset("B") == 1
    for unknown in ("C", 1, ["A"]):
        with pytest.raises(PanelError) as caught:
            panel.require_asset(unknown)
        assert str(caught.value) == f"no asset is {unknown!r}; the data has 2."


def test_names_and_rows_as_they_were_given():
    df = small().rename({"close": "Close"})
    panel = Panel.from_frame(df)
    assert panel.close_name == "Close"
    assert panel.frame is df


def test_timestamp_codes():
    panel = Panel.from_frame(small())
    dates = pl.Series("d", [DAYS[2], None, DAYS[0], dt.date(2021, 3, 6)])
    assert panel.timestamp_codes(dates).tolist() == [2, -1, 0, -1]
    times = pl.Series("d", [dt.datetime(2021, 3, 5), dt.datetime(2021, 3, 5, 16)])
    assert panel.timestamp_codes(times).tolist() == [1, -1]


def test_timestamp_codes_between_units_and_zones():
    df = random_frame(3, 2)
    panel = Panel.from_frame(df)
    times = panel.timestamps.reverse()
    for unit in ("ms", "ns"):
        assert panel.timestamp_codes(times.dt.cast_time_unit(unit)).tolist() == [
            2,
            1,
            0,
        ]
        # Nulls keep the unit: with a Python value in their place they would be "us".
        gap = times.dt.cast_time_unit(unit).shift(1)
        same_unit = Panel.from_frame(
            df.with_columns(pl.col("timestamp").cast(gap.dtype))
        )
        for one in (panel, same_unit):
            assert one.timestamp_codes(gap).tolist() == [-1, 2, 1]
    late = times.cast(pl.Datetime("ns")) + dt.timedelta(microseconds=1)
    assert panel.timestamp_codes(late).tolist() == [-1, -1, -1]
    zoned = Panel.from_frame(
        df.with_columns(pl.col("timestamp").dt.replace_time_zone("Asia/Tokyo"))
    )
    utc = zoned.timestamps.dt.convert_time_zone("UTC")
    assert zoned.timestamp_codes(utc).tolist() == [0, 1, 2]


def test_timestamp_codes_of_another_kind():
    panel = Panel.from_frame(small())
    with pytest.raises(SchemaError) as caught:
        panel.timestamp_codes(pl.Series("t", [1, 2]))
    assert str(caught.value) == (
        "'t' has times of dtype Int64, the bars have Date.\n"
        "Hint: give both as dates or both as integers."
    )
    with pytest.raises(SchemaError) as caught:
        panel.timestamp_codes(pl.Series("t", ["2021-03-04"]))
    assert str(caught.value) == (
        "time column 't' must be Date, Datetime or an integer, got String.\n"
        "Hint: parse it, e.g. df.with_columns(pl.col('t').str.to_date())."
    )


def test_timestamp_codes_with_and_without_a_zone():
    panel = Panel.from_frame(random_frame(3, 2))
    with pytest.raises(SchemaError) as caught:
        panel.timestamp_codes(panel.timestamps.dt.replace_time_zone("UTC"))
    assert str(caught.value) == (
        "'timestamp' has times of dtype Datetime(time_unit='us', time_zone='UTC'), the "
        "bars have Datetime(time_unit='us', time_zone=None).\n"
        "Hint: dt.replace_time_zone gives a time its zone, or takes it away."
    )


@pytest.mark.parametrize(
    "value",
    [
        dt.date(2021, 3, 5),
        dt.datetime(2021, 3, 5),
        "2021-03-05",
        "2021-03-05 00:00",
        np.datetime64("2021-03-05"),
    ],
)
def test_bar_of_a_date(value: object):
    assert Panel.from_frame(small()).bar_of(value) == 1


def test_bar_of_what_is_no_bar():
    panel = Panel.from_frame(small())
    with pytest.raises(PanelError) as caught:
        panel.bar_of("2021-03-06")
    assert str(caught.value) == (
        "no bar at 2021-03-06; the nearest are 2021-03-05 and 2021-03-08."
    )
    with pytest.raises(PanelError) as caught:
        panel.bar_of(dt.date(2020, 1, 1))
    assert str(caught.value) == "no bar at 2020-01-01; the nearest is 2021-03-04."
    with pytest.raises(PanelError, match="no bar at 2021-03-05 10:00:00; the nearest"):
        panel.bar_of("2021-03-05 10:00")


def test_bar_of_a_day_among_times_of_day():
    panel = Panel.from_frame(random_frame(30, 1))
    assert panel.bar_of("2020-01-01 05:00") == 5
    assert panel.bar_of(dt.datetime(2020, 1, 2, 1)) == 25
    with pytest.raises(PanelError) as caught:
        panel.bar_of("2020-01-02")
    assert str(caught.value) == (
        "6 bars lie on 2020-01-02, the first at 2020-01-02 00:00:00.\n"
        "Hint: give the time of day."
    )
    closes = random_frame(48, 1).filter(pl.col("timestamp").dt.hour() == 16)
    assert Panel.from_frame(closes).bar_of("2020-01-02") == 1


def test_bar_of_text_that_is_no_time():
    with pytest.raises(SchemaError) as caught:
        Panel.from_frame(small()).bar_of("March")
    assert str(caught.value) == (
        'cannot read the time "March".\n'
        'Hint: write it as "2020-01-31" or "2020-01-31 16:00".'
    )
    with pytest.raises(SchemaError, match="a date, datetime or ISO text is needed"):
        Panel.from_frame(small()).bar_of(5)


def test_bar_of_numbered_bars():
    panel = Panel.from_frame(small().with_columns(date=pl.Series([1, 1, 2, 4, 4])))
    assert panel.bar_of(4) == 2
    with pytest.raises(PanelError, match="no bar at 3; the nearest are 2 and 4"):
        panel.bar_of(3)
    with pytest.raises(SchemaError, match="the bars are numbered: give an integer"):
        panel.bar_of("2021-03-04")


def test_bar_of_a_time_in_another_zone():
    zoned = random_frame(30, 1).with_columns(
        pl.col("timestamp").dt.replace_time_zone("America/New_York")
    )
    panel = Panel.from_frame(zoned)
    assert panel.bar_of("2020-01-01 05:00") == 5
    assert panel.bar_of("2020-01-01T10:00:00+00:00") == 5
    with pytest.raises(SchemaError, match="has a time zone, the bars have none"):
        Panel.from_frame(random_frame(3, 1)).bar_of("2020-01-01T10:00:00+00:00")


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, (0, 3)),
        ("2021-03-05", None, (1, 3)),
        ("2021-03-06", "2021-03-07", (2, 2)),
        (None, dt.date(2021, 3, 7), (0, 2)),
        ("2021-03-05 10:00", None, (2, 3)),
        (None, "2021-03-05 10:00", (0, 2)),
        ("2022-01-01", "2021-01-01", (3, 3)),
    ],
)
def test_bar_range_of_dates(start: object, end: object, expected: tuple[int, int]):
    assert Panel.from_frame(small()).bar_range(start, end) == expected


@pytest.mark.parametrize("zone", [None, "America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_bar_range_to_the_ends_of_the_calendar(unit: str, zone: str | None):
    # Nanoseconds reach from 1677 to 2262, and no day follows the last of the calendar.
    times = pl.col("date").cast(pl.Datetime(unit)).dt.replace_time_zone(zone)
    panel = Panel.from_frame(small().with_columns(times))
    tz = None if zone is None else dt.UTC
    for low in (dt.date.min, "0001-01-01 00:00", dt.datetime.min.replace(tzinfo=tz)):
        assert panel.bar_range(low, None) == (0, 3)
        assert panel.bar_range(None, low) == (0, 0)
    for high in (dt.date.max, "9999-12-31 10:00", dt.datetime.max.replace(tzinfo=tz)):
        assert panel.bar_range(None, high) == (0, 3)
        assert panel.bar_range(high, None) == (3, 3)


def test_bar_range_of_numbers_beyond_their_dtype():
    numbers = pl.Series([1, 1, 2, 4, 4], dtype=pl.UInt8)
    panel = Panel.from_frame(small().with_columns(date=numbers))
    assert panel.bar_range(2, 3) == (1, 2)
    assert panel.bar_range(-1, 1_000) == (0, 3)
    assert panel.bar_range(1_000, 2**70) == (3, 3)
    assert panel.bar_range(None, -1) == (0, 0)


def test_bar_range_names_the_argument_that_is_no_time():
    panel = Panel.from_frame(small())
    for name in ("start", "end"):
        with pytest.raises(SchemaError) as caught:
            panel.bar_range(**{name: 5})
        assert str(caught.value) == (
            f"{name}: a date, datetime or ISO text is needed, got 5."
        )


def test_bar_range_includes_the_whole_last_day():
    panel = Panel.from_frame(random_frame(60, 1))
    assert panel.bar_range("2020-01-02", "2020-01-02") == (24, 48)
    assert panel.bar_range("2020-01-02 03:00", "2020-01-02 05:00") == (27, 30)


def test_values_for_messages():
    panel = Panel.from_frame(small())
    assert (panel.timestamp_at(2), panel.asset_at(0)) == (DAYS[2], "A")
    assert (panel.show_bar(2), panel.show_asset(0)) == ("2021-03-08", '"A"')


# --- the first bars ------------------------------------------------------------------


@pytest.mark.parametrize("order", ["sorted", "shuffled", "ragged", "ragged shuffled"])
def test_truncated_panel_is_a_prefix(order: str):
    df = random_frame(20, 6)
    if "ragged" in order:
        df = shuffled(df, fraction=0.8).sort("timestamp", "symbol")
    if "shuffled" in order:
        df = shuffled(df)
    panel = Panel.from_frame(df)
    short = panel.truncate(7)
    cut = df.filter(pl.col("timestamp") <= panel.timestamp_at(6))
    expected = Panel.from_frame(cut)
    assert same_bits(short, expected)
    assert np.shares_memory(short.close, panel.close)
    feature = short.feature("feature")
    assert feature.tobytes() == expected.feature("feature").tobytes()
    assert short.column(df["feature"]).tobytes() == feature.tobytes()
    assert short.sorted_frame().equals(expected.sorted_frame())
    values = short.sorted_frame()["feature"]
    assert short.sorted_column(values).tobytes() == feature.tobytes()
    panel.feature("feature")
    assert np.shares_memory(
        panel.truncate(7).feature("feature"), panel.feature("feature")
    )


def test_notices_of_the_first_bars():
    df = small().with_columns(close=pl.Series([20.0, None, None, 12.0, None]))
    panel = Panel.from_frame(df)
    assert [n.count for n in panel.notices] == [3]
    assert [n.count for n in panel.truncate(2).notices] == [2]
    late = small().with_columns(close=pl.Series([20.0, 10.0, 21.0, 12.0, None]))
    assert Panel.from_frame(late).truncate(2).notices == ()


def test_truncate_to_all_bars_is_the_panel_itself():
    panel = Panel.from_frame(small())
    assert panel.truncate(3) is panel


@pytest.mark.parametrize("n_bars", [0, 4, -1])
def test_truncate_out_of_range(n_bars: int):
    with pytest.raises(PanelError) as caught:
        Panel.from_frame(small()).truncate(n_bars)
    assert str(caught.value) == f"n_bars must be between 1 and 3, got {n_bars}."


# --- keys ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [
        np.arange(10_000),
        np.arange(10_000) * 86_400_000_000,
        np.arange(10_000) << 32,
        -np.arange(10_000),
        np.array([-(2**63), 2**63 - 1, 0, -1, 0, 2**63 - 1]),
        np.random.default_rng(3).integers(-(2**63), 2**63 - 1, 9_999),
        np.random.default_rng(4).integers(0, 50, 9_999),
    ],
)
def test_numbers_of_keys(keys: np.ndarray):
    keys = layout.frozen(keys.astype(np.int64))
    code, first = layout.number_keys(keys)
    np.testing.assert_array_equal(keys[first][code], keys)
    assert (np.diff(first) > 0).all()
    assert first.size == np.unique(keys).size
