"""The stages that ask why: separability, artifacts, and what units respond to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from probe.artifacts import (
    ArtifactMeasurements,
    ArtifactReport,
    artifact_report,
    measure_artifacts,
)
from probe.budget import parse_memory
from probe.datasets import Dataset
from probe.detectors import Detector
from probe.embed import Embeddings, embed_layers
from probe.embed.embedding import FEWEST
from probe.embed.table import EMBEDDINGS
from probe.errors import ProbeError
from probe.hooks import trace
from probe.neurons import Universality
from probe.responses import DosedImages, ResponseReport, dose_response, relate, render_doses
from probe.run import RunFolder
from probe.separability import (
    SeparabilityReport,
    Similarity,
    compare_features,
    measure_separability,
)
from probe.separability.features import OnePersonError
from probe.separability.report import SEPARABILITY, SIMILARITY
from probe.store import ActivationStore
from probe.study.keeping import clear, exported, holds, kept
from probe.study.plan import Study, layer_of

__all__ = ["dosed", "measure", "respond", "separate"]


def separate(
    study: Study,
    folder: RunFolder,
    detectors: Sequence[Detector],
    test: Dataset,
    notes: dict[str, str],
) -> dict[str, SeparabilityReport]:
    """Measure separability of every store, its pictures, and how alike detectors are.

    In `notes` the detectors are named whose features cannot be judged, with the reason.
    """
    plan, out = study.separability, dict[str, SeparabilityReport]()
    if not plan.run or not study.record.layers:
        return out
    seed, fingerprint = study.seeds[0], test.fingerprint
    for one in detectors:
        store = ActivationStore.open(folder.store(one.name))
        wanted = {
            "table": SEPARABILITY,
            "detector": one.fingerprint,
            "dataset": fingerprint,
            "layers": list(store.layers),
            "memory": parse_memory(plan.memory),
            "n_controls": plan.controls,
            "ci": study.evaluation.ci,
            "seed": seed,
        }
        place = folder.separability(one.name)
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
        _picture(study, folder, one, store, fingerprint, notes)
    if len(detectors) > 1:
        _compare(study, folder, detectors, fingerprint)
    return out


def _picture(
    study: Study,
    folder: RunFolder,
    one: Detector,
    store: ActivationStore,
    fingerprint: str,
    notes: dict[str, str],
) -> None:
    plan = study.separability
    layers = list(dict.fromkeys(layer_of(one.spec.name, name) for name in plan.picture_layers))
    layers = [name for name in layers if name in store.layers]
    if not plan.pictures or not layers:
        return
    place, seed = folder.embeddings(one.name), study.seeds[0]
    if len(store.samples) < FEWEST:
        notes[f"{one.name} pictures"] = f"{len(store.samples)} images; {FEWEST} are needed"
        clear(place)
        return
    wanted = {
        "table": EMBEDDINGS,
        "detector": one.fingerprint,
        "dataset": fingerprint,
        "layers": layers,
        "methods": list(plan.pictures),
        "seed": seed,
    }
    if holds(place, wanted):
        exported(Embeddings.open(place), place)
    else:
        kept(embed_layers(store, layers, plan.pictures, seed=seed), place)


def _compare(
    study: Study, folder: RunFolder, detectors: Sequence[Detector], fingerprint: str
) -> None:
    place, ci = folder.similarity, study.evaluation.ci
    wanted = {
        "table": SIMILARITY,
        "detectors": {one.name: one.fingerprint for one in detectors},
        "dataset": fingerprint,
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
    """Measure artifacts of all images, and compare real with fake."""
    plan = study.artifacts
    if not plan.run:
        return None
    data = {name: part.fingerprint for name, part in test.by_dataset().items()}
    place, report = folder.measurements, folder.artifacts
    if holds(place, {"dataset": data}):
        measured = ArtifactMeasurements.open(place)
    else:
        parts = list(test.by_dataset().values())
        measured = measure_artifacts(parts, n_workers=study.compute.n_workers)
        measured.save(place)
    ci, seed = study.evaluation.ci, study.seeds[0]
    wanted = {"dataset": data, "ci": ci, "seed": seed, "caliper": plan.caliper}
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
    """Ask what units respond to: by correlation, and on the lab by dose.

    Parameters
    ----------
    study, folder, detectors
        As elsewhere.
    universality : mapping
        Detector to its universal units, which are marked.
    measured : ArtifactMeasurements or None
        What `measure` gave.
    notes : dict
        Where detectors are named that could not be asked, with the reason.
    """
    plan, out = study.artifacts, dict[str, ResponseReport]()
    if measured is None or not plan.responses:
        return out
    images: DosedImages | None = None
    covariates = _covariates(measured)
    for one in detectors:
        layer = layer_of(one.spec.name, study.neurons.layer)
        place, path = folder.responses(one.name), trace(one).resolve(layer)
        found_universal = universality.get(one.name)
        chosen = found_universal.universal.tolist() if found_universal else []
        wanted = {
            "detector_fingerprint": one.fingerprint,
            "layer": path,
            "universal": chosen,
            "study_dataset": measured.data.attrs["dataset"],
            "study_seed": study.seeds[0],
            "study_videos": plan.videos if dosed(study) else 0,
        }
        if holds(place, wanted):
            out[one.name] = exported(ResponseReport.open(place), place)
            continue
        found = _related(study, folder, one, layer, measured, covariates, chosen, notes)
        if dosed(study):
            images = images or _rendered(study)
            doses = dose_response(one, path, images, universal=chosen, seed=study.seeds[0])
            found = found.joined(doses) if found else doses
        if found is not None:
            marked = ResponseReport(found.data.assign_attrs(wanted))
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
    """Relate units to measurements; None, with a note, where that cannot be done."""
    recorded = {layer_of(one.spec.name, name) for name in study.record.layers}
    if layer not in recorded:
        notes[one.name] = f"{layer} is not recorded (record.layers)"
        return None
    store = ActivationStore.open(folder.store(one.name))
    try:
        return relate(store, layer, measured.data, covariates, chosen, seed=study.seeds[0])
    except ProbeError as why:
        notes[one.name] = str(why)
        return None


def _covariates(measured: ArtifactMeasurements) -> list[str]:
    """Name the covariates that are known of every image and differ between some."""
    data = measured.data
    return [
        str(name)
        for name in data["covariate"].values
        for values in [data["control"].sel(covariate=name).values]
        if np.isfinite(values).all() and np.ptp(values) > 0
    ]


def dosed(study: Study) -> bool:
    """Whether doses can be turned: on the lab alone is it known how a face would look without."""
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
