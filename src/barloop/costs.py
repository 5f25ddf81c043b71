"""What a fill costs: commission and slippage, one formula each."""

from __future__ import annotations

from dataclasses import dataclass

from barloop.checks import refuse_unknown, set_number


@refuse_unknown("commission")
@dataclass(frozen=True, slots=True, kw_only=True)
class Commission:
    """Charge a fee on each fill.

    Formula, with ``notional = abs(quantity) * price`` and `price` after slippage::

        commission = max(bps / 1e4 * notional, minimum)

    Parameters
    ----------
    bps : float, default 0.0
        Basis points of the traded value; 10 is 0.1 %.
    minimum : float, default 0.0
        Least commission of one fill, currency.
    """

    bps: float = 0.0
    minimum: float = 0.0

    def __post_init__(self) -> None:
        set_number(self, "commission", "bps", low=0.0, below=10_000.0)
        set_number(self, "commission", "minimum", low=0.0)


@refuse_unknown("slippage")
@dataclass(frozen=True, slots=True, kw_only=True)
class Slippage:
    """Worsen the price of each fill.

    Formula, with `base` the open or close of the fill bar::

        buys pay   base * (1 + bps / 1e4)
        sells get  base * (1 - bps / 1e4)

    Parameters
    ----------
    bps : float, default 0.0
        Basis points of the base price.
    """

    bps: float = 0.0

    def __post_init__(self) -> None:
        set_number(self, "slippage", "bps", low=0.0, below=10_000.0)
