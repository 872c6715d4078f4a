"""`load_detector`: load a detector by name, from a trained folder, or with given weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from probe.compute import resolve_device
from probe.detectors.architectures import find_architecture
from probe.detectors.detector import Detector, DetectorSpec, weights_hash
from probe.errors import CheckpointError

__all__ = ["CARD_FILE", "WEIGHTS_FILE", "fit_state", "load_detector", "save_detector"]

WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "card.json"


def load_detector(
    name: str | Path,
    *,
    input_size: int | None = None,
    weights: str | Path | None = None,
    seed: int = 0,
    pretrained: bool = False,
    options: Mapping[str, Any] | None = None,
    device: str | torch.device = "cpu",
) -> Detector:
    """Load a detector.

    Parameters
    ----------
    name : str or path
        Registered architecture ("meso4"), ``timm:<model>``, or folder of a trained detector.
    input_size : int, optional
        Side of the input images in pixels; the architecture's default if omitted.
    weights : path, optional
        Checkpoint: ``.safetensors`` of this package, Keras ``.h5`` of MesoNet, or DeepfakeBench
        ``.pth``. Polarity is converted, so that the logit is that of "fake". If omitted, weights
        are random.
    seed : int, default 0
        Random seed of the initialization.
    pretrained : bool, default False
        Whether to load timm's pretrained weights; needs access to a model hub.
    options : mapping, optional
        Further options of the architecture, such as ``{"outputs": 2}`` for MesoNet.
    device : str or torch.device, default "cpu"
        Device for the weights and for everything that runs the detector; see
        `probe.compute.resolve_device`.

    Returns
    -------
    Detector
        The detector, in eval mode.

    Raises
    ------
    UnknownNameError
        If the name is neither registered nor a timm model.
    CheckpointError
        If the weights cannot be read or do not fit.
    ProbeError
        If the device is not available or the input size is not allowed.

    Examples
    --------
    >>> import probe
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> detector
    <Detector meso4: 64 × 64 pixels, 12,617 weights, initialized (seed 0)>
    >>> detector.logits(probe.open_dataset("crops").array([0, 1], 64)).shape
    (2,)
    """
    device = resolve_device(device)
    folder = Path(name)
    if folder.is_dir() or folder.name == CARD_FILE:
        return _load_folder(folder.parent if folder.name == CARD_FILE else folder, device)
    architecture = find_architecture(str(name))
    if weights is not None:
        loaded = _load_weights(str(name), Path(weights), input_size)
        named = replace(loaded.spec, variant=loaded.spec.variant or Path(weights).stem)
        detector = Detector(loaded.module, named)
    else:
        size = input_size or architecture.input_size
        architecture.check_input_size(size)
        arguments = dict(options or {}) | ({"pretrained": True} if pretrained else {})
        module = _build(str(name), size, arguments, seed)
        origin = (
            f"timm pretrained (head seed {seed})" if pretrained else f"initialized (seed {seed})"
        )
        kept = {key: value for key, value in arguments.items() if key != "pretrained"}
        detector = Detector(module, DetectorSpec(str(name), size, origin, options=kept))
    return _placed(detector, device)


def save_detector(detector: Detector, folder: Path, extra: Mapping[str, Any]) -> None:
    """Write a detector's weights and card to a folder.

    The card is written last, so that an interrupted write leaves no folder that looks complete.

    Parameters
    ----------
    detector : Detector
        Detector to save.
    folder : pathlib.Path
        Output folder; created if it is missing.
    extra : mapping
        Further entries of the card, such as metrics and data fingerprints.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k, v in detector.module.state_dict().items()}
    partial = folder / (WEIGHTS_FILE + ".part")
    save_file(state, partial)
    partial.replace(folder / WEIGHTS_FILE)
    card = {
        "spec": detector.spec.to_dict(),
        "weights_hash": weights_hash(detector.module),
        **extra,
    }
    partial = folder / (CARD_FILE + ".part")
    partial.write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(folder / CARD_FILE)


