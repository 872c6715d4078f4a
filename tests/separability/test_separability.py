"""Whole reports: leaks, few people, one class, people in several datasets, files."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.plots.separability import figures_of
from probe.separability import MEASURES, SeparabilityReport, Similarity, measure_separability
from probe.store import ActivationStore
from probe.tables import save_table
from tests.separability.making import write_store

FEW = {"n_controls": 39, "n_permutations": 99, "n_resamples": 200}


def study(path, *, people: int = 12, frames: int = 3, seed: int = 0, shift: float = 1.5, **given):
    """Write two datasets of one method each; every person is seen real and forged."""
    rng = np.random.default_rng(seed)
    rows = [(d, p, y) for d in "ab" for p in range(people) for y in (0, 1) for _ in range(frames)]
    dataset, person, label = (np.array(column) for column in zip(*rows, strict=True))
    values = rng.normal(size=(len(rows), 5))
    values[:, 0] += shift * label
    values[:, 1] += 1.5 * label * (dataset == "a")
    values[:, 2] += 1.5 * (dataset == "b")
    return write_store(
        path,
        {"fc": values, "conv": values[:, [0, 3]]},
        dataset=dataset,
        label=label,
        identity=[f"{d}{p}" for d, p in zip(dataset, person, strict=True)],
        logit=(values[:, 3] + label * 0.2).astype(np.float32),
        **given,
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> SeparabilityReport:
    return measure_separability(study(tmp_path_factory.mktemp("s") / "s.zarr"), **FEW)


def test_a_report_has_the_schema_it_states(found: SeparabilityReport) -> None:
    data = found.data
    assert list(data["measure"].values) == list(MEASURES)
    assert data["value"].dims == ("measure", "layer", "dataset")
    assert data["transfer"].dims == ("layer", "dataset", "scored")
    assert data["answer"].dims == ("question", "layer")
    assert list(data["layer"].values) == ["fc", "conv"] and data.sizes["row"] == 7
    assert list(data["row_layer"].values) == ["fc"] * 5 + ["conv"] * 2
    for name in ("reason", "sampled", "own", "blind", "specific_share", "label_angle_null", "q"):
        assert name in data
    assert (data["reason"] == "").all()


def test_what_was_planted_is_found(found: SeparabilityReport) -> None:
    """Unit 0 knows the label, unit 1 the method, unit 2 the dataset of real images."""
    fc = found.data.sel(layer="fc")
    assert (fc["value"].sel(measure="probe_auroc") > 0.8).all()
    assert (fc["q"].sel(measure="probe_auroc") <= 0.05).all()
    assert (fc["blind_low"] > 0).all(), "the logit knows little of what unit 0 knows"
    assert (
        fc["answer"].sel(question="domain") > 0.65 and fc["answer_p"].sel(question="domain") < 0.05
    )
    assert fc["answer"].sel(question="method") > 0.6
    assert fc["chance"].values.tolist() == [0.5, 0.5]
    units = found.units().iloc[:5]
    assert units["label_information"].idxmax() == 0 and units["label_q"][0] <= 0.05
    assert units["method_information"].idxmax() == 1 and units["method_q"][1] <= 0.05
    assert (units["label_q"][3:] > 0.05).all()
    # a: (s, m), b: (s, 0) with s = m: shared s², mean square (2 s² + s²) / 2.
    assert fc["specific_share"].item() == pytest.approx(1 / 3, abs=0.15)
    assert fc["specific_low"] < 1 / 3 < fc["specific_high"]


def test_the_diagonal_of_transfer_is_the_probe(found: SeparabilityReport) -> None:
    data = found.data
    for name in ("a", "b"):
        cell = data["transfer"].sel(dataset=name, scored=name)
        np.testing.assert_array_equal(
            cell, data["value"].sel(measure="probe_auroc", dataset=name).values
        )
    gap = data["value"].sel(measure="probe_auroc") - data["own"]
    np.testing.assert_allclose(data["blind"], gap.transpose("layer", "dataset"))


def leaking(path, *, grouped: bool) -> ActivationStore:
    """Write videos whose frames are near copies of each other and whose labels mean nothing.

    Ungrouped, every frame claims to be a person of its own.
    """
    rng = np.random.default_rng(4)
    video = np.repeat(np.arange(40), 8)
    values = rng.normal(size=(40, 12))[video] + 0.05 * rng.normal(size=(320, 12))
    label = rng.permutation(np.arange(40) % 2)[video]
    names = [f"v{v}" if grouped else f"v{v}-{i}" for i, v in enumerate(video)]
    return write_store(
        path, {"fc": values}, dataset=["d"] * 320, label=label, identity=[""] * 320, video=names
    )


def test_grouped_folds_beat_a_leak_that_others_fall_for(tmp_path) -> None:
    honest = measure_separability(leaking(tmp_path / "g.zarr", grouped=True), **FEW).data
    fooled = measure_separability(leaking(tmp_path / "u.zarr", grouped=False), **FEW).data
    probe = honest.sel(measure="probe_auroc").squeeze()
    assert probe["low"] < 0.5 < probe["high"] and probe["p"] > 0.05
    control = honest.sel(measure="control_auroc").squeeze()
    assert control["low"] < 0.5 < control["high"]
    leak = fooled.sel(measure="probe_auroc").squeeze()
    assert leak["value"] > 0.75 and leak["low"] > 0.7 and leak["p"] < 0.05
    purity = [float(one["value"].sel(measure="knn_purity").item()) for one in (honest, fooled)]
    # Of ten neighbors seven are frames of the same video, where nobody says so.
    assert purity[0] < 0.6 and purity[1] > 0.8


def test_people_in_two_datasets_do_not_leak_into_transfer(tmp_path) -> None:
    """The same videos stand in both datasets, as FaceForensics++'s originals do."""
    rng = np.random.default_rng(8)
    video = np.tile(np.repeat(np.arange(40), 4), 2)
    values = rng.normal(size=(40, 20))[video] + 0.05 * rng.normal(size=(320, 20))
    label = rng.permutation(np.arange(40) % 2)[video]
    store = write_store(
        tmp_path / "s.zarr",
        {"fc": values},
        dataset=np.repeat(["a", "b"], 160),
        label=label,
        identity=[f"p{v}" for v in video],
    )
    data = measure_separability(store, **FEW).data
    assert (data["transfer_low"] < 0.5).all() and (data["transfer"] < 0.7).all()


