"""From one value an image to the table: values, gains, intervals, tests, reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from probe.attribution.trust.checks import (
    CHECKS,
    NEEDS,
    PSEUDO_METHODS,
    RANDOM,
    REFERENCES,
    SHIFTED,
)
from probe.attribution.trust.report import ALL
from probe.attribution.trust.scoring import Score
from probe.stats import (
    MIN_CLUSTERS,
    Floats,
    Interval,
    adjust_together,
    cluster_bootstrap,
    permutation_test,
)

__all__ = ["Bootstrap", "Found", "summarize"]

#: What is estimated against each reference.
PAIRED = ("gain", "gain_low", "gain_high", "p")

#: Mean, smallest and largest value of the method over detectors of random weights.
RANDOMIZED = ("randomized", "randomized_low", "randomized_high")

#: Why a reference has no value in the checks that explain the detector.
NO_MAP = "a reference, which does not ask the detector"


@dataclass(frozen=True)
class Bootstrap:
    """How intervals and tests are drawn: resamples, permutations, coverage, seed."""

    n_resamples: int = 1000
    n_permutations: int = 9999
    ci: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class Found:
    """What was found on all images.

    Attributes
    ----------
    scores : mapping
        Method, then check, to scores of all images.
    reasons : mapping
        Method, then check, to why there is no score.
    datasets, clusters : numpy.ndarray
        Shape (n,): which dataset and which cluster an image belongs to.
    fakes : numpy.ndarray
        Shape (n,): whether an image is fake.
    """

    scores: Mapping[str, Mapping[str, Score]]
    reasons: Mapping[str, Mapping[str, str]]
    datasets: NDArray[np.str_]
    clusters: NDArray[np.int64]
    fakes: NDArray[np.bool_]


def summarize(found: Found, checks: Sequence[str], bootstrap: Bootstrap) -> xr.Dataset:
    """Make the table of a `TrustReport`, without attributes of provenance."""
    names = list(dict.fromkeys(map(str, found.datasets)))
    coords = {
        "method": list(found.scores),
        "check": list(checks),
        "dataset": [*names, ALL],
        "reference": list(REFERENCES),
    }
    data = _empty(coords)
    for method in coords["method"]:
        for check in checks:
            for name in coords["dataset"]:
                at = {"method": method, "check": check, "dataset": name}
                rows = (found.datasets == name) | (name == ALL)
                _fill(data, at, found, rows, bootstrap)
    q = adjust_together(data["p"].values)
    return data.assign(q=(data["p"].dims, q)).assign_coords(_about(checks))


def _empty(coords: Mapping[str, Sequence[str]]) -> xr.Dataset:
    cell, paired = ["method", "check", "dataset"], list(coords)

    def array(dims: Sequence[str], value: object, dtype: object) -> xr.DataArray:
        shape = tuple(len(coords[dim]) for dim in dims)
        return xr.DataArray(np.full(shape, value, dtype=np.dtype(dtype)), dims=tuple(dims))  # type: ignore[call-overload]

    arrays = {name: array(cell, np.nan, float) for name in ("value", "low", "high", "chance")}
    arrays |= {name: array(paired, np.nan, float) for name in PAIRED}
    arrays |= {name: array(cell, np.nan, float) for name in RANDOMIZED}
    arrays |= {name: array(cell, 0, np.int64) for name in ("n_samples", "n_clusters")}
    arrays["reason"] = array(cell, "", object)
    return xr.Dataset(arrays, {name: list(values) for name, values in coords.items()})


def _about(checks: Sequence[str]) -> dict[str, tuple[str, list[str]]]:
    of = [CHECKS[name] for name in checks]
    return {
        "title": ("check", [one.title for one in of]),
        "group": ("check", [one.group for one in of]),
        "better": ("check", [one.better for one in of]),
        "chance_is": ("check", [one.chance for one in of]),
        "paper": ("check", [one.paper for one in of]),
    }


def _fill(
    data: xr.Dataset,
    at: dict[str, str],
    found: Found,
    rows: NDArray[np.bool_],
    bootstrap: Bootstrap,
) -> None:
    """Fill one cell of the table."""
    method, check = at["method"], at["check"]
    score = found.scores[method].get(check)
    used = rows if score is None else rows & np.isfinite(score.top) & np.isfinite(score.bottom)
    if score is None or not used.any():
        data["reason"].loc[at] = _reason(found, method, check, rows)
        return
    clusters = found.clusters[used]
    whole = _interval(score.top[used], score.bottom[used], clusters, bootstrap)
    if not np.isfinite(whole.estimate):
        data["reason"].loc[at] = NEEDS[""]
        return
    _set(data, at, "", whole)
    data["n_samples"].loc[at], data["n_clusters"].loc[at] = whole.n_samples, whole.n_clusters
    data["chance"].loc[at] = score.chance[used].mean()
    draws = score.weights[used].mean(axis=0)
    draws = draws[np.isfinite(draws)]
    if len(draws):
        for name, value in zip(RANDOMIZED, (draws.mean(), draws.min(), draws.max()), strict=True):
            data[name].loc[at] = value
    if whole.n_clusters < MIN_CLUSTERS:
        data["reason"].loc[at] = (
            f"No interval: {whole.n_clusters} clusters, {MIN_CLUSTERS} are needed."
        )
    for reference in REFERENCES:
        other = _against(found, method, check, reference)
        if other is not None:
            _gain(data, {**at, "reference": reference}, score, other, used, clusters, bootstrap)


def _against(found: Found, method: str, check: str, reference: str) -> Floats | None:
    """Return what a reference got on each image; None where it is not compared with."""
    if method == RANDOM or not CHECKS[check].tested:
        return None
    own = found.scores[method][check]
    if reference in (RANDOM, SHIFTED):
        return own.chance if reference == RANDOM else own.shifted
    score = found.scores[reference].get(check)
    return None if score is None or method == reference else score.top


def _gain(
    data: xr.Dataset,
    at: dict[str, str],
    score: Score,
    other: Floats,
    used: NDArray[np.bool_],
    clusters: NDArray[np.int64],
    bootstrap: Bootstrap,
) -> None:
    gain = CHECKS[at["check"]].direction * (score.top - other)[used]
    if not np.isfinite(gain).all():
        return
    _set(data, at, "gain", _interval(gain, np.ones(len(gain)), clusters, bootstrap))
    if len(np.unique(clusters)) >= MIN_CLUSTERS:
        data["p"].loc[at] = _p(gain, clusters, bootstrap)


def _set(data: xr.Dataset, at: dict[str, str], name: str, found: Interval) -> None:
    data[name or "value"].loc[at] = found.estimate
    data[f"{name}_low" if name else "low"].loc[at] = found.low
    data[f"{name}_high" if name else "high"].loc[at] = found.high


def _ratio(bottom: ArrayLike, top: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Σ top / Σ bottom for each row of weights; shaped as a metric of labels and scores."""
    a, b = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    w = np.ones((1, len(a))) if weights is None else np.atleast_2d(np.asarray(weights, float))
    above, below = w @ a, w @ b
    out: Floats = np.divide(above, below, out=np.full(len(w), np.nan), where=below > 0)
    return out


