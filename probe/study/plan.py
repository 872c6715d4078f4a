"""Data model of a study file: every key, its default, and its allowed values."""

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
from probe.errors import ProbeError
from probe.images import KEEPS
from probe.neurons import MEASURES, MODES
from probe.run import slug
from probe.schema import SPLITS, VARIANTS
from probe.separability import METHODS
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

#: Layer names that every registered architecture resolves to a module.
NAMED_LAYERS = ("units", "last_conv")
PICTURES = tuple(METHODS)
#: Attribution method for the comparison of variants and for region attention, as in the study.
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
    """Put Grad-CAM first, since variants are compared by it."""
    return tuple(dict.fromkeys((COMPARED, *value)))


class SeparabilityPlan(Part):
    """Settings of separability and embeddings of recorded layers.

    Attributes
    ----------
    run : bool
        Whether separability is measured.
    memory : str
        Maximum memory, such as "4G"; samples are subsampled to fit.
    controls : int
        Number of control tasks.
    pictures : tuple of str
        Embedding methods: ``pca``, ``umap``, ``tsne``; empty for none.
    picture_layers : tuple of str
        Recorded layers to embed.
    """

    run: bool = True
    memory: Annotated[str, AfterValidator(_memory)] = "4G"
    controls: Positive = 199
    pictures: tuple[Annotated[str, AfterValidator(lambda v: known(v, PICTURES))], ...] = PICTURES
    picture_layers: tuple[str, ...] = NAMED_LAYERS[:1]


class ArtifactPlan(Part):
    """Settings of image measurements and of unit responses.

    Attributes
    ----------
    run : bool
        Whether artifacts are measured on images.
    caliper : float
        Maximum difference of matched images, in standard deviations of a covariate.
    responses : bool
        Whether units are correlated with image measurements.
    doses : bool
        Whether dose responses are measured, one artifact at a time; lab only, else ignored.
    videos : int
        Lab videos per dataset for dose responses.
    """

    run: bool = True
    caliper: Annotated[float, Field(gt=0)] = 0.2
    responses: bool = True
    doses: bool = True
    videos: Positive = 12


class AttributionPlan(Part):
    """Settings of attribution maps and their reliability checks.

    Attributes
    ----------
    run : bool
        Whether maps are computed.
    methods : tuple of str
        Attribution methods for base and pretrained detectors. Grad-CAM is always included, and
        computed for all detectors, since variants are compared by it.
    images : int
        Fakes per dataset, spread over identities, with the real images they were made from. Maps of
        these images are kept and checked.
    similarity_images : int
        Fakes per dataset on which Grad-CAM of variants is compared; used for nothing else.
    checks : tuple of str
        Reliability checks of the maps.
    random : int
        Number of detectors with random weights on which mask checks are repeated.
    layer : str
        Layer whose activation maps Grad-CAM weights: ``last_conv``, ``units``, a module path, or ""
        for the last layer with activation maps.
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
    """Validate the name of a device; whether it is available is checked when the study runs."""
    if not re.fullmatch(DEVICE_PATTERN, value):
        raise ValueError("give auto, cpu, mps, cuda, or cuda:1 for the second of several")
    return value


DetectorName = Annotated[str, AfterValidator(_detector)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Training(Part):
    """Length of the training of a variant; None for the values of arXiv:2308.04177.

    Attributes
    ----------
    epochs : int, mapping or None
        Epochs of all detectors, or by name, with ``other`` for the rest.
    steps, batch_size : int or None
        Batches per epoch (tuned variants only), and images per batch.
    validation : int or None
        Maximum images of each validation dataset for choosing the best epoch, spread over classes,
        identities and videos; all by default.
    freeze_batchnorm : bool
        Whether batch normalization stays frozen in fine-tuning (as the study intends), or not (as
        its released code does); see `plan_tuned`.
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
        """Return the epochs of an architecture, or None for the default."""
        if isinstance(self.epochs, dict):
            return self.epochs.get(name, self.epochs.get("other"))
        return self.epochs


