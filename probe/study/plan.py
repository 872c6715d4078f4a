"""The models of a study file: every key, its default, and what it may hold."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from probe.attribution.methods import METHODS as ATTRIBUTIONS
from probe.attribution.trust import CHECKS
from probe.budget import parse_memory
from probe.compute import AUTO, DEVICE_PATTERN, FLOAT32, PRECISIONS
from probe.datasets.subset import ORDERS
from probe.detectors import ARCHITECTURES, find_architecture
from probe.detectors.architectures import TIMM_PREFIX
from probe.embed import METHODS
from probe.errors import ProbeError
from probe.images import KEEPS
from probe.neurons import MEASURES, MODES
from probe.run import slug
from probe.schema import SPLITS, VARIANTS
from probe.study.sources import DatasetEntry, Part, Positive, Seed, known

__all__ = [
    "ArtifactPlan",
    "AttributionPlan",
    "Budget",
    "COMPARED",
    "Compute",
    "DetectorPlan",
    "EvaluationPlan",
    "FigurePlan",
    "NAMED_LAYERS",
    "NeuronPlan",
    "RecordPlan",
    "SeparabilityPlan",
    "Study",
    "Training",
    "Weights",
]

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


def _detector(value: str) -> str:
    return value if value.startswith(TIMM_PREFIX) else known(value, ARCHITECTURES)


def _device(value: str) -> str:
    """Take the name of a device, whether it is here or not: that is seen when the study runs."""
    if not re.fullmatch(DEVICE_PATTERN, value):
        raise ValueError("give auto, cpu, mps, cuda, or cuda:1 for the second of several")
    return value


DetectorName = Annotated[str, AfterValidator(_detector)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Training(Part):
    """How long a variant is trained; the study's lengths where nothing is said.

    Attributes
    ----------
    epochs : int, mapping or None
        For all detectors, or by name with ``other`` for the rest.
    steps, batch_size : int or None
        Batches an epoch (tuned variants only), and images a batch.
    validation : int or None
        Images of each validation dataset that the best epoch is picked by, drawn over classes,
        people and videos; all by default.
    freeze_batchnorm : bool
        Which of the two readings of the study's freezing; see `plan_tuned`.
    """

    epochs: Positive | dict[str, Positive] | None = None
    steps: Positive | None = None
    batch_size: Positive | None = None
    validation: Positive | None = None
    freeze_batchnorm: bool = True

    @model_validator(mode="after")
    def _namesknown(self) -> Training:
        if isinstance(self.epochs, dict):
            for name in self.epochs:
                if not name.startswith(TIMM_PREFIX):
                    known(name, [*ARCHITECTURES, "other"])
        return self

    def epochs_of(self, name: str) -> int | None:
        """Epochs of one architecture, or None for the study's."""
        if isinstance(self.epochs, dict):
            return self.epochs.get(name, self.epochs.get("other"))
        return self.epochs


class Weights(Part):
    """A detector with weights of the user's own.

    Attributes
    ----------
    name : str
        Architecture.
    file : str
        Weights, in any format that `load_detector` reads.
    label : str or None
        What stands after the architecture in tables; the name of the file without its suffix by
        default.
    """

    name: DetectorName
    file: str
    label: Annotated[str, Field(pattern=r"^[\w.-]+$")] | None = None

    @property
    def variant(self) -> str:
        """What stands after the architecture in tables."""
        return self.label or Path(self.file).stem


