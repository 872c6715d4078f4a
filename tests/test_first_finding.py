"""The study's first finding on the lab, as the README states it."""

from __future__ import annotations

from pathlib import Path

import pytest

from probe.datasets.lab import make
from probe.demo import BASE_EPOCHS, SIZE
from probe.detectors.variants import plan_base, train_base
from probe.evaluation.matrix import evaluate


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_detectors_are_good_at_home_and_worse_elsewhere(tmp_path: Path) -> None:
    data = make(tmp_path / "lab", size=SIZE)
    source, test = data.select(dataset="deepfakes"), data.select(split="test")
    for name in ("meso4", "mesoinception4"):
        plan = plan_base(name, epochs=BASE_EPOCHS[name])
        detector = train_base(name, source, tmp_path / name, input_size=SIZE, plan=plan)
        found = evaluate(detector, test).data["value"].sel(metric="auroc", level="frame")
        own = float(found.sel(dataset="deepfakes").item())
        others = float(found.drop_sel(dataset="deepfakes").mean())
        assert own > 0.9, f"{name} at home: {own:.3f}"
        assert others <= own - 0.1, f"{name} elsewhere: {others:.3f}, at home {own:.3f}"
