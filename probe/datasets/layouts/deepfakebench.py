"""Layout of DeepfakeBench's JSON lists, with frames used in place (Yan et al. 2023)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from probe.datasets.layouts import LAYOUTS, ImageFiles, Inventory, Layout, LayoutOptions, VideoEntry
from probe.datasets.layouts.files import (
    People,
    Places,
    account,
    celeb_people,
    dfd_people,
    ff_people,
    image_files,
    inside,
    masks_of,
    relative,
)
from probe.datasets.layouts.words import class_word
from probe.errors import DatasetError
from probe.schema import FAKE, REAL, SPLITS

__all__ = ["DEEPFAKEBENCH", "GROUPS", "Group", "dataset_of"]

_DEEPER = re.compile(r"([0-9]{3})_([MW][0-9]{3})")


@dataclass(frozen=True)
class Group:
    """A group of videos in DeepfakeBench's lists, of one dataset, method and label.

    Attributes
    ----------
    name : str
        Name as spelled in the lists.
    dataset, method : str
        As in `Samples`; `method` is that of fakes.
    label : int
        0 for real, 1 for fake.
    reals : str
        Name, in lower case, of the group of the originals.
    people : callable
        Function from a video's name to its identities; None if the name does not tell.
    reenacts : bool
        Whether the source drives the face.
    prefix : str
        Prefix for names of videos that another group has too.
    """

    name: str
    dataset: str
    method: str
    label: int
    reals: str
    people: Callable[[str], People | None]
    reenacts: bool = False
    prefix: str = ""


def _nobody(name: str) -> People | None:
    return None


def _deeper_people(name: str) -> People | None:
    match = _DEEPER.fullmatch(name)
    return match and People(match[1], match[2])


def _of_ff(code: str, dataset: str, reenacts: bool = False) -> Group:
    return Group(f"FF-{code}", dataset, dataset, FAKE, "ff-real", ff_people, reenacts)


def _pair(
    real: str, fake: str, dataset: str, people: Callable[[str], People | None] = _nobody
) -> tuple[Group, Group]:
    return (
        Group(real, dataset, dataset, REAL, real.lower(), people),
        Group(fake, dataset, dataset, FAKE, real.lower(), people),
    )


_ALL = (
    Group("FF-real", "youtube", "real", REAL, "ff-real", ff_people),
    _of_ff("DF", "deepfakes"),
    _of_ff("F2F", "face2face", reenacts=True),
    _of_ff("FS", "faceswap"),
    _of_ff("NT", "neuraltextures", reenacts=True),
    _of_ff("FH", "faceshifter"),
    _of_ff("SH", "faceshifter"),
    *_pair("DFD_real", "DFD_fake", "dfd", dfd_people),
    *_pair("CelebDFv1_real", "CelebDFv1_fake", "celebdf-v1", celeb_people),
    *_pair("CelebDFv2_real", "CelebDFv2_fake", "celebdf-v2", celeb_people),
    *_pair("DFDC_Real", "DFDC_Fake", "dfdc"),
    Group("DFDCP_Real", "dfdcp", "dfdcp", REAL, "dfdcp_real", _nobody),
    Group("DFDCP_FakeA", "dfdcp", "dfdcp-a", FAKE, "dfdcp_real", _nobody, prefix="a/"),
    Group("DFDCP_FakeB", "dfdcp", "dfdcp-b", FAKE, "dfdcp_real", _nobody, prefix="b/"),
    *_pair("DF_real", "DF_fake", "deeperforensics", _deeper_people),
    *_pair("UADFV_Real", "UADFV_Fake", "uadfv"),
)

#: Groups by their names in lower case.
GROUPS = {group.name.lower(): group for group in _ALL}


_PEOPLE = (ff_people, celeb_people, dfd_people)


def _anybody(name: str) -> People | None:
    return next((found for one in _PEOPLE if (found := one(name))), None)


#: Names of groups in other lists of this form, as those of DF40: <method>_Real, <method>_Fake.
_OTHER_GROUP = re.compile(r"(?:(.+?)[\s_-]+)?(real|fake)s?[ab0-9]?", re.IGNORECASE)


@lru_cache(maxsize=4096)
def find_group(name: str) -> Group | None:
    """Return the group of this name in any case; None if the name does not say real or fake.

    Groups that are not DeepfakeBench's own, such as "simswap_Fake", are datasets of their own.
    """
    if (known := GROUPS.get(name.lower())) is not None:
        return known
    match = _OTHER_GROUP.fullmatch(name.lower())
    word = class_word(name)
    if match is not None:
        label, method = (FAKE if match[2] == "fake" else REAL), match[1] or ""
    elif word is not None:
        label, method = word.label, word.method or name.lower()
    elif name.lower().startswith("ff-"):
        return _of_ff(name[3:], name[3:].lower())
    else:
        return None
    method = method or "list"
    return Group(name, method, method, label, f"{method}_real", _anybody)


def _class_of(value: object) -> int | None:
    """Return the class that the label of a video says; None if it says none."""
    if isinstance(value, int) and value in (REAL, FAKE):
        return int(value)
    if not isinstance(value, str):
        return None
    group = find_group(value)
    return {"0": REAL, "1": FAKE}.get(value) if group is None else group.label


def dataset_of(group: str, present: Collection[str]) -> str:
    """Return the dataset of a group: "celebdf" if only one version of Celeb-DF is listed.

    Parameters
    ----------
    group : str
        Name of the group in lower case.
    present : collection of str
        Names of all listed groups in lower case.
    """
    dataset = _group(group).dataset
    if not (group in GROUPS and dataset.startswith("celebdf")):
        return dataset
    versions = {
        GROUPS[one].dataset for one in present if one.startswith("celebdf") and one in GROUPS
    }
    return dataset if len(versions) > 1 else "celebdf"


def _group(name: str) -> Group:
    """Return a group that was found before."""
    found = find_group(name)
    assert found is not None
    return found


#: Folders below the root in which lists are searched.
_FOLDERS = (".", "dataset_json", "preprocessing/dataset_json")

#: Folders that frame paths may be relative to, below the list's folder and its parents.
_FRAMES = (".", "rgb", "datasets", "datasets/rgb")
_UPWARDS = 4

_LEVELS = ("raw", "c23", "c40")

#: The beginning of a list: the dataset and its first group.
_BEGINNING = re.compile(r'\s*\{\s*"[^"]*"\s*:\s*\{\s*"([^"]*)"\s*:\s*\{')

LABELS = "DeepfakeBench's group names, …real and …fake or FF-<method> → 0 real, 1 fake (the same)"
SPLIT_RULE = (
    "The splits of the lists, each video once: videos listed in test are test; of the rest, those "
    "listed in val are val, unless that would leave no train: then train."
)
LICENSE = "that of each dataset; the lists are of DeepfakeBench, CC BY-NC 4.0"
CROP = "face crops as DeepfakeBench makes them: dlib, aligned, face box × 1.3, 256 × 256 PNG"
SOURCES = (
    "DF_real is made of the actors' source recordings; the real class of DeeperForensics-1.0 is "
    "FaceForensics++ youtube."
)


@dataclass(frozen=True)
class _Listed:
    """One video in one split of one list."""

    place: str
    group: str
    split: str
    name: str
    frames: tuple[str, ...]
    masks: tuple[str, ...]
    places: Places
    real: str = ""
    label: object = None

    @property
    def video(self) -> tuple[str, str]:
        return self.group, self.name


_Copies = dict[tuple[str, str], dict[str, _Listed]]


def _read(root: Path, options: LayoutOptions) -> Inventory:
    files = _lists(root)
    if not files:
        raise DatasetError(
            f"{str(root)!r} is not a DeepfakeBench list, and none is in it, in dataset_json or in "
            "preprocessing/dataset_json. Give the JSON file, or the folder that holds it."
        )
    folder = root if root.is_dir() else root.parent
    left_out: dict[str, str] = {}
    copies: _Copies = {}
    places: dict[int, Places] = {}
    for file in files:
        for one in _listed(file, relative(file, folder), options, left_out):
            places[id(one.places)] = one.places
            _add(copies, one, left_out)
    groups = {group for group, _ in copies}
    chosen = list(_once(copies, left_out))
    notes = [_copies_note(copies), *([SOURCES] if "df_real" in groups else [])]
    notes.append(_labels_note(chosen))
    before = len(left_out)
    entries = [entry for one in chosen if (entry := _entry(one, groups, folder, left_out))]
    if len(left_out) > before:
        notes.append(f"{len(left_out) - before} listed frames or masks are not on disk.")
    notes += [note for one in places.values() for note in one.notes()]
    kept = account(folder, entries, left_out, files, sweep=root.is_dir())
    return Inventory(
        kept,
        _reals(kept, chosen, groups),
        left_out,
        tuple(filter(None, notes)),
        LABELS,
        SPLIT_RULE,
        LICENSE,
        CROP,
        without_val=True,
    )


def _lists(root: Path) -> list[Path]:
    """Return the lists: the file itself, or those of the first folder that has any."""
    if root.is_file():
        return [root] if _is_list(root) else []
    for name in _FOLDERS:
        found = [file for file in sorted((root / name).glob("*.json")) if _is_list(file)]
        if found:
            return found
    return []


def _is_list(file: Path) -> bool:
    """Whether a file begins like a list; only its beginning is read, since lists are long."""
    if file.suffix.lower() != ".json" or not file.is_file():
        return False
    with file.open(encoding="utf-8", errors="replace") as stream:
        match = _BEGINNING.match(stream.read(4096))
    return match is not None and _known(match[1])


def _known(group: str) -> bool:
    return find_group(group) is not None


def _listed(
    file: Path, place: str, options: LayoutOptions, left_out: dict[str, str]
) -> Iterator[_Listed]:
    """Yield the videos of one list, group by group."""
    found: list[tuple[str, str, str, str, Any]] = []
    reals: dict[str, str] = {}
    for dataset, groups in _content(file).items():
        names = {group: _name_of(group, dataset, splits, file) for group, splits in groups.items()}
        real = {name for name in names.values() if _group(name).label == REAL}
        for group, splits in groups.items():
            name = names[group]
            own = _group(name).reals
            reals[name] = own if own in real or len(real) != 1 else next(iter(real))
            for split, videos in splits.items():
                where = f"{place}::{dataset}/{group}/{split}"
                known = split if split in SPLITS else _SPELLINGS.get(split.lower(), "")
                if not known or not isinstance(videos, dict) or "frames" in videos:
                    left_out[where] = "it is not a split with videos by name"
                    continue
                level = _level(videos, options.compression or "c23", where)
                found += [(where, name, known, *item) for item in sorted(level.items())]
    good = [one for one in found if _is_video(one[4], f"{one[0]}/{one[3]}", left_out)]
    if not good:
        return
    step = max(1, len(good) // _SAMPLES)
    places = _places(file, options.image_root, [one[4]["frames"][0] for one in good[::step]])
    for where, group, split, name, video in good:
        yield _Listed(
            f"{where}/{name}",
            group,
            split,
            name,
            tuple(video["frames"]),
            tuple(video.get("masks") or ()),
            places,
            reals[group],
            video.get("label"),
        )


#: Other spellings of splits, in lower case.
_SPELLINGS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}

#: Number of videos whose first frame is looked for, to find the folder of the frames.
_SAMPLES = 100


def _name_of(group: str, dataset: str, splits: Mapping[str, Any], file: Path) -> str:
    """Return the name of a group in lower case, with that of its dataset if it says no more."""
    found = find_group(group)
    if found is None:
        labels = {_class_of(one) for one in _labels_in(splits)}
        if len(labels) != 1 or None in labels:
            raise DatasetError(
                f"The list {str(file)!r} has the unknown group {group!r}, which may be real or "
                f"fake; known are {', '.join(one.name for one in GROUPS.values())}, and any name "
                "with _Real or _Fake at its end. Rename it, or list its images in a manifest."
            )
        return f"{group.lower()}_{'fake' if FAKE in labels else 'real'}"
    if found.dataset == "list":
        return f"{dataset.lower()}_{'fake' if found.label == FAKE else 'real'}"
    return group.lower()


def _labels_in(value: object) -> Iterator[object]:
    """Yield the labels of all videos below a group."""
    if not isinstance(value, dict):
        return
    if "frames" in value:
        yield value.get("label")
    else:
        for inner in value.values():
            yield from _labels_in(inner)


def _labels_note(chosen: list[_Listed]) -> str:
    """Say which videos have a label that contradicts their group."""
    wrong = [
        one
        for one in chosen
        if (label := _class_of(one.label)) is not None and label != _group(one.group).label
    ]
    if not wrong:
        return ""
    return (
        f"{len(wrong)} of {len(chosen)} videos have a label that contradicts their group, such as "
        f"{wrong[0].place}, which is labeled {wrong[0].label!r}: the group was used."
    )


def _content(file: Path) -> dict[str, dict[str, dict[str, Any]]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"The list {str(file)!r} cannot be read ({error}). Create or download it again."
        ) from error
    groups = content.values() if isinstance(content, dict) else [None]
    if not all(isinstance(one, dict) and all(map(_is_dict, one.values())) for one in groups):
        raise DatasetError(
            f"The list {str(file)!r} does not have the form dataset → group → split → video. "
            "Create or download it again."
        )
    return dict(content)


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)


def _level(videos: Mapping[str, Any], level: str, where: str) -> Mapping[str, Any]:
    """Return the videos of a compression level, if the list has levels."""
    if not videos or not set(videos) <= set(_LEVELS):
        return videos
    if level not in videos:
        raise DatasetError(
            f"Compression {level!r} was requested; {where} holds {', '.join(videos)}. Choose one "
            "of these."
        )
    chosen: Mapping[str, Any] = videos[level]
    return chosen


def _is_video(video: object, place: str, left_out: dict[str, str]) -> bool:
    frames = video.get("frames") if isinstance(video, dict) else None
    masks = (video.get("masks") or []) if isinstance(video, dict) else []
    if not isinstance(frames, list) or not isinstance(masks, list):
        left_out[place] = "it has no list of frames"
    elif not frames:
        left_out[place] = "its list of frames is empty"
    elif not all(isinstance(one, str) for one in [*frames, *masks]):
        left_out[place] = "its frames or masks are not all paths"
    else:
        return True
    return False


def _places(file: Path, images: Path | None, samples: list[str]) -> Places:
    """Return the folders that frames start from, the one in which some samples exist first."""
    if images is not None:
        tried = [images]
    else:
        above = list(islice(file.resolve().parents, _UPWARDS))
        tried = [folder / name for folder in above for name in _FRAMES]
    for base in tried:
        if any((path := inside(base, one)) is not None and path.is_file() for one in samples):
            return Places([base])
    places = Places(tried)
    if any(places.find(one) is not None for one in samples):
        return places
    ending = "/".join(samples[0].replace("\\", "/").split("/")[-2:])
    raise DatasetError(
        f"None of the first frames of {str(file)!r}, such as {samples[0]!r}, is on disk. Tried: "
        f"{', '.join(map(str, tried))}, there also for every ending of the path. Give a folder "
        f"that holds an ending, such as {ending!r}, as the option image_root."
    )


def _add(copies: _Copies, one: _Listed, left_out: dict[str, str]) -> None:
    """Add a listing to its video; equal listings in several lists count once."""
    known = copies.setdefault(one.video, {}).setdefault(one.split, one)
    if set(known.frames) != set(one.frames):
        left_out[one.place] = f"{known.place} lists the same video with other frames; that is used"


def _once(copies: _Copies, left_out: dict[str, str]) -> Iterator[_Listed]:
    """Yield every video once, in the split it is used in."""
    orders = _orders(copies)
    for (group, _), splits in copies.items():
        taken, *others = (one for one in orders[_group(group).dataset] if one in splits)
        for split in others:
            left_out[splits[split].place] = f"also in {taken}"
        yield splits[taken]


def _orders(copies: _Copies) -> dict[str, tuple[str, ...]]:
    """Return for each dataset the order of splits by which a video in several is assigned.

    Test precedes val and val precedes train, so that no test video is used in training. If val
    contains all of train, as in the list of DFDC, this would leave no train, so that train
    precedes val; a new val can be split off later.
    """
    rest: dict[str, list[bool]] = {}
    for (group, _), splits in copies.items():
        if "train" in splits and "test" not in splits:
            rest.setdefault(_group(group).dataset, []).append("val" in splits)
    datasets = {_group(group).dataset for group, _ in copies}
    return {
        one: ("test", "train", "val") if all(rest.get(one, [False])) else ("test", "val", "train")
        for one in datasets
    }


def _copies_note(copies: _Copies) -> str:
    several = sum(len(splits) > 1 for splits in copies.values())
    if not several:
        return ""
    return f"{several} of {len(copies)} videos are listed in several splits; each is used once."


def _entry(
    one: _Listed, groups: set[str], folder: Path, left_out: dict[str, str]
) -> VideoEntry | None:
    """Return the entry of a video with its frames that are on disk; None if there are none."""
    frames = _on_disk(one, one.frames, folder, left_out)
    masks = _on_disk(one, one.masks, folder, left_out)
    if not frames:
        left_out[one.place] = "none of its frames is on disk"
        return None
    group = _group(one.group)
    media = image_files(frames)
    people = group.people(one.name) or People("")
    dataset = dataset_of(one.group, groups)
    method = dataset if group.method == group.dataset else group.method
    return VideoEntry(
        dataset=dataset,
        video=group.prefix + one.name,
        media=media,
        label=group.label,
        method=method if group.label == FAKE else "real",
        split=one.split,
        identity=people.identity,
        source=people.source,
        driver=people.source if group.reenacts else "",
        original=f"{dataset_of(one.real, groups)}/{people.original}" if people.original else "",
        masks=_masks(media, masks),
    )


def _on_disk(
    one: _Listed, given: tuple[str, ...], folder: Path, left_out: dict[str, str]
) -> list[Path]:
    """Return the existing files of listed paths, each once; missing files are left out."""
    found = []
    for path in dict.fromkeys(given):
        file = one.places.find(path)
        listed = inside(one.places.bases[0], path)
        if file is not None:
            found.append(file)
        elif listed is None:
            left_out[path] = "its path leads out of the folder of the frames"
        else:
            left_out[relative(listed, folder)] = "it is listed and not on disk"
    return found


def _masks(media: ImageFiles, masks: list[Path]) -> ImageFiles | None:
    """Pair masks with frames by name, or by order if no name matches and the numbers are equal."""
    by_stem = {mask.stem: mask for mask in masks}
    pairs = {one: by_stem[one.stem] for one in media.files if one.stem in by_stem}
    if not pairs and len(masks) == len(media.files):
        pairs = dict(zip(media.files, image_files(masks).files, strict=True))
    return masks_of(media, pairs)


def _reals(
    videos: tuple[VideoEntry, ...], chosen: list[_Listed], groups: set[str]
) -> dict[str, str]:
    """Return the originals' dataset for each dataset of fakes that has none of its own."""
    there = {video.dataset for video in videos}
    found: dict[str, str] = {}
    for one in chosen:
        own, real = dataset_of(one.group, groups), dataset_of(one.real, groups)
        if _group(one.group).label == FAKE and own != real and {own, real} <= there:
            found[own] = real
    return dict(sorted(found.items()))


def _recognize(root: Path) -> str | None:
    found = _lists(root)
    if not found:
        return None
    where = found[0].name if root.is_file() else os.path.relpath(found[0], root)
    return f"{where} is a list of DeepfakeBench"


DEEPFAKEBENCH = LAYOUTS.register("deepfakebench")(
    Layout(
        name="deepfakebench",
        title="DeepfakeBench (Yan et al. 2023, arXiv:2307.01426)",
        read=_read,
        recognize=_recognize,
        shape="a DeepfakeBench JSON list, perhaps in dataset_json or preprocessing/dataset_json",
        takes=frozenset({"compression", "image_root"}),
        takes_file=True,
        may_lie=True,
    )
)
