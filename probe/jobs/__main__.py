"""Run one job: ``python -m probe.jobs FOLDER``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from probe.jobs.working import work

if __name__ == "__main__":
    # Serving pages has priority.
    os.nice(5)
    sys.exit(work(Path(sys.argv[1])))
