"""`ablate`: loss of detection performance without a set of units, against matched random sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from probe.datasets.dataset import Dataset, by_name
from probe.datasets.loader import Images
from probe.datasets.subset import halve, undivided
from probe.detectors.detector import Detector
from probe.errors import DatasetError, ProbeError, UnknownNameError
from probe.hooks import compile_suffix, trace
from probe.neurons import Ablation, universal_neurons
from probe.neurons.importance import default_layer, neuron_importance
from probe.neurons.sweep import Cut, States, base_logits, mean_weight, table
from probe.neurons.table import BOTH_HALVES, MEAN
from probe.neurons.universality import check_rule
from probe.progress import progress_bar
from probe.results import Provenance
from probe.stats import MIN_CLUSTERS, Floats, Ranked, cluster_counts, percentile_bounds, sigmoid

__all__ = ["NoSetsError", "ablate", "ablate_universal", "matched_sets", "require_units"]


class NoSetsError(ProbeError):
    """No set of units was found in both halves of the identities."""


METRICS = ("accuracy", "auroc")

#: A random set replaces each unit by one of this many nearest neighbors in |weight| × range.
NEIGHBORS = 8

#: Memory limit for recorded states of all datasets together, in bytes.
MEMORY = 1 << 28

#: Resamples in which random sets are evaluated too; limited because of the cost per set.
RANDOM_RESAMPLES = 200


def ablate(
    detector: Detector,
    data: Dataset | Sequence[Dataset],
    layer: str | None = None,
    *,
    units: ArrayLike | Mapping[str, ArrayLike],
    values: str = "mean",
    n_random: int = 100,
    n_resamples: int = 1000,
    ci: float = 0.95,
    seed: int = 0,
    batch_size: int = 64,
    images: Images | None = None,
) -> Ablation:
    """Ablate sets of units and measure detection, against matched random sets.

    A drop alone proves little: ablating any units with large weights hurts. Each set is therefore
    compared with random sets of the same size whose units match in |weight| × range. Evidence for
    the units is a drop beyond that of the random sets, on images that were not used to choose the
    units; `ablate_universal` separates choice and measurement.

    Parameters
    ----------
    detector : Detector
        Detector to ablate.
    data : Dataset or sequence of Dataset
        Datasets to measure on, each with both classes. A composed dataset counts as its parts.
    layer : str, optional
        Layer of the units; the architecture's unit layer by default.
    units : array_like or mapping
        Units to ablate, as unit numbers of the layer; a mapping of names to units compares
        several sets.
    values : {"mean", "zero"}
        Value of an ablated unit: its mean in the dataset, or zero.
    n_random : int, default 100
        Number of random sets per set, at least 1.
    n_resamples : int, default 1000
        Number of cluster bootstrap resamples.
    ci : float, default 0.95
        Confidence level of the intervals, between 0 and 1.
    seed : int, default 0
        Seed of random sets and resamples.
    batch_size : int, default 64
        Images per batch.
    images : Images, optional
        Decoded images of the datasets, to share between calls. Each image is decoded once anyway.

    Returns
    -------
    Ablation
        Accuracy and AUROC on each dataset, and their mean over datasets.

    Raises
    ------
    ProbeError
        If a set is empty, has a unit number out of range, or leaves no unit to compare with; or
        if a dataset holds one class only.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> found = probe.ablate(detector, data, units={"three": [0, 4, 7]}, n_random=9)
    >>> found.to_dataframe().columns[:4].tolist()
    ['set', 'dataset', 'metric', 'full']
    """
    if values not in ("mean", "zero"):
        raise UnknownNameError("value", values, ("mean", "zero"))
    if n_random < 1:
        raise ProbeError(f"n_random={n_random} was given; at least 1 random set is needed.")
    traced = trace(detector)
    path = traced.resolve(layer or default_layer(detector))
    program = compile_suffix(traced, path)
    parts = by_name(data)
    wanted = dict(units) if isinstance(units, Mapping) else {"units": units}
    sets = {name: _mask(name, one, program.units) for name, one in wanted.items()}
    _require_classes(parts)
    with progress_bar(f"ablate {detector.name} {path}", 2 * sum(map(len, parts.values()))) as go:
        cut = Cut(traced, path)
        images = images or Images(list(parts.values()), program.input_size, keep=True)
        memory, where = MEMORY // len(parts), detector.device
        states = {
            name: States(program, part, batch_size, images, where, memory)
            for name, part in parts.items()
        }
        sizes = np.stack([_weight_range(program, one, cut, go) for one in states.values()])
        size = sizes.mean(axis=0)
        rng = np.random.default_rng(seed)
        random = {name: matched_sets(one, size, n_random, rng) for name, one in sets.items()}
        masks = np.concatenate([np.stack(list(sets.values())), *random.values()])
        measured = [_Measured.of(states[name], masks, values, go) for name in parts]
    found = _assembled(measured, list(parts), list(sets), n_random, n_resamples, ci, seed)
    found["n_units"] = ("set", [int(one.sum()) for one in sets.values()])
    found["n_distinct"] = ("set", [len(np.unique(one, axis=0)) for one in random.values()])
    found["balance"] = (
        "set",
        [_balance(one, random[name], size) for name, one in sets.items()],
    )
    return Ablation(
        found.assign_attrs(
            {
                "layer": path,
                "values": values,
                "n_random": n_random,
                "n_resamples": n_resamples,
                **Provenance.made([detector], parts.values(), seed=seed, ci=ci).attrs(),
                "spec": detector.spec.to_dict(),
                "program": program.explain(),
                "units": {n: np.flatnonzero(one).tolist() for n, one in sets.items()},
                "chosen_on": "given",
            }
        )
    )


def require_units(
    detector: Detector, sets: Mapping[str, ArrayLike], layer: str | None = None
) -> None:
    """Check the layer and the sets as `ablate` would, without images.

    Raises
    ------
    UnknownNameError
        If the layer is unknown.
    ProbeError
        If a set is empty, has a unit number out of range, or leaves no unit to compare with.
    """
    traced = trace(detector)
    program = compile_suffix(traced, traced.resolve(layer or default_layer(detector)))
    for name, one in sets.items():
        _mask(name, one, program.units)


def _require_classes(parts: Mapping[str, Dataset]) -> None:
    alone = [name for name, part in parts.items() if len(np.unique(part.labels)) < 2]
    if alone:
        raise ProbeError(
            f"{', '.join(map(repr, alone))} holds one class only: detection cannot be measured "
            "there. Leave it out."
        )


def _require_halves(parts: Mapping[str, Dataset], seed: int) -> None:
    """Raise `DatasetError` if units cannot be chosen on one half and measured on the other."""
    if len(parts) < 2:
        raise DatasetError("Units are universal over two datasets or more; one was given.")
    reasons = {name: why for name, part in parts.items() if (why := undivided(part, seed))}
    if reasons:
        each = "; ".join(f"{name}: {why}" for name, why in reasons.items())
        raise DatasetError(f"Units cannot be ablated ({each}). Leave it out, or use more of it.")


def ablate_universal(
    detector: Detector,
    data: Dataset | Sequence[Dataset],
    layer: str | None = None,
    *,
    top: float = 0.5,
    alpha: float = 0.05,
    correction: str = "bh",
    seed: int = 0,
    **options: Any,
) -> Ablation:
    """Ablate the units found universal, measured on identities that were not used to find them.

    Identities are split into halves. Units are chosen on one half and ablated on the other, in
    both directions, and the two results are averaged. The sets are those of `Universality.sets`:
    universal by the test, counted by the study, specific to one dataset, and decoys. A set is
    measured if both halves have one.

    Parameters
    ----------
    detector, data, layer
        As in `ablate`.
    top, alpha, correction
        As in `universal_neurons`.
    seed : int, default 0
        Seed of the split into halves and of all other draws.
    **options
        Further arguments of `ablate`.

    Returns
    -------
    Ablation
        Averages over the two directions. ``n_units`` and ``balance`` are means. Attribute
        ``units`` lists the sets of both halves, and ``one_half_only`` the sets found in one half.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> probe.ablate_universal(detector, data, n_random=9)
    <Ablation of meso4: dataset 4, metric 2, set 2, random 9>
    """
    check_rule(top, alpha, correction)
    parts = by_name(data)
    _require_halves(parts, seed)
    halves = [halve(part, seed) for part in parts.values()]
    images = Images(list(parts.values()), detector.spec.input_size, keep=True)
    found: list[dict[str, NDArray[np.int64]]] = []
    for side in (0, 1):
        table = neuron_importance(
            detector,
            [pair[side] for pair in halves],
            layer,
            n_untrained=0,
            n_random=0,
            n_resamples=0,
            seed=seed,
            images=images,
        )
        found.append(universal_neurons(table, top, alpha=alpha, correction=correction).sets())
    both = [name for name in found[0] if name in found[1]]
    alone = sorted({*found[0], *found[1]} - {*both})
    if not both:
        raise NoSetsError(
            f"No set of units of {detector.name} was found {BOTH_HALVES} "
            f"({', '.join(alone) or 'none in either'}); there is nothing to ablate."
        )
    sides = [
        ablate(
            detector,
            [pair[1 - side] for pair in halves],
            layer,
            units={name: found[side][name] for name in both},
            seed=seed,
            images=images,
            **options,
        ).data
        for side in (0, 1)
    ]
    return Ablation(_averaged(sides, found, alone, parts))


def matched_sets(
    chosen: NDArray[np.bool_], size: Floats, count: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw random sets of other units that match the chosen units in size.

    Parameters
    ----------
    chosen : numpy.ndarray
        Shape (units,), bool: whether the unit is in the set.
    size : numpy.ndarray
        Shape (units,), not negative: the size to match, such as |weight| × range.
    count : int
        Number of sets to draw.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    numpy.ndarray
        Shape (count, units), bool. In random order, each chosen unit is replaced by one of its
        `NEIGHBORS` nearest neighbors in log size that is neither chosen nor taken. If more than
        half of the units are chosen, chosen units can be drawn too, which makes the comparison
        conservative. Ties are broken by unit number.
    """
    place = np.log(size + 1e-9 * max(float(size.max()), 1e-300))
    free = np.flatnonzero(np.ones_like(chosen) if 2 * chosen.sum() > len(chosen) else ~chosen)
    each = np.flatnonzero(chosen)
    # The number of candidates per step is known in advance, so all ranks are drawn at once.
    left = np.minimum(NEIGHBORS, len(free) - np.arange(len(each)))
    sides = [_Side(place, free, each, sign) for sign in (-1, 1)]
    out = np.zeros((count, len(chosen)), dtype=bool)
    for row in out:
        for side in sides:
            side.reopen()
        order = rng.permutation(len(each))
        for at, rank in zip(order.tolist(), rng.integers(0, left).tolist(), strict=True):
            row[_take(sides, at, rank)] = True
    return out


