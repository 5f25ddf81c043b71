"""A configuration as the vector of numbers that the loop reads."""

from __future__ import annotations

import math

import numpy as np

from barloop.config import BacktestConfig
from barloop.costs import BASIS_POINTS
from barloop.enums import (
    AtDecision,
    CashRule,
    Compat,
    CostsInSize,
    Delisted,
    FillTiming,
    MissingBar,
    OnExcess,
    Option,
    Remainder,
    Rounding,
    Sequence,
    SizeAt,
    TrailOn,
)
from barloop.exits import Reentry
from barloop.per_asset import Quantity
from barloop.typing import FloatVector

REENTRY_CODES = {"after_target_zero": -1, "allowed": 0}


def option_vector(
    config: BacktestConfig, *, asks: bool, first_bar: int, bars_per_year: float
) -> FloatVector:
    """Return the options of a run, one element per `Option`.

    Parameters
    ----------
    config : BacktestConfig
        Checked settings.
    asks : bool
        Decisions come from outside the loop, bar by bar.
    first_bar : int
        Where the run starts.
    bars_per_year : float
        Divides the rates of financing.

    Returns
    -------
    ndarray of shape (len(Option),)
        Codes and numbers as float64.  Costs that differ by asset are NaN here and
        stand in `Costs`.
    """
    values = {
        Option.ASK_FOR_DECISIONS: asks,
        # Only a callback and an exit look at entry prices and ages.
        Option.TRACK_ENTRIES: asks or config.exits.per_position(),
        Option.FIRST_BAR: first_bar,
        **_execution(config),
        **_costs(config),
        **_limits(config),
        **_exits(config),
        **_carry(config, bars_per_year),
    }
    vector = np.zeros(len(Option))
    for option in Option:
        vector[option] = float(values[option])
    return vector


def _execution(config: BacktestConfig) -> dict[Option, float]:
    execution, missing = config.execution, config.missing_data
    size_at = execution.size_at or "decision"
    return {
        Option.FILL_TIMING: FillTiming[execution.fill.upper()],
        Option.SIZE_AT: SizeAt[size_at.upper()],
        Option.ROUNDING: Rounding[execution.rounding.upper()],
        Option.LOT_SIZE: execution.lot_size,
        Option.SEQUENCE: Sequence[execution.sequence.upper()],
        Option.CASH_RULE: CashRule[execution.cash_rule.upper()],
        Option.COSTS_IN_SIZE: CostsInSize[execution.costs_in_size.upper()],
        Option.COMPAT: Compat[(execution.compat or "none").upper()],
        Option.MISSING_BAR: MissingBar[missing.missing_bar.upper()],
        Option.AT_DECISION: AtDecision[missing.at_decision.upper()],
        Option.DELISTED: Delisted[missing.delisted.upper()],
        Option.DELIST_AFTER_BARS: missing.delist_after_bars or 0,
    }


def _costs(config: BacktestConfig) -> dict[Option, float]:
    commission, slippage = config.commission, config.slippage
    linear = commission.is_linear() and not slippage.has_impact()
    return {
        Option.COMMISSION_RATE: _number(commission.bps) / BASIS_POINTS,
        Option.COMMISSION_MINIMUM: _number(commission.minimum),
        Option.SLIPPAGE_RATE: _number(slippage.bps) / BASIS_POINTS,
        Option.LINEAR_COSTS: linear,
        Option.VOLUME_IMPACT: slippage.volume_impact,
        Option.SQRT_IMPACT: slippage.sqrt_impact,
    }


def _limits(config: BacktestConfig) -> dict[Option, float]:
    limits = config.limits
    return {
        Option.ALLOW_SHORT: limits.allow_short,
        Option.MAX_BORROWING: limits.max_borrowing,
        Option.MIN_TRADE_VALUE: limits.min_trade_value,
        Option.MAX_WEIGHT: _or_infinite(limits.max_weight),
        Option.MAX_GROSS: limits.max_gross,
        Option.ON_EXCESS: OnExcess[limits.on_excess.upper()],
        Option.DRIFT_BAND: limits.drift_band,
        Option.MAX_TURNOVER: _or_infinite(limits.max_turnover),
        Option.MAX_PARTICIPATION: _or_infinite(limits.max_participation),
        Option.REMAINDER: Remainder[limits.remainder.upper()],
        Option.MAINTENANCE: limits.maintenance or 0.0,
    }


def _exits(config: BacktestConfig) -> dict[Option, float]:
    exits = config.exits
    return {
        Option.HAS_EXITS: exits.per_position(),
        Option.STOP_LOSS: exits.stop_loss or 0.0,
        Option.TAKE_PROFIT: exits.take_profit or 0.0,
        Option.TRAILING_STOP: exits.trailing_stop or 0.0,
        Option.TIGHTEN_PER_BAR: exits.tighten_per_bar,
        Option.TRAILING_FLOOR: exits.trailing_floor,
        Option.ATR_MULTIPLE: exits.atr_stop[0] if exits.atr_stop else 0.0,
        Option.MAX_BARS_HELD: exits.max_bars_held or 0,
        Option.MAX_DRAWDOWN: exits.max_drawdown or 0.0,
        Option.ON_ENTRY_BAR: exits.on_entry_bar,
        Option.TRAIL_ON: TrailOn[exits.trail_on.upper()],
        Option.REENTRY_BARS: _reentry_bars(exits.reentry),
    }


def _carry(config: BacktestConfig, bars_per_year: float) -> dict[Option, float]:
    financing = config.financing
    return {
        Option.FINANCING: financing.is_on(),
        Option.CASH_RATE: financing.cash_rate / bars_per_year,
        Option.DEBIT_RATE: financing.debit_rate / bars_per_year,
    }


def _number(value: Quantity) -> float:
    return value if isinstance(value, float) else math.nan


def _or_infinite(limit: float | None) -> float:
    return math.inf if limit is None else limit


def _reentry_bars(reentry: Reentry) -> int:
    return REENTRY_CODES[reentry] if isinstance(reentry, str) else reentry
