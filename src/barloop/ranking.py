"""Recipes of weights, worked out on the arrays of a panel for the bars that matter."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from barloop.layout import frozen
from barloop.panel import Panel
from barloop.recipes import (
    Choice,
    EqualWeight,
    InverseVolatility,
    LongShort,
    RankWeights,
    Recipe,
    TopN,
)
from barloop.score_rows import AskPolars, ScoreRows
from barloop.typing import (
    BoolVector,
    FloatVector,
    IndexBlock,
    IndexVector,
    IntVector,
)
from barloop.weight_rows import WeightRows
from barloop.work_memory import SharedWork


def weight_rows(
    recipe: Recipe | None,
    panel: Panel,
    bars: IntVector,
    work: SharedWork | None = None,
) -> WeightRows | None:
    """Work out a recipe of weights on some bars.

    Parameters
    ----------
    recipe : Recipe or None
        From `recipe_of`.
    panel : Panel
        The data.
    bars : ndarray of shape (n,), int64
        Panel rows of the decisions, ascending.
    work : SharedWork, optional
        Of the same panel; keeps what other recipes need too.

    Returns
    -------
    WeightRows or None
        Read-only, sparse, no rows on other bars: the decisions that polars would give.
        None where polars has to be asked itself: a recipe that makes no weights, names
        of key columns that are not those of the data, columns that are not there or of
        another kind, weights that are not finite.
    """
    if not isinstance(recipe, (EqualWeight, RankWeights, InverseVolatility, LongShort)):
        return None
    work = SharedWork(panel) if work is None else work
    if work.panel is not panel:
        msg = "the shared work belongs to another panel."
        raise ValueError(msg)
    try:
        return Evaluation(panel, bars, work).rows(recipe)
    except AskPolars:
        return None


@dataclass(frozen=True, slots=True)
class Order:
    """The first assets of each bar in the order of a score, see `order_assets`."""

    n_scored: IntVector
    asset: IndexBlock
    rank: IndexBlock


@dataclass(frozen=True, slots=True)
class Chosen:
    """Chosen assets of each bar, see `barloop._kernels.ranking`."""

    start: IntVector
    asset: IndexVector
    others: BoolVector


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of each bar, see `weigh_equally`."""

    start: IntVector
    asset: IndexVector
    weight: FloatVector


