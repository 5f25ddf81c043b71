"""The oracle's nouns: settings, orders, fills, cash flows, and the account.

`Book` is the only state of a run; `Book.move` and `Book.flow` are the only places that
move cash and positions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

# Numbers of the specification.
INTEGER_SNAP = 1e-6  # a share count this near to an integer is that integer
DUST = 1e-9  # relative size below which a target or an order is nothing
GROSS_SLACK = 1e-9
TURNOVER_SLACK = 1e-9  # relative
MARGIN_SLACK = 1e-9  # relative
SCALED_BELOW = 1 - 1e-9  # a factor below this gives the reason scaled_to_cash
WEIGHT_DUST = 1e-12  # a weight of no more than this on either side of 0 is 0
NOTHING_BELOW = 1e-9  # a factor that is not above this is 0
BINDING_CUT = 1e-12  # taken off a factor that binds, as a share of itself
LOT_SLACK = 1e-12  # share of what was available by which one more lot may exceed it
CASH_SLACK = 1e-12  # share of the cash by which one buy may exceed it
HALVINGS = 100

# How near to a threshold a number is called undecided.
EDGE = 1e-9  # relative, where two different numbers happen to be alike
NOISE = 1e-13  # relative to the money that moved, where a difference should be zero

REASONS = (
    "not_listed",
    "no_bar",
    "blocked_after_exit",
    "max_weight",
    "max_gross",
    "drift_band",
    "rounded",
    "below_min_trade_value",
    "max_drawdown",
    "max_turnover",
    "cancelled_by_margin_call",
    "missing_bar",
    "no_volume",
    "max_participation",
    "scaled_to_cash",
    "partial_cash",
    "rejected_for_cash",
    "cancelled_by_exit",
    "replaced",
    "ruined",
    "delisted",
)

# A number, one for each asset, or the name of a field of the bars.
Cost = float | Mapping[int, float] | str
Bars = Mapping[tuple[int, int], Mapping[str, float | None]]
Decisions = Mapping[int, tuple[str, Mapping[int, float]]]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of a run, as plain values named like their config paths."""

    initial_cash: float = 1_000_000.0
    bars_per_year: float | None = None  # for the rates of the financing
    fill: str = "next_open"  # "next_open" | "next_close" | "same_close"
    size_at: str = "decision"  # "decision" | "fill"
    rounding: str = "fractional"  # "fractional" | "whole_target" | "whole_delta_..."
    lot_size: float = 1.0
    sequence: str = "sells_first"
    cash_rule: str = "scale"  # "scale" | "partial" | "reject" | "allow"
    costs_in_size: str = "none"  # "none" | "per_order" | "portfolio"
    commission_bps: Cost = 0.0
    commission_per_share: Cost = 0.0
    commission_per_order: Cost = 0.0
    commission_minimum: Cost = 0.0
    commission_maximum: Cost | None = None
    slippage_bps: Cost = 0.0
    half_spread: Cost | tuple[str, str] = 0.0  # a pair names the bid and the ask
    volume_impact: float = 0.0
    sqrt_impact: float = 0.0
    volatility: Cost | None = None
    allow_short: bool = False
    max_gross: float = 1.0
    on_excess: str = "raise"  # "raise" | "scale"
    max_borrowing: float = 0.0
    max_weight: float | None = None
    max_participation: float | None = None
    remainder: str = "cancel"  # "cancel" | "pending"
    min_trade_value: float = 0.0
    drift_band: float = 0.0
    max_turnover: float | None = None
    maintenance: float | None = None
    stop_loss: float | None = None
    take_profit: float | None = None
    trailing_stop: float | None = None
    tighten_per_bar: float = 0.0
    trailing_floor: float = 0.0
    atr_stop: tuple[float, str] | None = None
    max_bars_held: int | None = None
    max_drawdown: float | None = None
    on_entry_bar: bool = True
    trail_on: str = "extreme"  # "extreme" | "close"
    reentry: str | int = "after_target_zero"  # or "allowed", or a number of bars
    cash_rate: float = 0.0
    debit_rate: float = 0.0
    borrow_rate: Cost = 0.0
    missing_bar: str = "pending"  # "pending" | "cancel"
    at_decision: str = "use_last"  # "use_last" | "skip"
    delisted: str = "hold"  # "hold" | "cash_out" | "write_off"
    delist_after_bars: int | None = None

    @property
    def whole_shares(self) -> bool:
        return self.rounding != "fractional"

    @property
    def sized_at_fill(self) -> bool:
        return self.size_at == "fill" or self.costs_in_size == "portfolio"

    @property
    def needs_volume(self) -> bool:
        return self.volume_impact > 0 or self.sqrt_impact > 0

    @property
    def uses_range(self) -> bool:
        """Say whether an exit looks at the high and low of a bar."""
        exits = (self.stop_loss, self.take_profit, self.trailing_stop, self.atr_stop)
        return any(value is not None for value in exits)

    @property
    def has_exits(self) -> bool:
        return self.uses_range or self.max_bars_held is not None


