"""The bundled sample and the simulated panels."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path

import numpy as np
import numpy.testing as npt
import polars as pl
import pytest

from barloop import datasets
from barloop.datasets import random_walks, real_prices
from barloop.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]

# Printed by data/make_us_equities_sample.py, written down in data/README.md.
CONTENT_SHA256 = "a32f4119ce1b6afd527f9eb1149b06f3d1eef15b9dc50b35410bf335e147456e"
PARQUET_SHA256 = "d679e57543a9e491f61ab842c0dd13fcacdb68f24974fc3d9477b4437e09be9e"

# Of `top25`, computed as in test_top25_is_the_same_everywhere.
TOP25_SHA256 = "3192c17b732e405edc3b01f70ffbc1b3a523711c6ecb8690e5dea3a3028f6aef"


@pytest.fixture(scope="module")
def equities() -> pl.DataFrame:
    return datasets.us_equities()


@pytest.fixture(scope="module")
def example() -> datasets.Top25:
    return datasets.top25()


def panel(bars: pl.DataFrame, column: str, n_assets: int = 500) -> np.ndarray:
    return bars[column].to_numpy().reshape(-1, n_assets)


# ---------------------------------------------------------------------- us_equities


def test_us_equities_has_the_columns_and_dtypes_it_promises(equities):
    assert dict(equities.schema) == {
        "date": pl.Date,
        "symbol": pl.String,
        "open": pl.Float64,
        "high": pl.Float64,
        "low": pl.Float64,
        "close": pl.Float64,
        "volume": pl.Int64,
        "adj_close": pl.Float64,
    }
    assert equities.height == 12_154
    assert equities.null_count().sum_horizontal().item() == 0
    assert equities.equals(equities.sort("date", "symbol"))
    assert not equities.select("date", "symbol").is_duplicated().any()


def test_us_equities_values_are_those_of_the_source(equities):
    digest = hashlib.sha256()
    digest.update(equities["date"].to_physical().to_numpy().astype("<i4").tobytes())
    digest.update("\n".join(equities["symbol"]).encode())
    for name in ("open", "high", "low", "close", "adj_close"):
        digest.update(equities[name].to_numpy().astype("<f8").tobytes())
    digest.update(equities["volume"].to_numpy().astype("<i8").tobytes())
    assert digest.hexdigest() == CONTENT_SHA256


def test_us_equities_file_is_the_one_the_readme_describes():
    content = (REPOSITORY / "data" / "us_equities_sample.parquet").read_bytes()
    assert hashlib.sha256(content).hexdigest() == PARQUET_SHA256
    readme = (REPOSITORY / "data" / "README.md").read_text(encoding="utf-8")
    assert PARQUET_SHA256 in readme
    assert CONTENT_SHA256 in readme


def test_us_equities_spans_and_listings(equities):
    spans = equities.group_by("symbol").agg(
        first=pl.col("date").min(), last=pl.col("date").max(), n=pl.len()
    )
    last = date(2013, 3, 1)
    assert spans.sort("symbol").rows() == [
        ("AAPL", date(2000, 3, 1), last, 3270),
        ("FB", date(2012, 5, 18), last, 196),
        ("GOOG", date(2004, 8, 19), last, 2148),
        ("IBM", date(2000, 3, 1), last, 3270),
        ("MSFT", date(2000, 3, 1), last, 3270),
    ]


def test_us_equities_has_three_splits(equities):
    factor = pl.col("adj_close") / pl.col("close")
    steps = equities.with_columns(step=factor / factor.shift(1).over("symbol"))
    splits = steps.filter(pl.col("step") > 1.5).sort("symbol", "date")
    assert splits.select("symbol", "date").rows() == [
        ("AAPL", date(2000, 6, 21)),
        ("AAPL", date(2005, 2, 28)),
        ("MSFT", date(2003, 2, 18)),
    ]
    npt.assert_allclose(splits["step"].to_numpy(), 2.0, rtol=1e-9)


def test_us_equities_prices_are_consistent(equities):
    wrong = equities.filter(
        (pl.col("low") <= 0.0)
        | (pl.col("low") > pl.min_horizontal("open", "close"))
        | (pl.col("high") < pl.max_horizontal("open", "close"))
        | (pl.col("volume") <= 0)
    )
    assert wrong.is_empty()


def test_us_equities_is_found_beside_the_package(tmp_path, monkeypatch, equities):
    name = "us_equities_sample.parquet"
    (tmp_path / name).write_bytes((REPOSITORY / "data" / name).read_bytes())
    folders = (tmp_path / "absent", tmp_path)
    monkeypatch.setattr(real_prices, "_SAMPLE_FOLDERS", folders)
    assert datasets.us_equities().equals(equities)


def test_us_equities_names_both_places_when_the_file_is_missing(tmp_path, monkeypatch):
    folders = (tmp_path / "one", tmp_path / "two")
    monkeypatch.setattr(real_prices, "_SAMPLE_FOLDERS", folders)
    with pytest.raises(FileNotFoundError, match=r"(?s)one or .*two.*Hint: reinstall"):
        datasets.us_equities()


def test_adjusted_scales_prices_and_keeps_traded_value(equities):
    bars = datasets.adjusted(equities)
    assert bars.columns == [name for name in equities.columns if name != "adj_close"]
    factor = equities["adj_close"] / equities["close"]
    assert bars["close"].equals(equities["adj_close"].alias("close"))
    for name in ("open", "high", "low"):
        npt.assert_array_equal(bars[name], equities[name] * factor)
    npt.assert_allclose(
        bars["open"] * bars["volume"], equities["open"] * equities["volume"], rtol=1e-12
    )


# -------------------------------------------------------------- us_equities_actions


@pytest.fixture(scope="module")
def actions() -> pl.DataFrame:
    return datasets.us_equities_actions()


def test_us_equities_actions_are_three_splits_and_92_dividends(actions):
    assert dict(actions.schema) == {
        "date": pl.Date,
        "symbol": pl.String,
        "kind": pl.String,
        "value": pl.Float64,
    }
    assert actions.equals(actions.sort("date", "symbol"))
    assert not actions.select("date", "symbol").is_duplicated().any()
    assert actions.filter(kind="split").select("date", "symbol", "value").rows() == [
        (date(2000, 6, 21), "AAPL", 2.0),
        (date(2003, 2, 18), "MSFT", 2.0),
        (date(2005, 2, 28), "AAPL", 2.0),
    ]
    counts = actions.filter(kind="dividend")["symbol"].value_counts().sort("symbol")
    assert counts.rows() == [("AAPL", 3), ("IBM", 52), ("MSFT", 37)]


def test_us_equities_actions_have_the_dividends_the_companies_paid(actions):
    paid = {row[:2]: row[3] for row in actions.iter_rows()}
    # Apple's first since 1995; Microsoft's first, and its special one of 3.00 with the
    # quarterly 0.08; IBM's raise from 0.20 to 0.30.
    assert paid[date(2012, 8, 9), "AAPL"] == 2.65
    assert paid[date(2003, 2, 19), "MSFT"] == 0.08
    assert paid[date(2004, 11, 15), "MSFT"] == 3.08
    assert paid[date(2006, 2, 8), "IBM"] == 0.2
    assert paid[date(2006, 5, 8), "IBM"] == 0.3


def test_us_equities_actions_are_whole_cents_before_rounding(equities, actions):
    factor = pl.col("adj_close") / pl.col("close")
    dividends = equities.with_columns(
        raw=(factor / factor.shift(1).over("symbol") - 1.0) * pl.col("close")
    ).join(actions.filter(kind="dividend"), on=["date", "symbol"])
    assert dividends.height == 92
    npt.assert_allclose(dividends["raw"], dividends["value"], rtol=0.0, atol=1e-10)
    cents = 100.0 * dividends["value"]
    npt.assert_allclose(cents, cents.round(), rtol=0.0, atol=1e-9)


def test_us_equities_actions_give_the_adjusted_closes_back(equities, actions):
    # Backwards from the last factor of each symbol, as the source made them.
    step = (
        pl.when(kind="split")
        .then("value")
        .when(kind="dividend")
        .then(1.0 + pl.col("value") / pl.col("close"))
        .otherwise(1.0)
    )
    # What happens on a date divides the closes of all dates before it.
    later = step.shift(-1).over("symbol").fill_null(1.0)
    last = (pl.col("adj_close") / pl.col("close")).last().over("symbol")
    made = equities.join(
        actions, on=["date", "symbol"], how="left", maintain_order="left"
    ).select(
        "adj_close",
        made=pl.col("close")
        * last
        / later.cum_prod(reverse=True).over("symbol", order_by="date"),
    )
    npt.assert_allclose(made["made"], made["adj_close"], rtol=1e-10)


# ---------------------------------------------------------------------------- top25


def test_top25_has_the_columns_and_shape_it_promises(example):
    floats = ("open", "high", "low", "close", "volume", "ml_score", "atr")
    assert dict(example.bars.schema) == {
        "timestamp": pl.Date,
        "asset": pl.String,
        **dict.fromkeys(floats, pl.Float64),
    }
    assert example.bars.height == 126_000
    assert example.bars.equals(example.bars.sort("timestamp", "asset"))
    names = [f"STOCK{i:03d}" for i in range(500)]
    assert example.bars["asset"][:500].to_list() == names
    assert dict(example.context.schema) == {"timestamp": pl.Date, "vix": pl.Float64}
    sessions = example.bars["timestamp"].unique(maintain_order=True)
    assert example.context["timestamp"].equals(sessions)
    assert sessions.len() == 252
    assert sessions[0] == date(2024, 1, 2)
    assert sessions.dt.weekday().max() == 5


def test_top25_is_the_same_everywhere(example):
    # Whole numbers of the last digit kept: the last bit of a float does not matter.
    decimals = {"open": 2, "high": 2, "low": 2, "close": 2, "volume": 0}
    decimals |= {"ml_score": 9, "atr": 4}
    digest = hashlib.sha256()
    for name, n in decimals.items():
        values = example.bars[name].fill_null(-1.0).to_numpy() * 10.0**n
        digest.update(np.rint(values).astype("<i8").tobytes())
    vix = np.rint(example.context["vix"].to_numpy() * 100.0)
    digest.update(vix.astype("<i8").tobytes())
    assert digest.hexdigest() == TOP25_SHA256


def test_top25_gives_equal_frames_each_time(example):
    again = datasets.top25()
    assert again.bars.equals(example.bars)
    assert again.context.equals(example.context)


def test_top25_score_is_right_58_percent_of_the_time(example):
    close, score = panel(example.bars, "close"), panel(example.bars, "ml_score")
    move = close[1:] / close[:-1] - 1.0
    score = score[:-1]
    right = ((score > 0.5) & (move > 0.0)) | ((score < 0.5) & (move < 0.0))
    moved = move != 0.0
    assert 0.575 < right[moved].mean() < 0.585
    assert 0.575 < right.mean() < 0.585  # a move of 0 counted as wrong
    # Extreme scores and large moves are no exception.  Four deviations of a share of
    # 5 % of 500 * 251 draws, 6275, are 4 * sqrt(0.58 * 0.42 / 6275) = 0.025.
    confidence = np.abs(score - 0.5)
    confident = confidence > np.quantile(confidence, 0.95)
    large = np.abs(move) > np.quantile(np.abs(move), 0.95)
    assert abs(right[confident & moved].mean() - 0.58) < 0.025
    assert abs(right[large].mean() - 0.58) < 0.025


def test_top25_scores_have_no_ties_and_lie_between_0_and_1(example):
    score = panel(example.bars, "ml_score")
    assert score.min() > 0.0
    assert score.max() < 1.0
    assert not (score == 0.5).any()
    assert (np.diff(np.sort(score, axis=1), axis=1) > 1e-12).all()


def test_top25_atr_follows_from_the_bars(example):
    high, low, close, atr = (
        panel(example.bars, name) for name in ("high", "low", "close", "atr")
    )
    late = np.arange(12, 500, 25)
    assert len(late) == 20
    missing = np.zeros_like(atr, dtype=bool)
    missing[:14, late] = True
    npt.assert_array_equal(np.isnan(atr), missing)
    assert example.bars["atr"].null_count() == 280
    assert not example.bars["atr"].is_nan().any()
    for t, i in [(14, 0), (14, 12), (100, 37), (251, 499)]:
        ranges = [
            max(high[s, i], close[s - 1, i]) - min(low[s, i], close[s - 1, i])
            for s in range(t - 13, t + 1)
        ]
        assert atr[t, i] == pytest.approx(math.fsum(ranges) / 14, abs=5.1e-5)


def test_top25_bars_are_consistent(example):
    wrong = example.bars.filter(
        (pl.col("low") <= 0.0)
        | (pl.col("low") > pl.min_horizontal("open", "close"))
        | (pl.col("high") < pl.max_horizontal("open", "close"))
        | (pl.col("volume") <= 0.0)
        | (pl.col("volume") % 100.0 != 0.0)
    )
    assert wrong.is_empty()
    prices = example.bars.select("open", "high", "low", "close").to_numpy()
    npt.assert_allclose(prices, np.round(prices, 2), rtol=0.0, atol=0.0)


def test_top25_returns_are_plausible(example):
    close = panel(example.bars, "close")
    returns = close[1:] / close[:-1] - 1.0
    deviation = returns.std(axis=0)
    assert deviation.min() > 0.01
    assert deviation.max() < 0.03
    assert abs(returns).max() < 0.2
    market = np.prod(1.0 + returns.mean(axis=1)) - 1.0
    assert -0.3 < market < 0.3


def test_top25_vix_is_above_30_on_13_sessions_in_clusters(example):
    vix = example.context["vix"].to_numpy()
    stressed = vix > 30.0
    assert stressed.sum() == 13
    assert vix[~stressed].max() < 30.0
    assert vix.min() > 10.0
    assert vix.max() < 60.0
    n_clusters = np.sum(stressed[1:] & ~stressed[:-1]) + stressed[0]
    assert n_clusters <= 8
    assert not stressed[0]
    assert not stressed[-1]


# -------------------------------------------------------------------- simulate_bars


def test_simulate_bars_makes_a_complete_sorted_frame():
    bars = datasets.simulate_bars(12, 30, seed=1)
    floats = ("open", "high", "low", "close", "volume")
    assert dict(bars.schema) == {
        "timestamp": pl.Date,
        "asset": pl.String,
        **dict.fromkeys(floats, pl.Float64),
    }
    assert bars.height == 360
    assert bars.equals(bars.sort("timestamp", "asset"))
    assert bars["asset"][:12].to_list() == [f"A{i:02d}" for i in range(12)]
    assert bars["timestamp"][0] == date(2000, 1, 3)
    # Monday 3 January 2000 and 29 weekdays on: Friday 11 February.
    assert bars["timestamp"][-1] == date(2000, 2, 11)
    wrong = bars.filter(
        (pl.col("low") <= 0.0)
        | (pl.col("low") > pl.min_horizontal("open", "close"))
        | (pl.col("high") < pl.max_horizontal("open", "close"))
        | (pl.col("volume") % 1.0 != 0.0)
        | (pl.col("volume") <= 0.0)
    )
    assert wrong.is_empty()


def test_simulate_bars_minutes_end_with_the_session():
    saturday = date(2024, 1, 6)
    bars = datasets.simulate_bars(1, 391, seed=1, frequency="1m", start=saturday)
    assert bars.schema["timestamp"] == pl.Datetime("us")
    assert bars["timestamp"][0] == datetime(2024, 1, 8, 9, 31)
    assert bars["timestamp"][389] == datetime(2024, 1, 8, 16, 0)
    assert bars["timestamp"][390] == datetime(2024, 1, 9, 9, 31)


@pytest.mark.parametrize(("frequency", "n_per_year"), [("1d", 252), ("1m", 252 * 390)])
def test_simulate_bars_has_the_volatility_asked_for(frequency, n_per_year):
    bars = datasets.simulate_bars(50, 2000, seed=3, frequency=frequency, volatility=0.4)
    close = panel(bars, "close", 50)
    returns = close[1:] / close[:-1] - 1.0
    # 100,000 draws: a deviation is off by some 1 / sqrt(200,000) = 0.2 %.
    assert returns.std() * math.sqrt(n_per_year) == pytest.approx(0.4, rel=0.01)


def test_simulate_bars_shorter_frame_is_a_prefix(monkeypatch):
    monkeypatch.setattr(
        random_walks, "_CHUNK_VALUES", 64
    )  # 9 bars of 7 assets per step
    long = datasets.simulate_bars(7, 40, seed=5)
    for n_bars in (1, 9, 10, 23):
        short = datasets.simulate_bars(7, n_bars, seed=5)
        assert short.equals(long.head(7 * n_bars))


def test_simulate_bars_depends_on_the_seed_only():
    first = datasets.simulate_bars(3, 50, seed=1)
    assert first.equals(datasets.simulate_bars(3, 50, seed=1))
    assert not first.equals(datasets.simulate_bars(3, 50, seed=2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_assets": 0}, "n_assets and n_bars must be at least 1, got 0 and 5"),
        ({"n_bars": 0}, "n_assets and n_bars must be at least 1, got 2 and 0"),
        ({"frequency": "1min"}, "got '1min'. Did you mean '1m'"),
        ({"volatility": -0.1}, "volatility must be between 0 and 1.587"),
        ({"volatility": float("nan")}, "volatility must be between 0 and 1.587"),
    ],
)
def test_simulate_bars_refuses_what_has_no_meaning(arguments, message):
    with pytest.raises(ConfigError, match=message):
        datasets.simulate_bars(**({"n_assets": 2, "n_bars": 5, "seed": 0} | arguments))


def test_importing_datasets_does_not_import_numba():
    code = "import sys, barloop.datasets; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
