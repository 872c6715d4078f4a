"""Operations that mix channels, done for one of them: depthwise, a column of kernels or weights.

Out of a cached result comes the one under do(): out = base − L_u(old) + L_u(new), where L_u has the
input column of unit u alone and no bias.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from probe.hooks.steps import Run, Step
from probe.hooks.touched import Place

__all__ = ["convolved", "linear"]


def convolved(
    node: fx.Node, source: fx.Node, place: Place, shape: tuple[int, ...], module: nn.Conv2d
) -> Step | None:
    """Read a convolution: depthwise it keeps channels apart, else it takes one's change in."""
    if place.axis != 1 or module.padding_mode != "zeros" or len(place.shape) != 4:
        return None
    if module.groups == module.in_channels == module.out_channels:
        return Step(node, place.moved(shape), lambda run: _depthwise(run, source, module))
    return Step(
        node, None, lambda run: _convolution_update(run, node, source, module), (node, source)
    )


def _depthwise(run: Run, source: fx.Node, module: nn.Conv2d) -> Tensor:
    touched = run.touched[source]
    channels = run.units + touched.place.first
    value = touched.spread()
    rows = value.movedim(0, 2).flatten(0, 1)
    bias = None if module.bias is None else module.bias.detach()[channels]
    out = F.conv2d(
        rows,
        module.weight.detach()[channels],
        bias,
        module.stride,
        module.padding,
        module.dilation,
        len(channels),
    )
    return out.reshape(*value.shape[1:3], *out.shape[1:]).movedim(2, 0)


def _convolution_update(run: Run, node: fx.Node, source: fx.Node, module: nn.Conv2d) -> Tensor:
    touched, old, base = run.touched[source], run.old(source), run.base[node]
    weight = _columns(module, run.units + touched.place.first)
    value = touched.spread()
    if weight.shape[2:] == (1, 1) and module.stride == (1, 1) and module.padding in (0, (0, 0)):
        change = (touched.value - old).unsqueeze(3)
        out = torch.addcmul(base[None, None], change, weight[:, None, None, :])
        return out.flatten(0, 2)
    if value.shape[2] == old.shape[2]:
        return (base[None, None] + _grouped(value - old, weight, module)).flatten(0, 2)
    rest = base[None, None] - _grouped(old, weight, module)
    return (rest + _grouped(value, weight, module)).flatten(0, 2)


def _grouped(value: Tensor, weight: Tensor, module: nn.Conv2d) -> Tensor:
    """Convolve each unit's channel by its own kernels: (unit, dose, sample, out, y, x)."""
    units, outputs = weight.shape[:2]
    rows = value.movedim(0, 2).flatten(0, 1)
    out = F.conv2d(
        rows,
        weight.reshape(units * outputs, 1, *weight.shape[2:]),
        None,
        module.stride,
        module.padding,
        module.dilation,
        units,
    )
    return out.reshape(*value.shape[1:3], units, outputs, *out.shape[2:]).movedim(2, 0)


def _columns(module: nn.Conv2d, channels: Tensor) -> Tensor:
    """Kernels of some input channels, shape (unit, out, y, x); zero outside their groups."""
    weight = module.weight.detach()
    if module.groups == 1:
        return weight[:, channels].transpose(0, 1)
    each_in, each_out = (module.in_channels // module.groups, module.out_channels // module.groups)
    out = weight.new_zeros(len(channels), module.out_channels, *weight.shape[2:])
    for i, channel in enumerate(channels.tolist()):
        group = channel // each_in
        block = slice(group * each_out, (group + 1) * each_out)
        out[i, block] = weight[block, channel % each_in]
    return out


def linear(node: fx.Node, source: fx.Node, place: Place, module: nn.Linear) -> Step | None:
    """Read a linear layer over the axis of the units; it takes a unit's change in."""
    if place.axis != len(place.shape) - 1 and not (place.axis < 0 and len(place.shape) == 2):
        return None
    return Step(node, None, lambda run: _linear_update(run, node, source, module), (node, source))


def _linear_update(run: Run, node: fx.Node, source: fx.Node, module: nn.Linear) -> Tensor:
    touched, old, base = run.touched[source], run.old(source), run.base[node]
    place, weight = touched.place, module.weight.detach()
    if place.features > 1:
        blocks = weight.reshape(len(weight), -1, place.features)
        own = blocks[:, run.units + place.first].transpose(0, 1)
        before = torch.einsum("bvns,bos->bvno", old, own)
        after = torch.einsum("bvns,bos->bvno", touched.spread(), own)
        return (base[None, None] - before + after).flatten(0, 2)
    own = weight[:, run.units + place.first].T
    inner = [1] * (old.ndim - 3)
    change = (touched.value - old).unsqueeze(-1)
    kernel = own.view(len(own), 1, 1, *inner, -1)
    return torch.addcmul(base[None, None], change, kernel).flatten(0, 2)
