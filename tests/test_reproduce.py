"""Reproduction: each change does what it says, and the decision errs as rarely as it states."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import probe
from probe.datasets import Dataset, Samples
from probe.detectors.detector import Detector, DetectorSpec, Normalize
from probe.detectors.loading import save_detector
from probe.errors import DatasetError, ProbeError, UnknownNameError
from probe.reproduction.decision import Noise, chance_of_match, pair_noise
from probe.reproduction.evidence import parse_published, read_scores
from probe.reproduction.figures import Part, aggregate, level_of
from probe.reproduction.run import material_of
from probe.reproduction.scores import Rows, Scorer
from probe.reproduction.settings import (
    WEIGHTS,
    Change,
    changed_module,
    changed_pixels,
    combine,
    named,
    own_normalization,
    pairs_of,
)
from probe.reproduction.signs import signs_of
from probe.stats import METRICS, sigmoid
from tests.conftest import make_images
from tests.test_cli import run

SIZE = 48


class Board(nn.Module):
    """Finds a checkerboard, more so in red than in blue, and leans on the image's brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.normalize = Normalize((0.5,) * 3, (0.5,) * 3)
        self.conv = nn.Conv2d(3, 2, 2, bias=False)
        self.relu = nn.ReLU()
        self.bn = nn.BatchNorm2d(2)
        self.head = nn.Linear(2, 1)
        sign = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
        color = torch.tensor([1.0, 0.6, 0.1]).view(3, 1, 1)
        with torch.no_grad():
            self.conv.weight.copy_(torch.stack([color * sign, 0.3 * color * sign.abs()]))
            self.bn.running_mean.copy_(torch.tensor([0.3, 0.1]))
            self.bn.running_var.copy_(torch.tensor([0.2, 0.3]))
            self.head.weight.copy_(torch.tensor([[2.0, 0.5]]))
            self.head.bias.fill_(0.2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.bn(self.relu(self.conv(self.normalize(x)))).mean((2, 3)))
        return out[:, 0]


@pytest.fixture(scope="module")
def board() -> Detector:
    return Detector(Board(), DetectorSpec("board", SIZE))


