"""What an expression made by barloop computes, so that sets of a sweep share the work.

`momentum`, `top_n`, `equal_weight` and their like return plain polars expressions that
also carry a recipe: a small hashable description.  Arithmetic on an expression makes a
new one without a recipe, which polars then evaluates row by row as ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import polars as pl

ATTRIBUTE = "_barloop_recipe"
LEAF = "_barloop_leaf"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the data."""

    name: str


@dataclass(frozen=True, eq=False)
class Opaque:
    """An expression of the user's, evaluated by polars.

    Equal to another one that is written the same.
    """

    expression: pl.Expr

    @cached_property
    def key(self) -> Any:
        """The serialised expression."""
        try:
            return self.expression.meta.serialize()
        except Exception:  # whatever pickling a function raises
            return id(self.expression)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and bool(self.key == other.key)

    def __hash__(self) -> int:
        return hash(self.key)


Leaf: TypeAlias = Column | Opaque


@dataclass(frozen=True, slots=True)
class Momentum:
    """Return from `lookback` to `skip` rows ago."""

    source: Leaf
    lookback: int
    skip: int
    by: str


@dataclass(frozen=True, slots=True)
class Mean:
    """Average of the last `n_bars` rows."""

    source: Leaf
    n_bars: int
    by: str


@dataclass(frozen=True, slots=True)
class Volatility:
    """Standard deviation of the last `n_bars` returns."""

    source: Leaf
    n_bars: int
    by: str


Score: TypeAlias = Leaf | Momentum | Mean | Volatility


@dataclass(frozen=True, slots=True)
class TopN:
    """The `n` highest scores of each timestamp, or the lowest."""

    score: Score
    n: int
    over: str
    highest: bool = True


Choice: TypeAlias = Leaf | TopN


@dataclass(frozen=True, slots=True)
class EqualWeight:
    """The same weight for each chosen asset."""

    chosen: Choice
    gross: float
    over: str


@dataclass(frozen=True, slots=True)
class RankWeights:
    """Weights in proportion to the rank among the chosen; None chooses all."""

    score: Score
    chosen: Choice | None
    gross: float
    over: str


@dataclass(frozen=True, slots=True)
class InverseVolatility:
    """Weights in proportion to 1 / volatility."""

    chosen: Choice
    volatility: Score
    gross: float
    over: str


@dataclass(frozen=True, slots=True)
class LongShort:
    """Equal weights of one choice less those of another."""

    long: EqualWeight
    short: EqualWeight


Weighting: TypeAlias = EqualWeight | RankWeights | InverseVolatility | LongShort
Recipe: TypeAlias = Score | Choice | Weighting


def recipe_of(expression: Any) -> Recipe | None:
    """Return what an expression computes, if barloop made it.

    Parameters
    ----------
    expression : object
        What a weights function returned.

    Returns
    -------
    Recipe or None
        None for everything else, and for what was computed from such an expression.

    Examples
    --------
    >>> from barloop.selection import equal_weight, top_n
    >>> recipe_of(equal_weight(top_n("score", 25)))
    EqualWeight(chosen=TopN(score=Column(name='score'), n=25, over='timestamp', \
highest=True), gross=1.0, over='timestamp')
    >>> recipe_of(equal_weight(top_n("score", 25)) * 0.5) is None
    True
    """
    return getattr(expression, ATTRIBUTE, None)


def with_recipe(expression: pl.Expr, recipe: Recipe) -> pl.Expr:
    """Attach a recipe to an expression that nobody else holds yet.

    Parameters
    ----------
    expression : Expr
        Just made.
    recipe : Recipe
        What it computes.

    Returns
    -------
    Expr
        The same object.
    """
    setattr(expression, ATTRIBUTE, recipe)
    return expression


def part_of(value: str | pl.Expr, *kinds: type) -> Any:
    """Return the recipe of an argument: its own, or a leaf.

    Parameters
    ----------
    value : str or Expr
        A column name, or an expression.
    *kinds : type
        Recipes that may stand here; any other is a leaf for polars.

    Returns
    -------
    Recipe
        One of `kinds`, `Column` or `Opaque`.
    """
    if isinstance(value, str):
        return Column(value)
    own = recipe_of(value)
    if isinstance(own, kinds):
        return own
    leaf = getattr(value, LEAF, None)
    if leaf is None:
        is_column = value.meta.is_column()
        leaf = Column(value.meta.output_name()) if is_column else Opaque(value)
        # Kept, so that an expression used in many places is serialised once.
        setattr(value, LEAF, leaf)
    return leaf
