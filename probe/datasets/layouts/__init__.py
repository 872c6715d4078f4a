"""Layouts: readers of datasets as distributed by their authors, into lists of labeled videos."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePosixPath

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
    "ParquetImages",
    "TarImages",
    "VIDEOS",
    "VideoEntry",
    "VideoFile",
]

#: File suffixes of images, videos and archives, in lower case.
IMAGES = frozenset(
    """
    .png .apng .jpg .jpeg .jpe .jfif .jfi .jif .pjpeg .pjp .webp .bmp .dib .tif .tiff .gif .avif
    .avifs .jp2 .j2k .jpx .jpf .ppm .pgm .pbm .pnm .mpo
    """.split()
)
VIDEOS = frozenset(
    """
    .mp4 .m4v .mov .qt .avi .divx .mkv .webm .mpg .mpeg .mpe .m1v .m2v .mp2v .mpv .vob .wmv .asf
    .flv .f4v .3gp .3g2 .mts .m2ts .m2t .ts .mxf .ogv .ogm .dv .y4m .mjpeg .mjpg .h264 .264 .h265
    .hevc .265
    """.split()
)
ARCHIVES = (".tar.gz", ".tgz", ".tar")


@dataclass(frozen=True)
class VideoFile:
    """A video file.

    Attributes
    ----------
    file : pathlib.Path
        Path of the file.
    """

    file: Path


@dataclass(frozen=True)
class ImageFiles:
    """Image files, one per frame, used in place.

    Attributes
    ----------
    files : tuple of pathlib.Path
        Paths in display order.
    frames : tuple of int
        Their indices in the original video, ascending, one per file; empty if unknown, which
        stands for 0, 1, 2, …
    """

    files: tuple[Path, ...]
    frames: tuple[int, ...] = ()


@dataclass(frozen=True)
class TarImages:
    """Images inside a tar archive, plain or gzipped, read without unpacking it.

    Attributes
    ----------
    archive : pathlib.Path
        Path of the archive.
    members : tuple of str
        Names of its members, in display order.
    """

    archive: Path
    members: tuple[str, ...]


@dataclass(frozen=True)
class ParquetImages:
    """Encoded images in a column of a Parquet file, read without unpacking it.

    Attributes
    ----------
    file : pathlib.Path
        Path of the Parquet file.
    column : str
        Column of images: encoded files, or structs with their ``bytes``.
    rows : tuple of int
        Rows of the images in the file, ascending.
    group : int
        Row group of the first row: rows of one group are read together.
    """

    file: Path
    column: str
    rows: tuple[int, ...]
    group: int = 0


Media = VideoFile | ImageFiles | TarImages | ParquetImages


@dataclass(frozen=True)
class VideoEntry:
    """One labeled video of a dataset, or one group of images that belong together.

    Attributes
    ----------
    dataset, method, video, identity, source : str
        As in `Samples`. ``video`` is unique within the dataset; it may contain any character.
    media : Media
        Source of its frames.
    label : int
        0 for real, 1 for fake.
    split : str
        "train", "val" or "test"; empty if the layout has no official split for it.
    driver : str
        Identity that drives the face, for reenactments; else empty.
    original : str
        Key of the real video it was made from; empty if unknown.
    masks : Media or None
        Its forgery masks, one per frame; None if there are none.
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
    """The videos found in a source folder, with what is known about them.

    Attributes
    ----------
    videos : tuple of VideoEntry
        Videos in a fixed order by name, independent of the file system.
    reals : mapping
        Each forgery dataset to the dataset of its originals, if the originals are a dataset of
        their own because several forgery datasets share them; else empty.
    left_out : mapping
        Files that were left out, relative to the root, to the reason.
    notes : tuple of str
        Remarks to report with the results, in sentences, such as missing folders.
    label_convention : str
        Label convention of the source and its conversion, for the dataset's card.
    split_rule, license : str
        Origin of the splits and license of the data, for the dataset's card.
    crop : str
        For face crops: how they were cropped, as far as known. Empty for whole frames.
    without_val : bool
        Whether the official splits have train but no val, so that val is taken out of train.
    divided : tuple of str
        What `assign_splits` divided, with the classes of each part, in sentences.
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
    divided: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayoutOptions:
    """Options of layouts; None for an option that was not given.

    Attributes
    ----------
    compression : str or None
        Compression level of the videos, for layouts with several ("c23").
    reals : pathlib.Path or None
        Folder of the real videos, for layouts without them (the root of FaceForensics++).
    image_root : pathlib.Path or None
        Folder that the paths of a list are relative to.
    fake_label : str or None
        Label value of fakes, in a table whose convention is not fake = 1.
    video_pattern : str or None
        Regular expression over an image's path, with a group ``video`` and optionally
        ``identity``, ``source`` and ``frame``, for layouts that do not group images by video.
    columns : str or None
        Columns of a table of images, as "label=is_ai,generator=model_name".
    """

    compression: str | None = None
    reals: Path | None = None
    image_root: Path | None = None
    fake_label: str | None = None
    video_pattern: str | None = None
    columns: str | None = None

    def given(self) -> dict[str, str]:
        """Return the options that were given, as text."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: str(value) for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Layout:
    """The folder structure of a dataset, and its reader.

    Attributes
    ----------
    name : str
        Name in `LAYOUTS`.
    title : str
        Name of the dataset, with its paper.
    read : callable
        Function from the root and options to an `Inventory`; raises `DatasetError`.
    recognize : callable
        Function from a root to the reason why it has this layout ("it holds
        original_sequences/youtube"), or None. It uses names only, opens no image, and never
        raises for a path that exists.
    shape : str
        Required content of the root, in a few words, for error messages.
    takes : frozenset of str
        Names of the `LayoutOptions` that it accepts.
    generic : bool
        Whether it is recognized only if no other layout is.
    takes_file : bool
        Whether the root may be a list file instead of a folder.
    may_lie : bool
        Whether it may hold images, which are used in place. Other layouts always need an ingest.
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
        """Return the inventory of a source folder.

        Raises
        ------
        DatasetError
            If the root is missing or does not have this layout, an option does not apply to it,
            or no video can be used.
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
            state = "is not a folder" if root.is_file() else "is missing"
            raise DatasetError(f"The folder {str(root)!r} {state}. Give one with {self.shape}.")
        found = self.read(root, options)
        if not found.videos:
            reasons = "; ".join(f"{name}: {why}" for name, why in list(found.left_out.items())[:3])
            raise DatasetError(
                f"{str(root)!r} holds nothing that can be used"
                + (f" ({len(found.left_out)} left out: {reasons})." if reasons else ".")
                + f" Give a folder with {self.shape}."
            )
        return replace(found, notes=(*found.notes, *_lists_not_taken(found)))


