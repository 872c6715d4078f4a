"""Names of datasets, splits, variants and columns, and the version of the schema."""

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

#: The label convention. Data with another convention are converted on input.
REAL, FAKE = 0, 1

SPLITS = ("train", "val", "test")

#: The lab's six datasets, in the order of tables and figures.
DATASETS = ("celebdf", "deepfakes", "face2face", "faceswap", "neuraltextures", "dfd")

#: Plain training, and the study's two fine-tuned variants.
VARIANTS = ("base", "shallow", "deep")

#: Required columns of sample tables, with their dtypes.
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
    """Return the family of a detector label; attribution maps of one family share a scale.

    Detectors trained by a study belong to the family of their architecture. Imported weights are a
    family of their own, since their logits are not comparable to those of trained detectors.

    Examples
    --------
    >>> family_of("meso4/base"), family_of("meso4/deep-seed1"), family_of("meso4/df")
    ('meso4', 'meso4', 'meso4/df')
    """
    name, _, variant = label.rpartition("/")
    return name if name and variant.split("-seed")[0] in VARIANTS else label
