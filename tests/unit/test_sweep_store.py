"""Finished sets on disk: no end of a process loses one, and none comes twice."""

from __future__ import annotations

import builtins
import errno
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from barloop import compaction, set_journal, set_parts, sweep_folder
from barloop.equity_file import EquityFile
from barloop.errors import ConfigError, SimulationError
from barloop.folder_lock import folder_lock
from barloop.sweep_store import Row, SetWriter, SweepStore

NAMES = ("sharpe", "cagr")
N_BARS = 5
IDENTITY = {"data": "d1", "function": "f1"}


def key(k):
    return f"{k * 2654435761 % 2**64:016x}{k:016x}"


def metrics(k):
    return np.array([k / 7.0, np.nan if k % 5 == 0 else -float(k)])


def equity(k, n_bars=N_BARS):
    return k + np.arange(float(n_bars)) / 3.0


def row(k, *, with_equity=False, n_bars=N_BARS):
    if k % 11 == 10:
        return Row(key(k), {"n": k}, np.full(2, np.nan), f"set {k} failed", None)
    curve = equity(k, n_bars) if with_equity else None
    return Row(key(k), {"n": k}, metrics(k), None, curve)


def opened(folder, *, n_bars=None, names=NAMES, **identity):
    return SweepStore.open(folder, {**IDENTITY, **identity}, names, n_bars)


def filled(folder, numbers, *, n_bars=None):
    store = opened(folder, n_bars=n_bars)
    writer = store.writer()
    for k in numbers:
        writer.append(row(k, with_equity=n_bars is not None))
    store.compact()
    return store


def loaded(store, numbers):
    """Return metrics and errors of the sets that are stored, by number."""
    numbers = list(numbers)
    found, errors = {}, {}
    for rows in store.load(key(k) for k in numbers):
        for place, values in zip(rows.places, rows.metrics, strict=True):
            assert numbers[place] not in found
            found[numbers[place]] = values
        errors |= {numbers[place]: said for place, said in rows.errors}
    return found, errors


def check(store, numbers, *, n_bars=None):
    """Check that just these sets are stored, once each, with the right values."""
    numbers = sorted(numbers)
    frame = store.dataset()
    assert sorted(frame["key"].to_list()) == sorted(key(k) for k in numbers)
    assert store.n_rows == len(numbers)
    found, errors = loaded(store, numbers)
    assert sorted(found) == numbers
    for k in numbers:
        expected = row(k)
        np.testing.assert_array_equal(found[k], expected.metrics)
        assert errors.get(k) == expected.error
    assert frame.sort("n")["n"].to_list() == numbers
    if n_bars is not None and numbers:
        curves = store.equity(key(k) for k in numbers)
        assert curves.shape == (len(numbers), n_bars)
        for place, k in enumerate(numbers):
            if k % 11 == 10:
                assert np.isnan(curves[place]).all()
            else:
                np.testing.assert_array_equal(curves[place], equity(k, n_bars))


def names_in(folder):
    return sorted(
        str(path.relative_to(folder))
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name != ".lock"
    )


# What a store holds.


def test_rows_come_back_as_they_were(tmp_path):
    store = opened(tmp_path / "runs", n_bars=3)
    curve = np.array([1.0, np.nan, np.pi])
    given = [
        Row(key(0), {"n": 3, "x": 0.1}, np.array([1.5, np.nan]), None, curve),
        Row(key(1), {"n": 4, "x": 1e300}, np.array([-0.0, np.inf]), None, curve * 2),
        Row(key(2), {"n": 5, "x": 0.3}, np.full(2, np.nan), "went wrong: ümläut", None),
        Row(key(3), {}, np.zeros(2), "", np.zeros(3)),
    ]
    writer = store.writer()
    for one in given:
        writer.append(one)
    assert store.finished([key(0)]) == {}
    store.compact()
    found = store.finished([key(k) for k in (3, 2, 1, 0, 9)])
    assert len(found) == 4
    for one in given:
        back = found[one.key]
        assert back.assignment == {"n": None, "x": None} | dict(one.assignment) or (
            back.assignment == one.assignment
        )
        np.testing.assert_array_equal(back.metrics, one.metrics)
        assert back.error == one.error
        if one.equity is None:
            assert back.equity is None
        else:
            np.testing.assert_array_equal(back.equity, one.equity)


