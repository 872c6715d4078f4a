from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from probe.datasets.layouts import ImageFiles, Inventory, LayoutOptions, VideoFile
from probe.datasets.layouts.manifest import MANIFEST
from probe.errors import DatasetError


def write(root: Path, rows: Sequence[Mapping[str, Any]], name: str = "manifest.csv") -> Path:
    """Write a table, and an empty file for every path in it that stays in the root."""
    for row in rows:
        for column in ("path", "mask"):
            path = str(row.get(column, "")).replace("\\", "/")
            if path and ".." not in path and not path.startswith("/") and "gone" not in path:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).touch()
    table = pd.DataFrame(rows)
    if name.endswith(".csv"):
        table.to_csv(root / name, index=False)
    else:
        table.to_parquet(root / name, index=False)
    return root


def read(root: Path, **options: Any) -> Inventory:
    return MANIFEST.inventory(root, LayoutOptions(**options))


def labels(found: Inventory) -> dict[str, int]:
    return {one.video: one.label for one in found.videos}


FULL = {
    "sample": "s",
    "dataset": "mine",
    "split": "Test",
    "label": 1,
    "method": "swap",
    "video": "v",
    "identity": "p",
    "source": "q",
    "frame": 3,
    "path": "a/x.png",
    "mask": "a/m.png",
}


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.parquet", "samples.csv"])
def test_all_columns(tmp_path: Path, name: str) -> None:
    second = {**FULL, "sample": "t", "frame": 1, "path": "a\\y.png", "mask": ""}
    found = read(write(tmp_path, [FULL, second], name))
    (one,) = found.videos
    assert (one.key, one.label, one.split, one.method) == ("mine/v", 1, "test", "swap")
    assert (one.identity, one.source) == ("p", "q")
    assert one.media == ImageFiles((tmp_path / "a/y.png", tmp_path / "a/x.png"), (1, 3))
    assert one.masks == ImageFiles((tmp_path / "a/m.png",), (3,))
    assert found.notes == () and not found.left_out


def test_missing_columns_are_filled_by_stated_rules(tmp_path: Path) -> None:
    paths = ["f/000_003_12.png", "f/000_003_2.png", "r/v1/0001.png", "r/v1/0002.png", "r/a.png"]
    rows = [{"path": path, "label": int(path.startswith("f"))} for path in [*paths, "r/c1.mp4"]]
    found = read(write(tmp_path, rows))
    assert {one.key: (one.label, one.method, one.split) for one in found.videos} == {
        "manifest/f/000_003": (1, "manifest", ""),
        "manifest/r/v1": (0, "real", ""),
        "manifest/r/a": (0, "real", ""),
        "manifest/r/c1": (0, "real", ""),
    }
    media = {one.video: one.media for one in found.videos}
    assert media["r/c1"] == VideoFile(tmp_path / "r/c1.mp4")
    assert isinstance(media["f/000_003"], ImageFiles) and media["f/000_003"].frames == (2, 12)
    (note,) = found.notes
    assert "there are no masks" in note and "no split is known" in note


def test_images_of_two_identities_are_no_video(tmp_path: Path) -> None:
    """Names look like frames of one video, but the table says that they show two people."""
    rows = [
        {"path": f"{kind}/000_003_{i + 1}.png", "label": kind, "group": group}
        for kind in ("real", "fake")
        for i, group in enumerate(("p", "p", "q") if kind == "real" else ("p", "p", "p"))
    ]
    rows.append({"path": "real/alone.png", "label": "real", "group": ""})
    found = read(write(tmp_path, rows))
    assert {one.video: one.identity for one in found.videos} == {
        "real/000_003_1": "p",
        "real/000_003_2": "p",
        "real/000_003_3": "q",
        "real/alone": "",
        "fake/000_003": "p",
    }
    said = " ".join(found.notes)
    assert "by their 2 identities; 1 without, each a group of its own" in said
    assert "add a column video" not in said


@pytest.mark.parametrize("values", [("0", "1"), (0.0, 1.0), ("real", "fake"), ("REAL", " Fake ")])
def test_spellings_of_the_labels(tmp_path: Path, values: tuple[Any, Any]) -> None:
    rows = [{"path": f"{i}.png", "label": value} for i, value in enumerate(values)]
    assert labels(read(write(tmp_path, rows))) == {"0": 0, "1": 1}


