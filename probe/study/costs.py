"""Forecast of a study: time, disk and memory by stage, before anything is computed.

Networks and image processing are timed on this machine and device, on a few images of the study's
size; the number of operations of each stage is counted from the study. The cost of statistics and
figures was measured on a reference machine, and is scaled by the speed of this one.
"""

from __future__ import annotations

import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from probe.artifacts import measure_artifacts
from probe.attribution import Refusal, attribute
from probe.attribution.trust import trust_report
from probe.budget import parse_memory
from probe.compute import resolve_device
from probe.datasets import Dataset, open_dataset, parts_of
from probe.datasets.audit import audit
from probe.datasets.lab import COUNTS, FRAMES, make
from probe.detectors import Detector, find_architecture, load_detector
from probe.detectors.training import CACHE_BYTES, TrainingPlan, seconds_a_step
from probe.detectors.variants import plan_base, plan_tuned
from probe.hooks import Recorder, Tap, compile_suffix, trace
from probe.neurons import MODES, neuron_importance
from probe.neurons.sweep import MEMORY as STATES_BYTES
from probe.progress import listening, progress_bar
from probe.schema import DATASETS, FAKE, VARIANTS
from probe.separability.embedding import FITTED
from probe.separability.features import PAIRWISE
from probe.study.analyses import TRUST_EFFORT, dosed
from probe.study.data import LayoutPlan, plan_layouts, within_budget
from probe.study.plan import COMPARED, Study, heads_of, layer_of
from probe.study.provenance import folder_size, memory_held
from probe.study.sources import DatasetEntry

__all__ = [
    "Calibration",
    "NetworkRates",
    "StageCost",
    "StudySize",
    "calibrate",
    "forecast",
    "predict",
    "size_of",
]

MIB = 2**20

#: Number of images, of each of two datasets, on which networks are timed.
FEW = 8

#: Seconds after which a measurement is not repeated, and largest number of repetitions.
ENOUGH, MOST_CALLS = 0.5, 8

#: Seconds of `_reference_work` on the reference machine.
REFERENCE = 0.073

#: Seconds of statistics and figures on the reference machine, per item.
STATISTICS = {
    "join a row": 6e-6,
    "audit": 0.3,
    "bootstrap a row": 1.2e-7,
    "bootstrap a cell": 6e-3,
    "write a row": 1.3e-3,
    "write a value": 2e-7,
    "test a dataset": 0.1,
    "test a unit": 1e-4,
    "ablate a dataset": 0.1,
    "ablate a row": 1.2e-7,
    "probe a dataset": 0.08,
    "probe a row": 5.5e-4,
    "probe a value": 4e-6,
    "control a value": 6e-9,
    "first picture": 27.0,
    "picture a row": 2e-3,
    "compare a pair of rows": 4.6e-8,
    "artifact report": 1.0,
    "artifact a row": 2.9e-3,
    "relate a detector": 0.6,
    "relate a row": 5.6e-4,
    "relate a value": 2e-6,
    "attention": 3.3,
    "compare a pixel": 1e-6,
    "figures of an architecture": 8.5,
    "figures of a detector": 3.5,
    "draw a row": 1.1e-3,
}

#: Bytes on disk of: a row of scores, a row and a value of activations, a neuron table, a unit and
#: dataset of it, an ablation, a separability report, a row of an embedding, a row of image
#: measurements, a response report, a unit of it, a value of a map, the figures of a detector.
DISK = {
    "score": 14,
    "activation row": 40,
    "activation": 1.0,
    "neurons": 5.7e4,
    "unit": 750,
    "ablation": 2.7e4,
    "separability": 1.1e5,
    "picture": 90,
    "measurement": 620,
    "responses": 9e4,
    "response": 1500,
    "map": 0.63,
    "figures": 2e6,
}

#: Bytes of a worker process, and number of copies of the weights held in training: the network's,
#: gradients, two moments, the best, and those being saved.
WORKER, COPIES = 250 * MIB, 6

#: Bytes held by the images of a training step, by maps and their checks, and by figures.
STEP, MAPS, FIGURES = 300 * MIB, 1750 * MIB, 700 * MIB

#: What each further process adds, as a share of the first: cores share caches and memory.
SHARED = 0.8

#: Seconds per image of a whole sweep, and of an ablation, as shares of those of a small sweep.
SWEPT, ABLATED = 0.75, 1.4

