"""Fixtures of the dashboard: a run folder, shared where tests only read it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from app import create_app
from probe.run import RunFolder
from tests.app.making import MadeRun, make_run


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    """A complete run; not to be changed."""
    return make_run(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture
def own(made: MadeRun, tmp_path: Path) -> MadeRun:
    """A complete run that the test may damage: a copy, which is made faster than another run."""
    folder = RunFolder(tmp_path / "run")
    # A thousand small files: twice as fast as shutil, for two hundred tests.
    subprocess.run(["cp", "-R", str(made.root), str(folder.root)], check=True)
    return replace(made, folder=folder, data=replace(made.data, root=folder.data))


@pytest.fixture(scope="session")
def client(made: MadeRun) -> FlaskClient:
    """A client of the dashboard, by the name that a browser on this machine uses."""
    return client_of(made.root)


def client_of(root: Path, others: Sequence[Path] = (), images: Sequence[Path] = ()) -> FlaskClient:
    client = create_app(root, others=others, images=images).server.test_client()
    client.environ_base["HTTP_HOST"] = "127.0.0.1:8050"
    return client
