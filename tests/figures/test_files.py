from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from probe.errors import ProbeError, UnknownNameError
from probe.neurons import Universality
from probe.plots import (
    FORMATS,
    STYLES,
    caption_draft,
    maps_figure,
    plot_counts,
    provenance_of,
    save_figure,
    versions,
    write_figure,
)
from probe.plots.text import shortened
from tests.figures.making import images_of, maps_of, masks_of

POPPLER = pytest.mark.skipif(
    shutil.which("pdffonts") is None, reason="poppler-utils is not installed"
)
COMMAND = "probe figures größe.zarr --out a"


def drawn(**options: object) -> Figure:
    return maps_figure(maps_of(2), images_of(2), masks_of(2), kind="overlay", **options)


def written(folder: Path, suffix: str) -> str:
    """Write a figure; return the hash of its bytes and of its sidecar's."""
    place = save_figure(drawn(), folder / f"a{suffix}", 100, provenance_of(maps_of(2), COMMAND))
    content = place.read_bytes() + place.with_suffix(".json").read_bytes()
    return hashlib.sha256(content).hexdigest()


def test_the_same_input_makes_the_same_bytes_also_in_another_process(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from tests.figures.test_files import *; "
        "print(*[written(pathlib.Path(sys.argv[1]), suffix) for suffix in FORMATS])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "other")],
        capture_output=True,
        text=True,
        check=True,
    )
    for suffix, elsewhere in zip(FORMATS, done.stdout.split(), strict=True):
        first = written(tmp_path / "first", suffix)
        assert first == written(tmp_path / "second", suffix) == elsewhere


def test_nothing_in_the_files_says_when_or_where(tmp_path: Path) -> None:
    for suffix in FORMATS:
        written(tmp_path, suffix)
    for place in tmp_path.iterdir():
        content = place.read_bytes()
        assert str(tmp_path).encode() not in content and b"CreationDate" not in content
        assert b"dc:date" not in content


def run(*words: str | Path) -> str:
    return subprocess.run([*map(str, words)], capture_output=True, text=True, check=True).stdout


@POPPLER
@pytest.mark.parametrize("style", STYLES)
def test_fonts_are_embedded_and_text_is_text(style: str, tmp_path: Path) -> None:
    place = save_figure(drawn(style=style), tmp_path / "a.pdf")
    fonts = run("pdffonts", place).splitlines()[2:]
    assert fonts
    for line in fonts:
        words = line.split()
        # name, type (two words), encoding, embedded, subset, uni
        assert words[1:3] == ["CID", "TrueType"] and words[4:6] == ["yes", "yes"], line
        assert STYLES[style].font.replace(" ", "") in words[0] or "DejaVuSans" in words[0]
    text = " ".join(run("pdftotext", "-layout", place, "-").split())
    for wanted in ("faceswap", "logit −2.0", "real", "towards fake →", "one scale for all maps"):
        assert wanted in text
    assert "Type 3" not in "".join(fonts)


def test_text_in_svg_is_text_of_a_named_family(tmp_path: Path) -> None:
    text = save_figure(drawn(style="acm"), tmp_path / "a.svg").read_text(encoding="utf-8")
    assert ">faceswap</text>" in text and "font-family:'STIXGeneral'" in text
    code = text.split("font-family:'STIXGeneral';src:url(data:font/ttf;base64,")[1].split(")")[0]
    font = TTFont(io.BytesIO(base64.b64decode(code)))
    assert set("faceswap −→·") <= {chr(letter) for letter in font.getBestCmap()}
    assert ord("Q") not in font.getBestCmap()


def test_a_letter_that_a_font_lacks_is_embedded_from_the_other(tmp_path: Path) -> None:
    figure = maps_figure(maps_of(1, title="⁻¹"), style="acm")
    text = save_figure(figure, tmp_path / "a.svg").read_text(encoding="utf-8")
    code = text.split("font-family:'DejaVu Sans';src:url(data:font/ttf;base64,")[1].split(")")[0]
    font = TTFont(io.BytesIO(base64.b64decode(code)))
    assert set(font.getBestCmap()) == {ord("⁻")}


