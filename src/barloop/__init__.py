"""A vectorized columnar portfolio backtester: polars in, one loop, polars out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from barloop import datasets, errors
from barloop.bar import Bar
from barloop.combinatorial import combinatorial
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
from barloop.release import VERSION
from barloop.result import BacktestResult
from barloop.schedule import Schedule
from barloop.selection import (
    bottom_n,
    equal_weight,
    inverse_volatility,
    long_short,
    mean,
    momentum,
    rank_weights,
    top_n,
    volatility,
)
from barloop.sweep import sweep
from barloop.walk_forward import walk_forward
from barloop.weights import partial

if TYPE_CHECKING:
    from barloop.lookahead import check_lookahead
    from barloop.search import latin_hypercube, random_search
    from barloop.sets import SetList
    from barloop.spaces import Integers, Uniform
    from barloop.sweep_result import SweepResult

__version__ = VERSION

__all__ = [
    "BacktestConfig",
    "BacktestResult",
    "Bar",
    "Commission",
    "Context",
    "Execution",
    "Exits",
    "Financing",
    "Integers",
    "Limits",
    "MissingData",
    "Panel",
    "Schedule",
    "SetList",
    "Slippage",
    "SweepResult",
    "Uniform",
    "__version__",
    "bottom_n",
    "check_lookahead",
    "combinatorial",
    "datasets",
    "equal_weight",
    "errors",
    "inverse_volatility",
    "latin_hypercube",
    "long_short",
    "mean",
    "momentum",
    "partial",
    "profile",
    "random_search",
    "rank_weights",
    "run_backtest",
    "sweep",
    "top_n",
    "volatility",
    "walk_forward",
]


# Modules that a backtest does not need are imported when they are first asked for.
_LATER = {
    "Integers": "barloop.spaces",
    "SetList": "barloop.sets",
    "SweepResult": "barloop.sweep_result",
    "Uniform": "barloop.spaces",
    "check_lookahead": "barloop.lookahead",
    "latin_hypercube": "barloop.search",
    "random_search": "barloop.search",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        msg = f"module 'barloop' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
