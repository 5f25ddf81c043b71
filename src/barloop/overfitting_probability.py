"""How often the best set of one half of the bars fails in the other half."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from barloop.errors import ConfigError, suggestion
from barloop.halves import HalfMetric, winners
from barloop.numerics import check_bars_per_year, ratio
from barloop.returns_block import rate_per_bar, returns_block
from barloop.typing import FloatVector, IntVector

MAX_BLOCKS = 22
"""705,432 partitions; 24 blocks have 2.7 million."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PBOResult:
    """Probability of backtest overfitting, and what it was counted from.

    Attributes
    ----------
    pbo : float
        Share of the partitions whose logit is 0 or below, from 0 to 1.
    probability_of_loss : float
        Share of the partitions in which the best set of one half has a negative
        measure in the other.
    slope, intercept, r_squared : float
        Least squares line of `out_of_sample` on `in_sample`; NaN where the latter does
        not vary.  A slope near 0 or below says that results do not carry over.
    logits : array of shape (n_partitions,)
        ``log(w / (1 - w))`` with ``w = rank / (n_sets + 1)``; rank 1 is the worst.
    in_sample, out_of_sample : arrays of shape (n_partitions,)
        Measure of the best set in its half, and in the other.
    selected : array of shape (n_partitions,), int64
        Number of that set.
    metric : str
        What was measured, with its unit.
    n_bars, n_sets, n_blocks : int
        What it was measured on.
    """

    pbo: float
    probability_of_loss: float
    slope: float
    intercept: float
    r_squared: float
    logits: FloatVector = field(repr=False)
    in_sample: FloatVector = field(repr=False)
    out_of_sample: FloatVector = field(repr=False)
    selected: IntVector = field(repr=False)
    metric: str
    n_bars: int
    n_sets: int
    n_blocks: int

    @property
    def n_partitions(self) -> int:
        """Number of ways to choose half of the blocks."""
        return self.logits.size

    def __str__(self) -> str:
        n_worse = int(np.count_nonzero(self.logits <= 0.0))
        inside = float(np.add.reduce(self.in_sample)) / self.n_partitions
        outside = float(np.add.reduce(self.out_of_sample)) / self.n_partitions
        return (
            f"Probability of backtest overfitting {self.pbo:.1%}: in {n_worse:,} of "
            f"{self.n_partitions:,} splits in halves, the best of {self.n_sets:,} sets "
            "in one half was at or below the median in the other.\n"
            f"On average, the best set's {self.metric} fell from {inside:.3g} to "
            f"{outside:.3g}; it was negative in {self.probability_of_loss:.1%} of the "
            f"splits; slope of the second on the first {self.slope:.2f}."
        )