def test_folder_is_one_parquet_dataset(tmp_path):
    folder = tmp_path / "deep" / "runs"
    store = opened(folder, n_bars=N_BARS)
    writer = store.writer()
    for k in range(3):
        writer.append(row(k, with_equity=True))
    store.compact()
    writer.append(row(10))
    store.compact()
    frame = pl.scan_parquet(folder / "parts" / "*.parquet").collect().sort("n")
    assert frame.equals(store.dataset().sort("n"))
    assert frame.columns == [
        *("key", "identity", "n", "sharpe", "cagr"),
        *("error", "equity_file", "equity_row", "assignment"),
    ]
    assert frame.schema["n"] == pl.Int64
    assert frame["cagr"].to_list() == [None, -1.0, -2.0, None]
    assert frame["error"].to_list() == [None, None, None, "set 10 failed"]
    for one in frame.head(3).to_dicts():
        curves = np.load(folder / "equity" / one["equity_file"], mmap_mode="r")
        np.testing.assert_array_equal(curves[one["equity_row"]], equity(one["n"]))
    about = json.loads((folder / "sweep.json").read_text())
    assert about["identities"][frame["identity"][0]]["identity"] == IDENTITY
    assert "polars.scan_parquet" in (folder / "README.txt").read_text()
    assert names_in(folder) == [
        *("README.txt", "equity/000001.npy", "equity/000002.npy"),
        *("parts/part-000001.parquet", "parts/part-000002.parquet", "sweep.json"),
    ]


def test_empty_store(tmp_path):
    store = opened(tmp_path, n_bars=2)
    assert store.n_rows == store.n_current == 0
    assert not store.contains(key(1))
    assert list(store.load([key(1)])) == []
    assert list(store.load([])) == []
    assert store.dataset().height == 0
    assert store.changes == ()
    assert np.isnan(store.equity([key(1)])).all()
    assert store.equity([]).shape == (0, 2)
    assert repr(store).endswith("0 sets)")


def test_parameters_have_columns_of_their_own_type(tmp_path):
    store = opened(tmp_path)
    writer = store.writer()
    given = [
        {"n": 1, "x": 1, "flag": True, "name": "a", "day": date(2024, 1, 2)},
        {"n": 2, "x": 0.5, "flag": False, "name": "b", "day": date(2024, 1, 3)},
    ]
    more = {
        "sharpe": np.float64(3.0),
        "key": np.int64(4),
        "list": [1, (2, 3)],
        "function": len,
        "commission.bps": 10.0,
    }
    for k, one in enumerate(given):
        writer.append(Row(key(k), one | more, np.zeros(2)))
    frame = store.dataset().sort("n")
    assert frame["x"].to_list() == [1.0, 0.5]
    assert frame["flag"].dtype == pl.Boolean
    assert frame["day"].to_list() == ["2024-01-02", "2024-01-03"]
    assert frame["sharpe (parameter)"].to_list() == [3.0, 3.0]
    assert frame["key (parameter)"].to_list() == [4, 4]
    assert frame["list"].to_list() == ["[1, [2, 3]]"] * 2
    assert frame["function"].to_list() == ["builtins.len"] * 2
    assert frame["commission.bps"].to_list() == [10.0, 10.0]
    assert frame["sharpe"].to_list() == [0.0, 0.0]


def test_columns_of_parts_that_differ(tmp_path):
    store = opened(tmp_path)
    writer = store.writer()
    for k, one in enumerate(
        [
            {"n": None, "x": 1, "flag": True},
            {"n": 2, "x": 2.5, "flag": 3},
            {"n": 3, "x": 4, "other": "b"},
        ]
    ):
        writer.append(Row(key(k), one, np.zeros(2)))
        store.compact()
    frame = pl.read_parquet(tmp_path / "parts" / "*.parquet")
    assert frame["n"].to_list() == [None, 2, 3]
    assert frame["x"].to_list() == [1.0, 2.5, 4.0]
    assert frame["flag"].to_list() == ["True", "3", None]
    assert frame["other"].to_list() == [None, None, "b"]
    schemas = [pl.read_parquet_schema(p) for p in (tmp_path / "parts").iterdir()]
    assert all(list(one.items()) == list(schemas[0].items()) for one in schemas)


