"""The cross-section of the *top 25 by score* example."""

from __future__ import annotations

import math
from datetime import date
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from barloop.datasets.long_frames import long_frame, weekdays
from barloop.typing import FloatPanel, FloatVector

_N_ASSETS = 500
_N_BARS = 252
_ATR_BARS = 14
# The first average needs 14 true ranges, and each of them the close before.
_N_HISTORY = _ATR_BARS + 1
_HIT_SHARE = 0.58
_N_STRESSED = 13
_OVERNIGHT_VARIANCE = 0.35  # share of the variance of a session between close and open
_TOP25_SEED = 20_240_125


class Top25(NamedTuple):
    """What `top25` returns: ``bars, context = top25()``."""

    bars: pl.DataFrame
    """Long frame, one row per timestamp and asset."""

    context: pl.DataFrame
    """One row per timestamp."""


def top25() -> Top25:
    """Make the cross-section of the *top 25 by score* example; always the same one.

    500 simulated stocks, ``STOCK000`` to ``STOCK499``, over 252 weekdays from
    2024-01-02: 126,000 rows.

    Returns
    -------
    bars : DataFrame with ``timestamp``, ``asset``, ``open``, ``high``, ``low``, \
``close``, ``volume``, ``ml_score``, ``atr``
        Sorted by ``timestamp`` (Date) and ``asset`` (String); all else Float64.  Prices
        in USD, two decimals.  ``volume`` in shares, whole hundreds.  ``ml_score`` lies
        between 0 and 1 and differs between all stocks of a session.  ``atr`` in USD,
        four decimals, null for the first 14 sessions of 20 stocks.
    context : DataFrame with ``timestamp``, ``vix``
        One row per session; ``vix`` is above 30 on exactly 13 of them, and below 30 on
        the others.

    Notes
    -----
    *Score.* The score of session t is known at its close and speaks about the move from
    that close to the close of session t + 1.  It is *right* when ``ml_score > 0.5`` and
    that move is up, or ``ml_score < 0.5`` and it is down.  58.2 % of the scores are
    right, moves of exactly 0 left out; 57.9 % when these count as wrong.  How far a
    score is from 0.5 says nothing: extreme scores are right as often as others, for
    large moves as for small.
    Scores of successive sessions are independent, so a portfolio of the best turns over
    almost completely each day.  Whoever decides at the close and buys at the next open
    misses the part of the move that happens overnight (35 % of its variance).  The
    scores of the last session speak about a session after the sample.

    *Average true range.* The mean of the last 14 true ranges,
    ``max(high, close[t - 1]) - min(low, close[t - 1])``, each of which needs a close
    before.  It is known from the first session on where the stock traded before the
    sample.  The 20 stocks whose number is 12 modulo 25 have no such history: their
    first true range is that of the second session, their first average that of the
    fifteenth.

    *Prices.* One market factor with a daily volatility of ``vix / 1600`` of the session
    before, a beta between 0.5 and 1.5, own noise, and for each stock one overnight gap
    per quarter, as on earnings.

    The draws use the raw 64-bit output of PCG64, basic arithmetic and square roots,
    which every machine rounds alike; no logarithm and no sampler of numpy.

    Examples
    --------
    >>> from barloop.datasets import top25
    >>> bars, context = top25()
    >>> bars.height, (context["vix"] > 30.0).sum()
    (126000, 13)
    """
    draws = _Draws(_TOP25_SEED)
    n_sessions = _N_HISTORY + _N_BARS + 1  # history, sample, the session after
    sample = slice(_N_HISTORY, _N_HISTORY + _N_BARS)
    after = slice(_N_HISTORY + 1, _N_HISTORY + _N_BARS + 1)

    market_overnight, market_intraday, vix = _market(draws, n_sessions, sample)
    beta = 0.5 + draws.uniform(_N_ASSETS)
    noise = 0.009 + 0.011 * draws.uniform(_N_ASSETS)
    first_close = 14.0 + 210.0 * draws.uniform(_N_ASSETS) ** 2
    quarter = np.floor(63.0 * draws.uniform(_N_ASSETS))

    shape = (n_sessions, _N_ASSETS)
    overnight_noise = noise * math.sqrt(_OVERNIGHT_VARIANCE)
    intraday_noise = noise * math.sqrt(1.0 - _OVERNIGHT_VARIANCE)
    is_earnings = np.arange(n_sessions)[:, None] % 63 == quarter
    overnight_noise = np.where(is_earnings, 0.035, overnight_noise)
    overnight = market_overnight[:, None] * beta + overnight_noise * draws.gauss(shape)
    intraday = market_intraday[:, None] * beta + intraday_noise * draws.gauss(shape)

    growth = (1.0 + overnight) * (1.0 + intraday)
    close = first_close * np.multiply.accumulate(growth, axis=0)
    open_ = close / (1.0 + intraday)
    reach = 0.8 * intraday_noise
    high = np.maximum(open_, close) * (1.0 + reach * draws.uniform(shape))
    low = np.minimum(open_, close) * (1.0 - reach * draws.uniform(shape))
    # Rounding keeps the order of prices, so low <= open, close <= high still holds.
    open_, high, low, close = (np.round(x, 2) for x in (open_, high, low, close))

    typical_volume = 2e5 + 6e6 * draws.uniform(_N_ASSETS) ** 2
    activity = 0.6 + 0.5 * draws.uniform(shape) + 25.0 * (high - low) / close
    volume = 100.0 * np.floor(typical_volume * activity / 100.0)

    rises = close[after] > close[sample]
    score = _scores(draws, rises)
    atr = _average_true_range(high, low, close)[sample]
    atr[:_ATR_BARS, 12::25] = np.nan

    timestamp = weekdays(date(2024, 1, 2), _N_BARS)
    bars = long_frame(
        timestamp,
        [f"STOCK{i:03d}" for i in range(_N_ASSETS)],
        {
            "open": open_[sample],
            "high": high[sample],
            "low": low[sample],
            "close": close[sample],
            "volume": volume[sample],
            "ml_score": score,
            "atr": atr,
        },
    ).with_columns(pl.col("atr").fill_nan(None))
    return Top25(bars, pl.DataFrame({"timestamp": timestamp, "vix": vix}))


