"""Helpers for compiled callbacks: compiled when asked for, the bits of the arrays."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import polars as pl
import pytest

import barloop as bl
import barloop.schema
from barloop import jitted, selection
from barloop.errors import WeightsError

SOURCE = Path(barloop.schema.__file__).parents[1]


@pytest.fixture(scope="module")
def history() -> np.ndarray:
    """300 bars of 400 assets: ties, gaps, late listings; read-only."""
    rng = np.random.default_rng(11)
    steps = rng.choice([0.9, 1.0, 1.0, 1.1, 1.25], (300, 400))
    prices = 10.0 * np.cumprod(steps, axis=0)
    prices[rng.random(prices.shape) < 0.01] = np.nan
    prices[:200, :40] = np.nan
    prices[250:, 40:60] = np.nan
    prices.flags.writeable = False
    return prices


def run(code: str, **environment: str) -> list[str]:
    """Run `code` in a new process and return what it prints."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_D")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**inherited, "PYTHONPATH": str(SOURCE), **environment},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("lookback", [1, 5, 126, 299])
def test_scores_have_the_bits_of_the_array_form(history, lookback):
    for t in (history.shape[0], 260, lookback, lookback + 1, 1):
        known = history[:t]
        for one, two in (
            (jitted.momentum(known, lookback), bl.momentum(known, lookback)),
            (jitted.mean(known, lookback), bl.mean(known, lookback)),
            (
                jitted.volatility(known, lookback + 1),
                bl.volatility(known, lookback + 1),
            ),
        ):
            np.testing.assert_array_equal(one, two)
            assert one.shape == (400,)
    for skip in {0, lookback // 2, lookback - 1}:
        expected = history[-1 - skip] / history[-1 - lookback] - 1
        expected[np.isnan(history[-1])] = np.nan
        np.testing.assert_array_equal(
            jitted.momentum(history, lookback, skip), expected
        )
        np.testing.assert_array_equal(
            bl.momentum(history, lookback, skip=skip), expected
        )


def test_a_window_says_the_same_wherever_the_history_begins(history):
    for function in (jitted.momentum, jitted.mean, jitted.volatility):
        whole = function(history, 20)
        assert np.isfinite(whole).sum() > 100
        np.testing.assert_array_equal(function(history[-21:].copy(), 20), whole)


def test_volatility_is_the_sample_deviation(history):
    returns = history[-63:] / history[-64:-1] - 1
    expected = np.std(returns, axis=0, ddof=1)
    np.testing.assert_allclose(jitted.volatility(history, 63), expected, rtol=1e-12)
    expected = np.mean(history[-63:], axis=0)
    np.testing.assert_allclose(jitted.mean(history, 63), expected, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 3, 64, 399, 400, 1_000])
def test_choices_and_weights_have_the_bits_of_the_array_form(history, n):
    volatility = bl.volatility(history, 5)
    # One digit: many ties.
    for score in (bl.momentum(history, 20).round(1), np.full(400, np.nan), -history[7]):
        best, worst = jitted.top_n(score, n), jitted.bottom_n(score, n)
        assert best.dtype == np.bool_
        np.testing.assert_array_equal(best, bl.top_n(score, n))
        np.testing.assert_array_equal(worst, bl.bottom_n(score, n))
        weights = np.full(400, 7.0)
        jitted.equal_weight(best, weights)
        np.testing.assert_array_equal(weights, bl.equal_weight(best))
        jitted.equal_weight(best, weights, 0.3)
        np.testing.assert_array_equal(weights, bl.equal_weight(best, gross=0.3))
        jitted.rank_weights(score, best, weights)
        np.testing.assert_array_equal(weights, bl.rank_weights(score, chosen=best))
        jitted.rank_weights(score, np.ones(400, dtype=bool), weights, 0.3)
        np.testing.assert_array_equal(weights, bl.rank_weights(score, gross=0.3))
        jitted.inverse_volatility(best, volatility, weights)
        np.testing.assert_array_equal(weights, bl.inverse_volatility(best, volatility))
        jitted.long_short(best, worst, weights)
        np.testing.assert_array_equal(weights, bl.long_short(best, worst))
        jitted.long_short(best, worst, weights, 1.3, 0.3)
        expected = bl.long_short(best, worst, long_gross=1.3, short_gross=0.3)
        np.testing.assert_array_equal(weights, expected)


