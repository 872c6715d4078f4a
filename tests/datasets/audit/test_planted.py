"""Every planted fault is found by its name; where none is planted, none is found."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from probe.datasets.dataset import Dataset, Samples, concatenate
from probe.datasets.lab import make
from tests.datasets.audit.making import changed, checks, look, make_clean, picture, save


@pytest.fixture
def clean(tmp_path: Path) -> Dataset:
    return make_clean(tmp_path / "data")


def test_nothing_is_found_where_nothing_is_planted(clean: Dataset) -> None:
    report = look(clean)
    assert report.clean and not report.findings, report.summary()
    assert report.images == len(clean) and report.datasets[0] == "clean/train"


def test_nothing_is_found_on_the_lab(tmp_path: Path) -> None:
    counts = {"train": 10, "val": 5, "test": 5}
    data = make(tmp_path / "lab", size=64, seed=3, n_workers=1, counts=counts)
    report = look(data)
    assert not [one for one in report.findings if one.check != "few-clusters"], report.summary()
    assert not report.errors


def test_a_leaked_video(clean: Dataset) -> None:
    """One frame of a training video stands in test, as another picture of the same person."""

    def leak(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[(table["video"] == "train0") & (table["frame"] == 1), "split"] = "test"
        return table

    report = look(changed(clean, leak))
    found = {one.check: one for one in report.errors}
    assert found["leaked-video"].count == 2 and "train0" in found["leaked-video"].examples
    assert "train and test" in found["leaked-video"].message


def test_an_identity_that_leaks_through_a_swap_pair(clean: Dataset) -> None:
    """Nobody is seen on both sides; but a test fake wears the face of somebody in train."""

    def leak(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[(table["video"] == "test2") & (table["label"] == 1), "source"] = "train5"
        return table

    report = look(changed(clean, leak))
    assert set(checks(report)) == {"leaked-identity"}
    (found,) = report.errors
    assert found.examples == ("train5",) and "none is shown in both" in found.message
    assert "1 cross only as the source or driver" in found.message


COPIES = {
    "jpeg 40": lambda image, file: save(file, image, quality=40),
    "jpeg 75": lambda image, file: save(file, image, quality=75),
    "half": lambda image, file: save(file, cv2.resize(image, None, fx=0.5, fy=0.5)),
    "brighter": lambda image, file: save(file, (image * 0.9 + 20).clip(0, 255).astype(np.uint8)),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_near_duplicate_frame(clean: Dataset, how: str) -> None:
    """A training frame, encoded anew under another name, in test."""
    at = int(np.flatnonzero(clean.samples.table["split"] == "test")[3])
    suffix = "jpg" if how.startswith("jpeg") else "png"
    path = f"test/real/copy.{suffix}"
    COPIES[how](clean.image(0), clean.root / path)

    def plant(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[at, "path"] = path
        return table

    report = look(changed(clean, plant))
    (found,) = (one for one in report.errors if one.check == "near-duplicate")
    assert found.count == 1 and f"train/real/train0_0.png = {path}" in found.examples


def test_val_that_equals_test(clean: Dataset) -> None:
    table = clean.samples.table
    copy = table[table["split"] == "test"].assign(split="val")
    copy["sample"] = "val-" + copy["sample"]
    kept = table[table["split"] != "val"]
    data = changed(clean, lambda _: pd.concat([kept, copy], ignore_index=True))
    found = {one.check: one for one in look(data).errors}
    assert found["val-equals-test"].count == 24 and "100%" in found["val-equals-test"].message
    assert {"leaked-video", "leaked-identity", "shared-file"} <= set(found)


def test_the_same_reals_in_every_split(clean: Dataset) -> None:
    """Only fakes were divided: copies of all real files, under other names, in test."""
    table = clean.samples.table
    reals = table[(table["label"] == 0) & (table["split"] == "train")]
    copies = reals.assign(
        split="test", sample="c-" + reals["sample"], video="c-" + reals["video"], identity=""
    )
    copies["path"] = "copies/real/" + reals["path"].str.replace("/", "-")
    for a, b in zip(reals["path"], copies["path"], strict=True):
        (clean.root / b).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clean.root / a, clean.root / b)
    kept = table[(table["label"] == 1) | (table["split"] == "train")]
    data = changed(clean, lambda _: pd.concat([kept, copies], ignore_index=True))
    found = {one.check: one for one in look(data).errors}
    assert "same-reals" in found and "shared-file" in found
    assert "100% of the real images" in found["same-reals"].message


def test_inverted_labels(clean: Dataset) -> None:
    def invert(table: pd.DataFrame) -> pd.DataFrame:
        table["label"] = 1 - table["label"]
        table["method"] = ["real" if y == 0 else "clean" for y in table["label"]]
        table["source"] = ""
        return table

    report = look(changed(clean, invert))
    assert checks(report) == {"inverted-labels": "error"}
    assert "80 of 80 paths" in report.errors[0].message


def test_a_word_that_all_paths_share_says_nothing(clean: Dataset) -> None:
    """As in "original_size/…" of a manifest, whose other folders say nothing."""

    def move(table: pd.DataFrame) -> pd.DataFrame:
        words = {"real": "a", "fake": "b"}
        for i, path in table["path"].items():
            split, kind, name = path.split("/")
            moved = f"original_size/{split}/{words[kind]}/{name}"
            (clean.root / moved).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(clean.root / path, clean.root / moved)
            table.loc[i, "path"] = moved
        return table

    assert not look(changed(clean, move)).findings


def test_a_few_wrong_labels(clean: Dataset) -> None:
    def wrong(table: pd.DataFrame) -> pd.DataFrame:
        at = (table["video"] == "train3") & (table["label"] == 1)
        table.loc[at, ["label"]] = 0
        return table

    found = checks(look(changed(clean, wrong)))
    assert found == {
        "label-against-path": "warning",
        "label-against-method": "error",
        "real-with-source": "error",
    }


def test_one_image_with_both_labels(clean: Dataset) -> None:
    table = clean.samples.table
    real, fake = (table.index[table["label"] == y][0] for y in (0, 1))
    shutil.copy(clean.root / table["path"][real], clean.root / table["path"][fake])
    assert checks(look(clean)) == {"label-conflict": "error"}


def test_a_mask_on_a_real_image(clean: Dataset) -> None:
    save(clean.root / "mask.png", np.full((96, 96), 255, np.uint8))
    save(clean.root / "empty.png", np.zeros((96, 96), np.uint8))

    def mask(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[table["label"] == 0, "mask"] = "empty.png"
        table.loc[0, "mask"] = "mask.png"
        return table

    report = look(changed(clean, mask))
    assert checks(report) == {"real-with-mask": "error"} and report.errors[0].count == 1


def encoded_anew(data: Dataset, options: tuple[dict[str, object], dict[str, object]]) -> Dataset:
    """All images as JPEG, with the options of their class."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        for i, row in table.iterrows():
            path = f"jpeg/{row['path']}".replace(".png", ".jpg")
            save(data.root / path, data.image(int(str(i))), **options[row["label"]])
            table.loc[i, "path"] = path
        return table

    return changed(data, change)


