"""A long computation on a page: how far it is, and why it stopped; see `app.card.Job`."""

from __future__ import annotations

from typing import Any

from dash import html

from app.jobs.state import CANCELLED, FAILED, RUNNING, WAITING, JobState

__all__ = ["TICK", "job_text", "time_text"]

#: Milliseconds between two looks at a job that is open; closed ones are not looked at.
TICK = 500


def job_text(state: JobState, at_once: int = 2) -> Any:
    """Show where a job is that has no result; None where nobody asked for it."""
    if state.name == WAITING:
        text = f"Waiting: {at_once} computations run at once, and others came first."
        return _bar("Waiting", 0, text)
    if state.name == RUNNING:
        return _running(state)
    if state.name == CANCELLED:
        return html.Div("Cancelled. Nothing was kept.", className="job-note", role="status")
    if state.name == FAILED:
        return _failed(state)
    return None


def _running(state: JobState) -> Any:
    progress = state.progress
    if progress is None or progress.total is None:
        return _bar("Starting", 0, "Loading the detector and the images.")
    share = 100 * progress.done / max(progress.total, 1)
    words = [f"{progress.done:,} of {progress.total:,}"]
    if progress.rate:
        words.append(f"{progress.rate:,.0f}/s" if progress.rate >= 10 else f"{progress.rate:.1f}/s")
    if progress.left is not None:
        words.append(f"{time_text(progress.left)} left")
    return _bar(progress.message, share, " · ".join(words))


def _bar(title: str, share: float, text: str) -> Any:
    """Draw the bar; what it says stands in words too, but is not read out twice a second."""
    named: dict[str, Any] = {
        "role": "progressbar",
        "aria-valuemin": 0,
        "aria-valuemax": 100,
        "aria-valuenow": round(share),
        "aria-label": title,
    }
    return html.Div(
        [
            html.Div([html.Span(title), html.Span(text, className="muted")], className="job-words"),
            html.Div(
                html.Div(style={"width": f"{share:.1f}%"}, className="job-done"),
                className="job-bar",
                **named,
            ),
        ],
        className="job",
    )


def _failed(state: JobState) -> Any:
    hint = "" if state.expected else " This is a defect; the log in the cache folder says more."
    return html.Div(
        [
            html.Div(className="message-mark damaged"),
            html.Div("The computation failed", className="message-title"),
            html.Div(state.error + hint, className="message-text"),
        ],
        className="message",
        role="status",
    )


def time_text(seconds: float) -> str:
    """Write a duration as people say it: "40 s", "3 min", "2 h 5 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
