"""`artifact_report`: label effects on measurements, with controls, intervals and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probe.artifacts.controls import TEXT, Doubles, design, explained, matched_rows, residuals
from probe.artifacts.report import CONTROLS, ArtifactMeasurements, ArtifactReport
from probe.errors import DatasetError
from probe.progress import progress_bar
from probe.stats import (
    MIN_CLUSTERS,
    adjust_together,
    auroc,
    cluster_bootstrap,
    cluster_counts,
    percentile_bounds,
    permutation_test,
)

__all__ = ["Effects", "Group", "artifact_report", "effects_of", "p_values"]


@dataclass(frozen=True)
class Group:
    """Measured images of one dataset.

    Attributes
    ----------
    values : numpy.ndarray
        Shape (n, m), values of the measurements; NaN where undefined.
    labels : numpy.ndarray
        Shape (n,), 0 real and 1 fake.
    clusters : numpy.ndarray
        Shape (n,), codes from 0.
    """

    values: Doubles
    labels: NDArray[np.int8]
    clusters: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Group:
        """Return a group with some of the images."""
        return Group(self.values[rows], self.labels[rows], self.clusters[rows])


@dataclass(frozen=True)
class Effects:
    """Effects and their bounds, each of shape (m,); NaN where undefined."""

    effect: Doubles
    low: Doubles
    high: Doubles


def effects_of(
    group: Group,
    rows: NDArray[np.int64],
    covariates: Doubles,
    *,
    n_resamples: int = 1000,
    ci: float = 0.95,
    seed: int = 0,
) -> Effects:
    """Estimate mean of fakes − mean of reals, in standard deviations of the reals.

    Parameters
    ----------
    group : Group
        All images. The reals among them give the standard deviation, so that a control changes the
        difference only.
    rows : numpy.ndarray
        Positions of the images to compare.
    covariates : numpy.ndarray
        Shape (n, columns). The effect is the coefficient of the label in a linear regression on
        label and covariates; without columns it is the plain difference.
    n_resamples, ci, seed : int, float, int
        Number of cluster bootstrap resamples, in which regression and standard deviation are
        computed again; confidence level; seed.
    """
    shape = group.values.shape[1]
    effect, low, high = (np.full(shape, np.nan) for _ in range(3))
    counts = _counts(group, n_resamples, seed)
    for columns in _alike(group.values):
        used = np.isfinite(group.values[:, columns[0]])
        y = group.values[:, columns]
        y = np.where(used[:, None], y - y[used].mean(axis=0), 0.0) if used.any() else 0 * y
        compared = np.zeros(len(used))
        compared[rows] = 1
        moments = _Moments.of(group, y, covariates, used * compared, used * 1.0)
        effect[columns] = moments.effects(np.ones((1, counts.shape[1])))[0]
        if n_resamples and counts.shape[1] >= MIN_CLUSTERS:
            draws = moments.effects(counts)
            low[columns], high[columns] = percentile_bounds(draws, ci)
    nowhere = ~np.isfinite(effect)
    low[nowhere], high[nowhere] = np.nan, np.nan
    return Effects(effect, low, high)


def _counts(group: Group, n_resamples: int, seed: int) -> Doubles:
    return cluster_counts(int(group.clusters.max()) + 1, max(n_resamples, 1), seed)


def _alike(values: Doubles) -> list[NDArray[np.int64]]:
    """Group columns that are defined on the same rows."""
    patterns, code = np.unique(np.isfinite(values), axis=1, return_inverse=True)
    return [np.flatnonzero(code.ravel() == i) for i in range(patterns.shape[1])]


@dataclass(frozen=True)
class _Moments:
    """Sums by cluster, from which each resample is computed without the images.

    Attributes
    ----------
    cross : numpy.ndarray
        Shape (clusters, k, k + m): design' × (design, values), over the compared images.
    real : numpy.ndarray
        Shape (clusters, 1 + 2 m): number, sums and sums of squares over all real images.
    """

    cross: Doubles
    real: Doubles

    @classmethod
    def of(
        cls, group: Group, y: Doubles, covariates: Doubles, compared: Doubles, used: Doubles
    ) -> _Moments:
        n = int(group.clusters.max()) + 1
        label = group.labels.astype(np.float64)
        x = np.column_stack([np.ones(len(y)), label, covariates])
        both = np.column_stack([x, y])
        cross = np.zeros((n, x.shape[1], both.shape[1]))
        for row in range(x.shape[1]):
            np.add.at(cross[:, row], group.clusters, (compared * x[:, row])[:, None] * both)
        weight = (used * (1 - label))[:, None]
        real = np.zeros((n, 1 + 2 * y.shape[1]))
        np.add.at(real, group.clusters, weight * np.column_stack([np.ones(len(y)), y, y**2]))
        return cls(cross, real)

    def effects(self, counts: Doubles) -> Doubles:
        """Return effects, shape (resamples, m), from the multiplicity of each cluster."""
        k = self.cross.shape[1]
        total = np.tensordot(counts, self.cross, axes=1)
        gram, right = total[:, :, :k], total[:, :, k:]
        slope = (np.linalg.pinv(gram, rcond=1e-9, hermitian=True) @ right)[:, 1]
        fakes, images = gram[:, 1, 1], gram[:, 0, 0]
        number, sums, squares = np.split(counts @ self.real, [1, 1 + right.shape[2]], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.sqrt(np.maximum(squares / number - (sums / number) ** 2, 0))
            sized = np.where(spread > 1e-12, slope / spread, np.where(slope == 0, 0.0, np.nan))
        both = (fakes > 0) & (fakes < images) & (number[:, 0] > 1)
        return np.where(both[:, None], sized, np.nan)


def p_values(
    group: Group, covariates: Doubles, n_permutations: int = 9999, seed: int = 0
) -> Doubles:
    """Test each measurement by two-sided permutation; shape (m,), NaN where a class is missing.

    The covariates are regressed out of the values without regard to the label (Kennedy 1995,
    doi:10.1080/07350015.1995.10524581). Variance that label and covariates share is not
    attributed to the label, so the test is conservative.
    """
    p = np.full(group.values.shape[1], np.nan)
    for columns in _alike(group.values):
        used = np.isfinite(group.values[:, columns[0]])
        if len(np.unique(group.labels[used])) < 2:
            continue
        values = residuals(group.values[np.ix_(used, columns)], covariates[used])
        found = permutation_test(
            np.column_stack([values, -values]),
            group.labels[used],
            group.clusters[used],
            n_permutations,
            seed,
        )
        p[columns] = np.minimum(2 * found.p.reshape(2, -1).min(axis=0), 1.0)
    return p


#: If covariates predict the label better than this (R²), nothing is left to regress on the label.
COLLINEAR = 0.99


@dataclass(frozen=True)
class _Plan:
    """Settings of a report."""

    caliper: float
    n_permutations: int
    n_resamples: int
    ci: float
    seed: int

    def __post_init__(self) -> None:
        fewest = min(self.n_permutations, self.n_resamples)
        if not 0 < self.caliper < np.inf or not 0 < self.ci < 1 or fewest < 1 or self.seed < 0:
            given = ", ".join(f"{name}={value}" for name, value in vars(self).items())
            raise DatasetError(
                f"{given} were given; allowed are a caliper above 0, a confidence level between 0 "
                "and 1, counts of at least 1 and a seed of at least 0."
            )


def artifact_report(
    measurements: ArtifactMeasurements,
    *,
    caliper: float = 0.2,
    n_permutations: int = 9999,
    n_resamples: int = 1000,
    ci: float = 0.95,
    seed: int = 0,
    progress: bool = True,
) -> ArtifactReport:
    """Compare real and fake images, per measurement and dataset.

    Each effect is estimated three times: without control, with the covariates partialled out by a
    linear regression within the dataset, and on real and fake images matched on the covariates
    within a caliper. Controls matter because detectors learn codec, size and quality where these
    differ between real and fake (Grommelt et al. 2024, arXiv:2403.17608; Chandrasegaran et al.
    2021, arXiv:2103.17195).

    Parameters
    ----------
    measurements : ArtifactMeasurements
        Result of `measure_artifacts`.
    caliper : float, default 0.2
        Maximum difference between matched images, in standard deviations of a covariate, above 0
        (Austin 2011, doi:10.1002/pst.433).
    n_permutations : int, default 9999
        Number of permutations per test.
    n_resamples : int, default 1000
        Number of cluster bootstrap resamples.
    ci : float, default 0.95
        Confidence level of the intervals, between 0 and 1.
    seed : int, default 0
        Seed of resamples, permutations and matching.
    progress : bool, default True
        Whether to show a progress bar.

    Returns
    -------
    ArtifactReport
        Effects, intervals and p-values. Bounds are NaN for datasets of fewer than five clusters,
        effects are NaN for datasets of one class; ``reason`` says so.

    Raises
    ------
    DatasetError
        If an argument is out of range.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> measured = probe.measure_artifacts(data)
    >>> probe.artifact_report(measured, n_permutations=99, n_resamples=99)
    <ArtifactReport: control 3, dataset 3, measurement 26, label 2, covariate 9, frequency 64,
    method 3>
    """
    plan = _Plan(caliper, n_permutations, n_resamples, ci, seed)
    data = measurements.data
    of = _texts(data["dataset"])
    names = list(dict.fromkeys(of.tolist()))
    parts = [_Part(data.isel(sample=np.flatnonzero(of == name))) for name in names]
    with progress_bar("real against fake", len(names) + 1, progress=progress) as advance:
        rows = []
        for part in parts:
            rows.append(_row(part, plan))
            advance(1)
        out = _joined(rows, names, data)
        out |= _tells(parts, plan)
        advance(1)
    kept = {name: data[name].values for name in ("measurement", "covariate", "frequency")}
    methods = list(dict.fromkeys(_texts(data["method"])[data["label"].values == 1].tolist()))
    coords = {**kept, "dataset": names, "control": list(CONTROLS), "label": [0, 1]}
    of_images = replace(measurements.provenance, seed=seed, ci=ci)
    attrs = {**data.attrs, **vars(plan), **of_images.attrs()}
    return ArtifactReport(xr.Dataset(out, {**coords, "method": methods}, attrs))


def _texts(values: xr.DataArray) -> NDArray[np.str_]:
    """Return texts as NumPy strings, which compare and sort; stored text has another type."""
    return np.array([str(value) for value in values.values])


class _Part:
    """The images of one dataset, as plain arrays."""

    def __init__(self, data: xr.Dataset) -> None:
        self.cluster_names = _texts(data["cluster"])
        clusters = np.unique(self.cluster_names, return_inverse=True)[1].ravel()
        labels = data["label"].values.astype(np.int8)
        self.group = Group(data["value"].values.astype(np.float64), labels, clusters)
        self.controls: Doubles = data["control"].values.astype(np.float64)
        self.covariates = [str(name) for name in data["covariate"].values]
        self.power: Doubles = data["power"].values.astype(np.float64)
        self.method = _texts(data["method"])
        self.region = str(data["region"].values[0])
        self.n_clusters = int(clusters.max()) + 1

    @property
    def labels(self) -> NDArray[np.int8]:
        return self.group.labels

    @property
    def both(self) -> bool:
        return len(np.unique(self.labels)) == 2


def _row(part: _Part, plan: _Plan) -> dict[str, Any]:
    """Return all results of one dataset, by variable name."""
    effects, p, used, reasons = _compared(part, plan)
    row: dict[str, Any] = {
        "effect": np.stack([one.effect for one in effects]),
        "low": np.stack([one.low for one in effects]),
        "high": np.stack([one.high for one in effects]),
        "p": p,
        "n_used": used,
        "rank": _rank(effects[0].effect),
        "region": part.region,
        "reason": " ".join(reasons),
        "n_samples": len(part.labels),
        "n_clusters": part.n_clusters,
    }
    row |= _moments(part)
    row |= _imbalance(part, plan)
    return row | _power(part, plan)


def _compared(
    part: _Part, plan: _Plan
) -> tuple[list[Effects], Doubles, NDArray[np.int64], list[str]]:
    """Return effects and p-values by control, numbers of images used, and what is missing."""
    m = part.group.values.shape[1]
    empty = Effects(*(np.full(m, np.nan) for _ in range(3)))
    reasons = _reasons(part)
    if not part.both:
        return [empty] * 3, np.full((3, m), np.nan), np.zeros(3, np.int64), reasons
    every, none = np.arange(len(part.labels)), np.empty((len(part.labels), 0))
    x = design(part.controls, part.covariates)
    if not x.shape[1]:
        reasons.append("No covariate varies, so the controls change nothing.")
    rows = matched_rows(
        part.controls, part.labels, part.group.clusters, plan.caliper, part.covariates, plan.seed
    )
    told = explained(part.labels.astype(np.float64), x) > COLLINEAR
    if told:
        reasons.append("Covariates predict the label by themselves: nothing can be partialled.")
    if not len(rows):
        reasons.append("No real image is like a fake in all covariates: nothing can be matched.")
    given = [(every, none), None if told else (every, x), (rows, none) if len(rows) else None]
    effects, p, used = [], [], []
    for one in given:
        found = _one_control(part, one[0], one[1], plan) if one else (empty, np.full(m, np.nan))
        effects.append(found[0])
        p.append(found[1])
        used.append(len(one[0]) if one else 0)
    return effects, np.stack(p), np.asarray(used, dtype=np.int64), reasons


def _one_control(
    part: _Part, rows: NDArray[np.int64], x: Doubles, plan: _Plan
) -> tuple[Effects, Doubles]:
    found = effects_of(
        part.group, rows, x, n_resamples=plan.n_resamples, ci=plan.ci, seed=plan.seed
    )
    p = p_values(part.group.take(rows), x[rows], plan.n_permutations, plan.seed)
    if len(np.unique(part.group.clusters[rows])) < MIN_CLUSTERS:
        found = Effects(found.effect, found.low * np.nan, found.high * np.nan)
    return found, p


def _reasons(part: _Part) -> list[str]:
    reasons = []
    if not part.both:
        only = "fakes" if part.labels.all() else "real images"
        reasons.append(f"No effect: all {len(part.labels)} images are {only}.")
    if part.n_clusters < MIN_CLUSTERS:
        reasons.append(
            f"No interval: {part.n_clusters} clusters (identities, else videos), and "
            f"{MIN_CLUSTERS} are needed."
        )
    lacking = np.isnan(part.group.values).any(axis=1).sum()
    if lacking:
        reasons.append(
            f"{lacking} images lack measurements that they or their regions are too small for."
        )
    return reasons


def _rank(effect: Doubles) -> NDArray[np.int64]:
    """Rank by absolute effect, 1 the largest; 0 where undefined."""
    sized = np.nan_to_num(np.abs(effect), nan=-1.0)
    out = np.empty(len(effect), dtype=np.int64)
    out[np.argsort(-sized, kind="stable")] = np.arange(1, len(effect) + 1)
    return np.where(np.isnan(effect), 0, out)


def _moments(part: _Part) -> dict[str, Doubles]:
    """Return mean and deviation by label, shape (label, measurement)."""
    out = {name: np.full((2, part.group.values.shape[1]), np.nan) for name in ("mean", "std")}
    for label in (0, 1):
        values = part.group.values[part.labels == label]
        for column in range(values.shape[1]):
            known = values[np.isfinite(values[:, column]), column]
            if len(known):
                out["mean"][label, column] = known.mean()
                out["std"][label, column] = known.std()
    return out


def _imbalance(part: _Part, plan: _Plan) -> dict[str, Doubles]:
    """Return the AUROC of fake against real by each covariate alone."""
    out = {f"imbalance{s}": np.full(len(part.covariates), np.nan) for s in ("", "_low", "_high")}
    if not part.both:
        return out
    for i, (name, values) in enumerate(zip(part.covariates, part.controls.T, strict=True)):
        known = np.isfinite(values)
        if not known.any():
            continue
        scores = np.where(known, values, values[known].min() - 1)
        if name in TEXT:
            scores = _fake_share(scores, part.labels)
        found = _interval(part.labels, scores, part.group.clusters, plan)
        for suffix, value in zip(("", "_low", "_high"), found, strict=True):
            out[f"imbalance{suffix}"][i] = value
    return out


def _fake_share(codes: Doubles, labels: NDArray[np.int8]) -> Doubles:
    """Replace unordered codes by the share of fakes among their images, which orders them."""
    level = np.unique(codes, return_inverse=True)[1].ravel()
    return np.asarray((np.bincount(level, labels) / np.bincount(level))[level])


def _interval(
    labels: NDArray[Any], scores: Doubles, clusters: NDArray[Any], plan: _Plan
) -> tuple[float, float, float]:
    count, ci, seed = plan.n_resamples, plan.ci, plan.seed
    found = cluster_bootstrap(auroc, labels, scores, clusters, n_resamples=count, ci=ci, seed=seed)
    return found.estimate, found.low, found.high


def _power(part: _Part, plan: _Plan) -> dict[str, Doubles]:
    """Return mean spectra (label, frequency) and their gap (frequency,), with bounds."""
    frequencies = part.power.shape[1]
    sums = np.zeros((part.n_clusters, 2, frequencies))
    images = np.zeros((part.n_clusters, 2))
    np.add.at(sums, (part.group.clusters, part.labels), part.power)
    np.add.at(images, (part.group.clusters, part.labels), 1)
    mean = _means(np.ones((1, part.n_clusters)), sums, images)[0]
    out = {"power": mean, "power_gap": mean[1] - mean[0]}
    counts = cluster_counts(part.n_clusters, plan.n_resamples, plan.seed)
    draws = _means(counts, sums, images)
    few = ((images > 0).sum(axis=0) < MIN_CLUSTERS)[:, None]
    bounds = [np.where(few, np.nan, one) for one in percentile_bounds(draws, plan.ci)]
    gaps = [
        np.where(few.any(), np.nan, one)
        for one in percentile_bounds(draws[:, 1] - draws[:, 0], plan.ci)
    ]
    for end, own, gap in zip(("low", "high"), bounds, gaps, strict=True):
        out |= {f"power_{end}": own, f"power_gap_{end}": gap}
    return out


def _means(counts: Doubles, sums: Doubles, images: Doubles) -> Doubles:
    """Return the mean over images per resample and label; NaN where a label has none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.tensordot(counts, sums, axes=1) / (counts @ images)[..., None]
    return np.where(np.isfinite(mean), mean, np.nan)


