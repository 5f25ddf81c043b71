"""How near is equal: each number once, with its reason.

They stand among the kernels because compiled code has them built in: an edit here has
to recompile.
"""

from __future__ import annotations

DUST = 1e-9
"""Orders, targets and what is missing of an order are nothing below this share of the
position or the order: rounding errors are not trades."""
WEIGHT_DUST = 1e-12
"""A weight of no more than this is 0: optimisers leave 1e-17 and -1e-17."""
GROSS_TOLERANCE = 1e-9
"""Gross may exceed its limit by this much: thirds do not sum to one."""
CASH_MARGIN = 1e-12
"""A binding factor is reduced by this share of itself: thousands of additions, each
off by 1e-16 of the account, then never leave cash a hair below the floor."""
NOTICEABLE = 1e-9
"""A factor nearer to 1 than this is rounding, not a reason; nearer to 0 it is 0."""
INTEGER_TOLERANCE = 1e-6
"""A share count nearer to an integer than this is that integer."""
MARGIN_TOLERANCE = 1e-9
"""Equity may be short of maintenance by this share: a call leaves just enough."""
TURNOVER_TOLERANCE = 1e-9
"""Turnover may exceed its limit by this share: a whole switch adds up to 1 only so."""
ZIPLINE_SNAP = 1e-4
"""The same of zipline, for its profile."""
CENT = 0.01
"""What ml4t-backtest lets an order exceed cash by, currency; for its profiles."""
VALUE_TIE = 1e-9
"""Order values nearer than this share of equity are equal: ties go by asset."""
ML4T_SMALLEST = 1e-8
"""Units: ml4t-backtest sends no order of so few."""
