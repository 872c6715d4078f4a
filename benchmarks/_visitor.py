"""`Visitor`: asks a dashboard what a browser would ask it, without a browser."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

__all__ = ["Asked", "Visitor"]


@dataclass(frozen=True)
class Asked:
    """One request: the page, the first output, seconds until the answer was there, its bytes."""

    page: str
    what: str
    seconds: float
    size: int


@dataclass
class Visitor:
    """Keeps the address and the cards of a page as ``assets/card.js`` does.

    Attributes
    ----------
    port : int
        Where the dashboard is, on this machine.
    asked : list of Asked
        All callbacks so far.
    """

    port: int
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self._page, self._chosen, self._pages = "", {}, 0
        self._fields: dict[str, list[str]] = {}
        self._shown: dict[str, Any] = {}
        self._callbacks = [
            one
            for one in json.loads(self._get("/_dash-dependencies"))
            if not one["clientside_function"]
        ]

    def open(self, path: str, search: str = "") -> None:
        """Open a page as by its address, and all of its cards."""
        self._page, self._chosen = path, dict(parse_qsl(search.lstrip("?")))
        self._get("/")
        self._get("/_dash-layout")
        self._pages += 1
        given = {"scope.data": f"{path} {self._pages}", "rendered.data": 0}
        given |= {"url.pathname": path, "url.search": search}
        answer = self.ask("page.children", given)
        declared = answer["declared"]["data"] or {"cards": {}}
        text = json.dumps(answer["page"])
        self._shown = {}
        self._fields = {
            name: fields
            for name, fields in declared["cards"].items()
            if f'{{"part": "card", "of": "{name}"}}' in text
        }
        self._draw(self._fields)

    def change(self, **choices: Any) -> None:
        """Choose something: the cards that use it are asked for."""
        self._chosen |= {name: str(value) for name, value in choices.items()}
        self._draw(name for name, used in self._fields.items() if set(used) & set(choices))

    def card(self, name: str) -> Any:
        """Return what a card shows."""
        return self._shown.get(name)

    def draw(self, name: str) -> None:
        """Ask for a card again."""
        self._draw([name])

    def images(self, most: int) -> list[float]:
        """Fetch images that the page shows; seconds each."""
        found = []
        for address in list(dict.fromkeys(_sources(self._shown)))[:most]:
            began = time.perf_counter()
            self._get(address)
            found.append(time.perf_counter() - began)
        return found

    def ask(self, output: str, given: Mapping[str, Any]) -> Any:
        """Call the callback with an output; inputs are given as {"id.property": value}."""
        one = next(c for c in self._callbacks if output in c["output"].strip(".").split("..."))
        names = one["output"].strip(".").split("...")
        parts = [name.rsplit(".", 1) for name in names]
        outputs = [
            {"id": json.loads(id) if id.startswith("{") else id, "property": prop}
            for id, prop in parts
        ]
        inputs, state = (
            [{**item, "value": given.get(f"{item['id']}.{item['property']}")} for item in one[kind]]
            for kind in ("inputs", "state")
        )
        return self._call(output, one, outputs, inputs, state)

    def _draw(self, names: Any) -> None:
        for name in names:
            used = {n: self._chosen[n] for n in self._fields.get(name, ()) if self._chosen.get(n)}
            key = {"search": f"?{urlencode(used)}" if used else "", "scheme": "light"}
            one = next(c for c in self._callbacks if '"part":"card"}.children' in c["output"])
            outputs = [
                {"id": {"of": name, "part": "card"}, "property": prop}
                for prop in ("children", "style")
            ]
            item = {"id": {"of": name, "part": "key"}, "property": "data", "value": key}
            answer = self._call(name, one, outputs, [item], [])
            self._shown[name] = next(iter(answer.values()))["children"]

    def _call(
        self, what: str, one: dict[str, Any], outputs: Any, inputs: Any, state: Any
    ) -> dict[str, Any]:
        first = inputs[0]
        id = first["id"] if isinstance(first["id"], str) else _written(first["id"])
        body = {
            "output": one["output"],
            "outputs": outputs if len(outputs) > 1 else outputs[0],
            "inputs": inputs,
            "state": state,
            "changedPropIds": [f"{id}.{first['property']}"],
        }
        began = time.perf_counter()
        self._server.request(
            "POST",
            "/_dash-update-component",
            json.dumps(body),
            {"Content-Type": "application/json", "Origin": f"http://127.0.0.1:{self.port}"},
        )
        response = self._server.getresponse()
        content = response.read()
        self.asked.append(Asked(self._page, what, time.perf_counter() - began, len(content)))
        if response.status >= 400:
            raise RuntimeError(f"{what}: {response.status} {content[:300]!r}")
        found: dict[str, Any] = json.loads(content)["response"] if response.status == 200 else {}
        return found

    def _get(self, address: str) -> bytes:
        self._server.request("GET", address)
        response = self._server.getresponse()
        content = response.read()
        if response.status != 200:
            raise RuntimeError(f"{address}: {response.status}")
        return content


def _written(id: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(id.items())), separators=(",", ":"))


def _sources(tree: Any) -> Iterator[str]:
    if isinstance(tree, list):
        for one in tree:
            yield from _sources(one)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if key == "src" and isinstance(value, str) and value.startswith("/thumb/"):
                yield value
            else:
                yield from _sources(value)
