"""`Run`: read access to what a run holds."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Condition
from typing import TYPE_CHECKING, Any, TypeVar

import xarray as xr
from cachetools import LRUCache, cached

from probe.errors import CheckpointError, ProbeError, StoreError, UnknownNameError
from probe.results import HOMES
from probe.run import MANIFEST_FILE, TABLES, MissingTableError, RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from probe.artifacts import ArtifactMeasurements, ArtifactReport, ResponseReport
    from probe.attribution import AttributionMap
    from probe.attribution.findings import MapSimilarity, RegionAttention
    from probe.attribution.trust import TrustReport
    from probe.datasets import Dataset
    from probe.detectors import Detector
    from probe.evaluation.table import ZeroShotMatrix
    from probe.neurons import Ablation, NeuronTable, Universality
    from probe.separability import Embeddings, SeparabilityReport, Similarity
    from probe.store import ActivationStore

__all__ = [
    "MAP_MODES",
    "Run",
    "brought_file",
    "detector_of",
    "from_here",
    "measured_on",
    "open_run",
    "stamp_of",
]


T = TypeVar("T")

#: What a report of responses needs by the parts that it has.
_CORRELATIONS = ("rho", "p", "q")
_DOSES = (
    *("logit_response", "logit_low", "logit_high"),
    *("unit_response", "unit_low", "unit_high", "effect", "effect_q"),
)


class Run:
    """Read access to what a run holds; each table is read once, until its file changes.

    Parameters
    ----------
    folder : RunFolder
        Where everything is. Use `open_run` for a path.

    Examples
    --------
    >>> import probe
    >>> run = probe.open_run("runs/demo")
    >>> run.detectors
    ['meso4/base', 'meso4/shallow']
    >>> run.evaluation
    <ZeroShotMatrix: detector 2, dataset 3, level 2, metric 4>
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def __repr__(self) -> str:
        try:
            held = f"{len(self.detectors)} detectors, datasets {', '.join(self.datasets)}"
        except StoreError as error:
            held = str(error)
        return f"<Run {str(self.folder.root)!r}: {held}>"

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest, see `RunFolder.read_manifest`.

        Raises
        ------
        StoreError
            If it is missing, damaged or of another version.
        """
        root = self.folder.root
        found: dict[str, Any] = _kept(_read_manifest, root, stamp_of(root / MANIFEST_FILE))
        return found

    @property
    def detectors(self) -> list[str]:
        """Labels of the detectors, such as "meso4/base"."""
        return [str(label) for label in self.manifest.get("detectors", [])]

    @property
    def datasets(self) -> list[str]:
        """Names of the datasets."""
        return [str(name) for name in self.manifest.get("datasets", [])]

    @property
    def command(self) -> str:
        """Command line that makes, or completes, this run."""
        made = str(self.manifest.get("command", ""))
        return made or f"probe demo --out {shlex.quote(from_here(self.folder.root))}"

    @property
    def evaluation(self) -> ZeroShotMatrix:
        """Zero-shot matrix: scores of all detectors on all datasets."""
        return self._open("evaluation")

    @property
    def scores(self) -> pd.DataFrame:
        """One row per detector and image, beside the zero-shot matrix."""
        path = self.folder.path("evaluation").with_suffix(".scores.parquet")
        return _kept(_read_scores, self._there(path, "score table"), stamp_of(path))

    def scores_of(self, detector: str) -> pd.DataFrame:
        """Rows of `scores` of a detector."""
        scores = self.scores
        rows = scores["detector"].to_numpy() == self._known(detector)
        if not rows.any():
            raise ProbeError(
                f"The score table holds no rows of {detector}. Run the command of the run again."
            )
        return scores[rows].reset_index(drop=True)

    @property
    def artifacts(self) -> ArtifactReport:
        """Artifact report of the datasets."""
        return self._open("artifacts")

    @property
    def measurements(self) -> ArtifactMeasurements:
        """Artifact measurements of every image; values stay on disk until they are asked for."""
        return self._open("measurements")

    @property
    def similarity(self) -> Similarity:
        """Similarity of the detectors' features."""
        return self._open("similarity")

    def neurons(self, detector: str) -> NeuronTable:
        """Neuron table of a detector."""
        return self._open("neurons", detector)

    def universality(self, detector: str) -> Universality:
        """Universality table of a detector."""
        return self._open("universality", detector)

    def ablation(self, detector: str) -> Ablation:
        """Ablation of sets of units of a detector."""
        return self._open("ablation", detector)

    def separability(self, detector: str) -> SeparabilityReport:
        """Separability report of a detector's layers."""
        return self._open("separability", detector)

    def embeddings(self, detector: str) -> Embeddings:
        """Embeddings of a detector's layers."""
        return self._open("embeddings", detector)

    def responses(self, detector: str) -> ResponseReport:
        """Responses of a detector's units to measurements and to doses of artifacts."""
        found: ResponseReport = self._open("responses", detector)
        parts = (found.has_correlations, _CORRELATIONS), (found.has_doses, _DOSES)
        wanted = sum((names for there, names in parts if there), ())
        _require(found.data, wanted, self.folder.path("responses", detector))
        return found

    def map_methods(self, detector: str) -> list[str]:
        """Names of the methods that there are attribution maps of, sorted."""
        first = self.folder.path("maps", self._known(detector), "").stem
        # Another detector's name may begin with this one's: "meso4" and "meso4-deep".
        others = (self.folder.path("maps", other, "").stem for other in self.detectors)
        longer = tuple(name for name in others if name.startswith(first) and name != first)
        places = self.folder.path("maps", detector, "").parent.glob(f"{first}*.zarr")
        kept = (path.stem for path in places if not path.stem.startswith(longer))
        return sorted(name.removeprefix(first) for name in kept)

    def maps(self, detector: str, method: str) -> AttributionMap:
        """Attribution maps of a detector; they stay on disk until some of them are asked for."""
        if method not in (known := self.map_methods(detector)):
            if not known:
                raise MissingTableError(f"attribution maps of {detector}", self.command)
            raise UnknownNameError("method", method, known, where=f"the maps of {detector}")
        return self._open("maps", detector, method)

    def trust(self, detector: str) -> TrustReport:
        """Trust report of a detector's attribution maps."""
        return self._open("trust", detector)

    def attention(self, detector: str) -> RegionAttention:
        """Attribution of a detector by region of the face."""
        return self._open("attention", detector)

    def map_similarity(self, architecture: str, mode: str = "corrected") -> MapSimilarity:
        """Similarity of the attribution maps of an architecture's variants."""
        known = list(dict.fromkeys(label.split("/")[0] for label in self.detectors))
        if architecture not in known:
            raise UnknownNameError("architecture", architecture, known, where="this run")
        if mode not in MAP_MODES:
            raise UnknownNameError("mode", mode, MAP_MODES, where="this run")
        return self._open("map_similarity", architecture, mode)

    def store(self, detector: str) -> ActivationStore:
        """Activations of a detector."""
        from probe.store import ActivationStore

        path = self.folder.store(self._known(detector))
        self._there(path, f"activation store of {detector}")
        return _kept(ActivationStore.open, path, stamp_of(path / "zarr.json"))

    def detector(self, detector: str, device: str = "cpu") -> Detector:
        """Load a detector of the run onto a device, with the weights that it was measured with."""
        return detector_of(self.folder, detector, device)

    def images(self) -> Dataset:
        """Open the images of the split that detectors were measured on."""
        return measured_on(self.folder)

    def stamp(self, table: str, *by: str) -> Hashable:
        """Return a value that is equal as long as a table's file stays as it is."""
        path = self.folder.path(table, *by)
        return str(path), stamp_of(path / "zarr.json")

    def _open(self, table: str, *by: str) -> Any:
        kind = TABLES[table]
        if kind.by[:1] == ("detector",):
            self._known(by[0])
        path = self.folder.path(table, *by)
        of = f" of {', '.join(by)}" if by else ""
        self._there(path, f"{kind.what}{of}")
        return _kept(_reader(table), path, stamp_of(path / "zarr.json"))

    def _known(self, detector: str) -> str:
        """Let a label become part of a path only if the run's manifest names it."""
        if detector not in self.detectors:
            raise UnknownNameError("detector", detector, self.detectors, where="this run")
        return detector

    def _there(self, path: Path, what: str) -> Path:
        if not path.exists():
            raise MissingTableError(what, self.command)
        return path


