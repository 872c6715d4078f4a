"""A token in front of everything, for dashboards that other machines reach."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import deque
from html import escape
from urllib.parse import quote, urlencode, urlsplit

from flask import Flask, Response, abort, redirect, request

from app.prefix import at
from probe.errors import ProbeError

__all__ = ["SHORTEST", "checked_token", "new_token", "require_token"]

#: Characters that a token must have at least; a generated one has 43.
SHORTEST = 16

#: How long a login lasts, in seconds.
LASTS = 24 * 60 * 60

#: Wrong tokens that an address may send in so many seconds before it has to wait.
WRONG, WINDOW = 10, 60.0

#: What the login page itself needs; nothing of the run.
_OPEN = ("/assets/login.css", "/assets/favicon.svg")

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>probe: token</title>
<link rel="icon" href="{root}/assets/favicon.svg">
<link rel="stylesheet" href="{root}/assets/login.css">
{head}</head>
<body class="login">
<main class="login-card">
<div class="login-brand"><span class="login-mark"></span>probe</div>
{body}
</main>
</body>
</html>
"""

_FORM = """<h1>This dashboard asks for its token</h1>
<p>The token was printed in the terminal where the dashboard was started, or was chosen there.</p>
{wrong}<form method="post" action="{root}/login">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<input name="next" type="hidden" value="{place}">
<button type="submit">Open the dashboard</button>
</form>"""


def new_token() -> str:
    """Draw a token that nobody guesses."""
    return secrets.token_urlsafe(32)


def checked_token(token: str) -> str:
    """Return a token that is long enough.

    Raises
    ------
    ProbeError
        If it is not.
    """
    if len(token) < SHORTEST:
        raise ProbeError(
            f"The token has {len(token)} characters; it must have at least {SHORTEST}. Give a "
            "longer one, or none: with a host of this network one is generated."
        )
    return token


def require_token(server: Flask, token: str) -> None:
    """Answer only those who have the token.

    A browser gets it once, by ``?token=`` or by the form of the login page, and keeps a cookie
    from which the token cannot be read.

    Parameters
    ----------
    server : flask.Flask
        The server.
    token : str
        The secret, see `checked_token`.

    Raises
    ------
    ProbeError
        If it is too short.
    """
    gate = _Gate(checked_token(token))

    @server.before_request
    def _check_cookie() -> Response | None:
        if gate.is_open() or request.path == "/login":
            # Whoever is in has no use for a token in the address.
            return _to(_place()) if "token" in request.args and _is_visit() else None
        if "token" in request.args and _is_visit():
            return gate.admit(request.args["token"], _place())
        if not _is_visit():
            abort(401, "This dashboard asks for a token. Open its page to log in.")
        return _bounced(_place()) if _comes_from_elsewhere() else _login(_place())

    @server.get("/login")
    def _show_login() -> Response:
        return _to(at("/")) if gate.is_open() else _login(at("/"))

    @server.post("/login")
    def _take_token() -> Response:
        return gate.admit(request.form.get("token", ""), _local(request.form.get("next", "")))


