"""The time loop with a compiled callback: stop, ask, check, go on."""

from __future__ import annotations

from typing import Any

from barloop._kernels.buffers import (
    Book,
    CarryRules,
    Decisions,
    ExitRules,
    Log,
    Market,
    OrderRules,
)
from barloop._kernels.tolerances import GROSS_TOLERANCE, WEIGHT_DUST
from barloop.enums import (
    BarField,
    Counter,
    Decision,
    OnExcess,
    Option,
    SimStatus,
    WeightFault,
)
from barloop.typing import FloatBlock, FloatVector

SCALE = float(OnExcess.SCALE)


# Compiled by `barloop.compiled`, which knows the signatures of its two functions.
def drive(
    stop_bar: int,  # run the bars before this one
    market: Market,
    decisions: Decisions,  # one row, written here
    options: FloatVector,  # (Option,)
    state: Book,
    log: Log,
    bars: FloatBlock,  # (BarField, n_bars)
    orders: OrderRules | None,
    exits: ExitRules | None,
    carry: CarryRules | None,
    features: FloatBlock,  # (n_features, n_bars, n_assets) read-only, NaN where null
    context: FloatBlock,  # (n_columns, n_bars) read-only, NaN without a value
    params: FloatVector,  # (n_params,) read-only
    weights: FloatVector,  # (n_assets,) zeroed and handed to the callback
    run: Any,  # `advance`, as a function pointer
    ask: Any,  # the user's function behind its shim, as a function pointer
) -> tuple[int, int, int]:
    """Drive `run` to `stop_bar` and ask `ask` at each decision.

    Return ``(status, fault, asset)``: NEEDS_DECISION with a WeightFault when the
    callback said what is no decision; its bar stands in the counters.
    """
    allow_short = options[Option.ALLOW_SHORT] != 0.0
    max_weight = options[Option.MAX_WEIGHT]
    max_gross = options[Option.MAX_GROSS]
    if options[Option.ON_EXCESS] == SCALE:
        # The loop scales; an infinite gross is still an error.
        max_gross = 1.7976931348623157e308
    while True:
        status = run(
            stop_bar,
            market,
            decisions,
            options,
            state,
            log,
            bars,
            orders,
            exits,
            carry,
        )
        if status != SimStatus.NEEDS_DECISION:
            return status, 0, -1
        t = state.counters[Counter.BAR]
        for i in range(weights.size):
            weights[i] = 0.0
        said = ask(
            t,
            market,
            features,
            context,
            params,
            state.floats,
            bars[BarField.CASH, t],
            bars[BarField.EQUITY, t],
            weights,
        )
        state.counters[Counter.ANSWER] = Decision.NONE
        if not said:
            continue
        n = 0
        gross = 0.0
        for i in range(weights.size):
            value = weights[i]
            size = abs(value)
            if size <= WEIGHT_DUST:
                continue
            if not size < float("inf"):
                state.counters[Counter.ANSWER] = -1
                return status, WeightFault.NOT_FINITE, i
            if value < 0.0 and not allow_short:
                state.counters[Counter.ANSWER] = -1
                return status, WeightFault.NEGATIVE, i
            decisions.asset[n] = i
            decisions.weight[n] = value
            gross += size if size < max_weight else max_weight
            n += 1
        if gross > max_gross + GROSS_TOLERANCE:
            state.counters[Counter.ANSWER] = -1
            return status, WeightFault.GROSS, -1
        decisions.start[1] = n
        state.counters[Counter.ANSWER] = Decision.COMPLETE
