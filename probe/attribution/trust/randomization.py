"""Parameter randomization: a map that does not change with the weights explains nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from probe.attribution.trust.metrics import LIKENESS, N_BINS, histogram_entropy
from probe.detectors.detector import Detector
from probe.errors import UnknownNameError
from probe.stats import Floats

__all__ = [
    "Cascade",
    "ORDERS",
    "Randomized",
    "efficient_mprt",
    "mprt",
    "parameter_modules",
    "random_detector",
    "redraw",
]

#: From the output to the input, as in the paper, or from the input to the output.
ORDERS = ("top_down", "bottom_up")

#: Offset of the seeds of random weights.
OFFSET = 0x7A4D0F

Explain = Callable[[Detector, NDArray[np.float32]], ArrayLike]


class Cascade:
    """A detector whose layers are randomized in stages; the detector itself is not changed.

    Modules with parameters are randomized in the order in which they run. All stages share one
    draw of random weights, so that the last stage is the same in both orders.

    Parameters
    ----------
    detector : Detector
        Detector to randomize.
    image : numpy.ndarray
        Shape (1, 3, height, width); run once, on a copy, to find the order of the modules.
    n_stages : int, default 5
        Maximum number of stages, evenly spread over the modules; the last randomizes all.
    order : {"top_down", "bottom_up"}
        Where randomization starts (Adebayo et al. 2018 start at the output; Hedström et al. 2024
        recommend the input).
    seed : int, default 0
        Seed of the random weights.

    Raises
    ------
    UnknownNameError
        If the order is unknown.
    """

    def __init__(
        self,
        detector: Detector,
        image: NDArray[np.float32],
        *,
        n_stages: int = 5,
        order: str = "top_down",
        seed: int = 0,
    ) -> None:
        if order not in ORDERS:
            raise UnknownNameError("order", order, ORDERS)
        self.detector = detector
        drawn = copy.deepcopy(detector.module)
        self.modules = parameter_modules(drawn, image)
        redraw(drawn, self.modules, seed)
        if order == "top_down":
            self.modules.reverse()
        self._state = {key: value.clone() for key, value in _tensors(drawn).items()}
        ends = np.linspace(0, len(self.modules), min(n_stages, len(self.modules)) + 1)
        self._counts = [int(np.ceil(end - 1e-9)) for end in ends[1:]]

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of randomized modules at each stage; the last is 1."""
        return tuple(count / len(self.modules) for count in self._counts)

    def stage(self, index: int) -> Detector:
        """Return a new detector with the weights of a stage, from 0; −1 is fully random."""
        module = copy.deepcopy(self.detector.module)
        chosen = set(self.modules[: self._counts[index]])
        with torch.no_grad():
            for key, value in _tensors(module).items():
                if key.rpartition(".")[0] in chosen:
                    value.copy_(self._state[key])
        return replace(self.detector, module=module)


def parameter_modules(module: nn.Module, image: NDArray[np.float32]) -> list[str]:
    """Return the modules with own parameters, in the order in which they first run.

    Modules that do not run on the image come last, in the order of their definition.
    """
    holds = {
        name: one
        for name, one in module.named_modules()
        if any(True for _ in one.parameters(recurse=False))
    }
    seen: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        return lambda *_: seen.append(name)

    handles = [one.register_forward_pre_hook(watch(name)) for name, one in holds.items()]
    try:
        with torch.no_grad():
            device = next(module.parameters()).device
            module(torch.as_tensor(image).to(device))
    finally:
        for handle in handles:
            handle.remove()
    return list(dict.fromkeys([*seen, *holds]))


