"""The demo: the whole study on the embedded lab, stage by stage, each reused when it is there."""

from __future__ import annotations

import importlib.metadata
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from probe import figures
from probe.attribution import attribute
from probe.datasets.dataset import Dataset, concatenate
from probe.datasets.lab import make
from probe.detectors import ARCHITECTURES, Detector, find_architecture
from probe.detectors.evaluation import ZeroShotMatrix, evaluate
from probe.detectors.variants import plan_base, plan_tuned, train_base, train_tuned
from probe.errors import ProbeError, StoreError
from probe.importance import neuron_importance
from probe.neurons import NeuronTable, Universality, universal_neurons
from probe.recording import record
from probe.run import RunFolder
from probe.schema import DATASETS, VARIANTS
from probe.tables import open_table, plain

__all__ = ["DemoPlan", "run_demo"]

SIZE = 128

#: Short trainings for a first look; the study's own lengths are the defaults of `probe train`.
BASE_EPOCHS = {"meso4": 20, "mesoinception4": 20, "shallownet": 6, "xception": 6}
TUNED_EPOCHS, TUNED_STEPS, TUNED_BATCH = 4, 12, 32


@dataclass(frozen=True)
class DemoPlan:
    """What the demo does.

    Attributes
    ----------
    out : pathlib.Path
        Run folder.
    detectors : tuple of str
        Architectures, each trained in three variants.
    source : str
        Lab dataset that `base` is trained on.
    seed : int
        Seed of the lab and of all trainings.
    """

    out: Path
    detectors: tuple[str, ...]
    source: str = "deepfakes"
    seed: int = 0

    @staticmethod
    def parse(text: str) -> tuple[str, ...]:
        """Read a comma-separated list of detectors, or "all".

        Raises
        ------
        UnknownNameError
            If one is not registered.
        """
        if text == "all":
            return tuple(ARCHITECTURES)
        names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        if not names:
            raise ProbeError("No detector was named. Give names such as meso4, or all.")
        return tuple(ARCHITECTURES[name].name for name in names)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the trained detectors, such as "meso4/base"."""
        return tuple(f"{name}/{variant}" for name in self.detectors for variant in VARIANTS)

    @property
    def command(self) -> str:
        """Command line that repeats this run."""
        words = ["probe", "demo", "--out", str(self.out), "--detectors", ",".join(self.detectors)]
        words += ["--source", self.source, "--seed", str(self.seed)]
        return shlex.join(words)


def run_demo(plan: DemoPlan) -> dict[str, Any]:
    """Run all stages; what an earlier run finished is reused.

    Returns
    -------
    dict
        ``matrix`` (ZeroShotMatrix), ``universality`` (label to Universality) and ``places``
        (what to path).
    """
    run = _Demo(plan)
    data = run.stage("data", run.make_data)
    detectors = run.stage("detectors", lambda: run.train(data))
    matrix = run.stage("evaluation", lambda: run.evaluate(detectors, data))
    run.stage("activations", lambda: run.record(detectors, data))
    universality = run.stage("neurons", lambda: run.count(detectors, data))
    run.stage("figures", lambda: run.draw(detectors, data, matrix, universality))
    run.finish()
    return {"matrix": matrix, "universality": universality, "places": run.places()}


class _Demo:
    """The stages of a demo run and the manifest that follows them."""

    def __init__(self, plan: DemoPlan) -> None:
        self.plan, self.folder = plan, RunFolder(plan.out)
        self.stages: list[dict[str, Any]] = []
        self.earlier = _earlier_seconds(self.folder)
        self.created = datetime.now(UTC).isoformat(timespec="seconds")
        self._write(complete=False)

    def stage(self, name: str, work: Callable[[], Any]) -> Any:
        """Run one stage and note in the manifest how long it took."""
        start = time.monotonic()
        self.stages.append({"name": name, "done": False, "seconds": 0.0})
        self._write(complete=False)
        result = work()
        # A stage that was reused shows what it took when it was computed.
        seconds = max(time.monotonic() - start, self.earlier.get(name, 0.0))
        self.stages[-1] = {"name": name, "done": True, "seconds": seconds}
        self._write(complete=False)
        return result

    def finish(self) -> None:
        """Mark the run as complete."""
        self._write(complete=True)

    def make_data(self) -> Dataset:
        return make(self.folder.data, size=SIZE, seed=self.plan.seed)

    def train(self, data: Dataset) -> list[Detector]:
        source = data.select(dataset=self.plan.source)
        target = data.select(dataset=self.tuning_target)
        out = []
        for name in self.plan.detectors:
            base_plan = plan_base(name, epochs=BASE_EPOCHS.get(name, 8), seed=self.plan.seed)
            folder = self.folder.detector(f"{name}/base")
            base = train_base(name, source, folder, input_size=SIZE, plan=base_plan)
            out.append(base)
            for variant in VARIANTS[1:]:
                tuned_plan = plan_tuned(
                    name, variant, epochs=TUNED_EPOCHS, steps=TUNED_STEPS,
                    batch_size=TUNED_BATCH, seed=self.plan.seed,
                )  # fmt: skip
                folder = self.folder.detector(f"{name}/{variant}")
                out.append(train_tuned(base, variant, source, target, folder, plan=tuned_plan))
        return out

    @property
    def tuning_target(self) -> list[str]:
        """The study's FSNT: FaceSwap and NeuralTextures mixed."""
        return [name for name in ("faceswap", "neuraltextures") if name != self.plan.source]

    def evaluate(self, detectors: list[Detector], data: Dataset) -> ZeroShotMatrix:
        test = data.select(split="test")
        wanted = {
            "detectors": {one.name: one.fingerprint for one in detectors},
            "datasets": {name: part.fingerprint for name, part in test.by_dataset().items()},
        }
        if _holds(self.folder.evaluation, wanted):
            return ZeroShotMatrix.open(self.folder.evaluation)
        matrix = evaluate(detectors, test, seed=self.plan.seed)
        matrix.save(self.folder.evaluation)
        matrix.export(self.folder.evaluation.with_suffix(".csv"))
        return matrix

    def record(self, detectors: list[Detector], data: Dataset) -> None:
        test = data.select(split="test")
        for one in detectors:
            kind = find_architecture(one.spec.name)
            record(one, test, self.folder.store(one.name), layers=[kind.units, kind.last_conv])

    def count(self, detectors: list[Detector], data: Dataset) -> dict[str, Universality]:
        test, out = data.select(split="test"), {}
        table: NeuronTable | None = None
        for one in detectors:
            place = self.folder.neurons(one.name)
            parts = test.by_dataset().items()
            wanted = {
                "detector": one.fingerprint,
                "dataset": {name: part.fingerprint for name, part in parts},
            }
            if _holds(place, wanted):
                table = NeuronTable.open(place)
            else:
                table = neuron_importance(one, test, null_of=table)
                table.save(place)
                table.export(place.with_suffix(".csv"))
            out[one.name] = universal_neurons(table)
            out[one.name].save(self.folder.universality(one.name))
            out[one.name].export(self.folder.universality(one.name).with_suffix(".csv"))
        return out

    def draw(
        self,
        detectors: list[Detector],
        data: Dataset,
        matrix: ZeroShotMatrix,
        universality: dict[str, Universality],
    ) -> None:
        first = self.plan.detectors[0]
        those = [one for one in detectors if one.spec.name == first]
        drawn = {
            f"heatmaps-{first}": heatmaps_on(those, data),
            "zero-shot-matrix": figures.matrix_figure(matrix.data),
            f"universal-neurons-{first}": figures.counts_figure(universality[f"{first}/base"].data),
        }
        for name, figure in drawn.items():
            for suffix in (".pdf", ".png"):
                figures.save_figure(figure, self.folder.figures / f"{name}{suffix}")

    def places(self) -> dict[str, Path]:
        folder = self.folder
        return {
            "images and sample table": folder.data,
            "weights and cards": folder.root / "detectors",
            "zero-shot matrix": folder.evaluation.with_suffix(".csv"),
            "activations": folder.root / "stores",
            "neuron tables": folder.root / "tables" / "neurons",
            "universality tables": folder.root / "tables" / "universality",
            "figures": folder.figures,
        }

    def _write(self, complete: bool) -> None:
        names = ("deepfake-probe", "torch", "timm", "captum", "numpy", "xarray", "zarr")
        kinds = {label: find_architecture(label.split("/")[0]) for label in self.plan.labels}
        self.folder.write_manifest(
            {
                "title": "Demo on the lab",
                "command": self.plan.command,
                "created": self.created,
                "complete": complete,
                "simulated": True,
                "source": self.plan.source,
                "seed": self.plan.seed,
                "stages": self.stages,
                "detectors": list(self.plan.labels),
                "datasets": list(DATASETS),
                "layers": {label: kind.units for label, kind in kinds.items()},
                "versions": {name: importlib.metadata.version(name) for name in names},
            }
        )


