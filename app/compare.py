"""Two detectors that are compared, of one run or of two."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.queries.runs import Line, evaluation_notes, lines_between
from app.run import Ref, Run
from app.selection import Selection
from probe.attribution.findings import MapSimilarity
from probe.errors import NotComparableError, ProbeError, UnknownNameError

__all__ = [
    "NothingToCompareError",
    "Pair",
    "Side",
    "choices",
    "default_detector",
    "default_other",
    "known_sides",
    "lines",
    "map_pair",
    "pair_of",
    "require_one_run",
    "require_related",
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
