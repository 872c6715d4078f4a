"""Where the images of a study come from."""

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
#: Generators take no negative seeds, and training multiplies them.
Seed = Annotated[int, Field(ge=0, lt=2**31)]


def known(value: str, allowed: Any) -> str:
    """Return a name that is allowed; `ValueError` with the nearest ones for another."""
    names = list(allowed)
    if value not in names:
        raise ValueError(f"{value!r} is not known. {did_you_mean(value, names)}")
    return value


class Part(BaseModel):
    """A table of a study file: no unknown keys, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


LAB = "lab"


def _count(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError(
            "give the number of images that may be used, or numbers by split; the folder that "
            "the paths of a list start from is image_root"
        )
    return value


Split = Annotated[str, AfterValidator(lambda v: known(v, SPLITS))]
#: At most so many images of each split, or of those that are named.
Cap = Annotated[Positive | dict[Split, Positive], BeforeValidator(_count)]


class DatasetEntry(Part):
    """One source of images, which may hold several datasets.

    Attributes
    ----------
    open : str or None
        ``lab``, ``lab:<name>``, or a folder that `ingest` wrote, perhaps with ``:<part>``.
    layout, root : str or None
        Instead: a layout, and the dataset as its authors distribute it.
    part : str or None
        Of a layout with several datasets, one of them.
    name : str or None
        What the dataset is called here; only for one.
    images : int, mapping or None
        At most so many images of each of its datasets and splits, drawn as whole videos; by split
        where it is a mapping, and a split that is not named has all. By default `[budget]`'s.
    size, seed
        Side of the lab's images or of crops in pixels; seed of the lab or of splits.
    counts : mapping or None
        Of the lab: images a dataset, by split.
    frames, every, margin, finder, align, crop, splits, compression, reals, image_root,
    fake_label, video_pattern
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

    @model_validator(mode="after")
    def _one_source(self) -> DatasetEntry:
        if (self.open is None) == (self.layout is None):
            raise ValueError("give either open, or layout with root")
        if self.layout is not None:
            known(self.layout, [*LAYOUTS, AUTO])
            if self.root is None:
                raise ValueError(f"layout = {self.layout!r} needs root, the folder it lies in")
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
        """Raise `ValueError` for options that an ingest would refuse, perhaps hours later."""
        if self.finder is not None:
            # Imported where it is used: it brings OpenCV along.
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
        """Whether it is the embedded dataset, or a part of it."""
        return self.open is not None and (self.open == LAB or self.open.startswith(f"{LAB}:"))

    @property
    def lab_part(self) -> str:
        """Name of the part of the lab; empty for all."""
        return (self.open or "").partition(":")[2] if self.is_lab else ""

    def ingest_options(self) -> dict[str, Any]:
        """Return the options of `ingest` that were given."""
        values = {key: getattr(self, key) for key in _INGEST}
        # What is as it is anyway leaves images where they lie.
        usual = {"splits": SPLIT_CHOICES[0], "seed": 0}
        return {k: v for k, v in values.items() if v is not None and v != usual.get(k)}

    def cap(self, split: str, default: int | None = None) -> int | None:
        """Return how many images of a split may be used, or None for all."""
        if self.images is None:
            return default
        return self.images.get(split) if isinstance(self.images, dict) else self.images

    def places(self) -> list[str]:
        """Return the folders and lists that its images may lie in."""
        given = [self.root, self.image_root, self.reals]
        if self.open is not None and not self.is_lab:
            given += [self.open, self.open.rpartition(":")[0]]
        return [place for place in given if place]

    def known_names(self) -> list[str] | None:
        """Return the names of its datasets, or None where only the files tell."""
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
)

_TAKES = {
    "lab": {"open", "name", "images", "size", "seed", "counts"},
    "folder": {"open", "name", "images"},
    "layout": {"layout", "root", "part", "name", "images", *_INGEST},
}
