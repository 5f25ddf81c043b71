"""`BacktestResult`: arrays of a run, and the polars frames made from them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from barloop import frames
from barloop.config import BacktestConfig
from barloop.enums import BarField, Counter
from barloop.errors import SimulationError
from barloop.panel import Panel
from barloop.record import RunRecord, record_of
from barloop.run_notices import notices_frame
from barloop.summary import summary

if TYPE_CHECKING:
    from barloop.audit import AuditReport
    from barloop.simulation import Simulation

STALE_BARS = 20
"""A held asset without a bar for longer than this is shown by ``print(result)``."""


class BacktestResult:
    """Hold what a run left behind; frames are built when asked for.

    The time and asset columns of all frames carry the user's own names and dtypes,
    written ``<time>`` and ``<asset>`` here.  Currency is that of the prices.

    Attributes
    ----------
    config : BacktestConfig
        Settings of the run.
    panel : Panel
        The data it ran on.
    metrics : dict
        Measures of the run, see `barloop.summary.summary`; None where undefined.
    """

    def __init__(self, record: RunRecord, keep: str) -> None:
        self._keep = keep
        self.config: BacktestConfig = record.config
        self.panel: Panel = record.panel
        self._n_rebalances = int(np.count_nonzero(record.bars[BarField.DECISION]))
        solvent = record.ruined_bar if record.ruined_bar >= 0 else None
        self._n_scheduled = int(np.count_nonzero(record.is_rebalance[:solvent]))
        self.metrics: dict[str, float | int | None] = _metrics(
            record, self._n_rebalances
        )
        self._frames: dict[str, pl.DataFrame] = {}
        self._record: RunRecord | None = None if keep == "metrics" else record
        ruined = record.ruined_bar
        self.ruined_at: Any = None if ruined < 0 else self.panel.timestamp_at(ruined)
        """Timestamp at which equity fell to 0 or below; None while solvent."""
        self._first_bar = record.first_bar
        self._n_final = int(np.count_nonzero(record.position))

    def _arrays(self, what: str) -> RunRecord:
        if self._record is None:
            msg = (
                f"result.{what} was not kept: the run had keep='metrics'.\n"
                "Hint: run it with keep='full'."
            )
            raise SimulationError(msg)
        return self._record

    def _logs(self, what: str) -> RunRecord:
        record = self._arrays(what)
        if self._keep != "full":
            msg = (
                f"result.{what} was not kept: the run had keep={self._keep!r}.\n"
                "Hint: run it with keep='full'."
            )
            raise SimulationError(msg)
        return record

    def _frame(
        self,
        name: str,
        build: Callable[[RunRecord], pl.DataFrame],
        kept: Callable[[str], RunRecord],
    ) -> pl.DataFrame:
        if name not in self._frames:
            self._frames[name] = build(kept(name))
        # A clone shares the memory, but writing into it does not reach the result.
        return self._frames[name].clone()

    @property
    def final_equity(self) -> float:
        """Equity at the close of the last bar, currency."""
        return float(self.metrics["final_equity"] or 0.0)

    @property
    def total_return(self) -> float:
        """``final_equity / initial_cash - 1``."""
        return self.final_equity / float(self.config.initial_cash) - 1.0

    @property
    def n_rebalances(self) -> int:
        """Decisions that were taken."""
        return self._n_rebalances

    @property
    def n_skipped(self) -> int:
        """Bars of the schedule on which the weights said nothing."""
        return self._n_scheduled - self._n_rebalances

    @property
    def equity(self) -> pl.DataFrame:
        """Equity curve, one row per bar, after its fills.

        Columns: ``<time>``, ``cash``, ``equity``, ``return`` (simple, of the bar
        ending at ``<time>``; the first against the initial cash), ``drawdown``
        (``equity / running maximum - 1``), ``gross_exposure`` and ``net_exposure``
        (currency), ``leverage`` (gross / equity), ``turnover`` (one-way: traded value
        / (2 * equity)), ``commission``, ``slippage``, ``carry`` (currency),
        ``n_positions``.  Ratios are null once equity is 0 or below.
        """
        return self._frame("equity", frames.equity_frame, self._arrays)

    @property
    def returns(self) -> pl.DataFrame:
        """Simple returns: ``<time>``, ``return``."""
        return self.equity.select(self.panel.timestamp_name, "return")

    @property
    def fills(self) -> pl.DataFrame:
        """Trade log, one row per execution, in the order of execution.

        Columns: ``order_id`` (null for the closing of a ruined account), ``<time>``,
        ``<asset>``, ``quantity`` (signed units), ``price`` (after slippage),
        ``base_price``, ``commission``, ``slippage`` (currency), ``reason``.
        """
        return self._frame("fills", frames.fills_frame, self._logs)

    @property
    def orders(self) -> pl.DataFrame:
        """Ledger, one row per order that was decided, made or not.

        Columns: ``order_id``, ``<time>`` (of the decision), ``<asset>``,
        ``position_before``, ``weight_before``, ``target_weight``, ``equity`` and
        ``price`` it was sized on, ``quantity`` wanted (signed; null if it could not
        be sized), ``filled``, ``missing``, ``status`` (filled, partial, none,
        waiting), ``reason`` (the first step that bound, "none" if nothing did),
        ``reasons`` (all of them, in pipeline order), ``position_after``.
        """
        return self._frame("orders", frames.orders_frame, self._logs)

    @property
    def positions(self) -> pl.DataFrame:
        """Positions after each bar where they are not 0.

        Columns: ``<time>``, ``<asset>``, ``position`` (signed units), ``close`` (last
        known), ``position_value``.
        """
        return self._frame("positions", frames.positions_frame, self._logs)

    @property
    def weights(self) -> pl.DataFrame:
        """Weights held after each bar: ``<time>``, ``<asset>``, ``weight``."""
        return self._frame("weights", frames.weights_frame, self._logs)

    @property
    def rebalances(self) -> pl.DataFrame:
        """Decisions, one row each.

        Columns: ``<time>``, ``decision`` (complete, partial), ``n_targets`` (weights
        that are not 0), ``target_gross``, ``n_orders`` (rows of the ledger),
        ``scale`` (common factor of the opening buys on the bar after, or on the same
        bar with ``same_close``; null past the end).
        """
        return self._frame("rebalances", frames.rebalances_frame, self._logs)

    @property
    def next_orders(self) -> pl.DataFrame:
        """Orders still open after the last bar: what to trade next.

        Columns: ``order_id``, ``<time>`` (of the decision), ``<asset>``, ``quantity``,
        ``target_weight``, ``reason``.
        """
        return self._frame("next_orders", frames.next_orders_frame, self._logs)

    @property
    def cash_flows(self) -> pl.DataFrame:
        """Cash that moved without a fill.

        Columns: ``<time>``, ``<asset>``, ``kind``, ``amount`` (currency).  The
        initial cash is a deposit on the first bar.
        """
        return self._frame("cash_flows", frames.cash_flows_frame, self._arrays)

    @property
    def notices(self) -> pl.DataFrame:
        """What was skipped, scaled, refused or carried forward, counted.

        Columns: ``notice``, ``count``, ``first_<time>``, ``first_<asset>``,
        ``message``.
        """
        return self._frame("notices", notices_frame, self._arrays)

    def audit(self) -> AuditReport:
        """Rebuild positions, cash and equity from fills and cash flows alone.

        Returns
        -------
        AuditReport
            What was compared.

        Raises
        ------
        AuditError
            With the first bar that differs.
        """
        from barloop.audit import audit

        self._logs("audit()")
        return audit(
            bars=self.panel.frame,
            equity=self.equity,
            fills=self.fills,
            cash_flows=self.cash_flows,
            positions=self.positions,
            time=self.panel.timestamp_name,
            asset=self.panel.asset_name,
            close=self.panel.close_name,
        )

    def explain(self, asset: Any, timestamp: Any) -> str:
        """Tell in words what an asset did around a bar, and why.

        Parameters
        ----------
        asset : object
            An asset of the data.
        timestamp : date, datetime, str or int
            A bar of the run.

        Returns
        -------
        str
            The holding, the order in force, its fills and the reasons that bound.

        Raises
        ------
        PanelError
            If the asset or the bar is not in the data.
        """
        from barloop.explain import explain

        self._logs("explain()")
        panel = self.panel
        bar = panel.bar_of(timestamp)
        panel.require_asset(asset)
        if bar < self._first_bar:
            msg = (
                f"{panel.show_bar(bar)} is history: the run starts at "
                f"{panel.show_bar(self._first_bar)}."
            )
            raise SimulationError(msg)
        return explain(
            orders=self.orders,
            fills=self.fills,
            positions=self.positions,
            weights=self.weights,
            rebalances=self.rebalances,
            asset=asset,
            timestamp=panel.timestamp_at(bar),
            time_name=panel.timestamp_name,
            asset_name=panel.asset_name,
            fill=self.config.execution.fill,
        )

    def _headline(self) -> list[tuple[str, str]]:
        m, panel = self.metrics, self.panel
        last = panel.n_bars - 1
        rows = [
            ("period", f"{panel.show_bar(self._first_bar)} to {panel.show_bar(last)}"),
            ("bars, assets", f"{m['n_bars']:,}, {panel.n_assets:,}"),
            ("final equity", _number(m["final_equity"], ",.2f")),
            ("total return", _number(m["total_return"], ".2%")),
            ("CAGR", _number(m["cagr"], ".2%")),
            ("volatility", _number(m["volatility"], ".2%")),
            ("Sharpe", _number(m["sharpe"], ".2f")),
            ("max drawdown", _number(m["max_drawdown"], ".2%")),
            ("turnover per year", _number(m["turnover"], ".2f")),
            ("commission", _number(m["total_commission"], ",.2f")),
            ("slippage", _number(m["total_slippage"], ",.2f")),
            ("fills", _number(m["n_fills"], ",d")),
            ("rebalances, skipped", f"{self.n_rebalances:,}, {self.n_skipped:,}"),
            ("positions at the end", f"{self._n_final:,}"),
        ]
        if self.ruined_at is not None:
            rows.append(("ruined at", str(self.ruined_at)))
        return rows

    def _remarks(self) -> list[str]:
        if self._record is None:
            return ["not counted with keep='metrics'"]
        panel, record = self.panel, self._record
        remarks = []
        for i in np.flatnonzero(record.position):
            seen = np.flatnonzero(~np.isnan(panel.close[:, i]))[-1]
            if panel.n_bars - 1 - seen > STALE_BARS:
                remarks.append(
                    f"{panel.show_asset(int(i))} is held without a bar since "
                    f"{panel.show_bar(int(seen))}"
                )
        for row in self.notices.iter_rows(named=True):
            remarks.append(f"{row['count']:,} x {row['message']} ({row['notice']})")
        if self._keep != "full":
            remarks.append("what bound on single orders is counted with keep='full'")
        return remarks

    def __str__(self) -> str:
        rows = self._headline()
        width = max(len(name) for name, _ in rows)
        lines = ["BacktestResult"]
        lines += [f"  {name:<{width}}  {value:>24}" for name, value in rows]
        remarks = self._remarks()
        if remarks:
            lines.append("Notices")
            for remark in remarks:
                lines += textwrap.wrap(
                    remark, 79, initial_indent="  ", subsequent_indent="    "
                )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        import html

        right = "text-align:right"
        cells = "".join(
            f"<tr><td style='text-align:left'>{html.escape(name)}</td>"
            f"<td style='{right}'>{html.escape(value)}</td></tr>"
            for name, value in self._headline()
        )
        notes = "".join(f"<li>{html.escape(one)}</li>" for one in self._remarks())
        listed = f"<details><summary>Notices</summary><ul>{notes}</ul></details>"
        return (
            "<div><table><thead><tr><th colspan='2' style='text-align:left'>"
            f"BacktestResult</th></tr></thead><tbody>{cells}</tbody></table>"
            f"{listed if notes else ''}</div>"
        )


def result_of(simulation: Simulation, keep: str) -> BacktestResult:
    """Make the result of a finished simulation.

    Parameters
    ----------
    simulation : Simulation
        After `run`.
    keep : {"full", "equity", "metrics"}
        What to store.

    Returns
    -------
    BacktestResult
        Metrics are computed now, frames when asked for.
    """
    return BacktestResult(record_of(simulation), keep)


def _metrics(record: RunRecord, n_rebalances: int) -> dict[str, float | int | None]:
    config = record.config
    field: Callable[[BarField], Any] = record.bar_field
    return summary(
        field(BarField.EQUITY),
        initial_cash=float(config.initial_cash),
        bars_per_year=record.bars_per_year,
        risk_free=float(config.risk_free),
        traded_value=field(BarField.TRADED_VALUE),
        gross_exposure=field(BarField.GROSS_EXPOSURE),
        commission=field(BarField.COMMISSION),
        slippage=field(BarField.SLIPPAGE),
        n_fills=int(record.counters[Counter.N_FILLS]),
        n_rebalances=n_rebalances,
        ruined=record.ruined_bar >= 0,
    )


def _number(value: float | int | None, style: str) -> str:
    return "-" if value is None else format(value, style)
