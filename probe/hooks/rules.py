"""Rules for `LocalProgram`: channel-local operations, and updates of channel-mixing ones."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from probe.hooks.channel import Place, Reading, Run, Step, column
from probe.hooks.tracing import left_behind

__all__ = ["convolved", "linear", "read_step"]


def convolved(
    node: fx.Node, source: fx.Node, place: Place, shape: tuple[int, ...], module: nn.Conv2d
) -> Step | None:
    """Return the step of a convolution: channel-local if depthwise, else an update."""
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
    """Convolve each unit's channel with its kernels; shape (unit, dose, sample, out, y, x)."""
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
    """Return the kernels of input channels, shape (unit, out, y, x); zero outside their groups."""
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
    """Return the step of a linear layer over the unit axis: an update by a unit's change."""
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


def read_step(node: fx.Node, reading: Reading) -> Step | None:
    """Return the step of an operation, or None if it must be run again."""
    if node.op == "call_module":
        return _read_module(node, reading)
    if node.target is left_behind:
        return _read_left_behind(node, reading)
    if node.op in ("call_function", "call_method"):
        return _read_call(node, reading)
    return None


ELEMENTWISE = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Sigmoid,
    nn.Tanh,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Hardtanh,
    nn.ReLU6,
    nn.Softplus,
    nn.LogSigmoid,
    nn.Softsign,
)
PASSING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)

#: Elementwise functions and methods of one tensor; further arguments are no tensors.
CALLS: dict[Any, Callable[..., Tensor]] = {
    F.relu: F.relu,
    torch.relu: F.relu,
    F.relu6: F.relu6,
    F.gelu: F.gelu,
    F.silu: F.silu,
    F.leaky_relu: F.leaky_relu,
    F.elu: F.elu,
    F.mish: F.mish,
    F.hardswish: F.hardswish,
    F.hardsigmoid: F.hardsigmoid,
    F.softplus: F.softplus,
    F.sigmoid: torch.sigmoid,
    torch.sigmoid: torch.sigmoid,
    F.tanh: torch.tanh,
    torch.tanh: torch.tanh,
    torch.abs: torch.abs,
    torch.square: torch.square,
    torch.exp: torch.exp,
    torch.clamp: torch.clamp,
    torch.log: torch.log,
    torch.log1p: torch.log1p,
    torch.sqrt: torch.sqrt,
    operator.neg: operator.neg,
    torch.neg: torch.neg,
    "relu": F.relu,
    "relu_": F.relu,
    "sigmoid": torch.sigmoid,
    "sigmoid_": torch.sigmoid,
    "tanh": torch.tanh,
    "abs": torch.abs,
    "square": torch.square,
    "clamp": torch.clamp,
    "log": torch.log,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "exp": torch.exp,
    "contiguous": lambda x, **_: x,
    "clone": lambda x, **_: x,
}
#: Operations of two values, of which either or both may be intervened.
BINARY: dict[Any, Callable[[Any, Any], Tensor]] = {
    operator.add: operator.add,
    operator.sub: operator.sub,
    operator.mul: operator.mul,
    operator.truediv: operator.truediv,
    operator.iadd: operator.add,
    operator.imul: operator.mul,
    operator.isub: operator.sub,
    operator.itruediv: operator.truediv,
    torch.add: operator.add,
    torch.sub: operator.sub,
    torch.mul: operator.mul,
    torch.div: operator.truediv,
    "add": operator.add,
    "add_": operator.add,
    "mul": operator.mul,
    "mul_": operator.mul,
    "sub": operator.sub,
    "sub_": operator.sub,
    "div": operator.truediv,
    "div_": operator.truediv,
}
POOL_CALLS = {
    F.max_pool2d,
    F.avg_pool2d,
    F.adaptive_avg_pool2d,
    F.adaptive_max_pool2d,
    torch.max_pool2d,
}


def _read_module(node: fx.Node, reading: Reading) -> Step | None:
    module, source = reading.modules[str(node.target)], node.args[0] if node.args else None
    place = reading.places.get(source) if isinstance(source, fx.Node) else None
    if place is None or len(node.all_input_nodes) != 1 or node.kwargs:
        return None
    assert isinstance(source, fx.Node)
    shape = reading.shapes.get(node)
    if shape is None:  # several results, such as pooling indices or attention weights
        return None
    if isinstance(module, PASSING):
        return Step(node, place, lambda run: run.touched[source].value)
    if isinstance(module, ELEMENTWISE):
        # Copied, since the module may change its input in place and others may read it.
        return Step(node, place, lambda run: module(run.touched[source].value.clone()))
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return _normalized(node, source, place, _scale_shift(module))
    if isinstance(module, POOLS):
        return _pooled(node, source, place, shape, module, _keeps_flat(module))
    if isinstance(module, nn.Flatten):
        end = module.end_dim % len(place.shape)
        return _flattened(node, source, place, shape, module.start_dim, end)
    if isinstance(module, nn.Conv2d):
        return convolved(node, source, place, shape, module)
    if isinstance(module, nn.Linear):
        return linear(node, source, place, module)
    return None


