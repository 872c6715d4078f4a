"""`measure_separability`: compute a `SeparabilityReport` from an activation store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from probe.budget import parse_memory
from probe.errors import ProbeError
from probe.progress import progress_bar
from probe.separability.directions import differences_of
from probe.separability.features import (
    Features,
    Pairs,
    Sampled,
    bounds,
    choose_samples,
    pairs_of,
    read_features,
    resampled,
    tally,
)
from probe.separability.information import (
    entropy_of,
    exchange_rows,
    judge,
    mutual_bits,
    quantile_bins,
)
from probe.separability.probes import Probe, class_weights, fit_probe, sum_folds
from probe.separability.realfake import (
    MEASURES,
    Fitted,
    Part,
    Settings,
    fit_dataset,
    measure_dataset,
)
from probe.separability.report import SeparabilityReport
from probe.stats import (
    MIN_CLUSTERS,
    Floats,
    adjust_together,
    benjamini_hochberg,
    cluster_counts,
    percentile_bounds,
)
from probe.store import ActivationStore

__all__ = ["Answer", "ask", "measure_separability"]

#: Maximum number of exchanges of classes; each adds as many targets as there are classes.
MOST_EXCHANGES = 99


@dataclass(frozen=True)
class Answer:
    """Accuracy of a linear probe for several classes, on people it was not fitted on.

    Attributes
    ----------
    accuracy, low, high : float
        Balanced accuracy with its interval; NaN where nothing can be fitted or scored, or where
        there is no interval.
    p : float
        p-value against classes exchanged over people; NaN below five people.
    chance : float
        Expected accuracy of guessing: 1 / number of classes.
    """

    accuracy: float
    low: float
    high: float
    p: float
    chance: float


def ask(
    values: NDArray[np.float32],
    classes: NDArray[np.int64],
    people: NDArray[np.int64],
    folds: NDArray[np.int64],
    settings: Settings,
) -> Answer:
    """Fit a ridge classifier to one-hot targets and score it by cross-validation over people.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (n, axes), features.
    classes, people, folds : numpy.ndarray
        Shape (n,), codes from 0.
    settings : Settings
        Number of controls and resamples, confidence level and seed.
    """
    k, n_folds = int(classes.max(initial=0)) + 1, int(folds.max(initial=0)) + 1
    if k < 2:
        return Answer(np.nan, np.nan, np.nan, np.nan, np.nan)
    people = np.unique(people, return_inverse=True)[1]
    labelings = _labelings(classes, people, settings)
    one = np.eye(k, dtype=np.float32)

    def targets(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return one[labelings[:, rows].T].reshape(len(rows), k * len(labelings))

    sums = sum_folds(values, targets, class_weights(classes), folds, n_folds)

    def enough(kept: Sequence[int]) -> bool:
        return len(np.unique(classes[np.isin(folds, kept)])) == k

    def accuracy(where: NDArray[np.int64], scores: Floats) -> float:
        right = scores.argmax(axis=1) == classes[where]
        return float(
            np.mean([right[classes[where] == c].mean() for c in np.unique(classes[where])])
        )

    probe = fit_probe(values, sums, folds, enough, accuracy, slice(0, k))
    right, null = _right(probe, values, folds, labelings, k)
    counted = tally(right, classes, people, k)
    found = float(counted.mean()[0]) if np.isfinite(right).any() else np.nan
    n_people = int(people.max()) + 1
    low, high = bounds(counted.mean, n_people, settings.n_resamples, settings.ci, settings.seed)
    few = n_people < MIN_CLUSTERS or not len(null) or not np.isfinite(found)
    p = np.nan if few else float((1 + (null >= found - 1e-12).sum()) / (1 + len(null)))
    return Answer(found, low, high, p, 1 / k)


def _labelings(
    classes: NDArray[np.int64], people: NDArray[np.int64], settings: Settings
) -> NDArray[np.int64]:
    """Stack the classes and their exchanges over people, shape (1 + draws, n)."""
    keys, row = np.unique(np.stack([people, classes]), axis=1, return_inverse=True)
    n = min(settings.n_controls, MOST_EXCHANGES)
    drawn = exchange_rows(keys[1], keys[0], n, settings.seed)
    return np.concatenate([classes[None], drawn[:, row.ravel()]])


def _right(
    probe: Probe,
    values: NDArray[np.float32],
    folds: NDArray[np.int64],
    labelings: NDArray[np.int64],
    k: int,
) -> tuple[Floats, Floats]:
    """Return which samples are classified correctly, shape (n,), and accuracies of exchanges."""
    out, draws = np.full(len(values), np.nan), len(labelings) - 1
    hits, count = np.zeros((draws, k)), np.zeros((draws, k))
    for rows, scores in probe.blocks(values, folds):
        found = scores.reshape(len(rows), -1, k).argmax(axis=2).T
        out[rows] = found[0] == labelings[0, rows]
        for draw in range(draws):
            wanted = labelings[draw + 1, rows]
            hits[draw] += np.bincount(wanted, found[draw + 1] == wanted, minlength=k)
            count[draw] += np.bincount(wanted, minlength=k)
    shares = np.divide(hits, count, out=np.full(hits.shape, np.nan), where=count > 0)
    return out, np.asarray(np.nanmean(shares, axis=1)) if count.any() else np.zeros(0)


QUESTIONS = ("method", "domain")
BOUNDS = ("", "_low", "_high")


def measure_separability(
    store: ActivationStore | str | Path,
    layers: Sequence[str] | None = None,
    *,
    memory: str | int = "4G",
    n_folds: int = 5,
    n_controls: int = 199,
    n_permutations: int = 999,
    n_resamples: int = 1000,
    ci: float = 0.95,
    seed: int = 0,
) -> SeparabilityReport:
    """Measure how well features of layers separate fakes from reals, methods and datasets.

    All is computed from the store; no image is read and no network is run. Probes are ridge
    regressions to ±1 (one-hot for several classes), with the penalty chosen by cross-validation
    within the training folds. Folds are split by people: no person that a probe was fitted on is
    scored by it, in any dataset.

    Parameters
    ----------
    store : ActivationStore or path
        Complete activation store, or its path.
    layers : sequence of str, optional
        Layers of the store; all by default.
    memory : str or int, default "4G"
        Memory limit, in bytes or as "4G". Samples are thinned, spread over people, until they
        fit; ``sampled`` gives the number used.
    n_folds : int, default 5
        Number of folds, split by people, at least 2.
    n_controls : int, default 199
        Number of control tasks (labels exchanged over people); also permutations of probes.
    n_permutations : int, default 999
        Number of permutations for measures of distance and for single units.
    n_resamples, ci, seed
        Number of cluster bootstrap resamples; confidence level; seed of all draws.

    Returns
    -------
    SeparabilityReport
        Measures per layer and dataset, each with an interval and a permutation p-value.

    Raises
    ------
    ProbeError
        If an argument is out of range, or too few samples fit into memory.
    UnknownNameError
        If the store lacks a layer.
    StoreError
        If the store is missing, incomplete or damaged, or has values that are not finite.

    Examples
    --------
    >>> import probe
    >>> report = probe.measure_separability("meso4.zarr", ["leaky"], n_controls=9)
    >>> report.transfer().columns[:3].tolist()
    ['layer', 'dataset', 'scored']
    """
    opened = store if isinstance(store, ActivationStore) else ActivationStore.open(store)
    settings = _checked(n_folds, n_controls, n_permutations, n_resamples, ci, seed)
    names = list(layers or opened.layers)
    widest = max(opened[name]["activation"].sizes["unit"] for name in names)
    bytes_ = parse_memory(memory)
    sampled = choose_samples(opened, bytes_, widest, n_folds, seed)
    found = [_layer(read_features(opened, name, sampled), settings) for name in names]
    data = xr.concat([one.drop_dims("row") for one in found], "layer", join="override")
    rows = xr.concat([one[_row_names(one)] for one in found], "row")
    data = data.merge(rows).merge(_samples(sampled))
    own = _own(sampled, settings)
    q = np.full(data["p"].shape, np.nan)
    for i in range(len(MEASURES)):
        q[i] = adjust_together(data["p"].values[i])
    attrs = {
        "layers": names,
        "n_folds": sampled.n_folds,
        "memory": bytes_,
        **asdict(settings),
        **replace(opened.provenance, seed=settings.seed, ci=settings.ci).attrs(),
        "measures": json.dumps(MEASURES),
    }
    data = data.assign(own).assign(q=(data["p"].dims, q)).assign_attrs(attrs)
    return SeparabilityReport(data)


def _checked(
    n_folds: int, n_controls: int, n_permutations: int, n_resamples: int, ci: float, seed: int
) -> Settings:
    if n_folds < 2:
        raise ProbeError(f"n_folds={n_folds} was given; at least 2 are needed.")
    for name, value in (("n_controls", n_controls), ("n_permutations", n_permutations)):
        if value < 1:
            raise ProbeError(f"{name}={value} was given; at least 1 is needed, and 19 for p = .05.")
    if n_resamples < 0 or not 0 < ci < 1:
        raise ProbeError(
            f"n_resamples={n_resamples} and ci={ci} were given; allowed are 0 and above, and "
            "a confidence level between 0 and 1."
        )
    return Settings(n_controls, n_permutations, n_resamples, ci, seed)


def _layer(features: Features, settings: Settings) -> xr.Dataset:
    """Return all results of a layer."""
    sampled, units = features.sampled, _units(features, settings)
    flat = features.compact()
    parts = [_part(flat, d) for d in range(len(sampled.names))]
    fitted, rows = list[Fitted](), list[dict[str, Any]]()
    with progress_bar(f"separability of {features.layer}", len(parts) + 2) as advance:
        for part in parts:
            fitted.append(fit_dataset(part, sampled.n_folds, settings))
            rows.append(measure_dataset(part, fitted[-1], settings))
            advance(1)
        moved = _transfer(flat, parts, fitted, settings)
        advance(1)
        answers = _answers(flat, settings)
        shared = _shared(flat, settings)
        advance(1)
    table = np.array([[row[name] for row in rows] for name in MEASURES])
    dims = ("measure", "layer", "dataset")
    found: dict[str, Any] = {
        name: (dims, table[:, None, :, i]) for i, name in enumerate(("value", "low", "high", "p"))
    }
    found |= moved | answers | shared | units | _blind(parts, fitted, settings)
    found |= _draws(parts, fitted, settings)
    return xr.Dataset(
        found,
        coords={
            "measure": list(MEASURES),
            "layer": [features.layer],
            "dataset": list(sampled.names),
            "scored": list(sampled.names),
            "question": list(QUESTIONS),
        },
    )


def _part(features: Features, dataset: int) -> Part:
    sampled, where = features.sampled, features.sampled.slice_of(dataset)
    clusters = np.unique(sampled.people[where], return_inverse=True)[1]
    return Part(
        features.values[where],
        sampled.labels[where],
        clusters,
        sampled.folds[where],
        sampled.own[where],
    )


def _transfer(
    features: Features, parts: Sequence[Part], fitted: Sequence[Fitted], settings: Settings
) -> dict[str, Any]:
    """Return the AUROC of every dataset's probe on every dataset, on people not fitted on."""
    n = len(parts)
    out = np.full((3, 1, n, n), np.nan)
    for i, fit in enumerate(fitted):
        for j, part in enumerate(parts):
            pairs = fit.pairs
            if i != j:
                scores = fit.probe.scores(part.values, part.folds)
                pairs = pairs_of(part.labels, scores, part.clusters)
            out[:, 0, i, j] = _with_bounds(pairs, part.n_clusters, settings)
    dims = ("layer", "dataset", "scored")
    return {f"transfer{end}": (dims, out[i]) for i, end in enumerate(BOUNDS)}


