"""`RunFolder`: paths of the results of a run, and its manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probe.errors import StoreError
from probe.schema import SCHEMA_VERSION

__all__ = ["MANIFEST_FILE", "NoRunError", "OtherVersionError", "RunFolder", "slug"]

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


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run.

    Attributes
    ----------
    root : pathlib.Path
        Path of the folder. It contains ``run.json`` (the manifest), ``data/`` (a dataset),
        ``detectors/<d>/``, ``stores/<d>.zarr``, ``tables/evaluation.zarr``,
        ``tables/neurons/<d>.zarr``, ``tables/universality/<d>.zarr`` and further tables by
        detector, ``tables/artifacts.zarr``, and ``figures/``, where ``<d>`` is a detector's `slug`.
    """

    root: Path

    @property
    def data(self) -> Path:
        """Root of the dataset."""
        return self.root / "data"

    @property
    def evaluation(self) -> Path:
        """Evaluation table: the zero-shot matrix."""
        return self.root / "tables" / "evaluation.zarr"

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

    def neurons(self, label: str) -> Path:
        """Neuron table of a detector."""
        return self.root / "tables" / "neurons" / f"{slug(label)}.zarr"

    def universality(self, label: str) -> Path:
        """Universality table of a detector."""
        return self.root / "tables" / "universality" / f"{slug(label)}.zarr"

    def ablation(self, label: str) -> Path:
        """Ablation table of a detector."""
        return self.root / "tables" / "ablation" / f"{slug(label)}.zarr"

    def separability(self, label: str) -> Path:
        """Separability report of a detector."""
        return self.root / "tables" / "separability" / f"{slug(label)}.zarr"

    def embeddings(self, label: str) -> Path:
        """Embeddings of a detector's layers."""
        return self.root / "tables" / "embeddings" / f"{slug(label)}.zarr"

    def responses(self, label: str) -> Path:
        """Table of responses: what a detector's units respond to."""
        return self.root / "tables" / "responses" / f"{slug(label)}.zarr"

    def maps(self, label: str, method: str) -> Path:
        """Attribution maps of a detector by a method."""
        return self.root / "maps" / f"{slug(label)}-{method}.zarr"

    @property
    def compared_maps(self) -> Path:
        """Folder of the maps used for comparing variants, during the comparison."""
        return self.root / "maps" / "compared"

    def trust(self, label: str) -> Path:
        """Trust report of a detector's maps."""
        return self.root / "tables" / "trust" / f"{slug(label)}.zarr"

    def attention(self, label: str) -> Path:
        """Table of region attention of a detector."""
        return self.root / "tables" / "attention" / f"{slug(label)}.zarr"

    def map_similarity(self, name: str, mode: str) -> Path:
        """Similarity table of the maps of an architecture's variants."""
        return self.root / "tables" / "map-similarity" / f"{slug(name)}-{mode}.zarr"

    @property
    def report(self) -> Path:
        """Report of the run, one HTML file."""
        return self.root / "report.html"

    @property
    def joint(self) -> Path:
        """Folder of the joint tables of all detectors."""
        return self.root / "tables" / "joint"

    @property
    def similarity(self) -> Path:
        """Similarity table of all detectors."""
        return self.root / "tables" / "similarity.zarr"

    @property
    def measurements(self) -> Path:
        """Table of artifact measurements of every image."""
        return self.root / "tables" / "measurements.zarr"

    @property
    def artifacts(self) -> Path:
        """Artifact report of the datasets."""
        return self.root / "tables" / "artifacts.zarr"

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
