"""Rewriting of a detector's graph for captum: no in-place operations, no reuse, maps as NCHW."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from captum.attr._utils.custom_modules import Addition_Module
from torch import Tensor, fx, nn

from probe.hooks.tracing import TracedDetector, left_behind

__all__ = [
    "Attention",
    "FromMaps",
    "Grid",
    "Mean",
    "Rewritten",
    "ToMaps",
    "WindowsApart",
    "rewrite",
]


@dataclass(frozen=True)
class Grid:
    """Arrangement of a layer's value as maps.

    Attributes
    ----------
    kind : {"channels_first", "channels_last", "tokens"}
        (n, channel, y, x), (n, y, x, channel), or (n, token, channel).
    height, width : int
        Size of the maps.
    prefix : int
        Number of tokens before those of the image, such as the class token.
    """

    kind: str
    height: int
    width: int
    prefix: int = 0

    def to_maps(self, value: Tensor) -> Tensor:
        """Arrange a value as (n, channel, y, x)."""
        if self.kind == "channels_first":
            return value
        if self.kind == "channels_last":
            return value.permute(0, 3, 1, 2)
        tokens = value[:, self.prefix :].transpose(1, 2)
        return tokens.reshape(*tokens.shape[:2], self.height, self.width)

    def from_maps(self, maps: Tensor, value: Tensor) -> Tensor:
        """Invert `to_maps`; tokens before the image's are taken from `value`."""
        if self.kind == "channels_first":
            return maps
        if self.kind == "channels_last":
            return maps.permute(0, 2, 3, 1)
        return torch.cat([value[:, : self.prefix], maps.flatten(2).transpose(1, 2)], dim=1)


class ToMaps(nn.Module):
    """Module of `Grid.to_maps`."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, value: Tensor) -> Tensor:
        """Apply `Grid.to_maps`."""
        return self.grid.to_maps(value)


class FromMaps(nn.Module):
    """Module of `Grid.from_maps`."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, maps: Tensor, value: Tensor) -> Tensor:
        """Apply `Grid.from_maps`."""
        return self.grid.from_maps(maps, value)


class Attention(nn.Module):
    """Scaled dot product attention whose weights are the output of a module, ``weights``."""

    def __init__(self, scale: float | None = None) -> None:
        super().__init__()
        self.scale = scale
        self.weights = nn.Softmax(dim=-1)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Apply attention to shapes (n, head, token, width)."""
        scale = self.scale if self.scale is not None else query.shape[-1] ** -0.5
        weights: Tensor = self.weights(query @ key.transpose(-2, -1) * scale)
        return weights @ value


class WindowsApart(nn.Module):
    """Copy the overlapping windows of a max pooling side by side, so that they do not overlap.

    captum's DeepLIFT inverts pooling by `max_unpool2d`. If several windows share their largest
    value, it keeps one of them and loses the contribution of the others.

    Parameters
    ----------
    pool : torch.nn.MaxPool2d
        Pooling whose windows are copied.
    """

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = (
            one if isinstance(one, tuple) else (one, one)
            for one in (pool.kernel_size, pool.stride, pool.padding)
        )
        self.ceil = bool(pool.ceil_mode)

    def forward(self, x: Tensor) -> Tensor:
        """Copy windows, shape (n, c, rows · kernel, columns · kernel)."""
        (ky, kx), (sy, sx), (py, px) = self.kernel, self.stride, self.padding
        rows, more_y = self._windows(x.shape[2], 0)
        columns, more_x = self._windows(x.shape[3], 1)
        # Padding is never the largest value, and is equal in image and baseline.
        low = float(torch.finfo(x.dtype).min) / 4
        x = F.pad(x, (px, px + more_x, py, py + more_y), value=low)
        windows = x.unfold(2, ky, sy)[:, :, :rows].unfold(3, kx, sx)[:, :, :, :columns]
        apart = windows.permute(0, 1, 2, 4, 3, 5)
        return apart.reshape(*x.shape[:2], rows * ky, columns * kx)

    def _windows(self, side: int, axis: int) -> tuple[int, int]:
        """Return the number of windows along an axis, and the padding that the last one needs."""
        kernel, stride, pad = self.kernel[axis], self.stride[axis], self.padding[axis]
        reach = side + 2 * pad - kernel
        count = (-(-reach // stride) if self.ceil else reach // stride) + 1
        if self.ceil and (count - 1) * stride >= side + pad:
            count -= 1
        return count, max(0, (count - 1) * stride + kernel - side - 2 * pad)


class Mean(nn.Module):
    """Mean over axes, as a module that captum can hook."""

    def __init__(self, dims: Any, keepdim: bool) -> None:
        super().__init__()
        self.dims, self.keepdim = dims, keepdim

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean."""
        return x.mean(dim=self.dims, keepdim=self.keepdim)


