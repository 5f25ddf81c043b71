"""One process at a time in a folder."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from barloop.errors import SimulationError

_PATIENCE = 600.0
"""Seconds; the work that is locked takes a few, even with 2 GB of equity."""


@contextmanager
def folder_lock(folder: Path, patience: float = _PATIENCE) -> Iterator[None]:
    """Wait until no other process holds the lock of a folder, and hold it.

    Parameters
    ----------
    folder : path
        An existing folder; gets a hidden file.
    patience : float, default 600
        Seconds to wait.

    Raises
    ------
    SimulationError
        If another process holds it for longer.

    Notes
    -----
    The system lets go of it when the process ends, however it ends.  On a file system
    without locks nothing is locked.
    """
    handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o666)
    try:
        until = time.monotonic() + patience
        while not _try_lock(handle):
            if time.monotonic() > until:
                msg = (
                    f"another process is busy in {folder}.\n"
                    "Hint: wait for it, or stop it."
                )
                raise SimulationError(msg)
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)


if sys.platform == "win32":

    def _try_lock(handle: int) -> bool:
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _try_lock(handle: int) -> bool:
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            # The file system has no locks.
            return True
        return True
