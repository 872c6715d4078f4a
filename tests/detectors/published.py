"""Checkpoints in the published forms, random, and their forward passes from the arrays alone."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Weights = dict[str, Floats]

MESO4_CONVS = [(3, 3, 8), (5, 8, 8), (5, 8, 16), (5, 16, 16)]
BRANCHES_1 = [(1, 3, 1), (1, 3, 4), (3, 4, 4), (1, 3, 4), (3, 4, 4), (1, 3, 2), (3, 2, 2)]
BRANCHES_2 = [(1, 11, 2), (1, 11, 4), (3, 4, 4), (1, 11, 4), (3, 4, 4), (1, 11, 2), (3, 2, 2)]
KERAS = {
    "meso4": (MESO4_CONVS, [8, 8, 16, 16], 5),
    "mesoinception4": ([*BRANCHES_1, *BRANCHES_2, (5, 12, 16), (5, 16, 16)], [11, 12, 16, 16], 1),
}


def keras_weights(name: str, seed: int) -> Weights:
    """Random arrays under the published names: numbering from 5 in Meso4, from 1 in the other."""
    rng = np.random.default_rng(seed)
    convs, norms, first = KERAS[name]
    out = {}
    for i, (kernel, inputs, outputs) in enumerate(convs, start=first):
        scale = 1.5 / np.sqrt(kernel * kernel * inputs)
        out[f"conv2d_{i}/kernel"] = rng.normal(0, scale, (kernel, kernel, inputs, outputs))
        out[f"conv2d_{i}/bias"] = rng.normal(0, 0.1, outputs)
    for i, channels in enumerate(norms, start=first):
        layer = f"batch_normalization_{i}"
        out[f"{layer}/gamma"] = rng.uniform(0.5, 1.5, channels)
        out[f"{layer}/beta"] = rng.normal(0, 0.3, channels)
        out[f"{layer}/moving_mean"] = rng.normal(0, 0.2, channels)
        out[f"{layer}/moving_variance"] = rng.uniform(0.05, 1.0, channels)
    for i, (inputs, outputs) in enumerate([(1024, 16), (16, 1)], start=3 if first == 5 else 1):
        out[f"dense_{i}/kernel"] = rng.normal(0, 1 / np.sqrt(inputs), (inputs, outputs))
        out[f"dense_{i}/bias"] = rng.normal(0, 0.1, outputs)
    return {key: value.astype(np.float32).astype(np.float64) for key, value in out.items()}


def write_keras(file: Path, weights: Weights, group: str | None = None) -> Path:
    """Write as Keras 2 does; layers are listed in reverse, for their order must not matter."""
    layers = [*dict.fromkeys(key.split("/")[0] for key in weights)][::-1]
    with h5py.File(file, "w") as whole:
        root = whole.create_group(group) if group else whole
        root.attrs["layer_names"] = np.array([b"input_2", *(one.encode() for one in layers)])
        root.create_group("input_2").attrs["weight_names"] = np.array([])
        for layer in layers:
            own = [key for key in weights if key.startswith(f"{layer}/")]
            place = root.create_group(layer)
            place.attrs["weight_names"] = np.array([f"{key}:0".encode() for key in own])
            for key in own:
                place[f"{key}:0"] = weights[key].astype(np.float32)
    return file


def conv(x: Floats, kernel: Floats, bias: Floats, dilation: int = 1) -> Floats:
    """Same-padded convolution of (H, W, in) by (k, k, in, out), tap by tap, then ReLU."""
    k = len(kernel)
    pad = dilation * (k // 2)
    wide = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    height, width = x.shape[:2]
    out = np.zeros((height, width, kernel.shape[-1])) + bias
    for i in range(k):
        for j in range(k):
            top, left = i * dilation, j * dilation
            out += wide[top : top + height, left : left + width] @ kernel[i, j]
    return np.maximum(out, 0)


def norm_pool(x: Floats, weights: Weights, layer: str, pool: int) -> Floats:
    gamma, beta, mean, variance = (
        weights[f"{layer}/{one}"] for one in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    x = gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta
    height, width, channels = x.shape
    return x.reshape(height // pool, pool, width // pool, pool, channels).max(axis=(1, 3))


def keras_real_logit(name: str, weights: Weights, image: Floats) -> float:
    """Logit of P(real) of one image, shape (H, W, 3), from the arrays in their own order."""
    convs, _, first = KERAS[name]
    numbers = iter(range(first, first + len(convs)))

    def one(x: Floats, dilation: int = 1) -> Floats:
        i = next(numbers)
        return conv(x, weights[f"conv2d_{i}/kernel"], weights[f"conv2d_{i}/bias"], dilation)

    def inception(x: Floats) -> Floats:
        return np.concatenate([one(x), *(one(one(x), d) for d in (1, 2, 3))], axis=-1)

    steps = [one, one, one, one] if name == "meso4" else [inception, inception, one, one]
    x = image
    for i, (step, pool) in enumerate(zip(steps, (2, 2, 2, 4), strict=True), start=first):
        x = norm_pool(step(x), weights, f"batch_normalization_{i}", pool)
    dense = 3 if first == 5 else 1
    x = x.reshape(-1) @ weights[f"dense_{dense}/kernel"] + weights[f"dense_{dense}/bias"]
    x = np.where(x > 0, x, 0.1 * x)
    x = x @ weights[f"dense_{dense + 1}/kernel"] + weights[f"dense_{dense + 1}/bias"]
    return float(x[0])


def meso_state(name: str, seed: int) -> dict[str, Tensor]:
    """A state dict with the names and shapes of DeepfakeBench's networks."""
    if name == "meso4":
        shapes = [(f"conv{i}", c) for i, c in enumerate(MESO4_CONVS, start=1)]
        norms = {"bn1": 8, "bn2": 16}
    else:
        parts = ("conv1", *(f"conv{b}_{i}" for b in (2, 3, 4) for i in (1, 2)))
        shapes = [(f"Incption1_{p}", c) for p, c in zip(parts, BRANCHES_1, strict=True)]
        shapes += [(f"Incption2_{p}", c) for p, c in zip(parts, BRANCHES_2, strict=True)]
        shapes += [("conv1", (5, 12, 16)), ("conv2", (5, 16, 16))]
        norms = {"Incption1_bn": 11, "Incption2_bn": 12, "bn1": 16}
    make = torch.Generator().manual_seed(seed)
    state = {
        f"{layer}.weight": conv_weight(make, outputs, inputs, kernel)
        for layer, (kernel, inputs, outputs) in shapes
    }
    for layer, channels in norms.items():
        state |= norm_state(make, layer, channels)
    state |= linear_state(make, "fc1", 16, 1024) | linear_state(make, "fc2", 2, 16)
    return {f"backbone.{key}": value for key, value in state.items()}


