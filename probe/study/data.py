"""The data of a study: every source opened, named, and joined into one table."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from probe.datasets import Dataset, Samples, open_dataset, parts_of
from probe.datasets.dataset import concatenate, write_native
from probe.datasets.ingestion import plan_ingest
from probe.datasets.lab import make
from probe.datasets.opening import part_of
from probe.datasets.splits import SPLIT_CHOICES
from probe.datasets.subset import draw_videos
from probe.errors import DatasetError, ProbeError
from probe.progress import track
from probe.schema import DATASETS
from probe.study.plan import Study
from probe.study.sources import DatasetEntry

__all__ = ["open_data", "within_budget"]

#: Below the joined data, where the dashboard looks for their images and nowhere else.
SOURCES = "data/sources"

#: Name of the joined data. It is kept with weights and stores, so it must not be the title.
JOINED = "study"


def open_data(study: Study, folder: Path) -> Dataset:
    """Open all sources of a study as one dataset.

    Parameters
    ----------
    study : Study
        What it says of its data.
    folder : pathlib.Path
        Run folder. Its ``data`` holds the joined table, or the lab where that is all there is;
        ``data/sources`` what had to be made for it.

    Returns
    -------
    Dataset
        The datasets in the order of the study, each with its fakes and its originals.

    Raises
    ------
    ProbeError
        If two datasets have one name, or a name was given to several.
    DatasetError
        If a source cannot be opened.
    """
    if _is_lab_alone(study):
        entry = study.datasets[0]
        return within_budget(_lab(entry, folder / "data", study.compute.n_workers), entry, study)
    parts: dict[str, Dataset] = {}
    for entry in study.datasets:
        for part in _parts(entry, folder / SOURCES, study.compute.n_workers):
            if part.name in parts:
                raise ProbeError(
                    f"Two datasets of the study are called {part.name!r}. Give one of them "
                    "another name."
                )
            parts[part.name] = within_budget(part, entry, study)
    joined = _joined(list(parts.values()), JOINED)
    joined = replace(joined, root=folder / "data")
    write_native(joined)
    return joined


def _joined(parts: Sequence[Dataset], name: str) -> Dataset:
    """Join datasets whose tables have different columns; every image gets its digest.

    What is missing in a column would count as a value in fingerprints: a changed image whose
    digest is missing would not be noticed.
    """
    joined = concatenate(parts, name)
    table = joined.samples.table.copy()
    for column in table.columns:
        if pd.api.types.is_object_dtype(table[column]) or pd.api.types.is_string_dtype(
            table[column]
        ):
            table[column] = table[column].fillna("")
    known = table["digest"] if "digest" in table else pd.Series("", index=table.index)
    files = dict.fromkeys(table["path"][known == ""])
    found = {file: _digest(joined.root / file) for file in track(files, "read images")}
    table["digest"] = known.where(known != "", table["path"].map(found))
    return replace(joined, samples=Samples(table))


def _digest(file: Path) -> str:
    try:
        return hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    except OSError as error:
        raise DatasetError(
            f"The image {str(file)!r} cannot be read ({error.strerror}). Restore it, or make the "
            "dataset anew without it."
        ) from error


def _is_lab_alone(study: Study) -> bool:
    first = study.datasets[0]
    return len(study.datasets) == 1 and first.is_lab and not first.lab_part


def _parts(entry: DatasetEntry, sources: Path, n_workers: int | None) -> list[Dataset]:
    """Open one source and take it apart; named as the study names it."""
    if entry.is_lab:
        whole = _lab(entry, sources / _mark(entry, "lab"), n_workers)
        names = [entry.lab_part] if entry.lab_part else list(DATASETS)
        parts = [whole.by_dataset()[name] for name in names]
    elif entry.open is not None:
        parts = parts_of(open_dataset(entry.open))
    else:
        parts = _of_layout(entry, sources, n_workers)
    if entry.name is None:
        return [replace(part, name=_only_name(part)) for part in parts]
    if len(parts) > 1:
        raise ProbeError(
            f"The name {entry.name!r} was given to a source with {len(parts)} datasets: "
            f"{', '.join(_only_name(part) for part in parts)}. Choose one with part, or leave "
            "the name out."
        )
    return [_renamed(parts[0], entry.name)]


def _lab(entry: DatasetEntry, folder: Path, n_workers: int | None) -> Dataset:
    return make(
        folder, size=entry.size or 128, seed=entry.seed, counts=entry.counts,
        workers=n_workers,
    )  # fmt: skip


def _of_layout(entry: DatasetEntry, sources: Path, n_workers: int | None) -> list[Dataset]:
    assert entry.layout is not None and entry.root is not None
    options = entry.ingest_options()
    if entry.splits == SPLIT_CHOICES[0]:
        options.pop("splits")
    if not entry.seed:
        options.pop("seed")
    plan = plan_ingest(entry.layout, entry.root, **options)
    found, _ = plan.open(sources / _mark(entry, entry.layout), n_workers)
    return [part_of(found, entry.part)] if entry.part else parts_of(found)


def _mark(entry: DatasetEntry, kind: str) -> str:
    """Name the folder of a source: one for all parts of the same root and options."""
    text = entry.model_dump_json(exclude={"name", "part", "open", "images"})
    return f"{kind}-{hashlib.blake2b(text.encode(), digest_size=5).hexdigest()}"


def _only_name(part: Dataset) -> str:
    return str(part.samples.table["dataset"].iloc[0])


def _renamed(part: Dataset, name: str) -> Dataset:
    table = part.samples.table.assign(dataset=name)
    table["sample"] = f"{name}/" + table["sample"]
    return replace(part, name=name, samples=Samples(table))


def within_budget(data: Dataset, entry: DatasetEntry, study: Study) -> Dataset:
    """Draw whole videos until the images that a dataset and split may have are used.

    Videos are drawn by the study's first seed, classes in turn, so that both stay. The last video
    may go a few images beyond.
    """
    table = data.samples.table
    kept = []
    for where in table.groupby(["dataset", "split"], sort=False).indices.values():
        rows = table.iloc[where]
        cap = entry.cap(rows["split"].iloc[0], study.budget.images)
        kept.append(where if cap is None else where[draw_videos(rows, cap, study.seeds[0])])
    drawn = np.sort(np.concatenate(kept))
    return data if len(drawn) == len(data) else data.take(drawn)
