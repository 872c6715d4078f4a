"""Figures that summarize maps: means by dataset, differences of two, single maps, and by kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from probe.errors import ProbeError, UnknownNameError
from probe.plots.attribution_maps import (
    Images,
    Maps,
    Masks,
    attribution_figure,
    common_unit,
    default_scale,
    ends_for,
    heading_of,
    maps_figure,
    name_of,
    need_images,
    same_samples,
    title_of,
    unit_of,
)
from probe.plots.grid import ENDS, SCALES, Cell, grid_figure

__all__ = [
    "FIGURES",
    "difference_figure",
    "draw_attributions",
    "groups_of",
    "mean_attributions",
    "mean_maps_figure",
    "scale_of",
    "single_figure",
    "titles_of",
]


def mean_maps_figure(
    maps: Mapping[str, NDArray[Any]],
    images: Mapping[str, Images] | None = None,
    *,
    kind: str = "map",
    signed: bool = True,
    ends: tuple[str, str] = ENDS,
    scale: str = "figure",
    style: str | None = None,
    label: str = "mean attribution",
) -> Figure:
    """Draw mean maps over aligned faces, one column per group, below the mean of their images.

    Parameters
    ----------
    maps : mapping
        Title of a group, such as a dataset, to its maps, shape (n, h, w). Means are of the raw
        maps; they show positions only for aligned faces.
    images : mapping, optional
        Title of a group to its images, shape (n, h, w, 3), 0 to 255.
    kind : {"map", "overlay"}, default "map"
        "overlay" draws the mean map over the mean image.
    signed, ends
        As in `Cell`.
    scale, style, label
        As in `grid_figure`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    return _means({label: maps}, images, kind, {label: signed}, {label: ends}, scale, style, label)