def test_originals_stand_with_the_fakes_that_they_belong_to(tmp_path) -> None:
    """A store of FaceForensics++: one dataset of originals, and one a method of fakes alone."""
    rng = np.random.default_rng(0)
    rows = [(d, p) for d in ("youtube", "deepfakes", "faceswap") for p in range(12) for _ in "abc"]
    dataset, person = (np.array(column) for column in zip(*rows, strict=True))
    label = (dataset != "youtube").astype(int)
    values = rng.normal(size=(len(rows), 4))
    values[:, 0] += 1.5 * label
    card = {"reals": {"deepfakes": "youtube", "faceswap": "youtube", "absent": "actors"}}
    given = {
        "label": label,
        "identity": [f"p{p}" for p in person],
        "path_of": [f"{i}.png" for i in range(len(rows))],
    }
    store = write_store(tmp_path / "a.zarr", {"fc": values}, dataset=dataset, card=card, **given)
    data = measure_separability(store, **FEW).data
    assert list(data["dataset"].values) == ["deepfakes", "faceswap"]
    assert data["n_samples"].values.tolist() == [72, 72]
    assert data["n_fakes"].values.tolist() == [36, 36]
    assert (data["value"].sel(measure="probe_auroc") > 0.75).all()
    # Both datasets have the same originals: nothing to tell.
    assert np.isnan(data["answer"].sel(question="domain")).all()
    assert np.isfinite(data["answer"].sel(question="method")).all()
    parts = {"parts": {"one": card}}
    again = write_store(tmp_path / "b.zarr", {"fc": values}, dataset=dataset, card=parts, **given)
    assert measure_separability(again, **FEW).data["value"].equals(data["value"])


def test_fewer_than_five_people_get_values_and_a_reason_but_no_interval(tmp_path) -> None:
    store = study(tmp_path / "s.zarr", people=3, frames=6)
    data = measure_separability(store, **FEW).data
    assert np.isfinite(data["value"].sel(measure="probe_auroc")).all()
    for name in ("low", "p", "q"):
        assert np.isnan(data[name]).all()
    assert np.isnan(data["own_low"]).all() and np.isnan(data["blind_high"]).all()
    assert all(
        "3 people or videos: with fewer than 5 no interval" in r for r in data["reason"].values
    )


def test_one_class_and_one_fake_video_say_so(tmp_path) -> None:
    rng = np.random.default_rng(0)
    dataset = np.repeat(["whole", "reals", "one fake"], 40)
    label = np.r_[np.arange(40) % 2, np.zeros(40), np.r_[np.ones(5), np.zeros(35)]].astype(int)
    identity = [f"{d}{i // 5}" for i, d in enumerate(dataset)]
    store = write_store(
        tmp_path / "s.zarr",
        {"fc": rng.normal(size=(120, 3))},
        dataset=dataset,
        label=label,
        identity=identity,
    )
    data = measure_separability(store, **FEW).data
    reason = dict(zip(data["dataset"].values, data["reason"].values, strict=True))
    assert reason["whole"] == "" and "real images only" in reason["reals"]
    assert "fakes show 1 person or video" in reason["one fake"]
    assert np.isnan(data["value"].sel(dataset="reals")).all()
    assert np.isnan(data["value"].sel(dataset="one fake", measure="probe_auroc"))
    assert np.isfinite(data["transfer"].sel(dataset="whole", scored="one fake"))
    assert np.isnan(data["transfer"].sel(dataset="reals", scored="whole"))