def test_another_convention_has_to_be_said(tmp_path: Path) -> None:
    rows = [{"path": "a.png", "label": 1}, {"path": "b.png", "label": 0}]
    found = read(write(tmp_path, rows), fake_label="0")
    assert labels(found) == {"a": 0, "b": 1}
    assert "0 is fake by the option fake_label, 1 is real" in found.label_convention
    rows = [{"path": "a.png", "label": "Bona fide"}, {"path": "b.png", "label": "spoof"}]
    assert labels(read(write(tmp_path, rows), fake_label="SPOOF")) == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    ("values", "fake_label", "words"),
    [
        ((0, 1, 2), None, r"holds '0', '1', '2'; allowed are 0 and 1 .* See rows 3 below"),
        (("real", "spoof"), None, r"See rows 2 below"),
        ((0, None), None, r"holds '', '0'; .* See rows 2 below"),
        ((0, "fake"), None, r"See rows 2 below"),
        ((True, False), None, r"holds 'false', 'true'"),
        (("a", "b", "c"), "a", r"allowed are 'a' .fake, by fake_label. and one other"),
        (("a", "b"), "c", r"'c' .fake, by fake_label."),
        (("a", ""), "a", r"See rows 2 below"),
    ],
)
def test_labels_that_cannot_be_told(
    tmp_path: Path, values: tuple[Any, ...], fake_label: str | None, words: str
) -> None:
    rows = [{"path": f"{i}.png", "label": value} for i, value in enumerate(values)]
    with pytest.raises(DatasetError, match=words):
        read(write(tmp_path, rows), fake_label=fake_label)


def test_paths_that_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "secret.png").touch()
    root = tmp_path / "root"
    root.mkdir()
    paths = ["a.png", "sub/../a2.png", "../secret.png", "gone.png", "notes.txt", "a.png", ""]
    found = read(write(root, [{"path": path, "label": 0} for path in paths]))
    assert dict(found.left_out) == {
        "../secret.png": "its path leads out of the folder",
        "gone.png": "it is listed and not on disk",
        "notes.txt": "it is neither an image nor a video",
        "a.png (row 6)": "the file is already in row 1",
        "row 7": "its path is empty",
        # Not made by `write`, since ".." is in it.
        "sub/../a2.png": "it is listed and not on disk",
    }
    assert [one.video for one in found.videos] == ["a"]


