"""`Page`: Dash with the scripts that pages here use, and no others."""

from __future__ import annotations

import re
from typing import Any

from dash import Dash

__all__ = ["Page"]

#: Scripts that no page has a component for: charts and editors of Mantine, tables and texts of
#: Dash, and what only the licensed edition of the grid needs.
_UNUSED = (
    r"dash_mantine_components/(async-|dash_mantine_components-charts)",
    r"dash_ag_grid/async-enterprise",
    r"dash/dash_table/",
    r"dash/dcc/async-(datepicker|dropdown|highlight|markdown|mathjax|slider)",
)
_TAG = re.compile(rf'<script src="[^"]*/({"|".join(_UNUSED)})[^"]*"></script>\n?')


class Page(Dash):
    """Dash, whose page leaves scripts out that would be loaded and read for nothing.

    Those of components that are loaded in parts are still served, and loaded when one is shown.
    """

    def interpolate_index(self, **parts: Any) -> str:  # type: ignore[override]
        """Return the page without the tags of those scripts."""
        scripts = _TAG.sub("", parts.pop("scripts", ""))
        found = super().interpolate_index(scripts=scripts, **parts)  # type: ignore[no-untyped-call]
        return str(found)