@dataclass(frozen=True, kw_only=True)
class Action:
    """A split, dividend, delisting, deposit or withdrawal on the bar where it acts."""

    t: int
    kind: str
    asset: int | None = None
    value: float | None = None


@dataclass(kw_only=True)
class Order:
    """One row of the order ledger."""

    t: int
    asset: int
    target_weight: float
    equity: float
    price: float | None
    position_before: float
    limited_weight: float = 0.0  # the target weight within the limits
    quantity: float = 0.0  # wanted, also when no order was made
    waits: float = 0.0  # what of it still has to fill
    sized: bool = False  # quantity, price and equity are those of its size
    split: bool = False  # its asset, while it waited
    closing: bool = False
    made: bool = False
    waiting: bool = False
    filled: float = 0.0
    cause: str = "order"  # "order" | "max_drawdown"
    reasons: set[str] = field(default_factory=set)

    @property
    def status(self) -> str:
        if self.waiting:
            return "waiting"
        if self.filled == 0.0:
            on_target = self.sized and self.quantity == 0 and not self.reasons
            return "filled" if on_target else "none"
        missing = abs(self.quantity - self.filled)
        return "partial" if missing > DUST * abs(self.quantity) else "filled"

    @property
    def reason(self) -> str:
        return next(iter(self.all_reasons), "none")

    @property
    def all_reasons(self) -> list[str]:
        return [code for code in REASONS if code in self.reasons]


