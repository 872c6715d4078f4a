"""The images of a run, and the control of which files may be opened.

A run folder may come from an untrusted source, and its sample table may name any file of the
machine on which it is viewed. Therefore a file is opened only if, with symbolic links resolved, it
is

* below the run's own data;
* below a root that the run was made from on this machine. The study stores the roots in the
  manifest with a seal that can only be made with a key in the user's cache; or
* below a root that the server of the run allows.

Files outside the run must also be, byte for byte, those that the run was made from: the sample
table holds their digests. So a run cannot show a file that its author did not have.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from probe.datasets.cache import cache_folder
from probe.datasets.dataset import Dataset, Samples, read_native
from probe.datasets.decoding import decode, read_image
from probe.errors import DatasetError, ImageError
from probe.progress import track
from probe.run import RunFolder

__all__ = [
    "KEEPS",
    "NotShownError",
    "Reach",
    "RunData",
    "careful",
    "copy_images",
    "key_file",
    "own_paths",
    "roots_note",
    "roots_of",
    "run_data",
    "token_of",
]

#: How a run keeps images for later viewing: in place, copied, or not at all.
KEEPS = ("link", "copy", "none")

#: Folder in a run's data with copies of images from outside the run.
COPIES = "copies"

#: File in the user's cache with the key that seals roots; without it only given roots count.
KEY_FILE = "image-roots.key"
_KEY_BYTES = 32

#: Maximum number of trailing parts of a path that are tried for files that were moved.
_DEPTH = 32

#: Reason why an image is not shown, to the remedy.
REMEDIES = {
    "none": 'The study was run with images = "none": its author chose to show no images.',
    "outside": "The server of the dashboard can allow a folder: --images FOLDER.",
    "gone": "Restore the files, or give the folder where they are now: --images FOLDER.",
    "changed": "Restore the files that the run was made from, or run the study again.",
}


CHANGED = "another file is in the place of the image"


class NotShownError(ImageError):
    """An image of a run that may not be opened or does not exist.

    Attributes
    ----------
    kind : str
        Kind of the reason, a key of `REMEDIES`.
    why : str
        The reason, without the file's name.
    """

    def __init__(self, kind: str, why: str) -> None:
        self.kind, self.why = kind, why
        super().__init__(f"This image is not shown: {why}. {REMEDIES[kind]}")


@dataclass(frozen=True)
class Reach:
    """Which files may be opened as images of a run on this machine.

    Attributes
    ----------
    sealed : tuple of pathlib.Path
        Roots that the run was made from on this machine, with links resolved.
    given : tuple of pathlib.Path
        Roots that the server of the run allows, with links resolved. Files with other paths are
        searched in them by the longest matching end of the path.
    keeps : str
        One of `KEEPS`; with "none" no image is opened.
    """

    sealed: tuple[Path, ...] = ()
    given: tuple[Path, ...] = ()
    keeps: str = KEEPS[0]

    @classmethod
    def of(cls, manifest: Mapping[str, Any], given: Iterable[str | Path] = ()) -> Reach:
        """Return the reach from a manifest; its roots are used only with this machine's seal."""
        roots = [str(root) for root in manifest.get("image_roots", [])]
        trusted = roots if _is_own(roots, str(manifest.get("image_seal", ""))) else []
        return cls(
            tuple(_real(Path(root)) for root in trusted),
            tuple(_real(Path(root)) for root in given),
            str(manifest.get("images", KEEPS[0])),
        )


