"""`attention_by_region`: where in the face the mass of maps lies, by dataset and forgery."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from probe.attribution.contrasts import (
    Doubles,
    Estimate,
    Ratio,
    estimate_mean,
    estimate_ratio,
    exchanged,
)
from probe.attribution.findings import LOOKING, RegionAttention, texts
from probe.attribution.maps import AttributionMap
from probe.attribution.regions import FaceRegions, face_regions
from probe.datasets.dataset import Dataset
from probe.errors import ProbeError
from probe.progress import progress_bar
from probe.stats import MIN_CLUSTERS, adjust_together

__all__ = ["attention_by_region"]

#: Parts of a map that have a mass of their own.
SIGNED = ("positive", "negative")
UNSIGNED = ("magnitude",)

#: Statistics of a group that have an interval.
WITH_BOUNDS = ("share", "concentration", "change")
#: Tests and what their adjusted p-values are called.
TESTS = {"p": "q", "change_p": "change_q", "other_p": "other_q"}


@dataclass(frozen=True)
class _Plan:
    """How attention is computed."""

    n_resamples: int
    n_permutations: int
    ci: float
    seed: int

    def __post_init__(self) -> None:
        fewest = min(self.n_resamples, self.n_permutations)
        if fewest < 1 or not 0 < self.ci < 1 or self.seed < 0:
            given = ", ".join(f"{name}={value}" for name, value in vars(self).items())
            raise ProbeError(
                f"{given} were given; allowed are numbers from 1, a confidence level between 0 "
                "and 1, and a seed from 0."
            )


@dataclass(frozen=True)
class _Images:
    """What is measured on every image.

    Attributes
    ----------
    share : numpy.ndarray
        Shape (n, part, region), NaN without a face or without mass.
    area : numpy.ndarray
        Shape (n, region), NaN without a face.
    cluster : numpy.ndarray
        Shape (n,).
    pair : numpy.ndarray
        Shape (n,), position of the image that a fake is paired with, or −1.
    """

    share: Doubles
    area: Doubles
    cluster: NDArray[Any]
    pair: NDArray[np.int64]

    def used(self, part: int) -> NDArray[np.bool_]:
        """Whether an image has a face and any mass of a part, shape (n,)."""
        return np.asarray(np.isfinite(self.share[:, part]).all(axis=1))

    def paired(self, rows: NDArray[np.int64], part: int) -> NDArray[np.int64]:
        """Keep the images whose pair is there, both of them with a face and mass."""
        rows = rows[self.pair[rows] >= 0]
        used = self.used(part)
        return rows[used[rows] & used[self.pair[rows]]]

    def concentration(self, rows: NDArray[np.int64], part: int) -> list[Ratio]:
        """Mass over area."""
        return [(self.share[rows, part], self.area[rows], 1)]

    def change(self, rows: NDArray[np.int64], part: int) -> list[Ratio]:
        """Mass over area of fakes, less the same of their pairs."""
        pair = self.pair[rows]
        return [
            (self.share[rows, part], self.area[rows], 1),
            (self.share[pair, part], self.area[pair], -1),
        ]


def attention_by_region(
    maps: AttributionMap,
    data: Dataset,
    *,
    source: str = "auto",
    n_resamples: int = 1000,
    n_permutations: int = 9999,
    ci: float = 0.95,
    seed: int = 0,
    progress: bool = True,
) -> RegionAttention:
    """Say which regions of the face hold the mass of maps, by dataset and forgery.

    Of each image, the share of its positive mass, Σ max(map, 0), that lies in a region, and so of
    its negative mass, max(−map, 0); unsigned maps have one mass. An image counts once, however
    strong its map. The concentration is log2 of the mean share over the mean area: 0 is what even
    attention gives.

    Each group (the fakes of one method in one dataset, or its real images) is compared with the
    other groups of its label, clusters exchanged. Such a difference is specific to the group, not
    yet to the synthesis: cameras and people differ too. Where fakes are paired with the real
    images that they were made from (column ``pair``), the change from real to fake is given, in
    which face, pose and camera cancel, and is compared between groups in the same way.

    Parameters
    ----------
    maps : AttributionMap
        Maps of samples of `data`, all or some of them.
    data : Dataset
        The images. Dataset, label, forgery, cluster and pair are taken from its table.
    source : {"auto", "lab", "landmarks"}
        How regions are found; see `probe.attribution.regions.face_regions`. Images in which no
        face is found are counted by group, named in attribute ``faceless``, and left out.
    n_resamples, n_permutations : int
        Of intervals and of tests.
    ci : float, default 0.95
        What intervals cover.
    seed : int, default 0
        Of resamples and permutations.
    progress : bool, default True
        Whether a progress bar is shown.

    Returns
    -------
    RegionAttention

    Raises
    ------
    UnknownNameError
        If the source is not known.
    ProbeError
        If samples are not in `data`, maps are not finite, or no image shows a face.
    """
    plan = _Plan(n_resamples, n_permutations, ci, seed)
    rows = _positions(maps, data)
    regions = face_regions(data.take(rows), source)
    parts = SIGNED if maps.signed else UNSIGNED
    share, area = _shares(maps, regions, parts, progress)
    faceless = np.asarray(~np.isfinite(area).all(axis=1))
    table = data.samples.table.iloc[rows].reset_index(drop=True)
    if faceless.all():
        raise ProbeError(
            f"No face was found in any of {len(rows)} images. Regions need crops of faces that "
            "are upright and not smaller than some 30 pixels."
        )
    images = _Images(share, area, data.samples.clusters[rows], _pairs(table))
    groups = _groups(table)
    with progress_bar(
        "attention by region", len(groups) * len(parts), progress=progress
    ) as advance:
        tables = _tables(images, groups, len(parts), plan, advance)
    for p, q in TESTS.items():
        tables[q] = adjust_together(tables[p])
    return RegionAttention(
        _labeled(tables, images, groups, table, parts, regions).assign_attrs(
            _attrs(maps, regions, table["sample"][faceless].tolist(), plan)
        )
    )


def _positions(maps: AttributionMap, data: Dataset) -> NDArray[np.int64]:
    """Find the samples of maps in a dataset."""
    if not all(np.isfinite(some).all() for some in maps.blocks()):
        raise ProbeError("Some maps are not finite. Make them again.")
    at = pd.Index(data.samples.table["sample"].astype(str))
    names = texts(maps.data["sample"].values)
    rows = at.get_indexer(pd.Index(names))
    if (rows < 0).any():
        raise ProbeError(
            f"Maps of {int((rows < 0).sum())} samples are not of {data.name!r}, such as "
            f"{str(names[rows < 0][0])!r}. Give the dataset that the maps were made of."
        )
    return np.asarray(rows, dtype=np.int64)


def _pairs(table: pd.DataFrame) -> NDArray[np.int64]:
    """Position of the real image that each fake is paired with; −1 where there is none."""
    if "pair" not in table:
        return np.full(len(table), -1)
    at = pd.Index(table["sample"]).get_indexer(pd.Index(table["pair"].fillna("").astype(str)))
    label = table["label"].to_numpy()
    fits = (label == 1) & (at >= 0) & (label[at] == 0)
    return np.where(fits, at, -1).astype(np.int64)


def _shares(
    maps: AttributionMap, regions: FaceRegions, parts: tuple[str, ...], progress: bool
) -> tuple[Doubles, Doubles]:
    """Share of mass, shape (n, part, region), and of area, shape (n, region)."""
    n, k = len(maps), len(regions.names)
    share, area = np.full((n, len(parts), k), np.nan), np.full((n, k), np.nan)
    with progress_bar("regions of faces", n, progress=progress) as advance:
        for i, one in enumerate(itertools.chain.from_iterable(maps.blocks())):
            found = regions.find(i, *one.shape)
            if found is not None:
                where, values = found.ravel(), one.ravel().astype(np.float64)
                area[i] = np.bincount(where, minlength=k) / len(where)
                for j, part in enumerate(parts):
                    share[i, j] = _share(where, _mass(values, part), k)
            advance(1)
    return share, area


def _mass(values: Doubles, part: str) -> Doubles:
    if part == "magnitude":
        return np.abs(values)
    return np.maximum(values if part == "positive" else -values, 0)


def _share(where: NDArray[np.int8], mass: Doubles, k: int) -> Doubles:
    total = mass.sum()
    if not total:
        return np.full(k, np.nan)
    return np.asarray(np.bincount(where, weights=mass, minlength=k) / total)


def _groups(table: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
    """Positions of each group's images, real images of all datasets first."""
    names = [
        f"{dataset}: {('fake' if method == dataset else method) if label else 'real'}"
        for dataset, label, method in zip(
            table["dataset"], table["label"], table["method"], strict=True
        )
    ]
    column = pd.Series(names)
    order = sorted(dict.fromkeys(names), key=lambda name: not name.endswith(": real"))
    return {name: np.flatnonzero(column == name) for name in order}