class _Side:
    """Candidate units above (sign 1) or below (sign −1) a reference size, sorted by distance.

    Attributes
    ----------
    units : list
        The candidates in order of sign × size, ties by unit number.
    away : list
        Their sizes, times the sign.
    where : dict
        Unit to its position in `units`.
    starts, origins : list
        Per chosen unit: the first position on this side of it, and its own size, times the sign.
    after : list
        Per position, a later position or itself if the unit is free. Following the links leads to
        the next free position; links are shortened on the way (union-find).
    """

    def __init__(
        self, place: Floats, free: NDArray[np.int64], each: NDArray[np.int64], sign: int
    ) -> None:
        ordered = free[np.argsort(sign * place[free], kind="stable")]
        away, origins = sign * place[ordered], sign * place[each]
        side: Literal["left", "right"] = "left" if sign > 0 else "right"
        self.units: list[int] = [*ordered.tolist(), len(place)]
        self.away: list[float] = [*away.tolist(), np.inf]
        self.where = {unit: i for i, unit in enumerate(self.units)}
        self.starts: list[int] = np.searchsorted(away, origins, side).tolist()
        self.origins: list[float] = origins.tolist()
        self.reopen()

    def reopen(self) -> None:
        """Mark all units as free."""
        self.after = list(range(len(self.units)))

    def open_from(self, at: int) -> int:
        """Return the first position, from `at` on, whose unit is free."""
        after = self.after
        while after[at] != at:
            after[at] = after[after[at]]
            at = after[at]
        return at

    def close(self, unit: int) -> None:
        """Mark a unit as taken."""
        at = self.where[unit]
        self.after[at] = at + 1


