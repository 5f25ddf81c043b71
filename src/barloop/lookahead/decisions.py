"""Decisions of all bars, and where two such lists differ first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from barloop._kernels.tolerances import WEIGHT_DUST
from barloop.enums import BarField, Decision
from barloop.panel import Panel
from barloop.simulation import Simulation
from barloop.typing import BoolVector, ByteVector, FloatVector, IntVector

RELATIVE = 1e-9
"""Weights that are this close are equal.

The same sum over an array of another shape may add in another order: numpy adds in
pairs, BLAS in blocks, the streaming engine of polars as threads finish.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """Decisions of all bars, in the bars and assets of the run that is checked.

    Parameters
    ----------
    kind : ndarray of shape (n_bars,), int8
        `Decision` codes.
    cell : ndarray of shape (n,)
        ``bar * n_assets + asset`` of each name, ascending.
    weight : ndarray of shape (n,)
        Signed fraction of equity.
    n_assets : int
        Assets of the run.
    """

    kind: ByteVector
    cell: IntVector
    weight: FloatVector
    n_assets: int


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where two answers differ.

    Parameters
    ----------
    bar, asset : int
        Where; -1 as the asset when the whole decision differs.
    known, all : float
        The weights; NaN where the asset is not decided.
    known_kind, all_kind : int
        The `Decision` codes.
    """

    bar: int
    asset: int
    known: float
    all: float
    known_kind: int
    all_kind: int


def first_difference(known: Decided, whole: Decided, stop: int) -> Difference | None:
    """Find where two answers differ first.

    Parameters
    ----------
    known, whole : Decided
        Decisions of the same run.
    stop : int
        Compare the bars before this one.

    Returns
    -------
    Difference or None
        None when all decisions are equal; a name that a complete decision leaves out
        has the weight 0.
    """
    n_assets = known.n_assets
    ends = [np.searchsorted(one.cell, stop * n_assets) for one in (known, whole)]
    pairs = list(zip((known, whole), ends, strict=True))
    cell = np.unique(np.concatenate([one.cell[:end] for one, end in pairs]))
    bar = cell // n_assets
    weights = []
    for one, end in pairs:
        weight = np.where(one.kind[bar] == Decision.COMPLETE, 0.0, np.nan)
        weight[np.searchsorted(cell, one.cell[:end])] = one.weight[:end]
        weights.append(weight)
    differs = ~same_weights(*weights)
    differing_kind = known.kind[:stop] != whole.kind[:stop]
    first_kind = int(differing_kind.argmax()) if differing_kind.any() else stop
    k = int(differs.argmax()) if differs.any() else -1
    if k < 0 or bar[k] > first_kind:
        if first_kind == stop:
            return None
        return Difference(
            first_kind,
            -1,
            np.nan,
            np.nan,
            int(known.kind[first_kind]),
            int(whole.kind[first_kind]),
        )
    t = int(bar[k])
    return Difference(
        t,
        int(cell[k] % n_assets),
        float(weights[0][k]),
        float(weights[1][k]),
        int(known.kind[t]),
        int(whole.kind[t]),
    )


def same_weights(a: FloatVector, b: FloatVector) -> BoolVector:
    """Tell which weights are equal, up to what another order of a sum may change.

    Parameters
    ----------
    a, b : ndarray of the same shape
        NaN equals NaN.
    """
    size = np.fmax(np.abs(a), np.abs(b))
    with np.errstate(invalid="ignore"):
        close = np.abs(a - b) <= np.fmax(RELATIVE * size, WEIGHT_DUST)
    return close | (np.isnan(a) & np.isnan(b))


def read_rows(
    simulation: Simulation, place: IntVector, assets: IntVector, own: Panel
) -> Decided:
    """Read the decisions of columnar weights; nothing needs to run.

    Parameters
    ----------
    simulation : Simulation
        On any data.
    place, assets : ndarray of int64
        Bar and asset of the run that is checked, for each of the data.
    own : Panel
        Of the run that is checked.

    Returns
    -------
    Decided
        In bars and assets of `own`.
    """
    said = simulation.decisions
    kind = np.zeros(own.n_bars, dtype=np.int8)
    taken = np.flatnonzero(said.kind)
    kind[place[taken]] = said.kind[taken]
    bar = np.repeat(place, np.diff(said.start))
    n = bar.size
    return _sorted(kind, bar, assets[said.asset[:n]], said.weight[:n], own.n_assets)


def read_calls(
    simulation: Simulation, place: IntVector, assets: IntVector, own: Panel
) -> tuple[Decided, int, Exception | None]:
    """Run a callback, compiled or not, and read its decisions, bar by bar.

    Parameters
    ----------
    simulation, place, assets, own
        See `read_rows`.

    Returns
    -------
    decided : Decided
        In bars and assets of `own`.
    bar : int
        Where it raised, -1 if it did not.
    error : Exception or None
        What it raised.
    """
    kind = np.zeros(own.n_bars, dtype=np.int8)
    bars, names, weights = [], [], [np.empty(0)]
    failed: tuple[int, Exception | None] = -1, None
    simulation.reset(keep_log=False)
    for t in np.flatnonzero(simulation.is_rebalance).tolist():
        bar = int(place[t])
        try:
            simulation.run(t + 1)
        except Exception as error:
            failed = bar, error
            break
        kind[bar] = simulation.bars[BarField.DECISION, t]
        if kind[bar] != Decision.NONE:
            said = simulation.decisions
            n = int(said.start[1])
            bars.append(np.full(n, bar))
            names.append(assets[said.asset[:n]])
            weights.append(said.weight[:n].copy())
    none = np.empty(0, dtype=np.int64)
    bar_of, asset_of = (np.concatenate([none, *one]) for one in (bars, names))
    decided = _sorted(kind, bar_of, asset_of, np.concatenate(weights), own.n_assets)
    return decided, *failed


def _sorted(
    kind: ByteVector, bar: IntVector, asset: IntVector, weight: FloatVector, n: int
) -> Decided:
    cell = bar * n + asset
    order = np.argsort(cell, kind="stable")
    return Decided(kind, cell[order], weight[order], n)
