"""What objects are made of, as far as a backtest can tell them apart."""

from __future__ import annotations

import copyreg
import functools
import hashlib
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
import polars as pl

from barloop import function_shapes as shapes
from barloop.bytecode import canonical
from barloop.column_digest import column_digest
from barloop.compiled_shapes import compiled_shape
from barloop.expression_parts import Callback, expression_parts
from barloop.function_shapes import members
from barloop.object_graph import Child, Shape
from barloop.provenance import origin_of
from barloop.tokens import constant

Parts = Iterator[bytes | Child]


def shape(value: Any) -> Shape:
    """Say what an object is made of.

    Parameters
    ----------
    value : object
        One that is no plain value.

    Returns
    -------
    Shape
        Bytes and other objects; the same for objects that a backtest cannot tell
        apart, in this process or another.
    """
    if isinstance(value, (set, frozenset)):
        kind = [] if type(value) in (set, frozenset) else [Child(type(value))]
        return Shape([b"set", *kind, *map(Child, value)], ordered=False)
    compiled = compiled_shape(value)
    if compiled is not None:
        return Shape(compiled)
    exact = _EXACT.get(type(value))
    if exact is not None:
        return Shape(list(exact(value)))
    for kinds, parts_of in _KINDS:
        if isinstance(value, kinds):
            return Shape(list(parts_of(value)))
    return Shape(list(_object(value)))


def _sequence(value: Sequence[Any]) -> Parts:
    yield type(value).__name__.encode()
    yield from map(Child, value)


def _mapping(value: Mapping[Any, Any]) -> Parts:
    yield b"dict"
    for name, one in value.items():
        yield Child(name)
        yield Child(one)


def _slice(value: slice) -> Parts:
    yield b"slice"
    yield from map(Child, (value.start, value.stop, value.step))


def _code(value: types.CodeType) -> Parts:
    yield b"code"
    yield from canonical(value, constant)


def _member(value: Enum) -> Parts:
    yield b"member"
    yield Child(type(value))
    yield value.name.encode()
    yield Child(value.value)


def _array(value: np.ndarray[Any, Any]) -> Parts:
    yield b"array"
    if type(value) not in (np.ndarray, np.memmap):
        yield Child(type(value))
    if isinstance(value, np.ma.MaskedArray):
        yield Child(np.ma.getmaskarray(value))
        yield Child(value.fill_value)
        value = value.filled()
    plain = np.asarray(value)
    yield f"{plain.dtype.descr!r} {plain.shape!r}".encode()
    if plain.dtype.hasobject:
        yield Child(plain.tolist())
    else:
        flat: Any = np.ascontiguousarray(plain).reshape(-1).view(np.uint8)
        yield hashlib.sha256(flat).digest()


def _series(value: pl.Series) -> Parts:
    objects: list[Any] = []

    def keep(values: list[Any]) -> bytes:
        objects.append(values)
        return b"objects"

    yield b"series"
    yield value.name.encode()
    yield column_digest(value, of_objects=keep)
    yield from map(Child, objects)


def _frame(value: pl.DataFrame) -> Parts:
    yield f"frame {value.height}".encode()
    yield from map(Child, value.get_columns())


def _lazy_frame(value: pl.LazyFrame) -> Parts:
    # What it reads from files is part of what it is.
    yield b"lazy frame"
    yield Child(value.collect(engine="in-memory"))


def _expression(value: pl.Expr) -> Parts:
    yield b"expression"
    for part in expression_parts(value):
        yield Child(part.function) if isinstance(part, Callback) else part


_EXACT: dict[type, Callable[[Any], Parts]] = {
    list: _sequence,
    tuple: _sequence,
    dict: _mapping,
    types.MappingProxyType: _mapping,
    slice: _slice,
    types.CodeType: _code,
    types.FunctionType: shapes.function_shape,
    types.MethodType: shapes.method_shape,
    functools.partial: shapes.partial_shape,
}

_KINDS: list[tuple[Any, Callable[[Any], Parts]]] = [
    (type, shapes.class_shape),
    (types.ModuleType, shapes.module_shape),
    (Enum, _member),
    (np.ndarray, _array),
    (pl.Series, _series),
    (pl.DataFrame, _frame),
    (pl.LazyFrame, _lazy_frame),
    (pl.Expr, _expression),
    (
        (
            property,
            classmethod,
            staticmethod,
            functools.cached_property,
            functools._lru_cache_wrapper,
        ),
        shapes.wrapper_shape,
    ),
    (
        (
            types.BuiltinFunctionType,
            types.MethodWrapperType,
            types.MethodDescriptorType,
            types.WrapperDescriptorType,
            types.ClassMethodDescriptorType,
            types.GetSetDescriptorType,
            types.MemberDescriptorType,
        ),
        shapes.extension_shape,
    ),
]


def _object(value: Any) -> Parts:
    """Yield what an instance of any other class is made of."""
    kind = type(value)
    yield b"object"
    yield Child(kind)
    made_by, arguments, state, items, pairs = _reduced(value)
    if origin_of(kind) is None:
        # A class of the user's: all attributes, whatever it has pickle keep.
        yield from members(_attributes(value))
        state = None
    else:
        yield Child(_content(value))
    yield from map(Child, (made_by, arguments, state, items, pairs))


def _attributes(value: Any) -> dict[str, Any]:
    state = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            private = slot.startswith("__") and not slot.endswith("__")
            name = f"_{kind.__name__.lstrip('_')}{slot}" if private else slot
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                state[name] = getattr(value, name)
        for name, one in vars(kind).items():
            # It follows from the rest, and is there only once it was asked for.
            if isinstance(one, functools.cached_property):
                state.pop(name, None)
    return state


def _reduced(value: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Take an object apart as pickle does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            registered = copyreg.dispatch_table.get(type(value))
            reduced = registered(value) if registered else value.__reduce_ex__(4)
    except Exception:
        return None, None, _attributes(value), None, None
    if isinstance(reduced, str):
        return getattr(value, "__module__", None), reduced, None, None, None
    made_by, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    listed = None if items is None else list(items)
    return made_by, arguments, state, listed, None if pairs is None else list(pairs)


def _content(value: Any) -> Any:
    """Return what a container holds, which pickle may not say."""
    try:
        if isinstance(value, Mapping):
            return dict(value)
        return list(value) if isinstance(value, Sequence) else None
    except Exception:
        return None