#: Modes in which maps of variants are compared; see `probe.attribution.similarity`.
MAP_MODES = ("corrected", "authors")

#: Tables whose values stay on disk until they are asked for.
_LAZY = ("maps", "measurements")


def open_run(folder: str | Path) -> Run:
    """Open a run.

    Parameters
    ----------
    folder : path
        Folder that ``probe run`` or ``probe demo`` wrote.

    Returns
    -------
    Run
        Its tables, by methods such as ``run.neurons("meso4/base")``.

    Raises
    ------
    StoreError
        If it is no run, or one of another version.

    Examples
    --------
    >>> import probe
    >>> run = probe.open_run("runs/demo")
    >>> run
    <Run 'runs/demo': 2 detectors, datasets alpha, beta, gamma>
    >>> run.universality("meso4/base")
    <Universality of meso4/base: unit 12, dataset 3, count 4, draw 3, head 5, at_least 2, null 3>
    """
    run = Run(RunFolder(Path(folder)))
    # Now, and not at the first table: what is wrong with the folder is said here.
    assert run.manifest is not None
    return run


def measured_on(run: RunFolder, roots: Sequence[str] = ()) -> Dataset:
    """Return the images of the measured split of a run."""
    from probe.images import run_data

    plan = run.read_provenance().get("study", {}).get("evaluation", {})
    return run_data(run, roots).select(split=str(plan.get("split", "test")))


