"""Python that makes again what a card shows, written out for a person to copy."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from app.run import Run

__all__ = ["place_of_run", "script"]


def script(
    run: Run,
    name: str,
    imports: Iterable[str],
    table: Iterable[str],
    figure: Iterable[str] = (),
) -> str:
    """Write a script that leaves the table in ``table`` and the figure in ``figure``.

    Names from the run stand in it as `repr` gives them, so that none can become code.

    Parameters
    ----------
    run : Run
        Where the tables lie.
    name : str
        Stem of the files that it writes.
    imports : iterable of str
        Lines such as ``from probe.neurons import NeuronTable``.
    table : iterable of str
        Lines that leave a frame in ``table``; ``run`` is the run folder.
    figure : iterable of str
        Lines that leave a figure in ``figure``.

    Returns
    -------
    str
        A whole script, ending in a line feed.
    """
    drawn = list(figure)
    lines = [*imports, "from pathlib import Path", "from probe.run import RunFolder"]
    lines += ["from probe.plots import save_figure"] if drawn else []
    body = [
        f"run = RunFolder(Path({place_of_run(run.folder.root)!r}))",
        "",
        *table,
        f"table.to_csv({f'{name}.csv'!r}, index=False)",
    ]
    if drawn:
        body += ["", *drawn, f"save_figure(figure, {f'{name}.pdf'!r})"]
    return "\n".join([_made(run), *_sorted(lines), "", *body, ""])


def place_of_run(root: Path) -> str:
    """Name the run as a person would who stands where the dashboard was started."""
    here = Path(os.getcwd())
    return str(root.relative_to(here)) if root.is_relative_to(here) else str(root)


def _made(run: Run) -> str:
    """Say what made the run, in one line whatever its manifest holds."""
    return f"# The run was made by: {' '.join(run.command.split())}"


def _sorted(imports: Iterable[str]) -> list[str]:
    """Put the standard library first, and join lines that import from one module."""
    names: dict[str, set[str]] = {}
    plain = set()
    for line in imports:
        if not line.startswith("from "):
            plain.add(line)
            continue
        module, _, what = line.removeprefix("from ").partition(" import ")
        names.setdefault(module, set()).update(what.split(", "))
    joined = [
        f"from {module} import {', '.join(sorted(names[module]))}" for module in sorted(names)
    ]
    first = [line for line in joined if line.startswith("from pathlib ")]
    return [*first, "", *sorted(plain), *(line for line in joined if line not in first)]