def _take(sides: Sequence[_Side], chosen: int, rank: int) -> int:
    """Take the free unit of a given rank in distance from a chosen unit, and return it."""
    at = [side.open_from(side.starts[chosen]) for side in sides]
    while True:
        _, unit, k = min(
            (side.away[i] - side.origins[chosen], side.units[i], k)
            for k, (side, i) in enumerate(zip(sides, at, strict=True))
        )
        if not rank:
            break
        rank -= 1
        at[k] = sides[k].open_from(at[k] + 1)
    for side in sides:
        side.close(unit)
    return unit


@dataclass(frozen=True)
class _Measured:
    """Logits of one dataset, shape (1 + sets, n): with all units, then without each set."""

    labels: NDArray[np.int8]
    clusters: NDArray[np.int64]
    logits: NDArray[np.float32]

    @classmethod
    def of(
        cls, states: States, masks: NDArray[np.bool_], values: str, advance: Callable[[int], None]
    ) -> _Measured:
        program, mean = states.program, states.seen().mean
        to = mean if values == "mean" else np.zeros_like(mean)
        out = table((1 + len(masks), len(states)))
        for where, state in states.numbered():
            out[0, where] = base_logits(program, state)
            out[1:, where] = program.ablate_sets(state, masks, to).T
            advance(len(state.value))
        return cls(states.part.labels, states.part.samples.clusters, out)

    def metrics(self, columns: NDArray[np.int64], weights: Floats) -> Floats:
        """Return accuracy and AUROC, shape (metric, resamples, columns)."""
        sizes = np.bincount(self.clusters, minlength=weights.shape[1])
        out = np.empty((len(METRICS), len(weights), len(columns)))
        for k, column in enumerate(columns):
            logits = self.logits[column].astype(np.float64)
            right = (sigmoid(logits) >= 0.5) == self.labels
            counted = np.bincount(self.clusters, right, minlength=weights.shape[1])
            out[0, :, k] = (weights @ counted) / (weights @ sizes)
            ranked = Ranked.of(self.labels, logits)
            out[1, :, k] = ranked.measured(["auroc"], self.clusters, weights)[0]
        return out


