"""Time barloop beside a memory copy and beside other backtesters, in one process.

    python bench/run.py                       # W1 to W5, the fast peers
    python bench/run.py --workloads W1,W2 --peers polars-backtest
    python bench/run.py --all --readme        # the slow peers too; rewrite the table

See ``bench/README.md`` for what is compared with what.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import warnings
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import barloop
import contenders
import overheads
import tables
from peers import PEERS
from workloads import WORKLOADS, Workload, build

ROOT = Path(__file__).parent.parent
LATEST = Path(__file__).parent / "results" / "latest.json"
MEMORY_WORKLOADS = ("W2", "W4")
LIBRARIES = ("polars", "numpy", "numba", "pyarrow", "pandas")


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    names = _chosen(options.workloads, WORKLOADS, "workload")
    peers = [PEERS[name] for name in _chosen(options.peers, PEERS, "peer")]
    if options.readme:
        tables.around(ROOT / "README.md")  # no minutes of timing for nothing
    # The peers warn about deprecations of pandas and numpy; barloop must not.
    warnings.filterwarnings("ignore", module=r"(vectorbt|bt|ffn|polars_backtest)\b")

    report: dict[str, Any] = {
        "machine": _machine(),
        "versions": _versions(peers),
        "workloads": {},
        "measures": [],
    }
    for name in names:
        workload = WORKLOADS[name]
        df = build(workload)
        lined_up = contenders.line_up(workload, df, peers, slow_too=options.all)
        contenders.time_in_turn(
            lined_up, repeat=options.repeat, patience=options.patience
        )
        entry = _entry(workload, lined_up, _references(workload, df, lined_up))
        report["workloads"][name] = entry
        print(tables.console(name, entry), flush=True)
        if not options.no_overheads:
            if name == "W2":
                _add(report, overheads.shuffled_rows(df, options.repeat))
                _add(report, overheads.callbacks(df, options.repeat))
            if name in MEMORY_WORKLOADS:
                _add(report, overheads.memory(df, name))
        del df, lined_up
    if not options.no_overheads:
        _add(report, overheads.rules(options.repeat))
        _add(report, overheads.start_up(options.repeat))
    report["machine"]["load_average"].append(round(os.getloadavg()[0], 2))

    if options.json:
        _write_json(options.json, report)
    if options.readme:
        _write_json(LATEST, report)
        tables.rewrite(ROOT / "README.md", tables.markdown(report))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--workloads", default=",".join(WORKLOADS), help="names, comma between"
    )
    parser.add_argument(
        "--peers", default=",".join(PEERS), help='names, comma between, or "none"'
    )
    parser.add_argument("--repeat", type=int, default=7, help="runs of each")
    parser.add_argument(
        "--patience",
        type=float,
        default=15.0,
        metavar="SECONDS",
        help="no further run of what would spend more than this on one workload",
    )
    parser.add_argument(
        "--all", action="store_true", help="slow peers too: minutes, not seconds"
    )
    parser.add_argument(
        "--no-overheads",
        action="store_true",
        help="only the workloads: no callbacks, start-up or memory",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write raw numbers")
    parser.add_argument(
        "--readme",
        action="store_true",
        help="rewrite the table in README.md and bench/results/latest.json",
    )
    return parser


def _chosen(text: str, known: dict[str, Any], what: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["none"] and what == "peer":
        return []
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"unknown {what} {unknown[0]!r}; known: {', '.join(known)}")
    return names


def _references(
    workload: Workload, df: Any, lined_up: list[contenders.Contender]
) -> dict[str, float]:
    """Give the growth of barloop under the timing of each peer that ran."""
    growth: dict[tuple[str, bool], float] = {}
    references = {}
    for contender in lined_up:
        peer = contender.peer
        if peer is None or contender.outcome is None:
            continue
        key = (peer.timing, peer.unit_gross)
        if key not in growth:
            growth[key] = contenders.reference(workload, df, peer).growth
        references[contender.name] = growth[key]
    return references


def _entry(
    workload: Workload,
    lined_up: list[contenders.Contender],
    references: dict[str, float],
) -> dict[str, Any]:
    rows = []
    for c in lined_up:
        outcome = asdict(c.outcome) if c.outcome else None
        if outcome and c.name in references:
            outcome["reference_growth"] = references[c.name]
        rows.append(
            {
                "name": c.name,
                "title": c.title,
                "peer": c.peer is not None,
                "why_not": c.why_not,
                "best": c.best,
                "median": c.median,
                "seconds": c.seconds,
                "outcome": outcome,
            }
        )
    return {
        "title": workload.title,
        "n_bars": workload.n_bars,
        "n_assets": workload.n_assets,
        "budgets": {
            "barloop": workload.budget_end_to_end,
            "kernel": workload.budget_kernel,
        },
        "contenders": rows,
    }


def _add(report: dict[str, Any], measures: list[overheads.Measure]) -> None:
    found = [measure.as_dict() for measure in measures]
    report["measures"] += found
    print(tables.console_measures(found), flush=True)


def _machine() -> dict[str, Any]:
    """Describe the machine by its parts; no host name."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": _cpu_model(),
        "cpu_count": os.cpu_count(),
        "memory_gb": round(pages / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average": [round(os.getloadavg()[0], 2)],
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _versions(peers: list[Any]) -> dict[str, str]:
    distributions = [*LIBRARIES]
    for peer in peers:
        distributions += [peer.distribution, *peer.requires]
    found = {"barloop": barloop.__version__}
    for distribution in distributions:
        try:
            found[distribution] = version(distribution)
        except PackageNotFoundError:
            continue
    return found


def _write_json(path: Path, report: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
