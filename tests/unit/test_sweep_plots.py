"""Charts of a sweep: what they show, and that they can be drawn offline."""

from __future__ import annotations

import builtins
import io
import re
import struct

import altair as alt
import numpy as np
import polars as pl
import pytest
import vl_convert

from barloop.errors import ConfigError
from barloop.neighbours import marginal_effects
from barloop.plot_axes import Places, ticks_of
from barloop.search import Uniform, latin_hypercube, random_search
from barloop.sets import SetList
from barloop.sweep_plots import MAX_LINES, heatmap, marginal, parallel


def frame_of(grid, values=None, *, missing=()) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The table that the charts get, and the names of its parameters."""
    sets = SetList.of(grid)
    if values is None:
        values = np.random.default_rng(0).normal(0.3, 0.5, len(sets))
    values = np.array(values, dtype=float)
    values[list(missing)] = np.nan
    frame = pl.DataFrame({"set": range(len(sets))}).hstack(sets.columns())
    return frame.with_columns(sharpe=pl.Series(values).fill_nan(None)), sets.names


def hill() -> tuple[pl.DataFrame, tuple[str, ...]]:
    """50 lookbacks x 20 n, best near (120, 25), twelve sets without a value."""
    frame, names = frame_of({"lookback": range(10, 260, 5), "n": range(5, 105, 5)})
    a, b = frame["lookback"].to_numpy(), frame["n"].to_numpy()
    values = 1.5 * np.exp(-(((a - 120) / 60) ** 2) - ((b - 25) / 15) ** 2)
    values += np.random.default_rng(1).normal(0, 0.1, values.size)
    values[[17, 33, *range(400, 410)]] = np.nan
    return frame.with_columns(sharpe=pl.Series(values).fill_nan(None)), names


def mixed(n_sets: int) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """A search over numbers, a logarithmic one, text, flags and None."""
    space = {
        "lookback": (10, 250),
        "commission.bps": Uniform(0.5, 100, log=True),
        "schedule": ["month_end", "week_end"],
        "exits.stop_loss": [None, 0.05, 0.1],
        "flag": [True, False],
    }
    return frame_of(latin_hypercube(space, n_sets, seed=1), missing=[3, 4])


def png(chart) -> tuple[int, int, int]:
    """Draw a chart: width and height in pixels, and bytes."""
    file = io.BytesIO()
    chart.save(file, format="png")
    data = file.getvalue()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data[-12:] == b"\x00\x00\x00\x00IEND\xaeB`\x82"
    width, height = struct.unpack(">II", data[16:24])
    return width, height, len(data)


def svg(chart) -> str:
    return vl_convert.vegalite_to_svg(chart.to_json())


def texts(chart) -> list[str]:
    """All texts that are drawn."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg(chart))


def datasets(chart) -> list[int]:
    return [len(rows) for rows in chart.to_dict()["datasets"].values()]


def title(chart) -> list[str]:
    told = chart.to_dict()["title"]
    return [told["text"], *told["subtitle"]]


@pytest.mark.parametrize("minimize", [False, True])
def test_heatmap_of_a_large_grid(minimize):
    frame, names = hill()
    chart = heatmap(frame, names, metric="sharpe", minimize=minimize)
    width, height, n_bytes = png(chart)
    assert 600 < width < 1_400
    assert 300 < height < 900
    assert n_bytes > 10_000
    ordered = frame.sort("sharpe", descending=not minimize, nulls_last=True)
    best = ordered.row(0, named=True)
    assert title(chart) == [
        "sharpe over lookback and n",
        f"ring: the best, {best['sharpe']:.4g}, at lookback={best['lookback']}, "
        f"n={best['n']}, set {best['set']}",
        "12 sets without a value; crosses: no set has one",
    ]
    said = texts(chart)
    for text in ("lookback", "n", "sharpe (annual ratio)", "10", "100"):
        assert text in said
    assert said.count("\N{MULTIPLICATION SIGN}") == 12
    marks = svg(chart).count('aria-roledescription="rect mark"')
    assert marks == 1_000


def test_colours_tell_signs_apart():
    frame, names = frame_of({"a": [1, 2], "b": [1, 2]}, [-0.5, 1.0, 2.0, 0.0])
    scale = heatmap(frame, names, metric="sharpe").to_dict()["layer"][2]["encoding"]
    assert scale["color"]["scale"]["scheme"] == "blueorange"
    assert scale["color"]["scale"]["domain"] == [-2.0, 2.0]
    frame, names = frame_of({"a": [1, 2], "b": [1, 2]}, [0.5, 1.0, 2.0, 0.7])
    for minimize in (False, True):
        chart = heatmap(frame, names, metric="sharpe", minimize=minimize)
        scale = chart.to_dict()["layer"][2]["encoding"]["color"]["scale"]
        assert scale == {
            "scheme": "viridis",
            "domain": [0.5, 2.0],
            "reverse": minimize,
        }