def test_load_of_repeated_keys_and_many_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "ROWS_PER_PART", 7)
    store = filled(tmp_path, range(40))
    assert len(list((tmp_path / "parts").iterdir())) == 6
    numbers = [3, 39, 3, 99, 10, 39]
    places = {}
    for rows in store.load([key(k) for k in numbers]):
        places |= dict(zip(rows.places.tolist(), rows.metrics[:, 0], strict=True))
        assert rows.errors in ([], [(4, "set 10 failed")])
    assert sorted(places) == [0, 1, 2, 4, 5]
    assert [places[k] for k in (0, 1, 2, 5)] == [3 / 7, 39 / 7, 3 / 7, 39 / 7]
    check(store, range(40))


def test_new_rows_take_the_order_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "ROWS_PER_PART", 8)
    store = opened(tmp_path, n_bars=N_BARS)
    writers = [SetWriter(tmp_path / "journals", store.kind) for _ in range(2)]
    numbers = list(range(30))
    random.Random(1).shuffle(numbers)
    for k in numbers:
        writers[k % 2].append(row(k, with_equity=True))
        set_journal._JOURNALS.clear()
    order = [key(k) for k in range(29)]
    store.compact(order)
    assert store.dataset()["n"].to_list() == list(range(30))
    curves = store.equity(order)
    assert isinstance(curves, np.memmap)
    assert Path(curves.filename) == tmp_path / "equity" / "000001.npy"
    check(store, range(30), n_bars=N_BARS)
    # In another order, or with sets that are not there, it is a copy.
    some = store.equity([key(5), key(2), key(77), key(5)])
    assert not isinstance(some, np.memmap)
    np.testing.assert_array_equal(some[[0, 1, 3]], [equity(5), equity(2), equity(5)])
    assert np.isnan(some[2]).all()


def test_equity_of_several_files_is_gathered(tmp_path, monkeypatch):
    store = filled(tmp_path, range(0, 20, 2), n_bars=N_BARS)
    store = filled(tmp_path, range(1, 20, 2), n_bars=N_BARS)
    assert len(list((tmp_path / "equity").iterdir())) == 2
    check(store, range(20), n_bars=N_BARS)
    # On disk, too.
    monkeypatch.setattr(
        EquityFile.__init__, "__kwdefaults__", {"folder": None, "in_memory": 0}
    )
    curves = store.equity([key(k) for k in range(10)])
    assert isinstance(curves, np.memmap)
    np.testing.assert_array_equal(curves[9], equity(9))
    assert [p for p in tmp_path.iterdir() if p.name.startswith("barloop")] == []


def test_store_without_equity(tmp_path):
    store = filled(tmp_path, range(4))
    with pytest.raises(SimulationError, match="without n_bars"):
        store.equity([key(1)])
    # A curve that is not asked for is not kept.
    store.writer().append(row(20, with_equity=True))
    assert store.dataset()["equity_file"].null_count() == 5


def test_rows_that_do_not_fit_are_refused(tmp_path):
    writer = opened(tmp_path, n_bars=N_BARS).writer()
    with pytest.raises(SimulationError, match="2 metrics are needed"):
        writer.append(Row(key(1), {}, np.zeros(3)))
    with pytest.raises(SimulationError, match="5 values of equity"):
        writer.append(Row(key(1), {}, np.zeros(2), None, np.zeros(4)))
    with pytest.raises(ValueError, match="hexadecimal"):
        writer.append(Row("no key", {}, np.zeros(2)))
    assert names_in(tmp_path / "journals") == []


# Going on with a folder.


def test_what_changed_is_named_and_rows_stay(tmp_path):
    store = filled(tmp_path, range(3))
    assert store.changes == ()
    assert opened(tmp_path).changes == ()
    changed = opened(tmp_path, function="f2", version="x")
    assert changed.changes == ("function", "version")
    # The rows of the other function are there; keys decide what counts.
    assert changed.n_rows == 3
    changed.writer().append(Row(key(50), {"n": 50}, np.zeros(2)))
    assert changed.dataset()["identity"].n_unique() == 2
    again = opened(tmp_path)
    assert again.changes == ("function", "version")
    assert again.contains(key(1))
    assert again.contains(key(50))
    assert opened(tmp_path).changes == ()


