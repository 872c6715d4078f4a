"""Separability, embeddings, artifacts and responses of a drawn run, from drawn numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from probe.artifacts.report import CONTROLS, ArtifactReport
from probe.artifacts.responses import ResponseReport, answered
from probe.run import RunFolder
from probe.separability.report import Embeddings, SeparabilityReport, Similarity
from tests.conftest import drawn_of

MEASURES = (
    "probe_auroc",
    "control_auroc",
    "selectivity",
    "c2st_accuracy",
    "fisher",
    "dprime",
    "silhouette",
    "knn_purity",
    "mmd2",
)
KINDS = ("pca", "umap", "tsne")
MEASUREMENTS = ("slope", "dct_high", "srm_kurtosis", "npr", "blockiness", "seam_gradient")
COVARIATES = ("codec", "size", "quality")
ARTIFACTS = ("upsampling", "blending", "smoothing")
#: The dataset whose people are too few for intervals.
FEW = "gamma"

Rng = np.random.Generator


def write_reports(
    folder: RunFolder,
    rng: Rng,
    detectors: tuple[str, ...],
    datasets: tuple[str, ...],
    samples: list[str],
    layers: tuple[str, ...],
    units: int,
) -> None:
    """Write all reports of a run; only the first detector has responses to doses."""
    for i, label in enumerate(detectors):
        made = make_separability(rng, datasets, layers, units, label)
        made.save(folder.path("separability", label))
        make_embeddings(rng, samples, layers, label).save(folder.path("embeddings", label))
        make_responses(rng, datasets, layers[-1], units, label, doses=i == 0).save(
            folder.path("responses", label)
        )
    make_similarity(rng, detectors, layers).save(folder.path("similarity"))
    make_artifacts(rng, datasets).save(folder.path("artifacts"))


def make_separability(
    rng: Rng,
    datasets: tuple[str, ...],
    layers: tuple[str, ...],
    units: int,
    label: str = "drawn",
) -> SeparabilityReport:
    """Draw a report; one dataset has no intervals, and one measure no p-values."""
    grid, pairs = ("measure", "layer", "dataset"), ("layer", "dataset", "scored")
    value = rng.uniform(0.4, 0.95, (len(MEASURES), len(layers), len(datasets)))
    value[1] = rng.uniform(0.47, 0.53, value.shape[1:])
    value[2] = value[0] - value[1]
    transfer = rng.uniform(0.35, 0.95, (len(layers), len(datasets), len(datasets)))
    transfer[:, range(len(datasets)), range(len(datasets))] = value[0]
    own = rng.uniform(0.4, 0.9, len(datasets))
    blind = value[0] - own
    few = np.array([name == FEW for name in datasets])
    p = rng.uniform(0, 0.1, value.shape)
    p[1:3] = np.nan
    data: dict[str, Any] = {
        "value": (grid, value),
        **bounds(grid, value, few),
        "p": (grid, p),
        "q": (grid, p * 1.2),
        "transfer": (pairs, transfer),
        **bounds(pairs, transfer, few, "transfer_"),
        "own": ("dataset", own),
        **bounds(("dataset",), own, few, "own_"),
        "blind": (pairs[:2], blind),
        **bounds(pairs[:2], blind, few, "blind_"),
        **_counts(datasets, few),
        **_layer_answers(rng, layers),
        **_rows(rng, layers, units),
        "probe_draw": ((*pairs[:2], "resample"), _draws(rng, value[0], few)),
        "n_fakes": ("dataset", np.full(len(datasets), 12)),
        "sampled": ("dataset", np.full(len(datasets), 24)),
    }
    coords = {
        "layer": list(layers),
        "dataset": list(datasets),
        "scored": list(datasets),
        "measure": list(MEASURES),
        "question": ["method", "domain"],
    }
    attrs = {
        **drawn_of(label),
        "n_folds": 5,
        "n_resamples": 200,
    }
    return SeparabilityReport(xr.Dataset(data, coords=coords, attrs=attrs))


def _draws(rng: Rng, value: np.ndarray, few: np.ndarray) -> np.ndarray:
    """Draw resamples around values, none where people are few."""
    draws = value[..., None] + rng.normal(0, 0.03, (*value.shape, 200))
    draws[:, few] = np.nan
    return draws.astype(np.float32)


def bounds(
    dims: tuple[str, ...], value: np.ndarray, few: np.ndarray, prefix: str = ""
) -> dict[str, Any]:
    """Set bounds 0.06 around a value whose last axis is datasets; none where people are few."""
    off = np.where(few, np.nan, 0.06)
    return {f"{prefix}low": (dims, value - off), f"{prefix}high": (dims, value + off)}


def _counts(datasets: tuple[str, ...], few: np.ndarray) -> dict[str, Any]:
    reason = np.where(few, "3 clusters; an interval takes 5", "").astype(object)
    return {
        "n_samples": ("dataset", np.full(len(datasets), 24)),
        "n_clusters": ("dataset", np.where(few, 3, 6)),
        "reason": ("dataset", reason),
    }


def _layer_answers(rng: Rng, layers: tuple[str, ...]) -> dict[str, Any]:
    answer = rng.uniform(0.4, 0.8, (2, len(layers)))
    share = rng.uniform(0.2, 0.8, len(layers))
    dims = ("question", "layer")
    return {
        "answer": (dims, answer),
        "answer_low": (dims, answer - 0.05),
        "answer_high": (dims, answer + 0.05),
        "answer_p": (dims, np.full(answer.shape, 0.002)),
        "chance": (dims, np.full(answer.shape, 1 / 3)),
        "specific_share": ("layer", share),
        "specific_low": ("layer", share - 0.1),
        "specific_high": ("layer", share + 0.1),
        "shared_cosine": ("layer", 1 - share),
        "label_angle_share": ("layer", share / 2),
        "label_angle_null": ("layer", np.full(len(layers), 0.1)),
    }


def _rows(rng: Rng, layers: tuple[str, ...], units: int) -> dict[str, Any]:
    n = len(layers) * units
    return {
        "row_layer": ("row", np.repeat(np.array(layers, dtype=object), units)),
        "row_unit": ("row", np.tile(np.arange(units), len(layers))),
        "label_information": ("row", rng.beta(1, 9, n)),
        "method_information": ("row", rng.beta(1, 6, n)),
        "label_q": ("row", rng.uniform(0, 0.2, n)),
        "method_q": ("row", rng.uniform(0, 0.2, n)),
    }


def make_similarity(rng: Rng, detectors: tuple[str, ...], layers: tuple[str, ...]) -> Similarity:
    """Draw a similarity in which the last detector lacks the first layer."""
    n = len(detectors)
    half = rng.uniform(0, 0.9, (len(layers), n, n))
    cka = (half + half.transpose(0, 2, 1)) / 2
    cka[:, range(n), range(n)] = 1.0
    if len(layers) > 1:
        cka[0, -1] = cka[0, :, -1] = np.nan
    dims = ("layer", "detector", "other")
    names = list(detectors)
    return Similarity(
        xr.Dataset(
            {"cka": (dims, cka), "cka_low": (dims, cka - 0.04), "cka_high": (dims, cka + 0.04)},
            coords={"layer": list(layers), "detector": names, "other": names},
            attrs={
                **drawn_of(*detectors),
                "n_samples": 72,
                "n_clusters": 18,
            },
        )
    )


def make_embeddings(
    rng: Rng, samples: list[str], layers: tuple[str, ...], label: str = "drawn"
) -> Embeddings:
    shape = (len(layers), len(KINDS))
    dims = ("layer", "method")
    position = rng.normal(size=(*shape, len(samples), 2)).astype(np.float32)
    return Embeddings(
        xr.Dataset(
            {
                "position": ((*dims, "sample", "axis"), position),
                "trustworthiness": (dims, rng.uniform(0.6, 0.99, shape)),
                "preservation": (dims, rng.uniform(0.1, 0.6, shape)),
                "fitted": ("sample", np.arange(len(samples)) % 4 > 0),
            },
            coords={
                "layer": list(layers),
                "method": list(KINDS),
                "sample": samples,
                "axis": [0, 1],
            },
            attrs={
                **drawn_of(label),
                "neighbors": 15,
                "n_fitted": 54,
                "n_judged": 72,
            },
        )
    )


def make_artifacts(rng: Rng, datasets: tuple[str, ...]) -> ArtifactReport:
    """Draw effects that shrink under control; one dataset has no intervals."""
    few = np.array([name == FEW for name in datasets])
    grid = ("control", "dataset", "measurement")
    effect = rng.normal(scale=1.2, size=(1, len(datasets), len(MEASUREMENTS)))
    effect = effect * np.array([1.0, 0.8, 0.7])[:, None, None]
    off = np.where(few, np.nan, 0.25)[:, None] * np.ones(len(MEASUREMENTS))
    p = np.where(np.abs(effect) > 0.6, 0.001, 0.4)
    # The last measurement needs a mask, which the dataset with few people lacks.
    effect[:, few, -1] = p[:, few, -1] = np.nan
    frequency = np.linspace(0, 0.5, 24)
    power = 6 - 8 * frequency + rng.normal(scale=0.1, size=(len(datasets), 2, 24))
    band = np.where(few, np.nan, 0.15)[:, None, None] * np.ones(power.shape)
    tells = rng.uniform(0.2, 0.9, (len(datasets), len(MEASUREMENTS)))
    imbalance = np.full((len(datasets), len(COVARIATES)), 0.5)
    imbalance[0, 0] = 0.83
    size = -np.abs(np.nan_to_num(effect[0]))
    data: dict[str, Any] = {
        "effect": (grid, effect),
        "low": (grid, effect - off),
        "high": (grid, effect + off),
        "p": (grid, p),
        "q": (grid, np.minimum(p * 2, 1)),
        "n_used": (grid[:2], np.broadcast_to([[24], [24], [16]], (3, len(datasets))).copy()),
        "rank": (grid[1:], np.where(np.isfinite(effect[0]), size.argsort(1).argsort(1) + 1, 0)),
        "tells": (("method", "measurement"), tells),
        "tells_low": (("method", "measurement"), tells - 0.08),
        "tells_high": (("method", "measurement"), tells + 0.08),
        "imbalance": (("dataset", "covariate"), imbalance),
        "imbalance_low": (("dataset", "covariate"), imbalance - off[:, :3] / 5),
        "imbalance_high": (("dataset", "covariate"), imbalance + off[:, :3] / 5),
        "power": (("dataset", "label", "frequency"), power),
        "power_low": (("dataset", "label", "frequency"), power - band),
        "power_high": (("dataset", "label", "frequency"), power + band),
        # For paper figures: fakes less reals.
        **bounds_of_gap(power[:, 1] - power[:, 0], band[:, 0]),
        "region": (
            "dataset",
            np.where(
                few, "central ellipse; no masks", "forgery mask; reals by the mask of their pair"
            ).astype(object),
        ),
        **_counts(datasets, few),
    }
    return ArtifactReport(
        xr.Dataset(
            data | _measurement_texts(),
            coords={
                "control": list(CONTROLS),
                "dataset": list(datasets),
                "measurement": list(MEASUREMENTS),
                "method": list(datasets),
                "covariate": list(COVARIATES),
                "label": [0, 1],
                "frequency": frequency,
            },
            attrs={**drawn_of(data=datasets), "n_permutations": 99},
        )
    )


def bounds_of_gap(gap: np.ndarray, off: np.ndarray) -> dict[str, Any]:
    dims = ("dataset", "frequency")
    return {
        "power_gap": (dims, gap),
        "power_gap_low": (dims, gap - off),
        "power_gap_high": (dims, gap + off),
    }


def _measurement_texts() -> dict[str, Any]:
    return {
        f"measurement_{what}": (
            "measurement",
            np.array([f"{what} of {name}" for name in MEASUREMENTS], dtype=object),
        )
        for what in ("about", "unit", "source")
    }


def make_responses(
    rng: Rng,
    datasets: tuple[str, ...],
    layer: str,
    units: int,
    label: str = "drawn",
    *,
    doses: bool,
) -> ResponseReport:
    """Draw correlations and, on request, responses to doses; the first dataset lacks the last."""
    rho = rng.uniform(-0.7, 0.7, (units, len(MEASUREMENTS)))
    q = np.where(np.abs(rho) > 0.4, 0.01, 0.6)
    dims = ("unit", "measurement")
    data: dict[str, Any] = {
        "rho": (dims, rho),
        "p": (dims, q),
        "p_max": (dims, q),
        "q": (dims, q),
        "n_samples": ("dataset", np.full(len(datasets), 24)),
        "n_clusters": ("dataset", np.full(len(datasets), 6)),
        "reason": ("dataset", np.full(len(datasets), "", dtype=object)),
    }
    coords: dict[str, Any] = {
        "unit": np.arange(units),
        "measurement": list(MEASUREMENTS),
        "dataset": list(datasets),
    }
    if doses:
        coords |= {"artifact": list(ARTIFACTS), "dose": np.linspace(0, 1, 5)}
        data |= _doses(rng, datasets, units)
    attrs = {"layer": layer, **drawn_of(label), "alpha": 0.05, "universal": [0, 3, 6, 9]}
    return ResponseReport(answered(xr.Dataset(data, coords=coords, attrs=attrs)))


def _doses(rng: Rng, datasets: tuple[str, ...], units: int) -> dict[str, Any]:
    dose = np.linspace(0, 1, 5)
    logit = rng.normal(size=(len(ARTIFACTS), len(datasets), 1)) * dose
    unit = rng.normal(size=(len(ARTIFACTS), len(datasets), units, 1)) * dose
    logit[-1, 0] = unit[-1, 0] = np.nan
    few = np.array([name == FEW for name in datasets])[:, None]
    half = np.where(few, np.nan, 0.2) * dose
    effect = np.nanmean(unit[..., -1], axis=1)
    dims = ("artifact", "dataset", "unit", "dose")
    reason = np.where(few[:, 0], "3 identities; an interval takes 5", "").astype(object)
    return {
        "logit_response": (("artifact", "dataset", "dose"), logit),
        "logit_low": (("artifact", "dataset", "dose"), logit - half),
        "logit_high": (("artifact", "dataset", "dose"), logit + half),
        "unit_response": (dims, unit),
        "unit_low": (dims, unit - half[:, None]),
        "unit_high": (dims, unit + half[:, None]),
        "effect": (("artifact", "unit"), effect),
        "effect_p": (("artifact", "unit"), np.where(np.abs(effect) > 0.8, 0.01, 0.5)),
        "effect_q": (("artifact", "unit"), np.where(np.abs(effect) > 0.8, 0.02, 0.6)),
        "dose_reason": ("dataset", reason),
    }
