"""What happens inside of a worker process."""

from __future__ import annotations

import glob
import os
import pickle
import shutil
import signal
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from barloop.errors import BarloopError, SimulationError
from barloop.parcel import Assignment, Outcome, Parcel, Run, Shared, dumps, read_parcel

WATCH_SECONDS = 1.0
"""How often a worker looks whether its parent still lives."""


@dataclass(eq=False)
class Job:
    """A sweep as one process has it.

    Parameters
    ----------
    shared : Shared
        What all sets have in common.
    runs : dict of int to Run
        What runs a set in each thread, made by `Shared.start`.
    """

    shared: Shared
    runs: dict[int, Run] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What a worker says about a batch of sets.

    Parameters
    ----------
    outcomes : list
        Of the sets that ran.
    seconds : float
        Time that they took.
    error : BaseException or None
        What ended the batch before its last set.
    """

    outcomes: list[Outcome]
    seconds: float
    error: BaseException | None


_jobs: weakref.WeakValueDictionary[str, Job] = weakref.WeakValueDictionary()
# What keeps jobs: the parcels that dask holds here until a sweep ends (now and then
# it holds two of one name); of any other source, that it is the last one.
_held: weakref.WeakKeyDictionary[Parcel, Job] = weakref.WeakKeyDictionary()
_last: list[Job] = []
_lock = threading.Lock()


def run_batch(source: Any, name: str, batch: bytes) -> bytes:
    """Run some sets in this process.

    Parameters
    ----------
    source : Path, Parcel, or list of one ray reference to a Parcel
        Where this process finds what all sets have in common.  Looked at once.
    name : str
        Name of the job.
    batch : bytes
        Pickled list of (number, assignment).

    Returns
    -------
    bytes
        A pickled `Report`.
    """
    outcomes: list[Outcome] = []
    error: BaseException | None = None
    started = time.perf_counter()
    try:
        run = _run_of(_job(source, name))
        sets: list[tuple[int, Assignment]] = pickle.loads(batch)
        # Reading the data is no part of what a set costs.
        started = time.perf_counter()
        for number, assignment in sets:
            outcomes.append(run(number, assignment))
    except (Exception, SystemExit) as raised:
        error = _portable(raised)
    seconds = time.perf_counter() - started
    return dumps(Report(outcomes, seconds, error), "what a set gave")


def _job(source: Any, name: str) -> Job:
    # Held while the data is read: other threads of the process wait for it.
    with _lock:
        job = _jobs.get(name)
        if job is None:
            # Not two at a time, if that can be.
            _last.clear()
            job = _jobs[name] = Job(_importable(lambda: _opened(source)))
        if isinstance(source, Parcel):
            _held[source] = job
        else:
            _last[:] = [job]
        return job


def _opened(source: Any) -> Any:
    if isinstance(source, Path):
        return read_parcel(source)
    if isinstance(source, Parcel):
        return source.open()
    import ray

    return ray.get(source[0]).open()


def _importable(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except ImportError as error:
        module = error.name or "a module"
        msg = (
            f"a worker process cannot import {module!r}, which the weights function "
            f"needs: {error}\n"
            "Hint: install it where the workers run, send it there with "
            f"client.upload_file('{module}.py') of dask or a runtime_env of ray, or "
            f"send its code along: cloudpickle.register_pickle_by_value({module})."
        )
        raise SimulationError(msg) from error


def _run_of(job: Job) -> Run:
    thread = threading.get_ident()
    if thread not in job.runs:
        job.runs[thread] = job.shared.start()
    return job.runs[thread]


def _portable(error: BaseException) -> BaseException:
    """Return an error that arrives as it is, with the lines that are left behind."""
    lines = "".join(traceback.format_exception(error))
    if not isinstance(error, BarloopError):
        error.add_note(f"raised in a worker process:\n{lines}")
    try:
        pickle.loads(dumps(error.with_traceback(None), "an error"))
    except Exception:
        # Exceptions with arguments of their own often pickle, but do not unpickle.
        msg = f"a worker process failed with {type(error).__name__}: {error}\n{lines}"
        return SimulationError(msg)
    return error


def prepare(parent: int, files: str) -> None:
    """Make a process ready to be a worker of this machine; called once at its start.

    Parameters
    ----------
    parent : int
        Number of the process that started it.
    files : str
        Pattern of the folders that the parent makes, and leaves when it is killed.
    """
    # Ctrl-C reaches the whole group of processes; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent, files), daemon=True).start()
    # While the parent still writes the panel.
    import pyarrow.ipc

    import barloop._kernels.simulate
    import barloop.engine

    _ = (pyarrow.ipc, barloop._kernels.simulate, barloop.engine)


def _watch(parent: int, files: str) -> None:
    """End this process when its parent was killed, and remove what it left."""
    while os.name == "posix":
        if os.getppid() != parent:
            for folder in glob.glob(files):
                shutil.rmtree(folder, ignore_errors=True)
            os._exit(1)
        time.sleep(WATCH_SECONDS)
