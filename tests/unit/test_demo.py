"""The command line and what the demo prints and writes."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import barloop as bl
from barloop import demo
from barloop.cli import main
from barloop.errors import AuditError


def test_demo_runs_three_strategies_and_writes_their_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["demo", "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert told.count("audit                     clean: ") == 3
    # Profit by exit reason, of the run that has exits.
    assert told.count("closed by") == 1
    (line,) = (line for line in told.splitlines() if "trailing_stop" in line)
    assert line.split()[:2] == ["trailing_stop", "76"]
    for job in ("top25", "top25-stops", "momentum"):
        folder = tmp_path / "out" / job
        written = {path.name for path in folder.iterdir()}
        assert written == {f"{name}.parquet" for name in demo.FRAMES} | {"config.json"}
        text = (folder / "config.json").read_text()
        assert bl.BacktestConfig.from_json(text).to_json() + "\n" == text
        fills = pl.read_parquet(folder / "fills.parquet")
        assert fills.height > 100


def test_an_error_is_told_in_one_message(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    def broken(folder: Path) -> None:
        raise AuditError("cash does not follow from the fills")

    monkeypatch.setattr("barloop.cli.demo", broken)
    assert main(["demo", "--out", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert told.err == "barloop: cash does not follow from the fills\n"
    assert told.out == ""


def test_a_command_is_needed(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "demo" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"barloop {bl.__version__}\n"
