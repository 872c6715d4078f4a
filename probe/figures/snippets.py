r"""LaTeX for a figure: an ``\includegraphics`` environment with a draft caption."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from probe.errors import ProbeError
from probe.figures.attributions import LOGIT, Maps, target_of, title_of
from probe.figures.bars import scale_words
from probe.figures.saving import FORMATS, check_format, save_figure
from probe.tables import parsed

__all__ = ["caption_draft", "escaped", "latex_snippet", "provenance_of", "write_figure"]

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
        "detector": str(attrs.get("detector") or ""),
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
        "detector",
        "detector_fingerprint",
        "data",
        "data_fingerprint",
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
        Suffixes among `probe.figures.FORMATS`.
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
