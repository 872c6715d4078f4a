"""Routes that serve small images by token; no path of a request is ever opened."""

from __future__ import annotations

import warnings
from html import escape

from flask import Flask, Response, abort, request
from PIL import Image

from app.queries.images import outline, thumbnail
from app.run import Run
from probe.errors import ProbeError
from probe.images import NotShownError

__all__ = ["add_routes", "image_response", "not_shown", "row_of"]

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
