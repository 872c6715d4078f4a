"""What the dashboard withstands: wrong tokens, wrong names, hostile values, damaged runs."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from app import create_app, ids, login
from app.pages import PAGES
from app.security import LARGEST
from app.selection import Selection
from probe.images import token_of
from tests.app.attacking import TEXTS, callbacks, hostile_bodies, leaks, outputs_of
from tests.app.calling import call, card_of, said
from tests.app.conftest import client_of
from tests.app.making import DETECTORS, MadeRun

TOKEN = "correct horse battery staple"
#: What a browser says that opens an address.
VISIT = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}
UPDATE = "/_dash-update-component"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What fails on purpose need not be printed."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def closed(made: MadeRun) -> FlaskClient:
    """A client without the token that the server asks for."""
    client = create_app(made.root, token=TOKEN).server.test_client()
    client.environ_base["HTTP_HOST"] = "localhost"
    return client


# --- The token --------------------------------------------------------------------------------


def paths_of(client: FlaskClient) -> list[str]:
    """An address of every route that the server has, so that a new one is tried too."""
    found = []
    for rule in client.application.url_map.iter_rules():
        path = rule.rule
        for argument in rule.arguments:
            path = path.replace(_converter(path, argument), "x")
        found.append(path)
    return found


def _converter(path: str, argument: str) -> str:
    end = path.index(f"{argument}>")
    return path[path.rindex("<", 0, end) : end + len(argument) + 1]


def test_nothing_is_served_without_the_token(closed: FlaskClient, made: MadeRun) -> None:
    token = token_of(made.data.samples.table["sample"][0])
    paths = [*paths_of(closed), *PAGES, f"/thumb/{token}", "/assets/style.css", "/assets/x/../y"]
    assert len(paths) > 15
    for path in paths:
        for method in ("get", "post", "head"):
            for cookie in ("", "probe=1", f"token={TOKEN}"):
                headers = {"Cookie": cookie} if cookie else {}
                answer = getattr(closed, method)(path, headers=headers)
                allowed = {401} | ({405} if path == "/login" else set())
                assert answer.status_code in allowed, (method, path)
                assert "_dash" not in answer.text and made.root.name + "/" not in answer.text


def test_a_visitor_sees_a_form_and_no_more(closed: FlaskClient, made: MadeRun) -> None:
    answer = closed.get(f"/neurons?unit=3&detector={quote(TEXTS[12])}", headers=VISIT)
    assert answer.status_code == 401 and answer.mimetype == "text/html"
    assert '<form method="post" action="/login">' in answer.text and "<script" not in answer.text
    assert "<img" not in answer.text and "drawn" not in answer.text
    assert "form-action 'self'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert closed.get("/assets/login.css").status_code == 200


def test_the_token_opens_once_and_leaves_the_address(closed: FlaskClient) -> None:
    answer = closed.get(f"/neurons?unit=3&token={quote(TOKEN)}&dataset=a%26b", headers=VISIT)
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/neurons?unit=3&dataset=a%26b"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Max-Age=86400" in cookie
    assert "Secure" not in cookie and "correct" not in cookie
    assert closed.get("/", headers=VISIT).status_code == 200
    assert "Zero-shot matrix" in said(closed, "/")
    again = closed.get(f"/?token={quote(TOKEN)}", headers=VISIT)
    assert again.status_code == 303 and again.headers["Location"] == "/"
    assert closed.get("/login", headers=VISIT).headers["Location"] == "/"


PLACES = [
    "/sample?sample=a",
    "//evil.example",
    "https://evil.example/x",
    "/\\evil.example",
    "/\t/evil.example",
    "",
    "\r\nX: y",
]


@pytest.mark.parametrize("place", PLACES)
def test_the_form_opens_and_leads_only_to_this_server(closed: FlaskClient, place: str) -> None:
    answer = closed.post("/login", data={"token": TOKEN, "next": place})
    location = answer.headers["Location"]
    assert answer.status_code == 303 and "X" not in answer.headers
    assert location.startswith("/") and not location.startswith(("//", "/\\"))
    if place == "/sample?sample=a":
        assert location == place
    assert closed.get("/", headers=VISIT).status_code == 200


def test_an_address_with_two_slashes_leads_nowhere_else(closed: FlaskClient) -> None:
    for path in ("//evil.example/", "/\\evil.example/", "/%5Cevil.example"):
        environ = {"PATH_INFO": path, "HTTP_HOST": "localhost"}
        answer = closed.get(f"/?token={quote(TOKEN)}", headers=VISIT, environ_overrides=environ)
        assert not answer.headers["Location"].startswith(("//", "/\\", "http"))


def test_by_https_the_cookie_stays_there(closed: FlaskClient) -> None:
    headers = {"X-Forwarded-Proto": "https"}
    answer = closed.post("/login", data={"token": TOKEN}, headers=headers)
    assert "; Secure" in answer.headers["Set-Cookie"]


def forged(cookie: str) -> list[str]:
    name, _, value = cookie.partition("=")
    until, _, signature = value.partition(".")
    return [
        f"{name}={until}.",
        f"{name}=.{signature}",
        f"{name}={int(until) + 1}.{signature}",
        f"{name}={until}.{signature[:-1]}",
        f"{name}={until}.{signature[::-1]}",
        f"{name}=",
        f"{name}=²³.{signature}",
        f"{name}={TOKEN}",
        f"other={value}",
    ]


def test_a_forged_or_old_cookie_is_none(
    closed: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = closed.post("/login", data={"token": TOKEN})
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    assert status_with(closed, cookie) == 200
    for one in forged(cookie):
        assert status_with(closed, one.encode().decode("latin-1")) == 401, one
    now = time.time()
    monkeypatch.setattr(login.time, "time", lambda: now + login.LASTS + 1)
    assert status_with(closed, cookie) == 401


def status_with(client: FlaskClient, cookie: str) -> int:
    """Status of an answer to a cookie as it is: the client's own jar would replace the header."""
    other = client.application.test_client(use_cookies=False)
    headers = {"Host": "localhost", "Cookie": cookie}
    return other.get("/_dash-layout", headers=headers).status_code


