"""Independent random walks, for benchmarks."""

from __future__ import annotations

import math
from datetime import date
from typing import Literal, get_args

import numpy as np
import polars as pl

from barloop.datasets.long_frames import (
    MINUTES_PER_SESSION,
    long_frame,
    minutes,
    weekdays,
)
from barloop.errors import ConfigError, suggestion

_CHUNK_VALUES = 1 << 18  # values per step of `simulate_bars`, so that it stays in cache

Frequency = Literal["1d", "1m"]


def simulate_bars(
    n_assets: int,
    n_bars: int,
    *,
    seed: int,
    frequency: Frequency = "1d",
    start: date = date(2000, 1, 3),
    volatility: float = 0.25,
) -> pl.DataFrame:
    """Simulate independent random walks as a complete long frame, for benchmarks.

    Parameters
    ----------
    n_assets : int
        Number of assets, named ``A0``, ``A1``, ... with zeros in front as needed, so
        that the order of the names is the order of the numbers.
    n_bars : int
        Number of bars of each asset.
    seed : int
        Same seed, same frame, as long as the version of numpy is the same.
    frequency : {"1d", "1m"}, default "1d"
        One bar per weekday, or 390 minutes per weekday, the first ending at 09:31.
    start : date, default 2000-01-03
        First day; the next weekday if it is on a weekend.
    volatility : float, default 0.25
        Annual volatility of each asset.  A quarter of the variance of a bar lies
        between the close before and its open.

    Returns
    -------
    DataFrame with ``timestamp``, ``asset``, ``open``, ``high``, ``low``, ``close``, \
``volume``
        ``n_bars * n_assets`` rows sorted by ``timestamp`` (Date, or Datetime in
        microseconds) and ``asset`` (String).  Prices are positive and not rounded;
        ``volume`` holds whole numbers.  All five are Float64 without nulls.

    Raises
    ------
    ConfigError
        When a number is out of range or the frequency is unknown.

    Notes
    -----
    A smaller `n_bars` gives the first rows of the larger frame.

    Examples
    --------
    >>> from barloop.datasets import simulate_bars
    >>> simulate_bars(3, 2, seed=0)["asset"].to_list()
    ['A0', 'A1', 'A2', 'A0', 'A1', 'A2']
    """
    if n_assets < 1 or n_bars < 1:
        msg = f"n_assets and n_bars must be at least 1, got {n_assets} and {n_bars}."
        raise ConfigError(msg)
    known = get_args(Frequency)
    if frequency not in known:
        msg = (
            f"frequency must be one of {', '.join(map(repr, known))}, "
            f"got {frequency!r}.{suggestion(str(frequency), known)}"
        )
        raise ConfigError(msg)
    bars_per_session = MINUTES_PER_SESSION if frequency == "1m" else 1
    bars_per_year = 252 * bars_per_session
    deviation = volatility / math.sqrt(bars_per_year)
    # Draws are clipped at 8 deviations, and a bar may not lose all of its value.
    if not 0.0 <= deviation < 0.1:
        limit = 0.1 * math.sqrt(bars_per_year)
        msg = f"volatility must be between 0 and {limit:.4g}, got {volatility!r}."
        raise ConfigError(msg)

    open_, high, low, close, volume = (np.empty((n_bars, n_assets)) for _ in range(5))
    gauss_seed, uniform_seed = np.random.SeedSequence(seed).spawn(2)
    gauss = np.random.default_rng(gauss_seed)
    uniform = np.random.default_rng(uniform_seed)
    last_close = 20.0 + 180.0 * uniform.random(n_assets)
    typical_volume = (1e5 + 5e6 * uniform.random(n_assets) ** 2) / bars_per_session
    step = max(1, _CHUNK_VALUES // n_assets)
    for first in range(0, n_bars, step):
        rows = slice(first, min(first + step, n_bars))
        n_rows = rows.stop - rows.start
        # One draw per bar for all of its columns, so that the rows of a shorter frame
        # do not depend on how many follow.
        moves = gauss.standard_normal((n_rows, 2, n_assets))
        np.clip(moves, -8.0, 8.0, out=moves)
        reach = uniform.random((n_rows, 2, n_assets))
        gap = moves[:, 0] * (0.5 * deviation)
        gap += 1.0
        move = moves[:, 1] * (math.sqrt(0.75) * deviation)
        move += 1.0
        np.multiply(gap, move, out=close[rows])
        close[first] *= last_close
        np.multiply.accumulate(close[rows], axis=0, out=close[rows])
        last_close = close[rows.stop - 1]
        np.divide(close[rows], move, out=open_[rows])
        np.maximum(open_[rows], close[rows], out=high[rows])
        np.minimum(open_[rows], close[rows], out=low[rows])
        np.multiply(typical_volume, reach[:, 0] + reach[:, 1], out=volume[rows])
        reach *= 0.8 * deviation
        high[rows] *= 1.0 + reach[:, 0]
        low[rows] *= 1.0 - reach[:, 1]
    np.ceil(volume, out=volume)

    timestamp = weekdays(start, -(-n_bars // bars_per_session))
    if frequency == "1m":
        timestamp = minutes(timestamp, n_bars)
    width = len(str(n_assets - 1))
    return long_frame(
        timestamp,
        [f"A{i:0{width}d}" for i in range(n_assets)],
        {"open": open_, "high": high, "low": low, "close": close, "volume": volume},
    )
