"""The other side of long computations: what a job makes is what the public functions make."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from app.jobs import DONE, Jobs, Task, ablation_of, ablation_task, map_task, maps_of
from app.run import Run
from probe import ablate, attribute, load_detector
from probe.datasets.dataset import Dataset, read_native
from probe.detectors import Detector
from probe.detectors.loading import save_detector
from probe.errors import ProbeError, UnknownNameError
from probe.images import token_of
from probe.jobs import KINDS, JobFolder, Progress, Request, work
from probe.neurons import Ablation
from probe.progress import listening, progress_bar, track
from probe.reader import detector_of, measured_on
from probe.run import MissingTableError, RunFolder
from tests.conftest import make_images

LABEL, BROUGHT = "meso4/base", "meso4/theirs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of two random detectors: one that it trained, one whose weights were brought."""
    out = RunFolder(tmp_path_factory.mktemp("jobs") / "run")
    data = make_images(out.root / "noise", identities=6, frames=1, splits=("val", "test"))
    shutil.move(data.root, out.data)
    save_detector(load_detector("meso4", input_size=32, seed=4), out.detector(LABEL), {})
    theirs = load_detector("meso4", input_size=32, seed=5)
    save_detector(theirs, out.root.parent / "theirs", {})
    weights = {"name": "meso4", "label": "theirs"} | {
        "file": str(out.root.parent / "theirs" / "model.safetensors")
    }
    study = {"detectors": {"weights": [weights], "input_size": 32}, "evaluation": {"split": "val"}}
    loaded = load_detector("meso4", input_size=32, weights=weights["file"])
    named = Detector(loaded.module, replace(loaded.spec, variant="theirs"))
    noted = {"study": study, "weights": {BROUGHT: named.fingerprint}}
    (out.root / "provenance.json").write_text(json.dumps(noted))
    out.write_manifest({"detectors": [LABEL, BROUGHT], "title": "t", "command": "probe run x"})
    return out


@pytest.fixture(scope="module")
def run(folder: RunFolder) -> Run:
    return Run(folder)


@pytest.fixture
def measured(folder: RunFolder) -> Dataset:
    return read_native(folder.data).select(split="val")


def job_of(task: Task, root: Path) -> JobFolder:
    out = JobFolder(root / task.fingerprint)
    out.files.mkdir(parents=True)
    out.write_job(task.content)
    return out


def test_taking_out_is_what_ablate_gives(run: Run, measured: Dataset, tmp_path: Path) -> None:
    task = ablation_task(run, LABEL, "leaky", [7, 1, 4, 1], n_random=6)
    job = job_of(task, tmp_path)
    assert work(job.root) == 0
    direct = ablate(
        detector_of(run.folder, LABEL), measured, "leaky", units={"chosen": [1, 4, 7]}, n_random=6
    ).data
    found = Ablation.open(job.result / "ablation.zarr").data
    for name in direct.data_vars:
        np.testing.assert_allclose(found[name], direct[name], atol=1e-6, err_msg=str(name))
    assert found.attrs["units"] == {"chosen": [1, 4, 7]}
    # Whoever chose the units has seen these images; the table must not say otherwise.
    assert "by hand" in found.attrs["chosen_on"]
    assert not job.partial.exists() and job.read_error() is None
    last = job.read_progress()
    assert last is not None and last.done == last.total == 2 * len(measured)


def test_maps_are_what_attribute_gives(run: Run, folder: RunFolder, tmp_path: Path) -> None:
    data = read_native(folder.data)
    rows = [5, 0, 17]
    tokens = [token_of(data.samples.table["sample"].iloc[i]) for i in rows]
    task = map_task(run, LABEL, tokens, "input_x_gradient", unit=("leaky", 3))
    job = job_of(task, tmp_path)
    assert work(job.root) == 0
    direct = attribute(
        detector_of(folder, LABEL), data.take(rows), "input_x_gradient", target=("leaky", 3)
    ).data
    found = xr.open_zarr(job.result / "maps.zarr", consolidated=False).load()
    assert list(found["sample"].values) == list(direct["sample"].values)
    np.testing.assert_allclose(found["attribution"], direct["attribution"], atol=1e-6)
    assert np.abs(found["attribution"]).max() > 0


def test_a_job_in_a_process_of_its_own(run: Run, folder: RunFolder, tmp_path: Path) -> None:
    names = read_native(folder.data).samples.table["sample"]
    jobs = Jobs(tmp_path)
    task = map_task(run, BROUGHT, [token_of(names.iloc[0])], "gradcam")
    fingerprint = jobs.submit(task)
    end = time.monotonic() + 120
    while jobs.state(fingerprint).is_open and time.monotonic() < end:
        time.sleep(0.1)
    assert jobs.state(fingerprint).name == DONE, jobs.job(fingerprint).log.read_text()
    direct = attribute(detector_of(folder, BROUGHT), read_native(folder.data).take([0]))
    np.testing.assert_allclose(maps_of(jobs, fingerprint).values, direct.values, atol=1e-6)
    with pytest.raises(ProbeError, match="no result"):
        ablation_of(jobs, ablation_task(run, LABEL, "leaky", [1]).fingerprint)


