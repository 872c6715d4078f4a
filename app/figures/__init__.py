"""From small arrays to plotly figures."""

from app.figures.effects import artifact_effects_figure
from app.figures.grids import responses_figure, tells_figure
from app.figures.responses import dose_figure
from app.figures.spectra import spectra_figure

__all__ = [
    "artifact_effects_figure",
    "dose_figure",
    "responses_figure",
    "spectra_figure",
    "tells_figure",
]
