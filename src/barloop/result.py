"""`BacktestResult`: arrays of a run, and the polars frames made from them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from barloop import frames, journal, ledger
from barloop.config import BacktestConfig
from barloop.enums import BarField
from barloop.errors import SimulationError
from barloop.panel import Panel
from barloop.record import RunRecord, record_of
from barloop.run_notices import held_delistings, notices_frame
from barloop.summary import summary
from barloop.trades import MethodName, exit_reasons_frame, trades_frame

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
        self._n_skipped = int(np.count_nonzero(record.is_skipped))
        self.metrics: dict[str, float | int | None] = _metrics(
            record, self._n_rebalances
        )
        self._frames: dict[str, pl.DataFrame] = {}
        self._record: RunRecord | None = None if keep == "metrics" else record
        ruined = record.ruined_bar
        self.ruined_at: Any = None if ruined < 0 else self.panel.timestamp_at(ruined)
        """Timestamp at which equity fell to 0 or below; None while solvent."""
        stopped = record.stopped_bar
        self.stopped_at: Any = None if stopped < 0 else self.panel.timestamp_at(stopped)
        """Timestamp at which `max_drawdown` ended the run; None if it did not."""
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
        """``final_equity / initial_cash - 1``; with deposits, that of the returns."""
        value = self.metrics["total_return"]
        return math.nan if value is None else float(value)

    @property
    def n_rebalances(self) -> int:
        """Decisions that were taken."""
        return self._n_rebalances

    @property
    def n_skipped(self) -> int:
        """Bars of the schedule on which the weights said nothing."""
        return self._n_skipped

    @property
    def equity(self) -> pl.DataFrame:
        """Equity curve, one row per bar, after its fills.

        Columns: ``<time>``, ``cash``, ``equity``, ``return`` (simple, of the bar
        ending at ``<time>``: ``equity[t] / (equity[t - 1] + deposits[t]) - 1``, the
        first against the initial cash), ``drawdown`` (``equity / running maximum - 1``;
        with deposits, of the product of the returns), ``gross_exposure`` and
        ``net_exposure`` (currency), ``leverage`` (gross / equity), ``turnover``
        (one-way: traded value / (2 * equity)), ``commission``, ``slippage``, ``carry``
        (interest and dividends less borrow cost), ``deposits`` (less withdrawals,
        without the initial cash; all currency), ``n_positions``.  Ratios are null once
        equity is 0 or below.
        """
        return self._frame("equity", frames.equity_frame, self._arrays)

    @property
    def returns(self) -> pl.DataFrame:
        """Simple returns: ``<time>``, ``return``."""
        return self.equity.select(self.panel.timestamp_name, "return")

    @property
    def fills(self) -> pl.DataFrame:
        """Trade log, one row per execution, in the order of execution.

        Columns: ``order_id`` (null for exits, margin calls, delistings and the closing
        of a ruined account), ``<time>``, ``<asset>``, ``quantity`` (signed units),
        ``price`` (after slippage), ``base_price``, ``commission``, ``slippage``
        (currency), ``reason``.
        """
        return self._frame("fills", journal.fills_frame, self._logs)

    @property
    def orders(self) -> pl.DataFrame:
        """Ledger, one row per order that was decided, made or not.

        Columns: ``order_id``, ``<time>`` (of the decision), ``<asset>``,
        ``position_before`` and ``weight_before`` (at the decision), ``target_weight``,
        ``limited_weight`` (after `max_weight` and `max_gross`), ``equity`` and
        ``price`` it was sized on, ``quantity`` wanted (signed; null if it could not
        be sized), ``filled``, ``missing``, ``status`` (filled, partial, none,
        waiting), ``reason`` (the first step that bound, "none" if nothing did),
        ``reasons`` (all of them, in pipeline order), ``position_after``.

        Units and price are those after the splits while an order waited.  With
        ``size_at="fill"`` equity and price are those at the fill prices of the bar that
        sized the order; they and the quantity are null if none did.
        """
        return self._frame("orders", ledger.orders_frame, self._logs)

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

        Columns: ``order_id``, ``<time>`` (of the decision), ``<asset>``, ``quantity``
        (null with ``size_at="fill"``), ``target_weight``, ``reason``.
        """
        return self._frame("next_orders", ledger.next_orders_frame, self._logs)

    @property
    def cash_flows(self) -> pl.DataFrame:
        """Cash and units that moved without a fill, in order.

        Columns: ``<time>``, ``<asset>`` (null for the account), ``kind`` (deposit,
        withdrawal, interest, borrow_cost, dividend, split), ``amount`` (currency,
        negative when paid), ``quantity`` (signed units that a split adds, else 0),
        ``ratio`` (new units for an old one, else null).  The initial cash is a deposit
        on the first bar; dividends and splits of assets that are not held are no rows.
        """
        return self._frame("cash_flows", journal.cash_flows_frame, self._logs)

    @property
    def trades(self) -> pl.DataFrame:
        """Round trips at average cost: `round_trips` without arguments."""
        return self._frame("trades", trades_frame, self._logs)

    def round_trips(
        self, *, method: MethodName = "average", features: Sequence[str] = ()
    ) -> pl.DataFrame:
        """Match the fills that open positions with those that close them.

        Parameters
        ----------
        method : {"average", "fifo"}, default "average"
            ``"average"``: a trade is all that happens from flat to flat, bought and
            sold at average prices.  ``"fifo"``: each opening fill is a lot, the oldest
            is closed first, and a trade is a lot or a part of it with the fill that
            closed it.
        features : sequence of str, default ()
            Columns of the data to add, as they were on the bar that decided the entry.

        Returns
        -------
        DataFrame
            One row per trade, by entry: ``<asset>``, ``side`` (long, short),
            ``entry_<time>`` and ``exit_<time>`` (of the first opening and the last
            closing fill; null while open), ``quantity`` (units opened in total),
            ``entry_price`` and ``exit_price`` (averages of the fills, slippage in; null
            while nothing is closed), ``pnl`` (currency, less slippage and commission;
            what is open counts at the last known close), ``return`` (pnl / value of the
            openings), ``commission``, ``bars_held`` (entry to exit or to the last bar,
            0 within a bar), ``mae`` and ``mfe``, ``entry_reason`` (what bound on the
            order of the entry, "none" if nothing), ``exit_reason`` (of the last closing
            fill; null while open), ``is_open``, and the features.

        Raises
        ------
        PanelError
            If there is no such feature.
        SimulationError
            If the run did not keep its fills.

        Notes
        -----
        The sum of ``pnl``, of ``equity["carry"]`` and of ``equity["deposits"]`` is the
        change of equity.  Dividends, interest and borrow cost are carry, no pnl.
        Units and prices are those after the last split of the trade.  A fill that turns
        a position around closes one trade and opens another; its commission is shared
        by units.

        ``mae`` and ``mfe`` are the worst and the best of 0 and the moves
        ``side * (price / average entry price - 1)``, the average that of the open units
        at that moment.  Prices are the low and high of each bar that began and ended
        with the position (a null low or high is that of open and close; without these
        columns, both are the close), of the entry bar when it was opened at the open
        and of the exit bar when it was closed at the close; the open of the bar of a
        stop or a target; and the prices of the closing fills.  So the return before
        commission lies between the two.
        """
        record = self._logs("round_trips()")
        return trades_frame(record, method=method, features=features)

    @property
    def exit_reasons(self) -> pl.DataFrame:
        """Profit of the closed trades by the reason of their exit.

        Columns: ``exit_reason``, ``n_trades``, ``pnl`` (currency), ``mean_return``,
        ``hit_rate`` (share with a gain among those with a gain or a loss).
        """
        self._logs("exit_reasons")
        return exit_reasons_frame(self.trades)

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
            initial_cash=float(self.config.initial_cash),
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

        record, panel = self._logs("explain()"), self.panel
        bar = panel.bar_of(timestamp)
        column = panel.require_asset(asset)
        if bar < self._first_bar:
            msg = (
                f"{panel.show_bar(bar)} is history: the run starts at "
                f"{panel.show_bar(self._first_bar)}."
            )
            raise SimulationError(msg)
        of_asset = record.splits.asset == column
        splits = pl.DataFrame(
            [
                record.timestamps(record.splits.bar[of_asset]),
                pl.Series("ratio", record.splits.ratio[of_asset]),
            ]
        )
        left = held_delistings(record)
        return explain(
            orders=self.orders,
            fills=self.fills,
            cash_flows=self.cash_flows,
            positions=self.positions,
            weights=self.weights,
            rebalances=self.rebalances,
            splits=splits,
            asset=asset,
            timestamp=panel.timestamp_at(bar),
            time_name=panel.timestamp_name,
            asset_name=panel.asset_name,
            fill=self.config.execution.fill,
            size_at=str(self.config.execution.size_at),
            max_participation=self.config.limits.max_participation,
            stopped_at=self.stopped_at,
            has_bar=not math.isnan(panel.close[bar, column]),
            is_scheduled=bool(record.is_rebalance[bar]),
            is_left=bool(((left.bar == bar) & (left.asset == column)).any()),
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
            *(
                (name, _number(m[f"total_{name}"], ",.2f"))
                for name in ("carry", "deposits")
                if m[f"total_{name}"] != 0.0
            ),
            ("fills", _number(m["n_fills"], ",d")),
            ("rebalances, skipped", f"{self.n_rebalances:,}, {self.n_skipped:,}"),
            ("positions at the end", f"{self._n_final:,}"),
        ]
        if self.stopped_at is not None:
            rows.append(("stopped at", str(self.stopped_at)))
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
        carry=field(BarField.CARRY),
        deposits=field(BarField.DEPOSITS),
        n_fills=record.n_fills,
        n_rebalances=n_rebalances,
        ruined=record.ruined_bar >= 0,
    )


def _number(value: float | int | None, style: str) -> str:
    return "-" if value is None else format(value, style)
