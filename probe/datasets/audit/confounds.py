"""Check for confounds: metadata, file size and sharpness that predict the label."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probe.datasets.audit.facts import CHECKS, Context, clusters
from probe.datasets.audit.report import ERROR, WARNING, Finding, Measure
from probe.stats import MIN_CLUSTERS, Interval, auroc, cluster_bootstrap

__all__ = ["CONTAINER", "metadata_scores"]

#: Metadata of the file and of its source video, independent of the picture.
OWN = ("width", "height", "format", "mode", "quality", "subsampling")
CONTAINER = (
    *OWN,
    "source_width",
    "source_height",
    "source_codec",
    "source_bitrate",
    "source_fps",
)

#: Metadata confound the label from this AUROC on, if the lower bound is above `BOUND`.
TOLD = 0.7
BOUND = 0.6

#: Numbers that follow the content: a forgery that smooths the face changes them too, so that the
#: bounds are higher. Their names in messages.
CONTENT = {"bytes": "file size", "bytes_per_pixel": "bytes per pixel", "sharpness": "sharpness"}
CONTENT_TOLD = 0.75
CONTENT_BOUND = 0.7

#: Maximum number of images used for the measurement; the result states the number.
MOST = 20_000
RESAMPLES = 500
FOLDS = 5


@CHECKS.register("confounds")
def check_confounds(context: Context) -> Iterator[Finding | Measure]:
    """Predict labels from metadata alone, from each feature and from all together.

    After Grommelt, Weiss, Pfreundt and Keuper (2024, arXiv:2403.17608), who found that detectors
    of generated images learn JPEG quality and size of the training set's files.
    """
    for name, part in context.parts(context.readable):
        both = part["label"].nunique() > 1
        table = _features(context, part)
        yield from _sizes(name, table)
        if both:
            yield from _told(name, table)


def _features(context: Context, part: pd.DataFrame) -> pd.DataFrame:
    facts = context.facts.table.iloc[part["row"].to_numpy()].reset_index(drop=True)
    own = facts[list(OWN)]
    table = part.drop(columns=[c for c in own if c in part]).reset_index(drop=True)
    pixels = (facts["width"] * facts["height"]).to_numpy()
    table = pd.concat([table, own], axis=1)
    table["bytes"] = facts["bytes"].to_numpy()
    table["bytes_per_pixel"] = facts["bytes"].to_numpy() / np.maximum(pixels, 1)
    table["sharpness"] = facts["sharpness"].to_numpy()
    table["cluster"] = clusters(table)
    return _drawn(table)


def _drawn(table: pd.DataFrame) -> pd.DataFrame:
    if len(table) <= MOST:
        return table
    chosen = np.random.default_rng(0).choice(len(table), MOST, replace=False)
    return table.iloc[np.sort(chosen)].reset_index(drop=True)


def _sizes(name: str, table: pd.DataFrame) -> Iterator[Finding]:
    sizes = (table["width"].astype(str) + "×" + table["height"].astype(str)).value_counts()
    if len(sizes) > 1:
        yield Finding(
            "mixed-resolutions",
            WARNING,
            name,
            f"The images have {len(sizes)} sizes, most often {sizes.index[0]} "
            f"({sizes.iloc[0] / len(table):.0%}): each size is resized by a different factor to "
            "the detector's input size, which leaves different traces. Crop all to one size.",
            len(sizes),
            tuple(f"{size}: {count}" for size, count in sizes.head().items()),
        )


def _told(name: str, table: pd.DataFrame) -> Iterator[Finding | Measure]:
    telling = [feature for feature in CONTAINER if feature in table and _varies(table[feature])]
    alone = {feature: _alone(table, feature) for feature in telling}
    for feature, found in alone.items():
        yield _measure(f"{feature} auroc", name, found)
    content = {feature: _alone(table, feature) for feature in CONTENT}
    for feature, found in content.items():
        yield _measure(f"{feature} auroc", name, found)
    yield from _of_content(name, table, content)
    if "crop_side" in table and _varies(table["crop_side"]):
        side = _alone(table, "crop_side")
        yield _measure("crop_side auroc", name, side)
        if _is_told(side):
            yield _of_crop(name, side)
    scores = metadata_scores(table, telling)
    together = _interval(table, scores) if scores is not None else None
    if together is None:
        yield Measure("metadata auroc", name, 0.5 if not telling else None, None, None, len(table))
        yield from _of_few(name, table, {one: alone[one] for one in telling if one in OWN})
        return
    yield _measure("metadata auroc", name, together)
    if _is_told(together):
        yield _of_metadata(name, table, together, alone)


def _varies(values: pd.Series[Any]) -> bool:
    return values.nunique(dropna=False) > 1


def _codes(values: pd.Series[Any]) -> NDArray[np.float64]:
    """Return numbers unchanged and text as codes in alphabetical order; NaN stays NaN."""
    if pd.api.types.is_numeric_dtype(values):
        return values.to_numpy(dtype=float)
    return pd.factorize(values, sort=True)[0].astype(np.float64)


def _alone(table: pd.DataFrame, feature: str) -> Interval:
    """Return the AUROC of one feature, in the direction in which it is above chance."""
    values = _codes(table[feature])
    known = np.where(np.isnan(values), np.nanmin(values, initial=0.0) - 1, values)
    if float(auroc(table["label"], known)[0]) < 0.5:
        known = -known
    return _interval(table, known)


def _interval(table: pd.DataFrame, scores: NDArray[np.float64]) -> Interval:
    return cluster_bootstrap(
        auroc, table["label"], scores, table["cluster"], n_resamples=RESAMPLES, seed=0
    )


def metadata_scores(table: pd.DataFrame, features: list[str]) -> NDArray[np.float64] | None:
    """Predict labels from metadata in cross-validation grouped by cluster.

    Parameters
    ----------
    table : pandas.DataFrame
        Table with the features, ``label`` and ``cluster``.
    features : list of str
        Columns to predict from.

    Returns
    -------
    numpy.ndarray or None
        P(fake) from gradient-boosted trees, shape (n,). None without features, or if a class has
        fewer than `MIN_CLUSTERS` clusters or a training fold has one class only.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    labels, groups = table["label"].to_numpy(), table["cluster"].to_numpy()
    least = min(len(np.unique(groups[labels == label])) for label in (0, 1))
    if not features or least < MIN_CLUSTERS:
        return None
    # Missing values are below all others, so that missingness can predict the label too.
    x = np.nan_to_num(np.column_stack([_codes(table[one]) for one in features]), nan=-1.0)
    scores = np.full(len(table), np.nan)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for train, test in folds.split(x, labels, groups):
        if len(np.unique(labels[train])) < 2:
            return None
        model = HistGradientBoostingClassifier(max_iter=50, min_samples_leaf=5, random_state=0)
        scores[test] = model.fit(x[train], labels[train]).predict_proba(x[test])[:, 1]
    return scores


