"""`map_similarity`: SSIM between the maps of a detector's variants, with nulls."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from probe.attribution.findings import BINS, MapSimilarity, texts
from probe.attribution.maps import BLOCK, AttributionMap
from probe.attribution.targets import Doubles, Estimate, estimate_mean, swapped
from probe.errors import ProbeError, UnknownNameError
from probe.progress import progress_bar
from probe.results import Provenance
from probe.stats import MIN_CLUSTERS

__all__ = [
    "AUTHORS",
    "CORRECTED",
    "Compared",
    "MODES",
    "SMALLEST",
    "color_ssim",
    "map_similarity",
    "raw_ssim",
]

#: Smallest side of a map in pixels: that of the Gaussian window.
SMALLEST = 11

#: Percentile of magnitudes that sets the shared scale; larger values are clipped, as in figures.
PERCENTILE = 99.5

CORRECTED = (
    "SSIM of raw signed maps of the fake logit, Gaussian window of 1.5 pixels, one scale for all "
    "variants and images: ± the 99.5th percentile of magnitude, clipped"
)
AUTHORS = (
    "as the study's code: Grad-CAM of output 0, each map stretched to 0 to 255, JET (OpenCV), SSIM "
    "of the colors (scikit-image's defaults)"
)


@dataclass(frozen=True)
class Compared:
    """A way to compare maps.

    Attributes
    ----------
    prepare : callable
        Maps an array of maps, shape (n, y, x), to the form in which they are compared.
    ssim : callable
        Maps two prepared maps to their similarity, −1 to 1.
    range : float
        Dynamic range of prepared maps.
    """

    prepare: Callable[[NDArray[np.float64]], NDArray[Any]]
    ssim: Callable[[NDArray[Any], NDArray[Any]], float]
    range: float


def raw_ssim(blocks: Callable[[], Iterable[NDArray[np.float32]]]) -> Compared:
    """Compare signed maps on one shared scale.

    Parameters
    ----------
    blocks : callable
        Returns all maps in blocks; called more than once.
    """
    percentile, largest = magnitudes(blocks, PERCENTILE)
    # If only a few pixels are not 0, the percentile is 0; then the largest magnitude is used.
    bound = percentile or largest

    def ssim(one: NDArray[Any], other: NDArray[Any]) -> float:
        return float(
            structural_similarity(  # type: ignore[no-untyped-call]
                one,
                other,
                data_range=2 * bound,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
        )

    return Compared(lambda maps: np.clip(maps, -bound, bound), ssim, 2 * bound)


def magnitudes(
    blocks: Callable[[], Iterable[NDArray[np.float32]]], q: float
) -> tuple[float, float]:
    """Return a percentile of magnitudes, and the largest, without holding all values in memory.

    Non-negative float32 numbers are ordered like their bits, so that two passes of counting
    half-words find any order statistic. The result equals `numpy.percentile` to the last bit.
    """
    high = np.zeros(1 << 16, dtype=np.int64)
    for some in blocks():
        high += np.bincount(_bits(some) >> 16, minlength=1 << 16)
    ends = np.cumsum(high)
    n = int(ends[-1])
    at = (n - 1) * (q / 100)
    ranks = [int(at), min(int(at) + 1, n - 1), n - 1]
    halves = np.searchsorted(ends, ranks, side="right").tolist()
    low = {half: np.zeros(1 << 16, dtype=np.int64) for half in halves}
    for some in blocks():
        bits = _bits(some)
        for half, counts in low.items():
            counts += np.bincount(bits[bits >> 16 == half] & 0xFFFF, minlength=1 << 16)
    found = []
    for half, rank in zip(halves, ranks, strict=True):
        before = ends[half] - high[half]
        within = np.searchsorted(np.cumsum(low[half]), rank - before, side="right")
        found.append(_value(half, int(within)))
    first, second, last = found
    share, step = at - int(at), second - first
    return (first + step * share if share < 0.5 else second - step * (1 - share)), last


def _bits(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    return np.abs(values).astype(np.float32, copy=False).ravel().view(np.uint32)


def _value(high: int, low: int) -> float:
    return float(np.array([high << 16 | low], dtype=np.uint32).view(np.float32)[0])


def color_ssim(relu: bool) -> Compared:
    """Compare maps as the study does: each stretched by itself, and colored."""

    def prepare(maps: NDArray[np.float64]) -> NDArray[Any]:
        return np.stack([_colored(np.maximum(one, 0) if relu else one) for one in maps])

    def ssim(one: NDArray[Any], other: NDArray[Any]) -> float:
        found = structural_similarity(  # type: ignore[no-untyped-call]
            one, other, channel_axis=-1, data_range=255
        )
        return float(found)

    return Compared(prepare, ssim, 255.0)


def _colored(one: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Stretch a map to 0 to 255 and color it; a constant map is stretched to 0."""
    spread = float(np.ptp(one))
    gray = (one - one.min()) / spread * 255 if spread else np.zeros_like(one)
    return np.asarray(cv2.applyColorMap(gray.astype(np.uint8), cv2.COLORMAP_JET))


