"""Scripts of comparisons between two runs leave the tables of the page."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pandas as pd
import pytest
from flask.testing import FlaskClient

from app.run import Run
from probe.run import RunFolder
from tests.app.conftest import client_of
from tests.app.making import DETECTORS, MadeRun

ONE, OTHER = DETECTORS[1], DETECTORS[0]


@pytest.fixture
def two(own: MadeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    """A run, and its copy in which one dataset has other pictures and another lacks scores."""
    copy = tmp_path / "again"
    shutil.copytree(own.root, copy)
    for file in (copy / "data" / "images").glob("alpha-*.png"):
        shutil.copy(copy / "data" / "images" / "beta-0-0-0.png", file)
    scores = Run(own.folder).scores
    rows = (scores["dataset"] == "beta") & scores["sample"].str.contains("^beta-0-")
    scores[~rows].to_parquet(RunFolder(copy).path("evaluation").with_suffix(".scores.parquet"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return client_of(own.root, others=[copy])


@pytest.mark.parametrize(
    ("name", "search"),
    [
        ("compare-scores", f"?detector={ONE}&other=again:{OTHER}"),
        ("compare-scores", f"?detector={ONE}&other=again:{OTHER}&metric=eer&level=video"),
        ("compare-images", f"?detector={ONE}&other=again:{OTHER}"),
        ("compare-images", f"?detector={ONE}&other=again:{OTHER}&dataset=gamma"),
        ("compare-layers", f"?detector={ONE}&other=again:{OTHER}"),
    ],
)
def test_a_script_of_two_runs_gives_the_same_table(
    two: FlaskClient, name: str, search: str
) -> None:
    answers = [two.get(f"/export/{name}.{kind}{search}") for kind in ("csv", "py")]
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text[:300]
    code = answers[1].text
    exec(compile(code, name, "exec"), {})
    wanted, found = pd.read_csv(io.StringIO(answers[0].text)), pd.read_csv(f"{name}.csv")
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False)
    assert name == "compare-layers" or "alpha" not in set(found["dataset"])
    assert Path(f"{name}.pdf").read_bytes().startswith(b"%PDF")
