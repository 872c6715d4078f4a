"""Official trees of drawn videos."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.datasets.drawing import make_tree


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small FaceForensics++ tree; not to be changed."""
    return make_tree(tmp_path_factory.mktemp("ffpp"))


@pytest.fixture
def own_tree(tmp_path: Path) -> Path:
    """The same for one test alone."""
    return make_tree(tmp_path / "ffpp")