def test_workers_share_logins_and_other_dashboards_do_not(made: MadeRun) -> None:
    cookies = []
    for token in (TOKEN, TOKEN, TOKEN + "!"):
        client = create_app(made.root, token=token).server.test_client()
        answer = client.post("/login", data={"token": token}, headers={"Host": "localhost"})
        cookies.append(answer.headers["Set-Cookie"].partition(";")[0])
    client = create_app(made.root, token=TOKEN).server.test_client()
    assert [status_with(client, one) for one in cookies] == [200, 200, 401]
    # Cookies do not tell the ports of a machine apart, so names have to.
    assert cookies[0].partition("=")[0] != cookies[2].partition("=")[0]


@pytest.mark.parametrize("wrong", ["", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "é\x00\ud800"])
def test_a_wrong_token_opens_nothing(closed: FlaskClient, wrong: str) -> None:
    given = wrong.encode("utf-8", "surrogatepass")
    answers = [
        closed.post("/login", data={"token": given}),
        closed.get(f"/?token={quote(given)}", headers=VISIT),
    ]
    for answer in answers:
        assert answer.status_code == 401 and "Set-Cookie" not in answer.headers
        assert "not the token" in answer.text
    assert closed.get("/_dash-layout").status_code == 401


def test_guessing_is_slowed_down(closed: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"REMOTE_ADDR": "192.0.2.9"}
    for _ in range(login.WRONG):
        assert closed.post("/login", data={"token": "x"}).status_code == 401
    for sent in ("x", TOKEN):
        answer = closed.post("/login", data={"token": sent})
        assert answer.status_code == 429 and int(answer.headers["Retry-After"]) == 60
        assert "Set-Cookie" not in answer.headers
    # Somebody elsewhere is not locked out by it, and a minute later nobody is.
    sent = closed.post("/login", data={"token": TOKEN}, environ_overrides=other)
    assert sent.status_code == 303
    now = time.monotonic()
    monkeypatch.setattr(login.time, "monotonic", lambda: now + login.WINDOW + 1)
    assert closed.post("/login", data={"token": TOKEN}).status_code == 303


