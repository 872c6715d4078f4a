"""Paired differences between detectors on the same images, by a joint cluster bootstrap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from probe.errors import ProbeError
from probe.stats import (
    METRICS,
    MIN_CLUSTERS,
    Floats,
    Interval,
    adjust_together,
    cluster_bootstrap,
    cluster_counts,
    inverted_level,
    sigmoid,
)

__all__ = [
    "AWAY",
    "LEVELS",
    "MEAN",
    "at_level",
    "common_scores",
    "differences",
    "home_and_away",
    "mean_by_cluster",
    "resample_scores",
    "score_differences",
]

#: Levels of measurement: a frame, or a video by the mean P(fake) of its frames.
LEVELS = ("frame", "video")

#: Name of the row that is the mean over datasets.
MEAN = "mean"

#: Maximum number of distinct scores for resampling; more are sorted into this many bins. Ignoring
#: the order within a bin changes a resampled AUROC by about 1e-4. Estimates are exact.
GRID = 1024


def score_differences(
    one: pd.DataFrame,
    other: pd.DataFrame,
    *,
    metrics: Sequence[str] = tuple(METRICS),
    levels: Sequence[str] = LEVELS,
    n_resamples: int = 1000,
    ci: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Compare two detectors on the images that both scored.

    Parameters
    ----------
    one, other : pandas.DataFrame
        Rows of one detector each, as in `probe.evaluation.matrix.ZeroShotMatrix.scores`:
        ``dataset, sample, video, label, cluster, logit``.
    metrics, levels : sequence of str
        Names of metrics and levels; all by default.
    n_resamples, ci, seed
        Number of cluster bootstrap resamples, confidence level, and seed of the bootstrap.

    Returns
    -------
    xarray.Dataset
        See `differences`; differences are `one` − `other`.

    Raises
    ------
    ProbeError
        If the tables share no image, or an image has different labels in them.

    Examples
    --------
    >>> scores = pd.read_parquet("runs/demo/tables/evaluation.scores.parquet")
    >>> base, deep = (scores[scores.detector == f"meso4/{v}"] for v in ("base", "deep"))
    >>> score_differences(deep, base, metrics=["auroc"]).to_dataframe()
    """
    first, second = (
        resample_scores(scores, metrics=metrics, levels=levels, n_resamples=n_resamples, seed=seed)
        for scores in common_scores(one, other)
    )
    return differences(first, second, ci)


