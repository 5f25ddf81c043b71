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
