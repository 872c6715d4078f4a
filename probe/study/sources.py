"""Sources of the images of a study."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from probe.datasets import LAYOUTS
from probe.datasets.ingestion import AUTO
from probe.datasets.layouts import LayoutOptions
from probe.datasets.report import CutRule
from probe.datasets.splits import SPLIT_CHOICES
from probe.errors import did_you_mean
from probe.schema import DATASETS, SPLITS

__all__ = ["DatasetEntry", "LAB", "Part", "Positive", "Seed", "known"]

Positive = Annotated[int, Field(ge=1)]
#: Random generators need nonnegative seeds, and training multiplies them.
Seed = Annotated[int, Field(ge=0, lt=2**31)]


def known(value: str, allowed: Any) -> str:
    """Return a name if it is allowed; else raise `ValueError` with the nearest names."""
    names = list(allowed)
    if value not in names:
        raise ValueError(f"{value!r} is not known. {did_you_mean(value, names)}")
    return value


class Part(BaseModel):
    """A table of a study file: unknown keys are refused, and instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


LAB = "lab"


def _count(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError(
            "give the maximum number of images, or numbers by split; the folder to which the "
            "paths of a list are relative is image_root"
        )
    return value


Split = Annotated[str, AfterValidator(lambda v: known(v, SPLITS))]
#: Maximum number of images of each split, or of the named splits.
Cap = Annotated[Positive | dict[Split, Positive], BeforeValidator(_count)]


class DatasetEntry(Part):
    """One source of images, which may hold several datasets.

    Attributes
    ----------
    open : str or None
        ``lab``, ``lab:<name>``, or a folder written by `ingest`, optionally with ``:<part>``.
    layout, root : str or None
        Instead of `open`: a layout, and the folder of the dataset as its authors distribute it.
    part : str or None
        One dataset of a layout that holds several.
    name : str or None
        Name of the dataset in the study; only for a source of one dataset.
    images : int, mapping or None
        Maximum images of each dataset and split, drawn as whole videos. A mapping sets it by split;
        splits that it does not name use all images. Default: the limit in ``[budget]``.
    size, seed
        Side of lab images or crops in pixels; random seed of the lab or of splits.
    counts : mapping or None
        Images per lab dataset, by split.
    frames, every, margin, finder, align, crop, splits, compression, reals, image_root,
    fake_label, video_pattern, columns
        As in `probe.datasets.ingest`.
    """

    open: str | None = None
    layout: str | None = None
    root: str | None = None
    part: str | None = None
    name: str | None = None
    images: Cap | None = None
    size: Positive | None = None
    seed: Seed = 0
    counts: dict[str, Positive] | None = None
    frames: Positive | None = None
    every: Positive | None = None
    margin: float | None = None
    finder: str | None = None
    align: bool | None = None
    crop: bool | None = None
    splits: Annotated[str, AfterValidator(lambda v: known(v, SPLIT_CHOICES))] = "official"
    compression: str | None = None
    reals: str | None = None
    image_root: str | None = None
    fake_label: str | None = None
    video_pattern: str | None = None
    columns: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> DatasetEntry:
        if (self.open is None) == (self.layout is None):
            raise ValueError("give either open, or layout and root")
        if self.layout is not None:
            known(self.layout, [*LAYOUTS, AUTO])
            if self.root is None:
                raise ValueError(f"layout = {self.layout!r} needs root, the folder of the dataset")
            self._require_options(self.layout)
        elif self.is_lab and self.lab_part:
            known(self.lab_part, DATASETS)
        kind = "layout" if self.layout else "lab" if self.is_lab else "folder"
        foreign = sorted(self.model_fields_set - _TAKES[kind])
        if foreign:
            taken = ", ".join(sorted(_TAKES[kind]))
            raise ValueError(
                f"{', '.join(foreign)} does not belong to a {kind}, which takes {taken}"
            )
        return self

    def _require_options(self, layout: str) -> None:
        """Raise `ValueError` early for options that `ingest` would refuse."""
        if self.finder is not None:
            # Imported here, since it imports OpenCV.
            from probe.datasets.faces import FINDERS

            known(self.finder, FINDERS)
        given = self.ingest_options()
        names = [one.name for one in fields(CutRule) if one.name in given]
        CutRule(**{name: given[name] for name in names}).require_valid()
        own = [one.name for one in fields(LayoutOptions) if one.name in given]
        foreign = [] if layout == AUTO else sorted(set(own) - LAYOUTS[layout].takes)
        if foreign:
            takes = ", ".join(sorted(LAYOUTS[layout].takes)) or "none of these options"
            raise ValueError(f"{', '.join(foreign)} is not for {layout}, which takes {takes}")

    @property
    def is_lab(self) -> bool:
        """Whether the source is the lab, or a part of it."""
        return self.open is not None and (self.open == LAB or self.open.startswith(f"{LAB}:"))

    @property
    def lab_part(self) -> str:
        """Name of the part of the lab; empty for all."""
        return (self.open or "").partition(":")[2] if self.is_lab else ""

    def ingest_options(self) -> dict[str, Any]:
        """Return the options of `ingest` that were given."""
        values = {key: getattr(self, key) for key in _INGEST}
        # Default values are omitted, so that images can be used in place.
        usual = {"splits": SPLIT_CHOICES[0], "seed": 0}
        return {k: v for k, v in values.items() if v is not None and v != usual.get(k)}

    def cap(self, split: str, default: int | None = None) -> int | None:
        """Return the maximum number of images of a split, or None for all."""
        if self.images is None:
            return default
        return self.images.get(split) if isinstance(self.images, dict) else self.images

    def places(self) -> list[str]:
        """Return the folders and lists that hold the images of the source."""
        given = [self.root, self.image_root, self.reals]
        if self.open is not None and not self.is_lab:
            given += [self.open, self.open.rpartition(":")[0]]
        return [place for place in given if place]

    def known_names(self) -> list[str] | None:
        """Return the names of the datasets, or None if they are known only from files."""
        if self.name:
            return [self.name]
        if self.is_lab:
            return [self.lab_part] if self.lab_part else list(DATASETS)
        return [self.part] if self.part else None


_INGEST = (
    "size",
    "seed",
    "frames",
    "every",
    "margin",
    "finder",
    "align",
    "crop",
    "splits",
    "compression",
    "reals",
    "image_root",
    "fake_label",
    "video_pattern",
    "columns",
)

_TAKES = {
    "lab": {"open", "name", "images", "size", "seed", "counts"},
    "folder": {"open", "name", "images"},
    "layout": {"layout", "root", "part", "name", "images", *_INGEST},
}
