"""`IngestReport`: what became of every video and every frame that was asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["REPORT_FILE", "IngestReport", "VideoReport"]

REPORT_FILE = "ingest-report.json"


@dataclass(frozen=True)
class VideoReport:
    """What became of one video.

    Attributes
    ----------
    dataset, video, split : str
        Which.
    asked, available, decoded, written : int
        Frames: asked for, in the video, decoded, written as crops.
    not_decoded : tuple of int
        Indices of frames that were chosen and did not decode.
    no_face : tuple of int
        Indices of decoded frames without a face; nothing is written for them.
    jumps : tuple of int
        Indices of frames whose face does not overlap that of the neighbouring frame.
    no_mask : tuple of int
        Indices of written frames whose mask is missing although the video has a mask video.
    error : str
        Why the video, or the rest of it, could not be read; empty if it could.
    mask_error : str
        The same of its mask video.
    """

    dataset: str
    video: str
    split: str
    asked: int
    available: int = 0
    decoded: int = 0
    written: int = 0
    not_decoded: tuple[int, ...] = ()
    no_face: tuple[int, ...] = ()
    jumps: tuple[int, ...] = ()
    no_mask: tuple[int, ...] = ()
    error: str = ""
    mask_error: str = ""

    @property
    def clean(self) -> bool:
        """Whether every frame asked for was written, with its mask where there should be one."""
        return self.written == self.asked and not (
            self.error or self.jumps or self.no_mask or self.mask_error
        )


@dataclass(frozen=True)
class IngestReport:
    """What an ingest read, wrote and left out.

    Attributes
    ----------
    out : pathlib.Path
        Root of the dataset.
    parameters : mapping
        What it was made with.
    videos : tuple of VideoReport
        All that were taken, in a fixed order.
    left_out : mapping
        Files that were not taken, and why.
    notes : tuple of str
        What else there is to know, such as folders that are not there.
    """

    out: Path
    parameters: Mapping[str, Any]
    videos: tuple[VideoReport, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def written(self) -> int:
        """Number of crops."""
        return sum(video.written for video in self.videos)

    @property
    def unreadable(self) -> tuple[VideoReport, ...]:
        """Videos that could not be read, or not to their end."""
        return tuple(video for video in self.videos if video.error)

    @property
    def frames_without_face(self) -> int:
        """Number of decoded frames without a face."""
        return sum(len(video.no_face) for video in self.videos)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; without ``out``, so that it does not depend on the place."""
        return {
            "parameters": dict(self.parameters),
            "written": self.written,
            "frames_without_face": self.frames_without_face,
            "unreadable": [f"{video.dataset}/{video.video}" for video in self.unreadable],
            "left_out": dict(self.left_out),
            "notes": list(self.notes),
            "videos": [asdict(video) for video in self.videos],
        }

    def save(self) -> Path:
        """Write ``ingest-report.json`` into the dataset's root, and return its path."""
        file = self.out / REPORT_FILE
        partial = file.with_name(file.name + ".part")
        partial.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        partial.replace(file)
        return file

    def summary(self) -> str:
        """Say in a few lines what was made and what was not."""
        lines = [
            f"{self.written} crops of {len(self.videos)} videos in {self.out}",
            f"{self.frames_without_face} frames without a face, "
            f"{len(self.unreadable)} videos not readable to their end, "
            f"{sum(len(video.jumps) for video in self.videos)} jumps of the followed face",
        ]
        lines += [f"{v.dataset}/{v.video}: {v.error}" for v in self.unreadable[:10]]
        if self.left_out:
            lines.append(
                f"{len(self.left_out)} files left out, such as {next(iter(self.left_out))}"
            )
        lines += list(self.notes)
        return "\n".join([*lines, f"Every frame: {self.out / REPORT_FILE}"])
