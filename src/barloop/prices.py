"""What prices must not be, and what is only worth a notice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from barloop.errors import SchemaError
from barloop.notices import Notice
from barloop.schema import are, n_rows, show
from barloop.threads import run_each, split
from barloop.typing import BoolVector, CodeVector, FloatPanel


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Prices:
    """Hold the price panels to be checked, with what a message needs.

    Parameters
    ----------
    panels : mapping from open, high, low, close, volume to ndarray
        Each of shape (n_bars, n_assets); `close` is needed.
    names : mapping from open, high, low, close, volume to str
        The user's names of these columns.
    timestamps, assets : Series
        Values of the bars and of the assets.
    row_of : ndarray of shape (n_bars * n_assets,), or None
        Row of each cell, -1 for none; None when every cell has one.
    """

    panels: Mapping[str, FloatPanel]
    names: Mapping[str, str]
    timestamps: pl.Series
    assets: pl.Series
    row_of: CodeVector | None

    def locate(self, cell: int) -> tuple[int, int, str]:
        """Return bar, asset and the words for both."""
        t, i = divmod(int(cell), len(self.assets))
        words = f"{show(self.timestamps[t])}, asset {show(self.assets[i])}"
        return t, i, words

    def words(self, between: str, *names: str) -> str:
        """Join the user's names of those columns that exist."""
        return between.join(self.names[name] for name in names if name in self.names)


def check_prices(prices: Prices) -> tuple[Notice, ...]:
    """Raise on impossible prices; count the odd ones.

    Parameters
    ----------
    prices : Prices
        A panel.  Cells without a close are not looked at.

    Returns
    -------
    tuple of Notice
        As from `price_notices`.

    Raises
    ------
    SchemaError
        If a price is infinite, zero or negative, high is below low, or volume is
        negative or infinite; or if no cell has a close.
    """
    n_bars, n_invalid, n_outside, first_outside = _count(prices.panels)
    if n_invalid:
        _refuse(prices)
    if n_bars == 0:
        msg = (
            f"{prices.names['close']} has no value: every row is null or NaN.\n"
            "Hint: a bar is a row with a close."
        )
        raise SchemaError(msg)
    return _notices(prices, n_bars, n_outside, first_outside)


def price_notices(prices: Prices) -> tuple[Notice, ...]:
    """Count what is odd in prices that were checked before.

    Parameters
    ----------
    prices : Prices
        A panel, or its first bars.

    Returns
    -------
    tuple of Notice
        ``price_outside_range``: open or close outside of low and high.
        ``null_close``: rows that count as no bar.
    """
    n_bars, _, n_outside, first_outside = _count(prices.panels)
    return _notices(prices, n_bars, n_outside, first_outside)


def _count(panels: Mapping[str, FloatPanel]) -> tuple[int, int, int, int]:
    from barloop._kernels.validate import count_odd_prices

    close = panels["close"].reshape(-1)
    # A column that does not exist is checked as if it were one that does: it adds
    # nothing.  Without both ends there is no range to lie outside of.
    other = {"high": panels.get("low", panels["close"])}
    other["low"] = panels.get("high", panels["close"])
    open_, high, low, volume = (
        panels.get(name, other.get(name, panels["close"])).reshape(-1)
        for name in ("open", "high", "low", "volume")
    )
    parts = run_each(
        lambda rows: count_odd_prices(open_, high, low, close, volume, *rows),
        split(close.size),
        close.size,
    )
    first = next((int(part[3]) for part in parts if part[3] >= 0), -1)
    n_bars, n_invalid, n_outside = (
        int(sum(part[k] for part in parts)) for k in range(3)
    )
    if "high" not in panels or "low" not in panels:
        n_outside, first = 0, -1
    return n_bars, n_invalid, n_outside, first


def _notices(
    prices: Prices, n_bars: int, n_outside: int, first_outside: int
) -> tuple[Notice, ...]:
    notices = []
    if n_outside:
        t, i, words = prices.locate(first_outside)
        message = (
            f"{prices.words(' or ', 'open', 'close')} lies outside of "
            f"{prices.words(' and ', 'low', 'high')} in {n_rows(n_outside)}, first at "
            f"{words}; used as they are."
        )
        notices.append(Notice("price_outside_range", n_outside, t, i, message))
    close, row_of = prices.panels["close"].reshape(-1), prices.row_of
    n_given = close.size if row_of is None else int(np.count_nonzero(row_of >= 0))
    n_null = n_given - n_bars
    if n_null:
        t, i, words = prices.locate(_first_null(close, row_of))
        message = (
            f"{prices.names['close']} is null or NaN in {n_rows(n_null)}, first at "
            f"{words}; the asset has no bar there."
        )
        notices.append(Notice("null_close", n_null, t, i, message))
    return tuple(notices)


def _first_null(close: FloatPanel, row_of: CodeVector | None) -> int:
    step = 65_536
    for start in range(0, close.size, step):
        null = np.isnan(close[start : start + step])
        if row_of is not None:
            null &= row_of[start : start + step] >= 0
        if null.any():
            return start + int(null.argmax())
    return -1


def _refuse(prices: Prices) -> None:
    """Raise for the first rule that a cell with a close breaks."""
    panels = {name: panel.reshape(-1) for name, panel in prices.panels.items()}
    has_bar = ~np.isnan(panels["close"])
    for name in ("close", "open", "high", "low"):
        if name in panels:
            hint = (
                "drop these rows, or set {0} to null where the asset did not trade."
                if name == "close"
                else "set {0} to null where it is not known."
            )
            _raise_if(prices, (name,), np.isinf(panels[name]) & has_bar, "finite", hint)
            _raise_if(prices, (name,), (panels[name] <= 0) & has_bar, "positive", hint)
    if "high" in panels and "low" in panels:
        mask = (panels["high"] < panels["low"]) & has_bar
        hint = (
            "the two columns may be swapped; otherwise set both to null in these rows."
        )
        _raise_if(
            prices, ("high", "low"), mask, f"at least {prices.names['low']}", hint
        )
    if "volume" in panels:
        volume = panels["volume"]
        hint = "set {0} to null where it is not known."
        _raise_if(prices, ("volume",), np.isinf(volume) & has_bar, "finite", hint)
        _raise_if(prices, ("volume",), (volume < 0) & has_bar, "zero or positive", hint)


def _raise_if(
    prices: Prices, names: tuple[str, ...], mask: BoolVector, wanted: str, hint: str
) -> None:
    count = int(np.count_nonzero(mask))
    if not count:
        return
    cell = int(mask.argmax())
    own = [prices.names[name] for name in names]
    numbers = [float(prices.panels[name].reshape(-1)[cell]) for name in names]
    if len(own) == 1:
        values = f"value {numbers[0]}"
    else:
        values = ", ".join(f"{n} {v}" for n, v in zip(own, numbers, strict=True))
    msg = (
        f"{own[0]} must be {wanted}: {n_rows(count)} {are(count)} not, first at "
        f"{prices.locate(cell)[2]}, {values}.\nHint: {hint.format(own[0])}"
    )
    raise SchemaError(msg)
