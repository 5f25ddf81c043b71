"""The command line: ``barloop demo`` and ``barloop sweep``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import barloop
from barloop.demo import demo
from barloop.errors import BarloopError
from barloop.sweep_command import add_sweep


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words after the program's name; those of the process when None.

    Returns
    -------
    int
        Exit status: 0, or 1 after an error that was told in one message.
    """
    parser = argparse.ArgumentParser(
        prog="barloop",
        description="A vectorized columnar portfolio backtester.",
    )
    parser.add_argument(
        "--version", action="version", version=f"barloop {barloop.__version__}"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo_parser = commands.add_parser(
        "demo",
        help="run three strategies, print their results, write all frames",
        description=(
            "Run the top-25 workload, the same with stops, and monthly momentum on "
            "real prices; audit them, and write every result frame as parquet."
        ),
    )
    demo_parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo-output"),
        metavar="DIR",
        help="folder for the frames (default: %(default)s)",
    )
    demo_parser.set_defaults(run=run_demo)
    add_sweep(commands)
    chosen = parser.parse_args(arguments)
    try:
        status: int = chosen.run(chosen)
    except (BarloopError, OSError) as error:
        print(f"barloop: {error}", file=sys.stderr)
        return 1
    return status


def run_demo(chosen: argparse.Namespace) -> int:
    """Run the demo into the folder that was chosen."""
    demo(chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
