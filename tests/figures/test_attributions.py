from __future__ import annotations

import numpy as np
import pytest

from probe.errors import ProbeError, UnknownNameError
from probe.plots import (
    Cell,
    attribution_figure,
    difference_figure,
    draw_attributions,
    grid_figure,
    limit_of,
    maps_figure,
    mean_attributions,
    mean_maps_figure,
)
from probe.plots.map_summaries import groups_of, titles_of
from tests.figures.making import SIDE, images_of, many, maps_of, masks_of


def words(figure: object) -> str:
    return " ".join(text.get_text() for text in figure.texts)  # type: ignore[attr-defined]


def drawn(figure: object, i: int) -> np.ndarray:
    """Return the array in one of the axes."""
    return np.asarray(figure.axes[i].images[0].get_array())  # type: ignore[attr-defined]


def test_a_map_draws_itself_raw_and_in_order() -> None:
    found = maps_of(4)
    figure = found.figure(images_of(4), rows=[2, 0])
    np.testing.assert_array_equal(drawn(figure, 0), images_of(4)[2])
    np.testing.assert_allclose(drawn(figure, 2), found.values[2])
    np.testing.assert_allclose(drawn(figure, 3), found.values[0])
    assert words(found.figure(max_samples=1)).count("logit") == 2  # of the sample, and in the label
    assert figure.get_size_inches()[0] == 3.5
    assert maps_of(6).figure().get_size_inches()[0] == 7.16


def test_lines_of_samples_wrap_without_titles_that_would_be_wrong() -> None:
    figure = maps_of(5).figure(images_of(5), columns=2)
    assert "faceswap" not in words(figure)
    np.testing.assert_allclose(drawn(figure, 8), images_of(5)[4])


def test_columns_of_other_units_get_their_own_scales() -> None:
    alike = {"meso4": maps_of(2), "xception": maps_of(2, height=4)}
    assert "one scale for all maps" in words(attribution_figure(alike))
    others = {"a": maps_of(2), "b": maps_of(2, title="Occlusion")}
    text = words(attribution_figure(others))
    assert "one scale per column" in text and "differ in unit" in text
    complete = words(maps_of(1, complete=True).figure())
    assert "(logits)" in complete and "(method's unit)" in words(maps_of(1).figure())


def test_signs_and_magnitudes_share_no_scale() -> None:
    with pytest.raises(ProbeError, match="would share one scale .* scale='column'"):
        attribution_figure(many(6), scale="figure")
    with pytest.raises(ProbeError, match="would share one scale"):
        attribution_figure({"a": maps_of(1), "b": maps_of(1, target="conv[1]")}, scale="row")


def test_outlines_are_where_the_mask_is() -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[8:24, 4:20] = 255
    figure = maps_of(1).figure(masks=[mask])
    (contour,) = figure.axes[0].collections
    corners = contour.get_paths()[0].vertices
    np.testing.assert_allclose(corners.min(axis=0), [4 / SIDE, 8 / SIDE], atol=1 / SIDE)
    np.testing.assert_allclose(corners.max(axis=0), [20 / SIDE, 24 / SIDE], atol=1 / SIDE)
    assert "forgery mask" in words(figure)
    for empty in (np.zeros_like(mask), np.full_like(mask, 255)):
        assert "forgery mask" not in words(maps_of(1).figure(masks=[empty]))


