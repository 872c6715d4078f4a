"""Scores of all detectors of a run on one uploaded image."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from probe.artifacts import Picture, measure_picture
from probe.artifacts.measurements import ELLIPSE, central_ellipse
from probe.datasets.cutting import Region, align, crop_square
from probe.datasets.dataset import Dataset, resize
from probe.datasets.decoding import read_image
from probe.datasets.faces import FINDERS
from probe.detectors.detector import Detector
from probe.errors import ImageError
from probe.hooks import Recorder, Tap
from probe.progress import progress_bar

__all__ = ["IMAGE", "RESULT", "SEEN", "Seen", "score_upload", "see"]

#: Files: the uploaded image, the image that was scored, and the result.
IMAGE, SEEN, RESULT = "image.png", "seen.png", "scores.json"

CUT = "the largest face, cropped like the run's images (margin {margin:g}, {size} pixels{turned})"
WHOLE = (
    "the whole image: this run's images are not cropped, so no face is detected; like those, it is "
    "resized to a square, whatever its aspect ratio"
)


@dataclass(frozen=True)
class Seen:
    """Image that is scored.

    Attributes
    ----------
    pixels : numpy.ndarray
        Shape (height, width, 3), RGB, 0 to 255.
    rule : str
        Description of how it was made from the uploaded image.
    notes : tuple of str
        Remarks and warnings.
    box : tuple of float or None
        Face box: left and upper edge, width and height, in pixels of the uploaded image.
    faces : int
        Number of faces found; 0 if faces were not detected.
    """

    pixels: NDArray[np.uint8]
    rule: str
    notes: tuple[str, ...] = ()
    box: tuple[float, float, float, float] | None = None
    faces: int = 0


def score_upload(
    file: Path,
    data: Dataset,
    load: Callable[[str], Detector],
    labels: Sequence[str],
    layers: Mapping[str, str],
    reducers: Mapping[str, str],
    out: Path,
) -> None:
    """Write the scores of detectors on an image, and its measurements.

    Parameters
    ----------
    file : pathlib.Path
        The image.
    data : Dataset
        Images of the run, whose crop rule is applied.
    load : callable
        Returns the detector of a label.
    labels : sequence of str
        Detectors, such as "meso4/base"; one at a time is held.
    layers, reducers : mapping
        Label to the layer whose activations are kept, and to their reducer.
    out : pathlib.Path
        Folder to write to.

    Raises
    ------
    ImageError
        If faces are cropped, and none is found.
    """
    pixels = read_image(file).pixels
    with progress_bar("score the image", len(labels) + 2) as advance:
        seen = see(data, pixels)
        Image.fromarray(seen.pixels).save(out / SEEN)
        advance(1)
        found = {}
        for label in labels:
            layer, reducer = layers.get(label, ""), reducers.get(label, "mean")
            found[label] = _scored(load(label), seen.pixels, layer, reducer)
            advance(1)
        values = _measured(seen.pixels)
        advance(1)
    content = {
        "rule": seen.rule,
        "notes": list(seen.notes),
        "box": seen.box,
        "faces": seen.faces,
        "size": [pixels.shape[1], pixels.shape[0]],
        "seen_size": [seen.pixels.shape[1], seen.pixels.shape[0]],
        "detectors": found,
        "measurements": values,
        "region": ELLIPSE,
    }
    # JSON has no NaN.
    (out / RESULT).write_text(json.dumps(content, allow_nan=False), encoding="utf-8")


def see(data: Dataset, pixels: NDArray[np.uint8]) -> Seen:
    """Return an image as detectors see it, by the crop rule in the card of a dataset.

    Raises
    ------
    ImageError
        If the rule crops faces, and no face is found.
    """
    rules = list(_crops(data.card))
    cut = [rule for rule in rules if "margin" in rule]
    if not cut:
        sizes = [int(rule["size"]) for rule in rules if rule.get("size")]
        if not sizes:
            return Seen(pixels, WHOLE)
        return Seen(resize(pixels, sizes[0]), f"{WHOLE} ({sizes[0]} pixels)")
    return _cut_out(pixels, cut[0], _remarks(rules, cut))


def _cut_out(pixels: NDArray[np.uint8], rule: Mapping[str, Any], notes: tuple[str, ...]) -> Seen:
    margin, size, turned = float(rule["margin"]), int(rule["size"]), bool(rule.get("aligned"))
    finder = "dlib" if "dlib" in str(rule.get("face_detector", "")) else "yunet"
    faces = FINDERS[finder]().find(pixels)
    if not faces:
        raise ImageError(
            "No face was found in this image. The images of this run are faces, cropped by a face "
            "detector; a score of anything else would be meaningless. Choose an image that shows "
            "a face from the front, larger than about 20 pixels."
        )
    face = faces[0]
    height, width = pixels.shape[:2]
    region: Region = (
        align(face.points, margin) if turned else crop_square(face, margin, width, height)
    )
    if len(faces) > 1:
        notes = (*notes, f"{len(faces)} faces were found; the largest is used.")
    return Seen(
        region.cut(pixels, size),
        CUT.format(margin=margin, size=size, turned=", aligned" if turned else ""),
        notes,
        (face.x, face.y, face.width, face.height),
        len(faces),
    )


def _remarks(rules: list[Mapping[str, Any]], cut: list[Mapping[str, Any]]) -> tuple[str, ...]:
    notes = []
    if any(rule != cut[0] for rule in rules):
        notes.append("The run's datasets were cropped by several rules; the first is used.")
    known = ("YuNet", "dlib")
    if not any(name in str(cut[0].get("face_detector", "")) for name in known):
        notes.append("The run's face boxes were given; here the face is detected by YuNet.")
    return tuple(notes)


def _crops(card: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the crop rules of a card, and of the cards of its parts."""
    crop = card.get("crop")
    if isinstance(crop, Mapping):
        yield crop
    for part in dict(card.get("parts") or {}).values():
        if isinstance(part, Mapping):
            yield from _crops(part)


def _scored(
    detector: Detector, pixels: NDArray[np.uint8], layer: str, reducer: str
) -> dict[str, Any]:
    """Score an image as in recording, and keep the activations of a layer."""
    batch = resize(pixels, detector.spec.input_size).transpose(2, 0, 1)[None]
    images = np.ascontiguousarray(batch, dtype=np.float32) / np.float32(255)
    if not layer:
        return {"logit": _number(detector.logits(images)[0]), "layer": "", "activation": []}
    recorder = Recorder.of(detector, [Tap(layer, reducer)])
    values, logits = recorder(images)
    activation = values[recorder.names[0]][0].float().cpu().numpy()
    return {
        "logit": _number(logits[0]),
        "layer": layer,
        "activation": [_number(v) for v in activation],
    }


def _measured(pixels: NDArray[np.uint8]) -> dict[str, float | None]:
    """Measure an image, with its central ellipse as the region of a forgery."""
    found = measure_picture(Picture(pixels, central_ellipse(*pixels.shape[:2])))
    return {name: _number(value) for name, value in found.items()}


def _number(value: Any) -> float | None:
    found = float(value)
    return found if np.isfinite(found) else None