def test_a_jpeg_quality_confound(clean: Dataset) -> None:
    """Real at quality 95, fake at 60: labels without a look at the picture."""
    report = look(encoded_anew(clean, ({"quality": 95}, {"quality": 60})))
    # Quality sets the file size, too.
    assert checks(report) == {"metadata-confound": "error", "content-confound": "warning"}
    (found,) = report.errors
    assert "with AUROC 1.00 [1.00, 1.00]" in found.message
    assert "quality is 95 for real and 60 for fake" in found.message
    assert found.examples[0] == "quality"
    alone = {one.name: one for one in report.measures}
    assert alone["quality auroc"].value == 1 and alone["metadata auroc"].n_clusters == 20


def test_a_confound_of_few_videos_is_a_warning(clean: Dataset) -> None:
    """Of two persons a class nothing can be cross-validated; what differs is said all the same."""
    few = changed(clean, lambda t: t[t["video"].isin(["train0", "train1", "val0", "test0"])])
    report = look(encoded_anew(few, ({"quality": 95}, {"quality": 60})))
    found = {one.check: one for one in report.findings if one.check != "few-clusters"}
    assert set(found) == {"metadata-confound"} and not report.errors
    assert found["metadata-confound"].severity == "warning"
    assert "quality with AUROC 1.00 (no interval: 4 clusters)" in found["metadata-confound"].message
    assert {one.name: one.value for one in report.measures}["metadata auroc"] is None


def test_few_videos_with_other_sources_are_no_finding(clean: Dataset) -> None:
    few = changed(clean, lambda t: t[t["video"].isin(["train0", "train1", "val0", "test0"])])
    data = changed(few, lambda t: t.assign(source_bitrate=t["label"].map({0: 1000, 1: 1900})))
    assert set(checks(look(data))) == {"few-clusters"}


