"""Routes that serve images large: those of the run by token, dropped ones by their jobs' names."""

from __future__ import annotations

from flask import Flask, Response, abort

from app.queries.images import thumbnail
from app.run import Run
from app.thumbs import image_response, not_shown, row_of
from app.uploads import SIDE, dropped_image
from probe.errors import ProbeError

__all__ = ["add_large"]


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
