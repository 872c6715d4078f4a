"""Layout of FaceForensics++ as distributed, with DeepFakeDetection (Rössler et al. 2019)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from probe.datasets.layouts import (
    LAYOUTS,
    VIDEOS,
    Inventory,
    Layout,
    LayoutOptions,
    VideoEntry,
    VideoFile,
)
from probe.datasets.layouts.files import account, folders_in, relative
from probe.errors import DatasetError
from probe.schema import FAKE, REAL, SPLITS

__all__ = ["COMPRESSIONS", "DFD", "FACEFORENSICS"]

COMPRESSIONS = ("raw", "c23", "c40")

_TOPS = ("original_sequences", "manipulated_sequences")

LABELS = "folders original_sequences (real) and manipulated_sequences (fake) → 0 real, 1 fake"
SPLIT_RULE = (
    "The official lists {train,val,test}.json, in splits, beside the sequences, in dataset/splits "
    "or beside the tree: a video is in a split if all ids in its name are; videos in none are left "
    "out and reported. Without lists every video is test: there is an official split, and another "
    "could be mistaken for it."
)
LICENSE = "FaceForensics++ terms: research use"


@dataclass(frozen=True)
class _Folder:
    """One folder of videos: its path, its dataset name, and the pattern of its file names."""

    path: str
    dataset: str
    pattern: str
    originals: str = ""
    reenacts: bool = False
    official_split: bool = True

    @property
    def label(self) -> int:
        return FAKE if self.originals else REAL


_PAIR = r"(?P<target>\d{3})_(?P<source>\d{3})"
_FOLDERS = (
    _Folder("original_sequences/youtube", "youtube", r"(?P<target>\d{3})"),
    _Folder("original_sequences/actors", "actors", r"(?P<target>\d{2})__.+", official_split=False),
    _Folder("manipulated_sequences/Deepfakes", "deepfakes", _PAIR, "youtube"),
    _Folder("manipulated_sequences/Face2Face", "face2face", _PAIR, "youtube", reenacts=True),
    _Folder("manipulated_sequences/FaceSwap", "faceswap", _PAIR, "youtube"),
    _Folder(
        "manipulated_sequences/NeuralTextures", "neuraltextures", _PAIR, "youtube", reenacts=True
    ),
    _Folder("manipulated_sequences/FaceShifter", "faceshifter", _PAIR, "youtube"),
    _Folder(
        "manipulated_sequences/DeepFakeDetection",
        "dfd",
        r"(?P<target>\d{2})_(?P<source>\d{2})__(?P<scene>.+)__\w{8}",
        "actors",
        official_split=False,
    ),
)

_Splits = Mapping[str, str]


def _read(root: Path, options: LayoutOptions, folders: tuple[_Folder, ...]) -> Inventory:
    """Return the inventory of some folders of a tree at one compression level."""
    _require_tree(root)
    compression = options.compression or "c23"
    _require_compression(root, compression, folders)
    official = any(folder.official_split for folder in folders)
    lists = _find_lists(root) if official else None
    splits = _read_splits(lists) if lists is not None else None
    videos: list[VideoEntry] = []
    left_out: dict[str, str] = {}
    notes = []
    if official and lists is None:
        notes.append("There is no splits folder: every video is test.")
    elif lists is not None and lists.folder != root / "splits":
        where = os.path.relpath(lists.folder, root)
        notes.append(f"Splits were read from {', '.join(lists.files)} in {where!r}.")
    for folder in folders:
        here = root / folder.path / compression / "videos"
        if not here.is_dir():
            notes.append(f"{folder.path}/{compression}/videos is missing.")
            continue
        for file in sorted(here.iterdir()):
            entry = _entry(root, folder, file, splits)
            if isinstance(entry, VideoEntry):
                videos.append(entry)
            else:
                left_out[relative(file, root)] = entry
    files = [lists.folder / one for one in lists.files] if lists is not None else []
    kept = account(root, videos, left_out, files)
    datasets = {video.dataset for video in kept}
    reals = {
        one.dataset: one.originals for one in folders if {one.dataset, one.originals} <= datasets
    }
    rule = SPLIT_RULE if official else "There is no official split."
    lacks = lists is not None and "val.json" not in lists.files
    return Inventory(kept, reals, left_out, tuple(notes), LABELS, rule, LICENSE, without_val=lacks)


def _entry(root: Path, folder: _Folder, file: Path, splits: _Splits | None) -> VideoEntry | str:
    """Return the labeled entry of a file, or the reason why it is left out."""
    match = re.fullmatch(folder.pattern, file.stem)
    if match is None or file.suffix.lower() not in VIDEOS:
        return "its name does not have the official form"
    groups = match.groupdict()
    target, source = groups["target"], groups.get("source") or ""
    split = "test" if folder.official_split else ""
    if folder.official_split and splits is not None:
        found = {splits.get(one) for one in (target, source) if one}
        if len(found) > 1 or None in found:
            return "it is outside the official splits"
        split = str(found.pop())
    mask = root / folder.path / "masks" / "videos" / file.name
    return VideoEntry(
        dataset=folder.dataset,
        video=file.stem,
        media=VideoFile(file),
        label=folder.label,
        method=folder.dataset if folder.originals else "real",
        split=split,
        identity=target,
        source=source,
        driver=source if folder.reenacts else "",
        original=f"{folder.originals}/{_original(folder, groups)}" if folder.originals else "",
        masks=VideoFile(mask) if mask.is_file() else None,
    )


def _original(folder: _Folder, groups: Mapping[str, str]) -> str:
    """Return the name of the original: the target's video, for actors that of the same scene."""
    return groups["target"] + (f"__{groups['scene']}" if "scene" in groups else "")


