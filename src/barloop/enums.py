"""Integer codes shared by the kernels and the frames made from their logs.

Codes are append-only: stored results and compiled caches outlive a release.
"""

from __future__ import annotations

from enum import IntEnum


class FillTiming(IntEnum):
    """When an order fills, relative to the bar that decides it."""

    NEXT_OPEN = 0
    NEXT_CLOSE = 1
    SAME_CLOSE = 2


class Rounding(IntEnum):
    """How a wanted quantity becomes a tradable one."""

    FRACTIONAL = 0
    WHOLE_TARGET = 1


class MissingBar(IntEnum):
    """What happens to an order on a bar without its fill price."""

    PENDING = 0
    CANCEL = 1


class AtDecision(IntEnum):
    """How an asset without a bar is sized at a decision."""

    USE_LAST = 0
    SKIP = 1


class Decision(IntEnum):
    """What the weights said on one bar."""

    NONE = 0
    COMPLETE = 1
    PARTIAL = 2


class WeightFault(IntEnum):
    """What is wrong with the weights of a bar."""

    NONE = 0
    NOT_FINITE = 1
    NEGATIVE = 2
    GROSS = 3


class Phase(IntEnum):
    """Where a resumable run stands inside its current bar."""

    FILL = 0
    """Before the fills of the bar."""
    DECIDE = 1
    """Filled and marked; the decision of the bar is next."""
    REFILL = 2
    """Decided; with ``same_close`` its orders fill and the mark is redone."""


class SimStatus(IntEnum):
    """Why the loop returned."""

    DONE = 0
    """All bars asked for have run."""
    NEEDS_DECISION = 1
    """The bar is marked and waits for a decision from outside the loop."""
    LOG_FULL = 2
    """The next step may need more rows than the log has."""


class FillReason(IntEnum):
    """Why a fill happened."""

    ORDER = 0
    RUINED = 1


class Reason(IntEnum):
    """What bound on the way from weight to fill: bit numbers, in pipeline order.

    The lowest bit that is set is an order's primary reason.  Gaps are room for
    steps that stand between these in the pipeline.
    """

    NOT_LISTED = 0
    NO_BAR = 1
    ROUNDED = 10
    BELOW_MIN_TRADE_VALUE = 11
    MISSING_BAR = 20
    SCALED_TO_CASH = 24
    REPLACED = 28
    RUINED = 29


class Option(IntEnum):
    """Elements of the option vector that a run hands to the loop."""

    FILL_TIMING = 0
    ROUNDING = 1
    LOT_SIZE = 2
    COMMISSION_RATE = 3
    COMMISSION_MINIMUM = 4
    SLIPPAGE_RATE = 5
    MAX_BORROWING = 6
    MIN_TRADE_VALUE = 7
    MISSING_BAR = 8
    AT_DECISION = 9
    TRACK_ENTRIES = 10
    ASK_FOR_DECISIONS = 11


class BarField(IntEnum):
    """Rows of the per-bar output block."""

    CASH = 0
    EQUITY = 1
    GROSS_EXPOSURE = 2
    TRADED_VALUE = 3
    COMMISSION = 4
    SLIPPAGE = 5
    N_POSITIONS = 6
    SCALE = 7
    """The smallest common factor of the opening buys of the bar; 1 if none bound."""
    DECISION = 8
    """The `Decision` applied on the bar."""
    N_TARGETS = 9
    TARGET_GROSS = 10
    SIZING_EQUITY = 11
    """Equity that the decision of the bar was sized on; 0 without a decision."""


class AssetField(IntEnum):
    """Rows of the per-asset state block of floats."""

    POSITION = 0
    LAST_CLOSE = 1
    ENTRY_PRICE = 2
    ENTRY_BAR = 3


class Counter(IntEnum):
    """Elements of the state vector of integers."""

    BAR = 0
    PHASE = 1
    N_HELD = 2
    N_WAITING = 3
    N_FILLS = 4
    N_ORDERS = 5
    RUINED_AT = 6
    """Bar of ruin, -1 while solvent."""
    FORWARD_FILLED = 7
    """Held asset-bars valued at an earlier close."""
    FIRST_FORWARD_FILLED_BAR = 8
    FIRST_FORWARD_FILLED_ASSET = 9
    ANSWER = 10
    """`Decision` given from outside for the bar that waits for one, -1 before."""


class FillField(IntEnum):
    """Rows of the log that belong to fills: codes first, then numbers."""

    BAR = 0
    ASSET = 1
    ORDER = 2
    REASON = 3
    QUANTITY = 0
    PRICE = 1
    COMMISSION = 2


class OrderField(IntEnum):
    """Rows of the log that belong to orders: codes first, then numbers."""

    BAR = 4
    ASSET = 5
    REASONS = 6
    WEIGHT = 3
    QUANTITY = 4
    FILLED = 5