def test_who_comes_from_another_site_is_led_on_by_a_page_of_ours(closed: FlaskClient) -> None:
    headers = {**VISIT, "Sec-Fetch-Site": "cross-site"}
    answer = closed.get("/%22%3E%3Cscript%3E", headers=headers)
    assert answer.status_code == 200 and "<script" not in answer.text
    for path in ("/neurons?unit=3", f"/neurons?unit=3&token={quote(TOKEN)}"):
        answer = closed.get(path, headers=headers)
        assert answer.status_code == 200 and "Location" not in answer.headers
        assert 'http-equiv="refresh" content="0; url=/neurons?unit=3"' in answer.text


# --- Other sites, large and malformed bodies --------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost:8051"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:8050"}, 500),
        ({"Sec-Fetch-Site": "same-origin"}, 500),
        ({}, 500),
    ],
)
def test_pages_elsewhere_cannot_ask(
    client: FlaskClient, headers: dict[str, str], status: int
) -> None:
    answer = client.post(UPDATE, json={}, headers={"Host": "localhost:8050", **headers})
    assert answer.status_code == status


def body_of(client: FlaskClient, output: str, size: int) -> bytes:
    one = next(found for found in callbacks(client) if output in found["output"])
    items = [[{**item, "value": None} for item in one[kind]] for kind in ("inputs", "state")]
    body = {
        "output": one["output"],
        "outputs": outputs_of(one),
        "inputs": items[0],
        "state": items[1],
        "changedPropIds": [],
    }
    start = json.dumps(body)[:-1]
    return f'{start}, "more": "{"x" * (size - len(start))}"}}'.encode()


def test_what_is_too_large_is_refused(client: FlaskClient) -> None:
    kind = {"content_type": "application/json"}
    usual = body_of(client, f"{ids.PAGE}.children", 2**20)
    assert client.post(UPDATE, data=usual, **kind).status_code == 200
    answer = client.post(
        UPDATE, data=body_of(client, f"{ids.PAGE}.children", LARGEST + 100), **kind
    )
    assert answer.status_code == 413 and answer.mimetype == "text/plain"
    for path in paths_of(client):
        size = LARGEST + 1
        assert client.post(path, data=b"x" * size).status_code in (403, 405, 413, 415), path
    assert "Zero-shot matrix" in said(client, "/")


MALFORMED: list[Any] = [
    b"",
    b"{",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"\xff\xfe",
    b"null",
    b"[]",
    b"3",
    b'"x"',
    {},
    {"output": 3},
    {"output": "nobody.children"},
    {"output": "..page.children..."},
    {"output": "page.children"},
    {"output": "page.children", "outputs": 3},
    {
        "output": "page.children",
        "outputs": {"id": "page", "property": "children"},
        "inputs": [{"id": "url", "property": "search", "value": "/"}],
    },
    {"output": "page.children", "outputs": [], "inputs": [None, None], "state": [[]]},
    {"output": "page.children", "outputs": {}, "inputs": {}, "state": 0, "changedPropIds": 1},
    {"output": "page.children", "outputs": [3], "changedPropIds": [{}]},
]


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_request_gets_a_plain_error(client: FlaskClient, body: Any) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body)
    answer = client.post(UPDATE, data=data, content_type="application/json")
    # Dash's own failure on a body that no page sends is an error like any other: said, no more.
    assert answer.status_code in (400, 500) and answer.mimetype == "text/plain"
    assert not leaks(answer)
    other = client.post(UPDATE, data=data, content_type="text/html")
    assert other.status_code in (400, 415, 500) and not leaks(other)


# --- Hostile values everywhere ----------------------------------------------------------------


