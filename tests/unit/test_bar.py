"""What a callback sees of a bar: nothing after it, and nothing it could break."""

from __future__ import annotations

import copy
import datetime as dt
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

import barloop as bl
from barloop.errors import BarloopError, SimulationError, UnknownNameError

DAYS = [dt.date(2024, 1, 29) + dt.timedelta(days=k) for k in range(5)]
NAN = float("nan")

near = functools.partial(pytest.approx, rel=1e-12)

# A has no bar on day 2; B is listed on day 1.  One row per bar, columns A and B.
OPEN = np.array([[10.0, NAN], [11.0, 20.0], [NAN, 21.0], [13.0, 22.0], [14.0, 23.0]])
CLOSE = OPEN + 0.5
SCORE = np.array([[1.0, NAN], [2.0, 5.0], [NAN, 6.0], [3.0, NAN], [4.0, 8.0]])


def data() -> pl.DataFrame:
    """The arrays above as long rows, the latest first, with a text column besides."""
    rows = [
        {
            "date": day,
            "symbol": asset,
            "open": float(OPEN[t, i]),
            "high": float(OPEN[t, i]) + 1.0,
            "low": float(OPEN[t, i]) - 1.0,
            "close": float(CLOSE[t, i]),
            "volume": 100 * (t + 1),
            "score": None if np.isnan(SCORE[t, i]) else float(SCORE[t, i]),
            "is_member": t % 2 == i,
            "sector": "X",
        }
        for t, day in enumerate(DAYS)
        for i, asset in enumerate("AB")
        if not np.isnan(OPEN[t, i])
    ]
    return pl.DataFrame(rows).reverse()


def look(
    see: Callable[[bl.Bar], Any],
    says: dict[int, Any] | None = None,
    df: pl.DataFrame | None = None,
    **settings: Any,
) -> list[Any]:
    """Run and return what `see` made of each bar."""
    seen = []

    def weights(bar: bl.Bar) -> Any:
        seen.append(see(bar))
        return (says or {}).get(bar.t)

    settings.setdefault("initial_cash", 1_000.0)
    bl.run_backtest(data() if df is None else df, weights, **settings)
    return seen


def message(
    see: Callable[[bl.Bar], Any], error: type[Exception], **settings: Any
) -> str:
    """Return what is raised by `see` inside of a run."""
    with pytest.raises(error) as caught:
        look(see, **settings)
    return str(caught.value)


def quotes(close: list[float], opens: list[float] | None = None) -> pl.DataFrame:
    """One asset A."""
    opens = close if opens is None else opens
    n_bars = len(close)
    return pl.DataFrame(
        {"date": DAYS[:n_bars], "symbol": ["A"] * n_bars, "open": opens, "close": close}
    )


def same(seen: list[Any], expected: Any) -> None:
    """Compare arrays of all bars, NaN equal to NaN."""
    np.testing.assert_array_equal(np.array(seen), np.array(expected))


# --- this bar -------------------------------------------------------------------------


def test_prices_of_the_bar_by_name():
    same(look(lambda bar: bar.close.copy()), CLOSE)
    same(look(lambda bar: bar.open.copy()), OPEN)
    same(look(lambda bar: bar.high.copy()), OPEN + 1.0)
    same(look(lambda bar: bar.low.copy()), OPEN - 1.0)


def test_volume_of_the_bar_as_floats():
    volume = np.where(np.isnan(OPEN), NAN, 100.0 * np.arange(1, 6)[:, None])
    same(look(lambda bar: bar.volume.copy()), volume)


def test_features_of_the_bar_by_name():
    same(look(lambda bar: bar.score.copy()), SCORE)


def test_boolean_features_are_ones_and_zeros():
    member = np.arange(5)[:, None] % 2 == np.arange(2)
    expected = np.where(np.isnan(OPEN), NAN, member.astype(float))
    same(look(lambda bar: bar.is_member.copy()), expected)


