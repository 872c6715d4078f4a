"""Two detectors that are compared, of one run or of two."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from threading import Condition

import numpy as np
import pandas as pd
import xarray as xr
from cachetools import LRUCache, cached

from app.run import Line, Ref, Run, evaluation_notes, lines_between
from app.selection import Selection
from probe.attribution.findings import MapSimilarity
from probe.errors import NotComparableError, ProbeError, UnknownNameError
from probe.evaluation.paired import common_scores, differences, resample_scores
from probe.reader import stamp_of

__all__ = [
    "NothingToCompareError",
    "Pair",
    "Side",
    "choices",
    "common_datasets",
    "default_detector",
    "default_other",
    "difference_of",
    "known_sides",
    "lines",
    "map_pair",
    "measured_with",
    "pair_of",
    "require_one_run",
    "require_related",
    "score_refs",
    "siblings",
]

_SEED = re.compile(r"-seed(\d+)$")


class NothingToCompareError(ProbeError):
    """There is one detector only."""

    title = "Nothing to compare with"
    command = "probe dashboard RUN OTHER_RUN"

    def __init__(self, held: str) -> None:
        super().__init__(
            f"{held} Train a second variant or seed (`variants` or `seeds` in the study file), or "
            "open a second run beside this one:"
        )


@dataclass(frozen=True)
class Side:
    """A detector with the run that holds it.

    Attributes
    ----------
    run : Run
        Where its tables are.
    label : str
        Detector, as in the run's tables.
    place : str
        Name of the run; empty for the one that the dashboard is of.
    """

    run: Run
    label: str
    place: str = ""

    @property
    def key(self) -> str:
        """What the address names it by: ``DETECTOR``, or ``RUN:DETECTOR`` of another run."""
        return f"{self.place}:{self.label}" if self.place else self.label

    @property
    def title(self) -> str:
        """The same for people."""
        return f"{self.label} ({self.place})" if self.place else self.label

    @property
    def name(self) -> str:
        """What a script calls the run."""
        return "other" if self.place else "run"

    def ref(self, table: str, *by: str) -> Ref:
        """Return a table of the run: of the detector, unless `by` says of what."""
        return self.run.ref(table, *(by or (self.label,)), name=self.name)

    @property
    def architecture(self) -> str:
        """Name without the variant."""
        return self.label.split("/")[0]

    @property
    def variant(self) -> str:
        """Variant without the seed."""
        return _SEED.sub("", self.label.partition("/")[2])

    @property
    def seed(self) -> str:
        """Seed of the training as the label tells it; empty for the first."""
        found = _SEED.search(self.label)
        return found.group(1) if found else ""


@dataclass(frozen=True)
class Pair:
    """A detector and what it is compared with."""

    one: Side
    other: Side

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both."""
        return self.one, self.other

    @property
    def titles(self) -> tuple[str, str]:
        """Names of both for people."""
        return self.one.title, self.other.title

    @property
    def same_run(self) -> bool:
        """Whether one run holds both."""
        return self.one.place == self.other.place

    @property
    def related(self) -> str:
        """Why unit 7 of one is unit 7 of the other, or why it is not.

        Empty where one was fine-tuned from the other, or both from a third: fine-tuning keeps the
        places of units, training anew does not.
        """
        one, other = self.one, self.other
        if not self.same_run:
            return (
                "They are of two runs, so they were trained separately, and unit 7 of one has "
                "nothing to do with unit 7 of the other."
            )
        if one.architecture != other.architecture:
            return "They are two architectures, whose units have no common numbering."
        if one.seed != other.seed:
            return (
                "They were trained from different seeds, so unit 7 of one has nothing to do with "
                "unit 7 of the other."
            )
        known = {"base", "shallow", "deep"}
        if not {one.variant, other.variant} <= known:
            return (
                "Of weights that were brought nobody knows whether they come from one another, so "
                "units have no common numbering."
            )
        return ""


