"""Count the machine instructions of the loop, beside another commit's.

    python bench/instructions.py --against HEAD~1

Wall times move by half on a shared machine; instruction counts do not.  Both trees run
the same work under valgrind (which must be installed) with portable machine code, and
the count of one run is the difference between many runs and few, so that start-up,
imports, loading compiled code and allocation drop out.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
FEW, MANY = 2, 302
CASES = ("default", "stops")

CHILD = """
import sys
import numpy as np
import polars as pl
import barloop as bl
from barloop.config import BacktestConfig
from barloop.engine import prepare

case, n_runs = sys.argv[1], int(sys.argv[2])
bars = bl.datasets.simulate_bars(200, 500, seed=7)
random = np.random.default_rng(7)
rank = random.random((500, 200)).argsort(axis=1).argsort(axis=1)
bars = bars.with_columns(weight=pl.Series(np.where(rank < 25, 0.04, 0.0).ravel()))
members = dict(commission=bl.Commission(bps=10), slippage=bl.Slippage(bps=5))
if case == "stops":
    members["exits"] = bl.Exits(stop_loss=0.1, trailing_stop=0.08)
simulation = prepare(bars, "weight", config=BacktestConfig(**members))
for k in range(int(sys.argv[3])):
    simulation.reset(keep_log=True)
    if k < n_runs:
        simulation.run()
"""


def count(source: Path, case: str, folder: str) -> float:
    """Return the instructions of one run.

    Parameters
    ----------
    source : Path
        The ``src`` folder of a tree.
    case : str
        One of `CASES`.
    folder : str
        For the compiled code.

    Returns
    -------
    float
        Instructions from the first bar to the last, allocation left out.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(source),
        "PYTHONHASHSEED": "0",
        "NUMBA_CACHE_DIR": folder,
        # Under valgrind the processor looks different: compile for any.
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
    }
    command = [sys.executable, "-c", CHILD, case]
    subprocess.run([*command, "1", "1"], env=environment, check=True)
    counts = []
    for n_runs in (FEW, MANY):
        made = subprocess.run(
            [
                "valgrind",
                "--tool=cachegrind",
                "--cache-sim=no",
                "--cachegrind-out-file=/dev/null",
                *command,
                str(n_runs),
                str(MANY),
            ],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        found = re.search(r"I\s+refs:\s+([\d,]+)", made.stderr)
        if found is None:
            sys.exit(made.stderr)
        counts.append(int(found.group(1).replace(",", "")))
    return (counts[1] - counts[0]) / (MANY - FEW)


def main() -> None:
    """Print the counts of this tree, and of another commit with their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", metavar="COMMIT")
    parser.add_argument("--case", choices=CASES, default="default")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = shutil.copytree(HERE.parent / "src", Path(folder) / "src")
        here = count(source, chosen.case, folder)
        print(f"this tree: {here:,.0f} instructions")
        if chosen.against:
            tree = Path(folder) / "tree"
            subprocess.run(
                ["git", "worktree", "add", "--detach", str(tree), chosen.against],
                cwd=HERE,
                check=True,
                capture_output=True,
            )
            try:
                there = count(tree / "src", chosen.case, folder)
            finally:
                subprocess.run(
                    ["git", "worktree", "remove", "--force", str(tree)],
                    cwd=HERE,
                    check=True,
                )
            print(f"{chosen.against}: {there:,.0f} instructions")
            print(f"ratio: {here / there:.4f}")


if __name__ == "__main__":
    main()