class Evaluation:
    """Recipes on some bars of one panel.

    Parameters
    ----------
    panel : Panel
        The data.
    bars : ndarray of shape (n,), int64
        Panel rows, ascending.
    work : SharedWork
        Of the same panel.
    """

    def __init__(self, panel: Panel, bars: IntVector, work: SharedWork) -> None:
        self._panel = panel
        # Read-only, whoever calls: kernels are compiled for one kind of array.
        self._bars = frozen(np.ascontiguousarray(bars, dtype=np.int64).view())
        self._work = work
        digest = hashlib.blake2b(self._bars.tobytes(), digest_size=16).digest()
        self._bars_key: Hashable = digest
        self._scores = ScoreRows(panel, self._bars, work, self._bars_key)

    def rows(self, recipe: Any) -> WeightRows:
        """Return the weights of a recipe in panel codes."""
        made: WeightRows | None = self._kept(
            "rows", recipe, lambda: self._make_rows(recipe)
        )
        if made is None:
            raise AskPolars
        return made

    def _make_rows(self, recipe: Any) -> WeightRows | None:
        from barloop._kernels.weighing import place_rows

        with np.errstate(all="ignore"):
            weights = self._weigh(recipe)
            row_start = np.empty(self._panel.n_bars + 1, dtype=np.int64)
            if not place_rows(weights.start, self._bars, weights.weight, row_start):
                return None
        # An empty list of assets would stand for dense rows.
        n = max(int(row_start[-1]), 1)
        asset, weight = weights.asset[:n], weights.weight[:n]
        if weights.weight.size > n + n // 4:
            asset, weight = asset.copy(), weight.copy()
        nothing = np.empty(0, dtype=np.int64)
        return WeightRows(
            frozen(row_start), frozen(asset), frozen(weight), nothing, nothing
        )

    def _weigh(self, recipe: Any) -> Weights:
        from barloop._kernels import weighing

        if isinstance(recipe, LongShort):
            long, short = self._weigh(recipe.long), self._weigh(recipe.short)
            out = self._room(long.asset.size + short.asset.size)
            weighing.subtract_weights(
                *(long.start, long.asset, long.weight),
                *(short.start, short.asset, short.weight),
                *(out.start, out.asset, out.weight),
            )
            return out
        self._require_over(recipe.over)
        chosen: Chosen
        if isinstance(recipe, RankWeights) and recipe.chosen is None:
            chosen = self._everything()
        else:
            chosen = self._choice(recipe.chosen)
        given = (chosen.start, chosen.asset, chosen.others)
        out = self._room(chosen.asset.size)
        written = (out.start, out.asset, out.weight)
        if isinstance(recipe, EqualWeight):
            weighing.weigh_equally(*given, recipe.gross, *written)
        elif isinstance(recipe, RankWeights):
            n = self._panel.n_assets
            weighing.weigh_by_rank(
                *given,
                self._scores.of(recipe.score),
                recipe.gross,
                *(np.empty(n), np.empty(n, dtype=np.int64), np.empty(n)),
                *written,
            )
        else:
            volatility = self._scores.of(recipe.volatility)
            weighing.weigh_inversely(*given, volatility, recipe.gross, *written)
        return out

    def _room(self, n_chosen: int) -> Weights:
        n = n_chosen + self._bars.size
        return Weights(
            np.empty(self._bars.size + 1, dtype=np.int64),
            np.empty(max(n, 1), dtype=np.uint32),
            np.empty(max(n, 1)),
        )

    def _everything(self) -> Chosen:
        """Choose every asset on every bar."""
        n_bars, n_assets = self._bars.size, self._panel.n_assets
        return Chosen(
            np.arange(n_bars + 1, dtype=np.int64) * n_assets,
            np.tile(np.arange(n_assets, dtype=np.uint32), n_bars),
            np.zeros(n_bars, dtype=np.bool_),
        )

    def _choice(self, choice: Choice) -> Chosen:
        from barloop._kernels.ranking import choose_first, choose_marked

        n_bars = self._bars.size
        start = np.empty(n_bars + 1, dtype=np.int64)
        others = np.empty(n_bars, dtype=np.bool_)
        if isinstance(choice, TopN):
            self._require_over(choice.over)
            order = self._order(choice)
            n = min(choice.n, order.asset.shape[1])
            asset = np.empty(n_bars * n + 1, dtype=np.uint32)
            choose_first(
                *(choice.n, order.n_scored, order.asset, order.rank),
                *(start, asset, others),
            )
        else:
            mark = self._scores.marks(choice)
            asset = np.empty(mark.size, dtype=np.uint32)
            choose_marked(mark, start, asset, others)
        return Chosen(start, asset[: start[-1]], others)

    def _order(self, choice: TopN) -> Order:
        depth = min(self._work.depth(choice.n), self._panel.n_assets)
        key = (choice.score, choice.highest, depth)
        made: Order = self._kept("order", key, lambda: self._sort(choice, depth))
        return made

    def _sort(self, choice: TopN, depth: int) -> Order:
        from barloop._kernels.ranking import order_assets

        score = self._scores.of(choice.score)
        order = Order(
            np.empty(self._bars.size, dtype=np.int64),
            np.empty((self._bars.size, depth), dtype=np.uint32),
            np.empty((self._bars.size, depth), dtype=np.uint32),
        )
        order_assets(
            score,
            1.0 if choice.highest else -1.0,
            np.empty(self._panel.n_assets),
            np.empty(depth, dtype=np.int64),
            *(order.n_scored, order.asset, order.rank),
        )
        # Next time the order will do.
        self._work.use_last(self._scores.key(choice.score))
        return order

    def _require_over(self, over: str) -> None:
        # Polars says that there is no such column, or ranks over another one.
        if over != self._panel.timestamp_name:
            raise AskPolars

    def _kept(self, kind: str, key: Hashable, make: Any) -> Any:
        return self._work.get((kind, key, self._bars_key), make)
