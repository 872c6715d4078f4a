"""Two detectors on the same images: what differs in each dataset, and on which images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from app.queries.compare import NotComparableError, Pair, Side, siblings
from app.queries.deriving import shared
from app.queries.runs import evaluation_notes
from app.run import Run
from probe.errors import ProbeError
from probe.evaluation.paired import common_scores, differences, resample_scores
from probe.run import stamp_of

__all__ = [
    "ALPHA",
    "ScoresView",
    "difference_of",
    "measured_with",
    "paired_scores",
    "scores_frame",
    "scores_view",
]

Floats = NDArray[np.float64]

#: False discovery rate over datasets at which a difference is called one.
ALPHA = 0.05
#: Image files that are compared where fingerprints of a dataset differ.
CHECKED = 24


@dataclass(frozen=True)
class ScoresView:
    """One metric of two detectors in every dataset that both have seen.

    Attributes
    ----------
    one, other : str
        Titles.
    metric, level : str
        Which.
    datasets : tuple of str
        Rows.
    value, reference, difference, low, high, p, q : numpy.ndarray
        Shape (dataset,); see `probe.evaluation.paired.differences`.
    n_samples, n_clusters : numpy.ndarray
        Shape (dataset,).
    reason : tuple of str
        Why there is no interval; empty where there is one.
    seeds : numpy.ndarray
        The same difference of trainings from other seeds, shape (training, dataset).
    left_out : tuple of str
        Sentences on images and datasets that could not be paired.
    coverage : float
        Of the intervals.
    """

    one: str
    other: str
    metric: str
    level: str
    datasets: tuple[str, ...]
    value: Floats
    reference: Floats
    difference: Floats
    low: Floats
    high: Floats
    p: Floats
    q: Floats
    n_samples: NDArray[np.int64]
    n_clusters: NDArray[np.int64]
    reason: tuple[str, ...]
    seeds: Floats
    left_out: tuple[str, ...]
    coverage: float

    @property
    def changed(self) -> NDArray[np.bool_]:
        """Where the difference is more than noise over people, by q."""
        return np.nan_to_num(self.q, nan=1.0) <= ALPHA

    @property
    def tested(self) -> NDArray[np.bool_]:
        """Where there is a p-value at all."""
        return np.isfinite(self.p)


def scores_view(pair: Pair, metric: str, level: str) -> ScoresView:
    """Compare two detectors by a metric, with intervals over people.

    Raises
    ------
    ProbeError
        If a score table is missing, or nothing can be paired.
    """
    found, left_out = difference_of(pair, metric, level)
    part = found.sel(level=level, metric=metric)
    datasets = tuple(map(str, part["dataset"].values))
    return ScoresView(
        one=pair.one.title,
        other=pair.other.title,
        metric=metric,
        level=level,
        datasets=datasets,
        n_samples=part["n_samples"].values,
        n_clusters=part["n_clusters"].values,
        reason=tuple(map(str, part["reason"].values)),
        seeds=_over_seeds(pair, metric, level, datasets),
        left_out=left_out,
        coverage=float(found.attrs["ci"]),
        **{
            name: part[name].values
            for name in ("value", "reference", "difference", "low", "high", "p", "q")
        },
    )


def scores_frame(pair: Pair, metric: str, level: str) -> pd.DataFrame:
    """Return the differences, one row a dataset."""
    found, _ = difference_of(pair, metric, level)
    frame = found.to_dataframe().reset_index().drop(columns=["level", "metric"])
    names = ["dataset", "value", "reference", "difference", "low", "high", "p", "q", "reason"]
    return frame[[*names, "n_samples", "n_clusters"]].assign(
        detector=pair.one.key, compared_with=pair.other.key, metric=metric, level=level
    )


def _over_seeds(pair: Pair, metric: str, level: str, datasets: tuple[str, ...]) -> Floats:
    rows = []
    for again in siblings(pair):
        found = difference_of(again, metric, level)[0].sel(level=level, metric=metric)
        rows.append(found["difference"].reindex(dataset=list(datasets)).values)
    return np.array(rows).reshape(len(rows), len(datasets))


def difference_of(pair: Pair, metric: str, level: str) -> tuple[xr.Dataset, tuple[str, ...]]:
    """Compare two detectors by one metric, see `differences`; kept until they change.

    Beside it are sentences on what was left out.

    Raises
    ------
    ProbeError
        If a score table is missing, or nothing can be paired.
    """
    stamps = _stamp(pair.one.run), _stamp(pair.other.run)
    # What is missing is said by whoever reads it.
    _ = pair.one.run.scores, pair.other.run.scores
    return _differing(pair, stamps, metric, level, *measured_with(pair))


def measured_with(pair: Pair) -> tuple[float, int]:
    """Return coverage of the intervals, and seed of the resamples, of the first's run."""
    attrs = pair.one.run.evaluation.data.attrs
    return float(attrs.get("ci", 0.95)), int(attrs.get("seed", 0))


