"""Running batches of sets on a cluster of dask or of ray."""

from __future__ import annotations

import importlib
import itertools
import logging
import os
import queue
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from barloop.batches import POLL_SECONDS, Handle, WorkerLostError, arrived, exchange
from barloop.checks import refuse_meaningless
from barloop.errors import ConfigError, SimulationError
from barloop.parcel import Assignment, Outcome, Shared, pack
from barloop.worker_pool import SETTINGS, n_processors
from barloop.workers import run_batch

Sets = Iterable[tuple[int, Assignment]]

OWN_SIZE = "a cluster has the workers that it has; leave it out"


def is_dask_client(executor: object) -> bool:
    """Tell whether an executor is a client of dask, without importing dask.

    Parameters
    ----------
    executor : object
        What the user gave.
    """
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(executor, distributed.Client)


def check_client(client: Any, n_workers: int | None) -> None:
    """Raise ConfigError unless sets can run on a cluster of dask.

    Parameters
    ----------
    client : distributed.Client
        Of the cluster.
    n_workers : int or None
        Must be None.
    """
    if n_workers is not None:
        refuse_meaningless(f"n_workers={n_workers}", "with a dask Client", OWN_SIZE)
    if client.asynchronous:
        msg = (
            "the dask Client is asynchronous, and running sets is not.\n"
            "Hint: executor=Client(address), made outside of async code."
        )
        raise ConfigError(msg)
    if not client.nthreads():
        msg = (
            "the dask cluster has no worker.\n"
            "Hint: cluster.scale(4), then client.wait_for_workers(1)."
        )
        raise ConfigError(msg)


def on_dask(client: Any, shared: Shared, sets: Sets, n_sets: int) -> Iterator[Outcome]:
    """Run sets on a cluster of dask; see `execute`.

    Parameters
    ----------
    client : distributed.Client
        Of the cluster; `check_client` has passed.
    shared, sets, n_sets
        See `execute`.
    """
    from distributed import KilledWorker

    parcel = pack(shared)
    job, numbers = parcel.job, itertools.count()
    (box,) = client.scatter([parcel], broadcast=True, hash=False)
    del parcel
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    running: dict[Handle, Any] = {}

    def submit(batch: bytes) -> Handle:
        key = f"barloop-{job}-{next(numbers)}"
        running[key] = client.submit(run_batch, box, job, batch, key=key, pure=False)
        running[key].add_done_callback(done.put)
        return key

    def collect(_: list[Handle]) -> Iterator[tuple[Handle, bytes]]:
        for future in arrived(done):
            try:
                report = future.result()
            except KilledWorker:
                raise WorkerLostError from None
            except Exception as error:
                raise _failed(error) from error
            del running[future.key]
            yield future.key, report

    try:
        yield from exchange(
            sets,
            n_sets,
            n_slots=lambda: sum(client.nthreads().values()),
            submit=submit,
            collect=collect,
        )
    finally:
        # Tasks before their data, which would be reported as lost.
        if running:
            client.cancel(list(running.values()))
            running.clear()
        box.release()


def on_ray(
    shared: Shared, sets: Sets, n_sets: int, n_workers: int | None
) -> Iterator[Outcome]:
    """Run sets on the cluster of ray, or on one started for them; see `execute`.

    Parameters
    ----------
    shared, sets, n_sets, n_workers
        See `execute`.
    """
    # Not by its types: they are there only where ray is installed.
    ray: Any = importlib.import_module("ray")
    errors = ray.exceptions
    died = (errors.NodeDiedError, errors.OutOfMemoryError, errors.WorkerCrashedError)

    def collect(running: list[Handle]) -> Iterator[tuple[Handle, bytes]]:
        ready, _ = ray.wait(running, num_returns=1, timeout=POLL_SECONDS)
        for one in ready:
            try:
                report = ray.get(one)
            except died as error:
                raise WorkerLostError(type(error).__name__) from None
            except errors.RayError as error:
                raise _failed(error) from error
            yield one, report

    # Left early, tasks are not cancelled, they are short: one that ends meanwhile can
    # crash this process (ray-project/ray, pull request 54785).
    with _ray_running(ray, n_workers, n_sets):
        parcel = pack(shared)
        job, box = parcel.job, ray.put(parcel)
        del parcel
        # Not tried again: a set that ends its process would end the next one too.
        task = ray.remote(num_cpus=1, max_retries=0)(run_batch)
        yield from exchange(
            sets,
            n_sets,
            n_slots=lambda: int(ray.cluster_resources().get("CPU", 1)),
            # In a list: a worker fetches it once, ray would with each task.
            submit=lambda batch: task.remote([box], job, batch),
            collect=collect,
        )


@contextmanager
def _ray_running(ray: Any, n_workers: int | None, n_sets: int) -> Iterator[None]:
    """Use the cluster that runs, that the environment names, or one started here."""
    is_there = ray.is_initialized()
    if (is_there or "RAY_ADDRESS" in os.environ) and n_workers is not None:
        refuse_meaningless(f"n_workers={n_workers}", "with a cluster of ray", OWN_SIZE)
    if is_there:
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if "RAY_ADDRESS" in os.environ:
            ray.init(**quiet)
        else:
            n_cpus = max(1, min(n_workers or n_processors(), n_sets))
            with _environment({**SETTINGS, "RAY_USAGE_STATS_ENABLED": "0"}):
                ray.init("local", num_cpus=n_cpus, include_dashboard=False, **quiet)
        yield
    finally:
        ray.shutdown()


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Set variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _failed(error: Exception) -> SimulationError:
    # Of ray it holds a whole traceback, which stands in the cause too.
    last = str(error).strip().rpartition("\n")[2]
    msg = (
        f"the cluster could not run a batch of sets: {type(error).__name__}: {last}\n"
        "Hint: all its machines need the same version of barloop."
    )
    return SimulationError(msg)
