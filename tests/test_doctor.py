from __future__ import annotations

import json
from pathlib import Path

import pytest

from probe import doctor
from tests.test_cli import run


def test_it_names_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "cache"))
    assert run("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"system", "packages", "devices", "extras", "places"}
    assert found["packages"]["torch"][0].isdigit() and "cpu" in found["devices"]
    assert str(tmp_path / "cache") in found["places"]["cache"]
    entry = tmp_path / "cache/crops/3frames-48px-0/ab/abc"
    entry.mkdir(parents=True)
    (entry / "clip.json").write_text("{}")
    assert run("doctor", "--json") == 0
    crops = json.loads(capsys.readouterr().out)["places"]["crops"]
    assert str(tmp_path / "cache/crops") in crops and "of 1 videos" in crops
    assert run("doctor") == 0
    printed = capsys.readouterr().out
    assert "torch" in printed and "PROBE_REAL_DATA" in printed


def test_a_missing_extra_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "EXTRAS", {"dlib": ("no_such_module_here", "a face detector")})
    missing = doctor.examine()["extras"]["dlib"]
    assert missing == (
        "missing: a face detector. Install it with `pip install 'deepfake-probe[dlib]'`"
    )