MODES = ("corrected", "authors")

#: Class of output 0, in mode "authors".
CLASSES = ("real", "fake")

Compare = Callable[[Any, Any], float]


@dataclass(frozen=True)
class _Plan:
    """Settings of `map_similarity`."""

    mode: str
    class_zero: str
    relu: bool
    n_null: int
    n_resamples: int
    n_permutations: int
    ci: float
    seed: int

    def __post_init__(self) -> None:
        for kind, given, allowed in (
            ("mode", self.mode, MODES),
            ("class", self.class_zero, CLASSES),
        ):
            if given not in allowed:
                raise UnknownNameError(kind, given, allowed)
        fewest = min(self.n_null, self.n_resamples, self.n_permutations)
        if fewest < 1 or not 0 < self.ci < 1 or self.seed < 0:
            raise ProbeError(
                f"n_null={self.n_null}, n_resamples={self.n_resamples}, n_permutations="
                f"{self.n_permutations}, ci={self.ci} and seed={self.seed} were given; "
                "allowed are counts of at least 1, a ci between 0 and 1, and a seed of at least 0."
            )


def map_similarity(
    maps: Mapping[str, AttributionMap],
    *,
    mode: str = "corrected",
    seeds: Sequence[AttributionMap] = (),
    class_zero: str = "real",
    relu: bool = True,
    n_null: int = 1,
    n_resamples: int = 1000,
    n_permutations: int = 9999,
    ci: float = 0.95,
    seed: int = 0,
    progress: bool = True,
) -> MapSimilarity:
    """Compare the maps of a detector's variants on the same images.

    Mode ``"corrected"``: SSIM (Wang et al. 2004, doi:10.1109/TIP.2003.819861; Gaussian window,
    σ = 1.5 pixels) of the raw signed maps. The dynamic range is 2 m, where m is the 99.5th
    percentile of the magnitude over all maps of all variants; values are clipped to ±m. The scale
    is shared by all variants and images, so that a map of twice the strength is a different map.
    SSIM depends on the scale: compare results of two sets of variants only by how far they are
    above their nulls.

    Mode ``"authors"``: as in the code of the study (Li et al. 2023, arXiv:2308.04177): Grad-CAM of
    output 0, each map stretched to 0 to 255, colored (JET), SSIM of the colors. Its defects: output
    0 is the *real* score of its sigmoid models, so that the maps show evidence for real; each image
    has its own scale, so that a map of noise weighs as much as a strong one; and equal steps of
    attention are unequal steps of color. Assumptions where the code is not public: Grad-CAM's
    ReLU, upsampling before stretching, OpenCV's JET, scikit-image's defaults (7 × 7 uniform
    window, mean over color channels). The sigmoid or softmax after the logit scales a map by a
    positive number, which stretching cancels.

    Similarity is high for weak or smooth maps, whatever they show. The null therefore is the second
    variant's map of another image of another cluster, of the same dataset and label, drawn at
    random. If `seeds` are given, the maps of trainings that differ only by the seed are compared
    likewise, on their own scale: this is the similarity to expect from retraining. It is an upper
    bound for variants that are trained anew. Variants that were fine-tuned from each other share
    weights, and can be above it.

    Parameters
    ----------
    maps : mapping
        Variant to maps: at least two variants, with the same samples in the same order. The study
        compares maps of fakes only.
    mode : {"corrected", "authors"}
        Comparison; see above.
    seeds : sequence of AttributionMap, optional
        Maps of the same samples by one variant trained several times with different seeds.
    class_zero : {"real", "fake"}
        Class of output 0, in mode "authors": "real" for the study's sigmoid models (Meso4,
        MesoInception4, ShallowNet), whose map is the negative of that of the fake logit; "fake" for
        its softmax models (Xception, EfficientNet-B0), whose classes are in alphabetical order.
    relu : bool, default True
        Whether negative values are set to 0 before stretching, in mode "authors".
    n_null : int, default 1
        Number of other images drawn for the null, per image and pair of variants.
    n_resamples, n_permutations : int
        Number of bootstrap resamples, and of permutations per test.
    ci : float, default 0.95
        Confidence level of the intervals, between 0 and 1.
    seed : int, default 0
        Seed of draws, resamples and permutations.
    progress : bool, default True
        Whether to show a progress bar.

    Returns
    -------
    MapSimilarity
        Similarities with their nulls, per image and per dataset.

    Raises
    ------
    UnknownNameError
        If the mode or class is unknown.
    ProbeError
        If there are fewer than two variants, or one training in `seeds`; if samples or sizes
        differ; if maps are not finite or all 0; or if, in mode "authors", they are not signed
        Grad-CAM of the fake logit.

    Examples
    --------
    >>> import probe
    >>> run = probe.open_run("runs/demo")
    >>> maps = {name: run.maps(name, "gradcam") for name in run.detectors}
    >>> probe.map_similarity(maps, n_permutations=99)
    <MapSimilarity: sample 36, pair 1, dataset 4, bin 3>
    """
    plan = _Plan(mode, class_zero, relu, n_null, n_resamples, n_permutations, ci, seed)
    each = [*maps.values(), *seeds]
    _check(maps, seeds)
    if mode == "authors":
        _check_authors(each)
    variants, compared = _prepared(list(maps.values()), plan)
    # Retrained detectors have their own scale; results of the variants do not depend on them.
    trained, theirs = _prepared(seeds, plan) if seeds else ([], compared)
    of, label, cluster = _about(each[0])
    pairs = list(itertools.combinations(range(len(maps)), 2))
    others = _other_images(of, label, cluster, (len(pairs), n_null), seed)
    own, null = (np.full((len(of), len(pairs)), np.nan) for _ in range(2))
    retrained = np.full(len(of), np.nan)
    with progress_bar("similarity of maps", len(of), progress=progress) as advance:
        for i in range(len(of)):
            own[i], null[i] = _image(i, variants, pairs, others[i], compared.ssim)
            if trained:
                retrained[i] = _among(i, trained, theirs.ssim)
            advance(1)
    names = list(maps)
    data = {
        "similarity": (("sample", "pair"), own),
        "null": (("sample", "pair"), null),
        "retrained": ("sample", retrained),
        **_tables(own.mean(axis=1), null.mean(axis=1), retrained, of, cluster, plan),
    }
    coords = {
        "sample": texts(each[0].data["sample"].values),
        "bin": list(BINS),
        "pair": [f"{names[a]}|{names[b]}" for a, b in pairs],
        "of": ("sample", of),
        "label": ("sample", label),
        "cluster": ("sample", cluster),
        "dataset": _groups(of),
    }
    return MapSimilarity(xr.Dataset(data, coords, _attrs(maps, len(seeds), compared, plan)))


