"""Frames that a function reaches without being given them."""

from __future__ import annotations

import copy
import functools
import sysconfig
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl

from barloop.panel import Panel

Swaps = Sequence[tuple[Any, Any]]
"""Pairs of an object and what is to stand in its place."""

INSTALLED = ("site-packages", "dist-packages", sysconfig.get_paths()["stdlib"])
"""Parts of the paths of code that is not the user's."""


@contextmanager
def swapped(functions: Sequence[Any], swaps: Swaps) -> Iterator[None]:
    """Put other objects into the variables that functions read, for a while.

    Parameters
    ----------
    functions : sequence of callable
        Plain functions, methods, partials, callable objects; others are left alone.
    swaps : sequence of pairs
        A variable whose value is the first of a pair holds the second inside of the
        block.  Variables of the module and of enclosing functions are looked at.
    """
    places: list[tuple[Callable[[Any], None], Any]] = []
    try:
        for function in reached(functions):
            for old, new in swaps:
                for put in _variables(function, old):
                    put(new)
                    places.append((put, old))
        yield
    finally:
        for put, old in places:
            put(old)


def fresh(function: Any, swaps: Swaps) -> Any:
    """Copy a callable object, so that each run begins with the state it was given in.

    Parameters
    ----------
    function : object
        What is no callable object, a plain or a compiled function too, is returned as
        it is.
    swaps : sequence of pairs
        Objects to replace inside the copy.

    Returns
    -------
    callable
        A deep copy, or the object itself when it cannot be copied.
    """
    is_plain = isinstance(function, (types.FunctionType, types.BuiltinFunctionType))
    if is_plain or not callable(function) or hasattr(function, "py_func"):
        return function
    memo = {id(old): new for old, new in swaps}
    try:
        return copy.deepcopy(function, memo)
    except Exception:
        # What holds a lock or a connection runs as it is.
        return function


def clear_caches(functions: Sequence[Any]) -> None:
    """Empty what `functools.cache` and its kin remember of earlier data.

    Parameters
    ----------
    functions : sequence of callable
        See `swapped`; what they call is emptied too.
    """
    values = [value for one in reached(functions) for _, value in _named_values(one)]
    for value in [*functions, *values]:
        clear = getattr(value, "cache_clear", None)
        if clear is not None and not isinstance(value, type):
            clear()


def outside_data(
    functions: Sequence[Any],
    params: Mapping[str, Any],
    known: Sequence[Any],
    n_bars: int,
) -> list[str]:
    """Name the data that functions read and that were not given.

    Parameters
    ----------
    functions : sequence of callable
        See `swapped`.
    params : mapping
        What they are called with.
    known : sequence of object
        Data that the caller looks after.
    n_bars : int
        Arrays shorter than this are not taken for data.

    Returns
    -------
    list of str
        Names with their types, such as ``"scores (DataFrame)"``.
    """
    values = [pair for one in reached(functions) for pair in _named_values(one)]
    values += [pair for one in functions for pair in _attributes(one)]
    values += [(f"params[{name!r}]", value) for name, value in params.items()]
    found: dict[str, None] = {}
    for name, value in values:
        is_known = any(value is one for one in known)
        if not is_known and _is_data(value, n_bars):
            found[f"{name} ({type(value).__name__})"] = None
    return list(found)


def reached(functions: Sequence[Any]) -> Iterator[types.FunctionType]:
    """Yield plain functions and the ones whose names they use, each once."""
    waiting = list(functions)
    seen: set[int] = set()
    while waiting:
        function = _plain(waiting.pop())
        if function is None or id(function) in seen:
            continue
        seen.add(id(function))
        yield function
        for _, value in _named_values(function):
            if callable(value) and not isinstance(value, type):
                waiting.append(value)


def _plain(function: Any) -> types.FunctionType | None:
    if isinstance(function, functools.partial):
        return _plain(function.func)
    if isinstance(function, types.MethodType):
        return _plain(function.__func__)
    for inside in ("py_func", "__wrapped__"):
        if not isinstance(function, types.FunctionType):
            function = getattr(function, inside, function)
    if not isinstance(function, types.FunctionType):
        # The method, which has the code; `callable` says only that there is one.
        function = getattr(type(function), "__call__", None)  # noqa: B004
    return function if isinstance(function, types.FunctionType) else None


def _named_values(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the variables that a function names; none of installed code."""
    if not _is_own(function):
        return
    scope = function.__globals__
    for name in sorted(_names(function.__code__)):
        if name in scope:
            yield name, scope[name]
    for name, cell in _cells(function):
        yield name, cell.cell_contents
    given = function.__defaults__ or ()
    last = function.__code__.co_argcount
    names = function.__code__.co_varnames[last - len(given) : last]
    yield from zip(names, given, strict=True)
    yield from (function.__kwdefaults__ or {}).items()


def _is_own(function: types.FunctionType) -> bool:
    if str(function.__module__).partition(".")[0] == "barloop":
        return False
    return not any(part in function.__code__.co_filename for part in INSTALLED)


def _cells(function: types.FunctionType) -> list[tuple[str, types.CellType]]:
    pairs = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    # A cell that is filled later holds NULL, which reads as an error.
    return [(name, cell) for name, cell in pairs if cell != types.CellType()]


def _names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


def _variables(
    function: types.FunctionType, old: Any
) -> Iterator[Callable[[Any], None]]:
    """Yield what sets each variable that holds an object."""
    scope = function.__globals__
    for name in _names(function.__code__) if _is_own(function) else ():
        if scope.get(name) is old:
            yield functools.partial(scope.__setitem__, name)
    for _, cell in _cells(function):
        if cell.cell_contents is old:
            yield functools.partial(setattr, cell, "cell_contents")
    given = function.__defaults__ or ()
    if any(value is old for value in given):

        def set_defaults(new: Any) -> None:
            function.__defaults__ = tuple(
                new if before is old else now
                for before, now in zip(given, function.__defaults__ or (), strict=True)
            )

        yield set_defaults
    named = function.__kwdefaults__ or {}
    for name in [name for name, value in named.items() if value is old]:
        yield functools.partial(named.__setitem__, name)


def _attributes(function: Any) -> list[tuple[str, Any]]:
    """Return what an object, the object of a method or a partial holds, by name."""
    if isinstance(function, functools.partial):
        return [*_attributes(function.func), *function.keywords.items()]
    if isinstance(function, types.FunctionType):
        return []
    holder = getattr(function, "__self__", function)
    held = getattr(holder, "__dict__", {})
    return [(f"self.{name}", value) for name, value in held.items()]


def _is_data(value: Any, n_bars: int) -> bool:
    if isinstance(value, (pl.DataFrame, pl.LazyFrame, Panel)):
        return True
    shape = getattr(value, "shape", None)
    if isinstance(value, type) or not isinstance(shape, tuple) or not shape:
        return False
    return isinstance(shape[0], int) and shape[0] >= n_bars
