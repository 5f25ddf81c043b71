"""Worlds for hypothesis in which every option of the library may be on.

Options come in groups, each of them off in most worlds, so that few meet at a time but
all pairs do.  Values are such that limits bind often: small volumes, near stops, costs
one can see.  The numbers of the bars beside open and close come from a seed: they would
take most of the time if they were drawn one by one.
"""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st

from oracle import Action, Options
from strategies import (
    COSTS,
    FIELDS,
    FIRST_PRICES,
    NAMES,
    TEMPERS,
    World,
    all_decisions,
    asset_rows,
    fill_holes,
    is_number,
)

GROUPS = (
    "short",
    "rounding",
    "size",
    "cash",
    "commission",
    "slippage",
    "impact",
    "weights",
    "orders",
    "turnover",
    "participation",
    "margin",
    "exits",
    "drawdown",
    "financing",
    "silence",
    "actions",
)
"""What can be on; a test names those that must be."""


@st.composite
def full_worlds(
    draw: st.DrawFn,
    *,
    min_bars: int = 3,
    max_bars: int = 14,
    max_assets: int = 5,
    partial: bool = True,
    tempers: tuple[str, ...] = tuple(TEMPERS),
    on: tuple[str, ...] = (),
    off: tuple[str, ...] = (),
    **fixed: Any,
) -> World:
    """Draw a world; the groups of `on` are on, `fixed` are options not drawn."""
    n_bars = draw(st.integers(min_bars, max_bars), label="n_bars")
    n_assets = draw(st.integers(1, max_assets), label="n_assets")
    names = sorted(draw(st.permutations(NAMES), label="names")[:n_assets])
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    for i in range(n_assets):
        by_bar = draw(asset_rows(n_bars, tempers, FIRST_PRICES), label=names[i])
        rows.update({(t, i): row for t, row in by_bar.items()})
    fill_holes(rows, n_bars, n_assets)
    groups = draw_groups(draw, on, off)
    options = draw(full_options(groups, n_assets, **fixed), label="options")
    seed = draw(st.integers(0, 2**16), label="seed")
    kinds = ("complete", "complete", "complete", "none", "none", "close all")
    kinds += ("partial", "partial") if partial else ()
    actions = ()
    if "actions" in groups:
        actions = draw(all_actions(n_bars, n_assets, options.initial_cash))
    return World(
        n_bars=n_bars,
        assets=tuple(names),
        rows=with_fields(rows, random.Random(seed), options.initial_cash),
        decisions=draw(all_decisions(n_bars, n_assets, options, kinds)),
        options=options,
        seed=seed,
        columns=FIELDS + COSTS,
        actions=actions,
    )


def draw_groups(
    draw: st.DrawFn, on: tuple[str, ...], off: tuple[str, ...]
) -> frozenset[str]:
    free = [group for group in GROUPS if group not in on + off]
    drawn = draw(
        st.lists(st.sampled_from(free), min_size=2, max_size=9), label="groups"
    )
    return frozenset(on) | frozenset(drawn)


# ---------------------------------------------------------------- settings