def redraw(module: nn.Module, names: Sequence[str], seed: int) -> None:
    """Draw the own parameters of modules anew, in place; the global random state is restored.

    Draws are made on the CPU, so that weights do not depend on the device.

    A module with ``reset_parameters`` is initialized as before training, including running
    statistics. Otherwise the elements of each parameter are permuted, which keeps their
    distribution; a parameter of one element does not change.
    """
    modules: dict[str, nn.Module] = dict(module.named_modules())
    device = next(module.parameters()).device
    module.cpu()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        # The offset avoids redrawing the same weights for a network initialized with this seed.
        torch.default_generator.manual_seed(seed * 1_000_003 + OFFSET)
        for name in names:
            own: Any = modules[name]
            if hasattr(own, "reset_parameters"):
                own.reset_parameters()
                continue
            for parameter in own.parameters(recurse=False):
                order = torch.randperm(parameter.numel())
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
    module.to(device)


def random_detector(detector: Detector, image: NDArray[np.float32], seed: int) -> Detector:
    """Return a copy of a detector with all weights drawn anew; see `redraw`."""
    module = copy.deepcopy(detector.module)
    redraw(module, parameter_modules(module, image), seed)
    return replace(detector, module=module)


class Randomized(NamedTuple):
    """Result of `mprt`.

    Attributes
    ----------
    likeness : dict of str to numpy.ndarray
        ``ssim`` and ``spearman``, each of shape (n, stages), in [−1, 1]: similarity of the
        magnitudes of the maps. At 1, the map does not depend on the weights.
    shares : numpy.ndarray
        Shape (stages,): share of randomized modules; the last is 1.
    rise : numpy.ndarray
        Shape (n,): `efficient_mprt` at the last stage.
    """

    likeness: dict[str, Floats]
    shares: Floats
    rise: Floats

    def area(self, name: str) -> Floats:
        """Return the mean similarity over the share of random modules (1 at share 0), (n,)."""
        values = self.likeness[name]
        values = np.concatenate([np.ones((len(values), 1)), values], axis=1)
        steps = np.diff(np.r_[0.0, self.shares])
        return np.asarray((values[:, 1:] + values[:, :-1]) @ steps / 2)


def mprt(
    explain: Explain,
    images: NDArray[np.float32],
    maps: ArrayLike,
    cascade: Cascade,
    *,
    last_only: bool = False,
) -> Randomized:
    """Compare maps with those of a progressively randomized detector (Adebayo et al. 2018).

    Parameters
    ----------
    explain : callable
        Maps a detector and images to maps, shape (n, height, width).
    images, maps : array_like
        The images, and the maps of the original detector.
    cascade : Cascade
        Stages of the randomization.
    last_only : bool, default False
        Whether to use the last stage only.

    Returns
    -------
    Randomized
        Similarity at every stage, and the increase of entropy at the last.
    """
    stages = range(len(cascade.shares))[-1 if last_only else 0 :]
    found: dict[str, list[Floats]] = {name: [] for name in LIKENESS}
    for index in stages:
        random = explain(cascade.stage(index), images)
        for name, likeness in LIKENESS.items():
            found[name].append(likeness(maps, random))
    shares = np.array([cascade.shares[index] for index in stages])
    stacked = {name: np.stack(values, axis=1) for name, values in found.items()}
    return Randomized(stacked, shares, efficient_mprt(maps, random))


def efficient_mprt(maps: ArrayLike, random: ArrayLike, n_bins: int = N_BINS) -> Floats:
    """Return the relative increase of map entropy for random weights (Hedström et al. 2024).

    (H(random) − H(map)) / H(map), with H as in `histogram_entropy`.

    Parameters
    ----------
    maps, random : array_like
        Shape (n, height, width): maps of the detector, and of the fully randomized one.
    n_bins : int, default 100
        Number of bins of the histogram.

    Returns
    -------
    numpy.ndarray
        Shape (n,), at least −1; above 0 the map is simpler than that of a random detector, as it
        should be. NaN for a constant map.
    """
    before, after = histogram_entropy(maps, n_bins), histogram_entropy(random, n_bins)
    undefined = np.full(len(before), np.nan)
    out: Floats = np.divide(after - before, before, out=undefined, where=before > 0)
    return out


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}
