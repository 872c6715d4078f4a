"""Targets of explanations: the fake logit, units, or a fake against its original; layers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from probe.attribution.rewrite import Grid, rewrite
from probe.detectors.architectures import find_architecture
from probe.errors import ProbeError
from probe.hooks.capture import asked_units, check_rows, units_first
from probe.hooks.tracing import TracedDetector, extract
from probe.stats import (
    MIN_CLUSTERS,
    cluster_counts,
    cluster_rows,
    exchange_labels,
    percentile_bounds,
    permutation_test,
)

__all__ = [
    "Doubles",
    "Estimate",
    "FLOOR",
    "LOGIT",
    "Ratio",
    "Target",
    "TargetLike",
    "UnitMean",
    "choose_layer",
    "estimate_mean",
    "estimate_ratio",
    "exchanged",
    "find_target",
    "grid_of",
    "swapped",
]

LOGIT = "logit"

#: Targets that `attribute` accepts: "logit", (layer, unit), or (layer, units).
TargetLike = str | tuple[str, int | Sequence[int]]


class UnitMean(nn.Module):
    """Mean of units over their positions and over each other, shape (n,).

    Parameters
    ----------
    units : sequence of int
        Positions on the unit axis; see `probe.hooks.capture.unit_axis`.
    """

    units: Tensor

    def __init__(self, units: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("units", torch.as_tensor(list(units)), persistent=False)

    def forward(self, value: Tensor) -> Tensor:
        """Return the mean."""
        return units_first(value).index_select(1, self.units).flatten(1).mean(dim=1)


@dataclass(frozen=True)
class Target:
    """A value of the graph, and how it is reduced to one number per image.

    Attributes
    ----------
    name : str
        Name in tables: "logit", "block12[417]", "block12[3 units]".
    node : torch.fx.Node
        Node whose value is used.
    head : torch.nn.Module or None
        Module that reduces the value; None if it already is one number per image.
    layer : str
        Name of the layer; "" for the logit.
    units : tuple of int
        Units of that layer.
    """

    name: str
    node: fx.Node
    head: nn.Module | None = None
    layer: str = ""
    units: tuple[int, ...] = ()


def find_target(traced: TracedDetector, target: TargetLike, size: int) -> Target:
    """Find the value to explain in the graph of a detector.

    Parameters
    ----------
    traced : TracedDetector
        Traced detector.
    target : str or tuple
        "logit"; (layer, unit); or (layer, units), whose mean is explained. A unit is averaged
        over its positions, as in activation stores.
    size : int
        Side of the images in pixels, which determines the number of units.

    Raises
    ------
    UnknownNameError
        If the layer is unknown.
    ProbeError
        If the target has another form, or a unit number is out of range.
    """
    if target == LOGIT:
        result = next(node for node in traced.graph.nodes if node.op == "output").args[0]
        assert isinstance(result, fx.Node)  # a detector returns one tensor
        return Target(LOGIT, result)
    if isinstance(target, str) or not isinstance(target, tuple) or len(target) != 2:
        raise ProbeError(
            f"target={target!r} was given; allowed are 'logit', (layer, unit), such as "
            "('block12', 417), and (layer, [unit, …]), which is explained as their mean."
        )
    layer, asked = target
    path = traced.resolve(layer)
    units = [int(asked)] if isinstance(asked, int | np.integer) else [int(one) for one in asked]
    if not units:
        raise ProbeError(f"target={target!r} names no unit; give at least one.")
    value = value_of(traced, path, size)
    check_rows(path, value, len(value))
    asked_units(units_first(value).shape[1], torch.as_tensor(units).numpy())
    short = path.removeprefix("body.")
    name = f"{short}[{units[0]}]" if len(units) == 1 else f"{short}[{len(units)} units]"
    return Target(name, traced.layers[path], UnitMean(units), path, tuple(units))


def value_of(traced: TracedDetector, path: str, size: int) -> Tensor:
    """Return the value of a layer for one black image."""
    images = next(node for node in traced.graph.nodes if node.op == "placeholder")
    program = extract(traced, [images], [traced.layers[path]])
    with torch.no_grad():
        given = torch.zeros(1, 3, size, size, device=traced.detector.device)
        out: Tensor = program(given)[0]
    return out


def grid_of(traced: TracedDetector, path: str, value: object) -> Grid | None:
    """Return how a layer's value is arranged as maps; None if it is not a map.

    Parameters
    ----------
    traced : TracedDetector
        Traced detector; attribute ``num_prefix_tokens`` gives the number of tokens before those
        of the image.
    path : str
        Name of the layer.
    value : object
        Value of the layer for one image.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point() or len(value) != 1:
        return None
    if value.ndim == 4:
        _, a, b, c = value.shape
        last = a == b != c
        height, width = (a, b) if last else (b, c)
        kind = "channels_last" if last else "channels_first"
        return Grid(kind, height, width) if min(height, width) > 1 else None
    if value.ndim == 3:
        body = getattr(traced.detector.module, "body", traced.detector.module)
        prefix = int(getattr(body, "num_prefix_tokens", 0))
        tokens = value.shape[1] - prefix
        side = round(tokens**0.5)
        return Grid("tokens", side, side, prefix) if side > 1 and side**2 == tokens else None
    return None


