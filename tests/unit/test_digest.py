"""What changes the name of a function, of data and of settings, and what does not."""

from __future__ import annotations

import collections
import enum
import functools
import itertools
import math
import os
import random
import subprocess
import sys
import textwrap
import threading
from datetime import date, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numba
import numpy as np
import polars as pl
import pytest

from barloop import BacktestConfig, Commission, Panel, Schedule
from barloop.digest import (
    function_digest,
    function_digests,
    panel_digest,
    set_key,
    value_digest,
)
from barloop.errors import ConfigError


def define(source, name="f", **names):
    """Run a notebook cell and return what it defined."""
    space = {"__name__": "__main__", **names}
    exec(compile(textwrap.dedent(source), "<cell>", "exec"), space)
    return space[name]


def digest_of(source, name="f", **names):
    return function_digest(define(source, name, **names))


BODY = """
def f(bar, n=3):
    total = bar.close.sum()
    if total > 1 and n:
        return {"A": 1.0 / n}
    return None
"""

SAME = {
    "comments and blank lines": """

# A comment above.
def f(bar, n=3):
    # Why.
    total = bar.close.sum()  # of all

    if total > 1 and n:
        return {"A": 1.0 / n}
    return None
""",
    "docstring": '''
def f(bar, n=3):
    """Hold A."""
    total = bar.close.sum()
    if total > 1 and n:
        return {"A": 1.0 / n}
    return None
''',
    "layout": """
def f(
    bar,
    n=3,
):
    total = (
        bar
        .close
        .sum()
    )
    if (
        total > 1

        and n
    ):
        return {
            "A": 1.0 / n,
        }
    return None
""",
    "annotations": """
def f(bar: "Bar", n: int = 3) -> dict[str, float] | None:
    total = bar.close.sum()
    if total > 1 and n:
        return {"A": 1.0 / n}
    return None
""",
    "a line number above 255": "\n" * 300 + BODY,
}

OTHER = {
    "constant": BODY.replace("1.0 /", "2.0 /"),
    "type of a constant": BODY.replace("1.0 /", "1 /"),
    "comparison": BODY.replace("total > 1", "total >= 1"),
    "operator": BODY.replace("1.0 / n", "1.0 * n"),
    "attribute": BODY.replace("bar.close", "bar.open"),
    "method": BODY.replace(".sum()", ".min()"),
    "logic": BODY.replace("and n", "or n"),
    "default": BODY.replace("n=3", "n=4"),
    "type of a default": BODY.replace("n=3", "n=3.0"),
    "no default": BODY.replace("n=3", "n"),
    "keyword only": BODY.replace("bar, n=3", "bar, *, n=3"),
    "argument": BODY.replace("bar, n=3", "bar, n=3, m=4"),
    "name of an argument": BODY.replace("n=3", "k=3")
    .replace("n:", "k:")
    .replace("/ n", "/ k"),
    "text": BODY.replace('"A"', '"B"'),
}


@pytest.mark.parametrize("source", SAME.values(), ids=SAME)
def test_same_code_written_differently(source):
    assert digest_of(source) == digest_of(BODY)


@pytest.mark.parametrize("source", OTHER.values(), ids=OTHER)
def test_other_code(source):
    assert digest_of(source) != digest_of(BODY)


def test_name_of_the_function_is_no_part():
    renamed = BODY.replace("def f", "def weights")
    assert digest_of(renamed, "weights") == digest_of(BODY)


def test_docstring_that_is_used_too():
    one = digest_of('def f():\n    "a"\n    return "a"')
    assert one == digest_of('def f():\n    return "a"')
    assert one != digest_of('def f():\n    "a"\n    return "b"')


def test_lambdas_on_one_line_are_told_apart():
    first, second = (lambda bar: {0: 1.0}), (lambda bar: {0: 0.5})
    again = lambda bar: {0: 1.0}  # noqa: E731
    assert function_digest(first) != function_digest(second)
    assert function_digest(first) == function_digest(again)


def test_code_inside_a_function():
    nested = "def f(bar):\n    return [g(x) for x in bar if (lambda y: y > {0})(x)]"
    assert digest_of(nested.format(1)) != digest_of(nested.format(2))


def test_constants_of_sets_have_no_order():
    source = "def f(bar):\n    return bar.asset in {'a', 'b', 'c', 'd', 'e'}"
    other = source.replace("'a', 'b', 'c'", "'c', 'b', 'a'")
    assert digest_of(source) == digest_of(other)