def _with_bounds(pairs: Pairs, n: int, settings: Settings) -> tuple[float, float, float]:
    ends = bounds(pairs.auroc, n, settings.n_resamples, settings.ci, settings.seed)
    return (float(pairs.auroc()[0]), *ends)


def _blind(parts: Sequence[Part], fitted: Sequence[Fitted], settings: Settings) -> dict[str, Any]:
    """Return the AUROC of the probe − that of the detector's head, on the same resamples."""
    rows = []
    for part, fit in zip(parts, fitted, strict=True):
        own = pairs_of(part.labels, part.own, part.clusters)

        def gap(counts: Floats, fit: Fitted = fit, own: Pairs = own) -> Floats:
            return np.asarray(fit.pairs.auroc(counts) - own.auroc(counts))

        ends = bounds(gap, part.n_clusters, settings.n_resamples, settings.ci, settings.seed)
        rows.append((float(gap(np.ones((1, part.n_clusters)))[0]), *ends))
    dims = ("layer", "dataset")
    return {f"blind{end}": (dims, [[row[i] for row in rows]]) for i, end in enumerate(BOUNDS)}


def _draws(parts: Sequence[Part], fitted: Sequence[Fitted], settings: Settings) -> dict[str, Any]:
    """Return the probes' AUROC on the resamples, for differences between two detectors."""
    if not settings.n_resamples:
        return {}
    n, seed = settings.n_resamples, settings.seed
    rows = [
        resampled(fit.pairs.auroc, part.n_clusters, n, seed)
        for part, fit in zip(parts, fitted, strict=True)
    ]
    table = np.array(rows, dtype=np.float32)[None]
    return {"probe_draw": (("layer", "dataset", "resample"), table)}


