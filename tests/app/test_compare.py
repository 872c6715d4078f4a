"""Compare: two detectors on the same images, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from dash._utils import to_json
from flask.testing import FlaskClient

from app import create_app
from app.card import At, Card, declared, layout, render, script
from app.compare import (
    NothingToCompareError,
    Pair,
    Side,
    choices,
    lines,
    pair_of,
    require_related,
    siblings,
)
from app.pages import compare
from app.pages.compare import FEATURES, IMAGES, LAYERS, MAPS, PAGE, SCORES, UNITS
from app.run import Run, open_others, run_rows
from app.selection import Selection
from probe import plots
from probe.errors import NotComparableError, ProbeError, UnknownNameError
from probe.plots.theme import DARK, LIGHT, Theme
from probe.run import RunFolder
from probe.separability import SeparabilityReport, probe_differences
from probe.stats import METRICS, adjust_together, cluster_weights, sigmoid
from tests.app.calling import said
from tests.app.making import (
    DATASETS,
    DETECTORS,
    MadeRun,
    make_scores,
    take_out_images,
    write_manifest,
)

ONE, OTHER = DETECTORS[1], DETECTORS[0]
SEARCH = f"?detector={ONE}&other={OTHER}"


@pytest.fixture(scope="module")
def run(made: MadeRun) -> Run:
    return Run(made.folder)


@pytest.fixture(scope="module")
def here(run: Run) -> At:
    return at_of(run)


def at_of(run: Run, **chosen: str) -> At:
    """What an address means that names both."""
    return At(run, Selection(**{"detector": ONE, "other": OTHER, **chosen}))


def frame_of(card: Card, at: At) -> pd.DataFrame:
    assert card.call is not None
    return card.call(at).frame()


def shown(card: Card, run: Run, search: str = SEARCH) -> str:
    """What a card shows."""
    return text_of(render(card, run, {"search": search, "scheme": "dark"}))


def text_of(part: Any) -> str:
    return json.dumps(json.loads(str(to_json(part))), ensure_ascii=False)


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
    made: MadeRun, run: Run, metric: str
) -> None:
    found = frame_of(SCORES, at_of(run, metric=metric))
    table, clusters = made.data.samples.table, made.data.samples.clusters
    p = []
    for i, dataset in enumerate(DATASETS):
        rows = (table["dataset"] == dataset).to_numpy()
        label = table["label"].to_numpy()[rows]
        scores = [sigmoid(made.logits[name][rows]) for name in (ONE, OTHER)]
        exact = [METRICS[metric](label, score, None)[0] for score in scores]
        assert found["difference"][i] == pytest.approx(exact[0] - exact[1])
        weights = cluster_weights(clusters[rows], 1000, 0)
        draws = np.subtract(*(METRICS[metric](label, score, weights) for score in scores))
        draws = draws[np.isfinite(draws)]
        bounds = np.percentile(draws, [2.5, 97.5])
        assert [found["low"][i], found["high"][i]] == pytest.approx(list(bounds))
        tail = min((draws <= 0).sum(), (draws >= 0).sum())
        p.append(min(1, 2 * (tail + 1) / (len(draws) + 1)))
    np.testing.assert_allclose(found["p"], p)
    np.testing.assert_allclose(found["q"], adjust_together(p))
    assert found["more_than_noise"].tolist() == (np.array(adjust_together(p)) <= 0.05).tolist()


def test_exchanging_the_two_turns_the_sign(run: Run) -> None:
    back = frame_of(SCORES, at_of(run, detector=OTHER, other=ONE, level="video"))
    found = frame_of(SCORES, at_of(run, level="video"))
    np.testing.assert_allclose(found["difference"], -back["difference"])
    np.testing.assert_allclose(found["low"], -back["high"])
    np.testing.assert_allclose(found["p"], back["p"])


def test_images_at_the_ends_differ_most_one_frame_a_video(
    made: MadeRun, run: Run, here: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "EACH", 3)
    found = frame_of(IMAGES, at_of(run, dataset="beta"))
    table = made.data.samples.table
    gap = sigmoid(made.logits[ONE]) - sigmoid(made.logits[OTHER])
    rows = table.assign(gap=gap)[table["dataset"] == "beta"]
    best = rows.groupby("video")["gap"].max().sort_values(ascending=False)[:3]
    assert compare._end(found, 1)["difference"].tolist() == pytest.approx(best.tolist())
    worst = rows.groupby("video")["gap"].min().sort_values()[:3]
    assert compare._end(found, -1)["difference"].tolist() == pytest.approx(worst.tolist())
    assert len(found) == (table["dataset"] == "beta").sum()
    with pytest.raises(UnknownNameError, match="Did you mean 'alpha'"):
        frame_of(IMAGES, at_of(run, dataset="alpa"))
    whole = frame_of(IMAGES, here)
    assert len(whole) == len(table) and whole["difference"].is_monotonic_decreasing


def test_many_images_are_thinned(here: At, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (compare, plots.compare):
        monkeypatch.setattr(module, "MOST", 10)
    figure = plots.figure_pair_images(frame_of(IMAGES, here))
    assert sum(len(trace["x"]) for trace in figure["data"]) == 10
    assert "10 of 72 images, drawn at random" in shown(IMAGES, run)


def test_units_of_variants_share_their_numbers(made: MadeRun, run: Run, here: At) -> None:
    found = compare._units(here, "pair_effects").frame()
    for name, label in (("effect", ONE), ("other_effect", OTHER)):
        wanted = made.tables[label].data["effect"].mean("dataset").values
        np.testing.assert_allclose(found[name], wanted)
    lists = [set(run.universality(label).universal.tolist()) for label in (ONE, OTHER)]
    both = (found["universal"] & found["other_universal"]).sum()
    assert frame_of(UNITS, here)["both"].iloc[0] == len(lists[0] & lists[1]) == both


def test_of_many_units_the_strongest_are_drawn(
    run: Run, here: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (compare, plots.compare_inside):
        monkeypatch.setattr(module, "MOST", 5)
    found = compare._units(here, "pair_effects").frame()
    strength = found[["effect", "other_effect"]].max(axis=1)
    figure = plots.figure_pair_units(found)
    drawn = [unit for trace in figure["data"] for unit in trace["hovertext"]]
    assert set(drawn) == set(found["unit"][strength.sort_values().index[-5:]])
    assert "The 5 strongest are drawn." in shown(UNITS, run)


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
    pair = Pair(*(Side(run, label) for label in labels))
    assert said in pair.related and bool(pair.related) == bool(said)
    if said:
        with pytest.raises(NotComparableError, match=said):
            require_related(pair)


def test_units_of_two_layers_are_not_compared(run: Run) -> None:
    tables = [run.neurons(label) for label in (ONE, OTHER)]
    found = [run.universality(label) for label in (ONE, OTHER)]
    tables[1] = type(tables[1])(tables[1].data.assign_attrs(layer="block1"))
    with pytest.raises(NotComparableError, match="within one layer"):
        plots.pair_units(*tables, *found)


def test_features_are_the_row_of_the_similarity_table(run: Run, here: At) -> None:
    found = frame_of(FEATURES, here)
    part = run.similarity.data.sel(detector=ONE, other=OTHER)
    wanted = part["cka"].sel(layer=list(found["layer"])).values
    np.testing.assert_array_equal(found["cka"], wanted)
    with pytest.raises(NotComparableError, match="does not hold xception/base"):
        plots.pair_features(run.similarity, ONE, "xception/base")


def test_probes_differ_beyond_noise_over_the_same_people(run: Run, here: At) -> None:
    frame = frame_of(LAYERS, here)
    found = probe_differences(*(run.separability(label) for label in (ONE, OTHER)))
    assert frame.attrs["unpaired"] == "" and set(frame["more_than_noise"]) > {0}
    for row in frame.to_dict("records"):
        cell = found.sel(layer=row["layer"], dataset=row["dataset"])
        assert row["difference"] == pytest.approx(float(cell["difference"]), nan_ok=True)
        sure = float(cell["q"]) <= 0.05
        assert row["more_than_noise"] == (np.sign(row["difference"]) if sure else 0)
    n, tested = (frame["more_than_noise"] != 0).sum(), np.isfinite(frame["q"]).sum()
    assert f"at {n} of {tested}" in shown(LAYERS, run)
    assert list(frame["q"]) == pytest.approx(list(found["q"].values.ravel()), nan_ok=True)


def test_probes_of_earlier_reports_are_apart_where_intervals_do_not_overlap(own: MadeRun) -> None:
    for label in (ONE, OTHER):
        report = SeparabilityReport.open(own.folder.path("separability", label))
        SeparabilityReport(report.data.drop_vars("probe_draw")).save(
            own.folder.path("separability", label)
        )
    run = Run(own.folder)
    frame = frame_of(LAYERS, at_of(run))
    assert "holds no resamples" in frame.attrs["unpaired"] and "difference" not in frame
    for row in frame.to_dict("records"):
        at = {"measure": "probe_auroc", "layer": row["layer"], "dataset": row["dataset"]}
        a, b = (run.separability(label).data.sel(at) for label in (ONE, OTHER))
        wanted = int(float(a["low"]) > float(b["high"])) - int(float(a["high"]) < float(b["low"]))
        assert row["more_than_noise"] == wanted
    assert set(frame["more_than_noise"]) > {0}
    text = shown(LAYERS, run)
    assert "No paired interval" in text and "do not overlap at" in text and " by ." not in text
    assert not any(note["text"] == "◆" for note in figure_of(LAYERS, at_of(run)).layout.annotations)


def figure_of(card: Card, at: At, theme: Theme = LIGHT) -> go.Figure:
    """A card's figure, as plotly checks it."""
    assert card.figure is not None
    given = At(at.run, at.chosen, "dark" if theme is DARK else "light")
    return go.Figure(card.figure(given, frame_of(card, given)))


