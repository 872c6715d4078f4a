"""The data of a study: sources opened, named and joined, and checked for what it needs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from probe.datasets import Dataset, Samples, open_dataset, parts_of
from probe.datasets.cache import cache_folder
from probe.datasets.dataset import concatenate, write_native
from probe.datasets.ingestion import IngestPlan, plan_ingest
from probe.datasets.lab import make
from probe.datasets.open import part_of, videos_of
from probe.datasets.subset import draw_videos, first_videos, undivided
from probe.errors import DatasetError, ProbeError, did_you_mean
from probe.images import copy_images, own_paths
from probe.neurons import MEASURES, one_class
from probe.progress import note, track
from probe.schema import DATASETS, FAKE, VARIANTS
from probe.stats import MIN_CLUSTERS
from probe.study.plan import Study
from probe.study.sources import DatasetEntry

__all__ = [
    "LayoutPlan",
    "LeftOut",
    "check_needs",
    "divisible",
    "dominating",
    "left_out",
    "open_data",
    "plan_layouts",
    "require_classes",
    "sources_of",
    "swept",
    "within_budget",
]

#: Folder in the run for the data made for it (lab images, reports); it moves with the run.
SOURCES = "data/sources"

#: Name of the concatenated dataset. Weights and stores keep it, so it must not be the title.
JOINED = "study"


def open_data(study: Study, folder: Path) -> Dataset:
    """Open all sources of a study as one dataset.

    Parameters
    ----------
    study : Study
        Study whose data are opened.
    folder : pathlib.Path
        Run folder. ``data`` holds the concatenated sample table, or the lab if it is the only
        source; ``data/sources`` holds data made for the run.

    Returns
    -------
    Dataset
        The datasets in the order of the study, each with its fakes and its real images.

    Raises
    ------
    ProbeError
        If two datasets have the same name, or one name was given to several datasets.
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
                    f"Two datasets of the study are named {part.name!r}. Give one of them "
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
    """Return the folders that a study's images are read from, besides its run folder."""
    named = [place for entry in study.datasets for place in entry.places()]
    files = [Path(place) for place in named]
    return [*(file.parent if file.is_file() else file for file in files), cache_folder() / "crops"]


@dataclass(frozen=True)
class LayoutPlan:
    """The selected videos of a source in a layout, known before anything is cropped.

    Attributes
    ----------
    entry : DatasetEntry
        The source.
    ingest : IngestPlan
        Its videos with their splits, and the crop rule.
    videos : pandas.DataFrame
        One row per selected video of each dataset: ``dataset`` (name in the study), ``part`` (name
        in the source), ``split``, ``label``, ``method``, ``video``, ``identity``, ``key`` (unique
        in the inventory) and ``images`` (number of planned images).
    """

    entry: DatasetEntry
    ingest: IngestPlan
    videos: pd.DataFrame


def plan_layouts(study: Study) -> dict[int, LayoutPlan]:
    """List the sources in layouts, split them, and draw the videos to use; nothing is cropped.

    The draw depends neither on existing crops nor on images without a face: a larger run uses the
    videos of a smaller one, and more. A video without a face is not replaced.

    Returns
    -------
    dict
        Position among the study's sources to its plan.

    Raises
    ------
    DatasetError
        If a source does not fit its layout.
    """
    out: dict[int, LayoutPlan] = {}
    for i, entry in enumerate(study.datasets):
        if entry.layout is not None and entry.root is not None:
            options = entry.ingest_options()
            if not study.detectors.names and "splits" not in entry.model_fields_set:
                # Nothing is trained, so all that has no official split is there to be tested.
                options["splits"] = "none"
            plan = plan_ingest(entry.layout, entry.root, **options)
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
        # Images used in place are listed whole; the draw is made later, on the sample table.
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
    """Raise `DatasetError` if training or evaluation would lack a class, before any cropping.

    The error lists everything that is missing. Only sources in layouts are checked; images of
    other sources exist already, and are checked later.
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
            f"The data do not allow this study: {'; '.join(wrong)}. Training needs both classes in "
            "train and val, and every dataset needs the measured split. Nothing was cropped. "
            "Change splits or seed of that dataset, or raise its images."
        )


def dominating(data: Dataset, split: str) -> str:
    """Return a warning if one dataset dominates statistics over the images of all datasets.

    Returns
    -------
    str
        A sentence if a dataset has at least twice the others' median number of images of a split;
        else empty.
    """
    counts = data.select(split=split).samples.table["dataset"].value_counts()
    largest, others = counts.index[0], counts.iloc[1:]
    if not len(others) or counts.iloc[0] < 2 * others.median():
        return ""
    return (
        f"{largest} has {counts.iloc[0]:,} of {counts.sum():,} {split} images, "
        f"{counts.iloc[0] / others.median():.1f} times the others' median: it dominates results "
        f"over all images, but not those by dataset. Set its images = {{ {split} = "
        f"{int(others.median())} }} to balance them."
    )


def _joined(parts: Sequence[Dataset], name: str) -> Dataset:
    """Concatenate datasets with different columns; every image gets a digest.

    Missing digests would enter the fingerprint as a constant, so a changed image would not be
    detected.
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
            f"The image {str(file)!r} cannot be read ({error.strerror}). Restore it, or recreate "
            "the dataset without it."
        ) from error


