"""Profiles: their names, what they set, and the quirks that no reference reaches."""

from __future__ import annotations

import datetime as dt
import doctest
import re

import polars as pl
import pytest

import barloop as bl
from barloop import profiles
from barloop.errors import ConfigError
from barloop.profiles import EXECUTIONS, profile


@pytest.mark.parametrize("name", EXECUTIONS)
def test_a_profile_sets_nothing_but_how_orders_fill(name: str) -> None:
    config = profile(name)
    assert config.execution == EXECUTIONS[name]
    assert config.execution != bl.Execution()
    missing_bar = "cancel" if name.startswith("vectorbt") else "pending"
    assert config == bl.BacktestConfig(
        execution=config.execution,
        missing_data=bl.MissingData(missing_bar=missing_bar),
    )
    assert bl.BacktestConfig.from_json(config.to_json()) == config


def test_profiles_differ_from_each_other() -> None:
    assert len({profile(name) for name in EXECUTIONS}) == len(EXECUTIONS) == 10


def test_costs_and_limits_are_added_by_path() -> None:
    config = bl.profile("backtrader").replace(
        {"commission.bps": 10, "limits.allow_short": True}
    )
    assert config.commission == bl.Commission(bps=10)
    assert config.limits == bl.Limits(allow_short=True)
    assert config.execution == EXECUTIONS["backtrader"]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("backtrade", "backtrader"),
        ("vectorbt", "vectorbt_close"),
        ("Zipline", "zipline"),
    ],
)
def test_unknown_name_says_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"Did you mean '{nearest}'") as raised:
        profile(name)
    assert f"unknown profile '{name}'" in str(raised.value)
    assert all(known in str(raised.value) for known in EXECUTIONS)


@pytest.mark.parametrize("name", [None, 3, ["zipline"], "", "a long way from any"])
def test_what_is_no_name_lists_the_profiles(name: object) -> None:
    with pytest.raises(ConfigError, match="Profiles: vectorbt_close, "):
        profile(name)  # type: ignore[arg-type]


def test_the_docstring_runs_and_has_a_row_for_each_profile() -> None:
    assert doctest.testmod(profiles).failed == 0
    text = profile.__doc__ or ""
    assert re.findall(r"^ +``(\w+)`` +``\w+\[", text, re.MULTILINE) == list(EXECUTIONS)


def run(config: bl.BacktestConfig, close: list[float], weight: list[float]) -> list:
    """Trade one asset at its closes; return the quantities filled."""
    day = dt.date(2024, 1, 1)
    bars = pl.DataFrame(
        {
            "date": [day + dt.timedelta(days=k) for k in range(len(close))],
            "symbol": "A",
            "close": close,
            "weight": weight,
        }
    )
    return bl.run_backtest(bars, "weight", config=config).fills["quantity"].to_list()


def test_zipline_takes_a_quantity_within_1e_4_of_a_whole_number_for_it() -> None:
    config = profile("zipline").replace({"initial_cash": 1000.0})
    # 1000 * 0.999995 / 100 = 9.99995, and 1000 * 0.99998 / 100 = 9.9998
    assert run(config, [100.0] * 2, [0.999995, 0.0]) == [10.0]
    assert run(config, [100.0] * 2, [0.99998, 0.0]) == [9.0]
    plain = config.replace({"execution.compat": None})
    assert run(plain, [100.0] * 2, [0.999995, 0.0]) == [9.0]


def test_vectorbt_forgets_an_order_without_a_price() -> None:
    nan = float("nan")
    config = profile("vectorbt_close").replace({"initial_cash": 1000.0})
    # Bought at 100, to be sold on the bar without a close, and asked for no more.
    closes, weights = [100.0, nan, 110.0], [1.0, 0.0, 1.0]
    assert run(config, closes, weights) == [10.0]
    waits = config.replace({"missing_data.missing_bar": "pending"})
    assert run(waits, closes, weights) != [10.0]
