"""`serve`: the dashboard behind waitress."""

from __future__ import annotations

import ctypes
import gc
import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

import waitress

from app.factory import create_app
from app.login import checked_token, new_token
from app.prefix import hub_prefix
from app.security import LARGEST, is_loopback
from probe.errors import ProbeError, StoreError
from probe.run import RunFolder

__all__ = ["serve"]

THREADS = 8

#: Arenas of the C library's memory, and how its `mallopt` names them.
ARENAS, _ARENA_MAX = 2, -8

#: How waitress is asked to bound what it takes.
BOUNDS = {
    # A page holds up to six; with waitress's hundred the seventeenth would wait.
    "connection_limit": 1000,
    # A request line holds a selection of at most some 25,000 characters.
    "max_request_header_size": 64 * 1024,
    "max_request_body_size": LARGEST,
    # Seconds that a connection may do nothing.
    "channel_timeout": 60,
    # Only `app.login` reads one, and for nothing that a forged one could gain by.
    "clear_untrusted_proxy_headers": False,
}

#: Hosts that mean all addresses of this machine.
_ALL = ("0.0.0.0", "::", "")


def serve(
    run_dir: str | Path,
    host: str = "127.0.0.1",
    port: int = 8050,
    token: str | None = None,
    allow_hosts: Sequence[str] = (),
    others: Sequence[str | Path] = (),
    images: Sequence[str | Path] = (),
    prefix: str = "",
    frames: Sequence[str] = (),
) -> None:
    """Serve the dashboard of a run until interrupted.

    Parameters
    ----------
    run_dir : path
        Folder of the run; only read. An empty or damaged one is served, and the pages say so: it
        may be about to be written.
    host : str, default "127.0.0.1"
        Address to listen at. With another than a loopback address a token is required.
    port : int, default 8050
        Where.
    token : str, optional
        Secret that visitors have to give. Generated and printed where other machines can reach
        the dashboard and none is given.
    allow_hosts : sequence of str
        Names that the dashboard may be reached by, beside this machine's own.
    others : sequence of path
        Folders of further runs, to compare with; only read.
    images : sequence of path
        Folders that images may be opened from, beside those that the run was made from here.
    prefix : str, default ""
        Path that a proxy adds; within JupyterHub that of jupyter-server-proxy by default.
    frames : sequence of str
        Origins whose pages may show the dashboard in a frame.

    Raises
    ------
    ProbeError
        If the token is too short, or the host or port cannot be used.
    StoreError
        If there is no such folder.
    """
    local = host == "localhost" or is_loopback(host)
    given = checked_token(token) if token is not None else None
    secret = given or (None if local else new_token())
    names = [*_names(host, local), *allow_hosts]
    app = create_app(
        run_dir,
        hosts=names,
        token=secret,
        others=others,
        images=images,
        prefix=prefix or hub_prefix(port),
        frames=frames,
    )
    with _listening(host, port) as listener:
        print(f"Dashboard of {run_dir}: {_address(host, port, secret, given)}", flush=True)
        for line in _remarks(run_dir, host, port, secret, local):
            print(line, flush=True)
        # A page asks for dozens of thumbnails at once; that they queue is no news.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        _settle()
        waitress.serve(
            app.server, sockets=[listener], threads=THREADS, ident=None, _quiet=True, **BOUNDS
        )


def _settle() -> None:
    """Have threads share what memory is free, and the collector pass over what is there for good.

    With the C library's many arenas, what one thread has freed is not used by another: a third of
    the memory. It knows no such thing on other systems than Linux.
    """
    try:
        ctypes.CDLL(None).mallopt(_ARENA_MAX, ARENAS)
    except (AttributeError, OSError, TypeError):
        pass
    gc.collect()
    gc.freeze()


def _address(host: str, port: int, secret: str | None, given: str | None) -> str:
    """Word where the dashboard is; with the token only if nobody else told it."""
    shown = (_own_address() or socket.gethostname()) if host in _ALL else host
    name = f"[{shown}]" if ":" in shown else shown
    query = f"/?{urlencode({'token': secret})}" if secret and not given else ""
    asked = "asks for the token that was given; " if given else ""
    return f"http://{name}:{port}{query}  ({asked}Ctrl+C ends it)"


def _remarks(
    run_dir: str | Path, host: str, port: int, secret: str | None, local: bool
) -> list[str]:
    """Say what whoever starts the dashboard has to know."""
    out = []
    try:
        RunFolder(Path(run_dir)).read_manifest()
    except StoreError as error:
        out.append(f"Nothing can be shown yet: {error} The page changes when the run is there.")
    if not local:
        out.append(
            f"Host {host!r}: other machines can reach this dashboard, and whoever has the token "
            "sees the run and its images. Traffic is not encrypted: use this in a network that "
            "you trust, put a reverse proxy with TLS in front, or leave --host out and use "
            f"`ssh -L {port}:127.0.0.1:{port} HOST`."
        )
    elif secret:
        out.append("Without the token nothing is shown, on this machine too.")
    return out


def _names(host: str, local: bool) -> list[str]:
    """Names of this machine that requests may come by; loopback is allowed anyway."""
    if local:
        return []
    names = {socket.gethostname(), socket.getfqdn()}
    if host not in _ALL:
        return [*names, host]
    try:
        found = socket.getaddrinfo(socket.gethostname(), None)
    except OSError:
        found = []
    return [*names, *(str(one[4][0]).partition("%")[0] for one in found), _own_address()]


def _own_address() -> str:
    """Address by which this machine is reached from others; empty if there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: the system only looks up which of its addresses it would use.
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return ""


def _listening(host: str, port: int) -> socket.socket:
    """Bind before anything else is said, so that a taken port is an error and not a traceback."""
    if not 0 < port < 65536:
        raise ProbeError(f"Port {port} was given; ports are numbers from 1 to 65535.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ProbeError(
            f"Port {port} on {host} cannot be used ({error.strerror}). End the program that has "
            f"it, or choose another with `--port`, such as {port + 1 if port < 65535 else 8050}; "
            "a host has to be an address of this machine."
        ) from error
    return listener
