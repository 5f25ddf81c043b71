"""When a position is closed without a decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from barloop.checks import (
    refuse_meaningless,
    refuse_unknown,
    require_bool,
    require_choice,
    require_number,
    set_count,
    set_number,
    set_optional_number,
)
from barloop.errors import ConfigError, suggestion
from barloop.per_asset import require_column_name

TrailOnName = Literal["extreme", "close"]
ReentryName = Literal["after_target_zero", "allowed"]
Reentry: TypeAlias = ReentryName | int


@refuse_unknown("exits")
@dataclass(frozen=True, slots=True, kw_only=True)
class Exits:
    """Close positions by price, age or loss.

    With `e` the average entry price (slippage in, commission out), `side` +1 for a long
    and -1 for a short position, and `age` the bars since the entry::

        stop      e * (1 - side * stop_loss)
        target    e * (1 + side * take_profit)
        trailing  extreme * (1 - side * width)
                  width = max(trailing_stop - tighten_per_bar * age, trailing_floor)
        atr       e - side * multiple * atr

    Of the stops the level nearest to the market counts; a gap through it fills at the
    open.  An exit closes the whole position, pays slippage and commission, and cancels
    what waits for the asset.

    Parameters
    ----------
    stop_loss : float, optional
        Fraction of the entry price.
    take_profit : float, optional
        Fraction of the entry price.
    trailing_stop : float, optional
        Fraction of the highest high (long) or lowest low (short) of the bars before.
    tighten_per_bar : float, default 0.0
        By so much the trailing stop comes closer with each bar.
    trailing_floor : float, default 0.0
        The trailing stop comes no closer than this.
    atr_stop : (float, str), optional
        A multiple, and the column that holds the average true range, currency, as it
        was known when the position was opened.
    max_bars_held : int, optional
        A position of this age is closed at the open.
    max_drawdown : float, optional
        When equity has fallen by this fraction from its peak, everything is closed at
        the next fill and no decision follows.
    on_entry_bar : bool, default True
        A position opened at the open of a bar may be stopped on that bar.
    trail_on : {"extreme", "close"}, default "extreme"
        The trailing stop follows highs and lows, or closes.
    reentry : {"after_target_zero", "allowed"} or int, default "after_target_zero"
        After an exit the asset is blocked until a decision gives it the weight 0; not
        at all; or for decisions on fewer than n bars after the exit.
    """

    stop_loss: float | None = None
    take_profit: float | None = None
    trailing_stop: float | None = None
    tighten_per_bar: float = 0.0
    trailing_floor: float = 0.0
    atr_stop: tuple[float, str] | None = None
    max_bars_held: int | None = None
    max_drawdown: float | None = None
    on_entry_bar: bool = True
    trail_on: TrailOnName = "extreme"
    reentry: Reentry = "after_target_zero"

    def __post_init__(self) -> None:
        for name in ("stop_loss", "take_profit", "trailing_stop"):
            set_optional_number(self, "exits", name)
        set_number(self, "exits", "tighten_per_bar", low=0.0)
        set_number(self, "exits", "trailing_floor", low=0.0)
        if self.atr_stop is not None:
            object.__setattr__(self, "atr_stop", _multiple_and_column(self.atr_stop))
        set_count(self, "exits", "max_bars_held")
        set_optional_number(self, "exits", "max_drawdown", below=1.0)
        require_bool("exits.on_entry_bar", self.on_entry_bar)
        require_choice("exits.trail_on", self.trail_on, get_args(TrailOnName))
        self._check_reentry()
        self._check_trail()
        if not self.per_position():
            self._refuse_without_exit()

    def per_position(self) -> bool:
        """Tell whether single positions are closed, by price or age."""
        return self.by_price() or self.max_bars_held is not None

    def by_price(self) -> bool:
        """Tell whether highs and lows are needed."""
        levels = (self.stop_loss, self.take_profit, self.trailing_stop, self.atr_stop)
        return any(level is not None for level in levels)

    def _check_reentry(self) -> None:
        if isinstance(self.reentry, str) or self.reentry is None:
            names = get_args(ReentryName)
            if self.reentry not in names:
                msg = (
                    "exits.reentry must be one of "
                    f"{', '.join(map(repr, names))} or a number of bars, got "
                    f"{self.reentry!r}.{suggestion(str(self.reentry), names)}"
                )
                raise ConfigError(msg)
            return
        set_count(self, "exits", "reentry")

    def _check_trail(self) -> None:
        if self.trailing_stop is None:
            hint = "set trailing_stop"
            for name in ("tighten_per_bar", "trailing_floor"):
                value = getattr(self, name)
                if value > 0.0:
                    setting = f"exits.{name}={value!r}"
                    refuse_meaningless(setting, "without trailing_stop", hint)
            if self.trail_on == "close":
                setting = "exits.trail_on='close'"
                refuse_meaningless(setting, "without trailing_stop", hint)
        elif self.trailing_floor > self.trailing_stop:
            msg = (
                f"exits.trailing_floor={self.trailing_floor!r} must be at most "
                f"exits.trailing_stop={self.trailing_stop!r}."
            )
            raise ConfigError(msg)

    def _refuse_without_exit(self) -> None:
        for setting, is_set in (
            (f"exits.reentry={self.reentry!r}", self.reentry != "after_target_zero"),
            ("exits.on_entry_bar=False", not self.on_entry_bar),
        ):
            if is_set:
                refuse_meaningless(
                    setting,
                    "without an exit of single positions",
                    "set stop_loss, take_profit, trailing_stop, atr_stop or "
                    "max_bars_held",
                )


def _multiple_and_column(value: Any) -> tuple[float, str]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        msg = f"exits.atr_stop must be a pair (multiple, column), got {value!r}."
        raise ConfigError(msg)
    multiple = require_number("exits.atr_stop[0]", value[0], above=0.0)
    require_column_name("exits.atr_stop[1]", value[1])
    return multiple, value[1]
