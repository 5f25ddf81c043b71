"""Bring journals of finished sets into the parquet dataset."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from barloop.set_journal import Journal, Keys, read_journal
from barloop.set_parts import (
    ROWS_PER_PART,
    common_schema,
    find,
    fitting,
    pack_keys,
    part_frame,
    publish,
    stage,
)
from barloop.set_records import Kind, StoredSet
from barloop.sweep_folder import Places
from barloop.typing import BoolVector, IntVector

LACKS_EQUITY, HAS_FAILED, LACKS_WHAT_IS_ASKED = 1, 2, 4
"""Demerits of a row, which add up."""


def compact(
    places: Places, *, demerit: Callable[[str], int], order: Keys | None
) -> None:
    """Bring the journals into the dataset, each set once.

    Parameters
    ----------
    places : Places
        A store whose lock is held.
    demerit : callable
        Says of an identity what its rows lack, see `LACKS_EQUITY`.  Of the rows of one
        key the one with the least demerits stays; of equals, the older one.
    order : ndarray of shape (n_keys,), optional
        Order of the new rows, as far as it names them.

    Notes
    -----
    May end at any point: journals are removed last, and what is in the dataset already
    is not taken again.  A journal that a process still writes is taken over; the
    process begins another one.
    """
    sealed = _seal(places.journals)
    if not sealed:
        return
    _remove_unfinished(places)
    journals = [read_journal(path) for path in sealed]
    kept = [one for one in journals if one is not None and len(one.keys)]
    parts = [_Part.read(path) for path in places.part_paths()]
    is_best = _best(parts, kept, demerit)
    n_stored = sum(len(part.keys) for part in parts)
    files = _publish(places, kept, is_best[n_stored:], order)
    _tidy(places, parts, is_best[:n_stored], files)
    for path in sealed:
        os.unlink(path)


def _seal(folder: Path) -> list[Path]:
    """Take the journals away from those who write them."""
    for path in sorted(folder.glob("*.journal")):
        try:
            os.rename(path, path.with_suffix(".sealed"))
        except PermissionError:
            # Windows, while a set is being written: the next time.
            continue
    return sorted(folder.glob("*.sealed"))


def _remove_unfinished(places: Places) -> None:
    for folder in (places.parts, places.equity):
        for path in folder.glob(".*.tmp"):
            os.unlink(path)


class _Part(NamedTuple):
    """What is looked at of a part to tell which rows stay."""

    path: Path
    keys: Keys
    has_error: BoolVector
    identity: pl.Series
    equity_file: pl.Series

    @classmethod
    def read(cls, path: Path) -> _Part:
        columns = ["key", "identity", "error", "equity_file"]
        frame = pl.read_parquet(path, columns=columns, glob=False)
        return cls(
            path,
            pack_keys(frame["key"]),
            frame["error"].is_not_null().to_numpy(),
            frame["identity"],
            frame["equity_file"],
        )


def _best(
    parts: Sequence[_Part],
    journals: Sequence[Journal],
    demerit: Callable[[str], int],
) -> BoolVector:
    """Mark one row of each key, first the rows of the parts, then of the journals."""
    keys, ranks = [np.empty(0, "S16")], [np.empty(0, np.int8)]
    for part in parts:
        keys.append(part.keys)
        known = part.identity.unique().to_list()
        demerits = part.identity.replace_strict(
            known, [demerit(one) for one in known], return_dtype=pl.Int8
        )
        ranks.append(demerits.to_numpy() + HAS_FAILED * part.has_error.astype(np.int8))
    for journal in journals:
        keys.append(journal.keys)
        failed = HAS_FAILED * journal.has_error.astype(np.int8)
        ranks.append(failed + demerit(journal.kind.identity))
    all_keys = np.concatenate(keys)
    # Stable: of equals the first stays.
    by_key = np.lexsort((np.concatenate(ranks), all_keys))
    ordered = all_keys[by_key]
    is_first = np.ones(len(ordered), dtype=np.bool_)
    is_first[1:] = ordered[1:] != ordered[:-1]
    is_best = np.zeros(len(ordered), dtype=np.bool_)
    is_best[by_key[is_first]] = True
    return is_best


class _Records(NamedTuple):
    """Records of journals of one kind, in the order of their rows."""

    journals: Sequence[Journal]
    journal: npt.NDArray[np.int32]
    """(n_rows,) which journal."""
    record: IntVector
    """(n_rows,) which of its records."""
    keys: Keys

    def read(self, start: int, stop: int) -> Iterator[tuple[int, StoredSet]]:
        """Yield some rows with their numbers, file by file."""
        journal, record = self.journal[start:stop], self.record[start:stop]
        for k in np.unique(journal):
            rows = np.flatnonzero(journal == k)
            rows = rows[np.argsort(record[rows])]
            stored = self.journals[k].read(record[rows].tolist())
            for row, one in zip(rows.tolist(), stored, strict=True):
                yield start + row, one


def _publish(
    places: Places,
    journals: Sequence[Journal],
    is_best: BoolVector,
    order: Keys | None,
) -> set[str]:
    """Write the best records as new parts; return the names of equity files."""
    kinds = list(dict.fromkeys(journal.kind for journal in journals))
    files: set[str] = set()
    first = 0
    of_kind: dict[Kind, list[tuple[int, IntVector]]] = {kind: [] for kind in kinds}
    for k, journal in enumerate(journals):
        best = np.flatnonzero(is_best[first : first + len(journal.keys)])
        of_kind[journal.kind].append((k, best))
        first += len(journal.keys)
    for kind, chosen in of_kind.items():
        records = _Records(
            journals,
            np.concatenate([np.full(len(r), k, np.int32) for k, r in chosen]),
            np.concatenate([r for _, r in chosen]),
            np.concatenate([journals[k].keys[r] for k, r in chosen]),
        )
        if order is not None:
            rows = np.argsort(find(order, records.keys), kind="stable")
            records = _Records(
                journals,
                records.journal[rows],
                records.record[rows],
                records.keys[rows],
            )
        if len(records.keys):
            files |= _publish_kind(places, kind, records)
    return files


def _publish_kind(places: Places, kind: Kind, records: _Records) -> set[str]:
    n_rows, n_metrics = len(records.keys), len(kind.metric_names)
    first_part = _next_number(places.parts, "part-*.parquet")
    equity_path = places.equity / f"{_next_number(places.equity, '*.npy'):06d}.npy"
    equity_file = None if kind.n_bars is None else equity_path.name
    staged: list[tuple[Path, Path]] = []

    def write(equity: IO[bytes] | None) -> None:
        begin = 0 if equity is None else _equity_header(equity, n_rows, kind)
        for start in range(0, n_rows, ROWS_PER_PART):
            stop = min(start + ROWS_PER_PART, n_rows)
            metrics = np.empty((stop - start, n_metrics))
            texts: list[tuple[str, str | None]] = [("", None)] * (stop - start)
            for row, one in records.read(start, stop):
                metrics[row - start] = one.metrics
                texts[row - start] = one.assignment.decode(), one.error
                if equity is not None and kind.n_bars is not None:
                    values = one.equity or np.full(kind.n_bars, np.nan).tobytes()
                    equity.seek(begin + row * len(values))
                    equity.write(values)
            frame = part_frame(
                records.keys[start:stop], kind, texts, metrics, equity_file, start
            )
            number = first_part + len(staged)
            path = places.parts / f"part-{number:06d}.parquet"
            staged.append((stage(path, frame.write_parquet), path))

    if equity_file is None:
        write(None)
    else:
        publish(stage(equity_path, write), equity_path)
    for hidden, path in staged:
        publish(hidden, path)
    return set() if equity_file is None else {equity_file}


def _equity_header(file: IO[bytes], n_rows: int, kind: Kind) -> int:
    """Begin an .npy file; return its length so far."""
    shape = (n_rows, kind.n_bars)
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<f8", "fortran_order": False, "shape": shape}
    )
    return file.tell()


def _next_number(folder: Path, pattern: str) -> int:
    numbers = [int(path.stem.removeprefix("part-")) for path in folder.glob(pattern)]
    return max(numbers, default=0) + 1


def _tidy(
    places: Places, parts: Sequence[_Part], is_best: BoolVector, files: set[str]
) -> None:
    """Drop replaced rows, give all parts the same columns, remove unused equity."""
    used, first = set(files), 0
    dropped: dict[Path, BoolVector] = {}
    for part in parts:
        stays = is_best[first : first + len(part.keys)]
        first += len(part.keys)
        used |= set(part.equity_file.filter(pl.Series(stays)).drop_nulls().unique())
        if not stays.all():
            dropped[part.path] = stays
    schemas = {path: pl.read_parquet_schema(path) for path in places.part_paths()}
    schema = common_schema(schemas.values())
    for path, own in schemas.items():
        left = dropped.get(path)
        if left is not None and not left.any():
            os.unlink(path)
        elif left is not None or list(own.items()) != list(schema.items()):
            frame = pl.read_parquet(path, glob=False)
            frame = frame if left is None else frame.filter(pl.Series(left))
            publish(stage(path, fitting(frame, schema).write_parquet), path)
    for path in places.equity.glob("*.npy"):
        if path.name not in used:
            # Windows, while a result looks at it: the next time.
            with suppress(PermissionError):
                os.unlink(path)
