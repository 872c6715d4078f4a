"""Controls: covariates as a design matrix, and real and fake images matched on covariates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from probe.datasets.audit.facts import jpeg_quality
from probe.errors import ImageError

__all__ = [
    "COVARIATES",
    "FILE",
    "TABLE",
    "TEXT",
    "design",
    "explained",
    "file_facts",
    "matched_rows",
    "residuals",
    "table_covariates",
]

#: Covariates from image files. Quality is that of the quantization tables if all files of a dataset
#: are JPEG, else it is estimated on the area outside the region.
FILE = ("width", "height", "format", "quality")
#: Covariates from the sample table, if it has them.
TABLE = ("crop_side", "source_width", "source_height", "source_fps", "source_codec")
COVARIATES = (*FILE, *TABLE)

#: Categorical covariates: each value is a group.
TEXT = ("format", "source_codec")


def file_facts(file: Path) -> tuple[str, float]:
    """Return the format of an image file, and its JPEG quality from its tables (else NaN)."""
    try:
        with Image.open(file) as image:
            tables = getattr(image, "quantization", None) or {}
            quality = jpeg_quality(tables[0]) if 0 in tables else float("nan")
            return str(image.format), quality
    except OSError as error:
        raise ImageError(f"The image {str(file)!r} cannot be read ({error}).") from error


def table_covariates(table: pd.DataFrame) -> NDArray[np.float64]:
    """Return the covariates of a sample table, shape (n, 5); text as codes, NaN if unknown."""
    return np.column_stack([_numbers(table, name) for name in TABLE])


def _numbers(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    if name not in table:
        return np.full(len(table), np.nan)
    if name in TEXT:
        return coded(table[name].fillna("").astype(str).to_numpy())
    return pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64)


def coded(values: NDArray[np.str_] | NDArray[np.object_]) -> NDArray[np.float64]:
    """Return codes of texts in sorted order; empty text is unknown (NaN)."""
    codes = pd.factorize(values, sort=True)[0].astype(np.float64)
    return np.where(np.asarray(values) == "", np.nan, codes)


Doubles = NDArray[np.float64]


def design(controls: Doubles, names: Sequence[str]) -> Doubles:
    """Return the columns of a regression on covariates.

    Parameters
    ----------
    controls : numpy.ndarray
        Shape (n, covariates), NaN where unknown.
    names : sequence of str
        Names of the covariates; those in `TEXT` are categorical codes.

    Returns
    -------
    numpy.ndarray
        Shape (n, columns). For a number: its standardized value, its square (the effect of
        compression is not linear in quality), and whether it is known. For a category: an
        indicator per value but the first. Columns that are constant, or explained by earlier
        columns, are left out.
    """
    columns: list[Doubles] = []
    for name, values in zip(names, controls.T, strict=True):
        columns += _levels(values) if name in TEXT else _number(values)
    kept: list[Doubles] = []
    for column in columns:
        if explained(column, np.column_stack(kept) if kept else None) < 1 - 1e-8:
            kept.append(column)
    return np.column_stack(kept) if kept else np.empty((len(controls), 0))


def _levels(values: Doubles) -> list[Doubles]:
    filled = np.nan_to_num(values, nan=-1.0)
    levels = np.unique(filled)[1:]
    return [_scaled((filled == level).astype(np.float64)) for level in levels]


def _number(values: Doubles) -> list[Doubles]:
    known = np.isfinite(values)
    if not known.any():
        return []
    filled = np.where(known, values, values[known].mean())
    columns = [filled, (filled - filled.mean()) ** 2, known.astype(np.float64)]
    return [_scaled(column) for column in columns if np.ptp(column) > 0]


def _scaled(column: Doubles) -> Doubles:
    return np.asarray((column - column.mean()) / column.std())


def residuals(values: Doubles, covariates: Doubles) -> Doubles:
    """Return residuals of values, shape (n, m), after linear regression on covariates."""
    x = np.column_stack([np.ones(len(values)), covariates])
    return np.asarray(values - x @ np.linalg.lstsq(x, values, rcond=None)[0])


def explained(column: Doubles, covariates: Doubles | None) -> float:
    """Return the R² of a column regressed on covariates; 1 if the column is constant."""
    spread = float(column.var())
    if not spread:
        return 1.0
    if covariates is None or not covariates.shape[1]:
        return 0.0
    return 1 - float(residuals(column[:, None], covariates).var()) / spread


def matched_rows(
    controls: Doubles,
    labels: NDArray[np.int8],
    clusters: NDArray[np.int64],
    caliper: float,
    names: Sequence[str],
    seed: int = 0,
) -> NDArray[np.int64]:
    """Choose equal numbers of real and fake images that are alike in all covariates.

    Numbers are cut into bins of the width of the caliper, from their smallest value; categories and
    unknown values must be equal (coarsened exact matching; Iacus, King and Porro 2012,
    doi:10.1093/pan/mpr013). In each cell, real images are paired with fakes, first within a
    cluster, then at random; the rest is not used.

    Parameters
    ----------
    controls : numpy.ndarray
        Shape (n, covariates), NaN where unknown.
    labels, clusters : numpy.ndarray
        Shape (n,), 0 real and 1 fake; cluster codes.
    caliper : float
        Width of the bins, in standard deviations of a covariate over these images.
    names : sequence of str
        Names of the covariates.
    seed : int, default 0
        Seed of the random pairing.

    Returns
    -------
    numpy.ndarray
        Positions in ascending order, half of them of each label.
    """
    cells = [_binned(v, name, caliper) for name, v in zip(names, controls.T, strict=True)]
    cell = np.unique(np.column_stack(cells), axis=0, return_inverse=True)[1].ravel()
    kept: list[int] = []
    left: dict[tuple[int, int], list[int]] = defaultdict(list)
    order = np.random.default_rng(seed).permutation(len(labels))
    for rows in _groups(order, cell, clusters):
        real, fake = (rows[labels[rows] == label] for label in (0, 1))
        n = min(len(real), len(fake))
        kept += [*real[:n], *fake[:n]]
        for label, rest in ((0, real[n:]), (1, fake[n:])):
            left[int(cell[rows[0]]), label] += rest.tolist()
    for number in np.unique(cell):
        real_left, fake_left = left[int(number), 0], left[int(number), 1]
        n = min(len(real_left), len(fake_left))
        kept += [*real_left[:n], *fake_left[:n]]
    return np.sort(np.asarray(kept, dtype=np.int64))


def _binned(values: Doubles, name: str, caliper: float) -> NDArray[np.int64]:
    known = np.isfinite(values)
    if not known.any():
        return np.zeros(len(values), dtype=np.int64)
    width = caliper * float(values[known].std())
    if name in TEXT or not width:
        width = 1.0
    bins = np.floor((values - values[known].min()) / width + 1e-9)
    return np.where(known, np.nan_to_num(bins), -1).astype(np.int64)


def _groups(
    order: NDArray[np.int64], cell: NDArray[np.int64], clusters: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Split shuffled positions by cell and cluster."""
    keys = np.column_stack([cell, clusters])[order]
    code = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    by_code = np.argsort(code, kind="stable")
    return np.split(order[by_code], np.flatnonzero(np.diff(code[by_code])) + 1)
