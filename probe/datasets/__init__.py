"""Datasets: sample tables for every layout, ingest of real videos, and the built-in lab."""

# Imported for their side effect: each module registers its layouts.
from probe.datasets.dataset import Dataset, Samples, concatenate, read_native, write_native
from probe.datasets.ingestion import ingest
from probe.datasets.layouts import LAYOUTS
from probe.datasets.layouts import celebdf as _celebdf
from probe.datasets.layouts import celebdfpp as _celebdfpp
from probe.datasets.layouts import deeperforensics as _deeperforensics
from probe.datasets.layouts import deepfakebench as _deepfakebench
from probe.datasets.layouts import deepfakeeval as _deepfakeeval
from probe.datasets.layouts import df40 as _df40
from probe.datasets.layouts import dfdc as _dfdc
from probe.datasets.layouts import faceforensics as _faceforensics
from probe.datasets.layouts import fakeavceleb as _fakeavceleb
from probe.datasets.layouts import ffiw as _ffiw
from probe.datasets.layouts import folder as _folder
from probe.datasets.layouts import generatortree as _generatortree
from probe.datasets.layouts import huggingface as _huggingface
from probe.datasets.layouts import manifest as _manifest
from probe.datasets.layouts import wilddeepfake as _wilddeepfake
from probe.datasets.open import open_dataset, open_datasets, part_of, parts_of, renamed
from probe.datasets.report import IngestReport, VideoReport

__all__ = [
    "LAYOUTS",
    "Dataset",
    "IngestReport",
    "Samples",
    "VideoReport",
    "concatenate",
    "ingest",
    "open_dataset",
    "open_datasets",
    "part_of",
    "parts_of",
    "read_native",
    "renamed",
    "write_native",
]

del _celebdf, _deeperforensics, _deepfakebench, _df40, _dfdc, _faceforensics, _folder, _manifest
del _celebdfpp, _deepfakeeval, _fakeavceleb, _ffiw, _generatortree, _huggingface, _wilddeepfake
