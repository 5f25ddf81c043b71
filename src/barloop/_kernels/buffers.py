"""Arrays that the loop reads and writes, and how they are allocated.

The caller allocates, the loop writes.  Fields of one kind are the rows of one block,
named by an IntEnum, because a call into compiled code costs time per argument.  Indices
are unsigned, because a signed one is tested for "from the end" at every use.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from barloop.enums import (
    AssetField,
    BarField,
    Counter,
    OrderField,
)
from barloop.typing import (
    ByteVector,
    CodeBlock,
    FloatBlock,
    FloatPanel,
    FloatVector,
    IndexBlock,
    IndexVector,
    IntBlock,
    IntVector,
)

N_LOG_CODES = OrderField.REASONS + 1
N_LOG_VALUES = OrderField.PRICE + 1

HELD = 0
"""Row of `Book.lists`: indices of the held assets, ascending."""
WAITING = 1
"""Row of `Book.lists`: assets of the waiting orders, ascending."""
SCRATCH = 2
COVERS = 3
BUYS = 4
N_LISTS = 5

WAITING_ORDER = 0
"""Row of `Book.codes`: place of each waiting order in the order log, -1 without log."""
SCRATCH_ORDER = 1
RANKS = 2
LAST_SEEN = 3
"""Row of `Book.codes`, by asset: last bar that `LAST_CLOSE` takes into account."""
EXIT_BAR = 4
"""Row of `Book.codes`, by asset: bar of the last exit while it may block, else -1."""
REFUSED_AT = 5
"""Row of `Book.codes`, by asset: the complete decision up to which it is blocked."""
USED_BAR = 6
"""Row of `Book.codes`, by asset: the bar to which the row USED_VOLUME belongs."""
N_CODES = 7

WAITING_QUANTITY = len(AssetField)
"""Row of `Book.floats`: signed units still wanted, beside `WAITING`."""
SCRATCH_QUANTITY = WAITING_QUANTITY + 1
FINAL_QUANTITY = WAITING_QUANTITY + 2
WAITING_WEIGHT = WAITING_QUANTITY + 3
"""Row of `Book.floats`: limited weights beside `WAITING`, to be sized at the fill."""
SCRATCH_WEIGHT = WAITING_QUANTITY + 4
EXTREME = WAITING_QUANTITY + 5
"""Row of `Book.floats`, by asset: what its trailing stop follows."""
ATR = WAITING_QUANTITY + 6
"""Row of `Book.floats`, by asset: `atr` when the position was opened, NaN if none."""
USED_VOLUME = WAITING_QUANTITY + 7
"""Row of `Book.floats`, by asset: units that orders filled on the bar USED_BAR."""
N_FLOATS = WAITING_QUANTITY + 8

CASH = 0
"""Element of `Book.money`: currency."""
PEAK = 1
"""Element of `Book.money`: highest equity so far, moved by deposits."""
N_MONEY = 2


class Market(NamedTuple):
    """What the loop may see of the world, all (n_bars, n_assets)."""

    open: FloatPanel  # currency per unit, NaN where there is none
    close: FloatPanel  # currency per unit, NaN where there is no bar


class Costs(NamedTuple):
    """What fills cost, each (n_bars, n_assets), or (1, n_assets) where constant.

    Complete: where an asset has no bar the last value holds.
    """

    commission_rate: FloatPanel  # fraction of the slipped notional
    per_share: FloatPanel  # currency per unit
    per_order: FloatPanel  # currency per fill
    minimum: FloatPanel  # currency per fill
    maximum: FloatPanel  # currency per fill, infinite when there is none
    slippage_rate: FloatPanel  # fraction of the base price: bps and half spread
    volatility: FloatPanel  # fraction, of the square-root impact


class OrderRules(NamedTuple):
    """What every option of sizing, cash and costs needs beyond the lean loop."""

    high: FloatPanel  # (n_bars, n_assets) currency per unit, NaN where null
    low: FloatPanel  # (n_bars, n_assets) currency per unit, NaN where null
    volume: FloatPanel  # (n_bars, n_assets) units, NaN where null
    costs: Costs


class ExitRules(NamedTuple):
    """What exits, maintenance margin and maximum drawdown need."""

    high: FloatPanel  # (n_bars, n_assets) currency per unit, NaN where null
    low: FloatPanel  # (n_bars, n_assets) currency per unit, NaN where null
    atr: FloatPanel  # (n_bars, n_assets) currency per unit, NaN where null


class CarryRules(NamedTuple):
    """Financing; corporate actions and deposits in the order in which they apply."""

    borrow_rate: FloatPanel  # as `Costs`: fraction of the short value per bar
    start: IntVector  # (n_bars + 1,) first action of each bar
    kind: ByteVector  # (n_actions,) ActionKind codes
    asset: IntVector  # (n_actions,) column of the panel, -1 for the account
    value: FloatVector  # (n_actions,) ratio, currency per unit, return, currency


class Extras(NamedTuple):
    """What only some runs need, in groups; None where a group is not needed.

    Numba drops a branch on ``group is not None`` when that argument is None, so one
    source gives the lean loop and the others, and what is off is not in the machine
    code.  Panels that are not needed are (1, 1) and are not read.
    """

    orders: OrderRules | None
    exits: ExitRules | None
    carry: CarryRules | None


class Decisions(NamedTuple):
    """Sparse decisions: row r names ``asset[start[r]:start[r + 1]]``, ascending."""

    kind: ByteVector  # (n_bars,) Decision codes; when asking, nonzero where to ask
    start: IntVector  # (n_rows + 1,) first pair of each row
    asset: IndexVector  # (n_pairs,) column of the panel
    weight: FloatVector  # (n_pairs,) signed fraction of equity


class Book(NamedTuple):
    """The state of the account.  Positions and cash exist here and nowhere else."""

    floats: FloatBlock  # (N_FLOATS, n_assets), AssetField and the row names above
    lists: IndexBlock  # (N_LISTS, n_assets), see the row names above
    codes: IntBlock  # (N_CODES, n_assets), see the row names above
    money: FloatVector  # (N_MONEY,) currency: CASH, PEAK
    counters: IntVector  # (Counter,)


class Log(NamedTuple):
    """Fills and orders in the order in which they happened; width 0 turns it off.

    Fills and orders share the blocks and count their rows apart, see `FillField` and
    `OrderField`.
    """

    codes: CodeBlock  # (N_LOG_CODES, capacity)
    values: FloatBlock  # (N_LOG_VALUES, capacity)


def new_book(n_assets: int, initial_cash: float, first_bar: int) -> Book:
    """Allocate an account that holds cash only.

    Parameters
    ----------
    n_assets : int
        Columns of the panel.
    initial_cash : float
        Currency.
    first_bar : int
        The bar at which the loop starts.

    Returns
    -------
    Book
        Zero positions, unknown last closes, nothing waiting.
    """
    book = Book(
        np.empty((N_FLOATS, n_assets)),
        np.empty((N_LISTS, n_assets), dtype=np.uint32),
        np.empty((N_CODES, n_assets), dtype=np.int64),
        np.empty(N_MONEY),
        np.empty(len(Counter), dtype=np.int64),
    )
    clear_book(book, initial_cash, first_bar)
    return book


def clear_book(book: Book, initial_cash: float, first_bar: int) -> None:
    """Make an account hold cash only.

    Parameters
    ----------
    book : Book
        Written in place.
    initial_cash : float
        Currency.
    first_bar : int
        The bar at which the loop starts.
    """
    book.floats[:] = 0.0
    book.floats[AssetField.LAST_CLOSE] = np.nan
    book.floats[AssetField.ENTRY_PRICE] = np.nan
    book.floats[AssetField.ENTRY_BAR] = -1.0
    book.lists[:] = 0
    book.codes[:] = 0
    book.codes[LAST_SEEN] = book.codes[EXIT_BAR] = book.codes[USED_BAR] = -1
    book.money[:] = float(initial_cash)
    book.counters[:] = 0
    book.counters[Counter.BAR] = first_bar
    book.counters[Counter.ANSWER] = -1
    book.counters[Counter.RUINED_AT] = book.counters[Counter.STOPPED_AT] = -1


def new_bars(n_bars: int) -> FloatBlock:
    """Allocate the per-bar outputs, (BarField, n_bars).

    Parameters
    ----------
    n_bars : int
        Bars of the panel.

    Returns
    -------
    ndarray of shape (len(BarField), n_bars)
        Zeros; the loop writes each bar that it runs.
    """
    return np.zeros((len(BarField), n_bars))


def new_log(n_rows: int) -> Log:
    """Allocate a log with room for `n_rows` fills and as many orders.

    Parameters
    ----------
    n_rows : int
        0 turns logging off.

    Returns
    -------
    Log
        Not initialised: untouched pages cost nothing.
    """
    return Log(
        np.empty((N_LOG_CODES, n_rows), dtype=np.int32),
        np.empty((N_LOG_VALUES, n_rows)),
    )


def grow_log(log: Log, counters: IntVector, n_assets: int) -> Log:
    """Return a log of at least twice the room with the same rows.

    Parameters
    ----------
    log : Log
        The full one; not changed.
    counters : ndarray of int64
        The state that says how many rows are in use.
    n_assets : int
        Columns of the panel: a single bar may need a few rows for each of them.

    Returns
    -------
    Log
        The rows in use, copied, and more room.
    """
    used = max(counters[Counter.N_FILLS], counters[Counter.N_ORDERS])
    larger = new_log(2 * log.codes.shape[1] + 4 * n_assets)
    larger.codes[:, :used] = log.codes[:, :used]
    larger.values[:, :used] = log.values[:, :used]
    return larger
