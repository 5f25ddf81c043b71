"""Charts of a sweep: heatmap, parallel coordinates, marginal effects.

They need the extra ``plot`` (``pip install 'barloop[plot]'``), and nothing from the
network: ``chart.save("file.png")`` and ``chart.save("file.html", inline=True)`` work
offline, and so does a notebook after ``altair.renderers.enable("png")``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from barloop.checks import require_choice
from barloop.errors import ConfigError, suggestion
from barloop.plot_axes import Places, ticks_of
from barloop.typing import FloatVector

if TYPE_CHECKING:
    import altair

METRIC_UNITS = {
    "total_return": "fraction",
    "cagr": "fraction per year",
    "volatility": "fraction, annual",
    "sharpe": "annual ratio",
    "sortino": "annual ratio",
    "calmar": "ratio per year",
    "max_drawdown": "fraction",
    "max_drawdown_duration": "bars",
    "value_at_risk": "fraction per bar",
    "conditional_value_at_risk": "fraction per bar",
    "hit_rate": "fraction of bars",
    "best_return": "fraction per bar",
    "worst_return": "fraction per bar",
    "turnover": "times per year",
    "mean_leverage": "times equity",
    "time_in_market": "fraction of bars",
    "total_commission": "currency",
    "total_slippage": "currency",
    "total_carry": "currency",
    "total_deposits": "currency",
    "final_equity": "currency",
}
"""Units of the measures, for the labels of axes."""

PARAMETER_UNITS = {
    "bps": "basis points",
    "bars": "bars",
    "bars_held": "bars",
    "cash": "currency",
    "loss": "fraction",
    "profit": "fraction",
    "stop": "fraction",
    "rate": "per year",
    "free": "per year",
}
"""Units of parameters, by how their names end."""

MAX_LINES = 2_000
"""Sets that a chart of parallel coordinates draws, at most."""

_AGGREGATES = ("mean", "median", "max", "min")
_GREY = "#c8c8c8"
_INK = "#222222"
_LINES = ["#1f5fa8", "#a9adb0", "#b85400"]
"""Blue, grey, orange."""


def heatmap(
    frame: pl.DataFrame,
    parameter_names: Sequence[str],
    *,
    x: str | None = None,
    y: str | None = None,
    metric: str,
    others: str = "mean",
    fixed: Mapping[str, Any] | None = None,
    minimize: bool = False,
    units: Mapping[str, str] | None = None,
) -> altair.LayerChart:
    """Draw a measure over two parameters; see `SweepResult.heatmap`.

    Parameters
    ----------
    frame : DataFrame
        One row per set: ``set``, the parameters, the measure (null if there is none).
    parameter_names : sequence of str
        Which columns are parameters.
    x, y : str, optional
        Two of them; those that vary, if two do.
    metric : str
        The measure.
    others : {"mean", "median", "max", "min"}, default "mean"
        What a cell shows of several sets.
    fixed : mapping of str to value, optional
        Show only sets with these values of other parameters, as they are in `frame`.
    minimize : bool, default False
        Whether small is good; decides which cell is marked as the best.
    units : mapping of str to str, optional
        Units of parameters.

    Returns
    -------
    altair.LayerChart
        One cell per pair of values, the best with a ring, a cross where all sets failed
        or have no value, blank where there is no set.  Blue to orange with 0 in the
        middle if the measure has both signs, else dark blue to yellow, yellow being
        good.

    Raises
    ------
    ConfigError
        If there is no such parameter or no set with the fixed values.

    Notes
    -----
    Values are evenly spaced, whatever they are.  Numbers with more than 60 values, or
    with few sets per pair of values, are put into bins of about as many sets each, and
    labelled by the least value of the bin; the subtitle says so.
    """
    alt = _altair()
    require_choice("others", others, _AGGREGATES)
    x, y = _two_parameters(frame, parameter_names, x, y)
    shown, told = _with_fixed(frame, parameter_names, (x, y), fixed)
    across, up = Places.binned(shown, x, y)
    cells = (
        pl.DataFrame(
            {
                "at_x": across.place,
                "at_y": up.place,
                "value": shown[metric],
                "set": shown["set"],
            }
        )
        .group_by("at_x", "at_y", maintain_order=True)
        .agg(
            value=getattr(pl.col("value"), others)(),
            sets=pl.len(),
            missing=pl.col("value").null_count(),
            first_set=pl.col("set").first(),
        )
        .with_columns(
            x=pl.col("at_x").replace_strict(dict(enumerate(across.labels))),
            y=pl.col("at_y").replace_strict(dict(enumerate(up.labels))),
        )
    )
    known = cells.filter(pl.col("value").is_not_null())
    told += [
        f"{name} in {places.n_bins} bins, labelled by their least values"
        for name, places in ((x, across), (y, up))
        if places.n_bins
    ]
    title = _label(metric, METRIC_UNITS.get(metric))
    width = _length(len(across.labels), 13, 260, 680)
    aggregated = cells["sets"].max() != 1
    if aggregated:
        left_out = [
            name
            for name in parameter_names
            if name not in (x, y, *(fixed or {})) and shown[name].n_unique() > 1
        ]
        over = f" over {', '.join(left_out)}" if left_out else ""
        told = [f"{others} of the sets of a cell{over}", *told]
    encoding = {
        "x": _across(alt, across.labels, _parameter_label(x, units), width),
        "y": _upward(alt, up.labels, _parameter_label(y, units)),
        "tooltip": [
            alt.Tooltip("x:N", title=x),
            alt.Tooltip("y:N", title=y),
            alt.Tooltip("value:Q", title=metric, format=".4~g"),
            alt.Tooltip("sets:Q"),
            alt.Tooltip("missing:Q", title="without a value"),
            alt.Tooltip("first_set:Q", title="first set"),
        ],
    }
    unknown = alt.Chart(cells.filter(pl.col("value").is_null()))
    layers = [
        unknown.mark_rect(color=_GREY).encode(**encoding),
        unknown.mark_text(text="\N{MULTIPLICATION SIGN}", color=_INK).encode(
            x=encoding["x"], y=encoding["y"]
        ),
        alt.Chart(known)
        .mark_rect()
        .encode(
            color=alt.Color(
                "value:Q",
                title=title,
                scale=_scale(alt, known["value"].to_numpy(), minimize=minimize),
                legend=alt.Legend(format=".3~g"),
            ),
            **encoding,
        ),
    ]
    if known.height:
        best = known.sort("value", descending=not minimize, maintain_order=True).head(1)
        row = best.row(0, named=True)
        which = "" if aggregated else f", set {row['first_set']:,}"
        told = [
            f"ring: the best, {row['value']:.4g}, at {x}{across.equals}{row['x']}, "
            f"{y}{up.equals}{row['y']}{which}",
            *told,
        ]
        for colour, stroke in (("white", 4.0), (_INK, 1.75)):
            layers.append(
                alt.Chart(best)
                .mark_point(
                    shape="circle",
                    size=110,
                    filled=False,
                    stroke=colour,
                    strokeWidth=stroke,
                    opacity=1,
                )
                .encode(x=encoding["x"], y=encoding["y"])
            )
    n_missing = int(cells["missing"].sum())
    if n_missing:
        told.append(f"{_sets(n_missing)} without a value; crosses: no set has one")
    chart: altair.LayerChart = alt.layer(*layers).properties(
        title=_title(alt, f"{metric} over {x} and {y}", told),
        width=width,
        height=_length(len(up.labels), 15, 180, 560),
    )
    return chart


def parallel(
    frame: pl.DataFrame,
    parameter_names: Sequence[str],
    *,
    metric: str,
    minimize: bool = False,
    units: Mapping[str, str] | None = None,
) -> altair.LayerChart:
    """Draw each set as a line across its parameters; see `SweepResult.parallel`.

    Parameters
    ----------
    frame : DataFrame
        One row per set: ``set``, the parameters, the measure (null if there is none).
    parameter_names : sequence of str
        Which columns are parameters; those with one value are left out.
    metric : str
        The measure: the colour, and the last axis.
    minimize : bool, default False
        Whether small is good; the good ones are drawn last, on top.
    units : mapping of str to str, optional
        Units of parameters.

    Returns
    -------
    altair.LayerChart
        The best set is the black line; the best twentieth is drawn stronger.  Of more
        than 2,000 sets, the best 500, the worst 500 and an even choice of the others
        are drawn, and the title says so.

    Raises
    ------
    ConfigError
        If no set has a value.
    """
    alt = _altair()
    known = frame.filter(pl.col(metric).is_not_null())
    if not known.height:
        msg = f"no set has a {metric!r}, so there is nothing to draw."
        raise ConfigError(msg)
    known = known.sort(metric, descending=minimize, maintain_order=True)
    told = [f"black: the best, {known[metric][-1]:.4g}, set {known['set'][-1]:,}"]
    n_missing = frame.height - known.height
    if n_missing:
        told.append(f"{_sets(n_missing)} without a value left out")
    n_sets = known.height
    title = f"{metric} of {_sets(n_sets)}"
    names = [name for name in parameter_names if frame[name].n_unique() > 1]
    axes = [ticks_of(known[name]) for name in names]
    axes.append(ticks_of(known[metric], to_scale=True))
    chosen, how = _thinned(n_sets)
    if how:
        title = f"{metric}: {chosen.size:,} of {n_sets:,} sets"
        told.append(how)
    keys = [f"axis{j:03}" for j in range(len(axes))]
    lines = pl.DataFrame(
        {
            "set": known["set"],
            "value": known[metric],
            **{key: axis.position for key, axis in zip(keys, axes, strict=True)},
            **{
                f"label{j:03}": known[name].cast(pl.String)
                for j, name in enumerate(names)
            },
        }
    )[chosen]
    ticks = pl.DataFrame(
        [
            (key, position, label)
            for key, axis in zip(keys, axes, strict=True)
            for position, label in axis.ticks
        ],
        schema={"key": pl.String, "position": pl.Float64, "label": pl.String},
        orient="row",
    )
    labels = [*(_parameter_label(name, units) for name in names)]
    labels.append(_label(metric, METRIC_UNITS.get(metric)))
    named = json.dumps(dict(zip(keys, labels, strict=True)))
    place = alt.X(
        "key:N",
        sort=keys,
        title=None,
        scale=alt.Scale(type="point", padding=0.35),
        axis=alt.Axis(
            labelExpr=f"{named}[datum.value]",
            labelAngle=0,
            orient="top",
            labelFontWeight="bold",
            labelLimit=200,
            domain=False,
            ticks=False,
        ),
    )
    low = min(float(axis.position.min()) for axis in axes)
    height = alt.Y(
        "position:Q",
        axis=None,
        scale=alt.Scale(domain=[min(low, 0.0) - 0.02, 1.02], nice=False, zero=False),
    )
    tooltip = [alt.Tooltip("set:Q"), alt.Tooltip("value:Q", title=metric)]
    tooltip += [
        alt.Tooltip(f"label{j:03}:N", title=name) for j, name in enumerate(names)
    ]
    # Not `opacity`: a renderer to pixels paints each such line on a sheet of its own.
    opacity = float(np.clip(60.0 / chosen.size, 0.12, 0.8))
    folded, strong, best = (
        alt.Chart(some).transform_fold(keys, as_=["key", "position"])
        for some in (lines, lines.tail(chosen.size // 20), lines.tail(1))
    )
    colour = alt.Color(
        "value:Q",
        title=_label(metric, METRIC_UNITS.get(metric)),
        scale=_line_scale(alt, known[metric].to_numpy(), minimize=minimize),
        legend=alt.Legend(gradientOpacity=1, format=".3~g"),
    )
    spine = ticks.group_by("key", maintain_order=True).agg(
        bottom=pl.col("position").min(), top=pl.col("position").max()
    )
    written = alt.Chart(ticks).encode(x=place, y=height, text="label:N")
    text = {"align": "right", "dx": -5, "fontSize": 10}
    chart: altair.LayerChart = alt.layer(
        folded.mark_line(strokeWidth=1.2, strokeOpacity=opacity).encode(
            x=place,
            y=height,
            detail="set:N",
            color=colour,
            tooltip=tooltip,
        ),
        strong.mark_line(strokeWidth=1.2, strokeOpacity=max(opacity, 0.5)).encode(
            x=place, y=height, detail="set:N", color=colour, tooltip=tooltip
        ),
        best.mark_line(strokeWidth=2.5, color=_INK).encode(x=place, y=height),
        alt.Chart(spine)
        .mark_rule(color=_INK)
        .encode(x=place, y=alt.Y("bottom:Q", title=None), y2="top:Q"),
        written.mark_text(stroke="white", strokeWidth=3, **text),
        written.mark_text(color=_INK, **text),
    ).properties(
        title=_title(alt, title, told),
        view=alt.ViewBackground(stroke=None),
        width=_length(len(axes), 150, 320, 1_200),
        height=320,
    )
    return chart


def marginal(
    effects: pl.DataFrame, *, metric: str, units: Mapping[str, str] | None = None
) -> altair.ConcatChart:
    """Draw what each value of each parameter reaches; see `SweepResult.marginal`.

    Parameters
    ----------
    effects : DataFrame
        From `barloop.neighbours.marginal_effects`.
    metric : str
        The measure.
    units : mapping of str to str, optional
        Units of parameters.

    Returns
    -------
    altair.ConcatChart
        One panel per parameter that varies, with its share of the variance: mean,
        median, and the band from the lowest to the highest set, on a common scale.

    Raises
    ------
    ConfigError
        If there is nothing to draw.
    """
    alt = _altair()
    known = effects.filter(pl.col("n") > 0)
    panels = [
        panel
        for panel in known.partition_by("parameter", maintain_order=True)
        if panel.height > 1
    ]
    if not panels:
        msg = (
            f"no parameter has two values with a {metric!r}: there is nothing to draw."
        )
        raise ConfigError(msg)
    low, high = float(known["min"].min()), float(known["max"].max())  # type: ignore[arg-type]
    margin = 0.04 * (high - low) or 0.5
    scale = alt.Scale(domain=[low - margin, high + margin], nice=False, zero=False)
    label = _label(metric, METRIC_UNITS.get(metric))
    drawn = [_marginal_panel(alt, panel, label, scale, units) for panel in panels]
    told = "line: mean; dashes: median; band: from the lowest to the highest set"
    chart: altair.ConcatChart = alt.concat(*drawn, columns=2).properties(
        title=_title(alt, f"{metric} over each parameter", [told])
    )
    return chart


def _marginal_panel(
    alt: Any,
    panel: pl.DataFrame,
    label: str,
    scale: Any,
    units: Mapping[str, str] | None,
) -> Any:
    name, share = panel["parameter"][0], panel["share_of_variance"][0]
    chance = panel["share_by_chance"][0]
    told = "no variance" if share is None else f"{share:.1%} of the variance"
    if share is not None and chance is not None:
        told += f"; {chance:.1%} would be chance"
    title = _parameter_label(name, units)
    # A step in the middle of the data frame keeps the number of rows below 5,000.
    panel = panel[:: 1 + panel.height // 1_000]
    numeric = panel["low"].null_count() == 0
    frame = panel.select("mean", "median", "min", "max", "n").with_columns(
        x=(panel["low"] + panel["high"]) / 2,
        label=panel["value"].fill_null("None"),
    )
    y = alt.Y("mean:Q", title=label, scale=scale)
    tooltip = [
        alt.Tooltip("label:N", title=name),
        *(
            alt.Tooltip(f"{one}:Q", format=".4~g")
            for one in ("mean", "median", "min", "max")
        ),
        alt.Tooltip("n:Q", title="sets"),
    ]
    if numeric:
        values = frame["x"].to_numpy()
        is_log = values[0] > 0.0 and values[-1] / values[0] >= 100.0
        x = alt.X(
            "x:Q",
            title=title,
            scale=alt.Scale(type="log" if is_log else "linear", nice=False, zero=False),
            axis=alt.Axis(grid=False, tickCount=6, labelOverlap=True),
        )
        point = (
            {"filled": True, "size": 22, "color": "#1f4e8c"}
            if frame.height <= 60
            else False
        )
        layers = [
            alt.Chart(frame)
            .mark_area(opacity=0.22, color="#3b6fb0")
            .encode(x=x, y=alt.Y("min:Q", title=label, scale=scale), y2="max:Q"),
            alt.Chart(frame)
            .mark_line(strokeDash=[4, 3], color="#c05a00")
            .encode(x=x, y=alt.Y("median:Q", title=label, scale=scale)),
            alt.Chart(frame)
            .mark_line(point=point, color="#1f4e8c")
            .encode(x=x, y=y, tooltip=tooltip),
        ]
    else:
        x = alt.X(
            "label:N",
            title=title,
            sort=frame["label"].to_list(),
            axis=alt.Axis(labelAngle=0, labelOverlap=True, labelLimit=140),
        )
        layers = [
            alt.Chart(frame)
            .mark_bar(opacity=0.22, color="#3b6fb0", width={"band": 0.5})
            .encode(x=x, y=alt.Y("min:Q", title=label, scale=scale), y2="max:Q"),
            alt.Chart(frame)
            .mark_tick(color="#c05a00", thickness=2, width={"band": 0.5})
            .encode(x=x, y=alt.Y("median:Q", title=label, scale=scale)),
            alt.Chart(frame)
            .mark_point(filled=True, size=60, color="#1f4e8c", opacity=1)
            .encode(x=x, y=y, tooltip=tooltip),
        ]
    return alt.layer(*layers).properties(
        width=300,
        height=180,
        title=alt.TitleParams(
            f"{name}: {told}", anchor="start", fontSize=11, fontWeight="normal"
        ),
    )


def _altair() -> Any:
    try:
        import altair
        import vl_convert
    except ImportError as error:
        msg = (
            f"charts need the package {error.name}, which is not installed.\n"
            "Hint: pip install 'barloop[plot]'."
        )
        raise ConfigError(msg) from error
    del vl_convert
    return altair


def _two_parameters(
    frame: pl.DataFrame, names: Sequence[str], x: str | None, y: str | None
) -> tuple[str, str]:
    for name in (x, y):
        if name is not None:
            _require_parameter(name, names)
    free = [
        name
        for name in names
        if name not in (x, y) and (frame[name].n_unique() > 1 or len(names) == 2)
    ]
    n_wanted = (x is None) + (y is None)
    if len(free) < n_wanted or (n_wanted and len(free) > n_wanted):
        msg = (
            f"a heatmap shows two parameters, and there are {len(free)} to choose "
            f"{n_wanted} from: {', '.join(free) or 'none'}.\n"
            "Hint: runs.heatmap(x, y) names both."
        )
        raise ConfigError(msg)
    x = free.pop(0) if x is None else x
    y = free.pop(0) if y is None else y
    if x == y:
        msg = f"x and y are both {x!r}.\nHint: name two parameters."
        raise ConfigError(msg)
    return x, y


def _require_parameter(name: str, names: Sequence[str]) -> None:
    if name not in names:
        msg = (
            f"{name!r} is no parameter of this sweep.{suggestion(str(name), names)}\n"
            f"It has {', '.join(names) or 'none'}."
        )
        raise ConfigError(msg)


def _with_fixed(
    frame: pl.DataFrame,
    names: Sequence[str],
    drawn: tuple[str, str],
    fixed: Mapping[str, Any] | None,
) -> tuple[pl.DataFrame, list[str]]:
    """Return the sets with the fixed values, and these in words."""
    told = []
    for name, value in (fixed or {}).items():
        _require_parameter(name, names)
        if name in drawn:
            msg = f"{name!r} is an axis of the heatmap, it cannot be fixed as well."
            raise ConfigError(msg)
        try:
            kept = frame.filter(
                pl.col(name).is_null() if value is None else pl.col(name) == value
            )
        except pl.exceptions.PolarsError:  # a value of another type
            kept = frame.head(0)
        if not kept.height:
            values = ", ".join(map(str, frame[name].unique().sort().head(10)))
            msg = f"no set has {name}={value!r}.\nHint: it is one of {values}."
            raise ConfigError(msg)
        frame = kept
        told.append(f"{name}={value}")
    return frame, [f"only {', '.join(told)}"] if told else []


def _sets(n: int) -> str:
    return f"{n:,} set" + ("" if n == 1 else "s")


def _label(name: str, unit: str | None) -> str:
    return f"{name} ({unit})" if unit else name


def _parameter_label(name: str, units: Mapping[str, str] | None) -> str:
    unit = (units or {}).get(name)
    if unit is None:
        tail = name.rpartition(".")[2]
        for ending, known in PARAMETER_UNITS.items():
            if tail == ending or tail.endswith(f"_{ending}"):
                unit = known
    return _label(name, unit)


def _across(alt: Any, labels: list[str], title: str, width: int) -> Any:
    """Return the axis of evenly spaced values along x, with labels that have room."""
    each = 7 * max(map(len, labels)) + 8
    angle = 0
    if each * len(labels) > 2 * width and each > 40:
        each, angle = 16, -45
    step = math.ceil(each * len(labels) / width)
    axis = alt.Axis(values=labels[::step], labelAngle=angle, labelLimit=120)
    return alt.X("x:O", sort=labels, title=title, axis=axis)


def _upward(alt: Any, labels: list[str], title: str) -> Any:
    axis = alt.Axis(values=labels[:: 1 + len(labels) // 26], labelLimit=120)
    return alt.Y("y:O", sort=labels[::-1], title=title, axis=axis)


def _scale(alt: Any, values: FloatVector, *, minimize: bool) -> Any:
    """Return colours that differ for the colour-blind, too."""
    if not values.size:
        return alt.Scale(scheme="viridis")
    low, high = float(values.min()), float(values.max())
    if low < 0.0 < high:
        reach = max(-low, high)
        return alt.Scale(scheme="blueorange", domain=[-reach, reach], reverse=minimize)
    return alt.Scale(scheme="viridis", domain=[low, high], reverse=minimize)


def _line_scale(alt: Any, values: FloatVector, *, minimize: bool) -> Any:
    """Return colours that show on white, where light ones do not."""
    low, high = float(values.min()), float(values.max())
    if low < 0.0 < high:
        reach = max(-low, high)
        return alt.Scale(
            domain=[-reach, 0, reach],
            range=_LINES[::-1] if minimize else _LINES,
            interpolate="rgb",
        )
    extent = [0.85, 0.0] if minimize else [0.0, 0.85]
    return alt.Scale(
        scheme=alt.SchemeParams(name="viridis", extent=extent), domain=[low, high]
    )


def _title(alt: Any, text: str, told: Sequence[str]) -> Any:
    return alt.TitleParams(text, subtitle=list(told), anchor="start", offset=12)


def _length(n: int, each: int, least: int, most: int) -> int:
    return max(least, min(n * each, most))


def _thinned(n_sets: int) -> tuple[Any, str]:
    """Choose sets, sorted from worst to best, to be drawn."""
    everything = np.arange(n_sets)
    if n_sets <= MAX_LINES:
        return everything, ""
    n_ends = MAX_LINES // 4
    n_others = n_sets - 2 * n_ends
    step = math.ceil(n_others / (MAX_LINES - 2 * n_ends))
    chosen = np.concatenate(
        [
            everything[:n_ends],
            everything[n_ends : n_sets - n_ends : step],
            everything[n_sets - n_ends :],
        ]
    )
    return chosen, (
        f"drawn: the best {n_ends:,}, the worst {n_ends:,}, one in {step:,} of the "
        "others"
    )
