"""Writing figures: exact size, embedded fonts, deterministic bytes, captions and LaTeX."""

from __future__ import annotations

import base64
import html
import importlib.metadata
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont

from probe.errors import ProbeError, UnknownNameError
from probe.plots.attribution_maps import LOGIT, Maps, target_of, title_of
from probe.plots.grid import scale_words
from probe.plots.style import SANS, SERIF, STYLE
from probe.plots.text import EXACT, fit_names, legible
from probe.progress import note
from probe.tables import parsed

__all__ = [
    "FORMATS",
    "MARK",
    "caption_draft",
    "check_format",
    "escaped",
    "full_provenance",
    "latex_snippet",
    "provenance_of",
    "save_figure",
    "versions",
    "with_fonts",
    "write_figure",
]

#: Start of the style sheet in matplotlib's SVG.
_SHEET = '<style type="text/css">'


def with_fonts(text: str) -> str:
    """Embed the glyphs that an SVG uses, from the fonts that it names.

    Parameters
    ----------
    text : str
        SVG written by matplotlib with ``svg.fonttype`` "none".

    Returns
    -------
    str
        The same with ``@font-face`` rules. Browsers use them; editors such as Inkscape do not, and
        use an installed font.
    """
    spans = re.findall(r"<text[^>]*>(.*?)</text>", text, re.DOTALL)
    wanted = set(html.unescape(re.sub(r"<[^>]+>", "", "".join(spans))))
    faces = []
    for family in (SERIF, SANS):
        if f"'{family}'" in text and wanted:
            face, missing = _face(family, wanted)
            faces.append(face)
            wanted = missing
    return text.replace(_SHEET, _SHEET + "".join(faces), 1)


def _face(family: str, letters: set[str]) -> tuple[str, set[str]]:
    """Return the rule that embeds letters of a family, and the letters that it lacks."""
    place = Path(findfont(FontProperties(family=family), fallback_to_default=False))
    options = Options(layout_features=[], name_IDs=[1, 2], notdef_outline=True, hinting=False)
    options.drop_tables += ["FFTM"]  # holds a time stamp
    # A time stamp would change the bytes of the same figure.
    with TTFont(place, recalcTimestamp=False, lazy=True) as font:
        known = {letter for letter in letters if ord(letter) in font.getBestCmap()}
        subset = Subsetter(options)
        subset.populate(unicodes=sorted(map(ord, known)))
        subset.subset(font)
        file = io.BytesIO()
        font.save(file, reorderTables=None)
    code = base64.b64encode(file.getvalue()).decode("ascii")
    rule = f"@font-face{{font-family:'{family}';src:url(data:font/ttf;base64,{code})}}"
    return rule, letters - known


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
        Figure to write. Grids of `probe.plots` keep their exact size; margins of other figures
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
    names = _readable(figure)
    known = None if provenance is None else full_provenance(figure, provenance, dpi)
    if known is not None and names:
        known["written_as"] = names
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


def _readable(figure: Figure) -> dict[str, str]:
    """Write names in letters that can be drawn, and long ones shorter; return those changed."""
    with mpl.rc_context(STYLE):
        latin = legible(figure)
        # Grids are typeset by `probe.plots.text`, which breaks their names into lines.
        is_grid = figure.get_label() == EXACT and figure.get_layout_engine() is None
        short = {} if is_grid else fit_names(figure)
    for name in sorted(latin):
        _say_latin(name)
    return {**latin, **short}


@cache
def _say_latin(name: str) -> None:
    note(
        f"No installed font has the letters of {name!r}; figures write it in Latin letters. "
        "Install a font that has them, such as Noto Sans CJK."
    )


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


#: First line of a snippet; a file without it is not overwritten.
DRAFT = "% Drafted by probe. Take out this line to keep your changes: then it is not overwritten."

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "−": "$-$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "·": r"$\cdot$",
    "–": "--",
    "…": r"\ldots{}",
    "σ": r"$\sigma$",
    "Δ": r"$\Delta$",
}

WHAT = {
    "map": "raw maps",
    "overlay": "raw maps over their images",
    "mean": "means of raw maps",
    "difference": "raw maps and their difference",
    "single": "a raw map",
}


def escaped(text: str) -> str:
    """Return text on one line, with LaTeX special characters escaped."""
    return "".join(_ESCAPES.get(letter, letter) for letter in " ".join(text.split()))


