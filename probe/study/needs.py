"""Checks of what the data allow, made when they are opened, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from probe.datasets import Dataset
from probe.datasets.subset import undivided
from probe.errors import DatasetError, did_you_mean
from probe.neurons import MEASURES, one_class
from probe.schema import FAKE, VARIANTS
from probe.stats import MIN_CLUSTERS
from probe.study.plan import Study

__all__ = ["LeftOut", "check_needs", "divisible", "left_out", "swept"]


@dataclass(frozen=True)
class LeftOut:
    """A result that was left out, and the reason.

    Attributes
    ----------
    stage : str
        Name of the stage; empty for all.
    dataset, detector : str
        Names of dataset and detector; empty for all.
    why : str
        Reason, as a clause.
    """

    stage: str
    dataset: str
    detector: str
    why: str

    def __str__(self) -> str:
        return f"{', '.join(filter(None, (self.stage, self.dataset, self.detector)))}: {self.why}"


def check_needs(study: Study, data: Dataset) -> list[LeftOut]:
    """Check that datasets and splits have what training and evaluation need.

    Parameters
    ----------
    study : Study
        Study to check.
    data : Dataset
        All data of the study.

    Returns
    -------
    list of LeftOut
        Results that the data do not allow; all others can be measured.

    Raises
    ------
    DatasetError
        If nothing can be measured, or a detector cannot be trained. The error lists all reasons
        with dataset and split.
    """
    problems = list(_unmeasured(study, data))
    if study.detectors.names:
        problems += _untrained(study, data)
    if problems:
        raise DatasetError(
            f"The data do not allow this study: {'; '.join(problems)}. Nothing was trained. Give "
            'other splits (splits = "cut" or "seeded" of [[datasets]]), more images, or other '
            "datasets to train on (detectors.source, detectors.target)."
        )
    return left_out(study, data)


def left_out(study: Study, data: Dataset) -> list[LeftOut]:
    """Return the results that the measured split does not allow."""
    split = study.evaluation.split
    test = data.select(split=split)
    parts = test.by_dataset()
    out = [
        LeftOut("", name, "", f"split {split!r} holds no image: nothing is measured")
        for name in data.by_dataset()
        if name not in parts
    ]
    for part in parts.values():
        out += _of_one(study, part)
    return out + list(_of_all(study, test))


def swept(study: Study, test: Dataset) -> list[Dataset]:
    """Return the datasets whose units are measured; both classes if the measure uses labels."""
    plan, parts = study.neurons, list(test.by_dataset().values())
    if not MEASURES[plan.measure].labels:
        return parts
    alone = one_class(parts, plan.mode, plan.order, study.seeds[0])
    return [part for part in parts if part.name not in alone]


def divisible(study: Study, test: Dataset) -> list[Dataset]:
    """Return the datasets that can be split by identity into halves with both classes."""
    parts = test.by_dataset().values()
    return [part for part in parts if not undivided(part, study.seeds[0])]


def _missing(part: Dataset) -> str:
    """Return the class that a dataset lacks; empty if none."""
    if len(np.unique(part.labels)) == 2:
        return ""
    return "real image" if part.labels[0] == FAKE else "fake"


def _unmeasured(study: Study, data: Dataset) -> Iterator[str]:
    split = study.evaluation.split
    if not (data.samples.table["split"] == split).any():
        yield f"no dataset holds an image in split {split!r}, on which everything is measured"


def _untrained(study: Study, data: Dataset) -> Iterator[str]:
    """Yield what training lacks in the source dataset, and in the target datasets together."""
    plan, parts = study.detectors, data.by_dataset()
    asked = [plan.source or ""]
    groups = [[plan.source or ""]]
    if set(plan.variants) - {VARIANTS[0]}:
        groups.append(list(plan.target))
        asked += plan.target
    for name in dict.fromkeys(asked):
        if name not in parts:
            yield (
                f"{name!r}, a dataset to train on, is not in the study "
                f"({did_you_mean(name, parts)})"
            )
    for group in groups:
        table = data.samples.where(dataset=group).table
        names = " and ".join(map(repr, group))
        for split in ("train", "val") if set(group) <= set(parts) else ():
            labels = table["label"][table["split"] == split]
            if not len(labels):
                yield f"{names}, {split}: no image"
            elif labels.nunique() == 1:
                kind = "fake" if labels.iloc[0] == FAKE else "real"
                yield f"{names}, {split}: all {len(labels):,} images are {kind}"


def _of_one(study: Study, part: Dataset) -> Iterator[LeftOut]:
    """Yield the results that one dataset does not allow."""
    name, where, lacking = part.name, f"split {study.evaluation.split!r}", _missing(part)
    asked = {
        "separability": study.separability.run and bool(study.record.layers),
        "artifacts": study.artifacts.run,
        "attribution": study.attribution.run,
    }
    if lacking:
        without = {
            "evaluation": "no AUROC, AP or EER",
            "neurons": "no contributions and no test",
            "separability": "no probes of real against fake",
            "artifacts": "no comparison of real and fake",
        }
        if lacking == "fake":
            without["attribution"] = "no maps, which are computed on fakes"
        for stage, what in without.items():
            if asked.get(stage, True):
                yield LeftOut(stage, name, "", f"{where} holds no {lacking}: {what}")
    elif study.neurons.ablate and (why := undivided(part, study.seeds[0])):
        yield LeftOut("ablation", name, "", f"{where}: {why}")
    for kind, own in part.samples.table.groupby("label"):
        if own.groupby(["method", "video"]).ngroups == 1:
            those = "fakes" if kind == FAKE else "real images"
            yield LeftOut(
                "",
                name,
                "",
                f"all {those} of {where} are of one video: results may be specific to that video",
            )
    if (count := len(np.unique(part.samples.clusters))) < MIN_CLUSTERS:
        yield LeftOut(
            "",
            name,
            "",
            f"{where} has {count} clusters (identities, else videos): no interval and no test "
            f"below {MIN_CLUSTERS}",
        )


def _of_all(study: Study, test: Dataset) -> Iterator[LeftOut]:
    """Yield the results that the datasets together do not allow."""
    plan, both = study.neurons, [one for one in test.by_dataset().values() if not _missing(one)]
    for name, why in one_class(both, plan.mode, plan.order, study.seeds[0]).items():
        yield LeftOut("neurons", name, "", f"{why}: no contributions and no test")
    several = "universality needs at least two datasets"
    if len(found := swept(study, test)) < 2:
        yield LeftOut("neurons", "", "", f"{several}, and {_named(found)} can be measured")
    if plan.ablate and len(found := divisible(study, test)) < 2:
        yield LeftOut(
            "ablation",
            "",
            "",
            f"{several}, and the identities of {_named(found)} can be split into halves with "
            "both classes",
        )


def _named(those: Sequence[Dataset]) -> str:
    return f"only {those[0].name!r}" if those else "none"
