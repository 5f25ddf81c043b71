"""Evaluations of a rule without the later data, or with others, and what they tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from barloop.context import Context
from barloop.lookahead.decisions import Decided, Difference, first_difference
from barloop.lookahead.given import Given
from barloop.lookahead.poison import (
    STRENGTHS,
    Places,
    changed,
    hybrid,
    shuffled,
    thinned,
    with_nulls,
)
from barloop.lookahead.replay import Failure, Rule

How = Literal["prefix", "poison"]
Cause = Literal["values", "rows", "assets", "bars", "captured"]

MAIN_STRENGTHS = ("wild", "mild")
"""How data change in the search for a leak, in turns; the rest only names columns."""


class Column(NamedTuple):
    """A column of the data or of the context."""

    name: str
    of_context: bool


@dataclass(frozen=True, slots=True)
class Sighting:
    """One evaluation of the rule that did not give what all data give.

    Parameters
    ----------
    cut : int
        The bar after which data were missing or changed.
    how : {"prefix", "poison"}
        Missing or changed.
    bar : int
        The first bar that differs.
    outcome : Difference or Failure
        What differs.
    """

    cut: int
    how: How
    bar: int
    outcome: Difference | Failure


class Prober:
    """Evaluate a rule on prefixes and on changed futures, and compare.

    Parameters
    ----------
    rule : Rule
        What is checked.
    whole : Decided
        Its decisions with all data.
    places : Places
        What may be changed in the data.
    seed : int
        Of the changes.

    Attributes
    ----------
    n_runs : int
        Evaluations so far.
    n_compared : int
        Decisions compared so far.
    """

    def __init__(self, rule: Rule, whole: Decided, places: Places, seed: int) -> None:
        self.rule = rule
        self.whole = whole
        self.places = places
        self.seed = seed
        self.n_runs = 0
        self.n_compared = 0
        self._failed: dict[tuple[str, str], list[tuple[int, Exception]]] = {}
        source = rule.source
        data = source.whole
        self.columns = [
            Column(name, of_context=False) for name in places.values(data.frame)
        ]
        if data.context is not None:
            self._context_places = Places(
                str(source.context_time), None, {}, frozenset()
            )
            names = self._context_places.values(data.context.frame)
            self.columns += [Column(name, of_context=True) for name in names]

    def look(self, bar: int, how: How, turn: int = 0) -> Sighting | None:
        """Cut or change what lies after a bar, and compare up to it.

        Parameters
        ----------
        bar : int
            The last bar that stays as it is.
        how : {"prefix", "poison"}
            Cut or change.
        turn : int, default 0
            Chooses the strength of the change.

        Returns
        -------
        Sighting or None
            None when nothing differs, or when the rule could not be evaluated.
        """
        outcome = self._prefix(bar) if how == "prefix" else self._poison(bar, turn)
        if outcome is None:
            return None
        at = bar if isinstance(outcome, Failure) and outcome.bar < 0 else outcome.bar
        return Sighting(bar, how, at, outcome)

    def _prefix(self, bar: int) -> Difference | Failure | None:
        source = self.rule.source
        outcome = self.compare(source.upto(bar), bar)
        if not isinstance(outcome, Failure):
            return outcome
        if outcome.step == "call":
            # A name that is listed later is a choice of the user, not of the data.
            second = self.compare(source.upto(bar, all_assets=True), bar)
            if isinstance(second, Failure):
                return second
            self._remark(bar, outcome, "without the assets that are listed later")
            return second
        if outcome.step == "weights" or outcome.later is not None:
            return outcome
        self._remark(bar, outcome, "with the data up to the cut")
        return None

    def _poison(self, bar: int, turn: int) -> Difference | Failure | None:
        rng = np.random.default_rng([self.seed, bar, turn])
        strength = MAIN_STRENGTHS[turn % len(MAIN_STRENGTHS)]
        data = self.changed(bar, strength, self.columns)
        if strength == "wild":
            rows = self.rule.source.rows_after(bar)
            frame = with_nulls(data.frame, rows, rng, self.places)
            frame = thinned(frame, rows, rng, self.places)
            data = Given(frame, data.context, data.actions)
        outcome = self.compare(data, bar)
        if not isinstance(outcome, Failure) or outcome.step in ("weights", "call"):
            return outcome
        outcome = self.compare(self._shuffled(bar, rng), bar)
        if isinstance(outcome, Failure) and outcome.step in ("features", "rule"):
            self._remark(bar, outcome, "with data that change after the cut")
            return None
        return outcome

    def compare(self, given: Given, bar: int) -> Difference | Failure | None:
        """Evaluate the rule on other data and compare its decisions up to a bar.

        Parameters
        ----------
        given : Given
            The data.
        bar : int
            The last bar to compare.
        """
        self.n_runs += 1
        decided = self.rule.decide(given, bar + 1)
        if isinstance(decided, Failure):
            return decided
        self.n_compared += int(np.count_nonzero(self.rule.is_rebalance[: bar + 1]))
        return first_difference(decided, self.whole, bar + 1)

    def changed(self, bar: int, strength: str, columns: Sequence[Column]) -> Given:
        """Return the data with some columns changed after a bar.

        Parameters
        ----------
        bar : int
            The last bar that stays as it is.
        strength : str
            One of `STRENGTHS`.
        columns : sequence of Column
            Which columns.
        """
        source, whole = self.rule.source, self.rule.source.whole
        draws = (self.seed, bar, STRENGTHS.index(strength))
        names = [column.name for column in columns if not column.of_context]
        frame, context = whole.frame, whole.context
        if names:
            rows = source.rows_after(bar)
            frame = changed(frame, rows, names, strength, draws, self.places)
        names = [column.name for column in columns if column.of_context]
        if names and context is not None and strength != "nulls":
            rows = np.flatnonzero(~source.is_context_until(bar))
            context = _with_frame(
                context,
                changed(
                    context.frame, rows, names, strength, draws, self._context_places
                ),
            )
        return Given(frame, context, whole.actions)

    def _shuffled(self, bar: int, rng: np.random.Generator) -> Given:
        whole = self.rule.source.whole
        rows = self.rule.source.rows_after(bar)
        frame = shuffled(whole.frame, rows, rng, self.places)
        return Given(frame, whole.context, whole.actions)

    def _remark(self, bar: int, failure: Failure, when: str) -> None:
        what = {"features": "The data could not be made", "call": "The function failed"}
        start = what.get(failure.step, "The weights could not be made")
        self._failed.setdefault((start, when), []).append((bar, failure.error))

    @property
    def remarks(self) -> list[str]:
        """What could not be evaluated, one sentence for each kind."""
        made = []
        for (start, when), failures in self._failed.items():
            bar, error = failures[0]
            n = len({bar for bar, _ in failures})
            cuts = "1 cut" if n == 1 else f"{n:,} cuts, first"
            text = str(error).partition("\n")[0] or "no message"
            made.append(
                f"{start} {when} at {cuts} {self.rule.panel.show_bar(bar)}: "
                f"{type(error).__name__}: {text}"
            )
        return made


def _with_frame(context: Context, frame: pl.DataFrame) -> Context:
    return Context(frame, context.join)


class Blame(NamedTuple):
    """What of the later data matters."""

    cause: Cause
    columns: list[Column]
    first_later: int
    """The first later bar that matters, -1 if unknown."""


def blame(prober: Prober, sighting: Sighting) -> Blame:
    """Find which of the later data change the decisions.

    Parameters
    ----------
    prober : Prober
        To try with.
    sighting : Sighting
        What differed.

    Returns
    -------
    Blame
        Columns where their values do it.
    """
    bar = sighting.cut
    if isinstance(sighting.outcome, Failure) and sighting.outcome.later is not None:
        return Blame("captured", [], -1)
    together: tuple[str, list[Column]] | None = None
    for strength in STRENGTHS:

        def matters(columns: Sequence[Column], strength: str = strength) -> bool:
            return _is_leak(prober.compare(prober.changed(bar, strength, columns), bar))

        found = smallest(prober.columns, matters)
        if len(found) == 1 or (found and all(matters([one]) for one in found)):
            return Blame("values", found, _first_later(prober, bar, strength, found))
        # Another strength may show a single column: a low alone stays below its high.
        together = together or ((strength, found) if found else None)
    if together is not None:
        return Blame("values", together[1], _first_later(prober, bar, *together))
    source = prober.rule.source
    rng = np.random.default_rng([prober.seed, bar])
    frame = thinned(
        source.whole.frame, source.rows_after(bar), rng, prober.places, share=0.5
    )
    fewer = Given(frame, source.whole.context, source.whole.actions)
    if _is_leak(prober.compare(fewer, bar)):
        return Blame("rows", [], -1)
    if prober.compare(source.upto(bar, all_assets=True), bar) is None:
        return Blame("assets", [], -1)
    return Blame("bars", [], -1)


def _is_leak(outcome: Difference | Failure | None) -> bool:
    if isinstance(outcome, Failure):
        return outcome.step in ("weights", "call")
    return outcome is not None


def smallest(
    columns: Sequence[Column], matters: Callable[[Sequence[Column]], bool]
) -> list[Column]:
    """Find the columns that matter, each on its own where it does.

    Parameters
    ----------
    columns : sequence of Column
        Among these.
    matters : callable
        Whether changing all of some columns changes anything.

    Returns
    -------
    list of Column
        Empty when not even all of them together matter; several that matter only
        together are returned together.
    """
    if not columns or not matters(columns):
        return []
    if len(columns) == 1:
        return list(columns)
    half = len(columns) // 2
    found = smallest(columns[:half], matters) + smallest(columns[half:], matters)
    return found or list(columns)


def _first_later(prober: Prober, bar: int, strength: str, columns: list[Column]) -> int:
    """Find the first bar up to which data must change for a difference to show."""
    source, whole = prober.rule.source, prober.rule.source.whole
    far = prober.changed(bar, strength, columns)
    names = [column.name for column in columns if not column.of_context]
    of_context = [column.name for column in columns if column.of_context]

    def matters(until: int) -> bool:
        frame = hybrid(far.frame, whole.frame, source.is_row_until(until), names)
        context = far.context
        if of_context and context is not None and whole.context is not None:
            near = source.is_context_until(until)
            mixed = hybrid(context.frame, whole.context.frame, near, of_context)
            context = _with_frame(context, mixed)
        return _is_leak(prober.compare(Given(frame, context, whole.actions), bar))

    low, high, step = bar, prober.rule.panel.n_bars - 1, 1
    while low + step < high and not matters(low + step):
        low, step = low + step, 2 * step
    high = min(low + step, high)
    while high - low > 1:
        middle = (low + high) // 2
        if matters(middle):
            high = middle
        else:
            low = middle
    return high
