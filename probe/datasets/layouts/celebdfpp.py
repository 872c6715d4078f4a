"""Layout of Celeb-DF++ as distributed: 22 methods in three families (Li et al. 2025)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from probe.datasets.layouts import (
    LAYOUTS,
    VIDEOS,
    Inventory,
    Layout,
    LayoutOptions,
    VideoEntry,
    VideoFile,
)
from probe.datasets.layouts.celebdf import (
    FAMILIES,
    TESTING_LIST,
    families_in,
    list_lines,
    testing_file,
)
from probe.datasets.layouts.files import (
    People,
    account,
    celeb_people,
    folders_in,
    relative,
    walk,
)
from probe.errors import DatasetError
from probe.schema import FAKE, REAL

__all__ = ["CELEBDF_PP", "METHODS"]

#: The methods of each family, as their folders are named.
METHODS = {
    "FaceSwap": (
        "Celeb-DF BlendFace GHOST HifiFace InSwapper MobileFaceSwap SimSwap UniFace".split()
    ),
    "FaceReenact": "DaGAN FSRT HyperReenact LIA LivePortrait MCNET TPSMM".split(),
    "TalkingFace": ("AniTalker EchoMimic EDTalk FLOAT IP_LAP Real3DPortrait SadTalker".split()),
}

#: Other names of a method's folder, in lower case.
_SAME = {"celeb-df-v2": "celeb-df", "celeb-df-v1": "celeb-df"}

#: Folders of real videos, in lower case, since YouTube-real is also found as Youtube-real.
_REALS = ("celeb-real", "youtube-real")

#: Dataset of the real videos, which all methods share.
REALS = "celebdf-real"

LABELS = (
    f"folders Celeb-real, YouTube-real (real) and Celeb-synthesis (fake) → 0 real, 1 fake; in "
    f"{TESTING_LIST} 1 is real and 0 is fake, which was inverted and checked"
)
SPLIT_RULE = (
    f"The official {TESTING_LIST} is test, all others are train; there is no official val. "
    "Without the list no split is known."
)
LICENSE = "Celeb-DF++ terms: research use, no redistribution"
PROTOCOLS = (
    "Each method is a dataset named FAMILY-METHOD, with the shared reals. GF-eval is the test "
    "split of every method; GFD-eval the same with detectors trained on other datasets; GFQ-eval "
    "needs compressed copies of the test videos, which the distribution does not hold."
)

#: A talking face: the person and the number of the real video, then the name of the audio.
_TALKING = re.compile(r"(id[0-9]+)_([0-9]+)_.+")

#: What the folders say of a video: its label, family and method (empty for reals).
_Place = tuple[int, str, str]

_Listed = Mapping[tuple[str, str], int]


def _read(root: Path, options: LayoutOptions) -> Inventory:
    families = families_in(root)
    if not families:
        raise DatasetError(
            f"{str(root)!r} is not a Celeb-DF++ tree: none of {', '.join(FAMILIES)} is in its "
            "folder Celeb-synthesis. Give the folder that holds Celeb-real, YouTube-real and "
            "Celeb-synthesis; Celeb-DF without families is celebdf-v1 or celebdf-v2."
        )
    listed = _testing_list(root)
    left_out: dict[str, str] = {}
    videos = [_entry(file, place, listed) for file, place in _videos(root, left_out)]
    testing = testing_file(root)
    kept = account(root, videos, left_out, [testing] if testing else [])
    found = {video.dataset for video in kept if video.label == FAKE}
    reals = dict.fromkeys(sorted(found), REALS) if any(v.label == REAL for v in kept) else {}
    notes = (PROTOCOLS, *_missing(root, kept, listed))
    return Inventory(kept, reals, left_out, notes, LABELS, SPLIT_RULE, LICENSE, without_val=True)


def _videos(root: Path, left_out: dict[str, str]) -> Iterator[tuple[Path, _Place]]:
    """Yield the videos of the official folders; the others are accounted for later."""
    for top in folders_in(root):
        name = top.name.lower()
        if name not in (*_REALS, "celeb-synthesis"):
            continue
        for file in walk(root, left_out, top):
            place = _place(PurePosixPath(file.relative_to(root).as_posix()))
            if file.suffix.lower() in VIDEOS and place is not None:
                yield file, place
            elif file.suffix.lower() in VIDEOS:
                left_out[relative(file, root)] = (
                    f"it is not in a folder of the form Celeb-synthesis/{{{','.join(FAMILIES)}}}"
                    "/<method>"
                    if name == "celeb-synthesis"
                    else "it is in a subfolder that the layout does not have"
                )


def _place(path: PurePosixPath) -> _Place | None:
    """Return what the folders of a path say; None if it is in no official folder."""
    folders = [one.lower() for one in path.parts[:-1]]
    if folders and folders[-1] == "videos":
        folders.pop()
    if len(folders) == 1 and folders[0] in _REALS:
        return REAL, "", ""
    known = {one.lower() for one in FAMILIES}
    if len(folders) == 3 and folders[0] == "celeb-synthesis" and folders[1] in known:
        return FAKE, folders[1], _SAME.get(folders[2], folders[2])
    return None


def _entry(file: Path, place: _Place, listed: _Listed | None) -> VideoEntry:
    label, family, method = place
    dataset = f"{family}-{method}" if label == FAKE else REALS
    people = _people(file.stem, family) or People("")
    split = ""
    if listed is not None:
        split = "test" if (dataset, file.stem) in listed else "train"
    return VideoEntry(
        dataset=dataset,
        video=file.stem,
        media=VideoFile(file),
        label=label,
        method=method if label == FAKE else "real",
        split=split,
        identity=people.identity,
        source=people.source,
        # The second person of a reenactment moves the face of the first.
        driver=people.source if family == "facereenact" else "",
        original=f"{REALS}/{people.original}" if people.original else "",
    )


def _people(name: str, family: str) -> People | None:
    """Parse a name; YouTube-real names nobody, and talking faces name their audio last."""
    match = _TALKING.fullmatch(name) if family == "talkingface" else None
    return celeb_people(name) or (People(match[1], "", f"{match[1]}_{match[2]}") if match else None)


def _testing_list(root: Path) -> _Listed | None:
    """Return the labels (fake = 1) of listed videos by dataset and stem; None without a list."""
    file = testing_file(root)
    if file is None:
        return None
    listed: dict[tuple[str, str], int] = {}
    for number, line in enumerate(list_lines(file), 1):
        match = re.fullmatch(r"([01])\s+(.+)", line)
        path = PurePosixPath(match[2].replace("\\", "/")) if match else PurePosixPath()
        place = _place(path)
        if match is None or place is None:
            raise DatasetError(
                f"Line {number} of {str(file)!r} is {line!r}; it must be a label and a path, such "
                'as "0 Celeb-synthesis/FaceSwap/SimSwap/id0_id1_0000.mp4". Restore the official '
                "list of Celeb-DF++."
            )
        label = FAKE if match[1] == "0" else REAL
        if label != place[0]:
            raise DatasetError(
                f"Line {number} of {str(file)!r}, {line!r}, contradicts the folder: the list says "
                f"{('real', 'fake')[label]} (where 1 is real), the folder the other. Restore the "
                "official list, or move the video."
            )
        dataset = f"{place[1]}-{place[2]}" if label == FAKE else REALS
        listed[dataset, path.stem] = label
    return listed


def _missing(root: Path, kept: tuple[VideoEntry, ...], listed: _Listed | None) -> Iterator[str]:
    there = {one.name.lower() for one in folders_in(root)}
    for name in ("Celeb-real", "YouTube-real"):
        if name.lower() not in there:
            yield f"The folder {name} is missing."
    counts = Counter(video.dataset for video in kept)
    official = [
        f"{family.lower()}-{method.lower()}"
        for family, methods in METHODS.items()
        for method in methods
    ]
    absent = [name for name in official if name not in counts]
    if absent:
        yield f"{len(absent)} of the 22 methods are missing: {', '.join(absent)}."
    others = [name for name in sorted(counts) if name not in (REALS, *official)]
    if others:
        yield f"{', '.join(others)} is not among the 22 methods of the paper and was taken as fake."
    if listed is None:
        yield f"{TESTING_LIST} is missing: no split is known."
        return
    unlisted = sorted(counts.keys() - {dataset for dataset, _ in listed})
    if unlisted:
        yield (
            f"{TESTING_LIST} names no video of {', '.join(unlisted)}: all of them are train. "
            "Check that it is the list of Celeb-DF++."
        )
    gone = sorted(listed.keys() - {(video.dataset, video.video) for video in kept})
    if gone:
        first = ", ".join("/".join(one) for one in gone[:3])
        yield (
            f"{len(gone)} of the {len(listed)} videos of {TESTING_LIST} are missing, such as "
            f"{first}."
        )


def _recognize(root: Path) -> str | None:
    found = families_in(root)
    return f"it holds {found[0].relative_to(root).as_posix()}" if found else None


CELEBDF_PP = LAYOUTS.register("celeb-df++")(
    Layout(
        name="celeb-df++",
        title="Celeb-DF++ (Li et al. 2025, arXiv:2507.18015)",
        read=_read,
        recognize=_recognize,
        shape=(
            "Celeb-real, YouTube-real and "
            f"Celeb-synthesis/{{{','.join(FAMILIES)}}}/<method>, with {TESTING_LIST}"
        ),
    )
)