#: Approximate number of sets of units that an ablation measures.
SETS = 8

#: Images rendered per lab video for dose responses, and their cost relative to a pair with mask.
DOSED, DOSE_SHARE = 30, 0.5


@dataclass(frozen=True)
class StageCost:
    """Forecast of one stage.

    Attributes
    ----------
    stage, counts : str
        Name of the stage, and the counted operations.
    seconds : float
        Wall time in seconds.
    disk : int
        Bytes written.
    memory : int
        Peak memory in bytes, including workers.
    """

    stage: str
    counts: str
    seconds: float
    disk: int
    memory: int


@dataclass(frozen=True)
class StudySize:
    """Size of the data of a study.

    Attributes
    ----------
    images : pandas.DataFrame
        One row per dataset and split: ``dataset, split, images, videos``.
    side : int
        Side of the stored images in pixels.
    files : int
        Number of files of the measured split; files shared by several datasets count once.
    made_videos, made_images : int
        Number of videos to crop or render first, and of the resulting images.
    sources : tuple of LayoutPlan
        Sources whose videos are cropped.
    """

    images: pd.DataFrame
    side: int
    files: int
    made_videos: int = 0
    made_images: int = 0
    sources: tuple[LayoutPlan, ...] = ()

    def count(self, split: str, *datasets: str, column: str = "images") -> int:
        """Return the number of images (or videos) of a split, in all or the named datasets."""
        rows = self.images[self.images["split"] == split]
        if datasets:
            rows = rows[rows["dataset"].isin(datasets)]
        return int(rows[column].sum())


@dataclass(frozen=True)
class NetworkRates:
    """Measured rates of an architecture on this device.

    Attributes
    ----------
    parameters : int
        Number of weights.
    units : mapping
        Layer to its number of units.
    forward : float
        Seconds per image of a forward pass.
    step : mapping
        Variant to (seconds per training step, further seconds per image of the batch).
    sweep : float
        Seconds per image of the forward pass to the layer and the sweep of all its units.
    state : int
        Bytes of the state of an image at the layer.
    maps : mapping
        Attribution method to seconds per image.
    trust : float
        Seconds per image of all reliability checks.
    """

    parameters: int
    units: Mapping[str, int]
    forward: float
    step: Mapping[str, tuple[float, float]]
    sweep: float
    state: int
    maps: Mapping[str, float] = field(default_factory=dict)
    trust: float = 0.0


@dataclass(frozen=True)
class Calibration:
    """Rates measured on this machine.

    Attributes
    ----------
    speed : float
        Seconds on this machine divided by seconds on the reference machine.
    make, decode, audit, measure : float
        Seconds per image on one core to render or crop, decode, audit and measure it.
    image_bytes : int
        Bytes of an image on disk, with its mask.
    networks : mapping
        Architecture to its rates.
    base_memory, used_memory : int
        Bytes of a process after the imports of the stages, and after networks have run.
    n_workers : int
        Number of processes.
    """

    speed: float
    make: float
    decode: float
    audit: float
    measure: float
    image_bytes: int
    networks: Mapping[str, NetworkRates]
    base_memory: int
    used_memory: int
    n_workers: int = 1


