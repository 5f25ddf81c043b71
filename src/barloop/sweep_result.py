"""`SweepResult`: what thousands of backtests came to, and what that proves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from barloop import neighbours
from barloop.sweep_measures import SweepMeasures
from barloop.sweep_trials import Trials
from barloop.typing import FloatBlock, FloatVector

if TYPE_CHECKING:
    import altair

    from barloop.bootstrap import RealityCheck, SuperiorPredictiveAbility
    from barloop.overfitting import PBOResult
    from barloop.result import BacktestResult
    from barloop.sweep_report import OverfittingReport


class SweepResult:
    """Hold what the sets of a sweep came to: one row each, and equity if it was kept.

    ``print(runs)`` shows the best Sharpe ratio beside the number of trials that it was
    picked from.  Sets are numbered from 0, in the order of the grid.

    Parameters
    ----------
    metrics : DataFrame
        One row per set, in order: ``set``, the parameters, the measures of
        `barloop.summary.summary` (null where undefined), ``error`` (null if none).
    parameter_names : tuple of str
        Which columns are parameters.
    equity : array of shape (n_sets, n_bars), optional
        Equity at the close of each bar of the run, NaN for failed sets; may be mapped
        from a file.
    timestamps : Series
        Bars of the run.
    initial_cash : float or array of shape (n_sets,)
        Equity before the first bar, currency.
    deposits : array of shape (n_bars,), optional
        Deposits less withdrawals on each bar, currency.
    bars_per_year, risk_free : float
        What all sets share; a column of the same name in `metrics` goes before it.
    rerun : callable
        Makes the full result of a set from its number.
    n_reused : int, default 0
        Sets that were finished earlier and not run again.
    seconds : float, default 0.0
        What the sweep took.
    notices : sequence of str, default ()
        What was met and left as it is.

    Attributes
    ----------
    parameter_names, metric_names : tuple of str
        Columns of `metrics`.
    equity : array or None
        As given.
    timestamps : Series
        As given.
    bars_per_year, risk_free : float
        As given.
    n_reused : int
        As given.
    seconds : float
        As given.
    notices : list of str
        As given.
    """

    def __init__(
        self,
        *,
        metrics: pl.DataFrame,
        parameter_names: Sequence[str],
        equity: FloatBlock | None,
        timestamps: pl.Series,
        initial_cash: FloatVector | float,
        deposits: FloatVector | None,
        bars_per_year: float,
        risk_free: float,
        rerun: Callable[[int], BacktestResult],
        n_reused: int = 0,
        seconds: float = 0.0,
        notices: Sequence[str] = (),
    ) -> None:
        self.parameter_names = tuple(parameter_names)
        self._measures = SweepMeasures(metrics, self.parameter_names)
        self.metric_names = self._measures.metric_names
        self.equity = equity
        self.timestamps = timestamps
        self.bars_per_year = bars_per_year
        self.risk_free = risk_free
        self._trials = Trials(
            measures=self._measures,
            equity=equity,
            timestamps=timestamps,
            initial_cash=initial_cash,
            deposits=deposits,
            bars_per_year=bars_per_year,
            risk_free=risk_free,
        )
        self._rerun = rerun
        self._plateaus: dict[tuple[str, bool], pl.DataFrame] = {}
        self.n_reused = n_reused
        self.seconds = seconds
        self.notices = list(notices)

    def __len__(self) -> int:
        return self._measures.frame.height

    @property
    def metrics(self) -> pl.DataFrame:
        """One row per set: ``set``, parameters, measures, ``error``.

        Measures are those of `barloop.summary.summary`.  Parameters that are neither
        numbers nor text are shown as text; `rerun` uses the values themselves.
        """
        # A clone shares the memory, but writing into it does not reach the result.
        return self._measures.frame.clone()

    @property
    def frame(self) -> pl.DataFrame:
        """The same as `metrics`."""
        return self.metrics

    @property
    def parameters(self) -> pl.DataFrame:
        """The parameters of each set, one column each, as in `metrics`."""
        return self._measures.parameters.clone()

    @property
    def failed(self) -> pl.DataFrame:
        """The sets with an error: ``set``, the parameters, ``error``."""
        return self._measures.frame.filter(pl.col("error").is_not_null()).select(
            "set", *self.parameter_names, "error"
        )

    @cached_property
    def n_failed(self) -> int:
        """How many sets raised an error or were ruined."""
        return len(self) - self._measures.frame["error"].null_count()

    def rerun(self, k: int) -> BacktestResult:
        """Run one set again and keep everything.

        Parameters
        ----------
        k : int
            Number of the set, the column ``set`` of `metrics`.

        Returns
        -------
        BacktestResult
            With ``keep="full"``: fills, orders, trades, equity.

        Raises
        ------
        ConfigError
            If there is no such set.
        """
        return self._rerun(self._measures.number(k))

    def best(
        self, metric: str = "sharpe", *, minimize: bool | None = None
    ) -> dict[str, Any]:
        """Return the row of the best set.

        Parameters
        ----------
        metric : str, default "sharpe"
            A measure.
        minimize : bool, optional
            Whether small is good; known for all measures but `NEITHER_IS_BETTER`.

        Returns
        -------
        dict
            The row of `metrics`.  Of equal sets, the first.

        Raises
        ------
        ConfigError
            If there is no such measure, or no good end of it.
        SimulationError
            If no set has a value: sets with an error have none.
        """
        return self._measures.frame.row(
            self._measures.best(metric, minimize=minimize), named=True
        )

    def top(
        self, metric: str = "sharpe", n: int = 10, *, minimize: bool | None = None
    ) -> pl.DataFrame:
        """Return the rows of the best sets, the best first.

        Parameters
        ----------
        metric : str, default "sharpe"
            A measure.
        n : int, default 10
            How many; fewer if fewer sets have a value.
        minimize : bool, optional
            As in `best`.

        Returns
        -------
        DataFrame
            Rows of `metrics`: ``set``, the parameters, this measure, then the others.
            Equal sets keep their order.
        """
        values = self._measures.values(metric)
        key = (
            values
            if self._measures.is_minimized(metric, minimize=minimize)
            else -values
        )
        order = np.argsort(key, kind="stable")  # NaN comes last
        order = order[: min(n, np.count_nonzero(~np.isnan(values)))]
        first = ["set", *self.parameter_names, metric]
        return self._measures.frame[order].select(
            *first,
            *(name for name in self._measures.frame.columns if name not in first),
        )

    def plateau(
        self, metric: str = "sharpe", *, minimize: bool | None = None
    ) -> pl.DataFrame:
        """Tell how the neighbours of each set do: a peak alone is luck.

        Parameters
        ----------
        metric : str, default "sharpe"
            A measure.
        minimize : bool, optional
            As in `best`.

        Returns
        -------
        DataFrame
            One row per set, the best plateau first: ``set``, the parameters, the
            measure, ``plateau`` (mean of the set and its neighbours),
            ``neighbour_mean``, ``worst_neighbour``, ``n_neighbours``, ``n_missing``.
            What neighbours are is said in `barloop.neighbours.plateau`.
        """
        minimized = self._measures.is_minimized(metric, minimize=minimize)
        key = (metric, minimized)
        if key not in self._plateaus:
            scores = neighbours.plateau(
                self._measures.parameters,
                self._measures.values(metric),
                minimize=minimized,
            )
            self._plateaus[key] = (
                self._charted(metric)
                .hstack(scores)
                .sort(
                    "plateau",
                    metric,
                    descending=not minimized,
                    nulls_last=True,
                    maintain_order=True,
                )
            )
        return self._plateaus[key].clone()

    def marginal(self, metric: str = "sharpe") -> pl.DataFrame:
        """Tell what each value of each parameter reaches, whatever the others are.

        Parameters
        ----------
        metric : str, default "sharpe"
            A measure.

        Returns
        -------
        DataFrame
            One row per parameter and value: ``parameter``, ``value``, ``low``,
            ``high``, ``n``, ``n_missing``, ``mean``, ``median``, ``min``, ``max``,
            ``share_of_variance``, ``share_by_chance``, see
            `barloop.neighbours.marginal_effects`.
        """
        return neighbours.marginal_effects(
            self._measures.parameters, self._measures.values(metric)
        )

    def equity_of(self, k: int) -> pl.DataFrame:
        """Return the equity of one set: ``<time>``, ``equity``.

        Parameters
        ----------
        k : int
            Number of the set.

        Returns
        -------
        DataFrame
            One row per bar; null if the set failed.

        Raises
        ------
        SimulationError
            If equity was not kept.
        """
        row = np.array(
            self._trials.require_equity("equity_of()")[self._measures.number(k)]
        )
        equity = pl.Series("equity", row).fill_nan(None)
        return pl.DataFrame([self.timestamps, equity])

    def returns(self) -> FloatBlock:
        """Return the returns of the sets that did not fail.

        Returns
        -------
        ndarray of shape (n_bars, number of sets without an error)
            Simple returns, ``equity[t] / (equity[t - 1] + deposits[t]) - 1``, the first
            against the initial cash.  Columns are in the order of the sets.

        Raises
        ------
        SimulationError
            If equity was not kept.
        """
        return self._trials.returns()

    def deflated_sharpe(
        self, k: int | None = None, *, n_trials: float | None = None
    ) -> float:
        """Compute the probability that a set is better than the luckiest of all trials.

        Parameters
        ----------
        k : int, optional
            Number of the set; the one with the best Sharpe ratio by default.
        n_trials : float, optional
            How many independent trials there were; the number of sets by default.  More
            if others were tried before; fewer if sets resemble each other.

        Returns
        -------
        float
            From 0 to 1.  Below 0.95, as good a Sharpe ratio may well be the luck of so
            many trials.  NaN if there is one Sharpe ratio but more trials.

        Raises
        ------
        ConfigError
            If a measure that it needs was not kept, or `n_trials` is below 1.
        SimulationError
            If the set has no Sharpe ratio.

        Notes
        -----
        `barloop.overfitting.deflated_sharpe_ratio` of the Sharpe ratio, skew, kurtosis
        and number of bars of the set.  Every set is a trial, with or without a Sharpe
        ratio: whoever looks at the best has passed over all the others.  The variance
        is that of the Sharpe ratios there are.  Sets of a grid resemble each other, so
        that there are fewer independent trials, and the probability is rather too low
        than too high.
        """
        return self._trials.deflated_sharpe(k, n_trials)

    def minimum_track_record(
        self,
        k: int | None = None,
        *,
        benchmark_sharpe: float = 0.0,
        probability: float = 0.95,
    ) -> float:
        """Compute how many bars prove that a Sharpe ratio is above a benchmark.

        Parameters
        ----------
        k : int, optional
            Number of the set; the one with the best Sharpe ratio by default.
        benchmark_sharpe : float, default 0.0
            Annual.
        probability : float, default 0.95
            What counts as proof.

        Returns
        -------
        float
            A number of bars, see `barloop.overfitting.minimum_track_record_length`;
            infinite if the ratio is not above the benchmark.  That the set was picked
            from many is not in it.
        """
        return self._trials.minimum_track_record(k, benchmark_sharpe, probability)

    def pbo(
        self, *, n_blocks: int = 16, metric: Literal["sharpe", "mean"] | Any = "sharpe"
    ) -> PBOResult:
        """Compute how often the best set of one half of the bars fails in the other.

        Parameters
        ----------
        n_blocks : int, default 16
            Even.
        metric : "sharpe", "mean" or callable, default "sharpe"
            What is best.

        Returns
        -------
        PBOResult
            ``print`` explains it; see
            `barloop.overfitting.probability_of_backtest_overfitting`.  ``selected``
            holds numbers of sets.

        Raises
        ------
        SimulationError
            If equity was not kept.

        Notes
        -----
        Over the returns less the risk-free rate of the sets without an error.
        """
        return self._trials.pbo(n_blocks, metric)

    def reality_check(
        self,
        benchmark: Any = None,
        *,
        n_bootstrap: int = 1000,
        mean_block_length: float | None = None,
        seed: int = 0,
    ) -> RealityCheck:
        """Test whether the best set beats a benchmark, after White (2000).

        Parameters
        ----------
        benchmark : array of shape (n_bars,), optional
            Returns per bar of the run; those of the risk-free rate by default.
        n_bootstrap : int, default 1000
            Number of resamples.
        mean_block_length : float, optional
            Bars in a block, on average; chosen from the data by default.
        seed : int, default 0
            Where the draws come from.

        Returns
        -------
        RealityCheck
            ``print`` explains it; see `barloop.bootstrap.reality_check`.  ``best`` is
            the number of a set.

        Raises
        ------
        SimulationError
            If equity was not kept.
        """
        return self._trials.reality_check(
            benchmark,
            n_bootstrap=n_bootstrap,
            mean_block_length=mean_block_length,
            seed=seed,
        )

    def superior_predictive_ability(
        self,
        benchmark: Any = None,
        *,
        n_bootstrap: int = 1000,
        mean_block_length: float | None = None,
        seed: int = 0,
    ) -> SuperiorPredictiveAbility:
        """Test whether the best set beats a benchmark, after Hansen (2005).

        Parameters
        ----------
        benchmark, n_bootstrap, mean_block_length, seed
            As in `reality_check`.

        Returns
        -------
        SuperiorPredictiveAbility
            ``print`` explains it; see `barloop.bootstrap.superior_predictive_ability`.
            ``best`` is the number of a set.

        Raises
        ------
        SimulationError
            If equity was not kept.
        """
        return self._trials.superior_predictive_ability(
            benchmark,
            n_bootstrap=n_bootstrap,
            mean_block_length=mean_block_length,
            seed=seed,
        )

    def overfitting(self, *, n_trials: float | None = None) -> OverfittingReport:
        """Tell what the best Sharpe ratio proves, counting the trials.

        Parameters
        ----------
        n_trials : float, optional
            As in `deflated_sharpe`.

        Returns
        -------
        OverfittingReport
            ``print`` explains it in words; ``frame`` has the numbers.  Without equity,
            the probability of overfitting and the test of the best are left out.
        """
        from barloop.sweep_report import overfitting_report

        return overfitting_report(self, n_trials)

    def heatmap(
        self,
        x: str | None = None,
        y: str | None = None,
        metric: str = "sharpe",
        *,
        others: str = "mean",
        fixed: Mapping[str, Any] | None = None,
        minimize: bool | None = None,
        units: Mapping[str, str] | None = None,
    ) -> altair.LayerChart:
        """Draw a measure over two parameters.

        Parameters
        ----------
        x, y : str, optional
            Parameters; the two that there are, if there are two.
        metric : str, default "sharpe"
            A measure.
        others : {"mean", "median", "max", "min"}, default "mean"
            What a cell shows of sets that differ in other parameters.
        fixed : mapping of str to value, optional
            Show only sets with these values of other parameters.
        minimize : bool, optional
            As in `best`.
        units : mapping of str to str, optional
            Units of parameters, for the labels of the axes.

        Returns
        -------
        altair.LayerChart
            See `barloop.sweep_plots.heatmap`.  Needs the extra ``plot``.
        """
        from barloop import sweep_plots

        return sweep_plots.heatmap(
            self._charted(metric),
            self.parameter_names,
            x=x,
            y=y,
            metric=metric,
            others=others,
            fixed=fixed,
            minimize=self._measures.is_minimized(metric, minimize=minimize),
            units=units,
        )

    def parallel(
        self,
        metric: str = "sharpe",
        *,
        minimize: bool | None = None,
        units: Mapping[str, str] | None = None,
    ) -> altair.LayerChart:
        """Draw each set as a line across its parameters, coloured by a measure.

        Parameters
        ----------
        metric : str, default "sharpe"
            A measure.
        minimize : bool, optional
            As in `best`.
        units : mapping of str to str, optional
            As in `heatmap`.

        Returns
        -------
        altair.LayerChart
            See `barloop.sweep_plots.parallel`.  Needs the extra ``plot``.
        """
        from barloop import sweep_plots

        return sweep_plots.parallel(
            self._charted(metric),
            self.parameter_names,
            metric=metric,
            minimize=self._measures.is_minimized(metric, minimize=minimize),
            units=units,
        )

    def marginal_chart(
        self, metric: str = "sharpe", *, units: Mapping[str, str] | None = None
    ) -> altair.ConcatChart:
        """Draw `marginal`: a measure over the values of each parameter.

        Parameters
        ----------
        metric : str, default "sharpe"
            A measure.
        units : mapping of str to str, optional
            As in `heatmap`.

        Returns
        -------
        altair.ConcatChart
            See `barloop.sweep_plots.marginal`.  Needs the extra ``plot``.
        """
        from barloop import sweep_plots

        return sweep_plots.marginal(self.marginal(metric), metric=metric, units=units)

    def __str__(self) -> str:
        from barloop.sweep_report import sweep_text

        return sweep_text(self)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from barloop.sweep_report import sweep_html

        return sweep_html(self)

    def _charted(self, metric: str) -> pl.DataFrame:
        """Return the parameters and one measure, null for sets with an error."""
        values = pl.Series(metric, self._measures.values(metric)).fill_nan(None)
        frame = self._measures.frame.select("set", *self.parameter_names)
        return frame.with_columns(values)
