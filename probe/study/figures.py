"""The figures and thumbnails of a study."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probe import plots
from probe.artifacts import ArtifactMeasurements, ArtifactReport, ResponseReport
from probe.attribution import AttributionMap, attribute
from probe.datasets import Dataset
from probe.datasets.subset import draw, original_positions
from probe.detectors import Detector
from probe.errors import DatasetError, ProbeError
from probe.evaluation.matrix import ZeroShotMatrix
from probe.neurons import NeuronTable, Universality
from probe.plots import embedding as embedding_plots
from probe.plots import separability as separability_plots
from probe.plots.artifacts import draw_report
from probe.plots.joint import joint_figures
from probe.progress import note
from probe.run import RunFolder, slug
from probe.schema import FAKE, family_of
from probe.separability import Embeddings, SeparabilityReport
from probe.stats import sigmoid
from probe.store import ActivationStore
from probe.store.reader import VideoGroups
from probe.study.analyses import Explanations
from probe.study.plan import Study, heads_of, layer_of
from probe.thumbnails import write_thumbnails

__all__ = [
    "MOST",
    "draw_analyses",
    "draw_explanations",
    "draw_figures",
    "draw_joint",
    "heatmaps_on",
    "keep_thumbnails",
    "needed",
]

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


#: Maximum number of thumbnails of a run, at about 8 kB each.
MOST = 6000

#: Images drawn per dataset; worst errors per dataset, detector and label; images at each end of a
#: unit or of the difference of two detectors.
DRAWN, WORST, EACH = 24, 4, 4

#: Units per detector, the first of the list in the dashboard.
UNITS = 24


def keep_thumbnails(study: Study, folder: RunFolder, labels: Sequence[str], test: Dataset) -> int:
    """Write thumbnails of images outside the run, or remove those of an earlier run.

    Returns
    -------
    int
        Number of decoded images.

    Raises
    ------
    ImageError
        If an image cannot be read.
    """
    table = test.samples.table
    away = {
        str(name): row
        for row, (name, path) in enumerate(zip(table["sample"], table["path"], strict=True))
        if os.path.isabs(path)
    }
    if study.images != "link" or not away:
        folder.thumbnails.unlink(missing_ok=True)
        return 0
    wanted = (name for name in needed(folder, labels, test, study.seeds[0]) if name in away)
    rows = [away[name] for name in itertools.islice(wanted, MOST)]
    return write_thumbnails(folder.thumbnails, test, rows)


def needed(folder: RunFolder, labels: Sequence[str], test: Dataset, seed: int) -> Iterator[str]:
    """Iterate over the samples that the dashboard shows, without duplicates, by priority.

    Samples with maps; some drawn from each dataset; the worst errors of each detector; samples on
    which two detectors differ most; and samples at both ends of the first units.
    """
    scores = ZeroShotMatrix.open(folder.path("evaluation")).scores
    groups: tuple[Iterable[Iterable[str]], ...] = (
        [_mapped(folder)],
        [map(str, draw(test, DRAWN, seed).samples.table["sample"])],
        [_worst(scores)],
        [_differing(scores)],
        _in_turn([_driving(folder, label) for label in labels]),
    )
    seen: set[str] = set()
    for name in itertools.chain.from_iterable(itertools.chain.from_iterable(groups)):
        if name not in seen:
            seen.add(name)
            yield name


def _in_turn(several: Sequence[Iterator[list[str]]]) -> Iterator[list[str]]:
    for line in itertools.zip_longest(*several, fillvalue=[]):
        yield from line


def _mapped(folder: RunFolder) -> Iterator[str]:
    for place in sorted(folder.path("maps", "", "").parent.glob("*.zarr")):
        maps = AttributionMap.open(place, lazy=True)
        yield from map(str, maps.data["sample"].values)


def _worst(scores: pd.DataFrame) -> list[str]:
    """Return the worst errors of every detector, one frame per video."""
    sign = np.where(scores["label"] == 1, -1.0, 1.0)
    ordered = scores.assign(error=sign * scores["logit"]).sort_values(
        "error", ascending=False, kind="stable"
    )
    videos = ordered.drop_duplicates(["detector", "dataset", "label", "video"])
    return list(map(str, videos.groupby(["detector", "dataset", "label"]).head(WORST)["sample"]))


def _differing(scores: pd.DataFrame) -> list[str]:
    """Return the images on which detectors differ most by P(fake), pair by pair."""
    first = scores[scores["detector"] == scores["detector"].iloc[0]].reset_index(drop=True)
    # The rows of all detectors are of the same images, in the same order.
    chances = {
        str(name): np.asarray(sigmoid(rows["logit"].to_numpy(dtype=np.float64)))
        for name, rows in scores.groupby("detector", sort=False)
    }
    groups, names = VideoGroups.of(first), first["sample"].astype(str).to_numpy()
    out: list[str] = []
    for one, other in itertools.combinations(chances, 2):
        for ends in groups.ends(chances[one] - chances[other], EACH):
            out += [*names[ends.most], *names[ends.least]]
    return out


def _driving(folder: RunFolder, label: str) -> Iterator[list[str]]:
    """Iterate over the first units of a detector; yield the samples at both ends of each."""
    if not folder.path("universality", label).is_dir():
        # Universality needs two datasets; without it, no unit is listed.
        return
    neurons = NeuronTable.open(folder.path("neurons", label))
    layer = str(neurons.data.attrs["layer"])
    store = ActivationStore.open(folder.store(label)) if folder.store(label).is_dir() else None
    if store is None or layer not in {*store.layers, *store.attrs["layers"].values()}:
        # The dashboard shows no such images either.
        return
    units = Universality.open(folder.path("universality", label)).ranked(neurons)[:UNITS]
    taken = store[layer]["activation"].sel(unit=neurons.data["unit"].values[units])
    values = taken.transpose("unit", "sample")
    groups, names = VideoGroups.of(store.samples), store.samples["sample"].astype(str).to_numpy()
    for one in values.values:
        if np.isfinite(one).all():
            found = groups.ends(one, EACH)
            yield [str(name) for ends in found for name in names[[*ends.most, *ends.least]]]
