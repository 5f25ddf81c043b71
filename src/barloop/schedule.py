"""Which bars rebalance."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from barloop.errors import BarloopError, ConfigError, suggestion
from barloop.lookup import find_bar, timestamp_codes
from barloop.periods import PERIOD_RULES, period_edges
from barloop.schema import show
from barloop.times import parse_time, plain_moment
from barloop.typing import BoolVector, IntVector

if TYPE_CHECKING:
    from barloop.context import AlignedContext

RULES = ("every_bar", *PERIOD_RULES)
"""Names that `Schedule` knows."""


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Say which bars rebalance.

    Parameters
    ----------
    rule : str, int, sequence of timestamps, or Expr, default "every_bar"
        ``"every_bar"``; an int n: every n bars, beginning with the first traded bar;
        ``"day_start"``, ``"week_end"``, ``"month_start"``, ``"quarter_end"``,
        ``"year_start"`` and so on; dates, datetimes, integers or ISO text, each a bar
        of the data; or a boolean polars expression over a frame of one row per bar,
        with the time column and the context columns.
    sessions : sequence of dates, optional
        Days on which the exchange trades, from before the first to after the last bar.
        Only the rules of periods use them.

    Raises
    ------
    ConfigError
        If the rule is unknown, or `sessions` are given where they say nothing.

    Notes
    -----
    A bar starts a period when the bar before it lies in another one; the first bar of
    the data does too, unless the session before it lies in the same period.  A bar
    ends a period when the next bar lies in another one; the last bar of the data
    only when the session after it does.  Weeks begin on Monday.  With dates as times,
    each bar is the start and the end of its day.

    Bars before the first traded one are history: they count as bars before, and never
    rebalance.
    """

    rule: Any = "every_bar"
    sessions: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rule", _checked_rule(self.rule))
        if self.sessions is not None:
            if not (isinstance(self.rule, str) and self.rule in PERIOD_RULES):
                msg = (
                    "schedule.sessions say when a period ends; the rule "
                    f"{_shown(self.rule)} has no periods."
                )
                raise ConfigError(msg)
            object.__setattr__(self, "sessions", _checked_sessions(self.sessions))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schedule):
            return NotImplemented
        return bool(schedule_json(self) == schedule_json(other))

    def __hash__(self) -> int:
        return hash(str(schedule_json(self)))


def as_schedule(schedule: Any) -> Schedule:
    """Return `schedule` as a `Schedule`.

    Parameters
    ----------
    schedule : Schedule, or any rule of one
        What the user gave.

    Raises
    ------
    ConfigError
        If it is no rule.
    """
    return schedule if isinstance(schedule, Schedule) else Schedule(schedule)


def check_schedule(schedule: Any) -> None:
    """Raise ConfigError unless `schedule` is a `Schedule` or a rule of one.

    Parameters
    ----------
    schedule : object
        What the user gave; no data is needed.
    """
    as_schedule(schedule)


def _checked_rule(rule: Any) -> Any:
    if isinstance(rule, str):
        if rule in RULES:
            return rule
        msg = (
            f"schedule must be one of {', '.join(map(repr, RULES))}, an int, "
            "timestamps or an expression, "
            f"got {rule!r}.{suggestion(rule, RULES)}"
        )
        raise ConfigError(msg)
    if isinstance(rule, pl.Expr):
        return rule
    if isinstance(rule, (int, np.integer)) and not isinstance(rule, bool):
        if rule < 1:
            msg = f"schedule must be at least 1 bar, got {rule!r}."
            raise ConfigError(msg)
        return int(rule)
    if not isinstance(rule, (bool, bytes, dict)) and isinstance(rule, Iterable):
        moments = tuple(_moment(one) for one in _values(rule))
        if not moments:
            msg = "schedule names no timestamp: an empty list never rebalances."
            raise ConfigError(msg)
        return moments
    msg = (
        "schedule must be a name, an int, timestamps, a polars expression or a "
        f"Schedule, got {rule!r}."
    )
    raise ConfigError(msg)


def _values(values: Iterable[Any]) -> list[Any]:
    return values.to_list() if isinstance(values, pl.Series) else list(values)


def _moment(value: Any) -> date | datetime | int:
    moment = plain_moment(value)
    if moment is None:
        msg = f"schedule must list dates, datetimes or integers, got {value!r}."
        raise ConfigError(msg)
    return moment


def _checked_sessions(sessions: Any) -> tuple[date, ...]:
    if isinstance(sessions, (str, bytes)) or not isinstance(sessions, Iterable):
        msg = f"schedule.sessions must be a list of dates, got {sessions!r}."
        raise ConfigError(msg)
    days = []
    for value in _values(sessions):
        moment = _moment(value)
        if isinstance(moment, datetime):
            moment = moment.date()
        if not isinstance(moment, date):
            msg = f"schedule.sessions must be dates, got {value!r}."
            raise ConfigError(msg)
        days.append(moment)
    return tuple(sorted(set(days)))


def _shown(rule: Any) -> str:
    if isinstance(rule, pl.Expr):
        return "of an expression"
    return "of a list" if isinstance(rule, tuple) else repr(rule)


def schedule_json(schedule: Any) -> Any:
    """Return a schedule as plain values for JSON.

    Parameters
    ----------
    schedule : Schedule, or any rule of one
        What is to be written.

    Returns
    -------
    str, int or dict
        `schedule_from_json` makes an equal schedule of it.

    Raises
    ------
    ConfigError
        If an expression cannot be written.
    """
    schedule = as_schedule(schedule)
    rule: Any = schedule.rule
    if isinstance(rule, pl.Expr):
        try:
            rule = {"expression": rule.meta.serialize(format="json")}
        except pl.exceptions.PolarsError as error:
            msg = f"the expression of the schedule cannot be written as JSON: {error}"
            raise ConfigError(msg) from error
    elif isinstance(rule, tuple):
        rule = {"timestamps": [_plain(one) for one in rule]}
    if schedule.sessions is None:
        return rule
    return {"rule": rule, "sessions": [_plain(one) for one in schedule.sessions]}


