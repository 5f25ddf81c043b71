"""The decorators that compile kernels."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit

# Kernels allocate nothing, so no array in them needs a reference count.  Counting them
# is atomic arithmetic on every view: it made the time loop 4 times slower.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


@functools.cache
def sources_digest() -> str:
    """Hash every source that compiled code depends on.

    Returns
    -------
    str
        Twelve hexadecimal digits; another value after an edit of any kernel, of
        this module or of the enum codes.

    Notes
    -----
    Numba's cache looks at the file of the function only: an edited callee in another
    file would go unseen and the old result would come back.
    """
    here = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for path in (
        *sorted(here.glob("_kernels/*.py")),
        here / "_jit.py",
        here / "enums.py",
    ):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def kernel(function: Kernel) -> Kernel:
    """Compile `function` with numba when it is first called.

    Parameters
    ----------
    function : callable
        A function of arrays and scalars, in the subset of Python that numba knows.

    Returns
    -------
    callable
        The compiled dispatcher; it releases the global interpreter lock.  With
        ``NUMBA_DISABLE_JIT=1`` the function itself.

    Notes
    -----
    The digest of all kernel sources becomes part of the name under which the machine
    code is cached (``test_jit.py`` proves it).  Where no cache folder can be written,
    the kernel is compiled once per process instead.
    """
    function.__qualname__ = f"{function.__qualname__}_{sources_digest()}"
    try:
        compiled = njit(cache=True, **OPTIONS)(function)
    except RuntimeError:
        # Numba: "cannot cache function ...: no locator available".
        compiled = njit(**OPTIONS)(function)
    return cast("Kernel", compiled)


def kernel_with(signature: Any, function: Kernel) -> Kernel:
    """Compile `function` for one signature, at once.

    Parameters
    ----------
    signature : numba signature
        Needed where an argument is a function pointer, which numba does not infer.
    function : callable
        As for `kernel`.

    Returns
    -------
    callable
        The compiled dispatcher, cached like a kernel.
    """
    digest = sources_digest()
    if not function.__qualname__.endswith(digest):
        function.__qualname__ = f"{function.__qualname__}_{digest}"
    try:
        compiled = njit(signature, cache=True, **OPTIONS)(function)
    except RuntimeError:
        compiled = njit(signature, **OPTIONS)(function)
    return cast("Kernel", compiled)


def subkernel(function: Kernel) -> Kernel:
    """Compile `function` as a part of the kernels that call it.

    Parameters
    ----------
    function : callable
        As for `kernel`.

    Returns
    -------
    callable
        For kernels only: it has no door for Python and no cache entry of its own, which
        is a fifth of its compile time.  With ``NUMBA_DISABLE_JIT=1`` the function
        itself.
    """
    options = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    compiled = njit(**options)(function)
    return cast("Kernel", compiled)
