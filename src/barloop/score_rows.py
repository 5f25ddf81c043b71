"""Scores on some bars of a panel: one row of numbers per bar."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import polars as pl

from barloop.layout import frozen
from barloop.panel import Panel
from barloop.recipes import Column, Leaf, Mean, Momentum, Opaque, Score, Volatility
from barloop.typing import CodeVector, FloatPanel, IntVector
from barloop.work_memory import SharedWork


class AskPolars(Exception):
    """A recipe cannot be worked out on the panel."""


@dataclass(frozen=True, slots=True)
class RowGaps:
    """Where assets have no row; all empty when every cell of the panel has one."""

    first: IntVector
    """(n_assets,) first bar with a row."""
    start: IntVector
    """(n_assets + 1,) where the gaps of each asset begin."""
    bar: CodeVector
    """Bars without a row between the first and the last of an asset."""


class ScoreRows:
    """Scores on some bars of one panel.

    Parameters
    ----------
    panel : Panel
        The data.
    bars : ndarray of shape (n,), int64
        Panel rows, ascending.
    work : SharedWork
        Of the same panel.
    bars_key : hashable
        Stands for the bars in the keys of `work`.
    """

    def __init__(
        self, panel: Panel, bars: IntVector, work: SharedWork, bars_key: Hashable
    ) -> None:
        self._panel = panel
        self._bars = bars
        self._work = work
        self._bars_key = bars_key

    def of(self, score: Score) -> FloatPanel:
        """Return one row of numbers per bar, NaN where polars has null or NaN."""
        if isinstance(score, (Column, Opaque)):
            return self._leaf_rows(score, boolean=False)
        return self._work.get(self.key(score), lambda: frozen(self._compute(score)))

    def marks(self, leaf: Leaf) -> FloatPanel:
        """Return one row per bar of a boolean leaf: 1, 0, or NaN for null."""
        return self._leaf_rows(leaf, boolean=True)

    def key(self, score: Score) -> Hashable:
        """Return the key under which the rows of a score are kept."""
        return "score", score, self._bars_key

    def _compute(self, score: Momentum | Mean | Volatility) -> FloatPanel:
        from barloop._kernels import windows

        if score.by != self._panel.asset_name:
            raise AskPolars
        values = self._leaf_panel(score.source)
        gaps = self._gaps()
        where = (gaps.first, gaps.start, gaps.bar)
        n_assets = self._panel.n_assets
        rows = np.empty((self._bars.size, n_assets))
        if isinstance(score, Momentum):
            windows.momentum_rows(
                values, self._bars, score.lookback, score.skip, *where, rows
            )
            return rows
        if isinstance(score, Mean):
            line = np.empty((score.n_bars, 1))
            windows.mean_rows(
                *(values, self._bars, score.n_bars, *where),
                *(line, frozen(line.view()), rows),
            )
            return rows
        line = np.empty((score.n_bars + 1, 1))
        windows.volatility_rows(
            *(values, self._bars, score.n_bars, *where),
            *(line, frozen(line.view()), np.empty(n_assets), rows),
        )
        return rows

    def _gaps(self) -> RowGaps:
        return self._work.get("gaps", self._find_gaps)

    def _find_gaps(self) -> RowGaps:
        from barloop._kernels.row_gaps import find_ends, list_gaps

        row_of = self._panel._layout.row_of
        nothing = np.empty(0, dtype=np.int64)
        if row_of is None or bool((row_of >= 0).all()):
            return RowGaps(nothing, nothing, frozen(np.empty(0, dtype=np.int32)))
        n_assets = self._panel.n_assets
        first = np.empty(n_assets, dtype=np.int64)
        last = np.empty(n_assets, dtype=np.int64)
        start = np.empty(n_assets + 1, dtype=np.int64)
        find_ends(row_of, first, last, start)
        bar = np.empty(int(start[-1]), dtype=np.int32)
        list_gaps(row_of, first, last, start[:-1].copy(), bar)
        return RowGaps(first, start, frozen(bar))

    def _leaf_panel(self, leaf: Column | Opaque) -> FloatPanel:
        """Return the numbers of a column or an expression for every cell."""
        if isinstance(leaf, Column):
            return self._column(leaf.name, boolean=False)
        made = self._work.get(
            ("panel", leaf), lambda: self._evaluate(leaf.expression, boolean=False)
        )
        return self._usable(made)

    def _leaf_rows(self, leaf: Column | Opaque, *, boolean: bool) -> FloatPanel:
        """Return the numbers of a column or an expression on the bars."""
        if isinstance(leaf, Column):
            return frozen(self._column(leaf.name, boolean=boolean)[self._bars])

        def make() -> FloatPanel | None:
            made = self._evaluate(leaf.expression, boolean=boolean)
            return None if made is None else frozen(made[self._bars])

        key = ("leaf", leaf, boolean, self._bars_key)
        return self._usable(self._work.get(key, make))

    def _column(self, name: str, *, boolean: bool) -> FloatPanel:
        panel = self._panel
        dtype = panel.frame.schema.get(name)
        if dtype is None or not (dtype.is_numeric() or dtype == pl.Boolean):
            raise AskPolars
        if boolean and dtype != pl.Boolean:
            raise AskPolars
        return panel.close if name == panel.close_name else panel.feature(name)

    def _evaluate(self, expression: pl.Expr, *, boolean: bool) -> FloatPanel | None:
        """Let polars evaluate an expression; None if it fails or is not per row."""
        frame = self._panel.sorted_frame()
        if not boolean:
            expression = expression.cast(pl.Float64)
        try:
            made = frame.select(expression)
        except pl.exceptions.PolarsError:
            return None
        if made.shape != (frame.height, 1):
            return None
        series = made.to_series()
        if boolean and series.dtype != pl.Boolean:
            return None
        return self._panel.sorted_column(series)

    def _usable(self, made: FloatPanel | None) -> FloatPanel:
        if made is None:
            raise AskPolars
        return made
