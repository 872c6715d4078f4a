"""An image that a visitor drops: taken in with care, and what the detectors say of it."""

from __future__ import annotations

import base64
import binascii
import io
import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from flask import Flask, Response, abort
from PIL import Image

from app.images import image_response, not_shown, row_of, thumbnail
from app.jobs import ABSENT, JobState, Task, jobs_of, reads_of
from app.run import Run, unit_layer
from probe.datasets.decoding import decode
from probe.errors import ImageError, ProbeError, StoreError

__all__ = [
    "Dropped",
    "FORMATS",
    "MOST_BYTES",
    "MOST_PIXELS",
    "Taken",
    "add_large",
    "ask",
    "comparable",
    "dropped_image",
    "dropped_of",
    "forget",
    "score_task",
    "state_of",
    "take_in",
]

#: Formats that are read, by content; names and types that a browser gives decide nothing.
FORMATS = ("PNG", "JPEG", "WEBP")

MOST_BYTES = 10 * 2**20
MOST_PIXELS = 40_000_000
#: Images with a shorter side show nothing that could be judged, see `probe.datasets.cutting`.
LEAST_SIDE = 16

#: Longest side of what is shown.
SIDE = 1024

#: What the worker and this side call the files, see `probe.upload`.
IMAGE, SEEN, RESULT = "image.png", "seen.png", "scores.json"

#: One at a time: decoded, the largest takes some hundred megabytes.
_decoding = threading.Lock()


@dataclass(frozen=True)
class Taken:
    """An image that was taken in: its pixels as PNG, without any metadata.

    Attributes
    ----------
    png : bytes
        8-bit RGB.
    width, height : int
        In pixels.
    format : str
        What the file was.
    conversions : tuple of str
        What had to be done to get there, in words of `probe.datasets.decoding`.
    """

    png: bytes
    width: int
    height: int
    format: str
    conversions: tuple[str, ...]


@dataclass(frozen=True)
class Dropped:
    """What the job "score" says of an image.

    Attributes
    ----------
    rule : str
        What of the image was scored.
    notes : tuple of str
        What else has to be said of it.
    size, seen_size : tuple of int
        Width and height of the image, and of what was scored.
    logits : mapping
        Logit of "fake" by detector; NaN where it is no number.
    layers : mapping
        Layer of the activations by detector.
    activations : mapping
        Activations by detector, shape (unit,).
    measurements : mapping
        By name; NaN where not defined.
    region : str
        What stood for the forged area in measurements that compare inside with outside.
    """

    rule: str
    notes: tuple[str, ...]
    size: tuple[int, int]
    seen_size: tuple[int, int]
    logits: Mapping[str, float]
    layers: Mapping[str, str]
    activations: Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]
    measurements: Mapping[str, float]
    region: str


def take_in(contents: object) -> Taken:
    """Decode what a browser sent as a data URL, in memory.

    Parameters
    ----------
    contents : object
        As it came; nothing about it is trusted.

    Returns
    -------
    Taken

    Raises
    ------
    ImageError
        If it is no such image, is damaged, or is larger than the limits.
    """
    data = _bytes_of(contents)
    with _decoding:
        _check_header(data)
        found = decode(data, "dropped")
        out = io.BytesIO()
        # Pixels alone: neither EXIF nor color profile, text or thumbnails come along.
        Image.fromarray(found.pixels).save(out, "PNG", compress_level=1)
    height, width = found.pixels.shape[:2]
    return Taken(out.getvalue(), width, height, found.format, found.conversions)


def score_task(run: Run, png: bytes) -> Task:
    """Request scores of an image by all detectors whose weights exist, as in `score_upload`.

    Raises
    ------
    ProbeError
        If the run holds no weights of any detector.
    """
    reads: dict[str, Any] = {}
    problem: ProbeError | None = None
    for label in run.detectors:
        try:
            reads[label] = reads_of(run, label)
        except ProbeError as error:
            problem = problem or error
    if not reads:
        raise problem or ProbeError("This run names no detectors, so nothing can be scored.")
    layers, reducers = {}, {}
    for label in reads:
        with suppress(ProbeError):
            store = run.store(label)
            if unit_layer(run, label) in store.layers:
                layers[label] = unit_layer(run, label)
                reducers[label] = str(store.attrs.get("reducer", "mean"))
    params = {"detectors": list(reads), "layers": layers, "reducers": reducers}
    return Task("score", params, run.folder.root, reads, {IMAGE: png})


def ask(run: Run, png: bytes) -> str:
    """Have an image scored, and return the fingerprint that it is followed by."""
    return jobs_of(run).submit(score_task(run, png))


def state_of(run: Run, fingerprint: str) -> JobState:
    """Say how far the scoring of an image is."""
    return jobs_of(run).state(fingerprint)


