"""The lab's promises: same bytes, known doses, masks that cover, splits that do not leak."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from probe.datasets import open_dataset
from probe.datasets.dataset import CARD_FILE, Dataset
from probe.datasets.lab import ARTIFACTS, FORGERIES, Clip, make
from probe.datasets.lab.files import PARTS
from probe.datasets.lab.head import load_basis
from probe.errors import DatasetError, UnknownNameError
from probe.schema import DATASETS

COUNTS = {"train": 16, "val": 8, "test": 16}
SIZE = 48


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make(tmp_path_factory.mktemp("lab") / "small", size=SIZE, counts=COUNTS, n_workers=1)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.png"))
    }


def test_two_workers_write_the_same_bytes(small: Dataset, tmp_path: Path) -> None:
    other = make(tmp_path / "two", size=SIZE, counts=COUNTS, n_workers=2)
    assert contents(other.root) == contents(small.root)
    assert other.fingerprint == small.fingerprint
    assert other.samples.table.equals(small.samples.table)


def test_another_seed_makes_other_people(small: Dataset, tmp_path: Path) -> None:
    other = make(tmp_path, size=SIZE, counts={"test": 8}, datasets=["dfd"], seed=1, n_workers=1)
    same = small.select(dataset="dfd", split="test")
    assert np.abs(other.image(0).astype(int) - same.image(0)).mean() > 5


def test_the_table_says_what_there_is(small: Dataset) -> None:
    table = small.samples.table
    assert table.groupby(["dataset", "split"]).size().unique().tolist() == [16, 8]
    assert (table.groupby(["dataset", "split"])["label"].mean() == 0.5).all()
    assert not list(small.root.rglob("*.part")) and not (small.root / PARTS).exists()
    for index in range(0, len(small), 7):
        assert small.image(index).shape == (SIZE, SIZE, 3)
    assert small.card["simulated"] is True


def test_pairs_are_mutual_and_of_the_same_moment(small: Dataset) -> None:
    rows = small.samples.table.set_index("sample")
    pairs = rows.loc[rows["pair"]]
    assert (pairs["pair"].to_numpy() == rows.index.to_numpy()).all()
    assert (pairs["label"].to_numpy() == 1 - rows["label"].to_numpy()).all()
    for column in ("dataset", "split", "identity", "frame"):
        assert (pairs[column].to_numpy() == rows[column].to_numpy()).all()


def test_no_identity_crosses_a_split_or_a_dataset(small: Dataset) -> None:
    table = small.samples.table
    seen = table.melt(["dataset", "split"], ["identity", "source", "driver"], value_name="who")
    seen = seen[seen["who"] != ""]
    assert (seen.groupby("who")[["dataset", "split"]].nunique() == 1).all().all()
    swapped = table[(table["source"] != "")]
    assert (swapped["source"] != swapped["identity"]).all()


def test_doses_are_recorded_and_zero_for_real_images(small: Dataset) -> None:
    table = small.samples.table
    doses = table[[f"dose_{name}" for name in ARTIFACTS]]
    assert (doses[table["label"] == 0] == 0).all().all()
    assert ((doses >= 0) & (doses <= 1)).all().all()
    for name in DATASETS:
        fakes = table[(table["dataset"] == name) & (table["label"] == 1)]
        given = {artifact for artifact in ARTIFACTS if (fakes[f"dose_{artifact}"] > 0).all()}
        assert given == set(FORGERIES[name].doses)


def test_one_artifact_is_shared_by_all_six_and_each_has_its_own() -> None:
    kinds = [set(forgery.doses) for forgery in FORGERIES.values()]
    assert set.intersection(*kinds) == {"resampling"}
    for artifact in set(ARTIFACTS) - {"resampling", "identity"}:
        assert 1 <= sum(artifact in kind for kind in kinds) <= 3


@pytest.mark.parametrize("name", DATASETS)
def test_at_dose_zero_a_fake_is_the_real_frame(name: str) -> None:
    clip = Clip(name, "test", 1, 4, size=SIZE)
    nothing = dict.fromkeys(ARTIFACTS, 0.0)
    real, fake, _ = clip.before_camera(2, nothing)
    np.testing.assert_array_equal(real, fake)
    frame = clip.frame(2, nothing)
    np.testing.assert_array_equal(frame.real, frame.fake)


@pytest.mark.parametrize("name", DATASETS)
def test_the_mask_covers_every_change(name: str) -> None:
    clip = Clip(name, "train", 3, 4, size=SIZE)
    real, fake, support = clip.before_camera(0)
    changed = np.abs(real - fake).max(axis=2) > 0
    assert changed.any() and not (changed & ~support).any()
    assert changed[support].mean() > 0.8
    np.testing.assert_array_equal(clip.frame(0).mask == 255, support)


@pytest.mark.parametrize(
    ("name", "artifact"), [(name, a) for name, kind in FORGERIES.items() for a in kind.doses]
)
def test_more_dose_is_more_change(name: str, artifact: str) -> None:
    """Alone, each artifact moves the image further from the real one as its dose rises."""
    clip = Clip(name, "test", 2, 4, size=SIZE)
    nothing = dict.fromkeys(ARTIFACTS, 0.0)
    moved = [
        float(np.abs(np.subtract(*clip.before_camera(1, {**nothing, artifact: dose})[:2])).sum())
        for dose in (0.0, 0.3, 0.6, 1.0)
    ]
    assert moved[0] == 0 and moved[1] > 0
    assert all(a < b for a, b in zip(moved, moved[1:], strict=False))


@pytest.mark.parametrize("video", range(4))
def test_poisson_blending_keeps_the_forged_face(video: int) -> None:
    """Blended or pasted, the face that is put in differs from the real one about as much."""
    clip = Clip("celebdf", "test", video, 4, size=96)
    swap = {**dict.fromkeys(ARTIFACTS, 0.0), "identity": 1.0}
    pasted, blended = (clip.before_camera(1, {**swap, "poisson": dose}) for dose in (0.0, 1.0))
    inside = cv2.erode(pasted[2].astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    # What blending may remove is smooth; the fine structure has to be that of the other face.
    real, hard, soft = (
        np.diff(np.sqrt(image), axis=1)[inside[:, 1:]].ravel()
        for image in (pasted[0], pasted[1], blended[1])
    )
    kept = float((soft - real) @ (hard - real) / ((hard - real) @ (hard - real)))
    assert 0.6 < kept < 1.2


def test_an_artifact_switched_off_is_off_everywhere(tmp_path: Path) -> None:
    data = make(
        tmp_path,
        size=SIZE,
        counts={"test": 8},
        datasets=["neuraltextures"],
        doses={"checkerboard": 0.0},
        n_workers=1,
    )
    table = data.samples.table
    assert (table["dose_checkerboard"] == 0).all()
    assert (table.loc[table["label"] == 1, "dose_lowpass"] > 0).all()


def test_a_dose_counts_only_for_methods_that_have_the_artifact(tmp_path: Path) -> None:
    data = make(
        tmp_path,
        size=SIZE,
        counts={"test": 8},
        datasets=["dfd", "faceswap"],
        doses={"seam": 1.0},
        n_workers=1,
    )
    doses = data.samples.table.groupby(["dataset", "label"])["dose_seam"].unique().map(list)
    assert doses.to_dict() == {
        ("dfd", 0): [0.0],
        ("dfd", 1): [0.0],
        ("faceswap", 0): [0.0],
        ("faceswap", 1): [1.0],
    }


def test_a_script_needs_no_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\nfrom probe.datasets.lab import make\n"
        f"make(Path({str(tmp_path / 'out')!r}), size=32, counts={{'test': 16}}, n_workers=2)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr and (tmp_path / "out" / CARD_FILE).exists()


@pytest.mark.parametrize(
    ("frame", "doses", "wording"),
    [
        (4, {}, "Frame 4 was given; allowed are 0 to 3"),
        (-1, {}, "Frame -1 was given"),
        (0, {"seam": 0.5}, "Dose seam=0.5 was given for dfd, which does not have this"),
    ],
)
def test_a_frame_that_cannot_be_is_refused(
    frame: int, doses: dict[str, float], wording: str
) -> None:
    with pytest.raises(DatasetError, match=wording):
        Clip("dfd", "test", 0, 4, size=SIZE).frame(frame, doses)


def test_a_video_of_one_identity_is_refused() -> None:
    with pytest.raises(DatasetError, match="pools of at least 2 identities"):
        Clip("dfd", "test", 0, 1)


def test_a_killed_run_is_completed_to_the_same_bytes(small: Dataset, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from probe.datasets.lab import make\n"
        f"make(Path(sys.argv[1]), size={SIZE}, counts={COUNTS}, n_workers=1)"
    )
    running = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")])
    parts, deadline = tmp_path / "out" / PARTS, time.monotonic() + 120
    while len(list(parts.glob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "out" / CARD_FILE).exists(), "the kill came too late"
    with pytest.raises(DatasetError, match="is not a dataset"):
        open_dataset(tmp_path / "out")
    kept = {file: file.stat().st_mtime_ns for file in parts.glob("*.json")}
    again = make(tmp_path / "out", size=SIZE, counts=COUNTS, n_workers=1)
    assert len(kept) >= 3
    assert contents(again.root) == contents(small.root)
    assert again.fingerprint == small.fingerprint


def test_a_finished_lab_is_reused_and_another_plan_refused(small: Dataset) -> None:
    assert make(small.root, size=SIZE, counts=COUNTS).fingerprint == small.fingerprint
    with pytest.raises(DatasetError, match="differs in seed .*Choose another folder"):
        make(small.root, size=SIZE, counts=COUNTS, seed=9)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DatasetError, match="holds something else"):
        make(tmp_path, size=SIZE)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("arguments", "wording"),
    [
        ({"datasets": ["faceswp"]}, "Lab dataset 'faceswp' is not known. Did you mean 'faceswap'"),
        ({"doses": {"seem": 1.0}}, "Artifact 'seem' is not known. Did you mean 'seam'"),
        ({"doses": {"seam": 1.5}}, "Dose seam=1.5 was given; allowed is 0"),
        ({"size": 31}, "size=31 was given; allowed are even numbers from 32"),
        ({"seed": -1}, "seed=-1 was given"),
        ({"n_workers": 0}, "n_workers=0 was given; allowed are 1 and above"),
        ({"datasets": []}, "give at least one, and each once"),
        ({"datasets": ["dfd", "dfd"]}, "give at least one, and each once"),
        ({"counts": {"test": -8}}, "allowed are 0 or more images"),
        ({"counts": {"exam": 8}}, "Split 'exam' is not known"),
        (
            {"datasets": ["dfd"], "doses": {"seam": 1.0}},
            "Dose seam=1.0 was given for dfd, which does not have this artifact. Allowed are",
        ),
        ({"identities": 3}, "identities=3 was given; at least 36 are needed"),
    ],
)
def test_bad_arguments_are_answered(
    arguments: dict[str, object], wording: str, tmp_path: Path
) -> None:
    with pytest.raises((UnknownNameError, DatasetError), match=wording.replace("(", r"\(")):
        make(tmp_path / "out", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_open_dataset_makes_the_lab_where_it_is_told(tmp_path: Path) -> None:
    make(tmp_path / "lab", size=SIZE, counts=COUNTS, n_workers=1)
    with pytest.raises(UnknownNameError, match="Did you mean 'faceswap'"):
        open_dataset("lab:faceswp", root=tmp_path / "lab")
    with pytest.raises(DatasetError, match="differs in"):
        open_dataset("lab:faceswap", root=tmp_path / "lab", size=SIZE)


def test_the_shipped_basis_is_small_and_human() -> None:
    basis = load_basis()
    assert basis.identity.shape == (40, len(basis.mean), 3)
    assert basis.expression.shape == (52, len(basis.mean), 3)
    assert {"lips", "eyes", "mouth", "neck", "skin"} <= set(basis.region_names)
    width, _, height = np.ptp(basis.mean, axis=0)
    assert 1.4 < width < 2.2 and 2.0 < height < 3.2
    import probe.datasets.lab as lab

    file = Path(lab.__file__).parent / "assets" / "head_basis.npz"
    assert file.stat().st_size < 4e6
