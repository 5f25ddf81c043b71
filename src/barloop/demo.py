"""The main job: three strategies run, told and written to disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from barloop import datasets
from barloop.costs import Commission, Slippage
from barloop.engine import run_backtest
from barloop.exits import Exits
from barloop.result import BacktestResult
from barloop.selection import equal_weight, top_n

Job = Callable[[], BacktestResult]

FRAMES = (
    "equity",
    "fills",
    "orders",
    "trades",
    "exit_reasons",
    "positions",
    "weights",
    "rebalances",
    "next_orders",
    "cash_flows",
    "notices",
)


def top25(bar: Any) -> Any:
    """Hold the 25 best scores among stocks with an atr; skip the day when vix > 30.

    Parameters
    ----------
    bar : Bar
        With the features ``ml_score`` and ``atr`` and the context ``vix``.

    Returns
    -------
    ndarray of shape (n_assets,), or None
        Equal weights of the 25 best.
    """
    if bar.context.vix > 30.0:
        return None
    # NaN where there is no atr: such a score is never chosen.
    return equal_weight(top_n(bar.ml_score + 0.0 * bar.atr, 25))


def top25_job() -> Job:
    """Prepare the top-25 workload: 500 stocks, 252 sessions, decided every session.

    Returns
    -------
    callable
        Runs it: 239 rebalances and 13 skipped days.
    """
    bars, context = datasets.top25()
    return lambda: run_backtest(bars, top25, context=context)


def stops_job() -> Job:
    """Prepare the top-25 workload with stops: the full strategy.

    Returns
    -------
    callable
        Runs the weights of `top25_job`; each position is closed at two average true
        ranges below its entry, at a trailing stop of 5 % that comes 0.1 % closer with
        each bar down to 0.5 %, or after 60 bars, and a stopped stock is bought again
        only after it was out of the best once.
    """
    bars, context = datasets.top25()
    exits = Exits(
        atr_stop=(2.0, "atr"),
        trailing_stop=0.05,
        tighten_per_bar=0.001,
        trailing_floor=0.005,
        max_bars_held=60,
    )
    return lambda: run_backtest(bars, top25, context=context, exits=exits)


def momentum_job() -> Job:
    """Prepare monthly momentum on five real US stocks, 2000 to 2013.

    Returns
    -------
    callable
        Runs it: the two best of the last 126 bars in equal weights, decided at the end
        of each month on adjusted prices, 10 bps commission and 5 bps slippage.
    """
    bars = datasets.adjusted(datasets.us_equities()).with_columns(
        momentum=pl.col("close") / pl.col("close").shift(126).over("symbol") - 1.0
    )
    return lambda: run_backtest(
        bars,
        equal_weight(top_n("momentum", 2, over="date"), over="date"),
        schedule="month_end",
        commission=Commission(bps=10),
        slippage=Slippage(bps=5),
    )


JOBS: dict[str, tuple[str, Callable[[], Job]]] = {
    "top25": ("Top 25 of 500 simulated stocks by score, Python callback", top25_job),
    "top25-stops": ("The same with stops that tighten and 60 bars at most", stops_job),
    "momentum": ("Monthly momentum on five US stocks, 2000-2013", momentum_job),
}


def demo(folder: Path) -> None:
    """Run the strategies, print what came out and write all frames as parquet.

    Parameters
    ----------
    folder : Path
        Made if it does not exist; one folder per strategy below it.

    Raises
    ------
    AuditError
        If a result does not follow from its own fills.
    """
    for name, (title, prepare) in JOBS.items():
        run = prepare()
        run()  # Compiles, or loads what was compiled before.
        began = time.perf_counter()
        result = run()
        seconds = time.perf_counter() - began
        report = result.audit()
        print(f"\n{title}")
        for what, value in _lines(result, seconds):
            print(f"  {what:<26}{value:>22}")
        for line in _exit_lines(result):
            print(f"  {line}")
        print(f"  audit                     {report}")
        print(f"  written to                {_write(result, folder / name)}")


def _lines(result: BacktestResult, seconds: float) -> list[tuple[str, str]]:
    m = result.metrics
    n_cells = int(m["n_bars"] or 0) * result.panel.n_assets
    costs = float(m["total_commission"] or 0.0) + float(m["total_slippage"] or 0.0)
    last = result.equity["n_positions"][-1]
    sharpe, drawdown = m["sharpe"], m["max_drawdown"]
    return [
        ("final value", f"{result.final_equity:,.2f}"),
        ("total return", f"{result.total_return:,.2%}"),
        ("Sharpe", "-" if sharpe is None else f"{sharpe:.2f}"),
        ("max drawdown", "-" if drawdown is None else f"{drawdown:.2%}"),
        ("final positions", f"{last:,}"),
        ("rebalances", f"{result.n_rebalances:,}"),
        ("skipped", f"{result.n_skipped:,}"),
        ("fills", f"{result.fills.height:,}"),
        ("commission and slippage", f"{costs:,.2f}"),
        ("orders for the next bar", f"{result.next_orders.height:,}"),
        ("run time from the frame", f"{seconds * 1e3:,.1f} ms"),
        ("asset-bars per second", f"{n_cells / seconds:,.0f}"),
    ]


def _exit_lines(result: BacktestResult) -> list[str]:
    """Tell the profit by exit reason, if there is more than one."""
    reasons = result.exit_reasons
    if reasons.height < 2:
        return []
    head = ("closed by", "trades", "profit", "mean return", "hit rate")
    rows = [
        (
            reason,
            f"{n:,}",
            f"{pnl:,.2f}",
            f"{mean:.2%}",
            "-" if hits is None else f"{hits:.1%}",
        )
        for reason, n, pnl, mean, hits in reasons.select(
            "exit_reason", "n_trades", "pnl", "mean_return", "hit_rate"
        ).iter_rows()
    ]
    return [
        f"{why:<16}{n:>10}{pnl:>22}{mean:>13}{hits:>10}"
        for why, n, pnl, mean, hits in [head, *rows]
    ]


def _write(result: BacktestResult, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in FRAMES:
        getattr(result, name).write_parquet(folder / f"{name}.parquet")
    (folder / "config.json").write_text(result.config.to_json() + "\n")
    return folder