def test_handlers_and_loops():
    source = """
    def f(bar):
        try:
            for x in bar:
                if x:
                    continue
                return x
        except ValueError:
            return 0
        finally:
            bar.close()
    """
    assert digest_of(source) == digest_of(source.replace("try:", "try:  # now"))
    assert digest_of(source) != digest_of(source.replace("ValueError", "TypeError"))
    assert digest_of(source) != digest_of(source.replace("continue", "break"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (1, 2),
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        (None, False),
        ("a", b"a"),
        ([1, 2], [2, 1]),
        ([1, 2], (1, 2)),
        ([[1], 2], [1, [2]]),
        (["ab", "c"], ["a", "bc"]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1, 2}, {1, 3}),
        ({1}, frozenset({2})),
        (float("nan"), None),
        (math.inf, -math.inf),
        (10**30, 10**30 + 1),
        (date(2020, 1, 1), datetime(2020, 1, 1)),
        (timedelta(1), timedelta(2)),
        (range(3), range(4)),
        (slice(1), slice(2)),
        (np.array([1.0]), np.array([2.0])),
        (np.array([1.0]), np.array([1.0], dtype=np.float32)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.float32(0.1), 0.1),
        (np.datetime64("2020-01-01"), np.datetime64("2020-01-02")),
        (np.array(["a", None], dtype=object), np.array(["b", None], dtype=object)),
        (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[0, 0])),
        (pl.Series("a", [1]), pl.Series("b", [1])),
        (pl.Series([1]), pl.Series([1.0])),
        (pl.Series([None, 1]), pl.Series([0, 1])),
        (pl.Series([None, math.nan]), pl.Series([math.nan, None])),
        (pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})),
        (pl.col("a") + 1, pl.col("a") + 2),
        (pl.lit(pl.Series([1, 2])), pl.lit(pl.Series([1, 3]))),
        (pl.Float64, pl.Float32),
        (pl.Enum(["a", "b"]), pl.Enum(["b", "a"])),
        (math.sqrt, math.exp),
        (np.mean, np.median),
        (np.add, np.subtract),
        (collections.deque([1]), collections.deque([2])),
        (np.random.default_rng(1), np.random.default_rng(2)),
        (random.Random(1), random.Random(2)),
        (Commission(bps=1.0), Commission(bps=2.0)),
        (
            BacktestConfig(schedule=Schedule("month_end")),
            BacktestConfig(schedule="week_end"),
        ),
        (Path("a"), Path("b")),
        (SimpleNamespace(a=1), SimpleNamespace(a=2)),
        (itertools.count(1), itertools.count(2)),
        (list[int], list[float]),
    ],
    ids=itertools.count(),
)
def test_values_and_closures_that_differ(first, second):
    assert value_digest(first) != value_digest(second)

    def holding(value):
        def f(bar):
            return value

        return f

    assert function_digest(holding(first)) != function_digest(holding(second))
    assert function_digest(lambda: 0) != function_digest(holding(first))


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"a": [1, (2.5, None)], "b": {"x", "y", "z"}},
        lambda: np.arange(6.0).reshape(2, 3),
        lambda: pl.DataFrame({"a": [1, None], "b": ["x", "y"]}),
        lambda: pl.col("a").rolling_mean(3).over("s"),
        lambda: [pl.lit(pl.Series([1, 2]))],
        lambda: collections.OrderedDict(a=1),
        lambda: np.random.default_rng(3),
        lambda: BacktestConfig(commission=Commission(bps=5)),
        lambda: SimpleNamespace(a=[1], b=SimpleNamespace(c=np.ones(2))),
        lambda: threading.Lock(),
        lambda: (x for x in [1]),
        lambda: functools.partial(round, ndigits=2),
        lambda: collections.Counter("hello"),
        lambda: float("nan"),
    ],
    ids=lambda make: type(make()).__name__,
)
def test_equal_values_have_one_digest(make):
    assert value_digest(make()) == value_digest(make())


def test_numbers_of_numpy_count_as_those_of_python():
    assert value_digest(np.int64(3)) == value_digest(3)
    assert value_digest(np.float64(0.5)) == value_digest(0.5)
    assert value_digest(np.bool_(True)) == value_digest(True)
    assert value_digest(np.str_("a")) == value_digest("a")