def choose_layer(
    traced: TracedDetector, target: Target, layer: str | None, size: int
) -> tuple[str, Grid]:
    """Choose the layer whose maps are weighted, and return it with its arrangement.

    The default of a registered detector is its last convolution. Otherwise, and for a unit as
    target, it is the last layer whose value is a map and that all of the target depends on.

    Raises
    ------
    UnknownNameError
        If the layer is unknown.
    ProbeError
        If the layer's value is not a map, or the target does not depend on it.
    """
    if layer is not None:
        return _asked(traced, target, layer, size)
    before = _leading_to(target.node)
    default = find_architecture(traced.detector.spec.name).last_conv
    if default:
        path = traced.resolve(default)
        grid = grid_of(traced, path, value_of(traced, path, size))
        if grid and traced.layers[path] in before:
            return path, grid
    values = _values(traced, [n for n, node in traced.layers.items() if node in before], size)
    for path, value in reversed(values):
        grid = grid_of(traced, path, value)
        if not grid or not _is_bottleneck(traced.layers[path], target.node):
            continue
        if grid.kind != "tokens" or _matters(traced, target, path, grid, size):
            return path, grid
    raise ProbeError(
        f"{traced.detector.name} has no layer before {target.name} whose value is a map. Give "
        "layer=, or choose a method that needs none, such as saliency."
    )


def _asked(traced: TracedDetector, target: Target, layer: str, size: int) -> tuple[str, Grid]:
    path = traced.resolve(layer)
    if traced.layers[path] not in _leading_to(target.node):
        raise ProbeError(
            f"{target.name} does not depend on layer {layer!r}, which comes after it. Give a "
            "layer before it."
        )
    value = value_of(traced, path, size)
    grid = grid_of(traced, path, value)
    if grid is None:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ProbeError(
            f"Layer {layer!r} of {traced.detector.name} gives {shape} for one image, which is not "
            "a map; allowed are (1, channel, y, x), (1, y, x, channel) and square grids of tokens."
        )
    return path, grid


def _matters(traced: TracedDetector, target: Target, path: str, grid: Grid, size: int) -> bool:
    """Return whether a layer's maps affect the target; after the last attention they may not.

    With a class token, the other tokens are unused there. Tested on one noise image, where a
    gradient of exactly zero has no other cause.
    """
    program = rewrite(traced, target.node, tap=traced.layers[path], grid=grid, head=target.head)
    kept: list[Tensor] = []
    assert program.tap is not None  # a tap was given
    program.tap.register_forward_hook(lambda _, __, output: kept.append(output))
    noise = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.enable_grad():
        value = program.module(noise.to(traced.detector.device).requires_grad_())
        (slope,) = torch.autograd.grad(value.sum(), kept[0])
    return bool((slope != 0).any())


def _values(traced: TracedDetector, names: list[str], size: int) -> list[tuple[str, object]]:
    """Return the values of layers for one black image, in the given order."""
    images = next(node for node in traced.graph.nodes if node.op == "placeholder")
    # Several layers can share a node, such as a block and its last module.
    nodes = list(dict.fromkeys(traced.layers[name] for name in names))
    program = extract(traced, [images], nodes)
    with torch.no_grad():
        given = torch.zeros(1, 3, size, size, device=traced.detector.device)
        found = dict(zip(nodes, program(given), strict=True))
    return [(name, found[traced.layers[name]]) for name in names]


