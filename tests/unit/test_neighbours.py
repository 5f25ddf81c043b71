"""Plateau scores and marginal effects, against plain loops."""

from __future__ import annotations

import itertools
import math
import statistics
from fractions import Fraction

import numpy as np
import polars as pl
import pytest

from barloop.errors import SchemaError
from barloop.neighbours import marginal_effects, plateau
from barloop.search import Uniform, random_search
from barloop.sets import SetList

COLUMNS = [
    "plateau",
    "neighbour_mean",
    "worst_neighbour",
    "n_neighbours",
    "n_missing",
]


def grid(**axes) -> pl.DataFrame:
    return SetList.of(axes).columns()


def is_number(column: pl.Series) -> bool:
    return column.dtype in (pl.Int64, pl.Float64)


def plain_neighbours(frame: pl.DataFrame) -> list[set[int]]:
    """The rule of the docstring in loops over pairs; sets must be distinct."""
    columns = [
        column.fill_nan(None) if column.dtype == pl.Float64 else column
        for column in frame.iter_columns()
        if column.n_unique() > 1
    ]
    values = [column.drop_nulls().unique().sort().to_list() for column in columns]
    ordered = [
        is_number(column) and len(distinct) > 1
        for column, distinct in zip(columns, values, strict=True)
    ]
    rows = list(zip(*[column.to_list() for column in columns], strict=True))
    places = [
        [
            distinct.index(one) if known and one is not None else None
            for one, distinct, known in zip(row, values, ordered, strict=True)
        ]
        for row in rows
    ]

    def differing(k: int, other: int) -> list[int]:
        pairs = zip(rows[k], rows[other], strict=True)
        return [j for j, (one, two) in enumerate(pairs) if one != two]

    def one_step(k: int, other: int) -> bool:
        found = differing(k, other)
        if len(found) != 1 or not ordered[found[0]]:
            return False
        one, two = places[k][found[0]], places[other][found[0]]
        return None not in (one, two) and abs(one - two) == 1

    n_sets, p = len(rows), sum(ordered)
    steps = [
        {other for other in range(n_sets) if other != k and one_step(k, other)}
        for k in range(n_sets)
    ]
    if p == 0 or 2 * sum(len(one) >= p for one in steps) >= n_sets:
        return steps

    def alike(k: int, other: int) -> bool:
        return all(
            ordered[j] and None not in (places[k][j], places[other][j])
            for j in differing(k, other)
        )

    def distance(k: int, other: int) -> Fraction:
        return sum(
            (
                Fraction(places[k][j] - places[other][j], len(values[j]) - 1) ** 2
                for j in differing(k, other)
            ),
            start=Fraction(0),
        )

    return [
        set(
            sorted(
                (other for other in range(n_sets) if other != k and alike(k, other)),
                key=lambda other: (distance(k, other), other),
            )[: 2 * p]
        )
        for k in range(n_sets)
    ]


def plain_plateau(frame, values, *, minimize=False) -> pl.DataFrame:
    rows = []
    for k, neighbours in enumerate(plain_neighbours(frame)):
        seen = [values[other] for other in sorted(neighbours)]
        known = [value for value in seen if not math.isnan(value)]
        mean = statistics.fmean(known) if known else None
        level = None
        if known and not math.isnan(values[k]):
            level = statistics.fmean([values[k], *known])
        worst = None
        if known:
            worst = max(known) if minimize else min(known)
        rows.append((level, mean, worst, len(known), len(seen) - len(known)))
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def random_values(n: int, seed: int = 0, share_missing: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=n)
    values[rng.random(n) < share_missing] = np.nan
    return values


def same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert found.columns == expected.columns
    for name in found.columns:
        np.testing.assert_allclose(
            found[name].cast(pl.Float64).to_numpy(),
            expected[name].cast(pl.Float64).to_numpy(),
            rtol=1e-12,
            err_msg=name,
        )


def test_corner_edge_and_middle_of_a_grid():
    # 1 2 3
    # 4 5 6
    # 7 8 9
    frame = grid(a=[10, 20, 50], b=[0.1, 0.2, 0.9])
    found = plateau(frame, np.arange(1.0, 10.0))
    # Corner 1: neighbours 2 and 4.  Edge 2: 1, 3, 5.  Middle 5: 2, 4, 6, 8.
    assert found.row(0) == ((1 + 2 + 4) / 3, 3.0, 2.0, 2, 0)
    assert found.row(1) == ((2 + 1 + 3 + 5) / 4, 3.0, 1.0, 3, 0)
    assert found.row(4) == (5.0, 5.0, 2.0, 4, 0)


