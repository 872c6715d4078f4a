"""`Run` and `RunFolder`: what a run holds, where it is, and its manifest."""

from __future__ import annotations

import importlib
import json
import shlex
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Condition
from typing import TYPE_CHECKING, Any, TypeVar

import xarray as xr
from cachetools import LRUCache, cached

from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.results import HOMES
from probe.schema import SCHEMA_VERSION

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
    "MANIFEST_FILE",
    "TABLES",
    "MissingTableError",
    "NoRunError",
    "OtherVersionError",
    "Run",
    "RunFolder",
    "Table",
    "from_here",
    "open_run",
    "slug",
    "stamp_of",
]

T = TypeVar("T")

MANIFEST_FILE = "run.json"

#: Types of the manifest's entries; entries may be missing.
_KINDS: dict[str, type] = {
    "title": str,
    "command": str,
    "created": str,
    "source": str,
    "complete": bool,
    "simulated": bool,
    "stages": list,
    "planned": list,
    "detectors": list,
    "datasets": list,
    "layers": dict,
    "versions": dict,
    "images": str,
    "image_roots": list,
    "image_seal": str,
}


class NoRunError(StoreError):
    """A folder without a manifest.

    Attributes
    ----------
    root : pathlib.Path
        The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        super().__init__(
            f"{str(root)!r} is not a run: it holds no {MANIFEST_FILE}. Create one with "
            "`probe demo`, or give the folder of a run."
        )


class OtherVersionError(StoreError):
    """A run of another schema version."""

    def __init__(self, root: Path, found: object) -> None:
        newer = isinstance(found, int) and found > SCHEMA_VERSION
        first = "Install the version that wrote it, or run" if newer else "Run"
        super().__init__(
            f"The run {str(root)!r} has schema version {found}; this version reads "
            f"{SCHEMA_VERSION}. {first} it again into another folder."
        )


def slug(label: str) -> str:
    """Return a detector's label as a file name: "meso4/shallow" becomes "meso4-shallow"."""
    return label.replace("/", "-").replace(":", "-")


class MissingTableError(StoreError):
    """A table that a run does not hold (yet).

    Attributes
    ----------
    command : str
        Command that makes it.
    """

    def __init__(self, what: str, command: str) -> None:
        self.command = command
        super().__init__(f"This run holds no {what} yet. `{command}` makes what is missing.")


@dataclass(frozen=True)
class Table:
    """A kind of table that runs hold.

    Attributes
    ----------
    result : str
        Class, see `probe.results.HOMES`; empty for a table of its own kind.
    what : str
        Name in messages.
    path : str
        Place in the run folder; ``{0}`` and ``{1}`` stand for what it is by.
    by : tuple of str
        "detector", or what else tells the tables of a kind apart; empty for one of the whole run.
    reads : tuple of str
        Variables without which it is of no use, beside those that opening it checks.
    """

    result: str
    what: str
    path: str
    by: tuple[str, ...] = ("detector",)
    reads: tuple[str, ...] = ()


def _of_detector(result: str, what: str, folder: str, *reads: str) -> Table:
    return Table(result, what, f"tables/{folder}/{{0}}.zarr", reads=reads)


#: Name to kind. Run folders, readers and the dashboard follow from it.
TABLES: Mapping[str, Table] = {
    "evaluation": Table(
        "ZeroShotMatrix", "zero-shot matrix", "tables/evaluation.zarr", (), ("value", "n_clusters")
    ),
    "neurons": _of_detector("NeuronTable", "neuron table", "neurons"),
    "universality": _of_detector("Universality", "universality table", "universality"),
    "ablation": _of_detector("Ablation", "ablation of sets of units", "ablation"),
    "separability": _of_detector(
        "SeparabilityReport",
        "separability report",
        "separability",
        *("value", "low", "high", "p", "q", "transfer", "transfer_low", "transfer_high"),
        *("own", "own_low", "own_high", "blind", "blind_low", "blind_high"),
        *("n_samples", "n_fakes", "n_clusters", "sampled", "reason"),
        *("answer", "answer_low", "answer_high", "answer_p", "chance"),
        *("specific_share", "specific_low", "specific_high", "shared_cosine"),
        *("label_angle_share", "label_angle_null", "row_layer", "row_unit"),
        *("label_information", "method_information", "label_q", "method_q"),
    ),
    "embeddings": _of_detector(
        "Embeddings",
        "embeddings",
        "embeddings",
        *("position", "trustworthiness", "preservation", "fitted"),
    ),
    "responses": _of_detector(
        "ResponseReport",
        "responses",
        "responses",
        *("answer", "answer_kind", "answer_effect", "answer_q"),
    ),
    "trust": _of_detector("TrustReport", "trust report", "trust"),
    "attention": _of_detector("RegionAttention", "attention by region", "attention"),
    "maps": Table(
        "AttributionMap", "attribution maps", "maps/{0}-{1}.zarr", ("detector", "method")
    ),
    "map_similarity": Table(
        "MapSimilarity",
        "similarity of maps",
        "tables/map-similarity/{0}-{1}.zarr",
        ("architecture", "mode"),
    ),
    "similarity": Table(
        "Similarity",
        "similarity of detectors",
        "tables/similarity.zarr",
        (),
        ("cka", "cka_low", "cka_high"),
    ),
    "artifacts": Table(
        "ArtifactReport",
        "artifact report",
        "tables/artifacts.zarr",
        (),
        (
            *("effect", "low", "high", "p", "q", "n_used", "rank", "tells", "tells_low"),
            *("tells_high", "imbalance", "imbalance_low", "imbalance_high"),
            *("power", "power_low", "power_high", "region", "reason", "measurement_unit"),
            *("measurement_source", "measurement_about", "n_samples", "n_clusters"),
        ),
    ),
    "measurements": Table(
        "ArtifactMeasurements",
        "artifact measurements",
        "tables/measurements.zarr",
        (),
        ("value", "dataset", "label", "measurement_about", "measurement_unit"),
    ),
}