#: Suffixes of lists, and words in the names of those that say splits, labels or groups.
_LISTS = frozenset({".csv", ".tsv", ".json", ".txt", ".parquet", ".lst", ".xlsx"})
_LIST_WORDS = frozenset(
    """
    train training val valid validation test testing split splits list lists index label labels
    metadata manifest samples
    """.split()
)


def _lists_not_taken(found: Inventory) -> tuple[str, ...]:
    """Name the lists among the files that were left out: they may hold splits or labels."""
    lists = []
    for name in found.left_out:
        path = PurePosixPath(name.split("::")[0])
        words = re.findall(r"[a-z]+", path.stem.lower())
        folder = name.endswith("/") and path.name.lower() in ("splits", "lists")
        if folder or (path.suffix.lower() in _LISTS and _LIST_WORDS & set(words)):
            lists.append(name)
    if not lists:
        return ()
    more = f" and {len(lists) - 5} more" if len(lists) > 5 else ""
    return (
        f"Lists that this layout does not read, and that were not taken: {', '.join(lists[:5])}"
        f"{more}. A table of paths and labels can be given itself, with the layout manifest.",
    )


#: Layouts by name.
LAYOUTS: Registry[Layout] = Registry(
    "layout", "Another can be registered in `probe.datasets.LAYOUTS`; `auto` recognizes them."
)
