"""A bounded memory of what sets of a sweep need in common."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np

from barloop.panel import Panel

Made = TypeVar("Made")

MAX_BYTES = 32 * 2**20
"""A sweep keeps within its panel and 64 MB; half of that is for what sets share."""

LEAST_DEPTH = 64
"""Places of an order that are kept at least."""


class SharedWork:
    """What was made of one panel, by key; safe to use from several threads.

    Parameters
    ----------
    panel : Panel
        Everything in here was made of it.
    max_bytes : int, default 32 MB
        Bytes of arrays kept.  What was used longest ago goes first, and what alone is
        larger is not kept.

    Attributes
    ----------
    panel : Panel
        As given.
    n_bytes : int
        Bytes of arrays kept now.
    n_made, n_found : int
        How often something was computed, and how often it was there already.
    """

    def __init__(self, panel: Panel, max_bytes: int = MAX_BYTES) -> None:
        self.panel = panel
        self.n_bytes = 0
        self.n_made = 0
        self.n_found = 0
        self._max_bytes = max_bytes
        self._depth = LEAST_DEPTH
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return what is kept under a key, or make and keep it.

        Parameters
        ----------
        key : hashable
            What it is.
        make : callable
            Makes it.  Of two threads that ask at the same time one calls it, the other
            waits.  What it raises is not kept.

        Returns
        -------
        object
            An array, None, or a tuple or dataclass of arrays; not to be changed.
        """
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                self.n_found += 1
                return found[0]  # type: ignore[no-any-return]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                found = self._kept.get(key)
                if found is not None:
                    self.n_found += 1
                    return found[0]  # type: ignore[no-any-return]
                # Again: a thread whose `make` raised has taken it away.
                self._making[key] = making
            try:
                made = make()
                self._keep(key, made)
            finally:
                with self._lock:
                    self._making.pop(key, None)
        return made

    def depth(self, n: int) -> int:
        """Return how many places of an order to keep, so that others find enough.

        Parameters
        ----------
        n : int
            How many are needed.

        Returns
        -------
        int
            A power of 2, at least `n` and what was returned before.
        """
        with self._lock:
            while self._depth < n:
                self._depth *= 2
            return self._depth

    def use_last(self, key: Hashable) -> None:
        """Let something be the first to go: what was made of it is kept.

        Parameters
        ----------
        key : hashable
            As for `get`; need not be there.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key, last=False)

    def _keep(self, key: Hashable, made: Any) -> None:
        size = _n_bytes(made)
        with self._lock:
            self.n_made += 1
            if size > self._max_bytes:
                return
            self._kept[key] = (made, size)
            self.n_bytes += size
            while self.n_bytes > self._max_bytes:
                _, (_, gone) = self._kept.popitem(last=False)
                self.n_bytes -= gone


def _n_bytes(made: Any) -> int:
    if isinstance(made, np.ndarray):
        return made.nbytes
    if isinstance(made, tuple):
        return sum(_n_bytes(part) for part in made)
    fields = getattr(made, "__dataclass_fields__", ())
    return sum(_n_bytes(getattr(made, name)) for name in fields)