def test_lonely_peak_is_below_a_plateau():
    values = [0.1, 0.1, 3.0, 0.1, 0.1, 1.4, 1.5, 1.4, 0.1]
    found = plateau(pl.DataFrame({"n": range(9)}), values)
    assert found["plateau"].arg_max() == 6
    assert found["plateau"][2] == pytest.approx(3.2 / 3)


def test_worst_neighbour_is_the_largest_when_small_is_good():
    frame = pl.DataFrame({"n": [1, 2, 3]})
    worst = plateau(frame, [1.0, 2.0, 3.0], minimize=True)["worst_neighbour"]
    assert worst.to_list() == [2.0, 3.0, 2.0]


def test_missing_values_are_counted_and_left_out():
    frame = pl.DataFrame({"n": [1, 2, 3, 4]})
    found = plateau(frame, [1.0, math.nan, 3.0, math.inf])
    # Set 0 has no neighbour with a value, and neither has set 2.
    assert found["plateau"].to_list() == [None] * 4
    assert found["neighbour_mean"].to_list() == [None, 2.0, None, 3.0]
    assert found["n_neighbours"].to_list() == [0, 2, 0, 1]
    assert found["n_missing"].to_list() == [1, 0, 2, 0]


@pytest.mark.parametrize("minimize", [False, True])
@pytest.mark.parametrize(
    "axes",
    [
        {"a": [1, 2, 5, 9]},
        {"a": [1, 2, 5, 9], "b": [0.5, 0.1, 0.3]},
        {"a": [3, 1], "b": [0.1, 0.2, 0.9], "c": [1, 2, 3, 4]},
        {"a": [3, 1, 2], "kind": ["x", "y"], "flag": [True, False]},
        {"a": [3, 1, 2], "constant": [7], "stop": [None, 0.1, 0.2]},
        {"a": [3, 1, 2], "stop": [None, 0.1]},
        {"kind": ["x", "y", "z"]},
    ],
)
def test_grids_as_in_plain_loops(axes, minimize):
    frame = grid(**axes)
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=3)
    values = random_values(frame.height)
    for one in (frame, shuffled):
        same(
            plateau(one, values, minimize=minimize),
            plain_plateau(one, values, minimize=minimize),
        )


def test_text_flags_and_null_are_no_steps():
    frame = pl.DataFrame(
        {"kind": ["x", "y"], "stop": [None, 0.1], "flag": [True, False]}
    )
    for name in frame.columns:
        assert plateau(frame.select(name), [1.0, 2.0])["n_neighbours"].sum() == 0


def test_gaps_of_a_grid_do_no_harm():
    pairs = list(itertools.combinations([5, 10, 20, 40, 60, 90, 120], 2))
    frame = pl.DataFrame(pairs, schema=["fast", "slow"], orient="row")
    values = random_values(frame.height)
    same(plateau(frame, values), plain_plateau(frame, values))
    # fast=10, slow=40 has 5 and 20 beside it, and 20 and 60.
    k = pairs.index((10, 40))
    assert plateau(frame, np.ones(len(pairs)))["n_neighbours"][k] == 4


@pytest.mark.parametrize(
    ("space", "n"),
    [
        ({"a": (0.0, 1.0), "b": (0.0, 1.0)}, 150),
        ({"a": (0.0, 1.0), "b": (1, 40), "c": Uniform(0.001, 1, log=True)}, 150),
        ({"a": (1, 1_000), "b": (1, 60), "kind": ["x", "y", "z"]}, 120),
        (dict.fromkeys("abcdef", (0.0, 1.0)), 100),
        ({"a": (0.0, 1.0), "b": (0.0, 1.0)}, 4),
    ],
)
def test_random_searches_as_in_plain_loops(space, n):
    frame = random_search(space, n, seed=4)
    values = random_values(n)
    found = plateau(frame, values)
    same(found, plain_plateau(frame, values))
    n_most = found["n_neighbours"].max() + found["n_missing"].max()
    assert n_most >= min(2 * sum(map(is_number, frame.iter_columns())), n - 1)


