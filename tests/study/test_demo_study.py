"""`probe run studies/demo.toml`, killed at twenty random moments, against an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from probe.run import MANIFEST_FILE
from tests.study.making import require_same_tables

ROOT = Path(__file__).parents[2]
KILLS = 20


def start(out: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "probe", "run", "studies/demo.toml", "--out", str(out)]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(words, cwd=ROOT, stdout=quiet, stderr=quiet)


def written(out: Path) -> int:
    file = out / MANIFEST_FILE
    return file.stat().st_mtime_ns if file.exists() else 0


def killed_at_work(out: Path, wait: float) -> bool:
    """Kill a run some seconds after its work began; False if it came to its end first."""
    before, process = written(out), start(out)
    # Until then it imports packages, and there is nothing to lose.
    while process.poll() is None and written(out) == before:
        time.sleep(0.02)
    deadline = time.monotonic() + wait
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    code = process.wait()
    assert code in (0, -signal.SIGKILL), code
    return code != 0


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    began = time.monotonic()
    assert start(tmp_path / "calm").wait() == 0
    whole = time.monotonic() - began
    rng, kills = np.random.default_rng(11), 0
    while kills < KILLS:
        # Twenty such moments reach about as far as the whole run; a finished one is killed too,
        # while it looks at what is there.
        kills += killed_at_work(tmp_path / "killed", rng.exponential(whole / KILLS))
    assert start(tmp_path / "killed").wait() == 0
    require_same_tables(tmp_path / "calm", tmp_path / "killed")