def test_weights_that_are_gone_or_others_are_told(folder: RunFolder, tmp_path: Path) -> None:
    copy = RunFolder(tmp_path / "run")
    copy.root.mkdir()
    for name in ("run.json", "provenance.json"):
        shutil.copy(folder.root / name, copy.root)
    with pytest.raises(ProbeError, match="are not in the run"):
        detector_of(copy, LABEL)
    noted = json.loads((copy.root / "provenance.json").read_text())
    noted["weights"][BROUGHT] = "0" * 32
    (copy.root / "provenance.json").write_text(json.dumps(noted))
    with pytest.raises(ProbeError, match="not those used in the run"):
        detector_of(copy, BROUGHT)
    noted["study"]["detectors"]["weights"][0]["file"] = "/nowhere/x.safetensors"
    (copy.root / "provenance.json").write_text(json.dumps(noted))
    with pytest.raises(ProbeError, match="is missing"):
        detector_of(copy, BROUGHT)
    with pytest.raises(UnknownNameError, match="Detector"):
        detector_of(copy, "../../etc")


def test_data_are_those_that_the_run_was_measured_on(folder: RunFolder) -> None:
    assert set(measured_on(folder).samples.table["split"]) == {"val"}


@pytest.fixture
def kind(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A kind of job that does what the test says."""
    told: dict[str, Any] = {}

    def do_as_told(request: Request, out: Path) -> None:
        (out / "half").write_text("half")
        raise told["error"]

    monkeypatch.setitem(KINDS, "told", do_as_told)
    yield told


def told_job(root: Path, name: str = "told") -> JobFolder:
    return job_of(Task(name, {}, root), root)


def test_a_foreseen_error_is_passed_on(kind: dict[str, Any], tmp_path: Path) -> None:
    kind["error"] = ProbeError("Give more images.")
    job = told_job(tmp_path)
    assert work(job.root) == 1
    assert job.read_error() == ("Give more images.", True)
    assert not job.result.exists()


def test_a_defect_is_told_as_one(
    kind: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind["error"] = ZeroDivisionError("division by zero")
    job = told_job(tmp_path)
    assert work(job.root) == 1
    assert job.read_error() == ("ZeroDivisionError: division by zero", False)
    assert "do_as_told" in capsys.readouterr().err and not job.result.exists()


def test_an_unknown_kind_and_a_damaged_job_are_told(tmp_path: Path) -> None:
    job = told_job(tmp_path, "eval")
    assert work(job.root) == 1
    error = job.read_error()
    assert error is not None and "'eval' is not known" in error[0]
    job.job.write_text("{")
    assert work(job.root) == 1
    error = job.read_error()
    assert error is not None and "damaged" in error[0]


def test_what_a_task_depends_on(run: Run, folder: RunFolder, tmp_path: Path) -> None:
    one = ablation_task(run, LABEL, "leaky", [1, 2])
    assert one.fingerprint == ablation_task(run, LABEL, "leaky", [2, 1, 1]).fingerprint
    assert one.fingerprint != ablation_task(run, BROUGHT, "leaky", [1, 2]).fingerprint
    copy = RunFolder(tmp_path / "run")
    shutil.copytree(folder.root, copy.root)
    before = ablation_task(Run(copy), LABEL, "leaky", [1]).fingerprint
    save_detector(load_detector("meso4", input_size=32, seed=6), copy.detector(LABEL), {})
    assert ablation_task(Run(copy), LABEL, "leaky", [1]).fingerprint != before
    shutil.rmtree(copy.detector(LABEL))
    (copy.root / "provenance.json").unlink()
    with pytest.raises(MissingTableError, match="weights of meso4/base"):
        ablation_task(Run(copy), LABEL, "leaky", [1])
    with pytest.raises(ProbeError, match="units were chosen"):
        ablation_task(run, LABEL, "leaky", list(range(201)))
    with pytest.raises(ProbeError, match="not in this run"):
        map_task(run, LABEL, ["0" * 24], "gradcam")
    with pytest.raises(UnknownNameError):
        ablation_task(run, "../x", "leaky", [1])


def test_progress_goes_to_who_listens(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[str, int, int | None]] = []
    with listening(lambda *what: seen.append(what)):
        with progress_bar("some work", 10) as advance:
            advance(4)
            advance(6)
        list(track([1, 2], "more"))
    assert seen == [
        ("some work", 0, 10),
        ("some work", 4, 10),
        ("some work", 10, 10),
        ("more", 0, 2),
        ("more", 1, 2),
        ("more", 2, 2),
    ]
    assert capsys.readouterr().err == ""
    with progress_bar("alone", 1) as advance:
        advance(1)
    assert len(seen) == 6


def test_damaged_notes_of_progress_are_none(tmp_path: Path) -> None:
    job = JobFolder(tmp_path)
    assert job.read_progress() is None
    job.write_progress(Progress(1, 2, 3.0, 4.0, "x"))
    assert job.read_progress() == Progress(1, 2, 3.0, 4.0, "x")
    (tmp_path / "progress.json").write_text('{"done": 1}')
    assert job.read_progress() is None
