"""A long computation on a page: its buttons, how far it is, and why it stopped.

A page places `job_buttons` and `job_room`, and calls `register_job` once; see there. Everything
follows from what is selected, so reloading the page or following a link shows the same job.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, ctx, dcc, html

from app.components.message import problem
from app.jobs.jobs import Jobs
from app.jobs.state import CANCELLED, DONE, FAILED, RUNNING, WAITING, JobState
from app.jobs.task import Task
from probe.errors import ProbeError

__all__ = ["job_buttons", "job_room", "job_text", "register_job", "time_text"]

#: Milliseconds between two looks at a job that is open; closed ones are not looked at.
TICK = 500


def job_buttons(name: str, start: str) -> list[Any]:
    """Place the button that starts a job, with `start` on it, and the one that cancels it."""
    return [
        dmc.Button(start, id=f"{name}-start", size="xs", disabled=True),
        dmc.Button("Cancel", id=f"{name}-cancel", variant="default", size="xs", disabled=True),
        dcc.Interval(id=f"{name}-tick", interval=TICK, disabled=True),
    ]


def job_room(name: str, height: int) -> Any:
    """Place the room for progress and result; its height is kept, so that nothing jumps."""
    return html.Div(id=f"{name}-room", className="job-room", style={"minHeight": height})


def register_job(
    app: Dash,
    name: str,
    jobs: Callable[[], Jobs],
    task: Callable[..., Task],
    show: Callable[[Jobs, str], Any],
    invitation: Callable[..., Any],
    *inputs: Input,
) -> None:
    """Let buttons start and cancel a job, and its room show where it is.

    Parameters
    ----------
    app : Dash
        Where.
    name : str
        As given to `job_buttons` and `job_room`.
    jobs : callable
        Returns the jobs, such as ``lambda: jobs_of(run)``.
    task : callable
        Takes the values of `inputs` and returns what is to be computed; it may raise ProbeError,
        which is shown.
    show : callable
        Takes the jobs and the fingerprint of one that is done, and returns what it found.
    invitation : callable
        Takes the values of `inputs`; returns what stands in the room before anyone asked.
    *inputs : Input
        What the task depends on, such as the address. No computation is started by these.
    """

    @app.callback(
        Output(f"{name}-room", "children"),
        Output(f"{name}-start", "disabled"),
        Output(f"{name}-cancel", "disabled"),
        Output(f"{name}-tick", "disabled"),
        Input(f"{name}-start", "n_clicks"),
        Input(f"{name}-cancel", "n_clicks"),
        Input(f"{name}-tick", "n_intervals"),
        *inputs,
    )
    def follow(clicks: Any, cancels: Any, ticks: Any, *values: Any) -> Any:
        try:
            wanted, kept = task(*values), jobs()
            fingerprint = wanted.fingerprint
            if ctx.triggered_id == f"{name}-start" and clicks:
                kept.submit(wanted)
            elif ctx.triggered_id == f"{name}-cancel" and cancels:
                kept.cancel(fingerprint)
            state = kept.state(fingerprint)
            if state.name == DONE:
                return show(kept, fingerprint), True, True, True
            shown = job_text(state, at_once=kept.at_once) or invitation(*values)
        except ProbeError as error:
            return problem(error), True, True, True
        shown = html.Div(shown, className="job-open")
        return shown, state.is_open, not state.is_open, not state.is_open


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
