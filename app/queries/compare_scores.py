"""Scores of two detectors on the same images, of one run or of two."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import xarray as xr

from app.queries.compare import Pair, Side, siblings
from app.queries.deriving import shared
from app.queries.runs import evaluation_notes
from app.run import Ref, Run
from probe.errors import NotComparableError, ProbeError
from probe.evaluation.paired import common_scores, differences, resample_scores
from probe.reader import stamp_of

__all__ = ["common_datasets", "difference_of", "measured_with", "score_refs"]

#: Image files that are compared where fingerprints of a dataset differ.
CHECKED = 24


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
    one, other, left_out = _paired(pair, stamps)
    if _whole(pair, one, other):
        drawn = [
            _drawn(side, stamp, metric, level, seed)
            for side, stamp in zip(pair.sides, stamps, strict=True)
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


def _paired(
    pair: Pair, stamps: tuple[int, int]
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Take the images that both have, row by row the same; and what was left out."""
    kept, said = common_datasets(pair)
    tables = [_scores(side, stamp) for side, stamp in zip(pair.sides, stamps, strict=True)]
    if not pair.same_run:
        tables = [table[table["dataset"].isin(kept)] for table in tables]
    sizes = [len(table) for table in tables]
    one, other = common_scores(*tables)
    if len(one) < max(sizes):
        said = (
            *said,
            f"{len(one):,} images are in both score tables ({sizes[0]:,} and {sizes[1]:,}); only "
            "these are compared.",
        )
    return one, other, said


def score_refs(pair: Pair) -> tuple[Ref, ...]:
    """Return the scores of both, and in turn those of the same trained from other seeds.

    Raises
    ------
    ProbeError
        If a score table is missing.
    """
    sides = (*pair.sides, *(side for again in siblings(pair) for side in again.sides))
    return tuple(_score_ref(side) for side in sides)


def _score_ref(side: Side) -> Ref:
    stamp = _stamp(side.run)
    code = f"{side.name}.scores_of({side.label!r})"
    place = side.name, side.run.place
    return Ref(code, _scores(side, stamp), (side, stamp), place)


def common_datasets(pair: Pair) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the datasets that both were measured on, and sentences on others.

    Of two runs, datasets are left out whose images are not shown to be the same by more than their
    ids.

    Raises
    ------
    ProbeError
        If a score table is missing, or no images are shown to be the same.
    """
    return _common_datasets(pair, (_stamp(pair.one.run), _stamp(pair.other.run)))


@shared(maxsize=32)
def _common_datasets(
    pair: Pair, stamps: tuple[int, int]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    tables = [_scores(side, stamp) for side, stamp in zip(pair.sides, stamps, strict=True)]
    names = [list(dict.fromkeys(map(str, table["dataset"]))) for table in tables]
    common = [name for name in names[0] if name in names[1]]
    if pair.same_run:
        return tuple(common), ()
    marks = [evaluation_notes(side.run, "datasets") for side in pair.sides]
    said, kept = [], []
    for name in common:
        alike = bool(marks[0].get(name)) and marks[0].get(name) == marks[1].get(name)
        parts = [table.loc[table["dataset"] == name, "sample"] for table in tables]
        why = "" if alike else _unlike(pair, sorted(set(parts[0]) & set(parts[1])))
        if why:
            said.append(f"{name} is left out: {why}")
        else:
            kept.append(name)
    for side, own, foreign in zip(pair.sides, names, names[::-1], strict=True):
        if lone := sorted(set(own) - set(foreign)):
            said.append(f"Only {side.title} was measured on {', '.join(lone)}.")
    if not kept:
        raise NotComparableError(
            "The two were measured on no common images, so nothing can be compared image by "
            "image. " + " ".join(said)
        )
    return tuple(kept), tuple(said)


def _unlike(pair: Pair, samples: list[str]) -> str:
    """Say why images of the same ids cannot be taken for the same; empty where they can."""
    if not samples:
        return "the runs have no image id in common there."
    places = np.unique(np.linspace(0, len(samples) - 1, min(CHECKED, len(samples))).astype(int))
    chosen = [samples[i] for i in places]
    try:
        digests = [_digests(side.run, chosen) for side in pair.sides]
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
    found = side.run.scores_of(side.label)
    # What files say of where a figure comes from.
    found.attrs = dict(side.run.evaluation.data.attrs)
    return found


def _stamp(run: Run) -> int:
    return stamp_of(run.folder.path("evaluation").with_suffix(".scores.parquet"))
