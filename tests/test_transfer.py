"""Heads on a dataset held out: what is used, what is not, and what each head is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from probe.datasets.dataset import Dataset
from probe.detectors import Detector, load_detector
from probe.errors import DatasetError, ProbeError
from probe.neurons import HEADS, Examples, leave_one_out, universal_head
from probe.stats import auroc
from tests.conftest import make_images


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    place = tmp_path_factory.mktemp("three")
    return make_images(place, datasets=("one", "two", "three"), identities=8, frames=2)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector("meso4", input_size=32, seed=4)


def examples(seed: int, n: int = 240, units: int = 6) -> Examples:
    """Unit 0 tells fakes; unit 1 tells the method; the others are noise."""
    rng = np.random.default_rng(seed)
    labels = np.tile([0, 1], n // 2).astype(np.int8)
    clusters = np.repeat(np.arange(n // 4), 4)
    datasets = np.repeat(["a", "b"], n // 2).astype(object)
    methods = np.where(labels == 1, datasets, "real").astype(object)
    values = rng.normal(size=(n, units))
    values[:, 0] += 1.5 * labels
    values[:, 1] += np.where(labels == 1, np.where(datasets == "a", 4.0, -4.0), 0.0)
    return Examples(values, labels, clusters, datasets, methods)


@pytest.mark.parametrize("name", list(HEADS))
def test_every_head_finds_what_is_there(name: str) -> None:
    head = HEADS[name](examples(0), np.array([0, 2]))
    assert head is not None
    fresh = examples(1)
    assert float(auroc(fresh.labels, head(fresh.values))[0]) > 0.8


def test_a_shortcut_is_forgotten() -> None:
    """What tells the methods of fakes does not move the scores any more."""
    given = examples(0)
    head = HEADS["shortcut removed"](given, np.empty(0, dtype=int))
    assert head is not None
    moved = given.values.copy()
    moved[:, 1] += 5
    plain = HEADS["refitted"](given, np.empty(0, dtype=int))
    assert plain is not None
    change = np.abs(head(moved) - head(given.values)).max()
    assert change < 0.2 * np.abs(head(given.values)).max()


def test_no_units_no_head() -> None:
    assert HEADS["universal"](examples(0), np.empty(0, dtype=int)) is None


def test_classes_and_datasets_count_the_same() -> None:
    given = examples(0)
    uneven = Examples(
        given.values[:200],
        given.labels[:200],
        given.clusters[:200],
        given.datasets[:200],
        given.methods[:200],
    )
    frame = pd.DataFrame({"d": uneven.datasets, "y": uneven.labels, "w": uneven.weights})
    assert frame.groupby(["d", "y"])["w"].sum().nunique() == 1 or np.ptp(
        frame.groupby(["d", "y"])["w"].sum()
    ) == pytest.approx(0)


def test_leave_one_out(detector: Detector, three: Dataset, tmp_path: Path) -> None:
    options = {"at_least": 2, "n_random": 4, "n_resamples": 50}
    table = leave_one_out(detector, three, **options)
    frame = table.frame
    assert list(dict.fromkeys(frame["held_out"])) == ["one", "two", "three"]
    own = frame[(frame["held_out"] == "two") & (frame["head"] == "own")].iloc[0]
    test = three.select(dataset="two", split="test")
    logits = detector.logits(test.array(range(len(test)), 32))
    assert own["auroc"] == pytest.approx(float(auroc(test.labels, logits)[0]))
    universal = frame[frame["head"] == "universal"].set_index("held_out")["auroc"]
    for row in frame[frame["head"].isin(["own", "refitted"])].itertuples():
        if row.held_out in universal:
            assert row.gain == pytest.approx(universal[row.held_out] - row.auroc)
    assert not frame["seen"].any()
    again = leave_one_out(detector, three, **options).frame
    pd.testing.assert_frame_equal(frame, again)
    summary = table.over_replicas()
    assert table.summary().count("own head AUROC") == 3
    assert {"one", "two", "three"} <= set(summary["held_out"]) <= {"one", "two", "three", "mean"}
    assert table.export(tmp_path / "heads.csv").stat().st_size > 100


def test_replicas_of_one_label_keep_the_fingerprints_of_both(
    detector: Detector, three: Dataset
) -> None:
    other = load_detector("meso4", input_size=32, seed=5)
    assert other.name == detector.name
    options = {"at_least": 2, "n_random": 2, "n_resamples": 10}
    found = leave_one_out([detector, other], three, **options).provenance
    assert sorted(found.detectors.values()) == sorted([detector.fingerprint, other.fingerprint])
    assert found.detectors[detector.name] == detector.fingerprint
    parts = three.by_dataset()
    assert found.data == {name: part.fingerprint for name, part in parts.items()}


def test_the_dataset_held_out_decides_nothing_before(detector: Detector, three: Dataset) -> None:
    """Turning all labels of the held-out dataset round turns its AUROC round, and nothing else."""
    rest = [three.select(dataset=name) for name in ("one", "two")]
    held = three.select(dataset="three")
    options = {"at_least": 2, "n_random": 2, "n_resamples": 10}
    first = universal_head(detector, rest, held_out=held, **options)
    table = held.samples.table.assign(label=1 - held.samples.table["label"])
    turned = Dataset(held.name, type(held.samples)(table), held.root, held.card)
    second = universal_head(detector, rest, held_out=turned, **options)
    assert first.data.attrs["units"] == second.data.attrs["units"]
    np.testing.assert_allclose(first.frame["auroc"], 1 - second.frame["auroc"])


def test_bad_input_is_answered(detector: Detector, three: Dataset) -> None:
    one, two = (three.select(dataset=name) for name in ("one", "two"))
    with pytest.raises(ProbeError, match="at least two for training and one other"):
        universal_head(detector, one, held_out=two)
    with pytest.raises(ProbeError, match="at least two for training and one other"):
        universal_head(detector, [one, two], held_out=two)
    with pytest.raises(DatasetError, match="split"):
        universal_head(
            detector, [one.select(split="train"), two], held_out=three.select(dataset="three")
        )
    with pytest.raises(ProbeError, match="at_least=7"):
        universal_head(detector, [one, two], held_out=three.select(dataset="three"), at_least=7)
