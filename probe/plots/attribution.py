"""Maps: of one image, their checks, similarity of variants against its null, attention by region.

Of each finding ``x`` there are ``x``, the table behind it, and where it is drawn ``plot_x``, the
figure for print (matplotlib), and ``figure_x``, which draws that table for a web page (plotly).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from probe.errors import ProbeError, UnknownNameError
from probe.plots.attribution_maps import ends_for, title_of
from probe.plots.grid import Cell, grid_figure
from probe.plots.style import STYLE
from probe.plots.theme import (
    LIGHT,
    Theme,
    cell,
    cells,
    clean,
    colorbar,
    figure_of,
    level,
)
from probe.schema import family_of
from probe.tables import from_disk

if TYPE_CHECKING:
    from probe.attribution.findings import MapSimilarity, RegionAttention
    from probe.attribution.maps import AttributionMap
    from probe.attribution.trust.report import TrustReport

__all__ = [
    "figure_map_similarity",
    "figure_region_attention",
    "image_maps",
    "map_similarity",
    "plot_image_maps",
    "plot_map_similarity",
    "plot_region_attention",
    "region_attention",
    "shown_regions",
    "trust_checks",
]

#: False discovery rate at which a difference is marked, and a map is better than a reference.
ALPHA = 0.05

#: Color (Okabe and Ito), marker and label of fakes and reals; they differ in gray too.
MARKS = {1: ("#d55e00", "o", "fake"), 0: ("#0072b2", "D", "real")}

#: Bounds of the study's bins.
BOUNDS = (0.7, 0.9)

#: Adjusted p-value of each statistic, and the lowest value drawn; lower ones are drawn there.
QS = {"concentration": "q", "change": "change_q"}
LOWEST = -5.0

#: Statistics of regions, for people.
WHAT = {"concentration": "Concentration", "change": "Change from real"}

#: Doublings at which the colors of a page end, so that they mean the same for all detectors.
DOUBLINGS = 4.0

#: Pixels of a row, and over and under all rows, of figures of a page.
_ROW, _CELL, _HEAD, _FOOT = 36, 44, 40, 48


# --- Maps of one image --------------------------------------------------------------------------

Maps = Mapping[str, "Mapping[str, AttributionMap]"]


def image_maps(
    maps: Maps,
    image: NDArray[Any] | None = None,
    mask: NDArray[Any] | None = None,
    *,
    sample: str,
    detectors: Sequence[str] = (),
    over: bool = False,
) -> pd.DataFrame:
    """Return what is known of the maps of one image, a row per method and detector.

    Parameters
    ----------
    maps : mapping
        Method to detector to maps.
    image, mask, detectors, over
        As in `plot_image_maps`; the table is the same for all.
    sample : str
        Which image.

    Returns
    -------
    pandas.DataFrame
        ``detector``, ``method``, and what `AttributionMap.to_dataframe` has of the image.

    Raises
    ------
    ProbeError
        If there are no maps.
    StoreError
        If a map on disk is damaged.
    """
    found = {
        (detector, method): _one(one, sample).to_dataframe()
        for method, own in maps.items()
        for detector, one in own.items()
    }
    if not found:
        raise ProbeError("There are no maps of this image. Choose another method.")
    frame = pd.concat(list(found.values()), keys=list(found))
    return frame.reset_index(level=[0, 1], names=["detector", "method"]).reset_index(drop=True)


def plot_image_maps(
    maps: Maps,
    image: NDArray[Any] | None = None,
    mask: NDArray[Any] | None = None,
    *,
    sample: str,
    detectors: Sequence[str] = (),
    over: bool = False,
) -> Figure:
    """Draw an image and its maps: a row per method, a column per detector.

    A row has one scale of colors; where detectors are of several families, one for each of them.

    Parameters
    ----------
    maps : mapping
        Method to detector to maps.
    image : numpy.ndarray, optional
        Shape (h, w, 3), 0 to 255; drawn beside the maps.
    mask : numpy.ndarray, optional
        Forgery mask, whose contour is drawn.
    sample : str
        Which image the maps are of.
    detectors : sequence of str, optional
        Columns; those that there are maps of by default.
    over : bool, default False
        Whether maps are drawn over the image.

    Returns
    -------
    matplotlib.figure.Figure
    """
    columns = list(detectors) or list(dict.fromkeys(name for own in maps.values() for name in own))
    # With one family its scale is beside each row; of several each map names its end.
    several = len(set(map(family_of, columns))) > 1
    lines: list[list[Cell | None]] = []
    for method, own in maps.items():
        line: list[Cell | None] = []
        if image is not None:
            line.append(None if lines else Cell(image, mask=mask))
        for detector in columns:
            group = f"{method} {family_of(detector)}" if several else ""
            under = image if over else None
            one = own.get(detector)
            line.append(_cell_of(one, sample, own, under, mask, group) if one is not None else None)
        lines.append(line)
    if not any(one and one.values is not None for line in lines for one in line):
        raise ProbeError("There are no maps of this image. Choose another method.")
    titles = [*([] if image is None else ["image"]), *columns]
    names = [title_of(next(iter(own.values()))) if own else name for name, own in maps.items()]
    return grid_figure(lines, titles, names, scale="cell" if several else "row")


def _cell_of(
    maps: AttributionMap,
    sample: str,
    own: Mapping[str, AttributionMap],
    under: NDArray[Any] | None,
    mask: NDArray[Any] | None,
    group: str,
) -> Cell:
    first = next(iter(own.values()))
    ends = ends_for(first) if first.signed else ("none", "strong")
    return Cell(under, _one(maps, sample).values[0], mask, first.signed, ends, group)


def _one(maps: AttributionMap, sample: str) -> AttributionMap:
    names = [str(name) for name in maps.data["sample"].values]
    if sample not in names:
        raise UnknownNameError("sample", sample, names, where="the maps")
    one = maps.take([names.index(sample)])
    with from_disk(Path(str(maps.data.encoding.get("source", "maps")))):
        one.data.load()
    return one


# --- Whether they can be trusted ----------------------------------------------------------------


def trust_checks(found: TrustReport, method: str, dataset: str = "all") -> pd.DataFrame:
    """Return the checks of a method's maps, and which of them were passed.

    A check is passed if the map is better than every reference that it was tested against, and
    better than all networks of random weights where some were tried.

    Parameters
    ----------
    found : TrustReport
        Trust report of a detector.
    method : str
        Name of the method.
    dataset : str, default "all"
        Dataset; all images together by default.

    Returns
    -------
    pandas.DataFrame
        One row per check: its texts (``check, title, group, better, paper``), what
        `TrustReport.to_dataframe` has of it, ``tested`` and ``passed``, and ``why_not`` in words.
    """
    data = found.data
    for dim, name in (("method", method), ("dataset", dataset)):
        allowed = [str(value) for value in data[dim].values]
        if name not in allowed:
            raise UnknownNameError(dim, name, allowed, where="the trust report")
    # By a mapping: "method" is also a keyword of its own.
    part = type(found)(data.sel({"method": [method], "dataset": [dataset]}))
    names = ("check", *_CHECK_TEXTS)
    texts = pd.DataFrame({name: list(map(str, data[name].values)) for name in names})
    frame = texts.merge(part.to_dataframe().drop(columns=["method", "dataset"]), on="check")
    references = [str(name) for name in data["reference"].values]
    lost = [_lost_to(row, references) for row in frame.to_dict("records")]
    reached = np.array([_is_reached(row) for row in frame.to_dict("records")], dtype=bool)
    tested = frame[[f"q_{name}" for name in references]].notna().any(axis=1).to_numpy(bool)
    frame["tested"] = tested
    frame["passed"] = tested & ~reached & np.array([not names for names in lost], dtype=bool)
    frame["why_not"] = [
        _why_not(names, by) if is_tested else ""
        for names, by, is_tested in zip(lost, reached, tested, strict=True)
    ]
    frame.attrs = {"references": references, "dataset": dataset}
    return frame


_CHECK_TEXTS = ("title", "group", "better", "paper")


def _lost_to(row: Mapping[Any, Any], references: Sequence[str]) -> list[str]:
    """Return the references that were tested and that the map is not better than."""
    return [
        name
        for name in references
        if np.isfinite(row[f"q_{name}"])
        and not (row[f"q_{name}"] <= ALPHA and row[f"gain_{name}"] > 0)
    ]


def _is_reached(row: Mapping[Any, Any]) -> bool:
    """Whether networks of random weights reach the value."""
    if not np.isfinite(row["randomized_low"]):
        return False
    if row["better"] == "higher":
        return bool(row["value"] <= row["randomized_high"])
    return bool(row["value"] >= row["randomized_low"])


def _why_not(lost: Sequence[str], is_reached: bool) -> str:
    words = [f"not better than {', '.join(lost)}"] if lost else []
    words += ["networks of random weights reach it"] if is_reached else []
    return " and ".join(words)


# --- Similarity of variants ---------------------------------------------------------------------


def map_similarity(found: MapSimilarity) -> pd.DataFrame:
    """Return the similarity of variants' maps, its null, differences and counts, by dataset.

    Parameters
    ----------
    found : MapSimilarity
        Similarity of the maps of an architecture's variants.

    Returns
    -------
    pandas.DataFrame
        `MapSimilarity.to_dataframe`.
    """
    frame, data = found.to_dataframe(), found.data
    pairs = [str(pair).split("|") for pair in data["pair"].values]
    frame.attrs = {
        "variants": list(dict.fromkeys(name for pair in pairs for name in pair)),
        "bins": [str(name) for name in data["bin"].values],
        "rule": str(data.attrs.get("rule", "")),
        "ci": float(data.attrs.get("ci", 0.95)),
    }
    return frame


def plot_map_similarity(found: MapSimilarity) -> Figure:
    """Draw the similarity of maps of variants per image, with its null distribution.

    Dotted lines are the bounds of the study's bins; the numbers above count the images in each.

    Parameters
    ----------
    found : MapSimilarity
        Similarity of the maps of an architecture's variants.

    Returns
    -------
    matplotlib.figure.Figure
    """
    data = found.data
    names = [str(name) for name in data["dataset"].values]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.72 * columns + 0.5, 1.5 * rows + 0.55), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        edges = _edges(data)
        for axes, name in zip(panels.flat, names, strict=False):
            _draw_similarity(axes, data, name, edges)
        top = panels.flat[0].get_ylim()[1]
        panels.flat[0].set_ylim(0, 1.18 * top)
        for axes, name in zip(panels.flat, names, strict=False):
            _write_counts(axes, data["count"].sel(dataset=name).values, 1.15 * top)
        for axes in panels.flat[len(names) :]:
            axes.set_visible(False)
        for above, axes in zip(panels.flat, panels.flat[columns:], strict=False):
            above.tick_params(labelbottom=not axes.get_visible())
        figure.supxlabel("SSIM of maps of one image by two variants, mean over pairs", fontsize=7.5)
        figure.supylabel("share of images", fontsize=7.5)
        handles, labels = panels.flat[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, ncols=3, loc="outside upper center", frameon=False, fontsize=6.5
        )
    return figure


def _edges(data: xr.Dataset) -> NDArray[np.float64]:
    """Return bin edges for all histograms, with a width of 0.05, that cover every value."""
    values = [data[name].mean("pair").values for name in ("similarity", "null")]
    low = np.nanmin(np.concatenate([*values, data["retrained"].values, [0.0]]))
    return np.asarray(np.arange(np.floor(low * 20), 21) / 20)


def _draw_similarity(axes: Axes, data: xr.Dataset, name: str, edges: NDArray[np.float64]) -> None:
    kept = np.array([name == "all" or str(of) == name for of in data["of"].values])
    own, null = (data[key].mean("pair").values[kept] for key in ("similarity", "null"))
    drawn: dict[str, tuple[Any, dict[str, Any]]] = {
        "same image": (own, {"histtype": "stepfilled", "color": "#e69f00", "ec": "black"}),
        "other image (null)": (null, {"histtype": "step", "color": "black", "ls": "--"}),
        "same training, other seeds": (
            data["retrained"].values[kept],
            {"histtype": "step", "color": "#0072b2", "lw": 1.4},
        ),
    }
    for label, (values, style) in drawn.items():
        values = values[np.isfinite(values)]
        if len(values):
            weights = np.full(len(values), 1 / len(values))
            axes.hist(values, edges.tolist(), weights=weights, label=label, **{"lw": 0.9, **style})
    for bound in BOUNDS:
        axes.axvline(bound, color="0.35", lw=0.7, ls=":")
    axes.set_xlim(edges[0], 1.08)
    axes.set_xticks([0, 0.5, 1])
    axes.set_title(f"{name} (n = {len(own)})", fontsize=7)
    axes.tick_params(labelsize=6, length=2)
    axes.spines[["top", "right"]].set_visible(False)


def _write_counts(axes: Axes, counts: NDArray[np.int64], y: float) -> None:
    """Write the number of images in each of the study's bins above it."""
    low, high = BOUNDS
    places = ((low - 0.02, "right"), ((low + high) / 2, "center"), (high + 0.02, "left"))
    for (x, side), count in zip(places, counts, strict=True):
        axes.text(x, y, str(count), ha=side, va="top", fontsize=5.5)


