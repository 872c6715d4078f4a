"""Settings in which published figures differ: their factors, options, and what each changes."""

from __future__ import annotations

import copy
import io
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from probe.datasets.dataset import resize
from probe.detectors.detector import Normalize

__all__ = [
    "DECODER",
    "FACTORS",
    "NORMALIZATIONS",
    "ROWS",
    "Change",
    "Setting",
    "changed_module",
    "changed_pixels",
    "combine",
    "image_part",
    "named",
    "normalization_of",
    "own_normalization",
    "pairs_of",
    "plausibility",
    "rows_part",
]

Pixels = NDArray[np.uint8]

#: Factor to its weight in the order of candidates: how often public reports name it as the cause.
#: A judgement of ours, not a measurement; it only orders sets that hold the figure alike.
FACTORS: Mapping[str, float] = {
    "crop": 3.0,
    "normalization": 3.0,
    "level": 3.0,
    "polarity": 2.0,
    "channels": 2.0,
    "frames": 2.0,
    "split": 1.5,
    "size": 1.0,
    "interpolation": 1.0,
    "jpeg": 1.0,
    "weights": 1.0,
    "batchnorm": 0.5,
    "duplicates": 0.5,
    "decoder": 0.0,
}

#: Factors that change what the network receives or is; all others only change rows and scores.
IMAGE = frozenset(
    {
        "decoder",
        "crop",
        "jpeg",
        "size",
        "interpolation",
        "channels",
        "normalization",
        "batchnorm",
        "weights",
    }
)

#: Factors that change which images count.
ROWS = ("split", "frames", "duplicates")


@dataclass(frozen=True)
class Change:
    """One factor set to another option than the given one."""

    factor: str
    option: str

    def __str__(self) -> str:
        """Return the change as it is named in tables."""
        return f"{self.factor} {self.option}"


#: Changes to what was given, in the order of `FACTORS`; empty for what was given.
Setting = tuple[Change, ...]


def combine(changes: Iterable[Change]) -> Setting:
    """Return changes as a setting, in the order of `FACTORS`."""
    order = list(FACTORS)
    return tuple(sorted(changes, key=lambda one: order.index(one.factor)))


def named(setting: Setting) -> str:
    """Return the name of a setting: its changes, or "as given"."""
    return " + ".join(map(str, setting)) or "as given"


def pairs_of(changes: Iterable[Change]) -> list[Setting]:
    """Return all pairs of changes of different factors."""
    pairs = combinations(changes, 2)
    return [combine(pair) for pair in pairs if pair[0].factor != pair[1].factor]


def image_part(setting: Setting) -> Setting:
    """Return the changes that need new scores of the network."""
    return tuple(one for one in setting if one.factor in IMAGE)


def rows_part(setting: Setting) -> Setting:
    """Return the changes that do not need new scores: rows, polarity and level."""
    return tuple(one for one in setting if one.factor not in IMAGE)


def plausibility(setting: Setting) -> float:
    """Return the logarithm of the weights of a setting's factors; see `FACTORS`."""
    return float(sum(np.log(FACTORS[one.factor]) for one in setting))


# Pixels ------------------------------------------------------------------------------------------

#: Ways of resizing, beside the own one (bilinear with antialiasing, `probe.datasets.resize`).
INTERPOLATIONS: Mapping[str, Callable[[Pixels, int], Pixels]] = {
    "nearest": lambda x, n: _pillow(x, n, Image.Resampling.NEAREST),
    "bilinear without antialiasing": lambda x, n: _opencv(x, n, cv2.INTER_LINEAR),
    "bicubic": lambda x, n: _pillow(x, n, Image.Resampling.BICUBIC),
    "area": lambda x, n: _opencv(x, n, cv2.INTER_AREA),
}

#: What other decoders and versions of libraries change, for a scale: each value by one gray level
#: up or down at most. It is no option, but the noise that options are compared with.
DECODER = Change("decoder", "one gray level")

#: Qualities of a JPEG round trip of the crops.
QUALITIES = (95, 75, 50)