def test_equal_quality_is_no_confound(clean: Dataset) -> None:
    report = look(encoded_anew(clean, ({"quality": 80}, {"quality": 80})))
    assert not report.findings
    assert {one.name: one.value for one in report.measures}["metadata auroc"] == 0.5


def test_chroma_subsampling_alone_is_a_confound(clean: Dataset) -> None:
    options = {"quality": 80, "subsampling": 0}, {"quality": 80, "subsampling": 2}
    (found,) = look(encoded_anew(clean, options)).errors
    assert found.examples == ("subsampling",)


def test_mixed_resolutions(clean: Dataset) -> None:
    """Fakes of half the size: a confound, and mixed sizes."""
    for i in np.flatnonzero(clean.labels == 1):
        file = clean.root / clean.samples.table["path"].iloc[i]
        save(file, cv2.resize(clean.image(int(i)), (48, 48)))
    report = look(clean)
    found = {one.check: one for one in report.findings}
    assert set(found) == {"metadata-confound", "mixed-resolutions", "content-confound"}
    mixed = found["mixed-resolutions"]
    assert mixed.severity == "warning" and set(mixed.examples) == {"96×96: 40", "48×48: 40"}


def test_smooth_fakes_are_told_by_one_number(clean: Dataset) -> None:
    """Fakes blurred, all as PNG of one size: sharper, and larger files, are real."""
    for i in np.flatnonzero(clean.labels == 1):
        file = clean.root / clean.samples.table["path"].iloc[i]
        save(file, cv2.GaussianBlur(clean.image(int(i)), (5, 5), 0))
    report = look(clean)
    assert checks(report) == {"content-confound": "warning"}
    (found,) = report.of("warning")
    # In images of one size, bytes per pixel are the file size.
    assert set(found.examples) == {"sharpness", "bytes"}
    measured = {one.name: one for one in report.measures}
    gray = [cv2.cvtColor(clean.image(i), cv2.COLOR_RGB2GRAY) for i in range(len(clean))]
    edges = [np.pad(one.astype(float), 1, mode="reflect") for one in gray]
    sharp = [
        (e[:-2, 1:-1] + e[2:, 1:-1] + e[1:-1, :-2] + e[1:-1, 2:] - 4 * e[1:-1, 1:-1]).var()
        for e in edges
    ]
    real, fake = (np.array(sharp)[clean.labels == y] for y in (0, 1))
    wins = (real[:, None] > fake).mean()
    assert measured["sharpness auroc"].value == pytest.approx(max(wins, 1 - wins))
    assert f"{np.median(real):.4g} for real and {np.median(fake):.4g} for fake" in found.message


def test_one_image_of_two_people_in_one_split(clean: Dataset) -> None:
    """The same footage under two identities; of one identity it is no finding."""
    table = clean.samples.table
    rows = table.index[(table["split"] == "train") & (table["label"] == 0)]
    first = next(i for i in rows if table["identity"][i] == "train1")
    other = next(i for i in rows if table["identity"][i] == "train4")
    pixels = (clean.image(int(first)) * 0.95 + 5).astype(np.uint8)
    save(clean.root / table["path"][other], pixels)
    report = look(clean)
    assert checks(report) == {"copies-between-clusters": "warning"}
    (found,) = report.findings
    assert found.count == 1 and "2 images of train, in 1 pair," in found.message
    assert found.examples == (f"{table['path'][first]} = {table['path'][other]}",)
    joined = changed(clean, lambda t: t.assign(identity=t["identity"].replace("train4", "train1")))
    assert not look(joined).findings


def test_a_fake_that_hardly_differs_from_its_real(clean: Dataset) -> None:
    table = clean.samples.table
    people = (table["identity"] == "test2") & (table["frame"] == 0)
    (real,), (fake,) = (table.index[people & (table["label"] == y)] for y in (0, 1))
    save(clean.root / table["path"][fake], np.clip(clean.image(int(real)), 0, 254) + 1)
    report = look(clean)
    assert checks(report) == {"unchanged-fake": "note"}
    (found,) = report.findings
    assert "1 of 40 fakes differ" in found.message
    assert found.examples == (f"{table['path'][fake]} = {table['path'][real]}",)
    save(clean.root / table["path"][fake], np.clip(clean.image(int(real)), 0, 252) + 3)
    assert not look(clean).findings


