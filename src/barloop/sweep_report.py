"""What a sweep says of itself: the best beside the number of trials it came from."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import polars as pl

from barloop.errors import BarloopError
from barloop.overfitting import (
    PBOResult,
    expected_maximum_sharpe,
    minimum_backtest_length,
)

if TYPE_CHECKING:
    from barloop.bootstrap import SuperiorPredictiveAbility
    from barloop.typing import FloatBlock

WIDTH = 79
"""Columns of a printed report."""

_USUAL = 0.95
_VALUE_LENGTH = 32
_ERROR_LENGTH = 240
_FEW = 4


class _Runs(Protocol):
    """What of a `SweepResult` is reported."""

    metric_names: tuple[str, ...]
    timestamps: pl.Series
    equity: FloatBlock | None
    bars_per_year: float
    n_reused: int
    seconds: float
    notices: list[str]

    def __len__(self) -> int: ...

    @property
    def metrics(self) -> pl.DataFrame: ...

    @property
    def parameters(self) -> pl.DataFrame: ...

    @property
    def failed(self) -> pl.DataFrame: ...

    def best(self, metric: str = ...) -> dict[str, Any]: ...

    def plateau(self, metric: str = ...) -> pl.DataFrame: ...

    def deflated_sharpe(self, *, n_trials: float | None = ...) -> float: ...

    def minimum_track_record(self) -> float: ...

    def pbo(self) -> PBOResult: ...

    def superior_predictive_ability(self) -> SuperiorPredictiveAbility: ...


class Line(NamedTuple):
    """One line of a report."""

    name: str
    value: str
    remark: str


class OverfittingReport:
    """Hold what the best Sharpe ratio of a sweep proves, counting the trials.

    Attributes
    ----------
    frame : DataFrame
        ``statistic``, ``value`` and ``meaning``, one row each.
    pbo : PBOResult or None
        None where it cannot be computed, as without equity.
    test : SuperiorPredictiveAbility or None
        None where it cannot be computed.
    """

    def __init__(
        self,
        lines: Sequence[tuple[str, float, str, str]],
        pbo: PBOResult | None,
        test: SuperiorPredictiveAbility | None,
    ) -> None:
        self._lines = [Line(name, shown, told) for name, _, shown, told in lines]
        self.frame = pl.DataFrame(
            [(name, value, told) for name, value, _, told in lines],
            schema={
                "statistic": pl.String,
                "value": pl.Float64,
                "meaning": pl.String,
            },
            orient="row",
        ).with_columns(pl.col("value").fill_nan(None))
        self.pbo = pbo
        self.test = test

    def __str__(self) -> str:
        return _text("Overfitting", self._lines, [])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return _html("Overfitting", self._lines, [])


def sweep_text(runs: _Runs) -> str:
    """Return what ``print(runs)`` shows.

    Parameters
    ----------
    runs : SweepResult
        The sweep.

    Returns
    -------
    str
        Lines of at most `WIDTH` columns.
    """
    return _text("SweepResult", _headline(runs), runs.notices)


def sweep_html(runs: _Runs) -> str:
    """Return what a notebook shows.

    Parameters
    ----------
    runs : SweepResult
        The sweep.

    Returns
    -------
    str
        A table.
    """
    return _html("SweepResult", _headline(runs), runs.notices)


def overfitting_report(runs: _Runs, n_trials: float | None) -> OverfittingReport:
    """Compute all statistics over the trials of a sweep.

    Parameters
    ----------
    runs : SweepResult
        The sweep.
    n_trials : float or None
        How many independent trials there were.

    Returns
    -------
    OverfittingReport
        See `SweepResult.overfitting`.
    """
    best = runs.best("sharpe")
    sharpe, k = float(best["sharpe"]), int(best["set"])
    years = float(best.get("bars_per_year") or runs.bars_per_year)
    n_bars = int(best.get("n_bars") or len(runs.timestamps))
    n = float(len(runs) if n_trials is None else n_trials)
    sharpes = runs.metrics.filter(pl.col("error").is_null())["sharpe"].drop_nulls()
    variance = sharpes.var() if len(sharpes) > 1 else math.nan
    luck = expected_maximum_sharpe(n, float(str(variance)))
    proof = runs.minimum_track_record()
    length = math.nan
    if sharpe > 0.0:
        length = minimum_backtest_length(n, sharpe=sharpe, bars_per_year=years)
    lines = [
        ("trials", n, f"{n:,.6g}", f"sets that the best was picked from{_given(runs)}"),
        ("best Sharpe", sharpe, f"{sharpe:.2f}", f"annual; {_set_text(runs, k)}"),
        (
            "luckiest Sharpe",
            luck,
            _number(luck, ".2f"),
            "annual; what the best of so many trials without skill is expected to show",
        ),
        _deflated(runs, n_trials),
        (
            "bars for proof",
            proof,
            _number(proof, ",.0f"),
            f"that the best Sharpe is above 0 at {_USUAL:.0%}, had it been the only "
            f"trial; there are {n_bars:,}",
        ),
        (
            "bars against luck",
            length,
            _number(length, ",.0f"),
            "so many keep the best of the trials from showing such a Sharpe by luck; "
            f"there are {n_bars:,}"
            if sharpe > 0.0
            else "a Sharpe of 0 or below takes no luck",
        ),
    ]
    pbo = test = None
    if runs.equity is None:
        why = "probability of overfitting and the test of the best need keep='equity'"
        lines.append(("not computed", math.nan, "-", why))
        return OverfittingReport(lines, pbo, test)
    name = "probability of overfitting"
    try:
        pbo = runs.pbo()
        told = (
            "how often the best set of one half of the bars was at or below the median "
            "in the other half; about 50% is luck"
        )
        lines.append((name, pbo.pbo, f"{pbo.pbo:.1%}", told))
    except BarloopError as error:
        lines.append((name, math.nan, "-", _one_line(str(error))))
    name = "p-value of the best"
    try:
        test = runs.superior_predictive_ability()
        told = (
            "Hansen's test: how often the best of as many sets without any edge has "
            "such a mean return, in standard errors; above 0.05, it may be luck"
        )
        shown = _number(test.consistent, ".3f")
        lines.append((name, test.consistent, shown, told))
    except BarloopError as error:
        lines.append((name, math.nan, "-", _one_line(str(error))))
    return OverfittingReport(lines, pbo, test)


def _given(runs: _Runs) -> str:
    n_failed = runs.failed.height
    return f"; {n_failed:,} failed" if n_failed else ""


def _deflated(runs: _Runs, n_trials: float | None) -> tuple[str, float, str, str]:
    """Return the deflated Sharpe ratio, and what it means."""
    n = len(runs) if n_trials is None else n_trials
    name = "deflated Sharpe"
    try:
        value = runs.deflated_sharpe(n_trials=n_trials)
    except BarloopError as error:
        return name, math.nan, "-", _one_line(str(error).partition("\n")[0])
    if math.isnan(value):
        why = f"needs two Sharpe ratios or more to judge the luck of {n:,.6g} trials"
        return name, value, "-", why
    told = (
        "probability that the Sharpe is above 0; it was the only trial"
        if n == 1
        else "probability that the best is better than the luckiest of "
        f"{n:,.6g} trials without skill"
    )
    if value < _USUAL:
        told += f"; {_USUAL:.0%} is the usual proof"
    # 100.0 % would claim too much.
    return name, value, "> 99.9 %" if value > 0.999 else f"{value:.1%}", told


def _headline(runs: _Runs) -> list[Line]:
    lines = [Line("trials", f"{len(runs):,}", _sizes(runs))]
    names = runs.metric_names
    metric = "sharpe" if "sharpe" in names or not names else names[0]
    lines += _best_lines(runs, metric) if names else []
    failed = runs.failed
    why = ""
    if failed.height:
        k = int(failed["set"][0])
        why = f"first {_set_text(runs, k)}: {_one_line(failed['error'][0])}"
    lines.append(Line("failed", f"{failed.height:,}", why))
    again = "finished earlier, read from disk" if runs.n_reused else ""
    lines.append(Line("reused", f"{runs.n_reused:,}", again))
    n_run = len(runs) - runs.n_reused
    rate = f"{n_run / runs.seconds:,.4g} sets per second" if runs.seconds > 0 else ""
    lines.append(Line("seconds", f"{runs.seconds:,.2f}", rate if n_run else ""))
    times = runs.timestamps
    if len(times):
        period = f"{times[0]} to {times[-1]}"
        lines.append(Line("bars", f"{len(times):,}", period))
    return lines


def _best_lines(runs: _Runs, metric: str) -> list[Line]:
    """Tell the best, what it proves, the middle and the best plateau."""
    label = "Sharpe" if metric == "sharpe" else metric
    style = ".2f" if metric == "sharpe" else ",.4g"

    def shown(value: float) -> str:
        return _number(value, style)

    try:
        best = runs.best(metric)
    except BarloopError as error:
        # What failed first has a line of its own.
        told = str(error).partition("\n")[0].partition(": ")[0]
        return [Line(f"best {label}", "-", told)]
    k = int(best["set"])
    plateau = runs.plateau(metric)
    lines = [
        Line(
            f"best {label}",
            shown(best[metric]),
            _set_text(runs, k) + _around(plateau.filter(pl.col("set") == k), shown),
        )
    ]
    if metric == "sharpe":
        name, _, value, told = _deflated(runs, None)
        lines.append(Line(name, value, told))
    values = plateau[metric].drop_nulls().to_numpy()
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    told = "of one set" if values.size == 1 else f"of {values.size:,} sets"
    if values.size >= _FEW:
        told += f", half of them from {shown(low)} to {shown(high)}"
    lines.append(Line(f"median {label}", shown(middle), told))
    first = plateau.head(1)
    if first["plateau"].null_count():
        told = "no set has a neighbour to be compared with"
        lines.append(Line("best by plateau", "-", told))
        return lines
    row = first.row(0, named=True)
    lines.append(
        Line(
            "best by plateau",
            shown(row["plateau"]),
            f"{_set_text(runs, int(row['set']))}; mean of itself, "
            f"{shown(row[metric])}, and its {row['n_neighbours']:,} neighbours, the "
            f"worst of which has {shown(row['worst_neighbour'])}",
        )
    )
    return lines


def _around(plateau: pl.DataFrame, shown: Callable[[float], str]) -> str:
    n, mean = plateau["n_neighbours"][0], plateau["neighbour_mean"][0]
    if not n:
        return ""
    whose = "its one neighbour has" if n == 1 else f"its {n:,} neighbours have"
    return f"; {whose} {shown(mean)}" + ("" if n == 1 else " on average")


def _sizes(runs: _Runs) -> str:
    """Tell how many values each parameter has."""
    frame = runs.parameters
    if not frame.width:
        return "no parameters"
    counts = [series.n_unique() for series in frame.iter_columns()]
    pairs = zip(counts, frame.columns, strict=True)
    if math.prod(counts) == len(runs):
        return " x ".join(f"{count:,} {name}" for count, name in pairs)
    return "values: " + ", ".join(f"{count:,} of {name}" for count, name in pairs)


def _set_text(runs: _Runs, k: int) -> str:
    row = runs.parameters.row(k, named=True)
    shown = ", ".join(f"{name}={_value(value)}" for name, value in row.items())
    return f"set {k:,}: {shown}" if shown else f"set {k:,}"


def _value(value: Any) -> str:
    shown = f"{value:.6g}" if isinstance(value, float) else str(value)
    too_long = len(shown) > _VALUE_LENGTH
    return shown[: _VALUE_LENGTH - 3] + "..." if too_long else shown


def _number(value: float | None, style: str) -> str:
    if value is None or math.isnan(value):
        return "-"
    return "never" if math.isinf(value) else format(value, style)


def _one_line(message: str) -> str:
    shown = " ".join(message.split())
    too_long = len(shown) > _ERROR_LENGTH
    return shown[: _ERROR_LENGTH - 3] + "..." if too_long else shown


def _text(title: str, lines: Sequence[Line], notices: Sequence[str]) -> str:
    names = max(len(line.name) for line in lines)
    values = max(len(line.value) for line in lines)
    made = [title]
    for name, value, remark in lines:
        start = f"  {name:<{names}}  {value:>{values}}  "
        made += textwrap.wrap(
            start + remark if remark else start.rstrip(),
            WIDTH,
            subsequent_indent=" " * len(start),
            drop_whitespace=True,
            break_long_words=True,
            break_on_hyphens=False,
        )
    if notices:
        made.append("Notices")
        for notice in notices:
            made += textwrap.wrap(
                notice, WIDTH, initial_indent="  ", subsequent_indent="    "
            )
    return "\n".join(made)


def _html(title: str, lines: Sequence[Line], notices: Sequence[str]) -> str:
    left, right = "text-align:left", "text-align:right;white-space:nowrap"
    cells = "".join(
        f"<tr><td style='{left};white-space:nowrap'>{html.escape(line.name)}</td>"
        f"<td style='{right}'>{html.escape(line.value)}</td>"
        f"<td style='{left}'>{html.escape(line.remark)}</td></tr>"
        for line in lines
    )
    notes = "".join(f"<li>{html.escape(notice)}</li>" for notice in notices)
    listed = f"<details open><summary>Notices</summary><ul>{notes}</ul></details>"
    return (
        f"<div style='max-width:50em'><table><thead><tr><th colspan='3' "
        f"style='{left}'>{title}</th></tr></thead><tbody>{cells}</tbody></table>"
        f"{listed if notes else ''}</div>"
    )