def test_other_metrics_and_equity_than_before(tmp_path):
    filled(tmp_path, range(3))
    fewer = opened(tmp_path, names=("cagr",))
    assert fewer.changes == ()
    assert fewer.contains(key(1))
    assert [rows.metrics.tolist() for rows in fewer.load([key(1)])] == [[[-1.0]]]
    more = opened(tmp_path, names=("cagr", "calmar"))
    assert more.changes == ("metrics",)
    assert not more.contains(key(1))
    assert more.n_rows == 3
    assert more.n_current == 0
    assert list(more.load([key(1)])) == []
    assert more.finished([key(1)]) == {}
    more.writer().append(Row(key(1), {"n": 1}, np.array([-1.0, 5.0])))
    frame = more.dataset().sort("n")
    # The row with less gave way.
    assert frame["n"].to_list() == [0, 1, 2]
    assert frame["calmar"].to_list() == [None, 5.0, None]
    assert frame["sharpe"].to_list() == [0.0, None, 2 / 7]
    assert more.contains(key(1))
    assert not more.contains(key(2))


def test_equity_asked_for_later(tmp_path):
    filled(tmp_path, range(12))
    store = opened(tmp_path, n_bars=N_BARS)
    assert store.changes == ("equity",)
    assert store.n_current == 0
    writer = store.writer()
    for k in range(12):
        writer.append(row(k, with_equity=True))
    store.compact()
    check(store, range(12), n_bars=N_BARS)
    # A set that failed has none, and counts all the same.
    assert store.contains(key(10))
    # Without equity the rows with equity do as well.
    plain = opened(tmp_path)
    assert plain.n_current == 12
    assert plain.changes == ()
    assert opened(tmp_path, n_bars=N_BARS + 1).n_current == 0


def test_run_without_equity_drops_no_equity(tmp_path):
    filled(tmp_path, range(3))
    killed = opened(tmp_path, n_bars=N_BARS)
    for k in range(3):
        killed.writer().append(row(k, with_equity=True))
    plain = opened(tmp_path)
    assert plain.n_rows == plain.n_current == 3
    check(opened(tmp_path, n_bars=N_BARS), range(3), n_bars=N_BARS)


def test_run_that_began_later_loses_nothing_to_an_earlier_one(tmp_path):
    earlier = filled(tmp_path, range(3))
    later = opened(tmp_path, n_bars=N_BARS)
    for k in range(3):
        later.writer().append(row(k, with_equity=True))
    earlier.compact()
    later.compact()
    check(later, range(3), n_bars=N_BARS)


def test_of_rows_with_one_key_the_better_stays(tmp_path):
    store = opened(tmp_path)
    failed = Row(key(1), {"n": 1}, np.full(2, np.nan), "out of memory")
    store.writer().append(failed)
    store.writer().append(failed)
    store.compact()
    assert loaded(store, [1])[1] == {1: "out of memory"}
    store.writer().append(row(1))
    check(store, [1])
    store.writer().append(failed)
    check(store, [1])
    assert len(list((tmp_path / "parts").iterdir())) == 1


@pytest.mark.parametrize("content", ["file", "notes", "json", "broken"])
def test_folder_that_is_no_store_is_not_touched(tmp_path, content):
    folder = tmp_path / "home"
    if content == "file":
        folder.write_text("x")
    else:
        folder.mkdir()
        name = "notes.txt" if content == "notes" else "sweep.json"
        text = {"notes": "x", "json": '{"format": "other"}', "broken": "{"}[content]
        (folder / name).write_text(text)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match=r"^resume: .*home"):
        opened(folder)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_store_of_a_later_version_is_refused(tmp_path):
    opened(tmp_path)
    about = json.loads((tmp_path / "sweep.json").read_text())
    (tmp_path / "sweep.json").write_text(json.dumps(about | {"version": 99}))
    with pytest.raises(ConfigError, match="later version"):
        opened(tmp_path)