#: Sides in pixels that images are resized to; where the network allows no other input than its
#: own, images pass through this size.
SIZES = (32, 48, 64, 112, 128, 224, 256, 299)


def _pillow(x: Pixels, size: int, how: Image.Resampling) -> Pixels:
    return np.asarray(Image.fromarray(x).resize((size, size), how))


def _opencv(x: Pixels, size: int, how: int) -> Pixels:
    return np.asarray(cv2.resize(x, (size, size), interpolation=how), dtype=np.uint8)


def center(x: Pixels, share: float) -> Pixels:
    """Return the central part of an image, with this share of each side."""
    height, width = (max(1, round(share * side)) for side in x.shape[:2])
    top, left = (x.shape[0] - height) // 2, (x.shape[1] - width) // 2
    return np.ascontiguousarray(x[top : top + height, left : left + width])


def jpeg(x: Pixels, quality: int) -> Pixels:
    """Return an image after a JPEG round trip by Pillow (4:2:0)."""
    buffer = io.BytesIO()
    Image.fromarray(x).save(buffer, "JPEG", quality=quality)
    with Image.open(io.BytesIO(buffer.getvalue())) as again:
        return np.asarray(again.convert("RGB"))


def one_level(x: Pixels) -> Pixels:
    """Return an image whose values differ by −1, 0 or 1, drawn by its content."""
    rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(x).tobytes()))
    moved = x.astype(np.int16) + rng.integers(-1, 2, x.shape, dtype=np.int16)
    return np.asarray(moved.clip(0, 255), dtype=np.uint8)


def changed_pixels(
    x: Pixels, changes: Mapping[str, str], size: int, *, share: float = 1.0, flexible: bool = False
) -> Pixels:
    """Return an image as a network receives it under some changes.

    Parameters
    ----------
    x : numpy.ndarray
        Image of shape (height, width, 3), RGB, 0 to 255.
    changes : mapping
        Options by factor: ``decoder``, ``jpeg`` (quality), ``size``, ``interpolation``; others are
        ignored.
    size : int
        Input size of the network in pixels.
    share : float, default 1
        Share of each side that is kept around the center.
    flexible : bool, default False
        Whether the network takes images of the changed size; else they are resized back.

    Returns
    -------
    numpy.ndarray
        Shape (side, side, 3), 0 to 255.
    """
    to = INTERPOLATIONS.get(changes.get("interpolation", ""), resize)
    if "decoder" in changes:
        x = one_level(x)
    if share < 1:
        x = center(x, share)
    if "jpeg" in changes:
        x = jpeg(x, int(changes["jpeg"]))
    if "size" in changes:
        side = int(changes["size"])
        x = _to(x, side, to)
        if flexible:
            return x
    return _to(x, size, to)


def _to(x: Pixels, size: int, how: Callable[[Pixels, int], Pixels]) -> Pixels:
    return x if x.shape[:2] == (size, size) else how(x, size)


# Input and network -------------------------------------------------------------------------------

Statistics = tuple[tuple[float, ...], tuple[float, ...]]