def test_constant_features_give_chance_not_an_error(tmp_path) -> None:
    n = 96
    store = write_store(
        tmp_path / "s.zarr",
        {"fc": np.ones((n, 3))},
        dataset=["d"] * n,
        label=np.arange(n) % 2,
        identity=[f"p{i // 8}" for i in range(n)],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = measure_separability(store, **FEW).data
    assert data["value"].sel(measure="probe_auroc") == 0.5
    assert data["value"].sel(measure="silhouette") == 0 and data["value"].sel(measure="mmd2") == 0
    assert (data["label_information"] == 0).all()


def test_more_units_than_samples(tmp_path) -> None:
    rng, n = np.random.default_rng(0), 96
    label = np.arange(n) % 2
    values = rng.normal(size=(n, 400))
    values[:, :40] += label[:, None]
    store = write_store(
        tmp_path / "s.zarr",
        {"fc": values},
        dataset=np.repeat(["a", "b"], n // 2),
        label=label,
        identity=[f"p{i // 8}" for i in range(n)],
    )
    data = measure_separability(store, **FEW).data
    assert (data["value"].sel(measure="probe_auroc") > 0.85).all() and data.sizes["row"] == 400
    assert data["label_angle_null"].item() == pytest.approx(1 / 400)


def test_the_same_seed_gives_the_same_report(tmp_path) -> None:
    store = study(tmp_path / "s.zarr", people=6)
    one, two = (measure_separability(store, ["conv"], seed=3, **FEW).data for _ in range(2))
    assert one.identical(two)
    assert not one["p"].identical(measure_separability(store, ["conv"], seed=4, **FEW).data["p"])


def test_files_round_trip(found: SeparabilityReport, tmp_path) -> None:
    found.save(tmp_path / "r.zarr")
    again = SeparabilityReport.open(tmp_path / "r.zarr")
    for name in found.data.data_vars:
        assert again.data[name].equals(found.data[name].astype(again.data[name].dtype)), name
    for suffix in (".csv", ".parquet", ".tex", ".md"):
        place = again.export(tmp_path / f"r{suffix}")
        assert place.is_file() and (tmp_path / f"r-transfer{suffix}").is_file()
    frame = pd.read_csv(tmp_path / "r.csv")
    assert len(frame) == len(MEASURES) * 2 * 2
    assert len(pd.read_csv(tmp_path / "r-transfer.csv")) == 2 * 2 * 2
    assert list(pd.read_csv(tmp_path / "r-layers.csv")["layer"]) == ["fc", "conv"]
    assert len(pd.read_csv(tmp_path / "r-units.csv")) == 7
    with pytest.raises(StoreError, match="is not a similarity of features of version 1"):
        Similarity.open(tmp_path / "r.zarr")
    old = found.data.assign_attrs(result="SeparabilityReport", result_version=0)
    save_table(old, tmp_path / "old.zarr")
    with pytest.raises(StoreError, match="is not a separability report of version 1"):
        SeparabilityReport.open(tmp_path / "old.zarr")


def test_figures_are_drawn(found: SeparabilityReport, tmp_path) -> None:
    from probe.plots import save_figure

    figures = figures_of(found)
    assert set(figures) == {"probes", "units", "transfer-fc", "transfer-conv"}
    for name, figure in figures.items():
        assert save_figure(figure, tmp_path / f"{name}.png", dpi=60).stat().st_size > 4000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_folds": 1}, "n_folds=1 was given"),
        ({"n_controls": 0}, "n_controls=0 was given"),
        ({"ci": 1.0}, "ci=1.0"),
        ({"memory": "lots"}, "give a size such as 4G"),
        ({"memory": "100M"}, "Give at least"),
    ],
)
def test_bad_arguments_are_worded(tmp_path, options, words) -> None:
    store = study(tmp_path / "s.zarr", people=2)
    with pytest.raises(ProbeError, match=words):
        measure_separability(store, **options)


def test_an_unknown_layer_is_named(tmp_path) -> None:
    with pytest.raises(
        UnknownNameError, match="Layer 'fd' is not known in the store .* Known: fc, conv"
    ):
        measure_separability(study(tmp_path / "s.zarr", people=2), ["fd"])
