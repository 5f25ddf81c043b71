"""What functions, classes and modules are made of."""

from __future__ import annotations

import builtins
import functools
import importlib
import importlib.util
import types
from collections.abc import Iterator, Mapping
from typing import Any

from barloop.bytecode import Read, canonical, reads
from barloop.object_graph import Child
from barloop.provenance import is_importable, origin, origin_of
from barloop.tokens import constant, framed

Parts = Iterator[bytes | Child]

_NOT_OF_A_CLASS = {
    "__dict__",
    "__weakref__",
    "__doc__",
    "__module__",
    "__qualname__",
    "__firstlineno__",
    "__static_attributes__",
    "__annotate__",
    "__annotate_func__",
    "__annotations_cache__",
    "__abstractmethods__",
    "_abc_impl",
}


def function_parts(
    function: types.FunctionType,
) -> Iterator[tuple[str, bytes | Child]]:
    """Name what a function is made of.

    Parameters
    ----------
    function : function
        Written in Python.

    Returns
    -------
    iterator of (str, bytes or Child)
        ``"code"``, and objects under ``"default n"``, ``"closure n"``,
        ``"attribute n"``, ``"global N"``, ``"import module.n"``.  A function of an
        installed package reads globals of this package only, which its version
        stands for.
    """
    code, package = function.__code__, origin_of(function)
    yield "code", framed(canonical(code, constant))
    defaults = function.__defaults__ or ()
    with_default = code.co_varnames[: code.co_argcount][-len(defaults) :]
    for name, value in zip(with_default, defaults, strict=False):
        yield f"default {name}", Child(value)
    for name, value in sorted((function.__kwdefaults__ or {}).items()):
        yield f"default {name}", Child(value)
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    for name, cell in cells.items():
        # A module of the user's counts by what is read of it.
        if not isinstance(_inside(cell), types.ModuleType):
            yield f"closure {name}", _part(_inside(cell))
    for name, value in sorted(vars(function).items()):
        yield f"attribute {name}", Child(value)
    if package is not None:
        yield "package", package.encode()
        return
    for read in reads(code):
        path = ".".join((read.name, *read.attributes))
        if read.kind == "import":
            yield from _imported(function, read)
        elif read.kind == "global":
            value = _global(function, read.name)
            yield f"global {path}", _follow(value, read.attributes)
        elif isinstance(module := _inside(cells[read.name]), types.ModuleType):
            yield f"closure {path}", _follow(module, read.attributes)


def function_shape(function: types.FunctionType) -> Parts:
    """Yield what a function is made of; of an importable one only its name.

    Parameters
    ----------
    function : function
        Written in Python.
    """
    package = origin_of(function)
    if package is not None and is_importable(function):
        yield from _named(function, package)
        return
    yield b"function"
    for name, part in function_parts(function):
        yield name.encode()
        yield part


def class_shape(kind: type) -> Parts:
    """Yield what a class is made of; of an installed one only its name.

    Parameters
    ----------
    kind : type
        Any class.
    """
    package = origin_of(kind)
    if package is not None and is_importable(kind):
        yield from _named(kind, package)
        return
    yield b"class"
    yield kind.__name__.encode()
    yield (package or "").encode()
    yield Child(type(kind))
    yield from map(Child, kind.__bases__)
    own = {k: v for k, v in vars(kind).items() if k not in _NOT_OF_A_CLASS}
    hints = own.pop("__annotations__", None)
    for name, hint in hints.items() if isinstance(hints, dict) else ():
        shown = hint.__qualname__ if isinstance(hint, type) else str(hint)
        yield f"{name}: {shown}".encode()
    yield from members(own)


def module_shape(module: types.ModuleType) -> Parts:
    """Yield all that a module of the user's holds; of an installed one its name.

    Parameters
    ----------
    module : module
        One that is passed around, or imported as a whole inside a function.
    """
    package = origin(module.__name__)
    yield b"module"
    if package is None:
        names = {k: v for k, v in vars(module).items() if not k.startswith("__")}
        yield from members(names)
    else:
        yield f"{package} {module.__name__}".encode()


