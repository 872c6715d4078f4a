"""Suffix programs: do(h_u = v) for all units and values by the cheapest exact way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from probe.detectors.detector import Detector
from probe.hooks.affine import read_affine
from probe.hooks.inplace import left_behind
from probe.hooks.tracing import TracedDetector, extract, trace
from probe.hooks.values import check_rows, set_unit, units_first

__all__ = [
    "AffineProgram",
    "Rerun",
    "State",
    "SuffixProgram",
    "compile_suffix",
    "intervene",
    "split",
]

#: Rows of a batch that `Rerun` pushes through the suffix at once.
RERUN_ROWS = 256
#: Values (float32) of a block that the closed form works on; some MB, to stay in the cache.
BLOCK_VALUES = 1 << 17


@dataclass(frozen=True)
class State:
    """A batch on its way through a detector, held at the tap.

    Attributes
    ----------
    value : Tensor
        The tapped value, samples on axis 0.
    bypass : tuple
        Other values that the suffix needs.
    """

    value: Tensor
    bypass: tuple[Any, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        held = [self.value, *(item for item in self.bypass if isinstance(item, Tensor))]
        return sum(item.element_size() * item.nelement() for item in held)


class SuffixProgram(Protocol):
    """What lies between a tap and the logit, ready to be asked what-if questions."""

    @property
    def layer(self) -> str:
        """Name of the tap."""

    @property
    def input_size(self) -> int:
        """Side in pixels of the images."""

    def state(self, images: Any) -> State:
        """Run images, shape (n, 3, h, w), up to the tap."""

    def sweep(self, state: State, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Set each unit to each value, shape (units, v); give fake logits (n, units, v)."""

    def sums(
        self, state: State, values: NDArray[np.float64], probability: bool
    ) -> NDArray[np.float64]:
        """Sum over the batch of the logit or of P(fake) under each do(); shape (units, v)."""

    def donate(self, state: State, donor: State) -> NDArray[np.float32]:
        """Give each unit the value that it has in the donor's same row; logits (n, units)."""

    def ablate_sets(
        self, state: State, sets: NDArray[np.bool_], values: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Set all units of each set, shape (sets, units), at once; fake logits (n, sets)."""

    def explain(self) -> str:
        """Say what was recognised, what is rerun and what it costs."""


def split(traced: TracedDetector, layer: str) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Cut a detector at a tap.

    Parameters
    ----------
    traced : TracedDetector
        Whom.
    layer : str
        Where.

    Returns
    -------
    prefix : torch.fx.GraphModule
        From images to a tuple: the tapped value, then the values that bypass the tap.
    suffix : torch.fx.GraphModule
        From that tuple's members to a tuple of the logits.
    """
    tap = traced.node(layer)
    images = next(node for node in traced.graph.nodes if node.op == "placeholder")
    result = next(node for node in traced.graph.nodes if node.op == "output").args[0]
    after, seen = _dependants(traced.graph, tap), _dependants(traced.graph, images)
    # What depends on weights alone is made again by the suffix: it has no axis of samples.
    bypass = [
        node
        for node in traced.graph.nodes
        if node in seen
        and node not in after
        and any(user in after and user is not tap for user in node.users)
    ]
    given = [tap, *bypass]
    return extract(traced, [images], given), extract(traced, given, [result])


def _dependants(graph: fx.Graph, start: fx.Node) -> set[fx.Node]:
    found = {start}
    for node in graph.nodes:
        # What the tap's own operation leaves in its input does not depend on the tapped value.
        aside = node.target is left_behind and node.args[1] is start
        sources = node.args[:1] if aside else node.all_input_nodes
        if any(source in found for source in sources):
            found.add(node)
    return found


def compile_suffix(detector: Detector | TracedDetector, layer: str) -> SuffixProgram:
    """Read the graph behind a tap and choose the cheapest exact program.

    Parameters
    ----------
    detector : Detector or TracedDetector
        Whom.
    layer : str
        The tap.

    Returns
    -------
    SuffixProgram
        `AffineProgram` where everything behind a dense tap is affine, else `Rerun`.

    Raises
    ------
    UnknownNameError
        If there is no such layer.
    """
    traced = trace(detector) if isinstance(detector, Detector) else detector
    prefix, suffix = split(traced, layer)
    name, one = traced.resolve(layer), traced.detector
    size = one.spec.input_size
    with torch.inference_mode():
        value = prefix(torch.zeros(1, 3, size, size, device=one.device))[0]
    check_rows(name, value, 1)
    if value.ndim == 2:
        modules = dict(one.module.named_modules())
        found = read_affine(traced.graph, traced.node(layer), modules, value.shape[1])
        if found is not None:
            return AffineProgram(name, size, prefix, *found)
    leaves = {str(node.target) for node in suffix.graph.nodes} & set(traced.report.leaves)
    return Rerun(name, size, prefix, suffix, units_first(value).shape[1], joint=not leaves)


@dataclass(frozen=True)
class AffineProgram:
    """Closed form: the logit is weight · h + bias, so do(h_u = v) adds weight_u (v − h_u).

    Attributes
    ----------
    layer : str
        The tap.
    input_size : int
        Side in pixels of the images.
    prefix : torch.fx.GraphModule
        From images to the tap.
    weight : Tensor
        Shape (units,), double.
    bias : float
        Logit at h = 0.
    steps : list of str
        What was composed.
    """

    layer: str
    input_size: int
    prefix: fx.GraphModule
    weight: Tensor
    bias: float
    steps: list[str] = field(default_factory=list)

    @property
    def units(self) -> int:
        """Number of units."""
        return len(self.weight)

    def state(self, images: Any) -> State:
        """Run images up to the tap."""
        return _run_prefix(self.prefix, images)

    def sweep(self, state: State, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Set each unit to each value; give fake logits, shape (n, units, v)."""
        h = state.value.double().cpu()
        without = (h @ self.weight + self.bias)[:, None] - h * self.weight
        change = self.weight[:, None] * torch.from_numpy(values)
        return np.asarray((without[:, :, None] + change).float().numpy())

    def sums(
        self, state: State, values: NDArray[np.float64], probability: bool
    ) -> NDArray[np.float64]:
        """Sum over the batch of the logit or of P(fake) under each do(); shape (units, v)."""
        h = state.value.cpu()
        logit = h.double() @ self.weight + self.bias
        change = self.weight[:, None] * torch.from_numpy(values)
        if not probability:
            without = logit.sum() - h.double().sum(dim=0) * self.weight
            return np.asarray((without[:, None] + len(h) * change).numpy())
        return self._probability_sums(h, logit, change)

    def donate(self, state: State, donor: State) -> NDArray[np.float32]:
        """Give each unit the value that it has in the donor's same row; logits (n, units)."""
        h, other = state.value.double().cpu(), donor.value.double().cpu()
        base = (h @ self.weight + self.bias)[:, None]
        return np.asarray((base + (other - h) * self.weight).float().numpy())

    def ablate_sets(
        self, state: State, sets: NDArray[np.bool_], values: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Set all units of each set, shape (sets, units), at once; fake logits (n, sets)."""
        h = state.value.double().cpu()
        base = (h @ self.weight + self.bias)[:, None]
        change = (torch.from_numpy(np.asarray(values, dtype=np.float64)) - h) * self.weight
        return np.asarray((base + change @ torch.from_numpy(sets.T.astype(float))).float().numpy())

    def _probability_sums(self, h: Tensor, logit: Tensor, change: Tensor) -> NDArray[np.float64]:
        # Blocks of samples stay in the cache while every value is tried on them; within a block
        # float32 sums of at most some thousand terms in [0, 1], between blocks doubles.
        rows = max(1, BLOCK_VALUES // self.units)
        out = torch.zeros(change.shape[1], self.units, dtype=torch.double)
        weight, base, steps = self.weight.float(), logit.float(), change.T.float().contiguous()
        work = torch.empty(min(rows, len(h)), self.units)
        for start in range(0, len(h), rows):
            without = torch.addcmul(
                base[start : start + rows, None], h[start : start + rows], weight, value=-1
            )
            target = work[: len(without)]
            for k, step in enumerate(steps):
                torch.add(without, step, out=target).sigmoid_()
                out[k] += target.sum(dim=0)
        return np.asarray(out.T.numpy())

    def explain(self) -> str:
        """Say what was composed."""
        chain = " → ".join(self.steps)
        return (
            f"{self.layer}: closed form over {self.units} units. Composed: {chain}. No rerun; one "
            "multiply-add a sample, unit and value, and one sigmoid where P(fake) is asked for."
        )


@dataclass(frozen=True)
class Rerun:
    """The suffix is run again for every unit and value, several values at once.

    Attributes
    ----------
    layer : str
        The tap.
    input_size : int
        Side in pixels of the images.
    prefix, suffix : torch.fx.GraphModule
        The two parts of the detector.
    units : int
        Number of units.
    joint : bool
        Whether several values may share a batch. Not behind a leaf that could not be traced: it
        may decide by the whole batch.
    """

    layer: str
    input_size: int
    prefix: fx.GraphModule
    suffix: fx.GraphModule
    units: int
    joint: bool = True

    def state(self, images: Any) -> State:
        """Run images up to the tap."""
        return _run_prefix(self.prefix, images)

    def sweep(self, state: State, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Set each unit to each value; give fake logits, shape (n, units, v)."""
        n, v = len(state.value), values.shape[1]
        out = np.empty((n, self.units, v), dtype=np.float32)
        together = max(1, RERUN_ROWS // n) if self._repeatable(state) else 1
        with torch.inference_mode():
            for unit in range(self.units):
                for start in range(0, v, together):
                    some = torch.from_numpy(values[unit, start : start + together])
                    out[:, unit, start : start + len(some)] = self._run(state, unit, some)
        return out

    def sums(
        self, state: State, values: NDArray[np.float64], probability: bool
    ) -> NDArray[np.float64]:
        """Sum over the batch of the logit or of P(fake) under each do(); shape (units, v)."""
        logits = torch.from_numpy(self.sweep(state, values)).double()
        score = logits.sigmoid() if probability else logits
        return np.asarray(score.sum(dim=0).numpy())

    def donate(self, state: State, donor: State) -> NDArray[np.float32]:
        """Give each unit the value that it has in the donor's same row; logits (n, units)."""
        out = np.empty((len(state.value), self.units), dtype=np.float32)
        with torch.inference_mode():
            for unit in range(self.units):
                value = state.value.clone()
                units_first(value)[:, unit] = units_first(donor.value)[:, unit]
                logits: Tensor = self.suffix(value, *state.bypass)[0]
                out[:, unit] = logits.float().cpu().numpy()
        return out

    def ablate_sets(
        self, state: State, sets: NDArray[np.bool_], values: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Set all units of each set, shape (sets, units), at once; fake logits (n, sets)."""
        out = np.empty((len(state.value), len(sets)), dtype=np.float32)
        with torch.inference_mode():
            for i, chosen in enumerate(sets):
                value = state.value.clone()
                for unit in np.flatnonzero(chosen):
                    units_first(value)[:, unit] = float(values[unit])
                logits: Tensor = self.suffix(value, *state.bypass)[0]
                out[:, i] = logits.float().cpu().numpy()
        return out

    def explain(self) -> str:
        """Say what is rerun."""
        nodes = [node for node in self.suffix.graph.nodes if node.op.startswith("call")]
        return (
            f"{self.layer}: no shorter form is known for what follows, so its {len(nodes)} "
            f"operations are run again for each of {self.units} units and every value."
        )

    def _repeatable(self, state: State) -> bool:
        """Whether values can share a batch: sizes handed past the tap fix its length."""
        return self.joint and all(isinstance(value, Tensor) for value in state.bypass)

    def _run(self, state: State, unit: int, some: Tensor) -> NDArray[np.float32]:
        n, v = len(state.value), len(some)
        value = set_unit(_repeated(state.value, v), unit, some.repeat_interleave(n))
        rest = [_repeated(b, v) if isinstance(b, Tensor) else b for b in state.bypass]
        logits: Tensor = self.suffix(value, *rest)[0]
        return np.asarray(logits.view(v, n).T.float().cpu().numpy())


def intervene(
    detector: Detector | TracedDetector, images: Any, layer: str, units: dict[int, float]
) -> NDArray[np.float32]:
    """Score images under do(h_u = v) for some units at once.

    Parameters
    ----------
    detector : Detector or TracedDetector
        Whom; left as it is.
    images : array_like
        Shape (n, 3, h, w), in [0, 1].
    layer : str
        The tap.
    units : dict
        Unit to value; a channel is set over its whole map.

    Returns
    -------
    numpy.ndarray
        Shape (n,), fake logits.
    """
    traced = trace(detector) if isinstance(detector, Detector) else detector
    prefix, suffix = split(traced, layer)
    state = _run_prefix(prefix, images)
    value = state.value
    with torch.inference_mode():
        for unit, to in units.items():
            value = set_unit(value, unit, to)
        logits: Tensor = suffix(value, *state.bypass)[0]
    return np.asarray(logits.float().cpu().numpy())


def _run_prefix(prefix: fx.GraphModule, images: Any) -> State:
    device = next(prefix.parameters()).device if any(True for _ in prefix.parameters()) else "cpu"
    with torch.inference_mode():
        value, *bypass = prefix(torch.as_tensor(images).to(device))
    return State(value, tuple(bypass))


def _repeated(value: Tensor, times: int) -> Tensor:
    # Always a copy: the suffix may work on it in place, and the next unit needs it again.
    return value.repeat(times, *[1] * (value.ndim - 1))
