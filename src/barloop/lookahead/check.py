"""`check_lookahead`: evaluate a rule without the later data, and with others."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields as members_of
from dataclasses import is_dataclass
from typing import Any, Unpack

import numpy as np
import polars as pl

from barloop.config import BacktestConfig, ConfigFields, resolve
from barloop.context import Context
from barloop.engine import stage_of
from barloop.errors import ConfigError, WeightsError
from barloop.lookahead.captured import outside_data
from barloop.lookahead.cuts import choose_cuts, spread
from barloop.lookahead.decisions import Decided, first_difference
from barloop.lookahead.given import Source
from barloop.lookahead.leaks import differing, leak_error
from barloop.lookahead.poison import RANGE, Places
from barloop.lookahead.probes import How, Prober, Sighting, blame
from barloop.lookahead.replay import Failure, Rule
from barloop.lookahead.report import LookaheadReport
from barloop.lookahead.schedules import ScheduleProber, is_expression
from barloop.panel import Panel
from barloop.schema import to_frame
from barloop.typing import FrameLike, IntVector, WeightsFn
from barloop.weights import is_jitted

HOWS: tuple[How, ...] = ("prefix", "poison")
N_SCANNED = 32
"""Up to so many earlier decisions are tried one by one, more by bisection."""

N_SCHEDULE_SCANNED = 1_000
N_SCHEDULE_CUTS = 32


def check_lookahead(
    df: FrameLike | Panel,
    weights_fn: WeightsFn,
    *,
    config: BacktestConfig | None = None,
    params: Mapping[str, Any] | None = None,
    context: FrameLike | Context | None = None,
    actions: FrameLike | None = None,
    start: Any = None,
    end: Any = None,
    features: Callable[[pl.DataFrame], Any] | None = None,
    n_cuts: int = 10,
    seed: int = 0,
    **fields: Unpack[ConfigFields],
) -> LookaheadReport:
    """Raise LookaheadError if weights depend on data that were not known yet.

    The rule decides on the data up to a bar, and on data that are changed after it; up
    to that bar it must say what it says with all data.

    Parameters
    ----------
    df, weights_fn, config, params, context, actions, start, end, **fields
        As for `run_backtest`.
    features : callable, optional
        ``features(df)`` returns the frame that `weights_fn` is for: then `df` is what
        the features are computed from, and they are computed anew for each evaluation.
        Without it a column of the data is taken as known at its timestamp.
    n_cuts : int, default 10
        After how many bars the data are cut, and changed; each costs two evaluations.
    seed : int, default 0
        Of the changes and of the choice of bars.

    Returns
    -------
    LookaheadReport
        What was tried, and what could not be.

    Raises
    ------
    LookaheadError
        Names the first bar and asset whose weight depends on later data, both weights,
        the columns that matter and the first later bar that does; the same as values
        in ``error.finding``, a `Leak`.
    WeightsError
        If the rule says different things about the same data.

    Notes
    -----
    ``docs/lookahead.md`` lists what is tried and what no such test can see.  A clean
    report says that nothing was found, not that nothing is there.

    Examples
    --------
    >>> import polars as pl
    >>> from barloop.datasets import simulate_bars
    >>> from barloop.errors import LookaheadError
    >>> df = simulate_bars(n_assets=3, n_bars=60, seed=1)
    >>> close = pl.col("close")
    >>> rose = close > close.shift(1).over("asset")
    >>> report = check_lookahead(df, pl.when(rose).then(0.2))
    >>> report.n_decisions, len(report.cuts), report.columns
    (50, 10, ('open', 'high', 'low', 'close', 'volume'))
    >>> rises = close < close.shift(-1).over("asset")
    >>> try:
    ...     check_lookahead(df, pl.when(rises).then(0.2))
    ... except LookaheadError as error:
    ...     print(error)  # doctest: +ELLIPSIS
    the weights at 2000-01-03 of asset "A0" depend on later data: no rebalance with ...
    The column 'close' after 2000-01-03 changes it (first later bar that matters: ...).
    Hint: look for shift(-1), a statistic over the whole sample, or a fill backward ...
    """
    _require_int("n_cuts", n_cuts, least=1)
    _require_int("seed", seed, least=0)
    settings = resolve(config, fields)
    frame = df.frame if isinstance(df, Panel) else to_frame(df)
    panel = df if isinstance(df, Panel) else None
    if features is not None or panel is None:
        panel = Panel.from_frame(frame if features is None else features(frame))
    stage = stage_of(
        panel, settings, context=context, actions=actions, start=start, end=end
    )
    panel = stage.panel
    names = panel.timestamp_name, panel.asset_name
    source = Source(frame, context, actions, panel.timestamps, *names)
    own_context = context.frame if isinstance(context, Context) else context
    rule = Rule(
        weights_fn=weights_fn,
        params=params,
        features=features,
        config=settings.replace(
            schedule="every_bar", bars_per_year=stage.bars_per_year
        ),
        start=start,
        panel=panel,
        is_rebalance=stage.is_rebalance,
        source=source,
        own_frame=df if isinstance(df, (pl.DataFrame, pl.LazyFrame)) else None,
        own_context=own_context if isinstance(own_context, pl.DataFrame) else None,
    )
    whole = _decided_twice(rule)
    form = form_of(weights_fn)
    schedule_cuts: IntVector = np.empty(0, dtype=np.int64)
    seen_schedule = 0
    if is_expression(settings.schedule):
        prober: Prober = ScheduleProber(settings.schedule, rule, stage.first_bar, seed)
        bars = np.arange(stage.first_bar, panel.n_bars - 1)
        schedule_cuts = spread(bars, N_SCHEDULE_CUTS)
        _search(prober, schedule_cuts, bars, form, of_schedule=True)
        seen_schedule = prober.n_compared
    prober = Prober(rule, whole, _places(frame, source, settings), seed)
    bars = np.flatnonzero(stage.is_rebalance[:-1])
    cuts = np.empty(0, dtype=np.int64)
    if form != "frame" and (form != "column" or features is not None):
        cuts = choose_cuts(bars, whole, panel, n_cuts, seed)
        # What the features look at is a matter of columns, whoever reads them.
        _search(prober, cuts, bars, form if features is None else "features")
    remarks = [*prober.remarks, *_unseen(rule, form, bars)]
    return LookaheadReport(
        form=form,
        n_bars=panel.n_bars - stage.first_bar,
        n_assets=panel.n_assets,
        n_decisions=int(np.count_nonzero(whole.kind)),
        cuts=tuple(panel.timestamp_at(int(t)) for t in cuts),
        schedule_cuts=tuple(panel.timestamp_at(int(t)) for t in schedule_cuts),
        columns=tuple(one.name for one in prober.columns if not one.of_context),
        context_columns=tuple(one.name for one in prober.columns if one.of_context),
        n_compared=prober.n_compared + seen_schedule,
        n_runs=prober.n_runs + 2,
        remarks=tuple(remarks),
    )


def form_of(weights_fn: WeightsFn) -> str:
    """Name the form of weights.

    Parameters
    ----------
    weights_fn : see `run_backtest`
        What the user gave.

    Returns
    -------
    str
        column, expression, frame, factory, callback or compiled callback.
    """
    if isinstance(weights_fn, str):
        return "column"
    if isinstance(weights_fn, pl.Expr):
        return "expression"
    if not callable(weights_fn):
        return "frame"
    if is_jitted(weights_fn):
        return "compiled callback"
    first = next(iter(inspect.signature(weights_fn).parameters), None)
    return "callback" if first == "bar" else "factory"


def _decided_twice(rule: Rule) -> Decided:
    """Return the decisions with all data, after making sure that they stay the same."""
    whole = rule.source.whole
    first = rule.decide(whole, rule.panel.n_bars)
    if isinstance(first, Failure):
        raise first.error
    _require_same(rule, first)
    return first


def _require_same(rule: Rule, first: Decided) -> None:
    second = rule.decide(rule.source.whole, rule.panel.n_bars)
    if isinstance(second, Failure):
        msg = (
            "the weights function fails when it is called again with the same data: "
            f"{type(second.error).__name__}: {second.error}\n{_STATE_HINT}"
        )
        raise WeightsError(msg) from second.error
    difference = first_difference(first, second, rule.panel.n_bars)
    if difference is not None:
        msg = (
            "the weights are not the same when the same data are run twice, so they "
            "cannot be checked for look-ahead: "
            f"first at {differing(difference, rule.panel)}.\n{_STATE_HINT}"
        )
        raise WeightsError(msg)


_STATE_HINT = (
    "Hint: seed random numbers inside of the function; keep state in an object with "
    "__call__(self, bar), which the check copies for each run, or begin it anew on the "
    "first bar."
)


def _search(
    prober: Prober,
    cuts: IntVector,
    candidates: IntVector,
    form: str,
    *,
    of_schedule: bool = False,
) -> None:
    """Raise LookaheadError at the first leak, as far to the front as affordable."""
    for turn, cut in enumerate(cuts.tolist()):
        for how in HOWS:
            sighting = prober.look(cut, how, turn)
            if sighting is None:
                continue
            clean = set(cuts[:turn].tolist())
            earlier = [t for t in candidates.tolist() if t < sighting.bar]
            untried = [t for t in earlier if t not in clean]
            limit = N_SCHEDULE_SCANNED if of_schedule else N_SCANNED
            first, n_clean = _earliest(prober, sighting, untried, turn, limit)
            if not of_schedule:
                _confirm(prober, first, turn)
            n_before = sum(t < first.bar for t in untried)
            raise leak_error(
                first,
                blame(prober, first),
                prober.rule.panel,
                form,
                n_untried=max(n_before - n_clean, 0),
                of_schedule=of_schedule,
            )


def _earliest(
    prober: Prober, sighting: Sighting, untried: list[int], turn: int, limit: int
) -> tuple[Sighting, int]:
    """Return the first sighting, and how many of the earlier bars were clean."""
    best, n_clean = sighting, 0

    def look(t: int) -> Sighting | None:
        for how in HOWS:
            seen = prober.look(t, how, turn)
            if seen is not None:
                return seen
        return None

    if len(untried) <= limit:
        for t in untried:
            seen = look(t)
            if seen is not None:
                best = seen
                break
            n_clean += 1
    else:
        low, high = -1, len(untried)
        while high - low > 1:
            middle = (low + high) // 2
            seen = look(untried[middle])
            if seen is None:
                low = middle
                n_clean += 1
            else:
                best, high = seen, middle
    if best.cut != best.bar:
        seen = look(best.bar)
        if seen is not None and seen.bar == best.bar:
            best = seen
    return best, n_clean


def _confirm(prober: Prober, sighting: Sighting, turn: int) -> None:
    """Raise WeightsError if the rule has changed its mind about the same data."""
    _require_same(prober.rule, prober.whole)
    again = prober.look(sighting.cut, sighting.how, turn)
    if again is None or again.bar != sighting.bar:
        msg = (
            "the weights are not the same when the same data are run twice, so they "
            "cannot be checked for look-ahead: with part of the data up to "
            f"{prober.rule.panel.show_bar(sighting.cut)}.\n{_STATE_HINT}"
        )
        raise WeightsError(msg)


def _places(frame: pl.DataFrame, source: Source, config: BacktestConfig) -> Places:
    prices = {name.lower(): name for name in frame.columns if name.lower() in RANGE}
    named = (_texts(config) & set(frame.columns)) - set(prices.values())
    return Places(source.time_name, source.asset_name, prices, frozenset(named))


def _texts(value: Any) -> set[str]:
    """Return all texts among settings: some of them are names of columns."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, tuple):
        return set().union(*map(_texts, value))
    if is_dataclass(value):
        return set().union(*(_texts(getattr(value, f.name)) for f in members_of(value)))
    return set()


def _unseen(rule: Rule, form: str, bars: IntVector) -> list[str]:
    """Say what of the rule the check cannot see."""
    remarks = []
    if form == "frame":
        remarks.append(
            "The weights are a frame of numbers: how they were made is not checked. "
            "Pass the function that makes them a column, features=function."
        )
    elif rule.features is None:
        which = (
            f"The weights are the column {rule.weights_fn!r}"
            if form == "column"
            else "The columns of the data are taken as known at their timestamps"
        )
        remarks.append(
            f"{which}: how they were made is not checked. Pass the function that makes "
            "them, features=function."
        )
    if not bars.size:
        remarks.append(
            "No bar before the last one decides: there is nothing to compare."
        )
    known = (rule.own_frame, rule.own_context)
    outside = outside_data(rule.functions, rule.params or {}, known, rule.panel.n_bars)
    if outside:
        remarks.append(
            f"The function reads {', '.join(outside)} from outside: what stands there "
            "is not cut or changed."
        )
    return remarks


def _require_int(name: str, value: object, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        msg = f"{name} must be an int, got {value!r}."
        raise ConfigError(msg)
    if value < least:
        msg = f"{name} must be at least {least}, got {value!r}."
        raise ConfigError(msg)
