"""Time sweeps beside other backtesters, in one run, and what a sweep costs otherwise.

    python bench/sweep.py                      # everything; writes results/sweep.json
    python bench/sweep.py --quick              # a few sets, to see that it works
    python bench/sweep.py --parts w6,rates --peers none
    python bench/sweep.py --readme             # rewrite the table in README.md too

See ``bench/README.md`` for what is compared with what.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sweep_forms as w6
import tables
from overheads import Measure
from run import _chosen, _machine, _versions, _write_json
from sweep_measures import BASE, FULL, QUICK, Sizes, rates, time_w6
from sweep_peers import SWEEP_PEERS

if TYPE_CHECKING:
    import polars as pl

BENCH = Path(__file__).parent
README = BENCH.parent / "README.md"
LATEST = BENCH / "results" / "sweep.json"
START, END = "<!-- sweep:start -->", "<!-- sweep:end -->"
PARTS = ("w6", "rates", "compile", "processes", "memory")


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    parts = _chosen(options.parts, dict.fromkeys(PARTS), "part")
    names = _chosen(options.peers, SWEEP_PEERS, "peer")
    peers = [SWEEP_PEERS[name] for name in names]
    whole = not options.quick and set(parts) == set(PARTS)
    if options.readme:
        if not whole:
            raise SystemExit("the table of the README needs all parts, and not --quick")
        _around(README)  # no minutes of timing for nothing
    warnings.filterwarnings("ignore", module=r"(vectorbt|polars_backtest)\b")
    sizes, repeat = (QUICK, 2) if options.quick else (FULL, options.repeat)

    df = w6.frame()
    report: dict[str, Any] = {
        "machine": _machine(),
        "versions": _versions(peers),
        "n_sets": sizes.n_sets,
        "w6": [],
        "measures": [],
    }
    if "w6" in parts:
        timed = time_w6(df, sizes, peers, repeat=repeat, patience=options.patience)
        report["w6"] = [one.as_dict() for one in timed]
        print(_console(report), flush=True)
    if "rates" in parts:
        _add(report, rates(df, sizes, repeat))
    if "compile" in parts:
        _add(report, compile_times(repeat))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.arrow"
        df.write_ipc(path, record_batch_size=df.height)  # read back as one chunk
        if "processes" in parts:
            _add(report, process_start(path, repeat))
        if "memory" in parts:
            _add(report, memory(path, df, sizes))
    report["machine"]["load_average"] += _machine()["load_average"]

    if options.json:
        _write_json(options.json, report)
    if whole:
        _write_json(LATEST, report)
    if options.readme:
        before, after = _around(README)
        text = f"{before}{START}\n\n{markdown(report)}\n\n{END}{after}"
        README.write_text(text, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="names, comma between")
    parser.add_argument(
        "--peers", default=",".join(SWEEP_PEERS), help='names, comma between, or "none"'
    )
    parser.add_argument("--repeat", type=int, default=7, help="runs of each")
    parser.add_argument(
        "--patience",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="no further run of what would spend more than this",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="50 sets, two runs, a small test of memory; no numbers to keep",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write raw numbers")
    parser.add_argument(
        "--readme", action="store_true", help="rewrite the table in README.md"
    )
    return parser


def compile_times(repeat: int) -> list[Measure]:
    """Time new compiled callbacks in fresh processes with a warm cache."""
    _probe("compile", "light")  # fills the cache
    what = {"light": "a light callback", "momentum": "momentum, top_n, equal_weight"}
    # In a process that begins with one of them the other one comes next.
    runs = [_probe("compile", name) for name in what for _ in range(repeat)]
    measures = []
    for place, when in (("next", ""), ("first", ", first one of a process")):
        for name, title in what.items():
            mine = [one[place] for one in runs if one[place]["name"] == name]
            best = {clock: min(one[clock] for one in mine) for clock in ("wall", "cpu")}
            measures.append(
                Measure(
                    f"compile-{name}-{place}",
                    f"compiling {title}{when}",
                    best["wall"],
                    "s",
                    w6.BUDGET_COMPILE_S,
                    f"processor time {best['cpu']:.2f} s",
                )
            )
    measures.append(
        Measure(
            "compile-loop",
            "new signatures of the loop by a compiled callback",
            max(one["new_signatures"] for one in runs),
            "",
            0.0,
        )
    )
    return measures


def process_start(path: Path, repeat: int) -> list[Measure]:
    """Time the way to the first outcome of worker processes, in fresh processes."""
    if importlib.util.find_spec("loky") is None:
        print("  loky is not installed: no processes")
        return []
    _probe("processes", path)
    runs = [_probe("processes", path) for _ in range(repeat)]
    best = {name: min(one[name] for one in runs) for name in runs[0]}
    return [
        Measure(
            "processes-start",
            "two processes, from the frame to the first outcome, less one set",
            best["fresh"] - best["set"],
            "s",
            w6.BUDGET_START_S,
            f"Python callback, a set {best['set'] * 1e3:.1f} ms; preparing and writing "
            "the panel included",
        ),
        Measure(
            "processes-again",
            "the same with processes that wait from the last sweep",
            best["resting"] - best["set"],
            "s",
            w6.BUDGET_START_S,
        ),
    ]


def memory(path: Path, df: pl.DataFrame, sizes: Sizes) -> list[Measure]:
    """Measure peak memory above frame and panel, each sweep in a fresh process."""
    cases = (
        ("metrics", sizes.n_metrics_sets, "{n} compiled sets"),
        ("equity", sizes.n_equity_sets, '{n} compiled sets, keep="equity"'),
        ("factory", 0, "W6 by expression factory, {n} sets"),
    )
    measures = []
    for kind, n_sets, what in cases:
        got = _probe("memory", kind, path, n_sets)
        note = (
            f"{got['n_sets'] / got['seconds']:,.0f} sets a second on 2 threads; frame "
            f"{df.estimated_size() / 2**20:.0f} MB, rows {got['rows_mb']:.1f} MB"
        )
        if "equity_mb" in got:
            note += f", equity on disk {got['equity_mb']:,.0f} MB"
        measures.append(
            Measure(
                f"memory-{kind}",
                f"peak memory of {what.format(n=format(got['n_sets'], ','))}",
                got["extra_mb"],
                "MB",
                w6.BUDGET_MEMORY_MB,
                note,
            )
        )
    return measures


def _probe(*arguments: Any) -> dict[str, Any]:
    """Run ``sweep_probe.py`` in a fresh process and read what it prints."""
    done = subprocess.run(
        [sys.executable, str(BENCH / "sweep_probe.py"), *map(str, arguments)],
        env=dict(os.environ),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def _add(report: dict[str, Any], measures: list[Measure]) -> None:
    found = [measure.as_dict() for measure in measures]
    report["measures"] += found
    print(tables.console_measures(found), flush=True)


HEAD = ("", "one run", "of sets", "1,000 sets", "ratio", "budget", "beside compiled")


def _rows(report: dict[str, Any]) -> list[tuple[str, ...]]:
    """Write W6, one row per contender."""
    base = next(one["thousand"] for one in report["w6"] if one["name"] == BASE)
    rows = []
    for one in report["w6"]:
        if one["best"] is None:
            rows.append((one["title"], one["why_not"], *"-----"))
            continue
        scaled = "" if one["n_sets"] == 1_000 else "~"
        rows.append(
            (
                one["title"],
                tables.duration(one["best"]),
                f"{one['n_sets']:,}",
                scaled + tables.duration(one["thousand"]),
                tables.ratio(one["thousand"], base),
                tables.duration(one["budget"]),
                one["check"],
            )
        )
    return rows


def _console(report: dict[str, Any]) -> str:
    rows = [HEAD, *_rows(report)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(HEAD))]
    lines = [f"W6: {report['n_sets']:,} sets of monthly momentum, {_shape()}"]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [one.rjust(w) for one, w in zip(row[1:], widths[1:], strict=True)]
        lines.append("  " + "  ".join(cells))
    return "\n".join(lines)


def _shape() -> str:
    return f"{w6.N_ASSETS:,} assets x {w6.N_BARS:,} days"


def markdown(report: dict[str, Any]) -> str:
    """Write the whole report as Markdown."""
    lead = (
        f"W6: {report['n_sets']:,} sets of monthly top-n momentum on {_shape()}, from "
        "the long frame to a row of measures for each; best of several. `~`: scaled "
        "from fewer sets. Ratio: to compiled weights on two threads. The last column: "
        "rows that are not the same bits, or the final equity of a peer over that of "
        "barloop with its timing, minus 1.\n\n"
    )
    machine, versions = report["machine"], report["versions"]
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    load = " to ".join(f"{value:.1f}" for value in machine["load_average"])
    measured = (
        f"Measured on {machine['cpu']}, {machine['cpu_count']} cores, load average "
        f"{load}; Python {machine['python']}, {libraries}."
    )
    rest = [
        (
            m["what"],
            f"{tables.significant(m['value'])} {m['unit']}".strip(),
            tables.significant(m["budget"]),
            m["note"],
        )
        for m in report["measures"]
    ]
    first, second = (
        _table(HEAD, _rows(report)),
        _table(("", "measured", "budget", ""), rest),
    )
    return "\n\n".join((lead.strip(), first, second, measured))


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def _around(readme: Path) -> tuple[str, str]:
    """Read what stands before and after the markers."""
    whole = readme.read_text(encoding="utf-8")
    if whole.count(START) != 1 or whole.count(END) != 1:
        raise SystemExit(f"{readme.name} needs the lines {START} and {END}, once each")
    before, _, rest = whole.partition(START)
    return before, rest.partition(END)[2]


if __name__ == "__main__":
    sys.exit(main())
