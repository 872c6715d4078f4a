"""Queries against plain statements of what they read."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from app.queries.ablation import ablation_view
from app.queries.neurons import CountsView, counts_view, unit_view, units_view
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.queries.images import extremes, outline, thumbnail
from app.queries.matrix import MatrixView, matrix_frame, matrix_view
from app.queries.summary import common_parts, crop_rule, dataset_rows, parts, summary
from app.run import Run
from probe.errors import ImageError, StoreError, UnknownNameError
from probe.images import token_of
from probe.neurons import Ablation, universal_neurons
from probe.run import MissingTableError
from probe.tables import open_table
from tests.app.making import DATASETS, DETECTORS, FRAMES, IDENTITIES, LAYER, UNITS, MadeRun


@pytest.fixture
def run(made: MadeRun) -> Run:
    return Run(made.folder)


def test_units_are_those_of_the_tables_most_universal_first(made: MadeRun, run: Run) -> None:
    label = DETECTORS[1]
    view = units_view(run, label)
    data = made.tables[label].data
    counted = universal_neurons(made.tables[label], n_draws=2).data
    assert view.layer == LAYER and view.datasets == DATASETS and view.output == "fake logit"
    assert view.kept == UNITS // 2
    assert sorted(view.order) == list(range(UNITS))
    keys = []
    for row in view.records():
        effects = data["effect"].sel(unit=row["unit"]).values
        assert row["mean_effect"] == pytest.approx(sum(effects) / len(DATASETS))
        assert [row[f"e{i}"] for i in range(3)] == pytest.approx(list(effects))
        assert [row[f"r{i}"] for i in range(3)] == list(data["rank"].sel(unit=row["unit"]).values)
        inside = [row[f"r{i}"] <= UNITS // 2 for i in range(3)]
        assert [row[f"s{i}"] for i in range(3)] == inside
        assert row["n_datasets"] == sum(inside) == counted["n_datasets"].sel(unit=row["unit"])
        assert row["q"] == float(counted["q"].values[-1][row["unit"]])
        keys.append((row["q"], -row["n_datasets"], -row["mean_effect"]))
    assert keys == sorted(keys)


def test_rows_are_plain_data_that_json_takes(run: Run) -> None:
    rows = units_view(run, DETECTORS[0]).records()
    assert json.loads(json.dumps(rows)) == rows


def test_counts_are_those_of_the_table(made: MadeRun, run: Run) -> None:
    view = counts_view(run, DETECTORS[0])
    data = universal_neurons(made.tables[DETECTORS[0]], n_draws=50).data
    assert list(view.observed) == list(data["observed"].values)
    assert list(view.expected) == list(data["independence"].values)
    assert np.array_equal(view.untrained, data["untrained"].values)
    assert view.units == UNITS and view.kept == UNITS // 2


@pytest.mark.parametrize(
    ("observed", "untrained", "verdict"),
    [(3, [], "chance"), (4, [1], "beyond"), (5, [5], "untrained"), (6, [5, 2], "beyond")],
)
def test_a_verdict_needs_more_than_both_nulls(
    observed: int, untrained: list[int], verdict: str
) -> None:
    high = np.array([9.0, 3.0])
    draws = np.array([[9, n] for n in untrained], dtype=np.int64).reshape(-1, 2)
    seen = np.array([9, observed])
    none = np.empty(0, dtype=int)
    view = CountsView(
        np.arange(2), seen, high / 2, high / 3, high, draws, 5, none, None, 0, 0.05, "BH"
    )
    assert view.verdict == verdict


def test_one_unit_is_the_column_of_the_tables(made: MadeRun, run: Run) -> None:
    data = made.tables[DETECTORS[0]].data
    for unit in range(UNITS):
        view = unit_view(run, DETECTORS[0], unit)
        assert list(view.effect) == list(data["effect"].sel(unit=unit).values)
        assert list(view.slope) == list(data["slope"].sel(unit=unit).values)
        assert np.array_equal(view.response, data["response"].sel(unit=unit).values)
        for d, name in enumerate(DATASETS):
            effects = sorted(data["effect"].sel(dataset=name).values, reverse=True)
            assert view.threshold[d] == effects[UNITS // 2 - 1]
            assert view.largest[d] == effects[0]
            assert view.selected[d] == (view.effect[d] >= view.threshold[d])


@pytest.mark.parametrize("unit", [0, 7, UNITS - 1])
def test_extremes_are_the_ends_of_the_activations_one_image_a_video(
    made: MadeRun, run: Run, unit: int
) -> None:
    found = extremes(run, DETECTORS[1], LAYER, unit, each=4)
    assert [one.dataset for one in found] == list(DATASETS)
    table = made.data.samples.table.assign(
        activation=made.activations[DETECTORS[1]][:, unit], logit=made.logits[DETECTORS[1]]
    )
    for one in found:
        mine = table[table["dataset"] == one.dataset]
        highest = mine.groupby("video")["activation"].max().sort_values(ascending=False)
        lowest = mine.groupby("video")["activation"].min().sort_values()
        assert [s.activation for s in one.most] == pytest.approx(list(highest[:4]))
        assert [s.activation for s in one.least] == pytest.approx(list(lowest[:4]))
        assert one.n_videos == 2 * IDENTITIES
        for shown in (*one.most, *one.least):
            row = table[table["sample"] == shown.sample].iloc[0]
            assert shown.p_fake == pytest.approx(1 / (1 + np.exp(-row["logit"])), abs=1e-6)
            assert (shown.label, shown.method) == (row["label"], row["method"])
            assert shown.has_mask == bool(row["label"])
            assert shown.token == token_of(shown.sample)


def test_more_images_than_there_are_are_all_there_are(run: Run) -> None:
    one = extremes(run, DETECTORS[0], LAYER, 0, each=1000)[0]
    assert len(one.most) == len(one.least) == 2 * IDENTITIES


def test_a_unit_that_was_not_recorded_is_refused(run: Run) -> None:
    with pytest.raises(StoreError, match=f"unit {UNITS} is not among them"):
        extremes(run, DETECTORS[0], LAYER, UNITS, each=2)


@pytest.mark.parametrize("level", ["frame", "video"])
@pytest.mark.parametrize("metric", ["auroc", "accuracy", "ap", "eer"])
def test_the_matrix_is_the_table_at_metric_and_level(
    made: MadeRun, run: Run, metric: str, level: str
) -> None:
    view = matrix_view(run, metric, level)
    table = open_table(made.folder.path("evaluation"))
    for r, detector in enumerate(view.detectors):
        for c, dataset in enumerate(view.datasets):
            at = table.sel(detector=detector, dataset=dataset, level=level, metric=metric)
            assert view.value[r, c] == at["value"] or np.isnan(at["value"])
            assert view.n_clusters[r, c] == IDENTITIES
    assert view.seen.tolist() == [[True, False, False], [True, True, False]]
    assert list(view.chance) == [0.5, 0.5, 0.5]


def view_of(metric: str, value: float, chance: float) -> MatrixView:
    one = np.array([[value]])
    flags, counts = np.zeros((1, 1), bool), np.ones((1, 1), np.int64)
    return MatrixView(
        metric,
        "frame",
        ("d",),
        ("s",),
        one,
        one,
        one,
        counts,
        counts,
        flags,
        np.array([chance]),
        0.95,
    )


@given(st.floats(0.05, 0.95), st.sampled_from(["auroc", "accuracy", "ap", "eer"]))
def test_skill_is_0_at_chance_1_at_best_and_minus_1_at_worst(chance: float, metric: str) -> None:
    best, worst = (0.0, 1.0) if metric == "eer" else (1.0, 0.0)
    for value, skill in ((best, 1.0), (worst, -1.0), (chance, 0.0)):
        assert view_of(metric, value, chance).skill[0, 0] == pytest.approx(skill, abs=1e-9)


def test_the_frame_holds_every_cell_once(run: Run) -> None:
    frame = matrix_frame(run)
    assert len(frame) == len(DETECTORS) * len(DATASETS) * 2 * 4
    assert not frame.duplicated(["detector", "dataset", "level", "metric"]).any()


def test_datasets_are_counted(run: Run) -> None:
    for row, name in zip(dataset_rows(run), DATASETS, strict=True):
        assert (row.name, row.real, row.fake) == (name, IDENTITIES * FRAMES, IDENTITIES * FRAMES)
        assert (row.videos, row.identities) == (2 * IDENTITIES, IDENTITIES)
        assert row.splits == (("test", 2 * IDENTITIES * FRAMES),)


def test_the_summary_is_the_manifest(made: MadeRun, run: Run) -> None:
    about = summary(run)
    assert (about.source, about.complete, about.simulated) == ("alpha", True, True)
    assert about.architectures == ("meso4",) and about.variants == ("base", "shallow")
    assert all(one.neurons and one.universality and one.store for one in parts(run))
    assert all(one.separability and one.embeddings and one.responses for one in parts(run))
    assert all(common_parts(run).values())


def test_what_is_not_there_is_not_said_to_be(own: MadeRun) -> None:
    shutil.rmtree(own.folder.path("responses", DETECTORS[1]))
    shutil.rmtree(own.folder.path("similarity"))
    run = Run(own.folder)
    assert [one.responses for one in parts(run)] == [True, False]
    assert not common_parts(run)["similarity"] and common_parts(run)["artifact report"]


def test_a_thumbnail_is_the_image_and_the_outline_its_masks_edge(made: MadeRun) -> None:
    table = made.data.samples.table
    fake = int(table.index[table["label"] == 1][0])
    run = Run(made.folder)
    picture = Image.open(io.BytesIO(thumbnail(run, fake)))
    assert picture.size == (16, 16) and picture.format == "WEBP"
    drawn = outline(run, fake)
    assert drawn is not None
    alpha = np.asarray(Image.open(io.BytesIO(drawn)))[..., 3] > 0
    side = len(alpha)
    # The mask is the middle half: nothing in its heart, nothing in the corner, a line between.
    assert not alpha[side // 2, side // 2] and not alpha[2, 2]
    assert alpha[side // 4 - 6 : side // 4 + 6, side // 2].any()
    real = int(table.index[table["label"] == 0][0])
    assert outline(run, real) is None


def test_an_image_that_cannot_be_read_is_an_error(own: MadeRun) -> None:
    file = own.data.root / own.data.samples.table["path"].iloc[0]
    file.write_bytes(b"no image")
    with pytest.raises(ImageError, match="cannot be decoded"):
        thumbnail(Run(own.folder), 0)


def test_tables_are_read_again_when_they_change(own: MadeRun) -> None:
    run = Run(own.folder)
    before = unit_view(run, DETECTORS[0], 0).effect
    table = own.tables[DETECTORS[0]]
    changed = type(table)(table.data.assign(effect=table.data["effect"] * 2))
    changed.save(own.folder.path("neurons", DETECTORS[0]))
    assert list(unit_view(run, DETECTORS[0], 0).effect) == list(2 * before)


def test_a_missing_table_is_named_with_the_command_that_makes_it(own: MadeRun) -> None:
    run = Run(own.folder)
    shutil.rmtree(own.folder.path("neurons", DETECTORS[0]))
    with pytest.raises(MissingTableError, match="no neuron table of meso4/base yet") as missing:
        units_view(run, DETECTORS[0])
    assert missing.value.command == "probe demo --out somewhere"


@pytest.mark.parametrize("label", ["../..", "/etc/passwd", "", "meso4", "..%2f"])
def test_a_detector_that_the_manifest_does_not_name_never_becomes_a_path(
    made: MadeRun, run: Run, label: str
) -> None:
    for read in (run.neurons, run.universality, run.store):
        with pytest.raises(UnknownNameError):
            read(label)


@given(st.text(max_size=40))
def test_tokens_are_hexadecimal_and_differ(name: str) -> None:
    token = token_of(name)
    assert token.isascii() and token.isalnum() and not Path(token).suffix
    assert token != token_of(name + "x")


def test_the_ablation_is_its_mean_row(run: Run) -> None:
    view = ablation_view(run, DETECTORS[0])
    assert view is not None
    table = Ablation.open(run.folder.path("ablation", DETECTORS[0])).to_dataframe()
    mean = table[(table["dataset"] == "mean") & (table["metric"] == "auroc")]
    assert [row.name for row in view.rows] == list(mean["set"])
    for row, wanted in zip(view.rows, mean.to_dict("records"), strict=True):
        assert (row.drop, row.excess, row.p) == (wanted["drop"], wanted["excess"], wanted["p"])
    assert view.alone == ("decoys",) and view.n_random == 9
    assert ablation_view(run, DETECTORS[1]) is None


def test_units_come_by_their_q(run: Run) -> None:
    view, counts = units_view(run, DETECTORS[0]), counts_view(run, DETECTORS[0])
    found = run.universality(DETECTORS[0])
    assert counts.contributing == len(found.universal) > 0
    first = set(view.order[: counts.contributing])
    assert first == set(found.universal.tolist())
    assert all(row["q"] <= 0.05 for row in view.records(slice(counts.contributing)))


def test_of_joined_data_the_parts_state_their_crops(own: MadeRun) -> None:
    """The card of a joined table has no rule of its own; those of its parts are told, each once."""
    cut, lying = {"crop": {"rule": "square", "margin": 1.3}}, {"crop": {"rule": "as they lie"}}
    file = own.data.root / "dataset.json"
    for joined, wanted in (
        ({"alpha": cut, "beta": cut}, "rule: square; margin: 1.3"),
        (
            {"alpha": cut, "beta": lying, "gamma": lying},
            "alpha: rule: square; margin: 1.3 | beta, gamma: rule: as they lie",
        ),
        (
            {"alpha": {}, "beta": cut},
            "alpha: not stated in the dataset's card | beta: rule: square; margin: 1.3",
        ),
    ):
        file.write_text(json.dumps({"name": "study", "parts": joined}))
        assert crop_rule(Run(own.folder)) == wanted
