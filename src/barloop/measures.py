"""The measures of many runs, each a vector of numbers made without Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from barloop.enums import Counter
from barloop.numerics import TAIL, risk_free_per_bar
from barloop.typing import FloatBlock, FloatVector

if TYPE_CHECKING:
    from barloop.simulation import Simulation

COUNTED = ("max_drawdown_duration", "n_fills", "n_rebalances", "n_bars")
"""Measures that are whole numbers."""


class Measurer:
    """Measure one finished run after another, in the same buffers.

    Parameters
    ----------
    n_bars : int
        Bars of the panel.
    """

    def __init__(self, n_bars: int) -> None:
        from barloop._kernels.statistics import MEASURES, N_WORK

        self._work: FloatBlock = np.empty((N_WORK, n_bars))
        self._measures: FloatVector = np.empty(len(MEASURES))
        self._terms: tuple[float, float] | None = None
        self._rate = 0.0

    def measure(self, simulation: Simulation) -> FloatVector:
        """Measure a run.

        Parameters
        ----------
        simulation : Simulation
            After `run`.

        Returns
        -------
        ndarray of shape (len(MEASURES),)
            The numbers of `barloop.summary.summary`, bit for bit; NaN for its None.
            Overwritten by the next call.
        """
        from barloop._kernels.statistics import measure

        counters, config = simulation.state.counters, simulation.config
        terms = (float(config.risk_free), float(simulation.bars_per_year))
        if terms != self._terms:
            self._terms, self._rate = terms, risk_free_per_bar(*terms)
        measure(
            simulation.bars,
            simulation.first_bar,
            float(config.initial_cash),
            terms[1],
            self._rate,
            TAIL,
            int(counters[Counter.N_FILLS] - counters[Counter.N_FLOWS]),
            bool(counters[Counter.RUINED_AT] >= 0),
            self._work,
            self._measures,
        )
        return self._measures
