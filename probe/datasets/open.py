"""`open_dataset`: open the lab, an ingested folder, or a dataset in one of the known layouts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from probe.datasets.cache import cache_folder
from probe.datasets.dataset import NAME, Dataset, Samples, moved, read_native, require_name
from probe.datasets.ingestion import AUTO, ingest, plan_ingest
from probe.datasets.layouts import LAYOUTS, Inventory, VideoEntry
from probe.errors import DatasetError, UnknownNameError
from probe.progress import note
from probe.schema import DATASETS, REAL, SPLITS

__all__ = [
    "open_dataset",
    "open_datasets",
    "open_layout",
    "part_of",
    "parts_of",
    "renamed",
    "videos_of",
]

LAB = "lab"


def open_dataset(
    name_or_path: str | Path,
    *,
    split: str | None = None,
    name: str | None = None,
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
        ``"./lab"``. ``"NAME=FOLDER"`` is short for `name`.
    split : {"train", "val", "test"}, optional
        Split to keep; all splits by default.
    name : str, optional
        Name to give to the dataset, for sets that are named alike, such as FaceForensics++ at c23
        and c40; see `renamed`.
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
    short, rest = _name_and_place(text)
    if short and name is None:
        return open_dataset(
            rest,
            split=split,
            name=short,
            root=root,
            size=size,
            seed=seed,
            out=out,
            **ingest_options,
        )
    if name is not None:
        opened = open_dataset(
            rest, split=split, root=root, size=size, seed=seed, out=out, **ingest_options
        )
        return renamed(opened, name)
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


def _name_and_place(text: str) -> tuple[str, str]:
    """Split NAME=FOLDER; the name is empty if there is none, or if it is the path of a folder."""
    name, sign, place = text.partition("=")
    if not (sign and place and NAME.fullmatch(name)) or Path(text).exists():
        return "", text
    return name, place


def renamed(dataset: Dataset, name: str) -> Dataset:
    """Give a dataset another name, in its table, sample ids and card.

    Parameters
    ----------
    dataset : Dataset
        Dataset to rename.
    name : str
        New name of the only dataset in it; of several, each becomes "NAME-dataset".

    Returns
    -------
    Dataset
        The renamed dataset. Sample ids get the prefix "NAME/", so that the tables of several sets
        can be joined.

    Raises
    ------
    DatasetError
        If the name is not made of letters, digits, spaces and ``_-.+``.
    """
    require_name(name)
    table = dataset.samples.table
    known = list(dict.fromkeys(table["dataset"]))
    names = {one: name if len(known) == 1 else f"{name}-{one}" for one in known}
    table = table.assign(dataset=table["dataset"].map(names), sample=f"{name}/" + table["sample"])
    if "original" in table:
        table["original"] = [moved(one, names) for one in table["original"].fillna("")]
    methods = {one: names[one] for one in known if (dataset.card.get("layout") in _UNNAMED)}
    if len(known) == 1 and methods:
        # A method that is only the dataset's name follows it.
        table["method"] = table["method"].replace(methods)
    reals = {names.get(a, a): names.get(b, b) for a, b in dataset.card.get("reals", {}).items()}
    parts = {names.get(a, a): b for a, b in dataset.card.get("parts", {}).items()}
    card = {
        **dataset.card,
        **({"reals": reals} if reals else {}),
        **({"parts": parts} if parts else {}),
    }
    return replace(dataset, name=name, samples=Samples(table), card=card)


#: Layouts that know no method of fakes, and name it after the dataset.
_UNNAMED = ("folder", "manifest")


def open_datasets(places: Sequence[str | Path], *, split: str | None = None) -> list[Dataset]:
    """Open several datasets, and tell those apart that are named alike.

    Parameters
    ----------
    places : sequence of str or path
        As in `open_dataset`.
    split : {"train", "val", "test"}, optional
        Split to keep; all splits by default.

    Returns
    -------
    list of Dataset
        The datasets. Those of different folders that share a name are named after their folders,
        and a note says so.

    Raises
    ------
    DatasetError
        If the names of the folders are alike too.
    """
    opened = [open_dataset(one, split=split) for one in places]
    owners: dict[str, set[int]] = {}
    for i, one in enumerate(opened):
        for name in one.samples.table["dataset"].unique():
            owners.setdefault(str(name), set()).add(i)
    shared = {name: those for name, those in owners.items() if len(those) > 1}
    alike = sorted({i for those in shared.values() for i in those})
    folders = {i: _folder_name(places[i], opened[i], 1) for i in alike}
    if len(set(folders.values())) < len(folders):
        folders = {i: _folder_name(places[i], opened[i], 2) for i in alike}
    roots = {opened[i].root.resolve() for i in alike}
    if not alike or len(roots) < len(alike):
        return opened
    if len(set(folders.values())) < len(folders) or set(folders.values()) & owners.keys():
        raise DatasetError(
            f"Several datasets are named {next(iter(shared))!r}. Name them as NAME=FOLDER, or with "
            "name=... in open_dataset."
        )
    for i, name in folders.items():
        opened[i] = renamed(opened[i], name)
    note(
        f"Several datasets are named {', '.join(map(repr, list(shared)[:3]))}; here they are "
        f"called {', '.join(folders.values())}. NAME=FOLDER gives another name."
    )
    return opened


def _folder_name(place: str | Path, dataset: Dataset, parts: int) -> str:
    """Return the last parts of a dataset's folder, and the part that was chosen in it."""
    folder, part = dataset.root.resolve(), str(place).rpartition(":")[2]
    name = "-".join(folder.parts[-parts:]).strip("/\\")
    chosen = f"-{part}" if ":" in str(place) and Path(str(place)) != folder else ""
    return re.sub(r"[^\w.+-]+", "_", name + chosen)


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