def _read_left_behind(node: fx.Node, reading: Reading) -> Step | None:
    """Return the step of `left_behind`: the value is the in-place operation's result."""
    change = node.args[1]
    if not isinstance(change, fx.Node) or change not in reading.places:
        return None
    return Step(node, reading.places[change], lambda run: run.touched[change].value)


def _read_call(node: fx.Node, reading: Reading) -> Step | None:
    target: Any = node.target
    source = node.args[0] if node.args else None
    place = reading.places.get(source) if isinstance(source, fx.Node) else None
    alone = len(node.all_input_nodes) == 1
    if target in BINARY and len(node.args) == 2 and not node.kwargs:
        return _combined(node, reading, BINARY[target])
    if target is torch.cat or target is torch.concat or target == "concat":
        return _concatenated(node, reading)
    if target is F.batch_norm and place is not None:
        assert isinstance(source, fx.Node)
        return _normalized(node, source, place, _scale_shift_of(node, reading))
    if place is None or not alone:
        return None
    assert isinstance(source, fx.Node)
    shape = reading.shapes.get(node, ())
    if target in CALLS:
        return _elementwise(node, source, place, CALLS[target])
    if target in (F.dropout, F.dropout2d):
        training = node.kwargs.get("training", node.args[2] if len(node.args) > 2 else True)
        return None if training else Step(node, place, lambda run: run.touched[source].value)
    if target in POOL_CALLS:
        rest, kwargs = node.args[1:], dict(node.kwargs)
        keeps = target not in (F.avg_pool2d,)
        return _pooled(node, source, place, shape, lambda x: target(x, *rest, **kwargs), keeps)
    if target is torch.flatten or target == "flatten":
        start = _argument(node, 1, "start_dim", 0)
        end = _argument(node, 2, "end_dim", -1) % len(place.shape)
        return _flattened(node, source, place, shape, start, end)
    if target is torch.mean or target == "mean":
        return _averaged(node, source, place, shape)
    return None


def _elementwise(node: fx.Node, source: fx.Node, place: Place, call: Callable[..., Tensor]) -> Step:
    kwargs = {key: value for key, value in node.kwargs.items() if key != "inplace"}

    def run(one: Run) -> Tensor:
        # Copied, since `inplace` may be given as a positional argument.
        return call(one.touched[source].value.clone(), *node.args[1:], **kwargs)

    return Step(node, place, run)


def _argument(node: fx.Node, index: int, name: str, default: Any) -> Any:
    return node.kwargs.get(name, node.args[index] if len(node.args) > index else default)


def _scale_shift(module: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor] | None:
    if module.running_mean is None or module.running_var is None:
        return None
    scale = (module.running_var.detach() + module.eps).rsqrt()
    if module.affine:
        scale = scale * module.weight.detach()
    shift = -module.running_mean.detach() * scale
    return scale, shift + module.bias.detach() if module.affine else shift


def _scale_shift_of(node: fx.Node, reading: Reading) -> tuple[Tensor, Tensor] | None:
    names = ("running_mean", "running_var", "weight", "bias")
    given = [_argument(node, i + 1, name, None) for i, name in enumerate(names)]
    known = [reading.constants.get(one) if isinstance(one, fx.Node) else one for one in given]
    if _argument(node, 5, "training", False) is not False or known[0] is None or known[1] is None:
        return None
    if any(isinstance(a, fx.Node) and b is None for a, b in zip(given, known, strict=True)):
        return None
    mean, variance, weight, bias = known
    scale = (variance + _argument(node, 7, "eps", 1e-5)).rsqrt()
    scale = scale if weight is None else scale * weight
    return scale, (0 if bias is None else bias) - mean * scale


def _normalized(
    node: fx.Node, source: fx.Node, place: Place, given: tuple[Tensor, Tensor] | None
) -> Step | None:
    if given is None or place.axis not in (1, -1):
        return None
    scale, shift = given

    def run(one: Run) -> Tensor:
        value = one.touched[source].value
        a, b = (_by_unit(x, place, one.units, value.ndim) for x in (scale, shift))
        return value * a + b

    return Step(node, place, run)


def _by_unit(parameter: Tensor, place: Place, units: Tensor, ndim: int) -> Tensor:
    """Return the units' channel parameters, shaped to broadcast with (unit, dose, sample, ...)."""
    if place.features > 1:
        return parameter.view(-1, place.features)[units + place.first][:, None, None]
    return parameter[place.channel(units)].view(-1, *[1] * (ndim - 1))


