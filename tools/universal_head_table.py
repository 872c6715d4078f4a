"""Make the table of docs/neurons.md: leave one lab dataset out, two detectors, five seeds.

Run ``python tools/universal_head_table.py OUT``; about an hour on one core, mostly training. What
is there is reused. The detectors are trained on one dataset each, never on the one held out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from probe import open_dataset, plan_base, train_base
from probe.datasets import Dataset
from probe.detectors import Detector
from probe.neurons import HeadTable, leave_one_out
from probe.schema import DATASETS

NAMES = ("meso4", "mesoinception4")
SEEDS = range(5)
EPOCHS = 20
#: In how many of the five training datasets a unit has to contribute.
AT_LEAST = 4


def trained(out: Path, lab: Dataset, name: str, source: str, seed: int) -> Detector:
    """Train a detector, or load the one that is there."""
    place = out / "detectors" / name / f"on-{source}" / f"seed{seed}"
    plan = plan_base(name, epochs=EPOCHS, seed=seed)
    return train_base(name, lab.select(dataset=source), place, input_size=128, plan=plan)


def main() -> None:
    """Train, hold out, print and write the tables."""
    out, lab = Path(sys.argv[1]), open_dataset("lab")
    frames = []
    for name in NAMES:
        detectors = {
            held: [trained(out, lab, name, _source(held), seed) for seed in SEEDS]
            for held in DATASETS
        }
        for layer in ("leaky", "flatten"):
            table = leave_one_out(detectors, lab, layer, at_least=AT_LEAST)
            table.export(out / f"heads-{name}-{layer}.csv")
            frames.append(_summary(table, layer))
            print(frames[-1].round(3).to_string(), flush=True)
    pd.concat(frames).to_csv(out / "heads.csv", index=False)


def _source(held_out: str) -> str:
    return "celebdf" if held_out == "deepfakes" else "deepfakes"


def _summary(table: HeadTable, layer: str) -> pd.DataFrame:
    frame = table.over_replicas()
    frame.insert(1, "layer", layer)
    return frame


if __name__ == "__main__":
    main()
