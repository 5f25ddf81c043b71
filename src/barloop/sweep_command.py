"""``barloop sweep``: parameter sweeps as batch jobs."""

from __future__ import annotations

import argparse
import importlib
import sys
import tomllib
import traceback
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from barloop.config import BacktestConfig
from barloop.errors import ConfigError, suggestion
from barloop.search import latin_hypercube, random_search
from barloop.sweep import sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

SOME_FAILED = 3
"""Exit status when all sets have run and some have an error."""
INTERRUPTED = 130
"""Exit status after Ctrl-C."""
TABLES = ("grid", "space", "search", "params", "config")
EXECUTORS = ("serial", "threads", "processes", "dask", "ray")

DESCRIPTION = """\
Run one backtest for each set of parameters.

The weights function is imported and run: only use code that you trust.  The grid is a
TOML file:

  [grid]                      # all combinations; or [space] with [search]
  lookback = [20, 60, 120]
  n = [10, 25]
  "commission.bps" = [5, 15]

  [params]                    # parameters of all sets
  skip = 21

  [config]                    # settings of all sets
  schedule = "month_end"

  # Instead of [grid]:
  # [space]                   # lists of choices, or {low = 1, high = 250}
  # lookback = {low = 20, high = 250}
  # [search]
  # kind = "random"           # or "latin_hypercube"
  # n = 500
  # seed = 1

Exit status: 0 all sets are fine; 1 wrong input, or the sweep broke off; 2 unknown
options; 3 all sets have run, some have an error; 130 interrupted.
"""


def add_sweep(commands: Any) -> None:
    """Add the command to those of the parser.

    Parameters
    ----------
    commands : argparse subparsers
        Of ``barloop``.
    """
    parser = commands.add_parser(
        "sweep",
        help="run a weights function over a grid of parameters",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", required=True, type=Path, metavar="FILE", help="parquet or csv"
    )
    parser.add_argument(
        "--weights",
        required=True,
        metavar="MODULE:NAME",
        help="a function, expression or column name in an importable module",
    )
    parser.add_argument(
        "--grid", required=True, type=Path, metavar="FILE", help="the sets, in TOML"
    )
    parser.add_argument(
        "--executor",
        default="serial",
        metavar="WHERE",
        help="serial, threads, processes, ray, dask, or dask:ADDRESS of a scheduler "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="threads or processes (default: all)"
    )
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="DIR",
        help="keep finished sets here, and do not run again those that are",
    )
    parser.add_argument(
        "--version-of-code",
        metavar="TEXT",
        help="part of the names of finished sets: change it to run them again",
    )
    parser.add_argument(
        "--context", type=Path, metavar="FILE", help="market-wide columns by timestamp"
    )
    parser.add_argument(
        "--actions", type=Path, metavar="FILE", help="splits, dividends, delistings"
    )
    parser.add_argument("--start", metavar="DATE", help="first bar of the runs")
    parser.add_argument("--end", metavar="DATE", help="last bar of the runs")
    parser.add_argument(
        "--keep",
        choices=("metrics", "equity"),
        default="metrics",
        help="what to keep of each set (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the table: parquet or csv"
    )
    parser.set_defaults(run=run_sweep)


def run_sweep(chosen: argparse.Namespace) -> int:
    """Run the command.

    Parameters
    ----------
    chosen : Namespace
        Arguments of the command line.

    Returns
    -------
    int
        Exit status.
    """
    if chosen.keep == "equity" and chosen.resume is None:
        msg = "--keep equity needs --resume DIR: that is where the equity is written."
        raise ConfigError(msg)
    if chosen.out is not None:
        _require_suffix(chosen.out)
        if not chosen.out.parent.is_dir():
            msg = f"--out {chosen.out}: there is no folder {chosen.out.parent}."
            raise ConfigError(msg)
    tables = read_grid(chosen.grid)
    weights_fn = load(chosen.weights)
    with _executor(chosen.executor, chosen.workers) as (executor, n_workers):
        try:
            runs = sweep(
                _frame(chosen.data),
                weights_fn,
                _sets(tables, chosen.grid),
                executor=executor,
                n_workers=n_workers,
                resume=chosen.resume,
                version=chosen.version_of_code,
                keep=chosen.keep,
                config=BacktestConfig().replace(_flat(tables.get("config", {}))),
                params=tables.get("params", {}),
                context=_frame(chosen.context),
                actions=_frame(chosen.actions),
                start=chosen.start,
                end=chosen.end,
            )
        except KeyboardInterrupt:
            kept = f"; finished sets are in {chosen.resume}" if chosen.resume else ""
            print(f"barloop: interrupted{kept}.", file=sys.stderr)
            return INTERRUPTED
    print(runs)
    if chosen.out is not None:
        _write(runs.metrics, chosen.out)
        print(f"The table of all sets is in {chosen.out}.")
    return SOME_FAILED if runs.n_failed else 0


