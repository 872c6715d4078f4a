"""The stage that asks where detectors look: maps, trust, similarity of variants, regions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from probe.attribution import AttributionMap, Refusal, attribute
from probe.attribution.findings import MapSimilarity, RegionAttention
from probe.attribution.regions import attention_by_region
from probe.attribution.similarity import MODES, map_similarity
from probe.attribution.trust import TrustReport, trust_report
from probe.datasets import Dataset
from probe.datasets.subset import draw
from probe.detectors import Detector
from probe.errors import ProbeError, StoreError
from probe.run import RunFolder, slug
from probe.schema import FAKE
from probe.study.keeping import clear, exported, holds, kept
from probe.study.plan import Study, heads_of, layer_of, other_seeds, seeded_bases
from probe.study.reasons import COMPARED

__all__ = ["TRUST_EFFORT", "Explanations", "chosen_images", "explain"]


#: Short of what `probe attribute --check` does, for the time it takes.
TRUST_EFFORT: Mapping[str, Any] = {
    "n_noise": 1,
    "n_stages": 1,
    "n_shifts": 1,
    "n_orders": 3,
    "n_steps": 10,
}


@dataclass(frozen=True)
class Explanations:
    """What the stage found.

    Attributes
    ----------
    trust, attention : dict
        By detector; of those that were trained, or brought, first.
    similarity : dict
        By architecture and mode: Grad-CAM of its variants compared.
    maps : dict
        Grad-CAM by detector.
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
    """Explain images, check the maps, compare variants, and see where they look.

    Parameters
    ----------
    study, folder, detectors
        As elsewhere.
    test : Dataset
        What is measured on; some images of it are explained.
    notes : dict
        Where what could not be done is named, with the reason.
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
    _compare(study, folder, detectors, fakes, found, notes)
    for label, maps in found.maps.items():
        if label in heads:
            _look(study, folder, label, maps, data, found, notes)
    return found


def chosen_images(test: Dataset, images: int, seed: int) -> Dataset:
    """Choose some fakes a dataset, of as many people as can be, and their real images.

    Where it is not known which real image a fake was made of, as many others are taken.
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
    """Make maps, or open those that are there; None, with a note, where a method refuses."""
    place = folder.maps(one.name, method)
    layer = _layer(study, one) if method == COMPARED else None
    try:
        try:
            return attribute(one, data, method, layer=layer, seed=study.seeds[0], out=place)
        except StoreError:
            # Maps of other images, weights or versions.
            shutil.rmtree(place, ignore_errors=True)
            return attribute(one, data, method, layer=layer, seed=study.seeds[0], out=place)
    except Refusal as why:
        notes[f"{one.name} {method}"] = str(why)
        return None


def _layer(study: Study, one: Detector) -> str | None:
    layer = study.attribution.layer
    return layer_of(one.spec.name, layer) if layer else None


def _trust(study: Study, folder: RunFolder, one: Detector, data: Dataset) -> TrustReport:
    """Check maps of fakes with the effort that a study has for it."""
    plan, place, seed = study.attribution, folder.trust(one.name), study.seeds[0]
    layer = _layer(study, one)
    wanted = {
        "detector_fingerprint": one.fingerprint,
        "data_fingerprint": data.fingerprint,
        "study_methods": list(plan.methods),
        "study_checks": list(plan.checks),
        "study_layer": layer or "",
        "study_random": plan.random,
        "seed": seed,
        "ci": study.evaluation.ci,
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
    return kept(TrustReport(found.data.assign_attrs(wanted)), place)


def _compare(
    study: Study,
    folder: RunFolder,
    detectors: Sequence[Detector],
    fakes: Dataset,
    found: Explanations,
    notes: dict[str, Any],
) -> None:
    """Compare Grad-CAM of the variants of each architecture on fakes, in both modes.

    Trainings with other seeds are what two trainings have in common that differ in nothing else.
    The maps stay on disk, and go when they have been compared: the tables say what they said.
    """
    for name in dict.fromkeys(one.spec.name for one in detectors):
        mine = [one for one in detectors if one.spec.name == name and one.name in found.maps]
        bases = [one for one in mine if one.name in seeded_bases(study, name)]
        those = [one for one in mine if one.name not in other_seeds(study, name)]
        if len(those) < 2:
            continue
        wanted = {
            "study_detectors": {one.name: one.fingerprint for one in [*those, *bases]},
            "study_images": [str(sample) for sample in fakes.samples.table["sample"]],
            "study_layer": study.attribution.layer,
            "study_seed": study.seeds[0],
            "study_data": fakes.fingerprint,
            "ci": study.evaluation.ci,
        }
        places = {mode: folder.map_similarity(name, mode) for mode in MODES}
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
                marked = MapSimilarity(one.data.assign_attrs(wanted))
                found.similarity[name, mode] = kept(marked, place)
    shutil.rmtree(folder.compared_maps, ignore_errors=True)


def _to_compare(study: Study, folder: RunFolder, one: Detector, fakes: Dataset) -> AttributionMap:
    """Make Grad-CAM of the fakes that variants are compared on, or go on with what is there."""
    place = folder.compared_maps / f"{slug(one.name)}.zarr"
    layer, seed = _layer(study, one), study.seeds[0]
    try:
        attribute(one, fakes, COMPARED, layer=layer, seed=seed, out=place)
    except StoreError:
        # Maps of other images, weights or versions.
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
    """Compare maps in a mode; None, with a note, where that cannot be done."""
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
    place, attrs = folder.attention(label), maps.data.attrs
    wanted = {
        "study_detector": attrs["detector_fingerprint"],
        "study_data": attrs["data_fingerprint"],
        "study_layer": attrs["layer"],
        "study_seed": study.seeds[0],
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
    found.attention[label] = kept(RegionAttention(one.data.assign_attrs(wanted)), place)
