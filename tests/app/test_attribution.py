"""Attribution: the list of images, maps on one scale, badges, and what is said of maps together."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from io import BytesIO
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from flask.testing import FlaskClient
from PIL import Image
from plotly.utils import PlotlyJSONEncoder

from app import ids
from app.components.attribution_findings import checks_table
from app.components.attribution_maps import maps_grid
from app.figures.maps import variants_figure
from app.figures.regions import regions_figure
from app.queries.attribution import EACH, chosen_image, explained, list_view
from app.queries.attribution_files import map_image
from app.queries.attribution_findings import regions_view, variants_view
from app.queries.attribution_maps import maps_view, shown_methods
from app.queries.attribution_trust import badge_of, trust_view, why_not
from app.run import Run
from app.selection import Selection
from probe.attribution.maps import AttributionMap
from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.images import token_of
from probe.plots.style import colors_of
from probe.run import MissingTableError, RunFolder
from tests.app.calling import call, said
from tests.app.conftest import client_of
from tests.app.drawing_maps import CHECKED, METHODS
from tests.app.making import DETECTORS, MadeRun, write_manifest

BASE, SHALLOW = DETECTORS
GRADCAM, COMPLETE = METHODS


@pytest.fixture
def run(made: MadeRun) -> Run:
    return Run(made.folder)


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


def test_a_badge_counts_entries_of_the_report(made: MadeRun, run: Run) -> None:
    rows = {row.check: row for row in trust_view(run, BASE, GRADCAM).rows}
    assert list(rows) == list(CHECKED)
    assert rows["mask_auroc"].passed
    assert rows["pointing"].lost_to == ("shifted",) and not rows["pointing"].passed
    # All references are beaten, but lower is better and random weights reach 0.
    assert rows["deletion_blur"].lost_to == () and rows["deletion_blur"].within_random
    assert "random weights" in why_not(rows["deletion_blur"])
    assert not rows["mprt_spearman"].tested
    badge = badge_of(run, BASE, GRADCAM)
    assert badge is not None and (badge.passed, badge.tested) == (1, 3)
    assert badge_of(run, SHALLOW, GRADCAM) is None
    data = run.trust(BASE).data
    part = data.sel({"method": GRADCAM, "check": "pointing", "dataset": "beta"})
    row = trust_view(run, BASE, GRADCAM, "beta").rows[1]
    assert row.value == float(part["value"])
    assert [gain.q for gain in row.gains] == list(part["q"].values)


@pytest.mark.parametrize(
    ("better", "passed"), [("higher", (False, False, True)), ("lower", (True, False, False))]
)
def test_random_weights_have_to_be_beaten_in_the_right_direction(
    run: Run, better: str, passed: tuple[bool, ...]
) -> None:
    row = replace(trust_view(run, BASE, GRADCAM).rows[0], better=better)
    found = (
        replace(row, value=value, random_low=0.4, random_high=0.6).passed
        for value in (0.3, 0.5, 0.7)
    )
    assert tuple(found) == passed


def test_the_table_of_checks_says_each_verdict(run: Run) -> None:
    table = checks_table(trust_view(run, BASE, GRADCAM))
    text = json.dumps(table, cls=PlotlyJSONEncoder, ensure_ascii=False)
    for words in ("✓ passed", "not better than shifted", "random weights reach it", "no test"):
        assert words in text


def test_variants_stand_beside_their_null(run: Run) -> None:
    for mode in ("corrected", "authors"):
        view = variants_view(run, Selection(mode=mode), BASE)
        data = run.map_similarity("meso4", mode).data
        assert np.array_equal(view.null.value, data["null_mean"].values)
        assert np.array_equal(view.count, data["count"].values)
        figure = variants_figure(view)
        # No training with another seed, so no third kind of mark.
        assert len(figure.data) == 2
        assert np.array_equal(figure.data[0].x, data["mean"].values)
        assert "no interval" in figure.data[0].customdata[2]
    with pytest.raises(UnknownNameError):
        variants_view(run, Selection(mode="x"), BASE)


@pytest.mark.parametrize(("what", "q"), [("concentration", "q"), ("change", "change_q")])
def test_regions_are_marked_by_their_own_q(run: Run, what: str, q: str) -> None:
    view = regions_view(run, Selection(part="negative", what=what), BASE)
    data = run.attention(BASE).data.sel(part="negative")
    there = np.isfinite(data[what]).any("region").values
    assert view.groups == tuple(data["group"].values[there])
    assert (what == "change") == (len(view.groups) == 3)
    figure = regions_figure(view)
    texts = [note.text for note in figure.layout.annotations]
    marked = int((data[q].values[there] <= 0.05).sum())
    assert sum(text.startswith("●") for text in texts) == marked > 0
    assert np.allclose(figure.data[0].z * 4, data[what].values[there], equal_nan=True)


def test_the_smallest_concentration_is_written_in_full(run: Run) -> None:
    view = regions_view(run, Selection(), BASE)
    texts = [
        note.text
        for note in regions_figure(replace(view, value=view.value * 0 - 10)).layout.annotations
    ]
    assert sum("<b>−10.0</b>" in text for text in texts) == view.value.size - 1


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


def state(search: str) -> dict[str, Any]:
    urls = (ids.ATTRIBUTION_LIST_URL, ids.ATTRIBUTION_MAPS_URL, ids.LOOKING_URL)
    return {f"{url}.search": search for url in urls} | {
        f"{ids.ATTRIBUTION_DETECTOR}.data": list(DETECTORS)
    }


@pytest.mark.parametrize(
    "output", [ids.ATTRIBUTION_LIST, ids.ATTRIBUTION_MAPS, ids.MAP_SIMILARITY, ids.REGIONS]
)
def test_each_card_answers_and_says_what_is_wrong(client: FlaskClient, output: str) -> None:
    good = json.dumps(call(client, f"{output}.children", state("")), ensure_ascii=False)
    assert "message-title" not in good
    search = f"?detector={quote(SHALLOW)}&sample=none&images=none&mode=none&part=none"
    bad = json.dumps(call(client, f"{output}.children", state(search)), ensure_ascii=False)
    assert "message-title" in bad


def test_a_detector_that_was_not_looked_at_loses_one_card_alone(client: FlaskClient) -> None:
    values = state(f"?detector={quote(SHALLOW)}")
    regions = json.dumps(call(client, f"{ids.REGIONS}.children", values))
    assert "Not computed yet" in regions and "probe demo" in regions
    maps = json.dumps(call(client, f"{ids.ATTRIBUTION_MAPS}.children", values))
    assert "not checked" in maps and "3 checks" in maps


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
