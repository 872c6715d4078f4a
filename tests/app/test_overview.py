"""Overview: the matrix against a reference, what is missing, the audit, the other runs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flask.testing import FlaskClient

from app import ids
from app.exports import EXPORTS
from app.queries.against import against_frame, against_view
from app.queries.audit import audit_view, not_done
from app.queries.lacking import gaps
from app.run import Run
from app.selection import Selection
from probe.datasets.audit import AuditReport, Finding
from probe.errors import StoreError, UnknownNameError
from probe.run import MissingTableError
from probe.stats import METRICS, cluster_weights, sigmoid
from tests.app.calling import call, said
from tests.app.conftest import client_of
from tests.app.making import DATASETS, DETECTORS, MadeRun, write_manifest

BASE, SHALLOW = DETECTORS


@pytest.fixture(scope="module")
def run(made: MadeRun) -> Run:
    return Run(made.folder)


def drawn(client: FlaskClient, reference: str, metric: str = "auroc") -> Any:
    values = {
        f"{ids.METRIC}.value": metric,
        f"{ids.LEVEL}.value": "frame",
        f"{ids.REFERENCE}.value": reference,
        f"{ids.OVERVIEW_URL}.search": "",
    }
    return call(client, f"{ids.MATRIX}.children", values)["response"]


def test_cells_are_paired_differences_to_the_reference(made: MadeRun, run: Run) -> None:
    view = against_view(run, BASE, "accuracy", "frame")
    assert view.is_reference.tolist() == [True, False]
    assert np.isnan(view.difference[0]).all()
    table, clusters = made.data.samples.table, made.data.samples.clusters
    for j, dataset in enumerate(DATASETS):
        rows = (table["dataset"] == dataset).to_numpy()
        label, weights = table["label"].to_numpy()[rows], cluster_weights(clusters[rows], 1000, 0)
        draws = [
            METRICS["accuracy"](label, sigmoid(made.logits[name][rows]), weights)
            for name in (SHALLOW, BASE)
        ]
        bounds = np.percentile(draws[0] - draws[1], [2.5, 97.5])
        assert [view.low[1, j], view.high[1, j]] == pytest.approx(list(bounds))
        assert view.leaves_out_0[1, j] == (bounds[0] > 0 or bounds[1] < 0)
    assert len(against_frame(run, BASE, "accuracy", "frame")) == len(DATASETS)
    with pytest.raises(UnknownNameError, match="Did you mean 'meso4/base'"):
        against_view(run, "meso4/bas", "auroc", "frame")


def test_the_switch_shows_values_or_differences(client: FlaskClient) -> None:
    values = drawn(client, "*")
    assert "zero-shot-matrix" in str(values[ids.MATRIX_MENU])
    less = drawn(client, BASE)
    text = str(less[ids.MATRIX]["children"])
    assert "reference" in text and "matrix-against" in str(less[ids.MATRIX_MENU])
    assert "lower is better" in str(drawn(client, BASE, "eer")[ids.MATRIX_TEXT])
    wrong = drawn(client, "meso4/bas")
    assert "Did you mean" in str(wrong[ids.MATRIX_TEXT])


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
    evaluation = Run(own.folder).evaluation
    evaluation["n_clusters"].loc[{"dataset": "alpha"}] = 4
    text = " ".join(one.what for one in gaps(Run(own.folder)))
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
        audit_view(run)
    # From the folder where the dashboard was started, here another one.
    root = own.folder.root
    assert missing.value.command == f"probe audit {root}/data --json {root}/audit.json"
    found = (
        Finding("leaked-identity", "error", "alpha", "A person <b>is</b> in two splits.", 3),
        Finding("label-balance", "note", "beta", "Half are fakes."),
    )
    AuditReport(("alpha/test", "beta/test"), 48, found).save(own.root / "audit.json")
    view = audit_view(run)
    assert [one.check for one in view.of("error")] == ["leaked-identity"] and view.images == 48
    text = said(client_of(own.root), "/")
    assert "1 error, 1 note. " in text and "A person <b>is</b> in two splits." in text
    (own.root / "audit.json").write_text('{"images": 3')
    with pytest.raises(StoreError, match="damaged"):
        audit_view(run)
    assert "is damaged" in said(client_of(own.root), "/")


def test_what_could_not_be_done_is_said_with_its_reason(own: MadeRun) -> None:
    file = own.root / "provenance.json"
    file.write_text(json.dumps({"no_ablation": {BASE: "No unit is universal."}, "seeds": [0]}))
    found = not_done(Run(own.folder))
    assert [(one.of, one.why) for one in found] == [(BASE, "No unit is universal.")]
    assert "No unit is universal." in said(client_of(own.root), "/")
    file.write_text("[1, 2")
    assert not_done(Run(own.folder)) == ()


@pytest.mark.parametrize("name", ["matrix-against", "runs", "gaps"])
def test_cards_can_be_taken_away(run: Run, name: str) -> None:
    export, chosen = EXPORTS[name], Selection(against=BASE)
    assert len(export.frame(run, chosen)) > 0
    assert not export.figure or export.figure(run, chosen).axes
