"""What is to be explained: images as an array or a dataset, and what they are compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probe.attribution.baselines import BASELINES, PAIR, pair_positions
from probe.attribution.methods import METHODS, Method
from probe.compute import to_device
from probe.datasets import Dataset
from probe.datasets.loader import Images
from probe.detectors.detector import Detector
from probe.errors import ProbeError, UnknownNameError

__all__ = ["Given", "baselines_of", "comparing_with", "digest", "digest_of", "gather"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Given:
    """Images to explain: an array, or a dataset that is read as needed.

    Attributes
    ----------
    array : numpy.ndarray or None
        Shape (n, 3, h, w), in [0, 1].
    data : Dataset or None
        Where they come from, if they do.
    pairs : Dataset or None
        The real image of each, for the baseline "pair".
    size : int
        Side in pixels.
    """

    size: int
    array: Floats | None = None
    data: Dataset | None = None
    pairs: Dataset | None = None

    def __len__(self) -> int:
        return len(self.data) if self.data is not None else len(self._array)

    @property
    def _array(self) -> Floats:
        assert self.array is not None  # one of the two is given
        return self.array

    def batches(self, wheres: Sequence[slice], device: torch.device) -> Iterator[Tensor]:
        """Yield images on a device, shape (n, 3, h, w), slice by slice; decoded ahead."""
        if self.data is None:
            for where in wheres:
                yield torch.from_numpy(np.array(self._array[where])).to(device)
            return
        sizes = [where.stop - where.start for where in wheres]
        order = np.concatenate([np.arange(where.start, where.stop) for where in wheres])
        for _, pixels in Images(self.data, self.size).batches(self.data, sizes, order):
            yield to_device(pixels, device).contiguous()

    def read_pairs(self, where: slice) -> Floats:
        """Read the real images of fakes."""
        assert self.pairs is not None  # asked for with the baseline
        return self.pairs.array(range(where.start, where.stop), self.size)

    def coords(self) -> dict[str, Any]:
        """Return what is known of them, as coordinates of ``sample``."""
        if self.data is None:
            return {"sample": [str(i) for i in range(len(self))]}
        table = self.data.samples.table
        return {
            "sample": table["sample"].astype(str).to_numpy(),
            "dataset": ("sample", table["dataset"].astype(str).to_numpy()),
            "label": ("sample", table["label"].to_numpy()),
            "forgery": ("sample", table["method"].astype(str).to_numpy()),
            "video": ("sample", table["video"].astype(str).to_numpy()),
            "cluster": ("sample", np.array([str(c) for c in self.data.samples.clusters])),
        }


def gather(
    detector: Detector, images: Any, baseline: Any, pairs: Dataset | None
) -> tuple[Given, Floats | None]:
    """Check what is to be explained, and a baseline that was given as images."""
    if isinstance(images, Dataset):
        if not len(images):
            raise ProbeError(f"Dataset {images.name!r} holds no image to explain.")
        size, reals = detector.spec.input_size, None
        if isinstance(baseline, str) and baseline == PAIR:
            place = pairs or images
            reals = place.take(pair_positions(images, place))
        given = Given(size, data=images, pairs=reals)
    else:
        given = Given(*checked(images, "Images"))
        if isinstance(baseline, str) and baseline == PAIR:
            raise ProbeError(
                "baseline='pair' was given with plain images, of which no pair is known. Give a "
                "dataset, or the real images themselves as the baseline."
            )
    if baseline is None or isinstance(baseline, str):
        return given, None
    _, other = checked(baseline, "Baselines")
    if other.shape[0] not in (1, len(given)) or other.shape[2:] != (given.size, given.size):
        raise ProbeError(
            f"Baselines of shape {other.shape} were given for {len(given)} images of side "
            f"{given.size}; give one for each, or one for all."
        )
    return given, np.broadcast_to(other, (len(given), *other.shape[1:]))


def checked(images: Any, what: str) -> tuple[int, Floats]:
    x = np.asarray(images, dtype=np.float32)
    if x.ndim != 4 or x.shape[1] != 3 or not len(x) or x.shape[2] != x.shape[3]:
        raise ProbeError(
            f"{what} of shape {tuple(x.shape)} were given; allowed is (n, 3, side, side), n > 0."
        )
    if not np.isfinite(x).all() or x.min() < 0 or x.max() > 1:
        raise ProbeError(
            f"{what} from {x.min():g} to {x.max():g} were given; allowed is 0 to 1. Divide 8-bit "
            "images by 255."
        )
    return x.shape[2], x


def comparing_with(method: Method, given: Floats | None, baseline: Any) -> Floats | str | None:
    """Return the baseline in use: images, a name, or None where the method has none."""
    if method.baseline is None:
        if baseline is not None:
            those = ", ".join(name for name in METHODS if METHODS[name].baseline)
            raise ProbeError(
                f"baseline={baseline if isinstance(baseline, str) else 'images'!r} was given for "
                f"{method.name}, which compares with nothing. Leave it out, or take one of {those}."
            )
        return None
    if given is not None:
        return given
    name = str(baseline or method.baseline)
    if name != PAIR and name not in BASELINES:
        raise UnknownNameError("baseline", name, [*BASELINES, PAIR], remedy=BASELINES.remedy)
    return name


def baselines_of(comparing: Floats | str | None, given: Given, where: slice, x: Tensor) -> Any:
    """Return the baselines of a batch, shaped as it; None where the method has none."""
    if comparing is None:
        return None
    if isinstance(comparing, str):
        if comparing == PAIR:
            return torch.from_numpy(given.read_pairs(where)).to(x)
        return BASELINES[comparing](x)
    return torch.from_numpy(np.array(comparing[where])).to(x)


def digest(given: Given) -> str:
    """Hash images that were given as an array; a dataset has a fingerprint."""
    return "" if given.data is not None else digest_of(given.array)


def digest_of(array: Any) -> str:
    """Hash an array; "" for none."""
    if array is None or isinstance(array, str):
        return ""
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).hexdigest()
