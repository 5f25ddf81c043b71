"""Parcels: functions travel, arrays and frames are shared, the rest is refused."""

from __future__ import annotations

import datetime as dt
import pickle
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numba
import numpy as np
import polars as pl
import pytest

from barloop.errors import ConfigError, PanelError, SimulationError
from barloop.panel import Panel
from barloop.parcel import dumps, pack, read_parcel, write_parcel


@dataclass(frozen=True)
class Job:
    panel: Panel
    more: Any = None

    def start(self) -> Callable[..., Any]:
        return lambda number, assignment: number


def small_panel() -> Panel:
    df = pl.DataFrame(
        {
            "date": [dt.date(2024, 1, day) for day in (2, 2, 3, 3)],
            "symbol": ["A", "B"] * 2,
            "close": [10.0, 20.0, 11.0, 21.0],
            "score": [1, 2, 3, None],
        }
    )
    return Panel.from_frame(df)


Way = Callable[[Any], Any]


@pytest.fixture(params=["file", "message"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    def by_file(job: Any) -> Any:
        write_parcel(job, tmp_path)
        return read_parcel(tmp_path)

    def by_message(job: Any) -> Any:
        buffers: list[pickle.PickleBuffer] = []
        said = pickle.dumps(pack(job), protocol=5, buffer_callback=buffers.append)
        return pickle.loads(said, buffers=buffers).open()

    return by_file if request.param == "file" else by_message


def test_the_panel_arrives(way: Way) -> None:
    job = Job(small_panel())
    panel = way(job).panel
    assert np.array_equal(panel.close, job.panel.close)
    assert panel.frame.equals(job.panel.frame)
    assert not panel.close.flags.writeable


def test_a_panel_is_sent_once(way: Way) -> None:
    panel = small_panel()
    read = way(Job(panel, {"panel": panel, "frame": panel.frame}))
    assert read.more["panel"] is read.panel
    assert read.more["frame"] is read.panel.frame


def test_closures_lambdas_and_compiled_functions_travel(way: Way) -> None:
    scale = 3.0

    @numba.njit
    def compiled(x: float) -> float:
        return x * scale

    read = way(Job(small_panel(), [lambda x: x + scale, compiled]))
    plain, jitted = read.more
    assert plain(1.0) == 4.0
    assert jitted(2.0) == 6.0


def test_arrays_arrive_writeable_as_they_were(way: Way) -> None:
    scratch, table = np.zeros(100), np.arange(100.0)
    table.setflags(write=False)
    read = way(
        Job(small_panel(), (scratch, table, np.empty(0), table.reshape(4, 25).T))
    )
    scratch_there, table_there, empty, transposed = read.more
    scratch_there[3] = 1.0
    assert scratch[3] == 0.0
    assert not table_there.flags.writeable
    assert np.array_equal(table_there, table)
    assert empty.size == 0
    assert np.array_equal(transposed, table.reshape(4, 25).T)


def test_readers_do_not_see_what_others_write(tmp_path: Path) -> None:
    write_parcel(Job(small_panel(), np.zeros(10)), tmp_path)
    one, other = read_parcel(tmp_path), read_parcel(tmp_path)
    one.more[:] = 1.0
    assert not other.more.any()
    assert not read_parcel(tmp_path).more.any()


def test_frames_keep_dtypes(way: Way) -> None:
    frame = pl.DataFrame(
        {
            "name": pl.Series(["b", "a"], dtype=pl.Enum(["b", "a"])),
            "when": pl.Series([dt.datetime(2024, 1, 1)] * 2, dtype=pl.Datetime("ns")),
            "count": pl.Series([1, None], dtype=pl.Int128),
        }
    )
    read = way(Job(small_panel(), [frame, frame.clear(), frame.lazy()]))
    assert read.more[0].equals(frame)
    assert read.more[0].schema == frame.schema
    assert read.more[1].schema == frame.schema
    assert read.more[2].collect().equals(frame)


def test_large_parts_are_not_copied_into_the_pickle() -> None:
    table, panel = np.zeros(100_000), small_panel()
    parcel = pack(Job(panel, [table, pl.DataFrame({"x": table})]))
    assert len(parcel.pickle) < 20_000
    assert any(np.shares_memory(part, table.view(np.uint8)) for part in parcel.buffers)
    assert parcel.__sizeof__() > 2 * table.nbytes


@pytest.mark.parametrize("send", [pack, lambda job: dumps(job, "a set")])
def test_what_cannot_be_sent(send: Any) -> None:
    with pytest.raises(ConfigError, match=r"cannot pickle.*lock(.|\n)*Hint: .*threads"):
        send(Job(small_panel(), threading.Lock()))


def test_a_frame_of_python_objects_cannot_be_sent() -> None:
    objects = pl.DataFrame({"x": pl.Series([object()], dtype=pl.Object)})
    with pytest.raises(PanelError, match="'x' holds Python objects"):
        pack(Job(small_panel(), objects))


def test_versions_that_differ_are_refused() -> None:
    parcel = pack(Job(small_panel()))
    assert parcel.versions["polars"] == pl.__version__
    other = replace(parcel, versions={**parcel.versions, "numba": "0.1"})
    with pytest.raises(SimulationError, match=r"has numba \S+, this process has 0.1"):
        other.open()
