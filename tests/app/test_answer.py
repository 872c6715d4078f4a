"""The line that says what the chosen unit responds to, and where it leads."""

from __future__ import annotations

import json
import shutil
from urllib.parse import parse_qs, urlsplit

from flask.testing import FlaskClient

from app import ids
from probe.artifacts.responses import ResponseReport
from tests.app.calling import call
from tests.app.conftest import client_of
from tests.app.making import DETECTORS, MadeRun


def line(client: FlaskClient, search: str) -> str:
    values = {f"{ids.URL}.search": search, f"{ids.DETECTOR}.value": DETECTORS[0]}
    answer = call(client, f"{ids.UNIT_ANSWER}.children", values)
    return json.dumps(answer, ensure_ascii=False)


def test_each_unit_is_given_the_answer_of_the_table(client: FlaskClient, made: MadeRun) -> None:
    report = ResponseReport.open(made.folder.responses(DETECTORS[0]))
    kinds = set()
    for unit in (int(u) for u in report.data["unit"].values):
        found, said = report.answer(unit), line(client, f"?unit={unit}&dataset=beta")
        kinds.add(found.kind)
        assert f'"{found.name}"' in said if found.kind else "Nothing was found" in said
        assert ("not shown to be a cause" in said) == (found.kind == "correlation")
        href = next(part for part in said.split('"') if part.startswith("/artifacts?"))
        asked = parse_qs(urlsplit(href).query)
        assert asked["unit"] == [str(unit)] and asked["dataset"] == ["beta"]
        assert asked.get("artifact") == ([found.name] if found.kind == "dose" else None)
    assert len(kinds) > 1


def test_what_is_not_there_is_said(own: MadeRun) -> None:
    shutil.rmtree(own.folder.responses(DETECTORS[0]))
    assert "has not been computed" in line(client_of(own.root), "?unit=3")
    assert "is not in this table" in line(client_of(own.root), "?unit=999")
