"""The actions frame: which bar, in which order, and what is refused."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import polars as pl
import pytest

import barloop as bl
from barloop import MissingData, Panel
from barloop.actions import action_rows, no_actions
from barloop.enums import ActionKind
from barloop.errors import SchemaError

# Thursday, Friday, Monday, Tuesday.
DAYS = [dt.date(2021, 3, d) for d in (4, 5, 8, 9)]
KEEPS = MissingData(delisted="cash_out")


def frame(times: list[Any] = DAYS, **columns: Any) -> pl.DataFrame:
    data = {
        "date": [day for day in times for _ in range(2)],
        "symbol": ["ABC", "XYZ"] * len(times),
        "open": [10.0, 20.0] * len(times),
        "close": [10.0, 20.0] * len(times),
    }
    return pl.DataFrame({**data, **columns})


def actions(*rows: tuple[Any, Any, Any, Any]) -> pl.DataFrame:
    return pl.DataFrame(
        rows, schema=["date", "symbol", "kind", "value"], orient="row", strict=False
    )


def parsed(*rows: tuple[Any, Any, Any, Any], first_bar: int = 0) -> Any:
    return action_rows(actions(*rows), Panel.from_frame(frame()), first_bar)


def listed(made: Any) -> list[tuple[int, str, int, float]]:
    """Return (bar, kind, asset, value) of each row in the order of the arrays."""
    bars = [
        t
        for t in range(len(made.start) - 1)
        for _ in range(made.start[t + 1] - made.start[t])
    ]
    kinds = [ActionKind(kind).name for kind in made.kind]
    return list(zip(bars, kinds, made.asset.tolist(), made.value.tolist(), strict=True))


def refused(*rows: tuple[Any, Any, Any, Any]) -> str:
    with pytest.raises(SchemaError) as caught:
        parsed(*rows)
    return str(caught.value)


# --- order and bars -------------------------------------------------------------------


def test_rows_are_sorted_by_bar_kind_and_asset():
    made = parsed(
        (DAYS[2], None, "withdrawal", 50.0),
        (DAYS[2], None, "deposit", 100.0),
        (DAYS[2], "XYZ", "delisting", -0.5),
        (DAYS[2], "XYZ", "dividend", 0.2),
        (DAYS[2], "ABC", "dividend", 0.1),
        (DAYS[2], "XYZ", "split", 3.0),
        (DAYS[0], "ABC", "split", 2.0),
    )
    assert listed(made) == [
        (0, "SPLIT", 0, 2.0),
        (2, "SPLIT", 1, 3.0),
        (2, "DIVIDEND", 0, 0.1),
        (2, "DIVIDEND", 1, 0.2),
        (2, "DELISTING", 1, -0.5),
        (2, "DEPOSIT", -1, 100.0),
        (2, "DEPOSIT", -1, -50.0),
    ]
    assert made.start.tolist() == [0, 1, 1, 7, 7]
    assert made.notices == ()


def test_arrays_are_read_only_and_of_one_kind():
    for made in (
        parsed((DAYS[0], "ABC", "split", 2.0)),
        parsed((DAYS[0], None, "deposit", 2.0), first_bar=1),
        no_actions(4),
    ):
        dtypes = []
        for array in (made.start, made.kind, made.asset, made.value):
            assert array.flags.c_contiguous
            assert not array.flags.writeable
            dtypes.append(array.dtype.name)
        assert dtypes == ["int64", "int8", "int64", "float64"]
        assert len(made.start) == 5


def test_event_between_two_bars_belongs_to_the_later_one():
    saturday = dt.date(2021, 3, 6)
    assert listed(parsed((saturday, "ABC", "split", 2.0)))[0][0] == 2


def test_event_before_the_data_lies_on_its_first_bar():
    made = parsed((dt.date(2020, 1, 1), "ABC", "split", 2.0))
    assert listed(made) == [(0, "SPLIT", 0, 2.0)]


def test_event_of_an_asset_before_the_run_is_kept():
    made = parsed((DAYS[0], "ABC", "split", 2.0), first_bar=2)
    assert listed(made) == [(0, "SPLIT", 0, 2.0)]


def test_events_after_the_last_bar_are_counted():
    made = parsed(
        (DAYS[3], "ABC", "split", 2.0),
        (dt.date(2021, 3, 10), "ABC", "split", 2.0),
        (dt.date(2021, 3, 11), None, "deposit", 2.0),
    )
    assert listed(made) == [(3, "SPLIT", 0, 2.0)]
    (notice,) = made.notices
    assert (notice.notice, notice.count) == ("actions_after_end", 2)


def test_deposits_before_the_run_are_counted():
    made = parsed(
        (DAYS[1], None, "deposit", 1.0),
        (dt.date(2021, 3, 6), None, "withdrawal", 2.0),  # belongs to the first bar
        (DAYS[2], None, "deposit", 3.0),
        first_bar=2,
    )
    assert [row[3] for row in listed(made)] == [3.0, -2.0]
    (notice,) = made.notices
    assert (notice.notice, notice.count) == ("deposits_before_start", 1)


def test_deposit_before_the_data_is_not_applied():
    made = parsed((dt.date(2021, 3, 3), None, "deposit", 1.0))
    assert listed(made) == []
    assert made.notices[0].notice == "deposits_before_start"


def test_shorter_data_leaves_later_events_out():
    rows = [(day, "ABC", "dividend", 0.5) for day in DAYS]
    whole = Panel.from_frame(frame())
    cut = action_rows(actions(*rows), whole.truncate(2), 0)
    same = action_rows(actions(*rows), Panel.from_frame(frame(DAYS[:2])), 0)
    assert listed(cut) == listed(same)
    assert cut.notices == same.notices


def test_frame_without_rows():
    made = action_rows(
        actions((DAYS[0], "ABC", "split", 2.0)).clear(), Panel.from_frame(frame()), 0
    )
    assert listed(made) == []


# --- times ----------------------------------------------------------------------------

NINE = [dt.datetime(2021, 3, 4, 9), dt.datetime(2021, 3, 4, 16)]
NEXT = [dt.datetime(2021, 3, 5, 9), dt.datetime(2021, 3, 5, 16)]


@pytest.mark.parametrize(
    ("bars", "time", "bar"),
    [
        # A date among times of day is its midnight: the first bar of the day.
        (NINE + NEXT, dt.date(2021, 3, 5), 2),
        (NINE + NEXT, dt.datetime(2021, 3, 4, 16), 1),
        (NINE + NEXT, dt.datetime(2021, 3, 4, 16, 0, 0, 1), 2),
        # A bar of a date lies at its midnight: what comes later belongs to the next.
        (DAYS, dt.datetime(2021, 3, 5), 1),
        (DAYS, dt.datetime(2021, 3, 5, 9, 30), 1),
        ([10, 20, 30, 40], 20, 1),
        ([10, 20, 30, 40], 21, 2),
        ([10, 20, 30, 40], -5, 0),
        ([dt.date(1960, 1, 1), dt.date(1960, 1, 2)], dt.datetime(1960, 1, 1, 1), 0),
    ],
)
@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_bar_of_a_time(bars: list[Any], time: Any, bar: int, unit: Any):
    df = frame(bars)
    if isinstance(df.schema["date"], pl.Datetime):
        df = df.with_columns(pl.col("date").dt.cast_time_unit(unit))
    panel = Panel.from_frame(df)
    rows = actions((time, "ABC", "split", 2.0))
    assert listed(action_rows(rows, panel, 0))[0][0] == bar
    if isinstance(rows.schema["date"], pl.Datetime):
        rows = rows.with_columns(pl.col("date").dt.cast_time_unit("ns"))
        assert listed(action_rows(rows, panel, 0))[0][0] == bar


def test_integers_of_other_widths():
    df = frame([10, 20, 30]).with_columns(pl.col("date").cast(pl.UInt64))
    rows = actions((15, "ABC", "split", 2.0)).with_columns(pl.col("date").cast(pl.Int8))
    assert listed(action_rows(rows, Panel.from_frame(df), 0))[0][0] == 1


def test_time_that_nanoseconds_do_not_reach():
    df = frame().with_columns(pl.col("date").cast(pl.Datetime("ns")))
    rows = actions((dt.date(9999, 12, 31), "ABC", "split", 2.0))
    assert action_rows(rows, Panel.from_frame(df), 0).notices[0].count == 1


def test_date_among_times_of_a_zone():
    zone = ZoneInfo("America/Sao_Paulo")
    # The clock skipped midnight of 2018-11-04.
    bars = [dt.datetime(2018, 11, 3 + k, 12, tzinfo=zone) for k in range(3)]
    panel = Panel.from_frame(frame(bars))
    for k in range(3):
        rows = actions((dt.date(2018, 11, 3 + k), "ABC", "split", 2.0))
        assert listed(action_rows(rows, panel, 0))[0][0] == k


def test_times_of_another_zone():
    bars = [dt.datetime(2021, 3, 4 + k, 15, tzinfo=dt.UTC) for k in range(3)]
    at_ten = dt.datetime(2021, 3, 5, 10, tzinfo=ZoneInfo("America/New_York"))
    rows = actions((at_ten, "ABC", "split", 2.0))
    assert listed(action_rows(rows, Panel.from_frame(frame(bars)), 0))[0][0] == 1


# --- forms of the frame ---------------------------------------------------------------

ROWS = [(DAYS[1], "ABC", "split", 2.0), (DAYS[2], None, "deposit", 5.0)]
FORMS = {
    "polars": actions(*ROWS),
    "lazy": actions(*ROWS).lazy(),
    "pandas": actions(*ROWS).to_pandas(),
    "pandas with an index": actions(*ROWS).to_pandas().set_index("date"),
    "arrow": actions(*ROWS).to_arrow(),
    "other names": actions(*ROWS).rename(
        {"date": "timestamp", "symbol": "Ticker", "kind": "Kind", "value": "VALUE"}
    ),
    "more columns": actions(*ROWS).with_columns(source=pl.lit("vendor")),
    "categorical": actions(*ROWS).with_columns(
        pl.col("symbol", "kind").cast(pl.Categorical)
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_form_of_the_frame(form: str):
    made = action_rows(FORMS[form], Panel.from_frame(frame()), 0)
    assert listed(made) == [(1, "SPLIT", 0, 2.0), (2, "DEPOSIT", -1, 5.0)]


def test_frame_of_the_user_is_not_changed():
    given = actions((DAYS[1], None, "withdrawal", 2.0)).to_pandas()
    before = given.copy()
    action_rows(given, Panel.from_frame(frame()), 0)
    pd.testing.assert_frame_equal(given, before)


def test_account_only_in_a_column_of_nulls():
    rows = actions((DAYS[1], None, "deposit", 2))
    assert rows.schema["symbol"] == pl.Null
    made = action_rows(rows, Panel.from_frame(frame()), 0)
    assert listed(made) == [(1, "DEPOSIT", -1, 2.0)]


@pytest.mark.parametrize("value", [None, float("nan")])
def test_delisting_without_a_return(value: float | None):
    made = parsed((DAYS[1], "ABC", "delisting", value))
    assert made.value.size == 1
    assert made.value[0] != made.value[0]


def test_delisting_that_loses_everything():
    assert parsed((DAYS[1], "ABC", "delisting", -1.0)).value.tolist() == [-1.0]


# --- refusals -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (
            [(DAYS[0], "ABC", "spilt", 2.0)],
            "'kind' of the actions must be one of 'split', 'dividend', 'delisting', "
            "'deposit', 'withdrawal': 1 row is not, first at 2021-03-04, asset "
            "\"ABC\", spilt 2.0.\nHint: Did you mean 'split'?",
        ),
        (
            [(DAYS[0], "ABC", None, 2.0), (DAYS[1], "ABC", "merger", 2.0)],
            "'kind' of the actions must be one of 'split', 'dividend', 'delisting', "
            "'deposit', 'withdrawal': 2 rows are not, first at 2021-03-04, asset "
            '"ABC", None 2.0.\nHint: drop these rows.',
        ),
        (
            [(None, "ABC", "split", 2.0), (DAYS[1], "ABC", "split", 2.0)],
            "the actions must have a time: 1 row is not, first at None, asset "
            '"ABC", split 2.0.\nHint: drop these rows.',
        ),
        (
            [(DAYS[0], "ABD", "split", 2.0)],
            "'symbol' of the actions must be an asset of the data: 1 row is not, first "
            'at 2021-03-04, asset "ABD", split 2.0.\n'
            "Hint: drop these rows, e.g. filter by .is_in(df['symbol'].implode()).",
        ),
        (
            [(DAYS[0], None, "dividend", 2.0)],
            "splits, dividends and delistings of the actions must have an asset: 1 row "
            "is not, first at 2021-03-04, asset None, dividend 2.0.\n"
            "Hint: only deposits and withdrawals have none; drop these rows.",
        ),
        (
            [(DAYS[0], "ABC", "deposit", 2.0)],
            "deposits and withdrawals of the actions must have no asset: 1 row is not, "
            'first at 2021-03-04, asset "ABC", deposit 2.0.\n'
            "Hint: they belong to the account; set the asset to null.",
        ),
        (
            [(DAYS[0], "ABC", "split", 0.0)],
            "'value' of a split must be a ratio above 0, new units for one: 1 row is "
            'not, first at 2021-03-04, asset "ABC", split 0.0.\n'
            "Hint: drop or correct these rows.",
        ),
        (
            [(DAYS[0], "ABC", "dividend", -0.5)],
            "'value' of a dividend must be an amount above 0, currency per unit: 1 row "
            'is not, first at 2021-03-04, asset "ABC", dividend -0.5.\n'
            "Hint: drop or correct these rows.",
        ),
        (
            [(DAYS[0], "ABC", "dividend", None)],
            "'value' of a dividend must be an amount above 0, currency per unit: 1 row "
            'is not, first at 2021-03-04, asset "ABC", dividend None.\n'
            "Hint: drop or correct these rows.",
        ),
        (
            [(DAYS[0], "ABC", "delisting", -1.5)],
            "'value' of a delisting must be null, or a return of at least -1: 1 row is "
            'not, first at 2021-03-04, asset "ABC", delisting -1.5.\n'
            "Hint: drop or correct these rows.",
        ),
        (
            [(DAYS[0], None, "deposit", -100.0)],
            "'value' of a deposit must be an amount above 0, currency: 1 row is not, "
            "first at 2021-03-04, asset None, deposit -100.0.\n"
            "Hint: a withdrawal is a kind of its own, not a negative deposit.",
        ),
        (
            [(DAYS[0], None, "withdrawal", float("inf"))],
            "'value' of a withdrawal must be an amount above 0, currency: 1 row is "
            "not, first at 2021-03-04, asset None, withdrawal inf.\n"
            "Hint: drop or correct these rows.",
        ),
        (
            [
                (DAYS[2], "XYZ", "dividend", 0.5),
                (dt.date(2021, 3, 6), "XYZ", "dividend", 0.25),
            ],
            "the actions must name each kind, asset and bar once: 1 row repeats an "
            "earlier one, first at 2021-03-08, asset \"XYZ\", kind 'dividend'.\n"
            "Hint: what lies between two bars belongs to the later one; add amounts up "
            "and multiply ratios.",
        ),
        (
            [(DAYS[2], None, "deposit", 0.5)] * 3,
            "the actions must name each kind, asset and bar once: 2 rows repeat an "
            "earlier one, first at 2021-03-08, kind 'deposit'.\n"
            "Hint: what lies between two bars belongs to the later one; add amounts up "
            "and multiply ratios.",
        ),
        (
            [(5, "ABC", "split", 2.0)],
            "the times of the actions do not fit the data: the actions frame has times "
            "of dtype Int64, the bars have Date.\n"
            "Hint: give both as dates or both as integers.",
        ),
        (
            [("2021-03-04", "ABC", "split", 2.0)],
            "the times of the actions do not fit the data: time column 'time' must be "
            "Date, Datetime or an integer, got String.\n"
            "Hint: parse it, e.g. df.with_columns(pl.col('time').str.to_date()).",
        ),
        (
            [(DAYS[0], 7, "split", 2.0)],
            "the keys of the actions do not fit the data: 'asset' has assets of dtype "
            "Int64, the panel has String.\n"
            "Hint: cast one of them, e.g. pl.col('asset').cast(pl.String).",
        ),
        (
            [(DAYS[0], "ABC", "split", "2:1")],
            "'value' of the actions must be numeric, got String.\n"
            "Hint: cast it to pl.Float64.",
        ),
    ],
)
def test_actions_that_are_refused(rows: list[Any], text: str):
    assert refused(*rows) == text


def test_frame_that_misses_a_column():
    rows = actions((DAYS[0], "ABC", "split", 2.0))
    for name in rows.columns:
        with pytest.raises(SchemaError) as caught:
            action_rows(rows.drop(name), Panel.from_frame(frame()), 0)
        left = ", ".join(repr(one) for one in rows.columns if one != name)
        assert str(caught.value) == (
            "an actions frame needs the columns 'date' and 'symbol' of the data, "
            f"'kind' and 'value'; it has {left}."
        )


def test_actions_that_are_no_frame():
    with pytest.raises(SchemaError, match="a frame is needed, got dict"):
        bl.run_backtest(frame(), lambda bar: None, actions={"split": 2.0})


# --- what they do ---------------------------------------------------------------------


def run(*rows: tuple[Any, Any, Any, Any], **members: Any) -> bl.BacktestResult:
    """Hold 50 ABC at 10 and 500 in cash from the open of the second bar on."""
    df = frame().with_columns(
        w=pl.when(pl.col("date") == DAYS[0]).then(
            pl.when(pl.col("symbol") == "ABC").then(0.5).otherwise(0.0)
        )
    )
    return bl.run_backtest(
        df, "w", initial_cash=1_000.0, actions=actions(*rows), **members
    )


def test_dividend_is_cash():
    assert run((DAYS[2], "ABC", "dividend", 0.5)).final_equity == 1_025.0


def test_split_without_a_change_of_price_doubles():
    assert run((DAYS[2], "ABC", "split", 2.0)).final_equity == 1_500.0


@pytest.mark.parametrize(
    ("value", "equity"), [(-0.5, 750.0), (0.2, 1_100.0), (None, 1_000.0)]
)
def test_delisting_with_and_without_a_return(value: float | None, equity: float):
    result = run((DAYS[2], "ABC", "delisting", value), missing_data=KEEPS)
    assert result.final_equity == equity
    assert result.positions.filter(pl.col("date") == DAYS[3]).height == 0


def test_deposit_and_withdrawal():
    result = run((DAYS[1], None, "deposit", 100.0), (DAYS[3], None, "withdrawal", 30.0))
    assert result.final_equity == 1_070.0


def test_notices_reach_the_result():
    result = run((dt.date(2022, 1, 1), "ABC", "split", 2.0))
    found = result.notices.filter(pl.col("notice") == "actions_after_end")
    assert found["count"].to_list() == [1]
    assert found["first_date"].to_list() == [None]
