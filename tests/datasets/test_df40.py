from __future__ import annotations

from pathlib import Path

import pytest

from probe.datasets.layouts import ImageFiles, VideoEntry, VideoFile
from probe.datasets.layouts.df40 import DF40, METHODS, NO_REALS


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def videos(root: Path) -> dict[str, VideoEntry]:
    return {one.key: one for one in DF40.inventory(root).videos}


@pytest.mark.parametrize("inner", ["", "frames/"])
def test_people_of_both_domains(tmp_path: Path, inner: str) -> None:
    touch(
        tmp_path,
        *(f"simswap/ff/{inner}000_003/{frame}.png" for frame in ("10", "9", "0")),
        f"simswap/cdf/{inner}id0_id16_0003/000.png",
        f"wav2lip/ff/{inner}000_003/000.png",
    )
    found = videos(tmp_path)
    swap = found["simswap-ff/000_003"]
    assert (swap.label, swap.method, swap.split) == (1, "simswap", "")
    assert (swap.identity, swap.source, swap.driver) == ("000", "003", "")
    assert isinstance(swap.media, ImageFiles) and swap.media.frames == (0, 9, 10)
    assert [file.name for file in swap.media.files] == ["0.png", "9.png", "10.png"]
    celeb = found["simswap-cdf/id0_id16_0003"]
    assert (celeb.identity, celeb.source) == ("id0", "id16")
    assert found["wav2lip-ff/000_003"].driver == "003"


def test_methods_with_reals_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, "heygen/fake/a1/0.png", "heygen/real/a1/0.png", "CollabDiff/fake/7.png")
    found = videos(tmp_path)
    assert {key: (one.label, one.method) for key, one in found.items()} == {
        "heygen/fake/a1": (1, "heygen"),
        "heygen/real/a1": (0, "real"),
        "collabdiff/fake/7": (1, "collabdiff"),
    }
    assert DF40.inventory(tmp_path).notes == ()


def test_fakes_alone_say_which_reals_belong(tmp_path: Path) -> None:
    touch(tmp_path, "e4s/ff/000_003/0.png", "e4s/cdf/id0_id1_0000/0.png")
    assert set(DF40.inventory(tmp_path).notes) == set(NO_REALS.values())


def test_images_and_videos_directly_in_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "DiT/ff/000_003_7.png", "DiT/ff/000_003_8.png", "DiT/ff/9.png", "lia/ff/1.mp4")
    found = videos(tmp_path)
    assert set(found) == {"dit-ff/000_003", "dit-ff/9", "lia-ff/1"}
    assert found["lia-ff/1"].media == VideoFile(tmp_path / "lia/ff/1.mp4")


def test_landmarks_and_masks_are_no_images(tmp_path: Path) -> None:
    touch(tmp_path, "fomm/ff/000_003/0.png", "fomm/ff/masks/000_003/0.png", "fomm/notes.txt")
    found = DF40.inventory(tmp_path)
    assert [one.key for one in found.videos] == ["fomm-ff/000_003"]
    assert set(found.left_out) == {"fomm/ff/masks/", "fomm/notes.txt"}


@pytest.mark.parametrize(
    "name", ["StyleGAN-XL", "sd2.1", "DiT", "one_shot_free", "MidJourney", "e4e"]
)
def test_names_are_known_however_they_are_written(tmp_path: Path, name: str) -> None:
    touch(tmp_path, f"{name}/ff/0.png")
    assert DF40.recognize(tmp_path) == f"it holds {name}/ff, a method of DF40"


def test_other_names_are_not_it(tmp_path: Path) -> None:
    touch(tmp_path, "mine/fake/0.png", "simswap/other/0.png")
    assert DF40.recognize(tmp_path) is None
    assert len(METHODS) >= 40
