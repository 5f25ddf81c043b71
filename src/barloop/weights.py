"""The forms of weights: a column, an expression, a frame, a callback or a factory."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from barloop.errors import PanelError, SchemaError, WeightsError, suggestion
from barloop.panel import Panel
from barloop.ranking import weight_rows
from barloop.recipes import recipe_of
from barloop.schema import (
    are,
    find_asset_column,
    find_time_column,
    listed,
    n_rows,
    show,
    to_frame,
)
from barloop.typing import BoolVector, FloatPanel, IntVector, WeightsCallback
from barloop.weight_rows import WeightRows
from barloop.work_memory import SharedWork

WEIGHT_NAMES = ("weight", "target_weight", "weights")

CALLBACK_HINT = (
    "Hint: name its first parameter 'bar' to have it called at each rebalance."
)


class Partial(Mapping[Any, float]):
    """A decision about some names only, see `partial`."""

    __slots__ = ("_weights",)

    def __init__(self, weights: Mapping[Any, float]) -> None:
        if not isinstance(weights, Mapping):
            msg = f"partial takes a mapping of asset to weight, got {weights!r}."
            raise WeightsError(msg)
        self._weights = dict(weights)

    def __getitem__(self, asset: Any) -> float:
        return self._weights[asset]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    def __repr__(self) -> str:
        return f"partial({self._weights!r})"


def partial(weights: Mapping[Any, float]) -> Partial:
    """Decide only the names given; positions and orders of the others stay.

    Parameters
    ----------
    weights : mapping of asset to weight
        Signed fractions of equity; 0 closes the position.

    Returns
    -------
    Partial
        For a Python callback to return.

    Examples
    --------
    >>> partial({"AAPL": 0.1, "MSFT": 0.0})
    partial({'AAPL': 0.1, 'MSFT': 0.0})
    """
    return Partial(weights)


@dataclass(frozen=True, slots=True)
class JittedWeights:
    """A compiled callback and its parameters, before it meets the data."""

    function: Any
    """``f(bar, params, weights_out) -> bool``, jitted by the user."""
    params: Mapping[str, Any]
    kinds: Mapping[str, str] | None = None
    """Kind of each parameter over all sets of a sweep, see `compiled.kind_of`."""
    make: Callable[..., Any] | None = None
    """Makes the `CompiledCallback`, where several runs share one."""


def resolve_weights(
    weights_fn: Any,
    panel: Panel,
    params: Mapping[str, Any] | None,
    is_rebalance: BoolVector | None = None,
    work: SharedWork | None = None,
) -> WeightRows | WeightsCallback | JittedWeights:
    """Tell the forms of weights apart and bring columnar ones into rows.

    Parameters
    ----------
    weights_fn : str, Expr, DataFrame or callable
        See `run_backtest`.
    panel : Panel
        The data the weights refer to.
    params : mapping, optional
        Keyword arguments of a callback or factory.
    is_rebalance : ndarray of bool, shape (n_bars,), optional
        The schedule: only its bars are needed; all bars when None.
    work : SharedWork, optional
        Of the same panel; keeps what other sets of a sweep need too.

    Returns
    -------
    WeightRows, callable or JittedWeights
        Columnar weights, a callback ``f(bar)`` with the parameters bound, or a compiled
        callback.

    Raises
    ------
    WeightsError
        If the form is unknown or does not fit the panel.
    """
    given = check_weights(weights_fn, params)
    if is_rebalance is None:
        is_rebalance = np.ones(panel.n_bars, dtype=np.bool_)
    if _is_columnar(weights_fn):
        return _columnar_rows(weights_fn, panel, is_rebalance, work)
    if is_jitted(weights_fn):
        return JittedWeights(weights_fn, given)
    if is_factory(weights_fn):
        return factory_rows(weights_fn, panel, given, is_rebalance, work)
    return lambda bar: weights_fn(bar, **given)


def is_factory(weights_fn: Any) -> bool:
    """Tell whether weights are a function that makes columnar weights.

    Parameters
    ----------
    weights_fn : object
        Weights that `check_weights` let pass.

    Returns
    -------
    bool
        False for a callback.
    """
    if _is_columnar(weights_fn) or is_jitted(weights_fn):
        return False
    parameters = _parameters(weights_fn)
    return not parameters or parameters[0].name != "bar"


def factory_rows(
    weights_fn: Any,
    panel: Panel,
    given: Mapping[str, Any],
    is_rebalance: BoolVector,
    work: SharedWork | None,
) -> WeightRows:
    """Call a factory and bring what it makes into rows.

    Parameters
    ----------
    weights_fn : callable
        For which `is_factory` is true.
    panel, is_rebalance, work
        See `resolve_weights`.
    given : mapping
        Its parameters, checked.

    Returns
    -------
    WeightRows
        Not checked yet.

    Raises
    ------
    WeightsError
        If it makes something else.
    """
    made = weights_fn(**given)
    if not _is_columnar(made):
        msg = (
            "a weights function whose first parameter is not named 'bar' is called "
            "once and must return a column name, a polars expression or a frame, got "
            f"{type(made).__name__}.\n{CALLBACK_HINT}"
        )
        raise WeightsError(msg)
    return _columnar_rows(made, panel, is_rebalance, work)


def check_weights(weights_fn: Any, params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Check all of the weights that can be checked without data and without a call.

    Parameters
    ----------
    weights_fn : str, Expr, DataFrame or callable
        See `run_backtest`.
    params : mapping, optional
        Keyword arguments of a callback or factory.

    Returns
    -------
    dict
        The parameters.

    Raises
    ------
    WeightsError
        If the form is unknown, or the parameters do not fit it.
    """
    if params is not None and not isinstance(params, Mapping):
        msg = f"params must be a mapping of names to values, got {params!r}."
        raise WeightsError(msg)
    given = dict(params or {})
    if _is_columnar(weights_fn):
        if given:
            names = ", ".join(map(repr, given))
            msg = (
                f"params ({names}) have no effect on weights of type "
                f"{type(weights_fn).__name__}.\n"
                "Hint: pass a function of these parameters that returns the weights."
            )
            raise WeightsError(msg)
        return given
    if not callable(weights_fn):
        msg = (
            "weights_fn must be a column name, a polars expression, a frame of "
            "(timestamp, asset, weight), or a function, got "
            f"{type(weights_fn).__name__}."
        )
        raise WeightsError(msg)
    if is_jitted(weights_fn):
        _require_jitted(weights_fn)
    else:
        _require_parameters(weights_fn, _parameters(weights_fn), given)
    return given