def _weight_range(program: Any, states: States, cut: Cut, advance: Callable[[int], None]) -> Floats:
    """Return |weight| × range of values per unit, shape (units,)."""
    seen = states.seen(advance, rows=False)
    return np.asarray(np.abs(mean_weight(program, states, cut)) * (seen.high - seen.low))


def _mask(name: str, units: ArrayLike, count: int) -> NDArray[np.bool_]:
    chosen = np.asarray(units)
    if not chosen.size or chosen.ndim != 1 or chosen.dtype.kind not in "iu":
        raise ProbeError(
            f"The set {name!r} is {units!r}; a set is a list of at least one unit number."
        )
    if chosen.min() < 0 or chosen.max() >= count or len(chosen) == count:
        raise ProbeError(
            f"The set {name!r} has {len(chosen)} units from {chosen.min()} to {chosen.max()}; the "
            f"layer has units 0 to {count - 1}, and some must be left to compare with."
        )
    out = np.zeros(count, dtype=bool)
    out[chosen] = True
    return out


def _balance(chosen: NDArray[np.bool_], random: NDArray[np.bool_], size: Floats) -> float:
    own = float(size[chosen].mean())
    return float(np.mean([size[one].mean() for one in random]) / own) if own > 0 else np.nan


def _assembled(
    measured: Sequence[_Measured],
    datasets: list[str],
    sets: list[str],
    n_random: int,
    n_resamples: int,
    ci: float,
    seed: int,
) -> xr.Dataset:
    n_sets = len(sets)
    columns = np.arange(1 + n_sets + n_sets * n_random)
    points, draws, excesses = [], [], []
    for i, one in enumerate(measured):
        count = int(one.clusters.max()) + 1
        points.append(one.metrics(columns, np.ones((1, count)))[:, 0])
        weights = _resampled(count, n_resamples, seed + i)
        own = one.metrics(columns[: 1 + n_sets], weights)
        draws.append(own[:, :, :1] - own[:, :, 1:])
        few = weights[:RANDOM_RESAMPLES]
        random = one.metrics(columns[1 + n_sets :], few).reshape(2, len(few), n_sets, n_random)
        excesses.append(draws[-1][:, : len(few)] - (own[:, : len(few), :1] - random.mean(axis=3)))
    point = _with_mean(np.stack(points))
    drop = point[:, :, :1] - point[:, :, 1:]
    single, random_drop = drop[:, :, :n_sets], drop[:, :, n_sets:]
    random_drop = random_drop.reshape(*random_drop.shape[:2], n_sets, n_random)
    bounds = [
        np.stack(percentile_bounds(np.moveaxis(_with_mean(np.stack(d)), 2, 0), ci))
        for d in (draws, excesses)
    ]
    dims = ("dataset", "metric", "set")
    columns_of: dict[str, Any] = {
        "full": (dims[:2], point[:, :, 0]),
        "without": (dims, point[:, :, 1 : 1 + n_sets]),
        "drop": (dims, single),
        "random_drop": ((*dims, "random"), random_drop),
        "excess": (dims, single - random_drop.mean(axis=3)),
        # Drops that are equal but for rounding count as reached.
        "p": (dims, (1 + (random_drop >= single[..., None] - 1e-12).sum(axis=3)) / (1 + n_random)),
    }
    for name, both in zip(("drop", "excess"), bounds, strict=True):
        columns_of[f"{name}_low"], columns_of[f"{name}_high"] = ((dims, side) for side in both)
    coords = {"dataset": [*datasets, MEAN], "metric": list(METRICS), "set": sets}
    data = xr.Dataset(columns_of, coords=coords)
    return data.transpose("set", "random", "dataset", "metric")


