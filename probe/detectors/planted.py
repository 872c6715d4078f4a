"""Planted detectors: networks whose units' contributions are known by construction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from probe.compute import on_device, resolve_device
from probe.datasets.dataset import Dataset
from probe.datasets.loader import Images
from probe.detectors.detector import Detector, DetectorSpec, FakeLogit, Normalize
from probe.errors import ProbeError
from probe.progress import progress_bar
from probe.stats import cluster_rows

__all__ = [
    "FEATURE_LAYER",
    "KINDS",
    "UNIT_LAYER",
    "FilterBank",
    "Planted",
    "PlantedNet",
    "Population",
    "measure_population",
    "plant",
    "planted_detector",
]

Floats = NDArray[np.float64]

#: Share of each kind of unit, in sixteenths. "universal" units contribute in all datasets;
#: "redundant" ones do too, and come in nearly equal pairs. "near" units contribute in all datasets
#: but one: the hardest null for "in all". "specific" units contribute in one. "decoy" units have a
#: large weight and range but no effect; "blind" ones are small decoys. "silent" units respond as
#: universal ones but have outgoing weight 0. "dead" units are constant.
KINDS = {
    "universal": 2,
    "redundant": 1,
    "near": 2,
    "specific": 3,
    "decoy": 4,
    "blind": 2,
    "silent": 1,
    "dead": 1,
}

GRID = 6

#: Effects below this count as zero, since they come from rounding.
ROUNDING = 1e-6

#: Maximum number of iterations for the means, and the value above which they have diverged.
STEPS, LARGEST = 500, 1e9
FEATURE_LAYER, UNIT_LAYER = "standard", "relu"


class FilterBank(nn.Module):
    """Log energies of fixed filters, averaged over a grid: (N, 3, H, W) to (N, F).

    The filters are fine and coarse differences of Gaussians, gradients, and period-2 and period-4
    checkerboards of the luminance, and differences of Gaussians of two color differences. The grid
    is 6 × 6.
    """

    def __init__(self) -> None:
        super().__init__()
        kernels = torch.from_numpy(_kernels().astype(np.float32))
        self.filters = nn.Conv2d(3, len(kernels), 7, padding=3, bias=False)
        self.filters.weight.data = kernels
        self.pool = nn.AdaptiveAvgPool2d(GRID)
        self.flatten = nn.Flatten()
        self.features = len(kernels) * GRID * GRID

    def forward(self, x: Tensor) -> Tensor:
        """Map images, shape (N, 3, H, W), to log energies, shape (N, F)."""
        out: Tensor = self.flatten((self.pool(self.filters(x).abs()) + 1e-4).log())
        return out


def _kernels() -> Floats:
    """Return the filters over (red, green, blue), shape (filters, 3, 7, 7)."""
    y, x = np.mgrid[-3:4, -3:4].astype(float)

    def gauss(width: float) -> Floats:
        bell = np.exp(-(x**2 + y**2) / (2 * width**2))
        return np.asarray(bell / bell.sum())

    spot = (x == 0) & (y == 0)
    bands = [
        spot - gauss(0.6),
        gauss(0.6) - gauss(1.0),
        gauss(1.0) - gauss(1.6),
        gauss(1.6) - gauss(2.6),
        gauss(2.6),
    ]
    slopes = [gauss(0.8) * x, gauss(0.8) * y]
    boards = [
        gauss(1.5) * np.cos(np.pi * x) * np.cos(np.pi * y),
        gauss(1.5) * np.cos(np.pi * x / 2) * np.cos(np.pi * y / 2),
    ]
    light, blue, red = (0.299, 0.587, 0.114), (-0.169, -0.331, 0.5), (0.5, -0.419, -0.081)
    pairs = [(one, light) for one in (*bands, *slopes, *boards)]
    pairs += [(bands[i], color) for color in (blue, red) for i in (1, 3)]
    return np.stack([np.asarray(c)[:, None, None] * k for k, c in pairs])


class PlantedNet(nn.Module):
    """Filter bank, dense layer of planted units, ReLU in its linear range, and linear head.

    Parameters
    ----------
    units : int
        Width of the dense layer.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, units: int) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.bank = FilterBank()
        self.register_buffer("mean", torch.zeros(self.bank.features))
        self.register_buffer("std", torch.ones(self.bank.features))
        self.standard = nn.Identity()
        self.fc1 = nn.Linear(self.bank.features, units)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(units, 1)
        self.logit = FakeLogit(1)

    def forward(self, x: Tensor) -> Tensor:
        """Map images, shape (N, 3, H, W) in [0, 1], to fake logits, shape (N,)."""
        x = self.standard((self.bank(self.normalize(x)) - self.mean) / self.std)
        out: Tensor = self.logit(self.fc2(self.relu(self.fc1(x))))
        return out


