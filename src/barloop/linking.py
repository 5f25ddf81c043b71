"""The user's function, its shim and the loop: compiled and tied by pointers."""

from __future__ import annotations

import functools
import weakref
from types import SimpleNamespace
from typing import Any

import numba as numba_
import numpy as np

from barloop._jit import kernel_with
from barloop._kernels.buffers import Market
from barloop._kernels.drive import drive
from barloop._kernels.simulate import advance
from barloop.code_names import USER_OPTIONS, with_bounds_checks
from barloop.compile_errors import explained, must_return, title_of
from barloop.errors import WeightsError
from barloop.layout import frozen
from barloop.shim import Layout, make_shim

numba: Any = numba_  # its own types are partial
types: Any = numba_.types


class Addresses:
    """A compiled library that looks each of its functions up once.

    Parameters
    ----------
    library : object
        Of a compile result; stays alive with this.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        self._known: dict[str, int] = {}

    def get_pointer_to_function(self, name: str) -> int:
        """Return the address of a function."""
        if name not in self._known:
            self._known[name] = self._library.get_pointer_to_function(name)
        return self._known[name]


def remembering(dispatcher: Any) -> Any:
    """Let a function be passed as a pointer without being looked up at each call.

    Parameters
    ----------
    dispatcher : object
        A compiled function; numba asks it for its address whenever it is an argument,
        and compares signatures of fifty arrays to find it: 0.1 ms of each backtest.

    Returns
    -------
    object
        The function itself.
    """
    find = dispatcher.get_compile_result
    known: dict[int, tuple[Any, Any]] = {}

    def get_compile_result(signature: Any) -> Any:
        found = known.get(id(signature))
        if found is None or found[0] is not signature:
            result = find(signature)
            light = SimpleNamespace(
                fndesc=result.fndesc, library=Addresses(result.library)
            )
            found = known[id(signature)] = (signature, light)
        return found[1]

    dispatcher.get_compile_result = get_compile_result
    return dispatcher


_asks: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


def forget(function: Any) -> None:
    """Compile a function anew when it is next used: it has the globals of its time.

    Parameters
    ----------
    function : callable
        The user's jitted function.
    """
    _asks.pop(function, None)


def linked(function: Any, layout: Layout) -> Any:
    """Return the shim of a function, compiled once per layout."""
    made = _asks.setdefault(function, {})
    if layout not in made:
        made[layout] = _compile(function, layout)
    return made[layout]


def _compile(function: Any, layout: Layout) -> Any:
    plain = getattr(function, "py_func", function)
    if numba.config.DISABLE_JIT:
        return make_shim(plain, layout)
    user = numba.njit(**USER_OPTIONS, no_cpython_wrapper=True)(
        with_bounds_checks(plain)
    )
    compiled = numba.njit(**USER_OPTIONS)(make_shim(user, layout))
    try:
        compiled.compile(_ask_signature())
    except Exception as error:
        # Numba raises errors of its own, and passes on those of what it looks at.
        raise WeightsError(explained(plain, str(error))) from None
    (returned,) = {one.signature.return_type for one in user.overloads.values()}
    if not isinstance(returned, (types.Boolean, types.BooleanLiteral)):
        said = "a number" if isinstance(returned, types.Number) else str(returned)
        msg = f"{title_of(plain)}: {must_return(said)}"
        raise WeightsError(msg)
    return remembering(compiled)


@functools.cache
def _ask_signature() -> Any:
    """Return the one signature through which every callback is called."""

    def read_only(ndim: int) -> Any:
        return types.Array(types.float64, ndim, "C", readonly=True)

    panel = frozen(np.zeros((1, 1)))
    return types.boolean(
        types.int64,
        numba.typeof(Market(panel, panel)),
        read_only(3),
        read_only(2),
        read_only(1),
        read_only(2),
        types.float64,
        types.float64,
        types.Array(types.float64, 1, "C"),
    )


_drivers: dict[Any, Any] = {}
_loops: list[Any] = []


def driver(state: tuple[Any, ...], ask: Any) -> tuple[Any, Any]:
    """Return `advance` for these arguments and the loop that drives it."""
    if numba.config.DISABLE_JIT:
        return advance, drive
    arguments = tuple(numba.typeof(one) for one in state)
    if arguments not in _drivers:
        loop: Any = advance
        loop.compile(arguments)
        returned = loop.overloads[arguments].signature.return_type
        block = frozen(np.zeros((1, 1, 1)))
        signature = types.Tuple((types.int64, types.int64, types.int64))(
            *arguments,
            numba.typeof(block),
            numba.typeof(block[0]),
            numba.typeof(block[0, 0]),
            types.Array(types.float64, 1, "C"),
            types.FunctionType(returned(*arguments)),
            types.FunctionType(_ask_signature()),
        )
        _drivers[arguments] = kernel_with(signature, drive)
    if not _loops:
        _loops.append(remembering(advance))
    return advance, _drivers[arguments]
