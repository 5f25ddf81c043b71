"""Passes over whole columns, on more than one processor where that pays."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")

N_THREADS = min(4, os.cpu_count() or 1)
"""Threads of one pass.  No outcome depends on it."""

PARALLEL_FROM = 500_000
"""Cells from which a second thread pays for its start."""


def run_each(
    function: Callable[[Job], Outcome], jobs: Sequence[Job], n_cells: int
) -> list[Outcome]:
    """Call `function` on each job, in threads when there is much to do.

    Parameters
    ----------
    function : callable
        Must release the global interpreter lock to gain anything.
    jobs : sequence
        Its arguments.
    n_cells : int
        Size of the work of all jobs together.

    Returns
    -------
    list
        Outcomes in the order of `jobs`.
    """
    if n_cells < PARALLEL_FROM or len(jobs) < 2 or N_THREADS < 2:
        return [function(job) for job in jobs]
    with ThreadPoolExecutor(min(N_THREADS, len(jobs))) as pool:
        return list(pool.map(function, jobs))


def split(n_cells: int) -> list[tuple[int, int]]:
    """Cut ``range(n_cells)`` into one part per thread.

    Parameters
    ----------
    n_cells : int
        Size of the work.

    Returns
    -------
    list of (int, int)
        Start and stop of each part, in order; one part if the work is small.
    """
    n_parts = N_THREADS if n_cells >= PARALLEL_FROM else 1
    edges = [n_cells * k // n_parts for k in range(n_parts + 1)]
    return list(pairwise(edges))
