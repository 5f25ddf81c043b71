"""The measures in compiled code are those of `summary`, bit for bit."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import barloop as bl
from barloop._kernels.statistics import MEASURES, N_WORK, measure
from barloop.config import BacktestConfig
from barloop.engine import prepare
from barloop.enums import BarField
from barloop.measures import Measurer
from barloop.numerics import TAIL, risk_free_per_bar
from barloop.result import result_of
from barloop.summary import summary
from strategies import examples


def same(left: float, right: float | None) -> bool:
    if right is None:
        return math.isnan(left)
    return np.float64(left).tobytes() == np.float64(right).tobytes()


def measured(bars, first_bar, initial_cash, bars_per_year, risk_free, ruined):
    work, out = np.empty((N_WORK, bars.shape[1])), np.empty(len(MEASURES))
    rate = risk_free_per_bar(risk_free, bars_per_year)
    measure(
        bars,
        first_bar,
        initial_cash,
        bars_per_year,
        rate,
        TAIL,
        7,
        ruined,
        work,
        out,
    )
    return out


@examples(150)
@given(
    n_bars=st.one_of(
        st.integers(1, 40), st.sampled_from([127, 128, 129, 136, 1000, 2520, 4097])
    ),
    seed=st.integers(0, 2**32 - 1),
    volatility=st.sampled_from([0.0, 1e-9, 0.01, 0.2]),
    risk_free=st.sampled_from([0.0, 0.03, -0.01]),
    deposits=st.booleans(),
    still=st.booleans(),
    ruined=st.booleans(),
    first_bar=st.sampled_from([0, 3]),
)
def test_the_bits_of_summary(
    n_bars, seed, volatility, risk_free, deposits, still, ruined, first_bar
):
    rng = np.random.default_rng(seed)
    bars = np.zeros((len(BarField), first_bar + n_bars))
    now = bars[:, first_bar:]
    returns = rng.normal(0.0, volatility, n_bars)
    if still:
        returns[rng.random(n_bars) < 0.7] = 0.0
    if deposits:
        now[BarField.DEPOSITS] = np.where(rng.random(n_bars) < 0.1, 500.0, 0.0)
    equity = 1e4
    for t in range(n_bars):
        equity = (equity + now[BarField.DEPOSITS, t]) * (1.0 + returns[t])
        now[BarField.EQUITY, t] = equity
    if ruined:
        now[BarField.EQUITY, n_bars // 2 :] = -3.0
    for field in (BarField.TRADED_VALUE, BarField.COMMISSION, BarField.SLIPPAGE):
        now[field] = rng.random(n_bars) * 1e3
    now[BarField.GROSS_EXPOSURE] = np.where(rng.random(n_bars) < 0.5, 5e3, 0.0)
    bars[BarField.DECISION] = rng.integers(0, 3, first_bar + n_bars)
    now[BarField.CARRY] = rng.normal(size=n_bars)
    before = bars.copy()

    got = measured(bars, first_bar, 1e4, 252.0, risk_free, ruined)
    expected = summary(
        now[BarField.EQUITY],
        initial_cash=1e4,
        bars_per_year=252.0,
        risk_free=risk_free,
        traded_value=now[BarField.TRADED_VALUE],
        gross_exposure=now[BarField.GROSS_EXPOSURE],
        commission=now[BarField.COMMISSION],
        slippage=now[BarField.SLIPPAGE],
        carry=now[BarField.CARRY],
        deposits=now[BarField.DEPOSITS],
        n_fills=7,
        n_rebalances=int(np.count_nonzero(now[BarField.DECISION])),
        ruined=ruined,
    )
    assert list(expected) == list(MEASURES)
    different = {
        name: (value, expected[name])
        for name, value in zip(MEASURES, got.tolist(), strict=True)
        if not same(value, expected[name])
    }
    assert not different
    assert bars.tobytes() == before.tobytes()


def test_a_run_has_the_measures_of_its_result():
    bars = bl.datasets.simulate_bars(12, 300, seed=5)
    config = BacktestConfig(
        schedule="week_end", commission=bl.Commission(bps=20), risk_free=0.02
    )

    def weights_fn(bar):
        return bl.equal_weight(bl.top_n(bar.close, 4))

    simulation = prepare(bars, weights_fn, config=config, start="2000-02-01")
    simulation.reset(keep_log=False)
    simulation.run()
    expected = result_of(simulation, "metrics").metrics
    got = Measurer(simulation.panel.n_bars).measure(simulation)
    assert expected["n_fills"] > 50
    for name, value in zip(MEASURES, got.tolist(), strict=True):
        assert same(value, expected[name]), name


def test_a_run_that_is_rewound_gives_the_same_bits():
    bars = bl.datasets.simulate_bars(12, 300, seed=5)
    config = BacktestConfig(
        exits=bl.Exits(stop_loss=0.05), limits=bl.Limits(max_participation=0.01)
    )
    simulation = prepare(bars, lambda bar: {bar.assets[bar.t % 12]: 1.0}, config=config)
    simulation.reset(keep_log=False)
    simulation.run()
    first = simulation.bars.tobytes()
    simulation.rewind()
    assert simulation.bars.tobytes() != first
    simulation.run()
    assert simulation.bars.tobytes() == first
    simulation.reset(keep_log=True)
    simulation.run(stop_bar=100)
    simulation.run()
    assert simulation.bars.tobytes() == first


WARM = """
import numpy as np
from barloop._kernels.statistics import MEASURES, N_WORK, measure
from barloop.enums import BarField
bars = np.zeros((len(BarField), 1000))
bars[[BarField.EQUITY, BarField.GROSS_EXPOSURE]] = 1.0
out = np.empty(len(MEASURES))
measure(bars, 0, 1.0, 252.0, 0.0, 0.05, 0, False, np.empty((N_WORK, 1000)), out)
print(out[0], out[20])
"""


def test_measures_from_a_warm_cache(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", WARM],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stdout.split() == ["0.0", "1.0"]
