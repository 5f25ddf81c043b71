"""After which bars data are cut and changed."""

from __future__ import annotations

from itertools import zip_longest

import numpy as np
import polars as pl

from barloop.enums import Decision
from barloop.lookahead.decisions import Decided
from barloop.panel import Panel
from barloop.typing import IntVector


def choose_cuts(
    bars: IntVector, whole: Decided, panel: Panel, n_cuts: int, seed: int
) -> IntVector:
    """Choose bars to cut after: the ends, those with gaps in the data, and between.

    Parameters
    ----------
    bars : ndarray of int64
        Bars that decide, but for the last bar.
    whole : Decided
        What is decided on them.
    panel : Panel
        The data.
    n_cuts : int
        How many, at the most.
    seed : int
        Of the draws between the ends.

    Returns
    -------
    ndarray of int64
        Ascending.
    """
    if bars.size <= n_cuts:
        return bars
    active = bars[whole.kind[bars] != Decision.NONE]
    if not active.size:
        return spread(bars, n_cuts)
    wanted = [active[0], active[-1], bars[0], *active[1:2]]
    wanted += _with_gaps(active, panel, n_cuts // 3)
    chosen = list(dict.fromkeys(int(t) for t in wanted))[:n_cuts]
    rng = np.random.default_rng(seed)
    rest = np.setdiff1d(active, chosen)
    rest = rest if rest.size else np.setdiff1d(bars, chosen)
    parts = np.array_split(rest, n_cuts - len(chosen)) if n_cuts > len(chosen) else []
    chosen += [int(rng.choice(part)) for part in parts if part.size]
    return np.array(sorted(chosen))


def spread(bars: IntVector, count: int) -> IntVector:
    """Choose up to `count` bars in even steps, the first and the last included.

    Parameters
    ----------
    bars : ndarray of int64
        Among these.
    count : int
        How many.
    """
    if not bars.size:
        return bars
    places = np.linspace(0, bars.size - 1, min(count, bars.size)).round()
    return np.unique(bars[places.astype(np.int64)])


def _with_gaps(active: IntVector, panel: Panel, count: int) -> list[int]:
    """Return bars on which a column has nulls between values: a fill shows there."""
    frame, asset = panel.sorted_frame(), panel.asset_name
    ranked: list[list[int]] = []
    for name in frame.columns:
        if not frame[name].null_count():
            continue
        known = pl.col(name).is_not_null()
        between = known.cum_max() & known.cum_max(reverse=True) & ~known
        rows = frame.select(panel.timestamp_name, gap=between.over(asset))
        rows = rows.filter("gap").group_by(panel.timestamp_name).len()
        n_gaps = np.zeros(panel.n_bars, dtype=np.int64)
        n_gaps[panel.timestamp_codes(rows[panel.timestamp_name])] = rows["len"]
        most = active[np.argsort(-n_gaps[active], kind="stable")]
        ranked.append([int(t) for t in most[:count] if n_gaps[t]])
    # The bars with most nulls of each column in turn.
    turns = [t for one in zip_longest(*ranked) for t in one if t is not None]
    return list(dict.fromkeys(turns))[:count]
