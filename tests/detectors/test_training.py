from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from probe.datasets.dataset import Dataset
from probe.detectors import load_detector
from probe.detectors.architectures import Recipe
from probe.detectors.training import RESUME_FILE, TrainingPlan, train
from probe.detectors.variants import plan_base, plan_tuned, train_base, train_tuned, train_variant
from probe.errors import DatasetError, ProbeError

SIZE = 32
PLAN = TrainingPlan(epochs=3, batch_size=8, recipe=Recipe("mse", 1e-3), seed=5)


def trained(noise: Dataset, out: Path, plan: TrainingPlan = PLAN) -> str:
    return train_base(
        "meso4", noise.select(dataset="one"), out, input_size=SIZE, plan=plan
    ).fingerprint


def test_training_is_reproducible_and_reused(noise: Dataset, tmp_path: Path) -> None:
    first = trained(noise, tmp_path / "a")
    assert trained(noise, tmp_path / "b") == first
    before = (tmp_path / "a" / "card.json").stat().st_mtime_ns
    assert trained(noise, tmp_path / "a") == first
    assert (tmp_path / "a" / "card.json").stat().st_mtime_ns == before
    card = json.loads((tmp_path / "a" / "card.json").read_text())
    assert card["metrics"]["val_auroc"] == max(row["val_auroc"] for row in card["history"])


def test_training_learns_a_checkerboard(noise: Dataset, tmp_path: Path) -> None:
    plan = TrainingPlan(epochs=25, batch_size=8, recipe=Recipe("bce", 3e-3))
    data = noise.select(dataset="one")
    detector = train_base("meso4", data, tmp_path, input_size=SIZE * 2, plan=plan)
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["metrics"]["val_auroc"] > 0.9
    assert detector.spec.variant == "base" and detector.spec.origin == "trained"


@pytest.mark.slow
def test_a_killed_training_ends_in_the_same_weights(noise: Dataset, tmp_path: Path) -> None:
    plan = "TrainingPlan(epochs=12, batch_size=8, recipe=Recipe('mse', 1e-3), seed=5)"
    code = (
        "import sys; from pathlib import Path; import torch; torch.set_num_threads(1)\n"
        "from probe.datasets.dataset import read_native\n"
        "from probe.detectors.architectures import Recipe\n"
        "from probe.detectors.training import TrainingPlan\n"
        "from probe.detectors.variants import train_base\n"
        "data = read_native(Path(sys.argv[1]), 'noise').select(dataset='one')\n"
        f"plan = {plan}\n"
        "done = train_base('meso4', data, Path(sys.argv[2]), input_size=32, plan=plan)\n"
        "print(done.fingerprint)"
    )
    command = [sys.executable, "-c", code, str(noise.root)]
    whole = subprocess.run(
        [*command, str(tmp_path / "a")], capture_output=True, text=True, check=True
    )
    killed = subprocess.Popen(
        [*command, str(tmp_path / "b")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "b" / RESUME_FILE).is_file() and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "b" / "card.json").exists(), "the kill came too late to test anything"
    again = subprocess.run(
        [*command, str(tmp_path / "b")], capture_output=True, text=True, check=True
    )
    assert again.stdout == whole.stdout
    assert not (tmp_path / "b" / RESUME_FILE).exists()


def test_another_plan_in_the_same_folder_is_refused(noise: Dataset, tmp_path: Path) -> None:
    trained(noise, tmp_path)
    with pytest.raises(ProbeError, match="finished training that differs in start, plan"):
        trained(noise, tmp_path, TrainingPlan(4, 8, Recipe("mse", 1e-3)))


def test_one_class_is_refused_before_anything_is_written(noise: Dataset, tmp_path: Path) -> None:
    reals = noise.select(dataset="one", label=0)
    with pytest.raises(DatasetError, match="holds real images only"):
        train_base("meso4", reals, tmp_path / "out", input_size=SIZE, plan=PLAN)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("freeze", [True, False])