#: Modules that captum hooks on their input.
HOOKED = (nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softmax, nn.MaxPool2d)
#: Modules without effect in evaluation mode.
IDLE = (nn.Identity, nn.Dropout, nn.Dropout2d)


@dataclass(frozen=True)
class Rewritten:
    """A rewritten detector, which shares only weights with the original.

    Attributes
    ----------
    module : torch.fx.GraphModule
        Maps images to one value per image, shape (n,).
    tap : torch.nn.Module or None
        Module whose output is the tapped layer as maps (n, channel, y, x).
    grid : Grid or None
        Arrangement of that layer's maps.
    """

    module: fx.GraphModule
    tap: nn.Module | None = None
    grid: Grid | None = None

    def modules_of(self, kinds: tuple[type[nn.Module], ...]) -> list[nn.Module]:
        """Return the modules of the given types."""
        return [module for module in self.module.modules() if isinstance(module, kinds)]

    def operations(self) -> list[tuple[str, fx.Node, nn.Module | None]]:
        """Return the operations: a readable name, the node, and its module if it has one."""
        out: list[tuple[str, fx.Node, nn.Module | None]] = []
        for node in self.module.graph.nodes:
            if node.op == "call_module":
                module = self.module.get_submodule(str(node.target))
                out.append((type(module).__name__, node, module))
            elif node.op in ("call_function", "call_method"):
                out.append((str(getattr(node.target, "__name__", node.target)), node, None))
        return out


