"""Panels in a folder and in a pickle: the same bits, and the file's own memory."""

from __future__ import annotations

import copy
import datetime as dt
import mmap
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from barloop.errors import PanelError
from barloop.panel import Panel
from barloop.panel_store import read_frame, read_panel, write_frame, write_panel

FIELDS = ("open", "high", "low", "close", "volume")
DAYS = [dt.date(2021, 3, day) for day in (4, 5, 8, 9)]
NAMES = ["A", "B", "C"]


def complete() -> pl.DataFrame:
    """Four days of three assets, sorted; a close outside of high and low."""
    rng = np.random.default_rng(1)
    middle = 50.0 + rng.random(12)
    close = middle + 5.0 * (np.arange(12) == 7)
    return pl.DataFrame(
        {
            "date": [day for day in DAYS for _ in NAMES],
            "symbol": NAMES * 4,
            "open": middle + 0.1,
            "high": middle + 1.0,
            "low": middle - 1.0,
            "close": close,
            "volume": rng.integers(1, 1000, 12),
            "score": rng.random(12),
            "n_analysts": rng.integers(0, 9, 12),
            "is_member": rng.random(12) < 0.5,
            "note": ["x"] * 12,
        }
    )


def kinds() -> dict[str, pl.DataFrame]:
    df = complete()
    day = pl.col("date")
    return {
        "complete": df,
        "shuffled": df.sample(fraction=1.0, shuffle=True, seed=3),
        "gaps": df.filter(pl.int_range(pl.len()) != 4),
        "gaps, shuffled": df.sample(9, shuffle=True, seed=4),
        "null close": df.with_columns(
            close=pl.when(day == DAYS[1]).then(None).otherwise("close")
        ),
        "Float32": df.with_columns(pl.col("close", "open").cast(pl.Float32)),
        "NaN payload": df.with_columns(score=pl.Series([odd_nan()] * 12)),
        "Enum": df.with_columns(pl.col("symbol").cast(pl.Enum(["C", "B", "A"]))),
        "Categorical": df.with_columns(pl.col("symbol").cast(pl.Categorical)),
        "integer assets": df.with_columns(symbol=pl.Series([7, 8, 9] * 4)),
        "zone": df.with_columns(
            day.cast(pl.Datetime("ns")).dt.replace_time_zone("America/New_York")
        ),
        "integer time": df.with_columns(date=pl.Series(np.repeat([1, 2, 5, 9], 3))),
        "128 bits": df.with_columns(pl.col("n_analysts").cast(pl.Int128)),
        "other dtypes": df.with_columns(
            pl.struct("note", "score").alias("both"),
            pl.concat_list("score", "open").alias("list"),
            pl.lit(None).alias("nothing"),
            pl.lit(dt.timedelta(1)).alias("age"),
            pl.col("open").cast(pl.Decimal(10, 2)).alias("money"),
        ),
        "in chunks": pl.concat([df.head(5), df.tail(7)], rechunk=False),
        "own names": df.rename({"date": "Session", "close": "CLOSE"}),
    }


def odd_nan() -> float:
    """A NaN with bits of its own."""
    return float(np.array([0x7FF8000000000123]).view(np.float64)[0])


Way = Callable[[Panel], Panel]


def by_pickle(panel: Panel) -> Panel:
    return pickle.loads(pickle.dumps(panel))