@pytest.mark.parametrize("variant", ["shallow", "deep"])
def test_tuning_changes_what_it_should(
    noise: Dataset, tmp_path: Path, variant: str, freeze: bool
) -> None:
    base = load_detector("shallownet", input_size=SIZE, seed=2)
    plan = plan_tuned(
        "shallownet", variant, epochs=1, steps=4, batch_size=8, freeze_batchnorm=freeze
    )
    one, two = noise.select(dataset="one"), noise.select(dataset="two")
    tuned = train_tuned(base, one, two, variant=variant, out=tmp_path, plan=plan)
    before, after = base.module.state_dict(), tuned.module.state_dict()
    changed = {k.rsplit(".", 1)[0] for k in before if not torch.equal(before[k], after[k])}
    head = {"fc1", "fc2"} | (set() if freeze else {"bn"})
    if variant == "shallow":
        assert changed == head
    else:
        assert changed > head and ("bn" in changed) != freeze
        assert {name.split(".")[0] for name in changed} >= {"stage1", "stage2", "stage3"}
    assert tuned.spec.variant == variant


def test_plans_are_the_studys() -> None:
    assert plan_base("meso4") == TrainingPlan(100, 32, Recipe("mse", 1e-3))
    assert plan_base("xception").recipe == Recipe("bce", 5e-5)
    tuned = plan_tuned("shallownet", "shallow")
    assert (tuned.epochs, tuned.steps, tuned.batch_size) == (50, 62, 64)
    assert tuned.recipe == Recipe("mse", 1e-3)
    assert tuned.trainable == ("fc1", "bn", "fc2")
    assert plan_tuned("xception", "deep").trainable is None
    with pytest.raises(ProbeError, match="Variant 'base' was given"):
        plan_tuned("meso4", "base")


def test_batches_alternate_between_sources(noise: Dataset) -> None:
    from probe.detectors.training import Feeder, Stream

    one, two = (noise.select(dataset=name, split="train") for name in ("one", "two"))
    two = two.select(label=1)
    stream = Stream([Feeder(one, SIZE), Feeder(two, SIZE)], 6, 4, seed=0)
    batches = list(stream.epoch(0, torch.device("cpu"), flip=False))
    assert len(batches) == len(stream) == 4
    assert all(labels.min() == 1 for _, labels in batches[1::2])
    assert any(labels.min() == 0 for _, labels in batches[0::2])
    again = list(stream.epoch(0, torch.device("cpu"), flip=False))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(batches, again, strict=True))
    other = list(stream.epoch(1, torch.device("cpu"), flip=False))
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(batches, other, strict=True))


def test_an_epoch_sees_every_image_once(noise: Dataset) -> None:
    from probe.detectors.training import Feeder, Stream

    data = noise.select(dataset="one", split="train")
    stream = Stream([Feeder(data, SIZE)], 8, None, seed=0)
    seen = torch.cat([x for x, _ in stream.epoch(0, torch.device("cpu"), flip=False)])
    assert len({tuple(image.flatten().tolist()) for image in seen}) == len(data) == 24
    halves = [
        torch.cat([x for x, _ in stream.epoch(0, torch.device("cpu"), False, (rank, 2))])
        for rank in (0, 1)
    ]
    assert sum(map(len, halves)) == len(seen)


def test_tuning_needs_base_and_target(noise: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="Give both: the folder of the base and the target"):
        train_variant("meso4", "deep", noise, tmp_path)


def test_gradients_of_the_losses_are_theirs() -> None:
    from probe.detectors.training import _loss

    logits = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    labels = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    p = 1 / (1 + np.exp(-logits.numpy()))
    y = labels.numpy()
    assert float(_loss("mse", logits, labels)) == pytest.approx(np.mean((p - y) ** 2))
    bce = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert float(_loss("bce", logits, labels)) == pytest.approx(bce)


def test_the_starting_detector_is_left_alone(noise: Dataset, tmp_path: Path) -> None:
    start = load_detector("meso4", input_size=SIZE)
    before = start.fingerprint
    one = noise.select(dataset="one")
    train(start, [one.select(split="train")], one.select(split="val"), tmp_path, PLAN)
    assert start.fingerprint == before and not start.module.training
    assert all(p.grad is None and p.requires_grad for p in start.module.parameters())
