"""Measure one thing in a process of its own and print it as JSON.

``run.py`` starts this file: what a process does first, and how much memory it needs at
most, can only be seen from a fresh one.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from pathlib import Path


def measure_import() -> dict[str, float | bool]:
    """Time ``import barloop`` and look whether it brings numba along."""
    started = time.perf_counter()
    import barloop

    seconds = time.perf_counter() - started
    assert barloop.__name__ == "barloop"
    return {"seconds": seconds, "imports_numba": "numba" in sys.modules}


def measure_first_result() -> dict[str, float]:
    """Time the import and the first backtest on W1; building the frame is left out."""
    started = time.perf_counter()
    import barloop

    import_s = time.perf_counter() - started
    assert barloop.__name__ == "barloop"

    import contenders
    import workloads

    workload = workloads.WORKLOADS["W1"]
    df = workloads.build(workload)
    started = time.perf_counter()
    contenders.run_barloop(workload, df)
    return {"seconds": import_s + time.perf_counter() - started}


def measure_memory(name: str, path: str) -> dict[str, float | str]:
    """Measure how far one run lifts the peak memory above the loaded frame."""
    import polars as pl

    import barloop as bl
    import contenders
    import workloads

    workload = workloads.WORKLOADS[name]
    df = pl.read_ipc(path)
    few = df.head(workload.n_assets * contenders.WARM_UP_BARS)
    contenders.run_barloop(workload, few)
    del few
    gc.collect()
    exact = _forget_peak()
    before = _status_kb("VmRSS")
    result = bl.run_backtest(df, "weight", **contenders.settings(workload))
    log_bytes = result.fills.estimated_size() + result.equity.estimated_size()
    assert result.metrics
    peak = _status_kb("VmHWM") if exact else _max_rss_kb()
    return {
        "extra_mb": (peak - before) / 1024.0,
        "log_mb": log_bytes / 2**20,
        "panel_mb": workload.n_rows * 8 * 5 / 2**20,
        "frame_mb": df.estimated_size() / 2**20,
    }


def _forget_peak() -> bool:
    """Reset the recorded peak to what is in use now; False where that is refused."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _max_rss_kb() -> float:
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _status_kb(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return float(line.split()[1])
    return _max_rss_kb()


MEASURES = {
    "import": measure_import,
    "first-result": measure_first_result,
    "memory": measure_memory,
}

if __name__ == "__main__":
    print(json.dumps(MEASURES[sys.argv[1]](*sys.argv[2:])))
