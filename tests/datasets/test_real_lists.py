"""Six real families, each ingested from its list by one command, and what the audit says of them.

The lists are read again with `csv`, and file size and sharpness measured again with Pillow and
SciPy. No image, and nothing of an image but numbers, is written or printed.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import laplace
from scipy.stats import rankdata

from probe.datasets import Dataset, open_dataset
from tests.test_cli import run

pytestmark = [pytest.mark.real, pytest.mark.slow]

#: Family: numbers of reals, fakes and groups.
FAMILIES = {
    "dfdc": (3000, 3000, 3000),
    "photoshop": (160, 160, 320),
    "stylegan1": (650, 1097, 1747),
    "pggan": (220, 300, 520),
    "stargan": (220, 300, 284),
    "stable-diffusion": (150, 150, 298),
}

#: What the audit finds, and how severe it is.
FINDINGS = {
    "dfdc": {
        "shared-file": "error",
        "near-duplicate": "error",
        "copies-between-clusters": "warning",
        "unchanged-fake": "note",
    },
    "photoshop": {},
    "stylegan1": {},
    "pggan": {},
    "stargan": {"content-confound": "warning"},
    "stable-diffusion": {
        "metadata-confound": "error",
        "mixed-resolutions": "warning",
        "content-confound": "warning",
    },
}

#: AUROC of file size and of sharpness, fakes counted as higher.
SHORTCUTS = {
    "dfdc": (0.401, 0.402),
    "photoshop": (0.519, 0.514),
    "stylegan1": (0.443, 0.417),
    "pggan": (0.497, 0.596),
    "stargan": (0.126, 0.047),
    "stable-diffusion": (0.219, 0.852),
}


@dataclass(frozen=True)
class Ingested:
    """A family's list, what was printed when it was ingested and audited, and the report."""

    root: Path
    out: Path
    printed: str
    audited: str
    code: int
    report: dict[str, Any]

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        with (self.root / "index.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    @property
    def data(self) -> Dataset:
        return open_dataset(self.out)

    @property
    def files(self) -> list[Path]:
        return [self.root / row["file"] for row in self.rows]

    @property
    def fake(self) -> np.ndarray:
        return np.array([row["label"] == "fake" for row in self.rows])

    def found(self, check: str) -> list[dict[str, Any]]:
        return [one for one in self.report["findings"] if one["check"] == check]

    def measured(self, name: str) -> float:
        (value,) = [one["value"] for one in self.report["measures"] if one["name"] == name]
        return float(value)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


@pytest.fixture(scope="module")
def kept() -> dict[str, Ingested]:
    return {}


@pytest.fixture
def family(
    name: str,
    real_data: Path,
    root: Path,
    kept: dict[str, Ingested],
    capsys: pytest.CaptureFixture[str],
) -> Ingested:
    """As a user does it: one command to ingest, one to audit."""
    if name not in kept:
        source, out, report = real_data / "real-mini" / name, root / name, root / f"{name}.json"
        assert run("ingest", "manifest", source / "index.csv", out, "--name", name) == 0
        printed = capsys.readouterr().out
        code = run("audit", out, "--no-cache", "--json", report)
        audited = capsys.readouterr().out
        kept[name] = Ingested(
            source, out, printed, audited, code, json.loads(report.read_text(encoding="utf-8"))
        )
    return kept[name]


def auroc(fake: np.ndarray, values: np.ndarray) -> float:
    ranks, n = rankdata(values), int(fake.sum())
    return float((ranks[fake].sum() - n * (n + 1) / 2) / (n * (len(fake) - n)))


def sharpness(file: Path) -> float:
    with Image.open(file) as image:
        return float(laplace(np.asarray(image.convert("L"), dtype=float)).var())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_list_is_one_named_dataset_with_its_groups(name: str, family: Ingested) -> None:
    table = family.data.samples.table
    assert set(table["dataset"]) == {name} == {family.data.name}
    assert set(table["method"]) == {"real", name}
    there = {row.path: row for row in table.itertuples(index=False)}
    assert len(there) == len(table) == len(family.rows)
    splits = defaultdict(set)
    for row in family.rows:
        found = there[str(family.root / row["file"])]
        assert found.label == (row["label"] == "fake") and found.identity == row["group"]
        splits[row["group"]].add(found.split)
    assert all(len(of) == 1 for of in splits.values())
    reals, fakes, groups = FAMILIES[name]
    assert Counter(table["label"]) == {0: reals, 1: fakes}
    assert len(splits) == groups == len(set(family.data.samples.clusters))
    shares = table.groupby("label")["split"].value_counts(normalize=True).unstack()
    assert (abs(shares - {"train": 0.7, "val": 0.15, "test": 0.15}) < 0.02).all(axis=None)
    printed = " ".join(family.printed.split())
    assert f"by their {groups:,} identities" in printed and f"Videos of {name} " in printed
    assert "treat videos as independent" not in printed and "Videos of manifest" not in printed


@pytest.mark.parametrize("name", FAMILIES)
def test_the_audit_finds_what_is_there_and_nothing_else(name: str, family: Ingested) -> None:
    found = {one["check"]: one["severity"] for one in family.report["findings"]}
    assert found == FINDINGS[name]
    assert family.code == (3 if "error" in found.values() else 0)
    assert all(check in family.audited for check in found)


@pytest.mark.parametrize("name", FAMILIES)
def test_file_size_and_sharpness_are_those_of_another_program(name: str, family: Ingested) -> None:
    """Sharpness is of another rounding of gray, and mirrors other pixels at the border."""
    size = auroc(family.fake, np.array([file.stat().st_size for file in family.files]))
    sharp = auroc(family.fake, np.array([sharpness(file) for file in family.files]))
    assert (size, sharp) == pytest.approx(SHORTCUTS[name], abs=6e-4)
    assert family.measured("bytes auroc") == pytest.approx(max(size, 1 - size))
    assert family.measured("sharpness auroc") == pytest.approx(max(sharp, 1 - sharp), abs=5e-3)
    said = " ".join(one["message"] for one in family.found("content-confound"))
    for value, word in ((size, "file size"), (sharp, "sharpness")):
        assert (f"{word} with AUROC {max(value, 1 - value):.2f}" in said) == (
            max(value, 1 - value) >= 0.75
        )


@pytest.mark.parametrize("name", ["stable-diffusion"])
def test_the_width_alone_tells_the_label(name: str, family: Ingested) -> None:
    pairs = zip(family.files, family.fake, strict=True)
    widths = {(Image.open(file).width, bool(fake)) for file, fake in pairs}
    assert widths == {(1024, False), (768, True)}
    (found,) = family.found("metadata-confound")
    assert found["examples"][0] == "width"
    assert "width is 1,024 for real and 768 for fake" in found["message"]


@pytest.mark.parametrize("name", ["dfdc"])
def test_the_same_footage_in_two_groups_is_named(name: str, family: Ingested) -> None:
    """One file under two names, and pairs of one scene, also with other faces swapped in."""
    digests = defaultdict(list)
    for file in family.files:
        digests[hashlib.sha256(file.read_bytes()).hexdigest()].append(str(file))
    (twice,) = [files for files in digests.values() if len(files) > 1]
    (shared,) = family.found("shared-file")
    assert sorted(shared["examples"]) == sorted(twice) and "1 image occurs" in shared["message"]
    across = family.found("near-duplicate")
    within = family.found("copies-between-clusters")
    assert sum(one["count"] for one in across) == 3 and sum(one["count"] for one in within) == 16
    group = {str(f): row["group"] for f, row in zip(family.files, family.rows, strict=True)}
    for example in [pair for one in (*across, *within) for pair in one["examples"]]:
        one, other = example.split(" = ")
        assert group[one] != group[other]
        a, b = (np.asarray(Image.open(f).convert("L").resize((16, 16))) for f in (one, other))
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("name", ["dfdc"])
def test_fakes_that_hardly_differ_from_their_real_are_counted(name: str, family: Ingested) -> None:
    gray = {}
    for file, row in zip(family.files, family.rows, strict=True):
        pixels = np.asarray(Image.open(file).convert("L"), dtype=np.int16)
        gray.setdefault(row["group"], {})[row["label"]] = pixels
    apart = np.array([np.abs(one["real"] - one["fake"]).mean() for one in gray.values()])
    (found,) = family.found("unchanged-fake")
    # Two programs round gray differently by half a level.
    assert (apart < 1.95).sum() <= found["count"] <= (apart < 2.05).sum()
    assert f"{found['count']} of 3,000 fakes" in found["message"]


def test_without_its_groups_a_list_leaks(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """StarGAN's edits of one face fall into several splits if the list does not group them."""
    source = real_data / "real-mini" / "stargan"
    with (source / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / "list.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["file", "label"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    out, report = tmp_path / "out", tmp_path / "report.json"
    assert run("ingest", "manifest", tmp_path / "list.csv", out, "--image-root", source) == 0
    assert "add a column video" in " ".join(capsys.readouterr().out.split())
    assert run("audit", out, "--no-cache", "--json", report) == 3
    found = json.loads(report.read_text(encoding="utf-8"))["findings"]
    pairs = {one["check"]: one for one in found if one["check"] == "near-duplicate"}
    group = {row["file"]: row["group"] for row in rows}
    assert pairs["near-duplicate"]["severity"] == "error"
    for example in pairs["near-duplicate"]["examples"]:
        one, other = (str(Path(f).relative_to(source)) for f in example.split(" = "))
        assert group[one] == group[other]
