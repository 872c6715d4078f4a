"""The runs that a dashboard was given, side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.run import Run
from probe.errors import ProbeError, StoreError
from probe.reader import stamp_of
from probe.run import RunFolder
from probe.tables import parsed

__all__ = [
    "Line",
    "RunRow",
    "crop_rule",
    "evaluation_notes",
    "lines_between",
    "open_others",
    "provenance_of",
    "run_rows",
]

#: The record that `probe.study.provenance` writes; its module would bring torch along.
PROVENANCE_FILE = "provenance.json"


@dataclass(frozen=True)
class RunRow:
    """One of the runs.

    Attributes
    ----------
    name, title, created : str
        Of the folder; of the manifest.
    complete : bool
        Whether all stages are done.
    detectors, datasets : tuple of str
        As the manifest names them.
    differs : tuple of str
        What it does not share with the run that the dashboard is of, in a word each.
    problem : str
        Why it cannot be read; empty where it can.
    """

    name: str
    title: str = ""
    created: str = ""
    complete: bool = False
    detectors: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Line:
    """One thing in which two may differ, as both have it."""

    what: str
    one: str
    other: str

    @property
    def same(self) -> bool:
        """Whether both have it alike."""
        return self.one == self.other


def open_others(
    roots: Sequence[str | Path],
    beside: str | Path | None = None,
    images: tuple[Path, ...] = (),
) -> tuple[tuple[str, Run], ...]:
    """Give every further run a unique name: that of its folder, numbered where it is taken.

    Parameters
    ----------
    roots : sequence of path
        Folders of the runs.
    beside : path, optional
        Folder of the run that they are compared with, whose name is taken.
    images : tuple of pathlib.Path
        Folders that images may be opened from.

    Raises
    ------
    StoreError
        If there is no such folder.
    """
    found: dict[str, Run] = {}
    taken = {Path(beside).resolve().name} if beside else set()
    for given in roots:
        root = Path(given)
        if not root.is_dir():
            raise StoreError(
                f"There is no folder {str(root)!r} to compare with. Give folders of runs."
            )
        root = root.resolve()
        name, number = root.name or "run", 2
        while name in taken | set(found):
            name, number = f"{root.name}-{number}", number + 1
        found[name] = Run(RunFolder(root), roots=images)
    return tuple(found.items())


def run_rows(run: Run) -> tuple[RunRow, ...]:
    """List the run itself and the others, each with what it does not share with the first."""
    return tuple(_row(name, one, run) for name, one in ((run.folder.root.name, run), *run.others))


def lines_between(one: Run, other: Run) -> tuple[Line, ...]:
    """Set side by side what decides the results of two runs.

    Raises
    ------
    StoreError
        If a manifest cannot be read.
    """
    pairs: dict[str, Callable[[Run], str]] = {
        "Title": lambda run: str(run.manifest.get("title", "")),
        "Command": lambda run: run.command,
        "Seeds": _seeds,
        "Trained on": lambda run: str(run.manifest.get("source", "")) or "not stated",
        "Datasets": lambda run: ", ".join(map(str, run.manifest.get("datasets", []))),
        "Images": _fingerprints,
        "Crop rule": _crop,
        "Settings": lambda run: str(run.manifest.get("study", "not stated")),
        "Devices": lambda run: ", ".join(map(str, provenance_of(run).get("devices", []))) or "—",
    }
    lines = [Line(what, read(one), read(other)) for what, read in pairs.items()]
    mine, theirs = (
        {str(k): str(v) for k, v in dict(run.manifest.get("versions") or {}).items()}
        for run in (one, other)
    )
    named = [n for n in dict.fromkeys([*mine, *theirs]) if mine.get(n) != theirs.get(n)]
    texts = [
        ", ".join(f"{n} {have.get(n, 'not stated')}" for n in named) or "all the same"
        for have in (mine, theirs)
    ]
    return (*lines, Line("Versions", *texts))


def evaluation_notes(run: Run, key: str) -> dict[str, Any]:
    """Read a mapping that the zero-shot matrix notes: ``specs``, ``datasets``, ``detectors``."""
    found = parsed(run.evaluation.data.attrs.get(key, {}))
    return dict(found) if isinstance(found, Mapping) else {}


def provenance_of(run: Run) -> dict[str, Any]:
    """Read the run's record of what it was made of; empty where there is none."""
    file = run.folder.root / PROVENANCE_FILE
    if not stamp_of(file):
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def crop_rule(run: Run) -> str:
    """Say by which rule faces were cut, as the dataset's card states it."""
    card = run.data.card
    if "crop" in card or not isinstance(card.get("parts"), dict):
        return _crop_words(card)
    # Of joined data every part states its own.
    rules: dict[str, list[str]] = {}
    for name, part in card["parts"].items():
        rules.setdefault(_crop_words(part if isinstance(part, dict) else {}), []).append(str(name))
    if len(rules) == 1:
        return next(iter(rules))
    return " | ".join(f"{', '.join(names)}: {rule}" for rule, names in rules.items())


def _crop_words(card: Mapping[str, Any]) -> str:
    rule = card.get("crop")
    if isinstance(rule, dict):
        return "; ".join(f"{key}: {value}" for key, value in rule.items())
    return str(rule) if rule else "not stated in the dataset's card"


def _row(name: str, one: Run, first: Run) -> RunRow:
    try:
        found = one.manifest
        differs = () if one is first else _differing(first, one)
    except ProbeError as error:
        return RunRow(name, problem=str(error))
    return RunRow(
        name=name,
        title=str(found.get("title", "")),
        created=str(found.get("created", "")),
        complete=bool(found.get("complete", False)),
        detectors=tuple(one.detectors),
        datasets=tuple(map(str, found.get("datasets", []))),
        differs=differs,
    )


def _differing(first: Run, one: Run) -> tuple[str, ...]:
    try:
        lines = lines_between(first, one)
    except ProbeError:
        return ("cannot be told: the first run cannot be read",)
    return tuple(line.what.lower() for line in lines if not line.same and line.what != "Title")


def _seeds(run: Run) -> str:
    """Name the seeds of the trainings, or the one that the manifest notes."""
    seeds = provenance_of(run).get("seeds") or [run.manifest.get("seed", "not stated")]
    return ", ".join(map(str, seeds))


def _crop(run: Run) -> str:
    try:
        return crop_rule(run)
    except ProbeError:
        return "no images"


def _fingerprints(run: Run) -> str:
    """Write short fingerprints of the datasets that were measured."""
    try:
        found = evaluation_notes(run, "datasets")
    except ProbeError:
        return "not measured yet"
    return ", ".join(f"{name} {str(mark)[:8]}" for name, mark in found.items()) or "not stated"
