"""A schedule given as an expression, which sees all bars and the whole context."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from barloop.context import align
from barloop.enums import Decision
from barloop.lookahead.decisions import Decided, Difference
from barloop.lookahead.given import Given, Source
from barloop.lookahead.poison import Places
from barloop.lookahead.probes import Prober
from barloop.lookahead.replay import Failure, Rule
from barloop.schedule import as_schedule, rebalance_mask


def is_expression(schedule: Any) -> bool:
    """Tell whether a schedule is an expression; the others know the calendar only."""
    return isinstance(as_schedule(schedule).rule, pl.Expr)


class ScheduleProber(Prober):
    """Evaluate a schedule, in place of the weights, on prefixes and other futures.

    Parameters
    ----------
    schedule : Schedule or Expr
        What is checked.
    rule : Rule
        Of the run.
    first_bar : int
        First bar of the run.
    seed : int
        Of the changes.
    """

    def __init__(self, schedule: Any, rule: Rule, first_bar: int, seed: int) -> None:
        own = rule.panel
        name = own.timestamp_name
        source = Source(
            pl.DataFrame([own.timestamps]),
            rule.source.whole.context,
            None,
            own.timestamps,
            name,
            own.asset_name,
        )
        nothing = Decided(
            np.empty(0, dtype=np.int8), np.empty(0, dtype=np.int64), np.empty(0), 1
        )
        super().__init__(
            replace(rule, source=source),
            nothing,
            Places(name, None, {}, frozenset()),
            seed,
        )
        self._schedule = schedule
        self._first_bar = first_bar

    def compare(self, given: Given, bar: int) -> Difference | Failure | None:
        """Evaluate the schedule and compare it up to a bar.

        Parameters
        ----------
        given : Given
            The bars and the context.
        bar : int
            The last bar to compare.
        """
        self.n_runs += 1
        name = self.rule.panel.timestamp_name
        bars = given.frame[name]
        try:
            aligned = None
            if given.context is not None:
                aligned = align(given.context, bars, name)
            mask = rebalance_mask(self._schedule, bars, aligned, self._first_bar)
        except Exception as error:
            return Failure("weights", error)
        whole = self.rule.is_rebalance
        differs = np.flatnonzero(mask[: bar + 1] != whole[: bar + 1])
        self.n_compared += bar + 1
        if not differs.size:
            return None
        t = int(differs[0])
        codes = {False: Decision.NONE, True: Decision.COMPLETE}
        nan = float("nan")
        return Difference(t, -1, nan, nan, codes[bool(mask[t])], codes[bool(whole[t])])
