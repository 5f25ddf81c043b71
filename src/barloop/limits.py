"""What the account may hold and trade."""

from __future__ import annotations

from dataclasses import dataclass

from barloop.checks import refuse_unknown, require_bool, set_number


@refuse_unknown("limits")
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bound targets, borrowing and the size of orders.

    Parameters
    ----------
    allow_short : bool, default False
        Accept negative weights; otherwise one is an error.
    max_gross : float, default 1.0
        Largest sum of absolute weights of one decision, fraction of equity; above
        it (tolerance 1e-9) is an error.  A partial decision counts by itself, not with
        what is held beside it.
    max_borrowing : float, default 0.0
        Opening buys may bring cash down to ``-max_borrowing * equity``, with
        equity at the fill prices before the fills.
    min_trade_value : float, default 0.0
        Orders of less than this value are not sent, currency.  Closing a position
        to 0 is exempt.
    """

    allow_short: bool = False
    max_gross: float = 1.0
    max_borrowing: float = 0.0
    min_trade_value: float = 0.0

    def __post_init__(self) -> None:
        require_bool("limits.allow_short", self.allow_short)
        set_number(self, "limits", "max_gross", above=0.0)
        set_number(self, "limits", "max_borrowing", low=0.0)
        set_number(self, "limits", "min_trade_value", low=0.0)
