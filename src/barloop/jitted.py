"""The helpers of `barloop.selection` for compiled callbacks.

::

    from barloop import jitted

    @numba.njit
    def weights_fn(bar, params, weights_out):
        score = jitted.momentum(bar.history.close, params.lookback)
        jitted.equal_weight(jitted.top_n(score, params.n), weights_out)
        return True

The same numbers as the expressions and arrays of `barloop.selection`, bit for bit.
Each function is compiled for its own types when it is first asked for, and kept on
disk, so that a callback does not compile it again.  Arrays are float64 (`chosen`: bool)
in C order, read-only or not.  Histories are of shape (n_known, n_assets) and their last
row is now.

Examples
--------
>>> import numpy as np
>>> from barloop import jitted
>>> history = np.array([[10.0, 8.0, 5.0], [11.0, 8.0, 6.0]])
>>> weights = np.zeros(3)
>>> jitted.equal_weight(jitted.top_n(jitted.momentum(history, 1), 2), weights)
>>> weights
array([0.5, 0. , 0.5])
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from barloop._jit import sources_digest
from barloop._kernels.ranking import (
    N_BINS,
    choose_by_bins,
    keep_best,
    rank_values,
)
from barloop._kernels.windows import last_mean, last_momentum, last_volatility
from barloop.errors import WeightsError
from barloop.typing import BoolVector, FloatPanel, FloatVector

__all__ = [
    "bottom_n",
    "equal_weight",
    "inverse_volatility",
    "long_short",
    "mean",
    "momentum",
    "rank_weights",
    "top_n",
    "volatility",
]


def momentum(
    history: FloatPanel, lookback: int, skip: int | None = None
) -> FloatVector:
    """Compute the simple return of each asset from `lookback` to `skip` bars ago.

    Parameters
    ----------
    history : ndarray of shape (n_known, n_assets)
        Prices, e.g. ``bar.history.close``.
    lookback : int
        Bars back to the price at the start.
    skip : int, default 0
        Bars back to the price at the end.

    Returns
    -------
    ndarray of shape (n_assets,)
        NaN where one of the two prices, or that of now, is not known.
    """
    ago = 0 if skip is None else skip
    if lookback < 1 or ago < 0 or ago >= lookback:
        raise WeightsError("momentum: it must be 0 <= skip < lookback.")  # noqa: EM101
    now = np.empty(history.shape[1])
    last_momentum(history, lookback, ago, now)
    return now


def mean(history: FloatPanel, n_bars: int) -> FloatVector:
    """Compute the moving average of each asset over the last `n_bars` bars.

    Parameters
    ----------
    history : ndarray of shape (n_known, n_assets)
        Any numbers.
    n_bars : int
        Bars in the average, this one included.

    Returns
    -------
    ndarray of shape (n_assets,)
        NaN where one of the values is not known.
    """
    if n_bars < 1:
        raise WeightsError("mean: n_bars must be positive.")  # noqa: EM101
    now = np.empty(history.shape[1])
    last_mean(history, n_bars, now)
    return now


def volatility(history: FloatPanel, n_bars: int) -> FloatVector:
    """Compute the standard deviation of the last `n_bars` simple returns.

    Parameters
    ----------
    history : ndarray of shape (n_known, n_assets)
        Prices.
    n_bars : int
        Returns in the window, at least 2.

    Returns
    -------
    ndarray of shape (n_assets,)
        Per bar; NaN where one of the ``n_bars + 1`` prices is not known.
    """
    if n_bars < 2:
        raise WeightsError("volatility: n_bars must be at least 2.")  # noqa: EM101
    now = np.empty(history.shape[1])
    last_volatility(history, n_bars, np.empty(now.size), now)
    return now


def top_n(score: FloatVector, n: int) -> BoolVector:
    """Choose the n best scores; ties go to the earlier asset, NaN is never chosen.

    Parameters
    ----------
    score : ndarray of shape (n_assets,)
        Higher is better.
    n : int
        How many, at the most.

    Returns
    -------
    ndarray of bool, shape (n_assets,)
        True for the chosen.
    """
    if n < 1:
        raise WeightsError("top_n: n must be positive.")  # noqa: EM101
    chosen = np.zeros(score.size, dtype=np.bool_)
    work = np.empty((2, score.size), dtype=np.int64)
    count = np.zeros(N_BINS, dtype=np.int64)
    if not choose_by_bins(score, 1.0, n, work[0], work[1], count, chosen):
        for k in range(keep_best(score, 1.0, min(n, score.size), work[0])):
            chosen[work[0, k]] = True
    return chosen


def bottom_n(score: FloatVector, n: int) -> BoolVector:
    """Choose the n lowest scores; ties go to the earlier asset, NaN is never chosen.

    Parameters
    ----------
    score : ndarray of shape (n_assets,)
        Lower is better.
    n : int
        How many, at the most.

    Returns
    -------
    ndarray of bool, shape (n_assets,)
        True for the chosen.
    """
    if n < 1:
        raise WeightsError("bottom_n: n must be positive.")  # noqa: EM101
    chosen = np.zeros(score.size, dtype=np.bool_)
    work = np.empty((2, score.size), dtype=np.int64)
    count = np.zeros(N_BINS, dtype=np.int64)
    if not choose_by_bins(score, -1.0, n, work[0], work[1], count, chosen):
        for k in range(keep_best(score, -1.0, min(n, score.size), work[0])):
            chosen[work[0, k]] = True
    return chosen


def equal_weight(
    chosen: BoolVector, weights_out: FloatVector, gross: float | None = None
) -> None:
    """Give each chosen asset the same weight, and the others 0.

    Parameters
    ----------
    chosen : ndarray of bool, shape (n_assets,)
        True for the assets to hold.
    weights_out : ndarray of shape (n_assets,)
        Written; zeros when nothing is chosen.
    gross : float, default 1.0
        Sum of the weights.
    """
    if chosen.size != weights_out.size:
        raise WeightsError("equal_weight: arrays must be of one length.")  # noqa: EM101
    total = 1.0 if gross is None else gross
    n = 0
    for i in range(chosen.size):
        n += chosen[i]
    for i in range(chosen.size):
        weights_out[i] = total / n if chosen[i] else 0.0


def rank_weights(
    score: FloatVector,
    chosen: BoolVector,
    weights_out: FloatVector,
    gross: float | None = None,
) -> None:
    """Weigh the chosen in proportion to the rank of their score, and the others 0.

    Parameters
    ----------
    score : ndarray of shape (n_assets,)
        Higher is better; without one a chosen asset has weight 0.
    chosen : ndarray of bool, shape (n_assets,)
        True for the assets to hold.
    weights_out : ndarray of shape (n_assets,)
        Written.
    gross : float, default 1.0
        Sum of the weights.
    """
    if score.size != chosen.size or score.size != weights_out.size:
        raise WeightsError("rank_weights: arrays must be of one length.")  # noqa: EM101
    total = 1.0 if gross is None else gross
    value, rank = np.empty(score.size), np.empty(score.size)
    n = 0
    for i in range(score.size):
        if chosen[i] and score[i] == score[i]:
            value[n] = score[i]
            n += 1
    rank_values(value, n, np.empty(score.size, dtype=np.int64), rank)
    k = 0
    for i in range(score.size):
        weights_out[i] = 0.0
        if chosen[i] and score[i] == score[i]:
            weights_out[i] = total * rank[k] / (n * (n + 1.0) / 2.0)
            k += 1


def inverse_volatility(
    chosen: BoolVector,
    volatility: FloatVector,
    weights_out: FloatVector,
    gross: float | None = None,
) -> None:
    """Weigh the chosen in proportion to 1 / volatility, and the others 0.

    Parameters
    ----------
    chosen : ndarray of bool, shape (n_assets,)
        True for the assets to hold.
    volatility : ndarray of shape (n_assets,)
        An asset without a positive finite one has weight 0.
    weights_out : ndarray of shape (n_assets,)
        Written.
    gross : float, default 1.0
        Sum of the weights.
    """
    if chosen.size != volatility.size or chosen.size != weights_out.size:
        raise WeightsError("inverse_volatility: arrays must be of one length.")  # noqa: EM101
    total = 1.0 if gross is None else gross
    inverses = 0.0
    for i in range(chosen.size):
        inverse = 1.0 / volatility[i]
        weights_out[i] = 0.0
        if chosen[i] and 0.0 < inverse < np.inf:
            weights_out[i] = total * inverse
            inverses += inverse
    if inverses > 0.0:
        for i in range(chosen.size):
            weights_out[i] /= inverses


def long_short(
    long: BoolVector,
    short: BoolVector,
    weights_out: FloatVector,
    long_gross: float | None = None,
    short_gross: float | None = None,
) -> None:
    """Hold one choice with equal weights and sell another one short.

    Parameters
    ----------
    long, short : ndarray of bool, shape (n_assets,)
        True for the assets of each side.
    weights_out : ndarray of shape (n_assets,)
        Written.
    long_gross, short_gross : float, default 0.5
        Sum of the weights of each side.
    """
    if long.size != short.size or long.size != weights_out.size:
        raise WeightsError("long_short: arrays must be of one length.")  # noqa: EM101
    bought = 0.5 if long_gross is None else long_gross
    sold = 0.5 if short_gross is None else short_gross
    n_long = n_short = 0
    for i in range(long.size):
        n_long += long[i]
        n_short += short[i]
    for i in range(long.size):
        weights_out[i] = bought / n_long if long[i] else 0.0
        if short[i]:
            weights_out[i] -= sold / n_short


# Type checkers and readers see the functions above; at run time each name leads to its
# compiled form, made when it is first asked for.
_plain: dict[str, Callable[..., Any]] = {name: globals().pop(name) for name in __all__}
_lock = threading.Lock()


def __getattr__(name: str) -> Any:
    if name not in _plain:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    with _lock:
        if name not in globals():
            globals()[name] = _compiled(_plain[name])
    return globals()[name]


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        # Compiled code does not warn of 1 / 0 either.
        return np.errstate(all="ignore")(function)
    # As in `kernel`: an edit of any kernel source is another name in the cache.
    function.__qualname__ = f"{function.__qualname__}_{sources_digest()}"
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    signatures = _signatures(function)
    try:
        return numba.njit(signatures, cache=True, **options)(function)
    except RuntimeError:
        # Numba: "cannot cache function ...: no locator available".
        return numba.njit(signatures, **options)(function)


def _signatures(function: Callable[..., Any]) -> list[Any]:
    """Return the signature of a function, and those without its last defaults.

    Numba compiles a function with an explicit signature for nothing else: without one
    it would do so for every constant in a call, as 25 in ``top_n(score, 25)``.
    """
    from numba import types

    kinds = {
        "FloatPanel": types.Array(types.float64, 2, "C", readonly=True),
        "FloatVector": types.Array(types.float64, 1, "C", readonly=True),
        "BoolVector": types.Array(types.boolean, 1, "C", readonly=True),
        "int": types.int64,
        "int | None": types.int64,
        "float | None": types.float64,
    }
    result = {
        "None": types.void,
        "FloatVector": types.Array(types.float64, 1, "C"),
        "BoolVector": types.Array(types.boolean, 1, "C"),
    }
    hints = dict(function.__annotations__)
    returned = result[hints.pop("return")]
    arguments = [
        result[hint] if name.endswith("_out") else kinds[hint]
        for name, hint in hints.items()
    ]
    defaults = function.__defaults__ or ()
    signatures = [returned(*arguments)]
    for n in range(1, len(defaults) + 1):
        # Not told apart by their values where Python calls: so all are None.
        omitted = [types.Omitted(None)] * n  # type: ignore[no-untyped-call]
        signatures.append(returned(*arguments[:-n], *omitted))
    return signatures
