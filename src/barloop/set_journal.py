"""Finished sets on disk the moment they finish: one append-only file per process."""

from __future__ import annotations

import errno
import os
import secrets
import threading
import zlib
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from barloop.errors import SimulationError
from barloop.set_records import (
    FLAGS_AT,
    FRAME,
    HAS_ERROR,
    KEY_BYTES,
    Kind,
    Row,
    StoredSet,
    framed_record,
    payload_of,
    stored_set,
)
from barloop.typing import IntVector

Keys = npt.NDArray[np.bytes_]
"""Array of 16 bytes each."""


class SetWriter:
    """Append finished sets to a journal of this process.

    Made by `SweepStore.writer`; can be pickled, and makes its file when it is first
    used.  All writers of a process and a run share one file.

    Parameters
    ----------
    folder : path
        Where journals are.
    kind : Kind
        What the rows have in common.
    """

    def __init__(self, folder: Path | str, kind: Kind) -> None:
        self._folder = os.fspath(folder)
        self._kind = kind

    def append(self, row: Row) -> None:
        """Write one finished set.

        Parameters
        ----------
        row : Row
            Its metrics and equity as the run of this writer has them.

        Raises
        ------
        SimulationError
            If it cannot be written; then it is not stored.

        Notes
        -----
        One write of one record.  When it returns, the row survives the end of the
        process, whatever ends it; the operating system has it, though maybe not yet
        the disk.
        """
        _append(self._folder, self._kind, framed_record(payload_of(row, self._kind)))


# The journals of this process.  One lock for all: to write takes microseconds.
_LOCK = threading.Lock()
_JOURNALS: dict[tuple[str, Kind], str] = {}

_APPEND = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)


def _append(folder: str, kind: Kind, record: bytes) -> None:
    with _LOCK:
        try:
            while True:
                path = _JOURNALS.get((folder, kind))
                if path is None:
                    path = _JOURNALS[folder, kind] = _new_journal(folder, kind)
                # A journal is renamed before it is read for the last time: if it has
                # its name still, the record will be read; if not, it may not be
                # (`test_journal_taken_away_while_it_is_written`).
                if _write(path, record, _APPEND) and os.path.exists(path):
                    return
                del _JOURNALS[folder, kind]
        except OSError as error:
            # What was written of the record is cut off with the end of this file.
            _JOURNALS.pop((folder, kind), None)
            msg = (
                f"a finished set cannot be stored in {folder}: {error}.\n"
                "Hint: free some space or check the folder, and run the same sweep "
                "again; the sets that are stored stay."
            )
            raise SimulationError(msg) from error


def _new_journal(folder: str, kind: Kind) -> str:
    name = f"{os.getpid()}-{secrets.token_hex(8)}.journal"
    path = os.path.join(folder, name)
    _write(
        path, framed_record(kind.to_json().encode()), _APPEND | os.O_CREAT | os.O_EXCL
    )
    return path


def _write(path: str, record: bytes, flags: int) -> bool:
    """Write a record at the end of a file; False if there is no such file."""
    # Not left open: a worker that lives on would hold the space of what is gone.
    try:
        file = os.open(path, flags, 0o666)
    except FileNotFoundError:
        if flags & os.O_CREAT:
            raise
        return False
    try:
        if os.write(file, record) < len(record):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(file)
    return True


def _begin_anew() -> None:
    # The other process goes on with its journals, and may have held the lock.
    global _LOCK
    _LOCK = threading.Lock()
    _JOURNALS.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


class Journal(NamedTuple):
    """Where the records of a journal are."""

    path: Path
    kind: Kind
    keys: Keys
    """(n_records,)"""
    has_error: npt.NDArray[np.bool_]
    start: IntVector
    """(n_records,) place of each payload in the file, in bytes."""
    length: IntVector

    def read(self, records: Iterable[int]) -> Iterator[StoredSet]:
        """Read records, in the order in which they are asked for.

        Parameters
        ----------
        records : iterable of int
            Their numbers.

        Yields
        ------
        StoredSet
            One at a time.
        """
        n_metrics = len(self.kind.metric_names)
        with open(self.path, "rb") as file:
            for k in records:
                file.seek(self.start[k])
                yield stored_set(file.read(self.length[k]), n_metrics)


def read_journal(path: Path) -> Journal | None:
    """Find the records of a journal.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    Journal or None
        The whole records before the first that is torn; None if not even what the
        rows have in common was written.
    """
    keys, start, length, flags = bytearray(), array("q"), array("q"), bytearray()
    kind = None
    with open(path, "rb", buffering=2**20) as file:
        size = os.fstat(file.fileno()).st_size
        place = 0
        while True:
            head = file.read(FRAME.size)
            if len(head) < FRAME.size:
                break
            n_bytes, checksum = FRAME.unpack(head)
            place += FRAME.size
            if place + n_bytes > size:
                break
            # It covers the length too, so that zeros are no record.
            payload = file.read(n_bytes)
            if zlib.crc32(payload, zlib.crc32(head[:4])) != checksum:
                break
            if kind is None:
                kind = Kind.from_json(payload)
            else:
                keys += payload[:KEY_BYTES]
                flags.append(payload[FLAGS_AT])
                start.append(place)
                length.append(n_bytes)
            place += n_bytes
    if kind is None:
        return None
    has_error = np.frombuffer(bytes(flags), np.uint8) & HAS_ERROR != 0
    return Journal(
        path,
        kind,
        np.frombuffer(bytes(keys), "S16"),
        has_error,
        np.array(start, dtype=np.int64),
        np.array(length, dtype=np.int64),
    )
