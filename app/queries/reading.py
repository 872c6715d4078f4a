"""Opening what a run holds, each file once until it changes."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import xarray as xr

from app.queries.deriving import derived, shared
from probe.artifacts import ArtifactReport
from probe.artifacts.responses import ResponseReport
from probe.attribution.findings import MapSimilarity, RegionAttention
from probe.attribution.maps import AttributionMap
from probe.attribution.trust.report import TrustReport
from probe.datasets.dataset import CARD_FILE, SAMPLES_FILE, Dataset, read_native
from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.images import Reach, RunData, careful, key_file, token_of
from probe.neurons import Ablation, NeuronTable, Universality
from probe.run import MANIFEST_FILE, RunFolder
from probe.separability.report import Embeddings, SeparabilityReport, Similarity
from probe.store import ActivationStore
from probe.tables import open_table
from probe.thumbnails import Thumbnails

__all__ = ["MAP_MODES", "MissingTableError", "Run", "from_disk", "stamp_of", "token_of", "typed"]

T = TypeVar("T")

#: What pages read of each table beside what opening it checks.
_SEPARABILITY = (
    "value",
    "low",
    "high",
    "p",
    "q",
    "transfer",
    "transfer_low",
    "transfer_high",
    "own",
    "own_low",
    "own_high",
    "blind",
    "blind_low",
    "blind_high",
    "n_samples",
    "n_fakes",
    "n_clusters",
    "sampled",
    "reason",
    "answer",
    "answer_low",
    "answer_high",
    "answer_p",
    "chance",
    "specific_share",
    "specific_low",
    "specific_high",
    "shared_cosine",
    "label_angle_share",
    "label_angle_null",
    "row_layer",
    "row_unit",
    "label_information",
    "method_information",
    "label_q",
    "method_q",
)
_SIMILARITY = ("cka", "cka_low", "cka_high")
_EMBEDDINGS = ("position", "trustworthiness", "preservation", "fitted")
_ARTIFACTS = (
    "effect",
    "low",
    "high",
    "p",
    "q",
    "n_used",
    "rank",
    "tells",
    "tells_low",
    "tells_high",
    "imbalance",
    "imbalance_low",
    "imbalance_high",
    "power",
    "power_low",
    "power_high",
    "region",
    "reason",
    "measurement_unit",
    "measurement_source",
    "measurement_about",
    "n_samples",
    "n_clusters",
)
_MEASUREMENTS = ("value", "dataset", "label", "measurement_about", "measurement_unit")
_ANSWERS: tuple[str, ...] = ("answer", "answer_kind", "answer_effect", "answer_q")
_CORRELATIONS = ("rho", "p", "q")
_DOSES = (
    "logit_response",
    "logit_low",
    "logit_high",
    "unit_response",
    "unit_low",
    "unit_high",
    "effect",
    "effect_q",
)


#: Bytes of the largest report that is served; `probe report` writes none that is larger.
LARGEST = 20_000_000

#: Ways in which maps of variants are compared; see `probe.attribution.similarity`.
MAP_MODES = ("corrected", "authors")


class MissingTableError(StoreError):
    """A table that the run does not hold (yet), with the command that makes it."""

    def __init__(self, what: str, command: str) -> None:
        self.command = command
        super().__init__(f"This run holds no {what} yet. The command below makes what is missing.")


@dataclass(frozen=True)
class Run:
    """Read access to a run folder; what was read stays in memory until its file changes.

    Attributes
    ----------
    folder : RunFolder
        Where everything lies.
    others : tuple of (str, Run)
        Further runs to compare with, by unique names.
    roots : tuple of pathlib.Path
        Folders that whoever serves the run lets images be opened from, see `probe.images`.
    """

    folder: RunFolder
    others: tuple[tuple[str, Run], ...] = ()
    roots: tuple[Path, ...] = ()

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest.

        Raises
        ------
        StoreError
            If it is missing, damaged or of another version.
        """
        file = self.folder.root / MANIFEST_FILE
        return _kept(_read_manifest, self.folder.root, _stamp(file))

    @property
    def report(self) -> Path | None:
        """The report's file; None where there is none, or its name leads to another file."""
        file = self.folder.report
        if file.is_symlink() or not file.is_file() or file.stat().st_size > LARGEST:
            return None
        return file

    @property
    def detectors(self) -> list[str]:
        """Labels of the detectors, such as "meso4/base"."""
        return [str(label) for label in self.manifest.get("detectors", [])]

    @property
    def command(self) -> str:
        """Command line that makes, or completes, this run."""
        made = str(self.manifest.get("command", ""))
        return made or f"probe demo --out {shlex.quote(typed(self.folder.root))}"

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
        data = _kept(_read_data, root, (_stamp(root / CARD_FILE), _stamp(root / SAMPLES_FILE)))
        # Whoever takes the key away takes away what it allowed, also while pages are looked at.
        key = key_file()
        return derived(_careful, (data, self.manifest), self.roots, key, _stamp(key))

    @property
    def thumbnails(self) -> Thumbnails:
        """Small copies of some images, for where the images are not; may be empty."""
        path = self.folder.thumbnails
        return _kept(Thumbnails, path, _stamp(path))

    @property
    def evaluation(self) -> xr.Dataset:
        """The zero-shot matrix, see `probe.evaluation.matrix.ZeroShotMatrix`."""
        path = self._there(self.folder.evaluation, "zero-shot matrix")
        data = _kept(open_table, path, _stamp(path / "zarr.json"))
        if "value" not in data or "n_clusters" not in data:
            raise StoreError(f"The table {str(path)!r} is no zero-shot matrix. Compute it again.")
        return data

    @property
    def scores(self) -> pd.DataFrame:
        """One row a detector and image, beside the zero-shot matrix."""
        path = self._there(self.folder.evaluation.with_suffix(".scores.parquet"), "score table")
        return _kept(_read_scores, path, _stamp(path))

    def neurons(self, label: str) -> NeuronTable:
        """Neuron table of a detector."""
        path = self._there(self.folder.neurons(self._known(label)), f"neuron table of {label}")
        return _kept(NeuronTable.open, path, _stamp(path / "zarr.json"))

    def universality(self, label: str) -> Universality:
        """Universality table of a detector."""
        path = self.folder.universality(self._known(label))
        path = self._there(path, f"universality table of {label}")
        return _kept(Universality.open, path, _stamp(path / "zarr.json"))

    def ablation(self, label: str) -> Ablation | None:
        """Ablation table of a detector; None where nothing was taken out."""
        path = self.folder.ablation(self._known(label))
        return _kept(Ablation.open, path, _stamp(path / "zarr.json")) if path.exists() else None

    def separability(self, label: str) -> SeparabilityReport:
        """Separability report of a detector."""
        path = self.folder.separability(self._known(label))
        path = self._there(path, f"separability report of {label}")
        found = _kept(SeparabilityReport.open, path, _stamp(path / "zarr.json"))
        _require(found.data, _SEPARABILITY, path)
        return found

    def embeddings(self, label: str) -> Embeddings:
        """Pictures of a detector's layers."""
        path = self._there(self.folder.embeddings(self._known(label)), f"embeddings of {label}")
        found = _kept(Embeddings.open, path, _stamp(path / "zarr.json"))
        _require(found.data, _EMBEDDINGS, path)
        return found

    def responses(self, label: str) -> ResponseReport:
        """Responses of a detector's units to measurements and to doses."""
        path = self._there(self.folder.responses(self._known(label)), f"responses of {label}")
        found = _kept(ResponseReport.open, path, _stamp(path / "zarr.json"))
        parts = (found.has_correlations, _CORRELATIONS), (found.has_doses, _DOSES)
        _require(found.data, _ANSWERS + sum((names for there, names in parts if there), ()), path)
        return found

    def maps(self, label: str, method: str) -> AttributionMap:
        """Attribution maps of a detector by a method, see `map_methods`.

        The maps themselves stay on disk until some of them are asked for.
        """
        if method not in (known := self.map_methods(label)):
            if not known:
                raise MissingTableError(f"attribution maps of {label}", self.command)
            raise UnknownNameError("method", method, known, where=f"the maps of {label}")
        path = self.folder.maps(label, method)
        return _kept(_read_maps, path, _stamp(path / "zarr.json"))

    def map_methods(self, label: str) -> list[str]:
        """Names of the methods that a detector's maps are there of, by name."""
        first = self.folder.maps(self._known(label), "").stem
        # Another detector's name may begin with this one's: "meso4" and "meso4-deep".
        longer = [
            self.folder.maps(other, "").stem
            for other in self.detectors
            if self.folder.maps(other, "").stem.startswith(first) and other != label
        ]
        found = [path.stem for path in self.folder.maps(label, "").parent.glob(f"{first}*.zarr")]
        kept = [name for name in found if not name.startswith(tuple(longer))]
        return sorted(name.removeprefix(first) for name in kept)

    def trust(self, label: str) -> TrustReport:
        """Trust report of a detector's maps."""
        path = self._there(self.folder.trust(self._known(label)), f"trust report of {label}")
        return _kept(TrustReport.open, path, _stamp(path / "zarr.json"))

    def attention(self, label: str) -> RegionAttention:
        """Which regions of faces a detector looks at."""
        path = self.folder.attention(self._known(label))
        path = self._there(path, f"attention by region of {label}")
        return _kept(RegionAttention.open, path, _stamp(path / "zarr.json"))

    def map_similarity(self, name: str, mode: str) -> MapSimilarity:
        """Similarity of the maps of an architecture's variants, in a mode."""
        if name not in {label.split("/")[0] for label in self.detectors}:
            raise UnknownNameError("architecture", name, self.detectors, where="this run")
        if mode not in MAP_MODES:
            raise UnknownNameError("mode", mode, MAP_MODES, where="this run")
        path = self.folder.map_similarity(name, mode)
        path = self._there(path, f"similarity of maps of {name}, mode {mode}")
        return _kept(MapSimilarity.open, path, _stamp(path / "zarr.json"))

    @property
    def artifacts(self) -> xr.Dataset:
        """The artifact report, see `probe.artifacts.ArtifactReport`."""
        path = self._there(self.folder.artifacts, "artifact report")
        data = _kept(ArtifactReport.open, path, _stamp(path / "zarr.json")).data
        _require(data, _ARTIFACTS, path)
        return data

    @property
    def measurements(self) -> xr.Dataset:
        """Measurements of every image, see `probe.artifacts.ArtifactMeasurements`.

        Values stay on disk until some of them are asked for.
        """
        path = self._there(self.folder.measurements, "measurements")
        data = _kept(_read_measurements, path, _stamp(path / "zarr.json"))
        _require(data, _MEASUREMENTS, path)
        return data

    @property
    def similarity(self) -> Similarity:
        """Similarity of all detectors."""
        path = self._there(self.folder.similarity, "similarity of detectors")
        found = _kept(Similarity.open, path, _stamp(path / "zarr.json"))
        _require(found.data, _SIMILARITY, path)
        return found

    def store(self, label: str) -> ActivationStore:
        """Activations of a detector."""
        path = self._there(self.folder.store(self._known(label)), f"activation store of {label}")
        return _kept(ActivationStore.open, path, _stamp(path / "zarr.json"))

    def _known(self, label: str) -> str:
        """Let a label become part of a path only if the run's manifest names it."""
        if label not in self.detectors:
            raise UnknownNameError("detector", label, self.detectors, where="this run")
        return label

    def _there(self, path: Path, what: str) -> Path:
        if not path.exists():
            raise MissingTableError(what, self.command)
        return path


