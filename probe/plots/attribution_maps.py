"""Figures of attribution maps: samples by methods, detectors or variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from probe.datasets.subset import draw_rows
from probe.errors import ProbeError, UnknownNameError
from probe.plots.grid import ENDS, Cell, grid_figure
from probe.schema import family_of

__all__ = [
    "Images",
    "KINDS",
    "LOGIT",
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

#: Kinds of drawing: the map alone, or over its image.
KINDS = ("map", "overlay")

#: Name of the default target.
LOGIT = "fake logit"

#: Columns that samples are spread over, and their names in the maps.
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
    """Interface of `probe.attribution.AttributionMap` that figures use."""

    @property
    def data(self) -> Any:
        """Labeled arrays, with attributes ``method``, ``title``, ``target``."""

    @property
    def detector(self) -> str:
        """Label of the detector."""

    @property
    def values(self) -> NDArray[np.float32]:
        """Maps, shape (sample, y, x)."""

    @property
    def signed(self) -> bool:
        """Whether the sign has a meaning."""


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
    """Draw the maps of one method side by side, below their images.

    Parameters
    ----------
    found : AttributionMap
        Maps to draw.
    images : numpy.ndarray or sequence, optional
        One image per map, shape (n, h, w, 3), 0 to 255.
    masks : sequence, optional
        Forgery mask of each image, shape (h, w), 0 to 255, or None; drawn as an outline.
    kind : {"map", "overlay"}, default "map"
        "overlay" draws the maps over the images, which become gray with low contrast.
    rows : sequence of int, optional
        Positions of the samples to draw; by default `max_samples`, spread over datasets and
        classes.
    scale : {"figure", "row", "cell"}, default "figure"
        Which maps share a color scale.
    style : str, optional
        Name in `probe.plots.STYLES`; by default one that fits.
    columns : int, optional
        Samples per row; up to 6 by default.
    max_samples : int, default 6
        Number of samples drawn if `rows` is not given.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ProbeError
        If images, masks or rows do not match the maps.
    UnknownNameError
        If the kind, scale or style is unknown.
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
    # With several lines there are no titles, which would name only the samples of the first.
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
    """Return rows of cells and their labels; each line of samples is images, then maps."""
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
    """Draw a grid of samples × methods, detectors or variants.

    Parameters
    ----------
    maps : mapping
        Column title to maps, all of the same samples.
    images, masks, kind, rows, style, max_samples
        As in `maps_figure`; here samples are rows, and the images are the first column.
    scale : {"figure", "row", "column", "cell"}, optional
        Which maps share a color scale. By default those of a column if the columns differ in
        method or target, and thus in unit, else all; but never maps of two architectures or of
        imported weights, whose magnitudes can differ a thousandfold.
    originals : sequence, optional
        The real image that each fake was made from, as in `images`, or None; drawn as a column
        before the images.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ProbeError
        If the maps are not of the same samples, or as in `maps_figure`.
    UnknownNameError
        If the kind, scale or style is unknown.
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
    """Return the scale group of each column if there are several architectures; else "".

    Magnitudes of two architectures can differ a thousandfold: on one scale, the smaller maps would
    be gray. Variants of one architecture share a scale, so that they can be compared.
    """
    kinds = {title: family_of(one.detector) for title, one in maps.items()}
    if len(set(kinds.values())) == 1:
        return dict.fromkeys(maps, "")
    return {
        title: f"{kinds[title]} {title_of(one)} {target_of(one)}" for title, one in maps.items()
    }


def default_scale(maps: Mapping[str, Maps]) -> str:
    """Return "column" if units differ between columns, else "figure"."""
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
                f"{len(own)} samples, or have them in another order. Compute both on the same "
                "images, or select the common samples with `take`."
            )


def title_of(found: Maps) -> str:
    """Return the printed name of a method."""
    return str(found.data.attrs.get("title") or found.data.attrs["method"])


def heading_of(found: Maps) -> str:
    """Return the printed name of a method, capitalized."""
    title = title_of(found)
    return title[:1].upper() + title[1:]


def target_of(found: Maps) -> str:
    """Return the name of the target: "fake logit", or a unit or set of units."""
    target = str(found.data.attrs.get("target", LOGIT))
    return LOGIT if target == "logit" else target


def ends_for(found: Maps) -> tuple[str, str]:
    """Return the meanings of the negative and the positive end of a map."""
    target = target_of(found)
    return ENDS if target == LOGIT else (f"{target} down", f"{target} up")


def unit_of(found: Maps) -> str:
    """Return the target and its unit, for a color bar."""
    word = "attribution of" if found.signed else "magnitude for"
    unit = "method's unit"
    if found.data.attrs.get("complete"):
        unit = "logits" if target_of(found) == LOGIT else "its unit"
    return f"{word} {'the ' if target_of(found) == LOGIT else ''}{target_of(found)} ({unit})"


def common_unit(maps: Mapping[str, Maps]) -> str:
    """Return the unit of several maps, or a text that columns differ in unit."""
    units = list(dict.fromkeys(unit_of(found) for found in maps.values()))
    targets = list(dict.fromkeys(target_of(found) for found in maps.values()))
    if len(units) == 1 and default_scale(maps) == "figure":
        return units[0]
    what = f" of {'the ' if targets[0] == LOGIT else ''}{targets[0]}" if len(targets) == 1 else ""
    return f"attribution{what}, columns differ in unit"


def name_of(found: Maps, i: int, value: bool = True) -> str:
    """Return the name of a sample in a figure: forgery method or label, and its logit."""
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
    """Return positions of `n` samples, spread over datasets and classes."""
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
            f"Rows {chosen} of {n} maps were given. Give at least one position from 0 to {n - 1}."
        )
    return chosen


def need_images(kind: str, images: object) -> None:
    """Raise an error if the kind of figure is unknown, or lacks the images that it needs."""
    if kind not in KINDS:
        raise UnknownNameError("kind of figure", kind, KINDS)
    if kind == "overlay" and images is None:
        raise ProbeError(
            "An overlay needs images, and none were given. Give them (images=, or --data), or "
            "choose the kind 'map'."
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
