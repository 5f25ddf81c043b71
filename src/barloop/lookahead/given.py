"""What a rule is given, whole or up to a moment: data, context and actions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from barloop.context import Context
from barloop.errors import SchemaError
from barloop.schema import find_asset_column, find_time_column, to_frame
from barloop.times import as_bar_times
from barloop.typing import BoolVector, FrameLike, IntVector


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """Hold what one evaluation of a rule gets to see.

    Parameters
    ----------
    frame : DataFrame
        Rows of the user, in his order.
    context : Context or None
        Market-wide columns.
    actions : DataFrame or None
        Events.
    """

    frame: pl.DataFrame
    context: Context | None
    actions: pl.DataFrame | None


class Source:
    """The data of a run as they were given, and where each row stands in time.

    Parameters
    ----------
    frame : DataFrame
        Rows of the user.
    context : Context, frame or None
        As given to the run.
    actions : frame or None
        As given to the run.
    bars : Series
        Timestamps of the bars of the run, ascending.
    time_name, asset_name : str
        Key columns of the run, looked for in `frame` first.

    Attributes
    ----------
    whole : Given
        Everything up to the last bar.
    """

    def __init__(
        self,
        frame: pl.DataFrame,
        context: Context | FrameLike | None,
        actions: FrameLike | None,
        bars: pl.Series,
        time_name: str,
        asset_name: str,
    ) -> None:
        self.bars = bars
        self.time_name = _found(frame, time_name)
        self.asset_name = asset_name if asset_name in frame.columns else None
        if context is not None and not isinstance(context, Context):
            context = Context(context)
        self._time_name, self._asset_name = time_name, asset_name
        self.whole = Given(
            frame, context, None if actions is None else to_frame(actions)
        )
        last = len(bars) - 1
        if not self._until(frame[self.time_name], last).all():
            self.whole = replace(
                self.whole,
                frame=frame.filter(self._until(frame[self.time_name], last)),
            )

    @property
    def context_time(self) -> str | None:
        """The time column of the context."""
        context = self.whole.context
        return None if context is None else _found(context.frame, self._time_name)

    def upto(self, bar: int, *, all_assets: bool = False) -> Given:
        """Return what was known at the close of a bar.

        Parameters
        ----------
        bar : int
            The last bar to keep.
        all_assets : bool, default False
            Give assets that are first listed later a row without values on that bar.

        Returns
        -------
        Given
            Rows, context and actions up to `bar`.
        """
        whole = self.whole
        frame = whole.frame.filter(self._until(whole.frame[self.time_name], bar))
        if all_assets and self.asset_name is not None:
            frame = self._with_all_assets(frame)
        return Given(frame, self.context_upto(bar), self._actions_upto(bar, frame))

    def rows_after(self, bar: int) -> IntVector:
        """Return the rows of the frame that lie after a bar, ascending."""
        times = self.whole.frame[self.time_name]
        return np.flatnonzero(~self._until(times, bar).to_numpy())

    def is_row_until(self, bar: int) -> BoolVector:
        """Tell which rows of the frame lie at or before a bar."""
        return self._until(self.whole.frame[self.time_name], bar).to_numpy()

    def is_context_until(self, bar: int) -> BoolVector:
        """Tell which rows of the context lie at or before a bar."""
        context, name = self.whole.context, self.context_time
        if context is None or name is None:
            return np.empty(0, dtype=np.bool_)
        return self._until(context.frame[name], bar).to_numpy()

    def _until(self, times: pl.Series, bar: int) -> pl.Series:
        limit = self.bars.slice(bar, 1)
        return (_moments(times, self.bars) <= limit).fill_null(value=False)

    def context_upto(self, bar: int) -> Context | None:
        """Return the rows of the context up to a bar."""
        context, name = self.whole.context, self.context_time
        if context is None or name is None:
            return None
        frame = context.frame
        kept = frame.filter(self._until(frame[name], bar))
        if kept.height == 0:
            # A context needs a row; one that lies later is not seen.
            first = frame.head(1)
            kept = first.clear(1).with_columns(first[name])
        return replace(context, frame=kept)

    def _actions_upto(self, bar: int, frame: pl.DataFrame) -> pl.DataFrame | None:
        actions = self.whole.actions
        if actions is None:
            return None
        time = _found(actions, self._time_name)
        kept = actions.filter(self._until(actions[time], bar))
        if self.asset_name is None:
            return kept
        name = self._asset_name
        if name not in kept.columns:
            name = find_asset_column(kept)
        own = kept[name].cast(pl.String)
        known = frame[self.asset_name].unique().cast(pl.String).implode()
        return kept.filter(own.is_null() | own.is_in(known))

    def _with_all_assets(self, frame: pl.DataFrame) -> pl.DataFrame:
        time, asset = self.time_name, str(self.asset_name)
        whole = self.whole.frame
        missing = whole.select(asset).unique().join(frame, on=asset, how="anti")
        if missing.height == 0:
            return frame
        latest = frame[time].gather([frame[time].arg_max() or 0] * missing.height)
        keys = [missing[asset].sort(), latest]
        return pl.concat([frame, frame.clear(missing.height).with_columns(keys)])


def _found(frame: pl.DataFrame, time_name: str) -> str:
    return time_name if time_name in frame.columns else find_time_column(frame)


def _moments(times: pl.Series, bars: pl.Series) -> pl.Series:
    """Return times in the dtype of the bars, one inside of a bar's day as that day."""
    have, want = times.dtype, bars.dtype
    if have == want:
        return times
    if want == pl.Date and isinstance(have, pl.Datetime):
        return times.dt.replace_time_zone(None).dt.date()
    exact = as_bar_times(times, bars, repr(times.name))
    if isinstance(want, pl.Datetime) and isinstance(have, pl.Datetime):
        if want.time_zone is not None:
            times = times.dt.convert_time_zone(want.time_zone)
        return times.cast(want, strict=False)
    if exact.null_count() > times.null_count():
        msg = f"{times.name!r} has times that are none of {want}."
        raise SchemaError(msg)
    return exact
