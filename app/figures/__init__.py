"""From small arrays to plotly figures."""

from app.figures.counts import counts_figure
from app.figures.matrix import matrix_figure
from app.figures.unit import doses_figure, effects_figure

__all__ = ["counts_figure", "doses_figure", "effects_figure", "matrix_figure"]
