"""What effects are controlled for: how an image was taken and stored, and not how it was forged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from probe.datasets.audit.facts import jpeg_quality
from probe.errors import ImageError

__all__ = ["COVARIATES", "FILE", "TABLE", "file_facts", "table_covariates", "TEXT"]

#: From the files themselves. Quality is that of the quantization tables where all files of a
#: dataset are JPEG, else estimated on what lies outside the region.
FILE = ("width", "height", "format", "quality")
#: From the sample table, where it has them.
TABLE = ("crop_side", "source_width", "source_height", "source_fps", "source_codec")
COVARIATES = (*FILE, *TABLE)

#: Those that have no order: each value is a group of its own.
TEXT = ("format", "source_codec")


def file_facts(file: Path) -> tuple[str, float]:
    """Read the format of an image file, and its JPEG quality by its tables (else NaN)."""
    try:
        with Image.open(file) as image:
            tables = getattr(image, "quantization", None) or {}
            quality = jpeg_quality(tables[0]) if 0 in tables else float("nan")
            return str(image.format), quality
    except OSError as error:
        raise ImageError(f"The image {str(file)!r} cannot be read ({error}).") from error


def table_covariates(table: pd.DataFrame) -> NDArray[np.float64]:
    """Take the covariates of a sample table, shape (n, 5); text as codes, NaN where unknown."""
    return np.column_stack([_numbers(table, name) for name in TABLE])


def _numbers(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    if name not in table:
        return np.full(len(table), np.nan)
    if name in TEXT:
        return coded(table[name].fillna("").astype(str).to_numpy())
    return pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64)


def coded(values: NDArray[np.str_] | NDArray[np.object_]) -> NDArray[np.float64]:
    """Give texts numbers in their order; empty ones are unknown."""
    codes = pd.factorize(values, sort=True)[0].astype(np.float64)
    return np.where(np.asarray(values) == "", np.nan, codes)