def test_hidden_files_are_no_content(tmp_path):
    (tmp_path / ".gitkeep").write_text("")
    assert filled(tmp_path, [1]).contains(key(1))


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        opened(tmp_path / "file" / "runs")


# Journals.


def test_torn_tails_are_ignored(tmp_path):
    store = opened(tmp_path, n_bars=N_BARS)
    for k in range(3):
        store.writer().append(row(k, with_equity=True))
    (journal,) = (tmp_path / "journals").iterdir()
    whole = journal.read_bytes()
    ends = [len(whole)]
    sizes = set()
    for k in range(len(whole)):
        journal.write_bytes(whole[:k])
        found = set_journal.read_journal(journal)
        n = -1 if found is None else len(found.keys)
        sizes.add(n)
        if ends[-1] != n:
            ends.append(n)
    assert sizes == {-1, 0, 1, 2}
    # Never fewer rows from more bytes.
    assert ends[1:] == [-1, 0, 1, 2]


@pytest.mark.parametrize("tail", [b"\0" * 100, b"\xff" * 100, b"\x10\0\0\0", b"ab"])
def test_rubbish_after_the_last_record(tmp_path, tail):
    store = opened(tmp_path)
    for k in range(3):
        store.writer().append(row(k))
    (journal,) = (tmp_path / "journals").iterdir()
    with journal.open("ab") as file:
        file.write(tail)
    check(opened(tmp_path), range(3))


def test_changed_byte_costs_no_more_than_what_follows(tmp_path):
    store = opened(tmp_path)
    for k in range(3):
        store.writer().append(row(k))
    (journal,) = (tmp_path / "journals").iterdir()
    whole = bytearray(journal.read_bytes())
    for place in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[place] ^= 0x41
        journal.write_bytes(bytes(changed))
        found = set_journal.read_journal(journal)
        if found is not None:
            stored = list(found.read(range(len(found.keys))))
            for k, one in enumerate(stored):
                np.testing.assert_array_equal(one.metrics, metrics(k))


def test_writer_goes_through_pickle(tmp_path):
    store = opened(tmp_path)
    writer = pickle.loads(pickle.dumps(store.writer()))
    writer.append(row(1))
    store.writer().append(row(2))
    assert len(names_in(tmp_path / "journals")) == 1
    check(store, [1, 2])


def test_threads_share_a_writer(tmp_path):
    store = opened(tmp_path, n_bars=N_BARS)
    writer = store.writer()

    def work(first):
        for k in range(first, 200, 4):
            writer.append(row(k, with_equity=True))
            if k % 50 == first:
                store.compact()

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(store, range(200), n_bars=N_BARS)


def test_writer_outlives_a_compaction(tmp_path):
    writer = opened(tmp_path).writer()
    for k in range(4):
        writer.append(row(k))
        check(opened(tmp_path), range(k + 1))


@pytest.mark.parametrize("moment", ["open", "write"])
def test_journal_taken_away_while_it_is_written(tmp_path, monkeypatch, moment):
    store = opened(tmp_path)
    writer = store.writer()
    writer.append(row(0))
    real_open, real_write = os.open, os.write
    taken = []

    def take_away():
        if not taken:
            taken.append(True)
            opened(tmp_path)

    def patched_open(path, flags, *more):
        handle = real_open(path, flags, *more)
        if moment == "open" and str(path).endswith(".journal"):
            take_away()
        return handle

    def patched_write(handle, content):
        # Another process took the journal in just before: what is written now goes
        # to a file without a name.
        if moment == "write":
            take_away()
        return real_write(handle, content)

    monkeypatch.setattr(os, "open", patched_open)
    monkeypatch.setattr(os, "write", patched_write)
    writer.append(row(1))
    monkeypatch.undo()
    assert taken
    check(store, [0, 1])


