"""A panel in a folder, read without a copy by any number of processes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl

from barloop.errors import PanelError
from barloop.layout import Layout
from barloop.notices import Notice
from barloop.panel import Panel
from barloop.schema import PRICE_NAMES, Columns

Buffer = bytes | bytearray | memoryview

FORMAT = 1
"""Number of the layout of the files; another one is not read."""


def write_panel(panel: Panel, folder: Path) -> None:
    """Write a panel for `read_panel`.

    Parameters
    ----------
    panel : Panel
        Whole or truncated.  Features that were asked for are written too, the others
        are made from the frame when the panel that was read is asked.
    folder : Path
        New or empty.

    Raises
    ------
    PanelError
        If the folder is not empty, or the frame has a column of Python objects.

    Notes
    -----
    ``frame.arrow`` holds the user's rows as uncompressed Arrow IPC in one record batch,
    a ``.npy`` file each array that is not a column of the frame, ``panel.json`` the
    rest.  The last is written last: a folder without it is not a panel.
    """
    state = panel.__getstate__()
    layout: Layout = state["layout"]
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        msg = (
            f"{str(folder)!r} is not empty.\n"
            "Hint: a panel needs a folder of its own; a mapped file must not change."
        )
        raise PanelError(msg)
    write_frame(state["frame"], folder / "frame.arrow")
    # Asked of the frame, a truncated panel would lose the bars that were cut off.
    write_frame(state["all_timestamps"].to_frame(), folder / "timestamps.arrow")
    write_frame(layout.assets.to_frame(), folder / "assets.arrow")
    if layout.row_of is not None:
        np.save(folder / "row_of.npy", layout.row_of)
    stored = {name: one for name, one in state["panels"].items() if one is not None}
    for name, array in stored.items():
        np.save(folder / f"{name}.npy", array)
    for k, array in enumerate(state["features"].values()):
        np.save(folder / f"feature_{k}.npy", array)
    notices = state["notices"]
    about = {
        "format": FORMAT,
        "columns": state["columns"].named(),
        "n_bars": panel.n_bars,
        "in_order": layout.in_order,
        "is_view": layout.row_of is None,
        "panels": list(stored),
        "features": list(state["features"]),
        "notices": None if notices is None else [asdict(one) for one in notices],
    }
    (folder / "panel.json").write_text(json.dumps(about), encoding="utf-8")


def read_panel(folder: Path) -> Panel:
    """Map the files of `write_panel` into memory.

    Parameters
    ----------
    folder : Path
        Must stay as it is while the panel lives; on Linux and macOS it may be removed.

    Returns
    -------
    Panel
        Bit for bit the one that was written.  Arrays and frame are the files' pages,
        which all processes share; what is text in a Categorical is copied.

    Raises
    ------
    PanelError
        If the folder holds no panel, or one of another version.
    """
    try:
        about = json.loads((folder / "panel.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = (
            f"{str(folder)!r} holds no panel.\n"
            "Hint: write_panel(panel, folder) writes one."
        )
        raise PanelError(msg) from None
    if about["format"] != FORMAT:
        msg = (
            f"{str(folder)!r} holds a panel of another version of barloop "
            f"(format {about['format']}, this is {FORMAT}).\nHint: write it again."
        )
        raise PanelError(msg)
    columns = Columns(**about["columns"])
    all_timestamps = read_frame(folder / "timestamps.arrow").to_series()
    layout = Layout(
        all_timestamps.head(about["n_bars"]),
        read_frame(folder / "assets.arrow").to_series(),
        None if about["is_view"] else _mapped(folder / "row_of.npy"),
        in_order=about["in_order"],
    )
    stored, notices = about["panels"], about["notices"]
    panel = Panel.__new__(Panel)
    panel.__setstate__(
        {
            "frame": read_frame(folder / "frame.arrow"),
            "columns": columns,
            "layout": layout,
            "panels": {
                name: _mapped(folder / f"{name}.npy") if name in stored else None
                for name in PRICE_NAMES
                if name in about["columns"]
            },
            "features": {
                name: _mapped(folder / f"feature_{k}.npy")
                for k, name in enumerate(about["features"])
            },
            "notices": None if notices is None else tuple(Notice(**n) for n in notices),
            "all_timestamps": all_timestamps,
        }
    )
    return panel


def write_frame(frame: pl.DataFrame, sink: Path | IO[bytes]) -> None:
    """Write a frame as one uncompressed record batch of Arrow IPC.

    Parameters
    ----------
    frame : DataFrame
        Of any dtype that Arrow knows.
    sink : Path or binary file
        Where to.

    Raises
    ------
    PanelError
        If a column holds Python objects.
    """
    objects = [name for name, dtype in frame.schema.items() if dtype == pl.Object]
    if objects:
        msg = (
            f"column {objects[0]!r} holds Python objects, which cannot be stored or "
            "sent to another process.\n"
            f"Hint: drop it first, df.drop({objects[0]!r}), or cast it."
        )
        raise PanelError(msg)
    # One batch: of several, a column would be put together in a copy.
    frame.write_ipc(
        sink, compression="uncompressed", record_batch_size=max(frame.height, 1)
    )


def read_frame(source: Path | Buffer) -> pl.DataFrame:
    """Read what `write_frame` wrote, without a copy.

    Parameters
    ----------
    source : Path or bytes
        A file is mapped into memory; bytes are kept alive by the frame.

    Returns
    -------
    DataFrame
        In one chunk, of the same dtypes.
    """
    # Polars would read the file into memory of its own.
    import pyarrow as pa
    from pyarrow import ipc

    if isinstance(source, Path):
        stream = pa.memory_map(str(source))
    else:
        stream = pa.BufferReader(source)
    try:
        with stream, ipc.open_file(stream) as file:
            return pl.DataFrame(file.read_all())
    except pa.ArrowNotImplementedError:
        # Integers of 128 bits, which only polars has.
        return pl.read_ipc(source if isinstance(source, Path) else bytes(source))


def _mapped(path: Path) -> Any:
    # A plain array: kernels would be compiled once more for a subclass.
    return np.asarray(np.load(path, mmap_mode="r"))
