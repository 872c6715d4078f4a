"""The colour scheme that a visitor's page is shown in, as far as the request says."""

from __future__ import annotations

from flask import has_request_context, request

__all__ = ["asked_scheme"]


def asked_scheme() -> str:
    """Return "dark" or "light", from the cookie that ``assets/scheme.js`` keeps.

    It lets figures come with the page in the right colours, rather than after it.
    """
    dark = has_request_context() and request.cookies.get("scheme") == "dark"
    return "dark" if dark else "light"
