"""Errors of numba about a compiled callback, in our words."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

SHIM_FILE = "<barloop shim>"
"""What tracebacks call the file of the function that names bar and params."""
_NOISE = ("Failed in nopython", "During: ")
_OURS = {"Bar": "bar", "History": "bar.history", "Context": "bar.context"}
_KNOWN_BY_NUMBA = (
    "Hint: numba knows arrays, numbers and loops; pass the plain Python function to "
    "use anything else."
)


def title_of(function: Callable[..., Any]) -> str:
    """Return how messages call a function."""
    return f"the weights function {function.__name__!r}"


def explained(function: Callable[..., Any], text: str) -> str:
    """Say in our words why numba could not compile a function."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    places = re.findall(r'File "([^"]*)", line (\d+)', text)
    # The first place is the innermost; those of numba and of the shim say nothing.
    own = os.path.basename(function.__code__.co_filename)
    lines = [line for file, line in places if os.path.basename(file) == own]
    where = f", line {lines[0]}" if lines else ""
    head = f"{title_of(function)} cannot be compiled{where}: "
    unknown = re.search(r"Unknown attribute '(\w+)' of type (\w+)", text)
    if unknown and unknown[2] in _OURS:
        return f"{head}{_OURS[unknown[2]]} has no {unknown[1]!r}."
    python = re.search(r"Untyped global name '(\w+)'", text)
    if python and "<class 'function'>" in text:
        return (
            f"{head}it calls {python[1]!r}, which is not compiled.\n"
            f"Hint: decorate {python[1]!r} with @numba.njit."
        )
    is_field = "No definition for lowering Bar(" in text or "lowering Params(" in text
    is_array = "readonly array" in text and ("modify" in text or "setitem" in text)
    # What numba 0.68 makes of `bar.close += 1`.
    in_place = text == "'NoneType' object has no attribute 'args'"
    if is_field or is_array or in_place:
        return (
            f"{head}it writes to the bar or to params, which are read-only.\n"
            "Hint: write to weights_out, or to a copy."
        )
    returned = re.search(r"No conversion from (.+?) to bool for '\$", text)
    if returned:
        return f"{head}{must_return(returned[1])}"
    told = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in told if not line.startswith(_NOISE)]
    reason = told[0] if told else "numba gives no reason"
    if reason.endswith("found for signature:") and len(told) > 1:
        call = told[1].removeprefix(">>> ")
        reason = f"numba does not know {call}"
    return f"{head}{reason.rstrip('.')}.\n{_KNOWN_BY_NUMBA}"


def must_return(returned: str) -> str:
    """Say what a compiled callback returns instead of True or False."""
    what = "nothing on some path" if returned.lower() == "none" else returned
    if returned.startswith("OptionalType"):
        what = "nothing on some path"
    return (
        "it must return True to rebalance and False to leave all as it is; it returns "
        f"{what}."
    )
