"""Files of every odd kind are listed, and reports are kept as long as they hold."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from probe.datasets.audit import AuditReport, audit
from probe.datasets.dataset import Dataset
from tests.datasets.audit.making import changed, checks, look, make_clean, save


@pytest.fixture
def clean(tmp_path: Path) -> Dataset:
    return make_clean(tmp_path / "data")


def test_missing_broken_and_changed_files(clean: Dataset) -> None:
    digest = [str(k) for k in range(len(clean))]
    data = changed(clean, lambda table: table.assign(digest=digest))
    paths = list(clean.samples.table["path"])
    (clean.root / paths[0]).unlink()
    (clean.root / paths[1]).write_bytes(b"")
    (clean.root / paths[2]).write_bytes(b"no image")
    report = look(data)
    found = {one.check: one for one in report.findings}
    assert set(found) == {"missing-file", "unreadable-file", "changed-file"}
    assert found["missing-file"].examples == (paths[0],)
    assert found["unreadable-file"].count == 2 and "zero bytes" in found["unreadable-file"].message
    # All but the missing one hold other bytes than the table says.
    assert found["changed-file"].count == len(clean) - 1


def test_a_report_is_kept_until_a_file_changes(
    clean: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "cache"))
    first = audit(clean)
    (kept,) = (tmp_path / "cache/audits").glob("*.json")
    monkeypatch.setattr("probe.datasets.audit.run.gather", lambda *_: pytest.fail("again"))
    assert audit(clean) == first
    kept.write_text("damaged")
    monkeypatch.undo()
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "cache"))
    assert audit(clean) == first and AuditReport.from_dict(first.to_dict()) == first
    (clean.root / "train/real/train0_0.png").unlink()
    assert "missing-file" in checks(audit(clean))


def test_a_changed_mask_is_looked_at_again(
    clean: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "cache"))
    mask = clean.root / "mask.png"
    save(mask, np.zeros((96, 96), np.uint8))
    at = int(np.flatnonzero(clean.labels == 0)[0])
    masks = ["mask.png" if i == at else "" for i in range(len(clean))]
    data = changed(clean, lambda table: table.assign(mask=masks))
    assert audit(data).clean
    save(mask, np.pad(np.full((32, 32), 255, np.uint8), 32))
    assert checks(audit(data)) == {"real-with-mask": "error"}


def test_a_cache_that_cannot_be_written_costs_only_time(
    clean: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "file/cache"))
    with pytest.warns(UserWarning, match="PROBE_CACHE"):
        assert audit(clean).clean


def test_processes_that_save_the_same_report_do_not_meet(clean: Dataset, tmp_path: Path) -> None:
    """Another one's unfinished file, of any name, is neither taken nor written to."""
    file = tmp_path / "audit.json"
    unfinished = tmp_path / "audit.json.1.part"
    unfinished.write_text("half")
    report = look(clean)
    assert report.save(file) == file and unfinished.read_text() == "half"
    assert AuditReport.from_dict(json.loads(file.read_text())) == report
    assert {one.name for one in tmp_path.glob("audit*")} == {file.name, unfinished.name}


@pytest.mark.parametrize("kind", ["pipe", "folder", "loop", "null byte", "below a file"])
def test_paths_that_are_no_plain_file_are_listed(clean: Dataset, kind: str) -> None:
    """None of them stops the audit, not even a pipe that nobody writes to."""
    path = {"null byte": "a\0b", "below a file": "train/real/train0_1.png/x"}.get(kind, "odd")
    if kind == "pipe":
        os.mkfifo(clean.root / "odd")
    elif kind == "folder":
        (clean.root / "odd").mkdir()
    elif kind == "loop":
        (clean.root / "odd").symlink_to("odd")
    paths = [path, *clean.samples.table["path"][1:]]
    report = look(changed(clean, lambda table: table.assign(path=paths)))
    (found,) = report.findings
    wanted = "missing-file" if kind == "below a file" else "unreadable-file"
    assert (found.check, found.count, found.examples) == (wanted, 1, (path,))


def test_workers_find_the_same(clean: Dataset) -> None:
    (clean.root / "train/real/train0_0.png").unlink()
    assert audit(clean, cache=False, n_workers=2) == look(clean)
