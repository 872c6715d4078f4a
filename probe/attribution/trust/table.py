"""`trust_report`: checks of attribution methods on a detector, as a table with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from probe.attribution.explain import PAIR, attribute, pair_positions
from probe.attribution.maps import AttributionMap
from probe.attribution.methods import METHODS
from probe.attribution.trust.checks import (
    CHECKS,
    NEEDS,
    PSEUDO_METHODS,
    RANDOM,
    REFERENCES,
    SHIFTED,
    chosen_checks,
)
from probe.attribution.trust.metrics import fit_mask
from probe.attribution.trust.randomization import ORDERS
from probe.attribution.trust.report import ALL, TrustReport
from probe.attribution.trust.scores import Batch, Score, Scorer, Settings
from probe.budget import parse_memory
from probe.datasets.dataset import Dataset
from probe.datasets.subset import draw
from probe.detectors.detector import Detector
from probe.errors import ProbeError, UnknownNameError
from probe.progress import progress_bar
from probe.results import Provenance
from probe.stats import (
    MIN_CLUSTERS,
    Floats,
    Interval,
    adjust_together,
    cluster_bootstrap,
    permutation_test,
)

__all__ = ["Bootstrap", "DEFAULT_METHODS", "Found", "summarize", "trust_report"]

#: Variables per reference.
PAIRED = ("gain", "gain_low", "gain_high", "p")

#: Mean, smallest and largest value of the method over detectors with random weights.
RANDOMIZED = ("randomized", "randomized_low", "randomized_high")

#: Reason why a reference has no value in checks that explain the detector.
NO_MAP = "a reference, which does not use the detector"


@dataclass(frozen=True)
class Bootstrap:
    """Settings of intervals and tests: resamples, permutations, confidence level, seed."""

    n_resamples: int = 1000
    n_permutations: int = 9999
    ci: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class Found:
    """Scores of all images.

    Attributes
    ----------
    scores : mapping
        Method, then check, to the scores of all images.
    reasons : mapping
        Method, then check, to the reason why there is no score.
    datasets, clusters : numpy.ndarray
        Shape (n,): dataset and cluster of each image.
    fakes : numpy.ndarray
        Shape (n,): whether each image is fake.
    """

    scores: Mapping[str, Mapping[str, Score]]
    reasons: Mapping[str, Mapping[str, str]]
    datasets: NDArray[np.str_]
    clusters: NDArray[np.int64]
    fakes: NDArray[np.bool_]


def summarize(found: Found, checks: Sequence[str], bootstrap: Bootstrap) -> xr.Dataset:
    """Return the table of a `TrustReport`, without settings and fingerprints."""
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
    """Fill the table for one method, check and dataset."""
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
    """Return the value of a reference on each image; None if it is not compared."""
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
    """Return Σ top / Σ bottom per row of weights; has the signature of a metric."""
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
    """Return the one-sided p-value that gains are above 0, by flipping signs of cluster means.

    Half the gain and minus half the gain serve as the two labels of each cluster: exchanging the
    labels of a cluster flips its sign.
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


#: Methods checked by default.
DEFAULT_METHODS = ("gradcam", "input_x_gradient")

#: Number of image-sized arrays held per image of a batch.
HELD = 12

#: Maximum number of images per batch; the progress bar advances after each.
TOGETHER = 64


