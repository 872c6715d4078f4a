"""The figures of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from probe import plots
from probe.artifacts import ArtifactMeasurements, ArtifactReport, ResponseReport
from probe.attribution import attribute
from probe.datasets import Dataset
from probe.datasets.subset import draw, original_positions
from probe.detectors import Detector
from probe.errors import DatasetError, ProbeError
from probe.evaluation.matrix import ZeroShotMatrix
from probe.neurons import Universality
from probe.plots import embedding as embedding_plots
from probe.plots import separability as separability_plots
from probe.plots.artifacts import draw_report
from probe.plots.joint import joint_figures
from probe.progress import note
from probe.run import RunFolder, slug
from probe.schema import FAKE, family_of
from probe.separability import Embeddings, SeparabilityReport
from probe.store import ActivationStore
from probe.study.analyses import Explanations
from probe.study.plan import Study, heads_of, layer_of

__all__ = ["draw_analyses", "draw_explanations", "draw_figures", "draw_joint", "heatmaps_on"]

#: Key of the study file to the figures of joint tables that it requests.
JOINT = {
    "matrix": ("generalization",),
    "counts": ("universal-units", "ablation"),
    "separability": ("specific",),
    "attribution": ("map-similarity", "attention"),
}


def draw_figures(
    study: Study,
    folder: RunFolder,
    detectors: list[Detector],
    test: Dataset,
    matrix: ZeroShotMatrix,
    universality: dict[str, Universality],
) -> None:
    """Draw the zero-shot matrix, heatmaps and counts of universal units, as PDF and PNG.

    Heatmaps show all variants of an architecture; counts show its first detector, and all detectors
    together. Heatmaps need fakes, and counts need two datasets.
    """
    plan = study.figures
    if plan.matrix:
        _save(folder, "zero-shot-matrix", plots.plot_matrix(matrix))
    if plan.counts and universality:
        _save(folder, "universal-neurons", plots.plot_counts(universality))
    for name in dict.fromkeys(one.spec.name for one in detectors):
        those = [one for one in detectors if one.spec.name == name]
        if plan.heatmaps and (test.labels == FAKE).any():
            drawn = heatmaps_on(
                those, test, plan.heatmap_layer, study.seeds[0], study.images != "none"
            )
            _save(folder, f"heatmaps-{slug(name)}", drawn)
        if plan.counts and those[0].name in universality:
            counts = plots.plot_counts(universality[those[0].name])
            _save(folder, f"universal-neurons-{slug(name)}", counts)


def draw_analyses(
    study: Study,
    folder: RunFolder,
    separability: Mapping[str, SeparabilityReport],
    measured: tuple[ArtifactMeasurements, ArtifactReport] | None,
    responses: Mapping[str, ResponseReport],
) -> None:
    """Draw separability of all detectors (and of each base detector in full) and artifacts."""
    plan = study.figures
    if plan.separability and separability:
        layers = {one: layer_of(one.split("/")[0], study.neurons.layer) for one in separability}
        _save(folder, "probes", plots.plot_layer_information_grid(separability))
        transfer = plots.plot_transfer_grid(separability, layers)
        _save(folder, "transfer", transfer)
    for label in heads_of(study):
        end = slug(family_of(label))
        if plan.separability and label in separability:
            _save_all(folder, separability_plots.figures_of(separability[label]), end)
            _draw_pictures(folder, label, end)
        if plan.artifacts and label in responses:
            _draw_responses(folder, responses[label], end)
    if plan.artifacts and measured:
        for suffix in SUFFIXES:
            draw_report(measured[1], folder.figures, suffix)


def _draw_pictures(folder: RunFolder, label: str, end: str) -> None:
    place = folder.path("embeddings", label)
    if place.is_dir():
        samples = ActivationStore.open(folder.store(label)).samples
        _save_all(folder, embedding_plots.figures_of(Embeddings.open(place), samples), end)


def _draw_responses(folder: RunFolder, one: ResponseReport, end: str) -> None:
    if one.has_doses:
        _save(folder, f"responses-doses-{end}", plots.plot_doses(one))
        _save(folder, f"responses-units-{end}", plots.plot_dose_effects(one))
    if one.has_correlations:
        _save(folder, f"responses-correlations-{end}", plots.plot_correlations(one))


def draw_explanations(study: Study, folder: RunFolder, found: Explanations) -> None:
    """Draw region attention of detectors, and the similarity of maps of their variants."""
    if not study.figures.attribution:
        return
    for label, attention in found.attention.items():
        end = slug(family_of(label))
        try:
            _save(folder, f"looking-{end}", plots.plot_region_attention(attention))
        except ProbeError as error:
            note(f"No figure of regions for {label}: {error}")
    for (name, mode), similarity in found.similarity.items():
        if mode == "corrected":
            _save(folder, f"map-similarity-{slug(name)}", plots.plot_map_similarity(similarity))


def draw_joint(study: Study, folder: RunFolder, tables: Mapping[str, pd.DataFrame]) -> None:
    """Draw the figures of joint tables, with all detectors in one figure."""
    wanted = [name for key, names in JOINT.items() if getattr(study.figures, key) for name in names]
    for name, figure in joint_figures(tables, wanted).items():
        _save(folder, name, figure)


SUFFIXES = (".pdf", ".png")


def _save(folder: RunFolder, name: str, figure: Figure) -> None:
    for suffix in SUFFIXES:
        plots.save_figure(figure, folder.figures / f"{name}{suffix}")


def _save_all(folder: RunFolder, drawn: Mapping[str, Figure], end: str) -> None:
    for name, figure in drawn.items():
        _save(folder, f"{name}-{end}", figure)


def heatmaps_on(
    detectors: list[Detector],
    test: Dataset,
    layer: str = "last_conv",
    seed: int = 0,
    seen: bool = True,
) -> Any:
    """Draw a fake of each dataset, its real image, and Grad-CAM of detectors.

    The fakes are drawn by the seed. Without `seen`, only the maps are shown.
    """
    if not (test.labels == FAKE).any():
        raise DatasetError("No dataset of the study holds a fake to draw a heatmap of.")
    fakes = draw(test.select(label=FAKE), 1, seed)
    path = layer_of(detectors[0].spec.name, layer)
    maps = {one.name: attribute(one, fakes, layer=path, progress=False) for one in detectors}
    masks = [fakes.mask(i) for i in range(len(fakes))]
    images, originals = None, None
    if seen:
        images = [fakes.image(i) for i in range(len(fakes))]
        places = original_positions(fakes, test)
        if (places >= 0).any():
            originals = [test.image(int(i)) if i >= 0 else None for i in places]
    return plots.attribution_figure(
        maps,
        images,
        masks,
        style="ieee-page",
        scale="column",
        max_samples=len(fakes),
        originals=originals,
    )
