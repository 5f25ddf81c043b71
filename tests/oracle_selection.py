"""Slow plain-Python helpers of strategies, written from their docstrings.

A cell is ``(t, i)``; values are dicts from cells that have a row to a number or None.
Sums run from the oldest to the latest, or in asset order, so that bits can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

Cell = tuple[int, int]
Values = Mapping[Cell, float | None]


def known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def divide(a: float, b: float) -> float:
    """Divide as IEEE 754 does."""
    if b != 0.0:
        return a / b
    if a == 0.0 or math.isnan(a):
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


def none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


def rows_of(values: Values, cell: Cell) -> list[float | None]:
    """Return the values of an asset up to a cell, oldest first."""
    t, i = cell
    return [values[s, i] for s in range(t + 1) if (s, i) in values]


def momentum(values: Values, lookback: int, skip: int = 0) -> Values:
    out = {}
    for cell in values:
        past = rows_of(values, cell)
        out[cell] = None
        if len(past) > lookback:
            later, earlier = past[-1 - skip], past[-1 - lookback]
            if known(past[-1]) and known(later) and known(earlier):
                out[cell] = none_if_nan(divide(later, earlier) - 1.0)
    return out


def mean(values: Values, n_bars: int) -> Values:
    out = {}
    for cell in values:
        window = rows_of(values, cell)[-n_bars:]
        out[cell] = None
        if len(window) == n_bars and all(map(known, window)):
            total = 0.0
            for value in window:
                total += value
            out[cell] = none_if_nan(total / n_bars)
    return out


def volatility(values: Values, n_bars: int) -> Values:
    out = {}
    for cell in values:
        window = rows_of(values, cell)[-n_bars - 1 :]
        out[cell] = None
        if len(window) == n_bars + 1 and all(map(known, window)):
            returns = [
                divide(later, earlier) - 1.0 for earlier, later in pairwise(window)
            ]
            total = 0.0
            for one in returns:
                total += one
            average = total / n_bars
            squares = 0.0
            for one in returns:
                squares += (one - average) * (one - average)
            out[cell] = none_if_nan(math.sqrt(squares / (n_bars - 1)))
    return out


def bars_of(values: Values) -> dict[int, list[int]]:
    """Return the assets that have a row, ascending, by bar."""
    bars: dict[int, list[int]] = {}
    for t, i in sorted(values):
        bars.setdefault(t, []).append(i)
    return bars


def choose(values: Values, n: int, *, highest: bool) -> dict[Cell, bool | None]:
    out: dict[Cell, bool | None] = dict.fromkeys(values)
    for t, assets in bars_of(values).items():
        scored = [i for i in assets if known(values[t, i])]
        sign = -1.0 if highest else 1.0
        best = sorted(scored, key=lambda i, t=t: (sign * values[t, i], i))[:n]
        for i in scored:
            out[t, i] = i in best
    return out


def equal_weight(chosen: Mapping[Cell, bool | None], gross: float) -> Values:
    out: dict[Cell, float | None] = dict.fromkeys(chosen)
    for t, assets in bars_of(chosen).items():
        n = sum(1 for i in assets if chosen[t, i])
        for i in assets:
            if chosen[t, i] is not None:
                out[t, i] = gross / n if chosen[t, i] else 0.0
    return out


def rank_weights(
    values: Values, chosen: Mapping[Cell, bool | None] | None, gross: float
) -> Values:
    out: dict[Cell, float | None] = dict.fromkeys(values)
    for t, assets in bars_of(values).items():
        held = [
            i
            for i in assets
            if known(values[t, i]) and (chosen is None or chosen[t, i])
        ]
        n = len(held)
        for i in assets:
            if i in held:
                below = sum(1 for j in held if values[t, j] < values[t, i])
                equal = sum(1 for j in held if values[t, j] == values[t, i])
                rank = below + (equal + 1) / 2.0
                out[t, i] = gross * rank / (n * (n + 1) / 2.0)
            elif chosen is not None and chosen[t, i] is False:
                out[t, i] = 0.0
    return out


def inverse_volatility(
    chosen: Mapping[Cell, bool | None], values: Values, gross: float
) -> Values:
    out: dict[Cell, float | None] = dict.fromkeys(chosen)
    for t, assets in bars_of(chosen).items():
        inverse = {
            i: divide(1.0, values[t, i])
            for i in assets
            if chosen[t, i] and known(values[t, i])
        }
        inverse = {i: one for i, one in inverse.items() if 0.0 < one < math.inf}
        total = 0.0
        for one in inverse.values():
            total += one
        for i in assets:
            if i in inverse:
                out[t, i] = gross * inverse[i] / total
            elif chosen[t, i] is False:
                out[t, i] = 0.0
    return out


def long_short(
    long: Mapping[Cell, bool | None],
    short: Mapping[Cell, bool | None],
    long_gross: float,
    short_gross: float,
) -> Values:
    bought, sold = equal_weight(long, long_gross), equal_weight(short, short_gross)
    return {
        cell: None
        if bought[cell] is None and sold[cell] is None
        else (bought[cell] or 0.0) - (sold[cell] or 0.0)
        for cell in bought
    }
