"""Routes that serve small images by token; no path of a request is ever opened."""

from __future__ import annotations

from flask import Flask, Response, abort

from app.queries.images import outline, thumbnail
from app.queries.reading import Run
from probe.datasets.dataset import Dataset
from probe.errors import ProbeError

__all__ = ["add_routes"]


def add_routes(server: Flask, run: Run) -> None:
    """Serve ``/thumb/<token>`` (WebP) and ``/outline/<token>`` (PNG)."""

    @server.get("/thumb/<path:token>")
    def _thumb(token: str) -> Response:
        row = _row(run, token)
        try:
            return _image(thumbnail(run.data, row), "image/webp")
        except ProbeError as error:
            abort(404, str(error))

    @server.get("/outline/<path:token>")
    def _outline(token: str) -> Response:
        row = _row(run, token)
        try:
            drawn = outline(run.data, row)
        except ProbeError as error:
            abort(404, str(error))
        if drawn is None:
            abort(404, "This image has no forgery mask.")
        return _image(drawn, "image/png")


def _row(run: Run, token: str) -> int:
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


def _image(content: bytes, kind: str) -> Response:
    response = Response(content, mimetype=kind)
    # A run that is made again may change an image; an hour saves most of the work.
    response.headers["Cache-Control"] = "private, max-age=3600"
    return response
