"""Do one job: ``python -m probe.jobs FOLDER``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from probe.jobs.working import work

if __name__ == "__main__":
    # Whoever looks at pages meanwhile comes first.
    os.nice(5)
    sys.exit(work(Path(sys.argv[1])))
