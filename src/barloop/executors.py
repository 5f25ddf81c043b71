"""Running many sets: one after the other, in threads, in processes, on a cluster."""

from __future__ import annotations

import importlib.util
import queue
import re
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from barloop import worker_pool
from barloop.batches import POLL_SECONDS, Handle, WorkerLostError, arrived, exchange
from barloop.checks import refuse_meaningless
from barloop.clusters import check_client, is_dask_client, on_dask, on_ray
from barloop.errors import ConfigError, SimulationError
from barloop.parcel import Assignment, Outcome, Shared, write_parcel
from barloop.workers import run_batch

Sets = Iterable[tuple[int, Assignment]]

STOP_SECONDS = 0.8
"""How long threads are waited for when a sweep is stopped."""

CHUNK_SECONDS = 0.002
"""Threads hand over what they have after this time: a wake-up is not for free."""


def execute(
    executor: Any,
    shared: Shared,
    sets: Sets,
    *,
    n_sets: int,
    n_workers: int | None = None,
) -> Iterator[Outcome]:
    """Run sets and yield what they give as they finish.

    Parameters
    ----------
    executor : {None, "threads", "processes", "ray"} or distributed.Client
        Where to run them: here, one by one; in threads, for compiled weights and
        expressions, which release the interpreter lock; in processes, for Python
        callbacks; on the cluster of ray (one is started here if there is none) or of
        dask.
    shared : Shared
        What all sets have in common.  Each thread and process calls its `start` once.
    sets : iterable of (int, dict)
        Number and assignment of each.  Taken as needed.
    n_sets : int
        Their number.
    n_workers : int, optional
        Threads or processes; as many as there are processors by default.  A cluster
        that exists has the workers that it has.

    Yields
    ------
    Outcome
        What `Run` returned, in the order in which sets end.

    Raises
    ------
    ConfigError
        If `executor` is none of these, or its package is not installed, or something
        in `shared` cannot be sent to another process.
    SimulationError
        If a worker process died, or cannot import what it needs.

    Notes
    -----
    Closing the iterator, and Ctrl-C, end all within a second: no other set starts, and
    processes are killed.  Close it (``contextlib.closing``) where it may be left before
    its end.  Threads and the workers of a cluster, which nobody can kill, finish the
    set that they are at.
    """
    if n_workers is not None and (
        isinstance(n_workers, bool) or not isinstance(n_workers, int) or n_workers < 1
    ):
        msg = f"n_workers must be a whole number from 1, got {n_workers!r}."
        raise ConfigError(msg)
    n_local = max(1, min(n_workers or worker_pool.n_processors(), n_sets))
    if executor is None:
        if n_workers not in (None, 1):
            refuse_meaningless(
                f"n_workers={n_workers}",
                "without an executor",
                'executor="threads" or "processes" uses them',
            )
        return _serial(shared, sets)
    if executor == "threads":
        return _threads(shared, sets, n_local)
    if executor == "processes":
        _require("processes", "loky", "cloudpickle")
        return _processes(shared, sets, n_sets, n_local)
    if executor == "ray":
        _require("ray", "ray", "cloudpickle")
        return on_ray(shared, sets, n_sets, n_workers)
    if is_dask_client(executor):
        _require("dask", "cloudpickle")
        check_client(executor, n_workers)
        return on_dask(executor, shared, sets, n_sets)
    msg = (
        "executor must be None, 'threads', 'processes', 'ray' or a dask.distributed "
        f"Client, got {executor!r}."
    )
    if executor == "dask":
        msg += "\nHint: pass a client; Client() alone starts a cluster on this machine."
    raise ConfigError(msg)


def _serial(shared: Shared, sets: Sets) -> Iterator[Outcome]:
    run = shared.start()
    for number, assignment in sets:
        yield run(number, assignment)


def _threads(shared: Shared, sets: Sets, n_threads: int) -> Iterator[Outcome]:
    source, turn, stop = iter(sets), threading.Lock(), threading.Event()
    # Lists of outcomes; an error that ends everything; None when a thread has ended.
    # It holds little: a slow reader slows the threads down.
    finished: queue.Queue[Any] = queue.Queue(4 * n_threads)

    def hand_over(what: Any) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                finished.put(what, timeout=POLL_SECONDS)
                return

    def work() -> None:
        chunk: list[Outcome] = []
        last: BaseException | None = None
        try:
            run = shared.start()
            since = time.perf_counter()
            while not stop.is_set():
                with turn:
                    one = next(source, None)
                if one is None:
                    break
                chunk.append(run(*one))
                now = time.perf_counter()
                if now - since >= CHUNK_SECONDS:
                    hand_over(chunk)
                    chunk, since = [], now
        except BaseException as error:
            last = error
        hand_over(chunk)
        hand_over(last)

    # Daemons: a set that takes minutes does not keep the interpreter from ending.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(n_threads)]
    try:
        for thread in threads:
            thread.start()
        n_open = n_threads
        while n_open:
            try:
                said = finished.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if said is None:
                n_open -= 1
            elif isinstance(said, BaseException):
                raise said
            else:
                yield from said
    finally:
        stop.set()
        until = time.monotonic() + STOP_SECONDS
        for thread in threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))


def _processes(
    shared: Shared, sets: Sets, n_sets: int, n_workers: int
) -> Iterator[Outcome]:
    from loky import BrokenProcessPool

    # First, for they import while the panel is written.
    pool, conditions = worker_pool.take(n_workers)
    folder, all_well = worker_pool.new_folder(), False
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def submit(batch: bytes) -> Handle:
        try:
            future = pool.submit(run_batch, folder, folder.name, batch)
        except BrokenProcessPool as error:
            raise WorkerLostError(_exit_code(error)) from None
        future.add_done_callback(done.put)
        return future

    def collect(_: list[Handle]) -> Iterator[tuple[Handle, bytes]]:
        for future in arrived(done):
            try:
                yield future, future.result()
            except BrokenProcessPool as error:
                raise WorkerLostError(_exit_code(error)) from None

    try:
        try:
            write_parcel(shared, folder)
        except OSError as error:
            msg = (
                f"the panel cannot be written to {str(folder)!r}: {error}\n"
                "Hint: the environment variable TMPDIR names another place."
            )
            raise SimulationError(msg) from error
        yield from exchange(
            sets,
            n_sets,
            n_slots=lambda: n_workers,
            submit=submit,
            collect=collect,
        )
        all_well = True
    finally:
        try:
            if all_well:
                worker_pool.rest(pool, conditions)
            else:
                worker_pool.kill(pool)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _require(extra: str, *packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            msg = (
                f"this executor needs {package!r}, which is not installed.\n"
                f"Hint: pip install 'barloop[{extra}]'."
            )
            raise ConfigError(msg)


def _exit_code(error: Exception) -> str:
    """Return the exit code that loky names, or nothing."""
    found = re.search(r"workers are \{(.*?)\}", str(error))
    return f"exit code {found[1]}" if found else ""
