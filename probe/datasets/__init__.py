"""Datasets: one table of samples, whatever the layout; ingest of real video; the embedded lab."""

# Imported for its effect: it registers its layout.
from probe.datasets import faceforensics as _faceforensics
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

del _faceforensics
