"""What was met, counted and left as it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notice:
    """Count one kind of oddity in the data or in a run.

    Parameters
    ----------
    notice : str
        Short name of the kind, stable between releases.
    count : int
        How often it occurred.
    bar : int or None
        Panel row of the first occurrence, in order of bars, then assets.
    asset : int or None
        Panel column of the first occurrence; None where no single asset is meant.
    message : str
        One sentence for people.
    """

    notice: str
    count: int
    bar: int | None
    asset: int | None
    message: str