class DetectorPlan(Part):
    """Which detectors.

    Attributes
    ----------
    names : tuple of str
        Architectures to train, in every variant and with every seed.
    variants : tuple of str
        Of base, shallow, deep.
    input_size : int or None
        Side of the images in pixels; each architecture's own by default.
    source : str or None
        Dataset that they are trained on.
    target : tuple of str
        Datasets mixed in for the variants shallow and deep.
    base, tuned : Training
        Lengths.
    weights : tuple of Weights
        Detectors that are brought.
    """

    names: tuple[DetectorName, ...] = ()
    variants: tuple[Annotated[str, AfterValidator(lambda v: known(v, VARIANTS))], ...] = VARIANTS
    input_size: Positive | None = None
    source: str | None = None
    target: tuple[str, ...] = ()
    base: Training = Training()
    tuned: Training = Training()
    weights: tuple[Weights, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> DetectorPlan:
        if not self.names and not self.weights:
            raise ValueError("give names to train, or weights that are brought")
        if self.names and self.source is None:
            raise ValueError("training needs source, the dataset it is done on")
        tuned = [variant for variant in self.variants if variant != VARIANTS[0]]
        if self.names and tuned and not self.target:
            raise ValueError(f"the variants {', '.join(tuned)} need target, datasets to mix in")
        if self.names and tuned and VARIANTS[0] not in self.variants:
            raise ValueError(f"the variants {', '.join(tuned)} start from base; add it to variants")
        if self.base.steps is not None:
            raise ValueError("steps is for [detectors.tuned]; base passes over all its data")
        return self

    def labels(self, seeds: tuple[int, ...]) -> list[str]:
        """Return the labels of all detectors, in the order of tables: trained, then brought."""
        trained = [
            f"{name}/{variant_of(variant, seed, seeds)}"
            for seed in seeds
            for name in self.names
            for variant in self.variants
        ]
        return trained + [f"{one.name}/{one.variant}" for one in self.weights]


def layer_of(architecture: str, name: str) -> str:
    """Resolve ``units`` and ``last_conv`` to a module path of an architecture."""
    if name not in NAMED_LAYERS:
        return name
    return str(getattr(find_architecture(architecture), name))


def variant_of(variant: str, seed: int, seeds: tuple[int, ...]) -> str:
    """Name a variant; the seed is said of all but the first."""
    return variant if seed == seeds[0] else f"{variant}-seed{seed}"


def heads_of(study: Study) -> list[str]:
    """Return the detectors as they were first trained, with the first seed, or brought."""
    names = study.detectors.names
    tuned = {f"{name}/{variant}" for name in names for variant in VARIANTS[1:]}
    seeded = {label for name in names for label in other_seeds(study, name)}
    return [label for label in study.labels if label not in tuned | seeded]


def other_seeds(study: Study, name: str) -> set[str]:
    """Return the labels of an architecture's trainings with other seeds than the first."""
    return {
        f"{name}/{variant_of(variant, seed, study.seeds)}"
        for variant in VARIANTS
        for seed in study.seeds[1:]
    }


def seeded_bases(study: Study, name: str) -> list[str]:
    """Return the labels of an architecture's first trainings, one a seed."""
    return [f"{name}/{variant_of(VARIANTS[0], seed, study.seeds)}" for seed in study.seeds]


class EvaluationPlan(Part):
    """How detectors are measured, and on which split everything is."""

    split: Annotated[str, AfterValidator(lambda v: known(v, SPLITS))] = "test"
    ci: Share = 0.95
    resamples: Annotated[int, Field(ge=100)] = 1000


class RecordPlan(Part):
    """Which activations are kept: ``units``, ``last_conv`` or module paths; none if empty."""

    layers: tuple[str, ...] = NAMED_LAYERS
    dtype: Literal["float32", "float16"] = "float32"


class NeuronPlan(Part):
    """How neurons are judged.

    Attributes
    ----------
    layer : str
        ``units``, ``last_conv`` or a module path.
    measure, mode, order : str
        As in `neuron_importance`.
    values : int
        Doses a unit.
    top : float
        Share of units kept a dataset.
    untrained : int
        Untrained detectors for the null.
    alpha, correction : float, str
        False discovery rate of the test, and its control: ``bh``, or ``by`` under any dependence.
    ablate : bool
        Whether units that are found on one half of the people are taken out on the other.
    random : int
        Matched random sets that a set is compared with.
    """

    layer: str = NAMED_LAYERS[0]
    measure: Annotated[str, AfterValidator(lambda v: known(v, MEASURES))] = "ace"
    mode: Annotated[str, AfterValidator(lambda v: known(v, MODES))] = "default"
    order: Annotated[str, AfterValidator(lambda v: known(v, ORDERS))] = "drawn"
    values: Annotated[int, Field(ge=2)] = 4
    top: Share = 0.5
    untrained: Positive = 3
    alpha: Share = 0.05
    correction: Literal["bh", "by"] = "bh"
    ablate: bool = True
    random: Positive = 100


class FigurePlan(Part):
    """Which figures are drawn.

    Attributes
    ----------
    matrix, counts, heatmaps, separability, artifacts, attribution : bool
        The zero-shot matrix; the counts of universal units, Grad-CAM and probes, transfer and
        pictures of the first architecture; spectra, effects and methods of artifacts; regions of
        the face that are looked at, and how alike variants look.
    heatmap_layer : str
        Where Grad-CAM looks: ``last_conv``, ``units`` or a module path.
    """

    matrix: bool = True
    counts: bool = True
    heatmaps: bool = True
    separability: bool = True
    artifacts: bool = True
    attribution: bool = True
    heatmap_layer: str = NAMED_LAYERS[1]


class Budget(Part):
    """What the study may use.

    Attributes
    ----------
    images : int or None
        Images a dataset and split, drawn as whole videos, where a dataset does not say so itself;
        all by default.
    """

    images: Positive | None = None


class Compute(Part):
    """What the study is computed on.

    Attributes
    ----------
    device : str
        Where every network runs: "auto" prefers CUDA, then MPS, then the CPU; or "cpu", "cuda",
        "cuda:1", "mps".
    precision : str
        In which networks run forward where how far that takes results from float32 is measured
        and written beside them: evaluation, activations, and neurons up to the tap. All else,
        training too, is in float32.
    n_workers : int or None
        Processes that read and make images; one a core by default.
    """

    device: Annotated[str, AfterValidator(_device)] = AUTO
    precision: Annotated[str, AfterValidator(lambda v: known(v, PRECISIONS))] = FLOAT32
    n_workers: Positive | None = None


class Study(Part):
    """A whole study.

    Attributes
    ----------
    title : str
        For the dashboard.
    out : pathlib.Path
        Run folder.
    seeds : tuple of int
        Each detector is trained once a seed; the first is also that of every other draw.
    datasets : tuple of DatasetEntry
        In the order of tables and figures.
    images : str
        How the run keeps images for whoever looks at it: "link" leaves them where they lie, with
        thumbnails of some in the run; "copy" copies those that are measured into it; "none" shows
        none.
    detectors, evaluation, record, neurons, separability, artifacts, attribution, figures, budget,
    compute
        The stages.
    """

    title: str = "Study"
    out: Path
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    datasets: Annotated[tuple[DatasetEntry, ...], Field(min_length=1)]
    images: Annotated[str, AfterValidator(lambda v: known(v, KEEPS))] = KEEPS[0]
    detectors: DetectorPlan
    evaluation: EvaluationPlan = EvaluationPlan()
    record: RecordPlan = RecordPlan()
    neurons: NeuronPlan = NeuronPlan()
    separability: SeparabilityPlan = SeparabilityPlan()
    artifacts: ArtifactPlan = ArtifactPlan()
    attribution: AttributionPlan = AttributionPlan()
    figures: FigurePlan = FigurePlan()
    budget: Budget = Budget()
    compute: Compute = Compute()

    @model_validator(mode="after")
    def _names_fit(self) -> Study:
        names = self.known_names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two datasets are called {twice[0]!r}; give one another name")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds holds one seed twice")
        slugs = [slug(label) for label in self.labels]
        same = sorted({one for one in slugs if slugs.count(one) > 1})
        if same:
            raise ValueError(
                f"two detectors would be kept as {same[0]!r}; give names once, and weights a "
                "label of their own"
            )
        if all(entry.known_names() for entry in self.datasets):
            for key in ("source", "target"):
                given = getattr(self.detectors, key) or ()
                for name in [given] if isinstance(given, str) else given:
                    try:
                        known(name, names)
                    except ValueError as error:
                        raise ValueError(f"detectors.{key} = {error}") from error
        for name in self._architectures():
            if name.startswith(TIMM_PREFIX) and self.layers & set(NAMED_LAYERS):
                raise ValueError(
                    f"{name} has no layers called {' or '.join(NAMED_LAYERS)}: name module paths "
                    "in record.layers, neurons.layer and figures.heatmap_layer (`probe layers "
                    f"{name}` lists them)"
                )
        return self

    def _architectures(self) -> Iterator[str]:
        yield from self.detectors.names
        yield from (one.name for one in self.detectors.weights)

    @property
    def labels(self) -> list[str]:
        """Labels of all detectors, in the order of tables."""
        return self.detectors.labels(self.seeds)

    @property
    def layers(self) -> set[str]:
        """Layers that are asked for, by whatever part."""
        drawn = {self.figures.heatmap_layer} if self.figures.heatmaps else set()
        return {*self.record.layers, self.neurons.layer} | drawn

    @property
    def known_names(self) -> list[str]:
        """Names of the datasets, without those that only the files tell."""
        return [name for entry in self.datasets for name in entry.known_names() or ()]

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides tables; not of place, title, figures, device and processes."""
        aside: dict[str, Any] = dict.fromkeys(("out", "title", "figures", "images"), True)
        text = self.model_dump_json(exclude=aside | {"compute": {"device", "n_workers"}})
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
