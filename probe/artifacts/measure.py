"""`measure_artifacts`: all measurements on all images of the given datasets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probe.artifacts import compression, edges, residuals, spectra
from probe.artifacts.controls import COVARIATES, coded, file_facts, table_covariates
from probe.artifacts.measurements import ELLIPSE, MASKS, MEASUREMENTS, Picture, mask_rows, region_of
from probe.artifacts.report import ArtifactMeasurements
from probe.datasets.dataset import Dataset, by_name
from probe.datasets.decoding import read_image
from probe.datasets.work import worker_pool
from probe.errors import DatasetError
from probe.progress import progress_bar
from probe.results import Provenance

__all__ = ["measure_artifacts", "measure_picture"]

# Imported for their side effect: each module registers its measurements, in the order of tables.


#: The modules are used here so that their imports are not removed as unused.
MODULES = (compression, edges, residuals, spectra)

#: Images per job of a worker process.
CHUNK = 16


@dataclass(frozen=True)
class _Job:
    """One image file, and the mask file of its region or None."""

    image: Path
    mask: Path | None


@dataclass(frozen=True)
class _Measured:
    """Measurements and covariates of one image."""

    values: NDArray[np.float64]
    power: NDArray[np.float64]
    width: int
    height: int
    format: str
    table_quality: float
    outside_quality: float


def measure_picture(picture: Picture) -> dict[str, float]:
    """Return all measurements of one picture, by name; NaN where undefined."""
    return {name: MEASUREMENTS[name](picture) for name in MEASUREMENTS}


def measure_artifacts(
    datasets: Dataset | Iterable[Dataset], *, n_workers: int | None = None, progress: bool = True
) -> ArtifactMeasurements:
    """Measure each image at its stored size, without resizing.

    Spectra of images of different sizes are given at common frequencies, in cycles per pixel.

    Parameters
    ----------
    datasets : Dataset or iterable of Dataset
        Datasets to measure; a composed dataset counts as its parts. The region of a fake is its
        forgery mask; that of a real image is the mask of the fake it is paired with (column
        ``pair``). If a dataset lacks any of these, a central ellipse is used for all of its
        images.
    n_workers : int, optional
        Number of worker processes; one per core by default.
    progress : bool, default True
        Whether to show a progress bar.

    Returns
    -------
    ArtifactMeasurements
        One row per image, in the order given.

    Raises
    ------
    DatasetError
        If no dataset is given, one is given twice, or `n_workers` is below 1.
    ImageError
        If an image or a mask cannot be read; the message names it.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> measured = probe.measure_artifacts(data)
    >>> measured.to_dataframe().shape
    (240, 42)
    """
    parts = by_name(datasets)
    if not parts:
        raise DatasetError("No dataset was given to measure. Give at least one.")
    if n_workers is not None and n_workers < 1:
        raise DatasetError(f"n_workers={n_workers} was given; allowed are 1 and above, or None.")
    jobs, regions = _jobs(parts)
    # Originals that several datasets share are measured once.
    each = list(dict.fromkeys(jobs))
    found = dict(zip(each, _run(each, n_workers or os.cpu_count() or 1, progress), strict=True))
    return ArtifactMeasurements(_gathered(parts, regions, [found[job] for job in jobs]))


def _jobs(parts: Mapping[str, Dataset]) -> tuple[list[_Job], dict[str, str]]:
    jobs, regions = [], {}
    for name, part in parts.items():
        paths, masks = (list(part.samples.table[column]) for column in ("path", "mask"))
        rows = mask_rows(part)
        regions[name] = ELLIPSE if rows is None else MASKS
        for i, path in enumerate(paths):
            mask = None if rows is None else part.root / masks[rows[i]]
            jobs.append(_Job(part.root / path, mask))
    return jobs, regions


def _run(jobs: Sequence[_Job], n_workers: int, progress: bool) -> Iterator[_Measured]:
    chunks = [jobs[start : start + CHUNK] for start in range(0, len(jobs), CHUNK)]
    with progress_bar("measure artifacts", len(jobs), progress=progress) as advance:
        for chunk in _chunks(chunks, min(n_workers, len(chunks))):
            yield from chunk
            advance(len(chunk))


def _chunks(chunks: Sequence[Sequence[_Job]], n_workers: int) -> Iterator[list[_Measured]]:
    if n_workers <= 1:
        yield from map(_measure_all, chunks)
        return
    with worker_pool(n_workers) as pool:
        yield from pool.map(_measure_all, chunks)


def _measure_all(jobs: Sequence[_Job]) -> list[_Measured]:
    return [_measure(job) for job in jobs]


def _measure(job: _Job) -> _Measured:
    pixels = read_image(job.image).pixels
    height, width = pixels.shape[:2]
    mask = None if job.mask is None else np.asarray(read_image(job.mask).pixels[..., 0])
    form, quality = file_facts(job.image)
    picture = Picture(pixels, region_of(mask, height, width), quality)
    return _Measured(
        np.array(list(measure_picture(picture).values())),
        spectra.azimuthal_power(picture),
        width,
        height,
        form,
        quality,
        compression.estimated_quality(picture, ~picture.inside),
    )


def _gathered(
    parts: Mapping[str, Dataset], regions: Mapping[str, str], found: Sequence[_Measured]
) -> xr.Dataset:
    tables = [part.samples.table for part in parts.values()]
    text = {
        name: np.concatenate([table[name].to_numpy(dtype=str) for table in tables])
        for name in ("sample", "dataset", "method", "video")
    }
    sizes = [len(part) for part in parts.values()]
    text["region"] = np.repeat([regions[name] for name in parts], sizes)
    text["cluster"] = np.concatenate([_cluster_names(part) for part in parts.values()])
    labels = np.concatenate([part.labels for part in parts.values()])
    entries = [MEASUREMENTS[name] for name in MEASUREMENTS]
    return xr.Dataset(
        {
            "value": (("sample", "measurement"), np.stack([one.values for one in found])),
            "control": (("sample", "covariate"), _controls(parts, found)),
            "power": (("sample", "frequency"), np.stack([one.power for one in found])),
            "label": ("sample", labels),
            **{name: ("sample", values) for name, values in text.items() if name != "sample"},
            **{
                f"measurement_{column}": ("measurement", [getattr(e, column) for e in entries])
                for column in ("unit", "source", "about", "needs")
            },
        },
        {
            "sample": text["sample"],
            "measurement": list(MEASUREMENTS),
            "covariate": list(COVARIATES),
            "frequency": spectra.FREQUENCIES,
        },
        Provenance.made(data=parts.values()).attrs(),
    )


def _cluster_names(part: Dataset) -> NDArray[np.str_]:
    """Return names of the clusters of `Samples.clusters`, unique over datasets."""
    table = part.samples.table
    known = table["identity"] != ""
    names = ("id|" + table["identity"]).where(known, "video|" + table["video"])
    return np.asarray((table["dataset"] + "|" + names).to_numpy(dtype=str))


def _controls(parts: Mapping[str, Dataset], found: Sequence[_Measured]) -> NDArray[np.float64]:
    formats = coded(np.array([one.format for one in found]))
    own = np.column_stack(
        [
            [one.width for one in found],
            [one.height for one in found],
            formats,
            [one.table_quality for one in found],
        ]
    )
    outside = np.array([one.outside_quality for one in found])
    start = 0
    for part in parts.values():
        rows = slice(start, start + len(part))
        # One rule per dataset: tables for some files, estimates for others could give labels away.
        if np.isnan(own[rows, 3]).any():
            own[rows, 3] = outside[rows]
        start += len(part)
    tables = np.vstack([table_covariates(part.samples.table) for part in parts.values()])
    return np.column_stack([own, tables])
