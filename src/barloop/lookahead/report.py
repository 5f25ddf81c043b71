"""What a check that found nothing has tried."""

from __future__ import annotations

import html
import textwrap
from dataclasses import dataclass
from typing import Any

from barloop.lookahead.decisions import RELATIVE
from barloop.schema import show

WIDTH = 78


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LookaheadReport:
    """Say what `check_lookahead` tried; printing it shows everything.

    Parameters
    ----------
    form : str
        Form of the weights: column, expression, frame, factory, callback or compiled
        callback.
    n_bars, n_assets, n_decisions : int
        Of the run that was checked; bars on which the weights are read.
    cuts : tuple
        Timestamps after which data were missing in one evaluation and changed in
        another.
    schedule_cuts : tuple
        The same for a schedule given as an expression.
    columns, context_columns : tuple of str
        Columns of the data and of the context that were changed.
    n_compared : int
        Decisions compared, over all evaluations.
    n_runs : int
        Evaluations of the rule.
    remarks : tuple of str
        What was not checked, and why.
    """

    form: str
    n_bars: int
    n_assets: int
    n_decisions: int
    cuts: tuple[Any, ...]
    schedule_cuts: tuple[Any, ...]
    columns: tuple[str, ...]
    context_columns: tuple[str, ...]
    n_compared: int
    n_runs: int
    remarks: tuple[str, ...]

    def _headline(self) -> str:
        if not self.n_compared:
            return "Nothing could be checked."
        if any("from outside" in remark for remark in self.remarks):
            return "No look-ahead found in what could be checked."
        return "No look-ahead found."

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def __str__(self) -> str:
        lines = [
            self._headline(),
            _line(
                "weights",
                f"{self.form}; {self.n_assets:,} assets, {self.n_bars:,} bars, "
                f"{self.n_decisions:,} decisions",
            ),
        ]
        if self.cuts:
            lines.append(_line("cuts", _moments(self.cuts)))
        if self.schedule_cuts:
            lines.append(_line("schedule", _moments(self.schedule_cuts)))
        if self.cuts:
            lines.append(
                _line("at each", "data missing after it; data changed after it")
            )
            changed = ", ".join(self.columns) or "no column"
            lines.append(_line("changed", f"{changed}; rows dropped"))
        if self.context_columns:
            lines.append(_line("of context", ", ".join(self.context_columns)))
        lines.append(
            _line(
                "compared",
                f"{self.n_compared:,} decisions of {self.n_runs:,} evaluations, "
                f"weights equal within {RELATIVE:g} of their size",
            )
        )
        lines.extend(_line("not seen", remark) for remark in self.remarks)
        return "\n".join(lines)


def _moments(moments: tuple[Any, ...]) -> str:
    shown = [show(one) for one in moments]
    if len(shown) > 12:
        shown = [*shown[:3], "...", *shown[-2:]]
    return f"{len(moments):,}: {', '.join(shown)}"


def _line(title: str, text: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=f"  {title:<11}", subsequent_indent=" " * 13
    )
