"""`run_backtest`: validate, align, resolve weights, run the loop, return a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Unpack, get_args

import numpy as np
import polars as pl

from barloop.actions import ActionRows, action_rows
from barloop.annualisation import infer_bars_per_year
from barloop.checks import refuse_meaningless, require_choice
from barloop.config import BacktestConfig, ConfigFields, resolve
from barloop.context import AlignedContext, Context, align
from barloop.extras import extras_of, require_columns
from barloop.lookup import empty_range
from barloop.panel import Panel
from barloop.result import BacktestResult, result_of
from barloop.schedule import Schedule, rebalance_mask
from barloop.simulation import Simulation, Stage
from barloop.typing import FrameLike, WeightsFn
from barloop.weights import resolve_weights

Keep = Literal["metrics", "equity", "full"]


def run_backtest(
    df: FrameLike,
    weights_fn: WeightsFn,
    *,
    config: BacktestConfig | None = None,
    params: Mapping[str, Any] | None = None,
    context: FrameLike | Context | None = None,
    actions: FrameLike | None = None,
    start: Any = None,
    end: Any = None,
    keep: Keep = "full",
    **fields: Unpack[ConfigFields],
) -> BacktestResult:
    """Run one backtest.

    Parameters
    ----------
    df : DataFrame, LazyFrame, pandas DataFrame, Arrow stream object or Panel
        Long: one row per timestamp and asset, in any order, with `close`; with `open`
        for the default fill.  Other numeric columns are features.  Not modified.
    weights_fn : str, Expr, DataFrame or callable
        Target weights, signed fractions of equity:

        - a column name, or an expression evaluated on the rows sorted by timestamp
          and asset;
        - a frame of (timestamp, asset, weight);
        - a function whose first parameter is named ``bar``, called at each rebalance
          as ``f(bar, **params)``, see `Bar`: it returns None, a mapping of asset to
          weight, ``partial({...})``, an array or a Series of ``(n_assets,)``;
        - any other function, called once as ``f(**params)``, returning one of the
          first two.
    config : BacktestConfig, optional
        Settings; the defaults when None.
    params : mapping, optional
        Keyword arguments of a function.
    context : frame or Context, optional
        Market-wide columns by timestamp, seen as ``bar.context.<name>``.
    actions : DataFrame, LazyFrame, pandas DataFrame or Arrow stream object, optional
        One row per event, with the time column and the asset column of the data,
        ``kind`` and ``value``.  Of an asset, before the fills of the bar: ``"split"``
        (new units for one), ``"dividend"`` (currency per unit, after a split of the
        same bar), ``"delisting"`` (return on the last close, -1 for nothing; null: as
        `MissingData` says).  Of the account, without an asset: ``"deposit"``,
        ``"withdrawal"`` (currency).  An event between two bars belongs to the later
        one.  Prices must not be adjusted for what stands here.
    start, end : date, datetime, str or int, optional
        First and last bar of the run, both included.  Bars before `start` are history.
    keep : {"full", "equity", "metrics"}, default "full"
        What the result stores: everything, the equity curve, or the metrics.
    **fields
        Members of `BacktestConfig` that replace those of `config`.

    Returns
    -------
    BacktestResult
        Equity, fills, orders, positions, metrics and the rest, built when asked for.

    Raises
    ------
    SchemaError, PanelError
        If the frame, the context or the actions cannot be used.
    WeightsError
        If a weight is not valid; names the bar, the asset and the value.
    ConfigError
        If a setting is unknown or has no meaning.

    Notes
    -----
    Weights decided at the close of bar t see data up to t and fill at the open of bar
    t + 1 (``fill="next_open"``).  The rules of a bar stand in ``docs/semantics.md``.

    Examples
    --------
    >>> import polars as pl
    >>> from datetime import date
    >>> df = pl.DataFrame({
    ...     "date": [date(2024, 1, 2), date(2024, 1, 3)],
    ...     "symbol": ["A", "A"],
    ...     "open": [10.0, 10.0],
    ...     "close": [10.0, 11.0],
    ...     "weight": [1.0, 1.0],
    ... })
    >>> run_backtest(df, "weight", initial_cash=1_000.0).final_equity
    1100.0
    """
    require_choice("keep", keep, get_args(Keep))
    simulation = prepare(
        df,
        weights_fn,
        config=resolve(config, fields),
        params=params,
        context=context,
        actions=actions,
        start=start,
        end=end,
    )
    simulation.reset(keep_log=keep == "full")
    simulation.run()
    return result_of(simulation, keep)


def prepare(
    df: FrameLike | Panel,
    weights_fn: WeightsFn,
    *,
    config: BacktestConfig,
    params: Mapping[str, Any] | None = None,
    context: FrameLike | Context | None = None,
    actions: FrameLike | None = None,
    start: Any = None,
    end: Any = None,
    full: bool = False,
) -> Simulation:
    """Check everything and return a run that is ready to start.

    Parameters
    ----------
    df, weights_fn, config, params, context, actions, start, end
        See `run_backtest`.
    full : bool, default False
        Run the full loop even if the lean one would do, with the same result.

    Returns
    -------
    Simulation
        At its first bar.
    """
    panel = df if isinstance(df, Panel) else Panel.from_frame(df)
    stage = stage_of(
        panel,
        config,
        context=context,
        actions=actions,
        start=start,
        end=end,
        full=full,
    )
    weights = resolve_weights(weights_fn, stage.panel, params, stage.is_rebalance)
    return Simulation(stage, weights)


def run_panel(
    df: FrameLike | Panel, start: Any = None, end: Any = None
) -> tuple[Panel, int]:
    """Return the data up to the last bar of a run, and its first bar.

    Parameters
    ----------
    df : frame or Panel
        The data.
    start, end : date, datetime, str or int, optional
        First and last bar of the run.

    Returns
    -------
    (Panel, int)
        The first bar is a row of the panel.

    Raises
    ------
    PanelError
        If there is no bar between.
    """
    panel = df if isinstance(df, Panel) else Panel.from_frame(df)
    first_bar, stop_bar = panel.bar_range(start, end)
    if first_bar >= stop_bar:
        raise empty_range(panel.timestamps, start, end)
    if stop_bar < panel.n_bars:
        panel = panel.truncate(stop_bar)
    return panel, first_bar


def stage_of(
    panel: Panel,
    config: BacktestConfig,
    *,
    context: FrameLike | Context | None = None,
    actions: FrameLike | ActionRows | None = None,
    start: Any = None,
    end: Any = None,
    full: bool = False,
    usual_bars_per_year: float | None = None,
) -> Stage:
    """Check settings against the data: everything of a run but its weights.

    Parameters
    ----------
    panel : Panel
        The data.
    config, context, actions, start, end, full
        See `prepare`.
    usual_bars_per_year : float, optional
        Where the settings have none; inferred from the timestamps when None.

    Returns
    -------
    Stage
        May serve any number of runs.
    """
    panel, first_bar = run_panel(panel, start, end)
    require_columns(panel, config)
    aligned: AlignedContext | None = None
    if isinstance(context, AlignedContext):
        aligned = context
    elif context is not None:
        aligned = align(context, panel.timestamps, panel.timestamp_name)
    bars_per_year = config.bars_per_year or usual_bars_per_year
    if bars_per_year is None:
        run = panel.timestamps.slice(first_bar)
        bars_per_year = float(infer_bars_per_year(run))
    # A listed timestamp may lie behind `end`; a period ends by what is known before.
    listed = not isinstance(config.schedule, (str, int, Schedule, pl.Expr))
    timestamps = panel.all_timestamps if listed else panel.timestamps
    mask = rebalance_mask(config.schedule, timestamps, aligned, first_bar)
    silent = config.missing_data.delist_after_bars
    if config.missing_data.delisted != "hold" and actions is None and silent is None:
        refuse_meaningless(
            f"missing_data.delisted={config.missing_data.delisted!r}",
            "without actions and without delist_after_bars",
            "pass actions=, or say after how many bars without data",
        )
    rows: ActionRows | None = None
    if isinstance(actions, ActionRows):
        rows = actions
    elif actions is not None:
        rows = action_rows(actions, panel, first_bar)
    return Stage(
        panel=panel,
        config=config,
        context=aligned,
        is_rebalance=np.ascontiguousarray(mask[: panel.n_bars], dtype=np.bool_),
        first_bar=first_bar,
        bars_per_year=bars_per_year,
        extras=extras_of(panel, config, rows, first_bar, bars_per_year, full=full),
        actions=rows,
    )