def _check(maps: Mapping[str, AttributionMap], seeds: Sequence[AttributionMap]) -> None:
    if len(maps) < 2:
        raise ProbeError(
            f"Maps of {', '.join(maps) or 'no variant'} were given; give two or more variants."
        )
    if len(seeds) == 1:
        raise ProbeError("Maps of one training were given as seeds; give two or more, or none.")
    named = [*maps.items(), *((f"seed {k}", one) for k, one in enumerate(seeds))]
    first, lead = named[0]
    for name, one in named:
        if one.data["attribution"].shape[1:] != lead.data["attribution"].shape[1:]:
            sizes = [" × ".join(map(str, m.data["attribution"].shape[1:])) for m in (one, lead)]
            raise ProbeError(
                f"Maps of {name} have {sizes[0]} pixels and those of {first} {sizes[1]}. "
                "Make both at the same image size."
            )
        ids, own = (texts(m.data["sample"].values) for m in (lead, one))
        if ids.shape != own.shape or (ids != own).any():
            at = next((i for i, (a, b) in enumerate(zip(ids, own, strict=False)) if a != b), None)
            where = f"{len(own)} and {len(ids)} maps" if at is None else f"{own[at]}, {ids[at]}"
            raise ProbeError(
                f"Maps of {name} are not of the same samples as those of {first} ({where}). Make "
                "both of the same images, in the same order."
            )
        if not all(np.isfinite(some).all() for some in one.blocks()):
            raise ProbeError(f"Some maps of {name} are not finite. Make them again.")
    if min(lead.data["attribution"].shape[1:]) < SMALLEST:
        raise ProbeError(f"SSIM needs maps of at least {SMALLEST} pixels a side.")