class _Writer:
    """Copies nodes of a traced graph into a new one."""

    def __init__(self, traced: TracedDetector, explicit: bool, apart: bool) -> None:
        self.traced = traced
        self.explicit, self.apart = explicit, apart
        self.graph = fx.Graph()
        self.parts: dict[str, Any] = {}
        self.seen: dict[fx.Node, Any] = {}
        self.root = traced.detector.module
        self.frozen: dict[int, Tensor] = {}

    def copy(self, node: fx.Node) -> fx.Node:
        """Copy one node in a form without side effects."""
        if node.op == "placeholder":
            return self.graph.placeholder("images")
        if node.op == "get_attr":
            return self._read(str(node.target))
        if node.op == "call_module":
            return self._module_call(node)
        if node.target is left_behind:
            # An in-place operation leaves in its input what it returns.
            return self._mapped(node.args[1])  # type: ignore[no-any-return]
        if node.op == "call_method":
            return self._method(node)
        return self._function(node)

    def _module_call(self, node: fx.Node) -> fx.Node:
        module = self.root.get_submodule(str(node.target))
        if type(module) in IDLE:
            return self._mapped(node.args[0])  # type: ignore[no-any-return]
        if self.apart and type(module) is nn.MaxPool2d and _overlaps(module):
            return self._pool_apart(module, node)
        if type(module) is nn.Flatten:
            args = (self._mapped(node.args[0]), module.start_dim, module.end_dim)
            return self.graph.call_function(torch.flatten, args)
        return self._call(self._fresh(module), node.args, node.kwargs)

    def _pool_apart(self, module: nn.MaxPool2d, node: fx.Node) -> fx.Node:
        laid = self._call(WindowsApart(module), node.args[:1], {})
        return self.module(nn.MaxPool2d(module.kernel_size), laid)

    def module(self, module: nn.Module, *args: fx.Node) -> fx.Node:
        """Add a call of a module to the new graph; `args` are nodes of the new graph."""
        name = f"part_{len(self.parts)}"
        self.parts[name] = module
        return self.graph.call_module(name, args)

    def _call(self, module: nn.Module, args: Any, kwargs: Any) -> fx.Node:
        name = f"part_{len(self.parts)}"
        self.parts[name] = module
        given = self._mapped(args)
        if isinstance(module, HOOKED) and len(args[0].users) > 1:
            # captum's hook on the input of such a module replaces the gradient of that tensor,
            # which drops the contribution of other users. A clone has one user.
            given = (self.graph.call_method("clone", given[:1]), *given[1:])
        return self.graph.call_module(name, given, self._mapped(kwargs))

    def _mapped(self, value: Any) -> Any:
        return fx.node.map_arg(value, self.seen.__getitem__)

    def _fresh(self, module: nn.Module) -> nn.Module:
        """Copy a module that shares its weights; hooks on the copy do not affect the detector."""
        shared = [*module.parameters(), *module.buffers()]
        made = copy.deepcopy(module, {id(tensor): self._freeze(tensor) for tensor in shared})
        for one in made.modules():
            for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
                getattr(one, hooks).clear()
            if getattr(one, "inplace", False) is True:
                one.inplace = False  # type: ignore[assignment]
        return made

    def _read(self, path: str) -> fx.Node:
        name = "held_" + path.replace(".", "_")
        self.parts[name] = self._attribute(path)
        return self.graph.get_attr(name)

    def _attribute(self, path: str) -> Any:
        if path in self.traced.constants:
            return self.traced.constants[path]
        parent, _, name = path.rpartition(".")
        value = getattr(self.root.get_submodule(parent), name)
        return self._freeze(value) if isinstance(value, Tensor) else value

    def _freeze(self, tensor: Tensor) -> Tensor:
        """Return a tensor with the same storage that needs no gradient.

        Autograd then keeps no activations for weight gradients, which are not needed.
        """
        if id(tensor) not in self.frozen:
            bare = tensor.detach()
            is_weight = isinstance(tensor, nn.Parameter)
            self.frozen[id(tensor)] = nn.Parameter(bare, False) if is_weight else bare
        return self.frozen[id(tensor)]

    def _method(self, node: fx.Node) -> fx.Node:
        name = str(node.target)
        if name.endswith("_") and not name.endswith("__"):
            name = name[:-1]
        made = _METHODS.get(name)
        module = made(node) if made else None
        if module is not None:
            return self._call(module, node.args[:1], {})
        return self.graph.call_method(name, self._mapped(node.args), self._mapped(node.kwargs))

    def _function(self, node: fx.Node) -> fx.Node:
        target: Any = node.target
        name = str(getattr(target, "__name__", ""))
        if name.endswith("_") and name[:1] != "_":
            name = name[:-1]
            target = getattr(F, name, None) or getattr(torch, name)
        if name == "batch_norm":
            module = self._batchnorm(node)
        elif name == "scaled_dot_product_attention":
            return self._attention(node)
        else:
            made = _FUNCTIONS.get(name)
            module = made(node) if made else None
        if module is not None:
            count = 2 if isinstance(module, Addition_Module) else 1
            return self._call(module, node.args[:count], {})
        kwargs = {key: value for key, value in node.kwargs.items() if key != "inplace"}
        return self.graph.call_function(target, self._mapped(node.args), self._mapped(kwargs))

    def _attention(self, node: fx.Node) -> fx.Node:
        given = _bound(node, ("query", "key", "value", "attn_mask", "dropout_p", "is_causal"))
        if not self.explicit or given.get("attn_mask") is not None or given.get("is_causal"):
            args, kwargs = self._mapped(node.args), self._mapped(node.kwargs)
            return self.graph.call_function(node.target, args, kwargs)  # type: ignore[arg-type]
        scale = given.get("scale")
        own = Attention(scale if isinstance(scale, float) else None)
        return self._call(own, tuple(given[k] for k in ("query", "key", "value")), {})

    def _batchnorm(self, node: fx.Node) -> nn.Module | None:
        """Return a module for a functional batch norm with stored statistics."""
        given = _bound(
            node,
            (
                "input",
                "running_mean",
                "running_var",
                "weight",
                "bias",
                "training",
                "momentum",
                "eps",
            ),
        )
        tensors = [given.get(k) for k in ("running_mean", "running_var", "weight", "bias")]
        if given.get("training") or not all(
            isinstance(one, fx.Node) and one.op == "get_attr" for one in tensors
        ):
            return None
        mean, var, weight, bias = (self._attribute(str(one.target)) for one in tensors)  # type: ignore[union-attr]
        module = nn.BatchNorm2d(len(mean), eps=float(given.get("eps", 1e-5)))
        module.running_mean, module.running_var = mean, var
        module.weight, module.bias = weight, bias
        return module.eval()


def _overlaps(pool: nn.MaxPool2d) -> bool:
    kernel, stride, dilation = (
        one if isinstance(one, tuple) else (one, one)
        for one in (pool.kernel_size, pool.stride, pool.dilation)
    )
    plain = dilation == (1, 1) and not pool.return_indices
    return plain and any(k > s for k, s in zip(kernel, stride, strict=True))


