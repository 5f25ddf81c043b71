"""What a Python callback sees: one bar, everything up to it and nothing after."""

from __future__ import annotations

from typing import Any

import numpy as np

from barloop.context import AlignedContext
from barloop.enums import AssetField
from barloop.errors import (
    PanelError,
    SimulationError,
    UnknownNameError,
    suggestion,
)
from barloop.orders import BarOrders
from barloop.panel import Panel
from barloop.schema import listed
from barloop.typing import FloatBlock, FloatPanel, FloatVector

PRICES = ("open", "high", "low", "close", "volume")


class History:
    """Prices and features of all bars up to and including this one.

    ``history.close`` is (t + 1, n_assets), read-only; every feature goes by its name.
    ``history("close", 20)`` is the last 20 rows, (20, n_assets), and raises when the
    past is shorter.
    """

    __slots__ = ("_panel", "_t")

    def __init__(self, panel: Panel, t: int) -> None:
        self._panel = panel
        self._t = t

    def __getattr__(self, name: str) -> FloatPanel:
        if name.startswith("__"):
            raise AttributeError(name)
        return _values(self._panel, name, "bar.history")[: self._t + 1]

    def __call__(self, name: str, n_bars: int) -> FloatPanel:
        """Return the last `n_bars` rows of a price or feature, (n_bars, n_assets)."""
        have = self._t + 1
        if not isinstance(name, str):
            msg = f"history({name!r}, {n_bars!r}): give one price or feature by name."
            raise SimulationError(msg)
        if not isinstance(n_bars, (int, np.integer)) or n_bars < 1:
            msg = (
                f"history({name!r}, {n_bars!r}): the number of bars must be a positive "
                "integer."
            )
            raise SimulationError(msg)
        if n_bars > have:
            msg = (
                f"history({name!r}, {n_bars}) at bar {self._t} "
                f"({self._panel.show_bar(self._t)}): only {have:,} "
                f"{'bar is' if have == 1 else 'bars are'} known.\n"
                f"Hint: return None until bar.t >= {n_bars - 1}."
            )
            raise SimulationError(msg)
        return _values(self._panel, name, "bar.history")[have - n_bars : have]


class ContextView:
    """Market-wide values known at this bar: ``bar.context.vix`` is a float.

    NaN where the context has no value for the bar.
    """

    __slots__ = ("_context", "_t")

    def __init__(self, context: AlignedContext | None, t: int) -> None:
        self._context = context
        self._t = t

    def __getattr__(self, name: str) -> float:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._context is None:
            msg = (
                f"bar.context.{name}: no context was given.\n"
                "Hint: give one, run_backtest(..., context=frame)."
            )
            raise UnknownNameError(msg)
        values = self._context.values
        if name not in values:
            msg = (
                f"the context has no column {name!r}; it has {listed(values)}."
                f"{suggestion(name, values)}"
            )
            raise UnknownNameError(msg)
        return float(values[name][self._t])