def _is_lab_alone(study: Study) -> bool:
    first = study.datasets[0]
    return len(study.datasets) == 1 and first.is_lab and not first.lab_part


def _parts(
    entry: DatasetEntry, plan: LayoutPlan | None, sources: Path, study: Study
) -> list[Dataset]:
    """Open one source and split it into its datasets, named as in the study."""
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
            f"{', '.join(_only_name(part) for part in parts)}. Choose one with part, or omit the "
            "name."
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
    """Crop the selected videos, and return a dataset for each part."""
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
    """Return the folder name of a source's reports or of a lab, unique to its options."""
    text = entry.model_dump_json(exclude={"name", "open", "images"})
    return f"{kind}-{hashlib.blake2b(text.encode(), digest_size=5).hexdigest()}"


def _only_name(part: Dataset) -> str:
    return str(part.samples.table["dataset"].iloc[0])


def _renamed(part: Dataset, name: str) -> Dataset:
    table = part.samples.table.assign(dataset=name)
    table["sample"] = f"{name}/" + table["sample"]
    return replace(part, name=name, samples=Samples(table))


def within_budget(data: Dataset, entry: DatasetEntry, study: Study) -> Dataset:
    """Draw whole videos up to the maximum number of images of each dataset and split.

    Videos are drawn with the study's first seed, alternating between classes, so that both remain.
    The last video may exceed the maximum by a few images.
    """
    table = data.samples.table
    kept = []
    for where in table.groupby(["dataset", "split"], sort=False).indices.values():
        rows = table.iloc[where]
        cap = entry.cap(rows["split"].iloc[0], study.budget.images)
        kept.append(where if cap is None else where[draw_videos(rows, cap, study.seeds[0])])
    drawn = np.sort(np.concatenate(kept))
    return data if len(drawn) == len(data) else data.take(drawn)


@dataclass(frozen=True)
class LeftOut:
    """A result that was left out, and the reason.

    Attributes
    ----------
    stage : str
        Name of the stage; empty for all.
    dataset, detector : str
        Names of dataset and detector; empty for all.
    why : str
        Reason, as a clause.
    """

    stage: str
    dataset: str
    detector: str
    why: str

    def __str__(self) -> str:
        return f"{', '.join(filter(None, (self.stage, self.dataset, self.detector)))}: {self.why}"


def check_needs(study: Study, data: Dataset) -> list[LeftOut]:
    """Check that datasets and splits have what training and evaluation need.

    Parameters
    ----------
    study : Study
        Study to check.
    data : Dataset
        All data of the study.

    Returns
    -------
    list of LeftOut
        Results that the data do not allow; all others can be measured.

    Raises
    ------
    DatasetError
        If nothing can be measured, or a detector cannot be trained. The error lists all reasons
        with dataset and split.
    """
    problems = list(_unmeasured(study, data))
    if study.detectors.names:
        problems += _untrained(study, data)
    if problems:
        raise DatasetError(
            f"The data do not allow this study: {'; '.join(problems)}. Nothing was trained. Give "
            'other splits (splits = "cut" or "seeded" of [[datasets]]), more images, or other '
            "datasets to train on (detectors.source, detectors.target)."
        )
    return left_out(study, data)


def left_out(study: Study, data: Dataset) -> list[LeftOut]:
    """Return the results that the measured split does not allow."""
    split = study.evaluation.split
    test = data.select(split=split)
    parts = test.by_dataset()
    out = [
        LeftOut("", name, "", f"split {split!r} holds no image: nothing is measured")
        for name in data.by_dataset()
        if name not in parts
    ]
    for part in parts.values():
        out += _of_one(study, part)
    return out + list(_of_all(study, test))