def test_layout_of_an_array_is_no_part():
    array = np.arange(12.0).reshape(3, 4)
    assert value_digest(np.asfortranarray(array)) == value_digest(array)
    assert value_digest(array[::2]) == value_digest(array[::2].copy())
    array.flags.writeable = False
    assert value_digest(array) == value_digest(array.copy())


def test_memory_mapped_array_counts_by_its_values(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(5.0))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert value_digest(mapped) == value_digest(np.arange(5.0))


@pytest.mark.parametrize(
    "series",
    [
        pl.Series([1, 2, None, 4]),
        pl.Series([True, None, False, True]),
        pl.Series(["x", None, "", "yz"]),
        pl.Series(["x", "y", "x", None], dtype=pl.Categorical),
        pl.Series(["x", "y", "x", None], dtype=pl.Enum(["x", "y"])),
        pl.Series([date(2020, 1, 1), None, date(2021, 1, 1), date(2020, 2, 2)]),
        pl.Series([b"a", None, b"", b"bc"]),
        pl.Series([[1], None, [], [2, 3]]),
        pl.Series([[1, 2], None, [3, 4], [5, None]], dtype=pl.Array(pl.Int64, 2)),
        pl.Series([{"a": 1}, None, {"a": 2}, {"a": None}]),
        pl.Series(["1.5", None, "2.5", "3.5"]).cast(pl.Decimal(10, 2)),
        pl.Series([1, None, 3, 2**100], dtype=pl.Int128),
        pl.Series([None, None, None, None]),
        pl.Series([object, None, "a", 1], dtype=pl.Object),
    ],
    ids=lambda series: str(series.dtype),
)
def test_chunks_and_slices_of_a_column_are_no_part(series):
    whole = value_digest(series)
    assert value_digest(series.clone()) == whole
    if series.dtype != pl.Object:
        pieces = pl.concat([series.slice(0, 1), series.slice(1)], rechunk=False)
        assert pieces.n_chunks() == 2
        assert value_digest(pieces) == whole
        padded = pl.concat([series, series]).slice(4)
        assert value_digest(padded) == whole
        assert value_digest(series.reverse()) == whole or series.dtype != pl.Null
        if series.dtype != pl.Null:
            assert value_digest(series.reverse()) != whole
    assert value_digest(series.head(3)) != whole


def test_boundaries_of_lists_and_texts_count():
    assert value_digest(pl.Series([[1], [2, 3]])) != value_digest(
        pl.Series([[1, 2], [3]])
    )
    assert value_digest(pl.Series(["a", "bc"])) != value_digest(pl.Series(["ab", "c"]))


def test_order_of_categories_is_no_part():
    first = pl.Series(["x", "y"], dtype=pl.Categorical)
    pl.Series(["q", "y", "x"], dtype=pl.Categorical)
    second = pl.Series(["q", "y", "x"], dtype=pl.Categorical).tail(2).reverse()
    assert value_digest(first) == value_digest(second)


def test_lazy_frame_counts_by_what_it_yields():
    frame = pl.DataFrame({"a": [1, 2, 3]})
    assert value_digest(frame.lazy().filter(pl.col("a") > 1)) == value_digest(
        frame.tail(2).lazy()
    )


def test_globals_that_are_read():
    source = "def f(bar):\n    return {0: TOP * 0.1}"
    assert digest_of(source, TOP=1) == digest_of(source, TOP=1, other=3)
    assert digest_of(source, TOP=1) != digest_of(source, TOP=2)
    assert digest_of(source) != digest_of(source, TOP=2)
    table = pl.DataFrame({"asset": ["A"], "weight": [1.0]})
    assert digest_of(source, TOP=table) != digest_of(source, TOP=table.head(0))
    assert digest_of(source, TOP=table) == digest_of(source, TOP=table.clone())


def test_global_read_by_an_inner_function_only():
    source = "def f(bar):\n    return [x for x in bar if x > (lambda: N)()]"
    assert digest_of(source, N=1) != digest_of(source, N=2)


