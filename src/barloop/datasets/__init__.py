"""Seeded panels and the loaders of the bundled sample.

Nothing here is downloaded: `us_equities` and `us_equities_actions` read a small file
that ships with the library, `top25` and `simulate_bars` are computed.
"""

from barloop.datasets.random_walks import Frequency, simulate_bars
from barloop.datasets.real_prices import adjusted, us_equities, us_equities_actions
from barloop.datasets.scored_stocks import Top25, top25

__all__ = [
    "Frequency",
    "Top25",
    "adjusted",
    "simulate_bars",
    "top25",
    "us_equities",
    "us_equities_actions",
]
