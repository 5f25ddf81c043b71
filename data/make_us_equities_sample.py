"""Rebuild ``us_equities_sample.parquet`` from the installed ``bokeh_sampledata``.

Run ``pip install --no-deps bokeh_sampledata==2026.1`` first.  The package is located
and its file is read, but it is not imported, so its own dependencies are not needed.
The source file must have the SHA-256 that its licence manifest states.  The digest of
the content depends on the values alone; the bytes of the Parquet file, and so its own
hash, may also differ between versions of polars.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from pathlib import Path

import polars as pl

SOURCE_SHA256 = "5abadf99b2d394f920120a27de6f0df129859d71d4cfb0bf661bcc99446ab1fd"
TARGET = Path(__file__).with_name("us_equities_sample.parquet")
COLUMNS = {
    "Date": "date",
    "Ticker": "symbol",
    "Open": "open",
    "High": "high",
    "Low": "low",
    "Close": "close",
    "Volume": "volume",
    "Adj Close": "adj_close",
}
DTYPES = {
    "Ticker": pl.String,
    "Date": pl.Date,
    "Open": pl.Float64,
    "High": pl.Float64,
    "Low": pl.Float64,
    "Close": pl.Float64,
    "Volume": pl.Int64,
    "Adj Close": pl.Float64,
}


def source_bytes() -> bytes:
    """Return the compressed CSV file of the installed package, checked."""
    spec = importlib.util.find_spec("bokeh_sampledata")
    if spec is None or not spec.submodule_search_locations:
        msg = (
            "the package bokeh_sampledata is not installed.\n"
            "Hint: pip install --no-deps bokeh_sampledata==2026.1"
        )
        raise SystemExit(msg)
    root = Path(spec.submodule_search_locations[0])
    content = (root / "_data" / "stocks.csv.gz").read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SOURCE_SHA256:
        msg = (
            f"stocks.csv.gz has the sha256 {found}, expected {SOURCE_SHA256}.\n"
            "Hint: install bokeh_sampledata==2026.1, or review the new file and its "
            "licence before changing the expected hash."
        )
        raise SystemExit(msg)
    return content


def make_frame(content: bytes) -> pl.DataFrame:
    """Return the sample, one row per date and symbol, sorted by both."""
    raw = pl.read_csv(gzip.decompress(content), schema=DTYPES)
    return raw.select(pl.col(old).alias(new) for old, new in COLUMNS.items()).sort(
        "date", "symbol"
    )


def content_sha256(frame: pl.DataFrame) -> str:
    """Return a digest of the values, column by column, little-endian."""
    digest = hashlib.sha256()
    digest.update(frame["date"].to_physical().to_numpy().astype("<i4").tobytes())
    digest.update("\n".join(frame["symbol"]).encode())
    for name in ("open", "high", "low", "close", "adj_close"):
        digest.update(frame[name].to_numpy().astype("<f8").tobytes())
    digest.update(frame["volume"].to_numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def main() -> None:
    """Write the Parquet file beside this script and print the hashes."""
    content = source_bytes()
    frame = make_frame(content)
    frame.write_parquet(TARGET, compression="zstd", compression_level=19)
    written = TARGET.read_bytes()
    print(f"source   sha256 {hashlib.sha256(content).hexdigest()}")
    print(f"content  sha256 {content_sha256(frame)}")
    print(f"parquet  sha256 {hashlib.sha256(written).hexdigest()}")
    print(f"{frame.height} rows, {len(written)} bytes, polars {pl.__version__}")


if __name__ == "__main__":
    main()
