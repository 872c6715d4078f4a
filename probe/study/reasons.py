"""The models of the parts of a study file that ask why: features, artefacts, responses."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from probe.budget import parse_memory
from probe.embed import METHODS
from probe.errors import ProbeError
from probe.study.values import Part, Positive, known

__all__ = ["NAMED_LAYERS", "ArtifactPlan", "SeparabilityPlan"]

#: Names of layers that every architecture of the study has a module for.
NAMED_LAYERS = ("units", "last_conv")
PICTURES = tuple(METHODS)


def _memory(value: str) -> str:
    try:
        parse_memory(value)
    except ProbeError as error:
        raise ValueError(str(error)) from error
    return value


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
        Whether artefacts are measured.
    caliper : float
        How far matched images may differ, in standard deviations of a covariate.
    responses : bool
        Whether units are related to them.
    doses : bool
        Whether artefacts are turned up one at a time; on the lab only, elsewhere it is ignored.
    videos : int
        Lab videos a dataset to turn them up in.
    """

    run: bool = True
    caliper: Annotated[float, Field(gt=0)] = 0.2
    responses: bool = True
    doses: bool = True
    videos: Positive = 12
