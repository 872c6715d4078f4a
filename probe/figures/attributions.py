"""Figures of attribution maps: samples × methods, detectors or variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from probe.datasets.subset import draw_rows
from probe.errors import ProbeError, UnknownNameError
from probe.figures.cells import ENDS, Cell
from probe.figures.grids import grid_figure
from probe.schema import family_of

__all__ = [
    "KINDS",
    "LOGIT",
    "Images",
    "Maps",
    "Masks",
    "attribution_figure",
    "common_unit",
    "default_scale",
    "drawn_samples",
    "ends_for",
    "heading_of",
    "maps_figure",
    "name_of",
    "need_images",
    "same_samples",
    "target_of",
    "title_of",
    "unit_of",
]

#: How a map is drawn: alone, or over its image.
KINDS = ("map", "overlay")

#: What is explained by default.
LOGIT = "fake logit"

#: Columns that samples are drawn by, and what maps call them.
COLUMNS = {
    "dataset": "dataset",
    "label": "label",
    "method": "forgery",
    "video": "video",
    "identity": "cluster",
}

Images = NDArray[Any] | Sequence[NDArray[Any]]
Masks = Sequence[NDArray[Any] | None] | NDArray[Any]


class Maps(Protocol):
    """What figures need of a `probe.attribution.AttributionMap`."""

    @property
    def data(self) -> Any:
        """Labeled arrays, with attributes ``method``, ``title``, ``target``."""

    @property
    def values(self) -> NDArray[np.float32]:
        """Maps, shape (sample, y, x)."""

    @property
    def signed(self) -> bool:
        """Whether the sign means something."""


def maps_figure(
    found: Maps,
    images: Images | None = None,
    masks: Masks | None = None,
    *,
    kind: str = "map",
    rows: Sequence[int] | None = None,
    scale: str = "figure",
    style: str | None = None,
    columns: int | None = None,
    max_samples: int = 6,
) -> Figure:
    """Draw the maps of one method, side by side, under their images.

    Parameters
    ----------
    found : AttributionMap
        Maps.
    images : numpy.ndarray or sequence, optional
        One a map, shape (n, h, w, 3), 0 to 255.
    masks : sequence, optional
        Forgery mask of each image, shape (h, w), 0 to 255, or None; drawn as an outline.
    kind : {"map", "overlay"}, default "map"
        "overlay" lays the maps over the images, which become gray and lose contrast.
    rows : sequence of int, optional
        Positions of the samples to draw; by default `max_samples`, by a draw over datasets and
        classes.
    scale : {"figure", "row", "cell"}, default "figure"
        Which maps share a scale of colors.
    style : str, optional
        Name in `probe.figures.STYLES`; by default one that fits.
    columns : int, optional
        Samples side by side, by default up to 6; more go below.
    max_samples : int, default 6
        How many samples are drawn without `rows`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ProbeError
        If images, masks or rows do not belong to the maps.
    UnknownNameError
        If there is no such kind, scale or style.
    """
    chosen = _chosen(found, rows, max_samples)
    _check(found, images, masks, kind)
    wide = max(1, columns or min(len(chosen), 6))
    cells, labels = _lines(
        found,
        images,
        masks,
        kind,
        [chosen[start : start + wide] for start in range(0, len(chosen), wide)],
    )
    # Beneath the first line there is no room for titles: they would name the wrong samples.
    one = len(chosen) <= wide
    titles = [name_of(found, i) if one else "" for i in chosen[:wide]]
    label = f"{heading_of(found)}, {unit_of(found)}"
    return grid_figure(cells, titles, labels, scale=scale, style=style, label=label)


def _lines(
    found: Maps,
    images: Images | None,
    masks: Masks | None,
    kind: str,
    lines: Sequence[Sequence[int]],
) -> tuple[list[list[Cell | None]], list[str]]:
    """Return rows of cells and their labels: each line of samples is images, then maps."""
    cells: list[list[Cell | None]] = []
    labels: list[str] = []
    for line in lines:
        blank: list[Cell | None] = [None] * (len(lines[0]) - len(line))
        if images is not None:
            cells.append([*(Cell(np.asarray(images[i])) for i in line), *blank])
            labels.append("image")
        cells.append([*(_cell(found, i, images, masks, kind) for i in line), *blank])
        labels.append(heading_of(found))
    return cells, labels


def attribution_figure(
    maps: Mapping[str, Maps],
    images: Images | None = None,
    masks: Masks | None = None,
    *,
    kind: str = "map",
    rows: Sequence[int] | None = None,
    scale: str | None = None,
    style: str | None = None,
    max_samples: int = 6,
    originals: Sequence[NDArray[Any] | None] | None = None,
) -> Figure:
    """Draw samples × methods, detectors or variants.

    Parameters
    ----------
    maps : mapping
        Title of a column to its maps, all of the same samples.
    images, masks, kind, rows, style, most
        As in `maps_figure`; samples are rows here, and the images the first column.
    scale : {"figure", "row", "column", "cell"}, optional
        Which maps share a scale of colors: by default those of a column where the columns
        differ in method or target, whose units differ then, else all; and never maps of two
        architectures, or of brought weights, whose magnitudes may differ a thousandfold.
    originals : sequence, optional
        What each fake was made of, as `images`, or None; a column before them.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ProbeError
        If the maps are not of the same samples, or as for `maps_figure`.
    UnknownNameError
        If there is no such kind, scale or style.
    """
    if not maps:
        raise ProbeError("No attribution maps were given. Give at least one, with its title.")
    first = next(iter(maps.values()))
    same_samples(maps)
    chosen = _chosen(first, rows, max_samples)
    for found in maps.values():
        _check(found, images, masks, kind)
    shown = {"original": originals, "image": images}
    if originals is not None and images is not None:
        shown = {"original": originals, "fake": images}
    shown = {title: those for title, those in shown.items() if those is not None}
    groups = _groups(maps) if scale is None else dict.fromkeys(maps, "")
    cells = [
        [
            *(_picture(those, i) for those in shown.values()),
            *(_cell(found, i, images, masks, kind, groups[title]) for title, found in maps.items()),
        ]
        for i in chosen
    ]
    titles = [*shown, *maps]
    alone = len(maps) == 1
    names = [name_of(first, i, alone) for i in chosen]
    rule = scale or default_scale(maps)
    label = common_unit(maps)
    return grid_figure(cells, titles, names, scale=rule, style=style, label=label)


def _groups(maps: Mapping[str, Maps]) -> dict[str, str]:
    """Say which columns share a scale where several families are shown; "" for the rule.

    Maps of two architectures may differ a thousandfold, and on one scale the smaller ones would be
    gray; variants of one are there to be compared.
    """
    kinds = {
        title: family_of(str(one.data.attrs.get("detector", ""))) for title, one in maps.items()
    }
    if len(set(kinds.values())) == 1:
        return dict.fromkeys(maps, "")
    return {
        title: f"{kinds[title]} {title_of(one)} {target_of(one)}" for title, one in maps.items()
    }


def default_scale(maps: Mapping[str, Maps]) -> str:
    """Return "column" where units differ between columns, else "figure"."""
    kinds = {(title_of(found), target_of(found)) for found in maps.values()}
    return "figure" if len(kinds) == 1 else "column"


def same_samples(maps: Mapping[str, Maps]) -> None:
    """Raise `ProbeError` unless all maps are of the same samples, in the same order."""
    names = {title: [str(s) for s in one.data["sample"].values] for title, one in maps.items()}
    first = next(iter(names))
    for title, own in names.items():
        if own != names[first]:
            shared = len(set(own) & set(names[first]))
            raise ProbeError(
                f"The maps {first!r} and {title!r} share {shared} of {len(names[first])} and "
                f"{len(own)} samples, or hold them in another order. Compute both on the same "
                "images, or `take` those that both hold."
            )


def title_of(found: Maps) -> str:
    """Return what a method is called in print."""
    return str(found.data.attrs.get("title") or found.data.attrs["method"])


def heading_of(found: Maps) -> str:
    """Return the name of a method with a capital, as a title."""
    title = title_of(found)
    return title[:1].upper() + title[1:]


def target_of(found: Maps) -> str:
    """Return what is explained: "fake logit", or a unit or set of units."""
    target = str(found.data.attrs.get("target", LOGIT))
    return LOGIT if target == "logit" else target


def ends_for(found: Maps) -> tuple[str, str]:
    """Return what the negative and the positive end of a map mean."""
    target = target_of(found)
    return ENDS if target == LOGIT else (f"{target} down", f"{target} up")


def unit_of(found: Maps) -> str:
    """Return what is explained and in which kind of number, for a color bar."""
    word = "attribution of" if found.signed else "magnitude for"
    unit = "method's unit"
    if found.data.attrs.get("complete"):
        unit = "logits" if target_of(found) == LOGIT else "its unit"
    return f"{word} {'the ' if target_of(found) == LOGIT else ''}{target_of(found)} ({unit})"


def common_unit(maps: Mapping[str, Maps]) -> str:
    """Return the unit of several maps, or say that methods have units of their own."""
    units = list(dict.fromkeys(unit_of(found) for found in maps.values()))
    targets = list(dict.fromkeys(target_of(found) for found in maps.values()))
    if len(units) == 1 and default_scale(maps) == "figure":
        return units[0]
    what = f" of {'the ' if targets[0] == LOGIT else ''}{targets[0]}" if len(targets) == 1 else ""
    return f"attribution{what}, columns differ in unit"


def name_of(found: Maps, i: int, value: bool = True) -> str:
    """Return what a sample is called in a figure: its forgery or label, and the logit on it."""
    data = found.data
    name = str(data["sample"].values[i])
    if "label" in data.coords:
        fake = int(data["label"].values[i]) == 1
        forgery = str(data["forgery"].values[i]) if fake and "forgery" in data.coords else ""
        name = (forgery or "fake") if fake else "real"
    if value and "value" in data and target_of(found) == LOGIT:
        number = float(data["value"].values[i])
        name += f"\nlogit {number:+.1f}".replace("-", "−") if np.isfinite(number) else ""
    return name


def _picture(images: Any, i: int) -> Cell | None:
    return None if images[i] is None else Cell(np.asarray(images[i]))


def _cell(
    found: Maps, i: int, images: Images | None, masks: Masks | None, kind: str, group: str = ""
) -> Cell:
    mask = None if masks is None or masks[i] is None else np.asarray(masks[i])
    image = np.asarray(images[i]) if kind == "overlay" and images is not None else None
    values = np.asarray(found.data["attribution"].values[i])
    return Cell(image, values, mask, found.signed, ends_for(found), group)


def drawn_samples(found: Maps, n: int, seed: int = 0) -> list[int]:
    """Draw positions of samples, datasets and classes in turn, by what the maps say of them."""
    data, total = found.data, int(found.data.sizes["sample"])
    columns = {
        column: data[name].values.tolist() if name in data.coords else [0] * total
        for column, name in COLUMNS.items()
    }
    names = [str(name) for name in data["sample"].values]
    table = pd.DataFrame({**columns, "sample": names, "frame": names})
    return [int(row) for row in draw_rows(table, n, seed, turns=("dataset", "label"))]


def _chosen(found: Maps, rows: Sequence[int] | None, max_samples: int) -> list[int]:
    n = int(found.data.sizes["sample"])
    chosen = drawn_samples(found, max_samples) if rows is None else [int(i) for i in rows]
    if not chosen or not all(0 <= i < n for i in chosen):
        raise ProbeError(
            f"Rows {chosen} of {n} maps were asked for. Give positions from 0 to {n - 1}, at "
            "least one."
        )
    return chosen


def need_images(kind: str, images: object) -> None:
    """Raise unless the kind of figure is known and has the images that it needs."""
    if kind not in KINDS:
        raise UnknownNameError("kind of figure", kind, KINDS)
    if kind == "overlay" and images is None:
        raise ProbeError(
            "An overlay was asked for without images. Give them (images=, or --data), or take the "
            "kind 'map'."
        )


def _check(found: Maps, images: Images | None, masks: Masks | None, kind: str) -> None:
    need_images(kind, images)
    n = int(found.data.sizes["sample"])
    for name, given in (("images", images), ("masks", masks)):
        if given is not None and len(given) != n:
            raise ProbeError(
                f"{len(given)} {name} were given for {n} maps. Give one for each map, in its "
                "order" + (", None where there is no mask." if name == "masks" else ".")
            )
