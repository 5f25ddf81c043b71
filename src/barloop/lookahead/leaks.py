"""What was found, as values and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from barloop.enums import Decision
from barloop.errors import LookaheadError
from barloop.lookahead.decisions import Difference
from barloop.lookahead.probes import Blame, Cause, Column, How, Sighting
from barloop.lookahead.replay import Failure
from barloop.panel import Panel
from barloop.schema import show

KINDS = {
    Decision.NONE: "no rebalance",
    Decision.COMPLETE: "close everything",
    Decision.PARTIAL: "a decision about some names only",
}
"""What a decision that names nothing says."""

HINTS = {
    "columnar": (
        "look for shift(-1), a statistic over the whole sample, or a fill backward in "
        "what is computed from {columns}."
    ),
    "callback": (
        "bar.history ends at bar.t; look for what reaches behind it: history.x.base, "
        "or a variable from outside that holds later rows."
    ),
    "rows": (
        "look for a universe chosen by all dates, such as the assets with a full "
        "history or those that exist at the end."
    ),
    "assets": (
        "choose among the assets that have a bar, e.g. those with a close that is not "
        "NaN, and count these."
    ),
    "bars": (
        "look for the last timestamp, the number of bars or a shift of the timestamps; "
        'a schedule such as "month_end" knows the calendar.'
    ),
    "captured": (
        "pass the function that computes these weights from the data, "
        "check_lookahead(df, 'weight', features=function)."
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """What `LookaheadError.finding` holds.

    Parameters
    ----------
    timestamp : object
        The first bar found whose weights depend on later data.
    asset : object or None
        The first asset on it, None when the whole decision differs.
    known, all : float or None
        The weight without the later data, or with others, and with all data as they
        are; None when the asset is not decided.
    cut : object
        Timestamp after which data were missing or changed.
    how : {"prefix", "poison"}
        Missing or changed.
    cause : {"values", "rows", "assets", "bars", "captured"}
        What of the later data matters: values of columns; which rows exist; which
        assets are listed; how many bars follow, and when; a frame that is not made from
        the data.
    columns, context_columns : tuple of str
        Columns of the data and of the context whose later values matter.
    first_later : object or None
        Timestamp of the first later bar whose values matter.
    error : Exception or None
        What the rule raised without the later data, or with others.
    n_untried : int
        Earlier decisions that were not looked at each on its own.
    of_schedule : bool
        Whether it is the schedule that depends on later data.
    """

    timestamp: Any
    asset: Any
    known: float | None
    all: float | None
    cut: Any
    how: How
    cause: Cause
    columns: tuple[str, ...] = ()
    context_columns: tuple[str, ...] = ()
    first_later: Any = None
    error: Exception | None = None
    n_untried: int = 0
    of_schedule: bool = False


def leak_error(
    sighting: Sighting,
    found: Blame,
    panel: Panel,
    form: str,
    *,
    n_untried: int = 0,
    of_schedule: bool = False,
) -> LookaheadError:
    """Describe a leak.

    Parameters
    ----------
    sighting : Sighting
        What differs.
    found : Blame
        Why.
    panel : Panel
        For the names.
    form : str
        Form of the weights.
    n_untried : int
        Earlier decisions that were not tried.
    of_schedule : bool
        Whether `sighting` is about the schedule.

    Returns
    -------
    LookaheadError
        To be raised by the caller.
    """
    outcome = sighting.outcome
    cut = panel.show_bar(sighting.cut)
    without = f"with the data up to {cut}"
    if sighting.how == "poison":
        without = f"with other data after {cut}"
    lines = [_head(sighting, panel, without, of_schedule=of_schedule)]
    known = whole = asset = None
    error = None
    if isinstance(outcome, Failure):
        error = outcome.error
        text = str(error).partition("\n")[0] or "no message"
        if outcome.later is None:
            lines.append(
                f"{without[0].upper()}{without[1:]} it fails: "
                f"{type(error).__name__}: {text}"
            )
    else:
        known, whole = _plain(outcome.known), _plain(outcome.all)
        asset = None if outcome.asset < 0 else panel.asset_at(outcome.asset)
    lines.extend(_why(found, panel, cut))
    if n_untried:
        lines.append(
            f"Of the earlier decisions {n_untried:,} were not tried: one of them may "
            "depend on later data too."
        )
    lines.append(f"Hint: {_hint(found, form, of_schedule=of_schedule)}")
    raised = LookaheadError("\n".join(lines))
    later = found.first_later
    raised.finding = Leak(
        timestamp=panel.timestamp_at(sighting.bar),
        asset=asset,
        known=known,
        all=whole,
        cut=panel.timestamp_at(sighting.cut),
        how=sighting.how,
        cause=found.cause,
        columns=tuple(one.name for one in found.columns if not one.of_context),
        context_columns=tuple(one.name for one in found.columns if one.of_context),
        first_later=None if later < 0 else panel.timestamp_at(later),
        error=error,
        n_untried=n_untried,
        of_schedule=of_schedule,
    )
    return raised


def _head(sighting: Sighting, panel: Panel, without: str, *, of_schedule: bool) -> str:
    outcome, bar = sighting.outcome, panel.show_bar(sighting.bar)
    if isinstance(outcome, Failure):
        what = "schedule" if of_schedule else "weights"
        if outcome.later is None:
            verb = "depends" if of_schedule else "depend"
            return f"the {what} up to {bar} {verb} on later data."
        return (
            "the weights do not follow from the data: the function names the timestamp "
            f"{show(outcome.later)} with the data up to {bar}. It reads a frame from "
            "outside, and whether that one looks ahead cannot be told."
        )
    if of_schedule:
        answer = {True: "a rebalance", False: "none"}
        return (
            f"the schedule at {bar} depends on later data: "
            f"{answer[outcome.known_kind != Decision.NONE]} {without}, "
            f"{answer[outcome.all_kind != Decision.NONE]} with all data."
        )
    if outcome.asset < 0:
        return (
            f"the decision at {bar} depends on later data: "
            f"{_said(outcome.known_kind)} {without}, {_said(outcome.all_kind)} with "
            "all data."
        )
    return (
        f"the weights at {bar} of asset {panel.show_asset(outcome.asset)} depend on "
        f"later data: {_shown(outcome.known, outcome.known_kind)} {without}, "
        f"{_shown(outcome.all, outcome.all_kind)} with all data."
    )


def _said(kind: int) -> str:
    return KINDS[Decision(kind)]


def _shown(weight: float, kind: int) -> str:
    if not np.isnan(weight):
        return repr(float(f"{weight:.12g}"))
    return "no rebalance" if kind == Decision.NONE else "left as it is"


def _plain(weight: float) -> float | None:
    return None if np.isnan(weight) else weight


def _why(found: Blame, panel: Panel, cut: str) -> list[str]:
    if found.cause == "values":
        later = ""
        if found.first_later >= 0:
            bar = panel.show_bar(found.first_later)
            later = f" (first later bar that matters: {bar})"
        of_data = [one for one in found.columns if not one.of_context]
        of_context = [one for one in found.columns if one.of_context]
        names = [
            text
            for text in (
                _named("column", of_data),
                _named("context column", of_context),
            )
            if text
        ]
        verb = "changes" if len(found.columns) == 1 else "change"
        text = " and ".join(names)
        return [f"{text[0].upper()}{text[1:]} after {cut} {verb} it{later}."]
    if found.cause == "rows":
        return [f"Which rows exist after {cut} changes it."]
    if found.cause == "assets":
        return [
            f"The assets that are first listed after {cut} change it: it counts or "
            "names them before they exist."
        ]
    if found.cause == "bars":
        return [
            f"The values of no column do: how many bars follow {cut}, or when, does."
        ]
    return []


def _named(what: str, columns: list[Column]) -> str:
    names = ", ".join(repr(one.name) for one in columns)
    if not columns:
        return ""
    return f"the {what}{'' if len(columns) == 1 else 's'} {names}"


def _hint(found: Blame, form: str, *, of_schedule: bool) -> str:
    if found.cause != "values":
        return HINTS[found.cause]
    kind = "callback" if form == "callback" and not of_schedule else "columnar"
    names = " and ".join(repr(one.name) for one in found.columns)
    return HINTS[kind].format(columns=names)


def differing(difference: Difference, panel: Panel) -> str:
    """Say where two evaluations on the same data differ.

    Parameters
    ----------
    difference : Difference
        First and second evaluation.
    panel : Panel
        For the names.
    """
    bar = panel.show_bar(difference.bar)
    if difference.asset < 0:
        return (
            f"{bar}: {_said(difference.known_kind)}, then {_said(difference.all_kind)}"
        )
    asset = panel.show_asset(difference.asset)
    first = _shown(difference.known, difference.known_kind)
    second = _shown(difference.all, difference.all_kind)
    return f"{bar}, asset {asset}: {first}, then {second}"
