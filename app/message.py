"""What stands in place of something that cannot be shown: why, and what to do."""

from __future__ import annotations

import shlex
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from app.activations import ArrangingError
from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.run import MissingTableError, NoRunError, OtherVersionError

__all__ = ["arranging", "command_line", "problem"]


def problem(error: ProbeError) -> Any:
    """Show an error as a message; a missing table with the command that makes it."""
    kind, title = _kind(error)
    parts: list[Any] = [
        # What is only not comparable is no failure.
        html.Div(className=f"message-mark {kind}") if kind else None,
        html.Div(title, className="message-title"),
        html.Div(_text(error), className="message-text"),
    ]
    command = getattr(error, "command", "")
    if command:
        parts.append(command_line(command))
    elif isinstance(error, NoRunError):
        parts.append(command_line(f"probe demo --out {shlex.quote(str(error.root))}"))
    elif kind == "unknown":
        parts.append(html.A("Clear the selection", href="?", className="message-link"))
    return html.Div(parts, className="message", role="status")


def _text(error: ProbeError) -> str:
    if isinstance(error, MissingTableError):
        return f"This run holds no {error.what} yet. The command below makes what is missing."
    return str(error)


def command_line(command: str) -> Any:
    """Show a command with a button that copies it."""
    return dmc.Group(
        [
            # To scroll a long one by keyboard.
            html.Code(command, className="command", tabIndex="0"),
            dcc.Clipboard(content=command, className="copy", title="Copy the command"),
        ],
        gap=8,
        wrap="nowrap",
        className="command-line",
    )


def _kind(error: ProbeError) -> tuple[str, str]:
    if title := getattr(error, "title", ""):
        return "missing" if hasattr(error, "command") else "", title
    if isinstance(error, MissingTableError):
        return "missing", "Not computed yet"
    if isinstance(error, UnknownNameError):
        return "unknown", "Not in this run"
    if isinstance(error, NoRunError):
        return "missing", "No run here yet"
    if isinstance(error, OtherVersionError):
        return "damaged", "A run of another version"
    if isinstance(error, StoreError):
        return "damaged", "Cannot be read"
    return "unknown", "Cannot be shown"


def arranging(error: ArrangingError) -> Any:
    """Say what is waited for and how far it is; whoever shows it asks again every second."""
    named: dict[str, Any] = {"aria-label": "Share that is arranged"}
    return html.Div(
        [
            html.Div(className="message-mark missing"),
            html.Div("Getting ready", className="message-title"),
            html.Div(str(error), className="message-text"),
            dmc.Progress(value=100 * error.share, size="sm", w=320, m="12px auto 0", **named),
        ],
        className="message",
    )
