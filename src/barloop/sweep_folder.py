"""The folder of a sweep: what lies where, and what made it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from barloop.errors import ConfigError
from barloop.set_parts import publish, stage
from barloop.set_records import Kind

FORMAT = "barloop sweep"
FORMAT_VERSION = 1

README = """\
This folder holds the finished sets of parameter sweeps made with barloop
(sweep(..., resume=THIS_FOLDER)).  It can be deleted when it is no longer needed.

parts/       One parquet dataset, one row per set:
             polars.scan_parquet("parts/*.parquet")
             key           name of the set: a digest of data, function, settings,
                           parameters and version
             identity      which run wrote it, see sweep.json
             ...           parameters, metrics
             error         why the set has no result, or null
             equity_file, equity_row
                           where its equity is, or null
             assignment    the parameters as JSON
equity/      Equity of each bar, one row per set:
             numpy.load("equity/000001.npy", mmap_mode="r")[equity_row]
journals/    Sets that are finished but not in parts/ yet.  The next sweep with this
             folder takes them in.
sweep.json   What made the rows: digests of data, function and so on by identity.

A row is here once its set has finished, also when the process is killed.  A loss of
power may cost the sets of the last half minute that are still in journals/.
"""


class Places(NamedTuple):
    """Where things are in the folder of a store."""

    folder: Path

    @property
    def journals(self) -> Path:
        """Of processes that run sets."""
        return self.folder / "journals"

    @property
    def parts(self) -> Path:
        """The dataset."""
        return self.folder / "parts"

    @property
    def equity(self) -> Path:
        """Equity of the rows of the dataset."""
        return self.folder / "equity"

    def inside(self) -> tuple[Path, ...]:
        """Return the folders in the folder."""
        return self.journals, self.parts, self.equity

    def part_paths(self) -> list[Path]:
        """Return the parts of the dataset, the oldest first."""
        return sorted(self.parts.glob("part-*.parquet"))


def require_store(folder: Path) -> None:
    """Refuse a folder that is something else, and touch nothing.

    Parameters
    ----------
    folder : path
        Need not exist.

    Raises
    ------
    ConfigError
        If it is a file, not empty and no store, or a store of a later version.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        msg = f"resume: {folder} is a file, not a folder."
        raise ConfigError(msg)
    if (folder / "sweep.json").exists():
        read_about(folder)
    elif any(not name.startswith(".") for name in os.listdir(folder)):
        msg = (
            f"resume: {folder} is not empty and holds no sweep.\n"
            "Hint: name a new folder, or one that an earlier sweep was given."
        )
        raise ConfigError(msg)


def read_about(folder: Path) -> dict[str, Any]:
    """Read what made the rows of a store.

    Parameters
    ----------
    folder : path
        Of a store, or empty.

    Returns
    -------
    dict
        ``"identities"`` by their short digests, and the ``"last"`` of these.

    Raises
    ------
    ConfigError
        If it is no store, or one of a later version.
    """
    path = folder / "sweep.json"
    if not path.exists():
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "last": None,
            "identities": {},
        }
    try:
        about = json.loads(path.read_bytes())
    except ValueError:
        about = None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        msg = (
            f"resume: {path} was not written by a sweep.\n"
            "Hint: name a new folder, or one that an earlier sweep was given."
        )
        raise ConfigError(msg)
    if about["version"] > FORMAT_VERSION:
        msg = (
            f"resume: {folder} was written by a later version of barloop.\n"
            "Hint: update barloop, or name another folder."
        )
        raise ConfigError(msg)
    return about


def kinds_of(about: Mapping[str, Any]) -> dict[str, Kind]:
    """Return what the rows of each identity have in common.

    Parameters
    ----------
    about : mapping
        See `read_about`.

    Returns
    -------
    dict from str to Kind
        By the short digest of the identity.
    """
    return {
        name: Kind(name, tuple(one["metrics"]), one["n_bars"])
        for name, one in about["identities"].items()
    }


def write_about(folder: Path, about: dict[str, Any]) -> None:
    """Write what made the rows of a store, and a text for those who look into it.

    Parameters
    ----------
    folder : path
        Of the store, whose lock is held.
    about : dict
        See `read_about`.
    """
    path = folder / "sweep.json"
    written = json.dumps(about, indent=1).encode()
    if not path.exists() or path.read_bytes() != written:
        publish(stage(path, lambda file: file.write(written)), path)
    readme = folder / "README.txt"
    if not readme.exists():
        publish(stage(readme, lambda file: file.write(README.encode())), readme)


def changes_since(
    about: Mapping[str, Any], identity: Mapping[str, str], kind: Kind
) -> tuple[str, ...]:
    """Name what differs from the last run.

    Parameters
    ----------
    about : mapping
        See `read_about`.
    identity : mapping of str to str
        Of this run.
    kind : Kind
        Of this run.

    Returns
    -------
    tuple of str
        See `SweepStore`.
    """
    last = about["identities"].get(about["last"])
    if last is None:
        return ()
    before = last["identity"]
    names = [
        name
        for name in dict.fromkeys([*identity, *before])
        if identity.get(name) != before.get(name)
    ]
    if not set(kind.metric_names) <= set(last["metrics"]):
        names.append("metrics")
    if kind.n_bars not in (None, last["n_bars"]):
        names.append("equity")
    return tuple(names)