def mean_attributions(
    maps: Mapping[str, Maps],
    images: Images | None = None,
    *,
    kind: str = "map",
    scale: str | None = None,
    style: str | None = None,
) -> Figure:
    """Draw mean maps by dataset and label: one column per group, one row per title.

    Parameters
    ----------
    maps : mapping
        Row title to maps, all of the same samples.
    images : sequence, optional
        One image per map, shape (n, h, w, 3), all of one size.
    kind, style
        As in `mean_maps_figure`.
    scale : str, optional
        As in `grid_figure`; "row" by default if there are several rows, else "figure".

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not maps:
        raise ProbeError("No attribution maps were given. Give at least one, with its title.")
    first = next(iter(maps.values()))
    groups = groups_of(first)
    split = {
        title: {name: found.values[at] for name, at in groups.items()}
        for title, found in maps.items()
    }
    shown = None
    if images is not None:
        shown = {name: [np.asarray(images[i]) for i in at] for name, at in groups.items()}
    rule = scale or ("row" if len(maps) > 1 else "figure")
    signs = {title: found.signed for title, found in maps.items()}
    ends = {title: ends_for(found) for title, found in maps.items()}
    label = f"mean {common_unit(maps)}".replace("columns", "rows")
    return _means(split, shown, kind, signs, ends, rule, style, label)


def groups_of(found: Maps) -> dict[str, NDArray[np.intp]]:
    """Return positions of the real and fake samples of each dataset; all if these are unknown."""
    data, n = found.data, int(found.data.sizes["sample"])
    known = "dataset" in data.coords
    datasets = np.array([str(name) for name in data["dataset"].values] if known else [""] * n)
    labels = data["label"].values if "label" in data.coords else np.full(n, -1)
    groups: dict[str, NDArray[np.intp]] = {}
    for dataset in dict.fromkeys(datasets):
        for label, word in ((-1, ""), (0, "real"), (1, "fake")):
            at = np.flatnonzero((datasets == dataset) & (labels == label))
            if at.size:
                groups[", ".join(filter(None, (str(dataset), word))) or "all"] = at
    return groups


def _means(
    maps: Mapping[str, Mapping[str, NDArray[Any]]],
    images: Mapping[str, Images] | None,
    kind: str,
    signed: Mapping[str, bool],
    ends: Mapping[str, tuple[str, str]],
    scale: str,
    style: str | None,
    label: str,
) -> Figure:
    names = list(next(iter(maps.values())))
    _check_groups(maps, images, names, kind)
    faces = {} if images is None else {name: _mean_image(images[name], name) for name in names}
    cells: list[list[Cell | None]] = [[Cell(faces[name]) for name in names]] if faces else []
    for title, own in maps.items():
        means = {name: np.asarray(np.mean(own[name], axis=0, dtype=np.float64)) for name in names}
        under = faces if kind == "overlay" else {}
        cells.append(
            [Cell(under.get(name), means[name], None, signed[title], ends[title]) for name in names]
        )
    first = next(iter(maps.values()))
    columns = [f"{name}\nn = {len(first[name])}" for name in names]
    rows = (["mean image"] if faces else []) + (["mean map"] if len(maps) == 1 else list(maps))
    return grid_figure(cells, columns, rows, scale=scale, style=style, label=label)


def _check_groups(
    maps: Mapping[str, Mapping[str, NDArray[Any]]],
    images: Mapping[str, Images] | None,
    names: Sequence[str],
    kind: str,
) -> None:
    need_images(kind, images)
    for own in maps.values():
        for name in names:
            if np.ndim(own[name]) != 3 or not len(own[name]):
                raise ProbeError(
                    f"Maps of shape {np.shape(own[name])} were given for {name!r}; a mean needs "
                    "shape (n, h, w) with n of at least 1."
                )
    missing = [name for name in names if images is not None and name not in images]
    if missing:
        raise ProbeError(f"There are no images of {', '.join(missing)}. Give all groups or none.")


def _mean_image(images: Images, name: str) -> NDArray[np.uint8]:
    shapes = {np.shape(image) for image in images}
    if len(shapes) != 1:
        raise ProbeError(
            f"Images of {len(shapes)} shapes were given for {name!r}; a mean needs one. Resize "
            "them to the size that the detector sees."
        )
    return np.asarray(np.mean(np.asarray(images), axis=0).round(), dtype=np.uint8)


def difference_figure(
    first: NDArray[Any],
    second: NDArray[Any],
    images: Images | None = None,
    masks: Masks | None = None,
    *,
    titles: tuple[str, str] = ("A", "B"),
    rows: Sequence[str] | None = None,
    signed: bool = True,
    ends: tuple[str, str] = ENDS,
    style: str | None = None,
    label: str = "attribution",
) -> Figure:
    """Draw maps of two variants, or of a fake and its original, and their difference.

    Parameters
    ----------
    first, second : numpy.ndarray
        Maps in the same unit, shape (n, h, w). Both share one scale; first − second has its own
        diverging scale.
    images, masks : sequence, optional
        One per row, as in `attribution_figure`.
    titles : tuple of str
        Titles of the two.
    rows : sequence of str, optional
        Row titles.
    signed, ends
        As in `Cell`, for the two maps.
    style, label
        As in `grid_figure`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ProbeError
        If the shapes differ.
    """
    if np.shape(first) != np.shape(second) or np.ndim(first) != 3:
        raise ProbeError(
            f"Maps of shapes {np.shape(first)} and {np.shape(second)} were given; a difference "
            "needs two of the same shape (n, h, w)."
        )
    cells = list(_difference_cells(first, second, images, masks, signed, ends, titles))
    columns = ([] if images is None else ["image"]) + [*titles, f"{titles[0]} − {titles[1]}"]
    names = list(rows) if rows is not None else [""] * len(first)
    return grid_figure(cells, columns, names, style=style, label=label)


def _difference_cells(
    first: NDArray[Any],
    second: NDArray[Any],
    images: Images | None,
    masks: Masks | None,
    signed: bool,
    ends: tuple[str, str],
    titles: tuple[str, str],
) -> Iterator[list[Cell | None]]:
    higher = (f"{titles[1]} higher", f"{titles[0]} higher")
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        mask = None if masks is None or masks[i] is None else np.asarray(masks[i])
        row: list[Cell | None] = [] if images is None else [Cell(np.asarray(images[i]))]
        row += [Cell(None, one, mask, signed, ends, "both") for one in (a, b)]
        gap = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
        yield [*row, Cell(None, gap, mask, True, higher, "difference")]


def single_figure(
    values: NDArray[Any],
    image: NDArray[Any] | None = None,
    mask: NDArray[Any] | None = None,
    *,
    title: str = "",
    kind: str = "map",
    signed: bool = True,
    ends: tuple[str, str] = ENDS,
    style: str | None = None,
    label: str = "attribution",
) -> Figure:
    """Draw one heatmap with its color bar, beside its image if one is given.

    Parameters
    ----------
    values : numpy.ndarray
        Map, shape (h, w).
    image, mask : numpy.ndarray, optional
        Shapes (h, w, 3) and (h, w), 0 to 255.
    title : str
        Title of the map.
    kind : {"map", "overlay"}, default "map"
        "overlay" draws the map over the image.
    signed, ends
        As in `Cell`.
    style, label
        As in `grid_figure`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    need_images(kind, image)
    under = image if kind == "overlay" else None
    cells: list[Cell | None] = [] if image is None else [Cell(image)]
    cells.append(Cell(under, np.asarray(values), mask, signed, ends))
    titles = ([] if image is None else ["image"]) + [title]
    return grid_figure([cells], titles, [""], style=style, label=label)


