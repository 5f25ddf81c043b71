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
    WHOLE_DELTA_TRUNC = 2
    WHOLE_DELTA_NEAREST = 3
    WHOLE_DELTA_FLOOR = 4


class SizeAt(IntEnum):
    """When a weight becomes a quantity."""

    DECISION = 0
    FILL = 1


class Sequence(IntEnum):
    """In which order the orders of a bar fill."""

    SELLS_FIRST = 0
    EXITS_FIRST = 1
    VALUE_ASCENDING = 2
    ASSET_ORDER = 3


class CashRule(IntEnum):
    """What happens to buys that cash cannot pay."""

    SCALE = 0
    PARTIAL = 1
    REJECT = 2
    ALLOW = 3


class CostsInSize(IntEnum):
    """Which part of the costs the size of an order takes into account."""

    NONE = 0
    PER_ORDER = 1
    PORTFOLIO = 2


class Remainder(IntEnum):
    """What happens to the part of an order above the participation cap."""

    CANCEL = 0
    PENDING = 1


class OnExcess(IntEnum):
    """What happens to a decision above the gross limit."""

    RAISE = 0
    SCALE = 1


class Compat(IntEnum):
    """Quirks of other engines that no other option expresses, for parity only."""

    NONE = 0
    BACKTRADER = 1
    """Orders are checked against cash at the close that decided them, in sequence and
    without giving back what a refused one would have taken; slippage stays inside
    high and low; covers have no place of their own before other buys."""
    ZIPLINE = 2
    """A quantity within 1e-4 of a whole number is that number."""
    VECTORBT = 3
    """A buy that cash cannot pay is cut as a whole, its cover part too."""
    ML4T = 4
    """Entries, shorts too, need their value in cash, first at the price before slippage
    and then after it, with a cent of tolerance; a flip needs what it leaves."""
    BT = 5
    """In whole shares the rounded change before costs decides whether there is an order
    and whether it closes; a sale may turn a position around for its own fee."""


class Delisted(IntEnum):
    """What becomes of the position of a delisted asset."""

    HOLD = 0
    CASH_OUT = 1
    WRITE_OFF = 2


class TrailOn(IntEnum):
    """What a trailing stop follows."""

    EXTREME = 0
    CLOSE = 1


class ActionKind(IntEnum):
    """What an action does, in the order in which those of one bar apply."""

    SPLIT = 0
    DIVIDEND = 1
    DELISTING = 2
    DEPOSIT = 3
    """A negative amount is a withdrawal."""


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
    """Why cash or a position moved.

    The members from `SPLIT` on are cash flows: rows of the same journal, but no fills.
    """

    ORDER = 0
    RUINED = 1
    STOP_LOSS = 2
    ATR_STOP = 3
    TRAILING_STOP = 4
    TAKE_PROFIT = 5
    MAX_BARS_HELD = 6
    MAX_DRAWDOWN = 7
    MARGIN_CALL = 8
    DELISTED = 9
    SPLIT = 16
    DIVIDEND = 17
    INTEREST = 18
    BORROW_COST = 19
    DEPOSIT = 20
    WITHDRAWAL = 21


