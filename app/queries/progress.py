"""How far a run is that is being written: by its manifest, and by what lies in its folder."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import zarr

from app.queries.summary import Stage, summary
from app.run import Run
from probe.errors import ProbeError
from probe.run import MANIFEST_FILE, RunFolder

__all__ = ["Progress", "progress"]

#: What a stage makes for each detector, where it makes that.
_MADE: dict[str, Callable[[RunFolder, str], Path]] = {
    "detectors": lambda folder, label: folder.detector(label) / "card.json",
    "activations": RunFolder.store,
    "neurons": lambda folder, label: folder.path("universality", label),
    "ablation": lambda folder, label: folder.path("ablation", label),
    "separability": lambda folder, label: folder.path("separability", label),
    "responses": lambda folder, label: folder.path("responses", label),
    "attribution": lambda folder, label: folder.path("trust", label),
}

#: Seconds without a write after which a run looks as if it had been stopped.
_QUIET = 600.0

#: Levels of folders whose times are read, and entries of each that are looked at.
_DEPTH, _ENTRIES = 3, 2000


@dataclass(frozen=True)
class Progress:
    """State of a run.

    Attributes
    ----------
    problem : str
        Why the manifest cannot be read; empty where it can.
    complete : bool
        Whether all stages are done.
    stages : tuple of Stage
        Those that are done or begun, in order.
    planned : tuple of str
        Names of all stages; empty where the manifest does not tell.
    stage : str
        The one that is not done; empty where there is none.
    since, written : float
        Seconds since that stage began, and since something was written last.
    detectors : tuple of (float, int), or None
        For how many detectors, of how many, the stage has made what it makes.
    results : str
        Names what the run holds; another where there is more.
    """

    problem: str = ""
    complete: bool = False
    stages: tuple[Stage, ...] = ()
    planned: tuple[str, ...] = ()
    stage: str = ""
    since: float = 0.0
    written: float = 0.0
    detectors: tuple[float, int] | None = None
    results: str = ""

    @property
    def done(self) -> int:
        """How many stages are done."""
        return sum(stage.done for stage in self.stages)

    @property
    def total(self) -> int:
        """How many stages there are; 0 where the manifest does not tell."""
        return len(self.planned)

    @property
    def share(self) -> float:
        """Stages done and the part of the one that is not, over all; 0 where those are unknown."""
        made, of = self.detectors or (0.0, 1)
        return min(1.0, (self.done + made / of) / self.total) if self.total else 0.0

    @property
    def quiet(self) -> bool:
        """Whether nothing was written for so long that the run was perhaps stopped."""
        return self.written > _QUIET


def progress(run: Run, now: float | None = None) -> Progress:
    """Look how far a run is.

    Parameters
    ----------
    run : Run
        The run.
    now : float, optional
        Seconds since the epoch; by default the clock says.
    """
    try:
        about, manifest = summary(run), run.manifest
    except ProbeError as error:
        return Progress(problem=str(error), results=_digest([str(error)]))
    if about.complete:
        return Progress(complete=True, stages=about.stages, results=_results(run.folder.root))
    now = time.time() if now is None else now
    doing = next((stage.name for stage in about.stages if not stage.done), "")
    return Progress(
        stages=about.stages,
        planned=tuple(map(str, manifest.get("planned", []))),
        stage=doing,
        since=max(0.0, now - _time(run.folder.root / MANIFEST_FILE)),
        written=max(0.0, now - max(_times(run.folder.root, _DEPTH))),
        detectors=_made(run, doing),
        results=_results(run.folder.root),
    )


def _made(run: Run, stage: str) -> tuple[float, int] | None:
    """Count the detectors that a stage has finished, a store by the part that is written."""
    place, labels = _MADE.get(stage), run.detectors
    if place is None or not labels:
        return None
    paths = [place(run.folder, label) for label in labels]
    part = _written if stage == "activations" else _exists
    return sum(part(path) for path in paths), len(labels)


def _exists(path: Path) -> float:
    return float(path.exists())


def _written(store: Path) -> float:
    """Share of a store's batches that are written: each marks itself by a chunk of its own."""
    try:
        marks = zarr.open_array(store / "written", mode="r")
        return float(marks.nchunks_initialized / max(1, marks.nchunks))
    # One that is only being made has half of its files.
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _results(root: Path) -> str:
    """Name the tables, stores and maps that are there."""
    found = {str(path.relative_to(root)) for path in _tables(root)}
    return _digest(sorted(found))


def _tables(root: Path) -> Iterator[Path]:
    for pattern in ("data/dataset.json", "tables/*.zarr", "tables/*/*.zarr", "maps/*.zarr"):
        yield from root.glob(pattern)
    # A store is there from its first batch on, and is shown when it has its last.
    yield from root.glob("stores/*.zarr/*/moments")


def _digest(names: list[str]) -> str:
    return hashlib.blake2b("\n".join(names).encode(errors="replace"), digest_size=8).hexdigest()


def _times(folder: Path, depth: int) -> Iterator[float]:
    """Yield when a folder's manifest and its folders were written, so many levels down."""
    yield _time(folder)
    yield _time(folder / MANIFEST_FILE)
    try:
        with os.scandir(folder) as found:
            inside = [
                Path(one.path)
                for one in islice(found, _ENTRIES)
                if one.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return
    for one in inside:
        yield from _times(one, depth - 1) if depth else (_time(one),)


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
