"""Face boxes of the user's own, in place of a face detector."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from probe.datasets.faces import Face
from probe.datasets.layouts import Inventory
from probe.errors import DatasetError

__all__ = ["BOX_COLUMNS", "read_boxes"]

BOX_COLUMNS = ("video", "frame", "x", "y", "width", "height")


def read_boxes(file: Path, found: Inventory) -> Mapping[str, Mapping[int, Face]]:
    """Read a table of face boxes, one row a frame.

    Parameters
    ----------
    file : pathlib.Path
        ``.csv`` or ``.parquet`` with columns ``video`` ("deepfakes/000_003", or "000_003" where
        only one dataset has a video of that name), ``frame`` (index in the video), ``x``, ``y``
        (left and upper edge), ``width`` and ``height`` in pixels of the frame; optionally
        ``score``.
    found : Inventory
        The videos that the boxes are for.

    Returns
    -------
    mapping
        From a video's key to a mapping from frame to its box. Frames that are not in the table
        have no face.

    Raises
    ------
    DatasetError
        If the table cannot be read, a column is missing or not numeric, a box is empty, a frame
        stands twice, or a video is not in the dataset.
    """
    table = _read(file)
    missing = [name for name in BOX_COLUMNS if name not in table]
    if missing:
        raise DatasetError(
            f"The boxes in {str(file)!r} have no column {', '.join(map(repr, missing))}; they need "
            f"{', '.join(BOX_COLUMNS)}."
        )
    numbers = table[list(BOX_COLUMNS[1:])].apply(pd.to_numeric, errors="coerce")
    bad = ~np.isfinite(numbers.to_numpy(dtype=float)).all(axis=1)
    bad |= (numbers[["width", "height"]] <= 0).any(axis=1).to_numpy()
    if bad.any():
        raise DatasetError(
            f"Row {int(np.flatnonzero(bad)[0]) + 1} of {str(file)!r} holds no box: frame, x, y, "
            f"width and height have to be numbers, the last two above 0 ({int(bad.sum())} such "
            "rows)."
        )
    keys = _keys(table["video"].astype(str), file, found)
    scores = table["score"] if "score" in table else [float("nan")] * len(table)
    boxes: dict[str, dict[int, Face]] = {}
    for key, row, score in zip(keys, numbers.itertuples(index=False), scores, strict=True):
        of_video = boxes.setdefault(key, {})
        frame = int(row.frame)
        if frame in of_video:
            raise DatasetError(
                f"Frame {frame} of {key!r} stands twice in {str(file)!r}. Give one box a frame."
            )
        of_video[frame] = Face(
            float(row.x), float(row.y), float(row.width), float(row.height), float(score)
        )
    return boxes


def _read(file: Path) -> pd.DataFrame:
    if file.suffix not in (".csv", ".parquet"):
        raise DatasetError(f"Boxes {str(file)!r} were given; a .csv or .parquet file is needed.")
    try:
        if file.suffix == ".csv":
            return pd.read_csv(file, dtype={"video": str})
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise DatasetError(f"The boxes {str(file)!r} cannot be read ({error}).") from error


def _keys(names: pd.Series[str], file: Path, found: Inventory) -> list[str]:
    keys = {video.key for video in found.videos}
    by_name: dict[str, list[str]] = {}
    for video in found.videos:
        by_name.setdefault(video.video, []).append(video.key)
    out = []
    for name in names:
        those = [name] if name in keys else by_name.get(name, [])
        if len(those) != 1:
            what = f"could be {' or '.join(those)}" if those else "is not in the dataset"
            raise DatasetError(
                f"Video {name!r} in {str(file)!r} {what}. Name videos as dataset/video, such as "
                f"{next(iter(keys))!r}."
            )
        out.append(those[0])
    return out