class _Gate:
    """Knows the token, and who has shown it."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        # Slow to derive, so that a stolen cookie does not give a chosen token away. The same in
        # all workers and after a restart.
        self._key = hashlib.scrypt(self._token, salt=b"probe dashboard", n=2**14, r=8, p=1)
        # Browsers send the cookies of all ports of a machine: two dashboards must not share one.
        self._cookie = f"probe-{self._signed('name')[:12]}"
        self._wrong = _Attempts()

    def is_open(self) -> bool:
        """Whether this request may pass."""
        if request.path in _OPEN:
            return True
        until, _, signature = request.cookies.get(self._cookie, "").partition(".")
        if not hmac.compare_digest(self._signed(until).encode(), signature.encode()):
            return False
        return until.isascii() and until.isdigit() and time.time() < int(until)

    def admit(self, token: str, place: str) -> Response:
        """Take a token and lead on to where it was asked for."""
        address = request.remote_addr or ""
        if self._wrong.too_many(address):
            answer = _login(place, "Too many wrong tokens. Wait a minute, then try again.", 429)
            answer.headers["Retry-After"] = str(int(WINDOW))
            return answer
        if not hmac.compare_digest(token.encode(errors="replace"), self._token):
            self._wrong.note(address)
            return _login(place, "This is not the token of this dashboard.")
        answer = _bounced(place) if _comes_from_elsewhere() else _to(place)
        until = str(int(time.time()) + LASTS)
        answer.set_cookie(
            self._cookie,
            f"{until}.{self._signed(until)}",
            max_age=LASTS,
            httponly=True,
            samesite="Strict",
            secure=_is_encrypted(),
        )
        return answer

    def _signed(self, text: str) -> str:
        return hmac.new(self._key, text.encode(errors="replace"), hashlib.sha256).hexdigest()


class _Attempts:
    """Counts wrong tokens by address, of the last minute and of a thousand addresses."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def too_many(self, address: str) -> bool:
        with self._lock:
            times = self._times.get(address, deque())
            while times and times[0] < time.monotonic() - WINDOW:
                times.popleft()
            return len(times) >= WRONG

    def note(self, address: str) -> None:
        with self._lock:
            times = self._times.pop(address, deque(maxlen=WRONG))
            times.append(time.monotonic())
            self._times[address] = times
            while len(self._times) > 1000:
                del self._times[next(iter(self._times))]


def _login(place: str, wrong: str = "", status: int = 401) -> Response:
    said = f'<p class="login-wrong" role="alert">{escape(wrong)}</p>\n' if wrong else ""
    return _page(
        _FORM.format(wrong=said, place=escape(place), root=request.script_root), status=status
    )


def _bounced(place: str) -> Response:
    """Lead on by a page of our own.

    Who follows a link on another site comes without the cookie, which is for this site only; also
    through a redirect. From this page the browser comes with it.
    """
    head = f'<meta http-equiv="refresh" content="0; url={escape(place)}">\n'
    body = f'<h1>Opening the dashboard</h1>\n<p><a href="{escape(place)}">Go on</a></p>'
    return _page(body, head)


def _page(body: str, head: str = "", status: int = 200) -> Response:
    answer = Response(
        _PAGE.format(head=head, body=body, root=request.script_root), status, mimetype="text/html"
    )
    answer.headers["Cache-Control"] = "no-store"
    # With "no-referrer" a browser would send the form without saying where it comes from.
    answer.headers["Referrer-Policy"] = "same-origin"
    return answer


def _to(place: str) -> Response:
    answer = redirect(place, 303, Response=Response)
    answer.headers["Cache-Control"] = "no-store"
    return answer  # type: ignore[return-value]


def _place() -> str:
    """Address of this request on this server, without the token."""
    kept = [(k, v) for k, v in request.args.items(multi=True) if k != "token"]
    path = quote(f"{request.script_root}{request.path}")
    return _local(f"{path}?{urlencode(kept)}" if kept else path)


def _local(place: str) -> str:
    """Keep of an address what cannot lead to another server: "//elsewhere" would."""
    try:
        parts = urlsplit("/" + place.lstrip("/\\"))
    except ValueError:
        return at("/")
    query = f"?{quote(parts.query, safe='=&%+-._~')}" if parts.query else ""
    found = "/" + quote(parts.path, safe="/%").lstrip("/")
    return (found if found.startswith(request.script_root) else at("/")) + query


def _is_visit() -> bool:
    """Whether a person opens an address, rather than a page asking for its parts."""
    if request.method not in ("GET", "HEAD"):
        return False
    mode = request.headers.get("Sec-Fetch-Mode")
    return mode == "navigate" if mode else "text/html" in request.headers.get("Accept", "")


def _comes_from_elsewhere() -> bool:
    return request.headers.get("Sec-Fetch-Site", "") in ("cross-site", "same-site")


def _is_encrypted() -> bool:
    """Whether the browser came by https: a forged header harms its sender only."""
    return request.is_secure or request.headers.get("X-Forwarded-Proto", "") == "https"
