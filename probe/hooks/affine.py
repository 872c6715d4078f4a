"""Affine suffixes: composed from the graph into one affine map, and swept in closed form."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from probe.hooks.capture import State, asked_units, check_values, run_prefix
from probe.hooks.costs import Cost

__all__ = ["Affine", "AffineProgram", "read_affine"]


@dataclass(frozen=True)
class Affine:
    """The map h ↦ weight @ h + bias, in double precision.

    Attributes
    ----------
    weight : Tensor
        Shape (outputs, units); for an elementwise map the diagonal, shape (units,).
    bias : Tensor
        Shape (outputs,).
    """

    weight: Tensor
    bias: Tensor

    @property
    def elementwise(self) -> bool:
        """Whether each output depends only on the unit of the same index."""
        return self.weight.ndim == 1

    def scaled(self, scale: Tensor, shift: Tensor) -> Affine:
        """Return the map followed by a scale and shift of each output."""
        weight = self.weight * (scale if self.elementwise else scale[:, None])
        return Affine(weight, scale * self.bias + shift)

    def linear(self, weight: Tensor, bias: Tensor) -> Affine:
        """Return the map followed by a linear layer."""
        own = weight * self.weight if self.elementwise else weight @ self.weight
        return Affine(own, weight @ self.bias + bias)

    def row(self, index: int) -> Affine:
        """Return the map of one output: weight of shape (units,) and a scalar bias."""
        weight = torch.diag(self.weight) if self.elementwise else self.weight
        return Affine(weight[index], self.bias[index])


def read_affine(
    graph: fx.Graph, tap: fx.Node, modules: dict[str, nn.Module], units: int
) -> tuple[Tensor, float, list[str]] | None:
    """Compose all operations between a dense tap and the logit, if all of them are affine.

    Parameters
    ----------
    graph : torch.fx.Graph
        Graph of the detector.
    tap : torch.fx.Node
        Node of the tap; its value has shape (n, units).
    modules : dict
        Module path to module.
    units : int
        Number of units.

    Returns
    -------
    weight : Tensor
        Shape (units,), double precision.
    bias : float
        Bias, so that logit = weight · h + bias.
    steps : list of str
        Names of the composed operations.

    None is returned if an operation is not affine or takes another value that depends on the
    image.
    """
    known: dict[fx.Node, Affine] = {
        tap: Affine(torch.ones(units, dtype=torch.double), torch.zeros(units, dtype=torch.double))
    }
    steps: list[str] = []
    for node in graph.nodes:
        if not any(source in known for source in node.all_input_nodes) or node in known:
            continue
        if node.op == "output":
            final = known.get(node.args[0])
            if final is None or final.weight.ndim != 1 or final.bias.ndim != 0:
                return None
            return final.weight, float(final.bias), steps
        result = _apply(node, known, modules)
        if result is None:
            return None
        known[node] = result
        steps.append(_describe(node, modules))
    return None


def _apply(
    node: fx.Node, known: dict[fx.Node, Affine], modules: dict[str, nn.Module]
) -> Affine | None:
    if any(source not in known for source in node.all_input_nodes):
        return None
    if node.op == "call_module":
        return _apply_module(modules[str(node.target)], known[node.all_input_nodes[0]])
    if node.op == "call_function" and node.target in _FUNCTIONS:
        return _FUNCTIONS[node.target](node, known)
    return None


def _apply_module(module: nn.Module, value: Affine) -> Affine | None:
    if isinstance(module, nn.Dropout | nn.Identity) or (
        isinstance(module, nn.Flatten) and module.start_dim == 1
    ):
        return value
    if isinstance(module, nn.Linear):
        bias = module.bias if module.bias is not None else torch.zeros(module.out_features)
        return value.linear(_exact(module.weight), _exact(bias))
    if isinstance(module, nn.BatchNorm1d) and module.running_mean is not None:
        return value.scaled(*_batchnorm(module))
    return None


def _batchnorm(module: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    mean, var = module.running_mean, module.running_var
    assert mean is not None and var is not None  # checked by the caller
    scale = (_exact(var) + module.eps).rsqrt()
    shift = -_exact(mean) * scale
    if module.affine:
        weight, bias = _exact(module.weight), _exact(module.bias)
        return weight * scale, weight * shift + bias
    return scale, shift


def _exact(value: Tensor) -> Tensor:
    return value.detach().cpu().double()


def _getitem(node: fx.Node, known: dict[fx.Node, Affine]) -> Affine | None:
    source, index = node.args
    value = known[source]  # type: ignore[index]
    if not isinstance(index, tuple) or len(index) != 2 or index[0] != slice(None):
        return None
    return value.row(index[1]) if isinstance(index[1], int) else None


def _subtract(node: fx.Node, known: dict[fx.Node, Affine]) -> Affine | None:
    if not all(isinstance(arg, fx.Node) for arg in node.args):
        return None
    left, right = (known[arg] for arg in node.args)  # type: ignore[index]
    if left.weight.shape != right.weight.shape or left.bias.shape != right.bias.shape:
        return None
    return Affine(left.weight - right.weight, left.bias - right.bias)


_FUNCTIONS: dict[Any, Callable[[fx.Node, dict[fx.Node, Affine]], Affine | None]] = {
    operator.getitem: _getitem,
    operator.sub: _subtract,
}


def _describe(node: fx.Node, modules: dict[str, nn.Module]) -> str:
    if node.op == "call_module":
        return f"{node.target} ({type(modules[str(node.target)]).__name__})"
    return str(getattr(node.target, "__name__", node.target))


#: Values (float32) per block of the closed form: small enough to stay in the processor's cache.
BLOCK_VALUES = 1 << 17

#: Largest change of the logit, from the center of a unit's changes, for which one sigmoid is
#: computed for all values: results then differ by less than 1e-6.
NEAR = 1.0


@dataclass(frozen=True)
class AffineProgram:
    """A closed form: the logit is weight · h + bias, so do(h_u = v) adds weight_u (v − h_u).

    Attributes
    ----------
    layer : str
        Name of the tap.
    input_size : int
        Side of the images in pixels.
    prefix : torch.fx.GraphModule
        The part of the detector from images to the tap.
    weight : Tensor
        Weights, shape (units,), double precision.
    bias : float
        Logit at h = 0.
    steps : list of str
        Names of the composed operations.
    cost : Cost or None
        Multiply-adds.
    """

    layer: str
    input_size: int
    prefix: fx.GraphModule
    weight: Tensor
    bias: float
    steps: list[str] = field(default_factory=list)
    cost: Cost | None = None

    @property
    def units(self) -> int:
        """Number of units."""
        return len(self.weight)

    def state(self, images: Any) -> State:
        """Run images, shape (n, 3, h, w), up to the tap."""
        return run_prefix(self.prefix, images)

    @property
    def positions(self) -> bool:
        """Whether every scalar is a unit; False, since a dense tap has one scalar per unit."""
        return False

    def sweep(
        self, state: State, values: NDArray[np.float64], units: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Set units to values, shape (units, v) or (n, units, v); return logits (n, units, v)."""
        h, weight = self._asked(state, units)
        without = self._logit(state)[:, None] - h * weight
        given = check_values(values, len(weight), len(h))
        change = weight[:, None] * given if given.ndim == 2 else weight[None, :, None] * given
        return np.asarray((without[:, :, None] + change).float().numpy())

    def sums(
        self,
        state: State,
        values: NDArray[np.float64],
        probability: bool,
        units: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        """Return sums over the batch of the logit or P(fake) under each do(), shape (units, v)."""
        weight, own, logit = self.weight.cpu(), state.value.cpu(), self._logit(state)
        if units is not None:
            chosen = torch.from_numpy(asked_units(self.units, units))
            weight, own = weight[chosen], own[:, chosen]
        given = check_values(values, len(weight), len(own))
        if given.ndim == 3:
            return self._sums_of(self.sweep(state, values, units), probability)
        change = weight[:, None] * given
        if not probability:
            without = logit.sum() - own.sum(dim=0, dtype=torch.double) * weight
            return np.asarray((without[:, None] + len(own) * change).numpy())
        return _probability_sums(own.float(), weight.float(), logit, change)

    def donate(
        self, state: State, donor: State, units: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Set units to their values in the same row of `donor`; return logits (n, units)."""
        h, weight = self._asked(state, units)
        other, _ = self._asked(donor, units)
        return np.asarray((self._logit(state)[:, None] + (other - h) * weight).float().numpy())

    def ablate_sets(
        self, state: State, sets: NDArray[np.bool_], values: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Set all units of each set, shape (sets, units), together; return logits (n, sets)."""
        h, weight = self._asked(state, None)
        change = (torch.from_numpy(np.asarray(values, dtype=np.float64)) - h) * weight
        member = torch.from_numpy(np.asarray(sets).T.astype(np.float64))
        return np.asarray((self._logit(state)[:, None] + change @ member).float().numpy())

    def _asked(self, state: State, units: NDArray[np.int64] | None) -> tuple[Tensor, Tensor]:
        h, weight = state.value.cpu().double(), self.weight.cpu()
        if units is None:
            return h, weight
        chosen = torch.from_numpy(asked_units(self.units, units))
        return h[:, chosen], weight[chosen]

    def _sums_of(self, logits: NDArray[np.float32], probability: bool) -> NDArray[np.float64]:
        each = torch.from_numpy(logits).double()
        return np.asarray((each.sigmoid() if probability else each).sum(dim=0).numpy())

    def _logit(self, state: State) -> Tensor:
        return state.value.cpu().double() @ self.weight.cpu() + self.bias

    def explain(self) -> str:
        """Describe the composed operations and their cost."""
        chain = " → ".join(self.steps)
        return (
            f"{self.layer}: closed form over {self.units} units. Composed: {chain}. No rerun; one "
            "multiply-add per sample, unit and value, and one sigmoid where P(fake) is needed."
            + (f"\n  {self.cost}" if self.cost else "")
        )


def _probability_sums(
    h: Tensor, weight: Tensor, logit: Tensor, change: Tensor
) -> NDArray[np.float64]:
    # A block of samples stays in the processor's cache while all values are applied to it. Sums
    # are float32 within a block (at most some thousand terms in [0, 1]), double between blocks.
    units = len(weight)
    rows = max(1, BLOCK_VALUES // units)
    out = torch.zeros(change.shape[1], units, dtype=torch.double)
    center = change.mean(dim=1)
    steps = (change - center[:, None]).T.float().contiguous()
    base, middle = logit.float(), center.float()
    near = float(steps.abs().max()) <= NEAR
    with torch.inference_mode():
        for start in range(0, len(h), rows):
            block = slice(start, start + rows)
            at = torch.addcmul(base[block, None], h[block], weight, value=-1).add_(middle)
            (_add_near if near else _add_any)(out, at, steps)
    return np.asarray(out.T.numpy())


def _add_any(out: Tensor, at: Tensor, steps: Tensor) -> None:
    """Add the sums over samples of sigmoid(at + step) to `out`, one row per step."""
    work, ones = torch.empty_like(at), torch.ones(1, len(at))
    for total, step in zip(out, steps, strict=True):
        # A matrix product with ones is faster than a reduction over the outer axis.
        total += (ones @ torch.add(at, step, out=work).sigmoid_())[0]


def _add_near(out: Tensor, at: Tensor, steps: Tensor) -> None:
    """Add the same sums as `_add_any`, with one sigmoid for all steps.

    With r = 1/σ(x) = 1 + e^(−x) and f = e^(−c), σ(x + c) = 1 / ((1 − f) + f r). The rounding error
    of r is multiplied by f where r is near 1, so steps must be small.
    """
    inverse, work, ones = at.sigmoid_().reciprocal_(), torch.empty_like(at), torch.ones(1, len(at))
    for total, factor in zip(out, steps.neg().exp_(), strict=True):
        torch.addcmul(1 - factor, inverse, factor, out=work).reciprocal_()
        total += (ones @ work)[0]
