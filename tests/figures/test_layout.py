from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from probe.errors import ProbeError, UnknownNameError
from probe.plots import (
    STYLES,
    Cell,
    attribution_figure,
    difference_figure,
    grid_figure,
    maps_figure,
    mean_maps_figure,
    save_figure,
    single_figure,
)
from tests.figures.drawn import DRAWN
from tests.figures.making import images_of, many, maps_of, masks_of

WIDTHS = {
    "ieee-column": 3.5,
    "ieee-page": 7.16,
    "acm": 3.33,
    "nature": 89 / 25.4,
    "slides": 10.0,
}


def boxes(figure: Figure) -> tuple[list[tuple[str, Bbox]], list[Bbox]]:
    """Return where texts and axes lie, in pixels of 200 dpi."""
    figure.set_dpi(200)
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [(t.get_text(), t.get_window_extent(renderer)) for t in figure.texts if t.get_text()]
    return texts, [axes.get_window_extent(renderer) for axes in figure.axes]


def covers(one: Bbox, other: Bbox) -> bool:
    """Say whether two boxes overlap by more than a pixel."""
    both = Bbox.intersection(one, other)
    return both is not None and min(both.width, both.height) > 1.0


def check(figure: Figure) -> None:
    """Nothing is cut off, no text lies on other text or on a panel, no panel on another."""
    texts, panels = boxes(figure)
    whole = Bbox.from_bounds(0, 0, *(200 * figure.get_size_inches()))
    for text, box in texts:
        assert whole.x0 - 0.5 <= box.x0 and box.x1 <= whole.x1 + 0.5, f"{text!r} is cut"
        assert whole.y0 - 0.5 <= box.y0 and box.y1 <= whole.y1 + 0.5, f"{text!r} is cut"
        assert not any(covers(box, panel) for panel in panels), f"{text!r} lies on a panel"
    for (a, one), (b, other) in itertools.combinations(texts, 2):
        assert not covers(one, other), f"{a!r} lies on {b!r}"
    for one, other in itertools.combinations(panels, 2):
        assert not covers(one, other)


@pytest.mark.parametrize("style", STYLES)
def test_figures_are_exactly_as_wide_as_their_style(style: str, tmp_path: Path) -> None:
    figure = maps_figure(maps_of(1), style=style)
    assert figure.get_size_inches()[0] == WIDTHS[style]
    assert figure.get_size_inches()[1] <= STYLES[style].height
    with Image.open(save_figure(figure, tmp_path / "f.png", dpi=100)) as image:
        assert abs(image.width - 100 * WIDTHS[style]) < 1
        assert round(image.info["dpi"][0]) == 100
    text = save_figure(figure, tmp_path / "f.pdf", 50).read_bytes()
    box = text.split(b"/MediaBox [")[1].split(b"]")[0].split()
    assert float(box[2]) == pytest.approx(72 * WIDTHS[style], abs=1e-3)
    svg = save_figure(figure, tmp_path / "f.svg", 50).read_text()
    width = svg.split('width="')[1].split('pt"')[0]
    assert float(width) == pytest.approx(72 * WIDTHS[style], abs=1e-3)


def test_all_styles_are_tested() -> None:
    assert set(WIDTHS) == set(STYLES)


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_is_cut_and_nothing_overlaps(name: str) -> None:
    check(DRAWN[name]())


@pytest.mark.parametrize(
    "style, scale", [*((style, "column") for style in STYLES), ("acm", "cell"), ("slides", "cell")]
)
def test_six_methods_and_long_titles_fit(style: str, scale: str) -> None:
    check(attribution_figure(many(6, 2), images_of(2), masks_of(2), style=style, scale=scale))


@pytest.mark.parametrize("style, n", [*((style, 5) for style in STYLES), ("acm", 1), ("slides", 1)])
def test_any_number_of_samples_fits(style: str, n: int) -> None:
    check(maps_figure(maps_of(n), images_of(n), style=style, scale="cell"))
    check(maps_figure(maps_of(n), None, masks_of(n), style=style, scale="row", columns=2))


def test_a_very_long_word_is_cut_rather_than_lost() -> None:
    word = "x" * 60
    figure = attribution_figure({word: maps_of(1), "b": maps_of(1)})
    check(figure)
    assert "".join(t for t, _ in boxes(figure)[0] if set(t) == {"x"}) == word


def test_images_of_other_shapes_and_sizes_fit() -> None:
    tall = [np.zeros((48, 24, 3), np.uint8)] * 2
    found = maps_of(2)
    figure = maps_figure(found, tall, masks_of(2, 16), kind="overlay")
    check(figure)
    panel = boxes(figure)[1][0]
    assert panel.height / panel.width == pytest.approx(2.0, rel=1e-6)
    check(single_figure(found.values[0][:20], style="slides"))
    check(mean_maps_figure({"a": found.values, "b": found.values}, style="nature"))
    check(difference_figure(found.values, 2 * found.values, style="slides"))


def test_units_are_named_with_their_dollars_and_underscores() -> None:
    figure = maps_figure(maps_of(1, target="b_1[$3$]", title="A_b $x$"))
    words = [text for text, _ in boxes(figure)[0]]
    assert "A_b $x$" in words and "← b_1[$3$] down" in words


def test_too_much_for_a_page_is_refused() -> None:
    with pytest.raises(ProbeError, match="30 columns .* 'acm', 3.33 inches wide .* Give fewer"):
        grid_figure([[Cell(values=np.ones((4, 4)))] * 30], [""] * 30, [""], style="acm")
    with pytest.raises(ProbeError, match="1 columns and 40 rows"):
        grid_figure([[Cell(values=np.ones((4, 4)))]] * 40, [""], [""] * 40, style="slides")
    with pytest.raises(UnknownNameError, match="style 'ieee-colum' .* mean 'ieee-column'"):
        maps_figure(maps_of(1), style="ieee-colum")
