"""One digest for a web of Python objects that refer to each other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

Label = bytes
"""What is known of an object so far, 32 bytes."""


class Child(NamedTuple):
    """An object that belongs to what another one is."""

    value: Any


class Shape(NamedTuple):
    """What an object is made of."""

    parts: list[bytes | Child]
    ordered: bool = True


class _Node(NamedTuple):
    parts: list[bytes | int]
    """Bytes, or the number of another node."""
    ordered: bool


def graph_digest(
    root: Any,
    *,
    token: Callable[[Any], bytes | None],
    shape: Callable[[Any], Shape],
) -> str:
    """Hash an object with all that it refers to.

    Parameters
    ----------
    root : object
        Where to begin.
    token : callable
        Gives the bytes of an object that refers to no other, None for one that does.
    shape : callable
        Says what such an object is made of.

    Returns
    -------
    str
        64 hexadecimal digits.  Equal copies count as one shared object, and circles
        are walked once.

    Notes
    -----
    Objects that lead into no circle get the hash of their parts.  The others are told
    apart as the states of an automaton are: two are the same until their parts differ,
    in as many rounds as it takes; then the classes are written down in the order in
    which they are reached from the root.
    """
    whole = token(root)
    if whole is not None:
        return _hash([whole]).hex()
    nodes = _explore(root, token, shape)
    labels: list[Label | None] = _settle(nodes)
    if labels[0] is not None:
        return labels[0].hex()
    circle = [k for k, label in enumerate(labels) if label is None]
    told = _tell_apart(nodes, labels, circle)
    return _write_down(nodes, told)


def _explore(
    root: Any, token: Callable[[Any], bytes | None], shape: Callable[[Any], Shape]
) -> list[_Node]:
    # The objects are kept, so that no address is used twice.
    found: list[Any] = [root]
    number = {id(root): 0}
    nodes: list[_Node] = []
    while len(nodes) < len(found):
        parts: list[bytes | int] = []
        made = shape(found[len(nodes)])
        for part in made.parts:
            if isinstance(part, bytes):
                parts.append(part)
                continue
            said = token(part.value)
            if said is None:
                place = number.setdefault(id(part.value), len(found))
                if place == len(found):
                    found.append(part.value)
                parts.append(place)
            else:
                parts.append(said)
        nodes.append(_Node(parts, made.ordered))
    return nodes


def _settle(nodes: list[_Node]) -> list[Label | None]:
    """Hash the nodes that lead into no circle."""
    used_by: list[list[int]] = [[] for _ in nodes]
    n_open = [0] * len(nodes)
    for k, node in enumerate(nodes):
        for part in node.parts:
            if isinstance(part, int):
                used_by[part].append(k)
                n_open[k] += 1
    labels: list[Label | None] = [None] * len(nodes)
    ready = [k for k, count in enumerate(n_open) if count == 0]
    while ready:
        k = ready.pop()
        labels[k] = _label(nodes[k], labels)
        for user in used_by[k]:
            n_open[user] -= 1
            if n_open[user] == 0:
                ready.append(user)
    return labels


def _tell_apart(
    nodes: list[_Node], labels: list[Label | None], circle: list[int]
) -> list[Label]:
    current: list[Label] = [b"?" if one is None else one for one in labels]
    n_classes = 0
    while True:
        updated = {k: _label(nodes[k], current) for k in circle}
        for k, label in updated.items():
            current[k] = label
        if len(set(updated.values())) == n_classes:
            return current
        n_classes = len(set(updated.values()))


def _write_down(nodes: list[_Node], labels: list[Label]) -> str:
    order = {labels[0]: 0}
    queue = [0]
    written: list[bytes] = []
    for k in queue:
        node = nodes[k]
        parts = node.parts
        if not node.ordered:
            parts = sorted(parts, key=lambda part: _known(part, labels))
        for part in parts:
            if isinstance(part, bytes):
                written.append(part)
                continue
            place = order.setdefault(labels[part], len(queue))
            if place == len(queue):
                queue.append(part)
            written.append(b"#%d" % place)
        written.append(b"|")
    return _hash(written).hex()


def _label(node: _Node, labels: list[Label] | list[Label | None]) -> Label:
    parts = [_known(part, labels) for part in node.parts]
    return _hash(parts if node.ordered else sorted(parts))


def _known(part: bytes | int, labels: list[Label] | list[Label | None]) -> bytes:
    if isinstance(part, bytes):
        return part
    label = labels[part]
    return b"?" if label is None else b"@" + label


def _hash(parts: Iterable[bytes]) -> Label:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()
