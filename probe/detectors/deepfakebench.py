"""Reader of DeepfakeBench's state dicts of Meso4, MesoInception4 and Xception."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from probe.detectors.checkpoints import Imported, implied_size
from probe.errors import CheckpointError

__all__ = ["read_deepfakebench"]

State = dict[str, Tensor]

#: Mean and standard deviation of DeepfakeBench's normalization, in all its configuration files.
#: Lists, because specs are stored as JSON and must compare equal after reading.
_HALF = [0.5, 0.5, 0.5]
_MESO = {"outputs": 2, "conv_bias": False, "eps": 1e-5, "mean": _HALF, "std": _HALF}

#: Keys under which training loops store the state dict, and prefixes added by wrapper modules.
_CONTAINERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "backbone.")


def read_deepfakebench(name: str, file: Path) -> Imported:
    """Read a DeepfakeBench state dict and rename its parameters for this package's modules.

    DeepfakeBench's heads are two-way (real, fake), and inputs are normalized by mean and standard
    deviation 0.5. In its MesoNets, BatchNorm has PyTorch's epsilon 1e-5, convolutions have no bias,
    and one BatchNorm serves two convolutions, so it is copied to both. Its MesoInception4 has no
    ReLU inside the inception blocks. Xception's unused ``adjust_channel`` is dropped.

    Parameters
    ----------
    name : {"meso4", "mesoinception4", "xception"}
        Architecture.
    file : pathlib.Path
        File written by ``torch.save``: a state dict, or a mapping that contains one.

    Returns
    -------
    Imported
        The converted state dict and its options.

    Raises
    ------
    CheckpointError
        If the file cannot be read safely, holds no state dict, or `name` is not one of the three.
    """
    if name not in _RENAMED:
        raise CheckpointError(
            f"DeepfakeBench weights {file.name!r} were given for {name}; they can be read for "
            f"{', '.join(_RENAMED)}. Give one of these names, or weights in another format."
        )
    state = {_without_prefix(key): value for key, value in _load(file).items()}
    features = state["fc1.weight"] if name != "xception" and "fc1.weight" in state else None
    return Imported(
        _RENAMED[name](state),
        implied_size(features.shape[-1]) if features is not None and features.ndim else None,
        origin="deepfakebench",
        license="as its author states (DeepfakeBench's own: CC BY-NC 4.0)",
        options=_OPTIONS[name],
        notes={"weights": file.name, "polarity": "two-way head (real, fake): fake minus real"},
    )


def _load(file: Path) -> Mapping[str, Tensor]:
    try:
        found: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.PickleError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{str(file)!r} cannot be read as tensors only ({reason}). Pickles are read with "
            "weights_only, because other pickles can run code; save the state dict by itself."
        ) from error
    for key in _CONTAINERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not _is_state(found):
        raise CheckpointError(
            f"{str(file)!r} holds no state dict (a mapping from names to tensors). Save "
            "`model.state_dict()` and give that file."
        )
    return dict(found)


def _is_state(found: object) -> bool:
    return (
        isinstance(found, Mapping)
        and len(found) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items())
    )


def _without_prefix(key: str) -> str:
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return key


def _renamed(state: State, modules: Mapping[str, tuple[str, ...]]) -> State:
    """Rename modules, one to one or one to several; unlisted modules keep their names."""
    out: State = {}
    for key, value in state.items():
        module, _, parameter = key.rpartition(".")
        for target in modules.get(module, (module,)):
            out[f"{target}.{parameter}"] = value
    return out


def _meso4(state: State) -> State:
    return _renamed(state, {"bn1": ("bn1", "bn2"), "bn2": ("bn3", "bn4")})


def _mesoinception4(state: State) -> State:
    names: dict[str, tuple[str, ...]] = {
        "conv1": ("conv3",),
        "conv2": ("conv4",),
        "bn1": ("bn3", "bn4"),
    }
    for block in (1, 2):
        # "Incption" is the spelling in DeepfakeBench's code.
        theirs, ours = f"Incption{block}", f"inception{block}"
        names[f"{theirs}_bn"] = (f"bn{block}",)
        names[f"{theirs}_conv1"] = (f"{ours}.branch1.0",)
        for branch in (2, 3, 4):
            names[f"{theirs}_conv{branch}_1"] = (f"{ours}.branch{branch}.0",)
            names[f"{theirs}_conv{branch}_2"] = (f"{ours}.branch{branch}.2",)
    return _renamed(state, names)


def _xception(state: State) -> State:
    kept = {key: value for key, value in state.items() if not key.startswith("adjust_channel.")}
    # With dropout, DeepfakeBench's last layer is Sequential(Dropout, Linear).
    head = _renamed(kept, {"last_linear": ("fc",), "last_linear.1": ("fc",)})
    return {f"body.{key}": value for key, value in head.items()}


_RENAMED: Mapping[str, Callable[[State], State]] = {
    "meso4": _meso4,
    "mesoinception4": _mesoinception4,
    "xception": _xception,
}
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "meso4": _MESO,
    "mesoinception4": {**_MESO, "inception_relu": False},
    "xception": {"mean": _HALF, "std": _HALF},
}