def figure_map_similarity(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `map_similarity` for a page: similarity, null and other seeds, a row per dataset."""
    kinds = [
        ("the same image", "mean", "", theme.accent, "circle", -0.16),
        ("another person’s image (null)", "null_mean", "null_", theme.muted, "diamond-open", 0.16),
    ]
    if frame["retrained_mean"].notna().any():
        seeds = ("other seeds, same image", "retrained_mean", "retrained_")
        kinds.append((*seeds, theme.warm, "square-open", 0.3))
    n = len(frame)
    return figure_of(
        [_marks(frame, theme, *kind) for kind in kinds],
        theme,
        height=_ROW * n + _HEAD + _FOOT,
        shapes=theme.stripes(n),
        showlegend=True,
        legend=theme.top_legend(),
        margin={"l": 8, "r": 16, "t": _HEAD, "b": _FOOT},
        xaxis=theme.axis("SSIM of maps of two variants, mean over pairs and images"),
        yaxis=theme.rows([f"{clean(str(name))}  " for name in frame["dataset"]]),
    )


def _marks(
    frame: pd.DataFrame,
    theme: Theme,
    name: str,
    column: str,
    start: str,
    color: str,
    symbol: str,
    shift: float,
) -> dict[str, Any]:
    """Return the trace of one kind of similarity, beside those of others."""
    value, low, high = (frame[part].to_numpy() for part in (column, f"{start}low", f"{start}high"))
    return {
        "type": "scatter",
        "x": value,
        "y": np.arange(len(frame)) + shift,
        "mode": "markers",
        "name": name,
        "marker": {"symbol": symbol, "size": 9, "color": color, "line": {"width": 1.6}},
        "error_x": theme.bars(value, low, high, theme.faded(color, 0.6)),
        "hovertext": [
            "<br>".join(
                [
                    f"<b>{clean(str(row['dataset']))}</b>",
                    f"{name}: {row[column]:.3f}",
                    _interval(row[f"{start}low"], row[f"{start}high"], frame.attrs["ci"], ".3f"),
                    f"over the null {row['over_null']:+.3f}, p {level(row['over_null_p'])}",
                ]
            )
            for row in frame.to_dict("records")
        ],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def _interval(low: float, high: float, ci: float, digits: str) -> str:
    if not np.isfinite(low):
        return "no interval: fewer than five clusters"
    return f"{ci:.0%} interval {low:{digits}} to {high:{digits}}"


# --- Attention by region ------------------------------------------------------------------------


def region_attention(
    found: RegionAttention, what: str = "concentration", part: str | None = None
) -> pd.DataFrame:
    """Return where in the face maps are concentrated: all groups, parts and regions.

    Parameters
    ----------
    found : RegionAttention
        Attribution of a detector by region of the face.
    what : {"concentration", "change"}
        What is shown of it, see `shown_regions`.
    part : str, optional
        Part of the mass that is shown; the first by default, which is "positive" for signed maps.

    Returns
    -------
    pandas.DataFrame
        `RegionAttention.to_dataframe`, with ``attrs`` of what is shown.
    """
    data, parts = found.data, [str(name) for name in found.data["part"].values]
    for kind, name, allowed in (("what", what, list(WHAT)), ("part", part or parts[0], parts)):
        if name not in allowed:
            raise UnknownNameError(kind, name, allowed, where="the table")
    frame = found.to_dataframe()
    frame.attrs = {name: str(data.attrs.get(name, "")) for name in ("method", "layer", "source")}
    frame.attrs |= {
        "what": what,
        "part": part or parts[0],
        "n_faceless": int(data["n_faceless"].values.sum()),
        "ci": float(data.attrs.get("ci", 0.95)),
    }
    return frame


def shown_regions(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are drawn of what `region_attention` returned.

    Groups of which nothing is known are left out. ``value, value_low, value_high, value_q`` are
    those of what is shown, and ``n_rests_on`` counts its images, or its pairs for a change.
    """
    what = frame.attrs["what"]
    own = frame[frame["part"] == frame.attrs["part"]]
    own = own[own.groupby("group", sort=False)[what].transform("count") > 0]
    shown: pd.DataFrame = own.assign(
        value=own[what],
        value_low=own[f"{what}_low"],
        value_high=own[f"{what}_high"],
        value_q=own[QS[what]],
        n_rests_on=own["n_pairs" if what == "change" else "n_samples"],
    )
    return shown


def plot_region_attention(
    found: RegionAttention, what: str = "concentration", part: str | None = None
) -> Figure:
    """Draw in which regions of the face maps are concentrated, per dataset.

    Lines are intervals over clusters, cut at the end of the axis. Concentrations below −5 are
    drawn at −5.2.

    Parameters
    ----------
    found : RegionAttention
        Attribution of a detector by region of the face.
    what : {"concentration", "change"}
        Concentration of reals and fakes, filled where it differs from the other datasets with
        q ≤ .05; or its change from real to fake, filled where it differs from 0.
    part : str, optional
        Part of the mass; the first by default, which is "positive" for signed maps.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ProbeError
        If no map has any mass of that part.
    """
    part = part or str(found.data["part"].values[0])
    data = found.data.sel(part=part)
    data = data.isel(group=np.flatnonzero(np.isfinite(data[what].values).any(axis=1)))
    names = list(dict.fromkeys(map(str, data["dataset"].values)))
    if not names:
        raise ProbeError(
            f"There is nothing to draw: no map of {found.detector} has any {part} mass to look "
            "for in regions. They are 0 everywhere, as of a detector that ignores its input."
        )
    regions = [str(name) for name in data["region"].values]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    with mpl.rc_context(STYLE):
        size = (1.95 * columns + 0.9, (0.2 * len(regions) + 0.3) * rows + 0.6)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        seen: dict[str, Any] = {}
        for axes, name in zip(panels.flat, names, strict=False):
            kept = np.array([str(one) == name for one in data["dataset"].values])
            _draw_regions(axes, data.isel(group=np.flatnonzero(kept)), what, seen)
            axes.set_title(name, fontsize=7)
        for axes in panels.flat[len(names) :]:
            axes.set_visible(False)
        panels[0, 0].set_yticks(range(len(regions)), regions, fontsize=6.5)
        panels[0, 0].set_ylim(len(regions) - 0.4, -0.6)
        panels[0, 0].set_xlim(*_limits(data, what))
        figure.supxlabel(_axis(what, part), fontsize=7.5)
        figure.legend(
            list(seen.values()),
            list(seen),
            ncols=4,
            loc="outside upper center",
            frameon=False,
            fontsize=6.5,
        )
    return figure


def _axis(what: str, part: str) -> str:
    mass = "mass" if part == "magnitude" else f"{part} mass"
    if what == "change":
        return f"fake − real: log₂ of share of {mass} over share of area"
    return f"log₂ of share of {mass} over share of area (0: uniform attention)"


def _limits(data: xr.Dataset, what: str) -> tuple[float, float]:
    """Return axis limits; values far below uniform are cut, as they carry no more information."""
    values = np.concatenate([data[name].values.ravel() for name in (what, f"{what}_high")])
    low, high = np.nanmin(data[what].values), np.nanmax(values)
    return max(float(low), LOWEST) - 0.4, max(float(high), 1.0) + 0.3


def _draw_regions(axes: Axes, data: xr.Dataset, what: str, seen: dict[str, Any]) -> None:
    rows = np.arange(data.sizes["region"])
    axes.axvline(0, color="0.5", lw=0.7, zorder=0)
    for y in rows[::2]:
        axes.axhspan(y - 0.5, y + 0.5, color="0.96", lw=0, zorder=-1)
    n = data.sizes["group"]
    for shift, g in zip(np.linspace(-0.22, 0.22, n) if n > 1 else [0.0], range(n), strict=True):
        one = data.isel(group=g)
        color, marker, name = MARKS[int(one["label"])]
        value, low, high = (one[f"{what}{end}"].values for end in ("", "_low", "_high"))
        axes.hlines(rows + shift, low, high, color=color, lw=0.9, zorder=2)
        marked = one[QS[what]].values <= ALPHA
        style: dict[str, Any] = {"ls": "", "marker": marker, "ms": 3.2, "mew": 0.8, "color": color}
        for mask, fill, label in ((~marked, "white", name), (marked, color, f"{name}, q ≤ .05")):
            at = np.maximum(value[mask], LOWEST - 0.2)
            (seen[label],) = axes.plot(at, rows[mask] + shift, mfc=fill, zorder=3, **style)
    axes.tick_params(labelsize=6.5, length=2)
    axes.spines[["top", "right"]].set_visible(False)


def figure_region_attention(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `region_attention` for a page: groups × regions, in doublings; a dot where q ≤ 0.05."""
    rows = shown_regions(frame)
    groups, regions = (list(dict.fromkeys(map(str, rows[n]))) for n in ("group", "region"))
    places = {name: i for i, name in enumerate(groups)}, {name: i for i, name in enumerate(regions)}
    value = np.full((len(groups), len(regions)), np.nan)
    hovers = [[""] * len(regions) for _ in groups]
    notes = []
    for one in rows.to_dict("records"):
        r, c = places[0][str(one["group"])], places[1][str(one["region"])]
        value[r, c], hovers[r][c] = one["value"], _region_hover(one, frame.attrs)
        notes.append(_region_cell(theme, c, r, one))
    heat = cells(
        theme,
        value / DOUBLINGS,
        hovers,
        x=list(range(len(regions))),
        y=list(range(len(groups))),
        colorbar=colorbar(theme, [f"−{DOUBLINGS:g}", "0", f"+{DOUBLINGS:g}"]),
    )
    return figure_of(
        [heat],
        theme,
        height=_CELL * max(1, len(groups)) + _HEAD + _FOOT,
        margin={"l": 8, "r": 8, "t": _HEAD, "b": _FOOT},
        annotations=[*notes, _region_note(theme, frame.attrs["what"])],
        xaxis=theme.axis(
            showgrid=False,
            side="top",
            tickvals=list(range(len(regions))),
            tickangle=0,
            tickfont={"size": 12, "color": theme.ink},
            ticktext=[clean(name) for name in regions],
            range=[-0.5, len(regions) - 0.5],
        ),
        yaxis=theme.rows(_region_groups(rows, theme, frame.attrs["what"]), size=12),
    )


def _region_groups(rows: pd.DataFrame, theme: Theme, what: str) -> list[str]:
    """Name the groups, with what each rests on."""
    unit = "pairs" if what == "change" else "images"
    out = []
    for one in rows.drop_duplicates("group").to_dict("records"):
        rests = f"{one['n_rests_on']} {unit} · {one['n_clusters']} clusters"
        small = f"<span style='font-size:11px;color:{theme.muted}'>{rests}</span>"
        out.append(f"{clean(str(one['group']))}  <br>{small}  ")
    return out


def _region_note(theme: Theme, what: str) -> dict[str, Any]:
    is_change = what == "change"
    of = "Fake less real, in doublings" if is_change else "Doublings over even attention"
    return {
        "x": 0,
        "xref": "paper",
        "xanchor": "left",
        "y": 0,
        "yref": "paper",
        "yanchor": "top",
        "yshift": -12,
        "showarrow": False,
        "font": {"size": 12, "color": theme.muted},
        "text": f"{of}. ●: q ≤ 0.05. Small: interval.",
    }


def _region_cell(theme: Theme, c: int, r: int, one: Mapping[Any, Any]) -> dict[str, Any]:
    value, low, high = one["value"], one["value_low"], one["value_high"]
    if not np.isfinite(value):
        return cell(theme, c, r, np.nan, "—", 12)
    mark = "●\N{NO-BREAK SPACE}" if one["value_q"] <= ALPHA else ""
    bounds = f"{_plain(low)} to {_plain(high)}" if np.isfinite(low) else "few clusters"
    text = f"{mark}<b>{_plain(value)}</b><br><span style='font-size:10px'>{bounds}</span>"
    return cell(theme, c, r, float(np.clip(value / DOUBLINGS, -1, 1)), text, 13)


def _region_hover(one: Mapping[Any, Any], about: Mapping[Any, Any]) -> str:
    value, what = one["value"], about["what"]
    names = (clean(str(one[name])) for name in ("group", "region"))
    lines = [", ".join([*(f"<b>{name}</b>" for name in names), f"{clean(about['part'])} mass"])]
    if not np.isfinite(value):
        return "<br>".join([*lines, "not seen"])
    lines.append(f"{WHAT[what].lower()} {value:+.2f} doublings")
    lines.append(_interval(one["value_low"], one["value_high"], about["ci"], "+.2f"))
    asked = "differs from 0" if what == "change" else "other groups of its label differ"
    lines.append(f"{asked}: q {level(one['value_q'])}")
    return "<br>".join([*lines, f"the region is {one['area']:.1%} of the image"])


def _plain(value: float) -> str:
    """Write doublings with their sign and one decimal."""
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "\N{MINUS SIGN}")