def _pooled(
    node: fx.Node,
    source: fx.Node,
    place: Place,
    shape: tuple[int, ...],
    pool: Callable[[Tensor], Tensor],
    keeps_flat: bool,
) -> Step | None:
    if place.axis != 1 or len(place.shape) != 4:
        return None

    def run(one: Run) -> Tensor:
        touched = one.touched[source]
        if touched.flat and keeps_flat:
            return touched.value
        value = touched.spread()
        out = pool(value.flatten(0, 2)[:, None])[:, 0]
        return out.reshape(*value.shape[:3], *out.shape[1:])

    return Step(node, place.moved(shape), run)


def _keeps_flat(module: nn.Module) -> bool:
    """Whether pooling a constant map gives the constant; False if the average counts padding."""
    if isinstance(module, nn.AvgPool2d):
        return module.padding in (0, (0, 0)) and module.divisor_override is None
    return True


def _flattened(
    node: fx.Node, source: fx.Node, place: Place, shape: tuple[int, ...], start: int, end: int
) -> Step | None:
    if place.axis < 0:
        fits = start == 1 and end == len(place.shape) - 1
        return Step(node, place.moved(shape), _same(source)) if fits else None
    if place.axis != 1 or place.features > 1 or end != len(place.shape) - 1 or start not in (1, 2):
        return None
    extent = 1
    for size in place.shape[2:]:
        extent *= size
    moved = place.moved(shape, features=extent) if start == 1 else place.moved(shape)

    def run(one: Run) -> Tensor:
        touched = one.touched[source]
        value = touched.spread().flatten(3) if touched.value.ndim > 3 else touched.value
        return value[..., 0] if start == 1 and extent == 1 and value.ndim > 3 else value

    return Step(node, moved, run)


def _averaged(node: fx.Node, source: fx.Node, place: Place, shape: tuple[int, ...]) -> Step | None:
    dims = _argument(node, 1, "dim", None)
    keep = bool(_argument(node, 2, "keepdim", False))
    n = len(place.shape)
    if place.axis < 0 or place.features > 1 or dims is None or "dtype" in node.kwargs:
        return None
    which = {d % n for d in (dims if isinstance(dims, tuple | list) else [dims])}
    if which != set(range(1, n)) - {place.axis}:
        return None

    def run(one: Run) -> Tensor:
        value = one.touched[source].value
        over = tuple(range(3, value.ndim))
        return value.mean(dim=over, keepdim=keep) if over else value

    return Step(node, place.moved(shape) if keep else place.moved(shape, axis=1), run)


def _same(source: fx.Node) -> Callable[[Run], Tensor]:
    return lambda run: run.touched[source].value


def _combined(
    node: fx.Node, reading: Reading, combine: Callable[[Any, Any], Tensor]
) -> Step | None:
    """Return the step that combines an intervened value with a number or another value."""
    sources = [a for a in node.args if isinstance(a, fx.Node)]
    places = [reading.places[a] for a in sources if a in reading.places]
    place = places[0]
    if any(p != place for p in places) or reading.shapes.get(node) != place.shape:
        return None
    others = [a for a in sources if a not in reading.places]
    for other in others:
        if not _fits(reading.shapes.get(other), place, other in reading.seen):
            return None
    if any(not isinstance(a, fx.Node | int | float) for a in node.args):
        return None

    def operand(one: Run, given: Any) -> Any:
        if not isinstance(given, fx.Node):
            return given
        if given in one.touched:
            return one.touched[given].value
        return _untouched(one.base[given], place, one.units)

    return Step(
        node, place, lambda run: combine(*(operand(run, a) for a in node.args)), tuple(others)
    )


def _fits(shape: tuple[int, ...] | None, place: Place, seen: bool) -> bool:
    """Whether a value without intervention can be read channel by channel."""
    if shape is None or (seen and len(shape) != len(place.shape)) or place.features > 1:
        return False
    if len(shape) > len(place.shape):
        return False
    full = (1,) * (len(place.shape) - len(shape)) + tuple(shape)
    if place.axis < 0:
        return full[1:] == place.shape[1:]
    if full[0] != 1 and not seen:
        return False
    return all(a in (1, b) for a, b in zip(full[1:], place.shape[1:], strict=True))


def _untouched(value: Tensor, place: Place, units: Tensor) -> Tensor:
    full = value.view(*[1] * (len(place.shape) - value.ndim), *value.shape)
    if place.axis >= 0 and full.shape[place.axis] == 1:
        return full.select(place.axis, 0)[None, None]
    return column(full, place, units)


def _concatenated(node: fx.Node, reading: Reading) -> Step | None:
    parts, dim = node.args[0], _argument(node, 1, "dim", 0)
    if not isinstance(parts, tuple | list):
        return None
    values = [part for part in parts if isinstance(part, fx.Node)]
    touched = [part for part in values if part in reading.places]
    if len(touched) != 1 or len(values) < len(parts):
        return None
    source = touched[0]
    place = reading.places[source]
    if place.axis < 0 or dim % len(place.shape) != place.axis or place.features > 1:
        return None
    before = values[: values.index(source)]
    first = place.first + sum(reading.shapes[part][place.axis] for part in before)
    return Step(node, place.moved(reading.shapes[node], first=first), _same(source))
