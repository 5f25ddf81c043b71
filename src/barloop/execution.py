"""How orders become fills: timing, sizes, sequence, cash, missing bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from barloop.checks import (
    refuse_meaningless,
    refuse_unknown,
    require_choice,
    set_count,
    set_number,
)

FillName = Literal["next_open", "next_close", "same_close"]
SizeAtName = Literal["decision", "fill"]
RoundingName = Literal[
    "fractional",
    "whole_target",
    "whole_delta_trunc",
    "whole_delta_nearest",
    "whole_delta_floor",
]
SequenceName = Literal["sells_first", "exits_first", "value_ascending", "asset_order"]
CashRuleName = Literal["scale", "partial", "reject", "allow"]
CostsInSizeName = Literal["none", "per_order", "portfolio"]
MissingBarName = Literal["pending", "cancel"]
AtDecisionName = Literal["use_last", "skip"]
CompatName = Literal["backtrader", "zipline", "vectorbt", "ml4t", "bt"]
DelistedName = Literal["hold", "cash_out", "write_off"]


@refuse_unknown("execution")
@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Say when an order fills, how large it is, in which turn, and what cash allows.

    Parameters
    ----------
    fill : {"next_open", "next_close", "same_close"}, default "next_open"
        Weights decided at the close of bar t fill at ``open[t + 1]``,
        ``close[t + 1]`` or ``close[t]``.  With ``"same_close"`` the decision sees
        the price it trades at; results say so.
    size_at : {"decision", "fill"}, default "decision"
        A weight becomes a quantity with equity and close of bar t, or with the price
        of the fill and the equity at fill prices before the fills of that bar.
        ``costs_in_size="portfolio"`` implies ``"fill"``, which is then what this
        attribute says.
    rounding : str, default "fractional"
        With ``target = weight * equity / price``, the order is, for ``lot_size=1``:

        - ``"fractional"``: ``target - position``
        - ``"whole_target"``: ``trunc(target) - position``
        - ``"whole_delta_trunc"``: ``trunc(target - position)``
        - ``"whole_delta_nearest"``: ``round(target - position)``, halves away
          from 0
        - ``"whole_delta_floor"``: ``floor(target - position)``

        The delta modes close a position whole.
    lot_size : float, default 1.0
        Units in one lot.  Only whole-share modes use it; with ``"fractional"`` any
        other value than 1 is refused.
    sequence : str, default "sells_first"
        The orders of a bar fill in this order, ties in asset order:
        ``"sells_first"``: sells, buys that cover shorts, opening buys;
        ``"exits_first"``: what reduces a position, other sells, other buys;
        ``"value_ascending"``: by signed ``quantity * price``; ``"asset_order"``.
    cash_rule : {"scale", "partial", "reject", "allow"}, default "scale"
        Buys that cash cannot pay: all opening buys of the bar shrink by one factor;
        each in its turn gets what cash pays for; each in its turn gets all or
        nothing; or cash may become negative.
    costs_in_size : {"none", "per_order", "portfolio"}, default "none"
        Costs come out of cash; or the cash an order moves, costs included, is the
        wanted change of value; or weights are those of the equity after all costs of
        the bar: ``E' + sum(cost(weight * E' / price - position)) = E``.
    compat : {"backtrader", "zipline", "vectorbt", "ml4t", "bt"}, optional
        Quirks of another engine that no other option expresses, only to compare
        results with it; see `barloop.enums.Compat`.
    """

    fill: FillName = "next_open"
    size_at: SizeAtName | None = None
    rounding: RoundingName = "fractional"
    lot_size: float = 1.0
    sequence: SequenceName = "sells_first"
    cash_rule: CashRuleName = "scale"
    costs_in_size: CostsInSizeName = "none"
    compat: CompatName | None = None

    def __post_init__(self) -> None:
        for name, choices in _EXECUTION_CHOICES.items():
            require_choice(f"execution.{name}", getattr(self, name), get_args(choices))
        set_number(self, "execution", "lot_size", above=0.0)
        if self.rounding == "fractional" and self.lot_size != 1.0:
            refuse_meaningless(
                f"execution.lot_size={self.lot_size!r}",
                "with rounding='fractional'",
                "use rounding='whole_target'",
            )
        if self.cash_rule == "scale" and self.sequence != "sells_first":
            refuse_meaningless(
                f"execution.sequence={self.sequence!r}",
                "with cash_rule='scale', which fills sells first",
                "use cash_rule='partial', 'reject' or 'allow'",
            )
        self._resolve_size_at()
        if self.compat is not None:
            self._check_compat(self.compat)

    def _check_compat(self, compat: str) -> None:
        require_choice("execution.compat", compat, get_args(CompatName))
        acts, needs = {
            "backtrader": (self.cash_rule != "scale", "cash_rule='reject'"),
            "zipline": (
                self.rounding.startswith("whole_delta"),
                "whole_delta rounding",
            ),
            "vectorbt": (self.cash_rule == "partial", "cash_rule='partial'"),
            "ml4t": (
                self.cash_rule in ("partial", "reject"),
                "cash_rule='partial' or 'reject'",
            ),
            "bt": (self.costs_in_size == "per_order", "costs_in_size='per_order'"),
        }[compat]
        if not acts:
            refuse_meaningless(
                f"execution.compat={compat!r}",
                f"without {needs}",
                "begin with profile(...), which sets what belongs together",
            )

    def _resolve_size_at(self) -> None:
        portfolio = self.costs_in_size == "portfolio"
        if self.size_at is None:
            object.__setattr__(self, "size_at", "fill" if portfolio else "decision")
        else:
            require_choice("execution.size_at", self.size_at, get_args(SizeAtName))
        if portfolio and self.size_at == "decision":
            refuse_meaningless(
                "execution.size_at='decision'",
                "with costs_in_size='portfolio', which sizes at the fill",
                "leave size_at out, or use costs_in_size='per_order'",
            )