def values_of(chart) -> dict[tuple[str, str], float]:
    """The cells that have a value."""
    spec = chart.to_dict()
    rows = spec["datasets"][spec["layer"][2]["data"]["name"]]
    return {(row["x"], row["y"]): row["value"] for row in rows}


@pytest.mark.parametrize(
    ("others", "expected"),
    [("mean", 3.0), ("median", 2.0), ("max", 6.0), ("min", 1.0)],
)
def test_other_parameters_are_aggregated_as_stated(others, expected):
    values = [1.0, 2.0, 6.0, 9.0, 9.0, 9.0]
    grid = {"a": [1, 2], "b": [5], "rest": ["x", "y", "z"]}
    frame, names = frame_of(grid, values)
    chart = heatmap(frame, names, x="a", y="b", metric="sharpe", others=others)
    assert values_of(chart)[("1", "5")] == expected
    assert f"{others} of the sets of a cell over rest" in title(chart)
    png(chart)


def test_fixed_parameters_choose_sets():
    grid = {"a": [1, 2], "b": [5, 6], "rest": ["x", "y"], "stop": [None, 0.1]}
    frame, names = frame_of(grid, np.arange(16.0))
    chart = heatmap(
        frame, names, x="a", y="b", metric="sharpe", fixed={"rest": "y", "stop": 0.1}
    )
    # Of each cell the last of four sets: numbers 3, 7, 11 and 15.
    assert sorted(values_of(chart).values()) == [3.0, 7.0, 11.0, 15.0]
    assert "only rest=y, stop=0.1" in title(chart)
    assert "set 15" in title(chart)[1]
    none = heatmap(
        frame, names, x="a", y="b", metric="sharpe", fixed={"rest": "y", "stop": None}
    )
    assert sorted(values_of(none).values()) == [2.0, 6.0, 10.0, 14.0]
    for value in ("q", 3):
        with pytest.raises(ConfigError, match=r"no set has rest=.*\n.*one of x, y"):
            heatmap(frame, names, x="a", y="b", metric="sharpe", fixed={"rest": value})
    with pytest.raises(ConfigError, match="'a' is an axis of the heatmap"):
        heatmap(frame, names, x="a", y="b", metric="sharpe", fixed={"a": 1})
    with pytest.raises(ConfigError, match=r"'rst' is no parameter.*'rest'"):
        heatmap(frame, names, x="a", y="b", metric="sharpe", fixed={"rst": 1})


def test_axes_are_found_where_two_parameters_vary():
    frame, names = frame_of({"a": [1, 2], "constant": [7], "b": [5, 6]})
    assert title(heatmap(frame, names, metric="sharpe"))[0] == "sharpe over a and b"
    swapped = heatmap(frame, names, x="b", metric="sharpe")
    assert title(swapped)[0] == "sharpe over b and a"
    with pytest.raises(ConfigError, match="x and y are both 'a'"):
        heatmap(frame, names, x="a", y="a", metric="sharpe")
    with pytest.raises(ConfigError, match="'lookbak' is no parameter"):
        heatmap(frame, names, x="lookbak", metric="sharpe")
    three, names = frame_of({"a": [1, 2], "b": [5, 6], "c": [1, 2]})
    with pytest.raises(ConfigError, match="there are 3 to choose 2 from: a, b, c"):
        heatmap(three, names, metric="sharpe")
    one, names = frame_of({"a": [1, 2]})
    with pytest.raises(ConfigError, match="there are 1 to choose 2 from"):
        heatmap(one, names, metric="sharpe")
    with pytest.raises(ConfigError, match="others"):
        heatmap(three, names, x="a", y="b", metric="sharpe", others="best")


def test_heatmap_of_a_search_puts_numbers_into_bins():
    frame, names = mixed(2_000)
    chart = heatmap(frame, names, x="lookback", y="commission.bps", metric="sharpe")
    assert max(datasets(chart)) <= 900
    assert any(re.match(r"lookback in \d+ bins, labelled", one) for one in title(chart))
    assert "commission.bps (basis points)" in texts(chart)
    assert " from " in title(chart)[1]
    png(chart)