def attack(client: FlaskClient, every: int) -> None:
    """Call callbacks with hostile values; each is answered, or refused in plain words."""
    for turn, callback in enumerate(callbacks(client)):
        for body in list(hostile_bodies(callback, turn))[turn % every :: every]:
            answer = client.post(UPDATE, json=body)
            assert not leaks(answer), (body, answer.text[:500])
            assert answer.status_code in (200, 204, 400, 500), body
            assert answer.status_code < 400 or answer.mimetype == "text/plain"


def test_callbacks_bear_hostile_values(client: FlaskClient) -> None:
    attack(client, every=6)
    assert "Zero-shot matrix" in said(client, "/")


@pytest.mark.slow
def test_callbacks_bear_all_hostile_values(client: FlaskClient) -> None:
    attack(client, every=1)
    assert "Zero-shot matrix" in said(client, "/")


def test_addresses_bear_hostile_values(client: FlaskClient) -> None:
    for turn, path in enumerate(PAGES):
        ask_hostile(client, path, turn, every=3, texts=1)


@pytest.mark.slow
@pytest.mark.parametrize("path", list(PAGES))
def test_addresses_bear_all_hostile_values(client: FlaskClient, path: str) -> None:
    ask_hostile(client, path, 0, every=1, texts=len(TEXTS))


def ask_hostile(client: FlaskClient, path: str, turn: int, *, every: int, texts: int) -> None:
    """Open a page with hostile values in every so many of the parts of the address."""
    names = list(Selection.__dataclass_fields__)
    for at, name in enumerate(names[turn % every :: every]):
        for text in (TEXTS + TEXTS)[(turn + 3 * at) % len(TEXTS) :][:texts]:
            search = f"?{name}={quote(text, errors='replace')}"
            values = {f"{ids.URL}.pathname": path, f"{ids.URL}.search": search}
            shown = json.dumps(call(client, f"{ids.PAGE}.children", values))
            assert "root:x:" not in shown and "Traceback" not in shown
    everything = "&".join(f"{name}={quote(TEXTS[0])}" for name in names)
    assert "Traceback" not in said(client, path, f"?{everything}")
    assert "Traceback" not in said(client, path, "?" + "&".join(f"a{i}=1" for i in range(60)))


def test_all_routes_bear_hostile_values(client: FlaskClient) -> None:
    rules = [r for r in client.application.url_map.iter_rules() if r.arguments]
    assert len(rules) >= 5
    for rule in rules:
        for text in TEXTS:
            given = quote(text, errors="replace")
            for value in (given, quote(given), f"x/{given}", f"zero-shot-matrix.{given}"):
                path = rule.rule
                for argument in rule.arguments:
                    path = path.replace(_converter(path, argument), value)
                for query in ("", f"?detector={given}&sample={given}&method={given}&v={given}"):
                    answer = client.get(path + query)
                    # The page itself answers to any address that is no other route's.
                    assert answer.status_code in (200, 302, 308, 400, 404), (path, answer.text)
                    assert answer.status_code != 200 or "_dash-config" in answer.text, path
                    assert not leaks(answer)
                if len(value) > 1000:
                    break


# --- Read-only, and images of other people ----------------------------------------------------


def contents(root: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path.relative_to(root)): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in [root, *root.rglob("*")]
    }


def test_nothing_in_the_run_changes(made: MadeRun, client: FlaskClient) -> None:
    before = contents(made.root)
    for path in PAGES:
        said(client, path, f"?detector={quote(DETECTORS[0])}&unit=3")
    for turn, callback in enumerate(callbacks(client)):
        for body in list(hostile_bodies(callback, turn))[:1]:
            client.post(UPDATE, json=body)
    token = token_of(made.data.samples.table["sample"][1])
    for path in paths_of(client):
        client.get(path.replace("x", token))
    assert contents(made.root) == before


