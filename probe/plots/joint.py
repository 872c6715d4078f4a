"""Figures of joint tables: all detectors of a run in one figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from probe.plots.style import STYLE, colors_of, text_on
from probe.plots.text import cut

__all__ = [
    "FIGURES",
    "alike_figure",
    "away_figure",
    "excess_figure",
    "joint_figures",
    "looking_figure",
    "specific_figure",
    "universal_figure",
]

#: Colors of Okabe and Ito; markers differ too.
BLUE, RED, GREEN, ORANGE, GRAY = "#0072b2", "#d55e00", "#009e73", "#e69f00", "0.55"

#: Nulls of the count: marker, color, label.
NULLS = {
    "independence": ("|", "black", "independent lists"),
    "untrained": ("D", RED, "untrained networks"),
    "random_head": ("s", GREEN, "random heads"),
    "label_shuffled": ("^", ORANGE, "shuffled labels"),
}

#: Width of a paper column and of a page, in inches.
COLUMN, PAGE = 3.5, 7.16

#: Marks are filled if p or q is at most this.
ALPHA = 0.05


def joint_figures(
    tables: Mapping[str, pd.DataFrame], names: Iterable[str] | None = None
) -> dict[str, Figure]:
    """Draw the figures for which the joint tables have data, by name.

    Parameters
    ----------
    tables : mapping
        Result of `probe.joint.joint_tables`.
    names : iterable of str, optional
        Names in `FIGURES`; all by default.
    """
    out = {}
    for name in FIGURES if names is None else names:
        table, draw = FIGURES[name]
        figure = draw(tables[table])
        if figure is not None:
            out[name] = figure
    return out


def away_figure(frame: pd.DataFrame) -> Figure | None:
    """Draw the AUROC of each detector on its training datasets, on other datasets, and their mean.

    Parameters
    ----------
    frame : pandas.DataFrame
        Joint table ``generalization``.
    """
    known = frame[frame["value"].notna()]
    if not len(known):
        return None
    figure, axes, at = _rows(frame["detector"])
    each, mean = known[known["dataset"] != "mean"], known[known["dataset"] == "mean"]
    axes.axvline(0.5, color=GRAY, lw=0.7, zorder=0)
    home = known.drop_duplicates("detector")
    _points(axes, home, "home", at(home["detector"]) - 0.18, "s", BLUE, "at home")
    _points(axes, mean, "value", at(mean["detector"]) + 0.18, "o", RED, "mean away", "")
    axes.plot(
        each["value"],
        at(each["detector"]) + 0.18,
        "|",
        ms=5,
        color=RED,
        mew=0.9,
        label="each dataset away",
    )
    return _finished(figure, axes, "frame AUROC, 95% interval (gray line: chance)", 3)


def universal_figure(frame: pd.DataFrame) -> Figure | None:
    """Draw the share of units counted in all lists, with its nulls, and of units found by the test.

    Parameters
    ----------
    frame : pandas.DataFrame
        Joint table ``universality``.
    """
    known = frame[frame["counted"].notna()]
    if not len(known):
        return None
    figure, axes, at = _rows(frame["detector"])
    first = known.drop_duplicates("detector")
    places, units = at(first["detector"]), first["n_units"].to_numpy(float)
    axes.barh(places - 0.16, first["counted"] / units, 0.3, color="#56b4e9", label="counted")
    axes.barh(places + 0.2, first["universal"] / units, 0.22, color="black", label="found by test")
    for name, (marker, color, label) in NULLS.items():
        rows = known[known["null"] == name]
        size, fill = (8, color) if marker == "|" else (4, "white")
        if len(rows):
            axes.plot(
                rows["expected"] / rows["n_units"],
                at(rows["detector"]) - 0.16,
                marker,
                color=color,
                mfc=fill,
                ms=size,
                mew=1,
                ls="",
                label=label,
                clip_on=False,
                zorder=3,
            )
    axes.set_xlim(0, None)
    for place, (_, row) in zip(places, first.iterrows(), strict=True):
        tested = f"{row['universal']:.0f}" if np.isfinite(row["universal"]) else "–"
        axes.text(
            1.02,
            place,
            f"{row['counted']:.0f}, {tested} of {row['n_units']:.0f}",
            fontsize=6,
            va="center",
            transform=axes.get_yaxis_transform(),
        )
    label = "share of the layer's units\n(right: counted, found by test, of all)"
    return _finished(figure, axes, label, 3)


def excess_figure(frame: pd.DataFrame) -> Figure | None:
    """Draw the loss of AUROC without universal units, beyond that of matched random sets.

    Parameters
    ----------
    frame : pandas.DataFrame
        Joint table ``ablation``.
    """
    part = frame[(frame["dataset"] == "mean") & (frame["metric"] == "auroc")]
    part = part[part["set"].isin(["universal", "counted"])]
    if not part["excess"].notna().any():
        return None
    figure, axes, at = _rows(frame["detector"])
    axes.axvline(0, color=GRAY, lw=0.7, zorder=0)
    for name, shift, marker, color in (
        ("universal", -0.15, "o", RED),
        ("counted", 0.15, "s", BLUE),
    ):
        rows = part[part["set"] == name]
        sure = rows["p"] <= ALPHA
        label = "found by test" if name == "universal" else "counted in all lists"
        for kept, fill, text in ((sure, color, f"{label}, p ≤ .05"), (~sure, "white", label)):
            some = rows[kept]
            _points(
                axes, some, "excess", at(some["detector"]) + shift, marker, color, text, fill=fill
            )
    there = set(part.loc[part["set"] == "universal", "detector"])
    for label in dict.fromkeys(frame["detector"]):
        if label not in there:
            reason = str(frame.loc[frame["detector"] == label, "reason"].iloc[0])
            text = "none in both halves" if "both halves" in reason else "not ablated"
            axes.text(
                0, at([label])[0] - 0.15, f"  {text}", fontsize=5.5, va="center", color="0.35"
            )
    return _finished(figure, axes, "AUROC lost beyond matched random sets, 95% interval", 2)


def specific_figure(frame: pd.DataFrame) -> Figure | None:
    """Draw the share of the real-fake difference that is specific to methods, per layer.

    Parameters
    ----------
    frame : pandas.DataFrame
        Joint table ``layers``.
    """
    known = frame[frame["specific_share"].notna()]
    if not len(known):
        return None
    figure, axes, at = _rows(frame["detector"])
    axes.axvline(0.5, color=GRAY, lw=0.7, zorder=0)
    place = known.groupby("detector", sort=False).cumcount(ascending=False).to_numpy()
    # The last recorded layer is nearest to the head, whatever its name.
    names = ("last layer", "layer before", "earlier layers")
    looks = (("o", RED, RED), ("s", BLUE, "white"), ("^", GREEN, "white"))
    for i, (name, (marker, color, fill)) in enumerate(zip(names, looks, strict=True)):
        kept = place == i if i < 2 else place >= i
        if not kept.any():
            continue
        rows = known[kept].rename(columns={"specific_share": "specific"})
        shift = 0.2 * (np.minimum(place[kept], 2) - 0.5)
        _points(
            axes, rows, "specific", at(rows["detector"]) + shift, marker, color, name, fill=fill
        )
    axes.set_xlim(min(0.0, axes.get_xlim()[0]), max(1.0, axes.get_xlim()[1]))
    label = "share of the difference of fakes and reals\nthat single methods do not share"
    return _finished(figure, axes, label, 3)


def alike_figure(frame: pd.DataFrame) -> Figure | None:
    """Draw the SSIM of variants' maps, with other images and other seeds, per architecture.

    Parameters
    ----------
    frame : pandas.DataFrame
        Joint table ``similarity``.
    """
    known = frame[frame["mean"].notna()]
    if not len(known):
        return None
    names, modes = list(dict.fromkeys(known["architecture"])), list(dict.fromkeys(known["mode"]))
    datasets = list(dict.fromkeys(known["dataset"]))
    with mpl.rc_context(STYLE):
        size = (
            PAGE if len(modes) > 1 else COLUMN,
            (0.135 * len(datasets) + 0.3) * len(names) + 0.8,
        )
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(names), len(modes), squeeze=False, sharex=True, sharey=True)
        for (r, c), axes in np.ndenumerate(panels):
            rows = known[(known["architecture"] == names[r]) & (known["mode"] == modes[c])]
            _alike(axes, rows, datasets)
            axes.set_title(f"{cut(names[r])}, {modes[c]} mode", fontsize=7)
        panels[0, 0].set_yticks(
            range(len(datasets)), [cut(one, 18) for one in datasets], fontsize=6.5
        )
        panels[0, 0].set_ylim(len(datasets) - 0.4, -0.6)
        figure.supxlabel(
            "mean SSIM of Grad-CAM of variants, 95% interval (dotted: the study's bins)",
            fontsize=7.5,
        )
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, labels, ncols=3, loc="outside upper center", frameon=False, fontsize=6.5
        )
    return figure


def _alike(axes: Axes, rows: pd.DataFrame, datasets: list[str]) -> None:
    places = rows["dataset"].map(datasets.index).to_numpy(float)
    for bound in (0.7, 0.9):
        axes.axvline(bound, color="0.35", lw=0.7, ls=":", zorder=0)
    for prefix, name, marker, color, fill, label in (
        ("", "mean", "o", "black", ORANGE, "the same image"),
        ("null_", "null_mean", "D", "black", "white", "different images (null)"),
        ("retrained_", "retrained_mean", "s", BLUE, "white", "same training, other seeds"),
    ):
        part = pd.DataFrame(
            {
                "x": rows[name],
                "x_low": rows[f"{prefix}low"],
                "x_high": rows[f"{prefix}high"],
            }
        )
        if part["x"].notna().any():
            _points(axes, part, "x", places, marker, color, label, fill=fill)
    axes.tick_params(labelsize=6.5, length=2)
    axes.spines[["top", "right"]].set_visible(False)


def looking_figure(frame: pd.DataFrame, part: str | None = None) -> Figure | None:
    """Draw in which regions maps of fakes are concentrated: region × dataset, a panel per detector.

    Parameters
    ----------
    frame : pandas.DataFrame
        Joint table ``attention``.
    part : str, optional
        Part of the mass; the first by default, which is "positive" for signed maps.
    """
    known = frame[(frame["label"] == 1) & frame["concentration"].notna()]
    if not len(known):
        return None
    known = known[known["part"] == (part or known["part"].iloc[0])]
    names = list(dict.fromkeys(known["detector"]))
    regions = list(dict.fromkeys(known["region"]))
    groups = list(dict.fromkeys(known["group"]))
    with mpl.rc_context(STYLE):
        size = (COLUMN + 0.6, (0.155 * len(groups) + 0.26) * len(names) + 1.0)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(names), 1, squeeze=False, sharex=True)[:, 0]
        drawn: Any = None
        for name, axes in zip(names, panels, strict=True):
            drawn = _looked(axes, known[known["detector"] == name], groups, regions)
            axes.set_title(cut(name), fontsize=7, pad=3)
        bar = figure.colorbar(
            drawn,
            ax=panels,
            aspect=30,
            extend="both",
            shrink=min(1.0, 2 / len(names) + 0.2),
            label="log₂ of share of mass over area",
        )
        bar.outline.set_linewidth(0.5)
        bar.ax.tick_params(labelsize=6)
        figure.supxlabel(
            "q ≤ .05: * unlike the other datasets, ° unlike the fakes' real images", fontsize=6.5
        )
    return figure


def _looked(axes: Axes, rows: pd.DataFrame, groups: list[str], regions: list[str]) -> Any:
    def table(name: str) -> NDArray[np.float64]:
        pivot = rows.pivot_table(index="group", columns="region", values=name, dropna=False)
        return np.asarray(pivot.reindex(index=groups, columns=regions), dtype=np.float64)

    value, q, change = (table(name) for name in ("concentration", "q", "change_q"))
    drawn = axes.imshow(value, cmap=colors_of(True), vmin=-3, vmax=3, aspect="auto")
    for r, c in np.ndindex(value.shape):
        if not np.isfinite(value[r, c]):
            axes.text(c, r, "–", ha="center", va="center", fontsize=5)
            continue
        marks = ("*" if q[r, c] <= ALPHA else "") + ("°" if change[r, c] <= ALPHA else "")
        text = f"{round(float(value[r, c]), 1) + 0.0:+.1f}{marks}".replace("-", "−")
        color = text_on(drawn.to_rgba(value[r, c]))
        axes.text(c, r, text, ha="center", va="center", fontsize=4.8, color=color)
    short = [cut(group.removesuffix(": fake"), 18) for group in groups]
    axes.set_yticks(range(len(groups)), short, fontsize=6)
    axes.set_xticks(
        range(len(regions)), regions, fontsize=6, rotation=40, ha="right", rotation_mode="anchor"
    )
    axes.tick_params(length=2)
    return drawn


def _rows(labels: pd.Series) -> tuple[Figure, Axes, Callable[[Any], NDArray[np.float64]]]:
    """Make axes with one row per detector, grouped by architecture on bands."""
    names = [str(name) for name in dict.fromkeys(labels)]
    groups = [name.rpartition("/")[0] or name for name in names]
    kinds = list(dict.fromkeys(groups))
    place = {
        name: i + 0.35 * kinds.index(group)
        for i, (name, group) in enumerate(zip(names, groups, strict=True))
    }
    last = max(place.values(), default=0.0)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 0.21 * (last + 1) + 0.95), layout="constrained")
        axes: Axes = figure.subplots()
        for kind in kinds[::2]:
            own = [place[name] for name, group in zip(names, groups, strict=True) if group == kind]
            axes.axhspan(min(own) - 0.62, max(own) + 0.62, color="0.955", lw=0, zorder=-2)
        axes.set_yticks(list(place.values()), [cut(name) for name in names], fontsize=6.5)
        axes.set_ylim(last + 0.65, -0.65)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelsize=6.5)
        axes.spines[["top", "right", "left"]].set_visible(False)
    return figure, axes, lambda those: np.array([place[str(name)] for name in those])


def _points(
    axes: Axes,
    rows: pd.DataFrame,
    name: str,
    places: NDArray[np.float64],
    marker: str,
    color: str,
    label: str,
    prefix: str | None = None,
    fill: str | None = None,
) -> None:
    """Draw values, with intervals where available."""
    lead = f"{name}_" if prefix is None else prefix
    value = rows[name].to_numpy(float)
    low, high = (rows[f"{lead}{end}"].to_numpy(float) for end in ("low", "high"))
    there = np.isfinite(low)
    axes.hlines(places[there], low[there], high[there], color=color, lw=1, zorder=2)
    axes.plot(
        value,
        places,
        marker,
        color=color,
        mfc=fill or color,
        ms=3.6,
        mew=0.9,
        ls="",
        label=label,
        zorder=3,
    )


def _finished(figure: Figure, axes: Axes, label: str, columns: int) -> Figure:
    """Add the legend and the axis label, centered on the figure."""
    with mpl.rc_context(STYLE):
        figure.supxlabel(label, fontsize=7)
        figure.legend(
            *axes.get_legend_handles_labels(),
            ncols=columns,
            frameon=False,
            loc="outside upper center",
            fontsize=6.5,
            columnspacing=1.0,
            handletextpad=0.4,
        )
    return figure


#: Name of each figure to its joint table and drawing function.
FIGURES: dict[str, tuple[str, Callable[[pd.DataFrame], Figure | None]]] = {
    "generalization": ("generalization", away_figure),
    "universal-units": ("universality", universal_figure),
    "ablation": ("ablation", excess_figure),
    "specific": ("layers", specific_figure),
    "map-similarity": ("similarity", alike_figure),
    "attention": ("attention", looking_figure),
}
