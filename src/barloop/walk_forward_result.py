"""What a walk-forward leaves behind: one out-of-sample run, and what was chosen."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from barloop.folds import Fold
from barloop.metrics import sharpe
from barloop.result import BacktestResult
from barloop.sweep_result import SweepResult


class WalkForwardResult:
    """Hold the out-of-sample run of a walk-forward and the choices behind it.

    Parameters
    ----------
    result : BacktestResult
        One run over all tests.
    runs : sequence of SweepResult
        Training, one per fold.
    folds : sequence of Fold
        Rows of the panel.
    chosen : sequence of int
        Number of the set that each test ran with.
    select : str
        The measure shown of training.
    between : {"carry", "close"}
        What happened to positions between two tests.

    Attributes
    ----------
    result : BacktestResult
        As given; its frames hold the tests only.
    runs : list of SweepResult
        As given.
    folds : DataFrame
        One row per fold: ``fold``, ``train_start``, ``train_end``, ``test_start``,
        ``test_end`` (first and last bar), ``set`` and the parameters that were chosen,
        ``train_<measure>``, ``test_return`` (of the fold), ``test_sharpe``.
    """

    def __init__(
        self,
        *,
        result: BacktestResult,
        runs: Sequence[SweepResult],
        folds: Sequence[Fold],
        chosen: Sequence[int],
        select: str,
        between: str,
    ) -> None:
        self.result = result
        self.runs = list(runs)
        self._select = select
        self._between = between
        self.folds = self._table(folds, chosen)

    def _table(self, folds: Sequence[Fold], chosen: Sequence[int]) -> pl.DataFrame:
        times = self.result.panel.timestamps
        returns = self.result.returns["return"].to_numpy()
        first = folds[0].test_start
        risk_free = float(self.result.config.risk_free)
        bars_per_year = float(self.result.metrics["bars_per_year"] or 1.0)
        stops = [*(fold.test_start for fold in folds[1:]), folds[-1].test_stop]
        rows = [
            runs.metrics.filter(pl.col("set") == number)
            for runs, number in zip(self.runs, chosen, strict=True)
        ]
        of_test = [
            returns[fold.test_start - first : stop - first]
            for fold, stop in zip(folds, stops, strict=True)
        ]
        columns = [
            pl.Series("fold", np.arange(len(folds))),
            times.gather([fold.train_start for fold in folds]).alias("train_start"),
            times.gather([fold.train_stop - 1 for fold in folds]).alias("train_end"),
            times.gather([fold.test_start for fold in folds]).alias("test_start"),
            times.gather([stop - 1 for stop in stops]).alias("test_end"),
        ]
        names = ["set", *self.runs[0].parameter_names, self._select]
        trained = pl.concat(rows, how="vertical_relaxed").select(names)
        trained = trained.rename({self._select: f"train_{self._select}"})
        tested = [float(np.prod(1.0 + one) - 1.0) for one in of_test]
        ratios = [
            sharpe(one, bars_per_year=bars_per_year, risk_free=risk_free)
            for one in of_test
        ]
        return pl.DataFrame(columns).with_columns(
            *trained.get_columns(),
            pl.Series("test_return", tested, nan_to_null=True),
            pl.Series("test_sharpe", ratios, nan_to_null=True),
        )

    @property
    def equity(self) -> pl.DataFrame:
        """Equity curve of all tests, see `BacktestResult.equity`."""
        return self.result.equity

    @property
    def metrics(self) -> dict[str, float | int | None]:
        """Out-of-sample measures, see `BacktestResult.metrics`."""
        return self.result.metrics

    @property
    def n_trials(self) -> int:
        """Backtests that were run to choose the parameters."""
        return sum(len(runs) for runs in self.runs)

    def _rows(self) -> list[tuple[str, str]]:
        name = f"train_{self._select}"
        trained = self.folds[name].mean()
        m = self.metrics
        switches = int((self.folds["set"].diff().drop_nulls() != 0).sum())
        first, last = self.folds["test_start"][0], self.folds["test_end"][-1]
        kept = "carried over" if self._between == "carry" else "closed"
        return [
            ("tests", f"{len(self.folds):,}, from {first} to {last}"),
            ("trials in training", f"{self.n_trials:,}"),
            ("changes of parameters", f"{switches:,}"),
            ("positions between tests", kept),
            (f"{self._select}, mean in training", _number(trained, ".3f")),
            ("Sharpe out of sample", _number(m["sharpe"], ".3f")),
            ("total return", _number(m["total_return"], ".2%")),
            ("CAGR", _number(m["cagr"], ".2%")),
            ("volatility", _number(m["volatility"], ".2%")),
            ("max drawdown", _number(m["max_drawdown"], ".2%")),
        ]

    def __str__(self) -> str:
        rows = self._rows()
        width = max(len(name) for name, _ in rows)
        lines = ["WalkForwardResult"]
        lines += [f"  {name:<{width}}  {value:>30}" for name, value in rows]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><td style='text-align:left'>{html.escape(name)}</td>"
            f"<td style='text-align:right'>{html.escape(value)}</td></tr>"
            for name, value in self._rows()
        )
        return (
            "<div><table><thead><tr><th colspan='2' style='text-align:left'>"
            f"WalkForwardResult</th></tr></thead><tbody>{cells}</tbody></table></div>"
        )


def _number(value: Any, style: str) -> str:
    return "-" if value is None else format(value, style)
