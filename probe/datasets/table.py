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

#: Rows collected as Python objects before they are converted to columns, to save memory.
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
    """Build the sample table from the results of all videos.

    Parameters
    ----------
    entries : sequence of VideoEntry
        The videos.
    clips : iterable of Placed
        Result for each video, in the same order.

    Returns
    -------
    table : pandas.DataFrame
        One row per image, with the columns of `Samples` and those of the crops.
    reports : list of VideoReport
        One report per video.
    """
    frames: list[pd.DataFrame] = []
    rows: list[dict[str, Any]] = []
    reports = []
    for entry, placed in zip(entries, clips, strict=True):
        # The cached report may have the split and names of an earlier run.
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
    """Return the columns of the sample table that follow from a video and a frame index.

    Parameters
    ----------
    entry : VideoEntry
        The video.
    frame : int
        Index of the frame in the video.
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
    """Build the sample table of images that are used in place, without opening them.

    Parameters
    ----------
    entries : sequence of VideoEntry
        Videos whose media are all image files.

    Returns
    -------
    pandas.DataFrame
        One row per image, with the columns of `Samples`; paths are absolute.
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
    # None for unknown values would give a column of objects.
    for name in _NUMBERS:
        if name in frame:
            frame[name] = frame[name].astype("float64")
    return frame