class _Draws:
    """Random numbers that depend on no sampler and no mathematical library.

    numpy promises the raw stream of PCG64, not the streams of its distributions.
    """

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def _words(self, n_words: int) -> npt.NDArray[np.uint64]:
        return np.asarray(self._bits.random_raw(n_words), dtype=np.uint64)

    def uniform(self, shape: int | tuple[int, ...]) -> FloatPanel:
        """Return multiples of 2**-53, each in [0, 1)."""
        words = self._words(int(np.prod(shape)))
        high_bits = (words >> np.uint64(11)).astype(np.float64)
        return high_bits.reshape(shape) * 2.0**-53

    def gauss(self, shape: int | tuple[int, ...]) -> FloatPanel:
        """Return sums of 12 uniforms of 16 bits, less 6: nearly normal, within 6."""
        words = self._words(3 * int(np.prod(shape))).reshape(3, -1)
        total = np.zeros(words.shape[1], dtype=np.uint64)
        for shift in (0, 16, 32, 48):
            lanes = (words >> np.uint64(shift)) & np.uint64(0xFFFF)
            for lane in lanes:
                total += lane
        # A lane has the mean 65535 / 2, and 12 lanes the deviation 65536.
        centred = total.astype(np.float64) - 12 * 65_535 / 2
        return centred.reshape(shape) / 65_536.0


def _market(
    draws: _Draws, n_sessions: int, sample: slice
) -> tuple[FloatVector, FloatVector, FloatVector]:
    """Return overnight and intraday returns of the market, and vix of the sample.

    The state behind vix falls when the market rises, reverts slowly, and jumps about
    every 50 sessions; a jump dies out within some two weeks.
    """
    overnight_gauss = draws.gauss(n_sessions)
    intraday_gauss = draws.gauss(n_sessions)
    other = draws.gauss(n_sessions)
    chance = draws.uniform(n_sessions)
    size = draws.uniform(n_sessions)
    overnight_part = math.sqrt(_OVERNIGHT_VARIANCE)
    intraday_part = math.sqrt(1.0 - _OVERNIGHT_VARIANCE)

    jump = np.where(chance < 0.02, 1.5 + 2.0 * size, 0.0)
    state = np.empty(n_sessions)
    calm = spike = 0.0
    for t in range(n_sessions):
        market = overnight_part * overnight_gauss[t] + intraday_part * intraday_gauss[t]
        calm = 0.95 * calm - 0.22 * market + 0.1 * other[t]
        spike = 0.8 * spike + jump[t]
        state[t] = calm + spike

    ranked = np.sort(state[sample])
    lowest, highest = ranked[0], ranked[-1]
    below, above = ranked[-_N_STRESSED - 1], ranked[-_N_STRESSED]
    u = np.clip((state - lowest) / (below - lowest), 0.0, 1.0)
    v = np.clip((state - above) / (highest - above), 0.0, 1.0)
    vix = np.where(state < above, 11.3 + 9.0 * u + 9.2 * u * u, 30.6 + 13.0 * v)
    vix = np.round(vix, 2)

    deviation = np.concatenate([vix[:1], vix[:-1]]) / 1600.0
    overnight = 0.0001 + overnight_part * deviation * overnight_gauss - 0.006 * jump
    intraday = 0.0001 + intraday_part * deviation * intraday_gauss
    return overnight, intraday, vix[sample]


def _scores(draws: _Draws, rises: npt.NDArray[np.bool_]) -> FloatPanel:
    """Return scores on the right side of 0.5 with probability `_HIT_SHARE`.

    The distance from 0.5 is drawn without regard to the move; short ones are likelier.
    """
    is_right = draws.uniform(rises.shape) < _HIT_SHARE
    distance = np.minimum(draws.uniform(rises.shape), draws.uniform(rises.shape))
    distance = 0.46 * distance + 1e-9  # never exactly 0.5
    score: FloatPanel = np.where(rises == is_right, 0.5 + distance, 0.5 - distance)
    return score


def _average_true_range(
    high: FloatPanel, low: FloatPanel, close: FloatPanel
) -> FloatPanel:
    """Return the mean of the last 14 true ranges, NaN before there are as many."""
    true_range = np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])
    n_averages = len(true_range) - _ATR_BARS + 1
    total = np.zeros((n_averages, close.shape[1]))
    for lag in range(_ATR_BARS):  # one fixed order of addition, so the same bits
        total += true_range[lag : lag + n_averages]
    atr = np.full_like(close, np.nan)
    atr[_ATR_BARS:] = np.round(total / _ATR_BARS, 4)
    return atr
