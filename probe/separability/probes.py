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

#: Ridge penalties that inner cross-validation chooses among, in mean variances of a unit.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
ROWS = 4096

Values = NDArray[np.float32]


@dataclass(frozen=True)
class FoldSums:
    """Weighted sums over the samples of each fold; all that ridge regression needs of them.

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
    """Fitted on some folds: ``(x − center) @ coefficients + offset``.

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
    """One fit for each fold that is held out.

    Attributes
    ----------
    fits : tuple of Fit or None
        One a fold, fitted on all others; None where those lack a class.
    penalties : tuple of float
        Chosen for each by cross-validation within the others.
    """

    fits: tuple[Fit | None, ...]
    penalties: tuple[float, ...]

    def blocks(
        self, values: Values, folds: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """Iterate over positions and their scores by the fit that has not seen their fold.

        Shapes (rows,) and (rows, targets). Folds without such a fit do not come.
        """
        for fold, fit in enumerate(self.fits):
            where = np.flatnonzero(folds == fold)
            for start in range(0, len(where) if fit else 0, ROWS):
                rows = where[start : start + ROWS]
                yield rows, fit(values[rows]) if fit else np.zeros((0, 0))

    def scores(self, values: Values, folds: NDArray[np.int64], column: int = 0) -> Floats:
        """Score samples as `blocks` does, shape (n,); NaN where there is no such fit."""
        out = np.full(len(values), np.nan)
        for rows, found in self.only(column).blocks(values, folds):
            out[rows] = found[:, 0]
        return out

    def only(self, column: int) -> Probe:
        """Keep one target."""
        kept = slice(column, column + 1)
        fits = (
            fit and Fit(fit.center, fit.coefficients[:, kept], fit.offset[kept])
            for fit in self.fits
        )
        return Probe(tuple(fits), self.penalties)


def class_weights(classes: NDArray[np.int64]) -> Floats:
    """Weights that make all classes count the same, shape (n,); they sum to 1."""
    sizes = np.bincount(classes)
    return np.asarray(1.0 / ((sizes > 0).sum() * sizes[classes]))


def sum_folds(
    values: Values,
    targets: Callable[[NDArray[np.int64]], NDArray[Any]],
    weights: Floats,
    folds: NDArray[np.int64],
    n_folds: int,
) -> FoldSums:
    """Sum over folds, in blocks of rows.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (n, axes), single precision; products of a block are in single precision too, sums
        over blocks in double.
    targets : callable
        From positions to what is fitted there, shape (positions, targets): many control tasks
        would not fit beside the features.
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
    # Weights of about 1 keep single precision away from its limits.
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
    """Fit on some folds, once for each penalty.

    Minimizes Σ w (y − ȳ − (x − x̄) b)² / Σ w + λ |b|², λ being the penalty times the mean variance.
    With two balanced classes b is Fisher's direction with a covariance shrunk to the identity.
    With `unit` each target's scores are scaled to the deviation 1 on what was fitted.
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
            # Single precision can leave a least eigenvalue a little below zero.
            loaded = covariance + penalty * size * np.eye(len(center))
            found = linalg.lstsq(loaded, right)[0]
        if unit:
            along = np.einsum("at,at->t", found, covariance @ found)
            found = found / np.sqrt(np.where(along > 0, along, 1.0))
        fits.append(Fit(center, found, offset))
    return fits


#: From (positions of the samples, scores of shape (n, targets)) to something to maximize.
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
    """Fit one probe a held-out fold, its penalty chosen by cross-validation within the others.

    Parameters
    ----------
    values, folds : numpy.ndarray
        Shape (n, axes) and (n,): what `sums` were taken of.
    sums : FoldSums
        Of `sum_folds`.
    enough : callable
        Whether some folds hold all classes.
    criterion : callable
        What penalties are chosen by, on an inner fold.
    chosen_by : slice
        The targets that penalties are chosen by; the others (control tasks) get the same ones.
    penalties : sequence of float
        To choose among.
    unit : bool, default False
        Scale scores to the deviation 1, so that those of different folds are comparable.
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
        # Without an inner fold to judge by, the middle one.
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
    """Judge each inner fold by fits without it and the outer one: (outer, inner, penalty)."""
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
    """Judge a column of scores by AUROC; NaN where a class is missing."""
    return lambda where, scores: float(columns_auroc(labels[where], scores)[0][0])


#: What two reports have to share for their resamples to be of the same people.
_SHARED = ("dataset", "seed", "n_resamples")


def probe_differences(
    one: SeparabilityReport, other: SeparabilityReport, ci: float = 0.95
) -> xr.Dataset:
    """Subtract the probes of one detector from those of another, layer by layer.

    Both were scored on the same images of the same people, and people are resampled alike for
    both, so what is hard for both cancels. The probes are not fitted anew on resamples. What other
    people to fit them on would change is allowed for as Nadeau and Bengio [1]_ do: deviations of
    the resamples from the estimate are widened by √(1 + k / (k − 1)) for k folds. Without it two
    detectors that tell the same were called different in 7 to 21 % of draws at 5 %; with it in 1
    to 6 % (docs/separability.md).

    Parameters
    ----------
    one, other : SeparabilityReport
        Of the same datasets, thinned alike, with the same seed.
    ci : float, default 0.95
        Coverage of the intervals.

    Returns
    -------
    xarray.Dataset
        Over (layer, dataset), of those that both have: ``value, reference`` (AUROC of each),
        ``difference`` (one less other, in [−1, 1]), ``low, high`` (percentile interval, widened),
        ``p`` (two-sided, see `probe.stats.inverted_level`) and ``q`` (Benjamini-Hochberg over all
        layers and datasets); NaN below five clusters. Attribute ``widened``: by how much.

    Raises
    ------
    ProbeError
        If the reports are not of the same samples, hold no resamples, or share no layer.

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
                f"The reports differ in {name!r}: their samples were thinned differently, so they "
                "are of other images. Measure both with the same memory."
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
    """Return the factor by which other people to fit on widen a deviation of cross-validation."""
    # Of the folds, the fewer, where they differ: people limit them.
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