@st.composite
def full_options(
    draw: st.DrawFn, groups: frozenset[str], n_assets: int, **fixed: Any
) -> Options:
    """Draw settings of these groups, all of them allowed together."""
    o: dict[str, Any] = {}

    def pick(name: str, *values: Any) -> Any:
        o[name] = fixed[name] if name in fixed else draw(st.sampled_from(values))
        return o[name]

    def pick_cost(name: str, column: str, *numbers: float) -> None:
        if name in fixed:
            o[name] = fixed[name]
            return
        form = draw(st.sampled_from(["zero", "number", "number", "asset", "column"]))
        if form == "number":
            o[name] = draw(st.sampled_from(numbers))
        elif form == "asset":
            first = draw(st.integers(0, len(numbers)))
            several = (0.0, *numbers)
            o[name] = {i: several[(first + i) % len(several)] for i in range(n_assets)}
        elif form == "column":
            o[name] = column

    pick("initial_cash", 1e6, 1e4, 1234.56, 1000.0)
    pick("fill", "next_open", "next_open", "next_close", "same_close")
    pick("missing_bar", "pending", "pending", "cancel")
    pick("at_decision", "use_last", "use_last", "skip")
    pick("max_gross", 1.0, 1.0, 0.7, 2.0)
    if "short" in groups:
        pick("allow_short", True)
    if "size" in groups:
        pick("size_at", "decision", "fill")
        if pick("costs_in_size", "none", "per_order", "portfolio") == "portfolio":
            o["size_at"] = "fill"
    if "rounding" in groups:
        pick_rounding(draw, o, fixed)
    if "cash" in groups:
        pick("cash_rule", "partial", "reject", "allow")
        pick("sequence", "sells_first", "exits_first", "value_ascending", "asset_order")
    if "commission" in groups:
        pick_cost("commission_bps", "fee_bps", 10.0, 150.0)
        pick_cost("commission_per_share", "fee_per_share", 0.01, 0.35)
        pick_cost("commission_per_order", "fee_per_order", 1.37, 11.3)
        pick_cost("commission_minimum", "least_fee", 1.01, 3.17)
        if draw(st.booleans()):
            pick_cost("commission_maximum", "most_fee", 5.31, 23.17)
            if o.get("commission_maximum") and "commission_maximum" not in fixed:
                several = o["commission_maximum"]
                if isinstance(several, dict):
                    o["commission_maximum"] = {i: v or 7.77 for i, v in several.items()}
    if "slippage" in groups:
        pick_cost("slippage_bps", "spread_bps", 7.0, 90.0)
        if draw(st.booleans()):
            o["half_spread"] = ("bid", "ask")
        else:
            pick_cost("half_spread", "half_spread", 0.001, 0.02)
    if "impact" in groups:
        pick("volume_impact", 0.0, 0.05, 0.3)
        if pick("sqrt_impact", 0.0, 0.5) or not o["volume_impact"]:
            o["sqrt_impact"] = o["sqrt_impact"] or 1.0
            pick_cost("volatility", "volatility", 0.02, 0.1)
            o.setdefault("volatility", 0.05)
    pick_limits(pick, groups, o)
    pick_exits(draw, pick, groups, o)
    if "financing" in groups:
        pick("bars_per_year", 252.0, 12.0)
        pick("cash_rate", 0.0, 0.03, -0.01)
        pick("debit_rate", 0.0, 0.08)
        if o.get("allow_short"):
            pick_cost("borrow_rate", "lending_rate", 0.01, 0.6)
    if "silence" in groups:
        pick("delisted", "hold", "cash_out", "write_off")
        if o["delisted"] != "hold":
            pick("delist_after_bars", None, 1, 2, 3)
    return Options(**{**o, **fixed})


def pick_rounding(draw: st.DrawFn, o: dict[str, Any], fixed: dict[str, Any]) -> None:
    modes = ("target", "delta_trunc", "delta_nearest", "delta_floor")
    o["rounding"] = "whole_" + draw(st.sampled_from(modes))
    o["lot_size"] = draw(st.sampled_from([1.0, 1.0, 10.0, 0.5]))
    if fixed.get("rounding") == "fractional":
        o["lot_size"] = 1.0


def pick_limits(pick: Any, groups: frozenset[str], o: dict[str, Any]) -> None:
    """Pick what bounds weights, orders, fills and borrowing."""
    exact = o.get("costs_in_size") == "portfolio"
    if o.get("cash_rule") != "allow":
        pick("max_borrowing", 0.0, 0.0, 0.5, 1.0)
    if "weights" in groups:
        pick("max_weight", None, 0.2, 0.45)
        pick("on_excess", "raise", "scale")
    if "orders" in groups and not exact:
        pick("min_trade_value", 0.0, 51.37, 187.93)
        pick("drift_band", 0.0, 0.0213, 0.11)
    if "turnover" in groups and not exact:
        pick("max_turnover", 0.103, 0.27, 0.5)
    if "participation" in groups and not exact:
        pick("max_participation", 0.11, 0.5, 1.0)
        if o.get("size_at") != "fill":
            pick("remainder", "cancel", "pending")
    leveraged = (
        o.get("allow_short")
        or o.get("max_borrowing", 0.0) > 0
        or o.get("max_gross", 1.0) > 1
        or o.get("cash_rule") == "allow"
    )
    if "margin" in groups and leveraged:
        pick("maintenance", 0.25, 0.5, 0.9)


def pick_exits(
    draw: st.DrawFn, pick: Any, groups: frozenset[str], o: dict[str, Any]
) -> None:
    """Pick when positions are closed without a decision."""
    if "drawdown" in groups:
        pick("max_drawdown", 0.05, 0.2, 0.5)
    if "exits" not in groups:
        return
    kinds = ("stop_loss", "take_profit", "trailing_stop", "atr_stop", "max_bars_held")
    chosen = draw(st.sets(st.sampled_from(kinds), min_size=1, max_size=3))
    if "stop_loss" in chosen:
        pick("stop_loss", 0.02, 0.05, 0.1, 0.25)
    if "take_profit" in chosen:
        pick("take_profit", 0.01, 0.05, 0.1, 0.3)
    if "atr_stop" in chosen:
        pick("atr_stop", (1.0, "atr"), (2.5, "atr"))
    if "max_bars_held" in chosen:
        pick("max_bars_held", 1, 2, 3, 5)
    if "trailing_stop" in chosen:
        pick("trailing_stop", 0.02, 0.05, 0.1, 0.25)
        pick("tighten_per_bar", 0.0, 0.01, 0.05)
        pick("trailing_floor", 0.0, 0.01, 0.02)
        pick("trail_on", "extreme", "close")
    pick("on_entry_bar", True, True, False)
    pick("reentry", "after_target_zero", "allowed", 1, 2, 4)


