"""What cash earns, and what borrowed cash and borrowed assets cost."""

from __future__ import annotations

from dataclasses import dataclass

from barloop.checks import refuse_unknown, set_number
from barloop.per_asset import Quantity, is_zero, set_quantity


@refuse_unknown("financing")
@dataclass(frozen=True, slots=True, kw_only=True)
class Financing:
    """Charge and pay interest on every bar after the first of the run.

    Formula, on the cash, positions and last known closes of the bar before::

        interest = cash * cash_rate / bars_per_year     if cash is positive
                   cash * debit_rate / bars_per_year    if it is negative
        borrow_cost = sum(abs(position) * close * borrow_rate) / bars_per_year
                      over the short positions
        cash += interest - borrow_cost

    Parameters
    ----------
    cash_rate : float, default 0.0
        Interest on positive cash, short proceeds included, fraction per year; may be
        negative.
    debit_rate : float, default 0.0
        Interest on negative cash, fraction per year.
    borrow_rate : float, mapping or str, default 0.0
        Cost of short value, fraction per year; a number, a mapping of asset to number,
        or the name of a column.
    """

    cash_rate: float = 0.0
    debit_rate: float = 0.0
    borrow_rate: Quantity = 0.0

    def __post_init__(self) -> None:
        set_number(self, "financing", "cash_rate")
        set_number(self, "financing", "debit_rate", low=0.0)
        set_quantity(self, "financing", "borrow_rate")

    def is_on(self) -> bool:
        """Tell whether anything is paid or earned."""
        earns = self.cash_rate != 0.0 or self.debit_rate != 0.0
        return earns or not is_zero(self.borrow_rate)
