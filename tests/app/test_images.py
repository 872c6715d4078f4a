"""Images that lie outside of the run: which are opened, for whom, and what is said of the others.

The rule is stated a second time here, file by file: what a folder that was allowed holds, byte for
byte as the run was made from it, is shown; nothing else outside of the run is.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flask.testing import FlaskClient
from PIL import Image

from app.images import lacks_of
from app.run import Run
from probe.datasets.loader import Images
from probe.errors import ProbeError
from probe.images import KEY_FILE, NotShownError, run_data, token_of
from probe.run import RunFolder
from probe.thumbnails import Thumbnails, write_thumbnails
from tests.app.calling import card_of, said
from tests.app.conftest import client_of
from tests.app.making import DETECTORS, MadeRun, take_out_images, write_manifest

#: What a browser says that asks for an image of a page.
AS_IMAGE = {"Accept": "image/avif,image/webp,image/svg+xml,image/*,*/*;q=0.8"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, where the key lies that seals roots."""
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def afield(own: MadeRun, tmp_path: Path) -> RunFolder:
    """A run whose images lie where a user's own do."""
    return take_out_images(own, tmp_path / "pictures")


def table_of(folder: RunFolder) -> pd.DataFrame:
    return pd.read_parquet(folder.data / "samples.parquet")


def status(folder: RunFolder, row: int = 1, route: str = "thumb", **given: Any) -> int:
    token = token_of(str(table_of(folder)["sample"][row]))
    return client_of(folder.root, **given).get(f"/{route}/{token}").status_code


def forge(folder: RunFolder, row: int, **columns: str) -> None:
    table = table_of(folder)
    for name, value in columns.items():
        table.loc[row, name] = value
    table.to_parquet(folder.data / "samples.parquet", index=False)


# --- What is opened -------------------------------------------------------------------------------


def test_images_are_served_from_where_they_lie(afield: RunFolder) -> None:
    client, table = client_of(afield.root), table_of(afield)
    row = int(table.index[table["label"] == 1][0])
    token = token_of(str(table["sample"][row]))
    for route, kind in (("thumb", "webp"), ("image", "webp"), ("outline", "png")):
        answer = client.get(f"/{route}/{token}")
        assert answer.status_code == 200 and answer.mimetype == f"image/{kind}", route
    # Decoded and encoded anew: the file's own bytes are never sent.
    assert client.get(f"/thumb/{token}").data != Path(table["path"][row]).read_bytes()
    assert client.get(f"/map/{token}/{token_of(DETECTORS[0])}/gradcam").status_code == 200


def test_a_moved_run_still_finds_them(afield: RunFolder, tmp_path: Path) -> None:
    afield.root.rename(tmp_path / "moved")
    assert status(RunFolder(tmp_path / "moved")) == 200


def test_without_the_key_of_this_machine_nothing_is_opened(afield: RunFolder, cache: Path) -> None:
    key = cache / KEY_FILE
    assert status(afield) == 200
    assert key.stat().st_mode & 0o077 == 0
    key.unlink()
    assert status(afield) == 404
    # Another user's key does not fit either.
    key.write_bytes(os.urandom(32))
    assert status(afield) == 404
    assert status(afield, images=[cache.parent / "pictures"]) == 200


def test_forged_roots_are_not_believed(afield: RunFolder, tmp_path: Path) -> None:
    noted = afield.read_manifest()
    roots, seal = noted["image_roots"], noted["image_seal"]
    for forged in (
        {"image_roots": ["/"]},
        {"image_roots": [*roots, str(tmp_path)]},
        {"image_seal": "0" * 64},
        {"image_seal": ""},
        {"image_seal": seal[:-1]},
        {"image_seal": "\ud800"},
    ):
        write_manifest(afield, **{"image_roots": roots, "image_seal": seal, **forged})
        assert status(afield) == 404, forged
    write_manifest(afield, image_roots=roots, image_seal=seal)
    assert status(afield) == 200