def parameter_names(weights_fn: Any) -> tuple[list[str], bool]:
    """Return the parameters that weights have.

    Parameters
    ----------
    weights_fn : str, Expr, DataFrame or callable
        See `run_backtest`.

    Returns
    -------
    (list of str, bool)
        Their names, and whether any other is taken too.
    """
    if _is_columnar(weights_fn) or not callable(weights_fn):
        return [], False
    if is_jitted(weights_fn):
        from barloop.code_names import parameter_names_in

        _require_jitted(weights_fn)
        return parameter_names_in(getattr(weights_fn, "py_func", weights_fn)), False
    parameters = _parameters(weights_fn)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = [one.name for one in parameters if one.kind in named]
    if names and names[0] == "bar":
        names = names[1:]
    takes_any = any(one.kind == one.VAR_KEYWORD for one in parameters)
    return names, takes_any


COMPILED_SIGNATURE = ("bar", "params", "weights_out")


def is_jitted(weights_fn: Any) -> bool:
    """Tell whether a function is a compiled callback.

    Parameters
    ----------
    weights_fn : object
        What the user passed.

    Returns
    -------
    bool
        True for a function jitted by numba; with ``NUMBA_DISABLE_JIT=1``, where numba
        leaves functions as they are, for one that takes ``(bar, params,
        weights_out)``.
    """
    if hasattr(weights_fn, "py_func"):
        return True
    code = getattr(weights_fn, "__code__", None)
    if code is None or code.co_varnames[: code.co_argcount] != COMPILED_SIGNATURE:
        return False
    import numba

    settings: Any = numba.config
    return bool(settings.DISABLE_JIT)


def _require_jitted(function: Any) -> None:
    """Raise WeightsError unless a jitted function takes (bar, params, weights_out)."""
    source = getattr(function, "py_func", function)
    parameters = list(inspect.signature(source).parameters.values())
    plain = all(one.kind == one.POSITIONAL_OR_KEYWORD for one in parameters)
    if len(parameters) == 3 and plain and parameters[0].name == "bar":
        return
    taken = ", ".join(one.name for one in parameters)
    hint = "Hint: pass the plain Python function for any other form."
    if parameters and parameters[0].name == "bar":
        hint = (
            "Hint: parameters stand in params, as params.lookback, and weights are "
            "written to weights_out."
        )
    msg = (
        "a compiled weights function must be f(bar, params, weights_out) and return "
        f"True or False; {source.__name__!r} takes ({taken}).\n{hint}"
    )
    raise WeightsError(msg)


