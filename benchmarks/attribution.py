"""Heatmaps: ours from files to a file, bare passes, and pytorch-grad-cam; and the memory of paths.

Bare passes are a forward pass and a backward pass to the image, of images that lie in memory as
floats: less work than any heatmap, but for the part of the backward pass that Grad-CAM spares.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from captum.attr import IntegratedGradients
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks._resident import watched
from benchmarks.sweep import one_thread
from probe.attribution import attribute
from probe.datasets.dataset import Dataset, Samples, write_native
from probe.detectors import Detector, load_detector

DETECTOR, LAYER = "efficientnet_b0", "conv_head"
BATCH = 32
STEPS = 50
#: Rows of one timed portion; ours and the peers take turns, so that a busy moment hits all.
PORTION = 100


@dataclass(frozen=True)
class Speed:
    """Seconds for heatmaps of the same images.

    Attributes
    ----------
    images : int
        How many.
    bare, ours, peer : float
        Seconds of bare passes, of `attribute` from files to a file, and of pytorch-grad-cam from
        arrays to arrays.
    difference : float
        Largest difference between our map and the peer's, once ours is scaled as theirs.
    """

    images: int
    bare: float
    ours: float
    peer: float
    difference: float

    @property
    def ratio(self) -> float:
        """Speed of ours over that of bare passes."""
        return self.bare / self.ours


@dataclass(frozen=True)
class Memory:
    """Peak bytes of integrated gradients above those of a process that holds detector and images.

    Attributes
    ----------
    what : str
        Whose.
    asked : float
        Budget; NaN where none can be given.
    images : int
        How many were explained.
    taken : float
        Bytes.
    seconds : float
        An image.
    """

    what: str
    asked: float
    images: int
    taken: float
    seconds: float


def run(tiny: bool) -> None:
    """Measure speed and memory, and print ratios."""
    if tiny:
        show(measure_speed(4, 64), [measure_memory(ours, "ours", 64, 1, 256, apart=False)])
        return
    speed = measure_speed(1000, 256)
    rows = [
        measure_memory(ours, "ours", 256, 4, 1024),
        measure_memory(ours, "ours", 256, 4, 4096),
        measure_memory(captum_default, "captum, default", 256, 1, None),
    ]
    show(speed, rows)


def show(speed: Speed, rows: list[Memory]) -> None:
    """Print both tables."""
    table = Table(title=f"Grad-CAM of {DETECTOR}, {speed.images} images")
    for heading in ("", "seconds", "ratio of speeds"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, seconds in (
        ("bare forward + backward", speed.bare),
        ("ours, files to file", speed.ours),
        ("pytorch-grad-cam, arrays to arrays", speed.peer),
    ):
        table.add_row(name, f"{seconds:.1f}", f"{speed.bare / seconds:.2f}")
    console = Console(width=110)
    console.print(table)
    console.print(f"largest difference of a scaled map from the peer's: {speed.difference:.1e}")
    table = Table(title=f"integrated gradients of {DETECTOR}, {STEPS} steps")
    for heading in ("", "images", "asked", "taken", "seconds an image"):
        table.add_column(heading, justify="right" if heading else "left")
    for row in rows:
        asked = f"{row.asked / 1e6:,.0f} MB" if np.isfinite(row.asked) else "–"
        table.add_row(
            row.what, str(row.images), asked, f"{row.taken / 1e6:,.0f} MB", f"{row.seconds:.1f}"
        )
    console.print(table)


def measure_speed(count: int, size: int) -> Speed:
    """Time all three on the same images, in turns; ours has to give the peer's maps."""
    detector = load_detector(DETECTOR, input_size=size)
    calibrate(detector, size)
    spent = {"bare": 0.0, "ours": 0.0, "peer": 0.0}
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(portions(Path(folder), count, size)):
            images = data.array(range(len(data)), size)
            spent["bare"] += timed(lambda x=images: bare(detector, x))[1]
            out = Path(folder) / f"maps-{number}.zarr"
            maps, seconds = timed(
                lambda d=data, o=out: (
                    attribute(
                        detector, d, "gradcam_relu", layer=LAYER, out=o, progress=False
                    ).values
                )
            )
            spent["ours"] += seconds
            theirs, seconds = timed(lambda x=images: peer(detector, x))
            spent["peer"] += seconds
            worst = max(worst, float(np.abs(scaled(maps) - theirs).max()))
    if worst > 2e-2:
        raise RuntimeError(f"Our maps differ from pytorch-grad-cam's by {worst:.2g}.")
    return Speed(count, spent["bare"], spent["ours"], spent["peer"], worst)


