"""A titled card with a help text, the one frame that every section of a page has."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from app.components.fixed import fixed
from app.components.help import Help

__all__ = ["card", "graph", "help_mark"]


def card(
    title: Any, *body: Any, help: Help | None = None, controls: Any = None, **props: Any
) -> Any:
    """Frame a section.

    Parameters
    ----------
    title : str or component
        Heading.
    *body : component
        What it holds.
    help : Help, optional
        Definition behind a question mark.
    controls : component, optional
        What stands at the right of the heading.
    **props : Any
        Further properties of the frame, such as its class.
    """
    heading = dmc.Title(title, order=2, className="card-title")
    left = [heading, help_mark(help)] if help else [heading]
    head = [dmc.Group(left, gap=6, wrap="nowrap")]
    if controls is not None:
        head.append(dmc.Group(controls, gap="sm"))
    group = dmc.Group(head, justify="space-between", className="card-head")
    classes = f"card {props.pop('className', '')}".strip()
    return html.Section([group, *body], className=classes, **props)


def help_mark(help: Help) -> Any:
    """Show a definition and its source on hover or on focus by keyboard."""
    mark = dmc.Tooltip(
        dmc.ActionIcon(
            "?",
            variant="default",
            size=18,
            radius="xl",
            className="help-mark",
            **{"aria-label": f"{help.text} Source: {help.source}"},
        ),
        label=html.Div(
            [html.Div(help.text), html.Div(f"Source: {help.source}", className="help-source")]
        ),
        multiline=True,
        w=360,
        withArrow=True,
        events={"hover": True, "focus": True, "touch": True},
    )
    return fixed(mark)


def graph(id: str, height: int, figure: Any = None, label: str = "") -> Any:
    """Place a figure whose room is kept while it loads, so that nothing jumps."""
    named: dict[str, Any] = {"role": "img", "aria-label": label}
    return html.Div(
        dcc.Graph(
            id=id,
            figure=figure,
            config={"displayModeBar": False, "responsive": True},
            style={"height": "100%"},
        ),
        style={"height": height},
        **named,
    )
