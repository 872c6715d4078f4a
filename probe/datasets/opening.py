"""`open_dataset`: open the lab, an ingested folder, or a dataset in one of the known layouts."""

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
        Dataset to open. ``"lab"`` is all six built-in datasets, ``"lab:faceswap"`` one of them.
        A folder written by `ingest` or the lab is everything in it; ``"FOLDER:deepfakes"`` is one
        forgery dataset in it with its originals, see `part_of`. The name of a layout such as
        ``"celebdf-v2"``, or ``"auto"``, needs `root`. To open a folder named ``lab``, give
        ``"./lab"``.
    split : {"train", "val", "test"}, optional
        Split to keep; all splits by default.
    root : path, optional
        For a layout: folder of the dataset as distributed by its authors. For the lab: folder to
        keep it in instead of the user's cache.
    size, seed : int, optional
        Side of the images in pixels (default 128 for the lab, 256 for crops), and random seed
        (default 0).
    out : path, optional
        For a layout: folder to ingest into. By default crops go to the user's cache, where they
        are shared by all runs that crop the same video in the same way. Images that need no
        cropping are used in place, and nothing is written.
    **ingest_options
        For a layout: any other option of `ingest`, such as ``frames`` or ``compression``.

    Returns
    -------
    Dataset
        Samples, images and card.

    Raises
    ------
    UnknownNameError
        If the name is neither the lab nor a layout nor a folder, or the folder has no such
        dataset.
    DatasetError
        If the folder is not a dataset, the split is unknown or has no samples, or an option does
        not apply to this kind of dataset.

    Examples
    --------
    >>> import probe
    >>> probe.open_dataset("crops", split="test")
    <Dataset 'lab': 240 images of deepfakes, faceswap, neuraltextures, 120 real, 120 fake>
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
            f"The layout {text!r} was given without a folder. Give the folder of the dataset, as "
            f"in open_dataset({text!r}, root=...)."
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
            f"allowed here are {', '.join(allowed)}"
            if allowed
            else ("that is only for the lab and for layouts")
        )
        raise DatasetError(
            f"{', '.join(foreign)} was given for {name!r}; {what}. Leave it out: images are "
            "resized to a detector's input size."
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
    """Open a dataset in the layout of its authors' distribution.

    Parameters
    ----------
    layout : str
        A name in `LAYOUTS`, or "auto".
    root : path
        Folder of the dataset.
    out : path, optional
        Folder to ingest into. By default crops are read from the crop cache, and missing ones are
        added to it.
    n_workers, strict, **options
        As in `ingest`.

    Returns
    -------
    Dataset
        The images in place if they are face crops on disk; else the crops made by `ingest`.
    """
    if out is not None:
        ingest(layout, root, out, n_workers=n_workers, strict=strict, **options)
        return read_native(Path(out))
    plan = plan_ingest(layout, root, **options)
    # Strict mode checks every image, so images in place have to be opened too.
    plan = replace(plan, lies=plan.lies and not strict)
    for one in plan.found.divided:
        note(one)
    dataset, report = plan.open(_reports(plan.layout.name, Path(root), options), n_workers)
    said = report.gaps(root) if report is not None else ""
    if said and strict:
        raise DatasetError(f"strict was set. {said}")
    if said:
        note(said)
    return dataset


def _reports(layout: str, root: Path, options: Mapping[str, Any]) -> Path:
    """Return the report folder of one source folder with these options."""
    text = repr((str(root.resolve()), sorted((k, str(v)) for k, v in options.items())))
    mark = hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=6).hexdigest()
    return cache_folder() / "ingest" / f"{layout}-{mark}"


def part_of(dataset: Dataset, name: str) -> Dataset:
    """Select one of several datasets together with its original videos.

    FaceForensics++ has one set of originals for all its methods. The part "deepfakes" consists of
    the fakes of that method and these originals, all with ``dataset="deepfakes"``. The originals'
    sample ids get the prefix ``deepfakes/``, so that several parts fit into one table.

    Parameters
    ----------
    dataset : Dataset
        Dataset to select from; its card's ``reals`` maps forgery datasets to their originals.
    name : str
        Value of the column ``dataset`` to select.

    Returns
    -------
    Dataset
        The selected part, named `name`.

    Raises
    ------
    UnknownNameError
        If there is no dataset of this name.
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
    """Group the videos of an inventory into the parts that `parts_of` gives after the ingest.

    Parameters
    ----------
    found : Inventory
        Inventory of a source folder.
    part : str, optional
        Name of the only dataset to return; all by default.

    Returns
    -------
    dict
        Dataset name to its videos, its originals first.

    Raises
    ------
    UnknownNameError
        If there is no dataset named `part`.
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
    """Split a dataset into its parts, each forgery dataset together with its originals.

    Where the card's ``reals`` maps forgery datasets to their originals, each forgery dataset
    becomes a part as in `part_of`, and the originals are not a part of their own. Otherwise every
    value of the column ``dataset`` is a part.
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
            f"The folder {text!r} is missing. Give a folder written by `probe ingest` or `probe "
            "lab make`, FOLDER:NAME for one dataset in it, or lab."
        )
    raise UnknownNameError(
        "dataset",
        text,
        [LAB, *(f"{LAB}:{one}" for one in DATASETS), *LAYOUTS],
        remedy="A folder written by `probe ingest` is given by its path.",
    )
