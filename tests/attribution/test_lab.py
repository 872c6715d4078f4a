"""On the lab, whose masks are exact: a trained detector's maps find the forged area."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from probe.attribution.trust import trust_report
from probe.datasets.lab import make
from probe.detectors import load_detector
from probe.detectors.variants import plan_base, train_base

METHODS = ("feature_ablation", "smoothgrad")
DRAWS = 19


@pytest.mark.slow
def test_maps_find_the_forged_area_of_deepfakes_after_training_only(tmp_path: Path) -> None:
    """Mask AUROC above .8 for a trained detector; random weights lie around .5.

    One detector of random weights has places of its own, so that the interval of a randomized
    model is one over draws of weights: it has to hold .5, and to lie below the trained detector.
    """
    counts = {"train": 400, "val": 104, "test": 40}
    lab = make(tmp_path / "lab", size=128, datasets=("deepfakes",), counts=counts)
    trained = train_base(
        "meso4", lab, tmp_path / "meso4", input_size=128, plan=plan_base("meso4", epochs=24)
    )
    fakes = lab.select(split="test", label=1)
    found = trust_report(
        trained,
        fakes,
        METHODS,
        checks=["mask_auroc"],
        max_samples=10,
        n_random=DRAWS,
        n_shifts=1,
        options={"feature_ablation": {"parts": 36}},
        progress=False,
    )
    at = found.data.sel(check="mask_auroc", dataset="all")
    best = at.sel({"method": "feature_ablation"})
    assert float(best["value"]) > 0.8 and float(best["low"]) > 0.5
    assert float(best["randomized_low"]) < 0.5 < float(best["randomized_high"])
    assert float(best["value"]) > float(best["randomized_high"])
    for method in METHODS:
        assert abs(float(at["randomized"].sel({"method": method})) - 0.5) < 0.12


def test_a_detector_that_reads_inside_the_mask_alone_is_seen_there(tmp_path: Path) -> None:
    """Planted: the logit is a sum of squares of high frequencies inside a square."""
    import torch

    from tests.attribution.networks import detector_of

    class Inside(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = torch.nn.Parameter(torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            gray = x.mean(dim=1, keepdim=True)
            high = torch.nn.functional.conv2d(gray, self.kernel[None, None], padding=1)
            return high[:, 0, 8:20, 10:24].square().sum(dim=(1, 2))

    from probe.attribution import attribute
    from probe.attribution.trust.metrics import mask_auroc

    x = np.random.default_rng(0).random((6, 3, 32, 32), dtype=np.float32)
    mask = np.zeros((6, 32, 32), dtype=bool)
    mask[:, 8:20, 10:24] = True
    for method, least in (("saliency", 0.97), ("occlusion", 0.9), ("smoothgrad", 0.97)):
        maps = attribute(detector_of(Inside(), 32), x, method, progress=False).values
        assert mask_auroc(maps, mask).mean() > least, method
    blind = load_detector("meso4", input_size=32)
    assert mask_auroc(attribute(blind, x, "saliency", progress=False).values, mask).mean() < 0.9