class Weights(Part):
    """A pretrained detector, whose weights the user provides.

    Attributes
    ----------
    name : str
        Architecture.
    file : str
        File of the weights, in any format that `load_detector` reads.
    label : str or None
        Label after the architecture in tables; the stem of the file name by default.
    """

    name: DetectorName
    file: str
    label: Annotated[str, Field(pattern=r"^[\w.-]+$")] | None = None

    @property
    def variant(self) -> str:
        """Label after the architecture in tables."""
        return self.label or Path(self.file).stem


class DetectorPlan(Part):
    """Detectors of a study.

    Attributes
    ----------
    names : tuple of str
        Architectures to train, in every variant and with every seed.
    variants : tuple of str
        Variants to train: base, shallow, deep.
    input_size : int or None
        Input side in pixels; each architecture's own by default.
    source : str or None
        Dataset that detectors are trained on.
    target : tuple of str
        Datasets mixed in when fine-tuning the variants shallow and deep.
    base, tuned : Training
        Training lengths of base and of fine-tuned variants.
    weights : tuple of Weights
        Pretrained detectors.
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
            raise ValueError("give names of detectors to train, or weights of pretrained ones")
        if self.names and self.source is None:
            raise ValueError("training needs source, the dataset to train on")
        tuned = [variant for variant in self.variants if variant != VARIANTS[0]]
        if self.names and tuned and not self.target:
            raise ValueError(f"the variants {', '.join(tuned)} need target, datasets to mix in")
        if self.names and tuned and VARIANTS[0] not in self.variants:
            raise ValueError(f"the variants {', '.join(tuned)} start from base; add it to variants")
        if self.base.steps is not None:
            raise ValueError("steps is for [detectors.tuned]; base uses all data in every epoch")
        return self

    def labels(self, seeds: tuple[int, ...]) -> list[str]:
        """Return the labels of all detectors in the order of tables: trained, then pretrained."""
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
    """Return the label of a variant, with its seed unless that is the study's first."""
    return variant if seed == seeds[0] else f"{variant}-seed{seed}"


def heads_of(study: Study) -> list[str]:
    """Return the labels of base detectors with the first seed, and of pretrained detectors."""
    names = study.detectors.names
    tuned = {f"{name}/{variant}" for name in names for variant in VARIANTS[1:]}
    seeded = {label for name in names for label in other_seeds(study, name)}
    return [label for label in study.labels if label not in tuned | seeded]


def other_seeds(study: Study, name: str) -> set[str]:
    """Return the labels of an architecture's detectors with seeds other than the first."""
    return {
        f"{name}/{variant_of(variant, seed, study.seeds)}"
        for variant in VARIANTS
        for seed in study.seeds[1:]
    }


def seeded_bases(study: Study, name: str) -> list[str]:
    """Return the labels of an architecture's base detectors, one per seed."""
    return [f"{name}/{variant_of(VARIANTS[0], seed, study.seeds)}" for seed in study.seeds]


class EvaluationPlan(Part):
    """Settings of the evaluation; `split` is the split on which every stage measures."""

    split: Annotated[str, AfterValidator(lambda v: known(v, SPLITS))] = "test"
    ci: Share = 0.95
    resamples: Annotated[int, Field(ge=100)] = 1000


class RecordPlan(Part):
    """Layers to record: ``units``, ``last_conv`` or module paths; empty for none."""

    layers: tuple[str, ...] = NAMED_LAYERS
    dtype: Literal["float32", "float16"] = "float32"


