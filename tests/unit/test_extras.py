"""Which runs need the full loop, and the arrays it reads."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest

from barloop import (
    BacktestConfig,
    Commission,
    Execution,
    Exits,
    Financing,
    Limits,
    MissingData,
    Panel,
    Slippage,
)
from barloop.actions import action_rows
from barloop.engine import prepare
from barloop.errors import ConfigError
from barloop.extras import extras_of, require_columns

DAYS = [dt.date(2021, 3, 4) + dt.timedelta(days=k) for k in range(3)]

FRAME = pl.DataFrame(
    {
        "date": [day for day in DAYS for _ in range(2)],
        "symbol": ["A", "B"] * 3,
        "open": [10.0, 20.0] * 3,
        "high": [11.0, 21.0] * 3,
        "low": [9.0, 19.0] * 3,
        "close": [10.0, 20.0] * 3,
        "volume": [100.0] * 6,
        "atr": [0.5, None, 0.6, 0.7, None, 0.8],
        "w": [0.5] * 6,
    }
)

LEAN: dict[str, dict[str, Any]] = {
    "defaults": {},
    "timing": {"execution": Execution(fill="same_close")},
    "lots": {"execution": Execution(rounding="whole_target", lot_size=10)},
    "commission": {"commission": Commission(bps=5, minimum=1)},
    "slippage": {"slippage": Slippage(bps=5)},
    "limits": {
        "limits": Limits(
            allow_short=True, max_gross=2, max_borrowing=0.5, min_trade_value=10
        )
    },
    "missing": {"missing_data": MissingData(missing_bar="cancel", at_decision="skip")},
    "delisted without a rule": {"missing_data": MissingData(delisted="cash_out")},
    "zeros": {
        "commission": Commission(per_share=0, per_order={"A": 0}),
        "slippage": Slippage(half_spread=0, volume_impact=0),
        "limits": Limits(drift_band=0),
        "financing": Financing(cash_rate=0, borrow_rate={"A": 0.0}),
    },
}

ORDERS: dict[str, dict[str, Any]] = {
    "size_at": {"execution": Execution(size_at="fill")},
    "rounding": {"execution": Execution(rounding="whole_delta_trunc")},
    "sequence": {
        "execution": Execution(sequence="exits_first", cash_rule="partial"),
    },
    "cash_rule": {"execution": Execution(cash_rule="allow")},
    "costs_in_size": {"execution": Execution(costs_in_size="per_order")},
    "compat": {"execution": Execution(compat="zipline", rounding="whole_delta_trunc")},
    "commission by asset": {"commission": Commission(bps={"A": 1, "B": 1})},
    "minimum by asset": {"commission": Commission(minimum={"A": 0, "B": 0})},
    "per_share": {"commission": Commission(per_share=0.01)},
    "per_order": {"commission": Commission(per_order="volume")},
    "maximum": {"commission": Commission(maximum=10)},
    "slippage by bar": {"slippage": Slippage(bps="volume")},
    "half_spread": {"slippage": Slippage(half_spread=0.001)},
    "bid and ask": {"slippage": Slippage(half_spread=("low", "high"))},
    "volume_impact": {"slippage": Slippage(volume_impact=0.1)},
    "sqrt_impact": {"slippage": Slippage(sqrt_impact=0.1, volatility=0.02)},
    "on_excess": {"limits": Limits(on_excess="scale")},
    "max_weight": {"limits": Limits(max_weight=0.1)},
    "max_participation": {"limits": Limits(max_participation=0.1)},
    "drift_band": {"limits": Limits(drift_band=0.01)},
    "max_turnover": {"limits": Limits(max_turnover=0.5)},
}

EXITS: dict[str, dict[str, Any]] = {
    "maintenance": {"limits": Limits(maintenance=0.25, allow_short=True)},
    "stop_loss": {"exits": Exits(stop_loss=0.1)},
    "take_profit": {"exits": Exits(take_profit=0.1)},
    "trailing_stop": {"exits": Exits(trailing_stop=0.1)},
    "atr_stop": {"exits": Exits(atr_stop=(2, "atr"))},
    "max_bars_held": {"exits": Exits(max_bars_held=3)},
    "max_drawdown": {"exits": Exits(max_drawdown=0.3)},
}

CARRY: dict[str, dict[str, Any]] = {
    "cash_rate": {"financing": Financing(cash_rate=-0.01), "bars_per_year": 252},
    "debit_rate": {"financing": Financing(debit_rate=0.05), "bars_per_year": 252},
    "borrow_rate": {
        "financing": Financing(borrow_rate="volume"),
        "bars_per_year": 252,
        "limits": Limits(allow_short=True),
    },
    "delist_after_bars": {
        "missing_data": MissingData(delisted="write_off", delist_after_bars=5)
    },
}

GROUPS = {"orders": ORDERS, "exits": EXITS, "carry": CARRY}


@pytest.fixture
def panel() -> Panel:
    return Panel.from_frame(FRAME)


def extras(panel: Panel, actions: Any = None, *, full: bool = False, **members: Any):
    config = BacktestConfig(**members)
    rows = None if actions is None else action_rows(actions, panel, 0)
    return extras_of(panel, config, rows, 0, config.bars_per_year or 252.0, full=full)


@pytest.mark.parametrize("case", LEAN)
def test_lean_loop_does(panel: Panel, case: str):
    assert extras(panel, **LEAN[case]) == (None, None, None)


@pytest.mark.parametrize(
    ("group", "case"), [(group, case) for group in GROUPS for case in GROUPS[group]]
)
def test_group_that_an_option_needs(panel: Panel, group: str, case: str):
    made = extras(panel, **GROUPS[group][case])._asdict()
    assert [name for name, rules in made.items() if rules is not None] == [group]


def test_all_groups_on_request(panel: Panel):
    made = extras(panel, full=True)
    assert None not in made
    for one in (*made.orders[:3], *made.exits):
        assert one.shape == (1, 1)
        assert np.isnan(one).all()
    assert made.carry.borrow_rate.tolist() == [[0.0, 0.0]]
    assert made.carry.start.tolist() == [0, 0, 0, 0]
    assert made.carry.kind.size == 0


def test_actions_are_carried(panel: Panel):
    actions = pl.DataFrame(
        {"date": DAYS[:1], "symbol": ["A"], "kind": ["split"], "value": [2.0]}
    )
    assert extras(panel, actions).carry.value.tolist() == [2.0]
    assert extras(panel, actions.clear()) == (None, None, None)


def test_panels_are_those_of_the_data(panel: Panel):
    made = extras(
        panel,
        exits=Exits(atr_stop=(2, "atr")),
        limits=Limits(max_participation=0.1),
    )
    assert made.exits.high is panel.high
    assert made.exits.low is panel.low
    assert made.orders.volume is panel.volume
    no_stop = [[False, True], [False, False], [True, False]]
    assert np.isnan(made.exits.atr).tolist() == no_stop


def test_backtrader_reads_high_and_low(panel: Panel):
    made = extras(panel, execution=Execution(compat="backtrader", cash_rule="reject"))
    assert made.orders.high is panel.high
    assert made.orders.low is panel.low


def test_borrow_rate_per_bar(panel: Panel):
    made = extras(
        panel,
        bars_per_year=250,
        financing=Financing(borrow_rate={"A": 0.5, "B": 0.25}),
        limits=Limits(allow_short=True),
    )
    assert made.carry.borrow_rate.tolist() == [[0.5 / 250, 0.25 / 250]]


def test_one_kind_of_arrays_whatever_is_on(panel: Panel):
    actions = pl.DataFrame(
        {"date": DAYS[:1], "symbol": ["A"], "kind": ["dividend"], "value": [0.5]}
    )

    def kinds(members: dict[str, Any], rows: Any = None) -> list[Any]:
        made = extras(panel, rows, full=True, **members)
        arrays = [*made.orders[:3], *made.orders.costs, *made.exits, *made.carry]
        return [
            (one.dtype, one.ndim, one.flags.c_contiguous, one.flags.writeable)
            for one in arrays
        ]

    first = kinds({})
    assert all(contiguous and not writes for _, _, contiguous, writes in first)
    for group in GROUPS.values():
        for members in group.values():
            assert kinds(members, actions) == first


def test_simulation_keeps_the_extras():
    config = BacktestConfig(limits=Limits(drift_band=0.01))
    assert prepare(FRAME, "w", config=config).extras.orders is not None
    lean = prepare(FRAME, "w", config=BacktestConfig())
    assert lean.extras == (None, None, None)
    assert None not in prepare(FRAME, "w", config=BacktestConfig(), full=True).extras


def test_both_loops_have_the_same_bits():
    config = BacktestConfig(commission=Commission(bps=7, minimum=3))
    equity = []
    for full in (False, True):
        simulation = prepare(FRAME, "w", config=config, full=full)
        simulation.reset(keep_log=True)
        simulation.run()
        equity.append(simulation.bars[:2].tolist())
    assert equity[0] == equity[1]


# --- columns --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "without", "text"),
    [
        (
            {},
            ["open"],
            "fill='next_open' needs an 'open' column, and the data has none.\n"
            "Hint: add one, or use execution=Execution(fill='next_close').",
        ),
        (
            {"exits": Exits(stop_loss=0.1)},
            ["high", "low"],
            "exits.stop_loss needs columns 'high' and 'low', and the data has none.\n"
            "Hint: add them, or leave stop_loss out.",
        ),
        (
            {
                "exits": Exits(atr_stop=(2, "atr")),
                "execution": Execution(fill="next_close"),
            },
            ["open"],
            "exits.atr_stop needs a column 'open', and the data has none.\n"
            "Hint: add it, or leave atr_stop out.",
        ),
        (
            {
                "exits": Exits(max_bars_held=2),
                "execution": Execution(fill="same_close"),
            },
            ["open"],
            "exits.max_bars_held needs a column 'open', and the data has none.\n"
            "Hint: add it, or leave max_bars_held out.",
        ),
        (
            {"limits": Limits(max_participation=0.1)},
            ["volume"],
            "limits.max_participation needs a column 'volume', and the data has none.\n"
            "Hint: add it, or leave max_participation out.",
        ),
        (
            {"slippage": Slippage(sqrt_impact=0.1, volatility=0.02)},
            ["volume"],
            "slippage.sqrt_impact needs a column 'volume', and the data has none.\n"
            "Hint: add it, or leave sqrt_impact out.",
        ),
        (
            {"execution": Execution(compat="backtrader", cash_rule="reject")},
            ["low"],
            "execution.compat needs a column 'low', and the data has none.\n"
            "Hint: add it, or leave compat out.",
        ),
    ],
)
def test_column_that_a_setting_needs(
    members: dict[str, Any], without: list[str], text: str
):
    with pytest.raises(ConfigError) as caught:
        prepare(FRAME.drop(without), "w", config=BacktestConfig(**members))
    assert str(caught.value) == text


def test_columns_that_nothing_needs():
    few = FRAME.drop("high", "low", "volume")
    require_columns(Panel.from_frame(few), BacktestConfig(exits=Exits(max_bars_held=2)))


def test_column_of_atr_that_is_not_there(panel: Panel):
    with pytest.raises(ConfigError) as caught:
        extras(panel, exits=Exits(atr_stop=(2, "art")))
    assert str(caught.value) == (
        "exits.atr_stop names the column 'art', and the data has 'date', 'symbol', "
        "'open', 'high', 'low', 'close', 'volume', 'atr', 'w'. Did you mean 'atr'?"
    )


@pytest.mark.parametrize("value", [-0.5, float("inf")])
def test_column_of_atr_that_is_no_range(value: float):
    df = FRAME.with_columns(atr=pl.Series([value, 0.5, 0.5, value, 0.5, 0.5]))
    config = BacktestConfig(exits=Exits(atr_stop=(2, "atr")))
    with pytest.raises(ConfigError) as caught:
        prepare(df, "w", config=config)
    assert str(caught.value) == (
        "exits.atr_stop needs a column of finite numbers from 0, and 2 of 'atr' are "
        f'not, first at 2021-03-04, asset "A", value {value}.\n'
        "Hint: null gives a position no such stop."
    )
    # The bar before the first of the run is read, those before it are not.
    with pytest.raises(ConfigError, match="1 of 'atr' is not, first at 2021-03-05"):
        prepare(df, "w", config=config, start=DAYS[2])
