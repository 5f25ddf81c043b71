"""Parameter sets: grids, lists and frames, numbered and made when asked for."""

from __future__ import annotations

import datetime as dt
import itertools
import pickle
import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import barloop as bl
from barloop.errors import ConfigError
from barloop.sets import SetList


def test_last_key_of_a_grid_varies_fastest():
    grid = {"a": [1, 2], "b": ["x", "y", "z"], "c": [True, False]}
    sets = SetList.of(grid)
    expected = [
        dict(zip(grid, values, strict=True))
        for values in itertools.product(*grid.values())
    ]
    assert len(sets) == 12
    assert list(sets) == expected
    assert [sets[k] for k in range(12)] == expected
    assert sets.columns().to_dicts() == expected
    assert sets.names == ("a", "b", "c")
    assert sets.notices == []


def test_index_counts_from_the_end_and_stops_at_both():
    sets = SetList.of({"a": [1, 2, 3]})
    assert sets[-1] == {"a": 3}
    assert sets[np.int64(1)] == {"a": 2}
    for k in (3, -4):
        with pytest.raises(IndexError, match=f"3 sets.*no set {k}"):
            sets[k]


def test_large_grid_keeps_nothing_per_set():
    grid = {"a": range(1_000), "b": np.linspace(0, 1, 1_000)}
    tracemalloc.start()
    sets = SetList.of(grid)
    last = sets[999_999]
    n_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(sets) == 1_000_000
    assert last == {"a": 999, "b": 1.0}
    assert n_bytes < 500_000  # a million sets of even 8 bytes would be 8 MB


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (range(3, 9, 3), [3, 6]),
        (np.array([1, 2], dtype=np.int32), [1, 2]),
        (np.array([0.5]), [0.5]),
        (np.array(["2024-01-02"], dtype="datetime64[D]"), [dt.date(2024, 1, 2)]),
        (pl.Series([0.1, 0.2]), [0.1, 0.2]),
        (pd.Series([1, 2]), [1, 2]),
        (pd.Index(["x"]), ["x"]),
        ({"k": 1, "l": 2}.keys(), ["k", "l"]),
        ((n * n for n in (2, 3)), [4, 9]),
        ([np.int64(5), np.float64(0.5), np.True_, np.str_("s")], [5, 0.5, True, "s"]),
    ],
)
def test_values_of_a_grid_become_plain(values, expected):
    made = [one["p"] for one in SetList.of({"p": values})]
    assert made == expected
    assert [type(one) for one in made] == [type(one) for one in expected]


def test_values_may_be_any_objects():
    exits, schedule = bl.Exits(stop_loss=0.1), bl.Schedule("month_end")
    expression, function = pl.col("close"), len
    values = [exits, schedule, (3.0, "atr"), [1, 2], expression, function, None]
    sets = SetList.of({"p": values, "q": [1]})
    for k, value in enumerate(values):
        assert sets[k]["p"] is value
    assert sets.columns()["p"].to_list() == [
        "Exits(stop_loss=0.1)",
        "Schedule(rule='month_end')",
        '[3.0, "atr"]',
        "[1, 2]",
        'col("close")',
        "builtins.len",
        None,
    ]


def test_columns_have_the_dtype_of_their_values():
    columns = SetList.of(
        {
            "flag": [True, False],
            "n": [1, 2**62],
            "x": [1, 0.5],
            "stop": [None, 0.05],
            "schedule": ["month_end", 21],
            "day": [dt.date(2024, 1, 2)],
            "huge": [2**70],
            "mixed": [True, 2],
            "none": [None],
            "table": [pl.DataFrame({"w": [1, 2]})],
        }
    ).columns()
    assert dict(columns.schema) == {
        "flag": pl.Boolean,
        "n": pl.Int64,
        "x": pl.Float64,
        "stop": pl.Float64,
        "schedule": pl.String,
        "day": pl.String,
        "huge": pl.String,
        "mixed": pl.String,
        "none": pl.String,
        "table": pl.String,
    }
    assert columns.row(0) == (
        True,
        1,
        1.0,
        None,
        "month_end",
        "2024-01-02",
        str(2**70),
        "True",
        None,
        "DataFrame of shape (2, 1)",
    )


def test_long_values_are_cut_in_the_frame_only():
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=d) for d in range(60)]
    sets = SetList.of({"schedule": [days]})
    shown = sets.columns()["schedule"][0]
    assert shown.startswith('["2024-01-01", "2024-01-02"')
    assert len(shown) == 200
    assert shown.endswith("...")
    assert sets[0]["schedule"] is days


def test_list_of_dicts_takes_the_order_of_the_first():
    given = [{"a": 1, "b": 2.5}, {"b": 3, "a": None}]
    sets = SetList.of(given)
    given[0]["a"] = 99  # a set is a copy
    assert list(sets) == [{"a": 1, "b": 2.5}, {"a": None, "b": 3}]
    assert list(sets[1]) == ["a", "b"]
    assert sets.columns().to_dict(as_series=False) == {"a": [1, None], "b": [2.5, 3.0]}


def test_one_set_without_parameters():
    sets = SetList.of([{}])
    assert len(sets) == 1
    assert sets[0] == {}
    assert sets.columns().shape == (1, 0)


@pytest.mark.parametrize("kind", ["eager", "lazy", "pandas", "arrow"])
def test_frame_of_sets(kind):
    frame = pl.DataFrame(
        {
            "lookback": pl.Series([20, 60], dtype=pl.Int16),
            "threshold": pl.Series([0.5, 0.25], dtype=pl.Float32),
            "schedule": ["month_end", "week_end"],
        }
    )
    made = {
        "eager": lambda: frame,
        "lazy": frame.lazy,
        "pandas": lambda: pd.DataFrame(frame.to_dict(as_series=False)),
        "arrow": lambda: pa.table(frame.to_dict(as_series=False)),
    }[kind]()
    sets = SetList.of(made)
    assert list(sets) == frame.to_dicts() == [sets[0], sets[1]]
    assert sets.columns().dtypes == [pl.Int64, pl.Float64, pl.String]


