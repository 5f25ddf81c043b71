"""Worker processes of this machine, kept for a while between sweeps."""

from __future__ import annotations

import atexit
import glob
import os
import signal
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from barloop.workers import prepare

REST_SECONDS = 60.0
"""Time without work after which a worker process ends."""

SETTINGS = {
    # One thread for each worker: there are as many of them as processors.
    "POLARS_MAX_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # Loky restarts workers that grow by 300 MB, and counts pages of the mapped panel.
    "LOKY_MAX_MEMORY_LEAK_SIZE": "1e18",
}


@dataclass(frozen=True)
class Rest:
    """Processes that wait for the next sweep.

    Parameters
    ----------
    pool : loky.ProcessPoolExecutor
        The processes.
    conditions : Hashable
        What they were started with.
    since : float
        When they had nothing to do any more, on the monotonic clock.
    parent : int
        Number of the process that started them.
    """

    pool: Any
    conditions: Hashable
    since: float
    parent: int


_resting: list[Rest] = []
_lock = threading.Lock()
# Later, while modules are taken apart, loky would stumble over what is gone.
atexit.register(_resting.clear)


def take(n_workers: int) -> tuple[Any, Hashable]:
    """Return processes that nobody else uses; started, or on their way.

    Parameters
    ----------
    n_workers : int
        Their number.

    Returns
    -------
    pool : loky.ProcessPoolExecutor
        For `rest` or `kill`.
    conditions : Hashable
        For `rest`.
    """
    conditions = _conditions(n_workers)
    with _lock:
        rested = _resting.pop() if _resting else None
    # A process that was forked off has the object, but not the threads behind it.
    if rested is not None and rested.parent == os.getpid():
        # Not those that may be about to end.
        fresh = time.monotonic() - rested.since < REST_SECONDS / 2
        if fresh and rested.conditions == conditions:
            return rested.pool, conditions
        kill(rested.pool)
    return _start(n_workers), conditions


def rest(pool: Any, conditions: Hashable) -> None:
    """Keep processes for the next sweep.

    Parameters
    ----------
    pool, conditions
        From `take`; without work.
    """
    with _lock:
        if not _resting:
            _resting.append(Rest(pool, conditions, time.monotonic(), os.getpid()))
            return
    kill(pool)


def kill(pool: Any) -> None:
    """End processes at once, whatever they do.

    Parameters
    ----------
    pool : loky.ProcessPoolExecutor
        From `take`.
    """
    pool.shutdown(wait=True, kill_workers=True)


def new_folder() -> Path:
    """Make a folder for temporary files; workers remove it if this process is killed.

    Returns
    -------
    Path
        Empty.
    """
    prefix = _prefix()
    return Path(tempfile.mkdtemp(prefix=prefix.name, dir=prefix.parent))


def _prefix() -> Path:
    return Path(tempfile.gettempdir()) / f"barloop-sweep-{os.getpid()}-"


def n_processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start(n_workers: int) -> Any:
    from loky import ProcessPoolExecutor

    pool = ProcessPoolExecutor(
        n_workers,
        timeout=REST_SECONDS,
        initializer=prepare,
        initargs=(os.getpid(), glob.escape(str(_prefix())) + "*"),
        env=SETTINGS,
    )
    # Ctrl-C reaches children too, and `prepare` is not the first thing that they do.
    blocked = None
    if hasattr(signal, "pthread_sigmask"):
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        # The first call starts all processes.
        pool.submit(os.getpid)
    except BaseException:
        kill(pool)
        raise
    finally:
        if blocked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return pool


def _conditions(n_workers: int) -> Hashable:
    """Return all that processes keep from their start and a sweep may have changed."""
    return (
        n_workers,
        str(Path.cwd()),
        tuple(sys.path),
        tuple(sorted(os.environ.items())),
        tuple(_sources()),
    )


def _sources() -> list[tuple[str, int]]:
    """Return the files of the user's own modules, with their times of change.

    A worker imports a module once; after an edit it would run the old one.
    """
    installed = tuple(
        sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")
    )
    found = []
    for module in list(sys.modules.values()):
        # From its dictionary: some modules import others when they are asked.
        file = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(file, str) and not file.startswith(installed):
            try:
                found.append((file, Path(file).stat().st_mtime_ns))
            except OSError:
                continue
    return sorted(found)
