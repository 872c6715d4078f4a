"""Small networks that are awkward to trace, and the plain hooks that captures are held against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from probe.detectors import Detector
from probe.detectors.detector import DetectorSpec


def detector_of(module: nn.Module, size: int = 8, name: str = "toy") -> Detector:
    return Detector(module, DetectorSpec(name, size))


def hooked(detector: Detector, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Run once with a forward hook on every module; clone each output at once, number the calls."""
    taken: dict[str, Tensor] = {}
    calls: dict[str, int] = {}

    def hook_of(path: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            calls[path] = calls.get(path, 0) + 1
            name = path if calls[path] == 1 else f"{path}@{calls[path]}"
            taken[name] = output.clone()

        return hook

    handles = [
        module.register_forward_hook(hook_of(path))
        for path, module in detector.module.named_modules(remove_duplicate=True)
        if path
    ]
    try:
        with torch.inference_mode():
            logits = detector.module(images)
    finally:
        for handle in handles:
            handle.remove()
    return taken, logits


@contextmanager
def overwritten(detector: Detector, layer: str, units: Mapping[int, float]) -> Iterator[None]:
    """Set channels of a layer, on axis 1, by a plain forward hook."""

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        output = output.clone()
        for unit, value in units.items():
            output[:, unit] = value
        return output

    handle = detector.module.get_submodule(layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def flags(module: nn.Module) -> dict[str, Any]:
    """Everything about a module, beside its weights, that an instrument could leave changed."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    out: dict[str, Any] = {}
    for path, part in module.named_modules():
        out[path] = (
            id(part),
            type(part),
            part.training,
            sorted(vars(part)),
            [list(getattr(part, name)) for name in hooks],
            part.forward.__func__,
        )
    for path, weight in module.named_parameters():
        out[f"{path}:"] = (id(weight), weight.requires_grad, weight.grad, weight._version)
    for path, buffer in module.named_buffers():
        out[f"{path}:"] = (id(buffer), buffer._version)
    return out


class InPlace(nn.Module):
    """An in-place ReLU behind a tap, whose input is used again, and one module called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.mix = nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        start = self.conv(x)
        y = self.mix(self.relu(start))
        # `start` was changed by the ReLU: what is added here is max(start, 0).
        y = self.relu(y + start)
        return self.fc(y.mean((2, 3)))[:, 0]


class Gate(nn.Module):
    """Control flow on values: cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale(x) if x.mean() > 0 else -self.scale(x)


class Stage(nn.Module):
    """Holds a gate between modules that can be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Conv2d(3, 4, 3, padding=1)
        self.gate = Gate()
        self.after = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.gate(self.before(x)))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage()
        self.fc = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.stage(x).mean((2, 3)))[:, 0]


class GatedOutside(nn.Module):
    """Control flow in the outermost forward."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(x.mean((2, 3)))[:, 0]
        return out if out.sum() > 0 else -out


class Windows(nn.Module):
    """A layer whose first axis is no longer the sample."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 5)
        self.fc = nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        rows = self.inner(x.flatten(2).transpose(1, 2).reshape(-1, 3))
        return self.fc(rows.view(n, -1, 5).mean(1))[:, 0]


class Table(nn.Module):
    """A value behind the tap that depends on weights only, and has no sample axis."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.table = nn.Parameter(torch.randn(4, 2))
        self.fc = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.table.sum(1).tanh()
        return self.fc((self.conv(x) * scale.view(4, 1, 1)).relu().mean((2, 3)))[:, 0]


class Returned(nn.Module):
    """A block that returns what an in-place operation inside it has changed."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            self.relu(y)
            y.mul_(2.0)
            return y

    def __init__(self) -> None:
        super().__init__()
        self.block = self.Block()
        self.fc = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.block(x).mean((2, 3)))[:, 0]


class Constant(nn.Module):
    """Makes a tensor in its forward, which fx keeps as an attribute of the module it traces."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.fc = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x) * torch.arange(1.0, 5.0).view(4, 1, 1)
        return self.fc(y.relu().mean((2, 3)))[:, 0]


class Sized(nn.Module):
    """Asks the images how many they are, behind its maps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).relu().view(x.shape[0], 4, -1).mean(2))[:, 0]


class Batched(nn.Module):
    """Normalizes by the statistics of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(4, 1)
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(self.conv(x)).relu().mean((2, 3)))[:, 0]