def _answers(features: Features, settings: Settings) -> dict[str, Any]:
    """Classify methods among fakes, and datasets among reals."""
    sampled = features.sampled
    methods = np.unique(sampled.methods.astype(str), return_inverse=True)[1]
    fakes = np.flatnonzero(sampled.labels)
    # Originals shared by several datasets count once; `_domains` gives those datasets one code.
    reals = np.flatnonzero(~sampled.labels)
    reals = reals[np.unique(sampled.images[reals], return_index=True)[1]]
    rows = []
    for where, classes in ((fakes, methods), (reals, _domains(sampled))):
        codes = np.unique(classes[where], return_inverse=True)[1].astype(np.int64)
        rows.append(
            ask(
                features.values[where], codes, sampled.people[where], sampled.folds[where], settings
            )
        )
    names = {
        "answer": "accuracy",
        "answer_low": "low",
        "answer_high": "high",
        "answer_p": "p",
        "chance": "chance",
    }
    dims = ("question", "layer")
    return {k: (dims, [[getattr(row, field)] for row in rows]) for k, field in names.items()}


def _domains(sampled: Sampled) -> NDArray[np.int64]:
    """Return a code per dataset, shape (n,); datasets that share real images share a code."""
    real = ~sampled.labels
    shape = (len(sampled.names), int(sampled.images.max()) + 1)
    seen = sparse.coo_array(
        (np.ones(int(real.sum())), (sampled.datasets[real], sampled.images[real])), shape=shape
    ).tocsr()
    groups = csgraph.connected_components(seen @ seen.T, directed=False)[1]
    return np.asarray(groups[sampled.datasets], dtype=np.int64)


