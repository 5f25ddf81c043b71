"""Costs of a run as panels: one row for all bars, or one row per bar."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from barloop.config import BacktestConfig
from barloop.costs import ALL_OF_THE_PRICE, BASIS_POINTS, Spread
from barloop.errors import ConfigError, PanelError, suggestion
from barloop.layout import frozen
from barloop.panel import Panel
from barloop.per_asset import Quantity
from barloop.schema import are, listed, show
from barloop.typing import BoolVector, FloatPanel

if TYPE_CHECKING:
    from barloop._kernels.buffers import Costs


def costs_of(panel: Panel, config: BacktestConfig, first_bar: int) -> Costs:
    """Bring all costs of fills to panels.

    Parameters
    ----------
    panel : Panel
        Columns and assets.
    config : BacktestConfig
        Numbers, mappings and names of columns.
    first_bar : int
        Where the run starts; what stands on bars before is not checked.

    Returns
    -------
    Costs
        Read-only, (1, n_assets) where constant, else (n_bars, n_assets).

    Raises
    ------
    ConfigError
        If a mapping misses an asset, a column does not exist, or a value is null,
        not finite or out of range on a bar of the run; names the first one.
    """
    from barloop._kernels.buffers import Costs

    commission, slippage = config.commission, config.slippage

    def made(value: Quantity, path: str) -> FloatPanel:
        return quantity_panel(panel, value, path, first_bar)

    def rate_of(bps: Quantity, path: str) -> FloatPanel:
        below = ALL_OF_THE_PRICE
        return quantity_panel(panel, bps, path, first_bar, below=below) / BASIS_POINTS

    maximum = math.inf if commission.maximum is None else commission.maximum
    volatility = 0.0 if slippage.volatility is None else slippage.volatility
    spread = spread_panel(panel, slippage.half_spread, first_bar)
    costs = Costs(
        commission_rate=frozen(rate_of(commission.bps, "commission.bps")),
        per_share=made(commission.per_share, "commission.per_share"),
        per_order=made(commission.per_order, "commission.per_order"),
        minimum=made(commission.minimum, "commission.minimum"),
        maximum=made(maximum, "commission.maximum"),
        slippage_rate=frozen(rate_of(slippage.bps, "slippage.bps") + spread),
        volatility=made(volatility, "slippage.volatility"),
    )
    _refuse_crossed(panel, costs.minimum, costs.maximum, first_bar)
    return costs


def borrow_rates(
    panel: Panel, config: BacktestConfig, first_bar: int, bars_per_year: float
) -> FloatPanel:
    """Bring the borrow rate, a fraction of the short value per bar, to a panel.

    Parameters
    ----------
    panel : Panel
        Columns and assets.
    config : BacktestConfig
        With `financing.borrow_rate`, per year.
    first_bar : int
        Where the run starts; what stands on bars before is not checked.
    bars_per_year : float
        Divides the rate.

    Returns
    -------
    ndarray of shape (1, n_assets) or (n_bars, n_assets)
        Read-only.
    """
    rate = config.financing.borrow_rate
    raw = quantity_panel(panel, rate, "financing.borrow_rate", first_bar)
    return frozen(raw / bars_per_year)


def quantity_panel(
    panel: Panel,
    value: Quantity,
    path: str,
    first_bar: int,
    *,
    below: float = math.inf,
) -> FloatPanel:
    """Bring a number, mapping or column to a panel.

    Parameters
    ----------
    panel : Panel
        Columns and assets.
    value : float, mapping of asset to number, or str
        Checked when the configuration was made, but for the values of a column.
    path : str
        Path of the setting, for messages.
    first_bar : int
        Where the run starts; what stands on bars before is not checked.
    below : float, optional
        Exclusive upper bound of the values of a column.

    Returns
    -------
    ndarray of shape (1, n_assets) or (n_bars, n_assets)
        Read-only.  Where an asset has no bar the last value holds, 0 before the first.
    """
    if isinstance(value, Mapping):
        return _by_asset(panel, value, path)
    if not isinstance(value, str):
        return frozen(np.full((1, panel.n_assets), value))
    values = column_panel(panel, value, path)
    has_bar = ~np.isnan(panel.close)
    with np.errstate(invalid="ignore"):
        valid = has_bar & (values >= 0.0) & (values < below)
    wanted = "a finite number from 0"
    if below < math.inf:
        wanted = f"at least 0 and less than {below:g}"
    _refuse_invalid(
        panel, f"{path}={value!r}", wanted, has_bar & ~valid, first_bar, {value: values}
    )
    return _held(values, valid)


def spread_panel(panel: Panel, half_spread: Spread, first_bar: int) -> FloatPanel:
    """Bring the half spread, a fraction of the price, to a panel.

    Parameters
    ----------
    panel : Panel
        Columns and assets.
    half_spread : float, mapping, str, or pair of str
        A quantity, or the names of the bid and the ask column.
    first_bar : int
        Where the run starts; what stands on bars before is not checked.

    Returns
    -------
    ndarray of shape (1, n_assets) or (n_bars, n_assets)
        Read-only; ``(ask - bid) / (ask + bid)`` of a pair.
    """
    path = "slippage.half_spread"
    if not isinstance(half_spread, tuple):
        return quantity_panel(panel, half_spread, path, first_bar, below=1.0)
    bid, ask = (column_panel(panel, name, path) for name in half_spread)
    has_bar = ~np.isnan(panel.close)
    with np.errstate(invalid="ignore", divide="ignore"):
        valid = has_bar & (bid > 0.0) & (ask >= bid) & (ask < math.inf)
        values = (ask - bid) / (ask + bid)
    _refuse_invalid(
        panel,
        f"{path}={half_spread!r}",
        "a positive bid and an ask that is no lower",
        has_bar & ~valid,
        first_bar,
        dict(zip(half_spread, (bid, ask), strict=True)),
    )
    return _held(values, valid)


def column_panel(panel: Panel, name: str, path: str) -> FloatPanel:
    """Return a column that a setting names.

    Parameters
    ----------
    panel : Panel
        The data.
    name : str
        The column.
    path : str
        Path of the setting, for messages.

    Returns
    -------
    ndarray of shape (n_bars, n_assets)
        Read-only; NaN where null.

    Raises
    ------
    ConfigError
        If there is no such column, or it is not numeric.
    """
    try:
        return panel.feature(name)
    except PanelError as error:
        columns = panel.frame.columns
        if name in columns:
            dtype = panel.frame.schema[name]
            msg = (
                f"{path} names the column {name!r}, which must be numeric, got {dtype}."
                f"\nHint: cast it, e.g. pl.col({name!r}).cast(pl.Float64)."
            )
        else:
            msg = (
                f"{path} names the column {name!r}, and the data has {listed(columns)}."
                f"{suggestion(name, columns)}"
            )
        raise ConfigError(msg) from error


def _by_asset(panel: Panel, values: Mapping[object, float], path: str) -> FloatPanel:
    missing = [asset for asset in panel.asset_values if asset not in values]
    if missing:
        names = [str(key) for key in values]
        near = suggestion(str(missing[0]), names)
        if str(missing[0]) in names:
            near = f" The assets of the data are {panel.assets.dtype}."
        n = len(missing)
        msg = (
            f"{path} must name every asset of the data: {n:,} of {panel.n_assets:,} "
            f"{are(n)} missing, first {show(missing[0])}.{near}"
            f"\nHint: add {'it' if n == 1 else 'them'}, 0 is a number too."
        )
        raise ConfigError(msg)
    row = [values[asset] for asset in panel.asset_values]
    return frozen(np.array([row], dtype=np.float64))


def _refuse_invalid(
    panel: Panel,
    what: str,
    wanted: str,
    wrong: BoolVector,
    first_bar: int,
    columns: Mapping[str, FloatPanel],
) -> None:
    """Raise for the first cell of the run that is wrong."""
    count = int(np.count_nonzero(wrong[first_bar:]))
    if not count:
        return
    cell = int(wrong[first_bar:].argmax())
    t, i = first_bar + cell // panel.n_assets, cell % panel.n_assets
    found = ", ".join(
        f"{name} {float(column[t, i])}" for name, column in columns.items()
    )
    fill = " and ".join(repr(name) for name in columns)
    msg = (
        f"{what} needs {wanted} on every bar of the run: {count:,} "
        f"{'has' if count == 1 else 'have'} none, first at {panel.show_bar(t)}, asset "
        f"{panel.show_asset(i)}, {found}.\nHint: fill {fill} in these rows."
    )
    raise ConfigError(msg)


def _held(values: FloatPanel, valid: BoolVector) -> FloatPanel:
    """Let the last valid value hold where there is none, 0 before the first."""
    if valid.all():
        return frozen(np.ascontiguousarray(values))
    made = values.copy()
    made[0][~valid[0]] = 0.0
    for t in range(1, len(made)):
        np.copyto(made[t], made[t - 1], where=~valid[t])
    return frozen(made)


def _refuse_crossed(
    panel: Panel, minimum: FloatPanel, maximum: FloatPanel, first_bar: int
) -> None:
    wrong = minimum > maximum
    if len(wrong) > 1:
        wrong = wrong & ~np.isnan(panel.close)
        wrong[:first_bar] = False
    count = int(np.count_nonzero(wrong))
    if not count:
        return
    t, i = divmod(int(wrong.argmax()), panel.n_assets)
    low, high = (float(one[t % len(one), i]) for one in (minimum, maximum))
    where = f"at {panel.show_bar(t)}, " if len(wrong) > 1 else ""
    msg = (
        f"commission.minimum must be at most commission.maximum: {count:,} "
        f"{'is' if count == 1 else 'are'} not, first {where}asset "
        f"{panel.show_asset(i)}, minimum {low}, maximum {high}."
    )
    raise ConfigError(msg)