def latex_snippet(path: str | Path, caption: str, label: str, width: str = r"\columnwidth") -> str:
    r"""Return a ``figure`` environment that includes a figure.

    Parameters
    ----------
    path : path
        Path of the file for LaTeX; letters, digits and ``-_./+`` only.
    caption : str
        Plain text; LaTeX special characters are escaped.
    label : str
        Label after ``fig:``; characters other than letters, digits and ``-:.`` become dashes.
    width : str, default ``\columnwidth``
        LaTeX length. ``\textwidth`` makes a ``figure*`` over both columns.

    Raises
    ------
    ProbeError
        If LaTeX could not find a file of this name.
    """
    name = Path(path).as_posix()
    if not re.fullmatch(r"[\w\-./+]+", name, re.ASCII):
        raise ProbeError(
            f"{name!r} was given as the file to include; LaTeX finds only names with letters, "
            "digits, '-', '_', '+' and '.'. Rename the file."
        )
    kind = "figure*" if width == r"\textwidth" else "figure"
    mark = re.sub(r"[^A-Za-z0-9\-:.]+", "-", label).strip("-")
    return (
        f"\\begin{{{kind}}}[t]\n  \\centering\n  \\includegraphics[width={width}]{{{name}}}\n"
        f"  \\caption{{{escaped(caption)}}}\n  \\label{{fig:{mark}}}\n\\end{{{kind}}}\n"
    )


def caption_draft(
    maps: Maps | Mapping[str, Maps],
    scale: str = "figure",
    kind: str = "map",
    *,
    shown: int | None = None,
    masks: bool = False,
) -> str:
    """Draft a caption that states what is drawn, of which data and by which rule.

    Parameters
    ----------
    maps : AttributionMap or mapping
        Maps, or a mapping of titles to maps.
    scale : str
        Scale that the figure was drawn with.
    kind : {"map", "overlay", "mean", "difference", "single"}
        Kind of figure.
    shown : int, optional
        Number of samples shown, from the first; all by default.
    masks : bool, default False
        Whether mask outlines are drawn.
    """
    many = dict(maps) if isinstance(maps, Mapping) else {title_of(maps): maps}
    first = next(iter(many.values()))
    n = int(first.data.sizes["sample"]) if shown is None else shown
    parts = [f"Attribution, {WHAT[kind]}: {_whose(list(many.values()))}."]
    parts.append(f"{n} {'image' if n == 1 else 'images'}{_origin(first, n)}.")
    parts += _signs(many.values())
    rule = {"difference": "group", "single": "one"}.get(kind, scale)
    parts.append(f"Colors: {scale_words(rule)} of magnitudes; maps are raw, none is normalized.")
    if masks:
        parts.append("Outlines are the borders of forgery masks.")
    return " ".join(parts)


def _whose(maps: Sequence[Maps]) -> str:
    """Describe methods, targets and detectors; what all maps share is stated once."""
    facts = [_facts(found) for found in maps]
    shared = {key: value for key, value in facts[0].items() if all(value == f[key] for f in facts)}
    own = [_phrase({k: v for k, v in fact.items() if k not in shared}) for fact in facts]
    words = _joined(word for word in own if word)
    return " ".join(part for part in (words, _phrase(shared)) if part)


def _facts(found: Maps) -> dict[str, str]:
    attrs = found.data.attrs
    return {
        "title": title_of(found),
        "layer": str(attrs.get("layer") or ""),
        "baseline": str(attrs.get("baseline") or ""),
        "target": ("the " if target_of(found) == LOGIT else "") + target_of(found),
        "detector": found.detector,
    }


def _phrase(facts: Mapping[str, str]) -> str:
    details = [f"{key} {facts[key]}" for key in ("layer", "baseline") if facts.get(key)]
    words = [facts.get("title", "")]
    words += [f"of {facts[key]}" for key in ("target", "detector") if facts.get(key)]
    words.append(f"({', '.join(details)})" if details else "")
    return " ".join(word for word in words if word)


def _origin(found: Maps, n: int) -> str:
    """Describe the datasets of the samples, and the number of fakes."""
    data = found.data
    text = ""
    if "dataset" in data.coords:
        text = " of " + _joined(map(str, data["dataset"].values[:n]))
    if "label" in data.coords and n > 1:
        fake = int(np.sum(data["label"].values[:n] == 1))
        text += f" ({fake} fake, {n - fake} real)"
    return text


