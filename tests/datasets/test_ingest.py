"""Drawn videos in the official tree, through the true decoder and the true YuNet."""

from __future__ import annotations

import filecmp
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from probe.datasets import IngestReport, clips, ingest, open_dataset, read_native
from probe.datasets.dataset import CARD_FILE, SAMPLES_FILE
from probe.datasets.report import REPORT_FILE
from probe.errors import DatasetError, UnknownNameError
from tests.datasets.drawing import make_tree, moving, write_video

SMALL = {"frames": 6, "size": 48}
FAKE = "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4"


@pytest.fixture(scope="module")
def done(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> IngestReport:
    return ingest(
        "faceforensics", tree, tmp_path_factory.mktemp("done") / "out", n_workers=1, **SMALL
    )


def decoded(file: Path, index: int) -> np.ndarray:
    with av.open(str(file)) as container:
        return [f.to_ndarray(format="rgb24") for f in container.decode(video=0)][index]


def test_the_table_is_complete(done: IngestReport) -> None:
    data = open_dataset(done.out)
    assert dict(data.samples.counts()) == {
        "deepfakes/train/fake": 6,
        "face2face/train/fake": 6,
        "youtube/train/real": 11,
    }
    table = data.samples.table
    face2face = table[table["dataset"] == "face2face"]
    assert set(face2face["identity"]) == {"003"} and set(face2face["driver"]) == {"000"}
    assert table["sample"].is_unique and done.written == len(table) == 23
    np.testing.assert_allclose(table["time"], table["frame"] / 25)


def test_every_crop_is_the_square_it_says(tree: Path, done: IngestReport) -> None:
    """Cut again by hand from a plain decode; the head stands in the middle."""
    data = open_dataset(f"{done.out}:deepfakes").select(label=1)
    for i, row in data.samples.table.iterrows():
        frame = decoded(tree / FAKE, row["frame"])
        x, y, side = row["crop_x"], row["crop_y"], row["crop_side"]
        assert side == round(1.3 * max(row["box_w"], row["box_h"]))
        part = frame[y : y + side, x : x + side]
        expected = cv2.resize(part, (48, 48), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(data.image(int(str(i))), expected)
        assert x + side / 2 == pytest.approx(90 + 2 * row["frame"], abs=8)


def test_masks_are_cut_by_the_same_square(done: IngestReport) -> None:
    """The drawn disc is centered on the head, so its crop is centered, wherever the head was."""
    data = open_dataset(f"{done.out}:deepfakes")
    fakes, reals = data.select(label=1), data.select(label=0)
    for i in range(len(fakes)):
        mask = fakes.mask(i)
        assert mask is not None and mask.shape == (48, 48)
        ys, xs = np.nonzero(mask > 127)
        assert 0.15 < len(xs) / mask.size < 0.6
        assert abs(xs.mean() - 23.5) < 4 and abs(ys.mean() - 23.5) < 6
    assert reals.mask(0) is None


def test_frames_without_a_face_are_all_said(done: IngestReport) -> None:
    (video,) = (v for v in done.videos if (v.dataset, v.video) == ("youtube", "003"))
    assert video.available == 24 and video.asked == video.decoded == 6
    assert video.no_face == (10,) and video.written == 5
    assert not video.clean and all(v.clean for v in done.videos if v is not video)
    saved = json.loads((done.out / REPORT_FILE).read_text())
    assert saved["frames_without_face"] == 1 and saved["written"] == 23
    assert "1 frames without a face" in done.summary()


def test_the_card_states_the_crop_rule(done: IngestReport) -> None:
    card = read_native(done.out).card
    assert card["layout"] == "faceforensics" and card["compression"] == "c23"
    assert card["crop"]["margin"] == 1.3 and card["crop"]["score_threshold"] == 0.6
    assert "1.3" not in card["crop"]["rule"] and "moved inside" in card["crop"]["rule"]
    assert card["license"].startswith("FaceForensics++ terms") and card["simulated"] is False
    assert card["reals"] == {"deepfakes": "youtube", "face2face": "youtube"}
    assert {"av", "opencv-python-headless", "deepfake-probe"} <= set(card["versions"])


def test_digests_are_those_of_the_files(done: IngestReport) -> None:
    """The fingerprint that trusts the column equals the one that reads every file."""
    data = open_dataset(done.out)
    table = data.samples.table.drop(columns="digest")
    plain = type(data)(data.name, type(data.samples)(table), data.root, data.card)
    assert data.fingerprint == plain.fingerprint
    some = data.samples.table["digest"].where(table.index % 2 == 0)
    joined = type(data)(
        data.name, type(data.samples)(table.assign(digest=some)), data.root, data.card
    )
    assert data.fingerprint == joined.fingerprint


def test_a_part_has_its_fakes_and_the_originals(done: IngestReport) -> None:
    both = [open_dataset(f"{done.out}:{name}") for name in ("deepfakes", "face2face")]
    for part, name in zip(both, ("deepfakes", "face2face"), strict=True):
        assert set(part.samples.table["dataset"]) == {name}
        assert (part.labels == 0).sum() == 11 and (part.labels == 1).sum() == 6
        assert part.name == f"faceforensics-c23:{name}"
        assert part.image(0).shape == (48, 48, 3)
    ids = pd.concat([part.samples.table["sample"] for part in both])
    assert ids.is_unique
    with pytest.raises(UnknownNameError, match=r"'deepfake' is not known.*'deepfakes'\?"):
        open_dataset(f"{done.out}:deepfake")
    with pytest.raises(DatasetError, match="has no sample with split='test'"):
        open_dataset(f"{done.out}:deepfakes", split="test")


def test_workers_do_not_change_a_byte(tree: Path, done: IngestReport, tmp_path: Path) -> None:
    other = ingest("faceforensics", tree, tmp_path / "two", n_workers=2, **SMALL)
    assert other.to_dict() == done.to_dict()
    require_equal(done.out, other.out)


def require_equal(one: Path, two: Path) -> None:
    files = {p.relative_to(one) for p in one.rglob("*") if p.is_file()}
    assert files == {p.relative_to(two) for p in two.rglob("*") if p.is_file()}
    _, differ, broken = filecmp.cmpfiles(one, two, map(str, files), shallow=False)
    assert not differ and not broken


def test_a_second_run_cuts_nothing(
    tree: Path, done: IngestReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(task: clips.ClipTask) -> clips.Clip:
        raise AssertionError(f"{task.entry.key} was cut again")

    monkeypatch.setattr(clips, "cut_clip", never)
    again = ingest("faceforensics", tree, done.out, n_workers=1, **SMALL)
    assert again.to_dict() == done.to_dict()


SLOW_RUN = """
import sys, time
from probe.datasets import clips, ingest
fast = clips.cut_clip
def slow(task):
    time.sleep(0.3)
    return fast(task)
clips.cut_clip = slow
ingest("faceforensics", sys.argv[1], sys.argv[2], frames=6, size=48, n_workers=1)
"""


def test_killed_and_run_again(tree: Path, done: IngestReport, tmp_path: Path) -> None:
    """SIGKILL after the first video; the second run gives what an undisturbed one gives."""
    out = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_RUN, str(tree), str(out)], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not list(out.glob(f"crops/*/*/{clips.CLIP_FILE}")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / CARD_FILE).exists() and not (out / SAMPLES_FILE).exists()
    half = out / "crops" / "face2face" / ".003_000.part"
    half.mkdir(parents=True)
    (half / "000001.png").write_bytes(b"half an image")
    with pytest.raises(DatasetError, match="is not a dataset"):
        open_dataset(out)
    ingest("faceforensics", tree, out, n_workers=1, **SMALL)
    require_equal(done.out, out)


def test_broken_videos_are_reported_and_tried_again(own_tree: Path, tmp_path: Path) -> None:
    """One file that is no video, one cut off in the middle; the others are there."""
    bad = own_tree / "original_sequences/youtube/c23/videos/000.mp4"
    bad.write_bytes(b"not a video")
    cut = write_video(own_tree / FAKE, moving(40), gop=7, faststart=True)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    report = ingest("faceforensics", own_tree, tmp_path / "out", n_workers=1, **SMALL)
    found = {f"{v.dataset}/{v.video}": v for v in report.videos}
    assert {f"{v.dataset}/{v.video}" for v in report.unreadable} == {
        "youtube/000",
        "deepfakes/000_003",
    }
    assert "'000.mp4' cannot be opened" in found["youtube/000"].error
    assert found["youtube/000"].written == 0
    assert "truncated or damaged: it announces 40 frames" in found["deepfakes/000_003"].error
    assert found["deepfakes/000_003"].written > 0
    assert "youtube/000" in report.summary()
    assert "youtube/000" not in set(open_dataset(tmp_path / "out").samples.table["sample"].str[:11])
    write_video(bad, moving(20, 1))
    again = ingest("faceforensics", own_tree, tmp_path / "out", n_workers=1, **SMALL)
    assert [v.video for v in again.unreadable] == ["000_003"]


def test_masks_of_another_size_are_refused(own_tree: Path, tmp_path: Path) -> None:
    small = [np.zeros((60, 80, 3), np.uint8)] * 20
    write_video(own_tree / "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4", small)
    report = ingest("faceforensics", own_tree, tmp_path / "out", n_workers=1, **SMALL)
    (video,) = (v for v in report.videos if v.dataset == "deepfakes")
    assert "do not match it" in video.mask_error and len(video.no_mask) == video.written == 6
    assert open_dataset(f"{tmp_path / 'out'}:deepfakes").select(label=1).mask(0) is None


def test_no_face_at_all(tmp_path: Path) -> None:
    root = tmp_path / "ffpp"
    write_video(root / "original_sequences/youtube/c23/videos/000.mp4", moving(8, blank=range(8)))
    with pytest.raises(DatasetError, match=r"No face could be cropped from any of the 1 videos"):
        ingest("faceforensics", root, tmp_path / "out", n_workers=1, **SMALL)
    assert not (tmp_path / "out" / CARD_FILE).exists()
    saved = json.loads((tmp_path / "out" / REPORT_FILE).read_text())
    assert len(saved["videos"][0]["no_face"]) == 6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"margin": 1.5}, r"made with other parameters: margin 1.3, now 1.5"),
        ({"frames": 7}, r"frames 6, now 7"),
        ({"size": 64}, r"size 48, now 64"),
    ],
)
def test_an_output_of_other_parameters(
    tree: Path, done: IngestReport, change: dict[str, float], words: str
) -> None:
    before = (done.out / CARD_FILE).read_bytes()
    with pytest.raises(DatasetError, match=words):
        ingest("faceforensics", tree, done.out, n_workers=1, **(SMALL | change))
    assert (done.out / CARD_FILE).read_bytes() == before