def trust_report(
    detector: Detector,
    data: Dataset,
    methods: Sequence[str] = DEFAULT_METHODS,
    *,
    checks: Sequence[str] | None = None,
    target: Any = "logit",
    layer: str | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    pairs: Dataset | None = None,
    seed: int = 0,
    memory: str | int = "2G",
    n_steps: int = 20,
    n_orders: int = 5,
    n_shifts: int = 2,
    n_random: int = 5,
    n_noise: int = 5,
    radius: float = 0.02,
    n_stages: int = 5,
    order: str = "top_down",
    max_samples: int | None = None,
    n_resamples: int = 1000,
    n_permutations: int = 9999,
    ci: float = 0.95,
    progress: bool = True,
) -> TrustReport:
    """Check how far the maps of attribution methods can be trusted.

    Mask checks use the fakes with a mask, deletion and insertion use all fakes, and the others use
    all images. The detector is not changed.

    Parameters
    ----------
    detector : Detector
        Detector whose maps are checked.
    data : Dataset
        Images, resized to the detector's input size; masks are resized by nearest neighbor.
    methods : sequence of str, default ("gradcam", "input_x_gradient")
        Names in `METHODS`. If a method refuses the detector, its message is the reason, and the
        others continue.
    checks : sequence of str, optional
        Names in `CHECKS`; all by default.
    target, layer : optional
        As in `attribute`. Deletion and insertion use P(fake), and are left out for other targets.
    options : mapping, optional
        Further arguments of `attribute` per method, such as a baseline.
    pairs : Dataset, optional
        Dataset with the real images, for the baseline "pair"; `data` by default.
    seed : int, default 0
        Seed of methods, random orders, noise, random weights and intervals.
    memory : str or int, default "2G"
        Memory limit of passes, and of the data held per batch.
    n_steps : int, default 20
        Number of steps of deletion and insertion.
    n_orders : int, default 5
        Number of random pixel orders, whose mean is a reference.
    n_shifts : int, default 2
        Number of shifts of each map, whose mean is a reference.
    n_random : int, default 5
        Number of detectors with random weights on which the mask checks are repeated; 0 for none.
    n_noise : int, default 5
        Number of noisy copies of an image.
    radius : float, default 0.02
        Half-width of the uniform noise, for images in [0, 1].
    n_stages : int, default 5
        Maximum number of stages of the parameter randomization.
    order : {"top_down", "bottom_up"}
        Order of the parameter randomization: from the output or from the input.
    max_samples : int, optional
        Maximum number of images per dataset, spread over classes, people and videos; all by
        default.
    n_resamples, n_permutations : int
        Number of bootstrap resamples, and of permutations per test.
    ci : float, default 0.95
        Confidence level of the intervals, between 0 and 1.
    progress : bool, default True
        Whether to show a progress bar.

    Returns
    -------
    TrustReport
        Methods and references × checks × datasets.

    Raises
    ------
    UnknownNameError
        If a method, a check or the order is unknown.
    ProbeError
        If a number is out of range, or no method is given.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> trust = probe.trust_report(detector, data.take(range(4)), ["gradcam"], n_permutations=99)
    >>> trust.to_dataframe().columns[:3].tolist()
    ['method', 'check', 'dataset']
    """
    names = _known_methods(methods)
    if order not in ORDERS:
        raise UnknownNameError("order", order, ORDERS)
    _require_positive(
        n_steps=n_steps,
        n_orders=n_orders,
        n_shifts=n_shifts,
        n_noise=n_noise,
        radius=radius,
        n_stages=n_stages,
        max_samples=1 if max_samples is None else max_samples,
    )
    settings = Settings(
        chosen_checks(checks),
        seed,
        n_steps,
        n_orders,
        n_shifts,
        n_random,
        n_noise,
        radius,
        n_stages,
        order,
        memory,
    )
    data = draw(data, max_samples, seed)
    explainers = {
        name: _explainer(name, target, layer, seed, memory, dict((options or {}).get(name, {})))
        for name in names
    }
    reals = _reals(data, pairs, options or {})
    found = _run(detector, data, reals, explainers, settings, target, progress)
    bootstrap = Bootstrap(n_resamples, n_permutations, ci, seed)
    table = summarize(found, settings.checks, bootstrap)
    attrs = _provenance(detector, data, settings, bootstrap, target, layer, options)
    return TrustReport(table.assign_attrs(attrs))


def _known_methods(methods: Sequence[str]) -> list[str]:
    names = [methods] if isinstance(methods, str) else list(dict.fromkeys(methods))
    if not names:
        raise ProbeError(f"No method was given. Give at least one of: {', '.join(METHODS)}.")
    for name in names:
        METHODS[name]
    return names


def _require_positive(**numbers: float) -> None:
    for name, value in numbers.items():
        if not value > 0:
            raise ProbeError(f"{name}={value} was given; it must be above 0.")


def _explainer(
    method: str,
    target: Any,
    layer: str | None,
    seed: int,
    memory: str | int,
    options: dict[str, Any],
) -> Callable[..., AttributionMap]:
    def explain(
        detector: Detector, images: NDArray[np.float32], pairs: NDArray[np.float32] | None = None
    ) -> AttributionMap:
        own = {**options, "baseline": pairs} if _asks_for_pairs(options) else options
        return attribute(
            detector,
            images,
            method,
            target=target,
            seed=seed,
            memory=memory,
            progress=False,
            layer=layer if METHODS[method].layer else None,
            **own,
        )

    return explain


def _reals(
    data: Dataset, pairs: Dataset | None, options: Mapping[str, Mapping[str, Any]]
) -> Dataset | None:
    """Return the real image of each fake, in the order of the data, if a method needs them."""
    if not any(_asks_for_pairs(own) for own in options.values()):
        return None
    place = pairs or data
    return place.take(pair_positions(data, place))


def _asks_for_pairs(options: Mapping[str, Any]) -> bool:
    baseline = options.get("baseline")
    return isinstance(baseline, str) and baseline == PAIR


