"""Where datasets that were not told where to go are kept."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return the user's cache, or the folder that the variable ``PROBE_CACHE`` names."""
    return Path(os.environ.get("PROBE_CACHE") or platformdirs.user_cache_dir("deepfake-probe"))
