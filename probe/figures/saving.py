"""Saving of figures: reproducible bytes, with provenance inside the file and beside it.

Text stays text. PDF embeds the fonts it uses (Type 42, TrueType); SVG embeds them as style rules,
which browsers use and some editors do not; PNG has pixels only.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from probe.errors import ProbeError, UnknownNameError
from probe.figures.embedding import with_fonts
from probe.figures.layout import EXACT
from probe.figures.styles import STYLE

__all__ = ["FORMATS", "MARK", "check_format", "full_provenance", "save_figure", "versions"]

FORMATS = (".pdf", ".png", ".svg")

#: Value of ``kind`` in a sidecar file; other files are not overwritten.
MARK = "probe figure"

_PACKAGES = ("deepfake-probe", "numpy", "matplotlib", "torch", "captum", "xarray")


def versions() -> dict[str, str]:
    """Return the versions of the packages relevant to a figure, if installed."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name.removeprefix("deepfake-")] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def check_format(path: Path) -> None:
    """Raise `UnknownNameError` if the suffix of a path is not a figure format."""
    if path.suffix not in FORMATS:
        raise UnknownNameError("figure format", path.suffix or path.name, FORMATS)


def save_figure(
    figure: Figure,
    path: str | Path,
    dpi: int = 300,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write a figure; the same figure and versions give the same bytes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Figure to write. Grids of `probe.figures` keep their exact size; margins of other figures
        are cropped.
    path : path
        Path with suffix ``.pdf``, ``.svg`` or ``.png``.
    dpi : int, default 300
        Resolution of PNG, and of images in PDF and SVG.
    provenance : mapping, optional
        Command, title, fingerprints, or any other JSON data. It is written, with package
        versions, into the file (PDF: ``Keywords``; PNG: text chunk ``Provenance``; SVG:
        ``dc:description``) and to ``<name>.json`` beside it. No date and no path is added.

    Returns
    -------
    pathlib.Path
        Path of the written file.

    Raises
    ------
    UnknownNameError
        If the suffix is not a figure format.
    ProbeError
        If the file cannot be written, or ``<name>.json`` exists and is not of a figure.
    """
    path = Path(path)
    check_format(path)
    known = None if provenance is None else full_provenance(figure, provenance, dpi)
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if known is not None:
            _check_sidecar(path.with_suffix(".json"))
        _render(figure, partial, path.suffix, dpi, known)
        if known is not None:
            _write_sidecar(path.with_suffix(".json"), known)
        partial.replace(path)
    except OSError as error:
        raise ProbeError(
            f"The figure cannot be written to {str(path)!r} ({error}). Choose a folder that can "
            "be written to."
        ) from error
    finally:
        if partial.is_file():
            partial.unlink()
    return path


def full_provenance(figure: Figure, provenance: Mapping[str, Any], dpi: int) -> dict[str, Any]:
    """Return the provenance of a figure: the given one, size in inches, dpi and versions."""
    width, height = (round(float(side), 4) for side in figure.get_size_inches())
    size = {"size_inches": [width, height]} if figure.get_label() == EXACT else {}
    return {"kind": MARK, **provenance, **size, "dpi": dpi, "versions": versions()}


def _render(
    figure: Figure, place: Path, suffix: str, dpi: int, known: Mapping[str, Any] | None
) -> None:
    margins: dict[str, Any] = {}
    if figure.get_label() != EXACT:
        margins = {"bbox_inches": "tight", "pad_inches": 0.03}
    with mpl.rc_context(STYLE):
        figure.savefig(
            place, format=suffix[1:], dpi=dpi, metadata=_metadata(suffix, known), **margins
        )
    if suffix == ".svg":
        text = place.read_text(encoding="utf-8")
        place.write_text(with_fonts(text), encoding="utf-8", newline="\n")


def _metadata(suffix: str, known: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the metadata fields of the format; None removes the date."""
    maker = f"probe {versions().get('probe', '')}".strip() + f", matplotlib {mpl.__version__}"
    title, text = "", ""
    if known is not None:
        title, text = str(known.get("title", "")), json.dumps(known, sort_keys=True, default=str)
    fields: dict[str, Any]
    if suffix == ".pdf":
        fields = {"CreationDate": None, "Creator": maker, "Title": title, "Keywords": text}
    elif suffix == ".svg":
        fields = {"Date": None, "Creator": maker, "Title": title, "Description": text}
    else:
        fields = {"Software": maker, "Title": title, "Provenance": text}
    return {key: value for key, value in fields.items() if value or value is None}


def _check_sidecar(place: Path) -> None:
    if place.exists() and not _ours(place):
        raise ProbeError(
            f"{str(place)!r} exists and was not written with a figure; the provenance of the "
            "figure would be written there. Give the figure another name."
        )


def _write_sidecar(place: Path, known: Mapping[str, Any]) -> None:
    partial = place.with_name(place.name + ".part")
    text = json.dumps(known, indent=2, sort_keys=True, default=str, ensure_ascii=False)
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(place)


def _ours(place: Path) -> bool:
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(content, dict) and content.get("kind") == MARK