@shared(maxsize=256)
def _differing(
    pair: Pair, stamps: tuple[int, int], metric: str, level: str, coverage: float, seed: int
) -> tuple[xr.Dataset, tuple[str, ...]]:
    one, other, _, left_out = paired_scores(pair)
    if _whole(pair, one, other):
        drawn = [
            _drawn(side, stamp, metric, level, seed)
            for side, stamp in zip((pair.one, pair.other), stamps, strict=True)
        ]
    else:
        drawn = [
            resample_scores(rows, metrics=[metric], levels=[level], seed=seed)
            for rows in (one, other)
        ]
    return differences(drawn[0], drawn[1], coverage), left_out


@shared(maxsize=512)
def _drawn(side: Side, stamp: int, metric: str, level: str, seed: int) -> xr.Dataset:
    """Resample one detector on all its images; every pair that it is in shares the draws."""
    return resample_scores(_scores(side, stamp), metrics=[metric], levels=[level], seed=seed)


def _whole(pair: Pair, one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Whether both are of one table and nothing was left out, so that draws can be shared."""
    counts = pair.one.run.scores["detector"].value_counts()
    return pair.same_run and len(one) == counts[pair.one.label] == counts[pair.other.label]


def paired_scores(
    pair: Pair,
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...], tuple[str, ...]]:
    """Return the score rows of both on the images that both have, row by row the same image.

    Beside them the datasets that these are in, and sentences on what was left out.

    Raises
    ------
    ProbeError
        If a score table is missing, or no images are shown to be the same.
    """
    return _pairing(pair, (_stamp(pair.one.run), _stamp(pair.other.run)))


@shared(maxsize=4)
def _pairing(
    pair: Pair, stamps: tuple[int, int]
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...], tuple[str, ...]]:
    """Take the images that both have, the datasets they are in, and what was left out."""
    tables = [
        _scores(side, stamp) for side, stamp in zip((pair.one, pair.other), stamps, strict=True)
    ]
    said: list[str] = []
    if not pair.same_run:
        tables, said = _same_images(pair, tables)
    sizes = [len(table) for table in tables]
    one, other = common_scores(*tables)
    if len(one) < max(sizes):
        said.append(
            f"{len(one):,} images are in both score tables ({sizes[0]:,} and {sizes[1]:,}); only "
            "these are compared."
        )
    return one, other, tuple(dict.fromkeys(map(str, one["dataset"]))), tuple(said)


def _same_images(pair: Pair, tables: list[pd.DataFrame]) -> tuple[list[pd.DataFrame], list[str]]:
    """Drop the datasets whose images are not shown to be the same by more than their ids."""
    marks = [evaluation_notes(side.run, "datasets") for side in (pair.one, pair.other)]
    names = [set(map(str, table["dataset"].unique())) for table in tables]
    said, kept = [], set()
    for name in sorted(names[0] & names[1]):
        if marks[0].get(name) and marks[0].get(name) == marks[1].get(name):
            kept.add(name)
            continue
        parts = [table.loc[table["dataset"] == name, "sample"] for table in tables]
        why = _unlike(pair, sorted(set(parts[0]) & set(parts[1])))
        if why:
            said.append(f"{name} is left out: {why}")
        else:
            kept.add(name)
    for side, own, foreign in zip((pair.one, pair.other), names, names[::-1], strict=True):
        if own - foreign:
            said.append(f"Only {side.title} was measured on {', '.join(sorted(own - foreign))}.")
    if not kept:
        raise NotComparableError(
            "The two were measured on no common images, so nothing can be compared image by "
            "image. " + " ".join(said)
        )
    return [table[table["dataset"].isin(kept)] for table in tables], said


def _unlike(pair: Pair, samples: list[str]) -> str:
    """Say why images of the same ids cannot be taken for the same; empty where they can."""
    if not samples:
        return "the runs have no image id in common there."
    places = np.unique(np.linspace(0, len(samples) - 1, min(CHECKED, len(samples))).astype(int))
    chosen = [samples[i] for i in places]
    try:
        digests = [_digests(side.run, chosen) for side in (pair.one, pair.other)]
    except ProbeError:
        return "the images are not there in both runs, so that they are the same cannot be shown."
    differing = sum(digests[0][name] != digests[1][name] for name in chosen)
    return (
        f"{differing} of {len(chosen)} image files with the same id show different pixels."
        if differing
        else ""
    )


def _digests(run: Run, samples: list[str]) -> dict[str, str]:
    data = run.data
    rows = pd.Index(data.samples.table["sample"]).get_indexer(pd.Index(samples))
    if (rows < 0).any():
        raise ProbeError("Some images are not in the run.")
    out = {}
    for name, row in zip(samples, rows, strict=True):
        # Through the dataset, which lets no path lead out of itself.
        pixels = np.ascontiguousarray(data.image(int(row)))
        out[name] = hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest()
    return out


@shared(maxsize=6)
def _scores(side: Side, stamp: int) -> pd.DataFrame:
    scores = side.run.scores
    found: pd.DataFrame = scores[scores["detector"].to_numpy() == side.label].reset_index(drop=True)
    if not len(found):
        raise ProbeError(
            f"The score table holds no rows of {side.label}. Run the command of the run again."
        )
    return found


def _stamp(run: Run) -> int:
    return stamp_of(run.folder.path("evaluation").with_suffix(".scores.parquet"))
