"""The audit passes true results and names the first bar of every forged one."""

from __future__ import annotations

import datetime as dt
import functools
import math
import re
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given

import barloop as bl
from barloop.audit import TOLERANCE, AuditReport, audit
from barloop.enums import BarField
from barloop.errors import AuditError
from strategies import examples
from strategies_full import full_worlds

N_BARS = 50
SPLITS = (("A", 2.0), ("B", 0.1), ("D", 1.5), ("E", 3.0))
DAYS = [dt.date(2024, 1, 1) + dt.timedelta(days=t) for t in range(N_BARS)]
START = dt.date(2024, 1, 15)
COSTS = {
    "commission": bl.Commission(bps=10, minimum=1.0),
    "slippage": bl.Slippage(bps=5),
}
SHORTS = bl.Limits(allow_short=True, max_gross=2.0, max_borrowing=0.5)


def market(*, seed: int = 1, names: Any = ("A", "B", "C", "D", "E")) -> pl.DataFrame:
    """Seeded prices with gaps and null closes, rows in no order, decided weights."""
    rng = np.random.default_rng(seed)
    shape = (N_BARS, len(names))
    close = np.round(40.0 * np.exp(np.cumsum(rng.normal(0, 0.03, shape), axis=0)), 2)
    opens = np.round(close * (1.0 + rng.normal(0, 0.01, shape)), 2)
    is_row = rng.random(shape) < 0.9
    is_row[:12, 1] = False
    is_row[30:, 2] = False
    weight = rng.random(shape) * (rng.random(shape) < 0.6)
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1.0)
    weight *= rng.choice([1.0, 1.0, -1.0], shape)
    bar, asset = np.nonzero(is_row)
    is_null = pl.Series(rng.random(bar.size) < 0.04)
    return (
        pl.DataFrame(
            [
                pl.Series("date", DAYS).gather(bar),
                pl.Series("symbol", list(names)).gather(asset),
                pl.Series("open", opens[is_row]),
                pl.Series("close", close[is_row]),
                pl.Series("signed", weight[is_row]),
                pl.Series("weight", np.abs(weight)[is_row]),
            ]
        )
        .with_columns(close=pl.when(~is_null).then("close"))
        .sample(fraction=1.0, shuffle=True, seed=seed)
    )


def run(df: pl.DataFrame, weights: Any = "weight", **fields: Any) -> bl.BacktestResult:
    return bl.run_backtest(df, weights, **{"initial_cash": 100_000.0, **fields})


def squeezed() -> pl.DataFrame:
    """A is sold short at 40 and goes to 400 on bar 20."""
    when = pl.col("date") >= DAYS[20]
    price = pl.when((pl.col("symbol") == "A") & when).then(400.0)
    df = market().with_columns(price.otherwise("close").alias("close"))
    sold = pl.when(pl.col("symbol") == "A").then(-0.9).otherwise(0.05)
    return df.with_columns(signed=pl.when(pl.col("date") == DAYS[3]).then(sold))


def ranged() -> pl.DataFrame:
    """With highs and lows."""
    return market().with_columns(
        high=pl.max_horizontal("open", "close") * 1.02,
        low=pl.min_horizontal("open", "close") * 0.98,
    )


def actions(*rows: tuple[int, str | None, str, float | None]) -> pl.DataFrame:
    named = [(DAYS[t], asset, kind, value) for t, asset, kind, value in rows]
    schema = {
        "date": pl.Date,
        "symbol": pl.String,
        "kind": pl.String,
        "value": pl.Float64,
    }
    return pl.DataFrame(named, schema=schema, orient="row")


