"""Images of a run: those that drive a unit most and least, and thumbnails by token."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from dash import html
from flask import Flask, Response, abort, request
from numpy.typing import NDArray
from PIL import Image

from app.activations import column
from app.run import Run, derived
from probe.errors import ProbeError, StoreError
from probe.images import REMEDIES, NotShownError, token_of
from probe.stats import sigmoid
from probe.store import ActivationStore
from probe.store.reader import VideoGroups
from probe.thumbnails import SIDE

__all__ = [
    "Extremes",
    "Lack",
    "Shown",
    "add_routes",
    "extremes",
    "image_response",
    "lacks_note",
    "lacks_of",
    "lacks_text",
    "mask_of",
    "not_shown",
    "outline",
    "picture",
    "row_of",
    "shown_of",
    "thumbnail",
]


@dataclass(frozen=True)
class Shown:
    """One image with what stands under it.

    Attributes
    ----------
    token : str
        Names the image in addresses.
    sample, method, video : str
        Columns of `probe.datasets.dataset.Samples`.
    label, frame : int
        Likewise; label 1 is fake.
    activation : float
        Of the unit in question.
    p_fake : float
        The detector's score, in [0, 1].
    has_mask : bool
        Whether there is a forgery mask to outline.
    """

    token: str
    sample: str
    method: str
    video: str
    label: int
    frame: int
    activation: float
    p_fake: float
    has_mask: bool


@dataclass(frozen=True)
class Extremes:
    """Images of one dataset at both ends of a unit, at most one frame a video.

    Attributes
    ----------
    dataset : str
        Which.
    most, least : tuple of Shown
        Highest activation first; lowest first.
    n_videos : int
        How many videos they were chosen from.
    """

    dataset: str
    most: tuple[Shown, ...]
    least: tuple[Shown, ...]
    n_videos: int


def extremes(run: Run, label: str, layer: str, unit: int, each: int) -> tuple[Extremes, ...]:
    """Find the images that drive a unit most and least, dataset by dataset.

    Neighboring frames look alike, so a video stands in a row at most once, by its extreme frame.

    Parameters
    ----------
    run : Run
        What holds the detector's activation store.
    label, layer : str
        Detector and tap.
    unit : int
        Unit of the tap.
    each : int
        Images at each end.

    Raises
    ------
    UnknownNameError
        If the store lacks the layer.
    StoreError
        If it lacks the unit, or holds values that are not finite.
    ArrangingError
        While a large store is being arranged by unit.
    """
    store = run.store(label)
    values = column(run, label, layer, unit)
    if not np.isfinite(values).all():
        raise StoreError(
            f"{int((~np.isfinite(values)).sum())} activations of unit {unit} in {layer!r} are not "
            "finite, so they have no order. Check the detector's weights and record again."
        )
    table = store.samples
    found = tuple(
        Extremes(
            ends.dataset,
            _shown(table, values, ends.most),
            _shown(table, values, ends.least),
            ends.n_videos,
        )
        for ends in derived(_groups, (store,)).ends(values, each)
    )
    _require_images(run, label, found)
    return found


def _require_images(run: Run, label: str, found: Sequence[Extremes]) -> None:
    """Raise where images are not in the run, rather than show empty frames."""
    rows = run.rows
    for shown in (s for one in found for s in (*one.most, *one.least)):
        if shown.token not in rows:
            raise StoreError(
                f"The activation store of {label} names sample {shown.sample!r}, which is not in "
                "the run's sample table: it was recorded on another dataset. Record it again."
            )


def _groups(store: ActivationStore) -> VideoGroups:
    return VideoGroups.of(store.samples)


def _shown(
    table: pd.DataFrame, values: NDArray[np.float32], rows: NDArray[np.int64]
) -> tuple[Shown, ...]:
    taken = table.iloc[rows].assign(activation=values[rows])
    return tuple(map(shown_of, taken.to_dict("records")))


def shown_of(row: Mapping[Hashable, Any]) -> Shown:
    """Turn a row of a store's sample table, with an ``activation``, into what is shown of it."""
    return Shown(
        token=token_of(str(row["sample"])),
        sample=str(row["sample"]),
        method=str(row["method"]),
        video=str(row["video"]),
        label=int(row["label"]),
        frame=int(row["frame"]),
        activation=float(row["activation"]),
        p_fake=float(sigmoid(float(row["logit"]))),
        has_mask=bool(row["mask"]),
    )


