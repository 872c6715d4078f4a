"""The menu that takes away what a card shows."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc

from app.exports import EXPORTS
from app.prefix import at

__all__ = ["export_menu"]

#: What the entries of the menu say.
_LABELS = {
    ".pdf": "PDF",
    ".png": "PNG, 300 dpi",
    ".svg": "SVG",
    ".csv": "CSV",
    ".tex": "LaTeX",
}
_FIGURES, _TABLES = (".pdf", ".png", ".svg"), (".csv", ".tex")


def export_menu(name: str) -> Any:
    """Place the menu that takes a card away, for its ``controls``.

    Its entries get the page's query from ``assets/export.js`` when they are chosen.

    Parameters
    ----------
    name : str
        Of the export, see `app.exports.EXPORTS`.
    """
    export = EXPORTS[name]
    figures = [_item(name, suffix) for suffix in export.suffixes if suffix in _FIGURES]
    tables = [_item(name, suffix) for suffix in export.suffixes if suffix in _TABLES]
    items: list[Any] = [dmc.MenuLabel("Figure for print"), *figures] if figures else []
    items += [dmc.MenuLabel("Table"), *tables]
    if export.code:
        copied: dict[str, Any] = {"data-copy": at(f"/export/{name}.py")}
        items += [dmc.MenuDivider(), dmc.MenuItem("Copy as Python", **copied)]
    # The box around a target carries the state of the menu: it is made the button itself, since
    # a button within would not tell whoever hears the page that there is a menu.
    button: dict[str, Any] = {
        "component": "button",
        "type": "button",
        "className": "export-button",
        "data-menu": name,
        "aria-label": f"Export {name.replace('-', ' ')}",
    }
    return dmc.Menu(
        [dmc.MenuTarget("Export", boxWrapperProps=button), dmc.MenuDropdown(items)],
        position="bottom-end",
        withinPortal=True,
    )


def _item(name: str, suffix: str) -> Any:
    marked: dict[str, Any] = {"data-export": at(f"/export/{name}{suffix}")}
    return dmc.MenuItem(_LABELS[suffix], **marked)
