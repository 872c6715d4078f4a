from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from probe.plots import Cell, colors_of, grid_figure, limit_of, maps_figure, save_figure
from probe.plots.style import PERCENTILE, luminance, number, overlay, to_oklab
from tests.figures.making import bump, images_of, maps_of


@pytest.mark.parametrize("signed", [True, False])
def test_lightness_only_rises_so_a_gray_level_is_a_value(signed: bool) -> None:
    colors = colors_of(signed)(np.linspace(0, 1, 257 if signed else 256))
    assert (np.diff(luminance(colors)) > 0).all()
    steps = np.diff(to_oklab(colors)[:, 0])
    assert steps.min() > 0 and (not signed or steps.max() / steps.min() < 1.3)


def test_zero_is_neutral_gray_and_both_ends_are_as_far_from_it() -> None:
    low, zero, high = to_oklab(colors_of(True)([0.0, 0.5, 1.0]))
    assert np.abs(zero[1:]).max() < 0.003
    assert high[0] - zero[0] == pytest.approx(zero[0] - low[0], abs=0.02)


def test_ends_differ_for_the_color_blind() -> None:
    """Machado, Oliveira and Fernandes 2009, deuteranopia and protanopia at full severity."""
    deutan = np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    )
    protan = np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    )
    colors = colors_of(True)(np.linspace(0, 1, 9))[:, :3]
    for seen in (deutan, protan):
        lab = to_oklab((colors @ seen.T).clip(0, 1))
        apart = np.linalg.norm(np.diff(lab, axis=0), axis=1)
        assert apart.min() > 0.05


def gray(figure: object) -> np.ndarray:
    """Render, and print on gray paper."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)  # type: ignore[attr-defined]
    return np.asarray(Image.open(file).convert("L"), dtype=float)


def panels(figure: object, count: int) -> list[np.ndarray]:
    """Return the pixels of the first axes."""
    pixels = gray(figure)
    height, width = pixels.shape
    out = []
    for axes in figure.axes[:count]:  # type: ignore[attr-defined]
        box = axes.get_position()
        rows = slice(round((1 - box.y1) * height), round((1 - box.y0) * height))
        out.append(pixels[rows, round(box.x0 * width) : round(box.x1 * width)])
    return out


def test_signs_can_be_told_apart_in_grayscale() -> None:
    plus = Cell(values=bump(0.5, 0.5, 0.1))
    minus = Cell(values=-bump(0.5, 0.5, 0.1))
    figure = grid_figure([[plus, minus]], ["", ""], [""])
    up, down = panels(figure, 2)
    middle = up.shape[0] // 2, up.shape[1] // 2
    zero = up[2, 2]
    assert up[middle] > zero + 50 and down[middle] < zero - 50
    # Gray levels and values have the same order, all over.
    values = np.asarray(Image.fromarray(plus.values.astype(np.float32)).resize(up.shape[::-1]))
    assert np.corrcoef(values.ravel(), up.ravel())[0, 1] > 0.97
    assert np.corrcoef(-values.ravel(), down.ravel())[0, 1] > 0.97


def test_the_usual_diverging_map_would_fail_that() -> None:
    import matplotlib as mpl

    low, zero, high = luminance(mpl.colormaps["PuOr_r"]([0.0, 0.5, 1.0]))
    assert max(low, high) < zero


@pytest.mark.parametrize("level", [0, 128, 255])
def test_overlays_stand_out_from_any_image_in_grayscale(level: int) -> None:
    image = np.full((3, 3, 3), level, np.uint8)
    values = np.array([[-1.0, 0, 1.0]] * 3)
    brightest = overlay(np.full((3, 3, 3), 255, np.uint8), np.zeros((3, 3)), 1.0, True)
    darkest = overlay(np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3)), 1.0, True)
    drawn = luminance(overlay(image, values, 1.0, True))
    assert drawn[0, 2] > luminance(brightest).max() and drawn[0, 0] < luminance(darkest).min()
    strong = luminance(overlay(image, np.ones((3, 3)), 1.0, False))
    assert strong.min() > luminance(brightest).max()


def test_where_a_map_says_nothing_the_image_shows() -> None:
    image = images_of(1)[0]
    shown = overlay(image, np.zeros(image.shape[:2]), 1.0, True)
    assert np.ptp(shown, axis=-1).max() < 1e-9
    level = image @ np.array([0.299, 0.587, 0.114])
    assert np.corrcoef(shown[..., 0].ravel(), level.ravel())[0, 1] > 0.999


def test_the_limit_is_the_percentile_of_what_is_finite() -> None:
    values = np.append(np.linspace(-1, 1, 1001), [1e6, np.nan, np.inf, -np.inf])
    finite = np.abs(values[np.isfinite(values)])
    assert limit_of([values[:500], values[500:]]) == np.percentile(finite, PERCENTILE) < 2
    assert limit_of([np.zeros(4)]) == limit_of([np.full(4, np.nan)]) == 1.0
    sparse = np.zeros(10_000)
    sparse[0] = 3.0
    assert limit_of([sparse]) == 3.0


def test_scales_are_shared_as_asked() -> None:
    values = [[bump(0.5, 0.5) * k for k in row] for row in ([1, 2], [4, 8])]
    cells = [[Cell(values=one) for one in row] for row in values]
    for scale, expected in {
        "figure": [[8, 8], [8, 8]],
        "row": [[2, 2], [8, 8]],
        "column": [[4, 8], [4, 8]],
        "cell": [[1, 2], [4, 8]],
    }.items():
        figure = grid_figure(cells, ["", ""], ["", ""], scale=scale)
        ends = [axes.images[0].get_clim() for axes in figure.axes[:4]]
        np.testing.assert_allclose([high for _, high in ends], np.ravel(expected), rtol=0.05)
        assert all(low == -high for low, high in ends)


def test_zero_stays_in_the_middle_for_maps_of_one_sign() -> None:
    found = maps_of(1, signed=True)
    found.data["attribution"][:] = np.abs(found.values) + 1
    low, high = maps_figure(found).axes[0].images[0].get_clim()
    assert low == -high


@pytest.mark.parametrize(
    "value, text",
    [(0.31234, "0.31"), (-12.3, "−12"), (5.4e-5, "5.4e−5"), (1e9, "1e9"), (3, "3"), (0, "0")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_the_file_keeps_colors(tmp_path: object) -> None:
    figure = grid_figure([[Cell(values=np.full((4, 4), 2.0))]], [""], [""])
    place = save_figure(figure, f"{tmp_path}/f.png", dpi=100)
    pixels = np.asarray(Image.open(place).convert("RGB")) / 255
    wanted = np.asarray(colors_of(True)(1.0)[:3])
    assert (np.abs(pixels - wanted).max(axis=-1) < 0.01).mean() > 0.2
