"""`Visitor`: asks a dashboard what a browser would ask it, without a browser."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Asked", "Visitor"]

#: Callbacks that one action may lead to: guards against circles, which no browser follows either.
MOST = 60


@dataclass(frozen=True)
class Asked:
    """One request: the page, the first output, seconds until the answer was there, its bytes."""

    page: str
    what: str
    seconds: float
    size: int


@dataclass
class Visitor:
    """Keeps the properties of components as a browser does, and calls what changes of them call.

    Attributes
    ----------
    port : int
        Where the dashboard is, on this machine.
    asked : list of Asked
        All requests so far.
    """

    port: int
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self._page = ""
        self._props: dict[str, Any] = {}
        self._inside: dict[str, set[str]] = {}
        self._callbacks = [
            one
            for one in json.loads(self._get("/_dash-dependencies"))
            if not one["clientside_function"]
            and '"{' not in json.dumps(one)
            and "{" not in one["output"]
        ]

    def open(self, path: str, search: str = "") -> None:
        """Open a page as by its address."""
        self._page = path
        self._props, self._inside = {}, {}
        self._get("/")
        layout = json.loads(self._get("/_dash-layout"))
        found = self._take_in(layout)
        self._props |= {"url.pathname": path, "url.search": search, "scheme.data": "light"}
        self._follow(set(), found)

    def change(self, **values: Any) -> None:
        """Change properties, named "id.property", as a user does."""
        self._props |= values
        self._follow(set(values), set())

    def prop(self, name: str) -> Any:
        """Return a property; None where it has no value."""
        return self._props.get(name)

    def has(self, component: str) -> bool:
        """Whether a component is on the page."""
        return any(name.startswith(f"{component}.") for name in self._props)

    def images(self, most: int) -> list[float]:
        """Fetch images that the page shows; seconds each."""
        found = []
        for address in list(dict.fromkeys(_sources(self._props)))[:most]:
            began = time.perf_counter()
            self._get(address)
            found.append(time.perf_counter() - began)
        return found

    def _follow(self, changed: set[str], added: set[str]) -> None:
        """Call all callbacks that changed properties or added components call, and so on."""
        called: set[str] = set()
        while (changed or added) and len(called) < MOST:
            waiting = [one for one in self._callbacks if self._is_due(one, changed, added, called)]
            because, changed, added = changed, set(), set()
            for one in waiting:
                called.add(one["output"])
                answer = self._call(one, because)
                for component, props in answer.items():
                    for prop, value in props.items():
                        name = f"{component}.{prop}"
                        if prop == "children":
                            added |= self._put(component, value)
                        elif prop == "search":
                            changed |= self._navigate(value)
                        self._props[name] = value
                        changed.add(name)

    def _is_due(
        self, one: dict[str, Any], changed: set[str], added: set[str], called: set[str]
    ) -> bool:
        inputs = [f"{i['id']}.{i['property']}" for i in one["inputs"]]
        ids = {i["id"] for i in [*one["inputs"], *one["state"]]} | set(_components(one["output"]))
        if one["output"] in called or not all(self.has(name) for name in ids):
            return False
        first = not one["prevent_initial_call"] and added & ids
        return bool(first or changed & set(inputs))

    def _call(self, one: dict[str, Any], because: set[str]) -> dict[str, dict[str, Any]]:
        outputs = [
            dict(zip(("id", "property"), name.rsplit(".", 1), strict=True))
            for name in one["output"].strip(".").split("...")
        ]
        inputs, state = (
            [
                {**item, "value": self._props.get(f"{item['id']}.{item['property']}")}
                for item in one[kind]
            ]
            for kind in ("inputs", "state")
        )
        body = {
            "output": one["output"],
            "outputs": outputs if len(outputs) > 1 else outputs[0],
            "inputs": inputs,
            "state": state,
            "changedPropIds": sorted(because & {f"{i['id']}.{i['property']}" for i in inputs}),
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
        took = time.perf_counter() - began
        name = outputs[0]["id"] + "." + outputs[0]["property"]
        self.asked.append(Asked(self._page, name, took, len(content)))
        if response.status >= 400:
            raise RuntimeError(f"{one['output']}: {response.status} {content[:300]!r}")
        answer: dict[str, dict[str, Any]] = {}
        if response.status == 200:
            answer = json.loads(content)["response"]
        return answer

    def _get(self, address: str) -> bytes:
        self._server.request("GET", address)
        response = self._server.getresponse()
        content = response.read()
        if response.status != 200:
            raise RuntimeError(f"{address}: {response.status}")
        return content

    def _put(self, component: str, value: Any) -> set[str]:
        """Replace what a component held, and return the components that are new."""
        for gone in self._inside.pop(component, set()):
            self._inside.pop(gone, None)
            for name in [n for n in self._props if n.startswith(f"{gone}.")]:
                del self._props[name]
        self._inside[component] = found = self._take_in(value)
        return found

    def _take_in(self, tree: Any) -> set[str]:
        found = set()
        for name, props in _parts(tree):
            found.add(name)
            self._props |= {f"{name}.{key}": value for key, value in props.items()}
            if props.get("id") and "search" not in props and "refresh" in props:
                self._props[f"{name}.search"] = self._props.get("url.search", "")
        return found

    def _navigate(self, search: Any) -> set[str]:
        """All views of the address follow it."""
        views = {name for name in self._props if name.endswith("url.search")}
        self._props |= dict.fromkeys(views, search)
        return views


def _components(output: str) -> list[str]:
    return [name.rsplit(".", 1)[0] for name in output.strip(".").split("...")]


def _parts(tree: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """All components of a layout that have a name, with their properties."""
    if isinstance(tree, list):
        for one in tree:
            yield from _parts(one)
    elif isinstance(tree, dict):
        props = tree.get("props")
        if isinstance(props, dict) and isinstance(props.get("id"), str):
            yield props["id"], props
        for value in tree.values():
            yield from _parts(value)


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
