"""Datasets: one table of samples, whatever the layout; ingest of real video; the embedded lab."""

# Imported for their effect: each registers its layouts.
from probe.datasets import celebdf as _celebdf
from probe.datasets import deeperforensics as _deeperforensics
from probe.datasets import deepfakebench as _deepfakebench
from probe.datasets import df40 as _df40
from probe.datasets import dfdc as _dfdc
from probe.datasets import faceforensics as _faceforensics
from probe.datasets import folder as _folder
from probe.datasets import manifest as _manifest
from probe.datasets import wilddeepfake as _wilddeepfake
from probe.datasets.dataset import Dataset, concatenate, read_native, write_native
from probe.datasets.ingestion import ingest
from probe.datasets.layouts import LAYOUTS
from probe.datasets.opening import open_dataset, part_of, parts_of
from probe.datasets.report import IngestReport, VideoReport
from probe.datasets.samples import Samples

__all__ = [
    "LAYOUTS",
    "Dataset",
    "IngestReport",
    "Samples",
    "VideoReport",
    "concatenate",
    "ingest",
    "open_dataset",
    "part_of",
    "parts_of",
    "read_native",
    "write_native",
]

del _celebdf, _deeperforensics, _deepfakebench, _df40, _dfdc, _faceforensics, _folder, _manifest
del _wilddeepfake
