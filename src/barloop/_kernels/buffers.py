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
N_LOG_VALUES = OrderField.FILLED + 1

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
N_CODES = 4

WAITING_QUANTITY = len(AssetField)
"""Row of `Book.floats`: signed units still wanted, beside `WAITING`."""
SCRATCH_QUANTITY = WAITING_QUANTITY + 1
FINAL_QUANTITY = WAITING_QUANTITY + 2
N_FLOATS = WAITING_QUANTITY + 3


class Market(NamedTuple):
    """What the loop may see of the world, all (n_bars, n_assets)."""

    open: FloatPanel  # currency per unit, NaN where there is none
    close: FloatPanel  # currency per unit, NaN where there is no bar


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
    cash: FloatVector  # (1,) currency
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
    floats = np.zeros((N_FLOATS, n_assets))
    floats[AssetField.LAST_CLOSE] = np.nan
    floats[AssetField.ENTRY_PRICE] = np.nan
    floats[AssetField.ENTRY_BAR] = -1.0
    codes = np.zeros((N_CODES, n_assets), dtype=np.int64)
    codes[LAST_SEEN] = -1
    counters = np.zeros(len(Counter), dtype=np.int64)
    counters[Counter.BAR] = first_bar
    counters[Counter.ANSWER] = -1
    counters[Counter.RUINED_AT] = -1
    return Book(
        floats,
        np.zeros((N_LISTS, n_assets), dtype=np.uint32),
        codes,
        np.array([float(initial_cash)]),
        counters,
    )


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
