"""Configurations that fill orders as another engine does."""

from __future__ import annotations

from barloop.config import BacktestConfig
from barloop.errors import ConfigError, suggestion
from barloop.execution import Execution, MissingData

EXECUTIONS = {
    "vectorbt_close": Execution(
        fill="same_close",
        sequence="value_ascending",
        cash_rule="partial",
        compat="vectorbt",
    ),
    "vectorbt_next_open": Execution(
        size_at="fill",
        sequence="value_ascending",
        cash_rule="partial",
        compat="vectorbt",
    ),
    "bt_fractional": Execution(
        fill="same_close",
        sequence="asset_order",
        cash_rule="allow",
        costs_in_size="per_order",
        compat="bt",
    ),
    "bt_integer": Execution(
        fill="same_close",
        rounding="whole_delta_floor",
        sequence="asset_order",
        cash_rule="allow",
        costs_in_size="per_order",
        compat="bt",
    ),
    "backtrader": Execution(
        rounding="whole_delta_trunc",
        cash_rule="reject",
        compat="backtrader",
    ),
    "zipline": Execution(
        fill="next_close",
        rounding="whole_delta_trunc",
        sequence="asset_order",
        cash_rule="allow",
        compat="zipline",
    ),
    "ml4t_fractional": Execution(
        sequence="exits_first",
        cash_rule="reject",
        compat="ml4t",
    ),
    "ml4t_fractional_partial": Execution(
        sequence="exits_first",
        cash_rule="partial",
        compat="ml4t",
    ),
    "ml4t_integer": Execution(
        rounding="whole_delta_nearest",
        sequence="exits_first",
        cash_rule="reject",
        compat="ml4t",
    ),
    "ml4t_same_bar": Execution(
        fill="same_close",
        sequence="exits_first",
        cash_rule="reject",
        compat="ml4t",
    ),
}
"""The execution of each profile, by its name."""


def profile(name: str) -> BacktestConfig:
    """Return the configuration that fills orders as another engine does.

    Parameters
    ----------
    name : str
        One of the names in the notes.

    Returns
    -------
    BacktestConfig
        The defaults but for `execution`, and ``missing_data.missing_bar="cancel"`` in
        those of vectorbt.  Initial cash, costs and limits are
        yours to set, ``limits.allow_short`` and ``limits.max_gross`` too: most of
        these engines take any weight.

    Raises
    ------
    ConfigError
        If there is no profile of this name; the message gives the nearest one.

    See Also
    --------
    BacktestConfig.replace : Add costs and limits by their paths.

    Notes
    -----
    Weights are decided at the close of bar t.

    =========================== =============== ========== =========================
    name                        fills at        shares     when cash is short
    =========================== =============== ========== =========================
    ``vectorbt_close``          ``close[t]``    fractional the largest buy is cut
    ``vectorbt_next_open``      ``open[t+1]``   fractional the largest buy is cut
    ``bt_fractional``           ``close[t]``    fractional cash goes below 0
    ``bt_integer``              ``close[t]``    whole      cash goes below 0
    ``backtrader``              ``open[t+1]``   whole      the buy is refused
    ``zipline``                 ``close[t+1]``  whole      cash goes below 0
    ``ml4t_fractional``         ``open[t+1]``   fractional the entry is refused
    ``ml4t_fractional_partial`` ``open[t+1]``   fractional the entry is cut
    ``ml4t_integer``            ``open[t+1]``   whole      the entry is cut
    ``ml4t_same_bar``           ``close[t]``    fractional the entry is refused
    =========================== =============== ========== =========================

    Orders are sized on the equity and the close of bar t, those of
    ``vectorbt_next_open`` on the opens at which they fill.  In whole shares vectorbt
    takes ``execution.rounding="whole_delta_trunc"``.  zipline reads prices rounded to
    thousandths: round yours before.  What each engine does, which part of it stays
    different, and the versions compared stand in ``docs/profiles.md``.

    Examples
    --------
    >>> config = profile("backtrader")
    >>> config.execution.rounding, config.execution.cash_rule
    ('whole_delta_trunc', 'reject')
    >>> config = config.replace({"commission.bps": 10, "limits.allow_short": True})
    >>> config.commission.bps, config.limits.allow_short
    (10.0, True)
    """
    if not isinstance(name, str) or name not in EXECUTIONS:
        near = suggestion(str(name), EXECUTIONS)
        msg = f"unknown profile {name!r}.{near}\nProfiles: {', '.join(EXECUTIONS)}."
        raise ConfigError(msg)
    execution = EXECUTIONS[name]
    if execution.compat == "vectorbt":
        missing_data = MissingData(missing_bar="cancel")
        return BacktestConfig(execution=execution, missing_data=missing_data)
    return BacktestConfig(execution=execution)