def calibrate(detector: Detector, size: int) -> None:
    """Let batch norms see noise, so that maps are of size 1."""
    for one in detector.module.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.momentum = None
            one.reset_running_stats()
    detector.module.train()
    with torch.no_grad():
        detector.module(torch.rand(8, 3, size, size, generator=torch.Generator().manual_seed(0)))
    detector.module.eval()


def portions(folder: Path, count: int, size: int) -> Iterator[Dataset]:
    """Write smooth noise as PNG files, a dataset a portion."""
    rng = np.random.default_rng(0)
    for start in range(0, count, PORTION):
        rows = []
        root = folder / f"portion-{start}"
        root.mkdir()
        for i in range(start, min(start + PORTION, count)):
            small = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
            small.resize((size, size), Image.Resampling.BICUBIC).save(root / f"{i}.png")
            rows.append(
                {
                    "sample": str(i),
                    "dataset": "noise",
                    "split": "test",
                    "label": i % 2,
                    "method": "noise",
                    "video": str(i),
                    "identity": "",
                    "source": "",
                    "frame": 0,
                    "path": f"{i}.png",
                    "mask": "",
                }
            )
        data = Dataset("noise", Samples(pd.DataFrame(rows)), root, {})
        write_native(data)
        yield data


def bare(detector: Detector, images: np.ndarray) -> np.ndarray:
    """Run forward, and backward to the images; weights want no gradient."""
    for weight in detector.module.parameters():
        weight.requires_grad_(False)
    out = []
    for start in range(0, len(images), BATCH):
        x = torch.from_numpy(images[start : start + BATCH]).requires_grad_()
        value = detector.module(x)
        torch.autograd.grad(value.sum(), x)
        out.append(value.detach().numpy())
    for weight in detector.module.parameters():
        weight.requires_grad_(True)
    return np.concatenate(out)


class _Wide(nn.Module):
    """A detector whose logit stands in a column, as pytorch-grad-cam wants it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x)[:, None]


def peer(detector: Detector, images: np.ndarray) -> np.ndarray:
    """Explain by pytorch-grad-cam (PyPI grad-cam)."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    layer = detector.module.get_submodule(f"body.{LAYER}")
    out = []
    with GradCAM(model=_Wide(detector.module).eval(), target_layers=[layer]) as cam:
        for start in range(0, len(images), BATCH):
            x = torch.from_numpy(images[start : start + BATCH])
            out.append(cam(input_tensor=x, targets=[ClassifierOutputTarget(0)] * len(x)))
    return np.concatenate(out)


def scaled(maps: np.ndarray) -> np.ndarray:
    """Rectify and scale each map to [0, 1], as the peer does."""
    low = np.maximum(maps, 0)
    low = low - low.min(axis=(1, 2), keepdims=True)
    return low / (1e-7 + low.max(axis=(1, 2), keepdims=True))


def timed(work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """Do some work on one thread; give its result and the seconds it took."""
    with one_thread():
        began = time.perf_counter()
        result = work()
        return result, time.perf_counter() - began


def measure_memory(
    work: Callable[[int, int, int | None], np.ndarray],
    what: str,
    size: int,
    images: int,
    megabytes: int | None,
    apart: bool = True,
) -> Memory:
    """Explain in a process of its own, where its peak memory can be told."""
    if apart:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            taken, seconds = pool.submit(_peak, work, size, images, megabytes).result()
    else:
        taken, seconds = _peak(work, size, images, megabytes)
    asked = np.nan if megabytes is None else float(megabytes << 20)
    return Memory(what, asked, images, taken, seconds / images)


def _peak(
    work: Callable[[int, int, int | None], np.ndarray],
    size: int,
    images: int,
    megabytes: int | None,
) -> tuple[float, float]:
    load_detector(DETECTOR, input_size=size).logits(np.zeros((1, 3, size, size), np.float32))
    (_, seconds), taken = watched(lambda: timed(lambda: work(size, images, megabytes)))
    return taken, seconds


def ours(size: int, images: int, megabytes: int | None) -> np.ndarray:
    """Integrate gradients within a budget."""
    detector = load_detector(DETECTOR, input_size=size)
    x = np.random.default_rng(0).random((images, 3, size, size), dtype=np.float32)
    return attribute(
        detector, x, "integrated_gradients", steps=STEPS, memory=f"{megabytes}M", progress=False
    ).values


def captum_default(size: int, images: int, megabytes: int | None) -> np.ndarray:
    """Integrate gradients as captum does by default: all steps of all images at once."""
    detector = load_detector(DETECTOR, input_size=size)
    x = torch.from_numpy(np.random.default_rng(0).random((images, 3, size, size), dtype=np.float32))
    found = IntegratedGradients(detector.module).attribute(x, torch.zeros_like(x), n_steps=STEPS)
    return np.asarray(found.detach().sum(dim=1).numpy())
