"""Linear probes by ridge regression, cross-validated over people, and their differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import linalg
from scipy.linalg import lapack

from probe.errors import ProbeError
from probe.separability.features import columns_auroc
from probe.separability.report import SeparabilityReport
from probe.stats import Floats, adjust_together, inverted_level, percentile_bounds

__all__ = [
    "Fit",
    "FoldSums",
    "PENALTIES",
    "Probe",
    "auroc_criterion",
    "class_weights",
    "fit_probe",
    "probe_differences",
    "sum_folds",
]

#: Ridge penalties for inner cross-validation, in units of the mean variance of a unit.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
ROWS = 4096

Values = NDArray[np.float32]


@dataclass(frozen=True)
class FoldSums:
    """Weighted sums over the samples of each fold: the sufficient statistics of ridge regression.

    Attributes
    ----------
    weight : numpy.ndarray
        Shape (folds,).
    total : numpy.ndarray
        Shape (folds, axes), Σ w x.
    gram : numpy.ndarray
        Shape (folds, axes, axes), Σ w x xᵀ.
    targets : numpy.ndarray
        Shape (folds, targets), Σ w y.
    cross : numpy.ndarray
        Shape (folds, axes, targets), Σ w x yᵀ.
    """

    weight: Floats
    total: Floats
    gram: Floats
    targets: Floats
    cross: Floats


@dataclass(frozen=True)
class Fit:
    """A linear fit on some folds: ``(x − center) @ coefficients + offset``.

    Attributes
    ----------
    center : numpy.ndarray
        Shape (axes,).
    coefficients : numpy.ndarray
        Shape (axes, targets).
    offset : numpy.ndarray
        Shape (targets,).
    """

    center: Floats
    coefficients: Floats
    offset: Floats

    def __call__(self, values: Values) -> Floats:
        """Score samples, shape (n, axes) to (n, targets)."""
        shift = self.offset - self.center @ self.coefficients
        return np.asarray(values @ self.coefficients.astype(values.dtype) + shift)


@dataclass(frozen=True)
class Probe:
    """Cross-validated probe: one fit per held-out fold.

    Attributes
    ----------
    fits : tuple of Fit or None
        One per fold, fitted on all other folds; None where those lack a class.
    penalties : tuple of float
        Penalty of each fit, chosen by cross-validation within its training folds.
    """

    fits: tuple[Fit | None, ...]
    penalties: tuple[float, ...]

    def blocks(
        self, values: Values, folds: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """Yield positions and scores, by the fit that did not use their fold.

        Shapes (rows,) and (rows, targets). Folds without such a fit are skipped.
        """
        for fold, fit in enumerate(self.fits):
            where = np.flatnonzero(folds == fold)
            for start in range(0, len(where) if fit else 0, ROWS):
                rows = where[start : start + ROWS]
                yield rows, fit(values[rows]) if fit else np.zeros((0, 0))

    def scores(self, values: Values, folds: NDArray[np.int64], column: int = 0) -> Floats:
        """Score samples as `blocks` does, shape (n,); NaN where there is no fit."""
        out = np.full(len(values), np.nan)
        for rows, found in self.only(column).blocks(values, folds):
            out[rows] = found[:, 0]
        return out

    def only(self, column: int) -> Probe:
        """Return the probe for one target."""
        kept = slice(column, column + 1)
        fits = (
            fit and Fit(fit.center, fit.coefficients[:, kept], fit.offset[kept])
            for fit in self.fits
        )
        return Probe(tuple(fits), self.penalties)


def class_weights(classes: NDArray[np.int64]) -> Floats:
    """Return weights that give all classes the same total, shape (n,); they sum to 1."""
    sizes = np.bincount(classes)
    return np.asarray(1.0 / ((sizes > 0).sum() * sizes[classes]))


def sum_folds(
    values: Values,
    targets: Callable[[NDArray[np.int64]], NDArray[Any]],
    weights: Floats,
    folds: NDArray[np.int64],
    n_folds: int,
) -> FoldSums:
    """Compute the sums of each fold, in blocks of rows.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (n, axes), float32. Products within a block are in float32, sums over blocks in
        float64.
    targets : callable
        Maps positions to targets, shape (positions, targets); evaluated in blocks because many
        control tasks would not fit in memory beside the features.
    weights, folds : numpy.ndarray
        Shape (n,).
    n_folds : int
        Number of folds.
    """
    axes, width = values.shape[1], targets(np.zeros(0, dtype=np.int64)).shape[1]
    sums = FoldSums(
        np.zeros(n_folds),
        np.zeros((n_folds, axes)),
        np.zeros((n_folds, axes, axes)),
        np.zeros((n_folds, width)),
        np.zeros((n_folds, axes, width)),
    )
    # Weights of about 1 avoid underflow in float32.
    scale = len(weights) / weights.sum()
    for fold in range(n_folds):
        where = np.flatnonzero(folds == fold)
        for start in range(0, len(where), ROWS):
            rows = where[start : start + ROWS]
            root = np.sqrt(weights[rows] * scale).astype(np.float32)[:, None]
            x = values[rows] * root
            y = (targets(rows) * root).astype(np.float32)
            sums.gram[fold] += x.T @ x
            sums.cross[fold] += x.T @ y
            sums.total[fold] += (x.T @ root)[:, 0]
            sums.targets[fold] += (root.T @ y)[0]
            sums.weight[fold] += float((root.astype(np.float64) ** 2).sum())
    return sums


def ridge(
    sums: FoldSums,
    kept: Sequence[int],
    penalties: Sequence[float],
    targets: slice = slice(None),
    unit: bool = False,
) -> list[Fit]:
    """Fit ridge regression on some folds, once per penalty.

    Minimizes Σ w (y − ȳ − (x − x̄) b)² / Σ w + λ |b|², with λ the penalty times the mean variance.
    With two balanced classes, b is Fisher's direction with a covariance shrunk to the identity.
    With `unit`, the scores of each target are scaled to deviation 1 on the training folds.
    """
    index = list(kept)
    weight = sums.weight[index].sum()
    center = sums.total[index].sum(axis=0) / weight
    offset = sums.targets[index][:, targets].sum(axis=0) / weight
    covariance = sums.gram[index].sum(axis=0) / weight - np.outer(center, center)
    right = sums.cross[index][:, :, targets].sum(axis=0) / weight - np.outer(center, offset)
    size = max(float(np.trace(covariance)) / len(center), 1e-12)
    fits = []
    for penalty in penalties:
        loaded = covariance.copy()
        loaded[np.diag_indices_from(loaded)] += penalty * size
        # Several times faster than `linalg.solve`, which also estimates the condition number.
        _, found, failed = lapack.dposv(loaded.T, right, lower=True, overwrite_a=True)
        if failed:
            # In float32 the smallest eigenvalue can be slightly negative.
            loaded = covariance + penalty * size * np.eye(len(center))
            found = linalg.lstsq(loaded, right)[0]
        if unit:
            along = np.einsum("at,at->t", found, covariance @ found)
            found = found / np.sqrt(np.where(along > 0, along, 1.0))
        fits.append(Fit(center, found, offset))
    return fits


#: Maps (positions of samples, scores of shape (n, targets)) to a value to maximize.
Criterion = Callable[[NDArray[np.int64], Floats], float]


def fit_probe(
    values: Values,
    sums: FoldSums,
    folds: NDArray[np.int64],
    enough: Callable[[Sequence[int]], bool],
    criterion: Criterion,
    chosen_by: slice = slice(None),
    penalties: Sequence[float] = PENALTIES,
    unit: bool = False,
) -> Probe:
    """Fit one probe per held-out fold, with its penalty chosen within the training folds.

    Parameters
    ----------
    values, folds : numpy.ndarray
        Shape (n, axes) and (n,): features and folds that `sums` was computed from.
    sums : FoldSums
        Result of `sum_folds`.
    enough : callable
        Whether given folds contain all classes.
    criterion : callable
        Value of a penalty on an inner fold, to maximize.
    chosen_by : slice
        Targets that penalties are chosen by; other targets (control tasks) use the same ones.
    penalties : sequence of float
        Penalties to choose from.
    unit : bool, default False
        Whether to scale scores to deviation 1, which makes folds comparable.
    """
    n_folds = len(sums.weight)
    scores = _inner_scores(values, sums, folds, enough, criterion, chosen_by, penalties)
    fits, chosen = list[Fit | None](), list[float]()
    for held in range(n_folds):
        kept = [fold for fold in range(n_folds) if fold != held]
        if not enough(kept):
            fits.append(None)
            chosen.append(np.nan)
            continue
        known = scores[held][np.isfinite(scores[held]).all(axis=1)]
        # Without an inner fold to choose by, take the middle penalty.
        best = int(known.mean(axis=0).argmax()) if len(known) else len(penalties) // 2
        fits.append(ridge(sums, kept, [penalties[best]], unit=unit)[0])
        chosen.append(float(penalties[best]))
    return Probe(tuple(fits), tuple(chosen))


def _inner_scores(
    values: Values,
    sums: FoldSums,
    folds: NDArray[np.int64],
    enough: Callable[[Sequence[int]], bool],
    criterion: Criterion,
    chosen_by: slice,
    penalties: Sequence[float],
) -> Floats:
    """Return the criterion on each inner fold, shape (outer fold, inner fold, penalty)."""
    n_folds = len(sums.weight)
    out = np.full((n_folds, n_folds, len(penalties)), np.nan)
    for pair in combinations(range(n_folds), 2):
        kept = [fold for fold in range(n_folds) if fold not in pair]
        if not kept or not enough(kept):
            continue
        fits = ridge(sums, kept, penalties, chosen_by)
        for outer, inner in (pair, pair[::-1]):
            where = np.flatnonzero(folds == inner)
            if len(where):
                part = values[where]
                out[outer, inner] = [criterion(where, fit(part)) for fit in fits]
    return out


def auroc_criterion(labels: NDArray[np.bool_]) -> Criterion:
    """Return a criterion that is the AUROC of the first target; NaN if a class is missing."""
    return lambda where, scores: float(columns_auroc(labels[where], scores)[0][0])


#: Attributes that must agree for two reports to have the same resamples.
_SHARED = ("data", "seed", "n_resamples")


def probe_differences(
    one: SeparabilityReport, other: SeparabilityReport, ci: float = 0.95
) -> xr.Dataset:
    """Return differences between the probes of two detectors, per layer and dataset.

    Both were scored on the same images of the same people, and people are resampled alike for
    both, so that shared difficulty cancels. Probes are not refitted on resamples. The variance
    from refitting is accounted for as in Nadeau and Bengio [1]_: deviations of the resamples from
    the estimate are widened by √(1 + k / (k − 1)) for k folds. Without widening, two detectors of
    equal separability were called different in 7 to 21% of draws at 5%; with it, in 1 to 6%
    (docs/separability.md).

    Parameters
    ----------
    one, other : SeparabilityReport
        Reports on the same datasets, with the same thinning and seed.
    ci : float, default 0.95
        Confidence level of the intervals, between 0 and 1.

    Returns
    -------
    xarray.Dataset
        Over the layers and datasets that both reports have: ``value, reference`` (AUROC of each),
        ``difference`` (one − other, in [−1, 1]), ``low, high`` (percentile interval, widened),
        ``p`` (two-sided, see `probe.stats.inverted_level`) and ``q`` (Benjamini-Hochberg over all
        layers and datasets); NaN below five clusters. Attribute ``widened``: the factor.

    Raises
    ------
    ProbeError
        If the reports are not of the same samples, have no resamples, or share no layer.

    References
    ----------
    .. [1] C. Nadeau, Y. Bengio, "Inference for the Generalization Error", Machine Learning 2003.

    Examples
    --------
    >>> places = [run.separability(f"meso4/{variant}") for variant in ("base", "deep")]
    >>> base, deep = map(SeparabilityReport.open, places)
    >>> probe_differences(deep, base)["difference"].to_series()
    """
    _check(one, other)
    layers = [str(name) for name in one.data["layer"].values if name in other.data["layer"].values]
    datasets = [
        str(name) for name in one.data["dataset"].values if name in other.data["dataset"].values
    ]
    if not layers or not datasets:
        raise ProbeError(
            "The two reports have no layer of the same name, or no dataset, in common. Measure "
            "layers that both detectors have, on the same datasets."
        )
    where = {"layer": layers, "dataset": datasets}
    parts = [
        report.data[["value", "probe_draw", "n_clusters", "sampled"]].sel(where)
        for report in (one, other)
    ]
    for name in ("n_clusters", "sampled"):
        if not np.array_equal(parts[0][name].values, parts[1][name].values):
            raise ProbeError(
                f"The reports differ in {name!r}: their samples were thinned differently, so the "
                "images differ. Measure both with the same memory."
            )
    values = [
        part["value"].sel(measure="probe_auroc").transpose("layer", "dataset").values
        for part in parts
    ]
    draws = [
        part["probe_draw"].transpose("layer", "dataset", "resample").values.astype(np.float64)
        for part in parts
    ]
    difference, widened = values[0] - values[1], _refitting(one, other)
    gaps = difference[..., None] + widened * (draws[0] - draws[1] - difference[..., None])
    low, high = percentile_bounds(np.moveaxis(gaps, -1, 0), ci)
    p = inverted_level(gaps)
    dims = ("layer", "dataset")
    arrays = {
        "value": values[0],
        "reference": values[1],
        "difference": difference,
        "low": low,
        "high": high,
        "p": p,
        "q": adjust_together(p),
    }
    return xr.Dataset(
        {name: (dims, array) for name, array in arrays.items()},
        coords=where,
        attrs={"ci": ci, "n_resamples": int(gaps.shape[-1]), "widened": widened},
    )


def _refitting(one: SeparabilityReport, other: SeparabilityReport) -> float:
    """Return the factor that widens deviations for the variance from refitting the probes."""
    # The smaller number of folds if they differ, because the number of people limits it.
    k = min(int(report.data.attrs["n_folds"]) for report in (one, other))
    return float(np.sqrt(1 + k / (k - 1)))


def _check(one: SeparabilityReport, other: SeparabilityReport) -> None:
    if not all("probe_draw" in report.data for report in (one, other)):
        raise ProbeError(
            "A report holds no resamples of its probes: it was made by an earlier version, or "
            "without resamples. Measure it again (`probe separability`)."
        )
    for name in _SHARED:
        found = [report.data.attrs.get(name) for report in (one, other)]
        if found[0] != found[1]:
            raise ProbeError(
                f"The two reports differ in {name!r} ({found[0]!r} and {found[1]!r}), so their "
                "resamples are not of the same people. Measure both alike on the same datasets."
            )
