"""Layout of FakeAVCeleb as distributed: videos whose pictures, sounds or both are forged (2021)."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
from probe.datasets.layouts.files import account, folders_in, relative, walk
from probe.errors import DatasetError
from probe.schema import FAKE, REAL

__all__ = ["FAKEAVCELEB"]

TABLE = "meta_data.csv"

#: The four folders, and the label of their pictures.
FOLDERS = {
    "RealVideo-RealAudio": REAL,
    "RealVideo-FakeAudio": REAL,
    "FakeVideo-RealAudio": FAKE,
    "FakeVideo-FakeAudio": FAKE,
}
_LOWER = {name.lower(): label for name, label in FOLDERS.items()}

LABELS = (
    "folders RealVideo-RealAudio and RealVideo-FakeAudio (real: their pictures are) and "
    "FakeVideo-RealAudio and FakeVideo-FakeAudio (fake) → 0 real, 1 fake"
)
SPLIT_RULE = "FakeAVCeleb has no official split."
LICENSE = "FakeAVCeleb terms: research use"
FAKE_AUDIO = (
    "{} videos of RealVideo-FakeAudio are real: only their sound is forged, and images are all "
    "that is read here. They show the same pictures as videos of RealVideo-RealAudio of the same "
    "person."
)

#: What the table says of a video: its method, and the person whose face was put in.
_Rows = Mapping[tuple[str, str, str], tuple[str, str]]


@dataclass(frozen=True)
class _Place:
    """What the folders of a video say."""

    folder: str
    identity: str

    @property
    def label(self) -> int:
        return _LOWER[self.folder]


def _read(root: Path, options: LayoutOptions) -> Inventory:
    folders = [one for one in folders_in(root) if one.name.lower() in _LOWER]
    if not folders:
        raise DatasetError(
            f"{str(root)!r} is not a FakeAVCeleb tree: none of {', '.join(FOLDERS)} is in it. Give "
            "the folder that holds them."
        )
    rows = _rows(root / TABLE)
    left_out: dict[str, str] = {}
    videos = [
        _entry(file, place, rows)
        for folder in folders
        for file in walk(root, left_out, folder)
        if (place := _place(root, file, left_out)) is not None
    ]
    kept = account(root, videos, left_out, [root / TABLE])
    notes = tuple(_notes({one.name.lower() for one in folders}, kept, rows))
    return Inventory(kept, {}, left_out, notes, LABELS, SPLIT_RULE, LICENSE)


def _place(root: Path, file: Path, left_out: dict[str, str]) -> _Place | None:
    parts = PurePosixPath(file.relative_to(root).as_posix()).parts
    if file.suffix.lower() not in VIDEOS:
        return None
    if len(parts) != 5:
        left_out[relative(file, root)] = (
            "its folders are not of the form <videos and sounds>/<ethnicity>/<gender>/<id>"
        )
        return None
    return _Place(parts[0].lower(), parts[3])


def _entry(file: Path, place: _Place, rows: _Rows | None) -> VideoEntry:
    label = place.label
    method, source = (rows or {}).get((place.folder, place.identity, file.name), ("", ""))
    return VideoEntry(
        dataset="fakeavceleb",
        # Names repeat over folders and persons.
        video=PurePosixPath(*file.parts[-5:]).with_suffix("").as_posix(),
        media=VideoFile(file),
        label=label,
        method="real" if label == REAL else method or place.folder,
        split="",
        identity=place.identity,
        source=source if label == FAKE else "",
    )


def _rows(table: Path) -> _Rows | None:
    """Return method and source by folder, person and file name; None without a table.

    The official table names nine columns and has ten: the file and its folder are the last two.
    """
    if not table.is_file():
        return None
    found = {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines)
            names = [one.strip().lower() for one in next(reader)]
            at = {one: names.index(one) for one in ("source", "target1", "method", "type")}
            for cells in reader:
                file = next((one for one in cells if Path(one).suffix.lower() in VIDEOS), "")
                kind = cells[at["type"]].strip().lower()
                target = cells[at["target1"]].strip()
                key = kind, cells[at["source"]].strip(), PurePosixPath(file).name
                found[key] = (
                    cells[at["method"]].strip().lower(),
                    target if target.startswith("id") else "",
                )
    except (OSError, ValueError, IndexError, StopIteration, csv.Error) as error:
        raise DatasetError(
            f"{str(table)!r} cannot be read ({type(error).__name__}: {error}). Restore the "
            "official file, or remove it: then methods are not known."
        ) from error
    return found


def _notes(there: set[str], kept: tuple[VideoEntry, ...], rows: _Rows | None) -> Iterator[str]:
    for name in FOLDERS:
        if name.lower() not in there:
            yield f"The folder {name} is missing."
    counts = Counter(one.video.split("/")[0].lower() for one in kept)
    if counts["realvideo-fakeaudio"]:
        yield FAKE_AUDIO.format(counts["realvideo-fakeaudio"])
    if rows is None:
        yield f"{TABLE} is missing: the method of a fake is the name of its folder."
        return
    known = {(*_key(one),) for one in kept}
    unlisted = len(known - rows.keys())
    if unlisted:
        yield (
            f"{unlisted} videos are not in {TABLE}: the method of those that are fake is the name "
            "of their folder."
        )
    absent = sorted(rows.keys() - known)
    if absent:
        first = ", ".join("/".join(one) for one in absent[:3])
        yield f"{len(absent)} of the {len(rows)} videos of {TABLE} are missing, such as {first}."


def _key(video: VideoEntry) -> tuple[str, str, str]:
    assert isinstance(video.media, VideoFile)
    return video.video.split("/")[0].lower(), video.identity, video.media.file.name


def _recognize(root: Path) -> str | None:
    there = [one.name for one in folders_in(root) if one.name.lower() in _LOWER]
    return f"it holds {there[0]}" if there else None


FAKEAVCELEB = LAYOUTS.register("fakeavceleb")(
    Layout(
        name="fakeavceleb",
        title="FakeAVCeleb (Khalid et al. 2021, arXiv:2108.05080)",
        read=_read,
        recognize=_recognize,
        shape="{Real,Fake}Video-{Real,Fake}Audio/<ethnicity>/<gender>/<id>/*.mp4",
    )
)
