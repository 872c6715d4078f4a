from __future__ import annotations

import pytest

from probe.errors import ProbeError
from probe.plots import caption_draft, latex_snippet
from probe.plots.files import escaped
from tests.figures.making import many, maps_of


def test_what_latex_would_read_as_commands_is_escaped() -> None:
    assert escaped("50 % of a_b & c#1 costs $3") == r"50 \% of a\_b \& c\#1 costs \$3"
    assert escaped(r"\input{x}~^") == (
        r"\textbackslash{}input\{x\}\textasciitilde{}\textasciicircum{}"
    )
    assert escaped("−1 ± 2 × 3 →\n\nnext") == r"$-$1 $\pm$ 2 $\times$ 3 $\rightarrow$ next"
    assert escaped("größe") == "größe"


def test_a_snippet_is_a_figure_environment() -> None:
    assert latex_snippet("figures/a_1.pdf", "5 %", "a_1 (b)") == (
        "\\begin{figure}[t]\n  \\centering\n"
        "  \\includegraphics[width=\\columnwidth]{figures/a_1.pdf}\n"
        "  \\caption{5 \\%}\n  \\label{fig:a-1-b}\n\\end{figure}\n"
    )
    assert "figure*" in latex_snippet("a", "", "", r"\textwidth")


@pytest.mark.parametrize("name", ["a b", "a%", "a}", "ä", "a#1", "a\\b"])
def test_names_that_latex_cannot_find_are_refused(name: str) -> None:
    with pytest.raises(ProbeError, match="Rename the file"):
        latex_snippet(name, "", "")


def test_a_caption_says_what_is_drawn() -> None:
    text = caption_draft(maps_of(4, baseline="black"), "cell", "overlay", shown=3, masks=True)
    for wanted in (
        "raw maps over their images",
        "Grad-CAM of the fake logit of meso4",
        "layer conv4, baseline black",
        "3 images of one and two (2 fake, 1 real)",
        "positive pushes the target up",
        "one scale per map, its limit below",
        "99.5th percentile of magnitudes",
        "none is normalized",
        "borders of forgery masks",
    ):
        assert wanted in text
    assert "mask" not in caption_draft(maps_of(1)) and "1 image of one." in caption_draft(
        maps_of(1)
    )
    assert "b_1[3] of meso4" in caption_draft(maps_of(1, target="b_1[3]"))


def test_a_caption_of_several_maps_tells_them_apart() -> None:
    text = caption_draft(many(3), "column")
    assert "Grad-CAM, Integrated gradients and Attention rollout of a_very" in text
    assert text.count("meso4") == 1 and text.count("conv4") == 1
    text = caption_draft({"a": maps_of(2), "b": maps_of(2, detector="xception")})
    assert "of meso4 and of xception" in text and text.count("Grad-CAM") == 1
    text = caption_draft({"a": maps_of(2), "b": maps_of(2, title="Saliency", signed=False)})
    assert "Sign of Grad-CAM: positive" in text and "Sign of Saliency: not negative" in text
