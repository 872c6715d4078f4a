"""What every request has to satisfy and every response says."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from flask import Flask, Response, abort, request

__all__ = ["guard"]


def guard(server: Flask, hosts: Sequence[str], script_hashes: Sequence[str]) -> None:
    """Refuse foreign Host headers, and forbid browsers any source but this server.

    A page elsewhere could otherwise have its own name resolve to this machine and read the run
    through the visitor's browser (DNS rebinding).

    Parameters
    ----------
    server : flask.Flask
        The server.
    hosts : sequence of str
        Names that requests may come by, beside loopback.
    script_hashes : sequence of str
        Hashes of the page's own inline scripts, in the notation of the policy.
    """
    allowed = {"localhost", *(host.lower() for host in hosts)}
    policy = _policy(script_hashes)

    @server.before_request
    def _check_host() -> None:
        name = _host_name(request.host)
        if name not in allowed and not _is_loopback(name):
            abort(400, "This server answers to its own name only.")

    @server.after_request
    def _add_headers(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return response


def _policy(script_hashes: Sequence[str]) -> str:
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
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items())


def _host_name(host: str) -> str:
    """Drop the port: "127.0.0.1:8050" becomes "127.0.0.1", "[::1]:8050" becomes "::1"."""
    host = host.lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