def _check_authors(maps: Sequence[AttributionMap]) -> None:
    for one in maps:
        target = str(one.data.attrs.get("target", "logit"))
        if one.method != "gradcam" or not one.signed or "logit" not in target:
            sort = "signed" if one.signed else "unsigned"
            raise ProbeError(
                f"Maps by {one.method!r} of {target!r}, {sort}, were given; mode 'authors' needs "
                "signed Grad-CAM of the fake logit. Make them with method='gradcam', or use "
                "mode='corrected'."
            )


def _prepared(maps: Sequence[AttributionMap], plan: _Plan) -> tuple[list[_Stack], Compared]:
    """Return maps in the form in which they are compared, and the comparison."""

    def blocks() -> Iterator[NDArray[np.float32]]:
        return itertools.chain.from_iterable(one.blocks() for one in maps)

    if not any(some.any() for some in blocks()):
        raise ProbeError("All maps are 0: there is nothing to compare.")
    authors = plan.mode == "authors"
    sign = -1.0 if authors and plan.class_zero == "real" else 1.0
    compared = color_ssim(plan.relu) if authors else raw_ssim(blocks)
    return [_Stack(one, compared, sign) for one in maps], compared


class _Stack:
    """Prepared maps of one variant, read when they are needed."""

    def __init__(self, maps: AttributionMap, compared: Compared, sign: float) -> None:
        self.maps, self.compared, self.sign = maps, compared, sign
        self._start, self._held = 0, np.empty(0)

    def _read(self, start: int, count: int) -> NDArray[Any]:
        some = self.maps.read(slice(start, start + count))
        return self.compared.prepare(self.sign * some.astype(np.float64))

    def one(self, i: int) -> NDArray[Any]:
        """Return one map, at any position."""
        held = self._start <= i < self._start + len(self._held)
        return np.asarray(self._held[i - self._start] if held else self._read(i, 1)[0])

    def following(self, i: int) -> NDArray[Any]:
        """Return one map, and read ahead for sequential access."""
        if not self._start <= i < self._start + len(self._held):
            self._start, self._held = i, self._read(i, BLOCK)
        return np.asarray(self._held[i - self._start])


def _about(maps: AttributionMap) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return dataset, label and cluster of every sample; without clusters, each is its own."""
    data, n = maps.data, len(maps)
    of = texts(data["dataset"].values) if "dataset" in data.coords else np.full(n, "all")
    label = data["label"].values if "label" in data.coords else np.full(n, -1)
    own = "cluster" if "cluster" in data.coords else "sample"
    cluster = np.char.add(np.char.add(of, "|"), texts(data[own].values))
    return of, label.astype(np.int8), cluster


def _other_images(
    of: NDArray[Any], label: NDArray[Any], cluster: NDArray[Any], draws: tuple[int, int], seed: int
) -> NDArray[np.int64]:
    """Draw other images for the null, shape (sample, pair, draw); −1 if there is none."""
    rng = np.random.default_rng(seed)
    out = np.full((len(of), *draws), -1, dtype=np.int64)
    of, cluster = (np.unique(one, return_inverse=True)[1] for one in (of, cluster))
    for i in range(len(of)):
        able = np.flatnonzero((of == of[i]) & (label == label[i]) & (cluster != cluster[i]))
        if len(able):
            out[i] = rng.choice(able, size=draws)
    return out


def _image(
    i: int,
    variants: Sequence[_Stack],
    pairs: Sequence[tuple[int, int]],
    others: NDArray[np.int64],
    ssim: Compare,
) -> tuple[list[float], list[float]]:
    """Return similarity and null of one image, by pair of variants."""
    here = [one.following(i) for one in variants]
    own = [ssim(here[a], here[b]) for a, b in pairs]
    null = [
        float(np.mean([ssim(here[a], variants[b].one(j)) if j >= 0 else np.nan for j in drawn]))
        for (a, b), drawn in zip(pairs, others.tolist(), strict=True)
    ]
    return own, null


def _among(i: int, trained: Sequence[_Stack], ssim: Compare) -> float:
    """Return the mean similarity of one image's maps over pairs of trainings."""
    here = [one.following(i) for one in trained]
    each = [ssim(one, other) for one, other in itertools.combinations(here, 2)]
    return float(np.mean(each))


