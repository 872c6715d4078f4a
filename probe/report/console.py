"""The console that reports are printed to."""

from __future__ import annotations

from rich.console import Console

__all__ = ["out", "plain"]


def out() -> Console:
    """Return the console for reports on stdout."""
    console = Console(soft_wrap=True)
    # In a log file or a pipe, tables truncated at 80 columns would lose numbers.
    return console if console.is_terminal else Console(soft_wrap=True, width=160)


def plain(text: str) -> str:
    """Escape brackets, which rich would read as markup."""
    return text.replace("[", r"\[")