def test_sizes_mixed_in_both_classes_are_no_confound(clean: Dataset) -> None:
    """By person, so that real and fake of each have one size."""
    for i, video in enumerate(clean.samples.table["video"]):
        if int(video[-1]) % 2:
            file = clean.root / clean.samples.table["path"].iloc[i]
            save(file, cv2.resize(clean.image(i), (48, 48)))
    assert checks(look(clean)) == {"mixed-resolutions": "warning"}


def test_a_confound_of_the_source_videos(clean: Dataset) -> None:
    """Crops are alike; but the fakes' videos had another codec."""

    def plant(table: pd.DataFrame) -> pd.DataFrame:
        table["source_codec"] = np.where(table["label"] == 1, "mpeg4", "h264")
        table["crop_side"] = 100 + 50 * table["label"]
        return table

    report = look(changed(clean, plant))
    assert checks(report) == {"metadata-confound": "error", "crop-size-confound": "warning"}
    assert "mostly h264 for real and mostly mpeg4 for fake" in report.errors[0].message


def test_an_empty_class_and_few_clusters(clean: Dataset) -> None:
    table = clean.samples.table
    no_val = changed(clean, lambda t: t[(t["split"] != "val") | (t["label"] == 1)])
    assert checks(look(no_val)) == {"empty-class": "error"}
    few = changed(clean, lambda t: t[(t["split"] != "test") | t["video"].isin(["test0", "test1"])])
    assert checks(look(few)) == {"few-clusters": "warning"}
    uneven = table[(table["label"] == 1) | table["video"].isin(["train0", "val0", "test0"])]
    assert "few-clusters" in checks(look(changed(clean, lambda _: uneven)))


def test_fakes_are_judged_with_the_originals_they_share(clean: Dataset) -> None:
    """As in FaceForensics++: originals in a dataset of their own, said in the card."""

    def apart(table: pd.DataFrame) -> pd.DataFrame:
        table["dataset"] = np.where(table["label"] == 1, "deepfakes", "youtube")
        table["method"] = np.where(table["label"] == 1, "deepfakes", "real")
        return table

    data = changed(clean, apart)
    assert {one.check for one in look(data).errors} == {"empty-class"}
    shared = replace(data, card={"reals": {"deepfakes": "youtube"}})
    assert look(shared).clean
    # What was not given, though the card names it, is no error of what was.
    for one in ("deepfakes", "youtube"):
        assert checks(look(shared.select(dataset=one))) == {"empty-class": "note"}
    no_reals = shared.samples.table
    no_reals = no_reals[(no_reals["split"] != "val") | (no_reals["label"] == 1)]
    assert checks(look(changed(shared, lambda _: no_reals))) == {"empty-class": "error"}


def test_two_datasets_that_share_images(clean: Dataset, tmp_path: Path) -> None:
    other = make_clean(tmp_path / "other", "another")
    assert look(clean, other).clean
    shutil.copy(clean.root / "train/real/train0_0.png", other.root / "train/real/train0_0.png")
    save(other.root / "test/fake/test0_0.png", clean.image(2))
    report = look(clean, other)
    shared = {one.severity: one for one in report.findings if one.check == "shared-file"}
    assert shared["warning"].count == 1 and shared["warning"].dataset == "clean, another"
    assert shared["error"].count == 1 and "train and test" in shared["error"].message


def test_pictures_differ() -> None:
    """The maker's pictures are no near duplicates of each other."""
    a, b = (Image.fromarray(picture(seed)).convert("L") for seed in (1, 2))
    assert abs(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]) < 0.9


@pytest.mark.parametrize("renamed", [False, True])
def test_originals_that_joined_parts_share_are_no_copies(tmp_path: Path, renamed: bool) -> None:
    whole = make_clean(tmp_path)
    second = "other" if renamed else "face2face"
    parts = {}
    for name, said in (("deepfakes", "deepfakes"), (second, "face2face")):
        table = whole.samples.table.assign(dataset=name)
        # Fakes of their own; the originals are the same files.
        table = table[(table["label"] == 0) | (table.index % 2 == int(name == second))]
        table["sample"] = f"{name}/" + table["sample"]
        parts[name] = Dataset(name, Samples(table), tmp_path, {"reals": {said: "youtube"}})
    joined = concatenate(list(parts.values()), "study")
    assert "shared-file" not in checks(look(joined))
    unsaid = replace(joined, card={"parts": {name: {} for name in parts}})
    assert checks(look(unsaid))["shared-file"] == "warning"
