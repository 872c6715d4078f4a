"""Report of an installation: packages, devices, extras and caches."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys

import torch

from probe.datasets.cache import cache_folder
from probe.datasets.crops import crops_folder
from probe.study.provenance import folder_size, versions

__all__ = ["examine"]

_GIB = 2**30

#: Extra to a module that shows whether it is installed, and what the extra adds.
EXTRAS = {
    "dlib": ("dlib", "face detector dlib for `probe ingest --finder dlib`"),
    "dev": ("pytest", "tests, ruff and mypy"),
}


def examine() -> dict[str, dict[str, str]]:
    """Examine the environment.

    Returns
    -------
    dict
        Section ("system", "packages", "devices", "extras", "places") to a dict of name to text.
    """
    return {
        "system": _system(),
        "packages": versions(),
        "devices": _devices(),
        "extras": {name: _extra(name) for name in EXTRAS},
        "places": _places(),
    }


def _system() -> dict[str, str]:
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cores": str(os.cpu_count()),
        "chromium": shutil.which("chromium") or "not found: browser tests are skipped",
        "model hub": "not checked; only `pretrained=True` needs it",
    }


def _devices() -> dict[str, str]:
    out = {"cpu": f"{torch.get_num_threads()} threads"}
    for k in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(k)
        name = torch.cuda.get_device_name(k)
        out[f"cuda:{k}"] = f"{name}, {free / _GIB:.1f} of {total / _GIB:.1f} GiB free"
    if not torch.cuda.is_available():
        out["cuda"] = "none; everything runs on the CPU"
    if torch.backends.mps.is_available():
        out["mps"] = "available"
    return out


def _extra(name: str) -> str:
    module, adds = EXTRAS[name]
    if importlib.util.find_spec(module):
        return f"installed: {adds}"
    return f"missing: {adds}. Install it with `pip install 'deepfake-probe[{name}]'`"


def _places() -> dict[str, str]:
    cache = cache_folder()
    there = cache if cache.is_dir() else next(one for one in cache.parents if one.is_dir())
    free, held = shutil.disk_usage(there).free / _GIB, folder_size(cache) / _GIB
    crops = crops_folder()
    videos = sum(1 for _ in crops.glob("*/??/*/clip.json"))
    return {
        "cache": f"{cache} ({held:.2f} GiB; set PROBE_CACHE to move it)",
        "crops": f"{crops} ({folder_size(crops) / _GIB:.2f} GiB of {videos:,} videos; safe to "
        "delete, recreated when needed)",
        "free there": f"{free:.1f} GiB",
        "PROBE_REAL_DATA": os.environ.get("PROBE_REAL_DATA")
        or "unset: tests on real video are skipped",
    }
