"""Routes that serve small images by token; no path of a request is ever opened."""

from __future__ import annotations

import warnings

from flask import Flask, Response, abort
from PIL import Image

from app.queries.images import outline, thumbnail
from app.queries.reading import Run
from probe.datasets.dataset import Dataset
from probe.errors import ProbeError

__all__ = ["add_routes", "image_response", "row_of"]


def add_routes(server: Flask, run: Run) -> None:
    """Serve ``/thumb/<token>`` (WebP) and ``/outline/<token>`` (PNG)."""
    # A run from elsewhere may hold an image of many more pixels than its file lets expect. Pillow
    # warns of some and refuses only the largest.
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)

    @server.get("/thumb/<path:token>")
    def _thumb(token: str) -> Response:
        row = row_of(run, token)
        try:
            return image_response(thumbnail(run.data, row), "image/webp")
        except ProbeError as error:
            abort(404, str(error))

    @server.get("/outline/<path:token>")
    def _outline(token: str) -> Response:
        row = row_of(run, token)
        try:
            drawn = outline(run.data, row)
        except ProbeError as error:
            abort(404, str(error))
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
    if not all(_inside(run.data, column, row) for column in ("path", "mask")):
        abort(404, "The sample table names a file outside of the run's dataset.")
    return row


def _inside(data: Dataset, column: str, row: int) -> bool:
    """Whether a file lies below the dataset's root: a run from elsewhere may name any file."""
    root = data.root.resolve()
    return (root / str(data.samples.table[column].iloc[row])).resolve().is_relative_to(root)


def image_response(content: bytes, kind: str) -> Response:
    """Answer with an image that browsers may keep for an hour."""
    response = Response(content, mimetype=kind)
    # A run that is made again may change an image; an hour saves most of the work.
    response.headers["Cache-Control"] = "private, max-age=3600"
    return response