def _signs(maps: Iterable[Maps]) -> list[str]:
    """Describe the meaning of signs; if it differs between maps, for each."""
    known: dict[str, list[str]] = {}
    for one in maps:
        known.setdefault(str(one.data.attrs.get("sign", "")), []).append(title_of(one))
    whose = "" if len(known) == 1 else " of {}"
    return [f"Sign{whose.format(_joined(who))}: {text}." for text, who in known.items() if text]


def _joined(words: Iterable[str]) -> str:
    unique = list(dict.fromkeys(words))
    return ", ".join(unique[:-1]) + (" and " if len(unique) > 1 else "") + "".join(unique[-1:])


def provenance_of(
    maps: Maps | Mapping[str, Maps], command: str = "", **more: Any
) -> dict[str, Any]:
    """Return the provenance of a figure of maps, for `save_figure`.

    Parameters
    ----------
    maps : AttributionMap or mapping
        Maps, or a mapping of titles to maps.
    command : str
        Command line that made the figure.
    **more
        Further entries, such as ``kind_of_figure``, ``scale`` and ``style``.

    Returns
    -------
    dict
        ``title, command, maps`` (method, target, layer, baseline, seed, options, detector and
        fingerprints of each) and `more`.
    """
    many = dict(maps) if isinstance(maps, Mapping) else {title_of(maps): maps}
    keys = (
        "method",
        "target",
        "layer",
        "signed",
        "baseline",
        "seed",
        "options",
        "detectors",
        "data",
        "versions",
    )
    kept = {
        title: {key: parsed(one.data.attrs[key]) for key in keys if key in one.data.attrs}
        for title, one in many.items()
    }
    title = "Attribution: " + ", ".join(many)
    return {"title": title, "command": command, "maps": kept, **more}


def write_figure(
    figure: Figure,
    path: str | Path,
    formats: Sequence[str] = (".pdf", ".png"),
    *,
    dpi: int = 300,
    provenance: Mapping[str, Any] | None = None,
    caption: str | None = None,
) -> list[Path]:
    """Write a figure in several formats, with its provenance and a LaTeX snippet.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Figure to write.
    path : path
        Path without a suffix, or with that of a format, which is removed.
    formats : sequence of str
        Suffixes among `probe.plots.FORMATS`.
    dpi, provenance
        As in `save_figure`.
    caption : str, optional
        Plain text for ``<name>.tex``; without it no snippet is written.

    Returns
    -------
    list of pathlib.Path
        Paths of the written files. ``<name>.tex`` is not overwritten, and not listed, if its
        first line, which marks drafts, was removed.

    Raises
    ------
    UnknownNameError
        If a format is unknown.
    ProbeError
        If a file cannot be written, or LaTeX could not find a file of this name.
    """
    path = Path(path)
    stem = path.with_suffix("") if path.suffix in FORMATS else path
    places = [stem.with_name(stem.name + suffix) for suffix in formats]
    for place in places:
        check_format(place)
    snippet = ""
    if caption is not None:
        # LaTeX cannot include SVG, and a name without suffix would be cut at a dot.
        included = next((one for one in formats if one in (".pdf", ".png")), ".pdf")
        wide = figure.get_size_inches()[0] > 5
        snippet = latex_snippet(
            stem.name + included, caption, stem.name, r"\textwidth" if wide else r"\columnwidth"
        )
    written = [save_figure(figure, place, dpi, provenance) for place in places]
    if provenance is not None:
        written.append(stem.with_name(stem.name + ".json"))
    return written + (_write_draft(stem.with_name(stem.name + ".tex"), snippet) if snippet else [])


def _write_draft(place: Path, snippet: str) -> list[Path]:
    try:
        if place.exists() and not place.read_text(encoding="utf-8").startswith(DRAFT):
            return []
        partial = place.with_name(place.name + ".part")
        partial.write_text(f"{DRAFT}\n{snippet}", encoding="utf-8")
        partial.replace(place)
    except (OSError, UnicodeDecodeError) as error:
        raise ProbeError(
            f"The snippet cannot be written to {str(place)!r} ({error}). Choose a folder that "
            "can be written to, or another name."
        ) from error
    return [place]
