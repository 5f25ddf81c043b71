"""Equity curves of many sets as one array that lies on disk when it is large."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from barloop.errors import SimulationError
from barloop.typing import CodeVector, FloatBlock, FloatVector, IntVector

IN_MEMORY = 2**24
"""Bytes up to which the curves are kept in memory."""


class EquityFile:
    """Take the equity of sets in any order, and hand them out as one array.

    Parameters
    ----------
    n_sets, n_bars : int
        Shape of the array.
    folder : path, optional
        Where the file is made; the temporary folder of the system when None.
    in_memory : int, default 16 MiB
        Bytes up to which no file is made.

    Raises
    ------
    SimulationError
        If the folder has no room for it.

    Notes
    -----
    The file has no name: nothing is left of it when the array is gone, or when the
    process is killed.  ``TMPDIR`` names another temporary folder, where that of the
    system lies in memory or is small.

    Examples
    --------
    >>> curves = EquityFile(3, 2)
    >>> curves.write(2, np.array([1.0, 2.0]))
    >>> curves.array()
    array([[nan, nan],
           [nan, nan],
           [ 1.,  2.]])
    """

    def __init__(
        self,
        n_sets: int,
        n_bars: int,
        *,
        folder: Path | str | None = None,
        in_memory: int = IN_MEMORY,
    ) -> None:
        self._shape = (n_sets, n_bars)
        self._row_bytes = 8 * n_bars
        self._file: IO[bytes] | None = None
        self._written = np.zeros(n_sets, dtype=np.bool_)
        self._lock = threading.Lock()
        n_bytes = n_sets * self._row_bytes
        if n_bytes <= in_memory:
            self._rows: Any = np.full(self._shape, np.nan)
            return
        place = tempfile.gettempdir() if folder is None else os.fspath(folder)
        free = shutil.disk_usage(place).free
        if free < n_bytes:
            msg = (
                f"the equity of {n_sets:,} sets needs {n_bytes / 1e9:,.1f} GB in "
                f"{place}, which has {free / 1e9:,.1f} GB left.\n"
                "Hint: set TMPDIR to a folder with more room, or use keep='metrics'."
            )
            raise SimulationError(msg)
        self._file = tempfile.TemporaryFile(  # noqa: SIM115
            dir=place, prefix="barloop-", buffering=0
        )
        self._file.truncate(n_bytes)

    def write(self, row: int, equity: FloatVector | bytes | None) -> None:
        """Store the equity of one set.

        Parameters
        ----------
        row : int
            Number of the set.
        equity : ndarray of shape (n_bars,), or its bytes, or None
            NaN throughout for None, as for a set that is never written.

        Raises
        ------
        SimulationError
            If the disk is full.
        """
        if equity is None:
            equity = np.full(self._shape[1], np.nan)
        if not isinstance(equity, bytes):
            equity = np.ascontiguousarray(equity, dtype=np.float64).tobytes()
        if len(equity) != self._row_bytes or not 0 <= row < self._shape[0]:
            msg = f"row {row} of {len(equity) // 8} values does not fit {self._shape}."
            raise SimulationError(msg)
        if self._file is None:
            self._rows[row] = np.frombuffer(equity)
        else:
            self._put(self._file, row * self._row_bytes, equity)
        self._written[row] = True

    def array(self) -> FloatBlock:
        """Return all of it; nothing can be written afterwards.

        Returns
        -------
        ndarray of shape (n_sets, n_bars)
            Read-only; NaN for sets that were not written.  A file is mapped into
            memory, so that only what is looked at is read.
        """
        rows: FloatBlock
        if self._file is None:
            rows = self._rows
            rows.flags.writeable = False
            return rows
        for row in np.flatnonzero(~self._written):
            self.write(int(row), None)
        rows = np.memmap(self._file, dtype=np.float64, mode="r", shape=self._shape)
        # The mapping holds the file.
        self.close()
        return rows

    def close(self) -> None:
        """Give the file up."""
        if self._file is not None:
            self._file.close()

    def _put(self, file: IO[bytes], place: int, values: bytes) -> None:
        # Not through the mapping: pages written there count as memory of the process.
        try:
            with self._lock:
                file.seek(place)
                n_put = file.write(values)
        except OSError as error:
            msg = f"equity cannot be stored: {error}.\nHint: free some space."
            raise SimulationError(msg) from error
        if n_put < len(values):
            msg = "equity cannot be stored: the disk is full.\nHint: free some space."
            raise SimulationError(msg)


def gather_equity(
    folder: Path,
    names: Sequence[str],
    file_of: CodeVector,
    row_of: IntVector,
    n_bars: int,
) -> FloatBlock:
    """Bring rows of several files into one array.

    Parameters
    ----------
    folder : path
        Where the files are.
    names : sequence of str
        Their names.
    file_of, row_of : ndarray of shape (n,)
        File and row of each; -1 for none.
    n_bars : int
        Length of a row.

    Returns
    -------
    ndarray of shape (n, n_bars)
        Read-only, NaN where there is none.  A file itself, mapped, if the rows follow
        each other in it; else a copy, on the disk when large.
    """
    n = len(row_of)
    if n and len(names) == 1 and (row_of == row_of[0] + np.arange(n)).all():
        whole = np.load(folder / names[0], mmap_mode="r")
        part: FloatBlock = whole[row_of[0] : row_of[0] + n]
        return part
    curves = EquityFile(n, n_bars, folder=folder)
    for number, name in enumerate(names):
        places = np.flatnonzero(file_of == number)
        places = places[np.argsort(row_of[places], kind="stable")]
        rows = equity_rows(folder / name, row_of[places], n_bars)
        for place, values in zip(places.tolist(), rows, strict=True):
            curves.write(place, values)
    return curves.array()


def equity_rows(path: Path, rows: IntVector, n_bars: int) -> Iterator[bytes]:
    """Read rows of an .npy file without mapping it: mapped pages count as memory.

    Parameters
    ----------
    path : path
        Of shape (any, n_bars), float64.
    rows : ndarray of int
        Which.
    n_bars : int
        Their length.

    Yields
    ------
    bytes
        ``8 * n_bars`` each.
    """
    with open(path, "rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        begin = file.tell()
        for row in rows.tolist():
            file.seek(begin + row * 8 * n_bars)
            yield file.read(8 * n_bars)
