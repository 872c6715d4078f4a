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

from tests.study.making import require_same_tables

ROOT = Path(__file__).parents[2]
KILLS = 20


def start(out: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "probe", "run", "studies/demo.toml", "--out", str(out)]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(words, cwd=ROOT, stdout=quiet, stderr=quiet)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    began = time.monotonic()
    assert start(tmp_path / "calm").wait() == 0
    whole = time.monotonic() - began
    rng, kills = np.random.default_rng(11), 0
    while kills < KILLS:
        process = start(tmp_path / "killed")
        # Twenty moments that, beside the seconds to begin, cover the whole run and go past its end.
        wait = 6 + rng.exponential(whole / 12)
        deadline = time.monotonic() + wait
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
            process.wait()
            continue
        assert process.wait() == 0
        # It came to its end before the moment: the kills that are left meet a finished run.
        kills += 1
    assert start(tmp_path / "killed").wait() == 0
    require_same_tables(tmp_path / "calm", tmp_path / "killed")
