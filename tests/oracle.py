"""A slow backtester in plain Python, written from ``docs/semantics.md`` alone.

It shares no code with the library and imports nothing from it.  Bars are numbered
``t = 0, 1, ...``, assets ``i = 0, 1, ...`` in the sorted order of their names.  All
state is one `Book`, and only its methods move cash and positions.

Some rules have a threshold: a floor, a minimum, the sign of the equity.  When a number
lies so near to one that the order of additions alone may decide, the oracle notes it in
`OracleResult.edges`: another correct implementation may then differ.

This file is the loop and the decisions; ``oracle_book`` has the nouns, and
``oracle_costs``, ``oracle_sizing``, ``oracle_fills`` and ``oracle_carry`` the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oracle_book import (
    WEIGHT_DUST,
    Action,
    Bars,
    Book,
    Decisions,
    Entry,
    Fill,
    Flow,
    Options,
    OracleResult,
    Order,
    equity_of,
    is_price,
)
from oracle_carry import carry, mark, run_exits
from oracle_costs import Terms
from oracle_fills import Buy, cash_factor, cost_of, fill_waiting
from oracle_sizing import check_weights, limit_weights, size_orders

__all__ = [
    "Action",
    "Bars",
    "Book",
    "Buy",
    "Entry",
    "Fill",
    "Flow",
    "Options",
    "OracleResult",
    "Order",
    "Terms",
    "cash_factor",
    "cost_of",
    "run_oracle",
]


def run_oracle(
    n_bars: int,
    n_assets: int,
    bars: Bars,
    decisions: Decisions,
    options: Options,
    start: int = 0,
    actions: Sequence[Action] = (),
) -> OracleResult:
    """Run the bars ``start .. n_bars - 1``; earlier ones only set the last closes.

    `bars` maps (t, i) to ``{"open": ..., "close": ...}`` and whatever other fields the
    options name; no key, or a close that is None or NaN, is no bar.  `decisions` maps t
    to a pair of ``"complete"`` or ``"partial"`` and the weights by asset.  `actions`
    stand on the bars on which they act.
    The lists over bars of the result begin at `start`.
    """
    result = OracleResult()
    book = Book(
        options=options,
        result=result,
        cash=options.initial_cash,
        peak=options.initial_cash,
        bars=bars,
    )
    acting: dict[int, list[Action]] = {}
    for action in actions:
        acting.setdefault(action.t, []).append(action)
    for t in range(n_bars):
        book.t = t
        opens, closes = prices_of_bar(t, n_assets, bars)
        if t < start:
            for action in acting.get(t, ()):
                if action.kind == "split":
                    book.split(action.asset, action.value)
            see_closes(book, closes)
            continue
        result.factors.append([])
        carry(book, acting.get(t, []), is_first_bar=t == start)
        run_bar(book, opens, closes, decisions.get(t))
        result.cash.append(book.cash)
        result.equity.append(equity_of(book))
        result.positions.append(dict(sorted(book.position.items())))
        result.last_close.append(dict(book.last_close))
    result.next_orders = book.waiting_orders()
    return result


def run_bar(
    book: Book,
    opens: Mapping[int, float],
    closes: Mapping[int, float],
    decision: tuple[str, Mapping[int, float]] | None,
) -> None:
    """Go through the steps of one bar after the carry."""
    fill = book.options.fill
    book.at, book.used_volume = "open", {}
    # The last known closes are still those of the bar before: at the open nobody knows
    # the close of this bar.
    if fill == "next_open":
        fill_waiting(book, opens)
    run_exits(book)
    book.at = "close"
    see_closes(book, closes)
    if fill in ("next_close", "same_close"):
        fill_waiting(book, closes)
    mark(book, closes, tests=True)
    decides = decision is not None and not book.ruined and not book.stopped
    if decides:
        decide(book, closes, *decision)
    just_stopped = book.result.stopped_at == book.t
    if fill == "same_close" and (decides or just_stopped) and not book.ruined:
        # Older orders of which a remainder waits take part again.
        fill_waiting(book, closes)
        mark(book, closes, tests=False)


def prices_of_bar(
    t: int, n_assets: int, bars: Bars
) -> tuple[dict[int, float], dict[int, float]]:
    """Return the opens and closes by asset; a row without a close counts as none."""
    opens, closes = {}, {}
    for i in range(n_assets):
        bar = bars.get((t, i))
        if bar is None or not is_price(bar["close"]):
            continue
        closes[i] = bar["close"]
        if is_price(bar.get("open")):
            opens[i] = bar["open"]
    return opens, closes


def see_closes(book: Book, closes: Mapping[int, float]) -> None:
    book.last_close.update(closes)
    for i in closes:
        book.last_bar[i] = book.t


# ---------------------------------------------------------------- decisions


def decide(
    book: Book,
    closes: Mapping[int, float],
    kind: str,
    weights: Mapping[int, float],
) -> None:
    """Turn target weights into waiting orders."""
    weights = {i: 0.0 if abs(w) <= WEIGHT_DUST else w for i, w in weights.items()}
    check_weights(weights, book.options)
    book.result.decided.append((book.t, kind, dict(weights)))
    equity = equity_of(book)
    limited = limit_weights(weights, book.options)
    if kind == "complete":
        replaced = list(book.waiting)
        names = set(weights) | set(book.position)
        unblocked = [i for i in book.exited if weights.get(i, 0.0) == 0]
    else:
        replaced = [i for i in book.waiting if i in weights]
        names = set(weights)
        unblocked = [i for i in book.exited if weights.get(i) == 0]
    for i in sorted(replaced):
        book.end(book.waiting[i], "replaced")
    if book.options.reentry == "after_target_zero":
        for i in unblocked:
            del book.exited[i]
    rows = []
    for i in sorted(names):
        weight, reasons = limited.get(i, (0.0, set()))
        if weight == 0 and book.held(i) == 0:
            continue  # neither a target nor a position
        order = Order(
            t=book.t,
            asset=i,
            target_weight=weights.get(i, 0.0),
            limited_weight=weight,
            equity=equity,
            price=book.last_close.get(i),
            position_before=book.held(i),
            reasons=set(reasons),
        )
        rows.append(order)
        order.reasons |= why_not(book, order, has_bar=i in closes)
        order.made = not order.reasons & STOPS
    made = [order for order in rows if order.made]
    if not book.options.sized_at_fill:
        size_orders(book, made, book.last_close, equity)
        rows = [order for order in rows if belongs_in_the_ledger(order)]
    for order in rows:
        book.result.orders.append(order)
        if order.made:
            book.enter(order)


STOPS = {"blocked_after_exit", "not_listed", "no_bar"}


def why_not(book: Book, order: Order, *, has_bar: bool) -> set[str]:
    """Return why an order cannot be made at all, if so."""
    if order.limited_weight != 0 and is_blocked(book, order.asset):
        # The weight is not looked at any further.
        order.reasons.clear()
        return {"blocked_after_exit"}
    if order.price is None:
        return {"not_listed"}
    if not has_bar and book.options.at_decision == "skip":
        return {"no_bar"}
    return set()


def is_blocked(book: Book, i: int) -> bool:
    """Say whether an exit keeps the asset from being bought or shorted again."""
    reentry = book.options.reentry
    if i not in book.exited or reentry == "allowed":
        return False
    return reentry == "after_target_zero" or book.t < book.exited[i] + reentry


def belongs_in_the_ledger(order: Order) -> bool:
    """Say whether a sized name has a row: an order, or one that was stopped."""
    stopped = order.reasons & (STOPS | {"drift_band", "below_min_trade_value"})
    if order.made or stopped or "max_turnover" in order.reasons:
        return True
    return "rounded" in order.reasons and order.position_before == 0
