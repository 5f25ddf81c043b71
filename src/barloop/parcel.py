"""What workers in other processes get once, and share with each other."""

from __future__ import annotations

import functools
import io
import json
import mmap
import pickle
import sys
import uuid
from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from barloop.errors import BarloopError, ConfigError, SimulationError
from barloop.panel import Panel
from barloop.panel_store import read_frame, read_panel, write_frame, write_panel

Assignment = dict[str, Any]
"""One set of a sweep: parameters and settings by name."""

Outcome = Any
"""What running a set gives; any picklable object."""

Run = Callable[[int, Assignment], Outcome]
"""Runs the set of that number."""

WHAT_IS_SHARED = "the weights function, or something that it uses,"

ALIGNMENT = 64
"""Bytes at whose multiples an array starts in a file."""


class Shared(Protocol):
    """What all sets of a sweep have in common; picklable with cloudpickle."""

    @property
    def panel(self) -> Panel:
        """The data."""
        ...

    def start(self) -> Run:
        """Make one worker, thread or process, ready to run sets."""
        ...


@dataclass(frozen=True, eq=False)
class Parcel:
    """A pickled object whose arrays and frames are kept apart, for zero-copy readers.

    Parameters
    ----------
    job : str
        Unique name.
    pickle : bytes
        All but the buffers.
    buffers : list of ndarray of uint8
        Memory of arrays and frames, as the sender holds it or as a receiver got it.
    is_writeable : list of bool
        Whether the sender may write to each; a receiver then gets a copy of its own.
    versions : dict of str to str
        Of what results depend on, as the sender has it.
    """

    job: str
    pickle: bytes
    buffers: list[npt.NDArray[np.uint8]]
    is_writeable: list[bool]
    versions: dict[str, str]

    def __sizeof__(self) -> int:
        return len(self.pickle) + sum(part.nbytes for part in self.buffers)

    def open(self) -> Any:
        """Return the object; its read-only arrays are the parcel's memory.

        Raises
        ------
        SimulationError
            If this process has other versions than the sender.
        """
        here = _versions()
        for name, version in self.versions.items():
            if here[name] != version:
                msg = (
                    f"a worker has {name} {here[name]}, this process has {version}, so "
                    "results could differ.\n"
                    "Hint: install the same versions on all machines of the cluster."
                )
                raise SimulationError(msg)
        return pickle.loads(
            self.pickle,
            buffers=[
                bytearray(part) if is_writeable else part.data.toreadonly()
                for part, is_writeable in zip(
                    self.buffers, self.is_writeable, strict=True
                )
            ],
        )


def pack(shared: Shared) -> Parcel:
    """Pickle what all sets have in common.

    Parameters
    ----------
    shared : Shared
        Functions defined in ``__main__``, in a notebook or inside of others go along;
        those of a module are named, and the workers import the module.

    Returns
    -------
    Parcel
        Shares memory with `shared`: send it before anything changes.

    Raises
    ------
    ConfigError
        If something in it cannot be sent.
    """
    return replace(_pack(shared, {}, WHAT_IS_SHARED), versions=_versions())


def write_parcel(shared: Shared, folder: Path) -> None:
    """Write what all sets have in common, for `read_parcel`.

    Parameters
    ----------
    shared : Shared
        See `pack`.
    folder : Path
        New or empty.

    Raises
    ------
    ConfigError
        If something in it cannot be sent.
    """
    panel = shared.panel
    write_panel(panel, folder / "panel")
    # Its frame may also be in the closure of a weights function.
    names = {id(panel): "panel", id(panel.frame): "frame"}
    parcel = _pack(shared, names, WHAT_IS_SHARED)
    (folder / "shared.pickle").write_bytes(parcel.pickle)
    starts = []
    with (folder / "buffers").open("wb") as file:
        for part in parcel.buffers:
            file.write(b"\0" * (-file.tell() % ALIGNMENT))
            starts.append(file.tell())
            file.write(part.data)
    index = [
        [start, part.nbytes, is_writeable]
        for start, part, is_writeable in zip(
            starts, parcel.buffers, parcel.is_writeable, strict=True
        )
    ]
    (folder / "buffers.json").write_text(json.dumps(index))


