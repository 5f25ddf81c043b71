"""Recipes give the decisions of polars, and sets of a sweep share the work."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import barloop as bl
import oracle_selection as oracle
from barloop import jitted
from barloop.engine import prepare
from barloop.errors import WeightsError
from barloop.panel import Panel
from barloop.ranking import weight_rows
from barloop.recipes import Column, EqualWeight, Momentum, Opaque, TopN, recipe_of
from barloop.weight_rows import pack
from barloop.work_memory import SharedWork

DAY = date(2024, 1, 1)
NAMES = ("AA", "B", "C1", "Zed", "ba", "é")
CLOSES = (10.0, 10.0, 11.0, 12.1, 9.0, 0.1, 7.3)
SCORES = (
    *(1.0, 1.0, 2.0, -3.5, 0.0, -0.0, 5e-324, 1e308, -1e308),
    *(math.inf, -math.inf, math.nan, None),
)
CONFIG = bl.BacktestConfig(
    execution=bl.Execution(fill="next_close"),
    limits=bl.Limits(allow_short=True, max_gross=100.0),
    bars_per_year=252,
)


@dataclass
class World:
    """Cells with rows: close, score and flag of each."""

    n_bars: int
    n_assets: int
    close: dict[tuple[int, int], float | None]
    score: dict[tuple[int, int], float | None]
    flag: dict[tuple[int, int], bool | None]

    def frame(self) -> pl.DataFrame:
        cells = sorted(self.close)
        return pl.DataFrame(
            {
                "date": [DAY + timedelta(days=t) for t, _ in cells],
                "symbol": [NAMES[i] for _, i in cells],
                "close": [self.close[cell] for cell in cells],
                "score": [self.score[cell] for cell in cells],
                "flag": [self.flag[cell] for cell in cells],
            },
            schema_overrides={
                "close": pl.Float64,
                "score": pl.Float64,
                "flag": pl.Boolean,
            },
        )

    def dense(self, values: Any) -> np.ndarray:
        """Return values as an array, NaN for None and where there is no row."""
        out = np.full((self.n_bars, self.n_assets), np.nan)
        for cell, value in values.items():
            out[cell] = np.nan if value is None else value
        return out


@st.composite
def worlds(draw, *, gaps: bool = True) -> World:
    n_bars, n_assets = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    cells = [(t, i) for t in range(n_bars) for i in range(n_assets)]
    listed = {
        i: sorted(draw(st.tuples(st.integers(0, n_bars), st.integers(0, n_bars))))
        for i in range(1, n_assets)
    }
    listed[0] = [0, n_bars]
    states = ["bar"] * 6 + ["null", "nan"] + (["absent"] * 2 if gaps else [])
    world = World(n_bars, n_assets, {}, {}, {})
    for cell in cells:
        t, i = cell
        state = draw(st.sampled_from(states)) if cell != (0, 0) else "bar"
        first, stop = listed[i]
        if not first <= t < stop or (state == "absent" and i > 0):
            continue
        price = draw(st.sampled_from(CLOSES))
        world.close[cell] = {"null": None, "nan": math.nan}.get(state, price)
        world.score[cell] = draw(st.sampled_from(SCORES))
        world.flag[cell] = draw(st.sampled_from([True, True, False, None]))
    return world


# A score, a choice, or weights as (expression, oracle, array of a bar, jitted of one);
# the last two take the world and t.
SCORE_KINDS = ("momentum", "mean", "volatility", "score", "opaque", "opaque source")


def score_of(kind: str, n: int, skip: int) -> Any:
    by = {"by": "symbol"}
    if kind == "momentum":
        lookback = max(n, skip + 1)
        return (
            bl.momentum("close", lookback, skip=skip, **by),
            lambda w: oracle.momentum(w.close, lookback, skip),
            lambda w, t: bl.momentum(past(w.close, w, t), lookback, skip=skip),
            lambda w, t: jitted.momentum(past(w.close, w, t), lookback, skip),
        )
    if kind == "mean":
        return (
            bl.mean("score", n, **by),
            lambda w: oracle.mean(w.score, n),
            lambda w, t: bl.mean(past(w.score, w, t), n),
            lambda w, t: jitted.mean(past(w.score, w, t), n),
        )
    if kind == "volatility":
        return (
            bl.volatility(pl.col("close"), n + 1, **by),
            lambda w: oracle.volatility(w.close, n + 1),
            lambda w, t: bl.volatility(past(w.close, w, t), n + 1),
            lambda w, t: jitted.volatility(past(w.close, w, t), n + 1),
        )
    if kind == "score":
        return (
            "score",
            lambda w: w.score,
            lambda w, t: past(w.score, w, t)[-1],
            lambda w, t: past(w.score, w, t)[-1],
        )
    if kind == "opaque":
        half = {"fill_value": None}
        return (
            pl.col("score").shift(1, **half).over("symbol") * 0.5,
            lambda w: {
                cell: None if len(rows) < 2 or rows[-2] is None else rows[-2] * 0.5
                for cell in w.score
                for rows in [oracle.rows_of(w.score, cell)]
            },
            None,
            None,
        )
    return (
        bl.momentum(pl.col("close") * pl.col("score"), n, **by),
        lambda w: oracle.momentum(product(w), n),
        lambda w, t: bl.momentum(past(product(w), w, t), n),
        lambda w, t: jitted.momentum(past(product(w), w, t), n),
    )


def product(world: World) -> Any:
    return {
        cell: None if None in (close, world.score[cell]) else close * world.score[cell]
        for cell, close in world.close.items()
    }


def past(values: Any, world: World, t: int) -> np.ndarray:
    history = np.ascontiguousarray(world.dense(values)[: t + 1])
    history.flags.writeable = False
    return history


def choice_of(kind: str, score: Any, n: int) -> Any:
    if kind == "flag":
        return (
            "flag",
            lambda w: w.flag,
            lambda w, t: past(w.flag, w, t)[-1] == 1.0,
            lambda w, t: past(w.flag, w, t)[-1] == 1.0,
        )
    if kind == "not flag":
        return (
            pl.col("flag").not_(),
            lambda w: {c: None if x is None else not x for c, x in w.flag.items()},
            lambda w, t: past(w.flag, w, t)[-1] == 0.0,
            lambda w, t: past(w.flag, w, t)[-1] == 0.0,
        )
    best = kind == "top"
    expression, reference, array, compiled = score
    choose, choose_jitted = (
        (bl.top_n, jitted.top_n) if best else (bl.bottom_n, jitted.bottom_n)
    )
    return (
        choose(expression, n, over="date"),
        lambda w: oracle.choose(reference(w), n, highest=best),
        array and (lambda w, t: choose(array(w, t), n)),
        compiled and (lambda w, t: choose_jitted(compiled(w, t), n)),
    )


def both(*forms: Any) -> bool:
    return all(form is not None for form in forms)


def weights_of(kind: str, score: Any, choice: Any, other: Any, gross: float) -> Any:
    over = {"over": "date"}

    def written(function: Any, *inputs: Any) -> Any:
        if not both(*inputs):
            return None

        def write(w: World, t: int) -> np.ndarray:
            out = np.full(w.n_assets, 7.0)
            function(*(one(w, t) for one in inputs), out, gross)
            return out

        return write

    if kind == "equal":
        return (
            bl.equal_weight(choice[0], gross=gross, **over),
            lambda w: oracle.equal_weight(choice[1](w), gross),
            choice[2] and (lambda w, t: bl.equal_weight(choice[2](w, t), gross=gross)),
            written(jitted.equal_weight, choice[3]),
        )
    if kind == "rank all":
        return (
            bl.rank_weights(score[0], gross=gross, **over),
            lambda w: oracle.rank_weights(score[1](w), None, gross),
            score[2] and (lambda w, t: bl.rank_weights(score[2](w, t), gross=gross)),
            written(
                jitted.rank_weights,
                score[3],
                lambda w, t: np.ones(w.n_assets, dtype=np.bool_),
            ),
        )
    if kind == "rank":
        return (
            bl.rank_weights(score[0], chosen=choice[0], gross=gross, **over),
            lambda w: oracle.rank_weights(score[1](w), choice[1](w), gross),
            both(score[2], choice[2])
            and (
                lambda w, t: bl.rank_weights(
                    score[2](w, t), chosen=choice[2](w, t), gross=gross
                )
            ),
            written(jitted.rank_weights, score[3], choice[3]),
        )
    if kind == "inverse":
        return (
            bl.inverse_volatility(choice[0], score[0], gross=gross, **over),
            lambda w: oracle.inverse_volatility(choice[1](w), score[1](w), gross),
            both(score[2], choice[2])
            and (
                lambda w, t: bl.inverse_volatility(
                    choice[2](w, t), score[2](w, t), gross=gross
                )
            ),
            written(jitted.inverse_volatility, choice[3], score[3]),
        )
    sides = {"long_gross": gross, "short_gross": 0.7}
    return (
        bl.long_short(choice[0], other[0], **sides, **over),
        lambda w: oracle.long_short(choice[1](w), other[1](w), gross, 0.7),
        both(choice[2], other[2])
        and (lambda w, t: bl.long_short(choice[2](w, t), other[2](w, t), **sides)),
        written(
            lambda long, short, out, gross: jitted.long_short(
                long, short, out, gross, 0.7
            ),
            choice[3],
            other[3],
        ),
    )


@st.composite
def strategies(draw) -> Any:
    def score() -> Any:
        kind = draw(st.sampled_from(SCORE_KINDS))
        return score_of(kind, draw(st.integers(1, 4)), draw(st.integers(0, 2)))

    def choice(one: Any) -> Any:
        kind = draw(st.sampled_from(["top", "top", "bottom", "flag", "not flag"]))
        return choice_of(kind, one, draw(st.integers(1, 7)))

    kind = draw(st.sampled_from(["equal", "rank all", "rank", "inverse", "long short"]))
    first = score()
    second = first if draw(st.booleans()) else score()
    gross = draw(st.sampled_from([1.0, 0.5, 0.0, 0.3]))
    return weights_of(kind, second, choice(first), choice(first), gross)


def bits(values: np.ndarray) -> bytes:
    # Zeros of either sign are the same weight.
    return (np.ascontiguousarray(values, dtype=np.float64) + 0.0).tobytes()


def decisions_of(rows: Any, panel: Panel, is_rebalance: np.ndarray) -> list[bytes]:
    packed = pack(rows, panel, is_rebalance, CONFIG.limits)
    n = int(packed.start[-1])
    arrays = (packed.kind, packed.start, packed.asset[:n], packed.weight[:n])
    assert packed.n_unread == 0
    return [array.tobytes() for array in arrays]


@given(worlds(), strategies(), st.integers(1, 3))
def test_recipes_decide_what_polars_and_plain_python_decide(world, strategy, every):
    expression, reference, *_ = strategy
    frame = world.frame()
    panel = Panel.from_frame(frame)
    n_bars = panel.n_bars
    is_rebalance = np.arange(n_bars) % every == 0
    rows = weight_rows(recipe_of(expression), panel, np.flatnonzero(is_rebalance))
    assert rows is not None
    config = CONFIG.replace({"schedule": every})
    # An alias is an expression without a recipe.
    by_polars = prepare(frame, expression.alias("x"), config=config).decisions
    n = int(by_polars.start[-1])
    expected = [
        by_polars.kind.tobytes(),
        by_polars.start.tobytes(),
        by_polars.asset[:n].tobytes(),
        by_polars.weight[:n].tobytes(),
    ]
    assert decisions_of(rows, panel, is_rebalance) == expected
    # What is not there is not named: its column of the panel is.
    bar_of = {t: k for k, t in enumerate(sorted({t for t, _ in world.close}))}
    column_of = {i: k for k, i in enumerate(sorted({i for _, i in world.close}))}
    slow = reference(world)
    pairs = [
        (bar_of[t], column_of[i], slow[t, i])
        for t, i in sorted(slow)
        if is_rebalance[bar_of[t]] and abs(slow[t, i] or 0.0) > 1e-12
    ]
    named = {bar_of[t] for (t, _), weight in slow.items() if weight is not None}
    assert by_polars.asset[:n].tolist() == [i for _, i, _ in pairs]
    assert by_polars.weight[:n].tolist() == [weight for *_, weight in pairs]
    assert np.diff(by_polars.start).tolist() == [
        sum(1 for t, *_ in pairs if t == bar) for bar in range(n_bars)
    ]
    assert (by_polars.kind != 0).tolist() == [
        bool(is_rebalance[t]) and t in named for t in range(n_bars)
    ]


@given(worlds(gaps=False), strategies())
def test_expressions_arrays_and_compiled_functions_give_the_same_bits(world, strategy):
    expression, _, array, compiled = strategy
    frame = world.frame()
    weights = frame.select(expression.alias("x")).to_series().fill_null(0.0)
    cells = dict(zip(sorted(world.close), weights, strict=True))
    by_polars = np.nan_to_num(world.dense(cells))
    if not both(array, compiled):
        return
    for t in range(world.n_bars):
        assert bits(array(world, t)) == bits(by_polars[t])
        assert bits(compiled(world, t)) == bits(by_polars[t])


@given(worlds(), st.sampled_from(SCORE_KINDS), st.integers(1, 4), st.integers(0, 2))
def test_scores_are_those_of_plain_python(world, kind, n, skip):
    expression, reference, *_ = score_of(kind, n, skip)
    expression = pl.col(expression) if isinstance(expression, str) else expression
    frame = world.frame().sample(fraction=1.0, shuffle=True, seed=1).sort("date")
    made = frame.select("date", "symbol", x=expression.fill_nan(None)).rows()
    found = {((day - DAY).days, NAMES.index(name)): x for day, name, x in made}
    expected = {
        cell: None if x is None or math.isnan(x) else x
        for cell, x in reference(world).items()
    }
    assert found == expected


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    """120 bars of 300 assets with ties, as a complete frame."""
    bars = bl.datasets.simulate_bars(300, 120, seed=3)
    return bars.with_columns(
        tied=pl.col("close").round(0), even=pl.col("volume").cast(pl.Int64) % 2 == 0
    )


def strategy(lookback: int, n: int) -> pl.Expr:
    return bl.equal_weight(bl.top_n(bl.momentum("close", lookback), n))


def test_an_expression_says_what_it_computes():
    expected = EqualWeight(
        TopN(Momentum(Column("close"), 126, 0, "asset"), 25, "timestamp"),
        1.0,
        "timestamp",
    )
    assert recipe_of(strategy(126, 25)) == expected
    assert hash(recipe_of(strategy(126, 25))) == hash(expected)
    by_expression = bl.equal_weight(bl.top_n(bl.momentum(pl.col("close"), 126), 25))
    assert recipe_of(by_expression) == expected


def test_arithmetic_loses_the_recipe():
    for changed in (
        strategy(126, 25) * 1.0,
        strategy(126, 25).alias("x"),
        pl.when(pl.col("close") > 0).then(strategy(126, 25)),
    ):
        assert recipe_of(changed) is None
    assert recipe_of("close") is None
    assert recipe_of(None) is None


def test_expressions_written_the_same_are_one_leaf():
    one, two, other = (Opaque(pl.col("close").log() * x) for x in (2.0, 2.0, 3.0))
    assert one == two
    assert hash(one) == hash(two)
    assert one != other
    assert one != "close"


def test_what_cannot_be_written_is_itself_only():
    lock = threading.Lock()

    def locked(values: pl.Series) -> pl.Series:
        with lock:
            return values

    expressions = [
        pl.col("close").map_batches(locked, return_dtype=pl.Float64) for _ in "12"
    ]
    one, two = map(Opaque, expressions)
    assert one != two
    assert one == Opaque(expressions[0])


@pytest.mark.parametrize("n", [1, 63, 64, 65, 129, 256, 257, 299, 300, 500])
@pytest.mark.parametrize("choose", [bl.top_n, bl.bottom_n])
def test_orders_of_every_depth(frame, n, choose):
    panel = Panel.from_frame(frame)
    bars = np.arange(panel.n_bars)
    everywhere = np.ones(panel.n_bars, dtype=np.bool_)
    work = SharedWork(panel)
    expression = bl.equal_weight(choose("tied", n))
    rows = weight_rows(recipe_of(expression), panel, bars, work)
    dense = frame.select(expression.alias("x"))["x"].to_numpy()
    expected = prepare(
        frame,
        pl.Series("x", dense)
        .to_frame()
        .select("x")
        .pipe(lambda made: frame.select("timestamp", "asset", weight=made["x"])),
        config=CONFIG,
    ).decisions
    n_pairs = int(expected.start[-1])
    found = decisions_of(rows, panel, everywhere)
    assert found[2] == expected.asset[:n_pairs].tobytes()
    assert found[3] == expected.weight[:n_pairs].tobytes()
    assert rows.weight.size == panel.n_bars * min(n, 300)


def test_a_recipe_is_left_to_polars_where_it_does_not_fit(frame):
    panel = Panel.from_frame(frame.with_columns(text=pl.lit("1.5")))
    bars = np.arange(panel.n_bars)
    top = bl.top_n("close", 5)
    for expression in (
        bl.equal_weight(top, over="asset"),
        bl.equal_weight(bl.top_n("close", 5, over="date")),
        bl.equal_weight(bl.top_n(bl.momentum("close", 5, by="symbol"), 5)),
        bl.equal_weight("close"),
        bl.equal_weight(pl.col("close")),
        bl.equal_weight("nothing"),
        bl.equal_weight(pl.col("even").first()),
        bl.equal_weight(bl.top_n("text", 5)),
        bl.equal_weight(bl.top_n(pl.col("nothing"), 5)),
        bl.equal_weight(bl.top_n(pl.col("nothing") * 2, 5)),
        bl.inverse_volatility(top, bl.mean(pl.col("text") + "a", 2)),
        bl.rank_weights("close", gross=1e308),
        bl.momentum("close", 5),
        top,
    ):
        assert recipe_of(expression) is not None
        assert weight_rows(recipe_of(expression), panel, bars) is None
    assert weight_rows(None, panel, bars) is None


@pytest.mark.parametrize(
    "expression",
    [
        bl.equal_weight(bl.top_n("close", 5, over="date"), over="date"),
        bl.equal_weight(bl.top_n(bl.momentum("close", 5, by="symbol"), 5)),
        bl.equal_weight(bl.top_n("nothing", 5)),
        bl.equal_weight(pl.col("close")),
        bl.equal_weight(bl.top_n("close", 5), gross=2.0),
        bl.long_short(bl.top_n("close", 5), bl.bottom_n("close", 5)),
    ],
)
def test_errors_are_those_of_polars(frame, expression):
    messages = []
    for weights in (expression, expression.alias("weight")):
        with pytest.raises(WeightsError) as caught:
            bl.run_backtest(frame, weights)
        messages.append(str(caught.value).split("\n\n")[0].split(" in 'close'")[0])
    assert messages[0] == messages[1]


def test_work_of_another_panel_is_refused(frame):
    panel, other = Panel.from_frame(frame), Panel.from_frame(frame)
    recipe = recipe_of(strategy(10, 5))
    with pytest.raises(ValueError, match="belongs to another panel"):
        weight_rows(recipe, panel, np.arange(5), SharedWork(other))


def test_rows_are_read_only_and_the_same_for_equal_recipes(frame):
    panel = Panel.from_frame(frame)
    work, bars = SharedWork(panel), np.arange(20, 120, 10)
    rows = weight_rows(recipe_of(strategy(10, 5)), panel, bars, work)
    assert weight_rows(recipe_of(strategy(10, 5)), panel, bars.copy(), work) is rows
    for array in (rows.row_start, rows.asset, rows.weight):
        assert not array.flags.writeable
    assert weight_rows(recipe_of(strategy(10, 5)), panel, bars[1:], work) is not rows


def test_no_row_stands_on_other_bars(frame):
    panel = Panel.from_frame(frame)
    bars = np.array([3, 50, 119])
    rows = weight_rows(recipe_of(strategy(10, 5)), panel, bars)
    # Bar 3 has no momentum of 10 bars, so no decision.
    assert np.flatnonzero(np.diff(rows.row_start)).tolist() == [50, 119]
    nothing = weight_rows(recipe_of(strategy(10, 5)), panel, bars[:1])
    assert nothing.row_start.tolist() == [0] * 121
    # Not empty, which would stand for dense rows.
    assert nothing.asset.size == 1
    none = weight_rows(recipe_of(strategy(10, 5)), panel, bars[:0])
    assert none.row_start.tolist() == [0] * 121


def test_a_truncated_panel_is_a_shorter_one(frame):
    gapped = frame.filter(pl.Series(np.random.default_rng(1).random(36_000) < 0.9))
    shuffled = gapped.sample(fraction=1.0, shuffle=True, seed=2)
    for data in (frame, gapped, shuffled):
        whole = Panel.from_frame(data)
        short = whole.truncate(60)
        again = Panel.from_frame(
            data.filter(pl.col("timestamp").is_in(short.timestamps.implode()))
        )
        for expression in (
            strategy(20, 7),
            bl.rank_weights(bl.volatility("close", 15)),
            bl.equal_weight(bl.top_n(bl.mean(pl.col("close").log(), 9), 3)),
        ):
            recipe = recipe_of(expression)
            one, two = (
                weight_rows(recipe, panel, np.arange(60)) for panel in (short, again)
            )
            assert one.weight.tobytes() == two.weight.tobytes()
            assert one.asset.tolist() == two.asset.tolist()
            assert one.row_start.tolist() == two.row_start.tolist()


def test_sets_that_differ_in_n_share_the_order(frame):
    panel = Panel.from_frame(frame)
    work, bars = SharedWork(panel), np.arange(20, 120, 10)
    for n in range(1, 31):
        weight_rows(recipe_of(strategy(10, n)), panel, bars, work)
    # Gaps, momentum, its order, and 30 times rows.
    assert work.n_made == 33
    for n in range(1, 31):
        weight_rows(recipe_of(strategy(10, n)), panel, bars, work)
    assert work.n_made == 33


def test_an_expression_is_evaluated_once(frame):
    panel = Panel.from_frame(frame)
    calls = []

    def counted(values: pl.Series) -> pl.Series:
        calls.append(len(values))
        return values

    score = pl.col("close").map_batches(counted, return_dtype=pl.Float64)
    work, bars = SharedWork(panel), np.arange(20, 120, 10)
    for n in range(1, 6):
        weights = bl.equal_weight(bl.top_n(score, n))
        weight_rows(recipe_of(weights), panel, bars, work)
        weights = bl.equal_weight(bl.bottom_n(bl.momentum(score, n), n))
        weight_rows(recipe_of(weights), panel, bars, work)
    # Once on these bars as a score, and once on all as the source of momentum.
    assert calls == [panel.frame.height] * 2


def test_an_expression_written_again_is_evaluated_once(frame):
    panel = Panel.from_frame(frame)
    work, bars = SharedWork(panel), np.arange(20, 120, 10)
    for n in range(1, 6):
        score = pl.col("close").rolling_mean(5).over("asset") / pl.col("close")
        weights = bl.equal_weight(bl.top_n(score, n))
        weight_rows(recipe_of(weights), panel, bars, work)
    # The score, its order, and 5 times rows.
    assert work.n_made == 7


def test_threads_compute_each_part_once(frame):
    panel = Panel.from_frame(frame)
    work, bars = SharedWork(panel), np.arange(20, 120, 5)
    sets = [(lookback, n) for lookback in range(5, 15) for n in range(1, 11)] * 2
    barrier = threading.Barrier(4)

    def run(part: int) -> list[bytes]:
        barrier.wait()
        return [
            weight_rows(recipe_of(strategy(*one)), panel, bars, work).weight.tobytes()
            for one in (sets[part:] + sets[:part])
        ]

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(run, range(4)))
    alone = [
        weight_rows(recipe_of(strategy(*one)), panel, bars).weight.tobytes()
        for one in sets
    ]
    for part, one in enumerate(made):
        assert one == alone[part:] + alone[:part]
    assert work.n_made == 1 + 10 + 10 + 100


def test_one_thread_makes_while_others_wait(frame):
    work = SharedWork(Panel.from_frame(frame))
    started, go_on = threading.Event(), threading.Event()
    calls = []

    def make() -> np.ndarray:
        calls.append(1)
        started.set()
        assert go_on.wait(10)
        return np.arange(3)

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(work.get, "key", make)
        assert started.wait(10)
        others = [pool.submit(work.get, "key", make) for _ in range(2)]
        # Another key does not wait.
        assert work.get("other", lambda: 5) == 5
        go_on.set()
        found = [one.result(10) for one in (first, *others)]
    assert calls == [1]
    assert all(one is found[0] for one in found)


def test_what_raises_is_not_kept(frame):
    work = SharedWork(Panel.from_frame(frame))

    def fail() -> None:
        raise KeyError("no")

    for _ in range(2):
        with pytest.raises(KeyError):
            work.get("key", fail)
    assert work.get("key", lambda: 3) == 3
    assert work.get("key", fail) == 3


def test_memory_is_bounded(frame):
    panel = Panel.from_frame(frame)
    work, bars = SharedWork(panel, max_bytes=100_000), np.arange(20, 120, 5)
    for lookback in range(2, 20):
        for n in (3, 30):
            weight_rows(recipe_of(strategy(lookback, n)), panel, bars, work)
            assert work.n_bytes <= 100_000
    assert work.n_bytes > 30_000


def test_the_oldest_goes_first_and_what_is_too_large_is_not_kept(frame):
    work = SharedWork(Panel.from_frame(frame), max_bytes=100)

    def make(n: int) -> Any:
        return lambda: np.zeros(n, dtype=np.int8)

    work.get("a", make(40))
    work.get("b", make(40))
    work.get("a", make(40))
    work.get("c", make(40))
    # "b" was used longest ago.
    assert (work.n_made, work.n_found, work.n_bytes) == (3, 1, 80)
    work.get("a", make(40))
    assert work.n_made == 3
    work.get("b", make(40))
    assert work.n_made == 4
    work.get("large", make(101))
    work.get("large", make(101))
    assert (work.n_made, work.n_bytes) == (6, 80)
    work.use_last("b")
    work.get("d", make(30))
    work.get("a", make(40))
    assert work.n_made == 7


def test_a_score_goes_before_its_order(frame):
    panel = Panel.from_frame(frame)
    bars = np.arange(20, 120)
    # Room for the momentum of one lookback, 240 kB, and some orders of 51 kB.
    work = SharedWork(panel, max_bytes=400_000)
    for lookback in range(3, 6):
        weight_rows(recipe_of(strategy(lookback, 5)), panel, bars, work)
    made = work.n_made
    for lookback in range(3, 6):
        weight_rows(recipe_of(strategy(lookback, 6)), panel, bars, work)
    assert work.n_made == made + 3


def test_a_sweep_of_n_beyond_the_depth_makes_the_order_again_once(frame):
    panel = Panel.from_frame(frame)
    work, bars = SharedWork(panel), np.arange(20, 120, 10)
    for lookback in (5, 6, 7):
        for n in (10, 100, 20, 90):
            weight_rows(recipe_of(strategy(lookback, n)), panel, bars, work)
    # Gaps; momentum and order of 3 lookbacks, one order twice; 12 times rows.
    assert work.n_made == 1 + 3 + 4 + 12
