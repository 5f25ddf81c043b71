"""Bytes for values that refer to no other object."""

from __future__ import annotations

import decimal
import fractions
import struct
import uuid
from datetime import date, datetime, time, timedelta, timezone
from pathlib import PurePath
from typing import Any

import numpy as np
import polars as pl

from barloop.column_digest import dtype_text

# Each says in its repr all that it is.
_BY_REPR = (
    complex,
    date,
    datetime,
    time,
    timedelta,
    timezone,
    decimal.Decimal,
    fractions.Fraction,
    range,
    uuid.UUID,
)


def token(value: Any) -> bytes | None:
    """Return the bytes of a value that refers to no other object.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    bytes
        Another for each value: 1, 1.0 and True differ, and so do 0.0 and -0.0.
        Numbers of numpy that are as wide as those of Python count as these.
    None
        For an object that has to be taken apart.

    Examples
    --------
    >>> token(1) == token(np.int64(1)), token(1) == token(1.0), token([1])
    (True, False, None)
    """
    kind = type(value)
    if kind is float:
        return b"float " + struct.pack(">d", value)
    if kind is int:
        return b"int %x" % value
    if kind is str:
        return b"text " + str.encode(value, "utf-8", "surrogatepass")
    if kind is bool or value is None or value is ... or value is NotImplemented:
        return repr(value).encode()
    if kind in (bytes, bytearray):
        return b"bytes " + bytes(value)
    if kind in _BY_REPR:
        return f"{kind.__name__} {value!r}".encode()
    if isinstance(value, PurePath):
        return b"path " + str(value).encode("utf-8", "surrogateescape")
    if isinstance(value, np.generic):
        return _number(value)
    if isinstance(value, np.dtype):
        return b"dtype " + repr(value).encode()
    if isinstance(value, pl.DataType):
        return b"dtype " + dtype_text(value).encode()
    return None


def constant(value: object) -> bytes:
    """Return the bytes of a constant of compiled code.

    Parameters
    ----------
    value : number, str, bytes, None, Ellipsis, tuple or frozenset
        What the compiler keeps in a code object.

    Returns
    -------
    bytes
        See `token`.
    """
    if isinstance(value, (tuple, frozenset)):
        inside = [constant(one) for one in value]
        if isinstance(value, frozenset):
            inside.sort()
        return type(value).__name__.encode() + b" " + framed(inside)
    said = token(value)
    return repr(value).encode() if said is None else said


def framed(parts: list[bytes]) -> bytes:
    """Join bytes so that they could be told apart again.

    Parameters
    ----------
    parts : list of bytes
        In their order.

    Returns
    -------
    bytes
        Each after its length.

    Examples
    --------
    >>> framed([b"ab", b""])
    b'2:ab0:'
    """
    return b"".join(b"%d:%s" % (len(part), part) for part in parts)


def _number(value: np.generic) -> bytes | None:
    if value.dtype in (np.int64, np.float64, np.bool_) or value.dtype.kind == "U":
        return token(value.item())
    if value.dtype.hasobject:
        return None
    return b"number " + value.dtype.str.encode() + b" " + value.tobytes()
