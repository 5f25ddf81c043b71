"""What a rule decides on other data than those of its run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from barloop.config import BacktestConfig
from barloop.engine import stage_of
from barloop.errors import WeightsError
from barloop.lookahead.captured import Swaps, clear_caches, fresh, swapped
from barloop.lookahead.decisions import Decided, read_calls, read_rows
from barloop.lookahead.given import Given, Source
from barloop.panel import Panel
from barloop.schema import to_frame
from barloop.simulation import Simulation
from barloop.typing import BoolVector, WeightsFn
from barloop.weight_rows import WeightRows
from barloop.weights import is_jitted, resolve_weights

Step = Literal["features", "rule", "weights", "call"]


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """The rule could not be evaluated.

    Parameters
    ----------
    step : {"features", "rule", "weights", "call"}
        Making the features or the panel; evaluating a columnar rule; checking its
        weights; calling a callback.
    error : Exception
        Why.
    bar : int
        Bar of the call, -1 for none.
    later : object
        A timestamp after the data that the weights name, None if there is none.
    """

    step: Step
    error: Exception
    bar: int = -1
    later: Any = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rule:
    """A rule with everything that it needs but data.

    Parameters
    ----------
    weights_fn : see `run_backtest`
        The rule.
    params : mapping or None
        Its parameters.
    features : callable or None
        Makes the frame of the rule from the rows of the user.
    config : BacktestConfig
        Without a schedule of its own.
    start : object
        First bar of the run, None for the first of the data.
    panel : Panel
        Bars and assets of the run that is checked.
    is_rebalance : ndarray of bool, shape (n_bars,)
        The schedule of that run.
    source : Source
        The data of that run.
    own_frame : DataFrame, LazyFrame or None
        The data as the user has them in his variables, None if they are not polars.
    own_context : DataFrame or None
        The same of the context.
    """

    weights_fn: WeightsFn
    params: Mapping[str, Any] | None
    features: Callable[[pl.DataFrame], Any] | None
    config: BacktestConfig
    start: Any
    panel: Panel
    is_rebalance: BoolVector
    source: Source
    own_frame: pl.DataFrame | pl.LazyFrame | None
    own_context: pl.DataFrame | None

    @property
    def functions(self) -> list[Any]:
        """Functions of the user."""
        return [one for one in (self.weights_fn, self.features) if callable(one)]

    def decide(self, given: Given, stop: int) -> Decided | Failure:
        """Evaluate the rule on other data.

        Parameters
        ----------
        given : Given
            The data.
        stop : int
            Decide on the bars of the run before this one.

        Returns
        -------
        Decided or Failure
            The decisions, or what was raised on the way.
        """
        swaps = self._swaps(given)
        clear_caches(self.functions)
        with swapped(self.functions, swaps):
            return self._decide(given, stop, swaps)

    def _swaps(self, given: Given) -> Swaps:
        pairs: list[tuple[Any, Any]] = []
        if isinstance(self.own_frame, pl.LazyFrame):
            pairs.append((self.own_frame, given.frame.lazy()))
        elif self.own_frame is not None:
            pairs.append((self.own_frame, given.frame))
        if self.own_context is not None and given.context is not None:
            pairs.append((self.own_context, given.context.frame))
        return [(old, new) for old, new in pairs if old is not new]

    def _decide(self, given: Given, stop: int, swaps: Swaps) -> Decided | Failure:
        own = self.panel
        try:
            frame = given.frame if self.features is None else self.features(given.frame)
            panel = Panel.from_frame(
                to_frame(frame), timestamp=own.timestamp_name, asset=own.asset_name
            )
            place = own.timestamp_codes(panel.timestamps)
            stage = stage_of(
                panel,
                self.config,
                context=given.context,
                actions=given.actions,
                start=self.start,
            )
        except Exception as error:
            return Failure("features", error)
        mask = (place >= 0) & (place < stop)
        mask &= self.is_rebalance[np.clip(place, 0, own.n_bars - 1)]
        stage = replace(stage, is_rebalance=mask)
        made: list[Any] = []
        function = fresh(self.weights_fn, swaps)
        params = {
            name: next((new for old, new in swaps if value is old), value)
            for name, value in (self.params or {}).items()
        }
        try:
            weights = resolve_weights(_watched(function, made), panel, params, mask)
        except Exception as error:
            return Failure("rule", error, later=_later(made, panel))
        try:
            simulation = Simulation(stage, weights)
        except WeightsError as error:
            return Failure("weights", error)
        assets = own.asset_codes(panel.assets)
        if isinstance(weights, WeightRows):
            return read_rows(simulation, place, assets, own)
        decided, bar, raised = read_calls(simulation, place, assets, own)
        return decided if raised is None else Failure("call", raised, bar)


def _watched(function: Any, made: list[Any]) -> Any:
    """Note what a factory returns."""
    if not callable(function) or is_jitted(function):
        return function

    @functools.wraps(function, updated=())
    def call(*args: Any, **kwargs: Any) -> Any:
        said = function(*args, **kwargs)
        if isinstance(said, (pl.DataFrame, pl.LazyFrame)):
            made[:] = [said]
        return said

    return call


def _later(made: list[Any], panel: Panel) -> Any:
    """Return the first timestamp of a weights frame that lies after the data."""
    for weights in made:
        frame = to_frame(weights)
        if panel.timestamp_name in frame.columns:
            times = frame[panel.timestamp_name]
            if times.dtype == panel.timestamps.dtype:
                return times.filter(times > panel.timestamps[-1]).min()
    return None
