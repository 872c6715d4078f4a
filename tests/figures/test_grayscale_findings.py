"""Every figure of findings, printed in gray: signs, text in cells, and what a legend names."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgba
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from PIL import Image

from probe.artifacts import ArtifactReport, ResponseReport
from probe.attribution.findings import MapSimilarity, RegionAttention
from probe.evaluation.table import ZeroShotMatrix
from probe.neurons import Calibration, Universality
from probe.plots import (
    plot_ablation,
    plot_counts,
    plot_map_similarity,
    plot_matrix,
    plot_region_attention,
)
from probe.plots.artifacts import plot_artifact_effects, plot_spectra, plot_tells
from probe.plots.calibration import LINES, plot_calibration
from probe.plots.embedding import DATASETS, plot_layer_embedding
from probe.plots.responses import plot_correlations, plot_dose_effects, plot_doses
from probe.plots.separability import plot_layer_information
from probe.plots.separability_layer import plot_transfer, plot_unit_information
from probe.plots.style import contrast, luminance, text_on
from probe.results import by_row
from probe.schema import DATASETS as STUDIED
from probe.separability import Embeddings, SeparabilityReport
from tests.app.making import make_ablation
from tests.artifacts.test_showing import mixed_report
from tests.conftest import drawn_of

#: From one end of the scale to the other, and a cell without a value.
SPREAD = np.array([[0.0, 0.13, 0.3, 0.42], [0.46, 0.5, 0.55, 0.63], [0.75, 0.87, 1.0, np.nan]])
SIDE = 24
COUNTED = ("n_samples", "n_clusters")


def bounded(name: str, dims: Any, values: np.ndarray, width: float = 0.1) -> dict[str, Any]:
    """Give values with an interval around them."""
    ends = {"": values, "_low": values - width, "_high": values + width}
    return {name + end: (dims, one) for end, one in ends.items()}


def matrix() -> Figure:
    one = {
        name: (("detector", "dataset"), SPREAD + shift)
        for name, shift in (("value", 0), ("low", -0.1), ("high", 0.1))
    }
    data = xr.Dataset(one, {"detector": list("abc"), "dataset": list("wxyz")})
    data = data.expand_dims(metric=["auroc"], level=["frame"]).assign(
        {name: (("detector", "dataset"), np.full((3, 4), 9)) for name in COUNTED}
    )
    scores = pd.DataFrame({"detector": "a", "dataset": list("wxyz"), "label": 1})
    return plot_matrix(ZeroShotMatrix(data, scores))


def counts() -> Figure:
    n = np.arange(4)
    data = xr.Dataset(
        {
            "observed": ("count", 4 - n),
            "untrained": (("draw", "count"), [n, 3 - n]),
            **bounded("independence", "count", n * 1.0),
        },
        {"count": n},
    )
    return plot_counts(Universality(data.assign_attrs(top=0.5)))


def ablation() -> Figure:
    return plot_ablation({"base": make_ablation(np.random.default_rng(0))})


def separability() -> SeparabilityReport:
    names, layers = list("abc"), ["l1", "l2", "l3", "l4", "l5"]
    square = np.array([[0.0, 0.3, 0.45], [0.5, 0.6, 0.75], [0.9, 1.0, np.nan]])
    both = ["probe_auroc", "control_auroc"]
    spread = np.linspace(0.4, 1, 30).reshape(2, 5, 3)
    dims, rows = ("measure", "layer", "dataset"), np.repeat(layers, 2).astype(object)
    data = {
        "value": (dims, spread),
        "low": (dims, spread - 0.1),
        "high": (dims, spread + 0.1),
        **bounded("transfer", ("layer", "dataset", "scored"), np.stack([square] * 5)),
        **bounded("own", "dataset", np.array([0.1, 0.5, 0.9])),
        "row_layer": ("row", rows),
        "row_unit": ("row", np.arange(10)),
        "label_q": ("row", np.tile([0.01, 0.5], 5)),
        "method_q": ("row", np.ones(10)),
        "label_information": ("row", np.linspace(0, 1, 10)),
        "method_information": ("row", np.linspace(1, 0, 10)),
    }
    coords = {"measure": both, "layer": layers, "dataset": names, "scored": names}
    return SeparabilityReport(xr.Dataset(data, coords, drawn_of("toy")))


def embedding() -> Figure:
    names = [f"d{i}" for i in range(len(DATASETS))]
    places = np.random.default_rng(0).normal(size=(80, 2))
    dims = ("layer", "method", "sample", "axis")
    data = {"position": (dims, places[None, None]), "fitted": ("sample", np.ones(80, bool))}
    data |= {name: (dims[:2], [[0.9]]) for name in ("trustworthiness", "preservation")}
    samples = pd.DataFrame({"label": np.arange(80) % 2, "dataset": np.repeat(names, 10)})
    samples = samples.assign(sample=samples.index.astype(str), method="", video="", logit=0.0)
    coords = {"layer": ["fc"], "method": ["pca"], "sample": list(samples["sample"])}
    found = Embeddings(xr.Dataset(data, coords, drawn_of("toy")))
    return plot_layer_embedding(found, samples, layer="fc", method="pca")


def artifacts() -> ArtifactReport:
    data = mixed_report().data
    values = np.linspace(0, 1, data["tells"].size).reshape(data["tells"].shape)
    dims = data["tells"].dims
    values.flat[3] = np.nan
    return ArtifactReport(data.assign(bounded("tells", dims, values)))


def responses() -> ResponseReport:
    n, doses = len(STUDIED), np.array([0, 0.5, 1])
    dims = ("artifact", "dataset", "dose")
    response = np.arange(n)[None, :, None] * np.tile(doses, (2, 1, 1))
    effect = np.array([[3.0, 0.0], [0.0, -3.0], [1.5, -1.5]])
    q = np.where(effect == 0, 1.0, 0.01)
    data = {
        **bounded("logit", dims, response),
        "logit_response": (dims, response),
        "effect": (("unit", "artifact"), effect),
        "effect_q": (("unit", "artifact"), q),
        "rho": (("unit", "measurement"), effect / 3),
        "q": (("unit", "measurement"), q),
        "unit_response": ("unit", np.zeros(3)),
    }
    coords = {
        "artifact": ["warp", "halo"],
        "dataset": list(STUDIED),
        "dose": doses,
        "unit": np.arange(3),
        "measurement": ["m1", "m2"],
    }
    attrs = {"alpha": 0.05, "smallest": 0.1, "layer": "fc", "universal": [0]}
    return ResponseReport(xr.Dataset(data, coords, attrs))


def calibration() -> Figure:
    rows = [
        {
            "units": 64,
            "effect": effect,
            "clusters": 9,
            "rule": rule,
            "draw": draw,
            "power": 0.1 * i,
            "false_rate": 0.05,
            "false_sharpest": 0.2,
            "false_discovery": 0.1,
        }
        for draw in (0, 1)
        for effect in (0.5, 1.0)
        for i, rule in enumerate(LINES)
    ]
    return plot_calibration(Calibration(by_row(pd.DataFrame(rows), {})))


def regions() -> Figure:
    dims = ("part", "group", "region")
    values = np.linspace(-1, 1, 6).reshape(1, 2, 3)
    data = {
        **bounded("concentration", dims, values),
        "q": (dims, np.where(np.arange(3) % 2, 0.01, 1.0)[None, None].repeat(2, axis=1)),
    }
    coords = {
        "part": ["positive"],
        "group": ["a: real", "a: fake"],
        "region": list("xyz"),
        "dataset": ("group", ["a", "a"]),
        "label": ("group", [0, 1]),
    }
    return plot_region_attention(RegionAttention(xr.Dataset(data, coords)))


def similarity() -> Figure:
    values = np.linspace(0.2, 0.98, 40)
    data = {
        "similarity": (("sample", "pair"), values[:, None]),
        "null": (("sample", "pair"), values[:, None] / 2),
        "retrained": ("sample", values**2),
        "count": (("dataset", "bin"), [[20, 10, 10]]),
    }
    coords = {"dataset": ["all"], "of": ("sample", ["a"] * 40)}
    return plot_map_similarity(MapSimilarity(xr.Dataset(data, coords)))


FIGURES: dict[str, Callable[[], Figure]] = {
    "matrix": matrix,
    "counts": counts,
    "ablation": ablation,
    "transfer": lambda: plot_transfer(separability(), "l1"),
    "probes": lambda: plot_layer_information(separability()),
    "units": lambda: plot_unit_information(separability()),
    "embedding": embedding,
    "spectra": lambda: plot_spectra(artifacts()),
    "effects": lambda: plot_artifact_effects(artifacts()),
    "tells": lambda: plot_tells(artifacts()),
    "doses": lambda: plot_doses(responses()),
    "responses": lambda: plot_dose_effects(responses()),
    "correlations": lambda: plot_correlations(responses()),
    "calibration": calibration,
    "regions": regions,
    "similarity": similarity,
}
MAPS = ("matrix", "transfer", "tells", "responses", "correlations")
CELLS = ("matrix", "transfer", "tells")


def lightness(color: Any) -> float:
    """Return CIE L*, 0 to 100, of a color on white paper."""
    red, green, blue, alpha = to_rgba(color)
    y = float(luminance(alpha * np.array([red, green, blue]) + 1 - alpha))
    return 116 * y ** (1 / 3) - 16 if y > (6 / 29) ** 3 else y * (29 / 3) ** 3


def maps_in(figure: Figure) -> Iterator[AxesImage]:
    """Yield what is colored by value; photographs are not."""
    for axes in figure.axes:
        yield from (one for one in axes.images if np.ndim(one.get_array()) == 2)


def check_signs(figure: Figure) -> None:
    """Check that more is lighter, all over the scale, and that the scale's center is its middle."""
    found = list(maps_in(figure))
    assert found
    for image in found:
        low, high = image.get_clim()
        gray = luminance(image.to_rgba(np.linspace(low, high, 101)))
        assert (np.diff(gray) > 0).all()
        assert (low, high) == (0, 1) or low == -high


