"""From small arrays to plotly figures."""

from app.figures.effects import artifact_effects_figure
from app.figures.grids import responses_figure, tells_figure
from app.figures.information import depth_figure, information_figure
from app.figures.knowledge import knowledge_figure
from app.figures.picture import picture_figure
from app.figures.responses import dose_figure
from app.figures.similarity import similarity_figure
from app.figures.spectra import spectra_figure
from app.figures.transfer import transfer_figure

__all__ = [
    "artifact_effects_figure",
    "depth_figure",
    "dose_figure",
    "information_figure",
    "knowledge_figure",
    "picture_figure",
    "responses_figure",
    "similarity_figure",
    "spectra_figure",
    "tells_figure",
    "transfer_figure",
]