def _groups(of: NDArray[Any]) -> list[str]:
    names = list(dict.fromkeys(of.tolist()))
    return [*names, "all"] if len(names) > 1 else names


def _tables(
    own: Doubles,
    null: Doubles,
    retrained: Doubles,
    of: NDArray[Any],
    cluster: NDArray[Any],
    plan: _Plan,
) -> dict[str, Any]:
    """Return all statistics per dataset, and for all datasets together."""
    rows = []
    for name in _groups(of):
        kept = (of == name) | (name == "all")
        rows.append(_row(own[kept], null[kept], retrained[kept], cluster[kept], plan))
    out: dict[str, Any] = {key: ("dataset", [row[key] for row in rows]) for key in rows[0]}
    out["count"] = (("dataset", "bin"), np.array(out["count"][1]))
    return out


def _row(
    own: Doubles, null: Doubles, retrained: Doubles, cluster: NDArray[Any], plan: _Plan
) -> dict[str, Any]:
    def mean(values: Doubles) -> Estimate:
        return estimate_mean(values, cluster, plan.n_resamples, plan.ci, plan.seed)

    row: dict[str, Any] = {}
    for name, prefix, found in (
        ("mean", "", mean(own)),
        ("null_mean", "null_", mean(null)),
        ("retrained_mean", "retrained_", mean(retrained)),
        ("over_null", "over_null_", mean(own - null)),
        ("over_retrained", "over_retrained_", mean(own - retrained)),
    ):
        row |= {name: found.value, f"{prefix}low": found.low, f"{prefix}high": found.high}
    for name, other in (("over_null_p", null), ("over_retrained_p", retrained)):
        row[name] = swapped(own, other, cluster, plan.n_permutations, plan.seed)
    bins = np.digitize(own, [0.7, 0.9])
    row["count"] = np.bincount(bins, minlength=len(BINS)).astype(np.int64)
    row["n_samples"], row["n_clusters"] = len(own), len(np.unique(cluster))
    row["reason"] = _reason(row, bool(np.isnan(null).any()))
    return row


def _reason(row: Mapping[str, Any], lacks_null: bool) -> str:
    n, said = row["n_clusters"], []
    if n < MIN_CLUSTERS:
        said.append(f"No interval: {n} clusters, fewer than {MIN_CLUSTERS}.")
    if lacks_null:
        said.append("Some images have no other of another cluster, and no null.")
    return " ".join(said)


def _attrs(
    maps: Mapping[str, AttributionMap], n_seeds: int, compared: Compared, plan: _Plan
) -> dict[str, Any]:
    kept = ("method", "target", "layer")
    first = next(iter(maps.values()))
    detectors = {n: m.provenance.detectors[m.detector] for n, m in maps.items()}
    made = Provenance(detectors, first.provenance.data, plan.seed, plan.ci)
    used = {k: v for k, v in vars(plan).items() if plan.mode == "authors" or k not in AUTHORS_ONLY}
    return {
        "variants": list(maps),
        "n_seeds": n_seeds,
        "rule": CORRECTED if plan.mode == "corrected" else AUTHORS,
        "range": compared.range,
        **{name: first.data.attrs[name] for name in kept if name in first.data.attrs},
        **used,
        **made.attrs(),
    }


AUTHORS_ONLY = ("class_zero", "relu")
