"""`serve`: the dashboard behind waitress."""

from __future__ import annotations

import ipaddress
import logging
import socket
from pathlib import Path

import waitress

from app.factory import create_app
from probe.errors import ProbeError
from probe.run import RunFolder

__all__ = ["serve"]

THREADS = 8


def serve(run_dir: str | Path, host: str = "127.0.0.1", port: int = 8050) -> None:
    """Serve the dashboard of a run until interrupted.

    Parameters
    ----------
    run_dir : path
        Folder of the run; only read.
    host : str, default "127.0.0.1"
        A loopback address: whoever can reach the address can see the images of the run.
    port : int, default 8050
        Where.

    Raises
    ------
    ProbeError
        If the host is no loopback address or the port is taken.
    StoreError
        If the folder is no run, or its manifest is damaged or of another version.
    """
    app = create_app(run_dir)
    # What is no run at all is said here and not in a page.
    RunFolder(Path(run_dir)).read_manifest()
    with _listening(host, port) as listener:
        name = f"[{host}]" if ":" in host else host
        print(f"Dashboard of {run_dir}: http://{name}:{port}  (Ctrl+C ends it)", flush=True)
        # A page asks for dozens of thumbnails at once; that they queue is no news.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        waitress.serve(
            app.server,
            sockets=[listener],
            threads=THREADS,
            ident=None,
            _quiet=True,
            # A page holds up to six; with waitress's hundred the seventeenth would wait.
            connection_limit=1000,
        )


def _listening(host: str, port: int) -> socket.socket:
    """Bind before anything else is said, so that a taken port is an error and not a traceback."""
    if not _is_loopback(host):
        raise ProbeError(
            f"Host {host!r} was given; the dashboard has no login and binds to this machine only. "
            "Use 127.0.0.1, and reach it from elsewhere through an SSH tunnel "
            f"(`ssh -L {port}:127.0.0.1:{port} HOST`)."
        )
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
            f"it, or choose another with `--port`, such as {port + 1 if port < 65535 else 8050}."
        ) from error
    return listener


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
