"""Figures that are compared with references; `python -m tests.figures.drawn` draws them anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from probe.plots import (
    attribution_figure,
    difference_figure,
    maps_figure,
    mean_attributions,
    save_figure,
    single_attribution,
)
from tests.figures.making import images_of, many, maps_of, masks_of

REFERENCE = Path(__file__).parent / "reference"
DPI = 80

DRAWN: dict[str, Callable[[], Figure]] = {
    "map": lambda: maps_figure(maps_of(4), images_of(4), masks_of(4)),
    "overlay-cell": lambda: maps_figure(
        maps_of(4), images_of(4), masks_of(4), kind="overlay", scale="cell", columns=2
    ),
    "methods": lambda: attribution_figure(many(6, 2), images_of(2), masks_of(2)),
    "rows": lambda: attribution_figure(
        {"meso4": maps_of(2), "xception": maps_of(2, height=3)}, scale="row", style="nature"
    ),
    "means": lambda: mean_attributions({"Grad-CAM": maps_of(8)}, images_of(8), style="acm"),
    "difference": lambda: difference_figure(
        maps_of(2).values,
        maps_of(2, shift=0.1).values,
        images_of(2),
        titles=("base", "deep"),
        rows=["fake", "real"],
    ),
    "single": lambda: single_attribution(
        maps_of(1, title="Saliency", signed=False), 0, images_of(1)[0], masks_of(1)[0]
    ),
}

if __name__ == "__main__":
    for name, draw in DRAWN.items():
        save_figure(draw(), REFERENCE / f"{name}.png", dpi=DPI)