def test_an_image_that_would_fill_memory_is_none(own: MadeRun) -> None:
    table = own.data.samples.table
    file = own.data.root / table["path"].iloc[0]
    # So large that Pillow itself only warns.
    Image.new("1", (10_000, 10_000)).save(file, "PNG")
    assert file.stat().st_size < 50_000
    client = client_of(own.root)
    begun = time.monotonic()
    assert client.get(f"/thumb/{token_of(table['sample'][0])}").status_code == 404
    assert time.monotonic() - begun < 2
    assert client.get(f"/thumb/{token_of(table['sample'][1])}").status_code == 200


# --- Runs that are not as they should be ------------------------------------------------------


MANIFESTS = {
    "[]": "damaged",
    '{"schema_version": 1, "stages": "x"}': "damaged",
    '{"schema_version": 1, "detectors": [3]}': "damaged",
    '{"schema_version": 1, "stages": [{"seconds": "x"}]}': "damaged",
    '{"schema_version": 1, "layers": []}': "damaged",
    "\x00\xff": "damaged",
    "": "damaged",
    '{"schema_version": 3}': "Install the version that wrote it",
    '{"schema_version": 0}': "Run it again into another folder",
    '{"schema_version": "1"}': "Run it again into another folder",
    '{"schema_version": null}': "A run of another version",
}


@pytest.mark.parametrize("text", list(MANIFESTS), ids=range(len(MANIFESTS)))
def test_a_manifest_that_is_none_is_said_on_every_page(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_bytes(text.encode("latin-1"))
    client = client_of(tmp_path)
    for path in PAGES:
        shown = said(client, path)
        assert MANIFESTS[text] in shown and "looks again every five seconds" in shown
    assert client.get("/").status_code == 200 and client.get("/thumb/x").status_code == 404


def test_an_empty_folder_is_no_run_yet(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    for path in PAGES:
        assert "No run here yet" in said(client, path)
    attack(client, every=12)


def test_truncated_tables_take_away_their_own_cards(own: MadeRun) -> None:
    for folder in ("tables", "stores"):
        for file in (own.root / folder).rglob("c/*"):
            if file.is_file():
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    client = client_of(own.root)
    for path in PAGES:
        shown = said(client, path)
        assert "Traceback" not in shown
    assert "is damaged" in said(client, "/")
    attack(client, every=12)


def test_chunks_that_are_read_late_take_away_their_own_cards(own: MadeRun) -> None:
    """Of maps, measurements and activations, only what is read when it is asked for is cut off."""
    for late in ("stores/*/*/activation", "maps/*/attribution", "tables/measure*/value"):
        files = [file for file in own.root.glob(f"{late}/c/**/*") if file.is_file()]
        assert files, late
        for file in files:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    client = client_of(own.root)
    attack(client, every=12)
    for card, name in (
        ("unit-images", "stores"),
        ("sample-units", "stores"),
        ("sample-measurements", "tables"),
    ):
        shown = json.dumps(card_of(client, card, "?unit=3"))
        assert "is damaged" in shown and f"{own.root / name}" in shown, card
    for path in client.application.url_map.iter_rules():
        if path.rule.startswith("/map/"):
            token = token_of(own.data.samples.table["sample"][0])
            answer = client.get(f"/map/{token}/{token_of(DETECTORS[0])}/gradcam")
            assert answer.status_code in (400, 404)


def test_a_run_without_tables_says_what_makes_them(own: MadeRun) -> None:
    for folder in ("tables", "stores", "maps", "data"):
        shutil.rmtree(own.root / folder, ignore_errors=True)
    client = client_of(own.root)
    for path in PAGES:
        assert "Traceback" not in said(client, path)
    assert "Not computed yet" in said(client, "/neurons")
    attack(client, every=12)


def test_an_image_of_another_format_is_none(own: MadeRun) -> None:
    table = own.data.samples.table
    pixels = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    for at, write in enumerate((lambda f: pixels.save(f, "GIF"), lambda f: pixels.save(f, "ICO"))):
        with (own.data.root / table["path"].iloc[at]).open("wb") as file:
            write(file)
    client = client_of(own.root)
    for at in (0, 1):
        assert client.get(f"/thumb/{token_of(table['sample'][at])}").status_code == 404