def test_arrays_are_float64_of_n_assets():
    for array in look(lambda bar: bar.score):
        assert array.dtype == np.float64
        assert array.shape == (2,)


def test_assets_timestamp_and_number():
    seen = look(lambda bar: (bar.t, bar.timestamp, bar.assets))
    assert seen == [(t, day, ("A", "B")) for t, day in enumerate(DAYS)]


def test_repr_names_the_bar():
    assert look(repr)[1] == "Bar(t=1, timestamp=2024-01-30)"


def test_timestamp_keeps_its_zone():
    zone = pl.Datetime("us", "America/New_York")
    df = quotes([10.0]).with_columns(pl.lit(dt.datetime(2024, 1, 29, 21)).alias("date"))
    df = df.with_columns(
        pl.col("date").dt.replace_time_zone("UTC").cast(zone),
    )
    (stamp,) = look(lambda bar: bar.timestamp, df=df)
    assert stamp == dt.datetime(2024, 1, 29, 21, tzinfo=dt.UTC)
    assert str(stamp.tzinfo) == "America/New_York"


def test_assets_are_the_users_own_values():
    df = pl.concat(
        quotes([10.0]).with_columns(symbol=pl.lit(number)) for number in (30, 4)
    )
    assert look(lambda bar: bar.assets, df=df) == [(4, 30)]


# --- the past -------------------------------------------------------------------------


def test_history_reaches_up_to_and_including_the_bar():
    for t, history in enumerate(look(lambda bar: bar.history.close)):
        np.testing.assert_array_equal(history, CLOSE[: t + 1])
    for t, history in enumerate(look(lambda bar: bar.history.score)):
        np.testing.assert_array_equal(history, SCORE[: t + 1])


def test_last_rows_of_history():
    def see(bar: bl.Bar) -> np.ndarray | None:
        return bar.history("close", 3) if bar.t >= 2 else None

    seen = look(see)
    assert seen[:2] == [None, None]
    for t in (2, 3, 4):
        np.testing.assert_array_equal(seen[t], CLOSE[t - 2 : t + 1])


def test_last_row_of_history_is_the_bar():
    for t, history in enumerate(look(lambda bar: bar.history("score", 1))):
        np.testing.assert_array_equal(history, SCORE[t : t + 1])


def test_all_of_history_is_not_too_long():
    same(look(lambda bar: bar.history("close", bar.t + 1))[4], CLOSE)
    same(look(lambda bar: bar.history("close", np.int64(bar.t + 1)))[4], CLOSE)


def test_history_that_is_too_short_raises():
    assert message(lambda bar: bar.history("close", 20), SimulationError) == (
        "history('close', 20) at bar 0 (2024-01-29): only 1 bar is known.\n"
        "Hint: return None until bar.t >= 19."
    )


def test_history_one_bar_too_short_raises_and_one_less_does_not():
    def see(bar: bl.Bar) -> None:
        bar.history("close", 2 if bar.t == 1 else 1)
        if bar.t == 2:
            bar.history("close", 4)

    assert message(see, SimulationError) == (
        "history('close', 4) at bar 2 (2024-01-31): only 3 bars are known.\n"
        "Hint: return None until bar.t >= 3."
    )


@pytest.mark.parametrize("n_bars", [0, -1, 2.0, "2", None])
def test_history_of_no_bars_raises(n_bars: Any):
    assert message(lambda bar: bar.history("close", n_bars), SimulationError) == (
        f"history('close', {n_bars!r}): the number of bars must be a positive integer."
    )


def test_history_of_several_names_raises():
    text = message(lambda bar: bar.history(["open", "close"], 1), SimulationError)
    assert text == ("history(['open', 'close'], 1): give one price or feature by name.")


def test_reading_past_the_bar_raises():
    message(lambda bar: bar.history.close[bar.t + 1], IndexError)
    message(lambda bar: bar.history.score[bar.t + 1, 0], IndexError)


def test_bars_before_start_are_in_history():
    seen = look(lambda bar: (bar.t, len(bar.history.close)), start=DAYS[2])
    assert seen == [(2, 3), (3, 4), (4, 5)]


