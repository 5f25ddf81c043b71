"""Every fill and every bar of other engines, as stored, is that of their profile.

The references are the output of the engines themselves, written by
``bench/engines/store.py``; no engine runs here.  The comparison, its tolerances and
their reasons stand in ``bench/parity.py``, which also runs the engines anew.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

import barloop as bl
from barloop.profiles import EXECUTIONS

REFERENCES = Path(__file__).parent / "references"
WORKLOADS = ("complete", "costs", "long_short", "monthly", "whole", "tight", "flips")


def load_parity() -> ModuleType:
    path = Path(__file__).parents[1] / "bench" / "parity.py"
    spec = importlib.util.spec_from_file_location("bench_parity", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


parity = load_parity()


@pytest.fixture
def altered(tmp_path: Path) -> Path:
    """A copy of the references that a test may spoil."""
    return Path(shutil.copytree(REFERENCES, tmp_path / "references"))


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("profile", EXECUTIONS)
def test_every_fill_and_every_bar_is_that_of_the_engine(
    profile: str, workload: str
) -> None:
    compared = parity.compare(profile, workload, REFERENCES)
    assert compared.n_theirs > 70
    assert compared.n_fills == compared.n_theirs
    assert compared.different_fills.is_empty(), compared.different_fills
    assert compared.different_bars.is_empty(), compared.different_bars


def test_every_profile_has_every_workload_and_an_engine() -> None:
    assert set(EXECUTIONS) == {
        name for them in parity.PROFILES.values() for name in them
    }
    assert tuple(parity.workload_names()) == WORKLOADS
    for profile in EXECUTIONS:
        names = {path.name for path in (REFERENCES / profile).iterdir()}
        stored = {
            f"{workload}_{what}.parquet"
            for workload in WORKLOADS
            for what in ("fills", "equity")
        }
        assert names == stored | {"versions.json"}


@pytest.mark.parametrize(
    ("profile", "engine", "workload"),
    [
        ("vectorbt_close", "vectorbt_next_open", "complete"),
        ("vectorbt_close", "ml4t_same_bar", "costs"),
        ("vectorbt_next_open", "ml4t_fractional", "complete"),
        ("bt_fractional", "vectorbt_close", "costs"),
        ("bt_integer", "bt_fractional", "whole"),
        ("bt_integer", "vectorbt_close", "whole"),
        ("backtrader", "ml4t_integer", "tight"),
        ("zipline", "backtrader", "whole"),
        ("ml4t_fractional", "ml4t_fractional_partial", "costs"),
        ("ml4t_fractional_partial", "vectorbt_next_open", "tight"),
        ("ml4t_integer", "ml4t_fractional", "whole"),
        ("ml4t_same_bar", "ml4t_fractional", "monthly"),
    ],
)
def test_a_profile_is_not_mistaken_for_another_engine(
    altered: Path, profile: str, engine: str, workload: str
) -> None:
    for what in ("fills", "equity"):
        name = f"{workload}_{what}.parquet"
        shutil.copy(REFERENCES / engine / name, altered / profile / name)
    compared = parity.compare(profile, workload, altered)
    assert not compared.different_fills.is_empty()
    assert not compared.different_bars.is_empty()


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("quantity", pl.col("quantity") * (1 + 3e-9)),
        ("price", pl.col("price") * (1 + 3e-9)),
        ("commission", pl.col("commission") + 1e-6),
        ("symbol", pl.lit("S99")),
    ],
)
def test_one_altered_fill_is_a_difference(
    altered: Path, column: str, change: pl.Expr
) -> None:
    path = altered / "zipline" / "monthly_fills.parquet"
    last = pl.int_range(pl.len()) == pl.len() - 1
    fills = pl.read_parquet(path)
    changed = pl.when(last).then(change).otherwise(column).alias(column)
    fills.with_columns(changed).write_parquet(path)
    compared = parity.compare("zipline", "monthly", altered)
    # A fill under another name is missing on one side and too much on the other.
    assert compared.different_fills.height == (2 if column == "symbol" else 1)
    assert not compared.agrees


def test_a_fill_less_and_a_bar_less_are_differences(altered: Path) -> None:
    for what in ("fills", "equity"):
        path = altered / "bt_integer" / f"monthly_{what}.parquet"
        pl.read_parquet(path).head(-1).write_parquet(path)
    compared = parity.compare("bt_integer", "monthly", altered)
    assert compared.different_fills.height == 1
    assert compared.different_bars.height == 1


def test_equity_that_differs_by_a_hundred_millionth_is_a_difference(
    altered: Path,
) -> None:
    path = altered / "backtrader" / "monthly_equity.parquet"
    pl.read_parquet(path).with_columns(pl.col("equity") * (1 + 1e-8)).write_parquet(
        path
    )
    compared = parity.compare("backtrader", "monthly", altered)
    assert compared.different_fills.is_empty()
    assert compared.different_bars.height == 160


ACTED_ON = {
    ("vectorbt_close", "cash_rule"),
    ("bt_fractional", "costs_in_size"),
    ("zipline", "rounding"),
}
"""Settings that the quirks of a profile act on: without one, no quirks."""


@pytest.mark.parametrize(
    ("profile", "setting", "other", "workload"),
    [
        ("vectorbt_close", "sequence", "asset_order", "monthly"),
        ("vectorbt_close", "cash_rule", "reject", "tight"),
        ("vectorbt_close", "compat", None, "flips"),
        ("vectorbt_next_open", "size_at", "decision", "monthly"),
        ("bt_fractional", "costs_in_size", "none", "monthly"),
        ("bt_integer", "rounding", "whole_target", "long_short"),
        ("bt_integer", "cash_rule", "partial", "monthly"),
        ("backtrader", "sequence", "asset_order", "monthly"),
        ("backtrader", "rounding", "whole_target", "monthly"),
        ("backtrader", "cash_rule", "partial", "tight"),
        ("backtrader", "compat", None, "tight"),
        ("zipline", "rounding", "whole_target", "monthly"),
        ("zipline", "cash_rule", "partial", "monthly"),
        ("ml4t_fractional", "sequence", "asset_order", "monthly"),
        ("ml4t_fractional", "cash_rule", "partial", "tight"),
        ("ml4t_fractional", "compat", None, "flips"),
        ("ml4t_integer", "rounding", "whole_target", "monthly"),
        ("ml4t_integer", "compat", None, "tight"),
        ("ml4t_same_bar", "compat", None, "flips"),
    ],
)
def test_a_profile_with_one_setting_changed_is_another_engine(
    monkeypatch: pytest.MonkeyPatch,
    profile: str,
    setting: str,
    other: str | None,
    workload: str,
) -> None:
    true_profile = bl.profile

    def changed(name: str) -> bl.BacktestConfig:
        changes = {f"execution.{setting}": other}
        if (profile, setting) in ACTED_ON:
            changes["execution.compat"] = None
        return true_profile(name).replace(changes)

    monkeypatch.setattr(parity.bl, "profile", changed)
    compared = parity.compare(profile, workload, REFERENCES)
    assert not compared.different_fills.is_empty()


@pytest.mark.parametrize("profile", ["backtrader", "ml4t_same_bar"])
def test_the_command_says_what_agrees(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    altered: Path,
    profile: str,
) -> None:
    engine = profile.partition("_")[0]
    monkeypatch.setattr(parity, "PROFILES", {engine: (profile,)})
    monkeypatch.setattr(parity, "workload_names", lambda: ["monthly"])
    with pytest.raises(SystemExit) as ended:
        parity.main(["--stored", "--engines", engine])
    assert ended.value.code == 0
    assert "1 of 1 agree" in capsys.readouterr().out

    path = altered / profile / "monthly_fills.parquet"
    pl.read_parquet(path).head(-1).write_parquet(path)
    monkeypatch.setattr(parity, "REFERENCES", altered)
    with pytest.raises(SystemExit) as ended:
        parity.main(["--stored", "--engines", engine])
    assert ended.value.code == 1
    assert "0 of 1 agree" in capsys.readouterr().out


def _versions() -> dict[str, Any]:
    return {
        name: json.loads((REFERENCES / name / "versions.json").read_text())["versions"]
        for name in EXECUTIONS
    }


def test_the_documents_name_every_profile_and_the_versions_compared() -> None:
    text = (Path(__file__).parents[1] / "docs" / "profiles.md").read_text()
    for name, versions in _versions().items():
        assert f'"{name}"' in text
        for library in versions.keys() - {"python", "numpy", "pandas"}:
            assert f"{library} {versions[library]}" in text
