"""The loop itself: resumable at every step, one specialisation, logs that grow."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import polars as pl
import pytest

import barloop as bl
from barloop import datasets
from barloop._kernels.buffers import grow_log, new_log
from barloop._kernels.simulate import advance
from barloop.config import BacktestConfig
from barloop.engine import prepare
from barloop.enums import BarField, Counter, SimStatus
from barloop.simulation import Simulation


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    """30 assets, 120 bars, a tenth of the rows missing, a long and short weight."""
    bars = datasets.simulate_bars(30, 120, seed=5)
    rng = np.random.default_rng(5)
    weight = np.where(rng.random(bars.height) < 0.3, rng.normal(0, 0.1, bars.height), 0)
    return bars.with_columns(weight=pl.Series(weight)).filter(
        pl.Series(rng.random(bars.height) < 0.9)
    )


@pytest.fixture(params=["next_open", "next_close", "same_close"])
def config(request) -> BacktestConfig:
    return BacktestConfig(
        execution=bl.Execution(fill=request.param),
        commission=bl.Commission(bps=10, minimum=1),
        slippage=bl.Slippage(bps=5),
        limits=bl.Limits(allow_short=True, max_gross=5, max_borrowing=0.5),
    )


def start(frame, config, n_rows, *, full=False) -> Simulation:
    simulation = prepare(frame, "weight", config=config, full=full)
    simulation.reset(keep_log=True)
    simulation.log = new_log(n_rows)
    return simulation


def step(simulation: Simulation, stop_bar: int) -> int:
    return advance(
        stop_bar,
        simulation.market,
        simulation.decisions,
        simulation.options,
        simulation.state,
        simulation.log,
        simulation.bars,
        *simulation.extras,
    )


def same(one: Simulation, two: Simulation) -> None:
    n_fills = one.state.counters[Counter.N_FILLS]
    n_orders = one.state.counters[Counter.N_ORDERS]
    assert n_fills > 1_000
    np.testing.assert_array_equal(one.state.counters, two.state.counters)
    np.testing.assert_array_equal(one.bars, two.bars)
    np.testing.assert_array_equal(
        one.log.codes[:4, :n_fills], two.log.codes[:4, :n_fills]
    )
    np.testing.assert_array_equal(
        one.log.codes[4:, :n_orders], two.log.codes[4:, :n_orders]
    )
    np.testing.assert_array_equal(
        one.log.values[:3, :n_fills], two.log.values[:3, :n_fills]
    )
    np.testing.assert_array_equal(
        one.log.values[4:7, :n_orders], two.log.values[4:7, :n_orders]
    )


@pytest.mark.parametrize("rounding", ["fractional", "whole_target"])
@pytest.mark.parametrize("minimum", [0.0, 1.0])
@pytest.mark.parametrize("max_borrowing", [0.0, 0.5])
def test_full_loop_gives_the_bits_of_the_lean_one(
    frame, config, rounding, minimum, max_borrowing
):
    changed = config.replace(
        {
            "execution.rounding": rounding,
            "commission.minimum": minimum,
            "limits.max_borrowing": max_borrowing,
            "limits.min_trade_value": 500.0,
            "limits.max_gross": 99.0,
        }
    )
    frame = frame.with_columns(weight=pl.col("weight") * 4)
    lean = start(frame, changed, 10_000)
    full = start(frame, changed, 10_000, full=True)
    assert lean.extras == (None, None, None)
    assert None not in full.extras
    lean.run()
    full.run()
    assert lean.bars[BarField.SCALE].min() < 1.0
    # Only the full loop counts complete decisions, for what exits block.
    assert full.state.counters[Counter.N_COMPLETE] > 0
    full.state.counters[Counter.N_COMPLETE] = 0
    same(lean, full)


@pytest.mark.parametrize("window", [1, 7, 119])
def test_windows_give_the_bits_of_the_whole_run(frame, config, window):
    whole, parts = start(frame, config, 10_000), start(frame, config, 10_000)
    whole.run()
    n_bars = parts.panel.n_bars
    for stop_bar in [*range(window, n_bars, window), n_bars]:
        assert step(parts, stop_bar) == SimStatus.DONE
        assert parts.state.counters[Counter.BAR] == stop_bar
    same(whole, parts)


def test_full_log_grows_and_loses_nothing(frame, config):
    roomy, tight = start(frame, config, 10_000), start(frame, config, 1)
    roomy.run()
    n_grown = 0
    while step(tight, tight.panel.n_bars) == SimStatus.LOG_FULL:
        tight.log = grow_log(tight.log, tight.state.counters, 1)
        n_grown += 1
    assert n_grown > 5
    same(roomy, tight)


def test_run_grows_the_log_by_itself(frame, config):
    roomy, tight = start(frame, config, 10_000), start(frame, config, 1)
    roomy.run()
    tight.run()
    same(roomy, tight)


def test_same_simulation_can_run_again(frame, config):
    simulation = start(frame, config, 10_000)
    simulation.run()
    first = simulation.bars.copy()
    simulation.reset(keep_log=False)
    simulation.run()
    np.testing.assert_array_equal(first, simulation.bars)


def test_finished_run_does_not_move(frame, config):
    simulation = start(frame, config, 10_000)
    simulation.run()
    before = simulation.state.counters.copy()
    assert step(simulation, simulation.panel.n_bars) == SimStatus.DONE
    np.testing.assert_array_equal(before, simulation.state.counters)


SPECIALISATIONS = """
import datetime as dt
import numpy as np
import polars as pl
from numba.core.dispatcher import Dispatcher
import barloop as bl
from barloop._kernels import cash, fills, scatter, simulate, sizing, targets, validate

