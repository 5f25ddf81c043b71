"""The progress bar of a sweep."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Progress:
    """Count finished sets; `progress` makes one.

    Parameters
    ----------
    bar : tqdm or None
        What shows the count; nothing is shown when None.
    """

    def __init__(self, bar: Any = None) -> None:
        self._bar = bar
        self._n_failed = 0

    def update(self, n: int = 1, *, failed: int = 0) -> None:
        """Count sets that have finished.

        Parameters
        ----------
        n : int, default 1
            How many more.
        failed : int, default 0
            How many of these have an error.
        """
        if self._bar is None:
            return
        if failed:
            self._n_failed += failed
            self._bar.set_postfix_str(f"{self._n_failed:,} failed", refresh=False)
        self._bar.update(n)


@contextmanager
def progress(total: int, done: int = 0, *, show: bool) -> Iterator[Progress]:
    """Show how far a sweep is, how fast it goes and how long it will take.

    Parameters
    ----------
    total : int
        Number of sets.
    done : int, default 0
        How many of them were finished before; they do not count for the rate.
    show : bool
        False shows nothing.

    Yields
    ------
    Progress
        To count with.

    Notes
    -----
    A bar on standard error where that is a terminal, and in a notebook; else nothing,
    so that the log of a batch job stays readable.  The line is ended however the block
    ends.
    """
    bar = _bar(total, done) if show else None
    try:
        yield Progress(bar)
    finally:
        if bar is not None:
            bar.close()


def _bar(total: int, done: int) -> Any:
    notebook = _in_notebook()
    if not (notebook or _is_terminal()):
        return None
    return _kind(in_browser=notebook)(
        total=total,
        initial=done,
        desc="sweep",
        unit=" sets",
        dynamic_ncols=True,
        # Else a bar that began fast, with what was stored, stands still when sets
        # become slow (`test_bar_that_becomes_slow_is_shown`).
        miniters=1,
        smoothing=0.1,
    )


def _kind(*, in_browser: bool) -> Any:
    # Here, because `import barloop` is to stay light.
    from importlib.util import find_spec

    # Without widgets tqdm would warn: then it is a line of text, there too.
    if in_browser and find_spec("ipywidgets") is not None:
        from tqdm.notebook import tqdm
    else:
        from tqdm.std import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        """A bar without a thread that watches it, or a lock between processes."""

        monitor_interval = 0
        _lock = threading.RLock()

    return Bar


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return shell is not None and hasattr(shell(), "kernel")


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        # There is none, or it is closed.
        return False