def common_scores(one: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep the images that both tables hold, in the order of the first table.

    Clusters and videos are taken from the first table, so that both are resampled alike.

    Raises
    ------
    ProbeError
        If there is no common image, or a label differs.
    """
    keys = ["dataset", "sample"]
    if not all(np.array_equal(one[key].to_numpy(), other[key].to_numpy()) for key in keys):
        where = pd.MultiIndex.from_frame(other[keys]).get_indexer(
            pd.MultiIndex.from_frame(one[keys])
        )
        one, other = one[where >= 0], other.iloc[where[where >= 0]]
    if not len(one):
        raise ProbeError(
            "The two detectors have no image in common, so there is nothing to compare image by "
            "image. Measure both on the same datasets and split."
        )
    differing = one["label"].to_numpy() != other["label"].to_numpy()
    if differing.any():
        raise ProbeError(
            f"{int(differing.sum())} images are labeled differently in the two score tables, the "
            f"first of them {one['sample'].iloc[int(np.argmax(differing))]!r}. Check the label "
            "conventions of the datasets."
        )
    alike = ["video", "cluster"]
    return one, other.assign(**{name: one[name].to_numpy() for name in alike})


def resample_scores(
    scores: pd.DataFrame,
    *,
    metrics: Sequence[str] = tuple(METRICS),
    levels: Sequence[str] = LEVELS,
    n_resamples: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """Compute the metrics of a detector per dataset, and on resampled clusters.

    Two tables of the same images with the same seed are resampled alike.

    Parameters
    ----------
    scores : pandas.DataFrame
        Rows of one detector: ``dataset, video, label, cluster, logit``.
    metrics, levels, n_resamples, seed
        As in `score_differences`.

    Returns
    -------
    xarray.Dataset
        ``value (dataset, level, metric)``; ``draw (dataset, level, metric, resample)``, NaN where
        a resample lacks a class, and everywhere below five clusters; ``n_samples, n_clusters
        (dataset, level)``.
    """
    datasets = list(dict.fromkeys(scores["dataset"]))
    shape = len(datasets), len(levels), len(metrics)
    value, draw = np.full(shape, np.nan), np.full((*shape, n_resamples), np.nan)
    counts = np.zeros((2, *shape[:2]), dtype=np.int64)
    for i, (_, rows) in enumerate(scores.groupby("dataset", sort=False)):
        for j, unit in enumerate(levels):
            part = at_level(rows, unit)
            label, score = part["label"].to_numpy(), part["score"].to_numpy()
            names, cluster = np.unique(part["cluster"].to_numpy(), return_inverse=True)
            counts[:, i, j] = len(part), len(names)
            value[i, j] = [METRICS[name](label, score, None)[0] for name in metrics]
            if len(names) >= MIN_CLUSTERS:
                weights = cluster_counts(len(names), n_resamples, seed)
                draw[i, j] = _drawn(metrics, label, score, cluster, weights)
    dims = ("dataset", "level", "metric")
    return xr.Dataset(
        {
            "value": (dims, value),
            "draw": ((*dims, "resample"), draw),
            "n_samples": (dims[:2], counts[0]),
            "n_clusters": (dims[:2], counts[1]),
        },
        coords={"dataset": datasets, "level": list(levels), "metric": list(metrics)},
        attrs={"seed": seed, "n_resamples": n_resamples},
    )


def differences(one: xr.Dataset, other: xr.Dataset, ci: float = 0.95) -> xr.Dataset:
    """Return differences of two results of `resample_scores` on the same images.

    Parameters
    ----------
    one, other : xarray.Dataset
        Results for the same images, resampled with the same seed.
    ci : float, default 0.95
        Confidence level of the intervals, between 0 and 1.

    Returns
    -------
    xarray.Dataset
        Over (dataset, level, metric): ``value, reference`` (metric of each), ``difference`` (one −
        other), ``low, high`` (percentile interval), ``p`` (two-sided, by inverting the interval:
        Davison and Hinkley 1997, Bootstrap Methods, ch. 5), ``q`` (Benjamini-Hochberg over
        datasets) and ``reason`` (why there is no interval, else empty). Over (dataset, level):
        ``n_samples, n_clusters``.

    Raises
    ------
    ProbeError
        If the results are not of the same images.
    """
    one, other = xr.align(one, other, join="inner")
    for name in ("n_samples", "n_clusters"):
        if not one[name].equals(other[name]):
            raise ProbeError(
                f"The two results differ in {name}, so they were measured on different images. "
                "Reduce both to the common images with `common_scores` first."
            )
    value = one["value"].values
    difference = value - other["value"].values
    draws = one["draw"].values - other["draw"].values
    bounds, p = _bounds(draws, ci), inverted_level(draws)
    lacking = ~np.isfinite(difference)
    bounds[:, lacking] = p[lacking] = np.nan
    q = np.full(p.shape, np.nan)
    for j in range(p.shape[1]):
        for k in range(p.shape[2]):
            q[:, j, k] = adjust_together(p[:, j, k])
    dims = ("dataset", "level", "metric")
    arrays = {
        "value": value,
        "reference": other["value"].values,
        "difference": difference,
        "low": bounds[0],
        "high": bounds[1],
        "p": p,
        "q": q,
        "reason": _reasons(lacking, one["n_clusters"].values, bounds[0]),
    }
    found = one[["n_samples", "n_clusters"]].assign(
        {name: (dims, array) for name, array in arrays.items()}
    )
    return found.assign_coords(metric=one["metric"]).assign_attrs({**one.attrs, "ci": ci})


def home_and_away(
    scores: pd.DataFrame,
    home: Sequence[str],
    *,
    people: ArrayLike | None = None,
    n_resamples: int = 1000,
    ci: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare the frame AUROC of a detector on its training datasets with that on other datasets.

    Identities are resampled once for all datasets: whoever appears in several datasets is drawn in
    all of them, so that shared variation cancels.

    Parameters
    ----------
    scores : pandas.DataFrame
        Rows of one detector: ``dataset, label, cluster, logit``.
    home : sequence of str
        Datasets that the detector was trained on; their mean AUROC is the reference.
    people : array_like, optional
        Shape (n,), identity or video of each row, with the same name in every dataset. By default,
        clusters of different datasets are different identities.
    n_resamples, ci, seed
        As in `score_differences`.

    Returns
    -------
    pandas.DataFrame
        One row per other dataset, and last their `MEAN`, over those that can be resampled:
        ``dataset``; ``home, home_low, home_high`` (AUROC on the training datasets); ``value, low,
        high`` (AUROC on the dataset); ``lost, lost_low, lost_high`` (home − value); ``all_low,
        all_high`` (simultaneous bounds of ``lost`` over all datasets, by Bonferroni); ``p``
        (two-sided, null: nothing is lost, by inverting the interval); ``n_samples, n_clusters,
        reason``. Empty without other datasets.

    Raises
    ------
    ProbeError
        If no row is of a training dataset.
    """
    names = list(dict.fromkeys(scores["dataset"].astype(str)))
    at_home = [name for name in names if name in set(home)]
    if not at_home:
        raise ProbeError(
            f"No score is of {', '.join(home) or 'a dataset that the detector was trained on'}; "
            f"there are scores of {', '.join(names)}. Measure the detector at home too."
        )
    own = scores["dataset"].astype(str) + "|" + scores["cluster"].astype(str)
    codes, found = pd.factorize(np.asarray(own if people is None else people, dtype=object))
    weights = cluster_counts(len(found), n_resamples, seed)
    drawn = {}
    for name in names:
        rows = (scores["dataset"] == name).to_numpy()
        drawn[name] = _Drawn.of(scores[rows], codes[rows], weights)
    away = [name for name in names if name not in at_home]
    return _lost([drawn[name] for name in at_home], {name: drawn[name] for name in away}, ci)


@dataclass(frozen=True)
class _Drawn:
    """AUROC of one dataset: value, resamples (NaN below five clusters), and its identities."""

    value: float
    draws: Floats
    people: NDArray[np.int64]
    n_samples: int

    @classmethod
    def of(cls, rows: pd.DataFrame, codes: NDArray[np.int64], weights: Floats) -> _Drawn:
        label, score = rows["label"].to_numpy(), sigmoid(rows["logit"].to_numpy())
        present, draws = np.unique(codes), np.full(len(weights), np.nan)
        if len(present) >= MIN_CLUSTERS:
            draws = _drawn(["auroc"], label, score, codes, weights)[0]
        value = float(METRICS["auroc"](label, score, None)[0])
        return cls(value, draws, present, len(rows))

    @property
    def reason(self) -> str:
        """Why there is no value or no interval; empty if there are both."""
        if not np.isfinite(self.value):
            return "one class only"
        if not np.isfinite(self.draws).any():
            return f"{len(self.people)} clusters; an interval takes {MIN_CLUSTERS}"
        return ""

    @staticmethod
    def mean(those: Sequence[_Drawn]) -> _Drawn:
        """Average over datasets, per resample."""
        return _Drawn(
            float(np.mean([one.value for one in those])),
            np.asarray(np.mean([one.draws for one in those], axis=0)),
            np.unique(np.concatenate([one.people for one in those])),
            sum(one.n_samples for one in those),
        )


def _lost(at_home: Sequence[_Drawn], away: Mapping[str, _Drawn], ci: float) -> pd.DataFrame:
    home = _Drawn.mean(at_home)
    able = {name: one for name, one in away.items() if not one.reason}
    rows = [_row(name, home, one, ci, len(able)) for name, one in away.items()]
    if able:
        left = [name for name in away if name not in able]
        row = _row(MEAN, home, _Drawn.mean(list(able.values())), ci, 1)
        said = [str(row["reason"]), f"without {', '.join(left)}" if left else ""]
        rows.append(row | {"reason": "; ".join(part for part in said if part)})
    return pd.DataFrame(rows, columns=AWAY)


#: Columns of the table that `home_and_away` returns.
AWAY = [
    "dataset",
    "home",
    "home_low",
    "home_high",
    "value",
    "low",
    "high",
    "lost",
    "lost_low",
    "lost_high",
    "all_low",
    "all_high",
    "p",
    "n_samples",
    "n_clusters",
    "reason",
]


def _row(name: str, home: _Drawn, one: _Drawn, ci: float, family: int) -> dict[str, object]:
    lost = home.draws - one.draws
    row: dict[str, object] = {"dataset": name}
    for key, value, draws, coverage in (
        ("home", home.value, home.draws, ci),
        ("value", one.value, one.draws, ci),
        ("lost", home.value - one.value, lost, ci),
        ("all", np.nan, lost, 1 - (1 - ci) / max(family, 1)),
    ):
        low, high = _bounds(draws, coverage)
        prefix = "" if key == "value" else f"{key}_"
        row |= {key: value, f"{prefix}low": float(low), f"{prefix}high": float(high)}
    reason = one.reason or (home.reason and f"at home: {home.reason}")
    return row | {
        "p": float(inverted_level(lost)),
        "n_samples": one.n_samples,
        "n_clusters": len(one.people),
        "reason": reason,
    }


def mean_by_cluster(
    values: ArrayLike,
    clusters: ArrayLike,
    *,
    n_resamples: int = 1000,
    ci: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the mean over samples with a cluster bootstrap interval; NaN values are left out."""
    x, groups = np.asarray(values, dtype=np.float64), np.asarray(clusters)
    there = np.isfinite(x)
    if not there.any():
        return Interval(np.nan, np.nan, np.nan, 0, 0)

    def mean(_: ArrayLike, scores: ArrayLike, weights: ArrayLike | None) -> Floats:
        s = np.asarray(scores, dtype=np.float64)
        w = np.ones((1, len(s))) if weights is None else np.asarray(weights)
        return np.asarray(w @ s / w.sum(axis=1))

    return cluster_bootstrap(
        mean,
        np.zeros(int(there.sum())),
        x[there],
        groups[there],
        n_resamples=n_resamples,
        ci=ci,
        seed=seed,
    )


def at_level(rows: pd.DataFrame, level: str) -> pd.DataFrame:
    """Add P(fake) as ``score``; one row per frame, or per video (mean of its frames)."""
    rows = rows.assign(score=sigmoid(rows["logit"].to_numpy()))
    if level == "frame":
        return rows
    # A layout may give a fake video and its original one name, so videos are split by label.
    return rows.groupby(["video", "label"], as_index=False).agg(
        score=("score", "mean"), cluster=("cluster", "first")
    )


def _drawn(
    metrics: Sequence[str],
    label: NDArray[np.int64],
    score: Floats,
    cluster: NDArray[np.int64],
    weights: Floats,
) -> Floats:
    """Return metrics on resamples, shape (metric, resample), from binned scores."""
    code, height = _binned(score)
    fake = label.astype(bool)
    parts = []
    for of in (fake, ~fake):
        shape = len(height), weights.shape[1]
        cells = np.ones(int(of.sum())), (code[of], cluster[of])
        parts.append((sparse.csr_matrix(cells, shape=shape) @ weights.T).T)
    labels = np.repeat([1, 0], len(height))
    scores, table = np.tile(height, 2), np.concatenate(parts, axis=1)
    return np.stack([METRICS[name](labels, scores, table) for name in metrics])


def _binned(score: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return the bin of each score and the highest score of each bin; 0.5 starts a new bin."""
    distinct, code, count = np.unique(score, return_inverse=True, return_counts=True)
    if len(distinct) <= GRID:
        return code, distinct
    before = np.cumsum(count) - count
    mark = 2 * (before * GRID // len(score)) + (distinct >= 0.5)
    starts = np.flatnonzero(np.r_[True, mark[1:] != mark[:-1]])
    ends = np.r_[starts[1:], len(distinct)] - 1
    return np.searchsorted(starts, np.arange(len(distinct)), side="right")[code] - 1, distinct[ends]


def _bounds(draws: Floats, ci: float) -> Floats:
    """Return percentile bounds over the last axis, shape (2, ...); NaN without resamples."""
    out = np.full((2, *draws.shape[:-1]), np.nan)
    tail = 100 * (1 - ci) / 2
    for at in np.ndindex(draws.shape[:-1]):
        kept = draws[at][np.isfinite(draws[at])]
        if len(kept):
            out[(slice(None), *at)] = np.percentile(kept, [tail, 100 - tail])
    return out


def _reasons(
    lacking: NDArray[np.bool_], n_clusters: NDArray[np.int64], low: Floats
) -> NDArray[np.object_]:
    out = np.full(lacking.shape, "", dtype=object)
    for at in np.ndindex(lacking.shape):
        if lacking[at]:
            out[at] = "one class only"
        elif not np.isfinite(low[at]):
            out[at] = f"{n_clusters[at[:2]]} clusters; an interval takes {MIN_CLUSTERS}"
    return out