HOSTILE: dict[str, Callable[[Path], str]] = {
    "a file of the system": lambda root: "/etc/passwd",
    "above the root": lambda root: str(root / ".." / "private.png"),
    "a folder": lambda root: str(root),
    "a device": lambda root: "/dev/zero",
    "a pipe": lambda root: str(root / "pipe"),
    "by a link": lambda root: str(root / "link.png"),
    "by a linked folder": lambda root: str(root / "up" / "private.png"),
    "a null byte": lambda root: str(root / "a\0b.png"),
    "too long": lambda root: "/" + "x/" * 3000,
    "no image": lambda root: str(root / "notes.txt"),
    "out of the run": lambda root: "../../private.png",
}


@pytest.mark.parametrize("allowed", [False, True])
def test_a_hostile_table_opens_nothing_else(
    afield: RunFolder, tmp_path: Path, allowed: bool
) -> None:
    root = tmp_path / "pictures"
    Image.new("RGB", (8, 8), (200, 0, 0)).save(tmp_path / "private.png")
    (root / "link.png").symlink_to(tmp_path / "private.png")
    (root / "up").symlink_to(tmp_path)
    (root / "notes.txt").write_text("root:x:0:0")
    os.mkfifo(root / "pipe")
    table = table_of(afield)
    fakes = iter(table.index[table["label"] == 1])
    rows = {(kind, column): int(next(fakes)) for kind in HOSTILE for column in ("path", "mask")}
    for (kind, column), row in rows.items():
        forge(afield, row, **{column: HOSTILE[kind](root)})
    client = client_of(afield.root, images=[root] if allowed else [])
    for (kind, column), row in rows.items():
        token = token_of(str(table["sample"][row]))
        for route in ("thumb", "image") if column == "path" else ("outline",):
            plain = client.get(f"/{route}/{token}")
            drawn = client.get(f"/{route}/{token}", headers=AS_IMAGE)
            assert plain.status_code == 404 and drawn.mimetype == "image/svg+xml", (kind, route)
            assert "root:x" not in plain.text + drawn.text and "private" not in plain.text
        # Maps need no image, and the pages say what is not shown and why.
        for laid in ("", "?as=overlay"):
            answer = client.get(f"/map/{token}/{token_of(DETECTORS[0])}/gradcam{laid}")
            assert answer.status_code in (200, 404) and answer.mimetype != "image/svg+xml"
        if column == "path":
            shown = str(card_of(client, "sample-view", f"?sample={token}"))
            assert "This image is not shown" in shown, kind
    assert "Images of alpha, beta are not shown" in said(client, "/")


def test_an_image_of_the_same_folder_is_opened_only_if_it_is_the_one(
    afield: RunFolder, tmp_path: Path
) -> None:
    """A table that names another file below its root shows it to nobody: the digest is not its."""
    other = tmp_path / "pictures" / "other.png"
    Image.new("RGB", (8, 8), (200, 0, 0)).save(other)
    before = table_of(afield)["path"][1]
    forge(afield, 1, path=str(other))
    with pytest.raises(NotShownError, match="another file is in the place of the image"):
        run_data(afield).image(1)
    forge(afield, 1, path=before)
    assert run_data(afield).image(1).shape == (16, 16, 3)
    forge(afield, 1, digest="")
    with pytest.raises(NotShownError, match="no digest to identify"):
        run_data(afield).image(1)


def test_what_is_taken_from_the_data_is_as_careful(afield: RunFolder) -> None:
    forge(afield, 1, path="/etc/passwd")
    data = run_data(afield)
    parts = data.take([0, 1]), data.select(split="test"), data.by_dataset()["alpha"]
    for part in parts:
        part.image(0)
        with pytest.raises(NotShownError):
            part.image(1)
        with pytest.raises(NotShownError):
            part.array([0, 1], 16)
        # Those who read ahead of a network ask for the files themselves.
        for read in (part.files, partial(Images, part, 16)):
            with pytest.raises(NotShownError):
                read()
        assert part.take([0]).files() == [str(part.locate(0))]


# --- Where the images were moved ------------------------------------------------------------------


