"""Compare other engines with barloop's profiles of them, fill by fill, bar by bar.

    python bench/parity.py --stored                    # with tests/references
    python bench/parity.py --engines vectorbt,bt       # run them here and now
    python bench/parity.py --engines ml4t --python PATH/TO/python

The workloads are always those of ``tests/references``.  The exit status is 1 when
anything differs; an engine that is not installed is left out, and says so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

import barloop as bl

REFERENCES = Path(__file__).parents[1] / "tests" / "references"
STORE = Path(__file__).parent / "engines" / "store.py"
PROFILES = {
    "vectorbt": ("vectorbt_close", "vectorbt_next_open"),
    "bt": ("bt_fractional", "bt_integer"),
    "backtrader": ("backtrader",),
    "zipline": ("zipline",),
    "ml4t": (
        "ml4t_fractional",
        "ml4t_fractional_partial",
        "ml4t_integer",
        "ml4t_same_bar",
    ),
}
KEY = ["date", "symbol"]
RELATIVE = 1e-9
"""Largest difference of a quantity, a price, a commission, and of cash and equity as
a share of equity."""
CURRENCY = {"bt_fractional": 3e-8, "ml4t_fractional_partial": 1e-9}
"""Largest difference in the value of a fill, currency, where it is more than that.

bt solves for a quantity until its cash flow is right to 1e-8, and so for the position
before it.  ml4t-backtest keeps 1e-8 back when it cuts an order, and the next buy of the
bar gets that: the five fills of ``costs`` that are worth 1e-8 are what is left after
cash of some 1e5 has been rounded to 1e-11.
"""


class Comparison(NamedTuple):
    """One profile on one workload."""

    profile: str
    workload: str
    n_fills: int
    n_theirs: int
    different_fills: pl.DataFrame
    different_bars: pl.DataFrame
    largest_of_fills: float  # difference in quantity, currency
    largest_of_equity: float  # share of equity

    @property
    def agrees(self) -> bool:
        """Whether every fill and every bar is the same."""
        return self.different_fills.is_empty() and self.different_bars.is_empty()


def workload_names() -> list[str]:
    return list(_json(REFERENCES / "workloads.json"))


def run_profile(
    profile: str, workload: str, changes: dict[str, Any]
) -> bl.BacktestResult:
    """Run a workload under a profile.

    Parameters
    ----------
    profile, workload : str
        Of `barloop.profile`, and of ``tests/references``.
    changes : dict
        What the engine changes in the workload, from its ``versions.json``.
    """
    costs = {**_json(REFERENCES / "workloads.json")[workload], **changes}
    folder = REFERENCES / "workloads"
    bars = pl.read_parquet(folder / f"{workload}_bars.parquet")
    weights = pl.read_parquet(folder / f"{workload}_weights.parquet")
    if costs.get("price_decimals") == 3:
        prices = pl.col("open", "high", "low", "close")
        bars = bars.with_columns((prices * 1000).round(mode="half_to_even") * 0.001)
    config = bl.profile(profile).replace(
        {
            "initial_cash": costs["initial_cash"],
            "commission.bps": costs["commission_bps"],
            "slippage.bps": costs["slippage_bps"],
            "limits.allow_short": weights["weight"].min() < 0,
            "limits.max_gross": 2.0,  # more than in any workload
        }
    )
    if costs["whole"] and config.execution.rounding == "fractional":
        config = config.replace({"execution.rounding": "whole_delta_trunc"})
    return bl.run_backtest(bars, weights, config=config)


def compare(profile: str, workload: str, folder: Path) -> Comparison:
    """Compare what an engine did, as ``engines/store.py`` wrote it, with a new run.

    Parameters
    ----------
    profile, workload : str
        Of `barloop.profile`, and of ``tests/references``.
    folder : Path
        With the folder of the profile in it.
    """
    described = _json(folder / profile / "versions.json")
    result = run_profile(profile, workload, described["workload_changes"])
    theirs = pl.read_parquet(folder / profile / f"{workload}_fills.parquet")
    fills, largest_of_fills = _different_fills(
        result.fills, theirs, CURRENCY.get(profile, 0.0)
    )
    bars, largest_of_equity = _different_bars(
        result.equity, pl.read_parquet(folder / profile / f"{workload}_equity.parquet")
    )
    return Comparison(
        profile=profile,
        workload=workload,
        n_fills=result.fills.height,
        n_theirs=theirs.height,
        different_fills=fills,
        different_bars=bars,
        largest_of_fills=largest_of_fills,
        largest_of_equity=largest_of_equity,
    )


def _different_fills(
    ours: pl.DataFrame, theirs: pl.DataFrame, currency: float
) -> tuple[pl.DataFrame, float]:
    """Return the fills that are not the same, and the largest difference, currency."""
    columns = ["quantity", "price", "commission"]
    # The second fill of an asset on a bar is compared with their second.
    turn = pl.int_range(pl.len()).over(KEY).alias("turn")
    both = ours.select(*KEY, turn, *columns).join(
        theirs.select(*KEY, turn, *columns),
        on=[*KEY, "turn"],
        how="full",
        suffix="_theirs",
        coalesce=True,
        validate="1:1",
    )
    difference = {
        name: (pl.col(name) - pl.col(f"{name}_theirs")).abs() for name in columns
    }
    worth = difference["quantity"] * pl.col("price_theirs")
    small = {
        "quantity": worth <= currency,
        "price": False,
        "commission": difference["commission"] <= currency,
    }
    same = pl.all_horizontal(
        (difference[name] <= RELATIVE * pl.col(f"{name}_theirs").abs()) | small[name]
        for name in columns
    )
    # A fill of one side only is null on the other.
    different = both.filter(~same.fill_null(value=False)).sort(KEY)
    return different, float(both.select(worth.max()).item() or 0.0)


def _different_bars(
    ours: pl.DataFrame, theirs: pl.DataFrame
) -> tuple[pl.DataFrame, float]:
    """Return the bars that are not the same, and the largest share of equity."""
    columns = ["cash", "equity"]
    both = ours.select("date", *columns).join(
        theirs.select("date", *columns),
        on="date",
        how="full",
        suffix="_theirs",
        coalesce=True,
        validate="1:1",
    )
    share = pl.max_horizontal(
        (pl.col(name) - pl.col(f"{name}_theirs")).abs() for name in columns
    ) / pl.col("equity_theirs")
    different = both.filter(~(share <= RELATIVE).fill_null(value=False)).sort("date")
    return different, float(both.select(share.max()).item())


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def _compare_all(profiles: list[str], folder: Path) -> bool:
    """Print a line for each profile and workload; say whether all of them agree."""
    print(
        f"{'profile':<25}{'workload':<12}{'fills':>6}{'different':>11}"
        f"{'currency':>11}{'bars':>6}{'equity':>10}"
    )
    agreed = []
    for name in profiles:
        for workload in workload_names():
            if not (folder / name / f"{workload}_fills.parquet").exists():
                continue
            one = compare(name, workload, folder)
            agreed.append(one.agrees)
            print(
                f"{name:<25}{workload:<12}{one.n_theirs:>6}"
                f"{one.different_fills.height:>11}{one.largest_of_fills:>11.1e}"
                f"{one.different_bars.height:>6}{one.largest_of_equity:>10.1e}",
                flush=True,
            )
            for different in (one.different_fills, one.different_bars):
                if not different.is_empty():
                    print(different.head(5))
    if not agreed:
        print("nothing to compare")
        return True
    print(
        f"{sum(agreed)} of {len(agreed)} agree: every fill and the equity of each bar"
    )
    return all(agreed)


def main(arguments: list[str] | None = None) -> None:
    """Run or read the engines that are named, compare, and exit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engines", default=",".join(PROFILES), metavar="NAMES")
    parser.add_argument("--stored", action="store_true", help="run no engine")
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter that has the engines"
    )
    options = parser.parse_args(arguments)
    engines = options.engines.split(",")
    unknown = [name for name in engines if name not in PROFILES]
    if unknown:
        parser.error(f"unknown engines {unknown}, there are {list(PROFILES)}")
    profiles = [name for engine in engines for name in PROFILES[engine]]
    if options.stored:
        sys.exit(not _compare_all(profiles, REFERENCES))
    with tempfile.TemporaryDirectory() as folder:
        # One process an engine: some of them change global settings of others.
        for engine in engines:
            command = [options.python, STORE, *PROFILES[engine], "--into", folder]
            subprocess.run(command, check=True)
        sys.exit(not _compare_all(profiles, Path(folder)))


if __name__ == "__main__":
    main()
