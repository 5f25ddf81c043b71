"""All executors give the same, stop at once, and leave nothing behind."""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import importlib.util
import itertools
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import numba
import numpy as np
import polars as pl
import psutil
import pytest

from barloop import worker_pool
from barloop.config import BacktestConfig
from barloop.engine import prepare
from barloop.enums import BarField
from barloop.errors import ConfigError, SimulationError, WeightsError
from barloop.executors import execute
from barloop.panel import Panel

pytestmark = pytest.mark.once

# Workers need not be able to import the tests.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

REMOTE = ["processes", "dask", "ray"]
ALL = [None, "threads", *REMOTE]
SOON = 4.0
"""Seconds: one, and what a busy machine adds."""
Run = Callable[[int, dict[str, Any]], Any]


def made_panel(n_bars: int = 80, n_assets: int = 12) -> Panel:
    rng = np.random.default_rng(7)
    close = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, (n_bars, n_assets)), axis=0))
    first = dt.date(2023, 1, 2)
    days = [first + dt.timedelta(days=k) for k in range(n_bars)]
    df = pl.DataFrame(
        {
            "date": [day for day in days for _ in range(n_assets)],
            "symbol": [f"S{i:02d}" for i in range(n_assets)] * n_bars,
            "open": (close * 1.001).reshape(-1),
            "close": close.reshape(-1),
        }
    )
    return Panel.from_frame(df)


@dataclass(frozen=True)
class Backtests:
    """Sets that run a Python callback."""

    panel: Panel
    weights_fn: Any

    def start(self) -> Run:
        config = BacktestConfig(schedule=5, bars_per_year=252)

        def run(number: int, assignment: dict[str, Any]) -> tuple[int, bytes]:
            simulation = prepare(
                self.panel, self.weights_fn, config=config, params=assignment
            )
            simulation.reset(keep_log=False)
            simulation.run()
            return number, simulation.bars[BarField.EQUITY].tobytes()

        return run


@dataclass(frozen=True)
class Calls:
    """Sets that call a function."""

    panel: Panel
    function: Any

    def start(self) -> Run:
        return lambda number, assignment: self.function(number, **assignment)


@dataclass(frozen=True)
class Starts:
    """Sets that say where they ran and on what."""

    panel: Panel

    def start(self) -> Run:
        name = (os.getpid(), threading.get_ident(), os.urandom(8))
        return lambda number, assignment: (name, self.panel.close[0, 0].item())


def momentum(bar: Any, lookback: int, n: int) -> Any:
    if bar.t < lookback:
        return None
    close = bar.history("close", lookback + 1)
    best = np.argsort(close[0] / close[-1], kind="stable")[:n]
    weights = np.zeros(close.shape[1])
    weights[best] = 1.0 / n
    return weights