class NeuronPlan(Part):
    """Settings of neuron importance, universality and ablation.

    Attributes
    ----------
    layer : str
        Layer of the units: ``units``, ``last_conv`` or a module path.
    measure, mode, order : str
        Importance measure, mode and order of images, as in `neuron_importance`.
    values : int
        Number of values (doses) that each unit is set to.
    top : float
        Fraction of units in the top list of each dataset, between 0 and 1.
    untrained : int
        Number of untrained detectors for the null distribution.
    alpha, correction : float, str
        False discovery rate of the test, and its procedure: ``bh`` (Benjamini-Hochberg) or ``by``
        (Benjamini-Yekutieli, valid under any dependence).
    ablate : bool
        Whether units found on one half of the identities are ablated on the other half.
    random : int
        Number of matched random sets that a set is compared with.
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
    """Figures to draw.

    Attributes
    ----------
    matrix, counts, heatmaps, separability, artifacts, attribution : bool
        Whether to draw the zero-shot matrix; counts of universal units; Grad-CAM heatmaps; probes,
        transfer and embeddings; spectra, effects and methods of artifacts; region attention and
        similarity of the maps of variants.
    heatmap_layer : str
        Layer of Grad-CAM in heatmaps: ``last_conv``, ``units`` or a module path.
    """

    matrix: bool = True
    counts: bool = True
    heatmaps: bool = True
    separability: bool = True
    artifacts: bool = True
    attribution: bool = True
    heatmap_layer: str = NAMED_LAYERS[1]


class Budget(Part):
    """Limits of the study.

    Attributes
    ----------
    images : int or None
        Maximum images per dataset and split, drawn as whole videos, for datasets without their own
        limit; all by default.
    """

    images: Positive | None = None


class Compute(Part):
    """Device, precision and processes.

    Attributes
    ----------
    device : str
        Device that networks run on: "auto" prefers CUDA, then MPS, then the CPU; or "cpu", "cuda",
        "cuda:1", "mps".
    precision : str
        Precision of forward passes in evaluation, activations, and neurons up to the tap. The
        deviation from float32 is measured and stored with the results. Everything else, including
        training, runs in float32.
    n_workers : int or None
        Number of processes that read and make images; one per core by default.
    """

    device: Annotated[str, AfterValidator(_device)] = AUTO
    precision: Annotated[str, AfterValidator(lambda v: known(v, PRECISIONS))] = FLOAT32
    n_workers: Positive | None = None


class Study(Part):
    """A study: data, detectors and the settings of all stages.

    Attributes
    ----------
    title : str
        Title in dashboard and report.
    out : pathlib.Path
        Run folder.
    seeds : tuple of int
        Random seeds: each detector is trained once per seed; the first seed is also used for
        everything else.
    datasets : tuple of DatasetEntry
        Sources of images, in the order of tables and figures.
    images : str
        How the run keeps images for the dashboard: "link" leaves them in place and keeps thumbnails
        of some; "copy" copies the images of the measured split into the run; "none" shows none.
    detectors, evaluation, record, neurons, separability, artifacts, attribution, figures, budget,
    compute
        Settings of the stages.
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
            raise ValueError(f"two datasets are named {twice[0]!r}; give one another name")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds contains a seed twice")
        slugs = [slug(label) for label in self.labels]
        same = sorted({one for one in slugs if slugs.count(one) > 1})
        if same:
            raise ValueError(
                f"two detectors would have the name {same[0]!r}; give names once, and weights "
                "different labels"
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
                    f"{name} has no layers called {' or '.join(NAMED_LAYERS)}: give module paths "
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
        """Layers that any stage uses."""
        drawn = {self.figures.heatmap_layer} if self.figures.heatmaps else set()
        return {*self.record.layers, self.neurons.layer} | drawn

    @property
    def known_names(self) -> list[str]:
        """Names of the datasets that are known without opening files."""
        return [name for entry in self.datasets for name in entry.known_names() or ()]

    @property
    def fingerprint(self) -> str:
        """Hash of all settings that affect tables: all but out, title, images, figures, device."""
        aside: dict[str, Any] = dict.fromkeys(("out", "title", "figures", "images"), True)
        text = self.model_dump_json(exclude=aside | {"compute": {"device", "n_workers"}})
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