@dataclass(frozen=True)
class Lack:
    """Images that are not shown as they are, for one reason.

    Attributes
    ----------
    why, remedy : str
        A clause, and a sentence.
    n, small : int
        How many images, and how many of them are shown small, by the run's thumbnails.
    """

    why: str
    remedy: str
    n: int
    small: int


def lacks_of(run: Run, tokens: Iterable[str]) -> tuple[Lack, ...]:
    """Say which of some images are not shown as they are, the most frequent reason first.

    Nothing is decoded: of an image that is damaged this does not know.
    """
    found: dict[str, list[bool]] = {}
    clauses: dict[str, str] = {}
    for token in dict.fromkeys(tokens):
        try:
            run.data.locate(run.rows[token])
        except NotShownError as error:
            small = error.kind != "none" and token in run.thumbnails
            found.setdefault(error.kind, []).append(small)
            clauses[error.kind] = error.why
        except KeyError:
            continue
    lacks = (Lack(clauses[k], REMEDIES[k], len(v), sum(v)) for k, v in found.items())
    return tuple(sorted(lacks, key=lambda lack: -lack.n))


def picture(run: Run, row: int) -> NDArray[np.uint8]:
    """Read an image, or the thumbnail that the run holds of one that is not here.

    Raises
    ------
    ImageError
        If there is neither, or it cannot be decoded.
    """
    try:
        return run.data.image(row)
    except NotShownError as error:
        small = None if error.kind == "none" else run.thumbnails.image(_token(run, row))
        if small is None:
            raise
        return small


def thumbnail(run: Run, row: int, side: int = SIDE, quality: int = 88) -> bytes:
    """Decode an image and encode it at no more than `side` pixels a side, as WebP.

    Raises
    ------
    ImageError
        If the image cannot be read.
    """
    image = Image.fromarray(picture(run, row))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = BytesIO()
    image.save(out, "WEBP", quality=quality)
    return out.getvalue()


def outline(run: Run, row: int) -> bytes | None:
    """Draw the edge of a forgery mask on transparent ground, as PNG; None where there is no mask.

    Raises
    ------
    ImageError
        If the mask cannot be read.
    """
    mask = mask_of(run, row)
    if mask is None:
        return None
    scale = SIDE / max(mask.shape)
    size = max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale))
    scaled = Image.fromarray(mask).resize(size, Image.Resampling.BILINEAR)
    edge, rim = _edges(np.asarray(scaled) > 127)
    pixels = np.zeros((*edge.shape, 4), dtype=np.uint8)
    # A dark rim keeps the light line visible on light skin.
    pixels[rim] = (0, 0, 0, 150)
    pixels[edge] = (255, 255, 255, 255)
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def mask_of(run: Run, row: int) -> NDArray[np.uint8] | None:
    """Read a forgery mask, or the small one of the run's thumbnails; None where there is none.

    Raises
    ------
    ImageError
        If there is one and it cannot be read.
    """
    try:
        return run.data.mask(row)
    except NotShownError as error:
        small = None if error.kind == "none" else run.thumbnails.mask(_token(run, row))
        if small is None:
            raise
        return small


def _token(run: Run, row: int) -> str:
    return token_of(str(run.data.samples.table["sample"].iloc[row]))


