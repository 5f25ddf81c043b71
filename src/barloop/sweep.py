"""`sweep`: thousands of backtests over one prepared panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack, get_args

from barloop.checks import require_choice
from barloop.config import BacktestConfig, ConfigFields
from barloop.context import Context
from barloop.typing import FrameLike, WeightsFn

if TYPE_CHECKING:
    from barloop.sweep_result import SweepResult

SweepKeep = Literal["metrics", "equity"]


def sweep(
    df: FrameLike,
    weights_fn: WeightsFn,
    grid: Any,
    *,
    executor: Any = None,
    metrics: Sequence[str] | None = None,
    keep: SweepKeep = "metrics",
    resume: Any = None,
    version: str | None = None,
    progress: bool = True,
    n_workers: int | None = None,
    config: BacktestConfig | None = None,
    params: Mapping[str, Any] | None = None,
    context: FrameLike | Context | None = None,
    actions: FrameLike | None = None,
    start: Any = None,
    end: Any = None,
    **fields: Unpack[ConfigFields],
) -> SweepResult:
    """Run one backtest for each set of parameters.

    Parameters
    ----------
    df : DataFrame, LazyFrame, pandas DataFrame, Arrow stream object or Panel
        The data of all sets, see `run_backtest`; prepared once.
    weights_fn : callable, str, Expr or DataFrame
        See `run_backtest`.  Compiled callbacks and expression factories are fast; a
        factory made of `momentum`, `top_n`, `equal_weight` and their like shares
        scores and rankings between sets.
    grid : dict of lists, list of dicts, DataFrame or SetList
        The sets.  A dict of lists stands for all combinations, the last key varying
        fastest.  A name is a parameter of `weights_fn`; a dotted name
        (``"commission.bps"``), or a member of `BacktestConfig` that is no parameter
        (``"schedule"``, ``"exits"``), changes the configuration.
    executor : {None, "threads", "processes", "ray"} or distributed.Client
        Where sets run: here, one after the other; in threads, for all but Python
        callbacks; in processes, for these; on ray or dask.  The results are the same,
        bit for bit.
    metrics : sequence of str, optional
        Measures to keep, in this order; all of them when None.
    keep : {"metrics", "equity"}, default "metrics"
        ``"equity"`` also keeps the equity of each bar, ``8 * n_bars`` bytes a set, on
        disk when that is much.
    resume : path, optional
        A folder.  Sets are on disk there as they finish; those that are there already,
        with the same data, function, parameters and configuration, are not run again.
    version : str, optional
        Part of the name under which sets are stored: change it when something changed
        that `barloop.digest.function_digest` does not see.
    progress : bool, default True
        Show a bar with rate and time left, if a person can see it.
    n_workers : int, optional
        Threads or processes; as many as processors by default.
    config, params, context, actions, start, end, **fields
        Of all sets, see `run_backtest`.

    Returns
    -------
    SweepResult
        One row per set in the order of the grid, also where a set failed.

    Raises
    ------
    SchemaError, PanelError
        If the data, the context or the actions cannot be used.
    ConfigError
        If a name of the grid is neither a parameter nor a setting, or a setting that
        all sets share has no meaning.
    WeightsError
        If the parameters do not fit the function, or a compiled callback cannot be
        compiled.

    Notes
    -----
    A set that raises, or is ruined, is a row with its ``error``; the others go on.
    Ctrl-C stops within a second and leaves the finished sets in the folder of `resume`.

    Examples
    --------
    >>> import barloop as bl
    >>> bars = bl.datasets.simulate_bars(20, 60, seed=1)
    >>> def momentum(lookback, n):
    ...     return bl.equal_weight(bl.top_n(bl.momentum("close", lookback), n))
    >>> grid = {"lookback": [5, 10], "n": [3, 5]}
    >>> runs = bl.sweep(bars, momentum, grid, progress=False)
    >>> runs.metrics.select("set", "lookback", "n", "n_rebalances")
    shape: (4, 4)
    ┌─────┬──────────┬─────┬──────────────┐
    │ set ┆ lookback ┆ n   ┆ n_rebalances │
    │ --- ┆ ---      ┆ --- ┆ ---          │
    │ i64 ┆ i64      ┆ i64 ┆ i64          │
    ╞═════╪══════════╪═════╪══════════════╡
    │ 0   ┆ 5        ┆ 3   ┆ 55           │
    │ 1   ┆ 5        ┆ 5   ┆ 55           │
    │ 2   ┆ 10       ┆ 3   ┆ 50           │
    │ 3   ┆ 10       ┆ 5   ┆ 50           │
    └─────┴──────────┴─────┴──────────────┘
    """
    # Here, because `import barloop` is to stay light.
    from barloop.sweep_job import job_of
    from barloop.sweep_run import run_sets

    require_choice("keep", keep, get_args(SweepKeep))
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
    return run_sets(
        job,
        sets,
        executor=executor,
        metrics=metrics,
        keeps_equity=keep == "equity",
        resume=resume,
        version=version,
        progress=progress,
        n_workers=n_workers,
    )
