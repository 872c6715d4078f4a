"""What every card has to do, whatever it shows: drawn, exported, refused, and said why."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest
from dash.development.base_component import Component
from flask.testing import FlaskClient
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from plotly.utils import PlotlyJSONEncoder

from app.card import At, Card, declared, layout, render
from app.pages import CARDS, PAGES
from app.run import Run
from app.selection import Selection
from probe.run import TABLES, RunFolder
from tests.app.calling import answer_of
from tests.app.conftest import client_of
from tests.app.making import DETECTORS, MadeRun
from tests.app.needing import needed

#: Its script leaves the maps themselves, and the page's table what is known of them.
PIXELS = "attribution-maps"

#: Cards that are there only to say what the run lacks.
LACKING = {"no-artifacts", "no-responses", "no-doses"}
SHOWN = [name for name in CARDS if name not in LACKING]

#: A choice of every kind, hostile or absurd; none of these is in the run.
ODD = ("nope", "<script>1</script>", "../../etc/passwd", "9" * 30, "-1", "a,b,,", "%00", "ü" * 150)


@pytest.fixture(scope="module")
def whole(made: MadeRun, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run that has all that any card may show, and what has to be selected for it."""
    with needed(made, tmp_path_factory.mktemp("whole")) as found:
        yield found


@pytest.fixture(scope="module")
def client(whole: Any) -> FlaskClient:
    return client_of(whole.root, others=whole.others)


def parts(content: Any) -> list[Any]:
    """All components of a content, from the outside in."""
    if isinstance(content, list | tuple):
        return [one for part in content for one in parts(part)]
    if not isinstance(content, Component):
        return []
    inside = getattr(content, "children", None)
    tree = getattr(content, "tree", None)
    return [content, *parts(inside), *_of_tree(tree)]


def _of_tree(tree: Any) -> list[Any]:
    if isinstance(tree, list):
        return [one for part in tree for one in _of_tree(part)]
    return [tree, *_of_tree(tree["props"].get("children"))] if isinstance(tree, dict) else []


def message(content: Any) -> str:
    """What is said in place of a card's content; empty where it has one."""
    for one in parts(content):
        if getattr(one, "className", "") == "message":
            return json.dumps(one, cls=PlotlyJSONEncoder, ensure_ascii=False)
    return ""


def drawn(card: Card, run: Run, search: str = "", scheme: str = "light") -> Any:
    return render(card, run, {"search": search, "scheme": scheme})


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_card_shows_what_a_whole_run_has(name: str, scheme: str, whole: Any) -> None:
    content = drawn(CARDS[name], whole.run, whole.search.get(name, ""), scheme)
    assert message(content) == ""
    assert len(json.dumps(content, cls=PlotlyJSONEncoder)) > 200
    for one in parts(content):
        if getattr(one, "figure", None):
            # plotly's own figure refuses what is no property.
            assert go.Figure(one.figure).data or name == "embedding"  # drawn by the part in view
            assert (
                one.figure["layout"]["font"]["color"]
                == At(whole.run, Selection(), scheme).theme.ink
            )


@pytest.mark.parametrize("name", CARDS)
def test_ids_and_labels(name: str, whole: Any) -> None:
    card = CARDS[name]
    assert re.fullmatch(r"[a-z][a-z0-9-]*", card.id) and card.id == name
    known = {field.name for field in fields(Selection)} | {"scheme"}
    assert set(card.fields) <= known and set(card.about) <= known
    assert card.title or not card.is_framed
    assert not card.figure or card.body or card.job or card.label
    for one in parts(drawn(card, whole.run, whole.search.get(name, ""))):
        # Images say what they show.
        assert type(one).__name__ != "Img" or one.alt is not None


@pytest.mark.parametrize(
    "name, suffix", [(name, suffix) for name, one in CARDS.items() for suffix in one.suffixes]
)
def test_a_card_is_exported(
    name: str, suffix: str, client: FlaskClient, whole: Any, tmp_path: Path
) -> None:
    answer = client.get(f"/export/{name}{suffix}{whole.search.get(name, '')}")
    assert answer.status_code == 200, answer.text[:500]
    kept = answer.headers.get("Content-Disposition", "")
    assert suffix == ".py" or re.search(rf'filename="{name}[\w.-]*\{suffix}"', kept)
    file = tmp_path / f"file{suffix}"
    file.write_bytes(answer.data)
    if suffix == ".csv":
        assert len(pd.read_csv(file).columns) > 1
    elif suffix == ".png":
        with Image.open(file) as image:
            assert min(image.size) > 200 and len(image.convert("L").getcolors()) > 3
    else:
        start = {".pdf": b"%PDF", ".svg": b"<?xml", ".tex": b"%", ".py": b"# The run"}[suffix]
        assert answer.data.startswith(start)


@pytest.mark.parametrize("name", [name for name, one in CARDS.items() if ".pdf" in one.suffixes])
def test_a_figure_for_print_is_within_its_size(name: str, whole: Any) -> None:
    """Nothing is cut off where matplotlib saves it, and none is wider than it says."""
    card = CARDS[name]
    assert card.call is not None
    at = At(whole.run, Selection.parse(whole.search.get(name, "")))
    figure = card.call(at).print()
    FigureCanvasAgg(figure).draw()  # which lays it out
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) > -0.01, (box, width, height)


