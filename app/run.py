"""`Run`: what the dashboard reads of a run folder."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.queries.deriving import derived
from probe.datasets.dataset import CARD_FILE, SAMPLES_FILE, Dataset, read_native
from probe.images import Reach, RunData, careful, key_file, token_of
from probe.reader import Run as PublicRun
from probe.reader import from_here, stamp_of
from probe.run import MissingTableError, RunFolder
from probe.thumbnails import Thumbnails

__all__ = ["Ref", "Run"]

#: Bytes of the largest report that is served; `probe report` writes none that is larger.
LARGEST = 20_000_000


@dataclass(frozen=True)
class Ref:
    """A table of a run, and how a script asks for it.

    Attributes
    ----------
    code : str
        Expression, such as ``run.neurons('meso4/base')``.
    value : Any
        The table.
    key : hashable
        Equal as long as the table's file stays as it is.
    run : tuple of str, optional
        What the expression calls the run, and where that is; None for the run of the page.
    """

    code: str
    value: Any
    key: Hashable
    run: tuple[str, str] | None = None


class Run(PublicRun):
    """Read access to a run folder: `probe.reader.Run`, its images, and the runs to compare it with.

    Parameters
    ----------
    folder : RunFolder
        Where everything is.
    others : tuple of (str, Run)
        Further runs to compare with, by unique names.
    roots : tuple of pathlib.Path
        Folders that whoever serves the run lets images be opened from, see `probe.images`.
    """

    def __init__(
        self,
        folder: RunFolder,
        others: tuple[tuple[str, Run], ...] = (),
        roots: tuple[Path, ...] = (),
    ) -> None:
        super().__init__(folder)
        self.others, self.roots = others, roots

    def ref(self, table: str, *by: str, name: str = "run") -> Ref:
        """Return a table with what a script, which calls the run `name`, has to write for it."""
        value = getattr(self, table)
        arguments = ", ".join(map(repr, by))
        code = f"{name}.{table}({arguments})" if by else f"{name}.{table}"
        found = value(*by) if by else value
        return Ref(code, found, self.stamp(table, *by), (name, self.place))

    @property
    def place(self) -> str:
        """Path of the folder, as it is typed where the dashboard was started."""
        return from_here(self.folder.root)

    @property
    def report(self) -> Path | None:
        """The report's file; None where there is none, or its name leads to another file."""
        file = self.folder.report
        if file.is_symlink() or not file.is_file() or file.stat().st_size > LARGEST:
            return None
        return file

    @property
    def data(self) -> RunData:
        """Images and sample table; no image is opened but where `probe.images` lets it be."""
        return self._data[0]

    @property
    def rows(self) -> dict[str, int]:
        """Positions of samples in `data` by their tokens, see `token_of`."""
        return self._data[1]

    @property
    def _data(self) -> tuple[RunData, dict[str, int]]:
        root = self.folder.data
        if not (root / CARD_FILE).is_file():
            raise MissingTableError("images", self.command)
        marks = (stamp_of(root / CARD_FILE), stamp_of(root / SAMPLES_FILE))
        data = derived(_read_data, (), root, marks)
        # Whoever takes the key away takes away what it allowed, also while pages are looked at.
        key = key_file()
        return derived(_careful, (data, self.manifest), self.roots, key, stamp_of(key))

    @property
    def thumbnails(self) -> Thumbnails:
        """Small copies of some images, for where the images are not; may be empty."""
        path = self.folder.thumbnails
        return derived(_thumbnails, (), path, stamp_of(path))


def _thumbnails(path: Path, stamp: int) -> Thumbnails:
    return Thumbnails(path)


def _read_data(root: Path, stamp: object) -> tuple[Dataset, dict[str, int]]:
    data = read_native(root)
    names = data.samples.table["sample"]
    return data, {token_of(str(name)): i for i, name in enumerate(names)}


def _careful(
    found: tuple[Dataset, dict[str, int]],
    manifest: dict[str, Any],
    roots: tuple[Path, ...],
    key: Path,
    stamp: int,
) -> tuple[RunData, dict[str, int]]:
    return careful(found[0], Reach.of(manifest, roots)), found[1]
