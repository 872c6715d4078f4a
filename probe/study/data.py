"""The data of a study: every source opened, named, and joined into one table."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from probe.datasets import Dataset, Samples, open_dataset, parts_of
from probe.datasets.cache import cache_folder
from probe.datasets.dataset import concatenate, write_native
from probe.datasets.ingestion import IngestPlan, plan_ingest
from probe.datasets.lab import make
from probe.datasets.opening import part_of, videos_of
from probe.datasets.subset import draw_videos, first_videos
from probe.errors import DatasetError, ProbeError
from probe.images import copy_images, own_paths
from probe.progress import note, track
from probe.schema import DATASETS
from probe.study.plan import Study
from probe.study.sources import DatasetEntry

__all__ = [
    "LayoutPlan",
    "dominating",
    "open_data",
    "plan_layouts",
    "require_classes",
    "sources_of",
    "within_budget",
]

#: Below the joined data, what had to be made for it: it is moved with the run.
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
    plans = plan_layouts(study)
    require_classes(study, plans)
    parts: dict[str, Dataset] = {}
    for i, entry in enumerate(study.datasets):
        for part in _parts(entry, plans.get(i), folder / SOURCES, study):
            if part.name in parts:
                raise ProbeError(
                    f"Two datasets of the study are called {part.name!r}. Give one of them "
                    "another name."
                )
            parts[part.name] = part
    joined = _joined(list(parts.values()), JOINED)
    joined = own_paths(replace(joined, root=folder / "data"))
    if study.images == "copy":
        joined = copy_images(joined, study.evaluation.split)
    write_native(joined)
    return joined


def sources_of(study: Study) -> list[Path]:
    """Return the folders that a study's images are opened from, beside its run folder."""
    named = [place for entry in study.datasets for place in entry.places()]
    files = [Path(place) for place in named]
    return [*(file.parent if file.is_file() else file for file in files), cache_folder() / "crops"]


@dataclass(frozen=True)
class LayoutPlan:
    """What is used of a source that is a layout, known before anything is cut.

    Attributes
    ----------
    entry : DatasetEntry
        The source.
    ingest : IngestPlan
        Its videos with their splits, and the crop rule.
    videos : pandas.DataFrame
        One row a video of each of its datasets that is used: ``dataset`` (as the study calls it),
        ``part`` (as the source does), ``split``, ``label``, ``method``, ``video``, ``identity``,
        ``key`` (unique in the inventory) and ``images``, how many are planned.
    """

    entry: DatasetEntry
    ingest: IngestPlan
    videos: pd.DataFrame


def plan_layouts(study: Study) -> dict[int, LayoutPlan]:
    """List the sources that are layouts, divide them, and draw what is used; nothing is cut.

    The draw knows neither what is cut already nor what images will lack a face: a larger run uses
    what a smaller one used, and more. A video without a face is not replaced.

    Returns
    -------
    dict
        By position among the study's sources.

    Raises
    ------
    DatasetError
        If a source is of another form.
    """
    out: dict[int, LayoutPlan] = {}
    for i, entry in enumerate(study.datasets):
        if entry.layout is not None and entry.root is not None:
            plan = plan_ingest(entry.layout, entry.root, **entry.ingest_options())
            out[i] = LayoutPlan(entry, plan, _drawn(plan, entry, study))
    return out


def _drawn(plan: IngestPlan, entry: DatasetEntry, study: Study) -> pd.DataFrame:
    rows = [
        {
            "dataset": entry.name or part,
            "part": part,
            "split": one.split,
            "label": one.label,
            "method": one.method,
            "video": one.video,
            "identity": one.identity,
            "key": one.key,
            "images": plan.images_of(one),
        }
        for part, videos in videos_of(plan.found, entry.part).items()
        for one in videos
    ]
    table = pd.DataFrame(rows)
    if plan.lies:
        # What lies is listed whole, and drawn image by image of the table, for nothing is cut.
        return table
    kept = []
    for where in table.groupby(["part", "split"], sort=False).indices.values():
        videos = table.iloc[where]
        cap = entry.cap(videos["split"].iloc[0], study.budget.images)
        counts = videos["images"].to_numpy(np.int64)
        kept.append(
            where if cap is None else where[first_videos(videos, counts, cap, study.seeds[0])]
        )
    return table.iloc[np.sort(np.concatenate(kept))].reset_index(drop=True)


