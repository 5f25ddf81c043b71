"""Random search and Latin hypercube: seeded, stratified, without equal sets."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

import barloop as bl
from barloop.errors import ConfigError
from barloop.search import Integers, Uniform, latin_hypercube, random_search
from barloop.sets import SetList

SPACE = {
    "lookback": (20, 250),
    "threshold": (0.0, 1.5),
    "n": [5, 10, 25],
    "commission.bps": Uniform(1, 100, log=True),
    "k": Integers(1, 1_000, log=True),
    "exits.stop_loss": [None, 0.05],
    "schedule": ["month_end", 21],
    "day": [dt.date(2020, 1, 1), dt.date(2021, 1, 1)],
    "flag": [True, False],
    "exits": [bl.Exits(stop_loss=0.1), bl.Exits(stop_loss=0.2)],
}

both = pytest.mark.parametrize("search", [random_search, latin_hypercube])


@both
def test_sweep_accepts_the_frame(search):
    frame = search(SPACE, 40, seed=0)
    assert frame.columns == list(SPACE)
    sets = SetList.of(frame)
    assert len(sets) == 40
    assert sets.notices == []
    for one in sets:
        assert type(one["lookback"]) is int
        assert 20 <= one["lookback"] <= 250
        assert type(one["threshold"]) is float
        assert 0 <= one["threshold"] < 1.5
        assert 1 <= one["commission.bps"] < 100
        assert 1 <= one["k"] <= 1_000
        for name in ("n", "exits.stop_loss", "schedule", "day", "flag", "exits"):
            given = SPACE[name]
            assert any(one[name] == v and type(one[name]) is type(v) for v in given)


@both
def test_seed_decides(search):
    space = {"a": (0.0, 1.0), "b": (1, 10**6)}
    first = search(space, 50, seed=3)
    assert first.equals(search(space, 50, seed=3))
    assert not first.equals(search(space, 50, seed=4))


@pytest.mark.parametrize(
    "space",
    [
        {"a": (0.0, 1.0), "b": [1, 2]},
        {"a": (1, 300), "b": Integers(1, 300, log=True)},
        {"a": (1, 30), "b": Integers(1, 30, log=True)},
    ],
)
def test_more_random_sets_begin_with_those_of_fewer(space):
    many = random_search(space, 800, seed=1)
    for n in (1, 7, 500):
        assert many.head(n).equals(random_search(space, n, seed=1))


def test_random_sets_are_all_different():
    # 250 * 300 sets, drawn with rejection; 8 of 8 and 60 of 64 from the list of all.
    for space, n in (
        ({"a": (1, 250), "b": Integers(1, 300, log=True)}, 60_000),
        ({"a": [1, 2], "b": [1, 2], "c": [1, 2]}, 8),
        ({"a": Integers(1, 8, log=True), "b": (1, 8)}, 60),
    ):
        frame = random_search(space, n, seed=2)
        assert frame.n_unique() == frame.height == n


def test_random_values_have_the_stated_probabilities():
    n = 20_000
    frame = random_search(
        {
            "u": (2.0, 4.0),
            "l": Uniform(0.001, 0.1, log=True),
            "i": (3, 7),
            "j": Integers(1, 7, log=True),
            "c": ["x", "y"],
        },
        n,
        seed=5,
    )
    bound = 4 * np.sqrt(0.25 / n)  # four standard errors of a share
    share = {
        "u": (frame["u"] < 3).mean(),
        # Two decades: half of them below 0.01.
        "l": (frame["l"] < 0.01).mean(),
        "c": (frame["c"] == "x").mean(),
    }
    for name, value in share.items():
        assert value == pytest.approx(0.5, abs=bound), name
    for value in range(3, 8):
        assert (frame["i"] == value).mean() == pytest.approx(0.2, abs=bound)
    for value in range(1, 8):
        # log((k + 1) / k) / log(8): 1/3 for 1, about 0.064 for 7
        expected = np.log((value + 1) / value) / np.log(8)
        assert (frame["j"] == value).mean() == pytest.approx(expected, abs=bound)
        probability = Integers(1, 7, log=True).probabilities()[value - 1]
        assert probability == pytest.approx(expected)


def test_enumerated_draws_have_the_stated_probabilities():
    # The first set drawn from the list of all follows the probabilities too.
    space = {"j": Integers(1, 3, log=True), "c": ["x", "y"]}
    first = pl.concat([random_search(space, 1, seed=s) for s in range(4_000)])
    bound = 4 * np.sqrt(0.25 / 4_000)
    assert (first["c"] == "x").mean() == pytest.approx(0.5, abs=bound)
    for value in (1, 2, 3):
        expected = np.log((value + 1) / value) / np.log(4)
        assert (first["j"] == value).mean() == pytest.approx(expected, abs=bound)


@pytest.mark.parametrize("n", [1, 2, 7, 100, 1_000])
def test_each_stratum_has_one_sample(n):
    space = {
        "u": (2.0, 4.0),
        "l": Uniform(0.001, 0.1, log=True),
        "i": (0, 10**9),
    }
    frame = latin_hypercube(space, n, seed=9)
    u = (frame["u"].to_numpy() - 2) / 2
    log = np.log(frame["l"].to_numpy() / 0.001) / np.log(100)
    integer = (frame["i"].to_numpy() + 0.5) / (10**9 + 1)
    for name, place in (("u", u), ("l", log), ("i", integer)):
        strata = np.floor(place * n + 1e-9).astype(int)
        assert sorted(strata) == list(range(n)), name


@pytest.mark.parametrize("n", [9, 10, 50, 97])
def test_values_of_lists_come_equally_often(n):
    frame = latin_hypercube(
        {"a": [1, 2], "b": (1, 50), "c": ["x", "y", "z"]}, n, seed=4
    )
    for name, n_values in (("a", 2), ("b", 50), ("c", 3)):
        counts = frame[name].value_counts()["count"]
        assert counts.max() <= -(-n // n_values)
        assert len(counts) == min(n, n_values)
        if n > n_values:
            assert counts.min() >= n // n_values


def test_logarithmic_integers_keep_their_share_in_a_hypercube():
    frame = latin_hypercube(
        {"j": Integers(1, 7, log=True), "x": (0.0, 1.0)}, 90, seed=1
    )
    for value in range(1, 8):
        expected = 90 * np.log((value + 1) / value) / np.log(8)
        count = (frame["j"] == value).sum()
        assert np.floor(expected) <= count <= np.ceil(expected)


@pytest.mark.parametrize(
    ("shape", "n"),
    [
        ((3, 3), 9),
        ((3, 3), 8),
        ((2, 3), 5),
        ((4, 4, 4), 60),
        ((10, 10), 100),
        ((10, 10), 99),
        ((30, 30), 870),
        ((100, 100), 5_000),
        ((2, 50), 97),
        ((400, 400), 20_000),
        ((7,), 7),
    ],
)
def test_sets_of_a_hypercube_are_all_different_where_values_are_few(shape, n):
    space = {f"p{j}": (1, n_values) for j, n_values in enumerate(shape)}
    frame = latin_hypercube(space, n, seed=3)
    assert frame.n_unique() == frame.height == n
    for j, n_values in enumerate(shape):
        counts = frame[f"p{j}"].value_counts()["count"]
        assert n // n_values <= counts.min()
        assert counts.max() <= -(-n // n_values)


def test_hypercube_covers_better_than_chance():
    # 100 sets in 100 strata: chance leaves about 37 of them empty.
    space = {"x": (0.0, 1.0), "y": (0.0, 1.0)}
    drawn = random_search(space, 100, seed=1)
    assert (drawn["x"] * 100).floor().n_unique() < 75
    assert (latin_hypercube(space, 100, seed=1)["x"] * 100).floor().n_unique() == 100


def test_parameters_of_a_hypercube_are_not_paired():
    frame = latin_hypercube({"x": (0.0, 1.0), "y": (0.0, 1.0)}, 1_000, seed=1)
    assert abs(np.corrcoef(frame["x"], frame["y"])[0, 1]) < 0.1


@both
@pytest.mark.parametrize(
    ("space", "n", "seed", "message"),
    [
        ({}, 1, 0, "at least one parameter, got {}"),
        ([{"a": 1}], 1, 0, "a space must be a dict"),
        ({1: [2]}, 1, 0, "must be text, got 1"),
        ({"a": 3}, 1, 0, r"a must be a list of values.*use \[3\]"),
        ({"a": "x"}, 1, 0, r"use \['x'\]"),
        ({"a": []}, 1, 0, "a has no values"),
        ({"a": (1, 2, 3)}, 1, 0, r"a: \(1, 2, 3\) is no range: a range has two"),
        ({"a": (2, 1)}, 1, 0, "a: .* low must be below high, got 2 and 1"),
        ({"a": (1.0, 1.0)}, 1, 0, "low must be below high"),
        ({"a": ("x", 1)}, 1, 0, "a: .* low must be a number, got 'x'"),
        ({"a": (0.0, float("inf"))}, 1, 0, "a: .* high must be finite"),
        ({"a": (True, 2)}, 1, 0, "low must be an integer, got True"),
        ({"a": (1, 2)}, 3, 0, "has 2 different sets, n=3 were asked"),
        ({"a": (1, 2)}, 0, 0, "n must be a positive number of sets, got 0"),
        ({"a": (1, 2)}, 1.5, 0, "n must be a positive number of sets"),
        ({"a": (1, 2)}, True, 0, "n must be a positive number of sets"),
        ({"a": (1, 2)}, 1, -1, "seed must be an integer, 0 or above, got -1"),
        ({"a": (1, 2)}, 1, None, "seed must be an integer"),
    ],
)
def test_what_is_no_space_is_refused(search, space, n, seed, message):
    with pytest.raises(ConfigError, match=rf"(?s){message}"):
        search(space, n, seed=seed)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(0, 1, log=True), "logarithmic scale needs low above 0, got 0"),
        (lambda: Integers(0, 9, log=True), "logarithmic scale needs low above 0"),
        (lambda: Integers(1.5, 2), "low must be an integer, got 1.5"),
        (lambda: Integers(0, 2**60), r"within 2\*\*53"),
        (lambda: Uniform(-1e308, 1e308), "too far apart"),
        (lambda: Uniform(0, float("nan")), "high must be finite"),
        (lambda: Uniform(1, 2, log="yes"), "log must be True or False"),
    ],
)
def test_bounds_without_meaning_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_bounds_are_kept_and_never_left():
    assert Integers(np.int64(1), 3) == Integers(1, 3)
    assert Uniform(1, 3) == Uniform(1.0, 3.0)
    almost = np.array([0.0, np.nextafter(1.0, 0.0)])
    for axis in (Uniform(1e-9, 3.3), Uniform(1e-9, 3.3, log=True)):
        low, high = axis.values(almost)
        assert low == 1e-9
        assert 3.29 < high < 3.3
    for axis in (Integers(1, 7), Integers(1, 7, log=True)):
        assert axis.values(almost).tolist() == [1, 7]
    assert Integers(4, 4).values(almost).tolist() == [4, 4]
