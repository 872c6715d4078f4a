"""Layouts: from a folder as its authors distribute it to a list of labeled videos."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from probe.errors import DatasetError
from probe.registry import Registry

__all__ = [
    "ARCHIVES",
    "IMAGES",
    "ImageFiles",
    "Inventory",
    "LAYOUTS",
    "Layout",
    "LayoutOptions",
    "Media",
    "TarImages",
    "VIDEOS",
    "VideoEntry",
    "VideoFile",
]

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


@dataclass(frozen=True)
class VideoEntry:
    """One video of a dataset, or one group of images that belong together, labeled.

    Attributes
    ----------
    dataset, method, video, identity, source : str
        As in `Samples`. ``video`` is unique over the dataset; it may hold any character.
    media : Media
        Where its frames come from.
    label : int
        0 real, 1 fake.
    split : str
        "train", "val" or "test"; empty where the layout has no official split for it.
    driver : str
        Who drives the face, where the method is a reenactment; else empty.
    original : str
        Key of the real video it was made from, where that is known; else empty.
    masks : Media or None
        Its forgery masks, frame by frame, where there are any.
    """

    dataset: str
    video: str
    media: Media
    label: int
    method: str
    split: str
    identity: str
    source: str = ""
    driver: str = ""
    original: str = ""
    masks: Media | None = None

    @property
    def key(self) -> str:
        """Name that is unique in the inventory: "deepfakes/000_003"."""
        return f"{self.dataset}/{self.video}"


@dataclass(frozen=True)
class Inventory:
    """What a reader found.

    Attributes
    ----------
    videos : tuple of VideoEntry
        In a fixed order, by sorted names and never by the order of the file system.
    reals : mapping
        From each dataset of fakes to the dataset of the originals that belong to it, where the
        originals stand apart because several datasets share them; else empty.
    left_out : mapping
        From files that are not taken, relative to the root, to the reason.
    notes : tuple of str
        Whole sentences that a reader of the results should know, such as folders that are not
        there.
    label_convention : str
        The source's convention and what became of it, for the dataset's card.
    split_rule, license : str
        For the dataset's card.
    crop : str
        For images that are face crops already: how they were cut, as far as is known. Empty for
        videos of whole scenes.
    without_val : bool
        Whether the official division has train but no val, so that one is taken out of train.
    """

    videos: tuple[VideoEntry, ...]
    reals: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    label_convention: str = ""
    split_rule: str = ""
    license: str = "unknown"
    crop: str = ""
    without_val: bool = False


@dataclass(frozen=True)
class LayoutOptions:
    """What a user may say about a folder beside where it is; None where nothing was said.

    Attributes
    ----------
    compression : str or None
        Which copies of the videos, where the layout has several ("c23").
    reals : pathlib.Path or None
        Where the real videos are, for layouts that come without ("FaceForensics++ root").
    image_root : pathlib.Path or None
        Folder that the paths of a list are relative to.
    fake_label : str or None
        The value that means fake in a table whose convention is not fake = 1.
    video_pattern : str or None
        Regular expression over an image's path, with a group ``video`` and perhaps ``identity``,
        ``source`` and ``frame``, for images whose layout does not say which belong together.
    """

    compression: str | None = None
    reals: Path | None = None
    image_root: Path | None = None
    fake_label: str | None = None
    video_pattern: str | None = None

    def given(self) -> dict[str, str]:
        """Return what was said, as text."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: str(value) for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Layout:
    """One way in which a dataset lies on disk.

    Attributes
    ----------
    name : str
        Its name in `LAYOUTS`.
    title : str
        What the dataset is called, with its paper.
    read : callable
        From the root and options to an `Inventory`; raises `DatasetError`.
    recognize : callable
        From a root to the sentence that says why it is this layout ("it holds
        original_sequences/youtube"), or None. Looks at names only, opens no image, and never
        raises for a path that exists.
    shape : str
        What the root has to hold, in a few words, for error messages.
    takes : frozenset of str
        Names of the `LayoutOptions` it understands.
    generic : bool
        Whether it claims a folder only where no other layout does.
    takes_file : bool
        Whether the root may be a file, a list of what there is, instead of a folder.
    may_lie : bool
        Whether it may hold images on disk, which are used where they lie. Of others it is known
        without listing them that they have to be ingested.
    """

    name: str
    title: str
    read: Callable[[Path, LayoutOptions], Inventory]
    recognize: Callable[[Path], str | None]
    shape: str
    takes: frozenset[str] = frozenset()
    generic: bool = False
    takes_file: bool = False
    may_lie: bool = False

    def inventory(self, root: Path, options: LayoutOptions | None = None) -> Inventory:
        """List what lies under a root.

        Raises
        ------
        DatasetError
            If the root is missing or of another form, an option is not understood by this
            layout, or nothing can be taken.
        """
        options = options or LayoutOptions()
        for name, value in options.given().items():
            if name not in self.takes:
                allowed = ", ".join(sorted(self.takes)) or "none of these options"
                raise DatasetError(
                    f"{name}={value!r} was given, but the layout {self.name} takes {allowed}. "
                    "Leave it out."
                )
        root = Path(root)
        if not root.is_dir() and not (self.takes_file and root.is_file()):
            state = "is no folder" if root.is_file() else "is missing"
            raise DatasetError(f"The folder {str(root)!r} {state}. Give one with {self.shape}.")
        found = self.read(root, options)
        if not found.videos:
            reasons = "; ".join(f"{name}: {why}" for name, why in list(found.left_out.items())[:3])
            raise DatasetError(
                f"{str(root)!r} holds nothing that can be taken"
                + (f" ({len(found.left_out)} left out: {reasons})." if reasons else ".")
                + f" Give a folder with {self.shape}."
            )
        return found


#: Layouts by name.
LAYOUTS: Registry[Layout] = Registry(
    "layout", "Another can be registered in `probe.datasets.LAYOUTS`; `auto` recognizes them."
)