class Reason(IntEnum):
    """What bound on the way from weight to fill: bit numbers, in pipeline order.

    The lowest bit that is set is an order's primary reason.  Gaps are room for
    steps that stand between these in the pipeline.
    """

    NOT_LISTED = 0
    NO_BAR = 1
    BLOCKED_AFTER_EXIT = 2
    MAX_WEIGHT = 4
    MAX_GROSS = 5
    DRIFT_BAND = 7
    ROUNDED = 10
    BELOW_MIN_TRADE_VALUE = 11
    MAX_DRAWDOWN = 12
    MAX_TURNOVER = 13
    CANCELLED_BY_MARGIN_CALL = 19
    MISSING_BAR = 20
    NO_VOLUME = 21
    MAX_PARTICIPATION = 22
    REJECTED_AT_SUBMISSION = 23
    SCALED_TO_CASH = 24
    PARTIAL_CASH = 25
    REJECTED_FOR_CASH = 26
    CANCELLED_BY_EXIT = 27
    REPLACED = 28
    RUINED = 29
    DELISTED = 30


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
    SIZE_AT = 12
    SEQUENCE = 13
    CASH_RULE = 14
    COSTS_IN_SIZE = 15
    COMPAT = 16
    LINEAR_COSTS = 17
    """1 when the cost of a fill is linear in its quantity."""
    VOLUME_IMPACT = 18
    SQRT_IMPACT = 19
    MAX_WEIGHT = 20
    """Infinite when there is no limit, as the limits below."""
    MAX_GROSS = 21
    ON_EXCESS = 22
    DRIFT_BAND = 23
    MAX_TURNOVER = 24
    MAX_PARTICIPATION = 25
    REMAINDER = 26
    MAINTENANCE = 27
    """0 when there is no limit, as the exits below."""
    STOP_LOSS = 28
    TAKE_PROFIT = 29
    TRAILING_STOP = 30
    TIGHTEN_PER_BAR = 31
    TRAILING_FLOOR = 32
    ATR_MULTIPLE = 33
    MAX_BARS_HELD = 34
    MAX_DRAWDOWN = 35
    ON_ENTRY_BAR = 36
    TRAIL_ON = 37
    REENTRY_BARS = 38
    """-1: after target zero; 0: allowed; n: bars."""
    CASH_RATE = 39
    """Financing rates per bar, already divided by the bars of a year."""
    DEBIT_RATE = 40
    FINANCING = 41
    """1 when any financing rate is given; borrow rates are in the costs."""
    DELISTED = 42
    DELIST_AFTER_BARS = 43
    """0 when off."""
    FIRST_BAR = 44
    """The first bar of the run, which pays no interest."""
    HAS_EXITS = 45
    """1 when any per-position exit is on: entries, extremes and blocks are kept."""
    ALLOW_SHORT = 46


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
    CARRY = 12
    """Interest and dividends less borrow cost, currency."""
    DEPOSITS = 13
    """Deposits less withdrawals, currency."""


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
    N_FLOWS = 11
    """Rows of the journal that are cash flows and not fills."""
    STOPPED_AT = 12
    """Bar at which `max_drawdown` ended the run, -1 before."""
    N_COMPLETE = 13
    """Complete decisions so far."""
    NULL_RANGES = 14
    """Held asset-bars whose null high or low was replaced for an exit."""
    FIRST_NULL_RANGE_BAR = 15
    FIRST_NULL_RANGE_ASSET = 16
    NO_ATR = 17
    """Positions opened without an `atr_stop` because the column was null."""
    FIRST_NO_ATR_BAR = 18
    FIRST_NO_ATR_ASSET = 19


class FillField(IntEnum):
    """Rows of the log that belong to the journal: codes first, then numbers.

    A fill moves `QUANTITY` units at `PRICE` and pays `COMMISSION`.  Cash flows are rows
    too: a split adds `QUANTITY` units at price 0; the others have quantity 0 and take
    `COMMISSION` out of cash, a negative number puts it in.  Asset -1 is the account.
    """

    BAR = 0
    ASSET = 1
    ORDER = 2
    REASON = 3
    QUANTITY = 0
    PRICE = 1
    COMMISSION = 2
    BASE = 3
    """Price before slippage; with order rules, and of exits."""


class OrderField(IntEnum):
    """Rows of the log that belong to orders: codes first, then numbers."""

    BAR = 4
    ASSET = 5
    REASONS = 6
    WEIGHT = 4
    QUANTITY = 5
    FILLED = 6
    LIMITED_WEIGHT = 7
    """The weight after `max_weight` and `max_gross`; with order rules only."""
    EQUITY = 8
    """Equity that sized the order, NaN until then; with order rules only."""
    PRICE = 9
    """Price that sized the order, as `EQUITY`."""
