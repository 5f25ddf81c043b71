"""What a fill costs: commission and slippage, one formula each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from barloop.checks import refuse_meaningless, refuse_unknown, set_number
from barloop.errors import ConfigError
from barloop.per_asset import Quantity, is_zero, require_column_name, set_quantity

Spread: TypeAlias = Quantity | tuple[str, str]
"""A quantity, or the names of a bid and an ask column."""

BASIS_POINTS = 1e4
"""In the whole."""

ALL_OF_THE_PRICE = BASIS_POINTS
"""Costs of so many basis points and more are refused."""


@refuse_unknown("commission")
@dataclass(frozen=True, slots=True, kw_only=True)
class Commission:
    """Charge a fee on each fill.

    Formula, with ``notional = abs(quantity) * price`` and `price` after slippage::

        fee = bps / 1e4 * notional + per_share * abs(quantity) + per_order
        commission = min(max(fee, minimum), maximum)

    Each is a number, a mapping of asset to number that names every asset of the data,
    or the name of a column of the data, read on the bar of the fill.

    Parameters
    ----------
    bps : float, mapping or str, default 0.0
        Basis points of the traded value; 10 is 0.1 %.
    per_share : float, mapping or str, default 0.0
        Currency per unit.
    per_order : float, mapping or str, default 0.0
        Currency per fill.
    minimum : float, mapping or str, default 0.0
        Least commission of one fill, currency.
    maximum : float, mapping or str, optional
        Largest commission of one fill, currency; none when None.
    """

    bps: Quantity = 0.0
    per_share: Quantity = 0.0
    per_order: Quantity = 0.0
    minimum: Quantity = 0.0
    maximum: Quantity | None = None

    def __post_init__(self) -> None:
        set_quantity(self, "commission", "bps", below=ALL_OF_THE_PRICE)
        for name in ("per_share", "per_order", "minimum"):
            set_quantity(self, "commission", name)
        if self.maximum is None:
            return
        set_quantity(self, "commission", "maximum")
        low, high = self.minimum, self.maximum
        if isinstance(low, float) and isinstance(high, float) and low > high:
            msg = (
                f"commission.minimum={low!r} must be at most commission.maximum="
                f"{high!r}."
            )
            raise ConfigError(msg)

    def is_linear(self) -> bool:
        """Tell whether the fee is a multiple of the quantity."""
        return (
            self.maximum is None and is_zero(self.per_order) and is_zero(self.minimum)
        )


@refuse_unknown("slippage")
@dataclass(frozen=True, slots=True, kw_only=True)
class Slippage:
    """Worsen the price of each fill.

    Formula, with `base` the open or close of the fill bar and
    ``share = abs(quantity) / volume`` of that bar::

        s = bps / 1e4 + half_spread + volume_impact * share**2
            + sqrt_impact * volatility * sqrt(share)
        buys pay   base * (1 + s)
        sells get  base * max(1 - s, 0)

    Parameters
    ----------
    bps : float, mapping or str, default 0.0
        Basis points of the base price; a number, a mapping of asset to number, or the
        name of a column.
    half_spread : float, mapping, str or pair of str, default 0.0
        Half of the spread as a fraction of the price; from a bid and an ask column,
        ``("bid", "ask")``, it is ``(ask - bid) / (ask + bid)``.
    volume_impact : float, default 0.0
        Factor of the squared share of the volume.
    sqrt_impact : float, default 0.0
        Factor of the volatility and of the root of the share of the volume.
    volatility : float, mapping or str, optional
        Fraction per bar, for `sqrt_impact`.
    """

    bps: Quantity = 0.0
    half_spread: Spread = 0.0
    volume_impact: float = 0.0
    sqrt_impact: float = 0.0
    volatility: Quantity | None = None

    def __post_init__(self) -> None:
        set_quantity(self, "slippage", "bps", below=ALL_OF_THE_PRICE)
        if isinstance(self.half_spread, (tuple, list)):
            names = _bid_and_ask(self.half_spread)
            object.__setattr__(self, "half_spread", names)
        else:
            set_quantity(self, "slippage", "half_spread", below=1.0)
        set_number(self, "slippage", "volume_impact", low=0.0)
        set_number(self, "slippage", "sqrt_impact", low=0.0)
        if self.volatility is not None:
            set_quantity(self, "slippage", "volatility")
        if self.sqrt_impact > 0.0 and self.volatility is None:
            refuse_meaningless(
                f"slippage.sqrt_impact={self.sqrt_impact!r}",
                "without volatility",
                "set volatility, e.g. to a column of daily volatilities",
            )
        if self.volatility is not None and self.sqrt_impact == 0.0:
            refuse_meaningless(
                f"slippage.volatility={self.volatility!r}",
                "without sqrt_impact",
                "set sqrt_impact, or leave volatility out",
            )

    def has_impact(self) -> bool:
        """Tell whether the price depends on the quantity."""
        return self.volume_impact > 0.0 or self.sqrt_impact > 0.0


def _bid_and_ask(value: Any) -> tuple[str, str]:
    if len(value) != 2:
        msg = (
            f"slippage.half_spread takes a pair of columns, (bid, ask), got {value!r}."
        )
        raise ConfigError(msg)
    for name in value:
        require_column_name("slippage.half_spread", name)
    return value[0], value[1]