def test_bars_after_end_are_not_there():
    seen = look(lambda bar: bar.history.close.shape, end=DAYS[1])
    assert seen == [(1, 2), (2, 2)]


# --- nothing to break -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["close", "open", "volume", "score", "is_member"])
def test_writing_into_the_data_raises(name: str):
    def write(bar: bl.Bar) -> None:
        getattr(bar, name)[0] = 1.0

    assert "read-only" in message(write, ValueError)

    def write_history(bar: bl.Bar) -> None:
        getattr(bar.history, name)[0, 0] = 1.0

    assert "read-only" in message(write_history, ValueError)


def test_writing_into_a_view_of_history_raises():
    def write(bar: bl.Bar) -> None:
        bar.history("close", 1)[0, 0] = 1.0

    assert "read-only" in message(write, ValueError)


def test_replacing_the_prices_of_a_bar_raises():
    def replace(bar: bl.Bar) -> None:
        bar.close = np.ones(2)

    message(replace, AttributeError)


def test_writing_into_positions_changes_nothing_but_the_copy():
    def weights(bar: bl.Bar, *, meddle: bool) -> dict[str, float]:
        if meddle:
            bar.positions[:] = 1e6
            bar.entry_price[:] = 1.0
        return {"A": 0.5}

    honest, meddled = (
        bl.run_backtest(data(), weights, params={"meddle": meddle})
        for meddle in (False, True)
    )
    assert honest.fills.height > 0
    assert honest.fills.equals(meddled.fills)
    assert honest.equity.equals(meddled.equity)


def test_what_a_callback_keeps_does_not_change_later():
    bars = look(lambda bar: bar, says={0: {"A": 0.5}, 1: {"B": 0.5}})
    # 0.5 * 1000 / 10.5 = 47.62 A on bar 1, sold on bar 3; 0.5 * 1023.81 / 20.5 B.
    assert [bar.t for bar in bars] == [0, 1, 2, 3, 4]
    assert bars[0].positions.tolist() == [0.0, 0.0]
    assert bars[1].positions.tolist() == [near(500 / 10.5), 0.0]
    assert bars[2].positions[0] == bars[1].positions[0]
    assert bars[3].positions[0] == 0.0
    assert [bar.close.tolist() for bar in bars[3:]] == [[13.5, 22.5], [14.5, 23.5]]
    assert bars[1].cash == near(1000 - 11 * 500 / 10.5)
    assert bars[0].equity == 1000.0


# --- the account ----------------------------------------------------------------------


def test_cash_equity_and_weights_after_the_fills_of_the_bar():
    seen = look(
        lambda bar: (bar.cash, bar.equity, bar.weights.tolist()),
        says={0: {"A": 0.5}},
        df=quotes([10.0, 12.0, 8.0]),
        commission=bl.Commission(minimum=2.0),
    )
    # Bar 1: 50 A at 12, commission 2: cash 1000 - 602 = 398, equity 398 + 600.
    # Bar 2: 398 + 50 * 8 = 798.
    assert seen == [
        (1000.0, 1000.0, [0.0]),
        (398.0, 998.0, [near(600 / 998)]),
        (398.0, 798.0, [near(400 / 798)]),
    ]


def test_positions_of_shorts_are_negative():
    seen = look(
        lambda bar: (bar.positions.tolist(), bar.weights.tolist(), bar.equity),
        says={0: {"A": -0.5}},
        df=quotes([10.0, 10.0, 12.0]),
        limits=bl.Limits(allow_short=True),
    )
    # Sell 50 at 10: cash 1500; at 12 equity 900.
    assert seen[1:] == [
        ([-50.0], [near(-0.5)], 1000.0),
        ([-50.0], [near(-600 / 900)], 900.0),
    ]


