"""Layout of a manifest: a CSV or Parquet table of images or videos with columns of `Samples`."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from probe.datasets.dataset import CARD_FILE, SAMPLES_FILE
from probe.datasets.layouts import (
    IMAGES,
    LAYOUTS,
    VIDEOS,
    ImageFiles,
    Inventory,
    Layout,
    LayoutOptions,
    Media,
    VideoEntry,
    VideoFile,
)
from probe.datasets.layouts.files import (
    Places,
    account,
    image_files,
    inside,
    lacks_val,
    masks_of,
    relative,
    unread,
)
from probe.datasets.layouts.names import read_names, tells
from probe.datasets.layouts.tables import COLUMNS, Table, named, plain, read_table, unreadable
from probe.datasets.layouts.words import class_word, names_no_video
from probe.errors import DatasetError
from probe.schema import FAKE, REAL, SPLITS

__all__ = ["MANIFEST"]

NAMES = ("manifest.csv", "manifest.parquet", "samples.csv")

_LABELS = ({"0": REAL, "1": FAKE}, {"real": REAL, "fake": FAKE})

_FILLED = {
    "dataset": 'dataset is the name that was given, else "manifest"',
    "split": "no split is known",
    "method": 'method is "real" for real rows and the dataset for fake ones',
    "video": "video is the path without its final frame number",
    "identity": "identities are unknown",
    "source": "sources are unknown",
    "frame": "frames are the final numbers of names, else the order of names",
    "mask": "there are no masks",
}

SPLIT_RULE = "The column split of the table; where it is empty, none is known."


@dataclass(frozen=True)
class _Row:
    """One row of the table, with its file."""

    number: int
    dataset: str
    method: str
    video: str
    label: int
    split: str
    identity: str
    source: str
    frame: int | None
    file: Path
    mask: Path | None

    @property
    def key(self) -> tuple[str, str, str]:
        return self.dataset, self.method, self.video


def _read(root: Path, options: LayoutOptions) -> Inventory:
    table_file = _table_file(root)
    folder = table_file.parent
    places = Places([options.image_root or folder])
    table = _table(table_file, places)
    labels, convention = _labels(table, table_file, options.fake_label)
    left_out: dict[str, str] = {}
    rows = list(_rows(table.cells, labels, places, left_out))
    _require_one_label(rows)
    groups = _groups(rows, folder, left_out)
    videos = list(_entries(groups))
    kept = account(folder, videos, left_out, [table_file], sweep=root.is_dir())
    filled = [rule for name, rule in _FILLED.items() if name not in table.cells.columns]
    notes = tuple(f"The table lacks columns: {'; '.join(one)}." for one in [filled] if one)
    notes += (*table.notes, *places.notes(), *_against_folders(rows, folder))
    if "video" not in table.cells.columns:
        notes += (_grouped if "identity" in table.cells.columns else _single)(kept)
    lacks = lacks_val(kept)
    return Inventory(kept, {}, left_out, notes, convention, SPLIT_RULE, without_val=lacks)


def _against_folders(rows: Iterable[_Row], folder: Path) -> tuple[str, ...]:
    """Say which labels contradict the names of folders, such as "real"."""
    said, wrong = 0, []
    for row in rows:
        words = map(class_word, PurePosixPath(relative(row.file, folder)).parts[:-1])
        found = {one.label for one in words if one is not None and one.plain}
        said += len(found) == 1
        if len(found) == 1 and row.label not in found:
            wrong.append(row)
    if not wrong:
        return ()
    kind = ("real", "fake")[wrong[0].label]
    inverted = " If 1 is real in this table, give fake_label=0." if len(wrong) == said else ""
    return (
        f"{len(wrong)} of {said} labels contradict the folders of their images, such as row "
        f"{wrong[0].number}, where {relative(wrong[0].file, folder)!r} is labeled {kind}: the "
        f"table was used.{inverted}",
    )


def _grouped(videos: Iterable[VideoEntry]) -> tuple[str, ...]:
    """Say how many groups the column identity makes."""
    those = list(videos)
    known = len({(one.dataset, one.identity) for one in those if one.identity})
    alone = sum(not one.identity for one in those)
    if not known:
        return ("The column identity is empty: intervals and splits treat videos as independent.",)
    rest = f"; {alone:,} without, each a group of its own" if alone else ""
    return (
        f"Intervals and splits group the {len(those):,} videos (or single images) by their "
        f"{known:,} identities{rest}.",
    )


def _single(videos: Iterable[VideoEntry]) -> tuple[str, ...]:
    """Say so if most videos, which the names of images tell, have one image."""
    images = [one for one in videos if isinstance(one.media, ImageFiles)]
    single = [one for one in images if isinstance(m := one.media, ImageFiles) and len(m.files) == 1]
    if 2 * len(single) <= len(images):
        return ()
    return (
        f"{len(single)} of {len(images)} videos have one image, as read from names such as "
        f"{single[0].video!r}. If some belong together, add a column video: intervals and splits "
        "treat videos as independent.",
    )


def _table_file(root: Path) -> Path:
    if root.is_file():
        return root
    found = _tables(root)
    if len(found) != 1:
        raise DatasetError(
            f"{str(root)!r} holds {', '.join(one.name for one in found) or 'no table'}; a manifest "
            f"is a CSV or Parquet file, or a folder with one of {', '.join(NAMES)}. Give the file."
        )
    return found[0]


def _tables(root: Path) -> list[Path]:
    return [root / name for name in NAMES if (root / name).is_file()]


def _table(file: Path, places: Places) -> Table:
    """Read a table and give its columns their names; missing cells become empty text."""
    table = read_table(file)
    cells, notes = table.cells, list(table.notes)

    def on_disk(values: Sequence[str]) -> bool:
        some = [one for one in values if one]
        return any(places.find(one) is not None for one in some[:: max(1, len(some) // 50)])

    tests = {"path": on_disk, "label": _are_labels, "split": _are_splits, "frame": _are_numbers}
    columns: dict[str, str] = {}
    for name in COLUMNS:
        found = named(cells, name, tests.get(name, any))
        if found and found not in columns.values():
            columns[name] = found
    missing = [name for name in ("path", "label") if name not in columns]
    if missing:
        raise DatasetError(
            f"The table {str(file)!r} has no column {' and '.join(missing)}; it has "
            f"{', '.join(map(str, cells.columns))}. Name the columns path and label."
        )
    if table.guessed and not on_disk(list(cells[columns["path"]])):
        raise unreadable(file, "it is not in UTF-8, and read as Latin-1 its files are not on disk")
    words = columns["label"]
    if (better := _words_beside(cells, words)) and better != words:
        notes.append(f"Labels are from the column {better!r}, which says what {words!r} means.")
        columns["label"] = better
    renamed = [f"{found!r} is {name}" for name, found in columns.items() if found != name]
    if renamed:
        notes.append(f"Columns of the table: {', '.join(renamed)}.")
    out = {name: [str(one) for one in cells[found]] for name, found in columns.items()}
    for name in ("label", "frame"):
        # Integer columns with missing values are often written as 0.0 and 1.0.
        if name in out:
            out[name] = [re.sub(r"^([0-9]+)\.0+$", r"\1", one) for one in out[name]]
    out["label"] = _of_column(out["label"], columns["label"])
    return Table(pd.DataFrame(out, dtype=object), tuple(notes), table.guessed)


def _words_beside(cells: pd.DataFrame, given: str) -> str:
    """Return the column label_str or the like, if the labels themselves are numbers."""
    if not set(cells[given]) <= {"0", "1", "0.0", "1.0"}:
        return ""
    for name in cells.columns:
        if plain(name) in ("labelstr", "labelname", "classname") and _all_words(cells[name]):
            return str(name)
    return ""


_YES, _NO = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})


def _of_column(values: list[str], name: str) -> list[str]:
    """Return the values of a column that is named after one class: is_fake, is_real."""
    kind = {"isfake": "fake", "fake": "fake", "isreal": "real"}.get(plain(name))
    if kind is None or not {one.lower() for one in values} <= _YES | _NO:
        return values
    other = "real" if kind == "fake" else "fake"
    return [kind if one.lower() in _YES else other for one in values]


def _word(value: str) -> int | None:
    found = class_word(value)
    return None if found is None or "spoof" in value.lower() else found.label


def _all_words(values: Iterable[str]) -> bool:
    return all(_word(one) is not None for one in set(values))


def _are_labels(values: Sequence[str]) -> bool:
    there = {one.lower() for one in values}
    return len(there) <= 2 or _all_words(values)


def _are_numbers(values: Sequence[str]) -> bool:
    return any(values) and all(one.removesuffix(".0").isdecimal() for one in values if one)


def _are_splits(values: Sequence[str]) -> bool:
    return {one.lower() for one in values} <= {*_SPLITS, *SPLITS, "", "eval", "evaluation"}


def _labels(table: Table, file: Path, fake_label: str | None) -> tuple[dict[str, int], str]:
    """Return the meaning of each label value, and the label convention in words."""
    values = [one.lower() for one in table.cells["label"]]
    there = sorted(set(values))
    if fake_label is None:
        for known in _LABELS:
            if set(there) <= known.keys():
                fake, real = (next(v for v in known if known[v] == k) for k in (FAKE, REAL))
                return dict(known), f"column label: {real} is real, {fake} is fake → 0 real, 1 fake"
        if _all_words(there) and there:
            meant = {one: int(_word(one) or REAL) for one in there}
            said = ", ".join(f"{one} is {('real', 'fake')[meant[one]]}" for one in there)
            return meant, f"column label: {said} → 0 real, 1 fake"
        known_words = {"0", "1"} if {"0", "1"} & set(there) else {"real", "fake"}
        raise _wrong_labels(file, values, known_words, "0 and 1 (fake), or real and fake")
    fake = fake_label.strip().lower()
    others = [one for one in there if one != fake]
    if fake not in there or len(others) > 1 or "" in others:
        allowed = f"{fake_label!r} (fake, by fake_label) and one other value"
        most = Counter(one for one in values if one not in ("", fake)).most_common(1)
        raise _wrong_labels(file, values, {fake, *(one for one, _ in most)}, allowed)
    words = f"column label: {fake} is fake by the option fake_label"
    other = f", {others[0]} is real" if others else ""
    return {fake: FAKE, **dict.fromkeys(others, REAL)}, f"{words}{other} → 0 real, 1 fake"


def _wrong_labels(file: Path, values: list[str], known: set[str], allowed: str) -> DatasetError:
    rows = [number for number, one in enumerate(values, 1) if one not in known]
    where = f"rows {', '.join(map(str, rows[:5]))}{' and more' if len(rows) > 5 else ''}"
    shown = ", ".join(map(repr, sorted(set(values))[:6]))
    return DatasetError(
        f"The column label of {str(file)!r} holds {shown}; allowed are {allowed}. "
        f"{f'See {where} below the header. ' if rows else ''}Correct it, or give the value of "
        "fakes as the option fake_label."
    )


def _rows(
    table: pd.DataFrame, labels: Mapping[str, int], places: Places, left_out: dict[str, str]
) -> Iterator[_Row]:
    """Yield the rows whose files exist; the others are left out."""
    videos = _videos(filter(None, table["path"]))
    if "video" not in table and "identity" in table:
        videos = _of_one_identity(videos, dict(zip(table["path"], table["identity"], strict=True)))
    there = {one.lower() for one in table.get("split", ())}
    tests = there & {"test", "testing"} and not there & {"val", "valid", "validation"}
    spelled = {**_SPLITS, **dict.fromkeys(("eval", "evaluation"), "val" if tests else "test")}
    for number, cells in enumerate(table.to_dict("records"), 1):
        given = cells["path"]
        file = (places.find(given) or inside(places.bases[0], given)) if given else None
        why = _why_not(given, file)
        if file is None or why:
            left_out[given or f"row {number}"] = why
            continue
        mask = places.find(cells["mask"]) if cells.get("mask") else None
        if cells.get("mask") and mask is None:
            left_out[cells["mask"]] = "it is listed as a mask and not on disk in the folder"
        label = labels[cells["label"].lower()]
        dataset = cells.get("dataset") or "manifest"
        yield _Row(
            number=number,
            dataset=dataset,
            method=cells.get("method") or (dataset if label == FAKE else "real"),
            video=cells.get("video") or videos[given],
            label=label,
            split=_split(cells.get("split", ""), spelled, number),
            identity=cells.get("identity", ""),
            source=cells.get("source", ""),
            frame=_frame(cells.get("frame", ""), number),
            file=file,
            mask=mask,
        )


def _why_not(given: str, file: Path | None) -> str:
    if not given:
        return "its path is empty"
    if file is None:
        return "its path leads out of the folder"
    if file.suffix.lower() not in IMAGES | VIDEOS:
        return unread(file.suffix)
    return "" if file.is_file() else "it is listed and not on disk"


def _videos(paths: Iterable[str]) -> dict[str, str]:
    """Return the video of each path: its folder if frames are only numbered, else by its name."""
    folders: dict[PurePosixPath, dict[str, str]] = {}
    out: dict[str, str] = {}
    for given in paths:
        path = PurePosixPath(os.path.normpath(given.replace("\\", "/")))
        if path.suffix.lower() in VIDEOS:
            out[given] = path.with_suffix("").as_posix()
        else:
            folders.setdefault(path.parent, {})[given] = path.stem
    named = sum(_names_video(folder.name) for folder in folders)
    for folder, stems in folders.items():
        own = any(one in "0123456789" for one in folder.name)
        own = own or (named >= _VIDEO_FOLDERS and _names_video(folder.name))
        read = read_names(stems.values())
        for given, stem in stems.items():
            one = read[stem]
            in_folder = own and not one.video and one.frame is not None
            out[given] = (folder if in_folder else folder / (one.video or stem)).as_posix()
    return out


def _of_one_identity(videos: dict[str, str], identities: Mapping[str, str]) -> dict[str, str]:
    """Take images with different identities for no video, whatever their names say."""
    several: dict[str, set[str]] = {}
    for path, video in videos.items():
        several.setdefault(video, set()).add(identities[path])
    return {
        path: video if len(several[video]) == 1 else PurePosixPath(path).with_suffix("").as_posix()
        for path, video in videos.items()
    }


#: A folder without a number in its name is a video only if there are several of them.
_VIDEO_FOLDERS = 3


def _names_video(folder: str) -> bool:
    return tells(folder) and not names_no_video(folder)


#: Spellings of the splits; eval is val if there is a test split and no val, else test.
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def _split(given: str, spelled: Mapping[str, str], number: int) -> str:
    if given and given.lower() not in spelled:
        raise DatasetError(
            f"Row {number} below the header has the split {given!r}; allowed are "
            f"{', '.join(SPLITS)}, their usual spellings, or nothing."
        )
    return spelled[given.lower()] if given else ""


def _frame(given: str, number: int) -> int | None:
    if given and not (given.isascii() and given.isdecimal() and len(given) < 19):
        raise DatasetError(
            f"Row {number} below the header has the frame {given!r}; allowed are whole numbers "
            "from 0, or nothing."
        )
    return int(given) if given else None


def _require_one_label(rows: Iterable[_Row]) -> None:
    first: dict[Path, _Row] = {}
    for row in rows:
        other = first.setdefault(row.file, row)
        if other.label != row.label:
            raise DatasetError(
                f"Rows {other.number} and {row.number} below the header give one file, "
                f"{row.file.name!r}, two labels. Remove one of them."
            )


def _groups(
    rows: Iterable[_Row], folder: Path, left_out: dict[str, str]
) -> dict[tuple[str, str, str], list[_Row]]:
    """Return the rows by video; a file that occurs twice is used once."""
    groups: dict[tuple[str, str, str], list[_Row]] = {}
    seen: dict[Path, int] = {}
    for row in rows:
        if seen.setdefault(row.file, row.number) != row.number:
            name = f"{relative(row.file, folder)} (row {row.number})"
            left_out[name] = f"the file is already in row {seen[row.file]}"
            continue
        group = groups.setdefault(row.key, [])
        group.append(row)
        for name in ("label", "split", "identity", "source"):
            if getattr(group[0], name) != getattr(row, name):
                raise DatasetError(
                    f"The video {row.video!r} of {row.dataset!r} has two values of {name}: "
                    f"{getattr(group[0], name)!r} in row {group[0].number} and "
                    f"{getattr(row, name)!r} in row {row.number} below the header. A video has "
                    "one; correct the table, or give the videos different names."
                )
    return groups


def _entries(groups: Mapping[tuple[str, str, str], list[_Row]]) -> Iterator[VideoEntry]:
    shared = Counter((dataset, video) for dataset, _, video in groups)
    several = {dataset for (dataset, _), count in shared.items() if count > 1}
    for (dataset, method, video), rows in sorted(groups.items()):
        # Videos of several methods may share a name; the method makes it unique.
        name = f"{method}/{video}" if dataset in several else video
        for media, masks in _media(rows):
            yield VideoEntry(
                dataset=dataset,
                video=name,
                media=media,
                label=rows[0].label,
                method=method,
                split=rows[0].split,
                identity=rows[0].identity,
                source=rows[0].source,
                masks=masks,
            )


def _media(rows: list[_Row]) -> Iterator[tuple[Media, Media | None]]:
    """Yield the images of a video together, and every video file separately."""
    images = [row for row in rows if row.file.suffix.lower() in IMAGES]
    if images:
        media = _images(images)
        yield media, masks_of(media, {row.file: row.mask for row in images if row.mask})
    for row in rows:
        if row.file.suffix.lower() in VIDEOS:
            yield VideoFile(row.file), _mask_video(row.mask)


def _mask_video(mask: Path | None) -> VideoFile | None:
    return VideoFile(mask) if mask and mask.suffix.lower() in VIDEOS else None


def _images(rows: list[_Row]) -> ImageFiles:
    frames = [row.frame for row in rows if row.frame is not None]
    if not frames:
        return image_files(row.file for row in rows)
    if len(set(frames)) < len(rows):
        raise DatasetError(
            f"The video {rows[0].video!r} of {rows[0].dataset!r} has {len(rows)} images and "
            f"{len(set(frames))} different frames. Number every image of it, or none."
        )
    ordered = sorted(rows, key=lambda row: row.frame or 0)
    return ImageFiles(tuple(row.file for row in ordered), tuple(sorted(frames)))


def _recognize(root: Path) -> str | None:
    if root.is_file():
        return (
            f"it is a table, {root.name}"
            if root.suffix.lower() in (".csv", ".tsv", ".parquet")
            else None
        )
    if (root / SAMPLES_FILE).is_file() and (root / CARD_FILE).is_file():
        return None
    found = _tables(root)
    return f"it holds {found[0].name}" if len(found) == 1 else None


MANIFEST = LAYOUTS.register("manifest")(
    Layout(
        name="manifest",
        title="a table of images or videos",
        read=_read,
        recognize=_recognize,
        shape=f"one of {', '.join(NAMES)}, with the columns path and label",
        takes=frozenset({"image_root", "fake_label"}),
        generic=True,
        takes_file=True,
        may_lie=True,
    )
)