def detector_of(run: RunFolder, label: str, device: str = "cpu") -> Detector:
    """Load a trained or pretrained detector of a run onto a device.

    Raises
    ------
    UnknownNameError
        If the run has no detector with this label.
    CheckpointError
        If the weights are missing or have changed.
    """
    from probe.detectors.loading import CARD_FILE, load_detector

    known = [str(one) for one in run.read_manifest().get("detectors", [])]
    if label not in known:
        raise UnknownNameError("detector", label, known, where="this run")
    folder = run.detector(label)
    if (folder / CARD_FILE).is_file():
        return _called(load_detector(folder, device=device), label)
    brought = brought_file(run, label)
    if brought is None or not brought.is_file():
        where = f", and their file {str(brought)!r} is missing" if brought else ""
        raise CheckpointError(
            f"The weights of {label} are not in the run ({str(folder)!r} holds no {CARD_FILE})"
            f"{where}. Restore them, or rerun the study."
        )
    plan = run.read_provenance()["study"]["detectors"]
    found = _called(
        load_detector(
            label.rpartition("/")[0],
            weights=brought,
            input_size=plan.get("input_size"),
            device=device,
        ),
        label,
    )
    noted = run.read_provenance().get("weights", {}).get(label)
    if noted and noted != found.fingerprint:
        raise CheckpointError(
            f"The weights in {str(brought)!r} are not those used in the run. Restore them, or "
            "rerun the study."
        )
    return found


def brought_file(run: RunFolder, label: str) -> Path | None:
    """Return the weights file of a pretrained detector, if the run records it."""
    plan = run.read_provenance().get("study", {}).get("detectors", {})
    name, _, variant = label.rpartition("/")
    for one in plan.get("weights", ()):
        file = Path(str(one.get("file", "")))
        if one.get("name") == name and (one.get("label") or file.stem) == variant:
            return file
    return None


def _called(detector: Detector, label: str) -> Detector:
    """Return a detector with the label of the run's tables."""
    from probe.detectors.detector import Detector

    variant = label.rpartition("/")[2]
    return Detector(detector.module, replace(detector.spec, variant=variant))


def stamp_of(file: Path) -> int:
    """Return when a file was last written; 0 where there is none."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def from_here(path: Path) -> str:
    """Return a path as it is typed in the current folder."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


# Whoever asks for the same at the same time waits for the first: otherwise each would take the
# time and the memory.
@cached(LRUCache(128), condition=Condition())
def _cached(read: Callable[[Path], Any], path: Path, stamp: object) -> Any:
    return read(path)


def _kept(read: Callable[[Path], T], path: Path, stamp: object) -> T:
    found: T = _cached(read, path, stamp)
    return found


@cached({})
def _reader(table: str) -> Callable[[Path], Any]:
    """Return what opens a kind of table, and refuses one that lacks what it is read for."""
    kind = TABLES[table]

    def read(path: Path) -> Any:
        found = getattr(importlib.import_module(HOMES[kind.result]), kind.result)
        opened = found.open(path, lazy=True) if table in _LAZY else found.open(path)
        _require(opened.data, kind.reads, path)
        return opened

    return read


def _require(data: xr.Dataset, names: tuple[str, ...], path: Path) -> None:
    """Raise where a table lacks what is shown of it: half of it would look like all of it."""
    lacking = [name for name in names if name not in data]
    if lacking:
        raise StoreError(
            f"The table {str(path)!r} is damaged, or of another version: it lacks "
            f"{', '.join(lacking)}. Remove it and compute it again."
        )


def _read_manifest(root: Path) -> dict[str, Any]:
    try:
        return RunFolder(root).read_manifest()
    except AttributeError as error:
        raise StoreError(f"The manifest in {str(root)!r} is damaged: it is no table.") from error


def _read_scores(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"The table {str(path)!r} is damaged ({error}). Remove it and compute it again."
        ) from error