def _bound(node: fx.Node, names: tuple[str, ...]) -> dict[str, Any]:
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def _relu(node: fx.Node) -> nn.Module:
    return nn.ReLU()


def _leaky(node: fx.Node) -> nn.Module:
    given = _bound(node, ("input", "negative_slope"))
    return nn.LeakyReLU(float(given.get("negative_slope", 0.01)))


def _softmax(node: fx.Node) -> nn.Module | None:
    given = _bound(node, ("input", "dim"))
    return nn.Softmax(dim=given["dim"]) if isinstance(given.get("dim"), int) else None


def _max_pool(node: fx.Node) -> nn.Module:
    given = _bound(node, ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode"))
    given.pop("input")
    return nn.MaxPool2d(**{k: v for k, v in given.items() if k != "return_indices"})


def _add(node: fx.Node) -> nn.Module | None:
    both = all(isinstance(one, fx.Node) and one.op != "get_attr" for one in node.args[:2])
    return Addition_Module() if both and len(node.args) == 2 else None


def _mean(node: fx.Node) -> nn.Module | None:
    given = _bound(node, ("input", "dim", "keepdim"))
    dims = given.get("dim")
    return Mean(dims, bool(given.get("keepdim", False))) if dims is not None else None


#: Modules for functions and methods that captum can hook only as modules, by name.
_FUNCTIONS: Mapping[str, Callable[[fx.Node], nn.Module | None]] = {
    "relu": _relu,
    "leaky_relu": _leaky,
    "sigmoid": lambda node: nn.Sigmoid(),
    "tanh": lambda node: nn.Tanh(),
    "softmax": _softmax,
    "max_pool2d": _max_pool,
    "add": _add,
    "mean": _mean,
}
_METHODS = {k: _FUNCTIONS[k] for k in ("relu", "sigmoid", "tanh", "softmax", "mean")}


def rewrite(
    traced: TracedDetector,
    result: fx.Node,
    *,
    tap: fx.Node | None = None,
    grid: Grid | None = None,
    head: nn.Module | None = None,
    start: fx.Node | None = None,
    explicit: bool = False,
    apart: bool = False,
) -> Rewritten:
    """Rewrite a detector, or the part that leads to one of its values, as a program for captum.

    Each call gets its own module, which shares only weights with the detector's: hooks, also those
    that captum leaves behind after an error, never reach the detector. In-place operations become
    ordinary ones; functional ReLU, max pooling, sums, means and batch norms become modules.

    Parameters
    ----------
    traced : TracedDetector
        Traced detector.
    result : torch.fx.Node
        Node of the value to explain.
    tap : torch.fx.Node, optional
        Node whose value passes through a module as maps.
    grid : Grid, optional
        Arrangement of the tapped value; needed with `tap`.
    head : torch.nn.Module, optional
        Module that reduces the result to shape (n,).
    start : torch.fx.Node, optional
        Node whose value replaces the images as input.
    explicit : bool, default False
        Whether to compute fused attention step by step, so that its weights can be read.
    apart : bool, default False
        Whether to separate overlapping windows of max pooling; see `WindowsApart`.

    Returns
    -------
    Rewritten
        The program, with its tap.
    """
    writer, needed = _Writer(traced, explicit, apart), _ancestors(result, start)
    tapped = nn.Identity() if tap is not None else None
    for node in traced.graph.nodes:
        if start is not None and node is start:
            writer.seen[node] = writer.graph.placeholder("given")
        elif node in needed:
            writer.seen[node] = writer.copy(node)
        if tap is not None and node is tap and grid is not None and tapped is not None:
            value = writer.seen[node]
            maps = writer.module(tapped, writer.module(ToMaps(grid), value))
            writer.seen[node] = writer.module(FromMaps(grid), maps, value)
        if node is result:
            break
    final = writer.seen[result]
    if head is not None:
        final = writer.module(head, final)
    writer.graph.output(final)
    return Rewritten(fx.GraphModule(writer.parts, writer.graph).eval(), tapped, grid)


def _ancestors(result: fx.Node, start: fx.Node | None) -> set[fx.Node]:
    found: set[fx.Node] = set()
    todo = [result]
    while todo:
        node = todo.pop()
        if node not in found and node is not start:
            found.add(node)
            todo += node.all_input_nodes
    return found
