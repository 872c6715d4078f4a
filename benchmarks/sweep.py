"""The study's causal sweep over ShallowNet's 1024 units: its loop, and the closed form."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks._resident import watched
from probe.detectors import Detector, load_detector
from probe.hooks import State, SuffixProgram, compile_suffix
from probe.progress import track

LAYER = "relu"
BATCH = 64
#: Images a batch of ours: the result does not depend on it, and fewer calls cost less.
OURS = 320
N_VALUES = 4
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Measured:
    """Seconds for the same work, and how far the results differ.

    Attributes
    ----------
    samples, units : int
        Size of the work; every unit is set to `N_VALUES` values.
    forward, prefix, loop, ours : float
        Seconds: the images through the network once, images to the tap (both need it), the plain
        loop, the closed form.
    difference : float
        Largest absolute difference of a mean P(fake).
    loop_memory, our_memory : float
        Bytes by which the first run of each raised resident memory.
    """

    samples: int
    units: int
    forward: float
    prefix: float
    loop: float
    ours: float
    difference: float
    loop_memory: float
    our_memory: float

    @property
    def ratio(self) -> float:
        """How many times faster the closed form is."""
        return self.loop / self.ours

    @property
    def passes(self) -> float:
        """How many plain forward passes the whole of ours takes, images to the tap included."""
        return (self.prefix + self.ours) / self.forward


def run(tiny: bool) -> None:
    show(measure(*((128, 32, 64) if tiny else (30 * BATCH, 96, 1024))))


def measure(samples: int, size: int, units: int, repeats: int = 7) -> Measured:
    """Sweep the first units of a random ShallowNet both ways, on one thread.

    Parameters
    ----------
    samples, size : int
        Number of noise images and their side in pixels.
    units : int
        Width of the dense layer.
    repeats : int, default 7
        How often the closed form is timed; the median counts.

    Raises
    ------
    RuntimeError
        If the two differ by more than `TOLERANCE`.
    """
    detector = load_detector("shallownet", input_size=size, options={"units": units})
    with one_thread():
        program = compile_suffix(detector, LAYER)
        images = list(_noise(samples, size))
        detector.logits(images[0])
        forward = _seconds(lambda: [detector.logits(batch) for batch in images])
        began = time.perf_counter()
        states = [program.state(batch) for batch in images]
        prefix = time.perf_counter() - began
        together = _together(states)
        values = _doses(states)
        first, our_memory = watched(lambda: closed_form(program, together, values))
        (slow, loop), loop_memory = watched(
            lambda: _timed(lambda: plain_loop(detector, states, values))
        )
        runs = [_timed(lambda: closed_form(program, together, values)) for _ in range(repeats)]
    ours = statistics.median(seconds for _, seconds in runs)
    difference = float(np.abs(first - slow).max())
    if difference > TOLERANCE:
        raise RuntimeError(f"The closed form differs from the plain loop by {difference:.2g}.")
    return Measured(
        samples, units, forward, prefix, loop, ours, difference, loop_memory, our_memory
    )


def plain_loop(
    detector: Detector, states: list[State], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean P(fake), shape (unit, value): the suffix run again for every batch, unit and value."""
    net: Any = detector.module
    total, count = np.zeros(values.shape), sum(len(state.value) for state in states)
    with torch.inference_mode():
        for state in track(states, "plain loop"):
            for unit in range(values.shape[0]):
                for k in range(values.shape[1]):
                    h = state.value.clone()
                    h[:, unit] = float(values[unit, k])
                    p = torch.sigmoid(net.fc2(net.dropout(net.bn(h)))[:, 0])
                    total[unit, k] += float(p.mean()) * len(h)
    return total / count


def closed_form(
    program: SuffixProgram, states: list[State], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean P(fake), shape (unit, value), by the compiled suffix."""
    total = sum(program.sums(state, values, probability=True) for state in states)
    return np.asarray(total) / sum(len(state.value) for state in states)


def show(measured: Measured) -> None:
    table = Table(title=f"do(h_u = v), {measured.samples} images, {measured.units} units, 1 thread")
    for heading in ("", "seconds", "ratio", "memory"):
        table.add_column(heading, justify="right" if heading else "left")
    theirs, ours = (f"{m / 1e6:.0f} MB" for m in (measured.loop_memory, measured.our_memory))
    table.add_row("plain loop over the suffix's modules", f"{measured.loop:.3f}", "1", theirs)
    table.add_row("probe, closed form", f"{measured.ours:.5f}", f"{measured.ratio:,.0f}", ours)
    table.add_row("images to the tap (both need it)", f"{measured.prefix:.3f}", "", "")
    table.add_row("images through the network once", f"{measured.forward:.3f}", "", "")
    console = Console(width=90)
    console.print(table)
    console.print(f"largest difference of a mean P(fake): {measured.difference:.1e}")
    console.print(f"ours from images to table: {measured.passes:.2f} plain forward passes")


@contextmanager
def one_thread() -> Iterator[None]:
    """Give both sides one thread: small operations gain nothing from more, and jitter does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _noise(samples: int, size: int) -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    for start in track(range(0, samples, BATCH), "images to the tap"):
        yield rng.random((min(BATCH, samples - start), 3, size, size), dtype=np.float32)


def _doses(states: list[State]) -> NDArray[np.float64]:
    """Evenly spaced values over each unit's range, clamped as the study has it."""
    hidden = torch.cat([state.value for state in states]).double().numpy()
    low, high = np.minimum(hidden.min(axis=0), 1.0), np.maximum(hidden.max(axis=0), 0.0)
    return np.linspace(low, high, N_VALUES, axis=1)


def _together(states: list[State]) -> list[State]:
    """Join batches of the study's size to batches of ours."""
    value = torch.cat([state.value for state in states])
    return [State(block) for block in value.split(OURS)]


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _timed(work: Callable[[], NDArray[np.float64]]) -> tuple[NDArray[np.float64], float]:
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began