#: Normalizations by name: mean and standard deviation per channel, of images in [0, 1].
NORMALIZATIONS: Mapping[str, Statistics] = {
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "0.5": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CLIP": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}


def own_normalization(module: nn.Module) -> Statistics | None:
    """Return mean and standard deviation of a network's `Normalize`; None if it has none."""
    for part in module.modules():
        if isinstance(part, Normalize):
            mean, std = (value.flatten().tolist() for value in (part.mean, part.std))
            return tuple(mean), tuple(std)
    return None


def normalization_of(statistics: Statistics | None) -> str:
    """Return the name of a normalization in `NORMALIZATIONS`; empty if it has none."""
    for name, known in NORMALIZATIONS.items():
        if statistics is not None and np.allclose(statistics, known, atol=1e-4):
            return name
    return ""


def changed_input(x: Tensor, changes: Mapping[str, str], own: Statistics | None) -> Tensor:
    """Return images, shape (N, 3, H, W) in [0, 1], such that the network sees them changed.

    The network's own normalization is undone by the inverse of what it will do.
    """
    if "channels" in changes:
        x = x.flip(1)
    if "normalization" not in changes:
        return x
    shape = (1, -1, 1, 1)
    mean, std = (torch.tensor(v).view(shape) for v in NORMALIZATIONS[changes["normalization"]])
    first, spread = (torch.tensor(v).view(shape) for v in own or NORMALIZATIONS["none"])
    return (x - mean) / std * spread + first


#: Which weights were not loaded, and so have their initial values.
WEIGHTS = ("of the head not loaded", "of the body not loaded", "BatchNorm statistics not loaded")

_BatchNorm = nn.modules.batchnorm._BatchNorm


def changed_module(module: nn.Module, changes: Mapping[str, str], seed: int = 0) -> nn.Module:
    """Return a network with changed weights or BatchNorm state; the given one stays as it is.

    Parameters
    ----------
    module : torch.nn.Module
        Network.
    changes : mapping
        Options by factor: ``weights``, ``batchnorm``; others are ignored.
    seed : int, default 0
        Seed of weights that are initialized.
    """
    if not {"weights", "batchnorm"} & set(changes):
        return module
    changed = copy.deepcopy(module)
    if "weights" in changes:
        _initialize(changed, changes["weights"], seed)
    if "batchnorm" in changes:
        for part in _batchnorms(changed):
            # Momentum 0: batch statistics are used, the running ones stay as they are.
            part.train()
            part.momentum = 0.0
    return changed


def _batchnorms(module: nn.Module) -> list[Any]:
    return [one for one in module.modules() if isinstance(one, _BatchNorm)]


def _layers(module: nn.Module) -> list[Any]:
    kinds = nn.Linear | nn.modules.conv._ConvNd
    return [one for one in module.modules() if isinstance(one, kinds)]


def _initialize(module: nn.Module, which: str, seed: int) -> None:
    if which == WEIGHTS[2]:
        for one in _batchnorms(module):
            one.reset_running_stats()
        return
    layers = _layers(module)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for one in layers[-1:] if which == WEIGHTS[0] else layers[:-1]:
            one.reset_parameters()


@dataclass(frozen=True)
class Options:
    """What can be varied on given material, and what cannot.

    Attributes
    ----------
    changes : tuple of Change
        All options that can be tried.
    not_tried : dict
        Factor to the reason why it, or a part of it, is not varied.
    shares : dict
        Option of ``crop`` to the share of each side that it keeps.
    """

    changes: tuple[Change, ...]
    not_tried: Mapping[str, str] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)


def network_options(module: nn.Module, size: int) -> tuple[list[Change], dict[str, str]]:
    """Return the options that a network allows, and reasons for those that it does not."""
    own = own_normalization(module)
    known = normalization_of(own) if own is not None else "none"
    found = [Change("normalization", one) for one in NORMALIZATIONS if one != known]
    found += [Change("channels", "BGR"), Change("polarity", "inverted")]
    why = {}
    if own is None:
        why["normalization"] = (
            "the detector has no Normalize of its own, so normalizations are applied before "
            "whatever it does itself"
        )
    weights = list(WEIGHTS if _layers(module)[1:] else WEIGHTS[:1])
    if _batchnorms(module):
        found.append(Change("batchnorm", "by batch statistics"))
    else:
        why["batchnorm"] = "the detector has no BatchNorm"
        weights = weights[:2]
    found += [Change("weights", one) for one in weights]
    found += [Change("size", str(side)) for side in _sizes(size)]
    found += [Change("interpolation", one) for one in INTERPOLATIONS]
    found += [Change("jpeg", str(quality)) for quality in QUALITIES]
    return found, why


def _sizes(size: int) -> list[int]:
    """Return the sizes to try: the nearest two below, and the nearest above."""
    below = [side for side in SIZES if side < size][-2:]
    return below + [side for side in SIZES if side > size][:1]


def takes(module: nn.Module, size: int, device: torch.device) -> bool:
    """Whether a network takes images of this size, in pixels."""
    try:
        with torch.inference_mode():
            module(torch.zeros(1, 3, size, size, device=device))
    except (RuntimeError, ValueError, AssertionError):
        return False
    return True
