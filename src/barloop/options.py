"""A configuration as the vector of numbers that the loop reads."""

from __future__ import annotations

import numpy as np

from barloop.config import BacktestConfig
from barloop.enums import AtDecision, FillTiming, MissingBar, Option, Rounding
from barloop.typing import FloatVector

BASIS_POINT = 1e-4


def option_vector(config: BacktestConfig, *, asks: bool) -> FloatVector:
    """Return the options of a run, one element per `Option`.

    Parameters
    ----------
    config : BacktestConfig
        Checked settings.
    asks : bool
        Decisions come from outside the loop, bar by bar.

    Returns
    -------
    ndarray of shape (len(Option),)
        Codes and numbers as float64.
    """
    execution, missing = config.execution, config.missing_data
    values = {
        Option.FILL_TIMING: FillTiming[execution.fill.upper()],
        Option.ROUNDING: Rounding[execution.rounding.upper()],
        Option.LOT_SIZE: execution.lot_size,
        Option.COMMISSION_RATE: config.commission.bps * BASIS_POINT,
        Option.COMMISSION_MINIMUM: config.commission.minimum,
        Option.SLIPPAGE_RATE: config.slippage.bps * BASIS_POINT,
        Option.MAX_BORROWING: config.limits.max_borrowing,
        Option.MIN_TRADE_VALUE: config.limits.min_trade_value,
        Option.MISSING_BAR: MissingBar[missing.missing_bar.upper()],
        Option.AT_DECISION: AtDecision[missing.at_decision.upper()],
        # Only a callback can look at entry prices and ages.
        Option.TRACK_ENTRIES: asks,
        Option.ASK_FOR_DECISIONS: asks,
    }
    vector = np.zeros(len(Option))
    for option in Option:
        vector[option] = float(values[option])
    return vector
