"""Training of detectors: prefetched batches, resumable epochs, early stopping on validation."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning_fabric
import numpy as np
import torch
from lightning_fabric.strategies.single_device import SingleDeviceStrategy
from numpy.typing import NDArray
from torch import Tensor, nn

from probe.compute import to_device
from probe.datasets.dataset import Dataset
from probe.datasets.loader import Images
from probe.datasets.subset import draw
from probe.detectors.architectures import Recipe, find_architecture
from probe.detectors.detector import Detector
from probe.detectors.loading import CARD_FILE, load_detector, save_detector
from probe.errors import DatasetError, ProbeError
from probe.progress import progress_bar
from probe.stats import auroc

__all__ = ["Feeder", "OtherTrainingError", "Stream", "TrainingPlan", "seconds_a_step", "train"]

#: Bytes per dataset up to which decoded images are kept in memory; above, in a temporary file.
CACHE_BYTES = 2 * 1024**3


class Feeder:
    """A dataset as batches of tensors of one size; each image is decoded once, in advance.

    Parameters
    ----------
    dataset : Dataset
        Dataset to read.
    size : int
        Side in pixels of the square that images are resized to.
    """

    def __init__(self, dataset: Dataset, size: int) -> None:
        self.dataset, self.labels = dataset, dataset.labels
        self.images = Images(dataset, size, keep=True, memory=CACHE_BYTES)

    def __len__(self) -> int:
        return len(self.dataset)

    def batches(
        self,
        batch_size: int | Sequence[int],
        device: torch.device,
        order: NDArray[np.int64] | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images, shape (n, 3, size, size) in [0, 1], and labels, shape (n,).

        Parameters
        ----------
        batch_size, order
            As in `Images.batches`.
        device : torch.device
            Device to put the tensors on.
        """
        labels = (self.labels if order is None else self.labels[order]).astype(np.float32)
        for where, pixels in self.images.batches(self.dataset, batch_size, order):
            yield to_device(pixels, device), torch.from_numpy(labels[where]).to(device)


