"""Settings of a backtest: one frozen object, one path language, JSON and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypedDict

from barloop.checks import refuse_unknown, set_number
from barloop.costs import Commission, Slippage
from barloop.errors import ConfigError, suggestion
from barloop.execution import Execution, MissingData
from barloop.limits import Limits
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
        Annualisation number of the metrics; inferred from the timestamps when None.
    risk_free : float, default 0.0
        Risk-free rate per year; the ratios of the metrics use
        ``(1 + risk_free) ** (1 / bars_per_year) - 1`` per bar.
    execution : Execution
        Fill timing and rounding.
    commission : Commission
        Fee per fill.
    slippage : Slippage
        Worse price per fill.
    limits : Limits
        Shorts, gross, borrowing, smallest order.
    missing_data : MissingData
        Bars that an asset does not have.

    Raises
    ------
    ConfigError
        If a value is out of range or a combination has no meaning.

    Examples
    --------
    >>> config = BacktestConfig(commission=Commission(bps=10))
    >>> config.replace({"commission.minimum": 1.0}).commission
    Commission(bps=10.0, minimum=1.0)
    """

    initial_cash: float = 1_000_000.0
    schedule: Any = "every_bar"
    bars_per_year: float | None = None
    risk_free: float = 0.0
    execution: Execution = field(default_factory=Execution)
    commission: Commission = field(default_factory=Commission)
    slippage: Slippage = field(default_factory=Slippage)
    limits: Limits = field(default_factory=Limits)
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
                value = {g.name: getattr(value, g.name) for g in fields(value)}
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
                members[name] = _GROUPS[name](**value)
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
    "missing_data": MissingData,
}
_PATHS = [
    *[f.name for f in fields(BacktestConfig)],
    *[f"{name}.{f.name}" for name, kind in _GROUPS.items() for f in fields(kind)],
]


def _require_path(path: str) -> None:
    if path in _PATHS:
        return
    tail = str(path).rpartition(".")[2]
    same = [known for known in _PATHS if known.endswith(f".{tail}")]
    near = suggestion(str(path), same or _PATHS)
    if same and not (near and "." in path):
        near = f" Did you mean {' or '.join(map(repr, same))}?"
    msg = f"unknown setting {path!r}.{near}\nKnown settings: {', '.join(_PATHS)}."
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