def test_moved_images_are_found_by_the_end_of_their_paths(
    afield: RunFolder, tmp_path: Path
) -> None:
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "pictures").rename(tmp_path / "disk" / "deep" / "pictures")
    assert status(afield) == 404
    for root in ("disk/deep", "disk/deep/pictures", "disk/deep/pictures/images"):
        assert status(afield, images=[tmp_path / root]) == 200, root
    # Two folders up the end of the path does not fit, and nothing is searched for.
    assert status(afield, images=[tmp_path / "disk"]) == 404
    table = table_of(afield)
    row = int(table.index[table["label"] == 1][0])
    assert status(afield, row, "outline", images=[tmp_path / "disk" / "deep"]) == 200


def test_of_files_with_one_name_the_right_one_is_shown(afield: RunFolder, tmp_path: Path) -> None:
    name = Path(table_of(afield)["path"][1]).name
    shutil.rmtree(tmp_path / "pictures" / "masks")
    wanted = (tmp_path / "pictures" / "images" / name).read_bytes()
    (tmp_path / "pictures").rename(tmp_path / "right")
    Image.new("RGB", (8, 8), (200, 0, 0)).save(tmp_path / name)
    # The longer end is looked at first, and it is another image.
    data = run_data(afield, [tmp_path / "right" / "images", tmp_path])
    assert data.locate(1).read_bytes() == wanted
    with pytest.raises(NotShownError, match="does not exist any more"):
        run_data(afield, [tmp_path]).locate(1)


def test_a_folder_that_is_not_there_cannot_be_allowed(afield: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="no folder '.*nowhere' to open images from"):
        client_of(afield.root, images=[tmp_path / "nowhere"])


# --- What is said and shown instead ---------------------------------------------------------------


def pages_of(client: FlaskClient, token: str) -> dict[str, str]:
    """What every card with images says of those that it does not show."""
    cards = {
        "unit-images": "",
        "explained-images": f"?sample={token}",
        "attribution-maps": f"?sample={token}",
        "sample-view": f"?sample={token}",
        "compare-images": f"?detector={DETECTORS[0]}&other={DETECTORS[1]}",
    }
    return {name: str(card_of(client, name, search)) for name, search in cards.items()}


def mapped_token(folder: RunFolder) -> str:
    maps = Run(folder).maps(DETECTORS[0], "gradcam")
    return token_of(str(maps.data["sample"].values[0]))


@pytest.mark.parametrize("state", ["here", "gone", "elsewhere", "none"])
def test_every_card_says_what_it_does_not_show(
    own: MadeRun, tmp_path: Path, cache: Path, state: str
) -> None:
    folder = take_out_images(
        own, tmp_path / "pictures", images="none" if state == "none" else "link"
    )
    if state == "gone":
        shutil.rmtree(tmp_path / "pictures")
    if state == "elsewhere":
        (cache / KEY_FILE).unlink()
    client = client_of(folder.root)
    words = {
        "gone": "does not exist any more",
        "elsewhere": "made elsewhere, or by somebody else",
        "none": "keeps no images",
    }
    for card, text in pages_of(client, mapped_token(folder)).items():
        for other, sentence in words.items():
            assert (sentence in text) == (other == state), (card, other)
    overview = said(client, "/")
    assert ("Images of alpha, beta, gamma are not shown" in overview) == (state != "here")
    assert ("--images FOLDER" in overview) == (state in ("gone", "elsewhere"))


def test_nothing_is_opened_where_the_study_keeps_none(own: MadeRun, tmp_path: Path) -> None:
    folder = take_out_images(own, tmp_path / "pictures", images="none")
    for given in ([], [tmp_path / "pictures"]):
        assert status(folder, images=given) == 404
    write_manifest(own.folder, images="none")
    assert status(own.folder) == 404