def test_heatmap_of_text_flags_and_none():
    frame, names = mixed(200)
    chart = heatmap(frame, names, x="schedule", y="exits.stop_loss", metric="sharpe")
    said = texts(chart)
    for text in ("month_end", "week_end", "None", "0.05", "exits.stop_loss (fraction)"):
        assert text in said
    png(chart)
    png(heatmap(frame, names, x="flag", y="lookback", metric="sharpe"))


def test_heatmap_without_a_single_value():
    frame, names = frame_of({"a": [1, 2], "b": [5, 6]}, missing=range(4))
    chart = heatmap(frame, names, metric="sharpe")
    assert title(chart)[1:] == ["4 sets without a value; crosses: no set has one"]
    png(chart)


def test_too_many_texts_for_an_axis():
    frame, names = frame_of({"a": [f"rule {k}" for k in range(61)], "b": [1, 2]})
    with pytest.raises(ConfigError, match="'a' has 61 values, a heatmap shows at most"):
        heatmap(frame, names, metric="sharpe")


def test_units_are_the_users():
    frame, names = frame_of({"lookback": [1, 2], "limits.min_cash": [5, 6]})
    chart = heatmap(frame, names, metric="sharpe", units={"lookback": "trading days"})
    assert "lookback (trading days)" in texts(chart)
    assert "limits.min_cash (currency)" in texts(chart)


def test_parallel_coordinates_of_a_search():
    frame, names = mixed(300)
    chart = parallel(frame, names, metric="sharpe", units={"lookback": "bars"})
    width, height, n_bytes = png(chart)
    assert width > 800
    assert height > 300
    assert n_bytes > 20_000
    said = texts(chart)
    for text in (
        "lookback (bars)",
        "commission.bps (basis points)",
        "month_end",
        "None",
        "sharpe (annual ratio)",
        "True",
        "10",
    ):
        assert text in said
    best = frame["sharpe"].max()
    assert title(chart) == [
        "sharpe of 298 sets",
        f"black: the best, {best:.4g}, set {frame['sharpe'].arg_max()}",
        "2 sets without a value left out",
    ]


@pytest.mark.parametrize("minimize", [False, True])
def test_parallel_thins_and_keeps_both_ends(minimize):
    frame, names = frame_of(
        random_search({"a": (0.0, 1.0), "b": (1, 9)}, 7_000, seed=1)
    )
    chart = parallel(frame, names, metric="sharpe", minimize=minimize)
    spec = chart.to_dict()
    rows = spec["datasets"][spec["layer"][0]["data"]["name"]]
    assert len(rows) <= MAX_LINES
    assert max(datasets(chart)) <= MAX_LINES
    drawn = [row["value"] for row in rows]
    ordered = sorted(frame["sharpe"], reverse=minimize)  # the best last
    assert drawn[:500] == ordered[:500]
    assert drawn[-500:] == ordered[-500:]
    assert drawn == sorted(drawn, reverse=minimize)
    assert title(chart)[0] == f"sharpe: {len(rows):,} of 7,000 sets"
    assert title(chart)[2] == (
        "drawn: the best 500, the worst 500, one in 6 of the others"
    )


def test_parallel_needs_a_value():
    frame, names = frame_of({"a": [1, 2]}, missing=[0, 1])
    with pytest.raises(ConfigError, match="no set has a 'sharpe'"):
        parallel(frame, names, metric="sharpe")


def test_parallel_of_equal_values_and_one_set():
    for grid in ({"a": [1, 2, 3]}, {"a": [1]}):
        frame, names = frame_of(grid)
        chart = parallel(frame.with_columns(sharpe=1.0), names, metric="sharpe")
        png(chart)


def effects_of(frame: pl.DataFrame, names) -> pl.DataFrame:
    values = frame["sharpe"].fill_null(np.nan).to_numpy()
    return marginal_effects(frame.select(names), values)


def test_marginal_effects_of_a_search():
    frame, names = mixed(600)
    chart = marginal(effects_of(frame, names), metric="sharpe")
    width, height, n_bytes = png(chart)
    assert width > 600
    assert height > 600  # five panels in three rows
    assert n_bytes > 10_000
    said = texts(chart)
    assert sum("of the variance" in text for text in said) == 5
    for text in ("lookback", "commission.bps (basis points)", "week_end", "None"):
        assert text in said
    assert max(datasets(chart)) <= 240


def test_marginal_effects_of_many_values_are_thinned():
    frame, names = frame_of({"a": range(6_000), "b": [1, 2]})
    chart = marginal(effects_of(frame, names), metric="sharpe")
    assert max(datasets(chart)) <= 1_000
    png(chart)


