"""Long computations for the dashboard, each in a process of its own: ``python -m probe.jobs``.

The web side, which asks for them, is `app.jobs`; what both sides say to each other lies in a
folder, see `probe.jobs.folder`. What can be asked for stands in `probe.jobs.kinds`.
"""

from __future__ import annotations

from probe.jobs.folder import JobFolder, Progress

__all__ = ["JobFolder", "Progress"]
