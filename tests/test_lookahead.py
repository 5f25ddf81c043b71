"""`check_lookahead` catches rules that look ahead and lets honest ones pass.

The catalogue of leaky rules says for each which column leaks; the first bar is found
again here by brute force, a rule on every prefix beside the rule on all data.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
import polars as pl
import pytest

import barloop as bl
from barloop.errors import (
    ConfigError,
    LookaheadError,
    SchemaError,
    WeightsError,
)
from barloop.lookahead import (
    LookaheadReport,
    captured,
    check,
    check_lookahead,
    decisions,
    given,
    poison,
    probes,
)

N_BARS, ASSETS = 64, ("AA", "BB", "CC", "DD", "EE", "FF")
price = pl.col("close")


@functools.cache
def market() -> pl.DataFrame:
    """64 weekdays, six assets: one listed late, one gone early, rows missing."""
    rng = np.random.default_rng(5)
    days = [dt.date(2014, 1, 1) + dt.timedelta(n) for n in range(120)]
    days = [day for day in days if day.weekday() < 5][:N_BARS]
    shape = (N_BARS, len(ASSETS))
    close = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, shape), axis=0))
    high = close * (1.0 + rng.uniform(0.0, 0.02, shape))
    low = close * (1.0 - rng.uniform(0.0, 0.02, shape))
    n = close.size
    frame = pl.DataFrame(
        {
            "date": [day for day in days for _ in ASSETS],
            "symbol": ASSETS * N_BARS,
            "open": rng.uniform(low, high).ravel(),
            "high": high.ravel(),
            "low": low.ravel(),
            "close": close.ravel(),
            "volume": rng.integers(1_000, 100_000, n),
            "score": rng.random(n),
            "atr": pl.Series(rng.uniform(0.5, 2.0, n), dtype=pl.Float32),
            "signal": rng.normal(0.0, 1.0, n),
            "flag": rng.random(n) < 0.4,
            "sector": rng.choice(["oil", "tech"], n),
            "spare": rng.random(n),
        }
    ).with_columns(
        pl.when(pl.Series(rng.random(n) > 0.1)).then("score").alias("score"),
        t=pl.int_range(n) // len(ASSETS),
    )
    late = (pl.col("symbol") == "FF") & (pl.col("t") < 24)
    early = (pl.col("symbol") == "BB") & (pl.col("t") > 45)
    hole = (pl.col("symbol") == "CC") & pl.col("t").is_in([7, 8, 30])
    return frame.filter(~(late | early | hole)).drop("t")


@functools.cache
def context() -> pl.DataFrame:
    rng = np.random.default_rng(8)
    days = market()["date"].unique().sort()
    return pl.DataFrame({"date": days, "vix": rng.uniform(10.0, 40.0, N_BARS)})


def days() -> list[dt.date]:
    return market()["date"].unique().sort().to_list()


def over(expr: pl.Expr) -> pl.Expr:
    return expr.over("symbol", order_by="date")


def hold(chosen: pl.Expr, weight: float = 0.1) -> pl.Expr:
    return pl.when(chosen).then(weight).otherwise(0.0)


def best(score: pl.Expr | str, n: int = 2) -> pl.Expr:
    return bl.equal_weight(bl.top_n(score, n, over="date"), over="date")


def found(weights_fn: Any, df: pl.DataFrame | None = None, **options: Any) -> Any:
    """Return what is found in a rule that looks ahead."""
    with pytest.raises(LookaheadError) as caught:
        check_lookahead(market() if df is None else df, weights_fn, **options)
    return caught.value.finding


def passes(weights_fn: Any, df: Any = None, **options: Any) -> LookaheadReport:
    report = check_lookahead(market() if df is None else df, weights_fn, **options)
    assert report.n_compared > 0
    return report


def brute_force(weights: pl.Expr, schedule: list[dt.date]) -> tuple[Any, Any]:
    """Return the first bar and asset whose weight changes with the data after it."""
    frame = market()

    def decided(rows: pl.DataFrame, day: dt.date) -> dict[str, float] | None:
        said = rows.sort("date", "symbol").select("date", "symbol", w=weights)
        said = said.filter(pl.col("date") == day)
        if said["w"].null_count() == said.height:
            return None
        return {a: w for a, w in said.select("symbol", "w").iter_rows() if w}

    for day in schedule[:-1]:
        known = decided(frame.filter(pl.col("date") <= day), day)
        whole = decided(frame, day)
        if known is None or whole is None:
            if known is not whole:
                named = sorted({**(known or {}), **(whole or {})})
                return day, named[0] if named else None
            continue
        for asset in sorted({**known, **whole}):
            if abs(known.get(asset, 0.0) - whole.get(asset, 0.0)) > 1e-9:
                return day, asset
    return None, None


# ------------------------------------------------------------------- leaky expressions


@dataclass(frozen=True)
class Leaky:
    weights: Any
    columns: tuple[str, ...]
    cause: str = "values"
    options: dict[str, Any] = field(default_factory=dict)


LEAKY = {
    "tomorrow's close": Leaky(hold(over(price.shift(-1)) > price), ("close",)),
    "best return of tomorrow": Leaky(
        best(over(price.shift(-1) / price)), ("close",), options={"schedule": 5}
    ),
    "high of tomorrow": Leaky(hold(over(pl.col("high").shift(-1)) > price), ("high",)),
    "low of tomorrow": Leaky(hold(over(pl.col("low").shift(-1)) > price), ("low",)),
    "open of tomorrow": Leaky(hold(over(pl.col("open").shift(-1)) > price), ("open",)),
    "in three weeks": Leaky(
        hold(over(price.shift(-15)) > price), ("close",), options={"schedule": 3}
    ),
    "full-sample mean": Leaky(hold(price > over(price.mean())), ("close",)),
    "full-sample z-score": Leaky(
        hold((price - price.mean()) / price.std() > 0.3), ("close",)
    ),
    "rank over all dates": Leaky(hold(price.rank() / pl.len() > 0.6), ("close",)),
    "quantile of all dates": Leaky(
        hold(pl.col("signal") > pl.col("signal").quantile(0.7)), ("signal",)
    ),
    "fill backward": Leaky(
        best(over(pl.col("score").fill_null(strategy="backward"))), ("score",)
    ),
    "interpolation": Leaky(best(over(pl.col("score").interpolate())), ("score",)),
    "centred window": Leaky(
        hold(over(price.rolling_mean(11, center=True)) > price), ("close",)
    ),
    "reversed cumulation": Leaky(
        hold(over(pl.col("signal").cum_sum(reverse=True)) > 0.0), ("signal",)
    ),
    "volatility of all dates": Leaky(
        (0.02 / over(price.pct_change().std())).clip(0.0, 0.16), ("close",)
    ),
    "maximum of all dates": Leaky(hold(price > 0.95 * over(price.max())), ("close",)),
    # True of these data, and of every prefix: only other futures show it.
    "never above": Leaky(hold(over(price.max()) < 10_000.0), ("close",)),
    "last volume": Leaky(hold(over(pl.col("volume").last()) > 40_000), ("volume",)),
    "flag of tomorrow": Leaky(
        hold(over(pl.col("flag").shift(-1)).fill_null(value=False)), ("flag",)
    ),
    "sector at the end": Leaky(
        hold(over(pl.col("sector").last()) == "oil"), ("sector",)
    ),
    "two columns": Leaky(
        hold(over(price.shift(-1)) - over(pl.col("open").shift(-1)) > 0.0),
        ("open", "close"),
    ),
    "nulls of tomorrow": Leaky(
        hold(over(pl.col("score").shift(-1)).is_null()), ("score",)
    ),
    "unadjusted by a later factor": Leaky(
        (0.1 * price / over(price.last())).clip(0.0, 0.16), ("close",)
    ),
    "survivors": Leaky(hold(over(pl.len()) == N_BARS), (), "rows"),
    "alive at the end": Leaky(
        hold(over(pl.col("date").max()) == pl.col("date").max()), (), "rows"
    ),
    "until the last day": Leaky(
        pl.when(pl.col("date") < pl.col("date").max()).then(0.1).otherwise(0.0),
        (),
        "bars",
    ),
    "number of rows": Leaky(pl.lit(10.0) / pl.len() + 0.0 * price, (), "rows"),
    "number of assets": Leaky(
        pl.lit(0.9) / pl.col("symbol").n_unique() + 0.0 * price, (), "assets"
    ),
    "own month end": Leaky(
        pl.when(
            pl.col("date").dt.month()
            != pl.col("date").max().over(pl.col("date").dt.month()).dt.month()
        )
        .then(0.0)
        .when(over(pl.col("date").shift(-1)).dt.month() != pl.col("date").dt.month())
        .then(0.1),
        (),
        "bars",
    ),
}


@pytest.mark.parametrize("name", LEAKY)
def test_leaky_expression_is_caught_with_its_column(name):
    case = LEAKY[name]
    finding = found(case.weights, **case.options)
    assert finding.columns == case.columns
    assert finding.cause == case.cause
    assert finding.context_columns == ()


@pytest.mark.parametrize("name", [n for n in LEAKY if LEAKY[n].cause == "values"])
def test_the_bar_and_asset_named_are_the_first(name):
    case = LEAKY[name]
    step = case.options.get("schedule", 1)
    day, asset = brute_force(case.weights, days()[::step])
    finding = found(case.weights, **case.options)
    if finding.how == "prefix":
        assert (finding.timestamp, finding.asset) == (day, asset)
        assert finding.cut == finding.timestamp
    else:
        # Changed data may show what missing data do not.
        assert day is None or finding.timestamp <= day


@pytest.mark.parametrize("name", [n for n in LEAKY if LEAKY[n].cause == "values"])
def test_a_factory_leaks_as_its_expression_does(name):
    case = LEAKY[name]
    plain = found(case.weights, **case.options)
    made = found(
        lambda scale: case.weights * scale, params={"scale": 1}, **case.options
    )
    assert (made.timestamp, made.asset, made.columns, made.first_later) == (
        plain.timestamp,
        plain.asset,
        plain.columns,
        plain.first_later,
    )


def test_the_message_says_what_where_and_which_column():
    with pytest.raises(LookaheadError) as caught:
        check_lookahead(market(), LEAKY["best return of tomorrow"].weights, schedule=5)
    finding = caught.value.finding
    assert str(caught.value) == (
        f'the weights at 2014-01-01 of asset "{finding.asset}" depend on later data: '
        "no rebalance with the data up to 2014-01-01, 0.5 with all data.\n"
        "The column 'close' after 2014-01-01 changes it (first later bar that matters: "
        "2014-01-02).\n"
        "Hint: look for shift(-1), a statistic over the whole sample, or a fill "
        "backward in what is computed from 'close'."
    )
    assert isinstance(caught.value, WeightsError)


@pytest.mark.parametrize("horizon", [1, 4, 15, 40])
def test_the_first_later_bar_that_matters_is_the_one_that_is_read(horizon):
    # Without the assets that miss rows, a row is a bar.
    frame = market().filter(pl.col("symbol").is_in(["AA", "DD", "EE"]))
    finding = found(hold(over(price.shift(-horizon)) > price), frame)
    at = days().index(finding.timestamp)
    assert finding.first_later == days()[at + horizon]


def test_weights_that_are_not_valid_without_the_later_data():
    span = over(price.max()) - over(price.min())
    finding = found(0.1 * (price - over(price.min())) / span)
    assert (finding.timestamp, finding.columns) == (days()[0], ("close",))
    # 0 / 0 on the first bar alone.
    assert "weights must not be NaN" in str(finding.error)
    gross = found(price / price.sum() * market().height / 7)
    assert "above max_gross" in str(gross.error)


def test_an_expression_that_fails_on_little_data_is_a_remark():
    def mean(values: pl.Series) -> pl.Series:
        if len(values) < 10:
            msg = "at least 10 values are needed"
            raise ValueError(msg)
        return values.rolling_mean(3)

    rule = hold(price > over(price.map_batches(mean, return_dtype=pl.Float64)))
    frame = market().filter(pl.col("symbol").is_in(["AA", "DD", "EE"]))
    report = passes(rule, frame)
    assert any("at least 10 values" in remark for remark in report.remarks)


# ------------------------------------------------------------------ honest columnar


def factory(lookback: int, n: int) -> pl.Expr:
    return best(over(price / price.shift(lookback)), n)


HONEST = {
    "momentum": (best(over(price / price.shift(20))), {}),
    "rolling mean": (hold(price > over(price.rolling_mean(10))), {}),
    "rolling statistics": (
        over(price.pct_change().rolling_std(10) + price.rolling_sum(7) * 1e-6).clip(
            0.0, 0.16
        ),
        {},
    ),
    "exponential": (hold(price > over(price.ewm_mean(span=10))), {}),
    "exponential weights": (
        (0.1 * over(price.ewm_mean(span=5)) / price).clip(0.0, 0.16),
        {},
    ),
    "cumulative": (hold(over(pl.col("signal").cum_sum()) > 0.0), {}),
    "expanding z-score": (
        hold((price - over(price.cum_sum() / price.cum_count())) > 0.5),
        {},
    ),
    "rank of the day": (
        0.3 * price.rank().over("date") / price.rank().sum().over("date"),
        {},
    ),
    "z-score of the day": (
        hold((price - price.mean().over("date")) / price.std().over("date") > 0.3),
        {},
    ),
    "fill forward": (
        best(over(pl.col("score").fill_null(strategy="forward"))),
        {},
    ),
    "score": (best("score", 3), {"schedule": "week_end"}),
    "text and flags": (
        hold((pl.col("sector") == "oil") & pl.col("flag")),
        {"schedule": "month_end"},
    ),
    "ages": (hold(over(pl.int_range(pl.len())) > 10), {}),
    "number of assets of the day": (
        pl.lit(0.9) / pl.len().over("date") + 0.0 * price,
        {},
    ),
    "sparse": (best(over(price / price.shift(20))), {"schedule": 21}),
    "listed dates": (
        hold(price > over(price.rolling_mean(3))),
        {
            "schedule": [
                dt.date(2014, 1, 31),
                dt.date(2014, 2, 28),
                dt.date(2014, 3, 20),
            ]
        },
    ),
    "start and end": (
        best(over(price / price.shift(5))),
        {"start": "2014-01-20", "end": dt.date(2014, 3, 3)},
    ),
    "factory": (factory, {"params": {"lookback": 10, "n": 2}, "schedule": "month_end"}),
    "shorts": (
        pl.col("signal") / pl.col("signal").abs().sum().over("date"),
        {"limits": bl.Limits(allow_short=True)},
    ),
    "never": (pl.lit(None, dtype=pl.Float64) + price, {}),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_expression_passes(name):
    weights, options = HONEST[name]
    for seed in (0, 1):
        passes(weights, seed=seed, **options)


@pytest.mark.parametrize("name", ["momentum", "score", "text and flags", "ages"])
def test_order_of_rows_and_kind_of_frame_change_nothing(name):
    weights, options = HONEST[name]
    shuffled = market().sample(fraction=1.0, shuffle=True, seed=3)
    passes(weights, shuffled, **options)
    passes(weights, shuffled.lazy(), **options)
    passes(weights, bl.Panel.from_frame(market()), **options)
    leaky = LEAKY["tomorrow's close"].weights
    assert found(leaky, shuffled) == found(leaky)


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(ASSETS[::-1])])
def test_assets_of_other_dtypes(dtype):
    frame = market().with_columns(pl.col("symbol").cast(dtype))
    passes(best("score"), frame)
    assert found(hold(over(price.shift(-1)) > price), frame).columns == ("close",)


def test_numbered_bars_and_numbered_assets():
    frame = market().select(
        timestamp=pl.col("date").rank("dense").cast(pl.Int64),
        asset=pl.col("symbol").rank("dense").cast(pl.Int16),
        open="open",
        close=price.cast(pl.Float32),
    )
    tomorrow = price.shift(-1).over("asset") > price
    passes(hold(price.shift(1).over("asset") > price), frame, bars_per_year=252)
    finding = found(hold(tomorrow), frame, bars_per_year=252)
    assert (finding.timestamp, finding.columns) == (1, ("close",))


@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_bars_inside_of_days(zone):
    times = pl.datetime_range(
        dt.datetime(2024, 3, 8, 14),
        dt.datetime(2024, 3, 11, 20),
        "1h",
        time_unit="ns",
        time_zone=zone,
        eager=True,
    )
    rng = np.random.default_rng(1)
    frame = pl.DataFrame(
        {"ts": times, "asset": "A", "close": rng.uniform(1.0, 2.0, len(times))}
    ).with_columns(open=price)
    passes(hold(price > price.shift(1)), frame, schedule="day_end")
    finding = found(hold(price > price.shift(-1)), frame)
    assert finding.timestamp == times[0]


def test_pandas_frames():
    frame = market().to_pandas()
    passes(best("score"), frame)
    assert found(hold(over(price.shift(-1)) > price), frame).columns == ("close",)


def test_an_expression_with_names_of_its_own():
    frame = market().rename({"close": "Close", "open": "Open", "high": "HIGH"})
    passes(hold(pl.col("Close") > 50.0), frame)
    finding = found(hold(over(pl.col("HIGH").shift(-1)) > pl.col("Close")), frame)
    assert finding.columns == ("HIGH",)


def test_recipes_of_the_library_see_the_past_only():
    rise = bl.momentum(price, 10, skip=1, by="symbol")
    risk = bl.volatility(price, 10, by="symbol")
    chosen = bl.top_n(rise, 3, over="date")
    for weights in (
        best(rise),
        bl.rank_weights(rise, chosen=chosen, over="date"),
        bl.inverse_volatility(chosen, risk, over="date"),
    ):
        report = passes(weights, schedule="week_end")
        assert report.n_decisions > 5
    later = best(bl.momentum(price.shift(-12).over("symbol"), 10, by="symbol"))
    finding = found(later, schedule="week_end")
    assert finding.columns == ("close",)


# ------------------------------------------------------------ columns and frames


def test_a_column_is_not_checked_without_what_makes_it():
    frame = market().with_columns(weight=LEAKY["tomorrow's close"].weights)
    report = check_lookahead(frame, "weight")
    assert report.n_compared == 0
    assert str(report).startswith("Nothing could be checked.")
    assert "'weight': how they were made is not checked" in report.remarks[0]


def test_a_frame_of_weights_is_not_checked():
    frame = market().select("date", "symbol", weight=LEAKY["tomorrow's close"].weights)
    report = check_lookahead(market(), frame)
    assert report.n_compared == 0
    assert "a frame of numbers" in report.remarks[0]


def test_features_are_checked_whoever_reads_them():
    def leaky(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(tomorrow=over(price.shift(-1) / price - 1.0))

    def honest(rows: pl.DataFrame) -> pl.LazyFrame:
        return rows.lazy().with_columns(tomorrow=over(price / price.shift(1) - 1.0))

    def callback(bar: bl.Bar, n: int) -> np.ndarray:
        return bl.equal_weight(bl.top_n(bar.tomorrow, n))

    for weights, params in (
        (best("tomorrow"), None),
        (callback, {"n": 2}),
        (lambda n: best("tomorrow", n), {"n": 2}),
    ):
        passes(weights, features=honest, params=params)
        finding = found(weights, features=leaky, params=params)
        assert finding.columns == ("close",)
        assert finding.timestamp == days()[0]
        assert finding.first_later == days()[1]


def test_a_column_of_weights_is_checked_through_features():
    finding = found(
        "weight",
        features=lambda rows: rows.with_columns(
            weight=LEAKY["full-sample mean"].weights
        ),
    )
    assert finding.columns == ("close",)
    passes("w", features=lambda rows: rows.with_columns(w=HONEST["momentum"][0]))


def test_bars_labelled_by_their_beginning_leak():
    def weeks(rows: pl.DataFrame, label: str) -> pl.DataFrame:
        return (
            rows.sort("date")
            .group_by_dynamic("date", every="1w", group_by="symbol", label=label)
            .agg(pl.col("open").first(), pl.col("close").last())
        )

    rule = hold(over(price / price.shift(1)) > 1.0)
    finding = found(rule, features=lambda rows: weeks(rows, "left"))
    assert finding.columns == ("close",)
    passes(rule, features=lambda rows: weeks(rows, "right"))


def test_a_model_that_is_trained_on_the_past_passes():
    def score(rows: pl.DataFrame, *, whole: bool) -> pl.DataFrame:
        """Fit the next return on the signal of a month, then score the next month."""
        frame = rows.sort("symbol", "date").with_columns(
            label=over(price.shift(-1) / price - 1.0),
            month=pl.col("date").dt.month(),
        )
        made = []
        for month in sorted(frame["month"].unique()):
            past = frame if whole else frame.filter(pl.col("month") < month)
            past = past.drop_nulls(["label", "signal"])
            x, y = past["signal"].to_numpy(), past["label"].to_numpy()
            slope = float(x @ y / (x @ x)) if x.size > 2 else 0.0
            one = frame.filter(pl.col("month") == month)
            made.append(one.with_columns(guess=pl.col("signal") * slope))
        return pl.concat(made).drop("label", "month")

    guess = hold(pl.col("guess") > 0.0)
    # The label of the last day of a month is known a day later.
    report = passes(guess, features=lambda rows: score(rows, whole=False), schedule=3)
    assert report.columns[-1] == "spare"
    finding = found(guess, features=lambda rows: score(rows, whole=True), schedule=3)
    assert set(finding.columns) <= {"close", "signal"}


def test_features_that_fail_on_little_data_are_a_remark():
    def picky(rows: pl.DataFrame) -> pl.DataFrame:
        if rows.height < 100:
            msg = "at least 100 rows are needed"
            raise ValueError(msg)
        return rows.with_columns(mean=over(price.rolling_mean(3)))

    report = passes(hold(price > pl.col("mean")), features=picky)
    assert any("at least 100 rows are needed" in remark for remark in report.remarks)
    assert any("with the data up to the cut" in remark for remark in report.remarks)


def test_features_that_refuse_strange_values_are_checked_with_exchanged_rows():
    def picky(rows: pl.DataFrame) -> pl.DataFrame:
        if rows["close"].is_null().any() or rows["close"].max() > 1_000.0:
            msg = "prices are broken"
            raise ValueError(msg)
        leak = over(price.shift(-1)).fill_null(price)
        return rows.with_columns(tomorrow=leak)

    finding = found(hold(pl.col("tomorrow") > price), features=picky)
    assert finding.columns == ("close",)


# -------------------------------------------------- frames that a function captures


def test_a_factory_that_reads_the_data_from_outside_is_given_what_is_known():
    frame = market()

    def honest(n: int) -> pl.DataFrame:
        return frame.select("date", "symbol", weight=best("score", n))

    def leaky(n: int) -> pl.DataFrame:
        score = over(pl.col("score").shift(-1))
        return frame.select("date", "symbol", weight=best(score, n))

    passes(honest, frame, params={"n": 2})
    finding = found(leaky, frame, params={"n": 2})
    assert (finding.columns, finding.cause) == (("score",), "values")
    lazy = frame.lazy()
    passes(lambda: lazy.select("date", "symbol", weight=best("score")), lazy)


def test_a_factory_that_reads_another_frame_is_refused():
    made = market().with_columns(weight=LEAKY["tomorrow's close"].weights)
    with pytest.raises(LookaheadError, match="reads a frame from outside") as caught:
        check_lookahead(market(), lambda: made.select("date", "symbol", "weight"))
    assert caught.value.finding.cause == "captured"
    assert "features=function" in str(caught.value)


def test_a_callback_that_reads_the_data_from_outside_is_caught():
    frame = market()

    def rises(bar: bl.Bar) -> dict[str, float]:
        later = frame.filter(pl.col("date") > bar.timestamp)
        first = later.group_by("symbol").agg(price.first())
        after = dict(first.iter_rows())
        now = zip(bar.assets, bar.close, strict=True)
        return {a: 0.1 for a, close in now if after.get(a, 0.0) > close}

    def fell(bar: bl.Bar) -> dict[str, float]:
        known = frame.filter(pl.col("date") <= bar.timestamp)
        last = known.group_by("symbol").agg(price.get(-2, null_on_oob=True))
        before = dict(last.iter_rows())
        now = zip(bar.assets, bar.close, strict=True)
        return {a: 0.1 for a, close in now if (before.get(a) or 0.0) > close}

    finding = found(rises, frame, schedule=4)
    assert (finding.columns, finding.timestamp) == (("close",), days()[0])
    passes(fell, frame, schedule=4)
    assert frame is market()


def test_data_in_a_default_a_partial_a_method_and_params():
    frame = market()

    def next_close(rows: pl.DataFrame, bar: bl.Bar) -> dict[str, float]:
        later = rows.filter(pl.col("date") > bar.timestamp).unique("symbol")
        return dict.fromkeys(later["symbol"].to_list(), 0.1)

    class Rule:
        def __init__(self) -> None:
            self.rows = frame

        def __call__(self, bar: bl.Bar) -> dict[str, float]:
            return next_close(self.rows, bar)

        def method(self, bar: bl.Bar) -> dict[str, float]:
            return next_close(self.rows, bar)

    def by_default(bar: bl.Bar, rows: pl.DataFrame = frame) -> dict[str, float]:
        return next_close(rows, bar)

    def by_keyword(bar: bl.Bar, *, rows: pl.DataFrame = frame) -> dict[str, float]:
        return next_close(rows, bar)

    def by_params(bar: bl.Bar, rows: pl.DataFrame) -> dict[str, float]:
        return next_close(rows, bar)

    for rule in (
        Rule(),
        Rule().method,
        by_default,
        by_keyword,
        functools.partial(by_params, rows=frame),
    ):
        assert found(rule, frame, schedule=9).timestamp == days()[0]
    assert found(by_params, frame, params={"rows": frame}).timestamp == days()[0]
    assert by_default.__defaults__ == (frame,)
    assert by_keyword.__kwdefaults__["rows"] is frame


OUTSIDE = market()


def read_outside(bar: bl.Bar) -> dict[str, float]:
    later = OUTSIDE.filter(pl.col("date") > bar.timestamp)
    return dict.fromkeys(later["symbol"].to_list(), 0.1)


def test_a_variable_of_the_module_is_swapped_and_comes_back():
    assert found(read_outside, OUTSIDE, schedule=9).timestamp == days()[0]
    assert OUTSIDE is market()

    def fails(bar: bl.Bar) -> None:
        assert OUTSIDE.height > 6 * 40

    with pytest.raises(LookaheadError, match="it fails: AssertionError"):
        check_lookahead(OUTSIDE, fails)
    assert OUTSIDE is market()


def test_other_data_from_outside_are_named_in_the_report():
    table = market()["close"].to_numpy()

    def rule(bar: bl.Bar) -> np.ndarray:
        return np.where(bar.close > table[bar.t], 0.1, 0.0)

    report = passes(rule)
    assert any("reads table (ndarray)" in remark for remark in report.remarks)


def test_other_data_in_objects_and_params_are_named_too():
    scores = market().select("date", "symbol", "score")

    class Rule:
        def __init__(self) -> None:
            self.scores = scores
            self.size = 0.1

        def __call__(self, bar: bl.Bar) -> dict[str, float]:
            return {"AA": self.size}

    def by_params(bar: bl.Bar, rows: pl.DataFrame) -> dict[str, float]:
        return {"AA": 0.1}

    prices = bl.Panel.from_frame(market())

    def by_panel(bar: bl.Bar) -> dict[str, float]:
        return {"AA": 0.1 if prices.n_bars else 0.2}

    table = scores.to_pandas()

    def by_pandas(bar: bl.Bar) -> dict[str, float]:
        return {"AA": 0.1 if len(table) else 0.2}

    for rule, params, name in (
        (Rule(), None, "self.scores (DataFrame)"),
        (by_params, {"rows": scores}, "params['rows'] (DataFrame)"),
        (functools.partial(by_params, rows=scores), None, "rows (DataFrame)"),
        (by_panel, None, "prices (Panel)"),
        (by_pandas, None, "table (DataFrame)"),
    ):
        report = passes(rule, params=params)
        assert f"The function reads {name} from outside" in report.remarks[-1]


def test_what_a_cached_function_remembers_is_forgotten():
    frame = market()

    @functools.cache
    def later(day: dt.date) -> tuple[str, ...]:
        return tuple(sorted(set(frame.filter(pl.col("date") > day)["symbol"])))

    def rule(bar: bl.Bar) -> dict[str, float]:
        return dict.fromkeys(later(bar.timestamp), 0.1)

    assert found(rule, frame, schedule=9).timestamp == days()[0]


# ----------------------------------------------------------------------- callbacks


def whole(values: np.ndarray, bar: bl.Bar) -> np.ndarray:
    """Reach the array behind a view: every bar of the run."""
    base = values if values.base is None else values.base
    return base.reshape(-1, len(bar.assets))


def behind(bar: bl.Bar, name: str, ahead: int) -> np.ndarray:
    rows = whole(getattr(bar.history, name), bar)
    return rows[min(bar.t + ahead, len(rows) - 1)]


def gain(bar: bl.Bar) -> np.ndarray:
    return np.where(behind(bar, "close", 1) > bar.close, 0.1, 0.0)


def orders_ahead(bar: bl.Bar) -> None:
    ahead = behind(bar, "volume", 3)
    if not np.isnan(ahead).all():
        bar.order_target_percent(bar.assets[int(np.nanargmax(ahead))], 0.3)


def partial_ahead(bar: bl.Bar) -> Any:
    ahead = behind(bar, "score", 2)
    chosen = np.nan_to_num(ahead) > 0.5
    named = [a for a, is_chosen in zip(bar.assets, chosen, strict=True) if is_chosen]
    return bl.partial(dict.fromkeys(named, 0.1)) if named else None


def overrun(bar: bl.Bar) -> np.ndarray | None:
    rows = whole(bar.history.close, bar)
    return None if bar.t == N_BARS - 1 else np.where(rows[bar.t + 1] > 50.0, 0.1, 0.0)


def until_the_end(bar: bl.Bar) -> Any:
    last = bar._panel.timestamps[-1]
    return {} if bar.timestamp == last else dict.fromkeys(bar.assets[:3], 0.2)


def everyone(bar: bl.Bar) -> np.ndarray:
    return np.full(len(bar.assets), 0.9 / len(bar.assets))


LEAKY_CALLBACKS = {
    "behind the history": (gain, ("close",), "values", 1),
    "orders by name": (orders_ahead, ("volume",), "values", 3),
    "partial decisions": (partial_ahead, ("score",), "values", 2),
    "reading past the end": (overrun, ("close",), "values", 1),
    "until the last bar": (until_the_end, (), "bars", None),
    "all assets ever": (everyone, (), "assets", None),
}


@pytest.mark.parametrize("name", LEAKY_CALLBACKS)
def test_leaky_callback_is_caught(name):
    rule, columns, cause, ahead = LEAKY_CALLBACKS[name]
    finding = found(rule)
    assert (finding.columns, finding.cause) == (columns, cause)
    assert finding.timestamp in days()[:2]
    if ahead is not None:
        at = days().index(finding.timestamp)
        assert finding.first_later == days()[at + ahead]


def test_a_callback_that_fails_without_the_later_data_is_named():
    with pytest.raises(LookaheadError) as caught:
        check_lookahead(market(), overrun)
    assert "With the data up to 2014-01-01 it fails: IndexError" in str(caught.value)
    assert isinstance(caught.value.finding.error, IndexError)


def momentum(bar: bl.Bar, lookback: int, n: int) -> np.ndarray | None:
    if bar.t < lookback:
        return None
    close = bar.history.close
    return bl.equal_weight(bl.top_n(close[-1] / close[-1 - lookback], n))


def minimum_variance(bar: bl.Bar) -> np.ndarray | None:
    """Weigh by an inverse covariance: sums of other shapes round differently."""
    if bar.t < 10:
        return None
    close = bar.history.close
    returns = np.nan_to_num(close[1:] / close[:-1] - 1.0)
    listed = np.isfinite(bar.close)
    risk = returns.T @ returns + 1e-4 * np.eye(len(listed))
    weights = np.clip(np.linalg.solve(risk, np.where(listed, 1.0, 0.0)), 0.0, None)
    return np.where(listed, weights, 0.0) / weights.sum()


def dollar_average(bar: bl.Bar) -> Any:
    """Buy more while cash lasts: depends on the account."""
    share = bar.weights[0] + 0.05 * (bar.cash > 0.3 * bar.equity)
    return bl.partial({bar.assets[0]: min(share, 0.6)})


def take_profit(bar: bl.Bar) -> None:
    for i in np.flatnonzero(bar.positions):
        if bar.close[i] > 1.02 * bar.entry_price[i] or bar.bars_held[i] > 5:
            bar.close_position(bar.assets[i])
    score = np.nan_to_num(bar.score, nan=-1.0)
    i = int(np.argmax(score))
    if bar.positions[i] == 0.0:
        bar.order_target_percent(bar.assets[i], 0.1)


class EveryFifth:
    """State that depends on being called once per bar, in order."""

    def __init__(self) -> None:
        self.calls = 0
        self.rng = np.random.default_rng(4)

    def __call__(self, bar: bl.Bar) -> Any:
        self.calls += 1
        if self.calls % 5 != 1:
            return None
        return dict.fromkeys(bar.assets[:4], float(self.rng.uniform(0.0, 0.2)))


def restarted() -> Callable[[bl.Bar], Any]:
    state: dict[str, int] = {}

    def rule(bar: bl.Bar) -> Any:
        if bar.t == 0:
            state.clear()
        state["calls"] = state.get("calls", 0) + 1
        return dict.fromkeys(bar.assets[:3], 0.1 + 0.01 * (state["calls"] % 7))

    return rule


HONEST_CALLBACKS = {
    "momentum": (momentum, {"params": {"lookback": 10, "n": 2}}),
    "monthly": (
        momentum,
        {"params": {"lookback": 10, "n": 2}, "schedule": "month_end"},
    ),
    "minimum variance": (minimum_variance, {"schedule": 3}),
    "account": (dollar_average, {"schedule": 3}),
    "orders by name": (take_profit, {}),
    "exits": (
        take_profit,
        {"exits": bl.Exits(stop_loss=0.02), "limits": bl.Limits(max_turnover=0.2)},
    ),
    "object with state": (EveryFifth(), {}),
    "state begun anew": (restarted(), {}),
    "a name that is listed later": (lambda bar: {"AA": 0.5, "FF": 0.4}, {}),
    "window": (
        lambda bar: (
            None
            if bar.t < 4
            else bl.equal_weight(bar.history("close", 5)[0] < bar.close, gross=0.5)
        ),
        {"start": "2014-01-10", "end": "2014-03-10"},
    ),
    "same close": (
        lambda bar: bl.equal_weight(bl.top_n(bar.score, 2)),
        {"execution": bl.Execution(fill="same_close")},
    ),
}


@pytest.mark.parametrize("name", HONEST_CALLBACKS)
def test_honest_callback_passes(name):
    rule, options = HONEST_CALLBACKS[name]
    report = passes(rule, **options)
    assert report.form == "callback"


def test_a_name_that_is_listed_later_is_a_remark():
    report = passes(lambda bar: {"AA": 0.5, "FF": 0.4})
    assert any("without the assets that are listed later" in r for r in report.remarks)


def test_the_object_that_was_given_keeps_its_state():
    rule = EveryFifth()
    passes(rule)
    assert rule.calls == 0


def test_weights_that_differ_on_the_same_data_are_an_error_of_their_own():
    rng = np.random.default_rng(0)
    calls = []

    def by_chance(bar: bl.Bar) -> dict[str, float]:
        return {"AA": float(rng.random())}

    def by_count(bar: bl.Bar) -> dict[str, float]:
        calls.append(bar.t)
        return {"AA": 0.5 if len(calls) < 3 else 0.1}

    def only_once(bar: bl.Bar) -> dict[str, float]:
        if bar.t == 0 and calls:
            msg = "called again"
            raise RuntimeError(msg)
        calls.append(bar.t)
        return {"AA": 0.5}

    for rule, text in (
        (by_chance, "not the same when the same data are run twice"),
        (by_count, 'first at 2014-01-01, asset "AA": 0.5, then 0.1'),
        (only_once, "fails when it is called again"),
        (hold(pl.col("score").shuffle() > 0.5), "not the same"),
    ):
        calls.clear()
        with pytest.raises(WeightsError, match=text) as caught:
            check_lookahead(market(), rule)
        assert not isinstance(caught.value, LookaheadError)


def test_state_that_drifts_is_no_look_ahead():
    n_calls = [0]

    def drifts(bar: bl.Bar) -> dict[str, float]:
        # The same twice, then never again.
        n_calls[0] += 1
        return {"AA": 0.1 if n_calls[0] <= 2 * N_BARS else 0.2}

    with pytest.raises(WeightsError, match="not the same") as caught:
        check_lookahead(market(), drifts)
    assert not isinstance(caught.value, LookaheadError)


# -------------------------------------------------------------- compiled callbacks


@numba.njit
def compiled_momentum(bar, params, weights_out):
    if bar.t < params.lookback:
        return False
    close = bar.history.close
    n = 0
    for i in range(close.shape[1]):
        if close[bar.t, i] > close[bar.t - params.lookback, i]:
            n += 1
    for i in range(close.shape[1]):
        if close[bar.t, i] > close[bar.t - params.lookback, i]:
            weights_out[i] = 1.0 / n
    return True


@numba.njit
def compiled_account(bar, params, weights_out):
    for i in range(len(weights_out)):
        if bar.close[i] > 0.0 and bar.context.vix < params.limit:
            weights_out[i] = 0.1 if bar.cash > 0.5 * bar.equity else 0.05
    return bar.t % 2 == 0


@numba.njit
def compiled_everyone(bar, params, weights_out):
    weights_out[:] = 0.9 / len(weights_out)
    return True


@numba.njit
def compiled_score(bar, params, weights_out):
    for i in range(len(weights_out)):
        if bar.tomorrow[i] > 0.0:
            weights_out[i] = 0.1
    return True


@numba.njit
def compiled_beyond(bar, params, weights_out):
    close = bar.history.close
    for i in range(close.shape[1]):
        if close[bar.t + 1, i] > bar.close[i]:
            weights_out[i] = 0.1
    return True


def test_honest_compiled_callback_passes():
    report = passes(compiled_momentum, params={"lookback": 10}, schedule=3)
    assert report.form == "compiled callback"
    options = {"context": context(), "params": {"limit": 30.0}}
    passes(compiled_account, **options)


def test_leaky_compiled_callback_is_caught():
    assert found(compiled_everyone).cause == "assets"
    finding = found(
        compiled_score,
        features=lambda rows: rows.with_columns(
            tomorrow=over(price.shift(-1) / price - 1.0)
        ),
    )
    assert (finding.columns, finding.timestamp) == (("close",), days()[0])
    assert finding.first_later == days()[1]


def test_a_compiled_callback_cannot_read_past_its_end():
    with pytest.raises(IndexError):
        check_lookahead(market(), compiled_beyond)


# ------------------------------------------------------------- schedule and context


def fixed(bar: bl.Bar) -> dict[str, float]:
    return {"AA": 0.5, "DD": 0.1}


vix = pl.col("vix")


@pytest.mark.parametrize(
    ("schedule", "columns", "cause"),
    [
        ((vix.shift(-1) < 25.0).fill_null(value=False), ("vix",), "values"),
        (vix < vix.mean(), ("vix",), "values"),
        (vix == vix.min(), ("vix",), "values"),
        (pl.col("date") == pl.col("date").max(), (), "bars"),
        (
            (
                pl.col("date").dt.month() != pl.col("date").shift(-1).dt.month()
            ).fill_null(value=False),
            (),
            "bars",
        ),
    ],
)
def test_leaky_schedule_is_caught(schedule, columns, cause):
    finding = found(fixed, context=context(), schedule=schedule)
    assert finding.of_schedule
    assert (finding.context_columns, finding.cause) == (columns, cause)
    # By hand, on every prefix.
    frame = context()
    asked = frame.select(schedule.alias("s"))["s"]
    alone = [frame.head(t + 1).select(schedule.alias("s"))["s"][-1] for t in range(64)]
    first = next(t for t in range(64) if alone[t] != asked[t])
    if finding.how == "prefix":
        assert finding.timestamp == days()[first]
    assert finding.timestamp <= days()[first]


@pytest.mark.parametrize(
    "schedule",
    [
        vix < 25.0,
        (vix < vix.shift(1)).fill_null(value=False),
        bl.Schedule(vix.rolling_mean(5).fill_null(99.0) < 25.0),
        pl.col("date").dt.weekday() == 3,
        "month_end",
        "week_start",
        bl.Schedule("month_end", sessions=[dt.date(2014, 3, 31), dt.date(2014, 4, 1)]),
        7,
    ],
)
def test_honest_schedule_passes(schedule):
    report = passes(fixed, context=context(), schedule=schedule)
    is_expression = isinstance(getattr(schedule, "rule", schedule), pl.Expr)
    assert bool(report.schedule_cuts) == is_expression


def ahead_of_context(bar: bl.Bar) -> dict[str, float]:
    known = bar._context.values["vix"]
    return {"AA": 0.5 if known[min(bar.t + 1, len(known) - 1)] < 25.0 else 0.1}


def test_context_that_is_read_ahead_is_named():
    finding = found(ahead_of_context, context=context())
    assert (finding.context_columns, finding.columns) == (("vix",), ())
    at = days().index(finding.timestamp)
    assert finding.first_later == days()[at + 1]
    frame = context()

    def from_outside(bar: bl.Bar) -> dict[str, float]:
        later = frame.filter(pl.col("date") > bar.timestamp)["vix"]
        return {"AA": 0.5 if len(later) and later[0] < 25.0 else 0.1}

    finding = found(from_outside, context=bl.Context(frame))
    assert finding.context_columns == ("vix",)


def test_honest_context_passes():
    def calm(bar: bl.Bar) -> dict[str, float]:
        return {"AA": 0.5 if bar.context.vix < 25.0 else 0.1}

    weekly = context().gather_every(5, offset=3)
    passes(calm, context=context())
    passes(calm, context=bl.Context(weekly, join="asof"))
    passes(calm, context=weekly.with_columns(pl.col("date").cast(pl.Datetime("us"))))


# ------------------------------------------------- costs, actions, other settings


def test_columns_of_settings_stay_valid():
    frame = market().with_columns(
        bid=price * 0.999,
        ask=price * 1.001,
        fee=pl.lit(5.0),
        least=pl.lit(0.5),
        most=pl.col("spare") + 1.0,
    )
    options = {
        "slippage": bl.Slippage(half_spread=("bid", "ask")),
        "commission": bl.Commission(bps="fee", minimum="least", maximum="most"),
        "exits": bl.Exits(atr_stop=(2.0, "atr"), trail_on="close", trailing_stop=0.1),
        "limits": bl.Limits(max_participation=0.1),
    }
    report = passes(take_profit, frame, **options)
    # The one remark is that columns are taken as known.
    assert len(report.remarks) == 1
    finding = found(hold(over(pl.col("ask").shift(-1)) > price), frame, **options)
    assert "ask" in finding.columns


def test_actions_are_cut_with_the_data():
    actions = pl.DataFrame(
        {
            "date": [dt.date(2014, 1, 20), dt.date(2014, 3, 3), dt.date(2014, 3, 4)],
            "symbol": ["AA", "BB", None],
            "kind": ["split", "delisting", "deposit"],
            "value": [2.0, None, 1_000.0],
        }
    )
    passes(take_profit, actions=actions, seed=2)
    missing = bl.MissingData(delisted="cash_out")
    passes(take_profit, actions=actions.head(2), missing_data=missing)


def test_the_top_25_by_score():
    bars, days_of_vix = bl.datasets.top25()

    def chosen(bar: bl.Bar, n: int) -> dict[str, float] | None:
        if bar.context.vix > 30.0:
            return None
        score = np.where(np.isnan(bar.atr), -np.inf, bar.ml_score)
        return {bar.assets[i]: 1.0 / n for i in np.argsort(-score, kind="stable")[:n]}

    report = passes(chosen, bars, params={"n": 25}, context=days_of_vix, n_cuts=3)
    assert report.n_assets == 500
    known = pl.when(pl.col("atr").is_not_null()).then("ml_score")
    passes(bl.equal_weight(bl.top_n(known, 25)), bars, n_cuts=3)
    finding = found(
        bl.equal_weight(bl.top_n("next", 25)),
        bars,
        features=lambda rows: rows.with_columns(
            next=pl.col("ml_score").shift(-1).over("asset", order_by="timestamp")
        ),
        n_cuts=3,
    )
    assert finding.columns == ("ml_score",)


# ------------------------------------------------------------ arguments and report


def test_the_report_says_what_was_tried():
    report = passes(
        momentum, params={"lookback": 10, "n": 2}, context=context(), schedule=2
    )
    assert len(report.cuts) == 10
    assert list(report.cuts) == sorted(set(report.cuts))
    assert report.cuts[0] == days()[0]
    assert report.cuts[-1] == days()[-2]
    assert report.n_runs == 22
    assert report.columns[:3] == ("open", "high", "low")
    assert report.context_columns == ("vix",)
    text = str(report)
    assert text.startswith("No look-ahead found.\n  weights    callback; 6 assets, 64")
    assert "vix" in text
    assert max(map(len, text.split("\n"))) <= 80
    assert not hasattr(report, "__dict__")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"n_cuts": 0}, "n_cuts must be at least 1"),
        ({"n_cuts": 2.0}, "n_cuts must be an int"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"seed": True}, "seed must be an int"),
        ({"initial_csh": 5.0}, "initial_cash"),
    ],
)
def test_wrong_arguments_are_refused(options, text):
    with pytest.raises(ConfigError, match=text):
        check_lookahead(market(), best("score"), **options)


def test_errors_of_the_run_itself_pass_through():
    with pytest.raises(WeightsError, match="no column is named"):
        check_lookahead(market(), "nothing")
    with pytest.raises(WeightsError, match="params do not fit"):
        check_lookahead(market(), momentum, params={"lookbac": 1})
    with pytest.raises(WeightsError, match="above max_gross"):
        check_lookahead(market(), hold(price > 0.0, 0.5))
    with pytest.raises(SchemaError, match="no asset column"):
        check_lookahead(market().drop("symbol"), best("score"))


@pytest.mark.parametrize("n_bars", [1, 2, 3])
def test_few_bars(n_bars):
    frame = market().filter(pl.col("date").is_in(days()[:n_bars]))
    report = check_lookahead(frame, hold(price > 50.0))
    assert len(report.cuts) == n_bars - 1
    assert any("nothing to compare" in r for r in report.remarks) == (n_bars == 1)


@pytest.mark.parametrize("n_cuts", [1, 2, 5, 100])
def test_any_number_of_cuts_finds_a_common_leak(n_cuts):
    finding = found(LEAKY["full-sample mean"].weights, n_cuts=n_cuts)
    assert finding.timestamp == days()[0]
    report = passes(best("score"), n_cuts=n_cuts)
    assert len(report.cuts) == min(n_cuts, 63)


def test_a_leak_in_few_bars_is_found_where_data_have_gaps():
    """Only a null of the score is filled from the next bar: cut where nulls are."""
    frame = market().with_columns(
        score=pl.when((pl.col("date") == days()[40]) & (pl.col("symbol") == "EE"))
        .then(None)
        .otherwise(pl.col("score").fill_null(0.5))
    )
    leaky = hold(over(pl.col("score").fill_null(strategy="backward")) > 0.2)
    finding = found(leaky, frame)
    assert (finding.timestamp, finding.asset) == (days()[40], "EE")
    assert finding.columns == ("score",)


def test_the_first_of_rare_leaks_is_found_by_trying_earlier_bars():
    """From bar 30 on the weights look ahead: the cuts lie elsewhere."""
    from_there = pl.col("date") >= days()[30]
    tomorrow = over(price.shift(-1)).fill_null(price) > price
    leaky = pl.when(from_there & tomorrow).then(0.12).otherwise(0.1)
    finding = found(leaky, n_cuts=3)
    first, asset = brute_force(leaky, days())
    assert (finding.timestamp, finding.asset) == (first, asset)
    assert 0 < finding.n_untried < 30


def test_earlier_bars_that_were_not_tried_are_counted():
    """On every tenth bar only, so that halving the bars may miss the first."""
    number = pl.col("date").rank("dense") - 1
    ahead = (number % 10 == 7) & (over(price.shift(-1)) > 0.0)
    leaky = pl.when(ahead.fill_null(value=False)).then(0.12).otherwise(0.1)
    with pytest.raises(LookaheadError) as caught:
        check_lookahead(market(), leaky, n_cuts=20)
    finding = caught.value.finding
    untried = f"Of the earlier decisions {finding.n_untried:,} were not tried"
    assert (finding.n_untried > 0) == (untried in str(caught.value))
    assert days().index(finding.timestamp) % 10 == 7


# -------------------------------------------------------------------- changed data


@pytest.mark.parametrize("strength", [*poison.STRENGTHS, "shuffled"])
@pytest.mark.parametrize("seed", range(3))
def test_changed_data_stay_valid_and_only_the_later_rows_change(strength, seed):
    frame = market().with_columns(
        close=price.cast(pl.Float32),
        small=pl.Series(np.arange(market().height) % 100, dtype=pl.Int8),
        day=pl.col("date"),
        listed=pl.concat_list("spare", "score"),
        money=pl.lit("1.25").cast(pl.Decimal(10, 2)),
        empty=pl.lit(None),
        kept=pl.col("spare") + 1.0,
    )
    frame = frame.sample(fraction=1.0, shuffle=True, seed=seed)
    frame = frame.with_columns(
        low=pl.min_horizontal("low", "close"), high=pl.max_horizontal("high", "close")
    )
    names = {name: name for name in poison.RANGE}
    places = poison.Places("date", "symbol", names, frozenset({"kept"}))
    later = np.flatnonzero((frame["date"] > days()[30]).to_numpy())
    earlier = np.flatnonzero((frame["date"] <= days()[30]).to_numpy())
    columns = places.values(frame)
    assert not {"date", "symbol", "empty"} & set(columns)
    subsets = [columns, *([name] for name in columns)]
    rng = np.random.default_rng(seed)
    for subset in subsets:
        if strength == "shuffled":
            made = poison.shuffled(frame, later, rng, places)
        else:
            draws = (seed, 3)
            made = poison.changed(frame, later, subset, strength, draws, places)
        assert made.schema == frame.schema
        assert made[earlier].equals(frame[earlier])
        others = [name for name in frame.columns if name not in subset]
        if strength != "shuffled":
            assert made.select(others).equals(frame.select(others))
        bl.Panel.from_frame(made)
        changes = ["kept"] if strength == "nulls" else []
        assert subset == changes or not made.equals(frame)
        assert sorted(made["kept"]) == sorted(frame["kept"])
        thinner = poison.thinned(made, later, rng, places)
        assert thinner.height < frame.height
        for key in ("date", "symbol"):
            assert set(thinner[key]) == set(frame[key])
        assert thinner.filter(pl.col("date") <= days()[30]).height == earlier.size


def test_a_column_changes_alike_whichever_others_change_with_it():
    frame = market()
    places = poison.Places("date", "symbol", {}, frozenset())
    rows = np.arange(100, frame.height)
    for strength in poison.STRENGTHS:
        alone = poison.changed(frame, rows, ["score"], strength, (1, 2), places)
        both = poison.changed(frame, rows, ["flag", "score"], strength, (1, 2), places)
        assert alone["score"].equals(both["score"])
        assert not alone["score"].equals(frame["score"])


def test_prefixes_hold_what_was_known():
    frame = market().sample(fraction=1.0, shuffle=True, seed=1)
    bars = frame["date"].unique().sort()
    whole_frame = given.Source(frame, context(), None, bars, "date", "symbol")
    known = whole_frame.upto(10)
    assert known.frame["date"].max() == days()[10]
    assert "FF" not in set(known.frame["symbol"])
    assert known.context is not None
    assert known.context.frame["date"].max() == days()[10]
    everyone_known = whole_frame.upto(10, all_assets=True)
    extra = everyone_known.frame.join(known.frame, on=["date", "symbol"], how="anti")
    assert extra["symbol"].to_list() == ["FF"]
    assert extra["close"].to_list() == [None]
    late = given.Source(
        frame, context().tail(5), None, bars, "date", "symbol"
    ).context_upto(10)
    assert late is not None
    assert late.frame["vix"].to_list() == [None]


def test_variables_come_back_after_an_error():
    old, new = market(), market().head(1)

    def reads() -> int:
        return old.height

    def fails() -> None:
        with captured.swapped([reads], [(old, new)]):
            assert reads() == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert reads() == market().height


# ------------------------------------------------------------------- the check checked


def missed() -> Iterator[str]:
    """Yield the leaky rules of the catalogue that are not caught."""
    rules = {name: (case[0], {}) for name, case in LEAKY_CALLBACKS.items()}
    rules |= {name: (case.weights, case.options) for name, case in LEAKY.items()}
    for name, (rule, options) in rules.items():
        try:
            check_lookahead(market(), rule, n_cuts=8, **options)
        except LookaheadError:
            continue
        yield name


def mute(*_: Any, **__: Any) -> None:
    return None


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "nothing differs": (probes, "first_difference", mute),
    "weights are never compared": (
        decisions,
        "same_weights",
        lambda a, b: np.ones(a.shape, dtype=np.bool_),
    ),
    "a loose tolerance": (decisions, "RELATIVE", 10.0),
    "prefixes only": (check, "HOWS", ("prefix",)),
    "changed futures only": (check, "HOWS", ("poison",)),
    "data are not cut": (
        given.Source,
        "upto",
        lambda self, bar, all_assets=False: self.whole,
    ),
    "data are cut a bar late": (
        given.Source,
        "_until",
        lambda self, times, bar: times <= self.bars[min(bar + 1, len(self.bars) - 1)],
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_check_misses_something_of_the_catalogue(name, monkeypatch):
    owner, attribute, value = MUTANTS[name]
    monkeypatch.setattr(owner, attribute, value)
    assert next(missed(), None) is not None


def test_nothing_of_the_catalogue_is_missed():
    assert list(missed()) == []


def test_comparing_a_bar_too_many_would_blame_honest_rules(monkeypatch):
    original = probes.first_difference
    monkeypatch.setattr(
        probes, "first_difference", lambda a, b, stop: original(a, b, stop + 1)
    )
    found(HONEST["momentum"][0])