def _shared(features: Features, settings: Settings) -> dict[str, Any]:
    """Compare the real-to-fake differences of methods, and their share specific to a method."""
    sampled = features.sampled
    found = differences_of(
        features.values,
        sampled.labels,
        sampled.datasets,
        sampled.methods,
        sampled.people,
        sampled.names,
    )
    out = dict.fromkeys(
        (
            "specific_share",
            "specific_low",
            "specific_high",
            "shared_cosine",
            "label_angle_share",
            "label_angle_null",
        ),
        np.nan,
    )
    if found is not None and len(found.names) > 1:
        point = found.products()
        out["specific_share"] = float(found.specific_share(point)[0])
        out["shared_cosine"] = float(found.shared_cosine(point)[0])
        if features.units == features.values.shape[1]:
            out["label_angle_share"], out["label_angle_null"] = found.angle_share()
        else:
            share, _ = found.angle_share()
            out |= {
                "label_angle_share": share,
                "label_angle_null": (len(found.names) - 1) / features.units,
            }
        people = int(sampled.people.max()) + 1
        if people >= MIN_CLUSTERS and settings.n_resamples:
            counts = _by_dataset_counts(sampled, settings)
            draws = found.specific_share(found.products(counts))
            low, high = percentile_bounds(draws, settings.ci)
            out |= {"specific_low": float(low), "specific_high": float(high)}
    return {name: ("layer", [value]) for name, value in out.items()}


def _by_dataset_counts(sampled: Sampled, settings: Settings) -> Floats:
    """Draw people with replacement, stratified by the dataset they first appear in."""
    n = int(sampled.people.max()) + 1
    first = np.full(n, -1)
    first[sampled.people[::-1]] = sampled.datasets[::-1]
    out = np.zeros((min(settings.n_resamples, 400), n))
    for dataset in np.unique(first):
        where = np.flatnonzero(first == dataset)
        out[:, where] = cluster_counts(len(where), len(out), settings.seed + int(dataset))
    return out