class Stream:
    """Shuffled batches of one feeder, or of several feeders in turn.

    Parameters
    ----------
    feeders : sequence of Feeder
        Sources of the batches; batch k comes from feeder k modulo their number.
    batch_size : int
        Images per batch.
    steps : int or None
        Batches per epoch over all feeders; None for the number of whole batches in the largest
        feeder, times the number of feeders. Images left over in an epoch are not used in it.
    seed : int
        Random seed of the order.
    """

    def __init__(
        self, feeders: Sequence[Feeder], batch_size: int, steps: int | None, seed: int
    ) -> None:
        self.feeders, self.batch_size, self.seed = tuple(feeders), batch_size, seed
        largest = max(len(feeder) for feeder in feeders)
        self._steps = steps or len(feeders) * max(1, largest // batch_size)

    def __len__(self) -> int:
        return self._steps

    def epoch(
        self, epoch: int, device: torch.device, flip: bool, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch; they depend only on the seed and the epoch.

        With `shard` (r, w), the process of rank r among w gets every w-th image of each batch,
        starting from image r. With `flip`, every other batch on average is mirrored.
        """
        rank, world = shard
        mine = len(range(rank, self.batch_size, world))
        batches = []
        for number, feeder in enumerate(self.feeders):
            count = len(range(number, self._steps, len(self.feeders)))
            order = itertools.islice(self._order(number, epoch), count * self.batch_size)
            own = np.fromiter(order, dtype=np.int64).reshape(count, -1)[:, rank::world]
            batches.append(feeder.batches([mine] * count, device, own.ravel()))
        coin = np.random.default_rng((self.seed, epoch, 2))
        for step in range(self._steps):
            images, labels = next(batches[step % len(self.feeders)])
            if flip and coin.random() < 0.5:
                images = images.flip(-1)
            yield images, labels

    def _order(self, number: int, epoch: int) -> Iterator[int]:
        """Yield indices endlessly, one random permutation after another."""
        rng = np.random.default_rng((self.seed, epoch, number, 1))
        while True:
            yield from rng.permutation(len(self.feeders[number])).tolist()


RESUME_FILE = "resume.pt"


class OtherTrainingError(ProbeError):
    """The folder holds a training with another plan, other data or other starting weights."""


@dataclass(frozen=True)
class TrainingPlan:
    """All settings that determine the outcome of a training, apart from data and start weights.

    Attributes
    ----------
    epochs : int
        Number of epochs.
    batch_size : int
        Images per batch.
    recipe : Recipe
        Loss and optimizer settings.
    seed : int
        Random seed of order, flips and dropout.
    steps : int or None
        Batches per epoch; None for one pass over the data.
    trainable : tuple of str or None
        Paths of the modules to train; None for all.
    freeze_batchnorm : bool
        Whether BatchNorm keeps its statistics and affine weights.
    flip : bool
        Whether every other batch, on average, is mirrored; the study used no augmentation.
    patience : int or None
        Number of epochs without a better validation AUROC after which training stops; None to
        never stop early.
    precision : str
        Precision of training in Lightning Fabric, such as "32-true" or "bf16-mixed".
    max_validation : int or None
        Maximum number of images per validation dataset used to select the best epoch, drawn once
        over classes, people and videos; None for all.
    """

    epochs: int
    batch_size: int
    recipe: Recipe
    seed: int = 0
    steps: int | None = None
    trainable: tuple[str, ...] | None = None
    freeze_batchnorm: bool = False
    flip: bool = False
    patience: int | None = None
    precision: str = "32-true"
    max_validation: int | None = None


def train(
    detector: Detector,
    sources: Sequence[Dataset],
    validation: Dataset,
    out: Path,
    plan: TrainingPlan,
    *,
    devices: int | str = 1,
) -> Detector:
    """Train a copy of a detector and keep the weights of the epoch with the best validation AUROC.

    A finished training in `out` with the same plan, data and starting weights is loaded, not
    repeated. An interrupted one resumes at the epoch where it stopped and gives the same weights.

    Parameters
    ----------
    detector : Detector
        Detector to start from; it is not changed. Training runs on its device.
    sources : sequence of Dataset
        Training datasets. Batches alternate between several.
    validation : Dataset
        Validation dataset; selects the best epoch by AUROC (the study used accuracy).
    out : pathlib.Path
        Output folder for weights (safetensors), card and history.
    plan : TrainingPlan
        Settings of the training.
    devices : int or str, default 1
        Number of devices of this kind, as in Lightning Fabric; each batch is divided among them.

    Returns
    -------
    Detector
        The trained copy, on the same device.

    Raises
    ------
    DatasetError
        If training or validation data contain only one class.
    ProbeError
        If `out` holds another training.
    """
    for data in (*sources, validation):
        _require_two_classes(data)
    identity = _identity(detector, sources, validation, plan)
    finished = _finished(out, identity, detector.device)
    if finished is not None:
        return finished
    run = _Run(detector, sources, validation, out, plan, identity, devices)
    return run.complete()


class _Run:
    """A training in progress: its objects, and the state that is saved after each epoch."""

    def __init__(
        self,
        detector: Detector,
        sources: Sequence[Dataset],
        validation: Dataset,
        out: Path,
        plan: TrainingPlan,
        identity: dict[str, Any],
        devices: int | str,
    ) -> None:
        self.plan, self.out, self.identity, self.start = plan, out, identity, detector
        self.fabric = lightning_fabric.Fabric(
            accelerator=detector.device.type,
            devices=_those(detector.device, devices),
            strategy=SingleDeviceStrategy(detector.device) if devices == 1 else "auto",
            precision=plan.precision,  # type: ignore[arg-type]  # Fabric checks the text itself
        )
        self.fabric.launch()
        torch.manual_seed(plan.seed)
        module = _copy(detector)
        _freeze(module, plan)
        optimizer = _optimizer(module, plan)
        # About twice as fast for small convolutions on the CPU.
        module = module.to(memory_format=torch.channels_last)
        self.module, self.optimizer = self.fabric.setup(module, optimizer)
        size = detector.spec.input_size
        self.stream = Stream(
            [Feeder(data, size) for data in sources], plan.batch_size, plan.steps, plan.seed
        )
        self.validation = Feeder(draw(validation, plan.max_validation, plan.seed), size)
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Tensor] = _weights(self.module)
        self.best_auroc = -1.0
        self.best_epoch = -1

    def complete(self) -> Detector:
        """Run the remaining epochs and write the result."""
        self.out.mkdir(parents=True, exist_ok=True)
        first = self._resume()
        name = f"train {self.start.spec.name}/{self.start.spec.variant or 'base'}"
        steps = len(self.stream)
        with progress_bar(name, steps * self.plan.epochs) as advance:
            advance(first * steps)
            for epoch in range(first, self.plan.epochs):
                loss = self._epoch(epoch, advance)
                self._validate(epoch, loss)
                self._save_state(epoch + 1)
                if self._out_of_patience(epoch):
                    break
        return self._finish()

    def _epoch(self, epoch: int, advance: Any) -> float:
        # Seeded by epoch, so that a resumed training is identical to an uninterrupted one.
        torch.manual_seed(self.plan.seed * 1_000_003 + epoch)
        _set_mode(self.module, self.plan)
        total = 0.0
        shard = (self.fabric.global_rank, self.fabric.world_size)
        for images, labels in self.stream.epoch(epoch, self.fabric.device, self.plan.flip, shard):
            self.optimizer.zero_grad(set_to_none=True)
            loss = _loss(self.plan.recipe.loss, self.module(images), labels)
            self.fabric.backward(loss)
            self.optimizer.step()
            total += float(loss.detach())
            advance(1)
        return total / len(self.stream)

    def _validate(self, epoch: int, loss: float) -> None:
        self.module.eval()
        with torch.inference_mode():
            logits = [
                self.module(x).float().cpu()
                for x, _ in self.validation.batches(64, self.fabric.device)
            ]
        score = float(auroc(self.validation.labels, torch.cat(logits).numpy())[0])
        self.history.append({"epoch": epoch, "loss": loss, "val_auroc": score})
        if score > self.best_auroc:
            self.best_auroc, self.best_epoch = score, epoch
            self.best = _weights(self.module)

    def _out_of_patience(self, epoch: int) -> bool:
        patience = self.plan.patience
        return patience is not None and epoch - self.best_epoch >= patience

    def _save_state(self, epoch: int) -> None:
        state = {
            "identity": json.dumps(self.identity, sort_keys=True),
            "epoch": epoch,
            "module": _weights(self.module),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "best_auroc": self.best_auroc,
            "best_epoch": self.best_epoch,
            "history": self.history,
        }
        if self.fabric.is_global_zero:
            partial = self.out / (RESUME_FILE + ".part")
            torch.save(state, partial)
            partial.replace(self.out / RESUME_FILE)

    def _resume(self) -> int:
        file = self.out / RESUME_FILE
        if not file.is_file():
            return 0
        state = torch.load(file, map_location="cpu", weights_only=True)
        if state["identity"] != json.dumps(self.identity, sort_keys=True):
            raise OtherTrainingError(
                f"{str(self.out)!r} holds an interrupted training with another plan or other data. "
                "Choose another folder, or remove this one."
            )
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best, self.best_auroc = state["best"], state["best_auroc"]
        self.best_epoch, self.history = state["best_epoch"], state["history"]
        return int(state["epoch"])

    def _finish(self) -> Detector:
        module = _copy(self.start)
        module.load_state_dict(self.best)
        module.to(self.start.device)
        module.to(memory_format=torch.channels_last)
        result = Detector(module, replace(self.start.spec, origin="trained"))
        if self.fabric.is_global_zero:
            extra = {
                "training": self.identity,
                "metrics": {"val_auroc": self.best_auroc, "best_epoch": self.best_epoch},
                "history": self.history,
                "versions": _versions(),
            }
            save_detector(result, self.out, extra)
            (self.out / RESUME_FILE).unlink(missing_ok=True)
        return result


def _those(device: torch.device, count: int | str) -> int | str | list[int]:
    """Return Fabric's `devices`: the detector's own device if one is requested, else the number."""
    return [device.index] if count == 1 and device.index is not None else count


def seconds_a_step(detector: Detector, plan: TrainingPlan, batch_size: int) -> float:
    """Return the seconds of one training step on random images: the fastest after a first one.

    Parameters
    ----------
    detector : Detector
        Detector to train a copy of, on its device.
    plan : TrainingPlan
        Settings of the training.
    batch_size : int
        Images per step.
    """
    module, size = _copy(detector), detector.spec.input_size
    _freeze(module, plan)
    module.to(detector.device).to(memory_format=torch.channels_last)
    optimizer = _optimizer(module, plan)
    _set_mode(module, plan)
    images = torch.rand(batch_size, 3, size, size, device=detector.device)
    labels = torch.arange(batch_size, device=detector.device) % 2.0
    taken: list[float] = []
    while len(taken) < 2 or (sum(taken[1:]) < 0.5 and len(taken) < 8):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = _loss(plan.recipe.loss, module(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        # Reading the loss waits for the accelerator, as in training.
        float(loss.detach())
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def _optimizer(module: nn.Module, plan: TrainingPlan) -> torch.optim.Optimizer:
    trained = [value for value in module.parameters() if value.requires_grad]
    return torch.optim.Adam(trained, lr=plan.recipe.rate, weight_decay=plan.recipe.weight_decay)


def _copy(detector: Detector) -> nn.Module:
    spec = detector.spec
    module = find_architecture(spec.name).build(
        input_size=spec.input_size,
        **{k: v for k, v in spec.options.items() if k != "pretrained"},
    )
    module.load_state_dict(detector.module.state_dict())
    return module.eval()


def _freeze(module: nn.Module, plan: TrainingPlan) -> None:
    modules = dict(module.named_modules())
    if plan.trainable is not None:
        unknown = [name for name in plan.trainable if name not in modules]
        if unknown:
            raise ProbeError(
                f"Layers {unknown} were given as trainable, but the detector does not have them."
            )
        module.requires_grad_(False)
        for name in plan.trainable:
            modules[name].requires_grad_(True)
    for layer in _batchnorms(module):
        if plan.freeze_batchnorm:
            layer.requires_grad_(False)


def _set_mode(module: nn.Module, plan: TrainingPlan) -> None:
    module.train()
    for layer in _batchnorms(module):
        # As in Keras, a BatchNorm that is not trainable runs in inference mode.
        frozen = plan.freeze_batchnorm or not any(p.requires_grad for p in layer.parameters())
        if frozen:
            layer.eval()


def _batchnorms(module: nn.Module) -> Iterator[nn.Module]:
    return (m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))


def _loss(kind: str, logits: Tensor, labels: Tensor) -> Tensor:
    if kind == "mse":
        return nn.functional.mse_loss(torch.sigmoid(logits), labels)
    return nn.functional.binary_cross_entropy_with_logits(logits, labels)


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().cpu().clone() for k, v in module.state_dict().items()}


def _require_two_classes(data: Dataset) -> None:
    present = np.unique(data.labels)
    if len(present) < 2:
        only = "fake" if present[0] else "real"
        raise DatasetError(
            f"Dataset {data.name!r} holds {only} images only ({len(data)}). Training and "
            "validation need both classes; choose another split or dataset."
        )


def _identity(
    detector: Detector, sources: Sequence[Dataset], validation: Dataset, plan: TrainingPlan
) -> dict[str, Any]:
    planned = asdict(plan)
    if plan.max_validation is None:
        del planned["max_validation"]  # absent in trainings from before this option existed
    return {
        "start": detector.fingerprint,
        "variant": detector.spec.variant,
        "sources": [{"name": one.name, "fingerprint": one.fingerprint} for one in sources],
        "validation": {"name": validation.name, "fingerprint": validation.fingerprint},
        "plan": json.loads(json.dumps(planned)),
    }


def _finished(out: Path, identity: dict[str, Any], device: torch.device) -> Detector | None:
    file = out / CARD_FILE
    if not file.is_file():
        return None
    found = json.loads(file.read_text(encoding="utf-8")).get("training")
    if found != identity:
        keys = [key for key in identity if not found or found.get(key) != identity[key]]
        raise OtherTrainingError(
            f"{str(out)!r} holds a finished training that differs in {', '.join(keys)}. Choose "
            "another folder, or remove this one to train again."
        )
    return load_detector(out, device=device)


def _versions() -> dict[str, str]:
    names = ("deepfake-probe", "torch", "timm", "lightning-fabric", "numpy")
    return {name: importlib.metadata.version(name) for name in names}
