"""Orders that a callback gives name by name: together they are a partial decision."""

from __future__ import annotations

import math
import numbers
from typing import Any

from barloop._kernels.tolerances import WEIGHT_DUST
from barloop.errors import WeightsError, suggestion
from barloop.limits import Limits
from barloop.panel import Panel
from barloop.weight_rows import weight_error


class BarOrders:
    """What a callback has ordered on the bar that is being decided.

    One object serves all bars of a run, so that a callback that orders nothing pays
    nothing for it.

    Parameters
    ----------
    panel : Panel
        Assets by name.
    limits : Limits
        Shorts.

    Attributes
    ----------
    t : int
        The bar that is being decided, -1 between two of them.
    weights : dict of int to float
        Target weights by column of the panel, in the order of the calls.
    """

    __slots__ = ("_limits", "_panel", "t", "weights")

    def __init__(self, panel: Panel, limits: Limits) -> None:
        self._panel = panel
        self._limits = limits
        self.t = -1
        self.weights: dict[int, float] = {}

    def at(self, t: int) -> BarOrders:
        """Forget what was ordered before and take orders on bar t."""
        self.t = t
        self.weights.clear()
        return self

    def add(self, asset: Any, weight: Any, t: int) -> None:
        """Check one order at once and keep it.

        Parameters
        ----------
        asset : object
            A value of the asset column.
        weight : float
            Signed fraction of equity.
        t : int
            The bar that was asked.

        Raises
        ------
        WeightsError
            If the bar is over, the asset unknown or ordered with another weight
            before, or the weight not valid; names bar, asset and value.
        """
        panel = self._panel
        if t != self.t:
            msg = (
                f"an order for asset {asset!r} came after its bar, "
                f"{panel.show_bar(t)}, was decided.\n"
                "Hint: order on the bar that the weights function is called with."
            )
            raise WeightsError(msg)
        try:
            i = panel.asset_index[asset]
        except (KeyError, TypeError):
            raise unknown_asset(panel, t, asset) from None
        wanted = weight_number(panel, t, i, weight)
        if abs(wanted) <= WEIGHT_DUST:
            wanted = 0.0
        elif not math.isfinite(wanted) or (
            wanted < 0.0 and not self._limits.allow_short
        ):
            raise weight_error(panel, t, i, wanted)
        before = self.weights.setdefault(i, wanted)
        if before != wanted:
            msg = (
                f"asset {panel.show_asset(i)} is ordered twice at "
                f"{panel.show_bar(t)}, first to {before!r}, then to {wanted!r}.\n"
                "Hint: order each asset once per bar, with its final weight."
            )
            raise WeightsError(msg)


def unknown_asset(panel: Panel, t: int, asset: Any, hint: str = "") -> WeightsError:
    """Describe a name that is no asset of the data.

    Parameters
    ----------
    panel : Panel
        For the names.
    t : int
        The bar of the decision.
    asset : object
        What the user gave.
    hint : str, optional
        A last line.

    Returns
    -------
    WeightsError
        To be raised by the caller.
    """
    known = [str(one) for one in panel.asset_values]
    near = suggestion(asset, known) if isinstance(asset, str) else ""
    return WeightsError(
        f"the weights at {panel.show_bar(t)} name an unknown asset "
        f"{asset!r}; the data has {len(known):,} "
        f"{'asset' if len(known) == 1 else 'assets'}.{near}{hint}"
    )


def weight_number(panel: Panel, t: int, asset: int, value: Any) -> float:
    """Return a weight as a float.

    Parameters
    ----------
    panel : Panel
        For the names.
    t, asset : int
        Where it stands.
    value : object
        What the user gave; numpy numbers are numbers, booleans are not.

    Returns
    -------
    float
        The number, not checked otherwise.

    Raises
    ------
    WeightsError
        If it is no number.
    """
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    msg = (
        f"weights must be numbers: {value!r} at {panel.show_bar(t)}, "
        f"asset {panel.show_asset(asset)}."
    )
    raise WeightsError(msg)
