"""Weights in rows become sparse decisions, checked on the way."""

from __future__ import annotations

from barloop._jit import kernel
from barloop._kernels.tolerances import GROSS_TOLERANCE, WEIGHT_DUST
from barloop.enums import Decision, WeightFault
from barloop.typing import (
    BoolVector,
    ByteVector,
    FloatVector,
    IndexVector,
    IntVector,
)


@kernel
def pack_decisions(
    row_start: IntVector,  # (n_bars + 1,) first row of each bar
    asset: IndexVector,  # (n_rows,) ascending within a bar; empty: every asset in turn
    weight: FloatVector,  # (n_rows,) NaN where null or absent
    is_rebalance: BoolVector,  # (n_bars,) other bars take no decision
    allow_short: bool,  # noqa: FBT001
    max_weight: float,  # a larger weight counts as this much
    max_gross: float,
    kind_out: ByteVector,  # (n_bars,) Decision codes
    start_out: IntVector,  # (n_bars + 1,) first pair of each bar
    asset_out: IndexVector,  # (capacity,)
    weight_out: FloatVector,  # (capacity,)
) -> tuple[int, int, int]:
    """Pack the weights that are not zero; stop at the first that is not valid.

    Return ``(fault, bar, row)``: the WeightFault and where it stands.
    """
    dense = asset.size == 0
    n = 0
    start_out[0] = 0
    for t in range(is_rebalance.size):
        valid = 0
        gross = 0.0
        first = n
        for r in range(row_start[t], row_start[t + 1]):
            value = weight[r]
            if value != value:
                continue
            valid += 1
            if not abs(value) <= WEIGHT_DUST:
                asset_out[n] = r - row_start[t] if dense else asset[r]
                weight_out[n] = value
                n += 1
                size = abs(value)
                gross += size if size < max_weight else max_weight
                if is_rebalance[t]:
                    if not abs(value) < float("inf"):
                        return WeightFault.NOT_FINITE, t, r
                    if value < 0.0 and not allow_short:
                        return WeightFault.NEGATIVE, t, r
        kind_out[t] = Decision.NONE
        if is_rebalance[t] and valid > 0:
            kind_out[t] = Decision.COMPLETE
            if gross > max_gross + GROSS_TOLERANCE:
                return WeightFault.GROSS, t, row_start[t]
        else:
            n = first
        start_out[t + 1] = n
    return WeightFault.NONE, -1, -1