@pytest.fixture(params=["folder", "pickle"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    def by_folder(panel: Panel) -> Panel:
        write_panel(panel, tmp_path / "panel")
        return read_panel(tmp_path / "panel")

    return by_folder if request.param == "folder" else by_pickle


def assert_same_bits(one: np.ndarray, other: np.ndarray) -> None:
    assert one.shape == other.shape
    assert one.dtype == other.dtype
    assert np.array_equal(one.view(np.int64), other.view(np.int64))


def assert_same(read: Panel, panel: Panel) -> None:
    for name in ("n_bars", "n_assets", "timestamp_name", "asset_name", "close_name"):
        assert getattr(read, name) == getattr(panel, name)
    for name in ("timestamps", "assets", "all_timestamps"):
        one, other = getattr(read, name), getattr(panel, name)
        assert one.dtype == other.dtype
        assert one.name == other.name
        assert one.equals(other)
    for name in FIELDS:
        one, other = getattr(read, name), getattr(panel, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert_same_bits(one, other)
            assert type(one) is np.ndarray
            assert one.flags.c_contiguous
            assert one.flags.aligned
            assert not one.flags.writeable
    assert read.is_view == panel.is_view
    assert read.feature_names == panel.feature_names
    for name in panel.feature_names:
        assert_same_bits(read.feature(name), panel.feature(name))
        assert not read.feature(name).flags.writeable
    for one, other in (
        (read.frame, panel.frame),
        (read.sorted_frame(), panel.sorted_frame()),
    ):
        assert one.schema == other.schema
        assert one.equals(other)
    rows = pl.Series(np.arange(panel.frame.height) * 1.0)
    assert_same_bits(read.column(rows), panel.column(rows))
    rows = rows.head(panel.sorted_frame().height)
    assert_same_bits(read.sorted_column(rows), panel.sorted_column(rows))
    assert read.notices == panel.notices


@pytest.mark.parametrize("kind", list(kinds()))
def test_panel_comes_back_bit_for_bit(kind: str, way: Way) -> None:
    panel = Panel.from_frame(kinds()[kind])
    assert_same(way(panel), panel)


@pytest.mark.parametrize("kind", ["complete", "gaps, shuffled", "null close", "Enum"])
def test_truncated_panel_keeps_the_bars_that_were_cut_off(kind: str, way: Way) -> None:
    whole = Panel.from_frame(kinds()[kind])
    # Made before the cut, so that the part has a part of it.
    whole.feature("n_analysts")
    panel = whole.truncate(2)
    read = way(panel)
    assert_same(read, panel)
    later = whole.timestamps.tail(1)
    assert read.timestamp_codes(later).tolist() == [3]


def test_panel_that_was_read_can_go_on(way: Way) -> None:
    panel = Panel.from_frame(kinds()["gaps, shuffled"])
    assert_same(way(panel).truncate(3), panel.truncate(3))


def test_features_that_were_made_come_along(way: Way) -> None:
    panel = Panel.from_frame(complete())
    panel.feature("n_analysts")
    panel.feature("score")
    # A column of float64 is a view of the frame, and made again for nothing.
    assert set(way(panel)._features) == {"n_analysts"}


def test_notices_are_counted_once(way: Way) -> None:
    panel = Panel.from_frame(complete())
    assert [one.notice for one in panel.notices] == ["price_outside_range"]
    assert way(panel)._notices == panel.notices


def test_copies_of_a_panel_are_panels() -> None:
    panel = Panel.from_frame(kinds()["gaps"])
    assert_same(copy.copy(panel), panel)
    assert_same(copy.deepcopy(panel), panel)


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def is_in_a_file_of(folder: Path, array: np.ndarray) -> bool:
    """Tell whether a change of a file is a change of the array."""
    before = array.tobytes()
    for path in folder.iterdir():
        place = path.read_bytes().find(before)
        if place >= 0:
            with path.open("r+b") as file:
                for bits in (bytes(b ^ 255 for b in before), before):
                    file.seek(place)
                    file.write(bits)
                    file.flush()
                    if array.tobytes() != bits:
                        return False
            return True
    return False


@pytest.mark.parametrize("kind", ["complete", "shuffled", "null close", "in chunks"])
def test_arrays_are_the_memory_of_the_files(kind: str, tmp_path: Path) -> None:
    write_panel(Panel.from_frame(kinds()[kind]), tmp_path)
    read = read_panel(tmp_path)
    for name in FIELDS:
        assert is_in_a_file_of(tmp_path, getattr(read, name)), name
    assert is_in_a_file_of(tmp_path, read.frame["score"].to_numpy())
    assert is_in_a_file_of(tmp_path, read.feature("score")) == read.is_view


def test_files_may_go_while_the_panel_lives(tmp_path: Path) -> None:
    panel = Panel.from_frame(kinds()["gaps"])
    write_panel(panel, tmp_path / "panel")
    read = read_panel(tmp_path / "panel")
    for path in (tmp_path / "panel").iterdir():
        path.unlink()
    assert_same(read, panel)


def test_only_an_empty_folder_is_written_to(tmp_path: Path) -> None:
    panel = Panel.from_frame(complete())
    write_panel(panel, tmp_path)
    with pytest.raises(PanelError, match="is not empty"):
        write_panel(panel, tmp_path)


def test_a_folder_without_a_panel(tmp_path: Path) -> None:
    with pytest.raises(PanelError, match=r"holds no panel.\nHint: write_panel"):
        read_panel(tmp_path)


def test_a_panel_of_another_version(tmp_path: Path) -> None:
    write_panel(Panel.from_frame(complete()), tmp_path)
    path = tmp_path / "panel.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(PanelError, match=r"format 99, this is 1"):
        read_panel(tmp_path)


def test_python_objects_cannot_be_stored(tmp_path: Path) -> None:
    objects = pl.Series("orders", [object()] * 12, dtype=pl.Object)
    panel = Panel.from_frame(complete().with_columns(objects))
    with pytest.raises(PanelError, match=r"'orders' holds Python objects(.|\n)*drop"):
        write_panel(panel, tmp_path)


def test_a_frame_is_read_from_bytes_without_a_copy() -> None:
    # An anonymous map stands for the memory that ray shares between processes.
    shared = mmap.mmap(-1, 4096)
    write_frame(pl.DataFrame({"x": [1.0, 2.0]}), shared)
    memory = memoryview(shared)[: shared.tell()].toreadonly()
    x = read_frame(memory)["x"].to_numpy()
    start = address(np.frombuffer(memory, np.uint8))
    assert start <= address(x) < start + len(memory)
    assert x.tolist() == [1.0, 2.0]
