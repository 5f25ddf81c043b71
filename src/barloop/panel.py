"""A long frame as aligned arrays of bars and assets."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from barloop.errors import PanelError, suggestion
from barloop.layout import Layout, find_layout, floats, frozen, spread
from barloop.lookup import asset_codes, bar_range, find_bar, timestamp_codes
from barloop.notices import Notice
from barloop.prices import Prices, check_prices, price_notices
from barloop.schema import (
    PRICE_NAMES,
    Columns,
    check_keys,
    check_numeric,
    find_columns,
    show,
    to_frame,
)
from barloop.typing import CodeVector, FloatPanel, FrameLike, IntVector


class Panel:
    """Prices and features as read-only arrays of shape (n_bars, n_assets).

    Made by `Panel.from_frame`; accepted wherever a frame is.  Row t is bar t, column i
    is asset i, both in sorted order of their values.  NaN stands where an asset has
    no row, or a null.

    Attributes
    ----------
    n_bars, n_assets : int
        Number of distinct timestamps and of distinct assets in the rows, whether or
        not these rows have a close.
    timestamp_name, asset_name : str
        The user's names of the key columns.
    timestamps, assets : Series
        Sorted distinct keys, in the user's name and dtype.  An Enum keeps its own
        order, a Categorical is sorted as text.
    all_timestamps : Series
        `timestamps` before `truncate`.
    close : ndarray of shape (n_bars, n_assets)
        Currency per unit; NaN where the asset has no bar.
    open, high, low, volume : ndarray of shape (n_bars, n_assets), or None
        None if the frame has no such column.
    is_view : bool
        The rows were sorted and complete, so the arrays are the frame's own memory
        where a column was Float64 without nulls.
    """

    def __init__(
        self,
        *,
        frame: pl.DataFrame,
        columns: Columns,
        layout: Layout,
        panels: dict[str, FloatPanel],
        notices: tuple[Notice, ...] | None = None,
        features: dict[str, FloatPanel] | None = None,
        all_timestamps: pl.Series | None = None,
    ) -> None:
        self._frame = frame
        self._columns = columns
        self._layout = layout
        self._panels = panels
        self._notices = notices
        self._features: dict[str, FloatPanel] = {} if features is None else features
        self.n_bars, self.n_assets = layout.shape
        self.timestamp_name = columns.timestamp
        self.asset_name = columns.asset
        self.timestamps = layout.timestamps
        self.all_timestamps = (
            layout.timestamps if all_timestamps is None else all_timestamps
        )
        self.assets = layout.assets
        self.is_view = layout.row_of is None
        self.close = panels["close"]
        self.open = panels.get("open")
        self.high = panels.get("high")
        self.low = panels.get("low")
        self.volume = panels.get("volume")

    @classmethod
    def from_frame(
        cls,
        df: FrameLike,
        *,
        timestamp: str | None = None,
        asset: str | None = None,
    ) -> Panel:
        """Check a long frame and align it.

        Parameters
        ----------
        df : DataFrame, LazyFrame, pandas DataFrame or Arrow stream object
            One row per timestamp and asset, in any order; `close` is needed, `open`,
            `high`, `low` and `volume` are known by name, all else are features.  Not
            modified.
        timestamp, asset : str, optional
            Names of the key columns; without them the usual names are looked for.

        Returns
        -------
        Panel
            Views of the frame's memory if the rows are sorted by timestamp, then
            asset, and complete.

        Raises
        ------
        SchemaError
            If columns are missing or ambiguous, keys are null or repeated, or prices
            are text, infinite, zero, negative, or high is below low.
        """
        frame = to_frame(df)
        columns = find_columns(frame, timestamp, asset)
        check_keys(frame, columns)
        names = {k: v for k, v in columns.named().items() if k in PRICE_NAMES}
        for name in names.values():
            check_numeric(name, frame.schema[name])
        layout = find_layout(frame[columns.timestamp], frame[columns.asset])
        arrays = layout.densify([floats(frame[name]) for name in names.values()])
        panels = dict(zip(names, arrays, strict=True))
        panel = cls(frame=frame, columns=columns, layout=layout, panels=panels)
        panel._notices = check_prices(panel._prices())
        return panel

    def __getstate__(self) -> dict[str, Any]:
        """Return what makes the panel again, without arrays that are columns."""
        names = self._columns.named()

        def is_column(name: str) -> bool:
            values = self._frame[name]
            return (
                self.is_view and values.dtype == pl.Float64 and not values.has_nulls()
            )

        return {
            "frame": self._frame,
            "columns": self._columns,
            "layout": self._layout,
            "panels": {
                name: None if is_column(names[name]) else panel
                for name, panel in self._panels.items()
            },
            "features": {
                name: panel
                for name, panel in self._features.items()
                if not is_column(name)
            },
            "notices": self._notices,
            "all_timestamps": self.all_timestamps,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        frame, columns, made = state["frame"], state["columns"], state["layout"]
        # Arrays come back writeable; kernels would be compiled once more for those.
        row_of = None if made.row_of is None else frozen(made.row_of)
        layout = Layout(made.timestamps, made.assets, row_of, in_order=made.in_order)
        names = columns.named()
        panels = {
            name: layout.densify([floats(frame[names[name]])])[0]
            if panel is None
            else frozen(panel)
            for name, panel in state["panels"].items()
        }
        features = {name: frozen(panel) for name, panel in state["features"].items()}
        Panel.__init__(
            self,
            frame=frame,
            columns=columns,
            layout=layout,
            panels=panels,
            notices=state["notices"],
            features=features,
            all_timestamps=state["all_timestamps"],
        )

    def __repr__(self) -> str:
        first, last = show(self.timestamp_at(0)), show(self.timestamp_at(-1))
        return (
            f"Panel({self.n_bars:,} bars x {self.n_assets:,} assets, {first} to {last})"
        )

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What is odd in the prices, counted."""
        if self._notices is None:
            self._notices = price_notices(self._prices())
        return self._notices

    def _prices(self) -> Prices:
        return Prices(
            panels=self._panels,
            names={name: getattr(self._columns, name) for name in self._panels},
            timestamps=self.timestamps,
            assets=self.assets,
            row_of=self._layout.row_of,
        )

    @property
    def close_name(self) -> str:
        """The user's name of the close column."""
        return self._columns.named()["close"]

    @property
    def frame(self) -> pl.DataFrame:
        """The user's rows, as they were given."""
        return self._frame

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the numeric and boolean columns besides keys and prices."""
        taken = set(self._columns.named().values())
        return tuple(
            name
            for name, dtype in self._frame.schema.items()
            if name not in taken and _is_feature(dtype)
        )

    def feature(self, name: str) -> FloatPanel:
        """Return a column of the frame as a panel.

        Parameters
        ----------
        name : str
            A numeric or boolean column; prices go by the user's names too.

        Returns
        -------
        ndarray of shape (n_bars, n_assets)
            Read-only float64; NaN where there is no row or a null.  Made once.

        Raises
        ------
        PanelError
            If there is no such column, or if it is not numeric.
        """
        if name not in self._features:
            if name not in self._frame.columns:
                known = self.feature_names
                listed = ", ".join(repr(one) for one in known) or "none"
                msg = (
                    f"no feature is named {name!r}; features are {listed}."
                    f"{suggestion(str(name), known)}"
                )
                raise PanelError(msg)
            dtype = self._frame.schema[name]
            if not _is_feature(dtype):
                msg = (
                    f"feature {name!r} must be numeric or Boolean, got {dtype}.\n"
                    f"Hint: cast it, e.g. pl.col({name!r}).cast(pl.Float64)."
                )
                raise PanelError(msg)
            self._features[name] = self.column(self._frame[name])
        return self._features[name]

    def column(self, series: pl.Series) -> FloatPanel:
        """Bring values in the order of the user's rows into panel order.

        Parameters
        ----------
        series : Series
            Numeric or Boolean, one value per row of the frame as it was given.

        Returns
        -------
        ndarray of shape (n_bars, n_assets)
            Read-only float64; NaN where there is no row or a null.
        """
        self._check_length(series, self._frame.height, "row of the frame")
        return self._layout.densify([floats(series)])[0]

    @cached_property
    def _sorted_frame(self) -> pl.DataFrame:
        layout = self._layout
        if not layout.in_order:
            return self._frame[layout.order()]
        if layout.row_of is None:
            return self._frame.head(self.n_bars * self.n_assets)
        return self._frame.head(int(np.count_nonzero(layout.row_of >= 0)))

    def sorted_frame(self) -> pl.DataFrame:
        """Return the user's rows sorted by timestamp, then asset.

        Returns
        -------
        DataFrame
            All rows and columns, those without a close too; the frame itself if it
            was sorted.
        """
        return self._sorted_frame

    def sorted_column(self, series: pl.Series) -> FloatPanel:
        """Bring values in the order of `sorted_frame` into panel order.

        Parameters
        ----------
        series : Series
            Numeric or Boolean, one value per row of `sorted_frame`.

        Returns
        -------
        ndarray of shape (n_bars, n_assets)
            Read-only float64; NaN where there is no row or a null.
        """
        self._check_length(series, self._sorted_frame.height, "row of sorted_frame()")
        return spread([floats(series)], self._rank, self._layout.shape)[0]

    @cached_property
    def _rank(self) -> CodeVector | None:
        """Place of each cell in `sorted_frame`, -1 for none."""
        row_of = self._layout.row_of
        if row_of is None or self._layout.in_order:
            return row_of
        has_row = row_of >= 0
        if has_row.all():
            return None
        rank = np.cumsum(has_row, dtype=np.int32)
        rank -= 1
        rank[~has_row] = -1
        return frozen(rank)

    def _check_length(self, series: pl.Series, wanted: int, what: str) -> None:
        if len(series) != wanted:
            msg = (
                f"one value per {what} is needed: {wanted:,}, got {len(series):,} in "
                f"{series.name!r}."
            )
            raise PanelError(msg)

    @cached_property
    def asset_values(self) -> tuple[Any, ...]:
        """Assets as Python values, in panel order."""
        return tuple(self.assets.to_list())

    @cached_property
    def asset_index(self) -> dict[Any, int]:
        """Column of each asset, by its Python value."""
        return {value: i for i, value in enumerate(self.asset_values)}

    def require_asset(self, asset: Any) -> int:
        """Return the panel column of an asset.

        Parameters
        ----------
        asset : object
            Its Python value.

        Raises
        ------
        PanelError
            If the data has no such asset; the message names the nearest one.
        """
        try:
            return self.asset_index[asset]
        except (KeyError, TypeError):
            names = [str(one) for one in self.asset_values]
            near = suggestion(str(asset), names)
            if str(asset) in names:
                near = f" Its assets are {self.assets.dtype}, not text."
            msg = f"no asset is {asset!r}; the data has {len(names):,}.{near}"
            raise PanelError(msg) from None

    def asset_codes(self, assets: pl.Series | Iterable[Any]) -> IntVector:
        """Find the panel columns of assets.

        Parameters
        ----------
        assets : Series or iterable
            Values of assets.

        Returns
        -------
        ndarray of shape (n,), int64
            Panel columns, -1 for an unknown or null asset.

        Raises
        ------
        PanelError
            If a series is text where the assets are integers, or the reverse.
        """
        if isinstance(assets, pl.Series):
            return asset_codes(self.assets, assets)
        index = self.asset_index
        return np.array([index.get(one, -1) for one in assets], dtype=np.int64)

    def timestamp_codes(self, timestamps: pl.Series) -> IntVector:
        """Find the panel rows of timestamps.

        Parameters
        ----------
        timestamps : Series
            Dates, datetimes or integers; a Date means midnight among datetimes.

        Returns
        -------
        ndarray of shape (n,), int64
            Panel rows, -1 for a timestamp without a bar and for null; `n_bars` or more
            for a bar that `truncate` cut off.

        Raises
        ------
        SchemaError
            If they cannot be compared with the bars.
        """
        return timestamp_codes(self.all_timestamps, timestamps, repr(timestamps.name))

    def timestamp_at(self, t: int) -> Any:
        """Return the timestamp of bar `t` as a Python value."""
        return self.timestamps[t]

    def asset_at(self, i: int) -> Any:
        """Return asset `i` as a Python value."""
        return self.assets[i]

    def show_bar(self, t: int) -> str:
        """Return the timestamp of bar `t` as messages show it."""
        return show(self.timestamps[t])

    def show_asset(self, i: int) -> str:
        """Return asset `i` as messages show it, text in double quotes."""
        return show(self.assets[i])

    def bar_of(self, value: Any) -> int:
        """Find one bar.

        Parameters
        ----------
        value : date, datetime, str in ISO form, or int
            Its timestamp.  A date finds the bar of that day if there is only one.

        Returns
        -------
        int
            Panel row.

        Raises
        ------
        PanelError
            If there is no such bar, or more than one on the day.
        """
        return find_bar(self.timestamps, value)

    def bar_range(self, start: Any = None, end: Any = None) -> tuple[int, int]:
        """Find the bars from `start` to `end`, both included.

        Parameters
        ----------
        start, end : date, datetime, str in ISO form, int, or None
            Need not be bars.  A date as `end` includes the whole day; None is the
            first or the last bar.

        Returns
        -------
        (int, int)
            First panel row, and one after the last; equal when no bar lies between.
        """
        return bar_range(self.timestamps, start, end)

    def truncate(self, n_bars: int) -> Panel:
        """Return the first bars, sharing memory.

        Parameters
        ----------
        n_bars : int
            Bars to keep, from 1 to all.

        Returns
        -------
        Panel
            With all assets, those that first appear later too.
        """
        if not 1 <= n_bars <= self.n_bars:
            msg = f"n_bars must be between 1 and {self.n_bars:,}, got {n_bars!r}."
            raise PanelError(msg)
        if n_bars == self.n_bars:
            return self
        row_of = self._layout.row_of
        return Panel(
            frame=self._frame,
            columns=self._columns,
            layout=Layout(
                self.timestamps.head(n_bars),
                self.assets,
                None if row_of is None else row_of[: n_bars * self.n_assets],
                in_order=self._layout.in_order,
            ),
            panels={name: panel[:n_bars] for name, panel in self._panels.items()},
            features={name: panel[:n_bars] for name, panel in self._features.items()},
            all_timestamps=self.all_timestamps,
        )


def _is_feature(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype == pl.Boolean or dtype == pl.Null
