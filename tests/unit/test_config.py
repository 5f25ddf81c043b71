"""Settings: defaults, paths, refusals, JSON and back."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import json
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

import barloop as bl
from barloop import (
    BacktestConfig,
    Commission,
    Execution,
    Limits,
    MissingData,
    Schedule,
    Slippage,
)
from barloop.errors import BarloopError, ConfigError

DAYS = [dt.date(2024, 1, 29) + dt.timedelta(days=k) for k in range(4)]

CHANGED = BacktestConfig(
    initial_cash=50_000.0,
    schedule="month_end",
    bars_per_year=365.0,
    risk_free=0.02,
    execution=Execution(fill="next_close", rounding="whole_target", lot_size=10.0),
    commission=Commission(bps=10.0, minimum=1.5),
    slippage=Slippage(bps=5.0),
    limits=Limits(
        allow_short=True, max_gross=2.0, max_borrowing=0.5, min_trade_value=100.0
    ),
    missing_data=MissingData(missing_bar="cancel", at_decision="skip"),
)
"""Every setting away from its default."""

PATHS = {
    "initial_cash": 1e5,
    "schedule": "week_end",
    "bars_per_year": 52.0,
    "risk_free": 0.01,
    "execution.fill": "same_close",
    "execution.rounding": "whole_target",
    "execution.lot_size": 1.0,
    "commission.bps": 10.0,
    "commission.minimum": 2.0,
    "slippage.bps": 3.0,
    "limits.allow_short": True,
    "limits.max_gross": 2.0,
    "limits.max_borrowing": 0.25,
    "limits.min_trade_value": 50.0,
    "missing_data.missing_bar": "cancel",
    "missing_data.at_decision": "skip",
}


def value_at(config: BacktestConfig, path: str) -> Any:
    value = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def flat(config: BacktestConfig) -> dict[str, Any]:
    """Return every setting by its path."""
    found = {}
    for name, value in config.to_dict().items():
        if isinstance(value, dict) and name != "schedule":
            found |= {f"{name}.{inner}": one for inner, one in value.items()}
        else:
            found[name] = value
    return found


def market() -> pl.DataFrame:
    return pl.DataFrame(
        {"date": DAYS, "symbol": ["A"] * 4, "open": [10.0] * 4, "close": [10.0] * 4}
    )


def refused(make: Callable[[], Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        make()
    return str(caught.value)


# --- defaults -------------------------------------------------------------------------


def test_defaults():
    assert flat(BacktestConfig()) == {
        "initial_cash": 1_000_000.0,
        "schedule": "every_bar",
        "bars_per_year": None,
        "risk_free": 0.0,
        "execution.fill": "next_open",
        "execution.rounding": "fractional",
        "execution.lot_size": 1.0,
        "commission.bps": 0.0,
        "commission.minimum": 0.0,
        "slippage.bps": 0.0,
        "limits.allow_short": False,
        "limits.max_gross": 1.0,
        "limits.max_borrowing": 0.0,
        "limits.min_trade_value": 0.0,
        "missing_data.missing_bar": "pending",
        "missing_data.at_decision": "use_last",
    }


def test_run_without_settings_has_the_defaults():
    assert bl.run_backtest(market(), lambda bar: None).config == BacktestConfig()


def test_members_are_keyword_only():
    for kind in (BacktestConfig, Execution, Commission, Slippage, Limits, MissingData):
        with pytest.raises(TypeError, match="positional"):
            kind(1.0)


def test_misspelt_member_of_a_group_names_the_nearest():
    message = (
        "unknown setting 'commission.bsp'. Did you mean 'bps'?\n"
        "Commission has bps, minimum."
    )
    with pytest.raises(ConfigError) as caught:
        Commission(bsp=10)
    assert str(caught.value) == message
    with pytest.raises(ConfigError, match="unknown setting 'comission'"):
        BacktestConfig(comission=Commission())


def test_frozen():
    for owner, name in (
        (CHANGED, "initial_cash"),
        (CHANGED.execution, "fill"),
        (CHANGED.commission, "bps"),
        (CHANGED.slippage, "bps"),
        (CHANGED.limits, "max_gross"),
        (CHANGED.missing_data, "missing_bar"),
        (Schedule("month_end"), "rule"),
    ):
        before = getattr(owner, name)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(owner, name, 1.0)
        assert getattr(owner, name) == before


def test_list_of_timestamps_cannot_be_changed_from_outside():
    days = DAYS[:2]
    config = BacktestConfig(schedule=days)
    before = config.to_json()
    days.append(DAYS[3])
    assert config.to_json() == before


# --- replace --------------------------------------------------------------------------


def test_paths_of_the_test_are_all_settings():
    assert set(PATHS) == set(flat(BacktestConfig()))


@pytest.mark.parametrize(("path", "value"), PATHS.items())
def test_replace_changes_one_path_and_nothing_else(path: str, value: Any):
    base = BacktestConfig()
    changed = base.replace({path: value})
    assert value_at(changed, path) == value
    assert flat(changed) == {**flat(base), path: value}
    assert base == BacktestConfig()


def test_replace_with_paths_and_members():
    changed = BacktestConfig().replace(
        {"commission.bps": 10, "limits.max_gross": 2.0}, initial_cash=1e5
    )
    assert changed == BacktestConfig(
        initial_cash=1e5, commission=Commission(bps=10), limits=Limits(max_gross=2.0)
    )


def test_replace_keeps_the_rest_of_a_group():
    assert CHANGED.replace({"commission.bps": 3.0}).commission == Commission(
        bps=3.0, minimum=1.5
    )


def test_replace_by_a_member_drops_the_rest_of_the_group():
    changed = CHANGED.replace(commission=Commission(bps=3.0))
    assert changed.commission == Commission(bps=3.0)
    assert changed.slippage == CHANGED.slippage


def test_replace_with_a_member_and_a_path_into_it():
    changed = CHANGED.replace({"commission.bps": 3.0}, commission=Commission(minimum=2))
    assert changed.commission == Commission(bps=3.0, minimum=2)


@pytest.mark.parametrize("turned", [False, True])
def test_replace_checks_the_whole_not_the_steps(*, turned: bool):
    paths = [("execution.lot_size", 10.0), ("execution.rounding", "whole_target")]
    changes = dict(reversed(paths) if turned else paths)
    assert BacktestConfig().replace(changes).execution == Execution(
        rounding="whole_target", lot_size=10.0
    )


def test_replace_without_changes_is_an_equal_config():
    assert CHANGED.replace() == CHANGED
    assert CHANGED.replace({}) == CHANGED


def test_replace_checks_like_the_constructor():
    text = refused(lambda: BacktestConfig().replace({"commission.bps": -1.0}))
    assert text == "commission.bps must be at least 0, got -1.0."
    text = refused(lambda: BacktestConfig().replace(initial_cash=0))
    assert text == "initial_cash must be greater than 0, got 0."


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("comission.bps", "commission.bps"),
        ("slipage.bps", "slippage.bps"),
        ("commission_bps", "commission.bps"),
        ("commission.bp", "commission.bps"),
        ("commision", "commission"),
        ("inital_cash", "initial_cash"),
        ("execution.fil", "execution.fill"),
        ("limits.min_trade_valu", "limits.min_trade_value"),
        ("limit.max_gross", "limits.max_gross"),
        ("missing_data.missing_bars", "missing_data.missing_bar"),
        # A member of a group without its group.
        ("lot_size", "execution.lot_size"),
        ("minimum", "commission.minimum"),
        ("allow_short", "limits.allow_short"),
        # A path that goes on where there is nothing.
        ("commission.bps.per_share", "commission.bps"),
    ],
)
def test_misspelt_path_names_the_nearest(path: str, nearest: str):
    text = refused(lambda: BacktestConfig().replace({path: 1.0}))
    first, second = text.split("\n")
    assert first == f"unknown setting {path!r}. Did you mean {nearest!r}?"
    assert second.startswith("Known settings: initial_cash, schedule, ")


@pytest.mark.parametrize("path", ["bps", "fees.bps"])
def test_path_that_ends_like_two_others_names_both(path: str):
    text = refused(lambda: BacktestConfig().replace({path: 1.0}))
    assert text.split("\n")[0] == (
        f"unknown setting {path!r}. Did you mean 'commission.bps' or 'slippage.bps'?"
    )


@pytest.mark.parametrize("path", ["", "stop_loss", "xyz.abc", 3])
def test_path_like_no_other_lists_what_is_known(path: Any):
    text = refused(lambda: BacktestConfig().replace({path: 1.0}))
    known = ", ".join(
        [
            *(f.name for f in dataclasses.fields(BacktestConfig)),
            *(name for name in flat(BacktestConfig()) if "." in name),
        ]
    )
    assert text == f"unknown setting {path!r}.\nKnown settings: {known}."


def test_misspelt_keyword_of_a_run_names_the_nearest():
    text = refused(
        lambda: bl.run_backtest(market(), lambda bar: None, comission=Commission())
    )
    assert text.startswith("unknown setting 'comission'. Did you mean 'commission'?")


def test_keywords_of_a_run_replace_members_of_its_config():
    result = bl.run_backtest(
        market(),
        lambda bar: None,
        config=CHANGED,
        commission=Commission(bps=1.0),
        schedule="every_bar",
    )
    assert result.config == CHANGED.replace(
        commission=Commission(bps=1.0), schedule="every_bar"
    )
    assert result.config.commission.minimum == 0.0


# --- refused values -------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")

SCHEDULES = (
    "'every_bar', 'day_start', 'day_end', 'week_start', 'week_end', 'month_start', "
    "'month_end', 'quarter_start', 'quarter_end', 'year_start', 'year_end'"
)

REFUSED: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: BacktestConfig(initial_cash=0),
        "initial_cash must be greater than 0, got 0.",
    ),
    (
        lambda: BacktestConfig(initial_cash=-5.0),
        "initial_cash must be greater than 0, got -5.0.",
    ),
    (
        lambda: BacktestConfig(initial_cash=NAN),
        "initial_cash must be finite, got nan.",
    ),
    (
        lambda: BacktestConfig(initial_cash="1e6"),
        "initial_cash must be a number, got '1e6'.",
    ),
    (
        lambda: BacktestConfig(initial_cash=True),
        "initial_cash must be a number, got True.",
    ),
    (
        lambda: BacktestConfig(initial_cash=None),
        "initial_cash must be a number, got None.",
    ),
    (
        lambda: BacktestConfig(bars_per_year=0),
        "bars_per_year must be greater than 0, got 0.",
    ),
    (
        lambda: BacktestConfig(bars_per_year="252"),
        "bars_per_year must be a number, got '252'.",
    ),
    (
        lambda: BacktestConfig(risk_free=INF),
        "risk_free must be finite, got inf.",
    ),
    (
        lambda: Execution(fill="next_opn"),
        "execution.fill must be one of 'next_open', 'next_close', 'same_close', got "
        "'next_opn'. Did you mean 'next_open'?",
    ),
    (
        lambda: Execution(fill=None),
        "execution.fill must be one of 'next_open', 'next_close', 'same_close', got "
        "None.",
    ),
    (
        lambda: Execution(rounding="whole_targets"),
        "execution.rounding must be one of 'fractional', 'whole_target', got "
        "'whole_targets'. Did you mean 'whole_target'?",
    ),
    (
        lambda: Execution(rounding="whole_target", lot_size=0),
        "execution.lot_size must be greater than 0, got 0.",
    ),
    (
        lambda: Execution(lot_size=100),
        "execution.lot_size=100.0 has no meaning with rounding='fractional'.\n"
        "Hint: use rounding='whole_target'.",
    ),
    (
        lambda: Commission(bps=-1),
        "commission.bps must be at least 0, got -1.",
    ),
    (
        lambda: Commission(bps=10_000),
        "commission.bps must be less than 10000, got 10000.",
    ),
    (
        lambda: Commission(bps=NAN),
        "commission.bps must be finite, got nan.",
    ),
    (
        lambda: Commission(minimum=-0.01),
        "commission.minimum must be at least 0, got -0.01.",
    ),
    (
        lambda: Commission(minimum=INF),
        "commission.minimum must be finite, got inf.",
    ),
    (
        lambda: Slippage(bps=-1),
        "slippage.bps must be at least 0, got -1.",
    ),
    (
        lambda: Slippage(bps=10_000.0),
        "slippage.bps must be less than 10000, got 10000.0.",
    ),
    (
        lambda: Limits(allow_short=1),
        "limits.allow_short must be True or False, got 1.",
    ),
    (
        lambda: Limits(max_gross=0.0),
        "limits.max_gross must be greater than 0, got 0.0.",
    ),
    (
        lambda: Limits(max_gross=INF),
        "limits.max_gross must be finite, got inf.",
    ),
    (
        lambda: Limits(max_borrowing=-0.5),
        "limits.max_borrowing must be at least 0, got -0.5.",
    ),
    (
        lambda: Limits(min_trade_value="100"),
        "limits.min_trade_value must be a number, got '100'.",
    ),
    (
        lambda: MissingData(missing_bar="wait"),
        "missing_data.missing_bar must be one of 'pending', 'cancel', got 'wait'.",
    ),
    (
        lambda: MissingData(at_decision="use_lst"),
        "missing_data.at_decision must be one of 'use_last', 'skip', got 'use_lst'. "
        "Did you mean 'use_last'?",
    ),
    (
        lambda: BacktestConfig(commission=10),
        "commission must be of type Commission, got 10.\n"
        "Hint: use commission=Commission(...).",
    ),
    (
        lambda: BacktestConfig(commission={"bps": 10}),
        "commission must be of type Commission, got {'bps': 10}.\n"
        "Hint: use commission=Commission(...).",
    ),
    (
        lambda: BacktestConfig(slippage=Commission(bps=1.0)),
        "slippage must be of type Slippage, got Commission(bps=1.0, minimum=0.0).\n"
        "Hint: use slippage=Slippage(...).",
    ),
    (
        lambda: BacktestConfig(schedule="monthend"),
        f"schedule must be one of {SCHEDULES}, an int, timestamps or an expression, "
        "got 'monthend'. Did you mean 'month_end'?",
    ),
    (
        lambda: BacktestConfig(schedule=0),
        "schedule must be at least 1 bar, got 0.",
    ),
    (
        lambda: BacktestConfig(schedule=2.5),
        "schedule must be a name, an int, timestamps, a polars expression or a "
        "Schedule, got 2.5.",
    ),
    (
        lambda: BacktestConfig(schedule=True),
        "schedule must be a name, an int, timestamps, a polars expression or a "
        "Schedule, got True.",
    ),
    (
        lambda: BacktestConfig(schedule=None),
        "schedule must be a name, an int, timestamps, a polars expression or a "
        "Schedule, got None.",
    ),
    (
        lambda: BacktestConfig(schedule=[]),
        "schedule names no timestamp: an empty list never rebalances.",
    ),
    (
        lambda: BacktestConfig(schedule=["month_end"]),
        "schedule must list dates, datetimes or integers, got 'month_end'.",
    ),
    (
        lambda: Schedule("every_bar", sessions=DAYS),
        "schedule.sessions say when a period ends; the rule 'every_bar' has no "
        "periods.",
    ),
    (
        lambda: Schedule(DAYS, sessions=DAYS),
        "schedule.sessions say when a period ends; the rule of a list has no periods.",
    ),
    (
        lambda: Schedule("month_end", sessions=[5]),
        "schedule.sessions must be dates, got 5.",
    ),
    (
        lambda: bl.run_backtest(market(), "w", config={"initial_cash": 1e5}),
        "config must be a BacktestConfig, got dict.",
    ),
]


@pytest.mark.parametrize(("make", "text"), REFUSED, ids=[text for _, text in REFUSED])
def test_refused_when_it_is_made(make: Callable[[], Any], text: str):
    assert refused(make) == text


def test_config_errors_are_value_errors():
    assert issubclass(ConfigError, BarloopError)
    assert issubclass(BarloopError, ValueError)


@pytest.mark.parametrize("risk_free", [-1.0, -2.0])
def test_risk_free_rate_of_minus_one_or_less_is_refused_when_it_is_made(
    risk_free: float,
):
    text = refused(lambda: BacktestConfig(risk_free=risk_free))
    assert "risk_free" in text
    assert repr(risk_free) in text


EDGES: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (BacktestConfig, {"initial_cash": 1}),
    (BacktestConfig, {"risk_free": -0.01}),
    (BacktestConfig, {"schedule": 1}),
    (BacktestConfig, {"initial_cash": np.float64(5.0)}),
    (Commission, {"bps": 0, "minimum": 0}),
    (Commission, {"bps": 9_999.9}),
    (Slippage, {"bps": 9_999.9}),
    (Limits, {"max_gross": 0.01, "max_borrowing": 0, "min_trade_value": 0}),
    (Execution, {"rounding": "whole_target", "lot_size": 0.001}),
    (Execution, {"rounding": "fractional", "lot_size": 1}),
    (Schedule, {"rule": "month_end", "sessions": tuple(DAYS)}),
]


@pytest.mark.parametrize(("kind", "members"), EDGES, ids=map(str, range(len(EDGES))))
def test_values_at_the_edge_are_accepted(
    kind: Callable[..., Any], members: dict[str, Any]
):
    made = kind(**members)
    assert {name: getattr(made, name) for name in members} == members


@pytest.mark.parametrize("number", [np.int64(5), np.int32(5), np.float32(5.0)])
def test_numpy_numbers_are_numbers(number: Any):
    assert BacktestConfig(initial_cash=number) == BacktestConfig(initial_cash=5.0)
    changed = BacktestConfig().replace({"commission.bps": number})
    assert changed == BacktestConfig(commission=Commission(bps=5.0))


# --- equality and hash ----------------------------------------------------------------


def test_equal_configs_have_equal_hashes():
    assert BacktestConfig() == BacktestConfig()
    again = CHANGED.replace()
    assert again is not CHANGED
    assert again == CHANGED
    assert hash(again) == hash(CHANGED)
    assert len({CHANGED, again, BacktestConfig()}) == 2


@pytest.mark.parametrize(("path", "value"), PATHS.items())
def test_one_different_setting_makes_another_config(path: str, value: Any):
    base = BacktestConfig()
    other = base.replace({path: value})
    assert (other != base) == (value_at(base, path) != value)


def test_config_is_not_equal_to_something_else():
    assert BacktestConfig() != "BacktestConfig"
    assert BacktestConfig() != BacktestConfig().to_dict()
    assert BacktestConfig() is not None


def test_whole_numbers_and_floats_are_the_same_setting():
    ints = BacktestConfig(initial_cash=100_000, commission=Commission(bps=10))
    floats = BacktestConfig(initial_cash=100_000.0, commission=Commission(bps=10.0))
    assert ints.commission == floats.commission
    assert ints == floats
    assert hash(ints) == hash(floats)


EQUAL_SCHEDULES: list[tuple[Any, Any]] = [
    ("month_end", Schedule("month_end")),
    (3, np.int64(3)),
    (["2024-01-29"], [dt.date(2024, 1, 29)]),
    (DAYS, tuple(DAYS)),
    (DAYS, pl.Series(DAYS)),
    (DAYS, np.array(DAYS, dtype="datetime64[D]")),
    ([1, 2], range(1, 3)),
    (pl.col("vix") > 20, pl.col("vix") > 20),
]


@pytest.mark.parametrize(("left", "right"), EQUAL_SCHEDULES)
def test_schedules_that_mean_the_same_are_equal(left: Any, right: Any):
    one, other = BacktestConfig(schedule=left), BacktestConfig(schedule=right)
    assert one == other
    assert hash(one) == hash(other)


UNEQUAL_SCHEDULES: list[tuple[Any, Any]] = [
    ("month_end", "month_start"),
    ("month_end", Schedule("month_end", sessions=DAYS)),
    (3, 4),
    (DAYS[:2], DAYS[:3]),
    (pl.col("vix") > 20, pl.col("vix") > 21),
    (1, [1]),
]


@pytest.mark.parametrize(("left", "right"), UNEQUAL_SCHEDULES)
def test_schedules_that_differ_are_not_equal(left: Any, right: Any):
    assert BacktestConfig(schedule=left) != BacktestConfig(schedule=right)


def test_copies_are_equal():
    for config in (CHANGED, CHANGED.replace(schedule=pl.col("vix") > 20)):
        assert copy.deepcopy(config) == config
        assert pickle.loads(pickle.dumps(config)) == config


# --- JSON -----------------------------------------------------------------------------

NEW_YORK = dt.timezone(dt.timedelta(hours=-5))

SCHEDULE_FORMS: dict[str, Any] = {
    "name": "quarter_start",
    "number": 21,
    "dates": DAYS,
    "datetimes": [dt.datetime(2024, 1, 29, 16), dt.datetime(2024, 1, 30, 16, 0, 1)],
    "datetimes of a zone": [dt.datetime(2024, 1, 29, 16, tzinfo=NEW_YORK)],
    "integers": [1, 5],
    "text": ["2024-01-29", "2024-01-30 16:00"],
    "expression": (pl.col("vix") > 20.5) & pl.col("date").dt.weekday().is_in([1, 3]),
    "sessions": Schedule("week_end", sessions=DAYS),
}


def test_json_of_every_setting_and_back():
    assert BacktestConfig.from_json(CHANGED.to_json()) == CHANGED
    assert BacktestConfig.from_json(BacktestConfig().to_json()) == BacktestConfig()


def test_json_is_plain_and_nested():
    assert json.loads(CHANGED.to_json()) == {
        "initial_cash": 50_000.0,
        "schedule": "month_end",
        "bars_per_year": 365.0,
        "risk_free": 0.02,
        "execution": {
            "fill": "next_close",
            "rounding": "whole_target",
            "lot_size": 10.0,
        },
        "commission": {"bps": 10.0, "minimum": 1.5},
        "slippage": {"bps": 5.0},
        "limits": {
            "allow_short": True,
            "max_gross": 2.0,
            "max_borrowing": 0.5,
            "min_trade_value": 100.0,
        },
        "missing_data": {"missing_bar": "cancel", "at_decision": "skip"},
    }


@pytest.mark.parametrize("schedule", SCHEDULE_FORMS.values(), ids=SCHEDULE_FORMS.keys())
def test_json_of_every_kind_of_schedule_and_back(schedule: Any):
    config = BacktestConfig(schedule=schedule)
    text = config.to_json()
    again = BacktestConfig.from_json(text)
    assert again == config
    assert again.to_json() == text
    assert again.replace(schedule="every_bar") == BacktestConfig()


def test_expression_schedule_from_json_chooses_the_same_bars():
    rule = pl.col("date").is_in(DAYS[1:3])
    config = BacktestConfig(schedule=rule)
    again = BacktestConfig.from_json(config.to_json())
    for one in (config, again):
        result = bl.run_backtest(market(), lambda bar: {"A": 0.5}, config=one)
        assert result.rebalances["date"].to_list() == DAYS[1:3]


def test_list_schedule_from_json_chooses_the_same_bars():
    again = BacktestConfig.from_json(BacktestConfig(schedule=DAYS[1:3]).to_json())
    result = bl.run_backtest(market(), lambda bar: {"A": 0.5}, config=again)
    assert result.rebalances["date"].to_list() == DAYS[1:3]


def test_schedule_that_can_be_read_once_only_still_chooses_its_bars():
    result = bl.run_backtest(market(), lambda bar: {"A": 0.5}, schedule=iter(DAYS[1:3]))
    assert result.rebalances["date"].to_list() == DAYS[1:3]


def test_absent_members_of_json_keep_their_defaults():
    assert BacktestConfig.from_json("{}") == BacktestConfig()
    made = BacktestConfig.from_json('{"commission": {"bps": 3.0}}')
    assert made == BacktestConfig(commission=Commission(bps=3.0))


def test_misspelt_member_of_json_names_the_nearest():
    text = refused(lambda: BacktestConfig.from_json('{"commision": {}}'))
    assert text.startswith("unknown setting 'commision'. Did you mean 'commission'?")
    text = refused(lambda: BacktestConfig.from_json('{"commission": {"bp": 1}}'))
    assert text.startswith(
        "unknown setting 'commission.bp'. Did you mean 'commission.bps'?"
    )
    text = refused(lambda: BacktestConfig.from_json('{"schedule": {"rul": 1}}'))
    assert text == "unknown entry 'rul' of schedule. Did you mean 'rule'?"


def test_values_of_json_are_checked():
    text = refused(lambda: BacktestConfig.from_json('{"initial_cash": 0}'))
    assert text == "initial_cash must be greater than 0, got 0."
    text = refused(lambda: BacktestConfig.from_json('{"schedule": "monthly"}'))
    assert "got 'monthly'" in text


@pytest.mark.parametrize(
    "text",
    [
        "{broken",
        "[1]",
        "null",
        '{"commission": 5}',
        '{"schedule": {"expression": "no expression"}}',
    ],
)
def test_text_that_is_no_config_is_a_config_error(text: str):
    with pytest.raises(ConfigError):
        BacktestConfig.from_json(text)


def test_to_dict_does_not_give_access_to_the_config():
    plain = CHANGED.to_dict()
    plain["commission"]["bps"] = 99.0
    plain["initial_cash"] = 1.0
    assert CHANGED.commission.bps == 10.0
    assert CHANGED.initial_cash == 50_000.0
