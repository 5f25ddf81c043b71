"""What the code of a compiled callback reads, and the compiled helpers it calls."""

from __future__ import annotations

import dis
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numba

USER_OPTIONS: dict[str, Any] = {
    "boundscheck": True,
    "error_model": "numpy",
    "nogil": True,
}
"""How the user's code is compiled."""


class NamesRead(NamedTuple):
    """Names that a function asks of its first two parameters, in order."""

    bar: dict[str, int]
    """Line of the source by name."""
    history: dict[str, int]
    context: dict[str, int]
    params: dict[str, int]
    calls_history: int
    """Line of ``bar.history(...)``, 0 for none."""


def attributes_of(function: Callable[..., Any]) -> NamesRead:
    """Find which attributes a function reads of its bar and params, directly.

    Parameters
    ----------
    function : callable
        Plain Python; its first parameter is the bar, its second the params.

    Returns
    -------
    NamesRead
    ----------
        What goes through another name or another function is not seen.
    """
    code = function.__code__
    bar, params = code.co_varnames[:2]
    found = NamesRead({}, {}, {}, {}, 0)
    calls_history = 0
    owner: dict[str, int] | None = None
    line = 0
    for step in dis.get_instructions(code):
        line = _line(step) or line
        if step.opname.startswith("LOAD_FAST") and step.argval in (bar, params):
            owner = found.bar if step.argval == bar else found.params
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and owner is not None:
            name = str(step.argval)
            owner.setdefault(name, line)
            if owner is found.bar and name == "history" and _is_method(step):
                calls_history = line
            inner = {"history": found.history, "context": found.context}
            owner = inner.get(name) if owner is found.bar else None
        else:
            owner = None
    return found._replace(calls_history=calls_history)


def _line(step: dis.Instruction) -> int:
    if step.positions is not None and step.positions.lineno is not None:
        return step.positions.lineno
    return 0


def _is_method(step: dis.Instruction) -> bool:
    # From 3.12 a method is LOAD_ATTR with the low bit of its argument set.
    return step.opname == "LOAD_METHOD" or step.argrepr.endswith("+ NULL|self")


def functions_of(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Yield a function and the compiled functions that it reaches, each once.

    Parameters
    ----------
    function : callable
        Plain Python.

    Yields
    ------
    callable
        Plain Python, the function itself first.
    """
    seen: dict[int, Callable[..., Any]] = {id(function): function}
    waiting = [function]
    while waiting:
        one = waiting.pop()
        yield one
        for _, value in _reached(one):
            inner = getattr(value, "py_func", None)
            if inner is not None and id(inner) not in seen:
                seen[id(inner)] = inner
                waiting.append(inner)


def names_in(function: Callable[..., Any]) -> set[str]:
    """Return every name that a function and what it calls may read as attribute."""
    names: set[str] = set()
    for one in functions_of(function):
        for code in _codes(one.__code__):
            names.update(code.co_names)
    return names


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _reached(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Yield globals, closure values and attributes of modules that a function names."""
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    for name in names:
        if name not in function.__globals__:
            continue
        value = function.__globals__[name]
        yield name, value
        if isinstance(value, types.ModuleType):
            for inner in names:
                if inner in vars(value):
                    yield f"{name}.{inner}", vars(value)[inner]
    for name, cell in zip(
        function.__code__.co_freevars, function.__closure__ or (), strict=True
    ):
        yield name, cell.cell_contents


def with_bounds_checks(function: Callable[..., Any]) -> Callable[..., Any]:
    """Copy a function so that the user's compiled helpers check bounds as well.

    Parameters
    ----------
    function : callable
        Plain Python.

    Returns
    -------
    callable
        The function itself when it calls none, else a copy; barloop's own helpers
        check what they are given and stay as they are.

    Notes
    -----
    A helper keeps the options it was decorated with otherwise, and would read past the
    end of a history without a word.
    """
    return _checked(function, {})


def _checked(function: Callable[..., Any], made: dict[int, Any]) -> Callable[..., Any]:
    swaps: dict[str, Any] = {}
    for name, value in _reached(function):
        inner = getattr(value, "py_func", None)
        if inner is None or str(inner.__module__).startswith("barloop."):
            continue
        if id(inner) not in made:
            made[id(inner)] = value  # one that calls itself stays as it is
            made[id(inner)] = numba.njit(**USER_OPTIONS)(_checked(inner, made))
        swaps[name] = made[id(inner)]
    if not swaps:
        return function
    scope = dict(function.__globals__)
    for path, value in swaps.items():
        name, _, attribute = path.partition(".")
        if not attribute:
            scope[name] = value
            continue
        module = scope[name]
        if module is function.__globals__[name]:
            scope[name] = types.ModuleType(module.__name__)
            vars(scope[name]).update(vars(module))
        setattr(scope[name], attribute, value)
    cells = tuple(
        types.CellType(swaps[name]) if name in swaps else cell
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        )
    )
    copy = types.FunctionType(
        function.__code__,
        scope,
        function.__name__,
        function.__defaults__,
        cells if function.__closure__ else None,
    )
    copy.__module__ = function.__module__
    copy.__qualname__ = function.__qualname__
    return copy
