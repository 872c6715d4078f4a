"""Small trees in the exact shapes in which each layout's authors distribute theirs."""

from __future__ import annotations

import csv
import functools
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import pyarrow as pa
import pyarrow.parquet as pq

from tests.datasets.drawing import draw_face, make_tree, moving, write_video


@functools.cache
def _video(number: int) -> Path:
    """One of a few encoded videos; each is encoded once a run."""
    folder = Path(tempfile.mkdtemp(prefix="trees"))
    return write_video(folder / f"{number}.mp4", moving(4 + number % 2, seed=number))


@functools.cache
def _image(number: int, suffix: str) -> bytes:
    face = draw_face(x=64, y=56, radius=30, width=128, height=128, seed=number)
    return bytes(cv2.imencode(suffix, face[..., ::-1])[1])


def put_video(file: Path, number: int = 0) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_video(number % 3), file)
    return file


def put_image(file: Path, number: int = 0) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_image(number % 6, file.suffix))
    return file


def put_text(file: Path, content: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")
    return file


def faceforensics(root: Path) -> Path:
    return make_tree(root)


def dfd(root: Path) -> Path:
    put_video(root / "original_sequences/actors/c23/videos/01__walking_outside.mp4")
    put_video(root / "original_sequences/actors/c23/videos/02__walking_outside.mp4", 1)
    fake = root / "manipulated_sequences/DeepFakeDetection"
    put_video(fake / "c23/videos/01_02__walking_outside__YVGY8LOK.mp4", 2)
    put_video(fake / "masks/videos/01_02__walking_outside__YVGY8LOK.mp4", 2)
    return root


def _celebdf(root: Path, version: str, youtube: str, lines: int) -> Path:
    """Write a tree whose testing list has the official length; most listed videos are absent."""
    inner = "videos/" if version == "v1" else ""
    for i, name in enumerate(
        (
            "Celeb-real/{}id0_0000",
            "Celeb-real/{}id1_0000",
            "Celeb-synthesis/{}id0_id1_0000",
            "Celeb-synthesis/{}id1_id0_0000",
            f"{youtube}/{{}}00000",
        )
    ):
        put_video(root / (name.format(inner) + ".mp4"), i)
    listed = ["1 Celeb-real/id1_0000.mp4", "0 Celeb-synthesis/id1_id0_0000.mp4"]
    listed += [f"1 {youtube}/{i:05}.mp4" for i in range(lines - len(listed))]
    put_text(root / "List_of_testing_videos.txt", "\n".join(listed) + "\n")
    return root


def celebdf_v1(root: Path) -> Path:
    return _celebdf(root, "v1", "YouTube-real", 100)


def celebdf_v2(root: Path) -> Path:
    return _celebdf(root, "v2", "Youtube-real", 518)


def celebdf_pp(root: Path) -> Path:
    """Write a few of the 22 methods, each with one listed video."""
    lines = ["1 YouTube-real/00170.mp4", "1 Celeb-real/id1_0007.mp4"]
    for i, name in enumerate(("Celeb-real/id1_0007", "Celeb-real/id2_0001", "YouTube-real/00170")):
        put_video(root / f"{name}.mp4", i)
    names = {"FaceSwap": "id1_id2_{}", "FaceReenact": "id1_id2_{}", "TalkingFace": "id1_{}_id3_a"}
    for family, methods in (
        ("FaceSwap", ("Celeb-DF", "SimSwap")),
        ("FaceReenact", ("LIA",)),
        ("TalkingFace", ("IP_LAP",)),
    ):
        for method in methods:
            for number in ("0007", "0008"):
                name = f"Celeb-synthesis/{family}/{method}/{names[family].format(number)}.mp4"
                put_video(root / name, int(number))
            lines.append(f"0 {name}")
    put_text(root / "List_of_testing_videos.txt", "\n".join(lines) + "\n")
    return root


def dfdc(root: Path) -> Path:
    parts = {
        "dfdc_train_part_0": {
            "aaaaaaaaaa.mp4": {"label": "REAL", "split": "train", "original": None},
            "bbbbbbbbbb.mp4": {"label": "FAKE", "split": "train", "original": "aaaaaaaaaa.mp4"},
        },
        "dfdc_train_part_1": {"cccccccccc.mp4": {"label": "FAKE", "split": "train"}},
    }
    for number, (part, rows) in enumerate(parts.items()):
        put_text(root / part / "metadata.json", json.dumps(rows))
        for i, name in enumerate(rows):
            put_video(root / part / name, number + i)
    put_text(root / "test/labels.csv", "filename,label\ndddddddddd.mp4,0\neeeeeeeeee.mp4,1\n")
    for i, name in enumerate(("dddddddddd", "eeeeeeeeee")):
        put_video(root / f"test/videos/{name}.mp4", i)
    return root


def dfdc_preview(root: Path) -> Path:
    rows = {
        "original_videos/643049/643049_A_001.mp4": {
            "label": "real",
            "set": "train",
            "target_id": "643049",
            "augmentations": [],
        },
        "method_A/1224068/1224068_A/1224068_643049_A_000.mp4": {
            "label": "fake",
            "set": "test",
            "target_id": "1224068",
            "swapped_id": "643049",
            "augmentations": [],
        },
    }
    put_text(root / "dataset.json", json.dumps(rows))
    for i, name in enumerate(rows):
        put_video(root / name, i)
    return root


def deeperforensics(root: Path) -> Path:
    names = {"train": "000_M101", "val": "003_W004", "test": "010_M013"}
    for variant in ("end_to_end", "end_to_end_level_1"):
        for i, name in enumerate(names.values()):
            put_video(root / "manipulated_videos" / variant / f"{name}.mp4", i)
    for split, name in names.items():
        put_text(root / f"lists/splits/{split}.txt", f"{name}.mp4\n")
    put_video(root / "source_videos/M101/light_up/happy/M101_light_up_happy_camera_front.mp4")
    put_text(root / "terms_of_use.pdf", "")
    return root


def put_archive(file: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    """Write an archive whose members begin with "./", as the official ones do."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file


def wilddeepfake(root: Path) -> Path:
    for i, folder in enumerate(("real_train", "fake_train", "real_test", "fake_test")):
        kind = folder.split("_")[0]
        members = {
            f"./{i}/{kind}/{video}/{frame}.png": _image(video + frame, ".png")
            for video in (0, 10, 9)
            for frame in (1, 10, 2)
        }
        put_archive(root / folder / f"{i}.tar.gz", members)
    return root


def df40(root: Path) -> Path:
    for frame in (0, 30, 4):
        put_image(root / f"simswap/ff/frames/000_003/{frame:03}.png", frame)
        put_image(root / f"simswap/cdf/frames/id0_id1_0000/{frame:03}.png", frame)
        put_image(root / f"sadtalker/ff/000_003/{frame:03}.png", frame)
        put_image(root / f"MidJourney/fake/{frame}.png", frame)
        put_image(root / f"MidJourney/real/{frame}.png", frame)
    put_text(root / "simswap/ff/landmarks/000_003/000.npy", "")
    return root


def deepfakebench(root: Path) -> Path:
    """Lists in preprocessing/dataset_json, frames in datasets/rgb, names with backslashes."""
    rgb = root / "datasets/rgb"

    def video(group: str, folder: str, name: str, masks: str = "") -> dict[str, object]:
        out: dict[str, object] = {"label": group}
        for key, place, numbers in (("frames", folder, (10, 0, 2)), ("masks", masks, (2, 10, 0))):
            files = [f"{place}/{name}/{n:03}.png" for n in numbers if place]
            for i, one in enumerate(files):
                put_image(rgb / one, i)
            out[key] = [one.replace("/", "\\") for one in files]
        return out

    ff = "FaceForensics++"
    youtube = f"{ff}/original_sequences/youtube/c23/frames"
    fakes = f"{ff}/manipulated_sequences/Deepfakes/c23"

    def level(**videos: dict[str, object]) -> dict[str, object]:
        return {"c23": videos, "c40": {}}

    masked = video("FF-DF", f"{fakes}/frames", "000_010", f"{fakes}/masks")
    lists = {
        "FF-DF": {
            "FF-DF": {
                "FF-real": {
                    "train": level(**{"000": video("FF-real", youtube, "000")}),
                    "val": level(),
                    "test": level(**{"003": video("FF-real", youtube, "003")}),
                },
                "FF-DF": {
                    "train": level(**{"000_010": masked}),
                    "val": level(),
                    "test": level(**{"003_017": video("FF-DF", f"{fakes}/frames", "003_017")}),
                },
            }
        },
        "Celeb-DF-v2": {
            "Celeb-DF-v2": {
                "CelebDFv2_real": _celeb_splits(video, "CelebDFv2_real", "Celeb-real", "id0_0000"),
                "CelebDFv2_fake": _celeb_splits(
                    video, "CelebDFv2_fake", "Celeb-synthesis", "id0_id1_0000"
                ),
            }
        },
    }
    for name, content in lists.items():
        put_text(root / f"preprocessing/dataset_json/{name}.json", json.dumps(content))
    return root


def _celeb_splits(
    video: Callable[[str, str, str], dict[str, object]], group: str, folder: str, name: str
) -> dict[str, object]:
    """Write splits as the benchmark does: train holds all, val equals test."""
    one = {name: video(group, f"Celeb-DF-v2/{folder}/frames", name)}
    other = name.replace("id0", "id7")
    more = {other: video(group, f"Celeb-DF-v2/{folder}/frames", other)}
    return {"train": {**one, **more}, "val": one, "test": one}


def generator_tree(root: Path) -> Path:
    """ForenSynths: ProGAN in folders of LSUN classes, one of which is named train."""
    places = [f"{split}/{name}" for split in ("train", "val") for name in ("airplane", "train")]
    places += ["test/progan/airplane", "test/progan/train", "test/biggan"]
    for i, place in enumerate(places):
        put_image(root / place / "0_real/00001.png", i)
        put_image(root / place / "1_fake/00001.png", i + 1)
        put_image(root / place / "1_fake/00002.png", i + 2)
    return root


def put_table(file: Path, columns: dict[str, list[object]], **options: object) -> Path:
    """Write a Parquet file; images are structs of bytes and path, as Hugging Face writes them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file, **options)
    return file


def packed(number: int, suffix: str = ".png") -> dict[str, object]:
    return {"bytes": _image(number % 6, suffix), "path": f"{number}{suffix}"}


def huggingface(root: Path) -> Path:
    """OpenFake: image, label, model and prompt, in files named by their split."""
    for split, start in (("train", 0), ("test", 4)):
        rows = range(start, start + 4)
        put_table(
            root / f"data/{split}-00000-of-00001.parquet",
            {
                "image": [packed(i, (".png", ".jpg")[i % 2]) for i in rows],
                "label": [("real", "fake")[i % 4 > 1] for i in rows],
                "model": [("real", "real", "flux.1-dev", "sd-3.5")[i % 4] for i in rows],
                "prompt": ["a face"] * 4,
            },
            row_group_size=3,
        )
    put_text(root / "README.md", "")
    return root


def deepfake_eval(root: Path) -> Path:
    """Images and videos with their tables; a name is damaged, and a label unknown."""
    images = [("a.jpg", "Real", "Train"), ("b.png", "Fake", "Test"), ("c.png", "unknown", "Test")]
    videos = [("-x.mp4", "Real", "Test"), ("y.mp4", "Fake", "Train"), ("#NAME?", "Fake", "Test")]
    for kind, rows in (("image", images), ("video", videos)):
        lines = ["Filename,Link,Ground Truth,Finetuning Set"]
        for i, (name, label, part) in enumerate(rows):
            lines.append(f"{name},,{label},{part}")
            if not name.startswith("#"):
                (put_image if kind == "image" else put_video)(root / f"{kind}-data/{name}", i)
        put_text(root / f"{kind}-metadata-publish.csv", "\n".join(lines) + "\n")
    put_text(root / "audio-data/a.mp3", "")
    return root


def fakeavceleb(root: Path) -> Path:
    """The official table, whose header names nine of its ten columns."""
    lines = ["source,target1,target2,method,category,type,race,gender,path,"]
    for i, (kind, method, target, name) in enumerate(
        (
            ("RealVideo-RealAudio", "real", "-", "00109.mp4"),
            ("RealVideo-FakeAudio", "rtvc", "-", "00109_fake.mp4"),
            ("FakeVideo-RealAudio", "faceswap", "id00166", "00109_id00166_AbC_faceswap.mp4"),
            ("FakeVideo-FakeAudio", "wav2lip", "id00476", "00109_10_id00476_wavtolip.mp4"),
        )
    ):
        place = f"{kind}/African/men/id00076"
        put_video(root / place / name, i)
        category = "ABCD"[i]
        lines.append(
            f"id00076,{target},-,{method},{category},{kind},African,men,{name},FakeAVCeleb/{place}"
        )
    put_text(root / "meta_data.csv", "\n".join(lines) + "\n")
    return root


def ffiw(root: Path) -> Path:
    """Sources and targets of one number are no pair; masks lie beside the targets' videos."""
    for i, split in enumerate(("train", "val", "test")):
        put_video(root / f"source/{split}/videos/{split}_00000001.mp4", i)
        put_video(root / f"target/{split}/videos/{split}_00000001.mp4", i + 1)
        put_video(root / f"target/{split}/masks/{split}_00000001.mp4", i + 1)
    put_text(root / "train_v2.txt", "")
    return root


def folder(root: Path) -> Path:
    """The study's own shape: {train,val,test}/{real,fake}/<image>."""
    for split in ("train", "val", "test"):
        for kind, name in (("real", "id0_0000"), ("fake", "id0_id1_0000")):
            for frame in (1, 10, 2):
                put_image(root / split / kind / f"{split}_{name}_{frame}.jpg", frame)
    return root


def manifest(root: Path) -> Path:
    rows = []
    for label in (0, 1):
        for frame in (0, 5):
            path = put_image(root / f"images/v{label}/{frame:04}.png", frame)
            rows.append(
                {
                    "sample": f"s{label}{frame}",
                    "dataset": "mine",
                    "split": "test",
                    "label": label,
                    "method": ("real", "swap")[label],
                    "video": f"v{label}",
                    "identity": f"p{label}",
                    "source": "",
                    "frame": frame,
                    "path": path.relative_to(root).as_posix(),
                    "mask": "",
                }
            )
    with (root / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root


TREES: dict[str, Callable[[Path], Path]] = {
    "faceforensics": faceforensics,
    "dfd": dfd,
    "celebdf-v1": celebdf_v1,
    "celebdf-v2": celebdf_v2,
    "celeb-df++": celebdf_pp,
    "dfdc": dfdc,
    "dfdc-preview": dfdc_preview,
    "deeperforensics": deeperforensics,
    "wilddeepfake": wilddeepfake,
    "df40": df40,
    "deepfakebench": deepfakebench,
    "deepfake-eval-2024": deepfake_eval,
    "fakeavceleb": fakeavceleb,
    "ffiw": ffiw,
    "generator-tree": generator_tree,
    "huggingface-parquet": huggingface,
    "folder": folder,
    "manifest": manifest,
}
"""Builders by the name of the layout; each writes into an existing folder and returns the root."""
