"""`walk_forward`: choose parameters on the past, try them on what comes after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Unpack, get_args

from barloop.checks import require_choice
from barloop.config import BacktestConfig, ConfigFields
from barloop.context import Context
from barloop.typing import FrameLike, WeightsFn

if TYPE_CHECKING:
    from barloop.folds import Window
    from barloop.sweep_result import SweepResult
    from barloop.walk_forward_result import WalkForwardResult

Between = Literal["carry", "close"]
Select: TypeAlias = "str | Callable[[SweepResult], int]"


def walk_forward(
    df: FrameLike,
    weights_fn: WeightsFn,
    grid: Any,
    *,
    train: Window,
    test: Window,
    step: Window | None = None,
    anchored: bool = False,
    purge: int = 0,
    embargo: int = 0,
    select: Select = "sharpe",
    minimize: bool | None = None,
    between: Between = "carry",
    executor: Any = None,
    n_workers: int | None = None,
    progress: bool = True,
    config: BacktestConfig | None = None,
    params: Mapping[str, Any] | None = None,
    context: FrameLike | Context | None = None,
    actions: FrameLike | None = None,
    start: Any = None,
    end: Any = None,
    **fields: Unpack[ConfigFields],
) -> WalkForwardResult:
    """Choose parameters on each training window and trade the window after it.

    Parameters
    ----------
    df, weights_fn, grid, executor, n_workers, progress
        See `sweep`.
    train, test : int or str
        Lengths of the windows, in bars or as durations (``"5y"``, ``"6mo"``, ``"12w"``,
        ``"30d"``).
    step : int or str, optional
        From the start of one test to the next; `test` when None.  What was chosen stays
        in force on bars between two tests.
    anchored : bool, default False
        Every training window starts with the first bar, and so grows; else all have
        the length of `train`.
    purge, embargo : int, default 0
        Bars dropped between training and test.
    select : str or callable, default "sharpe"
        The measure whose best set is taken; or a function of the `SweepResult` of a
        training window that returns the number of a set.
    minimize : bool, optional
        As in `SweepResult.best`.
    between : {"carry", "close"}, default "carry"
        ``"carry"``: positions and waiting orders go on into the next test, whose first
        decision changes them.  ``"close"``: the last bar of each test but the last one
        decides to close everything.
    config, params, context, actions, start, end, **fields
        See `run_backtest`.

    Returns
    -------
    WalkForwardResult
        One out-of-sample run over all tests, and what was chosen for each.

    Raises
    ------
    ConfigError
        If a window does not fit the data, or the grid changes what one account cannot
        change on its way.
    SimulationError
        If every set fails on a training window.

    Notes
    -----
    The tests are one run of one account: positions, cash, entry prices and ages go
    from one test to the next, and nothing is paid at a seam that a decision does not
    order.  Training windows are runs of their own that start with the initial cash;
    they see no bar of their test.  Bars before a window are history to a callback.

    See Also
    --------
    barloop.combinatorial : Many paths from the runs of one sweep.
    """
    # Here, because `import barloop` is to stay light.
    from barloop.sweep_job import job_of
    from barloop.walk_forward_run import run_folds

    require_choice("between", between, get_args(Between))
    job, sets = job_of(
        df,
        weights_fn,
        grid,
        config=config,
        params=params,
        context=context,
        actions=actions,
        start=start,
        end=end,
        fields=fields,
    )
    return run_folds(
        job,
        sets,
        windows={
            "train": train,
            "test": test,
            "step": step,
            "anchored": anchored,
            "purge": purge,
            "embargo": embargo,
        },
        select=select,
        minimize=minimize,
        between=between,
        executor=executor,
        n_workers=n_workers,
        progress=progress,
    )