def test_maps_are_compared_image_by_image(run: Run, here: At) -> None:
    found = frame_of(MAPS, here)
    one = run.map_similarity("meso4", "corrected").data.isel(pair=0)
    for row in found.to_dict("records"):
        rows = (one["of"] == row["dataset"]).values
        own, null = one["similarity"].values[rows], one["null"].values[rows]
        assert row["value"] == pytest.approx(np.nanmean(own))
        assert row["over"] == pytest.approx(np.nanmean(own - null), nan_ok=True)
        assert row["more_than_noise"] == (row["over_low"] > 0)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("card", [SCORES, IMAGES, UNITS, FEATURES, LAYERS, MAPS])
def test_figures_hold_the_numbers_of_their_tables(here: At, card: Card, theme: Theme) -> None:
    figure, frame = figure_of(card, here, theme), frame_of(card, here)
    drawn = sorted(float(x) for trace in figure.data for x in trace.x)
    columns = {
        SCORES: ["value", "reference", "difference"],
        IMAGES: ["other_logit"],
        FEATURES: ["cka"],
        MAPS: ["value", "null"],
    }
    if card in columns:
        assert drawn == pytest.approx(sorted(frame[columns[card]].to_numpy().ravel()))
    if card is LAYERS:
        drawn = sorted(float(y) for trace in figure.data for y in trace.y)
        wanted = frame[["one_value", "other_value"]].to_numpy().ravel()
        assert drawn == pytest.approx(sorted(wanted))
        marks = [note for note in figure.layout.annotations if note.text == "◆"]
        assert len(marks) == (frame["more_than_noise"] != 0).sum()


