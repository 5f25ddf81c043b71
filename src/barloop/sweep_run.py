"""Conducts a sweep: what is known already, what runs where, what is kept."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from barloop._jit import sources_digest
from barloop.batch import Job, Outcome, row_of
from barloop.digest import (
    function_digest,
    function_digests,
    panel_digest,
    set_key,
    value_digest,
)
from barloop.equity_file import EquityFile
from barloop.errors import ConfigError, suggestion
from barloop.executors import execute
from barloop.linking import forget
from barloop.progress import progress as progress_bar
from barloop.release import VERSION
from barloop.set_parts import pack_keys
from barloop.sets import SetList
from barloop.sweep_job import checked_stage, deposits_of, initial_cash_of
from barloop.sweep_result import SweepResult
from barloop.sweep_rows import Rows
from barloop.sweep_store import SweepStore
from barloop.typing import FloatBlock


def run_sets(
    job: Job,
    sets: SetList,
    *,
    executor: Any,
    metrics: Sequence[str] | None,
    keeps_equity: bool,
    resume: Any,
    version: str | None,
    progress: bool,
    n_workers: int | None,
) -> SweepResult:
    """Run the sets of a job.

    Parameters
    ----------
    job : Job
        From `job_of`.
    sets : SetList
        Beside it.
    keeps_equity : bool
        Whether the equity of each bar is kept.
    executor, metrics, resume, version, progress, n_workers
        See `sweep`.

    Returns
    -------
    SweepResult
        One row per set.
    """
    from barloop._kernels.statistics import MEASURES

    started = time.perf_counter()
    measures = _chosen(metrics, MEASURES)
    stage = checked_stage(job, sets)
    job = replace(job, keep_equity=keeps_equity)
    panel, first_bar = job.panel, stage.first_bar
    rows = Rows(len(sets), measures, MEASURES)
    n_bars = panel.n_bars - first_bar if job.keep_equity else None
    if resume is None:
        saved: _Memory | _Folder = _Memory(job, len(sets), n_bars)
    else:
        saved = _Folder(job, sets, resume, version, n_bars, first_bar)
    is_local = executor is None or executor in ("threads", "processes")
    job = replace(job, writer=saved.writer(), base=saved.base) if is_local else job
    saved.load(rows)
    todo = np.flatnonzero(~rows.is_known)
    running: Any = execute(
        executor,
        job,
        ((k, sets[k]) for k in todo.tolist()),
        n_sets=todo.size,
        n_workers=n_workers,
    )
    with (
        progress_bar(len(sets), len(sets) - todo.size, show=progress) as bar,
        closing(running) as outcomes,
    ):
        for outcome in outcomes:
            rows.add(outcome)
            if not is_local:
                saved.append(sets[outcome.number], outcome)
            saved.keep_equity(outcome)
            bar.update(1, failed=outcome.error is not None)
    notices = [*sets.notices, *saved.notices]
    notices += [notice.message for notice in panel.notices]
    return SweepResult(
        metrics=rows.frame(sets),
        parameter_names=sets.names,
        equity=saved.equity(),
        timestamps=panel.timestamps.slice(first_bar),
        initial_cash=initial_cash_of(job, sets),
        deposits=deposits_of(job.actions, panel.n_bars, first_bar),
        bars_per_year=stage.bars_per_year,
        risk_free=float(job.config.risk_free),
        rerun=lambda k: job.result(sets[k]),
        n_reused=len(sets) - todo.size,
        seconds=time.perf_counter() - started,
        notices=notices,
    )


def _chosen(metrics: Sequence[str] | None, known: Sequence[str]) -> Sequence[str]:
    if metrics is None:
        return known
    if isinstance(metrics, str) or not metrics:
        msg = f"metrics must be a list of names, got {metrics!r}."
        raise ConfigError(msg)
    for name in metrics:
        if name not in known:
            msg = (
                f"unknown metric {name!r}.{suggestion(str(name), known)}\n"
                f"Known metrics: {', '.join(known)}."
            )
            raise ConfigError(msg)
    return list(dict.fromkeys(metrics))


class _Memory:
    """Outcomes of a sweep that leaves nothing on disk."""

    base = ""

    def __init__(self, job: Job, n_sets: int, n_bars: int | None) -> None:
        self.notices: list[str] = []
        self._curves = None if n_bars is None else EquityFile(n_sets, n_bars)

    def writer(self) -> None:
        return None

    def load(self, rows: Rows) -> None:
        pass

    def append(self, assignment: Mapping[str, Any], outcome: Outcome) -> None:
        pass

    def keep_equity(self, outcome: Outcome) -> None:
        if self._curves is not None and outcome.equity is not None:
            self._curves.write(outcome.number, outcome.equity)

    def equity(self) -> FloatBlock | None:
        return None if self._curves is None else self._curves.array()


class _Folder:
    """Outcomes of a sweep that are on disk as they finish."""

    def __init__(
        self,
        job: Job,
        sets: SetList,
        folder: Any,
        version: str | None,
        n_bars: int | None,
        first_bar: int,
    ) -> None:
        from barloop._kernels.statistics import MEASURES

        if job.kinds is not None:
            # What was compiled earlier has older globals than the digest tells.
            forget(job.weights_fn)
        context = None if job.context is None else job.context.values
        identity = {
            "data": panel_digest(job.panel),
            "config": value_digest(job.config),
            "params": value_digest(dict(job.params)),
            "context": value_digest(context),
            "actions": value_digest(_plain_actions(job)),
            "period": value_digest([first_bar, job.panel.n_bars]),
            "library": f"{VERSION} {sources_digest()}",
            "version": str(version),
        }
        for part, digest in function_digests(job.weights_fn).items():
            identity[f"function: {part}"] = digest
        self.base = value_digest([identity, function_digest(job.weights_fn)])
        self._keys = pack_keys(set_key(self.base, one) for one in sets)
        self._store = SweepStore.open(folder, identity, MEASURES, n_bars)
        self._writer = self._store.writer()
        self._keeps_equity = n_bars is not None
        changes = self._store.changes
        self.notices: list[str] = []
        if changes:
            self.notices.append(
                f"since the last run in {folder} changed: {', '.join(changes)}; only "
                "sets that finished with what is given now are reused"
            )

    def writer(self) -> Any:
        return self._writer

    def load(self, rows: Rows) -> None:
        for stored in self._store.load(self._keys):
            rows.load(stored)

    def append(self, assignment: Mapping[str, Any], outcome: Outcome) -> None:
        self._writer.append(row_of(self.base, assignment, outcome))

    def keep_equity(self, outcome: Outcome) -> None:
        pass

    def equity(self) -> FloatBlock | None:
        self._store.compact(order=self._keys)
        return self._store.equity(self._keys) if self._keeps_equity else None


def _plain_actions(job: Job) -> Any:
    rows = job.actions
    if rows is None:
        return None
    return [rows.start, rows.kind, rows.asset, rows.value]
