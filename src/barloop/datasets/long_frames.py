"""Bars of simulated sessions as long frames."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from barloop.typing import FloatPanel

MINUTES_PER_SESSION = 390


def weekdays(start: date, n_days: int) -> pl.Series:
    """Return `n_days` dates from Monday to Friday, from `start` on."""
    first = np.array([start], dtype="datetime64[D]")
    days = np.busday_offset(first, np.arange(n_days), roll="forward")
    return pl.Series("timestamp", days).cast(pl.Date)


def minutes(days: pl.Series, n_bars: int) -> pl.Series:
    """Return the ends of the minutes of each session, 09:31 to 16:00."""
    midnight = days.cast(pl.Datetime("us")).to_physical().to_numpy()
    minute = np.arange(1, MINUTES_PER_SESSION + 1) + (9 * 60 + 30)
    ends = (midnight[:, None] + minute * 60_000_000).ravel()[:n_bars]
    return pl.Series("timestamp", ends).cast(pl.Datetime("us"))


def long_frame(
    timestamp: pl.Series, assets: list[str], columns: dict[str, FloatPanel]
) -> pl.DataFrame:
    """Return panels of shape (n_bars, n_assets) as rows sorted by bar, then asset."""
    n_bars, n_assets = timestamp.len(), len(assets)
    key = timestamp.to_physical().to_numpy()
    rows = pl.Series("timestamp", np.repeat(key, n_assets)).cast(timestamp.dtype)
    names = pl.Series("asset", assets, dtype=pl.String)
    number = np.tile(np.arange(n_assets, dtype=np.uint32), n_bars)
    values = [pl.Series(name, panel.reshape(-1)) for name, panel in columns.items()]
    return pl.DataFrame([rows, names.gather(pl.Series(number)), *values])