def test_full_disk(tmp_path, monkeypatch):
    store = opened(tmp_path)
    writer = store.writer()
    writer.append(row(0))
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:30]))
    with pytest.raises(SimulationError, match=r"cannot be stored.*\n.*free some space"):
        writer.append(row(1))

    def full(handle, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(SimulationError, match="No space left"):
        writer.append(row(2))
    monkeypatch.setattr(os, "write", real)
    writer.append(row(3))
    check(store, [0, 3])


def test_full_disk_while_journals_are_taken_in(tmp_path, monkeypatch):
    store = opened(tmp_path)
    store.writer().append(row(0))

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SimulationError, match="nothing is lost"):
        store.compact()
    monkeypatch.undo()
    check(opened(tmp_path), [0])


def test_folder_that_went_away(tmp_path):
    store = opened(tmp_path / "runs")
    (tmp_path / "runs" / "journals").rmdir()
    with pytest.raises(SimulationError, match="cannot be stored"):
        store.writer().append(row(0))


def test_child_of_a_fork_has_its_own_journal(tmp_path):
    script = """
import os, sys
import numpy as np
from barloop.sweep_store import Row, SweepStore
store = SweepStore.open(sys.argv[1], {}, ["a"])
writer = store.writer()
writer.append(Row("00" * 16, {}, np.zeros(1)))
child = os.fork()
for k in range(1, 20):
    writer.append(Row(f"{k + 100 * (child == 0):032x}", {}, np.zeros(1)))
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
print(len(os.listdir(sys.argv[1] + "/journals")), store.dataset().height)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["2", "39"]


# Crashes.


class Crash(BaseException):
    """The process is gone."""


class Breaker:
    """Let a process die before its n-th operation on files, and all later ones."""

    NAMES = ("open", "write", "fsync", "replace", "rename", "unlink", "mkdir")

    def __init__(self, monkeypatch):
        self.left = None
        # The disk need not keep up.
        monkeypatch.setattr(os, "fsync", lambda handle: None)
        for name in self.NAMES:
            monkeypatch.setattr(os, name, self.guarded(getattr(os, name)))
        monkeypatch.setattr(builtins, "open", self.guarded(builtins.open))

    def guarded(self, operation):
        def guarded(*args, **named):
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise Crash
            return operation(*args, **named)

        return guarded

    def run(self, n_operations, action):
        """Return whether `action` came to its end."""
        self.left = n_operations
        try:
            action()
        except Crash:
            return False
        finally:
            self.left = None
        return True


def prepared(folder):
    """Make a folder in which taking in the journals touches everything."""
    filled(folder, range(3), n_bars=N_BARS)
    store = filled(folder, range(3, 6))
    store.writer().append(Row(key(6), {"n": 6}, np.full(2, np.nan), "transient"))
    store.compact()
    (folder / "parts" / ".part-000099.parquet.tmp").write_text("torn")
    (folder / "equity" / "000099.npy").write_text("of a part that never was")
    store = opened(folder, n_bars=N_BARS)
    writer = store.writer()
    for k in range(2, 9):
        writer.append(row(k, with_equity=True))
    set_journal._JOURNALS.clear()
    for k in (7, 8, 9, 10):
        writer.append(row(k, with_equity=True))
    # Another parameter: the older part is written anew.
    writer.append(Row(key(11), {"n": 11, "x": "a"}, metrics(11), None, equity(11)))
    writer.append(Row(key(12), {"n": 12, "x": 1}, metrics(12), None, equity(12)))


def test_crash_before_every_single_operation(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "ROWS_PER_PART", 4)
    prepared(tmp_path / "prepared")
    breaker = Breaker(monkeypatch)
    n_crashes = 0
    for n_operations in range(1_000):
        folder = tmp_path / str(n_operations)
        shutil.copytree(tmp_path / "prepared", folder)

        def resume(folder=folder):
            opened(folder, n_bars=N_BARS)

        ended = breaker.run(n_operations, resume)
        # The recovery dies as well, somewhere.
        breaker.run(n_operations * 7 % 45, resume)
        store = opened(folder, n_bars=N_BARS)
        check(store, range(13), n_bars=N_BARS)
        frame = pl.scan_parquet(folder / "parts" / "*.parquet").collect()
        assert frame["key"].n_unique() == frame.height == 13
        assert frame["x"].drop_nulls().to_list() == ["a", "1"]
        assert not [name for name in names_in(folder) if "tmp" in name]
        used = set(frame["equity_file"].drop_nulls())
        assert {p.name for p in (folder / "equity").iterdir()} == used
        if ended:
            break
        n_crashes += 1
    assert ended
    assert n_crashes > 50


def test_crash_while_the_folder_is_made(tmp_path, monkeypatch):
    breaker = Breaker(monkeypatch)
    for n_operations in range(100):
        folder = tmp_path / str(n_operations)
        if breaker.run(n_operations, lambda folder=folder: opened(folder)):
            break
        check(filled(folder, [1, 2]), [1, 2])
    assert n_operations > 8


def test_crash_while_a_set_is_stored(tmp_path, monkeypatch):
    breaker = Breaker(monkeypatch)
    for n_operations in range(100):
        folder = tmp_path / str(n_operations)
        store = opened(folder)
        ended = breaker.run(
            n_operations, lambda store=store: store.writer().append(row(1))
        )
        set_journal._JOURNALS.clear()
        store = opened(folder)
        assert store.n_rows in ({1} if ended else {0, 1})
        store.writer().append(row(1))
        check(store, [1])
        if ended:
            break
    assert n_operations > 3


def test_lock_is_waited_for(tmp_path):
    held = threading.Event()
    released = []

    def hold():
        with folder_lock(tmp_path):
            held.set()
            time.sleep(0.1)
            released.append(True)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    with (
        pytest.raises(SimulationError, match="another process is busy"),
        folder_lock(tmp_path, patience=0.0),
    ):
        pass
    with folder_lock(tmp_path):
        assert released
    thread.join()


CHILD = """
import os, random, signal, sys
import numpy as np
import barloop.sweep_store
from barloop.sweep_store import Row, SweepStore

