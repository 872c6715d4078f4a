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
    """What the page at an address and all of its cards say, as text."""
    values = {f"{ids.URL}.pathname": path, f"{ids.URL}.search": search}
    answer = call(client, f"{ids.PAGE}.children", values)["response"]
    declared = answer[ids.DECLARED]["data"] or {"cards": []}
    page = json.dumps(answer, ensure_ascii=False)
    there = (one for one in declared["cards"] if f'{{"part": "card", "of": "{one}"}}' in page)
    cards = [card_of(client, name, search) for name in there]
    return json.dumps([answer, cards], ensure_ascii=False)


def card_of(client: FlaskClient, name: str, search: str = "", scheme: str = "light") -> Any:
    """Content of a card for an address."""
    of = {"of": name, "part": "card"}
    key = {"id": {"of": name, "part": "key"}, "property": "data"}
    found = client.get("/_dash-dependencies").get_json()
    output = next(one["output"] for one in found if '"part":"card"}.children' in one["output"])
    body = {
        "output": output,
        "outputs": [{"id": of, "property": name} for name in ("children", "style")],
        "inputs": [{**key, "value": {"search": search, "scheme": scheme}}],
        "changedPropIds": [f"{json.dumps(key['id'], separators=(',', ':'))}.data"],
    }
    answer = client.post("/_dash-update-component", json=body)
    assert answer.status_code == 200, answer.text[:500]
    (shown,) = answer.get_json()["response"].values()
    return shown["children"]


def answer_of(client: FlaskClient, card: Any, key: Any) -> Any:
    """Answer to the question for a card's content, as it came."""
    outputs = [
        {"id": {"of": card, "part": "card"}, "property": name} for name in ("children", "style")
    ]
    return _matched(client, "card", card, outputs, [("key", "data", key)], [])


def pressed(client: FlaskClient, card: str, button: str, key: Any, clicks: Any = 1) -> Any:
    """Key of a card after one of its job's buttons; None where nothing changes."""
    given = [(one, "n_clicks", clicks if one == button else None) for one in ("start", "cancel")]
    outputs = {"id": {"of": card, "part": "key"}, "property": "data"}
    answer = _matched(client, "key", card, outputs, given, [("key", "data", key)])
    if answer.status_code == 204:
        return None
    assert answer.status_code == 200, answer.text[:500]
    found = answer.get_json()["response"]
    return next(iter(found.values()))["data"] if found else None


def _matched(
    client: FlaskClient, part: str, card: Any, outputs: Any, inputs: Any, state: Any
) -> Any:
    """Ask a callback that is one for all cards."""
    found = client.get("/_dash-dependencies").get_json()
    first = [f'"part":"{one[0]}"' for one in inputs]
    one = next(
        c
        for c in found
        if f'"part":"{part}"' in c["output"]
        and len(c["inputs"]) == len(inputs)
        and all(word in str(i["id"]) for word, i in zip(first, c["inputs"], strict=True))
        and not c["clientside_function"]
    )
    body = {
        "output": one["output"],
        "outputs": outputs,
        "inputs": [_item(card, *given) for given in inputs],
        "state": [_item(card, *given) for given in state],
        "changedPropIds": [
            f'{{"of":{json.dumps(card)},"part":"{part}"}}.{prop}'
            for part, prop, value in inputs
            if value is not None
        ],
    }
    return client.post("/_dash-update-component", json=body)


def _item(card: Any, part: str, prop: str, value: Any) -> dict[str, Any]:
    return {"id": {"of": card, "part": part}, "property": prop, "value": value}
