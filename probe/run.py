"""`RunFolder`: paths of the results of a run, its manifest, and the tables that there are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probe.errors import StoreError
from probe.schema import SCHEMA_VERSION

__all__ = [
    "MANIFEST_FILE",
    "PROVENANCE_FILE",
    "TABLES",
    "MissingTableError",
    "NoRunError",
    "OtherVersionError",
    "RunFolder",
    "Table",
    "read_json",
    "slug",
]


MANIFEST_FILE, PROVENANCE_FILE = "run.json", "provenance.json"

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
    what, command : str
        Name of the table; command that makes it.
    """

    def __init__(self, what: str, command: str) -> None:
        self.what, self.command = what, command
        super().__init__(f"This run holds no {what} yet. `{command}` makes what is missing.")


@dataclass(frozen=True)
class Table:
    """A kind of table that runs hold.

    Attributes
    ----------
    result : str
        Class, see `probe.results.HOMES`.
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

    def read_provenance(self) -> dict[str, Any]:
        """Read what the run was made from, see `probe.study.Provenance`; empty if unknown."""
        return read_json(self.root / PROVENANCE_FILE)

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


def read_json(file: Path) -> dict[str, Any]:
    """Read an object from a JSON file; empty if the file is missing or damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
