"""The sample table of an ingest, built video by video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from probe.datasets.layouts import ImageFiles, Media, VideoEntry
from probe.datasets.report import VideoReport

if TYPE_CHECKING:
    from probe.datasets.work import Placed

__all__ = ["entry_columns", "lying_table", "sample_table"]

#: Rows gathered as Python objects before they become columns, which take a tenth of the memory.
CHUNK = 20_000

_NUMBERS = (
    "time",
    "box_x",
    "box_y",
    "box_w",
    "box_h",
    "align_a",
    "align_b",
    "align_u",
    "align_v",
    "outside",
    "face_score",
    "source_bitrate",
    "source_fps",
)


def sample_table(
    entries: Sequence[VideoEntry], clips: Iterable[Placed]
) -> tuple[pd.DataFrame, list[VideoReport]]:
    """Join what was made of all videos.

    Parameters
    ----------
    entries : sequence of VideoEntry
        The videos.
    clips : iterable of Placed
        What was made of each, in the same order.

    Returns
    -------
    table : pandas.DataFrame
        One row an image, with the columns of `Samples` and those of the crops.
    reports : list of VideoReport
        One a video.
    """
    frames: list[pd.DataFrame] = []
    rows: list[dict[str, Any]] = []
    reports = []
    for entry, placed in zip(entries, clips, strict=True):
        # Since the video was cut its split may have been chosen anew, and in the cache its names
        # are those of whoever asked first.
        report = placed.clip.report
        reports.append(replace(report, dataset=entry.dataset, video=entry.video, split=entry.split))
        rows += _rows(entry, placed)
        if len(rows) >= CHUNK:
            frames.append(_columns(rows))
            rows = []
    if rows or not frames:
        frames.append(_columns(rows))
    return pd.concat(frames, ignore_index=True), reports


def entry_columns(entry: VideoEntry, frame: int) -> dict[str, Any]:
    """Return what the table says of every image of a video.

    Parameters
    ----------
    entry : VideoEntry
        The video.
    frame : int
        Index in it.
    """
    return {
        "sample": f"{entry.key}/{frame:06d}",
        "dataset": entry.dataset,
        "split": entry.split,
        "label": entry.label,
        "method": entry.method,
        "video": entry.video,
        "identity": entry.identity,
        "source": entry.source,
        "driver": entry.driver,
        "original": entry.original,
        "frame": frame,
    }


def lying_table(entries: Sequence[VideoEntry]) -> pd.DataFrame:
    """List images where they lie, without opening them.

    Parameters
    ----------
    entries : sequence of VideoEntry
        All of whose media are image files.

    Returns
    -------
    pandas.DataFrame
        One row an image, with the columns of `Samples`; paths are absolute.
    """
    rows: list[dict[str, Any]] = []
    for entry in entries:
        masks = _numbered(entry.masks)
        for number, file in _numbered(entry.media).items():
            mask = masks.get(number)
            place = {"path": str(file.resolve()), "mask": str(mask.resolve()) if mask else ""}
            rows.append({**entry_columns(entry, number), **place})
    return pd.DataFrame(rows)


def _numbered(media: Media | None) -> dict[int, Path]:
    if not isinstance(media, ImageFiles):
        return {}
    return dict(zip(media.frames or range(len(media.files)), media.files, strict=True))


def _rows(entry: VideoEntry, placed: Placed) -> Iterator[dict[str, Any]]:
    for row in placed.clip.rows:
        own = {key: value for key, value in row.items() if key not in ("file", "mask", "frame")}
        yield {
            **entry_columns(entry, row["frame"]),
            "path": placed.path(row["file"]),
            "mask": placed.path(row["mask"]) if row["mask"] else "",
            **own,
            **placed.clip.source,
        }


def _columns(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    # None where nothing is known would make a column of objects.
    for name in _NUMBERS:
        if name in frame:
            frame[name] = frame[name].astype("float64")
    return frame
