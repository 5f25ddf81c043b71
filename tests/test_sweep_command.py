"""`barloop sweep`: what a batch job sees, and what a kill leaves behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

import barloop as bl
from barloop.cli import main

pytestmark = pytest.mark.once

WEIGHTS = """
import time
from pathlib import Path

import barloop as bl
import polars as pl

LOG = Path(__file__).with_name("calls")
column = pl.lit(0.1)


def top(lookback, n):
    return bl.equal_weight(bl.top_n(bl.momentum("close", lookback), n))


def slow(bar, n, seconds=0.02):
    if bar.t == 4:
        time.sleep(seconds)
        with LOG.open("a") as file:
            file.write(f"{n}\\n")
    return dict.fromkeys(bar.assets[: n % 9 + 1], 0.1)


def fails(bar, n):
    if n == 2:
        raise RuntimeError("two")
    return None
"""

GRID = """
[grid]
lookback = [5, 20]
n = [2, 4]
"commission.bps" = [0, 10]

[config]
schedule = "week_end"

[config.slippage]
bps = 3
"""


@pytest.fixture
def job(tmp_path, monkeypatch) -> Path:
    """A folder with data, weights and a grid, and the working folder."""
    bl.datasets.simulate_bars(10, 60, seed=1).write_parquet(tmp_path / "bars.parquet")
    # A module of its own for each test: Python imports a name once.
    name = f"rules_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(WEIGHTS)
    (tmp_path / "grid.toml").write_text(GRID)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def words(job: Path, function: str, *more: str) -> list[str]:
    (module,) = (path.stem for path in job.glob("rules_*.py"))
    return [
        "sweep",
        *("--data", str(job / "bars.parquet")),
        *("--weights", f"{module}:{function}"),
        *("--grid", str(job / "grid.toml")),
        *more,
    ]


@pytest.mark.parametrize("executor", ["serial", "threads", "processes", "dask"])
def test_a_sweep_of_the_command_line(job, capsys, executor):
    out = job / f"{executor}.parquet"
    more = ["--executor", executor, "--out", str(out)]
    more += [] if executor == "serial" else ["--workers", "2"]
    assert main(words(job, "top", *more)) == 0
    said = capsys.readouterr()
    assert "trials" in said.out
    table = pl.read_parquet(out)
    assert table.height == 8
    assert table["error"].null_count() == 8
    config = bl.BacktestConfig().replace(
        {"schedule": "week_end", "slippage.bps": 3, "commission.bps": 10}
    )
    expected = bl.run_backtest(
        pl.read_parquet(job / "bars.parquet"),
        bl.equal_weight(bl.top_n(bl.momentum("close", 20), 4)),
        config=config,
    )
    assert table["final_equity"][7] == expected.final_equity


def test_searches_params_and_csv(job, capsys):
    (job / "grid.toml").write_text(
        """
        [space]
        lookback = {low = 3, high = 40}
        [search]
        kind = "latin_hypercube"
        n = 6
        seed = 1
        [params]
        n = 3
        """
    )
    out = job / "runs.csv"
    assert main(words(job, "top", "--out", str(out))) == 0
    assert pl.read_csv(out)["lookback"].n_unique() == 6


def test_some_sets_that_fail_give_status_3(job, capsys):
    (job / "grid.toml").write_text("[grid]\nn = [1, 2]\n")
    assert main(words(job, "fails")) == 3
    assert "RuntimeError: two" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("grid", "function", "more", "message"),
    [
        ("[grid]\nn = [2]\nlookbak = [1]", "top", [], "Did you mean 'lookback'"),
        ("n = [2]", "top", [], "below [grid]"),
        ("[grid", "top", [], "is not TOML"),
        ("[params]\nn = 2", "top", [], "needs one of the tables [grid] and [space]"),
        ("[space]\nn = [2]", "top", [], "[space] and [search] belong together"),
        ("[space]\nn = [2]\n[search]\nn = 3", "top", [], "needs kind"),
        (GRID, "tops", [], "Did you mean 'top'"),
        (GRID, "top", ["--executor", "thread"], "Did you mean 'threads'"),
        (GRID, "top", ["--out", "runs.xlsx"], "must end in .parquet or .csv"),
        (GRID, "top", ["--start", "2099-01-01"], "2099"),
    ],
)
def test_wrong_input_gives_one_message_and_status_1(
    job, capsys, grid, function, more, message
):
    (job / "grid.toml").write_text(grid)
    assert main(words(job, function, *more)) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("barloop: ")
    assert "Traceback" not in said.err


def test_missing_files_and_modules(job, capsys):
    given = words(job, "top")
    for place, wrong in (
        (2, "nowhere.parquet"),
        (4, "nowhere:f"),
        (4, "top"),
        (6, "x"),
    ):
        changed = [*given]
        changed[place] = wrong
        assert main(changed) == 1
        assert wrong.partition(":")[0] in capsys.readouterr().err


def start(job: Path, *more: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "barloop", *words(job, "slow", *more)],
        cwd=job,
        env={**os.environ, "PYTHONPATH": str(Path(bl.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def calls(job: Path) -> list[int]:
    log = job / "calls"
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def wait_for(job: Path, n_calls: int, process: subprocess.Popen) -> None:
    until = time.monotonic() + 120
    while len(calls(job)) < n_calls:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_ctrl_c_stops_within_a_second_and_keeps_what_is_finished(job, executor):
    (job / "grid.toml").write_text(f"[grid]\nn = {list(range(300))}\n")
    process = start(job, "--resume", "runs", "--executor", executor)
    wait_for(job, 5, process)
    os.killpg(process.pid, signal.SIGINT)
    sent = time.monotonic()
    out, err = process.communicate(timeout=60)
    seconds = time.monotonic() - sent
    assert process.returncode == 130, (out, err)
    assert "interrupted" in err
    assert "Traceback" not in err
    # The interpreter's own end is counted too, on a machine that may be busy.
    assert seconds < 5.0
    stored = [path for path in (job / "runs").rglob("*") if path.is_file()]
    assert stored


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_kill_9_at_any_moment_loses_and_redoes_nothing_finished(job, executor):
    """Each call is a line before its set ends: of a killed run one set per worker.

    A set that was called, and neither stored nor called again, would be lost; a set
    that was called twice more often than runs were killed would have been redone.
    """
    n_sets, n_kills = 60, 4
    (job / "grid.toml").write_text(f"[grid]\nn = {list(range(n_sets))}\n")
    rng = random.Random(executor)
    for _ in range(n_kills):
        before = len(calls(job))
        process = start(job, "--resume", "runs", "--executor", executor)
        wait_for(job, before + rng.randrange(1, 12), process)
        time.sleep(rng.random() * 0.03)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    # Workers of a killed parent end by themselves; none may write any more.
    time.sleep(1.5 if executor == "processes" else 0.0)
    process = start(job, "--resume", "runs", "--executor", executor, "--out", "x.csv")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, (out, err)
    table = pl.read_csv(job / "x.csv")
    assert table["n"].to_list() == list(range(n_sets))
    assert table["n_fills"].null_count() == 0
    made = calls(job)
    assert set(made) == set(range(n_sets))
    # What ran twice was running when its process was killed: one set per worker.
    n_workers = 1 if executor == "serial" else os.cpu_count() or 1
    assert len(made) <= n_sets + n_kills * n_workers
    # And the whole is what an unbroken run gives.
    whole = start(job, "--executor", "serial", "--out", "y.csv")
    out, err = whole.communicate(timeout=300)
    assert whole.returncode == 0, (out, err)
    assert (job / "x.csv").read_text() == (job / "y.csv").read_text()
