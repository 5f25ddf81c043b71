"""A vectorized columnar portfolio backtester: polars in, one loop, polars out."""

from barloop import datasets, errors
from barloop.bar import Bar
from barloop.config import BacktestConfig
from barloop.context import Context
from barloop.costs import Commission, Slippage
from barloop.engine import run_backtest
from barloop.execution import Execution, MissingData
from barloop.exits import Exits
from barloop.financing import Financing
from barloop.limits import Limits
from barloop.panel import Panel
from barloop.profiles import profile
from barloop.result import BacktestResult
from barloop.schedule import Schedule
from barloop.selection import equal_weight, top_n
from barloop.weights import partial

__version__ = "0.1.0"

__all__ = [
    "BacktestConfig",
    "BacktestResult",
    "Bar",
    "Commission",
    "Context",
    "Execution",
    "Exits",
    "Financing",
    "Limits",
    "MissingData",
    "Panel",
    "Schedule",
    "Slippage",
    "__version__",
    "datasets",
    "equal_weight",
    "errors",
    "partial",
    "profile",
    "run_backtest",
    "top_n",
]
