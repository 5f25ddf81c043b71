"""Small worlds for hypothesis: prices with gaps, decisions and settings.

A `World` is plain data, the input of the oracle.  Its methods turn it into what barloop
takes: a long frame, a config and each of the forms of weights.

Prices have two decimals, and minimums have odd values, so that two numbers of the rules
are alike by construction (constant prices, equal remainders) or clearly apart.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import polars as pl
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

import barloop as bl
from oracle import Action, Options, OracleResult, run_oracle

FIRST_DATE = date(2024, 1, 1)
NAMES = ("AA", "B", "ba", "CC1", "D", "Zed", "Ärger", "10Y", "é", "XYZ")

# What one bar of one asset does: (state, close / last close, open / last close).
# States: "bar"; "no_open" and "nan_open", a bar without an open; "absent", no row;
# "null" and "nan", a row without a close, which is no bar whatever its open says.
QUIET = [("bar", 1.0, 1.0)] * 4 + [("bar", 1.01, 1.0), ("bar", 0.99, 0.98)]
LIVELY = [
    ("bar", 1.0, 1.0),
    ("bar", 1.02, 1.01),
    ("bar", 0.97, 1.03),
    ("bar", 1.1, 1.0),
    ("bar", 0.9, 0.95),
    ("bar", 1.3, 1.25),
    ("bar", 0.75, 1.1),
]
BROKEN = [
    ("absent", 1.0, 1.0),
    ("null", 1.0, 1.07),
    ("nan", 1.0, 1.0),
    ("no_open", 1.04, 1.0),
    ("nan_open", 0.96, 1.0),
]
JUMPS = [
    ("bar", 0.2, 0.5),
    ("bar", 0.05, 0.04),
    ("bar", 2.5, 2.0),
    ("bar", 4.0, 1.0),
]
TEMPERS = {
    "constant": [("bar", 1.0, 1.0)],
    "constant with gaps": [("bar", 1.0, 1.0)] * 3 + BROKEN[:2],
    "quiet": QUIET + LIVELY[:3],
    "lively": LIVELY,
    "broken": LIVELY + BROKEN,
    "wild": LIVELY * 2 + BROKEN + JUMPS,
    "no opens": LIVELY[1:4] + BROKEN[3:],
    "doomed": JUMPS * 2 + BROKEN + QUIET[:4],
}
FIRST_PRICES = (10.0, 10.0, 20.0, 25.0, 7.0, 3.0, 33.33, 100.0, 12.5, 0.5, 412.07)

# Fields of a bar beside open and close; the last are costs, which a bar must have.
FIELDS = ("high", "low", "volume", "atr")
COSTS = (
    "bid",
    "ask",
    "fee_bps",
    "fee_per_share",
    "fee_per_order",
    "least_fee",
    "most_fee",
    "spread_bps",
    "half_spread",
    "volatility",
    "lending_rate",
)

# Where the settings of the oracle stand in a configuration.
PATHS = {
    "initial_cash": "initial_cash",
    "bars_per_year": "bars_per_year",
    "slippage_bps": "slippage.bps",
    **{
        f"commission_{name}": f"commission.{name}"
        for name in ("bps", "per_share", "per_order", "minimum", "maximum")
    },
    **{
        name: f"{group}.{name}"
        for group, names in {
            "execution": "fill size_at rounding lot_size sequence cash_rule "
            "costs_in_size",
            "slippage": "half_spread volume_impact sqrt_impact volatility",
            "limits": "allow_short max_gross on_excess max_borrowing max_weight "
            "max_participation remainder min_trade_value drift_band max_turnover "
            "maintenance",
            "exits": "stop_loss take_profit trailing_stop tighten_per_bar "
            "trailing_floor atr_stop max_bars_held max_drawdown on_entry_bar "
            "trail_on reentry",
            "financing": "cash_rate debit_rate borrow_rate",
            "missing_data": "missing_bar at_decision delisted delist_after_bars",
        }.items()
        for name in names.split()
    },
}


def examples(default: int, *, slow: bool = False) -> settings:
    """Return settings whose number of examples BARLOOP_EXAMPLES scales.

    The variable gives the number for a test whose default is 300; others keep their
    share of it.  Hypothesis is derandomized in its own "ci" profile.
    """
    asked = os.environ.get("BARLOOP_EXAMPLES")
    number = default if asked is None else max(1, int(asked) * default // 300)
    health = [HealthCheck.too_slow, HealthCheck.data_too_large]
    if slow:
        health.append(HealthCheck.filter_too_much)
    return settings(max_examples=number, deadline=None, suppress_health_check=health)


@dataclass(frozen=True, kw_only=True)
class World:
    """A small market, what is decided in it, and the settings of the account."""

    n_bars: int
    assets: tuple[str, ...]  # sorted
    rows: Mapping[tuple[int, int], Mapping[str, Any]]  # (t, i) to the fields of a row
    decisions: Mapping[int, tuple[str, Mapping[int, float]]]
    options: Options
    seed: int  # of the order of rows and of mappings
    columns: tuple[str, ...] = ()  # fields beside open and close
    actions: tuple[Action, ...] = ()

    # ------------------------------------------------------------ the oracle's view

    def has_bar(self, t: int, i: int) -> bool:
        return (t, i) in self.rows and is_number(self.rows[t, i]["close"])

    def oracle(self, start: int = 0) -> OracleResult:
        return run_oracle(
            self.n_bars,
            len(self.assets),
            self.rows,
            self.decisions,
            self.options,
            start=start,
            actions=self.actions,
        )

    # ------------------------------------------------------------ barloop's view

    @property
    def timestamps(self) -> list[date]:
        return [FIRST_DATE + timedelta(days=t + t // 3) for t in range(self.n_bars)]

    def frame(self, *, order: str = "shuffled") -> pl.DataFrame:
        """Return the long frame: rows "shuffled", "sorted" or "by_asset"."""
        timestamps = self.timestamps
        keys = sorted(self.rows)
        if order == "by_asset":
            keys.sort(key=lambda key: (key[1], key[0]))
        elif order == "shuffled":
            random.Random(self.seed).shuffle(keys)
        column_weights = self.column_weights()
        data = {
            "timestamp": [timestamps[t] for t, _ in keys],
            "asset": [self.assets[i] for _, i in keys],
            "open": [self.rows[key]["open"] for key in keys],
            "close": [self.rows[key]["close"] for key in keys],
            "weight": [column_weights.get(key) for key in keys],
        }
        for name in self.columns:
            data[name] = [self.rows[key].get(name) for key in keys]
        dtypes = {
            "timestamp": pl.Date,
            "asset": pl.String,
            "open": pl.Float64,
            "close": pl.Float64,
            "weight": pl.Float64,
            **dict.fromkeys(self.columns, pl.Float64),
        }
        return pl.DataFrame(data, schema=dtypes)

    def actions_frame(self) -> pl.DataFrame:
        """Return the actions as a frame; some lie before the bar on which they act."""
        days = set(self.timestamps)
        rows = []
        for k, action in enumerate(self.actions):
            day = self.timestamps[action.t]
            before = day - timedelta(days=1)
            # What lies before the first bar is no deposit of the run.
            if action.t and before not in days and (self.seed + k) % 2:
                day = before
            asset = None if action.asset is None else self.assets[action.asset]
            rows.append((day, asset, action.kind, action.value))
        random.Random(self.seed).shuffle(rows)
        schema = {
            "timestamp": pl.Date,
            "asset": pl.String,
            "kind": pl.String,
            "value": pl.Float64,
        }
        return pl.DataFrame(rows, schema=schema, orient="row")

    def config(self) -> bl.BacktestConfig:
        """Return the settings as a configuration, with names for asset numbers."""
        settings = {}
        for name, path in PATHS.items():
            value = getattr(self.options, name)
            if value == getattr(DEFAULTS, name):
                continue
            if isinstance(value, Mapping):
                value = {self.assets[i]: number for i, number in value.items()}
            settings[path] = value
        return bl.BacktestConfig().replace(settings)

    def run(
        self, weights: Any = None, *, order: str = "shuffled", **fields: Any
    ) -> Any:
        """Run barloop on this world, by default with its Python callback."""
        weights = self.callback() if weights is None else weights
        # Without a frame of actions a way of delisting may have no meaning.
        if self.actions or self.options.delisted != DEFAULTS.delisted:
            fields.setdefault("actions", self.actions_frame())
        return bl.run_backtest(
            self.frame(order=order), weights, config=self.config(), **fields
        )

    # ------------------------------------------------------------ forms of weights

    def callback(self) -> Callable[[Any], Any]:
        """Return the decisions as a Python callback, mappings in a random order."""
        by_timestamp = dict(zip(self.timestamps, range(self.n_bars), strict=True))

        def weights_fn(bar):
            t = by_timestamp[as_date(bar.timestamp)]
            if t not in self.decisions:
                return None
            kind, weights = self.decisions[t]
            names = list(weights)
            random.Random(self.seed + t).shuffle(names)
            named = {self.assets[i]: weights[i] for i in names}
            return named if kind == "complete" else bl.partial(named)

        return weights_fn

    def array_callback(self, *, series: bool = False) -> Callable[[Any], Any]:
        """Return complete decisions as a callback that gives an array or a Series."""
        import numpy as np

        by_timestamp = dict(zip(self.timestamps, range(self.n_bars), strict=True))

        def weights_fn(bar):
            t = by_timestamp[as_date(bar.timestamp)]
            if t not in self.decisions:
                return None
            weights = np.zeros(len(self.assets))
            for i, weight in self.decisions[t][1].items():
                weights[i] = weight
            return pl.Series(weights) if series else weights

        return weights_fn

    def weights_frame(self) -> pl.DataFrame:
        """Return complete decisions as a long frame; ``{}`` is one row of weight 0."""
        rows = []
        for t, (kind, weights) in self.decisions.items():
            assert kind == "complete", "a frame has no partial decisions"
            for i, weight in (weights or {0: 0.0}).items():
                rows.append((self.timestamps[t], self.assets[i], weight))
        random.Random(self.seed).shuffle(rows)
        schema = {"timestamp": pl.Date, "asset": pl.String, "weight": pl.Float64}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def column_weights(self) -> dict[tuple[int, int], float]:
        """Return the weights that can stand in a column of the frame."""
        weights = {}
        for t, (kind, named) in self.decisions.items():
            if kind != "complete":
                continue
            for i in range(len(self.assets)):
                if self.has_bar(t, i) and (i in named or not named):
                    weights[t, i] = named.get(i, 0.0)
        return weights

    # ------------------------------------------------------------ other worlds

    def with_options(self, **changes: Any) -> World:
        return replace(self, options=replace(self.options, **changes))

    def with_decisions(self, decisions: Mapping[int, Any]) -> World:
        return replace(self, decisions=decisions)

    def columnar(self) -> World:
        """Keep what a column can say: complete decisions on names with a bar."""
        decisions = {}
        for t, (kind, named) in self.decisions.items():
            kept = {i: weight for i, weight in named.items() if self.has_bar(t, i)}
            says_zero = not named and any(
                self.has_bar(t, i) for i in range(len(self.assets))
            )
            if kind == "complete" and (kept or says_zero):
                decisions[t] = (kind, kept)
        return replace(self, decisions=decisions)

    def anchored(self) -> World:
        """Put every asset, and one close, on the first bar.

        A prefix of such a world knows the same names, and is a frame with a close.
        """
        rows = dict(self.rows)
        for i in range(len(self.assets)):
            rows.setdefault((0, i), {"open": None, "close": None})
        if not any(self.has_bar(0, i) for i in range(len(self.assets))):
            rows[0, 0] = {"open": 10.0, "close": 10.0}
        return replace(self, rows=rows)

    def prefix(self, n_bars: int) -> World:
        return replace(
            self,
            n_bars=n_bars,
            rows={key: row for key, row in self.rows.items() if key[0] < n_bars},
            decisions={t: d for t, d in self.decisions.items() if t < n_bars},
            actions=tuple(a for a in self.actions if a.t < n_bars),
        )

    def poisoned(self, n_bars: int) -> World:
        """Change all from bar `n_bars` on: prices, gaps, actions and decisions."""
        rng = random.Random(self.seed)
        rows = {key: row for key, row in self.rows.items() if key[0] < n_bars}
        decisions = {t: d for t, d in self.decisions.items() if t < n_bars}
        for t in range(n_bars, self.n_bars):
            for i in range(len(self.assets)):
                if i and rng.random() < 0.3:
                    continue
                close = rng.choice([0.01, 3.0, 77.7, 5000.0])
                other = dict.fromkeys(self.columns, 0.5)
                other |= {"high": close, "low": close, "ask": 0.75}
                opens = rng.choice([None, close])
                rows[t, i] = {**other, "open": opens, "close": close}
            if rng.random() < 0.7:
                weight = min(1.0, self.options.max_gross)
                decisions[t] = ("complete", {rng.randrange(len(self.assets)): weight})
        actions = [a for a in self.actions if a.t < n_bars]
        for t in range(n_bars, self.n_bars):
            for kind, value in (("split", 7.0), ("dividend", 0.9)):
                if rng.random() < 0.3:
                    asset = rng.randrange(len(self.assets))
                    actions.append(Action(t=t, kind=kind, asset=asset, value=value))
        return replace(self, rows=rows, decisions=decisions, actions=tuple(actions))

    def permuted(self, seed: int) -> tuple[World, list[int]]:
        """Hand the histories of the assets to other names; return who went where."""
        places = list(range(len(self.assets)))
        random.Random(seed).shuffle(places)
        rows = {(t, places[i]): row for (t, i), row in self.rows.items()}
        decisions = {
            t: (kind, {places[i]: weight for i, weight in named.items()})
            for t, (kind, named) in self.decisions.items()
        }
        actions = tuple(
            action
            if action.asset is None
            else replace(action, asset=places[action.asset])
            for action in self.actions
        )
        changes = {
            name: {places[i]: number for i, number in value.items()}
            for name, value in vars(self.options).items()
            if isinstance(value, Mapping)
        }
        world = replace(self, rows=rows, decisions=decisions, actions=actions)
        return world.with_options(**changes), places


DEFAULTS = Options()


def is_number(value: float | None) -> bool:
    return value is not None and value == value


def as_date(timestamp: Any) -> date:
    """Return the date of whatever a bar calls its timestamp."""
    return timestamp if type(timestamp) is date else timestamp.date()


# ---------------------------------------------------------------- drawing


@st.composite
def asset_rows(
    draw: st.DrawFn,
    n_bars: int,
    tempers: tuple[str, ...],
    first_prices: tuple[float, ...],
) -> dict[int, dict[str, Any]]:
    """Draw the rows of one asset by bar."""
    temper = TEMPERS[draw(st.sampled_from(tempers))]
    moves = draw(
        st.lists(st.sampled_from(temper), min_size=n_bars, max_size=n_bars),
        label="moves",
    )
    last = draw(st.sampled_from(first_prices))
    listed, halted, resumed, delisted = draw(life(n_bars))
    rows = {}
    for t, (state, close_move, open_move) in enumerate(moves):
        if t < listed or halted <= t < resumed or t >= delisted or state == "absent":
            continue
        opens = price(last * open_move)
        if state in ("null", "nan"):
            close = None if state == "null" else float("nan")
            rows[t] = {"open": opens, "close": close}
            continue
        if state != "bar":
            opens = None if state == "no_open" else float("nan")
        last = price(last * close_move)
        rows[t] = {"open": opens, "close": last}
    return rows


@st.composite
def life(draw: st.DrawFn, n_bars: int) -> tuple[int, int, int, int]:
    """Draw the bars of listing, halt, end of the halt, delisting; mostly none."""
    kind = draw(st.sampled_from(["whole", "whole", "whole", "late", "halt", "end"]))
    bar = st.integers(0, n_bars)
    listed = draw(bar) if kind == "late" else 0
    halted = draw(bar) if kind == "halt" else n_bars
    resumed = halted + draw(st.integers(1, n_bars)) if kind == "halt" else n_bars
    delisted = draw(bar) if kind == "end" else n_bars
    return listed, halted, resumed, delisted


def price(value: float) -> float:
    """Round to cents, and keep within bounds that floats can carry together."""
    return min(max(round(value, 2), 0.01), 1e5)


@st.composite
def options(draw: st.DrawFn, **fixed: Any) -> Options:
    """Draw settings; those in `fixed` are as given."""
    pick = {
        "initial_cash": [1e6, 1e4, 1234.56, 1000.0],
        "fill": ["next_open", "next_close", "same_close"],
        "rounding": ["fractional", "whole_target"],
        "commission_bps": [0.0, 0.0, 10.0, 150.0],
        "commission_minimum": [0.0, 0.0, 1.01, 23.17],
        "slippage_bps": [0.0, 0.0, 7.0, 90.0],
        "allow_short": [False, True],
        "max_gross": [1.0, 1.0, 0.7, 2.0],
        "max_borrowing": [0.0, 0.0, 0.5, 1.0],
        "min_trade_value": [0.0, 0.0, 51.37, 187.93],
        "missing_bar": ["pending", "pending", "cancel"],
        "at_decision": ["use_last", "skip"],
    }
    drawn = {
        name: fixed[name] if name in fixed else draw(st.sampled_from(values))
        for name, values in pick.items()
    }
    whole = drawn["rounding"] == "whole_target"
    lot_sizes = [1.0, 1.0, 10.0, 0.5] if whole else [1.0]
    lot_size = fixed.get("lot_size", draw(st.sampled_from(lot_sizes)))
    return Options(**drawn, lot_size=lot_size)


@st.composite
def target_weights(draw: st.DrawFn, n_assets: int, limits: Options) -> dict[int, float]:
    """Draw the weights of some assets within the limits."""
    names = draw(
        st.lists(
            st.integers(0, n_assets - 1), unique=True, min_size=1, max_size=n_assets
        )
    )
    style = draw(st.sampled_from(["equal", "full", "grid", "grid", "close some"]))
    if style in ("equal", "full"):
        # "full" invests all that is allowed, "equal" at most the whole account.
        gross = limits.max_gross if style == "full" else min(1.0, limits.max_gross)
        weights = [gross / len(names)] * len(names)
    else:
        shares = draw(
            st.lists(
                st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 1.0, 1 / 3]),
                min_size=len(names),
                max_size=len(names),
            )
        )
        size = max(1.0, sum(shares) / limits.max_gross)
        weights = [share / size for share in shares]
        if style == "close some":
            weights = [0.0 if k % 2 else w for k, w in enumerate(weights)]
    if limits.allow_short:
        signs = draw(
            st.lists(
                st.sampled_from([1, 1, -1]), min_size=len(names), max_size=len(names)
            )
        )
        weights = [sign * w for sign, w in zip(signs, weights, strict=True)]
    if limits.on_excess == "scale" or limits.max_weight is not None:
        weights = draw(excess(weights, limits))
    return dict(sorted(zip(names, weights, strict=True)))


@st.composite
def excess(draw: st.DrawFn, weights: list[float], limits: Options) -> list[float]:
    """Draw weights beyond limits that do not make an error of it."""
    larger = [draw(st.sampled_from([1, 1.5, 4])) * weight for weight in weights]
    most = limits.max_weight or float("inf")
    gross = sum(min(abs(weight), most) for weight in larger)
    allowed = limits.on_excess == "scale" or gross <= limits.max_gross
    return larger if allowed else weights


@st.composite
def all_decisions(
    draw: st.DrawFn, n_bars: int, n_assets: int, limits: Options, kinds: tuple[str, ...]
) -> dict[int, tuple[str, dict[int, float]]]:
    """Draw what is decided on each bar; sometimes the same again and again."""
    decisions = {}
    repeated = draw(st.none() | target_weights(n_assets, limits))
    for t in range(n_bars):
        kind = draw(st.sampled_from(kinds))
        if kind == "none":
            continue
        if kind == "close all":
            decisions[t] = ("complete", {})
        elif repeated is not None and draw(st.integers(0, 3)):
            decisions[t] = (kind, repeated)
        else:
            decisions[t] = (kind, draw(target_weights(n_assets, limits)))
    return decisions


@st.composite
def worlds(
    draw: st.DrawFn,
    *,
    min_bars: int = 2,
    max_bars: int = 16,
    max_assets: int = 6,
    partial: bool = True,
    tempers: tuple[str, ...] = tuple(TEMPERS),
    first_prices: tuple[float, ...] = FIRST_PRICES,
    **fixed: Any,
) -> World:
    """Draw a world; `fixed` are options that are not drawn."""
    n_bars = draw(st.integers(min_bars, max_bars), label="n_bars")
    n_assets = draw(st.integers(1, max_assets), label="n_assets")
    names = sorted(draw(st.permutations(NAMES), label="names")[:n_assets])
    rows = {}
    for i in range(n_assets):
        by_bar = draw(asset_rows(n_bars, tempers, first_prices), label=names[i])
        rows.update({(t, i): row for t, row in by_bar.items()})
    fill_holes(rows, n_bars, n_assets)
    limits = draw(options(**fixed), label="options")
    kinds = ("complete", "complete", "complete", "none", "none", "close all")
    kinds += ("partial", "partial") if partial else ()
    return World(
        n_bars=n_bars,
        assets=tuple(names),
        rows=rows,
        decisions=draw(all_decisions(n_bars, n_assets, limits, kinds)),
        options=limits,
        seed=draw(st.integers(0, 2**16), label="seed"),
    )


def fill_holes(
    rows: dict[tuple[int, int], dict[str, Any]], n_bars: int, n_assets: int
) -> None:
    """Add rows without a close, so that every bar and every asset is in the frame.

    A frame needs one close at least.
    """
    nothing = {"open": None, "close": None}
    if not any(is_number(row["close"]) for row in rows.values()):
        rows[0, 0] = {"open": 10.0, "close": 10.0}
    for t in range(n_bars):
        if all((t, i) not in rows for i in range(n_assets)):
            rows[t, t % n_assets] = nothing
    for i in range(n_assets):
        if all((t, i) not in rows for t in range(n_bars)):
            rows[0, i] = nothing
