"""Long computations, from the web side; this package imports no torch.

A page asks and follows like this::

    jobs = jobs_of(run)                               # the cache of this run's jobs
    task = map_task(run, "meso4/base", tokens, "gradcam")
    task.fingerprint                                  # the same question has the same
    jobs.state(task.fingerprint)                      # JobState; "absent" before anyone asked
    jobs.submit(task)                                 # starts, joins, or finds it done
    jobs.cancel(task.fingerprint)
    maps_of(jobs, task.fingerprint)                   # AttributionMap, once it is "done"

Since the fingerprint follows from what is selected, and the selection is in the address, a link
shows the same job, and reloading a page does not lose it. `app.components.jobs` has the bar, the
button and the texts. The process of a job goes on when the web process ends; its result is there
the next time.

A kind of one's own ("score", say) needs two things: a function ``(request, out)`` on the other
side, which reads ``request.params`` and ``request.files / "image.png"``, writes into the folder
``out``, and is named in `probe.jobs.kinds.KINDS`; and on this side a
``Task("score", params, run.folder.root, reads_of(run, label), files={"image.png": content})``,
whose result is read from the folder ``jobs.result(fingerprint)``. Files count for the fingerprint
by their content. Parameters are checked on this side, before they become a task.
"""

from __future__ import annotations

from app.jobs.asking import ablation_of, ablation_task, jobs_of, map_task, maps_of, reads_of
from app.jobs.jobs import Jobs
from app.jobs.state import ABSENT, CANCELLED, DONE, FAILED, RUNNING, WAITING, JobState
from app.jobs.task import Task

__all__ = [
    "ABSENT",
    "CANCELLED",
    "DONE",
    "FAILED",
    "RUNNING",
    "WAITING",
    "JobState",
    "Jobs",
    "Task",
    "ablation_of",
    "ablation_task",
    "jobs_of",
    "map_task",
    "maps_of",
    "reads_of",
]
