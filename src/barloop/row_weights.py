"""Weights of whole columns: what the expressions of `barloop.weighting` evaluate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from barloop.errors import WeightsError
from barloop.layout import floats, frozen
from barloop.row_groups import group_rows, per_row, with_nulls


def equally(columns: Sequence[pl.Series], gross: float) -> pl.Series:
    """Weigh the chosen rows of each group equally.

    Parameters
    ----------
    columns : sequence of Series
        Chosen, key.
    gross : float
        Sum of the weights.

    Returns
    -------
    Series
        See `barloop.weighting`.
    """
    chosen, key = columns
    mark = _marks(per_row(chosen, key))
    held = mark.fill_null(value=False).to_numpy()
    groups = group_rows(key)
    n_held = np.bincount(groups.code[held], minlength=groups.start.size - 1)
    weights = np.where(held, gross / np.maximum(n_held, 1)[groups.code], 0.0)
    return pl.Series(chosen.name, weights).set(mark.is_null(), None)


def by_rank(columns: Sequence[pl.Series], gross: float) -> pl.Series:
    """Weigh the chosen rows of each group by the rank of their score.

    Parameters
    ----------
    columns : sequence of Series
        Score, chosen if there is a choice, key.
    gross : float
        Sum of the weights.

    Returns
    -------
    Series
        See `barloop.weighting`.
    """
    from barloop._kernels.grouped import rank_by_group

    score, *choice, key = columns
    mark = _marks(per_row(choice[0], key)) if choice else None
    values = floats(per_row(score, key))
    if mark is not None:
        held = mark.fill_null(value=False).to_numpy()
        values = frozen(np.where(held, values, np.nan))
    groups = group_rows(key)
    n = groups.largest
    weights = np.empty(len(key))
    rank_by_group(
        *(values, groups.order, groups.start, gross),
        *(np.empty(n), np.empty(n, dtype=np.int64), np.empty(n)),
        weights,
    )
    return _zero_where_refused(with_nulls(weights, score), mark)


def inversely(columns: Sequence[pl.Series], gross: float) -> pl.Series:
    """Weigh the chosen rows of each group by 1 / volatility.

    Parameters
    ----------
    columns : sequence of Series
        Chosen, volatility, key.
    gross : float
        Sum of the weights.

    Returns
    -------
    Series
        See `barloop.weighting`.
    """
    chosen, volatility, key = columns
    mark = _marks(per_row(chosen, key))
    with np.errstate(all="ignore"):
        inverse = 1.0 / floats(per_row(volatility, key))
        held = mark.fill_null(value=False).to_numpy()
        held = held & (inverse > 0.0) & np.isfinite(inverse)
        groups = group_rows(key)
        # Adds row by row.
        total = np.bincount(
            groups.code[held], inverse[held], minlength=groups.start.size - 1
        )
        weights = np.where(held, gross * inverse / total[groups.code], np.nan)
    return _zero_where_refused(with_nulls(weights, chosen), mark)


def long_short(
    columns: Sequence[pl.Series], long_gross: float, short_gross: float
) -> pl.Series:
    """Weigh one choice of each group equally, and another one short.

    Parameters
    ----------
    columns : sequence of Series
        Long, short, key.
    long_gross, short_gross : float
        Sums of the weights.

    Returns
    -------
    Series
        See `barloop.weighting`.
    """
    long, short, key = columns
    bought = equally([long, key], long_gross)
    sold = equally([short, key], short_gross)
    weights = bought.fill_null(0.0) - sold.fill_null(0.0)
    return weights.set(bought.is_null() & sold.is_null(), None)


def _zero_where_refused(weights: pl.Series, mark: pl.Series | None) -> pl.Series:
    """Write 0 where an asset is marked as not chosen; null stays where nothing is."""
    if mark is None:
        return weights
    return weights.set((~mark).fill_null(value=False), 0.0)


def _marks(chosen: pl.Series) -> pl.Series:
    if chosen.dtype not in (pl.Boolean, pl.Null):
        msg = f"chosen must be booleans, got {chosen.dtype} in {chosen.name!r}."
        raise WeightsError(msg)
    return chosen.cast(pl.Boolean)