def read_parcel(folder: Path) -> Any:
    """Return what `write_parcel` wrote, mapped into memory.

    Parameters
    ----------
    folder : Path
        Must stay as it is while the object lives; on Linux and macOS it may be removed.

    Returns
    -------
    Shared
        Its panel and its read-only arrays and frames are shared by all readers.  Of
        arrays that the writer could write to, each reader has its own version.
    """
    panel = read_panel(folder / "panel")
    known = {"panel": panel, "frame": panel.frame}
    index = json.loads((folder / "buffers.json").read_text())
    memory = memoryview(bytearray())
    if any(n_bytes for _, n_bytes, _ in index):
        with (folder / "buffers").open("rb") as file:
            # Written pages become the process' own; the file stays as it is.
            memory = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    views = [memory[start : start + n_bytes] for start, n_bytes, _ in index]

    class Opener(pickle.Unpickler):
        def persistent_load(self, name: Any) -> Any:
            return known[name]

    with (folder / "shared.pickle").open("rb") as file:
        return Opener(
            file,
            buffers=[
                view if is_writeable else view.toreadonly()
                for view, (_, _, is_writeable) in zip(views, index, strict=True)
            ],
        ).load()


def dumps(value: Any, what: str) -> bytes:
    """Pickle a small object, functions included.

    Parameters
    ----------
    value : object
        Sets, outcomes.
    what : str
        What it is, for the message.

    Returns
    -------
    bytes
        For `pickle.loads`.

    Raises
    ------
    ConfigError
        If something in it cannot be sent.
    """
    return _pack(value, {}, what, in_band=True).pickle


def _pack(
    value: Any, names: dict[int, str], what: str, *, in_band: bool = False
) -> Parcel:
    parts: list[pickle.PickleBuffer] = []
    file = io.BytesIO()
    packer = _packer()(file, names, None if in_band else parts.append)
    try:
        packer.dump(value)
    except BarloopError:
        raise
    except Exception as error:
        # Anything: each object says in its own way that it cannot be pickled.
        msg = (
            f"{what} cannot be sent to another process: "
            f"{type(error).__name__}: {error}\n"
            "Hint: open files, connections and locks inside of the function, or use "
            'executor="threads".'
        )
        raise ConfigError(msg) from error
    raw = [part.raw() for part in parts]
    return Parcel(
        job=uuid.uuid4().hex,
        pickle=file.getvalue(),
        buffers=[np.frombuffer(part, dtype=np.uint8) for part in raw],
        is_writeable=[not part.readonly for part in raw],
        versions={},
    )


@functools.cache
def _versions() -> dict[str, str]:
    import numba

    from barloop.release import VERSION

    return {
        "Python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "barloop": VERSION,
        **{one.__name__: one.__version__ for one in (np, numba, pl)},
    }


@functools.cache
def _packer() -> Any:
    from cloudpickle import Pickler

    class Packer(Pickler):  # type: ignore[misc]
        dispatch_table: ClassVar[Any] = ChainMap(
            {pl.DataFrame: _reduced}, Pickler.dispatch_table
        )

        def __init__(
            self, file: Any, names: dict[int, str], buffer_callback: Any
        ) -> None:
            super().__init__(file, protocol=5, buffer_callback=buffer_callback)
            self.names = names

        def persistent_id(self, obj: Any) -> str | None:
            return self.names.get(id(obj))

    return Packer


def _reduced(frame: pl.DataFrame) -> tuple[Any, ...]:
    # Polars' own pickle takes ten times as long, and cannot be read without a copy.
    file = io.BytesIO()
    write_frame(frame, file)
    return read_frame, (pickle.PickleBuffer(file.getbuffer().toreadonly()),)