def read_grid(path: Path) -> dict[str, Any]:
    """Read the tables of a grid file.

    Parameters
    ----------
    path : path
        A TOML file.

    Returns
    -------
    dict
        Tables by name.

    Raises
    ------
    ConfigError
        If it is no TOML, or has other tables, or neither a grid nor a space.
    """
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        msg = f"{path} is not TOML: {error}"
        raise ConfigError(msg) from error
    for name, table in tables.items():
        if name not in TABLES or not isinstance(table, dict):
            hint = "Hint: parameters stand below [grid]."
            msg = (
                f"{path} has {name!r}; its tables are {', '.join(TABLES)}."
                f"{suggestion(name, TABLES)}\n{hint}"
            )
            raise ConfigError(msg)
    if ("grid" in tables) == ("space" in tables):
        msg = f"{path} needs one of the tables [grid] and [space]."
        raise ConfigError(msg)
    if ("space" in tables) != ("search" in tables):
        msg = f"{path}: [space] and [search] belong together."
        raise ConfigError(msg)
    return tables


def load(target: str) -> Any:
    """Import what the user names ``module:name``.

    Parameters
    ----------
    target : str
        The module is looked for in the working folder too.

    Returns
    -------
    object
        The weights.

    Raises
    ------
    ConfigError
        If there is no such module or name.
    """
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        msg = f"--weights must be module:function, got {target!r}."
        raise ConfigError(msg)
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and module_name == error.name:
            msg = (
                f"there is no module {module_name!r} in {folder} or among the "
                "installed ones."
            )
            raise ConfigError(msg) from None
        where = ""
        if error.__traceback__ is not None:
            *_, last = traceback.extract_tb(error.__traceback__)
            where = f" ({Path(last.filename).name}, line {last.lineno})"
        msg = (
            f"module {module_name!r} cannot be imported: "
            f"{type(error).__name__}: {error}{where}"
        )
        raise ConfigError(msg) from error
    if not hasattr(module, name):
        known = [one for one in vars(module) if not one.startswith("_")]
        msg = f"module {module_name!r} has no {name!r}.{suggestion(name, known)}"
        raise ConfigError(msg)
    weights = getattr(module, name)
    if not callable(weights) and not isinstance(weights, (str, pl.Expr, pl.DataFrame)):
        msg = f"{target} is of type {type(weights).__name__}, no weights."
        raise ConfigError(msg)
    return weights


def _sets(tables: Mapping[str, Any], path: Path) -> Any:
    if "grid" in tables:
        for name, values in tables["grid"].items():
            if isinstance(values, dict):
                inner = next(iter(values), "")
                msg = (
                    f"{path}: {name} is a table.\n"
                    f'Hint: quote names with a dot, as in "{name}.{inner}" = [...].'
                )
                raise ConfigError(msg)
        return tables["grid"]
    search = dict(tables["search"])
    kinds = {"random": random_search, "latin_hypercube": latin_hypercube}
    kind = search.pop("kind", None)
    if kind not in kinds or set(search) != {"n", "seed"}:
        msg = (
            f"[search] of {path} needs kind ('random' or 'latin_hypercube'), n and "
            "seed, and nothing else."
        )
        raise ConfigError(msg)
    space = {
        name: (values["low"], values["high"])
        if isinstance(values, dict) and set(values) == {"low", "high"}
        else values
        for name, values in tables["space"].items()
    }
    return kinds[kind](space, search["n"], seed=search["seed"])


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by path, from nested tables or dotted names."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{inner}": one for inner, one in value.items()})
        else:
            flat[name] = value
    return flat


def _frame(path: Path | None) -> pl.DataFrame | None:
    if path is None:
        return None
    _require_suffix(path)
    try:
        if path.suffix == ".csv":
            return pl.read_csv(path, try_parse_dates=True)
        return pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        msg = f"{path} cannot be read: {error}"
        raise ConfigError(msg) from error


def _require_suffix(path: Path) -> None:
    if path.suffix not in (".parquet", ".csv"):
        msg = f"{path} must end in .parquet or .csv."
        raise ConfigError(msg)


def _write(frame: pl.DataFrame, path: Path) -> None:
    if path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)


@contextmanager
def _executor(name: str, n_workers: int | None) -> Iterator[tuple[Any, int | None]]:
    """Yield the executor and the number of workers to hand to it."""
    kind, _, address = name.partition(":")
    if kind not in EXECUTORS or (address and kind != "dask"):
        msg = (
            f"--executor must be one of {', '.join(EXECUTORS)} or dask:ADDRESS, got "
            f"{name!r}.{suggestion(name, EXECUTORS)}"
        )
        raise ConfigError(msg)
    if kind == "serial":
        yield None, n_workers
        return
    if kind != "dask":
        yield kind, n_workers
        return
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError:
        msg = "--executor dask needs dask.\nHint: pip install 'barloop[dask]'."
        raise ConfigError(msg) from None
    if address:
        with distributed.Client(address) as client:
            yield client, n_workers
        return
    local = distributed.LocalCluster(n_workers=n_workers, dashboard_address=None)
    with local as cluster, distributed.Client(cluster) as client:
        yield client, None