def _tables(
    images: _Images,
    groups: Mapping[str, NDArray[np.int64]],
    n_parts: int,
    plan: _Plan,
    advance: Any,
) -> dict[str, Doubles]:
    """Compute what is said of every group and part, each of shape (group, part, region)."""
    names = [f"{name}{end}" for name in WITH_BOUNDS for end in ("", "_low", "_high")]
    shape = (len(groups), n_parts, images.area.shape[1])
    out = {name: np.full(shape, np.nan) for name in (*names, "area", *TESTS)}
    real = {name: name.endswith(": real") for name in groups}
    for g, (name, rows) in enumerate(groups.items()):
        alike = [r for other, r in groups.items() if other != name and real[other] == real[name]]
        others = np.concatenate([np.array([], dtype=np.int64), *alike])
        for part in range(n_parts):
            for key, value in _cell(images, rows, others, part, plan).items():
                out[key][g, part] = value
            advance(1)
    return out


def _cell(
    images: _Images, rows: NDArray[np.int64], others: NDArray[np.int64], part: int, plan: _Plan
) -> dict[str, Doubles]:
    """Compute what is said of one group and part, by region."""
    out: dict[str, Doubles] = {}
    used = images.used(part)
    own, rest = rows[used[rows]], others[used[others]]
    bootstrap = (plan.n_resamples, plan.ci, plan.seed)
    if len(own):
        cluster = images.cluster[own]
        share = estimate_mean(images.share[own, part], cluster, *bootstrap)
        ratio = estimate_ratio(images.concentration(own, part), cluster, *bootstrap)
        out |= {"area": images.area[own].mean(axis=0)}
        out |= _bounded("share", share) | _bounded("concentration", ratio)
    if len(own) and len(rest):
        out["p"] = _against(images, images.concentration, own, rest, part, plan)
    pairs, rest = images.paired(rows, part), images.paired(others, part)
    if len(pairs):
        ratio = estimate_ratio(images.change(pairs, part), images.cluster[pairs], *bootstrap)
        out |= _bounded("change", ratio)
        out["change_p"] = _against(
            images, images.concentration, pairs, images.pair[pairs], part, plan
        )
    if len(pairs) and len(rest):
        out["other_p"] = _against(images, images.change, pairs, rest, part, plan)
    return out


