"""Fonts embedded in SVG: text stays text, and has the same look where a font is not installed."""

from __future__ import annotations

import base64
import html
import io
import re
from pathlib import Path

from fontTools.subset import Options, Subsetter  # type: ignore[import-untyped]
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
from matplotlib.font_manager import FontProperties, findfont

from probe.figures.styles import SANS, SERIF

__all__ = ["with_fonts"]

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
