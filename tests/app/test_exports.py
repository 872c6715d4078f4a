"""What cards are exported as: print quality, provenance, names, and what is refused."""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from flask.testing import FlaskClient
from PIL import Image

from app.card import At, script
from app.downloads import LONGEST, file_name
from app.pages import CARDS
from app.pages.neurons import COUNTS
from app.run import Run
from app.selection import Selection
from tests.app.calling import exported
from tests.app.conftest import client_of
from tests.app.drawing import ARTIFACTS
from tests.app.making import DATASETS, DETECTORS, UNITS, MadeRun
from tests.app.needing import Whole, needed

LABEL = DETECTORS[0]
PRINTED = [name for name, one in CARDS.items() if ".pdf" in one.suffixes]


@pytest.fixture(scope="module")
def whole(made: MadeRun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with needed(made, tmp_path_factory.mktemp("whole")) as found:
        yield found


@pytest.fixture(scope="module")
def client(whole: Whole) -> FlaskClient:
    return client_of(whole.root, others=whole.others)


def get(client: FlaskClient, name: str, suffix: str, search: str = "") -> bytes:
    answer = client.get(f"/export/{name}{suffix}{search}")
    assert answer.status_code == 200, answer.text[:500]
    content: bytes = answer.data
    return content


@pytest.mark.parametrize("name", PRINTED)
def test_every_figure_is_had_for_print(client: FlaskClient, whole: Whole, name: str) -> None:
    pdf = get(client, name, ".pdf", whole.search.get(name, ""))
    # Text stays text, in fonts that are embedded.
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf and b"probe demo --out" in pdf
    width, height = map(float, re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf)[0])
    # No side is wider than a page of a paper.
    assert 36 < width < 7.5 * 72 and 36 < height < 9.5 * 72


def test_pixels_say_what_they_are(client: FlaskClient) -> None:
    image = Image.open(BytesIO(get(client, "unit-doses", ".png")))
    assert np.allclose(image.info["dpi"], 300, atol=0.01)
    known = json.loads(image.info["Provenance"])
    assert known["command"] == "probe demo --out somewhere" and "matplotlib" in known["versions"]


def test_an_svg_brings_its_fonts(client: FlaskClient) -> None:
    text = get(client, "unit-doses", ".svg").decode()
    assert "@font-face" in text and "<text" in text and "probe demo --out somewhere" in text


def test_latex_says_where_it_comes_from(client: FlaskClient) -> None:
    first, rest = get(client, "datasets", ".tex").decode().split("\n", 1)
    assert first.startswith("% {") and json.loads(first[2:])["run"] == "A drawn run"
    assert r"\toprule" in rest


def test_the_code_of_what_a_job_found_computes_it(client: FlaskClient) -> None:
    code = get(client, "taken-out", ".py", "?units=1,3").decode()
    assert "{'chosen': [1, 3]}" in code and "probe.ablate(" in code
    compile(code, "taken-out", "exec")


def test_the_selection_of_the_page_is_what_is_exported(client: FlaskClient, made: MadeRun) -> None:
    table = made.tables[DETECTORS[1]].data
    search = f"?detector={DETECTORS[1]}&unit=7&dataset=beta"
    effects = exported(client, "unit-effects", search)
    assert np.allclose(effects["effect"], table["effect"].sel(unit=7))
    doses = exported(client, "unit-doses", search).set_index(["dataset", "dose"])
    assert np.allclose(doses["response"].values, table["response"].sel(unit=7).values.ravel())
    code = get(client, "unit-effects", ".py", search).decode()
    assert f"run.neurons({DETECTORS[1]!r})" in code and "unit=7" in code
    images = exported(client, "unit-images", search)
    values = made.activations[DETECTORS[1]][:, 7]
    here = made.data.samples.table["dataset"].to_numpy() == "beta"
    assert images["activation"].iloc[0] == pytest.approx(values[here].max())
    assert images["activation"].min() == pytest.approx(values[here].min())


def test_units_are_in_the_order_of_the_page(client: FlaskClient, made: MadeRun) -> None:
    found = exported(client, "units")
    effect = made.tables[LABEL].data["effect"].values
    assert sorted(found["unit"]) == list(range(UNITS)) and found["q"].is_monotonic_increasing
    assert np.allclose(found["mean_effect"].to_numpy(), effect.mean(axis=0)[found["unit"]])
    assert np.allclose(found["effect_gamma"], effect[2][found["unit"]])