def test_weights_value_an_asset_without_a_bar_at_its_last_close():
    df = pl.concat([quotes([10.0]), quotes([1.0] * 4).with_columns(symbol=pl.lit("B"))])
    a_later = quotes([10.0, 16.0], [10.0, 10.0]).tail(1)
    seen = look(
        lambda bar: (bar.positions.tolist(), bar.weights.tolist(), bar.close.tolist()),
        says={0: {"A": 0.5}},
        df=pl.concat([df, a_later]),
    )
    # 50 A at 10, close 16, then no bar: 800 of 1300.
    position, weight, close = seen[3]
    assert position == [50.0, 0.0]
    assert weight == [near(800 / 1300), 0.0]
    np.testing.assert_array_equal(close, [NAN, 1.0])


def test_same_close_sees_the_account_before_the_fill_of_its_own_decision():
    seen = look(
        lambda bar: (bar.cash, bar.positions.tolist()),
        says={0: {"A": 0.5}},
        df=quotes([10.0, 10.0]),
        execution=bl.Execution(fill="same_close"),
    )
    assert seen == [(1000.0, [0.0]), (500.0, [50.0])]


def test_entry_price_is_the_average_with_slippage_and_without_commission():
    seen = look(
        lambda bar: (bar.positions.tolist(), bar.entry_price.tolist()),
        says={0: {"A": 0.25}, 1: {"A": 0.5}, 2: {"A": 0.25}, 3: {}},
        df=quotes([10.0, 10.0, 20.0, 20.0, 20.0]),
        slippage=bl.Slippage(bps=100),
        commission=bl.Commission(bps=1),
    )
    # Bar 1: 25 A at 10.1, commission 0.02525: cash 747.47475, equity 997.47475.
    # Bar 2: target 0.5 * 997.47475 / 10 = 49.8737375, so 24.8737375 more at 20.2.
    # Entry: (25 * 10.1 + 24.8737375 * 20.2) / 49.8737375 = 15.137...
    # Bar 3: a part is sold: the entry price stays.  Bar 4: closed, no entry price.
    bought = 0.5 * (1000 - 252.5 - 0.02525 + 250) / 10 - 25
    entry = (25 * 10.1 + bought * 20.2) / (25 + bought)
    assert seen[0][0] == [0.0]
    assert np.isnan(seen[0][1]).all()
    assert seen[1] == ([25.0], [near(10.1)])
    assert seen[2] == ([near(25 + bought)], [near(entry)])
    assert seen[3][0][0] < 40.0
    assert seen[3][1] == [near(entry)]
    assert seen[4][0] == [0.0]
    assert np.isnan(seen[4][1]).all()


def test_entry_price_of_a_flip_is_the_price_of_the_flip():
    seen = look(
        lambda bar: (bar.entry_price.tolist(), bar.bars_held.tolist()),
        says={0: {"A": 0.5}, 2: {"A": -0.5}},
        df=quotes([10.0, 10.0, 10.0, 12.0, 12.0]),
        limits=bl.Limits(allow_short=True),
        slippage=bl.Slippage(bps=100),
    )
    # Bought at 10.1 on bar 1; the sell that flips on bar 3 gets 12 * 0.99.
    assert seen[2] == ([near(10.1)], [1])
    assert seen[3] == ([near(11.88)], [0])
    assert seen[4] == ([near(11.88)], [1])


def test_bars_held_count_from_the_bar_of_the_first_fill():
    seen = look(
        lambda bar: bar.bars_held.tolist(),
        says={0: {"A": 0.25}, 2: {"A": 0.5}, 3: {}},
        df=quotes([10.0] * 5),
    )
    # Filled on bar 1, added to on bar 3, closed on bar 4.
    assert seen == [[0], [0], [1], [2], [0]]


def test_bars_held_begin_anew_after_closing():
    seen = look(
        lambda bar: bar.bars_held.tolist(),
        says={0: {"A": 0.5}, 1: {}, 2: {"A": 0.5}},
        df=quotes([10.0] * 5),
    )
    assert seen == [[0], [0], [0], [0], [1]]


def test_bars_held_are_integers():
    for held in look(lambda bar: bar.bars_held):
        assert held.dtype == np.int64


