"""What the body of a request may be: so large, and so shaped as pages send it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flask import Flask, abort, request
from werkzeug.exceptions import RequestEntityTooLarge

from app.arguments import are_arguments, are_changes

__all__ = ["LARGEST", "bound"]

#: Bytes of a request that carries an uploaded file, a third more than the file in Base64.
LARGEST = 24 * 2**20

#: Bytes of any other request.
USUAL = 2 * 2**20

#: What a property of a component can be beside None; others are as callbacks take them.
_KINDS: dict[str, tuple[type, ...]] = {
    "children": (str, int, float, list, dict),
    "clickData": (dict,),
    "contents": (str, list),
    "disabled": (bool,),
    "filename": (str, list),
    "getRowsRequest": (dict,),
    "hash": (str,),
    "hoverData": (dict,),
    "href": (str,),
    "n_clicks": (int,),
    "n_intervals": (int,),
    "pathname": (str,),
    "relayoutData": (dict,),
    "search": (str,),
    "selectedData": (dict,),
    # Rows, or {"ids": [...]} where the page itself marks one.
    "selectedRows": (list, dict),
    "value": (str, int, float, bool, list),
}

#: Properties that tell which points of a figure were meant.
_POINTS = ("clickData", "hoverData", "selectedData")

#: Characters of a chosen value; a list of units is the longest.
_LONGEST = 5000


def bound(server: Flask, callbacks: Mapping[str, Any]) -> None:
    """Refuse bodies that are too large, and those that no page would send.

    Parameters
    ----------
    server : flask.Flask
        The server.
    callbacks : mapping
        Dash's callbacks by their outputs, also those that are added later.
    """
    server.config["MAX_CONTENT_LENGTH"] = LARGEST

    @server.before_request
    def _check_body() -> None:
        if request.endpoint != "/_dash-update-component" or request.method != "POST":
            request.max_content_length = USUAL
            if request.content_length and request.content_length > USUAL:
                raise _too_large(USUAL)
            return
        size = len(request.get_data(cache=True))
        try:
            body = request.get_json()
        except RecursionError:
            abort(400, "The request is nested too deeply.")
        found = _callback(body, callbacks)
        if size > USUAL and not any(one["property"] == "contents" for one in _asked(found)):
            raise _too_large(USUAL)


def _callback(body: Any, callbacks: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the callback that is asked for, if it is asked for as it has to be."""
    if not isinstance(body, dict) or not isinstance(body.get("output"), str):
        abort(400, "The request names no callback.")
    found: Mapping[str, Any] | None = callbacks.get(body["output"])
    if found is None or "callback" not in found:
        abort(400, "The request names a callback that this dashboard does not have.")
    changed = body.get("changedPropIds", [])
    if not isinstance(changed, list) or not all(isinstance(one, str) for one in changed):
        abort(400, "The request does not say what has changed.")
    if not _are_items(body.get("outputs")):
        abort(400, "The request does not say what it wants.")
    given = [body.get("inputs", []), body.get("state", [])]
    for kind, items in zip(("inputs", "state"), given, strict=True):
        if not isinstance(items, list) or len(items) != len(found[kind]):
            abort(400, "The request does not give what the callback takes.")
        for item, wanted in zip(items, found[kind], strict=True):
            if not _fits(item, wanted["property"]):
                abort(400, f"The request gives no proper {wanted['property']}.")
    if not are_changes(changed, found["inputs"]):
        abort(400, "The request does not say what has changed.")
    if not are_arguments(found["callback"], [_value(item) for part in given for item in part]):
        abort(400, "The request gives what the callback does not take.")
    return found


def _asked(found: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from found["inputs"]
    yield from found["state"]


def _are_items(given: Any) -> bool:
    """Whether this is an output, or a list of outputs or of lists of them."""
    items = given if isinstance(given, list) else [given]
    flat = [one for item in items for one in (item if isinstance(item, list) else [item])]
    return all(isinstance(one, dict) and {"id", "property"} <= set(one) for one in flat)


def _fits(item: Any, name: str) -> bool:
    """Whether an input is the property that is asked for; a pattern's is a list of such."""
    if isinstance(item, list):
        return all(isinstance(one, dict) and _fits(one, name) for one in item)
    if not isinstance(item, dict) or item.get("property") != name or "id" not in item:
        return False
    value: Any = item.get("value")
    kinds = _KINDS.get(name)
    if value is None or kinds is None:
        return True
    if isinstance(value, bool) and bool not in kinds or not isinstance(value, kinds):
        return False
    if name in _POINTS:
        return _are_points(item["value"].get("points"), may_be_none=name == "selectedData")
    return name != "value" or not isinstance(value, str) or len(value) <= _LONGEST


def _value(item: Any) -> Any:
    """Return an input's value; a pattern's is the list of those of its components."""
    return [_value(one) for one in item] if isinstance(item, list) else item.get("value")


def _are_points(given: Any, *, may_be_none: bool) -> bool:
    """Whether these are points of a figure, as a click or a lasso sends them."""
    if not isinstance(given, list) or not (given or may_be_none):
        return False
    return all(isinstance(one, dict) for one in given)


def _too_large(most: int) -> RequestEntityTooLarge:
    return RequestEntityTooLarge(
        f"The request is larger than the {most / 2**20:.0f} MB that this dashboard takes."
    )