def _resampled(count: int, n_resamples: int, seed: int) -> Floats:
    """Draw bootstrap weights; NaN, so no intervals, where clusters are too few."""
    if count < MIN_CLUSTERS:
        return np.full((max(n_resamples, 1), count), np.nan)
    return cluster_counts(count, n_resamples, seed)


def _with_mean(values: Floats) -> Floats:
    """Append the mean over datasets, axis 0."""
    return np.concatenate([values, values.mean(axis=0, keepdims=True)])


def _averaged(
    sides: list[xr.Dataset],
    found: list[dict[str, NDArray[np.int64]]],
    alone: list[str],
    parts: Mapping[str, Dataset],
) -> xr.Dataset:
    """Average two directions; their identities differ, so variances add."""
    mean: xr.Dataset = (sides[0] + sides[1]) / 2
    for name in ("drop", "excess"):
        halves = [(one[f"{name}_high"] - one[f"{name}_low"]) / 2 for one in sides]
        half = np.sqrt(halves[0] ** 2 + halves[1] ** 2) / 2
        mean[f"{name}_low"], mean[f"{name}_high"] = mean[name] - half, mean[name] + half
    reached = (mean["random_drop"] >= mean["drop"] - 1e-12).sum("random")
    mean["p"] = (1 + reached) / (1 + mean.sizes["random"])
    units = [{name: one.tolist() for name, one in side.items()} for side in found]
    attrs = {
        **sides[0].attrs,
        "units": units,
        "one_half_only": alone,
        "chosen_on": "the other half of the identities, both ways",
        "data": {name: part.fingerprint for name, part in parts.items()},
    }
    return mean.assign_attrs(attrs)