def method_shape(method: types.MethodType) -> Parts:
    """Yield the function and the object of a bound method.

    Parameters
    ----------
    method : bound method
        Written in Python.
    """
    yield b"method"
    yield Child(method.__func__)
    yield Child(method.__self__)


def partial_shape(bound: functools.partial[Any]) -> Parts:
    """Yield the function and the arguments of a partial.

    Parameters
    ----------
    bound : functools.partial
        Of any callable.
    """
    yield b"partial"
    yield Child(bound.func)
    yield Child(bound.args)
    yield from members(bound.keywords)
    yield from members(vars(bound))


def wrapper_shape(wrapper: Any) -> Parts:
    """Yield the functions inside a property, a static or a cached one.

    Parameters
    ----------
    wrapper : property, classmethod, staticmethod, cached_property or lru_cache
        What a decorator of the standard library made.
    """
    yield type(wrapper).__name__.encode()
    if isinstance(wrapper, property):
        yield from map(Child, (wrapper.fget, wrapper.fset, wrapper.fdel))
    elif isinstance(wrapper, functools.cached_property):
        yield Child(wrapper.func)
    else:
        yield Child(wrapper.__wrapped__)


def extension_shape(function: Any) -> Parts:
    """Yield the name of a function that is not written in Python.

    Parameters
    ----------
    function : builtin function, method or slot
        Of an extension module.
    """
    yield b"extension"
    yield getattr(function, "__qualname__", type(function).__name__).encode()
    owner = getattr(function, "__self__", None)
    if hasattr(function, "__objclass__"):
        yield function.__objclass__.__qualname__.encode()
    elif owner is not None and not isinstance(owner, types.ModuleType):
        yield Child(owner)
    else:
        module = getattr(function, "__module__", None) or "builtins"
        yield f"{module} {origin(module)}".encode()


def members(named: Mapping[Any, Any]) -> Parts:
    """Yield names and their values, in an order that says nothing.

    Parameters
    ----------
    named : mapping
        Such as the attributes of an object.
    """
    for name in sorted(named, key=str):
        yield str(name).encode()
        yield Child(named[name])


def _named(value: Any, package: str) -> Parts:
    yield f"installed {package} {value.__module__} {value.__qualname__}".encode()


class _Missing:
    """Stands for a name that has no value yet."""


_MISSING = _Missing()


def _part(value: Any) -> bytes | Child:
    return b"missing" if value is _MISSING else Child(value)


def _inside(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _MISSING


def _global(function: types.FunctionType, name: str) -> Any:
    if name in function.__globals__:
        return function.__globals__[name]
    return getattr(builtins, name, _MISSING)


def _follow(value: Any, attributes: tuple[str, ...]) -> bytes | Child:
    """Walk through modules to what is read of them."""
    while isinstance(value, types.ModuleType):
        package = origin(value.__name__)
        if package is not None:
            path = ".".join((value.__name__, *attributes))
            return f"installed {package} {path}".encode()
        if not attributes:
            break
        value = getattr(value, attributes[0], _MISSING)
        attributes = attributes[1:]
    return _part(value)


def _imported(
    function: types.FunctionType, read: Read
) -> Iterator[tuple[str, bytes | Child]]:
    """Yield what an import inside a function brings."""
    name = read.name
    try:
        if read.level:
            home = function.__globals__.get("__package__")
            name = importlib.util.resolve_name("." * read.level + name, home)
        package = origin(name)
        if package is not None:
            yield f"import {name}", f"installed {package}".encode()
            return
        # It would be imported as soon as the function runs.
        module = importlib.import_module(name)
    except Exception:
        yield f"import {name}", b"missing"
        return
    if not read.attributes or "*" in read.attributes:
        yield f"import {name}", Child(module)
        return
    for one in read.attributes:
        yield f"import {name}.{one}", _follow(module, (one,))
