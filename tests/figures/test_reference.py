from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from matplotlib.testing.compare import compare_images

from probe.plots import maps_figure, save_figure
from tests.figures.drawn import DPI, DRAWN, REFERENCE
from tests.figures.making import images_of, maps_of, masks_of

#: Root mean square of differences, of 255.
TOLERANCE = 2.0


def differs(figure_file: Path, name: str, folder: Path) -> str | None:
    # The comparison writes its difference beside the reference: not into the repository.
    expected = Path(shutil.copy(REFERENCE / f"{name}.png", folder / "expected.png"))
    found: str | None = compare_images(str(expected), str(figure_file), TOLERANCE)
    return found


@pytest.mark.parametrize("name", DRAWN)
def test_figures_look_as_they_did(name: str, tmp_path: Path) -> None:
    drawn = save_figure(DRAWN[name](), tmp_path / "drawn.png", dpi=DPI)
    assert differs(drawn, name, tmp_path) is None


@pytest.mark.parametrize(
    "change", [{"shift": 0.05}, {"height": -1.0}, {"height": 1.2}, {"title": "Grad-CAN"}], ids=str
)
def test_a_changed_figure_is_noticed(change: dict[str, float], tmp_path: Path) -> None:
    figure = maps_figure(maps_of(4, **change), images_of(4), masks_of(4))
    drawn = save_figure(figure, tmp_path / "drawn.png", dpi=DPI)
    assert differs(drawn, "map", tmp_path) is not None


def test_every_reference_is_compared() -> None:
    assert {place.stem for place in REFERENCE.glob("*.png")} == set(DRAWN)
