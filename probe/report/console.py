"""Where reports go."""

from __future__ import annotations

from rich.console import Console

__all__ = ["out", "plain"]


def out() -> Console:
    """Return the console of reports."""
    console = Console(soft_wrap=True)
    # Tables cut at 80 columns would lose figures in a log file or a pipe.
    return console if console.is_terminal else Console(soft_wrap=True, width=160)


def plain(text: str) -> str:
    """Keep brackets from being read as markup."""
    return text.replace("[", r"\[")
