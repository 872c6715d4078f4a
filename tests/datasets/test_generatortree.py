"""Sets of generated images: each generator a dataset with its reals, and each image alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from probe.datasets import open_dataset, parts_of
from probe.datasets.layouts import LAYOUTS, Inventory, LayoutOptions
from probe.datasets.layouts.recognition import recognize
from probe.errors import DatasetError
from tests.datasets.trees import put_image

#: Sets by name: folders of images, and the dataset, split, label and reals' dataset of each.
SETS: dict[str, dict[str, tuple[str, str, int, str]]] = {
    "GenImage": {
        "stable_diffusion_v_1_4/imagenet_ai_0419_sdv4/train/ai": (
            "stable_diffusion_v_1_4",
            "train",
            1,
            "",
        ),
        "stable_diffusion_v_1_4/imagenet_ai_0419_sdv4/train/nature": (
            "stable_diffusion_v_1_4",
            "train",
            0,
            "",
        ),
        "stable_diffusion_v_1_4/imagenet_ai_0419_sdv4/val/ai": (
            "stable_diffusion_v_1_4",
            "test",
            1,
            "",
        ),
        "stable_diffusion_v_1_4/imagenet_ai_0419_sdv4/val/nature": (
            "stable_diffusion_v_1_4",
            "test",
            0,
            "",
        ),
    },
    "GenImage, unpacked side by side": {
        "imagenet_ai_0419_biggan/train/ai": ("biggan", "train", 1, ""),
        "imagenet_ai_0419_biggan/train/nature": ("biggan", "train", 0, ""),
        "imagenet_ai_0419_biggan/val/ai": ("biggan", "test", 1, ""),
        "imagenet_ai_0419_biggan/val/nature": ("biggan", "test", 0, ""),
        "imagenet_midjourney/val/ai": ("midjourney", "val", 1, ""),
        "imagenet_midjourney/val/nature": ("midjourney", "val", 0, ""),
    },
    "ForenSynths": {
        "train/train/0_real": ("progan", "train", 0, ""),
        "train/train/1_fake": ("progan", "train", 1, ""),
        "train/tvmonitor/1_fake": ("progan", "train", 1, ""),
        "val/tvmonitor/1_fake": ("progan", "val", 1, ""),
        "test/progan/train/0_real": ("progan", "test", 0, ""),
        "test/progan/cat/1_fake": ("progan", "test", 1, ""),
        "test/cyclegan/apple/0_real": ("cyclegan", "test", 0, ""),
        "test/cyclegan/apple/1_fake": ("cyclegan", "test", 1, ""),
        "test/deepfake/0_real": ("deepfake", "test", 0, ""),
        "test/deepfake/1_fake": ("deepfake", "test", 1, ""),
    },
    "UniversalFakeDetect": {
        "imagenet/0_real": ("imagenet", "", 0, ""),
        "laion/0_real": ("laion", "", 0, ""),
        "guided/1_fake": ("guided", "", 1, "imagenet"),
        "ldm_200/1_fake": ("ldm_200", "", 1, "laion"),
        "glide_100_27/1_fake": ("glide_100_27", "", 1, "laion"),
    },
    "one folder of reals": {
        "test/ffhq/0_real": ("ffhq", "test", 0, ""),
        "test/facesd/1_fake": ("facesd", "test", 1, "ffhq"),
        "test/facexl/1_fake": ("facexl", "test", 1, "ffhq"),
    },
    "AIGIBench": {
        "train/car/0_real": ("progan", "train", 0, ""),
        "train/car/1_fake": ("progan", "train", 1, ""),
        "test/FLUX1-dev/0_real": ("flux1-dev", "test", 0, ""),
        "test/FLUX1-dev/1_fake": ("flux1-dev", "test", 1, ""),
    },
    "WildRF": {
        "train/0_real": ("real", "train", 0, ""),
        "train/1_fake": ("mixed", "train", 1, "real"),
        "test/reddit/0_real": ("reddit", "test", 0, ""),
        "test/reddit/1_fake": ("reddit", "test", 1, ""),
    },
    "DiffusionForensics": {
        "images/test/lsun_bedroom/real": ("lsun_bedroom-real", "test", 0, ""),
        "images/test/lsun_bedroom/ADM": ("lsun_bedroom-adm", "test", 1, "lsun_bedroom-real"),
        "images/test/lsun_bedroom/vqdiffusion": (
            "lsun_bedroom-vqdiffusion",
            "test",
            1,
            "lsun_bedroom-real",
        ),
        "images/train/imagenet/real": ("imagenet-real", "train", 0, ""),
        "images/train/imagenet/adm": ("imagenet-adm", "train", 1, "imagenet-real"),
    },
    "Community Forensics": {
        "data/train/real/coco": ("real", "train", 0, ""),
        "data/test/real/ffhq": ("real", "test", 0, ""),
        "data/train/fake/stable-diffusion-v1-5": ("stable-diffusion-v1-5", "train", 1, "real"),
        "data/test/fake/SomeOther": ("someother", "test", 1, "real"),
    },
}


def made(root: Path, name: str) -> Path:
    for folder in SETS[name]:
        for image in ("n01440764_10026.JPEG", "n01440764_10027.JPEG", "0_adm_3.png"):
            file = root / folder / image
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    return root


def read(root: Path, **options: str) -> Inventory:
    return LAYOUTS["generator-tree"].inventory(root, LayoutOptions(**options))


@pytest.mark.parametrize("name", SETS)
def test_official_shapes(name: str, tmp_path: Path) -> None:
    root = made(tmp_path, name)
    assert recognize(root)[0] == "generator-tree"
    found = read(root)
    assert not found.left_out and len(found.videos) == 3 * len(SETS[name])
    for video in found.videos:
        dataset, split, label, reals = SETS[name][Path(video.video).parent.as_posix()]
        assert (video.dataset, video.split, video.label) == (dataset, split, label), video.video
        assert found.reals.get(dataset, "") == reals
        assert video.method == (dataset if label else "real")
    fakes = {one.dataset for one in found.videos if one.label}
    own = {one.dataset for one in found.videos if not one.label}
    assert all(one in own or found.reals[one] in own for one in fakes)


def test_several_reals_without_a_rule_are_one_class_and_it_is_said(tmp_path: Path) -> None:
    for place in ("coco/0_real", "ffhq/0_real", "sd/1_fake", "dalle/1_fake"):
        put_image(tmp_path / place / "1.png")
    found = read(tmp_path)
    assert dict(found.reals) == {"sd": "reals", "dalle": "reals"}
    assert sum(one.dataset == "reals" and one.label == 0 for one in found.videos) == 2
    assert any("coco, ffhq are together the real class" in note for note in found.notes)


def test_generators_without_reals_are_named(tmp_path: Path) -> None:
    for place in ("sd/1_fake", "dalle/1_fake"):
        put_image(tmp_path / place / "1.png")
    assert "dalle, sd: there are no real images for these generators." in read(tmp_path).notes


def test_what_was_concluded_is_said(tmp_path: Path) -> None:
    notes = read(made(tmp_path / "a", "ForenSynths")).notes
    assert any("such as train" in note or "such as tvmonitor" in note for note in notes)
    notes = read(made(tmp_path / "b", "GenImage")).notes
    assert "stable_diffusion_v_1_4: the folder val was read as test." in notes
    notes = read(made(tmp_path / "c", "UniversalFakeDetect")).notes
    assert any("paired as in UniversalFakeDetect's list" in note for note in notes)


def test_images_are_alone_unless_a_pattern_groups_them(tmp_path: Path) -> None:
    for number in range(4):
        put_image(tmp_path / f"test/deepfake/1_fake/{number // 2}_frame{number}.png", number)
        put_image(tmp_path / f"test/deepfake/0_real/{number // 2}_frame{number}.png", number)
    assert len(read(tmp_path).videos) == 8
    found = read(tmp_path, video_pattern=r"(?P<video>._(real|fake)/[0-9]+)_frame")
    assert {one.video for one in found.videos} == {"0_real/0", "0_real/1", "1_fake/0", "1_fake/1"}
    with pytest.raises(DatasetError, match="has no group named video"):
        read(tmp_path, video_pattern="[0-9]")
    with pytest.raises(DatasetError, match="is not a regular expression"):
        read(tmp_path, video_pattern="(")


def test_folders_that_say_nothing_or_two_things_are_left_out(tmp_path: Path) -> None:
    root = made(tmp_path, "DiffusionForensics")
    put_image(root / "images/test/lsun_bedroom/masks/1.png")
    put_image(root / "elsewhere/1.png")
    put_image(root / "images/test/lsun_bedroom/real/fake/1.png")
    found = read(root)
    assert set(found.left_out.values()) == {
        "no folder above it says real or fake",
        "folders above it say both real and fake",
    }
    assert len(found.left_out) == 3


@pytest.mark.parametrize(
    "places",
    [
        # Videos as folders of frames, and trees of the layout folder.
        ("celebdf/0_real/id0_0000/1.png", "celebdf/1_fake/id0_id1_0000/1.png"),
        ("test/0_real/1.png", "test/1_fake/1.png"),
        ("mine/real/1.png", "mine/fake/1.png"),
        ("real/v1/1.png", "fake/v1/1.png"),
    ],
)
def test_trees_of_videos_are_left_to_other_layouts(places: tuple[str, str], tmp_path: Path) -> None:
    for place in places:
        put_image(tmp_path / place)
    assert recognize(tmp_path)[0] == "folder"


def test_each_generator_is_a_part_with_the_shared_reals(tmp_path: Path) -> None:
    for place in ("laion/0_real", "imagenet/0_real", "guided/1_fake", "ldm_200/1_fake"):
        put_image(tmp_path / place / "1.png")
        put_image(tmp_path / place / "2.png", 1)
    data = open_dataset("auto", root=tmp_path)
    parts = {one.name: one.samples.table for one in parts_of(data)}
    assert set(parts) == {"guided", "ldm_200"}
    for name, reals in (("guided", "imagenet"), ("ldm_200", "laion")):
        table = parts[name]
        assert sorted(table["label"]) == [0, 0, 1, 1]
        assert all(reals in path for path in table.loc[table["label"] == 0, "path"])