def test_nulls_are_apart_in_a_random_search_too():
    drawn = random_search({"a": (0.0, 1.0), "b": (0.0, 1.0)}, 80, seed=4)
    frame = drawn.with_columns(pl.when(pl.col("a") < 0.7).then("b").alias("b"))
    values = random_values(80)
    same(plateau(frame, values), plain_plateau(frame, values))


def test_ties_go_to_the_first_sets():
    # Every second cell of a chessboard: no steps, and many at the same distance.
    board = [(a, b) for a in range(15) for b in range(15) if (a + b) % 2 == 0]
    frame = pl.DataFrame(board, schema=["a", "b"], orient="row")
    values = random_values(len(board))
    same(plateau(frame, values), plain_plateau(frame, values))
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=8)
    same(plateau(shuffled, values), plain_plateau(shuffled, values))


def test_equal_sets_are_one():
    frame = pl.DataFrame({"n": [1, 1, 2, 3, 2]})
    # Values of n: 1 -> 1.5, 2 -> 4 (the other has none), 3 -> 5.
    found = plateau(frame, [1.0, 2.0, 4.0, 5.0, math.nan])
    assert found["plateau"].to_list() == [2.75, 2.75, 10.5 / 3, 4.5, 10.5 / 3]


def test_nothing_varies():
    for frame in (pl.DataFrame({"n": [1]}), pl.DataFrame(height=1)):
        found = plateau(frame, [2.0])
        assert found.row(0) == (None, None, None, 0, 0)


def test_order_of_columns_and_sets_does_not_matter():
    frame = random_search({"a": (0.0, 1.0), "b": (0.0, 1.0)}, 60, seed=1)
    values = random_values(60)
    forward = plateau(frame, values)
    same(plateau(frame.select("b", "a"), values), forward)
    axes = grid(a=[5, 1, 3], b=[2, 8, 7, 9])
    values = random_values(axes.height)
    forward = plateau(axes, values)
    same(plateau(axes.reverse(), values[::-1]), forward.reverse())


def test_as_many_values_as_sets():
    for function in (plateau, marginal_effects):
        with pytest.raises(SchemaError, match=r"2 sets and values of shape \(3,\)"):
            function(pl.DataFrame({"n": [1, 2]}), [1.0, 2.0, 3.0])


def test_effects_of_each_value():
    frame = grid(n=[5, 10], kind=["x", "y", "z"])
    values = np.array([1.0, 2.0, 6.0, 3.0, math.nan, 9.0])
    found = marginal_effects(frame, values)
    assert found.select("parameter", "value", "low", "high").rows() == [
        ("n", "5", 5.0, 5.0),
        ("n", "10", 10.0, 10.0),
        ("kind", "x", None, None),
        ("kind", "y", None, None),
        ("kind", "z", None, None),
    ]
    assert found.select("n", "n_missing", "mean", "median", "min", "max").rows() == [
        (3, 0, 3.0, 2.0, 1.0, 6.0),
        (2, 1, 6.0, 6.0, 3.0, 9.0),
        (2, 0, 2.0, 2.0, 1.0, 3.0),
        (1, 1, 2.0, 2.0, 2.0, 2.0),
        (2, 0, 7.5, 7.5, 6.0, 9.0),
    ]
    # The mean is 4.2, all squares sum to 42.8; of n: 3 * 1.2**2 + 2 * 1.8**2 = 10.8.
    assert found["share_of_variance"][0] == pytest.approx(10.8 / 42.8)
    # Of kind: 2 * 2.2**2 + 2.2**2 + 2 * 3.3**2 = 36.3.
    assert found["share_of_variance"][2] == pytest.approx(36.3 / 42.8)
    assert found["share_by_chance"].to_list() == [0.25, 0.25, 0.5, 0.5, 0.5]


def test_effects_as_polars_groups_them():
    frame = grid(a=range(12), b=[0.5, None, 0.1], flag=[True, False])
    values = random_values(frame.height, seed=2)
    found = marginal_effects(frame, values)
    data = frame.with_columns(v=pl.Series(values).fill_nan(None))
    for name in frame.columns:
        expected = (
            data.group_by(name)
            .agg(
                n=pl.col("v").count().cast(pl.Int64),
                n_missing=pl.col("v").null_count().cast(pl.Int64),
                mean=pl.col("v").mean(),
                median=pl.col("v").median(),
                min=pl.col("v").min(),
                max=pl.col("v").max(),
            )
            .sort(name, nulls_last=True)
            .drop(name)
        )
        same(
            found.filter(pl.col("parameter") == name).select(expected.columns), expected
        )