@pytest.fixture(scope="module")
def faint(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Forty videos of three frames in the test split, whose checkerboard is hard to see."""
    data = make_images(
        tmp_path_factory.mktemp("faint"),
        datasets=("one",),
        identities=12,
        frames=3,
        splits=("test",),
    )
    rng = np.random.default_rng(1)
    for file in data.files():
        pixels = np.asarray(Image.open(file), dtype=float) + rng.normal(0, 60)
        # The board is faint, and more so in blue than in red.
        noisy = np.array([0.5, 0.2, 0.05]) * (pixels - 128) + 128
        noisy = noisy + rng.normal(0, 30 * rng.random(), pixels.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file)
    return data


def published_under(
    detector: Detector, data: Dataset, changes: list[Change], keys: list[str], digits: int = 4
) -> dict[str, str]:
    """Figures under changes, by a loop over videos and metrics of our own."""
    rows = data.samples.table
    scorer = Scorer(material_of(detector, data, ()))
    scorer.score([combine(changes)], np.arange(len(data)), "test")
    rows = rows.assign(p=sigmoid(scorer.logits(combine(changes))))
    out = {}
    for key in keys:
        level, metric = key.split(":")
        part = rows
        if level == "video":
            part = rows.groupby(["video", "label"], as_index=False)["p"].mean()
        value = METRICS[metric](part["label"], part["p"], None)[0]
        out[key] = f"{value:.{digits}f}"
    return out


EIGHT = [f"{level}:{metric}" for level in ("frame", "video") for metric in METRICS]


# What a change does ------------------------------------------------------------------------------


def test_pixels_are_changed_in_the_order_of_a_pipeline() -> None:
    x = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    plain = Image.fromarray(x).resize((48, 48), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(changed_pixels(x, {}, 48), np.asarray(plain))
    inner = Image.fromarray(x[15:45, 15:45]).resize((48, 48), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(changed_pixels(x, {}, 48, share=0.5), np.asarray(inner))
    buffer = io.BytesIO()
    Image.fromarray(x[15:45, 15:45]).save(buffer, "JPEG", quality=50)
    coarse = Image.open(buffer).resize((32, 32), Image.Resampling.NEAREST)
    expected = np.asarray(coarse.resize((48, 48), Image.Resampling.NEAREST))
    changes = {"jpeg": "50", "size": "32", "interpolation": "nearest"}
    np.testing.assert_array_equal(changed_pixels(x, changes, 48, share=0.5), expected)
    assert changed_pixels(x, {"size": "32"}, 48, flexible=True).shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Change("channels", "BGR"), lambda x: (x[:, ::-1] - 0.5) / 0.5),
        (Change("normalization", "none"), lambda x: x),
        (
            Change("normalization", "ImageNet"),
            lambda x: (
                (x - np.reshape([0.485, 0.456, 0.406], (1, 3, 1, 1)))
                / np.reshape([0.229, 0.224, 0.225], (1, 3, 1, 1))
            ),
        ),
    ],
    ids=lambda one: str(one) if isinstance(one, Change) else "expected",
)
def test_the_network_sees_the_changed_input(
    board: Detector, faint: Dataset, change: Change, expected: object
) -> None:
    """What follows the normalization receives exactly what a pipeline of the other kind gives."""
    bare = Board().eval()
    bare.normalize = nn.Identity()
    seen = expected(faint.array(range(8), SIZE).astype(np.float64))
    with torch.inference_mode():
        theirs = bare(torch.from_numpy(np.ascontiguousarray(seen)).float()).numpy()
    scorer = Scorer(material_of(board, faint, ()))
    scorer.score([(change,)], np.arange(8), "test")
    np.testing.assert_allclose(scorer.logits((change,))[:8], theirs, atol=2e-5)
    assert np.isnan(scorer.logits((change,))[8:]).all()


def test_changed_networks_leave_the_given_one_as_it_is(board: Detector) -> None:
    before = board.fingerprint
    x = torch.rand(6, 3, SIZE, SIZE)
    given = board.logits(x)
    batch = changed_module(board.module, {"batchnorm": "by batch statistics"})
    with torch.inference_mode():
        hidden = board.module.relu(board.module.conv(board.module.normalize(x)))
        mean, var = hidden.mean((0, 2, 3)), hidden.var((0, 2, 3), unbiased=False)
        shape = (1, -1, 1, 1)
        normed = (hidden - mean.view(shape)) / torch.sqrt(var.view(shape) + 1e-5)
        expected = board.module.head(normed.mean((2, 3)))[:, 0]
        torch.testing.assert_close(batch(x), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(batch(x), batch(x))
    body = changed_module(board.module, {"weights": WEIGHTS[1]})
    assert torch.equal(body.head.weight, board.module.head.weight)
    assert not torch.equal(body.conv.weight, board.module.conv.weight)
    head = changed_module(board.module, {"weights": WEIGHTS[0]})
    assert torch.equal(head.conv.weight, board.module.conv.weight)
    assert not torch.equal(head.head.weight, board.module.head.weight)
    np.testing.assert_array_equal(board.logits(x), given)
    assert board.fingerprint == before and not board.module.bn.training


def test_signs_of_weights_that_were_not_loaded(board: Detector) -> None:
    assert signs_of(board) == []
    lost = changed_module(board.module, {"weights": WEIGHTS[2]})
    (sign,) = signs_of(Detector(lost, board.spec))
    assert "1 of 1 BatchNorm layers are initial" in sign and "'bn'" in sign


@pytest.mark.parametrize(
    "rule", ["first 2", "2 evenly spaced", "1 evenly spaced", "5 evenly spaced"]
)
def test_frames_of_a_video(rule: str) -> None:
    sizes = {"a": 7, "b": 2, "c": 1}
    rows = [(v, f) for v, n in sizes.items() for f in range(n)]
    order = np.random.default_rng(0).permutation(len(rows))
    table = Rows(
        np.zeros(len(rows), dtype=np.int64),
        np.zeros(len(rows), dtype=np.int64),
        np.array([ord(rows[k][0]) for k in order]),
        np.array([10 * rows[k][1] for k in order]),
        np.full(len(rows), "test", dtype=object),
        np.ones(len(rows), dtype=bool),
        np.zeros(len(rows), dtype=bool),
    )
    count = int(rule.split()[1] if rule.startswith("first") else rule.split()[0])
    expected = set()
    for video, n in sizes.items():
        if rule.startswith("first"):
            places = range(min(count, n))
        elif n <= count:
            places = range(n)
        else:
            places = [int((part + 0.5) * n / count) for part in range(count)]
        expected |= {(ord(video), 10 * place) for place in places}
    chosen = table.chosen((Change("frames", rule),), np.ones(len(rows), dtype=bool))
    assert {(table.video[k], table.frame[k]) for k in chosen} == expected
    assert list(chosen) == sorted(chosen)


def test_aggregation_and_level() -> None:
    logit, video = np.array([-2.0, 1.0, 3.0, 0.5]), np.array([7, 7, 2, 2])
    by = {0: [3.0, 0.5], 1: [-2.0, 1.0]}
    for how, rule in {
        "mean": lambda z: np.mean(sigmoid(z)),
        "mean logit": lambda z: sigmoid(np.mean(z)),
        "maximum": lambda z: np.max(sigmoid(z)),
    }.items():
        first, score = aggregate(logit, video, how)
        np.testing.assert_allclose(score, [rule(by[0]), rule(by[1])])
        assert list(first) == [2, 0]
    frame, video_one = parse_published("frame=.7,video=.8", [])
    assert level_of(frame, "video by maximum", {"frame"}) == ("video", "maximum")
    assert level_of(frame, "video by maximum", {"frame", "video"}) == ("frame", "mean")
    assert level_of(video_one, "frame", {"video"}) == ("frame", "mean")
    assert level_of(video_one, "", {"video"}) == ("video", "mean")


def test_rows_by_split_and_duplicates(noise: Dataset) -> None:
    table = noise.samples.table
    again = table[table["split"] == "test"].head(5)
    again = again.assign(sample=again["sample"] + "-again")
    data = replace(noise, samples=Samples(pd.concat([table, again], ignore_index=True)))
    rows, every = Rows.of(data, "test"), np.ones(len(data), dtype=bool)
    count = (table["split"] == "test").sum()
    assert len(rows.chosen((), every)) == count + 5
    assert len(rows.chosen((Change("duplicates", "each image once"),), every)) == count
    val = rows.chosen((Change("split", "val"),), every)
    assert set(data.samples.table["split"].iloc[val]) == {"val"}
    assert len(rows.chosen((Change("split", "all"),), every)) == len(data)


def test_a_part_has_the_clusters_of_its_people(noise: Dataset) -> None:
    part = Part.of(noise, "two")
    inside = noise.samples.table["dataset"] == "two"
    np.testing.assert_array_equal(part.rows, inside)
    identity = noise.samples.table["identity"].to_numpy()
    for code, name in enumerate(part.names):
        assert set(identity[part.cluster == code]) == {name}


def test_options_say_what_is_not_tried(board: Detector, faint: Dataset, noise: Dataset) -> None:
    options = material_of(board, faint, parse_published(".7", [])).options
    factors = {one.factor for one in options.changes}
    assert {"crop", "size", "level", "frames", "normalization", "batchnorm"} <= factors
    assert Change("normalization", "0.5") not in options.changes
    assert {"split", "duplicates"} <= set(options.not_tried) and "duplicates" not in factors
    known = replace(faint, card={"crop": {"margin": 1.9}})
    crops = material_of(board, known, ()).options
    assert (
        crops.shares["margin 1.3"] == pytest.approx(1.3 / 1.9) and "1.9" in crops.not_tried["crop"]
    )
    given = material_of(board, noise, (), "test").options
    assert {c.option for c in given.changes if c.factor == "split"} == {"train", "val", "all"}
    pairs = pairs_of(given.changes)
    assert all(a.factor != b.factor for a, b in pairs) and len(set(pairs)) == len(pairs)
    assert own_normalization(nn.Linear(1, 1)) is None


# What was published ------------------------------------------------------------------------------


def test_published_figures_are_read_in_every_form() -> None:
    (one,) = parse_published(".780", [])
    assert (one.value, one.half, one.name) == (0.78, pytest.approx(5e-4), "auroc frame")
    (one,) = parse_published(0.78, [], level="video")
    assert one.half == pytest.approx(5e-3) and one.level == "video"
    (one,) = parse_published("77.9%", [])
    assert one.value == pytest.approx(0.779) and one.half == pytest.approx(5e-4)
    found = parse_published("ff-df=.98, celebdf:ap:video=.74", ["ff-df", "celebdf"])
    assert [one.name for one in found] == ["ff-df auroc frame", "celebdf ap video"]
    assert parse_published({"ap": ".81"}, [])[0].metric == "ap"


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ("77.9", ProbeError, "shares from 0 to 1"),
        ("auroc", ProbeError, "shares from 0 to 1"),
        ("", ProbeError, "No published figure"),
        ("celeb=.7", UnknownNameError, "Did you mean 'celebdf'"),
        ("ap=.7,ap=.8", ProbeError, "Two published figures"),
    ],
)
def test_published_figures_that_cannot_be(given: str, error: type[ProbeError], text: str) -> None:
    with pytest.raises(error, match=text):
        parse_published(given, ["celebdf"])


def test_score_files(tmp_path: Path) -> None:
    file = tmp_path / "scores.csv"
    pd.DataFrame({"path": ["a/1.png", "a/2.png"], "logit": [-1.0, 2.0]}).to_csv(file, index=False)
    found = read_scores(file)
    assert found.by == "path"
    np.testing.assert_allclose(found.scores, sigmoid(np.array([-1.0, 2.0])))
    with pytest.raises(ProbeError, match="occurs twice"):
        read_scores(pd.DataFrame({"video": ["a", "a"], "score": [0.1, 0.2]}))
    with pytest.raises(ProbeError, match="They need one of sample, path, video"):
        read_scores(pd.DataFrame({"name": ["a"], "score": [0.1]}))


# The decision ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shared", "largest"), [(0.0, True), (0.75, False), (1.0, False)])
def test_noise_is_taken_for_more_in_five_of_a_hundred(shared: float, largest: bool) -> None:
    """Two correlated figures of two samples; p ≤ .05 as rarely as it says."""
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky([[1.0, 0.9], [0.9, 1.0]]) * 0.02
    half = np.array([0.001, 0.001])
    noise = Noise.of(pair_noise(rng.normal(size=(1000, 2)) @ root.T, half, shared), largest)
    assert noise is not None
    spread = np.sqrt(2 * (1 - shared))
    gaps = spread * (rng.normal(size=(2000, 2)) @ root.T) + rng.uniform(-1, 1, (2000, 2)) * half
    rate = np.mean([noise.p(gap) < 0.05 for gap in gaps])
    assert 0.03 < rate < 0.07
    assert noise.p(np.array([0.2, -0.2])) < 0.01


def test_noise_of_too_few_clusters_is_none() -> None:
    assert Noise.of(pair_noise(np.full((100, 1), np.nan), np.array([0.001]))) is None
    assert Noise.of(pair_noise(np.empty((0, 1)), np.array([0.001]), 1.0)) is not None


def test_luck_grows_with_the_number_of_tries() -> None:
    rng = np.random.default_rng(0)
    noise = Noise.of(pair_noise(np.empty((0, 1)), np.array([0.001]), 1.0))
    assert noise is not None
    few, many = (rng.uniform(-0.3, 0, (n, 1)) for n in (3, 3000))
    gap = np.array([-0.1])
    assert chance_of_match(few, gap, noise) < 0.1 < 0.9 < chance_of_match(many, gap, noise)
    eight = Noise.of(pair_noise(np.empty((0, 8)), np.full(8, 0.001), 1.0))
    assert eight is not None
    assert chance_of_match(rng.uniform(-0.3, 0, (300, 8)), np.full(8, -0.1), eight) < 0.05


# The search --------------------------------------------------------------------------------------


def test_what_is_published_as_given_is_no_fault(board: Detector, faint: Dataset) -> None:
    given = published_under(board, faint, [], EIGHT)
    for shared in (0.0, 1.0):
        found = probe.reproduce(board, faint, given, shared=shared, max_changes=1)
        assert found.data.attrs["verdict"] == "noise" and found.candidates == ()
        assert "No fault" in found.summary()


@pytest.mark.parametrize(
    "changes",
    [
        [Change("polarity", "inverted")],
        [Change("jpeg", "50")],
        *(
            pytest.param(one, marks=pytest.mark.slow)
            for one in (
                [Change("channels", "BGR")],
                [Change("normalization", "ImageNet")],
                [Change("weights", WEIGHTS[2])],
                [Change("channels", "BGR"), Change("polarity", "inverted")],
            )
        ),
    ],
    ids=lambda one: named(combine(one)),
)
def test_a_planted_change_is_named(board: Detector, faint: Dataset, changes: list[Change]) -> None:
    figures = published_under(board, faint, changes, EIGHT)
    found = probe.reproduce(
        board, faint, figures, shared=1, max_changes=len(changes), n_resamples=200
    )
    assert found.candidates == (named(combine(changes)),)
    assert found.data.attrs["verdict"] == "named"
    frame = found.to_dataframe()
    assert frame["setting"].iloc[0] == found.candidates[0] and frame["holds"].iloc[0]


def test_few_figures_leave_candidates_and_say_so(board: Detector, faint: Dataset) -> None:
    figures = published_under(board, faint, [Change("jpeg", "50")], ["frame:auroc"], 2)
    found = probe.reproduce(board, faint, figures, shared=1, n_resamples=200)
    assert found.data.attrs["verdict"] == "candidates" and "jpeg 50" in found.candidates
    assert "may be luck" in found.summary()


def test_a_figure_that_nothing_gives(board: Detector, faint: Dataset) -> None:
    found = probe.reproduce(board, faint, "auroc=.123,eer=.456", shared=1, max_changes=1)
    assert found.data.attrs["verdict"] == "none"
    assert "None of " in found.summary() and "Not tried: " in found.summary()


@pytest.mark.slow
def test_scores_tell_a_pair(board: Detector, faint: Dataset) -> None:
    pair = combine([Change("channels", "BGR"), Change("frames", "first 1")])
    scorer = Scorer(material_of(board, faint, ()))
    scorer.score([pair], np.arange(len(faint)), "test")
    table = faint.samples.table.assign(score=sigmoid(scorer.logits(pair)))
    first = table.sort_values("frame").drop_duplicates(["video", "label"])
    scores = pd.DataFrame({"path": "elsewhere/" + first["path"], "score": first["score"].round(4)})
    found = probe.reproduce(board, faint, scores=scores, max_samples=36, n_resamples=200)
    assert found.data.attrs["verdict"] == "named" and found.candidates == (named(pair),)


@pytest.mark.slow
def test_the_subset_screens_and_all_images_confirm(board: Detector, faint: Dataset) -> None:
    figures = published_under(board, faint, [Change("channels", "BGR")], EIGHT)
    found = probe.reproduce(board, faint, figures, shared=1, max_changes=1, max_samples=60)
    whole = probe.reproduce(board, faint, figures, shared=1, max_changes=1)
    assert found.candidates == whole.candidates == ("channels BGR",)
    confirmed = found.data["confirmed"].values
    assert not confirmed.all() and confirmed[0]
    np.testing.assert_allclose(
        found.data["value"].values[confirmed],
        whole.data["value"].sel(setting=found.data["setting"][confirmed]).values,
    )
    assert np.isnan(found.data["low"].values[~confirmed]).all()


@pytest.mark.slow
def test_a_small_subset_says_what_it_leaves_open(board: Detector, faint: Dataset) -> None:
    pair = [Change("channels", "BGR"), Change("polarity", "inverted")]
    figures = published_under(board, faint, pair, EIGHT)
    found = probe.reproduce(board, faint, figures, shared=1, max_samples=12, n_resamples=100)
    assert named(combine(pair)) in found.candidates or "more sets may give" in found.summary()


def test_intervals_are_those_of_evaluate(board: Detector, faint: Dataset) -> None:
    matrix = probe.evaluate(board, faint, n_resamples=200).data.isel(detector=0, dataset=0)
    found = probe.reproduce(
        board, faint, dict.fromkeys(EIGHT, ".5"), max_changes=1, n_resamples=200
    )
    for k, key in enumerate(EIGHT):
        level, metric = key.split(":")
        theirs, ours = matrix.sel(level=level, metric=metric), found.data.isel(setting=0, figure=k)
        for name in ("value", "low", "high"):
            assert float(ours[name]) == pytest.approx(float(theirs[name]), abs=1e-6)
    assert int(found.data["n_clusters"][0]) == int(matrix["n_clusters"][0])


def test_few_clusters_are_undecided_but_for_the_same_images(
    board: Detector, faint: Dataset
) -> None:
    four = faint.select(identity=[f"test-{k}" for k in range(4)])
    found = probe.reproduce(board, four, ".123", max_changes=1)
    assert found.data.attrs["verdict"] == "undecided" and "4 clusters" in found.summary()
    given = published_under(board, four, [], EIGHT)
    same = probe.reproduce(board, four, given, shared=1, max_changes=1)
    assert same.data.attrs["verdict"] == "noise"


def test_what_cannot_be_searched_is_refused_first(board: Detector, faint: Dataset) -> None:
    with pytest.raises(ProbeError, match="Neither a published figure nor scores"):
        probe.reproduce(board, faint)
    with pytest.raises(ProbeError, match="shared=2 was given"):
        probe.reproduce(board, faint, ".7", shared=2)
    with pytest.raises(DatasetError, match="has no split 'val'"):
        probe.reproduce(board, faint, ".7", split="val")
    with pytest.raises(DatasetError, match="does not say how it was cropped"):
        probe.reproduce(board, faint, ".7", source="nowhere")
    names = pd.DataFrame({"sample": ["x", "y"], "score": [0.1, 0.2]})
    with pytest.raises(ProbeError, match="2 of 2 names in the scores are no sample"):
        probe.reproduce(board, faint, scores=names)


def test_a_result_is_kept_and_drawn(board: Detector, faint: Dataset, tmp_path: Path) -> None:
    found = probe.reproduce(board, faint, ".70", max_changes=1)
    found.save(tmp_path / "r.zarr")
    again = probe.open_result(tmp_path / "r.zarr")
    assert isinstance(again, probe.Reproduction) and again.candidates == found.candidates
    assert again.summary() == found.summary()
    pd.testing.assert_frame_equal(again.to_dataframe(), found.to_dataframe())
    figure = again.plot()
    assert len(figure.axes[0].get_yticks()) == (found.data["changes"] < 2).sum()
    with pytest.raises(UnknownNameError, match="ap frame"):
        again.plot(figure="ap frame")


def test_the_command_prints_and_writes(
    faint: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_detector(probe.load_detector("meso4", input_size=32), tmp_path / "meso4", {})
    options = ("-d", tmp_path / "meso4", "--max-changes", "1", "--max-samples", "16")
    out = tmp_path / "found.csv"
    code = run("reproduce", faint.root, *options, "--published", "video=.5", "--out", out)
    printed = capsys.readouterr().out
    assert code == 0 and "settings (published below)" in printed and "Not tried: " in printed
    assert {"setting", "published", "holds"} <= set(pd.read_csv(out).columns)
    assert run("reproduce", faint.root, *options, "--published", "79") == 2
    assert "shares from 0 to 1" in capsys.readouterr().err
