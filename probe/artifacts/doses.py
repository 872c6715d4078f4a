"""`dose_response`: how the logit and units change as one artifact of the lab is turned up."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from probe.artifacts.responses import ResponseReport, answered
from probe.datasets.dataset import resize
from probe.datasets.lab import ARTIFACTS, COUNTS, FORGERIES, FRAMES, Clip
from probe.datasets.lab.clip import identity_name
from probe.datasets.lab.rendering import Rendering
from probe.datasets.work import worker_pool
from probe.detectors.detector import Detector
from probe.errors import ProbeError, UnknownNameError
from probe.hooks import Recorder, Tap, trace
from probe.progress import progress_bar
from probe.results import Provenance
from probe.schema import DATASETS, SPLITS
from probe.stats import MIN_CLUSTERS, Floats, adjust_together, cluster_counts, percentile_bounds

__all__ = [
    "DOSES",
    "DosedImages",
    "OTHERS",
    "check_videos",
    "dose_response",
    "render_doses",
    "sign_flip_test",
]

DOSES = (0.0, 0.25, 0.5, 0.75, 1.0)

#: Default number of videos per dataset; one large detector takes well under a minute on two cores.
VIDEOS = 12

#: Doses of the artifacts that are not varied: 0, or the video's own doses.
OTHERS = ("none", "own")

#: Value of column ``artifact`` for the real image.
REAL_IMAGE = ""


@dataclass(frozen=True)
class DosedImages:
    """Rendered images, with the artifact and dose that each one shows.

    Attributes
    ----------
    images : numpy.ndarray
        Shape (n, size, size, 3), RGB, 0 to 255.
    table : pandas.DataFrame
        One row per video frame, artifact and dose: ``dataset, identity, video, frame, artifact,
        dose`` and ``image``, the position in `images`. ``artifact`` is "" for the real image. With
        ``others="none"``, dose 0 of all artifacts is one shared image.
    attrs : dict
        Settings: ``others, split, frames, doses, artifacts, videos, lab_seed, lab_size``.
    """

    images: NDArray[np.uint8]
    table: pd.DataFrame
    attrs: dict[str, Any]

    def __repr__(self) -> str:
        """Say how many images of which artifacts there are."""
        artifacts = sorted({str(name) for name in self.table["artifact"]} - {""})
        return f"<DosedImages: {len(self):,} images, {', '.join(artifacts)}>"

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class _KeptClip(Clip):
    """A clip that renders each head once and keeps it for all doses."""

    kept: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def _real(self, number: int) -> Rendering:
        key = ("real", number)
        if key not in self.kept:
            self.kept[key] = super()._real(number)
        return self.kept[key]  # type: ignore[no-any-return]

    def _content(
        self, number: int, doses: Mapping[str, float], real: Rendering
    ) -> NDArray[np.float64]:
        key = (number, doses["identity"], doses["expression"])
        if key not in self.kept:
            self.kept[key] = super()._content(number, doses, real)
        return self.kept[key]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Job:
    """One frame of one video, with all its artifacts and doses."""

    clip: _KeptClip
    number: int
    artifacts: tuple[str, ...]
    doses: tuple[float, ...]
    others: str

    @property
    def identity(self) -> str:
        return identity_name(self.clip.dataset, self.clip.split, self.clip.target)

    @property
    def base(self) -> dict[str, float]:
        """Doses of the artifacts that are not varied."""
        own = FORGERIES[self.clip.dataset].doses
        return dict.fromkeys(own, 0.0) if self.others == "none" else {}


def render_doses(
    datasets: Sequence[str] = DATASETS,
    artifacts: Sequence[str] | None = None,
    doses: Sequence[float] = DOSES,
    *,
    others: str = "none",
    split: str = "test",
    videos: int | None = VIDEOS,
    frames: Sequence[int] = (0,),
    size: int = 128,
    seed: int = 0,
    n_workers: int | None = None,
) -> DosedImages:
    """Render faces of the synthetic data with the dose of one artifact varied, all else fixed.

    Scene, motion, camera noise and the doses of the other artifacts are the same, so that images of
    one series differ in the artifact alone. The result can be used for any number of detectors.

    Parameters
    ----------
    datasets : sequence of str
        Names among the six synthetic datasets.
    artifacts : sequence of str, optional
        Artifacts to vary, each in the datasets whose method has it; all by default.
    doses : sequence of float
        At least two doses, ascending from 0, in [0, 1].
    others : {"none", "own"}
        Doses of the artifacts that are not varied: 0 (each artifact alone on the real frame), or
        the video's own doses (each artifact in its usual combination).
    split : {"train", "val", "test"}
        Split of the identities.
    videos : int or None, default 12
        Number of videos per dataset, each of another identity; None for all of the split (25 in
        test). Videos are drawn independently. The default with all six datasets renders 1,248
        images if the other artifacts are at 0.
    frames : sequence of int
        Frames of each video, among 0 to 3.
    size : int, default 128
        Side of the images in pixels.
    seed : int, default 0
        Seed of the synthetic data.
    n_workers : int, optional
        Number of worker processes; one per core by default.

    Returns
    -------
    DosedImages
        The images and the table of their artifacts and doses.

    Raises
    ------
    UnknownNameError
        If a dataset, artifact or split is unknown.
    ProbeError
        If an argument is out of range, or no dataset has an artifact.

    Examples
    --------
    >>> import probe
    >>> probe.render_doses(["faceswap"], ["seam"], [0.0, 1.0], videos=2, size=64)
    <DosedImages: 6 images, seam>
    """
    _check_names(datasets, artifacts, split, others)
    pool = COUNTS[split] // (2 * FRAMES)
    count = pool if videos is None else videos
    check_videos(split, count)
    _check_numbers(doses, frames, n_workers)
    wanted = tuple(artifacts if artifacts is not None else ARTIFACTS)
    steps = tuple(map(float, doses))
    jobs = [
        _Job(_KeptClip(name, split, video, pool, size, seed), frame, own, steps, others)
        for name in datasets
        if (own := tuple(a for a in wanted if a in FORGERIES[name].doses))
        for video in range(count)
        for frame in frames
    ]
    _check_found(jobs, datasets, wanted, artifacts is not None)
    pictures, rows = _rendered(jobs, n_workers or os.cpu_count() or 1)
    shown = [a for a in wanted if any(a in job.artifacts for job in jobs)]
    attrs = {
        "others": others,
        "split": split,
        "frames": list(map(int, frames)),
        "doses": list(steps),
        "artifacts": shown,
        "lab_seed": seed,
        "lab_size": size,
        "videos": count,
    }
    return DosedImages(pictures, rows, attrs)


def _rendered(jobs: list[_Job], n_workers: int) -> tuple[NDArray[np.uint8], pd.DataFrame]:
    pictures: list[NDArray[np.uint8]] = []
    tables: list[pd.DataFrame] = []
    done = 0
    with progress_bar("render doses", len(jobs)) as advance:
        for images, table in _run(jobs, n_workers):
            pictures.append(images)
            tables.append(table.assign(image=table["image"] + done))
            done += len(images)
            advance(1)
    return np.concatenate(pictures), pd.concat(tables, ignore_index=True)


def _run(jobs: list[_Job], n_workers: int) -> Iterator[tuple[NDArray[np.uint8], pd.DataFrame]]:
    n_workers = min(n_workers, len(jobs))
    if n_workers <= 1:
        yield from map(_render, jobs)
        return
    with worker_pool(n_workers) as pool:
        yield from pool.map(_render, jobs, chunksize=2)


def _render(job: _Job) -> tuple[NDArray[np.uint8], pd.DataFrame]:
    """Render one frame with all artifacts and doses; equal doses share an image."""
    clip = job.clip
    real = clip.frame(job.number, dict.fromkeys(FORGERIES[clip.dataset].doses, 0.0)).real
    images, rows, known = [real], [(REAL_IMAGE, 0.0, 0)], {}
    for artifact, dose in itertools.product(job.artifacts, job.doses):
        used = {**job.base, artifact: dose}
        key = tuple(sorted(used.items()))
        if key not in known:
            known[key] = len(images)
            images.append(clip.frame(job.number, used).fake)
        rows.append((artifact, dose, known[key]))
    table = pd.DataFrame(rows, columns=["artifact", "dose", "image"])
    table = table.assign(
        dataset=clip.dataset, identity=job.identity, video=clip.video, frame=job.number
    )
    # Free the renderings, which only this frame can use.
    clip.kept.clear()
    return np.stack(images), table


def _check_names(
    datasets: Sequence[str], artifacts: Sequence[str] | None, split: str, others: str
) -> None:
    chosen: list[tuple[str, Sequence[str], Sequence[str]]] = [
        ("lab dataset", datasets, DATASETS),
        ("artifact", artifacts or (), ARTIFACTS),
        ("split", [split], SPLITS),
        ("choice of others", [others], OTHERS),
    ]
    for kind, given, allowed in chosen:
        if isinstance(given, str) or len(set(given)) < len(given):
            raise ProbeError(f"{given!r} was given; give a list without duplicates.")
        for name in given:
            if name not in allowed:
                raise UnknownNameError(kind, name, allowed)


def check_videos(split: str, videos: int) -> None:
    """Raise `ProbeError` if a split of the synthetic data does not have so many videos."""
    pool = COUNTS[split] // (2 * FRAMES)
    if not 1 <= videos <= pool:
        raise ProbeError(
            f"videos={videos} was given; the split has {pool} per dataset, one per identity."
        )


def _check_numbers(doses: Sequence[float], frames: Sequence[int], n_workers: int | None) -> None:
    steps = list(doses)
    if len(steps) < 2 or steps[0] != 0 or steps != sorted({*steps}) or steps[-1] > 1:
        raise ProbeError(
            f"doses={steps} was given; give at least two, ascending from 0 to at most 1."
        )
    if not len(frames) or not {*frames} <= {*range(FRAMES)} or len({*frames}) < len(frames):
        raise ProbeError(
            f"frames={list(frames)} was given; give at least one of frames 0 to {FRAMES - 1}, "
            "without duplicates."
        )
    if n_workers is not None and n_workers < 1:
        raise ProbeError(f"n_workers={n_workers} was given; allowed are 1 and above, or None.")


def _check_found(
    jobs: list[_Job], datasets: Sequence[str], wanted: tuple[str, ...], named: bool
) -> None:
    found = {artifact for job in jobs for artifact in job.artifacts}
    lacking = [artifact for artifact in wanted if artifact not in found]
    if not jobs or (named and lacking):
        own = dict.fromkeys(a for name in datasets for a in FORGERIES[name].doses)
        raise ProbeError(
            f"Artifacts {', '.join(lacking)} were requested for {', '.join(datasets) or 'none'}, "
            f"which cannot have them. Allowed are {', '.join(own) or 'those of a dataset'}."
        )


#: Maximum number of statistics (draw × unit) held at once.
BLOCK = 1 << 22


def sign_flip_test(
    changes: Sequence[Floats], n_permutations: int = 9999, seed: int = 0
) -> tuple[Floats, Floats]:
    """Test for each unit whether the mean change differs from 0.

    Under the null hypothesis, dose 0 and dose 1 of a cluster are exchangeable, which flips the sign
    of its change. All units use the same flips; strata are flipped independently. If there are at
    most as many flips as draws, all are used. The test is exact if changes are symmetric about 0
    under the null hypothesis.

    Parameters
    ----------
    changes : sequence of numpy.ndarray
        One array per stratum (dataset), shape (clusters, units). Clusters have the same weight
        within a stratum, and strata have the same weight.
    n_permutations : int, default 9999
        Number of draws in addition to the observed signs; the smallest possible p-value is
        1 / (n_permutations + 1).
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    mean, p : numpy.ndarray
        Shape (units,): mean over strata of the mean over clusters, and two-sided p-value in
        (0, 1]; 1 where nothing changes.
    """
    rows = np.concatenate([one / (len(one) * len(changes)) for one in changes])
    signs = _signs(len(rows), n_permutations, seed)
    mean = rows.sum(axis=0)
    bar = np.abs(mean) * (1 - 1e-9)
    above = np.zeros(rows.shape[1])
    step = max(1, BLOCK // max(rows.shape[1], 1))
    for start in range(0, len(signs), step):
        above += (np.abs(signs[start : start + step] @ rows) >= bar).sum(axis=0)
    return mean, above / len(signs)


def _signs(clusters: int, n_permutations: int, seed: int) -> Floats:
    """Return signs, shape (draws, clusters); the first row is the observed one (all +1)."""
    if 2**clusters <= n_permutations + 1:
        flips = (np.arange(2**clusters)[:, None] >> np.arange(clusters)) & 1
    else:
        rng = np.random.default_rng(seed)
        flips = rng.integers(0, 2, (n_permutations + 1, clusters))
        flips[0] = 0
    return np.asarray(1.0 - 2.0 * flips, dtype=np.float64)


#: Changes below this share of a unit's largest value are rounding errors: the last bits of matrix
#: products depend on the position of an image in the batch.
ROUNDING = 1e-5


def dose_response(
    detector: Detector,
    data: DosedImages | None,
    layer: str,
    *,
    reducer: str = "mean",
    universal: Sequence[int] = (),
    n_resamples: int = 1000,
    n_permutations: int = 9999,
    ci: float = 0.95,
    alpha: float = 0.05,
    smallest: float = 0.1,
    seed: int = 0,
    batch_size: int = 64,
) -> ResponseReport:
    """Measure the response of the fake logit and of every unit to each synthetic artifact.

    The response is causal: images show the same face, with only the dose of one artifact varied.
    Changes are averaged within identities, then over identities, per dataset. Unit responses are in
    standard deviations of the unit over the real images of the same people and scenes (pooled
    within datasets, so that differences between datasets do not count; over all images for a unit
    that is constant on real ones).

    Parameters
    ----------
    detector : Detector
        Detector to measure.
    data : DosedImages or None
        Result of `render_doses`, which can be shared between detectors; None renders its defaults.
    layer : str
        Layer whose units are measured.
    reducer : str, default "mean"
        Reduction of a map to one value per unit.
    universal : sequence of int
        Units to mark in tables and figures.
    n_resamples : int, default 1000
        Number of bootstrap resamples of identities.
    n_permutations : int, default 9999
        Number of sign flips.
    ci : float, default 0.95
        Confidence level of the intervals, between 0 and 1.
    alpha : float, default 0.05
        False discovery rate at which a unit gets an answer, in (0, 1).
    smallest : float, default 0.1
        Smallest mean response, in standard deviations of the unit, that counts as an answer. As
        the images differ in nothing but the artifact, almost any response is significant.
    seed : int, default 0
        Seed of all draws.
    batch_size : int, default 64
        Images per batch.

    Returns
    -------
    ResponseReport
        Report with the dose responses.

    Raises
    ------
    UnknownNameError
        If the layer or reducer is unknown.
    ProbeError
        If `universal` has a unit number out of range, or an argument is out of range.

    Examples
    --------
    >>> import probe
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> doses = probe.render_doses(["faceswap"], ["seam"], [0.0, 1.0], videos=6, size=64)
    >>> probe.dose_response(detector, doses, "leaky", n_permutations=99)
    <ResponseReport of meso4: artifact 1, dataset 1, dose 2, unit 16>
    """
    _check(n_resamples, n_permutations, ci, alpha, batch_size)
    recorder = Recorder.of(trace(detector), [Tap(layer, reducer)])
    shown = data if data is not None else render_doses()
    values = _values(recorder, shown.images, batch_size)
    units = values.shape[1] - 1
    if any(not 0 <= unit < units for unit in universal):
        raise ProbeError(
            f"universal={list(universal)} was given; {layer!r} has units 0 to {units - 1}."
        )
    spread = _spread(values, shown.table)
    changes = _changes(values / spread, shown)
    found = _assembled(changes, shown, n_resamples, n_permutations, ci, seed)
    attrs = {
        **shown.attrs,
        "layer": recorder.names[0],
        **Provenance.made([detector], seed=seed, ci=ci).attrs(),
        "universal": sorted(map(int, universal)),
        "reducer": reducer,
        "alpha": alpha,
        "smallest": smallest,
        "n_flips": n_permutations,
        "n_resamples": n_resamples,
    }
    found = found.assign(unit_sd=("unit", spread[1:])).assign_attrs(attrs)
    return ResponseReport(answered(found))


def _values(recorder: Recorder, images: NDArray[np.uint8], batch_size: int) -> Floats:
    """Run the detector on all images; shape (n, 1 + units), the logit first."""
    size, rows = recorder.detector.spec.input_size, []
    with progress_bar(f"doses {recorder.detector.name}", len(images)) as advance:
        for start in range(0, len(images), batch_size):
            some = images[start : start + batch_size]
            batch = np.stack([resize(image, size) for image in some]).transpose(0, 3, 1, 2)
            values, logits = recorder(np.ascontiguousarray(batch, dtype=np.float32) / 255)
            units = values[recorder.names[0]].cpu().double().numpy()
            rows.append(np.column_stack([logits.cpu().double().numpy(), units]))
            advance(len(some))
    return np.concatenate(rows)


def _spread(values: Floats, table: pd.DataFrame) -> Floats:
    """Return the units of response, shape (1 + units,); 1 for the logit and constant units."""
    real = table[table["artifact"] == REAL_IMAGE]
    # Each dataset is centered, so that differences between datasets do not count as spread.
    groups = [values[rows["image"]] for _, rows in real.groupby("dataset", sort=False)]
    within = np.concatenate([one - one.mean(axis=0) for one in groups])
    freedom = max(len(within) - len(groups), 1)
    spread = np.sqrt((within**2).sum(axis=0) / freedom)
    spread = np.where(spread > _trace(values), spread, values.std(axis=0))
    spread = np.where(spread > _trace(values), spread, 1.0)
    spread[0] = 1.0
    return np.asarray(spread)


def _trace(values: Floats) -> Floats:
    """Return, per column, the size below which a difference is a rounding error."""
    return np.asarray(ROUNDING * np.abs(values).max(axis=0))


@dataclass(frozen=True)
class _Change:
    """Change from dose 0 per identity, shape (identities, doses, 1 + units)."""

    artifact: str
    dataset: str
    values: Floats


def _changes(values: Floats, images: DosedImages) -> list[_Change]:
    trace, out = _trace(values), []
    dosed = images.table[images.table["artifact"] != REAL_IMAGE]
    for (artifact, dataset), rows in dosed.groupby(["artifact", "dataset"], sort=False):
        keys = ["identity", "video", "frame"]
        grid = rows.pivot(index=keys, columns="dose", values="image").sort_index(axis=1)
        at = values[grid.to_numpy()]
        change = at - at[:, :1]
        change[np.abs(change) <= trace] = 0.0
        codes, names = pd.factorize(grid.index.get_level_values("identity"))
        sums = np.zeros((len(names), *change.shape[1:]))
        np.add.at(sums, codes, change)
        means = sums / np.bincount(codes)[:, None, None]
        out.append(_Change(str(artifact), str(dataset), means))
    return out


def _assembled(
    changes: list[_Change],
    images: DosedImages,
    n_resamples: int,
    n_permutations: int,
    ci: float,
    seed: int,
) -> xr.Dataset:
    artifacts = list(images.attrs["artifacts"])
    datasets = list(dict.fromkeys(images.table["dataset"]))
    _, n_doses, columns = changes[0].values.shape
    shape = (len(artifacts), len(datasets))
    mean, low, high = np.full((3, *shape, columns, n_doses), np.nan)
    logit_p = np.full(shape, np.nan)
    for one in changes:
        where = artifacts.index(one.artifact), datasets.index(one.dataset)
        mean[where] = one.values.mean(axis=0).T
        low[where], high[where] = _bounds(one.values, n_resamples, ci, seed)
        logit_p[where] = sign_flip_test([one.values[:, -1, :1]], n_permutations, seed)[1][0]
    effect, p = _pooled(changes, artifacts, n_permutations, seed)
    logit, unit = ("artifact", "dataset", "dose"), ("artifact", "dataset", "unit", "dose")
    variables: dict[str, Any] = {}
    for name, array in (("response", mean), ("low", low), ("high", high)):
        variables[f"logit_{name}"] = (logit, array[:, :, 0])
        variables[f"unit_{name}"] = (unit, array[:, :, 1:])
    variables["logit_p"] = (logit[:2], logit_p)
    variables["logit_q"] = (logit[:2], adjust_together(logit_p))
    variables["effect"] = (("artifact", "unit"), effect)
    variables["effect_p"] = (("artifact", "unit"), p)
    variables["effect_q"] = (("artifact", "unit"), adjust_together(p))
    known = images.table.groupby("dataset")["identity"].nunique().loc[datasets].to_numpy()
    variables["n_identities"] = ("dataset", known)
    variables["dose_reason"] = ("dataset", [_reason(int(n)) for n in known])
    coords = {
        "artifact": artifacts,
        "dataset": datasets,
        "unit": np.arange(columns - 1),
        "dose": list(images.attrs["doses"]),
    }
    return xr.Dataset(variables, coords=coords)


def _bounds(
    change: Floats, n_resamples: int, ci: float, seed: int
) -> tuple[Floats | float, Floats | float]:
    """Return bounds by resampling identities, each of shape (1 + units, doses)."""
    count, doses, columns = change.shape
    if count < MIN_CLUSTERS:
        return np.nan, np.nan
    weights = cluster_counts(count, n_resamples, seed) / count
    low, high = percentile_bounds(weights @ change.reshape(count, -1), ci)
    return low.reshape(doses, columns).T, high.reshape(doses, columns).T


def _pooled(
    changes: list[_Change], artifacts: list[str], n_permutations: int, seed: int
) -> tuple[Floats, Floats]:
    """Test units at the highest dose, over all datasets that have the artifact."""
    found = []
    for artifact in artifacts:
        strata = [one.values[:, -1, 1:] for one in changes if one.artifact == artifact]
        found.append(sign_flip_test(strata, n_permutations, seed))
    return np.stack([mean for mean, _ in found]), np.stack([p for _, p in found])


def _reason(identities: int) -> str:
    """Return what is not possible with so few identities; empty if all is."""
    texts = []
    if identities < MIN_CLUSTERS:
        texts.append(f"no interval below {MIN_CLUSTERS}")
    if 2.0 ** (1 - identities) > 0.05:
        texts.append("their sign flips are too few for p ≤ 0.05 in this dataset alone")
    return f"{identities} identities: {', and '.join(texts)}" if texts else ""


def _check(n_resamples: int, n_permutations: int, ci: float, alpha: float, batch_size: int) -> None:
    for name, value in (("ci", ci), ("alpha", alpha)):
        if not 0 < value < 1:
            raise ProbeError(f"{name}={value} was given; it must be in (0, 1).")
    for name, count in (
        ("n_resamples", n_resamples),
        ("n_permutations", n_permutations),
        ("batch_size", batch_size),
    ):
        if count < 1:
            raise ProbeError(f"{name}={count} was given; it must be at least 1.")