def require_classes(study: Study, plans: Mapping[int, LayoutPlan]) -> None:
    """Raise `DatasetError` where training or measuring would lack a class, before any cut.

    All that is missing is said at once. Only sources that are layouts are looked at; of others
    the images are there, and looked at next.
    """
    detectors, wrong = study.detectors, []
    trained = {detectors.source, *detectors.target} if detectors.names else set()
    for plan in plans.values():
        for name, rows in plan.videos.groupby("dataset", sort=False):
            found = rows.groupby("split")["label"].agg(set).to_dict()
            for split in ("train", "val") if name in trained else ():
                lacks = [
                    what
                    for label, what in enumerate(("real", "fake"))
                    if label not in found.get(split, set())
                ]
                if lacks:
                    wrong.append(f"{name} has no {' and no '.join(lacks)} videos in {split}")
            if study.evaluation.split not in found:
                wrong.append(f"{name} has no videos in {study.evaluation.split}")
    if wrong:
        raise DatasetError(
            f"Before anything is cut: {'; '.join(wrong)}. Training needs both classes in train and "
            "in val, and every dataset the split that is measured. Choose another splits or seed "
            "of that dataset, or raise its images."
        )


def dominating(data: Dataset, split: str) -> str:
    """Say which dataset outweighs the others wherever images of all are taken together.

    Returns
    -------
    str
        A sentence if one has twice as many images of a split as the others' median, or more; else
        empty.
    """
    counts = data.select(split=split).samples.table["dataset"].value_counts()
    largest, others = counts.index[0], counts.iloc[1:]
    if not len(others) or counts.iloc[0] < 2 * others.median():
        return ""
    return (
        f"{largest} has {counts.iloc[0]:,} of {counts.sum():,} {split} images, "
        f"{counts.iloc[0] / others.median():.1f} times the others' median: figures of all images "
        f"together are mostly of it, those by dataset are not. Its images = {{ {split} = "
        f"{int(others.median())} }} would even that out."
    )


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


def _parts(
    entry: DatasetEntry, plan: LayoutPlan | None, sources: Path, study: Study
) -> list[Dataset]:
    """Open one source and take it apart; named as the study names it."""
    if plan is not None and not plan.ingest.lies:
        parts = _of_layout(plan, sources, study.compute.n_workers)
    elif plan is not None:
        whole, _ = plan.ingest.open(sources)
        parts = [part_of(whole, entry.part)] if entry.part else parts_of(whole)
    elif entry.is_lab:
        whole = _lab(entry, sources / _mark(entry, "lab"), study.compute.n_workers)
        names = [entry.lab_part] if entry.lab_part else list(DATASETS)
        parts = [whole.by_dataset()[name] for name in names]
    else:
        assert entry.open is not None
        parts = parts_of(open_dataset(entry.open))
    if plan is None or plan.ingest.lies:
        parts = [within_budget(part, entry, study) for part in parts]
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
        folder,
        size=entry.size or 128,
        seed=entry.seed,
        counts=entry.counts,
        n_workers=n_workers,
    )


def _of_layout(plan: LayoutPlan, sources: Path, n_workers: int | None) -> list[Dataset]:
    """Cut the videos that are used, and make a dataset of each part."""
    ingest, entry = plan.ingest, plan.entry
    place = sources / _mark(entry, ingest.layout.name)
    whole, report = ingest.only(set(plan.videos["key"])).open(place, n_workers)
    if report is not None and (said := report.gaps(ingest.root)):
        note(said)
    table = whole.samples.table
    keys = table["dataset"] + "/" + table["video"]
    out = []
    for part, rows in plan.videos.groupby("part", sort=False):
        mine = np.flatnonzero(keys.isin(set(rows["key"])).to_numpy())
        out.append(part_of(whole.take(mine), str(part)))
    return out


def _mark(entry: DatasetEntry, kind: str) -> str:
    """Name the folder of a source's reports, or of a lab: one for the same options."""
    text = entry.model_dump_json(exclude={"name", "open", "images"})
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
