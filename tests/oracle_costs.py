"""What a fill costs in the oracle: the slipped price and the commission."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from oracle_book import Book, Cost


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The costs of one asset on one bar."""

    slippage: float = 0.0  # fraction of the price, without impact
    volume_impact: float = 0.0
    sqrt_impact: float = 0.0  # times the volatility
    volume: float | None = None
    bps: float = 0.0
    per_share: float = 0.0
    per_order: float = 0.0
    minimum: float = 0.0
    maximum: float = math.inf

    def paid(self, base: float, quantity: float) -> float:
        """Return the price of a fill: buys pay more than `base`, sells get less."""
        # Without a volume the order is all that trades.
        share = abs(quantity) / self.volume if self.volume else 1.0
        worse = (
            self.slippage
            + self.volume_impact * share**2
            + self.sqrt_impact * math.sqrt(share)
        )
        if quantity > 0:
            return base * (1 + worse)
        return max(base * (1 - worse), 0.0)

    def commission(self, quantity: float, price: float) -> float:
        """Return the fee of a fill at `price`, which has the slippage in it."""
        if quantity == 0:
            return 0.0
        units = abs(quantity)
        fee = self.bps / 1e4 * units * price + self.per_share * units + self.per_order
        return min(max(fee, self.minimum), self.maximum)

    def outlay(self, base: float, quantity: float) -> float:
        """Return the cash that a fill takes, negative when it brings some."""
        if quantity == 0:
            return 0.0
        price = self.paid(base, quantity)
        return quantity * price + self.commission(quantity, price)

    def cost(self, base: float, quantity: float) -> float:
        """Return what a fill takes out of the equity at `base`."""
        if quantity == 0:
            return 0.0
        price = self.paid(base, quantity)
        slipped = abs(quantity) * abs(price - base)
        return slipped + self.commission(quantity, price)

    @property
    def is_fixed(self) -> bool:
        """Say whether the smallest fill already costs something."""
        return self.per_order > 0 or self.minimum > 0


def terms_of(book: Book, i: int) -> Terms:
    """Return the costs of an asset on the bar that runs."""
    o, t = book.options, book.t
    volatility = 0.0 if o.volatility is None else cost_value(book, o.volatility, t, i)
    maximum = o.commission_maximum
    return Terms(
        slippage=cost_value(book, o.slippage_bps, t, i) / 1e4 + spread_of(book, t, i),
        volume_impact=o.volume_impact,
        sqrt_impact=o.sqrt_impact * volatility,
        volume=book.number(t, i, "volume") if book.has_bar(t, i) else None,
        bps=cost_value(book, o.commission_bps, t, i),
        per_share=cost_value(book, o.commission_per_share, t, i),
        per_order=cost_value(book, o.commission_per_order, t, i),
        minimum=cost_value(book, o.commission_minimum, t, i),
        maximum=math.inf if maximum is None else cost_value(book, maximum, t, i),
    )


def cost_value(book: Book, cost: Cost, t: int, i: int) -> float:
    """Return a setting of the costs: a number, one per asset, or a field of bars."""
    if isinstance(cost, str):
        row = last_row_with_a_bar(book, t, i)
        return 0.0 if row is None else row[cost]
    if isinstance(cost, Mapping):
        return cost[i]
    return cost


def spread_of(book: Book, t: int, i: int) -> float:
    setting = book.options.half_spread
    if not isinstance(setting, tuple):
        return cost_value(book, setting, t, i)
    row = last_row_with_a_bar(book, t, i)
    if row is None:
        return 0.0
    bid, ask = (row[name] for name in setting)
    return (ask - bid) / (ask + bid)


def last_row_with_a_bar(
    book: Book, t: int, i: int
) -> Mapping[str, float | None] | None:
    for earlier in range(t, -1, -1):
        if book.has_bar(earlier, i):
            return book.bars[earlier, i]
    return None
