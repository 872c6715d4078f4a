from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from probe.cli.options import TABLES
from probe.tables import _WRITERS, export_frame


def test_a_table_of_pipes(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"a|b": ["x|y", "two\nlines", None], "n": [1, 20, 3], "v": [0.12345, np.nan, -1.0]}
    )
    place = export_frame(frame, tmp_path / "t.md", {"seed": 0})
    assert place.read_text(encoding="utf-8") == (
        "| a\\|b | n | v |\n| --- | --: | --: |\n| x\\|y | 1 | 0.123 |\n"
        "| two lines | 20 | – |\n| – | 3 | -1.000 |\n"
    )
    assert (tmp_path / "t.md.json").is_file()


def test_commands_know_all_formats() -> None:
    assert set(TABLES) == {*_WRITERS, ".zarr"}