def _leading_to(node: fx.Node) -> set[fx.Node]:
    found: set[fx.Node] = set()
    todo = [node]
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += one.all_input_nodes
    return found


def _is_bottleneck(node: fx.Node, target: fx.Node) -> bool:
    """Return whether the target depends on the images only through a node.

    In a residual branch a map is only part of what the detector uses.
    """
    around = {target}
    todo = [target]
    while todo:
        one = todo.pop()
        if one is node:
            continue
        if one.op == "placeholder":
            return False
        for source in one.all_input_nodes:
            if source not in around:
                around.add(source)
                todo.append(source)
    return True


Doubles = NDArray[np.float64]

#: Lower bound of log2 ratios: without it, a region without mass would give minus infinity.
FLOOR = -10.0

#: Numerator and denominator, each of shape (n, columns), and a sign of +1 or −1. A statistic is the
#: sum over such terms of sign × log2(sum of numerator / sum of denominator).
Ratio = tuple[Doubles, Doubles, int]


class Estimate(NamedTuple):
    """An estimate with its bounds, as numbers or arrays; NaN where undefined."""

    value: Any
    low: Any
    high: Any


def _by_cluster(values: Doubles, clusters: NDArray[Any]) -> Doubles:
    """Sum values, shape (n, …), by cluster."""
    _, codes = np.unique(clusters, return_inverse=True)
    out = np.zeros((int(codes.max()) + 1, *values.shape[1:]))
    np.add.at(out, codes, values)
    return out


def estimate_mean(
    values: Doubles, clusters: NDArray[Any], n_resamples: int, ci: float, seed: int
) -> Estimate:
    """Estimate means over axis 0, with percentile intervals from the cluster bootstrap.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (n,) or (n, columns); rows with a NaN are left out.
    clusters : numpy.ndarray
        Shape (n,), any labels.
    n_resamples, ci, seed : int, float, int
        Number of bootstrap resamples; confidence level; seed.

    Returns
    -------
    Estimate
        Means with bounds; bounds are NaN below five clusters.
    """
    kept = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    nan = np.full(values.shape[1:], np.nan)[()]
    if not kept.any():
        return Estimate(nan, nan, nan)
    values, clusters = values[kept], clusters[kept]
    sums, sizes = _by_cluster(values, clusters), _by_cluster(np.ones(len(values)), clusters)
    if len(sizes) < MIN_CLUSTERS:
        return Estimate(values.mean(axis=0), nan, nan)
    counts = cluster_counts(len(sizes), n_resamples, seed)
    draws = (counts @ sums) / (counts @ sizes).reshape(-1, *[1] * (values.ndim - 1))
    return Estimate(values.mean(axis=0), *percentile_bounds(draws, ci))


def swapped(
    one: Doubles, other: Doubles, clusters: NDArray[Any], n_permutations: int, seed: int
) -> float:
    """Return the two-sided p-value that two values per sample, shape (n,), differ in mean.

    The two values are swapped within clusters, for all samples of a cluster at once; clusters have
    the same weight. NaN below two clusters, or if nothing is defined.
    """
    kept = np.isfinite(one) & np.isfinite(other)
    if len(np.unique(clusters[kept])) < 2:
        return float("nan")
    values = np.concatenate([one[kept], other[kept]])
    labels = np.repeat([1, 0], kept.sum())
    both = np.column_stack([values, -values])
    found = permutation_test(both, labels, np.tile(clusters[kept], 2), n_permutations, seed)
    return float(min(1.0, 2 * found.p.min()))


def _log_ratios(terms: Sequence[tuple[Doubles, Doubles, int]]) -> Doubles:
    """Add signed log2 ratios, each at least `FLOOR`; NaN where a denominator is 0."""
    total: Doubles = np.zeros(terms[0][0].shape)
    for top, bottom, sign in terms:
        with np.errstate(invalid="ignore", divide="ignore"):
            total = total + sign * np.log2(np.maximum(top / bottom, 2.0**FLOOR))
    return np.where(np.all([term[1] > 0 for term in terms], axis=0), total, np.nan)


