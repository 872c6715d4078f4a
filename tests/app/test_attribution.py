"""Attribution: the list of images, maps on one scale, badges, and what is said of maps together."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from flask.testing import FlaskClient
from PIL import Image
from plotly.graph_objects import Figure

from app.attribution import EACH, chosen_image, explained, list_view
from app.card import At, declared
from app.maps import badge_of, map_image, maps_view, shown_methods
from app.maps_grid import maps_grid
from app.pages.attribution import PAGE
from app.run import Run
from app.selection import Selection
from probe import plots
from probe.attribution.findings import RegionAttention
from probe.attribution.maps import AttributionMap
from probe.attribution.trust.report import TrustReport
from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.images import token_of
from probe.plots.style import colors_of
from probe.plots.theme import DARK, LIGHT
from probe.run import MissingTableError, RunFolder
from tests.app.calling import card_of, exported, said
from tests.app.conftest import client_of
from tests.app.drawing_maps import CHECKED, METHODS
from tests.app.making import DETECTORS, MadeRun, write_manifest

BASE, SHALLOW = DETECTORS
GRADCAM, COMPLETE = METHODS


@pytest.fixture
def run(made: MadeRun) -> Run:
    return Run(made.folder)


def shown(client: FlaskClient, card: str, search: str = "") -> str:
    return json.dumps(card_of(client, card, search), ensure_ascii=False)


def first_frames(made: MadeRun, label: str) -> Any:
    """The samples that maps were drawn of, with the logits that were written, worst first."""
    table = made.data.samples.table.assign(logit=made.logits[label])
    table = table[table["frame"] == 0]
    wrong = np.where(table["label"] == 1, -table["logit"], table["logit"])
    return table.assign(wrong=wrong).sort_values("wrong", ascending=False)


def test_images_come_worst_error_first(made: MadeRun, run: Run) -> None:
    wanted = first_frames(made, BASE)
    found = explained(run, BASE)
    assert list(found["sample"]) == list(wanted["sample"])
    assert np.allclose(found["logit"], wanted["logit"])
    assert list(found["has_mask"]) == list(wanted["label"] == 1)


@pytest.mark.parametrize("name", ["all", "errors", "missed", "alarms"])
def test_filters_keep_what_they_say(made: MadeRun, run: Run, name: str) -> None:
    frame = first_frames(made, SHALLOW)
    fake, called = frame["label"] == 1, frame["logit"] > 0
    kept = {
        "all": fake | True,
        "errors": fake != called,
        "missed": fake & ~called,
        "alarms": ~fake & called,
    }[name]
    wanted = frame[kept & (frame["dataset"] == "beta")]
    view = list_view(run, Selection(images=name, dataset="beta"), SHALLOW)
    assert [one.sample for one in view.images] == list(wanted["sample"])[:EACH]
    assert (view.found, view.total) == (len(wanted), len(frame))
    assert all(one.wrong for one in view.images) or name == "all"


def test_parts_of_the_list_follow_each_other(made: MadeRun, run: Run) -> None:
    names = [
        one.sample
        for page in ("", "2", "3")
        for one in list_view(run, Selection(page=page), BASE).images
    ]
    assert names == list(first_frames(made, BASE)["sample"])
    with pytest.raises(ProbeError, match="has 3"):
        list_view(run, Selection(page="4"), BASE)
    with pytest.raises(UnknownNameError, match="Forgery"):
        list_view(run, Selection(forgery="none"), BASE)


def test_maps_of_a_detector_do_not_hold_those_of_a_longer_name(own: MadeRun) -> None:
    """ "meso4-base" begins like "meso4-base-gradcam…", and a detector may be called "meso4"."""
    shutil.copytree(
        own.folder.path("maps", BASE, GRADCAM), own.folder.path("maps", "meso4", "saliency")
    )
    shutil.copytree(own.folder.path("neurons", BASE), own.folder.path("neurons", "meso4"))
    manifest = own.folder.read_manifest()
    own.folder.write_manifest({**manifest, "detectors": ["meso4", *DETECTORS]})
    run = Run(own.folder)
    assert run.map_methods("meso4") == ["saliency"]
    assert run.map_methods(BASE) == sorted(METHODS)
    with pytest.raises(UnknownNameError):
        run.maps("meso4", f"base-{GRADCAM}")
    with pytest.raises(UnknownNameError):
        run.map_methods("../meso4")


def test_maps_stay_on_disk_until_one_is_asked_for(made: MadeRun, run: Run) -> None:
    data = run.maps(BASE, COMPLETE).data
    assert not data["attribution"].variable._in_memory
    assert data["gap"].variable._in_memory
    whole = AttributionMap.open(made.folder.path("maps", BASE, COMPLETE))
    assert whole.data["attribution"].variable._in_memory
    assert np.array_equal(data["attribution"].isel(sample=3).values, whole.values[3])
    assert not data["attribution"].variable._in_memory


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(content)).convert("RGB")).astype(int)


def test_maps_of_an_architecture_have_one_scale(made: MadeRun, run: Run) -> None:
    files = [
        AttributionMap.open(made.folder.path("maps", label, GRADCAM)).values for label in DETECTORS
    ]
    limit = max(np.percentile(np.abs(maps), 99.5) for maps in files)
    image = chosen_image(run, Selection(), BASE)
    view = maps_view(run, Selection(), BASE, image)
    assert view.columns[0].limit == pytest.approx(limit, rel=1e-6)
    names = list(
        AttributionMap.open(made.folder.path("maps", SHALLOW, GRADCAM)).data["sample"].values
    )
    for label, maps in zip(DETECTORS, files, strict=True):
        content, kind = map_image(run, label, GRADCAM, image.token, laid=False)
        assert kind == "image/png"
        drawn = decoded(content)
        share = np.clip(maps[[str(n) for n in names].index(image.sample)] / limit, -1, 1)
        wanted = np.array(colors_of(True)((share + 1) / 2))[..., :3] * 255
        cell = len(drawn) // len(share)
        assert np.abs(drawn[cell // 2 :: cell, cell // 2 :: cell] - wanted).max() <= 4


def test_a_view_says_what_is_there_and_why_not(own: MadeRun) -> None:
    run = Run(own.folder)
    image = chosen_image(run, Selection(), BASE)
    view = maps_view(run, Selection(), BASE, image)
    assert [row.kind for row in view.rows] == ["chosen", "variant"]
    assert [one.method for one in view.columns] == list(METHODS)
    missing = view.rows[1].cells[1]
    assert "Not in this run" in missing.reason and f"-m {COMPLETE}" in missing.command
    row = int(np.flatnonzero(own.data.samples.table["sample"] == image.sample)[0])
    assert view.rows[1].logit == pytest.approx(own.logits[SHALLOW][row])
    maps = AttributionMap.open(own.folder.path("maps", BASE, COMPLETE))
    gap = maps.data["gap"].sel(sample=image.sample).item()
    assert view.rows[0].cells[1].gap == pytest.approx(gap)
    assert np.isnan(view.rows[0].cells[0].gap)

    notes = {"no_attribution": {f"{SHALLOW} {COMPLETE}": "cannot explain: it is drawn"}}
    (own.root / "provenance.json").write_text(json.dumps(notes))
    refused = maps_view(run, Selection(), BASE, image).rows[1].cells[1]
    assert refused.reason == "cannot explain: it is drawn" and not refused.command


def test_methods_of_the_address_are_checked(run: Run) -> None:
    assert shown_methods(run, Selection(methods=COMPLETE), SHALLOW) == [COMPLETE]
    with pytest.raises(UnknownNameError):
        shown_methods(run, Selection(methods="../x"), BASE)


def test_a_badge_counts_entries_of_the_report(run: Run) -> None:
    report = run.trust(BASE)
    rows = plots.trust_checks(report, GRADCAM).set_index("check")
    assert list(rows.index) == list(CHECKED)
    assert rows["passed"].to_dict() == {name: name == "mask_auroc" for name in CHECKED}
    assert rows["why_not"]["pointing"] == "not better than shifted"
    # All references are beaten, but lower is better and random weights reach 0.
    assert rows["why_not"]["deletion_blur"] == "networks of random weights reach it"
    assert not rows["tested"]["mprt_spearman"] and rows["tested"].sum() == 3
    badge = badge_of(run, BASE, GRADCAM)
    assert badge is not None and (badge.passed, badge.tested) == (1, 3)
    assert "pointing: not better than shifted." in badge.text
    assert badge_of(run, SHALLOW, GRADCAM) is None
    data = report.data
    part = data.sel({"method": GRADCAM, "check": "pointing", "dataset": "beta"})
    row = plots.trust_checks(report, GRADCAM, "beta").set_index("check").loc["pointing"]
    assert row["value"] == float(part["value"])
    names = [str(name) for name in part["reference"].values]
    assert [row[f"q_{name}"] for name in names] == list(part["q"].values)
    for bad in ({"method": "none"}, {"method": GRADCAM, "dataset": "none"}):
        with pytest.raises(UnknownNameError):
            plots.trust_checks(report, **bad)


@pytest.mark.parametrize(
    ("better", "passed"), [("higher", (False, False, True)), ("lower", (True, False, False))]
)
def test_random_weights_have_to_be_beaten_in_the_right_direction(
    run: Run, better: str, passed: tuple[bool, ...]
) -> None:
    data = run.trust(BASE).data.isel(check=[0])
    data = data.assign_coords(better=("check", [better]))
    ends = {"randomized_low": 0.4, "randomized_high": 0.6}
    data = data.assign({name: data["value"] * 0 + end for name, end in ends.items()})
    found = (TrustReport(data.assign(value=data["value"] * 0 + value)) for value in (0.3, 0.5, 0.7))
    assert tuple(plots.trust_checks(one, GRADCAM)["passed"][0] for one in found) == passed


def test_the_window_of_checks_says_each_verdict(client: FlaskClient) -> None:
    assert '"opened": false' in shown(client, "attribution-trust")
    text = shown(client, "attribution-trust", f"?checks={GRADCAM}:{quote(BASE)}")
    assert '"opened": true' in text and f"Can {GRADCAM} of {BASE} be trusted?" in text
    for words in ("✓ passed", "not better than shifted", "random weights reach it", "no test"):
        assert words in text
    for bad in ("x", f"{GRADCAM}:none", f"none:{BASE}", f"{GRADCAM}:{SHALLOW}", ":", "<b>:<b>"):
        text = shown(client, "attribution-trust", f"?checks={quote(bad)}")
        assert '"opened": true' in text and "message-title" in text, bad


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_variants_are_beside_their_null(run: Run, theme: Any) -> None:
    for mode in ("corrected", "authors"):
        found = run.map_similarity("meso4", mode)
        frame, data = plots.map_similarity(found), found.data
        assert np.array_equal(frame["null_mean"], data["null_mean"].values)
        counts = frame[[f"count_{name}" for name in frame.attrs["bins"]]].to_numpy()
        assert np.array_equal(counts, data["count"].transpose("dataset", "bin").values)
        assert frame.attrs["variants"] == ["base", "shallow"]
        figure = Figure(plots.figure_map_similarity(frame, theme))
        # No training with another seed, so no third kind of mark.
        assert len(figure.data) == 2
        assert np.array_equal(figure.data[0].x, data["mean"].values)
        low = np.subtract(figure.data[1].x, figure.data[1].error_x.arrayminus)
        there = np.isfinite(data["null_low"].values)
        assert np.allclose(low[there], data["null_low"].values[there])
        assert "no interval" in figure.data[0].hovertext[2]
        assert figure.data[0].marker.color == theme.accent
        # A click on it selects nothing.
        assert all(one.customdata is None for one in figure.data)


def test_other_seeds_are_drawn_where_there_are_some(run: Run) -> None:
    frame = plots.map_similarity(run.map_similarity("meso4"))
    frame["retrained_mean"] = 0.9
    figure = plots.figure_map_similarity(frame)
    assert [one["name"] for one in figure["data"]][2] == "other seeds, same image"


def test_the_sentence_on_variants_follows_the_interval(client: FlaskClient, own: MadeRun) -> None:
    found = Run(own.folder).map_similarity("meso4")
    last = found.to_dataframe().iloc[-1]
    text = shown(client, "map-similarity")
    assert f"{last['mean']:.2f}" in text and f"{last['null_mean']:.2f}" in text
    assert "They agree on the image" in text and "Compared: drawn, corrected." in text
    for low, words in ((-0.1, "no more than any two maps have"), (np.nan, "cannot be said")):
        data = found.data.assign(over_null_low=found.data["over_null_low"] * 0 + low)
        type(found)(data).save(own.folder.path("map_similarity", "meso4", "corrected"))
        assert words in shown(client_of(own.root), "map-similarity")


@pytest.mark.parametrize("part", ["positive", "negative"])
@pytest.mark.parametrize(("what", "q"), [("concentration", "q"), ("change", "change_q")])
def test_regions_are_marked_by_their_own_q(
    client: FlaskClient, run: Run, what: str, q: str, part: str
) -> None:
    frame = plots.region_attention(run.attention(BASE), what, part)
    whole = run.attention(BASE).to_dataframe()
    pd.testing.assert_frame_equal(frame, whole)
    data = run.attention(BASE).data.sel(part=part)
    there = np.isfinite(data[what]).any("region").values
    shown_rows = plots.shown_regions(frame)
    assert list(dict.fromkeys(shown_rows["group"])) == list(data["group"].values[there])
    assert (what == "change") == (shown_rows["group"].nunique() == 3)
    figure = Figure(plots.figure_region_attention(frame))
    texts = [note.text for note in figure.layout.annotations]
    marked = int((data[q].values[there] <= 0.05).sum())
    assert sum(text.startswith("●") for text in texts) == marked > 0
    assert np.allclose(
        np.asarray(figure.data[0].z, float) * 4, data[what].values[there], equal_nan=True
    )
    assert list(figure.layout.xaxis.ticktext) == list(data["region"].values)
    text = shown(client, "attention-by-region", f"?what={what}&part={part}")
    assert f'"{marked} of {int(np.isfinite(data[q].values[there]).sum())}"' in text
    assert f"{part} mass" in text


def test_the_smallest_concentration_is_written_in_full(run: Run) -> None:
    found = run.attention(BASE)
    low = found.data.assign(concentration=found.data["concentration"] * 0 - 10)
    frame = plots.region_attention(RegionAttention(low))
    figure = plots.figure_region_attention(frame)
    texts = [note["text"] for note in figure["layout"]["annotations"]]
    n = len(plots.shown_regions(frame))
    assert sum("<b>−10.0</b>" in text for text in texts) == n - 1


def test_where_no_group_has_a_number_nothing_is_drawn_for_print(run: Run) -> None:
    found = run.attention(BASE)
    none = RegionAttention(found.data.assign(change=found.data["change"] * np.nan))
    with pytest.raises(ProbeError, match="nothing to draw"):
        plots.plot_region_attention(none, "change")
    frame = plots.region_attention(none, "change")
    assert plots.figure_region_attention(frame)["layout"]["annotations"]
    for bad in (("none", None), ("change", "none")):
        with pytest.raises(UnknownNameError):
            plots.region_attention(found, *bad)


def test_names_are_no_markup(run: Run) -> None:
    name = "<b>x</b>: fake"
    data = run.attention(BASE).data
    groups = [name, *map(str, data["group"].values[1:])]
    frame = plots.region_attention(RegionAttention(data.assign_coords(group=groups)))
    alike = plots.map_similarity(run.map_similarity("meso4"))
    alike.loc[0, "dataset"] = name
    for figure in (plots.figure_region_attention(frame), plots.figure_map_similarity(alike)):
        assert name not in str(figure) and "&lt;b&gt;x&lt;/b&gt;" in str(figure)


def test_routes_serve_maps_by_token(made: MadeRun, client: FlaskClient, run: Run) -> None:
    image = chosen_image(run, Selection(), BASE)
    cell = maps_view(run, Selection(overlay="overlay"), BASE, image).rows[0].cells[0]
    answer = client.get(cell.source)
    assert answer.status_code == 200 and answer.mimetype == "image/webp"
    assert answer.headers["Cache-Control"].startswith("private")
    detector, other = token_of(BASE), token_of("meso4/none")
    unexplained = made.data.samples.table["sample"][made.data.samples.table["frame"] == 1].iloc[0]
    for path in (
        f"/map/{image.token}/{other}/{GRADCAM}",
        f"/map/{image.token}/{detector}/none",
        f"/map/{token_of('none')}/{detector}/{GRADCAM}",
        f"/map/{image.sample}/{detector}/{GRADCAM}",
        f"/map/{image.token}/{detector}/..%2Fgradcam",
        f"/map/{token_of(unexplained)}/{detector}/{GRADCAM}",
    ):
        assert client.get(path).status_code == 404, path


def test_the_page_is_laid_out(client: FlaskClient) -> None:
    text = said(client, "/attribution")
    for words in (
        "Which images?",
        "What do the maps show?",
        "agree between variants",
        "Where in the face?",
    ):
        assert words in text
    assert "Not computed yet" not in text
    assert "Not in this run" in said(client, "/attribution", "?detector=none")


CARDS = ("explained-images", "attribution-maps", "map-similarity", "attention-by-region")


@pytest.mark.parametrize("card", CARDS)
def test_each_card_answers_and_says_what_is_wrong(client: FlaskClient, card: str) -> None:
    assert "message-title" not in shown(client, card)
    search = f"?detector={quote(SHALLOW)}&sample=none&images=none&mode=none&part=none"
    assert "message-title" in shown(client, card, search)


def test_a_detector_that_was_not_looked_at_loses_one_card_alone(client: FlaskClient) -> None:
    search = f"?detector={quote(SHALLOW)}"
    regions = shown(client, "attention-by-region", search)
    assert "Not computed yet" in regions and "probe demo" in regions
    maps = shown(client, "attribution-maps", search)
    assert "not checked" in maps and "3 checks" in maps


def test_images_and_badges_are_links_that_select(client: FlaskClient, run: Run) -> None:
    listed = list_view(run, Selection(page="2"), BASE).images
    text = shown(client, "explained-images", f"?page=2&sample={listed[3].token}")
    found = re.findall(r'"href": "\?sample=([0-9a-f]{24})"', text)
    assert found == [one.token for one in listed]
    assert text.count('"aria-current": "true"') == 2 and "explained-one chosen" in text
    # The first part needs no place in the address.
    assert '"href": "?page="' in text and '"href": "?page=3"' in text
    badge = f'"href": "?checks={GRADCAM}%3A{quote(BASE, safe="")}"'
    assert badge in shown(client, "attribution-maps")
    assert "No image is left" in shown(client, "explained-images", "?images=alarms&forgery=alpha")


def test_many_parts_are_told_in_few_links(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.attribution.EACH", 2)
    text = shown(client, "explained-images", "?page=9")
    assert re.findall(r'"Part (\d+)"', text) == ["1", "7", "8", "9", "10", "11", "18"]
    assert text.count('"…"') == 2


@pytest.mark.parametrize("search", ["", f"?methods={COMPLETE}&detector={quote(SHALLOW)}"])
def test_controls_show_what_the_cards_show(run: Run, search: str) -> None:
    given = Selection.parse(search)
    at = At(run, given)
    known = declared(PAGE, at)["controls"]
    assert known["methods"]["first"].split(",") == list(METHODS)
    # Masks are outlined unless the address says that they are not.
    assert known["outline"]["first"] == "1"
    images = known["images"]
    assert (images["first"], images["resets"], images["kind"]) == ("all", ("page",), "segmented")
    assert set(known["detector"]["resets"]) == {"layer", "unit", "page"}


def test_masks_are_outlined_unless_the_address_says_no(client: FlaskClient, run: Run) -> None:
    fake = next(one for one in list_view(run, Selection(), BASE).images if one.has_mask)
    search = f"?sample={fake.token}&methods={GRADCAM}"
    # The image itself is always outlined.
    outline = f"/outline/{fake.token}"
    assert shown(client, "attribution-maps", search).count(outline) == 3
    assert shown(client, "attribution-maps", f"{search}&outline=off").count(outline) == 1


def test_too_many_methods_are_refused(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.maps.MOST_METHODS", 1)
    text = shown(client, "attribution-maps", f"?methods={','.join(METHODS)}")
    assert "at most 1 are shown side by side" in text


def test_what_is_selected_is_exported(client: FlaskClient, made: MadeRun, run: Run) -> None:
    images = exported(client, "explained-images", "?images=errors&dataset=beta")
    wanted = first_frames(made, BASE)
    wanted = wanted[(wanted["dataset"] == "beta") & (wanted["wrong"] > 0)]
    assert list(images["sample"]) == list(wanted["sample"]) and "token" not in images
    maps = exported(client, "attribution-maps")
    assert list(maps["method"]) == [GRADCAM, COMPLETE] * 2
    assert maps["checks_passed"].tolist()[:2] == [1, 1] and maps["checks_tested"].isna()[2]
    assert "Not in this run" in maps["reason"][3]
    trust = exported(client, "attribution-trust")
    assert len(trust) == len(run.trust(BASE).to_dataframe()) and set(trust["detector"]) == {BASE}
    alike = exported(client, "map-similarity", "?mode=authors")
    assert np.allclose(alike["mean"], run.map_similarity("meso4", "authors").data["mean"])
    regions = exported(client, "attention-by-region", "?part=negative&what=change")
    assert len(regions) == len(run.attention(BASE).to_dataframe())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["attribution-maps", "map-similarity", "attention-by-region"])
def test_scripts_draw_what_is_exported(client: FlaskClient, tmp_path: Path, name: str) -> None:
    search = "?images=missed&overlay=overlay&mode=authors&part=negative&what=change"
    code = client.get(f"/export/{name}.py{search}").text
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""},
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    pdf = client.get(f"/export/{name}.pdf{search}").data
    assert streams(pdf) == streams((tmp_path / f"{name}.pdf").read_bytes())
    table = pd.read_csv(tmp_path / f"{name}.csv")
    if name != "attribution-maps":
        pd.testing.assert_frame_equal(table, exported(client, name, search), check_dtype=False)
    else:
        assert set(zip(table["detector"], table["method"], strict=True)) == {
            (BASE, GRADCAM),
            (BASE, COMPLETE),
            (SHALLOW, GRADCAM),
        }


def streams(pdf: bytes) -> list[bytes]:
    """What is drawn on the page, and its fonts: all but what the file says of itself."""
    found = re.findall(rb"stream\r?\n(.*?)\nendstream", pdf, re.DOTALL)
    assert len(found) > 2
    return found


def test_a_run_without_maps_says_how_to_make_them(own: MadeRun) -> None:
    shutil.rmtree(own.root / "maps")
    with pytest.raises(MissingTableError):
        explained(Run(own.folder), BASE)
    text = said(client_of(own.root), "/attribution")
    assert "Not computed yet" in text and "probe demo --out somewhere" in text


def test_maps_that_are_damaged_say_so(own: MadeRun) -> None:
    run = Run(RunFolder(own.root))
    image = chosen_image(run, Selection(), BASE)
    for chunk in (own.folder.path("maps", BASE, COMPLETE) / "attribution" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"no chunk")
    with pytest.raises(StoreError, match="damaged"):
        map_image(run, BASE, COMPLETE, image.token, laid=False)
    # The table needs none of it, and the figure says what is wrong.
    client = client_of(own.root)
    assert client.get("/export/attribution-maps.csv").status_code == 200
    refused = client.get("/export/attribution-maps.pdf")
    assert refused.status_code == 404 and "is damaged" in refused.text


def test_maps_that_are_half_written_lose_their_own_place_alone(own: MadeRun) -> None:
    """As while a run is being written: the list, the scale and other maps are there."""
    (own.folder.path("maps", SHALLOW, GRADCAM) / "attribution" / "zarr.json").unlink()
    run = Run(own.folder)
    image = chosen_image(run, Selection(), BASE)
    view = maps_view(run, Selection(), BASE, image)
    assert view.rows[0].cells[0].source and "maps" in view.rows[1].cells[0].reason
    maps = AttributionMap.open(own.folder.path("maps", BASE, GRADCAM)).values
    assert view.columns[0].limit == pytest.approx(np.percentile(np.abs(maps), 99.5), rel=1e-6)
    with pytest.raises(StoreError):
        explained(run, SHALLOW)


@pytest.mark.parametrize(("label", "family"), [("other/base", "other"), ("meso4/df", "meso4/df")])
def test_families_have_scales_of_their_own(label: str, family: str, own: MadeRun) -> None:
    """Maps a thousandth as large are as visible; the legend and the table say where colors end."""
    maps = AttributionMap.open(own.folder.path("maps", BASE, GRADCAM))
    tiny = maps.data.assign(attribution=maps.data["attribution"] / 1000)
    tiny = tiny.assign_attrs(detector=label)
    write_manifest(own.folder, detectors=[*DETECTORS, label])
    AttributionMap(tiny).save(own.folder.path("maps", label, GRADCAM))
    run = Run(own.folder)
    image = chosen_image(run, Selection(), BASE)
    view = maps_view(run, Selection(), BASE, image)
    column = view.columns[0]
    (name, limit), *_ = column.others
    # The variants of one architecture keep the scale that they share.
    kin = [AttributionMap.open(own.folder.path("maps", one, GRADCAM)).values for one in DETECTORS]
    shared = max(np.percentile(np.abs(one), 99.5) for one in kin)
    alone = np.percentile(np.abs(tiny["attribution"].values), 99.5)
    assert column.limit == pytest.approx(shared, rel=1e-6)
    assert name == family and limit == pytest.approx(alone, rel=1e-6)
    assert column.limit_of(label) == limit and column.limit_of(SHALLOW) == column.limit
    drawn = decoded(map_image(run, label, GRADCAM, image.token, laid=False)[0])
    whole = decoded(map_image(run, BASE, GRADCAM, image.token, laid=False)[0])
    assert drawn.std() > 0.5 * whole.std()
    said_there = str(maps_grid(view, False, True).to_plotly_json())
    assert f"{family}: end ±" in said_there and "meso4: end ±" in said_there
    answer = client_of(own.root).get("/export/attribution-maps.csv")
    table = pd.read_csv(BytesIO(answer.data))
    ends = table[table["method"] == GRADCAM].set_index("detector")["scale_end"]
    assert ends[label] == pytest.approx(limit) and ends[BASE] == pytest.approx(shared)
    assert client_of(own.root).get("/export/attribution-maps.pdf").status_code == 200
