"""The default cache folder for datasets."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return the cache folder: ``PROBE_CACHE`` if it is set, else the user's cache folder."""
    return Path(os.environ.get("PROBE_CACHE") or platformdirs.user_cache_dir("deepfake-probe"))