_EXECUTION_CHOICES = {
    "fill": FillName,
    "rounding": RoundingName,
    "sequence": SequenceName,
    "cash_rule": CashRuleName,
    "costs_in_size": CostsInSizeName,
}


@refuse_unknown("missing_data")
@dataclass(frozen=True, slots=True, kw_only=True)
class MissingData:
    """Say what happens on bars that an asset does not have.

    Parameters
    ----------
    missing_bar : {"pending", "cancel"}, default "pending"
        An order whose fill price is missing waits for the next bar that has one, or
        is cancelled.
    at_decision : {"use_last", "skip"}, default "use_last"
        An asset without a bar at the decision is sized on its last known close, or
        gets no order.
    delisted : {"hold", "cash_out", "write_off"}, default "hold"
        The position of an asset that is delisted without a return stays, is closed
        at the last known close without costs, or is closed at 0.
    delist_after_bars : int, optional
        An asset that is held or waited for counts as delisted at the n-th bar in a row
        that it does not have; if it comes back, it trades again.  Never when None.
    """

    missing_bar: MissingBarName = "pending"
    at_decision: AtDecisionName = "use_last"
    delisted: DelistedName = "hold"
    delist_after_bars: int | None = None

    def __post_init__(self) -> None:
        for name, choices in _MISSING_CHOICES.items():
            path = f"missing_data.{name}"
            require_choice(path, getattr(self, name), get_args(choices))
        set_count(self, "missing_data", "delist_after_bars")
        if self.delist_after_bars is not None and self.delisted == "hold":
            refuse_meaningless(
                f"missing_data.delist_after_bars={self.delist_after_bars!r}",
                "with delisted='hold'",
                "use delisted='cash_out' or 'write_off'",
            )


_MISSING_CHOICES = {
    "missing_bar": MissingBarName,
    "at_decision": AtDecisionName,
    "delisted": DelistedName,
}