def _earlier_seconds(folder: RunFolder) -> dict[str, float]:
    """Seconds of each stage that an earlier run in the same folder finished."""
    try:
        stages = folder.read_manifest()["stages"]
    except (StoreError, KeyError):
        return {}
    return {stage["name"]: stage["seconds"] for stage in stages if stage["done"]}


def _holds(path: Path, wanted: dict[str, Any]) -> bool:
    """Whether a table is there and was computed from the same detectors and data."""
    if not path.is_dir():
        return False
    try:
        attrs = open_table(path).attrs
    except StoreError:
        return False
    return all(attrs.get(key) == plain(value) for key, value in wanted.items())


def heatmaps_on(detectors: list[Detector], data: Dataset) -> Any:
    """Draw the first test fake of each dataset, its real pair, and Grad-CAM of each detector."""
    rows = [part.select(split="test", label=1).take([0]) for part in data.by_dataset().values()]
    fakes = concatenate(rows, "fakes")
    by_id = {name: i for i, name in enumerate(data.samples.table["sample"])}
    reals = [data.image(by_id[pair]) for pair in fakes.samples.table["pair"]]
    images = fakes.array(range(len(fakes)), detectors[0].spec.input_size)
    maps = {one.name: attribute(one, images).values for one in detectors}
    shown = {"real": reals, "fake": [fakes.image(i) for i in range(len(fakes))]}
    masks = [fakes.mask(i) for i in range(len(fakes))]
    return figures.heatmap_figure(shown, maps, masks, list(data.by_dataset()))
