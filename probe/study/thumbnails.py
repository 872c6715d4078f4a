"""Thumbnails of the images that the dashboard shows first, for runs without their images."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from probe.attribution import AttributionMap
from probe.datasets import Dataset
from probe.datasets.subset import draw
from probe.evaluation.matrix import ZeroShotMatrix
from probe.neurons import NeuronTable, Universality
from probe.run import RunFolder
from probe.stats import sigmoid
from probe.store import ActivationStore
from probe.store.reader import VideoGroups
from probe.study.plan import Study
from probe.thumbnails import write_thumbnails

__all__ = ["MOST", "keep_thumbnails", "needed"]

#: Maximum number of thumbnails of a run, at about 8 kB each.
MOST = 6000

#: Images drawn per dataset; worst errors per dataset, detector and label; images at each end of a
#: unit or of the difference of two detectors.
DRAWN, WORST, EACH = 24, 4, 4

#: Units per detector, the first of the list in the dashboard.
UNITS = 24


def keep_thumbnails(study: Study, folder: RunFolder, labels: Sequence[str], test: Dataset) -> int:
    """Write thumbnails of images outside the run, or remove those of an earlier run.

    Returns
    -------
    int
        Number of decoded images.

    Raises
    ------
    ImageError
        If an image cannot be read.
    """
    table = test.samples.table
    away = {
        str(name): row
        for row, (name, path) in enumerate(zip(table["sample"], table["path"], strict=True))
        if os.path.isabs(path)
    }
    if study.images != "link" or not away:
        folder.thumbnails.unlink(missing_ok=True)
        return 0
    wanted = (name for name in needed(folder, labels, test, study.seeds[0]) if name in away)
    rows = [away[name] for name in itertools.islice(wanted, MOST)]
    return write_thumbnails(folder.thumbnails, test, rows)


def needed(folder: RunFolder, labels: Sequence[str], test: Dataset, seed: int) -> Iterator[str]:
    """Iterate over the samples that the dashboard shows, without duplicates, by priority.

    Samples with maps; some drawn from each dataset; the worst errors of each detector; samples on
    which two detectors differ most; and samples at both ends of the first units.
    """
    scores = ZeroShotMatrix.open(folder.path("evaluation")).scores
    groups: tuple[Iterable[Iterable[str]], ...] = (
        [_mapped(folder)],
        [map(str, draw(test, DRAWN, seed).samples.table["sample"])],
        [_worst(scores)],
        [_differing(scores)],
        _in_turn([_driving(folder, label) for label in labels]),
    )
    seen: set[str] = set()
    for name in itertools.chain.from_iterable(itertools.chain.from_iterable(groups)):
        if name not in seen:
            seen.add(name)
            yield name


def _in_turn(several: Sequence[Iterator[list[str]]]) -> Iterator[list[str]]:
    for line in itertools.zip_longest(*several, fillvalue=[]):
        yield from line


def _mapped(folder: RunFolder) -> Iterator[str]:
    for place in sorted(folder.path("maps", "", "").parent.glob("*.zarr")):
        maps = AttributionMap.open(place, lazy=True)
        yield from map(str, maps.data["sample"].values)


def _worst(scores: pd.DataFrame) -> list[str]:
    """Return the worst errors of every detector, one frame per video."""
    sign = np.where(scores["label"] == 1, -1.0, 1.0)
    ordered = scores.assign(error=sign * scores["logit"]).sort_values(
        "error", ascending=False, kind="stable"
    )
    videos = ordered.drop_duplicates(["detector", "dataset", "label", "video"])
    return list(map(str, videos.groupby(["detector", "dataset", "label"]).head(WORST)["sample"]))


def _differing(scores: pd.DataFrame) -> list[str]:
    """Return the images on which detectors differ most by P(fake), pair by pair."""
    first = scores[scores["detector"] == scores["detector"].iloc[0]].reset_index(drop=True)
    # The rows of all detectors are of the same images, in the same order.
    chances = {
        str(name): np.asarray(sigmoid(rows["logit"].to_numpy(dtype=np.float64)))
        for name, rows in scores.groupby("detector", sort=False)
    }
    groups, names = VideoGroups.of(first), first["sample"].astype(str).to_numpy()
    out: list[str] = []
    for one, other in itertools.combinations(chances, 2):
        for ends in groups.ends(chances[one] - chances[other], EACH):
            out += [*names[ends.most], *names[ends.least]]
    return out


def _driving(folder: RunFolder, label: str) -> Iterator[list[str]]:
    """Iterate over the first units of a detector; yield the samples at both ends of each."""
    if not folder.path("universality", label).is_dir():
        # Universality needs two datasets; without it, no unit is listed.
        return
    neurons = NeuronTable.open(folder.path("neurons", label))
    layer = str(neurons.data.attrs["layer"])
    store = ActivationStore.open(folder.store(label)) if folder.store(label).is_dir() else None
    if store is None or layer not in {*store.layers, *store.attrs["layers"].values()}:
        # The dashboard shows no such images either.
        return
    units = Universality.open(folder.path("universality", label)).ranked(neurons)[:UNITS]
    taken = store[layer]["activation"].sel(unit=neurons.data["unit"].values[units])
    values = taken.transpose("unit", "sample")
    groups, names = VideoGroups.of(store.samples), store.samples["sample"].astype(str).to_numpy()
    for one in values.values:
        if np.isfinite(one).all():
            found = groups.ends(one, EACH)
            yield [str(name) for ends in found for name in names[[*ends.most, *ends.least]]]