def test_a_placeholder_says_the_reason_and_is_not_kept(afield: RunFolder, tmp_path: Path) -> None:
    token = token_of(str(table_of(afield)["sample"][1]))
    (tmp_path / "pictures").rename(tmp_path / "away")
    client = client_of(afield.root)
    drawn = client.get(f"/thumb/{token}", headers=AS_IMAGE)
    assert drawn.status_code == 200 and drawn.headers["Cache-Control"] == "no-store"
    assert "is gone" in drawn.text and "does not exist any more" in drawn.text
    # By itself, and to programs, it is an error in words.
    for headers in ({}, {"Accept": "text/html,*/*;q=0.8"}):
        assert client.get(f"/thumb/{token}", headers=headers).status_code == 404
    (tmp_path / "away").rename(tmp_path / "pictures")
    assert client.get(f"/thumb/{token}", headers=AS_IMAGE).mimetype == "image/webp"


def test_a_map_is_the_same_without_its_image(afield: RunFolder, tmp_path: Path) -> None:
    address = f"/map/{mapped_token(afield)}/{token_of(DETECTORS[0])}/gradcam"
    before = client_of(afield.root).get(address).data
    shutil.rmtree(tmp_path / "pictures")
    client = client_of(afield.root)
    assert client.get(address).data == before
    laid = np.asarray(Image.open(io.BytesIO(client.get(f"{address}?as=overlay").data)))
    assert laid.shape[0] == laid.shape[1] and laid.std() > 0
    export = client.get(f"/export/attribution-maps.pdf?sample={mapped_token(afield)}")
    assert export.status_code == 200 and export.data.startswith(b"%PDF")


# --- Thumbnails -----------------------------------------------------------------------------------


def test_thumbnails_are_shown_where_images_are_gone(afield: RunFolder, tmp_path: Path) -> None:
    data = run_data(afield)
    fake = int(np.flatnonzero(data.labels == 1)[0])
    whole = data.image(fake)
    assert write_thumbnails(afield.thumbnails, data, [0, fake]) == 2
    assert write_thumbnails(afield.thumbnails, data, [fake, 0]) == 0
    shutil.rmtree(tmp_path / "pictures")
    kept, token = Thumbnails(afield.thumbnails), token_of(str(table_of(afield)["sample"][fake]))
    assert len(kept) == 2 and token in kept
    small, mask = kept.image(token), kept.mask(token)
    assert small is not None and small.shape == whole.shape
    # Of noise little color survives, but it is this image.
    grays = [np.asarray(Image.fromarray(one).convert("L")).ravel() for one in (small, whole)]
    assert np.corrcoef(*grays)[0, 1] > 0.8
    assert mask is not None and mask[8, 8] == 255 and mask[0, 0] == 0
    client = client_of(afield.root)
    for route in ("thumb", "image", "outline"):
        assert client.get(f"/{route}/{token}").status_code == 200
    other = token_of(str(table_of(afield)["sample"][1]))
    assert client.get(f"/thumb/{other}").status_code == 404
    lacks = lacks_of(Run(afield), [token, other])
    assert [(lack.n, lack.small) for lack in lacks] == [(2, 1)]
    text = str(card_of(client, "sample-view", f"?sample={token}"))
    assert "shown small, by the run's thumbnail" in text
    # A study that keeps none shows none, whatever lies in its folder.
    write_manifest(afield, images="none")
    assert client_of(afield.root).get(f"/thumb/{token}").status_code == 404


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + b"\xff" * 18])
def test_damaged_thumbnails_are_said(afield: RunFolder, content: bytes, tmp_path: Path) -> None:
    afield.thumbnails.write_bytes(content)
    assert status(afield) == 200
    shutil.rmtree(tmp_path / "pictures")
    token = token_of(str(table_of(afield)["sample"][1]))
    answer = client_of(afield.root).get(f"/thumb/{token}")
    assert answer.status_code == 404 and "are damaged" in answer.text


def test_an_archive_that_unpacks_without_end_is_not_read(afield: RunFolder, tmp_path: Path) -> None:
    import zipfile

    shutil.rmtree(tmp_path / "pictures")
    token = token_of(str(table_of(afield)["sample"][1]))
    for how in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        with zipfile.ZipFile(afield.thumbnails, "w", how) as archive:
            archive.writestr(f"{token}.webp", b"\0" * 3_000_000)
        assert status(afield) == 404
