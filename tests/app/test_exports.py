"""What cards leave to take away: every file of every export, the code, and what is refused."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from app.queries.taken import taken_task
from flask.testing import FlaskClient
from PIL import Image

from app import ids
from app.components.shell import PAGES
from app.downloads import LONGEST, file_name
from app.exports import (
    EXPORTS,
    Export,
    artifacts,
    attribution,
    compare,
    neurons,
    overview,
    sample,
)
from app.exports.script import script
from app.run import Run
from app.selection import Selection
from probe.datasets.audit import AuditReport, Finding
from probe.run import RunFolder
from tests.app.calling import call, exported
from tests.app.conftest import client_of
from tests.app.drawing import ARTIFACTS
from tests.app.faking import fake_jobs
from tests.app.making import DATASETS, DETECTORS, UNITS, MadeRun
from tests.app.scoring import card_weights
from tests.app.test_taken import drawn_ablation

LABEL = DETECTORS[0]
#: What has to be selected for what is not there at once.
NEEDS = {
    "matrix-against": f"?against={quote(DETECTORS[1], safe='')}",
    "taken-out": "?units=1,3",
}
FIGURES = [name for name, one in EXPORTS.items() if one.figure]
CODES = [name for name, one in EXPORTS.items() if one.code]
#: Its code computes anew what a job found, which takes a detector's weights.
TOLD = [name for name in CODES if name != "taken-out"]
#: Its script leaves the maps themselves, and the page's table what is known of them.
PIXELS = "attribution-maps"

#: Whose exports the cards of a page offer.
MODULES = {
    "/": [overview],
    "/neurons": [neurons],
    "/artifacts": [artifacts],
    "/attribution": [attribution],
    "/compare": [compare],
    "/sample": [sample],
}
#: What is offered only where there are several runs, after a choice, or beside a result.
LATER = {"runs", "matrix-against", "attribution-trust", "taken-out"}

#: Runs every script in a folder of its own.
DRIVER = """
import json, os, pathlib, sys
root = os.getcwd()
for name, code in json.load(sys.stdin).items():
    pathlib.Path(root, name).mkdir()
    os.chdir(pathlib.Path(root, name))
    exec(compile(code, name, "exec"), {})
"""


@pytest.fixture(scope="module")
def client(made: MadeRun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """A client of the drawn run with an audit, weights, and a set that a job took out."""
    root = tmp_path_factory.mktemp("whole") / "run"
    root.mkdir()
    for part in made.root.iterdir():
        (root / part.name).symlink_to(part)
    card_weights(root, *DETECTORS)
    found = (Finding("label-balance", "note", "beta", "Half are fakes."),)
    AuditReport(("alpha/test",), 48, found).save(root / "audit.json")
    jobs = fake_jobs(tmp_path_factory.mktemp("jobs"))
    task = taken_task(Run(RunFolder(root.resolve())), Selection(units="1,3"))
    drawn_ablation([1, 3]).save(jobs.job(task.fingerprint).result / "ablation.zarr")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.exports.taken.jobs_of", lambda run: jobs)
        yield client_of(root)


def get(client: FlaskClient, name: str, suffix: str, search: str = "") -> bytes:
    answer = client.get(f"/export/{name}{suffix}{search or NEEDS.get(name, '')}")
    assert answer.status_code == 200, answer.text[:500]
    assert answer.headers["Content-Security-Policy"]
    return bytes(answer.data)


@pytest.mark.parametrize("name", EXPORTS)
def test_every_table_is_had_as_csv_and_latex(client: FlaskClient, name: str) -> None:
    frame = exported(client, name, NEEDS.get(name, ""))
    assert (
        len(frame) and len(frame.columns) > 1 and not frame.columns.str.startswith("Unnamed").any()
    )
    text = get(client, name, ".tex").decode()
    first, rest = text.split("\n", 1)
    assert first.startswith("% {") and json.loads(first[2:])["run"] == "A drawn run"
    assert r"\toprule" in rest and rest.count(r"\\") >= len(frame) + 1


def test_every_figure_is_had_as_python() -> None:
    assert [name for name in FIGURES if name not in CODES] == []


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_had_for_print(client: FlaskClient, name: str) -> None:
    pdf = get(client, name, ".pdf")
    assert pdf.startswith(b"%PDF") and len(pdf) > 5000
    # Text stays text, in fonts that are embedded.
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf and b"probe demo --out" in pdf
    width, height = map(float, re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf)[0])
    # No side is wider than a page of a paper.
    assert 36 < width < 7.5 * 72 and 36 < height < 9.5 * 72


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_had_as_pixels(client: FlaskClient, name: str) -> None:
    image = Image.open(BytesIO(get(client, name, ".png")))
    assert np.allclose(image.info["dpi"], 300, atol=0.01) and min(image.size) > 200
    known = json.loads(image.info["Provenance"])
    assert known["command"] == "probe demo --out somewhere" and "matplotlib" in known["versions"]
    assert np.asarray(image.convert("L")).std() > 5
    assert b"<svg" in get(client, name, ".svg")[:2000]


def test_an_svg_brings_its_fonts(client: FlaskClient) -> None:
    text = get(client, "dose-response", ".svg").decode()
    assert "@font-face" in text and "<text" in text and "probe demo --out somewhere" in text


def execute(client: FlaskClient, folder: Path, *, draw: bool) -> Path:
    """Execute the script of every export, each in a folder of its name; as far as its table."""
    codes = {name: get(client, name, ".py").decode() for name in TOLD}
    if not draw:
        codes = {
            name: re.sub(r"(?m)(^table\.to_csv.*$)(?s:.*)", r"\1", code)
            for name, code in codes.items()
        }
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(codes),
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""},
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture(scope="module")
def executed(client: FlaskClient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the scripts left their tables."""
    return execute(client, tmp_path_factory.mktemp("scripts"), draw=False)


