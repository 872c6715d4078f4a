"""`Layout` readers: from a folder as its authors distribute it to a list of labelled videos."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from probe.registry import Registry

__all__ = ["LAYOUTS", "Inventory", "LayoutReader", "VideoEntry"]


@dataclass(frozen=True)
class VideoEntry:
    """One video of a dataset, labelled.

    Attributes
    ----------
    dataset, split, method, video, identity, source : str
        As in `Samples`.
    label : int
        0 real, 1 fake.
    driver : str
        Who drives the face, where the method is a reenactment; else empty.
    file : pathlib.Path
        The video.
    mask_file : pathlib.Path or None
        Video of its forgery masks, where there is one.
    """

    dataset: str
    video: str
    file: Path
    label: int
    method: str
    split: str
    identity: str
    source: str = ""
    driver: str = ""
    mask_file: Path | None = None

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
        In a fixed order.
    reals : mapping
        From each dataset of fakes to the dataset of the originals that belong to it.
    left_out : mapping
        From files that are not taken, relative to the root, to the reason.
    notes : tuple of str
        What a reader of the results should know, such as folders that are not there.
    label_convention, split_rule, licence : str
        For the dataset's card.
    """

    videos: tuple[VideoEntry, ...]
    reals: Mapping[str, str]
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    label_convention: str = ""
    split_rule: str = ""
    licence: str = "unknown"


#: From the root and a compression level to what is there; raises `DatasetError`.
LayoutReader = Callable[[Path, str], Inventory]

#: Readers by layout name.
LAYOUTS: Registry[LayoutReader] = Registry(
    "layout", "Another can be registered in `probe.datasets.LAYOUTS`."
)
