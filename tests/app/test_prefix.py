"""The dashboard behind a path prefix: every address stays within it, stripped or not."""

from __future__ import annotations

import json
import re

import pytest

from app import create_app
from app.prefix import at, checked_prefix, hub_prefix
from probe.errors import ProbeError
from tests.app.making import MadeRun, make_run

PREFIX = "/user/me/proxy/8050/"
ADDRESS = re.compile(r'(?:src|href|action)="([^"]+)"')
VISIT = {"Host": "127.0.0.1", "Accept": "text/html", "Sec-Fetch-Mode": "navigate"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    return make_run(tmp_path_factory.mktemp("prefixed") / "run")


def addresses(text: str) -> list[str]:
    return ADDRESS.findall(text)


@pytest.mark.parametrize("path", ["/", PREFIX])
def test_every_address_of_the_page_has_the_prefix(made: MadeRun, path: str) -> None:
    client = create_app(made.root, prefix="user/me/proxy/8050").server.test_client()
    page = client.get(path, headers=VISIT).text
    config = re.search(r'id="_dash-config"[^>]*>(.*?)</script>', page)
    assert config and json.loads(config[1])["requests_pathname_prefix"] == PREFIX
    found = addresses(page)
    assert len(found) > 5
    assert all(one.startswith(PREFIX) for one in found)
    for one in found:
        for asked in (one, "/" + one.removeprefix(PREFIX)):
            assert client.get(asked.partition("?")[0], headers=VISIT).status_code == 200, asked


def test_without_a_prefix_nothing_changes(made: MadeRun) -> None:
    client = create_app(made.root).server.test_client()
    found = addresses(client.get("/", headers=VISIT).text)
    assert found and not any(one.startswith("/user") for one in found)
    assert at("/neurons") == "/neurons"


def test_the_login_stays_within_the_prefix(made: MadeRun) -> None:
    token = "correct horse battery staple"
    client = create_app(made.root, token=token, prefix=PREFIX).server.test_client()
    page = client.get(f"{PREFIX}neurons?unit=3", headers=VISIT)
    assert page.status_code == 401 and all(one.startswith(PREFIX) for one in addresses(page.text))
    assert f'value="{PREFIX}neurons?unit=3"' in page.text
    form = {"token": token, "next": f"{PREFIX}neurons?unit=3"}
    answer = client.post(f"{PREFIX}login", data=form, headers=VISIT)
    assert answer.status_code == 303 and answer.location == f"{PREFIX}neurons?unit=3"
    form["next"] = "//elsewhere/page"
    answer = client.post(f"{PREFIX}login", data=form, headers=VISIT)
    assert answer.location.startswith(PREFIX)
    assert client.get(f"{PREFIX}login", headers=VISIT).location == PREFIX


def test_the_hub_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
    assert hub_prefix(8050) == ""
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/me/")
    assert hub_prefix(8050) == PREFIX
    assert checked_prefix("") == checked_prefix("/") == "/"


@pytest.mark.parametrize("wrong", ['/a"b/', "/a/../b", "/a b", "http://elsewhere/"])
def test_what_is_no_path_is_refused(made: MadeRun, wrong: str) -> None:
    with pytest.raises(ProbeError, match="is no path"):
        create_app(made.root, prefix=wrong)


def test_frames_are_for_those_who_are_named(made: MadeRun) -> None:
    origin = "https://hub.example.org"
    for frames, said in (((), "frame-ancestors 'none'"), ((origin,), f"frame-ancestors {origin}")):
        client = create_app(made.root, frames=frames).server.test_client()
        assert said in client.get("/", headers=VISIT).headers["Content-Security-Policy"]
    with pytest.raises(ProbeError, match="an origin is a scheme and a host"):
        create_app(made.root, frames=["*; script-src *"])