def _run(
    detector: Detector,
    data: Dataset,
    reals: Dataset | None,
    explainers: Mapping[str, Callable[..., AttributionMap]],
    settings: Settings,
    target: Any,
    progress: bool,
) -> Found:
    """Score all methods, batch by batch."""
    settings, left_out = _without_faithfulness(settings, target)
    scorer, table = Scorer(detector, settings), data.samples.table
    parts: dict[str, list[dict[str, Score]]] = {name: [] for name in (*explainers, *PSEUDO_METHODS)}
    reasons: dict[str, dict[str, str]] = {name: dict(left_out) for name in parts}
    total = len(data) * len(explainers)
    with progress_bar(f"check maps of {detector.name}", total, progress=progress) as advance:
        for batch in _batches(data, reals, detector.spec.input_size, settings.memory):
            scored = scorer.references(batch)
            for name, explain in explainers.items():
                try:
                    scored[name], refused = scorer.method(batch, explain, scored[RANDOM])
                    reasons[name] |= refused
                except ProbeError as error:
                    scored[name] = {}
                    reasons[name] |= dict.fromkeys(CHECKS, str(error))
                advance(len(batch.images))
            for name, scores in scored.items():
                parts[name].append(_padded(scores, len(batch.images), settings.checks))
    return Found(
        {name: _joined(many) for name, many in parts.items()},
        reasons,
        table["dataset"].to_numpy(dtype=str),
        data.samples.clusters,
        data.labels == 1,
    )


def _without_faithfulness(settings: Settings, target: Any) -> tuple[Settings, dict[str, str]]:
    """Remove checks that use P(fake) if the target is another value."""
    from dataclasses import replace

    if target == "logit":
        return settings, {}
    faithful = [name for name in settings.checks if CHECKS[name].group == "faithfulness"]
    kept = tuple(name for name in settings.checks if name not in faithful)
    why = f"the curves are of P(fake), and the maps explain {target!r}"
    return replace(settings, checks=kept), dict.fromkeys(faithful, why)


def _batches(data: Dataset, reals: Dataset | None, size: int, memory: str | int) -> Iterator[Batch]:
    at_once = min(TOGETHER, max(1, parse_memory(memory) // (HELD * 3 * size * size * 4)))
    for where, images in data.batches(size, at_once):
        rows = np.arange(where.start, where.stop)
        masks = np.zeros((len(rows), size, size), dtype=bool)
        for place, row in enumerate(rows):
            mask = data.mask(int(row)) if data.labels[row] else None
            if mask is not None:
                masks[place] = fit_mask(mask, size, size)
        pairs = reals.array(rows.tolist(), size) if reals is not None else None
        yield Batch(rows, images, data.labels[rows] == 1, masks, pairs)


def _padded(scores: Mapping[str, Score], n: int, checks: Sequence[str]) -> dict[str, Score]:
    none = np.full(n, np.nan)
    absent = Score(none, none, none, none, np.empty((n, 0)))
    return {name: scores.get(name, absent) for name in checks}


def _joined(parts: Sequence[Mapping[str, Score]]) -> dict[str, Score]:
    return {
        name: Score(*(_stacked(arrays) for arrays in zip(*those, strict=True)))
        for name, those in ((name, [part[name] for part in parts]) for name in parts[0])
    }


def _stacked(arrays: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Concatenate arrays by rows; missing columns are filled with NaN."""
    if arrays[0].ndim == 1:
        return np.concatenate(arrays)
    out = np.full((sum(map(len, arrays)), max(one.shape[1] for one in arrays)), np.nan)
    ends = np.cumsum([len(one) for one in arrays])
    for one, end in zip(arrays, ends, strict=True):
        out[end - len(one) : end, : one.shape[1]] = one
    return out


def _provenance(
    detector: Detector,
    data: Dataset,
    settings: Settings,
    bootstrap: Bootstrap,
    target: Any,
    layer: str | None,
    options: Mapping[str, Mapping[str, Any]] | None,
) -> dict[str, Any]:
    parts = data.by_dataset()
    return {
        **Provenance.made([detector], parts.values(), seed=settings.seed, ci=bootstrap.ci).attrs(),
        "target": target if isinstance(target, str) else str(target),
        "layer": layer or "",
        "options": {name: dict(those) for name, those in (options or {}).items()},
        "n_steps": settings.n_steps,
        "n_orders": settings.n_orders,
        "n_shifts": settings.n_shifts,
        "n_random": settings.n_random,
        "n_noise": settings.n_noise,
        "radius": settings.radius,
        "n_stages": settings.n_stages,
        "order": settings.order,
        "n_resamples": bootstrap.n_resamples,
        "n_permutations": bootstrap.n_permutations,
    }
