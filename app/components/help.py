"""Definitions of what is shown, one sentence each, with sources."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HELP", "Help"]

STUDY = "Li, Sun, Poskitt and Wang 2023, arXiv:2308.04177"


@dataclass(frozen=True)
class Help:
    """A definition and where it comes from."""

    text: str
    source: str


HELP = {
    "auroc": Help(
        "The probability that a random fake scores above a random real image, ties counting one "
        "half; 0.5 is chance, below it the detector is systematically wrong.",
        "Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747",
    ),
    "accuracy": Help(
        "The share of images on the right side of P(fake) = 0.5; it suffers where scores are "
        "shifted although their order is right.",
        STUDY,
    ),
    "ap": Help(
        "Average precision: the mean precision over all fakes found, going down the scores; scores "
        "without information give the share of fakes.",
        "scikit-learn's definition, without interpolation",
    ),
    "eer": Help(
        "Equal error rate: the error at the threshold where as many reals are called fake as fakes "
        "are missed; 0 is perfect and 0.5 is chance.",
        "ISO/IEC 19795-1",
    ),
    "matrix": Help(
        "Every detector on every dataset's test images. Intervals resample whole identities (else "
        "videos), because frames of one video are not independent. Per video: mean P(fake).",
        "Field and Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x",
    ),
    "counts": Help(
        "The test: a unit contributes in a dataset if setting it to its mean takes away more from "
        "fakes' logits than from reals' (labels permuted over identities), and is universal if it "
        "does so in every dataset. The study's count: units among the largest effects of each.",
        "Benjamini and Heller 2008, doi:10.1111/j.1541-0420.2007.00984.x; " + STUDY,
    ),
    "ablation": Help(
        "Units found on one half of the people are set to their means on the other half, and "
        "AUROC is measured again. Only a loss beyond that of random sets with as large weights "
        "and ranges is due to what the units detect.",
        "ours; matched sets by |weight| × range",
    ),
    "units": Help(
        "The effect is the range (max − min) of the mean score while the unit is set to evenly "
        "spaced values over its range in the dataset and all else runs as usual: do(unit = v).",
        STUDY,
    ),
    "effects": Help(
        "Size of the unit's effect in each dataset. The tick is the smallest effect in the "
        "dataset's list, the grey line ends at the largest of all units.",
        STUDY,
    ),
    "doses": Help(
        "Mean score of a dataset's images when the unit is set to a value by intervention, not "
        "when it happens to have it. Values span the unit's range in the dataset.",
        "Pearl 2009, Causality, ch. 3; " + STUDY,
    ),
    "images": Help(
        "Images with the highest and the lowest activation of the unit, at most one frame a video. "
        "This is a correlation: it shows what goes along with the unit, not what it causes.",
        "Zeiler and Fergus 2014, arXiv:1311.2901, for activation-ranked images",
    ),
}