EVENTS = (
    (0, None, "deposit", 5_000.0),
    *((t, asset, "split", ratio) for t in (9, 17, 33) for asset, ratio in SPLITS),
    *((t, asset, "dividend", 0.37) for t in (8, 17, 40) for asset in "ABDE"),
    (21, None, "withdrawal", 20_000.0),
    (30, None, "deposit", 7_500.0),
    *((25, asset, "delisting", -0.4) for asset in "BCE"),
    (45, "A", "delisting", None),
)
EXITS = bl.Exits(
    stop_loss=0.03,
    take_profit=0.06,
    trailing_stop=0.05,
    max_bars_held=9,
    reentry="allowed",
)
FINANCING = {
    "financing": bl.Financing(cash_rate=0.02, debit_rate=0.07, borrow_rate=0.04),
    "bars_per_year": 365,
}


def eventful(**fields: Any) -> bl.BacktestResult:
    """Splits, dividends, delistings, deposits, interest and shorts."""
    fields = {"limits": SHORTS, "actions": actions(*EVENTS)} | COSTS | fields
    return run(ranged(), "signed", **FINANCING, **fields)


def same_close() -> bl.Execution:
    return bl.Execution(fill="same_close")


CLEAN = {
    "plain": lambda: run(market()),
    "costs": lambda: run(market(), **COSTS),
    "sorted": lambda: run(market().sort("date", "symbol"), **COSTS),
    "next close": lambda: run(market(), execution=bl.Execution(fill="next_close")),
    "same close": lambda: run(market(), execution=same_close(), **COSTS),
    "shorts": lambda: run(market(), "signed", limits=SHORTS, **COSTS),
    "ruined": lambda: run(squeezed(), "signed", limits=SHORTS, **COSTS),
    "ruined at the same close": lambda: run(
        squeezed(), "signed", limits=SHORTS, execution=same_close(), **COSTS
    ),
    "whole shares": lambda: run(
        market(), execution=bl.Execution(rounding="whole_target"), **COSTS
    ),
    "start in the middle": lambda: run(market(), start=START, **COSTS),
    "end in the middle": lambda: run(market(), end=START, **COSTS),
    "integer assets": lambda: run(market(names=(7, 3, 900, 5, 1)), **COSTS),
    "integer times": lambda: run(
        market().with_columns(pl.col("date").to_physical().cast(pl.Int64)),
        bars_per_year=252,
    ),
    "nanoseconds": lambda: run(
        market().with_columns(
            pl.col("date").to_physical().cast(pl.Int64).cast(pl.Datetime("ns"))
        ),
        bars_per_year=252,
    ),
    "Enum": lambda: run(
        market().with_columns(
            pl.col("symbol").cast(pl.Enum(["unused", "E", "C", "A", "D", "B"]))
        )
    ),
    "Categorical": lambda: run(
        market().with_columns(pl.col("symbol").cast(pl.Categorical()))
    ),
    "other names": lambda: run(
        market().rename({"date": "Datetime", "symbol": "Ticker", "close": "Close"})
    ),
    "float32 and integer prices": lambda: run(
        market().with_columns(
            pl.col("close").cast(pl.Float32), pl.col("open").round().cast(pl.Int64)
        )
    ),
    "NaN where there is no close": lambda: run(
        market().with_columns(pl.col("close").fill_null(math.nan)), **COSTS
    ),
    "nothing traded": lambda: run(market(), 0.0 * pl.col("weight")),
    "exits": lambda: run(ranged(), exits=EXITS, **COSTS),
    "events": eventful,
    "events and exits": lambda: eventful(exits=EXITS),
    "events at the same close": lambda: eventful(execution=same_close(), exits=EXITS),
    "events, written off": lambda: eventful(
        missing_data=bl.MissingData(delisted="write_off", delist_after_bars=2)
    ),
    "events, start in the middle": lambda: eventful(start=START),
    "events, ends early": lambda: eventful(exits=bl.Exits(max_drawdown=0.02)),
    "sized at the fill": lambda: eventful(execution=bl.Execution(size_at="fill")),
    "margin calls": lambda: eventful(
        limits=bl.Limits(
            allow_short=True, max_gross=2.0, max_borrowing=0.5, maintenance=0.9
        )
    ),
}


