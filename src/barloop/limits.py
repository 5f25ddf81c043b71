"""What the account may hold and trade."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from barloop.checks import (
    refuse_meaningless,
    refuse_unknown,
    require_bool,
    require_choice,
    set_number,
    set_optional_number,
)

OnExcessName = Literal["raise", "scale"]
RemainderName = Literal["cancel", "pending"]


@refuse_unknown("limits")
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bound targets, borrowing and the size of orders.

    Parameters
    ----------
    allow_short : bool, default False
        Accept negative weights; otherwise one is an error.
    max_gross : float, default 1.0
        Largest gross of one decision, ``sum(min(abs(weight), max_weight))``, fraction
        of equity; above it (tolerance 1e-9) `on_excess` decides.  A partial decision
        counts by itself, not with what is held beside it.
    on_excess : {"raise", "scale"}, default "raise"
        A decision above `max_gross` is an error, or all of its weights are multiplied
        by ``max_gross / gross``.
    max_borrowing : float, default 0.0
        Opening buys may bring cash down to ``-max_borrowing * equity``, with
        equity at the fill prices before the fills.
    max_weight : float, optional
        Largest absolute weight of one asset, fraction of equity: a larger weight
        becomes this one with its sign, and the excess stays in cash.
    max_participation : float, optional
        Largest share of the volume of the fill bar that the orders of an asset get:
        ``abs(quantity) <= max_participation * volume``.  At most 1.
    remainder : {"cancel", "pending"}, default "cancel"
        What `max_participation` leaves of an order is cancelled, or waits.
    min_trade_value : float, default 0.0
        Orders of less than this value are not sent, currency.  Closing a position
        to 0 is exempt.
    drift_band : float, default 0.0
        A position that would grow is left alone while its weight lies within this
        distance of its target: ``abs(weight - position * price / equity) <=
        drift_band``.
    max_turnover : float, optional
        Largest one-way turnover of one decision,
        ``sum(abs(quantity) * price) / (2 * equity)``; above it the opening parts of
        its orders shrink by one factor.
    maintenance : float, optional
        Least equity as a fraction of gross exposure; below it every position shrinks
        by one factor at the close.  Between 0 and 1.
    """

    allow_short: bool = False
    max_gross: float = 1.0
    on_excess: OnExcessName = "raise"
    max_borrowing: float = 0.0
    max_weight: float | None = None
    max_participation: float | None = None
    remainder: RemainderName = "cancel"
    min_trade_value: float = 0.0
    drift_band: float = 0.0
    max_turnover: float | None = None
    maintenance: float | None = None

    def __post_init__(self) -> None:
        require_bool("limits.allow_short", self.allow_short)
        set_number(self, "limits", "max_gross", above=0.0)
        require_choice("limits.on_excess", self.on_excess, get_args(OnExcessName))
        set_number(self, "limits", "max_borrowing", low=0.0)
        set_optional_number(self, "limits", "max_weight")
        set_optional_number(self, "limits", "max_participation", at_most=1.0)
        require_choice("limits.remainder", self.remainder, get_args(RemainderName))
        set_number(self, "limits", "min_trade_value", low=0.0)
        set_number(self, "limits", "drift_band", low=0.0)
        set_optional_number(self, "limits", "max_turnover")
        set_optional_number(self, "limits", "maintenance", below=1.0)
        if self.remainder == "pending" and self.max_participation is None:
            refuse_meaningless(
                "limits.remainder='pending'",
                "without max_participation",
                "set max_participation, or leave remainder out",
            )
