"""Attribution figures by kind, as drawn by `probe figures`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from probe.errors import ProbeError, UnknownNameError
from probe.figures.attributions import (
    Images,
    Maps,
    Masks,
    attribution_figure,
    default_scale,
    ends_for,
    heading_of,
    maps_figure,
    name_of,
    same_samples,
    title_of,
    unit_of,
)
from probe.figures.cells import SCALES
from probe.figures.summaries import difference_figure, mean_attributions, single_attribution

__all__ = ["FIGURES", "draw_attributions", "scale_of", "titles_of"]

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
    detectors = [str(one.data.attrs.get("detector", "")) for one in maps]
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