def test_dates_and_lists_of_a_frame_are_shown_as_text():
    frame = pl.DataFrame(
        {"day": [dt.date(2024, 1, 2)], "window": [[5, 10]], "kind": ["x"]}
    ).with_columns(pl.col("kind").cast(pl.Categorical))
    sets = SetList.of(frame)
    assert sets[0] == {"day": dt.date(2024, 1, 2), "window": [5, 10], "kind": "x"}
    assert sets.columns().row(0) == ("2024-01-02", "[5, 10]", "x")


def test_objects_of_a_frame_may_be_none():
    exits = bl.Exits(stop_loss=0.1)
    frame = pl.DataFrame([pl.Series("exits", [None, exits, exits], dtype=pl.Object)])
    sets = SetList.of(frame)
    assert [one["exits"] for one in sets] == [None, exits, exits]
    assert "1 of 3 sets" in sets.notices[0]


@pytest.mark.parametrize(
    ("grid", "n_repeated"),
    [
        ({"a": [1, 1, 2], "b": [0, 1]}, 2),
        ([{"a": 1}, {"a": 2}, {"a": 1}], 1),
        ([{"a": [1, 2]}, {"a": [1, 2]}], 1),
        ([{"a": {"k": 1}}, {"a": {"k": 1}}], 1),
        ([{"a": pl.col("x")}, {"a": pl.col("x")}], 1),
        ([{"a": bl.Exits(stop_loss=0.1)}, {"a": bl.Exits(stop_loss=0.1)}], 1),
        (pl.DataFrame({"a": [1.0, 1.0, 2.0]}), 1),
        ([{"a": 1}, {"a": 1.0}, {"a": True}], 0),  # the function may tell them apart
        ([{"a": np.zeros(2)}, {"a": np.zeros(2)}], 0),  # not compared
    ],
)
def test_repeated_sets_are_told(grid, n_repeated):
    sets = SetList.of(grid)
    if n_repeated == 0:
        assert sets.notices == []
    else:
        expected = f"{n_repeated} of {len(sets)} sets repeat an earlier one"
        assert sets.notices[0].startswith(expected)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({}, "the grid is empty"),
        ([], "the list of sets is empty"),
        (pl.DataFrame({"a": []}), "the frame of sets is empty"),
        (pl.DataFrame(), "the frame of sets is empty"),
        ({"lookback": 20}, r"lookback must be a list.*got 20.\nHint: use \[20\]"),
        ({"rule": "month_end"}, r"rule must be a list.*use \['month_end'\]"),
        ({"x": np.float64(3)}, r"x must be a list.*got 3.0.\nHint: use \[3.0\]"),
        ({"x": None}, r"x must be a list.*use \[None\]"),
        ({"x": {"y": 1}}, r"x must be a list.*use \[\{\"y\": 1\}\]"),
        ({"x": pl.col("y")}, r"x must be a list.*use \[col\(\"y\"\)\]"),
        ({"x": np.zeros((2, 2))}, r"x must be a list"),
        ({"range": (10, 200)}, r"several values or one.\nHint: use \[10, 200\] for"),
        ({"x": {3, 4}}, r"x: a set has no order.\nHint: use sorted"),
        ({"x": []}, "x has no values"),
        ({"x": iter(())}, "x has no values"),
        ({1: [2]}, "must be text, got 1"),
        ({"": [2]}, "must be text, got ''"),
        ([{"a": 1}, {"a": 1, "b": 2}], "set 0 has no 'b', which set 1 has"),
        ([{"a": 1, "b": 2}, {"a": 1}], "set 1 has no 'b', which set 0 has"),
        ([{"a": 1}, {"b": 1}], "set 0 has no 'b', which set 1 has"),
        ([{"a": 1}, 7], "set 1 must be a dict, got 7"),
        ([{1: 2}], "must be text, got 1"),
        (pl.DataFrame({"a": [1, None, None]}), "'a' has 2 null or NaN, first in set 1"),
        (pl.DataFrame({"a": [0.0, np.nan]}), "'a' has 1 null or NaN, first in set 1"),
        ({"set": [1]}, "cannot be named 'set'"),
        ([{"error": 1}], "cannot be named 'error'"),
        (7, "dict of lists, a list of dicts or a frame, got int"),
        ("lookback", "got str"),
        (None, "got NoneType"),
    ],
)
def test_what_is_no_grid_is_refused(grid, message):
    with pytest.raises(ConfigError, match=rf"(?s){message}"):
        SetList.of(grid)


def test_caller_reserves_names():
    with pytest.raises(ConfigError, match="cannot be named 'sharpe'"):
        SetList.of({"sharpe": [1]}, reserved=["sharpe"])


def test_frame_of_the_user_is_not_modified():
    frame = pl.DataFrame({"a": [1, 2]})
    before = frame.clone()
    SetList.of(frame).columns()
    assert frame.equals(before)


def test_sets_travel_to_workers():
    objects = pl.DataFrame([pl.Series("a", [None, bl.Exits()], dtype=pl.Object)])
    for grid in ({"a": [1, 2]}, [{"a": 1}], pl.DataFrame({"a": [1]}), objects):
        sets = SetList.of(grid)
        again = pickle.loads(pickle.dumps(sets))
        assert list(again) == list(sets)
        assert repr(again) == f"SetList of {len(sets)} sets (a)"
        assert SetList.of(sets) is sets
