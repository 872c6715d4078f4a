from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from probe.datasets.layouts import Inventory, TarImages
from probe.datasets.layouts.wilddeepfake import WILDDEEPFAKE
from probe.errors import DatasetError
from tests.datasets.trees import put_archive

GOOD = {f"./7/fake/{v}/{n}.png": bytes(600 + n) for v in (10, 9) for n in (1, 10, 2)}


def read(root: Path) -> Inventory:
    put_archive(root / "real_test/1.tar.gz", {"1/real/0/0.png": b"x"})
    return WILDDEEPFAKE.inventory(root)


def test_a_folder_of_an_archive_is_a_video(tmp_path: Path) -> None:
    archive = put_archive(tmp_path / "fake_train/7.tar.gz", GOOD)
    real, *fakes = sorted(read(tmp_path).videos, key=lambda one: one.label)
    assert [one.video for one in fakes] == ["fake_train/7/7/fake/9", "fake_train/7/7/fake/10"]
    assert fakes[0].media == TarImages(
        archive, tuple(f"./7/fake/9/{frame}.png" for frame in (1, 2, 10))
    )
    assert {(v.label, v.method, v.split, v.identity) for v in fakes} == {
        (1, "wilddeepfake", "train", "")
    }
    assert (real.label, real.method, real.split) == (0, "real", "test")


def test_members_that_lead_elsewhere_are_never_followed(tmp_path: Path) -> None:
    file = tmp_path / "fake_train/7.tar.gz"
    file.parent.mkdir()
    with tarfile.open(file, "w:gz") as tar:

        def add(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            tar.addfile(info, io.BytesIO())

        add("a", tarfile.DIRTYPE)
        add("a/0.png")
        add("/etc/0.png")
        add("a/../../0.png")
        add("a\\..\\..\\1.png")
        add("a/link.png", tarfile.SYMTYPE, "/etc/passwd")
        add("a/hard.png", tarfile.LNKTYPE, "a/0.png")
        add("a/null.png", tarfile.CHRTYPE)
        add("a/pipe.png", tarfile.FIFOTYPE)
        add("a/notes.txt")
        add("a/bad\udcff.png")
        add("a/0.png")
    found = read(tmp_path)
    (fake,) = (one for one in found.videos if one.label == 1)
    assert isinstance(fake.media, TarImages) and fake.media.members == ("a/0.png",)
    reasons = {name.split("::")[1]: why for name, why in found.left_out.items()}
    outside, link = "its path leads out of the archive", "it is a link or a device; "
    assert reasons == {
        "/etc/0.png": outside,
        "a/../../0.png": outside,
        "a\\..\\..\\1.png": outside,
        **dict.fromkeys(
            ("a/link.png", "a/hard.png", "a/null.png", "a/pipe.png"),
            link + "these are not followed",
        ),
        "a/notes.txt": "it is not an image",
        "a/bad\\udcff.png": "its name is not valid text",
        "a/0.png": "its name occurs twice; the last is used",
    }
    assert {one.name for one in tmp_path.iterdir()} == {"fake_train", "real_test"}


def damaged(content: bytes) -> dict[str, bytes]:
    """The same archive, damaged in different ways."""
    tar = gzip.decompress(content)
    broken = bytearray(tar)
    broken[1536:2048] = b"\x07" * 512  # Where the header of the second member was.
    crc = bytearray(content)
    crc[-6] ^= 255
    return {
        "empty": b"",
        "no gzip": b"holiday" * 100,
        "no tar": gzip.compress(b"holiday" * 1000),
        "cut": content[: len(content) // 2],
        "cut at the end": content[:-4],
        "header": gzip.compress(bytes(broken)),
        "tar cut inside": gzip.compress(tar[:2100]),
        "tar cut between": gzip.compress(tar[:1536]),
        "checksum": bytes(crc),
    }


@pytest.mark.parametrize("how", list(damaged(gzip.compress(bytes(4096)))))
def test_damaged_archives_are_left_out_whole(tmp_path: Path, how: str) -> None:
    file = put_archive(tmp_path / "fake_train/7.tar.gz", GOOD)
    assert tarfile.open(file).getmembers()[1].offset == 1536
    file.write_bytes(damaged(file.read_bytes())[how])
    found = read(tmp_path)
    assert {one.label for one in found.videos} == {0}
    assert found.left_out["fake_train/7.tar.gz"].startswith("the archive is damaged (")


@pytest.mark.parametrize(
    ("name", "mode"), [("7.tar", "w"), ("7.tgz", "w:gz"), ("7.TAR.GZ", "w:gz")]
)
def test_other_suffixes(tmp_path: Path, name: str, mode: str) -> None:
    put_archive(tmp_path / "fake_train" / name, GOOD, mode)
    fakes = [one.video for one in read(tmp_path).videos if one.label == 1]
    assert fakes == ["fake_train/7/7/fake/9", "fake_train/7/7/fake/10"]


def test_folders_that_are_not_there_are_noted(tmp_path: Path) -> None:
    notes = read(tmp_path).notes
    assert "The folder fake_test is missing." in notes


def test_unpacked_archives_are_not_it(tmp_path: Path) -> None:
    (tmp_path / "fake_train/7/fake/0").mkdir(parents=True)
    (tmp_path / "fake_train/7/fake/0/0.png").touch()
    assert WILDDEEPFAKE.recognize(tmp_path) is None
    with pytest.raises(DatasetError, match=r"none of real_train, .* holds an archive"):
        WILDDEEPFAKE.inventory(tmp_path)
