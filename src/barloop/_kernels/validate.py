"""One pass over the prices of a panel."""

from __future__ import annotations

import numpy as np

from barloop._jit import kernel
from barloop.typing import FloatVector

CHUNK = 4_096
"""Cells per inner loop: it has no branches, so that it runs on vector registers."""


@kernel
def count_odd_prices(
    open_: FloatVector,  # (n_cells,) currency per unit, NaN where unknown
    high: FloatVector,  # (n_cells,)
    low: FloatVector,  # (n_cells,)
    close: FloatVector,  # (n_cells,) NaN where there is no bar
    volume: FloatVector,  # (n_cells,) units, NaN where unknown
    start: int,  # first cell
    stop: int,  # one after the last cell
) -> tuple[int, int, int, int]:
    """Count what prices must not be, and what they should not be.

    Return ``(n_bars, n_invalid, n_outside, first_outside)``: cells with a close; of
    these, prices not positive and finite, high below low, or volume negative or
    infinite; open or close outside of low and high, and the first cell of those or -1.
    Pass `close` for a column that does not exist.
    """
    n_bars = 0
    n_invalid = 0
    n_outside = 0
    first_outside = -1
    for chunk in range(start, stop, CHUNK):
        end = min(chunk + CHUNK, stop)
        # Slices, because an index that could be negative keeps the loop scalar.
        os, hs, ls = open_[chunk:end], high[chunk:end], low[chunk:end]
        cs, vs = close[chunk:end], volume[chunk:end]
        bars = 0
        invalid = 0
        outside = 0
        for k in range(cs.size):
            o, h, l, c, v = os[k], hs[k], ls[k], cs[k], vs[k]  # noqa: E741
            bar = c == c
            wrong = (c <= 0.0) | (o <= 0.0) | (h <= 0.0) | (l <= 0.0) | (v < 0.0)
            wrong |= (c == np.inf) | (o == np.inf) | (h == np.inf) | (l == np.inf)
            wrong |= (v == np.inf) | (h < l)
            bars += bar
            invalid += bar & wrong
            outside += bar & ((o > h) | (o < l) | (c > h) | (c < l))
        if outside > 0 and first_outside < 0:
            for k in range(cs.size):
                o, h, l, c = os[k], hs[k], ls[k], cs[k]  # noqa: E741
                if c == c and (o > h or o < l or c > h or c < l):
                    first_outside = chunk + k
                    break
        n_bars += bars
        n_invalid += invalid
        n_outside += outside
    return n_bars, n_invalid, n_outside, first_outside