#: What a report of responses needs by the parts that it has.
_CORRELATIONS = ("rho", "p", "q")
_DOSES = (
    *("logit_response", "logit_low", "logit_high"),
    *("unit_response", "unit_low", "unit_high", "effect", "effect_q"),
)


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run.

    Attributes
    ----------
    root : pathlib.Path
        Path of the folder. It contains ``run.json`` (the manifest), ``data/`` (a dataset),
        ``detectors/<d>/``, ``stores/<d>.zarr``, the tables of `TABLES`, and ``figures/``, where
        ``<d>`` is a detector's `slug`.
    """

    root: Path

    @property
    def data(self) -> Path:
        """Root of the dataset."""
        return self.root / "data"

    def path(self, table: str, *by: str) -> Path:
        """Path of a table.

        Parameters
        ----------
        table : str
            Name in `TABLES`.
        *by : str
            What the table is by, such as the label of a detector.
        """
        return self.root / TABLES[table].path.format(*map(slug, by))

    @property
    def thumbnails(self) -> Path:
        """Thumbnails of images that are outside the run."""
        return self.root / "thumbnails.zip"

    @property
    def figures(self) -> Path:
        """Folder of figures."""
        return self.root / "figures"

    def detector(self, label: str) -> Path:
        """Folder of a trained detector."""
        return self.root / "detectors" / slug(label)

    def store(self, label: str) -> Path:
        """Activation store of a detector."""
        return self.root / "stores" / f"{slug(label)}.zarr"

    @property
    def compared_maps(self) -> Path:
        """Folder of the maps used for comparing variants, during the comparison."""
        return self.root / "maps" / "compared"

    @property
    def report(self) -> Path:
        """Report of the run, one HTML file."""
        return self.root / "report.html"

    @property
    def joint(self) -> Path:
        """Folder of the joint tables of all detectors."""
        return self.root / "tables" / "joint"

    def read_manifest(self) -> dict[str, Any]:
        """Read the manifest.

        Returns
        -------
        dict
            ``schema_version``, ``title``, ``command``, ``created``, ``versions``, ``complete``,
            ``stages`` (list of ``name, done, seconds`` of the stages begun), ``planned`` (names of
            all stages), ``detectors`` (labels), ``datasets``, ``source`` (training data),
            ``layers`` (label to tap), ``simulated``, ``images``, ``image_roots`` and
            ``image_seal`` (see `probe.images`).

        Raises
        ------
        StoreError
            If the manifest is missing, damaged or of another version.
        """
        file = self.root / MANIFEST_FILE
        if not file.is_file():
            raise NoRunError(self.root)
        try:
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StoreError(
                f"The manifest {str(file)!r} is damaged ({error}). Run the same command again; "
                "it creates what is missing."
            ) from error
        if not isinstance(found, dict):
            raise StoreError(
                f"The manifest {str(file)!r} is damaged (it is not an object). Run the same "
                "command again; it creates what is missing."
            )
        if found.get("schema_version") != SCHEMA_VERSION:
            raise OtherVersionError(self.root, found.get("schema_version"))
        wrong = _wrong(found)
        if wrong:
            raise StoreError(
                f"The manifest {str(file)!r} is damaged ({wrong!r} has the wrong type). Run the "
                "same command again; it creates what is missing."
            )
        return found

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest completely or not at all."""
        self.root.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"schema_version": SCHEMA_VERSION, **manifest}, indent=2, sort_keys=True)
        partial = self.root / (MANIFEST_FILE + ".part")
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(self.root / MANIFEST_FILE)


def _wrong(manifest: Mapping[str, Any]) -> str:
    """Return the name of an entry with the wrong type; empty if there is none."""
    for name, kind in _KINDS.items():
        if name in manifest and not isinstance(manifest[name], kind):
            return name
    for name in ("detectors", "datasets", "planned", "image_roots"):
        if not all(isinstance(one, str) for one in manifest.get(name, [])):
            return name
    for stage in manifest.get("stages", []):
        if not isinstance(stage, dict) or not isinstance(stage.get("seconds", 0.0), int | float):
            return "stages"
    return ""


class Run:
    """Read access to what a run holds; each table is read once, until its file changes.

    Parameters
    ----------
    folder : RunFolder
        Where everything is. Use `open_run` for a path.

    Examples
    --------
    >>> import probe
    >>> run = probe.open_run("runs/demo")  # doctest: +SKIP
    >>> run.universality(run.detectors[0]).summary()  # doctest: +SKIP
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
        from probe.jobs.opening import detector_of

        return detector_of(self.folder, detector, device)

    def images(self) -> Dataset:
        """Open the images of the split that detectors were measured on."""
        from probe.jobs.opening import measured_on

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
    >>> run = probe.open_run("runs/demo")  # doctest: +SKIP
    >>> run.evaluation.to_dataframe()  # doctest: +SKIP
    """
    run = Run(RunFolder(Path(folder)))
    # Now, and not at the first table: what is wrong with the folder is said here.
    assert run.manifest is not None
    return run


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