@pytest.fixture(scope="module")
def drawn(client: FlaskClient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the scripts left their figures."""
    return execute(client, tmp_path_factory.mktemp("drawn"), draw=True)


@pytest.mark.parametrize("name", [name for name in TOLD if name != PIXELS])
def test_the_code_gives_the_same_table(client: FlaskClient, executed: Path, name: str) -> None:
    (table,) = (executed / name).glob("*.csv")
    found, wanted = pd.read_csv(table), exported(client, name, NEEDS.get(name, ""))
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TOLD if EXPORTS[name].figure])
def test_the_code_gives_the_same_figure(client: FlaskClient, drawn: Path, name: str) -> None:
    (file,) = (drawn / name).glob("*.pdf")
    assert streams(get(client, name, ".pdf")) == streams(file.read_bytes())


def test_the_code_of_what_a_job_found_computes_it(client: FlaskClient) -> None:
    code = get(client, "taken-out", ".py").decode()
    assert "units = [1, 3]" in code
    compile(code, "taken-out", "exec")


def streams(pdf: bytes) -> list[bytes]:
    """What is drawn on the page, and its fonts: all but what the file says of itself."""
    found = re.findall(rb"stream\r?\n(.*?)\nendstream", pdf, re.DOTALL)
    assert len(found) > 2
    return found


def test_the_selection_of_the_page_is_what_is_exported(client: FlaskClient, made: MadeRun) -> None:
    table = made.tables[DETECTORS[1]].data
    search = f"?detector={DETECTORS[1]}&unit=7&dataset=beta"
    effects = exported(client, "neuron-effects", search)
    assert np.allclose(effects["effect"], table["effect"].sel(unit=7))
    doses = exported(client, "dose-response", search).set_index(["dataset", "dose"])
    assert np.allclose(doses["response"].values, table["response"].sel(unit=7).values.ravel())
    code = get(client, "neuron-effects", ".py", search).decode()
    assert f"run.neurons({DETECTORS[1]!r})" in code and "unit == 7" in code
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
        ("neuron-effects", "?unit=99", "is not in this table"),
        ("neuron-effects", "?unit=__import__('os')", "is not in this table"),
        ("transfer", "?layer=..%2f..", "is not known"),
        ("spectra", "?dataset=%3Cscript%3E", "is not known"),
        ("depth", "?measure=nothing", "is not known"),
        ("ablation", f"?detector={DETECTORS[1]}", "No set of units was taken out"),
        ("doses", f"?detector={DETECTORS[1]}", "No artifact was turned up"),
        ("units", f"?detector={'x' * 300}", "at most"),
    ],
)
def test_a_wrong_selection_is_refused_in_words(
    client: FlaskClient, name: str, search: str, said: str
) -> None:
    for suffix in (".csv", *((".pdf", ".py") if EXPORTS[name].figure else ())):
        answer = client.get(f"/export/{name}{suffix}{search}")
        assert answer.status_code == 404 and said in answer.text
        assert answer.mimetype == "text/plain" and "Traceback" not in answer.text


def test_files_are_named_by_what_was_chosen(client: FlaskClient) -> None:
    search = f"?detector={LABEL}&unit=3"
    header = client.get(f"/export/neuron-effects.csv{search}").headers["Content-Disposition"]
    assert header == 'attachment; filename="neuron-effects-meso4-base-3.csv"'
    nasty = Selection(detector='a"; b\r\n/../é', unit="." * 200)
    name = file_name(
        "x", Export(lambda run, chosen: pd.DataFrame(), about=("detector", "unit")), nasty, ".csv"
    )
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,120}\.csv", name)


def test_names_of_a_run_cannot_become_code(own: MadeRun) -> None:
    manifest = json.loads((own.root / "run.json").read_text())
    manifest["command"] = "probe demo\nimport os\nos.remove('x')"
    own.folder.write_manifest({k: v for k, v in manifest.items() if k != "schema_version"})
    text = script(Run(own.folder), "x'); evil('", ["from probe import NeuronTable"], ["table = 1"])
    called = {node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)}
    assert len(called) == 3 and "evil" not in {getattr(f, "id", "") for f in called}


def test_the_run_is_only_read(client: FlaskClient, made: MadeRun) -> None:
    def state() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in made.root.rglob("*")}

    before = state()
    for suffix in (".csv", ".tex", ".pdf", ".py"):
        get(client, "units", suffix)
    assert state() == before


def test_a_long_table_is_no_latex(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pd.DataFrame({"a": np.arange(LONGEST + 1), "b": 0})
    monkeypatch.setitem(EXPORTS, "long", Export(lambda run, chosen: rows))
    answer = client.get("/export/long.tex")
    assert answer.status_code == 404 and "Download the CSV" in answer.text
    assert len(exported(client, "long")) == LONGEST + 1


def test_an_older_run_says_what_it_lacks(own: MadeRun) -> None:
    import shutil

    shutil.rmtree(own.folder.path("separability", LABEL))
    answer = client_of(own.root).get("/export/transfer.pdf")
    assert answer.status_code == 404 and "holds no separability report" in answer.text


def cards(part: Any) -> Iterator[Any]:
    """Every card of a layout, as it is sent."""
    if isinstance(part, list):
        for one in part:
            yield from cards(one)
    elif isinstance(part, dict) and "props" in part:
        named = str(part["props"].get("className", "")).split()
        if "card" in named:
            yield part
        yield from cards(part["props"].get("children"))


@pytest.mark.parametrize("path", PAGES)
def test_every_card_with_a_figure_or_a_table_has_a_menu(client: FlaskClient, path: str) -> None:
    values = {f"{ids.PAGE}.children": None, f"{ids.URL}.pathname": path, f"{ids.URL}.search": ""}
    answer = call(client, f"{ids.PAGE}.children", values)
    found = list(cards(answer["response"][ids.PAGE]["children"]))
    assert len(found) > 3
    named = set()
    for card in found:
        text = json.dumps(card)
        menus = re.findall(r'"data-menu": "([a-z-]+)"', text)
        named.update(menus)
        if any(f'"type": "{kind}"' in text for kind in ("Graph", "Table", "AgGrid")):
            title = card["props"]["children"][0]["props"]["children"][0]
            assert menus, json.dumps(title)[:300]
    wanted = {name for module in MODULES[path] for name in module.EXPORTS} - LATER
    assert wanted <= named <= set(EXPORTS)
