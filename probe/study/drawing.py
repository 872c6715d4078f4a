"""The figures of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probe import figures
from probe.artifacts import ArtifactMeasurements, ArtifactReport
from probe.artifacts.drawing import draw_report
from probe.attribution import attribute
from probe.attribution.drawing import regions_figure, similarity_figure
from probe.datasets import Dataset
from probe.datasets.originals import original_positions
from probe.datasets.subset import draw
from probe.detectors import Detector
from probe.detectors.evaluation import ZeroShotMatrix
from probe.embed import Embeddings
from probe.embed import drawing as embed_drawing
from probe.errors import DatasetError
from probe.neurons import Universality
from probe.responses import ResponseReport
from probe.responses import drawing as responses_drawing
from probe.run import RunFolder, slug
from probe.schema import FAKE
from probe.separability import SeparabilityReport
from probe.separability import drawing as separability_drawing
from probe.store import ActivationStore
from probe.study.explaining import Explanations
from probe.study.plan import Study, layer_of
from probe.study.stages import figure_names

__all__ = ["draw_analyses", "draw_explanations", "draw_figures", "heatmaps_on"]


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
        layer, seed = study.figures.heatmap_layer, study.seeds[0]
        drawn[names["heatmaps"]] = heatmaps_on(those, test, layer, seed)
    if study.figures.matrix:
        drawn[names["matrix"]] = figures.matrix_figure(matrix.data)
    if study.figures.counts:
        found = universality[those[0].name].data
        drawn[names["counts"]] = figures.counts_figure(found)
    for name, figure in drawn.items():
        for suffix in (".pdf", ".png"):
            figures.save_figure(figure, folder.figures / f"{name}{suffix}")


def draw_analyses(
    study: Study,
    folder: RunFolder,
    first: str,
    separability: Mapping[str, SeparabilityReport],
    measured: tuple[ArtifactMeasurements, ArtifactReport] | None,
    responses: Mapping[str, ResponseReport],
) -> None:
    """Draw separability, artefacts and responses of the first detector, as PDF and PNG."""
    drawn, end = dict[str, Any](), slug(first.rpartition("/")[0])
    if study.figures.separability and first in separability:
        found = separability_drawing.figures_of(separability[first])
        drawn |= {f"{name}-{end}": figure for name, figure in found.items()}
        place = folder.embeddings(first)
        if place.is_dir():
            samples = ActivationStore.open(folder.store(first)).samples
            pictures = embed_drawing.figures_of(Embeddings.open(place), samples)
            drawn |= {f"{name}-{end}": figure for name, figure in pictures.items()}
    if study.figures.artifacts and first in responses:
        one = responses[first]
        if one.has_doses:
            drawn[f"responses-doses-{end}"] = responses_drawing.dose_figure(one)
            drawn[f"responses-units-{end}"] = responses_drawing.unit_figure(one)
        if one.has_correlations:
            drawn[f"responses-correlations-{end}"] = responses_drawing.correlation_figure(one)
    for suffix in (".pdf", ".png"):
        for name, figure in drawn.items():
            figures.save_figure(figure, folder.figures / f"{name}{suffix}")
        if study.figures.artifacts and measured:
            draw_report(measured[1], folder.figures, suffix)


def draw_explanations(
    study: Study, folder: RunFolder, first: Detector, found: Explanations
) -> None:
    """Draw where the first detector looks, and how alike its variants look, as PDF and PNG."""
    if not study.figures.attribution:
        return
    name, drawn = first.spec.name, dict[str, Any]()
    if first.name in found.attention:
        drawn[f"looking-{slug(name)}"] = regions_figure(found.attention[first.name].data)
    if (name, "corrected") in found.similarity:
        data = found.similarity[name, "corrected"].data
        drawn[f"map-similarity-{slug(name)}"] = similarity_figure(data)
    for place, figure in drawn.items():
        for suffix in (".pdf", ".png"):
            figures.save_figure(figure, folder.figures / f"{place}{suffix}")


def heatmaps_on(
    detectors: list[Detector], test: Dataset, layer: str = "last_conv", seed: int = 0
) -> Any:
    """Draw a fake of each dataset by seed, the real image beside it, and Grad-CAM of detectors."""
    if not (test.labels == FAKE).any():
        raise DatasetError("No dataset of the study holds a fake to draw a heatmap of.")
    fakes = draw(test.select(label=FAKE), 1, seed)
    path = layer_of(detectors[0].spec.name, layer)
    maps = {one.name: attribute(one, fakes, layer=path, progress=False) for one in detectors}
    images = [fakes.image(i) for i in range(len(fakes))]
    masks = [fakes.mask(i) for i in range(len(fakes))]
    places = original_positions(fakes, test)
    originals = [test.image(int(i)) if i >= 0 else None for i in places]
    return figures.attribution_figure(
        maps, images, masks, style="ieee-page", most=len(fakes),
        originals=originals if (places >= 0).any() else None,
    )  # fmt: skip
