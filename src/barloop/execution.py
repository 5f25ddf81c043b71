"""How orders become fills: timing, whole shares, missing bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from barloop.checks import refuse_unknown, require_choice, set_number
from barloop.errors import ConfigError

FillName = Literal["next_open", "next_close", "same_close"]
RoundingName = Literal["fractional", "whole_target"]
MissingBarName = Literal["pending", "cancel"]
AtDecisionName = Literal["use_last", "skip"]


@refuse_unknown("execution")
@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Say when an order fills and which quantities can be traded.

    Parameters
    ----------
    fill : {"next_open", "next_close", "same_close"}, default "next_open"
        Weights decided at the close of bar t fill at ``open[t + 1]``,
        ``close[t + 1]`` or ``close[t]``.  With ``"same_close"`` the decision sees
        the price it trades at; results say so.
    rounding : {"fractional", "whole_target"}, default "fractional"
        ``"whole_target"`` cuts each target quantity toward zero to a multiple of
        `lot_size`.
    lot_size : float, default 1.0
        Units in one lot.  Only whole-share modes use it; with ``"fractional"`` any
        other value than 1 is refused.
    """

    fill: FillName = "next_open"
    rounding: RoundingName = "fractional"
    lot_size: float = 1.0

    def __post_init__(self) -> None:
        require_choice("execution.fill", self.fill, get_args(FillName))
        require_choice("execution.rounding", self.rounding, get_args(RoundingName))
        set_number(self, "execution", "lot_size", above=0.0)
        if self.rounding == "fractional" and self.lot_size != 1.0:
            msg = (
                f"execution.lot_size={self.lot_size!r} has no meaning with "
                "rounding='fractional'.\nHint: use rounding='whole_target'."
            )
            raise ConfigError(msg)


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
    """

    missing_bar: MissingBarName = "pending"
    at_decision: AtDecisionName = "use_last"

    def __post_init__(self) -> None:
        require_choice(
            "missing_data.missing_bar", self.missing_bar, get_args(MissingBarName)
        )
        require_choice(
            "missing_data.at_decision", self.at_decision, get_args(AtDecisionName)
        )