def _units(features: Features, settings: Settings) -> dict[str, Any]:
    """Measure each unit's information on the label (per dataset) and the method (among fakes)."""
    sampled, n = features.sampled, settings.n_permutations
    label, entropy = np.zeros((1 + n, features.units)), 0.0
    told = np.flatnonzero(
        [len(np.unique(sampled.labels[sampled.slice_of(d)])) > 1 for d in range(len(sampled.names))]
    )
    for dataset in told:
        where = sampled.slice_of(int(dataset))
        classes = sampled.labels[where].astype(np.int64)
        label += _bits(features.values[where], classes, sampled.people[where], settings)
        entropy += entropy_of(classes)
    centered = features.values[sampled.labels]
    for dataset in told:
        # Subtract the mean of the reals: the look of a dataset is not information on the method.
        where = sampled.slice_of(int(dataset))
        real = features.values[where][~sampled.labels[where]].mean(axis=0)
        centered[sampled.datasets[sampled.labels] == dataset] -= real
    known = np.isin(sampled.datasets[sampled.labels], told)
    names = sampled.methods[sampled.labels][known].astype(str)
    methods = np.unique(names, return_inverse=True)[1].astype(np.int64)
    people = sampled.people[sampled.labels][known]
    by_label = judge(label, entropy)
    method = np.zeros((1 + n, features.units))
    if len(np.unique(methods)) > 1:
        method = _bits(centered[known], methods, people, settings)
    by_method = judge(method, entropy_of(methods) if len(methods) else 0.0)
    few = len(np.unique(sampled.people)) < MIN_CLUSTERS
    nothing = np.full(features.units, np.nan)
    return {
        "row_layer": ("row", np.array([features.layer] * features.units, dtype=object)),
        "row_unit": ("row", np.arange(features.units)),
        "label_information": ("row", by_label.share),
        "method_information": ("row", by_method.share),
        "label_q": ("row", nothing if few else benjamini_hochberg(by_label.p)),
        "method_q": ("row", nothing if few else benjamini_hochberg(by_method.p)),
    }


def _bits(
    values: NDArray[np.float32],
    classes: NDArray[np.int64],
    people: NDArray[np.int64],
    settings: Settings,
) -> Floats:
    keys, row = np.unique(np.stack([people, classes]), axis=1, return_inverse=True)
    groups = np.unique(keys[0], return_inverse=True)[1]
    drawn = exchange_rows(keys[1], groups, settings.n_permutations, settings.seed)
    labelings = np.concatenate([keys[1][None], drawn])
    return mutual_bits(quantile_bins(values), row.ravel(), labelings)


def _samples(sampled: Sampled) -> xr.Dataset:
    slices = [sampled.slice_of(d) for d in range(len(sampled.names))]
    whole = [
        Part(
            np.zeros((0, 0), np.float32),
            sampled.labels[s],
            np.unique(sampled.people[s], return_inverse=True)[1],
            sampled.folds[s],
            sampled.own[s],
        )
        for s in slices
    ]
    return xr.Dataset(
        {
            "n_samples": ("dataset", sampled.total),
            "sampled": ("dataset", [len(part.labels) for part in whole]),
            "n_fakes": ("dataset", [int(part.labels.sum()) for part in whole]),
            "n_clusters": ("dataset", [part.n_clusters for part in whole]),
            "reason": ("dataset", np.array([part.problem for part in whole], dtype=object)),
        }
    )


def _own(sampled: Sampled, settings: Settings) -> dict[str, Any]:
    """Return the AUROC of the detector's own logit on the same samples."""
    rows = []
    for dataset in range(len(sampled.names)):
        where = sampled.slice_of(dataset)
        clusters = np.unique(sampled.people[where], return_inverse=True)[1]
        pairs = pairs_of(sampled.labels[where], sampled.own[where], clusters)
        rows.append(_with_bounds(pairs, int(clusters.max()) + 1, settings))
    return {f"own{end}": ("dataset", [row[i] for row in rows]) for i, end in enumerate(BOUNDS)}


def _row_names(data: xr.Dataset) -> list[str]:
    return [str(name) for name, value in data.data_vars.items() if "row" in value.dims]