def pair_of(run: Run, chosen: Selection) -> Pair:
    """Find who is compared, as the address names them; first defaults where it does not.

    Raises
    ------
    NothingToCompareError
        If there is one detector only.
    UnknownNameError
        If the address names a detector that is not there.
    """
    detectors = run.detectors
    sides = known_sides(run)
    if len(sides) < 2:
        raise NothingToCompareError(
            "This run holds one detector, and no other run was given."
            if sides
            else "This run holds no detector yet."
        )
    label = chosen.detector or default_detector(run)
    if label not in detectors:
        raise UnknownNameError(
            "detector", label, detectors, where="this run", remedy="Choose one on the page."
        )
    one = Side(run, label)
    other = chosen.other or default_other(run, one.key)
    found = next((side for side in sides if side.key == other), None)
    if found is None:
        raise UnknownNameError(
            "detector",
            other,
            [side.key for side in sides],
            where="the runs that are open",
            remedy="Choose one on the page.",
        )
    if found.key == one.key:
        raise ProbeError(
            f"{one.label} cannot be compared with itself. Choose another detector on the page."
        )
    return Pair(one, found)


def choices(run: Run, before: str = "") -> list[dict[str, object]]:
    """List all detectors that can be compared with, by run, as a select takes them.

    What is `before` stands before each name.
    """
    groups: dict[str, list[dict[str, str]]] = {}
    for side in known_sides(run):
        entry = {"value": side.key, "label": before + side.title}
        groups.setdefault(side.place or "This run", []).append(entry)
    if len(groups) == 1:
        return [dict(entry) for entry in next(iter(groups.values()))]
    return [{"group": name, "items": items} for name, items in groups.items()]


def siblings(pair: Pair) -> tuple[Pair, ...]:
    """Find the same two variants as trained from other seeds, in the same runs."""
    out = []
    for seed in dict.fromkeys(_seed_of(label) for label in pair.one.run.detectors):
        labels = [_seeded(side, seed) for side in pair.sides]
        there = all(
            label in side.run.detectors for label, side in zip(labels, pair.sides, strict=True)
        )
        if there and labels[0] != pair.one.label and labels[1] != pair.other.label:
            one, other = (
                Side(side.run, label, side.place)
                for label, side in zip(labels, pair.sides, strict=True)
            )
            out.append(Pair(one, other))
    return tuple(out)


def lines(pair: Pair) -> tuple[Line, ...]:
    """Set side by side what the two were made of.

    Raises
    ------
    ProbeError
        If a manifest or the notes on a detector cannot be read.
    """
    found = [Line("Run", *(s.place or s.run.folder.root.name for s in pair.sides))]
    specs = [evaluation_notes(s.run, "specs").get(s.label) or {} for s in pair.sides]
    marks = [evaluation_notes(s.run, "detectors").get(s.label, "") for s in pair.sides]
    found += [
        Line("Architecture", *(s.architecture for s in pair.sides)),
        Line("Variant", *(s.variant or "as loaded" for s in pair.sides)),
        Line("Weights", *(str(mark)[:12] or "not stated" for mark in marks)),
        Line("Origin", *(str(spec.get("origin", "not stated")) for spec in specs)),
        Line("Seen in training", *map(_seen, specs)),
        Line(
            "Input",
            *(
                f"{spec['input_size']} px" if "input_size" in spec else "not stated"
                for spec in specs
            ),
        ),
        Line(
            "Layer of units",
            *(str(dict(s.run.manifest.get("layers") or {}).get(s.label, "—")) for s in pair.sides),
        ),
    ]
    return (*found, *(() if pair.same_run else lines_between(pair.one.run, pair.other.run)))


def known_sides(run: Run) -> list[Side]:
    """List the detectors of the run, then those of the others; what cannot be read has none."""
    out = [Side(run, label) for label in run.detectors]
    for name, one in run.others:
        try:
            out += [Side(one, label, name) for label in one.detectors]
        except ProbeError:
            # The Overview lists the run with what is wrong with it.
            continue
    return out