# ---------------------------------------------------------------- actions and fields


@st.composite
def all_actions(
    draw: st.DrawFn, n_bars: int, n_assets: int, cash: float
) -> tuple[Action, ...]:
    """Draw a few actions, each kind, asset and bar at most once."""
    values = {
        "split": [2.0, 0.5, 1.5, 0.1, 3.0],
        "dividend": [0.1, 0.37, 1.0, 5.0],
        "delisting": [None, None, -1.0, -0.3, 0.1],
        "deposit": [0.1 * cash, 0.5 * cash, 123.45],
        "withdrawal": [0.1 * cash, 0.4 * cash, 99.99],
    }
    kinds = ("split", "split", "dividend", "dividend", "delisting", "deposit")
    keys = draw(
        st.lists(
            st.tuples(
                st.integers(0, n_bars - 1),
                st.sampled_from((*kinds, "withdrawal")),
                st.integers(0, n_assets - 1),
            ),
            min_size=1,
            max_size=6,
        )
    )
    actions = {}
    for t, kind, i in keys:
        asset = None if kind in ("deposit", "withdrawal") else i
        value = draw(st.sampled_from(values[kind]))
        actions[t, kind, asset] = Action(t=t, kind=kind, asset=asset, value=value)
    return tuple(actions.values())


def with_fields(
    rows: dict[tuple[int, int], dict[str, Any]], rng: random.Random, cash: float
) -> dict[tuple[int, int], dict[str, Any]]:
    """Add high, low, volume, atr and the columns of costs to the rows.

    A row without a close is no bar: what stands in it of the costs is not read.
    """
    full = {}
    first: dict[int, float] = {}
    for (t, i), row in sorted(rows.items()):
        fields = dict(row)
        close = row["close"] if is_number(row["close"]) else None
        if close is not None:
            first.setdefault(i, close)
            fields |= range_of(row, rng)
            fields |= costs_of(close, rng)
        elif rng.random() < 0.5:
            fields |= {"lending_rate": 55.5, "fee_bps": 555.0, "high": 1.0}
        shares = max(1.0, round(cash / first.get(i, 10.0)))
        sizes = [None, 0.0, 0.05, 0.1, 0.3, 0.3, 1.0, 1.0, 5.0]
        size = rng.choice(sizes)
        fields["volume"] = None if size is None else float(round(size * shares))
        widths = [None, float("nan"), 0.01, 0.02, 0.05, 0.1, 0.2]
        width = rng.choice(widths)
        fields["atr"] = None if width is None else width * (close or 10.0)
        full[t, i] = fields
    return full


def range_of(row: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Return a high and a low; now and then one is missing, or an end lies outside."""
    ends = [row["close"]]
    if is_number(row["open"]):
        ends.append(row["open"])
    high = round(max(ends) * rng.choice([1.0, 1.0, 1.01, 1.05, 1.1, 1.25]), 2)
    low = round(min(ends) * rng.choice([1.0, 1.0, 0.99, 0.95, 0.9, 0.75]), 2)
    low = max(low, 0.01)
    if rng.random() < 0.05 and high > 0.5:
        # Vendors round: the high may lie a cent below the close.
        high = max(low, round(high - 0.01, 2))
    return {
        "high": None if rng.random() < 0.06 else high,
        "low": rng.choice([None, float("nan")]) if rng.random() < 0.06 else low,
    }


def costs_of(close: float, rng: random.Random) -> dict[str, float]:
    half = rng.choice([0.0, 0.001, 0.01])
    return {
        "bid": close * (1 - half),
        "ask": close * (1 + half),
        "fee_bps": rng.choice([0.0, 5.0, 50.0]),
        "fee_per_share": rng.choice([0.0, 0.005, 0.2]),
        "fee_per_order": rng.choice([0.0, 2.5, 7.13]),
        "least_fee": rng.choice([0.0, 1.01, 4.04]),
        "most_fee": rng.choice([6.06, 31.4, 1e9]),
        "spread_bps": rng.choice([0.0, 3.0, 40.0]),
        "half_spread": rng.choice([0.0, 0.002, 0.015]),
        "volatility": rng.choice([0.0, 0.01, 0.05]),
        "lending_rate": rng.choice([0.0, 0.02, 0.5]),
    }