def dropped_of(run: Run, fingerprint: str) -> Dropped:
    """Read what was found of an image.

    Raises
    ------
    ProbeError
        If it is not there (any more), or is no result of this kind.
    """
    file = jobs_of(run).result(fingerprint) / RESULT
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        detectors = dict(found["detectors"])
        return Dropped(
            rule=str(found["rule"]),
            notes=tuple(map(str, found["notes"])),
            size=(int(found["size"][0]), int(found["size"][1])),
            seen_size=(int(found["seen_size"][0]), int(found["seen_size"][1])),
            logits={label: _number(one["logit"]) for label, one in detectors.items()},
            layers={label: str(one["layer"]) for label, one in detectors.items()},
            activations={
                label: np.array([_number(v) for v in one["activation"]], dtype=np.float64)
                for label, one in detectors.items()
            },
            measurements={str(k): _number(v) for k, v in found["measurements"].items()},
            region=str(found["region"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            "The result of this image is damaged. Remove it, and choose the image again."
        ) from error


def comparable(found: Dropped, data: xr.Dataset) -> dict[str, float]:
    """Return the measurements that mean the same as those of a run.

    Those of a region are left out unless the same region stood for it in the run: two rules would
    be told apart by any measurement.
    """
    given = dict(found.measurements)
    regions = set(map(str, data["region"].values)) if "region" in data else set()
    if regions != {found.region} and "measurement_needs" in data:
        needs = data["measurement_needs"]
        for name, needed in zip(data["measurement"].values, needs.values, strict=True):
            if str(needed):
                given.pop(str(name), None)
    return given


def dropped_image(run: Run, fingerprint: str, part: str) -> bytes:
    """Return a dropped image, "whole" or as "seen" by detectors, at most `SIDE` wide, as WebP.

    Raises
    ------
    ProbeError
        If it is not there.
    """
    jobs = jobs_of(run)
    folder = jobs.job(fingerprint)
    if jobs.state(fingerprint).name == ABSENT or folder.read_job().get("kind") != "score":
        raise ProbeError("There is no such image (any more).")
    file = folder.files / IMAGE if part == "whole" else folder.result / SEEN
    try:
        with _decoding, Image.open(file, formats=("PNG",)) as image:
            image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            out = io.BytesIO()
            image.convert("RGB").save(out, "WEBP", quality=92)
    except (OSError, ValueError) as error:
        raise ImageError("The image is not there (any more).") from error
    return out.getvalue()


def forget(run: Run, fingerprint: str) -> None:
    """Remove an image, and all that was made of it, from the cache; a running job is ended."""
    jobs = jobs_of(run)
    folder = jobs.job(fingerprint)
    if not folder.root.is_dir():
        return
    if folder.job.is_file() and folder.read_job().get("kind") != "score":
        raise ProbeError("This names no image that was dropped, so nothing was removed.")
    jobs.remove(fingerprint)


def _bytes_of(contents: object) -> bytes:
    """Take the file out of a data URL; its length is checked before anything is decoded."""
    if not isinstance(contents, str) or not contents.startswith("data:"):
        raise ImageError("The browser sent no file. Choose a PNG, JPEG or WebP image.")
    if len(contents) > 4 * MOST_BYTES // 3 + 300:
        raise ImageError(
            f"The file is larger than {MOST_BYTES // 2**20} MB. Choose a smaller image, or save "
            "this one with fewer pixels."
        )
    head, comma, text = contents.partition(",")
    if not comma or len(head) > 200 or not head.endswith(";base64"):
        raise ImageError("What the browser sent cannot be read. Choose the file again.")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError("What the browser sent is damaged. Choose the file again.") from error
    if not data:
        raise ImageError("The file is empty. Choose another one.")
    if len(data) > MOST_BYTES:
        raise ImageError(f"The file is larger than {MOST_BYTES // 2**20} MB. Choose a smaller one.")
    return data


def _check_header(data: bytes) -> None:
    """Raise by what the head of a file says of it, before a pixel of it is decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"The image claims far more pixels than the {MOST_PIXELS // 10**6} million that are "
            "read. Choose a smaller one."
        ) from error
    # Pillow's readers meet damaged files with a dozen kinds of exception.
    except Exception as error:
        raise ImageError(
            "The file is no PNG, JPEG or WebP image, or is damaged. Other formats are not read: "
            "save it as one of these."
        ) from error
    if width * height > MOST_PIXELS:
        raise ImageError(
            f"The image has {width:,} × {height:,} pixels; at most {MOST_PIXELS // 10**6} million "
            "are read. Choose a smaller one."
        )
    if min(width, height) < LEAST_SIDE:
        raise ImageError(
            f"The image has {width:,} × {height:,} pixels; both sides need at least {LEAST_SIDE}. "
            "Choose a larger one."
        )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def add_large(server: Flask, run: Run) -> None:
    """Serve images of at most 1024 pixels a side as WebP.

    ``/image/<token>`` is an image of the run; ``/dropped/<fingerprint>/whole`` one that a visitor
    dropped, and ``/dropped/<fingerprint>/seen`` what detectors were shown of it.
    """

    @server.get("/image/<path:token>")
    def _large(token: str) -> Response:
        row = row_of(run, token)
        try:
            return image_response(thumbnail(run, row, SIDE, quality=92), "image/webp")
        except ProbeError as error:
            return not_shown(error)

    @server.get("/dropped/<fingerprint>/<any(whole, seen):part>")
    def _dropped(fingerprint: str, part: str) -> Response:
        try:
            response = image_response(dropped_image(run, fingerprint, part), "image/webp")
        except ProbeError as error:
            abort(404, str(error))
        # What was removed shall not live on in the browser.
        response.headers["Cache-Control"] = "no-store"
        return response
