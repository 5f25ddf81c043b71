"""Ctrl-C and kill: a sweep ends within a second and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.once

SOON = 4.0
"""Seconds: one, and what a busy machine adds."""

CHILD = """
import sys, time
from dataclasses import dataclass
from datetime import date
import polars as pl
from barloop.executors import execute
from barloop.panel import Panel

SECONDS = float(sys.argv[2])

def wait(number):
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        pass
    return number

@dataclass(frozen=True)
class Waiting:
    panel: Panel

    def start(self):
        return lambda number, assignment: wait(number)

df = pl.DataFrame({"date": [date(2024, 1, 2)], "symbol": ["A"], "close": [1.0]})
job = Waiting(Panel.from_frame(df))
executor = None if sys.argv[1] == "None" else sys.argv[1]
sets = ((number, {}) for number in range(100_000))
for number in execute(
    executor, job, sets, n_sets=100_000, n_workers=2 if executor else None
):
    print(number, flush=True)
"""


@pytest.fixture
def start_child(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    path, started = tmp_path / "child.py", []
    path.write_text(textwrap.dedent(CHILD))

    def start(executor: Any, seconds: float) -> Any:
        # The names of ray's sockets do not fit into folders of long names.
        folder = {} if executor == "ray" else {"TMPDIR": str(tmp_path)}
        child = subprocess.Popen(
            [sys.executable, "-W", "error", str(path), str(executor), str(seconds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **folder},
            start_new_session=True,
        )
        started.append(child)
        return child

    yield start
    for child in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def wait_until_gone(processes: list[psutil.Process], seconds: float) -> None:
    def alive() -> list[psutil.Process]:
        found = []
        for process in processes:
            # A zombie has ended; whoever inherited it has not asked how.
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    until = time.monotonic() + seconds
    while alive() and time.monotonic() < until:
        time.sleep(0.02)
    assert alive() == []


@pytest.mark.parametrize("to", ["process", "group"])
@pytest.mark.parametrize("executor", [None, "threads", "processes"])
def test_ctrl_c_ends_all_within_a_second(
    executor: str | None, to: str, start_child: Callable[..., Any], tmp_path: Path
) -> None:
    child = start_child(executor, 0.1)
    said = [child.stdout.readline() for _ in range(5)]
    workers = psutil.Process(child.pid).children(recursive=True)
    assert (executor == "processes") == bool(workers)
    began = time.monotonic()
    (os.killpg if to == "group" else os.kill)(child.pid, signal.SIGINT)
    rest, errors = child.communicate(timeout=30)
    assert time.monotonic() - began < SOON
    wait_until_gone(workers, SOON)
    numbers = [int(line) for line in [*said, *rest.split()]]
    assert len(set(numbers)) == len(numbers)
    assert set(numbers) <= set(range(100))
    assert errors.strip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1
    assert child.returncode == -signal.SIGINT
    assert list(tmp_path.glob("barloop-sweep-*")) == []


@pytest.mark.parametrize("when", ["at work", "starting"])
def test_killed_parent_leaves_no_worker_and_no_file(
    when: str, start_child: Callable[..., Any], tmp_path: Path
) -> None:
    child = start_child("processes", 0.1)
    if when == "at work":
        child.stdout.readline()
    while not list(tmp_path.glob("barloop-sweep-*")):
        time.sleep(0.001)
    workers = psutil.Process(child.pid).children(recursive=True)
    child.kill()
    child.wait()
    wait_until_gone(workers, 15.0)
    assert list(tmp_path.glob("barloop-sweep-*")) == []


def test_a_ray_that_was_started_here_ends_here(
    start_child: Callable[..., Any],
) -> None:
    child = start_child("ray", 0.01)
    numbers = {int(child.stdout.readline()) for _ in range(50)}
    assert len(numbers) == 50
    others = psutil.Process(child.pid).children(recursive=True)
    assert others != []
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert errors.strip().endswith("KeyboardInterrupt")
    wait_until_gone(others, 10.0)