def check_text(figure: Figure) -> int:
    """Check the contrast of text with the cell it lies on; return how many texts do."""
    n = 0
    for axes in figure.axes:
        for text in axes.texts if axes.images else ():
            x, y = (round(float(one)) for one in text.get_position())
            image = axes.images[0]
            cell = image.to_rgba(np.ma.masked_invalid(image.get_array()))[y, x]
            assert contrast(text.get_color(), cell) >= 4.5, text.get_text()
            n += 1
    return n


def look_of(artist: Any) -> tuple[Any, float]:
    """Return what gray leaves of an artist: its shape, dash and filling; and its lightness."""
    if isinstance(artist, BarContainer | ErrorbarContainer):
        artist = artist[0]
    if isinstance(artist, Line2D):
        face = artist.get_markerfacecolor()
        hollow = str(face) == "none" or lightness(face) > 99
        # Edges count where the face is white.
        color = artist.get_markeredgecolor() if hollow else artist.get_color()
        return (
            "line",
            artist.get_marker(),
            str(artist._unscaled_dash_pattern),
            artist.get_linestyle() == "None",
            hollow,
        ), lightness(color)
    if isinstance(artist, PathCollection):
        hollow = not len(artist.get_facecolor()) or lightness(artist.get_facecolor()[0]) > 99
        color = artist.get_edgecolor()[0] if hollow else artist.get_facecolor()[0]
        return ("points", artist.get_paths()[0].vertices.tobytes(), hollow), lightness(color)
    if isinstance(artist, LineCollection):
        return ("lines", str(artist.get_linestyle())), lightness(artist.get_color()[0])
    filled = artist.get_fill() and artist.get_facecolor()[3] > 0
    color = artist.get_facecolor() if filled else artist.get_edgecolor()
    return ("area", filled, artist.get_linestyle(), artist.get_hatch()), lightness(color)