folder, n_bars = sys.argv[1], int(sys.argv[2])

def work(said, first, step, n_sets, compacting, seed):
    said = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
    store = SweepStore.open(folder, {"data": "d1", "function": "f1"},
                            ["sharpe", "cagr"], n_bars)
    writer = store.writer()
    n_done = 0
    for k in range(first, n_sets, step):
        key = f"{k * 2654435761 % 2**64:016x}{k:016x}"
        if store.contains(key):
            continue
        metrics = np.array([k / 7.0, np.nan if k % 5 == 0 else -float(k)])
        if k % 11 == 10:
            row = Row(key, {"n": k}, np.full(2, np.nan), f"set {k} failed", None)
        else:
            curve = k + np.arange(float(n_bars)) / 3.0
            row = Row(key, {"n": k}, metrics, None, curve)
        writer.append(row)
        os.write(said, b"%d\\n" % k)
        n_done += 1
        if compacting and n_done % 60 == 0:
            store.compact()

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.write(1, b"ready\\n")
for line in sys.stdin:
    said, *numbers = line.split()
    child = os.fork()
    if child == 0:
        try:
            work(said, *map(int, numbers))
        finally:
            os._exit(0)
    os.write(1, b"%d\\n" % child)
"""


class Children:
    """A process that forks children, so that each starts at once."""

    def __init__(self, folder, n_bars):
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder), str(n_bars)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def start(self, *args):
        print(*args, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=10)


def alive(child):
    try:
        os.kill(child, 0)
    except ProcessLookupError:
        return False
    return True


def kill(child):
    if alive(child):
        os.kill(child, signal.SIGKILL)
    until = time.monotonic() + 10
    while alive(child):
        assert time.monotonic() < until
        time.sleep(0.001)


@pytest.mark.once
@pytest.mark.parametrize(
    ("n_children", "compacting", "n_bars"),
    [(1, 0, 2_000), (1, 1, 20), (3, 1, 400)],
    ids=["one", "one that compacts", "three that compact"],
)
def test_killed_at_random_moments(tmp_path, n_children, compacting, n_bars):
    folder, said = tmp_path / "runs", tmp_path / "said"
    draw = random.Random(n_children + compacting)
    children = Children(folder, n_bars)
    n_sets, n_killed, n_rounds = 100_000, 0, 0
    try:
        while n_killed < 26:
            n_rounds += 1
            before = said.read_bytes().count(b"\n") if said.exists() else 0
            pids = [
                children.start(said, first, n_children, n_sets, compacting, n_rounds)
                for first in range(n_children)
            ]
            if n_rounds % 3:
                # Most rounds get somewhere; in the others the start is hit.
                until = time.monotonic() + 10
                while not said.exists() or said.read_bytes().count(b"\n") == before:
                    assert time.monotonic() < until
                    time.sleep(0.001)
            time.sleep(draw.uniform(0.0, 0.03))
            for pid in draw.sample(pids, len(pids)):
                n_killed += alive(pid)
                kill(pid)
            printed = [int(line) for line in said.read_text().split("\n")[:-1]]
            # Nothing that was finished was done again.
            assert len(printed) == len(set(printed))
            store = opened(folder, n_bars=n_bars)
            assert all(store.contains(key(k)) for k in printed)
            # Of each child at most one set was stored and not said.
            assert len(printed) <= store.n_rows <= len(printed) + n_killed
    finally:
        children.close()
    numbers = [
        k for k in range(max(printed) + n_children + 1) if store.contains(key(k))
    ]
    check(store, numbers, n_bars=n_bars)
    assert len(printed) > 100


# Size.


def test_many_rows_need_little_memory(tmp_path):
    n_rows, n_metrics = 11_000, 30
    names = [f"m{k}" for k in range(n_metrics)]
    store = SweepStore.open(tmp_path, {}, names)
    writer = store.writer()
    values = np.zeros(n_metrics)
    keys = [key(k) for k in range(n_rows)]
    for k in range(n_rows):
        values[0] = k
        writer.append(Row(keys[k], {"lookback": k // 20, "n": k % 20}, values))
    tracemalloc.start()
    store.compact(keys)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 5,000 rows at a time: 1.2 MB of numbers, their parameters and their keys.
    assert peak < 12e6
    first = np.full(n_rows, np.nan)
    for rows in store.load(keys):
        assert len(rows.places) <= set_parts.ROWS_PER_PART
        first[rows.places] = rows.metrics[:, 0]
    np.testing.assert_array_equal(first, np.arange(n_rows))


def test_equity_is_streamed(tmp_path):
    n_rows, n_bars = 600, 2_000
    store = opened(tmp_path, n_bars=n_bars)
    writer = store.writer()
    for k in range(n_rows):
        writer.append(row(k, with_equity=True, n_bars=n_bars))
    tracemalloc.start()
    store.compact()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 9.6 MB of equity.
    assert peak < 4e6
    check(store, range(n_rows), n_bars=n_bars)


@pytest.mark.parametrize("in_memory", [0, 10**6])
def test_equity_file(tmp_path, in_memory):
    curves = EquityFile(4, N_BARS, folder=tmp_path, in_memory=in_memory)
    curves.write(2, equity(2))
    curves.write(0, None)
    curves.write(3, equity(3).tobytes())
    with pytest.raises(SimulationError, match="does not fit"):
        curves.write(4, equity(4))
    with pytest.raises(SimulationError, match="does not fit"):
        curves.write(1, np.zeros(N_BARS + 1))
    rows = curves.array()
    assert isinstance(rows, np.memmap) == (in_memory == 0)
    assert list(tmp_path.iterdir()) == []
    assert np.isnan(rows[:2]).all()
    np.testing.assert_array_equal(rows[2:], [equity(2), equity(3)])
    with pytest.raises(ValueError, match="read-only"):
        rows[0, 0] = 1.0
    back = pickle.loads(pickle.dumps(rows))
    np.testing.assert_array_equal(back, rows)


def test_equity_file_without_room(tmp_path):
    with pytest.raises(SimulationError, match=r"needs .* GB in .*\nHint: set TMPDIR"):
        EquityFile(10**9, 10**6, folder=tmp_path)


def test_equity_file_of_nothing(tmp_path):
    assert EquityFile(0, 3, in_memory=0).array().shape == (0, 3)


def test_readme_names_what_is_there(tmp_path):
    filled(tmp_path, [1], n_bars=N_BARS)
    for name in ("parts", "equity", "journals", "sweep.json"):
        assert (tmp_path / name).exists()
        assert name in sweep_folder.README