def estimate_ratio(
    terms: Sequence[Ratio], clusters: NDArray[Any], n_resamples: int, ci: float, seed: int
) -> Estimate:
    """Estimate a sum of signed log2 ratios of means per column, with intervals over clusters.

    Parameters
    ----------
    terms : sequence of Ratio
        Finite values, all of shape (n, columns).
    clusters : numpy.ndarray
        Shape (n,), any labels.
    n_resamples, ci, seed : int, float, int
        Number of bootstrap resamples; confidence level; seed. Bounds are NaN below five clusters.
    """
    sums = [(_by_cluster(top, clusters), _by_cluster(low, clusters), s) for top, low, s in terms]
    value = _log_ratios([(top.sum(axis=0), low.sum(axis=0), s) for top, low, s in sums])
    n = len(sums[0][0])
    if n < MIN_CLUSTERS:
        return Estimate(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    counts = cluster_counts(n, n_resamples, seed)
    draws = _log_ratios([(counts @ top, counts @ low, sign) for top, low, sign in sums])
    low, high = percentile_bounds(draws, ci)
    known = np.isfinite(value)
    return Estimate(value, np.where(known, low, np.nan), np.where(known, high, np.nan))


def exchanged(
    terms: Sequence[Ratio],
    inside: NDArray[np.bool_],
    clusters: NDArray[Any],
    n_permutations: int,
    seed: int,
) -> Doubles:
    """Test whether a sum of signed log2 ratios differs between two sets of samples.

    Values are first averaged by cluster and set, so that clusters have the same weight in a set.
    Under the null hypothesis clusters are exchangeable between the sets; a cluster in both sets
    swaps its two means. The statistic is the difference divided by its standard error, computed
    again for each permutation. The test is therefore valid for sets of unequal variance, with many
    clusters (Chung and Romano 2013, doi:10.1214/13-AOS1090).

    Parameters
    ----------
    terms : sequence of Ratio
        Finite values, all of shape (n, columns).
    inside : numpy.ndarray
        Shape (n,), whether a sample is in the first set.
    clusters : numpy.ndarray
        Shape (n,), any labels.
    n_permutations, seed : int
        Number of permutations in addition to the observed sets; seed.

    Returns
    -------
    numpy.ndarray
        Shape (columns,), two-sided p-values; NaN where a ratio is undefined.
    """
    stacked = np.concatenate([np.concatenate([top, low], axis=1) for top, low, _ in terms], axis=1)
    rows = cluster_rows(stacked, inside, clusters)
    # Each row is a cluster within a set; rows of one cluster share a code, so that they swap.
    codes = np.where(
        rows.partner >= 0,
        np.minimum(rows.partner, np.arange(len(rows.labels))),
        np.arange(len(rows.labels)),
    )
    drawn = exchange_labels(rows.labels, codes, n_permutations, seed)
    sets = np.concatenate([rows.labels[None], drawn]).astype(np.float64)
    signs = [term[2] for term in terms]
    one, spread = _side(sets, rows.values, signs)
    other, others_spread = _side(1 - sets, rows.values, signs)
    # The constant keeps differences that are rounding errors small if there is no variance.
    statistic = (one - other) / (np.sqrt(spread + others_spread) + 1e-6)
    with np.errstate(invalid="ignore"):
        # Sums in another order differ in the last digits.
        reached = np.abs(statistic) >= np.abs(statistic[0]) - 1e-9
    return np.where(np.isfinite(statistic[0]), reached.mean(axis=0), np.nan)


def _side(sets: Doubles, values: Doubles, signs: Sequence[int]) -> tuple[Doubles, Doubles]:
    """Return the statistic of one of the two sets and its variance, each (draws, columns).

    The variance is that of a function of means by the delta method, from values divided by their
    means.
    """
    size = sets.sum(axis=1, keepdims=True)
    each = np.split(values, 2 * len(signs), axis=1)
    means = [sets @ one / size for one in each]
    for k in range(len(signs)):
        means[2 * k] = np.maximum(means[2 * k], 2.0**FLOOR * means[2 * k + 1])
    value = _log_ratios([(means[2 * k], means[2 * k + 1], s) for k, s in enumerate(signs)])
    slopes = [s * way for s in signs for way in (1, -1)]
    square: Doubles = np.zeros(value.shape)
    for j, k in itertools.product(range(len(each)), repeat=2):
        with np.errstate(invalid="ignore", divide="ignore"):
            moment = sets @ (each[j] * each[k]) / size / (means[j] * means[k])
        square = square + slopes[j] * slopes[k] * moment
    # Means cancel in the residuals of a ratio; rounding can leave a negative trace.
    return value, np.maximum(square, 0) / np.log(2) ** 2 / size
