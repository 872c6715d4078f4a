"""What is missing to answer more: each gap with what it leaves open and what closes it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from app.images import lacks_of
from app.run import Run, derived
from probe.datasets.dataset import Dataset
from probe.errors import ProbeError
from probe.images import token_of
from probe.reader import from_here
from probe.run import RunFolder
from probe.stats import MIN_CLUSTERS

__all__ = ["Gap", "gaps"]

#: Images of each dataset whose files are looked for.
LOOKED_AT = 24


@dataclass(frozen=True)
class Gap:
    """Something that the run does not hold.

    Attributes
    ----------
    what : str
        A sentence: what is not there, and what cannot be said without it.
    remedy : str
        A sentence: what to do.
    setting : str
        What to put into the study file, or the command; empty where neither does it.
    """

    what: str
    remedy: str
    setting: str = ""


def gaps(run: Run) -> tuple[Gap, ...]:
    """List what is missing, the most consequential first.

    Raises
    ------
    StoreError
        If the manifest cannot be read.
    """
    _ = run.manifest
    rules: tuple[Callable[[Run], Iterator[Gap]], ...] = (
        _images,
        _datasets,
        _clusters,
        _seeds,
        _identities,
        _masks,
        _nulls,
        _tables,
    )
    out: list[Gap] = []
    for rule in rules:
        try:
            out += rule(run)
        except ProbeError:
            # A table that is missing or damaged is said on its own card.
            continue
    return tuple(out)


def _images(run: Run) -> Iterator[Gap]:
    """Look for images that pages cannot show, in some of each dataset, evenly spaced."""
    lacks: dict[tuple[str, str], list[str]] = {}
    small = bool(len(run.thumbnails))
    for name, tokens in derived(_some_images, (run.data,)).items():
        for lack in lacks_of(run, tokens):
            lacks.setdefault((lack.why, lack.remedy), []).append(name)
    for (why, remedy), names in lacks.items():
        place = from_here(run.folder.root)
        shown = f" {len(run.thumbnails):,} thumbnails are shown in their place." if small else ""
        asked = f"probe dashboard {shlex.quote(place)} --images FOLDER"
        yield Gap(
            f"Images of {_listed(names)} are not shown: {why}.{shown} Tables and maps are whole.",
            remedy,
            asked if "--images" in remedy else "",
        )


def _some_images(data: Dataset) -> dict[str, list[str]]:
    table = data.samples.table
    out = {}
    for name, rows in table.groupby("dataset", sort=False)["sample"]:
        chosen = np.unique(np.linspace(0, len(rows) - 1, LOOKED_AT).round().astype(np.int64))
        out[str(name)] = [token_of(str(rows.iloc[i])) for i in chosen]
    return out


def _seeds(run: Run) -> Iterator[Gap]:
    if not any(re.search(r"-seed\d+$", label) for label in run.detectors):
        yield Gap(
            "Every detector was trained once, so nothing tells how much another seed would "
            "differ, and which units would appear again.",
            "Train with further seeds.",
            "seeds = [0, 1, 2]",
        )


def _datasets(run: Run) -> Iterator[Gap]:
    names = [str(name) for name in run.manifest.get("datasets", [])]
    if len(names) < 2:
        yield Gap(
            "There is one dataset, so nothing is said about generalization, and no unit can be "
            "universal.",
            "Add datasets that the detectors were not trained on.",
            '[[datasets]]\nopen = "…"',
        )


def _clusters(run: Run) -> Iterator[Gap]:
    part = run.evaluation.data["n_clusters"].sel(level="frame").max("detector")
    few = {
        str(d): int(n)
        for d, n in zip(part["dataset"].values, part.values, strict=True)
        if n < MIN_CLUSTERS
    }
    if few:
        listed = ", ".join(f"{name} ({n})" for name, n in few.items())
        yield Gap(
            f"Fewer than {MIN_CLUSTERS} clusters (people, else videos) were measured in {listed}, "
            "so there are no intervals and no tests.",
            "Measure more people: raise the budget, or take all images.",
            "[budget]\nimages = 2000",
        )


def _identities(run: Run) -> Iterator[Gap]:
    unknown = derived(_unidentified, (run.data,))
    if unknown:
        yield Gap(
            f"Nobody is identified in {_listed(unknown)}: videos are resampled instead, and "
            "intervals are too narrow where one person is in several videos.",
            "Ingest with a layout that knows identities, or a table of your own.",
            "probe layouts",
        )


def _unidentified(data: Dataset) -> list[str]:
    return _names(data.samples.table, lambda rows: bool((rows["identity"] == "").all()))


def _unmasked(data: Dataset) -> list[str]:
    def bare(rows: pd.DataFrame) -> bool:
        fakes = rows[rows["label"] == 1]
        return len(fakes) > 0 and bool((fakes["mask"] == "").all())

    return _names(data.samples.table, bare)


def _masks(run: Run) -> Iterator[Gap]:
    without = derived(_unmasked, (run.data,))
    if without:
        yield Gap(
            f"The fakes of {_listed(without)} have no masks, so whether maps and measurements hit "
            "the forged region cannot be checked there.",
            "Ingest the masks where the dataset has them.",
            "probe ingest --help",
        )


def _nulls(run: Run) -> Iterator[Gap]:
    """Look for the nulls of the counts of universal units, in all tables that are there."""
    untrained, heads, there = [], [], False
    for label in run.detectors:
        try:
            data = run.universality(label).data
        except ProbeError:
            continue
        there = True
        if not data.sizes.get("draw", 0):
            untrained.append(label)
        if not data.sizes.get("head", 0):
            heads.append(label)
    if there and untrained:
        yield Gap(
            f"No untrained networks were counted for {_listed(untrained)}, so how many units are "
            "universal by architecture and data alone is not known.",
            "Ask for untrained networks.",
            "[neurons]\nuntrained = 3",
        )
    if there and heads:
        yield Gap(
            f"No random heads were counted for {_listed(heads)}, so how much of the counts is due "
            "to the trained head is not known.",
            "Compute the neurons again with this version.",
            run.command,
        )


def _tables(run: Run) -> Iterator[Gap]:
    """Look for analyses that were not asked for; what is still to come is no gap."""
    if not run.manifest.get("complete", False):
        return
    folder = run.folder
    parts = (
        (
            _of(folder, "ablation"),
            "Units were not taken out of {}, so that detection depends on them is not shown.",
            "[neurons]\nablate = true",
        ),
        (
            folder.store,
            "No activations of {} were kept: no images of units, pictures or correlations.",
            '[record]\nlayers = ["units", "last_conv"]',
        ),
        (
            _of(folder, "separability"),
            "Layers of {} were not probed, so whether the head uses what is there is not known.",
            "[separability]\nrun = true",
        ),
        (
            _of(folder, "responses"),
            "What the units of {} respond to was not asked.",
            "[artifacts]\nresponses = true",
        ),
    )
    for place, text, setting in parts:
        lacking = [label for label in run.detectors if not place(label).is_dir()]
        if lacking:
            yield Gap(text.format(_listed(lacking)), "Ask for it in the study file.", setting)
    bare = [label for label in run.detectors if not run.map_methods(label)]
    if bare:
        yield Gap(
            f"There are no attribution maps of {_listed(bare)}, so where they look is not known.",
            "Ask for them in the study file.",
            '[attribution]\nmethods = ["gradcam"]',
        )
    # Of variants, maps are compared with each other and not tested one by one.
    if len(bare) < len(run.detectors) and not any(
        map(_is_there(_of(folder, "trust")), run.detectors)
    ):
        yield Gap(
            "No maps were tested, so whether they show what decides is not known.",
            "Ask for tests in the study file.",
            '[attribution]\nchecks = ["pointing", "deletion_blur"]',
        )
    if not folder.path("artifacts").is_dir():
        yield Gap(
            "Images were not measured, so what forgeries leave in them is not known.",
            "Ask for it in the study file.",
            "[artifacts]\nrun = true",
        )


def _of(folder: RunFolder, table: str) -> Callable[[str], Path]:
    return lambda label: folder.path(table, label)


def _is_there(place: Callable[[str], Path]) -> Callable[[str], bool]:
    return lambda label: place(label).is_dir()


def _names(table: pd.DataFrame, test: Callable[[pd.DataFrame], bool]) -> list[str]:
    return [str(name) for name, rows in table.groupby("dataset", sort=False) if test(rows)]


def _listed(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
