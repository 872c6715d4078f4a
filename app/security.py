"""What every request has to satisfy and every response says."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from dash.exceptions import DependencyException
from flask import Flask, Response, abort, request
from werkzeug.exceptions import HTTPException, NotFound

from probe.errors import ProbeError

__all__ = ["LARGEST", "guard", "is_loopback"]


#: Bytes of the largest request: an uploaded file of 16 MB in Base64, and some more.
LARGEST = 24 * 2**20

#: Scheme, host and port of a page that may show the dashboard in a frame.
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?")


def guard(
    server: Flask, hosts: Sequence[str], script_hashes: Sequence[str], frames: Sequence[str] = ()
) -> None:
    """Refuse foreign Host headers and origins, and forbid browsers any source but this server.

    A page elsewhere could otherwise have its own name resolve to this machine and read the run
    through the visitor's browser (DNS rebinding), or have that browser ask for something.

    Parameters
    ----------
    server : flask.Flask
        The server.
    hosts : sequence of str
        Names that requests may come by, beside loopback.
    script_hashes : sequence of str
        Hashes of the page's own inline scripts, in the notation of the policy.
    frames : sequence of str
        Origins whose pages may show the dashboard in a frame.

    Raises
    ------
    ProbeError
        If one of them is no origin.
    """
    allowed = {"localhost", *(_host_name(host) for host in hosts if host)}
    policy = _policy(script_hashes, frames)
    server.config["MAX_CONTENT_LENGTH"] = LARGEST

    # Flask's TRUSTED_HOSTS takes no IPv6 address.
    @server.before_request
    def _check_host() -> None:
        name = _host_name(request.host)
        if name not in allowed and not is_loopback(name):
            abort(
                400,
                "This server answers to its own names only. Whoever starts it adds others with "
                "--allow-host NAME.",
            )

    @server.before_request
    def _check_origin() -> None:
        if request.method not in ("GET", "HEAD", "OPTIONS") and not _is_own_page():
            abort(403, "This server takes requests from its own pages only.")

    @server.after_request
    def _add_headers(response: Response) -> Response:
        # The report has a stricter one of its own.
        response.headers.setdefault("Content-Security-Policy", policy)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        return response

    @server.errorhandler(HTTPException)
    def _say_error(error: HTTPException) -> Response | HTTPException:
        return _plain(error)

    @server.errorhandler(DependencyException)
    def _say_missing(error: DependencyException) -> Response | HTTPException:
        return _plain(NotFound("There is no such file."))

    @server.errorhandler(ProbeError)
    def _say_problem(error: ProbeError) -> Response:
        return Response(f"{error}\n", 400, mimetype="text/plain")


def _plain(error: HTTPException) -> Response | HTTPException:
    """Word an error as plain text: nothing of what was asked for comes back as HTML."""
    code = error.code or 500
    if error.response is not None or code < 400:
        return error
    said = error.description or ""
    if code == 500:
        # The terminal has the traceback; a page elsewhere has no use for it.
        said = "Something failed in this dashboard. The terminal where it was started says what."
    answer = Response(f"{code} {error.name}\n{said}\n", code, mimetype="text/plain")
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            answer.headers[name] = value
    return answer


def _is_own_page() -> bool:
    """Whether a request comes from a page of this server, as far as its browser says.

    Browsers say it by Sec-Fetch-Site where the connection is encrypted or to this machine, else
    by Origin. Programs that are no browsers say nothing, and have no visitor to betray.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc.lower() == request.host.lower()


def _policy(script_hashes: Sequence[str], frames: Sequence[str]) -> str:
    for origin in frames:
        if not _ORIGIN.fullmatch(origin):
            raise ProbeError(
                f"The origin {origin!r} was given; an origin is a scheme and a host, such as "
                "https://hub.example.org or http://localhost:8888."
            )
    parts = {
        "default-src": "'self'",
        "script-src": " ".join(["'self'", *script_hashes]),
        # Plotly, AG Grid and Mantine write style elements and attributes.
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self'",
        "object-src": "'none'",
        "base-uri": "'none'",
        # The login is the one form.
        "form-action": "'self'",
        "frame-ancestors": " ".join(frames) or "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items())


def _host_name(host: str) -> str:
    """Drop the port: "127.0.0.1:8050" becomes "127.0.0.1", "[::1]:8050" becomes "::1"."""
    host = host.lower()
    if host.count(":") > 1 and not host.startswith("["):
        return host
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def is_loopback(name: str) -> bool:
    """Whether this is an address that only this machine reaches."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