#: Runs every script in a folder of its own, in one process.
DRIVER = """
import json, os, pathlib, sys
root = os.getcwd()
for name, code in json.load(sys.stdin).items():
    pathlib.Path(root, name).mkdir()
    os.chdir(pathlib.Path(root, name))
    exec(compile(code, name, "exec"), {})
"""


def test_scripts_give_what_the_menu_gives(client: FlaskClient, whole: Any, tmp_path: Path) -> None:
    codes, tables = {}, {}
    for name, card in CARDS.items():
        search = whole.search.get(name, "")
        # A job's script computes anew what the job found.
        if ".py" in card.suffixes and not card.job and name != PIXELS:
            codes[name] = client.get(f"/export/{name}.py{search}").text
            tables[name] = client.get(f"/export/{name}.csv{search}").text
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(codes),
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name, text in tables.items():
        assert (tmp_path / name / f"{name}.csv").read_text() == text, name
        assert CARDS[name].figure is None or (tmp_path / name / f"{name}.pdf").stat().st_size > 3000


@pytest.mark.parametrize("name", CARDS)
def test_an_absurd_address_is_an_answer(name: str, whole: Any) -> None:
    card = CARDS[name]
    for field in card.fields:
        for odd in ODD:
            content = (
                drawn(card, whole.run, Selection().but(**{field: odd}).search)
                if field != "scheme"
                else drawn(card, whole.run, "", odd)
            )
            json.dumps(content, cls=PlotlyJSONEncoder)
            # Given text is shown as text; these are the parts that would run it.
            for one in parts(content):
                assert not getattr(one, "dangerously_allow_html", False)
                assert not getattr(one, "srcDoc", "")
    for key in (None, [], "x", {"search": 3, "scheme": []}, {"search": "?" + "a=1&" * 200}):
        json.dumps(render(card, whole.run, key), cls=PlotlyJSONEncoder)


@pytest.mark.parametrize("name", CARDS)
def test_without_tables_a_card_says_what_to_do(name: str, whole: Any, tmp_path: Path) -> None:
    """Only the manifest is there: content that needs no table, or a message with a command."""
    folder = RunFolder(tmp_path / "run")
    folder.root.mkdir()
    shutil.copy(whole.root / "run.json", folder.root)
    said = message(drawn(CARDS[name], Run(folder), whole.search.get(name, "")))
    assert not said or "message-title" in said
    nothing = RunFolder(tmp_path / "nothing")
    nothing.root.mkdir()
    json.dumps(drawn(CARDS[name], Run(nothing)), cls=PlotlyJSONEncoder)


@pytest.mark.parametrize("table", TABLES)
def test_a_damaged_table_takes_away_its_own_cards(table: str, whole: Any, tmp_path: Path) -> None:
    """Of a table that is cut off nothing is shown, and everything else still is."""
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(whole.root, folder.root, symlinks=False)
    kind = TABLES[table]
    by = {
        "detector": DETECTORS[0],
        "method": "gradcam",
        "architecture": "meso4",
        "mode": "corrected",
    }
    place = folder.path(table, *(by[one] for one in kind.by))
    chunks = sorted(one for one in place.rglob("*") if one.is_file() and one.name != "zarr.json")
    for one in chunks:
        one.write_bytes(one.read_bytes()[: one.stat().st_size // 2])
    run = Run(folder, whole.run.others)
    shown = {
        name: message(drawn(card, run, whole.search.get(name, ""))) for name, card in CARDS.items()
    }
    assert any(shown.values()) or table in whole.unshown
    for name, said in ((name, shown[name]) for name in SHOWN):
        assert not said or "damaged" in said or "not computed" in said.lower() or "lacks" in said, (
            name
        )


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_laid_out(path: str, whole: Any) -> None:
    page = PAGES[path]
    at = At(whole.run, Selection())
    found = parts(layout(page, at))
    named = [json.dumps(one.id, sort_keys=True) for one in found if getattr(one, "id", None)]
    assert len(named) == len(set(named))
    told = declared(page, at)
    json.dumps(told)
    assert set(told["cards"]) == {card.id for card in page.cards}
    for one in found:
        id = getattr(one, "id", None)
        if isinstance(id, dict) and id.get("part") == "control":
            assert id["field"] in told["controls"]
            # What can be chosen has a name for those who do not see it.
            assert getattr(one, "label", None) or getattr(one, "aria-label", None)
    other = At(whole.run, Selection(detector="nope"))
    assert message(layout(page, other)) or "detector" not in page.fields


def test_the_server_draws_cards_that_there_are_and_no_others(client: FlaskClient) -> None:
    name = next(iter(CARDS))
    found = answer_of(client, name, {"search": "", "scheme": "dark"})
    assert found.status_code == 200 and len(found.data) > 300
    for forged in ("nope", "../x", 3, None, {"a": 1}):
        answer = answer_of(client, forged, {"search": "", "scheme": "dark"})
        assert answer.status_code in (200, 204, 400) and b"Traceback" not in answer.data
    assert answer_of(client, name, {"search": {"a": []}, "scheme": 4}).status_code == 200