def check_legends(figure: Figure) -> int:
    """Check that what a panel names looks unlike all else that it names; return how many are."""
    n = 0
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        looks = dict(zip(labels, map(look_of, handles), strict=True))
        if not looks:
            looks = {str(i): look_of(one) for i, one in enumerate(axes.containers)}
        for i, (name, (look, light)) in enumerate(looks.items()):
            for other, (its, lit) in list(looks.items())[:i]:
                assert look != its or abs(light - lit) >= 15, f"{name} looks like {other}"
        n += len(looks)
    return n


def gray(figure: Figure) -> np.ndarray:
    """Print on gray paper."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=200)
    return np.asarray(Image.open(file).convert("L"), dtype=float)


@pytest.mark.parametrize("name", MAPS)
def test_more_is_lighter(name: str) -> None:
    check_signs(FIGURES[name]())


@pytest.mark.parametrize("name", CELLS)
def test_text_stands_out_from_its_cell(name: str) -> None:
    assert check_text(FIGURES[name]()) >= 6


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in MAPS])
def test_what_is_named_looks_unlike_all_else_without_color(name: str) -> None:
    figure = FIGURES[name]()
    if name == "regions":
        looks = [look_of(one) for one in figure.legends[0].legend_handles]
        assert len({look for look, _ in looks}) == len(looks) == 4
    else:
        assert check_legends(figure) >= 2


def test_the_checks_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (
        "plots.evaluation",
        "plots.neurons",
        "plots.separability_layer",
        "plots.artifacts",
        "plots.responses",
    ):
        usual = mpl.colormaps["PuOr_r"]
        monkeypatch.setattr(f"probe.{module}.colors_of", lambda signed, usual=usual: usual)
    for name in MAPS:
        with pytest.raises(AssertionError):
            check_signs(FIGURES[name]())
    figure = matrix()
    figure.axes[0].texts[0].set_color("0.3")
    with pytest.raises(AssertionError, match=r"0\.00"):
        check_text(figure)
    axes = (figure := Figure()).subplots()
    for color in ("#0072b2", "#d55e00"):
        axes.plot([0, 1], marker="o", color=color, label=color)
    with pytest.raises(AssertionError, match="looks like"):
        check_legends(figure)


def test_fakes_are_hollow_and_their_density_dashed() -> None:
    left, right = embedding().axes
    real, fake = (one for one in left.collections if isinstance(one, QuadContourSet))
    assert real.linestyles == "-" and fake.linestyles == "--"
    filled = [bool(len(one.get_facecolor())) for one in right.collections]
    assert filled == [True, False] * 4 and left.get_legend_handles_labels()[1] == ["real", "fake"]


def test_every_dataset_has_a_dash_and_every_other_mark_is_hollow() -> None:
    looks = [look_of(one)[0] for one in plot_doses(responses()).axes[0].containers]
    assert len({dash for _, _, dash, _, _ in looks}) == len(STUDIED)
    assert [hollow for *_, hollow in looks] == [False, True] * 3


def test_values_that_tell_nothing_stand_in_brackets() -> None:
    report = artifacts()
    texts = [text.get_text() for text in plot_tells(report).axes[0].texts]
    tells = report.data["tells"].transpose("measurement", "method").values
    for text, value in zip(texts, tells.ravel(), strict=True):
        unsure = abs(value - 0.5) <= 0.1
        expected = f"({value:.2f})" if unsure else f"{value:.2f}"
        assert text == ("–" if np.isnan(value) else expected)


def test_blank_cells_are_unlike_the_lightest_in_gray() -> None:
    figure = plot_dose_effects(responses())
    pixels, axes = gray(figure), figure.axes[0]
    shown = axes.images[0].get_array()
    (row, column), blank = np.unravel_index(shown.argmax(), shown.shape), np.ma.getmaskarray(shown)
    cells = {}
    for place in ((row, column), tuple(np.argwhere(blank)[0])):
        # Figures are laid out at 100 dpi.
        scale = 200 / figure.dpi
        x, y = axes.transData.transform(place[::-1]) * scale
        at = round(pixels.shape[0] - y), round(x)
        cells[place] = pixels[at[0] - 5 : at[0] + 6, at[1] - 5 : at[1] + 6]
    lightest, empty = cells.values()
    assert lightest.min() > 200 and np.ptp(lightest) == 0
    assert empty.max() == 255 and empty.min() < 160


def test_text_on_any_color_can_be_read() -> None:
    assert contrast("black", "white") == pytest.approx(21) and contrast("0.5", "0.5") == 1
    assert contrast("white", "#767676") == pytest.approx(4.54, abs=0.01)
    colors = np.random.default_rng(0).uniform(size=(500, 3))
    assert min(contrast(text_on(one), one) for one in colors) >= 4.5
    assert text_on("#0072b2") == "white" and text_on("#e69f00") == "black"