def default_detector(run: Run) -> str:
    """Begin with a variant where there is one: it has a base to be compared with."""
    detectors = run.detectors
    bases = {label.split("/")[0] for label in detectors if label.endswith("/base")}
    tuned = (d for d in detectors if d.split("/")[0] in bases and not d.endswith("/base"))
    return next(tuned, next(iter(detectors), ""))


def default_other(run: Run, detector: str) -> str:
    """Compare with the base of the same architecture, else with the next there is."""
    rest = [side.key for side in known_sides(run) if side.key != detector]
    base = f"{detector.split('/')[0]}/base"
    return base if base in rest else next(iter(rest), "")


def require_one_run(pair: Pair) -> None:
    """Raise unless one run holds both, so that it compared their features."""
    if not pair.same_run:
        raise NotComparableError(
            "Similarity of features is computed within a run. For detectors of two runs, record "
            "both on the same images and call `probe.compare_features` on the two stores."
        )


def require_related(pair: Pair) -> None:
    """Raise unless the two are known to come from one training."""
    why = pair.related
    if not why:
        specs = evaluation_notes(pair.one.run, "specs")
        brought = [
            side.label
            for side in pair.sides
            if str((specs.get(side.label) or {}).get("origin", "trained")) != "trained"
        ]
        if brought:
            why = (
                f"The weights of {' and '.join(brought)} were not trained in this run, so that "
                "one comes from the other is not known."
            )
    if why:
        raise NotComparableError(f"{why} How alike the features are is shown instead.")


def map_pair(pair: Pair, found: MapSimilarity) -> str:
    """Return what a table of similarity of maps calls the two.

    Raises
    ------
    NotComparableError
        If it does not hold them.
    """
    labels = pair.one.label, pair.other.label
    variants = tuple(label.partition("/")[2] for label in labels)
    known = [str(one) for one in found.data["pair"].values]
    wanted = ["|".join(two) for way in (labels, variants) for two in (way, way[::-1])]
    named = [one for one in wanted if one in known]
    if not named:
        raise NotComparableError(
            f"The maps of {labels[0]} and {labels[1]} were not compared; "
            f"{', '.join(one.replace('|', ' with ') for one in known)} were."
        )
    return named[0]


def _seed_of(label: str) -> str:
    found = _SEED.search(label)
    return found.group(1) if found else ""


def _seeded(side: Side, seed: str) -> str:
    plain = _SEED.sub("", side.label)
    return f"{plain}-seed{seed}" if seed else plain


def _seen(spec: dict[str, object]) -> str:
    notes = spec.get("notes")
    trained = notes.get("trained_on", []) if isinstance(notes, dict) else []
    names = [name for part in trained for name in part.get("datasets") or [part.get("name")]]
    return ", ".join(dict.fromkeys(map(str, names))) or "not stated"


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


@cached(LRUCache(256), condition=Condition())
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


@cached(LRUCache(512), condition=Condition())
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


@cached(LRUCache(32), condition=Condition())
def _common_datasets(
    pair: Pair, stamps: tuple[int, int]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    tables = [_scores(side, stamp) for side, stamp in zip(pair.sides, stamps, strict=True)]
    names = [list(dict.fromkeys(map(str, table["dataset"]))) for table in tables]
    common = [name for name in names[0] if name in names[1]]
    if pair.same_run:
        return tuple(common), ()
    marks = [evaluation_notes(side.run, "data") for side in pair.sides]
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


@cached(LRUCache(6), condition=Condition())
def _scores(side: Side, stamp: int) -> pd.DataFrame:
    found = side.run.scores_of(side.label)
    # What files say of where a figure comes from.
    found.attrs = dict(side.run.evaluation.data.attrs)
    return found


def _stamp(run: Run) -> int:
    return stamp_of(run.folder.path("evaluation").with_suffix(".scores.parquet"))
