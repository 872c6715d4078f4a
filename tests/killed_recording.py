"""Record a dataset in child processes that are killed at many moments; then leave it unfinished.

Run as a script, so that torch is imported once and every child is a cheap fork of this process.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from probe.datasets.dataset import read_native
from probe.detectors import load_detector
from probe.recording import record

LAYERS = ["leaky", "conv4"]
BATCH = 4


def child(data: Path, out: Path) -> None:
    """Record to the end, in this process."""
    torch.set_num_threads(1)
    detector = load_detector("meso4", input_size=32, seed=3)
    record(detector, read_native(data), out, layers=LAYERS, batch_size=BATCH)


def files_in(out: Path) -> int:
    """Count what has been written, in the store or in its unfinished beginning."""
    both = (out, out.with_name(out.name + ".part"))
    return sum(len(names) for place in both for _, _, names in os.walk(place))


def killed(data: Path, out: Path, after: int, delay: float) -> bool:
    """Fork a recording and kill it some time after it has written so many more files."""
    target = files_in(out) + after
    pid = os.fork()
    if pid == 0:
        try:
            child(data, out)
        finally:
            os._exit(0)
    ended = 0
    while files_in(out) < target and not ended:
        time.sleep(0.0005)
        ended, _ = os.waitpid(pid, os.WNOHANG)
    if not ended:
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        return os.WIFSIGNALED(status)
    return False


if __name__ == "__main__":
    data, out, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    draw = random.Random(seed)
    moments = [1, 20, 40, *(draw.randrange(1, 16) for _ in range(12))]
    print(sum(killed(data, out, after, draw.uniform(0, 0.004)) for after in moments))
