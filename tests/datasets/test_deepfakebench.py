from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from probe.datasets.layouts import ImageFiles, Inventory, LayoutOptions
from probe.datasets.layouts.deepfakebench import DEEPFAKEBENCH, SOURCES
from probe.errors import DatasetError
from tests.datasets.trees import deepfakebench

Splits = dict[str, dict[str, Any]]


def video(group: str, folder: str, frames: tuple[str, ...] = ("0.png",), **more: Any) -> Any:
    return {"label": group, "frames": [f"{folder}/{one}" for one in frames], **more}


def write(root: Path, content: dict[str, dict[str, Splits]], skip: tuple[str, ...] = ()) -> Path:
    """Write a list, and an empty file for every frame and mask in it that is not skipped."""
    (name,) = content
    (root / f"{name}.json").write_text(json.dumps(content))
    for path in _paths(content):
        file = root / path.replace("\\", "/")
        if path not in skip and ".." not in path:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    return root


def _paths(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [path for key in ("frames", "masks") for path in node.get(key) or []]
        return own + [path for value in node.values() for path in _paths(value)]
    return []


def read(root: Path, **options: Any) -> Inventory:
    return DEEPFAKEBENCH.inventory(root, LayoutOptions(**options))


def celeb(**splits: tuple[str, ...]) -> dict[str, dict[str, Splits]]:
    """A list of Celeb-DF v2 whose reals stand in the splits given."""
    groups = {
        "CelebDFv2_real": {
            split: {name: video("CelebDFv2_real", name) for name in names}
            for split, names in splits.items()
        }
    }
    return {"Celeb-DF-v2": groups}


def test_frames_are_used_where_they_lie(tmp_path: Path) -> None:
    root = deepfakebench(tmp_path)
    found = {one.key: one for one in read(root).videos}
    assert {
        key: (v.label, v.method, v.split, v.identity, v.source, v.original)
        for key, v in found.items()
    } == {
        "celebdf/id0_0000": (0, "real", "test", "id0", "", ""),
        "celebdf/id7_0000": (0, "real", "train", "id7", "", ""),
        "celebdf/id0_id1_0000": (1, "celebdf", "test", "id0", "id1", "celebdf/id0_0000"),
        "celebdf/id7_id1_0000": (1, "celebdf", "train", "id7", "id1", "celebdf/id7_0000"),
        "youtube/000": (0, "real", "train", "000", "", ""),
        "youtube/003": (0, "real", "test", "003", "", ""),
        "deepfakes/000_010": (1, "deepfakes", "train", "000", "010", "youtube/000"),
        "deepfakes/003_017": (1, "deepfakes", "test", "003", "017", "youtube/003"),
    }
    media = found["deepfakes/000_010"].media
    folder = root / "datasets/rgb/FaceForensics++/manipulated_sequences/Deepfakes/c23"
    names = ("000.png", "002.png", "010.png")
    assert media == ImageFiles(tuple(folder / "frames/000_010" / n for n in names), (0, 2, 10))
    masks = found["deepfakes/000_010"].masks
    assert masks == ImageFiles(tuple(folder / "masks/000_010" / n for n in names), (0, 2, 10))
    assert read(root).reals == {"deepfakes": "youtube"}


def test_the_same_from_the_file_and_from_each_folder(tmp_path: Path) -> None:
    root = deepfakebench(tmp_path)
    whole = read(root).videos
    for place in ("preprocessing", "preprocessing/dataset_json"):
        assert read(root / place).videos == whole
    one = read(root / "preprocessing/dataset_json/FF-DF.json").videos
    assert one == tuple(video for video in whole if video.dataset != "celebdf")
    assert DEEPFAKEBENCH.recognize(root / "preprocessing/dataset_json/FF-DF.json")


def test_a_video_in_several_splits_is_taken_once(tmp_path: Path) -> None:
    """The trap: val equals test, and train holds what is tested on."""
    content = celeb(
        train=("id1_0000", "id2_0000", "id3_0000"), val=("id1_0000", "id2_0000"), test=("id1_0000",)
    )
    found = read(write(tmp_path, content))
    assert {one.video: one.split for one in found.videos} == {
        "id1_0000": "test",
        "id2_0000": "val",
        "id3_0000": "train",
    }
    place = "Celeb-DF-v2.json::Celeb-DF-v2/CelebDFv2_real"
    assert dict(found.left_out) == {
        f"{place}/train/id1_0000": "also in test",
        f"{place}/val/id1_0000": "also in test",
        f"{place}/train/id2_0000": "also in val",
    }
    assert "2 of 3 videos are listed in several splits; each is used once." in found.notes


def test_val_that_holds_all_of_train_gives_way(tmp_path: Path) -> None:
    content = celeb(
        train=("id1_0000", "id2_0000"), val=("id1_0000", "id2_0000"), test=("id3_0000",)
    )
    found = read(write(tmp_path, content))
    assert [one.split for one in found.videos] == ["train", "train", "test"]


def test_a_group_that_several_lists_share(tmp_path: Path) -> None:
    for name in ("FF-DF", "FF-F2F"):
        groups = {
            "FF-real": {"train": {"c23": {"000": video("FF-real", "real/000")}}},
            name: {"train": {"c23": {"000_003": video(name, f"{name}/000_003")}}},
        }
        write(tmp_path, {name: groups})
    found = read(tmp_path)
    assert [one.key for one in found.videos] == [
        "youtube/000",
        "deepfakes/000_003",
        "face2face/000_003",
    ]
    assert not found.left_out
    assert found.reals == {"deepfakes": "youtube", "face2face": "youtube"}
    assert [one.driver for one in found.videos] == ["", "", "003"]


def test_lists_that_disagree_about_a_video(tmp_path: Path) -> None:
    for name, frames in (("FF-DF", ("0.png",)), ("FF-F2F", ("0.png", "1.png"))):
        real = {"train": {"c23": {"000": video("FF-real", "real/000", frames)}}}
        write(tmp_path, {name: {"FF-real": real}})
    found = read(tmp_path)
    assert "with other frames" in found.left_out["FF-F2F.json::FF-F2F/FF-real/train/000"]
    assert len(found.videos) == 1


def test_compression(tmp_path: Path) -> None:
    levels = {level: {"000": video("FF-real", f"{level}/000")} for level in ("c23", "c40")}
    root = write(tmp_path, {"FF-DF": {"FF-real": {"train": levels}}})
    for level in ("c23", "c40"):
        (one,) = read(root, compression=level).videos
        assert isinstance(one.media, ImageFiles) and one.media.files[0].parts[-3] == level
    with pytest.raises(DatasetError, match=r"'raw' was requested; .* holds c23, c40"):
        read(root, compression="raw")


def test_frames_that_are_not_on_disk(tmp_path: Path) -> None:
    content: Any = celeb(train=("id1_0000",))
    train = content["Celeb-DF-v2"]["CelebDFv2_real"]["train"]
    train["id1_0000"] = video("CelebDFv2_real", "id1_0000", ("0.png", "7.png", "8.png", "7.png"))
    train["id2_0000"] = video("CelebDFv2_real", "id2_0000")
    train["id3_0000"] = video("CelebDFv2_real", "../id3_0000")
    found = read(write(tmp_path, content, skip=("id1_0000/7.png", "id2_0000/0.png")))
    (one,) = found.videos
    assert isinstance(one.media, ImageFiles) and one.media.frames == (0, 8)
    place = "Celeb-DF-v2.json::Celeb-DF-v2/CelebDFv2_real/train"
    assert dict(found.left_out) == {
        "id1_0000/7.png": "it is listed and not on disk",
        "id2_0000/0.png": "it is listed and not on disk",
        "../id3_0000/0.png": "its path leads out of the folder of the frames",
        f"{place}/id2_0000": "none of its frames is on disk",
        f"{place}/id3_0000": "none of its frames is on disk",
    }
    assert any("listed frames or masks are not on disk" in note for note in found.notes)


def test_masks_go_by_their_names(tmp_path: Path) -> None:
    frames = ("0.png", "1.png", "2.png")
    content: Any = {
        "FF-DF": {
            "FF-DF": {
                "train": {
                    "c23": {
                        "000_003": video("FF-DF", "f/000_003", frames, masks=["m/2.png"]),
                        "003_000": video(
                            "FF-DF", "f/003_000", frames[:2], masks=["m/mask_9.png", "m/mask_8.png"]
                        ),
                        "010_017": video("FF-DF", "f/010_017", frames[:2], masks=["m/x.png"]),
                    }
                }
            }
        }
    }
    root = write(tmp_path, content)
    masks = {one.video: one.masks for one in read(root).videos}
    assert masks == {
        "000_003": ImageFiles((root / "m/2.png",), (2,)),
        "003_000": ImageFiles((root / "m/mask_8.png", root / "m/mask_9.png"), (0, 1)),
        "010_017": None,
    }


def test_where_frames_start(tmp_path: Path) -> None:
    root = tmp_path / "lists"
    root.mkdir()
    write(root, celeb(train=("id1_0000",)), skip=("id1_0000/0.png",))
    with pytest.raises(
        DatasetError, match=r"such as 'id1_0000/0.png', is on disk. Tried: .*image_root"
    ):
        read(root)
    for place in ("elsewhere", "datasets/rgb"):
        (tmp_path / place / "id1_0000").mkdir(parents=True)
        (tmp_path / place / "id1_0000/0.png").touch()
        options = {"image_root": tmp_path / place} if place == "elsewhere" else {}
        (one,) = read(root, **options).videos
        assert one.media == ImageFiles((tmp_path / place / "id1_0000/0.png",), (0,))
    with pytest.raises(DatasetError, match=r"Tried: .*wrong"):
        read(root, image_root=tmp_path / "wrong")


def test_absolute_paths_are_taken(tmp_path: Path) -> None:
    frame = tmp_path / "far/id1_0000/0.png"
    frame.parent.mkdir(parents=True)
    frame.touch()
    (tmp_path / "lists").mkdir()
    content: Any = celeb(train=("id1_0000",))
    content["Celeb-DF-v2"]["CelebDFv2_real"]["train"]["id1_0000"]["frames"] = [str(frame)]
    (tmp_path / "lists/a.json").write_text(json.dumps(content))
    assert read(tmp_path / "lists").videos[0].media == ImageFiles((frame,), (0,))


GROUPS = {
    "FF-FH": ("faceshifter", 1),
    "FF-NT": ("neuraltextures", 1),
    "FF-FS": ("faceswap", 1),
    "DFD_real": ("dfd", 0),
    "DFD_fake": ("dfd", 1),
    "CelebDFv1_fake": ("celebdf", 1),
    "DFDC_Real": ("dfdc", 0),
    "DFDC_Fake": ("dfdc", 1),
    "DFDCP_Real": ("dfdcp", 0),
    "DFDCP_FakeA": ("dfdcp", 1),
    "DFDCP_FakeB": ("dfdcp", 1),
    "DF_real": ("deeperforensics", 0),
    "DF_fake": ("deeperforensics", 1),
    "UADFV_Real": ("uadfv", 0),
    "UADFV_Fake": ("uadfv", 1),
}


@pytest.mark.parametrize("group", list(GROUPS))
def test_every_group_has_its_label(tmp_path: Path, group: str) -> None:
    content = {"X": {group: {"test": {"v": video(group, "v")}}}}
    found = read(write(tmp_path, content))
    (one,) = found.videos
    assert (one.dataset, one.label) == GROUPS[group]
    assert (SOURCES in found.notes) == (group == "DF_real")


def test_both_versions_of_celebdf_are_two_datasets(tmp_path: Path) -> None:
    for version in ("CelebDFv1_real", "CelebDFv2_real"):
        write(tmp_path, {version: {version: {"test": {"id0_0000": video(version, version)}}}})
    assert {one.key for one in read(tmp_path).videos} == {
        "celebdf-v1/id0_0000",
        "celebdf-v2/id0_0000",
    }


def test_people_of_deepfakedetection(tmp_path: Path) -> None:
    names = {"DFD_real": "01__talk", "DFD_fake": "01_02__talk__YVGY8LOK"}
    groups = {group: {"test": {name: video(group, name)}} for group, name in names.items()}
    real, fake = read(write(tmp_path, {"DeepFakeDetection": groups})).videos
    assert (real.identity, fake.identity, fake.source) == ("01", "01", "02")
    assert fake.original == "dfd/01__talk"


def test_unknown_groups(tmp_path: Path) -> None:
    content = {"X": {"FF-real": {}, "Sora": {"test": {"v": video("Sora", "v")}}}}
    with pytest.raises(DatasetError, match=r"the unknown group 'Sora'.*FF-DF"):
        read(write(tmp_path, content))


def test_odd_places_in_a_list(tmp_path: Path) -> None:
    """One of the benchmark's own lists has a video where the videos of val should be."""
    content: Any = celeb(train=("id1_0000",))
    splits = content["Celeb-DF-v2"]["CelebDFv2_real"]
    splits["val"] = video("CelebDFv2_real", "id1_0000")
    splits["public"] = {}
    splits["train"]["id2_0000"] = {"label": "CelebDFv2_real", "frames": []}
    splits["train"]["id3_0000"] = {"label": "CelebDFv2_real"}
    splits["train"]["id4_0000"] = {"frames": [1]}
    found = read(write(tmp_path, celeb(train=("id1_0000",))))
    (tmp_path / "Celeb-DF-v2.json").write_text(json.dumps(content))
    found = read(tmp_path)
    assert [one.video for one in found.videos] == ["id1_0000"]
    reasons = {name.split("real/")[1]: why for name, why in found.left_out.items()}
    assert reasons == {
        "val": "it is not a split with videos by name",
        "public": "it is not a split with videos by name",
        "train/id2_0000": "its list of frames is empty",
        "train/id3_0000": "it has no list of frames",
        "train/id4_0000": "its frames or masks are not all paths",
    }


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": {"b.mp4": {"label": "FAKE"}}}', "\0"])
def test_other_json_is_not_a_list(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    assert DEEPFAKEBENCH.recognize(tmp_path) is None
    with pytest.raises(DatasetError, match=r"is not a DeepfakeBench list, and none is in it"):
        read(tmp_path)


def test_a_list_that_breaks_off(tmp_path: Path) -> None:
    root = write(tmp_path, celeb(train=("id1_0000",)))
    file = root / "Celeb-DF-v2.json"
    file.write_text(file.read_text()[:-9])
    with pytest.raises(DatasetError, match=r"Celeb-DF-v2.json' cannot be read"):
        read(root)


@pytest.mark.parametrize(
    ("real", "fake", "dataset"),
    [
        ("blendface_Real", "blendface_Fake", "blendface"),
        ("MOBILESWAP_real", "mobileswap_FAKE", "mobileswap"),
        ("My-Set-real", "My-Set-fake", "my-set"),
        ("Real", "Fake", "x"),
    ],
)
def test_other_groups_are_datasets_of_their_own(
    tmp_path: Path, real: str, fake: str, dataset: str
) -> None:
    groups = {
        real: {"training": {"000": video(real, "r/000")}},
        fake: {"training": {"000_003": video(fake, "f/000_003")}},
    }
    one, two = read(write(tmp_path, {"X": groups})).videos
    assert (one.dataset, one.label, one.split) == (dataset, 0, "train")
    assert (two.dataset, two.label, two.split) == (dataset, 1, "train")
    assert two.original == f"{dataset}/000" and (two.identity, two.source) == ("000", "003")


def test_fakes_without_reals_of_their_own_share_those_of_the_list(tmp_path: Path) -> None:
    groups = {
        "FF-real": {"test": {"c23": {"000": video("FF-real", "r/000")}}},
        "inswap_Fake": {"test": {"000_003": video("inswap_Fake", "f/000_003")}},
    }
    found = read(write(tmp_path, {"X": groups}))
    assert found.reals == {"inswap": "youtube"}
    assert found.videos[1].original == "youtube/000"


def test_labels_tell_an_unknown_group_and_contradictions_are_said(tmp_path: Path) -> None:
    groups = {
        "a_Real": {"test": {"w": {"label": "a_Fake", "frames": ["w/0.png"]}}},
        "Zorb": {"test": {"v": {"label": "fake", "frames": ["v/0.png"]}}},
    }
    found = read(write(tmp_path, {"X": groups}))
    assert {one.video: one.label for one in found.videos} == {"v": 1, "w": 0}
    assert any("1 of 2 videos have a label that contradicts their group" in n for n in found.notes)


@pytest.mark.parametrize("beginning", ["/home/x/rgb/", "F:\\rgb\\", "downloads/rgb/"])
def test_paths_of_another_machine(tmp_path: Path, beginning: str) -> None:
    root = write(tmp_path, celeb(train=("id1_0000", "id2_0000")))
    file = root / "Celeb-DF-v2.json"
    content = json.loads(file.read_text())
    for one in content["Celeb-DF-v2"]["CelebDFv2_real"]["train"].values():
        one["frames"] = [beginning + frame for frame in one["frames"]]
    file.write_text(json.dumps(content))
    images = tmp_path / "images"
    for name in ("id1_0000", "id2_0000"):
        (images / name).mkdir(parents=True)
        (root / name / "0.png").rename(images / name / "0.png")
    found = read(root, image_root=images)
    assert [one.video for one in found.videos] == ["id1_0000", "id2_0000"]
    assert any(f"looked for in {str(images)!r}" in note for note in found.notes)