def test_absolute_paths_are_taken_where_they_lie(tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    (tmp_path / "else/a.png").touch()
    (tmp_path / "root").mkdir()
    found = read(write(tmp_path / "root", [{"path": f"{tmp_path}/else/a.png", "label": 1}]))
    assert found.videos[0].media == ImageFiles((tmp_path / "else/a.png",))


def test_the_option_image_root_and_a_table_given_itself(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").touch()
    table = tmp_path / "lists/any name.csv"
    table.parent.mkdir()
    table.write_text("path,label\na.png,1\n")
    (tmp_path / "lists/other.txt").touch()
    found = read(table, image_root=images)
    assert found.videos[0].media == ImageFiles((images / "a.png",))
    assert not found.left_out
    assert MANIFEST.recognize(table) == "it is a table, any name.csv"


@pytest.mark.parametrize(
    "change", [{"split": "train"}, {"identity": "other"}, {"source": "other"}, {"label": 0}]
)
def test_rows_of_a_video_have_to_agree(tmp_path: Path, change: dict[str, Any]) -> None:
    rows = [FULL, {**FULL, "sample": "t", "frame": 4, "path": "b.png", **change}]
    (name,) = change
    with pytest.raises(DatasetError, match=rf"'v' of 'mine' has two values of {name}: .* in row 2"):
        read(write(tmp_path, rows))


def test_one_file_with_two_labels(tmp_path: Path) -> None:
    rows = [{"path": "a.png", "label": 0}, {"path": "./a.png", "label": 1}]
    with pytest.raises(DatasetError, match=r"Rows 1 and 2 .* give one file, 'a.png', two labels"):
        read(write(tmp_path, rows))


def test_methods_may_share_names_of_videos(tmp_path: Path) -> None:
    rows = [{**FULL, "method": m, "path": f"{m}.png", "mask": ""} for m in ("swap", "reenact")]
    found = read(write(tmp_path, rows))
    assert [one.key for one in found.videos] == ["mine/reenact/v", "mine/swap/v"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split": "dev"}, r"Row 2 below the header has the split 'dev'; allowed are train"),
        ({"frame": "x"}, r"Row 2 below the header has the frame 'x'"),
        ({"frame": -1}, r"the frame '-1'"),
        ({"frame": 3}, r"has 2 images and 1 different frames"),
        ({"frame": ""}, r"has 2 images and 1 different frames"),
    ],
)
def test_bad_cells(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    rows = [FULL, {**FULL, "sample": "t", "path": "b.png", "frame": 4, **change}]
    with pytest.raises(DatasetError, match=words):
        read(write(tmp_path, rows))


def test_bad_tables(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("file,label\na.png,1\n")
    with pytest.raises(DatasetError, match=r"has no column path; it has file, label"):
        read(tmp_path)
    (tmp_path / "manifest.csv").write_bytes(b"path,label\n\xff\xfe,1\n")
    with pytest.raises(DatasetError, match=r"cannot be read .*in UTF-8"):
        read(tmp_path)
    (tmp_path / "manifest.csv").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"cannot be read"):
        read(tmp_path)
    (tmp_path / "manifest.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"cannot be read"):
        read(tmp_path / "manifest.parquet")
    with pytest.raises(DatasetError, match=r"holds manifest.csv, manifest.parquet; a manifest is"):
        read(tmp_path)
    assert MANIFEST.recognize(tmp_path) is None


def test_a_native_dataset_is_not_claimed(tmp_path: Path) -> None:
    for name in ("samples.parquet", "dataset.json", "samples.csv"):
        (tmp_path / name).touch()
    assert MANIFEST.recognize(tmp_path) is None


ROWS = (("pics/éa.png", "fake", "training"), ("pics/b.png", "real", "testing"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_tables_of_other_programs(tmp_path: Path, encoding: str, separator: str) -> None:
    touch(tmp_path, *(row[0] for row in ROWS))
    lines = [separator.join(row) for row in (("Image Path", "Class", "Subset"), *ROWS)]
    (tmp_path / "manifest.csv").write_bytes("\r\n".join(lines).encode(encoding))
    found = read(tmp_path)
    assert {(one.video, one.label, one.split) for one in found.videos} == {
        ("pics/éa", 1, "train"),
        ("pics/b", 0, "test"),
    }
    assert found.without_val
    notes = " ".join(found.notes)
    assert "'Image Path' is path, 'Class' is label, 'Subset' is split" in notes
    assert ("separated by" in notes) == (separator != ",")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def table(root: Path, text: str) -> Path:
    (root / "manifest.csv").write_text(text)
    return root


@pytest.mark.parametrize(
    ("header", "first", "second"),
    [
        ("filename,is_fake", "a.png,1", "b.png,0"),
        ("img,is_real", "a.png,False", "b.png,True"),
        ("file,label", "a.png,manipulated", "b.png,Original"),
        ("path,ground truth", "a.png,AI", "b.png,human"),
        # As in a public table in which 1 is real.
        ("path,label,label_str", "a.png,0,fake", "b.png,1,real"),
    ],
)
def test_columns_that_say_the_class(tmp_path: Path, header: str, first: str, second: str) -> None:
    touch(tmp_path, "a.png", "b.png")
    found = read(table(tmp_path, f"{header}\n{first}\n{second}\n"))
    assert labels(found) == {"a": 1, "b": 0}


def test_excel_states_its_separator(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    assert labels(read(table(tmp_path, "sep=;\npath;label\na.png;1\n"))) == {"a": 1}


@pytest.mark.parametrize(
    "beginning", ["/mnt/other/set/", "E:\\data\\set\\", "C:/set/", "unpacked/set/", "..\\..\\set\\"]
)
def test_paths_of_another_machine(tmp_path: Path, beginning: str) -> None:
    names = ["real/v1/0.png", "real/v1/1.png", "fake/v2/0.png"]
    touch(tmp_path, *names)
    sep = "\\" if "\\" in beginning else "/"
    rows = [f"{beginning}{one.replace('/', sep)},{int('fake' in one)}" for one in names]
    rows.append(f"{beginning}fake{sep}v3{sep}0.png,1")
    root = table(tmp_path, "\n".join(["path,label", *rows]))
    if ".." in beginning:
        with pytest.raises(DatasetError):
            read(root)
        return
    found = read(root)
    files = {one.relative_to(tmp_path).as_posix() for v in found.videos for one in v.media.files}  # type: ignore[union-attr]
    assert files == set(names)
    assert "it is listed and not on disk" in found.left_out.values()
    assert any("where their endings exist" in note for note in found.notes)


def test_a_bare_name_stands_for_one_path_only(tmp_path: Path) -> None:
    touch(tmp_path, "0.png")
    root = table(tmp_path, "path,label\n/far/a/0.png,1\n/far/b/0.png,1\n")
    (one,) = read(root).videos
    assert one.media == ImageFiles((tmp_path / "0.png",), (0,))


@pytest.mark.parametrize("all_wrong", [True, False])
def test_labels_against_folders_are_said(tmp_path: Path, all_wrong: bool) -> None:
    touch(tmp_path, "real/a.png", "fake/b.png")
    root = table(tmp_path, f"path,label\nreal/a.png,1\nfake/b.png,{int(not all_wrong)}\n")
    (note,) = (one for one in read(root).notes if "contradict" in one)
    assert note.startswith(f"{1 + all_wrong} of 2 labels contradict the folders")
    assert ("fake_label=0" in note) == all_wrong
    assert "fake" in note


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (("training", "valid", "testing"), ("train", "val", "test")),
        (("train", "eval", "test"), ("train", "val", "test")),
        (("train", "eval", "validation"), ("train", "test", "val")),
    ],
)
def test_spellings_of_the_splits(
    tmp_path: Path, splits: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    touch(tmp_path, "a.png", "b.png", "c.png")
    rows = [f"{name}.png,1,{split}" for name, split in zip("abc", splits, strict=True)]
    found = read(table(tmp_path, "\n".join(["path,label,split", *rows])))
    assert tuple(one.split for one in found.videos) == expected
