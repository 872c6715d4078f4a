"""`Page`: Dash with the scripts that pages here use, and no others."""

from __future__ import annotations

import re
from typing import Any

from dash import Dash
from flask import has_request_context, request

__all__ = ["Page"]

#: Scripts that no page has a component for: charts and editors of Mantine, tables and texts of
#: Dash, and what only the licensed edition of the grid needs.
_UNUSED = (
    r"dash_mantine_components/(async-|dash_mantine_components-charts)",
    r"dash_ag_grid/async-enterprise",
    r"dash/dash_table/",
    r"dash/dcc/async-(datepicker|dropdown|highlight|markdown|mathjax|slider)",
)
#: Scripts of figures, of tables that sort, and of what files are dropped in: none is on the first
#: page. Where such a part is shown, Dash loads them by these addresses, plotly without a version.
_LATER = (
    r"plotly/package_data/plotly",
    r"dash_ag_grid/async-community",
    r"dash/dcc/async-(graph|upload)",
)
_FIRST = "/"


def _tags(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf'<script src="([^"]*/(?:{"|".join(names)})[^"]*)"></script>\n?')


_UNUSED_TAG, _LATER_TAG = _tags(_UNUSED), _tags(_LATER)
_VERSION = re.compile(r"(plotly)\.v[^/]*?(\.min\.js)$")


class Page(Dash):
    """Dash, whose page leaves scripts out that would be loaded and read for nothing.

    Those of components that are loaded in parts are still served, and loaded when one is shown.
    On the first page the browser fetches those of the other pages when it has nothing to do, and
    ``assets/ahead.js`` reads them once that page is drawn.
    """

    def interpolate_index(self, **parts: Any) -> str:  # type: ignore[override]
        """Return the page without the tags of those scripts."""
        scripts = _UNUSED_TAG.sub("", parts.pop("scripts", ""))
        if has_request_context() and request.path == _FIRST:
            paths = (_VERSION.sub(r"\1\2", tag[1]) for tag in _LATER_TAG.finditer(scripts))
            later = dict.fromkeys(paths)
            scripts = _LATER_TAG.sub("", scripts)
            links = (f'<link rel="prefetch" as="script" href="{path}">' for path in later)
            parts["css"] = "\n".join([parts.get("css", ""), *links])
        found = super().interpolate_index(scripts=scripts, **parts)  # type: ignore[no-untyped-call]
        return str(found)