def _timed(work: Callable[..., Any], *given: Any, **named: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work(*given, **named)
    return result, time.perf_counter() - start


def _reference_work() -> None:
    """Sort, multiply and loop: a load typical of statistics and figures."""
    rng = np.random.default_rng(0)
    for _ in range(4):
        np.sort(rng.random(400_000))
        matrix = rng.random((400, 400))
        matrix @ matrix
        sum(i * i for i in range(200_000))


def forecast(study: Study) -> tuple[StudySize, list[StageCost]]:
    """Forecast a study: count its operations, and time its networks and images on this machine.

    Raises
    ------
    ProbeError
        If a source is missing, or the device is not available.
    """
    device = resolve_device(study.compute.device)
    size = size_of(study)
    return size, predict(study, size, calibrate(study, size, device))


def size_of(study: Study) -> StudySize:
    """Count the videos and images of a study; sources are listed, nothing is cropped or decoded.

    Raises
    ------
    ProbeError
        If a source is missing, or does not fit its layout.
    """
    plans = plan_layouts(study)
    cut = tuple(plan for plan in plans.values() if not plan.ingest.lies)
    rows, made = list[pd.DataFrame](), list[tuple[int, int]]()
    for i, entry in enumerate(study.datasets):
        if i in plans:
            rows.append(_layout_rows(plans[i]))
        elif entry.is_lab:
            rows.append(_lab_rows(entry, study))
            made.append(_lab_made(entry))
        else:
            rows.append(_opened_rows(entry, study))
    for plan in cut:
        videos = plan.videos.drop_duplicates("key")
        made.append((len(videos), int(videos["images"].sum())))
    table = pd.concat(rows, ignore_index=True)
    measured = table[table["split"] == study.evaluation.split].drop_duplicates("file")
    counted = table.groupby(["dataset", "split"], sort=False)
    return StudySize(
        counted.agg(images=("images", "sum"), videos=("file", "size")).reset_index(),
        max(entry.size or (128 if entry.is_lab else 256) for entry in study.datasets),
        int(measured["images"].sum()),
        sum(videos for videos, _ in made),
        sum(images for _, images in made),
        cut,
    )


def _layout_rows(plan: LayoutPlan) -> pd.DataFrame:
    table = plan.videos[["dataset", "split", "images"]]
    return table.assign(file=f"{plan.ingest.root}/" + plan.videos["key"])


def _lab_rows(entry: DatasetEntry, study: Study) -> pd.DataFrame:
    """Count the lab's videos to use: half a clip each, of real or of fake frames."""
    names, rows = [entry.lab_part] if entry.lab_part else list(DATASETS), []
    for split, count in _lab_counts(entry).items():
        cap = entry.cap(split, study.budget.images)
        videos = 2 * count if cap is None else min(2 * count, max(2, -(-cap // FRAMES)))
        rows += [
            {"dataset": entry.name or name, "split": split, "images": FRAMES}
            for name in names
            for _ in range(videos)
        ]
    table = pd.DataFrame(rows)
    return table.assign(file=[f"lab {entry.seed} {i}" for i in range(len(table))])


def _lab_made(entry: DatasetEntry) -> tuple[int, int]:
    videos = len(DATASETS) * sum(2 * count for count in _lab_counts(entry).values())
    return videos, FRAMES * videos


def _lab_counts(entry: DatasetEntry) -> dict[str, int]:
    """Return the number of clips of each split."""
    return {split: -(-n // (2 * FRAMES)) for split, n in (entry.counts or COUNTS).items()}


def _opened_rows(entry: DatasetEntry, study: Study) -> pd.DataFrame:
    rows = []
    for part in parts_of(open_dataset(str(entry.open))):
        kept = within_budget(part, entry, study)
        table = kept.samples.table
        files = str(kept.root) + "/" + table["path"]
        name = entry.name or table["dataset"]
        rows.append(pd.DataFrame({"dataset": name, "split": table["split"], "file": files}))
    return pd.concat(rows, ignore_index=True).assign(images=1)


def calibrate(study: Study, size: StudySize, device: torch.device) -> Calibration:
    """Time images and networks of a study on this machine: some seconds, more for large networks.

    Parameters
    ----------
    study : Study
        Study whose networks and layers are timed.
    size : StudySize
        Size of the study, which gives the side of the images.
    device : torch.device
        Device that networks run on.
    """
    names, base = _architectures(study), memory_held()
    with (
        progress_bar("calibrate", 1 + 2 * len(names)) as advance,
        # The timed functions show no progress bars.
        listening(lambda *_: None),
        tempfile.TemporaryDirectory(prefix="probe-") as folder,
    ):
        given: dict[str, Any] = {"size": size.side, "counts": {"test": FEW}, "n_workers": 1}
        # The first rendering includes one-time imports and compilation.
        make(Path(folder) / "first", datasets=DATASETS[:1], **given)
        lab, seconds = _timed(make, Path(folder) / "lab", datasets=DATASETS[1:3], **given)
        made = seconds / len(lab), folder_size(Path(folder) / "lab") / len(lab)
        if size.sources:
            made = _cut(size.sources, Path(folder))
        decode = _each(_decode, lab)
        audited = _each(functools.partial(audit, cache=False, n_workers=1), lab)
        measured = _each(functools.partial(measure_artifacts, n_workers=1, progress=False), lab)
        advance(1)
        networks = {}
        for name in names:
            networks[name] = _network(study, name, lab, device)
            advance(1)
        # Before maps are computed, whose memory only their stage takes.
        used = max(base, memory_held())
        for name in names:
            networks[name] = replace(networks[name], **_explained(study, name, lab, device))
            advance(1)
        speed = min(_timed(_reference_work)[1] for _ in range(3)) / REFERENCE
    n_workers = study.compute.n_workers or os.cpu_count() or 1
    return Calibration(
        speed,
        made[0],
        decode,
        audited,
        measured,
        int(made[1]),
        networks,
        base,
        used,
        n_workers,
    )


def _cut(sources: Sequence[LayoutPlan], folder: Path) -> tuple[float, float]:
    """Crop a video of each source; return mean seconds and bytes per image, weighted by count."""
    rates, weights = [], []
    for i, plan in enumerate(sources):
        first = plan.videos["key"].iloc[0]
        out = folder / f"cut-{i}"
        report, seconds = _timed(plan.ingest.only({first}).into, out, 1)
        n = max(report.written, 1)
        rates.append((seconds / n, folder_size(out) / n))
        weights.append(int(plan.videos.drop_duplicates("key")["images"].sum()))
    mean = np.average(np.asarray(rates), axis=0, weights=weights)
    return float(mean[0]), float(mean[1])


def _each(work: Callable[[Dataset], Any], data: Dataset) -> float:
    """Return the seconds per additional image, without one-time costs."""
    few = data.take(range(0, len(data), 4))
    work(few)
    return max(_fastest(work, data) - _fastest(work, few), 0.0) / (len(data) - len(few))


def _fastest(work: Callable[..., Any], *given: Any) -> float:
    """Return the seconds of the fastest of several calls, of one if it is long."""
    found = [_timed(work, *given)[1]]
    while sum(found) < ENOUGH and len(found) < MOST_CALLS:
        found.append(_timed(work, *given)[1])
    return min(found)


def _decode(data: Dataset) -> None:
    for index in range(len(data)):
        data.image(index)


def _architectures(study: Study) -> list[str]:
    plan = study.detectors
    return list(dict.fromkeys([*plan.names, *(one.name for one in plan.weights)]))


def _network(study: Study, name: str, lab: Dataset, device: torch.device) -> NetworkRates:
    """Time an architecture with randomly initialized weights."""
    one = load_detector(name, input_size=study.detectors.input_size).to(device)
    layer = layer_of(name, study.neurons.layer)
    images = lab.array(range(len(lab)), one.spec.input_size)
    sweep = functools.partial(
        neuron_importance,
        n_values=study.neurons.values,
        n_untrained=0,
        n_random=0,
        n_permutations=1,
        n_resamples=0,
    )
    return NetworkRates(
        sum(value.numel() for value in one.module.parameters()),
        _units(study, one, images[:1]),
        _each(lambda some: one.logits(images[: len(some)]), lab),
        _steps(study, one),
        _each(lambda some: sweep(one, some, layer, measure=study.neurons.measure), lab),
        compile_suffix(one, layer).state(images).nbytes // len(lab),
    )


def _units(study: Study, one: Detector, images: Any) -> dict[str, int]:
    names = dict.fromkeys([*study.record.layers, study.neurons.layer])
    layers = [layer_of(one.spec.name, name) for name in names]
    recorder = Recorder.of(trace(one), [Tap(layer, "mean") for layer in layers])
    values, _ = recorder(images)
    return {layer: int(values[layer].shape[1]) for layer in recorder.names}


def _steps(study: Study, one: Detector) -> dict[str, tuple[float, float]]:
    """Time a training step with few and with more images, for each variant."""
    out = {}
    for variant in study.detectors.variants if one.spec.name in study.detectors.names else ():
        plan = _plan(study, one.spec.name, variant)
        few, more = (seconds_a_step(one, plan, n) for n in (2, FEW))
        each = max(more - few, 0.0) / (FEW - 2)
        out[variant] = (max(more - FEW * each, 0.0), each)
    return out


def _plan(study: Study, name: str, variant: str) -> TrainingPlan:
    plan = study.detectors
    asked = plan.base if variant == VARIANTS[0] else plan.tuned
    given: dict[str, Any] = {
        "epochs": asked.epochs_of(name),
        "steps": asked.steps,
        "batch_size": asked.batch_size,
    }
    said = {key: value for key, value in given.items() if value is not None}
    return plan_base(name, **said) if asked is plan.base else plan_tuned(name, variant, **said)


def _explained(study: Study, name: str, lab: Dataset, device: torch.device) -> dict[str, Any]:
    """Time attribution maps and their reliability checks on fakes."""
    plan, fakes = study.attribution, lab.select(label=FAKE)
    fakes = fakes.take(range(min(len(fakes), FEW // 2)))
    if not plan.run:
        return {}
    one = load_detector(name, input_size=study.detectors.input_size).to(device)
    layer = layer_of(name, plan.layer) if plan.layer else None
    maps: dict[str, float] = {}
    for method in plan.methods:
        explain = functools.partial(
            attribute,
            one,
            method=method,
            layer=layer if method == COMPARED else None,
            progress=False,
        )
        try:
            maps[method] = _each(explain, fakes)
        except Refusal:
            maps[method] = 0.0

    def check(some: Dataset) -> None:
        trust_report(
            one,
            some,
            plan.methods,
            checks=plan.checks,
            layer=layer,
            **TRUST_EFFORT,
            n_random=plan.random,
            n_resamples=1,
            n_permutations=1,
            progress=False,
        )

    check(fakes.take([0]))
    return {"maps": maps, "trust": _timed(check, fakes)[1] / len(fakes)}


@dataclass(frozen=True)
class _Work:
    """An operation that a stage repeats; seconds and bytes are those of one repetition."""

    stage: str
    what: str
    count: float
    seconds: float
    disk: float = 0.0


def predict(study: Study, size: StudySize, rates: Calibration) -> list[StageCost]:
    """Forecast the cost of every stage of a study that starts from scratch.

    Parameters
    ----------
    study : Study
        Study to forecast.
    size : StudySize
        Size of its data.
    rates : Calibration
        Measured rates of the machine.

    Returns
    -------
    list of StageCost
        Forecasts in the order of the stages.
    """
    asked = _Prediction(study, size, rates)
    out = []
    for stage in asked.memory():
        works = [work for work in asked.works() if work.stage == stage and work.count]
        said = ", ".join(f"{work.count:,.0f} {work.what}" for work in works if work.what)
        seconds = sum(work.count * work.seconds for work in works)
        disk = sum(work.count * work.disk for work in works)
        base = rates.base_memory if stage in ("data", "audit") else rates.used_memory
        held = int(base + asked.memory()[stage]) if works else 0
        out.append(StageCost(stage, said or "nothing", seconds, int(disk), held))
    return out


class _Prediction:
    """The operations of a study and their costs."""

    def __init__(self, study: Study, size: StudySize, rates: Calibration) -> None:
        self.study, self.size, self.rates = study, size, rates
        self.rows = size.count(study.evaluation.split)
        self.all = int(size.images["images"].sum())
        self.datasets = size.images["dataset"].nunique()
        self.networks = [rates.networks[label.split("/")[0]] for label in study.labels]
        self.units = [one.units[self._layer(label)] for label, one in self._each()]
        self.widths = [sum(one.units.values()) for one in self.networks]

    def _each(self) -> Iterator[tuple[str, NetworkRates]]:
        yield from zip(self.study.labels, self.networks, strict=True)

    def _layer(self, label: str) -> str:
        return layer_of(label.split("/")[0], self.study.neurons.layer)

    def _statistic(self, name: str) -> float:
        return STATISTICS[name] * self.rates.speed

    def _parallel(self, seconds: float) -> float:
        return seconds / (1 + SHARED * (self.rates.n_workers - 1))

    def works(self) -> Iterator[_Work]:
        """Yield all operations in the order of the stages."""
        yield from self._data()
        yield from self._detectors()
        yield from self._scores()
        yield from self._neurons()
        yield from self._reasons()
        yield from self._maps()

    def _data(self) -> Iterator[_Work]:
        rates, size = self.rates, self.size
        made = self._parallel(rates.make)
        yield _Work("data", "videos to crop or render", size.made_videos, 0.0)
        yield _Work("data", "images from them", size.made_images, made, rates.image_bytes)
        yield _Work("data", "rows", self.all, self._statistic("join a row"), DISK["score"])
        yield _Work("audit", "images", self.all, self._parallel(rates.audit))
        yield _Work("audit", "", 1, self._statistic("audit"))

    def _detectors(self) -> Iterator[_Work]:
        study, rates = self.study, self.rates
        for name in study.detectors.names:
            network = rates.networks[name]
            for variant in study.detectors.variants:
                plan, images, val = self._lengths(name, variant)
                steps = plan.epochs * (plan.steps or max(1, images // plan.batch_size))
                fixed, each = network.step[variant]
                step = fixed + plan.batch_size * each
                n = len(study.seeds)
                yield _Work("detectors", "", n, 0.0, 4 * network.parameters)
                yield _Work("detectors", f"steps of {name}/{variant}", n * steps, step)
                yield _Work("detectors", "", n * plan.epochs * val, network.forward)
                # Images are decoded once per training, into memory or a temporary file.
                yield _Work("detectors", "", n * (images + val), self._parallel(rates.decode))

    def _lengths(self, name: str, variant: str) -> tuple[TrainingPlan, int, int]:
        """Return a variant's training plan, and its numbers of training and validation images."""
        plan = self.study.detectors
        of = [str(plan.source)] + ([] if variant == VARIANTS[0] else list(plan.target))
        trained, validated = (self.size.count(split, *of) for split in ("train", "val"))
        return _plan(self.study, name, variant), trained, validated

    def _pixels(self, name: str) -> int:
        side = self.study.detectors.input_size or find_architecture(name).input_size
        return int(3 * side**2)

    def _scores(self) -> Iterator[_Work]:
        plan, rates, files = self.study.evaluation, self.rates, self.size.files
        width = 2 if self.study.record.dtype == "float16" else 4
        n, decode = len(self.networks), self._parallel(rates.decode)
        forward = sum(one.forward for one in self.networks) / n + decode
        resampled = n * self.rows * plan.resamples
        yield _Work("evaluation", "images scored", n * files, forward)
        yield _Work("evaluation", "", resampled, self._statistic("bootstrap a row"))
        yield _Work("evaluation", "", n * self.datasets, self._statistic("bootstrap a cell"))
        yield _Work("evaluation", "", n * self.rows, 0.0, DISK["score"])
        if self.study.record.layers:
            values = self.rows * sum(self.widths)
            yield _Work("activations", "images recorded", n * files, forward)
            each = self._statistic("write a row")
            yield _Work("activations", "", n * self.rows, each, DISK["activation row"])
            each = self._statistic("write a value")
            yield _Work("activations", "", values, each, width * DISK["activation"])

    def _neurons(self) -> Iterator[_Work]:
        plan, n = self.study.neurons, len(self.networks)
        rows = min(self.rows, self.datasets * (MODES[plan.mode].most or self.rows))
        firsts = [self.rates.networks[name] for name in _architectures(self.study)]
        swept = sum(one.sweep for one in self.networks) / n
        null = sum(one.sweep for one in firsts) / len(firsts)
        cells = self.datasets * sum(self.units)
        yield _Work("neurons", "images swept", n * rows, SWEPT * swept)
        yield _Work(
            "neurons", "on untrained networks", len(firsts) * plan.untrained * rows, SWEPT * null
        )
        yield _Work("neurons", "", n * self.datasets, self._statistic("test a dataset"))
        yield _Work("neurons", "", n, 0.0, DISK["neurons"])
        yield _Work("neurons", "", cells, self._statistic("test a unit"), DISK["unit"])
        if plan.ablate:
            scores = n * self.rows * SETS * (1 + plan.random)
            yield _Work("ablation", "images swept and ablated", n * self.rows, ABLATED * swept)
            yield _Work("ablation", "", scores, self._statistic("ablate a row"))
            each = self._statistic("ablate a dataset")
            yield _Work("ablation", "", n * self.datasets, each, DISK["ablation"] / self.datasets)

    def _reasons(self) -> Iterator[_Work]:
        study, rates, n = self.study, self.rates, len(self.networks)
        if study.separability.run and study.record.layers:
            plan, layers = study.separability, len(study.record.layers)
            values = self.rows * sum(self.widths)
            drawn = n * len(plan.pictures) * len(plan.picture_layers)
            each = self._statistic("probe a dataset")
            yield _Work("separability", "features", n * layers * self.datasets, each)
            each = self._statistic("probe a row")
            yield _Work("separability", "", n * layers * self.rows, each)
            each = self._statistic("probe a value")
            each += plan.controls * self._statistic("control a value")
            yield _Work("separability", "", values, each)
            yield _Work("separability", "", n, 0.0, DISK["separability"])
            pictured = min(self.rows, FITTED)
            yield _Work("separability", "embeddings", drawn, 0.0)
            yield _Work("separability", "", min(drawn, 1), self._statistic("first picture"))
            each = self._statistic("picture a row")
            yield _Work("separability", "", drawn * pictured, each, DISK["picture"])
            pairs = n * (n - 1) // 2 * layers * min(self.rows, PAIRWISE) ** 2
            yield _Work("separability", "", pairs, self._statistic("compare a pair of rows"))
        if study.artifacts.run:
            measure = self._parallel(rates.measure)
            yield _Work("artifacts", "images", self.size.files, measure, DISK["measurement"])
            yield _Work("artifacts", "", self.rows, self._statistic("artifact a row"))
            yield _Work("artifacts", "", 1, self._statistic("artifact report"))
        if study.artifacts.run and study.artifacts.responses:
            values = self.rows * sum(self.units)
            rendered = DOSED * study.artifacts.videos * self.datasets if dosed(study) else 0
            each = sum(one.forward for one in self.networks)
            each += self._parallel(rates.make * DOSE_SHARE)
            yield _Work("responses", "images rendered", rendered, each)
            one = self._statistic("relate a detector")
            yield _Work("responses", "detectors", n, one, DISK["responses"])
            yield _Work("responses", "", n * self.rows, self._statistic("relate a row"))
            yield _Work("responses", "", values, self._statistic("relate a value"))
            yield _Work("responses", "", sum(self.units), 0.0, DISK["response"])

    def _maps(self) -> Iterator[_Work]:
        study, heads = self.study, heads_of(self.study)
        plan = study.attribution
        fakes = plan.images * self.datasets
        for label, one in self._each() if plan.run else ():
            pixels = self._pixels(label.split("/")[0]) // 3
            for method in plan.methods if label in heads else (COMPARED,):
                size = 4 * pixels * DISK["map"]
                yield _Work("attribution", "", 2 * fakes, one.maps[method], size)
            if label in heads:
                yield _Work("attribution", f"fakes of {label} checked", fakes, one.trust)
                yield _Work("attribution", "", 1, self._statistic("attention"))
            # Maps for the comparison of variants use separate images and are not kept.
            compared = plan.similarity_images * self.datasets if self._has_variants(label) else 0
            yield _Work("attribution", "", compared, one.maps[COMPARED])
            each = self._statistic("compare a pixel")
            yield _Work("attribution", "", compared * pixels, each)
        names, n = len(_architectures(study)), len(self.networks)
        each = self._statistic("figures of an architecture")
        yield _Work("figures", "architectures", names, each)
        each = self._statistic("figures of a detector")
        yield _Work("figures", "detectors", n, each, DISK["figures"])
        pictured = n * min(self.rows, FITTED)
        yield _Work("figures", "", pictured, self._statistic("draw a row"))

    def _has_variants(self, label: str) -> bool:
        name = label.split("/")[0]
        return sum(other.split("/")[0] == name for other in self.study.labels) > 1

    def memory(self) -> dict[str, float]:
        """Return the bytes that each stage holds on top of the imports."""
        n_workers = WORKER * self.rates.n_workers
        per_dataset = self.rows / max(self.datasets, 1)
        states = [
            one.state + 8 * units for one, units in zip(self.networks, self.units, strict=True)
        ]
        columns = SETS * (1 + self.study.neurons.random)
        features = 16 * self.rows * max(self.widths)
        return {
            "data": n_workers,
            "audit": n_workers,
            "detectors": self._trained(),
            "evaluation": 64 * MIB + 200 * self.rows * len(self.networks),
            "activations": 64 * MIB,
            "neurons": max(min(per_dataset * one, 2 * STATES_BYTES) for one in states),
            "ablation": per_dataset * (max(states) + 16 * columns),
            "separability": min(parse_memory(self.study.separability.memory), features),
            "artifacts": n_workers,
            "responses": n_workers + 3.0 * DOSED * self.study.artifacts.videos * self.size.side**2,
            "attribution": MAPS,
            "figures": FIGURES,
        }

    def _trained(self) -> float:
        held = [float(STEP)]
        for name in self.study.detectors.names:
            for variant in self.study.detectors.variants:
                _, images, val = self._lengths(name, variant)
                kept = sum(min(n * self._pixels(name), CACHE_BYTES) for n in (images, val))
                held.append(STEP + kept + 4.0 * COPIES * self.rates.networks[name].parameters)
        return max(held)
