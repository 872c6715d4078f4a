"""Where the frames of a video come from: a video file, image files, or images in an archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["ARCHIVES", "IMAGES", "VIDEOS", "ImageFiles", "Media", "TarImages", "VideoFile"]

#: Suffixes by which files are taken for what they are, in lower case.
IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
VIDEOS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm"})
ARCHIVES = (".tar.gz", ".tgz", ".tar")


@dataclass(frozen=True)
class VideoFile:
    """A video.

    Attributes
    ----------
    file : pathlib.Path
        Where it lies.
    """

    file: Path


@dataclass(frozen=True)
class ImageFiles:
    """Images, one a frame, used where they lie.

    Attributes
    ----------
    files : tuple of pathlib.Path
        In the order of display.
    frames : tuple of int
        Their indices in the video they come from, ascending and of the same length; empty where
        these are not known, and 0, 1, 2, … is meant.
    """

    files: tuple[Path, ...]
    frames: tuple[int, ...] = ()


@dataclass(frozen=True)
class TarImages:
    """Images inside a tar archive, plain or gzipped, read without unpacking it.

    Attributes
    ----------
    archive : pathlib.Path
        Where it lies.
    members : tuple of str
        Names in it, in the order of display.
    """

    archive: Path
    members: tuple[str, ...]


Media = VideoFile | ImageFiles | TarImages
