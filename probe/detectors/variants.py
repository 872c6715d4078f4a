"""The study's variants: base training, and fine-tuning of the last layers or of all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from probe.datasets.dataset import Dataset
from probe.detectors.architectures import find_architecture
from probe.detectors.detector import Detector
from probe.detectors.loading import load_detector
from probe.detectors.training import TrainingPlan, train
from probe.errors import ProbeError
from probe.schema import VARIANTS

__all__ = ["plan_base", "plan_tuned", "train_base", "train_tuned", "train_variant"]

#: Settings of the study: epochs and batch size; epochs, batch size and steps per epoch.
STUDY_BASE = (100, 32)
STUDY_TUNED = (50, 64, 62)


def plan_base(
    name: str,
    *,
    epochs: int = STUDY_BASE[0],
    batch_size: int = STUDY_BASE[1],
    seed: int = 0,
    max_validation: int | None = None,
) -> TrainingPlan:
    """Return the plan for variant `base`, by default as in the study; see `TrainingPlan`.

    Examples
    --------
    >>> import probe
    >>> probe.plan_base("meso4", epochs=2).epochs
    2
    """
    recipe = find_architecture(name).recipe
    return TrainingPlan(epochs, batch_size, recipe, seed, max_validation=max_validation)


def plan_tuned(
    name: str,
    variant: str,
    *,
    epochs: int = STUDY_TUNED[0],
    batch_size: int = STUDY_TUNED[1],
    steps: int = STUDY_TUNED[2],
    seed: int = 0,
    freeze_batchnorm: bool = True,
    max_validation: int | None = None,
) -> TrainingPlan:
    """Return the plan for fine-tuning variant `shallow` (last layers) or `deep` (all layers).

    Parameters
    ----------
    name : str
        Architecture.
    variant : {"shallow", "deep"}
        Layers to fine-tune: the last ones, or all.
    epochs, batch_size, steps : int
        Number of epochs, images per batch, and batches per epoch; as in the study by default.
    seed : int, default 0
        Random seed of order and dropout.
    freeze_batchnorm : bool, default True
        Whether BatchNorm stays frozen, also inside the trained layers. True is the intention of
        the study; False is the effect of its released code, in which the freezing does nothing.
    max_validation : int, optional
        As in `TrainingPlan`; all by default.

    Raises
    ------
    ProbeError
        If the variant is not one of the two.

    Examples
    --------
    >>> import probe
    >>> probe.plan_tuned("meso4", "shallow", epochs=2).batch_size
    64
    """
    if variant not in VARIANTS[1:]:
        raise ProbeError(
            f"Variant {variant!r} was given; fine-tuning gives {', '.join(VARIANTS[1:])}, and "
            "plain training gives base. Give one of the former."
        )
    architecture = find_architecture(name)
    last = architecture.last_layers if variant == "shallow" else None
    return TrainingPlan(
        epochs,
        batch_size,
        architecture.tuned_recipe,
        seed,
        steps,
        last,
        freeze_batchnorm,
        max_validation=max_validation,
    )


def train_base(
    name: str,
    source: Dataset,
    out: str | Path,
    *,
    input_size: int | None = None,
    plan: TrainingPlan | None = None,
    device: str | torch.device = "cpu",
) -> Detector:
    """Train variant `base` from random weights on the train split of one dataset.

    Parameters
    ----------
    name : str
        Architecture, or ``timm:<model>``.
    source : Dataset
        Training dataset, with splits train and val.
    out : path
        Output folder.
    input_size : int, optional
        Side of the images in pixels; the architecture's default if omitted.
    plan : TrainingPlan, optional
        Settings of the training; as in the study by default.
    device : str or torch.device, default "cpu"
        Device to train on; the result stays on it.

    Examples
    --------
    >>> import probe
    >>> source = probe.open_dataset("crops").select(dataset="deepfakes")
    >>> plan = probe.plan_base("meso4", epochs=1, batch_size=8)
    >>> probe.train_base("meso4", source, "models/base", input_size=64, plan=plan)
    <Detector meso4/base: 64 × 64 pixels, 12,617 weights, trained>
    """
    plan = plan or plan_base(name)
    start = load_detector(name, input_size=input_size, seed=plan.seed, device=device)
    start = Detector(start.module, replace(start.spec, variant="base", notes=_notes(source)))
    return train(start, [source.select(split="train")], source.select(split="val"), Path(out), plan)


def train_tuned(
    base: Detector,
    source: Dataset,
    target: Dataset,
    *,
    variant: str,
    out: str | Path,
    plan: TrainingPlan | None = None,
) -> Detector:
    """Fine-tune a base detector with batches that alternate between two datasets.

    Parameters
    ----------
    base : Detector
        Detector to start from; training runs on its device.
    source, target : Dataset
        Dataset that the base was trained on, and the unseen dataset mixed in; both with splits
        train and val. The best epoch is selected on the target's val split.
    variant : {"shallow", "deep"}
        Layers to fine-tune: the last ones, or all.
    out : path
        Output folder.
    plan : TrainingPlan, optional
        Settings of the training; as in the study by default.

    Examples
    --------
    >>> import probe
    >>> parts = probe.open_dataset("crops").by_dataset()
    >>> source, target = parts["deepfakes"], parts["faceswap"]
    >>> base = probe.load_detector("meso4", input_size=64)
    >>> plan = probe.plan_tuned("meso4", "shallow", epochs=1, steps=2, batch_size=8)
    >>> tuned = {"variant": "shallow", "out": "models/shallow", "plan": plan}
    >>> probe.train_tuned(base, source, target, **tuned)
    <Detector meso4/shallow: 64 × 64 pixels, 12,617 weights, trained>
    """
    plan = plan or plan_tuned(base.spec.name, variant)
    spec = replace(base.spec, variant=variant, notes=_notes(source, target))
    train_sets = [source.select(split="train"), target.select(split="train")]
    return train(
        Detector(base.module, spec), train_sets, target.select(split="val"), Path(out), plan
    )


def require_tuned(variant: str, base: object, target: object) -> None:
    """Raise `ProbeError` if a fine-tuned variant lacks its base detector or target dataset."""
    if variant != VARIANTS[0] and (base is None or target is None):
        raise ProbeError(
            f"Variant {variant!r} fine-tunes a trained base on a second dataset. Give both: the "
            "folder of the base and the target dataset (--base, --target)."
        )


def train_variant(
    name: str,
    variant: str,
    source: Dataset,
    out: str | Path,
    *,
    base: Path | None = None,
    target: Dataset | None = None,
    input_size: int | None = None,
    device: str | torch.device = "cpu",
    **plan: int | None,
) -> Detector:
    """Train any of the three variants; this is what `probe train` runs.

    Parameters
    ----------
    name : str
        Architecture, or ``timm:<model>``.
    variant : {"base", "shallow", "deep"}
        Variant to train: from random weights, or fine-tuned in the last layers or in all.
    source : Dataset
        Dataset that the base is trained on.
    out : path
        Output folder.
    base : pathlib.Path, optional
        Folder of the trained base; required for fine-tuning.
    target : Dataset, optional
        Dataset mixed in; required for fine-tuning.
    input_size : int, optional
        Side of the images in pixels, for `base`; fine-tuning keeps that of the base.
    device : str or torch.device, default "cpu"
        Device to train on; the result stays on it.
    **plan : int, optional
        ``epochs``, ``batch_size``, ``seed``; as in the study where None.

    Raises
    ------
    ProbeError
        If fine-tuning lacks its base or target, or the base is of another architecture.
    """
    given: dict[str, Any] = {key: value for key, value in plan.items() if value is not None}
    if variant == "base":
        planned = plan_base(name, **given)
        return train_base(name, source, out, input_size=input_size, plan=planned, device=device)
    require_tuned(variant, base, target)
    assert base is not None and target is not None
    start = load_detector(base, device=device)
    if start.spec.name != name:
        raise ProbeError(
            f"The base in {str(base)!r} is {start.spec.name}, not {name}. Name the same "
            "architecture, or give another base."
        )
    return train_tuned(
        start, source, target, variant=variant, out=out, plan=plan_tuned(name, variant, **given)
    )


def _notes(*datasets: Dataset) -> dict[str, object]:
    return {"trained_on": [_note(one) for one in datasets]}


def _note(data: Dataset) -> dict[str, object]:
    """Return the training data for the spec; crop rules by dataset where they differ."""
    crops = {name: part.card.get("crop") for name, part in data.by_dataset().items()}
    rules = list(crops.values())
    same = all(rule == rules[0] for rule in rules)
    return {"name": data.name, "datasets": list(crops), "crop": rules[0] if same else crops}
