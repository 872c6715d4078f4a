"""Background jobs of the dashboard, each in its own process: ``python -m probe.jobs``.

The web side, which requests jobs, is `app.jobs`. Both sides communicate through files in a folder,
see `probe.jobs.folder`. `probe.jobs.kinds` lists the kinds of jobs.
"""

from __future__ import annotations

from probe.jobs.folder import JobFolder, Progress

__all__ = ["JobFolder", "Progress"]
