"""Compiled callbacks: a jitted function of the user's inside the compiled loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from barloop.bar import PRICES
from barloop.compile_errors import title_of
from barloop.context import AlignedContext
from barloop.enums import WeightFault
from barloop.errors import WeightsError, suggestion
from barloop.layout import frozen
from barloop.limits import Limits
from barloop.panel import Panel
from barloop.schema import listed
from barloop.typing import FloatBlock
from barloop.weight_rows import gross_error, weight_error
from barloop.weights import JittedWeights

if TYPE_CHECKING:
    from barloop.shim import Layout

EXACT = 2.0**53
"""Integers beyond are not all float64 numbers."""

PYTHON_ONLY = {
    "timestamp": "put what you need of it into the context, e.g. the month as a number",
    "assets": "an asset is its place in the arrays",
    "feature": "read it by its name, bar.<name>",
    "order_target_percent": "write the weight of every asset to weights_out",
    "close_position": "write the weight of every asset to weights_out",
}
"""Attributes of the `Bar` of a Python callback that compiled code cannot have."""


class CompiledCallback:
    """Ask a compiled function for decisions, without leaving compiled code.

    Parameters
    ----------
    weights : JittedWeights
        The user's function and the parameters of a first set.
    panel : Panel
        Prices and features.
    context : AlignedContext or None
        Market-wide values.
    keep : callable, optional
        ``keep(key, make)`` returns what is kept under a key, or makes it: the block of
        features is one for all threads of a sweep.

    Raises
    ------
    WeightsError
        If the function cannot be called as ``f(bar, params, weights_out) -> bool``,
        names what the bar does not have, or cannot be compiled.
    """

    def __init__(
        self,
        weights: JittedWeights,
        panel: Panel,
        context: AlignedContext | None,
        keep: Callable[[Any, Callable[[], Any]], Any] | None = None,
    ) -> None:
        from barloop import code_names, shim
        from barloop.linking import linked

        self._panel = panel
        self._function = weights.function
        source = getattr(weights.function, "py_func", weights.function)
        kinds = weights.kinds or {
            name: kind_of(name, value) for name, value in weights.params.items()
        }
        known = Known(panel, context, kinds)
        known.require(source, code_names.attributes_of(source))
        names = code_names.names_in(source)
        self.layout = known.layout(names, shim.PANELS, tuple(shim.ACCOUNT))
        unread = [name for name in kinds if name not in names]
        if unread:
            msg = (
                f"{title_of(source)} never reads params.{unread[0]}; it reads "
                f"{listed(sorted(known.read_params)) or 'none'}."
                f"{suggestion(unread[0], known.read_params)}"
            )
            raise WeightsError(msg)
        self._features = _block(
            [_prices_or_feature(panel, n) for n in self.layout.features]
        )
        self._context = _context_block(context, self.layout.context)
        self._weights = np.zeros(panel.n_assets)
        self._ask = linked(weights.function, self.layout)
        self._drivers: dict[tuple[bool, ...], tuple[Any, Any]] = {}
        self.decide_with(weights.params)

    def decide_with(self, params: Mapping[str, Any]) -> None:
        """Use another set of parameters, of the same names and kinds.

        Parameters
        ----------
        params : mapping
            Numbers and bools by name.
        """
        vector = np.zeros(max(len(self.layout.params), 1))
        for row, (name, kind) in enumerate(self.layout.params):
            vector[row] = number_of(name, kind, params[name])
        self._params = frozen(vector)

    def run(self, stop_bar: int, *state: Any) -> tuple[int, int, int]:
        """Run bars before `stop_bar`; the arguments are those of `advance`.

        Parameters
        ----------
        stop_bar : int
            Where to stop.
        *state : object
            Market, decisions, options, book, log, bars, groups of rules.

        Returns
        -------
        (int, int, int)
            What `drive` returns.
        """
        rules = tuple(part is None for part in state[-3:])
        if rules not in self._drivers:
            from barloop.linking import driver

            self._drivers[rules] = driver((stop_bar, *state), self._ask)
        advance, drive = self._drivers[rules]
        answer: tuple[int, int, int] = drive(
            stop_bar,
            *state,
            self._features,
            self._context,
            self._params,
            self._weights,
            advance,
            self._ask,
        )
        return answer

    def fault(self, t: int, fault: int, asset: int, limits: Limits) -> WeightsError:
        """Describe what the callback said at bar t and must not.

        Parameters
        ----------
        t : int
            The bar.
        fault : int
            A WeightFault.
        asset : int
            Column of the panel, -1 for all.
        limits : Limits
            For the message.

        Returns
        -------
        WeightsError
            To be raised by the caller.
        """
        if fault != WeightFault.GROSS:
            return weight_error(self._panel, t, asset, float(self._weights[asset]))
        most = np.inf if limits.max_weight is None else limits.max_weight
        gross = float(np.minimum(np.abs(self._weights), most).sum())
        return gross_error(self._panel, t, gross, limits)


class Known:
    """What a bar of this data and these parameters has.

    Parameters
    ----------
    panel : Panel
        Prices and features.
    context : AlignedContext or None
        Market-wide values.
    kinds : mapping
        Kind of each parameter by name.
    """

    def __init__(
        self, panel: Panel, context: AlignedContext | None, kinds: Mapping[str, str]
    ) -> None:
        self.kinds = dict(kinds)
        self.prices = [name for name in PRICES if getattr(panel, name) is not None]
        self.columns = [*self.prices, *panel.feature_names]
        self.context = [] if context is None else list(context.values)
        self.read_params: dict[str, int] = {}

    def layout(
        self, names: set[str], panels: tuple[str, ...], account: tuple[str, ...]
    ) -> Layout:
        """Choose what the code may read out of what there is."""
        from barloop.shim import Layout

        own = {*account, "t", "history", "context"}
        for name in (*self.columns, *self.context, *self.kinds):
            if name in names and str(name).startswith("_"):
                msg = (
                    f"compiled code cannot read {name!r}, a name that begins with an "
                    "underscore.\nHint: rename the column or the parameter."
                )
                raise WeightsError(msg)
        return Layout(
            prices=tuple(name for name in panels if name in self.prices),
            features=tuple(
                name
                for name in self.columns
                if name in names and name not in panels and name not in own
            ),
            context=tuple(name for name in self.context if name in names),
            params=tuple(self.kinds.items()),
            account=tuple(name for name in account if name in names),
        )

    def require(self, function: Callable[..., Any], read: Any) -> None:
        """Raise WeightsError for the first name that is not there."""
        from barloop.shim import ACCOUNT

        self.read_params = read.params
        own = [*ACCOUNT, "t", "history", "context"]
        for what, asked, has in (
            ("bar", read.bar, [*own, *self.columns]),
            ("bar.history", read.history, self.columns),
            ("bar.context", read.context, self.context),
            ("params", read.params, list(self.kinds)),
        ):
            for name, line in asked.items():
                if name not in has:
                    raise self._unknown(function, line, what, name, has)
        if read.calls_history:
            msg = (
                f"{title_of(function)}, line {read.calls_history}: bar.history(...) is "
                "not there in compiled code.\n"
                "Hint: slice it, e.g. bar.history.close[bar.t - 19 :] for 20 bars."
            )
            raise WeightsError(msg)

    def _unknown(
        self,
        function: Callable[..., Any],
        line: int,
        what: str,
        name: str,
        has: list[str],
    ) -> WeightsError:
        head = f"{title_of(function)}, line {line}: {what} has no {name!r}"
        if what == "bar" and name in PYTHON_ONLY:
            return WeightsError(f"{head} in compiled code.\nHint: {PYTHON_ONLY[name]}.")
        if what == "params":
            near = suggestion(name, has)
            return WeightsError(
                f"{head}; given are {listed(has) or 'none'}.{near}\n"
                f"Hint: pass params={{{name!r}: ...}}."
            )
        if what == "bar.context" and not has:
            return WeightsError(
                f"{head}: no context was given.\n"
                "Hint: give one, run_backtest(..., context=frame)."
            )
        shown = self.context if what == "bar.context" else self.columns
        return WeightsError(
            f"{head}; the data has {listed(shown)}.{suggestion(name, has)}"
        )


def kind_of(name: str, value: Any) -> str:
    """Return the kind of a parameter of a compiled callback.

    Parameters
    ----------
    name : str
        For the message.
    value : object
        A number or a bool.

    Returns
    -------
    {"int", "float", "bool"}
        What the compiled code sees.

    Raises
    ------
    WeightsError
        If it is neither.
    """
    if not str(name).isidentifier():
        msg = f"a parameter of a compiled callback must be a name, got {name!r}."
        raise WeightsError(msg)
    if isinstance(value, (bool, np.bool_)):
        return "bool"
    if isinstance(value, (int, np.integer)):
        return "int"
    if isinstance(value, (float, np.floating)):
        return "float"
    hint = "Hint: numbers and bools go in params."
    if isinstance(value, (np.ndarray, list, tuple)):
        hint = (
            "Hint: numbers and bools go in params; an array goes in as a column of the "
            "data or of the context."
        )
    msg = (
        f"a parameter of a compiled callback must be a number or a bool: {name} is "
        f"{type(value).__name__}.\n{hint}"
    )
    raise WeightsError(msg)


def number_of(name: str, kind: str, value: Any) -> float:
    """Return a parameter as the float64 in which it travels."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        kind_of(name, value)
    number = float(value)
    if kind == "int" and abs(number) > EXACT:
        msg = (
            f"the integer parameter {name}={value!r} is too large for a compiled "
            "callback: at most 2**53."
        )
        raise WeightsError(msg)
    return number


def _prices_or_feature(panel: Panel, name: str) -> FloatBlock:
    values = getattr(panel, name) if name in PRICES else None
    return panel.feature(name) if values is None else values


def _block(panels: list[FloatBlock]) -> FloatBlock:
    """Return panels as one block, without a copy if there is only one."""
    if not panels:
        return frozen(np.full((1, 1, 1), np.nan))
    if len(panels) == 1:
        return panels[0][np.newaxis]
    return frozen(np.stack(panels))


def _context_block(
    context: AlignedContext | None, names: tuple[str, ...]
) -> FloatBlock:
    if context is None or not names:
        return frozen(np.full((1, 1), np.nan))
    return frozen(np.stack([context.values[name] for name in names]))