def test_means_are_means_by_dataset_and_label() -> None:
    found = maps_of(8)
    groups = groups_of(found)
    assert {name: list(at) for name, at in groups.items()} == {
        "one, real": [1, 3],
        "one, fake": [0, 2],
        "two, real": [5, 7],
        "two, fake": [4, 6],
    }
    figure = mean_attributions({"Grad-CAM": found}, images_of(8))
    np.testing.assert_allclose(drawn(figure, 4), found.values[[1, 3]].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(drawn(figure, 0), images_of(8)[[1, 3]].mean(axis=0), atol=0.5)
    assert words(figure).count("n = 2") == 4
    bare = maps_of(3)
    assert list(groups_of(type(bare)(bare.data.drop_vars(["dataset", "label"])))) == ["all"]


def test_a_difference_is_a_difference_with_its_own_scale() -> None:
    first, second = maps_of(2).values, maps_of(2, height=0.5).values
    figure = difference_figure(first, second, titles=("base", "deep"))
    np.testing.assert_allclose(drawn(figure, 2), first[0].astype(float) - second[0], atol=1e-7)
    limits = [axes.images[0].get_clim()[1] for axes in figure.axes[:3]]
    assert limits[:2] == [limit_of([first, second])] * 2
    assert limits[2] == pytest.approx(limit_of([first - second]))
    assert "base − deep" in words(figure) and "base higher" in words(figure)
    magnitudes = difference_figure(np.abs(first), np.abs(second), signed=False)
    low, high = magnitudes.axes[2].images[0].get_clim()
    assert low == -high


def test_every_kind_is_drawn_from_maps() -> None:
    pair = {"meso4": maps_of(3), "xception": maps_of(3, height=2)}
    for kind in ("map", "overlay", "mean", "difference", "single"):
        draw_attributions(pair, images_of(3), masks_of(3), kind=kind)
    with pytest.raises(ProbeError, match="1 maps were given; .* exactly two"):
        draw_attributions({"a": maps_of(1)}, kind="difference")
    with pytest.raises(ProbeError, match="have no common unit"):
        draw_attributions({"a": maps_of(1), "b": maps_of(1, title="IG")}, kind="difference")
    with pytest.raises(UnknownNameError, match="'maps' is not known.* mean 'map'"):
        draw_attributions(pair, kind="maps")
    with pytest.raises(UnknownNameError, match="Scale 'rows' .* mean 'row'"):
        draw_attributions(pair, scale="rows")
    with pytest.raises(ProbeError, match="No attribution maps"):
        draw_attributions({})


def test_titles_tell_maps_apart() -> None:
    cam, gradients, other = maps_of(1), maps_of(1, title="IG"), maps_of(1, detector="xception")
    assert list(titles_of([cam, gradients], ["a", "b"])) == ["Grad-CAM", "IG"]
    assert list(titles_of([cam, other], ["a", "b"])) == ["meso4", "xception"]
    assert list(titles_of([cam, gradients, other], list("abc")))[2] == "Grad-CAM, xception"
    assert list(titles_of([cam, cam], ["a", "b"])) == ["a", "b"]
    with pytest.raises(ProbeError, match="Give each once"):
        titles_of([cam, cam], ["a", "a"])


def test_what_does_not_belong_together_is_refused() -> None:
    found = maps_of(3)
    with pytest.raises(ProbeError, match="2 images were given for 3 maps"):
        found.figure(images_of(2))
    with pytest.raises(ProbeError, match="1 masks were given .* None where"):
        found.figure(masks=[None])
    with pytest.raises(ProbeError, match=r"Rows \[3\] of 3 maps .* from 0 to 2"):
        found.figure(rows=[3])
    with pytest.raises(ProbeError, match="overlay needs images"):
        maps_figure(found, kind="overlay")
    with pytest.raises(UnknownNameError, match="'overlays' is not known"):
        found.figure(kind="overlays")
    with pytest.raises(ProbeError, match="share 2 of 3 and 2 samples"):
        attribution_figure({"a": found, "b": maps_of(2)})
    with pytest.raises(ProbeError, match=r"shapes \(3, 32, 32\) and \(2, 32, 32\)"):
        difference_figure(found.values, found.values[:2])
    with pytest.raises(ProbeError, match=r"shape \(32, 32\) were given for 'a'"):
        mean_maps_figure({"a": found.values[0]})
    with pytest.raises(ProbeError, match="no images of b"):
        mean_maps_figure({"a": found.values, "b": found.values}, {"a": images_of(3)})
    with pytest.raises(ProbeError, match="Images of 2 shapes"):
        mean_maps_figure({"a": found.values}, {"a": [images_of(1)[0], images_of(1, 8)[0]]})
    with pytest.raises(ProbeError, match=r"map of shape \(2, 4, 4\) was given for one panel"):
        Cell(values=np.ones((2, 4, 4)))
    with pytest.raises(ProbeError, match="type float64 was given; figures need uint8"):
        found.figure(images_of(3) / 255)
    with pytest.raises(ProbeError, match="without any image"):
        grid_figure([], [], [])
    with pytest.raises(ProbeError, match="2 row titles and 1 column titles"):
        grid_figure([[Cell(values=np.ones((4, 4)))]], ["a"], ["b", "c"])