@dataclass(frozen=True)
class RunData(Dataset):
    """The images of a run, opened only if `reach` allows it; selections of it do the same.

    Attributes
    ----------
    reach : Reach
        Files that may be opened in addition to those below `root`.
    """

    reach: Reach = Reach()

    def image(self, index: int) -> NDArray[np.uint8]:
        """Read one image, shape (height, width, 3), RGB, 0 to 255.

        Raises
        ------
        NotShownError
            If the file may not be opened, does not exist, or is not the one that the run was made
            from.
        ImageError
            If it cannot be decoded.
        """
        file = self._file("path", index)
        if self.is_own(file):
            return read_image(file).pixels
        content = _contents(file)
        if _digest_of(content) != self._known_digest(index):
            raise NotShownError("changed", CHANGED)
        return decode(content, file.name).pixels

    def files(self) -> list[str]:
        """Return the path of every image, after checking that it may be opened.

        Raises
        ------
        NotShownError
            As in `image`, for the first image that may not be opened.
        """
        return self._located

    @cached_property
    def _located(self) -> list[str]:
        return [str(self.locate(index)) for index in range(len(self))]

    def mask(self, index: int) -> NDArray[np.uint8] | None:
        """Read one forgery mask, shape (height, width), 0 to 255; None where there is none."""
        if not self.samples.table["mask"].iloc[index]:
            return None
        file = self._file("mask", index)
        pixels = decode(_contents(file), file.name).pixels
        return np.asarray(Image.fromarray(pixels).convert("L"))

    def is_own(self, file: Path) -> bool:
        """Whether a file found by `locate` is in the run itself."""
        return file.is_relative_to(_real(self.root))

    def locate(self, index: int) -> Path:
        """Return the file of an image, without decoding it.

        Raises
        ------
        NotShownError
            As for `image`.
        """
        file = self._file("path", index)
        if not self.is_own(file) and not _is_same(file, self._known_digest(index)):
            raise NotShownError("changed", CHANGED)
        return file

    def _file(self, column: str, index: int) -> Path:
        if self.reach.keeps == "none":
            raise NotShownError("none", "the study keeps no images for viewing")
        named = str(self.samples.table[column].iloc[index])
        own = _real(self.root)
        file = _real(own / named)
        if file.is_relative_to(own):
            return _there(file)
        if any(file.is_relative_to(root) for root in self.reach.sealed + self.reach.given):
            if not self._known_digest(index):
                raise NotShownError("changed", "there is no digest to identify the image")
            if _is_plain(file):
                return file
        moved = self._moved(column, index)
        if moved is not None:
            return moved
        if any(file.is_relative_to(root) for root in self.reach.sealed + self.reach.given):
            raise NotShownError("gone", "the file does not exist any more")
        raise NotShownError("outside", self._outside())

    def _outside(self) -> str:
        if self.reach.sealed:
            return "the file is outside the folders that the run was made from"
        return (
            "the file is outside the run, and this machine has no record that it may be opened: "
            "the run was made elsewhere, or by somebody else"
        )

    def _moved(self, column: str, index: int) -> Path | None:
        """Search a file below the given roots and the run's root, by the end of its path."""
        image = PurePosixPath(str(self.samples.table["path"].iloc[index]))
        digest = self._known_digest(index)
        for root in (*self.reach.given, _real(self.root)) if digest else ():
            for length, file in _candidates(image, root):
                if _is_same(file, digest):
                    return file if column == "path" else self._beside(image, length, root, index)
        return None

    def _beside(self, image: PurePosixPath, length: int, root: Path, index: int) -> Path | None:
        """Return the mask that was moved together with its image."""
        before = image.parents[length - 1]
        mask = PurePosixPath(str(self.samples.table["mask"].iloc[index]))
        if not mask.is_relative_to(before):
            return None
        file = _real(root / mask.relative_to(before))
        return file if file.is_relative_to(root) and _is_plain(file) else None

    def _known_digest(self, index: int) -> str:
        table = self.samples.table
        return str(table["digest"].iloc[index] or "") if "digest" in table else ""


def run_data(run: RunFolder, given: Iterable[str | Path] = ()) -> RunData:
    """Open the images of a run folder, which may come from an untrusted source.

    Parameters
    ----------
    run : RunFolder
        The run.
    given : iterable of path, optional
        Further folders whose files may be opened; see `Reach`.

    Raises
    ------
    StoreError
        If the manifest cannot be read.
    DatasetError
        If the sample table cannot be read.
    """
    return careful(read_native(run.data), Reach.of(run.read_manifest(), given))


def token_of(sample: str) -> str:
    """Return a sample's name for URLs: a hash of its id, so that URLs contain no ids or paths."""
    return hashlib.blake2b(sample.encode(), digest_size=12).hexdigest()


def careful(data: Dataset, reach: Reach) -> RunData:
    """Return the dataset as one that opens its images only if `reach` allows it."""
    return RunData(**{one.name: getattr(data, one.name) for one in fields(Dataset)}, reach=reach)


def roots_of(data: Dataset, sources: Iterable[Path]) -> tuple[Path, ...]:
    """Return the folders of a dataset's images that are outside its own root.

    Parameters
    ----------
    data : Dataset
        Dataset, with absolute paths of images outside its root.
    sources : iterable of pathlib.Path
        Folders that were opened to make it; those without any of its files are left out.

    Returns
    -------
    tuple of pathlib.Path
        Folders with links resolved, none inside another. Files below no source are represented by
        their own folders.
    """
    own, found = _real(data.root), set[Path]()
    known = [root for root in map(_real, sources) if root != root.parent]
    for folder in _folders_of(data):
        if not folder.is_relative_to(own):
            found.add(next((root for root in known if folder.is_relative_to(root)), folder))
    return tuple(sorted(one for one in found if not found.intersection(one.parents)))


def _folders_of(data: Dataset) -> set[Path]:
    """Return the folders of all images and masks, with links resolved."""
    table = data.samples.table
    named = dict.fromkeys(path for column in ("path", "mask") for path in table[column] if path)
    files = [os.path.join(data.root, path) for path in named]
    folders = {_real(Path(name)) for name in dict.fromkeys(map(os.path.dirname, files))}
    return folders | {_real(Path(file)).parent for file in files if os.path.islink(file)}


def own_paths(data: Dataset) -> Dataset:
    """Return the dataset with relative paths for files below its root, so that it can be moved."""
    prefix, table = f"{_real(data.root)}{os.sep}", data.samples.table.copy()
    for column in ("path", "mask"):
        table[column] = table[column].str.removeprefix(prefix)
    return replace(data, samples=Samples(table))