def _interval(
    top: Floats, bottom: Floats, clusters: NDArray[np.int64], bootstrap: Bootstrap
) -> Interval:
    return cluster_bootstrap(
        _ratio,
        bottom,
        top,
        clusters,
        n_resamples=bootstrap.n_resamples,
        ci=bootstrap.ci,
        seed=bootstrap.seed,
    )


def _p(gain: Floats, clusters: NDArray[np.int64], bootstrap: Bootstrap) -> float:
    """Test one-sided whether gains are above 0, by the signs of the clusters' means.

    Half the gain against minus half of it, as the two labels of each cluster: to exchange a
    cluster's labels is to turn its sign.
    """
    halves = np.concatenate([gain, -gain])[:, None] / 2
    labels = np.repeat([1, 0], len(gain))
    found = permutation_test(
        halves,
        labels,
        np.tile(clusters, 2),
        n_permutations=bootstrap.n_permutations,
        seed=bootstrap.seed,
    )
    return float(found.p[0])


def _reason(found: Found, method: str, check: str, rows: NDArray[np.bool_]) -> str:
    told = found.reasons.get(method, {}).get(check)
    if told:
        return told
    needs = CHECKS[check].needs
    if method in PSEUDO_METHODS and needs not in ("mask", "fakes"):
        return NO_MAP
    if needs in ("mask", "fakes") and not found.fakes[rows].any():
        return NEEDS["fakes"]
    return NEEDS[needs]