def test_bars_end_at_the_interval(here: At) -> None:
    frame = frame_of(SCORES, here)
    for trace in figure_of(SCORES, here).data[2:]:
        rows = frame.iloc[list(trace.y)]
        assert np.allclose(np.add(trace.x, trace.error_x.array), rows["high"])
        assert np.allclose(np.subtract(trace.x, trace.error_x.arrayminus), rows["low"])


def test_names_are_no_markup(run: Run) -> None:
    hostile = "<b>x</b>", "<a href='javascript:1'>y</a>"
    rows = [run.scores_of(label) for label in (ONE, OTHER)]
    reports = [run.separability(label) for label in (ONE, OTHER)]
    figures = [
        plots.figure_pair_scores(plots.pair_scores(*rows, names=hostile)),
        plots.figure_pair_images(plots.pair_images(*rows, names=hostile)),
        plots.figure_pair_layers(plots.pair_layers(*reports, names=hostile)),
    ]
    for figure in figures:
        text = text_of(go.Figure(figure))
        assert "&lt;b&gt;x" in text and "<b>x" not in text and "<a" not in text


def test_datasets_of_one_class_have_no_difference(own: MadeRun) -> None:
    place = own.folder.path("evaluation").with_suffix(".scores.parquet")
    scores = pd.read_parquet(place)
    scores.loc[scores["dataset"] == "beta", "label"] = 1
    few = (scores["dataset"] == "gamma") & ~scores["sample"].str.contains("^gamma-[01]-")
    scores[~few].to_parquet(place)
    run = Run(own.folder)
    frame = frame_of(SCORES, at_of(run))
    assert frame["reason"].astype(bool).tolist() == [False, True, True]
    assert np.isnan(frame["difference"][1]) and np.isnan(frame["low"][2])
    figure = figure_of(SCORES, at_of(run))
    assert {note.text for note in figure.layout.annotations} == set(frame["reason"][1:])
    assert "of 1 datasets" in shown(SCORES, run)


