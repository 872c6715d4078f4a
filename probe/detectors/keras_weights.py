"""Reader of the original MesoNet weights: Keras HDF5 in NHWC, whose output is P(real)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probe.detectors.checkpoints import MESO_CHANNELS, Imported, implied_size
from probe.errors import CheckpointError

__all__ = ["read_keras"]

Floats = NDArray[np.float32]
Layers = dict[str, dict[str, Floats]]

_BRANCH_CONVS = (
    "branch1.0",
    "branch2.0",
    "branch2.2",
    "branch3.0",
    "branch3.2",
    "branch4.0",
    "branch4.2",
)
_HEAD = {"batch_normalization": ("bn1", "bn2", "bn3", "bn4"), "dense": ("fc1", "fc2")}

#: Module names for each kind of Keras layer, in the order in which the published code creates them.
_MODULES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "meso4": {"conv2d": ("conv1", "conv2", "conv3", "conv4"), **_HEAD},
    "mesoinception4": {
        "conv2d": (
            *(f"inception1.{conv}" for conv in _BRANCH_CONVS),
            *(f"inception2.{conv}" for conv in _BRANCH_CONVS),
            "conv3",
            "conv4",
        ),
        **_HEAD,
    },
}

_PARAMETERS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def read_keras(name: str, file: Path) -> Imported:
    """Read Keras HDF5 weights of MesoNet and convert them for this package's modules.

    Convolution kernels are transposed from (height, width, in, out) to (out, in, height, width).
    The rows of the first dense layer are reordered from (height, width, channel) to (channel,
    height, width). The last layer is negated, because the file's logit is that of P(real).
    BatchNorm's epsilon is Keras's 1e-3.

    Parameters
    ----------
    name : {"meso4", "mesoinception4"}
        Architecture.
    file : pathlib.Path
        File written by ``save_weights`` of Keras 1 or 2, or by ``save`` (its ``model_weights``).

    Returns
    -------
    Imported
        The converted state dict.

    Raises
    ------
    CheckpointError
        If the file is not such an HDF5 file or is of another architecture.

    Notes
    -----
    Keras numbers layers in the order of their creation, starting from any number. Layers are
    matched by that number, since ``layer_names`` lists parallel branches by depth. The published
    Meso4 files list no activation after the first dense layer; LeakyReLU(0.1) is used as in the
    published code.
    """
    if name not in _MODULES:
        raise CheckpointError(
            f"Keras weights {file.name!r} were given for {name}; they can be read for "
            f"{' and '.join(_MODULES)}. Give one of these names, or weights in another format."
        )
    layers = _match(name, _read_layers(file), file)
    state = dict(_converted(layers))
    features = state["fc1.weight"].shape[1] if "fc1.weight" in state else 0
    return Imported(
        state,
        implied_size(features),
        origin="keras",
        license="Apache-2.0",
        notes={"weights": file.name, "polarity": "the file gives P(real); its logit is negated"},
    )


def _read_layers(file: Path) -> Layers:
    try:
        with h5py.File(file, "r") as root:
            group = root.get("model_weights", root)
            names = [_text(one) for one in group.attrs["layer_names"]]
            return {one: _read_layer(group[one]) for one in names}
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{str(file)!r} cannot be read as Keras weights ({error}). Give an HDF5 file with "
            "`layer_names`, as written by `save_weights` of Keras 1 or 2."
        ) from error


def _read_layer(group: Any) -> dict[str, Floats]:
    weights = [_text(one) for one in group.attrs["weight_names"]]
    return {
        one.rsplit("/", 1)[-1].removesuffix(":0"): np.asarray(group[one], dtype=np.float32)
        for one in weights
    }


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _match(name: str, layers: Layers, file: Path) -> Layers:
    """Return the weights of the file's layers by module name."""
    wanted = _MODULES[name]
    found: dict[str, list[tuple[int, str]]] = {kind: [] for kind in wanted}
    foreign = []
    for layer in (one for one, weights in layers.items() if weights):
        kind, number = _kind_and_number(layer)
        if kind in found:
            found[kind].append((number, layer))
        else:
            foreign.append(layer)
    counts = {kind: (len(found[kind]), len(wanted[kind])) for kind in wanted}
    if foreign or any(has != needs for has, needs in counts.values()):
        raise CheckpointError(_mismatch(name, file, counts, foreign))
    return {
        module: layers[layer]
        for kind, modules in wanted.items()
        for module, (_, layer) in zip(modules, sorted(found[kind]), strict=True)
    }


def _kind_and_number(layer: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.+?)(?:_(\d+))?", layer)
    kind, number = match.groups() if match else (layer, None)
    return str(kind), int(number or 0)


def _mismatch(
    name: str, file: Path, counts: Mapping[str, tuple[int, int]], foreign: list[str]
) -> str:
    parts = [f"{has} of kind {kind}, {name} has {needs}" for kind, (has, needs) in counts.items()]
    extra = f"; not known: {', '.join(sorted(foreign)[:3])} ({len(foreign)})" if foreign else ""
    others = [
        one
        for one, kinds in _MODULES.items()
        if one != name and all(len(kinds[kind]) == has for kind, (has, _) in counts.items())
    ]
    hint = f" They fit {others[0]}: give that name." if others and not foreign else ""
    return (
        f"Checkpoint {file.name!r} does not fit {name}: its layers with weights are "
        f"{'; '.join(parts)}{extra}.{hint or ' Give the architecture that it was trained with.'}"
    )


def _converted(layers: Layers) -> list[tuple[str, Tensor]]:
    out = []
    for module, weights in layers.items():
        for parameter, value in weights.items():
            key = f"{module}.{_PARAMETERS.get(parameter, parameter)}"
            out.append((key, torch.from_numpy(_convert(module, parameter, value).copy())))
        if "moving_mean" in weights:
            out.append((f"{module}.num_batches_tracked", torch.tensor(0)))
    return out


def _convert(module: str, parameter: str, value: Floats) -> Floats:
    if module == "fc2":
        value = -value
    if parameter != "kernel":
        return value
    if value.ndim == 4:
        return value.transpose(3, 2, 0, 1)
    size = implied_size(len(value)) if module == "fc1" else None
    if size is None:
        return value.T
    side = size // 32
    grid = value.reshape(side, side, MESO_CHANNELS, -1)
    return grid.transpose(3, 2, 0, 1).reshape(value.shape[1], -1)