def conv_weight(make: torch.Generator, outputs: int, inputs: int, kernel: int) -> Tensor:
    scale = 1.0 / (inputs * kernel * kernel) ** 0.5
    return scale * torch.randn(outputs, inputs, kernel, kernel, generator=make)


def norm_state(make: torch.Generator, layer: str, channels: int) -> dict[str, Tensor]:
    return {
        f"{layer}.weight": 0.5 + torch.rand(channels, generator=make),
        f"{layer}.bias": 0.3 * torch.randn(channels, generator=make),
        f"{layer}.running_mean": 0.2 * torch.randn(channels, generator=make),
        f"{layer}.running_var": 0.5 + torch.rand(channels, generator=make),
        f"{layer}.num_batches_tracked": torch.tensor(7),
    }


def linear_state(make: torch.Generator, layer: str, outputs: int, inputs: int) -> dict[str, Tensor]:
    return {
        f"{layer}.weight": torch.randn(outputs, inputs, generator=make) / inputs**0.5,
        f"{layer}.bias": 0.1 * torch.randn(outputs, generator=make),
    }


def norm(s: dict[str, Tensor], layer: str, x: Tensor) -> Tensor:
    return F.batch_norm(
        x,
        s[f"{layer}.running_mean"],
        s[f"{layer}.running_var"],
        s[f"{layer}.weight"],
        s[f"{layer}.bias"],
        eps=1e-5,
    )


def meso_fake_logit(name: str, state: dict[str, Tensor], images: Tensor) -> Tensor:
    """The published forward pass, with functions: one batch norm for two convolutions."""
    s = {k.removeprefix("backbone."): v.double() for k, v in state.items()}
    x = (images.double() - 0.5) / 0.5

    def block(x: Tensor, layer: str, bn: str, padding: int, pool: int) -> Tensor:
        x = F.relu(F.conv2d(x, s[f"{layer}.weight"], padding=padding))
        return F.max_pool2d(norm(s, bn, x), pool)

    def inception(x: Tensor, i: int) -> Tensor:
        outs = [F.conv2d(x, s[f"Incption{i}_conv1.weight"])]
        for branch, dilation in ((2, 1), (3, 2), (4, 3)):
            y = F.conv2d(x, s[f"Incption{i}_conv{branch}_1.weight"])
            outs.append(
                F.conv2d(
                    y, s[f"Incption{i}_conv{branch}_2.weight"], padding=dilation, dilation=dilation
                )
            )
        return F.max_pool2d(norm(s, f"Incption{i}_bn", torch.cat(outs, dim=1)), 2)

    if name == "meso4":
        x = block(block(x, "conv1", "bn1", 1, 2), "conv2", "bn1", 2, 2)
        x = block(block(x, "conv3", "bn2", 2, 2), "conv4", "bn2", 2, 4)
    else:
        x = inception(inception(x, 1), 2)
        x = block(block(x, "conv1", "bn1", 2, 2), "conv2", "bn1", 2, 4)
    x = F.leaky_relu(F.linear(x.flatten(1), s["fc1.weight"], s["fc1.bias"]), 0.1)
    log_p = F.linear(x, s["fc2.weight"], s["fc2.bias"]).log_softmax(dim=1)
    return log_p[:, 1] - log_p[:, 0]