def test_the_artifact_is_followed(client: FlaskClient) -> None:
    doses = exported(client, "doses", f"?artifact={ARTIFACTS[1]}")
    assert set(doses["artifact"]) == {ARTIFACTS[1]} and set(doses["dataset"]) == set(DATASETS)


@pytest.mark.parametrize(
    "asked",
    [
        "nothing.csv",
        "units",
        "units.exe",
        "units.parquet",
        "contents.pdf",
        "contents.py",
        ".csv",
        "../run.json",
        "..%2frun.json",
        "%2e%2e/%2e%2e/etc/passwd",
        "units.csv/../../run.json",
        "units%00.csv",
        "//etc/passwd",
        "tables/evaluation.csv",
    ],
)
def test_what_is_no_export_is_not_found(client: FlaskClient, asked: str) -> None:
    answer = client.get(f"/export/{asked}")
    # Addresses that are no download's at all get the page, as any other does.
    page = "react-entry-point" in answer.text
    assert answer.status_code in (404, 308) or page
    assert "root:" not in answer.text and "schema_version" not in answer.text


@pytest.mark.parametrize(
    ("name", "search", "said"),
    [
        ("units", "?detector=..%2f..%2fetc%2fpasswd", "is not known"),
        ("unit-effects", "?unit=99", "is not in this table"),
        ("unit-effects", f"?unit={quote('__import__(1)')}", "is not in this table"),
        ("transfer", "?layer=..%2f..", "is not known"),
        ("spectra", "?dataset=%3Cscript%3E", "is not known"),
        ("depth", "?measure=nothing", "is not known"),
        ("ablation", f"?detector={DETECTORS[1]}", "Nothing was taken out"),
        ("units", f"?detector={'x' * 300}", "at most"),
    ],
)
def test_a_wrong_selection_is_refused_in_words(
    client: FlaskClient, name: str, search: str, said: str
) -> None:
    for suffix in CARDS[name].suffixes:
        answer = client.get(f"/export/{name}{suffix}{search}")
        assert answer.status_code == 404 and said in answer.text
        assert answer.mimetype == "text/plain" and "Traceback" not in answer.text


def test_files_are_named_by_what_was_chosen(client: FlaskClient) -> None:
    search = f"?detector={LABEL}&unit=3"
    header = client.get(f"/export/unit-effects.csv{search}").headers["Content-Disposition"]
    assert header == 'attachment; filename="unit-effects-meso4-base-3.csv"'
    nasty = Selection(detector='a"; b\r\n/../é', unit="." * 200)
    name = file_name("x", ("detector", "unit"), nasty, ".csv")
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,120}\.csv", name)


def test_names_of_a_run_cannot_become_code(own: MadeRun) -> None:
    manifest = json.loads((own.root / "run.json").read_text())
    evil = "x'); evil('"
    manifest["command"] = "probe demo\nimport os\nos.remove('x')"
    manifest["detectors"] = [evil]
    own.folder.write_manifest({k: v for k, v in manifest.items() if k != "schema_version"})
    shutil.copytree(own.folder.path("universality", LABEL), own.folder.path("universality", evil))
    text = script(Run(own.folder), COUNTS, At(Run(own.folder), Selection()))
    calls = [node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    names = {getattr(one, "id", getattr(one, "attr", "")) for one in calls}
    assert "evil" not in names and "remove" not in names and "open_run" in names


def test_the_run_is_only_read(client: FlaskClient, made: MadeRun) -> None:
    def state() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in made.root.rglob("*")}

    before = state()
    for suffix in (".csv", ".tex", ".pdf", ".py"):
        get(client, "units", suffix)
    assert state() == before


def test_a_long_table_is_no_latex(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pd.DataFrame({"a": np.arange(LONGEST + 1), "b": 0})
    fake: Any = CARDS["datasets"]
    monkeypatch.setattr(type(fake), "table", lambda self, at: rows)
    answer = client.get("/export/datasets.tex")
    assert answer.status_code == 404 and "Download the CSV" in answer.text
    assert len(exported(client, "datasets")) == LONGEST + 1


def test_an_older_run_says_what_it_lacks(own: MadeRun) -> None:
    shutil.rmtree(own.folder.path("separability", LABEL))
    answer = client_of(own.root).get("/export/transfer.pdf")
    assert answer.status_code == 404 and "holds no separability report" in answer.text
