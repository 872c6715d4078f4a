"""Training: batches ahead of the device, epochs that resume, early stopping on validation."""

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

#: Decoded images are held in memory up to this many bytes a dataset; beyond, in a temporary file.
CACHE_BYTES = 2 * 1024**3


class Feeder:
    """A dataset as tensors of one size; each image is decoded once, ahead of its use.

    Parameters
    ----------
    dataset : Dataset
        Where images come from.
    size : int
        Side of the square that they are resized to.
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
        """Iterate over images, shape (n, 3, size, size) in [0, 1], and labels, shape (n,).

        Parameters
        ----------
        batch_size, order
            As in `Images.batches`.
        device : torch.device
            Where to.
        """
        labels = (self.labels if order is None else self.labels[order]).astype(np.float32)
        for where, pixels in self.images.batches(self.dataset, batch_size, order):
            yield to_device(pixels, device), torch.from_numpy(labels[where]).to(device)


class Stream:
    """Shuffled batches of one feeder, or of several in turn.

    Parameters
    ----------
    feeders : sequence of Feeder
        Batch k comes from feeder k modulo their number.
    batch_size : int
        Images a batch.
    steps : int or None
        Batches an epoch; None for as many whole batches as the largest feeder fills. What an
        epoch's random order has left over waits for another epoch's.
    seed : int
        Seed of the order.
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
        """Iterate over the batches of an epoch; the same for the same seed and epoch.

        Of each batch, a process of rank r among w gets every w-th image from the r-th on.
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
        """Yield indices without end: one random order after another."""
        rng = np.random.default_rng((self.seed, epoch, number, 1))
        while True:
            yield from rng.permutation(len(self.feeders[number])).tolist()


RESUME_FILE = "resume.pt"


class OtherTrainingError(ProbeError):
    """A folder that holds a training of another plan, other data or other starting weights."""


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that decides the outcome of a training, beside data and starting weights.

    Attributes
    ----------
    epochs : int
        Passes over the stream of batches.
    batch_size : int
        Images a batch.
    recipe : Recipe
        Loss and optimizer.
    seed : int
        Seed of order, flips and dropout.
    steps : int or None
        Batches an epoch; None for one pass over the data.
    trainable : tuple of str or None
        Module paths that are trained; None for all.
    freeze_batchnorm : bool
        Whether BatchNorm keeps its statistics and its affine weights.
    flip : bool
        Whether every other batch, on average, is mirrored; the study used no augmentation.
    patience : int or None
        Stop after this many epochs without a better validation AUROC.
    precision : str
        Lightning Fabric's precision, such as "32-true" or "bf16-mixed"; of training alone.
    max_validation : int or None
        Images of each validation dataset that the best epoch is picked by, drawn once by the seed
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
    """Train a detector where it is, and keep the weights of the best validation epoch.

    A finished training of the same plan, data and starting weights in `out` is loaded instead of
    repeated; an interrupted one goes on at the epoch where it stopped, to the same weights.

    Parameters
    ----------
    detector : Detector
        Where to start; left as it is. The training runs on its device.
    sources : sequence of Dataset
        Training data. Of several, batches alternate.
    validation : Dataset
        Picks the best epoch by AUROC (the study: by accuracy).
    out : pathlib.Path
        Folder for weights (safetensors), card and history.
    plan : TrainingPlan
        How.
    devices : int or str, default 1
        As in Lightning Fabric: how many of that kind; each step's batch is divided among them.

    Returns
    -------
    Detector
        The trained copy, on the same device.

    Raises
    ------
    DatasetError
        If training or validation data hold one class only.
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
    """One training in progress: the live objects and the state that a kill must not lose."""

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
        """Run the epochs that are left and write the result."""
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
        # Seeded by epoch, so that a resumed training draws what an undisturbed one draws.
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
                f"{str(self.out)!r} holds an interrupted training of another plan or other data. "
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
    """Name the devices as Fabric does: the detector's own where one is asked for."""
    return [device.index] if count == 1 and device.index is not None else count


def seconds_a_step(detector: Detector, plan: TrainingPlan, batch_size: int) -> float:
    """Time one step of a training on random images, after one that warms up.

    Parameters
    ----------
    detector : Detector
        What would be trained, where it is; left as it is.
    plan : TrainingPlan
        What is trained of it, and how.
    batch_size : int
        Images of the step.
    """
    module, size = _copy(detector), detector.spec.input_size
    _freeze(module, plan)
    module.to(detector.device).to(memory_format=torch.channels_last)
    optimizer = _optimizer(module, plan)
    _set_mode(module, plan)
    images = torch.rand(batch_size, 3, size, size, device=detector.device)
    labels = torch.arange(batch_size, device=detector.device) % 2.0
    for _ in range(2):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = _loss(plan.recipe.loss, module(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        # Waits for an accelerator, as the training does.
        float(loss.detach())
    return time.perf_counter() - start


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
                f"Layers {unknown} were to be trained, but the detector has none such."
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
        # Keras runs a BatchNorm that is not trainable in inference mode; so does this.
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
            f"Dataset {data.name!r} holds {only} images only ({len(data)}). Training and its "
            "validation need both classes; choose another split or dataset."
        )


def _identity(
    detector: Detector, sources: Sequence[Dataset], validation: Dataset, plan: TrainingPlan
) -> dict[str, Any]:
    planned = asdict(plan)
    if plan.max_validation is None:
        del planned["max_validation"]  # as trainings before there was a choice
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
