"""What somebody hostile sends to a dashboard, and ways to send it everywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.app.making import DATASETS, DETECTORS, LAYER

SCRIPT = "<script>window.__hit=1</script>"
IMAGE = "\"'><img src=x onerror=window.__hit=1>"

#: Text in place of a name.
TEXTS = [
    "../../../../../../etc/passwd",
    "..\\..\\..\\etc\\passwd",
    "/etc/passwd",
    "file:///etc/passwd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "....//....//etc/passwd",
    "a\x00b",
    "run.json",
    "-1",
    "9" * 400,
    "NaN",
    SCRIPT,
    IMAGE,
    "{{7*7}}",
    "${7*7}",
    "'; --",
    "é\u202e\ud7ff\U0001f600\n\r\t",
    "x" * 5000,
    "__class__",
    "%s%n",
    "1e999",
    "a,b,,\x00,../..",
]

#: Values that are no text, in place of text, and the other way round.
VALUES: list[Any] = [
    TEXTS[0],
    SCRIPT,
    "x" * 5000,
    -1,
    10**30,
    1.5,
    True,
    [],
    [None],
    ["../x", 3, {}],
    {},
    {"points": [{"customdata": ["../x", {}], "x": -1, "y": 10**9, "pointNumber": "x"}]},
    {"points": "x"},
    [{"unit": "../x"}],
    {"__proto__": {}},
    "1,2,x,../..",
]

#: Values that let a callback come as far as it can, by what its input's id ends with.
_GOOD = {
    "detector": DETECTORS[0],
    "layer": LAYER,
    "dataset": DATASETS[0],
    "scheme": "light",
    "search": "",
    "pathname": "/",
    "metric": "auroc",
    "level": "frame",
    "embedding": "pca",
    "color": "label",
    "unit": "3",
    "measure": "probe_auroc",
    "n_clicks": 1,
}


def callbacks(client: FlaskClient) -> list[dict[str, Any]]:
    """The callbacks that the server answers, as it lists them."""
    found = client.get("/_dash-dependencies").get_json()
    return [one for one in found if not one.get("clientside_function")]


def outputs_of(callback: dict[str, Any]) -> Any:
    text = callback["output"]
    several = text.startswith("..")
    names = text.strip(".").split("...") if several else [text]
    found = [dict(zip(("id", "property"), one.rsplit(".", 1), strict=True)) for one in names]
    return found if several else found[0]


def hostile_bodies(callback: dict[str, Any], turn: int) -> Iterator[dict[str, Any]]:
    """Bodies in which each argument in turn, and then all of them, are hostile."""
    wanted = [*callback["inputs"], *callback["state"]]
    several = [one["id"].startswith("{") for one in wanted]
    good = [_good(one) for one in wanted]
    for at in range(len(wanted)):
        for step in range(3):
            value = VALUES[(turn + 5 * step + at) % len(VALUES)]
            yield _body(callback, [*good[:at], value, *good[at + 1 :]], several, at)
    for value in VALUES[turn % 4 :: 4]:
        yield _body(callback, [value] * len(wanted), several, 0)


def _good(one: dict[str, Any]) -> Any:
    if one["property"] == "data" and one["id"].endswith("-detector"):
        # What a select offers.
        return list(DETECTORS)
    for end in (one["property"], one["id"].rsplit("-", 1)[-1]):
        if end in _GOOD:
            return _GOOD[end]
    return None


def _body(
    callback: dict[str, Any], values: list[Any], several: list[bool], changed: int
) -> dict[str, Any]:
    wanted = [*callback["inputs"], *callback["state"]]
    given = []
    for one, value, many in zip(wanted, values, several, strict=True):
        item = {"id": one["id"], "property": one["property"], "value": value}
        # Buttons that are many are given as a list; here it has one.
        given.append([{**item, "id": json.loads(_one(one["id"]))}] if many else item)
    n = len(callback["inputs"])
    first = wanted[changed if changed < n else 0]
    return {
        "output": callback["output"],
        "outputs": outputs_of(callback),
        "inputs": given[:n],
        "state": given[n:],
        "changedPropIds": [f"{_one(first['id'])}.{first['property']}"],
    }


def _one(id: str) -> str:
    """Name one of the components that a pattern stands for."""
    return id.replace('["ALL"]', f'"{DETECTORS[0]}"')


def leaks(answer: TestResponse) -> bool:
    """Whether an answer tells of a file outside of the run, or how the server is made."""
    text = answer.get_data(as_text=True)
    return "root:x:" in text or "Traceback" in text or 'File "' in text