def test_unrealized_pnl_of_longs_and_shorts():
    both = pl.concat(
        quotes([10.0, 10.0, 13.0]).with_columns(symbol=pl.lit(name)) for name in "ABC"
    )
    seen = look(
        lambda bar: bar.unrealized_pnl.tolist(),
        says={0: {"A": 0.5, "B": -0.5}},
        df=both,
        limits=bl.Limits(allow_short=True),
        slippage=bl.Slippage(bps=100),
    )
    # A: 50 at 10.1; B: -50 at 9.9; C: nothing.
    # At 10: 50 * -0.1 and -50 * 0.1; at 13: 50 * 2.9 and -50 * 3.1.
    assert seen == [
        [0.0, 0.0, 0.0],
        [near(-5.0), near(-5.0), 0.0],
        [near(145.0), near(-155.0), 0.0],
    ]


def test_unrealized_pnl_of_an_asset_that_is_not_listed_is_nothing():
    assert look(lambda bar: bar.unrealized_pnl.tolist())[0] == [0.0, 0.0]
    assert look(lambda bar: bar.weights.tolist())[0] == [0.0, 0.0]


def test_nothing_is_known_of_the_account_before_the_start():
    seen = look(lambda bar: (bar.t, bar.cash), start=DAYS[3], initial_cash=77.0)
    assert seen == [(3, 77.0), (4, 77.0)]


# --- context --------------------------------------------------------------------------


def test_context_values_are_floats():
    context = pl.DataFrame({"date": DAYS[::-1], "vix": [19, 18, 17, 16, 15]})
    seen = look(lambda bar: bar.context.vix, context=context)
    assert seen == [15.0, 16.0, 17.0, 18.0, 19.0]
    assert all(type(value) is float for value in seen)


def test_context_without_a_row_is_nan_and_asof_carries_forward():
    context = pl.DataFrame({"date": [DAYS[1], DAYS[3]], "vix": [16.0, 18.0]})
    seen = look(lambda bar: bar.context.vix, context=context)
    same(seen, [NAN, 16.0, NAN, 18.0, NAN])
    seen = look(lambda bar: bar.context.vix, context=bl.Context(context, join="asof"))
    same(seen, [NAN, 16.0, 16.0, 18.0, 18.0])


def test_context_that_was_not_given():
    assert message(lambda bar: bar.context.vix, UnknownNameError) == (
        "bar.context.vix: no context was given.\n"
        "Hint: give one, run_backtest(..., context=frame)."
    )


def test_unknown_context_column_names_the_nearest():
    context = pl.DataFrame({"date": DAYS, "vix": [1.0] * 5, "rate": [1.0] * 5})
    assert message(lambda bar: bar.context.vixx, UnknownNameError, context=context) == (
        "the context has no column 'vixx'; it has 'vix', 'rate'. Did you mean 'vix'?"
    )


# --- unknown names --------------------------------------------------------------------


HAS = "the data has 'open', 'high', 'low', 'close', 'volume', 'score', 'is_member'."

