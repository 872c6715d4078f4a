"""Paper figures with matplotlib: grids of maps and figures of findings, of exact size."""

from probe.plots.attribution_maps import attribution_figure, maps_figure
from probe.plots.grid import SCALES, Cell, grid_figure
from probe.plots.map_summaries import (
    difference_figure,
    draw_attributions,
    mean_attributions,
    mean_maps_figure,
    single_attribution,
    single_figure,
)
from probe.plots.neurons import (
    ablation_figure,
    counts_figure,
    counts_grid_figure,
    matrix_figure,
)
from probe.plots.saving import (
    FORMATS,
    caption_draft,
    latex_snippet,
    provenance_of,
    save_figure,
    versions,
    write_figure,
)
from probe.plots.style import STYLE, STYLES, Style, colors_of, limit_of

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
