"""The figures of a study."""

from __future__ import annotations

from typing import Any

from probe import figures
from probe.attribution import attribute
from probe.datasets import Dataset
from probe.datasets.dataset import concatenate
from probe.detectors import Detector
from probe.detectors.evaluation import ZeroShotMatrix
from probe.errors import DatasetError
from probe.neurons import Universality
from probe.run import RunFolder
from probe.schema import FAKE
from probe.study.plan import Study, layer_of
from probe.study.stages import figure_names

__all__ = ["draw_figures", "heatmaps_on"]


def draw_figures(
    study: Study,
    folder: RunFolder,
    detectors: list[Detector],
    test: Dataset,
    matrix: ZeroShotMatrix,
    universality: dict[str, Universality],
) -> None:
    """Draw what the study asks for, as PDF and PNG.

    Heatmaps are of the first architecture in all its variants; counts of its first.
    """
    first = detectors[0].spec.name
    those = [one for one in detectors if one.spec.name == first]
    names, drawn = figure_names(study), dict[str, Any]()
    if study.figures.heatmaps:
        drawn[names["heatmaps"]] = heatmaps_on(those, test, study.figures.heatmap_layer)
    if study.figures.matrix:
        drawn[names["matrix"]] = figures.matrix_figure(matrix.data)
    if study.figures.counts:
        found = universality[those[0].name].data
        drawn[names["counts"]] = figures.counts_figure(found)
    for name, figure in drawn.items():
        for suffix in (".pdf", ".png"):
            figures.save_figure(figure, folder.figures / f"{name}{suffix}")


def heatmaps_on(detectors: list[Detector], test: Dataset, layer: str = "last_conv") -> Any:
    """Draw the first fake of each dataset, the real image beside it, and Grad-CAM of detectors."""
    rows = []
    for part in test.by_dataset().values():
        if (part.labels == FAKE).any():
            rows.append(part.select(label=FAKE).take([0]))
    if not rows:
        raise DatasetError("No dataset of the study holds a fake to draw a heatmap of.")
    fakes = concatenate(rows, "fakes")
    images = fakes.array(range(len(fakes)), detectors[0].spec.input_size)
    path = layer_of(detectors[0].spec.name, layer)
    maps = {one.name: attribute(one, images, layer=path).values for one in detectors}
    shown = {"fake": [fakes.image(i) for i in range(len(fakes))]}
    reals = _pairs(fakes, test)
    if reals is not None:
        shown = {"real": reals, **shown}
    masks = [fakes.mask(i) for i in range(len(fakes))]
    return figures.heatmap_figure(shown, maps, masks, [row.name for row in rows])


def _pairs(fakes: Dataset, test: Dataset) -> list[Any] | None:
    """Read the real image that each fake was made from; None unless all are known."""
    if "pair" not in fakes.samples.table:
        return None
    by_id = {name: i for i, name in enumerate(test.samples.table["sample"])}
    pairs = list(fakes.samples.table["pair"])
    if not all(pair in by_id for pair in pairs):
        return None
    return [test.image(by_id[pair]) for pair in pairs]
