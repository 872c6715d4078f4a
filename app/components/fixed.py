"""`fixed`: a part of a page that nothing changes from within, drawn as one component."""

from __future__ import annotations

from typing import Any

from dash.development.base_component import Component

__all__ = ["Fixed", "fixed"]

#: What may stand in such a part beside HTML: what needs no answer of its own.
_DRAWN = {
    "dash_core_components": {"Link"},
    "dash_mantine_components": {
        "Table",
        "TableThead",
        "TableTbody",
        "TableTr",
        "TableTh",
        "TableTd",
        "Tooltip",
        "ActionIcon",
    },
}


class Fixed(Component):
    """A tree of components that is drawn by ``assets/fixed.js`` without Dash's care for each.

    Dash looks at every component of a page whenever a property of any of them changes. Images in
    rows and tables are hundreds; drawn as one they open a page in half the time.

    Parameters
    ----------
    tree : Any
        As `fixed` returns it.
    """

    _children_props: list[str] = []
    _base_nodes = ["children"]
    _namespace = "probe_parts"
    _type = "Fixed"
    _prop_names = ["id", "tree"]
    _valid_wildcard_attributes: list[str] = []
    available_properties = ["id", "tree"]
    available_wildcard_properties: list[str] = []

    def __init__(self, tree: Any = None, **more: Any) -> None:
        super().__init__(tree=tree, **more)  # type: ignore[no-untyped-call]


def fixed(*parts: Any) -> Fixed:
    """Draw components as one.

    Parameters
    ----------
    *parts : component, list, str or None
        HTML, links and tables of figures. None has an id, since nothing in it can be asked for or
        changed.

    Returns
    -------
    Fixed

    Raises
    ------
    TypeError
        If a part has an id, or is a component that needs Dash.
    """
    return Fixed(_plain(list(parts)))


def _plain(part: Any) -> Any:
    if isinstance(part, list | tuple):
        return [_plain(one) for one in part]
    if not isinstance(part, Component):
        return part
    data: dict[str, Any] = part.to_plotly_json()  # type: ignore[no-untyped-call]
    namespace, kind, props = data["namespace"], data["type"], dict(data["props"])
    if isinstance(part, Fixed):
        return props["tree"]
    if "id" in props:
        raise TypeError(f"{kind} {props['id']!r} has an id: nobody can ask for it in a fixed part.")
    if namespace != "dash_html_components" and kind not in _DRAWN.get(namespace, ()):
        raise TypeError(f"{namespace}.{kind} cannot stand in a fixed part.")
    plain = {name: _plain(value) for name, value in props.items()}
    return {"namespace": namespace, "type": kind, "props": plain}
