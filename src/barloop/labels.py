"""The words of codes, as Enum columns."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any

import numpy as np
import polars as pl

from barloop.enums import Decision, FillReason, Reason

FILL_CODES = tuple(code for code in FillReason if code < FillReason.SPLIT)
FLOW_CODES = (
    FillReason.DEPOSIT,
    FillReason.WITHDRAWAL,
    FillReason.INTEREST,
    FillReason.BORROW_COST,
    FillReason.DIVIDEND,
    FillReason.SPLIT,
)


def words(codes: Iterable[IntEnum]) -> list[str]:
    """Return the names of codes as users see them."""
    return [code.name.lower() for code in codes]


FILL_REASONS = pl.Enum(words(FILL_CODES))
FLOW_KINDS = pl.Enum(words(FLOW_CODES))
REASONS = pl.Enum(["none", *words(Reason)])
STATUSES = pl.Enum(["filled", "partial", "none", "waiting"])
DECISIONS = pl.Enum(words(Decision))
SIDES = pl.Enum(["long", "short"])


def labels(name: str, places: np.ndarray[Any, Any], dtype: pl.Enum) -> pl.Series:
    """Return one word per row.

    Parameters
    ----------
    name : str
        Of the column.
    places : ndarray of int or float
        Place of each row's word among the categories.
    dtype : Enum
        The words.

    Returns
    -------
    Series
        Of that dtype.
    """
    return pl.Series(name, dtype.categories).cast(dtype).gather(places.astype(int))


def fill_reasons(name: str, codes: np.ndarray[Any, Any]) -> pl.Series:
    """Return the words of fill reasons, null for a code below 0.

    Parameters
    ----------
    name : str
        Of the column.
    codes : ndarray of int
        `FillReason` codes of fills.

    Returns
    -------
    Series of Enum
        `FILL_REASONS`.
    """
    # The codes of fills are 0, 1, 2 and so on without a gap.
    known = labels(name, np.maximum(codes, 0), FILL_REASONS)
    return known.set(pl.Series(codes < 0), None)


def flow_kinds(name: str, codes: np.ndarray[Any, Any]) -> pl.Series:
    """Return the words of cash flows.

    Parameters
    ----------
    name : str
        Of the column.
    codes : ndarray of int
        `FillReason` codes from `SPLIT` on.

    Returns
    -------
    Series of Enum
        `FLOW_KINDS`.
    """
    place = np.zeros(max(FLOW_CODES) + 1, dtype=np.int64)
    place[list(FLOW_CODES)] = np.arange(len(FLOW_CODES))
    return labels(name, place[codes], FLOW_KINDS)


def order_reasons(masks: np.ndarray[Any, Any]) -> tuple[pl.Series, pl.Series]:
    """Turn bit masks of reasons into the primary reason and the list of all.

    Parameters
    ----------
    masks : ndarray of int
        One bit per `Reason`; the lowest bit is the first in the pipeline.

    Returns
    -------
    reason : Series of Enum
        The first that bound, ``"none"`` if nothing did.
    reasons : Series of lists
        All that bound, in pipeline order.
    """
    distinct, inverse = np.unique(masks, return_inverse=True)
    names = [
        words(reason for reason in Reason if int(mask) >> reason & 1)
        for mask in distinct
    ]
    lists = pl.Series("reasons", names, dtype=pl.List(REASONS))
    first = [listed[0] if listed else "none" for listed in names]
    firsts = pl.Series("reason", first, dtype=REASONS)
    return firsts.gather(inverse), lists.gather(inverse)
