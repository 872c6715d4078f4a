"""`open_dataset`: the lab by name, a layout by name and folder, what was ingested by its folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from probe.datasets.cache import cache_folder
from probe.datasets.dataset import Dataset, Samples, read_native
from probe.datasets.ingestion import AUTO, ingest, plan_ingest
from probe.datasets.layouts import LAYOUTS, Inventory, VideoEntry
from probe.errors import DatasetError, UnknownNameError
from probe.progress import note
from probe.schema import DATASETS, REAL, SPLITS

__all__ = ["open_dataset", "open_layout", "part_of", "parts_of", "videos_of"]

LAB = "lab"


def open_dataset(
    name_or_path: str | Path,
    *,
    split: str | None = None,
    root: str | Path | None = None,
    size: int | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    **ingest_options: Any,
) -> Dataset:
    """Open a dataset.

    Parameters
    ----------
    name_or_path : str or path
        ``"lab"`` for the six embedded datasets, ``"lab:faceswap"`` for one; a folder that
        `ingest` or the lab wrote for all in it; ``"FOLDER:deepfakes"`` for one dataset of fakes
        in it together with the originals that belong to it, see `part_of`; or a layout such as
        ``"celebdf-v2"``, or ``"auto"``, with `root`. A folder of the name ``lab`` is opened as
        ``"./lab"``.
    split : {"train", "val", "test"}, optional
        Keep one split.
    root : path, optional
        Of a layout: the dataset as its authors distribute it. Of the lab: where it is kept,
        instead of the user's cache.
    size, seed : int, optional
        Side of the images in pixels (lab 128, crops 256), and seed (0).
    out : path, optional
        Of a layout: a folder to ingest into, instead of the user's cache, where every video is
        cut once by a rule, whoever asks. Datasets of images that need no cropping are used where
        they lie, and nothing is written.
    **ingest_options
        Of a layout: any other option of `ingest`, such as ``frames`` or ``compression``.

    Returns
    -------
    Dataset
        Samples, images and card.

    Raises
    ------
    UnknownNameError
        If the name is neither the lab's nor that of a layout or folder, or the folder has no
        such part.
    DatasetError
        If the folder is no dataset, the split is not one of the three or has no samples, or an
        argument does not belong to what is opened.
    """
    text = str(name_or_path)
    if split is not None and split not in SPLITS:
        raise DatasetError(
            f"Split {split!r} was given; allowed are {', '.join(SPLITS)}, or none for all."
        )
    given = {"root": root, "size": size, "seed": seed, "out": out, **ingest_options}
    given = {key: value for key, value in given.items() if value is not None}
    if text == LAB or text.startswith(f"{LAB}:"):
        _require_only(given, text, "root", "size", "seed")
        return _open_lab(text, split, root, size, seed)
    if root is not None:
        dataset = open_layout(text, **given)
        return dataset.select(split=split) if split else dataset
    if text == AUTO or text in LAYOUTS:
        raise DatasetError(
            f"The layout {text!r} was given without a folder. Say where the dataset lies, as in "
            f"open_dataset({text!r}, root=...)."
        )
    _require_only(given, text)
    folder, part = _folder_and_part(text)
    dataset = read_native(folder)
    if part:
        dataset = replace(part_of(dataset, part), name=f"{dataset.name}:{part}")
    return dataset.select(split=split) if split else dataset


def _require_only(given: Mapping[str, Any], name: str, *allowed: str) -> None:
    foreign = [key for key in given if key not in allowed]
    if foreign:
        what = (
            f"allowed there are {', '.join(allowed)}"
            if allowed
            else ("that is for the lab and for layouts only")
        )
        raise DatasetError(
            f"{', '.join(foreign)} was given for {name!r}; {what}. Leave it out: images are "
            "resized to what a detector takes."
        )


def open_layout(
    layout: str,
    *,
    root: str | Path,
    out: str | Path | None = None,
    n_workers: int | None = None,
    strict: bool = False,
    **options: Any,
) -> Dataset:
    """Open a dataset as its authors distribute it.

    Parameters
    ----------
    layout : str
        A name in `LAYOUTS`, or "auto".
    root : path
        Where it lies.
    out : path, optional
        Folder to ingest into; by default crops are taken from the crop cache, and those that are
        missing are made there.
    workers, strict, **options
        As in `ingest`.

    Returns
    -------
    Dataset
        Images where they lie, if they are face crops on disk; else what `ingest` makes of them.
    """
    if out is not None:
        ingest(layout, root, out, n_workers=n_workers, strict=strict, **options)
        return read_native(Path(out))
    plan = plan_ingest(layout, root, **options)
    # Whoever is strict wants every image looked into.
    plan = replace(plan, lies=plan.lies and not strict)
    dataset, report = plan.open(_reports(plan.layout.name, Path(root), options), n_workers)
    said = report.gaps(root) if report is not None else ""
    if said and strict:
        raise DatasetError(f"strict was asked for. {said}")
    if said:
        note(said)
    return dataset


def _reports(layout: str, root: Path, options: Mapping[str, Any]) -> Path:
    """Name the folder of the report on one source, taken with these options."""
    text = repr((str(root.resolve()), sorted((k, str(v)) for k, v in options.items())))
    mark = hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=6).hexdigest()
    return cache_folder() / "ingest" / f"{layout}-{mark}"


def part_of(dataset: Dataset, name: str) -> Dataset:
    """Take one dataset out of several, with the originals that belong to it.

    FaceForensics++ has one set of originals for all its methods. The part "deepfakes" is the
    fakes of that method and those originals, all with ``dataset="deepfakes"``; the originals'
    sample ids get the prefix ``deepfakes/``, so that several parts can stand in one table.

    Parameters
    ----------
    dataset : Dataset
        What holds it; its card's ``reals`` says which originals belong to which fakes.
    name : str
        Value of the column ``dataset``.

    Returns
    -------
    Dataset
        Of that name.

    Raises
    ------
    UnknownNameError
        If there is none of this name.
    """
    table = dataset.samples.table
    known = list(dict.fromkeys(table["dataset"]))
    if name not in known:
        raise UnknownNameError("dataset", name, known, where=dataset.name)
    own = table[table["dataset"] == name]
    originals = dict(dataset.card.get("reals", {})).get(name)
    if originals is not None:
        reals = table[(table["dataset"] == originals) & (table["label"] == REAL)]
        reals = reals.assign(dataset=name, sample=f"{name}/" + reals["sample"])
        own = pd.concat([reals, own], ignore_index=True)
    return replace(dataset, name=name, samples=Samples(own))


def videos_of(found: Inventory, part: str | None = None) -> dict[str, list[VideoEntry]]:
    """Take an inventory apart as `parts_of` takes what is made of it, before anything is cut.

    Parameters
    ----------
    found : Inventory
        What a source holds.
    part : str, optional
        Only this one of its datasets.

    Returns
    -------
    dict
        From the name of a dataset to its videos, those of its originals first.

    Raises
    ------
    UnknownNameError
        If there is none of the name that was given.
    """
    own: dict[str, list[VideoEntry]] = {}
    for video in found.videos:
        own.setdefault(video.dataset, []).append(video)
    reals = {fake: real for fake, real in found.reals.items() if fake in own and real in own}
    if part is not None and part not in own:
        raise UnknownNameError("dataset", part, own)
    names = [*reals, *(name for name in own if name not in {*reals, *reals.values()})]
    return {
        name: [one for one in own.get(reals.get(name, ""), []) if one.label == REAL] + own[name]
        for name in ([part] if part is not None else names)
    }


def parts_of(dataset: Dataset) -> list[Dataset]:
    """Take a dataset apart into those it is composed of, fakes together with their originals.

    Where the card's ``reals`` says which originals belong to which fakes, each dataset of fakes
    becomes a part as in `part_of`, and the originals are no part of their own; else every value of
    the column ``dataset`` is a part.
    """
    reals = dict(dataset.card.get("reals", {}))
    present = list(dict.fromkeys(dataset.samples.table["dataset"]))
    fakes = [name for name in present if name in reals]
    if not fakes:
        return list(dataset.by_dataset().values())
    others = [name for name in present if name not in reals and name not in reals.values()]
    return [part_of(dataset, name) for name in (*fakes, *others)]


def _open_lab(
    name: str, split: str | None, root: str | Path | None, size: int | None, seed: int | None
) -> Dataset:
    from probe.datasets.lab import open_lab

    where = Path(root) if root is not None else None
    return open_lab(name, split=split, root=where, size=size or 128, seed=seed or 0)


def _folder_and_part(text: str) -> tuple[Path, str]:
    if Path(text).is_dir():
        return Path(text), ""
    folder, colon, part = text.rpartition(":")
    if colon and part and Path(folder).is_dir():
        return Path(folder), part
    if any(sign in text for sign in "/\\") or Path(text).exists():
        raise DatasetError(
            f"The folder {text!r} is missing. Give the folder that `probe ingest` or `probe lab "
            "make` wrote, FOLDER:NAME for one dataset in it, or lab."
        )
    raise UnknownNameError(
        "dataset",
        text,
        [LAB, *(f"{LAB}:{one}" for one in DATASETS), *LAYOUTS],
        remedy="A folder that `probe ingest` wrote can be given by its path.",
    )
