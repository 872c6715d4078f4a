"""Routes of tables, paper figures, code and the report; no path of a request is ever opened."""

from __future__ import annotations

import json
import re
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from flask import Flask, Response, request

from app.card import At, Card, script
from app.pages import CARDS
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError
from probe.plots import save_figure, versions
from probe.tables import export_frame, parsed

__all__ = ["LONGEST", "add_downloads", "add_report", "file_name"]

#: Rows of the longest table that LaTeX is written for: more are for no page.
LONGEST = 2000

_KINDS = {
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".csv": "text/csv",
    ".tex": "application/x-tex",
    ".py": "text/plain",
}

#: matplotlib keeps its settings for the whole process, so one figure is drawn at a time.
_DRAWING = threading.Lock()


def add_downloads(server: Flask, run: Run) -> None:
    """Serve ``/export/<name>.<suffix>`` for what the query selects."""

    @server.get("/export/<path:asked>")
    def _export(asked: str) -> Response:
        name, dot, suffix = asked.rpartition(".")
        card = CARDS.get(name)
        if card is None or dot + suffix not in card.suffixes:
            return _refused("There is no such download. Use the menu of a card.")
        return _of_card(run, card, dot + suffix)


def _of_card(run: Run, card: Card, suffix: str) -> Response:
    try:
        chosen = Selection.parse(request.query_string.decode("utf-8", "replace"))
        content = card_content(run, card, At(run, chosen), suffix)
    except ProbeError as error:
        return _refused(str(error))
    except KeyError as error:
        # Pages need less of a table than figures do.
        return _refused(f"A table of this run lacks what is shown here: {error}")
    response = Response(content, mimetype=_KINDS[suffix])
    if suffix != ".py":
        file = file_name(card.id, card.about, chosen, suffix)
        response.headers["Content-Disposition"] = f'attachment; filename="{file}"'
    response.headers["Cache-Control"] = "no-store"
    return response


def card_content(run: Run, card: Card, at: At, suffix: str) -> bytes:
    """Return a card's table, figure or script as a file's content.

    Raises
    ------
    ProbeError
        If there is none for what is selected.
    """
    if suffix == ".py":
        return script(run, card, at).encode()
    attrs = card.call(at).attrs if card.call else {}
    known = _known(run, card.id, at.chosen, attrs)
    if suffix in (".csv", ".tex"):
        return _table(card.table(at), known, suffix)
    assert card.call is not None
    with _DRAWING, tempfile.TemporaryDirectory(prefix="probe-export-") as folder:
        figure = card.call(at).print()
        place = Path(folder) / f"{card.id}{suffix}"
        return save_figure(figure, place, provenance=known).read_bytes()


#: What the report may do: nothing but show itself. A run from elsewhere may hold any file by its
#: name; scripts, forms and requests are forbidden, and it has no origin of its own.
REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
)


def add_report(server: Flask, run: Run) -> None:
    """Serve the run's own report at ``/report``."""

    @server.get("/report")
    def _report() -> Response:
        file = run.report
        if file is None:
            return _refused(
                "This run holds no report. Make it with `probe report RUN`, and load this page "
                "again."
            )
        response = Response(file.read_bytes(), mimetype="text/html")
        response.headers["Content-Security-Policy"] = REPORT_POLICY
        response.headers["Cache-Control"] = "no-store"
        return response


def file_name(name: str, about: tuple[str, ...], chosen: Selection, suffix: str) -> str:
    """Return a file name of a card and of what was chosen."""
    parts = [name, *(getattr(chosen, field) for field in about)]
    words = [re.sub(r"[^A-Za-z0-9_]+", "-", part).strip("-") for part in parts]
    return "-".join(word for word in words if word)[:120] + suffix


def _table(frame: pd.DataFrame, known: dict[str, Any], suffix: str) -> bytes:
    """Write a table; LaTeX says in a comment where it comes from, CSV has no comments."""
    if suffix == ".tex" and len(frame) > LONGEST:
        raise ProbeError(
            f"The table has {len(frame):,} rows, and LaTeX is written up to {LONGEST:,}. Download "
            "the CSV file and choose the rows to print."
        )
    with tempfile.TemporaryDirectory(prefix="probe-export-") as folder:
        text = export_frame(frame, Path(folder) / f"table{suffix}").read_bytes()
    if suffix == ".csv":
        return text
    note = json.dumps(known | {"versions": versions()}, sort_keys=True, default=str)
    return f"% {note}\n".encode() + text


def _known(run: Run, name: str, chosen: Selection, attrs: Mapping[Any, Any]) -> dict[str, Any]:
    manifest = run.manifest
    return {
        "title": name.replace("-", " "),
        "command": run.command,
        "run": str(manifest.get("title", "")),
        "created": str(manifest.get("created", "")),
        "simulated": bool(manifest.get("simulated", False)),
        "selection": chosen.search.lstrip("?"),
        "table": {str(key): _short(value) for key, value in attrs.items()},
    }


def _short(value: object) -> object:
    """Leave out long lists: a figure says what it comes from, the table has it all."""
    value = parsed(value)
    return value if len(json.dumps(value, default=str)) <= 400 else "see the table in the run"


def _refused(text: str) -> Response:
    return Response(text + "\n", status=404, mimetype="text/plain")
