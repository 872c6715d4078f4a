"""Layout of sets of generated images: folders of generators with real and fake folders.

GenImage, ForenSynths, UniversalFakeDetect's sets, AIGIBench, WildRF, DiffusionForensics and local
copies of Community Forensics are such trees.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from probe.datasets.layouts import (
    IMAGES,
    LAYOUTS,
    VIDEOS,
    Inventory,
    Layout,
    LayoutOptions,
    VideoEntry,
    VideoFile,
)
from probe.datasets.layouts.files import account, image_files, relative, video_pattern, walk
from probe.errors import DatasetError
from probe.schema import FAKE, REAL

__all__ = ["GENERATOR_TREE"]

_CLASSES = {
    **dict.fromkeys(("0_real", "real", "reals", "nature", "0_nature"), REAL),
    **dict.fromkeys(("1_fake", "fake", "fakes", "ai", "1_ai", "generated", "synthetic"), FAKE),
}
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}

#: Folders that only hold the others.
_WRAPPERS = frozenset({"data", "dataset", "datasets", "images"})

#: Folders beside a real folder that are no generators.
_BESIDE = frozenset({"masks", "mask", "landmarks"})

#: The classes of LSUN on which ForenSynths trained ProGAN; one of them is named train.
_CONTENT = frozenset(
    """
    airplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person
    pottedplant sheep sofa train tvmonitor
    """.split()
)

#: Names of generators, without version, in lower case and without punctuation. They are evidence
#: for this layout where the folders alone could be those of videos.
_GENERATORS = """
    adm guided ddpm iddpm ddim pndm ldm glide dalle dallemini stablediffusion sd sdxl sdturbo flux
    midjourney wukong vqdm vqdiffusion vqgan biggan cyclegan progan stylegan styleganxl stargan
    gaugan projectedgan diffprojectedgan stylediffusion imagen ideogram kandinsky pixart cogview
    firefly deepfloyd unidiffuser
    """.split()
_KNOWN = re.compile(rf"(?:{'|'.join(_GENERATORS)})(?:v?[0-9].*)?")

#: Dataset of reals that several generators share, and of fakes whose generator has no folder.
SHARED, UNNAMED = "real", "mixed"

LABELS = (
    "folders 0_real, real or nature (real) and 1_fake, fake, ai or a generator's name beside a "
    "real folder (fake) → 0 real, 1 fake"
)
SPLIT_RULE = (
    "Folders named train, val or test are the splits; where there is none, none is known. The val "
    "of a generator without a test is its test, as in GenImage's paper."
)
ALONE = (
    "Every image counts as its own video, since the numbers in names of generated images are no "
    "frames. If some of them belong together, as the frames in ForenSynths' deepfake do, group "
    "them with the option video_pattern."
)

#: Dataset of shared reals of several folders.
MERGED = "reals"

#: The shared reals of UniversalFakeDetect, and the generators that it compares with ImageNet.
_UNIVERSAL = ("imagenet", "laion")
_ON_IMAGENET = frozenset({"guided", "adm", "biggan"})

PROGAN = (
    "Folders of LSUN classes without a generator above them, such as {}, are read as ProGAN, which "
    "made the training set of ForenSynths."
)
UNIVERSAL = (
    "The reals are paired as in UniversalFakeDetect's list: imagenet for guided and other models "
    "of ImageNet, laion for all others."
)
MERGED_NOTE = (
    "Folders of reals are shared by generators, and nothing says which belong to which: {} are "
    "together the real class of every generator without its own."
)
CROP = "images as distributed; no face was cropped here"

#: Depth and number of folders of a depth up to which a tree is searched for its shape.
_DEPTH, _MOST_FOLDERS = 5, 500

_Folders = tuple[str, ...]


@dataclass(frozen=True)
class _Place:
    """What the folders above a file say.

    Attributes
    ----------
    dataset, split, label
        As in `VideoEntry`; a dataset is a generator, or the reals that generators share.
    reals : str
        Dataset of its reals, if the folders say that it is another one.
    by_content : str
        Folder of an LSUN class from which ProGAN was concluded; else empty.
    """

    dataset: str
    split: str
    label: int
    reals: str = ""
    by_content: str = ""


@dataclass
class _Shape:
    """The folders of a tree, by the folder they are in; names in lower case."""

    inner: dict[_Folders, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, folders: Iterable[_Folders]) -> _Shape:
        """Return the shape of a tree with these folders and all that they are in."""
        shape = cls()
        for one in folders:
            for i, name in enumerate(one):
                shape.inner.setdefault(one[:i], set()).add(name)
        return shape

    def is_split(self, folders: _Folders, i: int) -> bool:
        """Whether a folder is a split, and not the class of images that is named train."""
        beside = self.inner[folders[:i]]
        return folders[i] in _SPLITS and not beside & (_CONTENT - _SPLITS.keys())

    def is_generator(self, folders: _Folders, i: int) -> bool:
        """Whether a folder lies beside a real folder without a fake one, as a generator's does."""
        labels = {_CLASSES[one] for one in self.inner[folders[:i]] if one in _CLASSES}
        other = folders[i] in _CLASSES or folders[i] in _BESIDE or self.is_split(folders, i)
        return labels == {REAL} and not other

    def place(self, folders: _Folders) -> _Place | str:
        """Return what the folders above a file say, or why they are not sufficient."""
        found = [i for i, one in enumerate(folders) if one in _CLASSES]
        if len({_CLASSES[folders[i]] for i in found}) > 1:
            return "folders above it say both real and fake"
        own = [i for i in range(len(folders)) if self.is_generator(folders, i)]
        if not found and not own:
            return "no folder above it says real or fake"
        at = found[0] if found else own[0]
        split, chain = self._above(folders, at)
        if found:
            return self._of_class(folders, at, split, chain)
        # A generator beside a real folder, perhaps within a domain such as lsun_bedroom.
        domain = [folders[i] for i in chain]
        dataset, reals = "-".join((*domain, folders[at])), "-".join((*domain, SHARED))
        return _Place(_plain(dataset), split, FAKE, reals)

    def _above(self, folders: _Folders, at: int) -> tuple[str, list[int]]:
        """Return the split, and the positions of the folders above that name something."""
        splits = [i for i in range(min(at + 2, len(folders))) if self.is_split(folders, i)]
        chain = [i for i in range(at) if i not in splits[:1]]
        while chain and folders[chain[0]] in _WRAPPERS:
            chain.pop(0)
        return _SPLITS[folders[splits[0]]] if splits else "", chain

    def _of_class(self, folders: _Folders, at: int, split: str, chain: list[int]) -> _Place:
        """Return what a class folder says together with the folders around it."""
        label, names = _CLASSES[folders[at]], [folders[i] for i in chain]
        if not names:
            below = [i for i in range(at + 1, len(folders)) if not self.is_split(folders, i)]
            generator = _plain(folders[below[0]]) if below else UNNAMED
            return _Place(SHARED if label == REAL else generator, split, label, SHARED)
        beside = self.inner[folders[:at]]
        domain = any(self.is_generator((*folders[:at], one), at) for one in beside)
        if label == REAL and domain:
            return _Place(_plain("-".join((*names, SHARED))), split, label)
        if self.inner[folders[: chain[0]]] <= _CONTENT | _CLASSES.keys():
            return _Place("progan", split, label, by_content=names[0])
        return _Place(_plain(names[0]), split, label)

    def evidence(self, folder: Path, folders: _Folders) -> str:
        """Return the folders that say that a tree is of this kind; empty if these do not."""
        name, above, path = folders[-1], folders[:-1], "/".join(folders)
        if name == "ai" and "nature" in self.inner[above]:
            return f"{path} and {'/'.join((*above, 'nature'))}"
        named = self._above(folders, len(above))[1]
        if name in ("0_real", "1_fake") and named and not set(above) & _CLASSES.keys():
            # Folders in them would be those of videos.
            return "" if _folders_of(folder) else path
        if _known(name) and above and _CLASSES.get(above[-1]) == FAKE:
            return path
        if _known(name) and self.is_generator(folders, len(above)):
            return f"{path} beside a real folder"
        return ""


