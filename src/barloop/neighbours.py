"""How the neighbours of a set do, and what each parameter changes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import polars as pl

from barloop.errors import SchemaError
from barloop.typing import BoolVector, FloatVector, IntBlock, IntVector

_LEAF = 16
"""Sets in a leaf of the tree in which the nearest are looked for, at most."""

_FINEST = 2**22
"""Ranks are multiples of one over this, at the finest.

Squared distances of up to 512 parameters are whole numbers below 2**53 then.
"""

_MANY_VALUES = 20
_FEW_SETS = 20
_N_BINS = 10


def plateau(
    parameters: pl.DataFrame, values: npt.ArrayLike, *, minimize: bool = False
) -> pl.DataFrame:
    """Compute how each set and its neighbours do.

    Parameters
    ----------
    parameters : DataFrame
        One row per set, one column per parameter.
    values : array of shape (n_sets,)
        What each set reached; NaN where it has no value.
    minimize : bool, default False
        Whether small values are the good ones.

    Returns
    -------
    DataFrame
        One row per set, in the order given: ``plateau`` (mean of the value of the set
        and those of its neighbours), ``neighbour_mean``, ``worst_neighbour``,
        ``n_neighbours`` (that have a value), ``n_missing`` (neighbours without one).
        Ratios are null where they are undefined: the plateau needs a value and a
        neighbour with a value.

    Raises
    ------
    SchemaError
        If there are not as many values as sets.

    Notes
    -----
    Columns of numbers are ordered, others (text, Boolean) are not, and neither is null
    among numbers: sets that differ in these are never neighbours.  A column with one
    value only plays no part.  Equal sets are one, with the mean of their values.

    *On a grid*, two sets are neighbours if they are equal but for one ordered
    parameter, and if in that no other value of any set lies between theirs.  An inner
    set of a full grid has two neighbours per ordered parameter.  The sets count as a
    grid if at least half of them have as many neighbours as there are ordered
    parameters; gaps, as those of ``fast < slow``, do no harm.

    *Otherwise*, as after a random search, the neighbours of a set are the ``2 * p``
    nearest ones, `p` being the number of ordered parameters: the values of each are
    replaced by their ranks among its distinct values, scaled to [0, 1], and the
    distance is Euclidean.  (Where the numbers of ranks have no common multiple below
    2**22, they are rounded to multiples of 2**-22.)  Of sets at the same distance the
    first come first.  One may be a neighbour of another without the opposite being so.

    Examples
    --------
    >>> sets = pl.DataFrame({"lookback": [20, 60, 120, 250]})
    >>> plateau(sets, [0.5, 0.9, 0.7, 2.0])["plateau"].round(2).to_list()
    [0.7, 0.7, 1.2, 1.35]
    """
    value = _values(parameters, values)
    code, is_ordered = _codes(parameters)
    cell, code = _cells(code)
    n_cells = code.shape[0]
    cell_value = _cell_means(cell, value, n_cells)
    one, other = _steps(code, is_ordered)
    n_ordered = int(np.count_nonzero(is_ordered))
    n_steps = np.bincount(one, minlength=n_cells)
    if n_ordered and 2 * np.count_nonzero(n_steps >= n_ordered) < n_cells:
        one, other = _nearest(code, is_ordered)

    seen = cell_value[other]
    has_value = ~np.isnan(seen)
    n_neighbours = np.bincount(one[has_value], minlength=n_cells)
    n_missing = np.bincount(one[~has_value], minlength=n_cells)
    total = np.bincount(one[has_value], weights=seen[has_value], minlength=n_cells)
    worst = np.full(n_cells, -np.inf if minimize else np.inf)
    reduce = np.maximum if minimize else np.minimum
    reduce.at(worst, one[has_value], seen[has_value])
    with np.errstate(invalid="ignore"):
        mean = total / n_neighbours
        level = (cell_value + total) / (1 + n_neighbours)
    level[n_neighbours == 0] = np.nan
    worst[n_neighbours == 0] = np.nan
    return pl.DataFrame(
        {
            "plateau": level[cell],
            "neighbour_mean": mean[cell],
            "worst_neighbour": worst[cell],
            "n_neighbours": n_neighbours[cell],
            "n_missing": n_missing[cell],
        }
    ).with_columns(
        pl.col("plateau", "neighbour_mean", "worst_neighbour").fill_nan(None)
    )


def marginal_effects(parameters: pl.DataFrame, values: npt.ArrayLike) -> pl.DataFrame:
    """Compute what each value of each parameter reaches, whatever the others are.

    Parameters
    ----------
    parameters : DataFrame
        One row per set, one column per parameter.
    values : array of shape (n_sets,)
        What each set reached; NaN where it has no value.

    Returns
    -------
    DataFrame
        One row per parameter and value, in the order of the parameters, values
        ascending (text by alphabet, null last): ``parameter``, ``value`` (as text),
        ``low`` and ``high`` (the value as a number, or the bounds of a bin; null for
        text), ``n`` (sets that have this value and reached something), ``n_missing``
        (sets that did not), ``mean``, ``median``, ``min``, ``max``,
        ``share_of_variance`` and ``share_by_chance``, which belong to the parameter.

    Raises
    ------
    SchemaError
        If there are not as many values as sets.

    Notes
    -----
    ``share_of_variance`` is the variance between the means of the values, weighted by
    `n`, over the variance of all sets.  On a full grid the shares of all parameters
    sum to at most 1; what is missing is their interplay.  Values without any effect
    would get ``share_by_chance``, ``(n_values - 1) / (n_sets - 1)``, in the mean.

    Unless the sets are a full grid, numbers with more than 20 distinct values and fewer
    than 20 sets per value are put into ten bins of about as many sets each.

    Examples
    --------
    >>> sets = pl.DataFrame({"n": [5, 5, 9, 9], "flag": [True, False] * 2})
    >>> marginal_effects(sets, [1.0, 3.0, 5.0, 7.0]).select(
    ...     "parameter", "value", "mean", "share_of_variance"
    ... ).rows()
    [('n', '5', 2.0, 0.8), ('n', '9', 6.0, 0.8), ('flag', 'False', 5.0, 0.2), \
('flag', 'True', 3.0, 0.2)]
    """
    value = _values(parameters, values)
    counts = [series.n_unique() for series in parameters.iter_columns()]
    is_grid = math.prod(counts) == parameters.height
    made = [
        _effects(series, value, may_bin=not is_grid)
        for series in parameters.iter_columns()
    ]
    return pl.concat([_NO_EFFECTS, *made])


_NO_EFFECTS = pl.DataFrame(
    schema={
        "parameter": pl.String,
        "value": pl.String,
        "low": pl.Float64,
        "high": pl.Float64,
        "n": pl.Int64,
        "n_missing": pl.Int64,
        "mean": pl.Float64,
        "median": pl.Float64,
        "min": pl.Float64,
        "max": pl.Float64,
        "share_of_variance": pl.Float64,
        "share_by_chance": pl.Float64,
    }
)


def _effects(series: pl.Series, value: FloatVector, *, may_bin: bool) -> pl.DataFrame:
    series = series.fill_nan(None) if series.dtype.is_float() else series
    distinct = series.drop_nulls().unique().sort()
    if series.null_count():
        distinct = pl.concat([distinct, pl.Series([None], dtype=series.dtype)])
    code = _dense(series)
    code[code < 0] = len(distinct) - 1
    first = last = np.arange(len(distinct))
    n_sets = len(series)
    if (
        may_bin
        and series.dtype.is_numeric()
        and len(distinct) > _MANY_VALUES
        and n_sets < _FEW_SETS * len(distinct)
    ):
        n_before = np.cumsum(np.bincount(code, minlength=len(distinct)))
        n_before = np.concatenate([[0], n_before[:-1]])
        bin_of = np.unique(n_before * _N_BINS // n_sets, return_inverse=True)[1]
        if series.null_count():
            bin_of[-1] = bin_of[-2] + 1
        code = bin_of[code]
        n_bins = int(bin_of[-1]) + 1
        first = np.searchsorted(bin_of, np.arange(n_bins))
        last = np.searchsorted(bin_of, np.arange(n_bins), side="right") - 1
    table = _grouped(code, value, first.size)
    return pl.DataFrame(
        {
            "parameter": [series.name] * first.size,
            "value": _labels(distinct, first, last),
            **{
                name: distinct[at].cast(pl.Float64)
                if series.dtype.is_numeric()
                else pl.Series([None] * first.size, dtype=pl.Float64)
                for name, at in (("low", first), ("high", last))
            },
            **table,
        }
    ).with_columns(pl.selectors.float().fill_nan(None))


def _labels(distinct: pl.Series, first: IntVector, last: IntVector) -> list[str | None]:
    labels = []
    for low, high in zip(distinct[first], distinct[last], strict=True):
        one, other = (
            f"{end:.6g}" if isinstance(end, float) else str(end) for end in (low, high)
        )
        label = one if low == high else f"{one} to {other}"
        labels.append(None if low is None else label)
    return labels


def _grouped(
    code: IntVector, value: FloatVector, n_groups: int
) -> dict[str, pl.Series | FloatVector | IntVector]:
    """Describe the values of each group; NaN for an empty one."""
    has_value = ~np.isnan(value)
    n_all = np.bincount(code, minlength=n_groups)
    mean_of_all = value[has_value].mean() if has_value.any() else np.nan
    code, value = code[has_value], value[has_value]
    order = np.lexsort((value, code))
    code, value = code[order], value[order]
    n = np.bincount(code, minlength=n_groups)
    stop = np.cumsum(n)
    start = stop - n
    some = n > 0
    low = np.full(n_groups, np.nan)
    high, median = low.copy(), low.copy()
    low[some] = value[start[some]]
    high[some] = value[stop[some] - 1]
    below = value[(start + (n - 1) // 2)[some]]
    median[some] = below + (value[(start + n // 2)[some]] - below) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(code, weights=value, minlength=n_groups) / n
        centred = value - mean_of_all
        between = np.add.reduce(n[some] * (mean[some] - mean_of_all) ** 2)
        share = between / np.add.reduce(centred * centred)
        chance = (np.count_nonzero(some) - 1) / np.float64(value.size - 1)
    if value.size == 0 or value.min() == value.max():
        share = np.nan
    return {
        "n": n,
        "n_missing": n_all - n,
        "mean": mean,
        "median": median,
        "min": low,
        "max": high,
        "share_of_variance": np.full(n_groups, min(share, 1.0)),
        "share_by_chance": np.full(n_groups, chance if value.size > 1 else np.nan),
    }


def _values(parameters: pl.DataFrame, values: npt.ArrayLike) -> FloatVector:
    value = np.array(values, dtype=np.float64)
    if value.shape != (parameters.height,):
        msg = (
            f"there are {parameters.height} sets and values of shape {value.shape}; "
            "one value per set is needed."
        )
        raise SchemaError(msg)
    value[np.isinf(value)] = np.nan
    return value


def _dense(series: pl.Series) -> IntVector:
    """Return the numbers of the distinct values in ascending order, -1 of null."""
    ranks = series.rank("dense").cast(pl.Int64) - 1
    return ranks.fill_null(-1).to_numpy().copy()


def _codes(parameters: pl.DataFrame) -> tuple[IntBlock, BoolVector]:
    """Return the codes (n_sets, n_columns) of what varies, and which has an order."""
    codes, is_ordered = [], []
    for series in parameters.iter_columns():
        numeric = series.dtype.is_numeric()
        one = series.fill_nan(None) if series.dtype.is_float() else series
        code = _dense(one)
        if code.size and code.min() != code.max():
            codes.append(code)
            # One number and null: no step to take.
            is_ordered.append(numeric and bool(code.max() > 0))
    made = np.empty((parameters.height, len(codes)), dtype=np.int64)
    for j, code in enumerate(codes):
        made[:, j] = code
    return made, np.array(is_ordered, dtype=np.bool_)


def _cells(code: IntBlock) -> tuple[IntVector, IntBlock]:
    """Return the number of each row, by first occurrence, and the distinct rows."""
    n_sets, n_columns = code.shape
    if n_columns == 0:
        return np.zeros(n_sets, dtype=np.int64), code[:1]
    order = np.lexsort(code.T)
    ordered = code[order]
    is_new = np.ones(n_sets, dtype=np.bool_)
    is_new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    # The sort is stable: the first row of each run is the first of its kind.
    first = order[is_new]
    by_first = np.argsort(first)
    rank = np.empty_like(by_first)
    rank[by_first] = np.arange(first.size)
    cell = np.empty(n_sets, dtype=np.int64)
    cell[order] = rank[np.cumsum(is_new) - 1]
    return cell, code[first[by_first]]


def _cell_means(cell: IntVector, value: FloatVector, n_cells: int) -> FloatVector:
    has_value = ~np.isnan(value)
    n = np.bincount(cell[has_value], minlength=n_cells)
    total = np.bincount(cell[has_value], weights=value[has_value], minlength=n_cells)
    with np.errstate(invalid="ignore"):
        means: FloatVector = total / n
    return means


def _steps(code: IntBlock, is_ordered: BoolVector) -> tuple[IntVector, IntVector]:
    """Return the pairs of cells, both ways, that are one step apart."""
    ones, others = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for j in np.flatnonzero(is_ordered):
        rest = np.delete(code, j, axis=1)
        order = np.lexsort((code[:, j], *rest.T))
        along, beside = code[order, j], rest[order]
        is_step = (along[:-1] >= 0) & (along[1:] == along[:-1] + 1)
        is_step &= (beside[1:] == beside[:-1]).all(axis=1)
        low, high = order[:-1][is_step], order[1:][is_step]
        ones += [low, high]
        others += [high, low]
    return np.concatenate(ones), np.concatenate(others)


def _nearest(code: IntBlock, is_ordered: BoolVector) -> tuple[IntVector, IntVector]:
    """Return pairs of each cell and its nearest ones."""
    # Of an ordered parameter, null is a kind of its own.
    kind = _cells(np.where(is_ordered & (code >= 0), 0, code + 2))[0]
    by_kind = np.argsort(kind, kind="stable")
    bounds = np.cumsum(np.bincount(kind))[:-1]
    steps = code[:, is_ordered].max(axis=0)
    ones, others = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for members in np.split(by_kind, bounds):
        if members.size > 1:
            one, other = _nearest_alike(code[members][:, is_ordered], steps)
            ones.append(members[one])
            others.append(members[other])
    return np.concatenate(ones), np.concatenate(others)


def _scaled(code: IntBlock, steps: IntVector) -> IntBlock:
    """Return the ranks in a common unit, in which they are whole numbers."""
    unit = math.lcm(*steps.tolist())
    if unit > _FINEST:
        scaled: IntBlock = np.rint(code * (_FINEST / steps)).astype(np.int64)
        return scaled
    return code * (unit // steps)


def _nearest_alike(code: IntBlock, steps: IntVector) -> tuple[IntVector, IntVector]:
    from barloop._kernels.nearest import nearest

    n, n_axes = code.shape
    n_nearest = min(2 * n_axes, n - 1)
    order = np.arange(n)
    n_leaves = 1
    while n > _LEAF * n_leaves:
        # Each segment is sorted along one axis and halved, axis after axis.
        start = np.arange(n_leaves + 1) * n // n_leaves
        segment = np.repeat(np.arange(n_leaves), np.diff(start))
        axis = (n_leaves.bit_length() - 1) % n_axes
        order = order[np.lexsort((code[order, axis], segment))]
        n_leaves *= 2
    start = np.arange(n_leaves + 1) * n // n_leaves
    point = np.ascontiguousarray(_scaled(code, steps)[order], dtype=np.float64)
    low, high = np.zeros((2, 2 * n_leaves, n_axes))
    low[n_leaves:] = np.minimum.reduceat(point, start[:-1])
    high[n_leaves:] = np.maximum.reduceat(point, start[:-1])
    for node in range(n_leaves - 1, 0, -1):
        low[node] = np.minimum(low[2 * node], low[2 * node + 1])
        high[node] = np.maximum(high[2 * node], high[2 * node + 1])
    depth = n_leaves.bit_length() + 1
    distance = np.full((n, n_nearest), np.inf)
    found = np.full((n, n_nearest), -1, dtype=np.int64)
    nearest(
        point,
        order,
        start,
        low,
        high,
        np.zeros(depth, dtype=np.int64),
        np.zeros(depth),
        distance,
        found,
    )
    return np.repeat(order, n_nearest), order[found].ravel()