def test_what_a_figure_is_made_of_is_in_it_and_beside_it(tmp_path: Path) -> None:
    known = provenance_of({"m": maps_of(2)}, COMMAND, figure="overlay")
    for suffix in FORMATS:
        save_figure(drawn(), tmp_path / f"a{suffix}", 120, known)
    beside = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert beside["command"] == COMMAND and beside["figure"] == "overlay"
    assert beside["maps"]["m"]["detectors"] == {"meso4": "weights of meso4"}
    assert beside["maps"]["m"]["options"] == {"steps": 8} and beside["dpi"] == 120
    assert beside["versions"] == versions() and "matplotlib" in beside["versions"]
    assert beside["size_inches"][0] == 3.5
    with Image.open(tmp_path / "a.png") as image:
        assert json.loads(image.info["Provenance"]) == beside
        assert image.info["Title"] == "Attribution: m"
    inside = (tmp_path / "a.svg").read_text(encoding="utf-8")
    found = inside.split("<dc:description>")[1].split("</dc:description>")[0]
    assert json.loads(found.replace("&quot;", '"')) == beside


@POPPLER
def test_a_pdf_says_what_it_is_made_of(tmp_path: Path) -> None:
    place = save_figure(drawn(), tmp_path / "a.pdf", 300, provenance_of(maps_of(2), COMMAND))
    lines = dict(line.split(":", 1) for line in run("pdfinfo", place).splitlines())
    assert lines["Title"].strip() == "Attribution: Grad-CAM"
    assert json.loads(lines["Keywords"]) == json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert "CreationDate" not in lines and lines["Creator"].strip().startswith("probe ")


def test_without_provenance_there_is_no_sidecar(tmp_path: Path) -> None:
    save_figure(drawn(), tmp_path / "a.png", 50)
    assert [place.name for place in tmp_path.iterdir()] == ["a.png"]


def test_other_figures_are_still_cut_to_their_content(tmp_path: Path) -> None:
    import numpy as np
    import xarray as xr

    data = xr.Dataset(
        {
            "observed": ("count", [3, 1]),
            "independence": ("count", [2.0, 1.0]),
            "independence_low": ("count", [1.0, 0.0]),
            "independence_high": ("count", [3.0, 2.0]),
            "untrained": (("draw", "count"), np.ones((2, 2))),
        },
        coords={"count": [1, 2]},
        attrs={"top": 0.1},
    )
    figure = plot_counts(Universality(data))
    with Image.open(save_figure(figure, tmp_path / "a.png", 100)) as image:
        assert image.width != 350


def test_what_cannot_be_written_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"format '.jpg' is not known"):
        save_figure(drawn(), tmp_path / "a.jpg")
    (tmp_path / "file").write_text("")
    with pytest.raises(ProbeError, match="cannot be written .* Choose a folder"):
        save_figure(drawn(), tmp_path / "file" / "a.png")
    (tmp_path / "a.json").write_text('{"title": "mine"}')
    with pytest.raises(ProbeError, match="was not written with a figure"):
        save_figure(drawn(), tmp_path / "a.png", provenance={"command": ""})
    assert (tmp_path / "a.json").read_text() == '{"title": "mine"}'
    assert sorted(place.name for place in tmp_path.iterdir()) == ["a.json", "file"]


def test_an_edited_snippet_is_kept(tmp_path: Path) -> None:
    found = maps_of(2)
    options = {"provenance": provenance_of(found), "caption": caption_draft(found), "dpi": 50}
    places = write_figure(drawn(), tmp_path / "fig.1", (".png",), **options)
    assert [place.name for place in places] == ["fig.1.png", "fig.1.json", "fig.1.tex"]
    draft = places[-1].read_text(encoding="utf-8")
    assert draft.startswith("% Drafted by probe.")
    assert write_figure(drawn(), tmp_path / "fig.1.png", (".png",), **options) == places
    mine = draft.partition("\n")[2].replace("Attribution", "My own words on attribution")
    places[-1].write_text(mine, encoding="utf-8")
    again = write_figure(drawn(), tmp_path / "fig.1", (".png",), **options)
    assert again == places[:-1] and places[-1].read_text(encoding="utf-8") == mine


