"""What is stored of a finished set, and its bytes."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from barloop.errors import SimulationError
from barloop.parameters import plain, text
from barloop.typing import FloatVector

FRAME = struct.Struct("<II")
"""Length of what follows, and its checksum."""
_FRONT = struct.Struct("<16sBII")
"""Key, flags, length of the parameters, length of the error."""

HAS_ERROR, HAS_EQUITY = 1, 2
"""Flags, at byte `FLAGS_AT` of the bytes of a set."""
KEY_BYTES = FLAGS_AT = 16


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What is stored of one finished set.

    Parameters
    ----------
    key : str
        32 hexadecimal digits, see `barloop.digest.set_key`.
    assignment : mapping of name to value
        The parameters; what JSON does not know is kept as text.
    metrics : ndarray of shape (n_metrics,)
        NaN for null.
    error : str, optional
        Why the set has no result.
    equity : ndarray of shape (n_bars,), optional
        Equity at the close of each bar, currency.
    """

    key: str
    assignment: Mapping[str, Any]
    metrics: FloatVector
    error: str | None = None
    equity: FloatVector | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """What the rows of one run have in common.

    Parameters
    ----------
    identity : str
        Short digest of the identity of the run.
    metric_names : tuple of str
        Names of the metrics, in order.
    n_bars : int, optional
        Number of values of each equity, None if none is kept.
    """

    identity: str
    metric_names: tuple[str, ...]
    n_bars: int | None

    def to_json(self) -> str:
        """Return it as a JSON text."""
        return json.dumps(
            {
                "identity": self.identity,
                "metrics": self.metric_names,
                "n_bars": self.n_bars,
            }
        )

    @classmethod
    def from_json(cls, written: bytes | str) -> Kind:
        """Make what `to_json` wrote."""
        plain = json.loads(written)
        return cls(plain["identity"], tuple(plain["metrics"]), plain["n_bars"])


def framed_record(payload: bytes) -> bytes:
    """Return bytes with their length and a checksum of both before them.

    Parameters
    ----------
    payload : bytes
        What is to be stored.

    Returns
    -------
    bytes
        8 bytes more.
    """
    length = len(payload).to_bytes(4, "little")
    return (
        length + zlib.crc32(payload, zlib.crc32(length)).to_bytes(4, "little") + payload
    )


def payload_of(row: Row, kind: Kind) -> bytes:
    """Return the bytes of a finished set.

    Parameters
    ----------
    row : Row
        The set.
    kind : Kind
        How many metrics it has, and how many bars.

    Returns
    -------
    bytes
        The key first.

    Raises
    ------
    SimulationError
        If its arrays have other lengths.
    """
    metrics = np.ascontiguousarray(row.metrics, dtype="<f8")
    if metrics.shape != (len(kind.metric_names),):
        msg = f"{len(kind.metric_names)} metrics are needed, got {metrics.shape}."
        raise SimulationError(msg)
    assignment = json.dumps(row.assignment, default=_plain).encode()
    error = b"" if row.error is None else row.error.encode("utf-8", "replace")
    flags = HAS_ERROR * (row.error is not None)
    equity = b""
    if kind.n_bars is not None and row.equity is not None:
        flags |= HAS_EQUITY
        equity = np.ascontiguousarray(row.equity, dtype="<f8").tobytes()
        if len(equity) != 8 * kind.n_bars:
            msg = f"{kind.n_bars} values of equity are needed, got {len(equity) // 8}."
            raise SimulationError(msg)
    front = _FRONT.pack(bytes.fromhex(row.key), flags, len(assignment), len(error))
    return b"".join((front, metrics.tobytes(), assignment, error, equity))


def _plain(value: Any) -> Any:
    made = plain(value)
    return text(made) if made is value else made


class StoredSet(NamedTuple):
    """A record of a journal, taken apart."""

    metrics: FloatVector
    assignment: bytes
    """JSON."""
    error: str | None
    equity: bytes | None
    """Of n_bars float64, None if there is none."""


def stored_set(payload: bytes, n_metrics: int) -> StoredSet:
    """Take the bytes of a finished set apart.

    Parameters
    ----------
    payload : bytes
        From `payload_of`.
    n_metrics : int
        How many metrics it has.

    Returns
    -------
    StoredSet
        Its arrays look at `payload`.
    """
    _, flags, n_assignment, n_error = _FRONT.unpack_from(payload)
    metrics = np.frombuffer(payload, "<f8", n_metrics, _FRONT.size)
    start = _FRONT.size + metrics.nbytes
    stop = start + n_assignment
    error = payload[stop : stop + n_error].decode() if flags & HAS_ERROR else None
    equity = payload[stop + n_error :] if flags & HAS_EQUITY else None
    return StoredSet(metrics, payload[start:stop], error, equity)
