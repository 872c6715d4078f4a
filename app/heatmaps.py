"""The route that serves maps by tokens of image and detector; no path of a request is opened."""

from __future__ import annotations

from flask import Flask, Response, abort, request

from app.queries.attribution_files import detector_of, map_image
from app.run import Run
from app.thumbs import image_response, row_of
from probe.errors import ProbeError

__all__ = ["add_map_route"]


def add_map_route(server: Flask, run: Run) -> None:
    """Serve ``/map/<image>/<detector>/<method>``: PNG, or WebP over the image for ``?as=overlay``.

    The addresses of a page hold a ``v`` that changes with the maps, so that browsers may keep them.
    """

    @server.get("/map/<token>/<detector>/<path:method>")
    def _map(token: str, detector: str, method: str) -> Response:
        # Looks the token up, and refuses what leads out of the run.
        row_of(run, token)
        laid = request.args.get("as", "map") == "overlay"
        try:
            content, kind = map_image(run, detector_of(run, detector), method, token, laid)
        except ProbeError as error:
            abort(404, str(error))
        return image_response(content, kind)