def test_shares_of_a_full_grid_sum_to_one_without_interplay():
    frame = grid(a=[1, 2, 3], b=[1, 2], c=["x", "y"])
    values = [
        10 * a + b + 0.1 * (c == "x") for a, b, c in frame.iter_rows()
    ]  # a sum of three effects
    shares = (
        marginal_effects(frame, values)
        .group_by("parameter")
        .agg(pl.col("share_of_variance").first())
    )
    assert shares["share_of_variance"].sum() == pytest.approx(1.0)


def test_null_comes_last():
    frame = pl.DataFrame({"stop": [None, 0.2, None, 0.1], "k": ["b", None, "a", "b"]})
    found = marginal_effects(frame, [1.0, 2.0, 3.0, 4.0])
    assert found["value"].to_list() == ["0.1", "0.2", None, "a", "b", None]
    assert found["n"].to_list() == [1, 1, 2, 1, 2, 1]
    assert found["low"].to_list() == [0.1, 0.2, None, None, None, None]


def test_many_numbers_are_put_into_bins():
    frame = random_search({"x": (0.0, 1.0), "k": (1, 4)}, 200, seed=1)
    values = frame["x"].to_numpy() * 2
    found = marginal_effects(frame, values)
    of_x = found.filter(pl.col("parameter") == "x")
    assert of_x["n"].to_list() == [20] * 10
    ordered = frame["x"].sort()
    assert of_x["low"].to_list() == ordered.gather_every(20).to_list()
    assert of_x["high"].to_list() == ordered.gather_every(20, 19).to_list()
    assert of_x["value"][0] == f"{ordered[0]:.6g} to {ordered[19]:.6g}"
    assert of_x["share_of_variance"][0] > 0.98
    assert of_x["share_by_chance"][0] == pytest.approx(9 / 199)
    # k has four values and is not binned.
    assert found.filter(pl.col("parameter") == "k").height == 4


def test_bins_do_not_part_equal_numbers_nor_take_null():
    x = [0.0] * 60 + [float(k) for k in range(1, 31)] + [None] * 10
    found = marginal_effects(pl.DataFrame({"x": x}), np.arange(100.0))
    assert found["n"].to_list()[0] == 60
    assert found["n"].to_list()[-1] == 10
    assert found["value"].to_list()[-1] is None
    assert found["n"].sum() == 100
    assert (found["low"].drop_nulls() == found["low"].drop_nulls().sort()).all()


def test_no_variance_no_share():
    frame = pl.DataFrame({"n": [1, 2]})
    for values in ([1.0, 1.0], [math.nan, math.nan], [1.0, math.nan]):
        found = marginal_effects(frame, values)
        assert found["share_of_variance"].to_list() == [None, None]
    assert marginal_effects(pl.DataFrame(height=2), [1.0, 2.0]).height == 0


def test_hundred_thousand_sets_of_a_grid():
    frame = grid(a=range(100), b=range(50), c=range(20))
    a, b, c = (frame[name].to_numpy() for name in "abc")
    found = plateau(frame, a + 100.0 * b + 10_000.0 * c)
    inner = (a > 0) & (a < 99) & (b > 0) & (b < 49) & (c > 0) & (c < 19)
    assert found["n_neighbours"].filter(pl.Series(inner)).unique().to_list() == [6]
    # The value is linear, so the mean of an inner set and its neighbours is its own.
    np.testing.assert_allclose(
        found["plateau"].to_numpy()[inner],
        (a + 100.0 * b + 10_000.0 * c)[inner],
        rtol=1e-12,
    )
    assert marginal_effects(frame, a * 1.0).height == 170


def test_full_grids_are_never_binned():
    frame = grid(a=range(30), b=[1, 2])
    values = random_values(60)
    assert marginal_effects(frame, values).height == 32
    # A set less is no full grid any more, and two sets per value are few.
    assert marginal_effects(frame[1:], values[1:]).height == 12
