"""Reading a suffix graph as one affine map from units to the logit, operation by operation."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

__all__ = ["Affine", "read_affine"]


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
        """Whether every output depends on its own unit only."""
        return self.weight.ndim == 1

    def scaled(self, scale: Tensor, shift: Tensor) -> Affine:
        """Multiply and shift each output."""
        weight = self.weight * (scale if self.elementwise else scale[:, None])
        return Affine(weight, scale * self.bias + shift)

    def linear(self, weight: Tensor, bias: Tensor) -> Affine:
        """Apply a linear layer."""
        own = weight * self.weight if self.elementwise else weight @ self.weight
        return Affine(own, weight @ self.bias + bias)

    def row(self, index: int) -> Affine:
        """Take one output, as shape (units,) and a scalar bias."""
        weight = torch.diag(self.weight) if self.elementwise else self.weight
        return Affine(weight[index], self.bias[index])


def read_affine(
    graph: fx.Graph, tap: fx.Node, modules: dict[str, nn.Module], units: int
) -> tuple[Tensor, float, list[str]] | None:
    """Compose everything between a dense tap and the logit, if all of it is affine.

    Parameters
    ----------
    graph : torch.fx.Graph
        The detector's graph.
    tap : torch.fx.Node
        Its value has shape (n, units).
    modules : dict
        Module path to module.
    units : int
        Number of units.

    Returns
    -------
    weight : Tensor
        Shape (units,), double.
    bias : float
        So that logit = weight · h + bias.
    steps : list of str
        The operations that were composed.

    None is returned where an operation is not affine, or mixes in another value of the image.
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