def single_attribution(
    found: Maps, i: int, image: NDArray[Any] | None, mask: NDArray[Any] | None, **options: Any
) -> Figure:
    """Draw one sample of attribution maps; see `single_figure`."""
    return single_figure(
        found.values[i],
        image,
        mask,
        title=heading_of(found),
        signed=found.signed,
        ends=ends_for(found),
        label=unit_of(found),
        **options,
    )


#: Kinds of figures, and the default number of samples of each; None for all.
FIGURES: dict[str, int | None] = {
    "map": 6,
    "overlay": 6,
    "mean": None,
    "difference": 4,
    "single": 1,
}


def draw_attributions(
    maps: Mapping[str, Maps],
    images: Images | None = None,
    masks: Masks | None = None,
    *,
    kind: str = "map",
    scale: str | None = None,
    style: str | None = None,
) -> Figure:
    """Draw all samples of one or several attribution maps.

    Parameters
    ----------
    maps : mapping
        Title to maps, all of the same samples.
    images, masks : sequence, optional
        One per sample, as in `maps_figure`.
    kind : {"map", "overlay", "mean", "difference", "single"}
        "mean" averages by dataset and label; "difference" needs two maps of the same method;
        "single" draws the first sample of the first map.
    scale, style : str, optional
        As in `grid_figure`; by default chosen to fit.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    UnknownNameError
        If the kind, scale or style is unknown.
    ProbeError
        If maps, images and masks do not match each other, or the kind.
    """
    if kind not in FIGURES:
        raise UnknownNameError("kind of figure", kind, FIGURES)
    rule = scale_of(maps, kind, scale)
    same_samples(maps)
    first = next(iter(maps.values()))
    if kind == "mean":
        return mean_attributions(maps, images, scale=rule, style=style)
    if kind == "difference":
        return _difference(maps, images, masks, style)
    if kind == "single":
        image, mask = (None if of is None else of[0] for of in (images, masks))
        return single_attribution(first, 0, image, mask, style=style)
    options: dict[str, Any] = {
        "kind": kind,
        "scale": rule,
        "style": style,
        "max_samples": len(first.values),
    }
    if len(maps) == 1:
        return maps_figure(first, images, masks, **options)
    return attribution_figure(maps, images, masks, **options)


def scale_of(maps: Mapping[str, Maps], kind: str, scale: str | None = None) -> str:
    """Return the rule by which `draw_attributions` shares color scales.

    Raises
    ------
    UnknownNameError
        If the given scale is unknown.
    ProbeError
        If there are no maps.
    """
    if not maps:
        raise ProbeError("No attribution maps were given. Give at least one.")
    if scale is not None and scale not in SCALES:
        raise UnknownNameError("scale", scale, SCALES)
    if kind in ("difference", "single"):
        return "figure"
    if kind == "mean":
        return scale or ("row" if len(maps) > 1 else "figure")
    return scale or default_scale(maps)


def titles_of(maps: list[Maps], names: list[str]) -> dict[str, Maps]:
    """Title maps by what distinguishes them: method, detector, both, or else file names."""
    methods = [heading_of(one) for one in maps]
    detectors = [one.detector for one in maps]
    both = [f"{method}, {detector}" for method, detector in zip(methods, detectors, strict=True)]
    for titles in (methods, detectors, both, names):
        if len(set(titles)) == len(maps) and all(titles):
            return dict(zip(titles, maps, strict=True))
    raise ProbeError(
        f"Maps of the same method, detector and file name were given: {', '.join(names)}. Give "
        "each once."
    )


def _difference(
    maps: Mapping[str, Maps], images: Images | None, masks: Masks | None, style: str | None
) -> Figure:
    if len(maps) != 2:
        raise ProbeError(f"{len(maps)} maps were given; a difference needs exactly two.")
    (title, first), (other, second) = maps.items()
    if (title_of(first), unit_of(first)) != (title_of(second), unit_of(second)):
        raise ProbeError(
            f"Maps by {title_of(first)} ({unit_of(first)}) and {title_of(second)} "
            f"({unit_of(second)}) have no common unit. Give two maps of one method and target, by "
            "different detectors."
        )
    names = [name_of(first, i, value=False) for i in range(len(first.values))]
    return difference_figure(
        np.asarray(first.values),
        np.asarray(second.values),
        images,
        masks,
        titles=(title, other),
        rows=names,
        signed=first.signed,
        ends=ends_for(first),
        style=style,
        label=f"{heading_of(first)}, {unit_of(first)}",
    )
