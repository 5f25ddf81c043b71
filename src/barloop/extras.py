"""Everything that only some runs need, as the arrays that the full loop reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from barloop.actions import ActionRows, no_actions
from barloop.config import BacktestConfig
from barloop.cost_panels import borrow_rates, column_panel, costs_of
from barloop.errors import ConfigError
from barloop.layout import frozen
from barloop.panel import Panel
from barloop.per_asset import is_zero
from barloop.schema import are
from barloop.typing import FloatPanel

if TYPE_CHECKING:
    from barloop._kernels.buffers import Extras


def extras_of(
    panel: Panel,
    config: BacktestConfig,
    actions: ActionRows | None,
    first_bar: int,
    bars_per_year: float,
    *,
    full: bool = False,
) -> Extras:
    """Return what the loop reads beyond prices and decisions, group by group.

    Parameters
    ----------
    panel : Panel
        Prices, volumes and columns; `require_columns` has passed.
    config : BacktestConfig
        Settings.
    actions : ActionRows or None
        From `action_rows`.
    first_bar : int
        Where the run starts.
    bars_per_year : float
        Divides the borrow rate.
    full : bool, default False
        Make every group even if nothing needs it, with the same result.

    Returns
    -------
    Extras
        None for a group that nothing needs; (1, 1) in place of a panel that is not
        needed.  All arrays are read-only.

    Raises
    ------
    ConfigError
        If a column that a setting names does not exist or holds what it must not.
    """
    from barloop._kernels.buffers import CarryRules, ExitRules, Extras, OrderRules

    unused = frozen(np.full((1, 1), np.nan))
    orders, exits, carry = None, None, None
    if full or needs_order_rules(config):
        clips = config.execution.compat == "backtrader"
        orders = OrderRules(
            high=_panel(panel.high, unused, needed=clips),
            low=_panel(panel.low, unused, needed=clips),
            volume=_volume(panel) if _needs_volume(config) else unused,
            costs=costs_of(panel, config, first_bar),
        )
    if full or needs_exit_rules(config):
        rules = config.exits
        exits = ExitRules(
            high=_panel(panel.high, unused, needed=rules.by_price()),
            low=_panel(panel.low, unused, needed=rules.by_price()),
            atr=_atr(panel, rules.atr_stop[1], first_bar) if rules.atr_stop else unused,
        )
    given = actions is not None and actions.kind.size > 0
    if full or given or needs_carry_rules(config):
        rows = actions or no_actions(panel.n_bars)
        carry = CarryRules(
            borrow_rates(panel, config, first_bar, bars_per_year),
            rows.start,
            rows.kind,
            rows.asset,
            rows.value,
        )
    return Extras(orders, exits, carry)


def needs_order_rules(config: BacktestConfig) -> bool:
    """Tell whether orders are sized, filled or charged by more than the lean rules.

    Parameters
    ----------
    config : BacktestConfig
        Settings.

    Returns
    -------
    bool
        True if any such option is on.
    """
    execution, limits = config.execution, config.limits
    commission, slippage = config.commission, config.slippage
    return (
        execution.size_at != "decision"
        or execution.rounding not in ("fractional", "whole_target")
        or execution.sequence != "sells_first"
        or execution.cash_rule != "scale"
        or execution.costs_in_size != "none"
        or execution.compat is not None
        or not isinstance(commission.bps, float)
        or not isinstance(commission.minimum, float)
        or commission.maximum is not None
        or not is_zero(commission.per_share)
        or not is_zero(commission.per_order)
        or not isinstance(slippage.bps, float)
        or isinstance(slippage.half_spread, tuple)
        or not is_zero(slippage.half_spread)
        or slippage.has_impact()
        or limits.on_excess != "raise"
        or limits.max_weight is not None
        or limits.max_participation is not None
        or limits.drift_band > 0.0
        or limits.max_turnover is not None
    )


def needs_exit_rules(config: BacktestConfig) -> bool:
    """Tell whether positions can end without a decision.

    Parameters
    ----------
    config : BacktestConfig
        Settings.

    Returns
    -------
    bool
        True with any exit, and with a maintenance margin.
    """
    exits = config.exits
    return (
        exits.per_position()
        or exits.max_drawdown is not None
        or config.limits.maintenance is not None
    )


def needs_carry_rules(config: BacktestConfig) -> bool:
    """Tell whether anything but actions moves cash between bars.

    Parameters
    ----------
    config : BacktestConfig
        Settings.

    Returns
    -------
    bool
        True with a financing rate, and with `delist_after_bars`.
    """
    silent = config.missing_data.delist_after_bars
    return config.financing.is_on() or silent is not None


def require_columns(panel: Panel, config: BacktestConfig) -> None:
    """Raise ConfigError for a column of the data that a setting needs.

    Parameters
    ----------
    panel : Panel
        The data.
    config : BacktestConfig
        Settings.
    """
    if config.execution.fill == "next_open" and panel.open is None:
        msg = (
            "fill='next_open' needs an 'open' column, and the data has none.\n"
            "Hint: add one, or use execution=Execution(fill='next_close')."
        )
        raise ConfigError(msg)
    exits, limits, slippage = config.exits, config.limits, config.slippage
    compat = config.execution.compat
    for setting, value, names in (
        ("exits.stop_loss", exits.stop_loss, ("open", "high", "low")),
        ("exits.take_profit", exits.take_profit, ("open", "high", "low")),
        ("exits.trailing_stop", exits.trailing_stop, ("open", "high", "low")),
        ("exits.atr_stop", exits.atr_stop, ("open", "high", "low")),
        ("exits.max_bars_held", exits.max_bars_held, ("open",)),
        ("execution.compat", compat == "backtrader", ("high", "low")),
        ("limits.max_participation", limits.max_participation, ("volume",)),
        ("slippage.volume_impact", slippage.volume_impact, ("volume",)),
        ("slippage.sqrt_impact", slippage.sqrt_impact, ("volume",)),
    ):
        missing = [name for name in names if getattr(panel, name) is None]
        if value and missing:
            some = "a column" if len(missing) == 1 else "columns"
            msg = (
                f"{setting} needs {some} {' and '.join(map(repr, missing))}, and the "
                f"data has none.\nHint: add {'it' if len(missing) == 1 else 'them'}, "
                f"or leave {setting.partition('.')[2]} out."
            )
            raise ConfigError(msg)


def _needs_volume(config: BacktestConfig) -> bool:
    return config.limits.max_participation is not None or config.slippage.has_impact()


def _volume(panel: Panel) -> FloatPanel:
    """Return the volumes; a row without a close is no bar, whatever its volume."""
    volume = panel.volume
    if volume is None:
        msg = "`require_columns` asks for a volume."
        raise AssertionError(msg)
    stray = np.isnan(panel.close) & (volume > 0.0)
    return frozen(np.where(stray, np.nan, volume)) if stray.any() else volume


def _panel(
    values: FloatPanel | None, unused: FloatPanel, *, needed: bool
) -> FloatPanel:
    return values if needed and values is not None else unused


def _atr(panel: Panel, name: str, first_bar: int) -> FloatPanel:
    """Return the column of `atr_stop`; null is allowed, a negative number is not."""
    values = column_panel(panel, name, "exits.atr_stop")
    # A position opened on the first bar looks at the bar before.
    first = max(first_bar - 1, 0)
    with np.errstate(invalid="ignore"):
        wrong = (values[first:] < 0.0) | (values[first:] == np.inf)
    count = int(np.count_nonzero(wrong))
    if count:
        t, i = divmod(int(wrong.argmax()), panel.n_assets)
        msg = (
            f"exits.atr_stop needs a column of finite numbers from 0, and {count:,} of "
            f"{name!r} {are(count)} not, first at {panel.show_bar(first + t)}, asset "
            f"{panel.show_asset(i)}, value {float(values[first + t, i])}.\n"
            "Hint: null gives a position no such stop."
        )
        raise ConfigError(msg)
    return values
