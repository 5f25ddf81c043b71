"""From prices to weights: the steps of most cross-sectional strategies.

``equal_weight(top_n(momentum("close", 126), 25))``: a score of each asset, a choice of
assets by score, weights of the chosen.  Each step takes columns and expressions or the
arrays of a callback; `barloop.jitted` has the same for compiled callbacks.
"""

from barloop.choices import bottom_n, top_n
from barloop.scores import mean, momentum, volatility
from barloop.weighting import (
    equal_weight,
    inverse_volatility,
    long_short,
    rank_weights,
)

__all__ = [
    "bottom_n",
    "equal_weight",
    "inverse_volatility",
    "long_short",
    "mean",
    "momentum",
    "rank_weights",
    "top_n",
    "volatility",
]