def test_an_output_of_another_source(done: IngestReport, own_tree: Path) -> None:
    file = own_tree / "original_sequences/youtube/c23/videos/000.mp4"
    write_video(file, moving(30, 9))
    with pytest.raises(DatasetError, match=r"crops of another dataset: youtube/000 is not"):
        ingest("faceforensics", own_tree, done.out, n_workers=1, **SMALL)


def test_outputs_that_are_taken(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="holds other files"):
        ingest("faceforensics", tree, tmp_path, n_workers=1, **SMALL)
    (tmp_path / CARD_FILE).write_text("{}")
    with pytest.raises(DatasetError, match="holds another dataset"):
        ingest("faceforensics", tree, tmp_path, n_workers=1, **SMALL)
    with pytest.raises(DatasetError, match="is a file"):
        ingest("faceforensics", tree, tmp_path / "notes.txt", n_workers=1, **SMALL)
    assert sorted(p.name for p in tmp_path.iterdir()) == [CARD_FILE, "notes.txt"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": 0}, "frames=0 was given; allowed are 1 to"),
        ({"size": 8}, "size=8 was given; allowed are 16 to"),
        ({"margin": 0.5}, "margin=0.5 was given; allowed are 1 to 5"),
        ({"n_workers": 0}, "n_workers=0 was given"),
        ({"compression": "c99"}, "Compression 'c99' was requested"),
        ({"layout": "faceforensix"}, r"Layout 'faceforensix' is not known"),
        ({"root": "nowhere"}, "The folder 'nowhere' is missing"),
    ],
)
def test_bad_arguments_write_nothing(
    tree: Path, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    given = {"layout": "faceforensics", "root": tree, "out": tmp_path / "out", **SMALL} | change
    with pytest.raises((DatasetError, UnknownNameError), match=words):
        ingest(**given)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


MEMORY_RUN = """
import resource, sys
from probe.datasets import ingest
ingest("faceforensics", sys.argv[1], sys.argv[2], frames=4, size=64, n_workers=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_videos(tmp_path: Path) -> None:
    """Ten times the videos, each of several hundred kilobytes decoded, in the same memory."""
    one = write_video(tmp_path / "one.mp4", moving(8))
    peaks = []
    for count in (10, 100):
        folder = tmp_path / f"{count}/original_sequences/youtube/c23/videos"
        folder.mkdir(parents=True)
        for k in range(count):
            (folder / f"{k:03d}.mp4").hardlink_to(one)
        arguments = [str(tmp_path / str(count)), str(tmp_path / f"out{count}")]
        done = subprocess.run(
            [sys.executable, "-c", MEMORY_RUN, *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 15_000, f"{peaks} KiB"


def test_a_missing_crop_is_an_error(tmp_path: Path) -> None:
    report = ingest(
        "faceforensics", make_tree(tmp_path / "t"), tmp_path / "out", n_workers=1, **SMALL
    )
    data = open_dataset(report.out)
    (report.out / data.samples.table["path"].iloc[0]).unlink()
    with pytest.raises(DatasetError, match=r"is missing.*No other image is used instead"):
        data.image(0)
    assert Image.open(report.out / data.samples.table["path"].iloc[1]).size == (48, 48)