def test_the_same_images_of_two_runs_are_paired_and_others_are_not(
    own: MadeRun, tmp_path: Path
) -> None:
    run, copy = beside(own, tmp_path)
    there = at_of(run, other=f"again:{OTHER}")
    same = frame_of(SCORES, at_of(run))
    np.testing.assert_allclose(frame_of(SCORES, there)["low"], same["low"])
    for card in (UNITS, FEATURES, MAPS):
        with pytest.raises(NotComparableError):
            frame_of(card, there)
    pair = pair_of(run, there.chosen)
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
    found = frame_of(SCORES, At(run, there.chosen))
    assert found["dataset"].tolist() == ["beta", "gamma"]
    beta = set(scores["sample"][scores["dataset"] == "beta"])
    assert found["n_samples"][0] == len(beta) - len(beta & set(scores["sample"][rows]))
    text = shown(SCORES, run, there.chosen.search)
    assert "alpha is left out: 24 of 24" in text and "only these are compared" in text


def test_runs_of_other_images_are_refused(own: MadeRun, tmp_path: Path) -> None:
    shutil.copytree(own.root, tmp_path / "another")
    images = tmp_path / "another" / "data" / "images"
    for file in images.glob("*.png"):
        file.write_bytes((own.root / "data" / "masks" / "alpha-0-1-0.png").read_bytes())
    run = Run(own.folder, open_others([tmp_path / "another"], own.root))
    there = at_of(run, other=f"another:{OTHER}")
    with pytest.raises(NotComparableError, match="no common images"):
        frame_of(SCORES, there)
    text = shown(SCORES, run, there.chosen.search)
    assert "Not compared" in text and "show different pixels" in text
    assert "message-mark" not in text
    client = create_app(own.root, others=[tmp_path / "another"]).server.test_client()
    client.environ_base["HTTP_HOST"] = "127.0.0.1:8050"
    # The choice of datasets is asked for as the page is laid out.
    text = said(client, "/compare", there.chosen.search)
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
    found = frame_of(SCORES, at_of(run))
    rows = (own.data.samples.table["dataset"] == "beta").to_numpy()
    values = [
        METRICS["auroc"](own.data.labels[rows], again[f"{label}-seed1"][rows], None)[0]
        for label in (ONE, OTHER)
    ]
    assert found["again_1"][1] == pytest.approx(values[0] - values[1])
    text = shown(SCORES, run)
    assert "Crosses: 1 further training from other seeds" in text and "Over 2 trainings" in text
    crosses = figure_of(SCORES, at_of(run)).data[-1]
    assert crosses.name == "trained from other seeds"
    assert list(crosses.x) == found["again_1"].tolist()


def test_one_detector_has_nothing_to_be_compared_with(own: MadeRun) -> None:
    write_manifest(own.folder, detectors=[OTHER])
    with pytest.raises(NothingToCompareError):
        pair_of(Run(own.folder), Selection())
    client = create_app(own.root).server.test_client()
    client.environ_base["HTTP_HOST"] = "127.0.0.1:8050"
    text = said(client, "/compare")
    assert "Nothing to compare with" in text and "probe dashboard RUN OTHER_RUN" in text


def test_the_page_answers_for_the_pair_of_the_address(client: FlaskClient, run: Run) -> None:
    text = said(client, "/compare", SEARCH)
    for title in ("better or worse", "same units", "come apart", "same places", "made of"):
        assert title in text
    assert "nothing says that another seed" in shown(SCORES, run)
    found = frame_of(SCORES, at_of(run, metric="ap", level="video"))
    figure = figure_of(SCORES, at_of(run, metric="ap", level="video"))
    drawn = [trace for trace in figure.data if trace.xaxis == "x2"]
    assert sum(len(trace.hovertext) for trace in drawn) == np.isfinite(found["difference"]).sum()
    assert "12 videos" in str(figure.layout.yaxis.ticktext)
    for card in PAGE.cards:
        text = shown(card, run)
        assert '"Graph"' in text or card is compare.MADE_OF
        assert "message" not in text
    assert shown(IMAGES, run).count("/thumb/") == 8


