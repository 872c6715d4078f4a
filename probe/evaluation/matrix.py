"""`evaluate`: the zero-shot matrix of detectors on datasets, with cluster bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

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
from probe.evaluation.table import ZeroShotMatrix
from probe.progress import progress_bar
from probe.results import Provenance
from probe.stats import METRICS, Interval, bootstrap_metrics

__all__ = ["LEVELS", "ZeroShotMatrix", "evaluate", "predict", "suspect_polarity"]

#: A frame AUROC below this is so far below chance that labels or scores may be reversed.
SUSPECT = 0.35


def predict(detector: Detector, data: Dataset, *, batch_size: int = 64) -> NDArray[np.float32]:
    """Return the fake logits of a detector on a dataset; shows a progress bar.

    Returns
    -------
    numpy.ndarray
        Shape (n,), fake logits in the order of the samples.

    Raises
    ------
    ImageError
        If an image cannot be read.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> probe.predict(detector, data).shape
    (240,)
    """
    with progress_bar(f"score {data.name} by {detector.name}", len(data)) as advance:
        return _predict(detector, data, batch_size, advance)


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
    data: Dataset | Iterable[Dataset],
    *,
    n_resamples: int = 1000,
    ci: float = 0.95,
    seed: int = 0,
    batch_size: int = 64,
    precision: str = FLOAT32,
) -> ZeroShotMatrix:
    """Evaluate detectors on datasets, per frame and per video.

    Parameters
    ----------
    detectors : Detector or iterable of Detector
        Detectors to evaluate, with distinct names.
    data : Dataset or iterable of Dataset
        Datasets to evaluate on. A composed dataset counts as its parts.
    n_resamples : int, default 1000
        Number of cluster bootstrap resamples (clusters are identities, else videos).
    ci : float, default 0.95
        Confidence level of the intervals, between 0 and 1.
    seed : int, default 0
        Seed of the bootstrap.
    batch_size : int, default 64
        Images per batch.
    precision : {"float32", "bfloat16", "float16"}
        Precision of the detectors. ``attrs["deviation"]`` gives, per detector, how far the logits
        are from float32, in standard deviations over a sample of images.

    Returns
    -------
    ZeroShotMatrix
        Metrics and scores. ``attrs`` has the cards of the datasets.

    Raises
    ------
    ProbeError
        If no detector is given, or two have the same name.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> matrix = probe.evaluate(detector, data)
    >>> matrix.to_dataframe().columns[:4].tolist()
    ['detector', 'dataset', 'level', 'metric']
    """
    those = [detectors] if isinstance(detectors, Detector) else list(detectors)
    parts = by_name(data)
    _require_distinct([one.name for one in those])
    for one in those:
        check_precision(precision, one.device)
    scores = _score_all(those, parts, batch_size, precision)
    found = _measured(scores, n_resamples, ci, seed)
    attrs = _provenance(those, parts, ci, seed)
    if precision != FLOAT32:
        drawn = concatenate([draw(part, MEASURED_ON, seed) for part in parts.values()], "drawn")
        attrs["precision"] = precision
        attrs["deviation"] = {one.name: _deviation(one, drawn, precision) for one in those}
    return ZeroShotMatrix(found.assign_attrs(attrs), scores)


def _deviation(detector: Detector, drawn: Dataset, precision: str) -> dict[str, Any]:
    images = Images(drawn, detector.spec.input_size, keep=True)
    return deviation(
        lambda x: {"logit": detector.logits(x)},
        lambda: images.batches(drawn, MEASURED_ON),
        detector.device,
        precision,
    )


def suspect_polarity(matrix: ZeroShotMatrix) -> list[str]:
    """Return messages on detectors whose frame AUROC is so low that a polarity may be wrong.

    Reported is an AUROC below 0.35 whose interval, if there is one, ends below 0.5. For a detector
    trained by `probe`, whose labels are known, the message says that it is worse than chance.

    Parameters
    ----------
    matrix : ZeroShotMatrix
        Evaluation of the detectors.

    Returns
    -------
    list of str
        One message per detector and dataset; empty if there is none.
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
            # Without an interval (too few clusters), the estimate alone raises the suspicion.
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
    """Score each image file once per detector, also if several parts share their originals."""
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
    """Return scores, shape (detector, n); images are decoded once per input size."""
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
            f"Detectors {', '.join(twice)} were given more than once. Names must be unique: load "
            "them with different variants, or evaluate them one by one."
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
        **Provenance.made(detectors, parts.values(), seed=seed, ci=ci).attrs(),
        "specs": {one.name: one.spec.to_dict() for one in detectors},
        "cards": {name: dict(part.card) for name, part in parts.items()},
        "splits": {name: sorted(set(p.samples.table["split"])) for name, p in parts.items()},
    }
