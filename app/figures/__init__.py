"""From small arrays to plotly figures."""

from app.figures.information import depth_figure, information_figure
from app.figures.knowledge import knowledge_figure
from app.figures.picture import picture_figure
from app.figures.similarity import similarity_figure
from app.figures.transfer import transfer_figure

__all__ = [
    "depth_figure",
    "information_figure",
    "knowledge_figure",
    "picture_figure",
    "similarity_figure",
    "transfer_figure",
]
