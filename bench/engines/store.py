"""Write what other engines do with the parity workloads to ``tests/references``.

``python bench/engines/store.py workloads`` writes the workloads that are not there yet.
``python bench/engines/store.py vectorbt_close bt_integer`` runs these variants on the
stored workloads, in an interpreter that has their engine.  Stored, not made again:
a newer numpy may round the last digit of a weight otherwise.
"""

from __future__ import annotations

import argparse
import json
import platform
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import polars as pl

from workloads import Workload, workloads

REFERENCES = Path(__file__).parents[2] / "tests" / "references"
ENGINES = {
    "vectorbt_close": ("run_vectorbt", "vectorbt"),
    "vectorbt_next_open": ("run_vectorbt", "vectorbt"),
    "bt_fractional": ("run_bt", "bt"),
    "bt_integer": ("run_bt", "bt"),
    "backtrader": ("run_backtrader", "backtrader"),
    "zipline": ("run_zipline", "zipline-reloaded"),
    "ml4t_fractional": ("run_ml4t", "ml4t-backtest"),
    "ml4t_fractional_partial": ("run_ml4t", "ml4t-backtest"),
    "ml4t_integer": ("run_ml4t", "ml4t-backtest"),
    "ml4t_same_bar": ("run_ml4t", "ml4t-backtest"),
}
COSTS = ("initial_cash", "commission_bps", "slippage_bps", "whole")
FILLS = {
    "date": pl.Date,
    "symbol": pl.String,
    "quantity": pl.Float64,
    "price": pl.Float64,
    "commission": pl.Float64,
}
EQUITY = {"date": pl.Date, "cash": pl.Float64, "equity": pl.Float64}


def stored_workloads() -> list[Workload]:
    """Read the stored workloads.

    Returns
    -------
    list of Workload
        In the order in which they were made.
    """
    folder = REFERENCES / "workloads"
    described = json.loads((REFERENCES / "workloads.json").read_text())
    return [
        Workload(
            name=name,
            bars=pl.read_parquet(folder / f"{name}_bars.parquet"),
            weights=pl.read_parquet(folder / f"{name}_weights.parquet"),
            **costs,
        )
        for name, costs in described.items()
    ]


def store_workloads() -> None:
    """Write bars, weights and costs of the workloads that are not stored yet."""
    folder = REFERENCES / "workloads"
    folder.mkdir(parents=True, exist_ok=True)
    described = {}
    for workload in workloads():
        bars = folder / f"{workload.name}_bars.parquet"
        if not bars.exists():
            _write(workload.bars, bars)
            _write(workload.weights, folder / f"{workload.name}_weights.parquet")
        described[workload.name] = {name: getattr(workload, name) for name in COSTS}
    _write_json(described, REFERENCES / "workloads.json")


def store_variant(variant: str, into: Path) -> None:
    """Run a variant on the stored workloads, write fills, equity and versions.

    Parameters
    ----------
    variant : str
        A key of `ENGINES`.
    into : Path
        The folder that gets, or has, a folder of this name.

    Notes
    -----
    What the variant changes in a workload, its module says in ``CHANGES``; it is
    written beside the versions.  Where the engine is not installed nothing is written.
    """
    module_name, distribution = ENGINES[variant]
    try:
        engine_version = version(distribution)
    except PackageNotFoundError:
        print(f"{variant}: left out, {distribution} is not installed", flush=True)
        return
    module = import_module(module_name)
    folder = into / variant
    folder.mkdir(parents=True, exist_ok=True)
    for workload in stored_workloads():
        fills, equity = module.run(workload, variant)
        stem = str(folder / workload.name)
        _write(fills.select(*FILLS).cast(FILLS), Path(f"{stem}_fills.parquet"))
        _write(equity.select(*EQUITY).cast(EQUITY), Path(f"{stem}_equity.parquet"))
        print(f"{variant}, {workload.name}: {fills.height} fills", flush=True)
    versions = {
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "pandas": version("pandas"),
        distribution: engine_version,
    }
    changes = getattr(module, "CHANGES", {}).get(variant, {})
    described = {"versions": versions, "workload_changes": changes}
    _write_json(described, folder / "versions.json")


def _write(frame: pl.DataFrame, path: Path) -> None:
    frame.write_parquet(path, compression="zstd", compression_level=19)


def _write_json(value: object, path: Path) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def main() -> None:
    """Store the workloads or the variants that are named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    known = ["workloads", *ENGINES]
    parser.add_argument("names", nargs="+", choices=known, metavar="NAME")
    parser.add_argument("--into", type=Path, default=REFERENCES, metavar="FOLDER")
    options = parser.parse_args()
    for name in options.names:
        if name == "workloads":
            store_workloads()
        else:
            store_variant(name, options.into)


if __name__ == "__main__":
    main()
