"""What the code of a compiled callback reads, and the compiled helpers it calls."""

from __future__ import annotations

import dis
import itertools
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numba
from numba.core.dispatcher import Dispatcher

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
            inner = _plain(value)
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


def parameter_names_in(function: Callable[..., Any]) -> list[str]:
    """Return the names that a function may read of its params.

    Parameters
    ----------
    function : callable
        Plain Python; its second parameter is the params.

    Returns
    -------
    list of str
        Those that it reads itself; when it hands its params on, also every attribute
        that the functions it calls read.
    """
    code = function.__code__
    read = list(attributes_of(function).params)
    steps = list(dis.get_instructions(code))
    handed_on = any(
        step.opname.startswith("LOAD_FAST")
        and step.argval == code.co_varnames[1]
        and after.opname not in ("LOAD_ATTR", "LOAD_METHOD")
        for step, after in itertools.pairwise(steps)
    )
    if not handed_on:
        return read
    names = set[str]()
    for one in functions_of(function):
        if one is not function:
            names.update(
                name for part in _codes(one.__code__) for name in part.co_names
            )
    return [*read, *sorted(names.difference(read))]


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _plain(value: Any) -> Callable[..., Any] | None:
    """Return the Python of a compiled function; other things may claim an attribute."""
    found: Callable[..., Any] | None = None
    if isinstance(value, Dispatcher):
        found = value.py_func
    return found


def _reached(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Yield globals, closure values and what stands in modules, by dotted path."""
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    waiting = [(n, function.__globals__[n]) for n in names if n in function.__globals__]
    for name, cell in zip(
        function.__code__.co_freevars, function.__closure__ or (), strict=True
    ):
        waiting.append((name, cell.cell_contents))
    while waiting:
        path, value = waiting.pop()
        yield path, value
        if isinstance(value, types.ModuleType) and path.count(".") < 8:
            inside = vars(value)
            waiting.extend((f"{path}.{n}", inside[n]) for n in names if n in inside)


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
    for path, value in _reached(function):
        inner = _plain(value)
        if inner is None or str(inner.__module__).startswith("barloop."):
            continue
        if id(inner) not in made:
            made[id(inner)] = _compiled_again(value, inner, made)
        swaps[path] = made[id(inner)]
    return _with(function, swaps) if swaps else function


def _compiled_again(value: Any, inner: Callable[..., Any], made: dict[int, Any]) -> Any:
    # Known before its own helpers are looked at: it may call itself.
    copy = _with(inner, {})
    signatures = [] if value._can_compile else list(value.nopython_signatures)
    compiled = numba.njit(**USER_OPTIONS)(copy)
    made[id(inner)] = compiled
    swaps = {}
    for path, one in _reached(inner):
        python = _plain(one)
        if python is None or str(python.__module__).startswith("barloop."):
            continue
        if id(python) not in made:
            made[id(python)] = _compiled_again(one, python, made)
        swaps[path] = made[id(python)]
    _place(copy, swaps)
    for signature in signatures:
        compiled.compile(signature.args)
    if signatures:
        compiled.disable_compile()
    return compiled


def _with(function: Callable[..., Any], swaps: dict[str, Any]) -> Callable[..., Any]:
    cells = tuple(
        types.CellType(cell.cell_contents) for cell in function.__closure__ or ()
    )
    copy = types.FunctionType(
        function.__code__,
        dict(function.__globals__),
        function.__name__,
        function.__defaults__,
        cells if function.__closure__ else None,
    )
    copy.__module__ = function.__module__
    copy.__qualname__ = function.__qualname__
    _place(copy, swaps)
    return copy


def _place(copy: Any, swaps: dict[str, Any]) -> None:
    cells = dict(zip(copy.__code__.co_freevars, copy.__closure__ or (), strict=True))
    copied: dict[str, types.ModuleType] = {}
    for path, value in swaps.items():
        *modules, name = path.split(".")
        if not modules:
            if name in cells:
                cells[name].cell_contents = value
            else:
                copy.__globals__[name] = value
            continue
        place: Any = None
        for k in range(len(modules)):
            here = ".".join(modules[: k + 1])
            if here not in copied:
                if place is not None:
                    old = vars(place)[modules[k]]
                elif modules[k] in cells:
                    old = cells[modules[k]].cell_contents
                else:
                    old = copy.__globals__[modules[k]]
                copied[here] = types.ModuleType(old.__name__)
                vars(copied[here]).update(vars(old))
                if place is not None:
                    setattr(place, modules[k], copied[here])
                elif modules[k] in cells:
                    cells[modules[k]].cell_contents = copied[here]
                else:
                    copy.__globals__[modules[k]] = copied[here]
            place = copied[here]
        setattr(place, name, value)