def test_ties_and_zeros_of_either_sign_go_to_the_earlier_asset():
    score = np.array([-0.0, 0.0, -0.0, 1.0, -np.inf, np.inf, np.nan])
    assert np.flatnonzero(jitted.top_n(score, 3)).tolist() == [0, 3, 5]
    assert np.flatnonzero(jitted.top_n(score, 4)).tolist() == [0, 1, 3, 5]
    assert np.flatnonzero(jitted.bottom_n(score, 2)).tolist() == [0, 4]
    assert np.flatnonzero(jitted.top_n(score, 9)).tolist() == [0, 1, 2, 3, 4, 5]


def test_what_has_no_meaning_is_refused(history):
    chosen = np.zeros(400, dtype=bool)
    for call in (
        lambda: jitted.momentum(history, 0),
        lambda: jitted.momentum(history, 5, 5),
        lambda: jitted.momentum(history, 5, -1),
        lambda: jitted.mean(history, 0),
        lambda: jitted.volatility(history, 1),
        lambda: jitted.top_n(history[-1], 0),
        lambda: jitted.bottom_n(history[-1], 0),
    ):
        with pytest.raises(WeightsError, match=r"(must|it must) be"):
            call()
    weights = np.ones(400)
    jitted.equal_weight(chosen, weights)
    assert not weights.any()


def test_inside_compiled_code(history):
    @numba.njit(boundscheck=True)
    def strategy(close, lookback, n, weights_out):
        score = jitted.momentum(close, lookback)
        jitted.equal_weight(jitted.top_n(score, n), weights_out)
        return True

    weights = np.empty(400)
    assert strategy(history, 20, 10, weights)
    expected = bl.equal_weight(bl.top_n(bl.momentum(history, 20), 10))
    np.testing.assert_array_equal(weights, expected)

    @numba.njit
    def with_constants(close, weights_out):
        risk = jitted.volatility(close, 21)
        score = jitted.momentum(close, 126, skip=21) / risk
        chosen = jitted.top_n(score, n=25)
        jitted.inverse_volatility(chosen, risk, weights_out, gross=1)

    with_constants(history, weights)
    risk = bl.volatility(history, 21)
    score = bl.momentum(history, 126, skip=21) / risk
    expected = bl.inverse_volatility(bl.top_n(score, 25), risk)
    np.testing.assert_array_equal(weights, expected)


def test_a_callback_is_the_expression(history):
    n_bars, n_assets = 120, 40
    close = np.nan_to_num(history[100 : 100 + n_bars, 50 : 50 + n_assets], nan=5.0)
    bars = pl.DataFrame(
        {
            "timestamp": np.repeat(np.arange(n_bars), n_assets),
            "asset": np.tile(np.arange(n_assets), n_bars),
            "open": close.ravel(),
            "close": close.ravel(),
        }
    )

    @numba.njit
    def compiled(bar, params, weights_out):
        if bar.t < params.lookback:
            return False
        score = jitted.momentum(bar.history.close, params.lookback)
        jitted.equal_weight(jitted.top_n(score, params.n), weights_out)
        return True

    def python(bar, lookback, n):
        if bar.t < lookback:
            return None
        return bl.equal_weight(bl.top_n(bl.momentum(bar.history.close, lookback), n))

    def factory(lookback, n):
        return bl.equal_weight(bl.top_n(bl.momentum("close", lookback), n))

    def slow_factory(lookback, n):
        return factory(lookback, n).alias("weight")

    settings = {"params": {"lookback": 20, "n": 7}, "bars_per_year": 252}
    first, *others = (
        bl.run_backtest(bars, one, schedule=3, **settings)
        for one in (factory, slow_factory, python, compiled)
    )
    assert first.fills.height > 100
    for other in others:
        assert first.equity.equals(other.equity)
        assert first.fills.equals(other.fills)


def test_names_and_meanings_are_those_of_the_selection_module():
    assert jitted.__all__ == selection.__all__
    assert set(jitted.__all__) <= set(dir(jitted))
    for name in jitted.__all__:
        assert getattr(jitted, name).__doc__.endswith("    ")
        assert name in inspect.getsource(jitted)
    with pytest.raises(AttributeError, match="has no attribute 'median'"):
        jitted.median  # noqa: B018


