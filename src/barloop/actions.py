"""Splits, dividends, delistings, deposits and withdrawals, bar by bar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from barloop.enums import ActionKind
from barloop.errors import PanelError, SchemaError, suggestion
from barloop.layout import frozen
from barloop.notices import Notice
from barloop.panel import Panel
from barloop.schema import (
    are,
    find_asset_column,
    find_time_column,
    listed,
    n_rows,
    show,
    to_frame,
)
from barloop.times import as_bar_times
from barloop.typing import BoolVector, ByteVector, FloatVector, FrameLike, IntVector

KINDS = {
    "split": ActionKind.SPLIT,
    "dividend": ActionKind.DIVIDEND,
    "delisting": ActionKind.DELISTING,
    "deposit": ActionKind.DEPOSIT,
    "withdrawal": ActionKind.DEPOSIT,
}
"""Kinds of the frame; a withdrawal is a deposit of a negative amount."""

VALUES = {
    "split": "a ratio above 0, new units for one",
    "dividend": "an amount above 0, currency per unit",
    "delisting": "null, or a return of at least -1",
    "deposit": "an amount above 0, currency",
    "withdrawal": "an amount above 0, currency",
}


@dataclass(frozen=True, slots=True, eq=False)
class ActionRows:
    """Actions in the order in which they apply, and what was left out.

    Parameters
    ----------
    start : ndarray of shape (n_bars + 1,)
        First action of each bar.
    kind : ndarray of shape (n_actions,), int8
        `ActionKind` codes, ascending within a bar.
    asset : ndarray of shape (n_actions,)
        Columns of the panel, ascending within a bar and kind; -1 for the account.
    value : ndarray of shape (n_actions,)
        Ratio, currency per unit, return (NaN if there is none) or currency.
    notices : tuple of Notice
        ``actions_after_end``, ``deposits_before_start``.
    """

    start: IntVector
    kind: ByteVector
    asset: IntVector
    value: FloatVector
    notices: tuple[Notice, ...] = ()


def no_actions(n_bars: int) -> ActionRows:
    """Return the rows of a run without actions.

    Parameters
    ----------
    n_bars : int
        Bars of the panel.

    Returns
    -------
    ActionRows
        Empty.
    """
    none = np.empty(0, dtype=np.int64)
    return ActionRows(
        frozen(np.zeros(n_bars + 1, dtype=np.int64)),
        frozen(none.astype(np.int8)),
        frozen(none),
        frozen(none.astype(np.float64)),
    )


def action_rows(actions: FrameLike, panel: Panel, first_bar: int) -> ActionRows:
    """Check an actions frame and bring it to the bars.

    Parameters
    ----------
    actions : DataFrame, LazyFrame, pandas DataFrame or Arrow stream object
        Columns of time and asset, found as in the data, ``kind`` and ``value``; see
        `run_backtest`.
    panel : Panel
        Bars and assets.
    first_bar : int
        Where the run starts.

    Returns
    -------
    ActionRows
        Sorted by bar, kind and asset.

    Raises
    ------
    SchemaError
        If columns are missing, or a key or a value cannot be used; names the first.

    Notes
    -----
    An action between two bars belongs to the later one.  Those after the last bar are
    counted and left out, and so are deposits and withdrawals that belong to a bar
    before `first_bar` or lie before the first bar of the data.
    """
    frame = _named(to_frame(actions), panel)
    if frame.height == 0:
        return no_actions(panel.n_bars)
    kind = _kinds(frame)
    asset = _assets(frame, kind, panel)
    value = _values(frame, kind)
    bar, before_data = _bars(frame, panel)
    inside = bar < panel.n_bars
    of_account = kind == ActionKind.DEPOSIT
    early = of_account & ((bar < first_bar) | before_data)
    notices = [
        Notice(name, int(left_out.sum()), None, None, message)
        for name, left_out, message in (
            ("actions_after_end", ~inside, "actions lie after the last bar"),
            ("deposits_before_start", early & inside, "deposits precede the run"),
        )
        if left_out.any()
    ]
    kept = np.flatnonzero(inside & ~early)
    # Of the account, what is paid in comes before what is taken out.
    order = kept[np.lexsort((-value[kept], asset[kept], kind[kept], bar[kept]))]
    _refuse_repeats(frame, order, bar, asset, panel)
    start = np.searchsorted(bar[order], np.arange(panel.n_bars + 1))
    return ActionRows(
        frozen(start.astype(np.int64)),
        frozen(kind[order]),
        frozen(asset[order]),
        frozen(value[order]),
        tuple(notices),
    )


def _named(frame: pl.DataFrame, panel: Panel) -> pl.DataFrame:
    """Return the four columns as time, asset, kind and value."""
    lower = {name.lower(): name for name in frame.columns}
    lower |= {name: name for name in frame.columns}
    try:
        time_name = panel.timestamp_name
        if time_name not in frame.columns:
            time_name = find_time_column(frame)
        asset_name = panel.asset_name
        if asset_name not in frame.columns:
            asset_name = find_asset_column(frame)
        kind_name, value_name = lower["kind"], lower["value"]
    except (SchemaError, KeyError) as error:
        msg = (
            f"an actions frame needs the columns {panel.timestamp_name!r} and "
            f"{panel.asset_name!r} of the data, 'kind' and 'value'; it has "
            f"{listed(frame.columns)}."
        )
        raise SchemaError(msg) from error
    return frame.select(
        time=time_name, asset=asset_name, kind=kind_name, value=value_name
    )


def _kinds(frame: pl.DataFrame) -> ByteVector:
    """Return the code of each row."""
    kind = frame["kind"].cast(pl.String, strict=False)
    known = kind.is_in(list(KINDS)).fill_null(value=False)
    if not known.all():
        first = kind.filter(~known)[0]
        _refuse(
            frame,
            ~known.to_numpy(),
            f"'kind' of the actions must be one of {', '.join(map(repr, KINDS))}",
            (suggestion(first or "", KINDS) or " drop these rows.").strip(),
        )
    return kind.replace_strict(KINDS, return_dtype=pl.Int8).to_numpy()


def _assets(frame: pl.DataFrame, kind: ByteVector, panel: Panel) -> IntVector:
    """Return the panel column of each row, -1 for the account."""
    of_account = kind == ActionKind.DEPOSIT
    given = frame["asset"]
    if given.dtype == pl.Null:
        codes = np.full(frame.height, -1, dtype=np.int64)
    else:
        try:
            codes = panel.asset_codes(given)
        except PanelError as error:
            msg = f"the keys of the actions do not fit the data: {error}"
            raise SchemaError(msg) from error
    has_asset = given.is_not_null().to_numpy()
    _refuse(
        frame,
        of_account & has_asset,
        "deposits and withdrawals of the actions must have no asset",
        "they belong to the account; set the asset to null.",
    )
    _refuse(
        frame,
        ~of_account & ~has_asset,
        "splits, dividends and delistings of the actions must have an asset",
        "only deposits and withdrawals have none; drop these rows.",
    )
    _refuse(
        frame,
        ~of_account & (codes < 0),
        f"{panel.asset_name!r} of the actions must be an asset of the data",
        f"drop these rows, e.g. filter by .is_in(df[{panel.asset_name!r}].implode()).",
    )
    return codes


def _values(frame: pl.DataFrame, kind: ByteVector) -> FloatVector:
    """Return ratios, amounts and returns; a withdrawal is negative."""
    given = frame["value"]
    if not (given.dtype.is_numeric() or given.dtype == pl.Null):
        msg = (
            f"'value' of the actions must be numeric, got {given.dtype}.\n"
            "Hint: cast it to pl.Float64."
        )
        raise SchemaError(msg)
    value = given.cast(pl.Float64).fill_null(float("nan")).to_numpy().copy()
    is_return = kind == ActionKind.DELISTING
    with np.errstate(invalid="ignore"):
        fine = (value > 0.0) & (value < np.inf)
        fine |= is_return & (np.isnan(value) | ((value >= -1.0) & (value < np.inf)))
    names = frame["kind"].cast(pl.String)
    for name, wanted in VALUES.items():
        of_kind = (names == name).to_numpy()
        _refuse(
            frame,
            of_kind & ~fine,
            f"'value' of a {name} must be {wanted}",
            "a withdrawal is a kind of its own, not a negative deposit."
            if name == "deposit"
            else "drop or correct these rows.",
        )
    value[(names == "withdrawal").to_numpy()] *= -1.0
    return value


def _bars(frame: pl.DataFrame, panel: Panel) -> tuple[IntVector, BoolVector]:
    """Return the first bar at or after each row, and whether it precedes the data."""
    time = frame["time"]
    try:
        # It refuses what cannot be compared.
        as_bar_times(time, panel.timestamps, "the actions frame")
    except SchemaError as error:
        msg = f"the times of the actions do not fit the data: {error}"
        raise SchemaError(msg) from error
    is_null = time.is_null().to_numpy()
    _refuse(frame, is_null, "the actions must have a time", "drop these rows.")
    bars = _moments(panel.timestamps, panel.timestamps.dtype)
    moments = _moments(time, panel.timestamps.dtype)
    bar = bars.search_sorted(moments, side="left").to_numpy().astype(np.int64)
    return bar, (moments < bars[0]).to_numpy()


def _moments(times: pl.Series, bars: pl.DataType) -> pl.Series:
    """Return times as integers that compare across dtypes: nanoseconds, or as given."""
    if times.dtype == pl.Date:
        zone = bars.time_zone if isinstance(bars, pl.Datetime) else None
        times = _midnights(times.cast(pl.Datetime("us")), zone)
    elif bars == pl.Date:
        # A day has no zone: the local one counts, whatever the hour.
        times = times.dt.replace_time_zone(None).dt.truncate("1d")
    if not isinstance(times.dtype, pl.Datetime):
        return times.cast(pl.Int128)
    unit = {"ms": 1_000_000, "us": 1_000, "ns": 1}[times.dtype.time_unit]
    physical = times.to_physical().cast(pl.Int128)
    return pl.select(physical * pl.lit(unit, pl.Int128)).to_series()


def _midnights(times: pl.Series, zone: str | None) -> pl.Series:
    """Return the first moments of days in a time zone."""
    if zone is None:
        return times
    found = []
    # Where the clock skips midnight, the day begins later, or with the next one.
    for hours in (0, 1, 24):
        later = times.dt.offset_by(f"{hours}h")
        found.append(
            later.dt.replace_time_zone(
                zone, ambiguous="earliest", non_existent="null"
            ).alias(str(hours))
        )
    return pl.DataFrame(found).select(pl.coalesce("0", "1", "24")).to_series()


def _refuse_repeats(
    frame: pl.DataFrame,
    order: IntVector,
    bar: IntVector,
    asset: IntVector,
    panel: Panel,
) -> None:
    """Raise for two actions of one kind and asset that belong to one bar."""
    names = frame["kind"].cast(pl.String).gather(order)
    keys = pl.DataFrame({"bar": bar[order], "asset": asset[order], "kind": names})
    repeats = ~keys.select(pl.struct(pl.all()).is_first_distinct()).to_series()
    if not repeats.any():
        return
    count = int(repeats.sum())
    t, i, kind = keys.row(int(repeats.arg_max() or 0))
    where = f", asset {panel.show_asset(i)}" if i >= 0 else ""
    msg = (
        "the actions must name each kind, asset and bar once: "
        f"{n_rows(count)} {'repeats' if count == 1 else 'repeat'} an earlier one, "
        f"first at {panel.show_bar(t)}{where}, kind {kind!r}.\n"
        "Hint: what lies between two bars belongs to the later one; add amounts up and "
        "multiply ratios."
    )
    raise SchemaError(msg)


def _refuse(frame: pl.DataFrame, wrong: BoolVector, what: str, hint: str) -> None:
    """Raise for the first row that is wrong."""
    count = int(np.count_nonzero(wrong))
    if not count:
        return
    row = frame.row(int(wrong.argmax()), named=True)
    msg = (
        f"{what}: {n_rows(count)} {are(count)} not, first at {show(row['time'])}, "
        f"asset {show(row['asset'])}, {row['kind']} {show(row['value'])}.\n"
        f"Hint: {hint}"
    )
    raise SchemaError(msg)