def _joined(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], data: xr.Dataset
) -> dict[str, Any]:
    """Stack the results of datasets, and adjust p over datasets and measurements."""
    stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    out: dict[str, Any] = {}
    dims = ("control", "dataset", "measurement")
    for name in ("effect", "low", "high", "p"):
        out[name] = (dims, stacked.pop(name).swapaxes(0, 1))
    out["q"] = (dims, np.stack([adjust_together(p) for p in out["p"][1]]))
    out["n_used"] = (("control", "dataset"), stacked.pop("n_used").T)
    for name, values in stacked.items():
        stem = name.removesuffix("_low").removesuffix("_high")
        out[name] = (("dataset", *_DIMS.get(stem, ())), values)
    for name in ("unit", "source", "about", "needs"):
        out[f"measurement_{name}"] = ("measurement", data[f"measurement_{name}"].values)
    return out


_DIMS: dict[str, tuple[str, ...]] = {
    "rank": ("measurement",),
    "mean": ("label", "measurement"),
    "std": ("label", "measurement"),
    "imbalance": ("covariate",),
    "power": ("label", "frequency"),
    "power_gap": ("frequency",),
}


def _tells(parts: Sequence[_Part], plan: _Plan) -> dict[str, Any]:
    """Return the AUROC of each method's fakes against all others, by standardized values."""
    fakes = [part for part in parts if part.labels.any()]
    methods = list(dict.fromkeys(str(m) for part in fakes for m in part.method[part.labels == 1]))
    shape = (len(methods), parts[0].group.values.shape[1])
    out = {f"tells{suffix}": np.full(shape, np.nan) for suffix in ("", "_low", "_high")}
    if fakes:
        values = np.concatenate([_standardized(part) for part in fakes])
        method = np.concatenate([part.method[part.labels == 1] for part in fakes])
        cluster = np.concatenate([part.cluster_names[part.labels == 1] for part in fakes])
        for i, name in enumerate(methods):
            for j, column in enumerate(values.T):
                known = np.isfinite(column)
                of = method[known] == name
                if 0 < of.sum() < len(of):
                    found = _interval(of, column[known], cluster[known], plan)
                    for suffix, value in zip(("", "_low", "_high"), found, strict=True):
                        out[f"tells{suffix}"][i, j] = value
    return {name: (("method", "measurement"), values) for name, values in out.items()}


def _standardized(part: _Part) -> Doubles:
    """Return the fakes' values standardized by mean and deviation of the reals; NaN without."""
    moments = _moments(part)
    mean, std = moments["mean"][0], moments["std"][0]
    with np.errstate(invalid="ignore", divide="ignore"):
        values = (part.group.values[part.labels == 1] - mean) / std
    return np.where(np.isfinite(values), values, np.nan)
