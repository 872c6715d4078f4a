"""The guide's code runs as it stands, and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_images

GUIDE = Path(__file__).parents[2] / "docs" / "hooks.md"


def test_the_guide_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_images(tmp_path / "crops", identities=2)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL):
        exec(block, names)
    printed = capsys.readouterr().out
    for line in (
        "39 operations, all traced.",
        "['relu', 'bn', 'dropout', 'fc2', 'logit']",
        "{'stage3.3': (4, 32, 20, 20), 'relu': (4, 1024)}",
        "relu: closed form over 1024 units. Composed: bn (BatchNorm1d)",
        "  on the intervened unit alone: relu2, bn2, pool2",
        "  updated by its change: conv3",
        "  run again: relu3, bn3, pool3, conv4, relu4, bn4, pool4, flatten, … (14 operations)",
        "  513 k multiply-adds per sample, unit and dose; the plain suffix takes 1.23 M,",
    ):
        assert line in printed
        assert line in GUIDE.read_text(encoding="utf-8")
    assert names["logits"].shape == (4, 1024, 4)
    assert names["zero"].shape == (4, 2, 1) and names["other"].shape == (4, 2)
    assert names["without"].shape == (4, 8) and names["scalars"].units == 8 * 32 * 32
    assert names["store"]["relu"]["activation"].shape == (16, 1024)
