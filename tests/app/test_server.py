"""The server: what it answers, what it refuses, and that it holds no torch."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from app import create_app, serve
from app.security import LARGEST
from probe.errors import ProbeError, StoreError
from probe.images import token_of
from tests.app.calling import said
from tests.app.conftest import client_of
from tests.app.making import DATASETS, DETECTORS, MadeRun, write_manifest

TRAVERSALS = [
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "/etc/passwd",
    "%00",
    "....//....//",
    "images/alpha-0-0-0.png",
    "alpha-0-0-0",
    "0",
    "-1",
    "a" * 5000,
    "<script>",
    "'; --",
]

#: What a browser says that opens an address.
VISIT = {"Accept": "text/html,application/xhtml+xml"}
LOCAL = {"Host": "localhost"}

FOREIGN = [
    "evil.example",
    "evil.example:8050",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "192.168.0.7",
    "8.8.8.8",
    "[2001:db8::1]:8050",
    "",
    "localhost@evil.example",
]


def test_torch_stays_out_of_the_web_process(made: MadeRun) -> None:
    code = (
        "import sys, app\n"
        f"client = app.create_app({str(made.root)!r}).server.test_client()\n"
        "assert client.get('/', headers={'Host': 'localhost'}).status_code == 200\n"
        "print([m for m in ('torch', 'timm', 'captum', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_two_apps_in_one_process_show_their_own_runs(made: MadeRun, own: MadeRun) -> None:
    assert create_app(made.root) is not create_app(own.root)


@pytest.mark.parametrize("host", ["127.0.0.1:8050", "localhost:8050", "localhost", "[::1]:8050"])
def test_loopback_names_are_answered(client: FlaskClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("path", ["/", "/_dash-layout", "/thumb/x", "/assets/style.css"])
def test_other_names_are_refused_on_every_route(client: FlaskClient, host: str, path: str) -> None:
    assert client.get(path, headers={"Host": host}).status_code in (400, 403)


def test_the_browser_is_told_to_load_nothing_from_elsewhere(client: FlaskClient) -> None:
    answer = client.get("/")
    policy = dict(
        part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; ")
    )
    assert "'unsafe-inline'" not in policy["script-src"]
    assert "'unsafe-eval'" not in policy["script-src"]
    assert not any("http" in value or "*" in value for value in policy.values())
    assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for source in ("http://", "https://", "//cdn", "//unpkg"):
        assert f'src="{source}' not in answer.text and f'href="{source}' not in answer.text


def test_images_and_outlines_are_sent_by_token(client: FlaskClient, made: MadeRun) -> None:
    table = made.data.samples.table
    for label, has_outline in ((0, 404), (1, 200)):
        token = token_of(table["sample"][table["label"] == label].iloc[0])
        answer = client.get(f"/thumb/{token}")
        assert (answer.status_code, answer.mimetype) == (200, "image/webp")
        assert client.get(f"/outline/{token}").status_code == has_outline


@pytest.mark.parametrize("given", TRAVERSALS)
@pytest.mark.parametrize("route", ["/thumb/", "/outline/"])
def test_forged_tokens_are_not_found(client: FlaskClient, route: str, given: str) -> None:
    answer = client.get(route + given, follow_redirects=True)
    # "/thumb//etc/passwd" is another address, to which the page says that it does not know it.
    assert answer.status_code in (400, 404) or "_dash-config" in answer.text
    assert "root:" not in answer.text and "Traceback" not in answer.text


@pytest.mark.parametrize("column", ["path", "mask"])
def test_a_forged_table_does_not_lead_out_of_the_dataset(own: MadeRun, column: str) -> None:
    table = own.data.samples.table
    row = int(table.index[table["label"] == 1][0])
    outside = own.root / "outside.png"
    shutil.copy(own.data.root / table["path"].iloc[row], outside)
    route = "/thumb/" if column == "path" else "/outline/"
    for forged in (str(outside), "../outside.png"):
        changed = table.copy()
        changed.loc[row, column] = forged
        changed.to_parquet(own.data.root / "samples.parquet", index=False)
        assert client_of(own.root).get(route + token_of(table["sample"][row])).status_code == 404


def test_a_broken_image_is_not_found_and_the_server_lives_on(own: MadeRun) -> None:
    table = own.data.samples.table
    (own.data.root / table["path"].iloc[0]).write_bytes(b"no image")
    client = client_of(own.root)
    assert client.get(f"/thumb/{token_of(table['sample'][0])}").status_code == 404
    assert client.get(f"/thumb/{token_of(table['sample'][1])}").status_code == 200


def test_both_pages_are_laid_out(client: FlaskClient) -> None:
    assert "Zero-shot matrix" in said(client, "/")
    assert "of 12" in said(client, "/neurons")


def test_images_of_all_datasets_or_of_one(client: FlaskClient) -> None:
    everything = said(client, "/neurons", "?unit=3")
    one = said(client, "/neurons", "?unit=3&dataset=beta")
    for name in DATASETS:
        assert f'"data-dataset": "{name}"' in everything
        assert (f'"data-dataset": "{name}"' in one) == (name == "beta")
    assert one.count("/thumb/") > 2 * 4


def test_an_unknown_page_says_so(client: FlaskClient) -> None:
    assert "no such page" in said(client, "/../../etc/passwd").lower()


@pytest.mark.parametrize(
    ("name", "given"),
    [
        (name, given)
        for name in ("detector", "layer", "dataset", "unit")
        for given in TRAVERSALS
        if (name, given) != ("unit", "0")
    ],
)
def test_a_forged_selection_is_answered_with_a_message(
    client: FlaskClient, name: str, given: str
) -> None:
    text = said(client, "/neurons", f"?{name}={quote(given)}")
    assert "root:" not in text and "Traceback" not in text
    assert any(w in text for w in ("is not known", "is not in this table", "characters"))


@pytest.mark.parametrize("name", ["metric", "level"])
def test_a_forged_metric_is_answered_with_a_message(client: FlaskClient, name: str) -> None:
    assert "is not known" in said(client, "/", f"?{name}=../../etc/passwd")


def test_a_run_that_is_under_way_says_how_far_it_is(own: MadeRun) -> None:
    stages = [
        {"name": "data", "done": True, "seconds": 1.0},
        {"name": "detectors", "done": False, "seconds": 0.0},
    ]
    shutil.rmtree(own.folder.path("evaluation"))
    write_manifest(own.folder, complete=False, stages=stages)
    text = said(client_of(own.root), "/")
    assert "Incomplete run" in text and "detectors" in text
    assert "no zero-shot matrix yet" in text and "probe demo --out somewhere" in text


def damage(run: MadeRun, kind: str) -> None:
    manifest = run.root / "run.json"
    if kind == "damaged manifest":
        manifest.write_text("{", encoding="utf-8")
    elif kind == "other version":
        manifest.write_text('{"schema_version": 99}', encoding="utf-8")
    elif kind == "no manifest":
        manifest.unlink()
    elif kind == "damaged table":
        shutil.rmtree(run.folder.path("neurons", DETECTORS[0]) / "effect")
    elif kind == "no table":
        shutil.rmtree(run.folder.path("universality", DETECTORS[0]))


@pytest.mark.parametrize(
    ("kind", "wording"),
    [
        ("damaged manifest", "is damaged"),
        ("other version", "has schema version 99; this version reads 2"),
        ("no manifest", "is not a run: it holds no run.json"),
        ("damaged table", "is not a neuron table"),
        ("no table", "no universality table of meso4/base yet"),
    ],
)
def test_what_cannot_be_read_is_said_on_the_page(own: MadeRun, kind: str, wording: str) -> None:
    damage(own, kind)
    text = said(client_of(own.root), "/neurons")
    assert wording in text.replace('\\"', '"') and "Traceback" not in text


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        create_app(tmp_path / "none")


@dataclass
class Waitress:
    """What a server was started with, in place of one that runs until it is interrupted."""

    server: Any = None
    given: dict[str, Any] = field(default_factory=dict)

    def serve(self, server: Any, *, sockets: list[socket.socket], **given: Any) -> None:
        self.server, self.given = server, {**given, "at": sockets[0].getsockname()}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Waitress:
    waitress = Waitress()
    monkeypatch.setattr("app.server.waitress", waitress)
    return waitress


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_this_machine_only_unless_asked_otherwise(
    made: MadeRun, started: Waitress, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(made.root, port=(port := free_port()))
    said = capsys.readouterr().out
    assert started.given["at"] == ("127.0.0.1", port)
    assert f"http://127.0.0.1:{port}  (" in said and "token" not in said
    client = started.server.test_client()
    assert client.get("/", headers={"Host": f"127.0.0.1:{port}"}).status_code == 200
    assert client.get("/", headers={"Host": socket.gethostname()}).status_code == 400
    assert started.given["max_request_body_size"] == LARGEST
    assert started.given["max_request_header_size"] <= 2**16
    assert 0 < started.given["channel_timeout"] <= 120


def test_other_machines_need_a_token_that_is_printed_once(
    made: MadeRun, started: Waitress, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(made.root, host="0.0.0.0", port=(port := free_port()), allow_hosts=["Proxy.example"])
    said = capsys.readouterr().out
    found = re.findall(rf"http://[^ ]+:{port}/\?token=([\w-]+)", said)
    assert len(found) == 1 and len(found[0]) >= 43 and said.count(found[0]) == 1
    assert "not encrypted" in said and f"ssh -L {port}:127.0.0.1:{port} HOST" in said
    client = started.server.test_client()
    for host in ("127.0.0.1", socket.gethostname(), "proxy.example"):
        assert client.get("/", headers={"Host": f"{host}:{port}"}).status_code == 401
    for host in FOREIGN:
        assert client.get("/", headers={"Host": host}).status_code == 400
    address = f"/?token={found[0]}"
    assert client.get(address, headers={"Host": "localhost", **VISIT}).status_code == 303
    serve(made.root, host="0.0.0.0", port=free_port())
    assert found[0] not in capsys.readouterr().out


def test_a_token_that_was_given_is_asked_for_and_not_printed(
    made: MadeRun, started: Waitress, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(made.root, port=free_port(), token="a secret of mine")
    assert "secret" not in capsys.readouterr().out
    assert started.server.test_client().get("/", headers=LOCAL).status_code == 401


@pytest.mark.parametrize("token", ["", "short", "x" * 15])
def test_a_token_is_long(made: MadeRun, token: str) -> None:
    for host in ("127.0.0.1", "0.0.0.0"):
        with pytest.raises(ProbeError, match="must have at least 16"):
            serve(made.root, host=host, token=token)
    with pytest.raises(ProbeError, match="must have at least 16"):
        create_app(made.root, token=token)


def test_a_host_that_is_not_this_machine_is_an_error(made: MadeRun) -> None:
    with pytest.raises(ProbeError, match="has to be an address of this machine"):
        serve(made.root, host="192.0.2.7", port=free_port())


def test_a_taken_port_is_named_with_another(made: MadeRun) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ProbeError, match=f"Port {port} on 127.0.0.1 cannot be used.*--port"):
            serve(made.root, port=port)


@pytest.mark.parametrize("port", [0, -1, 70000])
def test_a_port_is_a_number_in_range(made: MadeRun, port: int) -> None:
    with pytest.raises(ProbeError, match="ports are numbers from 1 to 65535"):
        serve(made.root, port=port)


def test_a_folder_that_is_no_run_yet_is_served_and_said(
    tmp_path: Path, started: Waitress, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(tmp_path, port=free_port())
    assert "Nothing can be shown yet" in capsys.readouterr().out
    text = said(client_of(tmp_path), "/")
    assert "No run here yet" in text and f"probe demo --out {tmp_path}" in text
    assert "looks again every five seconds" in text


def test_a_folder_that_does_not_exist_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no folder"):
        serve(tmp_path / "none")