def _plain(moment: date | datetime | int) -> str | int:
    return moment if isinstance(moment, int) else moment.isoformat()


def schedule_from_json(plain: Any) -> Any:
    """Return the schedule that `schedule_json` wrote.

    Parameters
    ----------
    plain : str, int or dict
        Plain values.

    Returns
    -------
    str, int, or Schedule
        A rule by name or number as it is.

    Raises
    ------
    ConfigError
        If it is no schedule.
    """
    if not isinstance(plain, dict):
        check_schedule(plain)
        return plain
    known = ("rule", "sessions", "expression", "timestamps")
    for name in plain:
        if name not in known:
            msg = f"unknown entry {name!r} of schedule.{suggestion(name, known)}"
            raise ConfigError(msg)
    if "expression" in plain:
        try:
            text = io.StringIO(plain["expression"])
            return Schedule(pl.Expr.deserialize(text, format="json"))
        except (TypeError, pl.exceptions.PolarsError) as error:
            msg = f"the expression of the schedule cannot be read: {error}"
            raise ConfigError(msg) from error
    if "timestamps" in plain:
        return Schedule(plain["timestamps"])
    rule = schedule_from_json(plain.get("rule", "every_bar"))
    rule = rule.rule if isinstance(rule, Schedule) else rule
    return Schedule(rule, plain.get("sessions"))


def rebalance_mask(
    schedule: Any,
    timestamps: pl.Series,
    context: AlignedContext | None,
    first_bar: int,
) -> BoolVector:
    """Find the bars that rebalance.

    Parameters
    ----------
    schedule : Schedule, or any rule of one
        Which bars rebalance.
    timestamps : Series of shape (n_bars,)
        Timestamps of the bars, ascending.
    context : AlignedContext or None
        Columns for an expression, NaN where a bar has no value.
    first_bar : int
        First traded bar; the ones before are history.

    Returns
    -------
    ndarray of shape (n_bars,), bool
        False before `first_bar`.

    Raises
    ------
    ConfigError
        If the rule needs dates and the times are integers, if a listed timestamp is
        no bar, or if an expression does not give one boolean per bar.
    """
    schedule = as_schedule(schedule)
    rule = schedule.rule
    n_bars = len(timestamps)
    mask: BoolVector
    if isinstance(rule, int):
        mask = (np.arange(n_bars) - first_bar) % rule == 0
    elif isinstance(rule, tuple):
        mask = _listed(rule, timestamps)
    elif isinstance(rule, pl.Expr):
        mask = _evaluated(rule, timestamps, context)
    elif rule == "every_bar":
        mask = np.ones(n_bars, dtype=np.bool_)
    else:
        mask = period_edges(rule, timestamps, schedule.sessions)
    mask[:first_bar] = False
    return mask


def _listed(moments: tuple[Any, ...], timestamps: pl.Series) -> BoolVector:
    """Mark the bars of a list; each must be one."""
    mask = np.zeros(len(timestamps), dtype=np.bool_)
    try:
        known = [parse_time(one, timestamps) for one in moments]
        for kind in (datetime, date, int):
            of_kind = [one for one in known if type(one) is kind]
            if not of_kind:
                continue
            codes = _codes(of_kind, timestamps)
            for k in np.flatnonzero(codes < 0):
                # A date among times of day, if only one bar lies on it.
                codes[k] = find_bar(timestamps, of_kind[k])
            mask[codes] = True
    except BarloopError as error:
        msg = f"schedule lists a timestamp that is no bar: {error}"
        raise ConfigError(msg) from error
    return mask


def _codes(moments: list[Any], timestamps: pl.Series) -> IntVector:
    if isinstance(moments[0], datetime) and isinstance(timestamps.dtype, pl.Datetime):
        values = pl.Series(moments, dtype=timestamps.dtype)
    else:
        values = pl.Series(moments)
    return timestamp_codes(timestamps, values, "schedule")


def _evaluated(
    rule: pl.Expr, timestamps: pl.Series, context: AlignedContext | None
) -> BoolVector:
    """Evaluate an expression on one row per bar."""
    values = {} if context is None else context.values
    # NaN compares as the largest number in polars: a gap must not say yes.
    columns = [pl.Series(name, value).fill_nan(None) for name, value in values.items()]
    frame = pl.DataFrame([timestamps, *columns])
    try:
        mask = frame.select(rule.alias("schedule")).to_series()
    except pl.exceptions.PolarsError as error:
        msg = (
            f"the expression of the schedule failed: {error}\n"
            f"Hint: it sees the columns {', '.join(map(repr, frame.columns))}."
        )
        raise ConfigError(msg) from error
    if mask.dtype != pl.Boolean:
        msg = f"the expression of the schedule must give Boolean, got {mask.dtype}."
        raise ConfigError(msg)
    if len(mask) != len(timestamps):
        msg = (
            "the expression of the schedule must give one value per bar: "
            f"{len(timestamps):,}, got {len(mask):,}."
        )
        raise ConfigError(msg)
    if mask.null_count():
        first = timestamps.filter(mask.is_null())[0]
        msg = (
            "the expression of the schedule must not be null: "
            f"{mask.null_count():,} of {len(mask):,} bars are, first at "
            f"{show(first)}.\nHint: add .fill_null(False)."
        )
        raise ConfigError(msg)
    return mask.to_numpy().copy()
