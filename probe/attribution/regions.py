"""Attention by face region: `attention_by_region`, and how regions are found."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from PIL import Image

from probe.attribution.findings import RegionAttention, texts
from probe.attribution.maps import AttributionMap
from probe.attribution.targets import (
    Doubles,
    Estimate,
    Ratio,
    estimate_mean,
    estimate_ratio,
    exchanged,
)
from probe.datasets.dataset import Dataset
from probe.datasets.faces import FINDERS
from probe.datasets.lab import FORGERIES, Clip
from probe.datasets.lab.rendering import FACE_REGIONS
from probe.errors import DatasetError, ProbeError, UnknownNameError
from probe.progress import progress_bar
from probe.stats import MIN_CLUSTERS, adjust_together

__all__ = [
    "BY_LANDMARKS",
    "FaceRegions",
    "SOURCES",
    "attention_by_region",
    "face_regions",
    "landmark_regions",
]

SOURCES = ("auto", "lab", "landmarks")

#: Regions placed by five landmarks, in table order; the last is everything outside the face.
BY_LANDMARKS = ("eyes", "brows", "nose", "mouth", "cheeks", "forehead", "chin", "outside")

#: Regions of the synthetic data, with the background last.
BY_DRAWING = (*FACE_REGIONS, "background")

#: Maximum difference of a rendered frame from the file, in gray levels; machines round differently.
ROUNDING = 2

LANDMARK_RULE = (
    "Coordinates u and v: (0, 0) is midway between the eyes, the eyes are at u = −0.5 and 0.5, and "
    "v = 1 is midway between the corners of the mouth, so that u is in inter-ocular distances. "
    "Eyes: ellipses with half axes 0.29 and 0.14 around the eyes. Mouth: an ellipse around "
    "(0, 1.1) with half axes of half the distance of the corners plus 0.1, and 0.2. Brows: "
    "ellipses with half axes 0.42 and 0.13 around v = −0.34 above the eyes. Nose: a wedge along "
    "the line to the tip, from 0.1 to 1.3 of it, with half width 0.12 + 0.18 t at t of it. Face: "
    "an ellipse around (0, 0.3) with half axes 1.1 and 1.4; the rest of it is forehead above "
    "v = −0.3, chin below v = 0.9, and cheeks between. A pixel belongs to the first region of "
    "this list that it is in."
)


@dataclass(frozen=True)
class FaceRegions:
    """A way to label the face regions in the images of a dataset.

    Attributes
    ----------
    source : str
        "lab" or "landmarks".
    names : tuple of str
        Names of the regions; the last is everything outside the face.
    find : callable
        Maps (position in the dataset, height, width) to an index into `names` per pixel, shape
        (height, width); None if no face was found.
    rule : str
        Description of how regions are placed.
    """

    source: str
    names: tuple[str, ...]
    find: Callable[[int, int, int], NDArray[np.int8] | None]
    rule: str


def face_regions(data: Dataset, source: str = "auto") -> FaceRegions:
    """Choose how the regions of a dataset's images are found.

    Parameters
    ----------
    data : Dataset
        Images.
    source : {"auto", "lab", "landmarks"}
        "lab" renders each frame again and reads the region of each pixel, which is exact.
        "landmarks" finds five landmarks per image by YuNet and places regions by
        `LANDMARK_RULE`. "auto" uses "lab" if the dataset card says that the lab made the data.

    Raises
    ------
    UnknownNameError
        If the source is unknown.
    DatasetError
        If `source` is "lab" and the lab did not make the data, or made it in another version.
    """
    if source not in SOURCES:
        raise UnknownNameError("source of regions", source, SOURCES)
    plan = _lab_plan(data)
    if source == "landmarks" or (source == "auto" and plan is None):
        return FaceRegions("landmarks", BY_LANDMARKS, _by_landmarks(data), LANDMARK_RULE)
    if plan is None:
        raise DatasetError(
            f"Regions of the lab were requested, but the card of {data.name!r} does not say that "
            "the lab made it. Use source='landmarks'."
        )
    return FaceRegions("lab", BY_DRAWING, _by_drawing(data, plan), "drawn again from the plan")


def _lab_plan(data: Dataset) -> Mapping[str, Any] | None:
    """Return the plan of the lab that made the data, if all parts share one; else None."""
    cards: Sequence[Any] = list(data.card.get("parts", {}).values()) or [data.card]
    plans = [card.get("plan") if card.get("layout") == "lab" else None for card in cards]
    return plans[0] if plans[0] and all(plan == plans[0] for plan in plans) else None


def _by_drawing(
    data: Dataset, plan: Mapping[str, Any]
) -> Callable[[int, int, int], NDArray[np.int8] | None]:
    rows = data.samples.table[["dataset", "split", "video", "frame", "label"]].to_dict("records")
    background = len(BY_DRAWING) - 1

    # Frames of a video are consecutive, and its scene needs to be set up once.
    @lru_cache(maxsize=2)
    def clip_of(dataset: str, split: str, video: int) -> Clip:
        return Clip.of_plan(plan, dataset, split, video)

    def drawn(index: int) -> tuple[Clip, int, bool, dict[str, float]]:
        row = rows[index]
        name, number = str(row["dataset"]), re.search(r"-(\d+)-(?:real|fake)$", str(row["video"]))
        if number is None:
            raise DatasetError(f"{row['video']!r} is no name of a video of the lab.")
        own = {k: dose for k, dose in plan["doses"].items() if k in FORGERIES[name].doses}
        clip = clip_of(name, str(row["split"]), int(number[1]))
        return clip, int(row["frame"]), bool(row["label"]), own

    def find(index: int, height: int, width: int) -> NDArray[np.int8]:
        clip, number, fake, doses = drawn(index)
        found = clip.regions(number, fake=fake, doses=doses)
        return _resized(np.where(found < 0, background, found).astype(np.int8), height, width)

    clip, number, fake, doses = drawn(0)
    frame = clip.frame(number, doses)
    _check_same(data, frame.fake if fake else frame.real)
    return find


def _check_same(data: Dataset, again: NDArray[np.uint8]) -> None:
    kept = data.image(0)
    if kept.shape != again.shape or np.abs(kept.astype(int) - again).max() > ROUNDING:
        raise DatasetError(
            f"{data.samples.table['sample'].iloc[0]!r} rendered again differs from the image on "
            "disk: another version of the lab made the data. Make it again, or use "
            "source='landmarks'."
        )


def _resized(labels: NDArray[np.int8], height: int, width: int) -> NDArray[np.int8]:
    if labels.shape == (height, width):
        return labels
    picture = Image.fromarray(labels.astype(np.uint8))
    return np.asarray(picture.resize((width, height), Image.Resampling.NEAREST)).astype(np.int8)


def _by_landmarks(data: Dataset) -> Callable[[int, int, int], NDArray[np.int8] | None]:
    finder = FINDERS["yunet"]()

    def find(index: int, height: int, width: int) -> NDArray[np.int8] | None:
        image = data.image(index)
        faces = finder.find(image)
        if not faces:
            return None
        # Detectors see the whole image stretched to their input size; scale landmarks alike.
        scale = np.array([width / image.shape[1], height / image.shape[0]])
        return landmark_regions(np.array(faces[0].points) * scale, height, width)

    return find


def landmark_regions(
    points: NDArray[np.float64], height: int, width: int
) -> NDArray[np.int8] | None:
    """Place regions around five landmarks, by `LANDMARK_RULE`.

    Parameters
    ----------
    points : numpy.ndarray
        Shape (5, 2), x and y in pixels: left and right eye (as seen in the image), tip of the
        nose, left and right corner of the mouth.
    height, width : int
        Size of the image in pixels.

    Returns
    -------
    numpy.ndarray or None
        Shape (height, width), index into `BY_LANDMARKS`; None if eyes and mouth are on one line,
        which defines no frame.
    """
    left, right, tip, *corners = np.asarray(points, dtype=np.float64)
    origin, mouth = (left + right) / 2, (corners[0] + corners[1]) / 2
    frame = np.column_stack([right - left, mouth - origin])
    if abs(np.linalg.det(frame)) < 1:
        return None
    back = np.linalg.inv(frame)
    y, x = np.mgrid[:height, :width]
    u, v = np.tensordot(back, np.stack([x + 0.5 - origin[0], y + 0.5 - origin[1]]), axes=1)
    corner, (tip_u, tip_v) = back @ (corners[1] - corners[0]), back @ (tip - origin)
    along = v / max(tip_v, 0.3)
    side = np.abs(u) - 0.5
    face = (u / 1.1) ** 2 + ((v - 0.3) / 1.4) ** 2 <= 1
    where = {
        "eyes": (side / 0.29) ** 2 + (v / 0.14) ** 2 <= 1,
        "mouth": (u / (abs(corner[0]) / 2 + 0.1)) ** 2 + ((v - 1.1) / 0.2) ** 2 <= 1,
        "brows": (side / 0.42) ** 2 + ((v + 0.34) / 0.13) ** 2 <= 1,
        "nose": (np.abs(u - along * tip_u) <= 0.12 + 0.18 * along) & (along > 0.1) & (along < 1.3),
        "forehead": face & (v < -0.3),
        "chin": face & (v > 0.9),
        "cheeks": face,
    }
    codes = [BY_LANDMARKS.index(name) for name in where]
    outside = BY_LANDMARKS.index("outside")
    return np.select(list(where.values()), codes, outside).astype(np.int8)


#: Parts of the mass of a map.
SIGNED = ("positive", "negative")
UNSIGNED = ("magnitude",)

#: Statistics of a group with an interval.
WITH_BOUNDS = ("share", "concentration", "change")
#: p-values, and the names of the adjusted ones.
TESTS = {"p": "q", "change_p": "change_q", "other_p": "other_q"}


@dataclass(frozen=True)
class _Plan:
    """Settings of `attention_by_region`."""

    n_resamples: int
    n_permutations: int
    ci: float
    seed: int

    def __post_init__(self) -> None:
        fewest = min(self.n_resamples, self.n_permutations)
        if fewest < 1 or not 0 < self.ci < 1 or self.seed < 0:
            given = ", ".join(f"{name}={value}" for name, value in vars(self).items())
            raise ProbeError(
                f"{given} were given; allowed are counts of at least 1, a confidence level between "
                "0 and 1, and a seed of at least 0."
            )


@dataclass(frozen=True)
class _Images:
    """Measurements of all images.

    Attributes
    ----------
    share : numpy.ndarray
        Share of mass, shape (n, part, region); NaN without a face or without mass.
    area : numpy.ndarray
        Share of area, shape (n, region); NaN without a face.
    cluster : numpy.ndarray
        Shape (n,), clusters.
    pair : numpy.ndarray
        Shape (n,), position of the image that a fake is paired with, or −1.
    """

    share: Doubles
    area: Doubles
    cluster: NDArray[Any]
    pair: NDArray[np.int64]

    def used(self, part: int) -> NDArray[np.bool_]:
        """Return whether each image has a face and any mass of a part, shape (n,)."""
        return np.asarray(np.isfinite(self.share[:, part]).all(axis=1))

    def paired(self, rows: NDArray[np.int64], part: int) -> NDArray[np.int64]:
        """Return the rows with a pair, where both images have a face and mass."""
        rows = rows[self.pair[rows] >= 0]
        used = self.used(part)
        return rows[used[rows] & used[self.pair[rows]]]

    def concentration(self, rows: NDArray[np.int64], part: int) -> list[Ratio]:
        """Return the terms of mass / area."""
        return [(self.share[rows, part], self.area[rows], 1)]

    def change(self, rows: NDArray[np.int64], part: int) -> list[Ratio]:
        """Return the terms of mass / area of fakes, and the same of their pairs with sign −1."""
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
    """Measure which regions of the face hold the mass of maps, per dataset and forgery method.

    Per image, the share of its positive mass, Σ max(map, 0), in each region is measured, and
    likewise of its negative mass, max(−map, 0); unsigned maps have one mass. All images have the
    same weight. The concentration is log2(mean share / mean area); 0 is uniform attention.

    Each group (the fakes of one method in one dataset, or its real images) is compared with the
    other groups of its label by exchange of clusters. Such a difference is specific to the group,
    but not necessarily to the synthesis, because cameras and people differ too. If fakes are
    paired with the real images that they were made from (column ``pair``), the change from real
    to fake is measured. Face, pose and camera cancel in it, and it is compared between groups in
    the same way.

    Parameters
    ----------
    maps : AttributionMap
        Maps of all or some samples of `data`.
    data : Dataset
        Dataset of the images. Dataset, label, forgery, cluster and pair are read from its table.
    source : {"auto", "lab", "landmarks"}
        How regions are found; see `probe.attribution.regions.face_regions`. Images without a
        detected face are counted per group, listed in attribute ``faceless``, and left out.
    n_resamples, n_permutations : int
        Number of bootstrap resamples, and of permutations per test.
    ci : float, default 0.95
        Confidence level of the intervals, between 0 and 1.
    seed : int, default 0
        Seed of resamples and permutations.
    progress : bool, default True
        Whether to show a progress bar.

    Returns
    -------
    RegionAttention
        Shares and concentrations by group and region, with intervals and tests.

    Raises
    ------
    UnknownNameError
        If the source is unknown.
    ProbeError
        If samples are not in `data`, maps are not finite, or no face is found in any image.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> maps = probe.attribute(detector, data, "gradcam")
    >>> found = probe.attention_by_region(maps, data, n_permutations=99)
    >>> found.data["region"].values[:4].tolist()
    ['eyes', 'brows', 'nose', 'mouth']
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
            f"No face was found in any of {len(rows)} images. Regions need crops of upright "
            "faces of at least some 30 pixels."
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
    """Return the positions in a dataset of the samples of maps."""
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
    """Return the position of the real image that each fake is paired with; −1 if none."""
    if "pair" not in table:
        return np.full(len(table), -1)
    at = pd.Index(table["sample"]).get_indexer(pd.Index(table["pair"].fillna("").astype(str)))
    label = table["label"].to_numpy()
    fits = (label == 1) & (at >= 0) & (label[at] == 0)
    return np.where(fits, at, -1).astype(np.int64)


def _shares(
    maps: AttributionMap, regions: FaceRegions, parts: tuple[str, ...], progress: bool
) -> tuple[Doubles, Doubles]:
    """Return shares of mass, shape (n, part, region), and of area, shape (n, region)."""
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
    """Return the positions of each group's images; groups of real images come first."""
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
    """Return all statistics, each of shape (group, part, region)."""
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
    """Return all statistics of one group and part, by region."""
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
    """Test one set of images against another; NaN with fewer than two clusters in total."""
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
    kept = ("method", "target", "layer")
    made = replace(maps.provenance, seed=plan.seed, ci=plan.ci)
    return {
        "source": regions.source,
        "rule": regions.rule,
        "faceless": faceless,
        **{name: maps.data.attrs[name] for name in kept if name in maps.data.attrs},
        **vars(plan),
        **made.attrs(),
    }