@dataclass(frozen=True, kw_only=True)
class Fill:
    """One execution."""

    t: int
    asset: int
    quantity: float
    price: float
    base_price: float
    commission: float
    reason: str  # "order", or what closed the position without an order
    order: Order | None


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Cash or units that moved without a fill; `asset` None is the account."""

    t: int
    asset: int | None
    kind: str
    amount: float = 0.0  # cash received
    quantity: float = 0.0  # units received


@dataclass(kw_only=True)
class Entry:
    """What a position remembers of its opening."""

    t: int
    price: float  # average, after slippage and before commission
    extreme: float
    atr: float | None
    averaged: bool = False


@dataclass(kw_only=True)
class OracleResult:
    """What a run gives; the lists over bars have one element per bar."""

    equity: list[float] = field(default_factory=list)
    cash: list[float] = field(default_factory=list)
    positions: list[dict[int, float]] = field(default_factory=list)
    last_close: list[dict[int, float]] = field(default_factory=list)
    factors: list[list[float]] = field(default_factory=list)  # each binding f
    fills: list[Fill] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    next_orders: list[Order] = field(default_factory=list)
    decided: list[tuple[int, str, dict[int, float]]] = field(default_factory=list)
    ruined_at: int | None = None
    stopped_at: int | None = None  # by max_drawdown
    null_ranges: int = 0  # held asset-bars whose null high or low was replaced
    no_atr: int = 0  # positions opened where the column of atr_stop was null
    edges: list[str] = field(default_factory=list)

    def deposits(self, t: int) -> float:
        kinds = ("deposit", "withdrawal")
        return sum(f.amount for f in self.flows if f.t == t and f.kind in kinds)


@dataclass(kw_only=True)
class Book:
    """The account: the only state that a run carries from bar to bar."""

    options: Options
    result: OracleResult
    cash: float
    bars: Bars = field(default_factory=dict)
    t: int = 0  # the bar that runs
    at: str = "open"  # the price of it at which things happen: "open" | "close"
    position: dict[int, float] = field(default_factory=dict)  # held assets only
    entry: dict[int, Entry] = field(default_factory=dict)  # of the same
    waiting: dict[int, Order] = field(default_factory=dict)
    last_close: dict[int, float] = field(default_factory=dict)  # listed assets only
    last_bar: dict[int, int] = field(default_factory=dict)
    exited: dict[int, int] = field(default_factory=dict)  # the bar of the exit
    used_volume: dict[int, float] = field(default_factory=dict)  # on this bar
    peak: float = 0.0
    ruined: bool = False
    stopped: bool = False  # by max_drawdown

    def held(self, i: int) -> float:
        return self.position.get(i, 0.0)

    def undecided(self, what: str) -> None:
        self.result.edges.append(f"{self.t}: {what}")

    def undecided_near(self, a: float, b: float, scale: float, what: str) -> None:
        """Note that `a` and `b` are alike but for rounding errors of `scale`."""
        if abs(a - b) <= scale:
            self.undecided(what)

    # ------------------------------------------------------------ the bars

    def has_bar(self, t: int, i: int) -> bool:
        return (t, i) in self.bars and is_price(self.bars[t, i]["close"])

    def number(self, t: int, i: int, name: str) -> float | None:
        """Return a field of a row, None when it is null, NaN or not there."""
        value = self.bars.get((t, i), {}).get(name)
        return value if is_number(value) else None

    # ------------------------------------------------------------ what moves money

    def move(
        self,
        i: int,
        quantity: float,
        price: float,
        *,
        reason: str,
        base: float | None = None,
        commission: float = 0.0,
        order: Order | None = None,
    ) -> None:
        """Book one fill; a quantity of 0 is none."""
        if quantity == 0:
            return
        before = self.held(i)
        after = 0.0 if quantity == -before else before + quantity
        if 0 < abs(after) <= DUST * max(abs(before), abs(quantity)):
            self.undecided("is anything left of the position?")
        self.cash -= quantity * price + commission
        self._set_position(i, before, after, price)
        fill = Fill(
            t=self.t,
            asset=i,
            quantity=quantity,
            price=price,
            base_price=price if base is None else base,
            commission=commission,
            reason=reason,
            order=order,
        )
        self.result.fills.append(fill)

    def _set_position(self, i: int, before: float, after: float, price: float) -> None:
        if after == 0:
            self.position.pop(i, None)
            self.entry.pop(i, None)
            return
        self.position[i] = after
        if before * after <= 0:
            self.entry[i] = Entry(
                t=self.t, price=price, extreme=price, atr=self._atr_of_opening(i)
            )
        elif abs(after) > abs(before):
            entry = self.entry[i]
            added = abs(after) - abs(before)
            entry.price = (abs(before) * entry.price + added * price) / abs(after)
            entry.averaged = True

    def _atr_of_opening(self, i: int) -> float | None:
        if self.options.atr_stop is None:
            return None
        _, column = self.options.atr_stop
        # What is known when the position opens: at the open, the bar before.
        atr = self.number(self.t - (self.at == "open"), i, column)
        self.result.no_atr += atr is None
        return atr

    def flow(self, kind: str, amount: float, i: int | None = None) -> None:
        """Receive cash without a fill."""
        if amount == 0:
            return
        self.cash += amount
        flow = Flow(t=self.t, asset=i, kind=kind, amount=amount)
        self.result.flows.append(flow)

    def split(self, i: int, ratio: float) -> None:
        """Turn each unit into `ratio` new ones, in everything that counts units."""
        if i in self.last_close:
            self.last_close[i] /= ratio
        if i in self.waiting:
            order = self.waiting[i]
            order.waits *= ratio
            order.quantity *= ratio
            order.filled *= ratio
            order.split = True
        if i not in self.position:
            return
        before = self.position[i]
        self.position[i] = before * ratio
        flow = Flow(t=self.t, asset=i, kind="split", quantity=before * (ratio - 1))
        self.result.flows.append(flow)
        entry = self.entry[i]
        entry.price /= ratio
        entry.extreme /= ratio
        entry.averaged = True
        if entry.atr is not None:
            entry.atr /= ratio

    # ------------------------------------------------------------ orders

    def waiting_orders(self) -> list[Order]:
        """Return what waits, in asset order."""
        return [self.waiting[i] for i in sorted(self.waiting)]

    def enter(self, order: Order) -> None:
        """Put an order on the waiting list."""
        order.waiting = True
        self.waiting[order.asset] = order

    def end(self, order: Order, reason: str | None = None) -> None:
        """Take an order off the waiting list."""
        if reason is not None:
            order.reasons.add(reason)
        order.waiting = False
        del self.waiting[order.asset]


def is_number(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def is_price(value: float | None) -> bool:
    return is_number(value) and value > 0


# ---------------------------------------------------------------- values


def equity_of(book: Book) -> float:
    values = [book.position[i] * book.last_close[i] for i in sorted(book.position)]
    return book.cash + sum(values)


def gross_of(book: Book) -> float:
    return sum(
        abs(book.position[i]) * book.last_close[i] for i in sorted(book.position)
    )


def size_of(book: Book) -> float:
    """Return the money in the account, however it is signed."""
    return abs(book.cash) + gross_of(book)


def equity_at(book: Book, prices: Mapping[int, float]) -> float:
    """Value the book at this step's fill prices, else at the last known closes."""
    value = book.cash
    for i in sorted(book.position):
        value += book.position[i] * prices.get(i, book.last_close[i])
    return value


# ---------------------------------------------------------------- lots


def nearest_integer(book: Book, lots: float) -> int | None:
    """Return the integer that `lots` is, None when it is none."""
    nearest = round(lots)
    distance = abs(lots - nearest)
    if abs(distance - INTEGER_SNAP) <= EDGE + 1e-14 * abs(lots):
        book.undecided("is it an integer?")
    return nearest if distance <= INTEGER_SNAP else None


def cut_to_lots(book: Book, quantity: float) -> tuple[float, bool]:
    """Cut toward zero to whole lots; return them and whether that took something."""
    lot_size = book.options.lot_size
    nearest = nearest_integer(book, quantity / lot_size)
    if nearest is not None:
        return nearest * lot_size, False
    return math.trunc(quantity / lot_size) * lot_size, True


def raised_to_lots(book: Book, quantity: float) -> float:
    """Raise a positive quantity to whole lots."""
    lot_size = book.options.lot_size
    nearest = nearest_integer(book, quantity / lot_size)
    lots = math.ceil(quantity / lot_size) if nearest is None else nearest
    return lots * lot_size
