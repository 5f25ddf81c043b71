"""Settings of the whole suite."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings


def _cache_dir() -> str:
    """Name a cache folder after the sources and the compiler flags.

    Bounds checks are not part of numba's cache key: with a warm cache they would
    silently not happen.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].glob("src/barloop/**/*.py")):
        digest.update(path.read_bytes())
    for flag in ("NUMBA_BOUNDSCHECK", "NUMBA_DISABLE_JIT"):
        digest.update(f"{flag}={os.environ.get(flag, '')}".encode())
    return str(Path(tempfile.gettempdir()) / f"barloop-{digest.hexdigest()[:16]}")


# Before numba is imported by the first test that runs a kernel.
os.environ.setdefault("NUMBA_CACHE_DIR", _cache_dir())

settings.register_profile(
    "suite",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("suite")