@dataclass(frozen=True)
class Population:
    """Filter-bank features of all images of the datasets: planted effects are exact on them.

    Attributes
    ----------
    features : numpy.ndarray
        Standardized features, shape (n, features).
    labels, clusters, datasets : numpy.ndarray
        Label, cluster and dataset index of every image, shape (n,).
    names : tuple of str
        Names of the datasets.
    mean, std : numpy.ndarray
        Mean and standard deviation of each feature before standardization, shape (features,).
    size : int
        Side of the images in pixels.
    differences : tuple of numpy.ndarray
        For each dataset, shape (clusters, features): mean of a cluster's fakes − mean of its reals.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int8]
    clusters: NDArray[np.int64]
    datasets: NDArray[np.int64]
    names: tuple[str, ...]
    mean: Floats
    std: Floats
    size: int
    differences: tuple[Floats, ...]


@dataclass(frozen=True)
class Planted:
    """A planted detector and its ground truth.

    Attributes
    ----------
    detector : Detector
        The detector, with spec name ``planted``; its units are at layer ``relu``.
    truth : pandas.DataFrame
        One row per unit: ``unit, kind, method`` (the dataset of a specific unit, or the missing
        dataset of a near unit), ``weight`` and, for each dataset, ``effect_<dataset>``: mean over
        clusters of the contribution's difference between fakes and reals, in units of its standard
        deviation over clusters.
    """

    detector: Detector
    truth: pd.DataFrame

    def __repr__(self) -> str:
        """Say how many units there are of each kind."""
        counts = self.truth["kind"].value_counts(sort=False)
        return f"<Planted: {', '.join(f'{count} {kind}' for kind, count in counts.items())} units>"

    @property
    def datasets(self) -> NDArray[np.int64]:
        """Number of datasets in which each unit contributes, shape (units,)."""
        effects = self.truth.filter(like="effect_").to_numpy()
        return np.asarray((effects > ROUNDING).sum(axis=1))

    @property
    def universal(self) -> NDArray[np.bool_]:
        """Whether each unit contributes in every dataset, shape (units,)."""
        return np.asarray(self.datasets == len(self.truth.filter(like="effect_").columns))


def measure_population(
    data: Dataset,
    *,
    size: int | None = None,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
) -> Population:
    """Compute the filter-bank features of all images, for any number of planted detectors.

    Parameters
    ----------
    data : Dataset
        Data of two or more datasets, in which each identity has fakes and reals.
    size : int, optional
        Side of the images in pixels; 128, as in the lab, by default.
    batch_size : int, default 64
        Images per batch.
    device : str or torch.device, default "cpu"
        Device on which the filter bank runs.

    Raises
    ------
    ProbeError
        If the device is not available, there is only one dataset, or an identity lacks fakes or
        reals.
    """
    names = tuple(dict.fromkeys(data.samples.table["dataset"]))
    if len(names) < 2:
        raise ProbeError(
            f"{data.name!r} is one dataset; units are universal over two or more. Use the lab."
        )
    where_to = resolve_device(device)
    bank, side = FilterBank().eval().to(where_to), size or 128
    rows = np.empty((len(data), bank.features), dtype=np.float32)
    with progress_bar("features", len(data)) as advance, torch.inference_mode():
        images = Images(data, side).batches(data, batch_size)
        for where, found in on_device(images, where_to, bank):
            rows[where] = found.cpu().numpy()
            advance(where.stop - where.start)
    mean, std = rows.mean(axis=0, dtype=float), rows.std(axis=0, dtype=float) + 1e-6
    features = ((rows - mean) / std).astype(np.float32)
    number = {name: i for i, name in enumerate(names)}
    datasets = np.array([number[name] for name in data.samples.table["dataset"]])
    clusters, labels = data.samples.clusters, data.labels
    differences = []
    for i, name in enumerate(names):
        own = datasets == i
        table = cluster_rows(features[own], labels[own], clusters[own])
        if (table.partner < 0).any():
            raise ProbeError(
                f"Dataset {name!r} has identities with one label only; a planted detector needs "
                "fakes and reals of the same people. Use the lab."
            )
        fake = np.flatnonzero(table.labels)
        differences.append(table.values[fake] - table.values[table.partner[fake]])
    return Population(
        features, labels, clusters, datasets, names, mean, std, side, tuple(differences)
    )


def planted_detector(
    data: Dataset, units: int = 256, *, effect: float = 1.0, seed: int = 0
) -> Planted:
    """Build a detector whose units' contributions are known, from a dataset; see `plant`.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> planted = probe.planted_detector(data, units=32)
    >>> planted
    <Planted: 4 universal, 2 redundant, 4 near, 6 specific, 8 decoy, 4 blind, 2 silent, 2 dead
    units>
    >>> int(planted.universal.sum())
    6
    """
    return plant(measure_population(data), units, effect, seed)


def plant(population: Population, units: int = 256, effect: float = 1.0, seed: int = 0) -> Planted:
    """Build a detector whose units have given effects in every dataset.

    A unit projects the features onto a direction v. Its effect in dataset d is v·δ_d, with δ_d the
    mean over clusters of fakes − reals. The effects of a random direction are removed and the
    wanted effects added, by the smallest change in the metric of the features' covariance. The
    remaining part of the random direction is noise that is blind to the label. Every pattern of
    effects therefore holds exactly on the population, and clusters drawn from it with replacement
    are independent draws with a known ground truth.

    Parameters
    ----------
    population : Population
        Features from `measure_population`.
    units : int, default 256
        Number of units, at least 16; the shares of the kinds are given by `KINDS`.
    effect : float, default 1.0
        Effect of a contributing unit: mean over clusters of its difference between fakes and
        reals, in standard deviations over clusters; above 0.
    seed : int, default 0
        Random seed of directions and weights.

    Raises
    ------
    ProbeError
        If `units` or `effect` is too small, or the effects cannot be planted on these datasets.
    """
    if units < 16 or not effect > 0:
        raise ProbeError(
            f"units={units} and effect={effect} were given; at least 16 units and an effect above "
            "0 are needed."
        )
    rng = np.random.default_rng(seed)
    kinds, methods, wanted = _patterns(units, len(population.names), rng)
    noise = rng.normal(size=(population.features.shape[1], units))
    second = np.flatnonzero(kinds == "redundant")[1::2]
    noise[:, second] = noise[:, second - 1] + 0.05 * noise[:, second]
    directions = _directions(population, effect * wanted, noise)
    activation = population.features @ directions
    directions /= np.maximum(activation.std(axis=0), 1e-9)
    directions[:, kinds == "dead"] = 0.0
    weights = _weights(kinds, rng)
    directions *= np.where(weights < 0, -1.0, 1.0)
    net = _network(population, directions, weights, kinds)
    spec = DetectorSpec(
        "planted",
        population.size,
        origin=f"planted (seed {seed})",
        options={"units": units, "effect": effect, "seed": seed},
    )
    truth = _truth(population, directions * weights, kinds, methods, weights)
    return Planted(Detector(net, spec), truth)


def _patterns(
    units: int, datasets: int, rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[np.int64], Floats]:
    """Draw kinds, the dataset of each specific or near unit (else −1), and 0/1 effects."""
    total = sum(KINDS.values())
    names = [name for name, share in KINDS.items() for _ in range(share * units // total)]
    names += ["blind"] * (units - len(names))
    if names.count("redundant") % 2:
        names[names.index("redundant")] = "universal"
    kinds = np.array(sorted(names, key=list(KINDS).index))
    about = np.full(units, -1)
    for kind in ("near", "specific"):
        own = np.flatnonzero(kinds == kind)
        about[own] = (rng.permutation(datasets)[0] + np.arange(len(own))) % datasets
    wanted = np.zeros((datasets, units))
    wanted[:, np.isin(kinds, ["universal", "redundant", "silent", "near"])] = 1.0
    near, specific = np.flatnonzero(kinds == "near"), np.flatnonzero(kinds == "specific")
    wanted[about[near], near] = 0.0
    wanted[about[specific], specific] = 1.0
    return kinds, about, wanted


def _directions(population: Population, wanted: Floats, noise: Floats) -> Floats:
    """Return directions with the wanted standardized effects, shape (features, units)."""
    delta = np.stack([one.mean(axis=0) for one in population.differences], axis=1)
    if np.linalg.matrix_rank(delta) < delta.shape[1]:
        raise ProbeError(
            "Fakes differ from reals in the same way in two datasets, or not at all in one; "
            "effects cannot be planted separately. Leave that dataset out."
        )
    spreads = [np.cov(one, rowvar=False, ddof=0) for one in population.differences]
    pooled = np.mean(spreads, axis=0)
    # Shrinkage, since there are fewer clusters than features.
    metric = pooled + 0.1 * np.trace(pooled) / len(pooled) * np.eye(len(pooled))
    answer = np.linalg.solve(metric, delta)
    answer = answer @ np.linalg.inv(delta.T @ answer)
    blind = noise - answer @ (delta.T @ noise)
    return np.asarray(blind + answer @ _means(wanted, blind, answer, spreads))


def _means(wanted: Floats, blind: Floats, answer: Floats, spreads: list[Floats]) -> Floats:
    """Solve mean = effect × spread by iteration, since the spread depends on the mean.

    Returns shape (datasets, units).
    """
    own = np.stack([np.einsum("fu,fu->u", blind, s @ blind) for s in spreads])
    mixed = np.stack([answer.T @ s @ blind for s in spreads])
    added = np.stack([answer.T @ s @ answer for s in spreads])
    means = np.zeros_like(own)
    for _ in range(STEPS):
        square = np.einsum("eu,def,fu->du", means, added, means, optimize=True)
        square += 2 * np.einsum("eu,deu->du", means, mixed) + own
        last, means = means, wanted * np.sqrt(square)
        if means.max() > LARGEST or np.allclose(last, means, rtol=1e-12, atol=0):
            break
    if not np.allclose(last, means, rtol=1e-9, atol=0):
        raise ProbeError(
            f"An effect of {wanted.max():g} standard deviations cannot be planted on these "
            "datasets: directions with this effect vary too much over clusters. Give a smaller one."
        )
    return np.asarray(means)


def _weights(kinds: NDArray[Any], rng: np.random.Generator) -> Floats:
    """Draw outgoing weights, shape (units,); those of decoys are the largest."""
    units = len(kinds)
    size = rng.uniform(0.5, 1.5, units)
    size[kinds == "decoy"] = rng.uniform(2.0, 4.0, int((kinds == "decoy").sum()))
    size[kinds == "blind"] *= 0.3
    size[kinds == "silent"] = 0.0
    return np.asarray(size * rng.choice([-1.0, 1.0], units) / np.sqrt(units))


def _network(
    population: Population, directions: Floats, weights: Floats, kinds: NDArray[Any]
) -> PlantedNet:
    net = PlantedNet(len(kinds))
    values = population.features @ directions
    bias = 1.0 - values.min(axis=0)
    bias[kinds == "dead"] = -1.0
    with torch.no_grad():
        net.mean.copy_(torch.from_numpy(population.mean))
        net.std.copy_(torch.from_numpy(population.std))
        net.fc1.weight.copy_(torch.from_numpy(directions.T))
        net.fc1.bias.copy_(torch.from_numpy(bias))
        net.fc2.weight.copy_(torch.from_numpy(weights[None]))
        middle = (np.maximum(values + bias, 0) @ weights).mean()
        net.fc2.bias.fill_(-float(middle))
    return net


def _truth(
    population: Population,
    contribution: Floats,
    kinds: NDArray[Any],
    about: NDArray[np.int64],
    weights: Floats,
) -> pd.DataFrame:
    names = [population.names[i] if i >= 0 else "" for i in about]
    frame = pd.DataFrame(
        {"unit": np.arange(len(kinds)), "kind": kinds, "method": names, "weight": weights}
    )
    for name, difference in zip(population.names, population.differences, strict=True):
        own = difference @ contribution
        spread = own.std(axis=0)
        effect = np.divide(own.mean(axis=0), spread, out=np.zeros(len(kinds)), where=spread > 1e-9)
        frame[f"effect_{name}"] = effect
    return frame
