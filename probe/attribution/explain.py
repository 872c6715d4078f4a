"""`attribute`: compute an `AttributionMap` from a detector and images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from probe.attribution.maps import MAGNITUDE, TOWARDS, AttributionMap, MapWriter
from probe.attribution.methods import METHODS, Method, Refusal
from probe.attribution.problem import Explained, Problem
from probe.attribution.rewrite import rewrite
from probe.attribution.targets import LOGIT, TargetLike, choose_layer, find_target
from probe.compute import to_device
from probe.datasets import Dataset
from probe.datasets.loader import Images
from probe.detectors.detector import Detector
from probe.errors import ProbeError, UnknownNameError
from probe.hooks.tracing import TracedDetector, trace
from probe.progress import progress_bar
from probe.registry import Registry
from probe.results import Provenance
from probe.schema import FAKE

__all__ = [
    "BASELINES",
    "Given",
    "PAIR",
    "attribute",
    "baselines_of",
    "comparing_with",
    "digest",
    "digest_of",
    "gather",
    "pair_positions",
    "prepare",
]

#: Maps images, shape (n, 3, h, w), to their baselines, of the same shape.
BASELINES: Registry[Callable[[Tensor], Tensor]] = Registry(
    "baseline", "'pair' compares a fake with the real image that it was made from."
)

PAIR = "pair"
#: Standard deviation of the blur, as a share of the side of the image.
BLUR = 1 / 12


@BASELINES.register("black")
def _black(x: Tensor) -> Tensor:
    return torch.zeros_like(x)


@BASELINES.register("mean")
def _mean(x: Tensor) -> Tensor:
    """Return the mean color of each image at every pixel."""
    return x.mean(dim=(2, 3), keepdim=True).expand_as(x).clone()


@BASELINES.register("blur")
def _blur(x: Tensor) -> Tensor:
    """Blur with a Gaussian; the border is continued (replicate padding)."""
    sigma = BLUR * x.shape[-1]
    radius = min(int(3 * sigma + 0.5), min(x.shape[-2:]) - 1)
    at = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = (kernel / kernel.sum()).repeat(x.shape[1], 1)
    padded = F.pad(x, (radius,) * 4, mode="replicate")
    rows = F.conv2d(padded, kernel[:, None, :, None], groups=x.shape[1])
    return F.conv2d(rows, kernel[:, None, None, :], groups=x.shape[1])


def pair_positions(data: Dataset, everything: Dataset | None = None) -> NDArray[np.int64]:
    """Find the real image that each fake was made from, by the column ``pair``.

    Parameters
    ----------
    data : Dataset
        Fake images.
    everything : Dataset, optional
        Dataset that contains the real images; `data` by default.

    Returns
    -------
    numpy.ndarray
        Shape (n,), positions in `everything`.

    Raises
    ------
    ProbeError
        If an image is real, or its pair is unknown or missing.
    """
    table, place = data.samples.table, (everything or data).samples.table
    reals = int((table["label"] != FAKE).sum())
    if reals:
        raise ProbeError(
            f"baseline='pair' was given for {len(table)} images, of which {reals} are real; only a "
            "fake has a real image that it was made from. Explain the fakes alone."
        )
    where = {name: i for i, name in enumerate(place["sample"])}
    pairs = list(table["pair"]) if "pair" in table else [""] * len(table)
    missing = [
        sample for sample, pair in zip(table["sample"], pairs, strict=True) if pair not in where
    ]
    if missing:
        raise ProbeError(
            f"baseline='pair' was given, and the real image is unknown for {len(missing)} of "
            f"{len(table)} fakes, such as {missing[0]!r}. It is known if the sample table has a "
            "column 'pair', as the lab's has; use 'black', 'blur' or 'mean' elsewhere."
        )
    return np.array([where[pair] for pair in pairs], dtype=np.int64)


Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Given:
    """Images to explain: an array, or a dataset that is read batch by batch.

    Attributes
    ----------
    array : numpy.ndarray or None
        Images, shape (n, 3, h, w), in [0, 1].
    data : Dataset or None
        Dataset of the images, if they are from one.
    pairs : Dataset or None
        Real image of each fake, for the baseline "pair".
    size : int
        Side of the images in pixels.
    """

    size: int
    array: Floats | None = None
    data: Dataset | None = None
    pairs: Dataset | None = None

    def __len__(self) -> int:
        return len(self.data) if self.data is not None else len(self._array)

    @property
    def _array(self) -> Floats:
        assert self.array is not None  # one of the two is given
        return self.array

    def batches(self, wheres: Sequence[slice], device: torch.device) -> Iterator[Tensor]:
        """Yield images on a device, shape (n, 3, h, w), per slice; decoded ahead of use."""
        if self.data is None:
            for where in wheres:
                yield torch.from_numpy(np.array(self._array[where])).to(device)
            return
        sizes = [where.stop - where.start for where in wheres]
        order = np.concatenate([np.arange(where.start, where.stop) for where in wheres])
        for _, pixels in Images(self.data, self.size).batches(self.data, sizes, order):
            yield to_device(pixels, device).contiguous()

    def read_pairs(self, where: slice) -> Floats:
        """Return the real images of fakes, shape (n, 3, h, w)."""
        assert self.pairs is not None  # given with the baseline "pair"
        return self.pairs.array(range(where.start, where.stop), self.size)

    def coords(self) -> dict[str, Any]:
        """Return coordinates over ``sample``: ids, and columns of the dataset if there is one."""
        if self.data is None:
            return {"sample": [str(i) for i in range(len(self))]}
        table = self.data.samples.table
        return {
            "sample": table["sample"].astype(str).to_numpy(),
            "dataset": ("sample", table["dataset"].astype(str).to_numpy()),
            "label": ("sample", table["label"].to_numpy()),
            "forgery": ("sample", table["method"].astype(str).to_numpy()),
            "video": ("sample", table["video"].astype(str).to_numpy()),
            "cluster": ("sample", np.array([str(c) for c in self.data.samples.clusters])),
        }


def gather(
    detector: Detector, images: Any, baseline: Any, pairs: Dataset | None
) -> tuple[Given, Floats | None]:
    """Validate the images, and the baseline if it was given as images."""
    if isinstance(images, Dataset):
        if not len(images):
            raise ProbeError(f"Dataset {images.name!r} holds no image to explain.")
        size, reals = detector.spec.input_size, None
        if isinstance(baseline, str) and baseline == PAIR:
            place = pairs or images
            reals = place.take(pair_positions(images, place))
        given = Given(size, data=images, pairs=reals)
    else:
        given = Given(*checked(images, "Images"))
        if isinstance(baseline, str) and baseline == PAIR:
            raise ProbeError(
                "baseline='pair' was given with plain images, whose pairs are unknown. Give a "
                "dataset, or the real images themselves as the baseline."
            )
    if baseline is None or isinstance(baseline, str):
        return given, None
    _, other = checked(baseline, "Baselines")
    if other.shape[0] not in (1, len(given)) or other.shape[2:] != (given.size, given.size):
        raise ProbeError(
            f"Baselines of shape {other.shape} were given for {len(given)} images of side "
            f"{given.size}; give one for each, or one for all."
        )
    return given, np.broadcast_to(other, (len(given), *other.shape[1:]))


def checked(images: Any, what: str) -> tuple[int, Floats]:
    x = np.asarray(images, dtype=np.float32)
    if x.ndim != 4 or x.shape[1] != 3 or not len(x) or x.shape[2] != x.shape[3]:
        raise ProbeError(
            f"{what} of shape {tuple(x.shape)} were given; allowed is (n, 3, side, side), n > 0."
        )
    if not np.isfinite(x).all() or x.min() < 0 or x.max() > 1:
        raise ProbeError(
            f"{what} from {x.min():g} to {x.max():g} were given; allowed is 0 to 1. Divide 8-bit "
            "images by 255."
        )
    return x.shape[2], x


def comparing_with(method: Method, given: Floats | None, baseline: Any) -> Floats | str | None:
    """Return the baseline to use: images, a name, or None if the method has none."""
    if method.baseline is None:
        if baseline is not None:
            those = ", ".join(name for name in METHODS if METHODS[name].baseline)
            raise ProbeError(
                f"baseline={baseline if isinstance(baseline, str) else 'images'!r} was given for "
                f"{method.name}, which uses no baseline. Leave it out, or choose one of {those}."
            )
        return None
    if given is not None:
        return given
    name = str(baseline or method.baseline)
    if name != PAIR and name not in BASELINES:
        raise UnknownNameError("baseline", name, [*BASELINES, PAIR], remedy=BASELINES.remedy)
    return name


def baselines_of(comparing: Floats | str | None, given: Given, where: slice, x: Tensor) -> Any:
    """Return the baselines of a batch, of its shape; None if the method has none."""
    if comparing is None:
        return None
    if isinstance(comparing, str):
        if comparing == PAIR:
            return torch.from_numpy(given.read_pairs(where)).to(x)
        return BASELINES[comparing](x)
    return torch.from_numpy(np.array(comparing[where])).to(x)


def digest(given: Given) -> str:
    """Return a hash of images given as an array; "" for a dataset, which has a fingerprint."""
    return "" if given.data is not None else digest_of(given.array)


def digest_of(array: Any) -> str:
    """Return a hash of an array; "" for none."""
    if array is None or isinstance(array, str):
        return ""
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).hexdigest()


def attribute(
    detector: Detector | TracedDetector,
    images: ArrayLike | Dataset,
    method: str = "gradcam",
    *,
    target: TargetLike = LOGIT,
    layer: str | None = None,
    baseline: str | ArrayLike | None = None,
    seed: int = 0,
    memory: str | int = "2G",
    out: str | Path | None = None,
    pairs: Dataset | None = None,
    progress: bool = True,
    **options: Any,
) -> AttributionMap:
    """Compute one attribution map per image for a target of a detector.

    Parameters
    ----------
    detector : Detector or TracedDetector
        Detector to explain; it is not changed. Pass a traced detector to trace it only once for
        many calls.
    images : array_like or Dataset
        Images of shape (n, 3, height, width), RGB, in [0, 1]; or a dataset, whose images are
        resized to the detector's input size.
    method : str, default "gradcam"
        Name of the attribution method; see `probe.attribution.METHODS`.
    target : str or tuple, default "logit"
        Value to explain: "logit", the fake logit; (layer, unit), one unit; or (layer, units), the
        mean of several units.
    layer : str, optional
        Layer whose maps are weighted, for Grad-CAM and related methods; by default the last
        convolution, or the last layer whose value is a map.
    baseline : str or array_like, optional
        Baseline of the images: "black", "blur" (Gaussian of a twelfth of the side), "mean" (the
        image's mean color), "pair" (the real image that a fake was made from), or images of the
        same shape. That of the method by default.
    seed : int, default 0
        Seed of random draws. Draws are made per image, so maps do not depend on the batch.
    memory : str or int, default "2G"
        Memory limit of a batch, without weights, given images and resulting maps.
    out : path, optional
        Folder ending in ``.zarr``. Maps are written there batch by batch, and an interrupted call
        can be continued.
    pairs : Dataset, optional
        Dataset with the real images, for the baseline "pair"; the given dataset by default.
    progress : bool, default True
        Whether to show a progress bar.
    **options
        Options of the method, such as ``steps=50`` for integrated gradients.

    Returns
    -------
    AttributionMap
        Unscaled maps at the size of the images.

    Raises
    ------
    Refusal
        If the method cannot be applied to the detector; the message gives the reason.
    UnknownNameError
        If the method, the layer or the baseline is unknown.
    ProbeError
        If the images do not have the stated shape or range, or the memory limit is too small.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> maps = probe.attribute(detector, data.take([0, 1]), "gradcam")
    >>> maps.values.shape
    (2, 64, 64)
    """
    traced = detector if isinstance(detector, TracedDetector) else trace(detector)
    given, others = gather(traced.detector, images, baseline, pairs)
    problem = prepare(
        traced,
        method,
        target=target,
        layer=layer,
        seed=seed,
        memory=memory,
        size=given.size,
        **options,
    )
    chosen = METHODS[method]
    comparing = comparing_with(chosen, others, baseline)
    attrs = _attrs(problem, chosen, given, comparing)
    batch = max(1, chosen.batch(problem))
    if out is not None:
        return _to_disk(problem, chosen, given, comparing, attrs, Path(out), batch, progress)
    parts, where = [], [slice(i, min(i + batch, len(given))) for i in range(0, len(given), batch)]
    with progress_bar(
        f"{chosen.title}, {traced.detector.name}", len(given), progress=progress
    ) as advance:
        for one, x in zip(where, given.batches(where, problem.device), strict=True):
            parts.append(_explain(problem, chosen, given, comparing, x, one))
            advance(one.stop - one.start)
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return AttributionMap(_labeled(arrays, given.coords(), attrs))


def prepare(
    detector: Detector | TracedDetector,
    method: str,
    *,
    target: TargetLike = LOGIT,
    layer: str | None = None,
    seed: int = 0,
    memory: str | int = "2G",
    size: int | None = None,
    **options: Any,
) -> Problem:
    """Rewrite a detector for a method, or raise `Refusal` with the reason why it is not possible.

    Parameters are those of `attribute`; `size` is the side of the images in pixels, that of the
    detector's input by default.
    """
    chosen = METHODS[method]
    settings = chosen.check_options(options)
    traced = detector if isinstance(detector, TracedDetector) else trace(detector)
    side = size or traced.detector.spec.input_size
    found = find_target(traced, target, side)
    path, grid = choose_layer(traced, found, layer, side) if chosen.layer else ("", None)
    tap = traced.layers[path] if path else None
    head = _head(traced.detector, found.head)
    program = rewrite(traced, found.node, tap=tap, grid=grid, head=head)
    problem = Problem(traced, found, program, side, path, grid, memory, settings, seed)
    if layer is not None and not chosen.layer:
        layered = ", ".join(name for name in METHODS if METHODS[name].layer)
        raise ProbeError(
            f"layer={layer!r} was given for {method}, which uses no layer. Leave it out, or "
            f"choose one of {layered}."
        )
    why = chosen.refuse(problem) if chosen.refuse else None
    if why:
        raise Refusal(f"{chosen.title} cannot explain {traced.detector.name}: {why}.")
    return problem


def _head(detector: Detector, head: Any) -> Any:
    return head.to(detector.device) if head is not None else None


def _explain(
    problem: Problem,
    method: Method,
    given: Given,
    comparing: Floats | str | None,
    x: torch.Tensor,
    where: slice,
) -> dict[str, NDArray[Any]]:
    """Explain one batch; returns plain arrays."""
    with torch.enable_grad():
        found = method.explain(
            problem, x, baselines_of(comparing, given, where, x.detach()), where.start
        )
    maps = found.maps.detach().float().cpu().numpy()
    if not np.isfinite(maps).all():
        raise ProbeError(
            f"{method.title} gives values that are not finite for {problem.traced.detector.name}, "
            f"first among images {where.start} to {where.stop - 1}. Check weights and images for "
            "values that are not finite, or choose another method."
        )
    arrays: dict[str, NDArray[Any]] = {}
    if maps.ndim == 4:
        arrays["by_channel"] = maps
        maps = maps.sum(axis=1) if method.signed else np.abs(maps).max(axis=1)
    arrays["attribution"] = maps
    return arrays | _sums(method, found, maps)


def _sums(method: Method, found: Explained, maps: Floats) -> dict[str, NDArray[Any]]:
    n = len(maps)
    value = found.value.float().cpu().numpy() if found.value is not None else np.full(n, np.nan)
    other, promised = np.zeros(n), np.full(n, np.nan)
    if method.complete and found.baseline_value is not None:
        other = found.baseline_value.float().cpu().numpy().astype(np.float64)
        promised = value.astype(np.float64) - other
    gap = maps.astype(np.float64).sum(axis=(1, 2)) - promised
    return {"value": value.astype(np.float32), "gap": gap, "promised": promised}


def _attrs(
    problem: Problem, method: Method, given: Given, comparing: Floats | str | None
) -> dict[str, Any]:
    detector = problem.traced.detector
    changed = problem.traced.report.leaves
    return {
        "result": "AttributionMap",
        "result_version": AttributionMap.VERSION,
        "method": method.name,
        "title": method.title,
        "paper": method.paper,
        "target": problem.target.name if problem.target.layer else "fake logit",
        "layer": problem.layer.removeprefix("body."),
        "sign": TOWARDS if method.signed else MAGNITUDE,
        "signed": method.signed,
        "complete": method.complete,
        "baseline": comparing
        if isinstance(comparing, str)
        else ""
        if comparing is None
        else "images given",
        "options": json.dumps(dict(problem.options), sort_keys=True),
        **Provenance.made(
            [detector], [] if given.data is None else [given.data], seed=problem.seed
        ).attrs(),
        "notes": "; ".join(f"{path} could not be traced: {why}" for path, why in changed.items()),
    }


def _labeled(arrays: dict[str, Any], coords: dict[str, Any], attrs: dict[str, Any]) -> xr.Dataset:
    dims = {
        "attribution": ("sample", "y", "x"),
        "by_channel": ("sample", "channel", "y", "x"),
        "value": ("sample",),
        "gap": ("sample",),
    }
    promised = np.asarray(arrays["promised"])
    attrs = {**attrs, "relative_gap": relative_gap(arrays["gap"], promised)}
    if "by_channel" in arrays:
        coords = {**coords, "channel": list("RGB")}
    variables = {name: (dims[name], arrays[name]) for name in dims if name in arrays}
    return xr.Dataset(variables, coords=coords, attrs=attrs)


def relative_gap(gap: Any, promised: Any) -> float:
    """Return Σ|gap| / Σ|expected sum of a map|; NaN if the method has no expected sum."""
    total = float(np.abs(promised).sum())
    return float(np.abs(gap).sum() / total) if np.isfinite(total) and total > 0 else float("nan")


def _to_disk(
    problem: Problem,
    method: Method,
    given: Given,
    comparing: Floats | str | None,
    attrs: dict[str, Any],
    out: Path,
    batch: int,
    progress: bool,
) -> AttributionMap:
    """Write maps batch by batch; maps that are already there are kept."""
    compared = given.pairs.fingerprint if given.pairs is not None else digest_of(comparing)
    identity = {**attrs, "images": digest(given), "baseline_images": compared}
    writer = MapWriter.begin(
        out, given.coords(), given.size, method.channels, identity, max(1, min(batch, 16))
    )
    with progress_bar(
        f"{method.title}, {problem.traced.detector.name}", len(given), progress=progress
    ) as advance:
        advance(len(given) - sum(one.stop - one.start for one in writer.missing))
        wheres = list(_grouped(writer.missing, batch))
        images = given.batches(wheres, problem.device) if wheres else ()
        for where, x in zip(wheres, images, strict=True):
            arrays = _explain(problem, method, given, comparing, x, where)
            writer.write(where, arrays)
            advance(where.stop - where.start)
    writer.finish(relative_gap(writer.read("gap"), writer.read("promised")))
    return AttributionMap.open(out, lazy=True)


def _grouped(missing: list[slice], batch: int) -> Iterator[slice]:
    """Merge adjacent chunks into batches of at most `batch` images."""
    held: slice | None = None
    for one in missing:
        if held and held.stop == one.start and one.stop - held.start <= batch:
            held = slice(held.start, one.stop)
            continue
        if held:
            yield held
        held = one
    if held:
        yield held