def copy_images(data: Dataset, split: str) -> Dataset:
    """Copy the images and masks of a split that are outside a dataset's root into it.

    Files are copied byte for byte, each once, and named by their digests; existing copies are
    kept.

    Parameters
    ----------
    data : Dataset
        Dataset with the digest of every image; copies are written to its root.
    split : str
        Split to copy.

    Returns
    -------
    Dataset
        The dataset with the paths of the copies.

    Raises
    ------
    DatasetError
        If a file cannot be read or written.
    """
    table = data.samples.table
    paths, masks = (list(map(str, table[column])) for column in ("path", "mask"))
    digests, chosen = list(map(str, table["digest"])), (table["split"] == split).to_numpy()
    away = [row for row in np.flatnonzero(chosen) if os.path.isabs(paths[row])]
    for row in track(away, "copy images"):
        paths[row] = _copied(Path(paths[row]), data.root, digests[row])
        if masks[row]:
            masks[row] = _copied(Path(masks[row]), data.root, f"{digests[row]}-mask")
    return replace(data, samples=Samples(table.assign(path=paths, mask=masks)))


def _copied(file: Path, root: Path, name: str) -> str:
    place = Path(COPIES) / name[:2] / f"{name}{file.suffix.lower()}"
    try:
        if not (root / place).is_file():
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            partial = root / place.with_name(place.name + ".part")
            shutil.copyfile(file, partial)
            partial.replace(root / place)
    except OSError as error:
        raise DatasetError(
            f"The image {str(file)!r} cannot be copied into {str(root / COPIES)!r} "
            f'({error.strerror}). Free disk space, or set images = "link" in the study.'
        ) from error
    return place.as_posix()


def roots_note(roots: Sequence[Path], keeps: str = KEEPS[0]) -> dict[str, Any]:
    """Return a manifest's entries about the images of a run, sealed by this machine's key.

    Raises
    ------
    DatasetError
        If the key cannot be stored in the user's cache.
    """
    names = [str(root) for root in roots]
    return {"images": keeps, "image_roots": names, "image_seal": _seal(names, _made_key())}


def key_file() -> Path:
    """Return the file of the key that seals roots; it may not exist yet."""
    return cache_folder() / KEY_FILE


def _seal(roots: Sequence[str], key: bytes) -> str:
    return hmac.new(key, json.dumps(sorted(roots)).encode(), hashlib.sha256).hexdigest()


def _is_own(roots: Sequence[str], seal: str) -> bool:
    """Whether a seal was made with this machine's key."""
    try:
        key = key_file().read_bytes()
    except OSError:
        return False
    made, given = _seal(roots, key).encode(), seal.encode(errors="replace")
    return len(key) == _KEY_BYTES and hmac.compare_digest(made, given)


def _made_key() -> bytes:
    """Return the key; create it, readable by this user only, if there is none."""
    file = key_file()
    try:
        if not file.exists():
            _write_key(file)
        return file.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"The cache {str(file.parent)!r} cannot be written to ({error.strerror}), so the "
            "folders that the dashboard may open images from cannot be recorded. Set the variable "
            "PROBE_CACHE to another folder."
        ) from error


def _write_key(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{KEY_FILE}.{secrets.token_hex(8)}.part")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(secrets.token_bytes(_KEY_BYTES))
    # A link does not replace an existing file: of two simultaneous keys the first is kept.
    with suppress(FileExistsError):
        os.link(partial, file)
    partial.unlink()


def _real(path: Path) -> Path:
    """Resolve links; a path that cannot be resolved gives "/", which is below no root."""
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):
        return Path("/")


def _there(file: Path) -> Path:
    if not _is_plain(file):
        raise NotShownError("gone", "the file does not exist any more")
    return file


def _is_plain(file: Path) -> bool:
    """Whether this is a regular file, not a folder, device or pipe; False for invalid names."""
    return os.path.isfile(file)


def _candidates(named: PurePosixPath, root: Path) -> Iterator[tuple[int, Path]]:
    """Yield files below a root that match the end of a path, the longest match first."""
    parts = named.relative_to("/").parts if named.is_absolute() else named.parts
    for start in range(max(0, len(parts) - _DEPTH), len(parts)):
        file = _real(root.joinpath(*parts[start:]))
        if file.is_relative_to(root) and _is_plain(file):
            yield len(parts) - start, file


def _is_same(file: Path, digest: str) -> bool:
    """Whether a file has this digest; the digest is cached until the file changes."""
    try:
        found = file.stat()
        return _kept_digest(file, found.st_mtime_ns, found.st_size) == digest
    except (OSError, ImageError):
        return False


@lru_cache(maxsize=65536)
def _kept_digest(file: Path, changed: int, size: int) -> str:
    return _digest_of(_contents(file))


def _contents(file: Path) -> bytes:
    """Return the content of a regular file: opening a pipe would wait forever."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise NotShownError("changed", "the image is not a regular file any more")
        return file.read_bytes()
    except OSError as error:
        raise NotShownError("gone", f"the file cannot be read ({error.strerror})") from error


def _digest_of(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
