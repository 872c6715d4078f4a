"""A stand-in for ``python -m probe.jobs`` that starts in milliseconds and behaves as it is told."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from app.jobs import Jobs, Task

#: Parameters: ``seconds`` to take, then ``end``: "result", "error", "defect" or "crash"; one that
#: is ``stubborn`` does not end when asked to. Each start is noted in the folder "starts". Jobs of
#: true kinds say nothing of this, and take the seconds that `fake_jobs` was given.
SCRIPT = """
import json, os, signal, sys, time
root = sys.argv[2]
params = json.load(open(root + "/job.json"))["params"]
if params.get("stubborn"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
starts = os.path.join(os.path.dirname(root), "starts")
os.makedirs(starts, exist_ok=True)
open(os.path.join(starts, f"{time.time_ns()}-{os.getpid()}"), "w").write(params.get("name", ""))
def note(name, content):
    with open(f"{root}/{name}.part", "w") as file:
        json.dump(content, file)
    os.rename(f"{root}/{name}.part", f"{root}/{name}")
seconds = params.get("seconds", float(sys.argv[1]))
started, steps = time.time(), max(20, int(seconds))
os.mkdir(root + "/result.part")
for i in range(steps):
    note("progress.json", {"done": i, "total": steps, "started": started,
                           "written": time.time(), "message": "pretending"})
    time.sleep(seconds / steps)
end = params.get("end", "result")
if end == "crash":
    os.kill(os.getpid(), signal.SIGKILL)
elif end in ("error", "defect"):
    note("error.json", {"text": "It went wrong.", "expected": end == "error"})
else:
    open(root + "/result.part/answer", "wb").write(params.get("bytes", 1) * b"x")
    os.rename(root + "/result.part", root + "/result")
"""


def fake_jobs(root: Path, seconds: float = 0, **options: Any) -> Jobs:
    """Jobs whose processes pretend."""
    return Jobs(root, command=(sys.executable, "-S", "-c", SCRIPT, str(seconds)), **options)


def fake_task(name: str, **params: object) -> Task:
    return Task("fake", {"name": name, **params}, Path("/nowhere"))


def starts(root: Path) -> list[str]:
    """Names of the tasks that were started, in order."""
    return [file.read_text() for file in sorted((root / "starts").glob("*"))]
