"""The images on which two detectors differ most, and all of them as points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from app.queries.compare import Pair
from app.queries.compare_scores import paired_scores
from app.queries.deriving import derived
from app.queries.images import Shown, shown_of
from app.run import Run
from probe.datasets.dataset import Dataset
from probe.errors import UnknownNameError
from probe.stats import sigmoid

__all__ = ["Changed", "ImagesView", "images_frame", "images_view"]

Floats = NDArray[np.float64]

#: Points that a scatter shows; more overlap anyway.
MOST = 4000


@dataclass(frozen=True)
class Changed:
    """An image with the P(fake) of both."""

    shown: Shown
    dataset: str
    one: float
    other: float


@dataclass(frozen=True)
class ImagesView:
    """Images that both have scored.

    Attributes
    ----------
    datasets : tuple of str
        That can be chosen.
    dataset : str
        The one that is; empty for all.
    one, other : numpy.ndarray
        Fake logits of the drawn images, shape (drawn,).
    label : numpy.ndarray
        Shape (drawn,); 1 is fake.
    total : int
        Images that could be drawn.
    correlation : float
        Spearman's, of all of them.
    more, less : tuple of Changed
        Images that the first calls more, or less, fake than the second; at most one frame a video.
    """

    datasets: tuple[str, ...]
    dataset: str
    one: Floats
    other: Floats
    label: NDArray[np.int64]
    total: int
    correlation: float
    more: tuple[Changed, ...]
    less: tuple[Changed, ...]


def images_view(pair: Pair, dataset: str, each: int = 4) -> ImagesView:
    """Find the images on which two detectors differ most, and draw some of all.

    Raises
    ------
    ProbeError
        If a score table is missing, nothing can be paired, or there is no such dataset.
    """
    one, other, datasets, _ = paired_scores(pair)
    return derived(_images_view, (one, other, datasets), pair, dataset, each)


def _images_view(
    one: pd.DataFrame,
    other: pd.DataFrame,
    datasets: tuple[str, ...],
    pair: Pair,
    dataset: str,
    each: int,
) -> ImagesView:
    if dataset and dataset not in datasets:
        raise UnknownNameError(
            "dataset",
            dataset,
            datasets,
            where="what both detectors were measured on",
            remedy="Choose one on the page.",
        )
    if dataset:
        kept = one["dataset"].to_numpy() == dataset
        one, other = one[kept], other[kept]
    logits = one["logit"].to_numpy(np.float64), other["logit"].to_numpy(np.float64)
    rows = np.arange(len(one))
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(0).choice(len(one), MOST, replace=False))
    more, less = _ends(pair.one.run, one, logits, each)
    return ImagesView(
        datasets=datasets,
        dataset=dataset,
        one=logits[0][rows],
        other=logits[1][rows],
        label=one["label"].to_numpy(np.int64)[rows],
        total=len(one),
        correlation=_rank_correlation(*logits),
        more=more,
        less=less,
    )


def _ends(
    run: Run, rows: pd.DataFrame, logits: tuple[Floats, Floats], each: int
) -> tuple[tuple[Changed, ...], tuple[Changed, ...]]:
    """Order by the difference of P(fake), and keep the extreme frame of each video."""
    p = [np.asarray(sigmoid(one)) for one in logits]
    table = rows.assign(one=p[0], other=p[1], gap=p[0] - p[1])
    ordered = table.sort_values("gap", kind="stable", ignore_index=True)
    key = ["dataset", "video", "label"]
    least = ordered[ordered["gap"] < 0].drop_duplicates(key, keep="first").head(each)
    most = ordered[ordered["gap"] > 0].drop_duplicates(key, keep="last")[::-1].head(each)
    return _changed(run, most), _changed(run, least)


def _changed(run: Run, rows: pd.DataFrame) -> tuple[Changed, ...]:
    """Look up the images; what the run's images do not hold is not shown."""
    known = derived(_by_sample, (run.data,))
    out = []
    for row in rows.to_dict("records"):
        if row["sample"] in known.index:
            about = known.loc[[row["sample"]]].iloc[0].to_dict()
            shown = shown_of({**about, "activation": np.nan, "logit": row["logit"]})
            out.append(Changed(shown, str(row["dataset"]), float(row["one"]), float(row["other"])))
    return tuple(out)


def _by_sample(data: Dataset) -> pd.DataFrame:
    return data.samples.table.set_index("sample", drop=False)


def _rank_correlation(one: Floats, other: Floats) -> float:
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(stats.spearmanr(one, other).statistic)


def images_frame(pair: Pair, dataset: str = "") -> pd.DataFrame:
    """Return the scores of both, one row an image, the largest difference first.

    Raises
    ------
    ProbeError
        As for `images_view`.
    """
    one, other, _, _ = paired_scores(pair)
    names = ["dataset", "sample", "method", "video", "frame", "cluster", "label", "logit"]
    frame = one[names].assign(other_logit=other["logit"].to_numpy())
    if dataset:
        frame = frame[frame["dataset"] == dataset]
    p, other_p = (np.asarray(sigmoid(frame[name])) for name in ("logit", "other_logit"))
    frame = frame.assign(p_fake=p, other_p_fake=other_p, difference=p - other_p)
    return frame.sort_values("difference", ascending=False, kind="stable", ignore_index=True)
