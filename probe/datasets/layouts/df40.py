"""Layout of DF40 as distributed: forty methods with folders of face crops (Yan et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from probe.datasets.layouts import (
    IMAGES,
    LAYOUTS,
    VIDEOS,
    Inventory,
    Layout,
    LayoutOptions,
    Media,
    VideoEntry,
    VideoFile,
)
from probe.datasets.layouts.files import (
    People,
    account,
    celeb_people,
    ff_people,
    folders_in,
    image_files,
    natural,
    video_of,
    walk,
)
from probe.datasets.layouts.names import read_names
from probe.errors import DatasetError
from probe.schema import FAKE, REAL

__all__ = ["DF40", "METHODS"]

#: Names of the methods' folders, in lower case and without punctuation; some of the paper's forty
#: methods have two spellings.
METHODS = frozenset(
    """
    fsgan faceswap simswap inswap inswapper blendface uniface mobileswap e4s facedancer deepfacelab
    fomm facevid2vid fsvid2vid wav2lip mraa oneshot oneshotfree pirender tpsm lia dagan danet
    sadtalker mcnet hyperreenact heygen
    vqgan stylegan2 stylegan3 styleganxl sd21 ddpm ddim rddm pixart dit ditxl2 sit sitxl2 midjourney
    midjourney6 whichisreal whichfaceisreal
    collabdiff e4e stargan starganv2 styleclip
    """.split()
)

_REENACTMENTS = frozenset(
    "fomm facevid2vid fsvid2vid wav2lip mraa oneshot oneshotfree pirender tpsm lia dagan danet "
    "sadtalker mcnet hyperreenact heygen".split()
)

#: Folders of a method: suffix of the dataset's name, and label.
_PARTS = {"ff": ("-ff", FAKE), "cdf": ("-cdf", FAKE), "fake": ("", FAKE), "real": ("", REAL)}

#: Folders next to the frames that hold no images of the dataset.
_BESIDE = frozenset({"landmarks", "masks"})

LABELS = "folders ff, cdf and fake (fake) and real (real) → 0 real, 1 fake"
SPLIT_RULE = "The folders hold no official split; the authors distribute it in separate lists."
LICENSE = "CC BY-NC 4.0"
CROP = "face crops as distributed with DF40 (cut as DeepfakeBench does: face box × 1.3, 256 × 256)"
NO_REALS = {
    "ff": "The fakes in ff have no real class here: it is FaceForensics++ youtube.",
    "cdf": "The fakes in cdf have no real class here: it is Celeb-real of Celeb-DF.",
}


def _read(root: Path, options: LayoutOptions) -> Inventory:
    folders = _folders(root)
    if not folders:
        raise DatasetError(
            f"{str(root)!r} is not a DF40 tree: no folder of one of its methods, such as simswap, "
            f"with {', '.join(_PARTS)} is in it. Give the folder that holds the methods."
        )
    left_out: dict[str, str] = {}
    videos = [entry for folder in folders for entry in _entries(root, folder, left_out)]
    kept = account(root, videos, left_out)
    there = {folder.name.lower() for folder in folders}
    notes = tuple(note for part, note in NO_REALS.items() if part in there)
    return Inventory(kept, {}, left_out, notes, LABELS, SPLIT_RULE, LICENSE, crop=CROP)


def _folders(root: Path) -> list[Path]:
    """Return the folders <method>/{ff,cdf,fake,real} of known methods."""
    return [
        part
        for method in folders_in(root)
        if _plain(method.name) in METHODS
        for part in folders_in(method)
        if part.name.lower() in _PARTS
    ]


def _plain(name: str) -> str:
    return "".join(one for one in name.lower() if one.isalnum())


def _entries(root: Path, folder: Path, left_out: dict[str, str]) -> Iterator[VideoEntry]:
    frames = folder / "frames"
    top = frames if frames.is_dir() else folder
    images: dict[str, list[Path]] = {}
    loose: dict[str, list[Path]] = {}
    for file in walk(root, left_out, top):
        path = PurePosixPath(file.relative_to(top).as_posix())
        if path.parts[0].lower() in _BESIDE:
            continue
        if file.suffix.lower() in IMAGES and len(path.parts) == 1:
            loose.setdefault(path.stem, []).append(file)
        elif file.suffix.lower() in IMAGES:
            images.setdefault(video_of(path), []).append(file)
        elif file.suffix.lower() in VIDEOS:
            yield _entry(folder, path.with_suffix("").as_posix(), VideoFile(file))
    for stem, one in read_names(loose).items():
        images.setdefault(one.video or stem, []).extend(loose[stem])
    for name in sorted(images, key=natural):
        yield _entry(folder, name, image_files(images[name]))


def _entry(folder: Path, name: str, media: Media) -> VideoEntry:
    method, part = folder.parent.name.lower(), folder.name.lower()
    ending, label = _PARTS[part]
    people = _people(part, PurePosixPath(name).name)
    drives = label == FAKE and _plain(method) in _REENACTMENTS
    return VideoEntry(
        dataset=method + ending,
        video=name if ending else f"{part}/{name}",
        media=media,
        label=label,
        method=method if label == FAKE else "real",
        split="",
        identity=people.identity,
        source=people.source,
        driver=people.source if drives else "",
    )


def _people(part: str, name: str) -> People:
    found = {"ff": ff_people, "cdf": celeb_people}.get(part)
    return (found and found(name)) or People("")


def _recognize(root: Path) -> str | None:
    folders = _folders(root)
    if not folders:
        return None
    return f"it holds {folders[0].relative_to(root).as_posix()}, a method of DF40"


DF40 = LAYOUTS.register("df40")(
    Layout(
        name="df40",
        title="DF40 (Yan et al. 2024, arXiv:2406.13495)",
        read=_read,
        recognize=_recognize,
        shape="folders <method>/{ff,cdf} or <method>/{fake,real}",
        may_lie=True,
    )
)
