"""Controls: covariates as a design matrix, and real and fake images matched on them."""

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


Doubles = NDArray[np.float64]


def design(controls: Doubles, names: Sequence[str]) -> Doubles:
    """Turn covariates into columns of a regression.

    Parameters
    ----------
    controls : numpy.ndarray
        Shape (n, covariates), NaN where unknown.
    names : sequence of str
        Of the covariates; those in `TEXT` are codes without an order.

    Returns
    -------
    numpy.ndarray
        Shape (n, columns): numbers in standard deviations from their mean, and their squares,
        since what compression does is no straight line in quality; a column a further value of a
        text, and a column that says where a number is unknown. What does not vary within these
        images has no column, nor has what other columns say already.
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
    """Take out of values, shape (n, m), what a linear regression on covariates gives."""
    x = np.column_stack([np.ones(len(values)), covariates])
    return np.asarray(values - x @ np.linalg.lstsq(x, values, rcond=None)[0])


def explained(column: Doubles, covariates: Doubles | None) -> float:
    """Share of a column's variance that a linear regression on covariates explains; 1 if none."""
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
    """Choose as many real as fake images, alike in all covariates.

    Numbers are cut into bins as wide as the caliper, from their smallest value; texts and what is
    unknown have to be equal (coarsened exact matching; Iacus, King and Porro 2012,
    doi:10.1093/pan/mpr013). In each cell one real image is paired with one fake, within a cluster
    first, then at random; what is left over is not used.

    Parameters
    ----------
    controls : numpy.ndarray
        Shape (n, covariates).
    labels, clusters : numpy.ndarray
        Shape (n,).
    caliper : float
        In standard deviations of a covariate over these images.
    names : sequence of str
        Of the covariates.
    seed : int, default 0
        Of the pairing at random.

    Returns
    -------
    numpy.ndarray
        Positions, ascending, half of each label.
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