def test_marginal_needs_two_values():
    frame, names = frame_of({"a": [1], "b": [2]})
    with pytest.raises(ConfigError, match="no parameter has two values"):
        marginal(effects_of(frame, names), metric="sharpe")


def test_marginal_of_equal_values():
    frame, names = frame_of({"a": [1, 2]}, [1.0, 1.0])
    chart = marginal(effects_of(frame, names), metric="sharpe")
    assert "a: no variance" in texts(chart)
    png(chart)


def test_charts_fetch_nothing():
    frame, names = frame_of({"a": [1, 2], "b": [5, 6]})
    for chart in (
        heatmap(frame, names, metric="sharpe"),
        parallel(frame, names, metric="sharpe"),
        marginal(effects_of(frame, names), metric="sharpe"),
    ):
        spec = chart.to_dict()
        assert not re.search(r'"url"\s*:', chart.to_json())
        assert set(re.findall(r"https?://\S+?(?=\")", chart.to_json())) == {
            spec["$schema"]
        }
        page = chart.to_html(inline=True)
        assert not re.search(r"<(script|link)[^>]+(src|href)=", page)


def test_rows_stay_below_the_limit_of_altair():
    """Above 5,000 rows altair raises MaxRowsError; nothing here gets near it."""
    assert alt.data_transformers.active == "default"
    frame, names = frame_of({"a": range(300), "b": range(100), "c": ["x", "y"]})
    png(heatmap(frame, names, x="a", y="b", metric="sharpe"))
    assert max(datasets(heatmap(frame, names, x="a", y="b", metric="sharpe"))) <= 3_600
    assert max(datasets(parallel(frame, names, metric="sharpe"))) <= 2_000
    assert max(datasets(marginal(effects_of(frame, names), metric="sharpe"))) <= 1_000


def test_missing_package_names_the_extra(monkeypatch):
    frame, names = frame_of({"a": [1, 2], "b": [5, 6]})
    real = builtins.__import__
    for package in ("altair", "vl_convert"):

        def refuse(name, *args, package=package, **kwargs):
            if name == package:
                raise ImportError(name=package)
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", refuse)
        with pytest.raises(ConfigError, match=rf"{package}.*\n.*barloop\[plot\]"):
            heatmap(frame, names, metric="sharpe")
        monkeypatch.setattr(builtins, "__import__", real)


def test_frame_of_the_user_stays():
    frame, names = hill()
    before = frame.clone()
    heatmap(frame, names, metric="sharpe")
    parallel(frame, names, metric="sharpe")
    assert frame.equals(before)


def test_ticks_of_numbers_text_and_none():
    # Up to 12 values are evenly spaced.
    few = ticks_of(pl.Series("n", [5, 10, 50]))
    assert few.position.tolist() == [0.0, 0.5, 1.0]
    assert few.ticks == [(0.0, "5"), (0.5, "10"), (1.0, "50")]
    text = ticks_of(pl.Series("rule", ["b", "a", None]))
    assert text.position.tolist() == [1.0, 0.0, -0.1]
    assert text.ticks == [(0.0, "a"), (1.0, "b"), (-0.1, "None")]
    # But not of a measure.
    scaled = ticks_of(pl.Series("sharpe", [5.0, 10.0, 15.0, 25.0]), to_scale=True)
    assert scaled.position.tolist() == [0.0, 0.25, 0.5, 1.0]
    assert ticks_of(pl.Series("sharpe", [2.0]), to_scale=True).ticks == [(0.0, "2")]
    # More are to scale, with the ends and round numbers.
    many = ticks_of(pl.Series("x", range(101)))
    assert many.position[25] == 0.25
    assert [label for _, label in many.ticks] == ["0", "20", "40", "60", "80", "100"]
    # Two decades and more are logarithmic.
    log = ticks_of(pl.Series("bps", np.geomspace(1, 1_000, 31)))
    np.testing.assert_allclose(log.position, np.linspace(0, 1, 31), atol=1e-12)
    assert [label for _, label in log.ticks] == ["1", "10", "100", "1000"]


def test_places_have_different_labels():
    frame = pl.DataFrame({"x": [0.123451, 0.123452], "y": [1, 2]})
    across, up = Places.binned(frame, "x", "y")
    assert across.labels == ["0.1235", "0.1235 (2)"]
    assert up.labels == ["1", "2"]
    assert across.place.tolist() == [0, 1]
