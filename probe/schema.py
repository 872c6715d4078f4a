"""Names of dimensions, coordinates, columns and attributes, and the version of the schema."""

from __future__ import annotations

__all__ = [
    "DATASETS",
    "FAKE",
    "REAL",
    "SAMPLE_COLUMNS",
    "SCHEMA_VERSION",
    "SPLITS",
    "VARIANTS",
    "family_of",
]

SCHEMA_VERSION = 2

#: The one label convention. Everything else is converted where it enters.
REAL, FAKE = 0, 1

SPLITS = ("train", "val", "test")

#: The lab's six datasets, in the order in which tables and figures show them.
DATASETS = ("celebdf", "deepfakes", "face2face", "faceswap", "neuraltextures", "dfd")

#: The study's two augmentation approaches beside plain training.
VARIANTS = ("base", "shallow", "deep")

#: Columns that every sample table has, with their pandas dtypes.
SAMPLE_COLUMNS = {
    "sample": "str",
    "dataset": "str",
    "split": "str",
    "label": "int8",
    "method": "str",
    "video": "str",
    "identity": "str",
    "source": "str",
    "frame": "int32",
    "path": "str",
    "mask": "str",
}


def family_of(label: str) -> str:
    """Name the detectors whose maps are on one scale: an architecture, as a study trained it.

    Weights that were brought are a family of their own, since nothing relates their logits to
    those of trained ones.

    Examples
    --------
    >>> family_of("meso4/base"), family_of("meso4/deep-seed1"), family_of("meso4/df")
    ('meso4', 'meso4', 'meso4/df')
    """
    name, _, variant = label.rpartition("/")
    return name if name and variant.split("-seed")[0] in VARIANTS else label