def _is_columnar(weights: Any) -> bool:
    if isinstance(weights, (str, pl.Expr, pl.DataFrame, pl.LazyFrame)):
        return True
    return hasattr(weights, "__arrow_c_stream__") and not isinstance(weights, pl.Series)


def _parameters(function: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        msg = f"cannot read the parameters of weights_fn {function!r}: {error}."
        raise WeightsError(msg) from error


def _require_parameters(
    function: Any, parameters: list[inspect.Parameter], given: Mapping[str, Any]
) -> None:
    first = ["<bar>"] if parameters and parameters[0].name == "bar" else []
    try:
        inspect.signature(function).bind(*first, **given)
    except TypeError as error:
        named = [p.name for p in parameters if p.name != "bar"]
        if tuple(p.name for p in parameters) == COMPILED_SIGNATURE:
            msg = (
                "a function of (bar, params, weights_out) is a compiled callback, and "
                f"{getattr(function, '__name__', 'this one')!r} is not compiled.\n"
                "Hint: decorate it with @numba.njit."
            )
            raise WeightsError(msg) from error
        near = "".join(suggestion(name, named) for name in given if name not in named)
        unbound = not first and parameters and parameters[0].name not in given
        hint = f"\n{CALLBACK_HINT}" if unbound else ""
        msg = (
            "params do not fit the weights function: it takes "
            f"{listed(named) or 'none'}, given are {listed(given) or 'none'} "
            f"({error}).{near}{hint}"
        )
        raise WeightsError(msg) from error


def _columnar_rows(
    weights: Any, panel: Panel, is_rebalance: BoolVector, work: SharedWork | None
) -> WeightRows:
    if isinstance(weights, str):
        frame = panel.frame
        if weights not in frame.columns:
            msg = (
                f"no column is named {weights!r}; the frame has "
                f"{listed(frame.columns)}."
                f"{suggestion(weights, frame.columns)}"
            )
            raise WeightsError(msg)
        series = _numbers(frame[weights], f"weights in column {weights!r}", panel)
        return _dense_rows(panel.column(series), series, frame, panel)
    if isinstance(weights, pl.Expr):
        rows = weight_rows(
            recipe_of(weights), panel, np.flatnonzero(is_rebalance), work
        )
        if rows is not None:
            return rows
        frame = panel.sorted_frame()
        try:
            made = frame.select(weights.alias("weight"))
        except pl.exceptions.PolarsError as error:
            msg = f"the weights expression failed: {error}"
            if "timestamp" in str(error) and panel.timestamp_name != "timestamp":
                msg += (
                    f"\nHint: tell top_n and equal_weight the time column, "
                    f"over={panel.timestamp_name!r}."
                )
            if '"asset"' in str(error) and panel.asset_name != "asset":
                msg += (
                    "\nHint: tell momentum, mean and volatility the asset column, "
                    f"by={panel.asset_name!r}."
                )
            raise WeightsError(msg) from error
        if made.height != frame.height:
            msg = (
                f"the weights expression gave {made.height:,} "
                f"{'value' if made.height == 1 else 'values'} for "
                f"{n_rows(frame.height)}; it must give one per row.\n"
                "Hint: spread a value over the rows, e.g. with .over(...)."
            )
            raise WeightsError(msg)
        series = _numbers(made["weight"], "weights of the expression", panel)
        return _dense_rows(panel.sorted_column(series), series, frame, panel)
    return _rows_of_frame(to_frame(weights), panel)


def _numbers(series: pl.Series, what: str, panel: Panel) -> pl.Series:
    if not (series.dtype.is_numeric() or series.dtype == pl.Null):
        hint = ""
        if series.dtype == pl.Boolean:
            hint = (
                "\nHint: equal_weight(..., over="
                f"{panel.timestamp_name!r}) gives the assets it marks equal weights."
            )
        msg = f"{what} must be numbers, got {series.dtype}.{hint}"
        raise WeightsError(msg)
    return series.cast(pl.Float64)


def _dense_rows(
    weight: FloatPanel, series: pl.Series, frame: pl.DataFrame, panel: Panel
) -> WeightRows:
    bars = np.arange(panel.n_bars + 1, dtype=np.int64) * panel.n_assets
    nobody = np.empty(0, dtype=np.uint32)
    nan_bar = nan_asset = np.empty(0, dtype=np.int64)
    is_nan = series.is_nan()
    if is_nan.any():
        rows = frame.filter(is_nan)
        nan_bar = panel.timestamp_codes(rows[panel.timestamp_name])
        nan_asset = panel.asset_codes(rows[panel.asset_name])
        # Not those behind `end`.
        inside = nan_bar < panel.n_bars
        nan_bar, nan_asset = nan_bar[inside], nan_asset[inside]
    return WeightRows(bars, nobody, weight.reshape(-1), nan_bar, nan_asset)


def _rows_of_frame(frame: pl.DataFrame, panel: Panel) -> WeightRows:
    time_name, asset_name, weight_name = _weight_columns(frame, panel)
    weight = _numbers(frame[weight_name], f"weights in column {weight_name!r}", panel)
    try:
        bar = panel.timestamp_codes(frame[time_name])
        asset = panel.asset_codes(frame[asset_name])
    except (SchemaError, PanelError) as error:
        msg = f"the keys of the weights do not fit the data: {error}"
        raise WeightsError(msg) from error
    keys = (time_name, asset_name)
    _require_known(frame, bar, keys, time_name, panel.timestamp_name)
    _require_known(frame, asset, keys, asset_name, panel.asset_name)
    values = weight.to_numpy()
    inside = bar < panel.n_bars
    if not inside.all():
        # Bars behind `end`: the run is the same as on a frame cut there.
        bar, asset, values = bar[inside], asset[inside], values[inside]
        weight = weight.filter(pl.Series(inside))
    cell = bar * panel.n_assets + asset
    is_nan = weight.is_nan().fill_null(value=False).to_numpy()
    if cell.size and not (np.diff(cell) > 0).all():
        order = np.argsort(cell, kind="stable")
        cell, values, is_nan = cell[order], values[order], is_nan[order]
        twice = np.flatnonzero(np.diff(cell) == 0)
        if twice.size:
            first = int(cell[twice[0]])
            msg = (
                "the weights must name an asset once per timestamp: "
                f"{n_rows(twice.size)} {are(twice.size)} repeated, "
                f"first at {panel.show_bar(first // panel.n_assets)}, "
                f"asset {panel.show_asset(first % panel.n_assets)}.\n"
                "Hint: add them up or keep one, e.g. with group_by."
            )
            raise WeightsError(msg)
    first_cells = np.arange(panel.n_bars + 1, dtype=np.int64) * panel.n_assets
    codes = cell % panel.n_assets
    return WeightRows(
        row_start=np.searchsorted(cell, first_cells).astype(np.int64),
        # An empty list of assets would stand for dense rows.
        asset=(codes if cell.size else np.zeros(1)).astype(np.uint32),
        weight=np.ascontiguousarray(values),
        nan_bar=cell[is_nan] // panel.n_assets,
        nan_asset=codes[is_nan],
    )


def _require_known(
    frame: pl.DataFrame, codes: IntVector, keys: tuple[str, str], column: str, own: str
) -> None:
    unknown = np.flatnonzero(codes < 0)
    if unknown.size == 0:
        return
    row = int(unknown[0])
    time_name, asset_name = keys
    what = "a timestamp" if column == time_name else "an asset"
    on = f"on={own!r}" if column == own else f"left_on={column!r}, right_on={own!r}"
    hint = f"Hint: drop these rows, e.g. weights.join(data, {on}, how='semi')."
    if frame[column][row] is None:
        hint = f"Hint: {column!r} is null there; drop these rows."
    msg = (
        f"{column!r} of the weights must be {what} of the data: {n_rows(unknown.size)} "
        f"{are(unknown.size)} not, first at {show(frame[time_name][row])}, "
        f"asset {show(frame[asset_name][row])}.\n{hint}"
    )
    raise WeightsError(msg)


def _weight_columns(frame: pl.DataFrame, panel: Panel) -> tuple[str, str, str]:
    time_name, asset_name = panel.timestamp_name, panel.asset_name
    try:
        if time_name not in frame.columns:
            time_name = find_time_column(frame)
        if asset_name not in frame.columns:
            asset_name = find_asset_column(frame)
    except SchemaError as error:
        msg = (
            f"a weights frame needs the columns {panel.timestamp_name!r} and "
            f"{panel.asset_name!r} of the data and a weight; it has "
            f"{listed(frame.columns)}."
        )
        raise WeightsError(msg) from error
    rest = [c for c in frame.columns if c not in (time_name, asset_name)]
    named = [c for c in rest if c.lower() in WEIGHT_NAMES]
    if len(rest) == 1:
        return time_name, asset_name, rest[0]
    if len(named) == 1:
        return time_name, asset_name, named[0]
    msg = (
        "a weights frame has a time column, an asset column and a column named "
        f"'weight', got {listed(frame.columns)}."
    )
    raise WeightsError(msg)
