"""What a study is predicted to take: counted as it is done, and growing as it grows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from probe.datasets.lab import FRAMES
from probe.study import Study, load_study
from probe.study.costs import STATISTICS, Calibration, NetworkRates, StageCost, predict, size_of
from probe.study.data import open_data
from probe.study.stages import stages_of
from tests.study.making import TEXT, write_study

NETWORK = NetworkRates(
    parameters=1000,
    units={"leaky": 16},
    forward=0.01,
    step={"base": (0.5, 0.1), "deep": (0.25, 0.2)},
    sweep=0.03,
    state=64,
    maps={"gradcam": 0.2, "input_x_gradient": 0.1},
    trust=3.0,
)
RATES = Calibration(
    speed=1.0,
    make=0.5,
    decode=0.0,
    audit=0.02,
    measure=0.04,
    image_bytes=1000,
    networks={"meso4": NETWORK},
    base_memory=2**30,
    used_memory=2**30,
    n_workers=2,
)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load_study(write_study(tmp_path), tmp_path / "run")


def costs_of(study: Study, rates: Calibration = RATES) -> dict[str, StageCost]:
    return {one.stage: one for one in predict(study, size_of(study), rates)}


def test_images_are_counted_as_the_data_are_opened(study: Study, tmp_path: Path) -> None:
    size = size_of(study)
    table = open_data(study, tmp_path / "opened").samples.table
    counted = table.groupby(["dataset", "split"]).size()
    for row in size.images.itertuples():
        assert row.images == counted[row.dataset, row.split]
    test = table[table["split"] == "test"]
    assert size.files == test["path"].nunique()
    assert size.made_videos == size.made_images == 0


def test_caps_count(tmp_path: Path) -> None:
    text = TEXT.replace('open = "data:one"', 'open = "data:one"\nimages = 4')
    capped = load_study(write_study(tmp_path, text), tmp_path / "run")
    table = open_data(capped, tmp_path / "opened").samples.table
    assert size_of(capped).count("test") == int((table["split"] == "test").sum())


def test_the_lab_is_counted_before_it_is_made(tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    counts = "counts = { train = 20, val = 8, test = 9 }"
    text = f'[[datasets]]\nopen = "lab"\n{counts}\n[[detectors.weights]]\nname = "meso4"\n'
    (tmp_path / "w.h5").write_bytes(b"")
    file.write_text(text + 'file = "w.h5"\n')
    size = size_of(load_study(file, tmp_path / "run"))
    # Whole clips of as many real as fake frames: three, one and two of them.
    assert size.count("train") == 6 * 3 * 2 * FRAMES and size.count("test") == 6 * 2 * 2 * FRAMES
    assert size.made_images == 6 * (3 + 1 + 2) * 2 * FRAMES
    assert not (tmp_path / "run").exists()


def test_trainings_and_scores_by_hand(study: Study) -> None:
    found, size = costs_of(study), size_of(study)
    train, val = (size.count(split, "one") for split in ("train", "val"))
    both = size.count("val")
    base = 3 * (train // 8) * (0.5 + 8 * 0.1) + 3 * val * 0.01
    deep = 2 * 3 * (0.25 + 8 * 0.2) + 2 * both * 0.01
    assert found["detectors"].seconds == pytest.approx(base + deep)
    assert found["detectors"].disk == 2 * 4 * 1000
    more = replace(RATES, networks={"meso4": replace(NETWORK, forward=0.02)})
    gained = costs_of(study, more)["activations"].seconds - found["activations"].seconds
    assert gained == pytest.approx(2 * size.files * 0.01)


def test_maps_that_compare_variants_count(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STATISTICS, "compare a pixel", 0.0)
    more = study.attribution.model_copy(update={"similarity_images": 7})
    fewer = study.attribution.model_copy(update={"similarity_images": 3})
    taken = [
        costs_of(study.model_copy(update={"attribution": plan}))["attribution"].seconds
        for plan in (more, fewer)
    ]
    # Two variants on two datasets, a fifth of a second a map.
    assert taken[0] - taken[1] == pytest.approx(2 * 2 * 4 * 0.2)


def test_every_stage_has_a_cost(study: Study) -> None:
    found = costs_of(study)
    assert list(found) == [stage.name for stage in stages_of(study)]
    for one in found.values():
        assert one.seconds > 0 and one.memory > RATES.base_memory and one.counts
    slower = costs_of(study, replace(RATES, speed=2.0))
    assert all(slower[name].seconds >= one.seconds for name, one in found.items())


def test_what_is_not_asked_for_costs_nothing(tmp_path: Path) -> None:
    text = TEXT.replace("[separability]", "[artifacts]\nrun = false\n[separability]\nrun = false")
    found = costs_of(load_study(write_study(tmp_path, text), tmp_path / "run"))
    for stage in ("separability", "artifacts", "responses"):
        assert found[stage].seconds == found[stage].memory == 0