def _load_folder(folder: Path, device: torch.device) -> Detector:
    file = folder / CARD_FILE
    if not file.is_file():
        raise CheckpointError(
            f"{str(folder)!r} holds no {CARD_FILE}: it is not a trained detector, or its training "
            "was interrupted. Run `probe train` again; it resumes where it stopped."
        )
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
        spec = DetectorSpec(**card["spec"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"The card {str(file)!r} is damaged: {error}. Train again."
        ) from error
    options = {key: value for key, value in spec.options.items() if key != "pretrained"}
    module = _build(spec.name, spec.input_size, options, seed=0)
    _load_state(module, folder / WEIGHTS_FILE, spec.name)
    if weights_hash(module) != card.get("weights_hash"):
        raise CheckpointError(
            f"The weights in {str(folder)!r} are not those named in its card. Restore "
            f"{WEIGHTS_FILE}, or train again."
        )
    return _placed(Detector(module, spec), device)


def _placed(detector: Detector, device: torch.device) -> Detector:
    """Move a detector to a device, with its weights in channels-last memory format.

    Channels-last about doubles the speed of small convolutions on the CPU; values are the same.
    """
    detector.module.to(device)
    detector.module.to(memory_format=torch.channels_last)
    return detector


def _load_weights(name: str, file: Path, input_size: int | None) -> Detector:
    if not file.is_file():
        raise CheckpointError(f"Weights {str(file)!r} are missing. Give an existing file.")
    if file.suffix in {".h5", ".hdf5", ".keras", ".pth", ".pt", ".ckpt", ".bin"}:
        from probe.detectors.checkpoints import import_checkpoint

        return import_checkpoint(name, file, input_size)
    if file.suffix != ".safetensors":
        raise CheckpointError(
            f"Weights {file.name!r} have an unknown format. Allowed are .safetensors, .h5 (Keras "
            "MesoNet) and .pth (DeepfakeBench state dicts)."
        )
    architecture = find_architecture(name)
    size = input_size or architecture.input_size
    module = _build(name, size, {}, seed=0)
    _load_state(module, file, name)
    return Detector(
        module, DetectorSpec(name, size, f"safetensors: {file.name}", license="unknown")
    )


def _build(name: str, size: int, options: Mapping[str, Any], seed: int) -> nn.Module:
    architecture = find_architecture(name)
    architecture.check_input_size(size)
    with torch.random.fork_rng(devices=[]):
        # Always drawn on the CPU, so that the weights do not depend on the device.
        torch.default_generator.manual_seed(seed)
        return architecture.build(input_size=size, **options)


def _load_state(module: nn.Module, file: Path, name: str) -> None:
    try:
        state = load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"Weights {str(file)!r} cannot be read: {error}.") from error
    fit_state(module, state, name, file)


def fit_state(module: nn.Module, state: Mapping[str, torch.Tensor], name: str, file: Path) -> None:
    """Load a state dict strictly; raise `CheckpointError` listing the tensors that do not fit."""
    own = module.state_dict()
    missing = sorted(set(own) - set(state))
    foreign = sorted(set(state) - set(own))
    shapes = [
        f"{key} is {tuple(state[key].shape)}, {name} has {tuple(own[key].shape)}"
        for key in own
        if key in state and own[key].shape != state[key].shape
    ]
    problems = [
        f"{label} {', '.join(keys[:3])}{' …' if len(keys) > 3 else ''} ({len(keys)})"
        for label, keys in (
            ("missing", missing),
            ("not known", foreign),
            ("of another shape", shapes),
        )
        if keys
    ]
    if problems:
        raise CheckpointError(
            f"Checkpoint {file.name!r} does not fit {name}: {'; '.join(problems)}. Give the "
            "architecture and input_size that it was trained with."
        )
    module.load_state_dict(dict(state))
