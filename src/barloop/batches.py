"""Sets on their way to workers and back, in batches that take about as long."""

from __future__ import annotations

import itertools
import pickle
import queue
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from barloop.errors import SimulationError
from barloop.parcel import Assignment, Outcome, dumps

BATCH_SECONDS = 0.1
"""Time that a batch is to take: far more than sending it, and soon back."""

MAX_BATCH = 1_000
"""Sets of a batch at most."""

AHEAD = 2
"""Batches on their way for each slot: one runs, one waits."""

LONG_SECONDS = 0.5
"""Sets that take longer do not wait at a worker: they could not be called back."""

SLOTS_SECONDS = 5.0
"""How often a cluster is asked for its size, which may change."""

POLL_SECONDS = 0.1
"""How long the main thread waits at most before it can hear of Ctrl-C."""

Handle = Any
"""Stands for a batch on its way; hashable."""


class WorkerLostError(Exception):
    """A worker died; the message says how, if that is known."""


class Batches:
    """Cut sets into batches, by the time that earlier ones took.

    Parameters
    ----------
    sets : iterable of (int, dict)
        Taken as needed.
    n_sets : int
        Their number.

    Attributes
    ----------
    size : int
        Sets of the next batch.
    ahead : int
        Batches that may be on their way for each slot.
    """

    def __init__(self, sets: Iterable[tuple[int, Assignment]], n_sets: int) -> None:
        self._source = iter(sets)
        self._n_left = n_sets
        self._seconds: float | None = None
        self.size = 1
        self.ahead = 1

    def take(self, n_slots: int) -> list[tuple[int, Assignment]]:
        """Return the next batch; empty at the end.

        Parameters
        ----------
        n_slots : int
            Workers among which the last sets are to be shared.
        """
        share = self._n_left // (AHEAD * n_slots)
        batch = list(itertools.islice(self._source, max(1, min(self.size, share))))
        self._n_left -= len(batch)
        return batch

    def learn(self, n_sets: int, seconds: float) -> None:
        """Choose the size of batches to come.

        Parameters
        ----------
        n_sets : int
            Sets of a batch that ended.
        seconds : float
            Time that they took.
        """
        each = seconds / n_sets
        if self._seconds is not None:
            each = (each + self._seconds) / 2.0
        self._seconds = each
        fitting = int(BATCH_SECONDS / max(each, BATCH_SECONDS / MAX_BATCH))
        self.ahead = 1 if each > LONG_SECONDS else AHEAD
        # A few fast sets do not prove that all are.
        self.size = max(1, min(fitting, 4 * self.size))


def exchange(
    sets: Iterable[tuple[int, Assignment]],
    n_sets: int,
    *,
    n_slots: Callable[[], int],
    submit: Callable[[bytes], Handle],
    collect: Callable[[list[Handle]], Iterable[tuple[Handle, bytes]]],
) -> Iterator[Outcome]:
    """Keep workers busy and yield what comes back.

    Parameters
    ----------
    sets, n_sets
        See `Batches`.
    n_slots : callable
        Says how many batches can run at a time.
    submit : callable
        Sends a pickled batch to `run_batch` and returns at once.
    collect : callable
        Waits a moment, and gives those of the handles that have ended, with their
        pickled reports.

    Yields
    ------
    Outcome
        Of each set, in the order of arrival.

    Raises
    ------
    SimulationError
        If a worker died.
    """
    batches = Batches(sets, n_sets)
    running: dict[Handle, list[int]] = {}
    slots, asked, at_end = 0, 0.0, False
    while True:
        now = time.monotonic()
        if not slots or now - asked > SLOTS_SECONDS:
            slots, asked = max(1, n_slots()), now
        try:
            while not at_end and len(running) < batches.ahead * slots:
                batch = batches.take(slots)
                at_end = not batch
                if batch:
                    handle = submit(dumps(batch, "a parameter of a set"))
                    running[handle] = [number for number, _ in batch]
            if not running:
                return
            for handle, said in collect(list(running)):
                numbers = running.pop(handle)
                report = pickle.loads(said)
                if report.error is None:
                    batches.learn(len(numbers), report.seconds)
                yield from report.outcomes
                if report.error is not None:
                    raise report.error
        except WorkerLostError as error:
            raise _lost(error, running) from None


def arrived(done: queue.SimpleQueue[Any]) -> Iterator[Any]:
    """Yield what has arrived in a queue; wait a moment for the first.

    Parameters
    ----------
    done : SimpleQueue
        Of anything.

    Yields
    ------
    object
        Each, until the queue is empty.
    """
    with suppress(queue.Empty):
        yield done.get(timeout=POLL_SECONDS)
        while True:
            yield done.get_nowait()


def _lost(error: WorkerLostError, running: dict[Handle, list[int]]) -> SimulationError:
    numbers = sorted(itertools.chain.from_iterable(running.values()))
    shown = ", ".join(str(number) for number in numbers[:10])
    more = f" and {len(numbers) - 10:,} more" if len(numbers) > 10 else ""
    how = f" ({error})" if str(error) else ""
    return SimulationError(
        f"a worker process died{how} while it ran one of the sets {shown}{more}.\n"
        "Hint: the system may have killed it for want of memory: use fewer workers "
        "(n_workers=); or compiled code that the weights function calls crashed: run "
        "these sets with executor=None."
    )
