"""Run a study in child processes that are killed at work, some in each stage; then finish it.

Run as a script, so that torch is imported once and every child is a cheap fork of this process.
Prints the stage that each kill hit, as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from probe.errors import StoreError
from probe.run import MANIFEST_FILE, RunFolder
from probe.study import Study, load_study, run_study, stages_of
from probe.study.plan import Compute

#: Kills that aim at each stage. Those of the first stages are over before the last is begun.
EACH = 2
#: Longest wait in seconds from the beginning of a stage.
LONGEST = 0.4


def child(study: Study) -> None:
    """Run the study to its end, in this process."""
    torch.set_num_threads(1)
    run_study(study, "probe run tiny.toml")


def stage_now(out: Path) -> str:
    """Name the stage that is begun and not done."""
    try:
        manifest = RunFolder(out).read_manifest()
    except StoreError:
        return ""
    return next((stage["name"] for stage in manifest["stages"] if not stage["done"]), "")


def written(out: Path) -> int:
    """Say when the manifest was written last."""
    file = out / MANIFEST_FILE
    return file.stat().st_mtime_ns if file.exists() else 0


def killed(study: Study, stage: str, delay: float) -> str | None:
    """Fork a run and kill it some time after a stage began; None if it came to its end first."""
    before = written(study.out)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child(study)
            code = 0
        finally:
            os._exit(code)
    ended = 0
    # The manifest that the last kill left behind says nothing of this run.
    while not ended and (written(study.out) == before or stage_now(study.out) != stage):
        time.sleep(0.001)
        ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return stage_now(study.out) or "between stages"
    if os.WEXITSTATUS(status):
        raise SystemExit("a run failed by itself")
    return None


if __name__ == "__main__":
    study = load_study(Path(sys.argv[1]), Path(sys.argv[2]))
    # In this process: workers would be processes of their own, each importing everything.
    study = study.model_copy(update={"compute": Compute(n_workers=1)})
    draw = random.Random(int(sys.argv[3]))
    aims = [one.name for one in stages_of(study) for _ in range(EACH)]
    hit = [killed(study, stage, draw.uniform(0, LONGEST)) for stage in aims]
    child(study)
    print(json.dumps([stage for stage in hit if stage is not None]))