def swept(study: Study, test: Dataset) -> list[Dataset]:
    """Return the datasets whose units are measured; both classes if the measure uses labels."""
    plan, parts = study.neurons, list(test.by_dataset().values())
    if not MEASURES[plan.measure].labels:
        return parts
    alone = one_class(parts, plan.mode, plan.order, study.seeds[0])
    return [part for part in parts if part.name not in alone]


def divisible(study: Study, test: Dataset) -> list[Dataset]:
    """Return the datasets that can be split by identity into halves with both classes."""
    parts = test.by_dataset().values()
    return [part for part in parts if not undivided(part, study.seeds[0])]


def _missing(part: Dataset) -> str:
    """Return the class that a dataset lacks; empty if none."""
    if len(np.unique(part.labels)) == 2:
        return ""
    return "real image" if part.labels[0] == FAKE else "fake"


def _unmeasured(study: Study, data: Dataset) -> Iterator[str]:
    split = study.evaluation.split
    if not (data.samples.table["split"] == split).any():
        yield f"no dataset holds an image in split {split!r}, on which everything is measured"


def _untrained(study: Study, data: Dataset) -> Iterator[str]:
    """Yield what training lacks in the source dataset, and in the target datasets together."""
    plan, parts = study.detectors, data.by_dataset()
    asked = [plan.source or ""]
    groups = [[plan.source or ""]]
    if set(plan.variants) - {VARIANTS[0]}:
        groups.append(list(plan.target))
        asked += plan.target
    for name in dict.fromkeys(asked):
        if name not in parts:
            yield (
                f"{name!r}, a dataset to train on, is not in the study "
                f"({did_you_mean(name, parts)})"
            )
    for group in groups:
        table = data.samples.where(dataset=group).table
        names = " and ".join(map(repr, group))
        for split in ("train", "val") if set(group) <= set(parts) else ():
            labels = table["label"][table["split"] == split]
            if not len(labels):
                yield f"{names}, {split}: no image"
            elif labels.nunique() == 1:
                kind = "fake" if labels.iloc[0] == FAKE else "real"
                yield f"{names}, {split}: all {len(labels):,} images are {kind}"


def _of_one(study: Study, part: Dataset) -> Iterator[LeftOut]:
    """Yield the results that one dataset does not allow."""
    name, where, lacking = part.name, f"split {study.evaluation.split!r}", _missing(part)
    asked = {
        "separability": study.separability.run and bool(study.record.layers),
        "artifacts": study.artifacts.run,
        "attribution": study.attribution.run,
    }
    if lacking:
        without = {
            "evaluation": "no AUROC, AP or EER",
            "neurons": "no contributions and no test",
            "separability": "no probes of real against fake",
            "artifacts": "no comparison of real and fake",
        }
        if lacking == "fake":
            without["attribution"] = "no maps, which are computed on fakes"
        for stage, what in without.items():
            if asked.get(stage, True):
                yield LeftOut(stage, name, "", f"{where} holds no {lacking}: {what}")
    elif study.neurons.ablate and (why := undivided(part, study.seeds[0])):
        yield LeftOut("ablation", name, "", f"{where}: {why}")
    for kind, own in part.samples.table.groupby("label"):
        if own.groupby(["method", "video"]).ngroups == 1:
            those = "fakes" if kind == FAKE else "real images"
            yield LeftOut(
                "",
                name,
                "",
                f"all {those} of {where} are of one video: results may be specific to that video",
            )
    if (count := len(np.unique(part.samples.clusters))) < MIN_CLUSTERS:
        yield LeftOut(
            "",
            name,
            "",
            f"{where} has {count} clusters (identities, else videos): no interval and no test "
            f"below {MIN_CLUSTERS}",
        )


def _of_all(study: Study, test: Dataset) -> Iterator[LeftOut]:
    """Yield the results that the datasets together do not allow."""
    plan, both = study.neurons, [one for one in test.by_dataset().values() if not _missing(one)]
    for name, why in one_class(both, plan.mode, plan.order, study.seeds[0]).items():
        yield LeftOut("neurons", name, "", f"{why}: no contributions and no test")
    several = "universality needs at least two datasets"
    if len(found := swept(study, test)) < 2:
        yield LeftOut("neurons", "", "", f"{several}, and {_named(found)} can be measured")
    if plan.ablate and len(found := divisible(study, test)) < 2:
        yield LeftOut(
            "ablation",
            "",
            "",
            f"{several}, and the identities of {_named(found)} can be split into halves with "
            "both classes",
        )


def _named(those: Sequence[Dataset]) -> str:
    return f"only {those[0].name!r}" if those else "none"
