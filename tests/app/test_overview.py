"""Overview: what the run holds, what is wrong and missing, the other runs, and exports."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pytest
from flask.testing import FlaskClient

from app.card import At, Card
from app.gaps import gaps
from app.pages.overview import PAGE, audit, contents, not_done
from app.progress import stages_of
from app.run import Run, crop_rule
from app.selection import Selection
from probe import plots
from probe.datasets.audit import AuditReport, Finding
from probe.errors import StoreError
from probe.run import MissingTableError, RunFolder
from tests.app.calling import card_of, exported, said
from tests.app.conftest import client_of
from tests.app.making import (
    DATASETS,
    DETECTORS,
    FRAMES,
    IDENTITIES,
    MadeRun,
    make_run,
    write_manifest,
)

BASE, SHALLOW = DETECTORS


@pytest.fixture(scope="module")
def run(made: MadeRun) -> Run:
    return Run(made.folder)


def at(run: Run, **chosen: str) -> At:
    return At(run, Selection(**chosen))


# --- What the run holds -------------------------------------------------------------------------


def test_datasets_are_counted(run: Run) -> None:
    frame = plots.dataset_counts(run.data)
    assert list(frame["dataset"]) == list(DATASETS)
    for one in frame.to_dict("records"):
        assert one["real"] == one["fake"] == IDENTITIES * FRAMES
        assert (one["videos"], one["identities"]) == (2 * IDENTITIES, IDENTITIES)
        assert one["test_images"] == 2 * IDENTITIES * FRAMES
    assert not {"train_images", "val_images"} & set(frame)


def test_splits_that_a_dataset_lacks_are_said(own: MadeRun) -> None:
    place = own.folder.data / "samples.parquet"
    table = pd.read_parquet(place)
    table.loc[table["sample"].str.startswith("beta-0"), "split"] = "train"
    table.loc[table["dataset"] == "gamma", "identity"] = ""
    table.to_parquet(place)
    text = str(card_of(client_of(own.root), "datasets"))
    assert all(one in text for one in ("train / test", "4 / 20", "0 / 24"))
    assert list(plots.dataset_counts(Run(own.folder).data)["identities"]) == [6, 6, 0]


def test_the_head_says_what_the_run_is(own: MadeRun) -> None:
    client = client_of(own.root)
    text = said(client, "/")
    assert "A drawn run" in text and "Simulated data" in text
    facts = str(card_of(client, "run-facts"))
    assert all(one in facts for one in ("'alpha'", "meso4", "base, shallow", "'72'", "36 videos"))
    write_manifest(own.folder, title="Another", simulated=False, detectors=["x"], source="")
    shutil.rmtree(own.folder.data)
    text = said(client_of(own.root), "/")
    assert "Another" in text and "Simulated data" not in text
    facts = str(card_of(client_of(own.root), "run-facts"))
    assert "no sample table" in facts and "as loaded" in facts


def test_contents_are_what_is_there(own: MadeRun) -> None:
    run = Run(own.folder)
    frame = contents(at(run)).set_index("detector")
    own_tables = ["neurons", "universality", "store", "separability", "embeddings", "responses"]
    assert frame[own_tables].all(axis=None) and frame["maps"].all()
    assert frame.loc[BASE].all() and not frame.loc[SHALLOW, "trust"]
    shutil.rmtree(own.folder.path("responses", SHALLOW))
    shutil.rmtree(own.folder.path("similarity"))
    shutil.rmtree(own.folder.store(BASE))
    frame = contents(at(run)).set_index("detector")
    assert list(frame["responses"]) == [True, False] and list(frame["store"]) == [False, True]
    assert not frame["similarity"].any() and frame["artifact_report"].all()
    text = str(card_of(client_of(own.root), "contents"))
    assert text.count("aria-label': 'not yet'") == 5 and "'data'" in text


def test_stages_are_those_of_the_manifest(own: MadeRun) -> None:
    assert [(one.name, one.done, one.seconds) for one in stages_of(Run(own.folder))] == [
        ("data", True, 1.0)
    ]
    write_manifest(own.folder, detectors=[], complete=False)
    # While the run is written they are in the notice.
    assert "'data'" not in str(card_of(client_of(own.root), "contents"))


def test_provenance_says_what_results_depend_on(own: MadeRun) -> None:
    text = str(card_of(client_of(own.root), "provenance"))
    assert all(
        one in text
        for one in ("probe demo --out somewhere", "2026-11-22 20:00", "leaky (all detectors)")
    )
    write_manifest(own.folder, layers={BASE: "a", SHALLOW: "b"}, versions={}, created="")
    text = str(card_of(client_of(own.root), "provenance"))
    assert f"{BASE}: a; {SHALLOW}: b" in text and text.count("'not stated'") == 2


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


def test_runs_are_listed_where_there_are_several(own: MadeRun, tmp_path: Path) -> None:
    assert '"children": "Runs"' not in said(client_of(own.root), "/")
    copy = tmp_path / "again"
    shutil.copytree(own.root, copy)
    write_manifest(RunFolder(copy), source="beta", complete=False, title="Its copy")
    (tmp_path / "none").mkdir()
    client = client_of(own.root, others=[copy, tmp_path / "none"])
    text = said(client, "/")
    assert '"children": "Runs"' in text and "Its copy" in text and "incomplete" in text
    assert "trained on" in text and "is not a run" in text
    assert list(exported(client, "runs")["name"]) == ["run", "again", "none"]


# --- What is wrong, and what is missing ---------------------------------------------------------


def settings(run: Run) -> str:
    return "\n".join(one.setting for one in gaps(run))


def test_a_drawn_run_lacks_seeds_and_an_ablation(run: Run) -> None:
    found = gaps(run)
    assert [one.setting for one in found] == ["seeds = [0, 1, 2]", "[neurons]\nablate = true"]
    assert SHALLOW in found[1].what and BASE not in found[1].what


def test_other_seeds_close_a_gap(own: MadeRun) -> None:
    write_manifest(own.folder, detectors=[*DETECTORS, f"{BASE}-seed1"])
    assert "seeds" not in settings(Run(own.folder))


def test_gaps_follow_from_what_is_there(own: MadeRun) -> None:
    place = own.folder.data / "samples.parquet"
    table = pd.read_parquet(place)
    table.loc[table["dataset"] == "beta", "identity"] = ""
    table.loc[table["dataset"] == "gamma", "mask"] = ""
    table.to_parquet(place)
    run = Run(own.folder)
    run.evaluation.data["n_clusters"].loc[{"dataset": "alpha"}] = 4
    text = " ".join(one.what for one in gaps(run))
    assert "identified in beta:" in text and "fakes of gamma have no masks" in text
    assert "measured in alpha (4)," in text
    write_manifest(own.folder, datasets=["alpha"])
    assert any("generalization" in one.what for one in gaps(Run(own.folder)))


def test_what_is_still_to_come_is_no_gap(own: MadeRun) -> None:
    write_manifest(own.folder, complete=False)
    assert "ablate" not in settings(Run(own.folder))


def test_the_audit_is_shown_gravest_first(own: MadeRun) -> None:
    run = Run(own.folder)
    with pytest.raises(MissingTableError) as missing:
        audit(run)
    # From the folder where the dashboard was started, here another one.
    root = own.folder.root
    assert missing.value.command == f"probe audit {root}/data --json {root}/audit.json"
    assert "Not computed yet" in str(card_of(client_of(own.root), "audit"))
    found = (
        Finding("leaked-identity", "error", "alpha", "A person <b>is</b> in two splits.", 3),
        *(Finding("label-balance", "note", "beta", f"Half are fakes, {i}.") for i in range(13)),
    )
    AuditReport(("alpha/test", "beta/test"), 48, found).save(own.root / "audit.json")
    frame = audit(run)
    assert list(frame["check"])[:2] == ["leaked-identity", "label-balance"]
    assert frame.attrs == {"images": 48, "parts": 2}
    text = str(card_of(client_of(own.root), "audit"))
    assert "1 error, 13 notes. " in text and "A person <b>is</b> in two splits." in text
    assert "fakes, 10." in text and "fakes, 11." not in text and "And 2 more." in text
    AuditReport(("alpha/test",), 48, ()).save(own.root / "audit.json")
    assert "Nothing was found" in str(card_of(client_of(own.root), "audit"))
    for damaged in ('{"images": 3', '{"images": 3, "datasets": [], "findings": [1]}', "[]"):
        (own.root / "audit.json").write_text(damaged)
        with pytest.raises(StoreError, match="damaged"):
            audit(run)
    assert "is damaged" in said(client_of(own.root), "/")


def test_what_could_not_be_done_is_said_with_its_reason(own: MadeRun) -> None:
    file = own.root / "provenance.json"
    file.write_text(json.dumps({"no_ablation": {BASE: "No unit is universal."}, "seeds": [0]}))
    found = not_done(Run(own.folder))
    assert found == [("Taking out universal units", BASE, "No unit is universal.")]
    assert "No unit is universal." in str(card_of(client_of(own.root), "audit"))
    file.write_text("[1, 2")
    assert not_done(Run(own.folder)) == []


# --- Exports ------------------------------------------------------------------------------------

CARDS = {one.id: one for one in PAGE.cards}
AGAINST = f"?against={quote(BASE, safe='')}&metric=eer&level=video"


@pytest.fixture(scope="module")
def whole(made: MadeRun, tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    """A client of the drawn run with an audit, and of another run beside it."""
    root = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(made.root, root)
    found = (Finding("label-balance", "note", "beta", "Half are fakes."),)
    AuditReport(("alpha/test",), 48, found).save(root / "audit.json")
    return client_of(root, others=[made.root])


def test_today_s_exports_are_there() -> None:
    kinds = {name: " ".join(one.suffixes) for name, one in CARDS.items() if one.is_menu}
    tables = ".csv .tex"
    assert kinds == {
        "zero-shot-matrix": f".pdf .png .svg {tables} .py",
        "datasets": f"{tables} .py",
        **dict.fromkeys(("contents", "runs", "audit", "gaps"), tables),
    }


@pytest.mark.parametrize(
    ("card", "search"),
    [(one, "") for one in CARDS.values() if one.is_menu] + [(CARDS["zero-shot-matrix"], AGAINST)],
    ids=lambda given: getattr(given, "id", given),
)
def test_cards_can_be_taken_away(whole: FlaskClient, card: Card, search: str) -> None:
    assert len(exported(whole, card.id, search)) > 0
    for suffix in card.suffixes:
        answer = whole.get(f"/export/{card.id}{suffix}{search}")
        assert answer.status_code == 200 and len(answer.data) > 70
    text = whole.get(f"/export/{card.id}.tex{search}").text
    assert text.startswith("% {") and json.loads(text.split("\n")[0][2:])["run"] == "A drawn run"


def test_files_are_named_by_what_was_chosen(whole: FlaskClient) -> None:
    header = whole.get(f"/export/zero-shot-matrix.csv{AGAINST}").headers["Content-Disposition"]
    assert 'filename="zero-shot-matrix-meso4-base-eer-video.csv"' in header


@pytest.mark.parametrize(
    ("name", "search"),
    [("zero-shot-matrix", "?metric=ap"), ("zero-shot-matrix", AGAINST), ("datasets", "")],
)
def test_a_script_gives_the_table(
    whole: FlaskClient, tmp_path: Path, name: str, search: str
) -> None:
    code = whole.get(f"/export/{name}.py{search}").text
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    wanted = exported(whole, name, search)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / f"{name}.csv"), wanted)
    assert (tmp_path / f"{name}.pdf").exists() == (name != "datasets")


def test_a_reference_of_another_run_is_compared_on_the_same_images(
    own: MadeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One dataset of the other run has other pictures, and another lacks scores."""
    copy = tmp_path / "again"
    shutil.copytree(own.root, copy)
    for file in (copy / "data" / "images").glob("alpha-*.png"):
        shutil.copy(copy / "data" / "images" / "beta-0-0-0.png", file)
    scores = Run(own.folder).scores
    rows = (scores["dataset"] == "beta") & scores["sample"].str.contains("^beta-0-")
    scores[~rows].to_parquet(RunFolder(copy).path("evaluation").with_suffix(".scores.parquet"))
    monkeypatch.chdir(tmp_path)
    client, search = client_of(own.root, others=[copy]), f"?against=again:{BASE}"
    frame = exported(client, "zero-shot-matrix", search)
    assert set(frame["compared_with"]) == {f"{BASE} (again)"} and set(frame["detector"]) == {
        BASE,
        SHALLOW,
    }
    lacking = frame["difference"].isna()
    assert set(frame.loc[lacking, "dataset"]) == {"alpha"}
    assert set(frame.loc[lacking, "reason"]) == {"no common images"}
    counts = frame.groupby("dataset")["n_samples"].max()
    assert counts["beta"] == counts["gamma"] * 5 / 6
    assert (frame.loc[(frame["detector"] == BASE) & ~lacking, "difference"] == 0).all()
    code = client.get(f"/export/zero-shot-matrix.py{search}").text
    assert "probe.open_run('again').evaluation" in code
    exec(compile(code, "script", "exec"), {})
    pd.testing.assert_frame_equal(pd.read_csv("zero-shot-matrix.csv"), frame)
    assert Path("zero-shot-matrix.pdf").read_bytes().startswith(b"%PDF")
    text = str(card_of(client, "zero-shot-matrix", search))
    assert "not comparable" in text and "no common images" in text


def test_where_no_images_are_common_the_cells_say_why(own: MadeRun, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", seed=1, reports=False)
    client = client_of(own.root, others=[other.root])
    text = str(card_of(client, "zero-shot-matrix", f"?against=other:{BASE}"))
    assert text.count("not comparable") == 6 and "show different pixels" in text
    answer = client.get(f"/export/zero-shot-matrix.tex?against=other:{BASE}")
    assert answer.status_code == 200 and answer.text.startswith("% {")


def test_a_damaged_matrix_is_said_on_its_card(own: MadeRun) -> None:
    shutil.rmtree(own.folder.path("evaluation") / "n_clusters")
    text = str(card_of(client_of(own.root), "zero-shot-matrix"))
    assert "Cannot be read" in text and "lacks n_clusters" in text
    shutil.rmtree(own.folder.path("evaluation"))
    text = str(card_of(client_of(own.root), "zero-shot-matrix"))
    assert "Not computed yet" in text and "probe demo --out somewhere" in text
    assert "A drawn run" in said(client_of(own.root), "/")
