"""Momentum, mean and volatility over the last rows of each asset."""

from __future__ import annotations

import math

import numpy as np

from barloop._jit import kernel, subkernel
from barloop._kernels.row_gaps import gather_rows, row_before
from barloop.typing import CodeVector, FloatPanel, FloatVector, IntVector


@subkernel
def fill_nan(out: FloatVector) -> None:
    """Write NaN everywhere."""
    for i in range(out.size):
        out[i] = np.nan


@subkernel
def last_momentum(
    history: FloatPanel,  # (n_known, n_assets) the last row is now
    lookback: int,
    skip: int,  # less than `lookback`
    momentum_out: FloatVector,  # (n_assets,) NaN where there is no price now
) -> None:
    """Compute the simple return from `lookback` rows ago to `skip` rows ago."""
    t = history.shape[0] - 1
    if t < lookback:
        fill_nan(momentum_out)
        return
    now, later, earlier = history[t], history[t - skip], history[t - lookback]
    for i in range(momentum_out.size):
        known = now[i] == now[i]
        momentum_out[i] = later[i] / earlier[i] - 1.0 if known else np.nan


@subkernel
def mean_of(
    window: FloatPanel,  # (n_bars, n_assets)
    mean_out: FloatVector,  # (n_assets,)
) -> None:
    """Average each column, added up from the oldest row to the latest."""
    for i in range(mean_out.size):
        mean_out[i] = 0.0
    for k in range(window.shape[0]):
        row = window[k]
        for i in range(mean_out.size):
            mean_out[i] += row[i]
    for i in range(mean_out.size):
        mean_out[i] /= window.shape[0]


@subkernel
def volatility_of(
    window: FloatPanel,  # (n_bars + 1, n_assets)
    mean: FloatVector,  # (n_assets,) work space
    volatility_out: FloatVector,  # (n_assets,)
) -> None:
    """Compute the deviation of the simple returns of each column, oldest first."""
    n_returns = window.shape[0] - 1
    for i in range(mean.size):
        mean[i] = 0.0
        volatility_out[i] = 0.0
    for k in range(n_returns):
        earlier, later = window[k], window[k + 1]
        for i in range(mean.size):
            mean[i] += later[i] / earlier[i] - 1.0
    for i in range(mean.size):
        mean[i] /= n_returns
    for k in range(n_returns):
        earlier, later = window[k], window[k + 1]
        for i in range(mean.size):
            deviation = later[i] / earlier[i] - 1.0 - mean[i]
            volatility_out[i] += deviation * deviation
    for i in range(mean.size):
        volatility_out[i] = math.sqrt(volatility_out[i] / (n_returns - 1))


@subkernel
def last_mean(
    history: FloatPanel,  # (n_known, n_assets) the last row is now
    n_bars: int,
    mean_out: FloatVector,  # (n_assets,) NaN where the history is too short
) -> None:
    """Average the last `n_bars` rows."""
    start = history.shape[0] - n_bars
    if start < 0:
        fill_nan(mean_out)
    else:
        mean_of(history[start:], mean_out)


@subkernel
def last_volatility(
    history: FloatPanel,  # (n_known, n_assets) the last row is now
    n_bars: int,
    mean: FloatVector,  # (n_assets,) work space
    volatility_out: FloatVector,  # (n_assets,) NaN where the history is too short
) -> None:
    """Compute the volatility of the last `n_bars` returns."""
    start = history.shape[0] - 1 - n_bars
    if start < 0:
        fill_nan(volatility_out)
    else:
        volatility_of(history[start:], mean, volatility_out)


@kernel
def momentum_rows(
    value: FloatPanel,  # (n_bars, n_assets)
    bars: IntVector,  # (n_rows,) where it is wanted
    lookback: int,
    skip: int,
    first: IntVector,  # (n_assets,) first bar with a row; empty: every cell has one
    gap_start: IntVector,  # (n_assets + 1,)
    gap: CodeVector,  # see `list_gaps`
    rows_out: FloatPanel,  # (n_rows, n_assets)
) -> None:
    """Compute momentum on some bars; `lookback` and `skip` count rows of the asset."""
    for j in range(bars.size):
        t = bars[j]
        out = rows_out[j]
        last_momentum(value[: t + 1], lookback, skip, out)
        for i in range(first.size):
            if gap_start[i] < gap_start[i + 1] and value[t, i] == value[t, i]:
                start, stop = gap_start[i], gap_start[i + 1]
                earlier = row_before(t, lookback, gap, start, stop)
                later = row_before(t, skip, gap, start, stop) if skip > 0 else t
                if earlier < first[i]:
                    out[i] = np.nan
                else:
                    out[i] = value[later, i] / value[earlier, i] - 1.0


