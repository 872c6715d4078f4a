"""The report of a run: its numbers are the tables', nothing comes from outside, all is named."""

from __future__ import annotations

import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from probe.claims import judge_claims
from probe.datasets.audit import AuditReport, Finding
from probe.errors import ProbeError, StoreError
from probe.joint import joint_tables
from probe.report import document, sections
from probe.report.output import write_report
from probe.report.published import PUBLISHED, beside_published, dataset_of, is_published, why_none
from probe.run import RunFolder
from tests.report.large import make_large
from tests.test_cli import run as probe

DATASETS = ("celebdf", "faceswap", "gamma", "dfd")
#: Names as a hostile file may have them.
SCRIPT, BREAKOUT = "<script>alert(1)</script>", '"><img src=x onerror=alert(2)>'


class Page(HTMLParser):
    """The parts of a page that tests look at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self._in: list[str] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in.append(tag)
        if tag == "caption":
            self._caption, self._rows = "", []
        if tag == "tr":
            self._rows.append([])
        if tag in ("th", "td"):
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._in and self._in.pop() != tag:
            pass
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        if "style" in self._in:
            return
        self.text += data
        if "caption" in self._in:
            self._caption += data
        elif "td" in self._in or "th" in self._in:
            self._rows[-1][-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    def table(self, start: str) -> pd.DataFrame:
        rows = next(rows for caption, rows in self.tables.items() if caption.startswith(start))
        return pd.DataFrame(rows[1:], columns=rows[0])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = make_large(tmp_path_factory.mktemp("report") / "run", ("meso4", "xception"), DATASETS)
    folder.figures.mkdir()
    for name in ("meso4", "xception"):
        noise = np.random.default_rng(0).integers(0, 255, (900, 2100, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder.figures / f"heatmaps-{name}.png")
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made, and not drawn, which takes most of the time."""

    def undrawn(figure: object, alt: str, caption: str) -> document.Picture:
        return document.Picture("data:image/png;base64,", 1, alt, caption)

    monkeypatch.setattr(sections, "drawn", undrawn)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of one architecture on two datasets, without figures."""
    return make_large(tmp_path_factory.mktemp("few") / "run", ("meso4",), ("celebdf", "dfd"))


@pytest.fixture(scope="module")
def text(run: RunFolder) -> str:
    return write_report(run).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_numbers_are_those_of_the_tables(run: RunFolder, page: Page) -> None:
    tables = joint_tables(run)
    shown = page.table("AUROC at home and away").set_index("detector")
    for row in tables["generalization"].query("dataset == 'mean'").to_dict("records"):
        cell = shown.loc[row["detector"], "lost"]
        wanted = f"{row['lost']:.2f} [{row['lost_low']:.2f}, {row['lost_high']:.2f}]"
        assert cell == wanted.replace("-", "−")
    shown = page.table("Universal units").set_index("detector")
    for label, rows in tables["universality"].groupby("detector"):
        assert shown.loc[label, "by test"] == str(int(rows["universal"].iloc[0]))
        assert shown.loc[label, "counted"] == str(int(rows["counted"].iloc[0]))
        untrained = rows.loc[rows["null"] == "untrained", "expected"].iloc[0]
        assert shown.loc[label, "untrained"] == f"{untrained:.1f}"
    assert shown.loc["xception/base", "lost beyond random"] == "–"
    shown = page.table("SSIM of Grad-CAM").set_index(["architecture", "mode"])
    for key, rows in tables["similarity"].groupby(["architecture", "mode"]):
        last = rows.iloc[-1]
        bins = [str(int(last[f"count_{name}"])) for name in ("<.7", ".7-.9", ">=.9")]
        assert list(shown.loc[key, ["< .7", ".7–.9", "≥ .9"]]) == bins
        assert shown.loc[key, "fakes (identities)"].startswith(f"{int(last['n_samples'])} (")


def test_every_claim_has_its_verdict_for_every_detector(run: RunFolder, page: Page) -> None:
    words = " ".join(page.text.split())
    for claim in judge_claims(run):
        assert claim.paper in words and claim.summary().partition(". ")[2] in words
        for line in claim.rule:
            assert " ".join(line.split()) in words
        for one in claim.judgments:
            assert one.sentence[1:] in words
    start = {0: "AUROC at home", 1: "Share that is specific", 2: "Universal units"}
    for i, claim in enumerate(judge_claims(run)):
        shown = page.table(start[i]).set_index("detector")["verdict"]
        assert {k: v.split(maxsplit=1)[1] for k, v in shown.items()} == dict(claim.verdicts)


def test_nothing_is_loaded_from_outside(text: str, page: Page) -> None:
    assert len(text.encode()) < document.LARGEST
    bare = re.sub(r"data:image/[\w+]+;base64,[\w+/=]+", "data:", text)
    assert not re.search(r"https?:|@import|url\(|<script|<link|<iframe|<object", bare)
    assert all(attrs["src"].startswith("data:image/") for attrs in page.of("img"))  # type: ignore[union-attr]
    assert all(attrs["href"].startswith("#") for attrs in page.of("a"))  # type: ignore[union-attr]
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]


def test_it_can_be_read_without_seeing_it(page: Page) -> None:
    assert page.of("html")[0]["lang"] == "en" and len(page.of("h1")) == 1
    images = page.of("img")
    assert len(images) >= 10 and all(len(attrs["alt"] or "") > 30 for attrs in images)
    assert len(page.of("caption")) == len(page.of("table")) >= 8
    assert all(attrs.get("scope") in ("col", "row") for attrs in page.of("th"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"] for attrs in page.of("a")} <= {f"#{name}" for name in ids}


def test_hostile_names_are_text(tmp_path: Path) -> None:
    folder = make_large(tmp_path / "run", ("meso4",), ("celebdf", BREAKOUT, "dfd"))
    manifest = folder.read_manifest() | {"title": SCRIPT, "command": SCRIPT}
    folder.write_manifest({k: v for k, v in manifest.items() if k != "schema_version"})
    (folder.root / "provenance.json").write_text(
        json.dumps({"platform": SCRIPT, "no_ablation": {SCRIPT: BREAKOUT}})
    )
    finding = Finding(SCRIPT, "error", BREAKOUT, SCRIPT)
    AuditReport((BREAKOUT,), 1, (finding,), (), "", {}).save(folder.root / "audit.json")
    text = write_report(folder).read_text(encoding="utf-8")
    found = Page(text)
    assert not found.of("script") and SCRIPT in found.text and BREAKOUT in found.text
    assert all(attrs["src"].startswith("data:image/") for attrs in found.of("img"))  # type: ignore[union-attr]
    assert not [name for _, attrs in found.tags for name in attrs if name.startswith("on")]


@pytest.mark.parametrize(
    "lost",
    [
        {
            "tables/separability": "Probes of layers are not in this run.",
            "tables/artifacts.zarr": "Measurements of images are not in this run.",
            "tables/trust": "Checks of heatmaps are not in this run.",
            "tables/attention": "Region attention is not in this run.",
            "data": "The sample table is not in this run.",
        },
        {
            "tables/ablation": "No ablation for any detector: not computed in this run.",
            "tables/map-similarity": "SSIM of heatmaps of variants is not in this run.",
            "figures": "Figures of heatmaps are not in this run.",
        },
        {
            "tables": "The zero-shot matrix is not in this run.",
            "run.json.none": "The counts of universal units are not in this run.",
            "audit.json": "The audit is not in this run.",
        },
    ],
)
@pytest.mark.usefixtures("quick")
def test_what_is_missing_is_said(few: RunFolder, tmp_path: Path, lost: dict[str, str]) -> None:
    shutil.copytree(few.root, tmp_path / "run")
    (tmp_path / "run/provenance.json").write_text("{}")
    for place in (tmp_path / "run" / name for name in lost):
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    words = " ".join(Page(write_report(tmp_path / "run").read_text(encoding="utf-8")).text.split())
    assert [said for said in lost.values() if said not in words] == []


@pytest.mark.usefixtures("quick")
def test_an_unfinished_run_says_what_is_to_come(few: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(few.root, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    manifest = folder.read_manifest() | {"complete": False, "planned": ["data", "neurons"]}
    folder.write_manifest({k: v for k, v in manifest.items() if k != "schema_version"})
    words = Page(write_report(folder).read_text(encoding="utf-8")).text
    assert "not finished (remaining: neurons)" in words


@pytest.mark.usefixtures("quick")
def test_what_no_detector_can_be_judged_by(few: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(few.root, folder.root)
    for name in ("universality", "neurons", "ablation", "map-similarity", "attention"):
        shutil.rmtree(folder.root / "tables" / name)
    words = " ".join(Page(write_report(folder).read_text(encoding="utf-8")).text.split())
    assert judge_claims(folder)[2].verdict == "cannot be said"
    assert "3. Some neurons contribute universally. ? cannot be said" in words
    assert "Some neurons contribute universally: cannot be said for any detector" in words


@pytest.mark.usefixtures("quick")
def test_what_a_run_left_out_is_said_with_its_reason(few: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(few.root, folder.root)
    shutil.rmtree(folder.root / "tables/separability")
    shutil.rmtree(folder.root / "tables/universality")
    left = [
        {"stage": "neurons", "dataset": "", "detector": "", "why": "two datasets are needed"},
        {"stage": "neurons", "dataset": "dfd", "detector": "", "why": "one class"},
        *(
            {
                "stage": "separability",
                "dataset": "",
                "detector": f"meso4/{v}",
                "why": f"meso4/{v} is constant",
            }
            for v in ("base", "deep")
        ),
    ]
    manifest = folder.read_manifest() | {"left_out": left}
    folder.write_manifest({k: v for k, v in manifest.items() if k != "schema_version"})
    tables = joint_tables(folder)
    assert set(tables["universality"]["reason"]) == {"two datasets are needed"}
    reasons = tables["layers"].set_index("detector")["reason"]
    assert reasons["meso4/base"] == "meso4/base is constant"
    assert reasons["meso4/shallow"] == "not computed in this run"
    words = " ".join(Page(write_report(folder).read_text(encoding="utf-8")).text.split())
    assert "Left out: neurons. Two datasets are needed." in words
    assert "Left out: neurons, dfd. One class." in words
    assert "Left out: separability, meso4/base, meso4/deep. This detector is constant." in words


def test_wide_images_are_made_smaller(text: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (400, 4000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "wide.png")
    found = document.stored(tmp_path / "wide.png", "alt", "caption", most=800)
    assert found is not None and found.source.startswith("data:image/webp;base64,")
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert document.stored(tmp_path / "broken.png", "alt", "caption") is None


def test_a_report_that_would_be_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "LARGEST", 1000)
    with pytest.raises(ProbeError, match="Remove heatmaps"):
        document.render("title", [], [], "foot")


@pytest.mark.usefixtures("quick")
def test_command(few: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe("report", str(few.root), "--out", str(tmp_path / "a.html")) == 0
    assert "a.html" in capsys.readouterr().out and (tmp_path / "a.html").stat().st_size > 10_000
    assert probe("report", str(tmp_path)) == 2
    assert "is not a run: it holds no run.json" in capsys.readouterr().err
    assert probe("report", str(few.root), "--out", str(tmp_path / "a.docx")) == 2
    assert "name it .html" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html"]


def test_pdf_without_a_chromium(
    run: RunFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(document, "BROWSERS", ("chromium",))
    assert probe("report", str(run.root), "--out", str(tmp_path / "a.html"), "--pdf") == 2
    said = capsys.readouterr().err
    assert "No Chromium was found" in said and "Install Chromium" in said
    # It is said before the work, and nothing is written.
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="a stand-in is a shell script")
def test_pdf_by_a_chromium_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = tmp_path / "chromium"
    browser.write_text("#!/bin/sh\necho broken display >&2\nexit 3\n")
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ProbeError, match=r"did not print the report \(broken display\)"):
        document.print_pdf(tmp_path / "a.html", tmp_path / "a.pdf")
    assert not (tmp_path / "a.pdf").exists()


@pytest.mark.browser
@pytest.mark.usefixtures("quick")
@pytest.mark.skipif(not shutil.which("chromium"), reason="no Chromium")
def test_pdf(few: RunFolder, tmp_path: Path) -> None:
    made = write_report(few, tmp_path / "a.html", pdf=True)
    assert made == tmp_path / "a.pdf" and made.read_bytes().startswith(b"%PDF")


@pytest.mark.usefixtures("quick")
def test_a_damaged_file_is_said_and_nothing_is_written(few: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(few.root, folder.root)
    (folder.root / "audit.json").write_text('{"findings": [{}]}')
    with pytest.raises(StoreError, match="audit.json is damaged"):
        write_report(folder)
    (folder.path("universality", "meso4/base") / "zarr.json").write_text("{")
    with pytest.raises(StoreError, match="is damaged"):
        write_report(folder)
    assert not folder.report.exists()


def evaluated(label: str, name: str, value: float = 0.8) -> dict[str, Any]:
    return {
        "detector": label,
        "dataset": name,
        "level": "frame",
        "metric": "auroc",
        "value": value,
        "low": 0.7,
        "high": 0.9,
    }


FF = {"layout": "faceforensics", "compression": "c23"}


def test_published_figures_stand_beside_ours_where_detector_and_data_match() -> None:
    cards = {
        "deepfakes": FF,
        "faceswap": FF | {"compression": "c40"},
        "own": FF,
        "celebdf": {"parts": {"celebdf": {"layout": "celebdf-v2"}}},
    }
    specs = {
        "meso4/x": {"origin": "deepfakebench"},
        "meso4/base": {"origin": "trained"},
        "shallownet/x": {"origin": "deepfakebench"},
    }
    rows = [evaluated(label, name) for label in specs for name in cards]
    found = beside_published(pd.DataFrame(rows), specs, cards)
    assert found[["detector", "dataset", "published"]].to_numpy().tolist() == [
        ["meso4/x", "deepfakes", PUBLISHED["meso4"]["DF"]],
        ["meso4/x", "celebdf", PUBLISHED["meso4"]["Celeb-DF v2"]],
    ]
    assert dataset_of("faceswap", cards) == dataset_of("own", cards) == ""


def test_trained_on_what_theirs_were() -> None:
    names = ["deepfakes", "face2face", "faceswap", "neuraltextures"]
    cards = dict.fromkeys(names, FF)
    spec = {"origin": "trained", "notes": {"trained_on": [{"name": "x", "datasets": names}]}}
    assert is_published(spec, cards)
    spec["notes"] = {"trained_on": [{"name": "x", "datasets": names[:3]}]}
    assert not is_published(spec, cards)
    assert "none of its detectors" in why_none(["vit/x"], {}, names, cards)
    assert "none of these was" in why_none(["meso4/x"], {"meso4/x": spec}, names, cards)
    brought = {"meso4/x": {"origin": "deepfakebench"}}
    assert "none of its datasets" in why_none(["meso4/x"], brought, ["lab"], {})