def _kept(read: Callable[[Path], T], path: Path, stamp: object) -> T:
    found: T = _cached(read, path, stamp)
    return found


@shared(maxsize=128)
def _cached(read: Callable[[Path], Any], path: Path, stamp: object) -> Any:
    return read(path)


def _require(data: xr.Dataset, names: tuple[str, ...], path: Path) -> None:
    """Raise where a table lacks what pages show: half of it would look like all of it."""
    lacking = [name for name in names if name not in data]
    if lacking:
        raise StoreError(
            f"The table {str(path)!r} is damaged, or of another version: it lacks "
            f"{', '.join(lacking)}. Remove it and compute it again."
        )


def _stamp(file: Path) -> int:
    """When a file was last written; 0 where there is none."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


@contextmanager
def from_disk(path: Path) -> Iterator[None]:
    """Say what is damaged where values of a file that was opened before are read only now.

    Parameters
    ----------
    path : pathlib.Path
        The table or store.

    Raises
    ------
    StoreError
        In place of what libraries raise, such as of a chunk that is cut off.
    """
    try:
        yield
    except ProbeError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise StoreError(
            f"{str(path)!r} is damaged ({error}). Remove it and compute it again."
        ) from error


def stamp_of(file: Path) -> int:
    """When a file was last written; 0 where there is none. For what is kept until it changes."""
    return _stamp(file)


def typed(path: Path) -> str:
    """Return a path as it is typed in the folder where the dashboard was started."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _read_data(root: Path) -> tuple[Dataset, dict[str, int]]:
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


def _read_manifest(root: Path) -> dict[str, Any]:
    try:
        found = RunFolder(root).read_manifest()
    except AttributeError as error:
        raise StoreError(f"The manifest in {str(root)!r} is damaged: it is no table.") from error
    return found


def _read_maps(path: Path) -> AttributionMap:
    with from_disk(path):
        return AttributionMap.open(path, lazy=True)


def _read_measurements(path: Path) -> xr.Dataset:
    data = open_table(path, lazy=True)
    with from_disk(path):
        for name, variable in data.variables.items():
            if name != "value":
                variable.load()
    return data


def _read_scores(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"The table {str(path)!r} is damaged ({error}). Remove it and compute it again."
        ) from error