BLOCKS = [
    # name, inputs, outputs, separable convolutions, stride, starts with ReLU, grows first
    ("block1", 64, 128, 2, 2, False, True),
    ("block2", 128, 256, 2, 2, True, True),
    ("block3", 256, 728, 2, 2, True, True),
    *((f"block{i}", 728, 728, 3, 1, True, True) for i in range(4, 12)),
    ("block12", 728, 1024, 2, 2, True, False),
]


def block_layers(block: tuple[str, int, int, int, int, bool, bool]) -> list[tuple[int, int, int]]:
    """Index in ``rep``, inputs and outputs of each separable convolution of a block."""
    _, inputs, outputs, reps, _, relu, grows = block
    widths = [inputs, *([outputs] * reps)] if grows else [*([inputs] * reps), outputs]
    return [(3 * i + int(relu), widths[i], widths[i + 1]) for i in range(reps)]


def xception_state(seed: int, head: str = "last_linear") -> dict[str, Tensor]:
    make = torch.Generator().manual_seed(seed)
    state = {
        "conv1.weight": conv_weight(make, 32, 3, 3),
        "conv2.weight": conv_weight(make, 64, 32, 3),
    }
    state |= norm_state(make, "bn1", 32) | norm_state(make, "bn2", 64)

    def separable(layer: str, inputs: int, outputs: int) -> dict[str, Tensor]:
        return {
            f"{layer}.conv1.weight": conv_weight(make, inputs, 1, 3),
            f"{layer}.pointwise.weight": conv_weight(make, outputs, inputs, 1),
        }

    for block in BLOCKS:
        name, inputs, outputs, _, stride, _, _ = block
        for at, one, two in block_layers(block):
            state |= separable(f"{name}.rep.{at}", one, two)
            state |= norm_state(make, f"{name}.rep.{at + 1}", two)
        if stride > 1 or inputs != outputs:
            state[f"{name}.skip.weight"] = conv_weight(make, outputs, inputs, 1)
            state |= norm_state(make, f"{name}.skipbn", outputs)
    for i, (inputs, outputs) in ((3, (1024, 1536)), (4, (1536, 2048))):
        state |= separable(f"conv{i}", inputs, outputs) | norm_state(make, f"bn{i}", outputs)
    state |= linear_state(make, head, 2, 2048)
    state |= {"adjust_channel.0.weight": conv_weight(make, 512, 2048, 1)}
    state |= {"adjust_channel.0.bias": torch.zeros(512)}
    state |= norm_state(make, "adjust_channel.1", 512)
    return {f"backbone.{key}": value for key, value in state.items()}


def xception_fake_logit(state: dict[str, Tensor], head: str, images: Tensor) -> Tensor:
    s = {k.removeprefix("backbone."): v.double() for k, v in state.items()}

    def separable(x: Tensor, layer: str) -> Tensor:
        depthwise = s[f"{layer}.conv1.weight"]
        x = F.conv2d(x, depthwise, padding=1, groups=len(depthwise))
        return F.conv2d(x, s[f"{layer}.pointwise.weight"])

    x = (images.double() - 0.5) / 0.5
    x = F.relu(norm(s, "bn1", F.conv2d(x, s["conv1.weight"], stride=2)))
    x = F.relu(norm(s, "bn2", F.conv2d(x, s["conv2.weight"])))
    for block in BLOCKS:
        name, stride = block[0], block[4]
        y = x
        for at, _, _ in block_layers(block):
            y = y if at == 0 else F.relu(y)
            y = norm(s, f"{name}.rep.{at + 1}", separable(y, f"{name}.rep.{at}"))
        y = F.max_pool2d(y, 3, stride, 1) if stride > 1 else y
        skip = f"{name}.skip.weight"
        x = y + (norm(s, f"{name}.skipbn", F.conv2d(x, s[skip], stride=stride)) if skip in s else x)
    x = F.relu(norm(s, "bn3", separable(x, "conv3")))
    x = F.relu(norm(s, "bn4", separable(x, "conv4"))).mean(dim=(2, 3))
    log_p = F.linear(x, s[f"{head}.weight"], s[f"{head}.bias"]).log_softmax(dim=1)
    return log_p[:, 1] - log_p[:, 0]
