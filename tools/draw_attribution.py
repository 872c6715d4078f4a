"""Draw the picture of docs/attribution.md: fakes of the lab, and what four methods say of them.

A maintainer's script, from the repository's root, about a minute, after ``make demo``::

    python tools/draw_attribution.py runs/demo docs/img/attribution-maps.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from probe.attribution import METHODS, attribute
from probe.datasets import open_dataset
from probe.datasets.dataset import concatenate
from probe.datasets.subset import original_positions
from probe.detectors import load_detector
from probe.plots import attribution_figure, save_figure

SHOWN = ("gradcam", "integrated_gradients", "smoothgrad", "feature_ablation")
DATASETS = ("deepfakes", "face2face", "neuraltextures", "dfd")


def main(run: Path, file: Path) -> None:
    """Explain one fake a dataset and draw all."""
    torch.set_num_threads(1)
    detector = load_detector(run / "detectors" / "meso4-base")
    everything = concatenate([open_dataset(f"lab:{d}", split="test") for d in DATASETS], "lab")
    rows = [
        next(
            i
            for i, row in enumerate(everything.samples.table.itertuples())
            if row.dataset == name and row.label == 1 and row.frame == 1
        )
        for name in DATASETS
    ]
    fakes = everything.take(rows)
    maps = {METHODS[name].title: attribute(detector, fakes, name) for name in SHOWN}
    images, masks = ([take(i) for i in range(len(fakes))] for take in (fakes.image, fakes.mask))
    originals = [everything.image(int(i)) for i in original_positions(fakes, everything)]
    figure = attribution_figure(maps, images, masks, style="ieee-page", originals=originals)
    save_figure(figure, file, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
