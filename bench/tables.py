"""Text of a benchmark report: numbers, Markdown tables, the part of the README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

START = "<!-- bench:start -->"
END = "<!-- bench:end -->"


def duration(seconds: float | None) -> str:
    """Write seconds with three significant digits."""
    if seconds is None:
        return "-"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1.0:
        return f"{significant(seconds * 1e3)} ms"
    return f"{significant(seconds)} s"


def significant(value: float) -> str:
    """Write a number with three significant digits and no exponent."""
    for digits, limit in ((2, 10.0), (1, 100.0)):
        if abs(value) < limit:
            return f"{value:.{digits}f}"
    return f"{value:,.0f}"


def ratio(value: float | None, to: float | None) -> str:
    """Write how many times `to` a duration is."""
    if value is None or to is None or to <= 0.0:
        return "-"
    return f"{significant(value / to)}x"


def difference(outcome: dict[str, Any] | None) -> str:
    """Write how far a final equity lies from barloop's under the same timing."""
    if not outcome or not outcome.get("reference_growth"):
        return "-"
    away = outcome["growth"] / outcome["reference_growth"] - 1.0
    return "0" if away == 0.0 else f"{away:+.1e}"


def console(name: str, entry: dict[str, Any]) -> str:
    """Write one workload for the terminal."""
    lines = [f"{name}: {entry['title']}"]
    heading = ("", "best", "median", "runs", "x barloop", "x copy", "budget")
    heading += ("fills", "growth", "vs barloop")
    rows = [heading]
    bests = {c["name"]: c["best"] for c in entry["contenders"]}
    for c in entry["contenders"]:
        budget = entry["budgets"].get(c["name"])
        outcome = c["outcome"] or {}
        fills = outcome.get("n_fills")
        growth = outcome.get("growth")
        rows.append(
            (
                c["title"],
                duration(c["best"]) if c["seconds"] else c["why_not"],
                duration(c["median"]),
                str(len(c["seconds"]) or "-"),
                ratio(c["best"], bests.get("barloop")),
                ratio(c["best"], bests.get("copy")),
                duration(budget),
                "-" if fills is None else f"{fills:,}",
                "-" if growth is None else f"{growth:.6f}",
                difference(c["outcome"]),
            )
        )
    widths = [max(len(row[k]) for row in rows) for k in range(len(heading))]
    for row in rows:
        first = row[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        _ = next(rest)
        lines.append("  " + "  ".join([first, *rest]))
    return "\n".join(lines)


def console_measures(measures: list[dict[str, Any]]) -> str:
    """Write the other measures for the terminal."""
    lines = []
    for m in measures:
        budget = "-" if m["budget"] is None else significant(m["budget"])
        line = f"  {m['what']:56s} {significant(m['value']):>8s} {m['unit']}"
        line += f"  (budget {budget})"
        lines.append(line + (f"  {m['note']}" if m["note"] else ""))
    return "\n".join(lines)


def markdown(report: dict[str, Any]) -> str:
    """Write the whole report as Markdown."""
    parts = [_workload_table(report["workloads"]), _check_table(report["workloads"])]
    if report["measures"]:
        parts.append(_measure_table(report["measures"]))
    parts.append(_provenance(report))
    return "\n\n".join(part for part in parts if part)


def rewrite(readme: Path, text: str) -> None:
    """Put `text` between the markers of `readme`."""
    before, after = around(readme)
    readme.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def around(readme: Path) -> tuple[str, str]:
    """Read what stands before and after the markers of `readme`."""
    whole = readme.read_text(encoding="utf-8") if readme.exists() else ""
    if whole.count(START) != 1 or whole.count(END) != 1:
        raise SystemExit(f"{readme.name} needs the lines {START} and {END}, once each")
    before, _, rest = whole.partition(START)
    return before, rest.partition(END)[2]


def _workload_table(entries: dict[str, Any]) -> str:
    names = list(entries)
    head = ["best of several", *(f"{n}: {entries[n]['title']}" for n in names)]
    rows: list[list[str]] = []
    for k, contender in enumerate(next(iter(entries.values()))["contenders"]):
        row = [contender["title"]]
        for n in names:
            c = entries[n]["contenders"][k]
            if not c["seconds"]:
                row.append(c["why_not"])
                continue
            cell = duration(c["best"])
            if c["name"] == "barloop":
                cell = f"**{cell}**"
            else:
                cell += f" ({ratio(c['best'], _best(entries[n], 'barloop'))})"
            row.append(cell)
        rows.append(row)
        budgets = [entries[n]["budgets"].get(contender["name"]) for n in names]
        if any(budgets):
            rows.append([f"budget, {contender['title']}", *map(duration, budgets)])
    return _table(head, rows)


def _check_table(entries: dict[str, Any]) -> str:
    names = list(entries)
    rows = []
    for k, contender in enumerate(next(iter(entries.values()))["contenders"]):
        if not contender["peer"]:
            continue
        cells = [difference(entries[n]["contenders"][k]["outcome"]) for n in names]
        rows.append([contender["title"], *cells])
    if not rows:
        return ""
    lead = (
        "The check that they did the same work: final equity of the peer over that of"
        " barloop with the timing of the peer, minus 1.\n\n"
    )
    return lead + _table(["", *names], rows)


def _measure_table(measures: list[dict[str, Any]]) -> str:
    rows = []
    for m in measures:
        budget = "-" if m["budget"] is None else f"{significant(m['budget'])}"
        rows.append(
            [m["what"], f"{significant(m['value'])} {m['unit']}", budget, m["note"]]
        )
    return _table(["", "measured", "budget", ""], rows)


def _provenance(report: dict[str, Any]) -> str:
    machine, versions = report["machine"], report["versions"]
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    load = " to ".join(f"{value:.1f}" for value in machine["load_average"])
    return (
        f"Measured on {machine['cpu']}, {machine['cpu_count']} cores,"
        f" {machine['memory_gb']:.0f} GB, {machine['system']}, load average {load};"
        f" Python {machine['python']}, {libraries}."
        " In brackets: times the time of barloop."
    )


def _best(entry: dict[str, Any], name: str) -> float | None:
    return next(c["best"] for c in entry["contenders"] if c["name"] == name)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)
