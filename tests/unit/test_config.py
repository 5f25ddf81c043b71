"""Settings: defaults, paths, refusals, JSON and back."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import barloop as bl
from barloop import (
    BacktestConfig,
    Commission,
    Execution,
    Exits,
    Financing,
    Limits,
    MissingData,
    Schedule,
    Slippage,
)
from barloop.enums import (
    AtDecision,
    CashRule,
    Compat,
    CostsInSize,
    Delisted,
    FillTiming,
    MissingBar,
    OnExcess,
    Option,
    Remainder,
    Rounding,
    Sequence,
    SizeAt,
    TrailOn,
)
from barloop.errors import BarloopError, ConfigError
from barloop.options import option_vector

GROUPS = (
    Execution,
    Commission,
    Slippage,
    Limits,
    Exits,
    Financing,
    MissingData,
)
DAYS = [dt.date(2024, 1, 29) + dt.timedelta(days=k) for k in range(4)]

CHANGED = BacktestConfig(
    initial_cash=50_000.0,
    schedule="month_end",
    bars_per_year=365.0,
    risk_free=0.02,
    execution=Execution(
        fill="next_close",
        rounding="whole_target",
        lot_size=10.0,
        sequence="asset_order",
        cash_rule="partial",
        costs_in_size="per_order",
        compat="bt",
    ),
    commission=Commission(
        bps=10.0, per_share=0.01, per_order=1.0, minimum=1.5, maximum=90.0
    ),
    slippage=Slippage(
        bps=5.0, half_spread=0.001, volume_impact=0.1, sqrt_impact=0.5, volatility=0.02
    ),
    limits=Limits(
        allow_short=True,
        max_gross=2.0,
        on_excess="scale",
        max_borrowing=0.5,
        max_weight=0.4,
        max_participation=0.1,
        remainder="pending",
        min_trade_value=100.0,
        drift_band=0.01,
        max_turnover=0.8,
        maintenance=0.25,
    ),
    exits=Exits(
        stop_loss=0.1,
        take_profit=0.3,
        trailing_stop=0.2,
        tighten_per_bar=0.01,
        trailing_floor=0.05,
        atr_stop=(3.0, "atr"),
        max_bars_held=20,
        max_drawdown=0.4,
        on_entry_bar=False,
        trail_on="close",
        reentry=5,
    ),
    financing=Financing(cash_rate=0.02, debit_rate=0.05, borrow_rate=0.03),
    missing_data=MissingData(
        missing_bar="cancel",
        at_decision="skip",
        delisted="cash_out",
        delist_after_bars=30,
    ),
)
"""Every setting away from its default, but for size_at, where a remainder may wait."""

PATHS = {
    "initial_cash": 1e5,
    "schedule": "week_end",
    "bars_per_year": 52.0,
    "risk_free": 0.01,
    "execution.fill": "same_close",
    "execution.size_at": "fill",
    "execution.rounding": "whole_delta_floor",
    "execution.lot_size": 1.0,
    "execution.sequence": "sells_first",
    "execution.cash_rule": "reject",
    "execution.costs_in_size": "per_order",
    "execution.compat": "ml4t",
    "commission.bps": 10.0,
    "commission.per_share": {"A": 0.01},
    "commission.per_order": "ticket",
    "commission.minimum": 2.0,
    "commission.maximum": 50.0,
    "slippage.bps": 3.0,
    "slippage.half_spread": ("bid", "ask"),
    "slippage.volume_impact": 0.1,
    "slippage.sqrt_impact": 0.0,
    "slippage.volatility": None,
    "limits.allow_short": True,
    "limits.max_gross": 2.0,
    "limits.on_excess": "scale",
    "limits.max_borrowing": 0.25,
    "limits.max_weight": 0.1,
    "limits.max_participation": 0.05,
    "limits.remainder": "cancel",
    "limits.min_trade_value": 50.0,
    "limits.drift_band": 0.02,
    "limits.max_turnover": 0.5,
    "limits.maintenance": None,
    "exits.stop_loss": 0.1,
    "exits.take_profit": 0.2,
    "exits.trailing_stop": 0.15,
    "exits.tighten_per_bar": 0.0,
    "exits.trailing_floor": 0.0,
    "exits.atr_stop": (2.0, "atr"),
    "exits.max_bars_held": 10,
    "exits.max_drawdown": 0.25,
    "exits.on_entry_bar": True,
    "exits.trail_on": "extreme",
    "exits.reentry": "after_target_zero",
    "financing.cash_rate": 0.0,
    "financing.debit_rate": 0.0,
    "financing.borrow_rate": 0.0,
    "missing_data.missing_bar": "cancel",
    "missing_data.at_decision": "skip",
    "missing_data.delisted": "write_off",
    "missing_data.delist_after_bars": None,
}
"""A value for each path, the default where it says nothing by itself."""


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
    prices = {name: [10.0] * 4 for name in ("open", "high", "low", "close")}
    more = {"volume": [1_000.0] * 4, "atr": [0.5] * 4}
    return pl.DataFrame({"date": DAYS, "symbol": ["A"] * 4, **prices, **more})


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
        "execution.size_at": "decision",
        "execution.rounding": "fractional",
        "execution.lot_size": 1.0,
        "execution.sequence": "sells_first",
        "execution.cash_rule": "scale",
        "execution.costs_in_size": "none",
        "execution.compat": None,
        "commission.bps": 0.0,
        "commission.per_share": 0.0,
        "commission.per_order": 0.0,
        "commission.minimum": 0.0,
        "commission.maximum": None,
        "slippage.bps": 0.0,
        "slippage.half_spread": 0.0,
        "slippage.volume_impact": 0.0,
        "slippage.sqrt_impact": 0.0,
        "slippage.volatility": None,
        "limits.allow_short": False,
        "limits.max_gross": 1.0,
        "limits.on_excess": "raise",
        "limits.max_borrowing": 0.0,
        "limits.max_weight": None,
        "limits.max_participation": None,
        "limits.remainder": "cancel",
        "limits.min_trade_value": 0.0,
        "limits.drift_band": 0.0,
        "limits.max_turnover": None,
        "limits.maintenance": None,
        "exits.stop_loss": None,
        "exits.take_profit": None,
        "exits.trailing_stop": None,
        "exits.tighten_per_bar": 0.0,
        "exits.trailing_floor": 0.0,
        "exits.atr_stop": None,
        "exits.max_bars_held": None,
        "exits.max_drawdown": None,
        "exits.on_entry_bar": True,
        "exits.trail_on": "extreme",
        "exits.reentry": "after_target_zero",
        "financing.cash_rate": 0.0,
        "financing.debit_rate": 0.0,
        "financing.borrow_rate": 0.0,
        "missing_data.missing_bar": "pending",
        "missing_data.at_decision": "use_last",
        "missing_data.delisted": "hold",
        "missing_data.delist_after_bars": None,
    }


def test_run_without_settings_has_the_defaults():
    assert bl.run_backtest(market(), lambda bar: None).config == BacktestConfig()


def test_members_are_keyword_only():
    for kind in (BacktestConfig, *GROUPS):
        with pytest.raises(TypeError, match="positional"):
            kind(1.0)


def test_misspelt_member_of_a_group_names_the_nearest():
    message = (
        "unknown setting 'commission.bsp'. Did you mean 'bps'?\n"
        "Commission has bps, per_share, per_order, minimum, maximum."
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
        (CHANGED.exits, "stop_loss"),
        (CHANGED.financing, "cash_rate"),
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


def base_of(path: str) -> BacktestConfig:
    """The defaults, or the nearest config in which the setting has a meaning."""
    if path == "execution.compat":
        return BacktestConfig(execution=Execution(cash_rule="reject"))
    return BacktestConfig()


def test_paths_of_the_test_are_all_settings():
    assert set(PATHS) == set(flat(BacktestConfig()))


@pytest.mark.parametrize(("path", "value"), PATHS.items())
def test_replace_changes_one_path_and_nothing_else(path: str, value: Any):
    base = base_of(path)
    changed = base.replace({path: value})
    assert value_at(changed, path) == value
    plain = list(value) if isinstance(value, tuple) else value
    assert flat(changed) == {**flat(base), path: plain}
    assert base == base_of(path)


def test_replace_with_paths_and_members():
    changed = BacktestConfig().replace(
        {"commission.bps": 10, "limits.max_gross": 2.0}, initial_cash=1e5
    )
    assert changed == BacktestConfig(
        initial_cash=1e5, commission=Commission(bps=10), limits=Limits(max_gross=2.0)
    )


def test_replace_keeps_the_rest_of_a_group():
    assert CHANGED.replace({"commission.bps": 3.0}).commission == Commission(
        bps=3.0, per_share=0.01, per_order=1.0, minimum=1.5, maximum=90.0
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
        ("commission.bps.value", "commission.bps"),
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


@pytest.mark.parametrize("path", ["", "stop_at", "xyz.abc", 3])
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
        "execution.rounding must be one of 'fractional', 'whole_target', "
        "'whole_delta_trunc', 'whole_delta_nearest', 'whole_delta_floor', got "
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
        "slippage must be of type Slippage, got Commission(bps=1.0, per_share=0.0, "
        "per_order=0.0, minimum=0.0, maximum=None).\n"
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
    base = base_of(path)
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
    made = BacktestConfig(
        commission=Commission(bps={"B": 2, "A": 1}, minimum="ticket"),
        slippage=Slippage(half_spread=("bid", "ask"), bps={7: 1.0, 3: 2.0}),
        exits=Exits(atr_stop=(2, "atr"), reentry=3),
    )
    plain = json.loads(made.to_json())
    assert list(plain) == [f.name for f in dataclasses.fields(BacktestConfig)]
    assert plain["initial_cash"] == 1_000_000.0
    assert plain["schedule"] == "every_bar"
    assert plain["bars_per_year"] is None
    assert plain["commission"] == {
        "bps": {"A": 1.0, "B": 2.0},
        "per_share": 0.0,
        "per_order": 0.0,
        "minimum": "ticket",
        "maximum": None,
    }
    # JSON has no integer keys.
    assert plain["slippage"]["bps"] == [[3, 2.0], [7, 1.0]]
    assert plain["slippage"]["half_spread"] == ["bid", "ask"]
    assert plain["exits"]["atr_stop"] == [2.0, "atr"]
    assert plain["exits"]["reentry"] == 3
    again = BacktestConfig.from_json(made.to_json())
    assert again == made
    assert again.slippage.bps == {3: 2.0, 7: 1.0}
    assert again.slippage.half_spread == ("bid", "ask")
    assert again.exits.atr_stop == (2.0, "atr")


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


# --- options that say nothing together ------------------------------------------------

REACHES = (
    "with costs_in_size='portfolio', which reaches every target.\n"
    "Hint: use costs_in_size='per_order' or 'none'."
)
NO_TRAIL = "has no meaning without trailing_stop.\nHint: set trailing_stop."
NO_EXIT = (
    "has no meaning without an exit of single positions.\n"
    "Hint: set stop_loss, take_profit, trailing_stop, atr_stop or max_bars_held."
)
PORTFOLIO = 'BacktestConfig(execution=Execution(costs_in_size="portfolio"), limits='

REFUSED_TOGETHER = {
    "Execution(lot_size=100)": (
        "execution.lot_size=100.0 has no meaning with rounding='fractional'.\n"
        "Hint: use rounding='whole_target'."
    ),
    'Execution(sequence="asset_order")': (
        "execution.sequence='asset_order' has no meaning with cash_rule='scale', which "
        "fills sells first.\nHint: use cash_rule='partial', 'reject' or 'allow'."
    ),
    'Execution(size_at="decision", costs_in_size="portfolio")': (
        "execution.size_at='decision' has no meaning with costs_in_size='portfolio', "
        "which sizes at the fill.\n"
        "Hint: leave size_at out, or use costs_in_size='per_order'."
    ),
    "Commission(minimum=5, maximum=1)": (
        "commission.minimum=5.0 must be at most commission.maximum=1.0."
    ),
    "Slippage(sqrt_impact=0.5)": (
        "slippage.sqrt_impact=0.5 has no meaning without volatility.\n"
        "Hint: set volatility, e.g. to a column of daily volatilities."
    ),
    "Slippage(volatility=0.02)": (
        "slippage.volatility=0.02 has no meaning without sqrt_impact.\n"
        "Hint: set sqrt_impact, or leave volatility out."
    ),
    'Limits(remainder="pending")': (
        "limits.remainder='pending' has no meaning without max_participation.\n"
        "Hint: set max_participation, or leave remainder out."
    ),
    "Exits(tighten_per_bar=0.01)": f"exits.tighten_per_bar=0.01 {NO_TRAIL}",
    "Exits(trailing_floor=0.05)": f"exits.trailing_floor=0.05 {NO_TRAIL}",
    'Exits(trail_on="close")': f"exits.trail_on='close' {NO_TRAIL}",
    "Exits(trailing_stop=0.05, trailing_floor=0.1)": (
        "exits.trailing_floor=0.1 must be at most exits.trailing_stop=0.05."
    ),
    'Exits(reentry="allowed")': f"exits.reentry='allowed' {NO_EXIT}",
    "Exits(on_entry_bar=False)": f"exits.on_entry_bar=False {NO_EXIT}",
    "MissingData(delist_after_bars=5)": (
        "missing_data.delist_after_bars=5 has no meaning with delisted='hold'.\n"
        "Hint: use delisted='cash_out' or 'write_off'."
    ),
    f"{PORTFOLIO}Limits(drift_band=0.01))": (
        f"limits.drift_band=0.01 has no meaning {REACHES}"
    ),
    f"{PORTFOLIO}Limits(min_trade_value=100))": (
        f"limits.min_trade_value=100.0 has no meaning {REACHES}"
    ),
    f"{PORTFOLIO}Limits(max_turnover=0.5))": (
        f"limits.max_turnover=0.5 has no meaning {REACHES}"
    ),
    f"{PORTFOLIO}Limits(max_participation=0.1))": (
        f"limits.max_participation=0.1 has no meaning {REACHES}"
    ),
    'BacktestConfig(execution=Execution(size_at="fill"), '
    'limits=Limits(max_participation=0.1, remainder="pending"))': (
        "limits.remainder='pending' has no meaning with size_at='fill', where what "
        "waits is a weight.\nHint: use size_at='decision'."
    ),
    'BacktestConfig(execution=Execution(cash_rule="allow"), '
    "limits=Limits(max_borrowing=0.5))": (
        "limits.max_borrowing=0.5 has no meaning with cash_rule='allow', which has no "
        "floor of cash.\nHint: leave max_borrowing out, or use another cash_rule."
    ),
    "BacktestConfig(limits=Limits(maintenance=0.25))": (
        "limits.maintenance=0.25 has no meaning without shorts or borrowing.\n"
        "Hint: set allow_short, max_borrowing or max_gross."
    ),
    "BacktestConfig(exits=Exits(stop_loss=5))": (
        "exits.stop_loss is a fraction, and 5.0 is 500%: a price would have to fall "
        "below 0.\nHint: 5 % is 0.05."
    ),
    "BacktestConfig(bars_per_year=252, financing=Financing(cash_rate=3))": (
        "financing.cash_rate is a fraction, and 3.0 is 300% a year.\nHint: 3 % is 0.03."
    ),
    'Execution(compat="zipline")': (
        "execution.compat='zipline' has no meaning without whole_delta rounding.\n"
        "Hint: begin with profile(...), which sets what belongs together."
    ),
    'BacktestConfig(execution=Execution(compat="ml4t", cash_rule="reject", '
    'sequence="exits_first"), limits=Limits(max_borrowing=0.5))': (
        "limits.max_borrowing=0.5 has no meaning with execution.compat='ml4t', whose "
        "check of cash knows bps only.\nHint: leave it out, or leave compat out."
    ),
    'BacktestConfig(execution=Execution(compat="ml4t", cash_rule="reject", '
    'sequence="exits_first"), commission=Commission(per_order=1))': (
        "commission.per_order=1.0 has no meaning with execution.compat='ml4t', whose "
        "check of cash knows bps only.\nHint: leave it out, or leave compat out."
    ),
    "BacktestConfig(financing=Financing(cash_rate=0.03))": (
        "financing.cash_rate is a rate per year and needs bars_per_year.\n"
        "Hint: set it, e.g. bars_per_year=252 for daily bars; the inferred number "
        "serves the metrics only."
    ),
    "BacktestConfig(bars_per_year=252, financing=Financing(borrow_rate=0.03))": (
        "financing.borrow_rate=0.03 has no meaning without shorts.\n"
        "Hint: set limits=Limits(allow_short=True)."
    ),
}


def options_page() -> list[list[str]]:
    """Return the cells of the table rows of the page of options."""
    page = Path(__file__).parents[2] / "docs" / "options.md"
    rows = [line for line in page.read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def made(code: str) -> Any:
    return eval(code, vars(bl))


def test_page_of_options_lists_what_is_refused_together():
    listed = [cells[0].strip("`") for cells in options_page() if len(cells) == 2]
    assert [one for one in listed if "(" in one] == list(REFUSED_TOGETHER)


def test_page_of_options_lists_every_setting_with_its_default():
    rows = {c[0].strip("`"): c[2] for c in options_page() if len(c) == 4}
    defaults = flat(BacktestConfig())
    assert list(rows) == list(defaults)
    assert {name: made(cell.strip("`")) for name, cell in rows.items()} == defaults


@pytest.mark.parametrize("code", REFUSED_TOGETHER)
def test_refused_together(code: str):
    assert refused(lambda: made(code)) == REFUSED_TOGETHER[code]


@pytest.mark.parametrize(
    "code",
    [
        'Execution(sequence="asset_order", cash_rule="partial")',
        'Execution(size_at="fill", costs_in_size="portfolio")',
        'Execution(size_at="fill", costs_in_size="per_order")',
        "Commission(minimum=5, maximum=5)",
        "Slippage(sqrt_impact=0.5, volatility=0.02)",
        'Limits(remainder="pending", max_participation=1)',
        'Exits(trailing_stop=0.1, trailing_floor=0.1, trail_on="close")',
        "Exits(max_bars_held=1, reentry=1, on_entry_bar=False)",
        "Exits(max_drawdown=0.2)",
        'MissingData(delist_after_bars=1, delisted="write_off")',
        f"{PORTFOLIO}Limits(max_weight=0.1, max_gross=2.0))",
        'BacktestConfig(execution=Execution(cash_rule="allow"), '
        "limits=Limits(maintenance=0.25))",
        "BacktestConfig(limits=Limits(maintenance=0.25, max_gross=1.5))",
        "BacktestConfig(limits=Limits(maintenance=0.25, allow_short=True))",
        "BacktestConfig(bars_per_year=252, financing=Financing(debit_rate=0.05))",
        "BacktestConfig(bars_per_year=252, limits=Limits(allow_short=True), "
        'financing=Financing(borrow_rate="fee"))',
        "BacktestConfig(financing=Financing(borrow_rate={'A': 0.0}))",
    ],
)
def test_accepted_together(code: str):
    made(code)


def test_costs_of_the_portfolio_in_the_size_imply_the_fill():
    assert Execution(costs_in_size="portfolio").size_at == "fill"
    changed = BacktestConfig().replace({"execution.costs_in_size": "portfolio"})
    assert changed.execution.size_at == "fill"
    assert BacktestConfig.from_json(changed.to_json()) == changed
    refused(
        lambda: changed.replace({"execution.size_at": "decision"}),
    )


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: Commission(bps=None),
            "commission.bps must be a number, a mapping of asset to number, or the "
            "name of a column, got None.",
        ),
        (
            lambda: Commission(per_share=[1.0]),
            "commission.per_share must be a number, a mapping of asset to number, or "
            "the name of a column, got [1.0].",
        ),
        (
            lambda: Commission(minimum=""),
            "commission.minimum must be the name of a column, got ''.",
        ),
        (
            lambda: Commission(per_order={}),
            "commission.per_order is a mapping that names no asset.\n"
            "Hint: give a number for all.",
        ),
        (
            lambda: Commission(bps={"A": 1.0, "B": -1.0}),
            "commission.bps['B'] must be at least 0, got -1.0.",
        ),
        (
            lambda: Commission(bps={"A": 10_000}),
            "commission.bps['A'] must be less than 10000, got 10000.",
        ),
        (
            lambda: Commission(maximum={1: NAN}),
            "commission.maximum[1] must be finite, got nan.",
        ),
        (
            lambda: Commission(maximum={None: 1.0}),
            "commission.maximum must name assets by text or integers, got None.",
        ),
        (
            lambda: Slippage(half_spread=1.0),
            "slippage.half_spread must be less than 1, got 1.0.",
        ),
        (
            lambda: Slippage(half_spread=("bid",)),
            "slippage.half_spread takes a pair of columns, (bid, ask), got ('bid',).",
        ),
        (
            lambda: Slippage(half_spread=("bid", 2.0)),
            "slippage.half_spread must be the name of a column, got 2.0.",
        ),
        (
            lambda: Slippage(volume_impact="impact"),
            "slippage.volume_impact must be a number, got 'impact'.",
        ),
        (
            lambda: Limits(max_participation=1.5),
            "limits.max_participation must be at most 1, got 1.5.",
        ),
        (
            lambda: Limits(max_weight=0),
            "limits.max_weight must be greater than 0, got 0.",
        ),
        (
            lambda: Limits(maintenance=1),
            "limits.maintenance must be less than 1, got 1.",
        ),
        (
            lambda: Limits(drift_band=-0.1),
            "limits.drift_band must be at least 0, got -0.1.",
        ),
        (
            lambda: Limits(on_excess="scales"),
            "limits.on_excess must be one of 'raise', 'scale', got 'scales'. "
            "Did you mean 'scale'?",
        ),
        (
            lambda: Exits(stop_loss=0.0),
            "exits.stop_loss must be greater than 0, got 0.0.",
        ),
        (
            lambda: Exits(max_drawdown=1.0),
            "exits.max_drawdown must be less than 1, got 1.0.",
        ),
        (
            lambda: Exits(max_bars_held=2.5),
            "exits.max_bars_held must be a whole number, got 2.5.",
        ),
        (
            lambda: Exits(max_bars_held=0),
            "exits.max_bars_held must be at least 1, got 0.",
        ),
        (
            lambda: Exits(atr_stop=2.0),
            "exits.atr_stop must be a pair (multiple, column), got 2.0.",
        ),
        (
            lambda: Exits(atr_stop=(0, "atr")),
            "exits.atr_stop[0] must be greater than 0, got 0.",
        ),
        (
            lambda: Exits(atr_stop=(2.0, 3)),
            "exits.atr_stop[1] must be the name of a column, got 3.",
        ),
        (
            lambda: Exits(stop_loss=0.1, reentry="alowed"),
            "exits.reentry must be one of 'after_target_zero', 'allowed' or a number "
            "of bars, got 'alowed'. Did you mean 'allowed'?",
        ),
        (
            lambda: Exits(stop_loss=0.1, reentry=0),
            "exits.reentry must be at least 1, got 0.",
        ),
        (
            lambda: Exits(stop_loss=0.1, reentry=True),
            "exits.reentry must be a whole number, got True.",
        ),
        (
            lambda: Financing(debit_rate=-0.01),
            "financing.debit_rate must be at least 0, got -0.01.",
        ),
        (
            lambda: Execution(compat="zipine"),
            "execution.compat must be one of 'backtrader', 'zipline', 'vectorbt', "
            "'ml4t', 'bt', got 'zipine'. Did you mean 'zipline'?",
        ),
        (
            lambda: MissingData(delisted="drop"),
            "missing_data.delisted must be one of 'hold', 'cash_out', 'write_off', got "
            "'drop'.",
        ),
    ],
)
def test_value_that_is_refused_when_it_is_made(make: Callable[[], Any], text: str):
    assert refused(make) == text


# --- one number per asset -------------------------------------------------------------


def test_mapping_is_copied_sorted_and_hashable():
    given = {"B": 2, "A": np.float64(1.0)}
    commission = Commission(bps=given)
    given["C"] = 3
    assert commission.bps == {"A": 1.0, "B": 2.0}
    assert commission == Commission(bps={"A": 1, "B": 2})
    assert hash(commission) == hash(Commission(bps={"A": 1, "B": 2}))
    assert repr(commission.bps) == "{'A': 1.0, 'B': 2.0}"
    assert BacktestConfig(commission=commission) == BacktestConfig(
        commission=Commission(bps={"B": 2, "A": 1})
    )
    with pytest.raises(TypeError):
        commission.bps["A"] = 9.0


def test_mapping_of_integers_goes_through_json():
    config = BacktestConfig(commission=Commission(per_share={np.int64(7): 1, 3: 2}))
    assert BacktestConfig.from_json(config.to_json()) == config
    assert copy.deepcopy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config


# --- the vector of numbers that the loop reads ----------------------------------------


def vector(config: BacktestConfig, *, asks: bool = False) -> dict[str, float]:
    made = option_vector(config, asks=asks, first_bar=3, bars_per_year=250.0)
    return {option.name: float(made[option]) for option in Option}


def test_options_of_the_defaults():
    assert vector(BacktestConfig()) == {
        **{option.name: 0.0 for option in Option},
        "LOT_SIZE": 1.0,
        "LINEAR_COSTS": 1.0,
        "MAX_WEIGHT": INF,
        "MAX_GROSS": 1.0,
        "MAX_TURNOVER": INF,
        "MAX_PARTICIPATION": INF,
        "ON_ENTRY_BAR": 1.0,
        "REENTRY_BARS": -1.0,
        "FIRST_BAR": 3.0,
    }


def test_options_of_every_setting():
    assert vector(CHANGED) == {
        "FILL_TIMING": FillTiming.NEXT_CLOSE,
        "ROUNDING": Rounding.WHOLE_TARGET,
        "LOT_SIZE": 10.0,
        "COMMISSION_RATE": 0.001,
        "COMMISSION_MINIMUM": 1.5,
        "SLIPPAGE_RATE": 0.0005,
        "MAX_BORROWING": 0.5,
        "MIN_TRADE_VALUE": 100.0,
        "MISSING_BAR": MissingBar.CANCEL,
        "AT_DECISION": AtDecision.SKIP,
        "TRACK_ENTRIES": 1.0,
        "ASK_FOR_DECISIONS": 0.0,
        "SIZE_AT": SizeAt.DECISION,
        "SEQUENCE": Sequence.ASSET_ORDER,
        "CASH_RULE": CashRule.PARTIAL,
        "COSTS_IN_SIZE": CostsInSize.PER_ORDER,
        "COMPAT": Compat.BT,
        "LINEAR_COSTS": 0.0,
        "VOLUME_IMPACT": 0.1,
        "SQRT_IMPACT": 0.5,
        "MAX_WEIGHT": 0.4,
        "MAX_GROSS": 2.0,
        "ON_EXCESS": OnExcess.SCALE,
        "DRIFT_BAND": 0.01,
        "MAX_TURNOVER": 0.8,
        "MAX_PARTICIPATION": 0.1,
        "REMAINDER": Remainder.PENDING,
        "MAINTENANCE": 0.25,
        "STOP_LOSS": 0.1,
        "TAKE_PROFIT": 0.3,
        "TRAILING_STOP": 0.2,
        "TIGHTEN_PER_BAR": 0.01,
        "TRAILING_FLOOR": 0.05,
        "ATR_MULTIPLE": 3.0,
        "MAX_BARS_HELD": 20.0,
        "MAX_DRAWDOWN": 0.4,
        "ON_ENTRY_BAR": 0.0,
        "TRAIL_ON": TrailOn.CLOSE,
        "REENTRY_BARS": 5.0,
        "CASH_RATE": 0.02 / 250.0,
        "DEBIT_RATE": 0.05 / 250.0,
        "FINANCING": 1.0,
        "DELISTED": Delisted.CASH_OUT,
        "DELIST_AFTER_BARS": 30.0,
        "FIRST_BAR": 3.0,
        "HAS_EXITS": 1.0,
        "ALLOW_SHORT": 1.0,
    }


def test_costs_by_asset_are_no_numbers_of_the_vector():
    config = BacktestConfig(
        commission=Commission(bps="fee", minimum={"A": 0.0}),
        slippage=Slippage(bps={"A": 1.0}),
    )
    found = vector(config)
    assert np.isnan([found["COMMISSION_RATE"], found["COMMISSION_MINIMUM"]]).all()
    assert np.isnan(found["SLIPPAGE_RATE"])


@pytest.mark.parametrize(
    ("members", "linear"),
    [
        ({}, True),
        ({"commission": Commission(bps=5, per_share=0.01)}, True),
        ({"commission": Commission(bps="fee", minimum={"A": 0.0})}, True),
        ({"slippage": Slippage(bps=5, half_spread=("bid", "ask"))}, True),
        ({"commission": Commission(minimum=1.0)}, False),
        ({"commission": Commission(minimum="ticket")}, False),
        ({"commission": Commission(maximum=1.0)}, False),
        ({"commission": Commission(per_order={"A": 0.0, "B": 1.0})}, False),
        ({"slippage": Slippage(volume_impact=0.1)}, False),
        ({"slippage": Slippage(sqrt_impact=0.1, volatility="sigma")}, False),
    ],
)
def test_costs_that_are_linear_in_the_quantity(
    members: dict[str, Any], *, linear: bool
):
    assert vector(BacktestConfig(**members))["LINEAR_COSTS"] == linear


@pytest.mark.parametrize(
    ("exits", "asks", "tracks"),
    [
        (Exits(), False, False),
        (Exits(), True, True),
        (Exits(max_drawdown=0.2), False, False),
        (Exits(max_bars_held=3), False, True),
        (Exits(atr_stop=(2.0, "atr")), False, True),
    ],
)
def test_entries_are_tracked_for_callbacks_and_exits(
    exits: Exits, *, asks: bool, tracks: bool
):
    found = vector(BacktestConfig(exits=exits), asks=asks)
    assert found["TRACK_ENTRIES"] == tracks
    assert found["HAS_EXITS"] == (tracks and not asks)


@pytest.mark.parametrize(
    ("reentry", "code"), [("after_target_zero", -1), ("allowed", 0), (4, 4)]
)
def test_reentry_as_a_number(reentry: Any, code: int):
    config = BacktestConfig(exits=Exits(stop_loss=0.1, reentry=reentry))
    assert vector(config)["REENTRY_BARS"] == code
