"""What a caller does to its data afterwards reaches no result; what memory costs."""

from __future__ import annotations

import subprocess
import sys

import polars as pl
import pytest

import barloop as bl


@pytest.mark.parametrize("shape", ["plain", "index"])
def test_pandas_frame_changed_in_place_does_not_change_the_result(shape):
    bars = bl.datasets.simulate_bars(3, 30, seed=3)
    time, asset = bars.columns[:2]
    frame = bars.to_pandas()
    if shape == "index":
        frame = frame.set_index([time, asset])
    panel = bl.Panel.from_frame(frame)
    names = panel.asset_values
    result = bl.run_backtest(frame, lambda bar: dict.fromkeys(names, 0.3))
    before = result.weights
    close = panel.close.copy()
    frame["close"] *= 2.0
    frame.loc[:, "open"] = 1.0
    result.audit()
    again = bl.run_backtest(panel, lambda bar: dict.fromkeys(names, 0.3))
    assert (panel.close == close).all()
    assert again.equity.equals(result.equity)
    assert again.weights.equals(before)


def test_wide_frame_is_told_how_to_become_long():
    wide = pl.DataFrame({"date": [1, 2], "AAA": [1.0, 2.0], "BBB": [1.0, 2.0]})
    with pytest.raises(bl.errors.SchemaError) as caught:
        bl.run_backtest(wide, "weight")
    assert str(caught.value).endswith(
        "A wide frame, one column per asset, becomes long by df.unpivot("
        "index='date', variable_name='asset', value_name='close')."
    )


def test_pandas_series_is_a_context():
    bars, context = bl.datasets.top25()
    vix = context.to_pandas().set_index("timestamp")["vix"]
    one = bl.run_backtest(bars, vix_filter, context=vix)
    two = bl.run_backtest(bars, vix_filter, context=context)
    assert one.equity.equals(two.equity)
    assert one.n_skipped == 13


def vix_filter(bar):
    return None if bar.context.vix > 30 else {"STOCK000": 0.5}


MANY_SETS = """
import resource

import numba
import barloop as bl

panel = bl.Panel.from_frame(bl.datasets.simulate_bars(4, 40, seed=1))


@numba.njit
def hold(bar, params, weights_out):
    weights_out[0] = params.a / (params.a + params.b)
    return True


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def sweep(n, m):
    grid = {"a": list(range(1, n + 1)), "b": [float(k) for k in range(1, m + 1)]}
    return bl.sweep(panel, hold, grid, schedule=20, progress=False)


sweep(2, 2)
before = peak()
runs = sweep(100, 200)
assert runs.n_failed == 0
print(peak() - before)
"""


@pytest.mark.once
def test_a_set_of_a_sweep_costs_a_row():
    done = subprocess.run(
        [sys.executable, "-c", MANY_SETS], check=True, capture_output=True, text=True
    )
    # 20,000 rows of 33 numbers are 5 MB, and once more while the frame is made; the
    # state of a set would be 20 kB each, 400 MB.
    assert float(done.stdout) < 32.0