def test_helper_that_changed():
    cell = """
    LIMIT = {limit}

    def helper(x):
        return deeper(x) > LIMIT

    def deeper(x):
        return x * {factor}

    def f(bar):
        return {{a: 1.0 for a in bar.assets if helper(a)}}
    """
    first = digest_of(cell.format(limit=1, factor=2))
    assert digest_of(cell.format(limit=1, factor=2)) == first
    assert digest_of(cell.format(limit=1, factor=3)) != first
    assert digest_of(cell.format(limit=2, factor=2)) != first


def test_functions_that_call_each_other():
    cell = """
    def f(n):
        return 1 if n == 0 else g(n - 1)

    def g(n):
        return {0} if n == 0 else f(n - 1)
    """
    assert digest_of(cell.format(0)) == digest_of(cell.format(0))
    assert digest_of(cell.format(0)) != digest_of(cell.format(2))
    assert digest_of(cell.format(0)) != digest_of(cell.format(0), "g")


def test_circle_unrolled_is_the_same_circle():
    # A list that holds itself, and one that holds another that holds the first: no
    # program can tell them apart by walking.
    one: list[object] = [1]
    one.append(one)
    first: list[object] = [1]
    second: list[object] = [1, first]
    first.append(second)
    assert value_digest(one) == value_digest(first) == value_digest(second)
    second[0] = 2
    assert len({value_digest(x) for x in (one, first, second)}) == 3


def test_many_classes_that_know_each_other_take_no_time():
    n = 40
    classes = [
        f"class C{k}:\n    def run(self):\n        return ["
        + ", ".join(f"C{j}" for j in range(n))
        + f", {k}]"
        for k in range(n)
    ]
    cell = "\n".join([*classes, "def f(bar):\n    return C0().run()"])
    first = digest_of(cell)
    assert digest_of(cell) == first
    assert digest_of(cell.replace(", 39]", ", 40]")) != first


def test_shared_object_counts_as_equal_copies():
    shared = [1, 2]
    assert value_digest([shared, shared]) == value_digest([[1, 2], [1, 2]])


def test_deep_nesting_is_no_recursion():
    deep: list[object] = []
    for _ in range(5_000):
        deep = [deep]
    assert value_digest(deep) != value_digest([deep])


def module_of(tmp_path, monkeypatch, name, source):
    path = tmp_path / f"{name}.py"
    path.write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(tmp_path)
    module = ModuleType(name)
    module.__file__ = str(path)
    exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def test_attributes_of_a_module_of_the_user(tmp_path, monkeypatch):
    helpers = module_of(
        tmp_path,
        monkeypatch,
        "barloop_user_helpers",
        """
        LOOKBACK = 20
        UNUSED = 1

        def score(x):
            return x * LOOKBACK
        """,
    )
    read = "def f(bar):\n    return helpers.LOOKBACK"
    call = "def f(bar):\n    return helpers.score(1)"
    before = digest_of(read, helpers=helpers), digest_of(call, helpers=helpers)
    helpers.UNUSED = 2
    assert before == (
        digest_of(read, helpers=helpers),
        digest_of(call, helpers=helpers),
    )
    helpers.LOOKBACK = 60
    after = digest_of(read, helpers=helpers), digest_of(call, helpers=helpers)
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_module_of_the_user_in_a_closure(tmp_path, monkeypatch):
    helpers = module_of(tmp_path, monkeypatch, "barloop_closed_helpers", "A = 1\nB = 1")

    def f(bar):
        return helpers.A

    before = function_digest(f)
    helpers.B = 2
    assert function_digest(f) == before
    helpers.A = 2
    assert function_digest(f) != before


