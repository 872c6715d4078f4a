"""Channels behind which something is left to run: ours, a rerun of the suffix, and captum."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from captum.attr import LayerFeatureAblation
from rich.console import Console
from rich.table import Table

from benchmarks._resident import watched
from benchmarks.sweep import one_thread
from probe.detectors import Detector, load_detector
from probe.hooks import LocalProgram, Rerun, compile_suffix, split, trace

TOLERANCE = 1e-4
#: Perturbations that captum puts into one batch; the fastest counts.
TOGETHER = 1, 4, 16
DOSES = np.array([-1.0, -0.3, 0.4, 1.2])


@dataclass(frozen=True)
class Measured:
    """Seconds and memory for the same work.

    Attributes
    ----------
    what, peer : str
        The work, and whom ours is compared with.
    theirs, ours : float
        Seconds.
    their_memory, our_memory : float
        Peak resident bytes above those of a process that holds detector and images, and does
        this and nothing else.
    difference : float
        Largest absolute difference of a logit.
    """

    what: str
    peer: str
    theirs: float
    ours: float
    their_memory: float
    our_memory: float
    difference: float

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.theirs / self.ours


def run(tiny: bool) -> None:
    """Measure both and print a table of ratios."""
    if tiny:
        show([measure_meso(32, 4, apart=False), measure_xception(71, 2, 4, apart=False)])
    else:
        show([measure_meso(256, 32), measure_xception(128, 4, 48)])


def measure_meso(size: int, samples: int, apart: bool = True) -> Measured:
    """Set every channel of Meso4's last convolution to four values."""
    return _measured(
        "meso4 conv4, 16 channels, 4 values",
        "suffix rerun",
        _meso_ours,
        _meso_rerun,
        (size, samples),
        apart,
    )


def measure_xception(size: int, samples: int, channels: int, apart: bool = True) -> Measured:
    """Set channels behind Xception's last block to zero, one at a time."""
    return _measured(
        f"xception block12, {channels} channels, zero",
        "captum",
        _xception_ours,
        _xception_captum,
        (size, samples, channels),
        apart,
    )


def show(rows: list[Measured]) -> None:
    """Print seconds, ratios and memory."""
    table = Table(title="do(channel = v), one thread each")
    for heading in ("", "peer", "seconds", "ours", "ratio", "memory", "ours"):
        table.add_column(heading, justify="right" if heading else "left")
    for row in rows:
        table.add_row(
            row.what,
            row.peer,
            f"{row.theirs:.3f}",
            f"{row.ours:.4f}",
            f"{row.ratio:,.0f}",
            f"{row.their_memory / 1e6:.0f} MB",
            f"{row.our_memory / 1e6:.0f} MB",
        )
    console = Console(width=110)
    console.print(table)
    worst = max(row.difference for row in rows)
    console.print(f"largest difference of a logit: {worst:.1e}")


#: Ways to do it, of which the fastest counts, and how often each is timed.
Ways = tuple[list[Callable[[], np.ndarray]], int]
Work = Callable[..., Ways]


def _measured(
    what: str, peer: str, ours: Work, theirs: Work, size: tuple[int, ...], apart: bool
) -> Measured:
    """Do both, each in a process of its own where memory is to mean something."""
    measure = _in_a_process if apart else _timed
    mine, seconds, memory = measure(ours, size)
    other, their_seconds, their_memory = measure(theirs, size)
    difference = float(np.abs(mine - other).max())
    if difference > TOLERANCE * max(1.0, float(np.abs(other).max())):
        raise RuntimeError(f"Ours differs from the peer by {difference:.2g} on {what}.")
    return Measured(what, peer, their_seconds, seconds, their_memory, memory, difference)


def _in_a_process(work: Work, size: tuple[int, ...]) -> tuple[np.ndarray, float, float]:
    """Run some work in a process of its own, where its peak memory can be told."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_timed, work, size).result()


def _timed(work: Work, size: tuple[int, ...]) -> tuple[np.ndarray, float, float]:
    torch.manual_seed(0)
    with one_thread():  # more would wait for each other where a machine is busy
        ways, repeats = work(*size)
        return min((_run(go, repeats) for go in ways), key=lambda run: run[1])


def _run(go: Callable[[], np.ndarray], repeats: int) -> tuple[np.ndarray, float, float]:
    result, memory = watched(go)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        go()
        seconds.append(time.perf_counter() - began)
    return result, statistics.median(seconds), memory


def _meso(size: int, samples: int) -> tuple[Detector, torch.Tensor]:
    return load_detector("meso4", input_size=size), torch.rand(samples, 3, size, size)


def _meso_ours(size: int, samples: int) -> Ways:
    detector, images = _meso(size, samples)
    program = compile_suffix(detector, "conv4")
    assert isinstance(program, LocalProgram)  # else there is nothing to compare
    state = program.state(images)
    return [lambda: program.sweep(state, np.tile(DOSES, (16, 1)))], 9


def _meso_rerun(size: int, samples: int) -> Ways:
    detector, images = _meso(size, samples)
    program = Rerun("conv4", size, *split(trace(detector), "conv4"), 16)
    state = program.state(images)
    return [lambda: program.sweep(state, np.tile(DOSES, (16, 1)))], 3


def _xception(size: int, samples: int) -> tuple[Detector, torch.Tensor]:
    return load_detector("xception", input_size=size), torch.rand(samples, 3, size, size)


def _xception_ours(size: int, samples: int, channels: int) -> Ways:
    detector, images = _xception(size, samples)
    program = compile_suffix(detector, "block12")

    def go() -> np.ndarray:
        # Images to the tap counts too: captum starts from the images as well.
        state, units = program.state(images), np.arange(channels)
        return program.sweep(state, np.zeros((channels, 1)), units)[:, :, 0]

    return [go], 3


def _xception_captum(size: int, samples: int, channels: int) -> Ways:
    detector, images = _xception(size, samples)
    layer = detector.module.get_submodule("body.block12")
    method: Any = LayerFeatureAblation(detector.module, layer)
    with torch.inference_mode():
        shape = compile_suffix(detector, "block12").state(images[:1]).value.shape
        base = detector.logits(images)
    # One group a channel that is asked for, and one for all others, which is not looked at.
    mask = torch.arange(shape[1]).clamp(max=channels).view(1, -1, 1, 1).expand(shape).clone()

    def go(together: int) -> np.ndarray:
        with torch.inference_mode():
            lost = method.attribute(
                images, layer_baselines=0, layer_mask=mask, perturbations_per_eval=together
            )
        return base[:, None] - lost[:, :channels, 0, 0].numpy()

    return [partial(go, together) for together in TOGETHER], 1
