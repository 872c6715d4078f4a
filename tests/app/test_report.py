"""The report of a run, as the dashboard serves it."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.run import Run
from tests.app.calling import said
from tests.app.conftest import client_of
from tests.app.making import MadeRun


def test_it_is_linked_where_it_is_there(own: MadeRun) -> None:
    client = client_of(own.root)
    assert "/report" not in said(client, "/")
    answer = client.get("/report")
    assert answer.status_code == 404 and "probe report RUN" in answer.text
    own.folder.report.write_text("<h1>Told</h1>", encoding="utf-8")
    assert '"href": "/report"' in said(client, "/")
    answer = client.get("/report")
    assert answer.status_code == 200 and answer.mimetype == "text/html"
    assert answer.text == "<h1>Told</h1>"


def test_a_hostile_report_can_do_nothing(own: MadeRun) -> None:
    own.folder.report.write_text("<script src=/export/x.py></script>", encoding="utf-8")
    policy = client_of(own.root).get("/report").headers["Content-Security-Policy"]
    parts = dict(part.split(" ", 1) for part in f"{policy} ".split("; "))
    assert parts["default-src"] == "'none'" and "script-src" not in parts
    assert parts["sandbox"] == "" and parts["img-src"] == "data:"
    assert "form-action" in parts and "connect-src" not in parts
    # Pages keep theirs.
    assert "script-src 'self'" in client_of(own.root).get("/").headers["Content-Security-Policy"]


def test_no_other_file_is_served_in_its_place(
    own: MadeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    own.folder.report.symlink_to(secret)
    client = client_of(own.root)
    assert client.get("/report").status_code == 404 and "/report" not in said(client, "/")
    own.folder.report.unlink()
    own.folder.report.mkdir()
    assert Run(own.folder).report is None
    own.folder.report.rmdir()
    own.folder.report.write_text("too large")
    monkeypatch.setattr("app.run.LARGEST", 3)
    assert Run(own.folder).report is None