def _edges(inside: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Give the mask's border, two pixels wide, and one pixel on each side of it."""
    line = _grown(inside) & ~_shrunk(inside)
    return line, _grown(line) & ~line


def _grown(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    padded = np.pad(area, 1)
    out = area.copy()
    for y in (0, 1, 2):
        for x in (0, 1, 2):
            out |= padded[y : y + len(area), x : x + area.shape[1]]
    return out


def _shrunk(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return ~_grown(~area)


#: What stands in place of an image, in two lines, by the reason.
WORDS = {
    "none": ("not kept", "by the study"),
    "outside": ("lies elsewhere", "not opened"),
    "gone": ("the file", "is gone"),
    "changed": ("another file", "lies there"),
    "": ("cannot", "be read"),
}

#: Drawn in grays that stand out from light and dark pages alike.
PLACEHOLDER = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 256 256" font-size="25"
 font-family="sans-serif" text-anchor="middle" fill="#7d828a"><title>{why}</title>
<rect x="3" y="3" width="250" height="250" rx="8" fill="#7d828a" fill-opacity="0.1"
 stroke="#7d828a" stroke-width="2" stroke-dasharray="8 7"/>
<text x="128" y="122">{first}</text><text x="128" y="156">{second}</text></svg>"""


def add_routes(server: Flask, run: Run) -> None:
    """Serve ``/thumb/<token>`` (WebP) and ``/outline/<token>`` (PNG)."""
    # A run from elsewhere may hold an image of many more pixels than its file lets expect. Pillow
    # warns of some and refuses only the largest.
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)

    @server.get("/thumb/<path:token>")
    def _thumb(token: str) -> Response:
        row = row_of(run, token)
        try:
            return image_response(thumbnail(run, row), "image/webp")
        except ProbeError as error:
            return not_shown(error)

    @server.get("/outline/<path:token>")
    def _outline(token: str) -> Response:
        row = row_of(run, token)
        try:
            drawn = outline(run, row)
        except ProbeError as error:
            # Over the image, or over what stands in its place, nothing is outlined then.
            return not_shown(error, empty=True)
        if drawn is None:
            abort(404, "This image has no forgery mask.")
        return image_response(drawn, "image/png")


def row_of(run: Run, token: str) -> int:
    """Look the token up; all that is not in the table is not found."""
    try:
        row = run.rows.get(token)
    except ProbeError as error:
        abort(404, str(error))
    if row is None:
        abort(404, "There is no such image in this run.")
    return row


def image_response(content: bytes, kind: str) -> Response:
    """Answer with an image that browsers may keep for an hour."""
    response = Response(content, mimetype=kind)
    # A run that is made again may change an image; an hour saves most of the work.
    response.headers["Cache-Control"] = "private, max-age=3600"
    return response


def not_shown(error: ProbeError, empty: bool = False) -> Response:
    """Answer with a picture of the reason where a page asks for an image, else with 404 and words.

    Parameters
    ----------
    error : ProbeError
        Why there is no image.
    empty : bool
        Whether nothing is drawn, for what lies over an image.
    """
    asked = request.accept_mimetypes
    if asked["image/svg+xml"] <= asked["text/plain"]:
        abort(404, str(error))
    kind = error.kind if isinstance(error, NotShownError) else ""
    first, second = WORDS[kind]
    drawn = PLACEHOLDER.format(why=escape(str(error)), first=first, second=second)
    if empty:
        drawn = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'
    response = Response(drawn, mimetype="image/svg+xml")
    # The file may come back, or the folder be allowed.
    response.headers["Cache-Control"] = "no-store"
    return response


def lacks_note(run: Run, tokens: Iterable[str], more: str = "") -> Any:
    """Say under images which of them are not shown as they are, why, and what to do; or nothing.

    Parameters
    ----------
    run : Run
        Whose images.
    tokens : iterable of str
        Which are shown.
    more : str
        A sentence that is added where an image is neither shown nor small.
    """
    shown = list(dict.fromkeys(tokens))
    try:
        found = lacks_of(run, shown)
    except ProbeError:
        # Said where the images would be.
        return None
    if not found:
        return None
    lines = [html.Div(lacks_text(lack, len(shown))) for lack in found]
    if more and any(lack.small < lack.n for lack in found):
        lines.append(html.Div(more))
    return html.Div(lines, className="reading lacks", role="note")


def lacks_text(lack: Lack, total: int) -> str:
    """Word one reason, for so many of all images."""
    if total == 1:
        how = "is shown small, by the run's thumbnail" if lack.small else "is not shown"
        return f"This image {how}: {lack.why}. {lack.remedy}"
    is_are = "is" if lack.n == 1 else "are"
    if lack.small == lack.n:
        how = f"{is_are} shown small, by the run's thumbnails"
    elif lack.small:
        how = f"{is_are} not shown, or small by the run's thumbnails ({lack.small})"
    else:
        how = f"{is_are} not shown"
    return f"{lack.n} of {total} images {how}: {lack.why}. {lack.remedy}"