def probability_of_backtest_overfitting(
    returns: npt.ArrayLike,
    *,
    n_blocks: int = 16,
    metric: str | HalfMetric = "sharpe",
    risk_free: float = 0.0,
    bars_per_year: float | None = None,
) -> PBOResult:
    """Compute how often the best set of one half of the bars fails in the other.

    Parameters
    ----------
    returns : array of shape (n_bars, n_sets)
        Simple returns of all sets that were tried, good and bad, all finite; at least
        two sets, and two bars for each block.
    n_blocks : int, default 16
        Even, from 2 to 22; 16 blocks have 12,870 partitions.
    metric : "sharpe", "mean" or callable, default "sharpe"
        What is best.  A callable gets the returns of a half, shape (n, n_sets), and
        returns one finite number per set, higher is better; it is called twice for
        every two partitions, so it should be quick.
    risk_free : float, default 0.0
        Annual rate that is taken off the returns; not for a callable.
    bars_per_year : float, optional
        Makes the named measures of the result annual; they are per bar without.  Those
        of a callable stay as it returns them.  Needed with a `risk_free` other than 0.

    Returns
    -------
    PBOResult
        ``print`` explains it in two lines.

    Raises
    ------
    SchemaError
        If there are too few bars or sets, or a return is not finite.
    ConfigError
        If a setting is out of range.

    Notes
    -----
    Combinatorially symmetric cross-validation.  The bars are cut into `n_blocks`
    contiguous blocks; for every choice of half of them, the set that is best on these
    is ranked on the others.  About 0.5 is what sets without skill give.

    Every bar counts: when `n_bars` is no multiple of `n_blocks`, the first blocks have
    one bar more than the last.  (Other programs drop bars, which moves the result.)

    Equal measures share the mean of their ranks.  Of several sets that are equally best
    in one half, the one that is worst in the other half is taken, so that the order of
    the sets does not matter.  In a half where the returns of a set do not vary, as
    before its first trade, its Sharpe ratio is 0: nothing won, nothing lost.

    References
    ----------
    D. H. Bailey, J. M. Borwein, M. Lopez de Prado and Q. J. Zhu (2017), "The
    probability of backtest overfitting", Journal of Computational Finance 20(4).

    Examples
    --------
    >>> import numpy as np
    >>> from barloop.overfitting import probability_of_backtest_overfitting
    >>> noise = np.random.default_rng(7).normal(0.0, 0.01, (1000, 50))
    >>> probability_of_backtest_overfitting(noise).pbo > 0.3
    True
    """
    _check_blocks(n_blocks)
    block = returns_block(
        returns,
        least_bars=2 * n_blocks,
        least_sets=2,
        hint="one row per bar, one column per set; a smaller n_blocks needs fewer bars",
    )
    if callable(metric):
        if risk_free != 0.0:
            msg = (
                "risk_free has no meaning with a callable metric.\n"
                "Hint: let the callable take it off, or pass returns without it."
            )
            raise ConfigError(msg)
        name, scale = str(getattr(metric, "__name__", "measure")), 1.0
    else:
        name, scale = _named_metric(metric, bars_per_year)
    rate = rate_per_bar(risk_free, bars_per_year)
    found = winners(block, int(n_blocks), metric, rate)
    inside, outside = found.in_sample * scale, found.out_of_sample * scale
    n = inside.size
    x = inside - float(np.add.reduce(inside)) / n
    y = outside - float(np.add.reduce(outside)) / n
    sum_xy = float(np.add.reduce(x * y))
    varies = bool(np.maximum.reduce(inside) > np.minimum.reduce(inside))
    sum_xx = float(np.add.reduce(x * x)) if varies else 0.0
    slope = ratio(sum_xy, sum_xx)
    intercept = float(np.add.reduce(outside - slope * inside)) / n
    return PBOResult(
        pbo=int(np.count_nonzero(found.logits <= 0.0)) / n,
        probability_of_loss=int(np.count_nonzero(outside < 0.0)) / n,
        slope=slope,
        intercept=intercept,
        r_squared=ratio(slope * sum_xy, float(np.add.reduce(y * y))),
        logits=found.logits,
        in_sample=inside,
        out_of_sample=outside,
        selected=found.selected,
        metric=name,
        n_bars=block.shape[0],
        n_sets=block.shape[1],
        n_blocks=int(n_blocks),
    )


def _check_blocks(n_blocks: int) -> None:
    whole = isinstance(n_blocks, numbers.Integral) and not isinstance(n_blocks, bool)
    if not whole or n_blocks % 2 or not 2 <= n_blocks <= MAX_BLOCKS:
        msg = (
            f"n_blocks must be an even number from 2 to {MAX_BLOCKS}, got {n_blocks!r}."
        )
        raise ConfigError(msg)


def _named_metric(metric: str, bars_per_year: float | None) -> tuple[str, float]:
    known = ("sharpe", "mean")
    if metric not in known:
        near = suggestion(metric, known) if isinstance(metric, str) else ""
        msg = f"metric must be 'sharpe', 'mean' or a callable, got {metric!r}.{near}"
        raise ConfigError(msg)
    if bars_per_year is not None:
        check_bars_per_year(bars_per_year)
    unit, years = ("bar", 1.0) if bars_per_year is None else ("year", bars_per_year)
    if metric == "sharpe":
        return f"Sharpe ratio per {unit}", math.sqrt(years)
    return f"mean return per {unit}", years
