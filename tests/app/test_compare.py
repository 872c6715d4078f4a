"""Compare: two detectors on the same images, and what is refused."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dash._utils import to_json
from flask.testing import FlaskClient
from scipy import stats

from app import create_app, ids
from app.components.compare import layers_text
from app.exports import EXPORTS
from app.exports.compare_code import layers_code
from app.queries.compare import (
    NotComparableError,
    NothingToCompareError,
    Pair,
    Side,
    choices,
    lines,
    pair_of,
    siblings,
)
from app.queries.compare_images import images_frame, images_view
from app.queries.compare_maps import maps_view
from app.queries.compare_parts import features_view, layers_frame, layers_view, units_view
from app.queries.compare_scores import scores_view
from app.queries.runs import open_others, run_rows
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError, UnknownNameError
from probe.run import RunFolder
from probe.separability import SeparabilityReport, probe_differences
from probe.stats import METRICS, adjust_together, cluster_weights, sigmoid
from tests.app.calling import call, said
from tests.app.making import DATASETS, DETECTORS, MadeRun, make_scores, write_manifest

ONE, OTHER = DETECTORS[1], DETECTORS[0]


@pytest.fixture(scope="module")
def run(made: MadeRun) -> Run:
    return Run(made.folder)


@pytest.fixture(scope="module")
def pair(run: Run) -> Pair:
    return pair_of(run, Selection(detector=ONE, other=OTHER))


def beside(own: MadeRun, tmp_path: Path) -> tuple[Run, Path]:
    """Open a run with a copy of itself beside it."""
    copy = tmp_path / "again"
    shutil.copytree(own.root, copy)
    return Run(own.folder, open_others([copy], own.root)), copy


def test_a_variant_is_compared_with_its_base_unless_the_address_says_else(run: Run) -> None:
    found = pair_of(run, Selection())
    assert (found.one.label, found.other.label) == ("meso4/shallow", "meso4/base")
    found = pair_of(run, Selection(detector="meso4/base"))
    assert (found.one.label, found.other.label) == ("meso4/base", "meso4/shallow")
    with pytest.raises(UnknownNameError, match="Did you mean 'meso4/base'"):
        pair_of(run, Selection(detector=ONE, other="meso4/bas"))
    with pytest.raises(UnknownNameError):
        pair_of(run, Selection(detector="other:meso4/base"))
    with pytest.raises(ProbeError, match="with itself"):
        pair_of(run, Selection(detector=ONE, other=ONE))


@pytest.mark.parametrize("metric", list(METRICS))
def test_differences_are_those_of_resampling_people_for_both(
    made: MadeRun, pair: Pair, metric: str
) -> None:
    view = scores_view(pair, metric, "frame")
    table, clusters = made.data.samples.table, made.data.samples.clusters
    p = []
    for i, dataset in enumerate(DATASETS):
        rows = (table["dataset"] == dataset).to_numpy()
        label = table["label"].to_numpy()[rows]
        scores = [sigmoid(made.logits[name][rows]) for name in (ONE, OTHER)]
        exact = [METRICS[metric](label, score, None)[0] for score in scores]
        assert view.difference[i] == pytest.approx(exact[0] - exact[1])
        weights = cluster_weights(clusters[rows], 1000, 0)
        draws = np.subtract(*(METRICS[metric](label, score, weights) for score in scores))
        draws = draws[np.isfinite(draws)]
        bounds = np.percentile(draws, [2.5, 97.5])
        assert [view.low[i], view.high[i]] == pytest.approx(list(bounds))
        tail = min((draws <= 0).sum(), (draws >= 0).sum())
        p.append(min(1, 2 * (tail + 1) / (len(draws) + 1)))
    np.testing.assert_allclose(view.p, p)
    np.testing.assert_allclose(view.q, adjust_together(p))


def test_exchanging_the_two_turns_the_sign(run: Run, pair: Pair) -> None:
    back = scores_view(Pair(pair.other, pair.one), "auroc", "video")
    view = scores_view(pair, "auroc", "video")
    np.testing.assert_allclose(view.difference, -back.difference)
    np.testing.assert_allclose(view.low, -back.high)
    np.testing.assert_allclose(view.p, back.p)


def test_images_at_the_ends_differ_most_one_frame_a_video(made: MadeRun, pair: Pair) -> None:
    view = images_view(pair, "beta", each=3)
    table = made.data.samples.table
    gap = sigmoid(made.logits[ONE]) - sigmoid(made.logits[OTHER])
    rows = table.assign(gap=gap)[table["dataset"] == "beta"]
    best = rows.groupby("video")["gap"].max().sort_values(ascending=False)[:3]
    assert [one.one - one.other for one in view.more] == pytest.approx(best.tolist())
    worst = rows.groupby("video")["gap"].min().sort_values()[:3]
    assert [one.one - one.other for one in view.less] == pytest.approx(worst.tolist())
    kept = (table["dataset"] == "beta").to_numpy()
    wanted = stats.spearmanr(made.logits[ONE][kept], made.logits[OTHER][kept]).statistic
    assert view.correlation == pytest.approx(wanted)
    assert view.total == kept.sum() == len(view.one)
    with pytest.raises(UnknownNameError, match="Did you mean 'alpha'"):
        images_view(pair, "alpa")
    frame = images_frame(pair)
    assert len(frame) == len(table) and frame["difference"].is_monotonic_decreasing


def test_many_images_are_thinned(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.queries.compare_images.MOST", 10)
    # Another test may have left the view of all images.
    monkeypatch.setattr("app.queries.deriving._FOUND", OrderedDict())
    view = images_view(pair, "")
    assert len(view.one) == len(view.label) == 10 and view.total == 72


def test_units_of_variants_share_their_numbers(made: MadeRun, run: Run, pair: Pair) -> None:
    view = units_view(pair)
    for effect, label in ((view.one, ONE), (view.other, OTHER)):
        wanted = made.tables[label].data["effect"].mean("dataset").values
        np.testing.assert_allclose(effect, wanted)
    lists = [set(run.universality(label).universal.tolist()) for label in (ONE, OTHER)]
    assert (
        view.sets["both"].iloc[0] == len(lists[0] & lists[1]) == (view.in_one & view.in_other).sum()
    )


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (("meso4/base", "xception/base"), "two architectures"),
        (("meso4/base", "meso4/base-seed1"), "different seeds"),
        (("meso4/deep-seed1", "meso4/shallow"), "different seeds"),
        (("meso4/base", "meso4/theirs"), "brought"),
        (("meso4/deep-seed1", "meso4/shallow-seed1"), ""),
    ],
)
def test_units_of_separate_trainings_have_no_common_numbers(
    run: Run, labels: tuple[str, str], said: str
) -> None:
    found = Pair(*(Side(run, label) for label in labels)).related
    assert said in found and bool(found) == bool(said)


def test_features_are_the_row_of_the_similarity_table(run: Run, pair: Pair) -> None:
    view = features_view(pair)
    part = run.similarity.data.sel(detector=ONE, other=OTHER)
    np.testing.assert_array_equal(view.value, part["cka"].sel(layer=list(view.layers)).values)


def test_probes_differ_beyond_noise_over_the_same_people(run: Run, pair: Pair) -> None:
    view = layers_view(pair)
    one, other = (run.separability(label) for label in (ONE, OTHER))
    found = probe_differences(one, other)
    assert view.unpaired == "" and (view.apart != 0).any() and (view.apart == 0).any()
    for r, layer in enumerate(view.layers):
        for c, dataset in enumerate(view.datasets):
            cell = found.sel(layer=layer, dataset=dataset)
            assert view.difference[r, c] == float(cell["difference"])
            assert view.apart[r, c] == np.sign(view.difference[r, c]) * (float(cell["q"]) <= 0.05)
    said = to_json(layers_text(view))
    assert f"at {(view.apart != 0).sum()} of {np.isfinite(view.q).sum()}" in said
    frame = layers_frame(pair)
    assert list(frame["q"]) == pytest.approx(list(found["q"].values.ravel()), nan_ok=True)


def test_probes_of_earlier_reports_are_apart_where_intervals_do_not_overlap(own: MadeRun) -> None:
    for label in (ONE, OTHER):
        report = SeparabilityReport.open(own.folder.path("separability", label))
        SeparabilityReport(report.data.drop_vars("probe_draw")).save(
            own.folder.path("separability", label)
        )
    run = Run(own.folder)
    pair = Pair(Side(run, ONE), Side(run, OTHER))
    view = layers_view(pair)
    assert "holds no resamples" in view.unpaired and np.isnan(view.difference).all()
    for r, layer in enumerate(view.layers):
        for c, dataset in enumerate(view.datasets):
            at = {"measure": "probe_auroc", "layer": layer, "dataset": dataset}
            a, b = (run.separability(label).data.sel(at) for label in (ONE, OTHER))
            wanted = int(float(a["low"]) > float(b["high"])) - int(
                float(a["high"]) < float(b["low"])
            )
            assert view.apart[r, c] == wanted
    assert (view.apart != 0).any() and (view.apart == 0).any()
    said = to_json(layers_text(view))
    assert "No paired interval" in said and "do not overlap at" in said
    assert "difference" not in layers_frame(pair) and "more_than_noise" in layers_frame(pair)
    code = layers_code(pair)
    assert "probe_differences(" not in code and "lies wholly above" in code
    compile(code, "layers", "exec")


def test_maps_are_compared_image_by_image(run: Run, pair: Pair) -> None:
    view = maps_view(pair)
    data = run.map_similarity("meso4", "corrected").data
    one = data.isel(pair=0)
    for i, dataset in enumerate(view.datasets):
        rows = (one["of"] == dataset).values
        own, null = one["similarity"].values[rows], one["null"].values[rows]
        assert view.value[i] == pytest.approx(np.nanmean(own))
        assert view.over[i] == pytest.approx(np.nanmean(own - null), nan_ok=True)


def test_the_same_images_of_two_runs_are_paired_and_others_are_not(
    own: MadeRun, tmp_path: Path
) -> None:
    run, copy = beside(own, tmp_path)
    chosen = Selection(detector=ONE, other=f"again:{OTHER}")
    pair = pair_of(run, chosen)
    here = scores_view(pair_of(run, Selection(detector=ONE, other=OTHER)), "auroc", "frame")
    np.testing.assert_allclose(scores_view(pair, "auroc", "frame").low, here.low)
    for view in (units_view, features_view, maps_view):
        with pytest.raises(NotComparableError):
            view(pair)
    assert {line.what for line in lines(pair) if not line.same} == {
        "Run",
        "Variant",
        "Seen in training",
    }

    # One dataset's pictures are others under the same ids; half of another was not measured.
    for file in (copy / "data" / "images").glob("alpha-*.png"):
        shutil.copy(copy / "data" / "images" / "beta-0-0-0.png", file)
    scores = run.scores
    rows = (scores["dataset"] == "beta") & scores["sample"].str.contains("^beta-[01]-")
    place = RunFolder(copy).path("evaluation").with_suffix(".scores.parquet")
    scores[~rows].to_parquet(place)
    run = Run(run.folder, open_others([copy], own.root))
    view = scores_view(pair_of(run, chosen), "auroc", "frame")
    assert view.datasets == ("beta", "gamma")
    assert "alpha is left out: 24 of 24" in view.left_out[0]
    beta = set(scores["sample"][scores["dataset"] == "beta"])
    assert view.n_samples[0] == len(beta) - len(beta & set(scores["sample"][rows]))
    assert "only these are compared" in view.left_out[1].replace("\n", " ")


def test_runs_of_other_images_are_refused(own: MadeRun, tmp_path: Path) -> None:
    shutil.copytree(own.root, tmp_path / "another")
    images = tmp_path / "another" / "data" / "images"
    for file in images.glob("*.png"):
        file.write_bytes((own.root / "data" / "masks" / "alpha-0-1-0.png").read_bytes())
    run = Run(own.folder, open_others([tmp_path / "another"], own.root))
    pair = pair_of(run, Selection(detector=ONE, other=f"another:{OTHER}"))
    with pytest.raises(NotComparableError, match="no common images"):
        scores_view(pair, "auroc", "frame")
    client = create_app(own.root, others=[tmp_path / "another"]).server.test_client()
    client.environ_base["HTTP_HOST"] = "127.0.0.1:8050"
    text = said(client, "/compare", f"?detector={ONE}&other=another:{OTHER}")
    assert "Not compared" in text and "show different pixels" in text


def test_runs_are_named_apart(own: MadeRun, tmp_path: Path) -> None:
    for place in ("a/run", "b/run"):
        write_manifest(RunFolder(tmp_path / place), title=place)
    (tmp_path / "c").mkdir()
    roots = [tmp_path / "a/run", tmp_path / "b/run", tmp_path / "c"]
    run = Run(own.folder, open_others(roots, own.root))
    assert own.root.name == "run"
    assert [row.name for row in run_rows(run)] == ["run", "run-2", "run-3", "c"]
    assert "no run" in run_rows(run)[3].problem
    groups = choices(run)
    assert [one["group"] for one in groups] == ["This run", "run-2", "run-3"]
    with pytest.raises(ProbeError, match="to compare with"):
        open_others([tmp_path / "nowhere"])


def test_other_seeds_stand_beside(own: MadeRun) -> None:
    rng = np.random.default_rng(5)
    again = {f"{label}-seed1": rng.normal(size=len(own.data)) for label in DETECTORS}
    place = own.folder.path("evaluation").with_suffix(".scores.parquet")
    scores = pd.concat([pd.read_parquet(place), make_scores(own.data, again)])
    scores.to_parquet(place)
    write_manifest(own.folder, detectors=[*DETECTORS, *again])
    run = Run(own.folder)
    pair = pair_of(run, Selection(detector=ONE, other=OTHER))
    assert [two.one.label for two in siblings(pair)] == [f"{ONE}-seed1"]
    view = scores_view(pair, "auroc", "frame")
    rows = (own.data.samples.table["dataset"] == "beta").to_numpy()
    values = [
        METRICS["auroc"](own.data.labels[rows], again[f"{label}-seed1"][rows], None)[0]
        for label in (ONE, OTHER)
    ]
    assert view.seeds[0, 1] == pytest.approx(values[0] - values[1])


def test_one_detector_has_nothing_to_be_compared_with(own: MadeRun) -> None:
    write_manifest(own.folder, detectors=[OTHER])
    with pytest.raises(NothingToCompareError):
        pair_of(Run(own.folder), Selection())
    client = create_app(own.root).server.test_client()
    client.environ_base["HTTP_HOST"] = "127.0.0.1:8050"
    text = said(client, "/compare")
    assert "Nothing to compare with" in text and "probe dashboard RUN OTHER_RUN" in text


def test_the_page_answers_for_the_pair_of_the_address(client: FlaskClient, pair: Pair) -> None:
    text = said(client, "/compare", f"?detector={ONE}&other={OTHER}")
    for title in ("better or worse", "same units", "come apart", "same places", "made of"):
        assert title in text
    assert "nothing says that another seed" in text
    chosen = {f"{ids.COMPARE_DETECTOR}.value": ONE, f"{ids.COMPARE_OTHER}.value": OTHER}
    view = scores_view(pair, "ap", "video")
    found = call(
        client,
        f"{ids.COMPARE_SCORES}.figure",
        {**chosen, f"{ids.COMPARE_METRIC}.value": "ap", f"{ids.COMPARE_LEVEL}.value": "video"},
    )["response"]
    drawn = [t for t in found[ids.COMPARE_SCORES]["figure"]["data"] if t.get("xaxis") == "x2"]
    assert sum(len(t["hovertext"]) for t in drawn) == np.isfinite(view.difference).sum()
    for name in (ids.COMPARE_UNITS, ids.COMPARE_FEATURES, ids.COMPARE_LAYERS, ids.COMPARE_MAPS):
        assert call(client, f"{name}.figure", chosen)["response"][name]["figure"]["data"]
    found = call(
        client, f"{ids.COMPARE_POINTS}.figure", {**chosen, f"{ids.COMPARE_DATASET}.value": "*"}
    )["response"]
    assert str(found[ids.COMPARE_IMAGES]).count("/thumb/") == 8


def test_choosing_the_other_one_exchanges_them(client: FlaskClient) -> None:
    search = f"?detector={ONE}&other={OTHER}".replace("/", "%2F")
    swap, url = f"{ids.COMPARE_SWAP}.n_clicks", f"{ids.COMPARE_URL}.search"
    first, second = f"{ids.COMPARE_DETECTOR}.value", f"{ids.COMPARE_OTHER}.value"
    values = {first: ONE, second: OTHER, swap: 1, url: search}
    for changed, given in ((swap, values), (first, {**values, first: OTHER})):
        found = call(client, f"{ids.COMPARE_BODY}.children", given, changed)["response"]
        assert found[ids.COMPARE_DETECTOR]["value"] == OTHER
        assert found[ids.COMPARE_OTHER]["value"] == ONE
        assert "detector=meso4%2Fbase&other=meso4%2Fshallow" in found[ids.COMPARE_URL]["search"]


@pytest.mark.parametrize("name", [name for name in EXPORTS if name.startswith("compare-")])
def test_cards_can_be_taken_away(run: Run, name: str) -> None:
    chosen, export = Selection(detector=ONE, other=OTHER), EXPORTS[name]
    assert len(export.frame(run, chosen)) > 0
    if export.figure:
        assert export.figure(run, chosen).axes
    if export.code:
        compile(export.code(run, chosen), name, "exec")


def test_the_python_of_the_differences_makes_the_table(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = Selection(detector=ONE, other=OTHER)
    monkeypatch.chdir(tmp_path)
    made: dict[str, object] = {}
    exec(EXPORTS["compare-scores"].code(run, chosen), made)  # type: ignore[misc]
    table = made["table"]
    assert isinstance(table, pd.DataFrame)
    wanted = EXPORTS["compare-scores"].frame(run, chosen)
    for name in ("difference", "low", "high", "q"):
        np.testing.assert_allclose(table[name], wanted[name])
    assert (tmp_path / "compare-scores.pdf").is_file()
