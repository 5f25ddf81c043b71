"""What functions and classes compiled by numba are made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from barloop.function_shapes import members
from barloop.object_graph import Child

Parts = Iterator[bytes | Child]

_ADDRESS = re.compile("#[0-9a-f]+")

_NO_NUMBER_CHANGES = ("nopython", "nogil", "cache")
"""Options that say how and where machine code is made, not what it computes."""


def compiled_from(value: Any) -> Any | None:
    """Return the Python function that numba compiled.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    function or None
        None if `value` is no function that numba made.
    """
    if not _is_of_numba(type(value)):
        return None
    return getattr(value, "py_func", None) or getattr(value, "_pyfunc", None)


def compiled_shape(value: Any) -> list[bytes | Child] | None:
    """Say what an object that numba made is made of.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    list of bytes and Child, or None
        Of a function the Python function and the options; of a class its fields and
        methods; of an instance its class and values.  None for any other object.
    """
    if not _is_of_numba(type(value)):
        return None
    function = compiled_from(value)
    if function is not None:
        options = dict(getattr(value, "targetoptions", {}))
        for name in _NO_NUMBER_CHANGES:
            options.pop(name, None)
        return [b"compiled function", Child(function), *members(options)]
    if isinstance(value, type) and hasattr(value, "class_type"):
        return list(_class(value.class_type))
    kind: Any = getattr(value, "_numba_type_", None)
    if hasattr(kind, "class_type"):
        values = {name: getattr(value, name) for name in kind.struct}
        return [*_class(kind.class_type), *members(values)]
    return None


def _class(kind: Any) -> Parts:
    yield b"compiled class"
    for name, field in kind.struct.items():
        yield f"{name}: {_ADDRESS.sub('', str(field))}".encode()
    for methods in (kind.jit_methods, kind.jit_static_methods, kind.jit_props):
        yield Child(methods)


def _is_of_numba(kind: type) -> bool:
    # Of some classes of extension modules it is no text.
    return str(kind.__module__).partition(".")[0] == "numba"