COMPILES = """
import numba
import numpy as np
from barloop import jitted

print("top_n" in vars(jitted))
from barloop.jitted import top_n
print(jitted.top_n is top_n, "bottom_n" in vars(jitted))

@numba.njit
def f(x, w):
    jitted.equal_weight(top_n(x, 2), w)
    jitted.equal_weight(top_n(x, 25), w, 0.5)

fixed = np.arange(5.0)
fixed.flags.writeable = False
for score in (np.arange(5.0), fixed):
    f(score, np.zeros(5))
    top_n(score, 3)
print(len(top_n.signatures), len(jitted.equal_weight.signatures))
print(sum(top_n.stats.cache_hits.values()), sum(top_n.stats.cache_misses.values()))
from barloop._jit import sources_digest
print(sources_digest() in top_n.py_func.__qualname__)
"""


@pytest.mark.once
def test_each_is_compiled_for_one_signature_when_asked_for_and_kept(tmp_path):
    out = run(COMPILES, NUMBA_CACHE_DIR=str(tmp_path))
    assert out == ["False", "True", "False", "1", "2", "0", "1", "True"]
    out = run(COMPILES, NUMBA_CACHE_DIR=str(tmp_path))
    assert out == ["False", "True", "False", "1", "2", "1", "0", "True"]


def test_where_nothing_can_be_kept():
    code = (
        "import numpy as np\nfrom barloop import jitted\n"
        "print(jitted.top_n(np.arange(3.0), 1).tolist())"
    )
    nowhere = {"HOME": "/dev/null", "NUMBA_CACHE_DIR": "/dev/null/cache"}
    assert run(code, **nowhere) == ["[False,", "False,", "True]"]


def test_barloop_itself_imports_neither_these_nor_numba():
    code = (
        "import sys, barloop as bl\n"
        "bl.equal_weight(bl.top_n(bl.momentum('close', 5), 3))\n"
        "print(sorted({'numba', 'barloop.jitted'} & set(sys.modules)))"
    )
    assert run(code) == ["[]"]


BITS = """
import hashlib
import numpy as np
import polars as pl
import barloop as bl
from barloop import jitted

rng = np.random.default_rng(4)
close = rng.choice([1.0, 1.5, 0.1, 3.0], (12, 30))
close[rng.random(close.shape) < 0.01] = np.nan
digest = hashlib.sha256()
w = np.empty(30)
for t in range(1, 13):
    known = close[:t]
    zeros = known[-1] - known[-1]
    vol = jitted.volatility(known, 4)
    for score in (jitted.momentum(known, 3, 1), jitted.mean(known, 3), vol, zeros):
        chosen = jitted.top_n(score, 7)
        jitted.equal_weight(chosen, w)
        digest.update(w.tobytes())
        jitted.rank_weights(score, chosen, w, 0.7)
        digest.update(w.tobytes())
        jitted.inverse_volatility(chosen, zeros, w)
        jitted.inverse_volatility(chosen, vol, w)
        digest.update(w.tobytes())
        jitted.long_short(chosen, jitted.bottom_n(score, 7), w)
        digest.update(w.tobytes())
        digest.update(score.tobytes())
bars = pl.DataFrame(
    {
        "timestamp": np.repeat(np.arange(12), 30),
        "asset": np.tile(np.arange(30), 12),
        "close": close.ravel(),
        "zero": 0.0,
    }
).filter(pl.int_range(pl.len()) % 7 != 3)
score = bl.momentum("close", 3)
chosen = bl.top_n(score, 7)
limits = bl.Limits(allow_short=True)
for weights in (
    bl.equal_weight(chosen),
    bl.rank_weights(bl.mean("close", 2), chosen=chosen),
    bl.inverse_volatility(chosen, bl.volatility("close", 3)),
    bl.equal_weight(bl.top_n(bl.momentum("zero", 2), 3)),
    bl.equal_weight(bl.top_n(bl.volatility("zero", 2), 3)),
    bl.long_short(chosen, bl.bottom_n(score, 7)),
):
    for form in (weights, weights.alias("weight")):
        run = bl.run_backtest(
            bars, form, bars_per_year=252, limits=limits,
            execution=bl.Execution(fill="next_close"),
        )
        digest.update(run.equity["equity"].to_numpy().tobytes())
print(digest.hexdigest())
"""


@pytest.mark.once
def test_the_bits_do_not_depend_on_the_compiler():
    assert run(BITS, NUMBA_DISABLE_JIT="1") == run(BITS)
