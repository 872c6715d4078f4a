"""What maps say together: how alike those of variants are, and where in the face they lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.run import Run
from app.selection import Selection
from probe.run import MAP_MODES

__all__ = [
    "MODES",
    "WHAT",
    "Bounded",
    "RegionsView",
    "VariantsView",
    "regions_view",
    "variants_view",
]

Floats = NDArray[np.float64]

#: Ways in which maps are compared, and their names.
MODES = {"corrected": "Corrected", "authors": "The study’s way"}
assert tuple(MODES) == MAP_MODES

#: What is shown of regions, and its name.
WHAT = {"concentration": "Concentration", "change": "Change from real"}

#: Columns of the adjusted p-values of each.
_QS = {"concentration": "q", "change": "change_q"}


@dataclass(frozen=True)
class Bounded:
    """Numbers with intervals, one a dataset; NaN where there are none."""

    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class VariantsView:
    """How alike the maps of an architecture's variants are.

    Attributes
    ----------
    architecture, mode, rule, layer : str
        Of what, and what was compared in words.
    variants, datasets : tuple of str
        Those compared; "all" is the last dataset where there are several.
    same, null, retrained, over : Bounded
        Similarity, that of maps of other images, of trainings with other seeds, and similarity
        less null.
    p : numpy.ndarray
        Of similarity less null.
    bins : tuple of str
        The study's.
    count : numpy.ndarray
        Images in each, shape (dataset, bin).
    n_samples, n_clusters : numpy.ndarray
        What it rests on, by dataset.
    reason : tuple of str
        Why something is missing, by dataset.
    coverage : float
        Of the intervals.
    """

    architecture: str
    mode: str
    rule: str
    layer: str
    variants: tuple[str, ...]
    datasets: tuple[str, ...]
    same: Bounded
    null: Bounded
    retrained: Bounded
    over: Bounded
    p: Floats
    bins: tuple[str, ...]
    count: NDArray[np.int64]
    n_samples: NDArray[np.int64]
    n_clusters: NDArray[np.int64]
    reason: tuple[str, ...]
    coverage: float


@dataclass(frozen=True)
class RegionsView:
    """Where in the face the maps of a detector lie.

    Attributes
    ----------
    detector, method, layer : str
        Of what.
    part, what : str
        Which mass; key of `WHAT`.
    parts : tuple of str
        Those there are.
    groups, regions : tuple of str
        Rows and columns.
    fake : numpy.ndarray
        Whether a group is of fakes.
    value, low, high, q, area : numpy.ndarray
        Shape (group, region), see `probe.attribution.findings.RegionAttention`.
    n_samples, n_clusters : numpy.ndarray
        Images, or pairs for a change, and clusters, by group.
    n_faceless : int
        Images without a face, left out.
    source, rule : str
        How regions were found.
    coverage : float
        Of the intervals.
    """

    detector: str
    method: str
    layer: str
    part: str
    what: str
    parts: tuple[str, ...]
    groups: tuple[str, ...]
    regions: tuple[str, ...]
    fake: NDArray[np.bool_]
    value: Floats
    low: Floats
    high: Floats
    q: Floats
    area: Floats
    n_samples: NDArray[np.int64]
    n_clusters: NDArray[np.int64]
    n_faceless: int
    source: str
    rule: str
    coverage: float


def variants_view(run: Run, chosen: Selection, label: str) -> VariantsView:
    """Read how alike the maps of a detector's architecture are.

    Raises
    ------
    ProbeError
        If there is no such mode or table.
    """
    mode, name = chosen.named("mode", list(MODES)), label.split("/")[0]
    data = run.map_similarity(name, mode).data
    attrs = data.attrs

    def bounded(value: str, start: str) -> Bounded:
        names = (value, f"{start}low", f"{start}high")
        return Bounded(*(data[one].values.astype(np.float64) for one in names))

    pairs = [str(pair).split("|") for pair in data["pair"].values]
    return VariantsView(
        architecture=name,
        mode=mode,
        rule=str(attrs.get("rule", "")),
        layer=str(attrs.get("layer", "")),
        variants=tuple(dict.fromkeys(variant for pair in pairs for variant in pair)),
        datasets=tuple(str(one) for one in data["dataset"].values),
        same=bounded("mean", ""),
        null=bounded("null_mean", "null_"),
        retrained=bounded("retrained_mean", "retrained_"),
        over=bounded("over_null", "over_null_"),
        p=data["over_null_p"].values.astype(np.float64),
        bins=tuple(str(one) for one in data["bin"].values),
        count=data["count"].transpose("dataset", "bin").values.astype(np.int64),
        n_samples=data["n_samples"].values.astype(np.int64),
        n_clusters=data["n_clusters"].values.astype(np.int64),
        reason=tuple(str(one) for one in data["reason"].values),
        coverage=float(attrs.get("ci", 0.95)),
    )


def regions_view(run: Run, chosen: Selection, label: str) -> RegionsView:
    """Read where in the face a detector's maps lie; groups that say nothing of it are left out.

    Raises
    ------
    ProbeError
        If there is no such table, part or kind of number.
    """
    data, attrs = run.attention(label).data, run.attention(label).data.attrs
    parts = [str(name) for name in data["part"].values]
    part, what = chosen.named("part", parts), chosen.named("what", list(WHAT))
    one = data.sel(part=part)
    there = np.isfinite(one[what].transpose("group", "region").values).any(axis=1)
    one = one.isel(group=np.flatnonzero(there))
    order = ("group", "region")

    def grid(name: str) -> Floats:
        return np.asarray(one[name].transpose(*order).values, dtype=np.float64)

    rests = "n_pairs" if what == "change" else "n_samples"
    return RegionsView(
        detector=label,
        method=str(attrs.get("method", "")),
        layer=str(attrs.get("layer", "")),
        part=part,
        what=what,
        parts=tuple(parts),
        groups=tuple(str(name) for name in one["group"].values),
        regions=tuple(str(name) for name in one["region"].values),
        fake=one["label"].values == 1,
        value=grid(what),
        low=grid(f"{what}_low"),
        high=grid(f"{what}_high"),
        q=grid(_QS[what]),
        area=grid("area"),
        n_samples=one[rests].values.astype(np.int64),
        n_clusters=one["n_clusters"].values.astype(np.int64),
        n_faceless=int(data["n_faceless"].values.sum()),
        source=str(attrs.get("source", "")),
        rule=str(attrs.get("rule", "")),
        coverage=float(attrs.get("ci", 0.95)),
    )