def test_units_without_common_numbers_give_way_to_features(own: MadeRun) -> None:
    again = {"xception/base": own.logits[OTHER]}
    place = own.folder.path("evaluation").with_suffix(".scores.parquet")
    pd.concat([pd.read_parquet(place), make_scores(own.data, again)]).to_parquet(place)
    write_manifest(own.folder, detectors=[*DETECTORS, *again])
    client = create_app(own.root).server.test_client()
    client.environ_base["HTTP_HOST"] = "127.0.0.1:8050"
    search = f"?detector={ONE}&other=xception/base"
    text = said(client, "/compare", search)
    assert "same units" not in text and "How alike" in text
    text = shown(FEATURES, Run(own.folder), search)
    assert "two architectures" in text and "does not hold xception/base" in text
    text = shown(LAYERS, Run(own.folder), search)
    assert "Not computed yet" in text and "separability report of xception/base" in text


def test_a_missing_table_is_said_where_it_would_be(own: MadeRun) -> None:
    for table, by in (
        ("neurons", (ONE,)),
        ("similarity", ()),
        ("map_similarity", ("meso4", "corrected")),
    ):
        shutil.rmtree(own.folder.path(table, *by))
    run = Run(own.folder)
    for card in (UNITS, FEATURES, MAPS):
        assert "Not computed yet" in shown(card, run)
    assert UNITS.when is not None and UNITS.when(at_of(run))
    assert "Graph" in shown(LAYERS, run)
    own.folder.path("evaluation").with_suffix(".scores.parquet").write_bytes(b"nothing")
    assert "Cannot be read" in shown(SCORES, Run(own.folder))


@pytest.mark.parametrize(
    ("state", "words"), [("gone", "does not exist any more"), ("none", "keeps no images")]
)
def test_images_that_are_not_shown_are_said(
    own: MadeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, words: str
) -> None:
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "cache"))
    images = "none" if state == "none" else "link"
    folder = take_out_images(own, tmp_path / "pictures", images=images)
    assert words not in shown(IMAGES, Run(folder)) or state == "none"
    if state == "gone":
        shutil.rmtree(tmp_path / "pictures")
    assert words in shown(IMAGES, Run(folder))


def component(part: Any, wanted: str) -> Any:
    """Find the control of a field in what a page lays out."""
    if isinstance(part, list | tuple):
        return next((one for p in part if (one := component(p, wanted)) is not None), None)
    id = getattr(part, "id", None)
    if isinstance(id, dict) and id.get("field") == wanted:
        return part
    children = getattr(part, "children", None)
    return component(children, wanted) if children is not None else None


def test_both_controls_say_what_is_chosen(run: Run) -> None:
    for search, values in {
        "": (ONE, OTHER),
        f"?detector={OTHER}": (OTHER, ONE),
        "?other=meso4/bas": (ONE, None),
        "?detector=meso5/base": (None, OTHER),
    }.items():
        at = At(run, Selection.parse(search))
        made = layout(PAGE, at)
        assert tuple(component(made, name).value for name in ("detector", "other")) == values
        known = declared(PAGE, at)["controls"]
        # What a silent address means is what the controls show.
        assert known["detector"]["first"] == ONE
        assert search or known["other"]["first"] == OTHER
        assert known["detector"]["twin"] == "other" and known["other"]["twin"] == "detector"


def test_a_link_exchanges_the_two(run: Run, own: MadeRun, tmp_path: Path) -> None:
    link = text_of(compare._swap(at_of(run, layer="leaky", unit="3")))
    assert "detector=meso4%2Fbase" in link and "other=meso4%2Fshallow" in link
    assert "layer=" in link and "unit=" in link and "Exchange the two" in link
    two, _ = beside(own, tmp_path)
    for other in (f"again:{OTHER}", "nobody"):
        assert "href" not in text_of(compare._swap(at_of(two, other=other)))


@pytest.mark.parametrize("card", PAGE.cards, ids=lambda card: card.id)
def test_cards_can_be_exported(here: At, card: Card) -> None:
    assert len(card.table(here)) > 0
    if card.call:
        assert card.call(here).print().axes
        compile(script(here.run, card, here), card.id, "exec")


def test_the_python_of_the_differences_makes_the_table(
    here: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made: dict[str, object] = {}
    exec(script(here.run, SCORES, here), made)
    table = made["table"]
    assert isinstance(table, pd.DataFrame)
    pd.testing.assert_frame_equal(table, frame_of(SCORES, here))
    assert (tmp_path / "compare-scores.pdf").is_file()