UNKNOWN: dict[str, tuple[Callable[[bl.Bar], Any], str]] = {
    "feature": (
        lambda bar: bar.scor,
        f"bar has no 'scor'; {HAS} Did you mean 'score'?",
    ),
    "feature of history": (
        lambda bar: bar.history.scor,
        f"bar.history has no 'scor'; {HAS} Did you mean 'score'?",
    ),
    "feature of the last rows": (
        lambda bar: bar.history("scor", 1),
        f"bar.history has no 'scor'; {HAS} Did you mean 'score'?",
    ),
    "feature by its name": (
        lambda bar: bar.feature("scor"),
        f"bar.feature has no 'scor'; {HAS} Did you mean 'score'?",
    ),
    "price": (
        lambda bar: bar.clsoe,
        f"bar has no 'clsoe'; {HAS} Did you mean 'close'?",
    ),
    "price of history": (
        lambda bar: bar.history.opne,
        f"bar.history has no 'opne'; {HAS} Did you mean 'open'?",
    ),
    "attribute": (
        lambda bar: bar.position,
        f"bar has no 'position'; {HAS} Did you mean 'positions'?",
    ),
    "method": (
        lambda bar: bar.features("score"),
        f"bar has no 'features'; {HAS} Did you mean 'feature'?",
    ),
    "order of another engine": (
        lambda bar: bar.order_target("A", 0.1),
        f"bar has no 'order_target'; {HAS} Did you mean 'order_target_percent'?",
    ),
    # An attribute is no column: its history is not kept, its name not misspelt.
    "attribute of history": (
        lambda bar: bar.history.positions,
        f"bar.history has no 'positions'; {HAS} Did you mean 'bar.positions'?",
    ),
    "attribute as a feature": (
        lambda bar: bar.feature("cash"),
        f"bar.feature has no 'cash'; {HAS} Did you mean 'bar.cash'?",
    ),
    "misspelt attribute as a feature": (
        lambda bar: bar.feature("cahs"),
        f"bar.feature has no 'cahs'; {HAS}",
    ),
    "like nothing": (
        lambda bar: bar.momentum,
        f"bar has no 'momentum'; {HAS}",
    ),
    "no text": (
        lambda bar: bar.feature(3),
        f"bar.feature has no 3; {HAS}",
    ),
    "time column": (
        lambda bar: bar.date,
        "bar has no 'date': it is a key of the data.\nHint: use bar.timestamp.",
    ),
    "asset column": (
        lambda bar: bar.history.symbol,
        "bar.history has no 'symbol': it is a key of the data.\nHint: use bar.assets.",
    ),
    "text column": (
        lambda bar: bar.sector,
        "feature 'sector' must be numeric or Boolean, got String.\n"
        "Hint: cast it, e.g. pl.col('sector').cast(pl.Float64).",
    ),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_unknown_name_says_what_there_is(case: str):
    see, text = UNKNOWN[case]
    assert message(see, UnknownNameError) == text


def test_unknown_name_is_an_attribute_error_with_the_bar_in_a_note():
    def see(bar: bl.Bar) -> Any:
        return bar.scor if bar.t == 1 else None

    for error in (AttributeError, BarloopError):
        with pytest.raises(error) as caught:
            look(see)
        assert type(caught.value) is UnknownNameError
        assert caught.value.__notes__ == ["in the weights function at 2024-01-30"]


def test_price_that_the_data_does_not_have():
    df = data().drop("open", "high", "low", "volume")
    execution = bl.Execution(fill="next_close")
    text = message(lambda bar: bar.volume, UnknownNameError, df=df, execution=execution)
    assert text == "bar has no 'volume'; the data has 'close', 'score', 'is_member'."


def test_many_features_are_cut_short():
    df = data().with_columns(pl.lit(1.0).alias(f"factor_{k}") for k in range(500))
    text = message(lambda bar: bar.factr_433, UnknownNameError, df=df)
    assert text.startswith(
        "bar has no 'factr_433'; the data has 'open', 'high', 'low',"
    )
    assert text.endswith(" and 487 more. Did you mean 'factor_433'?")


def test_features_that_may_be_missing_can_be_asked_for():
    (first, *_) = look(
        lambda bar: (
            hasattr(bar, "score"),
            hasattr(bar, "score_2"),
            getattr(bar, "score_2", None),
        )
    )
    assert first[1:] == (False, None)
    assert first[0]


def test_special_names_are_looked_up_as_usual():
    bar = look(lambda bar: bar)[0]
    assert not hasattr(bar, "__array__")
    assert not hasattr(bar.history, "__len__")
    assert copy.copy(bar).t == 0


def test_users_names_of_prices_are_known_too():
    df = quotes([10.0, 12.0]).rename({"close": "Close", "open": "Open"})
    seen = look(lambda bar: (bar.close.tolist(), bar.Close.tolist()), df=df)
    assert seen == [([10.0], [10.0]), ([12.0], [12.0])]
