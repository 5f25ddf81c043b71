"""Finished sets of sweeps in a folder, where no end of a process loses one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from barloop.compaction import LACKS_EQUITY, LACKS_WHAT_IS_ASKED, compact
from barloop.digest import value_digest
from barloop.equity_file import equity_rows, gather_equity
from barloop.errors import ConfigError, SimulationError
from barloop.folder_lock import folder_lock
from barloop.set_journal import Keys, SetWriter
from barloop.set_parts import OWN_COLUMNS, find, pack_keys
from barloop.set_records import Kind, Row
from barloop.sweep_folder import (
    Places,
    changes_since,
    kinds_of,
    read_about,
    require_store,
    write_about,
)
from barloop.typing import FloatBlock, IntVector

__all__ = ["Row", "SetWriter", "StoredRows", "SweepStore"]


class StoredRows(NamedTuple):
    """Some rows of a store."""

    places: IntVector
    """(n_rows,) places in the keys that were asked for."""
    metrics: FloatBlock
    """(n_rows, n_metrics) NaN for null."""
    errors: list[tuple[int, str]]
    """Place and error of the sets that have one."""


class SweepStore:
    """Keep finished sets on disk, named by what they were made of.

    Made by `SweepStore.open`.

    Attributes
    ----------
    folder : path
        Where it is.
    changes : tuple of str
        What differs from the run before in this folder: names of the identity,
        ``"metrics"`` or ``"equity"``; empty for the first run.
    kind : Kind
        What the rows of this run have in common.

    Notes
    -----
    Each process appends the sets that it has finished to a journal of its own, with
    one write each.  The journals become part of a parquet dataset when a store is
    opened, and by `compact`.  Both may be interrupted at any point.  Several processes
    may use one folder at once, on one machine; on a network file system sets of
    another machine that end while journals are taken in may have to run again.

    A process that is killed loses nothing that it has finished.  A power failure may
    cost what the system had not brought to the disk yet, about half a minute of sets;
    what is in the dataset is on the disk.
    """

    def __init__(
        self,
        folder: Path,
        kind: Kind,
        changes: tuple[str, ...],
    ) -> None:
        self.folder = folder
        self.kind = kind
        self.changes = changes
        self._kinds: dict[str, Kind] = {}
        self._places = Places(folder)

    def __repr__(self) -> str:
        return f"SweepStore({os.fspath(self.folder)!r}, {self.n_rows:,} sets)"

    @classmethod
    def open(
        cls,
        folder: Path | str,
        identity: Mapping[str, str],
        metric_names: Sequence[str],
        n_bars: int | None = None,
    ) -> SweepStore:
        """Make a store, or go on with one.

        Parameters
        ----------
        folder : path
            Made if it does not exist.
        identity : mapping of str to str
            Digests of what the sets have in common, by name.  Rows of another
            identity stay; their keys differ.
        metric_names : sequence of str
            Metrics of each set, in order.
        n_bars : int, optional
            Number of values of each equity; None to keep none.

        Returns
        -------
        SweepStore
            With all journals taken in.

        Raises
        ------
        ConfigError
            If the folder is not empty and no store, or a store of a later version.
            Nothing is touched.
        """
        folder = Path(folder)
        require_store(folder)
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            msg = f"resume: the folder {folder} cannot be made: {error}."
            raise ConfigError(msg) from error
        said = dict(identity)
        names = tuple(metric_names)
        digest = value_digest([sorted(said.items()), list(names), n_bars])
        kind = Kind(digest[:12], names, n_bars)
        with folder_lock(folder):
            about = read_about(folder)
            changes = changes_since(about, said, kind)
            about["identities"][kind.identity] = {
                "identity": said,
                "metrics": names,
                "n_bars": n_bars,
            }
            about["last"] = kind.identity
            write_about(folder, about)
            # Only now is it known to be a store.
            for place in Places(folder).inside():
                os.makedirs(place, exist_ok=True)
        store = cls(folder, kind, changes)
        store.compact()
        return store

    def writer(self) -> SetWriter:
        """Return what appends finished sets, here or in another process.

        Returns
        -------
        SetWriter
            Small; can be pickled.
        """
        return SetWriter(self._places.journals, self.kind)

    def compact(self, order: Iterable[str] | Keys | None = None) -> None:
        """Bring finished sets from the journals into the dataset.

        Parameters
        ----------
        order : iterable of str, optional
            Keys in the order that new rows shall have, those of the grid.
        """
        wanted = None if order is None else _packed(order)
        try:
            with folder_lock(self.folder):
                # Another process may have begun a run of another kind since.
                self._kinds = kinds_of(read_about(self.folder))
                compact(self._places, demerit=self._demerit, order=wanted)
        except OSError as error:
            msg = (
                f"finished sets cannot be brought into the dataset in {self.folder}: "
                f"{error}.\nHint: nothing is lost; free some space, and open it again."
            )
            raise SimulationError(msg) from error
        self.__dict__.pop("_index", None)

    @property
    def n_rows(self) -> int:
        """Number of stored sets, of other identities too."""
        return self._index[1]

    @property
    def n_current(self) -> int:
        """Number of stored sets that have what this run asks for."""
        return len(self._index[0])

    def contains(self, key: str) -> bool:
        """Say whether a set is stored with what this run asks for.

        Parameters
        ----------
        key : str
            Its name.

        Returns
        -------
        bool
            As of when the journals were last taken in.
        """
        known, wanted = self._index[0], pack_keys([key])
        place = int(np.searchsorted(known, wanted)[0])
        return place < len(known) and bool(known[place] == wanted[0])

    def load(self, keys: Iterable[str] | Keys) -> Iterator[StoredRows]:
        """Read the metrics of stored sets, some thousand at a time.

        Parameters
        ----------
        keys : iterable of str
            Names of sets; one that occurs twice is found twice.

        Yields
        ------
        StoredRows
            Only of sets that have what this run asks for, as of when the journals
            were last taken in.
        """
        wanted = _packed(keys)
        names, back = np.unique(wanted, return_inverse=True)
        metric_names = list(self.kind.metric_names)
        for frame in self._frames(["key", "identity", "error", *metric_names]):
            row_of = _first_rows(names, pack_keys(frame["key"]))[back]
            places = np.flatnonzero(row_of >= 0)
            if len(places):
                rows = row_of[places]
                errors = frame["error"][rows]
                yield StoredRows(
                    places,
                    frame.select(metric_names).cast(pl.Float64).to_numpy()[rows],
                    [
                        (int(places[k]), errors[k])
                        for k in errors.is_not_null().arg_true().to_list()
                    ],
                )

    def finished(self, keys: Iterable[str]) -> dict[str, Row]:
        """Return stored sets whole.

        Parameters
        ----------
        keys : iterable of str
            Names of sets; few, for each row is an object: see `load` for many.

        Returns
        -------
        dict from str to Row
            Only of sets that have what this run asks for.
        """
        names = list(dict.fromkeys(keys))
        wanted, found = _packed(names), {}
        metric_names = list(self.kind.metric_names)
        for frame in self._frames([*OWN_COLUMNS, *metric_names]):
            for place, row in enumerate(_first_rows(wanted, pack_keys(frame["key"]))):
                if row < 0:
                    continue
                one = frame.row(int(row), named=True)
                metrics = [one[name] for name in metric_names]
                found[names[place]] = Row(
                    names[place],
                    json.loads(one["assignment"]),
                    np.array(metrics, dtype=np.float64),
                    one["error"],
                    self._equity_of(one),
                )
        return found

    def equity(self, keys: Iterable[str] | Keys) -> FloatBlock:
        """Return the equity of sets.

        Parameters
        ----------
        keys : iterable of str
            Names of the sets.

        Returns
        -------
        ndarray of shape (n_keys, n_bars)
            Read-only; NaN for sets that failed or are not stored.  A mapped file when
            it is large: that of the store if it holds just these rows in this order, as
            after ``compact(order=keys)``, else a copy without a name.

        Raises
        ------
        SimulationError
            If this run keeps no equity.
        """
        n_bars = self.kind.n_bars
        if n_bars is None:
            msg = "this store was opened without n_bars, so it has no equity."
            raise SimulationError(msg)
        wanted = _packed(keys)
        names, back = np.unique(wanted, return_inverse=True)
        files: list[str] = []
        file_of = np.full(len(names), -1, dtype=np.int32)
        row_of = np.full(len(names), -1, dtype=np.int64)
        for frame in self._frames(["key", "identity", "equity_file", "equity_row"]):
            rows = _first_rows(names, pack_keys(frame["key"]))
            places = np.flatnonzero(rows >= 0)
            if len(places):
                some = frame[rows[places]]
                new = some["equity_file"].unique(maintain_order=True).to_list()
                files += [one for one in new if one not in files]
                numbers = some["equity_file"].replace_strict(
                    files, list(range(len(files))), return_dtype=pl.Int32
                )
                file_of[places] = numbers.to_numpy()
                row_of[places] = some["equity_row"].to_numpy()
        file_of, row_of = file_of[back], row_of[back]
        return gather_equity(self._places.equity, files, file_of, row_of, n_bars)

    def dataset(self) -> pl.DataFrame:
        """Return every stored set, those of other identities too.

        Returns
        -------
        DataFrame
            ``key``, ``identity``, the parameters, the metrics, ``error``,
            ``equity_file``, ``equity_row``, ``assignment``; journals are taken in.
        """
        self.compact()
        paths = self._places.part_paths()
        if paths:
            return pl.read_parquet(paths, glob=False)
        texts = dict.fromkeys(OWN_COLUMNS, pl.String)
        numbers = dict.fromkeys(self.kind.metric_names, pl.Float64)
        return pl.DataFrame(schema={**texts, "equity_row": pl.Int64, **numbers})

    @cached_property
    def _index(self) -> tuple[Keys, int]:
        """Sorted keys of the rows with all that is asked for; number of all rows."""
        good = [name for name in self._kinds if self._has_all(name)]
        keys, n_rows = [np.empty(0, "S16")], 0
        for path in self._places.part_paths():
            frame = pl.read_parquet(path, columns=["key", "identity"], glob=False)
            n_rows += frame.height
            keys.append(pack_keys(frame.filter(pl.col("identity").is_in(good))["key"]))
        return np.sort(np.concatenate(keys)), n_rows

    def _has_all(self, identity: str) -> bool:
        kind = self._kinds.get(identity)
        return (
            kind is not None
            and set(self.kind.metric_names) <= set(kind.metric_names)
            and self.kind.n_bars in (None, kind.n_bars)
        )

    def _demerit(self, identity: str) -> int:
        kind = self._kinds.get(identity)
        # Equity is dear: a run that does not ask for it does not drop it.
        lacks_equity = kind is None or kind.n_bars is None
        lacks_more = not self._has_all(identity)
        return LACKS_EQUITY * lacks_equity + LACKS_WHAT_IS_ASKED * lacks_more

    def _frames(self, columns: list[str]) -> Iterator[pl.DataFrame]:
        """Yield rows that have what this run asks for, part by part."""
        good = [name for name in self._kinds if self._has_all(name)]
        for path in self._places.part_paths():
            try:
                if not set(columns) <= set(pl.read_parquet_schema(path)):
                    continue
                frame = pl.read_parquet(path, columns=columns, glob=False)
            except pl.exceptions.PolarsError as error:
                msg = (
                    f"resume: {path} cannot be read: {error}\n"
                    "Hint: delete this file; its sets are run again."
                )
                raise SimulationError(msg) from error
            is_good = frame["identity"].is_in(good)
            if is_good.any():
                yield frame if is_good.all() else frame.filter(is_good)

    def _equity_of(self, row: Mapping[str, Any]) -> Any:
        if self.kind.n_bars is None or row["equity_file"] is None:
            return None
        path = self._places.equity / row["equity_file"]
        rows = np.array([row["equity_row"]])
        values = np.frombuffer(next(equity_rows(path, rows, self.kind.n_bars)))
        return None if np.isnan(values).all() else values


def _packed(keys: Iterable[str] | Keys) -> Keys:
    return keys if isinstance(keys, np.ndarray) else pack_keys(keys)


def _first_rows(names: Keys, stored: Keys) -> IntVector:
    """Return the row of each name among stored keys, -1 for none."""
    rows = find(stored, names)
    rows[rows == len(stored)] = -1
    return rows
