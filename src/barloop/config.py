"""Settings of a backtest: one frozen object, one path language, JSON and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypedDict

from barloop.checks import refuse_meaningless, refuse_unknown, set_number
from barloop.costs import Commission, Slippage
from barloop.errors import ConfigError, suggestion
from barloop.execution import Execution, MissingData
from barloop.exits import Exits
from barloop.financing import Financing
from barloop.limits import Limits
from barloop.per_asset import PerAsset, is_zero
from barloop.schedule import Schedule, check_schedule, schedule_from_json, schedule_json


class ConfigFields(TypedDict, total=False):
    """Members of `BacktestConfig` as keyword arguments of `run_backtest`."""

    initial_cash: float
    schedule: Any
    bars_per_year: float | None
    risk_free: float
    execution: Execution
    commission: Commission
    slippage: Slippage
    limits: Limits
    exits: Exits
    financing: Financing
    missing_data: MissingData


@refuse_unknown("")
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BacktestConfig:
    """Hold every setting of a backtest.

    Parameters
    ----------
    initial_cash : float, default 1_000_000.0
        Cash before the first bar, currency.
    schedule : str, int, list of timestamps, Expr or Schedule, default "every_bar"
        Which bars rebalance, see `Schedule`.
    bars_per_year : float, optional
        Annualisation number of the metrics, and the bars over which a rate of
        `financing` is spread.  The metrics infer it from the timestamps when None;
        a rate does not.
    risk_free : float, default 0.0
        Risk-free rate per year; the ratios of the metrics use
        ``(1 + risk_free) ** (1 / bars_per_year) - 1`` per bar.
    execution : Execution
        Fill timing, sizes, sequence and cash.
    commission : Commission
        Fee per fill.
    slippage : Slippage
        Worse price per fill.
    limits : Limits
        Shorts, gross, borrowing, turnover, volume, smallest order.
    exits : Exits
        Stops, targets, ages and drawdown that close positions.
    financing : Financing
        Interest and the cost of borrowed assets.
    missing_data : MissingData
        Bars that an asset does not have.

    Raises
    ------
    ConfigError
        If a value is out of range or a combination has no meaning.

    Examples
    --------
    >>> config = BacktestConfig(commission=Commission(bps=10))
    >>> config.replace({"commission.minimum": 1.0}).commission.minimum
    1.0
    """

    initial_cash: float = 1_000_000.0
    schedule: Any = "every_bar"
    bars_per_year: float | None = None
    risk_free: float = 0.0
    execution: Execution = field(default_factory=Execution)
    commission: Commission = field(default_factory=Commission)
    slippage: Slippage = field(default_factory=Slippage)
    limits: Limits = field(default_factory=Limits)
    exits: Exits = field(default_factory=Exits)
    financing: Financing = field(default_factory=Financing)
    missing_data: MissingData = field(default_factory=MissingData)

    def __post_init__(self) -> None:
        set_number(self, "", "initial_cash", above=0.0)
        set_number(self, "", "risk_free", above=-1.0)
        if self.bars_per_year is not None:
            set_number(self, "", "bars_per_year", above=0.0)
        if not isinstance(self.schedule, (str, int, Schedule)):
            # A list of the user's could change, and an iterator is read once.
            object.__setattr__(self, "schedule", Schedule(self.schedule).rule)
        check_schedule(self.schedule)
        for name, kind in _GROUPS.items():
            value = getattr(self, name)
            if not isinstance(value, kind):
                msg = (
                    f"{name} must be of type {kind.__name__}, got {value!r}.\n"
                    f"Hint: use {name}={kind.__name__}(...)."
                )
                raise ConfigError(msg)
        _refuse_combinations(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BacktestConfig):
            return NotImplemented
        return self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def replace(
        self, changes: Mapping[str, Any] | None = None, **members: Any
    ) -> BacktestConfig:
        """Return a copy with some settings changed.

        Parameters
        ----------
        changes : mapping of path to value, optional
            A path is a member (``"initial_cash"``) or reaches inside a group
            (``"commission.bps"``).
        **members
            Whole members by name.

        Returns
        -------
        BacktestConfig
            The changed copy, checked as a new one is.

        Raises
        ------
        ConfigError
            If a path is unknown; the message names the nearest one.
        """
        updated = {f.name: getattr(self, f.name) for f in fields(self)}
        inside: dict[str, dict[str, Any]] = {}
        for path, value in {**members, **(changes or {})}.items():
            _require_path(path)
            head, _, tail = path.partition(".")
            if tail:
                inside.setdefault(head, {})[tail] = value
            else:
                updated[head] = value
        # Whole groups first, then what reaches inside them, all at once.
        for name, new in inside.items():
            group = updated[name]
            if not isinstance(group, _GROUPS[name]):
                continue
            old = {f.name: getattr(group, f.name) for f in fields(group)}
            if new.get("costs_in_size") == "portfolio":
                # It implies where to size.
                old["size_at"] = None
            updated[name] = type(group)(**{**old, **new})
        return BacktestConfig(**updated)

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain values, ready for JSON.

        Returns
        -------
        dict
            One entry per member; groups are dicts.
        """
        plain: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if is_dataclass(value) and not isinstance(value, Schedule):
                value = {g.name: _plain(getattr(value, g.name)) for g in fields(value)}
            plain[f.name] = value
        plain["schedule"] = schedule_json(self.schedule)
        return plain

    def to_json(self) -> str:
        """Return the settings as a JSON text; `from_json` reads it back.

        Returns
        -------
        str
            Keys in the order of the members.
        """
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> BacktestConfig:
        """Make the settings that `to_json` wrote.

        Parameters
        ----------
        text : str
            A JSON object; absent members keep their defaults.

        Returns
        -------
        BacktestConfig
            Equal to the one that was written.

        Raises
        ------
        ConfigError
            If the text is not such an object.
        """
        try:
            plain = json.loads(text)
        except (TypeError, ValueError) as error:
            msg = f"the configuration is not JSON: {error}"
            raise ConfigError(msg) from error
        if not isinstance(plain, dict):
            msg = f"the configuration must be a JSON object, got {text!r}."
            raise ConfigError(msg)
        members: dict[str, Any] = {}
        for name, value in plain.items():
            _require_path(name)
            if name in _GROUPS:
                if not isinstance(value, dict):
                    msg = f"{name} must be a JSON object, got {value!r}."
                    raise ConfigError(msg)
                for inner in value:
                    _require_path(f"{name}.{inner}")
                given = {inner: _from_plain(one) for inner, one in value.items()}
                members[name] = _GROUPS[name](**given)
            elif name == "schedule":
                members[name] = schedule_from_json(value)
            else:
                members[name] = value
        return cls(**members)