def _is_told(found: Interval, told: float = TOLD, bound: float = BOUND) -> bool:
    return found.estimate >= told and (math.isnan(found.low) or found.low > bound)


def _said(found: Interval) -> str:
    if math.isnan(found.low):
        return f"{found.estimate:.2f} (no interval: {found.n_clusters} clusters)"
    return f"{found.estimate:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _of_few(name: str, table: pd.DataFrame, own: dict[str, Interval]) -> Iterator[Finding]:
    """Yield a warning about the files' own metadata where there are too few clusters.

    Metadata of the source videos are not used, since they differ by chance between few videos.
    """
    ranked = sorted((one for one in own if _is_told(own[one])), key=lambda one: -own[one].estimate)
    if ranked:
        yield Finding(
            "metadata-confound",
            WARNING,
            name,
            f"Labels can be predicted from the files' {ranked[0]} with AUROC "
            f"{_said(own[ranked[0]])}, which is {_typical(table, ranked[0])}; but one class has "
            f"fewer than {MIN_CLUSTERS} identities (else videos), too few to exclude chance. "
            "Encode and resize both classes alike.",
            len(table),
            tuple(ranked[:5]),
        )


def _of_metadata(
    name: str, table: pd.DataFrame, together: Interval, alone: dict[str, Interval]
) -> Finding:
    ranked = sorted(alone, key=lambda one: -alone[one].estimate)
    best = ", ".join(f"{one} {_said(alone[one])}" for one in ranked[:3])
    return Finding(
        "metadata-confound",
        ERROR,
        name,
        f"Labels can be predicted from file metadata with AUROC {_said(together)}, without any "
        f"pixel (each alone: {best}; {ranked[0]} is {_typical(table, ranked[0])}). A detector "
        "can learn that instead of the forgery, and its score falls where the files are alike. "
        "Encode and resize both classes alike, or compare within equal metadata.",
        len(table),
        tuple(ranked[:5]),
    )


def _of_content(name: str, table: pd.DataFrame, content: dict[str, Interval]) -> Iterator[Finding]:
    """Yield a warning if file size or sharpness alone predicts the labels.

    Without an interval, a few videos differ by chance.
    """
    told = [
        feature
        for feature, found in content.items()
        if not math.isnan(found.low) and _is_told(found, CONTENT_TOLD, CONTENT_BOUND)
    ]
    # In images of one size both rank alike.
    if {"bytes", "bytes_per_pixel"} <= {*told} and content["bytes"] == content["bytes_per_pixel"]:
        told.remove("bytes_per_pixel")
    if not told:
        return
    ranked = sorted(told, key=lambda one: -content[one].estimate)
    said = "; ".join(
        f"{CONTENT[one]} with AUROC {_said(content[one])} (median {_typical(table, one)})"
        for one in ranked
    )
    yield Finding(
        "content-confound",
        WARNING,
        name,
        f"One number an image predicts the labels: {said}. A detector can learn that instead of "
        "the forgery, unless the forgery itself is the cause. Compress and resize both classes "
        "alike, and compare detectors with this baseline.",
        len(table),
        tuple(ranked),
    )


def _typical(table: pd.DataFrame, feature: str) -> str:
    """Describe the typical value of a feature in both classes."""
    words = []
    for label, name in ((0, "real"), (1, "fake")):
        values = table.loc[table["label"] == label, feature].dropna()
        if not len(values):
            words.append(f"unknown for {name}")
        elif pd.api.types.is_numeric_dtype(values):
            median = float(values.median())
            said = f"{median:,.0f}" if median >= 100 else f"{median:.4g}"
            words.append(f"{said} for {name}")
        else:
            words.append(f"mostly {values.mode().iloc[0]} for {name}")
    return " and ".join(words)


def _of_crop(name: str, side: Interval) -> Finding:
    return Finding(
        "crop-size-confound",
        WARNING,
        name,
        f"Labels can be predicted from the side of the cropped square with AUROC "
        f"{_said(side)}: faces of one class are larger in their videos, so that their crops are "
        "shrunk and the others' enlarged. Compare within equal sizes.",
        side.n_samples,
    )


def _measure(name: str, dataset: str, found: Interval) -> Measure:
    low, high = (None if math.isnan(one) else one for one in (found.low, found.high))
    return Measure(name, dataset, found.estimate, low, high, found.n_samples, found.n_clusters)
