"""Progress bars on stderr, with speed and remaining time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

__all__ = ["listening", "note", "progress_bar", "track"]

T = TypeVar("T")

#: Called with the description, the number of completed steps, and the total number of steps.
Listener = Callable[[str, int, int | None], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Report all progress to a listener while the context is open, instead of drawing bars."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def note(text: str) -> None:
    """Print a note for the user to stderr, in one line."""
    Console(stderr=True, soft_wrap=True).print(escape(text), highlight=False)


class _RateColumn(ProgressColumn):
    """A column with the completed steps per second."""

    def render(self, task: Task) -> Text:
        """Return the speed, or a dash while it is unknown."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f}/s" if speed else "–/s", style="progress.data.speed")


@contextmanager
def progress_bar(
    description: str, total: int | None, *, progress: bool = True
) -> Iterator[Callable[[int], None]]:
    """Show a progress bar while the context is open.

    Parameters
    ----------
    description : str
        Text beside the bar.
    total : int or None
        Total number of steps; None shows a pulsing bar.
    progress : bool, default True
        Whether to show the bar.

    Yields
    ------
    callable
        Function to call with the number of steps that were just completed.
    """
    listener = _listener.get()
    if listener is not None:
        yield _telling(listener, description, total)
        return
    columns = (
        TextColumn("{task.description:<30}"),
        BarColumn(bar_width=14),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=Console(stderr=True), refresh_per_second=4, disable=not progress
    ) as bar:
        task = bar.add_task(description, total=total)
        yield lambda steps: bar.advance(task, steps)


def _telling(listener: Listener, description: str, total: int | None) -> Callable[[int], None]:
    done = 0
    listener(description, done, total)

    def advance(steps: int) -> None:
        nonlocal done
        done += steps
        listener(description, done, total)

    return advance


def track(iterable: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate over an iterable with a progress bar on stderr; see `progress_bar`."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with progress_bar(description, total) as advance:
        for item in iterable:
            yield item
            advance(1)
