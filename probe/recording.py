"""`record`: run a detector on datasets and record the activations of its layers in a store."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probe.compute import FLOAT32, MEASURED_ON, check_precision, deviation, on_device
from probe.datasets.dataset import Dataset, concatenate
from probe.datasets.loader import Images, first_rows
from probe.datasets.subset import draw
from probe.detectors.detector import Detector
from probe.errors import ProbeError, UnknownNameError
from probe.hooks import REDUCERS, Recorder, Tap, trace
from probe.progress import progress_bar
from probe.store import DTYPES, ActivationStore, StoreWriter

__all__ = ["record"]

Arrays = dict[str, NDArray[Any]]

#: Key of the logits among the values by layer; no layer has an empty name.
LOGIT = ""


def record(
    detector: Detector,
    data: Dataset | Sequence[Dataset],
    out: str | Path,
    *,
    layers: Sequence[str],
    batch_size: int = 64,
    dtype: str = "float32",
    reducer: str = "mean",
    precision: str = FLOAT32,
) -> ActivationStore:
    """Record layer activations and the fake logit of every sample.

    All layers are recorded in one pass over the images. An interrupted recording resumes at its
    first unwritten batch, with the same values as an uninterrupted one. A complete recording is
    opened without running the detector.

    Parameters
    ----------
    detector : Detector
        Detector to record.
    data : Dataset or sequence of Dataset
        Datasets to run it on.
    out : path
        Folder of the store, usually ``….zarr``.
    layers : sequence of str
        Module paths of the layers, as listed by `trace`; also the names of the groups in the
        store.
    batch_size : int, default 64
        Images per forward pass; also the rows per chunk of the store.
    dtype : {"float32", "float16"}
        Data type in which activations are stored.
    reducer : str, default "mean"
        Registered reducer from feature maps or tokens to one value per unit; ``full`` keeps every
        position as a unit of its own.
    precision : {"float32", "bfloat16", "float16"}
        Precision of the forward passes. For reduced precision, the store's attribute
        ``deviation`` holds the difference from float32 by layer and for the logit, in standard
        deviations over a random subset of the images.

    Returns
    -------
    ActivationStore
        The complete store.

    Raises
    ------
    UnknownNameError
        If a layer, the reducer or the dtype is not known.
    StoreError
        If `out` holds something else, or a recording of another detector, dataset or setting.
    ImageError
        If an image cannot be read. The store stays incomplete; run again to resume.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> probe.record(detector, data, "activations.zarr", layers=["leaky", "conv4"])
    <ActivationStore 'activations.zarr': 240 samples, leaky 16 units, conv4 16 units>
    """
    recorder = _recorder(detector, layers, reducer)
    _check(batch_size, dtype)
    check_precision(precision, detector.device)
    data = data if isinstance(data, Dataset) else _joined(list(data))
    names = dict(zip(layers, recorder.names, strict=True))
    attrs = {
        "detector": {
            "name": detector.name,
            "fingerprint": detector.fingerprint,
            "spec": detector.spec.to_dict(),
        },
        "dataset": {"name": data.name, "fingerprint": data.fingerprint, "card": dict(data.card)},
        "layers": names,
        "reducer": reducer,
        "dtype": dtype,
        "batch_size": batch_size,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "timm", "zarr")},
    }
    if precision != FLOAT32:
        attrs["precision"] = precision
        attrs["deviation"] = _deviation(recorder, data, precision)
    units = _units(recorder, names)
    writer = StoreWriter.begin(Path(out), data.samples.table, units, attrs)
    if not writer.complete:
        _fill(writer, recorder, data, names, precision)
        writer.finish()
    return ActivationStore.open(out)


def _deviation(recorder: Recorder, data: Dataset, precision: str) -> dict[str, Any]:
    drawn = draw(data, MEASURED_ON)
    images = Images(drawn, recorder.detector.spec.input_size, keep=True)

    def run(batch: Any) -> Arrays:
        found = _run(recorder, batch)
        return {"logit": found.pop(LOGIT), **found}

    place = recorder.detector.device
    return deviation(run, lambda: images.batches(drawn, MEASURED_ON), place, precision)


def _fill(
    writer: StoreWriter, recorder: Recorder, data: Dataset, names: dict[str, str], precision: str
) -> None:
    """Run the detector once per image file, and write its values to all rows of that file."""
    missing, first = writer.missing, first_rows(data)
    rows = [np.arange(where.start, where.stop) for where in missing]
    new = [those[first[those] == those] for those in rows]
    images = Images(data, recorder.detector.spec.input_size).batches(
        data,
        [len(those) for those in new if len(those)],
        np.concatenate([np.zeros(0, dtype=np.int64), *new]),
    )
    place = recorder.detector.device
    runs = on_device(images, place, lambda batch: _run(recorder, batch), precision)
    with progress_bar(f"record {recorder.detector.name}", len(data)) as advance:
        advance(len(data) - sum(map(len, rows)))
        for where, those, fresh in zip(missing, rows, new, strict=True):
            found = _taken(runs, len(fresh))
            if len(fresh) < len(those):
                found = _spread(found, fresh, first[those], writer)
            logits = found.pop(LOGIT)
            writer.write(where, {layer: found[name] for layer, name in names.items()}, logits)
            advance(len(those))


def _taken(runs: Iterator[tuple[slice, Arrays]], count: int) -> Arrays:
    """Return the values of the next `count` images; a batch may have been split into parts."""
    parts: list[Arrays] = []
    while sum(len(part[LOGIT]) for part in parts) < count:
        parts.append(next(runs)[1])
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} if parts else {}


def _spread(found: Arrays, fresh: Any, first: Any, writer: StoreWriter) -> Arrays:
    """Return values for every row, copied from the first row of its file.

    That row was computed in this batch or is in the store already.
    """
    now = np.isin(first, fresh)
    before = writer.read(first[~now])
    out: Arrays = {}
    for key, old in before.items():
        out[key] = np.empty((len(first), *old.shape[1:]), dtype=np.float32)
        out[key][~now] = old
        if now.any():
            out[key][now] = found[key][np.searchsorted(fresh, first[now])]
    return out


def _run(recorder: Recorder, images: Any) -> Arrays:
    values, logits = recorder(images)
    arrays = {name: value.float().cpu().numpy() for name, value in values.items()}
    return arrays | {LOGIT: logits.float().cpu().numpy()}


def _recorder(detector: Detector, layers: Sequence[str], reducer: str) -> Recorder:
    if isinstance(layers, str) or not layers or len(set(layers)) < len(layers):
        raise ProbeError(
            f"layers={layers!r} was given; it takes a list of one or more different layers. List "
            f"them with `probe layers {detector.spec.name}`."
        )
    if reducer not in REDUCERS:
        raise UnknownNameError("reducer", reducer, REDUCERS)
    return Recorder.of(trace(detector), [Tap(layer, reducer) for layer in layers])


def _check(batch_size: int, dtype: str) -> None:
    if dtype not in DTYPES:
        raise UnknownNameError("dtype", dtype, DTYPES)
    if batch_size < 1:
        raise ProbeError(f"batch_size={batch_size} was given; it takes at least 1.")


def _joined(datasets: list[Dataset]) -> Dataset:
    if not datasets:
        raise ProbeError("No dataset was given; a recording takes one or more.")
    if len(datasets) == 1:
        return datasets[0]
    return concatenate(datasets, "+".join(one.name for one in datasets))


def _units(recorder: Recorder, names: dict[str, str]) -> dict[str, int]:
    """Return the number of units of each layer, found by running one blank image."""
    size = recorder.detector.spec.input_size
    values = _run(recorder, np.zeros((1, 3, size, size), dtype=np.float32))
    return {layer: values[name].shape[1] for layer, name in names.items()}
