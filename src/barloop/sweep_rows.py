"""The table of a sweep: a few numbers for each set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from barloop.batch import Outcome
from barloop.measures import COUNTED
from barloop.sets import SetList
from barloop.sweep_store import StoredRows


class Rows:
    """Collect the outcomes of sets, a few numbers each.

    Parameters
    ----------
    n_sets : int
        Their number.
    kept : sequence of str
        Measures to keep, in order.
    known : sequence of str
        The measures of an outcome, in order.

    Attributes
    ----------
    is_known : ndarray of bool, shape (n_sets,)
        Sets that were loaded.
    """

    def __init__(self, n_sets: int, kept: Sequence[str], known: Sequence[str]) -> None:
        self._places = [known.index(name) for name in kept]
        self._columns = {name: np.full(n_sets, np.nan) for name in kept}
        self._errors: dict[int, str] = {}
        self.is_known = np.zeros(n_sets, dtype=np.bool_)

    def add(self, outcome: Outcome) -> None:
        """Take one outcome; those of equal number replace each other."""
        for column, place in zip(self._columns.values(), self._places, strict=True):
            column[outcome.number] = outcome.measures[place]
        if outcome.error is not None:
            self._errors[outcome.number] = outcome.error

    def load(self, stored: StoredRows) -> None:
        """Take outcomes of an earlier sweep."""
        for column, place in zip(self._columns.values(), self._places, strict=True):
            column[stored.places] = stored.metrics[:, place]
        self._errors.update(stored.errors)
        self.is_known[stored.places] = True

    def frame(self, sets: SetList) -> pl.DataFrame:
        """Return one row per set; can be called once, for it gives its memory away.

        Parameters
        ----------
        sets : SetList
            The parameters.

        Returns
        -------
        DataFrame
            ``set``, the parameters, the measures, ``error``.
        """
        columns = [
            pl.Series("set", np.arange(len(sets))),
            *sets.columns().get_columns(),
        ]
        while self._columns:
            name = next(iter(self._columns))
            values = pl.Series(name, self._columns.pop(name), nan_to_null=True)
            if name in sets.names:
                continue
            columns.append(values.cast(pl.Int64) if name in COUNTED else values)
        errors = pl.Series("error", [None], dtype=pl.String).new_from_index(
            0, len(sets)
        )
        if self._errors:
            places = sorted(self._errors)
            errors = errors.scatter(places, [self._errors[k] for k in places])
        return pl.DataFrame([*columns, errors])
