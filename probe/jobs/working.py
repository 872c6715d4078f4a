"""Run one job in this process, and report its progress."""

from __future__ import annotations

import os
import shutil
import time
import traceback
from pathlib import Path

from probe.compute import AUTO, DEVICE_VARIABLE, described, resolve_device
from probe.errors import ProbeError
from probe.jobs.folder import JobFolder, Progress
from probe.jobs.kinds import Request, work_of
from probe.progress import listening
from probe.run import RunFolder

__all__ = ["work"]

#: Minimum seconds between two progress reports.
EVERY = 0.2


def work(root: Path) -> int:
    """Run the job in a folder, which then holds a result or an error.

    Parameters
    ----------
    root : pathlib.Path
        Folder with ``job.json``; see `JobFolder`.

    Returns
    -------
    int
        0, or 1 if there was an error.
    """
    folder = JobFolder(root)
    notes = _Notes(folder)
    notes("start", 0, None)
    try:
        job = folder.read_job()
        do = work_of(str(job["kind"]))
        _limit_threads()
        device = resolve_device(os.environ.get(DEVICE_VARIABLE, AUTO))
        print(described(device), flush=True)
        run = RunFolder(Path(str(job["run"])))
        roots = tuple(map(str, job.get("roots", ())))
        request = Request(dict(job["params"]), run, folder.files, str(device), roots)
        shutil.rmtree(folder.partial, ignore_errors=True)
        folder.partial.mkdir()
        with listening(notes):
            do(request, folder.partial)
        folder.partial.rename(folder.result)
    except ProbeError as error:
        folder.write_error(str(error), expected=True)
        return 1
    except Exception as error:
        # The traceback goes to the log of the job; the page shows the last line.
        traceback.print_exc()
        folder.write_error(traceback.format_exception_only(error)[-1].strip(), expected=False)
        return 1
    return 0


class _Notes:
    """Writes progress to the folder, at most every `EVERY` seconds."""

    def __init__(self, folder: JobFolder) -> None:
        self.folder, self.message = folder, ""
        self.started = self.written = 0.0

    def __call__(self, message: str, done: int, total: int | None) -> None:
        now = time.time()
        if message != self.message or done == 0:
            self.message, self.started, self.written = message, now, 0.0
        if now - self.written < EVERY and done != total:
            return
        self.written = now
        self.folder.write_progress(Progress(done, total, self.started, now, message))


def _limit_threads() -> None:
    """Use half of the cores, and leave the others to the web server."""
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