def test_import_inside_a_function(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "barloop_inner_helpers.py"
    path.write_text("def score(x):\n    return x\nOTHER = 1\n")
    whole = "def f(bar):\n    import barloop_inner_helpers as h\n    return h.score(1)"
    named = "def f(bar):\n    from barloop_inner_helpers import score\n    return score"
    try:
        # Not imported yet the first time, imported the second.
        first = digest_of(whole), digest_of(named)
        assert first == (digest_of(whole), digest_of(named))
        module = sys.modules["barloop_inner_helpers"]
        module.OTHER = 2
        assert digest_of(whole) != first[0]
        assert digest_of(named) == first[1]
        module.score = lambda x: 2 * x
        assert digest_of(named) != first[1]
    finally:
        sys.modules.pop("barloop_inner_helpers", None)


def test_import_of_what_is_installed_counts_by_version():
    source = "def f(bar):\n    import numpy as np\n    return np.mean(bar)"
    assert digest_of(source) != digest_of(source.replace("numpy", "numba"))
    missing = "def f(bar):\n    import no_such_module_anywhere"
    assert digest_of(missing) == digest_of(missing)


def test_installed_functions_count_by_name_and_version(monkeypatch):
    source = "def f(bar):\n    return np.linalg.norm(bar)"
    before = digest_of(source, np=np)
    assert before != digest_of(source.replace("linalg.norm", "linalg.det"), np=np)
    from barloop import provenance

    provenance.origin.cache_clear()
    provenance._version.cache_clear()
    monkeypatch.setattr(np, "__version__", "99.0")
    try:
        assert digest_of(source, np=np) != before
    finally:
        monkeypatch.undo()
        provenance.origin.cache_clear()
        provenance._version.cache_clear()
    assert digest_of(source, np=np) == before


def test_version_without_a_version_attribute():
    from barloop.provenance import origin

    assert origin("pluggy_no_such") is None
    assert origin("_pytest.python").startswith("_pytest ")
    assert (
        origin("json")
        == origin("math")
        == f"python {sys.version_info[0]}." + str(sys.version_info[1])
    )
    assert origin("barloop.panel").startswith("barloop ")
    assert origin(__name__) is None


def test_function_wrapped_by_an_installed_decorator():
    def decorated(k):
        @functools.wraps(np.mean)
        def wrapper(bar):
            return bar * k

        return wrapper

    # Its __module__ is numpy, its code is ours.
    assert decorated(1).__module__ == "numpy"
    assert function_digest(decorated(1)) != function_digest(decorated(2))
    cached = [functools.lru_cache(lambda x, k=k: x * k) for k in (1, 1, 2)]
    assert function_digest(cached[0]) == function_digest(cached[1])
    assert function_digest(cached[0]) != function_digest(cached[2])
    before = function_digest(cached[0])
    cached[0](3)
    assert function_digest(cached[0]) == before
    single = [functools.singledispatch(lambda x, k=k: x * k) for k in (1, 2)]
    assert function_digest(single[0]) != function_digest(single[1])


class Momentum:
    """A callable object."""

    scale = 1.0

    def __init__(self, lookback):
        self.lookback = lookback
        self.table = np.ones(3)

    def __call__(self, bar):
        return self.helper(bar) * self.scale

    def helper(self, bar):
        return bar * self.lookback

    @functools.cached_property
    def derived(self):
        return self.lookback * 2


def test_callable_objects():
    before = function_digest(Momentum(20))
    assert before == function_digest(Momentum(20))
    assert before != function_digest(Momentum(60))
    changed = Momentum(20)
    changed.table[1] = 2.0
    assert function_digest(changed) != before
    asked = Momentum(20)
    assert asked.derived == 40
    assert function_digest(asked) == before


def test_class_that_was_edited():
    cell = """
    class Base:
        def helper(self, bar):
            return {0}

    class Momentum(Base):
        __slots__ = ("n",)
        scale = {1}

        def __init__(self, n):
            self.n = n

        @staticmethod
        def one():
            return {2}

        @property
        def two(self):
            return {3}

        def __call__(self, bar):
            return self.helper(bar)

    f = Momentum({4})
    """
    args = [1, 1.0, 2, 3, 4]
    first = digest_of(cell.format(*args))
    assert digest_of(cell.format(*args)) == first
    for place in range(5):
        other = list(args)
        other[place] = 9
        assert digest_of(cell.format(*other)) != first, place


def test_bound_methods_and_partials():
    assert function_digest(Momentum(20).helper) != function_digest(Momentum(60).helper)
    assert function_digest(Momentum(20).helper) == function_digest(Momentum(20).helper)

    def g(a, b, c=1):
        return a, b, c

    bound = functools.partial(g, 1, c=2)
    assert function_digest(bound) == function_digest(functools.partial(g, 1, c=2))
    assert function_digest(bound) != function_digest(functools.partial(g, 2, c=2))
    assert function_digest(bound) != function_digest(functools.partial(g, 1, c=3))
    assert function_digest(functools.partial(g, b=1, c=2)) == function_digest(
        functools.partial(g, c=2, b=1)
    )


def test_dataclasses_and_enums_of_the_user():
    cell = """
    from dataclasses import dataclass, field
    from enum import Enum
    from typing import NamedTuple

    class Side(Enum):
        LONG = {0}
        SHORT = -1

    class Pair(NamedTuple):
        a: int = {1}

    @dataclass(frozen=True, slots=True)
    class Settings:
        n: int = {2}
        names: list = field(default_factory=lambda: [{3}])

    def f(bar):
        return Settings(), Side.LONG, Pair()
    """
    first = digest_of(cell.format(1, 2, 3, 4))
    assert digest_of(cell.format(1, 2, 3, 4)) == first
    for args in ((9, 2, 3, 4), (1, 9, 3, 4), (1, 2, 9, 4), (1, 2, 3, 9)):
        assert digest_of(cell.format(*args)) != first, args


def test_subclasses_of_containers():
    class Names(set):
        pass

    class Weights(dict):
        pass

    class Ratio(float):
        pass

    assert value_digest(Names("abc")) == value_digest(Names("cba"))
    assert value_digest(Names("abc")) != value_digest(Names("abd"))
    assert value_digest(Names("abc")) != value_digest(set("abc"))
    assert value_digest(Weights(a=1)) != value_digest(Weights(a=2))
    assert value_digest(Ratio(1.0)) != value_digest(Ratio(2.0))

    class Colour(enum.IntEnum):
        RED = 1
        BLUE = 2

    assert value_digest(Colour.RED) != value_digest(Colour.BLUE)
    assert value_digest(Colour.RED) != value_digest(1)


@numba.njit
def jitted_helper(x):
    return x + 1.0


@numba.njit(error_model="numpy")
def jitted(bar, params, weights_out):
    weights_out[0] = jitted_helper(bar)
    return True


def test_compiled_functions():
    def remade(factor, **options):
        @numba.njit
        def helper(x):
            return x * factor

        @numba.njit(**options)
        def f(bar, params, weights_out):
            weights_out[0] = helper(bar)
            return True

        return f

    assert function_digest(remade(1.0)) == function_digest(remade(1.0))
    assert function_digest(remade(1.0)) != function_digest(remade(2.0))
    assert function_digest(remade(1.0)) == function_digest(remade(1.0, nogil=True))
    before = function_digest(jitted)
    assert jitted(1.0, 0, np.zeros(1))
    assert function_digest(jitted) == before
    assert "global jitted_helper" in function_digests(jitted)


@pytest.mark.once
def test_options_of_the_compiler_that_change_numbers():
    def remade(**options):
        @numba.njit(**options)
        def f(bar, params, weights_out):
            return True

        return f

    assert function_digest(remade()) != function_digest(remade(fastmath=True))


def test_expression_factory_and_expressions():
    def factory(n):
        return lambda lookback: pl.col("close").rolling_mean(lookback) > n

    assert function_digest(factory(1)) == function_digest(factory(1))
    assert function_digest(factory(1)) != function_digest(factory(2))
    assert function_digest("weight") != function_digest("score")
    assert function_digest(pl.col("weight")) != function_digest(pl.col("score"))


def test_python_function_inside_an_expression():
    def expression(k, above=0):
        source = "\n" * above + "f = lambda s: s * K"
        function = define(source, K=k)
        return pl.col("a").map_batches(function, return_dtype=pl.Float64)

    assert value_digest(expression(1)) == value_digest(expression(1))
    assert value_digest(expression(1)) == value_digest(expression(1, above=400))
    assert value_digest(expression(1)) != value_digest(expression(2))


def test_installed_function_inside_an_expression():
    def expression(n):
        return pl.col("a").map_batches(functools.partial(np.round, decimals=n))

    assert value_digest(expression(1)) == value_digest(expression(1))
    assert value_digest(expression(1)) != value_digest(expression(2))


def test_python_function_in_an_expression_that_cannot_be_written():
    lock = threading.Lock()
    expression = pl.col("a").map_batches(lambda s: (s, lock)[0])
    with pytest.raises(ConfigError, match="Hint: a Python function inside it"):
        value_digest(expression)


def test_panel_in_a_closure():
    def holding(panel):
        return lambda bar: panel.close[0]

    frame = small_frame()
    first = Panel.from_frame(frame)
    second = Panel.from_frame(frame.with_columns(pl.col("close") * 2))
    assert function_digest(holding(first)) != function_digest(holding(second))
    assert function_digest(holding(first)) == function_digest(
        holding(Panel.from_frame(frame))
    )


def test_parts_say_what_changed():
    cell = """
    def helper(x):
        return x * {0}

    def f(bar, n={1}, *, k=2):
        return helper(n) * K
    """
    first = function_digests(define(cell.format(1, 3), K=5))
    assert list(first) == [
        "code",
        "default n",
        "default k",
        "global helper",
        "global K",
    ]
    second = function_digests(define(cell.format(2, 3), K=6))
    assert {k for k in first if first[k] != second[k]} == {"global helper", "global K"}
    third = function_digests(define(cell.format(1, 4), K=5))
    assert {k for k in first if first[k] != third[k]} == {"default n"}
    assert list(function_digests("weight")) == ["value"]


def test_a_list_that_the_function_fills_is_another_list_afterwards():
    seen = []

    def f(bar):
        seen.append(bar)
        return {}

    before = function_digests(f)
    f(1)
    after = function_digests(f)
    assert [name for name in before if before[name] != after[name]] == ["closure seen"]


def test_empty_cell_and_missing_global():
    def outer():
        def f(bar):
            return later

        digest = function_digest(f)
        later = 1
        return digest, function_digest(f)

    before, after = outer()
    assert before != after


def test_set_keys():
    key = set_key("base", {"n": 3, "commission.bps": 10.0})
    assert len(key) == 32
    assert int(key, 16) >= 0
    assert key == set_key("base", {"commission.bps": 10.0, "n": 3})
    others = [
        set_key("other", {"n": 3, "commission.bps": 10.0}),
        set_key("base", {"n": 3, "commission.bps": 10}),
        set_key("base", {"n": 4, "commission.bps": 10.0}),
        set_key("base", {"n": 3}),
        set_key("base", {}),
        set_key("base", {"n": [3]}),
        set_key("base", {"n": pl.col("a")}),
        set_key("base", {"m": 3, "commission.bps": 10.0}),
    ]
    assert len({key, *others}) == 9
    assert set_key("base", {"n": np.arange(3)}) == set_key("base", {"n": np.arange(3)})


SCRIPT = """
import functools, sys
import numpy as np, polars as pl
from datetime import date
from barloop import BacktestConfig, Panel, Schedule
from barloop.digest import function_digest, panel_digest, set_key, value_digest

NAMES = {"x", "y", "z", "w", "v"}
TABLE = {name: len(name) for name in sorted(NAMES)}

class Base:
    tags = frozenset(NAMES)

class Model(Base):
    def __init__(self, n):
        self.n = n
        self.names = set(NAMES)
    def __call__(self, bar):
        return {a: self.n for a in bar.assets if a in {"q", "r", "s"}} | TABLE

def f(bar, n=3, *, names=frozenset(NAMES)):
    return Model(n)(bar) if bar.asset in NAMES else functools.reduce(max, [np.nan])

frame = pl.DataFrame({
    "date": [date(2024, 1, 2), date(2024, 1, 3)] * 2,
    "symbol": ["A", "A", "B", "B"],
    "close": [1.0, 2.0, 3.0, None],
    "sector": pl.Series(["u", "v", "u", None], dtype=pl.Categorical),
})
udf = pl.col("a").map_batches(lambda s: s + len(NAMES), return_dtype=pl.Float64)
print(function_digest(f))
print(function_digest(Model(3)))
print(function_digest(functools.partial(f, n=4)))
print(value_digest(NAMES))
print(value_digest([pl.col("a").rank().over("b"), pl.lit(pl.Series([1.5]))]))
print(value_digest(udf))
print(value_digest(BacktestConfig(schedule=Schedule(pl.col("x") > 1))))
print(value_digest(frame))
print(panel_digest(Panel.from_frame(frame)))
print(set_key("b", {"a": 1, "names": NAMES}))
"""


def test_digests_are_the_same_in_every_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    moved = tmp_path / "other.py"
    moved.write_text("\n# Elsewhere.\n\n" + SCRIPT)
    said = []
    for path, seed in ((script, "1"), (moved, "2")):
        done = subprocess.run(
            [sys.executable, str(path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(done.stdout.split())
    assert len(said[0]) == 10
    assert said[0] == said[1]


def small_frame():
    return pl.DataFrame(
        {
            "date": [date(2024, 1, 2)] * 2 + [date(2024, 1, 3)] * 2,
            "symbol": ["A", "B"] * 2,
            "close": [1.0, 2.0, 3.0, 4.0],
            "volume": [10, 20, None, 40],
            "score": [0.1, None, 0.3, math.nan],
            "sector": ["x", "y", "x", None],
        }
    )


def digest_of_frame(frame, **names):
    return panel_digest(Panel.from_frame(frame, **names))


@pytest.mark.parametrize("n_rows", [4, 3], ids=["complete", "gaps"])
def test_panel_rows_and_columns_in_any_order(n_rows):
    frame = small_frame().head(n_rows)
    before = digest_of_frame(frame)
    for order in itertools.permutations(range(n_rows)):
        assert digest_of_frame(frame[list(order)]) == before
    assert digest_of_frame(frame.select(sorted(frame.columns))) == before


@pytest.mark.parametrize(
    "change",
    [
        pl.col("close") * 2,
        pl.col("close").cast(pl.Float32),
        pl.col("volume").fill_null(0),
        pl.col("volume").cast(pl.Float64),
        pl.col("score").fill_nan(None),
        pl.col("score").fill_nan(0.0),
        pl.col("sector").fill_null("x"),
        pl.col("sector").cast(pl.Categorical),
        pl.col("symbol").cast(pl.Categorical),
        pl.col("symbol").replace("B", "C"),
        pl.col("date").cast(pl.Datetime("us")),
        pl.col("date").dt.offset_by("1d"),
        pl.lit(0.0).alias("more"),
        (pl.col("close") > 0).alias("more"),
    ],
    ids=str,
)
def test_panel_with_other_values(change):
    frame = small_frame()
    for rows in (slice(None), slice(1, None)):
        assert digest_of_frame(frame.with_columns(change)[rows]) != digest_of_frame(
            frame[rows]
        )


def test_panel_with_one_other_value_anywhere():
    frame = small_frame()
    digests = {digest_of_frame(frame)}
    for name in ("close", "volume", "score", "sector"):
        for row in range(frame.height):
            values = frame[name].to_list()
            values[row] = "q" if name == "sector" else 7
            changed = frame.with_columns(
                pl.Series(name, values, dtype=frame[name].dtype)
            )
            digests.add(digest_of_frame(changed))
            shuffled = changed[[2, 0, 3, 1]]
            assert digest_of_frame(shuffled) in digests
    assert len(digests) == 17


def test_panel_with_other_names():
    frame = small_frame()
    renamed = [
        frame.rename({"score": "rank"}),
        frame.rename({"date": "timestamp"}),
        frame.rename({"symbol": "asset"}),
        frame.rename({"close": "Close"}),
        frame.drop("score"),
        frame.rename({"score": "volume", "volume": "score"}),
    ]
    assert len({digest_of_frame(one) for one in [frame, *renamed]}) == 7


def test_panel_with_rows_moved_to_other_cells():
    frame = small_frame()
    gap_at_end, gap_inside = frame[[0, 1, 2]], frame[[0, 2, 3]]
    assert digest_of_frame(gap_at_end) != digest_of_frame(gap_inside)


def test_truncated_panel():
    frame = small_frame()
    panel = Panel.from_frame(frame)
    short = panel.truncate(1)
    assert panel_digest(short) != panel_digest(panel)
    assert panel_digest(short) != digest_of_frame(frame.head(2))
    shuffled = Panel.from_frame(frame[[3, 1, 0, 2]]).truncate(1)
    assert panel_digest(shuffled) == panel_digest(short)
    later = frame.with_columns(
        pl.when(pl.col("date") > date(2024, 1, 2))
        .then(9.0)
        .otherwise("close")
        .alias("close")
    )
    # What was cut off is no part of it, but that it was there is.
    assert panel_digest(Panel.from_frame(later).truncate(1)) == panel_digest(short)


def test_panel_of_chunks():
    frame = small_frame()
    chunked = pl.concat([frame.head(1), frame.slice(1)], rechunk=False)
    assert digest_of_frame(chunked) == digest_of_frame(frame)


def test_threads_change_nothing(monkeypatch):
    from barloop import threads

    frame = small_frame()
    before = digest_of_frame(frame)
    monkeypatch.setattr(threads, "PARALLEL_FROM", 0)
    monkeypatch.setattr(threads, "N_THREADS", 4)
    assert digest_of_frame(frame) == before