def numbered(n_sets: int, **assignment: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    return ((number, dict(assignment)) for number in range(n_sets))


def call(executor: Any, function: Any, n_sets: int = 20, **more: Any) -> list[Any]:
    job = Calls(made_panel(3, 2), function)
    return list(execute(executor, job, numbered(n_sets), n_sets=n_sets, **more))


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    settings = {
        # A set that ends its worker is not tried three times again.
        "distributed.scheduler.allowed-failures": 0,
        # A busy machine takes longer to start workers than dask expects.
        "distributed.comm.timeouts.connect": "180s",
        "distributed.comm.timeouts.tcp": "180s",
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def running_ray() -> Iterator[str]:
    import ray

    ray.init(
        "local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield "ray"
    ray.shutdown()


@pytest.fixture(autouse=True)
def kept_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pytest names each test in the environment, with which workers start anew."""
    monkeypatch.setattr(worker_pool, "_conditions", lambda n_workers: n_workers)


@pytest.fixture
def executor(request: pytest.FixtureRequest) -> Any:
    if request.param == "dask":
        return request.getfixturevalue("client")
    if request.param == "ray":
        return request.getfixturevalue("running_ray")
    return request.param


def on(names: list[Any]) -> Any:
    return pytest.mark.parametrize("executor", names, indirect=True, ids=str)


def test_all_executors_give_the_same_bits(client: Any, running_ray: str) -> None:
    job = Backtests(made_panel(), momentum)
    sets = [
        (number, {"lookback": lookback, "n": n})
        for number, (lookback, n) in enumerate(itertools.product((5, 10, 20), (1, 3)))
    ]

    def equity(executor: Any) -> dict[int, bytes]:
        outcomes = list(execute(executor, job, iter(sets), n_sets=len(sets)))
        assert len(outcomes) == len(sets)
        return dict(outcomes)

    serial = equity(None)
    assert len(set(serial.values())) == len(sets)
    for executor in ("threads", "processes", client, running_ray):
        assert equity(executor) == serial


@on(ALL)
def test_each_set_runs_once(executor: Any) -> None:
    assert sorted(call(executor, lambda number: number, 500)) == list(range(500))


@on(ALL)
def test_nothing_to_do(executor: Any) -> None:
    assert call(executor, lambda number: number, 0) == []


@on(ALL)
def test_sets_are_taken_as_they_are_needed(executor: Any) -> None:
    taken = []

    def sets() -> Iterator[tuple[int, dict[str, Any]]]:
        for number in range(100_000):
            taken.append(number)
            yield number, {}

    def wait(number: int) -> int:
        time.sleep(0.01)
        return number

    job = Calls(made_panel(3, 2), wait)
    with contextlib.closing(execute(executor, job, sets(), n_sets=100_000)) as outcomes:
        for _ in range(5):
            next(outcomes)
        time.sleep(0.3)
        assert len(taken) < 200


@on(["threads", *REMOTE])
def test_each_worker_starts_once_on_the_same_data(executor: Any) -> None:
    job = Starts(made_panel(3, 2))
    outcomes = list(execute(executor, job, numbered(300), n_sets=300))
    assert {close for _, close in outcomes} == {job.panel.close[0, 0]}
    starts = {name for name, _ in outcomes}
    threads = {(process, thread) for process, thread, _ in starts}
    assert len(starts) == len(threads)
    assert (os.getpid() in {process for process, *_ in starts}) == (
        executor == "threads"
    )


@on(REMOTE)
def test_a_second_sweep_sees_its_own_data(executor: Any) -> None:
    for scale in (2.0, 3.0):
        assert set(call(executor, lambda _, s=scale: s)) == {scale}


def test_workers_of_dask_drop_the_data_of_a_sweep(client: Any) -> None:
    def n_jobs() -> int:
        from barloop import workers

        gc.collect()
        return len(workers._jobs)

    call(client, lambda number: number)
    until = time.monotonic() + 5.0
    while any(client.run(n_jobs).values()) and time.monotonic() < until:
        time.sleep(0.05)
    assert set(client.run(n_jobs).values()) == {0}


@on(REMOTE)
def test_compiled_functions_travel(executor: Any) -> None:
    @numba.njit
    def double(x: float) -> float:
        return 2.0 * x

    assert sorted(call(executor, lambda number: double(number), 4)) == [0, 2, 4, 6]


@on(REMOTE)
def test_functions_travel_in_a_set(executor: Any) -> None:
    job = Calls(made_panel(3, 2), lambda number, rule: rule(number))
    sets = [(1, {"rule": lambda x: x + 1}), (2, {"rule": lambda x: x * 5})]
    assert sorted(execute(executor, job, sets, n_sets=2)) == [2, 10]


@on(ALL)
def test_a_refusal_arrives_unchanged(executor: Any) -> None:
    def refuse(number: int) -> int:
        if number == 7:
            msg = "weight must be finite.\nHint: drop it."
            raise WeightsError(msg)
        return number

    with pytest.raises(WeightsError, match=r"^weight must be finite.\nHint: drop it.$"):
        call(executor, refuse)


@on(REMOTE)
def test_a_bug_says_where_it_was(executor: Any) -> None:
    def divide(number: int) -> float:
        return 1.0 / (number - 3)

    with pytest.raises(ZeroDivisionError) as caught:
        call(executor, divide)
    assert "in divide" in caught.value.__notes__[0]


@on(REMOTE)
def test_an_error_that_cannot_travel_is_told(executor: Any) -> None:
    class OddError(Exception):
        def __init__(self, one: int, other: int) -> None:
            super().__init__(f"{one} is not {other}")

    def fail(number: int) -> int:
        raise OddError(number, 2)

    with pytest.raises(SimulationError, match=r"OddError: \d is not 2"):
        call(executor, fail, 4)


@on(ALL)
def test_an_error_of_start_arrives(executor: Any) -> None:
    @dataclass(frozen=True)
    class Broken:
        panel: Panel

        def start(self) -> Run:
            raise KeyError("no such column")

    with pytest.raises(KeyError, match="no such column"):
        list(execute(executor, Broken(made_panel(3, 2)), numbered(5), n_sets=5))


@on(ALL)
def test_an_error_of_the_sets_arrives(executor: Any) -> None:
    def sets() -> Iterator[tuple[int, dict[str, Any]]]:
        yield from numbered(5)
        raise LookupError("the grid ends here")

    job = Calls(made_panel(3, 2), lambda number: number)
    with pytest.raises(LookupError, match="the grid ends here"):
        list(execute(executor, job, sets(), n_sets=50))


@on(REMOTE)
def test_what_cannot_be_sent(executor: Any) -> None:
    lock = threading.Lock()
    with pytest.raises(ConfigError, match=r"cannot pickle(.|\n)*executor=\"threads\""):
        call(executor, lambda number: lock.locked())


@on(REMOTE)
def test_a_module_that_workers_do_not_have(executor: Any, tmp_path: Path) -> None:
    path = tmp_path / "my_strategy.py"
    path.write_text("def weights(number):\n    return number\n")
    spec = importlib.util.spec_from_file_location("my_strategy", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["my_strategy"] = module
    try:
        spec.loader.exec_module(module)
        with pytest.raises(SimulationError, match="cannot import 'my_strategy'"):
            call(executor, module.weights)
    finally:
        del sys.modules["my_strategy"]


@on(REMOTE)
def test_a_worker_that_dies_is_one_clear_error(executor: Any) -> None:
    def crash(number: int) -> int:
        if number == 11:
            os._exit(3)
        return number

    with pytest.raises(SimulationError) as caught:
        call(executor, crash)
    assert "a worker process died" in str(caught.value)
    assert "11" in str(caught.value).partition("\n")[0]
    assert "memory" in str(caught.value)
    if executor == "processes":
        assert "(exit code EXIT(3))" in str(caught.value)
    # The next sweep is not troubled.
    assert sorted(call(executor, lambda number: number, 4)) == [0, 1, 2, 3]


def test_workers_have_one_thread_each() -> None:
    def count(number: int) -> tuple[int, ...]:
        return pl.thread_pool_size(), numba.get_num_threads()

    assert set(call("processes", count, 4)) == {(1, 1)}


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for temporary files that no other process uses."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def children() -> set[int]:
    """Worker processes; not those that watch over semaphores, which Python keeps."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "popen_loky" in " ".join(process.cmdline()):
                found.add(process.pid)
    return found


def test_workers_stay_for_the_next_sweep_and_files_do_not(own_folder: Path) -> None:
    def process(number: int) -> int:
        time.sleep(0.05)
        return os.getpid()

    first = set(call("processes", process, n_workers=2))
    assert first == children()
    assert len(first) == 2
    assert set(call("processes", process, n_workers=2)) == first
    assert list(own_folder.iterdir()) == []


def test_workers_start_anew_when_their_conditions_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    path = tmp_path / "my_module.py"
    monkeypatch.syspath_prepend(tmp_path)

    def conditions() -> Any:
        found = worker_pool._conditions(2)
        assert found == worker_pool._conditions(2)
        return found

    path.write_text("x = 1")
    seen = [conditions()]
    __import__("my_module")
    seen.append(conditions())
    os.utime(path, ns=(0, 0))
    seen.append(conditions())
    monkeypatch.chdir(tmp_path)
    seen.append(conditions())
    monkeypatch.setenv("MY_VARIABLE", "1")
    seen.append(conditions())
    seen.append(worker_pool._conditions(3))
    assert len(set(seen)) == len(seen)
    del sys.modules["my_module"]

    before = set(call("processes", lambda number: os.getpid(), n_workers=2))
    monkeypatch.setenv("MY_VARIABLE", "2")
    value = call("processes", lambda number: os.environ["MY_VARIABLE"], n_workers=2)
    assert set(value) == {"2"}
    assert not before & children()


@on(ALL)
def test_a_closed_iterator_ends_all_within_a_second(
    executor: Any, own_folder: Path
) -> None:
    def wait(number: int) -> int:
        time.sleep(0.2)
        return number

    job = Calls(made_panel(3, 2), wait)
    outcomes = execute(executor, job, numbered(1000), n_sets=1000)
    first = next(outcomes)
    began = time.monotonic()
    outcomes.close()
    assert time.monotonic() - began < SOON
    assert first in range(10)
    if executor == "processes":
        assert children() == set()
        assert list(own_folder.iterdir()) == []
    # Workers are free again.
    assert sorted(call(executor, lambda number: number, 4)) == [0, 1, 2, 3]


def test_threads_that_are_in_a_long_set_are_left_alone() -> None:
    job = Calls(made_panel(3, 2), lambda number: time.sleep(0.01 if number == 0 else 8))
    outcomes = execute("threads", job, numbered(10), n_sets=10, n_workers=2)
    next(outcomes)
    began = time.monotonic()
    outcomes.close()
    assert time.monotonic() - began < SOON


@pytest.mark.parametrize("executor", ["thread", 4, "dask", object, "Threads"])
def test_an_unknown_executor_names_the_choices(executor: Any) -> None:
    with pytest.raises(ConfigError, match=r"'threads', 'processes', 'ray' or a dask"):
        call(executor, abs)


def test_dask_as_a_name_says_what_to_pass() -> None:
    with pytest.raises(ConfigError, match="pass a client"):
        call("dask", abs)


@pytest.mark.parametrize(
    ("executor", "package", "extra"),
    [
        ("processes", "loky", "processes"),
        ("processes", "cloudpickle", "processes"),
        ("ray", "ray", "ray"),
    ],
)
def test_a_missing_package_names_its_extra(
    executor: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == package else find(name),
    )
    with pytest.raises(ConfigError, match=rf"{package}(.|\n)*'barloop\[{extra}\]'"):
        call(executor, abs)


@pytest.mark.parametrize("n_workers", [0, -1, 1.5, True, "2"])
def test_a_number_of_workers_that_is_none(n_workers: Any) -> None:
    with pytest.raises(ConfigError, match="n_workers must be a whole number from 1"):
        call("threads", abs, n_workers=n_workers)


@on([None, "dask", "ray"])
def test_a_number_of_workers_without_a_meaning(executor: Any) -> None:
    with pytest.raises(ConfigError, match="n_workers=2 has no meaning with"):
        call(executor, abs, n_workers=2)