def _plain(name: str) -> str:
    """Return a generator's name without the prefix that GenImage adds."""
    return re.sub(r"^imagenet_(?:ai_[0-9]+_)?(?=.)", "", name)


def _read(root: Path, options: LayoutOptions) -> Inventory:
    pattern = video_pattern(options.video_pattern)
    left_out: dict[str, str] = {}
    files = list(walk(root, left_out))
    folders = {one: _lower(one.relative_to(root).parts) for one in {f.parent for f in files}}
    shape = _Shape.of(folders.values())
    places = {one: shape.place(names) for one, names in folders.items()}
    groups: dict[tuple[_Place, str], list[Path]] = {}
    for file in files:
        place, name = places[file.parent], _video(file.relative_to(root), pattern)
        if file.suffix.lower() not in IMAGES | VIDEOS:
            left_out[relative(file, root)] = "it is neither an image nor a video"
        elif isinstance(place, str):
            left_out[relative(file, root)] = place
        elif not name:
            left_out[relative(file, root)] = "its path does not match video_pattern"
        else:
            groups.setdefault((place, name), []).append(file)
    if not groups:
        raise DatasetError(
            f"{str(root)!r} holds no images in folders of generators with real and fake folders "
            f"(known: {', '.join(_CLASSES)}; or generators beside a real folder). Give the folder "
            "that holds the generators, or list the files in a manifest."
        )
    return _inventory(root, groups, left_out, pattern is None)