bars = bl.datasets.simulate_bars(6, 40, seed=1)
bars = bars.with_columns(w=pl.lit(0.15), n=pl.lit(1), f=pl.lit(0.5, pl.Float32))
frames = [
    bars,
    bars.sample(fraction=1.0, shuffle=True, seed=2),
    bars.with_columns(open=pl.lit(None, pl.Float64)).with_columns(open=pl.col("close")),
    bars.with_columns(pl.col("close").cast(pl.Float32), open=pl.lit(5)),
    bars.drop("high", "low", "volume"),
    bars.filter(pl.int_range(pl.len()) % 7 != 0),
]
time, asset = bars.columns[:2]
configs = [
    {},
    {"execution": bl.Execution(fill="same_close", rounding="whole_target")},
    {"commission": bl.Commission(bps=1, minimum=1), "initial_cash": 1000},
    {"execution": bl.Execution(fill="next_close"), "schedule": 3},
    {"limits": bl.Limits(allow_short=True, max_gross=9, max_borrowing=8)},
]
forms = [
    "w",
    pl.col("n") * 0.1,
    bars.select(time, asset, pl.col("f").alias("weight") * 0.2),
    bars.select(time, asset, weight=pl.lit(0)).head(0),
    lambda bar: np.full(6, 0.1),
    lambda bar: {bar.assets[0]: 1.0},
    lambda bar: pl.Series([0.1] * 6, dtype=pl.Float32),
    lambda bar: np.full(6, 0.1, dtype=np.float32)[::-1],
    lambda bar: bl.partial({bar.assets[1]: 0.0}),
]
for frame in frames:
    for config in configs:
        for form in forms:
            for keep in ("full", "metrics"):
                bl.run_backtest(frame, form, keep=keep, **config)
n = 0
for module in (cash, fills, scatter, simulate, sizing, targets, validate):
    for name, value in vars(module).items():
        if isinstance(value, Dispatcher) and value.__module__ == module.__name__:
            signatures = value.nopython_signatures
            assert len(signatures) <= 1, (name, len(signatures), signatures)
            n += 1
print(n, len(simulate.advance.nopython_signatures))
"""


def test_each_kernel_has_one_specialisation():
    """Every form, frame and setting meets the code that the first one compiled."""
    made = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SPECIALISATIONS)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NUMBA_DISABLE_JIT": "0"},
    )
    assert made.returncode == 0, made.stderr[-2000:]
    n_kernels, n_loops = map(int, made.stdout.split())
    assert n_kernels >= 15
    assert n_loops == 1