@pytest.mark.parametrize("name", CLEAN)
def test_true_results_are_clean(name):
    result = CLEAN[name]()
    report = result.audit()
    assert isinstance(report, AuditReport)
    assert report.n_bars == result.equity.height
    assert report.n_fills == result.fills.height
    assert report.n_cash_flows == result.cash_flows.height
    assert (report.n_cash_flows > 1) == (result._record.splits.bar.size > 0)
    assert 0.0 <= report.largest_difference < 1e-12
    assert (report.n_fills == 0) == (name == "nothing traded")
    assert (result.ruined_at is not None) == name.startswith("ruined")


def test_report_says_what_was_rebuilt():
    report = AuditReport(
        n_bars=1, n_fills=12_345, n_cash_flows=2, largest_difference=2.5e-15
    )
    assert str(report) == (
        "clean: 1 bar rebuilt from 12,345 fills and 2 cash flows, largest difference "
        "2.5e-15 of the account"
    )


def test_the_events_happen():
    flows = eventful(execution=bl.Execution(size_at="fill")).cash_flows
    assert set(flows["kind"]) == set(flows["kind"].dtype.categories)
    assert "margin_call" in CLEAN["margin calls"]().fills["reason"]
    assert "delisted" in events().fills["reason"]
    reasons = set(CLEAN["events and exits"]().fills["reason"])
    assert reasons >= {"stop_loss", "take_profit", "trailing_stop"}
    assert CLEAN["events, ends early"]().stopped_at is not None


# ---------------------------------------------------------------------- forgeries


@functools.cache
def genuine(*, cash: float = 100_000.0) -> bl.BacktestResult:
    """With gaps, shorts and costs."""
    return run(market(), "signed", limits=SHORTS, initial_cash=cash, **COSTS)


def frames_of(result: bl.BacktestResult) -> dict[str, Any]:
    return {
        "bars": result.panel.frame,
        "equity": result.equity,
        "fills": result.fills,
        "cash_flows": result.cash_flows,
        "positions": result.positions,
        "initial_cash": result.config.initial_cash,
    }


def audited(result: bl.BacktestResult | None = None, **forged: Any) -> AuditReport:
    """Audit the frames of a genuine result, some of them forged."""
    frames = frames_of(result or genuine())
    for name, forge in forged.items():
        frames[name] = forge(frames[name])
    return audit(**frames, time="date", asset="symbol", close="close")


def changed(column: str, row: int, change: Any) -> Any:
    """Change one value of a frame."""

    def forge(frame: pl.DataFrame) -> pl.DataFrame:
        values = frame[column].to_list()
        values[row] = change(values[row])
        return frame.with_columns(pl.Series(column, values, dtype=frame.schema[column]))

    return forge


def without(row: int) -> Any:
    return lambda frame: pl.concat([frame.head(row), frame[row + 1 :]])


def twice(row: int) -> Any:
    return lambda frame: pl.concat([frame.head(row + 1), frame[row:]])


def caught(**forged: Any) -> str:
    with pytest.raises(AuditError) as caught_error:
        audited(**forged)
    return str(caught_error.value)


def first_fill_of_a_bar(share: float) -> int:
    """Row of a fill at this share of the log, the first of its bar."""
    fills = genuine().fills
    row = int(share * (fills.height - 1))
    while row > 0 and fills["date"][row - 1] == fills["date"][row]:
        row -= 1
    return row


ROWS = {"first": 0.0, "early": 0.2, "middle": 0.5, "late": 0.8, "last": 1.0}


def test_the_frames_to_be_forged_are_clean():
    assert audited().n_fills == genuine().fills.height > 60
    assert (genuine().fills["quantity"] < 0).any()
    assert (genuine().positions["position"] < 0).any()


