"""Path prefix of a dashboard behind a proxy, such as JupyterHub's ``/user/me/proxy/8050/``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import Any

from flask import has_request_context, request

from probe.errors import ProbeError

__all__ = ["Prefixed", "at", "checked_prefix", "hub_prefix", "path_within"]

#: What JupyterHub tells a server of its address.
HUB_VARIABLE = "JUPYTERHUB_SERVICE_PREFIX"

_ALLOWED = re.compile(r"(/[A-Za-z0-9._~@%+-]+)*/")


def checked_prefix(prefix: str) -> str:
    """Return a prefix with a slash at both ends; "/" for none.

    Raises
    ------
    ProbeError
        If it is no path.
    """
    found = "/" + prefix.strip("/") + "/" if prefix.strip("/") else "/"
    if not _ALLOWED.fullmatch(found) or "/../" in found or "/./" in found:
        raise ProbeError(
            f"The prefix {prefix!r} is no path. Give the path that the proxy adds, such as "
            "/user/me/proxy/8050/."
        )
    return found


def hub_prefix(port: int) -> str:
    """Return the prefix of a port behind jupyter-server-proxy; "" outside JupyterHub."""
    base = os.environ.get(HUB_VARIABLE, "")
    return f"{base.rstrip('/')}/proxy/{port}/" if base else ""


def at(path: str) -> str:
    """Return the address of a path of this server as the visitor's browser has to ask for it."""
    return f"{request.script_root}{path}" if has_request_context() else path


def path_within(path: str | None) -> str:
    """Return the path of a page without the prefix of the request; "/" for none."""
    root = request.script_root if has_request_context() else ""
    return (path or "/").removeprefix(root) or "/"


class Prefixed:
    """A WSGI application behind a prefix, whether or not the proxy strips it from the path.

    Parameters
    ----------
    inner : callable
        WSGI application whose routes start at "/".
    prefix : str
        See `checked_prefix`.
    """

    def __init__(self, inner: Callable[..., Iterable[bytes]], prefix: str) -> None:
        self._inner, self._root = inner, prefix.rstrip("/")

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        path = environ.get("PATH_INFO", "")
        if path == self._root or path.startswith(f"{self._root}/"):
            environ["PATH_INFO"] = path[len(self._root) :] or "/"
        environ["SCRIPT_NAME"] = self._root
        return self._inner(environ, start)