class Bar:
    """One bar as a weights function sees it, after fills and mark.

    Prices and features of this bar go by name, each (n_assets,) in the order of
    `assets`, read-only, NaN where the asset has no bar: ``bar.close``,
    ``bar.ml_score``.  What belongs to the account is a copy of this moment and does
    not change later.  Decide by returning weights, or name by name with
    `order_target_percent` and `close_position`.

    Attributes
    ----------
    t : int
        Number of the bar, from 0 at the first bar of the data.
    cash, equity : float
        Currency, after the fills of this bar, at its close.
    history : History
        All bars up to this one: ``bar.history.close`` is (t + 1, n_assets).
    context : ContextView
        Market-wide values: ``bar.context.vix``.

    Notes
    -----
    Prices, features and history are those of the data, also where corporate actions
    are given: a split changes positions and entry prices on its bar, not the prices of
    the bars before.
    """

    __slots__ = ("_account", "_context", "_orders", "_panel", "cash", "equity", "t")

    def __init__(
        self,
        panel: Panel,
        context: AlignedContext | None,
        t: int,
        account: FloatBlock,  # (AssetField, n_assets), a copy
        cash: float,
        equity: float,
        orders: BarOrders,
    ) -> None:
        self._panel = panel
        self._context = context
        self._account = account
        self._orders = orders
        self.t = t
        self.cash = cash
        self.equity = equity

    def __getattr__(self, name: str) -> FloatVector:
        if name.startswith("__"):
            raise AttributeError(name)
        values: FloatVector = _values(self._panel, name, "bar")[self.t]
        return values

    def __repr__(self) -> str:
        return f"Bar(t={self.t}, timestamp={self._panel.show_bar(self.t)})"

    def feature(self, name: str) -> FloatVector:
        """Return a column of the data at this bar, whatever its name is.

        Parameters
        ----------
        name : str
            Needed where a column is named like an attribute of the bar, such as
            ``"weights"`` or ``"cash"``.

        Returns
        -------
        ndarray of shape (n_assets,)
            Read-only; NaN where the asset has no row or a null.
        """
        values: FloatVector = _values(self._panel, name, "bar.feature")[self.t]
        return values

    def order_target_percent(self, asset: Any, weight: float) -> None:
        """Order the position of one asset to a weight; the others stay.

        The orders of a call are one partial decision, as if the callback had returned
        ``partial({...})`` with all of them: the same bits.  Return None after ordering.

        Parameters
        ----------
        asset : object
            A value of the asset column, such as one of `assets`.
        weight : float
            Signed fraction of equity; 0 closes the position.

        Raises
        ------
        WeightsError
            At once, if the asset is unknown, the weight is not valid, the asset was
            ordered to another weight on this bar, or the bar is over; after the call,
            if the absolute weights sum to more than `max_gross`, or if the callback
            returns a decision as well.

        Notes
        -----
        The order is sized and filled like any other, after the callback returns: a
        second call sees the cash and positions of the first.
        """
        self._orders.add(asset, weight, self.t)

    def close_position(self, asset: Any) -> None:
        """Order the position of one asset to 0; also drops what waits for it.

        Parameters
        ----------
        asset : object
            A value of the asset column.  One that is not held is no error.

        See Also
        --------
        order_target_percent : The same with a weight.
        """
        self._orders.add(asset, 0.0, self.t)

    @property
    def timestamp(self) -> Any:
        """Timestamp of the bar, as a Python value."""
        return self._panel.timestamp_at(self.t)

    @property
    def assets(self) -> tuple[Any, ...]:
        """Assets in panel order, as Python values."""
        return self._panel.asset_values

    @property
    def history(self) -> History:
        """All bars up to and including this one."""
        return History(self._panel, self.t)

    @property
    def context(self) -> ContextView:
        """Market-wide values known at this bar."""
        return ContextView(self._context, self.t)

    @property
    def positions(self) -> FloatVector:
        """Signed units held, (n_assets,)."""
        positions: FloatVector = self._account[AssetField.POSITION]
        return positions

    @property
    def weights(self) -> FloatVector:
        """Position values at last known closes as fractions of equity, (n_assets,)."""
        return self._value(self._account[AssetField.LAST_CLOSE]) / self.equity

    @property
    def entry_price(self) -> FloatVector:
        """Average entry price, slippage in, commission out; NaN where flat."""
        entry_price: FloatVector = self._account[AssetField.ENTRY_PRICE]
        return entry_price

    @property
    def bars_held(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Bars since the position was opened, 0 on its first bar and where flat."""
        entry = self._account[AssetField.ENTRY_BAR]
        held = np.where(self.positions != 0.0, self.t - entry, 0.0)
        return held.astype(np.int64)

    @property
    def unrealized_pnl(self) -> FloatVector:
        """Position times last known close minus entry price, currency; 0 where flat."""
        account = self._account
        return self._value(
            account[AssetField.LAST_CLOSE] - account[AssetField.ENTRY_PRICE]
        )

    def _value(self, price: FloatVector) -> FloatVector:
        # A flat asset may have a NaN price: 0 * NaN would poison the result.
        return np.where(self.positions != 0.0, self.positions * price, 0.0)


def _values(panel: Panel, name: str, owner: str) -> FloatPanel:
    if name in PRICES:
        prices: FloatPanel | None = getattr(panel, name)
        if prices is not None:
            return prices
    try:
        return panel.feature(name)
    except PanelError as error:
        raise UnknownNameError(_unknown(panel, name, owner, error)) from None


def _unknown(panel: Panel, name: str, owner: str, error: PanelError) -> str:
    """Say why a price or feature is not there, and which name may be meant."""
    keys = {panel.timestamp_name: "bar.timestamp", panel.asset_name: "bar.assets"}
    if name in keys:
        return (
            f"{owner} has no {name!r}: it is a key of the data.\n"
            f"Hint: use {keys[name]}."
        )
    if name in panel.frame.columns:
        return str(error)
    known = [price for price in PRICES if getattr(panel, price) is not None]
    known += panel.feature_names
    own = [one for one in dir(Bar) if not one.startswith("_")]
    if owner != "bar" and name in own:
        near = f" Did you mean 'bar.{name}'?"
    else:
        near = suggestion(str(name), [*known, *own] if owner == "bar" else known)
    return f"{owner} has no {name!r}; the data has {listed(known)}.{near}"
