"""Stages that explain detectors: separability, artifacts, unit responses, attribution."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from probe.artifacts import (
    ArtifactMeasurements,
    ArtifactReport,
    DosedImages,
    ResponseReport,
    artifact_report,
    dose_response,
    measure_artifacts,
    relate,
    render_doses,
)
from probe.attribution import AttributionMap, Refusal, attribute
from probe.attribution.findings import MapSimilarity, RegionAttention
from probe.attribution.regions import attention_by_region
from probe.attribution.similarity import MODES, map_similarity
from probe.attribution.trust import TrustReport, trust_report
from probe.budget import parse_memory
from probe.datasets import Dataset
from probe.datasets.subset import draw
from probe.detectors import Detector
from probe.errors import ProbeError, StoreError
from probe.hooks import trace
from probe.neurons import Universality
from probe.run import RunFolder, slug
from probe.schema import FAKE
from probe.separability import (
    Embeddings,
    SeparabilityReport,
    Similarity,
    compare_features,
    embed_layers,
    measure_separability,
)
from probe.separability.embedding import FEWEST
from probe.separability.features import OnePersonError
from probe.store import ActivationStore
from probe.study.plan import COMPARED, Study, heads_of, layer_of, other_seeds, seeded_bases
from probe.study.stages import clear, exported, holds, kept

__all__ = [
    "Explanations",
    "TRUST_EFFORT",
    "chosen_images",
    "dosed",
    "explain",
    "measure",
    "respond",
    "separate",
]


def separate(
    study: Study,
    folder: RunFolder,
    detectors: Sequence[Detector],
    test: Dataset,
    notes: dict[str, str],
) -> dict[str, SeparabilityReport]:
    """Measure separability and embeddings of every store, and the similarity of detectors.

    `notes` receives the detectors whose features cannot be measured, with the reason.
    """
    plan, out = study.separability, dict[str, SeparabilityReport]()
    if not plan.run or not study.record.layers:
        return out
    seed, data = study.seeds[0], {test.name: test.fingerprint}
    for one in detectors:
        store = ActivationStore.open(folder.store(one.name))
        wanted = {
            "result_version": SeparabilityReport.VERSION,
            "detectors": {one.name: one.fingerprint},
            "data": data,
            "layers": list(store.layers),
            "memory": parse_memory(plan.memory),
            "n_controls": plan.controls,
            "ci": study.evaluation.ci,
            "seed": seed,
        }
        place = folder.path("separability", one.name)
        if holds(place, wanted):
            out[one.name] = exported(SeparabilityReport.open(place), place)
        else:
            try:
                found = measure_separability(
                    store,
                    memory=plan.memory,
                    n_controls=plan.controls,
                    seed=seed,
                    ci=study.evaluation.ci,
                )
                out[one.name] = kept(found, place)
            except OnePersonError as why:
                notes[one.name] = str(why)
                clear(place)
        _picture(study, folder, one, store, data, notes)
    if len(detectors) > 1:
        _compare_features(study, folder, detectors, data)
    return out


def _picture(
    study: Study,
    folder: RunFolder,
    one: Detector,
    store: ActivationStore,
    data: Mapping[str, str],
    notes: dict[str, str],
) -> None:
    plan = study.separability
    layers = list(dict.fromkeys(layer_of(one.spec.name, name) for name in plan.picture_layers))
    layers = [name for name in layers if name in store.layers]
    if not plan.pictures or not layers:
        return
    place, seed = folder.path("embeddings", one.name), study.seeds[0]
    if len(store.samples) < FEWEST:
        notes[f"{one.name} pictures"] = f"{len(store.samples)} images; {FEWEST} are needed"
        clear(place)
        return
    wanted = {
        "result_version": Embeddings.VERSION,
        "detectors": {one.name: one.fingerprint},
        "data": data,
        "layers": layers,
        "methods": list(plan.pictures),
        "seed": seed,
    }
    if holds(place, wanted):
        exported(Embeddings.open(place), place)
    else:
        kept(embed_layers(store, layers, plan.pictures, seed=seed), place)


def _compare_features(
    study: Study, folder: RunFolder, detectors: Sequence[Detector], data: Mapping[str, str]
) -> None:
    place, ci = folder.path("similarity"), study.evaluation.ci
    wanted = {
        "result_version": Similarity.VERSION,
        "detectors": {one.name: one.fingerprint for one in detectors},
        "data": data,
        "ci": ci,
        "seed": study.seeds[0],
    }
    if holds(place, wanted):
        exported(Similarity.open(place), place)
        return
    stores = {one.name: folder.store(one.name) for one in detectors}
    kept(compare_features(stores, ci=ci, seed=study.seeds[0]), place)


def measure(
    study: Study, folder: RunFolder, test: Dataset
) -> tuple[ArtifactMeasurements, ArtifactReport] | None:
    """Measure artifacts on all images, and compare fakes with reals."""
    plan = study.artifacts
    if not plan.run:
        return None
    data = {name: part.fingerprint for name, part in test.by_dataset().items()}
    place, report = folder.path("measurements"), folder.path("artifacts")
    if holds(place, {"data": data}):
        measured = ArtifactMeasurements.open(place)
    else:
        parts = list(test.by_dataset().values())
        measured = measure_artifacts(parts, n_workers=study.compute.n_workers)
        measured.save(place)
    ci, seed = study.evaluation.ci, study.seeds[0]
    wanted = {"data": data, "ci": ci, "seed": seed, "caliper": plan.caliper}
    if holds(report, wanted):
        return measured, exported(ArtifactReport.open(report), report)
    found = artifact_report(measured, caliper=plan.caliper, ci=ci, seed=seed)
    return measured, kept(found, report)


def respond(
    study: Study,
    folder: RunFolder,
    detectors: Sequence[Detector],
    universality: Mapping[str, Universality],
    measured: ArtifactMeasurements | None,
    notes: dict[str, Any],
) -> dict[str, ResponseReport]:
    """Measure what units respond to: by correlation, and on the lab by dose response.

    Parameters
    ----------
    study : Study
        Study to run.
    folder : RunFolder
        Run folder to write to.
    detectors : sequence of Detector
        Detectors to measure.
    universality : mapping
        Detector label to its universality table, whose universal units are marked.
    measured : ArtifactMeasurements or None
        Image measurements returned by `measure`.
    notes : dict
        Receives the detectors that could not be measured, with the reason.
    """
    plan, out = study.artifacts, dict[str, ResponseReport]()
    if measured is None or not plan.responses:
        return out
    images: DosedImages | None = None
    covariates = _covariates(measured)
    for one in detectors:
        layer = layer_of(one.spec.name, study.neurons.layer)
        place, path = folder.path("responses", one.name), trace(one).resolve(layer)
        found_universal = universality.get(one.name)
        chosen = found_universal.universal.tolist() if found_universal else []
        wanted = {
            "detectors": {one.name: one.fingerprint},
            "layer": path,
            "universal": chosen,
            "seed": study.seeds[0],
            "asked": {
                "measured": measured.provenance.data,
                "videos": plan.videos if dosed(study) else 0,
            },
        }
        if holds(place, wanted):
            out[one.name] = exported(ResponseReport.open(place), place)
            continue
        found = _related(study, folder, one, layer, measured, covariates, chosen, notes)
        if dosed(study):
            images = images or _rendered(study)
            doses = dose_response(one, images, path, universal=chosen, seed=study.seeds[0])
            found = found.joined(doses) if found else doses
        if found is not None:
            marked = ResponseReport(found.data.assign_attrs(asked=wanted["asked"]))
            out[one.name] = kept(marked, place)
    return out


def _related(
    study: Study,
    folder: RunFolder,
    one: Detector,
    layer: str,
    measured: ArtifactMeasurements,
    covariates: list[str],
    chosen: list[int],
    notes: dict[str, Any],
) -> ResponseReport | None:
    """Correlate units with measurements; None, with a note, if that is impossible."""
    recorded = {layer_of(one.spec.name, name) for name in study.record.layers}
    if layer not in recorded:
        notes[one.name] = f"layer {layer} is not recorded (add it to record.layers)"
        return None
    store = ActivationStore.open(folder.store(one.name))
    try:
        return relate(
            store,
            measured.data,
            layer,
            covariates=covariates,
            universal=chosen,
            seed=study.seeds[0],
        )
    except ProbeError as why:
        notes[one.name] = str(why)
        return None


def _covariates(measured: ArtifactMeasurements) -> list[str]:
    """Return the covariates that are known for every image and not constant."""
    data = measured.data
    return [
        str(name)
        for name in data["covariate"].values
        for values in [data["control"].sel(covariate=name).values]
        if np.isfinite(values).all() and np.ptp(values) > 0
    ]


def dosed(study: Study) -> bool:
    """Return whether doses are measured: only the lab can render a face without an artifact."""
    return study.artifacts.doses and all(entry.is_lab for entry in study.datasets)


def _rendered(study: Study) -> DosedImages:
    lab = study.datasets[0]
    return render_doses(
        study.known_names,
        size=lab.size or 128,
        seed=lab.seed,
        split=study.evaluation.split,
        videos=study.artifacts.videos,
        n_workers=study.compute.n_workers,
    )


#: Settings of reliability checks: fewer repetitions than `probe attribute --check`, to save time.
TRUST_EFFORT: Mapping[str, Any] = {
    "n_noise": 1,
    "n_stages": 1,
    "n_shifts": 1,
    "n_orders": 3,
    "n_steps": 10,
}


@dataclass(frozen=True)
class Explanations:
    """Results of the stage "attribution".

    Attributes
    ----------
    trust, attention : dict
        Reliability checks and region attention, by label of base and pretrained detectors.
    similarity : dict
        Similarity of Grad-CAM over variants, by architecture and mode.
    maps : dict
        Grad-CAM maps by detector label.
    """

    trust: dict[str, TrustReport] = field(default_factory=dict)
    attention: dict[str, RegionAttention] = field(default_factory=dict)
    similarity: dict[tuple[str, str], MapSimilarity] = field(default_factory=dict)
    maps: dict[str, AttributionMap] = field(default_factory=dict)


def explain(
    study: Study,
    folder: RunFolder,
    detectors: Sequence[Detector],
    test: Dataset,
    notes: dict[str, Any],
) -> Explanations:
    """Compute attribution maps, check them, compare variants, and measure region attention.

    Parameters
    ----------
    study : Study
        Study to run.
    folder : RunFolder
        Run folder to write to.
    detectors : sequence of Detector
        Detectors to explain.
    test : Dataset
        Measured split; a selection of its images is explained.
    notes : dict
        Receives what could not be computed, with the reason.
    """
    plan, found = study.attribution, Explanations()
    if not plan.run or not (test.labels == FAKE).any():
        return found
    data, heads = chosen_images(test, plan.images, study.seeds[0]), heads_of(study)
    for one in detectors:
        for method in plan.methods if one.name in heads else (COMPARED,):
            maps = _maps(study, folder, one, method, data, notes)
            if maps is not None and method == COMPARED:
                found.maps[one.name] = maps
        if one.name in heads:
            found.trust[one.name] = _trust(study, folder, one, data.select(label=FAKE))
    fakes = draw(test.select(label=FAKE), plan.similarity_images, study.seeds[0])
    _compare_maps(study, folder, detectors, fakes, found, notes)
    for label, maps in found.maps.items():
        if label in heads:
            _look(study, folder, label, maps, data, found, notes)
    return found


def chosen_images(test: Dataset, images: int, seed: int) -> Dataset:
    """Choose fakes of each dataset, spread over identities, and their real images.

    If the real image that a fake was made from is unknown, the same number of others is drawn.
    """
    fakes = draw(test.select(label=FAKE), images, seed)
    table = test.samples.table
    if "pair" in table and set(fakes.samples.table["pair"]) <= set(table["sample"]):
        wanted = {*fakes.samples.table["sample"], *fakes.samples.table["pair"]}
    else:
        reals = draw(test.take(np.flatnonzero(test.labels != FAKE)), images, seed)
        wanted = {*fakes.samples.table["sample"], *reals.samples.table["sample"]}
    return test.take(np.flatnonzero(table["sample"].isin(wanted).to_numpy()))


def _maps(
    study: Study,
    folder: RunFolder,
    one: Detector,
    method: str,
    data: Dataset,
    notes: dict[str, Any],
) -> AttributionMap | None:
    """Compute maps, or open existing ones; None, with a note, if the method is not applicable."""
    place = folder.path("maps", one.name, method)
    layer = _layer(study, one) if method == COMPARED else None
    try:
        try:
            return attribute(one, data, method, layer=layer, seed=study.seeds[0], out=place)
        except StoreError:
            # The existing maps belong to other images, weights or versions.
            shutil.rmtree(place, ignore_errors=True)
            return attribute(one, data, method, layer=layer, seed=study.seeds[0], out=place)
    except Refusal as why:
        notes[f"{one.name} {method}"] = str(why)
        return None


def _layer(study: Study, one: Detector) -> str | None:
    layer = study.attribution.layer
    return layer_of(one.spec.name, layer) if layer else None


def _trust(study: Study, folder: RunFolder, one: Detector, data: Dataset) -> TrustReport:
    """Run reliability checks of maps of fakes with the settings of a study."""
    plan, place, seed = study.attribution, folder.path("trust", one.name), study.seeds[0]
    layer = _layer(study, one)
    wanted = {
        "detectors": {one.name: one.fingerprint},
        "data": {name: part.fingerprint for name, part in data.by_dataset().items()},
        "seed": seed,
        "ci": study.evaluation.ci,
        "asked": {
            "methods": list(plan.methods),
            "checks": list(plan.checks),
            "layer": layer or "",
            "random": plan.random,
        },
    }
    if holds(place, wanted):
        return exported(TrustReport.open(place), place)
    found = trust_report(
        one,
        data,
        plan.methods,
        checks=plan.checks,
        layer=layer,
        seed=seed,
        n_random=plan.random,
        ci=study.evaluation.ci,
        **TRUST_EFFORT,
    )
    return kept(TrustReport(found.data.assign_attrs(asked=wanted["asked"])), place)


def _compare_maps(
    study: Study,
    folder: RunFolder,
    detectors: Sequence[Detector],
    fakes: Dataset,
    found: Explanations,
    notes: dict[str, Any],
) -> None:
    """Compare Grad-CAM of the variants of each architecture on fakes, in both modes.

    Trainings with other seeds give the similarity of detectors that differ only in the seed.
    The maps are kept on disk during the comparison and removed afterwards.
    """
    for name in dict.fromkeys(one.spec.name for one in detectors):
        mine = [one for one in detectors if one.spec.name == name and one.name in found.maps]
        bases = [one for one in mine if one.name in seeded_bases(study, name)]
        those = [one for one in mine if one.name not in other_seeds(study, name)]
        if len(those) < 2:
            continue
        wanted = {
            "data": {fakes.name: fakes.fingerprint},
            "seed": study.seeds[0],
            "ci": study.evaluation.ci,
            "asked": {
                "detectors": {one.name: one.fingerprint for one in [*those, *bases]},
                "images": [str(sample) for sample in fakes.samples.table["sample"]],
                "layer": study.attribution.layer,
            },
        }
        places = {mode: folder.path("map_similarity", name, mode) for mode in MODES}
        there = {mode: place for mode, place in places.items() if holds(place, wanted)}
        for mode, place in there.items():
            found.similarity[name, mode] = exported(MapSimilarity.open(place), place)
        lacking = {mode: place for mode, place in places.items() if mode not in there}
        if lacking:
            maps = {one.name: _to_compare(study, folder, one, fakes) for one in [*those, *bases]}
            own = {one.name: maps[one.name] for one in those}
            seeds = [maps[one.name] for one in bases] if len(bases) > 1 else []
            for mode, place in lacking.items():
                one = _compared(study, those[0], own, seeds, mode, notes)
                if one is None:
                    clear(place)
                    continue
                marked = MapSimilarity(one.data.assign_attrs(asked=wanted["asked"]))
                found.similarity[name, mode] = kept(marked, place)
    shutil.rmtree(folder.compared_maps, ignore_errors=True)


def _to_compare(study: Study, folder: RunFolder, one: Detector, fakes: Dataset) -> AttributionMap:
    """Compute Grad-CAM of the fakes that variants are compared on, or resume it."""
    place = folder.compared_maps / f"{slug(one.name)}.zarr"
    layer, seed = _layer(study, one), study.seeds[0]
    try:
        attribute(one, fakes, COMPARED, layer=layer, seed=seed, out=place)
    except StoreError:
        # The existing maps belong to other images, weights or versions.
        shutil.rmtree(place, ignore_errors=True)
        attribute(one, fakes, COMPARED, layer=layer, seed=seed, out=place)
    return AttributionMap.open(place, lazy=True)


def _compared(
    study: Study,
    first: Detector,
    maps: Mapping[str, AttributionMap],
    seeds: Sequence[AttributionMap],
    mode: str,
    notes: dict[str, Any],
) -> MapSimilarity | None:
    """Compare maps in one mode; None, with a note, if that is impossible."""
    outputs = getattr(getattr(first.module, "logit", None), "outputs", 1)
    try:
        return map_similarity(
            maps,
            mode=mode,
            seeds=seeds,
            class_zero="real" if outputs == 1 else "fake",
            ci=study.evaluation.ci,
            seed=study.seeds[0],
        )
    except ProbeError as why:
        notes[f"{first.spec.name} similarity ({mode})"] = str(why)
        return None


def _look(
    study: Study,
    folder: RunFolder,
    label: str,
    maps: AttributionMap,
    data: Dataset,
    found: Explanations,
    notes: dict[str, Any],
) -> None:
    place, made = folder.path("attention", label), maps.provenance
    wanted = {
        "detectors": made.detectors,
        "data": made.data,
        "layer": maps.data.attrs["layer"],
        "seed": study.seeds[0],
        "ci": study.evaluation.ci,
    }
    if holds(place, wanted):
        found.attention[label] = exported(RegionAttention.open(place), place)
        return
    try:
        one = attention_by_region(maps, data, ci=study.evaluation.ci, seed=study.seeds[0])
    except ProbeError as why:
        notes[f"{label} regions"] = str(why)
        clear(place)
        return
    found.attention[label] = kept(one, place)