@kernel
def mean_rows(
    value: FloatPanel,  # (n_bars, n_assets)
    bars: IntVector,  # (n_rows,) where it is wanted
    n_bars: int,
    first: IntVector,  # (n_assets,) first bar with a row; empty: every cell has one
    gap_start: IntVector,  # (n_assets + 1,)
    gap: CodeVector,  # see `list_gaps`
    line: FloatPanel,  # (n_bars, 1) work space
    line_in: FloatPanel,  # the same memory, read-only
    rows_out: FloatPanel,  # (n_rows, n_assets)
) -> None:
    """Compute the mean of the last `n_bars` rows of each asset on some bars."""
    back = n_bars - 1
    for j in range(bars.size):
        t = bars[j]
        out = rows_out[j]
        last_mean(value[: t + 1], n_bars, out)
        for i in range(first.size):
            if gap_start[i] < gap_start[i + 1] and value[t, i] == value[t, i]:
                bar = row_before(t, back, gap, gap_start[i], gap_start[i + 1])
                if bar < first[i]:
                    out[i] = np.nan
                elif bar != t - back:
                    gather_rows(
                        value, i, bar, t, gap, gap_start[i], gap_start[i + 1], line
                    )
                    mean_of(line_in, out[i : i + 1])


@kernel
def volatility_rows(
    value: FloatPanel,  # (n_bars, n_assets)
    bars: IntVector,  # (n_rows,) where it is wanted
    n_bars: int,
    first: IntVector,  # (n_assets,) first bar with a row; empty: every cell has one
    gap_start: IntVector,  # (n_assets + 1,)
    gap: CodeVector,  # see `list_gaps`
    line: FloatPanel,  # (n_bars + 1, 1) work space
    line_in: FloatPanel,  # the same memory, read-only
    mean: FloatVector,  # (n_assets,) work space
    rows_out: FloatPanel,  # (n_rows, n_assets)
) -> None:
    """Compute the volatility of the last `n_bars` returns of each asset."""
    for j in range(bars.size):
        t = bars[j]
        out = rows_out[j]
        last_volatility(value[: t + 1], n_bars, mean, out)
        for i in range(first.size):
            if gap_start[i] < gap_start[i + 1] and value[t, i] == value[t, i]:
                bar = row_before(t, n_bars, gap, gap_start[i], gap_start[i + 1])
                if bar < first[i]:
                    out[i] = np.nan
                elif bar != t - n_bars:
                    gather_rows(
                        value, i, bar, t, gap, gap_start[i], gap_start[i + 1], line
                    )
                    volatility_of(line_in, mean[:1], out[i : i + 1])


@subkernel
def rolling_mean(
    value: FloatVector,  # (n_rows,) one asset
    n_bars: int,
    mean_out: FloatVector,  # (n_rows,)
) -> None:
    """Compute `mean_of` for every row of one asset, with the same bits."""
    fill_nan(mean_out[: n_bars - 1])
    mean = mean_out[n_bars - 1 :]
    for t in range(mean.size):
        mean[t] = 0.0
    for k in range(n_bars if mean.size > 0 else 0):
        part = value[k : k + mean.size]
        for t in range(mean.size):
            mean[t] += part[t]
    for t in range(mean.size):
        mean[t] /= n_bars


@subkernel
def rolling_volatility(
    value: FloatVector,  # (n_rows,) one asset
    n_bars: int,
    work: FloatVector,  # (n_rows,) work space
    volatility_out: FloatVector,  # (n_rows,)
) -> None:
    """Compute `volatility_of` for every row of one asset, with the same bits."""
    fill_nan(volatility_out[:n_bars])
    out = volatility_out[n_bars:]
    mean = work[n_bars:]
    for t in range(out.size):
        mean[t] = 0.0
        out[t] = 0.0
    steps = n_bars if out.size > 0 else 0
    for k in range(steps):
        earlier, later = value[k : k + out.size], value[k + 1 : k + 1 + out.size]
        for t in range(out.size):
            mean[t] += later[t] / earlier[t] - 1.0
    for t in range(out.size):
        mean[t] /= n_bars
    for k in range(steps):
        earlier, later = value[k : k + out.size], value[k + 1 : k + 1 + out.size]
        for t in range(out.size):
            deviation = later[t] / earlier[t] - 1.0 - mean[t]
            out[t] += deviation * deviation
    for t in range(out.size):
        out[t] = math.sqrt(out[t] / (n_bars - 1))


@kernel
def momentum_now(
    history: FloatPanel,  # (n_known, n_assets) the last row is now
    lookback: int,
    skip: int,  # less than `lookback`
    momentum_out: FloatVector,  # (n_assets,)
) -> None:
    """Call `last_momentum`."""
    last_momentum(history, lookback, skip, momentum_out)


@kernel
def mean_now(
    history: FloatPanel,  # (n_known, n_assets) the last row is now
    n_bars: int,
    mean_out: FloatVector,  # (n_assets,)
) -> None:
    """Call `last_mean`."""
    last_mean(history, n_bars, mean_out)


@kernel
def volatility_now(
    history: FloatPanel,  # (n_known, n_assets) the last row is now
    n_bars: int,
    mean: FloatVector,  # (n_assets,) work space
    volatility_out: FloatVector,  # (n_assets,)
) -> None:
    """Call `last_volatility`."""
    last_volatility(history, n_bars, mean, volatility_out)
