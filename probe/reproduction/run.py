"""`reproduce`: which change of settings gives a published figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from probe.datasets.dataset import Dataset
from probe.datasets.open import open_layout
from probe.detectors.detector import Detector
from probe.errors import DatasetError, ProbeError
from probe.reproduction.evidence import Figure, parse_published, read_scores
from probe.reproduction.figures import LEVEL_OPTIONS, Figures, Part, ScoreMatch
from probe.reproduction.scores import Material, Rows, Scorer
from probe.reproduction.search import Found, Search, Tolerance
from probe.reproduction.settings import Change, Options, named, network_options
from probe.reproduction.signs import signs_of
from probe.reproduction.table import Reproduction
from probe.results import Provenance
from probe.schema import SPLITS

__all__ = ["material_of", "reproduce"]

#: Margins of face crops that are tried: side of the crop over the longer side of the face box.
MARGINS = (1.0, 1.15, 1.3, 1.5, 1.7, 1.9)

#: Shares of each side that are tried where the margin of the crops is not known.
SHARES = (0.9, 0.8, 0.7)

ALIGNED = "aligned, margin 1.3"


def reproduce(
    detector: Detector,
    data: Dataset,
    published: float | str | Mapping[str, float | str] | None = None,
    *,
    metric: str = "auroc",
    level: str = "frame",
    split: str | None = "test",
    scores: str | Path | pd.DataFrame | None = None,
    source: str | Path | None = None,
    shared: float = 0.0,
    max_changes: int = 2,
    max_samples: int = 512,
    n_resamples: int = 1000,
    ci: float = 0.95,
    seed: int = 0,
    batch_size: int = 32,
    n_workers: int | None = None,
) -> Reproduction:
    """Search the smallest set of changes under which a detector gives published figures.

    What public reports name as causes is varied, one at a time and in pairs: crop margin and
    alignment, JPEG round trip, image size, interpolation, channel order, normalization, BatchNorm
    state, weights that were not loaded, polarity, split, frames of a video, duplicates, and level
    with its aggregation. Settings are measured on a drawn subset first; those that may hold the
    figures are confirmed on all images.

    Parameters
    ----------
    detector : Detector
        Detector as it was run.
    data : Dataset
        Images as it was run on, of all splits that are at hand.
    published : float, str or mapping, optional
        Published figures, see `probe.reproduction.evidence.parse_published`: ``".779"``, or
        several, ``"celebdf=.74,celebdf:ap=.81"``. Several narrow the answer. Text keeps zeros at
        the end. May be left out if `scores` are given.
    metric : {"auroc", "accuracy", "ap", "eer"}
        Metric of figures that do not name theirs.
    level : {"frame", "video"}
        Level of figures that do not name theirs. A video's score is the mean P(fake) of its
        frames.
    split : str, optional
        Split as given; None for all images.
    scores : path or pandas.DataFrame, optional
        The authors' scores per image or video, see `probe.reproduction.evidence.read_scores`.
        They tell most: settings are compared image by image.
    source : path, optional
        Folder of the videos that `data` were cropped from, to crop them again.
    shared : float, default 0
        Share of the images that the published figures were measured on too. 0: another sample of
        the same size. 1: the very same images, so that only rounding and decoders differ.
    max_changes : {1, 2}
        Largest number of changes at a time.
    max_samples : int, default 512
        Number of images of the subset.
    n_resamples : int, default 1000
        Number of cluster bootstrap resamples.
    ci : float, default 0.95
        Confidence level of the intervals and of the decision, between 0 and 1.
    seed : int, default 0
        Random seed.
    batch_size : int, default 32
        Images per batch; batch statistics depend on it.
    n_workers : int, optional
        Number of processes that crop videos; one per core by default.

    Returns
    -------
    Reproduction
        Settings with their figures and intervals, and the verdict.

    Raises
    ------
    ProbeError
        If there is neither a figure nor a score, a figure is no share, or an argument is out of
        range.
    DatasetError
        If the data lack the split, or `source` is not where they were cropped from.

    Notes
    -----
    Where the figures as given are within noise of the published ones, no change is named. The
    chance that figures as far away are matched by luck is estimated, and a match is "named" only
    if it is at most 1 − `ci`; else sets are "candidates".

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops")
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> found = probe.reproduce(detector, data, ".500", max_changes=1)
    >>> found.data.attrs["verdict"]
    'noise'
    """
    _require(shared=(shared, 0, 1), ci=(ci, 0.5, 0.999), max_changes=(max_changes, 1, 2))
    if published is None and scores is None:
        raise ProbeError(
            "Neither a published figure nor scores were given. Give one: published=.779."
        )
    names = list(dict.fromkeys(data.samples.table["dataset"]))
    figures = () if published is None else parse_published(published, names, metric, level)
    # Read before hours of work.
    theirs = None if scores is None else read_scores(scores)
    split = _split(data, split)
    by_video = bool(theirs and theirs.by == "video")
    material = material_of(
        detector, data, figures, split, source, by_video, batch_size, seed, n_workers
    )
    shown = figures or (Figure(float("nan"), metric, level, "", 0.0),)
    parts = {one.dataset: Part.of(data, one.dataset) for one in shown}
    measured = Figures(material.rows, shown, parts, n_resamples, seed)
    match = None if theirs is None else ScoreMatch(material.rows, data, theirs)
    tolerance = Tolerance(shared=shared, ci=ci)
    scorer = Scorer(material)
    search = Search(
        scorer, measured, match, tolerance, max_samples=max_samples, max_changes=max_changes
    )
    found = search.run()
    arrays = _arrays(found, shown)
    return Reproduction(
        arrays.assign_attrs(
            {
                "verdict": found.verdict,
                "candidates": [named(one) for one in found.candidates],
                "chance": found.chance,
                "not_tried": dict(material.options.not_tried),
                "signs": signs_of(detector),
                "scores": theirs is not None,
                "shared": shared,
                "n_resamples": n_resamples,
                "split": split or "",
                "evaluations": scorer.passes,
                "subset": len(search.subset),
                "unconfirmed": search.unconfirmed,
                **Provenance.made([detector], [data], seed=seed, ci=ci).attrs(),
                "spec": detector.spec.to_dict(),
                "card": dict(data.card),
            }
        )
    )


def _require(**given: tuple[float, float, float]) -> None:
    for name, (value, low, high) in given.items():
        if not low <= value <= high:
            raise ProbeError(f"{name}={value} was given; allowed are {low} to {high}.")


def _split(data: Dataset, split: str | None) -> str | None:
    """Return the split as given; None if the data have only that one."""
    if split is None:
        return None
    there = set(data.samples.table["split"])
    if split not in there:
        raise DatasetError(
            f"Dataset {data.name!r} has no split {split!r}; it has "
            f"{', '.join(one for one in SPLITS if one in there)}. Give one, or None for all."
        )
    return split


def _arrays(found: Found, figures: Sequence[Figure]) -> xr.Dataset:
    tried = found.tried
    both, one = ("setting", "figure"), ("setting",)
    return xr.Dataset(
        {
            "value": (both, np.array([row.values for row in tried])),
            "low": (both, np.array([row.low for row in tried])),
            "high": (both, np.array([row.high for row in tried])),
            "changes": (one, np.array([len(row.setting) for row in tried])),
            "p": (one, np.array([row.p for row in tried])),
            "distance": (one, np.array([row.distance for row in tried])),
            "holds": (one, np.array([row.holds for row in tried])),
            "confirmed": (one, np.array([row.confirmed for row in tried])),
            "n_samples": (one, np.array([row.counted[0] for row in tried])),
            "n_clusters": (one, np.array([row.counted[1] for row in tried])),
            "published": (("figure",), np.array([row.value for row in figures])),
            "half": (("figure",), np.array([row.half for row in figures])),
        },
        coords={
            "setting": [named(row.setting) for row in tried],
            "figure": [row.name for row in figures],
        },
    )


# What can be varied ------------------------------------------------------------------------------


def material_of(
    detector: Detector,
    data: Dataset,
    figures: Sequence[Figure],
    split: str | None = None,
    source: str | Path | None = None,
    by_video: bool = False,
    batch_size: int = 32,
    seed: int = 0,
    n_workers: int | None = None,
) -> Material:
    """Return what can be varied on a detector and its images; crops videos again if given."""
    rows = Rows.of(data, split)
    recut: dict[str, tuple[Dataset, NDArray[np.int64]]] = {}
    shares: dict[str, float] = {}
    why: dict[str, str] = {}
    if source is not None:
        recut = _recut(data, Path(source), n_workers)
        crops = [Change("crop", one) for one in recut]
    else:
        crops, shares, why = _crops(data)
    changes, none = network_options(detector.module, detector.spec.input_size)
    levels = {one.level for one in figures} | ({"video"} if by_video else set())
    own, lacking = _row_options(rows, split, levels)
    not_tried = {**why, **none, **lacking}
    options = Options((*crops, *changes, *own), not_tried, shares)
    return Material(detector, data, rows, options, recut, batch_size, seed)


def _crops(data: Dataset) -> tuple[list[Change], dict[str, float], dict[str, str]]:
    """Return the smaller crops that lie in the given ones."""
    card = data.card.get("crop")
    known = isinstance(card, Mapping) and "margin" in card and not card.get("aligned")
    margin = float(card["margin"]) if isinstance(card, Mapping) and known else None
    if margin is None:
        shares = {f"center {share:.0%}": share for share in SHARES}
        why = "larger margins and alignment need the videos (source); the crops' margin is unknown"
    else:
        shares = {f"margin {one:g}": one / margin for one in MARGINS if one < margin}
        why = f"margins above {margin:g} and alignment need the videos (source)"
    return [Change("crop", one) for one in shares], shares, {"crop": why}


def _recut(
    data: Dataset, source: Path, n_workers: int | None
) -> dict[str, tuple[Dataset, NDArray[np.int64]]]:
    """Crop the videos again by other rules, from the crop cache."""
    card = data.card
    crop, frames = card.get("crop"), card.get("frames")
    if not isinstance(crop, Mapping) or "margin" not in crop or not isinstance(frames, Mapping):
        raise DatasetError(
            f"source was given, but the card of {data.name!r} does not say how it was cropped. "
            "Give a dataset that `probe ingest` made, or leave source out."
        )
    own = (float(crop["margin"]), bool(crop.get("aligned")))
    rules = {f"margin {one:g}": (one, False) for one in MARGINS} | {ALIGNED: (1.3, True)}
    given: dict[str, Any] = {"frames": frames.get("asked"), "size": int(crop["size"])}
    given |= {"compression": card.get("compression") or None}
    out = {}
    for name, (margin, align) in rules.items():
        if (margin, align) == own:
            continue
        again = open_layout(
            str(card["layout"]),
            root=source,
            n_workers=n_workers,
            margin=margin,
            align=align,
            crop=True,
            **given,
        )
        out[name] = again, _places(data, again, source)
    return out


def _places(data: Dataset, again: Dataset, source: Path) -> NDArray[np.int64]:
    where = {name: i for i, name in enumerate(again.samples.table["sample"])}
    table = data.samples.table
    # `part_of` puts the part's name before the ids of its originals.
    samples = table["sample"]
    own = [
        name if name in where else name.removeprefix(f"{part}/")
        for name, part in zip(samples, table["dataset"], strict=True)
    ]
    places = np.array([where.get(name, -1) for name in own], dtype=np.int64)
    if (places < 0).mean() > 0.5:
        raise DatasetError(
            f"{int((places < 0).sum())} of {len(places)} images of {data.name!r} are not in the "
            f"videos of {str(source)!r}, the first {samples.iloc[int(np.argmax(places < 0))]!r}. "
            "Give the folder that they were cropped from."
        )
    return places


def _row_options(
    rows: Rows, split: str | None, levels: set[str]
) -> tuple[list[Change], dict[str, str]]:
    """Return choices of rows and levels, and reasons for those that there are not."""
    found, why = [], {}
    for name in (*SPLITS, "all"):
        if split is not None and name != split and (name == "all" or (rows.split == name).any()):
            found.append(Change("split", name))
    if len(set(rows.split)) < 2 or split is None:
        found = []
        why["split"] = "only one split was given"
    count = rows.most_frames()
    numbers = [n for n in (1, 4, 8, 16) if n < count]
    found += [Change("frames", f"first {n}") for n in numbers]
    found += [Change("frames", f"{n} evenly spaced") for n in numbers]
    why["frames"] = f"more than {count} a video need the videos"
    if count < 2:
        why["frames"] = why["level"] = "each video has one image"
    if (rows.repeated & rows.given).any():
        found.append(Change("duplicates", "each image once"))
    else:
        why["duplicates"] = "no image is there twice"
    if count > 1:
        found += [Change("level", one) for one in _levels(levels)]
    return found, why


def _levels(levels: set[str]) -> list[str]:
    if levels == {"video"}:
        return [LEVEL_OPTIONS[0], *LEVEL_OPTIONS[2:]]
    return list(LEVEL_OPTIONS[2:] if "video" in levels else LEVEL_OPTIONS[1:])