_GROUPS: dict[str, type[Any]] = {
    "execution": Execution,
    "commission": Commission,
    "slippage": Slippage,
    "limits": Limits,
    "exits": Exits,
    "financing": Financing,
    "missing_data": MissingData,
}
PATHS = [
    *[f.name for f in fields(BacktestConfig)],
    *[f"{name}.{f.name}" for name, kind in _GROUPS.items() for f in fields(kind)],
]
"""Every path of a setting, see `BacktestConfig.replace`."""


def _plain(value: Any) -> Any:
    if isinstance(value, PerAsset):
        return value.plain()
    return list(value) if isinstance(value, tuple) else value


def _from_plain(value: Any) -> Any:
    """Make a mapping of pairs, as `PerAsset.plain` writes assets that are no text."""
    if not isinstance(value, list) or not value:
        return value
    pairs = all(isinstance(one, list) and len(one) == 2 for one in value)
    return dict(map(tuple, value)) if pairs else value


_LEFT_BEHIND = ("drift_band", "min_trade_value", "max_turnover", "max_participation")
"""Limits that leave an order short of its target."""


def _refuse_combinations(config: BacktestConfig) -> None:
    """Raise ConfigError for settings of two groups that say nothing together."""
    execution, limits, financing = config.execution, config.limits, config.financing
    if execution.costs_in_size == "portfolio":
        for name in _LEFT_BEHIND:
            value = getattr(limits, name)
            if value:
                refuse_meaningless(
                    f"limits.{name}={value!r}",
                    "with costs_in_size='portfolio', which reaches every target",
                    "use costs_in_size='per_order' or 'none'",
                )
    if execution.size_at == "fill" and limits.remainder == "pending":
        refuse_meaningless(
            "limits.remainder='pending'",
            "with size_at='fill', where what waits is a weight",
            "use size_at='decision'",
        )
    allowed = execution.cash_rule == "allow"
    if allowed and limits.max_borrowing > 0.0:
        refuse_meaningless(
            f"limits.max_borrowing={limits.max_borrowing!r}",
            "with cash_rule='allow', which has no floor of cash",
            "leave max_borrowing out, or use another cash_rule",
        )
    _refuse_quirks(config)
    _refuse_percent(config)
    leveraged = limits.allow_short or limits.max_borrowing > 0.0 or allowed
    if limits.maintenance is not None and not leveraged and limits.max_gross <= 1.0:
        refuse_meaningless(
            f"limits.maintenance={limits.maintenance!r}",
            "without shorts or borrowing",
            "set allow_short, max_borrowing or max_gross",
        )
    if financing.is_on() and config.bars_per_year is None:
        name = next(
            name
            for name in ("cash_rate", "debit_rate", "borrow_rate")
            if not is_zero(getattr(financing, name))
        )
        msg = (
            f"financing.{name} is a rate per year and needs bars_per_year.\n"
            "Hint: set it, e.g. bars_per_year=252 for daily bars; the inferred number "
            "serves the metrics only."
        )
        raise ConfigError(msg)
    if not is_zero(financing.borrow_rate) and not limits.allow_short:
        refuse_meaningless(
            f"financing.borrow_rate={financing.borrow_rate!r}",
            "without shorts",
            "set limits=Limits(allow_short=True)",
        )


