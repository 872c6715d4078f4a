"""The demo: the whole study on the lab datasets, with short trainings."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from probe.compute import AUTO
from probe.detectors import ARCHITECTURES
from probe.errors import ProbeError
from probe.schema import VARIANTS
from probe.study import Study, run_study
from probe.study.plan import AttributionPlan, Compute, DetectorPlan, Training
from probe.study.run import Outcome
from probe.study.sources import DatasetEntry

__all__ = ["DemoPlan", "run_demo"]

SIZE = 128

#: Images per lab dataset, by split; None for the lab's own counts.
COUNTS: dict[str, int] | None = None

#: Epochs of short trainings; the study's own lengths are the defaults of `probe train`.
BASE_EPOCHS = {"meso4": 20, "mesoinception4": 20, "shallownet": 6, "xception": 6, "other": 8}
TUNED_EPOCHS, TUNED_STEPS, TUNED_BATCH = 4, 12, 32

#: Fakes per dataset on which heatmaps of variants are compared; a study's default is 50.
SIMILARITY_IMAGES = 20

#: Fine-tuning target, the study's FSNT: FaceSwap and NeuralTextures mixed.
TARGET = ("faceswap", "neuraltextures")


@dataclass(frozen=True)
class DemoPlan:
    """Settings of the demo.

    Attributes
    ----------
    out : pathlib.Path
        Run folder to write.
    detectors : tuple of str
        Architectures, each trained in three variants.
    source : str
        Lab dataset that variant `base` is trained on.
    seed : int
        Random seed of the lab and of all trainings.
    device : str
        Device to run on, as in `probe.compute.resolve_device`.
    """

    out: Path
    detectors: tuple[str, ...]
    source: str = "deepfakes"
    seed: int = 0
    device: str = AUTO

    @staticmethod
    def parse(text: str) -> tuple[str, ...]:
        """Read a comma-separated list of detectors, or "all".

        Raises
        ------
        UnknownNameError
            If a detector is not registered.
        """
        if text == "all":
            return tuple(ARCHITECTURES)
        names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        if not names:
            raise ProbeError("No detector was named. Give names such as meso4, or all.")
        return tuple(ARCHITECTURES[name].name for name in names)

    @property
    def command(self) -> str:
        """Command line that repeats this run."""
        words = ["probe", "demo", "--out", str(self.out), "--detectors", ",".join(self.detectors)]
        words += ["--source", self.source, "--seed", str(self.seed)]
        words += ["--device", self.device] if self.device != AUTO else []
        return shlex.join(words)

    def study(self) -> Study:
        """Return the demo as a study; ``studies/demo.toml`` is the same study as a file."""
        target = tuple(name for name in TARGET if name != self.source)
        return Study(
            title="Demo on the lab",
            out=self.out,
            seeds=(self.seed,),
            datasets=(DatasetEntry(open="lab", size=SIZE, seed=self.seed, counts=COUNTS),),
            detectors=DetectorPlan(
                names=self.detectors,
                variants=VARIANTS,
                input_size=SIZE,
                source=self.source,
                target=target,
                base=Training(epochs=BASE_EPOCHS),
                tuned=Training(epochs=TUNED_EPOCHS, steps=TUNED_STEPS, batch_size=TUNED_BATCH),
            ),
            attribution=AttributionPlan(similarity_images=SIMILARITY_IMAGES),
            compute=Compute(device=self.device),
        )


def run_demo(plan: DemoPlan) -> Outcome:
    """Run all stages of the demo; finished results of an earlier run are reused."""
    return run_study(plan.study(), plan.command)
