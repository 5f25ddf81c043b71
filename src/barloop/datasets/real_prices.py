"""Daily prices of five US stocks, what their companies did, and adjusted prices."""

from __future__ import annotations

from pathlib import Path

import polars as pl

_SAMPLE = "us_equities_sample.parquet"
_SAMPLE_FOLDERS = (
    Path(__file__).parents[1] / "_data",  # in a wheel
    Path(__file__).parents[3] / "data",  # in a checkout
)

_SPLIT_STEP = 1.5
"""Steps of the factor from here on are splits: the largest dividend is one of 1.11."""
_NO_STEP = 1e-6
"""Below are roundings of ``adj_close``, some 1e-13; dividends are above 1e-3."""
_DIVIDEND_DECIMALS = 4


def us_equities() -> pl.DataFrame:
    """Load daily bars of five US stocks, 2000-03-01 to 2013-03-01.

    Returns
    -------
    DataFrame with ``date``, ``symbol``, ``open``, ``high``, ``low``, ``close``, \
``volume``, ``adj_close``
        12,154 rows sorted by ``date`` and ``symbol``, no nulls.  Prices in USD as
        traded, ``volume`` in shares as traded (Int64), ``adj_close`` adjusted for
        splits and dividends, those after the sample included.

    See Also
    --------
    us_equities_actions : The splits and dividends, for ``run_backtest(actions=...)``.
    adjusted : Prices without them.

    Raises
    ------
    FileNotFoundError
        When the file is neither beside the package nor in the checkout.

    Notes
    -----
    AAPL, IBM and MSFT run through all of the sample; GOOG is listed on 2004-08-19 and
    FB on 2012-05-18.  Prices are raw: three splits of two for one show up as halved
    prices (AAPL on 2000-06-21 and 2005-02-28, MSFT on 2003-02-18).  Trade raw prices
    with `us_equities_actions`, or adjusted ones without.

    The five names are known to have survived: results on them say nothing about a
    strategy.  Origin: Quandl WIKI, public domain; ``data/README.md`` has the details.

    Examples
    --------
    >>> from barloop.datasets import us_equities
    >>> us_equities().shape
    (12154, 8)
    """
    for folder in _SAMPLE_FOLDERS:
        if (folder / _SAMPLE).is_file():
            return pl.read_parquet(folder / _SAMPLE)
    places = " or ".join(str(folder) for folder in _SAMPLE_FOLDERS)
    msg = (
        f"{_SAMPLE} is not in {places}.\n"
        "Hint: reinstall barloop, or rebuild the file with "
        "data/make_us_equities_sample.py in a checkout."
    )
    raise FileNotFoundError(msg)


def adjusted(bars: pl.DataFrame) -> pl.DataFrame:
    """Scale raw prices by ``adj_close / close``, so that splits and dividends vanish.

    Parameters
    ----------
    bars : DataFrame with ``close``, ``adj_close``
        And any of ``open``, ``high``, ``low``, ``volume``.

    Returns
    -------
    DataFrame
        Without ``adj_close``: prices times the factor, volume divided by it, so that
        price times volume stays; null and NaN stay null and NaN.
    """
    factor = pl.col("adj_close") / pl.col("close")
    prices = [name for name in ("open", "high", "low") if name in bars.columns]
    volume = [name for name in ("volume",) if name in bars.columns]
    return bars.with_columns(
        *(pl.col(name) * factor for name in prices),
        *(pl.col(name) / factor for name in volume),
        pl.col("adj_close").alias("close"),
    ).drop("adj_close")


def us_equities_actions() -> pl.DataFrame:
    """Derive the splits and cash dividends of `us_equities` from its adjusted closes.

    Returns
    -------
    DataFrame with ``date``, ``symbol``, ``kind``, ``value``
        95 rows sorted by ``date`` and ``symbol``, dated by ex-date: 3 of kind
        ``"split"`` (new shares for one old) and 92 of kind ``"dividend"`` (USD per
        share as traded on that date: 52 of IBM, 37 of MSFT, 3 of AAPL).  Accepted as
        ``run_backtest(us_equities(), ..., actions=us_equities_actions())``.

    Notes
    -----
    The factor ``f = adj_close / close`` moves on ex-dates only.  The source follows the
    convention of CRSP, in which a dividend buys shares at the close of its ex-date::

        f[t] / f[t - 1] = ratio * (1 + amount / close[t])

    A step of at least 1.5 is a split of the nearest whole ratio; no date of the sample
    has both.  Every other step gives ``amount = (step - 1) * close[t]``, rounded to
    four decimals.  ``adj_close`` is stored with 14 digits, so the 92 amounts are whole
    cents before rounding already, the worst within 1e-11 USD.  One is two payments:
    3.08 of MSFT on 2004-11-15 is a special dividend of 3.00 and the quarterly 0.08.

    *Raw prices with actions* give the equity of *adjusted prices without* (see
    `adjusted`) where both do the same: at fractional quantities, without costs, with
    ``fill="same_close"``, and when the cash of a dividend buys its own asset at the
    close of the ex-date, as a decision on each bar does.  They then agree within 1e-11
    of equity.  Otherwise cash waits for the next rebalance, and the two differ by what
    the asset earns in between: less than 0.5 % in 13 years of monthly rebalancing.
    Fills at the open of an ex-date differ too, because an adjusted open carries
    ``amount * open / close``, and what counts shares (whole quantities, costs per
    share, volume) belongs to raw prices only.

    Examples
    --------
    >>> from barloop.datasets import us_equities_actions
    >>> us_equities_actions().filter(kind="split").rows()[-1]
    (datetime.date(2005, 2, 28), 'AAPL', 'split', 2.0)
    """
    factor = pl.col("adj_close") / pl.col("close")
    step = pl.col("step")
    is_split = step >= _SPLIT_STEP
    amount = ((step - 1.0) * pl.col("close")).round(_DIVIDEND_DECIMALS)
    return (
        us_equities()
        .with_columns(step=factor / factor.shift(1).over("symbol", order_by="date"))
        .filter((step - 1.0).abs() > _NO_STEP)
        .select(
            "date",
            "symbol",
            kind=pl.when(is_split).then(pl.lit("split")).otherwise(pl.lit("dividend")),
            value=pl.when(is_split).then(step.round()).otherwise(amount),
        )
    )