def _refuse_quirks(config: BacktestConfig) -> None:
    """Raise ConfigError for costs and limits that the quirks of an engine ignore."""
    compat = config.execution.compat
    if compat not in ("backtrader", "ml4t"):
        return
    given = {f"limits.max_borrowing={config.limits.max_borrowing!r}"}
    if config.limits.max_borrowing == 0.0:
        given = set()
    for name in ("per_share", "per_order", "minimum"):
        value = getattr(config.commission, name)
        if not is_zero(value):
            given.add(f"commission.{name}={value!r}")
    if config.commission.maximum is not None:
        given.add(f"commission.maximum={config.commission.maximum!r}")
    if given:
        refuse_meaningless(
            min(given),
            f"with execution.compat={compat!r}, whose check of cash knows bps only",
            "leave it out, or leave compat out",
        )


def _refuse_percent(config: BacktestConfig) -> None:
    """Raise ConfigError for a fraction that can only be meant as percent."""
    exits, financing = config.exits, config.financing
    never = (
        {}
        if config.limits.allow_short
        else {
            "exits.stop_loss": exits.stop_loss,
            "exits.trailing_stop": exits.trailing_stop,
        }
    )
    rates = {
        "financing.cash_rate": financing.cash_rate,
        "financing.debit_rate": financing.debit_rate,
    }
    for path, value in {**never, **rates}.items():
        if value is not None and value >= 1.0:
            why = "a price would have to fall below 0" if path in never else "a year"
            msg = (
                f"{path} is a fraction, and {value!r} is {value:.0%}"
                f"{': ' if path in never else ' '}{why}.\n"
                f"Hint: {value:g} % is {value / 100:g}."
            )
            raise ConfigError(msg)


def _require_path(path: str) -> None:
    if path in PATHS:
        return
    tail = str(path).rpartition(".")[2]
    same = [known for known in PATHS if known.endswith(f".{tail}")]
    near = suggestion(str(path), same or PATHS)
    if same and not (near and "." in path):
        near = f" Did you mean {' or '.join(map(repr, same))}?"
    msg = f"unknown setting {path!r}.{near}\nKnown settings: {', '.join(PATHS)}."
    raise ConfigError(msg)


def resolve(
    config: BacktestConfig | None, members: Mapping[str, Any]
) -> BacktestConfig:
    """Combine a base configuration with keyword members.

    Parameters
    ----------
    config : BacktestConfig or None
        The base; None stands for the defaults.
    members : mapping of str to value
        Whole members that replace those of the base.

    Returns
    -------
    BacktestConfig
        The configuration of the run.
    """
    if config is not None and not isinstance(config, BacktestConfig):
        msg = f"config must be a BacktestConfig, got {type(config).__name__}."
        raise ConfigError(msg)
    base = config or BacktestConfig()
    return base.replace(members) if members else base
