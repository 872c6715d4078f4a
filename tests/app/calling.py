"""Asking a dashboard what a browser would ask it."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pandas as pd
from flask.testing import FlaskClient

from app import ids


def call(
    client: FlaskClient, output: str, values: dict[str, Any], changed: str | None = None, *also: str
) -> Any:
    """Answer of the callback with this output; inputs are given as {"id.property": value}.

    The first input counts as the one that changed, unless another is named.
    """
    found = client.get("/_dash-dependencies").get_json()
    one = next(c for c in found if output in c["output"].strip(".").split("..."))
    outputs = [
        {"id": json.loads(id) if id.startswith("{") else id, "property": prop}
        for id, prop in (name.rsplit(".", 1) for name in one["output"].strip(".").split("..."))
    ]
    inputs, state = (
        [{**item, "value": values.get(f"{item['id']}.{item['property']}")} for item in one[kind]]
        for kind in ("inputs", "state")
    )
    body = {
        "output": one["output"],
        "outputs": outputs if len(outputs) > 1 else outputs[0],
        "inputs": inputs,
        "state": state,
        "changedPropIds": [*also, changed or f"{inputs[0]['id']}.{inputs[0]['property']}"],
    }
    answer = client.post("/_dash-update-component", json=body)
    assert answer.status_code == 200, answer.text[:500]
    return answer.get_json()


def exported(client: FlaskClient, name: str, search: str = "") -> pd.DataFrame:
    """What an entry of a card's menu gives as CSV."""
    answer = client.get(f"/export/{name}.csv{search}")
    assert answer.status_code == 200, answer.text[:500]
    return pd.read_csv(BytesIO(answer.data))


def said(client: FlaskClient, path: str, search: str = "") -> str:
    """What the page at an address says, as text."""
    values = {f"{ids.URL}.pathname": path, f"{ids.URL}.search": search}
    return json.dumps(call(client, f"{ids.PAGE}.children", values), ensure_ascii=False)
