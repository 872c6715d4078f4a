"""`evaluate`: every detector on every dataset as a zero-shot matrix, intervals over people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from probe.compute import FLOAT32, MEASURED_ON, check_precision, deviation, on_device
from probe.datasets.dataset import Dataset, by_name, concatenate
from probe.datasets.loader import Images
from probe.datasets.subset import draw
from probe.detectors.detector import Detector
from probe.errors import ProbeError
from probe.evaluation.paired import LEVELS, at_level
from probe.progress import progress_bar
from probe.results import Result
from probe.stats import METRICS, Interval, bootstrap_metrics
from probe.tables import export_frame, open_table

__all__ = ["LEVELS", "ZeroShotMatrix", "evaluate", "predict", "suspect_polarity"]

#: A frame AUROC below this is so far under chance that a label or score may be turned round.
SUSPECT = 0.35


@dataclass(frozen=True, repr=False)
class ZeroShotMatrix(Result):
    """Metrics of detectors on datasets.

    Attributes
    ----------
    data : xarray.Dataset
        ``value``, ``low``, ``high`` over (detector, dataset, level, metric), with ``n_samples``
        and ``n_clusters`` over (detector, dataset, level). Metrics are ``accuracy`` at P(fake)
        0.5, ``auroc``, ``ap`` and ``eer``, all in [0, 1]; levels ``frame`` and ``video`` (mean
        P(fake) of its frames). NaN bounds: fewer than five clusters. NaN value: one class only.
    scores : pandas.DataFrame
        One row a detector and image: ``detector, dataset, sample, method,
        video, frame, cluster, label, logit``.
    """

    KIND: ClassVar[str] = "zero-shot matrix"
    REQUIRED: ClassVar[str] = "value"
    COMMAND: ClassVar[str] = "probe evaluate"
    scores: pd.DataFrame

    def _frame(self) -> pd.DataFrame:
        """Return one row a detector, dataset, level and metric."""
        frame = self.data.to_dataframe().reset_index()
        return frame[
            [
                "detector",
                "dataset",
                "level",
                "metric",
                "value",
                "low",
                "high",
                "n_samples",
                "n_clusters",
            ]
        ]

    def save(self, path: str | Path) -> None:
        """Write the labeled arrays as Zarr, and the scores beside them as Parquet."""
        export_frame(self.scores, Path(path).with_suffix(".scores.parquet"))
        super().save(path)

    @classmethod
    def open(cls, path: str | Path) -> ZeroShotMatrix:
        """Read what `save` wrote."""
        data = cls._checked(open_table(Path(path)), path)
        return cls(data, pd.read_parquet(Path(path).with_suffix(".scores.parquet")))


def predict(detector: Detector, dataset: Dataset, *, batch_size: int = 64) -> NDArray[np.float32]:
    """Score a dataset, with a progress bar.

    Returns
    -------
    numpy.ndarray
        Shape (n,), logits of "fake" in the order of the samples.

    Raises
    ------
    ImageError
        If an image cannot be read.
    """
    with progress_bar(f"score {dataset.name} by {detector.name}", len(dataset)) as advance:
        return _predict(detector, dataset, batch_size, advance)


def _predict(
    detector: Detector, dataset: Dataset, batch_size: int, advance: Callable[[int], None]
) -> NDArray[np.float32]:
    out = np.empty(len(dataset), dtype=np.float32)
    images = Images(dataset, detector.spec.input_size).batches(dataset, batch_size)
    for where, logits in on_device(images, detector.device, detector.logits):
        out[where] = logits
        advance(where.stop - where.start)
    return out


def evaluate(
    detectors: Detector | Iterable[Detector],
    datasets: Dataset | Iterable[Dataset],
    *,
    n_resamples: int = 1000,
    ci: float = 0.95,
    seed: int = 0,
    batch_size: int = 64,
    precision: str = FLOAT32,
) -> ZeroShotMatrix:
    """Measure detectors on datasets, per frame and per video.

    Parameters
    ----------
    detectors : Detector or iterable of Detector
        Whom; their names have to differ.
    datasets : Dataset or iterable of Dataset
        On what. A dataset composed of several counts as several.
    n_resamples : int, default 1000
        Resamples of the cluster bootstrap (identities, else videos).
    ci : float, default 0.95
        Coverage of the intervals.
    seed : int, default 0
        Seed of the bootstrap.
    batch_size : int, default 64
        Images scored at once.
    precision : {"float32", "bfloat16", "float16"}
        In which detectors run. How far logits then are from those in float32, in standard
        deviations over images that are drawn, stands in ``attrs["deviation"]`` by detector.

    Returns
    -------
    ZeroShotMatrix
        With the fingerprints of detectors and datasets, and the datasets' cards, in ``attrs``.
    """
    those = [detectors] if isinstance(detectors, Detector) else list(detectors)
    parts = by_name(datasets)
    _require_distinct([one.name for one in those])
    for one in those:
        check_precision(precision, one.device)
    scores = _score_all(those, parts, batch_size, precision)
    data = _measured(scores, n_resamples, ci, seed)
    attrs = _provenance(those, parts, ci, seed)
    if precision != FLOAT32:
        drawn = concatenate([draw(part, MEASURED_ON, seed) for part in parts.values()], "drawn")
        attrs["precision"] = precision
        attrs["deviation"] = {one.name: _deviation(one, drawn, precision) for one in those}
    return ZeroShotMatrix(data.assign_attrs(attrs), scores)


def _deviation(detector: Detector, drawn: Dataset, precision: str) -> dict[str, Any]:
    images = Images(drawn, detector.spec.input_size, keep=True)
    return deviation(
        lambda x: {"logit": detector.logits(x)},
        lambda: images.batches(drawn, MEASURED_ON),
        detector.device,
        precision,
    )


def suspect_polarity(matrix: ZeroShotMatrix) -> list[str]:
    """Name the detectors and datasets whose frame AUROC is so low that a polarity may be wrong.

    Low is an AUROC below .35 whose interval, where there is one, ends below .5. Of a detector that
    was trained here, on labels that are known, no polarity is suspected: it is said to be worse
    than chance.

    Parameters
    ----------
    matrix : ZeroShotMatrix
        What was measured.

    Returns
    -------
    list of str
        A sentence for each; empty where there is none.
    """
    found = matrix.data.sel(level="frame", metric="auroc")
    specs = dict(matrix.data.attrs.get("specs", {}))
    out = []
    for detector in found["detector"].values:
        notes = dict(dict(specs.get(str(detector), {})).get("notes", {}))
        why = _REVERSED if "trained_on" in notes else _SUSPECTED
        for dataset in found["dataset"].values:
            one = found.sel(detector=detector, dataset=dataset)
            value, high = float(one["value"]), float(one["high"])
            # Too few clusters for an interval leave nothing to say against the suspicion.
            if value < SUSPECT and not high >= 0.5:
                out.append(
                    f"{detector} ranks fakes below reals on {dataset}: AUROC {value:.2f}, "
                    f"1 - AUROC = {1 - value:.2f}. {why}"
                )
    return out


_SUSPECTED = (
    "Check the dataset's label convention (here fake is 1) and the polarity of the detector's "
    "weights; if both are right, the forgery lacks, or reverses, what the detector looks for."
)
_REVERSED = (
    "It is worse than chance, though it was trained on labels of this convention (fake is 1): the "
    "forgery lacks, or reverses, what it looks for. Check the dataset's labels if it should not."
)


def _score_all(
    detectors: Sequence[Detector], parts: Mapping[str, Dataset], batch_size: int, precision: str
) -> pd.DataFrame:
    """Score each image file once a detector, also where several parts share their originals."""
    whole = concatenate(list(parts.values()), "all")
    codes, files = pd.factorize(whole.samples.table["path"])
    first = np.unique(codes, return_index=True)[1]
    single, frames = whole.take(first), []
    with progress_bar("score", len(files) * len(detectors)) as advance:
        found = _predict_all(detectors, single, batch_size, advance, precision)[:, codes]
    ends = np.cumsum([len(part) for part in parts.values()])
    for one, logits in zip(detectors, found, strict=True):
        for (name, part), end in zip(parts.items(), ends, strict=True):
            frames.append(_scored(one, name, part, logits[end - len(part) : end]))
    return pd.concat(frames, ignore_index=True)


def _predict_all(
    detectors: Sequence[Detector],
    data: Dataset,
    batch_size: int,
    advance: Callable[[int], None],
    precision: str,
) -> NDArray[np.float32]:
    """Score by detectors, shape (detector, n); images are decoded once for all of one size."""
    out = np.empty((len(detectors), len(data)), dtype=np.float32)
    sizes = [one.spec.input_size for one in detectors]
    for size in dict.fromkeys(sizes):
        for where, pixels in Images(data, size).batches(data, batch_size):
            for k in (k for k, own in enumerate(sizes) if own == size):
                one = detectors[k]
                batch = [(where, pixels)]
                for part, logits in on_device(batch, one.device, one.logits, precision):
                    out[k, part] = logits
                advance(len(pixels))
    return out


def _require_distinct(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice or not names:
        raise ProbeError(
            f"Detectors {', '.join(twice)} were given under one name each. Tables name detectors: "
            "load them with different variants, or evaluate them one by one."
            if twice
            else "No detector was given. Give at least one."
        )


def _scored(
    detector: Detector, name: str, part: Dataset, logits: NDArray[np.float32]
) -> pd.DataFrame:
    table = part.samples.table
    return pd.DataFrame(
        {
            "detector": detector.name,
            "dataset": name,
            "sample": table["sample"],
            "method": table["method"],
            "video": table["dataset"] + "|" + table["method"] + "|" + table["video"],
            "frame": table["frame"],
            "cluster": part.samples.clusters,
            "label": part.labels,
            "logit": logits,
        }
    )


def _measured(scores: pd.DataFrame, n_resamples: int, ci: float, seed: int) -> xr.Dataset:
    detectors = list(dict.fromkeys(scores["detector"]))
    datasets = list(dict.fromkeys(scores["dataset"]))
    coords = {
        "detector": detectors,
        "dataset": datasets,
        "level": list(LEVELS),
        "metric": list(METRICS),
    }
    shape = tuple(len(v) for v in coords.values())
    arrays = {name: np.full(shape, np.nan) for name in ("value", "low", "high")}
    counts = {name: np.zeros(shape[:3], dtype=np.int64) for name in ("n_samples", "n_clusters")}
    for (detector, dataset), rows in scores.groupby(["detector", "dataset"], sort=False):
        for k, unit in enumerate(LEVELS):
            at = (detectors.index(detector), datasets.index(dataset), k)
            intervals = _intervals(at_level(rows, unit), n_resamples, ci, seed)
            for m, found in enumerate(intervals.values()):
                for name, array in arrays.items():
                    array[(*at, m)] = getattr(found, "estimate" if name == "value" else name)
                for name, count in counts.items():
                    count[at] = getattr(found, name)
    dims = tuple(coords)
    variables: dict[str, Any] = {name: (dims, array) for name, array in arrays.items()}
    variables |= {name: (dims[:3], count) for name, count in counts.items()}
    return xr.Dataset(variables, coords)


def _intervals(
    rows: pd.DataFrame, n_resamples: int, ci: float, seed: int
) -> Mapping[str, Interval]:
    return bootstrap_metrics(
        list(METRICS),
        rows["label"].to_numpy(),
        rows["score"].to_numpy(),
        rows["cluster"].to_numpy(),
        n_resamples=n_resamples,
        ci=ci,
        seed=seed,
    )


def _provenance(
    detectors: Sequence[Detector], parts: Mapping[str, Dataset], ci: float, seed: int
) -> dict[str, Any]:
    return {
        "ci": ci,
        "seed": seed,
        "detectors": {one.name: one.fingerprint for one in detectors},
        "specs": {one.name: one.spec.to_dict() for one in detectors},
        "datasets": {name: part.fingerprint for name, part in parts.items()},
        "cards": {name: dict(part.card) for name, part in parts.items()},
        "splits": {name: sorted(set(p.samples.table["split"])) for name, p in parts.items()},
    }
