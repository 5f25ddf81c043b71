"""The sets of a sweep as trials: their returns, and what the best of them proves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import polars as pl

from barloop.bootstrap import (
    RealityCheck,
    SuperiorPredictiveAbility,
    reality_check,
    superior_predictive_ability,
)
from barloop.errors import ConfigError, SimulationError
from barloop.numerics import risk_free_per_bar
from barloop.overfitting import (
    PBOResult,
    deflated_sharpe_ratio,
    minimum_track_record_length,
    probability_of_backtest_overfitting,
)
from barloop.sweep_measures import SweepMeasures
from barloop.typing import FloatBlock, FloatVector, IntVector

_ROOM = 1 << 20
"""Values in one work array of `Trials.returns`."""

_Test = TypeVar("_Test", RealityCheck, SuperiorPredictiveAbility)


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Hold what the statistics need to know; see `SweepResult` for the members."""

    measures: SweepMeasures
    equity: FloatBlock | None
    timestamps: pl.Series
    initial_cash: FloatVector | float
    deposits: FloatVector | None
    bars_per_year: float
    risk_free: float

    def require_equity(self, what: str) -> FloatBlock:
        """Return the equity of all sets, or raise SimulationError.

        Parameters
        ----------
        what : str
            What needs it.

        Returns
        -------
        array of shape (n_sets, n_bars)
            Currency.
        """
        if self.equity is None:
            msg = (
                f"runs.{what} needs the equity of each bar, and the sweep had "
                "keep='metrics'.\nHint: sweep(..., keep='equity')."
            )
            raise SimulationError(msg)
        return self.equity

    def returns(self) -> FloatBlock:
        """Compute the returns of the sets without an error.

        Returns
        -------
        ndarray of shape (n_bars, number of sets without an error)
            See `SweepResult.returns`.
        """
        equity, sets = self.require_equity("returns()"), self._sets
        n_bars = equity.shape[1]
        cash = np.asarray(self.initial_cash, dtype=np.float64)
        cash = np.broadcast_to(cash, len(self.measures))
        made = np.empty((n_bars, sets.size))
        step = max(1, _ROOM // max(n_bars, 1))
        for at in range(0, sets.size, step):
            some = sets[at : at + step]
            rows = np.asarray(equity[some])
            # As `barloop.numerics.starting_equity`, for many sets.
            starting = np.empty_like(rows)
            starting[:, 0] = cash[some]
            starting[:, 1:] = rows[:, :-1]
            if self.deposits is not None:
                starting += self.deposits
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                np.divide(rows, starting, out=rows)
            rows -= 1.0
            made[:, at : at + step] = rows.T
        return made

    def deflated_sharpe(self, k: int | None, n_trials: float | None) -> float:
        """Compute what `SweepResult.deflated_sharpe` documents.

        Parameters
        ----------
        k : int or None
            The set.
        n_trials : float or None
            Their number.

        Returns
        -------
        float
            A probability.
        """
        sharpes = self._sharpe_per_bar[~np.isnan(self._sharpe_per_bar)]
        variance = float(sharpes.var(ddof=1)) if sharpes.size > 1 else math.nan
        return deflated_sharpe_ratio(
            **self._record(k),
            n_trials=len(self.measures) if n_trials is None else n_trials,
            trials_variance=variance,
            bars_per_year=1.0,
        )

    def minimum_track_record(
        self, k: int | None, benchmark_sharpe: float, probability: float
    ) -> float:
        """Compute what `SweepResult.minimum_track_record` documents.

        Parameters
        ----------
        k : int or None
            The set.
        benchmark_sharpe : float
            Annual.
        probability : float
            What counts as proof.

        Returns
        -------
        float
            A number of bars.
        """
        record = self._record(k)
        years = self.measures.setting("bars_per_year", self.bars_per_year)
        del record["n_bars"]
        return minimum_track_record_length(
            **record,
            benchmark_sharpe=benchmark_sharpe / math.sqrt(years[self._chosen(k)]),
            probability=probability,
            bars_per_year=1.0,
        )

    def pbo(self, n_blocks: int, metric: Any) -> PBOResult:
        """Compute what `SweepResult.pbo` documents.

        Parameters
        ----------
        n_blocks : int
            Even.
        metric : str or callable
            What is best.

        Returns
        -------
        PBOResult
            With numbers of sets.
        """
        returns = self._excess("pbo()")
        # A set that never traded is no rival: it has no Sharpe ratio.
        known = np.flatnonzero(~np.isnan(self.measures.values("sharpe")[self._sets]))
        if known.size < 2:
            msg = (
                "pbo() compares sets with a Sharpe ratio: "
                f"{known.size} of {len(self.measures):,} has one."
            )
            raise SimulationError(msg)
        if known.size < returns.shape[1]:
            returns = returns[:, known]
        made = probability_of_backtest_overfitting(
            returns,
            n_blocks=n_blocks,
            metric=metric,
            bars_per_year=self.bars_per_year,
        )
        return replace(made, selected=self._sets[known[made.selected]])

    def reality_check(self, benchmark: Any, **options: Any) -> RealityCheck:
        """Compute what `SweepResult.reality_check` documents.

        Parameters
        ----------
        benchmark : array of shape (n_bars,) or None
            Returns per bar.
        **options
            Those of `barloop.bootstrap.reality_check`.

        Returns
        -------
        RealityCheck
            With the number of a set.
        """
        return self._test(reality_check, "reality_check()", benchmark, options)

    def superior_predictive_ability(
        self, benchmark: Any, **options: Any
    ) -> SuperiorPredictiveAbility:
        """Compute what `SweepResult.superior_predictive_ability` documents.

        Parameters
        ----------
        benchmark : array of shape (n_bars,) or None
            Returns per bar.
        **options
            Those of `barloop.bootstrap.superior_predictive_ability`.

        Returns
        -------
        SuperiorPredictiveAbility
            With the number of a set.
        """
        what = "superior_predictive_ability()"
        return self._test(superior_predictive_ability, what, benchmark, options)

    def _test(
        self,
        test: Callable[..., _Test],
        what: str,
        benchmark: Any,
        options: dict[str, Any],
    ) -> _Test:
        if benchmark is None:
            made = test(self._excess(what), **options)
        else:
            self.require_equity(what)
            given = np.asarray(benchmark, dtype=np.float64)
            n_bars = len(self.timestamps)
            if given.shape != (n_bars,):
                msg = (
                    f"the benchmark has the shape {given.shape}, the run has {n_bars:,}"
                    " bars.\nHint: pass one return per bar of the run."
                )
                raise ConfigError(msg)
            made = test(self.returns(), given, **options)
        best = int(self._sets[made.best]) if made.best >= 0 else made.best
        return replace(made, best=best)

    @property
    def _sets(self) -> IntVector:
        """The sets whose returns are the columns of `returns`."""
        return np.flatnonzero(self.measures.is_ok)

    @cached_property
    def _sharpe_per_bar(self) -> FloatVector:
        years = self.measures.setting("bars_per_year", self.bars_per_year)
        per_bar: FloatVector = self.measures.values("sharpe") / np.sqrt(years)
        return per_bar

    def _chosen(self, k: int | None) -> int:
        return self.measures.best("sharpe") if k is None else self.measures.number(k)

    def _record(self, k: int | None) -> dict[str, Any]:
        """Return what the statistics ask of one set; its ratio is per bar."""
        measures = self.measures
        needed = ("sharpe", "skew", "kurtosis")
        missing = [name for name in needed if name not in measures.metric_names]
        if missing:
            msg = (
                f"this needs the measures {', '.join(map(repr, missing))}, which the "
                "sweep did not keep.\nHint: sweep(..., metrics=None) keeps all."
            )
            raise ConfigError(msg)
        chosen = self._chosen(k)
        if math.isnan(self._sharpe_per_bar[chosen]):
            error = measures.frame["error"][chosen]
            msg = f"set {chosen} has no Sharpe ratio" + (f": {error}" if error else ".")
            raise SimulationError(msg)
        n_bars = measures.setting("n_bars", len(self.timestamps))
        return {
            "sharpe": float(self._sharpe_per_bar[chosen]),
            "n_bars": int(n_bars[chosen]),
            "skew": float(measures.values("skew")[chosen]),
            # The measure is the excess over a normal distribution.
            "kurtosis": float(measures.values("kurtosis")[chosen]) + 3.0,
        }

    def _excess(self, what: str) -> FloatBlock:
        """Return the returns less what the risk-free rate earns."""
        self.require_equity(what)
        made = self.returns()
        rates = self.measures.setting("risk_free", self.risk_free)[self._sets]
        years = self.measures.setting("bars_per_year", self.bars_per_year)[self._sets]
        if rates.any():
            pairs = zip(rates, years, strict=True)
            made -= np.array([risk_free_per_bar(rate, year) for rate, year in pairs])
        return made
