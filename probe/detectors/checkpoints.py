"""Import of checkpoints from other projects: the original MesoNet (Keras) and DeepfakeBench."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from probe.detectors.architectures import find_architecture
from probe.detectors.detector import Detector, DetectorSpec
from probe.errors import CheckpointError

__all__ = ["Imported", "implied_size", "import_checkpoint"]

KERAS_SUFFIXES = (".h5", ".hdf5", ".keras")

#: Total stride of MesoNet's four poolings, and the number of channels after them.
MESO_STRIDE, MESO_CHANNELS = 32, 16


@dataclass(frozen=True)
class Imported:
    """An imported checkpoint, converted to this package's parameter names.

    Attributes
    ----------
    state : mapping
        State dict for the module of this package, converted so that the logit is that of "fake".
    input_size : int or None
        Side of the images in pixels that the weights imply; None if they fit any size.
    origin : str
        "keras" or "deepfakebench".
    license : str
        License of the published weights in this format.
    options : mapping
        Options of the architecture that these weights need.
    notes : mapping
        File name of the weights, and conversions that were made.
    """

    state: Mapping[str, Tensor]
    input_size: int | None
    origin: str
    license: str
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


def import_checkpoint(name: str, file: Path, input_size: int | None) -> Detector:
    """Load weights saved by another project as a detector.

    Parameters
    ----------
    name : str
        Registered architecture: "meso4", "mesoinception4" or (DeepfakeBench only) "xception".
    file : pathlib.Path
        Keras HDF5 weights of the original MesoNet (``.h5``), or a DeepfakeBench state dict
        (``.pth``). Pickles are read with ``weights_only``, which allows tensors only.
    input_size : int or None
        Side of the images in pixels; None to use the size that the weights imply, or else the
        architecture's default.

    Returns
    -------
    Detector
        Detector whose logit is that of "fake", with the file's stem as its variant.

    Raises
    ------
    UnknownNameError
        If the architecture is not known.
    CheckpointError
        If the file cannot be read or does not fit the architecture or the input size.
    """
    from probe.detectors.loading import fit_state

    architecture = find_architecture(name)
    found = _read(name, Path(file))
    _require_finite(found.state, file)
    size = _agreed_size(name, file, input_size, found.input_size) or architecture.input_size
    architecture.check_input_size(size)
    with torch.random.fork_rng(devices=[]):
        module = architecture.build(input_size=size, **found.options)
    fit_state(module, found.state, name, Path(file))
    spec = DetectorSpec(
        name, size, found.origin, Path(file).stem, found.license, found.options, found.notes
    )
    return Detector(module, spec)


def implied_size(features: int) -> int | None:
    """Return the image side that gives MesoNet's first dense layer this many inputs, or None."""
    side = round((features / MESO_CHANNELS) ** 0.5)
    return side * MESO_STRIDE if side and side * side * MESO_CHANNELS == features else None


def _read(name: str, file: Path) -> Imported:
    if file.suffix.lower() in KERAS_SUFFIXES:
        from probe.detectors.keras_weights import read_keras

        return read_keras(name, file)
    from probe.detectors.deepfakebench import read_deepfakebench

    return read_deepfakebench(name, file)


def _agreed_size(name: str, file: Path, asked: int | None, implied: int | None) -> int | None:
    if asked is not None and implied is not None and asked != implied:
        raise CheckpointError(
            f"input_size={asked} was given for {file.name!r}, whose {name} weights fit "
            f"{implied}×{implied} images only. Leave input_size out; images of another size are "
            "resized."
        )
    return asked or implied


def _require_finite(state: Mapping[str, Tensor], file: Path) -> None:
    broken = sorted(key for key, value in state.items() if not torch.isfinite(value).all())
    if broken:
        raise CheckpointError(
            f"Checkpoint {file.name!r} holds values that are not finite, in "
            f"{', '.join(broken[:3])} ({len(broken)} tensors). Its training diverged, or the file "
            "is damaged; give another."
        )
