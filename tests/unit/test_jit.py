"""The kernel decorator: caching, its fall-back, and one specialisation each."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import barloop.schema

PACKAGE = Path(barloop.schema.__file__).parent

RUN = """
import polars as pl
from barloop.panel import Panel
df = pl.DataFrame({"date": [2, 1], "asset": ["A", "A"], "close": [2.0, 1.0]})
print(Panel.from_frame(df).close.ravel().tolist())
"""

NAMES = """
from barloop._jit import sources_digest
from barloop._kernels.scatter import gather
print(sources_digest(), gather.__qualname__)
"""


def run(code: str, root: Path, **environment: str) -> str:
    """Run `code` in a new process against the package below `root`."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**inherited, "PYTHONPATH": str(root), **environment},
        cwd=root,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package, free to be edited; its parent folder."""
    root = tmp_path / "copy"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, root / "barloop", ignore=ignored)
    return root


def digest_of(package: Path) -> str:
    """The digest that a process would compute for the package as it is now."""
    spec = importlib.util.spec_from_file_location("jit_copy", package / "_jit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.sources_digest()


def test_an_edit_of_any_kernel_source_changes_the_cached_names(copy: Path):
    package = copy / "barloop"
    sources = [
        *package.glob("_kernels/*.py"),
        package / "_jit.py",
        package / "enums.py",
    ]
    assert len(sources) > 3
    seen = [digest_of(package)]
    for source in sources:
        source.write_text(source.read_text() + "\n# edited\n")
        seen.append(digest_of(package))
    assert len(set(seen)) == len(sources) + 1
    (package / "_kernels" / "new.py").write_text("")
    seen.append(digest_of(package))
    assert len(set(seen)) == len(sources) + 2
    assert run(NAMES, copy) == f"{seen[-1]} gather_{seen[-1]}"


def test_an_edited_callee_in_another_file_is_seen(copy: Path):
    # Numba's own cache looks at the file of the caller only, and returns 1 again.
    kernels = copy / "barloop" / "_kernels"
    (kernels / "callee.py").write_text(
        "from barloop._jit import kernel\n\n@kernel\ndef number():\n    return 1\n"
    )
    (kernels / "caller.py").write_text(
        "from barloop._jit import kernel\n"
        "from barloop._kernels.callee import number\n\n"
        "@kernel\ndef call():\n    return number()\n"
    )
    cache = str(copy / "cache")
    code = "from barloop._kernels.caller import call\nprint(call())"
    assert run(code, copy, NUMBA_CACHE_DIR=cache) == "1"
    assert list(Path(cache).rglob("*.nbi"))
    callee = kernels / "callee.py"
    callee.write_text(callee.read_text().replace("return 1", "return 2"))
    assert run(code, copy, NUMBA_CACHE_DIR=cache) == "2"


def test_a_second_process_loads_from_the_cache(copy: Path):
    cache = copy / "cache"
    code = (
        "import numpy as np\n"
        "from barloop._kernels.scatter import gather\n"
        "v, r = np.ones(1), np.zeros(1, np.int32)\n"
        "v.flags.writeable = r.flags.writeable = False\n"
        "gather(v, r, np.empty(1))\n"
        "print(sum(gather.stats.cache_hits.values()))"
    )
    assert run(code, copy, NUMBA_CACHE_DIR=str(cache)) == "0"
    assert run(code, copy, NUMBA_CACHE_DIR=str(cache)) == "1"


@pytest.mark.parametrize(
    "environment",
    [{}, {"NUMBA_CACHE_DIR": "/dev/null/cache"}],
    ids=["no folder given", "the folder given cannot be made"],
)
def test_without_a_writable_cache_folder(copy: Path, environment: dict[str, str]):
    # The install is read-only, and a file stands in the place of its cache, since
    # permissions do not bind every user that runs the tests.  The home is a device.
    folders = [copy / "barloop", copy / "barloop" / "_kernels"]
    for folder in folders:
        (folder / "__pycache__").write_text("")
        folder.chmod(0o555)
    try:
        nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null", **environment}
        out = run(RUN, copy, PYTHONDONTWRITEBYTECODE="1", **nowhere)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert out == "[1.0, 2.0]"


def test_without_the_compiler(tmp_path: Path):
    code = f"{RUN}\nfrom barloop._kernels.scatter import gather\nprint(type(gather))"
    out = run(code, PACKAGE.parent, NUMBA_DISABLE_JIT="1")
    assert out.splitlines() == ["[1.0, 2.0]", "<class 'function'>"]


def test_modules_import_without_numba():
    code = (
        "import sys\n"
        "import barloop.panel, barloop.context, barloop.schedule\n"
        "print(sorted({'numba', 'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    assert run(code, PACKAGE.parent) == "[]"


def test_each_kernel_compiles_once_whatever_the_frame(tmp_path: Path):
    code = """
import datetime as dt
import numpy as np
import polars as pl
from barloop._kernels import scatter, validate
from barloop.panel import Panel

days = [dt.date(2021, 1, d) for d in (1, 1, 2, 2)]
full = pl.DataFrame(
    {"date": days, "asset": ["A", "B"] * 2, "close": [1.0, 2, 3, 4], "x": [1, 2, 3, 4]}
)
frames = [
    full,
    full.reverse(),
    full.head(3),
    full.with_columns(open=pl.col("close"), volume=pl.col("x")),
    full.with_columns(pl.col("close").cast(pl.Float32)).reverse(),
    full.with_columns(pl.col("date").cast(pl.Datetime("ms"))).reverse(),
    full.with_columns(pl.col("asset").cast(pl.Categorical)).reverse(),
    full.with_columns(pl.col("asset").cast(pl.Enum(["B", "A"]))).reverse(),
    full.with_columns(pl.Series("asset", [1, 2, 1, 2], dtype=pl.UInt64)).reverse(),
    full.with_columns(pl.Series("close", [1.0, None, 3.0, np.nan])).reverse(),
    pl.concat([full.head(2), full.tail(2)], rechunk=False),
    full.with_columns(date=pl.int_range(pl.len()) // 2).reverse(),
    pl.DataFrame({"ts": np.arange(9000)[::-1], "asset": 1, "close": 1.0}),
]
for frame in frames:
    panel = Panel.from_frame(frame)
    panel.sorted_column(panel.sorted_frame()["close"])
    panel.column(frame["close"])
    panel.asset_codes(frame["asset"])
    panel.timestamp_codes(frame[frame.columns[0]])
    panel.truncate(1).notices
for kernel in (scatter.encode, scatter.locate, scatter.gather):
    print(len(kernel.signatures))
print(len(validate.count_odd_prices.signatures))
"""
    out = run(code, PACKAGE.parent, NUMBA_CACHE_DIR=str(tmp_path))
    assert out.split() == ["1", "1", "1", "1"]