@pytest.mark.parametrize("share", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("column", ["quantity", "price", "commission"])
def test_an_altered_fill_is_caught_on_its_bar(column, share):
    row = first_fill_of_a_bar(share)
    fill = genuine().fills.row(row, named=True)
    # A ten-thousandth of the account: 10 currency, on one fill.
    other = {"quantity": "price", "price": "quantity"}.get(column)
    step = 10.0 / fill[other] if other else 10.0
    message = caught(fills=changed(column, row, lambda value: value + step))
    assert message.startswith(
        f"cash does not follow from the fills: first at {fill['date']}, stated "
    )
    cash = genuine().equity.filter(pl.col("date") == fill["date"])["cash"][0]
    found = re.search(r"stated (\S+), rebuilt (\S+)\.$", message)
    assert float(found[1]) == cash
    assert float(found[2]) == pytest.approx(cash - 10.0)


@pytest.mark.parametrize("share", ROWS.values(), ids=ROWS)
def test_a_dropped_fill_is_caught_on_its_bar(share):
    row = first_fill_of_a_bar(share)
    day = genuine().fills["date"][row]
    assert f"cash does not follow from the fills: first at {day}," in caught(
        fills=without(row)
    )


@pytest.mark.parametrize("share", ROWS.values(), ids=ROWS)
def test_a_repeated_fill_is_caught_on_its_bar(share):
    row = first_fill_of_a_bar(share)
    day = genuine().fills["date"][row]
    assert f"cash does not follow from the fills: first at {day}," in caught(
        fills=twice(row)
    )


@pytest.mark.parametrize("share", ROWS.values(), ids=ROWS)
def test_a_fill_given_to_another_asset_is_caught_on_its_bar(share):
    row = first_fill_of_a_bar(share)
    fill = genuine().fills.row(row, named=True)
    other = "D" if fill["symbol"] == "E" else "E"
    message = caught(fills=changed("symbol", row, lambda _: other))
    # Cash is the same; what it bought is not.
    assert re.match(
        rf"(equity|n_positions|position) does not follow from the fills: first at "
        rf"{fill['date']},",
        message,
    )


def test_a_fill_moved_to_an_earlier_bar_is_caught_there():
    row = first_fill_of_a_bar(0.5)
    day = genuine().fills["date"][row]
    before = day - dt.timedelta(days=1)
    message = caught(fills=changed("date", row, lambda _: before))
    assert f"cash does not follow from the fills: first at {before}," in message


def test_the_smallest_change_of_a_quantity_is_caught_by_the_positions():
    row = first_fill_of_a_bar(0.5)
    fill = genuine().fills.row(row, named=True)
    message = caught(
        fills=changed("quantity", row, lambda value: value * (1.0 + 1e-13))
    )
    assert message.startswith(
        f"position does not follow from the fills: first at {fill['date']}, "
        f'asset "{fill["symbol"]}", stated '
    )


@pytest.mark.parametrize("column", ["equity", "cash", "commission"])
@pytest.mark.parametrize("row", [0, 17, N_BARS - 1])
def test_an_altered_curve_is_caught_on_its_bar(column, row):
    # 1e-8 of the account
    message = caught(equity=changed(column, row, lambda value: value + 1e-3))
    curve = genuine().equity
    assert message.startswith(
        f"{column} does not follow from the fills: first at {curve['date'][row]}, "
        f"stated {curve[column][row] + 1e-3!r}, rebuilt "
    )


@pytest.mark.parametrize("value", [None, math.nan])
@pytest.mark.parametrize("column", ["equity", "cash", "commission"])
def test_a_hole_in_the_curve_is_caught(column, value):
    message = caught(equity=changed(column, 20, lambda _: value))
    assert message.startswith(
        f"{column} does not follow from the fills: first at {DAYS[20]}, "
        f"stated {value!r}, rebuilt "
    )


@pytest.mark.parametrize("value", [None, math.nan])
@pytest.mark.parametrize("column", ["quantity", "price", "commission"])
def test_a_hole_in_the_fills_is_caught_on_its_bar(column, value):
    row = first_fill_of_a_bar(0.5)
    message = caught(fills=changed(column, row, lambda _: value))
    assert f"first at {genuine().fills['date'][row]}, stated " in message


@pytest.mark.parametrize("cash", [100_000.0, 1e13])
def test_the_number_of_positions_must_agree_exactly(cash):
    result = genuine(cash=cash)
    row = 25
    n = result.equity["n_positions"][row]
    with pytest.raises(AuditError) as caught_error:
        audited(result, equity=changed("n_positions", row, lambda value: value + 1))
    assert str(caught_error.value) == (
        f"n_positions does not follow from the fills: first at {DAYS[row]}, "
        f"stated {n + 1}, rebuilt {n}."
    )


@pytest.mark.parametrize("share", ROWS.values(), ids=ROWS)
def test_an_altered_position_is_caught_on_its_bar(share):
    positions = genuine().positions
    row = int(share * (positions.height - 1))
    one = positions.row(row, named=True)
    place = f'first at {one["date"]}, asset "{one["symbol"]}", stated'
    forged = one["position"] * (1.0 + 1e-12)
    assert forged != one["position"]
    assert caught(positions=changed("position", row, lambda _: forged)) == (
        f"position does not follow from the fills: {place} {forged!r}, "
        f"rebuilt {one['position']!r}."
    )
    assert caught(positions=without(row)) == (
        f"position does not follow from the fills: {place} None, "
        f"rebuilt {one['position']!r}."
    )
    value = one["position_value"] + 1e-3
    message = caught(positions=changed("position_value", row, lambda _: value))
    assert message.startswith(
        f"position_value does not follow from the fills: {place} {value!r}, rebuilt "
    )


def test_an_invented_position_is_caught():
    invented = {
        "date": DAYS[2],
        "symbol": "B",
        "position": 1.0,
        "close": 1.0,
        "position_value": 1.0,
    }
    message = caught(
        positions=lambda frame: pl.concat(
            [frame, pl.DataFrame([invented], schema=frame.schema)]
        )
    )
    assert message == (
        f'position does not follow from the fills: first at {DAYS[2]}, asset "B", '
        "stated 1.0, rebuilt None."
    )


def test_rows_that_are_there_twice_are_caught():
    one = genuine().positions.row(30, named=True)
    assert caught(positions=twice(30)) == (
        f"positions has the same row twice: first at {one['date']}, "
        f'asset "{one["symbol"]}".'
    )
    assert caught(equity=twice(30)) == (
        f"equity has the same row twice: first at {DAYS[30]}."
    )


def test_a_fill_outside_of_the_run_is_caught():
    # No bar would count it: neither its cash nor its position.
    stray = DAYS[-1] + dt.timedelta(days=1)
    message = caught(
        fills=lambda frame: pl.concat(
            [frame, frame.tail(1).with_columns(date=pl.lit(stray))]
        )
    )
    assert message == (
        f"fills lie outside of the run: 1 row, first at {stray}, which is no bar of "
        "the equity curve."
    )


def test_a_missing_bar_of_the_curve_is_caught_when_it_had_fills():
    day = genuine().fills["date"][first_fill_of_a_bar(0.5)]
    message = caught(equity=lambda frame: frame.filter(pl.col("date") != day))
    assert re.fullmatch(
        rf"fills lie outside of the run: \d rows?, first at {day}, which is no bar of "
        r"the equity curve\.",
        message,
    )


def test_an_altered_cash_flow_is_caught_on_the_first_bar():
    message = caught(cash_flows=changed("amount", 0, lambda value: value - 1.0))
    assert message == (
        f"cash does not follow from the fills: first at {DAYS[0]}, "
        "stated 100000.0, rebuilt 99999.0."
    )


@functools.cache
def events() -> bl.BacktestResult:
    """Held assets that split, without a bar for some time."""
    return CLEAN["events"]()


def caught_in_events(**forged: Any) -> str:
    with pytest.raises(AuditError) as caught_error:
        audited(events(), **forged)
    return str(caught_error.value)


@pytest.mark.parametrize(
    "kind", ["deposit", "withdrawal", "interest", "borrow_cost", "dividend"]
)
def test_every_kind_of_cash_flow_counts(kind):
    flows = events().cash_flows
    row = int((flows["kind"] == kind).to_numpy().nonzero()[0][-1])
    day = flows["date"][row]
    forged = caught_in_events(cash_flows=changed("amount", row, lambda v: v + 10.0))
    assert f"cash does not follow from the fills: first at {day}," in forged


def test_carry_is_told_from_deposits():
    flows = events().cash_flows
    row = int((flows["kind"] == "withdrawal").to_numpy().nonzero()[0][0])
    day = flows["date"][row]
    message = caught_in_events(cash_flows=changed("kind", row, lambda _: "dividend"))
    assert message.startswith(
        f"carry does not follow from the fills: first at {day}, stated "
    )


@pytest.mark.parametrize("column", ["carry", "deposits"])
@pytest.mark.parametrize("row", [0, 17, N_BARS - 1])
def test_altered_carry_and_deposits_are_caught_on_their_bar(column, row):
    message = caught_in_events(equity=changed(column, row, lambda v: v + 1e-3))
    curve = events().equity
    assert message.startswith(
        f"{column} does not follow from the fills: first at {curve['date'][row]}, "
        f"stated {curve[column][row] + 1e-3!r}, rebuilt "
    )


def split_row() -> tuple[int, dict[str, Any]]:
    """The first split of the log."""
    flows = events().cash_flows
    row = int((flows["kind"] == "split").to_numpy().nonzero()[0][0])
    return row, flows.row(row, named=True)


def test_the_units_of_a_split_count():
    row, split = split_row()
    for forge in (changed("quantity", row, lambda v: v * 1.001), without(row)):
        message = caught_in_events(cash_flows=forge)
        # On a bar with a close the equity is wrong, else the position.
        assert re.match(
            r"(equity|position|n_positions) does not follow from the fills: first at "
            rf"{split['date']}\b",
            message,
        )


def test_the_units_of_a_split_must_fit_its_ratio():
    row, split = split_row()
    message = caught_in_events(
        cash_flows=changed("ratio", row, lambda ratio: ratio * (1 + 1e-6))
    )
    place = f'{split["date"]}, asset "{split["symbol"]}"'
    assert message.startswith(
        f"split does not follow from the fills: first at {place}, "
        f"stated {split['quantity']!r}, rebuilt "
    )


def test_a_split_divides_the_last_known_close():
    # Held over a split without a bar, at a value that does not change.
    df = pl.DataFrame(
        {
            "date": [*DAYS[:2], DAYS[4], *DAYS[:5]],
            "symbol": ["A"] * 3 + ["B"] * 5,
            "open": [10.0, 10.0, 3.0] + [1.0] * 5,
            "close": [10.0, 10.0, 3.0] + [1.0] * 5,
            "weight": [0.5, None, None] + [None] * 5,
        }
    )
    result = bl.run_backtest(
        df,
        "weight",
        initial_cash=1000.0,
        actions=actions((2, "A", "split", 2.0), (3, "A", "split", 2.5)),
    )
    assert result.equity["equity"].to_list() == [1000.0] * 4 + [1250.0]
    assert result.audit().n_cash_flows == 3
    frames = frames_of(result)
    frames["positions"] = changed("position_value", 1, lambda value: 2.0 * value)(
        frames["positions"]
    )
    with pytest.raises(AuditError, match=rf"first at {DAYS[2]}, .*rebuilt 500.0"):
        audit(**frames, time="date", asset="symbol", close="close")


def test_a_fill_before_the_split_of_its_bar_would_be_another_position():
    # The audit puts splits first: fills of their bar are in new units.
    result = run(
        market(),
        actions=actions(*((t, "A", "split", 2.0) for t in range(5, 45, 4))),
        **COSTS,
    )
    splits = result.cash_flows.filter(pl.col("kind") == "split")
    fills = result.fills.filter(pl.col("symbol") == "A")
    assert fills.join(splits, on="date", how="semi").height > 2
    result.audit()


@examples(60)
@given(world=full_worlds())
def test_results_of_every_option_are_clean(world):
    assert world.run().audit().largest_difference < 1e-9


def test_an_altered_close_of_a_held_asset_is_caught_on_its_bar():
    held = genuine().positions.filter(pl.col("date") == DAYS[25]).row(0, named=True)
    here = (pl.col("date") == DAYS[25]) & (pl.col("symbol") == held["symbol"])
    price = pl.when(here).then(pl.col("close") * 1.001).otherwise("close")
    assert genuine().panel.frame.filter(here)["close"].is_not_null().all()
    message = caught(bars=lambda frame: frame.with_columns(close=price))
    assert f"equity does not follow from the fills: first at {DAYS[25]}," in message


def test_of_several_forgeries_the_first_bar_is_named():
    early = int((genuine().positions["date"] <= DAYS[8]).sum()) - 1
    day = genuine().positions["date"][early]
    assert DAYS[3] < day < DAYS[30]
    message = caught(
        positions=changed("position", early, lambda value: value + 1.0),
        equity=changed("cash", 30, lambda value: value + 1.0),
    )
    assert f"position does not follow from the fills: first at {day}," in message
    message = caught(
        positions=changed("position", early, lambda value: value + 1.0),
        equity=changed("equity", 3, lambda value: value + 1.0),
    )
    assert f"equity does not follow from the fills: first at {DAYS[3]}," in message


@pytest.mark.parametrize(("factor", "is_caught"), [(0.5, False), (2.0, True)])
def test_money_may_differ_by_the_tolerance(factor, is_caught):
    curve = genuine().equity
    scale = max(curve["equity"][:11].max(), curve["cash"][:11].max())
    step = factor * TOLERANCE * scale
    forged = {"equity": changed("equity", 10, lambda value: value + step)}
    if is_caught:
        assert f"first at {DAYS[10]}," in caught(**forged)
    else:
        report = audited(**forged)
        assert report.largest_difference == pytest.approx(factor * TOLERANCE, rel=1e-3)


def test_rows_of_the_frames_may_be_in_any_order_but_for_fills_of_a_bar():
    def shuffled(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.sample(fraction=1.0, shuffle=True, seed=5)

    report = audited(
        bars=shuffled, equity=shuffled, positions=shuffled, cash_flows=shuffled
    )
    assert report.n_bars == N_BARS


def test_nanoseconds_are_told_apart():
    # Python datetimes end at microseconds: the last bars would be cut off.
    df = market().with_columns(
        pl.col("date").to_physical().cast(pl.Int64).cast(pl.Datetime("ns"))
    )
    result = run(df, bars_per_year=252, **COSTS)
    assert result.audit().n_bars == N_BARS
    frames = frames_of(result)
    frames["equity"] = changed("equity", N_BARS - 1, lambda value: value + 1.0)(
        frames["equity"]
    )
    with pytest.raises(AuditError, match="equity does not follow"):
        audit(**frames, time="date", asset="symbol", close="close")


@pytest.mark.parametrize("field", [BarField.EQUITY, BarField.CASH])
def test_a_result_whose_arrays_were_changed_does_not_pass_its_audit(field):
    result = run(market(), **COSTS)
    result._record.bars[field, 33] += 1.0
    with pytest.raises(AuditError, match=rf"first at {DAYS[33]}, stated"):
        result.audit()


def test_a_result_that_lost_a_fill_does_not_pass_its_audit():
    result = run(market(), **COSTS)
    day = result.fills["date"][20]
    other = run(market(), **COSTS)
    other._record.journal_values[0, 20] *= 1.01
    with pytest.raises(AuditError, match=f"cash does not follow.*first at {day}, "):
        other.audit()