def _inventory(
    root: Path,
    groups: Mapping[tuple[_Place, str], list[Path]],
    left_out: dict[str, str],
    alone: bool,
) -> Inventory:
    found = dict.fromkeys(place for place, _ in groups)
    reals, said = _reals(list(found))
    merged = _shared(found) if MERGED in reals.values() else set()
    tested = _tested_on_val(found)
    videos = [
        replace(
            one,
            dataset=MERGED if one.dataset in merged else one.dataset,
            split="test" if one.dataset in tested and one.split == "val" else one.split,
        )
        for (place, name), files in groups.items()
        for one in _entries(place, name, files)
    ]
    kept = account(root, videos, left_out)
    content = sorted({one.by_content for one in found if one.by_content})
    notes = [*said, *([PROGAN.format(content[0])] if content else [])]
    if tested:
        notes.append(f"{', '.join(sorted(tested))}: the folder val was read as test.")
    if alone:
        notes.append(ALONE)
    return Inventory(
        kept, reals, left_out, tuple(notes), LABELS, SPLIT_RULE, crop=CROP, without_val=bool(tested)
    )


def _entries(place: _Place, name: str, files: list[Path]) -> Iterator[VideoEntry]:
    """Yield the images of one group together, and every video separately."""
    images = [one for one in files if one.suffix.lower() in IMAGES]
    method = place.dataset if place.label == FAKE else "real"
    entry = VideoEntry(
        place.dataset, name, image_files(images), place.label, method, place.split, ""
    )
    if images:
        yield entry
    for file in files:
        if file.suffix.lower() in VIDEOS:
            # A name that an image has too is made different by the suffix.
            video = name if len(files) == 1 else f"{name}{file.suffix}"
            yield replace(entry, video=video, media=VideoFile(file))


def _reals(places: list[_Place]) -> tuple[dict[str, str], list[str]]:
    """Return the dataset of the reals of each generator without its own, and notes."""
    own = {one.dataset for one in places if one.label == REAL}
    lacking = {
        one.dataset: one.reals for one in places if one.label == FAKE and one.dataset not in own
    }
    shared = sorted(_shared(places))
    reals = {name: given for name, given in lacking.items() if given in shared}
    left = [name for name in lacking if name not in reals]
    if not left or not shared:
        said = f"{', '.join(left)}: there are no real images for these generators." if left else ""
        return reals, [said] if said else []
    if len(shared) == 1:
        return reals | dict.fromkeys(left, shared[0]), []
    if set(shared) == set(_UNIVERSAL):
        # The pairs of UniversalFakeDetect's own list.
        pairs = {name: "imagenet" if name in _ON_IMAGENET else "laion" for name in left}
        return reals | pairs, [UNIVERSAL]
    return dict.fromkeys(lacking, MERGED), [MERGED_NOTE.format(", ".join(shared))]


def _shared(places: Iterable[_Place]) -> set[str]:
    """Return the datasets that have reals alone."""
    found = {label: {one.dataset for one in places if one.label == label} for label in (REAL, FAKE)}
    return found[REAL] - found[FAKE]


def _tested_on_val(places: Iterable[_Place]) -> set[str]:
    """Return the datasets with val and train but no test: GenImage's papers test on val."""
    splits: dict[str, set[str]] = {}
    for one in places:
        splits.setdefault(one.dataset, set()).add(one.split)
    return {name for name, found in splits.items() if found == {"train", "val"}}


def _lower(parts: Iterable[str]) -> _Folders:
    return tuple(one.lower() for one in parts)


def _video(path: Path, pattern: re.Pattern[str] | None) -> str:
    """Return the name of a file's video: its path, or what the pattern finds in it."""
    if pattern is None:
        return path.with_suffix("").as_posix()
    match = pattern.search(path.as_posix())
    return match["video"] or "" if match else ""


def _recognize(root: Path) -> str | None:
    """Recognize a tree by folders that only sets of generated images have."""
    shape = _Shape()
    level: list[tuple[Path, _Folders]] = [(root, ())]
    for _ in range(_DEPTH):
        below = [
            (folder / name, (*names, name.lower()))
            for folder, names in level[:_MOST_FOLDERS]
            for name in _folders_of(folder)
        ]
        for _, names in below:
            shape.inner.setdefault(names[:-1], set()).add(names[-1])
        for folder, names in below[:_MOST_FOLDERS]:
            why = shape.evidence(folder, names)
            if why:
                return f"it holds {why}"
        level = below
    return None


def _known(name: str) -> bool:
    return bool(_KNOWN.fullmatch("".join(one for one in _plain(name) if one.isalnum())))


def _folders_of(folder: Path) -> list[str]:
    try:
        return sorted(one.name for one in os.scandir(folder) if one.is_dir() and one.name[0] != ".")
    except OSError:
        # A folder that cannot be listed gives no hint.
        return []


GENERATOR_TREE = LAYOUTS.register("generator-tree")(
    Layout(
        name="generator-tree",
        title="folders of generators, as GenImage, ForenSynths and UniversalFakeDetect's sets",
        read=_read,
        recognize=_recognize,
        shape=(
            "<generator>/{0_real,1_fake}, <generator>/<split>/{nature,ai}, or generators beside a "
            "real folder"
        ),
        takes=frozenset({"video_pattern"}),
        may_lie=True,
    )
)
