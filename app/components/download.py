"""A button that downloads what a card shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dash_mantine_components as dmc
import pandas as pd
from dash import Dash, Input, Output, State, dcc, no_update

from app import ids
from probe.errors import ProbeError

__all__ = ["csv_button", "register_csv"]


def csv_button(id: str) -> list[Any]:
    """Place a button, and the download that it starts."""
    return [
        dmc.Button("CSV", id=id, variant="default", size="xs"),
        dcc.Download(id=ids.file_of(id)),
    ]


def register_csv(
    app: Dash, button: str, name: str, frame: Callable[..., pd.DataFrame], *states: State
) -> None:
    """Answer a button with a file.

    Parameters
    ----------
    app : Dash
        Where.
    button : str
        Id of the button.
    name : str
        Of the file, without its suffix.
    frame : callable
        Takes the values of the states and returns what to write.
    *states : State
        What is selected.
    """

    @app.callback(
        Output(ids.file_of(button), "data"),
        Input(button, "n_clicks"),
        *states,
        prevent_initial_call=True,
    )
    def download(clicks: int, *values: Any) -> Any:
        try:
            content = frame(*values).to_csv(index=False)
        except ProbeError:
            # The card says what is wrong with the selection.
            return no_update
        return {"content": content, "filename": f"{name}.csv", "type": "text/csv"}
