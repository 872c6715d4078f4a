"""Tables of a run: written once, and reused where they were made of the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, TypeVar

from probe.artifacts import ArtifactReport
from probe.attribution.findings import MapSimilarity, RegionAttention
from probe.attribution.trust import TrustReport
from probe.detectors.evaluation import ZeroShotMatrix
from probe.embed import Embeddings
from probe.errors import StoreError
from probe.neurons import Ablation, NeuronTable, Universality
from probe.responses import ResponseReport
from probe.separability import SeparabilityReport, Similarity
from probe.tables import open_table, plain

__all__ = ["clear", "exported", "holds", "kept"]

Table = TypeVar(
    "Table",
    ZeroShotMatrix,
    NeuronTable,
    Universality,
    Ablation,
    SeparabilityReport,
    Similarity,
    Embeddings,
    ArtifactReport,
    ResponseReport,
    TrustReport,
    MapSimilarity,
    RegionAttention,
)


def kept(table: Table, place: Path) -> Table:
    """Write a table, and as CSV; a kill between the two leaves no CSV of an older table."""
    place.with_suffix(".csv").unlink(missing_ok=True)
    table.save(place)
    return exported(table, place)


def clear(place: Path) -> None:
    """Take away what an earlier run left, where no table is the result."""
    shutil.rmtree(place, ignore_errors=True)
    place.with_suffix(".csv").unlink(missing_ok=True)


def exported(table: Table, place: Path) -> Table:
    """Write the CSV of a table that is there, unless a kill has spared it."""
    if not place.with_suffix(".csv").is_file():
        table.export(place.with_suffix(".csv"))
    return table


def holds(path: Path, wanted: dict[str, Any]) -> bool:
    """Whether a table is there and was computed from the same detectors and data."""
    if not path.is_dir():
        return False
    try:
        attrs = open_table(path).attrs
    except StoreError:
        return False
    return all(attrs.get(key) == plain(value) for key, value in wanted.items())