def _bounded(name: str, found: Estimate) -> dict[str, Doubles]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _against(
    images: _Images,
    terms: Any,
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    part: int,
    plan: _Plan,
) -> Doubles:
    """Test one set of images against another; NaN below two clusters in all."""
    both = np.concatenate([one, other])
    cluster = images.cluster[both]
    if len(np.unique(cluster)) < 2:
        return np.full(images.area.shape[1], np.nan)
    inside = np.arange(len(both)) < len(one)
    return exchanged(terms(both, part), inside, cluster, plan.n_permutations, plan.seed)


def _labeled(
    tables: Mapping[str, Doubles],
    images: _Images,
    groups: Mapping[str, NDArray[np.int64]],
    table: pd.DataFrame,
    parts: tuple[str, ...],
    regions: FaceRegions,
) -> xr.Dataset:
    lead = [table.iloc[rows[0]] for rows in groups.values()]
    of = np.empty(len(table), dtype=object)
    for name, rows in groups.items():
        of[rows] = name
    counts = [_counts(images, rows, len(parts)) for rows in groups.values()]
    of_group = {name: [one[name] for one in counts] for name in counts[0] if name != "n_used"}
    data: dict[str, Any] = {
        **{name: (("group", "part", "region"), value) for name, value in tables.items()},
        "n_used": (("group", "part"), np.array([one["n_used"] for one in counts])),
        **{name: ("group", value) for name, value in of_group.items()},
        "image_share": (("sample", "part", "region"), images.share),
        "image_area": (("sample", "region"), images.area),
    }
    coords: dict[str, Any] = {
        "group": list(groups),
        "part": list(parts),
        "region": list(regions.names),
        "sample": table["sample"].to_numpy(dtype=str),
        "dataset": ("group", [str(row["dataset"]) for row in lead]),
        "label": ("group", [int(row["label"]) for row in lead]),
        "forgery": ("group", [str(row["method"]) for row in lead]),
        "of": ("sample", of.astype(str)),
        "cluster": ("sample", images.cluster),
    }
    return xr.Dataset(data, coords)


def _counts(images: _Images, rows: NDArray[np.int64], n_parts: int) -> dict[str, Any]:
    faces = np.isfinite(images.area[rows]).all(axis=1)
    n_clusters = len(np.unique(images.cluster[rows][faces]))
    reason = ""
    if not faces.any():
        reason = "No face was found in any image."
    elif n_clusters < MIN_CLUSTERS:
        reason = f"No interval: {n_clusters} clusters, fewer than {MIN_CLUSTERS}."
    return {
        "n_samples": len(rows),
        "n_clusters": n_clusters,
        "n_faceless": int((~faces).sum()),
        "n_pairs": int(len(images.paired(rows, 0))),
        "reason": reason,
        "n_used": [int(images.used(part)[rows].sum()) for part in range(n_parts)],
    }


def _attrs(
    maps: AttributionMap, regions: FaceRegions, faceless: list[str], plan: _Plan
) -> dict[str, Any]:
    kept = ("method", "target", "layer", "detector", "detector_fingerprint", "data_fingerprint")
    return {
        "table": LOOKING,
        "source": regions.source,
        "rule": regions.rule,
        "faceless": faceless,
        **{name: maps.data.attrs[name] for name in kept if name in maps.data.attrs},
        **vars(plan),
    }