def named(columns: list[str], rows: list[str], width: float = 3.4) -> Figure:
    """A table of cells as figures of findings draw it."""
    figure = Figure(figsize=(width, 2.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(np.zeros((len(rows), len(columns))), aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_title(f"of {columns[0][:8]}")
    return figure


def written_on(figure: Figure) -> list[str]:
    axes = figure.axes[0]
    return [one.get_text() for one in (*axes.get_xticklabels(), *axes.get_yticklabels())]


@pytest.mark.filterwarnings("error")
def test_letters_that_no_font_has_are_written_in_latin_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = named(["臉譜", "данные"], ["meso4/base"])
    save_figure(figure, tmp_path / "one.pdf", provenance={"title": "one"})
    assert written_on(figure) == ["LianPu", "данные", "meso4/base"]
    assert figure.axes[0].get_title() == "of LianPu"
    said = capsys.readouterr().err
    assert "'臉譜'" in said and "Noto Sans CJK" in said and "данные" not in said
    kept = json.loads((tmp_path / "one.json").read_text(encoding="utf-8"))
    assert kept["written_as"] == {"臉譜": "LianPu", "of 臉譜": "of LianPu"}


def test_an_installed_font_that_has_the_letters_draws_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fontTools.fontBuilder import FontBuilder
    from fontTools.ttLib.tables._g_l_y_f import Glyph
    from matplotlib import font_manager

    from probe.plots import text

    build = FontBuilder(1000, isTTF=True)
    build.setupGlyphOrder([".notdef", "face"])
    build.setupCharacterMap({ord("臉"): "face"})
    build.setupGlyf({".notdef": Glyph(), "face": Glyph()})
    build.setupHorizontalMetrics({".notdef": (500, 0), "face": (1000, 0)})
    build.setupHorizontalHeader(ascent=800, descent=-200)
    build.setupNameTable({"familyName": "One Letter", "styleName": "Regular"})
    build.setupOS2()
    build.setupPost()
    build.save(tmp_path / "one.ttf")
    fonts = font_manager.fontManager
    monkeypatch.setattr(fonts, "ttflist", list(fonts.ttflist))
    monkeypatch.setattr(text, "_installed", text._installed.__wrapped__)
    fonts.addfont(tmp_path / "one.ttf")
    figure = named(["臉", "b"], ["c"])
    assert text.legible(figure) == {}
    assert written_on(figure) == ["臉", "b", "c"]
    assert figure.axes[0].get_xticklabels()[0].get_fontfamily()[-1] == "One Letter"


def test_long_names_do_not_widen_a_figure(tmp_path: Path) -> None:
    long = ["interviews-of-the-spring-recorded-at-home", "interviews-of-the-fall-recorded-at-home"]
    figure = named(long, ["timm:convnext_tiny.fb_in22k_ft_in1k_384/base"])
    save_figure(figure, tmp_path / "one.png", dpi=100, provenance={})
    with Image.open(tmp_path / "one.png") as image:
        assert image.width <= 100 * (3.4 + 0.1)
    kept = json.loads((tmp_path / "one.json").read_text(encoding="utf-8"))["written_as"]
    assert set(long) < set(kept) and len(set(kept.values())) == 3
    assert written_on(figure)[:2] == [kept[one] for one in long]


def test_names_that_fit_are_left_alone(tmp_path: Path) -> None:
    names = ["celebdf", "a-name-of-thirty-letters-and-1"]
    figure = named(names, ["meso4/base"], width=7.0)
    save_figure(figure, tmp_path / "one.png", provenance={})
    assert written_on(figure) == [*names, "meso4/base"]
    assert "written_as" not in json.loads((tmp_path / "one.json").read_text(encoding="utf-8"))


@given(st.lists(st.text(st.sampled_from("ab-"), max_size=30), unique=True), st.integers(8, 24))
def test_shortened_names_stay_apart(names: list[str], most: int) -> None:
    short = shortened(names, most)
    assert len(set(short)) == len(names)
    assert all(one == name for name, one in zip(names, short, strict=True) if len(name) <= most)
