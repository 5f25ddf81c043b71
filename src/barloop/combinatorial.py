"""Combinatorial purged cross-validation of a sweep: many paths out of one history."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import polars as pl

from barloop.checks import require_choice
from barloop.errors import ConfigError, SimulationError
from barloop.metrics import cagr, max_drawdown, sharpe, volatility
from barloop.numerics import risk_free_per_bar
from barloop.typing import BoolVector, FloatBlock, FloatVector, IntVector

if TYPE_CHECKING:
    from barloop.folds import CombinatorialFolds
    from barloop.sweep_result import SweepResult

Measure = Literal["sharpe", "total_return"]


class CombinatorialResult:
    """Hold the out-of-sample paths of a combinatorial cross-validation.

    Parameters
    ----------
    returns : ndarray of shape (n_bars, n_paths)
        Simple returns of each path.
    folds : CombinatorialFolds
        Splits and paths.
    chosen : ndarray of shape (n_splits,)
        Number of the set that each split chose.
    score : ndarray of shape (n_splits,)
        Its measure in training, per bar.
    runs : SweepResult
        Where the returns are from.
    bars_per_year, risk_free : float
        For the measures.

    Attributes
    ----------
    returns : ndarray of shape (n_bars, n_paths)
        As given.
    timestamps : Series
        Of the bars.
    paths : DataFrame
        One row per path: ``path``, ``sharpe``, ``cagr``, ``volatility``,
        ``max_drawdown``, ``total_return``.
    splits : DataFrame
        One row per split: ``split``, ``test_groups``, ``set`` and the parameters that
        were chosen on the rest.
    """

    def __init__(
        self,
        *,
        returns: FloatBlock,
        folds: CombinatorialFolds,
        chosen: IntVector,
        runs: SweepResult,
        bars_per_year: float,
        risk_free: float,
    ) -> None:
        self.returns = returns
        self.timestamps = runs.timestamps
        self.paths = _paths(returns, bars_per_year, risk_free)
        names = ["set", *runs.parameter_names]
        self.splits = pl.DataFrame(
            {
                "split": np.arange(len(folds.splits)),
                "test_groups": [list(split.test_groups) for split in folds.splits],
            }
        ).with_columns(*runs.metrics[chosen].select(names).get_columns())

    def _rows(self) -> list[tuple[str, str]]:
        ratio = self.paths["sharpe"].drop_nulls()
        below = int((ratio < 0.0).sum())
        rows = [
            ("splits, paths", f"{len(self.splits):,}, {len(self.paths):,}"),
            ("sets chosen", f"{self.splits['set'].n_unique():,}"),
        ]
        for name, value in (
            ("Sharpe, worst path", ratio.min()),
            ("Sharpe, median", ratio.median()),
            ("Sharpe, best path", ratio.max()),
        ):
            number = value if isinstance(value, float) else float("nan")
            rows.append((name, f"{number:.3f}"))
        rows.append(("paths with a negative Sharpe", f"{below:,}"))
        return rows

    def __str__(self) -> str:
        rows = self._rows()
        width = max(len(name) for name, _ in rows)
        lines = ["CombinatorialResult"]
        lines += [f"  {name:<{width}}  {value:>20}" for name, value in rows]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><td style='text-align:left'>{html.escape(name)}</td>"
            f"<td style='text-align:right'>{html.escape(value)}</td></tr>"
            for name, value in self._rows()
        )
        return f"<div><table><tbody>{cells}</tbody></table></div>"


def combinatorial(
    runs: SweepResult,
    *,
    n_groups: int = 10,
    n_test: int = 2,
    purge: int = 0,
    embargo: int = 0,
    select: Measure = "sharpe",
) -> CombinatorialResult:
    """Choose sets on all but some groups of bars, and try them on these.

    Parameters
    ----------
    runs : SweepResult
        With ``keep="equity"``.  Sets that failed are left out.
    n_groups : int, default 10
        Groups of bars, in the order of time.
    n_test : int, default 2
        Groups in each test.
    purge, embargo : int, default 0
        Bars dropped from training before and after each test: as many as a position is
        held, or as a score looks back.
    select : {"sharpe", "total_return"}, default "sharpe"
        Measure of the training bars whose largest value is chosen; the earlier set
        among equals.

    Returns
    -------
    CombinatorialResult
        One row per path; ``returns`` are those of the paths.

    Raises
    ------
    ConfigError
        If a number is out of range.
    SimulationError
        If the sweep did not keep its equity, or no set has a measure on a split.

    Notes
    -----
    The returns are those of the sweep's own runs, with execution and costs, each set
    run once over all bars: a set that is chosen for a group enters it with the
    positions that it had before.

    References
    ----------
    M. Lopez de Prado (2018), "Advances in financial machine learning", chapter 12.
    """
    from barloop.folds import combinatorial_folds

    require_choice("select", select, get_args(Measure))
    for name in ("split", "test_groups"):
        if name in runs.parameter_names:
            msg = (
                f"a parameter cannot be named {name!r}, a column of the splits.\n"
                "Hint: name it otherwise in the weights function."
            )
            raise ConfigError(msg)
    returns = runs.returns()
    known = np.flatnonzero(runs.metrics["error"].is_null().to_numpy())
    bars_per_year, risk_free = runs.bars_per_year, runs.risk_free
    rate = risk_free_per_bar(risk_free, bars_per_year)
    folds = combinatorial_folds(
        returns.shape[0],
        n_groups=n_groups,
        n_test=n_test,
        purge=purge,
        embargo=embargo,
    )
    best = np.empty(len(folds.splits), dtype=np.int64)
    for k, split in enumerate(folds.splits):
        score = _scores(returns, split.train_mask(folds.n_bars), select, rate)
        if np.isnan(score).all():
            msg = f"no set has a {select} on the training bars of split {k}."
            raise SimulationError(msg)
        best[k] = np.nanargmax(score)
    paths = np.empty((folds.n_bars, folds.n_paths))
    for p in range(folds.n_paths):
        for split_number, start, stop in folds.segments(p):
            paths[start:stop, p] = returns[start:stop, best[split_number]]
    return CombinatorialResult(
        returns=paths,
        folds=folds,
        chosen=known[best],
        runs=runs,
        bars_per_year=bars_per_year,
        risk_free=risk_free,
    )


def _scores(
    returns: FloatBlock, is_train: BoolVector, select: Measure, rate: float
) -> FloatVector:
    """Return the measure of each set on the training bars; NaN where undefined."""
    chosen = returns[is_train]
    if select == "total_return":
        total: FloatVector = np.multiply.reduce(1.0 + chosen, axis=0) - 1.0
        return total
    n = chosen.shape[0]
    mean = np.add.reduce(chosen, axis=0) / n
    chosen -= mean
    np.multiply(chosen, chosen, out=chosen)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = np.sqrt(np.add.reduce(chosen, axis=0) / (n - 1))
        # Equal returns leave rounding, not a risk: their ratio is undefined.
        still = deviation <= 1e-15
        ratio: FloatVector = np.where(still, np.nan, (mean - rate) / deviation)
    return ratio


def _paths(returns: FloatBlock, bars_per_year: float, risk_free: float) -> pl.DataFrame:
    rows = []
    for p in range(returns.shape[1]):
        one = np.ascontiguousarray(returns[:, p])
        rows.append(
            {
                "path": p,
                "sharpe": sharpe(one, bars_per_year=bars_per_year, risk_free=risk_free),
                "cagr": cagr(one, bars_per_year=bars_per_year),
                "volatility": volatility(one, bars_per_year=bars_per_year),
                "max_drawdown": max_drawdown(one),
                "total_return": float(np.multiply.reduce(1.0 + one)) - 1.0,
            }
        )
    return pl.DataFrame(rows).fill_nan(None)
