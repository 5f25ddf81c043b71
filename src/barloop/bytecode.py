"""What compiled Python code says, without where it stands, and the names it reads."""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterator
from types import CodeType
from typing import NamedTuple

_SKIPPED = {"NOP", "CACHE", "EXTENDED_ARG"}

_POSITIONAL = {"__doc__", "__firstlineno__", "__static_attributes__"}
"""Names that the body of a class stores and no backtest reads."""

# *args, **kwargs, generator, coroutine, iterable coroutine, asynchronous generator.
_FLAGS = 0x04 | 0x08 | 0x20 | 0x80 | 0x100 | 0x200

_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_FREE = {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}
_ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD"}


class Read(NamedTuple):
    """A name from outside that code reads."""

    kind: str
    """"global", "free" (of an enclosing function) or "import"."""
    name: str
    """The name; of an import the module."""
    attributes: tuple[str, ...] = ()
    """Attributes asked of it at once, ``("linalg", "norm")``; names of an import."""
    level: int = 0
    """Dots before the module of a relative import."""


def canonical(code: CodeType, token: Callable[[object], bytes]) -> list[bytes]:
    """Say what code does in bytes that its place in a file does not change.

    Parameters
    ----------
    code : code object
        Of a function, a lambda or the body of a class.
    token : callable
        Gives the bytes of a constant that is no code.

    Returns
    -------
    list of bytes
        Arguments and instructions.  Comments, blank lines, line breaks, docstrings,
        annotations of the arguments, and the names of file and function are not in it.

    Notes
    -----
    The instructions are those of the running Python version.
    """
    instructions = _instructions(code)
    place = {one.offset: k for k, one in enumerate(instructions)}
    # A jump may lead to an instruction that was skipped: then it means the next one.
    following = len(instructions)
    for offset in range(len(code.co_code), -1, -2):
        following = place.setdefault(offset, following)
    n_args = code.co_argcount + code.co_kwonlyargcount
    n_args += bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)
    said = [
        repr(
            (
                code.co_argcount,
                code.co_posonlyargcount,
                code.co_kwonlyargcount,
                code.co_flags & _FLAGS,
                code.co_varnames[:n_args],
            )
        ).encode()
    ]
    for one in instructions:
        said.append(one.opname.encode())
        if one.opcode in dis.hasconst:
            if isinstance(one.argval, CodeType):
                inner = canonical(one.argval, token)
                said += [b"code", str(len(inner)).encode(), *inner]
            else:
                said.append(token(one.argval))
        elif one.opcode in dis.hasjrel or one.opcode in dis.hasjabs:
            said.append(str(place[one.argval]).encode())
        elif _has_name(one):
            said.append(repr(one.argval).encode())
        else:
            said.append(str(one.arg).encode())
    for entry in dis.Bytecode(code).exception_entries:  # type: ignore[attr-defined]
        where = (place[entry.start], place[entry.end], place[entry.target])
        said.append(repr((*where, entry.depth, entry.lasti)).encode())
    return said


def reads(code: CodeType) -> list[Read]:
    """Find the names from outside that code and the functions inside it read.

    Parameters
    ----------
    code : code object
        Of a function.

    Returns
    -------
    list of Read
        Each once, in the order in which they occur.
    """
    return list(dict.fromkeys(_reads(code, set(code.co_freevars))))


def _reads(code: CodeType, free: set[str]) -> Iterator[Read]:
    instructions = _instructions(code)
    for k, one in enumerate(instructions):
        if one.opname in _GLOBAL:
            yield Read("global", one.argval, _attributes(instructions, k + 1))
        elif one.opname in _FREE and one.argval in free:
            yield Read("free", one.argval, _attributes(instructions, k + 1))
        elif one.opname == "IMPORT_NAME":
            # The level and the names stand before it.
            level, names = instructions[k - 2].argval, instructions[k - 1].argval
            yield Read("import", one.argval, names or (), level)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _reads(constant, free.intersection(constant.co_freevars))


def _attributes(instructions: list[dis.Instruction], start: int) -> tuple[str, ...]:
    names: list[str] = []
    for one in instructions[start:]:
        if one.opname not in _ATTRIBUTE:
            break
        names.append(one.argval)
    return tuple(names)


def _instructions(code: CodeType) -> list[dis.Instruction]:
    kept: list[dis.Instruction] = []
    for one in dis.get_instructions(code):
        if one.opname in _SKIPPED:
            continue
        if one.opname == "STORE_NAME" and one.argval in _POSITIONAL and kept:
            kept.pop()
        else:
            kept.append(one)
    return kept


def _has_name(one: dis.Instruction) -> bool:
    opcode = one.opcode
    return (
        opcode in dis.hasname
        or opcode in dis.haslocal
        or opcode in dis.hasfree
        or opcode in dis.hascompare
    )
