"""The models of the parts of a study file that ask why: features, artifacts, heatmaps."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from probe.attribution.methods import METHODS as ATTRIBUTIONS
from probe.attribution.trust import CHECKS
from probe.budget import parse_memory
from probe.embed import METHODS
from probe.errors import ProbeError
from probe.study.values import Part, Positive, known

__all__ = ["COMPARED", "NAMED_LAYERS", "ArtifactPlan", "AttributionPlan", "SeparabilityPlan"]

#: Names of layers that every architecture of the study has a module for.
NAMED_LAYERS = ("units", "last_conv")
PICTURES = tuple(METHODS)
#: The method by which variants are compared, and regions are found: the study's.
COMPARED = "gradcam"
TRUSTED = (
    "mask_auroc",
    "pointing",
    "mask_mass",
    "deletion_blur",
    "insertion_blur",
    "completeness",
    "mprt_spearman",
)


def _memory(value: str) -> str:
    try:
        parse_memory(value)
    except ProbeError as error:
        raise ValueError(str(error)) from error
    return value


def _with_compared(value: tuple[str, ...]) -> tuple[str, ...]:
    """Put Grad-CAM first: variants are compared by it."""
    return tuple(dict.fromkeys((COMPARED, *value)))


class SeparabilityPlan(Part):
    """How the features of recorded layers are judged.

    Attributes
    ----------
    run : bool
        Whether they are.
    memory : str
        What may be used, such as "4G"; samples are thinned to it.
    controls : int
        Control tasks.
    pictures : tuple of str
        Of ``pca``, ``umap``, ``tsne``; none if empty.
    picture_layers : tuple of str
        Which of the recorded layers are drawn.
    """

    run: bool = True
    memory: Annotated[str, AfterValidator(_memory)] = "4G"
    controls: Positive = 199
    pictures: tuple[Annotated[str, AfterValidator(lambda v: known(v, PICTURES))], ...] = PICTURES
    picture_layers: tuple[str, ...] = NAMED_LAYERS[:1]


class ArtifactPlan(Part):
    """How images are measured, and what units are asked.

    Attributes
    ----------
    run : bool
        Whether artifacts are measured.
    caliper : float
        How far matched images may differ, in standard deviations of a covariate.
    responses : bool
        Whether units are related to them.
    doses : bool
        Whether artifacts are turned up one at a time; on the lab only, elsewhere it is ignored.
    videos : int
        Lab videos a dataset to turn them up in.
    """

    run: bool = True
    caliper: Annotated[float, Field(gt=0)] = 0.2
    responses: bool = True
    doses: bool = True
    videos: Positive = 12


class AttributionPlan(Part):
    """What is explained by heatmaps, and how they are checked.

    Attributes
    ----------
    run : bool
        Whether anything is.
    methods : tuple of str
        For detectors as they were first trained or brought; Grad-CAM, by which variants are
        compared, for all.
    images : int
        Fakes a dataset, of as many people as can be; with the real images they were made of. Maps
        of these are kept and checked.
    similarity_images : int
        Fakes a dataset on which Grad-CAM of variants is compared; of nothing else.
    checks : tuple of str
        How maps are checked.
    random : int
        Detectors of random weights on which checks of masks are repeated.
    layer : str
        Whose maps Grad-CAM weights: ``last_conv``, ``units``, a module path, or "" for the last
        that is a map.
    """

    run: bool = True
    methods: Annotated[
        tuple[Annotated[str, AfterValidator(lambda v: known(v, tuple(ATTRIBUTIONS)))], ...],
        AfterValidator(_with_compared),
    ] = (COMPARED, "feature_ablation")
    images: Positive = 5
    similarity_images: Positive = 50
    checks: Annotated[
        tuple[Annotated[str, AfterValidator(lambda v: known(v, tuple(CHECKS)))], ...],
        Field(min_length=1),
    ] = TRUSTED
    random: Positive = 3
    layer: str = ""
