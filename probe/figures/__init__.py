"""Paper figures with matplotlib: grids of maps and figures of findings, of exact size."""

from probe.figures.attributions import attribution_figure, maps_figure
from probe.figures.cells import SCALES, Cell
from probe.figures.colors import colors_of, limit_of
from probe.figures.drawing import draw_attributions
from probe.figures.findings import (
    ablation_figure,
    counts_figure,
    counts_grid_figure,
    matrix_figure,
)
from probe.figures.grids import grid_figure
from probe.figures.saving import FORMATS, save_figure, versions
from probe.figures.snippets import caption_draft, latex_snippet, provenance_of, write_figure
from probe.figures.styles import STYLE, STYLES, Style
from probe.figures.summaries import (
    difference_figure,
    mean_attributions,
    mean_maps_figure,
    single_attribution,
    single_figure,
)

__all__ = [
    "FORMATS",
    "SCALES",
    "STYLE",
    "STYLES",
    "Cell",
    "Style",
    "ablation_figure",
    "attribution_figure",
    "caption_draft",
    "colors_of",
    "counts_figure",
    "counts_grid_figure",
    "difference_figure",
    "draw_attributions",
    "grid_figure",
    "latex_snippet",
    "limit_of",
    "maps_figure",
    "matrix_figure",
    "mean_attributions",
    "mean_maps_figure",
    "provenance_of",
    "save_figure",
    "single_attribution",
    "single_figure",
    "versions",
    "write_figure",
]