def _require_tree(root: Path) -> None:
    if any((root / top).is_dir() for top in _TOPS):
        return
    inside = [
        one.name for one in sorted(root.iterdir()) if any((one / top).is_dir() for top in _TOPS)
    ]
    hint = ""
    if root.name in _TOPS:
        hint = f" Give its parent {str(root.parent)!r}."
    elif inside:
        hint = f" Its folder {inside[0]!r} has them: give that one."
    raise DatasetError(
        f"{str(root)!r} is not a FaceForensics++ tree: neither {_TOPS[0]} nor {_TOPS[1]} is in it."
        + (hint or " Give the folder written by the official download script.")
    )


def _require_compression(root: Path, compression: str, folders: tuple[_Folder, ...]) -> None:
    there = sorted(
        {
            level
            for folder in folders
            for level in COMPRESSIONS
            if (root / folder.path / level / "videos").is_dir()
        },
        key=COMPRESSIONS.index,
    )
    if compression not in there:
        raise DatasetError(
            f"Compression {compression!r} was requested; {str(root)!r} holds "
            f"{', '.join(there) or 'none'} (known: {', '.join(COMPRESSIONS)}). Choose one of "
            "these, or download that level."
        )


@dataclass(frozen=True)
class _Lists:
    """The folder with the official lists, and their names there."""

    folder: Path
    files: tuple[str, ...]


#: Places of the lists below the root: as downloaded, beside the sequences (Self-Blended Images,
#: DeepfakeBench), and as in the authors' repository.
_PLACES = ("splits", ".", "dataset/splits", "dataset", "FaceForensics/dataset/splits")

#: Depth of other folders that are searched for lists.
_SEARCH_DEPTH = 3


def _find_lists(root: Path) -> _Lists | None:
    """Return the first folder with lists: in the tree, else in the folder that holds it."""
    if (root / "splits").is_dir():
        return _Lists(root / "splits", tuple(f"{split}.json" for split in SPLITS))
    places = [root / one for one in _PLACES] + list(_below(root, _SEARCH_DEPTH))
    # A folder above may hold many datasets, so that only places of the repository count there.
    for folder in (*places, root.parent / "splits", root.parent / "dataset/splits"):
        files = tuple(f"{one}.json" for one in SPLITS if _is_list(folder / f"{one}.json"))
        if "train.json" in files or "test.json" in files:
            return _Lists(folder, files)
    return None


def _below(folder: Path, depth: int) -> Iterator[Path]:
    for inner in folders_in(folder):
        if inner.name not in _TOPS:
            yield inner
            if depth > 1:
                yield from _below(inner, depth - 1)


def _is_list(file: Path) -> bool:
    """Whether a file is a list of pairs of ids; other train.json are common."""
    try:
        return file.is_file() and all(_ids(file))
    except DatasetError:
        return False


def _read_splits(lists: _Lists) -> _Splits:
    folder = lists.folder
    found: dict[str, str] = {}
    for name in lists.files:
        split = name.removesuffix(".json")
        for one in _ids(folder / name):
            if found.setdefault(one, split) != split:
                raise DatasetError(
                    f"Id {one!r} is in the splits {found[one]} and {split} of {str(folder)!r}. "
                    "Splits must not share ids; restore the official lists."
                )
    return found


def _ids(file: Path) -> Iterator[str]:
    try:
        pairs = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"The split list {str(file)!r} cannot be read ({error}). Restore the official "
            "train.json, val.json and test.json, or remove the whole splits folder to make "
            "every video test."
        ) from error
    for pair in pairs if isinstance(pairs, list) else [None]:
        if not (
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(i, str) for i in pair)
        ):
            raise DatasetError(
                f"The split list {str(file)!r} holds {pair!r}; it must be a list of pairs of ids, "
                'such as [["071", "054"]]. Restore the official list.'
            )
        yield from pair


def _of_dfd(folder: _Folder) -> bool:
    return folder.dataset in ("actors", "dfd")


def _recognize(root: Path) -> str | None:
    own = [folder.path for folder in _FOLDERS if not _of_dfd(folder)]
    there = [path for path in own if (root / path).is_dir()]
    return f"it holds {there[0]}" if there else None


def _recognize_dfd(root: Path) -> str | None:
    if _recognize(root):
        return None
    there = [
        folder.path for folder in _FOLDERS if _of_dfd(folder) and (root / folder.path).is_dir()
    ]
    return f"it holds {there[0]} and nothing else of FaceForensics++" if there else None


FACEFORENSICS = LAYOUTS.register("faceforensics")(
    Layout(
        name="faceforensics",
        title="FaceForensics++ with DeepFakeDetection (Rössler et al. 2019, arXiv:1901.08971)",
        read=lambda root, options: _read(root, options, _FOLDERS),
        recognize=_recognize,
        shape=" and ".join(_TOPS),
        takes=frozenset({"compression"}),
    )
)

DFD = LAYOUTS.register("dfd")(
    Layout(
        name="dfd",
        title="DeepFakeDetection alone (Dufour and Gully 2019)",
        read=lambda root, options: _read(root, options, tuple(filter(_of_dfd, _FOLDERS))),
        recognize=_recognize_dfd,
        shape="original_sequences/actors and manipulated_sequences/DeepFakeDetection",
        takes=frozenset({"compression"}),
    )
)
