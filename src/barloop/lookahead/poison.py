"""Valid data that differ after a moment: what an honest rule must not notice."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from barloop.typing import BoolVector, FloatVector, IntVector

RANGE = ("open", "high", "low", "close")
"""Prices of one row, which must stay consistent with each other."""

STRENGTHS = ("wild", "mild", "up", "down", "nulls")
"""How values change; the later ones catch what looks at a sign, or at nulls.

``wild``: another row's value, times 1e-6 to 1e6; ``mild``: times 0.5 to 1.5 or 2;
``up`` and ``down``: all times 1e6 or 1e-6, or to the other sign; ``nulls``: none left.
"""

EXTREME = 6.0
"""Largest power of ten of a factor."""

EXACT = 2.0**53
"""Integers beyond are not all float64 numbers."""

NULL_SHARE = 0.05
DROPPED_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Places:
    """What may be changed in a frame, and what has to stay.

    Parameters
    ----------
    time, asset : str or None
        Key columns, never changed; None if the frame has none of this name.
    prices : dict from str to str
        Columns of `RANGE` that the frame has, from meaning to name.
    together : frozenset of str
        Columns that settings name, such as a bid and an ask: their rows are only
        exchanged, all of them alike, because the settings say what they may hold.
    """

    time: str
    asset: str | None
    prices: dict[str, str]
    together: frozenset[str]

    def values(self, frame: pl.DataFrame) -> list[str]:
        """Return the columns that can be changed.

        Parameters
        ----------
        frame : DataFrame
            With these columns.
        """
        return [
            name
            for name, dtype in frame.schema.items()
            if name not in (self.time, self.asset) and dtype not in (pl.Null, pl.Object)
        ]


def changed(
    frame: pl.DataFrame,
    rows: IntVector,
    columns: Collection[str],
    strength: str,
    seed: Sequence[int],
    places: Places,
) -> pl.DataFrame:
    """Change the values of some columns in some rows.

    Parameters
    ----------
    frame : DataFrame
        Not modified.
    rows : ndarray of int64
        Row numbers, ascending.
    columns : collection of str
        Which columns.
    strength : {"wild", "mild", "up", "down", "nulls"}
        How, see `STRENGTHS`.
    seed : sequence of int
        Of the draws; a column changes alike whichever others change with it.
    places : Places
        What the columns mean.

    Returns
    -------
    DataFrame
        Same rows, columns and dtypes; prices positive, high no lower than low, what
        was not negative before still is not.
    """
    if not columns or not rows.size:
        return frame
    later = _taken(frame.select(columns), rows)
    made: dict[str, pl.Series] = {}
    if strength == "nulls":
        free = [name for name in later.columns if name not in places.together]
        made = {name: later[name].clear(later.height) for name in free}
        return replaced(frame, rows, made)
    rng = np.random.default_rng(seed)
    order = rng.permutation(later.height)
    for name in later.columns:
        if name in places.together:
            made[name] = later[name].gather(order)
    made |= _changed_prices(frame, rows, columns, strength, rng, places.prices)
    done = {*made, *places.prices.values()}
    for place, name in enumerate(frame.columns):
        if name in later.columns and name not in done:
            own = np.random.default_rng([*seed, place])
            made[name] = _changed_values(later[name], strength, own)
    return replaced(frame, rows, made)


def shuffled(
    frame: pl.DataFrame, rows: IntVector, rng: np.random.Generator, places: Places
) -> pl.DataFrame:
    """Exchange whole rows, which is valid whatever the columns mean.

    Parameters
    ----------
    frame : DataFrame
        Not modified.
    rows : ndarray of int64
        Row numbers, ascending.
    rng : Generator
        Source of the draws.
    places : Places
        The keys, which stay.
    """
    names = places.values(frame)
    if not names or not rows.size:
        return frame
    later = _taken(frame.select(names), rows)
    order = rng.permutation(later.height)
    made = {name: later[name].gather(order) for name in later.columns}
    return replaced(frame, rows, made)


def thinned(
    frame: pl.DataFrame,
    rows: IntVector,
    rng: np.random.Generator,
    places: Places,
    share: float = DROPPED_SHARE,
) -> pl.DataFrame:
    """Drop some rows, but none without which a bar or an asset would be gone.

    Parameters
    ----------
    frame : DataFrame
        Not modified.
    rows : ndarray of int64
        Rows that may go.
    rng : Generator
        Source of the draws.
    places : Places
        The keys.
    share : float, default 0.1
        Fraction of `rows` to drop.
    """
    keeps = frame[places.time].is_first_distinct().to_numpy().copy()
    if places.asset is not None:
        keeps |= frame[places.asset].is_first_distinct().to_numpy()
    goes = np.zeros(frame.height, dtype=np.bool_)
    goes[rows] = rng.random(rows.size) < share
    return frame.filter(pl.Series(keeps | ~goes))


def with_nulls(
    frame: pl.DataFrame, rows: IntVector, rng: np.random.Generator, places: Places
) -> pl.DataFrame:
    """Set some values of each column to null.

    Parameters
    ----------
    frame : DataFrame
        Not modified.
    rows : ndarray of int64
        Where.
    rng : Generator
        Source of the draws.
    places : Places
        What has to stay.
    """
    names = [name for name in places.values(frame) if name not in places.together]
    if not names or not rows.size:
        return frame
    later = _taken(frame.select(names), rows)
    made = {
        name: _nulled(later[name], rng.random(later.height) < NULL_SHARE)
        for name in names
    }
    return replaced(frame, rows, made)


def replaced(
    frame: pl.DataFrame, rows: IntVector, made: dict[str, pl.Series]
) -> pl.DataFrame:
    """Put new values into some rows of some columns.

    Parameters
    ----------
    frame : DataFrame
        Not modified.
    rows : ndarray of int64
        Row numbers, ascending.
    made : dict from str to Series
        One value per row, in the dtype of the column.
    """
    if not made or not rows.size:
        return frame
    first = int(rows[0])
    if first + rows.size == frame.height:
        columns = [
            pl.concat([frame[name].head(first), new.alias(name)])
            for name, new in made.items()
        ]
        return frame.with_columns(columns)
    others = np.ones(frame.height, dtype=np.bool_)
    others[rows] = False
    order = np.concatenate([np.flatnonzero(others), rows])
    place = np.empty(frame.height, dtype=np.int64)
    place[order] = np.arange(frame.height)
    kept = frame.select(list(made)).filter(pl.Series(others))
    columns = [
        pl.concat([kept[name], new.alias(name)]).gather(place)
        for name, new in made.items()
    ]
    return frame.with_columns(columns)


def _taken(frame: pl.DataFrame, rows: IntVector) -> pl.DataFrame:
    """Return some rows, those at the end without a copy."""
    if int(rows[0]) + rows.size == frame.height:
        return frame.tail(rows.size)
    return frame[rows]


def _changed_prices(
    frame: pl.DataFrame,
    rows: IntVector,
    columns: Collection[str],
    strength: str,
    rng: np.random.Generator,
    names: dict[str, str],
) -> dict[str, pl.Series]:
    """Multiply the prices of each row by one factor, within high and low."""
    chosen = [meaning for meaning in RANGE if names.get(meaning) in columns]
    if not chosen:
        return {}
    later = _taken(frame.select(list(names.values())), rows)
    n = later.height
    factor = _factors(n, strength, rng)
    order = rng.permutation(n)
    ends = {"high": "low", "low": "high"}
    made = {}
    for meaning in chosen:
        values = later[names[meaning]]
        if values.dtype.is_decimal():
            if len(chosen) == len(names) or meaning not in ends:
                made[meaning] = values.gather(order)
            continue
        other = ends.get(meaning)
        alone = other is not None and other in names and other not in chosen
        price = values.cast(pl.Float64).to_numpy() * factor
        if alone:
            bound = later[names[str(other)]].cast(pl.Float64).to_numpy()
            price = (np.fmax if meaning == "high" else np.fmin)(price, bound)
            price[values.is_null().to_numpy()] = np.nan
        if values.dtype.is_integer():
            price = np.clip(np.rint(price), 1.0, _largest(values.dtype))
        made[meaning] = _series(price, values.is_null().to_numpy(), values.dtype)
    return {names[meaning]: values for meaning, values in made.items()}


def _factors(n: int, strength: str, rng: np.random.Generator) -> FloatVector:
    if strength == "wild":
        factor: FloatVector = np.power(10.0, rng.uniform(-EXTREME, EXTREME, n))
        return factor
    if strength == "mild":
        return rng.uniform(0.5, 2.0, n)
    # Not one factor for all: a return between two of these rows changes as well.
    level = 1e6 if strength == "up" else 1e-6
    return rng.uniform(0.9, 1.0, n) * level


def _changed_values(
    values: pl.Series, strength: str, rng: np.random.Generator
) -> pl.Series:
    """Change a column that is no price."""
    n, dtype = len(values), values.dtype
    if dtype == pl.Boolean:
        if strength == "mild":
            return ~values
        drawn = {"wild": rng.random(n) < 0.5, "up": np.ones(n), "down": np.zeros(n)}
        return pl.Series(drawn[strength].astype(np.bool_))
    order = rng.permutation(n)
    if not dtype.is_numeric():
        if strength in ("up", "down"):
            order = np.full(n, 0 if strength == "up" else n - 1)
        return values.gather(order)
    number = values.cast(pl.Float64, strict=False).to_numpy()
    null = values.is_null().to_numpy()
    if strength in ("wild", "mild"):
        number, null = number[order], null[order]
    return _series(_scaled(number, dtype, strength, rng), null, dtype)


def _scaled(
    number: FloatVector, dtype: pl.DataType, strength: str, rng: np.random.Generator
) -> FloatVector:
    n = number.size
    finite = number[np.isfinite(number)]
    low = float(finite.min()) if finite.size else 0.0
    high = float(finite.max()) if finite.size else 0.0
    scale = float(np.abs(finite).mean()) if finite.size else 0.0
    scale = scale or 1.0
    signed = low < 0.0
    if strength == "mild" and dtype.is_integer():
        # One up, one down or the same: codes of categories stay among themselves.
        made = np.clip(number + rng.integers(-1, 2, n), low, high + (low == high))
    elif strength == "mild":
        noise = rng.uniform(-1.0 if signed else 0.0, 1.0, n)
        made = number * rng.uniform(0.5, 1.5, n) + 0.1 * scale * noise
    elif strength == "wild":
        made = number * 10.0 ** rng.uniform(-EXTREME, EXTREME, n)
        if signed:
            made *= rng.choice([-1.0, 1.0], n)
    elif strength == "up":
        made = np.abs(number) * 10.0**EXTREME + scale
    elif signed:
        made = -np.abs(number) * 10.0**EXTREME - scale
    else:
        made = number * 10.0**-EXTREME
    if dtype.is_integer():
        least = -_largest(dtype) if signed else 0.0
        made = np.clip(np.rint(made), least, _largest(dtype))
    return made


def _largest(dtype: pl.DataType) -> float:
    n_bits = int(str(dtype).rpartition("nt")[2])  # Int64, UInt8, ...
    return min(EXACT, 2.0 ** (n_bits - dtype.is_signed_integer()) - 1.0)


def _series(number: FloatVector, null: BoolVector, dtype: pl.DataType) -> pl.Series:
    return _nulled(pl.Series(number), null).cast(dtype, strict=False)


def _nulled(values: pl.Series, null: npt.NDArray[np.bool_]) -> pl.Series:
    if not null.any():
        return values
    frame = pl.DataFrame([values.alias("value"), pl.Series("null", null)])
    return frame.select(pl.when(~pl.col("null")).then("value")).to_series()


def hybrid(
    near: pl.DataFrame, far: pl.DataFrame, is_near: BoolVector, columns: Sequence[str]
) -> pl.DataFrame:
    """Take some columns from one frame on some rows and from another elsewhere.

    Parameters
    ----------
    near, far : DataFrame
        Of the same rows and columns.
    is_near : ndarray of bool
        Rows to take from `near`.
    columns : sequence of str
        Columns in which they differ.
    """
    rows = np.flatnonzero(is_near)
    return replaced(far, rows, {name: near[name].gather(rows) for name in columns})
